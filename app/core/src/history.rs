//! What is known of sessions and of the reading itself, besides the responses: all that a report needs.
//!
//! Facts are folded from [`SessionMeta`]s and from responses. The outcome does not depend on the order in which they
//! come, so that several threads reading files, a live tail and a store agree.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drift::Accounts;
use crate::format;
use crate::ids::{ModelId, SessionId};
use crate::ledger::{Ledger, Scope};
use crate::record::{FileCounts, Record, Rejection, SessionMeta, Tool, UsageRecord};
use crate::time::Timestamp;
use crate::units::TokenUsage;

/// Where and when a session ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// The tool whose session it is.
    pub tool: Tool,
    /// When its first line was written, as far as known.
    pub first: Option<Timestamp>,
    /// When its last line was written.
    pub last: Option<Timestamp>,
    cwd: Option<Said>,
    branch: Option<Said>,
    version: Option<Said>,
}

/// What a line said, and how much that weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    /// By a subagent, which may work elsewhere: counts only where the main chain says nothing.
    by_agent: bool,
    /// Without a time is after all others.
    at: Option<Timestamp>,
    text: String,
}

/// Which of the things said at different times holds.
#[derive(Clone, Copy)]
enum Holds {
    First,
    Last,
}

impl SessionFacts {
    /// The directory the session began in. A later change of directory does not move it to another project.
    pub fn cwd(&self) -> Option<&str> {
        self.cwd.as_ref().map(|said| said.text.as_str())
    }

    /// The last branch it worked on.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_ref().map(|said| said.text.as_str())
    }

    /// The last version of the tool that ran it.
    pub fn version(&self) -> Option<&str> {
        self.version.as_ref().map(|said| said.text.as_str())
    }

    /// The last part of its directory.
    pub fn project(&self) -> Option<&str> {
        self.cwd().map(format::project_of)
    }

    fn seen(&mut self, at: Option<Timestamp>) {
        let Some(at) = at else { return };
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    fn merge(&mut self, other: Self) {
        self.tool = other.tool;
        self.seen(other.first);
        self.seen(other.last);
        for (known, said, holds) in [
            (&mut self.cwd, other.cwd, Holds::First),
            (&mut self.branch, other.branch, Holds::Last),
            (&mut self.version, other.version, Holds::Last),
        ] {
            if let Some(said) = said {
                hear(known, said.by_agent, said.at, &said.text, holds);
            }
        }
    }
}

/// Takes what was said if it weighs more than what is known.
fn hear(known: &mut Option<Said>, by_agent: bool, at: Option<Timestamp>, text: &str, holds: Holds) {
    let weight = |by_agent: bool, at: Option<Timestamp>| {
        // A time that is not known is the last choice either way.
        let rank = match (holds, at) {
            (_, None) => i64::MAX,
            (Holds::First, Some(at)) => at.unix_ms(),
            (Holds::Last, Some(at)) => -at.unix_ms(),
        };
        (by_agent, rank)
    };
    match known {
        None => *known = Some(Said { by_agent, at, text: text.to_owned() }),
        Some(known) => {
            if (weight(by_agent, at), text) < (weight(known.by_agent, known.at), &known.text) {
                (known.by_agent, known.at) = (by_agent, at);
                // Lines come by the thousand and mostly repeat themselves.
                if known.text != text {
                    text.clone_into(&mut known.text);
                }
            }
        }
    }
}

/// The sessions there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    facts: BTreeMap<SessionId, SessionFacts>,
    /// What the tool itself says of them.
    pub accounts: Accounts,
}

impl Sessions {
    /// Takes what a record says of a session.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Session(meta) => self.meta(meta),
            Record::Usage(usage) => {
                let facts = self.of(&usage.session);
                facts.tool = usage.tool;
                facts.seen(usage.at);
            }
            Record::ToolCost(said) => self.accounts.take(said),
            _ => {}
        }
    }

    fn meta(&mut self, meta: &SessionMeta) {
        let facts = self.of(&meta.session);
        facts.tool = meta.tool;
        facts.seen(meta.at);
        for (known, text, holds) in [
            (&mut facts.cwd, &meta.cwd, Holds::First),
            (&mut facts.branch, &meta.branch, Holds::Last),
            (&mut facts.version, &meta.version, Holds::Last),
        ] {
            if let Some(text) = text {
                hear(known, meta.agent.is_some(), meta.at, text, holds);
            }
        }
    }

    fn of(&mut self, id: &SessionId) -> &mut SessionFacts {
        if !self.facts.contains_key(id) {
            self.facts.insert(id.clone(), SessionFacts::default());
        }
        self.facts.entry(id.clone()).or_default()
    }

    /// Takes over everything `other` knows.
    pub fn merge(&mut self, other: Self) {
        self.accounts.merge(other.accounts);
        for (id, facts) in other.facts {
            match self.facts.get_mut(&id) {
                Some(known) => known.merge(facts),
                None => drop(self.facts.insert(id, facts)),
            }
        }
    }

    /// What is known of a session.
    pub fn get(&self, id: &SessionId) -> Option<&SessionFacts> {
        self.facts.get(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn meta(at: i64, agent: Option<&str>, cwd: &str, branch: Option<&str>) -> Record {
        Record::Session(SessionMeta {
            tool: Tool::ClaudeCode,
            session: "s".into(),
            agent: agent.map(Into::into),
            cwd: Some(cwd.to_owned()),
            branch: branch.map(ToOwned::to_owned),
            version: None,
            at: (at > 0).then(|| Timestamp::from_unix_ms(at)),
        })
    }

    #[test]
    fn facts_do_not_depend_on_the_order_of_lines() {
        let metas = [
            meta(1, Some("a"), "/elsewhere", None),
            meta(5, None, "/home/ada/engine", Some("main")),
            meta(7, None, "/home/ada/engine/src", Some("topic")),
            meta(9, Some("a"), "/other", Some("z")),
            meta(0, None, "/undated", Some("undated")),
        ];
        let mut orders: Vec<Vec<usize>> = Vec::new();
        for start in 0..metas.len() {
            let order: Vec<usize> = (0..metas.len()).map(|i| (i + start) % metas.len()).collect();
            orders.push(order.iter().rev().copied().collect());
            orders.push(order);
        }
        for order in orders {
            let mut whole = Sessions::default();
            order.iter().for_each(|&i| whole.record(&metas[i]));
            let mut merged = Sessions::default();
            for &i in &order {
                let mut part = Sessions::default();
                part.record(&metas[i]);
                merged.merge(part);
            }
            assert_eq!(whole, merged, "{order:?}");
            let facts = whole.get(&"s".into()).unwrap();
            assert_eq!(facts.cwd(), Some("/home/ada/engine"), "{order:?}");
            assert_eq!((facts.project(), facts.branch()), (Some("engine"), Some("topic")));
            assert_eq!(facts.first, Some(Timestamp::from_unix_ms(1)));
            assert_eq!(facts.last, Some(Timestamp::from_unix_ms(9)));
        }
    }
}
