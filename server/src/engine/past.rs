//! The history that the trackers do not hold: read from the store when they need it, let go of once it is committed.
//!
//! The trackers hold the present. What a message says of anything older is [recalled](Past::recall) before the message
//! is taken, at the cost of the rows that it concerns. Now and then what is on the disk and over is
//! [released](Past::release_if_due). What is not on the disk is never released, so nothing depends on how far the store
//! has come; if the store cannot be read, the figures go on, and health says that a response may count twice.
//!
//! Bounded by the files there are, one entry each, and those with messages that are not committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use dashboard_core::ids::MessageId;
use dashboard_core::ledger::FileId;
use dashboard_core::record::{Record, Tool};
use dashboard_core::time::{MINUTE_MS, Timestamp};
use dashboard_core::tracker::{Block, Needs, Trackers};
use dashboard_core::transcript::Shape;

use crate::observation::{HistoryWriter, Recalled, Root, SourceMessage, TranscriptFile};
use crate::store::{HistoryReader, ReadError, UnreadableRows};

/// Claims held beyond those of the last release before it is worth another one.
const RELEASE_CLAIMS: usize = 10_000;
/// The same while history is read for the first time: then the store lags, and each release goes over all that is held.
const RELEASE_CLAIMS_READING: usize = 3_000_000;
/// Sessions that are over are released this often, whatever they claim.
const RELEASE_MS: i64 = 10 * MINUTE_MS;
/// Files that are not committed beyond which a release would keep too much.
const MOST_PENDING: usize = 64;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Past {
    database: Arc<Path>,
    roots: Vec<Root>,
    writer: Box<dyn HistoryWriter>,
    /// Opened when it is first needed, and again after a failure.
    reader: Option<HistoryReader>,
    files: HashMap<FileId, Known>,
    /// Files with messages that are not on the disk.
    pending: HashMap<FileId, Pending>,
    /// Whether the trackers hold all there is: the store was empty at the start, and nothing was released.
    holds_everything: bool,
    /// Whether everything has been read that was there at the start.
    is_read: bool,
    /// Claims held after the last release, and when that was.
    released: (usize, Timestamp),
    /// Why the store could not be read, the last time that was tried.
    failure: Option<String>,
}

/// A file that the store knows, or will.
#[derive(Debug)]
struct Known {
    file: Arc<TranscriptFile>,
    /// How many of its bytes the engine has taken, if it is read line by line; else all. A repetition may have brought
    /// the store further: what stands from there on is still to come.
    taken_bytes: u64,
}

impl Known {
    fn new(file: &Arc<TranscriptFile>, taken_bytes: u64) -> Self {
        let mut known = Self { file: Arc::clone(file), taken_bytes: u64::MAX };
        known.take(taken_bytes);
        known
    }

    fn take(&mut self, bytes: u64) {
        if matches!(self.file.tool.spec().shape_of(&self.file.name), Shape::Lines) {
            self.taken_bytes = bytes;
        }
    }
}

/// A file with messages that are not on the disk.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    /// The number of its newest message.
    newest: u64,
    /// The number of the newest one that withdrew what the store has of it.
    withdrawn: Option<u64>,
}

/// The messages that were not on the disk at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwritten(HashMap<FileId, u64>);

impl Unwritten {
    /// How many files they are about.
    pub(super) fn files(&self) -> usize {
        self.0.len()
    }
}

impl Past {
    /// Nothing is known yet of what the store holds.
    pub(super) fn new(database: Arc<Path>, roots: Vec<Root>, writer: Box<dyn HistoryWriter>) -> Self {
        Self {
            database,
            roots,
            writer,
            reader: None,
            files: HashMap::new(),
            pending: HashMap::new(),
            holds_everything: true,
            is_read: false,
            released: (0, Timestamp::default()),
            failure: None,
        }
    }

    /// Whether the trackers hold everything there is.
    pub(super) fn holds_everything(&self) -> bool {
        self.holds_everything
    }

    /// Why the store cannot be read, if it cannot.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Hands the trackers what a former process read.
    pub(super) fn begin(&mut self, trackers: &mut Trackers, recalled: &Recalled, now: Timestamp) {
        let Recalled {
            files,
            totals,
            days,
            recent,
            past_use,
            limits,
            sessions,
            records,
            claims,
            directories,
            rejections,
        } = recalled;
        self.holds_everything = files.is_empty();
        let ids: Vec<FileId> = files
            .iter()
            .map(|known| {
                let id = trackers.known_file(known.file.tool, &known.file.key, known.counts, known.lineage.as_ref());
                if known.archived {
                    trackers.archive_file(id);
                }
                self.files.insert(id, Known::new(&known.file, known.counts.bytes));
                id
            })
            .collect();
        totals.iter().for_each(|total| trackers.recall_totals(&total.model, total.responses, total.with_tokens));
        trackers.recall_days(days.iter().cloned());
        recent.iter().for_each(|response| trackers.recall_use(response, now));
        for (tool, model, quarter, tokens) in past_use {
            trackers.recall_past_use(*tool, model, *quarter, *tokens);
        }
        limits.iter().for_each(|(place, report)| trackers.recall_limit(ids[*place], report, now));
        directories
            .iter()
            .for_each(|(session, last, dir)| trackers.recall_directory(session.clone(), *last, dir.clone()));
        rejections.iter().for_each(|(place, rejection)| trackers.recall_rejection(ids[*place], rejection.clone()));
        trackers.recall_claims(claims.iter().map(|(place, claim)| (ids[*place], claim)));
        for (place, records) in records {
            trackers.recall_claims(alone(records).map(|claim| (ids[*place], claim)));
            trackers.loaded(ids[*place]);
        }
        let records = records.iter().map(|(place, records)| (ids[*place], records.as_slice()));
        trackers.recall_sessions(sessions, records, now);
        if !self.holds_everything {
            self.history_read(trackers, now);
        }
    }

    /// Everything is known that was used: from here on windows are complete.
    pub(super) fn history_read(&mut self, trackers: &mut Trackers, now: Timestamp) {
        if self.holds_everything {
            return trackers.history_read(now, |_, _| None);
        }
        let mut failed = None;
        let reader = self.open();
        let before = |tool: Tool, at: Timestamp| -> Option<Block> {
            let reader = reader.as_ref().ok()?;
            reader.block_before(tool, at).inspect_err(|error| failed = Some(error.to_string())).ok()?
        };
        trackers.history_read(now, before);
        if let Some(error) = failed {
            self.fail(error);
        }
    }

    /// Everything has been read that was there at the start.
    pub(super) fn read(&mut self) {
        self.is_read = true;
    }

    /// A message about a file has come.
    pub(super) fn received(&mut self, id: FileId, file: &Arc<TranscriptFile>, number: u64) {
        self.files.entry(id).or_insert_with(|| Known::new(file, 0));
        self.pending.entry(id).or_default().newest = number;
    }

    /// What was read of a file has been taken, up to its byte `bytes`.
    pub(super) fn taken(&mut self, id: FileId, bytes: u64) {
        if let Some(known) = self.files.get_mut(&id) {
            known.take(bytes);
        }
    }

    /// Hands a message on to the store.
    pub(super) fn keep(&self, number: u64, message: SourceMessage) {
        self.writer.keep(number, message);
    }

    /// The message of this number withdrew what the store has of the file.
    pub(super) fn withdrawn(&mut self, id: FileId, number: u64) {
        self.pending.entry(id).or_default().withdrawn = Some(number);
    }

    /// Sees what the store has committed.
    pub(super) fn poll_commits(&mut self, trackers: &Trackers, waiting: &mut [&mut Unwritten]) {
        for (file, number) in self.writer.take_committed() {
            let Some(id) = trackers.ledger().known(&file.key) else { continue };
            for unwritten in &mut *waiting {
                if unwritten.0.get(&id).is_some_and(|&newest| newest <= number) {
                    unwritten.0.remove(&id);
                }
            }
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.withdrawn = pending.withdrawn.filter(|&withdrawn| withdrawn > number);
            if pending.newest <= number {
                self.pending.remove(&id);
            }
        }
    }

    /// The messages that are not on the disk at this moment. They are committed soon.
    pub(super) fn unwritten(&self) -> Unwritten {
        if !self.pending.is_empty() {
            self.writer.hurry();
        }
        Unwritten(self.pending.iter().map(|(&id, pending)| (id, pending.newest)).collect())
    }

    /// Recalls what the trackers need. Costs the rows of the files, sessions and messages needed.
    pub(super) fn recall(&mut self, trackers: &mut Trackers, needs: impl FnOnce(&Trackers) -> Needs, now: Timestamp) {
        if self.holds_everything {
            return;
        }
        let needs = needs(trackers);
        if needs.is_empty() {
            return;
        }
        match self.try_recall(trackers, &needs, now) {
            Ok(()) => self.failure = None,
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, error: String) {
        if self.failure.is_none() {
            tracing::warn!(%error, "the history cannot be looked up");
        }
        self.reader = None;
        self.failure = Some(error);
    }

    fn open(&mut self) -> Result<&HistoryReader, ReadError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => HistoryReader::open(&self.database, &self.roots)?,
        };
        Ok(self.reader.insert(reader))
    }

    fn is_withdrawn(&self, id: FileId) -> bool {
        self.pending.get(&id).is_some_and(|pending| pending.withdrawn.is_some())
    }

    fn try_recall(&mut self, trackers: &mut Trackers, needs: &Needs, now: Timestamp) -> Result<(), ReadError> {
        self.open()?;
        let Some(reader) = &self.reader else { return Ok(()) };
        let mut wanted: BTreeSet<FileId> = needs.files.clone();
        for session in &needs.sessions {
            let files = reader.files_of(session)?;
            wanted.extend(files.iter().filter_map(|file| trackers.ledger().known(&file.found.key)));
        }
        let mut loaded: BTreeMap<FileId, Vec<Record>> = BTreeMap::new();
        let mut unreadable = UnreadableRows::default();
        let mut misread = Vec::new();
        for id in wanted {
            // What the store has of it does not hold any more; what does is held.
            let Some(Known { file, taken_bytes }) = self.files.get(&id).filter(|_| !self.is_withdrawn(id)) else {
                continue;
            };
            let Some((mut stored, rows)) = reader.file(file)? else { continue };
            stored.records.retain(|record| match record {
                Record::Usage(usage) => usage.place.byte_offset < *taken_bytes,
                _ => true,
            });
            if rows.count > 0 {
                misread.push(Arc::clone(file));
                unreadable.merge(rows);
            }
            loaded.insert(id, stored.records);
        }
        let mut messages: BTreeSet<MessageId> = needs.messages.iter().copied().collect();
        for (&id, records) in &loaded {
            if !trackers.ledger().is_loaded(id) {
                let claimed = records.iter().filter_map(|record| match record {
                    Record::Usage(usage) => usage.id.message(),
                    _ => None,
                });
                messages.extend(claimed.filter(|&message| !trackers.ledger().is_held(message)));
                trackers.recall_claims(alone(records).map(|claim| (id, claim)));
            }
        }
        let messages: Vec<MessageId> = messages.into_iter().collect();
        let claims = reader.claims_on(&messages)?;
        let claims: Vec<_> = claims
            .iter()
            .filter_map(|claim| Some((trackers.ledger().known(&claim.file.key)?, &claim.record)))
            .filter(|(id, record)| {
                let taken_bytes = self.files.get(id).map_or(0, |known| known.taken_bytes);
                record.place.byte_offset < taken_bytes && !self.is_withdrawn(*id)
            })
            .collect();
        trackers.recall_claims(claims);
        loaded.keys().for_each(|&id| trackers.loaded(id));
        let files = loaded.iter().map(|(&id, records)| (id, records.as_slice()));
        trackers.recall_sessions(&needs.sessions, files, now);
        if unreadable.count > 0 {
            self.writer.report_unreadable(unreadable.count, unreadable.example, misread);
        }
        Ok(())
    }

    /// Releases what is committed and over, if it is worth the while. Goes over all that is held.
    pub(super) fn release_if_due(&mut self, trackers: &mut Trackers, now: Timestamp) {
        let (_, claims) = trackers.held();
        let (before, at) = self.released;
        let most = if self.is_read { RELEASE_CLAIMS } else { RELEASE_CLAIMS_READING };
        let is_due = claims > 2 * before + most || self.is_read && now.ms_since(at) >= RELEASE_MS;
        if !is_due || self.pending.len() > MOST_PENDING || self.failure.is_some() {
            return;
        }
        self.release(trackers, now);
        tracing::debug!(claims, held = self.released.0, "what is over is held no more");
    }

    /// Releases what is committed and over.
    pub(super) fn release(&mut self, trackers: &mut Trackers, now: Timestamp) {
        trackers.release(|id| !self.pending.contains_key(&id), now);
        self.holds_everything = false;
        self.released = (trackers.held().1, now);
    }
}

/// Claims that name no message: they are known by their place in the file.
fn alone(records: &[Record]) -> impl Iterator<Item = &dashboard_core::record::UsageRecord> {
    records.iter().filter_map(|record| match record {
        Record::Usage(usage) if usage.id.message().is_none() => Some(usage),
        _ => None,
    })
}
