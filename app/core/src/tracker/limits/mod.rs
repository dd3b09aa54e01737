//! `QuotaTracker`: how much of each limit is used, and who says so.
//!
//! One [`LimitTracker`] runs per limit, whoever's it is. What the vendor says counts first, with its age
//! ([`readings`]). Without a valid reading a five-hour window on all models is estimated from our own blocks
//! ([`usage`], [`chain`]): input + output tokens against the plan's folk limit, or against nothing if no plan is
//! given – then the share is unknown, never zero. Any other window trails behind now, and its limit is not known. An
//! estimate misses what other devices used, and is labelled.

mod attribution;
mod chain;
mod curve;
mod entries;
mod learned;
mod levels;
mod outlook;
mod readings;
mod status_lines;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;

use super::blocks::{BLOCK_MS, Block, blocks};
use super::{Plan, PricedChange};
use crate::event::{Event, Provenance, QuotaUpdate};
use crate::ids::{ModelId, SessionId};
use crate::ledger::{FileId, Ledger, Scope};
use crate::record::{
    LimitKey, LimitScope, RateLimitReport, ReadingEntry, ReadingProblem, ReadingSource, StatedLimit, Statement,
    StatusLine, Tool, WindowMinutes,
};
use crate::settings::QuotaLevels;
use crate::state::Mode;
use crate::time::{DAY_MS, MINUTE_MS, Timestamp, ZoneOffsets};
use crate::units::Tokens;

use attribution::{Attribution, attribution};
use entries::Entries;
use levels::Told;
use outlook::Forecasting;
use readings::{Origin, Readings};
use status_lines::StatusLines;
use usage::{Slot, ToolUsage, UsageChange, WindowUse};

/// Whose plan `--plan` names, and whose five-hour and weekly limits are estimated before anything is said of them.
const PLAN_TOOL: Tool = Tool::DEFAULT;
/// Responses are held this long: a week, and the longest silence that still belongs to a block before it.
pub const KEPT_MS: i64 = 7 * DAY_MS + BLOCK_MS;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct QuotaTracker {
    config: QuotaConfig,
    usage: BTreeMap<Tool, ToolUsage>,
    limits: BTreeMap<LimitKey, LimitTracker>,
    /// What was said of limits, change by change.
    entries: Entries,
    status_lines: StatusLines,
    /// Whether a session may have got another directory since the last flush.
    moved: bool,
}

/// What figures depend on besides readings and use.
#[derive(Debug)]
struct QuotaConfig {
    plan: Option<Plan>,
    provenance_of_readings: Provenance,
    levels: QuotaLevels,
    /// The zone of the user's days.
    zone: ZoneOffsets,
    /// P90 of past blocks, for the custom plan.
    custom_limit: Option<Tokens>,
}

impl QuotaConfig {
    /// The plan's limit on input + output tokens in five hours.
    fn plan_limit(&self) -> Option<Tokens> {
        match self.plan? {
            Plan::Pro => Some(Tokens(19_000)),
            Plan::Max5 => Some(Tokens(88_000)),
            Plan::Max20 => Some(Tokens(220_000)),
            Plan::Custom => self.custom_limit,
        }
    }
}

impl QuotaTracker {
    pub(super) fn new(plan: Option<Plan>, mode: Mode, levels: QuotaLevels, zone: ZoneOffsets) -> Self {
        let provenance_of_readings = if mode.is_simulated() { Provenance::Simulated } else { Provenance::Official };
        let limits = [LimitKey::five_hour(PLAN_TOOL), LimitKey::weekly(PLAN_TOOL)];
        Self {
            config: QuotaConfig { plan, provenance_of_readings, levels, zone, custom_limit: None },
            usage: BTreeMap::from([(PLAN_TOOL, ToolUsage::default())]),
            limits: limits.into_iter().map(|key| (key.clone(), LimitTracker::new(key))).collect(),
            entries: Entries::default(),
            status_lines: StatusLines::default(),
            moved: false,
        }
    }

    /// Levels begin elsewhere from now on.
    pub(super) fn set_levels(&mut self, levels: QuotaLevels) {
        self.config.levels = levels;
        self.limits.values_mut().for_each(|limit| limit.changed = true);
    }

    /// The plan's limit on a tool's input + output tokens in five hours.
    pub(super) fn plan_limit(&self, tool: Tool) -> Option<Tokens> {
        self.config.plan_limit().filter(|_| tool == PLAN_TOOL)
    }

    /// Takes the 90th percentile of past blocks (nearest rank) as the custom plan's limit.
    pub(super) fn learn_custom_limit(&mut self, ledger: &Ledger) {
        if self.config.plan != Some(Plan::Custom) {
            return;
        }
        let mut times: BTreeMap<Timestamp, Tokens> = BTreeMap::new();
        for record in ledger.responses(Scope::All).filter(|record| record.tool == PLAN_TOOL) {
            if let Some(at) = record.at {
                *times.entry(at).or_default() += record.usage.quota();
            }
        }
        let mut used: Vec<Tokens> = blocks(times.keys().copied())
            .iter()
            .filter_map(|block| block.span)
            .map(|(first, last)| times.range(first..=last).map(|(_, &tokens)| tokens).sum())
            .collect();
        used.sort_unstable();
        self.config.custom_limit = (!used.is_empty()).then(|| used[(used.len() * 9).div_ceil(10) - 1]);
    }

    /// A response came into, or went out of, the count.
    pub(super) fn change(&mut self, change: PricedChange<'_>) {
        let tool = change.record.tool;
        if let Some(change) = self.usage.entry(tool).or_default().change(change) {
            self.limits.values_mut().filter(|limit| limit.key.tool == tool).for_each(|limit| limit.change(&change));
        }
    }

    /// The vendor said something of a limit, in this file. Whether it is believed; refused is what can never have been
    /// true.
    pub(super) fn add(&mut self, file: FileId, report: &RateLimitReport) -> bool {
        let RateLimitReport { at, used_percent, resets_at, rejected, .. } = *report;
        let stated = StatedLimit { limit: report.limit.clone(), used_percent, resets_at, rejected };
        match stated.checked(at, at) {
            Err(problem) if problem != ReadingProblem::ResetPassed => {
                self.entries.refuse(Some(file), entry(&stated, ReadingSource::Transcript, at, Some(problem)));
                return false;
            }
            Ok(report) => self.add_from(Origin::File(file), &report),
            // It holds for nothing.
            Err(_) => self.add_from(Origin::File(file), report),
        }
        true
    }

    /// A source that is no file said something of limits. Whether any of it was refused.
    pub(super) fn observe(&mut self, statement: &Statement, now: Timestamp) -> bool {
        let mut any_refused = false;
        for stated in &statement.limits {
            // A reset alone says nothing of the use.
            if stated.used_percent.is_none() && !stated.rejected {
                continue;
            }
            let checked = stated.checked(statement.at, now);
            let problem = checked.as_ref().err().copied();
            let is_news = self.entries.add(entry(stated, statement.source, statement.at, problem));
            any_refused |= is_news && problem.is_some();
            if let Ok(report) = checked {
                self.add_from(Origin::Source(statement.source), &report);
            }
        }
        any_refused
    }

    /// A tool told its status line something, at `now`; `last_line` is when the session last wrote anything. Whether any
    /// of it was refused.
    pub(super) fn status_line(
        &mut self,
        tool: Tool,
        line: &StatusLine,
        last_line: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        if line.limits.is_empty() {
            return false;
        }
        let at = self.status_lines.as_of(line, last_line, now);
        let (source, limits) = (ReadingSource::StatusLine, line.limits.clone());
        self.observe(&Statement { tool, source, account: None, at, limits }, now)
    }

    /// Takes over what an earlier run heard last: readings that still hold count, of others it is known that they were
    /// told.
    pub(super) fn recall(&mut self, known: ReadingEntry, now: Timestamp) {
        let ReadingEntry { ref limit, source, at, used_percent, resets_at, rejected, problem } = known;
        let stated = StatedLimit { limit: limit.clone(), used_percent, resets_at, rejected };
        if let (Ok(report), None) = (stated.checked(at, now), problem) {
            self.add_from(Origin::Source(source), &report);
        }
        self.entries.recall(known);
    }

    /// What was said of limits since the last call, change by change.
    pub(super) fn take_entries(&mut self) -> Vec<ReadingEntry> {
        self.entries.take_new()
    }

    /// How many readings were refused, and the newest of them.
    pub(super) fn refused(&self) -> (u64, impl Iterator<Item = &ReadingEntry>) {
        self.entries.refused()
    }

    fn add_from(&mut self, origin: Origin, report: &RateLimitReport) {
        let limit = match self.limits.get_mut(&report.limit) {
            Some(limit) => limit,
            None => {
                self.usage.entry(report.limit.tool).or_default();
                let new = LimitTracker::new(report.limit.clone());
                self.limits.entry(report.limit.clone()).or_insert(new)
            }
        };
        limit.add(origin, report);
    }

    /// What the file said of limits is withdrawn.
    pub(super) fn retract(&mut self, file: FileId) {
        self.entries.retract(file);
        self.limits.values_mut().for_each(|limit| limit.retract(file));
    }

    /// Responses since `since` are all there; those before it are still to be read. Blocks that may have begun in them
    /// are marked incomplete.
    pub(super) fn reading_history(&mut self, since: Timestamp) {
        self.usage.values_mut().for_each(|usage| usage.reading_history(since));
    }

    /// All responses have been read. `before` finds a tool's newest block of the responses before a time.
    pub(super) fn history_read(&mut self, now: Timestamp, mut before: impl FnMut(Tool, Timestamp) -> Option<Block>) {
        for (&tool, usage) in &mut self.usage {
            usage.advance(now);
            let block = usage.oldest().and_then(|oldest| before(tool, oldest));
            usage.history_read(block);
        }
    }

    /// The newest statement on each limit of this tool: share in percent and reset, as far as said.
    pub(super) fn readings(&self, tool: Tool) -> impl Iterator<Item = LimitReading<'_>> {
        self.limits.values().filter(move |limit| limit.key.tool == tool).filter_map(move |limit| {
            let reading = limit.readings.newest()?;
            let (at, percent, resets_at) = (reading.at, reading.percent, reading.resets_at);
            Some(LimitReading { limit: &limit.key, at, percent, resets_at })
        })
    }

    /// What a tool used in a quarter hour that is too old to count in any window: forecasts go by it.
    pub(super) fn recall_past(&mut self, tool: Tool, model: &ModelId, quarter: Timestamp, tokens: Tokens) {
        self.usage.entry(tool).or_default().recall_past(model, quarter, tokens);
    }

    /// A session's directory may be another one: use may have to be attributed anew.
    pub(super) fn moved(&mut self) {
        self.moved = true;
    }

    /// Tells of the limits whose figures changed. `directory` knows where a session began; `first` asks for all.
    pub(super) fn flush<'a>(
        &mut self,
        now: Timestamp,
        directory: &dyn Fn(&SessionId) -> Option<&'a str>,
        first: bool,
        events: &mut Vec<Event>,
    ) {
        let all = first || std::mem::take(&mut self.moved);
        let mut changed: BTreeMap<Tool, bool> = BTreeMap::new();
        for (&tool, usage) in &mut self.usage {
            usage.advance(now);
            changed.insert(tool, usage.take_changed());
        }
        for limit in self.limits.values_mut() {
            let Some(usage) = self.usage.get_mut(&limit.key.tool) else { continue };
            let used = changed.get(&limit.key.tool).copied().unwrap_or_default();
            limit.flush(now, used || all, &self.config, usage, directory, events);
        }
    }
}

fn entry(stated: &StatedLimit, source: ReadingSource, at: Timestamp, problem: Option<ReadingProblem>) -> ReadingEntry {
    let StatedLimit { limit, used_percent, resets_at, rejected } = stated.clone();
    ReadingEntry { limit, source, at, used_percent, resets_at, rejected, problem }
}

/// What the vendor states beyond what was seen here, in percent of what it states. Within the error of what was learned,
/// there is nothing beyond.
fn elsewhere_percent(update: &QuotaUpdate) -> Option<f64> {
    let said = update.percent.filter(|&percent| percent > 0.0)?;
    if update.used.is_zero() {
        return update.complete.then_some(100.0);
    }
    let learned = &update.learned.as_ref()?.tokens;
    let (seen, at_most) = (update.used.percent_of(learned.median)?, update.used.percent_of(learned.low)?);
    let beyond = if at_most >= said { 0.0 } else { (said - seen).max(0.0) };
    Some(beyond * 100.0 / said)
}

/// Whether a limit is shown before its vendor said anything of it.
fn is_estimated(key: &LimitKey) -> bool {
    *key == LimitKey::five_hour(PLAN_TOOL) || *key == LimitKey::weekly(PLAN_TOOL)
}

/// What a vendor last said of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitReading<'a> {
    /// Which limit.
    pub limit: &'a LimitKey,
    /// When it was said.
    pub at: Timestamp,
    /// Used share, 0 to 100, if said.
    pub percent: Option<f64>,
    /// When the window is reset, if said.
    pub resets_at: Option<Timestamp>,
}

/// One limit: what was said of it, what was used of it, and what was told.
#[derive(Debug)]
pub(super) struct LimitTracker {
    key: LimitKey,
    readings: Readings,
    used: WindowUse,
    told: Told,
    outlook: Forecasting,
    /// Whether readings came or went since the last look.
    changed: bool,
    /// Whether the curve has to be told anew: points of it may be gone.
    curve_changed: bool,
    /// When time alone changes the figures next.
    due: Option<Timestamp>,
}

impl LimitTracker {
    fn new(key: LimitKey) -> Self {
        Self {
            key,
            readings: Readings::default(),
            used: WindowUse::default(),
            told: Told::default(),
            outlook: Forecasting::default(),
            changed: true,
            curve_changed: false,
            due: None,
        }
    }

    /// The vendor said something of this limit.
    fn add(&mut self, origin: Origin, report: &RateLimitReport) {
        self.readings.add(origin, report);
        self.changed = true;
    }

    /// What the file said is withdrawn.
    fn retract(&mut self, file: FileId) {
        if self.readings.retract(file) {
            self.outlook.relearn = true;
            self.changed = true;
            self.curve_changed = true;
        }
    }

    /// Whether it is shown: one that is estimated always, any other for as long again as its window after the last
    /// word on it stopped to hold.
    fn is_current(&self, now: Timestamp) -> bool {
        let newest = [self.readings.newest(), self.readings.newest_refusal()];
        let ends = newest.into_iter().flatten().map(|reading| reading.ends_at()).max();
        is_estimated(&self.key) || ends.is_some_and(|ends| now.ms_since(ends) < self.key.window.ms())
    }

    fn change(&mut self, change: &UsageChange) {
        self.used.change(change, &self.key.scope);
    }

    fn flush<'a>(
        &mut self,
        now: Timestamp,
        used: bool,
        config: &QuotaConfig,
        usage: &mut ToolUsage,
        directory: &dyn Fn(&SessionId) -> Option<&'a str>,
        events: &mut Vec<Event>,
    ) {
        let due = self.due.is_some_and(|due| due <= now) || self.told.may_fall();
        if !(std::mem::take(&mut self.changed) || used || due) {
            return;
        }
        self.readings.prune(now, self.key.window.ms());
        if !self.is_current(now) {
            self.due = None;
            events.extend(self.told.forget());
            return;
        }
        let update = self.figures(now, config, usage, directory);
        let another_curve = std::mem::take(&mut self.curve_changed) || self.told.begins_anew(&update);
        let history = another_curve.then(|| curve::curve(&update, usage, &self.readings));
        self.told.tell(update, history, now, events);
    }

    /// The window's figures by the best source; the level is still raw.
    fn figures<'a>(
        &mut self,
        now: Timestamp,
        config: &QuotaConfig,
        usage: &mut ToolUsage,
        directory: &dyn Fn(&SessionId) -> Option<&'a str>,
    ) -> QuotaUpdate {
        let window_ms = self.key.window.ms();
        let reading = self.readings.newest().filter(|reading| now < reading.ends_at());
        let refusal = self.readings.newest_refusal().filter(|refusal| now < refusal.ends_at());
        let refusal = refusal.filter(|refusal| !usage.succeeded_after(refusal.at, &self.key.scope));

        let mut update = QuotaUpdate {
            as_of: usage.newest_response().map_or(now, |at| at.min(now)),
            blocked: refusal.is_some(),
            ..QuotaUpdate::unknown(self.key.clone(), now)
        };
        update.learned = self.outlook.learned(&update, &self.readings, usage, now);
        let learned = update.learned.as_ref().map(|learned| learned.tokens.median);
        // Whichever was said last; a refusal says that the limit is reached, whatever else it leaves open.
        let said = match (reading, refusal) {
            (reading, Some(refusal)) if reading.is_none_or(|reading| reading.at < refusal.at) => {
                Some((refusal, refusal.percent.or(Some(100.0))))
            }
            (reading, _) => reading.map(|reading| (reading, reading.percent)),
        };
        let mut due = [refusal.map(|refusal| refusal.ends_at()), None];
        let start = if let Some((reading, percent)) = said {
            update.provenance = config.provenance_of_readings;
            update.source = (update.provenance == Provenance::Official).then_some(reading.source);
            update.as_of = reading.at;
            update.percent = percent;
            update.reset_time = reading.resets_at;
            update.starts_at = reading.resets_at.map(|reset| reset.plus_ms(-window_ms));
            due[1] = Some(reading.ends_at());
            update.starts_at.map(Slot::of)
        } else if self.key.window == WindowMinutes::FIVE_HOURS && self.key.scope == LimitScope::AllModels {
            let (block, certain) = usage.block();
            let block = block.filter(|block| block.is_active(now));
            update.complete = certain;
            update.limit = learned.or_else(|| config.plan_limit().filter(|_| self.key.tool == PLAN_TOOL));
            update.starts_at = block.map(|block| block.start);
            update.reset_time = block.map(|block| block.end);
            due[1] = update.reset_time;
            // A response at exactly the beginning of a block may belong to the one before.
            let Some(block) = block else { return self.estimated(update, Tokens::ZERO, config, usage, now, due) };
            let boundary = block.span.is_some_and(|(first, _)| first == block.start);
            Some(if boundary { Slot::of(block.start) } else { Slot::after(block.start) })
        } else {
            update.limit = learned;
            None
        };
        let start = start.unwrap_or_else(|| {
            due[1] = Some(now.minute().start().plus_ms(MINUTE_MS));
            ToolUsage::trailing(now, window_ms)
        });
        let used = self.used.since(start, usage, &self.key.scope);
        update.complete &= usage.is_complete_since(start) && window_ms <= KEPT_MS;
        let Attribution { used_by, models, sessions } = attribution(self.used.users(), directory);
        (update.used_by, update.models, update.sessions) = (used_by, models, sessions);
        if said.is_some() {
            update.used = used;
            update.elsewhere_percent = elsewhere_percent(&update);
            self.finish(update, config, usage, now, due)
        } else {
            self.estimated(update, used, config, usage, now, due)
        }
    }

    fn estimated(
        &mut self,
        mut update: QuotaUpdate,
        used: Tokens,
        config: &QuotaConfig,
        usage: &ToolUsage,
        now: Timestamp,
        due: [Option<Timestamp>; 2],
    ) -> QuotaUpdate {
        update.used = used;
        update.percent = update.limit.and_then(|limit| used.percent_of(limit));
        self.finish(update, config, usage, now, due)
    }

    fn finish(
        &mut self,
        mut update: QuotaUpdate,
        config: &QuotaConfig,
        usage: &ToolUsage,
        now: Timestamp,
        due: [Option<Timestamp>; 2],
    ) -> QuotaUpdate {
        update.forecast = self.outlook.forecast(&update, usage, &config.zone, now);
        // Of a share that is not known, time changes nothing that is shown.
        let again = self.outlook.due().filter(|_| update.reset_time.is_some() && update.percent.is_some());
        self.due = due.into_iter().chain([again]).flatten().min();
        update.status = config.levels.0.of_limit(update.percent, update.forecast.limit_at().is_some(), update.blocked);
        update
    }
}
