//! What is still to be posted: a bounded queue for each webhook, kept on the disk.
//!
//! A notice leaves the queue when its receiver has taken it, or refused it for good. It survives a restart; a webhook
//! that is set no more loses its queue. Bounds: [`MAX_QUEUED`] notices for each webhook and [`MAX_AGE_MS`]; beyond, the
//! oldest go, and are counted.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use dashboard_core::time::{HOUR_MS, Timestamp};
use serde::{Deserialize, Serialize};

use super::Notice;
use super::webhook::Webhook;
use crate::settings::write_whole;

/// The file's name in the data directory.
const FILE: &str = "deliveries.json";
/// Most notices that wait for one webhook; beyond, the oldest goes.
pub(super) const MAX_QUEUED: usize = 200;
/// What is older is news no longer.
pub(super) const MAX_AGE_MS: i64 = 24 * HOUR_MS;

/// Names a webhook in the file without its secret: a hash of its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct WebhookId(String);

impl WebhookId {
    pub(super) fn of(webhook: &Webhook) -> Self {
        Self(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(webhook.to_string().as_bytes())))
    }
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Queue {
    file: Option<PathBuf>,
    waiting: BTreeMap<WebhookId, VecDeque<Notice>>,
    /// Notices that were dropped by a bound since the start.
    dropped: u64,
}

impl Queue {
    /// What an earlier run left; nothing without a data directory, or if the file is not understood.
    pub(super) fn load(dir: Option<&Path>) -> Self {
        let file = dir.map(|dir| dir.join(FILE));
        let waiting = match file.as_deref().map(std::fs::read) {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(BTreeMap::new()),
        };
        let waiting = waiting.unwrap_or_else(|error| {
            tracing::warn!(error, file = ?file, "notices of an earlier run that were not delivered are lost");
            BTreeMap::new()
        });
        Self { file, waiting, dropped: 0 }
    }

    /// Adds a notice for a webhook, unless it is there already.
    pub(super) fn push(&mut self, webhook: &WebhookId, notice: Notice) {
        let queue = self.waiting.entry(webhook.clone()).or_default();
        if queue.iter().any(|known| known.id == notice.id) {
            return;
        }
        if queue.len() == MAX_QUEUED {
            queue.pop_front();
            self.dropped += 1;
        }
        queue.push_back(notice);
    }

    /// The next notice for a webhook.
    pub(super) fn front(&self, webhook: &WebhookId) -> Option<&Notice> {
        self.waiting.get(webhook)?.front()
    }

    /// The notice was taken or refused: it waits no more. It may not be the first any longer.
    pub(super) fn remove(&mut self, webhook: &WebhookId, id: &str) {
        if let Some(queue) = self.waiting.get_mut(webhook) {
            queue.retain(|notice| notice.id != id);
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
    }

    /// Drops what is too old, and the queues of webhooks that are set no more.
    pub(super) fn prune(&mut self, webhooks: &[WebhookId], now: Timestamp) {
        self.waiting.retain(|id, _| webhooks.contains(id));
        for queue in self.waiting.values_mut() {
            let before = queue.len();
            queue.retain(|notice| now.ms_since(notice.at) < MAX_AGE_MS);
            self.dropped += (before - queue.len()) as u64;
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
    }

    /// How many notices wait, for all webhooks.
    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// How many were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What writes the queue as it is now; `None` where nothing is kept. To be called where waiting for the disk is
    /// allowed.
    pub(super) fn writer(&self) -> Option<impl FnOnce() -> io::Result<()> + Send + 'static> {
        let file = self.file.clone()?;
        let bytes = serde_json::to_vec(&self.waiting);
        Some(move || write_whole(&file, &bytes?))
    }
}

#[cfg(test)]
mod tests {
    use dashboard_core::alert::{Alert, Condition};
    use dashboard_core::level::Level;
    use dashboard_core::state::DashboardState;

    use super::*;

    fn notice(part: &str, at: i64) -> Notice {
        let alert = Alert { condition: Condition::PartFailing { component: part.to_owned() }, level: Level::Warning };
        Notice::new(alert, &DashboardState::default(), Timestamp::from_unix_ms(at))
    }

    fn id(url: &str) -> WebhookId {
        WebhookId::of(&url.parse().unwrap())
    }

    #[test]
    fn what_waits_survives_a_restart_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let webhook = id("json=http://a/");
        let mut queue = Queue::load(Some(dir.path()));
        for part in ["a", "b", "a", "c"] {
            queue.push(&webhook, notice(part, 0));
        }
        queue.writer().unwrap()().unwrap();
        let mut queue = Queue::load(Some(dir.path()));
        let mut found = Vec::new();
        while let Some(notice) = queue.front(&webhook).cloned() {
            queue.remove(&webhook, &notice.id);
            found.push(notice);
        }
        assert_eq!(found, ["a", "b", "c"].map(|part| notice(part, 0)), "what is there already is there once");
        assert!(Queue::load(None).writer().is_none());
        std::fs::write(dir.path().join(FILE), "[").unwrap();
        assert_eq!(Queue::load(Some(dir.path())).len(), 0);
    }

    #[test]
    fn a_day_without_a_receiver_is_bounded() {
        let (gone, dead) = (id("json=http://gone/"), id("json=http://dead/"));
        let mut queue = Queue::default();
        queue.push(&gone, notice("x", 0));
        // An alert every minute.
        for minute in 0..24 * 60 {
            queue.push(&dead, notice(&minute.to_string(), minute * 60_000));
        }
        queue.prune(std::slice::from_ref(&dead), Timestamp::from_unix_ms(MAX_AGE_MS));
        assert_eq!((queue.len(), queue.dropped()), (MAX_QUEUED, 24 * 60 - MAX_QUEUED as u64));
        let bytes = serde_json::to_vec(&queue.waiting).unwrap().len();
        assert!(bytes < 500 * MAX_QUEUED, "{bytes}");
        queue.prune(std::slice::from_ref(&dead), Timestamp::from_unix_ms(3 * MAX_AGE_MS));
        assert_eq!(queue.len(), 0);
    }
}
