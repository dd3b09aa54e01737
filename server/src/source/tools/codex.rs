//! Codex: `sessions/**/*.jsonl` and, of sessions put away, `archived_sessions/**/*.jsonl`.

use std::path::PathBuf;

use dashboard_core::record::Tool;

use super::Adapter;
use crate::source::environment::Environment;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Codex;

impl Adapter for Codex {
    fn tool(&self) -> Tool {
        Tool::Codex
    }

    fn variables(&self) -> &'static [&'static str] {
        &["CODEX_HOME"]
    }

    /// `CODEX_HOME`, or else `~/.codex`.
    fn usual_roots(&self, surroundings: &Environment) -> Vec<PathBuf> {
        let named = surroundings.variable("CODEX_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        named.or_else(|| surroundings.home.as_ref().map(|home| home.join(".codex"))).into_iter().collect()
    }

    fn transcript_dirs(&self) -> &'static [&'static str] {
        &["sessions", "archived_sessions"]
    }
}
