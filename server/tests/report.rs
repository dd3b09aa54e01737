//! `dashboard report` through the binary: every report in every form, filters, and what a mistake says.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const KINDS: [&str; 9] = ["totals", "daily", "weekly", "monthly", "sessions", "blocks", "models", "projects", "audit"];

/// The binary over `dir`, at an instant and in a zone of our own.
fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashboard"));
    command.args(arguments).env_clear().env("HOME", dir).env("XDG_CONFIG_HOME", dir);
    command.env("DASHBOARD_CONFIG_DIR", dir).env("DASHBOARD_TIMEZONE", "UTC").output().unwrap()
}

fn report(dir: &Path, arguments: &[&str]) -> String {
    let arguments = [&["report"], arguments, &["--now", "2026-09-20T11:00:00Z"]].concat();
    let output = run(dir, &arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn report_json(dir: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&report(dir, &[arguments, &["--json"]].concat())).unwrap()
}

fn line(session: &str, id: &str, model: &str, at: &str, input: u64) -> String {
    let usage = json!({"input_tokens": input, "output_tokens": 10});
    let message = json!({"id": id, "model": model, "usage": usage});
    let cwd = format!("/home/ada/{}", if session == "s1" { "engine" } else { "loom" });
    let line = json!({"type": "assistant", "sessionId": session, "requestId": id, "timestamp": at, "cwd": cwd,
                      "gitBranch": "main", "version": "2.1.270", "message": message});
    format!("{line}\n")
}

/// Two sessions with a duplicate, a damaged line, a model without a price and a response without a time.
fn corpus() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let slug = dir.path().join("projects/-home-ada");
    fs::create_dir_all(&slug).unwrap();
    let opus = "claude-opus-4-5-20251101";
    let first = [
        line("s1", "m1", opus, "2026-09-13T23:30:00Z", 990),
        line("s1", "m1", opus, "2026-09-13T23:30:01Z", 990),
        "{\"type\":\"assistant\",\n".to_owned(),
        line("s1", "m2", opus, "2026-09-20T10:00:00Z", 1_990),
    ];
    let second = [
        line("s2", "m3", "from-the-future", "2026-09-20T10:30:00Z", 2_990),
        line("s2", "m4", opus, "at some time", 3_990),
    ];
    fs::write(slug.join("s1.jsonl"), first.concat()).unwrap();
    fs::write(slug.join("s2.jsonl"), second.concat()).unwrap();
    dir
}

#[test]
fn every_report_adds_up_in_every_form() {
    let dir = corpus();
    let dir = dir.path();
    let totals = report_json(dir, &["totals"]);
    assert_eq!((&totals["total"], &totals["responses"]), (&json!(10_000), &json!(4)));
    assert_eq!((&totals["duplicate_lines"], &totals["rejected_lines"]), (&json!(1), &json!(1)));
    assert_eq!(totals["unpriced_models"], json!(["from-the-future"]));
    for kind in &KINDS[1..8] {
        let json = report_json(dir, &[kind]);
        assert_eq!(json["report"], *kind);
        let rows: u64 = json["rows"].as_array().unwrap().iter().map(|row| row["total"].as_u64().unwrap()).sum();
        let undated = if ["sessions", "models", "projects"].contains(kind) { 0 } else { 4_000 };
        assert_eq!(rows + undated, 10_000, "{kind}");
        assert_eq!((&json["totals"]["total"], &json["undated"]["total"]), (&json!(10_000), &json!(4_000)), "{kind}");
        let csv = report(dir, &[kind, "--csv"]);
        let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
        let total = names.iter().position(|name| *name == "total").unwrap();
        let sum: u64 =
            csv.lines().skip(1).map(|line| line.split(',').nth(total).unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 10_000, "{kind}: {csv}");
        let text = report(dir, &[kind]);
        let total = text.lines().find(|line| line.starts_with("Total")).unwrap();
        assert!(total.contains("10,000") || total.contains("10.0k"), "{text}");
        assert!(text.contains("no known price"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 120) && !text.contains('\u{1b}'), "{text}");
    }
    let audit = report_json(dir, &["audit"]);
    assert_eq!(audit["rejections"][0]["file"], "projects/-home-ada/s1.jsonl");
    assert_eq!(audit["rejections"][0]["byte_offset"], report_offset(dir));
    assert_eq!(audit["unpriced"][0]["model"], "from-the-future");
    assert_eq!(audit["expiring"]["sessions"], 2);
    assert!(report(dir, &["audit"]).contains("s1.jsonl:"));
}

#[test]
fn tools_stay_apart_and_their_own_accounts_stand_beside_ours() {
    let dir = corpus();
    let slug = dir.path().join("projects/-home-ada/s1.jsonl");
    let account = r#"{"type":"cost-state","sessionId":"s1","totalCostUSD":0.02,"modelUsage":{"claude-opus-4-5-20251101[1m]":{"inputTokens":3000,"outputTokens":20,"costUSD":0.02}}}"#;
    fs::write(&slug, fs::read_to_string(&slug).unwrap() + account + "\n").unwrap();
    let audit = report_json(dir.path(), &["audit"]);
    let session = &audit["drift"]["sessions"][0];
    assert_eq!((&session["session"], &session["at"]), (&json!("s1"), &json!("2026-09-20T10:00:00.000Z")));
    assert_eq!((&session["theirs"]["total"], &session["ours"]["total"]), (&json!(3_020), &json!(3_000)));
    assert_eq!(session["models"][0]["model"], "claude-opus-4-5-20251101");
    // 2,980 input at 5 USD and 20 output at 25 USD the million.
    assert_eq!((&session["ours"]["cost_usd"], &session["difference"]["total"]), (&json!(0.0154), &json!(-20)));
    assert_eq!(audit["drift"]["difference_usd"], json!(-0.0046));
    assert!(report(dir.path(), &["audit"]).contains("theirs $0.0200, ours $0.0154, difference −$0.0046, −20 tokens"));
    assert!(report(dir.path(), &["audit", "--csv"]).contains("drift,s1,"));

    let codex = tempfile::tempdir().unwrap();
    let sessions = codex.path().join("sessions/2026/09/20");
    fs::create_dir_all(&sessions).unwrap();
    let row = |last: u64, total: u64| {
        let count = |input: u64| json!({"input_tokens": input, "cached_input_tokens": 40, "output_tokens": 7});
        let info = json!({"total_token_usage": count(total), "last_token_usage": count(last)});
        let payload = json!({"type": "token_count", "info": info});
        format!("{}\n", json!({"type": "event_msg", "timestamp": "2026-09-20T10:45:00Z", "payload": payload}))
    };
    let meta = |id: &str, parent: &str| {
        format!("{}\n", json!({"type": "session_meta", "payload": {"id": id, "forked_from_id": parent}}))
    };
    let (first, second) = (row(100, 100), row(200, 300));
    fs::write(
        sessions.join("rollout-b.jsonl"),
        [&meta("s1", "gone"), &first, &first, &second].map(|it| &**it).concat(),
    )
    .unwrap();
    fs::write(sessions.join("rollout-a.jsonl"), [&meta("fork", "s1"), &first, &row(50, 150)].map(|it| &**it).concat())
        .unwrap();
    let home = codex.path().to_str().unwrap();
    let totals = report_json(dir.path(), &["totals", "--codex-home", home]);
    let (ours, theirs) = (&totals["by_tool"]["claude-code"], &totals["by_tool"]["codex"]);
    assert_eq!((&totals["total"], &ours["total"], &theirs["total"]), (&json!(10_371), &json!(10_000), &json!(371)));
    assert_eq!((&theirs["input"], &theirs["cache_read"]), (&json!(230), &json!(120)));
    assert_eq!((&theirs["input_with_cache"], &theirs["files"]), (&json!(350), &json!(2)));
    assert_eq!((&theirs["duplicate_lines"], &theirs["repeated_lines"]), (&json!(2), &json!(1)));
    assert_eq!(report_json(dir.path(), &["totals"])["total"], 10_000, "the usual Codex home is left out");
    assert_eq!(report_json(dir.path(), &["totals", "--codex-home", home, "--tool", "codex"])["total"], 371);
}

/// Where the damaged line begins.
fn report_offset(dir: &Path) -> u64 {
    let bytes = fs::read_to_string(dir.join("projects/-home-ada/s1.jsonl")).unwrap();
    bytes.find("{\"type\":\"assistant\",\n").unwrap() as u64
}

#[test]
fn filters_zones_and_places_of_options() {
    let dir = corpus();
    let dir = dir.path();
    for (arguments, total) in [
        (vec!["--since", "today"], 5_000),
        (vec!["--until", "2026-09-19"], 1_000),
        (vec!["--since", "20260913", "--until", "yesterday"], 1_000),
        (vec!["--project", "engine"], 3_000),
        (vec!["--project", "/home/ada/loom"], 7_000),
        (vec!["--model", "opus"], 7_000),
        (vec!["--tool", "codex"], 0),
        (vec!["--on-disk"], 10_000),
    ] {
        assert_eq!(report_json(dir, &[&["totals"], &arguments[..]].concat())["total"], total, "{arguments:?}");
        assert_eq!(report_json(dir, &[&arguments[..], &["daily"]].concat())["totals"]["total"], total);
    }
    let days = |zone| report_json(dir, &["daily", "--timezone", zone])["rows"][0]["period"].clone();
    assert_eq!((days("UTC"), days("Europe/Berlin")), (json!("2026-09-13"), json!("2026-09-14")));
    let active = report_json(dir, &["blocks"])["rows"][2].clone();
    assert_eq!((&active["is_active"], &active["total"]), (&json!(true), &json!(5_000)));
    assert!((active["burn"]["tokens_per_minute"].as_f64().unwrap() - 5_000.0 / 30.0).abs() < 1e-9);

    // The directory may be named before and after.
    let other = corpus();
    let path = dir.to_str().unwrap();
    for arguments in [
        ["report", "totals", "--json", "--config-dir", path],
        ["report", "--json", "--config-dir", path, "totals"],
        ["--config-dir", path, "report", "totals", "--json"],
    ] {
        let output = run(other.path().parent().unwrap(), &arguments);
        let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&totals["total"], &totals["roots"]), (&json!(10_000), &json!([path])), "{arguments:?}");
    }
}

#[test]
fn a_mistake_says_what_is_allowed() {
    let dir = corpus();
    for (arguments, allowed) in [
        (vec!["report", "hourly"], "totals, daily, weekly, monthly, sessions, blocks, models, projects, audit"),
        (vec!["report", "daily", "--since", "soon"], "yesterday"),
        (vec!["report", "daily", "--since", "today", "--until", "2d"], "the same day or a later one"),
        (vec!["report", "daily", "--tool", "hammer"], "claude-code, codex"),
        (vec!["report", "daily", "--timezone", "Mars"], "Europe/Berlin"),
        (vec!["report", "daily", "--json", "--csv"], "cannot be used with"),
        (vec!["report", "daily", "--config-dir", "/nowhere"], "--config-dir"),
    ] {
        let output = run(dir.path(), &arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(allowed), "{message}");
    }
}

#[test]
fn narrow_terminals_get_narrow_tables() {
    let dir = corpus();
    for kind in &KINDS[1..8] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dashboard"));
        command.args(["report", kind, "--config-dir", dir.path().to_str().unwrap()]);
        let output = command.env_clear().env("HOME", dir.path()).env("COLUMNS", "80").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let table = text.lines().take_while(|line| !line.is_empty());
        assert!(table.into_iter().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn a_file_of_prices_wins_and_a_broken_one_is_said_to_be_so() {
    let dir = corpus();
    let dir = dir.path();
    let cost = |arguments: &[&str]| report_json(dir, &[&["totals"], arguments].concat())["cost_usd"].clone();
    let without = cost(&[]);
    let own = dir.join("own.json");
    fs::write(&own, r#"{"from-the-future": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}}"#).unwrap();
    let own = own.to_str().unwrap();
    let with = cost(&["--prices", own]);
    assert!((with.as_f64().unwrap() - without.as_f64().unwrap() - 0.003).abs() < 1e-12, "{without} and {with}");
    assert_eq!(report_json(dir, &["totals", "--prices", own])["unpriced_models"], json!([]));

    // In the configuration directory it needs no option.
    fs::create_dir_all(dir.join("dashboard")).unwrap();
    let usual = dir.join("dashboard/prices.json");
    fs::copy(own, &usual).unwrap();
    assert_eq!(cost(&[]), with);
    let listed = run(dir, &["prices", "--json", "--model", "FUTURE"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed["models"][0]["own"], &listed["models"][0]["input"]["base"]), (&json!(true), &json!(1.0)));
    assert!(listed["source"].as_str().unwrap().contains("LiteLLM") && listed["models"][1].is_null());
    let text = String::from_utf8(run(dir, &["prices"]).stdout).unwrap();
    assert!(text.contains("your file") && text.contains("above 200k tokens"), "{text}");

    fs::write(&usual, "{").unwrap();
    let output = run(dir, &["report", "totals", "--json"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("prices.json cannot be used"));
    let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(totals["cost_usd"], without, "the prices inside are used");
    let doctor: Value = serde_json::from_slice(&run(dir, &["doctor", "--json", "--port", "0"]).stdout).unwrap();
    let prices = doctor["components"].as_array().unwrap().iter().find(|part| part["name"] == "prices").unwrap();
    assert_eq!(prices["status"], "degraded");
}

#[test]
fn every_command_has_examples_and_completions() {
    let dir = tempfile::tempdir().unwrap();
    let text = |arguments: &[&str]| String::from_utf8(run(dir.path(), arguments).stdout).unwrap();
    let commands = ["start", "report", "prices", "doctor", "demo", "completions"];
    for command in commands {
        assert!(text(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&["completions", shell]);
        for word in commands.iter().chain(&KINDS).chain(&["on-disk", "timezone", "codex-home", "prices"]) {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
}
