//! Where records come from: the directories of assistants on this machine.
//!
//! Everything in here reads and nothing writes. What the records mean is decided elsewhere.
//!
//! Reading files blocks, so it has a thread of its own: woken by the watcher, it reads what is new and hands it to the
//! engine and to the store through bounded queues. While one is full the thread waits, and changes gather in a mailbox
//! that cannot grow. What a former process read is taken from the store, and only the rest from the files. Twice as many ways lead to a change as are needed: besides the watcher, files that changed lately are
//! looked at every two seconds, and everything every ten.

pub mod files;
mod presence;
pub mod retention;
pub mod roots;
pub(crate) mod tail;
pub mod tools;
pub(crate) mod transcripts;
mod wakeup;
mod watches;
#[cfg(all(test, target_os = "linux"))]
mod work;

use crate::observation::{RecordSink, Root, SinkClosed, SourceMessage};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashboard_core::event::{HealthError, HealthStatus};
use notify::RecursiveMode;
use tokio::sync::mpsc;

use self::presence::Running;
use self::transcripts::Transcripts;
use self::wakeup::{Changes, Wakeup};
use self::watches::{Watches, Watching};
use crate::clock;
use crate::health::{DashboardHealth, Part};
use crate::store::{RepeatRequests, StoreSender, StoredFile};

/// How often files that changed lately are looked at, and directories that are not there yet.
const LOOK: Duration = Duration::from_secs(2);
/// How often everything is looked at, in looks: a safety net while the system tells of changes.
const LOOKS_PER_WALK: u32 = 15;
/// The same where it does not tell.
const LOOKS_PER_WALK_UNTOLD: u32 = 5;

/// Reads the transcripts below the roots and which sessions run: first what is there, then what changes. Ends when the
/// receiver is dropped; dropped itself, it stops reading. With a store, begins with what that holds and keeps it fed.
pub async fn run(
    roots: Vec<Root>,
    messages: mpsc::Sender<SourceMessage>,
    store: Option<StoreSender>,
    health: DashboardHealth,
) {
    let wakeup = Arc::new(Wakeup::default());
    let stop = StopOnDrop(wakeup.clone());
    let reported = health.clone();
    let reading = tokio::task::spawn_blocking(move || Source::new(roots, messages, store, health, wakeup).run());
    if let Err(error) = reading.await {
        tracing::error!(%error, "reading transcripts ended");
        reported.report(Part::Transcripts, HealthStatus::Unhealthy, "reading has ended; restart the dashboard");
    }
    drop(stop);
}

/// To the engine and, if there is one, the store. The store first: what a page shows is on its way to the disk.
struct Recipients {
    engine: mpsc::Sender<SourceMessage>,
    store: Option<StoreSender>,
    /// The newest message's number.
    number: AtomicU64,
}

impl RecordSink for Recipients {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        if let Some(store) = &self.store {
            store.send(self.number.fetch_add(1, Ordering::Relaxed) + 1, &message);
        }
        self.engine.blocking_send(message).map_err(|_| SinkClosed)
    }

    fn wants_activity(&self) -> bool {
        self.store.is_some()
    }
}

struct StopOnDrop(Arc<Wakeup>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What the reading thread owns.
struct Source {
    roots: Vec<Root>,
    messages: mpsc::Sender<SourceMessage>,
    store: Option<StoreSender>,
    health: DashboardHealth,
    wakeup: Arc<Wakeup>,
    watches: Watches,
    transcripts: Transcripts,
    running: Running,
    /// What the engine has been told cannot be read.
    told: BTreeSet<PathBuf>,
}

impl Source {
    fn new(
        roots: Vec<Root>,
        messages: mpsc::Sender<SourceMessage>,
        store: Option<StoreSender>,
        health: DashboardHealth,
        wakeup: Arc<Wakeup>,
    ) -> Self {
        let out = Recipients { engine: messages.clone(), store: store.clone(), number: AtomicU64::new(0) };
        Self {
            watches: Watches::new(wakeup.clone()),
            transcripts: Transcripts::new(roots.clone(), Box::new(out)),
            running: Running::default(),
            told: BTreeSet::new(),
            roots,
            messages,
            store,
            health,
            wakeup,
        }
    }

    fn run(mut self) {
        // There is nobody left to tell, or nobody wants to know: either way it is over.
        let (Ok(()) | Err(SinkClosed)) = self.read();
    }

    fn read(&mut self) -> Result<(), SinkClosed> {
        self.health.report(Part::Transcripts, HealthStatus::Degraded, "reading history");
        // Watched before looked at, so that nothing falls between.
        let mut refused = self.watch().1;
        self.recall()?;
        self.transcripts.look_at_everything()?;
        self.look_at_presence()?;
        self.send(SourceMessage::Current)?;
        self.send(SourceMessage::HistoryRead)?;
        if let Some(store) = &self.store {
            store.send(0, &SourceMessage::HistoryRead);
        }
        self.report(refused.as_deref())?;

        let mut looks = 0;
        let mut next_look = Instant::now() + LOOK;
        loop {
            let Changes { paths, everything, stop } = self.wakeup.wait(next_look);
            if stop {
                return Ok(());
            }
            let is_presence =
                |path: &PathBuf| self.roots.iter().filter_map(Root::presence_dir).any(|dir| path.starts_with(dir));
            let presence_changed = paths.iter().any(is_presence);
            self.transcripts.look_at(paths)?;
            let mut walk = everything;
            let look = Instant::now() >= next_look;
            if look {
                next_look = Instant::now() + LOOK;
                looks += 1;
                let begun;
                (begun, refused) = self.watch();
                let per_walk = if refused.is_none() { LOOKS_PER_WALK } else { LOOKS_PER_WALK_UNTOLD };
                walk |= begun || looks >= per_walk;
            }
            if walk {
                looks = 0;
                self.transcripts.look_at_everything()?;
            } else if look {
                self.transcripts.look_at_active()?;
            }
            if look || everything || presence_changed {
                self.look_at_presence()?;
            }
            if look {
                self.repeat_for_store()?;
            }
            self.report(refused.as_deref())?;
        }
    }

    /// Tells the engine what the store holds, and goes on reading from there.
    fn recall(&mut self) -> Result<(), SinkClosed> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let tell = |message| self.messages.blocking_send(message).map_err(|_| SinkClosed);
        let transcripts = &mut self.transcripts;
        store.load(&self.roots, |StoredFile { found, state, archived, records, rejections }| {
            let file = Arc::new(found);
            transcripts.resume(Arc::clone(&file), state.clone(), archived);
            tell(SourceMessage::Read { file: Arc::clone(&file), records, rejections, state: Box::new(state) })?;
            if archived { tell(SourceMessage::Archive { file }) } else { Ok(()) }
        })
    }

    /// Gives the store once more what it could not keep when it came.
    fn repeat_for_store(&mut self) -> Result<(), SinkClosed> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let RepeatRequests { mut files, everything } = store.take_wanted();
        if everything {
            files.extend(self.transcripts.files());
        }
        for file in files {
            self.transcripts.repeat(Arc::clone(&file), &store)?;
            store.repeated(&file);
        }
        if everything {
            store.everything_repeated();
        }
        Ok(())
    }

    /// Sees to it that everything is watched: whether a directory is from now on, and why one cannot be.
    fn watch(&mut self) -> (bool, Option<String>) {
        let (mut begun, mut refused) = (false, None);
        for root in &self.roots {
            let transcripts = root.transcript_dirs().map(|dir| (dir, RecursiveMode::Recursive));
            let presence = root.presence_dir().map(|dir| (dir, RecursiveMode::NonRecursive));
            for (dir, mode) in transcripts.chain(presence) {
                match self.watches.ensure(&dir, mode) {
                    Watching::Begun => begun = true,
                    Watching::AsBefore => {}
                    Watching::Refused(error) => refused = Some(error),
                }
            }
        }
        (begun, refused)
    }

    fn look_at_presence(&mut self) -> Result<(), SinkClosed> {
        let (changed, unreadable) = self.running.look(&self.roots);
        match unreadable.first() {
            None => {
                let message = format!("{} running", self.running.count());
                self.health.report(Part::Presence, HealthStatus::Healthy, message);
            }
            Some((dir, error)) => {
                let message = format!("cannot read {}: {error}", dir.display());
                self.health.report(Part::Presence, HealthStatus::Degraded, message);
            }
        }
        changed.map_or(Ok(()), |running| self.send(SourceMessage::Presence(running)))
    }

    /// Says how reading goes; of what newly fails, also to the engine.
    fn report(&mut self, refused: Option<&str>) -> Result<(), SinkClosed> {
        let unreadable = self.transcripts.unreadable();
        let message = match (unreadable.iter().next(), refused) {
            (Some((path, error)), _) => {
                let others = unreadable.len() - 1;
                let others = if others > 0 { format!(" (and {others} more)") } else { String::new() };
                Some(format!("cannot read {}: {error}{others}; check its permissions", path.display()))
            }
            (None, None) if !self.roots.iter().any(Root::has_transcripts) => {
                Some("no transcripts yet; start Claude Code or Codex, or use --config-dir or --codex-home".to_owned())
            }
            (None, Some(error)) => Some(format!("changes are seen within 10 s, not at once: {error}")),
            (None, None) => None,
        };
        let is_new = unreadable.keys().any(|path| !self.told.contains(path));
        self.told = unreadable.keys().cloned().collect();
        let Some(message) = message else {
            let message = format!("{} files", self.transcripts.count());
            self.health.report(Part::Transcripts, HealthStatus::Healthy, message);
            return Ok(());
        };
        self.health.report(Part::Transcripts, HealthStatus::Degraded, message.clone());
        if is_new {
            let component = Part::Transcripts.as_str().to_owned();
            self.send(SourceMessage::Failure(HealthError { component, error: message, timestamp: clock::wall() }))?;
        }
        Ok(())
    }

    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        self.messages.blocking_send(message).map_err(|_| SinkClosed)
    }
}
