//! How the watcher wakes the reading thread: something changed, here.
//!
//! A mailbox rather than a queue: a path is in it once however often it changed, and when more paths changed than are
//! worth naming, it says so instead. So it stays small while reading waits for the engine.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most paths named.
const MAX_PATHS: usize = 1000;

/// What has changed since it was last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Files and directories that changed, appeared or went.
    pub(super) paths: BTreeSet<PathBuf>,
    /// More than that: everything may have changed.
    pub(super) everything: bool,
    /// Nobody wants to know any more.
    pub(super) stop: bool,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.everything && !self.stop
    }
}

/// The mailbox.
#[derive(Debug, Default)]
pub(super) struct Wakeup {
    changes: Mutex<Changes>,
    came: Condvar,
    /// Whether there are changes, to be asked without waiting for the lock.
    has_changes: AtomicBool,
}

impl Wakeup {
    /// These paths changed.
    pub(super) fn changed(&self, paths: impl IntoIterator<Item = PathBuf>) {
        self.change(|changes| {
            changes.paths.extend(paths);
            if changes.paths.len() > MAX_PATHS {
                changes.paths.clear();
                changes.everything = true;
            }
        });
    }

    /// Changes have been missed.
    pub(super) fn everything_changed(&self) {
        self.change(|changes| changes.everything = true);
    }

    /// The reading thread is to end.
    pub(super) fn stop(&self) {
        self.change(|changes| changes.stop = true);
    }

    fn change(&self, change: impl FnOnce(&mut Changes)) {
        let mut changes = self.lock();
        change(&mut changes);
        self.has_changes.store(!changes.is_empty(), Relaxed);
        self.came.notify_one();
    }

    /// Whether something has changed, or the thread is to end.
    pub(super) fn has_changes(&self) -> bool {
        self.has_changes.load(Relaxed)
    }

    /// Takes what has changed, if anything.
    pub(super) fn take(&self) -> Changes {
        if self.has_changes() { self.wait(Instant::now()) } else { Changes::default() }
    }

    /// Waits until something changed, or until `deadline`, and takes what changed.
    pub(super) fn wait(&self, deadline: Instant) -> Changes {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.came.wait_timeout_while(self.lock(), left, |changes| changes.is_empty());
        let (mut changes, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let stop = changes.stop;
        self.has_changes.store(stop, Relaxed);
        std::mem::replace(&mut *changes, Changes { stop, ..Changes::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_paths_becomes_everything() {
        let wakeup = Wakeup::default();
        wakeup.changed((0..10).chain(0..10).map(|n| PathBuf::from(n.to_string())));
        assert_eq!(wakeup.wait(Instant::now()).paths.len(), 10);
        wakeup.changed((0..=MAX_PATHS).map(|n| PathBuf::from(n.to_string())));
        let expected = Changes { everything: true, ..Changes::default() };
        assert_eq!(wakeup.wait(Instant::now()), expected);
        assert_eq!(wakeup.wait(Instant::now()), Changes::default());
    }

    #[test]
    fn stopping_lasts() {
        let wakeup = Wakeup::default();
        wakeup.stop();
        assert!(wakeup.wait(Instant::now()).stop);
        assert!(wakeup.wait(Instant::now()).stop);
    }
}
