//! The commands: one file each, arguments and what they do.

pub mod completions;
pub mod demo;
pub mod doctor;
pub mod report;
pub mod start;
