//! Reading the store: every file's claims, as if the file had just been read.

use crate::observation::{FileState, Root, SinkClosed, TranscriptFile};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use dashboard_core::ids::{AgentId, MessageId, ModelId, RequestId, SessionId};
use dashboard_core::record::{
    AgentMeta, Compaction, ContextFill, LimitKey, Place, RateLimitReport, Record, Rejection, ResponseId, SessionMeta,
    Tool, UsageRecord,
};
use dashboard_core::time::Timestamp;
use dashboard_core::transcript::Identity;
use dashboard_core::units::{TokenUsage, Tokens};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codes::{Code, limit_of};
use super::{StoredFile, schema};

/// Why the store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// SQLite refuses.
    #[error("the history database cannot be read: {0}")]
    Database(#[from] rusqlite::Error),
    /// It holds something no dashboard wrote.
    #[error("the history database says what cannot be: {0}")]
    Content(String),
}

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
}

/// The texts behind the numbers.
pub(super) struct Names<'a> {
    connection: &'a Connection,
    /// Those looked up so far.
    known: RefCell<HashMap<i64, Arc<str>>>,
}

impl<'a> Names<'a> {
    /// Looked up one by one, which is the right thing for a few.
    pub(super) fn on_demand(connection: &'a Connection) -> Self {
        Self { connection, known: RefCell::default() }
    }

    /// All of them.
    fn all(connection: &'a Connection) -> Result<Self, LoadError> {
        let mut statement = connection.prepare("SELECT id, text FROM names")?;
        let mut rows = statement.query([])?;
        let mut known = HashMap::new();
        while let Some(row) = rows.next()? {
            known.insert(row.get(0)?, Arc::from(row.get_ref(1)?.as_str().unwrap_or_default()));
        }
        Ok(Self { connection, known: RefCell::new(known) })
    }

    pub(super) fn get(&self, id: i64) -> Result<Arc<str>, LoadError> {
        if let Some(text) = self.known.borrow().get(&id) {
            return Ok(Arc::clone(text));
        }
        let mut statement = self.connection.prepare_cached("SELECT text FROM names WHERE id = ?1")?;
        let text: Option<String> = statement.query_row([id], |row| row.get(0)).optional()?;
        let text: Arc<str> = text.ok_or_else(|| LoadError::Content(format!("name {id} is missing")))?.into();
        self.known.borrow_mut().insert(id, Arc::clone(&text));
        Ok(text)
    }

    fn text(&self, id: Option<i64>) -> Result<Option<String>, LoadError> {
        id.map(|id| self.get(id).map(|text| text.to_string())).transpose()
    }
}

pub(super) fn code<T: Code>(text: &str) -> Result<T, LoadError> {
    T::of(text).ok_or_else(|| LoadError::Content(format!("unknown word {text}")))
}

fn limit(tool: Tool, text: &str) -> Result<LimitKey, LoadError> {
    limit_of(tool, text).ok_or_else(|| LoadError::Content(format!("unknown limit {text}")))
}

pub(super) fn time(ms: Option<i64>) -> Option<Timestamp> {
    ms.map(Timestamp::from_unix_ms)
}

fn tokens(row: &Row<'_>, column: usize) -> rusqlite::Result<Tokens> {
    Ok(Tokens(row.get::<_, i64>(column)?.cast_unsigned()))
}

impl Reader {
    /// Opens the database, which must be there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(database: &Path) -> Result<Self, LoadError> {
        Ok(Self { connection: schema::open_to_read(database)? })
    }

    /// Gives out what is known of the files of these roots, deleted ones included.
    ///
    /// # Errors
    /// If the database is damaged. What was given out until then holds.
    pub fn load(
        &self,
        roots: &[Root],
        mut take: impl FnMut(StoredFile) -> Result<(), SinkClosed>,
    ) -> Result<Result<(), SinkClosed>, LoadError> {
        // One moment of the database, whatever is written meanwhile.
        let transaction = self.connection.unchecked_transaction()?;
        let names = Names::all(&self.connection)?;
        for root in roots {
            let mut files = transaction.prepare(
                "SELECT id, name, state, archived_at IS NOT NULL, reached FROM files
                 WHERE tool = ?1 AND root = ?2 ORDER BY name",
            )?;
            let mut rows = files.query(params![root.tool.code(), root.dir.to_string_lossy()])?;
            while let Some(row) = rows.next()? {
                let (id, name, archived): (i64, String, bool) = (row.get(0)?, row.get(1)?, row.get(3)?);
                let mut state: FileState = serde_json::from_str(row.get_ref(2)?.as_str().unwrap_or_default())
                    .map_err(|error| LoadError::Content(format!("the state of {name}: {error}")))?;
                let found = TranscriptFile::new(root, name);
                // A file that will be read on from its last newline says again what stands after that; of one that has
                // gone, all counts.
                let is_gone = archived || found.path.symlink_metadata().is_err();
                let reached = if is_gone { i64::MAX } else { row.get(4)? };
                if !is_gone {
                    state.counts = state.checkpoint.counts;
                }
                let mut records = Vec::new();
                records.extend(state.checkpoint.lineage().cloned().map(Record::Lineage));
                let file = OneFile { connection: &self.connection, id, tool: root.tool, names: &names };
                file.records(reached, &mut records)?;
                let rejections = self.rejections(id, &found.name)?;
                if let Err(gone) = take(StoredFile { found, state, archived, records, rejections }) {
                    return Ok(Err(gone));
                }
            }
        }
        Ok(Ok(()))
    }

    fn rejections(&self, file: i64, name: &str) -> Result<Vec<Rejection>, LoadError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT byte_offset, reason FROM audit WHERE file = ?1 ORDER BY byte_offset")?;
        let mut rows = statement.query([file])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let byte_offset = row.get::<_, i64>(0)?.cast_unsigned();
            let reason = code(row.get_ref(1)?.as_str().unwrap_or_default())?;
            found.push(Rejection { file: name.to_owned(), byte_offset, reason });
        }
        Ok(found)
    }
}

/// One file's rows.
pub(super) struct OneFile<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: i64,
    pub(super) tool: Tool,
    pub(super) names: &'a Names<'a>,
}

impl OneFile<'_> {
    /// What it says, up to the place `reached`. Where and how its sessions ran comes first.
    fn records(&self, reached: i64, out: &mut Vec<Record>) -> Result<(), LoadError> {
        self.appearances(out)?;
        self.compactions_and_claims(reached, out)?;
        self.context_fills(out)?;
        self.tool_costs(out)?;
        self.limit_reports(out)
    }

    fn session(&self, id: i64) -> Result<SessionId, LoadError> {
        Ok(SessionId::new(self.names.get(id)?))
    }

    fn appearances(&self, out: &mut Vec<Record>) -> Result<(), LoadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT session, agent, cwd, last_cwd, branch, version, first_at, last_at FROM appearances WHERE file = ?1",
        )?;
        let mut rows = statement.query([self.id])?;
        while let Some(row) = rows.next()? {
            let agent: i64 = row.get(1)?;
            let meta = SessionMeta {
                tool: self.tool,
                session: self.session(row.get(0)?)?,
                agent: if agent == 0 { None } else { Some(AgentId::new(self.names.get(agent)?)) },
                cwd: self.names.text(row.get(2)?)?,
                branch: self.names.text(row.get(4)?)?,
                version: self.names.text(row.get(5)?)?,
                at: time(row.get(6)?),
            };
            let last = SessionMeta { cwd: self.names.text(row.get(3)?)?, at: time(row.get(7)?), ..meta.clone() };
            if last != meta {
                out.push(Record::Session(meta));
            }
            out.push(Record::Session(last));
        }
        let mut statement =
            self.connection.prepare_cached("SELECT session, agent, agent_type FROM agent_links WHERE file = ?1")?;
        let mut rows = statement.query([self.id])?;
        while let Some(row) = rows.next()? {
            out.push(Record::Agent(AgentMeta {
                session: self.session(row.get(0)?)?,
                agent: AgentId::new(self.names.get(row.get(1)?)?),
                agent_type: self.names.text(row.get(2)?)?,
            }));
        }
        Ok(())
    }

    /// In the order of the file, which the context's fill depends on: a compaction stands before the first claim that
    /// is later.
    pub(super) fn compactions_and_claims(&self, reached: i64, out: &mut Vec<Record>) -> Result<(), LoadError> {
        let mut compactions = self.compactions()?.into_iter().peekable();
        let mut statement = self.connection.prepare_cached(
            "SELECT byte_offset, line_index, session, agent, sidechain, message, request, model, at, input, output,
                    cache_creation, cache_creation_1h, cache_read, bad_counts
             FROM claims WHERE file = ?1 AND byte_offset < ?2 ORDER BY byte_offset, line_index",
        )?;
        let mut rows = statement.query([self.id, reached])?;
        while let Some(row) = rows.next()? {
            let claim = self.claim(row)?;
            let is_before = |compaction: &Compaction| compaction.at.is_some() && compaction.at < claim.at;
            while let Some(compaction) = compactions.next_if(is_before) {
                out.push(Record::Compaction(compaction));
            }
            out.push(Record::Usage(claim));
        }
        out.extend(compactions.map(Record::Compaction));
        Ok(())
    }

    fn claim(&self, row: &Row<'_>) -> Result<UsageRecord, LoadError> {
        let agent: Option<i64> = row.get(3)?;
        let text = |column| row.get_ref(column).map(|value| value.as_str().ok().map(Arc::<str>::from));
        Ok(UsageRecord {
            tool: self.tool,
            session: self.session(row.get(2)?)?,
            agent: agent.map(|id| self.names.get(id).map(AgentId::new)).transpose()?,
            sidechain: row.get(4)?,
            id: match (
                self.tool.spec().identity,
                text(5)?.and_then(|text| u128::from_str_radix(&text, 16).ok()).map(MessageId::from_number),
            ) {
                (Identity::Row, Some(row)) => ResponseId::Row(row),
                (_, message) => ResponseId::of(
                    message,
                    text(6)?.and_then(|text| u64::from_str_radix(&text, 16).ok()).map(RequestId::from_number),
                ),
            },
            model: ModelId::new(self.names.get(row.get(7)?)?),
            at: time(row.get(8)?),
            usage: TokenUsage {
                input: tokens(row, 9)?,
                output: tokens(row, 10)?,
                cache_creation: tokens(row, 11)?,
                cache_creation_1h: tokens(row, 12)?,
                cache_read: tokens(row, 13)?,
                reasoning: Tokens::ZERO,
            },
            place: Place { byte_offset: row.get::<_, i64>(0)?.cast_unsigned(), index: row.get(1)? },
            bad_counts: row.get(14)?,
        })
    }

    fn compactions(&self) -> Result<Vec<Compaction>, LoadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT session, at, cause, pre_tokens, post_tokens FROM compactions WHERE file = ?1 ORDER BY at",
        )?;
        let mut rows = statement.query([self.id])?;
        let mut found = Vec::new();
        let fill = |tokens: Option<i64>| tokens.map(|tokens| Tokens(tokens.cast_unsigned()));
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(1)?;
            found.push(Compaction {
                session: self.session(row.get(0)?)?,
                at: (at != 0).then(|| Timestamp::from_unix_ms(at)),
                trigger: code(row.get_ref(2)?.as_str().unwrap_or_default())?,
                pre_tokens: fill(row.get(3)?),
                post_tokens: fill(row.get(4)?),
            });
        }
        Ok(found)
    }

    fn context_fills(&self, out: &mut Vec<Record>) -> Result<(), LoadError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT session, at, model, used, size FROM context_fills WHERE file = ?1")?;
        let mut rows = statement.query([self.id])?;
        while let Some(row) = rows.next()? {
            out.push(Record::Context(ContextFill {
                tool: self.tool,
                session: self.session(row.get(0)?)?,
                at: time(row.get(1)?),
                model: ModelId::new(self.names.get(row.get(2)?)?),
                used: tokens(row, 3)?,
                window: tokens(row, 4)?,
            }));
        }
        Ok(())
    }

    fn tool_costs(&self, out: &mut Vec<Record>) -> Result<(), LoadError> {
        let mut statement = self.connection.prepare_cached("SELECT account FROM tool_costs WHERE file = ?1")?;
        let mut rows = statement.query([self.id])?;
        while let Some(row) = rows.next()? {
            let account = serde_json::from_str(row.get_ref(0)?.as_str().unwrap_or_default());
            let account = account.map_err(|error| LoadError::Content(format!("a tool's account: {error}")))?;
            out.push(Record::ToolCost(Box::new(account)));
        }
        Ok(())
    }

    pub(super) fn limit_reports(&self, out: &mut Vec<Record>) -> Result<(), LoadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT at, kind, used_percent, resets_at, rejected, session FROM limit_reports WHERE file = ?1 ORDER BY at",
        )?;
        let mut rows = statement.query([self.id])?;
        while let Some(row) = rows.next()? {
            let session: Option<i64> = row.get(5)?;
            out.push(Record::RateLimit(RateLimitReport {
                limit: limit(self.tool, row.get_ref(1)?.as_str().unwrap_or_default())?,
                at: Timestamp::from_unix_ms(row.get(0)?),
                used_percent: row.get(2)?,
                resets_at: time(row.get(3)?),
                rejected: row.get(4)?,
                session: session.map(|id| self.session(id)).transpose()?,
            }));
        }
        Ok(())
    }
}
