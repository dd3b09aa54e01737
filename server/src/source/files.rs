//! Finding transcript files, and reading one from a place on.

use crate::observation::{Root, TranscriptFile, Unreadable};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Bytes read at once.
pub const CHUNK: usize = 256 << 10;

/// The transcripts below a root: regular files that match one of its tool's patterns, in no particular order.
/// Links are not followed. A missing directory is empty; what cannot be read goes to `unreadable`.
pub fn transcripts(root: &Root, unreadable: &mut Vec<Unreadable>) -> Vec<TranscriptFile> {
    let walk_dir = |(dir, depth): (PathBuf, Option<usize>)| {
        walk(root, WalkDir::new(dir).max_depth(depth.unwrap_or(usize::MAX)), unreadable)
    };
    let mut found: Vec<TranscriptFile> = root.transcript_dirs().into_iter().flat_map(walk_dir).collect();
    // One directory may lie in another.
    found.sort_unstable();
    found.dedup();
    found
}

/// The same, for a file or directory within one of these.
pub fn transcripts_at(root: &Root, path: &Path, unreadable: &mut Vec<Unreadable>) -> Vec<TranscriptFile> {
    let Some(depth) = root.depth_at(path) else { return Vec::new() };
    walk(root, WalkDir::new(path).follow_root_links(false).max_depth(depth), unreadable)
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
                    unreadable.push(Unreadable::new(&path, &error));
                }
            }
        }
    }
    found
}

/// What the file at `path` is called, if its name is that of a transcript below `root`.
pub fn as_transcript(root: &Root, path: &Path) -> Option<TranscriptFile> {
    let below = path.strip_prefix(&root.dir).ok()?;
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let name = parts.join("/");
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
