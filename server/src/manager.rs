//! `DashboardManager`: builds the parts of a dashboard, starts them, stops them.
//!
//! The parts know each other only through the hub, the health reports and bounded channels; this is
//! the one place that knows all of them.

use crate::observation::{HistoryStore, Root};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use dashboard_core::event::HealthCheck;
use dashboard_core::price::PriceTable;
use dashboard_core::simulator::{Scenario, Simulation};
use dashboard_core::state::Mode;
use dashboard_core::time::MINUTE_MS;
use dashboard_core::tracker::{Plan, TrackerConfig, Trackers};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::clock::{self, Clock};
use crate::engine::{Engine, Feed};
use crate::health::{DashboardHealth, Part};
use crate::history::Archive;
use crate::http::{self, Access, App};
use crate::hub::Hub;
use crate::prices::Prices;
use crate::store::{Store, StoreError, StoreOptions, Written};
use crate::zone::ChosenZone;

/// Messages of a source that wait for the engine; when there are more, reading waits.
const SOURCE_QUEUE: usize = 256;

/// What a dashboard is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may ask.
    pub access: Access,
    /// The zone in which days begin.
    pub zone: ChosenZone,
    /// Prices of models.
    pub prices: Prices,
    /// Where the figures come from.
    pub source: Source,
}

/// Where the figures come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Real sessions.
    Live {
        /// The directories with transcripts.
        roots: Vec<Root>,
        /// The user's plan, if told.
        plan: Option<Plan>,
        /// Where history is kept, if it is.
        history: Option<History>,
    },
    /// Made-up sessions.
    Simulation {
        /// The story.
        scenario: Scenario,
        /// What its chance depends on.
        seed: u64,
        /// Simulated seconds per second.
        speed: f64,
    },
}

/// Where history is kept, and for how long.
#[derive(Clone, Debug)]
pub struct History {
    /// The data directory.
    pub dir: PathBuf,
    /// Days after which what deleted transcripts said is forgotten; never, if none.
    pub retention_days: Option<u32>,
}

impl History {
    /// The store. If it cannot be had at the moment, it tries again by itself, and health says so.
    fn open(&self, prices: &Arc<PriceTable>, health: &DashboardHealth) -> Result<Store, StoreError> {
        Store::open(StoreOptions {
            dir: self.dir.clone(),
            retention_days: self.retention_days,
            prices: Arc::clone(prices),
            health: health.clone(),
        })
    }
}

impl Source {
    /// In a few words, for the banner.
    fn describe(&self) -> String {
        match self {
            Self::Live { roots, .. } => {
                let found = |root: &Root| if root.has_transcripts() { "" } else { " (nothing there yet)" };
                let roots: Vec<_> = roots.iter().map(|root| format!("{}{}", root.dir.display(), found(root))).collect();
                if roots.is_empty() { "none; --config-dir names one".to_owned() } else { roots.join(", ") }
            }
            Self::Simulation { scenario, seed, speed } => {
                format!("simulator: {}, seed {seed}, ×{speed}", scenario.as_str())
            }
        }
    }
}

/// A running dashboard, as its owner sees it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the figures come from, in a few words.
    pub source: String,
    /// How the parts are.
    pub health: HealthCheck,
}

/// A running dashboard.
#[derive(Debug)]
pub struct DashboardManager {
    address: SocketAddr,
    source: String,
    hub: Hub,
    health: DashboardHealth,
    stop_http: oneshot::Sender<()>,
    http: JoinHandle<()>,
    store: Option<Store>,
    /// The parts that have nothing to finish: they are dropped when the dashboard stops.
    parts: JoinSet<()>,
}

impl DashboardManager {
    /// Starts everything. History is read in the background; pages are served at once.
    ///
    /// # Errors
    /// If the listener has no address, the page's build cannot be determined, or another dashboard keeps the history.
    pub fn start(listener: TcpListener, settings: Settings) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("the listener has no address")?;
        let source = settings.source.describe();
        let health = DashboardHealth::default();
        let (hub, snapshot_requests) = Hub::new(http::build_id());
        let (archive, history_requests) = Archive::new();
        let (records, source_messages) = mpsc::channel(SOURCE_QUEUE);
        let mut parts = JoinSet::new();

        let Settings { access, zone, prices, source: origin } = settings;
        let (status, message) = prices.health();
        health.report(Part::Prices, status, message);
        let prices = prices.table;
        health.report(Part::TimeZone, zone.status, zone.message);
        let zone = zone.zone.offsets(clock::wall());
        let (report_zone, report_prices) = (Arc::new(zone.clone()), Arc::clone(&prices));
        let report_roots: Arc<[Root]> = match &origin {
            Source::Live { roots, .. } => roots.as_slice().into(),
            Source::Simulation { .. } => Arc::new([]),
        };
        let mut store = None;
        let (feed, clock, mode) = match origin {
            Source::Live { roots, plan, history } => {
                store = history.map(|history| history.open(&prices, &health)).transpose()?;
                let config = TrackerConfig { mode: Mode::Live, zone, plan };
                let trackers = Box::new(Trackers::new(config, prices));
                let sender = store.as_ref().map(|store| Box::new(store.sender()) as Box<dyn HistoryStore>);
                let source = crate::source::run(roots, records, sender, health.clone());
                parts.spawn(async move { drop(source.await) });
                (Feed::Live { trackers, state: None }, Clock::Wall, Mode::Live)
            }
            Source::Simulation { scenario, seed, speed } => {
                let start = clock::wall().floor_to(MINUTE_MS);
                let simulation = Simulation::new(scenario, seed, start, Mode::Simulation, zone, prices);
                let clock = Clock::Virtual { start, since: Instant::now(), speed };
                (Feed::Simulation(Box::new(simulation)), clock, Mode::Simulation)
            }
        };
        let engine = Engine::new(feed, clock, hub.clone(), health.clone());
        parts.spawn(engine.run(source_messages, snapshot_requests, history_requests));
        let fan_out = hub.clone();
        parts.spawn(async move { fan_out.run().await });

        let (hub_, health_) = (hub.clone(), health.clone());
        let leptos = http::leptos_options()?;
        let app = App {
            hub: hub_,
            health: health_,
            clock,
            mode,
            started: Instant::now(),
            access,
            archive,
            zone: report_zone,
            prices: report_prices,
            roots: report_roots,
            database: store.as_ref().map(Store::database),
            high_water: http::HighWater::default(),
            turns: Arc::new(Semaphore::new(http::REPORTS_AT_ONCE)),
            reports: http::Reports::default(),
            leptos,
        };
        let (stop_http, stopped) = oneshot::channel();
        let budget = http::ConnectionBudget::of_process();
        let http = tokio::spawn(http::serve(listener, http::router(app), budget, async {
            let _ = stopped.await;
        }));
        tracing::info!(%address, mode = mode.as_str(), "started");
        Ok(Self { address, source, hub, health, stop_http, http, store, parts })
    }

    /// How it is.
    pub fn status(&self) -> Status {
        Status { address: self.address, source: self.source.clone(), health: self.health.check() }
    }

    /// Stops accepting, says goodbye to the pages, lets answers under way finish, and ends the parts.
    pub async fn stop(mut self) {
        self.hub.stop();
        // Nobody listens only if serving has ended already.
        let _ = self.stop_http.send(());
        if let Err(error) = self.http.await {
            tracing::error!(%error, "serving ended abnormally");
        }
        self.parts.shutdown().await;
        if let Some(store) = self.store {
            // Joining fails only if the runtime is being torn down.
            if let Ok(Written { transactions, rows }) = tokio::task::spawn_blocking(|| store.close()).await {
                tracing::info!(transactions, rows, "history is written");
            }
        }
    }
}

/// Runs a dashboard on `listener` until `shutdown` is done.
///
/// # Errors
/// If it cannot be started.
pub async fn run(listener: TcpListener, settings: Settings, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let manager = DashboardManager::start(listener, settings)?;
    shutdown.await;
    manager.stop().await;
    Ok(())
}
