//! What was spent of each budget. Use that a plan covers and use that is paid by the token are never summed.

use chrono::{Datelike, Days, Months};

use super::DashboardState;
use crate::alert::BudgetPeriod;
use crate::event::Provenance;
use crate::record::Tool;
use crate::settings::Billing;
use crate::time::{Day, Timestamp, month_start};
use crate::units::{Cost, Money};

/// A budget and what was spent of it in the current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// Which kind of use it is for.
    pub billing: Billing,
    /// For how long it is.
    pub period: BudgetPeriod,
    /// What may be spent.
    pub budget: Money,
    /// What was spent, at list prices.
    pub spent: Cost,
    /// First day of the period, in the configured zone.
    pub first_day: Day,
    /// When the next period begins.
    pub ends_at: Timestamp,
}

impl BudgetUse {
    /// What was spent, in percent of the budget.
    pub fn percent(&self) -> f64 {
        // A budget is more than nothing.
        self.spent.priced.0 as f64 * 100.0 / self.budget.0 as f64
    }
}

impl BudgetPeriod {
    /// The first day of the period that `today` is in, and of the next.
    fn around(self, today: Day) -> (Day, Day) {
        match self {
            Self::Day => (today, today + Days::new(1)),
            Self::Week => {
                let monday = today - Days::new(u64::from(today.weekday().num_days_from_monday()));
                (monday, monday + Days::new(7))
            }
            Self::Month => (month_start(today), month_start(today) + Months::new(1)),
        }
    }
}

impl DashboardState {
    /// How the use of a tool is paid: as the user says; else by a plan, if one was named or the vendor states a limit
    /// of it, which it does for plans only; else by the token.
    pub fn billing(&self, tool: Tool) -> Billing {
        let has_plan = || tool == Tool::DEFAULT && self.plan.is_some();
        let is_limited =
            || self.limits.iter().any(|(key, it)| key.tool == tool && it.now.provenance != Provenance::Estimated);
        self.settings.billing.of(tool).unwrap_or_else(|| match has_plan() || is_limited() {
            true => Billing::Plan,
            false => Billing::Metered,
        })
    }

    /// Every budget the user set, with what was spent of it; none before anything was used.
    pub fn budgets(&self) -> Vec<BudgetUse> {
        let Some(today) = self.today else { return Vec::new() };
        let mut all = Vec::new();
        for (billing, budget) in [(Billing::Metered, self.settings.budget), (Billing::Plan, self.settings.plan_budget)]
        {
            for (period, budget) in [
                (BudgetPeriod::Day, budget.day),
                (BudgetPeriod::Week, budget.week),
                (BudgetPeriod::Month, budget.month),
            ] {
                let Some(budget) = budget else { continue };
                let (first_day, next) = period.around(today);
                let mut spent = Cost::default();
                let days = self.days.iter().filter(|day| (first_day..next).contains(&day.day));
                let costs = days.flat_map(|day| &day.tools).filter(|(tool, _)| self.billing(**tool) == billing);
                costs.for_each(|(_, &cost)| spent += cost);
                let ends_at = self.zone.day_start(next);
                all.push(BudgetUse { billing, period, budget, spent, first_day, ends_at });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::DayUsage;
    use crate::settings::SettingKey;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn day(text: &str, claude_usd: i64, codex_usd: i64) -> DayUsage {
        let cost = |usd: i64| Cost { priced: Money(usd * Money::PICO_PER_USD), ..Cost::default() };
        let tools = BTreeMap::from([(Tool::ClaudeCode, cost(claude_usd)), (Tool::Codex, cost(codex_usd))]);
        DayUsage { tools, responses: 1, ..DayUsage::none(text.parse().unwrap()) }
    }

    #[test]
    fn periods_follow_the_calendar_and_kinds_of_use_stay_apart() {
        // The 4th is a Wednesday.
        let days =
            [day("2026-10-31", 64, 64), day("2026-11-01", 32, 1), day("2026-11-02", 8, 1), day("2026-11-04", 2, 1)];
        let mut state =
            DashboardState { days: days.into(), today: "2026-11-04".parse().ok(), ..DashboardState::default() };
        assert_eq!(state.budgets(), []);
        for (key, text) in [
            (SettingKey::Budget, "day=1,week=1,month=6"),
            (SettingKey::PlanBudget, "week=100"),
            (SettingKey::Billing, "claude-code=plan"),
        ] {
            state.settings.set(key, text).unwrap();
        }
        let spent: Vec<_> = state.budgets().iter().map(|it| (it.billing, it.period, it.spent.priced.usd())).collect();
        assert_eq!(
            spent,
            [
                (Billing::Metered, BudgetPeriod::Day, 1.0),
                (Billing::Metered, BudgetPeriod::Week, 2.0),
                (Billing::Metered, BudgetPeriod::Month, 3.0),
                (Billing::Plan, BudgetPeriod::Week, 10.0),
            ]
        );
        assert_eq!(state.budgets()[2].percent(), 50.0);
        let ends: Vec<_> = state.budgets().iter().map(|it| it.ends_at.to_string()[..10].to_owned()).collect();
        assert_eq!(ends, ["2026-11-05", "2026-11-09", "2026-12-01", "2026-11-09"]);
    }

    #[test]
    fn a_tool_is_paid_by_a_plan_if_one_is_known_of() {
        let mut state = DashboardState::default();
        assert_eq!(state.billing(Tool::ClaudeCode), Billing::Metered);
        state.plan = Some("max5".to_owned());
        assert_eq!((state.billing(Tool::ClaudeCode), state.billing(Tool::Codex)), (Billing::Plan, Billing::Metered));
        state.settings.set(SettingKey::Billing, "claude-code=metered,codex=plan").unwrap();
        assert_eq!((state.billing(Tool::ClaudeCode), state.billing(Tool::Codex)), (Billing::Metered, Billing::Plan));
    }
}
