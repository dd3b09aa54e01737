//! Where records come from: the directories of assistants on this machine.
//!
//! Everything in here reads and nothing writes. What the records mean is decided elsewhere.

pub mod files;
mod message;
pub mod roots;

pub use message::SourceMessage;
