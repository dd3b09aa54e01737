//! The command line: which commands and options there are, and where their values come from.
//!
//! Precedence: flag, environment (`DASHBOARD_<OPTION>`), `config.toml`, default. The file is turned
//! into clap's defaults before parsing, so that there is one way in which an option is read and
//! refused, and `--help` shows the defaults in force.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::{BoolishValueParser, OsStr, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use dashboard_core::simulator::Scenario;
use dashboard_core::tracker::Plan;

use crate::commands::backtest::BacktestArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::guard::GuardArgs;
use crate::commands::notify::NotifyArgs;
use crate::commands::prices::PricesArgs;
use crate::commands::report::ReportArgs;
use crate::commands::status::StatusArgs;
use crate::commands::statusline::StatuslineArgs;
use crate::commands::wait::WaitArgs;
use crate::http::TokenChoice;
use crate::settings::SettingsArgs;
use crate::source::roots::NamedHome;
use crate::zone::Zone;

/// A live dashboard for AI coding sessions
#[derive(Parser, Debug)]
#[command(version, name = "dashboard", max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Commands,
}

const EXAMPLES: &str = "\
Without a command, `dashboard` means `dashboard start`.

Examples:
  dashboard                                   show this machine's sessions at http://localhost:3001
  dashboard start --plan max5 --port 4000     with a plan's limits, on another port
  dashboard start --simulation --speed 60     with made-up sessions, an hour a minute
  dashboard report daily --since 7d           print the last week, day by day
  dashboard status                            how limits, contexts and sessions stand
  dashboard guard --max five_hour=90% -- make start a command only if there is room
  dashboard prices --model opus               what costs are computed from
  dashboard doctor                            say what is there and what to do about the rest

Every option also as DASHBOARD_<OPTION> (DASHBOARD_PORT=4000) and in config.toml (port = 4000).";

const START_EXAMPLES: &str = "\
Examples:
  dashboard start                                          your sessions at http://localhost:3001
  dashboard start --no-browser --port 4000 --plan max5     on another port, with a plan's limits
  dashboard start --host 0.0.0.0 --token auto              for other machines, which need the token
  dashboard start --simulation --scenario agent-swarm      made-up sessions";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  dashboard completions bash > ~/.local/share/bash-completion/completions/dashboard
  dashboard completions zsh > ~/.zfunc/_dashboard
  dashboard completions fish > ~/.config/fish/completions/dashboard.fish";

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Commands {
    /// Serve the dashboard
    #[command(after_help = START_EXAMPLES)]
    Start(Box<StartArgs>),
    /// Print figures over all transcripts
    Report(ReportArgs),
    /// Say how limits, contexts and sessions stand
    Status(Box<StatusArgs>),
    /// Wait until limits have room
    Wait(Box<WaitArgs>),
    /// Start a command only if limits have room
    Guard(Box<GuardArgs>),
    /// Try the channels that alerts are delivered to
    Notify(Box<NotifyArgs>),
    /// Show what costs are computed from
    Prices(PricesArgs),
    /// Check what the dashboard needs and say what to do about each
    Doctor(DoctorArgs),
    /// Relay a tool's status line to the dashboard and print a line
    Statusline(StatuslineArgs),
    /// Write the static demo site
    Demo(DemoArgs),
    /// Score the forecast on windows that are over
    #[command(hide = true)]
    Backtest(BacktestArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// Options of `start`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct StartArgs {
    /// Show made-up sessions instead of real ones
    #[arg(long, env = "DASHBOARD_SIMULATION", value_parser = BoolishValueParser::new())]
    pub simulation: bool,
    /// Story the simulation tells
    #[arg(long, env = "DASHBOARD_SCENARIO", value_name = "NAME", default_value = "calm-day", value_parser = scenarios())]
    pub scenario: Scenario,
    /// What chance in the simulation depends on: the same seed, the same story
    #[arg(long, env = "DASHBOARD_SEED", value_name = "N", default_value_t = 4217)]
    pub seed: u64,
    /// Simulated seconds per second, 0.1 to 600
    #[arg(long, env = "DASHBOARD_SPEED", value_name = "X", default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Port to listen on; 0 for any that is free
    #[arg(long, env = "DASHBOARD_PORT", default_value_t = 3001)]
    pub port: u16,
    /// Address or name to listen on; needs --token if other machines can reach it
    #[arg(long, env = "DASHBOARD_HOST", default_value = "127.0.0.1", value_parser = host)]
    pub host: String,
    /// Secret of at least 16 characters that opens the dashboard; `auto` makes one and keeps it in the data directory
    #[arg(long, env = "DASHBOARD_TOKEN", hide_env_values = true)]
    pub token: Option<TokenChoice>,
    /// Do not open a browser
    #[arg(long, env = "DASHBOARD_NO_BROWSER", value_parser = BoolishValueParser::new())]
    pub no_browser: bool,
    /// Claude Code's configuration directory, instead of the usual ones; may be repeated
    #[arg(long, env = "DASHBOARD_CONFIG_DIR", value_name = "DIR", value_delimiter = ',')]
    pub config_dir: Vec<PathBuf>,
    /// Codex's home directory, instead of the usual one; with --config-dir, only the one given here is read
    #[arg(long, env = "DASHBOARD_CODEX_HOME", value_name = "DIR")]
    pub codex_home: Option<PathBuf>,
    /// Home directory of a tool, such as pi=/data/pi, instead of its usual one; may be repeated
    #[arg(long, env = "DASHBOARD_HOME", value_name = "TOOL=DIR", value_delimiter = ',')]
    pub home: Vec<NamedHome>,
    /// Where the dashboard keeps history; the platform's data directory by default
    #[arg(long, env = "DASHBOARD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Forget what deleted transcripts said after this many days; without it, everything is kept
    #[arg(long, env = "DASHBOARD_RETENTION_DAYS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub retention_days: Option<u32>,
    /// Your plan, which decides the limit that an estimate is compared with
    #[arg(long, env = "DASHBOARD_PLAN", value_name = "NAME", value_parser = plans())]
    pub plan: Option<Plan>,
    /// Prices that win over those inside, see `dashboard prices`
    #[arg(long, env = "DASHBOARD_PRICES", value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Zone in which days begin, such as Europe/Berlin; the machine's by default
    #[arg(long, env = "DASHBOARD_TIMEZONE", value_name = "TZ")]
    pub timezone: Option<Zone>,
    /// What can also be changed over HTTP.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

fn scenarios() -> impl TypedValueParser<Value = Scenario> {
    PossibleValuesParser::new(Scenario::ALL.iter().map(|scenario| scenario.as_str()))
        .try_map(|name| name.parse::<Scenario>())
}

fn plans() -> impl TypedValueParser<Value = Plan> {
    PossibleValuesParser::new(Plan::ALL.map(|(name, _)| name)).try_map(|name| name.parse::<Plan>())
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.1..=600.0).contains(speed));
    speed.ok_or_else(|| "allowed: a number from 0.1 to 600".to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let name = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if name || bare.parse::<IpAddr>().is_ok() {
        Ok(bare.to_owned())
    } else {
        Err("allowed: a host name or an IP address, without a port".to_owned())
    }
}

impl Cli {
    /// Reads the command line over the defaults in `file`. Prints help, version and usage errors itself and
    /// ends the process then, as is usual.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn read(arguments: impl IntoIterator<Item = OsString>, file: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Self::command();
        if let Some(file) = file {
            command = with_file(command, file)?;
        }
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        if implies_start(&arguments) {
            match named_command(&command, &arguments) {
                // Options may come before the command they belong to.
                Some(index) => arguments[1..=index].rotate_right(1),
                None => arguments.insert(1.min(arguments.len()), "start".into()),
            }
        }
        let matches = command.get_matches_from(arguments);
        Self::of(&matches).map_err(|error| error.exit())
    }

    /// What the matches say, and which of the settings among them were given.
    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let settings = match &mut cli.command {
            Commands::Start(args) => Some(&mut args.settings),
            Commands::Status(args) => Some(&mut args.present.settings),
            Commands::Wait(args) => Some(&mut args.present.settings),
            Commands::Guard(args) => Some(&mut args.present.settings),
            Commands::Notify(args) => Some(&mut args.settings),
            _ => None,
        };
        if let (Some(settings), Some((_, matches))) = (settings, matches.subcommand()) {
            settings.note(matches);
        }
        Ok(cli)
    }
}

/// Whether no command was given: nothing at all, or options at once.
fn implies_start(arguments: &[OsString]) -> bool {
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some(first) => first.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&first),
        None => arguments.len() < 2,
    }
}

/// Where the name of a command stands among the arguments; the value of an option is none.
fn named_command(command: &Command, arguments: &[OsString]) -> Option<usize> {
    let takes_value = |option: &str| {
        let all = command.get_subcommands().flat_map(Command::get_arguments);
        let known = all.filter(|known| known.get_long().is_some_and(|long| Some(long) == option.strip_prefix("--")));
        known.into_iter().any(|known| known.get_action().takes_values() && !known.is_require_equals_set())
    };
    let mut is_value = false;
    arguments.iter().enumerate().skip(1).find_map(|(index, argument)| {
        let argument = argument.to_str()?;
        let found = !is_value && command.get_subcommands().any(|command| command.get_name() == argument);
        is_value = takes_value(argument);
        found.then_some(index)
    })
}

/// The usual place of `config.toml`, if the platform has one.
pub fn config_file() -> Option<PathBuf> {
    let directories = directories::ProjectDirs::from("", "", "dashboard")?;
    Some(directories.config_dir().join("config.toml"))
}

/// `command` with the values in `file` as defaults. A missing file is fine.
fn with_file(mut command: Command, file: &Path) -> anyhow::Result<Command> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(command),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let values: toml::Table = toml::from_str(&text).with_context(|| format!("{} is not valid", file.display()))?;
    for (key, value) in values {
        let id = key.replace('-', "_");
        let values = texts(&value).with_context(|| {
            format!("{}: {key} must be a text, a number, true or false, or a list of these", file.display())
        })?;
        let mut known = false;
        command = command.mut_subcommands(|command| {
            if !command.get_arguments().any(|argument| argument.get_id() == id.as_str()) {
                return command;
            }
            known = true;
            command.mut_arg(&id, |argument| {
                // A list for an option that is given once is its text form.
                let values = match argument.get_action() {
                    ArgAction::Append => values.clone(),
                    _ => vec![values.join(",")],
                };
                argument.default_values(values.into_iter().map(OsStr::from))
            })
        });
        if !known {
            let allowed: Vec<_> =
                command.find_subcommand("start").into_iter().flat_map(Command::get_arguments).collect();
            let allowed: Vec<_> = allowed.iter().filter_map(|argument| argument.get_long()).collect();
            bail!("{}: unknown option {key}; allowed: {}", file.display(), allowed.join(", "));
        }
    }
    Ok(command)
}

/// A value of the file as it would be typed.
fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(values) => {
            let parts: Option<Vec<_>> = values.iter().map(texts).collect();
            Some(parts?.concat())
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Origin, SettingsSource};

    fn start(file: &str, arguments: &[&str]) -> anyhow::Result<StartArgs> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, file).unwrap();
        let command = with_file(Cli::command(), path.path())?;
        let arguments: Vec<OsString> = ["dashboard", "start"].iter().chain(arguments).map(OsString::from).collect();
        let matches = command.try_get_matches_from(arguments)?;
        match Cli::of(&matches)?.command {
            Commands::Start(start) => Ok(*start),
            _ => bail!("not start"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file = "port = 4000\nplan = \"max5\"\nno-browser = true\nconfig-dir = [\"/a\", \"/b\"]\nspeed = 60";
        let args = start(file, &["--plan", "pro"]).unwrap();
        assert_eq!((args.port, args.plan, args.no_browser, args.simulation), (4000, Some(Plan::Pro), true, false));
        assert_eq!(args.config_dir, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(start("", &[]).unwrap().port, 3001);
        assert_eq!(start(file, &["--config-dir", "/c"]).unwrap().config_dir, [PathBuf::from("/c")]);
    }

    #[test]
    fn settings_know_where_they_come_from() {
        let file = "warn-minutes = [30, 10]\nquota-levels = \"1,2,3\"\nbell = true\nwebhook = [\"json=http://a/\", \"ntfy=http://b/\"]";
        let args = start(file, &["--quota-levels", "70,80,90", "--desktop"]).unwrap();
        let resolved = SettingsSource::new(&args.settings, None).resolve();
        let origins: Vec<_> = resolved.origins.iter().filter(|(_, origin)| **origin != Origin::Default).collect();
        let shown: Vec<_> =
            origins.into_iter().map(|(key, origin)| (key.as_str(), *origin, resolved.values.get(*key))).collect();
        assert_eq!(
            shown,
            [
                ("quota_levels", Origin::Flag, "70,80,90".to_owned()),
                ("warn_minutes", Origin::Config, "30,10".to_owned()),
                ("desktop", Origin::Flag, "on".to_owned()),
                ("bell", Origin::Config, "on".to_owned()),
                ("webhook", Origin::Config, "json=http://a/… ntfy=http://b/…".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_wrong_says_what_is_allowed() {
        for (file, arguments, expected) in [
            ("prot = 1", vec![], "allowed: simulation"),
            ("port = 99999", vec![], "99999"),
            ("port = { a = 1 }", vec![], "must be"),
            ("port =", vec![], "not valid"),
            ("", vec!["--plan", "max"], "pro, max5, max20, custom"),
            ("", vec!["--scenario", "x"], "calm-day, quota-crunch"),
            ("", vec!["--speed", "0"], "0.1 to 600"),
            ("", vec!["--host", "a:1"], "without a port"),
            ("", vec!["--token", "a b"], "letters, digits"),
            ("", vec!["--token", "fifteen-letters"], "16 to 256"),
            ("", vec!["--timezone", "Nowhere"], "Europe/Berlin"),
            ("", vec!["--webhook", "json=file:///etc/passwd"], "https://"),
            ("", vec!["--quiet-hours", "late"], "22:00-07:00"),
            ("budget = \"day\"", vec![], "day=20"),
        ] {
            let error = format!("{:#}", start(file, &arguments).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn options_may_come_before_their_command() {
        let index = |arguments: &[&str]| {
            let arguments: Vec<_> = ["dashboard"].iter().chain(arguments).map(OsString::from).collect();
            named_command(&Cli::command(), &arguments)
        };
        assert_eq!(index(&["--config-dir", "/a", "report", "totals"]), Some(3));
        assert_eq!(index(&["--config-dir=/a", "--json", "report"]), Some(3));
        assert_eq!(index(&["--data-dir", "report", "--port", "1"]), None, "a value is no command");
        assert_eq!(index(&["--no-browser"]), None);
    }

    #[test]
    fn no_command_means_start() {
        let implied = |arguments: &[&str]| implies_start(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(implied(&["dashboard"]));
        assert!(implied(&["dashboard", "--port", "1"]));
        for arguments in [["dashboard", "start"], ["dashboard", "--help"], ["dashboard", "-V"]] {
            assert!(!implied(&arguments));
        }
    }
}
