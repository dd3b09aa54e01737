//! What the user decides about levels, warnings and budgets.
//!
//! Every setting has one text form, in which it is written on the command line, in the environment, in files and over
//! HTTP, and one type. [`Settings::set`] reads the text, [`Settings::get`] writes it; where a value comes from is the
//! caller's business.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::level::Thresholds;
use crate::record::Tool;
use crate::time::{MINUTE_MS, Timestamp, ZoneOffsets};
use crate::units::{Money, Tokens};

/// What switches a setting off.
const OFF: &str = "off";
/// Most minutes of [`WarnMinutes`].
const MAX_WARNINGS: usize = 5;
/// Most minutes ahead that can be warned of: a week.
const MAX_WARN_MINUTES: u32 = 7 * 24 * 60;

/// What the user decides about levels, warnings and budgets. Set when the dashboard starts and over HTTP; part of the
/// state, so that the page derives the same alerts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Levels of limits, in percent of the limit.
    pub quota_levels: QuotaLevels,
    /// Levels of contexts, in percent of the usable window.
    pub context_levels: ContextLevels,
    /// How long before a limit is reached, and before it is reset, to warn.
    pub warn_minutes: WarnMinutes,
    /// What counts as a spike of use.
    pub spikes: SpikeSettings,
    /// What may be spent on use that is paid by the token.
    pub budget: Budget,
    /// What use that a plan covers may be worth at list prices.
    pub plan_budget: Budget,
    /// How tools are paid, where the user said so.
    pub billing: BillingByTool,
    /// When nothing is delivered; the page still shows it.
    pub quiet_hours: Option<QuietHours>,
}

/// [`Thresholds`] of limits; by default 80, 90, 95 (docs/DECISIONS.md, Levels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuotaLevels(pub Thresholds);

impl Default for QuotaLevels {
    fn default() -> Self {
        Self(Thresholds::QUOTA)
    }
}

/// [`Thresholds`] of contexts; by default 50, 80, 90 (docs/DECISIONS.md, Levels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextLevels(pub Thresholds);

impl Default for ContextLevels {
    fn default() -> Self {
        Self(Thresholds::CONTEXT)
    }
}

/// Minutes before an instant at which to warn of it, most first; at most five. Empty: never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WarnMinutes(Vec<u32>);

impl Default for WarnMinutes {
    fn default() -> Self {
        Self(vec![60, 30, 5])
    }
}

impl WarnMinutes {
    /// The step that `left_ms` before an instant has reached: the fewest minutes that are not less than what is left.
    /// `None` if the instant is further ahead, or past.
    pub fn step(&self, left_ms: i64) -> Option<u32> {
        let reached = |&&minutes: &&u32| left_ms <= i64::from(minutes) * MINUTE_MS;
        self.0.iter().filter(reached).min().copied().filter(|_| left_ms > 0)
    }
}

/// What counts as a spike of a session's use: the mean of its last five minutes against one of these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpikeSettings {
    /// More than so many times the usual; `None`: not looked at.
    pub factor: Option<f64>,
    /// More tokens per minute, all kinds; `None`: not looked at.
    pub tokens_per_min: Option<Tokens>,
}

impl Default for SpikeSettings {
    fn default() -> Self {
        Self { factor: Some(2.0), tokens_per_min: None }
    }
}

/// What may be spent, by period in the configured zone; `None`: no budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// In a day.
    pub day: Option<Money>,
    /// In a week that begins on Monday.
    pub week: Option<Money>,
    /// In a month.
    pub month: Option<Money>,
}

/// How the use of a tool is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Billing {
    /// By the token: list prices are what it costs.
    Metered,
    /// By a plan: list prices are what it would have cost.
    Plan,
}

impl Billing {
    /// The word of options and of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metered => "metered",
            Self::Plan => "plan",
        }
    }
}

/// How tools are paid, where the user said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BillingByTool(BTreeMap<Tool, Billing>);

impl BillingByTool {
    /// How this tool is paid, if the user said so.
    pub fn of(&self, tool: Tool) -> Option<Billing> {
        self.0.get(&tool).copied()
    }
}

/// A time of every day, by the clock of the configured zone: from one minute of the day to before another; past
/// midnight, if the first is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// Minute of the day at which it begins, 0 to 1439.
    from: u16,
    /// Minute of the day at which it ends, 0 to 1439; not `from`.
    until: u16,
}

impl QuietHours {
    /// Whether `now` is in it.
    pub fn contain(&self, zone: &ZoneOffsets, now: Timestamp) -> bool {
        let (hour, minute, ..) = zone.clock(now);
        let minute = hour * 60 + minute;
        let (from, until) = (i64::from(self.from), i64::from(self.until));
        if from < until { (from..until).contains(&minute) } else { minute >= from || minute < until }
    }
}

/// Names a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingKey {
    /// [`Settings::quota_levels`].
    QuotaLevels,
    /// [`Settings::context_levels`].
    ContextLevels,
    /// [`Settings::warn_minutes`].
    WarnMinutes,
    /// [`SpikeSettings::factor`].
    SpikeFactor,
    /// [`SpikeSettings::tokens_per_min`].
    SpikeRate,
    /// [`Settings::budget`].
    Budget,
    /// [`Settings::plan_budget`].
    PlanBudget,
    /// [`Settings::billing`].
    Billing,
    /// [`Settings::quiet_hours`].
    QuietHours,
}

impl SettingKey {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::QuotaLevels,
        Self::ContextLevels,
        Self::WarnMinutes,
        Self::SpikeFactor,
        Self::SpikeRate,
        Self::Budget,
        Self::PlanBudget,
        Self::Billing,
        Self::QuietHours,
    ];

    /// Its name in files and over HTTP; options have hyphens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuotaLevels => "quota_levels",
            Self::ContextLevels => "context_levels",
            Self::WarnMinutes => "warn_minutes",
            Self::SpikeFactor => "spike_factor",
            Self::SpikeRate => "spike_rate",
            Self::Budget => "budget",
            Self::PlanBudget => "plan_budget",
            Self::Billing => "billing",
            Self::QuietHours => "quiet_hours",
        }
    }
}

/// A text that is no value of a setting: what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSetting(pub &'static str);

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "allowed: {}", self.0)
    }
}

impl std::error::Error for BadSetting {}

impl Settings {
    /// Sets one from its text form.
    ///
    /// # Errors
    /// If the text is no value of it; nothing is changed then.
    pub fn set(&mut self, key: SettingKey, text: &str) -> Result<(), BadSetting> {
        let text = text.trim();
        match key {
            SettingKey::QuotaLevels => self.quota_levels = QuotaLevels(text.parse()?),
            SettingKey::ContextLevels => self.context_levels = ContextLevels(text.parse()?),
            SettingKey::WarnMinutes => self.warn_minutes = text.parse()?,
            SettingKey::SpikeFactor => {
                let factor = |text: &str| text.parse().ok().filter(|factor| (1.1..=1000.0).contains(factor));
                self.spikes.factor = optional(text, factor).ok_or(BadSetting("a number from 1.1, or off"))?;
            }
            SettingKey::SpikeRate => {
                let rate = |text: &str| text.parse().ok().filter(|&rate: &u64| rate > 0).map(Tokens);
                let rate = optional(text, rate).ok_or(BadSetting("tokens per minute such as 200000, or off"))?;
                self.spikes.tokens_per_min = rate;
            }
            SettingKey::Budget => self.budget = text.parse()?,
            SettingKey::PlanBudget => self.plan_budget = text.parse()?,
            SettingKey::Billing => self.billing = text.parse()?,
            SettingKey::QuietHours => {
                let hours = optional(text, |text| text.parse().ok());
                self.quiet_hours = hours.ok_or(BadSetting("two times such as 22:00-07:00, or off"))?;
            }
        }
        Ok(())
    }

    /// The text form of one.
    pub fn get(&self, key: SettingKey) -> String {
        fn or_off<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| OFF.to_owned(), |value| value.to_string())
        }
        match key {
            SettingKey::QuotaLevels => self.quota_levels.0.to_string(),
            SettingKey::ContextLevels => self.context_levels.0.to_string(),
            SettingKey::WarnMinutes => self.warn_minutes.to_string(),
            SettingKey::SpikeFactor => or_off(self.spikes.factor),
            SettingKey::SpikeRate => or_off(self.spikes.tokens_per_min.map(|tokens| tokens.0)),
            SettingKey::Budget => self.budget.to_string(),
            SettingKey::PlanBudget => self.plan_budget.to_string(),
            SettingKey::Billing => self.billing.to_string(),
            SettingKey::QuietHours => or_off(self.quiet_hours),
        }
    }
}

/// A value or `off`; `None` if it is neither.
fn optional<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text == OFF { Some(None) } else { read(text).map(Some) }
}

impl FromStr for Thresholds {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[warning, danger, critical])
                if 0.0 < warning && warning <= danger && danger <= critical && critical <= 100.0 =>
            {
                Ok(Self { warning, danger, critical })
            }
            _ => Err(BadSetting("three rising percentages such as 80,90,95: warning, danger, critical")),
        }
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.warning, self.danger, self.critical)
    }
}

impl FromStr for WarnMinutes {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        if text == OFF {
            return Ok(Self(Vec::new()));
        }
        let fits = |minutes: &u32| (1..=MAX_WARN_MINUTES).contains(minutes);
        let minutes: Option<Vec<u32>> = text.split(',').map(|part| part.trim().parse().ok().filter(fits)).collect();
        let mut minutes = minutes
            .filter(|minutes| minutes.len() <= MAX_WARNINGS)
            .ok_or(BadSetting("up to five numbers of minutes such as 60,30,5, or off"))?;
        minutes.sort_unstable_by(|a, b| b.cmp(a));
        minutes.dedup();
        Ok(Self(minutes))
    }
}

impl fmt::Display for WarnMinutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(OFF);
        }
        let minutes: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&minutes.join(","))
    }
}

/// The `name=value` pairs of a text; none of `off`. `None` if it is anything else.
fn pairs(text: &str) -> Option<Vec<(&str, &str)>> {
    if text == OFF {
        return Some(Vec::new());
    }
    let pairs = text.split(',').map(|part| part.split_once('='));
    pairs.map(|pair| pair.map(|(name, value)| (name.trim(), value.trim()))).collect()
}

impl FromStr for Budget {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        const ALLOWED: BadSetting = BadSetting("US dollars by period such as day=20,week=100,month=300, or off");
        let mut budget = Self::default();
        for (period, amount) in pairs(text).ok_or(ALLOWED)? {
            let amount = amount.trim_start_matches('$').parse().ok().and_then(Money::from_usd);
            let amount = amount.filter(|&amount| amount > Money::ZERO).ok_or(ALLOWED)?;
            let place = match period {
                "day" => &mut budget.day,
                "week" => &mut budget.week,
                "month" => &mut budget.month,
                _ => return Err(ALLOWED),
            };
            *place = Some(amount);
        }
        Ok(budget)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("day", self.day), ("week", self.week), ("month", self.month)];
        let parts: Vec<String> =
            parts.into_iter().filter_map(|(period, amount)| Some(format!("{period}={}", amount?.usd()))).collect();
        f.write_str(if parts.is_empty() { OFF } else { "" })?;
        f.write_str(&parts.join(","))
    }
}

impl FromStr for BillingByTool {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        const ALLOWED: BadSetting =
            BadSetting("tools with metered or plan such as claude-code=plan,codex=metered, or off");
        let read = |(tool, billing): (&str, &str)| {
            let billing = match billing {
                "metered" => Billing::Metered,
                "plan" => Billing::Plan,
                _ => return None,
            };
            Some((tool.parse().ok()?, billing))
        };
        pairs(text).ok_or(ALLOWED)?.into_iter().map(read).collect::<Option<_>>().map(Self).ok_or(ALLOWED)
    }
}

impl fmt::Display for BillingByTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.0.iter().map(|(tool, billing)| format!("{}={}", tool.as_str(), billing.as_str())).collect();
        f.write_str(if parts.is_empty() { OFF } else { "" })?;
        f.write_str(&parts.join(","))
    }
}

impl FromStr for QuietHours {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let clock = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let plain = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok().filter(|_| plain(minute))?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        let read = text.split_once('-').and_then(|(from, until)| Some((clock(from)?, clock(until)?)));
        let hours = read.filter(|(from, until)| from != until).map(|(from, until)| Self { from, until });
        hours.ok_or(BadSetting("two times such as 22:00-07:00"))
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HOUR_MS;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_text_form_is_read_and_written_alike() {
        let defaults = Settings::default();
        let expected = ["80,90,95", "50,80,90", "60,30,5", "2", "off", "off", "off", "off", "off"];
        for (key, text) in SettingKey::ALL.into_iter().zip(expected) {
            assert_eq!(defaults.get(key), text, "{}", key.as_str());
        }
        for (key, text, written) in [
            (SettingKey::QuotaLevels, "70, 82.5,100", "70,82.5,100"),
            (SettingKey::ContextLevels, "50,50,50", "50,50,50"),
            (SettingKey::WarnMinutes, "5,60,5,10", "60,10,5"),
            (SettingKey::WarnMinutes, "off", "off"),
            (SettingKey::SpikeFactor, "off", "off"),
            (SettingKey::SpikeFactor, "2.5", "2.5"),
            (SettingKey::SpikeRate, "200000", "200000"),
            (SettingKey::Budget, "month=300, day=$20.50", "day=20.5,month=300"),
            (SettingKey::PlanBudget, "week=100", "week=100"),
            (SettingKey::Billing, "codex=metered,claude-code=plan", "claude-code=plan,codex=metered"),
            (SettingKey::QuietHours, "22:00-7:05", "22:00-07:05"),
        ] {
            let mut settings = Settings::default();
            settings.set(key, text).unwrap();
            assert_eq!(settings.get(key), written);
            let mut again = Settings::default();
            again.set(key, written).unwrap();
            assert_eq!(again, settings, "{written}");
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings, "{json}");
        }
    }

    #[test]
    fn what_is_no_value_changes_nothing_and_says_what_is() {
        for (key, text) in [
            (SettingKey::QuotaLevels, "80,90"),
            (SettingKey::QuotaLevels, "90,80,95"),
            (SettingKey::QuotaLevels, "80,90,101"),
            (SettingKey::ContextLevels, "0,1,2"),
            (SettingKey::ContextLevels, "NaN,90,95"),
            (SettingKey::WarnMinutes, "60,0"),
            (SettingKey::WarnMinutes, "6,5,4,3,2,1"),
            (SettingKey::WarnMinutes, ""),
            (SettingKey::SpikeFactor, "1"),
            (SettingKey::SpikeRate, "-3"),
            (SettingKey::Budget, "year=3"),
            (SettingKey::Budget, "day=0"),
            (SettingKey::Budget, "day=inf"),
            (SettingKey::PlanBudget, "20"),
            (SettingKey::Billing, "claude-code=free"),
            (SettingKey::Billing, "nobody=plan"),
            (SettingKey::QuietHours, "22-7"),
            (SettingKey::QuietHours, "22:00-22:00"),
            (SettingKey::QuietHours, "24:00-07:00"),
            (SettingKey::QuietHours, "22:0-07:00"),
        ] {
            let mut settings = Settings::default();
            let error = settings.set(key, text).unwrap_err();
            assert!(error.to_string().starts_with("allowed: "), "{error}");
            assert_eq!(settings, Settings::default(), "{} {text}", key.as_str());
        }
    }

    #[test]
    fn quiet_hours_follow_the_clock_of_the_zone_past_midnight() {
        let hours: QuietHours = "22:00-07:00".parse().unwrap();
        let at = |hour: i64| Timestamp::from_unix_ms(hour * HOUR_MS);
        let quiet: Vec<i64> = (0..24).filter(|&hour| hours.contain(&ZoneOffsets::utc(), at(hour))).collect();
        assert_eq!(quiet, [0, 1, 2, 3, 4, 5, 6, 22, 23]);
        let berlin = ZoneOffsets::new(vec![(Timestamp::EPOCH, 3_600)]);
        assert!(hours.contain(&berlin, at(21)) && !hours.contain(&berlin, at(6)));
        let lunch: QuietHours = "12:00-13:00".parse().unwrap();
        assert!(lunch.contain(&ZoneOffsets::utc(), at(12)) && !lunch.contain(&ZoneOffsets::utc(), at(13)));
    }

    #[test]
    fn the_nearest_step_that_is_reached_counts() {
        let minutes = WarnMinutes::default();
        for (left, step) in
            [(61, None), (60, Some(60)), (31, Some(60)), (30, Some(30)), (5, Some(5)), (1, Some(5)), (0, None)]
        {
            assert_eq!(minutes.step(left * MINUTE_MS), step, "{left} min");
        }
    }
}
