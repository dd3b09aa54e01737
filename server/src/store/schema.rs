//! The database's shape, and how an older one becomes a present one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::StoreError;

/// In order; the database's `user_version` says how many have been done. Never changed once released.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];

/// Readers hold no locks for long.
const BUSY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(5) };

/// Opens the database for writing, with the present schema.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::Database { path: path.to_owned(), error };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    // A crash of the process loses nothing; one of the machine perhaps the last moment, which is in the files.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        let migration = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        migration.execute_batch(sql).map_err(failed)?;
        migration.pragma_update(None, "user_version", version).map_err(failed)?;
        migration.commit().map_err(failed)?;
    }
    Ok(connection)
}

/// Opens the database for reading alone.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}
