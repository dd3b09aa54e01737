//! The commands: one file each, arguments and what they do.

pub mod backtest;
pub mod completions;
pub mod demo;
pub mod doctor;
pub mod guard;
pub mod notify;
pub mod prices;
pub mod report;
pub mod start;
pub mod status;
pub mod statusline;
pub mod wait;

use std::io;

/// `dashboard report … | head` is no error.
fn unless_nobody_reads(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}
