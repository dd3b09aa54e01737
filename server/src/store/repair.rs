//! `dashboard doctor`: looks at the history while nothing runs, and rebuilds what is computed from it.

use std::path::Path;
use std::sync::Arc;

use dashboard_core::price::PriceTable;
use rusqlite::{Connection, TransactionBehavior};

use super::directory::{self, Lock};
use super::sums::{self, Sums, SumsState};
use super::{StoreError, schema};

/// What a repair found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What SQLite finds wrong with the database; empty if nothing. What it names is beyond this repair.
    pub problems: Vec<String>,
    /// Claims that were marked otherwise than the rules say.
    pub claims_corrected: u64,
    /// Rows of sums afterwards.
    pub rows: u64,
}

/// Decides anew which claims win, and rebuilds the sums from them, in bounded memory. None if there is no database.
///
/// # Errors
/// If a dashboard is running on it, or the database cannot be used.
pub fn repair(dir: &Path, prices: &Arc<PriceTable>) -> Result<Option<Repair>, StoreError> {
    let path = directory::database(dir);
    if !path.is_file() {
        return Ok(None);
    }
    let _lock = Lock::take(dir)?;
    let failed = |error| StoreError::Database { path: path.clone(), error };
    let mut connection = schema::open(&path)?;
    let problems = check(&connection).map_err(failed)?;
    let wins = |connection: &Connection| -> rusqlite::Result<u64> {
        connection.query_row("SELECT value FROM temp.changed", [], |row| row.get(0))
    };
    let mut rebuild = || -> rusqlite::Result<(u64, u64)> {
        connection.execute_batch(
            "CREATE TEMP TABLE changed (value INTEGER); INSERT INTO temp.changed VALUES (0);
             CREATE TEMP TRIGGER counted AFTER UPDATE OF wins ON main.claims WHEN old.wins IS NOT new.wins
             BEGIN UPDATE changed SET value = value + 1; END;",
        )?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        sums::forget_all(&transaction)?;
        transaction.commit()?;
        let mut state = SumsState::open(&connection, Arc::clone(prices))?;
        while state.is_rebuilding() {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            Sums::new(&transaction, &mut state).rebuild_slice()?;
            transaction.commit()?;
        }
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok((wins(&connection)?, connection.query_row("SELECT count(*) FROM sums", [], |row| row.get(0))?))
    };
    let (claims_corrected, rows) = rebuild().map_err(failed)?;
    Ok(Some(Repair { problems, claims_corrected, rows }))
}

/// What SQLite finds wrong with the database.
fn check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA quick_check(20)")?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}
