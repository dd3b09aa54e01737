//! Which directories hold transcripts.
//!
//! A tool keeps everything below one directory, which we call a root; there may be several. Whether a root exists is
//! not asked here, because it may appear later.

use crate::observation::Root;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dashboard_core::record::Tool;
use dashboard_core::transcript::{Home, Shape, Transcripts, UsualPlace};

/// Endings of the files beside an SQLite database through which it is written.
const DATABASE_SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

impl Root {
    /// The directories to look into for transcripts, there or not: how deep they lie in each, or at any depth.
    pub fn transcript_dirs(&self) -> Vec<(PathBuf, Option<usize>)> {
        let mut dirs: Vec<(PathBuf, Option<usize>)> = Vec::new();
        for transcripts in self.tool.spec().transcripts {
            let (dir, depth) = (self.dir.join(transcripts.dir()), transcripts.depth());
            match dirs.iter_mut().find(|(known, _)| *known == dir) {
                Some((_, known)) => *known = known.zip(depth).map(|(known, depth)| known.max(depth)),
                None => dirs.push((dir, depth)),
            }
        }
        dirs
    }

    /// Whether there is a directory for transcripts or, where they lie in the root itself, one of these.
    pub fn has_transcripts(&self) -> bool {
        let are_there = |transcripts: &Transcripts| match transcripts.dir() {
            "" => fs::read_dir(&self.dir).is_ok_and(|entries| {
                entries.flatten().any(|entry| transcripts.matches(&entry.file_name().to_string_lossy()))
            }),
            dir => self.dir.join(dir).is_dir(),
        };
        self.tool.spec().transcripts.iter().any(are_there)
    }

    /// How deep below this path transcripts may lie, 0 for the path itself; `None` if none may be there.
    pub fn depth_at(&self, path: &Path) -> Option<usize> {
        let depths = self.transcript_dirs().into_iter().filter_map(|(dir, depth)| {
            let below = path.strip_prefix(&dir).ok()?.components().count();
            depth.unwrap_or(usize::MAX).checked_sub(below)
        });
        depths.max()
    }

    /// The transcript that a change of the file at `path` concerns, or a directory of transcripts; mostly the path.
    pub fn transcript_of(&self, path: PathBuf) -> PathBuf {
        let Some(name) = path.strip_prefix(&self.dir).ok().and_then(Path::to_str) else { return path };
        let spec = self.tool.spec();
        if let Some(transcript) = spec.companion.as_ref().and_then(|companion| (companion.transcript)(name)) {
            return self.dir.join(transcript);
        }
        for side in DATABASE_SIDES {
            let Some(database) = name.strip_suffix(side) else { continue };
            if matches!(spec.transcripts_named(database), Some(Transcripts { shape: Shape::Database(_), .. })) {
                return self.dir.join(database);
            }
        }
        path
    }

    /// Its directory with a file for every running session, if its tool has such a thing.
    pub fn presence_dir(&self) -> Option<PathBuf> {
        self.tool.spec().presence.as_ref().map(|presence| self.dir.join(presence.dir))
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
            variables: Tool::ALL
                .into_iter()
                .flat_map(|tool| tool.spec().home.variables)
                .map(|variable| variable.name)
                .chain(["XDG_CONFIG_HOME", "XDG_DATA_HOME"])
                .filter_map(|name| Some((name, env::var_os(name)?)))
                .collect(),
            home: directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned()),
        }
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(name).map(OsString::as_os_str)
    }

    /// The directories of a variable that holds one, or several with commas between.
    fn listed(&self, name: &str) -> Vec<PathBuf> {
        let list = self.variable(name).map(|list| list.to_string_lossy().into_owned()).unwrap_or_default();
        list.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(|dir| self.expand(dir)).collect()
    }

    /// Where a tool's homes are, there or not.
    fn homes(&self, home: &Home) -> Vec<PathBuf> {
        for variable in home.variables {
            let named = match self.variable(variable.name) {
                Some(_) if variable.is_list => self.listed(variable.name),
                Some(dir) if !dir.is_empty() => vec![PathBuf::from(dir)],
                _ => Vec::new(),
            };
            if !named.is_empty() {
                // Joining nothing would add a slash.
                let below = |dir: PathBuf| if variable.below.is_empty() { dir } else { dir.join(variable.below) };
                return named.into_iter().map(below).collect();
            }
        }
        home.usual.iter().filter_map(|place| self.place(place)).collect()
    }

    fn place(&self, place: &UsualPlace) -> Option<PathBuf> {
        // A relative directory is invalid and to be ignored, says the specification.
        let xdg = |name| self.variable(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let below_home = |dir: &str| self.home.as_ref().map(|home| home.join(dir));
        match place {
            UsualPlace::Home(dir) => below_home(dir),
            UsualPlace::Config(dir) => {
                xdg("XDG_CONFIG_HOME").or_else(|| below_home(".config")).map(|config| config.join(dir))
            }
            UsualPlace::Data(dir) => {
                xdg("XDG_DATA_HOME").or_else(|| below_home(".local/share")).map(|data| data.join(dir))
            }
        }
    }

    /// Inside a list, the shell does not expand `~`.
    fn expand(&self, dir: &str) -> PathBuf {
        match (dir.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(dir),
        }
    }
}

/// A tool's home as the user names it: `TOOL=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedHome {
    /// Whose it is.
    pub tool: Tool,
    /// The directory.
    pub dir: PathBuf,
}

impl FromStr for NamedHome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || format!("allowed: TOOL=DIR with a tool of {}", Tool::ALL.map(Tool::as_str).join(", "));
        let (tool, dir) = text.split_once('=').filter(|(_, dir)| !dir.is_empty()).ok_or_else(allowed)?;
        Ok(Self { tool: tool.parse()?, dir: dir.into() })
    }
}

/// The roots the user named.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredRoots {
    homes: Vec<NamedHome>,
    /// Whether only these are read.
    only_these: bool,
}

impl ConfiguredRoots {
    /// Directories of the default tool, which mean these, and what else is named, and no others; and Codex's home.
    pub fn new(config_dirs: &[PathBuf], codex_home: Option<&Path>) -> Self {
        let home = |tool: Tool, dir: &Path| NamedHome { tool, dir: dir.to_owned() };
        let configured = config_dirs.iter().map(|dir| home(Tool::default(), dir));
        let codex = codex_home.map(|dir| home(Tool::Codex, dir));
        Self { homes: configured.chain(codex).collect(), only_these: !config_dirs.is_empty() }
    }

    /// And these homes, each in place of its tool's usual ones.
    #[must_use]
    pub fn with_homes(mut self, homes: &[NamedHome]) -> Self {
        self.homes.extend_from_slice(homes);
        self
    }

    fn excludes_usual(&self, tool: Tool) -> bool {
        self.only_these || self.homes.iter().any(|home| home.tool == tool)
    }
}

/// The roots: those given, or else those the tools would use. One that is named twice counts once.
pub fn find(given: &ConfiguredRoots, surroundings: &Environment) -> Vec<Root> {
    let mut roots = Vec::new();
    for tool in Tool::ALL {
        let named = given.homes.iter().filter(|home| home.tool == tool).map(|home| home.dir.clone());
        let usual = if given.excludes_usual(tool) { Vec::new() } else { surroundings.homes(&tool.spec().home) };
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
        let of = |tool, variables: &[(&'static str, &str)]| dirs(tool, &[], &home(variables));
        assert_eq!(of(Tool::Gemini, &[]), ["/home/ada/.gemini"]);
        assert_eq!(of(Tool::Gemini, &[("GEMINI_CLI_HOME", "/g")]), ["/g/.gemini"]);
        assert_eq!(of(Tool::OpenCode, &[]), ["/home/ada/.local/share/opencode"]);
        assert_eq!(of(Tool::OpenCode, &[("XDG_DATA_HOME", "/d")]), ["/d/opencode"]);
        assert_eq!(of(Tool::Pi, &[]), ["/home/ada/.pi/agent"]);
        assert_eq!(of(Tool::Pi, &[("PI_CODING_AGENT_DIR", "/p")]), ["/p"]);
        assert_eq!(of(Tool::Copilot, &[("COPILOT_HOME", "/c")]), ["/c"]);
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
        let named: Vec<_> = found(&[], Some("/y"), &surroundings).into_iter().take(2).collect();
        assert_eq!(named, [claude("/a"), codex("/y")]);

        let home: NamedHome = "pi=/p=1".parse().unwrap();
        assert_eq!(home, NamedHome { tool: Tool::Pi, dir: "/p=1".into() });
        assert!("pie=/p".parse::<NamedHome>().unwrap_err().contains("opencode"));
        assert!("pi=".parse::<NamedHome>().is_err() && "pi".parse::<NamedHome>().is_err());
        let roots = |config_dirs: &[PathBuf]| -> Vec<(Tool, PathBuf)> {
            let given = ConfiguredRoots::new(config_dirs, None).with_homes(std::slice::from_ref(&home));
            find(&given, &surroundings).into_iter().map(|root| (root.tool, root.dir)).collect()
        };
        let pi = (Tool::Pi, PathBuf::from("/p=1"));
        assert_eq!(roots(&["/x".into()]), [(Tool::ClaudeCode, "/x".into()), pi.clone()]);
        let all = roots(&[]);
        assert_eq!(all.iter().filter(|(tool, _)| *tool == Tool::Pi).collect::<Vec<_>>(), [&pi]);
        assert_eq!(all.len(), Tool::ALL.len(), "of the others the usual ones");
    }

    #[test]
    fn where_transcripts_may_be() {
        let root = |tool, dir: &str| Root { tool, dir: dir.into(), label: String::new() };
        let opencode = root(Tool::OpenCode, "/o");
        let at = |path: &str| opencode.depth_at(Path::new(path));
        assert_eq!((at("/o/opencode.db-wal"), at("/o/log/x"), at("/x")), (Some(0), None, None));
        assert_eq!((at("/o/storage/message/s"), at("/o/storage/message/s/m.json")), (Some(1), Some(0)));
        assert_eq!(root(Tool::ClaudeCode, "/c").depth_at(Path::new("/c/projects/a/b")), Some(usize::MAX - 2));

        let of = |root: &Root, path: &str| root.transcript_of(path.into()).display().to_string();
        assert_eq!(of(&opencode, "/o/opencode-dev.db-wal"), "/o/opencode-dev.db");
        assert_eq!(of(&opencode, "/o/other.db-wal"), "/o/other.db-wal");
        let claude = root(Tool::ClaudeCode, "/c");
        assert_eq!(of(&claude, "/c/projects/p/agent-a.meta.json"), "/c/projects/p/agent-a.jsonl");
        assert_eq!(of(&root(Tool::Gemini, "/g"), "/g/tmp/p/.project_root"), "/g/tmp/p/chats");
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
