//! Files read once more from the beginning, for the store alone, which missed something of them.
//!
//! One file at a time, in slices. What the file's own tail reads meanwhile is kept from the store: the repeat reads it
//! too, and the store would otherwise take a file for complete of which the middle is missing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::Budget;
use super::reader::{Follower, PollError, Polling};
use crate::observation::{HistoryStore, RecordSink, SinkClosed, SourceMessage, TranscriptFile};

/// The store, fed with what is read and with what is repeated.
pub(super) struct StoreFeed {
    store: Box<dyn HistoryStore>,
    /// The file being repeated.
    repeated: Mutex<Option<Arc<TranscriptFile>>>,
}

impl StoreFeed {
    pub(super) fn new(store: Box<dyn HistoryStore>) -> Self {
        Self { store, repeated: Mutex::default() }
    }

    pub(super) fn store(&self) -> &dyn HistoryStore {
        &*self.store
    }

    fn repeated(&self) -> MutexGuard<'_, Option<Arc<TranscriptFile>>> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what has been read of the files as they change.
    pub(super) fn feed(&self, message: &SourceMessage) -> Result<(), SinkClosed> {
        match message {
            SourceMessage::Read { file, .. } if self.repeated().as_ref() == Some(file) => Ok(()),
            SourceMessage::Read { .. } => self.store.send(message.clone()),
            SourceMessage::Retract { file } | SourceMessage::Archive { file } => {
                self.repeated().take_if(|repeated| repeated == file);
                self.store.send(message.clone())
            }
            _ => Ok(()),
        }
    }
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Repeats {
    queue: VecDeque<Arc<TranscriptFile>>,
    /// Whether the queue holds all files there are.
    everything: bool,
    tail: Option<Follower>,
    buffer: Vec<u8>,
}

impl Repeats {
    /// Adds files, unless they wait already.
    pub(super) fn add(&mut self, files: impl IntoIterator<Item = Arc<TranscriptFile>>) {
        for file in files {
            if !self.queue.contains(&file) {
                self.queue.push_back(file);
            }
        }
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
        let sink: &dyn RecordSink = feed.store();
        while !budget.is_spent(sink) {
            // Archived meanwhile, the file is not repeated any more.
            let is_wanted = |tail: &Follower| feed.repeated().as_ref() == Some(&tail.found);
            let mut tail = match self.tail.take().filter(is_wanted) {
                Some(tail) => tail,
                None => {
                    let Some(file) = self.queue.pop_front() else { break };
                    *feed.repeated() = Some(Arc::clone(&file));
                    Follower::new(file, true, sink.wants_activity())
                }
            };
            match tail.poll(sink, &mut self.buffer, budget) {
                Ok(Polling::Paused) => {
                    self.tail = Some(tail);
                    return Ok(());
                }
                Err(PollError::SinkClosed) => return Err(SinkClosed),
                // What cannot be read is named where the file's own tail is polled.
                Ok(Polling::Complete | Polling::Gone)
                | Err(PollError::Unreadable(_) | PollError::Stale | PollError::Panicked) => {
                    *feed.repeated() = None;
                    feed.store().repeated(&tail.found);
                }
            }
        }
        if self.is_empty() && std::mem::take(&mut self.everything) {
            feed.store().everything_repeated();
        }
        Ok(())
    }
}
