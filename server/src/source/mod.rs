//! Where records come from: the directories of assistants on this machine.
//!
//! Everything in here reads and nothing writes. What the records mean is decided elsewhere.

pub mod files;
mod message;
pub mod roots;

pub use message::SourceMessage;

/// TEMP until the tailing source lands.
pub async fn run(
    _roots: Vec<roots::Root>,
    records: tokio::sync::mpsc::Sender<SourceMessage>,
    _health: crate::health::DashboardHealth,
) {
    let _ = records.send(SourceMessage::HistoryRead).await;
    std::future::pending::<()>().await;
}
