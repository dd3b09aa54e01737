//! All that a report is made of: responses, sessions, and what became of every line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ModelId, SessionId};
use crate::ledger::{Ledger, Scope, Standing};
use crate::record::{FileCounts, Rejection, Tool, UsageRecord};
pub use crate::session::{SessionFacts, Sessions};
use crate::time::Timestamp;
use crate::units::TokenUsage;

/// A response, as reports see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Whose it is.
    pub tool: Tool,
    /// The session it belongs to.
    pub session: &'a SessionId,
    /// The model that answered.
    pub model: &'a ModelId,
    /// When; `None` if no line of it has a readable timestamp.
    pub at: Option<Timestamp>,
    /// The tokens.
    pub usage: TokenUsage,
}

impl<'a> From<Standing<'a>> for Response<'a> {
    fn from(standing: Standing<'a>) -> Self {
        let Standing { tool, session, agent: _, model, at, usage } = standing;
        Self { tool, session, model, at, usage }
    }
}

impl<'a> From<&'a UsageRecord> for Response<'a> {
    fn from(record: &'a UsageRecord) -> Self {
        Self { tool: record.tool, session: &record.session, model: &record.model, at: record.at, usage: record.usage }
    }
}

/// A file or directory that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Unreadable {
    /// Its path.
    pub path: String,
    /// What the system said.
    pub error: String,
}

/// What was read, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingest {
    /// Transcript files.
    pub files: u64,
    /// Their bytes, lines and records.
    pub counts: FileCounts,
    /// Responses in scope, whatever a report selects.
    pub responses: u64,
    /// The same of each tool that has files.
    pub by_tool: BTreeMap<Tool, ToolIngest>,
    /// Refused lines, by file and place; the ledger's cap applies.
    pub rejections: Vec<Rejection>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Where transcripts were looked for.
    pub roots: Vec<String>,
}

/// What was read of one tool's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolIngest {
    /// Its files.
    pub files: u64,
    /// Their bytes, lines and records.
    pub counts: FileCounts,
    /// Its responses in scope, whatever a report selects.
    pub responses: u64,
}

impl Ingest {
    /// What a ledger knows of it; `tools` are those of its responses in scope, one for each.
    pub fn of(ledger: &Ledger, scope: Scope, tools: impl Iterator<Item = Tool>) -> Self {
        let mut by_tool: BTreeMap<Tool, ToolIngest> = BTreeMap::new();
        for tool in Tool::ALL {
            let (files, counts) = ledger.counts_of(tool, scope);
            if files > 0 {
                by_tool.insert(tool, ToolIngest { files, counts, responses: 0 });
            }
        }
        for tool in tools {
            by_tool.entry(tool).or_default().responses += 1;
        }
        let mut rejections: Vec<Rejection> = ledger.rejections(scope).cloned().collect();
        rejections.sort_by(|a, b| (&a.file, a.byte_offset).cmp(&(&b.file, b.byte_offset)));
        Self {
            files: ledger.file_count(scope),
            counts: ledger.counts(scope),
            responses: by_tool.values().map(|it| it.responses).sum(),
            by_tool,
            rejections,
            unreadable: Vec::new(),
            roots: Vec::new(),
        }
    }

    /// Usage records folded into another one's response.
    pub fn duplicate_lines(&self) -> u64 {
        self.counts.usage_records.saturating_sub(self.responses)
    }
}

/// Everything reports are made of, as it was at one moment. Cheap to share, and smaller than the ledger.
#[derive(Clone, Debug, Default)]
pub struct History {
    responses: Vec<Kept>,
    /// The sessions.
    pub sessions: Sessions,
    /// The reading.
    pub ingest: Ingest,
}

#[derive(Clone, Debug)]
struct Kept {
    session: SessionId,
    model: ModelId,
    at: Option<Timestamp>,
    usage: TokenUsage,
    tool: Tool,
}

impl History {
    /// What `ledger` holds at this moment.
    pub fn of(ledger: &Ledger, scope: Scope, sessions: Sessions) -> Self {
        let kept = |record: UsageRecord| Kept {
            session: record.session,
            model: record.model,
            at: record.at,
            usage: record.usage,
            tool: record.tool,
        };
        let responses: Vec<Kept> = ledger.responses(scope).map(kept).collect();
        let ingest = Ingest::of(ledger, scope, responses.iter().map(|kept| kept.tool));
        Self { responses, sessions, ingest }
    }

    /// The responses, in no particular order.
    pub fn responses(&self) -> impl Iterator<Item = Response<'_>> {
        self.responses.iter().map(|kept| Response {
            tool: kept.tool,
            session: &kept.session,
            model: &kept.model,
            at: kept.at,
            usage: kept.usage,
        })
    }
}
