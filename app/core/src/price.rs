//! What tokens cost at list prices.
//!
//! The table is a subset of `LiteLLM`'s price file, embedded from `data/prices.json` (its licence is beside it), plus
//! models that file has dropped; any file of that shape can be parsed instead. Prices are whole picodollars per
//! token, so a cost is exact and a sum of costs does not depend on its order. Knows nothing of where the tokens come
//! from, nor of prices a transcript may claim.

use std::collections::HashMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::ids::ModelId;
use crate::units::{Cost, Money, TokenUsage, Tokens};

const EMBEDDED: &str = include_str!("../data/prices.json");

/// Prices by model.
#[derive(Clone, Debug)]
pub struct PriceTable {
    models: FxHashMap<String, ModelPrices>,
}

/// A model's prices, in US dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListedPrice {
    /// The model.
    pub model: ModelId,
    /// Whether they were laid over the table inside the program.
    pub own: bool,
    /// Input.
    pub input: ListedRate,
    /// Output.
    pub output: ListedRate,
    /// Written to the cache for five minutes.
    pub write_5m: ListedRate,
    /// Written to the cache for an hour.
    pub write_1h: ListedRate,
    /// Read from the cache.
    pub read: ListedRate,
}

/// A price per million tokens, and what tokens beyond certain numbers of one response cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListedRate {
    /// US dollars per million.
    pub base: f64,
    /// Steps, lowest first.
    pub above: Vec<ListedStep>,
}

/// A price for the tokens beyond a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ListedStep {
    /// Tokens of this kind of one response up to which another price holds.
    pub tokens: u64,
    /// US dollars per million beyond.
    pub usd: f64,
}

/// What one response cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priced {
    /// The cost.
    pub cost: Money,
    /// What the cache saved: its reads at the input price less what they cost, less the premium paid for writing.
    pub saved: Money,
}

/// A price file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// It is not a JSON object of models with their fields.
    #[error("the price file is not of LiteLLM's shape")]
    Shape(#[from] serde_json::Error),
    /// A price is no number of dollars from 0 to 1 per token.
    #[error("the price file says {field} = {value} for {model}")]
    Price {
        /// The model.
        model: String,
        /// The field.
        field: String,
        /// What it says.
        value: String,
    },
}

#[derive(Clone, Debug)]
struct ModelPrices {
    /// Laid over the table inside the program.
    own: bool,
    input: Rate,
    output: Rate,
    write_5m: Rate,
    write_1h: Rate,
    read: Rate,
}

/// A price per token, with the dearer ones that apply beyond certain numbers of tokens.
#[derive(Clone, Debug)]
struct Rate {
    /// Picodollars per token.
    base: i64,
    /// For the tokens beyond the threshold; highest threshold first.
    above: Vec<(Tokens, i64)>,
}

impl PriceTable {
    /// What the table inside the program is.
    pub const EMBEDDED_SOURCE: &'static str = "LiteLLM 1.109.1, a subset, with retired models added";

    /// This table with the prices of `own` over it, model by model.
    #[must_use]
    pub fn overridden_by(mut self, own: Self) -> Self {
        self.models.extend(own.models.into_iter().map(|(model, prices)| (model, ModelPrices { own: true, ..prices })));
        self
    }

    /// How many models have a price.
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether no model has one.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// All prices, by model.
    pub fn listed(&self) -> Vec<ListedPrice> {
        let price = |(model, prices): (&String, &ModelPrices)| ListedPrice {
            model: ModelId::new(model.as_str()),
            own: prices.own,
            input: prices.input.listed(),
            output: prices.output.listed(),
            write_5m: prices.write_5m.listed(),
            write_1h: prices.write_1h.listed(),
            read: prices.read.listed(),
        };
        let mut listed: Vec<ListedPrice> = self.models.iter().map(price).collect();
        listed.sort_by(|a, b| a.model.cmp(&b.model));
        listed
    }

    /// The table that comes with the program.
    ///
    /// # Panics
    /// Never: a test parses it.
    #[expect(clippy::expect_used)]
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED).expect("the embedded price table is well-formed")
    }

    /// Reads a price file of `LiteLLM`'s shape. Models without an input price, and fields not used here, are passed over.
    ///
    /// # Errors
    /// If it is no such file, or a price in it is absurd.
    pub fn parse(json: &str) -> Result<Self, PriceError> {
        let file: HashMap<String, HashMap<String, &RawValue>> = serde_json::from_str(json)?;
        let mut models = FxHashMap::default();
        for (model, fields) in file {
            if let Some(prices) = ModelPrices::parse(&fields).map_err(|(field, value)| PriceError::Price {
                model: model.clone(),
                field,
                value,
            })? {
                models.insert(model, prices);
            }
        }
        Ok(Self { models })
    }

    /// Whether the model has a price here.
    pub fn knows(&self, model: &ModelId) -> bool {
        self.of(model).is_some()
    }

    /// A `[1m]` suffix asks for a larger window, at the same price.
    fn of(&self, model: &ModelId) -> Option<&ModelPrices> {
        let name = model.as_str();
        self.models.get(name.strip_suffix("[1m]").unwrap_or(name))
    }

    /// What one response adds to a sum of costs: its cost, or that it could not be priced.
    pub fn charge(&self, model: &ModelId, usage: &TokenUsage) -> Cost {
        match self.cost(model, usage) {
            Some(priced) => Cost { priced: priced.cost, saved: priced.saved, unpriced_responses: 0 },
            None => Cost { unpriced_responses: u64::from(usage.total() > Tokens::ZERO), ..Cost::default() },
        }
    }

    /// What these tokens of one response cost; `None` if the model has no price here. Unknown is not free.
    pub fn cost(&self, model: &ModelId, usage: &TokenUsage) -> Option<Priced> {
        let prices = self.of(model)?;
        let write_1h = usage.cache_creation_1h.min(usage.cache_creation);
        let written = prices.write_5m.charge(usage.cache_creation - write_1h) + prices.write_1h.charge(write_1h);
        let read = prices.read.charge(usage.cache_read);
        let cost = prices.input.charge(usage.input) + prices.output.charge(usage.output) + written + read;
        let without_cache = prices.input.charge(usage.cache_read) + prices.input.charge(usage.cache_creation);
        Some(Priced { cost: money(cost), saved: money(without_cache - read - written) })
    }
}

impl ModelPrices {
    /// `None` without an input price; the field and what it says if a price cannot be read.
    fn parse(fields: &HashMap<String, &RawValue>) -> Result<Option<Self>, (String, String)> {
        let rate = |field: &str| Rate::parse(fields, field);
        let Some(input) = rate("input_cost_per_token")? else { return Ok(None) };
        let flat = |base: i64| Rate { base, above: Vec::new() };
        Ok(Some(Self {
            own: false,
            output: rate("output_cost_per_token")?.unwrap_or(flat(0)),
            write_5m: rate("cache_creation_input_token_cost")?.unwrap_or(flat(input.base * 5 / 4)),
            write_1h: rate("cache_creation_input_token_cost_above_1hr")?.unwrap_or(flat(input.base * 2)),
            read: rate("cache_read_input_token_cost")?.unwrap_or(flat(input.base)),
            input,
        }))
    }
}

impl Rate {
    /// `None` if there is no such field, or it is null.
    fn parse(fields: &HashMap<String, &RawValue>, field: &str) -> Result<Option<Self>, (String, String)> {
        let mut base = None;
        let mut above = Vec::new();
        for (name, value) in fields {
            let Some(suffix) = name.strip_prefix(field) else { continue };
            let threshold = suffix.strip_prefix("_above_").and_then(|rest| rest.strip_suffix("k_tokens"));
            let threshold = threshold.and_then(|thousands| thousands.parse::<u32>().ok());
            if (threshold.is_none() && !suffix.is_empty()) || value.get() == "null" {
                continue;
            }
            let price = picodollars(value.get()).ok_or_else(|| (name.clone(), value.get().to_owned()))?;
            match threshold {
                Some(thousands) => above.push((Tokens(u64::from(thousands) * 1000), price)),
                None => base = Some(price),
            }
        }
        above.sort_unstable_by(|a, b| b.cmp(a));
        Ok(base.map(|base| Self { base, above }))
    }

    fn listed(&self) -> ListedRate {
        // A price per token in picodollars is one per million tokens in millionths of a dollar.
        let usd = |pico: i64| pico as f64 / 1e6;
        let step = |&(Tokens(tokens), pico): &(Tokens, i64)| ListedStep { tokens, usd: usd(pico) };
        ListedRate { base: usd(self.base), above: self.above.iter().rev().map(step).collect() }
    }

    /// Picodollars for this many tokens of one response.
    fn charge(&self, mut tokens: Tokens) -> i128 {
        let mut sum = 0;
        for &(threshold, price) in &self.above {
            sum += i128::from((tokens - threshold).0) * i128::from(price);
            tokens = tokens.min(threshold);
        }
        sum + i128::from(tokens.0) * i128::from(self.base)
    }
}

/// A JSON number of dollars, from 0 to 1, in picodollars; rounded if it is finer than that.
fn picodollars(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
    let power = exponent.parse::<i32>().ok()?.checked_add(12)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scale = 10_u64.checked_pow(power.unsigned_abs());
    let pico = match scale {
        _ if digits == 0 => 0,
        Some(scale) if power >= 0 => digits.checked_mul(scale)?,
        Some(scale) => (digits + scale / 2) / scale,
        None if power < 0 => 0,
        None => return None,
    };
    i64::try_from(pico).ok().filter(|&pico| pico <= Money::PICO_PER_USD)
}

/// Absurd counts make an absurd amount, not a wrapped one.
fn money(picodollars: i128) -> Money {
    Money(i64::try_from(picodollars).unwrap_or(if picodollars < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn usage(input: u64, output: u64, write: u64, write_1h: u64, read: u64) -> TokenUsage {
        TokenUsage {
            input: Tokens(input),
            output: Tokens(output),
            cache_creation: Tokens(write),
            cache_creation_1h: Tokens(write_1h),
            cache_read: Tokens(read),
            reasoning: Tokens::ZERO,
        }
    }

    #[test]
    fn prices_are_exact() {
        for (text, pico) in [
            ("1.25e-06", Some(1_250_000)),
            ("0.000015", Some(15_000_000)),
            ("2.5E-8", Some(25_000)),
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("1", Some(Money::PICO_PER_USD)),
            ("4e-13", Some(0)),
            ("5e-13", Some(1)),
            ("1e-400", Some(0)),
            ("2", None),
            ("-1e-6", None),
            ("1e400", None),
            ("\"1\"", None),
        ] {
            assert_eq!(picodollars(text), pico, "{text}");
        }
    }

    #[test]
    fn each_kind_has_its_price() {
        // USD per million: 5 in, 25 out, 6.25 write, 10 write for an hour, 0.50 read.
        let model = ModelId::new("claude-opus-4-5-20251101");
        let table = PriceTable::embedded();
        let dollars = |usage| table.cost(&model, &usage).map(|priced| priced.cost.usd());
        assert_eq!(dollars(usage(1_000_000, 0, 0, 0, 0)), Some(5.0));
        assert_eq!(dollars(usage(0, 1_000_000, 0, 0, 0)), Some(25.0));
        assert_eq!(dollars(usage(0, 0, 1_000_000, 0, 0)), Some(6.25));
        assert_eq!(dollars(usage(0, 0, 1_000_000, 1_000_000, 0)), Some(10.0));
        assert_eq!(dollars(usage(0, 0, 1_000_000, 2_000_000, 0)), Some(10.0));
        assert_eq!(dollars(usage(0, 0, 0, 0, 1_000_000)), Some(0.5));
        let saved = table.cost(&model, &usage(0, 0, 1_000_000, 0, 1_000_000)).map(|priced| priced.saved.usd());
        assert_eq!(saved, Some(4.5 - 1.25));
    }

    #[test]
    fn retired_models_and_the_long_context_suffix_are_known() {
        let table = PriceTable::embedded();
        for (name, dollars) in [
            ("claude-sonnet-4-20250514", 3.0 + 15.0 + 3.75 + 0.3),
            ("claude-sonnet-4-20250514[1m]", 3.0 + 15.0 + 3.75 + 0.3),
            ("claude-opus-4-20250514", 15.0 + 75.0 + 18.75 + 1.5),
            ("claude-opus-4-1-20250805", 15.0 + 75.0 + 18.75 + 1.5),
        ] {
            let million = usage(1_000_000, 1_000_000, 1_000_000, 0, 1_000_000);
            assert_eq!(table.cost(&ModelId::new(name), &million).map(|priced| priced.cost.usd()), Some(dollars));
        }
        assert_eq!(table.cost(&ModelId::new("a-model-from-the-future"), &usage(1, 0, 0, 0, 0)), None);
    }

    #[test]
    fn missing_prices_follow_from_the_input_price() -> Result<(), PriceError> {
        let table = PriceTable::parse(
            r#"{"m": {"input_cost_per_token": 4e-06, "mode": "chat", "max_input_tokens": 200000,
                      "cache_read_input_token_cost": null},
                "free-of-charge": {"input_cost_per_token": 0},
                "without-input": {"output_cost_per_token": 1e-06}}"#,
        )?;
        let cost = |model: &str, usage| table.cost(&ModelId::new(model), &usage).map(|priced| priced.cost.0);
        assert_eq!(cost("m", usage(1, 1, 2, 1, 1)), Some(4_000_000 + 5_000_000 + 8_000_000 + 4_000_000));
        assert_eq!(cost("free-of-charge", usage(1, 1, 1, 1, 1)), Some(0));
        assert_eq!(cost("without-input", usage(1, 1, 1, 1, 1)), None);
        Ok(())
    }

    #[test]
    fn tiers_apply_to_the_tokens_beyond_them() -> Result<(), PriceError> {
        let table = PriceTable::parse(
            r#"{"m": {"input_cost_per_token": 1e-12, "input_cost_per_token_above_200k_tokens": 2e-12,
                      "input_cost_per_token_above_1000k_tokens": 3e-12, "input_cost_per_token_batches": 9,
                      "cache_creation_input_token_cost": 1e-12,
                      "cache_creation_input_token_cost_above_1hr": 5e-12,
                      "cache_creation_input_token_cost_above_1hr_above_100k_tokens": 7e-12}}"#,
        )?;
        let cost = |usage| table.cost(&ModelId::new("m"), &usage).map(|priced| priced.cost.0);
        assert_eq!(cost(usage(200_000, 0, 0, 0, 0)), Some(200_000));
        assert_eq!(cost(usage(200_001, 0, 0, 0, 0)), Some(200_002));
        assert_eq!(cost(usage(1_000_002, 0, 0, 0, 0)), Some(200_000 + 2 * 800_000 + 3 * 2));
        assert_eq!(cost(usage(0, 0, 100_001, 100_001, 0)), Some(500_007));
        Ok(())
    }

    #[test]
    fn prices_are_listed_per_million_with_their_steps() -> Result<(), PriceError> {
        let own = PriceTable::parse(
            r#"{"claude-opus-4-5": {"input_cost_per_token": 3e-06, "input_cost_per_token_above_200k_tokens": 6e-06}}"#,
        )?;
        let embedded = PriceTable::embedded();
        let table = embedded.clone().overridden_by(own);
        let (before, listed) = (embedded.listed(), table.listed());
        assert_eq!((table.len(), listed.len()), (embedded.len(), before.len()));
        let opus = |listed: &[ListedPrice]| listed.iter().find(|it| it.model.as_str() == "claude-opus-4-5").cloned();
        let (Some(before), Some(own)) = (opus(&before), opus(&listed)) else { panic!("not listed") };
        assert_eq!((before.own, before.input.base, before.read.base), (false, 5.0, 0.5));
        assert_eq!((own.own, own.input.base, own.write_5m.base), (true, 3.0, 3.75));
        assert_eq!(own.input.above, [ListedStep { tokens: 200_000, usd: 6.0 }]);
        assert_eq!(own.output.base, 0.0, "a model is replaced as a whole");
        assert!(listed.is_sorted_by(|a, b| a.model < b.model));
        Ok(())
    }

    #[test]
    fn absurd_counts_saturate() {
        let most = usage(u64::MAX, u64::MAX, u64::MAX, 0, u64::MAX);
        let priced = PriceTable::embedded().cost(&ModelId::new("claude-opus-4-5"), &most);
        assert_eq!(priced.map(|priced| priced.cost), Some(Money(i64::MAX)));
    }

    #[test]
    fn a_price_file_of_another_shape_is_refused() {
        assert!(matches!(PriceTable::parse("[]"), Err(PriceError::Shape(_))));
        let absurd = PriceTable::parse(r#"{"m": {"input_cost_per_token": 3}}"#);
        let Err(error) = absurd else { panic!("accepted") };
        assert_eq!(error.to_string(), "the price file says input_cost_per_token = 3 for m");
    }
}
