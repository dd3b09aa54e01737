//! Which alerts are news.
//!
//! A level is news once per occasion: a limit's window, a context's fill. It stays told while the condition comes and
//! goes within the occasion, be it because the level fell or because a file was retracted and read again. The next
//! window, or a compaction, arms it again. What was told is kept across a restart.
//!
//! News that comes while nothing may be delivered ([`Silences`], quiet hours) is held: it is due once delivery is
//! allowed again, if it is still so then.

use serde::{Deserialize, Serialize};

use super::condition::{Alert, AlertSubject, Occasion, Urgency};
use super::silence::Silences;
use crate::level::Level;
use crate::state::same_reset;
use crate::time::Timestamp;

/// Most subjects remembered; the ones told of longest ago go first.
const MAX_SUBJECTS: usize = 500;

/// What outlives the process: what was told, and what the user wants to hear no more of. At most
/// [`MAX_SUBJECTS`] and [`Silences::MAX_ACKNOWLEDGED`] entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertMemory {
    /// What was told.
    pub arming: Arming,
    /// What the user wants to hear no more of.
    pub silences: Silences,
}

/// What was told of, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arming(Vec<Told>);

/// What was last told of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    subject: AlertSubject,
    occasion: Occasion,
    /// The highest told within the occasion.
    urgency: Urgency,
    /// It is in the log, and to be delivered later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    held: bool,
}

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// What was not so before.
    pub fresh: Vec<Alert>,
    /// What is to be delivered now: of these and of what was held.
    pub due: Vec<Alert>,
}

impl Arming {
    /// Takes what is so now, and returns what of it is news. While `hold` is set nothing is due.
    pub fn news(&mut self, alerts: &[Alert], hold: bool) -> News {
        self.0.retain(|told| {
            let lasts = || alerts.iter().any(|alert| alert.condition.subject() == told.subject);
            told.occasion != Occasion::WhileItLasts || lasts()
        });
        let mut news = News::default();
        for alert in alerts {
            let (subject, occasion, urgency) = (alert.condition.subject(), alert.condition.occasion(), alert.urgency());
            let position = self.0.iter().position(|told| told.subject == subject);
            let known = position.map(|position| (self.0[position].occasion, self.0[position].urgency));
            let occasion = match known {
                Some((told, _)) if occasion.is_past(&told) => continue,
                Some((told, _)) if told.is_before(&occasion) => occasion,
                Some((_, highest)) if !urgency.exceeds(highest) => {
                    if !hold
                        && let Some(told) = position.and_then(|position| self.0.get_mut(position))
                        && std::mem::take(&mut told.held)
                    {
                        news.due.push(alert.clone());
                    }
                    continue;
                }
                Some((told @ (Occasion::Window(_) | Occasion::Fill(_)), _)) => told,
                Some((Occasion::WhileItLasts, _)) | None => occasion,
            };
            position.into_iter().for_each(|position| drop(self.0.remove(position)));
            self.0.push(Told { subject, occasion, urgency, held: hold });
            news.fresh.push(alert.clone());
            if !hold {
                news.due.push(alert.clone());
            }
        }
        if !hold {
            // What is so no longer needs no telling.
            self.0.iter_mut().for_each(|told| told.held = false);
        }
        self.0.drain(..self.0.len().saturating_sub(MAX_SUBJECTS));
        news
    }

    /// Arms a subject again: the next look tells of it if it is still so.
    pub fn rearm(&mut self, subject: &AlertSubject) {
        self.0.retain(|told| told.subject != *subject);
    }

    /// The limits that were told of as nearly used up, each with the reset of that window.
    pub fn nearly_used_up(&self) -> impl Iterator<Item = (&crate::record::LimitKey, Timestamp)> {
        self.0.iter().filter_map(|told| match (&told.subject, told.occasion) {
            (AlertSubject::Limit(limit), Occasion::Window(reset)) if told.urgency.level() >= Level::Danger => {
                Some((limit, reset))
            }
            _ => None,
        })
    }
}

impl Occasion {
    /// Whether `next` is another, later occasion.
    pub(super) fn is_before(&self, next: &Self) -> bool {
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

    fn reset_ahead(minutes: u32) -> Alert {
        let (limit, resets_at) = ("claude-code/300".parse().unwrap(), at(10 * HOUR_MS));
        Alert { condition: Condition::ResetAhead { limit, resets_at, minutes }, level: Level::Info }
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

    /// How many of each look's alerts are fresh and due, through a restart after every look.
    fn looks(looks: &[(Option<&Alert>, bool)]) -> (Vec<usize>, Vec<usize>) {
        let mut arming = Arming::default();
        let mut look = |(alert, hold): &(Option<&Alert>, bool)| {
            let alerts: Vec<Alert> = alert.iter().map(|&alert| alert.clone()).collect();
            let News { fresh, due } = arming.news(&alerts, *hold);
            arming = serde_json::from_str(&serde_json::to_string(&arming).unwrap()).unwrap();
            (fresh.len(), due.len())
        };
        looks.iter().map(&mut look).unzip()
    }

    fn news(alerts: &[Option<&Alert>]) -> Vec<usize> {
        let (fresh, due) = looks(&alerts.iter().map(|&alert| (alert, false)).collect::<Vec<_>>());
        assert_eq!(fresh, due);
        fresh
    }

    #[test]
    fn a_level_is_news_once_per_window() {
        let reset = Some(10 * HOUR_MS);
        let (warning, danger) = (limit(reset, Level::Warning), limit(reset, Level::Danger));
        let jitter = limit(Some(10 * HOUR_MS + MINUTE_MS), Level::Warning);
        let next = limit(Some(15 * HOUR_MS), Level::Warning);
        let (w, d) = (Some(&warning), Some(&danger));
        let looks = [w, w, d, None, d, Some(&jitter), w, None, Some(&next)];
        assert_eq!(news(&looks), [1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_file_that_is_read_again_rings_nothing() {
        let (before, after) = (context(None, Level::Critical), context(Some(5), Level::Warning));
        let next = context(Some(9), Level::Warning);
        let (b, a) = (Some(&before), Some(&after));
        // Compacted once; then the file is retracted and read again, line by line.
        assert_eq!(news(&[b, a, None, b, a, Some(&next)]), [1, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn each_step_towards_an_instant_is_news_once() {
        let (hour, half, five) = (reset_ahead(60), reset_ahead(30), reset_ahead(5));
        let (h, m, f) = (Some(&hour), Some(&half), Some(&five));
        assert_eq!(news(&[h, h, m, h, f, m, f]), [1, 0, 1, 0, 1, 0, 0]);
    }

    #[test]
    fn what_is_held_is_due_once_if_it_is_still_so() {
        let reset = Some(10 * HOUR_MS);
        let (warning, danger) = (limit(reset, Level::Warning), limit(reset, Level::Danger));
        let (w, d) = (Some(&warning), Some(&danger));
        assert_eq!(looks(&[(w, true), (w, true), (w, false), (w, false)]), (vec![1, 0, 0, 0], vec![0, 0, 1, 0]));
        assert_eq!(looks(&[(w, true), (None, false), (w, false)]), (vec![1, 0, 0], vec![0, 0, 0]));
        assert_eq!(looks(&[(w, false), (d, true), (d, false)]), (vec![1, 1, 0], vec![1, 0, 1]));
    }
}
