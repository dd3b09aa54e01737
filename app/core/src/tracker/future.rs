//! Lines dated in the future of the present instant.
//!
//! A clock that is wrong, or a zone written as UTC, dates lines hours ahead. Such a time is unknown until it has come
//! ([`Timestamp::known_at`]): the line counts, without a time, and is taken once more, with it, when it is due. Bounded
//! by [`MOST`] lines and the responses among what is held; a line beyond stays without a time until it is read again.

use std::collections::BTreeMap;

use crate::ledger::FileId;
use crate::record::{Record, UsageRecord};
use crate::time::{FUTURE_TOLERANCE_MS, Timestamp};

/// Most lines kept for later.
const MOST: usize = 10_000;

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Future {
    records: BTreeMap<Timestamp, Vec<(FileId, Record)>>,
    count: usize,
    /// Responses that count, without their time so far.
    responses: BTreeMap<Timestamp, Vec<UsageRecord>>,
}

impl Future {
    /// Lines kept.
    pub(super) fn len(&self) -> u64 {
        self.count as u64
    }

    /// Keeps a record until its time has come.
    pub(super) fn defer(&mut self, at: Timestamp, file: FileId, record: &Record) {
        if self.count < MOST {
            self.count += 1;
            self.records.entry(at).or_default().push((file, record.clone()));
        }
    }

    /// A response came into, or went out of, the count.
    pub(super) fn change(&mut self, at: Timestamp, record: &UsageRecord, added: bool) {
        let responses = self.responses.entry(at).or_default();
        if added {
            responses.push(record.clone());
        } else if let Some(known) = responses.iter().position(|known| known == record) {
            responses.swap_remove(known);
        }
        if responses.is_empty() {
            self.responses.remove(&at);
        }
    }

    /// The file says nothing any more.
    pub(super) fn retract(&mut self, file: FileId) {
        for records in self.records.values_mut() {
            records.retain(|(other, _)| *other != file);
        }
        self.records.retain(|_, records| !records.is_empty());
        self.count = self.records.values().map(Vec::len).sum();
    }

    /// The records whose time has come.
    pub(super) fn due_records(&mut self, now: Timestamp) -> Vec<(FileId, Record)> {
        let due = due(&mut self.records, now);
        self.count -= due.len();
        due
    }

    /// The responses whose time has come.
    pub(super) fn due_responses(&mut self, now: Timestamp) -> Vec<UsageRecord> {
        due(&mut self.responses, now)
    }
}

fn due<T>(waiting: &mut BTreeMap<Timestamp, Vec<T>>, now: Timestamp) -> Vec<T> {
    let mut due = Vec::new();
    while let Some(first) = waiting.first_entry().filter(|first| first.key().ms_since(now) <= FUTURE_TOLERANCE_MS) {
        due.append(&mut first.remove());
    }
    due
}
