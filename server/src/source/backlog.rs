//! Files that have something to be read, in the order in which their turn comes.
//!
//! The urgent ones first: what the present figures depend on. Then the rest, the most recently modified first.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::SystemTime;

/// A file in the backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// When it was modified. Only orders the files: what is in them decides what they mean.
    pub(super) modified: Option<SystemTime>,
    /// How much there was to read when it was queued.
    pub(super) bytes: u64,
    /// Whether only its first chunk is wanted for now, to learn where it comes from.
    pub(super) probe: bool,
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Backlog {
    urgent: VecDeque<Entry>,
    /// Newest first.
    rest: VecDeque<Entry>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.rest.is_empty()
    }

    /// Whether nothing urgent is left.
    pub(super) fn has_no_urgent(&self) -> bool {
        self.urgent.is_empty()
    }

    /// Adds files that can wait.
    pub(super) fn add(&mut self, entries: Vec<Entry>) {
        self.rest.extend(entries);
        self.rest.make_contiguous().sort_by_key(|entry| std::cmp::Reverse(entry.modified));
    }

    /// Puts a file before all others.
    pub(super) fn add_urgent(&mut self, entry: Entry) {
        self.urgent.push_front(entry);
    }

    /// Makes those of the rest urgent that are `wanted`, in their order, after what is urgent already. How many these are.
    pub(super) fn promote(&mut self, wanted: impl FnMut(&Entry) -> bool) -> usize {
        self.promote_as(false, wanted)
    }

    /// The same, for the first chunk of each.
    pub(super) fn probe(&mut self, wanted: impl FnMut(&Entry) -> bool) -> usize {
        self.promote_as(true, wanted)
    }

    fn promote_as(&mut self, probe: bool, mut wanted: impl FnMut(&Entry) -> bool) -> usize {
        let (promoted, rest): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.rest).into_iter().partition(|entry| wanted(entry));
        self.rest = rest.into();
        let count = promoted.len();
        self.urgent.extend(promoted.into_iter().map(|entry| Entry { probe, ..entry }));
        count
    }

    /// Files that are not urgent.
    pub(super) fn rest(&self) -> impl Iterator<Item = &Entry> {
        self.rest.iter()
    }

    /// Takes the files whose turn it is, until they have so many bytes: urgent ones, or if there are none, others. The
    /// second value says which.
    pub(super) fn take(&mut self, bytes: u64, most: usize) -> (Vec<Entry>, bool) {
        let urgent = !self.urgent.is_empty();
        let queue = if urgent { &mut self.urgent } else { &mut self.rest };
        let (mut taken, mut sum) = (Vec::new(), 0);
        while sum < bytes && taken.len() < most {
            let Some(entry) = queue.pop_front() else { break };
            sum += entry.bytes;
            taken.push(entry);
        }
        (taken, urgent)
    }

    /// Puts files back to the front, in this order.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>, urgent: bool) {
        let (probed, entries): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| entry.probe);
        let queue = if urgent { &mut self.urgent } else { &mut self.rest };
        entries.into_iter().rev().for_each(|entry| queue.push_front(entry));
        if !probed.is_empty() {
            self.add(probed.into_iter().map(|entry| Entry { probe: false, ..entry }).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    fn entry(second: u64, bytes: u64) -> Entry {
        let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        Entry { path: second.to_string().into(), modified, bytes, probe: false }
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.path.to_str().unwrap()).collect()
    }

    #[test]
    fn urgent_files_come_first_and_then_the_newest() {
        let mut backlog = Backlog::default();
        backlog.add([3, 9, 5].map(|second| entry(second, 10)).into());
        backlog.add(vec![entry(7, 10)]);
        assert_eq!(backlog.promote(|entry| entry.path == Path::new("3")), 1);
        let (urgent, is_urgent) = backlog.take(100, 10);
        assert_eq!((names(&urgent), is_urgent), (vec!["3"], true), "not together with others");
        assert!(backlog.has_no_urgent());
        let (taken, is_urgent) = backlog.take(15, 10);
        assert_eq!((names(&taken), is_urgent), (vec!["9", "7"], false));
        backlog.put_back(taken, false);
        assert_eq!(names(&backlog.take(100, 3).0), ["9", "7", "5"]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_probed_file_waits_for_its_turn_again() {
        let mut backlog = Backlog::default();
        backlog.add(vec![entry(9, 10)]);
        backlog.add_urgent(Entry { probe: true, ..entry(5, 10) });
        let (taken, urgent) = backlog.take(100, 10);
        backlog.put_back(taken, urgent);
        assert!(backlog.has_no_urgent());
        assert_eq!(names(&backlog.take(100, 10).0), ["9", "5"]);
    }
}
