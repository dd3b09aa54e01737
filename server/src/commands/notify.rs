//! `dashboard notify test`: delivers a test to every channel that is set, and says what became of each.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use dashboard_core::alert::{Alert, Condition};
use dashboard_core::level::Level;
use dashboard_core::state::DashboardState;

use crate::clock;
use crate::notify::{self, Notice};
use crate::settings::{SettingsArgs, SettingsSource};
use crate::store;

const EXAMPLES: &str = "\
Examples:
  dashboard notify test                              every channel that is set
  dashboard notify test --desktop                    with the desktop's notifications
  dashboard notify test --webhook ntfy=https://ntfy.sh/my-topic

Settings are those of `dashboard start`: options, environment, settings.json of the data directory, config.toml. What
JSON webhooks are signed with is in the file webhook-secret of the data directory.
Exit code: 0 if all were reached, 1 if one was not.";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Deliver a test
    Test,
}

/// Options of `notify`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct NotifyArgs {
    /// What to do
    pub action: Action,
    /// Where the dashboard keeps its settings
    #[arg(long, env = "DASHBOARD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The channels.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Runs the command.
///
/// # Errors
/// If no channel is set.
pub fn run(args: &NotifyArgs) -> anyhow::Result<ExitCode> {
    let Action::Test = args.action;
    let data_dir = args.data_dir.clone().or_else(store::usual_dir);
    let resolved = SettingsSource::new(&args.settings, data_dir.as_deref()).resolve();
    resolved.problems.iter().for_each(|problem| eprintln!("dashboard: {problem}"));
    let condition = Condition::NeedsYou { session: "test".into(), project: "A test of the dashboard".to_owned() };
    let alert = Alert { condition, level: Level::Info };
    let notice = Notice::new(alert, &DashboardState::default(), clock::wall());
    let notice = Notice { title: "Dashboard test".to_owned(), recommendation: None, ..notice };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let delivery = &resolved.values.delivery;
    let results = runtime.block_on(notify::try_all(delivery, data_dir.as_deref(), &notice));
    if results.is_empty() {
        bail!("no channel is set: --desktop, --bell or --webhook, as options or settings");
    }
    for (channel, result) in &results {
        match result {
            Ok(()) => println!("{channel}: delivered"),
            Err(error) => println!("{channel}: not delivered: {error}"),
        }
    }
    let reached_all = results.iter().all(|(_, result)| result.is_ok());
    Ok(if reached_all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
