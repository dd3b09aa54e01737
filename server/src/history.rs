//! Where reports get their figures from.
//!
//! The engine alone knows what has been read. Who wants a report asks it: as long as it holds everything, it answers with
//! a copy of that moment, made at most once between two changes; else it says when the store has everything that was
//! known when it was asked, and the report is made from there, without the engine. The queue of questions is bounded;
//! beyond, the next one waits for room.

use std::path::Path;
use std::sync::Arc;

use dashboard_core::history::{History, Ingest, Sessions};
use dashboard_core::price::PriceTable;
use dashboard_core::report::UsageRow;
use dashboard_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::hub::Stopped;
use crate::observation::Root;
use crate::store::{HistoryReader, ReadError, StoredUsage};

/// Questions that wait for the engine.
const QUEUE: usize = 16;

/// Where everything is that was known when somebody asked.
#[derive(Clone, Debug)]
pub enum HistoryAnswer {
    /// In memory.
    Held(Arc<History>),
    /// In the store.
    Stored {
        /// Files of which something is missing there, because the store cannot be written.
        unwritten_files: usize,
    },
}

impl HistoryAnswer {
    /// Files of which something is missing, because the store cannot be written.
    pub fn unwritten_files(&self) -> usize {
        match self {
            Self::Held(_) => 0,
            Self::Stored { unwritten_files } => *unwritten_files,
        }
    }
}

/// Everything that reports are made of.
#[derive(Debug)]
pub enum Everything {
    /// As the engine held it.
    Held(Arc<History>),
    /// As the store has it.
    Stored(Box<Stored>),
}

/// Everything that reports are made of, as the store has it.
#[derive(Debug)]
pub struct Stored {
    usage: StoredUsage,
    sessions: Sessions,
    ingest: Ingest,
}

impl Everything {
    /// Fetches it; from the store, this blocks, and costs as much as there are sums.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn fetch(
        answer: HistoryAnswer,
        database: Option<&Path>,
        roots: &[Root],
        prices: &PriceTable,
        now: Timestamp,
    ) -> Result<Self, ReadError> {
        match (answer, database) {
            (HistoryAnswer::Held(history), _) => Ok(Self::Held(history)),
            (HistoryAnswer::Stored { .. }, Some(database)) => {
                let (usage, sessions, ingest) = HistoryReader::open(database, roots)?.everything(prices, now)?;
                Ok(Self::Stored(Box::new(Stored { usage, sessions, ingest })))
            }
            (HistoryAnswer::Stored { .. }, None) => Ok(Self::Held(Arc::default())),
        }
    }

    /// What was used.
    pub fn rows<'a>(&'a self, prices: &'a PriceTable) -> impl Iterator<Item = UsageRow<'a>> {
        let (held, stored) = match self {
            Self::Held(history) => (Some(history.responses().map(|response| UsageRow::of(&response, prices))), None),
            Self::Stored(stored) => (None, Some(stored.usage.rows())),
        };
        held.into_iter().flatten().chain(stored.into_iter().flatten())
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        match self {
            Self::Held(history) => &history.sessions,
            Self::Stored(stored) => &stored.sessions,
        }
    }

    /// The reading.
    pub fn ingest(&self) -> &Ingest {
        match self {
            Self::Held(history) => &history.ingest,
            Self::Stored(stored) => &stored.ingest,
        }
    }
}

/// A report waits here for the engine's answer.
pub type HistoryRequest = oneshot::Sender<HistoryAnswer>;

/// Asks the engine for its history. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Archive(mpsc::Sender<HistoryRequest>);

impl Archive {
    /// The asking side, and the questions which the engine is to answer.
    pub fn new() -> (Self, mpsc::Receiver<HistoryRequest>) {
        let (requests, questions) = mpsc::channel(QUEUE);
        (Self(requests), questions)
    }

    /// Where everything is that is known at this moment. Waits until the present is known.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn history(&self) -> Result<HistoryAnswer, Stopped> {
        let (answer, history) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| Stopped)?;
        history.await.map_err(|_| Stopped)
    }
}
