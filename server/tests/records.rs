//! A session's records over a real port, and over the death of the dashboard that wrote them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use server::manager::{History, Source};
use server::source::roots::{self, ConfiguredRoots, Environment};
use support::{TestDashboard, soon};

const SECRET: &str = "a word of the conversation";

fn line(second: u64, rest: Value) -> String {
    let mut line = json!({"sessionId": "s1", "cwd": "/home/ada/engine",
                          "timestamp": format!("2026-09-14T15:{:02}:{:02}.000Z", second / 60, second % 60)});
    line.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    format!("{line}\n")
}

fn prompt(second: u64) -> String {
    line(second, json!({"type": "user", "message": {"role": "user", "content": SECRET}}))
}

fn answer(second: u64, id: &str, call: Option<&str>) -> String {
    let part = match call {
        Some(id) => json!({"type": "tool_use", "id": id, "name": "Bash", "input": {"command": SECRET}}),
        None => json!({"type": "text", "text": SECRET}),
    };
    let usage = json!({"input_tokens": 3, "output_tokens": 10, "cache_read_input_tokens": 100});
    let message = json!({"id": id, "model": "claude-opus-4-5-20251101", "content": [part], "usage": usage});
    line(second, json!({"type": "assistant", "requestId": id, "message": message}))
}

fn result(second: u64, call: &str) -> String {
    let part = json!({"type": "tool_result", "tool_use_id": call, "is_error": true, "content": SECRET});
    line(second, json!({"type": "user", "message": {"role": "user", "content": [part]}, "toolUseResult": SECRET}))
}

/// What is answered: the status and the body.
async fn get(address: &str, path: &str) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{address}{path}");
    let response = soon("an answer", client.get(url).send()).await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

/// The records of session s1, once there are this many.
async fn records(address: &str, count: u64) -> Value {
    soon("the records", async {
        loop {
            let (status, body) = get(address, "/api/v1/sessions/s1/records?limit=10000").await;
            if status == StatusCode::OK && body["total"].as_u64().unwrap() >= count {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

async fn live(home: &Path) -> TestDashboard {
    let roots = roots::find(&ConfiguredRoots::new(&[home.join("claude")], None), &Environment::default());
    let history = Some(History { dir: home.join("data"), retention_days: None });
    TestDashboard::start(Source::Live { roots, plan: None, history }, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_records_come_in_order_of_time_and_without_a_word() {
    let home = tempfile::tempdir().unwrap();
    let slug = home.path().join("claude/projects/-home-ada");
    fs::create_dir_all(slug.join("s1/subagents")).unwrap();
    let main = [
        prompt(0),
        answer(1, "m1", None),
        answer(2, "m1", Some("toolu_1")),
        result(5, "toolu_1"),
        answer(6, "m2", None),
        line(7, json!({"type": "system", "subtype": "turn_duration", "durationMs": 6500})),
        line(
            8,
            json!({"type": "system", "subtype": "compact_boundary",
                   "compactMetadata": {"trigger": "auto", "preTokens": 167_000, "postTokens": 9_000}}),
        ),
        prompt(9),
        line(
            10,
            json!({"type": "assistant", "message": {"model": "<synthetic>", "content": SECRET},
                   "quotaLimits": {"status": "rejected", "resetsAt": 1_789_796_400, "rateLimitType": "five_hour"}}),
        ),
    ];
    fs::write(slug.join("s1.jsonl"), main.concat()).unwrap();
    let agents = answer(3, "m3", Some("toolu_2")).replace(r#""sessionId""#, r#""isSidechain":true,"sessionId""#);
    fs::write(slug.join("s1/subagents/agent-a1.jsonl"), agents).unwrap();

    let dashboard = live(home.path()).await;
    let address = dashboard.address.to_string();
    let body = records(&address, 9).await;
    let at = |second: u64| format!("2026-09-14T15:00:{second:02}.000Z");
    let record = |second: u64, rest: Value| {
        let mut record = json!({"tool": "claude-code", "at": at(second)});
        record.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        record
    };
    let response = |second: u64, id: &str, agent: Option<&str>| {
        record(
            second,
            json!({"type": "response", "message": id, "agent": agent, "sidechain": agent.is_some(),
                   "model": "claude-opus-4-5-20251101", "input": 3, "output": 10, "cache_creation": 0,
                   "cache_creation_1h": 0, "cache_read": 100}),
        )
    };
    let calls: Vec<Value> = (3..=4).map(|at| body["records"][at]["call"].clone()).collect();
    let expected = json!([
        record(0, json!({"type": "turn", "ended_at": at(7), "worked_ms": 6500})),
        response(1, "m1", None),
        record(
            2,
            json!({"type": "tool_call", "call": body["records"][2]["call"], "agent": null, "name": "Bash",
                         "ended_at": at(5), "ok": false, "result_bytes": SECRET.len()})
        ),
        response(3, "m3", Some("a1")),
        record(
            3,
            json!({"type": "tool_call", "call": calls[1], "agent": "a1", "name": "Bash", "ended_at": null,
                         "ok": null, "result_bytes": null})
        ),
        response(6, "m2", None),
        record(8, json!({"type": "compaction", "trigger": "auto", "pre_tokens": 167_000, "post_tokens": 9_000})),
        record(9, json!({"type": "turn", "ended_at": null, "worked_ms": null})),
        record(
            10,
            json!({"type": "limit", "limit": "claude-code/300", "used_percent": null,
                          "resets_at": "2026-09-19T05:40:00.000Z", "rejected": true})
        ),
    ]);
    assert_eq!(body["records"], expected);
    assert_eq!((&body["session"], &body["total"], &body["next"]), (&json!("s1"), &json!(9), &Value::Null));
    assert!(!body.to_string().contains(SECRET));

    let (_, stretch) = get(&address, "/api/v1/sessions/s1/records?from=2&limit=3").await;
    assert_eq!((&stretch["from"], &stretch["next"]), (&json!(2), &json!(5)));
    assert_eq!(stretch["records"].as_array().unwrap(), &expected.as_array().unwrap()[2..5]);
    for query in ["limit=0", "limit=10001", "from=-1", "form=1"] {
        let (status, problem) = get(&address, &format!("/api/v1/sessions/s1/records?{query}")).await;
        assert_eq!((status, &problem["error"]), (StatusCode::BAD_REQUEST, &json!("bad_query")), "{query}");
    }
    let (status, problem) = get(&address, "/api/v1/sessions/no%20such/records").await;
    assert_eq!((status, &problem["error"]), (StatusCode::NOT_FOUND, &json!("unknown_session")));

    // Rewritten, everything is as the file now says; deleted, it stays.
    fs::write(slug.join("s1.jsonl"), [prompt(20), answer(21, "m4", None)].concat()).unwrap();
    soon("the rewritten file", async {
        while records(&address, 0).await["total"] != 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let rewritten = records(&address, 4).await;
    fs::remove_file(slug.join("s1.jsonl")).unwrap();
    dashboard.stop().await;
    let dashboard = live(home.path()).await;
    assert_eq!(records(&dashboard.address.to_string(), 0).await, rewritten);
    dashboard.stop().await;
    for file in fs::read_dir(home.path().join("data")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "no word is on the disk");
    }
}

#[tokio::test]
async fn without_a_history_there_are_no_records_and_that_is_said() {
    let dashboard = TestDashboard::simulation().await;
    let (status, problem) = get(&dashboard.address.to_string(), "/api/v1/sessions/s1/records").await;
    assert_eq!((status, &problem["error"]), (StatusCode::NOT_FOUND, &json!("no_history")));
    dashboard.stop().await;
}

/// The binary, and where it listens.
fn started(home: &Path) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashboard"));
    command.env_clear().env("HOME", home).env("XDG_CONFIG_HOME", home);
    command.args(["start", "--no-browser", "--port", "0", "--config-dir"]).arg(home.join("claude"));
    command.arg("--data-dir").arg(home.join("data"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut banner = String::new();
    while !banner.contains("Ctrl+C") {
        assert!(out.read_line(&mut banner).unwrap() > 0, "ended early: {banner}");
    }
    let address = banner.split("http://").nth(1).unwrap().split('/').next().unwrap().split_whitespace().next().unwrap();
    let address = address.to_owned();
    child.stdout = Some(out.into_inner());
    (child, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_doubles_nothing_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let slug = home.path().join("claude/projects/-home-ada");
    fs::create_dir_all(&slug).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(slug.join("s1.jsonl")).unwrap();
    let (mut turns, mut moment) = (0, 0);
    for round in 0..8_u64 {
        let (mut child, _) = started(home.path());
        // It is killed somewhere between not having read anything and having written everything.
        let kill_at = Instant::now() + Duration::from_millis(round * 60);
        loop {
            let id = format!("{turns}");
            let text = [
                prompt(moment),
                answer(moment + 1, &format!("m{id}"), Some(&format!("toolu_{id}"))),
                result(moment + 2, &format!("toolu_{id}")),
            ];
            // The last of them half, and then the rest of it.
            let text = text.concat();
            let (first, rest) = text.split_at(text.len() - 9);
            file.write_all(first.as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            file.write_all(rest.as_bytes()).unwrap();
            (turns, moment) = (turns + 1, moment + 3);
            if Instant::now() > kill_at {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (mut child, address) = started(home.path());
    // One record for each turn, response and call.
    let body = records(&address, 3 * turns).await;
    assert_eq!(body["total"], 3 * turns);
    for (index, record) in body["records"].as_array().unwrap().iter().enumerate() {
        let kind = ["turn", "response", "tool_call"][index % 3];
        assert_eq!(record["type"], kind, "{index}");
        let is_last_turn = index as u64 == 3 * (turns - 1);
        assert_eq!(record["ended_at"].is_string(), kind != "response" && !is_last_turn, "{index}: {record}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
