//! Alerts in words: for the page, the terminal and webhooks alike.

use super::condition::{Alert, Condition};
use crate::format;
use crate::level::Level;
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
        (Condition::LimitNear { .. } | Condition::LimitReached { .. } | Condition::PartFailing { .. }, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ComponentHealth, HealthStatus};
    use crate::time::HOUR_MS;
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
        ] {
            assert_eq!(worded(condition, level), text);
        }
    }
}
