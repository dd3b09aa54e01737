//! All transcripts below the roots, each read as it grows; the engine is told in order.
//!
//! Which files to look at comes from the watcher, and from looking around oneself now and then, since watchers miss
//! things. Looking at a file that has not changed costs one system call, so it is done when in doubt.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::SourceMessage;
use super::files::{self, Found, Unreadable};
use super::roots::Root;
use super::tail::{EngineGone, Interrupted, Marks, Outlet, Seen, Tail};
use crate::platform::FileIdentity;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Transcripts {
    roots: Vec<Root>,
    out: Outlet,
    tails: BTreeMap<PathBuf, Tail>,
    /// Files that went, by key: should one come back, it starts anew.
    deleted: HashSet<String>,
    /// The same, by what they were: should one turn up elsewhere, it was renamed.
    moved: HashMap<FileIdentity, (String, Marks)>,
    /// What cannot be read at present, and why.
    unreadable: BTreeMap<PathBuf, String>,
    buffer: Vec<u8>,
}

impl Transcripts {
    /// Nothing has been read yet.
    pub(super) fn new(roots: Vec<Root>, out: Outlet) -> Self {
        Self {
            roots,
            out,
            tails: BTreeMap::new(),
            deleted: HashSet::new(),
            moved: HashMap::new(),
            unreadable: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// How many files there are.
    pub(super) fn count(&self) -> usize {
        self.tails.len()
    }

    /// What cannot be read at present: paths and reasons.
    pub(super) fn unreadable(&self) -> &BTreeMap<PathBuf, String> {
        &self.unreadable
    }

    /// Looks at everything: files known, and files not known yet.
    pub(super) fn look_at_everything(&mut self) -> Result<(), EngineGone> {
        // Known ones first, so that a renamed file is known to be gone when it turns up elsewhere.
        self.look_at_known(|_| true)?;
        self.unreadable.clear();
        for root in self.roots.clone() {
            let mut unreadable = Vec::new();
            let found = files::transcripts(&root, &mut unreadable);
            self.unreadable.extend(unreadable.into_iter().map(|Unreadable { path, error }| (path.into(), error)));
            for found in found {
                self.look_at_found(found)?;
            }
        }
        Ok(())
    }

    /// Looks at the files that changed lately.
    pub(super) fn look_at_active(&mut self) -> Result<(), EngineGone> {
        self.look_at_known(Tail::is_active)
    }

    /// Looks at what may have changed: files, directories, and things that are no longer there.
    pub(super) fn look_at(&mut self, paths: impl IntoIterator<Item = PathBuf> + Clone) -> Result<(), EngineGone> {
        for path in paths.clone() {
            for path in self.known_below(&path) {
                self.look_at_tail(&path)?;
            }
        }
        for path in paths {
            let Some(root) = self.roots.iter().find(|root| root.holds(&path)).cloned() else {
                continue;
            };
            let mut unreadable = Vec::new();
            for found in files::transcripts_at(&root, &root.adapter().transcript_of(path), &mut unreadable) {
                self.look_at_found(found)?;
            }
            self.unreadable.extend(unreadable.into_iter().map(|Unreadable { path, error }| (path.into(), error)));
        }
        Ok(())
    }

    fn look_at_known(&mut self, which: impl Fn(&Tail) -> bool) -> Result<(), EngineGone> {
        let paths: Vec<PathBuf> =
            self.tails.iter().filter(|(_, tail)| which(tail)).map(|(path, _)| path.clone()).collect();
        paths.iter().try_for_each(|path| self.look_at_tail(path))
    }

    /// Known files at this path or, if it was a directory, below it.
    fn known_below(&self, path: &Path) -> Vec<PathBuf> {
        let from = self.tails.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from.map(|(known, _)| known).take_while(|known| known.starts_with(path)).cloned().collect()
    }

    fn look_at_found(&mut self, found: Found) -> Result<(), EngineGone> {
        let path = found.path.clone();
        if !self.tails.contains_key(&path) {
            if let Some(key) = self.former_name(&path) {
                self.withdraw(key)?;
            }
            let came_back = self.deleted.contains(&found.key);
            self.tails.insert(path.clone(), Tail::new(found, came_back));
        }
        self.look_at_tail(&path)
    }

    fn look_at_tail(&mut self, path: &Path) -> Result<(), EngineGone> {
        let Some(tail) = self.tails.get_mut(path) else { return Ok(()) };
        match tail.look(&self.out, &mut self.buffer) {
            Ok(Seen::There) => {
                self.unreadable.remove(path);
                self.deleted.remove(&tail.found.key);
            }
            Ok(Seen::Gone) => self.forget(path)?,
            Err(Interrupted::EngineGone) => return Err(EngineGone),
            Err(Interrupted::Unreadable(error)) => {
                self.unreadable.insert(path.to_owned(), error.to_string());
            }
            // It changes faster than it can be read; the next look may succeed.
            Err(Interrupted::Stale) => {}
        }
        Ok(())
    }

    fn forget(&mut self, path: &Path) -> Result<(), EngineGone> {
        self.unreadable.remove(path);
        let Some(tail) = self.tails.remove(path).filter(Tail::has_said_something) else { return Ok(()) };
        let remains = tail.remains();
        let key = tail.found.key;
        if let Some((identity, marks)) = remains {
            // It has been read under its new name already, or another link to it remains.
            if self.tails.values().any(|other| other.is_same(identity, &marks)) {
                return self.withdraw(key);
            }
            self.moved.insert(identity, (key.clone(), marks));
        }
        self.deleted.insert(key.clone());
        self.out.send(SourceMessage::Archive { path: key })
    }

    /// The file is known under another name: what it said under this one goes.
    fn withdraw(&mut self, key: String) -> Result<(), EngineGone> {
        self.deleted.insert(key.clone());
        self.out.send(SourceMessage::Retract { path: key.clone() })?;
        self.out.send(SourceMessage::Archive { path: key })
    }

    /// The key of the deleted file that is now at `path`, if there is one.
    fn former_name(&mut self, path: &Path) -> Option<String> {
        let identity = FileIdentity::of(&path.symlink_metadata().ok()?);
        let (key, marks) = self.moved.remove(&identity)?;
        // Numbers are given out again: the contents decide.
        let bytes = marks.match_in(&mut File::open(path).ok()?).ok()?;
        (bytes.is_some() && self.deleted.contains(&key)).then_some(key)
    }
}
