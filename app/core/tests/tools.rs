//! What must hold for every tool: nothing but its own file and the list knows it, and the samples come out right.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::price::PriceTable;
use dashboard_core::record::{Record, Tool, UsageRecord};
use dashboard_core::transcript::{Reading, Shape, TranscriptReader};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A source file without its tests and without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Adding a tool is a file and a line, as docs/ARCHITECTURE.md says.
#[test]
fn nothing_but_its_file_and_the_list_names_a_tool() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for dir in ["app/core/src", "app/src", "server/src"] {
        sources(&workspace.join(dir), &mut found);
    }
    assert!(found.len() > 100, "{} files", found.len());
    let list = fs::read_to_string(workspace.join("app/core/src/tools.rs")).unwrap();
    let variants: Vec<(String, String)> = list
        .lines()
        .filter_map(|line| {
            let (variant, rest) = line.trim().split_once(" = \"")?;
            Some((format!("Tool::{variant}"), format!("{}.rs", rest.split_once(" in ")?.1.trim_end_matches(';'))))
        })
        .collect();
    assert_eq!(variants.len(), Tool::ALL.len());
    // Made-up sessions are those of one tool; an option of the first version names another.
    let may_name = ["simulator/", "source/roots.rs"];
    let mut offenders = Vec::new();
    for path in found {
        let name = path.strip_prefix(&workspace).unwrap().to_str().unwrap().replace('\\', "/");
        if name.ends_with("tests.rs") || name.ends_with("properties.rs") || name.ends_with("source/work.rs") {
            continue;
        }
        for (variant, module) in &variants {
            // Or a part of it, in the directory of its name.
            let parts = format!("transcript/{}/", module.trim_end_matches(".rs"));
            let is_own = name.ends_with(&format!("transcript/{module}")) || name.contains(&parts);
            if !is_own && !may_name.iter().any(|part| name.contains(part)) && code(&path).contains(variant.as_str()) {
                offenders.push(format!("{name}: {variant}"));
            }
        }
    }
    assert!(offenders.is_empty(), "{offenders:#?}");
}

fn samples() -> PathBuf {
    PathBuf::from(env::var_os("DASHBOARD_SAMPLES").expect("DASHBOARD_SAMPLES names the samples"))
}

/// What a sample file claims, read as the file that `name` says it is.
fn read(tool: Tool, name: &str, sample: &str) -> (Ledger, Vec<Record>) {
    let bytes = fs::read(samples().join(sample)).unwrap();
    let mut reader = TranscriptReader::new(tool, name).with_activity();
    let mut records = Vec::new();
    let mut take = |record| records.push(record);
    match tool.spec().shape_of(name) {
        Shape::Document => reader.read_document(&bytes, &mut take).unwrap(),
        _ => {
            assert_eq!(reader.read(&bytes, &mut take), Reading::Valid);
            assert_eq!(reader.finish(&mut take), Reading::Valid);
        }
    }
    let mut ledger = Ledger::default();
    let file = ledger.file(tool, name);
    for record in &records {
        if let Record::Usage(usage) = record {
            ledger.claim(file, usage, &mut |_| {});
        }
    }
    ledger.set_counts(file, reader.counts());
    (ledger, records)
}

/// Responses, input, output, cache reads, cache writes and reasoning.
fn sums(ledger: &Ledger) -> [u64; 6] {
    let mut sums = [0; 6];
    for UsageRecord { usage, .. } in ledger.responses(Scope::All) {
        let kinds = [usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning];
        sums[0] += 1;
        sums[1..].iter_mut().zip(kinds).for_each(|(sum, tokens)| *sum += tokens.0);
    }
    sums
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES"]
fn samples_of_gemini() {
    // Summed by another program: input 87,418 of which cached 62,117, output 1,441, thoughts 2,914, tool 0.
    let name = "tmp/907f/chats/session-2026-01-16T11-01-37b7abef.json";
    let sample = "codemie-ai+codemie-code/gemini/session-2026-01-16T11-01-file-ops-37b7abef.json";
    let (ledger, _) = read(Tool::Gemini, name, sample);
    assert_eq!(sums(&ledger), [9, 87_418 - 62_117, 1_441 + 2_914, 62_117, 0, 2_914]);
    // Two responses, the second without a model; a document that names no session.
    let (ledger, records) = read(Tool::Gemini, name, "kenn-io+agentsview/gemini/tool_calls_with_results.json");
    assert!(sums(&ledger)[0] <= 2 && !records.is_empty());
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES"]
fn samples_of_opencode() {
    let name = "storage/message/test-session-1/msg-assistant-1.json";
    let sample = "codemie-ai+codemie-code/opencode/storage/message/test-session-1/msg-assistant-1.json";
    let (ledger, _) = read(Tool::OpenCode, name, sample);
    assert_eq!(sums(&ledger), [1, 1_000, 500, 200, 100, 0]);
    let sample = "junhoyeo+tokscale/opencode/storage/message/test-project/msg_test001.json";
    let (ledger, _) = read(Tool::OpenCode, "storage/message/test-project/msg_test001.json", sample);
    assert_eq!(sums(&ledger), [1, 1_000, 500, 200, 100, 0]);
    let response = ledger.responses(Scope::All).next().unwrap().model.clone();
    assert_eq!(response.as_str(), "claude-3-5-sonnet-20241022");
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES"]
fn samples_of_pi() {
    let name = "sessions/--Users-alice-code-my-project--/2025-01-01T10-00-00-000Z_pi-test-session-uuid.jsonl";
    let (ledger, records) = read(Tool::Pi, name, "kenn-io+agentsview/pi/session.jsonl");
    assert_eq!(sums(&ledger), [2, 300, 60, 0, 0, 0]);
    let (_, counts) = ledger.counts_of(Tool::Pi, Scope::All);
    // One line is no JSON, and one of a type that is not known.
    assert_eq!((counts.lines, counts.rejected_lines, counts.unknown_records), (11, 1, 1));
    assert_eq!(records.iter().filter(|it| matches!(it, Record::Compaction(_))).count(), 1);
    // 300 at 5 USD and 60 at 25 USD per million.
    let prices = PriceTable::embedded();
    let cost: i64 = ledger.responses(Scope::All).map(|it| prices.cost(&it.model, &it.usage).unwrap().cost.0).sum();
    assert_eq!(cost, 300 * 5_000_000 + 60 * 25_000_000);
}
