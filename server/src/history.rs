//! Where reports get their figures from: the engine's ledger, as it was at one moment.
//!
//! The engine alone owns the ledger. Who wants a report asks it for a [`History`], which it makes at most once
//! between two changes, and then works on that without holding the engine up. The queue of questions is bounded;
//! beyond, the next one waits for room.

use std::sync::Arc;

use dashboard_core::history::History;
use tokio::sync::{mpsc, oneshot};

use crate::hub::Stopped;

/// Questions that wait for the engine.
const QUEUE: usize = 16;

/// A report waits here for the engine's answer.
pub type HistoryRequest = oneshot::Sender<Arc<History>>;

/// Asks the engine for its history. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Archive(mpsc::Sender<HistoryRequest>);

impl Archive {
    /// The asking side, and the questions which the engine is to answer.
    pub fn new() -> (Self, mpsc::Receiver<HistoryRequest>) {
        let (requests, questions) = mpsc::channel(QUEUE);
        (Self(requests), questions)
    }

    /// Everything that is known at this moment. Waits until history has been read.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn history(&self) -> Result<Arc<History>, Stopped> {
        let (answer, history) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| Stopped)?;
        history.await.map_err(|_| Stopped)
    }
}
