//! The figures of one row: exact while they are added up, dollars once they are written down.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::record::Tool;
use crate::units::{Cost, Money, TokenUsage, Tokens};

/// A sum of responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct Sum {
    /// Tokens by kind.
    pub usage: TokenUsage,
    /// How many responses.
    pub responses: u64,
    /// What they cost at list prices.
    pub cost: Cost,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.usage += other.usage;
        self.responses += other.responses;
        self.cost += other.cost;
    }
}

/// A sum of responses, and the part of each tool in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Figures {
    /// All tools together.
    #[serde(flatten)]
    pub all: Sum,
    /// Each tool that has a part in it.
    pub tools: BTreeMap<Tool, Sum>,
}

impl Figures {
    /// Counts responses of `tool`.
    pub fn add(&mut self, tool: Tool, sum: Sum) {
        self.all += sum;
        *self.tools.entry(tool).or_default() += sum;
    }

    /// The dearest first; then the largest.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.all.cost.priced, self.all.usage.total(), self.all.responses))
    }
}

impl AddAssign<&Figures> for Figures {
    fn add_assign(&mut self, other: &Self) {
        self.all += other.all;
        for (&tool, &sum) in &other.tools {
            *self.tools.entry(tool).or_default() += sum;
        }
    }
}

/// [`Sum`] in JSON. The kinds are disjoint, and `total` is their sum.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub(crate) struct Written {
    /// Input tokens, neither read from nor written to the cache.
    input: Tokens,
    /// Output tokens, thinking included.
    output: Tokens,
    /// Tokens written to the cache.
    cache_creation: Tokens,
    /// The part of them kept for an hour.
    cache_creation_1h: Tokens,
    /// Tokens read from the cache.
    cache_read: Tokens,
    /// The part of the output spent on reasoning, where the tool says so.
    #[serde(default)]
    reasoning: Tokens,
    /// All four kinds.
    total: Tokens,
    /// Responses, each counted once.
    responses: u64,
    /// Cost of the priced responses at list prices, in US dollars; null if none could be priced.
    cost_usd: Option<f64>,
    /// What the cache saved on them, in US dollars.
    saved_usd: Option<f64>,
    /// Responses with tokens whose model has no price: their cost is not in it.
    unpriced_responses: u64,
}

impl From<Sum> for Written {
    fn from(sum: Sum) -> Self {
        let Sum { usage, responses, cost } = sum;
        let known = cost.known();
        Self {
            input: usage.input,
            output: usage.output,
            cache_creation: usage.cache_creation,
            cache_creation_1h: usage.cache_creation_1h,
            cache_read: usage.cache_read,
            reasoning: usage.reasoning,
            total: usage.total(),
            responses,
            cost_usd: known.map(Money::usd),
            saved_usd: known.map(|_| cost.saved.usd()),
            unpriced_responses: cost.unpriced_responses,
        }
    }
}

impl From<Written> for Sum {
    fn from(written: Written) -> Self {
        let Written { input, output, cache_creation, cache_creation_1h, cache_read, reasoning, .. } = written;
        let money = |usd: Option<f64>| usd.and_then(Money::from_usd).unwrap_or_default();
        Self {
            usage: TokenUsage { input, output, cache_creation, cache_creation_1h, cache_read, reasoning },
            responses: written.responses,
            cost: Cost {
                priced: money(written.cost_usd),
                saved: money(written.saved_usd),
                unpriced_responses: written.unpriced_responses,
            },
        }
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use utoipa::openapi::{RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    use super::{Sum, Written};

    impl PartialSchema for Sum {
        fn schema() -> RefOr<Schema> {
            Written::schema()
        }
    }

    impl ToSchema for Sum {
        fn name() -> Cow<'static, str> {
            "Sum".into()
        }

        fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            Written::schemas(schemas);
        }
    }
}
