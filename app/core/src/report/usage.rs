//! What reports are made of: sums of responses that have everything a report tells apart in common.

use crate::history::Response;
use crate::ids::{AgentId, ModelId, SessionId};
use crate::price::{PriceTable, PromptClass};
use crate::record::Tool;
use crate::time::{FUTURE_TOLERANCE_MS, MINUTE_MS, Timestamp};
use crate::units::{TokenUsage, Tokens};

/// Length of the spans of time that responses are summed over. All time zones in use are whole quarter hours from UTC,
/// so that no day begins within one.
pub const QUARTER_MS: i64 = 15 * MINUTE_MS;

/// The instants that a row must not have responses on both sides of, for reports at `now`: of such a row, each response
/// has to be a row of its own. To them come, for the audit, the times of the session's account
/// ([`Accounts`](crate::accounts::Accounts)).
pub fn cuts(now: Timestamp, account: Option<Timestamp>) -> impl Iterator<Item = Timestamp> {
    [now.plus_ms(FUTURE_TOLERANCE_MS)].into_iter().chain(account)
}

/// A span of time within which reports do not tell responses apart: the first instant of a quarter hour, or the rest of
/// it. The first instant is apart because a five-hour block, which begins at an hour, ends after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// When the quarter hour begins.
    pub quarter: Timestamp,
    /// False: exactly then. True: later.
    pub is_rest: bool,
}

impl Slot {
    /// The one that `at` is in.
    pub fn of(at: Timestamp) -> Self {
        let quarter = at.floor_to(QUARTER_MS);
        Self { quarter, is_rest: at != quarter }
    }
}

/// A sum of responses: of one [`Slot`], tool, session, agent, model and prompt class. A single response is a row of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageRow<'a> {
    /// Whose they are.
    pub tool: Tool,
    /// The session they belong to.
    pub session: &'a SessionId,
    /// The subagent that asked, if one did and is known by name.
    pub agent: Option<&'a AgentId>,
    /// The model that answered.
    pub model: &'a ModelId,
    /// Which of the model's prices hold.
    pub class: PromptClass,
    /// The first and the last of them, both within one [`Slot`]; `None` if their time is not known.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Their tokens. `cache_creation_1h` is at most `cache_creation` of each response.
    pub usage: TokenUsage,
    /// How many.
    pub responses: u64,
    /// How many of them have any tokens.
    pub with_tokens: u64,
}

impl<'a> UsageRow<'a> {
    /// A single response.
    pub fn of(response: &Response<'a>, prices: &PriceTable) -> Self {
        let usage = clamped(response.usage);
        Self {
            tool: response.tool,
            session: response.session,
            agent: None,
            model: response.model,
            class: prices.class(response.model, &usage),
            span: response.at.map(|at| (at, at)),
            usage,
            responses: 1,
            with_tokens: u64::from(usage.total() > Tokens::ZERO),
        }
    }

    /// The row as of `now`: times further ahead than clocks differ are not known yet. They count, but in no day and no block.
    pub(super) fn as_of(self, now: Timestamp) -> Self {
        let is_known = self.span.is_none_or(|(_, last)| last.known_at(now).is_some());
        if is_known { self } else { Self { span: None, ..self } }
    }

    /// When they were, if that is known.
    pub fn slot(&self) -> Option<Slot> {
        self.span.map(|(first, _)| Slot::of(first))
    }
}

/// The usage with no more tokens written for an hour than written at all, so that it can be summed.
pub fn clamped(usage: TokenUsage) -> TokenUsage {
    TokenUsage { cache_creation_1h: usage.cache_creation_1h.min(usage.cache_creation), ..usage }
}

/// The span that includes both.
pub(super) fn joined(
    a: Option<(Timestamp, Timestamp)>,
    b: Option<(Timestamp, Timestamp)>,
) -> Option<(Timestamp, Timestamp)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}
