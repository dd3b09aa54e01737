//! All transcripts below the roots, each read as it grows; the engine is told in order.
//!
//! Which files to look at comes from the watcher, and from looking around oneself now and then, since watchers miss
//! things. Looking at a file that has not changed costs one system call, so it is done when in doubt.

use crate::observation::{FileState, Marks, RecordSink, Root, SinkClosed, SourceMessage, TranscriptFile, Unreadable};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::num::NonZero;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::files;
use super::reader::{self, FileReader, Interrupted, Seen};
use crate::platform::FileIdentity;

/// Less than this to read is not worth a thread.
const WORTH_A_THREAD: u64 = 1 << 20;

/// See the [module's description](self).
pub(crate) struct Transcripts {
    roots: Vec<Root>,
    out: Box<dyn RecordSink>,
    /// Whether it wants to know what sessions did.
    activity: bool,
    tails: BTreeMap<PathBuf, Box<dyn FileReader>>,
    /// Files that went, by key: should one come back, it starts anew.
    deleted: HashMap<String, Arc<TranscriptFile>>,
    /// The same, by what they were: should one turn up elsewhere, it was renamed.
    moved: HashMap<FileIdentity, (Arc<TranscriptFile>, Marks)>,
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
    pub(crate) fn new(roots: Vec<Root>, out: Box<dyn RecordSink>) -> Self {
        Self {
            roots,
            activity: out.wants_activity(),
            out,
            tails: BTreeMap::new(),
            deleted: HashMap::new(),
            moved: HashMap::new(),
            unreadable: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// A former process read this file, and who takes what is read knows what it said.
    pub(crate) fn resume(&mut self, found: Arc<TranscriptFile>, state: FileState, archived: bool) {
        if archived {
            if let Some((identity, marks)) = state.remains() {
                self.moved.insert(identity, (Arc::clone(&found), marks));
            }
            self.deleted.insert(found.key.clone(), found);
        } else {
            self.tails.insert(found.path.clone(), reader::resume(found, state, self.activity));
        }
    }

    /// Reads the whole file once more for someone who missed part of it. Nobody else is told.
    pub(crate) fn repeat(&mut self, file: Arc<TranscriptFile>, out: &dyn RecordSink) -> Result<(), SinkClosed> {
        // Said something, so that it begins by withdrawing it. What comes later reaches `out` from the file's own tail.
        match reader::new(file, true, out.wants_activity()).look(out, &mut self.buffer) {
            Err(Interrupted::SinkClosed) => Err(SinkClosed),
            Ok(_) | Err(Interrupted::Unreadable(_) | Interrupted::Stale) => Ok(()),
        }
    }

    /// All files there are.
    pub(crate) fn files(&self) -> impl Iterator<Item = Arc<TranscriptFile>> {
        self.tails.values().map(|tail| Arc::clone(tail.file()))
    }

    /// How many files there are.
    pub(crate) fn count(&self) -> usize {
        self.tails.len()
    }

    /// What cannot be read at present: paths and reasons.
    pub(crate) fn unreadable(&self) -> &BTreeMap<PathBuf, String> {
        &self.unreadable
    }

    /// Looks at everything: files known, and files not known yet.
    pub(crate) fn look_at_everything(&mut self) -> Result<(), SinkClosed> {
        // Known ones first, so that a renamed file is known to be gone when it turns up elsewhere.
        self.look_at_known(|_| true)?;
        self.unreadable.retain(|path, _| self.tails.contains_key(path));
        let mut new = Vec::new();
        for root in self.roots.clone() {
            let mut unreadable = Vec::new();
            let found = files::transcripts(&root, &mut unreadable);
            self.unreadable.extend(unreadable.into_iter().map(|Unreadable { path, error }| (path.into(), error)));
            for found in found {
                let path = found.path.clone();
                if self.take_up(found)? {
                    new.push(path);
                }
            }
        }
        self.look_at_tails(&new)
    }

    /// Looks at the files that changed lately.
    pub(crate) fn look_at_active(&mut self) -> Result<(), SinkClosed> {
        self.look_at_known(|tail| tail.is_active())
    }

    /// Looks at what may have changed: files, directories, and things that are no longer there.
    pub(crate) fn look_at(&mut self, paths: impl IntoIterator<Item = PathBuf> + Clone) -> Result<(), SinkClosed> {
        let mut looked_at = BTreeSet::new();
        for path in paths.clone() {
            for path in self.known_below(&path) {
                self.look_at_tail(&path)?;
                looked_at.insert(path);
            }
        }
        for path in paths {
            let Some(root) =
                self.roots.iter().find(|root| root.depth_at(&root.transcript_of(path.clone())).is_some()).cloned()
            else {
                continue;
            };
            let mut unreadable = Vec::new();
            for found in files::transcripts_at(&root, &root.transcript_of(path), &mut unreadable) {
                // Unless it was gone a moment ago, it has been looked at.
                if !looked_at.contains(&found.path) || !self.tails.contains_key(&found.path) {
                    self.look_at_found(found)?;
                }
            }
            self.unreadable.extend(unreadable.into_iter().map(|Unreadable { path, error }| (path.into(), error)));
        }
        Ok(())
    }

    fn look_at_known(&mut self, which: impl Fn(&dyn FileReader) -> bool) -> Result<(), SinkClosed> {
        let paths: Vec<PathBuf> =
            self.tails.iter().filter(|(_, tail)| which(&***tail)).map(|(path, _)| path.clone()).collect();
        self.look_at_tails(&paths)
    }

    /// Looks at several files, on all processors if there is much to read.
    fn look_at_tails(&mut self, paths: &[PathBuf]) -> Result<(), SinkClosed> {
        let mut new_bytes = 0;
        let mut queue: Vec<(u64, PathBuf)> = Vec::with_capacity(paths.len());
        for path in paths {
            let is_new = self.tails.get(path).is_some_and(|tail| tail.is_new());
            let bytes = if is_new { path.metadata().map_or(0, |metadata| metadata.len()) } else { 0 };
            new_bytes += bytes;
            queue.push((bytes, path.clone()));
        }
        let processors = || thread::available_parallelism().map_or(1, NonZero::get);
        let workers = if new_bytes < WORTH_A_THREAD { 1 } else { processors().min(paths.len()) };
        if workers < 2 {
            return paths.iter().try_for_each(|path| self.look_at_tail(path));
        }
        // Largest first, so that no worker is left with a large one in the end; taken from the back.
        queue.sort_unstable();
        let queue: Vec<(PathBuf, Box<dyn FileReader>)> =
            queue.into_iter().filter_map(|(_, path)| self.tails.remove_entry(&path)).collect();
        let queue = Mutex::new(queue);
        let looked = Mutex::new(Vec::with_capacity(paths.len()));
        // A function of its own, so that the lock is given back before the file is read.
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = || {
            let mut buffer = Vec::new();
            // A worker that panicked took its file with it; the others go on.
            while let Some((path, mut tail)) = next() {
                let seen = tail.look(&*self.out, &mut buffer);
                let gone = matches!(seen, Err(Interrupted::SinkClosed));
                looked.lock().unwrap_or_else(PoisonError::into_inner).push((path, tail, seen));
                if gone {
                    break;
                }
            }
        };
        thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
        let looked = looked.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Vec::with_capacity(looked.len());
        for (path, tail, outcome) in looked {
            self.tails.insert(path.clone(), tail);
            seen.push((path, outcome));
        }
        seen.into_iter().try_for_each(|(path, outcome)| self.take_outcome(&path, outcome))
    }

    /// Known files at this path or, if it was a directory, below it.
    fn known_below(&self, path: &Path) -> Vec<PathBuf> {
        let from = self.tails.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from.map(|(known, _)| known).take_while(|known| known.starts_with(path)).cloned().collect()
    }

    fn look_at_found(&mut self, found: TranscriptFile) -> Result<(), SinkClosed> {
        let path = found.path.clone();
        self.take_up(found)?;
        self.look_at_tail(&path)
    }

    /// Makes the file a known one; whether it was not.
    fn take_up(&mut self, found: TranscriptFile) -> Result<bool, SinkClosed> {
        if self.tails.contains_key(&found.path) {
            return Ok(false);
        }
        if let Some(former) = self.former_name(&found.path) {
            self.withdraw(former)?;
        }
        let came_back = self.deleted.contains_key(&found.key);
        self.tails.insert(found.path.clone(), reader::new(Arc::new(found), came_back, self.activity));
        Ok(true)
    }

    fn look_at_tail(&mut self, path: &Path) -> Result<(), SinkClosed> {
        let Some(tail) = self.tails.get_mut(path) else { return Ok(()) };
        let outcome = tail.look(&*self.out, &mut self.buffer);
        self.take_outcome(path, outcome)
    }

    fn take_outcome(&mut self, path: &Path, outcome: Result<Seen, Interrupted>) -> Result<(), SinkClosed> {
        match outcome {
            Ok(Seen::There) => {
                self.unreadable.remove(path);
                if let Some(tail) = self.tails.get(path) {
                    self.deleted.remove(&tail.file().key);
                }
            }
            Ok(Seen::Gone) => self.forget(path)?,
            Err(Interrupted::SinkClosed) => return Err(SinkClosed),
            Err(Interrupted::Unreadable(error)) => {
                self.unreadable.insert(path.to_owned(), error.to_string());
            }
            // It changes faster than it can be read; the next look may succeed.
            Err(Interrupted::Stale) => {}
        }
        Ok(())
    }

    fn forget(&mut self, path: &Path) -> Result<(), SinkClosed> {
        self.unreadable.remove(path);
        let Some(tail) = self.tails.remove(path).filter(|tail| tail.has_said_something()) else { return Ok(()) };
        let remains = tail.remains();
        let found = Arc::clone(tail.file());
        if let Some((identity, marks)) = remains {
            // It has been read under its new name already, or another link to it remains.
            if self.tails.values().any(|other| other.is_same(identity, &marks)) {
                return self.withdraw(found);
            }
            self.moved.insert(identity, (Arc::clone(&found), marks));
        }
        self.deleted.insert(found.key.clone(), Arc::clone(&found));
        self.out.send(SourceMessage::Archive { file: found })
    }

    /// The file is known under another name: what it said under this one goes.
    fn withdraw(&mut self, found: Arc<TranscriptFile>) -> Result<(), SinkClosed> {
        self.deleted.insert(found.key.clone(), Arc::clone(&found));
        self.out.send(SourceMessage::Retract { file: Arc::clone(&found) })?;
        self.out.send(SourceMessage::Archive { file: found })
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
