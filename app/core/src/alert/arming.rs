//! Which alerts are news.
//!
//! A level is news once per occasion: a limit's window, a context's fill. It stays told while the condition comes and
//! goes within the occasion, be it because the level fell or because a file was retracted and read again. The next
//! window, or a compaction, arms it again. What was told can be kept across a restart.

use serde::{Deserialize, Serialize};

use super::condition::{Alert, AlertSubject, Occasion};
use crate::level::Level;
use crate::state::same_reset;

/// Most subjects remembered; the ones told of longest ago go first.
const MAX_SUBJECTS: usize = 500;

/// What was told of, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arming(Vec<Told>);

/// What was last told of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    subject: AlertSubject,
    occasion: Occasion,
    /// The highest level told within the occasion.
    level: Level,
}

impl Arming {
    /// Takes what is so now, and returns what of it is news.
    pub fn news(&mut self, alerts: &[Alert]) -> Vec<Alert> {
        self.0.retain(|told| {
            let lasts = || alerts.iter().any(|alert| alert.condition.subject() == told.subject);
            told.occasion != Occasion::WhileItLasts || lasts()
        });
        let mut news = Vec::new();
        for alert in alerts {
            let (subject, occasion, level) = (alert.condition.subject(), alert.condition.occasion(), alert.level);
            let position = self.0.iter().position(|told| told.subject == subject);
            let known = position.map(|position| (self.0[position].occasion, self.0[position].level));
            let occasion = match known {
                Some((told, _)) if occasion.is_past(&told) => continue,
                Some((told, _)) if told.is_before(&occasion) => occasion,
                Some((_, highest)) if highest >= level => continue,
                Some((told @ (Occasion::Window(_) | Occasion::Fill(_)), _)) => told,
                Some((Occasion::WhileItLasts, _)) | None => occasion,
            };
            position.into_iter().for_each(|position| drop(self.0.remove(position)));
            self.0.push(Told { subject, occasion, level });
            news.push(alert.clone());
        }
        self.0.drain(..self.0.len().saturating_sub(MAX_SUBJECTS));
        news
    }

    /// Arms a subject again: the next look tells of it if it is still so.
    pub fn rearm(&mut self, subject: &AlertSubject) {
        self.0.retain(|told| told.subject != *subject);
    }
}

impl Occasion {
    /// Whether `next` is another, later occasion.
    fn is_before(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Window(before), Self::Window(next)) => before < next && !same_reset(Some(*before), Some(*next)),
            (Self::Fill(before), Self::Fill(next)) => before < next,
            _ => false,
        }
    }

    /// Whether it is over, since `told` came after it: a transcript is being read again. A reset may be set earlier, so
    /// a window that ends earlier is not.
    fn is_past(&self, told: &Self) -> bool {
        matches!((self, told), (Self::Fill(this), Self::Fill(told)) if this < told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Condition;
    use crate::time::{HOUR_MS, MINUTE_MS, Timestamp};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn limit(resets_at: Option<i64>, level: Level) -> Alert {
        let (limit, resets_at) = ("claude-code/300".parse().unwrap(), resets_at.map(at));
        Alert { condition: Condition::LimitNear { limit, percent: None, resets_at }, level }
    }

    fn context(compacted_at: Option<i64>, level: Level) -> Alert {
        let condition = Condition::ContextFilling {
            session: "s".into(),
            project: "p".to_owned(),
            percent: None,
            compact_at_percent: 83.5,
            compacted_at: compacted_at.map(at),
        };
        Alert { condition, level }
    }

    /// How many of each look's alerts are news, through a restart after every look.
    fn news(looks: &[&[Alert]]) -> Vec<usize> {
        let mut arming = Arming::default();
        let mut look = |alerts: &&[Alert]| {
            let news = arming.news(alerts).len();
            arming = serde_json::from_str(&serde_json::to_string(&arming).unwrap()).unwrap();
            news
        };
        looks.iter().map(&mut look).collect()
    }

    #[test]
    fn a_level_is_news_once_per_window() {
        let reset = Some(10 * HOUR_MS);
        let (warning, danger) = (limit(reset, Level::Warning), limit(reset, Level::Danger));
        let jitter = limit(Some(10 * HOUR_MS + MINUTE_MS), Level::Warning);
        let next = limit(Some(15 * HOUR_MS), Level::Warning);
        let looks: [&[Alert]; 9] = [
            &[warning.clone()],
            &[warning.clone()],
            &[danger.clone()],
            &[],
            &[danger],
            &[jitter],
            &[warning],
            &[],
            &[next],
        ];
        assert_eq!(news(&looks), [1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_file_that_is_read_again_rings_nothing() {
        let (before, after) = (context(None, Level::Critical), context(Some(5), Level::Warning));
        // Compacted once; then the file is retracted and read again, line by line.
        let looks: [&[Alert]; 6] =
            [&[before.clone()], &[after.clone()], &[], &[before], &[after], &[context(Some(9), Level::Warning)]];
        assert_eq!(news(&looks), [1, 1, 0, 0, 0, 1]);
    }
}
