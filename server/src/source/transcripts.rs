//! All transcripts below the roots, each read as it grows and reported in order.
//!
//! Which files to poll comes from the watcher, and from looking around now and then, since watchers miss things.
//! Polling a file that has not changed costs one system call. What there is much of waits in a backlog, newest first,
//! and is read in slices, so that whoever owns this can attend to what is live in between.

use crate::observation::{
    FileState, Marks, Recalled, RecalledFile, RecordSink, Root, SinkClosed, SourceMessage, TranscriptFile,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::num::NonZero;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use dashboard_core::history::Unreadable;
use dashboard_core::ids::SessionId;
use dashboard_core::record::{ReadProgress, Tool};

use super::backlog::{Backlog, Entry};
use super::budget::Budget;
use super::files;
use super::reader::{self, Follower, PollError, Polling};
use super::roots::{self, TranscriptDir};
use crate::platform::FileIdentity;

/// Less than this to read is not worth a thread.
const WORTH_A_THREAD: u64 = 1 << 20;
/// Most bytes of files taken from the backlog for a slice; what is not read in it is put back.
const SLICE_BYTES: u64 = 32 << 20;
/// Most files of a slice.
const SLICE_FILES: usize = 256;
/// What is said of a file whose reading panicked.
const PANICKED: &str = "a mistake in the dashboard keeps it from reading this file, please report it; the file is left out until it is rewritten";

/// See the [module's description](self).
pub(crate) struct Transcripts {
    /// The directories walked.
    dirs: Vec<TranscriptDir>,
    sink: Box<dyn RecordSink>,
    /// Whether the sink wants to know what sessions did.
    activity: bool,
    tails: BTreeMap<PathBuf, Follower>,
    backlog: Backlog,
    /// How far the backlog has been read; grows for as long as files are added to it.
    progress: ReadProgress,
    /// Files that were deleted, by key: should one come back, it starts anew.
    deleted: HashMap<String, Arc<TranscriptFile>>,
    /// The same, by fingerprint: should one turn up elsewhere, it was renamed.
    moved: HashMap<FileIdentity, (Arc<TranscriptFile>, Marks)>,
    /// Files that a former process read, and that lie in no directory that is walked now: they are read in another.
    covered: Vec<Arc<TranscriptFile>>,
    /// What cannot be read at present, and why.
    unreadable: BTreeMap<PathBuf, String>,
    buffer: Vec<u8>,
}

impl fmt::Debug for Transcripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcripts").field("tails", &self.tails.len()).finish_non_exhaustive()
    }
}

impl Transcripts {
    /// Nothing has been read yet.
    pub(crate) fn new(roots: &[Root], sink: Box<dyn RecordSink>) -> Self {
        Self {
            dirs: roots::transcript_dirs(roots),
            activity: sink.wants_activity(),
            sink,
            tails: BTreeMap::new(),
            backlog: Backlog::default(),
            progress: ReadProgress::default(),
            deleted: HashMap::new(),
            moved: HashMap::new(),
            covered: Vec::new(),
            unreadable: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// A former process read this file, and the sink knows what it said.
    pub(crate) fn resume(&mut self, found: Arc<TranscriptFile>, state: FileState, archived: bool) {
        if archived {
            if let Some((identity, marks)) = state.fingerprint() {
                self.moved.insert(identity, (Arc::clone(&found), marks));
            }
            self.deleted.insert(found.key.clone(), found);
        } else if self.dirs.iter().any(|dir| found.path.starts_with(&dir.dir)) {
            self.tails.insert(found.path.clone(), Follower::resume(found, state, self.activity));
        } else {
            self.covered.push(found);
        }
    }

    /// A former process read these files, and the sink knows what they said.
    pub(crate) fn resume_all(&mut self, recalled: &Recalled) {
        for RecalledFile { file, state, archived, .. } in &recalled.files {
            match state {
                Some(state) => self.resume(Arc::clone(file), state.clone(), *archived),
                None => self.read_again(Arc::clone(file)),
            }
        }
    }

    /// A former process read this file, and the sink knows what it said: all of it is read again, in place of that.
    fn read_again(&mut self, found: Arc<TranscriptFile>) {
        if self.dirs.iter().any(|dir| found.path.starts_with(&dir.dir)) {
            self.tails.insert(found.path.clone(), Follower::new(found, true, self.activity));
        } else {
            self.covered.push(found);
        }
    }

    /// From now on these roots are meant: one that appeared as a link has another name.
    pub(crate) fn set_roots(&mut self, roots: &[Root]) {
        self.dirs = roots::transcript_dirs(roots);
    }

    /// The directories walked.
    pub(crate) fn dirs(&self) -> &[TranscriptDir] {
        &self.dirs
    }

    /// All files there are.
    pub(crate) fn files(&self) -> impl Iterator<Item = Arc<TranscriptFile>> {
        self.tails.values().map(|tail| Arc::clone(&tail.found))
    }

    /// How many files there are.
    pub(crate) fn count(&self) -> usize {
        self.tails.len()
    }

    /// What cannot be read at present: paths and reasons.
    pub(crate) fn unreadable(&self) -> &BTreeMap<PathBuf, String> {
        &self.unreadable
    }

    /// Reads the whole file once more for a sink that missed part of it.
    #[cfg(test)]
    pub(crate) fn repeat(&mut self, file: Arc<TranscriptFile>, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        match Follower::new(file, true, sink.wants_activity()).poll(sink, &mut self.buffer, &Budget::unlimited()) {
            Err(PollError::SinkClosed) => Err(SinkClosed),
            _ => Ok(()),
        }
    }

    /// Whether files wait to be read.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether all is read that [`Self::mark_current`] and [`Self::promote_dependencies`] have asked for.
    pub(crate) fn is_current(&self) -> bool {
        self.backlog.has_no_urgent()
    }

    /// How far the backlog has been read.
    pub(crate) fn progress(&self) -> ReadProgress {
        self.progress
    }

    /// Finds out which files there are and which have changed, and adds these to the backlog.
    pub(crate) fn discover(&mut self) -> Result<(), SinkClosed> {
        for covered in std::mem::take(&mut self.covered) {
            self.retract(covered)?;
        }
        // Known ones first, so that a renamed file is known to be gone when it turns up elsewhere.
        let mut gone = Vec::new();
        let mut changed = Vec::new();
        for (path, tail) in &mut self.tails {
            match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_file() && tail.is_unchanged(&metadata) => {
                    // Whatever failed before, it is as it was when it was read.
                    self.unreadable.remove(path);
                }
                Ok(metadata) if metadata.is_file() => changed.extend(queue(path, tail, &metadata)),
                // What the system says of it is found out by polling it.
                _ => gone.push(path.clone()),
            }
        }
        self.enqueue(changed);
        for path in gone {
            self.poll_known(&path, &Budget::unlimited())?;
        }
        self.unreadable.retain(|path, _| self.tails.contains_key(path));
        let mut new = Vec::new();
        for dir in self.dirs.clone() {
            let mut unreadable = Vec::new();
            let found = files::transcripts_in(&dir, &mut unreadable);
            self.add_unreadable(unreadable);
            for found in found {
                let path = found.path.clone();
                if self.add(found)
                    && let Ok(metadata) = fs::symlink_metadata(&path)
                    && let Some(tail) = self.tails.get_mut(&path)
                {
                    new.extend(queue(&path, tail, &metadata));
                }
            }
        }
        self.enqueue(new);
        Ok(())
    }

    fn enqueue(&mut self, entries: Vec<Entry>) {
        self.progress.files_total += entries.len() as u64;
        self.progress.bytes_total += entries.iter().map(|entry| entry.bytes).sum::<u64>();
        if !entries.is_empty() {
            self.backlog.add(entries);
        }
    }

    /// Makes urgent what the present figures depend on: what was modified since then, and the newest of each root.
    pub(crate) fn mark_current(&mut self, since: SystemTime) {
        let mut newest: HashMap<&Path, (Option<SystemTime>, &Path)> = HashMap::new();
        for entry in self.backlog.rest() {
            let Some(tail) = self.tails.get(&entry.path) else { continue };
            let candidate = (entry.modified, &*entry.path);
            newest.entry(&tail.found.root).and_modify(|it| *it = (*it).max(candidate)).or_insert(candidate);
        }
        let newest: HashSet<PathBuf> = newest.into_values().map(|(_, path)| path.to_owned()).collect();
        self.backlog.promote(|it| it.modified.is_none_or(|at| at >= since) || newest.contains(&it.path));
    }

    /// Makes urgent what the files modified since then depend on, now that these have been read: other files of the same
    /// sessions, and what forks among them come from. Whether there was any.
    pub(crate) fn promote_dependencies(&mut self, since: SystemTime) -> bool {
        if self.backlog.is_empty() {
            return false;
        }
        let current: Vec<&Follower> =
            self.tails.values().filter(|tail| !tail.queued && tail.modified().is_some_and(|at| at >= since)).collect();
        let sessions: HashSet<PathBuf> = current.iter().map(|tail| self.session_path(&tail.found.path)).collect();
        let lineages: Vec<_> = current.iter().filter_map(|tail| Some((tail.found.tool, tail.lineage()?))).collect();
        // Rows of a fork are void if its parent's file has them, another fork of it, or an earlier file of its session.
        let related: HashSet<(Tool, SessionId)> = lineages
            .iter()
            .filter_map(|(tool, lineage)| lineage.parent.clone().map(|parent| (*tool, parent)))
            .collect();
        let forks: HashSet<(Tool, SessionId)> = lineages
            .into_iter()
            .filter(|(_, lineage)| lineage.parent.is_some())
            .map(|(tool, lineage)| (tool, lineage.session))
            .collect();
        let names_one = |tool: Tool, path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            related.iter().any(|(of, session)| *of == tool && name.contains(session.as_str()))
        };
        let is_related = |tail: &Follower| {
            let tool = tail.found.tool;
            names_one(tool, &tail.found.path)
                || tail.position() > 0
                    && tail.lineage().is_some_and(|lineage| {
                        let session = (tool, lineage.session);
                        related.contains(&session)
                            || forks.contains(&session)
                            || lineage.parent.is_some_and(|parent| related.contains(&(tool, parent)))
                    })
        };
        let (mut wanted, mut unknown) = (HashSet::new(), HashSet::new());
        for entry in self.backlog.rest() {
            let Some(tail) = self.tails.get(&entry.path) else { continue };
            if sessions.contains(&self.session_path(&entry.path)) || is_related(tail) {
                wanted.insert(entry.path.clone());
            } else if tail.position() == 0 && related.iter().any(|(tool, _)| *tool == tail.found.tool) {
                unknown.insert(entry.path.clone());
            }
        }
        if self.backlog.promote(|entry| wanted.contains(&entry.path)) > 0 {
            return true;
        }
        // A parent that is gone: any file may be another fork of it. Their beginnings say so.
        let is_known = |session: &(Tool, SessionId)| {
            let file_of = |tail: &&Follower| tail.found.tool == session.0 && names_one(session.0, &tail.found.path);
            self.tails.values().any(|tail| file_of(&tail))
        };
        if related.iter().all(is_known) {
            return false;
        }
        self.backlog.probe(|entry| unknown.contains(&entry.path)) > 0
    }

    /// What the files of one session have in common: of a main transcript its path without its ending, which is the
    /// directory of its subagents' transcripts.
    fn session_path(&self, path: &Path) -> PathBuf {
        let main = |dir: &&Path| self.tails.contains_key(&dir.with_added_extension("jsonl"));
        let dirs = path.parent().into_iter().flat_map(Path::ancestors);
        dirs.take(8).find(main).map_or_else(|| path.with_extension(""), Path::to_owned)
    }

    /// Reads a slice of the backlog, on all processors if there is much to read.
    pub(super) fn read_slice(&mut self, budget: &Budget<'_>) -> Result<(), SinkClosed> {
        if budget.is_spent(&*self.sink) {
            return Ok(());
        }
        let (entries, urgent) = self.backlog.take(SLICE_BYTES, SLICE_FILES);
        let left = self.read_entries(entries, budget)?;
        self.backlog.put_back(left, urgent);
        Ok(())
    }

    /// Reads everything: finds out what there is, and reads all of it at once.
    pub(crate) fn rescan(&mut self) -> Result<(), SinkClosed> {
        self.discover()?;
        self.read_backlog(&Budget::unlimited())
    }

    /// Reads the whole backlog as far as the budget goes.
    pub(super) fn read_backlog(&mut self, budget: &Budget<'_>) -> Result<(), SinkClosed> {
        while !self.backlog.is_empty() {
            let (mut entries, urgent) = self.backlog.take(u64::MAX, usize::MAX);
            // Largest first, so that no processor is left with a large one in the end.
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
            let left = self.read_entries(entries, budget)?;
            if !left.is_empty() {
                self.backlog.put_back(left, urgent);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads these files, and returns those for which the budget was not enough.
    fn read_entries(&mut self, entries: Vec<Entry>, budget: &Budget<'_>) -> Result<Vec<Entry>, SinkClosed> {
        let mut queue = VecDeque::with_capacity(entries.len());
        let mut bytes = 0;
        for entry in entries {
            // Otherwise it was polled meanwhile, because something happened to it, or it is gone.
            if self.tails.get(&entry.path).is_some_and(|tail| tail.queued)
                && let Some(tail) = self.tails.remove(&entry.path)
            {
                bytes += if entry.probe { files::CHUNK as u64 } else { entry.bytes };
                queue.push_back((entry, tail));
            }
        }
        let processors = || thread::available_parallelism().map_or(1, NonZero::get);
        let workers = if bytes < WORTH_A_THREAD { 1 } else { processors().min(queue.len()) };
        let queue = Mutex::new(queue);
        let polled = Mutex::new(Vec::new());
        let sink = &*self.sink;
        // A function of its own, so that the lock is given back before the file is read.
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = |buffer: &mut Vec<u8>| {
            while !budget.is_spent(sink) {
                let Some((entry, mut tail)) = next() else { break };
                let from = tail.position();
                let outcome = if entry.probe {
                    tail.poll(sink, buffer, &budget.of_one_chunk())
                } else {
                    tail.poll(sink, buffer, budget)
                };
                let is_closed = matches!(outcome, Err(PollError::SinkClosed));
                polled.lock().unwrap_or_else(PoisonError::into_inner).push((entry, tail, from, outcome));
                if is_closed {
                    break;
                }
            }
        };
        if workers < 2 {
            work(&mut self.buffer);
        } else {
            thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(|| work(&mut Vec::new())))));
        }
        // All files are known again before any outcome is acted upon.
        let mut outcomes = Vec::new();
        for (entry, tail, from, outcome) in polled.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.tails.insert(entry.path.clone(), tail);
            outcomes.push((entry, from, outcome));
        }
        let mut untouched = Vec::new();
        for (entry, tail) in queue.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.tails.insert(entry.path.clone(), tail);
            untouched.push(entry);
        }
        let mut left = Vec::new();
        for (entry, from, outcome) in outcomes {
            let is_paused = matches!(outcome, Ok(Polling::Paused));
            self.count_read(&entry.path, from, !is_paused);
            self.take_outcome(&entry.path, outcome)?;
            if is_paused {
                left.push(entry);
            }
        }
        left.append(&mut untouched);
        Ok(left)
    }

    /// Counts what has been read of a file of the backlog, from this position on.
    fn count_read(&mut self, path: &Path, from: u64, is_done: bool) {
        let Some(tail) = self.tails.get_mut(path).filter(|tail| tail.queued) else { return };
        let progress = &mut self.progress;
        progress.bytes += tail.position().saturating_sub(from);
        progress.bytes_total = progress.bytes_total.max(progress.bytes);
        if is_done {
            tail.queued = false;
            progress.files += 1;
        }
    }

    /// Polls the files that changed lately.
    pub(super) fn poll_active(&mut self, budget: &Budget<'_>) -> Result<(), SinkClosed> {
        let active = self.tails.iter().filter(|(_, tail)| !tail.queued && tail.is_active());
        let paths: Vec<PathBuf> = active.map(|(path, _)| path.clone()).collect();
        paths.iter().try_for_each(|path| self.poll_known(path, budget))
    }

    /// Polls what may have changed: files, directories, and things that are no longer there.
    pub(super) fn poll_paths(
        &mut self,
        paths: impl IntoIterator<Item = PathBuf>,
        budget: &Budget<'_>,
    ) -> Result<(), SinkClosed> {
        let named = |path: PathBuf| {
            let found = self.dirs.iter().find_map(|dir| Some((dir.clone(), dir.named(&path)?)));
            found.map_or((None, path), |(dir, path)| (Some(dir), path))
        };
        let paths: Vec<(Option<TranscriptDir>, PathBuf)> = paths.into_iter().map(named).collect();
        let mut polled = BTreeSet::new();
        for (_, path) in &paths {
            for path in self.known_below(path) {
                self.poll_known(&path, budget)?;
                polled.insert(path);
            }
        }
        for (dir, path) in paths {
            let Some(dir) = dir else { continue };
            // Directories, which are found out about by walking them again.
            self.unreadable.retain(|known, _| self.tails.contains_key(known) || !known.starts_with(&path));
            let mut unreadable = Vec::new();
            for found in files::transcripts_at(&dir, &dir.root.transcript_of(path), &mut unreadable) {
                // Unless it was gone a moment ago, it has been polled.
                if !polled.contains(&found.path) || !self.tails.contains_key(&found.path) {
                    let path = found.path.clone();
                    self.add(found);
                    self.poll_known(&path, budget)?;
                }
            }
            self.add_unreadable(unreadable);
        }
        Ok(())
    }

    /// Known files at this path or, if it was a directory, below it.
    fn known_below(&self, path: &Path) -> Vec<PathBuf> {
        let from = self.tails.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from.map(|(known, _)| known).take_while(|known| known.starts_with(path)).cloned().collect()
    }

    /// Polls one file. What the budget is not enough for becomes urgent.
    fn poll_known(&mut self, path: &Path, budget: &Budget<'_>) -> Result<(), SinkClosed> {
        let Some(tail) = self.tails.get_mut(path) else { return Ok(()) };
        let from = tail.position();
        let outcome = if budget.is_spent(&*self.sink) {
            Ok(Polling::Paused)
        } else {
            tail.poll(&*self.sink, &mut self.buffer, budget)
        };
        let is_paused = matches!(outcome, Ok(Polling::Paused));
        self.count_read(path, from, !is_paused);
        if is_paused
            && let Ok(metadata) = fs::symlink_metadata(path)
            && let Some(tail) = self.tails.get_mut(path)
            && let Some(entry) = queue(path, tail, &metadata)
        {
            self.progress.files_total += 1;
            self.progress.bytes_total += entry.bytes;
            self.backlog.add_urgent(entry);
        }
        self.take_outcome(path, outcome)
    }

    fn take_outcome(&mut self, path: &Path, outcome: Result<Polling, PollError>) -> Result<(), SinkClosed> {
        match outcome {
            Ok(Polling::Complete | Polling::Paused) => {
                self.unreadable.remove(path);
                if let Some(tail) = self.tails.get(path) {
                    self.deleted.remove(&tail.found.key);
                }
            }
            Ok(Polling::Gone) => self.forget(path)?,
            Err(PollError::SinkClosed) => return Err(SinkClosed),
            Err(PollError::Unreadable(error)) => {
                self.unreadable.insert(path.to_owned(), error.to_string());
            }
            Err(PollError::Panicked) => {
                self.unreadable.insert(path.to_owned(), PANICKED.to_owned());
            }
            // It changes faster than it can be read; the next poll may succeed.
            Err(PollError::Stale) => {}
        }
        Ok(())
    }

    fn add_unreadable(&mut self, unreadable: Vec<Unreadable>) {
        self.unreadable.extend(unreadable.into_iter().map(|Unreadable { path, error }| (path.into(), error)));
    }

    /// Makes the file a known one; whether it was not.
    fn add(&mut self, found: TranscriptFile) -> bool {
        if self.tails.contains_key(&found.path) {
            return false;
        }
        let former = self.former_name(&found.path);
        let came_back = self.deleted.contains_key(&found.key);
        let path = found.path.clone();
        let mut tail = Follower::new(Arc::new(found), came_back, self.activity);
        if let Some(former) = former.filter(|former| former.key != tail.found.key) {
            tail.supersede(former);
        }
        self.tails.insert(path, tail);
        true
    }

    fn forget(&mut self, path: &Path) -> Result<(), SinkClosed> {
        self.unreadable.remove(path);
        let Some(tail) = self.tails.remove(path).filter(Follower::is_reported) else { return Ok(()) };
        let fingerprint = tail.fingerprint();
        let found = tail.found;
        if let Some((identity, marks)) = fingerprint {
            // It has been read under its new name already, or another link to it remains.
            if self.tails.values().any(|other| other.is_same(identity, &marks)) {
                return self.retract(found);
            }
            self.moved.insert(identity, (Arc::clone(&found), marks));
        }
        self.deleted.insert(found.key.clone(), Arc::clone(&found));
        self.sink.send(SourceMessage::Archive { file: found })
    }

    /// The file is read under another name: what it said under this one no longer counts.
    fn retract(&mut self, found: Arc<TranscriptFile>) -> Result<(), SinkClosed> {
        self.deleted.insert(found.key.clone(), Arc::clone(&found));
        reader::retract(&*self.sink, found)
    }

    /// The deleted file that is now at `path`, if there is one.
    fn former_name(&mut self, path: &Path) -> Option<Arc<TranscriptFile>> {
        let identity = FileIdentity::of(&path.symlink_metadata().ok()?);
        let (found, marks) = self.moved.remove(&identity)?;
        // Numbers are given out again: the contents decide.
        let bytes = marks.match_in(&mut File::open(path).ok()?).ok()?;
        (bytes.is_some() && self.deleted.contains_key(&found.key)).then_some(found)
    }
}

/// An entry for the file in the backlog, unless it has one.
fn queue(path: &Path, tail: &mut Follower, metadata: &fs::Metadata) -> Option<Entry> {
    let bytes = metadata.len().saturating_sub(tail.position());
    let entry = Entry { path: path.to_owned(), modified: tail.changed_at(metadata), bytes, probe: false };
    (!std::mem::replace(&mut tail.queued, true)).then_some(entry)
}
