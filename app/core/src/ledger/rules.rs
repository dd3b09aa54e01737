//! Which of several claims on one message stand for responses: the rules, as a function of the claims alone.
//!
//! The rules are those of the vendor's own counts, found in thousands of transcripts:
//!
//! - claims with the same message and request id are one response;
//! - if any claim on a message id is main-chain, every sidechain claim on that message id is void, whatever its request
//!   id;
//! - of the rest, the largest total counts; among equals the earliest time (none is last), then the smallest path, then
//!   the smallest place in the file;
//! - a record without a message id is a response by itself, and does not come here.
//!
//! Codex names no responses. Its rows have a hash of all rows up to them for a message id, and a fork's file begins with
//! its parent's rows: such a row is void if an earlier file of the same descent has it, that is, the parent's file, one
//! with the same parent, or one of the same session. Earlier is the parent, then the session begun first, then the
//! smaller path. Files of other descent may have equal rows by chance; those are different responses.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::ids::SessionId;
use crate::record::{Lineage, Place, ResponseId, UsageRecord};
use crate::time::Timestamp;
use crate::units::Tokens;

/// A claim on a message, as far as the rules ask for it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// How its response is identified. All candidates of one call have the same message.
    pub id: ResponseId,
    /// Whether it is a subagent's line, or a repeat of one.
    pub sidechain: bool,
    /// Tokens of all kinds.
    pub total: Tokens,
    /// When, as the line says.
    pub at: Option<Timestamp>,
    /// Path of its file, unique among files.
    pub path: &'a str,
    /// Where in the file the line begins.
    pub place: Place,
    /// Which session the file is and where it comes from, if the file says so.
    pub lineage: Option<&'a Lineage>,
    /// How many ancestors of the file's session are known, see [`Lineage`]; 0 without lineage.
    pub generation: u32,
}

/// The candidates, by their index, that stand for responses. Those that are out of scope must have been left out.
pub fn winners(candidates: &[Candidate<'_>]) -> Vec<usize> {
    match candidates {
        [] => Vec::new(),
        [_] => vec![0],
        [first, ..] if matches!(first.id, ResponseId::Row(_)) => first_rows(candidates),
        _ => largest_by_request(candidates),
    }
}

/// One claim for each request id: by the first three rules.
fn largest_by_request(candidates: &[Candidate<'_>]) -> Vec<usize> {
    let main_chain = candidates.iter().any(|candidate| !candidate.sidechain);
    let mut best: Vec<usize> = Vec::with_capacity(1);
    for (index, candidate) in candidates.iter().enumerate().filter(|(_, it)| !(main_chain && it.sidechain)) {
        match best.iter_mut().find(|known| candidates[**known].id == candidate.id) {
            Some(known) if preference(candidate, &candidates[*known]) == Ordering::Less => *known = index,
            Some(_) => {}
            None => best.push(index),
        }
    }
    best
}

/// The rows that no earlier file of the same descent has.
fn first_rows(candidates: &[Candidate<'_>]) -> Vec<usize> {
    let order = |&index: &usize| {
        let Candidate { lineage, generation, path, .. } = candidates[index];
        let started_at = lineage.and_then(|lineage| lineage.started_at);
        (generation, started_at.is_none(), started_at, path.as_bytes())
    };
    let mut in_order: Vec<usize> = (0..candidates.len()).collect();
    in_order.sort_by(|a, b| order(a).cmp(&order(b)));
    let (mut sessions, mut parents) = (HashSet::new(), HashSet::new());
    let mut first = Vec::with_capacity(1);
    for index in in_order {
        let Some(Lineage { session, parent, .. }) = candidates[index].lineage else {
            first.push(index);
            continue;
        };
        let is_new = |parent: &SessionId| !sessions.contains(parent) && !parents.contains(parent);
        if !sessions.contains(session) && parent.as_ref().is_none_or(is_new) {
            first.push(index);
        }
        sessions.insert(session);
        parents.extend(parent);
    }
    first
}

/// `Less` if `a` counts rather than `b`.
fn preference(a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
    by_content((a.total, a.at), (b.total, b.at))
        .then_with(|| a.path.as_bytes().cmp(b.path.as_bytes()))
        .then_with(|| a.place.cmp(&b.place))
}

/// `Less` if `a` counts rather than `b`, wherever they stand.
fn by_content(a: (Tokens, Option<Timestamp>), b: (Tokens, Option<Timestamp>)) -> Ordering {
    let time = |at: Option<Timestamp>| (at.is_none(), at);
    b.0.cmp(&a.0).then_with(|| time(a.1).cmp(&time(b.1)))
}

/// Whether `a` counts rather than `b`, two claims of one file on the same response.
pub fn outranks(a: &UsageRecord, b: &UsageRecord) -> bool {
    outranks_by((a.usage.total(), a.at, a.place), (b.usage.total(), b.at, b.place))
}

/// The same, of total, time and place.
pub(super) fn outranks_by(a: (Tokens, Option<Timestamp>, Place), b: (Tokens, Option<Timestamp>, Place)) -> bool {
    by_content((a.0, a.1), (b.0, b.1)).then_with(|| a.2.cmp(&b.2)) == Ordering::Less
}

/// Whether rows of a file of lineage `later` may repeat those of one of lineage `earlier`.
pub fn is_kin(later: &Lineage, earlier: &Lineage) -> bool {
    let parent = later.parent.as_ref();
    later.session == earlier.session
        || parent == Some(&earlier.session)
        || (parent.is_some() && parent == earlier.parent.as_ref())
}
