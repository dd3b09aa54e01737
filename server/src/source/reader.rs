//! One transcript, followed as its shape demands: what the followers of all shapes have in common.

use crate::observation::{FileState, Marks, RecordSink, SinkClosed, TranscriptFile};
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dashboard_core::transcript::Shape;

use super::database::Database;
use super::document::Document;
use super::tail::Tail;
use crate::platform::FileIdentity;

/// A file that changed this recently is likely to change again.
pub(super) const ACTIVE: Duration = Duration::from_mins(10);
/// A file beside a transcript is a few hundred bytes.
const MAX_COMPANION: u64 = 64 << 10;

/// Why looking at a file ended early.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// See [`SinkClosed`].
    SinkClosed,
    /// What was said of the file no longer holds.
    Stale,
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<SinkClosed> for Interrupted {
    fn from(_: SinkClosed) -> Self {
        Self::SinkClosed
    }
}

/// Whether a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is, and what is in it has been read.
    There,
    /// It is not.
    Gone,
}

/// Follows one file.
pub(super) trait FileReader: Debug + Send {
    /// The file.
    fn file(&self) -> &Arc<TranscriptFile>;

    /// Reads what is new, and tells `out`.
    fn look(&mut self, out: &dyn RecordSink, buffer: &mut Vec<u8>) -> Result<Seen, Interrupted>;

    /// Whether the file is likely to change soon.
    fn is_active(&self) -> bool;

    /// Whether nothing of the file has been read yet.
    fn is_new(&self) -> bool;

    /// Whether the engine holds anything of the file.
    fn has_said_something(&self) -> bool;

    /// What the file was and said, should it turn up under another name. `None` if that is not looked for.
    fn remains(&self) -> Option<(FileIdentity, Marks)>;

    /// Whether this is the file that these are the remains of.
    fn is_same(&self, identity: FileIdentity, marks: &Marks) -> bool;
}

/// A follower of a file of which nothing has been read yet; the engine may hold what a file of this key said before.
pub(super) fn new(found: Arc<TranscriptFile>, said: bool, activity: bool) -> Box<dyn FileReader> {
    match found.tool.spec().shape_of(&found.name) {
        Shape::Lines => Box::new(Tail::new(found, said, activity)),
        Shape::Document => Box::new(Document::new(found, said, activity)),
        Shape::Database(table) => Box::new(Database::new(found, table, said, activity)),
    }
}

/// A follower that goes on where another process stopped; what that one read has been told.
pub(super) fn resume(found: Arc<TranscriptFile>, state: FileState, activity: bool) -> Box<dyn FileReader> {
    match found.tool.spec().shape_of(&found.name) {
        Shape::Lines => Box::new(Tail::resume(found, state, activity)),
        Shape::Document => Box::new(Document::resume(found, state, activity)),
        Shape::Database(table) => Box::new(Database::resume(found, table, state, activity)),
    }
}

/// What stands in the file beside a transcript, if there may be one and it is there and readable.
pub(super) fn companion(of: &TranscriptFile) -> Option<Vec<u8>> {
    let name = (of.tool.spec().companion.as_ref()?.of)(&of.name)?;
    let path = match name.split_once("/*/") {
        None => of.root.join(name),
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
