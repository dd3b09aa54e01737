//! What the user wants to hear no more of: a snooze of everything, and acknowledged alerts.

use serde::{Deserialize, Serialize};

use super::condition::{Alert, AlertSubject, Occasion, Urgency};
use crate::time::Timestamp;

/// What the user wants to hear no more of. Part of the state, and kept across a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silences {
    /// Nothing is delivered until then; the page still shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    snoozed_until: Option<Timestamp>,
    /// Alerts the page shows no more until they get worse, or come up anew; oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acknowledged: Vec<Acknowledged>,
}

/// An alert the user knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Acknowledged {
    subject: AlertSubject,
    occasion: Occasion,
    urgency: Urgency,
}

impl Silences {
    /// Most acknowledgements kept; the oldest go first.
    pub const MAX_ACKNOWLEDGED: usize = 100;

    /// Delivers nothing until this instant; `None` delivers again.
    pub fn snooze(&mut self, until: Option<Timestamp>) {
        self.snoozed_until = until;
    }

    /// Until when nothing is delivered; `None` if the snooze is over, or there was none.
    pub fn snoozed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.snoozed_until.filter(|&until| now < until)
    }

    /// Shows this alert no more, until it is worse or comes up anew.
    pub fn acknowledge(&mut self, alert: &Alert) {
        let (subject, occasion, urgency) = (alert.condition.subject(), alert.condition.occasion(), alert.urgency());
        self.acknowledged.retain(|known| known.subject != subject);
        self.acknowledged.push(Acknowledged { subject, occasion, urgency });
        self.acknowledged.drain(..self.acknowledged.len().saturating_sub(Self::MAX_ACKNOWLEDGED));
    }

    /// Whether the user knows of this alert.
    pub fn hide(&self, alert: &Alert) -> bool {
        let subject = alert.condition.subject();
        let known = self.acknowledged.iter().find(|known| known.subject == subject);
        known.is_some_and(|known| {
            !known.occasion.is_before(&alert.condition.occasion()) && !alert.urgency().exceeds(known.urgency)
        })
    }

    /// Forgets what is over: `alerts` is what is so now.
    pub(crate) fn settle(&mut self, alerts: &[Alert], now: Timestamp) {
        self.snoozed_until = self.snoozed_until(now);
        self.acknowledged.retain(|known| match known.occasion {
            Occasion::WhileItLasts => alerts.iter().any(|alert| alert.condition.subject() == known.subject),
            Occasion::Window(end) => now < end || alerts.iter().any(|alert| alert.condition.subject() == known.subject),
            Occasion::Fill(_) => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Condition;
    use crate::level::Level;
    use crate::time::HOUR_MS;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_unix_ms(hour * HOUR_MS)
    }

    fn limit(reset: i64, level: Level) -> Alert {
        let (limit, resets_at) = ("claude-code/300".parse().unwrap(), Some(at(reset)));
        Alert { condition: Condition::LimitNear { limit, percent: None, resets_at }, level }
    }

    #[test]
    fn an_acknowledged_alert_comes_back_when_it_is_worse_or_new() {
        let mut silences = Silences::default();
        silences.acknowledge(&limit(5, Level::Danger));
        assert!(silences.hide(&limit(5, Level::Danger)) && silences.hide(&limit(5, Level::Warning)));
        assert!(!silences.hide(&limit(5, Level::Critical)) && !silences.hide(&limit(10, Level::Warning)));
        silences.settle(&[], at(4));
        assert!(silences.hide(&limit(5, Level::Danger)), "it may come and go within its window");
        silences.settle(&[], at(5));
        assert_eq!(silences, Silences::default());

        let waits = Condition::NeedsYou { session: "s".into(), project: "p".to_owned() };
        let waits = Alert { condition: waits, level: Level::Warning };
        silences.acknowledge(&waits);
        silences.settle(std::slice::from_ref(&waits), at(0));
        assert!(silences.hide(&waits));
        silences.settle(&[], at(0));
        assert!(!silences.hide(&waits), "the next question is another one");
    }

    #[test]
    fn a_snooze_ends_by_itself() {
        let mut silences = Silences::default();
        silences.snooze(Some(at(2)));
        assert_eq!((silences.snoozed_until(at(1)), silences.snoozed_until(at(2))), (Some(at(2)), None));
        silences.settle(&[], at(2));
        assert_eq!(silences, Silences::default());
    }

    #[test]
    fn acknowledgements_are_bounded() {
        let mut silences = Silences::default();
        for number in 0..150 {
            let part = Condition::PartFailing { component: number.to_string() };
            silences.acknowledge(&Alert { condition: part, level: Level::Warning });
        }
        assert_eq!(silences.acknowledged.len(), Silences::MAX_ACKNOWLEDGED);
    }
}
