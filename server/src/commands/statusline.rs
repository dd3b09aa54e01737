//! `dashboard statusline`: relays what a tool tells its status line, and prints a line.
//!
//! The tool runs it several times a second and waits for it. It never fails: whatever comes in, and whoever answers, a
//! line is printed and the exit code is 0. The line comes first, so that nothing can be in its way.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;
use dashboard_core::format;

use crate::{cli, clock, relay, store};

/// Where what is relayed goes.
const ROUTE: &str = "/api/v1/ingest/statusline";
/// The port of a dashboard that was not told another.
const PORT: u16 = 3001;
/// Longest text taken in; a tool sends some thousand bytes.
const MAX_READ: u64 = 16 << 20;
/// How long the caller may take to write it.
const WRITING: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Claude Code runs it if its settings say (`dashboard connect claude` writes this):
  \"statusLine\": { \"type\": \"command\", \"command\": \"dashboard statusline\" }

Examples:
  dashboard statusline --port 4000                a dashboard on another port
  dashboard statusline --then 'my-line --short'   with a line of your own instead of ours";

/// Options of `statusline`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub struct StatuslineArgs {
    /// Port of the dashboard
    #[arg(long, env = "DASHBOARD_PORT", default_value_t = PORT)]
    pub port: u16,
    /// Where it is left if no dashboard takes it; the platform's data directory by default
    #[arg(long, env = "DASHBOARD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Command that gets the same input and prints the line instead
    #[arg(long, env = "DASHBOARD_THEN", value_name = "COMMAND")]
    pub then: Option<String>,
}

/// Runs the command without anything that the other commands need, if it is this one that is asked for and not its help.
pub fn at_once(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != "statusline" {
        return None;
    }
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.iter().any(|argument| ["-h", "--help"].iter().any(|help| argument == help)) {
        return None;
    }
    run(&options(&arguments));
    Some(ExitCode::SUCCESS)
}

/// The options, by the same precedence as everywhere. What is not understood is passed over: the line matters more.
fn options(arguments: &[OsString]) -> StatuslineArgs {
    let flag = |name: &str| {
        let with_value = |argument: &OsString| {
            let argument = argument.to_str()?;
            argument.strip_prefix(name)?.strip_prefix('=').map(OsString::from)
        };
        let next = |index: usize| arguments.get(index + 1).cloned();
        let found = |(index, argument): (usize, &OsString)| {
            if argument == name { next(index) } else { with_value(argument) }
        };
        arguments.iter().enumerate().find_map(found)
    };
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let file = cli::config_file().and_then(|path| std::fs::read_to_string(path).ok());
    let file: toml::Table = file.and_then(|text| toml::from_str(&text).ok()).unwrap_or_default();
    let text = |value: Option<OsString>| value.and_then(|value| value.into_string().ok());
    let port = text(flag("--port").or_else(|| variable("DASHBOARD_PORT"))).and_then(|port| port.parse().ok());
    let port_of_file = || file.get("port").and_then(toml::Value::as_integer).and_then(|port| u16::try_from(port).ok());
    let dir_of_file = || file.get("data-dir").or_else(|| file.get("data_dir")).and_then(toml::Value::as_str);
    StatuslineArgs {
        port: port.or_else(port_of_file).unwrap_or(PORT),
        data_dir: flag("--data-dir")
            .or_else(|| variable("DASHBOARD_DATA_DIR"))
            .map(PathBuf::from)
            .or_else(|| dir_of_file().map(PathBuf::from)),
        then: text(flag("--then").or_else(|| variable("DASHBOARD_THEN")))
            .or_else(|| file.get("then").and_then(toml::Value::as_str).map(str::to_owned)),
    }
}

/// Runs the command.
pub fn run(args: &StatuslineArgs) {
    let input = read_all();
    let Some((_, format)) = relay::format() else { return };
    if let Some(agents) = (format.agents)(&input) {
        // Of subagents a line each, by id; the session's own status line is relayed.
        let line = |agent| {
            let content = format::agent_status(agent);
            format!("{}\n", serde_json::json!({ "id": agent.id, "content": content }))
        };
        return print(&agents.iter().map(line).collect::<String>());
    }
    let now = clock::wall();
    let line = (format.read)(&input).unwrap_or_default();
    if args.then.as_ref().is_none_or(|command| !print_of(command, &input)) {
        print(&format!("{}\n", format::status_line(&line, now)));
    }
    let Some(kept) = (format.keep)(&input, now).filter(|kept| kept.len() <= relay::MAX_SENT) else { return };
    if relay::post(args.port, ROUTE, &kept).is_err()
        && let Some(dir) = args.data_dir.clone().or_else(store::usual_dir)
    {
        let session = line.session.as_ref().map_or("", |session| session.as_str());
        // Nobody could be told; the next line is a moment away.
        let _ = relay::leave(&dir, session, &kept);
    }
}

/// What the caller writes, or nothing if it takes too long. What is beyond the most that is taken in is read and passed
/// over, so that the caller can go on.
fn read_all() -> Vec<u8> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut text = Vec::new();
        let read = stdin.by_ref().take(MAX_READ).read_to_end(&mut text);
        let read = read.and_then(|_| io::copy(&mut stdin, &mut io::sink()));
        // Nobody waits any more if that took too long.
        let _ = send.send(if read.is_ok() { text } else { Vec::new() });
    });
    receive.recv_timeout(WRITING).unwrap_or_default()
}

/// Prints what the user's own command prints, given the same input; whether there was anything.
fn print_of(command: &str, input: &[u8]) -> bool {
    let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = Command::new(shell);
    child.args([OsStr::new(option), OsStr::new(command)]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = child.spawn() else { return false };
    let stdin = child.stdin.take();
    thread::scope(|scope| {
        // Written beside reading, so that neither waits for the other. It need not read it.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        let Ok(output) = child.wait_with_output() else { return false };
        if output.stdout.is_empty() {
            return false;
        }
        write(&output.stdout);
        true
    })
}

fn print(text: &str) {
    write(text.as_bytes());
}

/// The caller may have left.
fn write(text: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_without_their_parser_and_never_refused() {
        let read = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            options(&arguments)
        };
        let found = read(&["--port", "4000", "--data-dir=/d", "--then", "a b"]);
        assert_eq!((found.port, found.data_dir, found.then), (4000, Some("/d".into()), Some("a b".to_owned())));
        let found = read(&["--port=many", "--unknown", "--data-dir"]);
        assert_eq!(found.data_dir, None);
    }

    #[test]
    fn only_this_command_is_run_at_once() {
        for arguments in [&["dashboard"][..], &["dashboard", "start"], &["dashboard", "statusline", "--help"]] {
            assert!(at_once(arguments.iter().map(OsString::from)).is_none());
        }
    }
}
