//! `report totals` over real transcripts, beside the figures an independent reader found in them.
//!
//! They are too large for the repository: `DASHBOARD_SAMPLES` names the directory that holds `expected.json` and one
//! configuration directory per set. Without it the test shows as ignored.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use dashboard_core::ledger::Scope;
use serde_json::{Value, json};
use server::commands::report::{Totals, totals};
use server::source::roots::{self, Given, Surroundings};

fn of(dir: &Path) -> Totals {
    totals(&roots::find(&Given::new(&[dir.to_owned()], None), &Surroundings::default()), Scope::OnDisk)
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES"]
fn every_set_of_samples_has_the_expected_totals() {
    let samples = PathBuf::from(env::var_os("DASHBOARD_SAMPLES").expect("DASHBOARD_SAMPLES names the samples"));
    let expected = fs::read(samples.join("expected.json")).expect("the samples come with what to expect");
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let sets = expected["sets"].as_object().unwrap().iter();
    let mut compared = 0;
    for (name, expected) in sets.filter_map(|(name, set)| Some((name, set.get("claude")?))) {
        let found = of(&samples.join(name));
        let rejected: Vec<Value> =
            found.rejections.iter().map(|it| json!({"file": it.file, "byte_offset": it.byte_offset})).collect();
        let comparable = json!({
            "totals": {
                "input": found.input,
                "output": found.output,
                "cache_creation": found.cache_creation,
                "cache_read": found.cache_read,
                "total": found.total,
                "responses": found.responses,
            },
            "duplicate_lines": found.duplicate_lines,
            "files": found.files,
            "lines": found.lines,
            "records": found.records,
            "rejected": {"count": found.rejected_lines, "list": rejected},
        });
        for (figure, value) in comparable.as_object().unwrap() {
            assert_eq!(*value, expected[figure], "{figure} of {name}");
        }
        assert_eq!(json!(found.unpriced_models), expected["cost"]["unpriced"], "unpriced of {name}");
        let cost = expected["cost"]["total"].as_f64().unwrap();
        assert!((found.cost_usd - cost).abs() < 1e-6, "cost of {name}: {} instead of {cost}", found.cost_usd);
        compared += 1;
    }
    assert!(compared > 0, "no set of Claude Code transcripts");
}
