//! Which sessions run, as the tool itself says, if it does: one `<pid>.json` each, while its process lives.
//!
//! Only these files are read, never the keys beside them.

use crate::observation::Root;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dashboard_core::record::Presence;

use crate::platform;

/// Such a file is a few hundred bytes.
const MAX_SIZE: u64 = 64 << 10;

/// The sessions that run now.
pub fn running(roots: &[Root]) -> Vec<Presence> {
    Running::default().poll(roots).0.unwrap_or_default()
}

/// The running sessions as they were last polled.
#[derive(Debug, Default)]
pub(super) struct Running {
    seen: BTreeMap<PathBuf, Presence>,
}

impl Running {
    /// Polls again. The running sessions, if anything about them changed; and the directories that cannot be read.
    pub(super) fn poll(&mut self, roots: &[Root]) -> (Option<Vec<Presence>>, Vec<(PathBuf, io::Error)>) {
        let mut now = BTreeMap::new();
        let mut unreadable = Vec::new();
        for root in roots {
            let Some(dir) = root.presence_dir() else { continue };
            if let Err(error) = self.poll_dir(root, &dir, &mut now)
                && error.kind() != io::ErrorKind::NotFound
            {
                unreadable.push((dir, error));
            }
        }
        if now == self.seen {
            return (None, unreadable);
        }
        self.seen = now;
        (Some(self.seen.values().cloned().collect()), unreadable)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    fn poll_dir(&self, root: &Root, dir: &Path, now: &mut BTreeMap<PathBuf, Presence>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            if !is_pid_file(&path) || !entry.file_type()?.is_file() {
                continue;
            }
            if let Some(presence) = self.read(root, &path) {
                now.insert(path, presence);
            }
        }
        Ok(())
    }

    /// A file caught while it is being written says what it said before.
    fn read(&self, root: &Root, path: &Path) -> Option<Presence> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_SIZE).read_to_end(&mut text));
        let presence = read.ok().and_then(|_| (root.tool.spec().presence.as_ref()?.read)(&text, platform::is_process));
        presence.or_else(|| self.seen.get(path).cloned())
    }
}

fn is_pid_file(path: &Path) -> bool {
    let is_number = |stem: &OsStr| stem.to_str().is_some_and(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()));
    path.extension() == Some(OsStr::new("json")) && path.file_stem().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dashboard_core::record::{PresenceStatus, Tool};

    #[test]
    fn sessions_come_change_and_go() {
        let home = tempfile::tempdir().unwrap();
        let root = Root { tool: Tool::ClaudeCode, dir: home.path().to_owned(), label: String::new() };
        let roots = [root];
        let mut running = Running::default();
        assert_eq!(running.poll(&roots).0, None, "there is no directory yet");

        let dir = home.path().join("sessions");
        fs::create_dir(&dir).unwrap();
        let pid = std::process::id();
        let file = dir.join(format!("{pid}.json"));
        let write = |status: &str| fs::write(&file, format!(r#"{{"pid":{pid},"sessionId":"s","status":"{status}"}}"#));
        write("busy").unwrap();
        fs::write(dir.join("secret.key"), "{}").unwrap();
        fs::write(dir.join("notes.json"), r#"{"pid":1,"sessionId":"no"}"#).unwrap();
        let one = running.poll(&roots).0.expect("a session came");
        assert_eq!(one.iter().map(|it| (it.status, it.alive)).collect::<Vec<_>>(), [(PresenceStatus::Busy, true)]);
        assert_eq!(running.poll(&roots).0, None);

        fs::write(&file, r#"{"pid":"#).unwrap();
        assert_eq!(running.poll(&roots).0, None, "half a file changes nothing");
        write("waiting").unwrap();
        assert_eq!(running.poll(&roots).0.expect("it waits")[0].status, PresenceStatus::Waiting);
        fs::remove_file(&file).unwrap();
        assert_eq!(running.poll(&roots).0, Some(Vec::new()));
        assert_eq!(running.count(), 0);
    }
}
