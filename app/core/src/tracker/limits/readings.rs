//! What the vendor said of one limit, by origin and time.
//!
//! A reading of a transcript is a contribution of the file it stands in: retracting the file takes it back. Which reading
//! holds is decided by time, wherever it comes from, and among those of one millisecond by what they say, never by the
//! order of reading.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::KEPT_MS;
use crate::ledger::FileId;
use crate::record::{RateLimitReport, ReadingSource};
use crate::state::same_reset;
use crate::time::{HOUR_MS, MINUTE_MS, Minute, Timestamp};

/// A reading without a reset time is believed this long.
pub(super) const VALID_WITHOUT_RESET_MS: i64 = HOUR_MS;

/// Where a reading comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A line of this file.
    File(FileId),
    /// A source that nothing is taken back of.
    Source(ReadingSource),
}

impl Origin {
    fn source(self) -> ReadingSource {
        match self {
            Self::File(_) => ReadingSource::Transcript,
            Self::Source(source) => source,
        }
    }
}

/// What was said at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// When it was said.
    pub(super) at: Timestamp,
    /// Used share, 0 to 100; `None` if only the reset was said.
    pub(super) percent: Option<f64>,
    /// When the window is reset, if said.
    pub(super) resets_at: Option<Timestamp>,
    /// Where.
    pub(super) source: ReadingSource,
}

impl Reading {
    /// When it stops to hold: its reset, or a while after it was said.
    pub(super) fn ends_at(&self) -> Timestamp {
        self.resets_at.unwrap_or_else(|| self.at.plus_ms(VALID_WITHOUT_RESET_MS))
    }

    /// By time, then by what is said: a total order, so that no tie is decided by the order of reading.
    fn order(&self, other: &Self) -> Ordering {
        let percent = |it: &Self| it.percent.unwrap_or(-1.0);
        self.at
            .cmp(&other.at)
            .then_with(|| percent(self).total_cmp(&percent(other)))
            .then_with(|| self.resets_at.cmp(&other.resets_at))
            .then_with(|| self.source.cmp(&other.source))
    }
}

/// Readings of one kind: by minute, the newest of each origin.
#[derive(Debug, Default)]
struct Series(BTreeMap<Minute, Vec<(Origin, Reading)>>);

impl Series {
    fn add(&mut self, origin: Origin, reading: Reading) {
        let minute = self.0.entry(reading.at.minute()).or_default();
        match minute.iter_mut().find(|(known, _)| *known == origin) {
            Some((_, known)) if known.order(&reading) == Ordering::Less => *known = reading,
            Some(_) => {}
            None => minute.push((origin, reading)),
        }
    }

    /// Takes back what `origin` said; whether there was anything.
    fn retract(&mut self, file: FileId) -> bool {
        let origin = Origin::File(file);
        let mut any = false;
        self.0.retain(|_, minute| {
            let before = minute.len();
            minute.retain(|(known, _)| *known != origin);
            any |= minute.len() != before;
            !minute.is_empty()
        });
        any
    }

    /// The newest.
    fn newest(&self) -> Option<Reading> {
        self.0.last_key_value().and_then(|(_, minute)| newest_of(minute, |_| true))
    }

    /// Forgets what is older than `oldest`, but never the newest.
    fn prune(&mut self, oldest: Minute) {
        while self.0.len() > 1 && self.0.first_key_value().is_some_and(|(&minute, _)| minute < oldest) {
            self.0.pop_first();
        }
    }
}

/// The newest of a minute's readings that `counts` holds for.
fn newest_of(minute: &[(Origin, Reading)], counts: impl Fn(&Reading) -> bool) -> Option<Reading> {
    minute.iter().map(|(_, reading)| *reading).filter(|reading| counts(reading)).max_by(Reading::order)
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Shares and resets.
    said: Series,
    /// Refusals. One that names a share is in `said` too.
    refused: Series,
}

impl Readings {
    pub(super) fn add(&mut self, origin: Origin, report: &RateLimitReport) {
        let (at, percent, resets_at) = (report.at, report.used_percent, report.resets_at);
        let reading = Reading { at, percent, resets_at, source: origin.source() };
        if report.rejected {
            self.refused.add(origin, reading);
        }
        if !report.rejected || report.used_percent.is_some() {
            self.said.add(origin, reading);
        }
    }

    /// Takes back what `origin` said; whether there was anything.
    pub(super) fn retract(&mut self, origin: FileId) -> bool {
        let said = self.said.retract(origin);
        self.refused.retract(origin) || said
    }

    /// The newest statement, whether it still holds or not.
    pub(super) fn newest(&self) -> Option<Reading> {
        self.said.newest()
    }

    /// The newest refusal.
    pub(super) fn newest_refusal(&self) -> Option<Reading> {
        self.refused.newest()
    }

    /// Shares and resets by time, and refusals as a share of 100 %.
    pub(super) fn all(&self) -> impl Iterator<Item = Reading> + '_ {
        let mut all: BTreeMap<Minute, Reading> = BTreeMap::new();
        for (&minute, readings) in &self.said.0 {
            all.extend(newest_of(readings, |_| true).map(|reading| (minute, reading)));
        }
        for (&minute, readings) in &self.refused.0 {
            let refusal = newest_of(readings, |_| true);
            all.extend(refusal.map(|refusal| (minute, Reading { percent: Some(100.0), ..refusal })));
        }
        all.into_values()
    }

    /// Shares by minute since `start`, of the window that ends at `reset`.
    pub(super) fn shares(
        &self,
        start: Timestamp,
        reset: Option<Timestamp>,
    ) -> impl Iterator<Item = (Minute, f64)> + '_ {
        let of_window = move |reading: &Reading| {
            reading.at >= start && reading.percent.is_some() && same_reset(reading.resets_at, reset)
        };
        self.said
            .0
            .range(start.minute()..)
            .filter_map(move |(&minute, readings)| Some((minute, newest_of(readings, of_window)?.percent?)))
    }

    /// Forgets what no figure needs any more.
    pub(super) fn prune(&mut self, now: Timestamp, window_ms: i64) {
        let oldest = now.plus_ms(-(window_ms + MINUTE_MS).max(KEPT_MS)).minute();
        self.said.prune(oldest);
        self.refused.prune(oldest);
    }
}
