//! Which responses a report counts.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ReportContext, UsageRow};
use crate::format;
use crate::ids::{ModelId, SessionId};
use crate::record::Tool;
use crate::time::{Day, ZoneOffsets};

/// Narrows a report. What is not given does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Filter {
    /// First day counted, in the configured zone.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = Date))]
    pub since: Option<Day>,
    /// Last day counted.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = Date))]
    pub until: Option<Day>,
    /// The directory of a project, or the last part of it; empty for sessions whose directory is not known.
    pub project: Option<String>,
    /// A model's id, or a part of it.
    pub model: Option<String>,
    /// A tool.
    pub tool: Option<Tool>,
}

/// A filter that nothing can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("until ({until}) is before since ({since}); allowed: the same day or a later one")]
pub struct FilterError {
    since: Day,
    until: Day,
}

impl Filter {
    /// The filter, if it can be passed at all.
    ///
    /// # Errors
    /// If it ends before it begins.
    pub fn checked(self) -> Result<Self, FilterError> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if until < since => Err(FilterError { since, until }),
            _ => Ok(self),
        }
    }

    /// Whether it names days, which leaves out what has no time.
    pub fn names_days(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether `day` is among the days it names.
    pub fn takes_day(&self, day: Day) -> bool {
        self.since.is_none_or(|since| since <= day) && self.until.is_none_or(|until| day <= until)
    }

    fn takes_model(&self, model: &ModelId) -> bool {
        let Some(wanted) = &self.model else { return true };
        let contains = |text: &str| text.to_ascii_lowercase().contains(&wanted.to_ascii_lowercase());
        contains(model.as_str()) || contains(&format::model(model.as_str()))
    }

    fn takes_session(&self, basis: ReportContext<'_>, session: &SessionId) -> bool {
        let Some(wanted) = &self.project else { return true };
        match basis.sessions.get(session).and_then(|facts| facts.cwd()) {
            Some(cwd) => {
                let bare = |path: &str| path.trim_end_matches(['/', '\\']).to_owned();
                !wanted.is_empty() && (bare(cwd) == bare(wanted) || format::project_of(cwd) == wanted)
            }
            None => wanted.is_empty(),
        }
    }

    /// Whether it lets a row pass, but for its day.
    pub(super) fn takes_source(&self, basis: ReportContext<'_>, row: &UsageRow<'_>) -> bool {
        self.tool.is_none_or(|tool| tool == row.tool)
            && self.takes_model(row.model)
            && self.takes_session(basis, row.session)
    }

    /// Whether it lets a row pass.
    pub(super) fn takes(&self, basis: ReportContext<'_>, row: &UsageRow<'_>) -> bool {
        let in_days = match row.span {
            _ if !self.names_days() => true,
            Some((first, _)) => self.takes_day(basis.zone.day(first)),
            None => false,
        };
        in_days && self.takes_source(basis, row)
    }
}

/// A day as people write it: itself, or so many days ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaySpec {
    /// A day of the calendar.
    Day(Day),
    /// Days before today; 0 is today.
    Ago(u32),
}

impl DaySpec {
    /// The day it means when it is `today`.
    pub fn on(self, today: Day) -> Day {
        match self {
            Self::Day(day) => day,
            Self::Ago(days) => today.checked_sub_days(chrono::Days::new(u64::from(days))).unwrap_or(Day::MIN),
        }
    }

    /// The day it means at `now` in `zone`.
    pub fn at(self, now: crate::time::Timestamp, zone: &ZoneOffsets) -> Day {
        self.on(zone.day(now))
    }
}

impl FromStr for DaySpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        let day = |year: &str, month: &str, day: &str| {
            let year = i32::try_from(number(year)?).ok()?;
            Day::from_ymd_opt(year, number(month)?, number(day)?).map(Self::Day)
        };
        let spec = match text {
            "today" => Some(Self::Ago(0)),
            "yesterday" => Some(Self::Ago(1)),
            _ if text.len() == 8 && text.is_ascii() => day(&text[..4], &text[4..6], &text[6..]),
            _ => match (text.split('-').collect::<Vec<_>>().as_slice(), text.strip_suffix('d')) {
                ([y, m, d], _) if (y.len(), m.len(), d.len()) == (4, 2, 2) => day(y, m, d),
                (_, Some(days)) if !days.is_empty() => number(days).map(Self::Ago),
                _ => None,
            },
        };
        spec.ok_or_else(|| {
            format!("{text:?} is no day; allowed: a date such as 2026-09-20, today, yesterday, or days ago such as 7d")
        })
    }
}
