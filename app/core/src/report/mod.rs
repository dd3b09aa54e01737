//! Reports: what was used, by day, week, month, session, block, model and project, and what became of every line.
//!
//! A report is a pure function of the responses that count, one by one or summed up ([`UsageRow`]), the facts of their sessions, a price table, a zone and
//! the present instant, narrowed by a [`Filter`]. The command line, the API and the page show the same ones. Rows
//! are ordered, sums do not depend on the order of responses, and unknown is null, never 0.
//!
//! Responses without a readable time are in no day and no block. They count in everything else unless the filter
//! names days, and every table says how many there are (`undated`).

mod audit;
mod blocks;
mod csv;
mod days;
mod figures;
mod filter;
mod groups;
mod periods;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod properties;
mod table;
#[cfg(test)]
mod tests;
mod totals;
mod usage;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use audit::{
    Audit, DEFAULT_KEEP_DAYS, Expiring, ExpiringDay, ExpiringSession, Retention, TranscriptAge, UnpricedModel,
};
pub use blocks::{BlockRow, Burn, Projection};
pub use days::days_of;
pub use figures::{Figures, Sum};
pub use filter::{DaySpec, Filter, FilterError};
pub use groups::{ModelRow, ProjectRow, SessionRow};
pub use periods::PeriodRow;
pub use table::Table;
pub use totals::{ToolTotals, Totals};
pub use usage::{QUARTER_MS, Slot, UsageRow, clamped, cuts};

use crate::history::{Ingest, Sessions};
use crate::price::PriceTable;
use crate::time::{Timestamp, ZoneOffsets};

/// The reports there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ReportKind {
    /// Everything in one.
    Totals,
    /// By day.
    Daily,
    /// By ISO week.
    Weekly,
    /// By month.
    Monthly,
    /// By session.
    Sessions,
    /// By five-hour block.
    Blocks,
    /// By model.
    Models,
    /// By project.
    Projects,
    /// What became of every line.
    Audit,
}

impl ReportKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Totals,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Sessions,
        Self::Blocks,
        Self::Models,
        Self::Projects,
        Self::Audit,
    ];

    /// The name, as commands and routes spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Totals => "totals",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Sessions => "sessions",
            Self::Blocks => "blocks",
            Self::Models => "models",
            Self::Projects => "projects",
            Self::Audit => "audit",
        }
    }

    /// What it shows, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Totals => "Tokens and cost of everything, and what became of each line",
            Self::Daily => "By day, in the configured time zone",
            Self::Weekly => "By ISO week, Monday to Sunday",
            Self::Monthly => "By calendar month",
            Self::Sessions => "By session, the one used last at the end",
            Self::Blocks => "By five-hour block, with burn rate and projection of the active one",
            Self::Models => "By model, the dearest first",
            Self::Projects => "By project, the dearest first",
            Self::Audit => "Refused lines, duplicates, unpriced models, and what the tool will delete",
        }
    }
}

impl fmt::Display for ReportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReportKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| format!("unknown report {text:?}; allowed: {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// What a report has to know besides the responses.
#[derive(Clone, Copy, Debug)]
pub struct ReportContext<'a> {
    /// The sessions.
    pub sessions: &'a Sessions,
    /// The reading.
    pub ingest: &'a Ingest,
    /// Prices of models.
    pub prices: &'a PriceTable,
    /// The zone in which days begin.
    pub zone: &'a ZoneOffsets,
    /// The present instant.
    pub now: Timestamp,
    /// Which responses to count.
    pub filter: &'a Filter,
    /// What the tools keep, and for how long.
    pub retention: &'a Retention,
}

/// A finished report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// See [`ReportKind::Totals`].
    Totals(Box<Totals>),
    /// Daily, weekly and monthly.
    Periods(Table<PeriodRow>),
    /// See [`ReportKind::Sessions`].
    Sessions(Table<SessionRow>),
    /// See [`ReportKind::Blocks`].
    Blocks(Table<BlockRow>),
    /// See [`ReportKind::Models`].
    Models(Table<ModelRow>),
    /// See [`ReportKind::Projects`].
    Projects(Table<ProjectRow>),
    /// See [`ReportKind::Audit`].
    Audit(Box<Audit>),
}

impl Report {
    /// Computes a report over responses, each a row of its own or summed up: that makes no difference.
    pub fn new<'a>(kind: ReportKind, basis: ReportContext<'_>, rows: impl Iterator<Item = UsageRow<'a>>) -> Self {
        match kind {
            ReportKind::Totals => Self::Totals(Box::new(totals::totals(basis, rows))),
            ReportKind::Daily => Self::Periods(periods::periods(kind, periods::day, basis, rows)),
            ReportKind::Weekly => Self::Periods(periods::periods(kind, periods::week, basis, rows)),
            ReportKind::Monthly => Self::Periods(periods::periods(kind, periods::month, basis, rows)),
            ReportKind::Sessions => Self::Sessions(groups::sessions(basis, rows)),
            ReportKind::Blocks => Self::Blocks(blocks::blocks(basis, rows)),
            ReportKind::Models => Self::Models(groups::models(basis, rows)),
            ReportKind::Projects => Self::Projects(groups::projects(basis, rows)),
            ReportKind::Audit => Self::Audit(Box::new(audit::audit(basis, rows))),
        }
    }

    /// As comma-separated values (RFC 4180): a line of names, then a line for each row. Without sums, which whoever
    /// reads it can make.
    pub fn csv(&self) -> String {
        csv::write(self)
    }
}
