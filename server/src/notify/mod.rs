//! What outlives the process of alerts: what was told, and what the user wants to hear no more of.
//!
//! The engine leaves it in an [`Inbox`], which never makes it wait; the task [`run`] keeps it on the disk.

mod memory;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dashboard_core::alert::AlertMemory;
use dashboard_core::event::HealthStatus;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::health::{DashboardHealth, Part};

/// Where the engine leaves what is to be kept. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The newest, if it has to be kept.
    memory: Mutex<Option<AlertMemory>>,
    arrived: Notify,
}

impl Inbox {
    /// Leaves what was told until now, in place of what is still there.
    pub fn leave(&self, memory: AlertMemory) {
        *self.0.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        self.0.arrived.notify_one();
    }

    fn take(&self) -> Option<AlertMemory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What was told in earlier runs.
pub fn recall(data_dir: &Path) -> AlertMemory {
    memory::load(data_dir)
}

/// Keeps what is left in the inbox, for as long as it is polled.
pub async fn run(inbox: Inbox, data_dir: Option<PathBuf>, health: DashboardHealth) {
    loop {
        inbox.0.arrived.notified().await;
        let Some((dir, memory)) = data_dir.clone().zip(inbox.take()) else { continue };
        let saved = spawn_blocking(move || memory::save(&dir, &memory)).await.map_err(std::io::Error::other).flatten();
        let (status, message) = match saved {
            Ok(()) => (HealthStatus::Healthy, "what was told is kept".to_owned()),
            Err(error) => (HealthStatus::Degraded, format!("what was told is not kept: {error}; alerts may repeat")),
        };
        health.report(Part::Alerts, status, message);
    }
}
