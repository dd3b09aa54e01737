//! Finding transcript files, and reading one from a place on.

use crate::observation::{Root, TranscriptFile, name_of};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use dashboard_core::history::Unreadable;
use walkdir::WalkDir;

use super::roots::{self, TranscriptDir};

/// Bytes read at once.
pub const CHUNK: usize = 256 << 10;

/// The transcripts below a root: regular files that match one of its tool's patterns, in no particular order.
/// Links are not followed. A missing directory is empty; what cannot be read goes to `unreadable`.
pub fn transcripts(root: &Root, unreadable: &mut Vec<Unreadable>) -> Vec<TranscriptFile> {
    all(std::slice::from_ref(root), unreadable)
}

/// The transcripts below several roots, each file once.
pub(crate) fn all(roots: &[Root], unreadable: &mut Vec<Unreadable>) -> Vec<TranscriptFile> {
    roots::transcript_dirs(roots).iter().flat_map(|dir| transcripts_in(dir, unreadable)).collect()
}

/// The transcripts in one directory.
pub(super) fn transcripts_in(dir: &TranscriptDir, unreadable: &mut Vec<Unreadable>) -> Vec<TranscriptFile> {
    walk(&dir.root, WalkDir::new(&dir.dir).max_depth(dir.depth.unwrap_or(usize::MAX)), unreadable)
}

/// The same, for a file or directory within one of these.
pub(super) fn transcripts_at(
    dir: &TranscriptDir,
    path: &Path,
    unreadable: &mut Vec<Unreadable>,
) -> Vec<TranscriptFile> {
    let Some(depth) = dir.depth_below(path) else { return Vec::new() };
    walk(&dir.root, WalkDir::new(path).follow_root_links(false).max_depth(depth), unreadable)
}

/// Reading `path` failed with `error`.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Unreadable {
    Unreadable { path: path.display().to_string(), error: error.to_string() }
}

fn walk(root: &Root, walk: WalkDir, unreadable: &mut Vec<Unreadable>) -> Vec<TranscriptFile> {
    let mut found = Vec::new();
    for entry in walk {
        match entry {
            Ok(entry) => {
                if entry.file_type().is_file() {
                    found.extend(as_transcript(root, entry.path()));
                }
            }
            Err(error) => {
                let path = error.path().unwrap_or(&root.dir).to_owned();
                let error = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links"));
                // Deleted while we were looking, or not there yet.
                if error.kind() != io::ErrorKind::NotFound {
                    unreadable.push(self::unreadable(&path, &error));
                }
            }
        }
    }
    found
}

/// What the file at `path` is called, if its name is that of a transcript below `root`.
pub fn as_transcript(root: &Root, path: &Path) -> Option<TranscriptFile> {
    let below = path.strip_prefix(&root.dir).ok()?;
    let name = name_of(below);
    root.tool.spec().transcripts_named(&name).map(|_| TranscriptFile::new(root, name))
}

/// Reads what is left of `file` in chunks.
///
/// # Errors
/// Those of reading and those of `take`, which ends it.
pub fn read_on<E: From<io::Error>>(
    file: &mut File,
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    buffer.resize(CHUNK, 0);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => take(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
