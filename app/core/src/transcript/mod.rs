//! Bytes → records: one incremental reader per transcript file.
//!
//! This module decides what a line is, which lines are refused and why, and what becomes of a last line that is still
//! growing; what a record means is for one parser per tool, in a module of its own. It must not know where the bytes
//! come from. Conversation text is passed over and never copied: no record has a field for it.
//!
//! Tools write lines, documents or databases ([`Shape`]). A document is read as a single line, however it is laid out
//! ([`TranscriptReader::read_document`]); the rows of a database come as lines in the order in which they were read.
//!
//! # The last line
//! A file may end without a newline. Such a line counts if it is complete, so [`TranscriptReader::finish`] gives out
//! its records at once; the same records are not given out again when the newline comes. If the line goes on
//! instead and turns out to be something else, those records were wrong, and the reader says so ([`Reading::Stale`]).
//! What the parser has learned is therefore always as of the last newline, which is where a [`Checkpoint`] is taken.

mod claude;
mod codex;
mod copilot;
mod described;
mod gemini;
mod json;
mod lines;
mod models;
mod opencode;
mod pi;
mod spec;

pub use claude::{AUTO_COMPACT_BUFFER, window_tokens};
pub use lines::MAX_LINE;
use lines::{Line, Lines};
pub use spec::{
    Column, Companion, ContextRule, Home, HomeVariable, Identity, IsAlive, Place as UsualPlace, PresenceFiles,
    RetentionSetting, Shape, StatusLineFormat, Table, ToolSpec, Transcripts, UsageAnswer, UsageFile,
};

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, ToolName};
use crate::record::{Activity, FileCounts, Lineage, Place, Record, RejectReason, Rejection, Tool};
use crate::tools::tools;
use crate::units::Tokens;
use json::{Count, Value};

/// Longest document read, in bytes: it is held in memory as a whole while it is read.
pub const MAX_DOCUMENT: usize = 64 << 20;

/// How many refused lines are kept until they are taken; the rest is only counted.
const MAX_REJECTIONS: usize = 1000;

/// Whether what a reader gave out so far still holds.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It does.
    Valid,
    /// It does not: records of an unfinished last line were given out, and the line did not stay what it was. Retract
    /// the file's claims and read it again with a new reader.
    Stale,
}

/// What reads the objects of one tool's transcripts. Files and lines are not its business.
trait Format {
    /// One object of a line, as far as it matters.
    type Object<'a>;

    /// All objects of a line; why it is refused if it is anything but complete objects.
    fn objects(line: &[u8]) -> Result<Vec<Self::Object<'_>>, RejectReason>;

    /// Whether the object's type is one we have seen.
    fn is_known(object: &Self::Object<'_>) -> bool;

    /// Gives out what an object says; how many usage records were passed over because they repeat the one before.
    fn records(&mut self, object: &Self::Object<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64;

    /// Gives out what the session did by the same object, of which the records have been given out.
    fn activity(&mut self, object: &Self::Object<'_>, place: Place, out: &mut impl FnMut(Activity));

    /// Learns what the [companion](Companion) of the file says; the record to give out for it, if there is one.
    fn companion(&mut self, _text: &[u8]) -> Option<Record> {
        None
    }
}

/// What a parser carries from line to line, besides what it needs itself.
trait ParserMemory {
    /// Which session the file is, of tools with [`Identity::Row`].
    fn lineage(&self) -> Option<&Lineage> {
        None
    }

    /// The last row read, of databases.
    fn cursor(&self) -> Option<&Cursor> {
        None
    }
}

/// The place reached in a [`Table`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cursor {
    /// The largest number of a row that was read.
    pub row: i64,
    /// A hash of what is the same in all versions of that row, to tell whether the number still means it.
    pub id: u64,
    /// The largest value of the column [`Table::changed`] that was read.
    pub changed: i64,
}

impl Cursor {
    /// A row was read.
    fn read(&mut self, row: Value<'_>, changed: Value<'_>, id: &str) {
        let whole = |value: Value<'_>| if let Count::Is(number) = value.count() { number.cast_signed() } else { 0 };
        let row = whole(row);
        if row >= self.row {
            *self = Self { row, id: Self::hash_of(id), changed: self.changed };
        }
        self.changed = self.changed.max(whole(changed));
    }

    /// The hash of a row's id. Fixed for ever: checkpoints hold it.
    pub fn hash_of(id: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64(id.as_bytes())
    }
}

/// Longest name of a tool that is kept; vendors allow 64 or 128 characters.
const MAX_TOOL_NAME: usize = 128;

/// The name of a tool. A model makes it up like any other word, so what cannot be a name is not kept.
fn tool_name(name: Option<&str>) -> ToolName {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    let is_name = |name: &&str| !name.is_empty() && name.len() <= MAX_TOOL_NAME && name.bytes().all(is_of_name);
    ToolName::from(name.filter(is_name).unwrap_or("unknown"))
}

/// A count of tokens: 0 and one more bad count if it is none, 0 if it is missing.
fn tokens_of(value: Value<'_>, bad_counts: &mut u32) -> Tokens {
    match value.count() {
        Count::Is(number) => Tokens(number),
        Count::Absent => Tokens::ZERO,
        Count::Bad => {
            *bad_counts += 1;
            Tokens::ZERO
        }
    }
}

/// The call of this id or, if it has none, the one at this place.
fn call_id(id: Option<&str>, place: Place) -> CallId {
    match id {
        Some(id) => CallId::of(id.bytes()),
        None => CallId::of(place.byte_offset.to_le_bytes().into_iter().chain(place.index.to_le_bytes())),
    }
}

macro_rules! define_parsers {
    ($($(#[$doc:meta])* $variant:ident = $id:literal in $module:ident;)*) => {
        /// The parser of each tool.
        #[derive(Clone, Debug)]
        enum Parser {
            $($variant($module::Parser),)*
        }

        /// What a tool's parser knows of a file besides its path: it depends on the lines before.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "tool")]
        pub enum ParserState {
            $($(#[$doc])* #[serde(rename = $id)] $variant(Box<$module::State>),)*
        }

        impl ParserState {
            /// That of a file of which nothing has been read.
            fn new(tool: Tool) -> Self {
                match tool {
                    $(Tool::$variant => Self::$variant(Box::default()),)*
                }
            }

            fn tool(&self) -> Tool {
                match self {
                    $(Self::$variant(_) => Tool::$variant,)*
                }
            }

            fn memory(&self) -> &dyn ParserMemory {
                match self {
                    $(Self::$variant(state) => &**state,)*
                }
            }
        }

        impl Parser {
            fn resume(path: &str, state: ParserState) -> Self {
                match state {
                    $(ParserState::$variant(state) => Self::$variant($module::Parser::new(path, *state)),)*
                }
            }

            fn state(&self) -> ParserState {
                match self {
                    $(Self::$variant(parser) => ParserState::$variant(Box::new(parser.state().clone())),)*
                }
            }
        }

        impl Tool {
            /// What is known of it.
            pub fn spec(self) -> &'static ToolSpec {
                match self {
                    $(Self::$variant => &$module::SPEC,)*
                }
            }
        }

        /// Does something with the parser, whichever it is.
        macro_rules! with_parser {
            ($parser_of:expr, $parser:ident => $what:expr) => {
                match $parser_of {
                    $(Parser::$variant($parser) => $what,)*
                }
            };
        }
    };
}

tools!(define_parsers);

/// Where reading a file can be taken up again: what is known of it up to its last newline. Plain data, to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What was read until there and what became of it; `bytes` is the place itself.
    pub counts: FileCounts,
    /// What the parser knows.
    pub parser: ParserState,
}

impl Checkpoint {
    /// The beginning of a file of this tool.
    pub fn start(tool: Tool) -> Self {
        Self { counts: FileCounts::default(), parser: ParserState::new(tool) }
    }

    /// The tool whose file it is.
    pub fn tool(&self) -> Tool {
        self.parser.tool()
    }

    /// What the file said of its session's origin: the ledger has to be told again after a restart.
    pub fn lineage(&self) -> Option<&Lineage> {
        self.parser.memory().lineage()
    }

    /// The place reached in a database.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.parser.memory().cursor()
    }
}

/// Reads one transcript file, in chunks of any size, as it grows.
#[derive(Debug)]
pub struct TranscriptReader {
    lines: Lines,
    /// As of the last newline.
    parser: Parser,
    content: Content,
}

/// Everything about the file but how it is cut into lines and what they mean.
#[derive(Debug)]
struct Content {
    path: String,
    /// Whether to tell what sessions did.
    activity: bool,
    /// Of the lines that are over.
    counts: FileCounts,
    /// Of the last line, as of the last `finish`.
    last: FileCounts,
    /// How many objects of the line at hand have been given out.
    given_out: usize,
    reading: Reading,
    rejections: Vec<Rejection>,
}

impl TranscriptReader {
    /// A reader at the beginning of a transcript of this tool. Its `path` is relative to the tool's directory and has
    /// `/` between its parts: `projects/<slug>/<session>.jsonl`.
    pub fn new(tool: Tool, path: &str) -> Self {
        Self::resume(path, Checkpoint::start(tool))
    }

    /// A reader of the same file that goes on where the checkpoint was taken.
    pub fn resume(path: &str, checkpoint: Checkpoint) -> Self {
        Self {
            lines: Lines::new(MAX_LINE, checkpoint.counts.bytes),
            parser: Parser::resume(path, checkpoint.parser),
            content: Content {
                path: path.to_owned(),
                activity: false,
                counts: FileCounts { bytes: 0, ..checkpoint.counts },
                last: FileCounts::default(),
                given_out: 0,
                reading: Reading::Valid,
                rejections: Vec::new(),
            },
        }
    }

    /// The same reader, which also gives out [`Record::Activity`]. That takes a closer look at the lines, so only who
    /// keeps it asks for it. It is given out when the newline comes, not by [`Self::finish`]: so it is never withdrawn.
    #[must_use]
    pub fn with_activity(mut self) -> Self {
        self.content.activity = true;
        self
    }

    /// Takes the next bytes of the file and gives out the records of the lines they complete.
    pub fn read(&mut self, bytes: &[u8], out: &mut impl FnMut(Record)) -> Reading {
        let (lines, content) = (&mut self.lines, &mut self.content);
        with_parser!(&mut self.parser, parser => lines.read(bytes, |line| content.line_over(parser, line, out)));
        self.content.reading
    }

    /// Call when all bytes there are for now have been read: settles what the last line counts as, and gives out its
    /// records if it is complete. Reading may go on afterwards.
    pub fn finish(&mut self, out: &mut impl FnMut(Record)) -> Reading {
        let (line, content) = (self.lines.rest(), &mut self.content);
        with_parser!(&self.parser, parser => content.line_growing(parser, line, out));
        self.content.reading
    }

    /// Takes a whole [document](Shape::Document); of a reader that has read nothing yet. The place of each record is the
    /// document's beginning, and the number of its message.
    ///
    /// # Errors
    /// If it is no single JSON object, why.
    pub fn read_document(&mut self, bytes: &[u8], out: &mut impl FnMut(Record)) -> Result<(), RejectReason> {
        let content = &mut self.content;
        self.lines = Lines::new(MAX_LINE, bytes.len() as u64);
        let document = Line { byte_offset: 0, bytes: (bytes.len() <= MAX_DOCUMENT).then_some(bytes) };
        let (mut counts, activity) = (FileCounts::default(), content.activity);
        let read = with_parser!(&mut self.parser, parser => content.line(parser, document, activity, &mut counts, out));
        content.counts += counts;
        content.given_out = 0;
        read
    }

    /// Learns what the [companion](Companion) of the file says, of a document before it is read; the record to give out
    /// for it, if there is one.
    pub fn read_companion(&mut self, text: &[u8]) -> Option<Record> {
        with_parser!(&mut self.parser, parser => parser.companion(text))
    }

    /// What was read so far and what became of it; of the last line, what the latest [`Self::finish`] found.
    pub fn counts(&self) -> FileCounts {
        let mut counts = self.content.counts;
        counts += self.content.last;
        counts.bytes = self.lines.position();
        counts
    }

    /// Where a later reader can go on. What an unfinished last line gave out is not part of it, and is given out again.
    pub fn checkpoint(&self) -> Checkpoint {
        let counts = FileCounts { bytes: self.lines.start(), ..self.content.counts };
        Checkpoint { counts, parser: self.parser.state() }
    }

    /// The lines refused since the last call; the first thousand of them, if there were more.
    pub fn take_rejections(&mut self) -> Vec<Rejection> {
        std::mem::take(&mut self.content.rejections)
    }
}

impl Content {
    fn line_over<P: Format>(&mut self, parser: &mut P, line: Line<'_>, out: &mut impl FnMut(Record)) {
        let mut counts = FileCounts::default();
        if let Err(reason) = self.line(parser, line, self.activity, &mut counts, out) {
            counts.rejected_lines = 1;
            if self.rejections.len() < MAX_REJECTIONS {
                self.rejections.push(Rejection { file: self.path.clone(), byte_offset: line.byte_offset, reason });
            }
        }
        self.counts += counts;
        self.last = FileCounts::default();
        self.given_out = 0;
    }

    /// Leaves the parser as it was: it will see the line again.
    fn line_growing<P: Format + Clone>(&mut self, parser: &P, line: Line<'_>, out: &mut impl FnMut(Record)) {
        let mut counts = FileCounts::default();
        if self.line(&mut parser.clone(), line, false, &mut counts, out).is_err() {
            counts.pending_lines = 1;
        }
        self.last = counts;
    }

    /// Reads a line and counts it; gives out those of its records that were not given out before.
    fn line<P: Format>(
        &mut self,
        parser: &mut P,
        line: Line<'_>,
        activity: bool,
        counts: &mut FileCounts,
        out: &mut impl FnMut(Record),
    ) -> Result<(), RejectReason> {
        let objects = match trimmed(line) {
            Ok([]) => return Ok(()),
            Ok(text) => P::objects(text).map_err(|reason| reason_of(text, reason)),
            Err(reason) => Err(reason),
        };
        counts.lines = 1;
        let objects = objects.inspect_err(|_| {
            if self.given_out > 0 {
                self.reading = Reading::Stale;
            }
        })?;
        for (index, object) in objects.iter().enumerate() {
            counts.records += 1;
            counts.unknown_records += u64::from(!P::is_known(object));
            let is_news = index >= self.given_out;
            let place = Place { byte_offset: line.byte_offset, index: u32::try_from(index).unwrap_or(u32::MAX) };
            let repeated = parser.records(object, place, &mut |record| {
                if let Record::Usage(usage) = &record {
                    counts.usage_records += 1;
                    counts.bad_counts += u64::from(usage.bad_counts);
                }
                if is_news {
                    out(record);
                }
            });
            counts.usage_records += repeated;
            counts.repeated_records += repeated;
            if activity {
                parser.activity(object, place, &mut |activity| out(Record::Activity(activity)));
            }
        }
        self.given_out = objects.len();
        Ok(())
    }
}

/// A line without what may surround it: a BOM at the start of the file, white space and NUL bytes. Empty if blank.
fn trimmed(line: Line<'_>) -> Result<&[u8], RejectReason> {
    let bytes = line.bytes.ok_or(RejectReason::TooLong)?;
    let bytes = if line.byte_offset == 0 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0);
    match (bytes.iter().position(is_text), bytes.iter().rposition(is_text)) {
        (Some(first), Some(last)) => Ok(&bytes[first..=last]),
        _ if bytes.contains(&0) => Err(RejectReason::OnlyNul),
        _ => Ok(&[]),
    }
}

/// NUL bytes are the likelier cause where there are any.
fn reason_of(text: &[u8], reason: RejectReason) -> RejectReason {
    if memchr::memchr(0, text).is_some() { RejectReason::NulInside } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MessageId;
    use crate::record::UsageRecord;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PATH: &str = "projects/-home-ada/f00.jsonl";

    fn assistant(id: &str, output: u64) -> String {
        format!(
            r#"{{"type":"assistant","sessionId":"s","message":{{"id":"{id}","model":"m","usage":{{"output_tokens":{output}}}}}}}"#
        )
    }

    /// What a reader gives out of a whole file: ids and outputs of its usage records, counts and rejections.
    type Found = (Vec<(MessageId, u64, u64, u32)>, FileCounts, Vec<(u64, RejectReason)>);

    fn usage(record: Record, records: &mut Vec<(MessageId, u64, u64, u32)>) {
        if let Record::Usage(UsageRecord { id, usage, place, .. }) = record {
            let id = id.message().unwrap_or(MessageId::of(""));
            records.push((id, usage.output.0, place.byte_offset, place.index));
        }
    }

    fn whole(bytes: &[u8]) -> Found {
        let mut reader = TranscriptReader::new(Tool::ClaudeCode, PATH);
        let mut records = Vec::new();
        assert_eq!(reader.read(bytes, &mut |record| usage(record, &mut records)), Reading::Valid);
        assert_eq!(reader.finish(&mut |record| usage(record, &mut records)), Reading::Valid);
        let rejections = reader.take_rejections();
        assert!(rejections.iter().all(|rejection| rejection.file == PATH));
        assert_eq!(reader.counts().usage_records, records.len() as u64);
        (
            records,
            without_usage(reader.counts()),
            rejections.into_iter().map(|it| (it.byte_offset, it.reason)).collect(),
        )
    }

    /// What `usage_records` has to be is known from the records.
    fn without_usage(counts: FileCounts) -> FileCounts {
        FileCounts { usage_records: 0, ..counts }
    }

    fn counts(bytes: usize, lines: u64, records: u64, rejected_lines: u64, pending_lines: u64) -> FileCounts {
        let bytes = bytes as u64;
        FileCounts { bytes, lines, records, rejected_lines, pending_lines, ..FileCounts::default() }
    }

    #[test]
    fn what_may_surround_a_line_is_dropped() {
        let line = assistant("a", 1);
        for (before, after) in [
            ("", "\n"),
            ("", ""),
            ("\u{feff}", "\n"),
            ("", "\r\n"),
            (" \t", " \n"),
            ("\0\0\0", "\n"),
            ("", "\0\n"),
            ("\u{feff}\0 ", "\0"),
        ] {
            let file = format!("{before}{line}{after}");
            let (records, found, rejections) = whole(file.as_bytes());
            assert_eq!(records, [("a".into(), 1, 0, 0)], "{file:?}");
            assert_eq!(found, counts(file.len(), 1, 1, 0, 0), "{file:?}");
            assert!(rejections.is_empty());
        }
    }

    #[test]
    fn blank_lines_are_no_lines() {
        let file = b"\xef\xbb\xbf\n\n \t\r\n";
        assert_eq!(whole(file), (vec![], counts(file.len(), 0, 0, 0, 0), vec![]));
        assert_eq!(whole(b"").1, counts(0, 0, 0, 0, 0));
    }

    #[test]
    fn damaged_lines_are_refused_whole_and_named() {
        let good = assistant("good", 1);
        let cut = &good[..good.len() - 2];
        for (line, reason) in [
            (cut.to_owned(), RejectReason::NotJson),
            (format!("{cut}{good}"), RejectReason::NotJson),
            (format!("{good}{cut}"), RejectReason::NotJson),
            (format!("{good},{good}"), RejectReason::NotJson),
            (format!("{good}garbage"), RejectReason::NotJson),
            ("\u{feff}{}".to_owned(), RejectReason::NotJson),
            (r#"{"a":NaN}"#.to_owned(), RejectReason::NotJson),
            ("[]".to_owned(), RejectReason::NotAnObject),
            ("7".to_owned(), RejectReason::NotAnObject),
            ("\0\0\0\0".to_owned(), RejectReason::OnlyNul),
            (format!("{cut}\0\0\0{good}"), RejectReason::NulInside),
            (format!("{good}\0{good}"), RejectReason::NulInside),
        ] {
            let file = format!("{good}\n{line}\n{good}\n");
            let (records, found, rejections) = whole(file.as_bytes());
            assert_eq!(records.len(), 2, "{line:?}");
            assert_eq!(rejections, [(good.len() as u64 + 1, reason)], "{line:?}");
            assert_eq!(found, counts(file.len(), 3, 2, 1, 0), "{line:?}");
        }
    }

    #[test]
    fn spliced_objects_are_all_read() {
        let file = format!("{}{} {}\n", assistant("a", 1), assistant("b", 2), assistant("c", 3));
        let (records, found, _) = whole(file.as_bytes());
        assert_eq!(records, [("a".into(), 1, 0, 0), ("b".into(), 2, 0, 1), ("c".into(), 3, 0, 2)]);
        assert_eq!(found, counts(file.len(), 1, 3, 0, 0));
    }

    #[test]
    fn a_line_without_newline_is_pending_until_it_is_complete() {
        let line = assistant("a", 1);
        let cut = &line[..40];
        assert_eq!(whole(cut.as_bytes()), (vec![], counts(40, 1, 0, 0, 1), vec![]));
        assert_eq!(whole(b"\0\0").1, counts(2, 1, 0, 0, 1));
        assert_eq!(whole(b"{}\n[]").1.pending_lines, 1);
    }

    #[test]
    fn what_is_unknown_is_counted() {
        let file = "{\"type\":\"a-type-from-the-future\"}\n{\"type\":7}\n{}\n{\"type\":\"summary\"}\n";
        assert_eq!(whole(file.as_bytes()).1, FileCounts { unknown_records: 3, ..counts(file.len(), 4, 4, 0, 0) });
    }

    #[test]
    fn a_complete_last_line_is_given_out_once() {
        let mut reader = TranscriptReader::new(Tool::ClaudeCode, PATH);
        let mut records = Vec::new();
        let mut out = |record| usage(record, &mut records);
        let line = assistant("a", 1);
        assert_eq!(reader.read(line.as_bytes(), &mut out), Reading::Valid);
        assert_eq!(reader.counts().lines, 0, "not settled before the end is known");
        assert_eq!(reader.finish(&mut out), Reading::Valid);
        assert_eq!(reader.finish(&mut out), Reading::Valid);
        assert_eq!(reader.counts(), FileCounts { usage_records: 1, ..counts(line.len(), 1, 1, 0, 0) });
        assert_eq!(reader.read(b" ", &mut out), Reading::Valid);
        assert_eq!(reader.read(b"\n", &mut out), Reading::Valid);
        assert_eq!(reader.finish(&mut out), Reading::Valid);
        assert_eq!(reader.counts(), FileCounts { usage_records: 1, ..counts(line.len() + 2, 1, 1, 0, 0) });
        assert_eq!(reader.read(format!("{}\n", assistant("b", 2)).as_bytes(), &mut out), Reading::Valid);
        assert_eq!(records.iter().map(|record| record.1).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_last_line_that_turns_out_to_be_spliced_adds_the_rest() {
        let mut reader = TranscriptReader::new(Tool::ClaudeCode, PATH);
        let mut records = Vec::new();
        let mut out = |record| usage(record, &mut records);
        assert_eq!(reader.read(assistant("a", 1).as_bytes(), &mut out), Reading::Valid);
        assert_eq!(reader.finish(&mut out), Reading::Valid);
        assert_eq!(reader.read(format!("{}\n", assistant("b", 2)).as_bytes(), &mut out), Reading::Valid);
        assert_eq!(records, [("a".into(), 1, 0, 0), ("b".into(), 2, 0, 1)]);
    }

    #[test]
    fn a_last_line_that_turns_out_to_be_damaged_makes_the_reading_stale() {
        for rest in [&b"garbage\n"[..], b"{", b"\0{}\n"] {
            let mut reader = TranscriptReader::new(Tool::ClaudeCode, PATH);
            assert_eq!(reader.read(assistant("a", 1).as_bytes(), &mut |_| {}), Reading::Valid);
            assert_eq!(reader.finish(&mut |_| {}), Reading::Valid);
            let read = reader.read(rest, &mut |_| {});
            let finished = reader.finish(&mut |_| {});
            assert!(read == Reading::Stale || finished == Reading::Stale, "{rest:?}");
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn a_file_reads_the_same_in_any_chunks_and_with_any_pauses(
                pieces in prop::collection::vec(0usize..8, 0..12),
                cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            ) {
                let lines = [&*assistant("a", 1), &assistant("b", 2), "\n", "\0", "{\"type\":", "\n\n", "\u{feff}", "{}"];
                let file: Vec<u8> = pieces.iter().flat_map(|&piece| lines[piece].as_bytes()).copied().collect();
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len() + 1)).chain([0, file.len()]).collect();
                cuts.sort_unstable();

                let mut reader = TranscriptReader::new(Tool::ClaudeCode, PATH);
                let mut records = Vec::new();
                let mut end = 0;
                for &cut in &cuts {
                    let mut out = |record| usage(record, &mut records);
                    let mut reading = reader.read(&file[end..cut], &mut out);
                    if reading == Reading::Valid {
                        reading = reader.finish(&mut out);
                    }
                    end = cut;
                    if reading == Reading::Stale {
                        records.clear();
                        reader = TranscriptReader::new(Tool::ClaudeCode, PATH);
                        let mut out = |record| usage(record, &mut records);
                        prop_assert_eq!(reader.read(&file[..cut], &mut out), Reading::Valid);
                        prop_assert_eq!(reader.finish(&mut out), Reading::Valid);
                    }
                }
                let rejections = reader.take_rejections().into_iter().map(|it| (it.byte_offset, it.reason)).collect();
                prop_assert_eq!(reader.counts().usage_records, records.len() as u64);
                prop_assert_eq!((records, without_usage(reader.counts()), rejections), whole(&file));
            }

            #[test]
            fn what_a_session_did_is_the_same_in_any_chunks_and_from_any_checkpoint(
                is_codex in any::<bool>(),
                pieces in prop::collection::vec(0usize..8, 0..12),
                cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
                stop in any::<prop::sample::Index>(),
            ) {
                let tool = if is_codex { Tool::Codex } else { Tool::ClaudeCode };
                let time = r#""timestamp":"2026-01-01T00:00:00Z""#;
                let line = |rest: &str| format!("{{{time},{rest}}}\n");
                let of_codex = |kind: &str, payload: &str| line(&format!(r#""type":"{kind}","payload":{{{payload}}}"#));
                let lines = match tool {
                    Tool::ClaudeCode => [
                        line(r#""type":"user","message":{"content":"text"}"#),
                        line(r#""type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash"}]}"#),
                        line(r#""type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":""}]}"#),
                        line(r#""type":"system","subtype":"turn_duration","durationMs":7"#),
                    ],
                    _ => [
                        of_codex("event_msg", r#""type":"task_started""#),
                        of_codex("event_msg", r#""type":"user_message""#),
                        of_codex("event_msg", r#""type":"task_complete""#),
                        of_codex("response_item", r#""type":"web_search_call""#),
                    ],
                };
                let text = |piece: usize| match piece {
                    0..4 => lines[piece].as_str(),
                    // A splice, a damaged line, and one that goes on.
                    4 => lines[0].trim_end(),
                    5 => "{\"type\":\n",
                    6 => "\0",
                    _ => "\n",
                };
                let file: Vec<u8> = pieces.iter().flat_map(|&piece| text(piece).as_bytes()).copied().collect();
                let mut whole = Vec::new();
                let mut reader = TranscriptReader::new(tool, PATH).with_activity();
                let deed = |record, found: &mut Vec<Activity>| if let Record::Activity(it) = record { found.push(it) };
                prop_assert_eq!(reader.read(&file, &mut |record| deed(record, &mut whole)), Reading::Valid);

                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len() + 1)).chain([file.len()]).collect();
                cuts.sort_unstable();
                let stop = stop.index(cuts.len());
                let mut found = Vec::new();
                let mut reader = TranscriptReader::new(tool, PATH).with_activity();
                let mut from = 0;
                for (index, &cut) in cuts.iter().enumerate() {
                    // A line that did not stay what it was makes the rest stale; what the session did was not given out.
                    let _ = reader.read(&file[from..cut], &mut |record| deed(record, &mut found));
                    let _ = reader.finish(&mut |record| deed(record, &mut found));
                    from = cut;
                    if index == stop {
                        let checkpoint = reader.checkpoint();
                        from = usize::try_from(checkpoint.counts.bytes).unwrap();
                        reader = TranscriptReader::resume(PATH, checkpoint).with_activity();
                    }
                }
                prop_assert_eq!(found, whole);
            }

            #[test]
            fn reading_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(
                pieces in prop::collection::vec(0usize..8, 0..12),
                cut in any::<prop::sample::Index>(),
            ) {
                let lines = [&*assistant("a", 1), &assistant("b", 2), "\n", "\0", "{\"type\":", "\n\n", "\u{feff}", "{}"];
                let file: Vec<u8> = pieces.iter().flat_map(|&piece| lines[piece].as_bytes()).copied().collect();
                let cut = cut.index(file.len() + 1);

                let mut before = TranscriptReader::new(Tool::ClaudeCode, PATH);
                let mut records = Vec::new();
                let mut out = |record| usage(record, &mut records);
                prop_assert_eq!(before.read(&file[..cut], &mut out), Reading::Valid);
                prop_assert_eq!(before.finish(&mut out), Reading::Valid);
                let mut rejections = before.take_rejections();
                let checkpoint = before.checkpoint();
                let reached = checkpoint.counts.bytes;
                records.retain(|record| record.2 < reached);

                let mut after = TranscriptReader::resume(PATH, checkpoint);
                let mut out = |record| usage(record, &mut records);
                prop_assert_eq!(after.read(&file[usize::try_from(reached).unwrap()..], &mut out), Reading::Valid);
                prop_assert_eq!(after.finish(&mut out), Reading::Valid);
                rejections.append(&mut after.take_rejections());
                let rejections = rejections.into_iter().map(|it| (it.byte_offset, it.reason)).collect();
                prop_assert_eq!(after.counts().usage_records, records.len() as u64);
                prop_assert_eq!((records, without_usage(after.counts()), rejections), whole(&file));
            }
        }
    }
}
