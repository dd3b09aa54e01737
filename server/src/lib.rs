//! The dashboard's server: reads what assistants write, keeps the numbers, shows them to browsers.

pub mod cli;
pub mod clock;
pub mod commands;
pub mod control;
#[cfg(feature = "embed")]
mod embedded;
pub mod engine;
pub mod health;
pub mod history;
pub mod http;
pub mod hub;
pub mod manager;
pub mod notify;
pub mod observation;
pub mod panics;
pub mod peer;
pub mod platform;
pub mod present;
pub mod prices;
pub mod relay;
pub mod settings;
pub mod source;
pub mod store;
pub mod supervisor;
pub mod text;
pub mod zone;

pub use manager::run;
