//! The dashboard's server: reads what assistants write, keeps the numbers, shows them to browsers.

pub mod commands;
pub mod source;
