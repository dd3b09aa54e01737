//! Commands for programs, as the real binary: what they print, and their exit codes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use server::clock;

/// The binary, with nothing of this machine's settings; its home is `home`.
fn dashboard(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashboard"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(arguments).env_clear().env("HOME", home).env("XDG_CONFIG_HOME", home.join(".config"));
    command.env("PATH", path).env("DASHBOARD_DATA_DIR", home.join("data")).stdin(Stdio::null());
    command
}

/// A port on which nobody listens.
fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    let port = free_port();
    dashboard(home, arguments).env("DASHBOARD_PORT", port).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes a rollout in which Codex states a share of its five-hour limit, of a window that ends in `minutes`.
fn state_limit(home: &Path, percent: f64, minutes: i64) {
    let now = clock::wall();
    let resets_at = now.unix_ms() / 1_000 + minutes * 60;
    let usage = json!({"input_tokens": 10, "cached_input_tokens": 0, "output_tokens": 5, "reasoning_output_tokens": 0, "total_tokens": 15});
    let info = json!({"total_token_usage": usage, "last_token_usage": usage, "model_context_window": 258_400});
    let limits = json!({"primary": {"used_percent": percent, "window_minutes": 300, "resets_at": resets_at}});
    let payload = json!({"type": "token_count", "info": info, "rate_limits": limits});
    let meta = json!({"timestamp": now.to_string(), "type": "session_meta", "payload": {"id": "c1", "cwd": "/home/ada/engine"}});
    let line = json!({"timestamp": now.to_string(), "type": "event_msg", "payload": payload});
    let dir = home.join(".codex/sessions/2026/09/20");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("rollout-2026-09-20T10-00-00-c1.jsonl"), format!("{meta}\n{line}\n")).unwrap();
}

#[test]
fn the_status_is_the_worst_level_and_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    for (percent, level, code) in
        [(10.0, "healthy", 0), (81.0, "warning", 10), (91.0, "danger", 10), (96.0, "critical", 11)]
    {
        state_limit(home.path(), percent, 60);
        let output = run(home.path(), &["status", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&status["level"], &status["source"]), (&json!(level), &json!("files")));
        let limits = status["limits"].as_array().unwrap();
        let codex = limits.iter().find(|limit| limit["limit"] == "codex/300").unwrap();
        assert_eq!((&codex["percent"], &codex["provenance"]), (&json!(percent), &json!("official")));
    }
    let output = run(home.path(), &["status", "--quota-levels", "97,98,99"]);
    assert_eq!(output.status.code(), Some(0), "levels are settings");
    let shown = text(&output.stdout).replace('\u{202f}', " ");
    assert!(shown.contains("96 % used, official") && shown.contains("Sessions: 1 active"), "{shown}");
}

#[test]
fn waiting_ends_when_the_condition_is_met_or_the_time_is_up() {
    let home = tempfile::tempdir().unwrap();
    state_limit(home.path(), 85.0, 60);
    assert_eq!(run(home.path(), &["wait", "--until", "codex/300<90%"]).status.code(), Some(0));
    let output = run(home.path(), &["wait", "--until", "codex/300<90%,codex/300<80%", "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(text(&output.stderr).contains("codex/300<80% is not met"), "{}", text(&output.stderr));
    let output = run(home.path(), &["wait", "--until", "five_hour<80%", "--timeout", "0"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(text(&output.stderr).contains("not known"), "{}", text(&output.stderr));
    let output = run(home.path(), &["wait", "--until", "five_hour=80%"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("five_hour<80%"), "{}", text(&output.stderr));
}

#[test]
fn a_command_is_started_only_if_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    state_limit(home.path(), 85.0, 60);
    let marker = home.path().join("started");
    let script = format!("touch {}; exit 7", marker.display());
    let guard = |maximum: &str, more: &[&str]| {
        let mut arguments = vec!["guard", "--max", maximum];
        arguments.extend(more);
        arguments.extend(["--", "sh", "-c", &script]);
        let code = run(home.path(), &arguments).status.code();
        (code, fs::remove_file(&marker).is_ok())
    };
    assert_eq!(guard("codex/300=80%", &[]), (Some(75), false));
    assert_eq!(guard("codex/300=85%", &[]), (Some(7), true));
    assert_eq!(guard("five_hour=99%", &[]), (Some(75), false), "what is not known is no room");
    assert_eq!(guard("five_hour=99%", &["--allow-unknown"]), (Some(7), true));
    assert_eq!(guard("codex/300=80%", &["--wait", "--timeout", "1s"]), (Some(75), false));
    let missing = run(home.path(), &["guard", "--max", "codex/300=99%", "--", "/no/such/command"]);
    assert_eq!(missing.status.code(), Some(127));
}

/// A dashboard that runs until dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(home: &Path, port: &str, more: &[&str]) -> Running {
    let mut arguments = vec!["start", "--no-browser", "--port", port];
    arguments.extend(more);
    let mut child = dashboard(home, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut banner = String::new();
    while !banner.contains("Ctrl+C") {
        assert!(out.read_line(&mut banner).unwrap() > 0, "ended early: {banner}");
    }
    Running(child)
}

#[test]
fn a_running_dashboard_is_asked_and_a_simulation_is_not() {
    let home = tempfile::tempdir().unwrap();
    state_limit(home.path(), 85.0, 60);
    let port = free_port();
    let running = start(home.path(), &port, &[]);
    let output = dashboard(home.path(), &["status", "--json", "--port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", text(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["source"], "dashboard");
    drop(running);

    let port = free_port();
    let _running = start(home.path(), &port, &["--simulation"]);
    let output = dashboard(home.path(), &["status", "--json", "--port", &port]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&status["source"], output.status.code()), (&json!("files"), Some(10)));
}

#[test]
fn a_port_of_another_program_is_said() {
    let home = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let other = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    });
    let output = dashboard(home.path(), &["status", "--port", &port]).output().unwrap();
    other.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("--port") || text(&output.stderr).contains("dashboard's"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_test_notice_reaches_the_desktop_and_says_what_did_not() {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let stand_in = bin.join("notify-send");
    fs::write(&stand_in, format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}/shown\n", home.path().display())).unwrap();
    fs::set_permissions(&stand_in, <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let dead = format!("slack=http://127.0.0.1:{}/secret", free_port());
    let test = |arguments: &[&str]| {
        let mut all = vec!["notify", "test"];
        all.extend(arguments);
        dashboard(home.path(), &all).env("PATH", &path).output().unwrap()
    };
    let output = test(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--desktop"));
    let output = test(&["--desktop"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "desktop: delivered\n"));
    let shown = fs::read_to_string(home.path().join("shown")).unwrap();
    assert!(shown.contains("--app-name=Dashboard") && shown.contains("Dashboard test"), "{shown}");
    let output = test(&["--desktop", "--webhook", &dead]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("desktop: delivered") && said.contains("slack=http://127.0.0.1"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    assert_eq!(test(&["--webhook", "json=/etc/passwd"]).status.code(), Some(2));
}
