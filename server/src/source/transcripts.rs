//! Follows all transcripts: what is there at the start, and what is written afterwards.
//!
//! Changes are announced by the file system and, because announcements get lost (queues overflow,
//! network drives send none), looked for again every [`RESCAN`]. Either way the same thing happens:
//! a file is looked at, and what is new in it is read. So what history and growth add up to is what
//! one reading of everything would find.
//!
//! A file that shrank, was replaced, or no longer has the bytes that were read before is withdrawn and
//! read anew; one that is gone is archived. The queue to the engine is bounded: while it is full,
//! reading waits, and the announcements that pile up meanwhile collapse into one rescan.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use dashboard_core::event::{HealthError, HealthStatus};
use dashboard_core::record::{Presence, Record};
use dashboard_core::transcript::{Reading, TranscriptReader, claude};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::SourceMessage;
use super::files::{self, Found, Unreadable};
use super::presence;
use super::roots::Root;
use crate::clock;
use crate::health::{DashboardHealth, Part};
use crate::platform;

/// Everything is looked at again this often, whatever was announced.
const RESCAN: Duration = Duration::from_secs(5);
/// Which sessions run is looked at this often.
const PRESENCE: Duration = Duration::from_secs(2);
/// Announced paths that may wait; when there are more, everything is looked at.
const ANNOUNCED: usize = 4_096;
/// Records in one message to the engine.
const RECORDS: usize = 512;
/// Bytes before the place reached that are remembered, to recognise a file that was rewritten.
const TAIL_BYTES: usize = 64;

/// Nobody takes our messages any more.
struct Unheard;

/// See the [module's description](self).
pub(super) struct Tail {
    roots: Vec<Root>,
    messages: mpsc::Sender<SourceMessage>,
    health: DashboardHealth,
    files: HashMap<String, Tailed>,
    unreadable: BTreeMap<String, String>,
    running: Vec<Presence>,
    buffer: Vec<u8>,
}

/// A file and how far it was read.
struct Tailed {
    found: Found,
    reader: TranscriptReader,
    /// Bytes read.
    position: u64,
    /// The last of them.
    tail: Vec<u8>,
    number: u64,
    modified: Option<SystemTime>,
    /// Whether what its `.meta.json` says was told, or it can have none.
    meta_told: bool,
}

impl Tailed {
    fn new(found: Found, metadata: &Metadata) -> Self {
        let meta_told = !found.name.contains("/subagents/");
        let reader = TranscriptReader::new(&found.name);
        let number = platform::file_number(metadata);
        Self { found, reader, position: 0, tail: Vec::new(), number, modified: None, meta_told }
    }

    /// Whether the file is still the one that was read, with the bytes that were read.
    fn is_same(&self, file: &mut File, metadata: &Metadata) -> io::Result<bool> {
        if metadata.len() < self.position || platform::file_number(metadata) != self.number {
            return Ok(false);
        }
        let mut before = vec![0; self.tail.len()];
        file.seek(SeekFrom::Start(self.position - self.tail.len() as u64))?;
        file.read_exact(&mut before)?;
        Ok(before == self.tail)
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.position += bytes.len() as u64;
        if bytes.len() >= TAIL_BYTES {
            self.tail = bytes[bytes.len() - TAIL_BYTES..].to_vec();
        } else {
            self.tail.extend_from_slice(bytes);
            self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES));
        }
    }
}

impl Tail {
    pub(super) fn new(roots: Vec<Root>, messages: mpsc::Sender<SourceMessage>, health: DashboardHealth) -> Self {
        Self {
            roots,
            messages,
            health,
            files: HashMap::new(),
            unreadable: BTreeMap::new(),
            running: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Reads until nobody listens.
    pub(super) fn run(mut self) {
        // Ends when nobody listens, which is how the dashboard stops.
        let _ = self.follow();
    }

    fn follow(&mut self) -> Result<(), Unheard> {
        let mut watch = Watch::new();
        watch.cover(&self.roots);
        self.rescan()?;
        self.look_who_runs()?;
        self.send(SourceMessage::HistoryRead)?;
        let (mut rescanned, mut looked) = (Instant::now(), Instant::now());
        loop {
            let due = RESCAN.saturating_sub(rescanned.elapsed()).min(PRESENCE.saturating_sub(looked.elapsed()));
            for path in watch.announced(due) {
                self.look(&path)?;
            }
            if self.messages.is_closed() {
                return Err(Unheard);
            }
            if watch.overflowed() || rescanned.elapsed() >= RESCAN {
                watch.cover(&self.roots);
                self.rescan()?;
                rescanned = Instant::now();
            }
            if looked.elapsed() >= PRESENCE {
                self.look_who_runs()?;
                looked = Instant::now();
            }
        }
    }

    fn send(&self, message: SourceMessage) -> Result<(), Unheard> {
        self.messages.blocking_send(message).map_err(|_| Unheard)
    }

    /// Looks at every file there is, and at those that were there.
    fn rescan(&mut self) -> Result<(), Unheard> {
        let mut unreadable = Vec::new();
        let mut found: Vec<Found> =
            self.roots.iter().flat_map(|root| files::transcripts(root, &mut unreadable)).collect();
        found.sort();
        let present: HashSet<&str> = found.iter().map(|found| found.key.as_str()).collect();
        let gone: Vec<Found> = self
            .files
            .values()
            .map(|file| &file.found)
            .filter(|f| !present.contains(f.key.as_str()))
            .cloned()
            .collect();
        // Directories are only seen here: what is readable again is no longer named.
        self.unreadable.retain(|path, _| present.contains(path.as_str()));
        for Unreadable { path, error } in unreadable {
            self.cannot_read(path, &error)?;
        }
        for found in gone.into_iter().chain(found) {
            self.look_at(found)?;
        }
        self.tell_health();
        Ok(())
    }

    /// Looks at what was announced: a transcript, or a directory with some.
    fn look(&mut self, path: &Path) -> Result<(), Unheard> {
        let found = self.roots.iter().find_map(|root| files::as_transcript(root, path));
        if let Some(found) = found {
            self.look_at(found)?;
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".meta.json")) {
            let transcript = path.to_string_lossy().replace(".meta.json", ".jsonl");
            return self.look(Path::new(&transcript));
        } else if path.parent().is_some_and(|parent| parent.ends_with("sessions")) {
            self.look_who_runs()?;
        } else if path.is_dir() {
            // Files may have been put into a new directory before it was watched.
            let below = self.roots.iter().filter(|root| path.starts_with(root.dir.join("projects")));
            let mut unreadable = Vec::new();
            let found: Vec<Found> = below.flat_map(|root| files::transcripts_in(root, path, &mut unreadable)).collect();
            for found in found {
                self.look_at(found)?;
            }
        }
        self.tell_health();
        Ok(())
    }

    /// Reads what is new in a file.
    fn look_at(&mut self, found: Found) -> Result<(), Unheard> {
        let key = found.key.clone();
        match self.read_new(found) {
            Ok(sent) => {
                self.unreadable.remove(&key);
                sent
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.unreadable.remove(&key);
                match self.files.remove(&key) {
                    Some(_) => self.send(SourceMessage::Archive { path: key }),
                    None => Ok(()),
                }
            }
            Err(error) => self.cannot_read(key, &error.to_string()),
        }
    }

    /// The outer result is about the file, the inner one about those who listen.
    fn read_new(&mut self, found: Found) -> io::Result<Result<(), Unheard>> {
        let metadata = fs::symlink_metadata(&found.path)?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let key = found.key.clone();
        let modified = metadata.modified().ok();
        if let Some(known) = self.files.get(&key)
            && known.position == metadata.len()
            && known.modified == modified
            && known.number == platform::file_number(&metadata)
            && known.meta_told
        {
            return Ok(Ok(()));
        }
        let mut file = File::open(&found.path)?;
        let mut tailed = match self.files.remove(&key) {
            Some(known) if known.is_same(&mut file, &metadata)? => known,
            Some(_) => {
                if self.send(SourceMessage::Retract { path: key.clone() }).is_err() {
                    return Ok(Err(Unheard));
                }
                Tailed::new(found, &metadata)
            }
            None => Tailed::new(found, &metadata),
        };
        file.seek(SeekFrom::Start(tailed.position))?;
        tailed.modified = modified;
        let mut outcome = self.read_on(&mut file, &mut tailed);
        if matches!(outcome, Ok(Ok(Reading::Stale))) {
            // The unfinished last line that was counted went on to be something else.
            if self.send(SourceMessage::Retract { path: key.clone() }).is_err() {
                return Ok(Err(Unheard));
            }
            tailed = Tailed::new(tailed.found, &metadata);
            file.seek(SeekFrom::Start(0))?;
            outcome = self.read_on(&mut file, &mut tailed);
        }
        // Kept even if reading failed half-way: it goes on from there.
        self.files.insert(key, tailed);
        outcome.map(|heard| heard.map(|_| ()))
    }

    /// Reads to the end of the file and tells what is in it.
    fn read_on(&mut self, file: &mut File, tailed: &mut Tailed) -> io::Result<Result<Reading, Unheard>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(files::CHUNK, 0);
        let mut records = Vec::new();
        let outcome = loop {
            match file.read(&mut buffer) {
                Ok(0) => break Ok(Ok(tailed.reader.finish(&mut |record| records.push(record)))),
                Ok(length) => {
                    let reading = tailed.reader.read(&buffer[..length], &mut |record| records.push(record));
                    tailed.remember(&buffer[..length]);
                    if reading == Reading::Stale {
                        break Ok(Ok(reading));
                    }
                    if records.len() >= RECORDS && self.tell(tailed, std::mem::take(&mut records)).is_err() {
                        break Ok(Err(Unheard));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        if matches!(outcome, Ok(Ok(Reading::Stale) | Err(_))) {
            return outcome;
        }
        if !tailed.meta_told
            && let Some(agent) = agent_meta(&tailed.found)
        {
            tailed.meta_told = true;
            records.push(agent);
        }
        if self.tell(tailed, records).is_err() {
            return Ok(Err(Unheard));
        }
        outcome
    }

    fn tell(&self, tailed: &mut Tailed, records: Vec<Record>) -> Result<(), Unheard> {
        let rejections = tailed.reader.take_rejections();
        let counts = tailed.reader.counts();
        self.send(SourceMessage::Read { path: tailed.found.key.clone(), records, rejections, counts })
    }

    fn look_who_runs(&mut self) -> Result<(), Unheard> {
        let running = presence::running(&self.roots);
        self.health.report(Part::Presence, HealthStatus::Healthy, format!("{} running", running.len()));
        if running != self.running {
            self.running.clone_from(&running);
            self.send(SourceMessage::Presence(running))?;
        }
        Ok(())
    }

    /// Said once for each file or directory; the rest goes on.
    fn cannot_read(&mut self, path: String, error: &str) -> Result<(), Unheard> {
        if self.unreadable.get(&path).is_some_and(|known| known == error) {
            return Ok(());
        }
        tracing::warn!(path, error, "cannot read a transcript; the others are read");
        let text = format!("cannot read {path}: {error}");
        self.unreadable.insert(path, error.to_owned());
        let failure = HealthError { component: "transcripts".to_owned(), error: text, timestamp: clock::wall() };
        self.send(SourceMessage::Failure(failure))
    }

    fn tell_health(&self) {
        let any_root = self.roots.iter().any(|root| root.dir.join("projects").is_dir());
        let (status, message) = match self.unreadable.first_key_value() {
            Some((path, error)) => {
                let others = self.unreadable.len() - 1;
                let others = if others == 0 { String::new() } else { format!(" and {others} more") };
                (HealthStatus::Degraded, format!("cannot read {path}{others}: {error}; check its permissions"))
            }
            None if !any_root => {
                (HealthStatus::Degraded, "no projects directory yet; start Claude Code, or use --config-dir".to_owned())
            }
            None => (HealthStatus::Healthy, format!("{} files", self.files.len())),
        };
        self.health.report(Part::Transcripts, status, message);
    }
}

/// What the `.meta.json` beside a subagent's transcript says, once it is there.
fn agent_meta(found: &Found) -> Option<Record> {
    let text = fs::read(found.path.with_extension("meta.json")).ok()?;
    let name = found.name.strip_suffix(".jsonl")?;
    claude::agent_meta(&format!("{name}.meta.json"), &text).map(Record::Agent)
}

/// The file system's announcements.
struct Watch {
    watcher: Option<RecommendedWatcher>,
    covered: HashSet<PathBuf>,
    paths: Receiver<PathBuf>,
    overflow: Arc<AtomicBool>,
}

impl Watch {
    fn new() -> Self {
        let (sender, paths) = sync_channel(ANNOUNCED);
        let overflow = Arc::new(AtomicBool::new(false));
        let lost = Arc::clone(&overflow);
        let watcher = notify::recommended_watcher(move |event| announce(event, &sender, &lost));
        let watcher =
            watcher.inspect_err(|error| tracing::warn!(%error, "no file watching; looking every few seconds"));
        Self { watcher: watcher.ok(), covered: HashSet::new(), paths, overflow }
    }

    /// Watches the directories that have appeared, and forgets those that have gone.
    fn cover(&mut self, roots: &[Root]) {
        let Some(watcher) = &mut self.watcher else { return };
        for root in roots {
            for (name, mode) in [("projects", RecursiveMode::Recursive), ("sessions", RecursiveMode::NonRecursive)] {
                let dir = root.dir.join(name);
                if !dir.is_dir() {
                    self.covered.remove(&dir);
                } else if !self.covered.contains(&dir) {
                    match watcher.watch(&dir, mode) {
                        Ok(()) => {
                            self.covered.insert(dir);
                        }
                        Err(error) => tracing::debug!(%error, dir = %dir.display(), "cannot watch"),
                    }
                }
            }
        }
    }

    /// The paths announced, each once; waits for the first no longer than `wait`.
    fn announced(&self, wait: Duration) -> Vec<PathBuf> {
        match self.paths.recv_timeout(wait) {
            Ok(first) => {
                let mut seen = HashSet::new();
                let all = std::iter::once(first).chain(self.paths.try_iter().take(ANNOUNCED));
                all.filter(|path| seen.insert(path.clone())).collect()
            }
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => {
                // No watcher: wait as if it were silent.
                std::thread::sleep(wait);
                Vec::new()
            }
        }
    }

    fn overflowed(&self) -> bool {
        self.overflow.swap(false, Ordering::Relaxed)
    }
}

fn announce(event: notify::Result<notify::Event>, paths: &SyncSender<PathBuf>, lost: &AtomicBool) {
    match event {
        Ok(event) if event.need_rescan() => lost.store(true, Ordering::Relaxed),
        // Reading a file is no news of it.
        Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
        Ok(event) => {
            for path in event.paths {
                if paths.try_send(path).is_err() {
                    lost.store(true, Ordering::Relaxed);
                }
            }
        }
        Err(error) => {
            tracing::debug!(%error, "file watching reports an error");
            lost.store(true, Ordering::Relaxed);
        }
    }
}
