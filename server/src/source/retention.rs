//! For how long the tools keep their transcripts, and which of these cannot be read: looked up when asked for.
//!
//! A tool may delete a transcript some days after its last change; a key in its settings says how many. Only that key
//! is read.

use crate::observation::Root;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use dashboard_core::history::Unreadable;
use dashboard_core::report::{Retention, TranscriptAge};
use dashboard_core::time::Timestamp;
use dashboard_core::transcript::RetentionSetting;

use super::files;

/// The ages of the transcripts below `roots`. What cannot be looked at is left out.
pub fn of(roots: &[Root]) -> Retention {
    let keep_days: BTreeMap<&Path, u32> = roots
        .iter()
        .filter_map(|root| Some((&*root.dir, keep_days(&root.dir, root.tool.spec().retention.as_ref()?))))
        .collect();
    let roots: Vec<Root> = roots.iter().filter(|root| root.tool.spec().retention.is_some()).cloned().collect();
    let mut transcripts = Vec::new();
    for found in files::all(&roots, &mut Vec::new()) {
        let modified = fs::metadata(&found.path).and_then(|metadata| metadata.modified()).ok();
        let since_epoch = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if let Some(ms) = since_epoch.and_then(|span| i64::try_from(span.as_millis()).ok()) {
            let changed_at = Timestamp::from_unix_ms(ms);
            if let Some(&keep_days) = keep_days.get(&*found.root) {
                transcripts.push(TranscriptAge { name: found.name, changed_at, keep_days });
            }
        }
    }
    Retention { transcripts }
}

/// What below `roots` cannot be read at this moment.
pub fn unreadable(roots: &[Root]) -> Vec<Unreadable> {
    let mut unreadable = Vec::new();
    for found in files::all(roots, &mut unreadable) {
        match fs::File::open(&found.path) {
            Ok(_) => {}
            // Deleted since we found it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => unreadable.push(files::unreadable(&found.path, &error)),
        }
    }
    unreadable.sort();
    unreadable
}

/// What the settings in a home say, or the tool's default.
fn keep_days(dir: &Path, setting: &RetentionSetting) -> u32 {
    let settings = fs::read(dir.join(setting.file)).ok();
    let settings = settings.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let days = settings.and_then(|settings| u32::try_from(settings.get(setting.key)?.as_u64()?).ok());
    days.unwrap_or(setting.default_days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_settings_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let setting = dashboard_core::record::Tool::ClaudeCode.spec().retention.as_ref().unwrap();
        assert_eq!(keep_days(dir.path(), setting), 30);
        for (settings, days) in [
            (r#"{"model":"opus","cleanupPeriodDays":365}"#, 365),
            (r#"{"cleanupPeriodDays":0}"#, 0),
            (r#"{"cleanupPeriodDays":"soon"}"#, 30),
            ("{", 30),
        ] {
            fs::write(dir.path().join("settings.json"), settings).unwrap();
            assert_eq!(keep_days(dir.path(), setting), days, "{settings}");
        }
    }
}
