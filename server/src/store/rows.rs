//! What messages of the source change in the database, within one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use dashboard_core::ids::{AgentId, SessionId};
use dashboard_core::ledger;
use dashboard_core::record::{
    Activity, ActivityKind, FileCounts, Lineage, Record, Rejection, SessionMeta, UsageRecord,
};
use dashboard_core::time::Timestamp;
use dashboard_core::units::Tokens;
use rusqlite::{Connection, params};
use serde::Serialize;

use super::codes::{Code, limit_code};
use super::sums::{ClaimRow, Sums, halves};
use super::unseen::Unseen;
use crate::observation::{FileState, TranscriptFile};

/// Tables with rows of files, besides `claims`.
pub(super) const TABLES_OF_FILES: [&str; 10] = [
    "appearances",
    "agent_links",
    "compactions",
    "turns",
    "tool_calls",
    "context_fills",
    "tool_costs",
    "limit_reports",
    "api_errors",
    "audit",
];

/// Numbers of texts and files that this process has met. Emptied when a transaction fails, since they may be of rows
/// that are not there.
#[derive(Debug, Default)]
pub(super) struct Caches {
    names: HashMap<String, i64>,
    files: HashMap<Arc<TranscriptFile>, i64>,
}

impl Caches {
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.files.clear();
    }

    /// The names' rows may have gone.
    pub(super) fn clear_names(&mut self) {
        self.names.clear();
    }

    /// The file's row may have gone.
    pub(super) fn forget_file(&mut self, id: i64) {
        self.files.retain(|_, known| *known != id);
    }
}

/// Changes of one transaction. See the [module's description](self).
#[derive(Debug)]
pub(super) struct Rows<'a> {
    connection: &'a Connection,
    caches: &'a mut Caches,
    unseen: Option<&'a mut Unseen>,
    sums: Sums<'a>,
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::unix_ms)
}

/// Counts are at most 2^53; sums of them, from the tool itself, might be larger.
fn count(tokens: Tokens) -> i64 {
    i64::try_from(tokens.0).unwrap_or(i64::MAX)
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn number_of_name(connection: &Connection, names: &mut HashMap<String, i64>, text: &str) -> rusqlite::Result<i64> {
    if let Some(&id) = names.get(text) {
        return Ok(id);
    }
    // An update that changes nothing, because only a change returns the row.
    let id = connection
        .prepare_cached("INSERT INTO names (text) VALUES (?1) ON CONFLICT DO UPDATE SET text = text RETURNING id")?
        .query_row([text], |row| row.get(0))?;
    names.insert(text.to_owned(), id);
    Ok(id)
}

/// What a file says of a session, from several records, or of one of its subagents.
#[derive(Debug)]
struct Appearance<'a> {
    session: &'a SessionId,
    agent: Option<&'a AgentId>,
    cwd: Option<&'a str>,
    last_cwd: Option<&'a str>,
    branch: Option<&'a str>,
    version: Option<&'a str>,
    span: Option<(Timestamp, Timestamp)>,
}

/// Gathers appearances: nearly all records of a message are of one session, and say the same of it.
#[derive(Debug, Default)]
struct Appearances<'a>(Vec<Appearance<'a>>);

impl<'a> Appearances<'a> {
    fn of(&mut self, session: &'a SessionId, agent: Option<&'a AgentId>) -> &mut Appearance<'a> {
        let known = self.0.iter().rposition(|known| known.session == session && known.agent == agent);
        let index = known.unwrap_or_else(|| {
            let span = None;
            self.0.push(Appearance { session, agent, cwd: None, last_cwd: None, branch: None, version: None, span });
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    fn meta(&mut self, meta: &'a SessionMeta) {
        let known = self.of(&meta.session, meta.agent.as_ref());
        known.cwd = known.cwd.or(meta.cwd.as_deref());
        known.last_cwd = meta.cwd.as_deref().or(known.last_cwd);
        known.branch = meta.branch.as_deref().or(known.branch);
        known.version = meta.version.as_deref().or(known.version);
        known.seen(meta.at);
    }

    /// A response is a sign of life, too.
    fn usage(&mut self, usage: &'a UsageRecord) {
        self.of(&usage.session, None).seen(usage.at);
    }
}

impl Appearance<'_> {
    fn seen(&mut self, at: Option<Timestamp>) {
        let Some(at) = at else { return };
        self.span = Some(self.span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        caches: &'a mut Caches,
        unseen: Option<&'a mut Unseen>,
        sums: Sums<'a>,
    ) -> Self {
        Self { connection, caches, unseen, sums }
    }

    /// Brings winning claims and sums up to date; the transaction can be committed.
    pub(super) fn finish(self) -> rusqlite::Result<()> {
        self.sums.settle()
    }

    fn name(&mut self, text: &str) -> rusqlite::Result<i64> {
        number_of_name(self.connection, &mut self.caches.names, text)
    }

    fn name_of(&mut self, text: Option<&str>) -> rusqlite::Result<Option<i64>> {
        text.map(|text| self.name(text)).transpose()
    }

    /// The file's number; a row for it if there is none.
    fn file(&mut self, file: &Arc<TranscriptFile>) -> rusqlite::Result<i64> {
        if let Some(&id) = self.caches.files.get(file) {
            return Ok(id);
        }
        // Updates that change nothing, because only a change returns the row.
        let root: i64 = self
            .connection
            .prepare_cached(
                "INSERT INTO roots (tool, dir) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET dir = dir RETURNING id",
            )?
            .query_row(params![file.tool.code(), file.root.to_string_lossy()], |row| row.get(0))?;
        let id = self
            .connection
            .prepare_cached(
                "INSERT INTO files (root, name, reached, state) VALUES (?1, ?2, 0, '')
                 ON CONFLICT DO UPDATE SET name = name RETURNING id",
            )?
            .query_row(params![root, file.name], |row| row.get(0))?;
        self.caches.files.insert(Arc::clone(file), id);
        Ok(id)
    }

    /// More of the file was read.
    pub(super) fn read(
        &mut self,
        file: &Arc<TranscriptFile>,
        records: &[Record],
        rejections: &[Rejection],
        state: &FileState,
    ) -> rusqlite::Result<()> {
        let is_first = !self.caches.files.contains_key(file);
        let id = self.file(file)?;
        if is_first {
            // A former process may have read an unfinished last line, which has gone on in another way since.
            self.delete_claims(id, "byte_offset >= (SELECT reached FROM files WHERE id = ?1)")?;
        }
        let mut appearances = Appearances::default();
        // Most lines of a response follow each other; of those one is enough.
        let mut best: Option<&UsageRecord> = None;
        let reached = state.checkpoint.counts.bytes;
        for record in records {
            match record {
                Record::Usage(usage) => {
                    appearances.usage(usage);
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
                Record::Session(meta) => appearances.meta(meta),
                Record::Lineage(lineage) => {
                    // Claims before it are of the session, too.
                    best.take().map_or(Ok(()), |claim| self.claim(id, claim))?;
                    self.set_lineage(id, Some(lineage))?;
                }
                record => self.record(id, record)?,
            }
        }
        best.map_or(Ok(()), |claim| self.claim(id, claim))?;
        for rejection in rejections {
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO audit (file, byte_offset, reason) VALUES (?1, ?2, ?3)")?
                .execute(params![id, rejection.byte_offset.cast_signed(), rejection.reason.code()])?;
        }
        let last_at = appearances.0.iter().filter_map(|appearance| appearance.span).map(|(_, last)| last).max();
        appearances.0.iter().try_for_each(|appearance| self.appearance(id, appearance))?;
        self.set_state(id, state, last_at)
    }

    fn set_state(&mut self, id: i64, state: &FileState, last_at: Option<Timestamp>) -> rusqlite::Result<()> {
        let FileCounts {
            bytes,
            lines,
            records,
            unknown_records,
            usage_records,
            repeated_records,
            bad_counts,
            rejected_lines,
            pending_lines,
        } = state.counts;
        self.connection
            .prepare_cached(
                "UPDATE files SET reached = ?2, state = ?3, archived_at = NULL,
                     last_at = max(coalesce(last_at, ?4), coalesce(?4, last_at)), bytes = ?5, lines = ?6, records = ?7,
                     unknown_records = ?8, usage_records = ?9, repeated_records = ?10, bad_counts = ?11,
                     rejected_lines = ?12, pending_lines = ?13
                 WHERE id = ?1",
            )?
            .execute(params![
                id,
                state.checkpoint.counts.bytes.cast_signed(),
                json(state)?,
                ms(last_at),
                bytes.cast_signed(),
                lines.cast_signed(),
                records.cast_signed(),
                unknown_records.cast_signed(),
                usage_records.cast_signed(),
                repeated_records.cast_signed(),
                bad_counts.cast_signed(),
                rejected_lines.cast_signed(),
                pending_lines.cast_signed(),
            ])?;
        Ok(())
    }

    fn claim(&mut self, file: i64, claim: &UsageRecord) -> rusqlite::Result<()> {
        let session = self.name(claim.session.as_str())?;
        let agent = self.name_of(claim.agent.as_ref().map(AgentId::as_str))?;
        let model = self.name(claim.model.as_str())?;
        let message = claim.id.message();
        // A claim on a message that no other is on wins; so does one without a message.
        let wins = message.is_none_or(|message| self.unseen.as_mut().is_some_and(|unseen| unseen.insert(message)));
        let halves = message.map(halves);
        let usage = &claim.usage;
        let place = (claim.place.byte_offset.cast_signed(), claim.place.index);
        let mut inserted = self.insert_claim(file, claim, session, agent, model, halves, wins)?;
        if !inserted {
            // Read once more, perhaps with another outcome.
            self.delete_claims(file, &format!("byte_offset = {} AND line_index = {}", place.0, place.1))?;
            inserted = self.insert_claim(file, claim, session, agent, model, halves, wins)?;
        }
        debug_assert!(inserted, "its place is free");
        if wins {
            let row = ClaimRow {
                file,
                place: claim.place,
                session,
                agent: agent.unwrap_or(0),
                sidechain: claim.sidechain,
                id: claim.id,
                model,
                at: claim.at,
                usage: *usage,
                bad_counts: claim.bad_counts,
                wins,
            };
            self.sums.add(&row)
        } else {
            message.into_iter().for_each(|message| self.sums.touch(message));
            Ok(())
        }
    }

    /// Whether its place was free.
    #[allow(clippy::too_many_arguments, reason = "columns of a row")]
    fn insert_claim(
        &mut self,
        file: i64,
        claim: &UsageRecord,
        session: i64,
        agent: Option<i64>,
        model: i64,
        message: Option<(i64, i64)>,
        wins: bool,
    ) -> rusqlite::Result<bool> {
        let usage = &claim.usage;
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT OR IGNORE INTO claims (file, byte_offset, line_index, session, agent, sidechain, message_high,
                     message_low, in_lineage, request, model, at, input, output, cache_creation, cache_creation_1h,
                     cache_read, reasoning, bad_counts, wins)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
            )?
            .execute(params![
                file,
                claim.place.byte_offset.cast_signed(),
                claim.place.index,
                session,
                agent,
                claim.sidechain,
                message.map(|halves| halves.0),
                message.map(|halves| halves.1),
                matches!(claim.id, dashboard_core::record::ResponseId::Row(_)),
                claim.id.request().map(|id| id.number().cast_signed()),
                model,
                ms(claim.at),
                count(usage.input),
                count(usage.output),
                count(usage.cache_creation),
                count(usage.cache_creation_1h),
                count(usage.cache_read),
                count(usage.reasoning),
                claim.bad_counts,
                wins,
            ])?;
        Ok(inserted > 0)
    }

    fn delete_claims(&mut self, file: i64, condition: &str) -> rusqlite::Result<()> {
        self.sums.release(file, condition)?;
        let sql = format!("DELETE FROM claims WHERE file = ?1 AND {condition}");
        self.connection.prepare_cached(&sql)?.execute([file])?;
        Ok(())
    }

    fn record(&mut self, file: i64, record: &Record) -> rusqlite::Result<()> {
        match record {
            Record::Agent(meta) => {
                let session = self.name(meta.session.as_str())?;
                let agent = self.name(meta.agent.as_str())?;
                let agent_type = self.name_of(meta.agent_type.as_deref())?;
                self.connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO agent_links (file, session, agent, agent_type) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![file, session, agent, agent_type])?;
                Ok(())
            }
            Record::Compaction(compaction) => {
                let session = self.name(compaction.session.as_str())?;
                self.connection
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
                self.connection
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
                self.connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO context_fills (file, session, at, model, used, size)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![file, session, ms(fill.at), model, count(fill.used), count(fill.window)])?;
                Ok(())
            }
            Record::ToolCost(cost) => {
                let session = self.name(cost.session.as_str())?;
                self.connection
                    .prepare_cached("INSERT OR REPLACE INTO tool_costs (file, session, account) VALUES (?1, ?2, ?3)")?
                    .execute(params![file, session, json(cost)?])?;
                Ok(())
            }
            Record::ApiError(error) => {
                let session = self.name(error.session.as_str())?;
                self.connection
                    .prepare_cached(
                        "INSERT OR IGNORE INTO api_errors (file, session, at, kind) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![file, session, ms(error.at).unwrap_or(0), error.kind.code()])?;
                Ok(())
            }
            Record::Activity(activity) => self.activity(file, activity),
            // Written together, part of the file's state, or read from elsewhere at every start.
            Record::Account(_) | Record::Lineage(_) | Record::Usage(_) | Record::Session(_) => Ok(()),
        }
    }

    fn activity(&mut self, file: i64, activity: &Activity) -> rusqlite::Result<()> {
        let session = self.name(activity.session.as_str())?;
        let at = activity.at.unix_ms();
        match &activity.what {
            ActivityKind::TurnStarted => self
                .connection
                .prepare_cached("INSERT OR IGNORE INTO turns (file, session, started_at) VALUES (?1, ?2, ?3)")?
                .execute([file, session, at])?,
            // The last one begun before, unless that has ended already.
            ActivityKind::TurnEnded { worked_ms } => self
                .connection
                .prepare_cached(
                    "UPDATE turns SET ended_at = ?3, worked_ms = ?4
                     WHERE file = ?1 AND session = ?2 AND ended_at IS NULL AND started_at =
                         (SELECT max(started_at) FROM turns WHERE file = ?1 AND session = ?2 AND started_at <= ?3)",
                )?
                .execute(params![file, session, at, worked_ms.map(u64::cast_signed)])?,
            ActivityKind::ToolStarted { call, name } => {
                let agent = self.name_of(activity.agent.as_ref().map(AgentId::as_str))?;
                let name = self.name(name.as_str())?;
                self.connection
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
                self.connection
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

    fn appearance(&mut self, file: i64, appearance: &Appearance<'_>) -> rusqlite::Result<()> {
        let session = self.name(appearance.session.as_str())?;
        let agent = self.name_of(appearance.agent.map(AgentId::as_str))?.unwrap_or(0);
        let cwd = self.name_of(appearance.cwd)?;
        let last_cwd = self.name_of(appearance.last_cwd)?;
        let branch = self.name_of(appearance.branch)?;
        let version = self.name_of(appearance.version)?;
        let (first, last) = appearance.span.unzip();
        self.connection
            .prepare_cached(
                "INSERT INTO appearances (file, session, agent, cwd, last_cwd, branch, version, first_at, last_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT DO UPDATE SET
                     cwd = coalesce(cwd, excluded.cwd),
                     last_cwd = coalesce(excluded.last_cwd, last_cwd),
                     branch = coalesce(excluded.branch, branch),
                     version = coalesce(excluded.version, version),
                     first_at = min(coalesce(first_at, excluded.first_at), coalesce(excluded.first_at, first_at)),
                     last_at = max(coalesce(last_at, excluded.last_at), coalesce(excluded.last_at, last_at))",
            )?
            .execute(params![file, session, agent, cwd, last_cwd, branch, version, ms(first), ms(last)])?;
        Ok(())
    }

    /// The file was truncated or rewritten: what it said goes.
    pub(super) fn retract(&mut self, file: &Arc<TranscriptFile>) -> rusqlite::Result<()> {
        let id = self.file(file)?;
        self.forget(id)?;
        let empty = json(&FileState::start(file.tool))?;
        self.connection
            .prepare_cached(
                "UPDATE files SET reached = 0, state = ?2, last_at = NULL, bytes = 0, lines = 0, records = 0,
                     unknown_records = 0, usage_records = 0, repeated_records = 0, bad_counts = 0, rejected_lines = 0,
                     pending_lines = 0
                 WHERE id = ?1",
            )?
            .execute(params![id, empty])?;
        Ok(())
    }

    /// Deletes everything the file said, but not the file.
    pub(super) fn forget(&mut self, file: i64) -> rusqlite::Result<()> {
        self.delete_claims(file, "true")?;
        for table in TABLES_OF_FILES {
            self.connection.prepare_cached(&format!("DELETE FROM {table} WHERE file = ?1"))?.execute([file])?;
        }
        self.set_lineage(file, None)
    }

    fn set_lineage(&mut self, file: i64, lineage: Option<&Lineage>) -> rusqlite::Result<()> {
        let (connection, names) = (self.connection, &mut self.caches.names);
        self.sums.set_lineage(file, lineage, &mut |text| number_of_name(connection, names, text))
    }

    /// Deletes the file with everything it said.
    pub(super) fn delete(&mut self, file: i64) -> rusqlite::Result<()> {
        self.forget(file)?;
        self.connection.prepare_cached("DELETE FROM files WHERE id = ?1")?.execute([file])?;
        self.sums.forget_file(file);
        self.caches.forget_file(file);
        Ok(())
    }

    /// Deletes claims of a file made before `time`.
    pub(super) fn forget_claims_before(&mut self, file: i64, time: Timestamp) -> rusqlite::Result<()> {
        self.delete_claims(file, &format!("at < {}", time.unix_ms()))
    }

    /// The file was deleted: from now on everything it said counts, an unfinished last line included. Nothing stays of
    /// one without claims.
    pub(super) fn archive(&mut self, file: &Arc<TranscriptFile>, now: Timestamp) -> rusqlite::Result<()> {
        let id = self.file(file)?;
        let has_claims = "SELECT EXISTS (SELECT 1 FROM claims WHERE file = ?1)";
        if self.connection.prepare_cached(has_claims)?.query_row([id], |row| row.get::<_, bool>(0))? {
            self.connection
                .prepare_cached("UPDATE files SET archived_at = ?2, reached = ?3 WHERE id = ?1")?
                .execute([id, now.unix_ms(), i64::MAX])?;
        } else {
            self.delete(id)?;
        }
        Ok(())
    }
}

/// Whether two claims of one file are on the same response.
fn is_same_response(a: &UsageRecord, b: &UsageRecord) -> bool {
    a.id.message().is_some() && a.id == b.id && a.sidechain == b.sidechain
}
