//! What state the store is in: a state machine without I/O, driven by the writer.
//!
//! ```text
//!              ┌───────────────────────── retried ────────────────────────┐
//!              ▼                                                          │
//!  start ─▶ Opening ──opened late──▶ Lagging ◀──works again── Unavailable ┤
//!     └────opened at once──▶ Current ◀──repeated──┘  ▲              ▲     │
//!                               │                    │              │     │
//!                               ├────write failed────┼──────────────┘     │
//!                               └──damage──▶ Damaged ┴──rebuilt───────────┘
//! ```
//!
//! A file *lags* when something of it was not written. Nothing more of it is written then, since there would be a gap,
//! until the source has repeated it from the beginning.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dashboard_core::event::HealthStatus;

use crate::observation::TranscriptFile;

/// The store's state.
#[derive(Debug)]
pub(super) enum Lifecycle {
    /// The database could not be opened so far. Nothing is written, every file lags.
    Opening(Attempt),
    /// The database has, or is about to have, everything that was received.
    Current,
    /// The database is written, but not to these files, which the source is asked to repeat.
    Lagging(LaggingFiles),
    /// Writing failed for a reason that may pass: a full disk, a lock, an I/O error, too little memory.
    Unavailable(LaggingFiles, Attempt),
    /// The database is damaged and could not be quarantined or replaced so far. Every file lags.
    Damaged(Attempt),
}

/// Why it does not work, and when it is tried again.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// What went wrong, for people.
    pub(super) reason: String,
    /// When it is tried again.
    pub(super) retry_at: Instant,
}

/// Files of which something was not written.
#[derive(Debug)]
pub(super) enum LaggingFiles {
    /// These. Never empty within a [`Lifecycle`].
    Only(BTreeSet<Arc<TranscriptFile>>),
    /// All files except these, which have been repeated since: the database was opened late, or is a new one.
    AllExcept(BTreeSet<Arc<TranscriptFile>>),
}

impl LaggingFiles {
    /// Every file there is.
    pub(super) fn all() -> Self {
        Self::AllExcept(BTreeSet::new())
    }

    fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    fn contains(&self, file: &Arc<TranscriptFile>) -> bool {
        match self {
            Self::Only(files) => files.contains(file),
            Self::AllExcept(files) => !files.contains(file),
        }
    }

    fn insert(&mut self, file: &Arc<TranscriptFile>) {
        match self {
            Self::Only(files) => files.insert(Arc::clone(file)),
            Self::AllExcept(files) => files.remove(file),
        };
    }

    fn remove(&mut self, file: &Arc<TranscriptFile>) {
        match self {
            Self::Only(files) => files.remove(file),
            Self::AllExcept(files) => files.insert(Arc::clone(file)),
        };
    }

    fn settled(self) -> Lifecycle {
        match self {
            Self::Only(files) if files.is_empty() => Lifecycle::Current,
            lagging => Lifecycle::Lagging(lagging),
        }
    }
}

impl Lifecycle {
    /// Whether rows of this file may be written.
    pub(super) fn accepts(&self, file: &Arc<TranscriptFile>) -> bool {
        match self {
            Self::Current => true,
            Self::Lagging(lagging) => !lagging.contains(file),
            Self::Opening(_) | Self::Unavailable(..) | Self::Damaged(_) => false,
        }
    }

    /// What stands in the way of writing, if something does.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Opening(attempt) | Self::Unavailable(_, attempt) | Self::Damaged(attempt) => Some(attempt),
            Self::Current | Self::Lagging(_) => None,
        }
    }

    /// The files that lag, while the database works.
    pub(super) fn lagging(&self) -> Option<&LaggingFiles> {
        if let Self::Lagging(lagging) = self { Some(lagging) } else { None }
    }

    /// Something of the file was not written.
    pub(super) fn lose(&mut self, file: &Arc<TranscriptFile>) {
        self.change(|lagging| lagging.insert(file));
    }

    /// The file has been repeated from its beginning, and everything since was written.
    pub(super) fn repeated(&mut self, file: &Arc<TranscriptFile>) {
        self.change(|lagging| lagging.remove(file));
    }

    /// All files there are have been repeated.
    pub(super) fn everything_repeated(&mut self) {
        self.change(|lagging| {
            if matches!(lagging, LaggingFiles::AllExcept(_)) {
                *lagging = LaggingFiles::none();
            }
        });
    }

    fn change(&mut self, change: impl FnOnce(&mut LaggingFiles)) {
        *self = match std::mem::replace(self, Self::Current) {
            Self::Current => {
                let mut lagging = LaggingFiles::none();
                change(&mut lagging);
                lagging.settled()
            }
            Self::Lagging(mut lagging) => {
                change(&mut lagging);
                lagging.settled()
            }
            Self::Unavailable(mut lagging, attempt) => {
                change(&mut lagging);
                Self::Unavailable(lagging, attempt)
            }
            // Every file lags already.
            opening_or_damaged => opening_or_damaged,
        };
    }

    /// Writing, or opening, failed for a reason that may pass.
    pub(super) fn fail(&mut self, attempt: Attempt) {
        *self = match std::mem::replace(self, Self::Current) {
            Self::Current => Self::Unavailable(LaggingFiles::none(), attempt),
            Self::Lagging(lagging) | Self::Unavailable(lagging, _) => Self::Unavailable(lagging, attempt),
            Self::Opening(_) => Self::Opening(attempt),
            Self::Damaged(_) => Self::Damaged(attempt),
        };
    }

    /// The database is damaged, and could not be replaced.
    pub(super) fn damage(&mut self, attempt: Attempt) {
        *self = Self::Damaged(attempt);
    }

    /// The database works: one that was missed until now, or a new one in the place of a damaged one.
    pub(super) fn opened_late(&mut self) {
        *self = Self::Lagging(LaggingFiles::all());
    }

    /// Writing works again.
    pub(super) fn recovered(&mut self) {
        if let Self::Unavailable(lagging, _) = self {
            *self = std::mem::replace(lagging, LaggingFiles::none()).settled();
        }
    }

    /// For the health report.
    pub(super) fn health(&self, database: &Path) -> (HealthStatus, String) {
        let database = database.display();
        match self {
            Self::Current => (HealthStatus::Healthy, format!("history in {database}")),
            Self::Lagging(LaggingFiles::Only(files)) => {
                (HealthStatus::Healthy, format!("history in {database}, {} files to be repeated", files.len()))
            }
            Self::Lagging(LaggingFiles::AllExcept(files)) => {
                (HealthStatus::Healthy, format!("history in {database}, {} files repeated so far", files.len()))
            }
            Self::Opening(Attempt { reason, .. }) => (
                HealthStatus::Degraded,
                format!(
                    "history is not being kept: {reason}. It is tried again every few seconds; --data-dir names another \
                     directory. The figures go on, without what deleted transcripts said until the next start"
                ),
            ),
            Self::Unavailable(_, Attempt { reason, .. }) => (
                HealthStatus::Degraded,
                format!(
                    "history is not being kept: {database} cannot be used: {reason}; the figures go on without it, and it \
                     catches up when that works again"
                ),
            ),
            Self::Damaged(Attempt { reason, .. }) => (
                HealthStatus::Degraded,
                format!("history is not being kept: {database} is damaged and cannot be replaced: {reason}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Root;
    use dashboard_core::record::Tool;

    fn file(name: &str) -> Arc<TranscriptFile> {
        let root = Root { tool: Tool::ClaudeCode, dir: "/r".into(), label: String::new() };
        Arc::new(TranscriptFile::new(&root, name.to_owned()))
    }

    fn attempt() -> Attempt {
        Attempt { reason: "disk full".to_owned(), retry_at: Instant::now() }
    }

    #[test]
    fn a_failed_write_makes_its_files_lag_until_they_are_repeated() {
        let (a, b) = (file("a"), file("b"));
        let mut state = Lifecycle::Current;
        state.lose(&a);
        state.fail(attempt());
        assert!(!state.accepts(&a) && !state.accepts(&b) && state.attempt().is_some());
        state.lose(&b);
        state.recovered();
        assert!(!state.accepts(&a) && !state.accepts(&b) && state.accepts(&file("c")));
        state.repeated(&a);
        assert!(state.accepts(&a) && matches!(state, Lifecycle::Lagging(_)));
        state.repeated(&b);
        assert!(matches!(state, Lifecycle::Current));
    }

    #[test]
    fn a_database_that_is_opened_late_lags_with_every_file() {
        let (a, b) = (file("a"), file("b"));
        let mut state = Lifecycle::Opening(attempt());
        state.lose(&a);
        assert_eq!(state.health(Path::new("/d")).0, HealthStatus::Degraded);
        state.opened_late();
        assert!(!state.accepts(&a) && !state.accepts(&b));
        state.repeated(&a);
        state.fail(attempt());
        state.recovered();
        assert!(state.accepts(&a) && !state.accepts(&b));
        state.everything_repeated();
        assert!(state.accepts(&b) && matches!(state, Lifecycle::Current));
    }

    #[test]
    fn damage_loses_every_file() {
        let a = file("a");
        let mut state = Lifecycle::Current;
        state.damage(attempt());
        state.repeated(&a);
        assert!(!state.accepts(&a));
        state.recovered();
        assert!(matches!(state, Lifecycle::Damaged(_)), "only a new database ends it");
        state.opened_late();
        assert!(!state.accepts(&a) && state.lagging().is_some());
    }
}
