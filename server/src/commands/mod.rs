//! The commands: one file each, arguments and what they do.

pub mod report;
