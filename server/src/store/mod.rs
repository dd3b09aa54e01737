//! Durable history: what transcripts said, kept after the assistant deletes them.
//!
//! One SQLite file in the data directory. Only `dashboard start` writes, and of several only the one that holds the
//! lock; within it, one thread ([`writer`]). It keeps what each file *claims*, with the place up to which the file was
//! read, and leaves it to the core's ledger which claims count: so the store and a fresh read can only agree. At start
//! the claims are handed to the engine as if they had just been read ([`load`]), and reading goes on from there.
//!
//! The store is never in the way of the figures: if it fails, they go on from the files, health says what is missing,
//! and when it works again it asks for what it missed.

mod codes;
mod load;
mod schema;
mod session;
#[cfg(test)]
mod tests;
mod writer;

use crate::observation::{Recall, RecordSink, RepeatQueue, Root, SinkClosed, SourceMessage};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use dashboard_core::time::Timestamp;

use crate::health::DashboardHealth;
use crate::platform;

pub use crate::observation::{RepeatRequests, StoredFile};
pub use load::{LoadError, Reader};
pub use session::session_records;

/// The database's name in the data directory.
const DATABASE: &str = "history.sqlite";
/// The file that the dashboard which may write holds locked.
const LOCK: &str = "dashboard.lock";

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another dashboard writes there.
    #[error("another dashboard uses {}: open that one, stop it, or give this one its own --data-dir", .0.display())]
    Locked(PathBuf),
    /// A later version of the dashboard has written there.
    #[error("{} was written by a later dashboard (schema {found}, this one knows {known}): update, or use another --data-dir", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The newest one known.
        known: i64,
    },
    /// The directory or the lock cannot be had.
    #[error("cannot use {}: {error}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// SQLite refuses.
    #[error("cannot open {}: {error}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        error: rusqlite::Error,
    },
}

/// The usual place of the store, if the platform has one.
pub fn usual_dir() -> Option<PathBuf> {
    Some(directories::ProjectDirs::from("", "", "dashboard")?.data_dir().to_owned())
}

/// The database in this data directory.
pub fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// The only dashboard that may write here, as long as this lives.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl Lock {
    fn take(dir: &Path) -> Result<Self, StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::Directory { path, error }
        };
        platform::create_private_dir(dir).map_err(failed(dir))?;
        let path = dir.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
        }
    }
}

/// A running store: ends, with everything written, when it and all inlets are dropped.
#[derive(Debug)]
pub struct Store {
    sender: StoreSender,
    writer: JoinHandle<Written>,
}

/// How much was written, all told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Committed transactions.
    pub transactions: u64,
    /// Rows inserted, updated or deleted in them.
    pub rows: u64,
}

impl Store {
    /// Opens the store in `dir`, making it if need be. Of deleted files, what is older than `keep_since` goes.
    ///
    /// # Errors
    /// If the directory cannot be used or belongs to another dashboard.
    pub fn open(dir: &Path, keep_since: Option<Timestamp>, health: DashboardHealth) -> Result<Self, StoreError> {
        let lock = Lock::take(dir)?;
        let wanted = Arc::<Mutex<RepeatRequests>>::default();
        let (sender, writer) = writer::spawn(database(dir), lock, keep_since, Arc::clone(&wanted), health)?;
        Ok(Self { sender: StoreSender { sender, database: database(dir).into(), wanted }, writer })
    }

    /// Its database.
    pub fn database(&self) -> Arc<Path> {
        Arc::clone(&self.sender.database)
    }

    /// What feeds it.
    pub fn sender(&self) -> StoreSender {
        self.sender.clone()
    }

    /// Waits until everything sent has been written, and tells how much that was; all inlets must have been dropped.
    pub fn close(self) -> Written {
        drop(self.sender);
        self.writer.join().unwrap_or_else(|_| {
            tracing::error!("the store's writer ended abnormally");
            Written::default()
        })
    }
}

/// Takes what is read, in order. While the writer has enough to do, it waits.
#[derive(Clone, Debug)]
pub struct StoreSender {
    sender: SyncSender<WriterMessage>,
    database: Arc<Path>,
    wanted: Arc<Mutex<RepeatRequests>>,
}

/// What the writer is told.
#[derive(Debug)]
enum WriterMessage {
    /// Something was read.
    Source(SourceMessage),
    /// The database cannot be read.
    Damaged(String),
}

impl StoreSender {
    /// Takes what is said of a file.
    pub fn send(&self, message: SourceMessage) {
        match message {
            // The writer knows a replacement as a retraction and what is read next.
            SourceMessage::Read { file, records, rejections, state, replaces: true } => {
                self.tell(WriterMessage::Source(SourceMessage::Retract { file: Arc::clone(&file) }));
                let read = SourceMessage::Read { file, records, rejections, state, replaces: false };
                self.tell(WriterMessage::Source(read));
            }
            SourceMessage::Read { .. } | SourceMessage::Retract { .. } | SourceMessage::Archive { .. } => {
                self.tell(WriterMessage::Source(message));
            }
            _ => {}
        }
    }

    /// Gives out, file by file, what the store holds of these roots' files. What cannot be read is left out: it will be
    /// read from the files.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn load(
        &self,
        roots: &[Root],
        take: impl FnMut(StoredFile) -> Result<(), SinkClosed>,
    ) -> Result<(), SinkClosed> {
        match Reader::open(&self.database).and_then(|reader| reader.load(roots, take)) {
            Ok(taken) => taken,
            Err(error) => {
                self.tell(WriterMessage::Damaged(error.to_string()));
                Ok(())
            }
        }
    }

    fn tell(&self, message: WriterMessage) {
        // It ends only with the process; if it has failed, health has said so and the figures go on without it.
        let _ = self.sender.send(message);
    }
}

impl Recall for StoreSender {
    fn recall(
        &self,
        roots: &[Root],
        take: &mut dyn FnMut(StoredFile) -> Result<(), SinkClosed>,
    ) -> Result<(), SinkClosed> {
        self.load(roots, take)
    }
}

impl RepeatQueue for StoreSender {
    fn take_repeats(&self) -> RepeatRequests {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RecordSink for StoreSender {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        self.send(message);
        Ok(())
    }

    fn wants_activity(&self) -> bool {
        true
    }
}

/// Puts a damaged database aside, where a person can look at it. Where it went.
fn set_aside(database: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let aside = database.with_extension(format!("damaged-{}.sqlite", now.unix_ms()));
    for ending in ["-wal", "-shm"] {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        // There is none after a clean end.
        let _ = fs::remove_file(name);
    }
    fs::rename(database, &aside)?;
    Ok(aside)
}
