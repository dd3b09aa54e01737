//! What lies between the source's threads and the writer: a bounded queue that never makes a reader wait, and what the
//! writer answers.
//!
//! When the queue is full, the message is dropped and its file *lags*: nothing more of it is accepted until it is
//! repeated from its beginning, which is asked for. Only repetitions wait for room.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::ReadFailure;
use crate::observation::{RepeatRequests, SourceMessage, TranscriptFile};

/// Messages that wait for the writer.
pub(super) const MAX_MESSAGES: usize = 4_096;
/// Records in them: some 250 bytes each.
const MAX_RECORDS: usize = 50_000;
/// How often a repetition looks for room.
const ROOM: Duration = Duration::from_millis(2);

/// What the writer is sent.
#[derive(Clone, Debug)]
pub(super) enum WriterMessage {
    /// The source's message.
    Source {
        /// Its number; 0 of a repetition.
        number: u64,
        /// The message.
        message: SourceMessage,
    },
    /// A file has been repeated, with all messages up to a number.
    Repeated {
        /// The file.
        file: Arc<TranscriptFile>,
        /// The number; 0 if none was dropped on the way.
        number: u64,
    },
    /// All files there are have been repeated.
    EverythingRepeated,
    /// The source has read everything that was there at the start.
    HistoryRead,
    /// What was sent before is to be committed without waiting for more.
    Hurry,
    /// The database could not be read, or not all of it.
    ReadFailed(ReadFailure),
}

impl WriterMessage {
    /// Records in it, and one for itself.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Source { message: SourceMessage::Read { records, .. }, .. } => 1 + records.len(),
            _ => 1,
        }
    }
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Weight of the messages in the queue.
    weight: AtomicUsize,
    /// Whether the writer has ended by itself. Its messages were not taken, so their weight says nothing then.
    is_closed: AtomicBool,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What the source is asked to repeat.
    wanted: RepeatRequests,
    /// Files of which a message was dropped, with the newest one's number.
    dropped: BTreeMap<Arc<TranscriptFile>, u64>,
    /// Files that are being repeated since, with the newest number that this includes.
    repeating: BTreeMap<Arc<TranscriptFile>, u64>,
    /// The newest committed message of each file, as far as not asked for yet.
    committed: HashMap<Arc<TranscriptFile>, u64>,
    /// Messages about what has been sent, in order, for which there was no room. They must not be lost: they go before
    /// anything else. At most one for each file that is repeated, and two more.
    marks: VecDeque<WriterMessage>,
}

/// Whether a message was queued.
enum Pushed {
    Yes,
    Full,
    /// The writer has ended.
    Closed,
}

impl Inbox {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, queue: &SyncSender<WriterMessage>, message: WriterMessage) -> Pushed {
        if self.is_closed.load(Ordering::Relaxed) {
            return Pushed::Closed;
        }
        let weight = message.weight();
        let before = self.weight.fetch_add(weight, Ordering::Relaxed);
        // One message is always let in, however many records it has.
        let sent =
            if before > 0 && before + weight > MAX_RECORDS { Err(None) } else { queue.try_send(message).map_err(Some) };
        match sent {
            Ok(()) => Pushed::Yes,
            Err(failure) => {
                self.weight.fetch_sub(weight, Ordering::Relaxed);
                if let Some(TrySendError::Disconnected(_)) = failure { Pushed::Closed } else { Pushed::Full }
            }
        }
    }

    /// The writer took messages of this weight.
    pub(super) fn taken(&self, weight: usize) {
        self.weight.fetch_sub(weight, Ordering::Relaxed);
    }

    /// Queues a message about a file, or drops it if there is no room. Messages of a repetition have number 0.
    pub(super) fn offer(&self, queue: &SyncSender<WriterMessage>, number: u64, message: SourceMessage) {
        let (SourceMessage::Read { file, .. } | SourceMessage::Retract { file } | SourceMessage::Archive { file }) =
            &message
        else {
            return;
        };
        let file = &Arc::clone(file);
        // Held while pushing, so that messages of a file are dropped from one on, not between others.
        let mut shared = self.shared();
        let begins_anew = begins_anew(&message);
        let lags = shared.dropped.contains_key(file) && !begins_anew;
        let queued = !lags
            && self.push_marks(queue, &mut shared)
            && !matches!(self.push(queue, WriterMessage::Source { number, message }), Pushed::Full);
        if queued {
            // What was dropped before no longer counts; a repetition includes it.
            if let Some(newest) = shared.dropped.remove(file).filter(|_| number == 0) {
                shared.repeating.insert(Arc::clone(file), newest);
            }
        } else {
            let newest = shared.repeating.remove(file).unwrap_or(0).max(number);
            let before = shared.dropped.get(file).copied();
            if shared.dropped.insert(Arc::clone(file), newest.max(before.unwrap_or(0))).is_none() {
                tracing::debug!(file = %file.name, "came faster than it can be written; it will be read again");
            }
            shared.wanted.files.insert(Arc::clone(file));
        }
    }

    /// A repetition has come to its end; it included all messages up to `number`.
    pub(super) fn repeated(&self, queue: &SyncSender<WriterMessage>, file: Arc<TranscriptFile>, number: u64) {
        let number = self.shared().repeating.remove(&file).unwrap_or(0).max(number);
        self.offer_mark(queue, WriterMessage::Repeated { file, number });
    }

    /// Queues a message about what was sent before. If there is no room, it goes before whatever is sent next.
    pub(super) fn offer_mark(&self, queue: &SyncSender<WriterMessage>, mark: WriterMessage) {
        let mut shared = self.shared();
        shared.marks.push_back(mark);
        self.push_marks(queue, &mut shared);
    }

    /// Whether no mark is left.
    fn push_marks(&self, queue: &SyncSender<WriterMessage>, shared: &mut Shared) -> bool {
        while let Some(mark) = shared.marks.front() {
            if matches!(self.push(queue, mark.clone()), Pushed::Full) {
                return false;
            }
            shared.marks.pop_front();
        }
        true
    }

    /// Queues a message as soon as there is room. Once the writer has ended, nothing is kept any more.
    pub(super) fn wait(&self, queue: &SyncSender<WriterMessage>, message: impl Fn() -> WriterMessage) {
        while let Pushed::Full = self.push(queue, message()) {
            thread::sleep(ROOM);
        }
    }

    /// Asks for a commit at once, if there is room for the question; if not, there is one soon anyway.
    pub(super) fn hurry(&self, queue: &SyncSender<WriterMessage>) {
        let _ = self.push(queue, WriterMessage::Hurry);
    }

    /// Whether there is so little room that what can wait should.
    pub(super) fn is_busy(&self) -> bool {
        self.weight.load(Ordering::Relaxed) > MAX_RECORDS / 2 && !self.is_closed.load(Ordering::Relaxed)
    }

    /// The writer has ended by itself: nothing waits for it any more.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Asks for files to be repeated.
    pub(super) fn request(&self, files: impl IntoIterator<Item = Arc<TranscriptFile>>) {
        self.shared().wanted.files.extend(files);
    }

    /// Asks for all files to be repeated.
    pub(super) fn request_everything(&self) {
        self.shared().wanted.everything = true;
    }

    /// What is to be repeated, from now on the caller's business.
    pub(super) fn take_wanted(&self) -> RepeatRequests {
        std::mem::take(&mut self.shared().wanted)
    }

    /// Messages have been committed. Repetitions have number 0 and tell nothing.
    pub(super) fn committed(&self, messages: impl IntoIterator<Item = (Arc<TranscriptFile>, u64)>) {
        let mut shared = self.shared();
        for (file, number) in messages.into_iter().filter(|(_, number)| *number > 0) {
            let newest = shared.committed.entry(file).or_default();
            *newest = number.max(*newest);
        }
    }

    /// The newest committed message of each file with something newly committed.
    pub(super) fn take_committed(&self, queue: &SyncSender<WriterMessage>) -> HashMap<Arc<TranscriptFile>, u64> {
        let mut shared = self.shared();
        self.push_marks(queue, &mut shared);
        std::mem::take(&mut shared.committed)
    }

    /// How many files had a message dropped and are not yet being repeated.
    pub(super) fn dropped_files(&self) -> usize {
        self.shared().dropped.len()
    }
}

/// Whether nothing that was said of the file before matters any more.
pub(super) fn begins_anew(message: &SourceMessage) -> bool {
    matches!(
        message,
        SourceMessage::Read { replaces: true, .. } | SourceMessage::Retract { .. } | SourceMessage::Archive { .. }
    )
}
