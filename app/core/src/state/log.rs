//! The event log: the newest events as typed entries. What they read like is decided when they are shown.

use serde::{Deserialize, Serialize};

use super::DashboardState;
use crate::alert::{Alert, Condition, words};
use crate::event::{Event, HealthStatus, QuotaUpdate, Seq, SequencedEvent, SessionPhase};
use crate::format;
use crate::ids::SessionId;
use crate::level::Level;
use crate::record::{ApiErrorKind, LimitKey};
use crate::time::Timestamp;
use crate::units::Tokens;

/// One line of the event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// The event's number.
    pub seq: Seq,
    /// Its time.
    pub at: Timestamp,
    /// What it said.
    pub entry: LogEntry,
}

/// What an event said, as far as the log shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogEntry {
    /// `session:start`.
    Started {
        /// The session's project.
        project: String,
    },
    /// `session:update` with another phase.
    Phase {
        /// The session's project.
        project: String,
        /// What it does now.
        phase: SessionPhase,
    },
    /// `session:tokens`.
    Tokens {
        /// The session's project.
        project: String,
        /// Tokens since the update before, all kinds.
        added: Tokens,
        /// Output tokens among them.
        output: Tokens,
    },
    /// `session:error`.
    Error {
        /// The session's project.
        project: String,
        /// What kind of failure.
        error: ApiErrorKind,
    },
    /// `session:complete`.
    Ended {
        /// The session's project.
        project: String,
        /// All its tokens.
        tokens: Tokens,
    },
    /// An event of a type this program does not know.
    Unknown {
        /// Its type.
        kind: String,
    },
    /// `session:remove`.
    Withdrawn {
        /// The session's project.
        project: String,
    },
    /// `quota:update` that changed something shown.
    Limit {
        /// Which limit.
        limit: LimitKey,
        /// The share before, if known.
        before: Option<f64>,
        /// The share now, if known.
        percent: Option<f64>,
        /// Tokens used now.
        used: Tokens,
    },
    /// `quota:warning`, `context:warning`, `health:error`.
    Warning {
        /// What is so.
        alert: Alert,
    },
    /// `context:update`.
    Context {
        /// The session's project.
        project: String,
        /// The fill before, in percent of the window, if known.
        before: Option<f64>,
        /// The fill now, if known.
        percent: Option<f64>,
        /// Whether it was compacted.
        compacted: bool,
    },
    /// `health:check`.
    Health {
        /// Parts that work.
        healthy: u64,
        /// All parts.
        parts: u64,
        /// Pages connected.
        clients: u64,
    },
}

impl LogEntry {
    /// What the log says of an event that is about to be folded into `state`; `None` of those that only accompany
    /// others, or change nothing that is shown.
    pub(super) fn of(event: &SequencedEvent, state: &DashboardState) -> Option<Self> {
        let project = |id: &SessionId| {
            let known = state.sessions.get(id).map(|session| session.project.as_str());
            known.unwrap_or_else(|| format::short_id(id.as_str())).to_owned()
        };
        Some(match &event.event {
            Event::SessionStart(start) => Self::Started { project: start.project.clone() },
            Event::SessionUpdate(update) => {
                let before = state.sessions.get(&update.id).map(|session| session.phase);
                if before == Some(update.phase) {
                    return None;
                }
                Self::Phase { project: update.project.clone(), phase: update.phase }
            }
            Event::SessionTokens(tokens) => {
                let before = state.sessions.get(&tokens.id).map(|session| session.usage).unwrap_or_default();
                let added = tokens.usage.total() - before.total();
                Self::Tokens { project: project(&tokens.id), added, output: tokens.usage.output - before.output }
            }
            Event::SessionError(error) => Self::Error { project: project(&error.id), error: error.error },
            Event::Unknown(unknown) => Self::Unknown { kind: unknown.kind.clone() },
            Event::SessionRemove(remove) => Self::Withdrawn { project: project(&remove.id) },
            Event::SessionComplete(complete) => Self::Ended { project: project(&complete.id), tokens: complete.tokens },
            Event::QuotaUpdate(update) if update.gone => return None,
            Event::QuotaUpdate(update) => {
                let before = state.limits.get(&update.key).map(|limit| &limit.now);
                if before.is_some_and(|before| reads_alike(before, update)) {
                    return None;
                }
                let (limit, before) = (update.key.clone(), before.and_then(|before| before.percent));
                Self::Limit { limit, before, percent: update.percent, used: update.used }
            }
            Event::QuotaWarning(alert)
            | Event::ContextWarning(alert)
            | Event::UsageWarning(alert)
            | Event::HealthError(alert) => Self::Warning { alert: alert.clone() },
            Event::ContextUpdate(update) => {
                let known = state.sessions.get(&update.id).and_then(|session| session.context.as_ref());
                let (before, percent) = (known.and_then(|context| context.now.percent), update.percent);
                Self::Context { project: project(&update.id), before, percent, compacted: update.compaction.is_some() }
            }
            Event::HealthCheck(check) => {
                let healthy = check.components.values().filter(|part| part.status == HealthStatus::Healthy).count();
                let (healthy, parts) = (healthy as u64, check.components.len() as u64);
                Self::Health { healthy, parts, clients: check.clients }
            }
            Event::CostUpdate(_) | Event::IngestUpdate(_) | Event::SettingsUpdate(_) | Event::AlertsSilence(_) => {
                return None;
            }
        })
    }
}

/// Whether two updates of a limit look the same: share to a tenth of a percent, or tokens to three digits.
fn reads_alike(before: &QuotaUpdate, now: &QuotaUpdate) -> bool {
    share(before.percent, before.used) == share(now.percent, now.used)
        && (before.status, before.blocked) == (now.status, now.blocked)
}

fn share(percent: Option<f64>, used: Tokens) -> String {
    percent.map_or_else(|| format!("{} tokens", format::tokens(used)), format::percent_1)
}

/// `62.8 → 63.0 %`.
fn change(before: Option<f64>, now: Option<f64>) -> Option<String> {
    now.map(|now| match before {
        Some(before) => format!("{before:.1} → {}", format::percent_1(now)),
        None => format::percent_1(now),
    })
}

impl LogLine {
    /// The event's type, e.g. `session:tokens`.
    pub fn kind(&self) -> &'static str {
        match &self.entry {
            LogEntry::Started { .. } => "session:start",
            LogEntry::Phase { .. } => "session:update",
            LogEntry::Tokens { .. } => "session:tokens",
            LogEntry::Error { .. } => "session:error",
            LogEntry::Ended { .. } => "session:complete",
            LogEntry::Withdrawn { .. } => "session:remove",
            LogEntry::Unknown { .. } => "unknown",
            LogEntry::Limit { .. } => "quota:update",
            LogEntry::Warning { alert } => match alert.condition {
                Condition::LimitNear { .. }
                | Condition::LimitReached { .. }
                | Condition::ResetAhead { .. }
                | Condition::LimitReset { .. } => "quota:warning",
                Condition::ContextFilling { .. } | Condition::LimitAndContext { .. } => "context:warning",
                Condition::Spike { .. } | Condition::BudgetUsed { .. } => "usage:warning",
                Condition::PartFailing { .. } => "health:error",
                Condition::NeedsYou { .. } => "session:update",
            },
            LogEntry::Context { .. } => "context:update",
            LogEntry::Health { .. } => "health:check",
        }
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        match &self.entry {
            LogEntry::Warning { alert } => alert.level,
            LogEntry::Error { .. } => Level::Warning,
            _ => Level::Healthy,
        }
    }

    /// What it is about: a project, a limit, a part.
    pub fn subject(&self) -> String {
        match &self.entry {
            LogEntry::Started { project }
            | LogEntry::Phase { project, .. }
            | LogEntry::Tokens { project, .. }
            | LogEntry::Error { project, .. }
            | LogEntry::Ended { project, .. }
            | LogEntry::Withdrawn { project }
            | LogEntry::Context { project, .. } => project.clone(),
            LogEntry::Unknown { kind } => kind.clone(),
            LogEntry::Limit { limit, .. } => format::limit(limit),
            LogEntry::Warning { alert } => match &alert.condition {
                Condition::LimitNear { limit, .. }
                | Condition::LimitReached { limit, .. }
                | Condition::ResetAhead { limit, .. }
                | Condition::LimitReset { limit, .. } => format::limit(limit),
                Condition::ContextFilling { project, .. }
                | Condition::LimitAndContext { project, .. }
                | Condition::Spike { project, .. }
                | Condition::NeedsYou { project, .. } => project.clone(),
                Condition::BudgetUsed { billing, period, .. } => words::budget(*billing, *period).to_owned(),
                Condition::PartFailing { component } => component.clone(),
            },
            LogEntry::Health { healthy, parts, .. } => format!("{healthy} of {parts} healthy"),
        }
    }

    /// What changed, in a few words.
    pub fn change(&self) -> String {
        match &self.entry {
            LogEntry::Started { .. } => "started".to_owned(),
            LogEntry::Phase { phase, .. } => format::phase(*phase).to_lowercase(),
            LogEntry::Tokens { added, output, .. } => {
                format!("+{} · out {}", format::exact(added.0), format::exact(output.0))
            }
            LogEntry::Error { error, .. } => format::api_error(*error).to_owned(),
            LogEntry::Unknown { .. } => "of a newer server, passed over".to_owned(),
            LogEntry::Withdrawn { .. } => "withdrawn: its file was rewritten".to_owned(),
            LogEntry::Ended { tokens, .. } => format!("ended · {} tokens", format::tokens(*tokens)),
            LogEntry::Limit { before, percent, used, .. } => {
                change(*before, *percent).unwrap_or_else(|| share(None, *used))
            }
            LogEntry::Warning { alert } => {
                let left = alert.condition.time_left_ms(self.at);
                let left = left.map_or_else(String::new, |ms| format!(" · reset in {}", format::span(ms)));
                let what = match alert.condition {
                    Condition::LimitReset { .. } => "reset",
                    Condition::ResetAhead { .. } => "reset ahead",
                    Condition::Spike { .. } => "spike",
                    _ => alert.level.as_str(),
                };
                format!("{what}{left}")
            }
            LogEntry::Context { compacted: true, .. } => "compacted".to_owned(),
            LogEntry::Context { before, percent, .. } => {
                change(*before, *percent).unwrap_or_else(|| format::UNKNOWN.to_owned())
            }
            LogEntry::Health { clients, .. } => format::clients(*clients),
        }
    }
}
