//! Records of real sessions, turned into events: the trackers, the state, and the store behind them.

use std::sync::Arc;

use dashboard_core::alert::AlertMemory;
use dashboard_core::event::SequencedEvent;
use dashboard_core::history::History;
use dashboard_core::state::DashboardState;
use dashboard_core::time::{DAY_MS, Timestamp};
use dashboard_core::tracker::{Trackers, Warnings};

use super::past::{Past, Unwritten};
use crate::control::Order;
use crate::notify::{Inbox, Notice};
use crate::observation::{NumberedMessage, Recipient, SourceMessage};

/// Files modified since have been read when the source says that the present is known: all responses since are known.
const READ_BEFORE_CURRENT_MS: i64 = 2 * DAY_MS;

/// See the [module's description](self).
#[derive(Debug)]
pub struct Live {
    pub(super) trackers: Box<Trackers>,
    /// What has come of the events; `None` until the present is known.
    pub(super) state: Option<DashboardState>,
    /// Whether history is being read.
    is_reading: bool,
    /// Where alerts are left that are to be delivered, and what was told of them.
    inbox: Inbox,
    /// What was last left there to be kept.
    kept: AlertMemory,
    /// What is in the store, if there is one. Without one, the trackers hold everything.
    pub(super) past: Option<Past>,
}

/// Where everything that is known of the past can be had.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// In memory.
    Held(Arc<History>),
    /// In the store, once these messages are there.
    Stored(Unwritten),
}

impl Live {
    pub(super) fn new(trackers: Trackers, inbox: Inbox, past: Option<Past>) -> Self {
        let kept = trackers.memory().clone();
        Self { trackers: Box::new(trackers), state: None, is_reading: false, inbox, kept, past }
    }

    /// Carries out an order; whether there was anything to do it to.
    pub(super) fn order(&mut self, order: Order, now: Timestamp) -> bool {
        match (order, &self.state) {
            (Order::Snooze(ms), _) => self.trackers.snooze((ms > 0).then(|| now.plus_ms(ms))),
            (Order::Acknowledge(subject), Some(state)) => return self.trackers.acknowledge(&subject, state, now),
            (Order::Acknowledge(_), None) => return false,
            (Order::Settings(settings), _) => self.trackers.set_settings(*settings),
        }
        true
    }

    /// Takes a message of the source, and hands it on to the store. Whether the state begins with it.
    pub(super) fn take(&mut self, message: NumberedMessage, now: Timestamp) -> bool {
        let NumberedMessage { number, to, message } = message;
        let begins = to != Recipient::Store && self.take_message(number, &message, now);
        // After the engine: the store is never ahead of it, so that what it has can be recalled.
        if let Some(past) = self.past.as_ref().filter(|_| to != Recipient::Engine) {
            past.keep(number, message);
        }
        begins
    }

    fn take_message(&mut self, number: u64, message: &SourceMessage, now: Timestamp) -> bool {
        let Self { trackers, state: current, past, is_reading, .. } = self;
        match message {
            SourceMessage::Recalled(recalled) => {
                if let Some(past) = past {
                    past.begin(trackers, recalled, now);
                }
            }
            SourceMessage::Read { file, records, rejections, state, replaces } => {
                let id = trackers.file(file.tool, &file.key);
                if let Some(past) = past {
                    past.received(id, file, number);
                    if *replaces {
                        past.recall(trackers, |trackers| trackers.needs_to_retract(id), now);
                        past.withdrawn(id, number);
                    }
                }
                if *replaces {
                    trackers.retract_file(id, now);
                }
                if let Some(past) = past {
                    past.recall(trackers, |trackers| trackers.needs(id, records), now);
                    past.taken(id, state.counts.bytes);
                }
                records.iter().for_each(|record| trackers.record(id, record, now));
                rejections.iter().for_each(|rejection| trackers.reject(id, rejection.clone()));
                trackers.set_counts(id, state.counts);
            }
            SourceMessage::Retract { file } => {
                let id = trackers.file(file.tool, &file.key);
                if let Some(past) = past {
                    past.received(id, file, number);
                    past.recall(trackers, |trackers| trackers.needs_to_retract(id), now);
                    past.withdrawn(id, number);
                }
                trackers.retract_file(id, now);
            }
            SourceMessage::Archive { file } => {
                let id = trackers.file(file.tool, &file.key);
                if let Some(past) = past {
                    past.received(id, file, number);
                }
                // Of a deleted file without responses the store keeps nothing either.
                if trackers.counts(id).usage_records == 0 {
                    if let Some(past) = past {
                        past.recall(trackers, |trackers| trackers.needs_to_retract(id), now);
                    }
                    trackers.retract_file(id, now);
                }
                trackers.archive_file(id);
            }
            SourceMessage::Presence(running) => {
                if let Some(past) = past {
                    past.recall(trackers, |trackers| trackers.needs_of_presence(running), now);
                }
                trackers.presence(running);
            }
            SourceMessage::Statement(statement) => trackers.observe(statement, now),
            SourceMessage::StatusLine { tool, line } => trackers.status_line(*tool, line, now),
            SourceMessage::Failure(failure) => trackers.failure(failure),
            SourceMessage::Progress(progress) => {
                *is_reading = true;
                trackers.progress(Some(*progress));
            }
            SourceMessage::HistoryRead => {
                *is_reading = false;
                trackers.progress(None);
                match past {
                    Some(past) => {
                        past.history_read(trackers, now);
                        past.read();
                    }
                    None => trackers.history_read(now, |_, _| None),
                }
            }
            SourceMessage::Current { is_complete } => {
                if current.is_none() {
                    if !is_complete {
                        trackers.reading_history(now.plus_ms(-READ_BEFORE_CURRENT_MS));
                    }
                    *current = Some(trackers.begin(now));
                    return true;
                }
            }
            SourceMessage::Repeated { .. } | SourceMessage::EverythingRepeated => {}
        }
        false
    }

    /// What happened until `now`, numbered and folded into the state.
    pub(super) fn advance(&mut self, now: Timestamp) -> Vec<SequencedEvent> {
        let Self { trackers, state: Some(state), inbox, kept, .. } = self else { return Vec::new() };
        let mut events: Vec<SequencedEvent> =
            trackers.flush(now).into_iter().map(|event| state.take(event, now)).collect();
        let Warnings { events: warnings, due } = trackers.warnings(state, now);
        if !due.is_empty() || kept != trackers.memory() {
            let notices = due.into_iter().map(|alert| Notice::new(alert, state, now));
            kept.clone_from(trackers.memory());
            inbox.leave(kept.clone(), notices);
        }
        events.extend(warnings.into_iter().map(|event| state.take(event, now)));
        events
    }

    /// Whether history is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// Sees what the store has committed, also of what the askers wait for.
    pub(super) fn poll_commits(&mut self, waiting: &mut [&mut Unwritten]) {
        if let Some(past) = &mut self.past {
            past.poll_commits(&self.trackers, waiting);
        }
    }

    /// Lets go of what is on the disk and over. To be called now and then.
    pub(super) fn release(&mut self, now: Timestamp) {
        if let Some(past) = &mut self.past {
            past.release_if_due(&mut self.trackers, now);
        }
    }

    /// Whether everything there is is in memory.
    pub(super) fn holds_everything(&self) -> bool {
        self.past.as_ref().is_none_or(Past::holds_everything)
    }

    /// Where everything that is known at this moment can be had.
    pub(super) fn history(&self) -> Whereabouts {
        match &self.past {
            Some(past) if !past.holds_everything() => Whereabouts::Stored(past.unwritten()),
            _ => Whereabouts::Held(Arc::new(self.trackers.history())),
        }
    }

    /// Why the store cannot be read, if it cannot.
    pub(super) fn failure(&self) -> Option<&str> {
        self.past.as_ref().and_then(Past::failure)
    }
}
