//! What the page shows: a fold of events, nothing else.
//!
//! [`DashboardState::apply`] is the only way the state changes, in the server (for snapshots), in
//! the page and in the demo alike, so that
//! `fold(snapshot, later events) == fold(all events)`. Everything is bounded; what is dropped is
//! decided by the events themselves, never by a clock. Figures that depend on the present moment
//! (rates, ages) are functions of the state and `now`, further down in
//! [`derived`].

mod budget;
mod derived;
mod log;
mod read;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::alert::{Condition, Silences};
use crate::event::{
    AgentTokens, AgentsRest, ContextPoint, ContextUpdate, CostUpdate, DayUsage, Event, HealthCheck, IngestUpdate,
    MinuteTokens, QuotaPoint, QuotaUpdate, Seq, SequencedEvent, SessionPhase, SessionTokens, SessionUpdate,
};
use crate::format;
use crate::ids::{AgentId, ModelId, SessionId};
use crate::level::Level;
use crate::record::{ApiErrorKind, LimitKey, LimitScope, Tool, WindowMinutes};
use crate::settings::Settings;
use crate::time::{DAY_MS, Day, MINUTE_MS, Minute, Timestamp, ZoneOffsets, month_start};
use crate::units::{Cost, TokenUsage, Tokens};

pub use budget::BudgetUse;
pub use derived::{
    AGENT_ACTIVE_MS, CacheGrade, OFFICIAL_FRESH_MS, RATE_MINUTES, SPIKE_MINUTES, SessionTotals, Spike, rate_per_min,
};
pub use log::{LogEntry, LogLine};

/// Most sessions kept; the longest ended go first.
pub const MAX_SESSIONS: usize = 200;
/// Most lines of the event log kept.
pub const MAX_LOG: usize = 500;
/// Subagents of a session shown one by one, by use; the others are summed.
pub const AGENTS_REPORTED: usize = 50;
/// Minutes of per-session token history kept.
pub const MINUTES_KEPT: i64 = 300;
/// Most points of a session's context curve; beyond, every other one goes.
pub const MAX_CONTEXT_POINTS: usize = 240;
/// Most limits kept; what is said of further ones is passed over.
pub const MAX_LIMITS: usize = 64;
/// Most points of a limit's curve.
pub const MAX_QUOTA_POINTS: usize = 300;
/// Days before and after the beginning whose changes of offset from UTC the state carries: the page shows times of ten
/// years at most, and the state of a page that was open for a year still begins its days right.
const ZONE_REACH_DAYS: (i64, i64) = (10 * 366, 3 * 366);
/// Days of usage shown beside the current month.
pub const DAYS_SHOWN: usize = 14;

/// Where the events come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Real sessions, through the server.
    #[default]
    Live,
    /// The simulator, in the server.
    Simulation,
    /// The simulator, in the page.
    Demo,
}

impl Mode {
    /// The word the wire and the page's hooks use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Simulation => "simulation",
            Self::Demo => "demo",
        }
    }

    /// Whether the numbers are made up.
    pub fn is_simulated(self) -> bool {
        self != Self::Live
    }
}

/// Everything the page shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DashboardState {
    /// Where the events come from.
    pub mode: Mode,
    /// The zone in which days begin and clocks are shown.
    pub zone: ZoneOffsets,
    /// The plan's name, where the user gave one.
    pub plan: Option<String>,
    /// Number of the last event folded in.
    pub seq: Seq,
    /// Time of the last event folded in, or of the beginning.
    pub at: Timestamp,
    /// Active and today's sessions.
    pub sessions: BTreeMap<SessionId, Session>,
    /// Every limit of every tool of which anything is known, at most [`MAX_LIMITS`].
    #[serde(default)]
    pub limits: BTreeMap<LimitKey, LimitState>,
    /// Today, in the configured zone.
    pub today: Option<Day>,
    /// Usage by day, oldest first: the current month and the last [`DAYS_SHOWN`] days.
    pub days: Vec<DayUsage>,
    /// What was read.
    pub ingest: IngestUpdate,
    /// How the parts are.
    pub health: HealthCheck,
    /// The last failure of a part.
    pub last_failure: Option<LastFailure>,
    /// What the user decided about levels, warnings and budgets.
    #[serde(default)]
    pub settings: Settings,
    /// What the user wants to hear no more of.
    #[serde(default)]
    pub silences: Silences,
    /// The newest events, oldest first, as lines of the log.
    pub log: VecDeque<LogLine>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The assistant it runs in.
    #[serde(default)]
    pub tool: Tool,
    /// Last part of its working directory.
    pub project: String,
    /// Working directory.
    pub cwd: Option<String>,
    /// Git branch.
    pub branch: Option<String>,
    /// Model of its newest main-chain response.
    pub model: Option<ModelId>,
    /// What it is doing.
    pub phase: SessionPhase,
    /// When it began.
    pub started_at: Timestamp,
    /// When its newest line was written.
    pub last_activity: Timestamp,
    /// All its tokens, subagents included.
    pub usage: TokenUsage,
    /// Their cost at list prices.
    pub cost: Cost,
    /// Its responses, subagents included.
    pub responses: u64,
    /// Tokens by minute over the last [`MINUTES_KEPT`] minutes, oldest first; empty minutes are absent.
    pub minutes: Vec<MinuteTokens>,
    /// Its subagents: the first [`AGENTS_REPORTED`] by use.
    pub agents: BTreeMap<AgentId, AgentTokens>,
    /// Its other subagents together, where there are more than [`AGENTS_REPORTED`].
    #[serde(default)]
    pub agents_rest: AgentsRest,
    /// Its context window, once known.
    pub context: Option<ContextWindow>,
    /// Kind of its last failed request.
    pub last_error: Option<ApiErrorKind>,
}

/// A session's context window: the last `context:update` and the curve of those before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContextWindow {
    /// The newest figures.
    #[serde(flatten)]
    pub now: ContextUpdate,
    /// Fill over time, oldest first.
    pub points: Vec<ContextPoint>,
}

/// A limit: the last `quota:update` and the curve of those before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimitState {
    /// The newest figures.
    #[serde(flatten)]
    pub now: QuotaUpdate,
    /// Use over time, oldest first; begins anew with the window.
    pub points: Vec<QuotaPoint>,
    /// When it was reset last, if it was nearly used up, or refused requests, until then and has been free since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopened_at: Option<Timestamp>,
}

/// When a part of the dashboard last stopped working as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// The part.
    pub component: String,
    /// When.
    pub at: Timestamp,
}

impl DashboardState {
    /// An empty state at the beginning of an epoch. Of `zone` it keeps what a page needs.
    pub fn new(mode: Mode, zone: ZoneOffsets, plan: Option<String>, at: Timestamp) -> Self {
        let (back, ahead) = ZONE_REACH_DAYS;
        let zone = zone.between(at.plus_ms(-back * DAY_MS), at.plus_ms(ahead * DAY_MS));
        Self { mode, zone, plan, at, ..Self::default() }
    }

    /// Numbers an event and folds it in.
    pub fn take(&mut self, event: Event, timestamp: Timestamp) -> SequencedEvent {
        let event = SequencedEvent { seq: self.seq.next(), event, timestamp };
        self.apply(&event);
        event
    }

    /// Folds one event in.
    pub fn apply(&mut self, event: &SequencedEvent) {
        if let Some(entry) = LogEntry::of(event, self) {
            if self.log.len() == MAX_LOG {
                self.log.pop_front();
            }
            self.log.push_back(LogLine { seq: event.seq, at: event.timestamp, entry });
        }
        self.apply_silently(&event.event, event.timestamp);
        self.seq = event.seq;
    }

    /// Folds an event in without numbering or logging it: history read at start-up.
    pub fn apply_silently(&mut self, event: &Event, timestamp: Timestamp) {
        self.at = timestamp;
        match event {
            Event::SessionStart(start) => {
                let session = self.session(&start.id, start.start_time);
                session.project.clone_from(&start.project);
                session.started_at = start.start_time;
                // All that is known of it follows.
                session.minutes.clear();
                session.agents.clear();
                session.context = None;
                if session.phase == SessionPhase::Ended {
                    session.phase = SessionPhase::Idle;
                }
                self.evict_sessions(&start.id);
            }
            Event::SessionUpdate(update) => self.session(&update.id, update.last_activity).update(update),
            Event::SessionTokens(tokens) => self.session(&tokens.id, tokens.last_activity).tokens(tokens, timestamp),
            Event::SessionComplete(complete) => {
                if let Some(session) = self.sessions.get_mut(&complete.id) {
                    session.phase = SessionPhase::Ended;
                }
            }
            Event::SessionRemove(remove) => drop(self.sessions.remove(&remove.id)),
            Event::QuotaUpdate(update) => self.limit(update, timestamp),
            Event::ContextUpdate(update) => self.session(&update.id, update.as_of).context(update),
            Event::CostUpdate(update) => self.cost(update),
            Event::IngestUpdate(update) => self.ingest.clone_from(update),
            Event::HealthCheck(check) => self.health.clone_from(check),
            Event::HealthError(alert) => {
                if let Condition::PartFailing { component } = &alert.condition {
                    self.last_failure = Some(LastFailure { component: component.clone(), at: timestamp });
                }
            }
            // For the log and for notifications: alerts are derived from the state, the last error is in the update.
            Event::QuotaWarning(_) | Event::ContextWarning(_) | Event::UsageWarning(_) | Event::SessionError(_) => {}
            Event::SettingsUpdate(settings) => self.settings.clone_from(settings),
            Event::AlertsSilence(silences) => self.silences.clone_from(silences),
            Event::Unknown(_) => {}
        }
    }

    fn session(&mut self, id: &SessionId, at: Timestamp) -> &mut Session {
        self.sessions.entry(id.clone()).or_insert_with(|| Session {
            id: id.clone(),
            tool: Tool::default(),
            project: format::short_id(id.as_str()).to_owned(),
            cwd: None,
            branch: None,
            model: None,
            phase: SessionPhase::Idle,
            started_at: at,
            last_activity: at,
            usage: TokenUsage::default(),
            cost: Cost::default(),
            responses: 0,
            minutes: Vec::new(),
            agents: BTreeMap::new(),
            agents_rest: AgentsRest::default(),
            context: None,
            last_error: None,
        })
    }

    /// Keeps at most [`MAX_SESSIONS`]: ended ones go before others, older before newer, and never `keep`.
    fn evict_sessions(&mut self, keep: &SessionId) {
        while self.sessions.len() > MAX_SESSIONS {
            let oldest = self
                .sessions
                .values()
                .filter(|session| session.id != *keep)
                .min_by_key(|session| (session.phase != SessionPhase::Ended, session.last_activity, &session.id))
                .map(|session| session.id.clone());
            match oldest {
                Some(id) => self.sessions.remove(&id),
                None => break,
            };
        }
    }

    fn cost(&mut self, update: &CostUpdate) {
        for changed in &update.days {
            match self.days.binary_search_by_key(&changed.day, |day| day.day) {
                Ok(at) => self.days[at] = changed.clone(),
                Err(at) => self.days.insert(at, changed.clone()),
            }
        }
        if self.today != Some(update.today) {
            self.today = Some(update.today);
            let start = self.zone.day_start(update.today);
            self.sessions.retain(|_, s| s.phase != SessionPhase::Ended || s.last_activity >= start);
        }
        let first_shown = update.today - chrono::Days::new(DAYS_SHOWN as u64 - 1);
        let oldest = month_start(update.today).min(first_shown);
        // A day of which everything was withdrawn is as one without use.
        self.days.retain(|day| day.day >= oldest && day.responses > 0);
    }

    /// Folds in the figures of a limit.
    fn limit(&mut self, update: &QuotaUpdate, now: Timestamp) {
        if update.gone {
            self.limits.remove(&update.key);
        } else if let Some(limit) = self.limits.get_mut(&update.key) {
            limit.update(update, now);
        } else if self.limits.len() < MAX_LIMITS {
            let mut limit = LimitState { now: update.clone(), points: Vec::new(), reopened_at: None };
            limit.update(update, now);
            self.limits.insert(update.key.clone(), limit);
        }
    }

    /// Claude's five-hour limit on all models, if anything is known of it; the first account's, if there are several.
    pub fn five_hour(&self) -> Option<&LimitState> {
        self.of_claude(WindowMinutes::FIVE_HOURS)
    }

    /// Claude's weekly limit on all models, if anything is known of it; the first account's, if there are several.
    pub fn seven_day(&self) -> Option<&LimitState> {
        self.of_claude(WindowMinutes::WEEK)
    }

    fn of_claude(&self, window: WindowMinutes) -> Option<&LimitState> {
        let wanted =
            |key: &LimitKey| key.tool == Tool::DEFAULT && key.window == window && key.scope == LimitScope::AllModels;
        self.limits.iter().find(|(key, _)| wanted(key)).map(|(_, limit)| limit)
    }
}

impl Session {
    fn update(&mut self, update: &SessionUpdate) {
        self.tool = update.tool;
        self.project.clone_from(&update.project);
        self.cwd.clone_from(&update.cwd);
        self.branch.clone_from(&update.branch);
        self.model.clone_from(&update.model);
        self.phase = update.phase;
        self.started_at = update.started_at;
        self.last_activity = update.last_activity;
        self.last_error = update.last_error;
    }

    fn tokens(&mut self, tokens: &SessionTokens, now: Timestamp) {
        self.usage = tokens.usage;
        self.cost = tokens.cost;
        self.responses = tokens.responses;
        self.last_activity = tokens.last_activity;
        for changed in &tokens.minutes {
            match self.minutes.binary_search_by_key(&changed.minute, |m| m.minute) {
                Ok(at) if changed.total() == Tokens::ZERO => drop(self.minutes.remove(at)),
                Ok(at) => self.minutes[at] = *changed,
                Err(_) if changed.total() == Tokens::ZERO => {}
                Err(at) => self.minutes.insert(at, *changed),
            }
        }
        let oldest = now.plus_ms(-MINUTES_KEPT * MINUTE_MS).minute();
        self.minutes.retain(|m| m.minute > oldest);
        for agent in &tokens.agents {
            self.agents.insert(agent.id.clone(), agent.clone());
        }
        for id in &tokens.agents_removed {
            self.agents.remove(id);
        }
        self.agents_rest = tokens.agents_rest;
    }

    fn context(&mut self, update: &ContextUpdate) {
        let mut points = match (&update.history, self.context.take()) {
            (Some(history), _) => history.clone(),
            (None, Some(window)) => window.points,
            (None, None) => Vec::new(),
        };
        let mut now = update.clone();
        if now.history.take().is_none() {
            let compaction = now.compaction.is_some();
            push_context_point(&mut points, ContextPoint { at: now.as_of, used: now.used, compaction });
        }
        // Everything said of it may have been withdrawn.
        let is_known = now.used.is_some() || now.model.is_some() || !points.is_empty();
        self.context = is_known.then_some(ContextWindow { now, points });
    }
}

/// Adds a point to a context curve, thinning it when it grows beyond [`MAX_CONTEXT_POINTS`].
pub(crate) fn push_context_point(points: &mut Vec<ContextPoint>, point: ContextPoint) {
    match points.last_mut() {
        Some(last) if *last == point => return,
        _ => points.push(point),
    }
    if points.len() > MAX_CONTEXT_POINTS {
        thin(points);
    }
}

/// Drops every other point but compactions, the ones beside them and the ends.
fn thin(points: &mut Vec<ContextPoint>) {
    let keep: Vec<bool> = (0..points.len())
        .map(|i| {
            let near = &points[i.saturating_sub(1)..(i + 2).min(points.len())];
            i % 2 == 0 || i + 1 == points.len() || near.iter().any(|point| point.compaction)
        })
        .collect();
    let mut keep = keep.into_iter();
    points.retain(|_| keep.next().unwrap_or(true));
    if points.len() > MAX_CONTEXT_POINTS {
        // Nothing but compactions: the oldest go.
        points.drain(..points.len() - MAX_CONTEXT_POINTS);
    }
}

impl LimitState {
    /// Whether it refuses requests, or will soon.
    pub fn is_nearly_used_up(&self) -> bool {
        is_nearly_used_up(&self.now)
    }

    fn update(&mut self, update: &QuotaUpdate, now: Timestamp) {
        if is_nearly_used_up(update) {
            self.reopened_at = None;
        } else if is_nearly_used_up(&self.now) {
            self.reopened_at = self.now.reset_time.filter(|&reset| reset <= now);
        }
        if !same_window(&self.now, update) {
            self.points.clear();
        }
        self.now.clone_from(update);
        if let Some(history) = self.now.history.take() {
            self.points = history;
        }
        let point = QuotaPoint { minute: update.as_of.minute(), used: update.used, percent: update.percent };
        push_quota_point(&mut self.points, point, update.key.window);
    }
}

fn is_nearly_used_up(update: &QuotaUpdate) -> bool {
    update.blocked || update.status >= Level::Danger
}

/// Adds a point to a limit's curve: one for each of [`MAX_QUOTA_POINTS`] equal parts of the window, the newest of each.
pub(crate) fn push_quota_point(points: &mut Vec<QuotaPoint>, point: QuotaPoint, window: WindowMinutes) {
    let part = |minute: Minute| minute.0.div_euclid(i64::from(window.0).div_euclid(MAX_QUOTA_POINTS as i64).max(1));
    match points.last_mut() {
        Some(last) if part(last.minute) >= part(point.minute) => {
            *last = QuotaPoint { minute: last.minute.max(point.minute), ..point };
        }
        _ => points.push(point),
    }
    points.drain(..points.len().saturating_sub(MAX_QUOTA_POINTS));
}

/// Reset times of one window differ by fractions of a second from report to report.
pub(crate) fn same_window(before: &QuotaUpdate, now: &QuotaUpdate) -> bool {
    before.provenance == now.provenance && same_reset(before.reset_time, now.reset_time)
}

/// Whether two reset times, or their absence, mean the same window.
pub(crate) fn same_reset(before: Option<Timestamp>, after: Option<Timestamp>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => before.ms_since(after).abs() < 10 * MINUTE_MS,
        (before, after) => before == after,
    }
}
