//! What sources tell the engine.
//!
//! Sent through one bounded queue, in order, so that what is said of a file is taken in the order in
//! which it happened. When the queue is full, reading waits.

use dashboard_core::event::HealthError;
use dashboard_core::record::{FileCounts, Presence, Record, Rejection};

/// One message. Paths are the keys of files: unique over all roots.
#[derive(Clone, Debug)]
pub enum SourceMessage {
    /// More of a file was read.
    Read {
        /// The file.
        path: String,
        /// What its lines say, in their order.
        records: Vec<Record>,
        /// The lines refused.
        rejections: Vec<Rejection>,
        /// Everything read of the file so far, this included.
        counts: FileCounts,
    },
    /// The file was truncated or rewritten: what it said is withdrawn, and it is read anew.
    Retract {
        /// The file.
        path: String,
    },
    /// The file was deleted: what it said stays.
    Archive {
        /// The file.
        path: String,
    },
    /// The running sessions, all of them, whenever anything about them changed.
    Presence(Vec<Presence>),
    /// Something failed; reading goes on with the rest.
    Failure(HealthError),
    /// Everything that was there at the start has been read. Said once.
    HistoryRead,
}
