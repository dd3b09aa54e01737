//! The one vocabulary of the wire, the log and the page.
//!
//! An event carries the new values, not differences: folding it into
//! [`DashboardState`](crate::state::DashboardState) sets them, so an event can be applied without
//! knowing what was before. Names and envelope (`type`, `data`, `timestamp`) are the product's
//! contract (docs/PROTOCOL.md); `seq` numbers events within an epoch.

mod usage;
mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Silences};
use crate::forecast::{Forecast, Interval};
use crate::ids::{AgentId, ModelId, SessionId};
use crate::level::Level;
use crate::record::{
    ApiErrorKind, CompactionTrigger, LimitKey, ReadProgress, ReadingEntry, ReadingSource, Rejection, Tool,
};
use crate::settings::Settings;
use crate::time::{Day, Minute, Timestamp};
use crate::units::{Cost, TokenUsage, Tokens};

pub use wire::UnknownEvent;

/// Number of an event within its epoch; the first event is 1, and a state without events is at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An event with its number and time, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SequencedEvent {
    /// Its number.
    pub seq: Seq,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When the engine emitted it.
    pub timestamp: Timestamp,
}

/// What happened. A new type also belongs into the list in `event/wire.rs`, which reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    /// A session became active (or a finished one was reopened).
    #[serde(rename = "session:start")]
    SessionStart(SessionStart),
    /// A session's doing, place or subagents changed.
    #[serde(rename = "session:update")]
    SessionUpdate(SessionUpdate),
    /// A session's tokens changed.
    #[serde(rename = "session:tokens")]
    SessionTokens(SessionTokens),
    /// A request of a session failed.
    #[serde(rename = "session:error")]
    SessionError(SessionError),
    /// A session ended.
    #[serde(rename = "session:complete")]
    SessionComplete(SessionComplete),
    /// Everything that was said of a session was withdrawn: its file was truncated or rewritten.
    #[serde(rename = "session:remove")]
    SessionRemove(SessionRemove),
    /// The figures of a limit changed.
    #[serde(rename = "quota:update")]
    QuotaUpdate(QuotaUpdate),
    /// A limit reached a level for the first time since its reset.
    #[serde(rename = "quota:warning")]
    QuotaWarning(Alert),
    /// A session's context window changed.
    #[serde(rename = "context:update")]
    ContextUpdate(ContextUpdate),
    /// A session's context reached a level for the first time since its last compaction.
    #[serde(rename = "context:warning")]
    ContextWarning(Alert),
    /// Usage of one or more days changed.
    #[serde(rename = "cost:update")]
    CostUpdate(CostUpdate),
    /// More was read.
    #[serde(rename = "ingest:update")]
    IngestUpdate(IngestUpdate),
    /// The health of the parts, when any of it changed.
    #[serde(rename = "health:check")]
    HealthCheck(HealthCheck),
    /// A part does not work as it should, for the first time since it last did.
    #[serde(rename = "health:error")]
    HealthError(Alert),
    /// A session's use spikes, or a budget is nearly spent, for the first time in its hour or period.
    #[serde(rename = "usage:warning")]
    UsageWarning(Alert),
    /// The user changed what is warned of.
    #[serde(rename = "settings:update")]
    SettingsUpdate(Box<Settings>),
    /// The user snoozed or acknowledged alerts, or that is over.
    #[serde(rename = "alerts:silence")]
    AlertsSilence(Silences),
    /// Something a newer server says. Made by reading only: it is counted and shown, changes nothing, and is never sent.
    #[serde(skip)]
    Unknown(UnknownEvent),
}

impl Event {
    /// The event's `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SessionStart(_) => "session:start",
            Self::SessionUpdate(_) => "session:update",
            Self::SessionTokens(_) => "session:tokens",
            Self::SessionError(_) => "session:error",
            Self::SessionComplete(_) => "session:complete",
            Self::SessionRemove(_) => "session:remove",
            Self::QuotaUpdate(_) => "quota:update",
            Self::QuotaWarning(_) => "quota:warning",
            Self::ContextUpdate(_) => "context:update",
            Self::ContextWarning(_) => "context:warning",
            Self::CostUpdate(_) => "cost:update",
            Self::IngestUpdate(_) => "ingest:update",
            Self::HealthCheck(_) => "health:check",
            Self::HealthError(_) => "health:error",
            Self::UsageWarning(_) => "usage:warning",
            Self::SettingsUpdate(_) => "settings:update",
            Self::AlertsSilence(_) => "alerts:silence",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPhase {
    /// Responses are coming in.
    Working,
    /// It waits for an answer or a permission.
    NeedsYou,
    /// A limit refuses its requests.
    Blocked,
    /// It waits for the next prompt.
    #[default]
    Idle,
    /// It is over.
    Ended,
}

/// `session:start`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStart {
    /// The session.
    pub id: SessionId,
    /// Last part of the working directory; the id's beginning where that is unknown.
    pub project: String,
    /// When it began, as far as known.
    #[serde(rename = "startTime")]
    pub start_time: Timestamp,
}

/// `session:update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionUpdate {
    /// The session.
    pub id: SessionId,
    /// The assistant it runs in.
    #[serde(default)]
    pub tool: Tool,
    /// Last part of the working directory.
    pub project: String,
    /// Working directory.
    pub cwd: Option<String>,
    /// Git branch.
    pub branch: Option<String>,
    /// Model of the newest main-chain response.
    pub model: Option<ModelId>,
    /// What it is doing.
    pub phase: SessionPhase,
    /// When it began, as far as known.
    #[serde(default)]
    pub started_at: Timestamp,
    /// When its newest line was written.
    pub last_activity: Timestamp,
    /// Kind of its last failed request; null if none failed.
    #[serde(default)]
    pub last_error: Option<ApiErrorKind>,
}

/// Tokens of one minute, by kind: the unit of charts and rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinuteTokens {
    /// The minute.
    pub minute: Minute,
    /// Input tokens in it.
    pub input: Tokens,
    /// Cache-write tokens in it.
    pub cache_creation: Tokens,
    /// Output tokens in it.
    pub output: Tokens,
    /// Cache-read tokens in it.
    pub cache_read: Tokens,
}

impl MinuteTokens {
    /// A minute without tokens.
    pub fn none(minute: Minute) -> Self {
        let zero = Tokens::ZERO;
        Self { minute, input: zero, cache_creation: zero, output: zero, cache_read: zero }
    }

    /// All kinds together.
    pub fn total(&self) -> Tokens {
        self.input + self.cache_creation + self.output + self.cache_read
    }

    /// All kinds but cache reads.
    pub fn fresh(&self) -> Tokens {
        self.input + self.cache_creation + self.output
    }
}

/// `session:tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "usage::SessionTokensFields")]
pub struct SessionTokens {
    /// The session.
    pub id: SessionId,
    /// All tokens of the session so far, all kinds, subagents included.
    pub current: Tokens,
    /// The plan's limit for a five-hour window in tokens; null without a plan.
    pub total: Option<Tokens>,
    /// Tokens per minute, all kinds, over the last ten minutes.
    pub rate: Tokens,
    /// The tokens by kind, subagents included.
    #[serde(flatten)]
    pub usage: TokenUsage,
    /// Cost at list prices, subagents included.
    pub cost: Cost,
    /// Responses so far, subagents included.
    pub responses: u64,
    /// When the newest response came.
    pub last_activity: Timestamp,
    /// Minutes whose tokens changed, with their new values; a zero minute is to be forgotten.
    pub minutes: Vec<MinuteTokens>,
    /// Subagents whose tokens changed, with their new values: of the first 50 by use.
    pub agents: Vec<AgentTokens>,
    /// Subagents no longer among these, or withdrawn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents_removed: Vec<AgentId>,
    /// All other subagents together.
    pub agents_rest: AgentsRest,
}

/// The subagents of a session that are not shown one by one, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentsRest {
    /// How many.
    pub count: u32,
    /// Those of them that had a line in the last two minutes, when this was reported.
    pub running: u32,
    /// All their tokens.
    pub total: Tokens,
    /// Cost at list prices.
    pub cost: Cost,
}

/// A subagent's share of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentTokens {
    /// The subagent.
    pub id: AgentId,
    /// Its kind, where known, e.g. `code-reviewer`.
    pub agent_type: Option<String>,
    /// Model of its newest response.
    pub model: Option<ModelId>,
    /// All its tokens.
    pub total: Tokens,
    /// Cost at list prices.
    pub cost: Cost,
    /// Tokens per minute over the last ten minutes.
    pub rate: Tokens,
    /// When its newest line was written.
    pub last_activity: Timestamp,
}

/// `session:error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionError {
    /// The session.
    pub id: SessionId,
    /// The kind of failure; texts are not kept.
    pub error: ApiErrorKind,
}

/// `session:remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRemove {
    /// The session.
    pub id: SessionId,
}

/// `session:complete`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionComplete {
    /// The session.
    pub id: SessionId,
    /// From start to last activity, in milliseconds.
    pub duration: i64,
    /// All tokens, all kinds, subagents included.
    pub tokens: Tokens,
}

/// Where a quota figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// Stated by the vendor.
    Official,
    /// Computed here from transcripts.
    Estimated,
    /// Made up by the simulator.
    Simulated,
}

impl Provenance {
    /// The word the wire and the page use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Estimated => "estimated",
            Self::Simulated => "simulated",
        }
    }
}

/// `quota:update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaUpdate {
    /// Which limit.
    pub key: LimitKey,
    /// Input + output tokens seen here in the window: what folk limits count. Not what the vendor
    /// counts, which includes other devices.
    pub used: Tokens,
    /// The limit of an estimate in the same unit: `learned` where there is one, else the plan's; null without either.
    pub limit: Option<Tokens>,
    /// Used share, 0 to 100 (more is possible for an estimate); null if unknown.
    pub percent: Option<f64>,
    /// When the window began, if known.
    pub starts_at: Option<Timestamp>,
    /// When it is reset; null if unknown, or if no window is open.
    #[serde(rename = "resetTime")]
    pub reset_time: Option<Timestamp>,
    /// Where the percentage comes from.
    pub provenance: Provenance,
    /// Where the vendor stated it; absent of figures that no vendor stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ReadingSource>,
    /// When the figure was true: the report's time, or that of the newest response.
    pub as_of: Timestamp,
    /// The level.
    pub status: Level,
    /// Whether requests are being refused: the newest refusal is followed neither by its reset nor by a response of a
    /// model that the limit covers.
    pub blocked: bool,
    /// Whether `used`, `used_by` and, of an estimate, the window's bounds are made of everything that counts. False
    /// while older files are still to be read, and of windows longer than what is held (a week).
    pub complete: bool,
    /// Nothing is known of the limit any more: it is to be forgotten. The other figures are the last ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The curve so far, when it has to be replaced as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<QuotaPoint>>,
    /// Who used the tokens that `used` counts, most first.
    pub used_by: Vec<QuotaShare>,
    /// The same tokens by model, most first.
    #[serde(default)]
    pub models: Vec<ModelShare>,
    /// The same tokens by session, most first: the first eight.
    #[serde(default)]
    pub sessions: Vec<SessionShare>,
    /// Percent of the window's use that was not seen here: what the vendor states beyond it, on other devices or on the
    /// web. Null if it is not known what the tokens seen here are of the limit, and of an estimate.
    #[serde(default)]
    pub elsewhere_percent: Option<f64>,
    /// What the limit allows, learned from the vendor's readings beside the tokens seen here; null if there were too few.
    #[serde(default)]
    pub learned: Option<LearnedLimit>,
    /// Where it is heading.
    #[serde(default)]
    pub forecast: Forecast,
}

impl QuotaUpdate {
    /// A limit of which nothing is known but that it is there.
    pub fn unknown(key: LimitKey, as_of: Timestamp) -> Self {
        Self {
            key,
            used: Tokens::ZERO,
            limit: None,
            percent: None,
            starts_at: None,
            reset_time: None,
            provenance: Provenance::Estimated,
            source: None,
            as_of,
            status: Level::Healthy,
            blocked: false,
            complete: true,
            gone: false,
            history: None,
            used_by: Vec::new(),
            models: Vec::new(),
            sessions: Vec::new(),
            elsewhere_percent: None,
            learned: None,
            forecast: Forecast::default(),
        }
    }
}

/// A limit learned from the vendor's readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnedLimit {
    /// Input + output tokens seen here that the whole limit stands for: median, and 10th and 90th percentile of what was
    /// observed.
    pub tokens: Interval<Tokens>,
    /// How often it was observed.
    pub observations: u64,
}

/// A session's part of a quota window, its subagents included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionShare {
    /// The session.
    pub session: SessionId,
    /// Percent of the window's tokens seen here.
    pub percent: f64,
}

/// One point of a window's curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaPoint {
    /// The minute.
    pub minute: Minute,
    /// Used tokens at its end.
    pub used: Tokens,
    /// Used share at its end, if known.
    pub percent: Option<f64>,
}

/// A project's part of a quota window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaShare {
    /// The project's name: as much of its directory's end as tells it from the others. The last entry may stand for
    /// all others together.
    pub project: String,
    /// The project's directory; null where it is not known, and of the others.
    pub directory: Option<String>,
    /// Percent of the window's tokens used on the main chain.
    pub own_percent: f64,
    /// Percent used by the project's subagents.
    pub agents_percent: f64,
}

/// A model's part of a quota window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelShare {
    /// The model.
    pub model: ModelId,
    /// Percent of the window's tokens.
    pub percent: f64,
}

/// `context:update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextUpdate {
    /// The session.
    pub id: SessionId,
    /// Tokens in the window; null after a compaction until the next response.
    pub used: Option<Tokens>,
    /// Size of the window.
    pub limit: Tokens,
    /// Fill at which the tool compacts by itself.
    pub compact_at: Tokens,
    /// Used share of the window, 0 to 100.
    pub percent: Option<f64>,
    /// Used share of the part up to `compact_at`; decides `status`.
    pub usable_percent: Option<f64>,
    /// What is left up to `compact_at`, in percent of the window.
    pub to_compact_percent: Option<f64>,
    /// The level.
    pub status: Level,
    /// The model whose window it is.
    pub model: Option<ModelId>,
    /// When the figure was true.
    pub as_of: Timestamp,
    /// Set when the update is a compaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<CompactionTrigger>,
    /// The curve so far, when it has to be replaced as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<ContextPoint>>,
}

/// One point of a session's fill curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextPoint {
    /// When.
    pub at: Timestamp,
    /// Fill in tokens; null right after a compaction of unknown result.
    pub used: Option<Tokens>,
    /// A compaction happened here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compaction: bool,
}

/// Usage of one day, in the configured zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "usage::DayUsageFields")]
pub struct DayUsage {
    /// The day.
    pub day: Day,
    /// Tokens by kind.
    #[serde(flatten)]
    pub usage: TokenUsage,
    /// Cost at list prices.
    pub cost: Cost,
    /// Responses.
    pub responses: u64,
    /// The cost by tool: use that a plan covers and use that is paid by the token are never summed.
    pub tools: BTreeMap<Tool, Cost>,
}

impl DayUsage {
    /// A day without use.
    pub fn none(day: Day) -> Self {
        Self { day, usage: TokenUsage::default(), cost: Cost::default(), responses: 0, tools: BTreeMap::new() }
    }

    /// Changes the cost by a tool. A tool that costs nothing has no entry.
    pub fn change_tool(&mut self, tool: Tool, change: impl FnOnce(&mut Cost)) {
        let mut cost = self.tools.remove(&tool).unwrap_or_default();
        change(&mut cost);
        if cost != Cost::default() {
            self.tools.insert(tool, cost);
        }
    }
}

/// `cost:update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostUpdate {
    /// Today, in the configured zone. When it changes, the state forgets yesterday's ended sessions.
    pub today: Day,
    /// Days whose usage changed, with their new values.
    pub days: Vec<DayUsage>,
}

/// `ingest:update`: what was read so far, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IngestUpdate {
    /// Transcript files known.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Lines that were not blank, refused ones included.
    pub lines: u64,
    /// Responses after folding duplicates.
    pub responses: u64,
    /// Usage records folded into another one's response.
    pub duplicate_lines: u64,
    /// Refused lines.
    pub rejected_lines: u64,
    /// Records of a type we do not know; they are skipped.
    pub unknown_records: u64,
    /// Counts that were no non-negative integer, read as 0.
    pub bad_counts: u64,
    /// Lines dated in the future: counted, without their time until it has come.
    #[serde(default)]
    pub future_times: u64,
    /// Responses with tokens whose model has no price.
    pub unpriced: u64,
    /// Those models.
    pub unpriced_models: Vec<ModelId>,
    /// The newest refused lines, at most 20; `rejected_lines` counts them all.
    pub rejections: Vec<Rejection>,
    /// Readings of limits that were not believed; absent if there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_readings: u64,
    /// The newest of them, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reading_problems: Vec<ReadingEntry>,
    /// How far the first read has come; null when everything has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ReadProgress>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How a part is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum HealthStatus {
    /// It works.
    #[default]
    Healthy,
    /// It works in part; the message says what is missing.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl HealthStatus {
    /// The word the wire uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One part's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ComponentHealth {
    /// How it is.
    pub status: HealthStatus,
    /// In a few words: what it does, or what is wrong and what to do.
    pub message: String,
}

/// `health:check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The worst of the components.
    pub status: HealthStatus,
    /// Pages connected.
    pub clients: u64,
    /// The parts by name.
    pub components: BTreeMap<String, ComponentHealth>,
}

/// What a part reports of a failure. It stays in the server: pages are told of the condition, and of the part's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthError {
    /// The part.
    pub component: String,
    /// What failed, in our words.
    pub error: String,
    /// When.
    pub timestamp: Timestamp,
}
