//! How good the forecast is: scored against what happened then, beside three simple ones.
//!
//! At 25, 50 and 75 % of each window with use in the 30 minutes before, only what was known then is given to the
//! forecast. Errors are in percent of the user's median window, so that users of all sizes can be pooled.

use super::{Forecast, Habits, Parameters, PastUse, Situation, forecast};
use crate::ids::ModelId;
use crate::record::LimitScope;
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp, ZoneOffsets};
use crate::tracker::{BLOCK_MS, blocks};
use crate::units::Tokens;

/// Where in a window it is asked, in percent of its time.
pub const POINTS_PERCENT: [i64; 3] = [25, 50, 75];

/// Which windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Five-hour blocks.
    FiveHours,
    /// Weeks, one after the other from the first use on.
    Weeks,
}

/// What was predicted at one point, and what came. In percent of the user's median window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When in the window, in percent of its time.
    pub at_percent: i64,
    /// What had been used at the reset.
    pub actual: f64,
    /// The forecast: 10th, 50th and 90th percentile.
    pub forecast: [f64; 3],
    /// The mean rate since the window's first use, kept up.
    pub linear: f64,
    /// The rate of the last 30 minutes, kept up.
    pub recent: f64,
    /// No further use.
    pub none: f64,
}

/// Points, and how many there were of which the forecast said that there is not enough to go by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// The points.
    pub points: Vec<Point>,
    /// Points without a forecast; they count nowhere.
    pub not_enough: usize,
    /// Windows with use.
    pub windows: usize,
}

impl Points {
    /// Adds those of another user.
    pub fn add(&mut self, other: Self) {
        self.points.extend(other.points);
        self.not_enough += other.not_enough;
        self.windows += other.windows;
    }
}

/// Median absolute errors, in percent of the median window, and the coverage of the interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Points scored.
    pub points: usize,
    /// Of the forecast's median.
    pub forecast: f64,
    /// Of the linear projection.
    pub linear: f64,
    /// Of the last 30 minutes' rate.
    pub recent: f64,
    /// Of no further use.
    pub none: f64,
    /// How often the truth lay within the 80 % interval, in percent.
    pub coverage: f64,
}

impl Score {
    /// Of no points there is none.
    pub fn of(points: &[Point]) -> Option<Self> {
        if points.is_empty() {
            return None;
        }
        let error = |value: &dyn Fn(&Point) -> f64| {
            let mut errors: Vec<f64> = points.iter().map(|point| libm::fabs(value(point) - point.actual)).collect();
            errors.sort_by(f64::total_cmp);
            let middle = errors.len() / 2;
            if errors.len() % 2 == 1 { errors[middle] } else { f64::midpoint(errors[middle - 1], errors[middle]) }
        };
        let within = |point: &&Point| (point.forecast[0]..=point.forecast[2]).contains(&point.actual);
        Some(Self {
            points: points.len(),
            forecast: error(&|point| point.forecast[1]),
            linear: error(&|point| point.linear),
            recent: error(&|point| point.recent),
            none: error(&|point| point.none),
            coverage: points.iter().filter(within).count() as f64 * 100.0 / points.len() as f64,
        })
    }

    /// The smallest error of the simple ones.
    pub fn best_simple(&self) -> f64 {
        self.linear.min(self.recent).min(self.none)
    }

    /// How much smaller the forecast's error is than that of the best simple one, in percent; where that makes none, 0 or
    /// -100.
    pub fn improvement(&self) -> f64 {
        match (self.best_simple(), self.forecast) {
            (best, forecast) if best > 0.0 => (1.0 - forecast / best) * 100.0,
            (_, forecast) if forecast > 0.0 => -100.0,
            _ => 0.0,
        }
    }
}

/// The points of one user, whose responses come oldest first.
pub fn points(
    responses: &[(Timestamp, Tokens)],
    windows: Windows,
    zone: &ZoneOffsets,
    parameters: &Parameters,
) -> Points {
    let model = ModelId::new("any");
    let spans = spans(responses, windows);
    let used = |from: Timestamp, to: Timestamp| -> f64 {
        let from = responses.partition_point(|&(at, _)| at < from);
        let to = responses.partition_point(|&(at, _)| at <= to);
        responses[from..to.max(from)].iter().map(|(_, tokens)| tokens.0 as f64).sum()
    };
    let mut totals: Vec<f64> =
        spans.iter().map(|&(start, end)| used(start, end)).filter(|&total| total > 0.0).collect();
    totals.sort_by(f64::total_cmp);
    let Some(&typical) = totals.get(totals.len() / 2) else { return Points::default() };
    let share = |tokens: f64| tokens * 100.0 / typical;

    let mut found = Points { windows: totals.len(), ..Points::default() };
    let mut past = PastUse::default();
    let mut known = 0;
    for (start, end) in spans {
        for at_percent in POINTS_PERCENT {
            let now = start.plus_ms(end.ms_since(start) * at_percent / 100);
            let last_30_min = used(now.plus_ms(1 - 30 * MINUTE_MS), now);
            let first_use = responses[responses.partition_point(|&(at, _)| at < start)..].first().map(|&(at, _)| at);
            let Some(first_use) = first_use.filter(|&first| last_30_min > 0.0 && first <= now) else { continue };
            while let Some(&(at, tokens)) = responses.get(known).filter(|&&(at, _)| at <= now) {
                past.add(&model, at, tokens);
                known += 1;
            }
            past.prune(now);
            let habits = Habits::new(&past, &LimitScope::AllModels, zone, now);
            let so_far = used(start, now);
            let situation = Situation {
                now,
                starts_at: start,
                resets_at: end,
                used: so_far,
                capacity: None,
                last_30_min,
                last_2_h: used(now.plus_ms(1 - 2 * HOUR_MS), now),
                first_use: Some(first_use),
            };
            let Forecast::Known(outlook) = forecast(&habits, &situation, parameters) else {
                found.not_enough += 1;
                continue;
            };
            let expected = outlook.expected.tokens;
            let left_h = end.ms_since(now) as f64 / HOUR_MS as f64;
            let since_h = now.ms_since(first_use).max(MINUTE_MS) as f64 / HOUR_MS as f64;
            found.points.push(Point {
                at_percent,
                actual: share(used(start, end)),
                forecast: [expected.low, expected.median, expected.high].map(|tokens| share(tokens.0 as f64)),
                linear: share(so_far + so_far / since_h * left_h),
                recent: share(so_far + last_30_min * 2.0 * left_h),
                none: share(so_far),
            });
        }
    }
    found
}

/// The windows that are over.
fn spans(responses: &[(Timestamp, Tokens)], windows: Windows) -> Vec<(Timestamp, Timestamp)> {
    let (Some(&(first, _)), Some(&(last, _))) = (responses.first(), responses.last()) else { return Vec::new() };
    match windows {
        Windows::FiveHours => {
            let blocks = blocks(responses.iter().map(|&(at, _)| at));
            let used = blocks.iter().filter(|block| block.span.is_some());
            used.map(|block| (block.start, block.start.plus_ms(BLOCK_MS))).collect()
        }
        Windows::Weeks => {
            let begin = first.floor_to(HOUR_MS);
            let week = |number: i64| (begin.plus_ms(number * 7 * DAY_MS), begin.plus_ms((number + 1) * 7 * DAY_MS));
            (0..).map(week).take_while(|&(_, end)| end <= last).collect()
        }
    }
}
