//! What all reports with rows have in common.

use serde::{Deserialize, Serialize};

use super::{Figures, Filter, ReportContext, ReportKind, Sum};
use crate::history::Response;
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
    /// Takes the responses the filter lets pass, with their figures.
    pub(super) fn count<'a>(
        basis: ReportContext<'_>,
        responses: impl Iterator<Item = Response<'a>>,
        mut each: impl FnMut(Response<'a>, Sum),
    ) -> Self {
        let mut counted = Self::default();
        for response in responses.filter(|response| basis.filter.takes(basis, response)) {
            let sum = sum(basis, &response);
            counted.totals.add(response.tool, sum);
            if response.at.is_none() {
                counted.undated.add(response.tool, sum);
            }
            each(response, sum);
        }
        counted
    }
}

/// One response, priced.
pub(super) fn sum(basis: ReportContext<'_>, response: &Response<'_>) -> Sum {
    let cost = basis.prices.charge(response.model, &response.usage);
    Sum { usage: response.usage, responses: 1, cost }
}
