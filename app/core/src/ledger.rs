//! Who said which response used how many tokens, and whom to believe.
//!
//! One API response is written on several lines, often in several files: once per content block,
//! again in a fork, again as a subagent's progress. Each such line is a *claim* its file makes on the
//! response. The ledger keeps the best claim of each file and decides, for every response, which one
//! counts. A file that is truncated or rewritten withdraws its claims; one that is deleted leaves
//! them, archived.
//!
//! The rules are those of the vendor's own counts, found in thousands of transcripts:
//!
//! - claims with the same message and request id are one response;
//! - if any claim on a message id is main-chain, every sidechain claim on that message id is void,
//!   whatever its request id;
//! - of the rest, the largest total counts; among equals the earliest time (none is last), then the
//!   smallest path, then the smallest place in the file;
//! - a record without a message id is a response by itself.
//!
//! The outcome does not depend on the order in which claims arrive, so a live tail, a start-up scan
//! on several threads and a merge of two ledgers agree.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ids::MessageId;
use crate::record::{FileCounts, Rejection, UsageRecord};

/// Most refused lines kept with their place; all of them are counted.
pub const MAX_REJECTIONS: usize = 10_000;

/// A file, by its number in a [`Ledger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// Which claims to consider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of present and of deleted files.
    All,
    /// Those of present files only.
    OnDisk,
}

/// What a claim, or its withdrawal, changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    /// This record now stands for its response.
    Added(&'a UsageRecord),
    /// This record no longer does.
    Removed(&'a UsageRecord),
}

#[derive(Debug)]
struct File {
    path: Arc<str>,
    archived: bool,
    counts: FileCounts,
    /// Message ids this file has claims on; with repeats, since most are claimed once or twice.
    claimed: Vec<MessageId>,
    /// Records without a message id.
    alone: Vec<UsageRecord>,
}

/// The best claim of one file on one response.
#[derive(Clone, Debug)]
struct Claim {
    file: FileId,
    record: UsageRecord,
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub struct Ledger {
    files: Vec<File>,
    by_path: HashMap<Arc<str>, FileId>,
    /// All claims on a message; at most one per file, request and chain.
    messages: HashMap<MessageId, Vec<Claim>>,
    rejections: BTreeMap<FileId, Vec<Rejection>>,
    kept_rejections: usize,
}

impl Ledger {
    /// The number of the file at `path`; a new one if the path is new.
    pub fn file(&mut self, path: &str) -> FileId {
        if let Some(&id) = self.by_path.get(path) {
            self.files[id.0 as usize].archived = false;
            return id;
        }
        // 2^32 files do not fit on a disk.
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        let path: Arc<str> = path.into();
        self.files.push(File {
            path: path.clone(),
            archived: false,
            counts: FileCounts::default(),
            claimed: Vec::new(),
            alone: Vec::new(),
        });
        self.by_path.insert(path, id);
        id
    }

    /// The path of `file`.
    pub fn path(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].path
    }

    /// `file` claims that a response used these tokens. Reports what that changed, removals first.
    pub fn claim(&mut self, file: FileId, record: &UsageRecord, on_change: &mut impl FnMut(Change<'_>)) {
        let entry = &mut self.files[file.0 as usize];
        let Some(message) = &record.message else {
            entry.alone.push(record.clone());
            on_change(Change::Added(record));
            return;
        };
        if entry.claimed.last() != Some(message) {
            entry.claimed.push(message.clone());
        }
        let claims = self.messages.entry(message.clone()).or_default();
        let claim = Claim { file, record: record.clone() };
        if claims.is_empty() {
            on_change(Change::Added(record));
            claims.push(claim);
            return;
        }
        let before: Vec<UsageRecord> = winners(claims, &self.files, Scope::All).into_iter().cloned().collect();
        let same = claims.iter_mut().find(|known| {
            known.file == file && known.record.request == record.request && known.record.sidechain == record.sidechain
        });
        match same {
            Some(known) if preference(&claim, known, &self.files) == Ordering::Less => *known = claim,
            Some(_) => return,
            None => claims.push(claim),
        }
        report(&before, &winners(claims, &self.files, Scope::All), on_change);
    }

    /// `file` was truncated or rewritten: its claims, counts and rejections go.
    pub fn retract(&mut self, file: FileId, on_change: &mut impl FnMut(Change<'_>)) {
        let entry = &mut self.files[file.0 as usize];
        entry.counts = FileCounts::default();
        let mut claimed = std::mem::take(&mut entry.claimed);
        for record in std::mem::take(&mut entry.alone) {
            on_change(Change::Removed(&record));
        }
        self.kept_rejections -= self.rejections.remove(&file).map_or(0, |list| list.len());
        claimed.sort_unstable();
        claimed.dedup();
        for message in claimed {
            let Some(claims) = self.messages.get_mut(&message) else { continue };
            let before: Vec<UsageRecord> = winners(claims, &self.files, Scope::All).into_iter().cloned().collect();
            claims.retain(|claim| claim.file != file);
            report(&before, &winners(claims, &self.files, Scope::All), on_change);
            if claims.is_empty() {
                self.messages.remove(&message);
            }
        }
    }

    /// `file` was deleted: its claims stay, but are no longer on disk.
    pub fn archive(&mut self, file: FileId) {
        self.files[file.0 as usize].archived = true;
    }

    /// What has been read of `file` so far.
    pub fn set_counts(&mut self, file: FileId, counts: FileCounts) {
        self.files[file.0 as usize].counts = counts;
    }

    /// A line of `file` was refused.
    pub fn reject(&mut self, file: FileId, rejection: Rejection) {
        if self.kept_rejections < MAX_REJECTIONS {
            self.kept_rejections += 1;
            self.rejections.entry(file).or_default().push(rejection);
        }
    }

    /// The refused lines kept, by file in the order the files became known, then by place.
    pub fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.rejections.values().flatten()
    }

    /// The records that stand for responses, in no particular order.
    pub fn responses(&self, scope: Scope) -> impl Iterator<Item = &UsageRecord> {
        let named = self.messages.values().flat_map(move |claims| winners(claims, &self.files, scope));
        let alone = self.files.iter().filter(move |file| file.counts_in(scope)).flat_map(|file| &file.alone);
        named.chain(alone)
    }

    /// Files, in scope.
    pub fn file_count(&self, scope: Scope) -> u64 {
        self.files.iter().filter(|file| file.counts_in(scope)).count() as u64
    }

    /// Counts of all files together.
    pub fn counts(&self, scope: Scope) -> FileCounts {
        let mut sum = FileCounts::default();
        self.files.iter().filter(|file| file.counts_in(scope)).for_each(|file| sum += file.counts);
        sum
    }

    /// Takes over all claims of `other`, a ledger of other files.
    pub fn merge(&mut self, other: Ledger) {
        let ids: Vec<FileId> = other.files.iter().map(|file| self.file(&file.path)).collect();
        for (mut file, &id) in other.files.into_iter().zip(&ids) {
            let mine = &mut self.files[id.0 as usize];
            mine.archived = file.archived;
            mine.counts += file.counts;
            mine.claimed.append(&mut file.claimed);
            mine.alone.append(&mut file.alone);
        }
        for (message, claims) in other.messages {
            let mine = self.messages.entry(message).or_default();
            mine.extend(claims.into_iter().map(|claim| Claim { file: ids[claim.file.0 as usize], ..claim }));
        }
        for (file, list) in other.rejections {
            for rejection in list {
                self.reject(ids[file.0 as usize], rejection);
            }
        }
    }
}

impl File {
    fn counts_in(&self, scope: Scope) -> bool {
        scope == Scope::All || !self.archived
    }
}

/// `Less` if `a` counts rather than `b`.
fn preference(a: &Claim, b: &Claim, files: &[File]) -> Ordering {
    let time = |claim: &Claim| (claim.record.at.is_none(), claim.record.at);
    let path = |claim: &Claim| files[claim.file.0 as usize].path.clone();
    b.record
        .usage
        .total()
        .cmp(&a.record.usage.total())
        .then_with(|| time(a).cmp(&time(b)))
        .then_with(|| if a.file == b.file { Ordering::Equal } else { path(a).as_bytes().cmp(path(b).as_bytes()) })
        .then_with(|| a.record.place.cmp(&b.record.place))
}

/// The claims on one message that stand for its responses: one per request id.
fn winners<'a>(claims: &'a [Claim], files: &[File], scope: Scope) -> Vec<&'a UsageRecord> {
    let counts = |claim: &&Claim| files[claim.file.0 as usize].counts_in(scope);
    let main_chain = claims.iter().filter(counts).any(|claim| !claim.record.sidechain);
    let mut best: Vec<&Claim> = Vec::with_capacity(1);
    for claim in claims.iter().filter(counts).filter(|claim| !(main_chain && claim.record.sidechain)) {
        match best.iter_mut().find(|known| known.record.request == claim.record.request) {
            Some(known) if preference(claim, known, files) == Ordering::Less => *known = claim,
            Some(_) => {}
            None => best.push(claim),
        }
    }
    best.into_iter().map(|claim| &claim.record).collect()
}

/// Tells what differs between two sets of winners.
fn report(before: &[UsageRecord], after: &[&UsageRecord], on_change: &mut impl FnMut(Change<'_>)) {
    for record in before.iter().filter(|record| !after.contains(record)) {
        on_change(Change::Removed(record));
    }
    for record in after.iter().filter(|record| !before.contains(record)) {
        on_change(Change::Added(record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ModelId, RequestId, SessionId};
    use crate::record::{Place, Tool};
    use crate::time::Timestamp;
    use crate::units::{TokenUsage, Tokens};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn record(message: Option<&str>, request: Option<&str>, sidechain: bool, output: u64, offset: u64) -> UsageRecord {
        UsageRecord {
            tool: Tool::ClaudeCode,
            session: SessionId::new("s"),
            agent: None,
            sidechain,
            message: message.map(MessageId::from),
            request: request.map(RequestId::from),
            model: ModelId::new("m"),
            at: Some(Timestamp::from_unix_ms(1_000)),
            usage: TokenUsage { output: Tokens(output), ..TokenUsage::default() },
            place: Place { byte_offset: offset, index: 0 },
            bad_counts: 0,
        }
    }

    /// What the changes reported so far add up to: must always equal the sum over the responses.
    #[derive(Default)]
    struct Sum(i128, i64);

    impl Sum {
        fn take(&mut self, change: Change<'_>) {
            let (sign, record) = match change {
                Change::Added(record) => (1, record),
                Change::Removed(record) => (-1, record),
            };
            self.0 += sign * i128::from(record.usage.total().0);
            self.1 += i64::try_from(sign).unwrap();
        }

        fn check(&self, ledger: &Ledger) {
            let total: u64 = ledger.responses(Scope::All).map(|r| r.usage.total().0).sum();
            assert_eq!(self.0, i128::from(total));
            assert_eq!(self.1, ledger.responses(Scope::All).count() as i64);
        }
    }

    #[test]
    fn the_final_line_replaces_the_placeholder() {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        let file = ledger.file("a.jsonl");
        for (output, offset) in [(3, 0), (3, 10), (228, 20), (3, 30)] {
            ledger.claim(file, &record(Some("msg"), Some("req"), false, output, offset), &mut |c| sum.take(c));
            sum.check(&ledger);
        }
        assert_eq!(sum.0, 228);
        assert_eq!(ledger.responses(Scope::All).count(), 1);
    }

    #[test]
    fn a_main_chain_line_voids_sidechain_lines_of_any_request() {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        let (main, side) = (ledger.file("a.jsonl"), ledger.file("b.jsonl"));
        ledger.claim(side, &record(Some("msg"), Some("other"), true, 900, 0), &mut |c| sum.take(c));
        ledger.claim(side, &record(Some("msg"), None, true, 800, 1), &mut |c| sum.take(c));
        assert_eq!((sum.0, sum.1), (1_700, 2));
        ledger.claim(main, &record(Some("msg"), Some("req"), false, 5, 0), &mut |c| sum.take(c));
        assert_eq!((sum.0, sum.1), (5, 1));
        ledger.retract(main, &mut |c| sum.take(c));
        assert_eq!((sum.0, sum.1), (1_700, 2), "withdrawn, the sidechain counts again");
        sum.check(&ledger);
    }

    #[test]
    fn records_without_an_id_count_by_themselves() {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        let file = ledger.file("a.jsonl");
        ledger.claim(file, &record(None, Some("req"), false, 5, 0), &mut |c| sum.take(c));
        ledger.claim(file, &record(None, Some("req"), false, 5, 1), &mut |c| sum.take(c));
        assert_eq!((sum.0, sum.1), (10, 2));
        ledger.retract(file, &mut |c| sum.take(c));
        assert_eq!((sum.0, sum.1), (0, 0));
    }

    #[test]
    fn a_deleted_file_counts_except_on_disk() {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        let file = ledger.file("a.jsonl");
        ledger.claim(file, &record(Some("msg"), None, false, 5, 0), &mut |c| sum.take(c));
        ledger.archive(file);
        assert_eq!(ledger.responses(Scope::All).count(), 1);
        assert_eq!(ledger.responses(Scope::OnDisk).count(), 0);
    }

    #[cfg(not(target_arch = "wasm32"))]
    mod properties {
        use super::*;
        use proptest::prelude::*;

        type Claimed = (u8, Option<u8>, Option<u8>, bool, u64);

        fn claims() -> impl Strategy<Value = Vec<Claimed>> {
            let id = || proptest::option::of(0u8..3);
            proptest::collection::vec((0u8..3, id(), id(), any::<bool>(), 0u64..5), 0..40)
        }

        fn build(claims: &[(usize, Claimed)], files: &[&str]) -> (Ledger, Sum) {
            let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
            for &(offset, (file, message, request, side, output)) in claims {
                let message = message.map(|id| format!("m{id}"));
                let request = request.map(|id| format!("r{id}"));
                let record = record(message.as_deref(), request.as_deref(), side, output, offset as u64);
                let file = ledger.file(files[file as usize]);
                ledger.claim(file, &record, &mut |c| sum.take(c));
                sum.check(&ledger);
            }
            (ledger, sum)
        }

        fn outcome(ledger: &Ledger) -> Vec<String> {
            let mut all: Vec<_> = ledger.responses(Scope::All).map(|r| format!("{r:?}")).collect();
            all.sort();
            all
        }

        proptest! {
            #[test]
            fn order_does_not_matter_and_merging_equals_reading(list in claims(), seed in any::<u64>()) {
                let files = ["a", "b", "c"];
                let list: Vec<_> = list.into_iter().enumerate().collect();
                let (whole, _) = build(&list, &files);
                let mut shuffled = list.clone();
                shuffled.sort_by_key(|(at, _)| (*at as u64).wrapping_mul(seed | 1).rotate_left(17));
                prop_assert_eq!(outcome(&whole), outcome(&build(&shuffled, &files).0));

                let (left, right): (Vec<_>, Vec<_>) = list.into_iter().partition(|(_, claim)| claim.0 == 1);
                let (mut merged, _) = build(&left, &files);
                merged.merge(build(&right, &files).0);
                prop_assert_eq!(outcome(&whole), outcome(&merged));
            }

            #[test]
            fn retracting_a_file_equals_never_having_read_it(list in claims(), gone in 0u8..3) {
                let files = ["a", "b", "c"];
                let list: Vec<_> = list.into_iter().enumerate().collect();
                let (mut ledger, mut sum) = build(&list, &files);
                let file = ledger.file(files[gone as usize]);
                ledger.retract(file, &mut |c| sum.take(c));
                sum.check(&ledger);
                let rest: Vec<_> = list.into_iter().filter(|(_, claim)| claim.0 != gone).collect();
                prop_assert_eq!(outcome(&ledger), outcome(&build(&rest, &files).0));
            }
        }
    }
}
