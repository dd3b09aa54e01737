//! Durable history: what transcripts said, kept after the assistant deletes them, and sums of what counts.
//!
//! One SQLite file in the data directory. Only `dashboard start` writes, and of several only the one that holds the
//! lock; within it, one thread ([`writer`]). It keeps what each file claims, with the place up to which the file was read
//! ([`rows`]), marks the claims that win by the core's rules and keeps sums of them ([`sums`]), in one transaction.
//! Readers have a connection of their own ([`HistoryReader`]).
//!
//! The store is never in the way of the figures: if it fails, they go on from the files, health says what is missing,
//! and when it works again it asks for what it missed ([`lifecycle`]).

mod codes;
mod directory;
mod inbox;
mod lifecycle;
mod migrate;
mod queries;
mod recall;
mod repair;
mod retention;
mod rows;
mod schema;
mod session;
mod sums;
#[cfg(test)]
pub(crate) mod tests;
mod unseen;
mod writer;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use dashboard_core::price::PriceTable;
use dashboard_core::time::{Timestamp, ZoneOffsets};

use self::inbox::{Inbox, WriterMessage};
use crate::health::DashboardHealth;
use crate::observation::{
    HistoryStore, HistoryWriter, Recall, Recalled, RepeatRequests, Root, SourceMessage, TranscriptFile,
};

pub use directory::{database, usual_dir};
pub use queries::{HistoryReader, ReadError, StoredUsage, UnreadableRows};
pub use repair::{Repair, repair};
pub use session::session_records;

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
    /// Another program's database is there.
    #[error("{} is a database of another program and is left as it is: move it, or use another --data-dir", .0.display())]
    Foreign(PathBuf),
    /// The directory or a file in it cannot be had.
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

/// Whether the database file itself is at fault, so that trying again is no use. Nothing but what SQLite calls damage.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Whether the store in `dir` has anything of these roots' files.
pub fn holds(dir: &Path, roots: &[Root]) -> bool {
    let database = database(dir);
    database.is_file()
        && HistoryReader::open(&database, roots).is_ok_and(|reader| reader.has_anything().unwrap_or(false))
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory; made if need be.
    pub dir: PathBuf,
    /// Days after which what deleted transcripts said is forgotten; never, if none.
    pub retention_days: Option<u32>,
    /// The price table in force, whose prompt classes the sums tell apart.
    pub prices: Arc<PriceTable>,
    /// The zone in which days begin.
    pub zone: Arc<ZoneOffsets>,
    /// Where the store says how it is.
    pub health: DashboardHealth,
}

/// A running store: ends, with everything written, when it and all senders are dropped.
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
    /// Opens the store. If the directory or the database cannot be had at the moment, it is tried again while the store
    /// runs.
    ///
    /// # Errors
    /// If the directory belongs to another dashboard, or the database to a later version.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let database = database(&options.dir).into();
        let (queue, messages) = sync_channel(inbox::MAX_MESSAGES);
        let inbox = Arc::new(Inbox::default());
        let (prices, zone) = (Arc::clone(&options.prices), Arc::clone(&options.zone));
        let writer = writer::spawn(options, Arc::clone(&inbox), messages)?;
        Ok(Self { sender: StoreSender { queue, inbox, database, prices, zone }, writer })
    }

    /// Its database.
    pub fn database(&self) -> Arc<Path> {
        Arc::clone(&self.sender.database)
    }

    /// What feeds it.
    pub fn sender(&self) -> StoreSender {
        self.sender.clone()
    }

    /// Waits until everything sent has been written, and tells how much that was; all senders must have been dropped.
    pub fn close(self) -> Written {
        drop(self.sender);
        self.writer.join().unwrap_or_else(|_| {
            tracing::error!("the store's writer ended abnormally");
            Written::default()
        })
    }
}

/// Takes what is read, in order, and never makes the engine wait: what does not fit is asked for again. Clones share the
/// queue.
#[derive(Clone, Debug)]
pub struct StoreSender {
    queue: SyncSender<WriterMessage>,
    inbox: Arc<Inbox>,
    database: Arc<Path>,
    prices: Arc<PriceTable>,
    zone: Arc<ZoneOffsets>,
}

/// Why something could not be read from the database.
#[derive(Clone, Debug)]
enum ReadFailure {
    /// It is damaged.
    Damage(String),
    /// Anything else that concerns all of it.
    Other(String),
    /// Rows that are not understood; the rest was read.
    Rows {
        /// How many.
        count: u64,
        /// One of them: what and where.
        example: String,
    },
}

impl StoreSender {
    fn read_failed(&self, failure: &ReadFailure) {
        self.inbox.wait(&self.queue, || WriterMessage::ReadFailed(failure.clone()));
    }

    fn report_rows(&self, UnreadableRows { count, example }: UnreadableRows) {
        if count > 0 {
            self.read_failed(&ReadFailure::Rows { count, example });
        }
    }
}

impl Recall for StoreSender {
    fn recall(&self, roots: &[Root], now: Timestamp) -> Recalled {
        let reader = HistoryReader::open(&self.database, roots);
        match reader.and_then(|reader| reader.recall(&self.prices, &self.zone, now)) {
            Ok((recalled, unreadable)) => {
                self.report_rows(unreadable);
                recalled
            }
            Err(error) if error.is_damage() => {
                self.read_failed(&ReadFailure::Damage(error.to_string()));
                Recalled::default()
            }
            Err(error) => {
                self.read_failed(&ReadFailure::Other(error.to_string()));
                Recalled::default()
            }
        }
    }
}

impl HistoryWriter for StoreSender {
    fn keep(&self, number: u64, message: SourceMessage) {
        match message {
            SourceMessage::Repeated { file, newest } => self.inbox.repeated(&self.queue, file, newest),
            SourceMessage::EverythingRepeated => self.inbox.offer_mark(&self.queue, WriterMessage::EverythingRepeated),
            SourceMessage::HistoryRead => self.inbox.offer_mark(&self.queue, WriterMessage::HistoryRead),
            message => self.inbox.offer(&self.queue, number, message),
        }
    }

    fn take_committed(&self) -> HashMap<Arc<TranscriptFile>, u64> {
        self.inbox.take_committed(&self.queue)
    }

    fn hurry(&self) {
        self.inbox.hurry(&self.queue);
    }

    fn report_unreadable(&self, count: u64, example: String, files: Vec<Arc<TranscriptFile>>) {
        self.report_rows(UnreadableRows { count, example });
        self.inbox.request(files.into_iter().filter(|file| file.path.symlink_metadata().is_ok()));
    }
}

impl HistoryStore for StoreSender {
    fn take_repeats(&self) -> RepeatRequests {
        self.inbox.take_wanted()
    }

    fn is_busy(&self) -> bool {
        self.inbox.is_busy()
    }
}
