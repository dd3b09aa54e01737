//! What sources said of limits, change by change: entries for the store's ledger of readings, and those refused.

use std::collections::{BTreeMap, VecDeque};

use crate::ledger::FileId;
use crate::record::{LimitKey, ReadingEntry, ReadingSource};
use crate::state::{MAX_LIMITS, same_reset};

/// Newest refused readings kept.
const RECENT_REFUSALS: usize = 20;

/// See the [module's description](self). Bounded by the limits and sources there are, and by what is taken in between two
/// calls of [`Self::take_new`].
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The newest of each limit and source.
    last: BTreeMap<(LimitKey, ReadingSource), ReadingEntry>,
    /// Entries nobody has taken yet.
    new: Vec<ReadingEntry>,
    /// The newest refused ones, and the files they stand in, if they stand in one.
    refused: VecDeque<(Option<FileId>, ReadingEntry)>,
    /// How many were refused, by the files they stand in.
    refused_count: BTreeMap<Option<FileId>, u64>,
}

impl Entries {
    /// Takes what a source said, if it is another thing than it said before. Whether it is.
    pub(super) fn add(&mut self, entry: ReadingEntry) -> bool {
        let key = (entry.limit.clone(), entry.source);
        match self.last.get(&key) {
            Some(last) if says_the_same(last, &entry) => return false,
            None if self.last.len() >= MAX_LIMITS * ReadingSource::ALL.len() => return false,
            _ => drop(self.last.insert(key, entry.clone())),
        }
        if entry.problem.is_some() {
            self.refuse(None, entry.clone());
        }
        self.new.push(entry);
        true
    }

    /// What a file said is refused.
    pub(super) fn refuse(&mut self, file: Option<FileId>, entry: ReadingEntry) {
        *self.refused_count.entry(file).or_default() += 1;
        if self.refused.len() == RECENT_REFUSALS {
            self.refused.pop_front();
        }
        self.refused.push_back((file, entry));
    }

    /// What the file said is withdrawn; whether anything of it had been refused.
    pub(super) fn retract(&mut self, file: FileId) -> bool {
        self.refused.retain(|(other, _)| *other != Some(file));
        self.refused_count.remove(&Some(file)).is_some()
    }

    /// Takes over the newest entry of an earlier run.
    pub(super) fn recall(&mut self, entry: ReadingEntry) {
        self.last.insert((entry.limit.clone(), entry.source), entry);
    }

    /// The entries since the last call, in the order in which they came.
    pub(super) fn take_new(&mut self) -> Vec<ReadingEntry> {
        std::mem::take(&mut self.new)
    }

    /// How many readings were refused, and the newest of them.
    pub(super) fn refused(&self) -> (u64, impl Iterator<Item = &ReadingEntry>) {
        (self.refused_count.values().sum(), self.refused.iter().map(|(_, entry)| entry))
    }
}

/// Whether nothing but the time differs.
fn says_the_same(a: &ReadingEntry, b: &ReadingEntry) -> bool {
    (a.used_percent, a.rejected, a.problem) == (b.used_percent, b.rejected, b.problem)
        && same_reset(a.resets_at, b.resets_at)
}
