//! What was used on each day: the same figures that the state shows of days, made of sums.

use std::collections::BTreeMap;

use super::UsageRow;
use crate::event::DayUsage;
use crate::price::PriceTable;
use crate::time::{Day, Timestamp, ZoneOffsets};

/// What was used on each day of a zone, by sums of responses. Those still to come at `now` are of no day.
pub fn days_of<'a>(
    rows: impl Iterator<Item = UsageRow<'a>>,
    prices: &PriceTable,
    zone: &ZoneOffsets,
    now: Timestamp,
) -> Vec<DayUsage> {
    let mut days: BTreeMap<Day, DayUsage> = BTreeMap::new();
    for row in rows {
        let Some((first, last)) = row.span else { continue };
        if last.known_at(now).is_none() {
            continue;
        }
        let day = zone.day(first);
        let sum = days.entry(day).or_insert_with(|| DayUsage::none(day));
        sum.usage += row.usage;
        let charge = prices.charge_sum(row.model, row.class, &row.usage, row.with_tokens);
        sum.cost += charge;
        sum.change_tool(row.tool, |cost| *cost += charge);
        sum.responses += row.responses;
    }
    days.into_values().collect()
}
