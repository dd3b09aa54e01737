//! What outlives the process of alerts: `alerts.json` in the data directory, a few kilobytes.

use std::io::{self, ErrorKind};
use std::path::Path;

use dashboard_core::alert::AlertMemory;

use crate::settings::write_whole;

/// The file's name in the data directory.
const FILE: &str = "alerts.json";

/// What was kept; nothing if there is no file, or none that is understood: then some alerts may be told twice.
pub(super) fn load(dir: &Path) -> AlertMemory {
    let file = dir.join(FILE);
    let kept = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => return AlertMemory::default(),
        Err(error) => Err(error.to_string()),
    };
    kept.unwrap_or_else(|error| {
        tracing::warn!(error, file = %file.display(), "what was told of alerts is not known; some may be told again");
        AlertMemory::default()
    })
}

/// Keeps it.
///
/// # Errors
/// If the file cannot be written; the old one stands then.
pub(super) fn save(dir: &Path, memory: &AlertMemory) -> io::Result<()> {
    write_whole(&dir.join(FILE), &serde_json::to_vec(memory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), AlertMemory::default());
        let mut memory = AlertMemory::default();
        memory.silences.snooze(Some(crate::clock::wall()));
        save(dir.path(), &memory).unwrap();
        assert_eq!(load(dir.path()), memory);
        std::fs::write(dir.path().join(FILE), "{\"arming\": 7").unwrap();
        assert_eq!(load(dir.path()), AlertMemory::default());
    }
}
