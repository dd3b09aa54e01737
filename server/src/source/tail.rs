//! One transcript file, read as it grows.
//!
//! A file normally only grows, and then only what is new is read. It may also be truncated, rewritten in place or
//! replaced; then it is read anew, and the first message about it replaces everything reported before. That is noticed
//! by its identity, its size, and fingerprints of its beginning and of the bytes before the place reached; where only
//! the time or the identity changed, by the hash of everything read. What is not noticed: bytes overwritten in the
//! middle of a file that grows in the same moment.

use crate::observation::{
    ContentHash, FileState, MARK, MAX_REPLACEMENT, Marks, Polled, RecordSink, SinkClosed, SourceMessage, Stamp,
    TranscriptFile,
};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashboard_core::record::{Lineage, Record};
use dashboard_core::transcript::{Checkpoint, Reading, TranscriptReader};
use xxhash_rust::xxh3::Xxh3;

use super::budget::Budget;
use super::files;
use super::tools;
use crate::panics;
use crate::platform::FileIdentity;

/// Records sent at once.
const BATCH: usize = 512;
/// A file that changed this recently is likely to change again.
const ACTIVE: Duration = Duration::from_mins(10);
/// A companion file, such as an agent's `.meta.json`, is a few hundred bytes.
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

/// The hash of bytes, under way: more than half a kilobyte.
#[derive(Default)]
struct Hasher(Box<Xxh3>);

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

/// What is known of the hash of the bytes read so far.
#[derive(Debug)]
enum Content {
    /// Every byte up to the position went into it, and further ones will.
    Running(Hasher),
    /// That of the bytes up to the position; of an inactive file, to save the memory of a running one.
    Known(ContentHash),
    /// The beginning of the file was read by another process.
    Unknown,
}

/// The comparison of a file with what was read of it, under way.
#[derive(Debug)]
struct Comparison {
    stamp: Stamp,
    hasher: Hasher,
    /// How many bytes went into `hasher`.
    compared: u64,
}

/// What comparing a file with what was read of it came to.
enum Verification {
    /// What was read is still there, as far as can be told; these are the last bytes before the position.
    Same(Vec<u8>),
    /// It is not.
    Rewritten,
    /// The budget was spent.
    Paused,
}

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) found: Arc<TranscriptFile>,
    /// Whether it is in the backlog. Kept by who owns that.
    pub(super) queued: bool,
    reader: TranscriptReader,
    /// Whether the reader gives out activity.
    activity: bool,
    /// The file as it was when all of it had last been read; none before the first time.
    complete: Option<Polled>,
    /// The file as it was when it was last opened to be read on; part of the reported state.
    opened: Option<Polled>,
    marks: Marks,
    content: Content,
    comparison: Option<Comparison>,
    /// Whether the receiver holds anything of the file.
    reported: bool,
    /// Whether the next message replaces what was reported.
    replaces: bool,
    /// The name under which the file was reported before it was renamed: the next message retracts that.
    supersedes: Option<Arc<TranscriptFile>>,
    /// Records of a replacement whose file has not been read to its end yet; at most [`MAX_REPLACEMENT`].
    held_back: Vec<Record>,
    /// Whether the companion file still has to be read.
    wants_companion: bool,
    /// Set when reading the file panicked; cleared when it is rewritten.
    panicked: bool,
}

fn reader(name: &str, from: Checkpoint, activity: bool) -> TranscriptReader {
    let reader = TranscriptReader::resume(name, from);
    if activity { reader.with_activity() } else { reader }
}

impl Tail {
    /// Nothing of the file has been read yet. If the receiver holds what a file of this key said before (`reported`),
    /// the first message replaces that.
    pub(super) fn new(found: Arc<TranscriptFile>, reported: bool, activity: bool) -> Self {
        Self {
            queued: false,
            reader: reader(&found.name, Checkpoint::start(found.tool), activity),
            activity,
            complete: None,
            opened: None,
            marks: Marks::default(),
            content: Content::Running(Hasher::default()),
            comparison: None,
            reported,
            replaces: reported,
            supersedes: None,
            held_back: Vec::new(),
            wants_companion: tools::of(found.tool).companion(&found.path).is_some(),
            panicked: false,
            found,
        }
    }

    /// Goes on where another process stopped; the receiver holds what that one read.
    pub(super) fn resume(found: Arc<TranscriptFile>, state: FileState, activity: bool) -> Self {
        Self {
            reader: reader(&found.name, state.checkpoint, activity),
            complete: state.polled,
            opened: state.polled,
            marks: state.marks,
            content: state.content.map_or(Content::Unknown, Content::Known),
            replaces: false,
            ..Self::new(found, true, activity)
        }
    }

    /// The file is one that was reported under this name, too. It goes when this one is reported, so that it counts once
    /// at any moment.
    pub(super) fn supersede(&mut self, former: Arc<TranscriptFile>) {
        self.supersedes = Some(former);
    }

    /// Whether what is read is to be reported as a whole.
    fn is_replacement(&self) -> bool {
        self.replaces || self.supersedes.is_some()
    }

    /// Whether the file is likely to change soon.
    pub(super) fn is_active(&self) -> bool {
        self.modified().and_then(|at| at.elapsed().ok()).is_none_or(|age| age < ACTIVE)
    }

    /// When the file had last been modified before it was last read to its end.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        self.complete?.stamp.modified
    }

    /// Whether the receiver holds anything of the file.
    pub(super) fn is_reported(&self) -> bool {
        self.reported
    }

    /// Whether the file is as it was when all of it had been read.
    pub(super) fn is_unchanged(&self, metadata: &Metadata) -> bool {
        let same = |complete: Polled| complete.conclusive && complete.stamp == Stamp::of(metadata);
        self.complete.is_some_and(same) && metadata.len() == self.position()
    }

    /// What the file is recognised by, should it turn up under another name.
    pub(super) fn fingerprint(&self) -> Option<(FileIdentity, Marks)> {
        Some((self.complete?.stamp.identity, self.marks))
    }

    /// Whether this is the file with this fingerprint.
    pub(super) fn is_same(&self, identity: FileIdentity, marks: &Marks) -> bool {
        self.complete.is_some_and(|complete| complete.stamp.identity == identity) && self.marks.head == marks.head
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> u64 {
        self.reader.counts().bytes
    }

    /// What has been read so far says of the session's origin.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        self.reader.checkpoint().lineage().cloned()
    }

    /// Reads what is new and reports it, until the end of the file or until the budget is spent. A panic on the way
    /// costs this file, and no other.
    pub(super) fn poll(
        &mut self,
        sink: &dyn RecordSink,
        buffer: &mut Vec<u8>,
        budget: &Budget<'_>,
    ) -> Result<Polling, PollError> {
        // The file is not touched again before it is started over, so that what the panic left half done is not used.
        let polled = panic::catch_unwind(AssertUnwindSafe(|| {
            panics::without_message(|| self.poll_unguarded(sink, buffer, budget))
        }));
        polled.unwrap_or_else(|_| {
            self.panicked = true;
            self.held_back = Vec::new();
            Err(PollError::Panicked)
        })
    }

    fn poll_unguarded(
        &mut self,
        sink: &dyn RecordSink,
        buffer: &mut Vec<u8>,
        budget: &Budget<'_>,
    ) -> Result<Polling, PollError> {
        let is_first = self.complete.is_none();
        let polled = self.poll_lines(sink, buffer, budget);
        if self.wants_companion && (is_first || self.is_active()) && matches!(polled, Ok(Polling::Complete)) {
            self.read_companion(sink)?;
        }
        match polled {
            Err(PollError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Polling::Gone),
            polled => polled,
        }
    }

    fn poll_lines(
        &mut self,
        sink: &dyn RecordSink,
        buffer: &mut Vec<u8>,
        budget: &Budget<'_>,
    ) -> Result<Polling, PollError> {
        let metadata = fs::symlink_metadata(&self.found.path)?;
        if !metadata.is_file() {
            return Ok(Polling::Gone);
        }
        if self.is_unchanged(&metadata) {
            return Ok(Polling::Complete);
        }
        if self.panicked {
            let stamp = Stamp::of(&metadata);
            let opened = self.opened.map(|opened| opened.stamp);
            if opened.is_none_or(|opened| opened.identity == stamp.identity && stamp.size >= opened.size) {
                return Err(PollError::Panicked);
            }
            self.start_over();
        }
        let mut file = File::open(&self.found.path)?;
        let opened = Polled::at(&file.metadata()?);
        let before = match self.verify(&opened.stamp, &mut file, buffer, sink, budget)? {
            Verification::Same(before) => before,
            Verification::Rewritten => {
                self.start_over();
                Vec::new()
            }
            Verification::Paused => return Ok(Polling::Paused),
        };
        self.opened = Some(opened);
        let polled = match self.read_on(before, &mut file, sink, buffer, budget) {
            Err(PollError::Stale) => {
                self.start_over();
                self.opened = Some(opened);
                self.read_on(Vec::new(), &mut file, sink, buffer, budget)?
            }
            polled => polled?,
        };
        if polled == Polling::Complete {
            // Taken after reading: if the file changed meanwhile, its size is not the position, and it is polled again.
            self.complete = Some(Polled::at(&file.metadata()?));
            if let Content::Running(_) = self.content
                && !self.is_active()
            {
                self.content = self.content_hash().map_or(Content::Unknown, Content::Known);
            }
        }
        Ok(polled)
    }

    /// Whether the file still holds what has been read of it, as far as can be told.
    fn verify(
        &mut self,
        now: &Stamp,
        file: &mut File,
        buffer: &mut Vec<u8>,
        sink: &dyn RecordSink,
        budget: &Budget<'_>,
    ) -> io::Result<Verification> {
        let reached = self.marks.reached();
        let is_doubtful = self.complete.is_some_and(|Polled { stamp, .. }| {
            now.identity != stamp.identity || (now.size == reached && now.modified != stamp.modified)
        });
        if now.size < self.position() {
            return Ok(Verification::Rewritten);
        }
        let Some(mut before) = self.marks.match_in(file)? else { return Ok(Verification::Rewritten) };
        if is_doubtful && reached > 0 {
            match self.compare(now, file, buffer, sink, budget)? {
                Some(true) => {}
                Some(false) => return Ok(Verification::Rewritten),
                None => return Ok(Verification::Paused),
            }
        }
        // Resumed at the last newline, the marks reach as far as the former process had come.
        let beyond = usize::try_from(reached.saturating_sub(self.position())).unwrap_or(usize::MAX);
        before.truncate(before.len().saturating_sub(beyond));
        Ok(Verification::Same(before))
    }

    /// Whether the file begins with the very bytes read; unknown while the budget is spent.
    fn compare(
        &mut self,
        now: &Stamp,
        file: &mut File,
        buffer: &mut Vec<u8>,
        sink: &dyn RecordSink,
        budget: &Budget<'_>,
    ) -> io::Result<Option<bool>> {
        let Some(expected) = self.content_hash() else { return Ok(Some(false)) };
        let under_way = self.comparison.take().filter(|comparison| comparison.stamp == *now);
        let begin = || Comparison { stamp: *now, hasher: Hasher::default(), compared: 0 };
        let mut comparison = under_way.unwrap_or_else(begin);
        file.seek(SeekFrom::Start(comparison.compared))?;
        buffer.resize(files::CHUNK, 0);
        while comparison.compared < expected.length {
            let left = usize::try_from(expected.length - comparison.compared).unwrap_or(usize::MAX);
            let length = buffer.len().min(left);
            match file.read(&mut buffer[..length]) {
                Ok(0) => return Ok(Some(false)),
                Ok(length) => {
                    comparison.hasher.0.update(&buffer[..length]);
                    comparison.compared += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if comparison.compared < expected.length && budget.is_spent_by_chunk(sink) {
                self.comparison = Some(comparison);
                return Ok(None);
            }
        }
        let is_same = comparison.hasher.0.digest() == expected.hash;
        if is_same && expected.length == self.position() && self.is_active() {
            self.content = Content::Running(comparison.hasher);
        }
        Ok(Some(is_same))
    }

    /// Forgets what was read: the file is read from its beginning, and the next message replaces what was reported.
    fn start_over(&mut self) {
        let (queued, supersedes) = (self.queued, self.supersedes.take());
        *self = Self { queued, supersedes, ..Self::new(Arc::clone(&self.found), self.reported, self.activity) };
    }

    /// Reads from the position on; `before` are the last bytes before it.
    fn read_on(
        &mut self,
        mut before: Vec<u8>,
        file: &mut File,
        sink: &dyn RecordSink,
        buffer: &mut Vec<u8>,
        budget: &Budget<'_>,
    ) -> Result<Polling, PollError> {
        /// Why reading chunks ends before the end of the file.
        enum End {
            Paused,
            Error(PollError),
        }
        impl From<io::Error> for End {
            fn from(error: io::Error) -> Self {
                Self::Error(error.into())
            }
        }
        let from = self.position();
        file.seek(SeekFrom::Start(from))?;
        let mut records = std::mem::take(&mut self.held_back);
        let read = files::read_on(file, buffer, |bytes| {
            let reading = self.reader.read(bytes, &mut |record| records.push(record));
            before.extend_from_slice(&bytes[bytes.len().saturating_sub(MARK)..]);
            before.drain(..before.len().saturating_sub(MARK));
            self.marks.reach(self.position(), bytes, &before);
            match &mut self.content {
                Content::Running(hasher) => hasher.0.update(bytes),
                content => *content = Content::Unknown,
            }
            if reading == Reading::Stale {
                return Err(End::Error(PollError::Stale));
            }
            if records.len() >= if self.is_replacement() { MAX_REPLACEMENT } else { BATCH } {
                self.report(std::mem::take(&mut records), sink).map_err(|error| End::Error(error.into()))?;
            }
            if budget.is_spent_by_chunk(sink) { Err(End::Paused) } else { Ok(()) }
        });
        match read {
            Err(End::Paused) => {
                if self.is_replacement() {
                    self.held_back = records;
                } else {
                    self.report(records, sink)?;
                }
                Ok(Polling::Paused)
            }
            // What was read before reading failed counts.
            Ok(()) | Err(End::Error(PollError::Unreadable(_))) => {
                if self.reader.finish(&mut |record| records.push(record)) == Reading::Stale {
                    return Err(PollError::Stale);
                }
                let is_news = self.position() != from
                    || self.is_replacement()
                    || !records.is_empty()
                    || self.complete.map(|it| it.stamp) != self.opened.map(|it| it.stamp);
                if is_news {
                    self.report(records, sink)?;
                }
                match read {
                    Err(End::Error(error)) => Err(error),
                    _ => Ok(Polling::Complete),
                }
            }
            Err(End::Error(error)) => Err(error),
        }
    }

    fn report(&mut self, records: Vec<Record>, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        if let Some(former) = self.supersedes.take() {
            retract(sink, former)?;
        }
        self.reported = true;
        let replaces = std::mem::take(&mut self.replaces);
        let (rejections, counts) = (self.reader.take_rejections(), self.reader.counts());
        let (marks, content) = (self.marks, self.content_hash());
        let state = FileState { polled: self.opened, marks, content, checkpoint: self.reader.checkpoint(), counts };
        let (file, state) = (Arc::clone(&self.found), Box::new(state));
        sink.send(SourceMessage::Read { file, records, rejections, state, replaces })
    }

    /// The hash of everything read.
    fn content_hash(&self) -> Option<ContentHash> {
        match &self.content {
            Content::Running(hasher) => Some(ContentHash { length: self.position(), hash: hasher.0.digest() }),
            Content::Known(hash) => Some(*hash),
            Content::Unknown => None,
        }
    }

    /// Reports what the companion file says, if it exists by now and can be read; it is written before or after.
    fn read_companion(&mut self, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        let adapter = tools::of(self.found.tool);
        let Some(path) = adapter.companion(&self.found.path) else { return Ok(()) };
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_COMPANION).read_to_end(&mut text));
        let dir = self.found.name.rsplit_once('/').map_or("", |(dir, _)| dir);
        let name = format!("{dir}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if let Some(record) = read.ok().and_then(|_| adapter.companion_record(&name, &text)) {
            self.wants_companion = false;
            self.report(vec![record], sink)?;
        }
        Ok(())
    }
}

/// Reports that what the file said no longer counts.
pub(super) fn retract(sink: &dyn RecordSink, found: Arc<TranscriptFile>) -> Result<(), SinkClosed> {
    sink.send(SourceMessage::Retract { file: Arc::clone(&found) })?;
    sink.send(SourceMessage::Archive { file: found })
}
