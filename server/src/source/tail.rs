//! One transcript file, read as it grows.
//!
//! A file normally only grows, and then only what is new is read. It may also be truncated, rewritten in place or
//! replaced; then everything it said is retracted and it is read anew. That is noticed by its identity, its size, and
//! fingerprints of its beginning and of the bytes before the place reached. What is not noticed: bytes overwritten in
//! the middle of a file that grows in the same moment.

use crate::observation::{FileState, Look, MARK, Marks, RecordSink, SinkClosed, SourceMessage, Stamp, TranscriptFile};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;

use dashboard_core::record::Record;
use dashboard_core::transcript::{Checkpoint, Reading, TranscriptReader};

use super::files;
use super::reader::{self, FileReader, Interrupted, Seen, companion};
use crate::platform::FileIdentity;

/// Records sent at once.
const BATCH: usize = 512;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Tail {
    found: Arc<TranscriptFile>,
    reader: TranscriptReader,
    /// Whether the reader tells what sessions did.
    activity: bool,
    /// What the file looked like when all of it had been read.
    last: Option<Look>,
    /// What it looked like when reading began.
    begun: Option<Look>,
    marks: Marks,
    /// Whether the engine holds anything of it.
    said: bool,
    /// Whether the file beside it still has to be read.
    wants_meta: bool,
}

fn lines_reader(name: &str, from: Checkpoint, activity: bool) -> TranscriptReader {
    let reader = TranscriptReader::resume(name, from);
    if activity { reader.with_activity() } else { reader }
}

impl Tail {
    /// Nothing of the file has been read yet; the engine may hold what a file of this key said before.
    pub(super) fn new(found: Arc<TranscriptFile>, said: bool, activity: bool) -> Self {
        Self {
            reader: lines_reader(&found.name, Checkpoint::start(found.tool), activity),
            activity,
            last: None,
            begun: None,
            marks: Marks::default(),
            said,
            wants_meta: found.tool.spec().companion.as_ref().is_some_and(|it| (it.of)(&found.name).is_some()),
            found,
        }
    }

    /// Goes on where another process stopped; what that one read has been told.
    pub(super) fn resume(found: Arc<TranscriptFile>, state: FileState, activity: bool) -> Self {
        Self {
            reader: lines_reader(&found.name, state.checkpoint, activity),
            activity,
            last: state.look,
            begun: state.look,
            marks: state.marks,
            said: true,
            wants_meta: found.tool.spec().companion.as_ref().is_some_and(|it| (it.of)(&found.name).is_some()),
            found,
        }
    }

    fn look_at_lines(&mut self, out: &dyn RecordSink, buffer: &mut Vec<u8>) -> Result<Seen, Interrupted> {
        let metadata = fs::symlink_metadata(&self.found.path)?;
        if !metadata.is_file() {
            return Ok(Seen::Gone);
        }
        let same = |last: Look| last.conclusive && last.stamp == Stamp::of(&metadata);
        if self.last.is_some_and(same) && metadata.len() == self.position() {
            return Ok(Seen::There);
        }
        let mut file = File::open(&self.found.path)?;
        let begun = Look::at(&file.metadata()?);
        let before = match self.bytes_before(&begun.stamp, &mut file)? {
            Some(before) => before,
            None => self.start_over(out)?,
        };
        self.begun = Some(begun);
        if let Err(interrupted) = self.read_on(before, &mut file, out, buffer) {
            let Interrupted::Stale = interrupted else { return Err(interrupted) };
            let before = self.start_over(out)?;
            self.begun = Some(begun);
            self.read_on(before, &mut file, out, buffer)?;
        }
        // Taken after reading: if the file changed meanwhile, its size is not the place reached, and we look again.
        self.last = Some(Look::at(&file.metadata()?));
        Ok(Seen::There)
    }

    /// The last bytes before the place reached, if the file holds what has been read of it, as far as can be told.
    fn bytes_before(&self, now: &Stamp, file: &mut File) -> io::Result<Option<Vec<u8>>> {
        if let Some(Look { stamp, .. }) = self.last {
            let touched = now.size == self.position() && now.modified != stamp.modified;
            if now.identity != stamp.identity || now.size < self.position() || (touched && now.size > 0) {
                return Ok(None);
            }
        } else if self.said && self.position() == 0 {
            return Ok(None);
        }
        let before = self.marks.match_in(file)?;
        // Taken up at the last newline, the marks reach as far as the former process had come.
        let beyond = usize::try_from(self.marks.reached().saturating_sub(self.position())).unwrap_or(usize::MAX);
        Ok(before.map(|mut before| {
            before.truncate(before.len().saturating_sub(beyond));
            before
        }))
    }

    /// Withdraws everything; at the beginning of the file, no bytes are before it.
    fn start_over(&mut self, out: &dyn RecordSink) -> Result<Vec<u8>, SinkClosed> {
        if self.said {
            out.send(SourceMessage::Retract { file: Arc::clone(&self.found) })?;
        }
        *self = Self::new(Arc::clone(&self.found), false, self.activity);
        Ok(Vec::new())
    }

    /// Reads from the place reached to the end; `before` are the last bytes before that place.
    fn read_on(
        &mut self,
        mut before: Vec<u8>,
        file: &mut File,
        out: &dyn RecordSink,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Interrupted> {
        file.seek(SeekFrom::Start(self.position()))?;
        let mut records = Vec::new();
        let read = files::read_on(file, buffer, |bytes| {
            let reading = self.reader.read(bytes, &mut |record| records.push(record));
            before.extend_from_slice(&bytes[bytes.len().saturating_sub(MARK)..]);
            before.drain(..before.len().saturating_sub(MARK));
            self.marks.reach(self.position(), bytes, &before);
            if reading == Reading::Stale {
                return Err(Interrupted::Stale);
            }
            if records.len() >= BATCH {
                self.say(std::mem::take(&mut records), out)?;
            }
            Ok(())
        });
        match read {
            // What was read before reading failed counts.
            Ok(()) | Err(Interrupted::Unreadable(_)) => {
                if self.reader.finish(&mut |record| records.push(record)) == Reading::Stale {
                    return Err(Interrupted::Stale);
                }
                self.say(records, out)?;
                read
            }
            Err(Interrupted::SinkClosed | Interrupted::Stale) => read,
        }
    }

    fn say(&mut self, records: Vec<Record>, out: &dyn RecordSink) -> Result<(), SinkClosed> {
        self.said = true;
        let (rejections, counts) = (self.reader.take_rejections(), self.reader.counts());
        let state = FileState { look: self.begun, marks: self.marks, checkpoint: self.reader.checkpoint(), counts };
        let (file, state) = (Arc::clone(&self.found), Box::new(state));
        out.send(SourceMessage::Read { file, records, rejections, state })
    }

    /// Learns what the file beside it says, if that is there by now and readable; it is written before or after.
    fn look_at_meta(&mut self, out: &dyn RecordSink) -> Result<(), SinkClosed> {
        let text = companion(&self.found);
        if let Some(record) = text.and_then(|text| self.reader.read_companion(&text)) {
            self.wants_meta = false;
            self.say(vec![record], out)?;
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.reader.counts().bytes
    }
}

impl FileReader for Tail {
    fn file(&self) -> &Arc<TranscriptFile> {
        &self.found
    }

    fn is_active(&self) -> bool {
        let age = self.last.and_then(|last| last.stamp.modified?.elapsed().ok());
        age.is_none_or(|age| age < reader::ACTIVE)
    }

    fn is_new(&self) -> bool {
        self.last.is_none()
    }

    fn has_said_something(&self) -> bool {
        self.said
    }

    fn remains(&self) -> Option<(FileIdentity, Marks)> {
        Some((self.last?.stamp.identity, self.marks))
    }

    fn is_same(&self, identity: FileIdentity, marks: &Marks) -> bool {
        self.last.is_some_and(|last| last.stamp.identity == identity) && self.marks.head == marks.head
    }

    fn look(&mut self, out: &dyn RecordSink, buffer: &mut Vec<u8>) -> Result<Seen, Interrupted> {
        let is_first = self.last.is_none();
        let looked = self.look_at_lines(out, buffer);
        if self.wants_meta && (is_first || self.is_active()) && matches!(looked, Ok(Seen::There)) {
            self.look_at_meta(out)?;
        }
        match looked {
            Err(Interrupted::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Seen::Gone),
            looked => looked,
        }
    }
}
