//! What sources tell the engine.
//!
//! Sent through one bounded queue, in order, so that what is said of a file is taken in the order in
//! which it happened. When the queue is full, reading waits.

use std::sync::Arc;

use dashboard_core::event::HealthError;
use dashboard_core::record::{Presence, ReadProgress, Record, Rejection, Statement, StatusLine, Tool};

use super::file::TranscriptFile;
use super::recall::Recalled;
use super::state::FileState;

/// Most records of a rewritten file that are sent at once.
pub const MAX_REPLACEMENT: usize = 50_000;

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
        /// Whether this stands in place of everything read of the file before: it was truncated or rewritten. Taken in
        /// one go, no state without the file is ever published. A replacement of more than
        /// [`MAX_REPLACEMENT`] records goes on in messages that add to it.
        replaces: bool,
    },
    /// What the file said no longer counts, and nothing takes its place: it is read under another name.
    Retract {
        /// The file.
        file: Arc<TranscriptFile>,
    },
    /// The file was deleted: what it said stays.
    Archive {
        /// The file.
        file: Arc<TranscriptFile>,
    },
    /// What a former process read. Sent once, before everything else, if there is a store.
    Recalled(Box<Recalled>),
    /// The running sessions, all of them, whenever anything about them changed.
    Presence(Vec<Presence>),
    /// A source that is no transcript said something of limits.
    Statement(Statement),
    /// A tool told its status line something.
    StatusLine {
        /// Whose status line.
        tool: Tool,
        /// What it was told.
        line: Box<StatusLine>,
    },
    /// Something failed; reading goes on with the rest.
    Failure(HealthError),
    /// How far reading what was there at the start has come; sent a few times a second until it is done.
    Progress(ReadProgress),
    /// Everything that decides the present figures (today, the sessions, the five-hour block) has been read. Sent once,
    /// before [`Self::HistoryRead`]: the numbering of events begins here.
    Current {
        /// Whether nothing else is left to be read.
        is_complete: bool,
    },
    /// Everything that was there at the start has been read. Sent once.
    HistoryRead,
    /// For the store: a file has been repeated from its beginning, or has gone. What was sent of it includes all that its
    /// messages up to number `newest` said.
    Repeated {
        /// The file.
        file: Arc<TranscriptFile>,
        /// The number; 0 if there was none meanwhile.
        newest: u64,
    },
    /// For the store: all files there are have been repeated, since everything was asked for.
    EverythingRepeated,
}

/// A message on its way to the engine, which hands it on to the store.
#[derive(Clone, Debug)]
pub struct NumberedMessage {
    /// Counted from 1 in the order in which the source sends. The store acknowledges messages about files by number
    /// once they are on the disk ([`HistoryWriter`](super::HistoryWriter)). 0 of a repetition.
    pub number: u64,
    /// Who is to take it.
    pub to: Recipient,
    /// The message.
    pub message: SourceMessage,
}

/// Who is to take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The engine, and the store after it: it is never ahead of the engine.
    Both,
    /// The engine alone: the store gets it with a repetition.
    Engine,
    /// The store alone: it is part of a repetition.
    Store,
}

/// Nobody takes what is read any more: there is no reason to go on.
#[derive(Debug, PartialEq, Eq)]
pub struct SinkClosed;

/// Takes what is read, in order; waits while it has enough to do. Several files may be read at once.
pub trait RecordSink: Sync {
    /// Takes one message.
    ///
    /// # Errors
    /// If nobody wants to know any more.
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed>;

    /// Whether so much waits in it that history, which can wait, is not to be added now. What is live is sent anyway.
    fn is_busy(&self) -> bool {
        false
    }

    /// Whether it has a use for [`Record::Activity`].
    fn wants_activity(&self) -> bool {
        false
    }
}
