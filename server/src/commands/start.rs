//! `dashboard start`: binds, runs the dashboard, says where it is, and stops it when asked.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;

use crate::cli::StartArgs;
use crate::http::{Access, Token, TokenChoice, is_loopback};
use crate::manager::{DashboardManager, History, Settings, Source};
use crate::peer;
use crate::platform;
use crate::prices::Prices;
use crate::settings::SettingsSource;
use crate::source::roots::{self, ConfiguredRoots, Environment};
use crate::store;
use crate::text::Style;
use crate::zone::ChosenZone;

/// Runs the command until Ctrl+C or SIGTERM.
///
/// # Errors
/// If the options contradict each other, the address cannot be had, or a part of the dashboard ends by itself.
pub async fn run(args: StartArgs) -> anyhow::Result<()> {
    if let Err(error) = platform::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let tokens = Tokens::of(&args)?;
    let settings = settings(&args, tokens.access(&args.host)?);
    // Before anything is printed: who reads the banner may stop us at once.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let listener = bind(&args).await?;
    let address = address(&args, tokens.shown.as_ref(), listener.local_addr().context("the listener has no address")?);
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
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        ended = manager.ended() => Err(ended),
    };
    tracing::info!("stopping");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
    manager.stop().await;
    Ok(ended?)
}

fn settings(args: &StartArgs, access: Access) -> Settings {
    let prices = Prices::load_aloud(args.prices.as_deref());
    let zone = ChosenZone::find(args.timezone);
    let source = if args.simulation {
        Source::Simulation { scenario: args.scenario, seed: args.seed, speed: args.speed }
    } else {
        let given = ConfiguredRoots::new(&args.config_dir, args.codex_home.as_deref()).with_homes(&args.home);
        let roots = roots::find(&given, &Environment::of_process());
        Source::Live { roots, plan: args.plan, history: history(args) }
    };
    // A simulation reads and writes no file.
    let data_dir = args.data_dir.clone().or_else(store::usual_dir).filter(|_| !args.simulation);
    let user = SettingsSource::new(&args.settings, data_dir.as_deref());
    Settings { access, zone, prices, source, user }
}

/// The token of this run.
struct Tokens {
    /// The one asked for, by itself or as `auto`.
    asked_for: Option<Token>,
    /// Else the one for other users of this machine, where those are told apart.
    quiet: Option<Token>,
    /// The one in the address that is shown and opened, where the browser needs it.
    shown: Option<Token>,
}

impl Tokens {
    fn of(args: &StartArgs) -> anyhow::Result<Self> {
        // A simulation writes no file.
        let dir = args.data_dir.clone().or_else(store::usual_dir).filter(|_| !args.simulation);
        let made = || dir.as_deref().map_or_else(Token::random, Token::kept_in);
        let asked_for = match &args.token {
            Some(TokenChoice::Given(token)) => Some(token.clone()),
            Some(TokenChoice::Auto) => Some(made().context("no token can be made; --data-dir names where it is kept")?),
            None => None,
        };
        let told_apart = peer::check();
        let quiet = match &asked_for {
            None if is_loopback(&args.host) => {
                let made = made().inspect_err(|error| tracing::warn!(%error, "the token for other users is not kept"));
                made.or_else(|_| Token::random()).ok()
            }
            _ => None,
        };
        // On Linux, a browser of this user is known. Where that fails, it needs the token like everybody else.
        let unknown = cfg!(target_os = "linux") && told_apart.is_err();
        let shown = asked_for.clone().or_else(|| quiet.clone().filter(|_| unknown));
        Ok(Self { asked_for, quiet, shown })
    }

    fn access(&self, host: &str) -> anyhow::Result<Access> {
        let access = Access::new(host, self.asked_for.clone())?;
        Ok(match &self.quiet {
            Some(quiet) => access.with_quiet_token(quiet.clone()),
            None => access,
        })
    }
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

fn address(args: &StartArgs, token: Option<&Token>, bound: SocketAddr) -> Address {
    let host = match bound.ip() {
        ip if ip.is_unspecified() || args.host.eq_ignore_ascii_case("localhost") => "localhost".to_owned(),
        _ if args.host.contains(':') => format!("[{}]", args.host),
        _ => args.host.clone(),
    };
    let base = format!("http://{host}:{}", bound.port());
    let page = match token {
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
