//! What a limit allows, learned from the vendor's readings beside our own counts.
//!
//! The vendor says how many percent are used, the transcripts how many tokens. Between two readings of one window, at
//! least [`LEAST_STEP`] percent apart, tokens per percent point are one observation of the whole; a refusal counts as a
//! reading of 100 %. The median of these is the limit: use on other devices, of which nothing is seen here, raises the
//! share without tokens, and as long as it is no rule it moves the median little. Readings are whole percents, so that
//! an observation is off by a fifth at most. Held readings are of the last week; so is what is learned.

use crate::forecast::Interval;
use crate::time::{Minute, Timestamp};
use crate::units::Tokens;

use super::readings::{Reading, Readings};
use super::usage::ToolUsage;
use crate::event::LearnedLimit;
use crate::record::LimitKey;
use crate::state::same_reset;

/// Readings this far apart, in percent points, are an observation.
const LEAST_STEP: f64 = 5.0;
/// Nothing is learned from fewer observations, or from fewer percent points in all.
const LEAST_OBSERVATIONS: usize = 3;
/// See [`LEAST_OBSERVATIONS`].
const LEAST_POINTS: f64 = 20.0;

/// What the readings say that the limit of `key` allows, in input + output tokens.
pub(super) fn learn(key: &LimitKey, readings: &Readings, usage: &ToolUsage) -> Option<LearnedLimit> {
    let tokens = Cumulative::new(usage, key);
    let mut observed: Vec<(f64, f64)> = Vec::new();
    let mut window: Option<(Timestamp, f64, Minute)> = None;
    for reading in readings.all() {
        let (Some(percent), Some(reset)) = (percent(&reading), reading.resets_at) else { continue };
        let start = reset.plus_ms(-key.window.ms());
        let (begun, from, since) = match window {
            Some(window) if same_reset(Some(window.0), Some(start)) => window,
            // Of a window whose beginning is not held, the first reading is where it begins for us.
            _ if tokens.holds(start) => (start, 0.0, Minute(start.minute().0 - 1)),
            _ => (start, percent, reading.at.minute()),
        };
        window = Some((begun, from, since));
        if percent - from >= LEAST_STEP {
            let used = tokens.between(since, reading.at.minute());
            if used > 0.0 {
                observed.push((used * 100.0 / (percent - from), percent - from));
            }
            window = Some((begun, percent, reading.at.minute()));
        }
    }
    let points: f64 = observed.iter().map(|(_, weight)| weight).sum();
    if observed.len() < LEAST_OBSERVATIONS || points < LEAST_POINTS {
        return None;
    }
    observed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let at = |share: f64| {
        let mut sum = 0.0;
        let found = observed.iter().find(|(_, weight)| {
            sum += weight;
            sum >= share * points
        });
        tokens_of(found.or(observed.last()).map_or(0.0, |&(tokens, _)| tokens))
    };
    let tokens = Interval { low: at(0.1), median: at(0.5), high: at(0.9) };
    Some(LearnedLimit { tokens, observations: observed.len() as u64 })
}

fn percent(reading: &Reading) -> Option<f64> {
    reading.percent.filter(|percent| (0.0..=100.0).contains(percent))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn tokens_of(value: f64) -> Tokens {
    Tokens(libm::round(value) as u64)
}

/// Tokens by minute, summed up.
struct Cumulative {
    oldest: Option<Timestamp>,
    /// The tokens up to and including each minute, ascending.
    sums: Vec<(Minute, f64)>,
}

impl Cumulative {
    fn new(usage: &ToolUsage, key: &LimitKey) -> Self {
        let mut sums: Vec<(Minute, f64)> = Vec::new();
        let mut sum = 0.0;
        for (slot, tokens) in usage.tokens(&key.scope) {
            sum += tokens.0 as f64;
            match sums.last_mut() {
                Some((minute, known)) if *minute == slot.minute() => *known = sum,
                _ => sums.push((slot.minute(), sum)),
            }
        }
        Self { oldest: usage.oldest(), sums }
    }

    fn holds(&self, start: Timestamp) -> bool {
        self.oldest.is_none_or(|oldest| oldest <= start)
    }

    fn until(&self, minute: Minute) -> f64 {
        let after = self.sums.partition_point(|&(known, _)| known <= minute);
        after.checked_sub(1).map_or(0.0, |at| self.sums[at].1)
    }

    /// After `from`, up to and including `to`.
    fn between(&self, from: Minute, to: Minute) -> f64 {
        self.until(to) - self.until(from)
    }
}
