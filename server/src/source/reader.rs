//! One transcript, followed as its shape demands: what the readers of all shapes have in common.

use crate::observation::{FileState, Marks, RecordSink, SinkClosed, SourceMessage, TranscriptFile};
use std::fmt::Debug;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashboard_core::record::Lineage;
use dashboard_core::transcript::Shape;

use super::budget::Budget;
use super::database::Database;
use super::document::Document;
use super::tail::Tail;
use crate::panics;
use crate::platform::FileIdentity;

/// A file that changed this recently is likely to change again.
pub(super) const ACTIVE: Duration = Duration::from_mins(10);
/// A companion file is a few hundred bytes.
const MAX_COMPANION: u64 = 64 << 10;

/// Why polling a file ended early.
#[derive(Debug)]
pub(super) enum PollError {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// See [`SinkClosed`].
    SinkClosed,
    /// What was reported of the file no longer holds, and it changed again while it was read anew.
    Stale,
    /// Reading the file panics. It is left alone until it is rewritten.
    Panicked,
}

impl From<io::Error> for PollError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<SinkClosed> for PollError {
    fn from(_: SinkClosed) -> Self {
        Self::SinkClosed
    }
}

/// What polling a file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polling {
    /// Everything in it has been read.
    Complete,
    /// The budget was spent; there is more to read.
    Paused,
    /// The file does not exist any more.
    Gone,
}

/// Follows one file.
pub(super) trait FileReader: Debug + Send {
    /// The file.
    fn file(&self) -> &Arc<TranscriptFile>;

    /// Reads what is new and reports it, until there is no more or until the budget is spent. A panic on the way costs
    /// this file, and no other.
    fn poll(&mut self, sink: &dyn RecordSink, buffer: &mut Vec<u8>, budget: &Budget<'_>) -> Result<Polling, PollError>;

    /// The file is one that was reported under this name, too. That goes when this one is reported, so that it counts
    /// once at any moment.
    fn supersede(&mut self, former: Arc<TranscriptFile>);

    /// Whether the file is likely to change soon.
    fn is_active(&self) -> bool {
        self.modified().and_then(|at| at.elapsed().ok()).is_none_or(|age| age < ACTIVE)
    }

    /// When the file had last been modified before it was last read to its end.
    fn modified(&self) -> Option<SystemTime>;

    /// When the file with this metadata was modified.
    fn changed_at(&self, metadata: &Metadata) -> Option<SystemTime> {
        metadata.modified().ok()
    }

    /// Whether the receiver holds anything of the file.
    fn is_reported(&self) -> bool;

    /// Whether the file is as it was when all of it had been read, and nothing is due.
    fn is_unchanged(&self, metadata: &Metadata) -> bool;

    /// What the file is recognised by, should it turn up under another name; `None` if it is not looked for.
    fn fingerprint(&self) -> Option<(FileIdentity, Marks)>;

    /// Whether this is the file with this fingerprint.
    fn is_same(&self, identity: FileIdentity, marks: &Marks) -> bool;

    /// How many bytes have been read.
    fn position(&self) -> u64;

    /// What has been read so far says of the session's origin.
    fn lineage(&self) -> Option<Lineage>;
}

/// A file that is followed.
#[derive(Debug)]
pub(super) struct Follower {
    /// The file.
    pub(super) found: Arc<TranscriptFile>,
    /// Whether it is in the backlog. Kept by who owns that.
    pub(super) queued: bool,
    reader: Box<dyn FileReader>,
}

impl Follower {
    /// Nothing of the file has been read yet. If the receiver holds what a file of this key said before (`reported`),
    /// the first message replaces that.
    pub(super) fn new(found: Arc<TranscriptFile>, reported: bool, activity: bool) -> Self {
        Self::of(match found.tool.spec().shape_of(&found.name) {
            Shape::Lines => Box::new(Tail::new(found, reported, activity)),
            Shape::Document => Box::new(Document::new(found, reported, activity)),
            Shape::Database(table) => Box::new(Database::new(found, table, reported, activity)),
        })
    }

    /// Goes on where another process stopped; the receiver holds what that one read.
    pub(super) fn resume(found: Arc<TranscriptFile>, state: FileState, activity: bool) -> Self {
        Self::of(match found.tool.spec().shape_of(&found.name) {
            Shape::Lines => Box::new(Tail::resume(found, state, activity)),
            Shape::Document => Box::new(Document::resume(found, state, activity)),
            Shape::Database(table) => Box::new(Database::resume(found, table, state, activity)),
        })
    }

    fn of(reader: Box<dyn FileReader>) -> Self {
        Self { found: Arc::clone(reader.file()), queued: false, reader }
    }

    /// Whether the receiver holds anything of the file.
    pub(super) fn is_reported(&self) -> bool {
        self.reader.is_reported()
    }
}

impl Deref for Follower {
    type Target = dyn FileReader;

    fn deref(&self) -> &Self::Target {
        &*self.reader
    }
}

impl DerefMut for Follower {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.reader
    }
}

/// Reads; if that panics, only its place is logged.
pub(super) fn guarded(read: impl FnOnce() -> Result<Polling, PollError>) -> Result<Polling, PollError> {
    let polled = panic::catch_unwind(AssertUnwindSafe(|| panics::without_message(read)));
    polled.unwrap_or(Err(PollError::Panicked))
}

/// What became of polling a file that may be gone.
pub(super) fn unless_gone(polled: Result<Polling, PollError>) -> Result<Polling, PollError> {
    match polled {
        Err(PollError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Polling::Gone),
        polled => polled,
    }
}

/// Reports that what the file said no longer counts.
pub(super) fn retract(sink: &dyn RecordSink, found: Arc<TranscriptFile>) -> Result<(), SinkClosed> {
    sink.send(SourceMessage::Retract { file: Arc::clone(&found) })?;
    sink.send(SourceMessage::Archive { file: found })
}

/// Whether there may be a file beside a transcript.
pub(super) fn may_have_companion(of: &TranscriptFile) -> bool {
    of.tool.spec().companion.as_ref().is_some_and(|companion| (companion.of)(&of.name).is_some())
}

/// What stands in the file beside a transcript, if there may be one and it is there and readable.
pub(super) fn companion(of: &TranscriptFile) -> Option<Vec<u8>> {
    let name = (of.tool.spec().companion.as_ref()?.of)(&of.name)?;
    // Named like the transcript, as far as the transcript's name goes.
    let path = match name.split_once("/*/") {
        None => TranscriptFile::below(&of.root, &name),
        Some((dir, rest)) => one_below(of.root.join(dir), rest)?,
    };
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_COMPANION).read_to_end(&mut text)).ok()?;
    Some(text)
}

/// The file of this name in any of the directories in `dir`; the first of several.
fn one_below(dir: PathBuf, name: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path().join(name)).collect();
    found.retain(|path| path.is_file());
    found.into_iter().min()
}
