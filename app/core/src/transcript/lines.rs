//! Bytes in chunks of any size → lines.
//!
//! Keeps only the beginning of a line whose end has not come yet, and of that no more than [`MAX_LINE`] bytes.
//! Knows nothing of what is in a line.

/// Longest line read, in bytes, without its newline. Real ones exceed 1 MB, with images in them; no request to a vendor's
/// API is longer than this, and a line beyond it is damage. Each file being read may need as much memory.
pub const MAX_LINE: usize = 32 << 20;

/// A line, without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Where in the file its first byte is.
    pub(super) byte_offset: u64,
    /// Its bytes; `None` of a line longer than the cap.
    pub(super) bytes: Option<&'a [u8]>,
}

/// Splits a file's bytes into lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// Longest line kept.
    cap: usize,
    /// Where the line at hand begins.
    start: u64,
    /// Its bytes so far; empty if it is longer than the cap.
    partial: Vec<u8>,
    /// How many bytes it has so far.
    length: u64,
}

impl Lines {
    /// At a place in a file where a line begins.
    pub(super) fn new(cap: usize, start: u64) -> Self {
        Self { cap, start, partial: Vec::new(), length: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.start + self.length
    }

    /// Where the line at hand begins: after the last newline.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Takes the next bytes of the file and gives out the lines they complete.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.length == 0 {
                on_line(Line { byte_offset: self.start, bytes: (head.len() <= self.cap).then_some(head) });
                self.start += end as u64 + 1;
            } else {
                self.keep(head);
                on_line(self.rest());
                self.start += self.length + 1;
                self.length = 0;
                // Freed, not cleared: a thousand idle files should not each keep their longest line.
                self.partial = Vec::new();
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    /// The bytes after the last newline, as a line.
    pub(super) fn rest(&self) -> Line<'_> {
        let whole = self.length == self.partial.len() as u64;
        Line { byte_offset: self.start, bytes: whole.then_some(&self.partial) }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.length <= self.cap as u64 {
            self.partial.extend_from_slice(bytes);
        } else {
            self.partial = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const FILE: &[u8] = b"one\n\ntwo three\nlonger than ten\n\xff\nend";

    fn split(chunks: &[&[u8]]) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(10, 0);
        let mut found = Vec::new();
        for chunk in chunks {
            lines.read(chunk, |line| found.push((line.byte_offset, line.bytes.map(<[u8]>::to_vec))));
        }
        let rest = lines.rest();
        found.push((rest.byte_offset, rest.bytes.map(<[u8]>::to_vec)));
        assert_eq!(lines.position(), chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
        found
    }

    #[test]
    fn lines_do_not_depend_on_the_chunks() {
        let whole = split(&[FILE]);
        let text = |bytes: &[u8]| Some(bytes.to_vec());
        assert_eq!(
            whole,
            [
                (0, text(b"one")),
                (4, text(b"")),
                (5, text(b"two three")),
                (15, None),
                (31, text(b"\xff")),
                (33, text(b"end"))
            ]
        );
        for first in 0..=FILE.len() {
            for second in first..=FILE.len() {
                assert_eq!(split(&[&FILE[..first], &FILE[first..second], &FILE[second..]]), whole);
            }
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut lines = Lines::new(10, 0);
        for _ in 0..100 {
            lines.read(&[b'x'; 1000], |_| {});
        }
        assert_eq!(lines.partial.capacity(), 0);
        assert_eq!(lines.rest(), Line { byte_offset: 0, bytes: None });
    }
}
