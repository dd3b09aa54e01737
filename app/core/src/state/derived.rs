//! Figures that depend on the present moment, or combine several parts of the state.
//!
//! Each is computed here, once; no view computes a number.

use serde::{Deserialize, Serialize};

use super::{ContextWindow, DAYS_SHOWN, DashboardState, QuotaWindow, Session};
use crate::event::{DayUsage, MinuteTokens, SessionPhase};
use crate::format;
use crate::ids::SessionId;
use crate::level::Level;
use crate::record::LimitWindow;
use crate::time::{HOUR_MS, MINUTE_MS, Minute, Timestamp, month_start};
use crate::units::{Cost, TokenUsage, Tokens};

/// A rate is the mean over this many minutes.
pub const RATE_MINUTES: i64 = 10;
/// A subagent counts as running for this long after its last line.
pub const AGENT_ACTIVE_MS: i64 = 2 * MINUTE_MS;
/// An official figure older than this is marked as old.
pub const OFFICIAL_FRESH_MS: i64 = 5 * MINUTE_MS;

/// Mean tokens per minute over the [`RATE_MINUTES`] minutes that end with `last`.
pub fn rate_per_min(minutes: &[MinuteTokens], last: Minute) -> Tokens {
    let first = Minute(last.0 - RATE_MINUTES + 1);
    let sum: Tokens = minutes.iter().filter(|m| first <= m.minute && m.minute <= last).map(MinuteTokens::total).sum();
    Tokens(sum.0 / RATE_MINUTES.unsigned_abs())
}

/// How well the cache works, as a school grade by hit rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheGrade {
    /// 90 % or more.
    A,
    /// 80 % or more.
    B,
    /// 70 % or more.
    C,
    /// 60 % or more.
    D,
    /// Less.
    F,
}

impl CacheGrade {
    /// The grade of a hit rate in percent.
    pub fn of(hit_percent: f64) -> Self {
        match hit_percent {
            p if p >= 90.0 => Self::A,
            p if p >= 80.0 => Self::B,
            p if p >= 70.0 => Self::C,
            p if p >= 60.0 => Self::D,
            _ => Self::F,
        }
    }

    /// The letter and what it means.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::A => ("A", "A is 90 % or more"),
            Self::B => ("B", "B is 80 to 90 %"),
            Self::C => ("C", "C is 70 to 80 %"),
            Self::D => ("D", "D is 60 to 70 %"),
            Self::F => ("F", "F is under 60 %"),
        }
    }
}

impl Session {
    /// Whether it is not over.
    pub fn is_active(&self) -> bool {
        self.phase != SessionPhase::Ended
    }

    /// Tokens per minute over the last ten minutes.
    pub fn rate_per_min(&self, now: Timestamp) -> Tokens {
        rate_per_min(&self.minutes, now.minute())
    }

    /// How the rate differs from the one ten minutes ago, in percent; `None` if that was zero.
    pub fn rate_trend_percent(&self, now: Timestamp) -> Option<f64> {
        let before = rate_per_min(&self.minutes, Minute(now.minute().0 - RATE_MINUTES));
        let change = self.rate_per_min(now).percent_of(before)? - 100.0;
        Some(change)
    }

    /// Subagents running, and all subagents.
    pub fn agents_running(&self, now: Timestamp) -> (usize, usize) {
        let running = self.agents.values().filter(|a| now.ms_since(a.last_activity) < AGENT_ACTIVE_MS).count();
        (if self.is_active() { running } else { 0 }, self.agents.len())
    }

    /// The level of its context window; healthy where unknown.
    pub fn context_level(&self) -> Level {
        self.context.as_ref().map_or(Level::Healthy, |context| context.now.status)
    }

    /// Grade and hit rate of its cache use; `None` before any input.
    pub fn cache_grade(&self) -> Option<(CacheGrade, f64)> {
        self.usage.cache_hit_percent().map(|percent| (CacheGrade::of(percent), percent))
    }
}

impl ContextWindow {
    /// Tokens left up to auto-compaction, and the buffer behind it.
    pub fn free_and_buffer(&self) -> (Option<Tokens>, Tokens) {
        let free = self.now.used.map(|used| self.now.compact_at - used);
        let used_beyond = self.now.used.unwrap_or_default() - self.now.compact_at;
        (free, self.now.limit - self.now.compact_at - used_beyond)
    }

    /// Where auto-compaction begins, in percent of the window.
    pub fn compact_at_percent(&self) -> f64 {
        self.now.compact_at.percent_of(self.now.limit).unwrap_or(100.0)
    }
}

impl QuotaWindow {
    /// The share of the window's time that has passed, in percent: where an even pace would be.
    pub fn even_pace_percent(&self, now: Timestamp) -> Option<f64> {
        let (start, end) = (self.now.starts_at?, self.now.reset_time?);
        let length = end.ms_since(start);
        (length > 0).then(|| (now.ms_since(start) as f64 * 100.0 / length as f64).clamp(0.0, 100.0))
    }

    /// Milliseconds until the reset; `None` if unknown or past.
    pub fn ms_to_reset(&self, now: Timestamp) -> Option<i64> {
        self.now.reset_time.map(|reset| reset.ms_since(now)).filter(|&ms| ms > 0)
    }

    /// Mean use since the window began, in percent of the limit per hour, and as a multiple of the
    /// pace that would last exactly to the reset.
    pub fn pace(&self, now: Timestamp) -> Option<(f64, f64)> {
        let (start, percent, even) = (self.now.starts_at?, self.now.percent?, self.even_pace_percent(now)?);
        let hours = now.ms_since(start) as f64 / HOUR_MS as f64;
        (hours > 0.0 && even > 0.0).then(|| (percent / hours, percent / even))
    }
}

/// Sums over the active sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SessionTotals {
    /// Active sessions.
    pub active: usize,
    /// Of these, working.
    pub working: usize,
    /// Their tokens.
    pub tokens: Tokens,
    /// Their cost.
    pub cost: Cost,
    /// Their tokens per minute.
    pub rate: Tokens,
    /// Subagents running, and all subagents.
    pub agents: (usize, usize),
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertSubject {
    /// A quota window.
    Quota(LimitWindow),
    /// A session's context.
    Context(SessionId),
    /// A session that waits for the user.
    NeedsYou(SessionId),
    /// A part of the dashboard.
    Health(String),
}

/// A condition the user can act on. Alerts are derived, so one is gone when its cause is.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is about; with `level`, what a dismissal remembers.
    pub subject: AlertSubject,
    /// How bad.
    pub level: Level,
    /// What happened.
    pub title: String,
    /// Where, and what to do.
    pub message: String,
    /// Milliseconds left to act, where known.
    pub time_left_ms: Option<i64>,
}

impl DashboardState {
    /// The session to show: the picked one while it is known, else the one with the newest line.
    pub fn focus(&self, picked: Option<&SessionId>) -> Option<&Session> {
        picked
            .and_then(|id| self.sessions.get(id))
            .or_else(|| self.sessions.values().max_by_key(|s| (s.is_active(), s.last_activity, &s.id)))
    }

    /// Active sessions (or today's ended ones), most tokens first.
    pub fn sessions_by_tokens(&self, active: bool) -> Vec<&Session> {
        let mut sessions: Vec<_> = self.sessions.values().filter(|s| s.is_active() == active).collect();
        sessions.sort_by(|a, b| b.usage.total().cmp(&a.usage.total()).then_with(|| a.id.cmp(&b.id)));
        sessions
    }

    /// Sums over the active sessions.
    pub fn session_totals(&self, now: Timestamp) -> SessionTotals {
        let mut totals = SessionTotals::default();
        for session in self.sessions.values().filter(|session| session.is_active()) {
            totals.active += 1;
            totals.working += usize::from(session.phase == SessionPhase::Working);
            totals.tokens += session.usage.total();
            totals.cost += session.cost;
            totals.rate += session.rate_per_min(now);
            let (running, all) = session.agents_running(now);
            totals.agents = (totals.agents.0 + running, totals.agents.1 + all);
        }
        totals
    }

    /// Usage of today so far; all zero when nothing was used.
    pub fn today_usage(&self) -> Option<DayUsage> {
        let today = self.today?;
        let empty = DayUsage { day: today, usage: TokenUsage::default(), cost: Cost::default(), responses: 0 };
        Some(self.days.iter().find(|day| day.day == today).cloned().unwrap_or(empty))
    }

    /// Usage of the month so far.
    pub fn month_usage(&self) -> Option<DayUsage> {
        let start = month_start(self.today?);
        let mut sum = DayUsage { day: start, usage: TokenUsage::default(), cost: Cost::default(), responses: 0 };
        for day in self.days.iter().filter(|day| day.day >= start) {
            sum.usage += day.usage;
            sum.cost += day.cost;
            sum.responses += day.responses;
        }
        Some(sum)
    }

    /// The last [`DAYS_SHOWN`] days, oldest first, days without use included.
    pub fn recent_days(&self) -> Vec<DayUsage> {
        let Some(today) = self.today else { return Vec::new() };
        (0..DAYS_SHOWN as u64)
            .rev()
            .map(|ago| {
                let day = today - chrono::Days::new(ago);
                let empty = DayUsage { day, usage: TokenUsage::default(), cost: Cost::default(), responses: 0 };
                self.days.iter().find(|known| known.day == day).cloned().unwrap_or(empty)
            })
            .collect()
    }

    /// What the user can act on, worst first, then least time left.
    pub fn alerts(&self, now: Timestamp) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for window in [LimitWindow::FiveHour, LimitWindow::SevenDay, LimitWindow::SevenDayOpus] {
            let Some(quota) = self.window(window).filter(|quota| quota.now.status > Level::Healthy) else { continue };
            let left = quota.ms_to_reset(now);
            let reset = left.map_or_else(String::new, |ms| format!(", reset in {}", format::span(ms)));
            let name = format::window(window);
            let (title, message) = match quota.now.percent {
                _ if quota.now.blocked => (format!("{name} limit reached"), format!("Requests are refused{reset}")),
                Some(percent) => (format!("{name} limit is near"), format!("{} used{reset}", format::percent(percent))),
                None => (format!("{name} limit is near"), format!("Limit reported as near{reset}")),
            };
            let subject = AlertSubject::Quota(window);
            alerts.push(Alert { subject, level: quota.now.status, title, message, time_left_ms: left });
        }
        for session in self.sessions.values().filter(|session| session.is_active()) {
            if session.phase == SessionPhase::NeedsYou {
                alerts.push(Alert {
                    subject: AlertSubject::NeedsYou(session.id.clone()),
                    level: Level::Warning,
                    title: "A session needs you".to_owned(),
                    message: format!("{} waits for an answer", session.project),
                    time_left_ms: None,
                });
            }
            if let Some(context) = &session.context
                && context.now.status > Level::Healthy
            {
                let title = match context.now.status {
                    Level::Critical => "Context about to compact",
                    Level::Danger => "Context almost full",
                    _ => "Context filling up",
                };
                let fill = context.now.percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent);
                let compact_at = format::percent(context.compact_at_percent());
                alerts.push(Alert {
                    subject: AlertSubject::Context(session.id.clone()),
                    level: context.now.status,
                    title: title.to_owned(),
                    message: format!("{} at {fill}, compacts at {compact_at}", session.project),
                    time_left_ms: None,
                });
            }
        }
        for (name, component) in &self.health.components {
            let level = match component.status {
                crate::event::HealthStatus::Healthy => continue,
                crate::event::HealthStatus::Degraded => Level::Warning,
                crate::event::HealthStatus::Unhealthy => Level::Critical,
            };
            alerts.push(Alert {
                subject: AlertSubject::Health(name.clone()),
                level,
                title: format!("{name} is {}", component.status.as_str()),
                message: component.message.clone(),
                time_left_ms: None,
            });
        }
        alerts.sort_by(|a, b| {
            let left = |alert: &Alert| alert.time_left_ms.unwrap_or(i64::MAX);
            b.level.cmp(&a.level).then(left(a).cmp(&left(b))).then_with(|| a.subject.cmp(&b.subject))
        });
        alerts
    }
}
