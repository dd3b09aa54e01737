//! A forecast in words: for the page, the terminal and alerts alike.

use super::{Forecast, Lack};
use crate::format;
use crate::state::LimitState;
use crate::time::{Timestamp, ZoneOffsets};

/// What is forecast of a limit, as a chart's headline: a time or a share, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// `1 h 06 min`.
    pub head: String,
    /// `to the limit, 1 h 08 min before the reset`.
    pub sub: String,
}

/// The headline; `None` where nothing is forecast of the limit's share.
pub fn headline(limit: &LimitState, zone: &ZoneOffsets, now: Timestamp) -> Option<Headline> {
    let reset = limit.ms_to_reset(now)?;
    if limit.now.blocked {
        return Some(Headline { head: format::span(reset), sub: "blocked until the reset".to_owned() });
    }
    let outlook = limit.now.forecast.outlook()?;
    if let Some(at) = limit.limit_at() {
        let before =
            limit.blocked_ms().map_or_else(String::new, |ms| format!(", {} before the reset", format::span(ms)));
        return Some(Headline { head: format::span(at.ms_since(now)), sub: format!("to the limit{before}") });
    }
    let percent = outlook.expected.percent?;
    let going_on =
        limit.going_on_limit_at().map(|at| format!("; without a break, limit at {}", format::clock_day(zone, at, now)));
    Some(Headline {
        head: format!("≈ {}", format::percent(percent.median.min(100.0))),
        sub: format!("at the reset in {}{}", format::span(reset), going_on.unwrap_or_default()),
    })
}

/// When the limit is expected: `limit at 14:52 (±9 min)`; `None` if not before the reset.
pub fn limit_at(limit: &LimitState, zone: &ZoneOffsets, now: Timestamp) -> Option<String> {
    let at = format::clock_day(zone, limit.limit_at()?, now);
    let within = limit.limit_within_ms().map(|ms| format!(" (±{})", format::span(ms)));
    Some(format!("limit at {at}{}", within.unwrap_or_default()))
}

/// What is forecast, in a few words: `limit at 14:52`, `≈ 68 % at the reset`, or why nothing is.
pub fn brief(limit: &LimitState, zone: &ZoneOffsets, now: Timestamp) -> Option<String> {
    if let Some(at) = limit.limit_at() {
        return Some(format!("limit {}", format::clock_day(zone, at, now)));
    }
    let percent = limit.now.forecast.outlook()?.expected.percent?;
    Some(format!("≈ {} at reset", format::percent(percent.median.min(100.0))))
}

/// Why nothing is forecast; `None` if something is.
pub fn lack(forecast: &Forecast) -> Option<&'static str> {
    let Forecast::NotEnough(lack) = forecast else { return None };
    Some(match lack {
        Lack::Window => "no window open",
        Lack::Use => "not enough data: under 10 min of use",
        Lack::Days => "not enough data: under 2 days of history",
        Lack::History => "older files are still being read",
        Lack::UseHere => "not enough data: used elsewhere only",
    })
}
