//! Conditions on limits, as programs write them: `five_hour<80%`, `codex/10080>=95%`, several separated by commas.
//!
//! What `dashboard wait --until` waits for, and `dashboard guard --max` insists on.

use std::fmt;
use std::str::FromStr;

use crate::record::{LimitKey, Tool};
use crate::state::DashboardState;
use crate::time::Timestamp;

/// How a share is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Longer ones first: each is read before what it begins with.
    const ALL: [(&'static str, Self); 4] =
        [("<=", Self::AtMost), (">=", Self::AtLeast), ("<", Self::Below), (">", Self::Above)];

    fn holds(self, percent: f64, bound: f64) -> bool {
        match self {
            Self::Below => percent < bound,
            Self::AtMost => percent <= bound,
            Self::Above => percent > bound,
            Self::AtLeast => percent >= bound,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Whether a limit of which nothing is used meets it, whatever the bound.
    fn is_upper(self) -> bool {
        matches!(self, Self::Below | Self::AtMost)
    }
}

/// A condition on one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitTest {
    /// Which limit.
    pub limit: LimitKey,
    /// How its share is compared.
    pub comparison: Comparison,
    /// With what, in percent.
    pub percent: f64,
}

/// What a state says to a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is met.
    Met,
    /// It is not.
    NotMet,
    /// The share of the limit is not known.
    Unknown,
}

/// A text that is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTest(String);

impl fmt::Display for BadTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no condition; allowed: LIMIT, one of < <= > >=, and a percentage, such as five_hour<80%; LIMIT is \
             five_hour, seven_day, or a key such as codex/300",
            self.0
        )
    }
}

impl std::error::Error for BadTest {}

/// Reads the name of a limit: `five_hour`, `seven_day` (or `weekly`) of the default tool, or a key.
fn limit(text: &str) -> Option<LimitKey> {
    match text {
        "five_hour" => Some(LimitKey::five_hour(Tool::DEFAULT)),
        "seven_day" | "weekly" => Some(LimitKey::weekly(Tool::DEFAULT)),
        key => key.parse().ok(),
    }
}

/// Reads a percentage with or without its sign.
fn percentage(text: &str) -> Option<f64> {
    let number = text.trim().trim_end_matches('%').trim_end().parse().ok()?;
    (0.0..=1_000.0).contains(&number).then_some(number)
}

impl FromStr for LimitTest {
    type Err = BadTest;

    fn from_str(text: &str) -> Result<Self, BadTest> {
        let read = || {
            // The first sign in the text, the longer one where two begin there.
            let (at, sign, comparison) = Comparison::ALL
                .into_iter()
                .filter_map(|(sign, comparison)| Some((text.find(sign)?, sign, comparison)))
                .min_by_key(|(at, ..)| *at)?;
            let (name, bound) = (&text[..at], &text[at + sign.len()..]);
            Some(Self { limit: limit(name.trim())?, comparison, percent: percentage(bound)? })
        };
        read().ok_or_else(|| BadTest(text.to_owned()))
    }
}

impl fmt::Display for LimitTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}%", self.limit, self.comparison.as_str(), self.percent)
    }
}

impl LimitTest {
    /// What a limit may be used at most: `five_hour=90%`.
    ///
    /// # Errors
    /// If the text is none.
    pub fn at_most(text: &str) -> Result<Self, BadTest> {
        let read = || {
            let (name, bound) = text.split_once('=')?;
            let percent = percentage(bound)?;
            Some(Self { limit: limit(name.trim())?, comparison: Comparison::AtMost, percent })
        };
        read().ok_or_else(|| BadTest(text.to_owned()))
    }

    /// What `state` says to it at `now`. `reset` is a reset of this limit that was announced before, if one was: once
    /// it has passed and nothing newer is known, the window is new, and whatever was used of the old one counts no more.
    pub fn ask(&self, state: &DashboardState, reset: Option<Timestamp>, now: Timestamp) -> Answer {
        let known = state.limits.get(&self.limit);
        let is_new = reset.is_some_and(|reset| reset <= now);
        let refuses = known.is_some_and(|limit| limit.now.blocked);
        match known.and_then(|limit| limit.now.percent) {
            // Whatever the share: it refuses requests.
            _ if refuses && self.comparison.is_upper() => Answer::NotMet,
            Some(percent) if self.comparison.holds(percent, self.percent) => Answer::Met,
            Some(_) => Answer::NotMet,
            None if is_new && self.comparison.is_upper() => Answer::Met,
            None => Answer::Unknown,
        }
    }

    /// The reset that the vendor announces for this limit, if one is known.
    pub fn reset(&self, state: &DashboardState) -> Option<Timestamp> {
        state.limits.get(&self.limit)?.now.reset_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Provenance, QuotaUpdate};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_condition_is_read_and_written() {
        for (text, written) in [
            ("five_hour<80%", "claude-code/300<80%"),
            (" weekly >= 95 ", "claude-code/10080>=95%"),
            ("claude-code/10080/opus<=12.5%", "claude-code/10080/opus<=12.5%"),
            ("codex/300>0%", "codex/300>0%"),
        ] {
            let test: LimitTest = text.parse().unwrap();
            assert_eq!(test.to_string(), written);
            assert_eq!(written.parse(), Ok(test));
        }
        for text in
            ["", "five_hour", "five_hour=80%", "five_hour<", "<80%", "six_hour<80%", "five_hour<x%", "five_hour<-1"]
        {
            assert!(text.parse::<LimitTest>().is_err(), "{text}");
        }
        assert_eq!(LimitTest::at_most("five_hour=90%").unwrap().to_string(), "claude-code/300<=90%");
        assert!(LimitTest::at_most("five_hour<90%").is_err());
    }

    fn state(percent: Option<f64>, blocked: bool) -> DashboardState {
        let mut state = DashboardState::default();
        let key = "codex/300".parse().unwrap();
        let unknown = QuotaUpdate::unknown(key, Timestamp::EPOCH);
        let update = QuotaUpdate { percent, blocked, provenance: Provenance::Official, ..unknown };
        state.apply_silently(&Event::QuotaUpdate(update), Timestamp::EPOCH);
        state
    }

    #[test]
    fn what_is_not_known_is_not_met_unless_the_window_is_new() {
        let at = Timestamp::from_unix_ms;
        let below: LimitTest = "codex/300<80%".parse().unwrap();
        let above: LimitTest = "codex/300>80%".parse().unwrap();
        for (percent, blocked, reset, expected) in [
            (Some(79.9), false, None, (Answer::Met, Answer::NotMet)),
            (Some(80.0), false, None, (Answer::NotMet, Answer::NotMet)),
            (Some(81.0), false, Some(at(5)), (Answer::NotMet, Answer::Met)),
            (Some(1.0), true, None, (Answer::NotMet, Answer::NotMet)),
            (None, false, None, (Answer::Unknown, Answer::Unknown)),
            (None, false, Some(at(11)), (Answer::Unknown, Answer::Unknown)),
            (None, false, Some(at(10)), (Answer::Met, Answer::Unknown)),
            (None, true, Some(at(10)), (Answer::NotMet, Answer::Unknown)),
        ] {
            let state = state(percent, blocked);
            let asked = (below.ask(&state, reset, at(10)), above.ask(&state, reset, at(10)));
            assert_eq!(asked, expected, "{percent:?} {blocked} {reset:?}");
        }
        let other: LimitTest = "codex/10080<80%".parse().unwrap();
        assert_eq!(other.ask(&state(None, false), None, at(10)), Answer::Unknown);
    }
}
