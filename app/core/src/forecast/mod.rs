//! Where the use of a limit is heading: use at its reset, and the time at which it is reached.
//!
//! [`forecast`] is a pure function of the user's [`Habits`] (what was used in each quarter hour of the last weeks), of
//! the [`Situation`] (what is used now, and how fast), and of constants ([`Parameters`]). It looks for moments of the
//! past like this one – same time of day, same kind of day, a similar rate – and asks what followed each of them. Where
//! there are few, a plain model of somebody who goes on for a while stands in. What followed is an [ensemble](ensemble)
//! of weighted courses; every figure is a quantile of it. `docs/FORECAST.md` describes and measures it.
//!
//! Deterministic: no clock, no randomness, maths by `libm`, the same natively and in WASM.

pub mod backtest;
mod ensemble;
mod habits;
pub mod words;

use serde::{Deserialize, Serialize};

use crate::time::{DAY_MS, MINUTE_MS, Timestamp};
use crate::units::Tokens;

use ensemble::Ensemble;
pub use habits::{HABIT_DAYS, Habits, PastUse};

/// Nothing is forecast of a window that has been in use for less than this.
pub const LEAST_USE_MS: i64 = 10 * MINUTE_MS;
/// Work goes on if there was use within this time.
pub const WORKING_MS: i64 = 30 * MINUTE_MS;
/// Points of the cone, the first at the forecast's time, the last at the reset.
pub const CONE_POINTS: usize = 9;
/// Whole days of history without which a window that reaches into the next day is not forecast.
const LEAST_DAYS: usize = 2;

/// What is so at the time of the forecast. Amounts are in one unit of use, e.g. input + output tokens seen here; where
/// the vendor states a share, it is converted to that unit by `capacity`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// The present.
    pub now: Timestamp,
    /// When the window began.
    pub starts_at: Timestamp,
    /// When the window is reset.
    pub resets_at: Timestamp,
    /// Used in the window so far.
    pub used: f64,
    /// What the limit allows; `None` if it is not known.
    pub capacity: Option<f64>,
    /// Used in the last 30 minutes, whichever window it was in.
    pub last_30_min: f64,
    /// Used in the last two hours, whichever window it was in.
    pub last_2_h: f64,
    /// The window's first use seen here.
    pub first_use: Option<Timestamp>,
}

/// What is forecast of a limit, or why nothing is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forecast {
    /// There is not enough to go by.
    NotEnough(Lack),
    /// Where it is heading.
    Known(Box<Outlook>),
}

/// What a forecast lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// No window is open, or its reset is not known.
    #[default]
    Window,
    /// The window has been in use for less than ten minutes.
    Use,
    /// Fewer than two whole days of history, for a window that goes on after today.
    Days,
    /// Older files are still being read.
    History,
    /// The vendor states use of which nothing was seen here.
    UseHere,
}

/// Three quantiles: of ten futures, one lies below `low` and one above `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval<T> {
    /// The 10th percentile.
    pub low: T,
    /// The 50th.
    pub median: T,
    /// The 90th.
    pub high: T,
}

/// Where a limit's use is heading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// When this was forecast.
    pub as_of: Timestamp,
    /// As this user's days go: breaks, evenings and weekends included.
    pub expected: Case,
    /// If work goes on without a longer break, for five hours at most; null if nothing was used in the last 30 minutes.
    pub going_on: Option<Case>,
    /// The expected share over time, from now to the reset; empty where the limit is not known.
    pub cone: Vec<ConePoint>,
    /// Similar moments of the past that it is made of, by weight; 0 if it is the plain model's alone.
    pub similar_moments: u64,
}

/// One way in which it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Input + output tokens in the window at its reset.
    pub tokens: Interval<Tokens>,
    /// Used share at the reset, 0 to 100 and more: what would be used if nothing were refused. Null if the limit is not
    /// known.
    pub percent: Option<Interval<f64>>,
    /// When the limit is reached; null if the limit is not known.
    pub limit: Option<LimitTime>,
}

/// When a limit is reached, if it is before the reset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitTime {
    /// Chance that it is reached before the reset, in percent.
    pub chance_percent: f64,
    /// The time that one of ten futures comes before; null if it is after the reset.
    pub early: Option<Timestamp>,
    /// The time that every second one comes before; null if it is after the reset.
    pub median: Option<Timestamp>,
    /// The time that nine of ten come before; null if it is after the reset.
    pub late: Option<Timestamp>,
}

/// One point of the cone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConePoint {
    /// When.
    pub at: Timestamp,
    /// Used share then, in percent.
    pub percent: Interval<f64>,
}

/// The constants of the model. Chosen on one half of the generator's users and measured on the other, see
/// `docs/FORECAST.md`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// How far apart two times of day may be and still count as similar, in hours (one standard deviation).
    pub hours_apart: f64,
    /// How far apart two rates may be and still count as similar, as a natural logarithm (one standard deviation).
    pub rates_apart: f64,
    /// Weight of a moment on another kind of day: a weekend's for a workday, and the other way round.
    pub other_kind_of_day: f64,
    /// The weight of the past halves in this many days.
    pub half_life_days: f64,
    /// How much of the difference between two rates carries over to what follows: 0 nothing, 1 all of it.
    pub rate_exponent: f64,
    /// Part of the rate that the last 30 minutes decide; the last two hours decide the rest.
    pub recent_part: f64,
    /// The plain model's weight, in moments of the past.
    pub plain_weight: f64,
    /// How long the plain model goes on, in hours: a Weibull distribution's scale.
    pub plain_hours: f64,
    /// One over that distribution's shape: at 1 an exponential one, above it more very short and very long stretches.
    pub plain_shape: f64,
    /// How the plain model's rate varies, as a natural logarithm (one standard deviation).
    pub plain_spread: f64,
    /// How the use of days to come varies from that of days past, as a natural logarithm (one standard deviation).
    pub weeks_spread: f64,
}

impl Parameters {
    /// Those in use.
    pub const DEFAULT: Self = Self {
        hours_apart: 0.75,
        rates_apart: 1.5,
        other_kind_of_day: 0.1,
        half_life_days: 40.0,
        rate_exponent: 0.5,
        recent_part: 0.5,
        plain_weight: 3.0,
        plain_hours: 1.5,
        plain_shape: 1.5,
        plain_spread: 0.5,
        weeks_spread: 0.3,
    };
}

impl Default for Parameters {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What will have been used at the reset, and when the limit is reached.
///
/// Costs some 3,400 comparisons with moments of the past and the sorting of 200 courses at 24 times.
pub fn forecast(habits: &Habits, situation: &Situation, parameters: &Parameters) -> Forecast {
    let Situation { now, starts_at, resets_at, .. } = *situation;
    if resets_at <= now || starts_at > now {
        return Forecast::NotEnough(Lack::Window);
    }
    let Some(first_use) = situation.first_use else { return Forecast::NotEnough(Lack::Use) };
    if now.ms_since(first_use) < LEAST_USE_MS {
        return Forecast::NotEnough(Lack::Use);
    }
    if resets_at.ms_since(now) > DAY_MS && habits.whole_days() < LEAST_DAYS {
        return Forecast::NotEnough(Lack::Days);
    }
    let ensemble = Ensemble::new(habits, situation, parameters);
    Forecast::Known(Box::new(ensemble.outlook(situation)))
}

impl Forecast {
    /// The outlook, if there is one.
    pub fn outlook(&self) -> Option<&Outlook> {
        match self {
            Self::Known(outlook) => Some(outlook),
            Self::NotEnough(_) => None,
        }
    }

    /// When the limit is expected to be reached; `None` if after the reset, or not known.
    pub fn limit_at(&self) -> Option<Timestamp> {
        self.outlook()?.expected.limit?.median
    }
}

impl Default for Forecast {
    fn default() -> Self {
        Self::NotEnough(Lack::default())
    }
}

#[cfg(test)]
mod tests;
