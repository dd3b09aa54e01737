//! What was told of a limit: its level over time, and whether there is anything new to tell.

use crate::event::{Event, Provenance, QuotaPoint, QuotaUpdate};
use crate::level::{Level, LevelGauge};
use crate::state::{same_reset, same_window};
use crate::time::{SECOND_MS, Timestamp};

/// A reading that only confirms the figures is told this often: its age is shown.
const CONFIRMED_MS: i64 = 5 * SECOND_MS;

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Told {
    gauge: LevelGauge,
    update: Option<QuotaUpdate>,
}

impl Told {
    /// Whether time alone may lower the level.
    pub(super) fn may_fall(&self) -> bool {
        self.gauge.shown() > Level::Healthy
    }

    /// Takes back what was told, if anything was: nothing is known of the limit any more.
    pub(super) fn forget(&mut self) -> Option<Event> {
        let update = std::mem::take(self).update?;
        Some(Event::QuotaUpdate(QuotaUpdate { gone: true, ..update }))
    }

    /// Whether the curve begins anew with `update`: nothing was told, or it was of another window or source.
    pub(super) fn begins_anew(&self, update: &QuotaUpdate) -> bool {
        self.update.as_ref().is_none_or(|before| !same_window(before, update))
    }

    /// Tells what is new; `history` is the curve, if it has to be replaced.
    pub(super) fn tell(
        &mut self,
        mut update: QuotaUpdate,
        history: Option<Vec<QuotaPoint>>,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let raw = update.status;
        let another_window = self.update.as_ref().is_some_and(|before| match (before.reset_time, update.reset_time) {
            (before @ Some(_), after @ Some(_)) => !same_reset(before, after),
            (Some(before), None) => before <= now,
            (None, _) => false,
        });
        // While older files are being read, and when they have been, estimates jump: that is no rise or fall of use.
        let was_complete = self.update.as_ref().is_none_or(|before| before.complete);
        let is_settling = update.provenance == Provenance::Estimated && !(update.complete && was_complete);
        if another_window || is_settling {
            self.gauge.reset(raw);
        } else {
            update.status = self.gauge.observe(raw, now);
        }
        let same = history.is_none()
            && self.update.as_ref().is_some_and(|before| {
                let age_ms = update.as_of.ms_since(before.as_of);
                age_ms < CONFIRMED_MS && *before == QuotaUpdate { as_of: before.as_of, ..update.clone() }
            });
        if !same {
            self.update = Some(update.clone());
            events.push(Event::QuotaUpdate(QuotaUpdate { history, ..update }));
        }
    }
}
