//! Figures that depend on the present moment, or combine several parts of the state.
//!
//! Each is computed here, once; no view computes a number.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ContextWindow, DAYS_SHOWN, DashboardState, LimitState, MAX_LOG, Session};
use crate::event::{
    AgentTokens, DayUsage, HealthCheck, HealthStatus, MinuteTokens, Provenance, QuotaShare, SessionPhase,
};
use crate::format;
use crate::ids::{AccountId, SessionId};
use crate::level::Level;
use crate::order;
use crate::record::{LimitKey, Tool};
use crate::settings::SpikeSettings;
use crate::time::{Day, HOUR_MS, MINUTE_MS, Minute, Timestamp, month_start};
use crate::units::{Cost, Money, Tokens};

/// A rate is the mean over this many minutes.
pub const RATE_MINUTES: i64 = 10;
/// A subagent counts as running for this long after its last line.
pub const AGENT_ACTIVE_MS: i64 = 2 * MINUTE_MS;
/// An official figure older than this is marked as old.
pub const OFFICIAL_FRESH_MS: i64 = 5 * MINUTE_MS;
/// A spike is looked for in the mean over this many whole minutes.
pub const SPIKE_MINUTES: i64 = 5;
/// What is usual for a session is known from this many active minutes on.
const USUAL_MINUTES: usize = 15;
/// The growth of a context is the mean over at most this many points.
const GROWTH_POINTS: usize = 20;

/// Mean tokens per minute over the [`RATE_MINUTES`] minutes that end with `last`.
pub fn rate_per_min(minutes: &[MinuteTokens], last: Minute) -> Tokens {
    let first = Minute(last.0 - RATE_MINUTES + 1);
    let sum: Tokens = minutes.iter().filter(|m| first <= m.minute && m.minute <= last).map(MinuteTokens::total).sum();
    Tokens(sum.0 / RATE_MINUTES.unsigned_abs())
}

/// The use of a session that is far from usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spike {
    /// Mean tokens per minute, all kinds, of the last [`SPIKE_MINUTES`] whole minutes.
    pub tokens_per_min: Tokens,
    /// Mean of its active minutes before; `None` if there are too few.
    pub usual_per_min: Option<Tokens>,
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

    /// The level a view shows it at.
    pub fn level(self) -> Level {
        match self {
            Self::A | Self::B => Level::Healthy,
            Self::C | Self::D => Level::Warning,
            Self::F => Level::Danger,
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
    /// Whether its last five whole minutes are a spike: more than `factor` times the usual, or more than so many tokens
    /// per minute. Idle minutes count in the five, and not in what is usual.
    pub fn spike(&self, settings: &SpikeSettings, now: Timestamp) -> Option<Spike> {
        let current = now.minute().0;
        let recent = current - SPIKE_MINUTES..current;
        let sum: Tokens = self.minutes.iter().filter(|m| recent.contains(&m.minute.0)).map(MinuteTokens::total).sum();
        let tokens_per_min = Tokens(sum.0 / SPIKE_MINUTES.unsigned_abs());
        let before = || self.minutes.iter().filter(|m| m.minute.0 < recent.start);
        let count = before().count();
        let usual: Tokens = before().map(MinuteTokens::total).sum();
        let usual_per_min = (count >= USUAL_MINUTES).then(|| Tokens(usual.0 / count as u64));
        let is_unusual = settings.factor.zip(usual_per_min);
        let is_unusual = is_unusual.is_some_and(|(factor, usual)| tokens_per_min.0 as f64 > usual.0 as f64 * factor);
        let is_high = settings.tokens_per_min.is_some_and(|limit| tokens_per_min > limit);
        (is_unusual || is_high).then_some(Spike { tokens_per_min, usual_per_min })
    }

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
        let rest = self.agents_rest;
        let running = if self.is_active() { rest.running as usize } else { 0 };
        (self.running_agents(now).len() + running, self.agents.len() + rest.count as usize)
    }

    /// Tokens of every minute from `first` to `last`, oldest first. A minute before the session
    /// began is left out; a later one without tokens is zero.
    pub fn minute_series(&self, first: Minute, last: Minute) -> Vec<MinuteTokens> {
        let first = first.max(self.started_at.minute());
        let mut known = self.minutes.iter().skip_while(|m| m.minute < first).peekable();
        (first.0..=last.0)
            .map(|minute| {
                known.next_if(|m| m.minute.0 == minute).copied().unwrap_or(MinuteTokens::none(Minute(minute)))
            })
            .collect()
    }

    /// Milliseconds from its start to now, or to its last line once it is over.
    pub fn duration_ms(&self, now: Timestamp) -> i64 {
        let end = if self.is_active() { now.max(self.last_activity) } else { self.last_activity };
        end.ms_since(self.started_at).max(0)
    }

    /// The subagents at work, most tokens first.
    pub fn running_agents(&self, now: Timestamp) -> Vec<&AgentTokens> {
        let running = |agent: &&AgentTokens| self.is_active() && now.ms_since(agent.last_activity) < AGENT_ACTIVE_MS;
        let mut agents: Vec<_> = self.agents.values().filter(running).collect();
        order::sort(&mut agents, &|a, b| b.total.cmp(&a.total).then_with(|| a.id.cmp(&b.id)));
        agents
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

    /// When it was compacted last, if it was.
    pub fn compacted_at(&self) -> Option<Timestamp> {
        self.points.iter().rev().find(|point| point.compaction).map(|point| point.at)
    }

    /// Where auto-compaction begins, in percent of the window.
    pub fn compact_at_percent(&self) -> f64 {
        self.now.compact_at.percent_of(self.now.limit).unwrap_or(100.0)
    }

    /// Responses until auto-compaction at the mean growth of the last ones since the last
    /// compaction; `None` while there are too few to tell, or the fill does not grow.
    pub fn responses_to_compact(&self) -> Option<u64> {
        let since = self.points.iter().rposition(|point| point.compaction).map_or(0, |at| at + 1);
        let recent = &self.points[since.max(self.points.len().saturating_sub(GROWTH_POINTS))..];
        let fills: Vec<Tokens> = recent.iter().filter_map(|point| point.used).collect();
        let (first, last) = (fills.first()?, fills.last()?);
        let growth = (fills.len() >= 4).then(|| (*last - *first).0 / (fills.len() as u64 - 1))?;
        (growth > 0).then(|| (self.now.compact_at - self.now.used?).0.checked_div(growth)).flatten()
    }

    /// One sentence: what comes next, and what to type.
    pub fn advice(&self) -> String {
        let left = self.responses_to_compact().map(|n| match n {
            0 | 1 => "the next response".to_owned(),
            n => format!("about {n} responses"),
        });
        match (self.now.status, left) {
            _ if self.now.used.is_none() => "Compacted. The new fill is known with the next response.".to_owned(),
            (Level::Critical, Some(left)) => {
                format!("Compacts within {left}. Run /compact now to choose what is kept.")
            }
            (Level::Critical, None) => "Compacts soon. Run /compact now to choose what is kept.".to_owned(),
            (Level::Warning | Level::Danger, Some(left)) => {
                format!("Compacts after {left} at this pace. Run /compact at the next natural break.")
            }
            (Level::Warning | Level::Danger, None) => "Run /compact at the next natural break.".to_owned(),
            (_, Some(left)) => format!("Room for {left} at this pace."),
            (_, None) => format!("Compacts by itself at {}.", format::percent_1(self.compact_at_percent())),
        }
    }
}

impl LimitState {
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

    /// When it is forecast to be reached, before its reset.
    pub fn limit_at(&self) -> Option<Timestamp> {
        self.now.forecast.limit_at()
    }

    /// When it is reached if work goes on without a longer break; `None` if after the reset.
    pub fn going_on_limit_at(&self) -> Option<Timestamp> {
        self.now.forecast.outlook()?.going_on?.limit?.median
    }

    /// Half the span within which eight of ten futures reach it; what comes after the reset counts as the reset.
    pub fn limit_within_ms(&self) -> Option<i64> {
        let limit = self.now.forecast.outlook()?.expected.limit?;
        let (early, late) = (limit.early?, limit.late.or(self.now.reset_time)?);
        Some(late.ms_since(early) / 2)
    }

    /// How long it is forecast to refuse requests: from when it is reached, or from now on, to its reset.
    pub fn blocked_ms(&self) -> Option<i64> {
        self.now.reset_time.map(|reset| reset.ms_since(self.limit_at().unwrap_or(reset))).filter(|&ms| ms > 0)
    }

    /// The input + output tokens, as seen here, that the whole limit stands for: as learned, as the plan says, or as the
    /// share of what is used says, where that is large enough to say anything.
    pub fn capacity(&self) -> Option<Tokens> {
        let learned = self.now.learned.as_ref().map(|learned| learned.tokens.median);
        learned.or(self.now.limit).or_else(|| {
            let percent = self.now.percent.filter(|&percent| percent >= 3.0 && !self.now.used.is_zero())?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            let whole = libm::round(self.now.used.0 as f64 * 100.0 / percent) as u64;
            Some(Tokens(whole))
        })
    }

    /// What is left of it, in the same tokens.
    pub fn tokens_left(&self) -> Option<Tokens> {
        let part = (100.0 - self.now.percent?).clamp(0.0, 100.0) / 100.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not more than the whole")]
        let left = libm::round(self.capacity()?.0 as f64 * part) as u64;
        Some(Tokens(left))
    }

    /// By how much the limit that an estimate is compared with may be off, in percent; `None` if it was not learned.
    pub fn learned_error_percent(&self) -> Option<f64> {
        let learned = self.now.learned.as_ref().filter(|_| self.now.provenance == Provenance::Estimated)?;
        let half = Tokens((learned.tokens.high - learned.tokens.low).0 / 2);
        half.percent_of(learned.tokens.median)
    }

    /// Who used the window, in percent of all its use: projects and their subagents as far as seen here, and elsewhere.
    /// Where it is not known what was used elsewhere, of what was seen here.
    pub fn shares(&self) -> (Vec<QuotaShare>, f64) {
        let elsewhere = self.now.elsewhere_percent.unwrap_or_default().clamp(0.0, 100.0);
        let here = (100.0 - elsewhere) / 100.0;
        let share = |share: &QuotaShare| QuotaShare {
            own_percent: share.own_percent * here,
            agents_percent: share.agents_percent * here,
            ..share.clone()
        };
        (self.now.used_by.iter().map(share).collect(), elsewhere)
    }

    /// Whether an official figure has not been renewed for [`OFFICIAL_FRESH_MS`].
    pub fn is_outdated(&self, now: Timestamp) -> bool {
        self.now.provenance == Provenance::Official && now.ms_since(self.now.as_of) >= OFFICIAL_FRESH_MS
    }

    /// How the use compares, in a few words.
    pub fn verdict(&self, now: Timestamp) -> String {
        match (self.now.percent, self.pace(now)) {
            _ if self.now.blocked => "blocked".to_owned(),
            (None, _) => "limit unknown".to_owned(),
            (Some(_), None) => "no window open".to_owned(),
            (Some(_), Some((_, pace))) if pace < 0.95 => "under pace".to_owned(),
            (Some(_), Some((_, pace))) if pace <= 1.05 => "at even pace".to_owned(),
            (Some(_), Some((_, pace))) => format!("{pace:.1}× even pace"),
        }
    }
}

impl HealthCheck {
    /// Parts that work, and all parts.
    pub fn healthy_count(&self) -> (usize, usize) {
        let healthy = self.components.values().filter(|c| c.status == HealthStatus::Healthy).count();
        (healthy, self.components.len())
    }
}

impl HealthStatus {
    /// The level a view shows it at.
    pub fn level(self) -> Level {
        match self {
            Self::Healthy => Level::Healthy,
            Self::Degraded => Level::Warning,
            Self::Unhealthy => Level::Critical,
        }
    }
}

fn sum_days(day: Day, days: &[DayUsage]) -> DayUsage {
    let mut sum = DayUsage::none(day);
    for day in days {
        sum.usage += day.usage;
        sum.cost += day.cost;
        sum.responses += day.responses;
        day.tools.iter().for_each(|(&tool, &cost)| *sum.tools.entry(tool).or_default() += cost);
    }
    sum
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

impl DashboardState {
    /// The session to show: the picked one while it is known, else the one with the newest line.
    pub fn focus(&self, picked: Option<&SessionId>) -> Option<&Session> {
        picked
            .and_then(|id| self.sessions.get(id))
            .or_else(|| self.sessions.values().max_by_key(|s| (s.is_active(), s.last_activity, &s.id)))
    }

    /// The limit that leads: one that refuses requests, else the one that is forecast to be reached first; where no
    /// forecast says so, the one with the highest level, then the highest share. With nothing to tell them apart, the
    /// first by name. `None` while no limit is known.
    pub fn binding_limit(&self) -> Option<&LimitKey> {
        let rank =
            |limit: &LimitState| (limit.now.blocked, limit.now.forecast.limit_at().map(Reverse), limit.now.status);
        let percent = |limit: &LimitState| limit.now.percent.unwrap_or(-1.0);
        let worse = |a: &LimitState, b: &LimitState| rank(a).cmp(&rank(b)).then(percent(a).total_cmp(&percent(b)));
        // Of equals, the first.
        let worst = self.limits.iter().rev().max_by(|a, b| worse(a.1, b.1));
        worst.map(|(key, _)| key)
    }

    /// All limits to show, the leading one first; Claude's five-hour and weekly ones are among them even while nothing
    /// is known of them.
    pub fn limits_shown(&self) -> Vec<LimitKey> {
        let mut keys: Vec<LimitKey> = self.limits.keys().cloned().collect();
        let claude = Tool::DEFAULT;
        for (key, known) in [
            (LimitKey::five_hour(claude), self.five_hour().is_some()),
            (LimitKey::weekly(claude), self.seven_day().is_some()),
        ] {
            if !known {
                keys.push(key);
            }
        }
        let binding = self.binding_limit();
        order::sort(&mut keys, &|a, b| (Some(b) == binding).cmp(&(Some(a) == binding)).then_with(|| a.cmp(b)));
        keys
    }

    /// A limit's name where several stand beside each other; accounts are numbered where a tool has several.
    pub fn limit_title(&self, key: &LimitKey) -> String {
        let of_tool = self.limits.keys().filter(|other| other.tool == key.tool).filter_map(|other| other.account);
        let accounts: BTreeSet<AccountId> = of_tool.collect();
        let number = key.account.and_then(|account| accounts.iter().position(|&other| other == account));
        format::limit_title(key, number.filter(|_| accounts.len() > 1).map(|at| at + 1))
    }

    /// The name of a session's project: the last part of its directory, or as much of it as tells it from the projects
    /// of the other sessions.
    pub fn project_label(&self, session: &Session) -> String {
        let same_name = |other: &&Session| other.project == session.project && other.cwd != session.cwd;
        let Some(cwd) = session.cwd.as_deref().filter(|_| self.sessions.values().any(|other| same_name(&other))) else {
            return session.project.clone();
        };
        let alike = self.sessions.values().filter(|other| other.project == session.project);
        let labels = format::project_labels(alike.filter_map(|other| other.cwd.as_deref()));
        labels.get(cwd).cloned().unwrap_or_else(|| session.project.clone())
    }

    /// Active sessions (or today's ended ones), most tokens first.
    pub fn sessions_by_tokens(&self, active: bool) -> Vec<&Session> {
        let mut sessions: Vec<_> = self.sessions.values().filter(|s| s.is_active() == active).collect();
        order::sort(&mut sessions, &|a, b| b.usage.total().cmp(&a.usage.total()).then_with(|| a.id.cmp(&b.id)));
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
        Some(self.days.iter().find(|day| day.day == today).cloned().unwrap_or_else(|| DayUsage::none(today)))
    }

    /// Usage of the month so far.
    pub fn month_usage(&self) -> Option<DayUsage> {
        let start = month_start(self.today?);
        let first = self.days.partition_point(|day| day.day < start);
        Some(sum_days(start, &self.days[first..]))
    }

    /// The last [`DAYS_SHOWN`] days, oldest first, days without use included.
    pub fn recent_days(&self) -> Vec<DayUsage> {
        let Some(today) = self.today else { return Vec::new() };
        (0..DAYS_SHOWN as u64)
            .rev()
            .map(|ago| {
                let day = today - chrono::Days::new(ago);
                self.days.iter().find(|known| known.day == day).cloned().unwrap_or_else(|| DayUsage::none(day))
            })
            .collect()
    }

    /// The highest cost of the last [`DAYS_SHOWN`] days.
    pub fn peak_day(&self) -> Money {
        self.recent_days().iter().filter_map(|day| day.cost.known()).max().unwrap_or_default()
    }

    /// Usage of all days known, together; its day is the first one.
    pub fn days_total(&self) -> DayUsage {
        sum_days(self.days.first().map(|day| day.day).unwrap_or_default(), &self.days)
    }

    /// Logged events per minute, over the last minute; over the log's reach where that is less.
    pub fn events_per_min(&self, now: Timestamp) -> usize {
        let recent = self.log.iter().rev().take_while(|line| now.ms_since(line.at) < MINUTE_MS).count();
        let reach_ms = self.log.front().map_or(0, |oldest| now.ms_since(oldest.at));
        if recent < MAX_LOG { recent } else { recent * 60_000 / usize::try_from(reach_ms).unwrap_or(0).max(1_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContextPoint, ContextUpdate, QuotaUpdate};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(minute: i64) -> Timestamp {
        Minute(minute).start()
    }

    fn context(status: Level, fills: &[(u64, bool)]) -> ContextWindow {
        let points: Vec<_> = fills
            .iter()
            .zip(0..)
            .map(|(&(used, compaction), minute)| ContextPoint { at: at(minute), used: Some(Tokens(used)), compaction })
            .collect();
        let used = points.last().and_then(|point| point.used);
        let limit = Tokens(200_000);
        let now = ContextUpdate {
            id: SessionId::from("s"),
            used,
            limit,
            compact_at: Tokens(167_000),
            percent: None,
            usable_percent: None,
            to_compact_percent: None,
            status,
            model: None,
            as_of: at(0),
            compaction: None,
            history: None,
        };
        ContextWindow { now, points }
    }

    #[test]
    fn responses_left_follow_the_growth_since_the_last_compaction() {
        let steady =
            [(160_000, false), (20_000, true), (30_000, false), (40_000, false), (50_000, false), (60_000, false)];
        assert_eq!(context(Level::Healthy, &steady).responses_to_compact(), Some(10));
        assert_eq!(context(Level::Healthy, &steady).advice(), "Room for about 10 responses at this pace.");
        assert_eq!(context(Level::Healthy, &steady[..4]).responses_to_compact(), None, "too few to tell");
        let quiet = [(50_000, false); 6];
        assert_eq!(context(Level::Warning, &quiet).responses_to_compact(), None, "no growth");
        assert_eq!(context(Level::Warning, &quiet).advice(), "Run /compact at the next natural break.");
    }

    fn quota(key: &str, percent: Option<f64>, status: Level) -> LimitState {
        let now = QuotaUpdate {
            percent,
            starts_at: Some(at(0)),
            reset_time: Some(at(300)),
            provenance: Provenance::Official,
            status,
            ..QuotaUpdate::unknown(key.parse().unwrap(), at(100))
        };
        LimitState { now, points: Vec::new(), reopened_at: None }
    }

    #[test]
    fn the_worst_limit_leads_and_the_usual_ones_are_always_shown() {
        let mut state = DashboardState::default();
        let shown =
            |state: &DashboardState| -> Vec<String> { state.limits_shown().iter().map(ToString::to_string).collect() };
        assert_eq!(
            (state.binding_limit(), shown(&state)),
            (None, vec!["claude-code/300".into(), "claude-code/10080".into()])
        );
        for (key, percent, status) in [
            ("claude-code/300", None, Level::Healthy),
            ("claude-code/10080/opus", Some(81.0), Level::Warning),
            ("codex/300", Some(12.0), Level::Healthy),
            ("codex/10080", Some(85.0), Level::Warning),
        ] {
            state.limits.insert(key.parse().unwrap(), quota(key, percent, status));
        }
        let expected = ["codex/10080", "claude-code/300", "claude-code/10080", "claude-code/10080/opus", "codex/300"];
        assert_eq!(shown(&state), expected);
        let opus = state.limits.get_mut(&"claude-code/10080/opus".parse().unwrap()).unwrap();
        opus.now.blocked = true;
        assert_eq!(state.binding_limit().unwrap().to_string(), "claude-code/10080/opus");
        state.limits.clear();
        for key in ["claude-code/300", "claude-code/10080"] {
            state.limits.insert(key.parse().unwrap(), quota(key, None, Level::Healthy));
        }
        assert_eq!(state.binding_limit().unwrap().to_string(), "claude-code/300", "of equals, the first");
    }

    #[test]
    fn a_verdict_names_the_pace_or_says_why_there_is_none() {
        let mut quota = quota("claude-code/300", Some(60.0), Level::Healthy);
        assert_eq!(quota.verdict(at(150)), "1.2× even pace");
        assert_eq!(quota.verdict(at(180)), "at even pace");
        assert!(quota.is_outdated(at(105)) && !quota.is_outdated(at(104)));
        quota.now.percent = None;
        assert_eq!(quota.verdict(at(150)), "limit unknown");
        quota.now.blocked = true;
        assert_eq!(quota.verdict(at(150)), "blocked");
    }
}
