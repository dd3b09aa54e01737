//! What relays leave in the data directory while no dashboard runs, or none that answers.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::observation::SourceMessage;
use crate::relay;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Relayed(PathBuf);

impl Relayed {
    /// What is left in this data directory.
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(relay::left_in(data_dir))
    }

    /// Takes it. The relay keeps no more than a few files there, so that this is soon done.
    pub(super) fn take(&self) -> Vec<SourceMessage> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path()).filter(|path| relay::is_left(path));
        let mut taken = Vec::new();
        for path in paths.take(relay::MOST_LEFT) {
            match read(&path) {
                Ok(text) => taken.extend(status_line(&text)),
                Err(error) => tracing::warn!(%error, path = %path.display(), "what a relay left cannot be read"),
            }
            // One that cannot be removed would be taken again and again.
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "what a relay left cannot be removed");
            }
        }
        taken
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(relay::MAX_SENT as u64).read_to_end(&mut text)?;
    Ok(text)
}

fn status_line(text: &[u8]) -> Option<SourceMessage> {
    // Without a time it could be of any.
    let (tool, line) = relay::read(text).filter(|(_, line)| line.relayed_at.is_some())?;
    Some(SourceMessage::StatusLine { tool, line: Box::new(line) })
}
