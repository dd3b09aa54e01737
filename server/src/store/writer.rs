//! The one thread that writes the store.
//!
//! Takes messages in the order in which files were read and commits them in batches: what a file said, how far it was
//! read, which claims win, and the sums, together. Writing the same twice changes nothing, since every row is known by
//! its place in its file. What state the store is in, and which files it accepts, is the [`Lifecycle`]'s.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dashboard_core::event::HealthStatus;
use dashboard_core::price::PriceTable;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::directory::{self, Lock};
use super::inbox::{self, Inbox, WriterMessage};
use super::lifecycle::{Attempt, LaggingFiles, Lifecycle};
use super::retention::Retention;
use super::rows::{Caches, Rows};
use super::sums::{Sums, SumsState};
use super::unseen::Unseen;
use super::{ReadFailure, StoreError, StoreOptions, Written, is_damage, schema};
use crate::clock;
use crate::health::{DashboardHealth, Part};
use crate::observation::{SourceMessage, TranscriptFile};

/// Longest a message waits for others to be committed with it.
const BATCH_TIME: Duration = Duration::from_millis(if cfg!(test) { 3 } else { 250 });
/// Most records committed at once.
const BATCH_RECORDS: usize = 50_000;
/// How soon a thing that failed is tried again.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };
/// How often health is reported while all is well.
const REPORT: Duration = Duration::from_secs(5);
/// Page cache in KiB while a history is read for the first time, when pages are written in no order.
const FIRST_READ_CACHE: i64 = 65_536;
/// Page cache in KiB otherwise.
const CACHE: i64 = 4_096;

/// What health says if the thread panics. What it missed is read from the files when the dashboard is started again.
const ENDED: &str =
    "history is not being kept: what writes it panicked; start the dashboard again, and please report it";

/// An open database, with what is known of it.
#[derive(Debug)]
struct Database {
    connection: Connection,
    caches: Caches,
    sums: SumsState,
    /// While a history is read for the first time.
    unseen: Option<Unseen>,
}

impl Database {
    fn open(path: &std::path::Path, prices: &Arc<PriceTable>) -> Result<Self, StoreError> {
        let connection = schema::open(path)?;
        let read = || -> rusqlite::Result<(SumsState, bool)> {
            let sums = SumsState::open(&connection, Arc::clone(prices))?;
            Ok((sums, connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM claims)", [], |row| row.get(0))?))
        };
        let failed = |error| StoreError::Database { path: path.to_owned(), error };
        let (sums, is_empty) = read().map_err(failed)?;
        let cache = if is_empty { FIRST_READ_CACHE } else { CACHE };
        connection.pragma_update(None, "cache_size", -cache).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let unseen = is_empty.then(Unseen::new);
        Ok(Self { connection, caches: Caches::default(), sums, unseen })
    }

    /// The history has been read; from now on little is written at a time.
    fn end_first_read(&mut self) {
        if self.unseen.take().is_some() {
            let cache = self.connection.pragma_update(None, "cache_size", -CACHE);
            let settled = cache.and_then(|()| self.connection.execute_batch("PRAGMA shrink_memory; PRAGMA optimize"));
            if let Err(error) = settled {
                tracing::warn!(%error, "the history's page cache stays large");
            }
        }
    }

    fn clear(&mut self) {
        self.caches.clear();
        self.sums.clear();
    }
}

/// Opens the database, if it can be had by now, and starts the thread.
///
/// # Errors
/// If another dashboard writes there, or a later one has: both would do harm. Everything else is tried again.
pub(super) fn spawn(
    options: StoreOptions,
    inbox: Arc<Inbox>,
    messages: Receiver<WriterMessage>,
) -> Result<JoinHandle<Written>, StoreError> {
    let path = directory::database(&options.dir);
    let StoreOptions { dir, retention_days, prices, health, zone: _ } = options;
    let lifecycle = Lifecycle::Current;
    let mut writer = Writer {
        lock: None,
        dir,
        path: path.clone(),
        database: None,
        lifecycle,
        skipped: BTreeMap::new(),
        covered: BTreeMap::new(),
        notes: BTreeMap::new(),
        inbox,
        prices,
        retention: retention_days.map(Retention::new),
        reported: None,
        written: Written::default(),
        health,
    };
    match writer.try_open() {
        Ok(()) => {}
        Err(error @ (StoreError::Locked(_) | StoreError::Newer { .. })) => return Err(error),
        Err(error) => writer.lifecycle = Lifecycle::Opening(attempt(error)),
    }
    writer.report();
    let (health, inbox) = (writer.health.clone(), Arc::clone(&writer.inbox));
    let run = move || report_panic(&health, &inbox, || writer.run(&messages));
    let writing = thread::Builder::new().name("store".to_owned()).spawn(run);
    writing.map_err(|error| StoreError::Directory { path, error })
}

/// Does `run`, the thread's work. Should that panic, health says so, and nobody waits for the thread any more.
pub(super) fn report_panic<T>(health: &DashboardHealth, inbox: &Inbox, run: impl FnOnce() -> T) -> T {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panicked| {
        inbox.close();
        health.end(Part::Store, ENDED);
        panic::resume_unwind(panicked)
    })
}

fn attempt(reason: impl ToString) -> Attempt {
    Attempt { reason: reason.to_string(), retry_at: Instant::now() + RETRY }
}

/// What a person should know for as long as the process runs, by what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Note {
    Quarantined,
    UnreadableRows,
}

#[derive(Debug)]
struct Writer {
    /// Held from the first time the directory could be opened.
    lock: Option<Lock>,
    dir: PathBuf,
    path: PathBuf,
    /// Open in all states but [`Lifecycle::Opening`] and [`Lifecycle::Damaged`].
    database: Option<Database>,
    lifecycle: Lifecycle,
    /// Of files that lag: the newest message that was not written.
    skipped: BTreeMap<Arc<TranscriptFile>, u64>,
    /// Of files that are being repeated: the newest message that the repetition includes.
    covered: BTreeMap<Arc<TranscriptFile>, u64>,
    notes: BTreeMap<Note, String>,
    inbox: Arc<Inbox>,
    prices: Arc<PriceTable>,
    retention: Option<Retention>,
    reported: Option<Instant>,
    written: Written,
    health: DashboardHealth,
}

fn file_of(message: &SourceMessage) -> Option<&Arc<TranscriptFile>> {
    match message {
        SourceMessage::Read { file, .. } | SourceMessage::Retract { file } | SourceMessage::Archive { file } => {
            Some(file)
        }
        _ => None,
    }
}

impl Writer {
    fn run(mut self, messages: &Receiver<WriterMessage>) -> Written {
        loop {
            let patience = if self.has_work() { Duration::ZERO } else { RETRY };
            match messages.recv_timeout(patience) {
                Ok(first) => self.take(batch(first, messages, &self.inbox)),
                Err(RecvTimeoutError::Timeout) => self.take(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.work();
        }
        if let Some(database) = &self.database {
            // What is in the log goes into the database proper; if it does not, the next start does it.
            let _ = database.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)");
            // It works, so its log may go.
            let _ = database.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
        self.written
    }

    fn take(&mut self, batch: Vec<WriterMessage>) {
        if self.lifecycle.attempt().is_some_and(|attempt| Instant::now() >= attempt.retry_at) {
            self.try_again();
        }
        let mut source = Vec::with_capacity(batch.len());
        // What follows from messages that are written by then; that more is written by then does no harm.
        let mut afterwards = Vec::new();
        for message in batch {
            match message {
                WriterMessage::Source { number, message } => source.push((number, message)),
                WriterMessage::ReadFailed(failure) => self.read_failed(failure),
                message => afterwards.push(message),
            }
        }
        self.commit(&source);
        for message in afterwards {
            match message {
                WriterMessage::Repeated { file, number } => self.repeated(&file, number),
                WriterMessage::EverythingRepeated => self.lifecycle.everything_repeated(),
                WriterMessage::HistoryRead => self.database.as_mut().into_iter().for_each(Database::end_first_read),
                WriterMessage::Source { .. } | WriterMessage::ReadFailed(_) | WriterMessage::Hurry => {}
            }
        }
        if self.reported.is_none_or(|reported| reported.elapsed() >= REPORT) {
            self.report();
        }
    }

    /// Opens the directory and the database. A damaged one is quarantined and replaced.
    fn try_open(&mut self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&self.dir)?);
        }
        let opened = match Database::open(&self.path, &self.prices) {
            Err(StoreError::Database { error, .. }) if is_damage(&error) => {
                self.quarantine(&error.to_string())?;
                Database::open(&self.path, &self.prices)
            }
            opened => opened,
        };
        self.database = Some(opened?);
        Ok(())
    }

    fn quarantine(&mut self, error: &str) -> Result<(), StoreError> {
        tracing::warn!(%error, database = %self.path.display(), "the history database is damaged");
        let quarantined = directory::quarantine(&self.path, clock::wall())?;
        let note = format!(
            "the history was damaged ({error}) and is now in {}; it is rebuilt from the transcripts there are",
            quarantined.display()
        );
        self.notes.insert(Note::Quarantined, note);
        Ok(())
    }

    /// What failed is tried again.
    fn try_again(&mut self) {
        match (&self.lifecycle, &mut self.database) {
            (Lifecycle::Opening(_) | Lifecycle::Damaged(_), _) | (_, None) => match self.try_open() {
                Ok(()) => {
                    self.lifecycle.opened_late();
                    self.request_repeats();
                }
                Err(error) => self.lifecycle.fail(attempt(error)),
            },
            (_, Some(database)) => match probe(&database.connection) {
                Ok(()) => {
                    self.lifecycle.recovered();
                    self.request_repeats();
                }
                Err(error) => self.fail(&error),
            },
        }
        self.report();
    }

    fn request_repeats(&self) {
        match self.lifecycle.lagging() {
            Some(LaggingFiles::Only(files)) => self.inbox.request(files.iter().cloned()),
            Some(LaggingFiles::AllExcept(_)) => self.inbox.request_everything(),
            None => {}
        }
    }

    fn fail(&mut self, error: &rusqlite::Error) {
        self.database.as_mut().into_iter().for_each(Database::clear);
        if is_damage(error) {
            return self.replace(&error.to_string());
        }
        self.lifecycle.fail(attempt(error));
        self.report();
    }

    /// The database is damaged: quarantines it, begins another, and asks for everything.
    fn replace(&mut self, error: &str) {
        // Closed before it is moved.
        self.database = None;
        match self.quarantine(error).and_then(|()| self.try_open()) {
            Ok(()) => {
                self.lifecycle.opened_late();
                self.request_repeats();
            }
            Err(error) => self.lifecycle.damage(attempt(error)),
        }
        self.report();
    }

    /// Reading the database failed.
    fn read_failed(&mut self, failure: ReadFailure) {
        match failure {
            ReadFailure::Damage(error) if self.database.is_some() => self.replace(&error),
            // Which files were taken over from it is not known: none may go on where the database ends.
            ReadFailure::Other(error) if self.database.is_some() => {
                self.lifecycle.opened_late();
                self.lifecycle.fail(attempt(error));
                self.report();
            }
            ReadFailure::Damage(_) | ReadFailure::Other(_) => {}
            ReadFailure::Rows { count, example } => {
                let note = format!(
                    "{count} rows of {} could not be understood and are left out ({example}); transcripts that are still \
                     there are read again, and nothing else is to be done",
                    self.path.display()
                );
                tracing::warn!(%note, "rows of the history are left out");
                self.notes.insert(Note::UnreadableRows, note);
                self.report();
            }
        }
    }

    fn repeated(&mut self, file: &Arc<TranscriptFile>, number: u64) {
        let covered = self.covered.remove(file).unwrap_or(0);
        if self.lifecycle.accepts(file) {
            self.inbox.committed([(Arc::clone(file), number.max(covered))]);
        }
    }

    fn report(&mut self) {
        self.reported = Some(Instant::now());
        let (status, mut message) = self.lifecycle.health(&self.path);
        let dropped = self.inbox.dropped_files();
        if dropped > 0 && status == HealthStatus::Healthy {
            message = format!("{message}; {dropped} files came faster than they could be written and are read again");
        }
        let (status, message) = match (status, self.notes.is_empty()) {
            (HealthStatus::Healthy, false) => {
                let notes: Vec<&str> = self.notes.values().map(String::as_str).collect();
                (HealthStatus::Degraded, notes.join("; "))
            }
            _ => (status, message),
        };
        self.health.report(Part::Store, status, message);
    }

    /// Writes a batch; if that fails, its files lag.
    fn commit(&mut self, batch: &[(u64, SourceMessage)]) {
        if batch.is_empty() {
            return;
        }
        let written = match &self.lifecycle {
            Lifecycle::Current | Lifecycle::Lagging(_) => self.write(batch),
            Lifecycle::Opening(_) | Lifecycle::Unavailable(..) | Lifecycle::Damaged(_) => {
                batch.iter().for_each(|(number, message)| self.skip(*number, message));
                return;
            }
        };
        if let Err(error) = written {
            batch.iter().for_each(|(number, message)| self.skip(*number, message));
            self.fail(&error);
        }
    }

    fn skip(&mut self, number: u64, message: &SourceMessage) {
        let Some(file) = file_of(message) else { return };
        self.lifecycle.lose(file);
        let newest = self.skipped.entry(Arc::clone(file)).or_default();
        *newest = number.max(*newest);
    }

    fn write(&mut self, batch: &[(u64, SourceMessage)]) -> rusqlite::Result<()> {
        let Some(Database { connection, caches, sums, unseen }) = &mut self.database else { return Ok(()) };
        let changes = connection.total_changes();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rows = Rows::new(&transaction, caches, unseen.as_mut(), Sums::new(&transaction, sums));
        let (mut repeated, mut committed, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (number, message) in batch {
            let Some(file) = file_of(message) else { continue };
            if !self.lifecycle.accepts(file) && !repeated.contains(&file) {
                // An archived file stays as it is: there is nothing to repeat it from.
                if !inbox::begins_anew(message) {
                    // Something new of a file whose beginning is missing.
                    skipped.push((*number, message));
                    continue;
                }
                repeated.push(file);
            }
            match message {
                SourceMessage::Read { file, records, rejections, state, replaces } => {
                    if *replaces {
                        rows.retract(file)?;
                    }
                    rows.read(file, records, rejections, state)?;
                }
                SourceMessage::Retract { file } => rows.retract(file)?,
                SourceMessage::Archive { file } => rows.archive(file, clock::wall())?,
                _ => {}
            }
            committed.push((Arc::clone(file), *number));
        }
        rows.finish()?;
        transaction.commit()?;
        self.written.transactions += 1;
        self.written.rows += connection.total_changes() - changes;
        for file in repeated {
            self.lifecycle.repeated(file);
            if let Some(newest) = self.skipped.remove(file) {
                self.covered.insert(Arc::clone(file), newest);
            }
        }
        self.inbox.request(skipped.iter().filter_map(|(_, message)| file_of(message)).cloned());
        skipped.into_iter().for_each(|(number, message)| self.skip(number, message));
        self.inbox.committed(committed);
        Ok(())
    }

    /// Whether there is something to do besides what the source sends.
    fn has_work(&self) -> bool {
        let Some(database) = self.database.as_ref().filter(|_| self.lifecycle.attempt().is_none()) else {
            return false;
        };
        database.sums.is_rebuilding()
            || self.retention.as_ref().is_some_and(|retention| retention.is_due(clock::wall()))
    }

    /// Does a slice of it.
    fn work(&mut self) {
        if !self.has_work() {
            return;
        }
        let Some(Database { connection, caches, sums, .. }) = &mut self.database else { return };
        let changes = connection.total_changes();
        let mut slice = || -> rusqlite::Result<()> {
            if sums.is_rebuilding() {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                Sums::new(&transaction, sums).rebuild_slice()?;
                transaction.commit()
            } else if let Some(retention) = &mut self.retention {
                retention.slice(connection, caches, sums, clock::wall())
            } else {
                Ok(())
            }
        };
        match slice() {
            Ok(()) => {
                self.written.transactions += 1;
                self.written.rows += self.database.as_ref().map_or(0, |it| it.connection.total_changes()) - changes;
            }
            Err(error) => {
                // The slice was rolled back; how far the sums go is read again.
                let reopened = self.database.as_mut().map(|database| {
                    database.clear();
                    SumsState::open(&database.connection, Arc::clone(&self.prices)).map(|sums| database.sums = sums)
                });
                if let Some(Err(error)) = reopened {
                    tracing::warn!(%error, "sums cannot be read");
                }
                self.fail(&error);
            }
        }
    }
}

/// Whether as much can be written as a batch may need.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    let probed = connection.execute_batch(
        "BEGIN IMMEDIATE; CREATE TABLE probe (bytes BLOB); INSERT INTO probe VALUES (zeroblob(65536)); ROLLBACK;",
    );
    if probed.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    probed
}

/// The messages to commit together.
fn batch(first: WriterMessage, messages: &Receiver<WriterMessage>, inbox: &Inbox) -> Vec<WriterMessage> {
    let deadline = Instant::now() + BATCH_TIME;
    let mut records = first.weight();
    // Told at once, so that there is room while the batch waits for more.
    inbox.taken(records);
    let mut hurries = matches!(first, WriterMessage::Hurry);
    let mut batch = vec![first];
    while records < BATCH_RECORDS && !hurries {
        let Ok(next) = messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) else { break };
        records += next.weight();
        inbox.taken(next.weight());
        hurries = matches!(next, WriterMessage::Hurry);
        batch.push(next);
    }
    batch
}
