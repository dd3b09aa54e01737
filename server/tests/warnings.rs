//! Alerts and settings over HTTP, and what of them outlives the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::fs;
use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use server::clock;
use server::manager::{History, Source};
use server::source::roots::{self, ConfiguredRoots, Environment};
use support::{TestDashboard, soon};

/// A line of Codex's that states shares of its limits, as of now.
fn limits(primary: f64) -> String {
    let now = clock::wall();
    let resets_at = now.unix_ms() / 1_000 + 3 * 3_600;
    let usage = json!({"input_tokens": 10, "cached_input_tokens": 0, "output_tokens": 5, "reasoning_output_tokens": 0, "total_tokens": 15});
    let info = json!({"total_token_usage": usage, "last_token_usage": usage, "model_context_window": 258_400});
    let limits = json!({"primary": {"used_percent": primary, "window_minutes": 300, "resets_at": resets_at}});
    let payload = json!({"type": "token_count", "info": info, "rate_limits": limits});
    let line = json!({"timestamp": now.to_string(), "type": "event_msg", "payload": payload});
    let meta = json!({"timestamp": now.to_string(), "type": "session_meta", "payload": {"id": "c1", "cwd": "/home/ada/engine"}});
    format!("{meta}\n{line}\n")
}

fn write(home: &Path, primary: f64) {
    let dir = home.join("codex/sessions/2026/09/20");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("rollout-2026-09-20T10-00-00-c1.jsonl"), limits(primary)).unwrap();
}

async fn start(home: &Path) -> TestDashboard {
    let (config, codex) = (home.join("claude"), home.join("codex"));
    let roots = roots::find(&ConfiguredRoots::new(&[config], Some(&codex)), &Environment::default());
    let history = Some(History { dir: home.join("data"), retention_days: None });
    TestDashboard::start(Source::Live { roots, plan: None, history }, None).await
}

async fn send(dashboard: &TestDashboard, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, dashboard.url(path));
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let response = soon("an answer", request.send()).await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap_or_default())
}

async fn alerts(dashboard: &TestDashboard) -> Value {
    send(dashboard, Method::GET, "/api/v1/alerts", None).await.1
}

fn is_about_codex(alert: &Value) -> bool {
    alert["subject"] == json!({"limit": "codex/300"})
}

async fn wait_for(dashboard: &TestDashboard, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    soon(what, async {
        loop {
            let alerts = alerts(dashboard).await;
            if let Some(alert) = alerts["alerts"].as_array().unwrap().iter().find(|alert| is_about_codex(alert))
                && wanted(alert)
            {
                return alert.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_user_knows_of_is_known_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), 85.0);
    let dashboard = start(home.path()).await;
    let alert = wait_for(&dashboard, "the alert", |_| true).await;
    assert_eq!((&alert["level"], &alert["acknowledged"]), (&json!("warning"), &json!(false)));
    assert!(alert["title"].as_str().unwrap().contains("Codex"), "{alert}");

    let about = |subject: &Value| json!({"subject": subject});
    let nothing = about(&json!({"needs_you": "nobody"}));
    let path = "/api/v1/alerts/acknowledge";
    assert_eq!(send(&dashboard, Method::POST, path, Some(&nothing)).await.0, StatusCode::NOT_FOUND);
    let (status, problem) = send(&dashboard, Method::POST, path, Some(&json!({"about": 7}))).await;
    assert_eq!((status, &problem["error"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("bad_body")));
    assert_eq!(send(&dashboard, Method::POST, path, Some(&about(&alert["subject"]))).await.0, StatusCode::NO_CONTENT);
    let snooze = "/api/v1/alerts/snooze";
    assert_eq!(
        send(&dashboard, Method::POST, snooze, Some(&json!({"minutes": 99_999}))).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(send(&dashboard, Method::POST, snooze, Some(&json!({"minutes": 60}))).await.0, StatusCode::NO_CONTENT);
    wait_for(&dashboard, "the acknowledgement", |alert| alert["acknowledged"] == true).await;
    let until = alerts(&dashboard).await["snoozed_until"].clone();
    assert!(until.is_string());
    // What is kept is written by another task, soon after.
    soon("the file", async {
        let kept = || fs::read_to_string(home.path().join("data/alerts.json")).unwrap_or_default();
        while !(kept().contains("snoozed_until") && kept().contains("codex/300")) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    dashboard.stop().await;

    let dashboard = start(home.path()).await;
    wait_for(&dashboard, "the same alert", |alert| alert["acknowledged"] == true).await;
    assert_eq!(alerts(&dashboard).await["snoozed_until"], until);
    write(home.path(), 96.0);
    let worse = wait_for(&dashboard, "a worse one", |alert| alert["level"] == "critical").await;
    assert_eq!(worse["acknowledged"], false);
    dashboard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_without_a_data_directory_keeps_no_settings() {
    let dashboard = TestDashboard::simulation().await;
    let (status, settings) = send(&dashboard, Method::GET, "/api/v1/settings", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(settings["settings"]["quota_levels"], json!({"value": "80,90,95", "origin": "default"}));
    let change = json!({"quota_levels": "1,2,3"});
    let (status, problem) = send(&dashboard, Method::PUT, "/api/v1/settings", Some(&change)).await;
    assert_eq!((status, &problem["error"]), (StatusCode::CONFLICT, &json!("not_kept")));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let other = client.put(dashboard.url("/api/v1/settings")).header("origin", "http://evil.example").json(&change);
    assert_eq!(soon("an answer", other.send()).await.unwrap().status(), StatusCode::FORBIDDEN);
    dashboard.stop().await;
}
