//! What differs between operating systems. Tested on Linux; macOS shares its code, Windows' is written for and untested.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::path::Path;

use dashboard_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Which file this is, whatever its name: survives a rename, differs for a replacement.
///
/// Numbers are given out again after a file is deleted, so equality is a hint, to be confirmed by the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity(u64, u64);

impl FileIdentity {
    /// The identity of the file described.
    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// The identity of the file described: the time it was made stands in for a number.
    #[cfg(not(unix))]
    pub fn of(metadata: &Metadata) -> Self {
        let created = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        created.map_or(Self(0, 0), |since| Self(since.as_secs(), u64::from(since.subsec_nanos())))
    }
}

/// Makes a directory, and those above it, that only this user can read.
///
/// # Errors
/// Those of the system; none if it is there.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Makes a file that only this user can read, in place of what was there.
///
/// # Errors
/// Those of the system.
pub fn create_private_file(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Takes all rights of other users to a file or directory away; makes the file if it is missing and `create` is set.
/// Does nothing where rights are not kept in a mode.
///
/// # Errors
/// Those of the system, such as that it belongs to somebody else.
pub fn make_private(path: &Path, create: bool) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
        if create {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
        }
        let mode = std::fs::metadata(path)?.mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7700))?;
        }
    }
    #[cfg(not(unix))]
    let _ = (path, create);
    Ok(())
}

/// Raises the number of files and sockets this process may have open as far as it may itself. Programs are often given
/// few, for the sake of old ones that cannot cope with more.
///
/// # Errors
/// Those of the system.
#[cfg(unix)]
pub fn raise_descriptor_limit() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // macOS says "no limit" and refuses to set that.
    let wanted = if cfg!(target_os = "macos") { limit.maximum.or(Some(10_240)) } else { limit.maximum };
    if limit.current == wanted {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: wanted, ..limit })?)
}

/// Nothing to raise: this system has no such limit.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn raise_descriptor_limit() -> io::Result<()> {
    Ok(())
}

/// Whether a process of this id runs, ours or another user's.
#[cfg(unix)]
pub fn process_lives(pid: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| matches!(test_kill_process(pid), Ok(()) | Err(Errno::PERM)))
}

/// Whether a process of this id runs. Cannot be told here without unsafe code, so no: a session counts as running only
/// while its file is kept up to date.
#[cfg(not(unix))]
pub fn process_lives(_pid: u32) -> bool {
    false
}

/// A process that was started longer than this after a time cannot have recorded that time: it has the id of one that
/// ended. Clocks are set now and then, and systems that run for long compute the start of a process less exactly.
const START_TOLERANCE_MS: i64 = 60_000;

/// Whether a process of this id runs that may have recorded `started_at` as its start.
pub fn is_process(pid: u32, started_at: Option<Timestamp>) -> bool {
    process_lives(pid)
        && started_at.is_none_or(|recorded| {
            process_started_at(pid).is_none_or(|started| started <= recorded.plus_ms(START_TOLERANCE_MS))
        })
}

/// When the process of this id was started, if the system says so.
#[cfg(target_os = "linux")]
pub fn process_started_at(pid: u32) -> Option<Timestamp> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything; the 22nd is the start in ticks since boot.
    let ticks: i64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let ticks_per_second = i64::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    let since_boot = ticks.checked_mul(1000)?.checked_div(ticks_per_second)?;
    Some(Timestamp::from_unix_ms(boot.checked_mul(1000)?.checked_add(since_boot)?))
}

/// When the process of this id was started, as `ps` says; asked once a minute for each. Untested.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn process_started_at(pid: u32) -> Option<Timestamp> {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};
    static KNOWN: Mutex<Option<HashMap<u32, (Instant, Option<Timestamp>)>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    known.retain(|_, (asked, _)| asked.elapsed() < Duration::from_mins(1));
    let ask = || {
        let output = std::process::Command::new("ps").args(["-o", "etime=", "-p", &pid.to_string()]).output().ok()?;
        let elapsed = elapsed_seconds(std::str::from_utf8(&output.stdout).ok()?)?;
        Some(crate::clock::wall().plus_ms(-elapsed * 1000))
    };
    known.entry(pid).or_insert_with(|| (Instant::now(), ask())).1
}

/// When the process of this id was started: not asked here, where [`process_lives`] cannot tell either.
#[cfg(not(unix))]
pub fn process_started_at(_pid: u32) -> Option<Timestamp> {
    None
}

/// `[[days-]hours:]minutes:seconds`, as `ps` writes for how long a process has run.
#[cfg(any(test, all(unix, not(target_os = "linux"))))]
fn elapsed_seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let seconds = clock.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i64>().ok()?))?;
    Some(days.parse::<i64>().ok()? * 86_400 + seconds)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn processes_live_and_die() {
        assert!(process_lives(std::process::id()));
        assert!(process_lives(1), "another user's");
        assert!(!process_lives(0));
        assert!(!process_lives(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!process_lives(child.id()));
    }

    #[test]
    fn a_process_started_later_is_another() {
        let pid = std::process::id();
        assert!(is_process(pid, None));
        assert!(is_process(pid, Some(crate::clock::wall())));
        if cfg!(target_os = "linux") {
            let started = process_started_at(pid).unwrap();
            let age = crate::clock::wall().unix_ms() - started.unix_ms();
            assert!((-2_000..3_600_000).contains(&age), "{age} ms old");
            // What recorded this ended long ago, and its number was given out again.
            assert!(!is_process(pid, Some(started.plus_ms(-START_TOLERANCE_MS - 1))));
            assert!(is_process(pid, Some(started.plus_ms(1 - START_TOLERANCE_MS))));
        }
    }

    #[test]
    fn spans_of_ps_are_read() {
        for (text, seconds) in [("  00:07\n", 7), ("01:02:03", 3723), ("2-00:00:01", 172_801)] {
            assert_eq!(elapsed_seconds(text), Some(seconds), "{text}");
        }
        assert_eq!(elapsed_seconds("elapsed"), None);
    }

    #[test]
    fn a_rename_keeps_the_identity() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| FileIdentity::of(&std::fs::metadata(dir.path().join(name)).unwrap());
        std::fs::write(dir.path().join("a"), "").unwrap();
        let before = of("a");
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        std::fs::write(dir.path().join("a"), "").unwrap();
        assert_eq!(of("b"), before);
        assert_ne!(of("a"), before);
    }
}
