//! Notifications of the desktop, by the platform's own command: a crate that speaks its protocol would bring an
//! asynchronous message bus of some forty crates for one call.

use std::io::{self, ErrorKind};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dashboard_core::level::Level;

use super::Notice;
use super::post::plain;

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended.
const STEP: Duration = Duration::from_millis(20);

/// Shows a notice. Waits until the command has ended.
///
/// # Errors
/// What went wrong, and what to do.
pub(super) fn show(notice: &Notice) -> Result<(), String> {
    let (title, detail) = (plain(&notice.title), plain(&notice.detail));
    let mut missing = Vec::new();
    for mut command in commands(&title, &detail, notice.alert.level) {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        match child.and_then(wait) {
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(name),
            Err(error) => return Err(format!("{name}: {error}")),
            Ok(()) => return Ok(()),
        }
    }
    Err(format!("none of {} is installed", missing.join(", ")))
}

/// Waits until it has ended well; ends it if it takes too long.
fn wait(mut child: Child) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("it failed ({status}); is a desktop running?"))),
            None if began.elapsed() > TIMEOUT => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other("it did not end in time"));
            }
            None => std::thread::sleep(STEP),
        }
    }
}

/// What shows a notification here, best first.
#[cfg(all(unix, not(target_os = "macos")))]
fn commands(title: &str, detail: &str, level: Level) -> Vec<Command> {
    // Notification daemons read the text as markup.
    let detail = detail.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (word, number) = match level {
        Level::Healthy | Level::Info => ("low", "0"),
        Level::Warning | Level::Danger => ("normal", "1"),
        Level::Critical => ("critical", "2"),
    };
    let mut notify_send = Command::new("notify-send");
    notify_send.args(["--app-name=Dashboard", &format!("--urgency={word}"), "--", title, &detail]);
    let mut busctl = Command::new("busctl");
    let name = "org.freedesktop.Notifications";
    busctl.args(["--user", "call", name, "/org/freedesktop/Notifications", name, "Notify", "susssasa{sv}i"]);
    busctl.args(["--", "Dashboard", "0", "", title, &detail, "0", "1", "urgency", "y", number, "-1"]);
    vec![notify_send, busctl]
}

/// What shows a notification here. Untested.
#[cfg(target_os = "macos")]
fn commands(title: &str, detail: &str, _: Level) -> Vec<Command> {
    let mut osascript = Command::new("osascript");
    osascript.args(["-e", "on run argv"]);
    osascript.args(["-e", "display notification (item 2 of argv) with title (item 1 of argv)", "-e", "end run"]);
    osascript.args([title, detail]);
    vec![osascript]
}

/// What shows a notification here. Untested.
#[cfg(windows)]
fn commands(title: &str, detail: &str, _: Level) -> Vec<Command> {
    const SCRIPT: &str = "$m = [Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, \
         ContentType = WindowsRuntime]; $x = $m::GetTemplateContent('ToastText02'); \
         $t = $x.GetElementsByTagName('text'); \
         $t[0].AppendChild($x.CreateTextNode($env:DASHBOARD_NOTICE_TITLE)) > $null; \
         $t[1].AppendChild($x.CreateTextNode($env:DASHBOARD_NOTICE_DETAIL)) > $null; \
         $m::CreateToastNotifier('Dashboard').Show([Windows.UI.Notifications.ToastNotification]::new($x))";
    let mut powershell = Command::new("powershell");
    powershell.args(["-NoProfile", "-NonInteractive", "-Command", SCRIPT]);
    // As variables, so that no text is taken for code.
    powershell.env("DASHBOARD_NOTICE_TITLE", title).env("DASHBOARD_NOTICE_DETAIL", detail);
    vec![powershell]
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_or_hangs_is_said() {
        let run = |program: &str, argument: &str| Command::new(program).arg(argument).spawn().and_then(wait);
        assert!(run("true", "").is_ok());
        assert!(run("false", "").unwrap_err().to_string().contains("failed"));
        assert!(run("sleep", "60").unwrap_err().to_string().contains("in time"));
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn a_text_is_an_argument_whatever_it_begins_with() {
        let commands = commands("-t", "<b>", Level::Critical);
        let arguments: Vec<_> = commands[0].get_args().collect();
        assert_eq!(arguments[2..], ["--", "-t", "&lt;b&gt;"]);
    }
}
