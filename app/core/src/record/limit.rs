//! Limits as data: which limit of which vendor a figure is about.
//!
//! A limit is whatever a vendor names: a tool, perhaps an account, the length of its window and what it covers. The
//! list is open: a limit that no version of this program has heard of is kept and shown like any other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Tool;
use crate::ids::{AccountId, ModelId, SessionId};
use crate::time::{MINUTE_MS, Timestamp};

/// Length of a limit's window, in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowMinutes(pub u32);

impl WindowMinutes {
    /// Five hours.
    pub const FIVE_HOURS: Self = Self(300);
    /// Seven days.
    pub const WEEK: Self = Self(10_080);

    /// The length in milliseconds.
    pub fn ms(self) -> i64 {
        i64::from(self.0) * MINUTE_MS
    }
}

/// A name that a vendor gives a scope: lower case letters, digits, `.`, `_` and `-`, at most [`LimitName::MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitName(Arc<str>);

impl LimitName {
    /// The longest name, in bytes; what is beyond is cut off.
    pub const MAX: usize = 48;

    /// The name in the form in which it is kept; `None` if nothing of it is left. Other characters become `-`.
    pub fn new(text: &str) -> Option<Self> {
        let kept = |c: char| {
            let c = c.to_ascii_lowercase();
            if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-') { c } else { '-' }
        };
        let name: String = text.trim().chars().map(kept).take(Self::MAX).collect();
        let name = name.trim_matches('-');
        (!name.is_empty()).then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a limit counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitScope {
    /// The use of all models.
    AllModels,
    /// The use of one family of models, e.g. `opus`.
    Family(LimitName),
    /// Something else, by the vendor's own name.
    Other(LimitName),
}

impl LimitScope {
    /// Whether a response of `model` counts in it. Of a scope that is no family it is not known, so none does.
    pub fn covers(&self, model: &ModelId) -> bool {
        match self {
            Self::AllModels => true,
            Self::Family(family) => {
                model.as_str().split(['-', '.', '/', '_', ':']).any(|part| part.eq_ignore_ascii_case(family.as_str()))
            }
            Self::Other(_) => false,
        }
    }
}

/// Names a limit: keys of state, store and page.
///
/// As text `<tool>[@<account>]/<minutes>[/<family>|/other:<name>]`, e.g. `claude-code/300`, `claude-code/10080/opus`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey {
    /// Whose vendor keeps it.
    pub tool: Tool,
    /// The account it is kept for; `None` where a tool has one only.
    pub account: Option<AccountId>,
    /// The length of its window.
    pub window: WindowMinutes,
    /// What it counts.
    pub scope: LimitScope,
}

impl LimitKey {
    /// The limit on all models of a tool's only account.
    pub fn all_models(tool: Tool, window: WindowMinutes) -> Self {
        Self { tool, account: None, window, scope: LimitScope::AllModels }
    }

    /// The five-hour limit on all models.
    pub fn five_hour(tool: Tool) -> Self {
        Self::all_models(tool, WindowMinutes::FIVE_HOURS)
    }

    /// The weekly limit on all models.
    pub fn weekly(tool: Tool) -> Self {
        Self::all_models(tool, WindowMinutes::WEEK)
    }

    /// The same limit of one family of models.
    #[must_use]
    pub fn of_family(self, family: &str) -> Self {
        let scope = LimitName::new(family).map_or(LimitScope::AllModels, LimitScope::Family);
        Self { scope, ..self }
    }

    /// Window and scope without tool and account: `10080/opus`.
    pub fn window_text(&self) -> String {
        let minutes = self.window.0;
        match &self.scope {
            LimitScope::AllModels => minutes.to_string(),
            LimitScope::Family(family) => format!("{minutes}/{}", family.as_str()),
            LimitScope::Other(name) => format!("{minutes}/other:{}", name.as_str()),
        }
    }

    /// Reads what [`Self::window_text`] gives.
    pub fn from_window_text(tool: Tool, account: Option<AccountId>, text: &str) -> Option<Self> {
        let (minutes, scope) = match text.split_once('/') {
            Some((minutes, scope)) => (minutes, Some(scope)),
            None => (text, None),
        };
        // One text for one limit: no sign, no leading zeros.
        let window = minutes.parse().ok().filter(|number: &u32| number.to_string() == minutes).map(WindowMinutes)?;
        let name = |text: &str| LimitName::new(text).filter(|name| name.as_str() == text);
        let scope = match scope {
            None => LimitScope::AllModels,
            Some(scope) => match scope.strip_prefix("other:") {
                Some(other) => LimitScope::Other(name(other)?),
                None => LimitScope::Family(name(scope)?),
            },
        };
        Some(Self { tool, account, window, scope })
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool.as_str())?;
        if let Some(account) = self.account {
            write!(f, "@{account}")?;
        }
        write!(f, "/{}", self.window_text())
    }
}

/// A text that names no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLimit(String);

impl fmt::Display for UnknownLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} names no limit; expected <tool>[@<account>]/<minutes>[/<scope>]", self.0)
    }
}

impl std::error::Error for UnknownLimit {}

impl FromStr for LimitKey {
    type Err = UnknownLimit;

    fn from_str(text: &str) -> Result<Self, UnknownLimit> {
        let read = || {
            let (owner, window) = text.split_once('/')?;
            let (tool, account) = match owner.split_once('@') {
                Some((tool, account)) => (tool, Some(account.parse().ok()?)),
                None => (owner, None),
            };
            Self::from_window_text(tool.parse().ok()?, account, window)
        };
        read().ok_or_else(|| UnknownLimit(text.to_owned()))
    }
}

impl Serialize for LimitKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LimitKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A statement of the vendor (or of the simulator standing in for it) on one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitReport {
    /// Which limit.
    pub limit: LimitKey,
    /// When it was said.
    pub at: Timestamp,
    /// Used share of the limit, 0 to 100, if said.
    pub used_percent: Option<f64>,
    /// When the window is reset, if said.
    pub resets_at: Option<Timestamp>,
    /// Whether a request was refused because of it.
    pub rejected: bool,
    /// The session that was told, if one was.
    pub session: Option<SessionId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_limit_is_one_text_and_back() {
        let name = |text| LimitName::new(text).unwrap();
        let opus = LimitKey::weekly(Tool::ClaudeCode).of_family("Opus");
        let account = AccountId::of("c0ffee");
        let review = LimitKey {
            account: Some(account),
            scope: LimitScope::Other(name("Code Review/α")),
            ..LimitKey::five_hour(Tool::Codex)
        };
        for (key, text) in [
            (LimitKey::five_hour(Tool::ClaudeCode), "claude-code/300".to_owned()),
            (opus, "claude-code/10080/opus".to_owned()),
            (review, format!("codex@{account}/300/other:code-review")),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key.clone()));
            assert_eq!(serde_json::to_string(&key).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<LimitKey>(&format!("{text:?}")).unwrap(), key);
        }
        let wrong =
            ["", "claude-code", "claude-code/", "claude-code/+300", "claude-code/0300", "codex/300/", "codex/300/A b"];
        for text in wrong.into_iter().chain(["nobody/300", "codex@x/300", "codex/300/other:"]) {
            assert!(text.parse::<LimitKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_family_covers_its_models_only() {
        let family = |name| LimitScope::Family(LimitName::new(name).unwrap());
        let opus = ModelId::new("claude-opus-4-5-20251101");
        assert!(family("opus").covers(&opus) && LimitScope::AllModels.covers(&opus));
        assert!(family("opus").covers(&ModelId::new("us.anthropic.claude-opus-4-5")));
        assert!(!family("sonnet").covers(&opus) && !family("op").covers(&opus));
        assert!(!LimitScope::Other(LimitName::new("opus").unwrap()).covers(&opus));
    }
}
