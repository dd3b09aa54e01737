//! Asking the operating system to tell when something below a directory changes.
//!
//! A directory may not be there yet, may go and come back, and the system may refuse to watch it: then changes are
//! noticed by looking, later but surely.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::wakeup::Wakeup;
use crate::platform::FileIdentity;

/// The directories being watched.
#[derive(Debug)]
pub(super) struct Watches {
    watcher: notify::Result<RecommendedWatcher>,
    watched: HashMap<PathBuf, FileIdentity>,
}

/// What became of watching a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Watching {
    /// It is being watched from now on: whatever is in it may be news.
    Begun,
    /// It has been watched already, or is not there.
    AsBefore,
    /// The system refuses.
    Refused(String),
}

impl Watches {
    /// No directory yet; changes will be put into `wakeup`.
    pub(super) fn new(wakeup: Arc<Wakeup>) -> Self {
        let tell = move |event: notify::Result<Event>| match event {
            Ok(event) if event.need_rescan() => wakeup.everything_changed(),
            // Reading is no change: our own would wake us forever.
            Ok(Event { kind: EventKind::Access(_), .. }) => {}
            Ok(event) => wakeup.changed(event.paths),
            Err(_) => wakeup.everything_changed(),
        };
        let config = Config::default().with_follow_symlinks(false);
        Self { watcher: RecommendedWatcher::new(tell, config), watched: HashMap::new() }
    }

    /// Watches the directory, if it is there and is not being watched.
    pub(super) fn ensure(&mut self, dir: &Path, mode: RecursiveMode) -> Watching {
        let identity = fs::metadata(dir).ok().filter(fs::Metadata::is_dir).map(|metadata| FileIdentity::of(&metadata));
        if self.watched.get(dir).copied() == identity {
            return Watching::AsBefore;
        }
        let watcher = match &mut self.watcher {
            Ok(watcher) => watcher,
            Err(error) => return Watching::Refused(error.to_string()),
        };
        if self.watched.remove(dir).is_some() {
            // It went, and its watch with it: there may be nothing to remove.
            let _ = watcher.unwatch(dir);
        }
        let Some(identity) = identity else { return Watching::AsBefore };
        match watcher.watch(dir, mode) {
            Ok(()) => {
                self.watched.insert(dir.to_owned(), identity);
                Watching::Begun
            }
            Err(error) => Watching::Refused(error.to_string()),
        }
    }
}
