//! `SessionMemory`: what sessions of the past cost and lasted, and what that says of the next one.
//!
//! Made from the rows that reports are made of, so that it needs nothing of its own from a store. It holds the newest
//! [`MOST_SESSIONS`] sessions and a week's hours; what it answers is a quantile or a share of these, never a guess: with
//! fewer than [`LEAST_SESSIONS`] sessions it says nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::forecast::Interval;
use crate::ids::SessionId;
use crate::order;
use crate::price::PriceTable;
use crate::record::{LimitKey, Tool};
use crate::report::UsageRow;
use crate::session::Sessions;
use crate::state::LimitState;
use crate::time::{DAY_MS, Timestamp, ZoneOffsets};
use crate::units::{Cost, Money, TokenUsage, Tokens};

/// Most sessions that are held, the newest.
const MOST_SESSIONS: usize = 5_000;
/// Newest sessions that a prediction goes by.
const RECENT: usize = 50;
/// Fewer sessions than these say nothing.
pub const LEAST_SESSIONS: usize = 5;
/// Weeks of the trend.
const WEEKS: i64 = 8;
/// Hours named as peaks.
const PEAKS: usize = 3;
/// From this chance on, in percent, a session is likely to fit.
const LIKELY_PERCENT: f64 = 80.0;
/// From this chance on it is tight; below, it does not fit.
const TIGHT_PERCENT: f64 = 40.0;

/// A session of the past, subagents included.
#[derive(Clone, Debug, PartialEq)]
struct Past {
    tool: Tool,
    /// The directory it began in.
    project: Option<String>,
    first: Timestamp,
    last: Timestamp,
    usage: TokenUsage,
    cost: Cost,
}

/// See the [module's description](self).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionMemory {
    /// Newest first.
    sessions: Vec<Past>,
    /// Input + output tokens by hour of the day, local, over the last weeks.
    hours: [Tokens; 24],
    /// The same by week: the last seven days first.
    weeks: [Tokens; WEEKS as usize],
    /// Where history begins, if there is any.
    begins: Option<Timestamp>,
}

/// What a prediction was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Basis {
    /// Sessions of the project.
    Project,
    /// All sessions of the tool, since the project had too few.
    Tool,
}

/// What the next session will use, as far as past ones tell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Whose sessions it was made from.
    pub basis: Basis,
    /// How many.
    pub sessions: usize,
    /// Input + output tokens.
    pub tokens: Interval<Tokens>,
    /// Cost at list prices, in picodollars; null if a session of the basis has no price.
    pub cost: Option<Interval<Money>>,
    /// From the first response to the last, in milliseconds.
    pub duration_ms: Interval<i64>,
}

/// Whether the next session fits into what is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Fits {
    /// Four of five sessions would have.
    Likely,
    /// Two of five.
    Tight,
    /// Fewer, or the limit refuses requests.
    No,
}

/// An answer to "can I start a session now?", of one limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    /// The limit.
    pub limit: LimitKey,
    /// Whether it fits.
    pub fits: Fits,
    /// The share of past sessions that would have fitted, in percent.
    pub chance_percent: f64,
    /// Input + output tokens left; null if the limit refuses requests.
    pub tokens_left: Option<Tokens>,
    /// When the limit is reset; null if unknown.
    pub resets_at: Option<Timestamp>,
}

/// Whether a session can be started now, and when one can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanStart {
    /// The worst of all limits.
    pub fits: Fits,
    /// Every limit that says something, worst first.
    pub limits: Vec<Room>,
    /// From when on a session is likely to fit into all of them: now, or the last reset of those it does not fit into.
    /// Null if such a reset is not known, or if it would not fit into a whole window either.
    pub next_free: Option<Timestamp>,
}

/// Use in one hour of the day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeakHour {
    /// The hour, local, 0 to 23.
    pub hour: u8,
    /// Its part of all use, in percent.
    pub percent: f64,
}

/// Use by week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeeklyTrend {
    /// Input + output tokens of the last seven days, of the seven before, and so on.
    pub weeks: Vec<Tokens>,
    /// How the last seven days differ from the mean of the others, in percent; null with less than two weeks of history.
    pub change_percent: Option<f64>,
}

impl SessionMemory {
    /// Made from all rows there are. Rows of undated responses are passed over.
    pub fn new<'a>(
        rows: impl Iterator<Item = UsageRow<'a>>,
        known: &Sessions,
        prices: &PriceTable,
        zone: &ZoneOffsets,
        now: Timestamp,
    ) -> Self {
        let mut sessions: BTreeMap<&SessionId, Past> = BTreeMap::new();
        let mut memory = Self::default();
        for row in rows {
            let Some((first, last)) = row.span.filter(|(_, last)| last.known_at(now).is_some()) else { continue };
            let used = row.usage.quota();
            memory.begins = Some(memory.begins.map_or(first, |begins| begins.min(first)));
            if let Some(week) = usize::try_from(now.ms_since(first).max(0) / (7 * DAY_MS)).ok()
                && let Some(sum) = memory.weeks.get_mut(week)
            {
                *sum += used;
                let hour = usize::try_from(zone.clock(first).0).unwrap_or_default();
                memory.hours[hour % 24] += used;
            }
            let past = sessions.entry(row.session).or_insert_with(|| Past {
                tool: row.tool,
                project: known.get(row.session).and_then(|facts| facts.cwd().map(str::to_owned)),
                first,
                last,
                usage: TokenUsage::default(),
                cost: Cost::default(),
            });
            (past.first, past.last) = (past.first.min(first), past.last.max(last));
            past.usage += row.usage;
            past.cost += prices.charge_sum(row.model, row.class, &row.usage, row.with_tokens);
        }
        memory.sessions = sessions.into_values().filter(|past| !past.usage.quota().is_zero()).collect();
        order::sort(&mut memory.sessions, &|a, b| b.last.cmp(&a.last).then(b.first.cmp(&a.first)));
        memory.sessions.truncate(MOST_SESSIONS);
        memory
    }

    /// The newest sessions to go by: the project's (by its directory, or the last part of it), else the tool's.
    fn basis(&self, tool: Tool, project: Option<&str>) -> Option<(Basis, Vec<&Past>)> {
        let named = |past: &&Past| {
            let directory = past.project.as_deref().zip(project);
            directory.is_some_and(|(at, project)| at == project || at.rsplit(['/', '\\']).next() == Some(project))
        };
        let of = |keep: &dyn Fn(&&Past) -> bool| -> Vec<&Past> {
            self.sessions.iter().filter(|past| past.tool == tool).filter(keep).take(RECENT).collect()
        };
        let project = of(&named);
        if project.len() >= LEAST_SESSIONS {
            return Some((Basis::Project, project));
        }
        let all = of(&|_| true);
        (all.len() >= LEAST_SESSIONS).then_some((Basis::Tool, all))
    }

    /// What the next session will use; `None` with too few of them.
    pub fn prediction(&self, tool: Tool, project: Option<&str>) -> Option<Prediction> {
        let (basis, past) = self.basis(tool, project)?;
        let costs: Option<Vec<i64>> = past
            .iter()
            .map(|past| past.cost.known().filter(|_| past.cost.unpriced_responses == 0).map(|m| m.0))
            .collect();
        let amounts = past.iter().map(|past| i64::try_from(past.usage.quota().0).unwrap_or(i64::MAX)).collect();
        let tokens = interval(amounts);
        Some(Prediction {
            basis,
            sessions: past.len(),
            tokens: Interval {
                low: Tokens(tokens.low.unsigned_abs()),
                median: Tokens(tokens.median.unsigned_abs()),
                high: Tokens(tokens.high.unsigned_abs()),
            },
            cost: costs.map(|costs| {
                let Interval { low, median, high } = interval(costs);
                Interval { low: Money(low), median: Money(median), high: Money(high) }
            }),
            duration_ms: interval(past.iter().map(|past| past.last.ms_since(past.first)).collect()),
        })
    }

    /// Whether the next session fits into `left` input + output tokens, and with which chance, in percent.
    pub fn fits(&self, tool: Tool, project: Option<&str>, left: Tokens) -> Option<(Fits, f64)> {
        let (_, past) = self.basis(tool, project)?;
        let fit = past.iter().filter(|past| past.usage.quota() <= left).count();
        // As if there had been one more session, half of which fits: of few, none is certain.
        let percent = (fit as f64 + 0.5) * 100.0 / (past.len() as f64 + 1.0);
        let fits = if percent >= LIKELY_PERCENT {
            Fits::Likely
        } else if percent >= TIGHT_PERCENT {
            Fits::Tight
        } else {
            Fits::No
        };
        Some((fits, percent))
    }

    /// Whether a session can be started now; `None` where nothing is known of the tool's limits, or of past sessions.
    pub fn can_start_session(
        &self,
        tool: Tool,
        project: Option<&str>,
        limits: &BTreeMap<LimitKey, LimitState>,
        now: Timestamp,
    ) -> Option<CanStart> {
        let mut rooms = Vec::new();
        let mut fits_whole = true;
        for (key, limit) in limits.iter().filter(|(key, _)| key.tool == tool) {
            let resets_at = limit.now.reset_time.filter(|&reset| reset > now);
            let room = if limit.now.blocked {
                Room { limit: key.clone(), fits: Fits::No, chance_percent: 0.0, tokens_left: None, resets_at }
            } else {
                let Some(left) = limit.tokens_left() else { continue };
                let Some((fits, chance_percent)) = self.fits(tool, project, left) else { continue };
                Room { limit: key.clone(), fits, chance_percent, tokens_left: Some(left), resets_at }
            };
            if room.fits != Fits::Likely {
                let whole = limit.capacity().and_then(|whole| self.fits(tool, project, whole));
                fits_whole &= whole.is_none_or(|(fits, _)| fits == Fits::Likely);
            }
            rooms.push(room);
        }
        order::sort(&mut rooms, &|a, b| b.fits.cmp(&a.fits).then(a.chance_percent.total_cmp(&b.chance_percent)));
        let fits = rooms.first()?.fits;
        let waits: Option<Vec<Timestamp>> =
            rooms.iter().filter(|room| room.fits != Fits::Likely).map(|room| room.resets_at).collect();
        let next_free = waits.filter(|_| fits_whole).map(|resets| resets.into_iter().fold(now, Timestamp::max));
        Some(CanStart { fits, limits: rooms, next_free })
    }

    /// The hours of the day with the most use over the last weeks, most first.
    pub fn peak_hours(&self) -> Vec<PeakHour> {
        let all: Tokens = self.hours.iter().copied().sum();
        let mut hours: Vec<(u8, Tokens)> = (0..).zip(self.hours).filter(|(_, used)| !used.is_zero()).collect();
        order::sort(&mut hours, &|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let peaks = hours.into_iter().take(PEAKS);
        peaks.map(|(hour, used)| PeakHour { hour, percent: used.percent_of(all).unwrap_or_default() }).collect()
    }

    /// Use by week, as far as history goes.
    pub fn weekly_trend(&self, now: Timestamp) -> WeeklyTrend {
        let days = self.begins.map_or(0, |begins| now.ms_since(begins) / DAY_MS);
        let known = usize::try_from((days + 6) / 7).unwrap_or_default().min(self.weeks.len());
        let weeks: Vec<Tokens> = self.weeks.iter().copied().take(known).collect();
        // Whole weeks only.
        let whole = usize::try_from(days / 7).unwrap_or_default().min(weeks.len());
        let before: Tokens = weeks.iter().take(whole).skip(1).copied().sum();
        let change = (whole >= 2).then(|| {
            let mean = Tokens(before.0 / (whole as u64 - 1));
            weeks.first().and_then(|last| last.percent_of(mean)).map(|percent| percent - 100.0)
        });
        WeeklyTrend { change_percent: change.flatten(), weeks }
    }
}

/// The quantiles of at least one value; between two of them, in proportion.
fn interval(mut values: Vec<i64>) -> Interval<i64> {
    values.sort_unstable();
    let at = |tenths: usize| {
        let place = (values.len().saturating_sub(1)) * tenths;
        let (index, part) = (place / 10, i64::try_from(place % 10).unwrap_or_default());
        let low = values.get(index).copied().unwrap_or_default();
        let high = values.get(index + 1).copied().unwrap_or(low);
        low + (high - low) / 10 * part + (high - low) % 10 * part / 10
    };
    Interval { low: at(1), median: at(5), high: at(9) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::QuotaUpdate;
    use crate::ids::ModelId;
    use crate::price::PromptClass;
    use crate::record::{Record, SessionMeta};
    use crate::state::DashboardState;
    use crate::time::{HOUR_MS, MINUTE_MS};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn now() -> Timestamp {
        Timestamp::parse("2026-09-23T15:00:00Z").unwrap()
    }

    /// One session a day at 10:00 for `count` days, of 1,000, 2,000, … tokens; every second one in `web`.
    fn memory(count: u64) -> SessionMemory {
        let (model, prices) = (ModelId::new("claude-opus-4-5-20251101"), PriceTable::embedded());
        let ids: Vec<SessionId> = (1..=count).map(|n| SessionId::from(format!("s{n}").as_str())).collect();
        let mut known = Sessions::default();
        let mut rows = Vec::new();
        for (n, id) in (1..).zip(&ids) {
            let begin = now().plus_ms(-i64::try_from(n).unwrap() * DAY_MS - 5 * HOUR_MS);
            let cwd = if n % 2 == 0 { "/home/ada/web" } else { "/home/ada/shop" };
            let meta = SessionMeta {
                tool: Tool::ClaudeCode,
                session: id.clone(),
                agent: None,
                cwd: Some(cwd.to_owned()),
                branch: None,
                version: None,
                at: Some(begin),
            };
            known.record(&Record::Session(meta));
            for part in [0, 30] {
                let at = begin.plus_ms(part * MINUTE_MS);
                let usage = TokenUsage { output: Tokens(n * 500), ..TokenUsage::default() };
                rows.push((id, at, usage));
            }
        }
        let rows = rows.iter().map(|(session, at, usage)| UsageRow {
            tool: Tool::ClaudeCode,
            session,
            agent: None,
            model: &model,
            class: PromptClass::default(),
            span: Some((*at, *at)),
            usage: *usage,
            responses: 1,
            with_tokens: 1,
        });
        SessionMemory::new(rows, &known, &prices, &ZoneOffsets::utc(), now())
    }

    #[test]
    fn the_next_session_is_as_the_projects_were_or_as_all_were() {
        let memory = memory(20);
        let web = memory.prediction(Tool::ClaudeCode, Some("web")).unwrap();
        assert_eq!((web.basis, web.sessions), (Basis::Project, 10));
        assert_eq!(
            (web.tokens.low, web.tokens.median, web.tokens.high),
            (Tokens(3_800), Tokens(11_000), Tokens(18_200))
        );
        assert_eq!(web.duration_ms.median, 30 * MINUTE_MS);
        // 25 $ a million output tokens.
        assert_eq!(web.cost.unwrap().median.usd(), 0.275);
        assert_eq!(memory.prediction(Tool::ClaudeCode, Some("/home/ada/web")), Some(web));
        let new = memory.prediction(Tool::ClaudeCode, Some("new")).unwrap();
        assert_eq!((new.basis, new.sessions), (Basis::Tool, 20));
        assert_eq!(memory.prediction(Tool::Codex, None), None, "nothing is known of another tool");
        assert_eq!(self::memory(4).prediction(Tool::ClaudeCode, None), None, "too few");
    }

    #[test]
    fn it_fits_as_often_as_past_sessions_would_have() {
        let memory = memory(20);
        let fits = |left| memory.fits(Tool::ClaudeCode, None, Tokens(left)).unwrap();
        assert_eq!(fits(20_000).0, Fits::Likely);
        assert_eq!(fits(10_000), (Fits::Tight, 50.0));
        assert_eq!(fits(5_000).0, Fits::No);
    }

    #[test]
    fn a_session_can_start_when_it_fits_into_every_limit() {
        let memory = memory(20);
        let mut limits = BTreeMap::new();
        let mut limit = |key: &str, percent: f64, blocked: bool, reset_h: i64| {
            let key: LimitKey = key.parse().unwrap();
            let reset_time = Some(now().plus_ms(reset_h * HOUR_MS));
            let limit = Some(Tokens(40_000));
            let now = QuotaUpdate {
                percent: Some(percent),
                blocked,
                reset_time,
                limit,
                ..QuotaUpdate::unknown(key.clone(), now())
            };
            limits.insert(key, LimitState { now, points: Vec::new(), reopened_at: None });
        };
        limit("claude-code/300", 75.0, false, 2);
        limit("claude-code/10080", 10.0, false, 50);
        let can = memory.can_start_session(Tool::ClaudeCode, None, &limits, now()).unwrap();
        assert_eq!((can.fits, can.limits.len()), (Fits::Tight, 2));
        assert_eq!(can.limits[0].tokens_left, Some(Tokens(10_000)));
        assert_eq!(can.next_free, Some(now().plus_ms(2 * HOUR_MS)), "after the five-hour reset");
        limits.get_mut(&"claude-code/10080".parse().unwrap()).unwrap().now.blocked = true;
        let can = memory.can_start_session(Tool::ClaudeCode, None, &limits, now()).unwrap();
        assert_eq!((can.fits, can.limits[0].limit.to_string()), (Fits::No, "claude-code/10080".to_owned()));
        assert_eq!(can.next_free, Some(now().plus_ms(50 * HOUR_MS)));
        assert_eq!(memory.can_start_session(Tool::Codex, None, &limits, now()), None);
        assert_eq!(memory.can_start_session(Tool::ClaudeCode, None, &DashboardState::default().limits, now()), None);
    }

    #[test]
    fn hours_and_weeks_are_those_of_the_rows() {
        let memory = memory(20);
        assert_eq!(memory.peak_hours(), [PeakHour { hour: 10, percent: 100.0 }]);
        let trend = memory.weekly_trend(now());
        // 20 days and five hours: the last week has the sessions of 1,000 to 6,000, the one before 7,000 to 13,000.
        assert_eq!(trend.weeks, [Tokens(21_000), Tokens(70_000), Tokens(119_000)]);
        assert_eq!(trend.change_percent.map(f64::round), Some(-70.0));
        assert_eq!(self::memory(3).weekly_trend(now()).change_percent, None);
    }

    #[test]
    fn quantiles_lie_between_values() {
        let Interval { low, median, high } = interval((0..=10).map(|i| i * 100).collect());
        assert_eq!((low, median, high), (100, 500, 900));
        let Interval { low, median, high } = interval(vec![7]);
        assert_eq!((low, median, high), (7, 7, 7));
    }
}
