//! Sessions, models and projects.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::table::Counted;
use super::usage::joined;
use super::{Figures, ReportContext, ReportKind, Sum, Table, UsageRow};
use crate::format;
use crate::ids::{ModelId, SessionId};
use crate::record::Tool;
use crate::time::Timestamp;

/// A session with responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionRow {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub session: SessionId,
    /// The tool whose session it is.
    pub tool: Tool,
    /// Last part of its directory; null if that is not known.
    pub project: Option<String>,
    /// The directory it began in.
    pub cwd: Option<String>,
    /// The git branch it was on last.
    pub branch: Option<String>,
    /// The version of the tool that ran it last.
    pub version: Option<String>,
    /// Its first line, as far as known.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// Its last line.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub last_activity: Option<Timestamp>,
    /// The models that answered.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub models: BTreeSet<ModelId>,
    /// What was used, subagents included.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A model that answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ModelRow {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub model: ModelId,
    /// Whether its price is known.
    pub priced: bool,
    /// Its first response counted here.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub first: Option<Timestamp>,
    /// Its last one.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub last: Option<Timestamp>,
    /// What was used.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A project: the sessions that began in one directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProjectRow {
    /// Last part of the directory, with as many before it as tell it from those of other projects; null for sessions whose
    /// directory is not known.
    pub project: Option<String>,
    /// The directory.
    pub cwd: Option<String>,
    /// How many sessions.
    pub sessions: u64,
    /// The first response counted here.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub first: Option<Timestamp>,
    /// The last one.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub last: Option<Timestamp>,
    /// The models that answered.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub models: BTreeSet<ModelId>,
    /// What was used.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What is gathered of any group of responses.
#[derive(Debug, Default)]
struct Group<'a> {
    tool: Tool,
    models: BTreeSet<&'a ModelId>,
    sessions: BTreeSet<&'a SessionId>,
    span: Option<(Timestamp, Timestamp)>,
    figures: Figures,
}

impl<'a> Group<'a> {
    fn add(&mut self, row: UsageRow<'a>, sum: Sum) {
        self.tool = self.tool.max(row.tool);
        self.models.insert(row.model);
        self.sessions.insert(row.session);
        self.span = joined(self.span, row.span);
        self.figures.add(row.tool, sum);
    }

    fn first(&self) -> Option<Timestamp> {
        self.span.map(|(first, _)| first)
    }

    fn last(&self) -> Option<Timestamp> {
        self.span.map(|(_, last)| last)
    }
}

fn owned(models: BTreeSet<&ModelId>) -> BTreeSet<ModelId> {
    models.into_iter().cloned().collect()
}

/// The one used last at the end.
pub(super) fn sessions<'a>(basis: ReportContext<'_>, rows: impl Iterator<Item = UsageRow<'a>>) -> Table<SessionRow> {
    let mut groups: BTreeMap<&SessionId, Group<'_>> = BTreeMap::new();
    let counted = Counted::count(basis, rows, |row, sum| {
        groups.entry(row.session).or_default().add(row, sum);
    });
    let row = |(id, group): (&SessionId, Group<'_>)| {
        let facts = basis.sessions.get(id);
        let text = |text: Option<&str>| text.map(ToOwned::to_owned);
        SessionRow {
            session: id.clone(),
            tool: group.tool,
            project: text(facts.and_then(|facts| facts.project())),
            cwd: text(facts.and_then(|facts| facts.cwd())),
            branch: text(facts.and_then(|facts| facts.branch())),
            version: text(facts.and_then(|facts| facts.version())),
            started_at: facts.and_then(|facts| facts.first).or(group.first()),
            last_activity: facts.and_then(|facts| facts.last).max(group.last()),
            models: owned(group.models),
            figures: group.figures,
        }
    };
    let mut rows: Vec<SessionRow> = groups.into_iter().map(row).collect();
    rows.sort_by(|a, b| (a.last_activity, &a.session).cmp(&(b.last_activity, &b.session)));
    Table::new(ReportKind::Sessions, basis, counted, rows)
}

/// The dearest first.
pub(super) fn models<'a>(basis: ReportContext<'_>, rows: impl Iterator<Item = UsageRow<'a>>) -> Table<ModelRow> {
    let mut groups: BTreeMap<&ModelId, Group<'_>> = BTreeMap::new();
    let counted = Counted::count(basis, rows, |row, sum| {
        groups.entry(row.model).or_default().add(row, sum);
    });
    let row = |(model, group): (&ModelId, Group<'_>)| ModelRow {
        model: model.clone(),
        priced: basis.prices.knows(model),
        first: group.first(),
        last: group.last(),
        figures: group.figures,
    };
    let mut rows: Vec<ModelRow> = groups.into_iter().map(row).collect();
    rows.sort_by_cached_key(|row| row.figures.rank());
    Table::new(ReportKind::Models, basis, counted, rows)
}

/// The dearest first.
pub(super) fn projects<'a>(basis: ReportContext<'_>, rows: impl Iterator<Item = UsageRow<'a>>) -> Table<ProjectRow> {
    let mut groups: BTreeMap<Option<&str>, Group<'_>> = BTreeMap::new();
    let counted = Counted::count(basis, rows, |row, sum| {
        let cwd = basis.sessions.get(row.session).and_then(|facts| facts.cwd());
        // A slash at the end makes no other directory.
        let cwd = cwd.map(|cwd| match cwd.trim_end_matches(['/', '\\']) {
            "" => cwd,
            bare => bare,
        });
        groups.entry(cwd).or_default().add(row, sum);
    });
    let names = names(groups.keys().copied().flatten());
    let row = |(cwd, group): (Option<&str>, Group<'_>)| ProjectRow {
        project: cwd.and_then(|cwd| names.get(cwd).cloned()),
        cwd: cwd.map(ToOwned::to_owned),
        sessions: group.sessions.len() as u64,
        first: group.first(),
        last: group.last(),
        models: owned(group.models),
        figures: group.figures,
    };
    let mut rows: Vec<ProjectRow> = groups.into_iter().map(row).collect();
    rows.sort_by_cached_key(|row| row.figures.rank());
    Table::new(ReportKind::Projects, basis, counted, rows)
}

/// A name for each directory: its last part, or as many of its last parts as no other directory ends with.
fn names<'a>(dirs: impl Iterator<Item = &'a str> + Clone) -> BTreeMap<&'a str, String> {
    fn tail(dir: &str, parts: usize) -> &str {
        let mut ends = dir.rmatch_indices(['/', '\\']).map(|(at, _)| at + 1);
        ends.nth(parts - 1).map_or(dir, |at| &dir[at..])
    }
    let name = |dir: &'a str| {
        let last = format::project_of(dir);
        if dirs.clone().filter(|other| format::project_of(other) == last).count() == 1 {
            return last.to_owned();
        }
        let most = dir.matches(['/', '\\']).count() + 1;
        let is_unique = |name: &&str| {
            let separated = |other: &str| other.strip_suffix(name).is_some_and(|rest| rest.ends_with(['/', '\\']));
            dirs.clone().filter(|other| *other != dir).all(|other| other != *name && !separated(other))
        };
        (1..=most).map(|parts| tail(dir, parts)).find(is_unique).unwrap_or(dir).to_owned()
    };
    dirs.clone().map(|dir| (dir, name(dir))).collect()
}
