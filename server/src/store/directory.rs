//! The data directory: who may write in it, who may read it, and where a damaged database goes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use dashboard_core::time::Timestamp;

use super::StoreError;
use crate::platform;

/// The database's name in the data directory.
const DATABASE: &str = "history.sqlite";
/// The file that the dashboard which may write holds locked.
const LOCK: &str = "dashboard.lock";
/// What SQLite appends to a database's name for the files beside it.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// The usual place of the store, if the platform has one.
pub fn usual_dir() -> Option<PathBuf> {
    Some(directories::ProjectDirs::from("", "", "dashboard")?.data_dir().to_owned())
}

/// The database in this data directory.
pub fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Directory { path, error }
}

/// The only dashboard that may write here, as long as this lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory if need be and locks it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        platform::create_private_dir(dir).map_err(failed(dir))?;
        if let Err(error) = platform::make_private(dir, false) {
            tracing::warn!(%error, dir = %dir.display(), "other users may be able to read the data directory");
        }
        let path = dir.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
        }
    }
}

fn companion(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes the database's files unreadable for other users, and an empty database if there is none.
pub(super) fn make_private(database: &Path) -> Result<(), StoreError> {
    platform::make_private(database, true).map_err(failed(database))?;
    for path in COMPANIONS.map(|ending| companion(database, ending)) {
        match platform::make_private(&path, false) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Moves a damaged database, with its write-ahead log, out of the way. Where it went.
///
/// No connection of this process may be open. The log moves with the database: it may hold what the database lacks.
pub(super) fn quarantine(database: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let quarantined = database.with_extension(format!("damaged-{}.sqlite", now.unix_ms()));
    // The log first: a database without its log is worse than a log without its database.
    for ending in COMPANIONS {
        match fs::rename(companion(database, ending), companion(&quarantined, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(database)(error)),
            _ => {}
        }
    }
    fs::rename(database, &quarantined).map_err(failed(database))?;
    Ok(quarantined)
}
