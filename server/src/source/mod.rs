//! Where records come from: the directories of assistants on this machine.
//!
//! Everything in here reads and nothing writes. What the records mean is decided elsewhere.

pub mod files;
mod message;
mod presence;
pub mod roots;
mod transcripts;

use tokio::sync::mpsc;

pub use message::SourceMessage;

use crate::health::{DashboardHealth, Part};
use crate::source::roots::Root;
use dashboard_core::event::HealthStatus;

/// Reads the transcripts below `roots`, now and as they grow, until dropped or nobody listens.
///
/// Files are read on a thread of its own, because reading them blocks. It ends when `messages` has
/// no receiver any more.
pub async fn run(roots: Vec<Root>, messages: mpsc::Sender<SourceMessage>, health: DashboardHealth) {
    let listening = messages.clone();
    let reports = health.clone();
    let thread = std::thread::Builder::new()
        .name("transcripts".to_owned())
        .spawn(move || transcripts::Tail::new(roots, messages, reports).run());
    if let Err(error) = thread {
        health.report(Part::Transcripts, HealthStatus::Unhealthy, format!("no thread to read on: {error}"));
    }
    listening.closed().await;
}
