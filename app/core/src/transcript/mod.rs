//! Bytes → records: one incremental reader per transcript file.
//!
//! This module decides what a line is, which lines are refused and why, and what becomes of a last line that is still
//! growing; what a record means is for [`claude`]. It must not know where the bytes come from. Conversation text is
//! passed over and never copied: no record has a field for it.
//!
//! # The last line
//! A file may end without a newline. Such a line counts if it is complete, so [`TranscriptReader::finish`] gives out
//! its records at once; the same records are not given out again when the newline comes. If the line goes on
//! instead and turns out to be something else, those records were wrong, and the reader says so ([`Reading::Stale`]).

pub mod claude;
mod json;
mod lines;

pub use lines::MAX_LINE;
use lines::{Line, Lines};

use crate::record::{FileCounts, Record, RejectReason, Rejection};

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

/// Reads one transcript file, in chunks of any size, as it grows.
#[derive(Debug)]
pub struct TranscriptReader {
    lines: Lines,
    content: Content,
}

/// Everything about the file but how it is cut into lines.
#[derive(Debug)]
struct Content {
    path: String,
    parser: claude::Parser,
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
    /// A reader at the beginning of the file at `path`, which is relative to the tool's directory and has `/` between
    /// its parts: `projects/<slug>/<session>.jsonl`.
    pub fn new(path: &str) -> Self {
        Self {
            lines: Lines::new(MAX_LINE),
            content: Content {
                path: path.to_owned(),
                parser: claude::Parser::new(path),
                counts: FileCounts::default(),
                last: FileCounts::default(),
                given_out: 0,
                reading: Reading::Valid,
                rejections: Vec::new(),
            },
        }
    }

    /// Takes the next bytes of the file and gives out the records of the lines they complete.
    pub fn read(&mut self, bytes: &[u8], out: &mut impl FnMut(Record)) -> Reading {
        let content = &mut self.content;
        self.lines.read(bytes, |line| content.line_over(line, out));
        self.content.reading
    }

    /// Call when all bytes there are for now have been read: settles what the last line counts as, and gives out its
    /// records if it is complete. Reading may go on afterwards.
    pub fn finish(&mut self, out: &mut impl FnMut(Record)) -> Reading {
        self.content.line_growing(self.lines.rest(), out);
        self.content.reading
    }

    /// What was read so far and what became of it; of the last line, what the latest [`Self::finish`] found.
    pub fn counts(&self) -> FileCounts {
        let mut counts = self.content.counts;
        counts += self.content.last;
        counts.bytes = self.lines.position();
        counts
    }

    /// The lines refused since the last call; the first thousand of them, if there were more.
    pub fn take_rejections(&mut self) -> Vec<Rejection> {
        std::mem::take(&mut self.content.rejections)
    }
}

impl Content {
    fn line_over(&mut self, line: Line<'_>, out: &mut impl FnMut(Record)) {
        let mut counts = FileCounts::default();
        if let Err(reason) = self.line(line, &mut counts, out) {
            counts.rejected_lines = 1;
            if self.rejections.len() < MAX_REJECTIONS {
                self.rejections.push(Rejection { file: self.path.clone(), byte_offset: line.byte_offset, reason });
            }
        }
        self.counts += counts;
        self.last = FileCounts::default();
        self.given_out = 0;
    }

    fn line_growing(&mut self, line: Line<'_>, out: &mut impl FnMut(Record)) {
        let mut counts = FileCounts::default();
        if self.line(line, &mut counts, out).is_err() {
            counts.pending_lines = 1;
        }
        self.last = counts;
    }

    /// Reads a line and counts it; gives out those of its records that were not given out before.
    fn line(
        &mut self,
        line: Line<'_>,
        counts: &mut FileCounts,
        out: &mut impl FnMut(Record),
    ) -> Result<(), RejectReason> {
        let objects = match trimmed(line) {
            Ok([]) => return Ok(()),
            Ok(text) => claude::Object::all(text).map_err(|reason| reason_of(text, reason)),
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
            counts.unknown_records += u64::from(!object.is_known());
            if index >= self.given_out {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.parser.records(object, crate::record::Place { byte_offset: line.byte_offset, index }, out);
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
