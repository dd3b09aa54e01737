//! Everything in one, and what became of each line.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::table::Counted;
use super::usage::joined;
use super::{Figures, Filter, ReportContext, ReportKind, Sum, UsageRow};
use crate::history::{Ingest, ToolIngest, Unreadable};
use crate::ids::ModelId;
use crate::record::{Rejection, Tool};
use crate::time::Timestamp;
use crate::units::Tokens;

/// Figures over all responses the filter lets pass. What is said of files and lines is said of all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Totals {
    /// Which report it is.
    pub report: ReportKind,
    /// When it was made.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub generated_at: Timestamp,
    /// What was counted.
    pub filter: Filter,
    /// What was used.
    #[serde(flatten)]
    pub figures: Figures,
    /// Responses among them without a readable time.
    pub undated: u64,
    /// Models without a price that have responses with tokens.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub unpriced_models: BTreeSet<ModelId>,
    /// Each tool that has files or responses.
    pub by_tool: BTreeMap<Tool, ToolTotals>,
    /// Sessions with responses.
    pub sessions: u64,
    /// First response counted.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub first: Option<Timestamp>,
    /// Last one.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub last: Option<Timestamp>,
    /// Transcript files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Lines that were not blank.
    pub lines: u64,
    /// JSON objects on accepted lines.
    pub records: u64,
    /// Those of a type we do not know.
    pub unknown_records: u64,
    /// Usage records folded into another one's response.
    pub duplicate_lines: u64,
    /// Refused lines.
    pub rejected_lines: u64,
    /// Files that end inside a line.
    pub pending_lines: u64,
    /// Counts that were no non-negative integer, read as 0.
    pub bad_counts: u64,
    /// The refused lines, by file and place; the ledger's cap applies.
    pub rejections: Vec<Rejection>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Where transcripts were looked for.
    pub roots: Vec<String>,
}

/// One tool's part, and what became of its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ToolTotals {
    /// What was used.
    #[serde(flatten)]
    pub sum: Sum,
    /// Input, cache writes and cache reads together: what a tool that does not tell them apart calls input.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub input_with_cache: Tokens,
    /// Transcript files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Lines that were not blank.
    pub lines: u64,
    /// JSON objects on accepted lines.
    pub records: u64,
    /// Those of a type we do not know.
    pub unknown_records: u64,
    /// Usage records folded into another one's response, in all ways.
    pub duplicate_lines: u64,
    /// Those among them that repeat the one before in the same file.
    pub repeated_lines: u64,
    /// Refused lines.
    pub rejected_lines: u64,
    /// Files that end inside a line.
    pub pending_lines: u64,
}

fn by_tool(figures: &Figures, ingest: &Ingest) -> BTreeMap<Tool, ToolTotals> {
    let tools: BTreeSet<Tool> = figures.tools.keys().chain(ingest.by_tool.keys()).copied().collect();
    let totals = |tool: Tool| {
        let sum = figures.tools.get(&tool).copied().unwrap_or_default();
        let ToolIngest { files, counts, responses } = ingest.by_tool.get(&tool).copied().unwrap_or_default();
        ToolTotals {
            sum,
            input_with_cache: sum.usage.context(),
            files,
            bytes: counts.bytes,
            lines: counts.lines,
            records: counts.records,
            unknown_records: counts.unknown_records,
            duplicate_lines: counts.usage_records.saturating_sub(responses),
            repeated_lines: counts.repeated_records,
            rejected_lines: counts.rejected_lines,
            pending_lines: counts.pending_lines,
        }
    };
    tools.into_iter().map(|tool| (tool, totals(tool))).collect()
}

pub(super) fn totals<'a>(basis: ReportContext<'_>, rows: impl Iterator<Item = UsageRow<'a>>) -> Totals {
    let mut unpriced: BTreeSet<&ModelId> = BTreeSet::new();
    let mut sessions = FxHashSet::default();
    let mut span: Option<(Timestamp, Timestamp)> = None;
    let counted = Counted::count(basis, rows, |row, sum| {
        if sum.cost.unpriced_responses > 0 {
            unpriced.insert(row.model);
        }
        sessions.insert(row.session);
        span = joined(span, row.span);
    });
    let ingest = basis.ingest;
    Totals {
        report: ReportKind::Totals,
        generated_at: basis.now,
        filter: basis.filter.clone(),
        undated: counted.undated.all.responses,
        by_tool: by_tool(&counted.totals, ingest),
        figures: counted.totals,
        unpriced_models: unpriced.into_iter().cloned().collect(),
        sessions: sessions.len() as u64,
        first: span.map(|(first, _)| first),
        last: span.map(|(_, last)| last),
        files: ingest.files,
        bytes: ingest.counts.bytes,
        lines: ingest.counts.lines,
        records: ingest.counts.records,
        unknown_records: ingest.counts.unknown_records,
        duplicate_lines: ingest.duplicate_lines(),
        rejected_lines: ingest.counts.rejected_lines,
        pending_lines: ingest.counts.pending_lines,
        bad_counts: ingest.counts.bad_counts,
        rejections: ingest.rejections.clone(),
        unreadable: ingest.unreadable.clone(),
        roots: ingest.roots.clone(),
    }
}
