//! Files as every part of the server names them: a tool's root directory, and a transcript below one.

use std::io;
use std::path::{Path, PathBuf};

use dashboard_core::record::Tool;

/// A directory in which a tool keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Whose it is.
    pub tool: Tool,
    /// The directory.
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
    /// Its path below its root, with `/` between the parts.
    pub name: String,
    /// Where to open it.
    pub path: PathBuf,
}

impl TranscriptFile {
    /// The file called `name` below `root`, there or not.
    pub fn new(root: &Root, name: String) -> Self {
        let path = root.dir.join(&name);
        Self { tool: root.tool, key: format!("{}{name}", root.label), root: root.dir.clone(), name, path }
    }
}

/// A file or directory that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Unreadable {
    /// Its path.
    pub path: String,
    /// What the system said.
    pub error: String,
}

impl From<&Unreadable> for dashboard_core::history::Unreadable {
    fn from(unreadable: &Unreadable) -> Self {
        Self { path: unreadable.path.clone(), error: unreadable.error.clone() }
    }
}

impl Unreadable {
    /// Reading `path` failed with `error`.
    pub fn new(path: &Path, error: &io::Error) -> Self {
        Self { path: path.display().to_string(), error: error.to_string() }
    }
}
