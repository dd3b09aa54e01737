//! Which sessions run, from the files `sessions/<pid>.json` that Claude Code keeps while it does.

use std::fs;
use std::path::Path;

use dashboard_core::record::Presence;
use dashboard_core::transcript::claude;

use super::roots::Root;
use crate::platform;

/// Most bytes of such a file; real ones have a few hundred.
const MAX_BYTES: u64 = 64 << 10;

/// The running sessions of all roots, in the order of their ids. A file that cannot be read is
/// being written or deleted, and looked at again soon.
pub(super) fn running(roots: &[Root]) -> Vec<Presence> {
    let mut running: Vec<Presence> = Vec::new();
    for root in roots {
        let Ok(entries) = fs::read_dir(root.dir.join("sessions")) else { continue };
        running.extend(entries.flatten().filter_map(|entry| read(&entry.path())));
    }
    running.sort_by(|a, b| (&a.session, a.updated_at).cmp(&(&b.session, b.updated_at)));
    running
}

fn read(path: &Path) -> Option<Presence> {
    // Beside the files of sessions lie keys, which are nobody's business.
    let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
    if stem.is_empty() || !stem.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if fs::symlink_metadata(path).ok().is_none_or(|file| !file.is_file() || file.len() > MAX_BYTES) {
        return None;
    }
    claude::presence(&fs::read(path).ok()?, platform::is_process_alive)
}
