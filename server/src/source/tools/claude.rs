//! Claude Code: `projects/**/*.jsonl`, `sessions/<pid>.json`, and a `.meta.json` beside the transcript of a subagent.

use std::path::{Path, PathBuf};

use dashboard_core::record::{Presence, Record, Tool};
use dashboard_core::transcript::claude;

use super::{Adapter, IsAlive};
use crate::source::environment::Environment;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct ClaudeCode;

impl Adapter for ClaudeCode {
    fn tool(&self) -> Tool {
        Tool::ClaudeCode
    }

    fn variables(&self) -> &'static [&'static str] {
        &["CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME"]
    }

    /// `CLAUDE_CONFIG_DIR`, which may list several; or else two places, of which newer versions use the first.
    fn usual_roots(&self, surroundings: &Environment) -> Vec<PathBuf> {
        let listed = surroundings.listed("CLAUDE_CONFIG_DIR");
        if !listed.is_empty() {
            return listed;
        }
        // A relative XDG_CONFIG_HOME is invalid and to be ignored, says its specification.
        let xdg = surroundings.variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let home = surroundings.home.as_ref();
        let config = xdg.or_else(|| home.map(|home| home.join(".config")));
        config.map(|config| config.join("claude")).into_iter().chain(home.map(|home| home.join(".claude"))).collect()
    }

    fn transcript_dirs(&self) -> &'static [&'static str] {
        &["projects"]
    }

    fn presence_dir(&self) -> Option<&'static str> {
        Some("sessions")
    }

    fn presence(&self, text: &[u8], is_alive: IsAlive) -> Option<Presence> {
        claude::presence(text, is_alive)
    }

    fn companion(&self, transcript: &Path) -> Option<PathBuf> {
        let is_agents = transcript.file_name()?.to_str()?.starts_with("agent-");
        is_agents.then(|| transcript.with_extension("meta.json"))
    }

    fn companion_record(&self, name: &str, text: &[u8]) -> Option<Record> {
        claude::agent_meta(name, text).map(Record::Agent)
    }

    fn transcript_of(&self, path: PathBuf) -> PathBuf {
        match path.to_str().and_then(|text| text.strip_suffix(".meta.json")) {
            Some(stem) => PathBuf::from(format!("{stem}.jsonl")),
            None => path,
        }
    }
}
