//! Reading everything there is, once, on all processors.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use dashboard_core::history::{Ingest, Sessions};
use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::record::Record;
use dashboard_core::transcript::TranscriptReader;

use crate::source::files::{self, Found, Unreadable};
use crate::source::roots::Root;

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// Who claimed what.
    pub ledger: Ledger,
    /// The sessions.
    pub sessions: Sessions,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

impl Reading {
    fn merge(&mut self, mut other: Self) {
        self.ledger.merge(other.ledger);
        self.sessions.merge(other.sessions);
        self.unreadable.append(&mut other.unreadable);
    }

    /// What was read and what became of it, for a report on `roots`.
    pub fn ingest(&self, roots: &[Root], scope: Scope) -> Ingest {
        Ingest {
            unreadable: self.unreadable.iter().map(Into::into).collect(),
            roots: roots.iter().map(|root| root.dir.display().to_string()).collect(),
            ..Ingest::of(&self.ledger, scope)
        }
    }
}

/// Reads every file below these roots; the outcome does not depend on which processor reads what.
pub fn read_all(roots: &[Root]) -> Reading {
    let mut unreadable = Vec::new();
    let found: Vec<Found> = roots.iter().flat_map(|root| files::transcripts(root, &mut unreadable)).collect();
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(found.len().max(1));
    let queue = Mutex::new(found);
    let work = || {
        let (mut reading, mut buffer) = (Reading::default(), Vec::new());
        loop {
            // A worker that panicked took its file with it; the others can go on.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(found) = next else { return reading };
            if let Err(error) = read(&found, &mut reading, &mut buffer) {
                reading.unreadable.push(Unreadable::new(&found.path, &error));
            }
        }
    };
    let mut reading = Reading { unreadable, ..Reading::default() };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for handle in handles {
            match handle.join() {
                Ok(part) => reading.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    reading.unreadable.sort();
    reading
}

/// Reads one file. If reading fails half-way, what was read counts.
fn read(found: &Found, reading: &mut Reading, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut file = File::open(&found.path)?;
    let Reading { ledger, sessions, .. } = reading;
    let id = ledger.file(found.tool, &found.key);
    let mut reader = TranscriptReader::new(found.tool, &found.name);
    let mut take = |record: Record| {
        sessions.record(&record);
        match record {
            Record::Usage(usage) => ledger.claim(id, &usage, &mut |_| {}),
            Record::Lineage(lineage) => ledger.lineage(id, &lineage, &mut |_| {}),
            _ => {}
        }
    };
    let outcome = files::read_on(&mut file, buffer, |bytes| {
        // Only a reading that goes on after `finish` can become stale.
        let _ = reader.read(bytes, &mut take);
        Ok(())
    });
    let _ = reader.finish(&mut take);
    ledger.set_counts(id, reader.counts());
    for rejection in reader.take_rejections() {
        ledger.reject(id, rejection);
    }
    outcome
}
