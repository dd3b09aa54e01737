//! The present, for commands: asked of the running dashboard, or read from the files where none runs.
//!
//! Made-up figures never count: a simulation that runs is passed over.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::{Body, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::http::{Request, StatusCode};
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use dashboard_core::protocol::ServerFrame;
use dashboard_core::state::{DashboardState, Mode};
use dashboard_core::time::Timestamp;
use dashboard_core::tracker::{Plan, TrackerConfig, Trackers};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::clock;
use crate::observation::{RecordSink, SinkClosed, SourceMessage};
use crate::prices::Prices;
use crate::settings::{SettingsArgs, SettingsSource};
use crate::source;
use crate::source::roots::{self, ConfiguredRoots, Environment, NamedHome};
use crate::source::transcripts::Transcripts;
use crate::store;
use crate::zone::{ChosenZone, Zone};

/// How long a dashboard may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may take to answer. While it reads history for the first time, it does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest state that is read, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Where to ask, and what to read where nobody answers.
#[derive(Args, Clone, Debug)]
pub struct PresentArgs {
    /// Port of the running dashboard
    #[arg(long, env = "DASHBOARD_PORT", default_value_t = 3001)]
    pub port: u16,
    /// Address or name of the running dashboard
    #[arg(long, env = "DASHBOARD_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Its token, where it needs one
    #[arg(long, env = "DASHBOARD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Claude Code's configuration directory, instead of the usual ones; reads files and asks no dashboard; may be
    /// repeated
    #[arg(long, env = "DASHBOARD_CONFIG_DIR", value_name = "DIR", value_delimiter = ',')]
    pub config_dir: Vec<PathBuf>,
    /// Codex's home directory, instead of the usual one; reads files and asks no dashboard
    #[arg(long, env = "DASHBOARD_CODEX_HOME", value_name = "DIR")]
    pub codex_home: Option<PathBuf>,
    /// Home directory of a tool, such as pi=/data/pi, instead of its usual one; reads files and asks no dashboard; may
    /// be repeated
    #[arg(long, env = "DASHBOARD_HOME", value_name = "TOOL=DIR", value_delimiter = ',')]
    pub home: Vec<NamedHome>,
    /// Where the dashboard keeps its settings
    #[arg(long, env = "DASHBOARD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Your plan, which decides the limit that an estimate is compared with, where no dashboard runs
    #[arg(long, env = "DASHBOARD_PLAN", value_name = "NAME", value_parser = plans())]
    pub plan: Option<Plan>,
    /// Zone in which days begin, where no dashboard runs
    #[arg(long, env = "DASHBOARD_TIMEZONE", value_name = "TZ")]
    pub timezone: Option<Zone>,
    /// Levels, where no dashboard runs.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

fn plans() -> impl TypedValueParser<Value = Plan> {
    PossibleValuesParser::new(Plan::ALL.map(|(name, _)| name)).try_map(|name| name.parse::<Plan>())
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// The running dashboard.
    Dashboard,
    /// The files, read by this process.
    Files,
}

impl Teller {
    /// The word of `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Files => "files",
        }
    }

    /// How long to wait before asking again: reading everything takes a processor for a moment.
    pub fn pause(self) -> Duration {
        match self {
            Self::Dashboard => Duration::from_secs(2),
            Self::Files => Duration::from_secs(30),
        }
    }
}

/// What is so now.
#[derive(Debug)]
pub struct Present {
    /// Everything the page would show.
    pub state: DashboardState,
    /// When.
    pub now: Timestamp,
    /// Who said so.
    pub teller: Teller,
}

impl PresentArgs {
    /// Asks the running dashboard; reads the files if there is none.
    ///
    /// # Errors
    /// If the dashboard answers, but not with its state, such as for want of a token.
    pub fn look(&self) -> anyhow::Result<Present> {
        let is_named = !self.config_dir.is_empty() || self.codex_home.is_some() || !self.home.is_empty();
        let told = if is_named { None } else { self.ask()? };
        let (state, teller) = match told.filter(|state| state.mode == Mode::Live) {
            Some(state) => (state, Teller::Dashboard),
            None => (self.read(), Teller::Files),
        };
        Ok(Present { state, now: clock::wall(), teller })
    }

    /// The state of the running dashboard; `None` if none runs.
    fn ask(&self) -> anyhow::Result<Option<DashboardState>> {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        // Listening on all addresses, it answers on this machine's own.
        let host = if ["0.0.0.0", "[::]"].contains(&host.as_str()) { "127.0.0.1".to_owned() } else { host };
        let url = format!("http://{host}:{}/api/v1/snapshot", self.port);
        let mut request = Request::get(&url);
        if let Some(token) = self.token.as_deref().filter(|token| *token != "auto") {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).with_context(|| format!("{url} cannot be asked"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async {
            let mut connector = HttpConnector::new();
            connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
            let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
            let exchange = async {
                let response = match client.request(request).await {
                    Ok(response) => response,
                    Err(error) if error.is_connect() => return Ok(None),
                    Err(error) => bail!("{url} does not answer as a dashboard does: {error}"),
                };
                let status = response.status();
                let bytes = to_bytes(Body::new(response.into_body()), MAX_BYTES).await;
                Ok(Some((status, bytes.with_context(|| format!("{url} broke off"))?)))
            };
            tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or_else(|_| bail!("{url} does not answer"))
        })?;
        let Some((status, bytes)) = answer else { return Ok(None) };
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => bail!("{url} needs its token: --token"),
            status => bail!("{url} answered {status}; is it a dashboard? --port names another"),
        }
        match serde_json::from_slice(&bytes) {
            Ok(ServerFrame::Snapshot { state, .. }) => Ok(Some(*state)),
            Ok(_) => bail!("{url} is no dashboard's; --port names another"),
            Err(error) => bail!("{url} is of another version than this program, or no dashboard's: {error}"),
        }
    }

    /// The state after reading everything that is on the disk.
    fn read(&self) -> DashboardState {
        let given = ConfiguredRoots::new(&self.config_dir, self.codex_home.as_deref()).with_homes(&self.home);
        let roots = roots::find(&given, &Environment::of_process());
        let now = clock::wall();
        let data_dir = self.data_dir.clone().or_else(store::usual_dir);
        let settings = SettingsSource::new(&self.settings, data_dir.as_deref()).resolve().values.core;
        let zone = ChosenZone::find(self.timezone).zone.offsets(now);
        let config = TrackerConfig { mode: Mode::Live, zone, plan: self.plan, settings };
        let trackers = Shared(Arc::new(Mutex::new(Trackers::new(config, Prices::load(None).table))));
        // Nobody refuses to take it.
        let _ = Transcripts::new(&roots, Box::new(trackers.clone())).rescan();
        let mut trackers = trackers.0.lock().unwrap_or_else(PoisonError::into_inner);
        trackers.presence(&source::running(&roots));
        trackers.history_read(now, |_, _| None);
        trackers.begin(now)
    }
}

/// Trackers that threads which read files fill.
#[derive(Clone)]
struct Shared(Arc<Mutex<Trackers>>);

impl RecordSink for Shared {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        let (mut trackers, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), clock::wall());
        match message {
            SourceMessage::Read { file, records, rejections, state, replaces } => {
                let file = trackers.file(file.tool, &file.key);
                if replaces {
                    trackers.retract_file(file, now);
                }
                records.iter().for_each(|record| trackers.record(file, record, now));
                rejections.into_iter().for_each(|rejection| trackers.reject(file, rejection));
                trackers.set_counts(file, state.counts);
            }
            SourceMessage::Retract { file } => {
                let file = trackers.file(file.tool, &file.key);
                trackers.retract_file(file, now);
            }
            // Of what is read once, nothing else is said.
            _ => {}
        }
        Ok(())
    }
}
