//! How the parts of the server are: each part says so itself, and this adds it up.
//!
//! Shared between the parts that report, the engine that turns changes into `health:check` events,
//! and `/health`, which must answer even if the engine hangs. Nothing in here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashboard_core::event::{ComponentHealth, HealthCheck, HealthStatus};
use dashboard_core::history::Unreadable;
use dashboard_core::record::ReadProgress;
use tokio::time::Instant;

/// The engine reports at least once a second; silent for this long, it hangs.
const ENGINE_SILENCE: Duration = Duration::from_secs(10);

/// A part of the server that has a health of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The pages' connections.
    WebSocket,
    /// Answering requests; reported only if it ends.
    Http,
    /// Reading transcripts.
    Transcripts,
    /// Reading which sessions run.
    Presence,
    /// Durable history.
    Store,
    /// The task that owns the numbers.
    Engine,
    /// The price table.
    Prices,
    /// The zone in which days begin.
    TimeZone,
    /// Delivering alerts.
    Alerts,
    /// What the user decides.
    Settings,
    /// Quota windows.
    QuotaTracker,
    /// Context windows.
    ContextTracker,
}

impl Part {
    /// The name in `/health` and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http => "http",
            Self::Transcripts => "transcripts",
            Self::Presence => "presence",
            Self::Store => "store",
            Self::Engine => "engine",
            Self::Prices => "prices",
            Self::TimeZone => "time_zone",
            Self::Alerts => "alerts",
            Self::Settings => "settings",
            Self::QuotaTracker => "quota_tracker",
            Self::ContextTracker => "context_tracker",
        }
    }
}

/// Everyone's reports. Clones share them.
#[derive(Clone, Debug)]
pub struct DashboardHealth(Arc<Mutex<Reports>>);

#[derive(Debug)]
struct Reports {
    parts: BTreeMap<Part, ComponentHealth>,
    /// Parts that have ended by themselves: what was said of them then stands.
    ended: BTreeSet<Part>,
    clients: u64,
    engine_seen: Instant,
    /// How far the first read has come, while it goes on.
    progress: Option<ReadProgress>,
    /// Paths that cannot be read, and why.
    unreadable: Vec<Unreadable>,
}

impl Default for DashboardHealth {
    fn default() -> Self {
        let reports = Reports {
            parts: BTreeMap::new(),
            ended: BTreeSet::new(),
            clients: 0,
            engine_seen: Instant::now(),
            progress: None,
            unreadable: Vec::new(),
        };
        Self(Arc::new(Mutex::new(reports)))
    }
}

impl DashboardHealth {
    /// A part says how it is.
    pub fn report(&self, part: Part, status: HealthStatus, message: impl Into<String>) {
        let mut reports = self.reports();
        if part == Part::Engine {
            reports.engine_seen = Instant::now();
        }
        if !reports.ended.contains(&part) {
            reports.parts.insert(part, ComponentHealth { status, message: message.into() });
        }
    }

    /// A part has ended by itself: it is unhealthy for as long as the process runs, whatever is reported of it later.
    pub fn end(&self, part: Part, message: impl Into<String>) {
        let mut reports = self.reports();
        if reports.ended.insert(part) {
            let health = ComponentHealth { status: HealthStatus::Unhealthy, message: message.into() };
            reports.parts.insert(part, health);
        }
    }

    /// How many pages are connected.
    pub fn set_clients(&self, clients: u64) {
        self.reports().clients = clients;
    }

    /// How far the first read has come; none if it is over, or has not begun.
    pub fn set_progress(&self, progress: Option<ReadProgress>) {
        self.reports().progress = progress;
    }

    /// What was last set by [`Self::set_progress`].
    pub fn progress(&self) -> Option<ReadProgress> {
        self.reports().progress
    }

    /// What cannot be read at present: paths and reasons.
    pub fn set_unreadable(&self, unreadable: impl IntoIterator<Item = (String, String)>) {
        let unreadable = unreadable.into_iter().map(|(path, error)| Unreadable { path, error });
        self.reports().unreadable = unreadable.collect();
    }

    /// What cannot be read at present, for audits.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        self.reports().unreadable.clone()
    }

    /// Everything together, as the wire has it.
    pub fn check(&self) -> HealthCheck {
        let reports = self.reports();
        let mut components: BTreeMap<String, ComponentHealth> =
            reports.parts.iter().map(|(part, health)| (part.as_str().to_owned(), health.clone())).collect();
        let websocket = ComponentHealth { status: HealthStatus::Healthy, message: "accepting pages".to_owned() };
        components.entry(Part::WebSocket.as_str().to_owned()).or_insert(websocket);
        if reports.engine_seen.elapsed() > ENGINE_SILENCE && !reports.ended.contains(&Part::Engine) {
            let message = "does not respond; restart the dashboard and please report it".to_owned();
            let silent = ComponentHealth { status: HealthStatus::Unhealthy, message };
            components.insert(Part::Engine.as_str().to_owned(), silent);
        }
        let status = components.values().map(|health| health.status).max().unwrap_or_default();
        HealthCheck { status, clients: reports.clients, components }
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_worst_part_decides() {
        let health = DashboardHealth::default();
        health.report(Part::Engine, HealthStatus::Healthy, "running");
        assert_eq!(health.check().status, HealthStatus::Healthy);
        health.report(Part::Transcripts, HealthStatus::Degraded, "1 file cannot be read");
        assert_eq!(health.check().status, HealthStatus::Degraded);
        health.report(Part::Transcripts, HealthStatus::Healthy, "2 files");
        assert_eq!(health.check().status, HealthStatus::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_says_nothing_is_unhealthy() {
        let health = DashboardHealth::default();
        health.report(Part::Engine, HealthStatus::Healthy, "running");
        tokio::time::advance(ENGINE_SILENCE + Duration::from_millis(1)).await;
        assert_eq!(health.check().status, HealthStatus::Unhealthy);
        health.report(Part::Engine, HealthStatus::Healthy, "running");
        assert_eq!(health.check().status, HealthStatus::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_of_a_part_that_ended_stands() {
        let health = DashboardHealth::default();
        health.end(Part::Engine, "panicked");
        health.report(Part::Engine, HealthStatus::Healthy, "running");
        tokio::time::advance(ENGINE_SILENCE + Duration::from_millis(1)).await;
        let check = health.check();
        assert_eq!(check.status, HealthStatus::Unhealthy);
        assert_eq!(check.components["engine"].message, "panicked");
    }
}
