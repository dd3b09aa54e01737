//! What a source says: files, their state, and messages about them.
//!
//! The vocabulary between sources, store, engine and HTTP. It lies below all of them: they import it, and none of them
//! needs to import another to understand what was read. It opens no file except to compare fingerprints.

mod file;
mod message;
mod recall;
mod state;

pub(crate) use file::name_of;
pub use file::{Root, TranscriptFile};
pub use message::{MAX_REPLACEMENT, NumberedMessage, Recipient, RecordSink, SinkClosed, SourceMessage};
pub use recall::{HistoryStore, HistoryWriter, ModelTotal, Recall, Recalled, RecalledFile, RepeatRequests, StoredFile};
pub use state::FileState;
pub(crate) use state::{ContentHash, MARK, Marks, Polled, Stamp};
