//! Weeks of made-up work, to measure the forecast by: bursts and pauses, meetings, lunch, evenings, weekends, days off.
//!
//! The forecast knows nothing of this module, and shares no number with it. Every user is drawn from the ranges of
//! [`People`]; every day of theirs from what was drawn. The same seed gives the same responses everywhere.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use crate::units::Tokens;

/// From, to: both possible.
pub type Range = (f64, f64);

/// The ranges from which users and their days are drawn. Hours are of local time, which is UTC here.
#[derive(Clone, Copy, Debug)]
pub struct People {
    /// When a user's days begin, in hours after midnight; each day within 45 minutes of it.
    pub begins: Range,
    /// How long their days are, in hours; each day within an hour of it.
    pub hours: Range,
    /// When lunch is, in hours after midnight, and how long, in minutes; each day anew.
    pub lunch: (Range, Range),
    /// Most meetings a day; each day from none to this many, of 30 or 60 minutes, at any half hour.
    pub meetings: Range,
    /// Chance of an evening of one to three hours from about 20:00.
    pub evening: Range,
    /// Chance that a day of a weekend has one to four hours of work.
    pub weekend: Range,
    /// Chance that a workday is off.
    pub day_off: Range,
    /// Minutes of a burst of responses, and of the pause after it; the user's own mean is drawn from these, and each
    /// burst and pause is exponential with that mean.
    pub burst: Range,
    /// See `burst`.
    pub pause: Range,
    /// Seconds from one response to the next within a burst.
    pub every: Range,
    /// Input + output tokens of a response: the user's median.
    pub tokens: Range,
    /// How the tokens vary, as natural logarithms (one standard deviation): by response, by burst, by day, by week.
    pub varies: [f64; 4],
}

/// The people of `dashboard backtest`.
pub const PEOPLE: People = People {
    begins: (7.5, 10.5),
    hours: (6.5, 9.5),
    lunch: ((11.75, 13.25), (25.0, 80.0)),
    meetings: (0.0, 4.0),
    evening: (0.0, 0.35),
    weekend: (0.0, 0.3),
    day_off: (0.02, 0.12),
    burst: (6.0, 30.0),
    pause: (4.0, 22.0),
    every: (8.0, 45.0),
    tokens: (150.0, 900.0),
    varies: [0.8, 0.6, 0.35, 0.25],
};

/// The responses of one user over some weeks from `monday` on, oldest first: when, and how many tokens.
pub fn responses(people: &People, seed: u64, monday: Timestamp, weeks: i64) -> Vec<(Timestamp, Tokens)> {
    let mut user = User { rng: ChaCha8Rng::seed_from_u64(seed), responses: Vec::new() };
    let begins = user.draw(people.begins);
    let hours = user.draw(people.hours);
    let meetings = user.draw(people.meetings);
    let (evening, weekend, day_off) = (user.draw(people.evening), user.draw(people.weekend), user.draw(people.day_off));
    let habits = Bursts {
        burst: user.draw(people.burst),
        pause: user.draw(people.pause),
        every: user.draw(people.every),
        tokens: user.draw(people.tokens),
        varies: people.varies,
    };
    for week in 0..weeks {
        let of_week = user.factor(people.varies[3]);
        for day in 0..7 {
            let midnight = monday.plus_ms((week * 7 + day) * DAY_MS);
            let factor = of_week * user.factor(people.varies[2]);
            let hour = |hours: f64| midnight.plus_ms(ms(hours, HOUR_MS));
            if day >= 5 {
                if user.chance(weekend) {
                    let from = user.draw((9.0, 19.0));
                    let until = from + user.draw((1.0, 4.0));
                    user.work(hour(from), hour(until), &[], &habits, factor);
                }
                continue;
            }
            if user.chance(day_off) {
                continue;
            }
            let from = begins + user.draw((-0.75, 0.75));
            let until = from + hours + user.draw((-1.0, 1.0));
            let lunch = user.draw(people.lunch.0);
            let mut away = vec![(hour(lunch), hour(lunch + user.draw(people.lunch.1) / 60.0))];
            let count = user.draw((0.0, meetings + 0.999));
            for _ in 0..whole(count) {
                let start =
                    hour(from).floor_to(HOUR_MS / 2).plus_ms(whole(user.draw((0.0, hours * 2.0))) * HOUR_MS / 2);
                away.push((start, start.plus_ms(if user.chance(0.5) { HOUR_MS } else { HOUR_MS / 2 })));
            }
            user.work(hour(from), hour(until), &away, &habits, factor);
            if user.chance(evening) {
                let from = user.draw((19.5, 21.0));
                let until = from + user.draw((1.0, 3.0));
                user.work(hour(from), hour(until), &[], &habits, factor);
            }
        }
    }
    user.responses.sort_unstable();
    user.responses
}

/// How a user works while at work; minutes, seconds, tokens.
#[derive(Clone, Copy, Debug)]
struct Bursts {
    burst: f64,
    pause: f64,
    every: f64,
    tokens: f64,
    varies: [f64; 4],
}

#[derive(Debug)]
struct User {
    rng: ChaCha8Rng,
    responses: Vec<(Timestamp, Tokens)>,
}

impl User {
    fn work(&mut self, from: Timestamp, until: Timestamp, away: &[(Timestamp, Timestamp)], how: &Bursts, factor: f64) {
        let mut now = from;
        while now < until {
            let length = self.exponential(how.burst);
            let end = now.plus_ms(ms(length, MINUTE_MS));
            let of_burst = factor * self.factor(how.varies[1]);
            while now < end.min(until) {
                if !away.iter().any(|&(from, until)| from <= now && now < until) {
                    let tokens = how.tokens * of_burst * self.factor(how.varies[0]);
                    self.responses.push((now, Tokens(whole(tokens).max(1).unsigned_abs())));
                }
                let every = how.every * self.draw((0.5, 1.5));
                now = now.plus_ms(ms(every, SECOND_MS));
            }
            let pause = self.exponential(how.pause);
            now = now.plus_ms(ms(pause, MINUTE_MS));
        }
    }

    /// Any number of the range, all alike.
    fn draw(&mut self, (from, to): Range) -> f64 {
        from + (to - from) * self.unit()
    }

    /// From 0 to 1, of 2^53 numbers.
    fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -libm::log(1.0 - self.unit()) * mean
    }

    /// A log-normal factor of median 1.
    fn factor(&mut self, deviation: f64) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        let angle = core::f64::consts::TAU * self.unit();
        libm::exp(deviation * radius * libm::cos(angle))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn whole(value: f64) -> i64 {
    value as i64
}

fn ms(value: f64, unit: i64) -> i64 {
    whole(value * unit as f64)
}
