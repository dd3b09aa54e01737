//! Files read once more from the beginning, for the store alone, which missed something of them: because it could not be
//! written, or came too slowly, or because a history is read for the first time and the figures come first.
//!
//! One file at a time, in slices, on the way on which everything goes to the store: through the engine's queue. What the
//! file's own tail reads meanwhile is kept from the store: the repetition reads it too, and the store would otherwise
//! take a file for complete of which the middle is missing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::Budget;
use super::engine::Engine;
use super::reader::{Follower, PollError, Polling};
use crate::observation::{HistoryStore, Recipient, RecordSink, SinkClosed, SourceMessage, TranscriptFile};

/// The way of repetitions to the store, and what goes there otherwise.
pub(super) struct StoreFeed {
    store: Box<dyn HistoryStore>,
    engine: Engine,
    /// The file being repeated.
    repeated: Mutex<Option<Repeated>>,
    deferred: Mutex<Deferred>,
}

/// What is kept from the store while a history is read for the first time: the figures come first. Bounded by the files
/// there are.
#[derive(Debug, Default)]
struct Deferred {
    /// Whether everything that is read is deferred.
    everything: bool,
    /// The files concerned, each with its newest message.
    files: HashMap<Arc<TranscriptFile>, u64>,
}

/// A file that is being repeated.
struct Repeated {
    file: Arc<TranscriptFile>,
    /// The newest message about it that was kept from the store meanwhile; 0 if there was none.
    newest: u64,
}

impl StoreFeed {
    pub(super) fn new(store: Box<dyn HistoryStore>, engine: Engine) -> Self {
        Self { store, engine, repeated: Mutex::default(), deferred: Mutex::default() }
    }

    fn deferred(&self) -> MutexGuard<'_, Deferred> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the store gets nothing: it is empty, and what it is to hold is read once more for it.
    pub(super) fn defer(&self) {
        self.deferred().everything = true;
    }

    /// The store gets again what changes, but for the files that it missed. Which these are: they have to be repeated.
    pub(super) fn end_deferring(&self) -> Vec<Arc<TranscriptFile>> {
        let mut deferred = self.deferred();
        deferred.everything = false;
        deferred.files.keys().cloned().collect()
    }

    pub(super) fn store(&self) -> &dyn HistoryStore {
        &*self.store
    }

    fn repeated(&self) -> MutexGuard<'_, Option<Repeated>> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_repeated(&self, file: &Arc<TranscriptFile>) -> bool {
        self.repeated().as_ref().is_some_and(|repeated| repeated.file == *file)
    }

    /// Who is to take what has been read of a file as it changed.
    pub(super) fn recipient(&self, number: u64, message: &SourceMessage) -> Recipient {
        match message {
            SourceMessage::Read { file, .. } => {
                if let Some(repeated) = self.repeated().as_mut().filter(|it| it.file == *file) {
                    repeated.newest = number;
                    return Recipient::Engine;
                }
                let mut deferred = self.deferred();
                if !deferred.everything && !deferred.files.contains_key(file) {
                    return Recipient::Both;
                }
                deferred.files.insert(Arc::clone(file), number);
                Recipient::Engine
            }
            SourceMessage::Retract { file } | SourceMessage::Archive { file } => {
                self.repeated().take_if(|repeated| repeated.file == *file);
                self.deferred().files.remove(file);
                Recipient::Both
            }
            _ => Recipient::Both,
        }
    }

    /// Sends something to the store alone.
    pub(super) fn keep(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        self.engine.send(0, Recipient::Store, message)
    }
}

/// Takes what is repeated.
impl RecordSink for StoreFeed {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        self.keep(message)
    }

    fn is_busy(&self) -> bool {
        self.store.is_busy() || self.engine.is_busy()
    }

    fn wants_activity(&self) -> bool {
        true
    }
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Repeats {
    queue: VecDeque<Arc<TranscriptFile>>,
    /// The files in the queue.
    queued: HashSet<Arc<TranscriptFile>>,
    /// Whether these are the files of a history that was read for the first time.
    is_first: bool,
    /// Whether the queue holds all files there are.
    everything: bool,
    tail: Option<Follower>,
    buffer: Vec<u8>,
}

impl Repeats {
    /// Adds files, unless they wait already.
    pub(super) fn add(&mut self, files: impl IntoIterator<Item = Arc<TranscriptFile>>) {
        for file in files {
            if self.queued.insert(Arc::clone(&file)) {
                self.queue.push_back(file);
            }
        }
    }

    /// Adds the files that were kept from the store while a history was read for the first time. When they have been
    /// repeated, the store is told that this is over.
    pub(super) fn add_first(&mut self, files: Vec<Arc<TranscriptFile>>, feed: &StoreFeed) -> Result<(), SinkClosed> {
        if files.is_empty() {
            return feed.keep(SourceMessage::HistoryRead);
        }
        self.is_first = true;
        self.add(files);
        Ok(())
    }

    /// Adds all files there are.
    pub(super) fn add_everything(&mut self, files: impl IntoIterator<Item = Arc<TranscriptFile>>) {
        self.everything = true;
        self.add(files);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.tail.is_none()
    }

    /// Repeats files until the budget is spent.
    pub(super) fn read_slice(&mut self, feed: &StoreFeed, budget: &Budget<'_>) -> Result<(), SinkClosed> {
        while !budget.is_spent(feed) {
            // Archived meanwhile, the file is not repeated any more.
            let mut tail = match self.tail.take().filter(|tail| feed.is_repeated(&tail.found)) {
                Some(tail) => tail,
                None => {
                    let Some(file) = self.queue.pop_front() else { break };
                    self.queued.remove(&file);
                    let newest = feed.deferred().files.remove(&file).unwrap_or(0);
                    *feed.repeated() = Some(Repeated { file: Arc::clone(&file), newest });
                    Follower::new(file, true, true)
                }
            };
            match tail.poll(feed, &mut self.buffer, budget) {
                Ok(Polling::Paused) => {
                    self.tail = Some(tail);
                    return Ok(());
                }
                Err(PollError::SinkClosed) => return Err(SinkClosed),
                // What cannot be read is named where the file's own tail is polled.
                Ok(Polling::Complete | Polling::Gone)
                | Err(PollError::Unreadable(_) | PollError::Stale | PollError::Panicked) => {
                    let newest = feed.repeated().take().map_or(0, |repeated| repeated.newest);
                    feed.keep(SourceMessage::Repeated { file: Arc::clone(&tail.found), newest })?;
                }
            }
        }
        if self.is_empty() && std::mem::take(&mut self.is_first) {
            feed.keep(SourceMessage::HistoryRead)?;
        }
        if self.is_empty() && std::mem::take(&mut self.everything) {
            feed.keep(SourceMessage::EverythingRepeated)?;
        }
        Ok(())
    }
}
