//! `dashboard start`: binds, runs the dashboard, says where it is, and stops it when asked.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;

use crate::cli::StartArgs;
use crate::clock;
use crate::http::Access;
use crate::manager::{DashboardManager, History, Settings, Source};
use crate::prices::Prices;
use crate::source::roots::{self, ConfiguredRoots, Environment};
use crate::store;
use crate::text::Style;
use crate::zone::Zone;

/// Runs the command until Ctrl+C or SIGTERM.
///
/// # Errors
/// If the options contradict each other or the address cannot be had.
pub async fn run(args: StartArgs) -> anyhow::Result<()> {
    let settings = settings(&args)?;
    // Before anything is printed: who reads the banner may stop us at once.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let listener = bind(&args).await?;
    let address = address(&args, listener.local_addr().context("the listener has no address")?);
    let manager = DashboardManager::start(listener, settings)?;

    let mut stdout = io::stdout();
    // Nobody may be reading; that is no reason not to run.
    let _ = stdout.write_all(banner(&args, &address, manager.status().source.as_str(), Style::of_stdout()).as_bytes());
    let _ = stdout.flush();
    if !args.no_browser && !under_cargo_leptos() {
        let opened = opener::open_browser(&address.page);
        if let Err(error) = opened {
            tracing::warn!(%error, "no browser could be opened");
        }
    }
    signals.next().await;
    tracing::info!("stopping");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
    manager.stop().await;
    Ok(())
}

fn settings(args: &StartArgs) -> anyhow::Result<Settings> {
    let access = Access::new(&args.host, args.token.clone())?;
    let prices = Prices::load_aloud(args.prices.as_deref());
    let zone = args.timezone.unwrap_or_else(Zone::of_machine).offsets(clock::wall());
    let source = if args.simulation {
        Source::Simulation { scenario: args.scenario, seed: args.seed, speed: args.speed }
    } else {
        let given = ConfiguredRoots::new(&args.config_dir, args.codex_home.as_deref());
        let roots = roots::find(&given, &Environment::of_process());
        Source::Live { roots, plan: args.plan, history: history(args) }
    };
    Ok(Settings { access, zone, prices, source })
}

/// Where history is kept; nowhere, if the platform has no place for it and none is given.
fn history(args: &StartArgs) -> Option<History> {
    let dir = args.data_dir.clone().or_else(store::usual_dir)?;
    Some(History { dir, retention_days: args.retention_days })
}

async fn bind(args: &StartArgs) -> anyhow::Result<TcpListener> {
    TcpListener::bind((args.host.as_str(), args.port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {} is in use, perhaps by another dashboard: choose another one with --port, e.g. --port {}",
            args.port,
            args.port.checked_add(1).unwrap_or(3001),
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("port {} is reserved for the system: choose one from 1024 on with --port", args.port)
        }
        _ => anyhow!(
            "cannot listen on {} port {}: {error}; --host and --port choose another address",
            args.host,
            args.port
        ),
    })
}

/// How the dashboard is reached.
struct Address {
    /// Without a secret.
    base: String,
    /// What to open.
    page: String,
}

fn address(args: &StartArgs, bound: SocketAddr) -> Address {
    let host = match bound.ip() {
        ip if ip.is_unspecified() || args.host.eq_ignore_ascii_case("localhost") => "localhost".to_owned(),
        _ if args.host.contains(':') => format!("[{}]", args.host),
        _ => args.host.clone(),
    };
    let base = format!("http://{host}:{}", bound.port());
    let page = match &args.token {
        Some(token) => format!("{base}/?token={}", token.reveal()),
        None => format!("{base}/"),
    };
    Address { base, page }
}

fn banner(args: &StartArgs, address: &Address, source: &str, style: Style) -> String {
    let mode = if args.simulation { "simulation, made-up figures" } else { "live" };
    let rows = [
        ("Dashboard", style.bold(&address.page)),
        ("Mode", mode.to_owned()),
        ("Source", source.to_owned()),
        ("Health", format!("{}/health", address.base)),
    ];
    let rows: String =
        rows.iter().map(|(label, value)| format!("{} {value}\n", style.dim(&format!("{label:<10}")))).collect();
    format!("{rows}{}\n", style.dim("Press Ctrl+C to stop."))
}

/// The development server restarts us on every change; a browser each time would be too many.
fn under_cargo_leptos() -> bool {
    std::env::args_os().len() == 1 && std::env::var_os("LEPTOS_OUTPUT_NAME").is_some()
}

/// What asks the dashboard to stop. The first is obeyed with grace, the second at once.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    terminate: tokio::signal::windows::CtrlShutdown,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(windows)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_shutdown};
        Ok(Self { interrupt: ctrl_c()?, terminate: ctrl_shutdown()? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
