//! The database's shape: how it is recognised, made, and brought up to date.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{StoreError, directory, migrate};

/// The present schema, in the database's `user_version`.
pub(super) const VERSION: i64 = 2;
/// Marks a database as the dashboard's, in its header. Databases of schema 1 do not have it.
const APPLICATION_ID: i64 = i64::from_be_bytes(*b"\0\0\0\0DSHB");

const SCHEMA: &str = include_str!("migrations/0002.sql");
/// Made after a migration has filled the tables, which is quicker.
const INDEXES: &str = "CREATE INDEX claims_by_message ON claims (message_high) WHERE message_high IS NOT NULL;";

/// How long a lock of another process is waited for. Readers hold none for long.
const BUSY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(5) };

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: a database without tables.
    Empty,
    /// A history of the first release.
    First,
    /// A history of the present schema.
    Present,
    /// A history of a later schema.
    Later(i64),
    /// A database of another program.
    Foreign,
}

/// Looks at a database without changing it.
pub(super) fn inspect(connection: &Connection) -> rusqlite::Result<Found> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let tables = count("SELECT count(*) FROM sqlite_schema")?;
    let known = "SELECT count(*) FROM sqlite_schema
                 WHERE type = 'table' AND name IN ('names', 'files', 'claims', 'appearances', 'audit')";
    Ok(match (application, version) {
        (0, 0) if tables == 0 => Found::Empty,
        (0, 1) if count(known)? == 5 => Found::First,
        (APPLICATION_ID, VERSION) if count(known)? == 5 => Found::Present,
        (APPLICATION_ID, version) if version > VERSION => Found::Later(version),
        _ => Found::Foreign,
    })
}

/// Opens the database for writing, made or migrated if need be.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::Database { path: path.to_owned(), error };
    directory::make_private(path)?;
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    // If the database is damaged, its log must be left as it is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    let found = inspect(&connection).map_err(failed)?;
    match found {
        Found::Foreign => return Err(StoreError::Foreign(path.to_owned())),
        Found::Later(found) => return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION }),
        // Takes effect only before the first table is made.
        Found::Empty => connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?,
        Found::First | Found::Present => {}
    }
    // A crash of the process loses nothing; one of the machine perhaps the last moment, which is in the files.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    connection.pragma_update(None, "secure_delete", "FAST").map_err(failed)?;
    // References are right by construction; checking each would look up four rows for every claim.
    connection.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    match found {
        Found::Empty => make(&mut connection).map_err(failed)?,
        Found::First => {
            tracing::info!(database = %path.display(), "the history is brought up to date");
            migrate::in_place(&mut connection).map_err(failed)?;
        }
        _ => {}
    }
    Ok(connection)
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    make_tables(&transaction)?;
    make_indexes(&transaction)?;
    transaction.commit()
}

/// Makes the tables, without the indexes that are quicker made last.
pub(super) fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SCHEMA)
}

/// Makes the remaining indexes and marks the database as one of the present schema.
pub(super) fn make_indexes(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(INDEXES)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Opens the database for reading alone. One of the first release, which only a dashboard that writes may migrate, is
/// migrated into a temporary database.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    match inspect(&connection)? {
        Found::First => migrate::to_temporary(path),
        Found::Present => Ok(connection),
        Found::Empty | Found::Foreign | Found::Later(_) => {
            let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            let message = "it is no history of this version of the dashboard".to_owned();
            Err(rusqlite::Error::SqliteFailure(error, Some(message)))
        }
    }
}
