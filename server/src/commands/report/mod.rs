//! `dashboard report`: figures over all transcripts there are, computed once and printed.
//!
//! Reads the files itself, and the store for what is no longer in them; writes nothing and needs no running dashboard. What the figures mean is the core's
//! ([`dashboard_core::report`]); this only reads and prints.

mod print;
mod read;

use crate::observation::Root;
use std::ffi::OsString;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand};
use dashboard_core::event::HealthStatus;
use dashboard_core::history::Response;
use dashboard_core::ledger::Scope;
use dashboard_core::price::PriceTable;
use dashboard_core::record::Tool;
use dashboard_core::report::{DaySpec, Filter, Report, ReportContext, ReportKind, Retention, UsageRow};
use dashboard_core::time::{Timestamp, ZoneOffsets};

use crate::cli::Cli;
use crate::clock;
use crate::prices::Prices;
use crate::source::retention;
use crate::source::roots::{self, ConfiguredRoots, Environment, NamedHome};
use crate::store;
use crate::text::Screen;
use crate::zone::{ChosenZone, Zone};

pub use read::{Reading, read_all};

const EXAMPLES: &str = "\
Examples:
  dashboard report                                 everything, and what became of each line
  dashboard report daily --since 7d                the last week, day by day
  dashboard report monthly --project engine        what a project used, by month
  dashboard report blocks --since today            today's five-hour blocks, the active one with its burn
  dashboard report sessions --model opus --csv     for a spreadsheet
  dashboard report audit --json                    every refused line with its file and place

Costs are list prices of the API, see `dashboard prices`. Days follow --timezone; --since and --until take a date
(2026-09-20), today, yesterday, or days ago (7d), both included.";

/// Which figures to print. Each a command of its own, so that every shell completes them.
#[derive(Subcommand, Clone, Debug)]
pub enum Figures {
    /// See [`ReportKind::Totals`].
    #[command(about = ReportKind::Totals.about(), after_help = EXAMPLES)]
    Totals,
    /// See [`ReportKind::Daily`].
    #[command(about = ReportKind::Daily.about(), after_help = EXAMPLES)]
    Daily,
    /// See [`ReportKind::Weekly`].
    #[command(about = ReportKind::Weekly.about(), after_help = EXAMPLES)]
    Weekly,
    /// See [`ReportKind::Monthly`].
    #[command(about = ReportKind::Monthly.about(), after_help = EXAMPLES)]
    Monthly,
    /// See [`ReportKind::Sessions`].
    #[command(about = ReportKind::Sessions.about(), after_help = EXAMPLES)]
    Sessions,
    /// See [`ReportKind::Blocks`].
    #[command(about = ReportKind::Blocks.about(), after_help = EXAMPLES)]
    Blocks,
    /// See [`ReportKind::Models`].
    #[command(about = ReportKind::Models.about(), after_help = EXAMPLES)]
    Models,
    /// See [`ReportKind::Projects`].
    #[command(about = ReportKind::Projects.about(), after_help = EXAMPLES)]
    Projects,
    /// See [`ReportKind::Audit`].
    #[command(about = ReportKind::Audit.about(), after_help = EXAMPLES)]
    Audit,
    /// Something else: clap would not say what is allowed.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

impl Figures {
    fn kind(&self) -> Result<ReportKind, String> {
        Ok(match self {
            Self::Totals => ReportKind::Totals,
            Self::Daily => ReportKind::Daily,
            Self::Weekly => ReportKind::Weekly,
            Self::Monthly => ReportKind::Monthly,
            Self::Sessions => ReportKind::Sessions,
            Self::Blocks => ReportKind::Blocks,
            Self::Models => ReportKind::Models,
            Self::Projects => ReportKind::Projects,
            Self::Audit => ReportKind::Audit,
            Self::Other(words) => words.first().map(|word| word.to_string_lossy()).unwrap_or_default().parse()?,
        })
    }
}

/// Print figures over all transcripts
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct ReportArgs {
    /// Which figures; all in one, if none is named
    #[command(subcommand)]
    pub figures: Option<Figures>,
    /// Print JSON
    #[arg(long, global = true, conflicts_with = "csv")]
    pub json: bool,
    /// Print comma-separated values
    #[arg(long, global = true)]
    pub csv: bool,
    /// Leave out responses whose transcripts have been deleted
    #[arg(long, global = true)]
    pub on_disk: bool,
    /// First day to count
    #[arg(long, global = true, env = "DASHBOARD_SINCE", value_name = "DAY", hide_env = true)]
    pub since: Option<DaySpec>,
    /// Last day to count
    #[arg(long, global = true, env = "DASHBOARD_UNTIL", value_name = "DAY", hide_env = true)]
    pub until: Option<DaySpec>,
    /// Only sessions of this project: its directory, or the last part of it
    #[arg(long, global = true, env = "DASHBOARD_PROJECT", value_name = "NAME", hide_env = true)]
    pub project: Option<String>,
    /// Only models whose id or name contains this
    #[arg(long, global = true, env = "DASHBOARD_MODEL", value_name = "NAME", hide_env = true)]
    pub model: Option<String>,
    /// Only this tool
    #[arg(long, global = true, env = "DASHBOARD_TOOL", value_name = "TOOL", hide_env = true, value_parser = tools())]
    pub tool: Option<Tool>,
    /// Zone in which days begin, such as Europe/Berlin; the machine's by default
    #[arg(long, global = true, env = "DASHBOARD_TIMEZONE", value_name = "TZ")]
    pub timezone: Option<Zone>,
    /// Claude Code's configuration directory, instead of the usual ones; may be repeated
    #[arg(long, global = true, env = "DASHBOARD_CONFIG_DIR", value_name = "DIR", value_delimiter = ',')]
    pub config_dir: Vec<PathBuf>,
    /// Codex's home directory, instead of the usual one; with --config-dir, only the one given here is read
    #[arg(long, global = true, env = "DASHBOARD_CODEX_HOME", value_name = "DIR")]
    pub codex_home: Option<PathBuf>,
    /// Home directory of a tool, such as pi=/data/pi, instead of its usual one; may be repeated
    #[arg(long, global = true, env = "DASHBOARD_HOME", value_name = "TOOL=DIR", value_delimiter = ',')]
    pub home: Vec<NamedHome>,
    /// Where the dashboard keeps history, for what deleted transcripts said
    #[arg(long, global = true, env = "DASHBOARD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Prices that win over those inside, see `dashboard prices`
    #[arg(long, global = true, env = "DASHBOARD_PRICES", value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// The present instant, for comparing with figures made at another one
    #[arg(long, global = true, value_name = "INSTANT", hide = true, value_parser = instant)]
    pub now: Option<Timestamp>,
}

fn tools() -> impl TypedValueParser<Value = Tool> {
    PossibleValuesParser::new(Tool::ALL.map(Tool::as_str)).try_map(|name| name.parse::<Tool>())
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "allowed: an instant such as 2026-09-20T12:00:00Z".to_owned())
}

/// Runs the command.
///
/// # Errors
/// If there is nothing to read, the options contradict each other, or the output cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let kind = args.figures.as_ref().map_or(Ok(ReportKind::Totals), Figures::kind);
    let kind = kind.unwrap_or_else(|error| Cli::command().error(ErrorKind::InvalidSubcommand, error).exit());
    let now = args.now.unwrap_or_else(clock::wall);
    let zone = ChosenZone::find(args.timezone);
    if zone.status != HealthStatus::Healthy {
        eprintln!("days begin in {}", zone.message);
    }
    let zone = zone.zone.offsets(now);
    let filter = Filter {
        since: args.since.map(|day| day.at(now, &zone)),
        until: args.until.map(|day| day.at(now, &zone)),
        project: args.project.clone(),
        model: args.model.clone(),
        tool: args.tool,
    };
    let filter = filter.checked().context("--since and --until")?;
    let given = ConfiguredRoots::new(&args.config_dir, args.codex_home.as_deref()).with_homes(&args.home);
    let roots = roots::find(&given, &Environment::of_process());
    let data_dir = args.data_dir.clone().or_else(store::usual_dir);
    // What deleted transcripts said is reported even if all of them are gone.
    let is_stored = || !args.on_disk && data_dir.as_deref().is_some_and(|dir| store::holds(dir, &roots));
    if !roots.iter().any(Root::has_transcripts) && !is_stored() {
        let looked: Vec<_> = roots.iter().map(|root| root.dir.display().to_string()).collect();
        bail!("no transcripts: none in {} (--config-dir or --home names another place)", looked.join(", "));
    }
    let scope = if args.on_disk { Scope::OnDisk } else { Scope::All };
    let prices = Prices::load_aloud(args.prices.as_deref()).table;
    let question = Question { kind, scope, prices: &prices, zone: &zone, now, filter: &filter };
    let report = report(question, &roots, data_dir.as_deref());
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else if args.csv {
        out.write_all(report.csv().as_bytes())
    } else {
        out.write_all(print::text(&report, &zone, &Screen::of_stdout()).as_bytes())
    }
    .and_then(|()| out.flush())
    .or_else(super::unless_nobody_reads)
    .context("cannot write the report")?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be reported.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Which report.
    pub kind: ReportKind,
    /// Whether deleted transcripts count.
    pub scope: Scope,
    /// Prices of models.
    pub prices: &'a PriceTable,
    /// The zone in which days begin.
    pub zone: &'a ZoneOffsets,
    /// The present instant.
    pub now: Timestamp,
    /// Which responses to count.
    pub filter: &'a Filter,
}

/// Reads everything below `roots`, and what the store in `data_dir` holds, and reports on it. Says on stderr what could
/// not be read.
pub fn report(question: Question<'_>, roots: &[Root], data_dir: Option<&Path>) -> Report {
    let Question { kind, scope, prices, zone, now, filter } = question;
    // Never taken apart: the process ends with the report, and whoever waits for it would wait for that, too.
    let reading = ManuallyDrop::new(read_all(roots, data_dir));
    let responses: Vec<_> = reading.ledger.responses(scope).collect();
    let ingest = reading.ingest(roots, scope, &responses);
    for unreadable in &ingest.unreadable {
        eprintln!("cannot read {}: {}", unreadable.path, unreadable.error);
    }
    let retention = if kind == ReportKind::Audit { retention::of(roots) } else { Retention::default() };
    let basis = ReportContext {
        sessions: &reading.sessions,
        ingest: &ingest,
        prices,
        zone,
        now,
        filter,
        retention: &retention,
    };
    Report::new(kind, basis, responses.iter().map(|record| UsageRow::of(&Response::from(record), prices)))
}
