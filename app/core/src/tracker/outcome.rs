//! Whether a session is blocked: what became of its newest request.

use crate::record::{LimitKey, RateLimitReport};
use crate::time::{HOUR_MS, Timestamp};

/// A refusal that names no reset is believed this long.
const WITHOUT_RESET_MS: i64 = HOUR_MS;

/// What became of a request. Of two, the newer one counts, whichever was read first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestOutcome {
    /// When it was answered or refused.
    at: Timestamp,
    /// The limit that refused it; `None` if it was answered.
    refused_by: Option<LimitKey>,
    /// When that limit is reset, if said.
    resets_at: Option<Timestamp>,
}

impl RequestOutcome {
    /// A request that was answered at `at`.
    pub(super) fn success(at: Timestamp) -> Self {
        Self { at, refused_by: None, resets_at: None }
    }

    /// The request that the report refuses, if it does.
    pub(super) fn refusal(report: &RateLimitReport) -> Option<Self> {
        let (at, refused_by, resets_at) = (report.at, Some(report.limit.clone()), report.resets_at);
        report.rejected.then_some(Self { at, refused_by, resets_at })
    }

    /// The newer of two. Of one millisecond, an answer goes before a refusal: the session goes on.
    pub(super) fn newest(known: Option<Self>, other: Self) -> Option<Self> {
        let rank = |it: &Self| (it.at, it.refused_by.is_none(), it.resets_at, it.refused_by.clone());
        match known {
            Some(known) if rank(&known) >= rank(&other) => Some(known),
            _ => Some(other),
        }
    }

    /// Whether it blocks the session at `now`: it was refused, and the limit is not reset yet.
    pub(super) fn blocks(&self, now: Timestamp) -> bool {
        let until = self.resets_at.unwrap_or_else(|| self.at.plus_ms(WITHOUT_RESET_MS));
        self.refused_by.is_some() && now < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Tool;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn refusal(ms: i64, resets_at: Option<i64>) -> RequestOutcome {
        let limit = LimitKey::five_hour(Tool::ClaudeCode);
        let (at, resets_at) = (at(ms), resets_at.map(at));
        let report = RateLimitReport { limit, at, used_percent: None, resets_at, rejected: true, session: None };
        RequestOutcome::refusal(&report).unwrap()
    }

    #[test]
    fn the_newest_outcome_holds_whichever_was_read_first() {
        let outcomes = [
            RequestOutcome::success(at(10)),
            refusal(20, Some(1_000)),
            RequestOutcome::success(at(30)),
            refusal(30, Some(9)),
        ];
        let order = |order: [usize; 4]| {
            order.iter().fold(None, |known, &i| RequestOutcome::newest(known, outcomes[i].clone())).unwrap()
        };
        for [a, b, c, d] in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            assert!(!order([a, b, c, d]).blocks(at(40)), "a later request was answered");
        }
        assert!(order([0, 1, 0, 1]).blocks(at(999)) && !order([1, 0, 1, 0]).blocks(at(1_000)));
        assert!(refusal(0, None).blocks(at(WITHOUT_RESET_MS - 1)) && !refusal(0, None).blocks(at(WITHOUT_RESET_MS)));
    }
}
