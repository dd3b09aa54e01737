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
use std::sync::Arc;
use std::time::SystemTime;

use dashboard_core::record::{Lineage, Record};
use dashboard_core::transcript::{Checkpoint, Reading, TranscriptReader};
use xxhash_rust::xxh3::Xxh3;

use super::budget::Budget;
use super::files;
use super::reader::{self, FileReader, PollError, Polling, companion, retract, unless_gone};
use crate::platform::FileIdentity;

/// Records sent at once.
const BATCH: usize = 512;

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
    found: Arc<TranscriptFile>,
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

fn lines_reader(name: &str, from: Checkpoint, activity: bool) -> TranscriptReader {
    let reader = TranscriptReader::resume(name, from);
    if activity { reader.with_activity() } else { reader }
}

impl Tail {
    /// Nothing of the file has been read yet. If the receiver holds what a file of this key said before (`reported`),
    /// the first message replaces that.
    pub(super) fn new(found: Arc<TranscriptFile>, reported: bool, activity: bool) -> Self {
        Self {
            reader: lines_reader(&found.name, Checkpoint::start(found.tool), activity),
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
            wants_companion: reader::may_have_companion(&found),
            panicked: false,
            found,
        }
    }

    /// Goes on where another process stopped; the receiver holds what that one read.
    pub(super) fn resume(found: Arc<TranscriptFile>, state: FileState, activity: bool) -> Self {
        Self {
            reader: lines_reader(&found.name, state.checkpoint, activity),
            complete: state.polled,
            opened: state.polled,
            marks: state.marks,
            content: state.content.map_or(Content::Unknown, Content::Known),
            replaces: false,
            ..Self::new(found, true, activity)
        }
    }

    /// Whether what is read is to be reported as a whole.
    fn is_replacement(&self) -> bool {
        self.replaces || self.supersedes.is_some()
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
        unless_gone(polled)
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
        let supersedes = self.supersedes.take();
        *self = Self { supersedes, ..Self::new(Arc::clone(&self.found), self.reported, self.activity) };
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
        let text = companion(&self.found);
        if let Some(record) = text.and_then(|text| self.reader.read_companion(&text)) {
            self.wants_companion = false;
            self.report(vec![record], sink)?;
        }
        Ok(())
    }
}

impl FileReader for Tail {
    fn file(&self) -> &Arc<TranscriptFile> {
        &self.found
    }

    fn supersede(&mut self, former: Arc<TranscriptFile>) {
        self.supersedes = Some(former);
    }

    fn is_active(&self) -> bool {
        self.modified().and_then(|at| at.elapsed().ok()).is_none_or(|age| age < reader::ACTIVE)
    }

    fn modified(&self) -> Option<SystemTime> {
        self.complete?.stamp.modified
    }

    fn is_reported(&self) -> bool {
        self.reported
    }

    fn is_unchanged(&self, metadata: &Metadata) -> bool {
        let same = |complete: Polled| complete.conclusive && complete.stamp == Stamp::of(metadata);
        self.complete.is_some_and(same) && metadata.len() == self.position()
    }

    fn fingerprint(&self) -> Option<(FileIdentity, Marks)> {
        Some((self.complete?.stamp.identity, self.marks))
    }

    fn is_same(&self, identity: FileIdentity, marks: &Marks) -> bool {
        self.complete.is_some_and(|complete| complete.stamp.identity == identity) && self.marks.head == marks.head
    }

    fn position(&self) -> u64 {
        self.reader.counts().bytes
    }

    fn lineage(&self) -> Option<Lineage> {
        self.reader.checkpoint().lineage().cloned()
    }

    fn poll(&mut self, sink: &dyn RecordSink, buffer: &mut Vec<u8>, budget: &Budget<'_>) -> Result<Polling, PollError> {
        // The file is not touched again before it is started over, so that what a panic left half done is not used.
        let polled = reader::guarded(|| self.poll_unguarded(sink, buffer, budget));
        if let Err(PollError::Panicked) = polled {
            self.panicked = true;
            self.held_back = Vec::new();
        }
        polled
    }
}
