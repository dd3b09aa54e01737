//! Reading the store, on a connection of its own: files, claims, and what reports are made of.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use dashboard_core::history::{Ingest, Sessions, ToolIngest};
use dashboard_core::ids::{AgentId, MessageId, ModelId, SessionId};
use dashboard_core::ledger::MAX_REJECTIONS;
use dashboard_core::price::PriceTable;
use dashboard_core::record::{
    AgentMeta, ApiError, Compaction, ContextFill, FileCounts, LimitKey, Lineage, RateLimitReport, Record, Rejection,
    SessionMeta, Tool, UsageRecord,
};
use dashboard_core::report::{Slot, UsageRow, cuts};
use dashboard_core::time::Timestamp;
use dashboard_core::units::Tokens;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, params};
use rustc_hash::FxHashMap;

use super::codes::{Code, limit_of};
use super::schema;
use super::sums::{self, ClaimRow, Figures, FileFacts, Key, Progress, halves};
use crate::observation::{FileState, Root, SinkClosed, StoredFile, TranscriptFile};

/// Why the store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite refuses.
    #[error("the history database cannot be read: {0}")]
    Database(#[from] rusqlite::Error),
    /// A row holds something that is not understood.
    #[error("{0}")]
    Content(String),
}

impl From<FromSqlError> for ReadError {
    fn from(error: FromSqlError) -> Self {
        Self::Content(error.to_string())
    }
}

impl ReadError {
    /// Whether it is about one row, not about the database.
    fn is_of_row(&self) -> bool {
        match self {
            Self::Content(_) => true,
            Self::Database(error) => error.sqlite_error().is_none(),
        }
    }

    /// Whether SQLite calls the database damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Database(error) if super::is_damage(error))
    }
}

/// Rows that were not understood and left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadableRows {
    /// How many.
    pub count: u64,
    /// The first of them: its file, its table, and what is wrong.
    pub example: String,
}

impl UnreadableRows {
    pub(super) fn add(&mut self, file: &str, table: &str, error: &ReadError) {
        if self.count == 0 {
            self.example = format!("{table} of {file}: {error}");
        }
        self.count += 1;
    }

    /// Adds those of another read.
    pub fn merge(&mut self, other: Self) {
        if self.count == 0 {
            self.example = other.example;
        }
        self.count += other.count;
    }
}

/// A file, without what it said.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFileSummary {
    /// The file.
    pub found: TranscriptFile,
    /// Where reading goes on; none if that is not understood, so that the file has to be read again.
    pub state: Option<FileState>,
    /// Whether it was deleted.
    pub archived: bool,
    /// What was read of it.
    pub counts: FileCounts,
    /// Which session it is and where it comes from, of tools whose forks repeat rows.
    pub lineage: Option<Lineage>,
    /// Newest time of its records.
    pub last_at: Option<Timestamp>,
}

/// A claim with the file that makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredClaim {
    /// The file.
    pub file: TranscriptFile,
    /// Whether it was deleted.
    pub archived: bool,
    /// The claim.
    pub record: UsageRecord,
}

/// Sums of responses, with what they refer to.
#[derive(Debug, Default)]
pub struct StoredUsage {
    rows: Vec<OwnedRow>,
}

#[derive(Clone, Debug)]
struct OwnedRow {
    tool: Tool,
    session: SessionId,
    agent: Option<AgentId>,
    model: ModelId,
    key: Key,
    figures: Figures,
}

impl StoredUsage {
    /// The rows, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = UsageRow<'_>> {
        self.rows.iter().map(|row| UsageRow {
            tool: row.tool,
            session: &row.session,
            agent: row.agent.as_ref(),
            model: &row.model,
            class: row.key.class,
            span: row.figures.span,
            usage: row.figures.usage,
            responses: row.figures.responses,
            with_tokens: row.figures.with_tokens,
        })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A connection that only reads, and the roots it is asked about. Everything it answers is of files of these roots.
#[derive(Debug)]
pub struct HistoryReader {
    pub(super) connection: Connection,
    roots: Vec<Root>,
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
    fn all(connection: &'a Connection) -> Result<Self, ReadError> {
        let mut statement = connection.prepare_cached("SELECT id, text FROM names")?;
        let mut rows = statement.query([])?;
        let mut known = HashMap::new();
        while let Some(row) = rows.next()? {
            known.insert(row.get(0)?, Arc::from(row.get_ref(1)?.as_str()?));
        }
        Ok(Self { connection, known: RefCell::new(known) })
    }

    pub(super) fn get(&self, id: i64) -> Result<Arc<str>, ReadError> {
        if let Some(text) = self.known.borrow().get(&id) {
            return Ok(Arc::clone(text));
        }
        let mut statement = self.connection.prepare_cached("SELECT text FROM names WHERE id = ?1")?;
        let text: Option<String> = statement.query_row([id], |row| row.get(0)).optional()?;
        let text: Arc<str> = text.ok_or_else(|| ReadError::Content(format!("name {id} is missing")))?.into();
        self.known.borrow_mut().insert(id, Arc::clone(&text));
        Ok(text)
    }

    fn text(&self, id: Option<i64>) -> Result<Option<String>, ReadError> {
        id.map(|id| self.get(id).map(|text| text.to_string())).transpose()
    }

    fn agent(&self, id: i64) -> Result<Option<AgentId>, ReadError> {
        (id != 0).then(|| self.get(id).map(AgentId::new)).transpose()
    }

    pub(super) fn usage_record(&self, tool: Tool, claim: &ClaimRow) -> Result<UsageRecord, ReadError> {
        Ok(UsageRecord {
            tool,
            session: SessionId::new(self.get(claim.session)?),
            agent: self.agent(claim.agent)?,
            sidechain: claim.sidechain,
            id: claim.id,
            model: ModelId::new(self.get(claim.model)?),
            at: claim.at,
            usage: claim.usage,
            place: claim.place,
            bad_counts: claim.bad_counts,
        })
    }
}

pub(super) fn code<T: Code>(text: &str) -> Result<T, ReadError> {
    T::of(text).ok_or_else(|| ReadError::Content(format!("unknown word {text:?}")))
}

fn limit(tool: Tool, text: &str) -> Result<LimitKey, ReadError> {
    limit_of(tool, text).ok_or_else(|| ReadError::Content(format!("unknown limit {text:?}")))
}

pub(super) fn time(ms: Option<i64>) -> Option<Timestamp> {
    ms.map(Timestamp::from_unix_ms)
}

fn tokens(row: &Row<'_>, column: usize) -> rusqlite::Result<Tokens> {
    row.get(column).map(Tokens)
}

/// Columns of [`counts`].
const COUNTS: &str =
    "bytes, lines, records, unknown_records, usage_records, repeated_records, bad_counts, rejected_lines,
     pending_lines";

fn counts(row: &Row<'_>, from: usize) -> rusqlite::Result<FileCounts> {
    let count = |column: usize| row.get::<_, u64>(from + column);
    Ok(FileCounts {
        bytes: count(0)?,
        lines: count(1)?,
        records: count(2)?,
        unknown_records: count(3)?,
        usage_records: count(4)?,
        repeated_records: count(5)?,
        bad_counts: count(6)?,
        rejected_lines: count(7)?,
        pending_lines: count(8)?,
    })
}

/// See [`HistoryReader::moment`].
pub(super) struct Moment<'a> {
    connection: &'a Connection,
    _transaction: Option<Transaction<'a>>,
}

impl Deref for Moment<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// A row of `files`.
pub(super) struct FileRow {
    pub(super) id: i64,
    reached: i64,
    pub(super) summary: StoredFileSummary,
}

impl HistoryReader {
    /// Opens the database, which must be there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(database: &Path, roots: &[Root]) -> Result<Self, ReadError> {
        let connection = schema::open_to_read(database)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { connection, roots: roots.to_vec() })
    }

    /// Until it is dropped, everything that is read is of one moment of the database. Within another, that one's.
    pub(super) fn moment(&self) -> Result<Moment<'_>, ReadError> {
        let transaction =
            if self.connection.is_autocommit() { Some(self.connection.unchecked_transaction()?) } else { None };
        Ok(Moment { connection: &self.connection, _transaction: transaction })
    }

    /// The root with its number, if the database has files of it.
    pub(super) fn root_ids(&self) -> Result<Vec<(i64, &Root)>, ReadError> {
        let mut statement = self.connection.prepare_cached("SELECT id FROM roots WHERE tool = ?1 AND dir = ?2")?;
        let mut found = Vec::new();
        for root in &self.roots {
            let id = statement.query_row(params![root.tool.code(), root.dir.to_string_lossy()], |row| row.get(0));
            found.extend(id.optional()?.map(|id| (id, root)));
        }
        Ok(found)
    }

    pub(super) fn file_rows(
        &self,
        root: (i64, &Root),
        condition: &str,
        params: impl Params,
    ) -> Result<Vec<FileRow>, ReadError> {
        let sql = format!(
            "SELECT files.id, name, reached, state, archived_at IS NOT NULL, last_at, started_at, session.text, parent.text,
                    {COUNTS}
             FROM files LEFT JOIN names session ON session.id = session LEFT JOIN names parent ON parent.id = parent
             WHERE root = {} AND {condition} ORDER BY name",
            root.0
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let session: Option<String> = row.get(7)?;
            let (parent, started_at): (Option<String>, _) = (row.get(8)?, time(row.get(6)?));
            let lineage = session.map(|session| Lineage {
                session: SessionId::new(session),
                parent: parent.map(SessionId::new),
                started_at,
            });
            let summary = StoredFileSummary {
                found: TranscriptFile::new(root.1, row.get(1)?),
                state: serde_json::from_str(row.get_ref(3)?.as_str()?).ok(),
                archived: row.get(4)?,
                counts: counts(row, 9)?,
                lineage,
                last_at: time(row.get(5)?),
            };
            found.push(FileRow { id: row.get(0)?, reached: row.get(2)?, summary });
        }
        Ok(found)
    }

    /// All files, by root and name, without what they said.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn files(&self) -> Result<Vec<StoredFileSummary>, ReadError> {
        let mut files = Vec::new();
        for root in self.root_ids()? {
            files.extend(self.file_rows(root, "true", [])?.into_iter().map(|row| row.summary));
        }
        Ok(files)
    }

    /// The files that say something of a session, without what they said.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn files_of(&self, session: &SessionId) -> Result<Vec<StoredFileSummary>, ReadError> {
        let mut files = Vec::new();
        let condition = "files.id IN (SELECT file FROM appearances
                         WHERE appearances.session = (SELECT id FROM names WHERE text = ?1))";
        for root in self.root_ids()? {
            let rows = self.file_rows(root, condition, [session.as_str()])?;
            files.extend(rows.into_iter().map(|row| row.summary));
        }
        Ok(files)
    }

    /// Everything one file said, an unfinished last line included, and the rows of it that were not understood. None if it
    /// is not known.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn file(&self, file: &TranscriptFile) -> Result<Option<(StoredFile, UnreadableRows)>, ReadError> {
        let transaction = self.moment()?;
        let names = Names::on_demand(&transaction);
        for root in self.root_ids()?.into_iter().filter(|(_, root)| root.dir == file.root && root.tool == file.tool) {
            if let Some(row) = self.file_rows(root, "name = ?1", [&file.name])?.pop() {
                return self.stored(FileRow { reached: i64::MAX, ..row }, &names).map(Some);
            }
        }
        Ok(None)
    }

    /// Gives out, file by file, what the files said, deleted ones included.
    ///
    /// A file that is there but of which not every row is understood is given out as one that was deleted and said
    /// nothing, so that it is read again.
    ///
    /// # Errors
    /// If the database cannot be read. What was given out until then holds.
    pub fn load(
        &self,
        mut take: impl FnMut(StoredFile) -> Result<(), SinkClosed>,
    ) -> Result<Result<UnreadableRows, SinkClosed>, ReadError> {
        // One moment of the database, whatever is written meanwhile.
        let transaction = self.moment()?;
        let names = Names::all(&transaction)?;
        let mut unreadable = UnreadableRows::default();
        for root in self.root_ids()? {
            for row in self.file_rows(root, "true", [])? {
                let (mut file, left_out) = self.stored(row, &names)?;
                if left_out.count > 0 && !file.archived && file.found.path.symlink_metadata().is_ok() {
                    file.state = FileState::start(file.found.tool);
                    file.archived = true;
                    file.records.clear();
                    file.rejections.clear();
                }
                unreadable.merge(left_out);
                if let Err(closed) = take(file) {
                    return Ok(Err(closed));
                }
            }
        }
        Ok(Ok(unreadable))
    }

    fn stored(&self, row: FileRow, names: &Names<'_>) -> Result<(StoredFile, UnreadableRows), ReadError> {
        let FileRow { id, reached, summary: StoredFileSummary { found, state, archived, .. } } = row;
        let mut unreadable = UnreadableRows::default();
        let mut state = state.unwrap_or_else(|| {
            unreadable.add(&found.name, "state", &ReadError::Content("it is of another version".to_owned()));
            FileState::start(found.tool)
        });
        // A file that will be read on from its last newline says again what stands after that; of one that has gone,
        // all counts.
        let is_gone = archived || reached == i64::MAX || found.path.symlink_metadata().is_err();
        let reached = if is_gone { i64::MAX } else { reached };
        if !is_gone {
            state.counts = state.checkpoint.counts;
        }
        let mut records: Vec<Record> = state.checkpoint.lineage().cloned().map(Record::Lineage).into_iter().collect();
        let file = OneFile { connection: &self.connection, id, tool: found.tool, name: &found.name, names };
        file.records(reached, &mut records, &mut unreadable)?;
        let rejections = file.rejections(&mut unreadable)?;
        Ok((StoredFile { found, state, archived, records, rejections }, unreadable))
    }

    /// All claims on these messages, of whatever file.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn claims_on(&self, messages: &[MessageId]) -> Result<Vec<StoredClaim>, ReadError> {
        let transaction = self.moment()?;
        let names = Names::on_demand(&transaction);
        let roots: HashMap<i64, &Root> = self.root_ids()?.into_iter().collect();
        let sql = format!("SELECT {} FROM claims WHERE message_high = ?1", ClaimRow::COLUMNS);
        let mut claims = transaction.prepare_cached(&sql)?;
        let mut files =
            transaction.prepare_cached("SELECT root, name, archived_at IS NOT NULL FROM files WHERE id = ?1")?;
        let mut known: HashMap<i64, Option<(TranscriptFile, bool)>> = HashMap::new();
        let mut found = Vec::new();
        for &message in messages {
            let mut rows = claims.query([halves(message).0])?;
            while let Some(row) = rows.next()? {
                let Ok(claim) = ClaimRow::read(row) else { continue };
                if claim.id.message() != Some(message) {
                    continue;
                }
                let file = match known.get(&claim.file) {
                    Some(file) => file.clone(),
                    None => {
                        let file: (i64, String, bool) =
                            files.query_row([claim.file], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                        let of_root = roots.get(&file.0);
                        let file = of_root.map(|root| (TranscriptFile::new(root, file.1), file.2));
                        known.insert(claim.file, file.clone());
                        file
                    }
                };
                let Some((file, archived)) = file else { continue };
                let Ok(record) = names.usage_record(file.tool, &claim) else { continue };
                found.push(StoredClaim { file, archived, record });
            }
        }
        Ok(found)
    }

    /// What was used, deleted transcripts included, by everything that reports tell apart.
    ///
    /// From the sums, if they are of this price table's classes and complete; else from the claims, which takes longer. A
    /// row with responses on both sides of one of its session's `cuts` (see [`dashboard_core::report::cuts`]) is given as
    /// single responses.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn usage<C: Iterator<Item = Timestamp>>(
        &self,
        prices: &PriceTable,
        cuts: impl Fn(&SessionId) -> C,
    ) -> Result<StoredUsage, ReadError> {
        let transaction = self.moment()?;
        let roots = self.root_ids()?;
        let progress = Progress::read(&transaction, prices.classes_fingerprint().cast_signed())?;
        let all_roots: u64 = transaction.query_row("SELECT count(*) FROM roots", [], |row| row.get(0))?;
        let is_whole = roots.len() as u64 == all_roots || !sums::is_shared(&transaction)?;
        let rows = if progress.is_some_and(Progress::is_complete) && is_whole {
            sums_rows(&transaction, &roots, (i64::MIN, i64::MAX))?
        } else {
            fold(&transaction, &roots, prices)?
        };
        self.named(&transaction, &roots, rows, prices, cuts)
    }

    /// The dated part of [`Self::usage`] of the quarter hours that begin in a span, by complete sums.
    pub(super) fn usage_between(
        &self,
        prices: &PriceTable,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<StoredUsage, ReadError> {
        let roots = self.root_ids()?;
        let rows = sums_rows(&self.connection, &roots, (from.unix_ms(), to.unix_ms()))?;
        self.named(&self.connection, &roots, rows, prices, |_| [to].into_iter())
    }

    /// Rows with the texts they refer to, cut where they have to be.
    fn named<C: Iterator<Item = Timestamp>>(
        &self,
        transaction: &Connection,
        roots: &[(i64, &Root)],
        rows: Vec<(Key, Figures)>,
        prices: &PriceTable,
        cuts: impl Fn(&SessionId) -> C,
    ) -> Result<StoredUsage, ReadError> {
        let names = Names::on_demand(transaction);
        let tools: HashMap<i64, Tool> = roots.iter().map(|(id, root)| (*id, root.tool)).collect();
        let mut sessions: FxHashMap<i64, SessionId> = FxHashMap::default();
        let mut models: FxHashMap<i64, ModelId> = FxHashMap::default();
        let mut owned = Vec::with_capacity(rows.len());
        for (key, figures) in rows {
            let mut names_of = || -> Result<OwnedRow, ReadError> {
                let session = match sessions.entry(key.session) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(unknown) => unknown.insert(SessionId::new(names.get(key.session)?)).clone(),
                };
                let model = match models.entry(key.model) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(unknown) => unknown.insert(ModelId::new(names.get(key.model)?)).clone(),
                };
                let tool = tools.get(&key.root).copied().unwrap_or_default();
                Ok(OwnedRow { tool, session, agent: names.agent(key.agent)?, model, key, figures })
            };
            match names_of() {
                Ok(row) => {
                    let span = row.figures.span;
                    let is_cut = |cut: Timestamp| span.is_some_and(|(first, last)| first <= cut && cut < last);
                    if !cuts(&row.session).any(is_cut) {
                        owned.push(row);
                        continue;
                    }
                    for claim in sums::claims_of(transaction, &key)? {
                        let slot = claim.at.map(Slot::of);
                        let class = prices.class(&row.model, &claim.usage);
                        let of_row = sums::root_of(transaction, claim.file)? == Some(key.root);
                        if of_row && slot == key.slot && class == key.class {
                            owned.push(OwnedRow { figures: Figures::of(&claim), ..row.clone() });
                        }
                    }
                }
                // Of a session without a name, say: left out, as its claims are when they are read.
                Err(error) if error.is_of_row() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(StoredUsage { rows: owned })
    }

    /// What is known of the sessions.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn sessions(&self) -> Result<Sessions, ReadError> {
        let transaction = self.moment()?;
        let names = Names::on_demand(&transaction);
        let mut sessions = Sessions::default();
        for (root, Root { tool, .. }) in self.root_ids()? {
            let mut unreadable = UnreadableRows::default();
            let sql =
                format!("SELECT {APPEARANCE} FROM appearances WHERE file IN (SELECT id FROM files WHERE root = ?1)");
            each(&transaction, &sql, [root], ("", "appearances"), &mut unreadable, |row| {
                appearance(row, *tool, &names, &mut |record| sessions.record(&record))
            })?;
            let sql = "SELECT account FROM tool_costs WHERE file IN (SELECT id FROM files WHERE root = ?1)";
            each(&transaction, sql, [root], ("", "tool_costs"), &mut unreadable, |row| {
                sessions.record(&tool_cost(row)?);
                Ok(())
            })?;
        }
        Ok(sessions)
    }

    /// What was read of the files, deleted ones included, and what became of it. `usage` is [`Self::usage`].
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn ingest(&self, usage: &StoredUsage) -> Result<Ingest, ReadError> {
        let transaction = self.moment()?;
        let mut ingest = Ingest::default();
        let mut by_tool: BTreeMap<Tool, ToolIngest> = BTreeMap::new();
        for (id, root) in self.root_ids()? {
            let sums: String = COUNTS.split(',').map(|column| format!(", coalesce(sum({column}), 0)")).collect();
            let sql = format!("SELECT count(*){sums} FROM files WHERE root = ?1");
            let (files, counts): (u64, FileCounts) =
                transaction.query_row(&sql, [id], |row| Ok((row.get(0)?, counts(row, 1)?)))?;
            if files > 0 {
                let of_tool = by_tool.entry(root.tool).or_default();
                of_tool.files += files;
                of_tool.counts += counts;
                ingest.files += files;
                ingest.counts += counts;
            }
            let sql = "SELECT name, byte_offset, reason FROM audit JOIN files ON files.id = audit.file WHERE root = ?1";
            each(&transaction, sql, [id], ("", "audit"), &mut UnreadableRows::default(), |row| {
                let (file, reason) = (row.get(0)?, code(row.get_ref(2)?.as_str()?)?);
                ingest.rejections.push(Rejection { file, byte_offset: row.get(1)?, reason });
                Ok(())
            })?;
        }
        ingest.rejections.sort_by(|a, b| (&a.file, a.byte_offset).cmp(&(&b.file, b.byte_offset)));
        ingest.rejections.truncate(MAX_REJECTIONS);
        for row in &usage.rows {
            by_tool.entry(row.tool).or_default().responses += row.figures.responses;
        }
        ingest.responses = by_tool.values().map(|it| it.responses).sum();
        ingest.by_tool = by_tool;
        ingest.roots = self.roots.iter().map(|root| root.dir.display().to_string()).collect();
        Ok(ingest)
    }

    /// Everything reports are made of, at one moment: see [`Self::usage`], [`Self::sessions`] and [`Self::ingest`]. The
    /// rows are cut for reports at `now`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn everything(
        &self,
        prices: &PriceTable,
        now: Timestamp,
    ) -> Result<(StoredUsage, Sessions, Ingest), ReadError> {
        let _moment = self.moment()?;
        let sessions = self.sessions()?;
        let usage = self.usage(prices, |session| cuts(now, sessions.accounts.time_of(session)))?;
        let ingest = self.ingest(&usage)?;
        Ok((usage, sessions, ingest))
    }

    /// Whether there is anything of the roots.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn has_anything(&self) -> Result<bool, ReadError> {
        for (id, _) in self.root_ids()? {
            let sql = "SELECT EXISTS (SELECT 1 FROM files WHERE root = ?1)";
            if self.connection.query_row(sql, [id], |row| row.get(0))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The sums of the quarter hours that begin in a span, its ends included.
fn sums_rows(
    connection: &Connection,
    roots: &[(i64, &Root)],
    span: (i64, i64),
) -> Result<Vec<(Key, Figures)>, ReadError> {
    let sql = format!(
        "SELECT quarter, at_start, root, session, agent, model, class, {} FROM sums WHERE quarter BETWEEN ?1 AND ?2",
        Figures::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([span.0, span.1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key = Key::read(row)?;
        if roots.iter().any(|(root, _)| *root == key.root) {
            found.push((key, Figures::read(row, 7)?));
        }
    }
    Ok(found)
}

/// The same, from the claims of these roots alone.
pub(super) fn fold(
    connection: &Connection,
    roots: &[(i64, &Root)],
    prices: &PriceTable,
) -> Result<Vec<(Key, Figures)>, ReadError> {
    let names = Names::on_demand(connection);
    let mut facts: HashMap<i64, FileFacts> = HashMap::new();
    let mut files = connection.prepare_cached("SELECT id FROM files WHERE root = ?1")?;
    for (root, _) in roots {
        let ids: Vec<i64> = files.query_map([root], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in ids {
            facts.extend(FileFacts::read(connection, id)?.map(|it| (id, it)));
        }
    }
    let mut models: FxHashMap<i64, ModelId> = FxHashMap::default();
    let mut rows: FxHashMap<Key, Figures> = FxHashMap::default();
    let mut count = |claim: &ClaimRow| {
        let Some(root) = facts.get(&claim.file).map(|facts| facts.root) else { return };
        let model = models
            .entry(claim.model)
            .or_insert_with(|| ModelId::new(names.get(claim.model).unwrap_or_else(|_| Arc::from(""))));
        let class = prices.class(model, &claim.usage);
        let slot = claim.at.map(Slot::of);
        let key = Key { slot, root, session: claim.session, agent: claim.agent, model: claim.model, class };
        rows.entry(key).or_default().add(&Figures::of(claim));
    };
    sums::each_message(connection, i64::MIN, i64::MAX, |claims| {
        claims.retain(|claim| facts.contains_key(&claim.file));
        let wins = sums::winners(claims, &facts);
        claims.iter().zip(wins).filter(|(_, wins)| *wins).for_each(|(claim, _)| count(claim));
        Ok(())
    })?;
    let sql = format!("SELECT {} FROM claims WHERE message_high IS NULL", ClaimRow::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut alone = statement.query([])?;
    while let Some(row) = alone.next()? {
        ClaimRow::read(row).iter().for_each(&mut count);
    }
    Ok(rows.into_iter().collect())
}

/// Reads rows one by one; of those that are not understood, one is named and all are counted.
pub(super) fn each(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    (file, table): (&str, &str),
    unreadable: &mut UnreadableRows,
    mut take: impl FnMut(&Row<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        match take(row) {
            Ok(()) => {}
            Err(error) if error.is_of_row() => unreadable.add(file, table, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Columns of [`appearance`].
pub(super) const APPEARANCE: &str = "session, agent, cwd, last_cwd, branch, version, first_at, last_at";

/// What a file says of a session: how it began and, if that differs, how it was last.
pub(super) fn appearance(
    row: &Row<'_>,
    tool: Tool,
    names: &Names<'_>,
    out: &mut dyn FnMut(Record),
) -> Result<(), ReadError> {
    let meta = SessionMeta {
        tool,
        session: SessionId::new(names.get(row.get(0)?)?),
        agent: names.agent(row.get(1)?)?,
        cwd: names.text(row.get(2)?)?,
        branch: names.text(row.get(4)?)?,
        version: names.text(row.get(5)?)?,
        at: time(row.get(6)?),
    };
    let last = SessionMeta { cwd: names.text(row.get(3)?)?, at: time(row.get(7)?), ..meta.clone() };
    if last != meta {
        out(Record::Session(meta));
    }
    out(Record::Session(last));
    Ok(())
}

fn tool_cost(row: &Row<'_>) -> Result<Record, ReadError> {
    let account = serde_json::from_str(row.get_ref(0)?.as_str()?);
    let account = account.map_err(|error| ReadError::Content(format!("a tool's account: {error}")))?;
    Ok(Record::ToolCost(Box::new(account)))
}

/// One file's rows.
pub(super) struct OneFile<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: i64,
    pub(super) tool: Tool,
    pub(super) name: &'a str,
    pub(super) names: &'a Names<'a>,
}

impl OneFile<'_> {
    /// What it says, up to the place `reached`. Where and how its sessions ran comes first.
    pub(super) fn records(
        &self,
        reached: i64,
        out: &mut Vec<Record>,
        unreadable: &mut UnreadableRows,
    ) -> Result<(), ReadError> {
        let sql = format!("SELECT {APPEARANCE} FROM appearances WHERE file = ?1");
        self.each(&sql, "appearances", unreadable, |row| {
            appearance(row, self.tool, self.names, &mut |record| out.push(record))
        })?;
        let sql = "SELECT session, agent, agent_type FROM agent_links WHERE file = ?1";
        self.each(sql, "agent_links", unreadable, |row| {
            out.push(Record::Agent(AgentMeta {
                session: self.session(row.get(0)?)?,
                agent: AgentId::new(self.names.get(row.get(1)?)?),
                agent_type: self.names.text(row.get(2)?)?,
            }));
            Ok(())
        })?;
        self.compactions_and_claims(reached, out, unreadable)?;
        let sql = "SELECT session, at, model, used, size FROM context_fills WHERE file = ?1";
        self.each(sql, "context_fills", unreadable, |row| {
            out.push(Record::Context(ContextFill {
                tool: self.tool,
                session: self.session(row.get(0)?)?,
                at: time(row.get(1)?),
                model: ModelId::new(self.names.get(row.get(2)?)?),
                used: tokens(row, 3)?,
                window: tokens(row, 4)?,
            }));
            Ok(())
        })?;
        let sql = "SELECT account FROM tool_costs WHERE file = ?1";
        self.each(sql, "tool_costs", unreadable, |row| {
            out.push(tool_cost(row)?);
            Ok(())
        })?;
        self.limit_reports(out, unreadable)?;
        let sql = "SELECT session, at, kind FROM api_errors WHERE file = ?1 ORDER BY at";
        self.each(sql, "api_errors", unreadable, |row| {
            let at: i64 = row.get(1)?;
            out.push(Record::ApiError(ApiError {
                session: self.session(row.get(0)?)?,
                at: (at != 0).then(|| Timestamp::from_unix_ms(at)),
                kind: code(row.get_ref(2)?.as_str()?)?,
            }));
            Ok(())
        })
    }

    fn each(
        &self,
        sql: &str,
        table: &str,
        unreadable: &mut UnreadableRows,
        take: impl FnMut(&Row<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        each(self.connection, sql, [self.id], (self.name, table), unreadable, take)
    }

    fn session(&self, id: i64) -> Result<SessionId, ReadError> {
        Ok(SessionId::new(self.names.get(id)?))
    }

    fn rejections(&self, unreadable: &mut UnreadableRows) -> Result<Vec<Rejection>, ReadError> {
        let mut found = Vec::new();
        let sql = "SELECT byte_offset, reason FROM audit WHERE file = ?1 ORDER BY byte_offset";
        self.each(sql, "audit", unreadable, |row| {
            let reason = code(row.get_ref(1)?.as_str()?)?;
            found.push(Rejection { file: self.name.to_owned(), byte_offset: row.get(0)?, reason });
            Ok(())
        })?;
        Ok(found)
    }

    /// In the order of the file, which the context's fill depends on: a compaction stands before the first claim that
    /// is later.
    pub(super) fn compactions_and_claims(
        &self,
        reached: i64,
        out: &mut Vec<Record>,
        unreadable: &mut UnreadableRows,
    ) -> Result<(), ReadError> {
        let mut compactions = self.compactions(unreadable)?.into_iter().peekable();
        let sql = format!(
            "SELECT {} FROM claims WHERE file = ?1 AND byte_offset < ?2 ORDER BY byte_offset, line_index",
            ClaimRow::COLUMNS
        );
        each(self.connection, &sql, [self.id, reached], (self.name, "claims"), unreadable, |row| {
            let claim = self.names.usage_record(self.tool, &ClaimRow::read(row)?)?;
            let is_before = |compaction: &Compaction| compaction.at.is_some() && compaction.at < claim.at;
            while let Some(compaction) = compactions.next_if(is_before) {
                out.push(Record::Compaction(compaction));
            }
            out.push(Record::Usage(claim));
            Ok(())
        })?;
        out.extend(compactions.map(Record::Compaction));
        Ok(())
    }

    fn compactions(&self, unreadable: &mut UnreadableRows) -> Result<Vec<Compaction>, ReadError> {
        let mut found = Vec::new();
        let sql = "SELECT session, at, cause, pre_tokens, post_tokens FROM compactions WHERE file = ?1 ORDER BY at";
        self.each(sql, "compactions", unreadable, |row| {
            let at: i64 = row.get(1)?;
            found.push(Compaction {
                session: self.session(row.get(0)?)?,
                at: (at != 0).then(|| Timestamp::from_unix_ms(at)),
                trigger: code(row.get_ref(2)?.as_str()?)?,
                pre_tokens: row.get::<_, Option<u64>>(3)?.map(Tokens),
                post_tokens: row.get::<_, Option<u64>>(4)?.map(Tokens),
            });
            Ok(())
        })?;
        Ok(found)
    }

    pub(super) fn limit_reports(
        &self,
        out: &mut Vec<Record>,
        unreadable: &mut UnreadableRows,
    ) -> Result<(), ReadError> {
        let sql = "SELECT at, kind, used_percent, resets_at, rejected, session FROM limit_reports WHERE file = ?1
                   ORDER BY at";
        self.each(sql, "limit_reports", unreadable, |row| {
            let session: Option<i64> = row.get(5)?;
            out.push(Record::RateLimit(RateLimitReport {
                limit: limit(self.tool, row.get_ref(1)?.as_str()?)?,
                at: Timestamp::from_unix_ms(row.get(0)?),
                used_percent: row.get(2)?,
                resets_at: time(row.get(3)?),
                rejected: row.get(4)?,
                session: session.map(|id| self.session(id)).transpose()?,
            }));
            Ok(())
        })
    }
}
