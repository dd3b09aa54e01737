//! `dashboard guard`: starts a command only if limits have room.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Args;
use dashboard_core::until::LimitTest;

use super::wait::{self, Watch};
use crate::present::PresentArgs;

const EXAMPLES: &str = "\
Examples:
  dashboard guard --max five_hour=90% -- claude -p 'fix the tests'
  dashboard guard --max weekly=80% --max five_hour=50% --wait --timeout 6h -- ./nightly.sh

Looks once before it starts the command; --wait looks until there is room. The command takes this process's place, with
its input, output and exit code.
Exit code: that of the command; 75 if it was not started because a limit is used beyond its maximum, or how far is not
known (--allow-unknown starts it then); 126 or 127 if it cannot be started; 1 if it cannot be told.";

/// Exit code when a limit leaves no room: EX_TEMPFAIL of sysexits.h.
pub const REFUSED: u8 = 75;

/// Options of `guard`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct GuardArgs {
    /// What a limit may be used at most, in percent; may be repeated
    #[arg(long, value_name = "LIMIT=N%", value_delimiter = ',', required = true, value_parser = LimitTest::at_most)]
    pub max: Vec<LimitTest>,
    /// Wait until there is room
    #[arg(long)]
    pub wait: bool,
    /// Longest wait, such as 90s, 30m or 6h
    #[arg(long, value_name = "T", value_parser = wait::duration, requires = "wait")]
    pub timeout: Option<Duration>,
    /// Start it even if the share of a limit is not known
    #[arg(long, conflicts_with = "wait")]
    pub allow_unknown: bool,
    /// Where to ask.
    #[command(flatten)]
    pub present: PresentArgs,
    /// The command, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Runs the command.
///
/// # Errors
/// If the present cannot be had.
pub fn run(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    let mut watch = Watch::new(args.max.clone());
    let is_met = if args.wait {
        watch.until_met(&args.present, args.timeout)?
    } else {
        watch.look(&args.present)?;
        watch.is_met(args.allow_unknown)
    };
    if !is_met {
        eprintln!("dashboard: not started: {}", watch.unmet());
        return Ok(ExitCode::from(REFUSED));
    }
    let Some((program, arguments)) = args.command.split_first() else { return Ok(ExitCode::FAILURE) };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(start(command))
}

/// Puts the command in this process's place. Returns only if it cannot.
#[cfg(unix)]
fn start(mut command: Command) -> ExitCode {
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    not_started(&command, &error)
}

/// Runs the command and takes over its exit code.
#[cfg(not(unix))]
fn start(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => not_started(&command, &error),
    }
}

fn not_started(command: &Command, error: &std::io::Error) -> ExitCode {
    eprintln!("dashboard: {} cannot be started: {error}", command.get_program().display());
    // As shells do.
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}
