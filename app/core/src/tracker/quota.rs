//! `QuotaTracker`: how much of each limit is used, and who says so.
//!
//! What the vendor reports counts first, with its age. Without a valid report the five-hour window
//! is estimated from our own [blocks](super::blocks): input + output tokens against the plan's folk
//! limit, or against nothing if no plan was told – then the share is unknown, never zero. The week
//! is the trailing 168 hours, whose limit nobody knows. An estimate misses what other devices used,
//! and is labelled.
//!
//! The windows are Claude's. Other tools have limits of their own: their tokens do not count here, and
//! what their vendors say is told beside it, as it was said.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::{BLOCK_MS, Block, blocks};
use super::session::SessionMonitor;
use super::{Plan, PricedChange};
use crate::event::{Event, LimitUpdate, Provenance, QuotaPoint, QuotaShare, QuotaUpdate, QuotaWarning};
use crate::format;
use crate::ledger::{Ledger, Scope};
use crate::level::{Level, LevelGauge, Thresholds};
use crate::record::{LimitWindow, RateLimitReport, Tool};
use crate::state::{MAX_QUOTA_POINTS, Mode, same_reset};
use crate::time::{DAY_MS, HOUR_MS, Minute, SECOND_MS, Timestamp};
use crate::units::Tokens;

/// Whose windows these are.
const TOOL: Tool = Tool::ClaudeCode;
/// Length of the weekly window.
const WEEK_MS: i64 = 7 * DAY_MS;
/// Projects named in the attribution; the others are summed.
const SHARES_NAMED: usize = 6;
/// A report without a reset time is believed this long.
const REPORT_VALID_MS: i64 = HOUR_MS;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct QuotaTracker {
    plan: Option<Plan>,
    provenance_of_reports: Provenance,
    /// P90 of past blocks, for the custom plan.
    custom_limit: Option<Tokens>,
    /// Responses of the last week by time.
    entries: BTreeMap<Timestamp, Entry>,
    /// Sum over `entries`.
    week: Tokens,
    /// Sums over `entries` since each window's start. Every flush asks for them, so they are kept up to date.
    sums: BTreeMap<LimitWindow, (Timestamp, Tokens)>,
    /// The newest block; `None` if it has to be found again.
    block: Option<Block>,
    reports: BTreeMap<(Tool, LimitWindow), RateLimitReport>,
    /// Those of other tools that have not been told yet.
    untold: BTreeSet<(Tool, LimitWindow)>,
    /// Share of the five-hour window by minute, as reported since its reset.
    reported: BTreeMap<Minute, f64>,
    told: BTreeMap<LimitWindow, Told>,
    changed: bool,
}

/// Responses of one millisecond.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    responses: u32,
    quota: Tokens,
}

#[derive(Debug, Default)]
struct Told {
    gauge: LevelGauge,
    update: Option<QuotaUpdate>,
}

impl QuotaTracker {
    pub(super) fn new(plan: Option<Plan>, mode: Mode) -> Self {
        Self {
            plan,
            provenance_of_reports: if mode.is_simulated() { Provenance::Simulated } else { Provenance::Official },
            custom_limit: None,
            entries: BTreeMap::new(),
            week: Tokens::ZERO,
            sums: BTreeMap::new(),
            block: None,
            reports: BTreeMap::new(),
            untold: BTreeSet::new(),
            reported: BTreeMap::new(),
            told: BTreeMap::new(),
            changed: true,
        }
    }

    /// The plan's limit on input + output tokens in five hours.
    pub(super) fn limit(&self) -> Option<Tokens> {
        match self.plan? {
            Plan::Pro => Some(Tokens(19_000)),
            Plan::Max5 => Some(Tokens(88_000)),
            Plan::Max20 => Some(Tokens(220_000)),
            Plan::Custom => self.custom_limit,
        }
    }

    /// Takes the 90th percentile of past blocks (nearest rank) as the custom plan's limit.
    pub(super) fn learn_custom_limit(&mut self, ledger: &Ledger) {
        if self.plan != Some(Plan::Custom) {
            return;
        }
        let mut times: BTreeMap<Timestamp, Tokens> = BTreeMap::new();
        for record in ledger.responses(Scope::All).filter(|record| record.tool == TOOL) {
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
        self.custom_limit = (!used.is_empty()).then(|| used[(used.len() * 9).div_ceil(10) - 1]);
    }

    pub(super) fn change(&mut self, change: PricedChange<'_>) {
        let Some(at) = change.record.at.filter(|_| change.record.tool == TOOL) else { return };
        let quota = change.record.usage.quota();
        self.changed = true;
        for (_, sum) in self.sums.values_mut().filter(|(start, _)| *start <= at) {
            *sum = if change.added { *sum + quota } else { *sum - quota };
        }
        if change.added {
            let entry = self.entries.entry(at).or_default();
            entry.responses += 1;
            entry.quota += quota;
            self.week += quota;
            self.block = match self.block {
                Some(block) if block.takes(at) && block.start <= at => {
                    let span = block.span.map(|(first, last)| (first.min(at), last.max(at)));
                    Some(Block { span, ..block })
                }
                _ => None,
            };
        } else if let Some(entry) = self.entries.get_mut(&at) {
            entry.responses = entry.responses.saturating_sub(1);
            entry.quota -= quota;
            self.week -= quota;
            if entry.responses == 0 {
                self.entries.remove(&at);
                self.block = self.block.and_then(|block| self.without(block, at));
            }
        }
    }

    /// The block after the response at `gone` was taken out of it, if that is easily told.
    fn without(&self, block: Block, gone: Timestamp) -> Option<Block> {
        let (first, last) = block.span?;
        if gone == first || gone < block.start {
            return None;
        }
        let last = if gone == last { *self.entries.range(first..).next_back()?.0 } else { last };
        Some(Block { span: Some((first, last)), ..block })
    }

    pub(super) fn report(&mut self, report: &RateLimitReport) {
        let key = (report.tool, report.window);
        let known = self.reports.get(&key);
        if known.is_some_and(|known| known.at > report.at) {
            return;
        }
        if key == (TOOL, LimitWindow::FiveHour) {
            if !same_reset(known.and_then(|known| known.resets_at), report.resets_at) {
                self.reported.clear();
            }
            if let Some(percent) = report.used_percent {
                self.reported.insert(report.at.minute(), percent);
            }
        }
        self.reports.insert(key, report.clone());
        if report.tool == TOOL {
            self.changed = true;
        } else {
            self.untold.insert(key);
        }
    }

    /// The newest report of each window of this tool.
    pub(super) fn reports(&self, tool: Tool) -> impl Iterator<Item = &RateLimitReport> {
        self.reports.values().filter(move |report| report.tool == tool)
    }

    pub(super) fn flush(&mut self, now: Timestamp, sessions: &SessionMonitor, first: bool, events: &mut Vec<Event>) {
        for key in std::mem::take(&mut self.untold) {
            let Some(report) = self.reports.get(&key) else { continue };
            events.push(Event::LimitUpdate(LimitUpdate {
                tool: report.tool,
                window: report.window,
                percent: report.used_percent,
                reset_time: report.resets_at,
                as_of: report.at,
            }));
        }
        let week_ago = now.plus_ms(-WEEK_MS);
        while let Some((&at, &entry)) = self.entries.first_key_value().filter(|&(&at, _)| at <= week_ago) {
            self.entries.remove(&at);
            self.week -= entry.quota;
            self.changed = true;
        }
        let reset_passed = self
            .told
            .values()
            .any(|told| told.update.as_ref().and_then(|update| update.reset_time).is_some_and(|reset| reset <= now));
        let level_may_fall = self.told.values().any(|told| told.gauge.shown() > Level::Healthy);
        if !(std::mem::take(&mut self.changed) || reset_passed || level_may_fall) {
            return;
        }
        if self.block.is_none() {
            self.block = blocks(self.entries.keys().copied()).pop();
        }
        for window in [LimitWindow::FiveHour, LimitWindow::SevenDay, LimitWindow::SevenDayOpus] {
            if let Some(update) = self.figures(window, now, sessions) {
                self.tell(update, now, first, events);
            }
        }
    }

    /// The window's figures by the best source; its level is still raw.
    fn figures(&mut self, window: LimitWindow, now: Timestamp, sessions: &SessionMonitor) -> Option<QuotaUpdate> {
        let length_ms = if window == LimitWindow::FiveHour { BLOCK_MS } else { WEEK_MS };
        let report = self.reports.get(&(TOOL, window)).filter(|report| match report.resets_at {
            Some(reset) => now < reset,
            None => now.ms_since(report.at) < REPORT_VALID_MS,
        });
        let report = report.cloned();
        let newest = self.entries.last_key_value().map_or(now, |(&at, _)| at.min(now));
        let mut update = QuotaUpdate {
            window,
            used: Tokens::ZERO,
            limit: None,
            percent: None,
            starts_at: None,
            reset_time: None,
            provenance: Provenance::Estimated,
            as_of: newest,
            status: Level::Healthy,
            blocked: false,
            history: None,
            used_by: Vec::new(),
        };
        if let Some(report) = &report {
            update.provenance = self.provenance_of_reports;
            update.as_of = report.at;
            update.reset_time = report.resets_at;
            update.starts_at = report.resets_at.map(|reset| reset.plus_ms(-length_ms));
            update.blocked = report.rejected;
            // A refusal says that the limit is reached, whatever else it leaves open.
            update.percent = report.used_percent.or(report.rejected.then_some(100.0));
        }
        match window {
            LimitWindow::FiveHour => {
                if report.is_none() {
                    update.limit = self.limit();
                    let block = self.block.filter(|block| block.is_active(now));
                    update.starts_at = block.map(|block| block.start);
                    update.reset_time = block.map(|block| block.end);
                }
                update.used = update.starts_at.map_or(Tokens::ZERO, |start| self.used_since(window, start));
                update.used_by =
                    update.starts_at.map_or_else(Vec::new, |start| shares(&sessions.used_since(TOOL, start)));
            }
            LimitWindow::SevenDay => {
                update.used = match update.starts_at {
                    Some(start) => self.used_since(window, start),
                    None => self.week,
                };
            }
            LimitWindow::SevenDayOpus => report.as_ref().map(|_| ())?,
        }
        if report.is_none() {
            update.percent = update.limit.and_then(|limit| update.used.percent_of(limit));
        }
        update.status = match update.percent {
            _ if update.blocked => Level::Critical,
            Some(percent) => Thresholds::QUOTA.level(percent),
            None => Level::Healthy,
        };
        Some(update)
    }

    fn used_since(&mut self, window: LimitWindow, start: Timestamp) -> Tokens {
        match self.sums.get(&window) {
            Some(&(known, sum)) if known == start => sum,
            _ => {
                let sum = self.entries.range(start..).map(|(_, entry)| entry.quota).sum();
                self.sums.insert(window, (start, sum));
                sum
            }
        }
    }

    fn tell(&mut self, mut update: QuotaUpdate, now: Timestamp, first: bool, events: &mut Vec<Event>) {
        let history = first.then(|| self.history(&update));
        let told = self.told.entry(update.window).or_default();
        let raw = update.status;
        let another_window = told.update.as_ref().is_some_and(|before| match (before.reset_time, update.reset_time) {
            (before @ Some(_), after @ Some(_)) => !same_reset(before, after),
            (Some(before), None) => before <= now,
            (None, _) => false,
        });
        if another_window {
            told.gauge.reset(raw);
        } else {
            update.status = told.gauge.observe(raw, now);
        }
        let same = told.update.as_ref().is_some_and(|before| {
            // A report that only confirms the figures is worth telling now and then: its age is shown.
            let age_ms = update.as_of.ms_since(before.as_of);
            age_ms < 5 * SECOND_MS && *before == QuotaUpdate { as_of: before.as_of, ..update.clone() }
        });
        if !same {
            told.update = Some(update.clone());
            update.history = history;
            events.push(Event::QuotaUpdate(update.clone()));
        }
        if let Some(level) = told.gauge.take_warning() {
            let left = update.reset_time.map(|reset| reset.ms_since(now)).filter(|&ms| ms > 0);
            let name = format::window(update.window);
            let reset = left.map_or_else(String::new, |ms| format!(", reset in {}", format::span(ms)));
            let message = match update.percent {
                _ if update.blocked => format!("{name} limit reached{reset}"),
                Some(percent) => format!("{name} limit {} used{reset}", format::percent(percent)),
                None => format!("{name} limit is near{reset}"),
            };
            events.push(Event::QuotaWarning(QuotaWarning { window: update.window, level, message, time_left: left }));
        }
    }

    /// The curve of the five-hour window up to now.
    fn history(&self, update: &QuotaUpdate) -> Vec<QuotaPoint> {
        let Some(start) = update.starts_at.filter(|_| update.window == LimitWindow::FiveHour) else {
            return Vec::new();
        };
        let mut points: Vec<QuotaPoint> = Vec::new();
        let mut used = Tokens::ZERO;
        for (at, entry) in self.entries.range(start..) {
            used += entry.quota;
            let minute = at.minute();
            let percent = match update.provenance {
                Provenance::Estimated => update.limit.and_then(|limit| used.percent_of(limit)),
                _ => self.reported.range(..=minute).next_back().map(|(_, &percent)| percent),
            };
            let point = QuotaPoint { minute, used, percent };
            match points.last_mut() {
                Some(last) if last.minute == point.minute => *last = point,
                _ => points.push(point),
            }
        }
        points.drain(..points.len().saturating_sub(MAX_QUOTA_POINTS));
        points
    }
}

/// Shares of the tokens by project; beyond the first few, summed as "others".
fn shares(projects: &[(&str, Tokens, Tokens)]) -> Vec<QuotaShare> {
    let whole: Tokens = projects.iter().map(|&(_, own, agents)| own + agents).sum();
    let share = |project: &str, own: Tokens, agents: Tokens| QuotaShare {
        project: project.to_owned(),
        own_percent: own.percent_of(whole).unwrap_or_default(),
        agents_percent: agents.percent_of(whole).unwrap_or_default(),
    };
    let named = projects.len().min(SHARES_NAMED);
    let mut shares: Vec<QuotaShare> =
        projects[..named].iter().map(|&(name, own, agents)| share(name, own, agents)).collect();
    if projects.len() > named {
        let others = &projects[named..];
        let own = others.iter().map(|&(_, own, _)| own).sum();
        let agents = others.iter().map(|&(_, _, agents)| agents).sum();
        shares.push(share("others", own, agents));
    }
    shares.retain(|share| share.own_percent + share.agents_percent > 0.0);
    shares
}
