//! The dashboard's binary.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use server::commands::report;

/// A live view of coding sessions
#[derive(Parser)]
#[command(name = "dashboard", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Report(report::ReportArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Report(args) => report::run(&args),
    }
}
