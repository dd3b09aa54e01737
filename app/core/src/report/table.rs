//! What all reports with rows have in common.

use serde::{Deserialize, Serialize};

use super::{Figures, Filter, ReportContext, ReportKind, Sum, UsageRow};
use crate::time::Timestamp;

/// Rows and their sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Table<R> {
    /// Which report it is.
    pub report: ReportKind,
    /// When it was made.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub generated_at: Timestamp,
    /// What was counted.
    pub filter: Filter,
    /// The rows, in order.
    pub rows: Vec<R>,
    /// The part of `totals` without a readable time. It is in no day, week, month and block.
    pub undated: Figures,
    /// Everything counted.
    pub totals: Figures,
}

impl<R> Table<R> {
    pub(super) fn new(report: ReportKind, basis: ReportContext<'_>, counted: Counted, rows: Vec<R>) -> Self {
        let Counted { undated, totals } = counted;
        Self { report, generated_at: basis.now, filter: basis.filter.clone(), rows, undated, totals }
    }
}

/// The sums below every table.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) undated: Figures,
    pub(super) totals: Figures,
}

impl Counted {
    /// Takes the rows the filter lets pass, as of now, with their figures.
    pub(super) fn count<'a>(
        basis: ReportContext<'_>,
        rows: impl Iterator<Item = UsageRow<'a>>,
        mut each: impl FnMut(UsageRow<'a>, Sum),
    ) -> Self {
        let mut counted = Self::default();
        let rows = rows.map(|row| row.as_of(basis.now));
        for row in rows.filter(|row| basis.filter.takes(basis, row)) {
            let sum = sum(basis, &row);
            counted.totals.add(row.tool, sum);
            if row.span.is_none() {
                counted.undated.add(row.tool, sum);
            }
            each(row, sum);
        }
        counted
    }
}

/// A row, priced.
pub(super) fn sum(basis: ReportContext<'_>, row: &UsageRow<'_>) -> Sum {
    let cost = basis.prices.charge_sum(row.model, row.class, &row.usage, row.with_tokens);
    Sum { usage: row.usage, responses: row.responses, cost }
}
