//! How much is read of files before other work gets its turn.

use std::thread;
use std::time::{Duration, Instant};

use super::wakeup::Wakeup;
use crate::observation::RecordSink;

/// How often a reader of history asks again whether its sink takes more.
const BUSY_PAUSE: Duration = Duration::from_micros(200);

/// Asked after each chunk of a file. When it is spent, reading pauses, and goes on from there when its turn comes again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget<'a> {
    /// When it is spent at the latest; never, if none.
    until: Option<Instant>,
    /// For history, which can wait: spent as soon as something changes, and not used while the sink is busy.
    yields_to: Option<&'a Wakeup>,
    /// Spent after the first chunk.
    one_chunk: bool,
}

impl<'a> Budget<'a> {
    /// Never spent.
    pub(super) fn unlimited() -> Self {
        Self { until: None, yields_to: None, one_chunk: false }
    }

    /// For what has just changed.
    pub(super) fn live(span: Duration) -> Self {
        Self { until: Some(Instant::now() + span), yields_to: None, one_chunk: false }
    }

    /// For history: a slice of at most this span, less if something changes.
    pub(super) fn slice(span: Duration, wakeup: &'a Wakeup) -> Self {
        Self { until: Some(Instant::now() + span), yields_to: Some(wakeup), one_chunk: false }
    }

    /// The same, for one chunk of each file.
    pub(super) fn of_one_chunk(self) -> Self {
        Self { one_chunk: true, ..self }
    }

    /// Whether reading is to pause after a chunk.
    pub(super) fn is_spent_by_chunk(&self, sink: &dyn RecordSink) -> bool {
        self.one_chunk || self.is_spent(sink)
    }

    /// Whether no file is to be begun. Waits while the sink is busy.
    pub(super) fn is_spent(&self, sink: &dyn RecordSink) -> bool {
        loop {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return true;
            }
            let Some(wakeup) = self.yields_to else { return false };
            if wakeup.has_changes() {
                return true;
            }
            if !sink.is_busy() {
                return false;
            }
            thread::sleep(BUSY_PAUSE);
        }
    }
}
