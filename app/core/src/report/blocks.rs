//! Five-hour blocks, the one in course with its burn and where it leads.
//!
//! Blocks follow [`tracker::blocks`](crate::tracker::blocks). A window belongs to an account, so each tool has blocks
//! of its own, and all its dated responses decide where they begin and end; the filter decides what is counted in
//! them. Days named by the filter choose the blocks that begin on them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::table::{Counted, sum};
use super::usage::joined;
use super::{Figures, ReportContext, ReportKind, Slot, Table, UsageRow};
use crate::ids::ModelId;
use crate::record::Tool;
use crate::time::{HOUR_MS, MINUTE_MS, Timestamp};
use crate::tracker::{Block, blocks as split};
use crate::units::{Money, Tokens};

/// A block, or the gap between two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BlockRow {
    /// Whose window it estimates.
    pub tool: Tool,
    /// When it begins.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub start: Timestamp,
    /// When it ends.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub end: Timestamp,
    /// Nothing happened in it.
    pub is_gap: bool,
    /// It is in course.
    pub is_active: bool,
    /// Its first response; null in a gap.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub first: Option<Timestamp>,
    /// Its last one.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub last: Option<Timestamp>,
    /// How fast it is used; null unless it is in course and more than a moment old.
    pub burn: Option<Burn>,
    /// Where that leads by its end; null with `burn`.
    pub projection: Option<Projection>,
    /// The models that answered.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub models: BTreeSet<ModelId>,
    /// What was used.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Use per time, from the block's first response to its last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Burn {
    /// Tokens of all kinds per minute.
    pub tokens_per_minute: f64,
    /// US dollars per hour; null if the cost is not known.
    pub cost_usd_per_hour: Option<f64>,
}

/// What will have been used by the block's end at the present rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Projection {
    /// Tokens of all kinds.
    pub total: f64,
    /// US dollars; null if the cost is not known.
    pub cost_usd: Option<f64>,
    /// Minutes until the end.
    pub remaining_minutes: f64,
}

/// What was used within one [`Slot`], which no block begins or ends within.
#[derive(Debug, Default)]
struct SlotUse<'a> {
    /// First and last response of all, whatever the filter.
    span: Option<(Timestamp, Timestamp)>,
    /// Of those the filter lets pass: the models, and what was used.
    models: BTreeSet<&'a ModelId>,
    figures: Figures,
}

/// Oldest first, tool by tool.
pub(super) fn blocks<'a>(basis: ReportContext<'_>, rows: impl Iterator<Item = UsageRow<'a>>) -> Table<BlockRow> {
    let mut dated: BTreeMap<Tool, BTreeMap<Slot, SlotUse<'a>>> = BTreeMap::new();
    let mut undated = Figures::default();
    for row in rows.map(|row| row.as_of(basis.now)) {
        match row.slot() {
            Some(slot) => {
                let used = dated.entry(row.tool).or_default().entry(slot).or_default();
                used.span = joined(used.span, row.span);
                if basis.filter.takes_source(basis, &row) {
                    used.models.insert(row.model);
                    used.figures.add(row.tool, sum(basis, &row));
                }
            }
            None if basis.filter.takes(basis, &row) => undated.add(row.tool, sum(basis, &row)),
            None => {}
        }
    }
    let mut counted = Counted { totals: undated.clone(), undated };
    let narrowed = basis.filter.project.is_some() || basis.filter.model.is_some();
    let mut table_rows = Vec::new();
    for (tool, slots) in dated {
        if basis.filter.tool.is_some_and(|wanted| wanted != tool) {
            continue;
        }
        let times = slots.values().filter_map(|used| used.span).flat_map(|(first, last)| [first, last]);
        let blocks = split(times.collect::<Vec<_>>());
        let mut rest = slots.into_values().peekable();
        for block in blocks {
            let mut own = SlotUse::default();
            if let Some((_, end)) = block.span {
                while let Some(used) = rest.next_if(|used| used.span.is_some_and(|(_, last)| last <= end)) {
                    own.models.extend(used.models);
                    own.figures += &used.figures;
                }
            }
            if !basis.filter.takes_day(basis.zone.day(block.start)) {
                continue;
            }
            let row = row(basis, tool, block, own);
            if row.figures.all.responses > 0 || !narrowed {
                counted.totals += &row.figures;
                table_rows.push(row);
            }
        }
    }
    Table::new(ReportKind::Blocks, basis, counted, table_rows)
}

fn row(basis: ReportContext<'_>, tool: Tool, block: Block, used: SlotUse<'_>) -> BlockRow {
    let SlotUse { models, figures, .. } = used;
    let is_active = block.is_active(basis.now);
    let burn = block.span.filter(|_| is_active).and_then(|span| burn(span, &figures));
    let cost_usd = figures.all.cost.known().map(Money::usd);
    #[expect(clippy::cast_precision_loss, reason = "a few hours in milliseconds")]
    let remaining_minutes = block.end.ms_since(basis.now) as f64 / MINUTE_MS as f64;
    let projection = burn.map(|burn| Projection {
        total: float(figures.all.usage.total()) + burn.tokens_per_minute * remaining_minutes,
        cost_usd: cost_usd.zip(burn.cost_usd_per_hour).map(|(cost, rate)| cost + rate * remaining_minutes / 60.0),
        remaining_minutes,
    });
    BlockRow {
        tool,
        start: block.start,
        end: block.end,
        is_gap: block.span.is_none(),
        is_active,
        first: block.span.map(|(first, _)| first),
        last: block.span.map(|(_, last)| last),
        burn,
        projection,
        models: models.into_iter().cloned().collect(),
        figures,
    }
}

/// `None` of a block with but one instant of use.
fn burn((first, last): (Timestamp, Timestamp), figures: &Figures) -> Option<Burn> {
    let ms = last.ms_since(first);
    if ms <= 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hours in milliseconds")]
    let (minutes, hours) = (ms as f64 / MINUTE_MS as f64, ms as f64 / HOUR_MS as f64);
    Some(Burn {
        tokens_per_minute: float(figures.all.usage.total()) / minutes,
        cost_usd_per_hour: figures.all.cost.known().map(|cost| cost.usd() / hours),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
fn float(tokens: Tokens) -> f64 {
    tokens.0 as f64
}
