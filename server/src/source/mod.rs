//! Where records come from: the directories of assistants on this machine.
//!
//! Everything in here reads and nothing writes. What the records mean is decided elsewhere.
//!
//! Reading files blocks, so it has a thread of its own: woken by the watcher, it reads what is new and hands it to the
//! engine and to the store through bounded queues. While one is full the thread waits, and changes gather in a mailbox
//! that cannot grow. What a former process read is recalled from the store, and only the rest is read from the files:
//! the newest first, in slices of some milliseconds, between which the thread attends to what has changed. Twice as many
//! ways lead to a change as are needed: besides the watcher, files that changed lately are polled every two seconds, and
//! everything every half minute.

mod backlog;
mod budget;
mod database;
mod document;
mod engine;
mod environment;
pub mod files;
mod presence;
mod reader;
mod relayed;
mod repeats;
pub mod retention;
pub mod roots;
mod status;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
pub(crate) mod transcripts;
mod usage_files;
mod wakeup;
mod watches;
#[cfg(all(test, target_os = "linux"))]
mod work;

pub use presence::running;

use crate::observation::{HistoryStore, NumberedMessage, Recipient, RepeatRequests, Root, SinkClosed, SourceMessage};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use notify::RecursiveMode;
use tokio::sync::{mpsc, oneshot};

use self::budget::Budget;
use self::engine::{Engine, Recipients};
use self::presence::Running;
use self::relayed::Relayed;
use self::repeats::{Repeats, StoreFeed};
use self::status::Status;
use self::transcripts::Transcripts;
use self::usage_files::UsageFiles;
use self::wakeup::{Changes, Wakeup};
use self::watches::{Watches, Watching};
use crate::clock;
use crate::health::DashboardHealth;

/// How often files that changed lately are polled, and directories that are not there yet.
const POLL: Duration = Duration::from_secs(2);
/// How often everything is looked through, in polls: a safety net while the system notifies of changes.
const POLLS_PER_RESCAN: u32 = 15;
/// The same where it does not notify.
const POLLS_PER_RESCAN_UNNOTIFIED: u32 = 5;
/// Longest time for which history is read before anything else gets its turn; a change ends it at once.
const SLICE: Duration = Duration::from_millis(25);
/// Longest time for which what has just changed is read; the rest comes first in the slices that follow.
const LIVE: Duration = Duration::from_millis(20);
/// Files modified this recently decide the present figures: today in any time zone, and the five-hour blocks of today.
const CURRENT: Duration = Duration::from_hours(48);
/// How often the progress of the first read is reported.
const PROGRESS: Duration = Duration::from_millis(250);

/// Reads the transcripts below the roots and which sessions run: first what is there, then what changes. Ends when the
/// receiver is dropped; dropped itself, it stops reading. With a store, begins with what that holds and keeps it fed; what
/// relays leave in its directory is taken.
///
/// # Errors
/// If the reading thread cannot be started, or panics.
pub async fn run(
    roots: Vec<Root>,
    messages: mpsc::Sender<NumberedMessage>,
    store: Option<Box<dyn HistoryStore>>,
    data_dir: Option<PathBuf>,
    health: DashboardHealth,
) -> Result<(), String> {
    let wakeup = Arc::new(Wakeup::default());
    let stop = StopOnDrop(wakeup.clone());
    let (ended, end) = oneshot::channel();
    let read = move || {
        Source::new(roots, messages, store, data_dir, health, wakeup).run();
        // Nobody waits for it if it is to stop.
        let _ = ended.send(());
    };
    thread::Builder::new().name("source".to_owned()).spawn(read).map_err(|error| error.to_string())?;
    let end = end.await;
    drop(stop);
    end.map_err(|_| "the thread that reads transcripts panicked".to_owned())
}

struct StopOnDrop(Arc<Wakeup>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// How far the first read has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What the present figures depend on is being read.
    Current,
    /// The rest is.
    History,
    /// Everything has been read that was there at the start.
    Done,
}

/// What the reading thread owns.
struct Source {
    roots: Vec<Root>,
    engine: Engine,
    store: Option<Arc<StoreFeed>>,
    wakeup: Arc<Wakeup>,
    watches: Watches,
    transcripts: Transcripts,
    repeats: Repeats,
    running: Running,
    usage_files: UsageFiles,
    relayed: Option<Relayed>,
    status: Status,
    stage: Stage,
    /// Files modified since then decide the present figures.
    current_since: SystemTime,
    next_progress: Instant,
    next_poll: Instant,
    /// Polls since everything was last looked through.
    polls: u32,
}

impl Source {
    fn new(
        roots: Vec<Root>,
        messages: mpsc::Sender<NumberedMessage>,
        store: Option<Box<dyn HistoryStore>>,
        data_dir: Option<PathBuf>,
        health: DashboardHealth,
        wakeup: Arc<Wakeup>,
    ) -> Self {
        let engine = Engine::new(messages);
        let store = store.map(|store| Arc::new(StoreFeed::new(store, engine.clone())));
        let sink = Recipients { engine: engine.clone(), store: store.clone() };
        Self {
            watches: Watches::new(wakeup.clone()),
            transcripts: Transcripts::new(&roots, Box::new(sink)),
            repeats: Repeats::default(),
            running: Running::default(),
            usage_files: UsageFiles::of_process(),
            relayed: data_dir.map(|dir| Relayed::new(&dir)),
            status: Status::new(health),
            stage: Stage::Current,
            current_since: SystemTime::now().checked_sub(CURRENT).unwrap_or(SystemTime::UNIX_EPOCH),
            next_progress: Instant::now(),
            next_poll: Instant::now() + POLL,
            polls: 0,
            roots,
            engine,
            store,
            wakeup,
        }
    }

    fn run(mut self) {
        // There is nobody left to read for, or nobody wants to know: either way it is over.
        let (Ok(()) | Err(SinkClosed)) = self.read();
    }

    fn read(&mut self) -> Result<(), SinkClosed> {
        self.status.reading(None);
        // Watched before looked at, so that nothing falls between.
        self.watch();
        self.recall()?;
        self.transcripts.discover()?;
        self.transcripts.mark_current(self.current_since);
        self.poll_presence()?;
        self.poll_limits()?;
        loop {
            self.report_stage()?;
            let is_reading = self.transcripts.has_backlog() || !self.repeats.is_empty();
            let changes = if is_reading { self.wakeup.take() } else { self.wakeup.wait(self.next_poll) };
            if changes.stop {
                return Ok(());
            }
            self.follow(changes)?;
            self.read_slice()?;
        }
    }

    /// Attends to what has changed, and to what is due.
    fn follow(&mut self, Changes { paths, everything, .. }: Changes) -> Result<(), SinkClosed> {
        let is_presence =
            |path: &PathBuf| self.roots.iter().filter_map(Root::presence_dir).any(|dir| path.starts_with(dir));
        let presence_changed = paths.iter().any(is_presence);
        if !paths.is_empty() {
            self.transcripts.poll_paths(paths, &Budget::live(LIVE))?;
        }
        let mut rescan = everything;
        let is_due = Instant::now() >= self.next_poll;
        if is_due {
            self.next_poll = Instant::now() + POLL;
            self.polls += 1;
            rescan |= self.watch();
            // What cannot be read may be readable again without notice.
            let is_notified = self.watches.refusal().is_none() && self.transcripts.unreadable().is_empty();
            rescan |= self.polls >= if is_notified { POLLS_PER_RESCAN } else { POLLS_PER_RESCAN_UNNOTIFIED };
        }
        if rescan {
            self.polls = 0;
            self.transcripts.discover()?;
        } else if is_due {
            self.transcripts.poll_active(&Budget::live(LIVE))?;
        }
        if is_due || everything || presence_changed {
            self.poll_presence()?;
        }
        if is_due {
            self.poll_limits()?;
            self.take_repeats();
        }
        Ok(())
    }

    /// Reads some of the backlog or, if there is none, repeats some of what the store missed.
    fn read_slice(&mut self) -> Result<(), SinkClosed> {
        let wakeup = Arc::clone(&self.wakeup);
        let budget = Budget::slice(SLICE, &wakeup);
        if self.transcripts.has_backlog() {
            return self.transcripts.read_slice(&budget);
        }
        match &self.store {
            Some(feed) if !self.repeats.is_empty() => self.repeats.read_slice(feed, &budget),
            _ => Ok(()),
        }
    }

    /// Reports how far the first read has come, and how reading goes.
    fn report_stage(&mut self) -> Result<(), SinkClosed> {
        if self.stage == Stage::Current
            && self.transcripts.is_current()
            && !self.transcripts.promote_dependencies(self.current_since)
        {
            self.stage = Stage::History;
            self.send(SourceMessage::Current { is_complete: !self.transcripts.has_backlog() })?;
        }
        if self.stage == Stage::History && !self.transcripts.has_backlog() {
            self.stage = Stage::Done;
            self.send(SourceMessage::Progress(self.transcripts.progress()))?;
            self.engine.send(self.engine.number(), Recipient::Engine, SourceMessage::HistoryRead)?;
            if let Some(store) = &self.store {
                self.repeats.add_first(store.end_deferring(), store)?;
            }
        }
        if self.stage == Stage::Done {
            let failure = self.status.report(&self.roots, &self.transcripts, self.watches.refusal());
            return failure.map_or(Ok(()), |failure| self.send(SourceMessage::Failure(failure)));
        }
        if Instant::now() >= self.next_progress {
            self.next_progress = Instant::now() + PROGRESS;
            let progress = self.transcripts.progress();
            self.status.reading(Some(progress));
            self.send(SourceMessage::Progress(progress))?;
        }
        Ok(())
    }

    /// Hands the engine what the present depends on of what the store holds, and goes on reading from there.
    fn recall(&mut self) -> Result<(), SinkClosed> {
        let Some(store) = &self.store else { return Ok(()) };
        let recalled = store.store().recall(&self.roots, clock::wall());
        self.transcripts.resume_all(&recalled);
        if recalled.files.is_empty() {
            store.defer();
        }
        self.send(SourceMessage::Recalled(Box::new(recalled)))
    }

    /// Notes what the store asks to have repeated.
    fn take_repeats(&mut self) {
        let Some(store) = &self.store else { return };
        let RepeatRequests { files, everything } = store.store().take_repeats();
        self.repeats.add(files);
        if everything {
            self.repeats.add_everything(self.transcripts.files());
        }
    }

    /// Sees to it that everything is watched; whether a directory newly is.
    fn watch(&mut self) -> bool {
        for root in &mut self.roots {
            root.resolve();
        }
        self.transcripts.set_roots(&self.roots);
        self.status.note(&self.roots);
        let mode = |depth| if depth == Some(1) { RecursiveMode::NonRecursive } else { RecursiveMode::Recursive };
        let transcripts = self.transcripts.dirs().iter().map(|dir| (dir.real.clone(), mode(dir.depth)));
        let presence = self.roots.iter().filter_map(Root::presence_dir).map(|dir| (dir, RecursiveMode::NonRecursive));
        let wanted: Vec<_> = transcripts.chain(presence).collect();
        let now = Instant::now();
        self.watches.begin_round(now);
        let ensure =
            |begun, (dir, mode): (PathBuf, _)| self.watches.ensure(&dir, mode, now) == Watching::Begun || begun;
        wanted.into_iter().fold(false, ensure)
    }

    fn poll_presence(&mut self) -> Result<(), SinkClosed> {
        let (changed, unreadable) = self.running.poll(&self.roots);
        self.status.presence(self.running.count(), unreadable.first());
        changed.map_or(Ok(()), |running| self.send(SourceMessage::Presence(running)))
    }

    /// What is said of limits elsewhere than in transcripts.
    fn poll_limits(&mut self) -> Result<(), SinkClosed> {
        let statements = self.usage_files.poll(&self.roots).into_iter().map(SourceMessage::Statement);
        let relayed = self.relayed.as_ref().map(Relayed::take).unwrap_or_default();
        statements.chain(relayed).try_for_each(|message| self.send(message))
    }

    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        self.engine.send(self.engine.number(), Recipient::Both, message)
    }
}
