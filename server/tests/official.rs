//! What tools say of limits elsewhere than in transcripts, from the relay or the file to the page.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dashboard_core::event::Provenance;
use dashboard_core::record::{LimitKey, ReadingProblem, ReadingSource, Tool};
use dashboard_core::state::{DashboardState, LimitState};
use dashboard_core::time::{HOUR_MS, MINUTE_MS, Timestamp};
use reqwest::StatusCode;
use server::clock;
use server::manager::{History, Source};
use server::source::roots::{self, ConfiguredRoots, Environment};
use support::{TestDashboard, soon};

/// What Claude Code hands to its status line, with things said that must not be kept.
fn told(percent: f64, resets_at: Timestamp) -> String {
    serde_json::json!({
        "session_id": "4f9c1e2a", "session_name": "a secret", "cwd": "/home/dev/a secret", "version": "2.1.260",
        "transcript_path": "/home/dev/.claude/projects/p/4f9c1e2a.jsonl",
        "model": {"id": "claude-opus-4-7", "display_name": "Opus"},
        "cost": {"total_cost_usd": 0.5, "total_api_duration_ms": 100},
        "context_window": {"context_window_size": 1_000_000, "used_percentage": 8, "current_usage": null},
        "rate_limits": {
            "five_hour": {"used_percentage": percent, "resets_at": resets_at.unix_ms() / 1000},
            "seven_day": {"used_percentage": 41, "resets_at": resets_at.plus_ms(24 * HOUR_MS).to_string()},
        },
    })
    .to_string()
}

fn limit(state: &DashboardState, key: &LimitKey) -> Option<(f64, ReadingSource)> {
    let LimitState { now, .. } = state.limits.get(key)?;
    (now.provenance == Provenance::Official).then_some(())?;
    now.percent.zip(now.source)
}

fn five_hour() -> LimitKey {
    LimitKey::five_hour(Tool::ClaudeCode)
}

/// The relay, with nothing of this machine's settings, given `input`.
fn relay(port: u16, data_dir: &Path, more: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashboard"));
    command.args(["statusline", "--port", &port.to_string(), "--data-dir"]).arg(data_dir).args(more);
    command.env_clear().env("HOME", data_dir).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// What it printed: one line, and nothing else, without failing.
fn line(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    text
}

/// A port nobody listens on.
fn nobody() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn what_a_status_line_is_told_is_on_the_page() {
    let home = tempfile::tempdir().unwrap();
    let dashboard = TestDashboard::live(home.path()).await;
    let mut page = dashboard.page(None).await;
    let reset = clock::wall().plus_ms(2 * HOUR_MS);
    let port = dashboard.address.port();

    let dir = home.path().to_owned();
    let relayed = move |percent| {
        let dir = dir.clone();
        tokio::task::spawn_blocking(move || line(&relay(port, &dir, &[], told(percent, reset).as_bytes())))
    };
    let printed = soon("the relay", relayed(23.5)).await.unwrap();
    for part in ["Context 8\u{202f}%", "5-hour 24\u{202f}%, reset in 1\u{202f}h 59", "Weekly 41\u{202f}%"] {
        assert!(printed.contains(part), "{printed}");
    }
    page.until("the limit", |state| limit(state, &five_hour()) == Some((23.5, ReadingSource::StatusLine))).await;
    let weekly = LimitKey::weekly(Tool::ClaudeCode);
    assert_eq!(limit(&page.state, &weekly), Some((41.0, ReadingSource::StatusLine)));

    soon("the relay", relayed(1_789_796_400.0)).await.unwrap();
    page.until("what is refused", |state| state.ingest.refused_readings == 1).await;
    assert_eq!(page.state.ingest.reading_problems[0].problem, Some(ReadingProblem::PercentIsEpoch));
    assert_eq!(limit(&page.state, &five_hour()), Some((23.5, ReadingSource::StatusLine)), "what was said before holds");
    assert!(!serde_json::to_string(&page.events).unwrap().contains("a secret"));
    assert!(!home.path().join("relayed").exists(), "it was taken");
    dashboard.stop().await;
}

#[tokio::test]
async fn what_was_left_behind_is_taken_by_the_next_dashboard() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let reset = clock::wall().plus_ms(2 * HOUR_MS);
    line(&relay(nobody(), &data, &[], told(12.0, reset).as_bytes()));
    let left: Vec<_> = fs::read_dir(data.join("relayed")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left.len(), 1);
    assert!(!fs::read_to_string(&left[0]).unwrap().contains("a secret"));

    let roots = roots::find(&ConfiguredRoots::new(&[home.path().to_owned()], None), &Environment::default());
    let history = Some(History { dir: data.clone(), retention_days: None });
    let dashboard = TestDashboard::start(Source::Live { roots, plan: None, history }, None).await;
    let mut page = dashboard.page(None).await;
    page.until("the limit", |state| limit(state, &five_hour()) == Some((12.0, ReadingSource::StatusLine))).await;
    assert!(page.state.limits[&five_hour()].now.as_of <= clock::wall());
    assert_eq!(fs::read_dir(data.join("relayed")).unwrap().count(), 0);
    dashboard.stop().await;
}

#[test]
fn whatever_comes_in_a_line_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let wild = br#"{"session_id":[],"model":7,"cost":{},"context_window":{"used_percentage":"8"},"rate_limits":{"five_hour":{"used_percentage":1789796400}}}"#;
    for input in [&b""[..], b"{", b"[]", b"\xff\xfe", b"{}", wild] {
        assert_eq!(line(&relay(nobody(), dir.path(), &[], input)), "No figures yet\n");
    }
    let mut large = told(12.0, clock::wall().plus_ms(MINUTE_MS)).into_bytes();
    large.pop();
    large.extend_from_slice(br#","more":""#);
    large.resize(10 << 20, b'x');
    large.extend_from_slice(br#""}"#);
    assert!(line(&relay(nobody(), dir.path(), &[], &large)).contains("5-hour 12\u{202f}%"));
    large.resize(40 << 20, b'x');
    assert_eq!(line(&relay(nobody(), dir.path(), &[], &large)), "No figures yet\n");
    let unusable = dir.path().join("file");
    fs::write(&unusable, "").unwrap();
    line(&relay(nobody(), &unusable, &["--unknown"], told(12.0, clock::wall()).as_bytes()));
}

#[test]
#[cfg(unix)]
fn a_line_of_the_users_own_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let input = told(12.0, clock::wall().plus_ms(MINUTE_MS));
    let own = relay(nobody(), dir.path(), &["--then", "grep -o Opus; echo mine"], input.as_bytes());
    assert_eq!(String::from_utf8(own.stdout).unwrap(), "Opus\nmine\n");
    let broken = relay(nobody(), dir.path(), &["--then", "exit 3"], input.as_bytes());
    assert!(line(&broken).contains("5-hour 12\u{202f}%"), "one that says nothing is stood in for");
}

#[test]
fn subagents_have_a_line_each() {
    let dir = tempfile::tempdir().unwrap();
    let input =
        br#"{"tasks":[{"id":"a1","name":"a secret","tokenCount":12000,"contextWindowSize":200000},{"id":"a2"}]}"#;
    let output = relay(nobody(), dir.path(), &[], input);
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|it| serde_json::from_slice(it).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["id"], "a1");
    assert_eq!(lines[0]["content"], "12.0k tokens, 6\u{202f}% of its context");
    assert_eq!(lines[1]["content"], "–");
}

#[tokio::test]
async fn a_cached_answer_counts_as_old_as_it_is_until_its_window_is_over() {
    let home = tempfile::tempdir().unwrap();
    let now = clock::wall();
    let write = |percent: f64, fetched_at: Timestamp| {
        let limits = serde_json::json!({
            "five_hour": {"utilization": percent, "resets_at": now.plus_ms(HOUR_MS).to_string()},
            "seven_day": {"utilization": 7, "resets_at": now.plus_ms(-HOUR_MS).to_string()},
        });
        let cached = serde_json::json!({"fetchedAtMs": fetched_at.unix_ms(), "utilization": limits});
        let text = serde_json::json!({"cachedUsageUtilization": cached, "oauthAccount": {"emailAddress": "a secret"}});
        fs::write(home.path().join(".claude.json"), text.to_string()).unwrap();
    };
    let fetched_at = now.plus_ms(-95 * MINUTE_MS).floor_to(MINUTE_MS);
    write(46.0, fetched_at);
    let dashboard = TestDashboard::live(home.path()).await;
    let mut page = dashboard.page(None).await;
    page.until("the limit", |state| limit(state, &five_hour()) == Some((46.0, ReadingSource::CachedUsage))).await;
    assert_eq!(page.state.limits[&five_hour()].now.as_of, fetched_at);
    let weekly = &page.state.limits[&LimitKey::weekly(Tool::ClaudeCode)].now;
    assert_eq!((weekly.provenance, weekly.source), (Provenance::Estimated, None), "its window is over");
    assert_eq!(page.state.ingest.reading_problems[0].problem, Some(ReadingProblem::ResetPassed));

    // The newest holds, wherever it was said.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |body: String| client.post(dashboard.url("/api/v1/ingest/statusline")).body(body).send();
    let answer = soon("an answer", post(told(48.0, now.plus_ms(HOUR_MS)))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    page.until("the newer one", |state| limit(state, &five_hour()) == Some((48.0, ReadingSource::StatusLine))).await;
    write(47.0, now.plus_ms(-MINUTE_MS));
    write(49.0, clock::wall());
    page.until("the newest", |state| limit(state, &five_hour()) == Some((49.0, ReadingSource::CachedUsage))).await;
    let snapshot = reqwest::get(dashboard.url("/api/v1/snapshot")).await.unwrap().text().await.unwrap();
    assert!(!snapshot.contains("a secret"));
    dashboard.stop().await;
}

#[tokio::test]
async fn what_is_no_status_line_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dashboard = TestDashboard::live(home.path()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |dashboard: &TestDashboard, body: Vec<u8>, origin: Option<&str>| {
        let request = client.post(dashboard.url("/api/v1/ingest/statusline")).body(body);
        origin.into_iter().fold(request, |request, origin| request.header("origin", origin)).send()
    };
    for body in [&b""[..], b"[]", b"{", b"nonsense"] {
        assert_eq!(post(&dashboard, body.to_vec(), None).await.unwrap().status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(post(&dashboard, vec![b'x'; 100 << 10], None).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let foreign = post(&dashboard, b"{}".to_vec(), Some("https://elsewhere.example")).await.unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    dashboard.stop().await;
    let simulation = TestDashboard::simulation().await;
    assert_eq!(post(&simulation, b"{}".to_vec(), None).await.unwrap().status(), StatusCode::CONFLICT);
    simulation.stop().await;
}
