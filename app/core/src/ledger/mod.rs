//! Who said which response used how many tokens, and whom to believe.
//!
//! One API response is written on several lines, often in several files: once per content block, again in a fork, again
//! as a subagent's progress. Each such line is a *claim* its file makes on the response. The ledger keeps the best claim
//! of each file and decides by the [rules], for every response, which one counts. A file that is truncated or rewritten
//! withdraws its claims; one that is deleted leaves them, archived.
//!
//! The outcome does not depend on the order in which claims arrive, so a live tail, a start-up scan on several threads
//! and a merge of two ledgers agree.
//!
//! # What is held
//! A ledger may hold all claims there are (a report from nothing, dropped files) or only some, while a store has them
//! all. Of a message it holds all claims or none. Whoever owns it [`recall`](Ledger::recall)s what a record needs before
//! it is taken, as [`Ledger::is_held`] and [`Ledger::is_loaded`] tell, and [`release`](Ledger::release)s what is stored
//! and no longer needed. Recalling and releasing change no figure. Bounded by the claims held, 72 bytes each and 5 for
//! the index, and by the number of files.

mod claims;
mod lineage;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::ids::{AgentId, MessageId, ModelId, SessionId};
use crate::record::{FileCounts, Lineage, Rejection, Tool, UsageRecord};
use crate::time::Timestamp;
use crate::units::TokenUsage;

use self::claims::{Claim, ClaimIndex, Claims};
use self::rules::Candidate;

pub use self::rules::outranks;

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

/// A response, as the claim that stands for it has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing<'a> {
    /// Whose it is.
    pub tool: Tool,
    /// The session it belongs to.
    pub session: &'a SessionId,
    /// The subagent that asked, if one did and is known by name.
    pub agent: Option<&'a AgentId>,
    /// The model that answered.
    pub model: &'a ModelId,
    /// When; `None` if the line has no readable time.
    pub at: Option<Timestamp>,
    /// The tokens.
    pub usage: TokenUsage,
}

#[derive(Debug)]
struct File {
    path: Arc<str>,
    tool: Tool,
    archived: bool,
    /// Whether all its claims are held. A file not seen before has none yet.
    loaded: bool,
    lineage: Option<Lineage>,
    /// How many of its session's ancestors are known.
    generation: u32,
    /// How many of them have a file on disk.
    generation_on_disk: u32,
    counts: FileCounts,
    /// Its claims, as far as held.
    claims: Vec<ClaimIndex>,
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub struct Ledger {
    files: Vec<File>,
    by_path: HashMap<Arc<str>, FileId>,
    claims: Claims,
    /// Files by the session they are, and by the session they were forked from.
    of_session: HashMap<SessionId, Vec<FileId>>,
    forked_from: HashMap<SessionId, Vec<FileId>>,
    rejections: BTreeMap<FileId, Vec<Rejection>>,
    kept_rejections: usize,
    /// Room for the claims on one message, used again and again.
    list: Vec<ClaimIndex>,
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
            loaded: true,
            lineage: None,
            generation: 0,
            generation_on_disk: 0,
            counts: FileCounts::default(),
            claims: Vec::new(),
        });
        self.by_path.insert(path, id);
        id
    }

    /// The path of `file`.
    pub fn path(&self, file: FileId) -> &str {
        &self.at(file).path
    }

    /// The tool whose file it is.
    pub fn tool(&self, file: FileId) -> Tool {
        self.at(file).tool
    }

    fn at(&self, file: FileId) -> &File {
        &self.files[file.0 as usize]
    }

    fn at_mut(&mut self, file: FileId) -> &mut File {
        &mut self.files[file.0 as usize]
    }

    /// `file` claims that a response used these tokens. Reports what that changed, removals first.
    ///
    /// Its message must be held, or have no claims elsewhere.
    pub fn claim(&mut self, file: FileId, record: &UsageRecord, on_change: &mut impl FnMut(Change<'_>)) {
        let claim = self.claims.make(file, record);
        let first = record.id.message().and_then(|message| self.claims.first(message));
        let Some(first) = first else {
            self.insert(file, claim);
            return on_change(Change::Added(record));
        };
        let known = *self.claims.get(first);
        if known.next() == claims::NONE && self.claims.file(&known) == file && self.is_same_response(&known, &claim) {
            // Most claims that are not the first repeat the one before, with more output.
            if self.outranks(&claim, &known) {
                self.claims.replace(first, claim);
                on_change(Change::Removed(&self.record(&known)));
                on_change(Change::Added(record));
            }
            return;
        }
        let mut list = std::mem::take(&mut self.list);
        self.claims.list(known_message(record), &mut list);
        if self.claims.is_row(&claim) && !list.iter().any(|&other| self.are_kin(file, self.file_of(other))) {
            // Equal by chance, as the first rows of like sessions may be: there may be very many of them.
            self.insert(file, claim);
            on_change(Change::Added(record));
        } else {
            let before = self.standing_on(&list);
            let same = list.iter().copied().find(|&other| {
                let other = self.claims.get(other);
                self.claims.file(other) == file && self.is_same_response(other, &claim)
            });
            match same {
                Some(other) if !self.outranks(&claim, self.claims.get(other)) => {}
                Some(other) => {
                    self.claims.replace(other, claim);
                    self.report(&before, known_message(record), &mut list, on_change);
                }
                None => {
                    self.insert(file, claim);
                    self.report(&before, known_message(record), &mut list, on_change);
                }
            }
        }
        self.list = list;
    }

    fn insert(&mut self, file: FileId, claim: Claim) {
        let number = self.claims.insert(claim);
        self.at_mut(file).claims.push(number);
    }

    /// `file` was truncated or rewritten: its claims, counts and rejections go. It must be loaded.
    pub fn retract(&mut self, file: FileId, on_change: &mut impl FnMut(Change<'_>)) {
        self.at_mut(file).counts = FileCounts::default();
        self.kept_rejections -= self.rejections.remove(&file).map_or(0, |list| list.len());
        let mut list = std::mem::take(&mut self.list);
        for number in std::mem::take(&mut self.at_mut(file).claims) {
            let claim = *self.claims.get(number);
            match self.claims.id(&claim).message() {
                None => {
                    let record = self.record(&claim);
                    self.claims.remove(number);
                    on_change(Change::Removed(&record));
                }
                Some(message) => {
                    self.claims.list(message, &mut list);
                    let before = self.standing_on(&list);
                    self.claims.remove(number);
                    self.report(&before, message, &mut list, on_change);
                }
            }
        }
        self.list = list;
        self.set_lineage(file, None, on_change);
    }

    /// `file` was deleted: its claims stay, but are no longer on disk.
    pub fn archive(&mut self, file: FileId) {
        self.set_archived(file, true);
    }

    fn set_archived(&mut self, file: FileId, archived: bool) {
        let entry = self.at_mut(file);
        if std::mem::replace(&mut entry.archived, archived) != archived && entry.lineage.is_some() {
            let lineage = entry.lineage.clone();
            self.count_generations_on_disk(self.descendants(lineage.iter()));
        }
    }

    /// What has been read of `file` so far.
    pub fn set_counts(&mut self, file: FileId, counts: FileCounts) {
        self.at_mut(file).counts = counts;
    }

    /// What has been read of `file` so far.
    pub fn counts_of_file(&self, file: FileId) -> FileCounts {
        self.at(file).counts
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
        let of_files = self.rejections.iter().filter(move |(file, _)| self.at(**file).counts_in(scope));
        of_files.flat_map(|(_, list)| list)
    }

    /// The records that stand for responses, of the claims held, in no particular order.
    pub fn responses(&self, scope: Scope) -> impl Iterator<Item = UsageRecord> {
        self.standing_claims(scope).map(|claim| self.record(&claim))
    }

    /// The same, without copies: what a sum is made of.
    pub fn standing(&self, scope: Scope) -> impl Iterator<Item = Standing<'_>> {
        self.standing_claims(scope).map(|claim| {
            let (session, agent, model) = self.claims.names(&claim);
            let (tool, usage) = (self.at(self.claims.file(&claim)).tool, self.claims.usage(&claim));
            Standing { tool, session, agent, model, at: claim.at(), usage }
        })
    }

    fn standing_claims(&self, scope: Scope) -> impl Iterator<Item = Claim> {
        let mut list = Vec::new();
        self.claims.heads().flat_map(move |first| {
            let claim = self.claims.get(first);
            if claim.next() == claims::NONE {
                let only = self.at(self.claims.file(claim)).counts_in(scope).then_some(*claim);
                return only.into_iter().chain(Vec::new());
            }
            list.clear();
            let mut next = first;
            while next != claims::NONE {
                list.push(next);
                next = self.claims.get(next).next();
            }
            list.retain(|&number| self.at(self.file_of(number)).counts_in(scope));
            None.into_iter().chain(self.winners(&list, scope))
        })
    }

    /// Files, in scope.
    pub fn file_count(&self, scope: Scope) -> u64 {
        // Of a deleted file that says nothing, nothing is kept.
        let says_nothing = |file: &File| file.archived && file.counts == FileCounts::default();
        self.files.iter().filter(|file| file.counts_in(scope) && !says_nothing(file)).count() as u64
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
        for (file, &id) in other.files.iter().zip(&ids) {
            self.relate(id, None, file.lineage.as_ref());
            let mine = self.at_mut(id);
            mine.archived = file.archived;
            mine.counts += file.counts;
            for &number in &file.claims {
                let record = other.record(other.claims.get(number));
                let claim = self.claims.make(id, &record);
                self.insert(id, claim);
            }
        }
        for (file, list) in other.rejections {
            for rejection in list {
                self.reject(ids[file.0 as usize], rejection);
            }
        }
        self.count_generations();
    }

    // ---- What is held -------------------------------------------------------------------------------------------

    /// Claims held.
    pub fn held(&self) -> usize {
        self.claims.len()
    }

    /// Whether the claims on this message are held; there may also be none anywhere.
    pub fn is_held(&self, message: MessageId) -> bool {
        self.claims.first(message).is_some()
    }

    /// Whether all claims of `file` are held.
    pub fn is_loaded(&self, file: FileId) -> bool {
        self.at(file).loaded
    }

    /// Says whether all claims of `file` are held.
    pub fn set_loaded(&mut self, file: FileId, loaded: bool) {
        self.at_mut(file).loaded = loaded;
    }

    /// Takes a claim that was made before and released, or made by a former process. No figure changes by it. All
    /// claims on its message have to be recalled before the next record is taken.
    pub fn recall(&mut self, file: FileId, record: &UsageRecord) {
        let claim = self.claims.make(file, record);
        let known = match record.id.message() {
            Some(message) => {
                let mut list = std::mem::take(&mut self.list);
                self.claims.list(message, &mut list);
                let same = list.iter().copied().find(|&other| {
                    let other = self.claims.get(other);
                    self.claims.file(other) == file && self.is_same_response(other, &claim)
                });
                self.list = list;
                same
            }
            // A response by itself is known by its place.
            None => self.at(file).claims.iter().copied().find(|&other| {
                let other = self.claims.get(other);
                other.place() == claim.place() && self.claims.id(other).message().is_none()
            }),
        };
        match known {
            None => self.insert(file, claim),
            Some(known) if self.outranks(&claim, self.claims.get(known)) => self.claims.replace(known, claim),
            Some(_) => {}
        }
    }

    /// Lets go of the claims of files that are not to be kept, except on messages on which a file to be kept has a
    /// claim. They must be stored elsewhere. Gives memory back.
    pub fn release(&mut self, keep: impl Fn(FileId) -> bool) {
        let claims = std::mem::take(&mut self.claims);
        let held: Vec<(FileId, Vec<ClaimIndex>)> = self
            .files
            .iter_mut()
            .enumerate()
            .map(|(at, file)| (FileId(u32::try_from(at).unwrap_or(u32::MAX)), std::mem::take(&mut file.claims)))
            .collect();
        for (file, numbers) in held {
            let kept = keep(file);
            let is_contested = |number: &ClaimIndex| {
                let claim = claims.get(*number);
                let Some(message) = claims.id(claim).message() else { return false };
                let mut next = claims.first(message).unwrap_or(claims::NONE);
                while next != claims::NONE {
                    let other = claims.get(next);
                    if keep(claims.file(other)) {
                        return true;
                    }
                    next = other.next();
                }
                false
            };
            let mut numbers = numbers;
            if !kept {
                if !numbers.is_empty() {
                    self.at_mut(file).loaded = false;
                }
                numbers.retain(is_contested);
            }
            for number in numbers {
                let record = UsageRecord { tool: self.at(file).tool, ..claims.record(claims.get(number)) };
                let claim = self.claims.make(file, &record);
                self.insert(file, claim);
            }
        }
    }

    /// Files whose claims have to be held before `file` may say or withdraw this lineage.
    pub fn concerned_by(&self, file: FileId, lineage: Option<&Lineage>) -> BTreeSet<FileId> {
        let known = self.at(file).lineage.as_ref();
        if known == lineage {
            return BTreeSet::new();
        }
        self.descendants(known.into_iter().chain(lineage)).into_iter().chain([file]).collect()
    }

    /// Claims of `file` that stand for responses, of those held.
    pub fn responses_of(&self, file: FileId) -> impl Iterator<Item = UsageRecord> {
        let mut list = Vec::new();
        self.at(file).claims.iter().filter_map(move |&number| {
            let claim = self.claims.get(number);
            if let Some(message) = self.claims.id(claim).message() {
                self.claims.list(message, &mut list);
                let stands =
                    list.len() == 1 || self.winners(&list, Scope::All).iter().any(|standing| standing.is_same(claim));
                if !stands {
                    return None;
                }
            }
            Some(self.record(claim))
        })
    }

    // ---- Which claims stand -------------------------------------------------------------------------------------

    fn file_of(&self, claim: ClaimIndex) -> FileId {
        self.claims.file(self.claims.get(claim))
    }

    fn record(&self, claim: &Claim) -> UsageRecord {
        UsageRecord { tool: self.at(self.claims.file(claim)).tool, ..self.claims.record(claim) }
    }

    /// Whether two claims on one message are on the same response, as far as one file goes.
    fn is_same_response(&self, a: &Claim, b: &Claim) -> bool {
        self.claims.id(a) == self.claims.id(b) && self.claims.is_sidechain(a) == self.claims.is_sidechain(b)
    }

    /// Whether `a` counts rather than `b`, two claims of one file on the same response.
    fn outranks(&self, a: &Claim, b: &Claim) -> bool {
        let rank = |claim: &Claim| (self.claims.usage(claim).total(), claim.at(), claim.place());
        rules::outranks_by(rank(a), rank(b))
    }

    /// The claims on one message that stand for its responses.
    fn standing_on(&self, list: &[ClaimIndex]) -> Vec<Claim> {
        if let [only] = list { vec![*self.claims.get(*only)] } else { self.winners(list, Scope::All) }
    }

    fn winners(&self, list: &[ClaimIndex], scope: Scope) -> Vec<Claim> {
        let candidate = |&number: &ClaimIndex| {
            let claim = self.claims.get(number);
            let file = self.at(self.claims.file(claim));
            Candidate {
                id: self.claims.id(claim),
                sidechain: self.claims.is_sidechain(claim),
                total: self.claims.usage(claim).total(),
                at: claim.at(),
                path: &file.path,
                place: claim.place(),
                lineage: file.lineage.as_ref(),
                generation: if scope == Scope::All { file.generation } else { file.generation_on_disk },
            }
        };
        let candidates: Vec<Candidate<'_>> = list.iter().map(candidate).collect();
        rules::winners(&candidates).into_iter().map(|index| *self.claims.get(list[index])).collect()
    }

    /// Tells what differs from the claims that stood on a message before; `list` is scratch space.
    fn report(
        &self,
        before: &[Claim],
        message: MessageId,
        list: &mut Vec<ClaimIndex>,
        on_change: &mut impl FnMut(Change<'_>),
    ) {
        self.claims.list(message, list);
        let after = self.standing_or_none(list);
        self.report_difference(before, after, on_change);
    }

    fn standing_or_none(&self, list: &[ClaimIndex]) -> Vec<Claim> {
        if list.is_empty() { Vec::new() } else { self.standing_on(list) }
    }

    fn report_difference(&self, before: &[Claim], mut after: Vec<Claim>, on_change: &mut impl FnMut(Change<'_>)) {
        for claim in before {
            match after.iter().position(|other| other.is_same(claim)) {
                Some(same) => drop(after.swap_remove(same)),
                None => on_change(Change::Removed(&self.record(claim))),
            }
        }
        after.iter().for_each(|claim| on_change(Change::Added(&self.record(claim))));
    }
}

impl File {
    fn counts_in(&self, scope: Scope) -> bool {
        scope == Scope::All || !self.archived
    }
}

/// The message of a record that has one: it was found by it.
fn known_message(record: &UsageRecord) -> MessageId {
    record.id.message().unwrap_or(MessageId::from_number(0))
}

#[cfg(test)]
mod tests;
