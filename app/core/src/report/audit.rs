//! What became of every line, what has no price, and what the tool is going to delete.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::table::Counted;
use super::{Filter, ReportContext, ReportKind, Sum, UsageRow};
use crate::drift::{Comparison, Drift};
use crate::history::Unreadable;
use crate::ids::ModelId;
use crate::record::Rejection;
use crate::time::{DAY_MS, Timestamp};
use crate::units::Tokens;

/// Days for which Claude Code keeps a transcript after its last change, unless its settings say otherwise.
pub const DEFAULT_KEEP_DAYS: u32 = 30;
/// Most sessions named in [`Expiring::next`]; all of them are counted.
const NAMED: usize = 20;

/// What is left to whom for how long: the transcripts of tools that delete them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The transcripts.
    pub transcripts: Vec<TranscriptAge>,
}

/// How old a transcript is, and for how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptAge {
    /// Its path below its root: `projects/<slug>/<session>.jsonl`.
    pub name: String,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// Days after that until the tool deletes it.
    pub keep_days: u32,
}

impl TranscriptAge {
    fn deletes_at(&self) -> Timestamp {
        self.changed_at.plus_ms(i64::from(self.keep_days) * DAY_MS)
    }

    /// The session whose transcript it is. Those of subagents go with their session's and are not counted.
    fn session(&self) -> Option<&str> {
        let [_, _, file] = self.name.split('/').collect::<Vec<_>>().try_into().ok()?;
        let stem = file.strip_suffix(".jsonl")?;
        (!stem.starts_with("agent-")).then_some(stem)
    }
}

/// What became of every line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Audit {
    /// Which report it is.
    pub report: ReportKind,
    /// When it was made.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub generated_at: Timestamp,
    /// Which responses `responses`, `undated` and `unpriced` count. All else is said of all files.
    pub filter: Filter,
    /// Where transcripts were looked for.
    pub roots: Vec<String>,
    /// Transcript files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Lines that were not blank.
    pub lines: u64,
    /// JSON objects on accepted lines.
    pub records: u64,
    /// Those of a type we do not know; skipped.
    pub unknown_records: u64,
    /// Records that tell of a response's tokens.
    pub usage_records: u64,
    /// Those folded into another one's response.
    pub duplicate_lines: u64,
    /// Responses counted.
    pub responses: u64,
    /// Responses among them without a readable time: in the totals, in no day.
    pub undated: u64,
    /// Responses of all whose time is more than five minutes ahead of now: unknown until it has come.
    #[serde(default)]
    pub ahead: u64,
    /// Counts that were no non-negative integer, read as 0.
    pub bad_counts: u64,
    /// Files that end inside a line, which may still be growing.
    pub pending_lines: u64,
    /// Refused lines.
    pub rejected_lines: u64,
    /// The refused lines, by file and place; the ledger's cap applies.
    pub rejections: Vec<Rejection>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Models without a price.
    pub unpriced: Vec<UnpricedModel>,
    /// What the tool itself says its sessions have used, beside our figures. Of all responses, whatever the filter.
    pub drift: Drift,
    /// What the tool is going to delete.
    pub expiring: Expiring,
}

/// A model without a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UnpricedModel {
    /// Its id.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub model: ModelId,
    /// Its responses with tokens.
    pub responses: u64,
    /// Their tokens.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub total: Tokens,
}

/// Sessions whose transcripts the tool is going to delete. What the dashboard has stored of them stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Expiring {
    /// Sessions with a transcript.
    pub sessions: u64,
    /// How many of them within how many days; soonest first.
    pub by_days: Vec<ExpiringDay>,
    /// The next to go.
    pub next: Vec<ExpiringSession>,
}

/// Sessions that go on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExpiringDay {
    /// Days from now, begun ones included; 0 is when the tool is next started.
    pub in_days: u64,
    /// Sessions that go then.
    pub sessions: u64,
}

/// A session that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExpiringSession {
    /// The session.
    pub session: String,
    /// Its transcript, below its root.
    pub file: String,
    /// When.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub deletes_at: Timestamp,
    /// Days from now, begun ones included.
    pub in_days: u64,
}

impl Expiring {
    /// What goes when, seen from `now`.
    pub fn of(retention: &Retention, now: Timestamp) -> Self {
        let session = |transcript: &TranscriptAge| {
            let deletes_at = transcript.deletes_at();
            let left_ms = deletes_at.ms_since(now).max(0);
            Some(ExpiringSession {
                session: transcript.session()?.to_owned(),
                file: transcript.name.clone(),
                deletes_at,
                in_days: left_ms.unsigned_abs().div_ceil(DAY_MS.unsigned_abs()),
            })
        };
        let mut next: Vec<ExpiringSession> = retention.transcripts.iter().filter_map(session).collect();
        next.sort_by(|a, b| (a.deletes_at, &a.session, &a.file).cmp(&(b.deletes_at, &b.session, &b.file)));
        let mut days: BTreeMap<u64, u64> = BTreeMap::new();
        next.iter().for_each(|session| *days.entry(session.in_days).or_default() += 1);
        let sessions = next.len() as u64;
        next.truncate(NAMED);
        let by_days = days.into_iter().map(|(in_days, sessions)| ExpiringDay { in_days, sessions }).collect();
        Self { sessions, by_days, next }
    }

    /// How many go within `days`.
    pub fn within(&self, days: u64) -> u64 {
        self.by_days.iter().filter(|day| day.in_days <= days).map(|day| day.sessions).sum()
    }
}

pub(super) fn audit<'a>(basis: ReportContext<'_>, rows: impl Iterator<Item = UsageRow<'a>>) -> Audit {
    let mut models: HashMap<&ModelId, Sum> = HashMap::new();
    let mut comparison = Comparison::new(&basis.sessions.accounts, basis.prices);
    let mut ahead = 0;
    let rows = rows.inspect(|row| {
        comparison.add(row);
        if row.span.is_some() && row.as_of(basis.now).span.is_none() {
            ahead += row.responses;
        }
    });
    let counted = Counted::count(basis, rows, |row, sum| {
        if sum.cost.unpriced_responses > 0 {
            *models.entry(row.model).or_default() += sum;
        }
    });
    let mut unpriced: Vec<UnpricedModel> = models
        .into_iter()
        .map(|(model, sum)| UnpricedModel {
            model: model.clone(),
            responses: sum.cost.unpriced_responses,
            total: sum.usage.total(),
        })
        .collect();
    unpriced.sort_by(|a, b| (b.total, &a.model).cmp(&(a.total, &b.model)));
    let ingest = basis.ingest;
    Audit {
        report: ReportKind::Audit,
        generated_at: basis.now,
        filter: basis.filter.clone(),
        roots: ingest.roots.clone(),
        files: ingest.files,
        bytes: ingest.counts.bytes,
        lines: ingest.counts.lines,
        records: ingest.counts.records,
        unknown_records: ingest.counts.unknown_records,
        usage_records: ingest.counts.usage_records,
        duplicate_lines: ingest.duplicate_lines(),
        responses: counted.totals.all.responses,
        undated: counted.undated.all.responses,
        ahead,
        bad_counts: ingest.counts.bad_counts,
        pending_lines: ingest.counts.pending_lines,
        rejected_lines: ingest.counts.rejected_lines,
        rejections: ingest.rejections.clone(),
        unreadable: ingest.unreadable.clone(),
        unpriced,
        drift: comparison.finish(),
        expiring: Expiring::of(basis.retention, basis.now),
    }
}
