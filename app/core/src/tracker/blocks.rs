//! The five-hour blocks in which use is estimated where the vendor says nothing.
//!
//! A block starts at its first response, floored to the hour (UTC), and lasts five hours. A response
//! more than five hours after the block's start, or after the response before it, starts a new one;
//! in the second case a gap lies between. This is how the most used tools count (formats.md,
//! section 2); the vendor's own windows are not aligned to the hour, so it stays an estimate.

use crate::time::{HOUR_MS, Timestamp};

/// Length of a block and of the window it estimates.
pub const BLOCK_MS: i64 = 5 * HOUR_MS;

/// A block of use, or the gap before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Its first and last response; `None` for a gap.
    pub span: Option<(Timestamp, Timestamp)>,
}

impl Block {
    /// The block whose first response is at `first`.
    pub(super) fn starting_at(first: Timestamp) -> Self {
        Self::begun(first.floor_to(HOUR_MS), first)
    }

    /// The block that began at `start` and of which the response at `first` is the first one known.
    pub(super) fn begun(start: Timestamp, first: Timestamp) -> Self {
        Self { start, end: start.plus_ms(BLOCK_MS), span: Some((first, first)) }
    }

    /// Whether a response at `at`, not earlier than the block's last, still belongs to it.
    pub fn takes(&self, at: Timestamp) -> bool {
        self.span.is_some_and(|(_, last)| at.ms_since(self.start) <= BLOCK_MS && at.ms_since(last) <= BLOCK_MS)
    }

    /// Whether it is in course: it has not ended, and its last response is under five hours old.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.span.is_some_and(|(_, last)| now.ms_since(last) < BLOCK_MS && now < self.end)
    }
}

/// Whether a response at `later` begins a new chain of blocks after one at `earlier`, whatever came before.
pub fn is_gap(earlier: Timestamp, later: Timestamp) -> bool {
    later.ms_since(earlier) > BLOCK_MS
}

/// The blocks and gaps of responses at `times`, which must be in ascending order.
pub fn blocks(times: impl IntoIterator<Item = Timestamp>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for at in times {
        match blocks.last_mut() {
            Some(block) if block.takes(at) => block.span = block.span.map(|(first, _)| (first, at)),
            before => {
                let last = before.and_then(|block| block.span).map(|(_, last)| last);
                if let Some(last) = last.filter(|&last| at.ms_since(last) > BLOCK_MS) {
                    blocks.push(Block { start: last.plus_ms(BLOCK_MS), end: at, span: None });
                }
                blocks.push(Block::starting_at(at));
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(&format!("2026-01-{text}:00Z")).unwrap()
    }

    #[test]
    fn blocks_start_at_the_hour_and_gaps_come_before_the_next() {
        let found = blocks([at("09T10:20"), at("09T12:30"), at("10T09:15"), at("10T14:15"), at("10T14:16")]);
        let shape: Vec<_> = found.iter().map(|b| (b.start, b.end, b.span.is_none())).collect();
        assert_eq!(
            shape,
            [
                (at("09T10:00"), at("09T15:00"), false),
                (at("09T17:30"), at("10T09:15"), true),
                (at("10T09:00"), at("10T14:00"), false),
                (at("10T14:00"), at("10T19:00"), false),
            ],
            "exactly five hours after the last response is no gap, but past the block's end is a new block"
        );
    }

    #[test]
    fn a_block_is_active_until_it_ends() {
        let block = blocks([at("09T10:20")])[0];
        assert!(block.is_active(at("09T14:59")));
        assert!(!block.is_active(at("09T15:00")));
    }
}
