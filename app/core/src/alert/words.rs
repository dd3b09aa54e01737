//! Alerts in words: for the page, the terminal and webhooks alike.

use super::condition::{Alert, BudgetPeriod, Condition};
use crate::format;
use crate::level::Level;
use crate::settings::Billing;
use crate::state::DashboardState;
use crate::time::Timestamp;

/// What is so, in a few words.
pub fn title(alert: &Alert) -> String {
    match &alert.condition {
        Condition::LimitNear { limit, .. } => format!("{} limit is near", format::limit(limit)),
        Condition::LimitReached { limit, .. } => format!("{} limit reached", format::limit(limit)),
        Condition::ContextFilling { .. } => match alert.level {
            Level::Critical => "Context about to compact".to_owned(),
            Level::Danger => "Context almost full".to_owned(),
            Level::Healthy | Level::Info | Level::Warning => "Context filling up".to_owned(),
        },
        Condition::ResetAhead { limit, .. } => format!("{} limit is reset soon", format::limit(limit)),
        Condition::LimitReset { limit, .. } => format!("{} limit was reset", format::limit(limit)),
        Condition::LimitAndContext { .. } => "Limit near and context filling up".to_owned(),
        Condition::Spike { .. } => "Use far above the usual".to_owned(),
        Condition::BudgetUsed { billing, period, .. } => match alert.level {
            Level::Critical => format!("{} is spent", budget(*billing, *period)),
            _ => format!("{} is nearly spent", budget(*billing, *period)),
        },
        Condition::NeedsYou { .. } => "A session needs you".to_owned(),
        Condition::PartFailing { component } => {
            let word = if alert.level == Level::Critical { "unhealthy" } else { "degraded" };
            format!("{component} is {word}")
        }
    }
}

/// Where, how much, and how long still. What a failing part says of itself is in `state`.
pub fn detail(alert: &Alert, state: &DashboardState, now: Timestamp) -> String {
    let reset = || {
        let left = alert.condition.time_left_ms(now);
        left.map_or_else(String::new, |ms| format!(", reset in {}", format::span(ms)))
    };
    match &alert.condition {
        Condition::LimitNear { percent: Some(percent), .. } => format!("{} used{}", format::percent(*percent), reset()),
        Condition::LimitNear { percent: None, .. } => format!("Reported as near{}", reset()),
        Condition::LimitReached { .. } => format!("Requests are refused{}", reset()),
        Condition::ContextFilling { project, percent, compact_at_percent, .. } => {
            let fill = percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent);
            format!("{project} at {fill}, compacts at {}", format::percent(*compact_at_percent))
        }
        Condition::ResetAhead { .. } => match alert.condition.time_left_ms(now) {
            Some(ms) => format!("Reset in {}", format::span(ms)),
            None => "Reset now".to_owned(),
        },
        Condition::LimitReset { reset_at, .. } => {
            format!("You can go on since {}", format::clock(&state.zone, *reset_at))
        }
        Condition::LimitAndContext { limit, limit_percent, project, context_percent, .. } => {
            let limit_used = limit_percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent);
            let fill = context_percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent);
            format!("{project} at {fill} of its context, {} limit at {limit_used}", format::limit(limit))
        }
        Condition::Spike { project, tokens_per_min, usual_per_min, .. } => {
            let usual = usual_per_min.map_or_else(String::new, |usual| format!(", usually {}", format::tokens(usual)));
            format!("{project} at {} tokens/min{usual}", format::tokens(*tokens_per_min))
        }
        Condition::BudgetUsed { billing, spent, budget, .. } => {
            let worth = match billing {
                Billing::Metered => "",
                Billing::Plan => " at list prices, covered by a plan",
            };
            format!("{} of {}{worth}", format::cost(spent), format::money(*budget))
        }
        Condition::NeedsYou { project, .. } => format!("{project} waits for an answer"),
        Condition::PartFailing { component } => {
            state.health.components.get(component).map(|part| part.message.clone()).unwrap_or_default()
        }
    }
}

/// What to do about it; `None` where waiting is all there is.
pub fn recommendation(alert: &Alert) -> Option<&'static str> {
    match (&alert.condition, alert.level) {
        (Condition::ContextFilling { .. }, Level::Critical) => {
            Some("Run /compact now, or finish the step: the tool is about to compact by itself.")
        }
        (Condition::ContextFilling { .. }, Level::Danger) => Some("Run /compact at the next natural break."),
        (Condition::ContextFilling { .. }, _) => Some("Plan a natural break for /compact."),
        (Condition::NeedsYou { .. }, _) => Some("Answer it in its terminal."),
        (Condition::LimitAndContext { .. }, _) => {
            Some("Finish the step and run /compact: a compaction uses the limit too.")
        }
        (Condition::Spike { .. }, _) => Some("Look at its subagents: they may repeat themselves."),
        (
            Condition::LimitNear { .. }
            | Condition::LimitReached { .. }
            | Condition::ResetAhead { .. }
            | Condition::LimitReset { .. }
            | Condition::BudgetUsed { .. }
            | Condition::PartFailing { .. },
            _,
        ) => None,
    }
}

/// The name of a budget.
pub fn budget(billing: Billing, period: BudgetPeriod) -> &'static str {
    match (billing, period) {
        (Billing::Metered, BudgetPeriod::Day) => "Budget of the day",
        (Billing::Metered, BudgetPeriod::Week) => "Budget of the week",
        (Billing::Metered, BudgetPeriod::Month) => "Budget of the month",
        (Billing::Plan, BudgetPeriod::Day) => "Plan budget of the day",
        (Billing::Plan, BudgetPeriod::Week) => "Plan budget of the week",
        (Billing::Plan, BudgetPeriod::Month) => "Plan budget of the month",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ComponentHealth, HealthStatus};
    use crate::time::{Day, HOUR_MS};
    use crate::units::{Cost, Money, Tokens};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn worded(condition: Condition, level: Level) -> String {
        let mut state = DashboardState::default();
        let message = "2 files cannot be read".to_owned();
        let part = ComponentHealth { status: HealthStatus::Degraded, message };
        state.health.components.insert("transcripts".to_owned(), part);
        let alert = Alert { condition, level };
        let text = format!("{}: {}", title(&alert), detail(&alert, &state, Timestamp::default()));
        text.replace('\u{202f}', " ")
    }

    #[test]
    fn every_condition_says_what_and_where() {
        let limit = || "codex/10080".parse().unwrap();
        let resets_at = Some(Timestamp::from_unix_ms(2 * HOUR_MS));
        let near = |percent, resets_at| Condition::LimitNear { limit: limit(), percent, resets_at };
        let context = |percent| Condition::ContextFilling {
            session: "s".into(),
            project: "engine".to_owned(),
            percent,
            compact_at_percent: 83.5,
            compacted_at: None,
        };
        let usd = |usd: i64| Money(usd * Money::PICO_PER_USD);
        let spent = |billing| Condition::BudgetUsed {
            billing,
            period: BudgetPeriod::Day,
            spent: Cost { priced: usd(21), ..Cost::default() },
            budget: usd(20),
            first_day: Day::default(),
            ends_at: Timestamp::default(),
        };
        for (condition, level, text) in [
            (near(Some(81.2), resets_at), Level::Warning, "Codex Weekly limit is near: 81 % used, reset in 2 h 00 min"),
            (near(None, None), Level::Danger, "Codex Weekly limit is near: Reported as near"),
            (
                Condition::LimitReached { limit: limit(), resets_at },
                Level::Critical,
                "Codex Weekly limit reached: Requests are refused, reset in 2 h 00 min",
            ),
            (context(Some(68.0)), Level::Danger, "Context almost full: engine at 68 %, compacts at 84 %"),
            (context(None), Level::Critical, "Context about to compact: engine at –, compacts at 84 %"),
            (
                Condition::NeedsYou { session: "s".into(), project: "engine".to_owned() },
                Level::Warning,
                "A session needs you: engine waits for an answer",
            ),
            (
                Condition::PartFailing { component: "transcripts".to_owned() },
                Level::Warning,
                "transcripts is degraded: 2 files cannot be read",
            ),
            (
                Condition::ResetAhead { limit: limit(), resets_at: Timestamp::from_unix_ms(HOUR_MS / 2), minutes: 30 },
                Level::Info,
                "Codex Weekly limit is reset soon: Reset in 30 min",
            ),
            (
                Condition::LimitReset { limit: limit(), reset_at: Timestamp::from_unix_ms(HOUR_MS) },
                Level::Info,
                "Codex Weekly limit was reset: You can go on since 01:00",
            ),
            (
                Condition::LimitAndContext {
                    limit: limit(),
                    limit_percent: Some(91.0),
                    session: "s".into(),
                    project: "engine".to_owned(),
                    context_percent: None,
                    compacted_at: None,
                },
                Level::Critical,
                "Limit near and context filling up: engine at – of its context, Codex Weekly limit at 91 %",
            ),
            (
                Condition::Spike {
                    session: "s".into(),
                    project: "engine".to_owned(),
                    tokens_per_min: Tokens(92_400),
                    usual_per_min: Some(Tokens(31_200)),
                    hour_ends: Timestamp::from_unix_ms(HOUR_MS),
                },
                Level::Warning,
                "Use far above the usual: engine at 92.4k tokens/min, usually 31.2k",
            ),
            (spent(Billing::Metered), Level::Critical, "Budget of the day is spent: $21.00 of $20.00"),
            (
                spent(Billing::Plan),
                Level::Danger,
                "Plan budget of the day is nearly spent: $21.00 of $20.00 at list prices, covered by a plan",
            ),
        ] {
            assert_eq!(worded(condition, level), text);
        }
    }
}
