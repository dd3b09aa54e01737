//! One scale of concern for everything: quota, context, alerts, health.

use serde::{Deserialize, Serialize};

use crate::time::{SECOND_MS, Timestamp};

/// How worried the user should be. Ordered: a later one is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    #[default]
    Healthy,
    /// Worth knowing; only alerts use it.
    Info,
    /// Soon something to do.
    Warning,
    /// Something to do now.
    Danger,
    /// Blocked, or about to be.
    Critical,
}

impl Level {
    /// The word the wire and the page's hooks use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Danger => "danger",
            Self::Critical => "critical",
        }
    }
}

/// Percentages at which a level begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// From here on: warning.
    pub warning: f64,
    /// From here on: danger.
    pub danger: f64,
    /// From here on: critical.
    pub critical: f64,
}

impl Thresholds {
    /// Quota, in percent of the limit (docs/decisions, Levels).
    pub const QUOTA: Self = Self { warning: 80.0, danger: 90.0, critical: 95.0 };
    /// Context, in percent of the usable window: the part up to auto-compaction.
    pub const CONTEXT: Self = Self { warning: 50.0, danger: 80.0, critical: 90.0 };

    /// A limit's level: by the used share, if it is known, and one step higher, up to danger, if the limit is forecast to
    /// be reached before its reset; critical while it refuses requests (docs/decisions, Levels).
    pub fn of_limit(&self, percent: Option<f64>, reached_before_reset: bool, blocked: bool) -> Level {
        let by_share = percent.map_or(Level::Healthy, |percent| self.level(percent));
        match (by_share, reached_before_reset) {
            _ if blocked => Level::Critical,
            (Level::Healthy, true) => Level::Warning,
            (Level::Warning, true) => Level::Danger,
            (by_share, _) => by_share,
        }
    }

    /// The level at `percent`.
    pub fn level(&self, percent: f64) -> Level {
        if percent >= self.critical {
            Level::Critical
        } else if percent >= self.danger {
            Level::Danger
        } else if percent >= self.warning {
            Level::Warning
        } else {
            Level::Healthy
        }
    }
}

/// A level falls only after this long below its threshold, so that it does not flicker.
pub const FALL_DELAY_MS: i64 = 60 * SECOND_MS;

/// A level over time: rises at once and falls late.
#[derive(Clone, Debug, Default)]
pub struct LevelGauge {
    shown: Level,
    below_since: Option<Timestamp>,
}

impl LevelGauge {
    /// The level shown now.
    pub fn shown(&self) -> Level {
        self.shown
    }

    /// Takes a new raw level and returns the one to show.
    pub fn observe(&mut self, raw: Level, now: Timestamp) -> Level {
        if raw >= self.shown {
            self.shown = raw;
            self.below_since = None;
        } else {
            let since = *self.below_since.get_or_insert(now);
            if now.ms_since(since) >= FALL_DELAY_MS {
                self.shown = raw;
                self.below_since = None;
            }
        }
        self.shown
    }

    /// The window was reset, or the context compacted: the level falls at once.
    pub fn reset(&mut self, raw: Level) {
        *self = Self { shown: raw, below_since: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * SECOND_MS)
    }

    #[test]
    fn thresholds_are_inclusive() {
        let quota = Thresholds::QUOTA;
        assert_eq!(quota.level(79.99), Level::Healthy);
        assert_eq!(quota.level(80.0), Level::Warning);
        assert_eq!(quota.level(90.0), Level::Danger);
        assert_eq!(quota.level(95.0), Level::Critical);
        assert_eq!(Thresholds::CONTEXT.level(50.0), Level::Warning);
    }

    #[test]
    fn a_forecast_before_the_reset_counts_one_step_up_to_danger() {
        let level = |percent, before| Thresholds::QUOTA.of_limit(percent, before, false);
        let levels = [None, Some(10.0), Some(80.0), Some(90.0), Some(95.0)].map(|p| (level(p, false), level(p, true)));
        use Level::{Critical, Danger, Healthy, Warning};
        let expected =
            [(Healthy, Warning), (Healthy, Warning), (Warning, Danger), (Danger, Danger), (Critical, Critical)];
        assert_eq!(levels, expected);
        assert_eq!(Thresholds::QUOTA.of_limit(Some(10.0), false, true), Critical);
    }

    #[test]
    fn rises_at_once_and_falls_after_a_minute() {
        let mut gauge = LevelGauge::default();
        assert_eq!(gauge.observe(Level::Danger, at(0)), Level::Danger);
        assert_eq!(gauge.observe(Level::Healthy, at(10)), Level::Danger);
        assert_eq!(gauge.observe(Level::Danger, at(30)), Level::Danger);
        assert_eq!(gauge.observe(Level::Healthy, at(40)), Level::Danger);
        assert_eq!(gauge.observe(Level::Healthy, at(99)), Level::Danger);
        assert_eq!(gauge.observe(Level::Healthy, at(100)), Level::Healthy);
    }

    #[test]
    fn a_reset_lowers_it_at_once() {
        let mut gauge = LevelGauge::default();
        gauge.observe(Level::Critical, at(0));
        gauge.reset(Level::Healthy);
        assert_eq!(gauge.observe(Level::Healthy, at(1)), Level::Healthy);
    }
}
