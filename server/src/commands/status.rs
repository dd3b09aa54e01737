//! `dashboard status`: limits, contexts and sessions in a few lines, and the worst level as the exit code.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dashboard_core::alert::{self, words};
use dashboard_core::event::SessionPhase;
use dashboard_core::format;
use dashboard_core::level::Level;
use dashboard_core::state::{DashboardState, LimitState, Session};
use dashboard_core::time::Timestamp;
use dashboard_core::units::Money;
use serde_json::{Value, json};

use crate::present::{Present, PresentArgs};

const EXAMPLES: &str = "\
Examples:
  dashboard status                       how it stands, for people
  dashboard status --json | jq .level    for a script
  dashboard status --wait && make        once no limit is critical

Exit code: 0 if all is well, 10 on warning or danger, 11 on critical, 1 if it cannot be told. The level is the worst of
any limit and any active session's context. Asks the running dashboard; reads the files where none runs.";

/// Exit code on warning and danger.
pub const WARNING: u8 = 10;
/// Exit code on critical.
pub const CRITICAL: u8 = 11;

/// Options of `status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Wait until the level is below critical
    #[arg(long)]
    pub wait: bool,
    /// Where to ask.
    #[command(flatten)]
    pub present: PresentArgs,
}

/// Runs the command.
///
/// # Errors
/// If the present cannot be had, or the output cannot be written.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut present = args.present.look()?;
    while args.wait && level(&present.state) == Level::Critical {
        std::thread::sleep(present.teller.pause());
        present = args.present.look()?;
    }
    let text = if args.json { format!("{:#}\n", json(&present)) } else { text(&present.state, present.now) };
    io::stdout().write_all(text.as_bytes()).or_else(super::unless_nobody_reads).context("cannot write the status")?;
    Ok(match level(&present.state) {
        Level::Healthy | Level::Info => ExitCode::SUCCESS,
        Level::Warning | Level::Danger => ExitCode::from(WARNING),
        Level::Critical => ExitCode::from(CRITICAL),
    })
}

/// The worst level of any limit and any active session's context.
fn level(state: &DashboardState) -> Level {
    let limits = state.limits.values().map(|limit| limit.now.status);
    let contexts = active(state).map(Session::context_level);
    limits.chain(contexts).max().unwrap_or_default()
}

fn active(state: &DashboardState) -> impl Iterator<Item = &Session> {
    state.sessions.values().filter(|session| session.is_active())
}

fn text(state: &DashboardState, now: Timestamp) -> String {
    let mut out = String::new();
    let mut line = |level: Level, text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{:<9} {text}", level.as_str());
    };
    for key in state.limits_shown() {
        let name = state.limit_title(&key);
        match state.limits.get(&key) {
            Some(limit) => line(limit.now.status, format!("{name}: {}", limit_text(state, limit, now))),
            None => line(Level::Healthy, format!("{name}: nothing known")),
        }
    }
    for session in active(state) {
        let Some(context) = &session.context else { continue };
        let fill = context.now.percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent);
        let (label, limit) = (state.project_label(session), format::tokens(context.now.limit));
        let compacts = format::percent(context.compact_at_percent());
        line(context.now.status, format!("Context of {label}: {fill} of {limit}, compacts at {compacts}"));
    }
    let totals = state.session_totals(now);
    let waiting = active(state).filter(|session| session.phase == SessionPhase::NeedsYou).count();
    let level = if waiting > 0 { Level::Warning } else { Level::Healthy };
    line(level, format!("Sessions: {} active, {} working, {waiting} waiting for you", totals.active, totals.working));
    if let Some(today) = state.today_usage() {
        line(
            Level::Healthy,
            format!("Today: {}, {} tokens", format::cost(&today.cost), format::tokens(today.usage.total())),
        );
    }
    out
}

fn limit_text(state: &DashboardState, limit: &LimitState, now: Timestamp) -> String {
    let used = match limit.now.percent {
        _ if limit.now.blocked => "refuses requests".to_owned(),
        Some(percent) => format!("{} used", format::percent(percent)),
        None => format!("{} tokens used, limit unknown", format::tokens(limit.now.used)),
    };
    let age = format::span(now.ms_since(limit.now.as_of));
    let reset = limit.now.reset_time.zip(limit.ms_to_reset(now)).map_or_else(String::new, |(at, left)| {
        format!(", reset in {} ({})", format::span(left), format::clock_day(&state.zone, at, now))
    });
    format!("{used}, {} {age} ago{reset}", limit.now.provenance.as_str())
}

fn json(present: &Present) -> Value {
    let Present { state, now, teller } = present;
    let limits: Vec<Value> = state
        .limits
        .iter()
        .map(|(key, limit)| {
            json!({
                "limit": key,
                "name": state.limit_title(key),
                "level": limit.now.status,
                "percent": limit.now.percent,
                "used_tokens": limit.now.used,
                "limit_tokens": limit.now.limit,
                "resets_at": limit.now.reset_time,
                "provenance": limit.now.provenance,
                "as_of": limit.now.as_of,
                "blocked": limit.now.blocked,
                "complete": limit.now.complete,
            })
        })
        .collect();
    let sessions: Vec<Value> = active(state)
        .map(|session| {
            let context = session.context.as_ref().map(|context| {
                json!({
                    "level": context.now.status,
                    "used_tokens": context.now.used,
                    "limit_tokens": context.now.limit,
                    "percent": context.now.percent,
                    "usable_percent": context.now.usable_percent,
                })
            });
            json!({
                "session": session.id,
                "tool": session.tool,
                "project": state.project_label(session),
                "phase": session.phase,
                "tokens": session.usage.total(),
                "cost_usd": session.cost.known().map(Money::usd),
                "context": context,
            })
        })
        .collect();
    let alerts: Vec<Value> = alert::open(state, *now)
        .into_iter()
        .map(|alert| {
            let (title, detail) = (words::title(&alert), words::detail(&alert, state, *now));
            json!({"level": alert.level, "title": title, "detail": detail, "condition": alert.condition})
        })
        .collect();
    let today = state
        .today_usage()
        .map(|today| json!({"tokens": today.usage.total(), "cost_usd": today.cost.known().map(Money::usd)}));
    json!({
        "level": level(state),
        "at": now,
        "source": teller.as_str(),
        "binding_limit": state.binding_limit(),
        "limits": limits,
        "sessions": sessions,
        "today": today,
        "alerts": alerts,
    })
}
