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
use dashboard_core::price::PriceTable;
use dashboard_core::record::Tool;
use dashboard_core::report::{Filter, ReportKind};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use serde_json::{Value, json};
use server::commands::report::{Question, report};
use server::source::roots::{self, ConfiguredRoots, Environment};

fn of(dir: &Path, kind: ReportKind, now: Timestamp) -> Value {
    let roots = roots::find(&ConfiguredRoots::new(&[dir.to_owned()], None), &Environment::default());
    let filter = Filter { tool: Some(Tool::ClaudeCode), ..Filter::default() };
    let question = Question {
        kind,
        scope: Scope::OnDisk,
        prices: &PriceTable::embedded(),
        zone: &ZoneOffsets::utc(),
        now,
        filter: &filter,
    };
    serde_json::to_value(report(question, &roots, None)).unwrap()
}

/// The same of Codex's files alone.
fn of_codex(home: &Path, kind: ReportKind, now: Timestamp) -> Value {
    let given = ConfiguredRoots::new(&[home.join("no-claude-here")], Some(home));
    let roots = roots::find(&given, &Environment::default());
    let question = Question {
        kind,
        scope: Scope::OnDisk,
        prices: &PriceTable::embedded(),
        zone: &ZoneOffsets::utc(),
        now,
        filter: &Filter::default(),
    };
    let report = report(question, &roots, None);
    serde_json::to_value(report).unwrap()
}

/// What the tool itself would call these figures.
fn as_codex_counts(figures: &Value) -> Value {
    let sum = |names: &[&str]| names.iter().map(|name| figures[name].as_u64().unwrap()).sum::<u64>();
    json!({
        "input": sum(&["input", "cache_creation", "cache_read"]),
        "cached": sum(&["cache_read"]),
        "output": sum(&["output"]),
        "total": sum(&["total"]),
        "responses": sum(&["responses"]),
    })
}

/// Without what we do not keep.
fn without_reasoning(expected: &Value) -> Value {
    let mut expected = expected.clone();
    let fields = expected.as_object_mut().unwrap();
    fields.retain(|name, _| !["reasoning", "cost"].contains(&name.as_str()));
    expected
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES"]
fn every_set_of_codex_samples_has_the_expected_figures() {
    let samples = PathBuf::from(env::var_os("DASHBOARD_SAMPLES").expect("DASHBOARD_SAMPLES names the samples"));
    let expected: Value = serde_json::from_slice(&fs::read(samples.join("expected.json")).unwrap()).unwrap();
    let now = Timestamp::parse(expected["now"].as_str().unwrap()).unwrap();
    let sets = expected["sets"].as_object().unwrap().iter();
    let mut compared = 0;
    for (name, expected) in sets.filter_map(|(name, set)| Some((name, set.get("codex")?))) {
        let home = samples.join(name).join("codex");
        let totals = of_codex(&home, ReportKind::Totals, now);
        let codex = &totals["by_tool"]["codex"];
        assert_eq!(as_codex_counts(codex), without_reasoning(&expected["totals"]), "totals of {name}");
        assert_eq!(codex["input_with_cache"], expected["totals"]["input"], "{name}");
        assert_eq!(totals["total"], expected["totals"]["total"], "{name}: it is all there is");
        for (ours, theirs) in [("files", "files"), ("lines", "lines"), ("repeated_lines", "repeated")] {
            assert_eq!(codex[ours], expected[theirs], "{theirs} of {name}");
        }
        let duplicates = expected["repeated"].as_u64().unwrap() + expected["replayed"].as_u64().unwrap();
        assert_eq!(codex["duplicate_lines"], duplicates, "{name}");
        assert!(close(&totals["cost_usd"], &expected["cost"]["total"]) || codex["responses"] == 0, "cost of {name}");
        for (kind, key, expected) in
            [(ReportKind::Daily, "period", &expected["days"]), (ReportKind::Models, "model", &expected["models"])]
        {
            let found = of_codex(&home, kind, now);
            let rows = found["rows"].as_array().unwrap();
            assert_eq!(rows.len(), expected.as_object().unwrap().len(), "{kind} of {name}");
            for row in rows {
                let expected = &expected[row[key].as_str().unwrap()];
                assert_eq!(as_codex_counts(row), without_reasoning(expected), "{} of {name}", row[key]);
                let cost = expected.get("cost");
                assert!(cost.is_none_or(|cost| close(&row["cost_usd"], cost)), "{} of {name}", row[key]);
            }
        }
        compared += 1;
    }
    assert!(compared > 1, "{compared} sets of Codex rollouts");
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
