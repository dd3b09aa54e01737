//! Reports over real transcripts, beside the figures an independent reader found in them.
//!
//! They are too large for the repository: `DASHBOARD_SAMPLES` names the directory that holds `expected.json` and one
//! configuration directory per set. Without it the test shows as ignored.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use dashboard_core::ledger::Scope;
use dashboard_core::record::Tool;
use dashboard_core::report::{Filter, ReportKind};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use serde_json::{Value, json};
use server::commands::report::report;
use server::source::roots::{self, Given, Surroundings};

fn of(dir: &Path, kind: ReportKind, now: Timestamp) -> Value {
    let roots = roots::find(&Given::new(&[dir.to_owned()], None), &Surroundings::default());
    let filter = Filter { tool: Some(Tool::ClaudeCode), ..Filter::default() };
    serde_json::to_value(report(kind, &roots, Scope::OnDisk, &ZoneOffsets::utc(), now, &filter)).unwrap()
}

/// The fields that `expected` has, of `found`.
fn pick(found: &Value, expected: &Value) -> Value {
    let fields = expected.as_object().unwrap().keys();
    fields.map(|field| (field.clone(), found[field.as_str()].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn close(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
        (found, expected) => found == expected,
    }
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES"]
fn every_set_of_samples_has_the_expected_figures() {
    let samples = PathBuf::from(env::var_os("DASHBOARD_SAMPLES").expect("DASHBOARD_SAMPLES names the samples"));
    let expected = fs::read(samples.join("expected.json")).expect("the samples come with what to expect");
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let now = Timestamp::parse(expected["now"].as_str().unwrap()).unwrap();
    let sets = expected["sets"].as_object().unwrap().iter();
    let mut compared = 0;
    for (name, expected) in sets.filter_map(|(name, set)| Some((name, set.get("claude")?))) {
        let dir = samples.join(name);
        let found = of(&dir, ReportKind::Totals, now);
        assert_eq!(pick(&found, &expected["totals"]), expected["totals"], "totals of {name}");
        for figure in ["duplicate_lines", "files", "lines", "records"] {
            assert_eq!(found[figure], expected[figure], "{figure} of {name}");
        }
        let places = |list: &Value| -> Vec<Value> {
            let place = |it: &Value| json!({"file": it["file"], "byte_offset": it["byte_offset"]});
            list.as_array().unwrap().iter().map(place).collect()
        };
        assert_eq!(found["rejected_lines"], expected["rejected"]["count"], "{name}");
        assert_eq!(places(&found["rejections"]), places(&expected["rejected"]["list"]), "{name}");
        assert_eq!(found["unpriced_models"], expected["cost"]["unpriced"], "unpriced of {name}");
        assert!(close(&found["cost_usd"], &expected["cost"]["total"]), "cost of {name}: {}", found["cost_usd"]);

        // One row for each day, model and block there is, and no other.
        for (kind, key, expected) in
            [(ReportKind::Daily, "period", &expected["days"]), (ReportKind::Models, "model", &expected["models"])]
        {
            let found = of(&dir, kind, now);
            let rows = found["rows"].as_array().unwrap().iter();
            let mut rows: BTreeMap<&str, &Value> = rows.map(|row| (row[key].as_str().unwrap(), row)).collect();
            for (name_of_row, expected) in expected.as_object().unwrap() {
                let row = if name_of_row == "unknown" && kind == ReportKind::Daily {
                    &found["undated"]
                } else {
                    rows.remove(name_of_row.as_str()).unwrap_or_else(|| panic!("{name}: no {name_of_row}"))
                };
                let mut tokens = expected.clone();
                let cost = tokens.as_object_mut().unwrap().remove("cost");
                assert_eq!(pick(row, &tokens), tokens, "{name_of_row} of {name}");
                assert!(cost.is_none_or(|cost| close(&row["cost_usd"], &cost)), "{name_of_row} of {name}: {row}");
            }
            assert!(rows.is_empty(), "{kind} of {name}: {rows:?}");
        }
        let blocks = of(&dir, ReportKind::Blocks, now);
        let (found, expected) = (blocks["rows"].as_array().unwrap(), expected["blocks"].as_array().unwrap());
        assert_eq!(found.len(), expected.len(), "blocks of {name}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found["is_gap"], expected["isGap"], "{name}");
            let mut figures = expected.clone();
            figures.as_object_mut().unwrap().remove("isGap");
            assert_eq!(pick(found, &figures), figures, "a block of {name}");
        }
        compared += 1;
    }
    assert!(compared > 0, "no set of Claude Code transcripts");
}
