//! The binary itself: what it prints and how it ends.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

/// The binary, with nothing of this machine's settings.
fn dashboard(arguments: &[&str]) -> Command {
    let home = tempfile::tempdir().unwrap().keep();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashboard"));
    command.args(arguments).env_clear().env("HOME", &home).env("XDG_CONFIG_HOME", &home);
    command
}

fn run(arguments: &[&str]) -> Output {
    dashboard(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A dashboard that has printed its banner.
fn started(arguments: &[&str]) -> (Child, String) {
    let mut child = dashboard(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut banner = String::new();
    while !banner.contains("Ctrl+C") {
        assert!(out.read_line(&mut banner).unwrap() > 0, "ended early: {banner}");
    }
    child.stdout = Some(out.into_inner());
    (child, banner)
}

#[test]
#[cfg(unix)]
fn says_where_it_is_and_ends_well_when_told_to() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let (mut child, banner) = started(&["start", "--simulation", "--no-browser", "--port", "0"]);
        for part in ["http://127.0.0.1:", "/health", "simulation", "calm-day"] {
            assert!(banner.contains(part), "{banner}");
        }
        assert!(!banner.contains('\u{1b}'), "no colours where no terminal is");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal:?}");
        let mut rest = String::new();
        child.stdout.unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn it_takes_as_many_descriptors_as_it_may_have() {
    let program = env!("CARGO_BIN_EXE_dashboard");
    let script = format!("ulimit -Sn 300; ulimit -Hn 600; exec {program} start --simulation --no-browser --port 0");
    let mut shell = Command::new("sh");
    let mut child = shell.args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut banner = String::new();
    while !banner.contains("Ctrl+C") {
        assert!(out.read_line(&mut banner).unwrap() > 0, "ended early: {banner}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft_and_hard: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(soft_and_hard, ["600", "600"]);
}

#[test]
fn a_port_in_use_is_said_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["start", "--no-browser", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains(&port) && message.contains("--port"), "{message}");
}

#[test]
fn others_are_served_with_a_token_only() {
    let output = run(&["start", "--no-browser", "--host", "0.0.0.0", "--port", "0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--token"));
}

#[test]
fn a_bad_option_says_what_is_allowed() {
    let output = run(&["start", "--scenario", "chaos"]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    for allowed in ["calm-day", "quota-crunch", "context-overflow", "agent-swarm"] {
        assert!(message.contains(allowed), "{message}");
    }
    assert_eq!(run(&["start", "--no-such-option"]).status.code(), Some(2));
}

#[test]
fn help_has_examples_and_completions_complete() {
    assert!(text(&run(&["--help"]).stdout).contains("Examples:"));
    let script = text(&run(&["completions", "bash"]).stdout);
    assert!(script.contains("--simulation"));
}

#[test]
fn the_doctor_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let output = run(&["doctor", "--json", "--config-dir", dir, "--port", "0"]);
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["status"], "degraded");
    let advice: Vec<_> = report["components"].as_array().unwrap().iter().filter_map(|c| c["advice"].as_str()).collect();
    assert!(advice.iter().any(|advice| advice.contains("--config-dir")), "{advice:?}");
    assert!(text(&run(&["doctor", "--config-dir", dir, "--port", "0"]).stdout).contains("none found"));
}
