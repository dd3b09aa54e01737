//! Days, weeks and months of the configured zone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, Days, Months};
use serde::{Deserialize, Serialize};

use super::table::Counted;
use super::{Figures, ReportContext, ReportKind, Table, UsageRow};
use crate::ids::ModelId;
use crate::time::{Day, month_start};

/// A day, a week or a month with use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PeriodRow {
    /// Its name: `2026-09-20`, `2026-W38` or `2026-09`.
    pub period: String,
    /// Its first day.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Date))]
    pub start: Day,
    /// Its last day.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Date))]
    pub end: Day,
    /// The models that answered.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub models: BTreeSet<ModelId>,
    /// What was used.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A period: its name, its first and its last day.
type Period = (String, Day, Day);

pub(super) fn day(day: Day) -> Period {
    (format!("{:04}-{:02}-{:02}", day.year(), day.month(), day.day()), day, day)
}

/// Weeks begin on Monday and belong to the year of their Thursday (ISO 8601).
pub(super) fn week(day: Day) -> Period {
    let back = Days::new(u64::from(day.weekday().num_days_from_monday()));
    let monday = day.checked_sub_days(back).unwrap_or(day);
    let week = day.iso_week();
    let sunday = monday.checked_add_days(Days::new(6)).unwrap_or(day);
    (format!("{:04}-W{:02}", week.year(), week.week()), monday, sunday)
}

pub(super) fn month(day: Day) -> Period {
    let first = month_start(day);
    let last = first.checked_add_months(Months::new(1)).and_then(|next| next.pred_opt()).unwrap_or(day);
    (format!("{:04}-{:02}", day.year(), day.month()), first, last)
}

/// Oldest first; periods without use are left out.
pub(super) fn periods<'a>(
    kind: ReportKind,
    period_of: fn(Day) -> Period,
    basis: ReportContext<'_>,
    rows: impl Iterator<Item = UsageRow<'a>>,
) -> Table<PeriodRow> {
    let mut days: BTreeMap<Day, (BTreeSet<&ModelId>, Figures)> = BTreeMap::new();
    let counted = Counted::count(basis, rows, |row, sum| {
        let Some((first, _)) = row.span else { return };
        let (models, figures) = days.entry(basis.zone.day(first)).or_default();
        models.insert(row.model);
        figures.add(row.tool, sum);
    });
    let mut rows: Vec<PeriodRow> = Vec::new();
    for (day, (models, figures)) in days {
        let (period, start, end) = period_of(day);
        let models = models.into_iter().cloned();
        match rows.last_mut().filter(|row| row.start == start) {
            Some(row) => {
                row.models.extend(models);
                row.figures += &figures;
            }
            None => rows.push(PeriodRow { period, start, end, models: models.collect(), figures }),
        }
    }
    Table::new(kind, basis, counted, rows)
}
