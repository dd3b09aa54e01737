//! Asking the operating system to notify of changes below directories.
//!
//! A directory may not exist yet, may go and come back, and the system may refuse to watch it or some directory in it:
//! then changes are noticed by polling, later but surely, and watching is tried again now and then.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::wakeup::Wakeup;
use crate::platform::FileIdentity;

/// How soon watching is tried again after it was refused: it means walking all directories.
const RETRY: Duration = Duration::from_secs(30);

type BoxedWatcher = Box<dyn Watcher + Send>;

/// The directories being watched.
pub(super) struct Watches {
    receiver: Receiver,
    make: fn(Receiver) -> notify::Result<BoxedWatcher>,
    watcher: notify::Result<BoxedWatcher>,
    watched: HashMap<PathBuf, FileIdentity>,
    /// Directories that could not be watched, or not all of what is in them.
    refused: HashSet<PathBuf>,
    /// Why, and what to do about it.
    refusal: Option<String>,
    retry_at: Option<Instant>,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches")
            .field("watched", &self.watched)
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

/// What became of watching a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watching {
    /// It is being watched from now on: whatever is in it may be news.
    Begun,
    /// It has been watched already, or does not exist.
    AsBefore,
    /// The system refuses, for it or for something in it.
    Refused,
}

/// Takes what the system notifies of.
#[derive(Clone, Debug)]
struct Receiver {
    wakeup: Arc<Wakeup>,
    /// Set when a directory that was made below a watched one could not be watched, too.
    is_incomplete: Arc<AtomicBool>,
}

impl Receiver {
    fn take(&self, event: notify::Result<Event>) {
        match event {
            // The system's queue overflowed: events were lost.
            Ok(event) if event.need_rescan() => self.wakeup.everything_changed(),
            // Reading is no change: our own would wake us forever.
            Ok(Event { kind: EventKind::Access(_), .. }) => {}
            Ok(event) => self.wakeup.changed(event.paths),
            Err(error) => {
                if matches!(error.kind, ErrorKind::MaxFilesWatch) {
                    self.is_incomplete.store(true, Relaxed);
                }
                self.wakeup.everything_changed();
            }
        }
    }
}

fn recommended(receiver: Receiver) -> notify::Result<BoxedWatcher> {
    let config = Config::default().with_follow_symlinks(false);
    Ok(Box::new(RecommendedWatcher::new(move |event| receiver.take(event), config)?))
}

impl Watches {
    /// No directory yet; changes will be put into `wakeup`.
    pub(super) fn new(wakeup: Arc<Wakeup>) -> Self {
        Self::with(wakeup, recommended)
    }

    fn with(wakeup: Arc<Wakeup>, make: fn(Receiver) -> notify::Result<BoxedWatcher>) -> Self {
        let receiver = Receiver { wakeup, is_incomplete: Arc::default() };
        Self {
            watcher: make(receiver.clone()),
            receiver,
            make,
            watched: HashMap::new(),
            refused: HashSet::new(),
            refusal: None,
            retry_at: None,
        }
    }

    /// Why not everything is watched, and what to do about it.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// To be called before [`Self::ensure`] for all directories: when its time has come, watching what was refused is
    /// tried again.
    pub(super) fn begin_round(&mut self, now: Instant) {
        if self.receiver.is_incomplete.swap(false, Relaxed) {
            self.refused.extend(self.watched.keys().cloned());
            self.refuse(&notify::Error::new(ErrorKind::MaxFilesWatch), now);
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            self.refusal = None;
            // Watching one again adds what is missing below it.
            for dir in self.refused.drain() {
                self.watched.remove(&dir);
            }
            if self.watcher.is_err() {
                self.watcher = (self.make)(self.receiver.clone());
            }
        }
    }

    fn refuse(&mut self, error: &notify::Error, now: Instant) {
        self.refusal = Some(advice(error));
        self.retry_at.get_or_insert(now + RETRY);
    }

    /// Watches the directory, if it exists and is not being watched.
    pub(super) fn ensure(&mut self, dir: &Path, mode: RecursiveMode, now: Instant) -> Watching {
        let identity = fs::metadata(dir).ok().filter(fs::Metadata::is_dir).map(|metadata| FileIdentity::of(&metadata));
        if self.watched.get(dir).copied() == identity {
            return Watching::AsBefore;
        }
        if self.refused.contains(dir) && identity.is_some() {
            return Watching::Refused;
        }
        let watcher = match &mut self.watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                let refusal = advice(error);
                self.refusal = Some(refusal);
                self.retry_at.get_or_insert(now + RETRY);
                return Watching::Refused;
            }
        };
        if self.watched.remove(dir).is_some() {
            // It went, and its watch with it: there may be nothing to remove.
            let _ = watcher.unwatch(dir);
        }
        let Some(identity) = identity else {
            self.refused.remove(dir);
            return Watching::AsBefore;
        };
        match watcher.watch(dir, mode) {
            Ok(()) => {
                self.watched.insert(dir.to_owned(), identity);
                Watching::Begun
            }
            // It went a moment ago.
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => Watching::AsBefore,
            Err(error) => {
                self.refused.insert(dir.to_owned());
                self.refuse(&error, now);
                Watching::Refused
            }
        }
    }
}

/// What the error means, and what to do about it.
fn advice(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the system watches no more directories for this user; raise the limit, on Linux with \
             `sudo sysctl fs.inotify.max_user_watches=524288`"
                .to_owned()
        }
        ErrorKind::Io(io) if io.raw_os_error() == Some(EMFILE) => format!(
            "{io}; this user's programs watch too much, on Linux `sudo sysctl fs.inotify.max_user_instances=512` helps"
        ),
        _ => error.to_string(),
    }
}

/// Too many open files; of inotify, too many instances.
const EMFILE: i32 = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::PoisonError;

    use notify::event::Flag;
    use notify::{EventHandler, WatcherKind};

    /// A system that watches so many directories, and what has been asked of it.
    static LIMIT: Mutex<(usize, usize)> = Mutex::new((0, 0));

    struct Limited {
        watched: usize,
    }

    impl Watcher for Limited {
        fn new<F: EventHandler>(_: F, _: Config) -> notify::Result<Self> {
            Ok(Self { watched: 0 })
        }

        fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
            let mut limit = LIMIT.lock().unwrap_or_else(PoisonError::into_inner);
            limit.1 += 1;
            if self.watched >= limit.0 {
                return Err(notify::Error::new(ErrorKind::MaxFilesWatch));
            }
            self.watched += 1;
            Ok(())
        }

        fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
            self.watched -= 1;
            Ok(())
        }

        fn kind() -> WatcherKind {
            WatcherKind::NullWatcher
        }
    }

    #[test]
    fn what_is_refused_is_said_and_tried_again_now_and_then() {
        let set_limit = |limit| LIMIT.lock().unwrap().0 = limit;
        let asked = || LIMIT.lock().unwrap().1;
        let home = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| home.path().join(name));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        let mut watches = Watches::with(Arc::default(), |_| Ok(Box::new(Limited { watched: 0 })));
        let round = |watches: &mut Watches, now| {
            watches.begin_round(now);
            [&a, &b].map(|dir| watches.ensure(dir, RecursiveMode::Recursive, now))
        };
        set_limit(1);
        let start = Instant::now();
        assert_eq!(round(&mut watches, start), [Watching::Begun, Watching::Refused]);
        assert!(watches.refusal().unwrap().contains("max_user_watches"));
        // Until its time has come, nothing is asked of the system.
        for _ in 0..5 {
            assert_eq!(round(&mut watches, start + RETRY / 2), [Watching::AsBefore, Watching::Refused]);
        }
        assert_eq!(asked(), 2);
        assert_eq!(round(&mut watches, start + RETRY), [Watching::AsBefore, Watching::Refused]);
        assert!(watches.refusal().is_some());
        set_limit(10);
        assert_eq!(round(&mut watches, start + 2 * RETRY), [Watching::AsBefore, Watching::Begun]);
        assert_eq!(watches.refusal(), None);

        // A directory made later, in one that is watched.
        watches.receiver.take(Err(notify::Error::new(ErrorKind::MaxFilesWatch)));
        assert!(watches.receiver.wakeup.take().everything);
        let later = start + 3 * RETRY;
        assert_eq!(round(&mut watches, later), [Watching::AsBefore, Watching::AsBefore]);
        assert!(watches.refusal().is_some());
        assert_eq!(round(&mut watches, later + RETRY), [Watching::Begun, Watching::Begun]);
        assert_eq!(watches.refusal(), None);

        fs::remove_dir(&b).unwrap();
        assert_eq!(round(&mut watches, later + RETRY), [Watching::AsBefore, Watching::AsBefore]);
        fs::create_dir(&b).unwrap();
        assert_eq!(round(&mut watches, later + RETRY), [Watching::AsBefore, Watching::Begun]);
    }

    #[test]
    fn lost_events_mean_that_everything_may_have_changed() {
        let receiver = Receiver { wakeup: Arc::default(), is_incomplete: Arc::default() };
        receiver.take(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(receiver.wakeup.take().everything);
        receiver.take(Ok(Event::new(EventKind::Access(notify::event::AccessKind::Read)).add_path("p".into())));
        assert!(!receiver.wakeup.has_changes());
    }
}
