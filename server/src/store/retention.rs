//! Forgetting: with `--retention-days`, what deleted transcripts said goes once it is older, with everything that is only
//! known from it. Done once a day while the dashboard runs, in slices between other writes.

use dashboard_core::time::{DAY_MS, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};

use super::rows::{Caches, Rows};
use super::sums::{Sums, SumsState};

/// Files of one slice.
const SLICE_FILES: usize = 20;
/// Pages given back to the file system at once.
const SLICE_PAGES: u32 = 512;

/// What is forgotten, and how far that has come.
#[derive(Debug)]
pub(super) struct Retention {
    days: u32,
    /// When it is due.
    due: Timestamp,
    stage: Stage,
    /// Whether something was deleted since it last became due.
    has_deleted: bool,
}

/// The steps of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Rows of archived files, of files after this one.
    Files(i64),
    /// Texts that nothing refers to any more.
    Names,
    /// Free pages.
    Pages,
}

impl Retention {
    /// Due at once.
    pub(super) fn new(days: u32) -> Self {
        Self { days, due: Timestamp::default(), stage: Stage::Files(i64::MIN), has_deleted: false }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.due
    }

    /// Does the next slice.
    pub(super) fn slice(
        &mut self,
        connection: &mut Connection,
        caches: &mut Caches,
        sums: &mut SumsState,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        match self.stage {
            Stage::Files(after) => {
                let before = connection.total_changes();
                let cutoff = now.plus_ms(-i64::from(self.days) * DAY_MS);
                let last = forget(connection, caches, sums, cutoff, after)?;
                self.has_deleted |= connection.total_changes() > before;
                self.stage = match last {
                    Some(last) => Stage::Files(last),
                    None if self.has_deleted => Stage::Names,
                    None => return self.done(now),
                };
            }
            Stage::Names => {
                forget_names(connection)?;
                // Their numbers may be given out again.
                caches.clear_names();
                sums.clear();
                self.stage = Stage::Pages;
            }
            Stage::Pages => {
                let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
                if free == 0 {
                    return self.done(now);
                }
                let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({SLICE_PAGES})"))?;
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
                let left: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
                if left >= free {
                    return self.done(now);
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "ends a slice")]
    fn done(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        self.due = now.plus_ms(DAY_MS);
        self.stage = Stage::Files(i64::MIN);
        self.has_deleted = false;
        Ok(())
    }
}

/// Forgets what the next archived files said before the cutoff; the last of them, or none if there are no more.
fn forget(
    connection: &mut Connection,
    caches: &mut Caches,
    sums: &mut SumsState,
    cutoff: Timestamp,
    after: i64,
) -> rusqlite::Result<Option<i64>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let files: Vec<(i64, bool)> = {
        // Undated rows of a file are as old as its newest dated one, or as its deletion.
        let mut statement = transaction.prepare_cached(
            "SELECT id, coalesce(max((SELECT max(at) FROM claims WHERE file = files.id),
                                     coalesce(last_at, -9223372036854775808)), last_at, archived_at) < ?2
             FROM files WHERE archived_at IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?3",
        )?;
        let limit = i64::try_from(SLICE_FILES).unwrap_or(i64::MAX);
        let rows =
            statement.query_map(params![after, cutoff.unix_ms(), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    let mut rows = Rows::new(&transaction, caches, None, Sums::new(&transaction, sums));
    for &(file, is_old) in &files {
        if is_old {
            rows.delete(file)?;
            continue;
        }
        rows.forget_claims_before(file, cutoff)?;
        for (table, time) in [
            ("turns", "started_at"),
            ("tool_calls", "coalesce(started_at, ended_at)"),
            ("limit_reports", "at"),
            ("compactions", "at"),
            ("api_errors", "at"),
            ("context_fills", "at"),
            ("appearances", "last_at"),
        ] {
            let sql = format!("DELETE FROM {table} WHERE file = ?1 AND {time} < ?2");
            transaction.prepare_cached(&sql)?.execute(params![file, cutoff.unix_ms()])?;
        }
    }
    rows.finish()?;
    transaction.commit()?;
    Ok(files.last().map(|&(file, _)| file))
}

/// Deletes texts that no row refers to.
fn forget_names(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "DELETE FROM names WHERE id NOT IN (
             SELECT session FROM claims UNION SELECT agent FROM claims WHERE agent IS NOT NULL
             UNION SELECT model FROM claims
             UNION SELECT session FROM files WHERE session IS NOT NULL
             UNION SELECT parent FROM files WHERE parent IS NOT NULL
             UNION SELECT session FROM appearances UNION SELECT agent FROM appearances
             UNION SELECT cwd FROM appearances WHERE cwd IS NOT NULL
             UNION SELECT last_cwd FROM appearances WHERE last_cwd IS NOT NULL
             UNION SELECT branch FROM appearances WHERE branch IS NOT NULL
             UNION SELECT version FROM appearances WHERE version IS NOT NULL
             UNION SELECT session FROM agent_links UNION SELECT agent FROM agent_links
             UNION SELECT agent_type FROM agent_links WHERE agent_type IS NOT NULL
             UNION SELECT session FROM compactions UNION SELECT session FROM turns
             UNION SELECT session FROM tool_calls
             UNION SELECT agent FROM tool_calls WHERE agent IS NOT NULL
             UNION SELECT name FROM tool_calls WHERE name IS NOT NULL
             UNION SELECT session FROM context_fills UNION SELECT model FROM context_fills
             UNION SELECT session FROM tool_costs
             UNION SELECT session FROM limit_reports WHERE session IS NOT NULL
             UNION SELECT session FROM api_errors
         );
         DELETE FROM roots WHERE id NOT IN (SELECT root FROM files);",
    )?;
    transaction.commit()
}
