//! How long every report over the store's sums takes, and how much is read for it. Prints; gates nothing.
//!
//! `cargo run --release -p server --example reports_of_store -- DATA_DIR CONFIG_DIR`, where a `dashboard start` has filled
//! the data directory from the transcripts of the configuration directory.

use std::path::PathBuf;
use std::time::Instant;

use dashboard_core::price::PriceTable;
use dashboard_core::record::Tool;
use dashboard_core::report::{Filter, Report, ReportContext, ReportKind, Retention, cuts};
use dashboard_core::time::ZoneOffsets;
use server::observation::Root;
use server::store::{self, HistoryReader};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(data_dir), Some(config_dir)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: reports_of_store DATA_DIR CONFIG_DIR");
    };
    let roots = [Root { tool: Tool::ClaudeCode, dir: config_dir.canonicalize()?, label: String::new() }];
    let (prices, zone) = (PriceTable::embedded(), ZoneOffsets::utc());
    let (filter, retention, now) = (Filter::default(), Retention::default(), server::clock::wall());
    for kind in ReportKind::ALL {
        let begun = Instant::now();
        let reader = HistoryReader::open(&store::database(&data_dir), &roots)?;
        let sessions = reader.sessions()?;
        let facts = begun.elapsed();
        let usage = reader.usage(&prices, |session| cuts(now, sessions.accounts.time_of(session)))?;
        let summed = begun.elapsed();
        let ingest = reader.ingest(&usage)?;
        let context = ReportContext {
            sessions: &sessions,
            ingest: &ingest,
            prices: &prices,
            zone: &zone,
            now,
            filter: &filter,
            retention: &retention,
        };
        let report = Report::new(kind, context, usage.rows());
        let bytes = serde_json::to_vec(&report)?.len();
        println!(
            "{kind}: {} rows of {} responses, {bytes} bytes; sessions {facts:?}, with sums {summed:?}, in all {:?}",
            usage.len(),
            ingest.responses,
            begun.elapsed()
        );
    }
    Ok(())
}
