//! What sources tell the engine.
//!
//! Sent through one bounded queue, in order, so that what is said of a file is taken in the order in
//! which it happened. When the queue is full, reading waits.

use std::sync::Arc;

use dashboard_core::event::HealthError;
use dashboard_core::record::{Presence, Record, Rejection};

use super::files::TranscriptFile;
use super::tail::FileState;

/// One message.
#[derive(Clone, Debug)]
pub enum SourceMessage {
    /// More of a file was read.
    Read {
        /// The file.
        file: Arc<TranscriptFile>,
        /// What its lines say, in their order.
        records: Vec<Record>,
        /// The lines refused.
        rejections: Vec<Rejection>,
        /// What was read of the file so far, this included, and where another process can go on.
        state: Box<FileState>,
    },
    /// The file was truncated or rewritten: what it said is withdrawn, and it is read anew.
    Retract {
        /// The file.
        file: Arc<TranscriptFile>,
    },
    /// The file was deleted: what it said stays.
    Archive {
        /// The file.
        file: Arc<TranscriptFile>,
    },
    /// The running sessions, all of them, whenever anything about them changed.
    Presence(Vec<Presence>),
    /// Something failed; reading goes on with the rest.
    Failure(HealthError),
    /// Everything that was there at the start has been read. Said once.
    HistoryRead,
}
