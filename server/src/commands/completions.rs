//! `dashboard completions`: a completion script on standard output.

use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Runs the command.
///
/// # Errors
/// If the output cannot be written.
pub fn run(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dashboard", &mut script);
    io::stdout().write_all(&script).context("cannot write the script")
}
