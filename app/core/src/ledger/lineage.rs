//! Families of files: which file was forked from which session, and how that decides whose rows are repeats.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, FileId, Ledger, Scope, rules};
use crate::ids::{MessageId, SessionId};
use crate::record::Lineage;

use super::claims::Claim;

impl Ledger {
    /// `file` says which session it is and where it comes from. Said before or after its claims, it comes to the same.
    ///
    /// What it concerns must be held, see [`Self::concerned_by`].
    pub fn lineage(&mut self, file: FileId, lineage: &Lineage, on_change: &mut impl FnMut(Change<'_>)) {
        self.set_lineage(file, Some(lineage.clone()), on_change);
    }

    /// Takes a lineage that was said before, see [`Self::recall`]: no figure changes by it.
    pub fn recall_lineage(&mut self, file: FileId, lineage: &Lineage) {
        let before = self.at(file).lineage.clone();
        self.relate(file, before.as_ref(), Some(lineage));
        self.count_generations();
    }

    pub(super) fn set_lineage(
        &mut self,
        file: FileId,
        lineage: Option<Lineage>,
        on_change: &mut impl FnMut(Change<'_>),
    ) {
        if self.at(file).lineage == lineage {
            return;
        }
        let before = self.at(file).lineage.clone();
        // Whom it concerns: the file, and those that thereby come to be of another generation.
        self.relate(file, before.as_ref(), lineage.as_ref());
        let descendants = self.descendants(before.iter().chain(&lineage));
        let concerned: BTreeMap<FileId, u32> = descendants
            .iter()
            .map(|&id| (id, self.generation(id, Scope::All)))
            .filter(|&(id, generation)| self.at(id).generation != generation)
            .chain([(file, self.generation(file, Scope::All))])
            .collect();
        let claims = concerned.keys().flat_map(|&id| &self.at(id).claims);
        let messages: BTreeSet<MessageId> =
            claims.filter_map(|&number| self.claims.id(self.claims.get(number)).message()).collect();

        let responses = |ledger: &Self| -> Vec<Vec<Claim>> {
            let mut list = Vec::new();
            let of_message = |&message: &MessageId| {
                ledger.claims.list(message, &mut list);
                ledger.standing_or_none(&list)
            };
            messages.iter().map(of_message).collect()
        };
        // `relate` has changed the file alone; its lineage is put back for what was.
        let now = std::mem::replace(&mut self.at_mut(file).lineage, before);
        let were = responses(self);
        self.at_mut(file).lineage = now;
        for (id, generation) in concerned {
            self.at_mut(id).generation = generation;
        }
        self.count_generations_on_disk(descendants.into_iter().chain([file]));
        // Changes of session are told as removals and additions: of what was, the records are made before.
        let were: Vec<Vec<(Claim, crate::record::UsageRecord)>> =
            were.into_iter().map(|claims| claims.into_iter().map(|it| (it, self.record(&it))).collect()).collect();
        if let Some(lineage) = &lineage {
            for number in self.at(file).claims.clone() {
                if self.claims.is_row(self.claims.get(number)) {
                    self.claims.set_session(number, &lineage.session);
                }
            }
        }
        for (were, mut are) in were.into_iter().zip(responses(self)) {
            for (claim, record) in were {
                match are.iter().position(|other| other.is_same(&claim)) {
                    Some(same) => drop(are.swap_remove(same)),
                    None => on_change(Change::Removed(&record)),
                }
            }
            are.iter().for_each(|claim| on_change(Change::Added(&self.record(claim))));
        }
    }

    /// Enters what the file says of itself.
    pub(super) fn relate(&mut self, file: FileId, before: Option<&Lineage>, after: Option<&Lineage>) {
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
        self.at_mut(file).lineage = after.cloned();
    }

    /// The files forked from these sessions, and those forked from these, and so on.
    pub(super) fn descendants<'a>(&self, ancestors: impl Iterator<Item = &'a Lineage>) -> BTreeSet<FileId> {
        let mut found = BTreeSet::new();
        let mut sessions: Vec<SessionId> = ancestors.map(|lineage| lineage.session.clone()).collect();
        while let Some(session) = sessions.pop() {
            for &child in self.forked_from.get(&session).into_iter().flatten() {
                if found.insert(child) {
                    sessions.extend(self.at(child).lineage.as_ref().map(|it| it.session.clone()));
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
            let parent = self.at(at).lineage.as_ref().and_then(|lineage| lineage.parent.as_ref());
            let Some(parent) = parent.filter(|parent| !seen.contains(parent)) else { break };
            let files = self.of_session.get(parent).into_iter().flatten();
            let files = files.filter(|id| self.at(**id).counts_in(scope));
            let Some(&next) = files.min_by_key(|id| self.at(**id).path.as_bytes()) else { break };
            seen.push(parent);
            at = next;
        }
        u32::try_from(seen.len()).unwrap_or(u32::MAX)
    }

    /// Counts the generations of all forks anew.
    pub(super) fn count_generations(&mut self) {
        let children: BTreeSet<FileId> = self.forked_from.values().flatten().copied().collect();
        for child in children {
            self.at_mut(child).generation = self.generation(child, Scope::All);
            self.count_generations_on_disk([child]);
        }
    }

    pub(super) fn count_generations_on_disk(&mut self, files: impl IntoIterator<Item = FileId>) {
        for file in files {
            self.at_mut(file).generation_on_disk = self.generation(file, Scope::OnDisk);
        }
    }

    /// Whether rows of one of the files may repeat those of the other.
    pub(super) fn are_kin(&self, a: FileId, b: FileId) -> bool {
        match (&self.at(a).lineage, &self.at(b).lineage) {
            _ if a == b => true,
            (Some(one), Some(other)) => rules::is_kin(one, other) || rules::is_kin(other, one),
            _ => false,
        }
    }
}
