//! Which directories hold transcripts.
//!
//! A tool keeps everything below one directory, which we call a root; there may be several. Whether a root exists is
//! not asked here, because it may appear later.

use crate::observation::Root;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use dashboard_core::record::Tool;

use super::tools::{self, Adapter};

impl Root {
    /// What is known of its tool.
    pub fn adapter(&self) -> &'static dyn Adapter {
        tools::of(self.tool)
    }

    /// Its directories that hold transcripts, there or not.
    pub fn transcript_dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.adapter().transcript_dirs().iter().map(|dir| self.dir.join(dir))
    }

    /// Whether any of these is there.
    pub fn has_transcripts(&self) -> bool {
        self.transcript_dirs().any(|dir| dir.is_dir())
    }

    /// Whether transcripts may be at this path.
    pub fn holds(&self, path: &Path) -> bool {
        self.transcript_dirs().any(|dir| path.starts_with(dir))
    }

    /// Its directory with a file for every running session, if its tool has such a thing.
    pub fn presence_dir(&self) -> Option<PathBuf> {
        self.adapter().presence_dir().map(|dir| self.dir.join(dir))
    }
}

/// Where to look for roots when none is given.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables, of those that a tool heeds.
    pub variables: BTreeMap<&'static str, OsString>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            variables: tools::ALL
                .into_iter()
                .flat_map(Adapter::variables)
                .filter_map(|&name| Some((name, env::var_os(name)?)))
                .collect(),
            home: directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned()),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(name).map(OsString::as_os_str)
    }

    /// The directories of a variable that holds one, or several with commas between.
    pub(super) fn listed(&self, name: &str) -> Vec<PathBuf> {
        let list = self.variable(name).map(|list| list.to_string_lossy().into_owned()).unwrap_or_default();
        list.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(|dir| self.expand(dir)).collect()
    }

    /// Inside a list, the shell does not expand `~`.
    fn expand(&self, dir: &str) -> PathBuf {
        match (dir.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(dir),
        }
    }
}

/// The roots the user named.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredRoots {
    dirs: Vec<(Tool, PathBuf)>,
}

impl ConfiguredRoots {
    /// Claude Code's configuration directories, and Codex's home.
    pub fn new(config_dirs: &[PathBuf], codex_home: Option<&Path>) -> Self {
        let claude = config_dirs.iter().map(|dir| (Tool::ClaudeCode, dir.clone()));
        Self { dirs: claude.chain(codex_home.map(|dir| (Tool::Codex, dir.to_owned()))).collect() }
    }

    /// Naming Claude Code's directories means these and no others; naming another tool's says nothing of the rest.
    fn excludes_usual(&self, tool: Tool) -> bool {
        self.dirs.iter().any(|&(named, _)| named == tool || named == Tool::ClaudeCode)
    }
}

/// The roots: those given, or else those the tools would use. One that is named twice counts once.
pub fn find(given: &ConfiguredRoots, surroundings: &Environment) -> Vec<Root> {
    let mut roots = Vec::new();
    for adapter in tools::ALL {
        let tool = adapter.tool();
        let named = given.dirs.iter().filter(|&&(named, _)| named == tool).map(|(_, dir)| dir.clone());
        let usual = if given.excludes_usual(tool) { Vec::new() } else { adapter.usual_roots(surroundings) };
        let mut unique: Vec<(PathBuf, PathBuf)> = Vec::new();
        for dir in named.chain(usual) {
            let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
            if !unique.iter().any(|(_, known)| *known == real) {
                unique.push((dir, real));
            }
        }
        let several = unique.len() > 1;
        let label = |dir: &Path| if several { format!("{}/", dir.display()) } else { String::new() };
        roots.extend(unique.into_iter().map(|(dir, _)| Root { tool, label: label(&dir), dir }));
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(given: &[&str], codex_home: Option<&str>, surroundings: &Environment) -> Vec<(Tool, String)> {
        let given: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
        let roots = find(&ConfiguredRoots::new(&given, codex_home.map(Path::new)), surroundings);
        roots.into_iter().map(|root| (root.tool, root.dir.display().to_string())).collect()
    }

    fn dirs(tool: Tool, given: &[&str], surroundings: &Environment) -> Vec<String> {
        let of_tool = |(found, dir)| (found == tool).then_some(dir);
        found(given, None, surroundings).into_iter().filter_map(of_tool).collect()
    }

    fn home(variables: &[(&'static str, &str)]) -> Environment {
        let variables = variables.iter().map(|&(name, value)| (name, value.into())).collect();
        Environment { home: Some("/home/ada".into()), variables }
    }

    #[test]
    fn looks_where_the_tools_write() {
        let claude = |surroundings: &Environment| dirs(Tool::ClaudeCode, &[], surroundings);
        assert_eq!(claude(&home(&[])), ["/home/ada/.config/claude", "/home/ada/.claude"]);
        assert_eq!(claude(&home(&[("XDG_CONFIG_HOME", "/etc/ada")])), ["/etc/ada/claude", "/home/ada/.claude"]);
        assert_eq!(claude(&home(&[("XDG_CONFIG_HOME", "ada")])), claude(&home(&[])));
        let codex = |surroundings: &Environment| dirs(Tool::Codex, &[], surroundings);
        assert_eq!(codex(&home(&[])), ["/home/ada/.codex"]);
        assert_eq!(codex(&home(&[("CODEX_HOME", "/c")])), ["/c"]);
        assert_eq!(codex(&home(&[("CODEX_HOME", "")])), ["/home/ada/.codex"]);
        assert!(found(&[], None, &Environment::default()).is_empty());
    }

    #[test]
    fn the_variable_may_list_several() {
        let listed = home(&[("CLAUDE_CONFIG_DIR", "/a, ~/b,,/a")]);
        assert_eq!(dirs(Tool::ClaudeCode, &[], &listed), ["/a", "/home/ada/b"]);
        let empty = home(&[("CLAUDE_CONFIG_DIR", " ")]);
        assert_eq!(dirs(Tool::ClaudeCode, &[], &empty), dirs(Tool::ClaudeCode, &[], &home(&[])));
    }

    #[test]
    fn directories_given_exclude_all_others() {
        let surroundings = home(&[("CLAUDE_CONFIG_DIR", "/a"), ("CODEX_HOME", "/c")]);
        let (claude, codex) =
            (|dir: &str| (Tool::ClaudeCode, dir.to_owned()), |dir: &str| (Tool::Codex, dir.to_owned()));
        assert_eq!(found(&["/x"], None, &surroundings), [claude("/x")]);
        assert_eq!(found(&["/x"], Some("/y"), &surroundings), [claude("/x"), codex("/y")]);
        assert_eq!(found(&[], Some("/y"), &surroundings), [claude("/a"), codex("/y")]);
    }

    #[test]
    fn labels_tell_several_roots_of_a_tool_apart() {
        let labels = |given: &[&str]| {
            let given: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
            let roots = find(&ConfiguredRoots::new(&given, Some(Path::new("/c"))), &home(&[]));
            roots.into_iter().map(|root| root.label).collect::<Vec<_>>()
        };
        assert_eq!(labels(&["/x"]), ["", ""]);
        assert_eq!(labels(&["/x", "/y"]), ["/x/", "/y/", ""]);
    }
}
