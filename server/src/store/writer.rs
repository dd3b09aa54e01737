//! The one thread that writes the store.
//!
//! Takes messages in the order in which files were read and commits them in batches: what a file said and how far it
//! was read, together. Writing the same twice changes nothing, since every row is known by its place in its file.
//!
//! When a write fails (a full disk, a damaged database), the files it was about are *behind*: nothing more is written
//! of them, since there would be a gap, until they are repeated from the beginning. That is asked for as soon as
//! writing works again.

use crate::observation::{FileState, SourceMessage, TranscriptFile};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dashboard_core::event::HealthStatus;
use dashboard_core::ids::{AgentId, SessionId};
use dashboard_core::ledger;
use dashboard_core::record::{Activity, ActivityKind, Record, Rejection, SessionMeta, UsageRecord};
use dashboard_core::time::Timestamp;
use dashboard_core::units::Tokens;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde::Serialize;

use super::codes::{Code, limit_code};
use super::{Lock, RepeatRequests, StoreError, WriterMessage, Written, schema, set_aside};
use crate::clock;
use crate::health::{DashboardHealth, Part};

/// Messages that wait for the writer; when there are more, reading waits.
const QUEUE: usize = 256;
/// Longest a message waits for others to be committed with it.
const BATCH_TIME: Duration = Duration::from_millis(250);
/// Most records committed at once.
const BATCH_RECORDS: usize = 20_000;
/// How soon writing is tried again after it failed.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };
/// How often health is told while all is well.
const REPORT: Duration = Duration::from_secs(5);

/// Opens the database and starts the thread. A damaged one is put aside and begun anew.
pub(super) fn spawn(
    database: PathBuf,
    lock: Lock,
    keep_since: Option<Timestamp>,
    wanted: Arc<Mutex<RepeatRequests>>,
    health: DashboardHealth,
) -> Result<(SyncSender<WriterMessage>, JoinHandle<Written>), StoreError> {
    let mut note = None;
    let connection = match schema::open(&database) {
        Err(StoreError::Database { error, .. }) if is_damage(&error) => {
            note = Some(put_aside(&database)?);
            schema::open(&database)
        }
        opened => opened,
    }?;
    let failed = |error| StoreError::Database { path: database.clone(), error };
    if let Some(keep_since) = keep_since {
        forget_before(&connection, keep_since).map_err(failed)?;
    }
    let (sender, messages) = sync_channel(QUEUE);
    let mut writer = Writer {
        _lock: lock,
        database: database.clone(),
        connection,
        names: HashMap::new(),
        files: HashMap::new(),
        behind: Behind::default(),
        wanted,
        trouble: None,
        note,
        reported: None,
        written: Written::default(),
        health,
    };
    writer.report();
    let writing = thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(&messages));
    let writing = writing.map_err(|error| StoreError::Directory { path: database, error })?;
    Ok((sender, writing))
}

fn put_aside(database: &std::path::Path) -> Result<String, StoreError> {
    let failed = |error| StoreError::Directory { path: database.to_owned(), error };
    let aside = set_aside(database, clock::wall()).map_err(failed)?;
    Ok(format!("the history was damaged and is now in {}; begun anew from the transcripts", aside.display()))
}

/// Whether the file itself is at fault, so that trying again is no use.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Retention: of deleted files, what is older goes.
fn forget_before(connection: &Connection, keep_since: Timestamp) -> rusqlite::Result<()> {
    let forget = |table, time| {
        let sql = format!(
            "DELETE FROM {table} WHERE {time} < ?1 AND file IN (SELECT id FROM files WHERE archived_at IS NOT NULL)"
        );
        connection.execute(&sql, [keep_since.unix_ms()])
    };
    let gone = forget("claims", "at")?;
    forget("turns", "started_at")?;
    forget("tool_calls", "coalesce(started_at, ended_at)")?;
    if gone > 0 {
        tracing::info!(claims = gone, "history beyond the retention time was deleted");
    }
    Ok(())
}

/// Files of which something was not written.
#[derive(Debug)]
enum Behind {
    /// These.
    Files(BTreeSet<Arc<TranscriptFile>>),
    /// All but these: the database was begun anew.
    AllBut(BTreeSet<Arc<TranscriptFile>>),
}

impl Default for Behind {
    fn default() -> Self {
        Self::Files(BTreeSet::new())
    }
}

impl Behind {
    fn has(&self, file: &Arc<TranscriptFile>) -> bool {
        match self {
            Self::Files(files) => files.contains(file),
            Self::AllBut(files) => !files.contains(file),
        }
    }

    fn add(&mut self, file: &Arc<TranscriptFile>) {
        match self {
            Self::Files(files) => files.insert(Arc::clone(file)),
            Self::AllBut(files) => files.remove(file),
        };
    }

    fn remove(&mut self, file: &Arc<TranscriptFile>) {
        match self {
            Self::Files(files) => files.remove(file),
            Self::AllBut(files) => files.insert(Arc::clone(file)),
        };
    }
}

#[derive(Debug)]
struct Writer {
    _lock: Lock,
    database: PathBuf,
    connection: Connection,
    /// Numbers of texts met by this process.
    names: HashMap<String, i64>,
    /// Numbers of files met by this process.
    files: HashMap<Arc<TranscriptFile>, i64>,
    behind: Behind,
    wanted: Arc<Mutex<RepeatRequests>>,
    /// Writing fails; when to try again.
    trouble: Option<Instant>,
    /// What a person should know for as long as we run.
    note: Option<String>,
    reported: Option<Instant>,
    written: Written,
    health: DashboardHealth,
}

fn file_of(message: &SourceMessage) -> Option<&Arc<TranscriptFile>> {
    match message {
        SourceMessage::Read { file, .. } | SourceMessage::Retract { file } | SourceMessage::Archive { file } => {
            Some(file)
        }
        _ => None,
    }
}

fn weight(message: &WriterMessage) -> usize {
    match message {
        WriterMessage::Source(SourceMessage::Read { records, .. }) => 1 + records.len(),
        _ => 1,
    }
}

impl Writer {
    fn run(mut self, messages: &Receiver<WriterMessage>) -> Written {
        loop {
            match messages.recv_timeout(RETRY) {
                Ok(first) => self.take(batch(first, messages)),
                Err(RecvTimeoutError::Timeout) => self.take(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // What is in the log goes into the database proper; if it does not, the next start does it.
        let _ = self.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)");
        self.written
    }

    fn take(&mut self, batch: Vec<WriterMessage>) {
        let mut said = Vec::with_capacity(batch.len());
        for message in batch {
            match message {
                WriterMessage::Source(message) => said.push(message),
                WriterMessage::Damaged(error) => self.begin_anew(&error),
            }
        }
        if self.trouble.is_some_and(|retry_at| Instant::now() >= retry_at) {
            self.try_again();
        }
        if self.trouble.is_some() {
            said.iter().filter_map(file_of).for_each(|file| self.behind.add(file));
        } else if let Err(error) = self.write(&said) {
            said.iter().filter_map(file_of).for_each(|file| self.behind.add(file));
            self.fail(&error);
        } else if self.reported.is_none_or(|reported| reported.elapsed() >= REPORT) {
            self.report();
        }
    }

    /// Writing works again, perhaps: asks for what was missed.
    fn try_again(&mut self) {
        let probe = self.connection.execute_batch(
            "BEGIN IMMEDIATE; CREATE TABLE probe (bytes BLOB); INSERT INTO probe VALUES (zeroblob(65536)); ROLLBACK;",
        );
        match probe {
            Ok(()) => {
                self.trouble = None;
                self.want_missed();
                self.report();
            }
            Err(error) => {
                let _ = self.connection.execute_batch("ROLLBACK");
                self.fail(&error);
            }
        }
    }

    fn want_missed(&self) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.behind {
            Behind::Files(files) => wanted.files.extend(files.iter().cloned()),
            Behind::AllBut(_) => wanted.everything = true,
        }
    }

    fn fail(&mut self, error: &rusqlite::Error) {
        self.names.clear();
        self.files.clear();
        if is_damage(error) {
            return self.begin_anew(&error.to_string());
        }
        self.trouble = Some(Instant::now() + RETRY);
        let message = format!(
            "history is not being kept: {} cannot be written: {error}; the figures go on without it, and it catches up \
             when writing works again",
            self.database.display()
        );
        self.health.report(Part::Store, HealthStatus::Degraded, message);
    }

    /// The database is of no use: puts it aside, begins another, and asks for everything.
    fn begin_anew(&mut self, error: &str) {
        tracing::warn!(%error, database = %self.database.display(), "the history database is damaged");
        self.names.clear();
        self.files.clear();
        self.behind = Behind::AllBut(BTreeSet::new());
        // Closed before it is moved; the memory database stands in for a moment.
        let begun = Connection::open_in_memory()
            .map(|stand_in| drop(std::mem::replace(&mut self.connection, stand_in)))
            .map_err(|error| StoreError::Database { path: self.database.clone(), error })
            .and_then(|()| put_aside(&self.database))
            .and_then(|note| schema::open(&self.database).map(|connection| (note, connection)));
        match begun {
            Ok((note, connection)) => {
                self.connection = connection;
                self.note = Some(note);
                self.trouble = None;
                self.want_missed();
                self.report();
            }
            Err(error) => {
                self.trouble = Some(Instant::now() + RETRY);
                self.health.report(Part::Store, HealthStatus::Degraded, format!("history is not being kept: {error}"));
            }
        }
    }

    fn report(&mut self) {
        self.reported = Some(Instant::now());
        let (status, message) = match &self.note {
            Some(note) => (HealthStatus::Degraded, note.clone()),
            None => (HealthStatus::Healthy, format!("history in {}", self.database.display())),
        };
        self.health.report(Part::Store, status, message);
    }

    fn write(&mut self, batch: &[SourceMessage]) -> rusqlite::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let changes = self.connection.total_changes();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rows = Rows { transaction: &transaction, names: &mut self.names, files: &mut self.files };
        let mut caught_up = Vec::new();
        for message in batch {
            let Some(file) = file_of(message) else { continue };
            let is_repeat = caught_up.contains(&file);
            if self.behind.has(file) && !is_repeat {
                if !matches!(message, SourceMessage::Retract { .. }) {
                    // Something new of a file we miss the beginning of.
                    self.wanted.lock().unwrap_or_else(PoisonError::into_inner).files.insert(Arc::clone(file));
                    continue;
                }
                caught_up.push(file);
            }
            match message {
                SourceMessage::Read { file, records, rejections, state, .. } => {
                    rows.read(file, records, rejections, state)?;
                }
                SourceMessage::Retract { file } => rows.retract(file)?,
                SourceMessage::Archive { file } => rows.archive(file, clock::wall())?,
                _ => {}
            }
        }
        transaction.commit()?;
        self.written.transactions += 1;
        self.written.rows += self.connection.total_changes() - changes;
        caught_up.into_iter().for_each(|file| self.behind.remove(file));
        Ok(())
    }
}

/// The messages to commit together.
fn batch(first: WriterMessage, messages: &Receiver<WriterMessage>) -> Vec<WriterMessage> {
    let deadline = Instant::now() + BATCH_TIME;
    let mut records = weight(&first);
    let mut batch = vec![first];
    while records < BATCH_RECORDS {
        let Ok(next) = messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) else { break };
        records += weight(&next);
        batch.push(next);
    }
    batch
}

/// Changes of one transaction.
struct Rows<'a> {
    transaction: &'a Transaction<'a>,
    names: &'a mut HashMap<String, i64>,
    files: &'a mut HashMap<Arc<TranscriptFile>, i64>,
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::unix_ms)
}

fn count(tokens: Tokens) -> i64 {
    tokens.0.cast_signed()
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

impl Rows<'_> {
    fn name(&mut self, text: &str) -> rusqlite::Result<i64> {
        if let Some(&id) = self.names.get(text) {
            return Ok(id);
        }
        // An update that changes nothing, because only a change returns the row.
        let id = self
            .transaction
            .prepare_cached("INSERT INTO names (text) VALUES (?1) ON CONFLICT DO UPDATE SET text = text RETURNING id")?
            .query_row([text], |row| row.get(0))?;
        self.names.insert(text.to_owned(), id);
        Ok(id)
    }

    fn name_of(&mut self, text: Option<&str>) -> rusqlite::Result<Option<i64>> {
        text.map(|text| self.name(text)).transpose()
    }

    /// The file's number; a row for it if there is none.
    fn file(&mut self, file: &Arc<TranscriptFile>) -> rusqlite::Result<i64> {
        if let Some(&id) = self.files.get(file) {
            return Ok(id);
        }
        // An update that changes nothing, because only a change returns the row.
        let id = self
            .transaction
            .prepare_cached(
                "INSERT INTO files (tool, root, name, reached, state) VALUES (?1, ?2, ?3, 0, '')
                 ON CONFLICT DO UPDATE SET name = name RETURNING id",
            )?
            .query_row(params![file.tool.code(), file.root.to_string_lossy(), file.name], |row| row.get(0))?;
        self.files.insert(Arc::clone(file), id);
        Ok(id)
    }

    /// A former process may have read an unfinished last line, which has gone on in another way since.
    fn forget_unfinished(&self, id: i64) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "DELETE FROM claims WHERE file = ?1 AND byte_offset >= (SELECT reached FROM files WHERE id = ?1)",
            )?
            .execute([id])?;
        Ok(())
    }

    fn read(
        &mut self,
        file: &Arc<TranscriptFile>,
        records: &[Record],
        rejections: &[Rejection],
        state: &FileState,
    ) -> rusqlite::Result<()> {
        let is_first = !self.files.contains_key(file);
        let id = self.file(file)?;
        if is_first {
            self.forget_unfinished(id)?;
        }
        let reached = state.checkpoint.counts.bytes;
        let state = json(state)?;
        self.transaction
            .prepare_cached("UPDATE files SET reached = ?2, state = ?3, archived_at = NULL WHERE id = ?1")?
            .execute(params![id, reached.cast_signed(), state])?;
        // Most lines of a response follow each other; of those one is enough.
        let mut best: Option<&UsageRecord> = None;
        for record in records {
            let Record::Usage(usage) = record else {
                self.record(id, record)?;
                continue;
            };
            self.seen(id, usage)?;
            best = match best {
                Some(known) if usage.place.byte_offset < reached && is_same_response(known, usage) => {
                    Some(if ledger::outranks(usage, known) { usage } else { known })
                }
                before => {
                    before.map_or(Ok(()), |claim| self.claim(id, claim))?;
                    Some(usage)
                }
            };
        }
        best.map_or(Ok(()), |claim| self.claim(id, claim))?;
        for rejection in rejections {
            self.transaction
                .prepare_cached("INSERT OR REPLACE INTO audit (file, byte_offset, reason) VALUES (?1, ?2, ?3)")?
                .execute(params![id, rejection.byte_offset.cast_signed(), rejection.reason.code()])?;
        }
        Ok(())
    }

    fn claim(&mut self, file: i64, claim: &UsageRecord) -> rusqlite::Result<()> {
        let session = self.name(claim.session.as_str())?;
        let agent = self.name_of(claim.agent.as_ref().map(AgentId::as_str))?;
        let model = self.name(claim.model.as_str())?;
        let usage = &claim.usage;
        self.transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO claims (file, byte_offset, line_index, session, agent, sidechain, message,
                     request, model, at, input, output, cache_creation, cache_creation_1h, cache_read, bad_counts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params![
                file,
                claim.place.byte_offset.cast_signed(),
                claim.place.index,
                session,
                agent,
                claim.sidechain,
                claim.id.message().map(|id| format!("{id}")),
                claim.id.request().map(|id| format!("{:016x}", id.number())),
                model,
                ms(claim.at),
                count(usage.input),
                count(usage.output),
                count(usage.cache_creation),
                count(usage.cache_creation_1h),
                count(usage.cache_read),
                claim.bad_counts,
            ])?;
        Ok(())
    }

    /// A response is a sign of life, too.
    fn seen(&mut self, file: i64, usage: &UsageRecord) -> rusqlite::Result<()> {
        let UsageRecord { tool, session, at, .. } = usage;
        if at.is_none() {
            return Ok(());
        }
        let (tool, session, at) = (*tool, session.clone(), *at);
        self.appearance(file, &SessionMeta { tool, session, agent: None, cwd: None, branch: None, version: None, at })
    }

    fn record(&mut self, file: i64, record: &Record) -> rusqlite::Result<()> {
        match record {
            Record::Session(meta) => self.appearance(file, meta),
            Record::Agent(meta) => {
                let session = self.name(meta.session.as_str())?;
                let agent = self.name(meta.agent.as_str())?;
                let agent_type = self.name_of(meta.agent_type.as_deref())?;
                self.transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO agent_links (file, session, agent, agent_type) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![file, session, agent, agent_type])?;
                Ok(())
            }
            Record::Compaction(compaction) => {
                let session = self.name(compaction.session.as_str())?;
                self.transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO compactions (file, session, at, cause, pre_tokens, post_tokens)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        file,
                        session,
                        ms(compaction.at).unwrap_or(0),
                        compaction.trigger.code(),
                        compaction.pre_tokens.map(count),
                        compaction.post_tokens.map(count),
                    ])?;
                Ok(())
            }
            Record::RateLimit(report) => {
                let session = self.name_of(report.session.as_ref().map(SessionId::as_str))?;
                self.transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO limit_reports (file, at, kind, used_percent, resets_at, rejected, session)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    )?
                    .execute(params![
                        file,
                        report.at.unix_ms(),
                        limit_code(&report.limit),
                        report.used_percent,
                        ms(report.resets_at),
                        report.rejected,
                        session,
                    ])?;
                Ok(())
            }
            Record::Context(fill) => {
                let session = self.name(fill.session.as_str())?;
                let model = self.name(fill.model.as_str())?;
                self.transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO context_fills (file, session, at, model, used, size)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![file, session, ms(fill.at), model, count(fill.used), count(fill.window)])?;
                Ok(())
            }
            Record::ToolCost(cost) => {
                let session = self.name(cost.session.as_str())?;
                self.transaction
                    .prepare_cached("INSERT OR REPLACE INTO tool_costs (file, session, account) VALUES (?1, ?2, ?3)")?
                    .execute(params![file, session, json(cost)?])?;
                Ok(())
            }
            Record::Activity(activity) => self.activity(file, activity),
            // Errors are told when they happen and are no history; lineage is part of the file's state; claims are not
            // written one by one.
            Record::Account(_) | Record::ApiError(_) | Record::Lineage(_) | Record::Usage(_) => Ok(()),
        }
    }

    fn activity(&mut self, file: i64, activity: &Activity) -> rusqlite::Result<()> {
        let session = self.name(activity.session.as_str())?;
        let at = activity.at.unix_ms();
        match &activity.what {
            ActivityKind::TurnStarted => self
                .transaction
                .prepare_cached("INSERT OR IGNORE INTO turns (file, session, started_at) VALUES (?1, ?2, ?3)")?
                .execute([file, session, at])?,
            // The last one begun before, unless that has ended already.
            ActivityKind::TurnEnded { worked_ms } => self
                .transaction
                .prepare_cached(
                    "UPDATE turns SET ended_at = ?3, worked_ms = ?4
                     WHERE file = ?1 AND session = ?2 AND ended_at IS NULL AND started_at =
                         (SELECT max(started_at) FROM turns WHERE file = ?1 AND session = ?2 AND started_at <= ?3)",
                )?
                .execute(params![file, session, at, worked_ms.map(u64::cast_signed)])?,
            ActivityKind::ToolStarted { call, name } => {
                let agent = self.name_of(activity.agent.as_ref().map(AgentId::as_str))?;
                let name = self.name(name.as_str())?;
                self.transaction
                    .prepare_cached(
                        "INSERT INTO tool_calls (file, call, session, agent, name, started_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                         ON CONFLICT DO UPDATE SET
                             name = coalesce(name, excluded.name), started_at = coalesce(started_at, excluded.started_at)",
                    )?
                    .execute(params![file, call.number().cast_signed(), session, agent, name, at])?
            }
            ActivityKind::ToolEnded { call, ok, result_bytes } => {
                let agent = self.name_of(activity.agent.as_ref().map(AgentId::as_str))?;
                let size = result_bytes.map(u64::cast_signed);
                self.transaction
                    .prepare_cached(
                        "INSERT INTO tool_calls (file, call, session, agent, ended_at, ok, result_bytes)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                         ON CONFLICT DO UPDATE SET
                             ended_at = excluded.ended_at, ok = excluded.ok, result_bytes = excluded.result_bytes
                         WHERE ended_at IS NULL",
                    )?
                    .execute(params![file, call.number().cast_signed(), session, agent, at, ok, size])?
            }
        };
        Ok(())
    }

    fn appearance(&mut self, file: i64, meta: &SessionMeta) -> rusqlite::Result<()> {
        let session = self.name(meta.session.as_str())?;
        let agent = self.name_of(meta.agent.as_ref().map(AgentId::as_str))?.unwrap_or(0);
        let cwd = self.name_of(meta.cwd.as_deref())?;
        let branch = self.name_of(meta.branch.as_deref())?;
        let version = self.name_of(meta.version.as_deref())?;
        self.transaction
            .prepare_cached(
                "INSERT INTO appearances (file, session, agent, cwd, last_cwd, branch, version, first_at, last_at)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?7)
                 ON CONFLICT DO UPDATE SET
                     cwd = coalesce(cwd, excluded.cwd),
                     last_cwd = coalesce(excluded.last_cwd, last_cwd),
                     branch = coalesce(excluded.branch, branch),
                     version = coalesce(excluded.version, version),
                     first_at = min(coalesce(first_at, excluded.first_at), coalesce(excluded.first_at, first_at)),
                     last_at = max(coalesce(last_at, excluded.last_at), coalesce(excluded.last_at, last_at))",
            )?
            .execute(params![file, session, agent, cwd, branch, version, ms(meta.at)])?;
        Ok(())
    }

    fn retract(&mut self, file: &Arc<TranscriptFile>) -> rusqlite::Result<()> {
        let id = self.file(file)?;
        for table in [
            "claims",
            "appearances",
            "agent_links",
            "compactions",
            "turns",
            "tool_calls",
            "context_fills",
            "tool_costs",
            "limit_reports",
            "audit",
        ] {
            self.transaction.prepare_cached(&format!("DELETE FROM {table} WHERE file = ?1"))?.execute([id])?;
        }
        let empty = json(&FileState::start(file.tool))?;
        self.transaction
            .prepare_cached("UPDATE files SET reached = 0, state = ?2 WHERE id = ?1")?
            .execute(params![id, empty])?;
        Ok(())
    }

    /// From now on everything the file said counts, an unfinished last line included. Nothing stays of one that said
    /// nothing.
    fn archive(&mut self, file: &Arc<TranscriptFile>, now: Timestamp) -> rusqlite::Result<()> {
        let id = self.file(file)?;
        let is_empty = !self
            .transaction
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM claims WHERE file = ?1)")?
            .query_row([id], |row| row.get::<_, bool>(0))?;
        if is_empty {
            self.retract(file)?;
            self.transaction.prepare_cached("DELETE FROM files WHERE id = ?1")?.execute([id])?;
            self.files.remove(file);
        } else {
            self.transaction
                .prepare_cached("UPDATE files SET archived_at = ?2, reached = ?3 WHERE id = ?1")?
                .execute([id, now.unix_ms(), i64::MAX])?;
        }
        Ok(())
    }
}

/// Whether two claims of one file are on the same response.
fn is_same_response(a: &UsageRecord, b: &UsageRecord) -> bool {
    a.id.message().is_some() && a.id == b.id && a.sidechain == b.sidechain
}
