//! The user's subscription and its folk limits.

use std::str::FromStr;

/// The user's subscription, which decides the limit an estimate is compared with.
///
/// The limits are folklore (formats.md, section 2): the vendor publishes none in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// 19k tokens a window.
    Pro,
    /// 88k.
    Max5,
    /// 220k.
    Max20,
    /// The 90th percentile of the user's own past windows.
    Custom,
}

impl Plan {
    /// All plans, by name.
    pub const ALL: [(&'static str, Plan); 4] =
        [("pro", Self::Pro), ("max5", Self::Max5), ("max20", Self::Max20), ("custom", Self::Custom)];

    /// The name, as options and files spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pro => "pro",
            Self::Max5 => "max5",
            Self::Max20 => "max20",
            Self::Custom => "custom",
        }
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, plan)| *plan);
        known.ok_or_else(|| format!("unknown plan {text:?}; allowed: pro, max5, max20, custom"))
    }
}
