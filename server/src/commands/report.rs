//! `dashboard report`: figures over all transcripts there are, computed once and printed.
//!
//! Reads the files itself and writes nothing, so it needs no running dashboard. The rules are the core's; this file
//! only reads, adds up and prints.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use dashboard_core::format;
use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::price::PriceTable;
use dashboard_core::record::{Record, Rejection};
use dashboard_core::transcript::TranscriptReader;
use dashboard_core::units::{Cost, TokenUsage, Tokens};
use serde::Serialize;

use crate::source::files::{self, Found, Unreadable};
use crate::source::roots::{self, Given, Root, Surroundings};

/// Print figures over all transcripts
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Which figures
    #[command(subcommand)]
    pub figures: Figures,
}

/// Which figures to print.
#[derive(Subcommand, Clone, Debug)]
pub enum Figures {
    /// Tokens and cost of everything, and what became of each line
    Totals(TotalsArgs),
}

/// Arguments of `report totals`.
#[derive(Args, Clone, Debug)]
pub struct TotalsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Leave out responses whose transcripts have been deleted
    #[arg(long)]
    pub on_disk: bool,
    /// Claude Code's configuration directory, instead of the usual ones; may be repeated
    #[arg(long, value_name = "DIR")]
    pub config_dir: Vec<PathBuf>,
    /// Codex's home directory, instead of the usual one; with --config-dir, only the one given here is read
    #[arg(long, value_name = "DIR")]
    pub codex_home: Option<PathBuf>,
}

/// Figures over all responses in scope.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Input tokens.
    pub input: Tokens,
    /// Output tokens.
    pub output: Tokens,
    /// Tokens written to the cache.
    pub cache_creation: Tokens,
    /// The part of them kept for an hour.
    pub cache_creation_1h: Tokens,
    /// Tokens read from the cache.
    pub cache_read: Tokens,
    /// All four kinds.
    pub total: Tokens,
    /// Responses after folding duplicates.
    pub responses: u64,
    /// Cost of the priced responses at list prices, in US dollars.
    pub cost_usd: f64,
    /// What the cache saved on them, in US dollars.
    pub saved_usd: f64,
    /// Responses with tokens whose model has no price.
    pub unpriced_responses: u64,
    /// Those models.
    pub unpriced_models: BTreeSet<String>,
    /// Transcript files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Lines that were not blank.
    pub lines: u64,
    /// JSON objects on accepted lines.
    pub records: u64,
    /// Those of a type we do not know.
    pub unknown_records: u64,
    /// Usage records folded into another one's response.
    pub duplicate_lines: u64,
    /// Refused lines.
    pub rejected_lines: u64,
    /// Files that end inside a line.
    pub pending_lines: u64,
    /// Counts that were no non-negative integer, read as 0.
    pub bad_counts: u64,
    /// The refused lines, by file and place; the ledger's cap applies.
    pub rejections: Vec<Rejection>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Where transcripts were looked for.
    pub roots: Vec<String>,
    #[serde(skip)]
    cost: Cost,
}

/// Runs the command.
///
/// # Errors
/// If there is nothing to read, or the output cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let Figures::Totals(args) = &args.figures;
    let given = Given::new(&args.config_dir, args.codex_home.as_deref());
    let roots = roots::find(&given, &Surroundings::of_process());
    if !roots.iter().any(Root::has_transcripts) {
        let looked: Vec<_> = roots.iter().map(|root| root.dir.display().to_string()).collect();
        bail!("no transcripts: none in {} (--config-dir or --codex-home names another place)", looked.join(", "));
    }
    let totals = totals(&roots, if args.on_disk { Scope::OnDisk } else { Scope::All });
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &totals).context("cannot write the report")?;
        writeln!(out)
    } else {
        write_table(&mut out, &totals)
    }
    .context("cannot write the report")?;
    for Unreadable { path, error } in &totals.unreadable {
        eprintln!("cannot read {path}: {error}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads all transcripts below these roots and adds up.
pub fn totals(roots: &[Root], scope: Scope) -> Totals {
    let (ledger, unreadable) = read_all(roots);
    let table = PriceTable::embedded();
    let (mut usage, mut responses, mut cost) = (TokenUsage::default(), 0, Cost::default());
    let mut unpriced_models = BTreeSet::new();
    for response in ledger.responses(scope) {
        usage += response.usage;
        responses += 1;
        match table.cost(&response.model, &response.usage) {
            Some(priced) => cost += Cost { priced: priced.cost, saved: priced.saved, unpriced_responses: 0 },
            None if response.usage.total() > Tokens::ZERO => {
                cost.unpriced_responses += 1;
                unpriced_models.insert(response.model.as_str().to_owned());
            }
            None => {}
        }
    }
    let counts = ledger.counts(scope);
    let mut rejections: Vec<Rejection> = ledger.rejections().cloned().collect();
    rejections.sort_by(|a, b| (&a.file, a.byte_offset).cmp(&(&b.file, b.byte_offset)));
    Totals {
        input: usage.input,
        output: usage.output,
        cache_creation: usage.cache_creation,
        cache_creation_1h: usage.cache_creation_1h,
        cache_read: usage.cache_read,
        total: usage.total(),
        responses,
        cost_usd: cost.priced.usd(),
        saved_usd: cost.saved.usd(),
        unpriced_responses: cost.unpriced_responses,
        unpriced_models,
        files: ledger.file_count(scope),
        bytes: counts.bytes,
        lines: counts.lines,
        records: counts.records,
        unknown_records: counts.unknown_records,
        duplicate_lines: counts.usage_records.saturating_sub(responses),
        rejected_lines: counts.rejected_lines,
        pending_lines: counts.pending_lines,
        bad_counts: counts.bad_counts,
        rejections,
        unreadable,
        roots: roots.iter().map(|root| root.dir.display().to_string()).collect(),
        cost,
    }
}

/// Reads every file, on all processors; the outcome does not depend on which reads what.
pub fn read_all(roots: &[Root]) -> (Ledger, Vec<Unreadable>) {
    let mut unreadable = Vec::new();
    let found: Vec<Found> = roots.iter().flat_map(|root| files::transcripts(root, &mut unreadable)).collect();
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(found.len().max(1));
    let queue = Mutex::new(found);
    let work = || {
        let (mut ledger, mut unreadable, mut buffer) = (Ledger::default(), Vec::new(), Vec::new());
        loop {
            // A worker that panicked took its file with it; the others can go on.
            let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
            let Some(found) = next else { return (ledger, unreadable) };
            if let Err(error) = read(&found, &mut ledger, &mut buffer) {
                unreadable.push(Unreadable::new(&found.path, &error));
            }
        }
    };
    let mut ledger = Ledger::default();
    thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for handle in handles {
            match handle.join() {
                Ok((part, mut failed)) => {
                    ledger.merge(part);
                    unreadable.append(&mut failed);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    unreadable.sort();
    (ledger, unreadable)
}

/// Reads one file. If reading fails half-way, what was read counts.
fn read(found: &Found, ledger: &mut Ledger, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut file = File::open(&found.path)?;
    let id = ledger.file(found.tool, &found.key);
    let mut reader = TranscriptReader::new(found.tool, &found.name);
    let claim = |ledger: &mut Ledger, record: Record| match record {
        Record::Usage(usage) => ledger.claim(id, &usage, &mut |_| {}),
        Record::Lineage(lineage) => ledger.lineage(id, &lineage, &mut |_| {}),
        _ => {}
    };
    let outcome = files::read_on(&mut file, buffer, |bytes| {
        // Only a reading that goes on after `finish` can become stale.
        let _ = reader.read(bytes, &mut |record| claim(ledger, record));
        Ok(())
    });
    let _ = reader.finish(&mut |record| claim(ledger, record));
    ledger.set_counts(id, reader.counts());
    for rejection in reader.take_rejections() {
        ledger.reject(id, rejection);
    }
    outcome
}

fn write_table(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    let exact = |tokens: Tokens| format::exact(tokens.0);
    let rows = [
        ("Input", exact(totals.input)),
        ("Output", exact(totals.output)),
        ("Cache write", exact(totals.cache_creation)),
        ("Cache read", exact(totals.cache_read)),
        ("Total tokens", exact(totals.total)),
        ("Responses", format::exact(totals.responses)),
        ("Cost at list prices", format::cost(&totals.cost)),
        ("Saved by the cache", format::money(totals.cost.saved)),
    ];
    let audit = [
        ("Files", format::exact(totals.files)),
        ("Bytes", format::exact(totals.bytes)),
        ("Lines", format::exact(totals.lines)),
        ("Duplicates folded", format::exact(totals.duplicate_lines)),
        ("Lines refused", format::exact(totals.rejected_lines)),
        ("Lines unfinished", format::exact(totals.pending_lines)),
        ("Records unknown", format::exact(totals.unknown_records)),
        ("Counts unusable", format::exact(totals.bad_counts)),
    ];
    let width = rows.iter().chain(&audit).map(|(_, value)| value.chars().count()).max().unwrap_or_default();
    for (label, value) in &rows {
        writeln!(out, "{label:<20} {value:>width$}")?;
    }
    writeln!(out)?;
    for (label, value) in &audit {
        writeln!(out, "{label:<20} {value:>width$}")?;
    }
    if !totals.unpriced_models.is_empty() {
        let models: Vec<&str> = totals.unpriced_models.iter().map(String::as_str).collect();
        writeln!(out, "\nNo price is known for {} (not in the cost).", models.join(", "))?;
    }
    Ok(())
}
