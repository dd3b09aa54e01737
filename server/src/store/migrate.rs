//! From the schema of the first release to the present one: ids become hashes, roots canonical, doubled roots one.
//!
//! The old tables are read from wherever they are, so that the same steps serve a migration in place and a report on a
//! database that it may not write.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use dashboard_core::ids::{MessageId, RequestId};
use dashboard_core::record::{FileCounts, Lineage, Tool};
use dashboard_core::time::Timestamp;
use dashboard_core::transcript::Identity;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::codes::Code;
use super::schema;
use super::sums;
use crate::observation::FileState;

/// Tables of the first schema that are taken over as they are.
const UNCHANGED: [(&str, &str); 9] = [
    ("appearances", "session, agent, cwd, last_cwd, branch, version, first_at, last_at"),
    ("agent_links", "session, agent, agent_type"),
    ("compactions", "session, at, cause, pre_tokens, post_tokens"),
    ("turns", "session, started_at, ended_at, worked_ms"),
    ("tool_calls", "call, session, agent, name, started_at, ended_at, ok, result_bytes"),
    ("context_fills", "session, at, model, used, size"),
    ("tool_costs", "session, account"),
    ("limit_reports", "at, kind, used_percent, resets_at, rejected, session"),
    ("audit", "byte_offset, reason"),
];

/// Migrates a database in place, in one transaction. Afterwards it is compacted, and set to give space back.
pub(super) fn in_place(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("DROP VIEW IF EXISTS responses; DROP VIEW IF EXISTS sessions;")?;
    let old = UNCHANGED.map(|(table, _)| table);
    let old: Vec<&str> = old.into_iter().chain(["names", "files", "claims"]).collect();
    for table in &old {
        transaction.execute_batch(&format!("ALTER TABLE {table} RENAME TO v1_{table}"))?;
    }
    schema::make_tables(&transaction)?;
    copy(&transaction, "v1_", canonical)?;
    for table in old.iter().rev() {
        transaction.execute_batch(&format!("DROP TABLE v1_{table}"))?;
    }
    schema::make_indexes(&transaction)?;
    transaction.commit()?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.execute_batch("VACUUM")
}

/// Migrates what is at `path` into a database that goes with the connection.
pub(super) fn to_temporary(path: &Path) -> rusqlite::Result<Connection> {
    // An empty name is a temporary file, kept in memory while it is small.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = Connection::open_with_flags("", flags)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.execute("ATTACH ?1 AS v1", [path.to_string_lossy()])?;
    let transaction = connection.transaction()?;
    schema::make_tables(&transaction)?;
    copy(&transaction, "v1.", canonical)?;
    schema::make_indexes(&transaction)?;
    transaction.commit()?;
    connection.execute_batch("DETACH v1")?;
    Ok(connection)
}

/// The directory as every later run names it: with links resolved if it is there, else at least without `.` and a
/// slash at its end.
fn canonical(dir: &str) -> String {
    let path = Path::new(dir);
    let spelled = || path.components().filter(|part| !matches!(part, Component::CurDir)).collect::<PathBuf>();
    path.canonicalize().unwrap_or_else(|_| spelled()).to_string_lossy().into_owned()
}

/// A file of the first schema.
struct OldFile {
    id: i64,
    tool: String,
    reached: i64,
    state: String,
    archived_at: Option<i64>,
}

impl OldFile {
    fn read_state(&self) -> Option<FileState> {
        serde_json::from_str(&self.state).ok()
    }

    /// Which of two rows for one file is kept: the one of a present file; of those, the one that was read further.
    fn rank(&self) -> (bool, u64, i64) {
        let bytes = self.read_state().map_or(0, |state| state.checkpoint.counts.bytes);
        (self.archived_at.is_none(), bytes, -self.id)
    }
}

/// Fills the new tables from the old ones, whose names begin with `old`.
fn copy(connection: &Connection, old: &str, canonical: impl Fn(&str) -> String) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("INSERT INTO main.names (id, text) SELECT id, text FROM {old}names"))?;
    let mut kept: BTreeMap<(String, String, String), OldFile> = BTreeMap::new();
    let mut statement =
        connection.prepare(&format!("SELECT id, tool, root, name, reached, state, archived_at FROM {old}files"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (tool, root): (String, String) = (row.get(1)?, row.get(2)?);
        let key = (tool.clone(), canonical(&root), row.get(3)?);
        let (reached, state, archived_at) = (row.get(4)?, row.get(5)?, row.get(6)?);
        let file = OldFile { id: row.get(0)?, tool, reached, state, archived_at };
        if kept.get(&key).is_none_or(|known| known.rank() < file.rank()) {
            kept.insert(key, file);
        }
    }
    for ((tool, root, name), file) in &kept {
        connection.prepare_cached("INSERT OR IGNORE INTO roots (tool, dir) VALUES (?1, ?2)")?.execute([tool, root])?;
        insert_file(connection, root, name, file)?;
        for (table, columns) in UNCHANGED {
            let sql = format!(
                "INSERT INTO main.{table} (file, {columns}) SELECT file, {columns} FROM {old}{table} WHERE file = ?1"
            );
            connection.prepare_cached(&sql)?.execute([file.id])?;
        }
        copy_claims(connection, old, file)?;
        let newest =
            "UPDATE files SET last_at = (SELECT max(last_at) FROM main.appearances WHERE file = ?1) WHERE id = ?1";
        connection.prepare_cached(newest)?.execute([file.id])?;
    }
    sums::forget_all(connection)
}

fn insert_file(connection: &Connection, root: &str, name: &str, file: &OldFile) -> rusqlite::Result<()> {
    let state = file.read_state();
    let lineage = state.as_ref().and_then(|state| state.checkpoint.lineage());
    let text = |text: &str| -> rusqlite::Result<i64> {
        connection.prepare_cached("INSERT OR IGNORE INTO main.names (text) VALUES (?1)")?.execute([text])?;
        connection.prepare_cached("SELECT id FROM main.names WHERE text = ?1")?.query_row([text], |row| row.get(0))
    };
    let session = lineage.map(|lineage| text(lineage.session.as_str())).transpose()?;
    let parent = lineage.and_then(|lineage| lineage.parent.as_ref());
    let parent = parent.map(|parent| text(parent.as_str())).transpose()?;
    let started_at = lineage.and_then(|Lineage { started_at, .. }| started_at.map(Timestamp::unix_ms));
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
    } = state.map(|state| state.counts).unwrap_or_default();
    let counts = [
        bytes,
        lines,
        records,
        unknown_records,
        usage_records,
        repeated_records,
        bad_counts,
        rejected_lines,
        pending_lines,
    ]
    .map(u64::cast_signed);
    let root: Option<i64> = connection
        .prepare_cached("SELECT id FROM roots WHERE tool = ?1 AND dir = ?2")?
        .query_row([&file.tool, root], |row| row.get(0))
        .optional()?;
    let [a, b, c, d, e, f, g, h, i] = counts;
    connection
        .prepare_cached(
            "INSERT INTO main.files (id, root, name, reached, state, archived_at, session, parent, started_at, bytes,
                 lines, records, unknown_records, usage_records, repeated_records, bad_counts, rejected_lines,
                 pending_lines)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            file.id,
            root,
            name,
            file.reached,
            file.state,
            file.archived_at,
            session,
            parent,
            started_at,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            i
        ])?;
    Ok(())
}

fn copy_claims(connection: &Connection, old: &str, file: &OldFile) -> rusqlite::Result<()> {
    // The only tool of the first release whose rows are identified by all rows before them.
    let in_lineage = Tool::of(&file.tool).is_some_and(|tool| tool.spec().identity == Identity::Row);
    let mut insert = connection.prepare_cached(
        "INSERT INTO main.claims (file, byte_offset, line_index, session, agent, sidechain, model, at, input, output,
             cache_creation, cache_creation_1h, cache_read, bad_counts, message_high, message_low, in_lineage, request,
             reasoning, wins)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, 0, 0)",
    )?;
    let mut claims = connection.prepare_cached(&format!(
        "SELECT file, byte_offset, line_index, session, agent, sidechain, model, at, input, output, cache_creation,
                cache_creation_1h, cache_read, bad_counts, message, request
         FROM {old}claims WHERE file = ?1"
    ))?;
    let mut rows = claims.query([file.id])?;
    while let Some(row) = rows.next()? {
        for column in 0..14 {
            insert.raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(row.get_ref(column)?))?;
        }
        let (high, low) = match row.get_ref(14)?.as_str_or_null()? {
            Some(text) => {
                let (high, low) = sums::halves(MessageId::of(text));
                (Some(high), Some(low))
            }
            None => (None, None),
        };
        let request = row.get_ref(15)?.as_str_or_null()?.map(|text| RequestId::of(text).number().cast_signed());
        insert.raw_bind_parameter(15, high)?;
        insert.raw_bind_parameter(16, low)?;
        insert.raw_bind_parameter(17, in_lineage && high.is_some())?;
        insert.raw_bind_parameter(18, request)?;
        insert.raw_execute()?;
    }
    Ok(())
}
