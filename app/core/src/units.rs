//! Counts and amounts with their unit in the type: tokens, money, shares.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// A number of tokens.
///
/// Sums saturate: a reader that meets absurd counts must stay alive, and 2^64 tokens is no real sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tokens(pub u64);

impl Tokens {
    /// No tokens.
    pub const ZERO: Self = Self(0);

    /// `self` as a percentage of `whole`; `None` of nothing.
    pub fn percent_of(self, whole: Tokens) -> Option<f64> {
        (whole.0 > 0).then(|| self.0 as f64 * 100.0 / whole.0 as f64)
    }

    /// Whether there are none.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// The difference, or zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Tokens {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl Sub for Tokens {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}
impl SubAssign for Tokens {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

/// The four kinds of tokens of a response, or of a sum of responses.
///
/// The kinds are disjoint: `total` is their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenUsage {
    /// Input tokens not served from, and not written to, the cache.
    pub input: Tokens,
    /// Output tokens, thinking included.
    pub output: Tokens,
    /// Tokens written to the cache, both lifetimes together.
    pub cache_creation: Tokens,
    /// The part of `cache_creation` kept for one hour; the rest is kept for five minutes.
    pub cache_creation_1h: Tokens,
    /// Tokens read from the cache.
    pub cache_read: Tokens,
    /// The part of `output` spent on reasoning, where the tool says so; zero where it does not.
    #[serde(default, skip_serializing_if = "Tokens::is_zero")]
    pub reasoning: Tokens,
}

impl TokenUsage {
    /// All four kinds together.
    pub fn total(&self) -> Tokens {
        self.input + self.output + self.cache_creation + self.cache_read
    }

    /// What the request carried in: the fill of the context window once it is answered.
    pub fn context(&self) -> Tokens {
        self.input + self.cache_creation + self.cache_read
    }

    /// Everything but cache reads: the tokens that were new.
    pub fn fresh(&self) -> Tokens {
        self.input + self.output + self.cache_creation
    }

    /// What folk plan limits count: input and output (see the quota estimate in docs/decisions).
    pub fn quota(&self) -> Tokens {
        self.input + self.output
    }

    /// Share of input served from the cache, in percent:
    /// `cache_read ÷ (input + cache_creation + cache_read)`; `None` before any input.
    pub fn cache_hit_percent(&self) -> Option<f64> {
        self.cache_read.percent_of(self.context())
    }
}

impl AddAssign for TokenUsage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_creation += other.cache_creation;
        self.cache_creation_1h += other.cache_creation_1h;
        self.cache_read += other.cache_read;
        self.reasoning += other.reasoning;
    }
}
impl SubAssign for TokenUsage {
    fn sub_assign(&mut self, other: Self) {
        self.input -= other.input;
        self.output -= other.output;
        self.cache_creation -= other.cache_creation;
        self.cache_creation_1h -= other.cache_creation_1h;
        self.cache_read -= other.cache_read;
        self.reasoning -= other.reasoning;
    }
}

/// An amount of money in picodollars (10⁻¹² USD).
///
/// An integer, so that a sum does not depend on the order of its terms. May be negative:
/// a cache that was written and never read cost more than it saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Picodollars in one dollar.
    pub const PICO_PER_USD: i64 = 1_000_000_000_000;

    /// This many US dollars, to the nearest picodollar; `None` of what is no amount.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let pico = (usd * Self::PICO_PER_USD as f64).round();
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        pico.is_finite().then_some(Self(pico as i64))
    }

    /// In US dollars, for display and for machine-readable reports.
    pub fn usd(self) -> f64 {
        self.0 as f64 / Self::PICO_PER_USD as f64
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

/// What a set of responses cost at list prices, and how much of it could not be priced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Cost of the priced responses.
    pub priced: Money,
    /// What the cache saved on them: reads at the input price less what they cost, less the premium
    /// paid for writing.
    pub saved: Money,
    /// Responses with tokens whose model has no price. Their cost is unknown, never zero.
    pub unpriced_responses: u64,
}

impl Cost {
    /// The cost, if every response could be priced or at least one was; `None` where nothing is known.
    pub fn known(&self) -> Option<Money> {
        (self.unpriced_responses == 0 || self.priced != Money::ZERO).then_some(self.priced)
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.priced += other.priced;
        self.saved += other.saved;
        self.unpriced_responses = self.unpriced_responses.saturating_add(other.unpriced_responses);
    }
}
impl SubAssign for Cost {
    fn sub_assign(&mut self, other: Self) {
        self.priced -= other.priced;
        self.saved -= other.saved;
        self.unpriced_responses = self.unpriced_responses.saturating_sub(other.unpriced_responses);
    }
}
