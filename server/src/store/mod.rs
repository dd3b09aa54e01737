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
mod repair;
mod retention;
mod rows;
mod schema;
mod session;
mod sums;
#[cfg(test)]
mod tests;
mod unseen;
mod writer;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use dashboard_core::price::PriceTable;

use self::inbox::{Inbox, WriterMessage};
use crate::health::DashboardHealth;
use crate::observation::{
    Recall, RecordSink, RepeatQueue, RepeatRequests, Root, SinkClosed, SourceMessage, StoredFile, TranscriptFile,
};

pub use directory::{database, usual_dir};
pub use queries::{HistoryReader, ReadError, UnreadableRows};
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
        let writer = writer::spawn(options, Arc::clone(&inbox), messages)?;
        Ok(Self { sender: StoreSender { queue, inbox, database }, writer })
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

/// Takes what is read, in order, and never makes a reader wait: what does not fit is asked for again. Clones share the
/// queue.
///
/// Messages that come without a number, as a [`RecordSink`], are not acknowledged; repetitions are such.
#[derive(Clone, Debug)]
pub struct StoreSender {
    queue: SyncSender<WriterMessage>,
    inbox: Arc<Inbox>,
    database: Arc<Path>,
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
    /// Takes a message of the source, with its number.
    pub fn send(&self, number: u64, message: SourceMessage) {
        match message {
            SourceMessage::HistoryRead => self.inbox.wait(&self.queue, || WriterMessage::HistoryRead),
            message => self.inbox.offer(&self.queue, number, message),
        }
    }

    /// For each file of which something was committed since this was last called, the number of its newest committed
    /// message: that message and all before it are on the disk.
    pub fn take_committed(&self) -> HashMap<Arc<TranscriptFile>, u64> {
        self.inbox.take_committed()
    }

    /// Gives out, file by file, what the store holds of these roots' files.
    ///
    /// A file that is there but of which not every row is understood is given out as one that was deleted and said
    /// nothing: it is read again. What cannot be read at all is left out, and will be read from the files.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn load(
        &self,
        roots: &[Root],
        take: impl FnMut(StoredFile) -> Result<(), SinkClosed>,
    ) -> Result<(), SinkClosed> {
        let failure = match HistoryReader::open(&self.database, roots).and_then(|reader| reader.load(take)) {
            Ok(Err(closed)) => return Err(closed),
            Ok(Ok(UnreadableRows { count: 0, .. })) => return Ok(()),
            Ok(Ok(UnreadableRows { count, example })) => ReadFailure::Rows { count, example },
            Err(error) if error.is_damage() => ReadFailure::Damage(error.to_string()),
            Err(error) => ReadFailure::Other(error.to_string()),
        };
        self.inbox.wait(&self.queue, || WriterMessage::ReadFailed(failure.clone()));
        Ok(())
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
        self.inbox.take_wanted()
    }

    fn repeated(&self, file: &Arc<TranscriptFile>) {
        self.inbox.repeated(&self.queue, file);
    }

    fn everything_repeated(&self) {
        self.inbox.wait(&self.queue, || WriterMessage::EverythingRepeated);
    }
}

impl RecordSink for StoreSender {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        Self::send(self, 0, message);
        Ok(())
    }

    fn is_busy(&self) -> bool {
        self.inbox.is_busy()
    }

    fn wants_activity(&self) -> bool {
        true
    }
}
