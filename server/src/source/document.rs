//! One transcript that is a JSON document: rewritten as a whole whenever the tool has something to add.
//!
//! When it changed, all of it is read again. Mostly it then says what it said before and more, and only what is new is
//! passed on; if something is gone or different, everything it said is withdrawn and said anew. A document caught half
//! written says what it said before: it is read again at the next change, and refused if none comes.

use crate::observation::{
    FileState, MARK, MAX_REPLACEMENT, Marks, Polled, RecordSink, SinkClosed, SourceMessage, Stamp, TranscriptFile,
};
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashboard_core::record::{FileCounts, Lineage, Record, RejectReason, Rejection};
use dashboard_core::transcript::{Checkpoint, MAX_DOCUMENT, TranscriptReader};
use xxhash_rust::xxh3::xxh3_64;

use super::budget::Budget;
use super::reader::{self, FileReader, PollError, Polling, companion, retract, unless_gone};
use crate::platform::FileIdentity;

/// A document that has been this long without a change will not be completed.
const SETTLED: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(10) };

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Document {
    found: Arc<TranscriptFile>,
    /// Whether the reader tells what sessions did.
    activity: bool,
    /// The file as it was when it was read last.
    last: Option<Polled>,
    marks: Marks,
    /// As of the last time that it could be read.
    checkpoint: Checkpoint,
    /// Whether the receiver holds anything of the file.
    reported: bool,
    /// How often each record was reported, by its hash; `None` if another process did, or a file that was here before.
    known: Option<HashMap<u64, u32>>,
    unreadable: Option<Unread>,
    /// The name under which the file was reported before it was renamed: the next message retracts that.
    supersedes: Option<Arc<TranscriptFile>>,
    /// The file as it was when reading it panicked.
    panicked: Option<Stamp>,
}

/// The document as it stands cannot be read.
#[derive(Clone, Copy, Debug)]
struct Unread {
    reason: RejectReason,
    /// Whether the audit knows.
    refused: bool,
}

impl Document {
    /// Nothing of the file has been read yet. If the receiver holds what a file of this key said before (`reported`),
    /// the first message replaces that.
    pub(super) fn new(found: Arc<TranscriptFile>, reported: bool, activity: bool) -> Self {
        Self {
            activity,
            last: None,
            marks: Marks::default(),
            checkpoint: Checkpoint::start(found.tool),
            reported,
            known: (!reported).then(HashMap::new),
            unreadable: None,
            supersedes: None,
            panicked: None,
            found,
        }
    }

    /// Goes on where another process stopped; the receiver holds what that one read.
    pub(super) fn resume(found: Arc<TranscriptFile>, state: FileState, activity: bool) -> Self {
        // What could not be read is read again.
        let last = state.polled.filter(|polled| polled.stamp.size == state.checkpoint.counts.bytes);
        Self { last, marks: state.marks, checkpoint: state.checkpoint, ..Self::new(found, true, activity) }
    }

    fn poll_unguarded(&mut self, sink: &dyn RecordSink) -> Result<Polling, PollError> {
        let metadata = fs::symlink_metadata(&self.found.path)?;
        if !metadata.is_file() {
            return Ok(Polling::Gone);
        }
        if self.panicked == Some(Stamp::of(&metadata)) {
            return Err(PollError::Panicked);
        }
        self.panicked = None;
        if self.last.is_some_and(|last| last.conclusive && last.stamp == Stamp::of(&metadata)) {
            self.refuse_if_settled(sink)?;
            return Ok(Polling::Complete);
        }
        let mut file = File::open(&self.found.path)?;
        let polled = Polled::at(&file.metadata()?);
        let mut bytes = Vec::with_capacity(usize::try_from(polled.stamp.size).unwrap_or_default().min(MAX_DOCUMENT));
        // One byte more than is allowed tells that it is too long.
        file.by_ref().take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
        self.read(&bytes, polled, sink)?;
        // If the file changed meanwhile, its stamp is another one, and it is polled again.
        self.last = Some(polled);
        Ok(Polling::Complete)
    }

    fn read(&mut self, bytes: &[u8], polled: Polled, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        let mut reader = TranscriptReader::resume(&self.found.name, Checkpoint::start(self.found.tool));
        if self.activity {
            reader = reader.with_activity();
        }
        if let Some(text) = companion(&self.found) {
            // What it says comes again with the document's own records.
            let _ = reader.read_companion(&text);
        }
        let mut records = Vec::new();
        let is_blank = bytes.iter().all(u8::is_ascii_whitespace);
        let read = match reader.read_document(bytes, &mut |record| records.push(record)) {
            // Truncated, to be written anew.
            Ok(()) if is_blank => Err(RejectReason::NotJson),
            read => read,
        };
        if let Err(reason) = read {
            if self.unreadable.is_some_and(|unread| unread.refused) {
                // The audit knows that it cannot be read.
                return Ok(());
            }
            self.unreadable = Some(Unread { reason, refused: false });
            // What is cut may be completed; the rest is what the tool wrote.
            return if reason == RejectReason::NotJson {
                self.report_unread(polled, sink)
            } else {
                self.refuse(polled, sink)
            };
        }
        // What was refused goes with the rest.
        let was_refused = self.unreadable.take().is_some_and(|unread| unread.refused);
        let news = self.known.as_ref().filter(|_| !was_refused).and_then(|known| news(known, &records));
        let replaces = news.is_none();
        let records = match news {
            Some(news) => news.into_iter().map(|index| records[index].clone()).collect(),
            None => records,
        };
        let known = match &mut self.known {
            Some(known) if !replaces => known,
            known => known.insert(HashMap::new()),
        };
        records.iter().for_each(|record| *known.entry(hash(record)).or_default() += 1);
        self.marks = Marks::default();
        self.marks.reach(bytes.len() as u64, bytes, &bytes[bytes.len().saturating_sub(MARK)..]);
        self.checkpoint = reader.checkpoint();
        let mut batches = records.chunks(MAX_REPLACEMENT);
        let first = batches.next().unwrap_or_default().to_vec();
        self.report(polled, first, Vec::new(), self.checkpoint.counts, replaces, sink)?;
        batches
            .try_for_each(|batch| self.report(polled, batch.to_vec(), Vec::new(), self.checkpoint.counts, false, sink))
    }

    /// What it said holds until it can be read again.
    fn report_unread(&mut self, polled: Polled, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        let counts = FileCounts { pending_lines: 1, ..self.checkpoint.counts };
        self.report(polled, Vec::new(), Vec::new(), counts, false, sink)
    }

    /// Whether it has been cut for so long that nobody will complete it.
    fn is_settled(&self) -> bool {
        let is_cut = self.unreadable.is_some_and(|unread| !unread.refused);
        let age = self.last.and_then(|last| last.stamp.modified?.elapsed().ok());
        is_cut && age.is_none_or(|age| age >= SETTLED)
    }

    fn refuse_if_settled(&mut self, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        match self.last {
            Some(polled) if self.is_settled() => self.refuse(polled, sink),
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, polled: Polled, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        let Some(unread) = &mut self.unreadable else { return Ok(()) };
        unread.refused = true;
        let rejection = Rejection { file: self.found.name.clone(), byte_offset: 0, reason: unread.reason };
        let FileCounts { lines, rejected_lines, .. } = self.checkpoint.counts;
        let counts = FileCounts { lines: lines + 1, rejected_lines: rejected_lines + 1, ..self.checkpoint.counts };
        self.report(polled, Vec::new(), vec![rejection], counts, false, sink)
    }

    fn report(
        &mut self,
        polled: Polled,
        records: Vec<Record>,
        rejections: Vec<Rejection>,
        counts: FileCounts,
        replaces: bool,
        sink: &dyn RecordSink,
    ) -> Result<(), SinkClosed> {
        if let Some(former) = self.supersedes.take() {
            retract(sink, former)?;
        }
        // In place of nothing there is nothing to replace.
        let was_reported = std::mem::replace(&mut self.reported, true);
        let replaces = replaces && was_reported;
        let (marks, checkpoint) = (self.marks, self.checkpoint.clone());
        let state = Box::new(FileState { polled: Some(polled), marks, content: None, checkpoint, counts });
        sink.send(SourceMessage::Read { file: Arc::clone(&self.found), records, rejections, state, replaces })
    }
}

fn hash(record: &Record) -> u64 {
    xxh3_64(format!("{record:?}").as_bytes())
}

/// Which of the records have not been reported, if all that were are among them.
fn news(known: &HashMap<u64, u32>, records: &[Record]) -> Option<Vec<usize>> {
    let mut left = known.clone();
    let mut news = Vec::new();
    for (index, record) in records.iter().enumerate() {
        match left.get_mut(&hash(record)) {
            Some(count @ 1..) => *count -= 1,
            _ => news.push(index),
        }
    }
    left.values().all(|&count| count == 0).then_some(news)
}

impl FileReader for Document {
    fn file(&self) -> &Arc<TranscriptFile> {
        &self.found
    }

    fn poll(
        &mut self,
        sink: &dyn RecordSink,
        _buffer: &mut Vec<u8>,
        _budget: &Budget<'_>,
    ) -> Result<Polling, PollError> {
        let polled = reader::guarded(|| self.poll_unguarded(sink));
        if let Err(PollError::Panicked) = polled {
            self.panicked = fs::symlink_metadata(&self.found.path).ok().map(|metadata| Stamp::of(&metadata));
        }
        unless_gone(polled)
    }

    fn supersede(&mut self, former: Arc<TranscriptFile>) {
        self.supersedes = Some(former);
    }

    fn modified(&self) -> Option<SystemTime> {
        self.last?.stamp.modified
    }

    fn is_reported(&self) -> bool {
        self.reported
    }

    fn is_unchanged(&self, metadata: &Metadata) -> bool {
        let same = |last: Polled| last.conclusive && last.stamp == Stamp::of(metadata);
        self.last.is_some_and(same) && !self.is_settled()
    }

    fn fingerprint(&self) -> Option<(FileIdentity, Marks)> {
        Some((self.last?.stamp.identity, self.marks))
    }

    fn is_same(&self, identity: FileIdentity, marks: &Marks) -> bool {
        self.last.is_some_and(|last| last.stamp.identity == identity) && self.marks.head == marks.head
    }

    fn position(&self) -> u64 {
        self.checkpoint.counts.bytes
    }

    fn lineage(&self) -> Option<Lineage> {
        self.checkpoint.lineage().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Root;
    use dashboard_core::record::Tool;
    use std::path::Path;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Sink(Mutex<Vec<SourceMessage>>);

    impl RecordSink for Sink {
        fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
            self.0.lock().unwrap().push(message);
            Ok(())
        }
    }

    /// Whether it replaces what was said before, inputs claimed, rejected lines and pending ones.
    #[derive(Debug, PartialEq)]
    struct Said(bool, Vec<u64>, u64, u64);

    struct Followed {
        dir: tempfile::TempDir,
        document: Document,
        sink: Sink,
        at: SystemTime,
    }

    const NAME: &str = "tmp/p/chats/session-1.json";

    fn text(inputs: &[u64]) -> String {
        let message = |(index, input): (usize, &u64)| {
            format!(r#"{{"id":"g{index}","type":"gemini","model":"m","tokens":{{"input":{input},"output":1}}}}"#)
        };
        let messages: Vec<String> = inputs.iter().enumerate().map(message).collect();
        format!("{{\n  \"sessionId\": \"s\",\n  \"messages\": [{}]\n}}\n", messages.join(",\n"))
    }

    impl Followed {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("tmp/p/chats")).unwrap();
            let document = Document::new(found(dir.path()), false, false);
            // Old enough that a stamp is conclusive.
            let at = SystemTime::now() - Duration::from_hours(1);
            Self { dir, document, sink: Sink::default(), at }
        }

        fn write(&mut self, text: impl AsRef<[u8]>) {
            let path = self.dir.path().join(NAME);
            fs::write(&path, text).unwrap();
            self.at += Duration::from_secs(1);
            File::options().append(true).open(path).unwrap().set_modified(self.at).unwrap();
        }

        fn poll(&mut self) {
            let polled = self.document.poll(&self.sink, &mut Vec::new(), &Budget::unlimited());
            assert_eq!(polled.unwrap(), Polling::Complete);
        }

        fn look(&mut self) -> Vec<Said> {
            self.poll();
            let mut said = Vec::new();
            for message in self.sink.0.lock().unwrap().drain(..) {
                match message {
                    SourceMessage::Read { records, state, replaces, .. } => {
                        let input =
                            |it: &Record| if let Record::Usage(it) = it { Some(it.usage.input.0) } else { None };
                        let inputs = records.iter().filter_map(input).collect();
                        let FileCounts { rejected_lines, pending_lines, .. } = state.counts;
                        said.push(Said(replaces, inputs, rejected_lines, pending_lines));
                    }
                    other => panic!("{other:?}"),
                }
            }
            said
        }
    }

    fn found(dir: &Path) -> Arc<TranscriptFile> {
        let root = Root { tool: Tool::Gemini, dir: dir.to_owned(), label: String::new() };
        Arc::new(TranscriptFile::new(&root, NAME.to_owned()))
    }

    #[test]
    fn what_is_added_is_passed_on_and_what_changed_is_said_anew() {
        let mut followed = Followed::new();
        followed.write(text(&[1, 2]));
        assert_eq!(followed.look(), [Said(false, vec![1, 2], 0, 0)]);
        assert_eq!(followed.look(), [], "nothing changed");
        followed.write(text(&[1, 2, 3]));
        assert_eq!(followed.look(), [Said(false, vec![3], 0, 0)]);
        followed.write(text(&[1, 5]));
        assert_eq!(followed.look(), [Said(true, vec![1, 5], 0, 0)]);
    }

    #[test]
    fn half_a_document_changes_nothing_until_it_is_settled() {
        let mut followed = Followed::new();
        let whole = text(&[1, 2]);
        followed.write(&whole);
        assert_eq!(followed.look().len(), 1);
        followed.at = SystemTime::now() - Duration::from_millis(2100);
        for half in [&whole[..whole.len() / 2], ""] {
            followed.write(half);
            assert_eq!(followed.look(), [Said(false, vec![], 0, 1)], "{half:?}");
        }
        std::thread::sleep(SETTLED + Duration::from_millis(100));
        assert_eq!(followed.look(), [Said(false, vec![], 1, 0)], "nobody completes it");
        assert_eq!(followed.look(), [], "said once");
        followed.write(&whole[..7]);
        assert_eq!(followed.look(), [], "and not again");
        followed.write(&whole);
        assert_eq!(followed.look(), [Said(true, vec![1, 2], 0, 0)], "the refusal is withdrawn");
    }

    #[test]
    fn what_is_no_object_or_too_long_is_refused_at_once() {
        let mut followed = Followed::new();
        followed.write("[]");
        assert_eq!(followed.look(), [Said(false, vec![], 1, 0)]);
        let mut followed = Followed::new();
        let path = followed.dir.path().join(NAME);
        File::create(&path).unwrap().set_len(MAX_DOCUMENT as u64 + 1).unwrap();
        assert_eq!(followed.look(), [Said(false, vec![], 1, 0)]);
    }

    #[test]
    fn another_process_goes_on_where_this_one_stopped() {
        let mut followed = Followed::new();
        followed.write(text(&[1, 2]));
        followed.poll();
        let Some(SourceMessage::Read { state, .. }) = followed.sink.0.lock().unwrap().pop() else { panic!("read") };
        let kept: FileState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        followed.document = Document::resume(found(followed.dir.path()), kept, false);
        assert_eq!(followed.look(), []);
        followed.write(text(&[1, 2, 3]));
        assert_eq!(followed.look(), [Said(true, vec![1, 2, 3], 0, 0)]);
    }
}
