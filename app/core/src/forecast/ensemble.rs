//! The ways in which it may go on, each with a weight.

use super::habits::{Habits, Moment};
use super::{CONE_POINTS, Case, ConePoint, Interval, LimitTime, Outlook, Parameters, Situation};
use crate::report::QUARTER_MS;
use crate::time::{HOUR_MS, MINUTE_MS, Timestamp};
use crate::units::Tokens;

/// Most similar moments that are followed, those of the highest weight.
const MOST_MOMENTS: usize = 200;
/// Steps of time at which courses are looked at.
const STEPS: usize = 24;
/// Of work that goes on, so much is asked at most.
const GOING_ON_MS: i64 = 5 * HOUR_MS;
/// What followed is scaled by no more than this, or its inverse.
const MOST_SCALED: f64 = 4.0;
/// Times of day in a day.
const TIMES: usize = 96;
/// Five points of the standard normal distribution of equal weight, and the shares of an exponential one.
const NORMAL: [f64; 5] = [-1.281_551_565_5, -0.524_400_512_7, 0.0, 0.524_400_512_7, 1.281_551_565_5];
const SHARES: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];

/// One course: use from now on at each step, with its weight.
#[derive(Clone, Debug)]
struct Course {
    weight: f64,
    /// Whether work goes on in it.
    goes_on: bool,
    used: [f64; STEPS],
}

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Ensemble {
    courses: Vec<Course>,
    /// Milliseconds from now to each step; the last is the reset.
    steps: [i64; STEPS],
    /// The weight of similar moments.
    similar: f64,
}

impl Ensemble {
    pub(super) fn new(habits: &Habits, now: &Situation, parameters: &Parameters) -> Self {
        let ms = now.resets_at.ms_since(now.now);
        let mut steps = [0; STEPS];
        for (at, step) in (1..).zip(&mut steps) {
            *step = ms * at / STEPS as i64;
        }
        // What happens today follows from what is so now; other days are days of their own.
        let today_ms = habits.ahead().first().map_or(ms, |(tomorrow, _)| tomorrow.ms_since(now.now)).min(ms);
        let rate = rate(now.last_30_min, now.last_2_h, parameters);
        let similar = similar(habits, now, rate, today_ms, parameters);
        let weight: f64 = similar.iter().map(|similar| similar.weight).sum();

        let mut ensemble = Self { courses: Vec::with_capacity(similar.len() + 25), steps, similar: weight };
        for (number, similar) in (0..).zip(&similar) {
            let at = similar.at;
            let today = |ms: i64| habits.between(at, at.plus_ms(ms)) * similar.scale;
            let goes_on = habits.goes_on(at, today_ms.min(GOING_ON_MS));
            ensemble.add(similar.weight, goes_on, number, today_ms, &today, habits, now.now, parameters.weeks_spread);
        }
        plain(now, parameters, |number, weight, goes_on, rate, until_ms| {
            let today = |ms: i64| rate * ms.min(until_ms) as f64 / HOUR_MS as f64;
            ensemble.add(weight, goes_on, 1_000 + number, today_ms, &today, habits, now.now, parameters.weeks_spread);
        });
        ensemble
    }

    /// Adds a course that goes as `today` says until the day is over, and then as other days did.
    #[allow(clippy::too_many_arguments)] // one call each for the two kinds of courses
    fn add(
        &mut self,
        weight: f64,
        goes_on: bool,
        number: u64,
        today_ms: i64,
        today: &dyn Fn(i64) -> f64,
        habits: &Habits,
        now: Timestamp,
        spread: f64,
    ) {
        let mut used = [0.0; STEPS];
        let whole_today = today(today_ms);
        let normal = NORMAL[usize::try_from(mix(number, 99) % 5).unwrap_or_default()];
        let factor = libm::exp(normal * spread);
        for (used, &ms) in used.iter_mut().zip(&self.steps) {
            *used =
                if ms <= today_ms { today(ms) } else { whole_today + factor * later(habits, number, now.plus_ms(ms)) };
        }
        self.courses.push(Course { weight, goes_on, used });
    }

    pub(super) fn outlook(&self, now: &Situation) -> Outlook {
        let is_working = now.last_30_min > 0.0;
        let all = |_: &Course| true;
        Outlook {
            as_of: now.now,
            expected: self.case(now, &all),
            going_on: is_working.then(|| self.case(now, &|course| course.goes_on)),
            cone: now.capacity.map_or_else(Vec::new, |capacity| self.cone(now, capacity)),
            similar_moments: whole(self.similar),
        }
    }

    fn case(&self, now: &Situation, counts: &dyn Fn(&Course) -> bool) -> Case {
        let courses: Vec<&Course> = self.courses.iter().filter(|course| counts(course)).collect();
        let at_reset = quantiles(&courses, |course| now.used + course.used[STEPS - 1]);
        let percent = now.capacity.map(|capacity| at_reset.map(|used| tenth(used * 100.0 / capacity)));
        let limit = now.capacity.map(|capacity| self.limit(now, capacity, &courses));
        Case { tokens: at_reset.map(|used| Tokens(whole(used))), percent, limit }
    }

    /// When the limit is reached.
    fn limit(&self, now: &Situation, capacity: f64, courses: &[&Course]) -> LimitTime {
        let reached = |course: &Course| {
            let left = capacity - now.used;
            if left <= 0.0 {
                return 0.0;
            }
            let Some(step) = course.used.iter().position(|&used| used >= left) else { return f64::INFINITY };
            let (from, used) = match step.checked_sub(1) {
                Some(before) => (self.steps[before], course.used[before]),
                None => (0, 0.0),
            };
            let part = (left - used) / (course.used[step] - used);
            from as f64 + (self.steps[step] - from) as f64 * part
        };
        let all: f64 = courses.iter().map(|course| course.weight).sum();
        let reaching = courses.iter().filter(|course| reached(course).is_finite());
        let chance: f64 = reaching.map(|course| course.weight).sum::<f64>() / all;
        let at = |ms: f64| {
            // To the minute: what is forecast is not known to the second.
            ms.is_finite().then(|| now.now.plus_ms(in_ms(ms)).plus_ms(MINUTE_MS / 2).floor_to(MINUTE_MS))
        };
        let Interval { low, median, high } = quantiles(courses, reached);
        LimitTime { chance_percent: tenth(chance * 100.0), early: at(low), median: at(median), late: at(high) }
    }

    fn cone(&self, now: &Situation, capacity: f64) -> Vec<ConePoint> {
        let courses: Vec<&Course> = self.courses.iter().collect();
        let share = |used: f64| tenth(used * 100.0 / capacity);
        let begin = share(now.used);
        let mut points = vec![ConePoint { at: now.now, percent: Interval { low: begin, median: begin, high: begin } }];
        let every = STEPS / (CONE_POINTS - 1);
        for step in (every - 1..STEPS).step_by(every) {
            let percent = quantiles(&courses, |course| now.used + course.used[step]).map(share);
            points.push(ConePoint { at: now.now.plus_ms(self.steps[step]), percent });
        }
        points
    }
}

impl<T> Interval<T> {
    fn map<U>(self, change: impl Fn(T) -> U) -> Interval<U> {
        Interval { low: change(self.low), median: change(self.median), high: change(self.high) }
    }
}

/// A moment of the past that resembles the present.
#[derive(Clone, Copy, Debug)]
struct Similar {
    at: Timestamp,
    weight: f64,
    /// What followed is to be multiplied by this.
    scale: f64,
}

/// The moments like this one, at most [`MOST_MOMENTS`].
fn similar(habits: &Habits, now: &Situation, rate_now: f64, ahead_ms: i64, parameters: &Parameters) -> Vec<Similar> {
    let is_working = now.last_30_min > 0.0;
    let (time, is_weekend) = habits.present(now.now);
    let mut near = [0.0; TIMES];
    for (other, weight) in near.iter_mut().enumerate() {
        let apart = other.abs_diff(usize::from(time));
        let hours = apart.min(TIMES - apart) as f64 / 4.0;
        *weight = bell(hours / parameters.hours_apart);
    }
    let mut found: Vec<Similar> = Vec::new();
    for moment in habits.moments(now.now, ahead_ms) {
        let near = near[usize::from(moment.time_of_day)];
        if (moment.last_30_min > 0.0) != is_working || near < 1e-3 {
            continue;
        }
        let kind = if moment.is_weekend == is_weekend { 1.0 } else { parameters.other_kind_of_day };
        let (alike, scale) = compare(&moment, now, rate_now, parameters);
        let age_days = now.now.ms_since(moment.at) as f64 / (24 * HOUR_MS) as f64;
        let weight = near * kind * alike * libm::exp2(-age_days / parameters.half_life_days);
        if weight > 1e-4 {
            found.push(Similar { at: moment.at, weight, scale });
        }
    }
    if found.len() > MOST_MOMENTS {
        found.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(b.at.cmp(&a.at)));
        found.truncate(MOST_MOMENTS);
    }
    found
}

/// How alike the rates are, and what the one that followed is to be multiplied by.
fn compare(moment: &Moment, now: &Situation, rate_now: f64, parameters: &Parameters) -> (f64, f64) {
    if now.last_30_min <= 0.0 {
        // Both are at rest: for a while, or for longer.
        return (if (moment.last_2_h > 0.0) == (now.last_2_h > 0.0) { 1.0 } else { 0.2 }, 1.0);
    }
    let rate_then = rate(moment.last_30_min, moment.last_2_h, parameters);
    let apart = libm::log(rate_now / rate_then);
    let scale = libm::exp(apart * parameters.rate_exponent).clamp(1.0 / MOST_SCALED, MOST_SCALED);
    (bell(apart / parameters.rates_apart), scale)
}

/// Use per hour, from that of the last half hour and of the last two hours.
fn rate(last_30_min: f64, last_2_h: f64, parameters: &Parameters) -> f64 {
    let part = parameters.recent_part;
    last_30_min * 2.0 * part + last_2_h / 2.0 * (1.0 - part)
}

/// The plain model: work goes on at the rate of now, more or less, and stops after some time.
fn plain(now: &Situation, parameters: &Parameters, mut add: impl FnMut(u64, f64, bool, f64, i64)) {
    let weight = parameters.plain_weight / 25.0;
    let hours = now.now.ms_since(now.first_use.unwrap_or(now.starts_at)).max(QUARTER_MS) as f64 / HOUR_MS as f64;
    let mean = now.used / hours;
    let is_working = now.last_30_min > 0.0;
    let rate = if is_working && mean > 0.0 { libm::sqrt(now.last_30_min * 2.0 * mean) } else { 0.0 };
    for (i, normal) in (0..).zip(NORMAL) {
        let rate = rate * libm::exp(normal * parameters.plain_spread);
        for (j, share) in (0..).zip(SHARES) {
            let hours = libm::pow(-libm::log(1.0 - share), parameters.plain_shape) * parameters.plain_hours;
            add(i * 5 + j, weight, false, rate, in_ms(hours * HOUR_MS as f64));
        }
        add(25 + i, 1e-6, true, rate, i64::MAX);
    }
}

/// What is used from the end of today until `until`, in the days of course `number`.
fn later(habits: &Habits, number: u64, until: Timestamp) -> f64 {
    let mut sum = 0.0;
    for (&(start, weekday), day) in habits.ahead().iter().zip(0_u64..) {
        if until <= start {
            break;
        }
        let ms = habits.ahead().get(usize::try_from(day).unwrap_or_default() + 1).map_or(until, |&(next, _)| next);
        let ms = ms.min(until).ms_since(start);
        // The same weekday, where there were enough of them, else the same kind of day, else any.
        let same = |other: u8| other == weekday;
        let kind = |other: u8| (other >= 5) == (weekday >= 5);
        let pick = |like: &dyn Fn(u8) -> bool, least: usize| {
            let days: Vec<Timestamp> =
                habits.days().iter().filter(|&&(_, other)| like(other)).map(|&(day, _)| day).collect();
            let index = usize::try_from(mix(number, day) % (days.len().max(1) as u64)).unwrap_or_default();
            days.get(index).copied().filter(|_| days.len() >= least)
        };
        let like = pick(&same, 3).or_else(|| pick(&kind, 2)).or_else(|| pick(&|_| true, 1));
        sum += like.map_or(0.0, |day| habits.between(day, day.plus_ms(ms)));
    }
    sum
}

/// A number that depends on both, evenly spread (SplitMix64).
fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The quantiles of what courses come to, which may be infinite: each is what one of them comes to, so that they never
/// fall while the courses rise.
fn quantiles(courses: &[&Course], value: impl Fn(&Course) -> f64) -> Interval<f64> {
    let values = sorted(courses, value);
    let all: f64 = values.iter().map(|(_, weight)| weight).sum();
    let find = |share: f64| {
        let mut sum = 0.0;
        let found = values.iter().find(|(_, weight)| {
            sum += weight;
            sum >= share * all
        });
        found.map_or(f64::INFINITY, |&(value, _)| value)
    };
    Interval { low: find(0.1), median: find(0.5), high: find(0.9) }
}

fn sorted(courses: &[&Course], value: impl Fn(&Course) -> f64) -> Vec<(f64, f64)> {
    let mut values: Vec<(f64, f64)> = courses.iter().map(|course| (value(course), course.weight)).collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    values
}

/// The bell curve without its factor: 1 at 0, 0.61 at 1, 0.14 at 2.
fn bell(deviations: f64) -> f64 {
    libm::exp(-0.5 * deviations * deviations)
}

fn tenth(value: f64) -> f64 {
    libm::round(value * 10.0) / 10.0
}

/// The nearest whole number that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(value: f64) -> u64 {
    libm::round(value) as u64
}

fn in_ms(value: f64) -> i64 {
    i64::try_from(whole(value)).unwrap_or(i64::MAX)
}
