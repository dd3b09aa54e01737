//! What sources other than transcripts say of limits and windows, and which of it is believed.
//!
//! A status line, a cached answer, an answer to a request of ours: each states some limits at one moment. Nothing of it
//! stands in a file that could be withdrawn, and much of it may be old or wrong, so every statement is checked against
//! the present before it counts. What is refused is counted and listed, never dropped in silence.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LimitKey, RateLimitReport, Tool};
use crate::ids::{AccountId, ModelId, SessionId};
use crate::time::{MINUTE_MS, Timestamp};
use crate::units::{Money, Tokens};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal, $about:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// The word on the wire and in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// In words, for people.
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let known = Self::ALL.into_iter().find(|it| it.as_str() == text);
                known.ok_or_else(|| format!("unknown word {text:?}"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where a reading of a limit was said.
    ReadingSource {
        /// A line of a transcript.
        Transcript = "transcript", "transcript";
        /// The JSON that the tool hands to its status line.
        StatusLine = "status_line", "status line";
        /// An answer that the tool keeps in its own settings.
        CachedUsage = "cached_usage", "cached usage";
        /// An answer to a request that the dashboard had the tool make.
        UsageRequest = "usage_request", "usage request";
        /// The tool's application server.
        AppServer = "app_server", "app server";
        /// A stream of the tool's output that was piped in.
        Stream = "stream", "stream";
    }
}

words! {
    /// Why a reading is not believed.
    ReadingProblem {
        /// The percentage is a time in seconds since 1970; seen in status lines.
        PercentIsEpoch = "percent_is_epoch", "the percentage is a time";
        /// The percentage is negative or far above 100.
        PercentOutOfRange = "percent_out_of_range", "the percentage is out of range";
        /// The window was reset before the reading was taken, or has been since.
        ResetPassed = "reset_passed", "its window has been reset since";
        /// The reset is further away than the window is long: a clock is off.
        ResetTooFar = "reset_too_far", "its reset is further away than its window is long";
        /// It was taken later than now: a clock is off.
        FromFuture = "from_future", "it is dated in the future";
        /// It was taken longer ago than its window is long.
        OlderThanWindow = "older_than_window", "it is older than its window";
    }
}

/// What a source says of one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct StatedLimit {
    /// Which limit; without the account, which the statement names for all of them.
    pub limit: LimitKey,
    /// Used share as stated, meant to be 0 to 100; not yet checked.
    pub used_percent: Option<f64>,
    /// When the window is reset, if said.
    pub resets_at: Option<Timestamp>,
    /// Whether a request was refused because of it.
    pub rejected: bool,
}

/// Everything a source says of an account's limits at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Whose vendor says it.
    pub tool: Tool,
    /// Where it was said.
    pub source: ReadingSource,
    /// The account it is about, if the source names one.
    pub account: Option<AccountId>,
    /// When it was true.
    pub at: Timestamp,
    /// The limits.
    pub limits: Vec<StatedLimit>,
}

/// Usage that a tool keeps in its own settings: an answer of the vendor's, perhaps an old one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CachedUsage {
    /// The account that the settings are of.
    pub account: Option<AccountId>,
    /// When the vendor answered; without it nothing can be said of the limits' age, and they do not count.
    pub fetched_at: Option<Timestamp>,
    /// The limits it named.
    pub limits: Vec<StatedLimit>,
}

/// What a tool tells its status line of a session. Free text in it is not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusLine {
    /// The session.
    pub session: Option<SessionId>,
    /// Its transcript, which tells whose account it is.
    pub transcript_path: Option<String>,
    /// The model, perhaps with a suffix for its window.
    pub model: Option<ModelId>,
    /// Tokens in the context window.
    pub context_used: Option<Tokens>,
    /// Tokens that fit into it.
    pub context_window: Option<Tokens>,
    /// Used share of it, 0 to 100, as stated; in whole percents.
    pub context_percent: Option<f64>,
    /// What the session cost, by the tool's own account.
    pub cost: Option<Money>,
    /// Milliseconds for which the session has waited for the vendor, all told: rises with every response.
    pub api_ms: Option<u64>,
    /// The limits it names.
    pub limits: Vec<StatedLimit>,
    /// When a relay took it, if it was kept for later.
    pub relayed_at: Option<Timestamp>,
}

/// What a tool tells the status line of its subagents of one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentStatus {
    /// Its id, as the answer has to name it.
    pub id: String,
    /// Tokens in its context window.
    pub tokens: Option<Tokens>,
    /// Tokens that fit into it.
    pub window: Option<Tokens>,
    /// Its model.
    pub model: Option<ModelId>,
}

/// Percentages from here on are times in seconds since 1970: 1973.
const EPOCH_FROM: f64 = 1e8;
/// Vendors state a little more than the whole of a limit now and then.
const PERCENT_MOST: f64 = 1_000.0;
/// How much further away than its window is long a reset may be: clocks and roundings.
const RESET_TOLERANCE_MS: i64 = 10 * MINUTE_MS;

impl StatedLimit {
    /// What can be believed of it at `now`, taken at `at`.
    ///
    /// # Errors
    /// Why nothing can.
    pub fn checked(&self, at: Timestamp, now: Timestamp) -> Result<RateLimitReport, ReadingProblem> {
        let used_percent = match self.used_percent {
            Some(percent) if percent >= EPOCH_FROM => return Err(ReadingProblem::PercentIsEpoch),
            Some(percent) if !(0.0..=PERCENT_MOST).contains(&percent) => return Err(ReadingProblem::PercentOutOfRange),
            percent => percent.map(|percent| percent.min(100.0)),
        };
        if at.known_at(now).is_none() {
            return Err(ReadingProblem::FromFuture);
        }
        let at = at.min(now);
        let window_ms = self.limit.window.ms();
        match self.resets_at {
            Some(reset) if reset <= now => return Err(ReadingProblem::ResetPassed),
            Some(reset) if reset.ms_since(at) > window_ms + RESET_TOLERANCE_MS => {
                return Err(ReadingProblem::ResetTooFar);
            }
            _ if now.ms_since(at) > window_ms => return Err(ReadingProblem::OlderThanWindow),
            _ => {}
        }
        let Self { limit, resets_at, rejected, .. } = self.clone();
        Ok(RateLimitReport { limit, at, used_percent, resets_at, rejected, session: None })
    }
}

/// An entry of the ledger of readings: what a source said of a limit, whenever it said something else than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReadingEntry {
    /// Which limit.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub limit: LimitKey,
    /// Where it was said.
    pub source: ReadingSource,
    /// When it was true, by the source's word.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Used share, 0 to 100; null if not said. Of a refused reading as stated.
    pub used_percent: Option<f64>,
    /// When the window is reset; null if not said.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub resets_at: Option<Timestamp>,
    /// Whether a request was refused because of it.
    pub rejected: bool,
    /// Why it is not believed; null if it is.
    pub problem: Option<ReadingProblem>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HOUR_MS;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_789_912_800_000 + minutes * MINUTE_MS)
    }

    fn stated(used_percent: Option<f64>, resets_at: Option<Timestamp>) -> StatedLimit {
        StatedLimit { limit: LimitKey::five_hour(Tool::ClaudeCode), used_percent, resets_at, rejected: false }
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        let now = at(0);
        let soon = Some(at(60));
        for (percent, resets_at, taken, expected) in [
            (Some(42.5), soon, at(-1), Ok(Some(42.5))),
            (Some(0.0), None, at(-1), Ok(Some(0.0))),
            (None, soon, at(-1), Ok(None)),
            (Some(103.0), soon, at(-1), Ok(Some(100.0))),
            (Some(1_789_796_400.0), soon, at(-1), Err(ReadingProblem::PercentIsEpoch)),
            (Some(4_200.0), soon, at(-1), Err(ReadingProblem::PercentOutOfRange)),
            (Some(-1.0), soon, at(-1), Err(ReadingProblem::PercentOutOfRange)),
            (Some(f64::NAN), soon, at(-1), Err(ReadingProblem::PercentOutOfRange)),
            (Some(42.0), Some(at(-1)), at(-2), Err(ReadingProblem::ResetPassed)),
            (Some(42.0), Some(now), now, Err(ReadingProblem::ResetPassed)),
            (Some(42.0), soon, at(60), Err(ReadingProblem::FromFuture)),
            (Some(42.0), soon, at(4), Ok(Some(42.0))),
            (Some(42.0), Some(at(6 * 60)), now, Err(ReadingProblem::ResetTooFar)),
            (Some(42.0), Some(at(5 * 60 + 9)), now, Ok(Some(42.0))),
            (Some(42.0), None, at(-5 * 60 - 1), Err(ReadingProblem::OlderThanWindow)),
        ] {
            let found = stated(percent, resets_at).checked(taken, now).map(|report| report.used_percent);
            assert_eq!(found, expected, "{percent:?} {resets_at:?} {taken}");
        }
        let weekly = StatedLimit { limit: LimitKey::weekly(Tool::ClaudeCode), ..stated(Some(1.0), None) };
        let taken = now.plus_ms(-30 * HOUR_MS);
        assert_eq!(weekly.checked(taken, now).map(|report| report.at), Ok(taken));
        assert_eq!(weekly.checked(at(3), now).map(|report| report.at), Ok(now), "a clock slightly ahead");
    }

    #[test]
    fn every_word_reads_back() {
        assert!(ReadingSource::ALL.iter().all(|it| it.as_str().parse() == Ok(*it)));
        assert!(ReadingProblem::ALL.iter().all(|it| it.as_str().parse() == Ok(*it)));
        let json = serde_json::to_string(&ReadingProblem::PercentIsEpoch).unwrap();
        assert_eq!(json, "\"percent_is_epoch\"");
        assert_eq!(serde_json::to_string(&ReadingSource::StatusLine).unwrap(), "\"status_line\"");
    }
}
