//! What the page shows: a fold of events, nothing else.
//!
//! [`DashboardState::apply`] is the only way the state changes, in the server (for snapshots), in
//! the page and in the demo alike, so that
//! `fold(snapshot, later events) == fold(all events)`. Everything is bounded; what is dropped is
//! decided by the events themselves, never by a clock. Figures that depend on the present moment
//! (rates, ages, what to alert of) are functions of the state and `now`, further down in
//! [`derived`].

mod derived;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::event::{
    AgentTokens, AgentsRest, ContextPoint, ContextUpdate, CostUpdate, DayUsage, Event, HealthCheck, HealthError,
    HealthStatus, IngestUpdate, LimitUpdate, MinuteTokens, QuotaPoint, QuotaUpdate, Seq, SequencedEvent, SessionPhase,
    SessionTokens, SessionUpdate,
};
use crate::format;
use crate::ids::{AgentId, ModelId, SessionId};
use crate::level::Level;
use crate::record::{ApiErrorKind, LimitWindow, Tool};
use crate::time::{Day, MINUTE_MS, Timestamp, ZoneOffsets, month_start};
use crate::units::{Cost, TokenUsage, Tokens};

pub use derived::{
    AGENT_ACTIVE_MS, Alert, AlertSubject, CacheGrade, OFFICIAL_FRESH_MS, RATE_MINUTES, SessionTotals, rate_per_min,
};

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
/// Most points of a quota window's curve.
pub const MAX_QUOTA_POINTS: usize = 300;
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
    /// The five-hour window.
    pub five_hour: Option<QuotaWindow>,
    /// The week, all models.
    pub seven_day: Option<QuotaWindow>,
    /// The week, largest model; only where the vendor reports it.
    pub seven_day_opus: Option<QuotaWindow>,
    /// Limits of other tools, as their vendors last told them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Tool, BTreeMap<LimitWindow, LimitUpdate>>,
    /// Today, in the configured zone.
    pub today: Option<Day>,
    /// Usage by day, oldest first: the current month and the last [`DAYS_SHOWN`] days.
    pub days: Vec<DayUsage>,
    /// What was read.
    pub ingest: IngestUpdate,
    /// How the parts are.
    pub health: HealthCheck,
    /// The last failure of a part.
    pub last_failure: Option<HealthError>,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextWindow {
    /// The newest figures.
    #[serde(flatten)]
    pub now: ContextUpdate,
    /// Fill over time, oldest first.
    pub points: Vec<ContextPoint>,
}

/// A quota window: the last `quota:update` and the curve of those before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaWindow {
    /// The newest figures.
    #[serde(flatten)]
    pub now: QuotaUpdate,
    /// Use over time, oldest first; begins anew with the window.
    pub points: Vec<QuotaPoint>,
}

/// One line of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The event's number.
    pub seq: Seq,
    /// Its time.
    pub at: Timestamp,
    /// Its type, e.g. `session:tokens`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about: a project, a window, a part.
    pub subject: String,
    /// What changed, in a few words.
    pub change: String,
    /// The level, for warnings.
    pub level: Level,
}

impl DashboardState {
    /// An empty state at the beginning of an epoch.
    pub fn new(mode: Mode, zone: ZoneOffsets, plan: Option<String>, at: Timestamp) -> Self {
        Self { mode, zone, plan, at, ..Self::default() }
    }

    /// Folds one event in.
    pub fn apply(&mut self, event: &SequencedEvent) {
        if let Some(line) = self.log_line(event) {
            if self.log.len() == MAX_LOG {
                self.log.pop_front();
            }
            self.log.push_back(line);
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
            Event::QuotaUpdate(update) => {
                let window = match update.window {
                    LimitWindow::FiveHour => &mut self.five_hour,
                    LimitWindow::SevenDay => &mut self.seven_day,
                    LimitWindow::SevenDayOpus => &mut self.seven_day_opus,
                };
                QuotaWindow::update(window, update);
            }
            Event::LimitUpdate(update) => {
                self.limits.entry(update.tool).or_default().insert(update.window, *update);
            }
            Event::ContextUpdate(update) => self.session(&update.id, update.as_of).context(update),
            Event::CostUpdate(update) => self.cost(update),
            Event::IngestUpdate(update) => self.ingest.clone_from(update),
            Event::HealthCheck(check) => self.health.clone_from(check),
            Event::HealthError(error) => self.last_failure = Some(error.clone()),
            // For the log and for notifications: alerts are derived from the levels, the last error is in the update.
            Event::QuotaWarning(_) | Event::ContextWarning(_) | Event::SessionError(_) => {}
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

    /// How an event reads in the log; `None` for those that only accompany others.
    fn log_line(&self, event: &SequencedEvent) -> Option<LogLine> {
        let project = |id: &SessionId| {
            let known = self.sessions.get(id).map(|session| session.project.as_str());
            known.unwrap_or_else(|| format::short_id(id.as_str())).to_owned()
        };
        let mut level = Level::Healthy;
        let (subject, change) = match &event.event {
            Event::SessionStart(start) => (start.project.clone(), "started".to_owned()),
            Event::SessionUpdate(update) => {
                let before = self.sessions.get(&update.id).map(|session| session.phase);
                if before == Some(update.phase) {
                    return None;
                }
                (update.project.clone(), format::phase(update.phase).to_lowercase())
            }
            Event::SessionTokens(tokens) => {
                let before = self.sessions.get(&tokens.id).map(|session| session.usage).unwrap_or_default();
                let all = tokens.usage.total() - before.total();
                let output = tokens.usage.output - before.output;
                let change = format!("+{} · out {}", format::exact(all.0), format::exact(output.0));
                (project(&tokens.id), change)
            }
            Event::SessionRemove(remove) => (project(&remove.id), "withdrawn: its file was rewritten".to_owned()),
            Event::SessionError(error) => {
                level = Level::Warning;
                (project(&error.id), format::api_error(error.error).to_owned())
            }
            Event::SessionComplete(complete) => {
                (project(&complete.id), format!("ended · {} tokens", format::tokens(complete.tokens)))
            }
            Event::QuotaUpdate(update) => {
                let change = match (self.window(update.window), update.percent) {
                    (Some(QuotaWindow { now: QuotaUpdate { percent: Some(before), .. }, .. }), Some(now)) => {
                        format!("{before:.1} → {}", format::percent_1(now))
                    }
                    (_, Some(now)) => format::percent_1(now),
                    (_, None) => format!("{} tokens", format::tokens(update.used)),
                };
                (format::window(update.window).to_owned(), change)
            }
            Event::QuotaWarning(warning) => {
                level = warning.level;
                let left = warning.time_left.map_or_else(String::new, |ms| format!(" · reset in {}", format::span(ms)));
                (format::window(warning.window).to_owned(), format!("{}{left}", warning.level.as_str()))
            }
            Event::LimitUpdate(update) => {
                let before = self.limits.get(&update.tool).and_then(|limits| limits.get(&update.window));
                let change = match (before.and_then(|before| before.percent), update.percent?) {
                    // Said once more.
                    (Some(before), now) if before == now => return None,
                    (Some(before), now) => format!("{before:.1} → {}", format::percent_1(now)),
                    (None, now) => format::percent_1(now),
                };
                (format!("{} {}", update.tool.title(), format::window(update.window)), change)
            }
            Event::ContextUpdate(update) => {
                let before = self.sessions.get(&update.id).and_then(|s| s.context.as_ref()).and_then(|c| c.now.percent);
                let change = match (update.compaction, before, update.percent) {
                    (Some(_), _, _) => "compacted".to_owned(),
                    (None, Some(before), Some(now)) => format!("{before:.1} → {}", format::percent_1(now)),
                    (None, _, now) => now.map_or_else(|| format::UNKNOWN.to_owned(), format::percent_1),
                };
                (project(&update.id), change)
            }
            Event::ContextWarning(warning) => {
                level = warning.level;
                (project(&warning.id), warning.level.as_str().to_owned())
            }
            Event::HealthCheck(check) => {
                let healthy = check.components.values().filter(|c| c.status == HealthStatus::Healthy).count();
                (format!("{healthy} of {} healthy", check.components.len()), format::clients(check.clients))
            }
            Event::HealthError(error) => {
                level = Level::Danger;
                (error.component.clone(), error.error.clone())
            }
            Event::CostUpdate(_) | Event::IngestUpdate(_) => return None,
        };
        let kind = event.event.kind().to_owned();
        Some(LogLine { seq: event.seq, at: event.timestamp, kind, subject, change, level })
    }

    /// A quota window, if anything is known of it.
    pub fn window(&self, window: LimitWindow) -> Option<&QuotaWindow> {
        match window {
            LimitWindow::FiveHour => self.five_hour.as_ref(),
            LimitWindow::SevenDay => self.seven_day.as_ref(),
            LimitWindow::SevenDayOpus => self.seven_day_opus.as_ref(),
        }
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

impl QuotaWindow {
    fn update(window: &mut Option<Self>, update: &QuotaUpdate) {
        let mut now = update.clone();
        let mut points = match (now.history.take(), window.take()) {
            (Some(history), _) => history,
            (None, Some(before)) if same_window(&before.now, update) => before.points,
            (None, _) => Vec::new(),
        };
        let point = QuotaPoint { minute: update.as_of.minute(), used: update.used, percent: update.percent };
        match points.last_mut() {
            Some(last) if last.minute >= point.minute => *last = QuotaPoint { minute: last.minute, ..point },
            _ => points.push(point),
        }
        if points.len() > MAX_QUOTA_POINTS {
            points.drain(..points.len() - MAX_QUOTA_POINTS);
        }
        *window = Some(Self { now, points });
    }
}

/// Reset times of one window differ by fractions of a second from report to report.
fn same_window(before: &QuotaUpdate, now: &QuotaUpdate) -> bool {
    before.provenance == now.provenance && same_reset(before.reset_time, now.reset_time)
}

/// Whether two reset times, or their absence, mean the same window.
pub(crate) fn same_reset(before: Option<Timestamp>, after: Option<Timestamp>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => before.ms_since(after).abs() < 10 * MINUTE_MS,
        (before, after) => before == after,
    }
}
