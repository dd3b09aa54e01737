//! The user's hours: what was used in each quarter hour of the last weeks.

use std::collections::BTreeMap;

use crate::ids::ModelId;
use crate::record::LimitScope;
use crate::report::QUARTER_MS;
use crate::time::{DAY_MS, Day, HOUR_MS, Timestamp, ZoneOffsets};
use crate::units::Tokens;

/// Days of history that a forecast goes by.
pub const HABIT_DAYS: i64 = 35;
/// Days are taken to begin at this hour, local time: hardly anybody works through it.
const DAY_BEGINS_MS: i64 = 4 * HOUR_MS;

/// What a tool used, by model and quarter hour, over the last [`HABIT_DAYS`] days: at most 3,360 numbers a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastUse {
    models: BTreeMap<ModelId, BTreeMap<i64, Tokens>>,
}

impl PastUse {
    /// Adds the use of the quarter hour that `at` is in.
    pub fn add(&mut self, model: &ModelId, at: Timestamp, tokens: Tokens) {
        let quarters = match self.models.get_mut(model) {
            Some(quarters) => quarters,
            None => self.models.entry(model.clone()).or_default(),
        };
        *quarters.entry(quarter(at)).or_default() += tokens;
    }

    /// Takes back what was added.
    pub fn subtract(&mut self, model: &ModelId, at: Timestamp, tokens: Tokens) {
        let Some(quarters) = self.models.get_mut(model) else { return };
        if let Some(used) = quarters.get_mut(&quarter(at)) {
            *used -= tokens;
            if used.is_zero() {
                quarters.remove(&quarter(at));
            }
        }
    }

    /// Forgets what is older than [`HABIT_DAYS`].
    pub fn prune(&mut self, now: Timestamp) {
        let oldest = quarter(now.plus_ms(-HABIT_DAYS * DAY_MS));
        self.models.retain(|_, quarters| {
            while quarters.first_key_value().is_some_and(|(&quarter, _)| quarter < oldest) {
                quarters.pop_first();
            }
            !quarters.is_empty()
        });
    }
}

/// The number of a quarter hour since the epoch.
pub(super) fn quarter(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(QUARTER_MS)
}

/// The habits of a user, as far as a limit counts them: made from [`PastUse`] once in a while, and asked often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Habits {
    /// Number of the first quarter hour.
    first: i64,
    /// Use before each quarter hour, and before the end of the last: one entry more than there are quarter hours.
    before: Vec<f64>,
    /// The time of day at which each quarter hour begins, local, in quarter hours: 0 to 95.
    time_of_day: Vec<u8>,
    /// Whether each quarter hour is of a Saturday or Sunday, as days are counted here.
    is_weekend: Vec<bool>,
    /// The days that are whole: where each begins (a time) and its weekday, Monday 0.
    days: Vec<(Timestamp, u8)>,
    /// The days ahead, tomorrow first: nine of them.
    ahead: Vec<(Timestamp, u8)>,
}

impl Habits {
    /// What `past` says of the models in `scope`, up to `now`.
    pub fn new(past: &PastUse, scope: &LimitScope, zone: &ZoneOffsets, now: Timestamp) -> Self {
        let end = quarter(now) + 1;
        let oldest = quarter(now.plus_ms(-HABIT_DAYS * DAY_MS));
        let covered = || past.models.iter().filter(|(model, _)| scope.covers(model)).map(|(_, quarters)| quarters);
        let first = covered().filter_map(|quarters| quarters.range(oldest..end).next()).map(|(&quarter, _)| quarter);
        let first = first.min().unwrap_or(end);
        let len = usize::try_from(end - first).unwrap_or_default();
        let mut used = vec![0.0; len];
        for (&quarter, tokens) in covered().flat_map(|quarters| quarters.range(first..end)) {
            if let Some(slot) = usize::try_from(quarter - first).ok().and_then(|at| used.get_mut(at)) {
                *slot += tokens.0 as f64;
            }
        }
        let mut before = Vec::with_capacity(len + 1);
        let mut sum = 0.0;
        before.push(sum);
        before.extend(used.iter().map(|used| {
            sum += used;
            sum
        }));
        let (mut time_of_day, mut is_weekend) = (Vec::with_capacity(len), Vec::with_capacity(len));
        for quarter in first..end {
            let (time, weekday) = local(zone, Timestamp::from_unix_ms(quarter * QUARTER_MS));
            time_of_day.push(time);
            is_weekend.push(weekday >= 5);
        }
        let mut habits = Self { first, before, time_of_day, is_weekend, ..Self::default() };
        habits.count_days(zone, now);
        habits
    }

    fn count_days(&mut self, zone: &ZoneOffsets, now: Timestamp) {
        let begins = |day: Day| zone.day_start(day).plus_ms(DAY_BEGINS_MS);
        let mut day = zone.day(Timestamp::from_unix_ms(self.first * QUARTER_MS));
        let begun = Timestamp::from_unix_ms(self.first * QUARTER_MS);
        // The first day may be there in part only.
        for _ in 0..=HABIT_DAYS + 9 {
            let (start, weekday) = (begins(day), weekday(day));
            day = day + chrono::Days::new(1);
            if begins(day) <= now {
                if start >= begun {
                    self.days.push((start, weekday));
                }
            } else if start > now {
                self.ahead.push((start, weekday));
                if self.ahead.len() == 9 {
                    break;
                }
            }
        }
    }

    /// Days of which everything is there.
    pub fn whole_days(&self) -> usize {
        self.days.len()
    }

    pub(super) fn days(&self) -> &[(Timestamp, u8)] {
        &self.days
    }

    pub(super) fn ahead(&self) -> &[(Timestamp, u8)] {
        &self.ahead
    }

    /// Use before `at`; between the bounds of a quarter hour, in proportion.
    pub(super) fn before(&self, at: Timestamp) -> f64 {
        let ms = at.unix_ms() - self.first * QUARTER_MS;
        let whole = ms.div_euclid(QUARTER_MS);
        let part = ms.rem_euclid(QUARTER_MS) as f64 / QUARTER_MS as f64;
        match usize::try_from(whole) {
            Ok(index) => match (self.before.get(index), self.before.get(index + 1)) {
                (Some(from), Some(to)) => from + (to - from) * part,
                _ => self.before.last().copied().unwrap_or_default(),
            },
            Err(_) => 0.0,
        }
    }

    /// Use between two times.
    pub(super) fn between(&self, from: Timestamp, to: Timestamp) -> f64 {
        self.before(to) - self.before(from)
    }

    /// The time of day in quarter hours, and whether it is a weekend. `now` is at most a quarter hour after the habits
    /// were made.
    pub(super) fn present(&self, now: Timestamp) -> (u8, bool) {
        let Some((&time, &is_weekend)) = self.time_of_day.last().zip(self.is_weekend.last()) else { return (0, false) };
        let last = self.first + self.time_of_day.len() as i64 - 1;
        let later = u8::try_from((quarter(now) - last).clamp(0, 95)).unwrap_or_default();
        ((time + later) % 96, is_weekend)
    }

    /// The moments at which a quarter hour began and of which the next `ahead_ms` are known.
    pub(super) fn moments(&self, now: Timestamp, ahead_ms: i64) -> impl Iterator<Item = Moment> + '_ {
        let last = quarter(now.plus_ms(-ahead_ms));
        let count = usize::try_from(last - self.first + 1).unwrap_or_default().min(self.time_of_day.len());
        let used = |from: usize, to: usize| self.before[to] - self.before[from];
        // The last two hours before the first ones are not known.
        (2..count).map(move |at| Moment {
            at: Timestamp::from_unix_ms((self.first + at as i64) * QUARTER_MS),
            time_of_day: self.time_of_day[at],
            is_weekend: self.is_weekend[at],
            last_30_min: used(at - 2, at),
            last_2_h: used(at.saturating_sub(8), at),
        })
    }

    /// Whether there was use in every stretch of 45 minutes of the time from `from` on.
    pub(super) fn goes_on(&self, from: Timestamp, for_ms: i64) -> bool {
        const PAUSE: usize = 3;
        let index = |at: Timestamp| usize::try_from(quarter(at) - self.first).unwrap_or_default();
        let (first, last) = (index(from), index(from.plus_ms(for_ms)).min(self.before.len().saturating_sub(1)));
        (first..last.saturating_sub(PAUSE - 1)).all(|at| self.before[(at + PAUSE).min(last)] > self.before[at])
    }
}

/// A moment of the past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) time_of_day: u8,
    pub(super) is_weekend: bool,
    pub(super) last_30_min: f64,
    pub(super) last_2_h: f64,
}

/// The time of day in quarter hours, and the weekday (Monday 0) as days are counted here.
pub(super) fn local(zone: &ZoneOffsets, at: Timestamp) -> (u8, u8) {
    let (hour, minute, ..) = zone.clock(at);
    let day = zone.day(at.plus_ms(-DAY_BEGINS_MS));
    (u8::try_from(hour * 4 + minute / 15).unwrap_or_default(), weekday(day))
}

fn weekday(day: Day) -> u8 {
    use chrono::Datelike;
    u8::try_from(day.weekday().num_days_from_monday()).unwrap_or_default()
}
