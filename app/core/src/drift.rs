//! The tool's own account of each session beside ours, and what lies between.
//!
//! Claude Code writes what it thinks a session has used when the session ends ([`ToolCost`]). Ours is what the
//! transcripts hold up to that moment. Theirs is larger by requests that leave no line (titles, summaries, answers
//! broken off), ours by subagents that were still writing. Nothing is corrected by it: a drift
//! shows how far our figures can be believed, and is a reason to look.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::accounts::Accounts;
use crate::ids::{ModelId, SessionId};
use crate::price::PriceTable;
use crate::record::ToolCost;
use crate::report::UsageRow;
use crate::time::Timestamp;
use crate::units::{Cost, Money, TokenUsage};

/// Our own figures of the sessions that have an account, while they are added up.
#[derive(Debug)]
pub struct Comparison<'a> {
    accounts: &'a Accounts,
    prices: &'a PriceTable,
    ours: BTreeMap<(&'a SessionId, ModelId), (TokenUsage, Cost)>,
}

impl<'a> Comparison<'a> {
    /// Begins to set our own figures beside the tools' accounts.
    pub fn new(accounts: &'a Accounts, prices: &'a PriceTable) -> Self {
        Self { accounts, prices, ours: BTreeMap::new() }
    }

    /// Counts responses, if they are part of what an account is about. A row must not have responses before and after the
    /// account's time.
    pub fn add(&mut self, row: &UsageRow<'_>) {
        let Some((session, account)) = self.accounts.get(row.session) else { return };
        if row.span.zip(account.at).is_some_and(|((_, last), at)| last > at) {
            return;
        }
        let (usage, cost) = self.ours.entry((session, row.model.clone())).or_default();
        *usage += row.usage;
        *cost += self.prices.charge_sum(row.model, row.class, &row.usage, row.with_tokens);
    }

    /// The comparison of all sessions that have an account, the largest difference in cost first.
    pub fn finish(self) -> Drift {
        let mut sessions: Vec<SessionDrift> = self.accounts.iter().map(|said| self.session(said)).collect();
        let difference = |session: &SessionDrift| session.beside.difference.cost_usd.map_or(0.0, f64::abs);
        sessions.sort_by(|a, b| difference(b).total_cmp(&difference(a)).then_with(|| a.session.cmp(&b.session)));
        // In picodollars, so that the sum does not depend on the order.
        let cost = |of: fn(&Beside) -> Option<f64>| {
            let known = sessions.iter().filter(|session| session.beside.difference.cost_usd.is_some());
            let costs = known.filter_map(|session| of(&session.beside).and_then(Money::from_usd));
            costs.sum::<Money>()
        };
        let compared = sessions.iter().filter(|session| session.beside.difference.cost_usd.is_some()).count() as u64;
        let (theirs, ours) = (cost(|it| it.theirs.cost_usd), cost(|it| it.ours.cost_usd));
        let usd = |money: Money| (compared > 0).then(|| money.usd());
        Drift { compared, theirs_usd: usd(theirs), ours_usd: usd(ours), difference_usd: usd(ours - theirs), sessions }
    }

    fn session(&self, said: &ToolCost) -> SessionDrift {
        let mut theirs: BTreeMap<ModelId, (TokenUsage, Option<Money>)> = BTreeMap::new();
        for model in &said.models {
            // Their name has a suffix where the window is large; ours never has.
            let name = model.model.as_str();
            let name = name.strip_suffix("[1m]").unwrap_or(name);
            let (usage, cost) = theirs.entry(ModelId::new(name)).or_insert((TokenUsage::default(), Some(Money::ZERO)));
            *usage += model.usage;
            *cost = cost.zip(model.cost).map(|(sum, cost)| sum + cost);
        }
        let ours: BTreeMap<ModelId, (TokenUsage, Cost)> = self
            .ours
            .range((&said.session, ModelId::new(""))..)
            .take_while(|((session, _), _)| **session == said.session)
            .map(|((_, model), &figures)| (model.clone(), figures))
            .collect();

        let account = |(usage, cost): (TokenUsage, Option<Money>)| Account::new(Some(usage), cost);
        let of_ours = |model: &ModelId| ours.get(model).map(|&(usage, cost)| (usage, cost.known()));
        let nothing = (TokenUsage::default(), Some(Money::ZERO));
        let names: std::collections::BTreeSet<&ModelId> = theirs.keys().chain(ours.keys()).collect();
        let models = names.into_iter().map(|model| ModelDrift {
            model: model.clone(),
            beside: Beside::new(
                account(theirs.get(model).copied().unwrap_or(nothing)),
                account(of_ours(model).unwrap_or(nothing)),
            ),
        });

        let their_usage = (!theirs.is_empty()).then(|| sum(theirs.values().map(|it| it.0)));
        let costs = theirs.values().map(|it| it.1).collect::<Option<Vec<Money>>>();
        let costs = costs.filter(|costs| !costs.is_empty()).map(|costs| costs.into_iter().sum());
        let mut our_cost = Cost::default();
        ours.values().for_each(|it| our_cost += it.1);
        // A part that has no price makes the whole incomparable.
        let our_known = (our_cost.unpriced_responses == 0).then_some(our_cost.priced);
        SessionDrift {
            session: said.session.clone(),
            at: said.at,
            beside: Beside::new(
                Account::new(their_usage, said.cost.or(costs)),
                Account::new(Some(sum(ours.values().map(|it| it.0))), our_known),
            ),
            models: models.collect(),
        }
    }
}

fn sum(usages: impl Iterator<Item = TokenUsage>) -> TokenUsage {
    usages.fold(TokenUsage::default(), |mut sum, usage| {
        sum += usage;
        sum
    })
}

/// The accounts of all sessions that have one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Drift {
    /// Sessions whose cost both sides know; the sums are over these.
    pub compared: u64,
    /// What they cost by the tool's account, in US dollars.
    pub theirs_usd: Option<f64>,
    /// What they cost by ours.
    pub ours_usd: Option<f64>,
    /// Ours less theirs.
    pub difference_usd: Option<f64>,
    /// All sessions with an account, the largest difference in cost first.
    pub sessions: Vec<SessionDrift>,
}

/// A session's two accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionDrift {
    /// The session.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub session: SessionId,
    /// Up to when both count.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub at: Option<Timestamp>,
    /// All models together.
    #[serde(flatten)]
    pub beside: Beside,
    /// Each model that one of the sides knows.
    pub models: Vec<ModelDrift>,
}

/// A model's two accounts within a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ModelDrift {
    /// The model, without a `[1m]` suffix.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub model: ModelId,
    /// The accounts.
    #[serde(flatten)]
    pub beside: Beside,
}

/// Two accounts and what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Beside {
    /// The tool's.
    pub theirs: Account,
    /// Ours.
    pub ours: Account,
    /// Ours less theirs, where both are known.
    pub difference: Account,
}

/// Tokens and cost. What is not known is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Account {
    /// Input tokens, neither read from nor written to the cache.
    pub input: Option<i64>,
    /// Output tokens.
    pub output: Option<i64>,
    /// Tokens written to the cache.
    pub cache_creation: Option<i64>,
    /// Tokens read from the cache.
    pub cache_read: Option<i64>,
    /// All four kinds.
    pub total: Option<i64>,
    /// Cost in US dollars.
    pub cost_usd: Option<f64>,
}

impl Account {
    fn new(usage: Option<TokenUsage>, cost: Option<Money>) -> Self {
        let tokens = |kind: fn(&TokenUsage) -> crate::units::Tokens| {
            usage.map(|usage| i64::try_from(kind(&usage).0).unwrap_or(i64::MAX))
        };
        Self {
            input: tokens(|usage| usage.input),
            output: tokens(|usage| usage.output),
            cache_creation: tokens(|usage| usage.cache_creation),
            cache_read: tokens(|usage| usage.cache_read),
            total: tokens(TokenUsage::total),
            cost_usd: cost.map(Money::usd),
        }
    }
}

impl Beside {
    fn new(theirs: Account, ours: Account) -> Self {
        let tokens = |kind: fn(&Account) -> Option<i64>| Some(kind(&ours)?.saturating_sub(kind(&theirs)?));
        let cost = ours.cost_usd.and_then(Money::from_usd).zip(theirs.cost_usd.and_then(Money::from_usd));
        let difference = Account {
            input: tokens(|it| it.input),
            output: tokens(|it| it.output),
            cache_creation: tokens(|it| it.cache_creation),
            cache_read: tokens(|it| it.cache_read),
            total: tokens(|it| it.total),
            cost_usd: cost.map(|(ours, theirs)| (ours - theirs).usd()),
        };
        Self { theirs, ours, difference }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Response;
    use crate::record::{Tool, ToolModelCost};
    use crate::units::Tokens;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const MODEL: &str = "claude-haiku-4-5-20251001";

    fn usage(input: u64, output: u64) -> TokenUsage {
        TokenUsage { input: Tokens(input), output: Tokens(output), ..TokenUsage::default() }
    }

    fn said(session: &str, at: i64, usd: Option<f64>, models: &[(&str, TokenUsage, Option<f64>)]) -> ToolCost {
        let models = models.iter().map(|&(model, usage, usd)| ToolModelCost {
            model: model.into(),
            usage,
            cost: usd.and_then(Money::from_usd),
        });
        ToolCost {
            session: session.into(),
            at: (at > 0).then(|| Timestamp::from_unix_ms(at)),
            cost: usd.and_then(Money::from_usd),
            models: models.collect(),
        }
    }

    /// Responses: session, model, time, usage.
    fn compare(accounts: &Accounts, responses: &[(&str, &str, i64, TokenUsage)]) -> Drift {
        let prices = PriceTable::embedded();
        let mut comparison = Comparison::new(accounts, &prices);
        for &(session, model, at, usage) in responses {
            let at = (at > 0).then(|| Timestamp::from_unix_ms(at));
            let (session, model) = (session.into(), model.into());
            let response = Response { tool: Tool::ClaudeCode, session: &session, model: &model, at, usage };
            comparison.add(&UsageRow::of(&response, &prices));
        }
        comparison.finish()
    }

    #[test]
    fn ours_is_summed_up_to_the_account() {
        let mut accounts = Accounts::default();
        // 1,000 input at 1 USD and 200 output at 5 USD the million.
        accounts.take(&said("s", 50, Some(0.002_5), &[(&format!("{MODEL}[1m]"), usage(1_000, 300), Some(0.002_5))]));
        let drift = compare(
            &accounts,
            &[
                ("s", MODEL, 10, usage(400, 100)),
                ("s", MODEL, 50, usage(600, 100)),
                ("s", MODEL, 51, usage(7_000, 7_000)),
                ("other", MODEL, 10, usage(9, 9)),
            ],
        );
        let [session] = &drift.sessions[..] else { panic!("one session") };
        assert_eq!((session.beside.ours.input, session.beside.ours.output), (Some(1_000), Some(200)));
        assert_eq!((session.beside.difference.total, session.beside.difference.cost_usd), (Some(-100), Some(-0.0005)));
        assert_eq!(session.models.len(), 1);
        assert_eq!((session.models[0].model.as_str(), session.models[0].beside), (MODEL, session.beside));
        assert_eq!((drift.compared, drift.theirs_usd, drift.ours_usd), (1, Some(0.0025), Some(0.002)));
    }

    #[test]
    fn what_one_side_does_not_know_is_null() {
        let mut accounts = Accounts::default();
        accounts.take(&said("a", 0, None, &[]));
        accounts.take(&said("b", 0, None, &[("x", usage(1, 0), Some(1.0)), ("y", usage(1, 0), None)]));
        accounts.take(&said("c", 0, Some(2.0), &[]));
        let drift = compare(&accounts, &[("c", "a-model-without-a-price", 5, usage(1, 1))]);
        assert_eq!((drift.compared, drift.difference_usd), (0, None));
        let by_name: BTreeMap<&str, &SessionDrift> =
            drift.sessions.iter().map(|it| (it.session.as_str(), it)).collect();
        assert_eq!(
            (by_name["a"].beside.theirs, by_name["a"].beside.difference),
            (Account::default(), Account::default())
        );
        assert_eq!((by_name["b"].beside.theirs.total, by_name["b"].beside.theirs.cost_usd), (Some(2), None));
        assert_eq!((by_name["c"].beside.theirs.cost_usd, by_name["c"].beside.ours.cost_usd), (Some(2.0), None));
    }

    #[test]
    fn the_newest_account_holds_in_any_order() {
        let accounts = [
            said("s", 0, Some(9.0), &[]),
            said("s", 10, Some(1.0), &[]),
            said("s", 20, Some(2.0), &[]),
            said("s", 20, Some(3.0), &[]),
        ];
        for start in 0..accounts.len() {
            let (mut all, mut merged) = (Accounts::default(), Accounts::default());
            for at in 0..accounts.len() {
                let account = &accounts[(start + at) % accounts.len()];
                all.take(account);
                let mut one = Accounts::default();
                one.take(account);
                merged.merge(one);
            }
            assert_eq!(compare(&all, &[]).sessions[0].beside.theirs.cost_usd, Some(3.0));
            assert_eq!(all, merged);
        }
    }
}
