//! Reading everything there is, once: what a store holds, and the rest from the files.
//!
//! The files are read by the same code that follows them for the page, so that the two cannot differ. Nothing is
//! written.

use crate::observation::{RecordSink, Root, SinkClosed, SourceMessage, StoredFile};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashboard_core::history::{Ingest, Sessions, Unreadable};
use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::record::Record;

use crate::source::transcripts::Transcripts;
use crate::store;

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
    /// What was read and what became of it, for a report on `roots`.
    pub fn ingest(&self, roots: &[Root], scope: Scope) -> Ingest {
        Ingest {
            unreadable: self.unreadable.clone(),
            roots: roots.iter().map(|root| root.dir.display().to_string()).collect(),
            ..Ingest::of(&self.ledger, scope, self.ledger.standing(scope).map(|response| response.tool))
        }
    }

    fn take(&mut self, message: SourceMessage) {
        let Self { ledger, sessions, .. } = self;
        match message {
            SourceMessage::Read { file, records, rejections, state, replaces } => {
                let id = ledger.file(file.tool, &file.key);
                if replaces {
                    ledger.retract(id, &mut |_| {});
                }
                for record in &records {
                    sessions.record(record);
                    match record {
                        Record::Usage(usage) => ledger.claim(id, usage, &mut |_| {}),
                        Record::Lineage(lineage) => ledger.lineage(id, lineage, &mut |_| {}),
                        _ => {}
                    }
                }
                rejections.into_iter().for_each(|rejection| ledger.reject(id, rejection));
                ledger.set_counts(id, state.counts);
            }
            SourceMessage::Retract { file } => {
                let id = ledger.file(file.tool, &file.key);
                ledger.retract(id, &mut |_| {});
            }
            SourceMessage::Archive { file } => {
                let id = ledger.file(file.tool, &file.key);
                ledger.archive(id);
            }
            _ => {}
        }
    }
}

/// Where the threads that read put what they find.
#[derive(Clone, Default)]
struct Gathered(Arc<Mutex<Reading>>);

impl Gathered {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordSink for Gathered {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        self.reading().take(message);
        Ok(())
    }
}

/// Reads what is below these roots, and what the store in `data_dir` holds of deleted files; the outcome does not
/// depend on which processor reads what, nor on how much of it the store knows.
pub fn read_all(roots: &[Root], data_dir: Option<&Path>) -> Reading {
    let gathered = Gathered::default();
    let mut transcripts = Transcripts::new(roots, Box::new(gathered.clone()));
    if let Some(database) = data_dir.map(store::database).filter(|database| database.is_file()) {
        let take = |StoredFile { found, state, archived, records, rejections }| {
            let file = Arc::new(found);
            transcripts.resume(Arc::clone(&file), state.clone(), archived);
            let mut reading = gathered.reading();
            let (read, state) = (Arc::clone(&file), Box::new(state));
            reading.take(SourceMessage::Read { file: read, records, rejections, state, replaces: false });
            if archived {
                reading.take(SourceMessage::Archive { file });
            }
            Ok(())
        };
        if let Err(error) = store::HistoryReader::open(&database, roots).and_then(|reader| reader.load(take)) {
            tracing::warn!(%error, database = %database.display(), "history is left out");
        }
    }
    // Nobody refuses to take it.
    let _ = transcripts.rescan();
    let unreadable = transcripts.unreadable().iter();
    let unreadable =
        unreadable.map(|(path, error)| Unreadable { path: path.display().to_string(), error: error.clone() });
    let mut reading = std::mem::take(&mut *gathered.reading());
    reading.unreadable = unreadable.collect();
    reading
}
