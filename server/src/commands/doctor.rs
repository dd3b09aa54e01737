//! `dashboard doctor`: looks at what the dashboard needs and says what to do about each.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dashboard_core::event::HealthStatus;
use serde::Serialize;

use crate::cli;
use crate::http::Token;
use crate::peer;
use crate::prices::Prices;
use crate::source::files;
use crate::source::roots::{self, ConfiguredRoots, Environment, NamedHome};
use crate::store::{self, Repair, StoreError};
use crate::zone::ChosenZone;

const EXAMPLES: &str = "\
Examples:
  dashboard doctor                     what is there, and what to do about the rest
  dashboard doctor --json --port 4000  for a script, with another port
  dashboard doctor --repair            also rebuild the history's sums, while no dashboard runs";

/// Options of `doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Port the dashboard is to listen on
    #[arg(long, env = "DASHBOARD_PORT", default_value_t = 3001)]
    pub port: u16,
    /// Claude Code's configuration directory, instead of the usual ones; may be repeated
    #[arg(long, env = "DASHBOARD_CONFIG_DIR", value_name = "DIR", value_delimiter = ',')]
    pub config_dir: Vec<PathBuf>,
    /// Codex's home directory, instead of the usual one; with --config-dir, only the one given here is read
    #[arg(long, env = "DASHBOARD_CODEX_HOME", value_name = "DIR")]
    pub codex_home: Option<PathBuf>,
    /// Where the dashboard keeps history
    #[arg(long, env = "DASHBOARD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Decide anew which claims on responses count, and rebuild the history's sums from them; refused while a dashboard
    /// runs
    #[arg(long)]
    pub repair: bool,
    /// Home directory of a tool, such as pi=/data/pi, instead of its usual one; may be repeated
    #[arg(long, env = "DASHBOARD_HOME", value_name = "TOOL=DIR", value_delimiter = ',')]
    pub home: Vec<NamedHome>,
}

/// What was found about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    /// The thing.
    name: String,
    status: HealthStatus,
    /// What was found.
    message: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn new(name: &str, status: HealthStatus, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status, message: message.into(), advice: None }
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Runs the command: exit code 0 if the dashboard can work, else 1.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut findings =
        transcripts(&ConfiguredRoots::new(&args.config_dir, args.codex_home.as_deref()).with_homes(&args.home));
    findings.push(port(args.port));
    findings.push(settings());
    findings.push(prices());
    findings.extend(args.repair.then(|| repair(args.data_dir.clone().or_else(store::usual_dir))));
    findings.push(time_zone());
    findings.push(access());
    let status = findings.iter().map(|finding| finding.status).max().unwrap_or_default();
    print(args.json, status, &findings).context("cannot write the findings")?;
    Ok(if status == HealthStatus::Unhealthy { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(json: bool, status: HealthStatus, findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &serde_json::json!({ "status": status, "components": findings }))?;
        return writeln!(out);
    }
    for Finding { name, status, message, advice } in findings {
        writeln!(out, "{:<9}  {name}: {message}", status.as_str())?;
        if let Some(advice) = advice {
            writeln!(out, "{:<9}  → {advice}", "")?;
        }
    }
    Ok(())
}

/// One finding for each directory, and one for all of them.
fn transcripts(given: &ConfiguredRoots) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut total = 0;
    for root in roots::find(given, &Environment::of_process()) {
        let name = format!("{}, {}", root.tool.title(), root.dir.display());
        if !root.has_transcripts() {
            findings.push(Finding::new(&name, HealthStatus::Healthy, "no transcripts; watched in case some appear"));
            continue;
        }
        let mut unreadable = Vec::new();
        let count = files::transcripts(&root, &mut unreadable).len();
        total += count;
        findings.push(match unreadable.first() {
            None => Finding::new(&name, HealthStatus::Healthy, format!("{count} transcripts")),
            Some(first) => {
                let message = format!("{count} transcripts; {} cannot be read: {}", first.path, first.error);
                Finding::new(&name, HealthStatus::Degraded, message)
                    .advise("allow this user to read it; everything else is counted")
            }
        });
    }
    findings.push(if total > 0 {
        Finding::new("transcripts", HealthStatus::Healthy, format!("{total} found"))
    } else {
        Finding::new("transcripts", HealthStatus::Degraded, "none found")
            .advise("start a session of an assistant, or name its directory with --config-dir or --home TOOL=DIR; meanwhile `dashboard start --simulation` shows the dashboard at work")
    });
    findings
}

fn port(port: u16) -> Finding {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::new("port", HealthStatus::Healthy, format!("{port} is free")),
        Err(error) => Finding::new("port", HealthStatus::Degraded, format!("{port} cannot be used: {error}"))
            .advise("a dashboard may be running there already; else choose another with --port"),
    }
}

/// A file with mistakes ends every command before this one runs, so it is only said where it is.
fn settings() -> Finding {
    let message = match cli::config_file() {
        Some(file) if file.is_file() => file.display().to_string(),
        Some(file) => format!("none; {} would be read", file.display()),
        None => "none; this platform names no directory for it".to_owned(),
    };
    Finding::new("settings", HealthStatus::Healthy, message)
}

/// Who can open the dashboard without its token.
fn access() -> Finding {
    let token = store::usual_dir().map(|dir| Token::file_in(&dir).display().to_string());
    let token = token.unwrap_or_else(|| "the data directory".to_owned());
    match peer::check() {
        Ok(()) => {
            let message = format!("this user's processes are let in; others need the token in {token}");
            Finding::new("access", HealthStatus::Healthy, message)
        }
        Err(error) if cfg!(target_os = "linux") => {
            let message = format!("everybody needs the token in {token}, because {error}");
            Finding::new("access", HealthStatus::Degraded, message)
                .advise("mount /proc and allow sock_diag, so that this user's own processes can be told from others'")
        }
        Err(error) => {
            let message = format!("every user of this machine can open the dashboard, because {error}");
            Finding::new("access", HealthStatus::Degraded, message)
                .advise("if others use this machine, start with `--token auto`")
        }
    }
}

/// Days begin in it.
fn time_zone() -> Finding {
    let ChosenZone { status, message, .. } = ChosenZone::find(None);
    let finding = Finding::new("time zone", status, message);
    if status == HealthStatus::Healthy {
        finding
    } else {
        finding.advise("set TZ or --timezone to a name such as Europe/Berlin")
    }
}

/// Costs are computed from these.
fn prices() -> Finding {
    let prices = Prices::load(None);
    let (status, message) = prices.health();
    let finding = Finding::new("prices", status, message);
    if prices.problem.is_some() {
        finding.advise("correct the file or remove it; `dashboard prices --help` shows its shape")
    } else {
        finding
    }
}

/// What is computed from the history's claims, computed anew.
fn repair(dir: Option<PathBuf>) -> Finding {
    let bad = |message: String, advice: &str| Finding::new("history", HealthStatus::Unhealthy, message).advise(advice);
    let Some(dir) = dir else { return bad("there is no usual place for it".to_owned(), "name one with --data-dir") };
    match store::repair(&dir, &Prices::load(None).table) {
        Ok(None) => Finding::new("history", HealthStatus::Healthy, format!("none in {}", dir.display())),
        Ok(Some(Repair { problems, claims_corrected, rows })) if problems.is_empty() => {
            let message = format!("sums rebuilt: {rows} rows, {claims_corrected} claims marked otherwise than before");
            Finding::new("history", HealthStatus::Healthy, message)
        }
        Ok(Some(Repair { problems, .. })) => bad(
            format!("the database is damaged: {}", problems.join("; ")),
            "start the dashboard: what can be read stays, and what is damaged is set aside and rebuilt from the \
             transcripts as soon as it is met",
        ),
        Err(error @ StoreError::Locked(_)) => bad(error.to_string(), "stop that dashboard and try again"),
        Err(error) => bad(error.to_string(), "see what it says; --data-dir names another directory"),
    }
}
