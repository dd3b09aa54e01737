//! What source and engine need of the store: what a former process read, what is to be read once more, what is on the
//! disk.
//!
//! The store implements these, the manager hands them out; so none of the three imports another for them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use dashboard_core::event::DayUsage;
use dashboard_core::ids::{ModelId, SessionId};
use dashboard_core::record::{FileCounts, Lineage, RateLimitReport, Record, Rejection, Tool, UsageRecord};
use dashboard_core::time::Timestamp;
use dashboard_core::units::Tokens;

use super::file::{Root, TranscriptFile};
use super::message::SourceMessage;
use super::state::FileState;

/// A file as the store knows it.
#[derive(Debug)]
pub struct StoredFile {
    /// The file.
    pub found: TranscriptFile,
    /// Where reading goes on.
    pub state: FileState,
    /// Whether it was deleted.
    pub archived: bool,
    /// What it said.
    pub records: Vec<Record>,
    /// Its refused lines.
    pub rejections: Vec<Rejection>,
}

/// A file that a former process read, without what it said.
#[derive(Clone, Debug)]
pub struct RecalledFile {
    /// The file.
    pub file: Arc<TranscriptFile>,
    /// Where reading goes on; none if the whole file has to be read again, in place of what the store has of it: its
    /// last line was not finished, or not all that is stored of it is understood.
    pub state: Option<FileState>,
    /// Whether it was deleted.
    pub archived: bool,
    /// What was read of it.
    pub counts: FileCounts,
    /// Which session it is and where it comes from, of tools whose forks repeat rows.
    pub lineage: Option<Lineage>,
}

/// Responses of one model that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTotal {
    /// The model.
    pub model: ModelId,
    /// How many.
    pub responses: u64,
    /// How many of them have any tokens.
    pub with_tokens: u64,
}

/// What a former process read, as far as the present depends on it. Files are named by their place in `files`.
///
/// Grows with the number of files and with what the last days used, not with the length of the history.
#[derive(Clone, Debug, Default)]
pub struct Recalled {
    /// All files.
    pub files: Vec<RecalledFile>,
    /// All responses that count.
    pub totals: Vec<ModelTotal>,
    /// What was used on the days that are shown.
    pub days: Vec<DayUsage>,
    /// The responses that count of the days that limits reach back to, and those dated in the future.
    pub recent: Vec<UsageRecord>,
    /// Before these: input and output tokens by tool, model and quarter hour, of the days that forecasts go by.
    pub past_use: Vec<(Tool, ModelId, Timestamp, Tokens)>,
    /// What vendors said of limits in the last months.
    pub limits: Vec<(usize, RateLimitReport)>,
    /// The sessions of the present.
    pub sessions: BTreeSet<SessionId>,
    /// All records of the files that say something of them.
    pub records: Vec<(usize, Vec<Record>)>,
    /// All claims on the messages that those files claim.
    pub claims: Vec<(usize, UsageRecord)>,
    /// Other sessions of the last days: when their last line was written, and their directory.
    pub directories: Vec<(SessionId, Timestamp, String)>,
    /// Refused lines of the files read last.
    pub rejections: Vec<(usize, Rejection)>,
}

/// What a former process read.
pub trait Recall {
    /// What is known of these roots' files at `now`; nothing, if the store cannot be read. Then everything is read from
    /// the files.
    fn recall(&self, roots: &[Root], now: Timestamp) -> Recalled;
}

/// The store, as the engine feeds it.
pub trait HistoryWriter: Send + Debug {
    /// Takes a message with its number. Never waits: what does not fit is asked for again.
    fn keep(&self, number: u64, message: SourceMessage);

    /// For each file of which something was committed since the last call, the number of its newest committed message:
    /// that message and all before it are on the disk.
    fn take_committed(&self) -> HashMap<Arc<TranscriptFile>, u64>;

    /// Asks for what waits to be committed at once.
    fn hurry(&self);

    /// Rows that were read are not understood: they are counted, one of them is named, and these files, as far as they
    /// are still there, are read again to replace them.
    fn report_unreadable(&self, count: u64, example: String, files: Vec<Arc<TranscriptFile>>);
}

/// What the store missed and asks for.
#[derive(Debug, Default)]
pub struct RepeatRequests {
    /// These files.
    pub files: BTreeSet<Arc<TranscriptFile>>,
    /// All files there are.
    pub everything: bool,
}

/// The store, as a source sees it.
pub trait HistoryStore: Recall + Send + Sync {
    /// What is to be read once more from the beginning, for the store alone, as asked for since the last call.
    fn take_repeats(&self) -> RepeatRequests;

    /// Whether so much waits to be written that history, which can wait, is not to be repeated now.
    fn is_busy(&self) -> bool;
}
