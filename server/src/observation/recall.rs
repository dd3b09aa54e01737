//! What a source needs of the store: what a former process read, and what is to be read once more.
//!
//! The store implements these, the manager hands them to the source; so neither imports the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use dashboard_core::record::{Record, Rejection};

use super::file::{Root, TranscriptFile};
use super::message::{RecordSink, SinkClosed};
use super::state::FileState;

/// A file as the store knows it.
#[derive(Debug)]
pub struct StoredFile {
    /// The file.
    pub found: TranscriptFile,
    /// Where reading goes on.
    pub state: FileState,
    /// Whether it was deleted.
    pub archived: bool,
    /// What it said.
    pub records: Vec<Record>,
    /// Its refused lines.
    pub rejections: Vec<Rejection>,
}

/// What a former process read.
pub trait Recall {
    /// Gives out, file by file, what is known of these roots' files. What cannot be recalled is left out: it is read from
    /// the files.
    ///
    /// # Errors
    /// Those of `take`.
    fn recall(
        &self,
        roots: &[Root],
        take: &mut dyn FnMut(StoredFile) -> Result<(), SinkClosed>,
    ) -> Result<(), SinkClosed>;
}

/// What the store missed and asks for.
#[derive(Debug, Default)]
pub struct RepeatRequests {
    /// These files.
    pub files: BTreeSet<Arc<TranscriptFile>>,
    /// All files there are.
    pub everything: bool,
}

/// Files that are to be read once more from the beginning, for the store alone.
pub trait RepeatQueue {
    /// What has been asked for since the last call.
    fn take_repeats(&self) -> RepeatRequests;

    /// A file has been repeated, or has gone: all there was of it has been sent.
    fn repeated(&self, file: &Arc<TranscriptFile>);

    /// All files there are have been repeated, since everything was asked for.
    fn everything_repeated(&self);
}

/// The store, as a source sees it. Fed with [`RecordSink::send`].
pub trait HistoryStore: RecordSink + Recall + RepeatQueue + Send {}

impl<T: RecordSink + Recall + RepeatQueue + Send> HistoryStore for T {}
