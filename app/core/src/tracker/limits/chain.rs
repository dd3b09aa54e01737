//! The block in course, found without knowing everything that came before.
//!
//! Blocks form a chain: where one begins depends on the one before. A gap of more than five hours restarts the chain,
//! whatever came before it. Without such a gap, the first response that is known may lie in a block that began at any
//! of the last hours. All of these chains are followed; where they have come to the same block, it is certain.

use crate::time::{HOUR_MS, Timestamp};
use crate::tracker::blocks::{BLOCK_MS, Block};

/// The chains that are possible, after the responses they were led over. There are six at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The newest block of each, without repetition. The first is that of the chain that begins with what is known.
    blocks: Vec<Block>,
    /// There were responses before the first one, or there may have been.
    unknown_before: bool,
}

impl From<Block> for Chain {
    fn from(block: Block) -> Self {
        Self { blocks: vec![block], unknown_before: false }
    }
}

impl Chain {
    /// A chain of whose responses none is known yet.
    pub(super) fn unknown() -> Self {
        Self { blocks: Vec::new(), unknown_before: true }
    }

    /// Goes on to a response at `at`, which must not be earlier than the last one.
    pub(super) fn step(&mut self, at: Timestamp) {
        if self.blocks.is_empty() {
            let hours = if std::mem::take(&mut self.unknown_before) { BLOCK_MS / HOUR_MS } else { 0 };
            let begun = |hour: i64| Block::begun(at.floor_to(HOUR_MS).plus_ms(-hour * HOUR_MS), at);
            self.blocks = (0..=hours).map(begun).filter(|block| block.takes(at)).collect();
            return;
        }
        for block in &mut self.blocks {
            if block.takes(at) {
                block.span = block.span.map(|(first, _)| (first, at));
            } else {
                *block = Block::starting_at(at);
            }
        }
        let mut seen: Vec<Block> = Vec::with_capacity(self.blocks.len());
        self.blocks.retain(|block| {
            let new = !seen.contains(block);
            seen.push(*block);
            new
        });
    }

    /// The newest block.
    pub(super) fn block(&self) -> Option<Block> {
        self.blocks.first().copied()
    }

    /// Whether the newest block cannot be another one.
    pub(super) fn is_certain(&self) -> bool {
        self.blocks.len() <= 1 && !self.unknown_before
    }

    /// The chain after a response more, if that is easily told.
    pub(super) fn with(mut self, at: Timestamp) -> Option<Self> {
        let last = self.block().and_then(|block| block.span).map(|(_, last)| last);
        if last.is_none_or(|last| last <= at) {
            self.step(at);
            return Some(self);
        }
        match self.blocks.as_mut_slice() {
            // At exactly the block's beginning, it may belong to the one before.
            [block] if block.start < at => {
                block.span = block.span.map(|(first, last)| (first.min(at), last));
                Some(self)
            }
            _ => None,
        }
    }

    /// The chain without a response, if that is easily told; `newest` finds the newest one left.
    pub(super) fn without(mut self, at: Timestamp, newest: impl Fn() -> Option<Timestamp>) -> Option<Self> {
        let [block] = self.blocks.as_mut_slice() else { return None };
        let (first, last) = block.span?;
        if at <= first {
            return None;
        }
        if at == last {
            block.span = Some((first, newest()?));
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MINUTE_MS;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_789_912_800_000 + minutes * MINUTE_MS)
    }

    #[test]
    fn without_a_gap_a_block_is_certain_once_all_chains_agree() {
        let mut chain = Chain::unknown();
        chain.step(at(10));
        assert!(!chain.is_certain());
        assert_eq!(chain.blocks.len(), 5, "begun at each of the hours from 6:00 to 10:00 that still takes it");
        // Hourly use tells nothing: every chain keeps its distance.
        (1..200).for_each(|hour| chain.step(at(10 + hour * 60)));
        assert_eq!(chain.blocks.len(), 5);
        // A silence of three hours brings those together that end within it.
        chain.step(at(10 + 203 * 60));
        assert!(chain.blocks.len() < 5);
        chain.step(at(10 + 203 * 60 + 301));
        assert!(chain.is_certain(), "a gap of more than five hours restarts all of them");
        assert_eq!(chain.block().unwrap().start, at(208 * 60));
    }
}
