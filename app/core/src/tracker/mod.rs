//! Records and time in, events out.
//!
//! [`Trackers`] owns the ledger and the four trackers: [`SessionMonitor`](session), which knows what
//! each session does and used; [`QuotaTracker`](limits); [`ContextTracker`](context); and the
//! [usage of days](cost). Records only mark what they touch; [`Trackers::flush`] then tells what
//! changed, so that a burst of lines makes one event per session and not one per line. Time is an
//! argument of `flush`: what happens without records (a reset, a session falling silent) happens there.

mod blocks;
mod context;
mod cost;
mod limits;
mod outcome;
mod session;

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::sync::Arc;

use crate::alert::{self, AlertSettings, AlertSubject, Arming};
use crate::event::{Event, HealthCheck, HealthError, IngestUpdate, SessionError};
use crate::history::{History, Sessions};
use crate::ids::ModelId;
use crate::ledger::{Change, FileId, Ledger, Scope};
use crate::price::PriceTable;
use crate::record::{FileCounts, Presence, Record, Rejection, Tool, UsageRecord};
use crate::state::{DashboardState, Mode};
use crate::time::{Timestamp, ZoneOffsets};
use crate::units::Cost;

pub use crate::transcript::{AUTO_COMPACT_BUFFER, window_tokens};
pub use blocks::{BLOCK_MS, Block, blocks};
pub use limits::LimitReading;

/// Newest refused lines kept in the state.
const RECENT_REJECTIONS: usize = 20;

/// The user's subscription, which decides the limit an estimate is compared with.
///
/// The limits are folklore (formats.md, section 2): the vendor publishes none in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// 19k tokens a window.
    Pro,
    /// 88k.
    Max5,
    /// 220k.
    Max20,
    /// The 90th percentile of the user's own past windows.
    Custom,
}

impl Plan {
    /// All plans, by name.
    pub const ALL: [(&'static str, Plan); 4] =
        [("pro", Self::Pro), ("max5", Self::Max5), ("max20", Self::Max20), ("custom", Self::Custom)];

    /// The name, as options and files spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pro => "pro",
            Self::Max5 => "max5",
            Self::Max20 => "max20",
            Self::Custom => "custom",
        }
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, plan)| *plan);
        known.ok_or_else(|| format!("unknown plan {text:?}; allowed: pro, max5, max20, custom"))
    }
}

/// What the trackers have to know that no record says.
#[derive(Clone, Debug, Default)]
pub struct TrackerConfig {
    /// Where the records come from.
    pub mode: Mode,
    /// The zone in which days begin.
    pub zone: ZoneOffsets,
    /// The user's plan, if told.
    pub plan: Option<Plan>,
}

/// See the [module's description](self).
#[derive(Debug)]
pub struct Trackers {
    config: TrackerConfig,
    prices: Arc<PriceTable>,
    ledger: Ledger,
    /// Where and when sessions ran, for reports.
    facts: Sessions,
    sessions: session::SessionMonitor,
    quota: limits::QuotaTracker,
    context: context::ContextTracker,
    cost: cost::CostTracker,
    /// Responses with tokens but without a price, by model.
    unpriced: BTreeMap<ModelId, u64>,
    responses: u64,
    recent_rejections: VecDeque<Rejection>,
    ingest_changed: bool,
    /// Events that need no more than passing on.
    waiting: Vec<Event>,
    /// What the user was told of.
    arming: Arming,
    /// Whether `begin` was called; before, records are history.
    begun: bool,
}

/// A response that came into, or went out of, the count, with its price.
#[derive(Clone, Copy, Debug)]
struct PricedChange<'a> {
    record: &'a UsageRecord,
    cost: Cost,
    added: bool,
}

impl Trackers {
    /// Trackers that know nothing yet.
    pub fn new(config: TrackerConfig, prices: Arc<PriceTable>) -> Self {
        Self {
            sessions: session::SessionMonitor::default(),
            quota: limits::QuotaTracker::new(config.plan, config.mode),
            context: context::ContextTracker::default(),
            cost: cost::CostTracker::new(config.zone.clone()),
            config,
            prices,
            ledger: Ledger::default(),
            facts: Sessions::default(),
            unpriced: BTreeMap::new(),
            responses: 0,
            recent_rejections: VecDeque::new(),
            ingest_changed: true,
            waiting: Vec::new(),
            arming: Arming::default(),
            begun: false,
        }
    }

    /// The ledger: who claimed what.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Everything reports are made of, as it is now.
    pub fn history(&self) -> History {
        History::of(&self.ledger, Scope::All, self.facts.clone())
    }

    /// The number of the tool's file at `path`, relative to its root.
    pub fn file(&mut self, tool: Tool, path: &str) -> FileId {
        self.ledger.file(tool, path)
    }

    /// What the tool's vendor last said of each of its limits.
    pub fn rate_limits(&self, tool: Tool, now: Timestamp) -> impl Iterator<Item = LimitReading<'_>> {
        self.quota.readings(tool, now)
    }

    /// The file was truncated or rewritten: what it said is withdrawn.
    pub fn retract_file(&mut self, file: FileId) {
        let mut changes = Vec::new();
        self.ledger.retract(file, &mut |change| changes.push(owned(change)));
        self.take_changes(&changes);
        self.quota.retract(file);
    }

    /// The file was deleted: what it said stays.
    pub fn archive_file(&mut self, file: FileId) {
        self.ledger.archive(file);
        self.ingest_changed = true;
    }

    /// What has been read of the file so far.
    pub fn set_counts(&mut self, file: FileId, counts: FileCounts) {
        self.ledger.set_counts(file, counts);
        self.ingest_changed = true;
    }

    /// A line of the file was refused.
    pub fn reject(&mut self, file: FileId, rejection: Rejection) {
        if self.recent_rejections.len() == RECENT_REJECTIONS {
            self.recent_rejections.pop_front();
        }
        self.recent_rejections.push_back(rejection.clone());
        self.ledger.reject(file, rejection);
        self.ingest_changed = true;
    }

    /// Takes one record of the file.
    pub fn record(&mut self, file: FileId, record: &Record) {
        self.facts.record(record);
        match record {
            Record::Usage(usage) => {
                let mut changes = Vec::new();
                self.ledger.claim(file, usage, &mut |change| changes.push(owned(change)));
                self.take_changes(&changes);
                self.sessions.usage_seen(usage);
                self.context.usage_seen(file, usage);
                self.ingest_changed = true;
            }
            Record::Session(meta) => self.sessions.meta(meta),
            Record::Lineage(lineage) => {
                let mut changes = Vec::new();
                self.ledger.lineage(file, lineage, &mut |change| changes.push(owned(change)));
                self.take_changes(&changes);
            }
            Record::Context(fill) => self.context.fill(file, fill),
            Record::Agent(agent) => self.sessions.agent(agent),
            Record::Compaction(compaction) => self.context.compaction(file, compaction),
            Record::RateLimit(report) => {
                self.quota.add(file, report);
                self.sessions.refused(report);
            }
            // For reports: live figures are our own.
            Record::ToolCost(_) => {}
            // Nothing is shown of it yet.
            Record::Account(_) => {}
            // For the store.
            Record::Activity(_) => {}
            Record::ApiError(error) => {
                if self.begun {
                    let error = SessionError { id: error.session.clone(), error: error.kind };
                    self.waiting.push(Event::SessionError(error));
                }
            }
        }
    }

    fn take_changes(&mut self, changes: &[(UsageRecord, bool)]) {
        for (record, added) in changes {
            let change = PricedChange { record, cost: self.prices.charge(&record.model, &record.usage), added: *added };
            self.sessions.change(change);
            self.quota.change(change);
            self.cost.change(change);
            self.responses = if *added { self.responses + 1 } else { self.responses.saturating_sub(1) };
            if change.cost.unpriced_responses > 0 {
                let count = self.unpriced.entry(record.model.clone()).or_default();
                *count = if *added { *count + 1 } else { count.saturating_sub(1) };
            }
        }
    }

    /// Responses since `since` are all known; those before it are still to be read. Limits whose window, or whose block,
    /// may begin before it are marked incomplete.
    pub fn reading_history(&mut self, since: Timestamp) {
        self.quota.reading_history(since);
    }

    /// All responses are known. Of those that are too old to be held, `before` finds a tool's newest block: of its
    /// responses before the given time.
    pub fn history_read(&mut self, before: impl Fn(Tool, Timestamp) -> Option<Block>) {
        self.quota.history_read(before);
    }

    /// The running sessions, all of them, each time anything about them changed.
    pub fn presence(&mut self, running: &[Presence]) {
        self.sessions.presence(running);
    }

    /// How the parts are; an event only when it differs from the last.
    pub fn health(&mut self, check: HealthCheck) {
        self.waiting.push(Event::HealthCheck(check));
    }

    /// A part failed once more: it is told of again, if its health says so too.
    pub fn failure(&mut self, failure: &HealthError) {
        self.arming.rearm(&AlertSubject::Part(failure.component.clone()));
    }

    /// What in `state`, into which all events have been folded, is news for the user. Nothing is before
    /// [`begin`](Self::begin).
    pub fn warnings(&mut self, state: &DashboardState, now: Timestamp) -> Vec<Event> {
        let alerts = alert::alerts(state, &AlertSettings::default(), now);
        self.arming.news(&alerts).into_iter().filter_map(alert::warning).collect()
    }

    /// What the user was told of, to be kept for the next run.
    pub fn arming(&self) -> &Arming {
        &self.arming
    }

    /// Takes over what the user was told of in an earlier run. To be called before [`begin`](Self::begin).
    pub fn set_arming(&mut self, arming: Arming) {
        self.arming = arming;
    }

    /// Ends the reading of history: all of it is in the returned state, no event tells of it, and
    /// warnings for what is already so do not fire.
    pub fn begin(&mut self, now: Timestamp) -> DashboardState {
        let plan = self.config.plan.map(|plan| plan.as_str().to_owned());
        let mut state = DashboardState::new(self.config.mode, self.config.zone.clone(), plan, now);
        self.quota.learn_custom_limit(&self.ledger);
        self.sessions.forget_before_today(&self.config.zone, now);
        for event in self.flush(now) {
            state.apply_silently(&event, now);
        }
        // What is already so is not news.
        self.warnings(&state, now);
        self.begun = true;
        state
    }

    /// Everything that changed since the last call, by records or by time alone.
    pub fn flush(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let limit = self.quota.plan_limit(Tool::DEFAULT);
        self.sessions.flush(now, limit, &self.config.zone, &mut self.context, !self.begun, &mut events);
        self.quota.flush(now, &|id| self.sessions.directory(id), !self.begun, &mut events);
        self.cost.flush(now, &mut events);
        if std::mem::take(&mut self.ingest_changed) {
            events.push(Event::IngestUpdate(self.ingest()));
        }
        events.append(&mut self.waiting);
        events
    }

    fn ingest(&self) -> IngestUpdate {
        let counts = self.ledger.counts(Scope::All);
        IngestUpdate {
            files: self.ledger.file_count(Scope::All),
            bytes: counts.bytes,
            lines: counts.lines,
            responses: self.responses,
            duplicate_lines: counts.usage_records.saturating_sub(self.responses),
            rejected_lines: counts.rejected_lines,
            unknown_records: counts.unknown_records,
            bad_counts: counts.bad_counts,
            unpriced: self.unpriced.values().sum(),
            unpriced_models: self.unpriced.iter().filter(|&(_, &n)| n > 0).map(|(model, _)| model.clone()).collect(),
            rejections: self.recent_rejections.iter().cloned().collect(),
        }
    }
}

fn owned(change: Change<'_>) -> (UsageRecord, bool) {
    match change {
        Change::Added(record) => (record.clone(), true),
        Change::Removed(record) => (record.clone(), false),
    }
}

#[cfg(test)]
mod tests;
