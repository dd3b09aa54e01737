//! Reading one session's records from the store, for a replay.

use std::path::Path;

use dashboard_core::ids::{AgentId, CallId, SessionId, ToolName};
use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::record::{Record, Tool};
use dashboard_core::replay::{RecordKind, SessionRecord, SessionRecordsBuilder};
use rusqlite::OptionalExtension;

use super::queries::{HistoryReader, Names, OneFile, ReadError, UnreadableRows, code, time};
use super::sums::FileFacts;

/// A session's records in order of time; none if the store does not know it.
///
/// # Errors
/// If the database cannot be read.
pub fn session_records(database: &Path, session: &SessionId) -> Result<Option<Vec<SessionRecord>>, ReadError> {
    HistoryReader::open(database, &[])?.session(session)
}

impl HistoryReader {
    fn session(&self, session: &SessionId) -> Result<Option<Vec<SessionRecord>>, ReadError> {
        // One moment of the database, whatever is written meanwhile.
        let transaction = self.moment()?;
        let sql = "SELECT id FROM names WHERE text = ?1";
        let id: Option<i64> = transaction.query_row(sql, [session.as_str()], |row| row.get(0)).optional()?;
        let Some(id) = id else { return Ok(None) };
        let names = Names::on_demand(&self.connection);
        let mut files = transaction.prepare(
            "SELECT files.id, tool, dir || '/' || name AS path FROM files JOIN roots ON roots.id = files.root
             WHERE files.id IN (SELECT file FROM appearances WHERE session = ?1) ORDER BY path",
        )?;
        let mut rows = files.query([id])?;
        let (mut gathering, mut ledger, mut is_known) = (SessionRecordsBuilder::default(), Ledger::default(), false);
        while let Some(row) = rows.next()? {
            is_known = true;
            let tool: Tool = code(row.get_ref(1)?.as_str().unwrap_or_default())?;
            let path = row.get_ref(2)?.as_str().unwrap_or_default();
            let file_id: i64 = row.get(0)?;
            let file = OneFile { connection: &self.connection, id: file_id, tool, name: path, names: &names };
            let mut records = Vec::new();
            // Rows that are not understood have been reported at the start.
            let mut unreadable = UnreadableRows::default();
            file.compactions_and_claims(i64::MAX, &mut records, &mut unreadable)?;
            file.limit_reports(&mut records, &mut unreadable)?;
            let claimant = ledger.file(tool, path);
            if let Some(lineage) = FileFacts::read(&transaction, file_id)?.and_then(|facts| facts.lineage) {
                ledger.lineage(claimant, &lineage, &mut |_| {});
            }
            for record in &records {
                match record {
                    Record::Usage(usage) if usage.session == *session => ledger.claim(claimant, usage, &mut |_| {}),
                    Record::Compaction(compaction) if compaction.session == *session => {
                        gathering.compaction(tool, compaction);
                    }
                    Record::RateLimit(report) if report.session.as_ref() == Some(session) => gathering.limit(report),
                    _ => {}
                }
            }
            file.turns(id, &mut gathering)?;
            file.tool_calls(id, &mut gathering)?;
        }
        ledger.responses(Scope::All).for_each(|usage| gathering.response(&usage));
        Ok(is_known.then(|| gathering.in_order()))
    }
}

impl OneFile<'_> {
    fn turns(&self, session: i64, out: &mut SessionRecordsBuilder) -> Result<(), ReadError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT started_at, ended_at, worked_ms FROM turns WHERE file = ?1 AND session = ?2")?;
        let mut rows = statement.query([self.id, session])?;
        while let Some(row) = rows.next()? {
            let worked_ms: Option<i64> = row.get(2)?;
            let Some(at) = time(row.get(0)?) else { continue };
            out.turn(self.tool, at, time(row.get(1)?), worked_ms.map(i64::cast_unsigned));
        }
        Ok(())
    }

    fn tool_calls(&self, session: i64, out: &mut SessionRecordsBuilder) -> Result<(), ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT call, agent, name, started_at, ended_at, ok, result_bytes FROM tool_calls
             WHERE file = ?1 AND session = ?2",
        )?;
        let mut rows = statement.query([self.id, session])?;
        while let Some(row) = rows.next()? {
            let name = |id: Option<i64>| id.map(|id| self.names.get(id)).transpose();
            let ended_at = time(row.get(4)?);
            let result_bytes: Option<i64> = row.get(6)?;
            let what = RecordKind::ToolCall {
                call: CallId::from_number(row.get::<_, i64>(0)?.cast_unsigned()),
                agent: name(row.get(1)?)?.map(AgentId::new),
                name: name(row.get(2)?)?.map(ToolName::new),
                ended_at,
                ok: row.get(5)?,
                result_bytes: result_bytes.map(i64::cast_unsigned),
            };
            out.call(SessionRecord { tool: self.tool, at: time(row.get(3)?).or(ended_at), what });
        }
        Ok(())
    }
}
