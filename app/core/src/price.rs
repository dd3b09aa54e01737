//! What tokens cost at list prices.
//!
//! The table is a subset of `LiteLLM`'s price file, embedded from `data/prices.json` (its licence is beside it), plus
//! models that file has dropped; any file of that shape can be parsed instead. Prices are whole picodollars per
//! token, so a cost is exact and a sum of costs does not depend on its order. Knows nothing of where the tokens come
//! from, nor of prices a transcript may claim.

use std::collections::HashMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
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

/// A price per million tokens, and the prices that replace it for responses with large prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListedRate {
    /// US dollars per million.
    pub base: f64,
    /// Tiers, lowest first.
    pub above: Vec<ListedStep>,
}

/// A tier: the price of a response whose whole prompt is larger than a number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ListedStep {
    /// Tokens of the whole prompt (input, cache writes and cache reads) above which the price holds.
    pub tokens: u64,
    /// US dollars per million, for all tokens of such a response.
    pub usd: f64,
}

/// Which tier of a model's prices holds for a response: the number of the model's thresholds that its whole prompt
/// exceeds. 0 for models without tiers, and for models without prices.
///
/// Within one class, cost is linear in the tokens: the cost of a sum of responses is the sum of their costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PromptClass(pub u8);

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
    /// Prompt sizes above which another class begins, ascending.
    thresholds: Vec<Tokens>,
    /// Prices of each class; one more than there are thresholds.
    classes: Vec<ClassPrices>,
}

/// Prices of the responses of one class, in picodollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClassPrices {
    input: i64,
    output: i64,
    write_5m: i64,
    write_1h: i64,
    read: i64,
}

/// A field of a price file, with its tiers.
#[derive(Clone, Debug, Default)]
struct Rate {
    /// Picodollars per token; `None` if the field is missing or null.
    base: Option<i64>,
    /// Thresholds on the whole prompt, and the price above each; highest threshold first.
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
            input: prices.listed(|class| class.input),
            output: prices.listed(|class| class.output),
            write_5m: prices.listed(|class| class.write_5m),
            write_1h: prices.listed(|class| class.write_1h),
            read: prices.listed(|class| class.read),
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

    /// Whether the model has a price.
    pub fn has(&self, model: &ModelId) -> bool {
        self.of(model).is_some()
    }

    /// The class of a response.
    pub fn class(&self, model: &ModelId, usage: &TokenUsage) -> PromptClass {
        self.of(model).map_or(PromptClass::default(), |prices| prices.class(usage))
    }

    /// What one response adds to a sum of costs: its cost, or that it could not be priced.
    pub fn charge(&self, model: &ModelId, usage: &TokenUsage) -> Cost {
        self.charge_sum(model, self.class(model, usage), usage, u64::from(usage.total() > Tokens::ZERO))
    }

    /// What responses of one class add to a sum of costs: `usage` is their sum, `with_tokens` how many of them have
    /// any tokens.
    pub fn charge_sum(&self, model: &ModelId, class: PromptClass, usage: &TokenUsage, with_tokens: u64) -> Cost {
        match self.of(model) {
            Some(prices) => {
                let Priced { cost, saved } = prices.cost(class, usage);
                Cost { priced: cost, saved, unpriced_responses: 0 }
            }
            None => Cost { unpriced_responses: with_tokens, ..Cost::default() },
        }
    }

    /// What these tokens of one response cost; `None` if the model has no price here. Unknown is not free.
    pub fn cost(&self, model: &ModelId, usage: &TokenUsage) -> Option<Priced> {
        self.of(model).map(|prices| prices.cost(prices.class(usage), usage))
    }

    /// Identifies the classes of this table: equal for two tables that put every response into the same class,
    /// whatever their prices. Databases hold it, so it never changes for the same thresholds.
    pub fn classes_fingerprint(&self) -> u64 {
        let mut tiered: Vec<(&str, &[Tokens])> = self
            .models
            .iter()
            .filter(|(_, prices)| !prices.thresholds.is_empty())
            .map(|(model, prices)| (model.as_str(), prices.thresholds.as_slice()))
            .collect();
        tiered.sort_unstable();
        let mut bytes = Vec::new();
        for (model, thresholds) in tiered {
            bytes.extend_from_slice(model.as_bytes());
            bytes.push(0);
            thresholds.iter().for_each(|threshold| bytes.extend_from_slice(&threshold.0.to_le_bytes()));
            bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}

impl ModelPrices {
    /// `None` without an input price; the field and what it says if a price cannot be read.
    fn parse(fields: &HashMap<String, &RawValue>) -> Result<Option<Self>, (String, String)> {
        let rate = |field: &str| Rate::parse(fields, field);
        let input = rate("input_cost_per_token")?;
        let Some(input_base) = input.base else { return Ok(None) };
        let output = rate("output_cost_per_token")?;
        let write_5m = rate("cache_creation_input_token_cost")?;
        let write_1h = rate("cache_creation_input_token_cost_above_1hr")?;
        let read = rate("cache_read_input_token_cost")?;
        let rates = [&input, &output, &write_5m, &write_1h, &read];
        let mut thresholds: Vec<Tokens> = rates.iter().flat_map(|rate| &rate.above).map(|tier| tier.0).collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        // A class is one byte in databases. No price file has more than three tiers.
        thresholds.truncate(usize::from(u8::MAX));
        let class = |above: Option<Tokens>| {
            let input = input.price(above, input_base);
            ClassPrices {
                input,
                output: output.price(above, 0),
                write_5m: write_5m.price(above, input * 5 / 4),
                write_1h: write_1h.price(above, input * 2),
                read: read.price(above, input),
            }
        };
        let classes = std::iter::once(None).chain(thresholds.iter().copied().map(Some)).map(class).collect();
        Ok(Some(Self { own: false, thresholds, classes }))
    }

    fn class(&self, usage: &TokenUsage) -> PromptClass {
        if self.thresholds.is_empty() {
            return PromptClass::default();
        }
        let prompt = usage.context();
        let exceeded = self.thresholds.iter().take_while(|&&threshold| prompt > threshold).count();
        PromptClass(u8::try_from(exceeded).unwrap_or(u8::MAX))
    }

    /// What the tokens of responses of this class cost. Of a class that the table does not have, the highest.
    fn cost(&self, class: PromptClass, usage: &TokenUsage) -> Priced {
        let index = usize::from(class.0).min(self.classes.len().saturating_sub(1));
        let Some(prices) = self.classes.get(index) else { return Priced::default() };
        let charge = |tokens: Tokens, price: i64| i128::from(tokens.0) * i128::from(price);
        let write_1h = usage.cache_creation_1h.min(usage.cache_creation);
        let written = charge(usage.cache_creation - write_1h, prices.write_5m) + charge(write_1h, prices.write_1h);
        let read = charge(usage.cache_read, prices.read);
        let cost = charge(usage.input, prices.input) + charge(usage.output, prices.output) + written + read;
        let without_cache = charge(usage.cache_read, prices.input) + charge(usage.cache_creation, prices.input);
        Priced { cost: money(cost), saved: money(without_cache - read - written) }
    }

    fn listed(&self, kind: impl Fn(&ClassPrices) -> i64) -> ListedRate {
        // A price per token in picodollars is one per million tokens in millionths of a dollar.
        let usd = |class: &ClassPrices| kind(class) as f64 / 1e6;
        let base = self.classes.first().map_or(0.0, usd);
        let tiers = self.thresholds.iter().zip(self.classes.windows(2));
        let changes = tiers.filter(|(_, pair)| kind(&pair[0]) != kind(&pair[1]));
        let above = changes.map(|(&Tokens(tokens), pair)| ListedStep { tokens, usd: usd(&pair[1]) }).collect();
        ListedRate { base, above }
    }
}

impl Rate {
    /// The field and its tiers; both empty if there is no such field.
    fn parse(fields: &HashMap<String, &RawValue>, field: &str) -> Result<Self, (String, String)> {
        let mut rate = Self::default();
        for (name, value) in fields {
            let Some(suffix) = name.strip_prefix(field) else { continue };
            let threshold = suffix.strip_prefix("_above_").and_then(|rest| rest.strip_suffix("k_tokens"));
            let threshold = threshold.and_then(|thousands| thousands.parse::<u32>().ok());
            if (threshold.is_none() && !suffix.is_empty()) || value.get() == "null" {
                continue;
            }
            let price = picodollars(value.get()).ok_or_else(|| (name.clone(), value.get().to_owned()))?;
            match threshold {
                Some(thousands) => rate.above.push((Tokens(u64::from(thousands) * 1000), price)),
                None => rate.base = Some(price),
            }
        }
        rate.above.sort_unstable_by(|a, b| b.cmp(a));
        Ok(rate)
    }

    /// The price of a response whose prompt exceeds `above`, the highest threshold of the model that it exceeds.
    fn price(&self, above: Option<Tokens>, fallback: i64) -> i64 {
        let tier = above.and_then(|above| self.above.iter().find(|(threshold, _)| *threshold <= above));
        tier.map(|&(_, price)| price).or(self.base).unwrap_or(fallback)
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

    fn tiered() -> Result<PriceTable, PriceError> {
        PriceTable::parse(
            r#"{"m": {"input_cost_per_token": 1e-12, "input_cost_per_token_above_200k_tokens": 2e-12,
                      "input_cost_per_token_above_1000k_tokens": 3e-12, "input_cost_per_token_batches": 9,
                      "output_cost_per_token": 10e-12, "output_cost_per_token_above_200k_tokens": 20e-12,
                      "cache_creation_input_token_cost": 1e-12,
                      "cache_creation_input_token_cost_above_1hr": 5e-12,
                      "cache_creation_input_token_cost_above_1hr_above_100k_tokens": 7e-12},
                "flat": {"input_cost_per_token": 1e-12}}"#,
        )
    }

    #[test]
    fn a_tier_holds_for_all_tokens_of_a_response_whose_whole_prompt_exceeds_it() -> Result<(), PriceError> {
        let table = tiered()?;
        let cost = |usage| table.cost(&ModelId::new("m"), &usage).map(|priced| priced.cost.0);
        assert_eq!(cost(usage(200_000, 1, 0, 0, 0)), Some(200_000 + 10));
        assert_eq!(cost(usage(200_001, 1, 0, 0, 0)), Some(2 * 200_001 + 20), "input and output");
        assert_eq!(cost(usage(1, 1, 0, 0, 200_000)), Some(2 + 20 + 2 * 200_000), "cache reads are part of the prompt");
        assert_eq!(cost(usage(1_000_001, 1, 0, 0, 0)), Some(3 * 1_000_001 + 20), "the highest tier a kind has");
        assert_eq!(cost(usage(0, 0, 100_001, 100_001, 0)), Some(7 * 100_001));
        assert_eq!(cost(usage(0, 300_000, 0, 0, 0)), Some(10 * 300_000), "output is no part of the prompt");
        Ok(())
    }

    #[test]
    fn the_cost_of_a_sum_of_one_class_is_the_sum_of_the_costs() -> Result<(), PriceError> {
        let table = tiered()?;
        for (model, prompts) in
            [("m", [1, 100_001, 200_001, 1_000_001]), ("flat", [1, 2, 3, 4]), ("none", [1, 2, 3, 4])]
        {
            let model = ModelId::new(model);
            let mut sums: HashMap<PromptClass, (TokenUsage, u64)> = HashMap::new();
            let mut single = Cost::default();
            for prompt in prompts {
                for output in 0..5 {
                    let usage = usage(prompt - 1, output * 3, 1, output % 2, output);
                    single += table.charge(&model, &usage);
                    let (sum, with_tokens) = sums.entry(table.class(&model, &usage)).or_default();
                    *sum += usage;
                    *with_tokens += 1;
                }
            }
            let mut summed = Cost::default();
            for (class, (usage, with_tokens)) in sums {
                summed += table.charge_sum(&model, class, &usage, with_tokens);
            }
            assert_eq!(summed, single, "{model}");
        }
        Ok(())
    }

    #[test]
    fn the_fingerprint_is_of_the_thresholds_alone() -> Result<(), PriceError> {
        let of = |text: &str| PriceTable::parse(text).map(|table| table.classes_fingerprint());
        let base = of(r#"{"m": {"input_cost_per_token": 1e-6, "input_cost_per_token_above_200k_tokens": 2e-6}}"#)?;
        let dearer = of(r#"{"m": {"input_cost_per_token": 3e-6, "input_cost_per_token_above_200k_tokens": 5e-6},
                "flat": {"input_cost_per_token": 3e-6}}"#)?;
        let other = of(r#"{"m": {"input_cost_per_token": 1e-6, "input_cost_per_token_above_100k_tokens": 2e-6}}"#)?;
        assert_eq!(base, dearer);
        assert_ne!(base, other);
        assert_eq!(of("{}")?, 0x2d06_8005_38d3_94c2, "databases hold it");
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
