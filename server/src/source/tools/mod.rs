//! Where each tool keeps its files: one adapter per tool.
//!
//! A new tool is a file in here and a line in [`ALL`]; what its lines mean is for its parser in the core.

mod claude;
mod codex;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use dashboard_core::record::{Presence, Record, Tool};
use dashboard_core::time::Timestamp;

use super::environment::Environment;

/// Whether the process of this id lives, and may be the one that wrote this time as its start.
pub type IsAlive = fn(u32, Option<Timestamp>) -> bool;

/// What has to be known of a tool to find and follow its files. It keeps them below one directory, a root.
pub trait Adapter: Debug + Sync {
    /// The tool.
    fn tool(&self) -> Tool;

    /// The environment variables that say where its roots are.
    fn variables(&self) -> &'static [&'static str];

    /// The roots it uses in these surroundings, there or not.
    fn usual_roots(&self, surroundings: &Environment) -> Vec<PathBuf>;

    /// The directories of a root that hold transcripts, `*.jsonl` at any depth.
    fn transcript_dirs(&self) -> &'static [&'static str];

    /// The directory of a root that holds a file `<pid>.json` for every running session, if there is such a thing.
    fn presence_dir(&self) -> Option<&'static str> {
        None
    }

    /// What such a file says; `is_alive` tells whether the process that wrote it lives.
    fn presence(&self, _text: &[u8], _is_alive: IsAlive) -> Option<Presence> {
        None
    }

    /// The file beside a transcript that says more about it, if there may be one.
    fn companion(&self, _transcript: &Path) -> Option<PathBuf> {
        None
    }

    /// What that file, called `name` below its root, says.
    fn companion_record(&self, _name: &str, _text: &[u8]) -> Option<Record> {
        None
    }

    /// The transcript that a file is the companion of, which is to be looked at when that changes; other paths as they
    /// are.
    fn transcript_of(&self, path: PathBuf) -> PathBuf {
        path
    }
}

/// All adapters.
pub static ALL: [&dyn Adapter; 2] = [&claude::ClaudeCode, &codex::Codex];

/// The adapter of a tool.
pub fn of(tool: Tool) -> &'static dyn Adapter {
    // One for each tool, says a test.
    ALL.into_iter().find(|adapter| adapter.tool() == tool).unwrap_or(ALL[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_an_adapter() {
        for tool in Tool::ALL {
            assert_eq!(of(tool).tool(), tool);
        }
    }
}
