//! The way from the source's threads to the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::repeats::StoreFeed;
use crate::observation::{NumberedMessage, Recipient, RecordSink, SinkClosed, SourceMessage};

/// Messages waiting for the engine beyond which history is not added to them.
const BUSY: usize = 6;

/// The engine's queue. Clones share the numbers.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    messages: mpsc::Sender<NumberedMessage>,
    /// The number of the newest message.
    newest: Arc<AtomicU64>,
}

impl Engine {
    pub(super) fn new(messages: mpsc::Sender<NumberedMessage>) -> Self {
        Self { messages, newest: Arc::default() }
    }

    /// The next number. Only the order of the messages about one file counts, and one thread at a time sends these.
    pub(super) fn number(&self) -> u64 {
        self.newest.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends a message; waits while the queue is full.
    pub(super) fn send(&self, number: u64, to: Recipient, message: SourceMessage) -> Result<(), SinkClosed> {
        self.messages.blocking_send(NumberedMessage { number, to, message }).map_err(|_| SinkClosed)
    }

    /// Whether history should wait.
    pub(super) fn is_busy(&self) -> bool {
        let queue = &self.messages;
        queue.max_capacity() - queue.capacity() > BUSY.min(queue.max_capacity() / 2)
    }
}

/// Takes what is read of files as they change: for the engine, and for the store behind it, if there is one.
pub(super) struct Recipients {
    pub(super) engine: Engine,
    pub(super) store: Option<Arc<StoreFeed>>,
}

impl RecordSink for Recipients {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        let number = self.engine.number();
        let to = self.store.as_ref().map_or(Recipient::Engine, |store| store.recipient(number, &message));
        self.engine.send(number, to, message)
    }

    fn is_busy(&self) -> bool {
        self.engine.is_busy()
    }

    fn wants_activity(&self) -> bool {
        self.store.is_some()
    }
}
