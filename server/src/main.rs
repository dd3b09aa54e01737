//! The dashboard's binary: reads the command line and hands over to the library.

use std::io::IsTerminal;
use std::process::ExitCode;

use server::cli::{Cli, Commands, config_file};
use server::commands::{
    backtest, completions, demo, doctor, guard, notify, prices, report, start, status, statusline, wait,
};
use server::panics;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // The tool waits for it, several times a second: nothing of what the other commands need is started.
    if let Some(code) = statusline::at_once(std::env::args_os()) {
        return code;
    }
    log_to_stderr();
    panics::log();
    match Cli::read(std::env::args_os(), config_file().as_deref()).and_then(|cli| run(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dashboard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Commands) -> anyhow::Result<ExitCode> {
    match command {
        Commands::Start(args) => tokio::runtime::Runtime::new()?.block_on(start::run(*args))?,
        Commands::Prices(args) => return prices::run(&args),
        Commands::Report(args) => return report::run(&args),
        Commands::Status(args) => return status::run(&args),
        Commands::Wait(args) => return wait::run(&args),
        Commands::Guard(args) => return guard::run(&args),
        Commands::Notify(args) => return notify::run(&args),
        Commands::Doctor(args) => return doctor::run(&args),
        Commands::Statusline(args) => statusline::run(&args),
        Commands::Backtest(args) => return backtest::run(&args),
        Commands::Demo(args) => demo::run(&args)?,
        Commands::Completions { shell } => completions::run(shell)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Warnings and worse; more with `RUST_LOG`. Identifiers are fields, and nothing of a conversation is known here.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
