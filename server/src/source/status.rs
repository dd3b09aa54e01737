//! What health says of reading.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use dashboard_core::event::{HealthError, HealthStatus};
use dashboard_core::record::ReadProgress;

use super::transcripts::Transcripts;
use crate::clock;
use crate::health::{DashboardHealth, Part};
use crate::observation::Root;
use crate::text;

/// See the [module's description](self).
pub(super) struct Status {
    health: DashboardHealth,
    /// Paths that could not be read when this was last reported.
    unreadable: BTreeSet<PathBuf>,
    /// Roots that had transcripts at some time.
    seen: BTreeSet<PathBuf>,
}

impl Status {
    pub(super) fn new(health: DashboardHealth) -> Self {
        Self { health, unreadable: BTreeSet::new(), seen: BTreeSet::new() }
    }

    /// Notes which roots have transcripts, to name those that lose them.
    pub(super) fn note(&mut self, roots: &[Root]) {
        self.seen.extend(roots.iter().filter(|root| root.has_transcripts()).map(|root| root.dir.clone()));
    }

    /// History is being read; so much of it has been.
    pub(super) fn reading(&self, progress: Option<ReadProgress>) {
        let message = progress
            .map_or_else(|| "reading history".to_owned(), |it| format!("reading history: {}", text::progress(it)));
        self.health.set_progress(progress);
        self.health.report(Part::Transcripts, HealthStatus::Degraded, message);
    }

    /// So many sessions run; this directory that says so cannot be read.
    pub(super) fn presence(&self, running: usize, unreadable: Option<&(PathBuf, io::Error)>) {
        let (status, message) = match unreadable {
            None => (HealthStatus::Healthy, format!("{running} running")),
            Some((dir, error)) => {
                let dir = dir.display();
                (HealthStatus::Degraded, format!("cannot read {dir}: {error}; allow this user to read it"))
            }
        };
        self.health.report(Part::Presence, status, message);
    }

    /// Everything there was has been read; this is how following it goes. What newly cannot be read, if anything.
    pub(super) fn report(
        &mut self,
        roots: &[Root],
        transcripts: &Transcripts,
        refusal: Option<&str>,
    ) -> Option<HealthError> {
        self.health.set_progress(None);
        let unreadable = transcripts.unreadable();
        self.health.set_unreadable(unreadable.iter().map(|(path, error)| (path.display().to_string(), error.clone())));
        let is_new = unreadable.keys().any(|path| !self.unreadable.contains(path));
        self.unreadable = unreadable.keys().cloned().collect();
        let (present, missing): (Vec<&Root>, Vec<&Root>) = roots.iter().partition(|root| root.has_transcripts());
        let gone = missing.iter().map(|root| &*root.dir).find(|dir| self.seen.contains(*dir));
        let Some(message) = problem(unreadable.iter().next(), unreadable.len(), gone, present.is_empty(), refusal)
        else {
            let message = format!("{} files", transcripts.count());
            self.health.report(Part::Transcripts, HealthStatus::Healthy, message);
            return None;
        };
        self.health.report(Part::Transcripts, HealthStatus::Degraded, message.clone());
        let component = Part::Transcripts.as_str().to_owned();
        is_new.then(|| HealthError { component, error: message, timestamp: clock::wall() })
    }
}

/// What is wrong, and what to do about it; the worst of it, if there is more.
fn problem(
    unreadable: Option<(&PathBuf, &String)>,
    count: usize,
    gone: Option<&Path>,
    nothing_there: bool,
    refusal: Option<&str>,
) -> Option<String> {
    if let Some((path, error)) = unreadable {
        let others = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        // What else may fail says by itself what to do.
        let advice = if error.contains("ermission denied") { "; check its permissions" } else { "" };
        return Some(format!("cannot read {}: {error}{others}{advice}; everything else is read", path.display()));
    }
    if let Some(dir) = gone {
        return Some(format!(
            "the transcripts in {} are gone; what they said still counts; they are read again when they are back, or name \
             the new place with --config-dir or --home",
            dir.display()
        ));
    }
    if nothing_there {
        return Some(
            "no transcripts yet; start an assistant, or name its directory with --config-dir or --home".to_owned(),
        );
    }
    refusal.map(|refusal| format!("changes are seen within 10 s, not at once: {refusal}"))
}
