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
//! Codex names no responses. Its rows have a hash of all rows up to them for a message id, and a fork's file begins with
//! its parent's rows: such a row is void if an earlier file of the same descent has it, that is, the parent's file,
//! one with the same parent, or one of the same session. Earlier is the parent, then the session begun first, then the
//! smaller path. Files of other descent may have equal rows by chance; those are different responses.
//!
//! The outcome does not depend on the order in which claims arrive, so a live tail, a start-up scan
//! on several threads and a merge of two ledgers agree.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::ids::{MessageId, SessionId};
use crate::record::{FileCounts, Lineage, Rejection, ResponseId, Tool, UsageRecord};
use crate::time::Timestamp;

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
    tool: Tool,
    archived: bool,
    lineage: Option<Lineage>,
    /// How many of its session's ancestors are known.
    generation: u32,
    /// How many of them have a file on disk.
    generation_on_disk: u32,
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
    messages: FxHashMap<MessageId, Vec<Claim>>,
    /// Files by the session they are, and by the session they were forked from.
    of_session: HashMap<SessionId, Vec<FileId>>,
    forked_from: HashMap<SessionId, Vec<FileId>>,
    rejections: BTreeMap<FileId, Vec<Rejection>>,
    kept_rejections: usize,
}

impl Ledger {
    /// The number of the file at `path`, if it is known.
    pub fn known(&self, path: &str) -> Option<FileId> {
        self.by_path.get(path).copied()
    }

    /// The number of the tool's file at `path`, which is there; a new one if the path is new.
    pub fn file(&mut self, tool: Tool, path: &str) -> FileId {
        if let Some(id) = self.known(path) {
            self.set_archived(id, false);
            return id;
        }
        // 2^32 files do not fit on a disk.
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        let path: Arc<str> = path.into();
        self.files.push(File {
            path: path.clone(),
            tool,
            archived: false,
            lineage: None,
            generation: 0,
            generation_on_disk: 0,
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
        let Some(message) = record.id.message() else {
            entry.alone.push(record.clone());
            on_change(Change::Added(record));
            return;
        };
        if entry.claimed.last() != Some(&message) {
            entry.claimed.push(message);
        }
        let claims = self.messages.entry(message).or_default();
        let claim = Claim { file, record: record.clone() };
        if claims.is_empty() {
            on_change(Change::Added(record));
            // Most responses are claimed by one file only.
            claims.reserve_exact(1);
            claims.push(claim);
            return;
        }
        if matches!(record.id, ResponseId::Row(_)) {
            let (files, at) = (&self.files, file.0 as usize);
            let is_kin = |other: &Claim| {
                let (one, other) = (&files[at], &files[other.file.0 as usize]);
                one.path == other.path || is_kin(one, other) || is_kin(other, one)
            };
            // Equal by chance, as the first rows of like sessions may be: there may be very many of them.
            if !claims.iter().any(is_kin) {
                on_change(Change::Added(record));
                claims.push(claim);
                return;
            }
        }
        let before: Vec<UsageRecord> = winners(claims, &self.files, Scope::All).into_iter().cloned().collect();
        let same = claims.iter_mut().find(|known| {
            known.file == file && known.record.id == record.id && known.record.sidechain == record.sidechain
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
        self.set_lineage(file, None, on_change);
    }

    /// `file` says which session it is and where it comes from. Said before or after its claims, it comes to the same.
    pub fn lineage(&mut self, file: FileId, lineage: &Lineage, on_change: &mut impl FnMut(Change<'_>)) {
        self.set_lineage(file, Some(lineage.clone()), on_change);
    }

    fn set_lineage(&mut self, file: FileId, lineage: Option<Lineage>, on_change: &mut impl FnMut(Change<'_>)) {
        let at = file.0 as usize;
        if self.files[at].lineage == lineage {
            return;
        }
        let before = self.files[at].lineage.clone();
        // Whom it concerns: the file, and those that thereby come to be of another generation.
        self.relate(file, before.as_ref(), lineage.as_ref());
        let descendants = self.descendants(before.iter().chain(&lineage));
        let concerned: BTreeMap<FileId, u32> = descendants
            .iter()
            .map(|&id| (id, self.generation(id, Scope::All)))
            .filter(|&(id, generation)| self.files[id.0 as usize].generation != generation)
            .chain([(file, self.generation(file, Scope::All))])
            .collect();
        let files = concerned.keys().map(|id| &self.files[id.0 as usize]);
        let messages: BTreeSet<MessageId> = files.flat_map(|file| &file.claimed).copied().collect();

        let responses = |ledger: &Self| {
            let claims = messages.iter().filter_map(|message| ledger.messages.get(message));
            claims.map(|claims| winners(claims, &ledger.files, Scope::All).into_iter().cloned().collect()).collect()
        };
        // `relate` has changed the file alone; its lineage is put back for what was.
        let now = std::mem::replace(&mut self.files[at].lineage, before);
        let were: Vec<Vec<UsageRecord>> = responses(self);
        self.files[at].lineage = now;
        for (id, generation) in concerned {
            self.files[id.0 as usize].generation = generation;
        }
        self.count_generations_on_disk(descendants.into_iter().chain([file]));
        if let Some(lineage) = &lineage {
            for message in &messages {
                let claims = self.messages.get_mut(message).into_iter().flatten();
                claims
                    .filter(|claim| claim.file == file)
                    .for_each(|claim| claim.record.session = lineage.session.clone());
            }
        }
        let are: Vec<Vec<UsageRecord>> = responses(self);
        for (were, are) in were.iter().zip(&are) {
            report(were, &are.iter().collect::<Vec<_>>(), on_change);
        }
    }

    /// Enters what the file says of itself.
    fn relate(&mut self, file: FileId, before: Option<&Lineage>, after: Option<&Lineage>) {
        for (lineage, is_so) in before.map(|it| (it, false)).into_iter().chain(after.map(|it| (it, true))) {
            let as_child = lineage.parent.as_ref().map(|parent| (&mut self.forked_from, parent));
            for (files, session) in [(&mut self.of_session, &lineage.session)].into_iter().chain(as_child) {
                let list = files.entry(session.clone()).or_default();
                list.retain(|&other| other != file);
                if is_so {
                    list.push(file);
                } else if list.is_empty() {
                    files.remove(session);
                }
            }
        }
        self.files[file.0 as usize].lineage = after.cloned();
    }

    /// The files forked from these sessions, and those forked from these, and so on.
    fn descendants<'a>(&self, ancestors: impl Iterator<Item = &'a Lineage>) -> BTreeSet<FileId> {
        let mut found = BTreeSet::new();
        let mut sessions: Vec<SessionId> = ancestors.map(|lineage| lineage.session.clone()).collect();
        while let Some(session) = sessions.pop() {
            for &child in self.forked_from.get(&session).into_iter().flatten() {
                if found.insert(child) {
                    sessions.extend(self.files[child.0 as usize].lineage.as_ref().map(|it| it.session.clone()));
                }
            }
        }
        found
    }

    /// How many ancestors of the file's session are known; one that is its own ancestor is no further one.
    fn generation(&self, file: FileId, scope: Scope) -> u32 {
        let mut seen = Vec::new();
        let mut at = file;
        loop {
            let parent = self.files[at.0 as usize].lineage.as_ref().and_then(|lineage| lineage.parent.as_ref());
            let Some(parent) = parent.filter(|parent| !seen.contains(parent)) else { break };
            let files = self.of_session.get(parent).into_iter().flatten();
            let files = files.filter(|id| self.files[id.0 as usize].counts_in(scope));
            let Some(&next) = files.min_by_key(|id| self.files[id.0 as usize].path.as_bytes()) else { break };
            seen.push(parent);
            at = next;
        }
        u32::try_from(seen.len()).unwrap_or(u32::MAX)
    }

    /// `file` was deleted: its claims stay, but are no longer on disk.
    pub fn archive(&mut self, file: FileId) {
        self.set_archived(file, true);
    }

    fn set_archived(&mut self, file: FileId, archived: bool) {
        let entry = &mut self.files[file.0 as usize];
        if std::mem::replace(&mut entry.archived, archived) != archived && entry.lineage.is_some() {
            let lineage = entry.lineage.clone();
            self.count_generations_on_disk(self.descendants(lineage.iter()));
        }
    }

    fn count_generations_on_disk(&mut self, files: impl IntoIterator<Item = FileId>) {
        for file in files {
            self.files[file.0 as usize].generation_on_disk = self.generation(file, Scope::OnDisk);
        }
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

    /// The refused lines kept of files in scope, by file in the order the files became known, then by place.
    pub fn rejections(&self, scope: Scope) -> impl Iterator<Item = &Rejection> {
        let of_files = self.rejections.iter().filter(move |(file, _)| self.files[file.0 as usize].counts_in(scope));
        of_files.flat_map(|(_, list)| list)
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

    /// How many files of one tool there are, and their counts together.
    pub fn counts_of(&self, tool: Tool, scope: Scope) -> (u64, FileCounts) {
        let files = self.files.iter().filter(|file| file.tool == tool && file.counts_in(scope));
        files.fold((0, FileCounts::default()), |(number, mut sum), file| {
            sum += file.counts;
            (number + 1, sum)
        })
    }

    /// Takes over all claims of `other`, a ledger of other files.
    pub fn merge(&mut self, other: Ledger) {
        let ids: Vec<FileId> = other.files.iter().map(|file| self.file(file.tool, &file.path)).collect();
        for (mut file, &id) in other.files.into_iter().zip(&ids) {
            self.relate(id, None, file.lineage.as_ref());
            let mine = &mut self.files[id.0 as usize];
            mine.archived = file.archived;
            mine.counts += file.counts;
            mine.claimed.append(&mut file.claimed);
            mine.alone.append(&mut file.alone);
        }
        for (message, claims) in other.messages {
            let claims = claims.into_iter().map(|claim| Claim { file: ids[claim.file.0 as usize], ..claim });
            match self.messages.entry(message) {
                // In the same memory: there is one of these for nearly every response.
                Entry::Vacant(none) => drop(none.insert(claims.collect())),
                Entry::Occupied(mine) => mine.into_mut().extend(claims),
            }
        }
        for (file, list) in other.rejections {
            for rejection in list {
                self.reject(ids[file.0 as usize], rejection);
            }
        }
        let children: BTreeSet<FileId> = self.forked_from.values().flatten().copied().collect();
        for child in children {
            self.files[child.0 as usize].generation = self.generation(child, Scope::All);
            self.count_generations_on_disk([child]);
        }
    }
}

impl File {
    fn counts_in(&self, scope: Scope) -> bool {
        scope == Scope::All || !self.archived
    }
}

/// Whether `a` counts rather than `b`, two claims of one file on the same response.
pub fn outranks(a: &UsageRecord, b: &UsageRecord) -> bool {
    by_content(a, b).then_with(|| a.place.cmp(&b.place)) == Ordering::Less
}

/// `Less` if `a` counts rather than `b`, wherever they stand.
fn by_content(a: &UsageRecord, b: &UsageRecord) -> Ordering {
    let time = |record: &UsageRecord| (record.at.is_none(), record.at);
    b.usage.total().cmp(&a.usage.total()).then_with(|| time(a).cmp(&time(b)))
}

/// `Less` if `a` counts rather than `b`.
fn preference(a: &Claim, b: &Claim, files: &[File]) -> Ordering {
    let path = |claim: &Claim| files[claim.file.0 as usize].path.as_bytes();
    by_content(&a.record, &b.record)
        .then_with(|| if a.file == b.file { Ordering::Equal } else { path(a).cmp(path(b)) })
        .then_with(|| a.record.place.cmp(&b.record.place))
}

/// Whether rows of a later file may repeat those of an earlier one.
fn is_kin(later: &File, earlier: &File) -> bool {
    let (Some(later), Some(earlier)) = (&later.lineage, &earlier.lineage) else { return false };
    let parent = later.parent.as_ref();
    later.session == earlier.session
        || parent == Some(&earlier.session)
        || (parent.is_some() && parent == earlier.parent.as_ref())
}

/// The claims on one row that stand for responses: those that no earlier file of the same descent has.
fn first_rows<'a>(claims: &[&'a Claim], files: &'a [File], scope: Scope) -> Vec<&'a UsageRecord> {
    let file = |claim: &Claim| &files[claim.file.0 as usize];
    let order = |claim: &&Claim| {
        let file = file(claim);
        let began: Option<Timestamp> = file.lineage.as_ref().and_then(|lineage| lineage.started_at);
        let generation = if scope == Scope::All { file.generation } else { file.generation_on_disk };
        (generation, began.is_none(), began, file.path.as_bytes())
    };
    let mut in_order = claims.to_vec();
    in_order.sort_by(|a, b| order(a).cmp(&order(b)));
    let (mut sessions, mut parents) = (HashSet::new(), HashSet::new());
    let mut first = Vec::with_capacity(1);
    for claim in in_order {
        let Some(Lineage { session, parent, .. }) = &file(claim).lineage else {
            first.push(&claim.record);
            continue;
        };
        let is_new = |parent: &SessionId| !sessions.contains(parent) && !parents.contains(parent);
        if !sessions.contains(session) && parent.as_ref().is_none_or(is_new) {
            first.push(&claim.record);
        }
        sessions.insert(session);
        parents.extend(parent);
    }
    first
}

/// The claims on one message that stand for its responses: one per request id.
fn winners<'a>(claims: &'a [Claim], files: &'a [File], scope: Scope) -> Vec<&'a UsageRecord> {
    let counts = |claim: &&Claim| files[claim.file.0 as usize].counts_in(scope);
    if let [only] = claims {
        return Some(only).filter(counts).map(|claim| &claim.record).into_iter().collect();
    }
    if claims.first().is_some_and(|claim| matches!(claim.record.id, ResponseId::Row(_))) {
        return first_rows(&claims.iter().filter(counts).collect::<Vec<_>>(), files, scope);
    }
    let main_chain = claims.iter().filter(counts).any(|claim| !claim.record.sidechain);
    let mut best: Vec<&Claim> = Vec::with_capacity(1);
    for claim in claims.iter().filter(counts).filter(|claim| !(main_chain && claim.record.sidechain)) {
        match best.iter_mut().find(|known| known.record.id == claim.record.id) {
            Some(known) if preference(claim, known, files) == Ordering::Less => *known = claim,
            Some(_) => {}
            None => best.push(claim),
        }
    }
    best.into_iter().map(|claim| &claim.record).collect()
}

/// Tells what differs between two sets of winners.
fn report(before: &[UsageRecord], after: &[&UsageRecord], on_change: &mut impl FnMut(Change<'_>)) {
    // Equal ones are matched one by one: two files may well claim the same.
    let mut added = after.to_vec();
    for record in before {
        match added.iter().position(|known| *known == record) {
            Some(same) => drop(added.remove(same)),
            None => on_change(Change::Removed(record)),
        }
    }
    for record in added {
        on_change(Change::Added(record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ModelId, RequestId};
    use crate::record::Place;
    use crate::units::{TokenUsage, Tokens};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn record(message: Option<&str>, request: Option<&str>, sidechain: bool, output: u64, offset: u64) -> UsageRecord {
        UsageRecord {
            tool: Tool::ClaudeCode,
            session: SessionId::new("s"),
            agent: None,
            sidechain,
            id: ResponseId::of(message.map(MessageId::from), request.map(RequestId::from)),
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
        let file = ledger.file(Tool::ClaudeCode, "a.jsonl");
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
        let (main, side) = (ledger.file(Tool::ClaudeCode, "a.jsonl"), ledger.file(Tool::ClaudeCode, "b.jsonl"));
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
        let file = ledger.file(Tool::ClaudeCode, "a.jsonl");
        ledger.claim(file, &record(None, Some("req"), false, 5, 0), &mut |c| sum.take(c));
        ledger.claim(file, &record(None, Some("req"), false, 5, 1), &mut |c| sum.take(c));
        assert_eq!((sum.0, sum.1), (10, 2));
        ledger.retract(file, &mut |c| sum.take(c));
        assert_eq!((sum.0, sum.1), (0, 0));
    }

    #[test]
    fn a_deleted_file_counts_except_on_disk() {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        let file = ledger.file(Tool::ClaudeCode, "a.jsonl");
        ledger.claim(file, &record(Some("msg"), None, false, 5, 0), &mut |c| sum.take(c));
        ledger.archive(file);
        assert_eq!(ledger.responses(Scope::All).count(), 1);
        assert_eq!(ledger.responses(Scope::OnDisk).count(), 0);
    }

    /// Row `row` of a rollout whose rows up to it are those of every file with the same `row`.
    fn row(session: &str, row: &str, at: i64) -> UsageRecord {
        UsageRecord {
            tool: Tool::Codex,
            id: ResponseId::Row(row.into()),
            session: session.into(),
            at: Some(Timestamp::from_unix_ms(at)),
            ..record(Some(row), None, false, 10, u64::try_from(at).unwrap())
        }
    }

    fn lineage(session: &str, parent: Option<&str>, began: i64) -> Lineage {
        let started_at = Some(Timestamp::from_unix_ms(began));
        Lineage { session: session.into(), parent: parent.map(SessionId::from), started_at }
    }

    #[test]
    fn a_fork_repeats_its_parents_rows_whichever_is_read_first() {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        let (fork, parent) = (ledger.file(Tool::Codex, "a"), ledger.file(Tool::Codex, "b"));
        ledger.lineage(fork, &lineage("fork", Some("parent"), 1), &mut |c| sum.take(c));
        for (name, at) in [("r1", 1), ("r2", 2), ("f3", 3)] {
            ledger.claim(fork, &row("fork", name, at), &mut |c| sum.take(c));
        }
        assert_eq!(sum.1, 3);
        // Late, and only after its first row, the file says which session it is.
        ledger.claim(parent, &row("stem", "r1", 9), &mut |c| sum.take(c));
        assert_eq!(sum.1, 4, "nothing is known of it: equal by chance");
        ledger.lineage(parent, &lineage("parent", None, 9), &mut |c| sum.take(c));
        sum.check(&ledger);
        assert_eq!(sum.1, 3);
        for (name, at) in [("r2", 10), ("p3", 11)] {
            ledger.claim(parent, &row("parent", name, at), &mut |c| sum.take(c));
            sum.check(&ledger);
        }
        let sessions = |ledger: &Ledger| {
            let mut all: Vec<_> =
                ledger.responses(Scope::All).map(|r| (r.session.to_string(), r.place.byte_offset)).collect();
            all.sort();
            all
        };
        let expected = [("fork", 3), ("parent", 9), ("parent", 10), ("parent", 11)];
        assert_eq!(sessions(&ledger), expected.map(|(session, at)| (session.to_owned(), at)));
        ledger.retract(parent, &mut |c| sum.take(c));
        sum.check(&ledger);
        assert_eq!(sum.1, 3);
    }

    #[test]
    fn equal_rows_of_unrelated_sessions_are_different_responses() {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        for (path, session) in [("a", "s1"), ("b", "s2"), ("c", "s3")] {
            let file = ledger.file(Tool::Codex, path);
            ledger.lineage(file, &lineage(session, None, 0), &mut |c| sum.take(c));
            ledger.claim(file, &row(session, "r1", 1), &mut |c| sum.take(c));
            ledger.claim(file, &row(session, "r1", 1), &mut |c| sum.take(c));
        }
        sum.check(&ledger);
        assert_eq!(sum.1, 3);
        assert_eq!(ledger.counts_of(Tool::Codex, Scope::All).0, 3);
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
                let file = ledger.file(Tool::ClaudeCode, files[file as usize]);
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

        /// A rollout: session, parent, when it began, and its rows, by which they can be told from others.
        type Rollout = (u8, Option<u8>, i64, Vec<u8>);

        fn rollouts() -> impl Strategy<Value = Vec<Rollout>> {
            let rows = proptest::collection::vec(0u8..2, 0..4);
            let session = || 0u8..5;
            proptest::collection::vec((session(), proptest::option::of(session()), 0i64..3, rows), 1..6)
        }

        /// What is to be done with each rollout, in order: its lineage, and its rows by the names of all up to them.
        fn steps(rollouts: &[Rollout]) -> Vec<(usize, Option<(String, i64)>)> {
            let rows = |(file, rollout): (usize, &Rollout)| {
                let names = (1..=rollout.3.len()).map(|length| format!("{:?}", &rollout.3[..length]));
                let rows = names.enumerate().map(move |(at, name)| (file, Some((name, i64::try_from(at).unwrap()))));
                std::iter::once((file, None)).chain(rows.collect::<Vec<_>>())
            };
            rollouts.iter().enumerate().flat_map(rows).collect()
        }

        fn play(rollouts: &[Rollout], steps: &[(usize, Option<(String, i64)>)]) -> (Ledger, Sum) {
            let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
            let name = |session: u8| format!("s{session}");
            for (at, step) in steps {
                let (session, parent, began, _) = &rollouts[*at];
                let file = ledger.file(Tool::Codex, &format!("f{at}"));
                match step {
                    None => {
                        let lineage = lineage(&name(*session), parent.map(name).as_deref(), *began);
                        ledger.lineage(file, &lineage, &mut |c| sum.take(c));
                    }
                    Some((row_name, at)) => {
                        ledger.claim(file, &row(&name(*session), row_name, *at), &mut |c| sum.take(c));
                    }
                }
                sum.check(&ledger);
            }
            (ledger, sum)
        }

        /// By the rule in words: files in order, each without the longest run it begins with that an earlier kin has.
        fn expected(rollouts: &[Rollout]) -> Vec<(String, usize)> {
            fn generation(rollouts: &[Rollout], at: usize, seen: &[u8]) -> usize {
                let Some(parent) = rollouts[at].1.filter(|parent| !seen.contains(parent)) else { return 0 };
                let Some(next) = rollouts.iter().position(|other| other.0 == parent) else { return 0 };
                1 + generation(rollouts, next, &[seen, &[parent]].concat())
            }
            let mut order: Vec<usize> = (0..rollouts.len()).collect();
            order.sort_by_key(|&at| (generation(rollouts, at, &[]), rollouts[at].2, at));
            let mut kept = Vec::new();
            for (place, &at) in order.iter().enumerate() {
                let (session, parent, _, rows) = &rollouts[at];
                let kin = order[..place].iter().map(|&other| &rollouts[other]).filter(|other| {
                    other.0 == *session || parent.is_some_and(|parent| other.0 == parent || other.1 == Some(parent))
                });
                let run = |other: &Rollout| rows.iter().zip(&other.3).take_while(|(a, b)| a == b).count();
                let replayed = kin.map(run).max().unwrap_or(0);
                kept.extend((replayed..rows.len()).map(|row| (format!("s{session}"), row)));
            }
            kept.sort();
            kept
        }

        fn found(ledger: &Ledger, scope: Scope) -> Vec<(String, usize)> {
            let row = |r: &UsageRecord| (r.session.to_string(), usize::try_from(r.place.byte_offset).unwrap());
            let mut all: Vec<_> = ledger.responses(scope).map(row).collect();
            all.sort();
            all
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(1000))]

            #[test]
            fn forks_fold_by_the_rule_in_any_order(list in rollouts(), seed in any::<u64>(), gone in any::<prop::sample::Index>()) {
                let mut steps = steps(&list);
                steps.sort_by_key(|(file, step)| {
                    let at = *file as u64 * 100 + step.as_ref().map_or(0, |(_, at)| at.unsigned_abs() + 1);
                    at.wrapping_mul(seed | 1).rotate_left(23)
                });
                let (mut whole, mut sum) = play(&list, &steps);
                prop_assert_eq!(found(&whole, Scope::All), expected(&list));

                let (left, right): (Vec<_>, Vec<_>) = steps.iter().cloned().partition(|(file, _)| file % 2 == 1);
                let (mut merged, _) = play(&list, &left);
                merged.merge(play(&list, &right).0);
                prop_assert_eq!(found(&merged, Scope::All), expected(&list));
                let merged_gone = merged.file(Tool::Codex, &format!("f{}", gone.index(list.len())));
                merged.archive(merged_gone);

                let gone = gone.index(list.len());
                let file = whole.file(Tool::Codex, &format!("f{gone}"));
                // Not there, it is as if it had neither rows nor kin.
                let mut rest = list.clone();
                rest.remove(gone);
                for archived in [true, false, true] {
                    if archived {
                        whole.archive(file);
                    } else {
                        whole.file(Tool::Codex, &format!("f{gone}"));
                    }
                    prop_assert_eq!(found(&whole, Scope::OnDisk), expected(if archived { &rest } else { &list }));
                    prop_assert_eq!(found(&whole, Scope::All), expected(&list));
                }
                prop_assert_eq!(found(&merged, Scope::OnDisk), expected(&rest));
                whole.retract(file, &mut |c| sum.take(c));
                sum.check(&whole);
                prop_assert_eq!(found(&whole, Scope::All), expected(&rest));
            }
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
                let file = ledger.file(Tool::ClaudeCode, files[gone as usize]);
                ledger.retract(file, &mut |c| sum.take(c));
                sum.check(&ledger);
                let rest: Vec<_> = list.into_iter().filter(|(_, claim)| claim.0 != gone).collect();
                prop_assert_eq!(outcome(&ledger), outcome(&build(&rest, &files).0));
            }
        }
    }
}
