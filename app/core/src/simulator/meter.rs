//! The vendor's side of the simulation: limits, their use, and what is said of them.
//!
//! It counts fresh tokens against budgets of its own. The real vendor's formula is not known; this
//! one only has to move the way a limit does.

use super::script::Script;
use crate::ids::SessionId;
use crate::record::{LimitKey, RateLimitReport, Record, Tool};
use crate::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::units::{TokenUsage, Tokens};

const FIVE_HOURS_MS: i64 = 5 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// How far into a week the simulation starts.
const WEEK_LEFT_MS: i64 = 3 * DAY_MS + 7 * HOUR_MS;
/// The largest model has this part of the week's budget.
const LARGEST_SHARE: u64 = 2;

/// One limit: used and allowed fresh tokens, and the reset.
#[derive(Clone, Copy, Debug)]
struct Limit {
    used: u64,
    budget: u64,
    resets_at: Timestamp,
}

impl Limit {
    /// Used share in percent with one decimal, at most 100.
    fn percent(&self) -> f64 {
        let permille = (u128::from(self.used) * 1_000 / u128::from(self.budget)).min(1_000);
        permille as f64 / 10.0
    }
}

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Meter {
    five_hour: Limit,
    week: Limit,
    largest: Limit,
}

impl Meter {
    /// The meters as they stand when the detailed history begins.
    pub(super) fn new(script: &Script, history: Timestamp, start: Timestamp) -> Self {
        let mut five_hour_reset = start.plus_ms(script.first_reset_ms);
        while five_hour_reset.plus_ms(-FIVE_HOURS_MS) > history {
            five_hour_reset = five_hour_reset.plus_ms(-FIVE_HOURS_MS);
        }
        let limit = |budget: u64, used_percent: u64, resets_at: Timestamp| Limit {
            used: budget / 100 * used_percent,
            budget,
            resets_at,
        };
        let week_reset = start.plus_ms(WEEK_LEFT_MS);
        let largest_budget = script.week_budget / LARGEST_SHARE;
        Self {
            five_hour: limit(script.five_hour_budget, script.five_hour_used_percent, five_hour_reset),
            week: limit(script.week_budget, script.week_used_percent, week_reset),
            largest: limit(largest_budget, script.week_used_percent / LARGEST_SHARE, week_reset),
        }
    }

    /// Until when requests are refused, if they are.
    pub(super) fn blocked_until(&self, now: Timestamp) -> Option<Timestamp> {
        let limits = [&self.five_hour, &self.week];
        limits.iter().filter(|limit| limit.used >= limit.budget && now < limit.resets_at).map(|l| l.resets_at).max()
    }

    /// Counts a response.
    pub(super) fn count(&mut self, usage: &TokenUsage, largest: bool, now: Timestamp) {
        if now >= self.five_hour.resets_at {
            // The next window begins with the first use after the reset of the last.
            self.five_hour = Limit { used: 0, resets_at: now.plus_ms(FIVE_HOURS_MS), ..self.five_hour };
        }
        for limit in [&mut self.week, &mut self.largest] {
            while now >= limit.resets_at {
                *limit = Limit { used: 0, resets_at: limit.resets_at.plus_ms(WEEK_MS), ..*limit };
            }
        }
        let Tokens(fresh) = usage.fresh();
        self.five_hour.used += fresh;
        self.week.used += fresh;
        if largest {
            self.largest.used += fresh;
        }
    }

    /// What the vendor says of all limits now.
    pub(super) fn reports(&self, now: Timestamp) -> impl Iterator<Item = Record> {
        let limits = [
            (LimitKey::five_hour(Tool::ClaudeCode), self.five_hour),
            (LimitKey::weekly(Tool::ClaudeCode), self.week),
            (LimitKey::weekly(Tool::ClaudeCode).of_family("opus"), self.largest),
        ];
        limits.into_iter().filter(move |(_, limit)| now < limit.resets_at).map(move |(key, limit)| {
            Record::RateLimit(RateLimitReport {
                limit: key,
                at: now,
                used_percent: Some(limit.percent()),
                resets_at: Some(limit.resets_at),
                rejected: false,
                session: None,
            })
        })
    }

    /// A refusal, told to `session`.
    pub(super) fn refusal(&self, now: Timestamp, session: &SessionId) -> Record {
        let five_hour = self.five_hour.used >= self.five_hour.budget && now < self.five_hour.resets_at;
        let tool = Tool::ClaudeCode;
        let (key, limit) =
            if five_hour { (LimitKey::five_hour(tool), self.five_hour) } else { (LimitKey::weekly(tool), self.week) };
        Record::RateLimit(RateLimitReport {
            limit: key,
            at: now,
            used_percent: Some(100.0),
            resets_at: Some(limit.resets_at),
            rejected: true,
            session: Some(session.clone()),
        })
    }
}
