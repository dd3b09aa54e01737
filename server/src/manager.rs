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
use dashboard_core::time::{MINUTE_MS, ZoneOffsets};
use dashboard_core::tracker::{Plan, TrackerConfig, Trackers};
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::{self, Clock};
use crate::control::Control;
use crate::engine::{Engine, Feed, StoreAccess};
use crate::health::{DashboardHealth, Part};
use crate::history::Archive;
use crate::http::{self, Access, App, Ingest};
use crate::hub::Hub;
use crate::notify::{self, Inbox};
use crate::prices::Prices;
use crate::settings::{LiveSettings, SettingsSource};
use crate::store::{Store, StoreError, StoreOptions, Written};
use crate::supervisor::{PartEnded, Supervisor};
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
    /// What the user decides.
    pub user: SettingsSource,
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
    fn open(
        &self,
        prices: &Arc<PriceTable>,
        zone: &Arc<ZoneOffsets>,
        health: &DashboardHealth,
    ) -> Result<Store, StoreError> {
        Store::open(StoreOptions {
            dir: self.dir.clone(),
            retention_days: self.retention_days,
            prices: Arc::clone(prices),
            zone: Arc::clone(zone),
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
    /// Of all parts that are tasks. Those with nothing to finish are dropped when the dashboard stops.
    supervisor: Supervisor,
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
        let (control, orders) = Control::new();
        let inbox = Inbox::default();
        let mut supervisor = Supervisor::new(health.clone());

        let Settings { access, zone, prices, source: origin, user } = settings;
        let user = LiveSettings::new(user);
        let (status, message) = user.current().health();
        health.report(Part::Settings, status, message);
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
        let mut ingest = None;
        let (feed, clock, mode) = match origin {
            Source::Live { roots, plan, history } => {
                let data_dir = history.as_ref().map(|history| history.dir.clone());
                store = history.map(|history| history.open(&prices, &report_zone, &health)).transpose()?;
                let settings = user.current().values.core.clone();
                let config = TrackerConfig { mode: Mode::Live, zone, plan, settings };
                let mut trackers = Trackers::new(config, prices);
                if let Some(dir) = &data_dir {
                    trackers.set_memory(notify::recall(dir));
                }
                let deliver = notify::run(inbox.clone(), user.subscribe(), data_dir.clone(), health.clone());
                supervisor.spawn(Part::Alerts, deliver.map(Ok));
                let sender = store.as_ref().map(|store| Box::new(store.sender()) as Box<dyn HistoryStore>);
                ingest = Some(Ingest::new(records.clone()));
                let access = store.as_ref().map(|store| StoreAccess {
                    database: store.database(),
                    roots: roots.clone(),
                    writer: Box::new(store.sender()),
                });
                let source = crate::source::run(roots, records, sender, data_dir, health.clone());
                supervisor.spawn(Part::Transcripts, source);
                (Feed::live(trackers, inbox, access), Clock::Wall, Mode::Live)
            }
            Source::Simulation { scenario, seed, speed } => {
                let start = clock::wall().floor_to(MINUTE_MS);
                let simulation = Simulation::new(scenario, seed, start, Mode::Simulation, zone, prices);
                let clock = Clock::Virtual { start, since: Instant::now(), speed };
                (Feed::Simulation(Box::new(simulation)), clock, Mode::Simulation)
            }
        };
        let engine = Engine::new(feed, clock, hub.clone(), health.clone());
        let engine = engine.run(source_messages, snapshot_requests, history_requests, orders);
        supervisor.spawn(Part::Engine, engine.map(Ok));
        let fan_out = hub.clone();
        supervisor.spawn(Part::WebSocket, async move {
            fan_out.run().await;
            Ok(())
        });

        let (hub_, health_) = (hub.clone(), health.clone());
        let development = http::development()?;
        let app = App {
            hub: hub_,
            health: health_,
            clock,
            mode,
            started: Instant::now(),
            access,
            settings: user,
            control,
            archive,
            zone: report_zone,
            prices: report_prices,
            roots: report_roots,
            ingest,
            database: store.as_ref().map(Store::database),
            high_water: http::HighWater::default(),
            turns: Arc::new(Semaphore::new(http::REPORTS_AT_ONCE)),
            reports: http::Reports::default(),
            development,
        };
        let (stop_http, stopped) = oneshot::channel();
        let budget = http::ConnectionBudget::of_process();
        let http = http::serve(listener, http::router(app), budget, stopped.map(drop)).map(Ok);
        let http = tokio::spawn(supervisor.watch(Part::Http, http));
        tracing::info!(%address, mode = mode.as_str(), "started");
        Ok(Self { address, source, hub, health, stop_http, http, store, supervisor })
    }

    /// How it is.
    pub fn status(&self) -> Status {
        Status { address: self.address, source: self.source.clone(), health: self.health.check() }
    }

    /// Waits until a part ends by itself, which none does unless something is wrong. Health names it from then on, and
    /// [`DashboardManager::stop`] writes what was read so far. May be dropped and called again.
    pub async fn ended(&self) -> PartEnded {
        self.supervisor.ended().await
    }

    /// Runs until `shutdown` is done or a part ends by itself, then stops.
    ///
    /// # Errors
    /// If a part ended by itself.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), PartEnded> {
        let result = tokio::select! {
            () = shutdown => Ok(()),
            ended = self.ended() => Err(ended),
        };
        self.stop().await;
        result
    }

    /// Stops accepting, says goodbye to the pages, lets answers under way finish, and ends the parts.
    pub async fn stop(self) {
        self.supervisor.begin_stop();
        self.hub.stop();
        // Nobody listens only if serving has ended already.
        let _ = self.stop_http.send(());
        if let Err(error) = self.http.await {
            tracing::error!(%error, "serving ended abnormally");
        }
        self.supervisor.stop().await;
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
/// If it cannot be started, or a part of it ends by itself.
pub async fn run(listener: TcpListener, settings: Settings, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    Ok(DashboardManager::start(listener, settings)?.run_until(shutdown).await?)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::source::roots::{self, ConfiguredRoots, Environment};

    async fn simulation() -> DashboardManager {
        start(Source::Simulation { scenario: Scenario::CalmDay, seed: 1, speed: 1.0 }).await
    }

    async fn start(source: Source) -> DashboardManager {
        let access = Access::new("127.0.0.1", None).unwrap();
        let (zone, prices, user) = (ChosenZone::utc(), Prices::embedded(), SettingsSource::default());
        let settings = Settings { access, zone, prices, source, user };
        DashboardManager::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), settings).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_part_that_ends_is_named_in_health_and_ends_the_run() {
        let mut manager = simulation().await;
        manager.supervisor.spawn(Part::Engine, async { panic!("not for health") });
        let ended = manager.ended().await;
        assert_eq!(ended.part, Part::Engine);
        let health = get(manager.address, "/health").await;
        assert!(health.starts_with("HTTP/1.1 503"), "{health}");
        assert!(health.contains(&ended.to_string()) && !health.contains("not for health"), "{health}");
        let result = manager.run_until(std::future::pending()).await;
        assert_eq!(result, Err(ended));
    }

    #[tokio::test]
    async fn what_was_read_is_written_though_a_part_ended() {
        let home = tempfile::tempdir().unwrap();
        let (config, dir) = (home.path().join("claude"), home.path().join("data"));
        std::fs::create_dir_all(config.join("projects/p")).unwrap();
        let line = |id: u8| {
            format!(
                r#"{{"type":"assistant","timestamp":"2026-01-05T10:00:00.000Z","sessionId":"s","uuid":"u","requestId":"r","message":{{"id":"m{id}","model":"claude-sonnet-4-5","usage":{{"input_tokens":1,"output_tokens":2}}}}}}"#
            ) + "\n"
        };
        let transcript = config.join("projects/p/s.jsonl");
        std::fs::write(&transcript, line(1)).unwrap();
        let roots = roots::find(&ConfiguredRoots::new(&[config], None), &Environment::default());
        let history = Some(History { dir: dir.clone(), retention_days: None });
        let mut manager = start(Source::Live { roots: roots.clone(), plan: None, history }).await;
        let pause = || tokio::time::sleep(std::time::Duration::from_millis(1));
        while !crate::store::holds(&dir, &roots) {
            pause().await;
        }
        std::fs::write(&transcript, line(1) + &line(2)).unwrap();
        while !get(manager.address, "/api/v1/snapshot").await.contains(r#""responses":2"#) {
            pause().await;
        }
        // Before the batch is due.
        manager.supervisor.spawn(Part::Engine, std::future::ready(Ok(())));
        let ended = manager.run_until(std::future::pending()).await.unwrap_err();
        assert_eq!(ended.reason, "it returned");
        let reader = crate::store::HistoryReader::open(&crate::store::database(&dir), &roots).unwrap();
        let (usage, ..) = reader.everything(&Prices::embedded().table, clock::wall()).unwrap();
        assert_eq!(usage.rows().map(|row| row.responses).sum::<u64>(), 2);
    }

    #[tokio::test]
    async fn a_run_that_is_stopped_is_well() {
        assert_eq!(simulation().await.run_until(std::future::ready(())).await, Ok(()));
    }
}
