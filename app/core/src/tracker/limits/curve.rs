//! The curve of a limit's window up to now, made anew from use and readings.

use std::collections::BTreeMap;

use super::readings::Readings;
use super::usage::{Slot, ToolUsage};
use crate::event::{Provenance, QuotaPoint, QuotaUpdate};
use crate::state::{MAX_QUOTA_POINTS, push_quota_point};
use crate::time::{Minute, Timestamp};
use crate::units::Tokens;

/// The points of `update`'s window; none if no window is open.
pub(super) fn curve(update: &QuotaUpdate, now: Timestamp, usage: &ToolUsage, readings: &Readings) -> Vec<QuotaPoint> {
    let Some(start) = update.starts_at else { return Vec::new() };
    let mut minutes: BTreeMap<Minute, QuotaPoint> = BTreeMap::new();
    let mut used = Tokens::ZERO;
    for (slot, tokens) in usage.tokens_since(Slot::of(start), &update.key.scope) {
        used += tokens;
        let minute = slot.minute();
        minutes.insert(minute, QuotaPoint { minute, used, percent: None });
    }
    if update.provenance == Provenance::Estimated {
        for point in minutes.values_mut() {
            point.percent = update.limit.and_then(|limit| point.used.percent_of(limit));
        }
    } else {
        let shares: BTreeMap<Minute, f64> = readings.shares(start, now, update.reset_time).collect();
        for &minute in shares.keys() {
            let used = minutes.range(..=minute).next_back().map_or(Tokens::ZERO, |(_, point)| point.used);
            minutes.entry(minute).or_insert(QuotaPoint { minute, used, percent: None });
        }
        let mut percent = None;
        for (minute, point) in &mut minutes {
            percent = shares.get(minute).copied().or(percent);
            point.percent = percent;
        }
    }
    let mut points = Vec::with_capacity(minutes.len().min(MAX_QUOTA_POINTS));
    minutes.into_values().for_each(|point| push_quota_point(&mut points, point, update.key.window));
    points
}
