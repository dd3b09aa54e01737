//! The scenarios by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A story the simulator tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One or two sessions without hurry.
    CalmDay,
    /// The five-hour limit is reached before its reset.
    #[default]
    QuotaCrunch,
    /// A long task fills the context again and again.
    ContextOverflow,
    /// Twelve subagents at once.
    AgentSwarm,
}

impl Scenario {
    /// All of them, in the order they are offered.
    pub const ALL: [Self; 4] = [Self::CalmDay, Self::QuotaCrunch, Self::ContextOverflow, Self::AgentSwarm];

    /// The name used in options and links.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CalmDay => "calm-day",
            Self::QuotaCrunch => "quota-crunch",
            Self::ContextOverflow => "context-overflow",
            Self::AgentSwarm => "agent-swarm",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::CalmDay => "Calm day",
            Self::QuotaCrunch => "Quota crunch",
            Self::ContextOverflow => "Context overflow",
            Self::AgentSwarm => "Agent swarm",
        }
    }

    /// What happens, in one sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::CalmDay => "One or two sessions, long pauses, nothing gets near a limit.",
            Self::QuotaCrunch => "The 5-hour limit is reached before its reset; work waits, then goes on.",
            Self::ContextOverflow => "A long task fills the context to the brim and compacts, again and again.",
            Self::AgentSwarm => "A session sends out twelve subagents at once; tokens come from everywhere.",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no scenario's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no scenario is called \"{0}\"; there are calm-day, quota-crunch, context-overflow and agent-swarm")]
pub struct UnknownScenario(String);

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(name: &str) -> Result<Self, UnknownScenario> {
        let known = Self::ALL.into_iter().find(|scenario| scenario.as_str() == name);
        known.ok_or_else(|| UnknownScenario(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn names_read_back_and_a_wrong_one_is_told_the_right_ones() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.as_str().parse(), Ok(scenario));
        }
        let error = "quiet-day".parse::<Scenario>().unwrap_err().to_string();
        for scenario in Scenario::ALL {
            assert!(error.contains(scenario.as_str()), "{error}");
        }
    }
}
