//! The dashboard's server: reads what assistants write, keeps the numbers, shows them to browsers.

pub mod clock;
pub mod commands;
pub mod health;
pub mod http;
pub mod hub;
pub mod source;
