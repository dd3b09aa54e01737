//! When a limit's forecast is made anew, and from what.
//!
//! A forecast is good for [`EVERY_MS`] while work goes on, and for longer at rest; sooner it is made anew if another
//! window has begun, if the share has moved by a percent point, or if something older than the newest minutes came or
//! went. So it costs the same at any pace of records, and does not depend on the order in which they were read.

use super::learned::learn;
use super::readings::Readings;
use super::usage::{Slot, ToolUsage};
use crate::event::{LearnedLimit, Provenance, QuotaUpdate};
use crate::forecast::{Forecast, Habits, Lack, Parameters, Situation, WORKING_MS, forecast};
use crate::state::same_window;
use crate::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp, ZoneOffsets};
use crate::units::Tokens;

/// A forecast is good for this long while work goes on.
const EVERY_MS: i64 = 30 * SECOND_MS;
/// And for this long at rest.
const AT_REST_MS: i64 = 5 * MINUTE_MS;
/// The habits are looked at anew this often: a quarter hour is what they are made of.
const HABITS_MS: i64 = 15 * MINUTE_MS;
/// What was learned is good for this long.
const LEARNED_MS: i64 = 10 * MINUTE_MS;
/// A share below this, in percent, says little of the whole it is a share of.
const LEAST_PERCENT: f64 = 3.0;

/// The forecast of one limit, and what it was made from.
#[derive(Debug, Default)]
pub(super) struct Forecasting {
    made: Option<Made>,
    habits: Option<(Timestamp, u64, Habits)>,
    learned: Option<(Timestamp, u64, Option<LearnedLimit>)>,
    /// Readings were withdrawn or came in between others.
    pub(super) relearn: bool,
}

#[derive(Debug)]
struct Made {
    at: Timestamp,
    /// The state of the tool's use that it was made from.
    revision: u64,
    /// The figures that it was made from.
    update: QuotaUpdate,
    good_for_ms: i64,
    forecast: Forecast,
}

impl Forecasting {
    /// What the limit allows, as far as it could be learned.
    pub(super) fn learned(
        &mut self,
        update: &QuotaUpdate,
        readings: &Readings,
        usage: &ToolUsage,
        now: Timestamp,
    ) -> Option<LearnedLimit> {
        let relearn = std::mem::take(&mut self.relearn);
        match &self.learned {
            Some((at, revision, learned))
                if now.ms_since(*at) < LEARNED_MS && *revision == usage.revision() && !relearn =>
            {
                learned.clone()
            }
            _ => {
                let learned = learn(&update.key, readings, usage);
                self.learned = Some((now, usage.revision(), learned.clone()));
                learned
            }
        }
    }

    /// When the forecast is to be looked at again though nothing else changes.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.made.as_ref().map(|made| made.at.plus_ms(made.good_for_ms.max(MINUTE_MS)))
    }

    /// The forecast for these figures.
    pub(super) fn forecast(
        &mut self,
        update: &QuotaUpdate,
        usage: &ToolUsage,
        zone: &ZoneOffsets,
        now: Timestamp,
    ) -> Forecast {
        let is_good = |made: &Made| {
            let moved = match (made.update.percent, update.percent) {
                (Some(before), Some(after)) => (after - before).abs() >= 1.0,
                (before, after) => before != after,
            };
            made.revision == usage.revision()
                && (0..made.good_for_ms).contains(&now.ms_since(made.at))
                && same_window(&made.update, update)
                && made.update.blocked == update.blocked
                && made.update.complete == update.complete
                && !moved
        };
        if let Some(made) = self.made.as_ref().filter(|made| is_good(made)) {
            return made.forecast.clone();
        }
        let (forecast, is_working) = self.make(update, usage, zone, now);
        self.made = Some(Made {
            at: now,
            revision: usage.revision(),
            update: QuotaUpdate { history: None, used_by: Vec::new(), models: Vec::new(), ..update.clone() },
            good_for_ms: if is_working { EVERY_MS } else { AT_REST_MS },
            forecast: forecast.clone(),
        });
        forecast
    }

    fn make(
        &mut self,
        update: &QuotaUpdate,
        usage: &ToolUsage,
        zone: &ZoneOffsets,
        now: Timestamp,
    ) -> (Forecast, bool) {
        let scope = &update.key.scope;
        let since =
            |ms: i64| float(usage.tokens_since(Slot::of(now.plus_ms(-ms)), scope).map(|(_, tokens)| tokens).sum());
        let last_30_min = since(WORKING_MS);
        let is_working = last_30_min > 0.0;
        let lacks = |lack: Lack| (Forecast::NotEnough(lack), is_working);
        let (Some(starts_at), Some(resets_at)) = (update.starts_at, update.reset_time) else {
            return lacks(Lack::Window);
        };
        if !update.complete {
            return lacks(Lack::History);
        }
        let Some((used, capacity)) = amounts(update, usage) else { return lacks(Lack::UseHere) };
        let quarter = now.floor_to(HABITS_MS);
        if !self.habits.as_ref().is_some_and(|(at, revision, _)| *at == quarter && *revision == usage.revision()) {
            self.habits = Some((quarter, usage.revision(), Habits::new(usage.past(), scope, zone, now)));
        }
        let Some((.., habits)) = &self.habits else { return lacks(Lack::History) };
        let first_use = usage.tokens_since(Slot::of(starts_at), scope).find(|(_, tokens)| !tokens.is_zero());
        let situation = Situation {
            now,
            starts_at,
            resets_at,
            used,
            capacity,
            last_30_min,
            last_2_h: since(2 * HOUR_MS),
            first_use: first_use.map(|(slot, _)| slot.minute().start().max(starts_at)),
        };
        (forecast(habits, &situation, &Parameters::DEFAULT), is_working)
    }
}

/// What is used and what is allowed, in tokens: as many as the vendor's share stands for, and what was used since it was
/// said. `None` if the share cannot be put into tokens, since none were seen here.
fn amounts(update: &QuotaUpdate, usage: &ToolUsage) -> Option<(f64, Option<f64>)> {
    let seen = float(update.used);
    let limit = update.limit.map(float).filter(|&limit| limit > 0.0);
    let Some(percent) = update.percent.filter(|_| update.provenance != Provenance::Estimated) else {
        return Some((seen, limit));
    };
    let learned = update.learned.as_ref().map(|learned| float(learned.tokens.median)).filter(|&limit| limit > 0.0);
    let of_window = (percent >= LEAST_PERCENT && seen > 0.0).then(|| seen * 100.0 / percent);
    let capacity = learned.or(of_window);
    match capacity {
        Some(capacity) => {
            let after = Slot::after(update.as_of.minute().start().plus_ms(MINUTE_MS));
            let since = float(usage.tokens_since(after, &update.key.scope).map(|(_, tokens)| tokens).sum());
            Some((capacity * percent / 100.0 + since, Some(capacity)))
        }
        None => (percent < LEAST_PERCENT && seen > 0.0).then_some((seen, None)),
    }
}

fn float(tokens: Tokens) -> f64 {
    tokens.0 as f64
}
