//! A tool's use of tokens in the last days, minute by minute, of which windows are counted and estimated.
//!
//! Held are seven days and five hours: the longest window that is counted here, and the longest silence that still
//! belongs to a block. What a window counts is input and output, as folk limits do; who used it is kept apart by
//! session, main chain or subagent, and model.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use super::KEPT_MS;
use super::chain::Chain;
use crate::forecast::PastUse;
use crate::ids::{ModelId, SessionId};
use crate::record::LimitScope;
use crate::time::{MINUTE_MS, Minute, Timestamp};
use crate::tracker::PricedChange;
use crate::tracker::blocks::{Block, is_gap};
use crate::units::Tokens;

/// A response older than the newest one by more minutes than these is no news: older files are being read.
const NEWEST_MINUTES: i64 = 10;

/// A minute's responses, those at exactly its beginning apart from the others: a block ends *after* its last
/// millisecond, so a response on the boundary belongs to the block before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(i64);

impl Slot {
    pub(super) fn of(at: Timestamp) -> Self {
        let minute = at.minute();
        Self(minute.0 * 2 + i64::from(at > minute.start()))
    }

    /// The first slot of what comes after `at`, which must begin a minute.
    pub(super) fn after(at: Timestamp) -> Self {
        Self(Self::of(at).0 + 1)
    }

    pub(super) fn minute(self) -> Minute {
        Minute(self.0.div_euclid(2))
    }
}

/// Who used tokens, as far as a window's attribution tells users apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) session: SessionId,
    /// A subagent of the session; all of them together.
    pub(super) agent: bool,
    pub(super) model: ModelId,
}

/// One user's responses in a slot.
#[derive(Debug)]
struct Cell {
    who: Who,
    tokens: Tokens,
    /// Milliseconds from the minute's beginning to each response, ascending.
    offsets: Vec<u16>,
}

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct ToolUsage {
    slots: BTreeMap<Slot, Vec<Cell>>,
    /// The chain after the last response before those that are held.
    before: Chain,
    /// Responses before this slot are not held; `None` until the first look at the time.
    oldest: Option<Slot>,
    /// Responses before this slot are still to be read; `None` if all have been.
    known_since: Option<Slot>,
    /// The chain after the newest response; `None` if it has to be followed again.
    chain: Option<Chain>,
    /// Changes whenever sums have to be made anew.
    generation: u64,
    /// What was used in each quarter hour of the last weeks.
    past: PastUse,
    /// Changes whenever something else than the newest minutes changed.
    revision: u64,
    /// Whether anything changed since [`Self::take_changed`].
    changed: bool,
}

impl Default for ToolUsage {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            before: Chain::default(),
            oldest: None,
            known_since: None,
            chain: None,
            generation: 0,
            past: PastUse::default(),
            revision: 0,
            changed: true,
        }
    }
}

/// A response that came or went, as windows see it.
#[derive(Debug)]
pub(super) struct UsageChange {
    pub(super) slot: Slot,
    pub(super) who: Who,
    pub(super) tokens: Tokens,
    pub(super) added: bool,
}

impl ToolUsage {
    /// Takes a response in, or out. Returns what windows have to take over.
    pub(super) fn change(&mut self, change: PricedChange<'_>) -> Option<UsageChange> {
        let record = change.record;
        let at = record.at?;
        let slot = Slot::of(at);
        let tokens = record.usage.quota();
        if change.added {
            self.past.add(&record.model, at, tokens);
        } else {
            self.past.subtract(&record.model, at, tokens);
        }
        let newest = self.slots.last_key_value().map(|(&newest, _)| newest);
        if newest.is_some_and(|newest| slot.minute().0 < newest.minute().0 - NEWEST_MINUTES) {
            self.revision += 1;
        }
        if self.oldest.is_some_and(|oldest| slot < oldest) {
            self.before = Chain::unknown();
            self.chain = None;
            self.changed = true;
            return None;
        }
        let who = Who {
            session: record.session.clone(),
            agent: record.sidechain || record.agent.is_some(),
            model: record.model.clone(),
        };
        let cells = self.slots.entry(slot).or_default();
        let offset = offset(at, slot);
        let position = cells.iter().position(|cell| cell.who == who);
        if change.added {
            let position = position.unwrap_or_else(|| {
                cells.push(Cell { who: who.clone(), tokens: Tokens::ZERO, offsets: Vec::new() });
                cells.len() - 1
            });
            let cell = &mut cells[position];
            cell.tokens += tokens;
            cell.offsets.insert(cell.offsets.partition_point(|&known| known <= offset), offset);
        } else if let Some(position) = position {
            let cell = &mut cells[position];
            cell.tokens -= tokens;
            if let Ok(found) = cell.offsets.binary_search(&offset) {
                cell.offsets.remove(found);
            }
            if cell.offsets.is_empty() {
                cells.swap_remove(position);
            }
            if cells.is_empty() {
                self.slots.remove(&slot);
            }
        }
        self.changed = true;
        self.chain = self.chain.take().and_then(|chain| {
            if change.added { chain.with(at) } else { chain.without(at, || self.newest(.., |_| true)) }
        });
        Some(UsageChange { slot, who, tokens, added: change.added })
    }

    /// Time passes: what is too old is let go.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let oldest = Slot::of(now.plus_ms(-KEPT_MS));
        if self.oldest.is_none_or(|known| known < oldest) {
            self.past.prune(now);
            self.oldest = Some(oldest);
            while let Some((&slot, _)) = self.slots.first_key_value().filter(|&(&slot, _)| slot < oldest) {
                let cells = self.slots.remove(&slot).unwrap_or_default();
                times(slot, &cells).into_iter().for_each(|at| self.before.step(at));
            }
        }
    }

    /// Responses since `since` are all there, those before it are still to be read.
    pub(super) fn reading_history(&mut self, since: Timestamp) {
        self.known_since = Some(Slot::of(since));
        self.before = Chain::unknown();
        self.renew();
    }

    /// All responses have been read. `before` is the block in course after the last of those that are not held.
    pub(super) fn history_read(&mut self, before: Option<Block>) {
        self.known_since = None;
        self.before = before.map_or_else(Chain::default, Chain::from);
        self.renew();
    }

    /// Responses before this time are not held; `None` before the first look at the time.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.oldest.map(|oldest| oldest.minute().start())
    }

    fn renew(&mut self) {
        self.chain = None;
        self.generation += 1;
        self.revision += 1;
        self.changed = true;
    }

    /// What a quarter hour that is too old to be held had in use.
    pub(super) fn recall_past(&mut self, model: &ModelId, quarter: Timestamp, tokens: Tokens) {
        self.past.add(model, quarter, tokens);
        self.revision += 1;
    }

    /// What was used in each quarter hour of the last weeks.
    pub(super) fn past(&self) -> &PastUse {
        &self.past
    }

    /// Changes whenever something else than the newest minutes changed.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether anything changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The newest block, and whether it is certain: with too little history, its beginning may be another.
    pub(super) fn block(&mut self) -> (Option<Block>, bool) {
        if self.chain.is_none() {
            self.chain = Some(self.follow());
        }
        self.chain.as_ref().map_or((None, false), |chain| (chain.block(), chain.is_certain()))
    }

    /// Follows the chain from the last gap, or from what was before.
    fn follow(&self) -> Chain {
        let mut recent: Vec<Timestamp> = Vec::new();
        let mut gap = false;
        'slots: for (&slot, cells) in self.slots.iter().rev() {
            for at in times(slot, cells).into_iter().rev() {
                if recent.last().is_some_and(|&later| is_gap(at, later)) {
                    gap = true;
                    break 'slots;
                }
                recent.push(at);
            }
        }
        let mut chain = if gap { Chain::default() } else { self.before.clone() };
        recent.into_iter().rev().for_each(|at| chain.step(at));
        chain
    }

    /// The time of the newest response in `slots` whose model `covers` says yes to.
    fn newest(&self, slots: impl RangeBounds<Slot>, covers: impl Fn(&ModelId) -> bool) -> Option<Timestamp> {
        self.slots.range(slots).rev().find_map(|(&slot, cells)| {
            let newest = cells.iter().filter(|cell| covers(&cell.who.model)).filter_map(|cell| cell.offsets.last());
            newest.max().map(|&offset| time(slot, offset))
        })
    }

    /// Whether a response of a model in `scope` came after `at`.
    pub(super) fn succeeded_after(&self, at: Timestamp, scope: &LimitScope) -> bool {
        self.newest(Slot::of(at).., |model| scope.covers(model)).is_some_and(|newest| newest > at)
    }

    /// The time of the newest response.
    pub(super) fn newest_response(&self) -> Option<Timestamp> {
        self.newest(.., |_| true)
    }

    /// Tokens by slot from `start` on, of the models in `scope`.
    pub(super) fn tokens_since<'a>(
        &'a self,
        start: Slot,
        scope: &'a LimitScope,
    ) -> impl Iterator<Item = (Slot, Tokens)> + 'a {
        self.slots.range(start..).map(|(&slot, cells)| {
            let covered = cells.iter().filter(|cell| scope.covers(&cell.who.model));
            (slot, covered.map(|cell| cell.tokens).sum())
        })
    }

    /// Tokens of all slots held, of the models in `scope`.
    pub(super) fn tokens<'a>(&'a self, scope: &'a LimitScope) -> impl Iterator<Item = (Slot, Tokens)> + 'a {
        self.tokens_since(Slot(i64::MIN), scope)
    }

    /// Whether every response since `start` is held.
    fn holds(&self, start: Slot) -> bool {
        self.oldest.is_none_or(|oldest| oldest <= start)
    }
}

fn offset(at: Timestamp, slot: Slot) -> u16 {
    // Below 60,000 by the definition of a slot.
    u16::try_from(at.ms_since(slot.minute().start())).unwrap_or(u16::MAX)
}

fn time(slot: Slot, offset: u16) -> Timestamp {
    slot.minute().start().plus_ms(i64::from(offset))
}

/// The times of a slot's responses, ascending.
fn times(slot: Slot, cells: &[Cell]) -> Vec<Timestamp> {
    let mut offsets: Vec<u16> = cells.iter().flat_map(|cell| cell.offsets.iter().copied()).collect();
    offsets.sort_unstable();
    offsets.into_iter().map(|offset| time(slot, offset)).collect()
}

/// Sums of one window since its start, kept up to date.
#[derive(Debug, Default)]
pub(super) struct WindowUse {
    start: Option<Slot>,
    generation: u64,
    total: Tokens,
    by: BTreeMap<Who, Share>,
}

/// What one user used.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    tokens: Tokens,
    responses: u64,
}

impl WindowUse {
    /// Takes over a change of the tool's use.
    pub(super) fn change(&mut self, change: &UsageChange, scope: &LimitScope) {
        if self.start.is_none_or(|start| change.slot < start) || !scope.covers(&change.who.model) {
            return;
        }
        if change.added {
            self.add(&change.who, change.tokens, 1);
        } else {
            self.subtract(&change.who, change.tokens, 1);
        }
    }

    fn add(&mut self, who: &Who, tokens: Tokens, responses: u64) {
        self.total += tokens;
        let share = match self.by.get_mut(who) {
            Some(share) => share,
            None => self.by.entry(who.clone()).or_default(),
        };
        share.tokens += tokens;
        share.responses += responses;
    }

    fn subtract(&mut self, who: &Who, tokens: Tokens, responses: u64) {
        self.total -= tokens;
        if let Some(share) = self.by.get_mut(who) {
            share.tokens -= tokens;
            share.responses = share.responses.saturating_sub(responses);
            if share.responses == 0 {
                self.by.remove(who);
            }
        }
    }

    /// The sums since `start`.
    pub(super) fn since(&mut self, start: Slot, usage: &ToolUsage, scope: &LimitScope) -> Tokens {
        let known = self.start.replace(start).filter(|_| self.generation == usage.generation);
        match known {
            Some(known) if known == start => {}
            // A window that trails behind now leaves its oldest minutes behind.
            Some(known) if known < start && usage.holds(known) => {
                for cell in usage.slots.range(known..start).flat_map(|(_, cells)| cells) {
                    if scope.covers(&cell.who.model) {
                        self.subtract(&cell.who, cell.tokens, cell.offsets.len() as u64);
                    }
                }
            }
            _ => {
                (self.generation, self.total) = (usage.generation, Tokens::ZERO);
                self.by.clear();
                for cell in usage.slots.range(start..).flat_map(|(_, cells)| cells) {
                    if scope.covers(&cell.who.model) {
                        self.add(&cell.who, cell.tokens, cell.offsets.len() as u64);
                    }
                }
            }
        }
        self.total
    }

    /// Who used how much since the start.
    pub(super) fn users(&self) -> impl Iterator<Item = (&Who, Tokens)> {
        self.by.iter().map(|(who, share)| (who, share.tokens))
    }
}

impl ToolUsage {
    /// The first slot of the last `ms` milliseconds, of those that are held.
    pub(super) fn trailing(now: Timestamp, ms: i64) -> Slot {
        Slot::of(now.plus_ms(-ms.min(KEPT_MS)).minute().start().plus_ms(MINUTE_MS))
    }

    /// Whether every response since `start` is known and held.
    pub(super) fn is_complete_since(&self, start: Slot) -> bool {
        self.holds(start) && self.known_since.is_none_or(|known| known <= start)
    }
}
