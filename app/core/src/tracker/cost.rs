//! Usage and cost by day, in the configured zone.

use std::collections::{BTreeMap, BTreeSet};

use super::PricedChange;
use crate::event::{CostUpdate, DayUsage, Event};
use crate::time::{Day, Timestamp, ZoneOffsets, month_start};

/// Sums responses by day. Responses without a time belong to no day.
#[derive(Debug)]
pub(super) struct CostTracker {
    zone: ZoneOffsets,
    days: BTreeMap<Day, DayUsage>,
    changed: BTreeSet<Day>,
    today: Option<Day>,
}

impl CostTracker {
    pub(super) fn new(zone: ZoneOffsets) -> Self {
        Self { zone, days: BTreeMap::new(), changed: BTreeSet::new(), today: None }
    }

    pub(super) fn change(&mut self, change: PricedChange<'_>) {
        let Some(at) = change.record.at else { return };
        let day = self.zone.day(at);
        let sum = self.days.entry(day).or_insert_with(|| DayUsage::none(day));
        if change.added {
            sum.usage += change.record.usage;
            sum.cost += change.cost;
            sum.change_tool(change.record.tool, |cost| *cost += change.cost);
            sum.responses += 1;
        } else {
            sum.usage -= change.record.usage;
            sum.cost -= change.cost;
            sum.change_tool(change.record.tool, |cost| *cost -= change.cost);
            sum.responses = sum.responses.saturating_sub(1);
        }
        self.changed.insert(day);
    }

    /// What was used on days before, by responses read by a former process.
    pub(super) fn recall(&mut self, days: impl IntoIterator<Item = DayUsage>) {
        for day in days {
            self.changed.insert(day.day);
            self.days.insert(day.day, day);
        }
    }

    /// Tells of changed days that the state still shows.
    pub(super) fn flush(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        let today = self.zone.day(now);
        let day_changed = self.today.replace(today) != Some(today);
        if self.changed.is_empty() && !day_changed {
            return;
        }
        let shown = chrono::Days::new(crate::state::DAYS_SHOWN as u64 - 1);
        let oldest = month_start(today).min(today - shown);
        let days: Vec<DayUsage> =
            std::mem::take(&mut self.changed).range(oldest..).filter_map(|day| self.days.get(day)).cloned().collect();
        if day_changed || !days.is_empty() {
            events.push(Event::CostUpdate(CostUpdate { today, days }));
        }
    }
}
