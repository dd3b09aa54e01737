//! A year of responses in the store: how long every report over its sums takes, and how much is read for it. Measures
//! what `DASHBOARD_STORE` names, a data directory that `dashboard start` has filled; `DASHBOARD_YEAR` names the files.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;
use std::time::Instant;

use dashboard_core::price::PriceTable;
use dashboard_core::record::Tool;
use dashboard_core::report::{Filter, Report, ReportContext, ReportKind, Retention, cuts};
use dashboard_core::time::ZoneOffsets;
use server::observation::Root;
use server::store::{self, HistoryReader};

#[test]
#[ignore = "measures a store that has been filled before: DASHBOARD_STORE, DASHBOARD_YEAR"]
fn reports_over_a_year() {
    let dir = |name: &str| PathBuf::from(std::env::var(name).unwrap());
    let roots = [Root { tool: Tool::ClaudeCode, dir: dir("DASHBOARD_YEAR"), label: String::new() }];
    let (prices, zone) = (PriceTable::embedded(), ZoneOffsets::utc());
    let (filter, retention, now) = (Filter::default(), Retention::default(), server::clock::wall());
    for kind in ReportKind::ALL {
        let begun = Instant::now();
        let reader = HistoryReader::open(&store::database(&dir("DASHBOARD_STORE")), &roots).unwrap();
        let sessions = reader.sessions().unwrap();
        let facts = begun.elapsed();
        let usage = reader.usage(&prices, |session| cuts(now, sessions.accounts.time_of(session))).unwrap();
        let summed = begun.elapsed();
        let ingest = reader.ingest(&usage).unwrap();
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
        let bytes = serde_json::to_vec(&report).unwrap().len();
        println!(
            "{kind}: {} rows of {} responses, {bytes} bytes; sessions {facts:?}, with sums {summed:?}, in all {:?}",
            usage.len(),
            ingest.responses,
            begun.elapsed()
        );
    }
}
