//! From a line of a transcript to the page, through the whole server.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use dashboard_core::ids::SessionId;
use dashboard_core::state::DashboardState;
use dashboard_core::units::Tokens;
use server::clock;
use support::TestDashboard;

const SESSION: &str = "4f9c1e2a-0000-4000-8000-000000000001";

/// A line as the tool writes it, with something said that must not leave the parser.
fn response(number: u32, output: u32) -> String {
    let line = serde_json::json!({
        "type": "assistant", "sessionId": SESSION, "requestId": format!("req_{number}"), "uuid": format!("u{number}"),
        "timestamp": clock::wall().to_string(), "cwd": "/home/dev/app", "isSidechain": false,
        "message": {
            "id": format!("msg_{number}"), "role": "assistant", "model": "claude-sonnet-4-5-20250929",
            "content": [{"type": "text", "text": "a secret of the conversation"}],
            "usage": {"input_tokens": 10, "output_tokens": output, "cache_creation_input_tokens": 0,
                      "cache_read_input_tokens": 0},
        },
    });
    format!("{line}\n")
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn transcript(home: &Path) -> PathBuf {
    let project = home.join("projects/-home-dev-app");
    fs::create_dir_all(&project).unwrap();
    project.join(format!("{SESSION}.jsonl"))
}

fn output(state: &DashboardState) -> Option<Tokens> {
    state.sessions.get(&SessionId::from(SESSION)).map(|session| session.usage.output)
}

#[tokio::test]
async fn what_is_written_is_shown_and_nothing_of_what_was_said() {
    let home = tempfile::tempdir().unwrap();
    let file = transcript(home.path());
    append(&file, &response(1, 100));
    let dashboard = TestDashboard::live(home.path()).await;
    let mut page = dashboard.page(None).await;
    page.until("history", |state| output(state) == Some(Tokens(100))).await;
    assert!(page.events.iter().all(|event| event.event.kind() != "session:start"), "history makes no events");

    append(&file, &response(2, 20));
    page.until("a new line", |state| output(state) == Some(Tokens(120))).await;
    // The same message again: written once more, counted once.
    append(&file, &response(2, 25));
    page.until("its last word", |state| output(state) == Some(Tokens(125))).await;
    append(&file, "no JSON\n");
    page.until("a damaged line", |state| state.ingest.rejected_lines == 1).await;
    fs::write(&file, response(3, 7)).unwrap();
    page.until("a rewritten file", |state| output(state) == Some(Tokens(7))).await;

    for path in ["/", "/api/v1/snapshot", "/health"] {
        let text = reqwest::get(dashboard.url(path)).await.unwrap().text().await.unwrap();
        assert!(!text.contains("a secret"), "{path}");
    }
    assert!(!serde_json::to_string(&page.events).unwrap().contains("a secret"));
    dashboard.stop().await;
}

#[tokio::test]
async fn a_restarted_dashboard_begins_anew_with_the_same_figures() {
    let home = tempfile::tempdir().unwrap();
    let file = transcript(home.path());
    append(&file, &response(1, 100));
    let dashboard = TestDashboard::live(home.path()).await;
    let mut page = dashboard.page(None).await;
    page.until("history", |state| output(state) == Some(Tokens(100))).await;
    dashboard.stop().await;

    append(&file, &response(2, 20));
    let dashboard = TestDashboard::live(home.path()).await;
    let mut again = dashboard.page(Some((&page.epoch, page.state.seq))).await;
    assert_ne!(again.epoch, page.epoch);
    again.until("all of it", |state| output(state) == Some(Tokens(120))).await;
    dashboard.stop().await;
}
