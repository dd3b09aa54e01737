//! Files as every part of the server names them: a tool's root directory, and a transcript below one.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use dashboard_core::record::Tool;

/// A directory in which a tool keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Whose it is.
    pub tool: Tool,
    /// The directory: absolute and canonical, as `source::roots` makes it, so that one directory has one name in store,
    /// reports and notifications however it was spelled.
    pub dir: PathBuf,
    /// What goes before a path below it to make it unique: empty if it is the tool's only root.
    pub label: String,
}

/// A transcript file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TranscriptFile {
    /// Whose it is.
    pub tool: Tool,
    /// What it is called in claims and reports: unique among all roots.
    pub key: String,
    /// The directory of its root: with `name`, what the store knows it by.
    pub root: PathBuf,
    /// Its path below its root, with `/` between the parts and bytes that are not UTF-8 escaped.
    pub name: String,
    /// Where to open it.
    pub path: PathBuf,
}

impl TranscriptFile {
    /// The file called `name` below `root`, there or not.
    pub fn new(root: &Root, name: String) -> Self {
        let path = Self::below(&root.dir, &name);
        Self { tool: root.tool, key: format!("{}{name}", root.label), root: root.dir.clone(), name, path }
    }

    /// The path of the file called `name` below this directory.
    pub(crate) fn below(root: &Path, name: &str) -> PathBuf {
        root.join(path_of(name))
    }
}

/// Stands before each byte of a file name that is not UTF-8, written as two hexadecimal digits. A name that holds this
/// character itself has its bytes written the same way, so that every name means one file.
const ESCAPE: char = char::REPLACEMENT_CHARACTER;

/// The path below a root as text, with `/` between its parts. Lossless where file names are bytes.
pub(crate) fn name_of(below: &Path) -> String {
    let parts: Vec<_> = below.components().map(|part| part_name(part.as_os_str())).collect();
    parts.join("/")
}

/// The path that [`name_of`] made `name` from.
fn path_of(name: &str) -> PathBuf {
    if name.contains(ESCAPE) { decoded(name) } else { PathBuf::from(name) }
}

#[cfg(unix)]
fn part_name(part: &OsStr) -> Cow<'_, str> {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    match part.to_str() {
        Some(text) if !text.contains(ESCAPE) => Cow::Borrowed(text),
        _ => {
            let mut name = String::new();
            let escape = |bytes: &[u8], name: &mut String| {
                for byte in bytes {
                    // Writing to a string does not fail.
                    let _ = write!(name, "{ESCAPE}{byte:02X}");
                }
            };
            for chunk in part.as_bytes().utf8_chunks() {
                for character in chunk.valid().chars() {
                    match character {
                        ESCAPE => escape(ESCAPE.encode_utf8(&mut [0; 4]).as_bytes(), &mut name),
                        _ => name.push(character),
                    }
                }
                escape(chunk.invalid(), &mut name);
            }
            Cow::Owned(name)
        }
    }
}

#[cfg(unix)]
fn decoded(name: &str) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let mut parts = name.split(ESCAPE);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            // No name that was written here: left as it is.
            None => bytes.extend_from_slice(format!("{ESCAPE}{part}").as_bytes()),
        }
    }
    OsString::from_vec(bytes).into()
}

/// Names are UTF-16 here; unpaired surrogates, which no tool writes, are lost.
#[cfg(not(unix))]
fn part_name(part: &OsStr) -> Cow<'_, str> {
    part.to_string_lossy()
}

#[cfg(not(unix))]
fn decoded(name: &str) -> PathBuf {
    PathBuf::from(name)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn every_name_means_one_file() {
        let name = |bytes: &[u8]| name_of(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(name(b"projects/p/50%.jsonl"), "projects/p/50%.jsonl");
        assert_eq!(name(b"projects/caf\xe9/s.jsonl"), "projects/caf\u{FFFD}E9/s.jsonl");
        let bytes: [&[u8]; 5] = [b"a/b", b"a/\xff\xfe.jsonl", b"\xc3\xa9", "\u{FFFD}FF".as_bytes(), b"x\xff41"];
        for bytes in bytes {
            assert_eq!(path_of(&name(bytes)).as_os_str().as_bytes(), bytes);
        }
        assert_ne!(name("\u{FFFD}FF".as_bytes()), name(b"\xff"));
    }
}
