//! The API over a real port: the same figures as the command line, and metrics that a scraper can read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dashboard_core::ledger::Scope;
use dashboard_core::price::PriceTable;
use dashboard_core::report::{Filter, ReportKind};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use server::commands::report::{Question, report};
use server::source::roots::{self, ConfiguredRoots, Environment};
use support::{TestDashboard, soon};

async fn get(dashboard: &TestDashboard, path: &str) -> Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    soon("an answer", client.get(dashboard.url(path)).send()).await.unwrap()
}

async fn get_json(dashboard: &TestDashboard, path: &str) -> Value {
    let response = get(dashboard, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.unwrap()
}

fn line(session: &str, id: &str, model: &str, at: &str, input: u64) -> String {
    let message = json!({"id": id, "model": model, "usage": {"input_tokens": input, "output_tokens": 10}});
    let line = json!({"type": "assistant", "sessionId": session, "requestId": id, "timestamp": at,
                      "cwd": "/home/ada/engine", "message": message});
    format!("{line}\n")
}

fn write(dir: &Path) {
    let slug = dir.join("projects/-home-ada");
    fs::create_dir_all(&slug).unwrap();
    let text = [
        line("s1", "m1", "claude-opus-4-5-20251101", "2026-09-13T23:30:00Z", 990),
        line("s1", "m1", "claude-opus-4-5-20251101", "2026-09-13T23:30:01Z", 990),
        "{\"type\":\n".to_owned(),
        line("s1", "m2", "odd \"model\" \\ one", "2026-09-20T10:00:00Z", 1_990),
    ];
    fs::write(slug.join("s1.jsonl"), text.concat()).unwrap();
}

/// Waits until history has been read.
async fn ready(dashboard: &TestDashboard) {
    soon("history", async {
        loop {
            let response = get(dashboard, "/api/v1/totals").await;
            if response.status() == StatusCode::OK {
                return;
            }
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()["retry-after"], "1");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Without what differs between two runs.
fn timeless(mut report: Value) -> Value {
    report.as_object_mut().unwrap().remove("generated_at");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_says_what_the_command_line_says_and_follows_what_is_written() {
    let home = tempfile::tempdir().unwrap();
    write(home.path());
    let dashboard = TestDashboard::live(home.path()).await;
    ready(&dashboard).await;
    let roots = roots::find(&ConfiguredRoots::new(&[home.path().to_owned()], None), &Environment::default());
    let expected = |kind| {
        let now = Timestamp::parse("2026-09-21T00:00:00Z").unwrap();
        let question = Question {
            kind,
            scope: Scope::All,
            prices: &PriceTable::embedded(),
            zone: &ZoneOffsets::utc(),
            now,
            filter: &Filter::default(),
        };
        serde_json::to_value(report(question, &roots, None)).unwrap()
    };
    for kind in ReportKind::ALL.into_iter().filter(|kind| *kind != ReportKind::Audit) {
        let found = get_json(&dashboard, &format!("/api/v1/{kind}")).await;
        assert_eq!(timeless(found), timeless(expected(kind)), "{kind}");
    }
    let audit = get_json(&dashboard, "/api/v1/audit").await;
    assert_eq!(audit["rejections"], expected(ReportKind::Audit)["rejections"]);
    assert_eq!(audit["rejections"][0]["reason"], "not_json");
    assert_eq!((&audit["duplicate_lines"], &audit["expiring"]["sessions"]), (&json!(1), &json!(1)));

    for (query, total) in [
        ("?since=2026-09-14&until=", 2_000),
        ("?until=20260913", 1_000),
        ("?project=engine&tool=claude-code", 3_000),
        ("?project=elsewhere", 0),
        ("?model=opus&format=json", 1_000),
    ] {
        let found = get_json(&dashboard, &format!("/api/v1/daily{query}")).await;
        assert_eq!(found["totals"]["total"], total, "{query}");
    }
    let csv = get(&dashboard, "/api/v1/sessions?format=csv").await;
    assert!(csv.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    assert_eq!(csv.headers()["content-disposition"], "attachment; filename=\"dashboard-sessions.csv\"");
    assert!(csv.text().await.unwrap().contains("\r\ns1,claude-code,engine,/home/ada/engine,"));

    let more = home.path().join("projects/-home-ada/s2.jsonl");
    fs::write(more, line("s2", "m3", "claude-opus-4-5-20251101", "2026-09-20T11:00:00Z", 6_990)).unwrap();
    soon("the new file in the totals", async {
        while get_json(&dashboard, "/api/v1/totals").await["total"] != 10_000 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    dashboard.stop().await;
}

#[tokio::test]
async fn a_bad_query_is_told_what_is_allowed() {
    let home = tempfile::tempdir().unwrap();
    write(home.path());
    let dashboard = TestDashboard::live(home.path()).await;
    ready(&dashboard).await;
    for (query, allowed) in [
        ("since=soon", "2026-09-20"),
        ("since=today&until=yesterday", "the same day or a later one"),
        ("tool=hammer", "claude-code, codex"),
        ("format=xml", "json, csv"),
        ("sincee=today", "since, until, project, model, tool, format"),
        ("since=today&since=today", "allowed"),
    ] {
        let response = get(&dashboard, &format!("/api/v1/daily?{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["error"], "bad_query");
        assert!(problem["message"].as_str().unwrap().contains(allowed), "{query}: {problem}");
    }
    dashboard.stop().await;
}

/// A sample: its labels and its value.
type Sample = (BTreeMap<String, String>, f64);

/// Reads the text format, strictly: every sample after its HELP and TYPE, no family twice, no series twice.
fn parsed(text: &str) -> BTreeMap<String, (String, Vec<Sample>)> {
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let (mut current, mut seen) = (String::new(), BTreeSet::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, about) = help.split_once(' ').unwrap();
            assert!(!about.is_empty());
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(["gauge", "counter"].contains(&kind) && (kind == "counter") == name.ends_with("_total"), "{name}");
            assert!(families.insert(name.to_owned(), (kind.to_owned(), Vec::new())).is_none(), "{name} twice");
            current = name.to_owned();
            continue;
        }
        assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "{line} twice");
        let rest = line.strip_prefix(&current).unwrap_or_else(|| panic!("{line} is not of {current}"));
        let (mut labels, mut rest) = (BTreeMap::new(), rest);
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                let (name, after) = inner.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut chars = after.char_indices();
                let end = loop {
                    match chars.next().unwrap() {
                        (at, '"') => break at,
                        (_, '\\') => value.push(match chars.next().unwrap().1 {
                            'n' => '\n',
                            c @ ('\\' | '"') => c,
                            other => panic!("\\{other} in {line}"),
                        }),
                        (_, c) => value.push(c),
                    }
                };
                labels.insert(name.trim_start_matches(',').to_owned(), value);
                inner = &after[end + 1..];
                if let Some(after) = inner.strip_prefix('}') {
                    rest = after;
                    break;
                }
            }
        }
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
        families.get_mut(&current).unwrap().1.push((labels, value));
    }
    families
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_can_be_read_and_do_not_fall() {
    let home = tempfile::tempdir().unwrap();
    write(home.path());
    let dashboard = TestDashboard::live(home.path()).await;
    ready(&dashboard).await;
    let mut page = dashboard.page(None).await;
    page.step().await;
    let response = get(&dashboard, "/metrics").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let families = parsed(&response.text().await.unwrap());
    let of = |name: &str| &families[&format!("dashboard_{name}")].1;
    let tokens: f64 = of("tokens_total").iter().map(|(_, value)| value).sum();
    assert!((tokens - 3_000.0).abs() < f64::EPSILON);
    assert!(of("tokens_total").iter().any(|(labels, _)| labels["model"] == "odd \"model\" \\ one"));
    for (name, value) in [
        ("uptime_seconds", None),
        ("clients", Some(1.0)),
        ("hub_snapshots_total", Some(1.0)),
        ("hub_frames_total", None),
        ("ingest_lines_total", Some(4.0)),
        ("ingest_rejected_lines_total", Some(1.0)),
        ("ingest_duplicate_lines_total", Some(1.0)),
        ("ingest_bytes_total", None),
        ("sessions_active", Some(0.0)),
    ] {
        let (labels, found) = &of(name)[0];
        assert!(labels.is_empty() && value.is_none_or(|value: f64| (value - found).abs() < f64::EPSILON), "{name}");
    }
    // 990 × 5 $ + 10 × 25 $ a million; the other model has no price, so it has no cost.
    let [(labels, cost)] = of("cost_usd_total").as_slice() else { panic!("one model has a price") };
    assert!(labels["model"].contains("opus") && (cost - 0.0052).abs() < 1e-12);
    assert_eq!(of("build_info")[0].0["mode"], "live");
    assert!(of("component_healthy").iter().any(|(labels, _)| labels["component"] == "engine"));

    // A file that is rewritten with less takes nothing back.
    fs::write(home.path().join("projects/-home-ada/s1.jsonl"), "{}\n").unwrap();
    soon("the rewritten file", async {
        while get_json(&dashboard, "/api/v1/totals").await["total"] != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let after = get(&dashboard, "/metrics").await.text().await.unwrap();
    assert!(after.lines().any(|line| line == "dashboard_ingest_lines_total 4"), "{after}");
    dashboard.stop().await;
}

#[tokio::test]
async fn a_simulation_has_reports_metrics_and_a_description_too() {
    let dashboard = TestDashboard::simulation().await;
    ready(&dashboard).await;
    assert!(get_json(&dashboard, "/api/v1/daily").await["totals"]["responses"].as_u64().unwrap() > 0);
    let families = parsed(&get(&dashboard, "/metrics").await.text().await.unwrap());
    let windows = &families["dashboard_quota_used_percent"].1;
    assert!(windows.iter().all(|(labels, _)| labels["provenance"] == "simulated"), "{windows:?}");
    let document = get_json(&dashboard, "/api/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    let read = paths.iter().filter(|(_, operations)| operations.get("get").is_some()).map(|(path, _)| path);
    for path in read.filter(|path| *path != "/ws" && !path.contains('{')) {
        assert_eq!(get(&dashboard, path).await.status(), StatusCode::OK, "{path}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn the_forecast_names_every_limit_and_the_next_session() {
    let dashboard = TestDashboard::simulation().await;
    let answer = get_json(&dashboard, "/api/v1/forecast?project=recipe-box").await;
    let snapshot = get_json(&dashboard, "/api/v1/snapshot").await;
    let limits = answer["limits"].as_object().unwrap();
    let keys: BTreeSet<&String> = limits.keys().collect();
    assert_eq!(keys, snapshot["state"]["limits"].as_object().unwrap().keys().collect());
    assert!(keys.contains(&answer["binding"].as_str().unwrap().to_owned()), "{}", answer["binding"]);
    let five_hour = &limits["claude-code/300"]["forecast"]["known"];
    let share = &five_hour["expected"]["percent"];
    let [low, median, high] = ["low", "median", "high"].map(|name| share[name].as_f64().unwrap());
    assert!(low <= median && median <= high, "{five_hour}");
    assert!(limits["claude-code/300"]["percent"].as_f64().unwrap() <= low, "{five_hour}");
    let next = &answer["next_session"];
    assert_eq!((next["tool"].as_str(), next["project"].as_str()), (Some("claude-code"), Some("recipe-box")));
    assert!(next["prediction"]["sessions"].as_u64().unwrap() >= 5, "{next}");
    assert!(["likely", "tight", "no"].contains(&next["can_start"]["fits"].as_str().unwrap()), "{next}");
    assert_eq!(next["peak_hours"].as_array().unwrap().len(), 3);
    for query in ["tool=nobody", "projects=x"] {
        let response = get(&dashboard, &format!("/api/v1/forecast?{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    dashboard.stop().await;
}
