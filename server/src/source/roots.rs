//! Which directories hold transcripts.
//!
//! A tool keeps everything below one directory, its root; there may be several. A root need not exist: it may appear
//! later. Every root is absolute and canonical before anything else sees it (see [`canonical`]).

use crate::observation::Root;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use dashboard_core::record::Tool;
use dashboard_core::transcript::{Shape, Transcripts};

pub use super::environment::Environment;

/// Endings of the files beside an SQLite database through which it is written.
const DATABASE_SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

impl Root {
    /// The directories to look into for transcripts, there or not: how deep they lie in each, or at any depth.
    pub fn transcript_dirs(&self) -> Vec<(PathBuf, Option<usize>)> {
        let mut dirs: Vec<(PathBuf, Option<usize>)> = Vec::new();
        for transcripts in self.tool.spec().transcripts {
            let depth = transcripts.depth();
            // Joining nothing would add a slash.
            let dir = match transcripts.dir() {
                "" => self.dir.clone(),
                dir => self.dir.join(dir),
            };
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

    /// Gives the root its canonical name if it was made, as a link, after it had been named.
    pub(crate) fn resolve(&mut self) {
        let dir = canonical(&self.dir);
        if dir != self.dir {
            if !self.label.is_empty() {
                self.label = label_of(&dir);
            }
            self.dir = dir;
        }
    }

    /// Its directory with a file for every running session, if its tool has such a thing.
    pub fn presence_dir(&self) -> Option<PathBuf> {
        self.tool.spec().presence.as_ref().map(|presence| self.dir.join(presence.dir))
    }
}

/// Most links that are followed one after the other: beyond, they are taken for a circle.
const MAX_LINKS: u32 = 40;

/// The one name of a directory, however it was spelled: absolute, without links, `.`, `..` or a trailing slash. What
/// does not exist yet is named from the part that does, and has the same name once it exists, unless it is made as a
/// link; [`Root::resolve`] sees to that.
pub fn canonical(dir: &Path) -> PathBuf {
    resolved(dir, MAX_LINKS)
}

fn resolved(dir: &Path, links_left: u32) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let mut missing: Vec<Component<'_>> = Vec::new();
    let mut existing = absolute.as_path();
    let base = loop {
        if let Ok(real) = existing.canonicalize() {
            break real;
        }
        if links_left > 0
            && let Ok(target) = fs::read_link(existing)
        {
            // A link to what does not exist yet, such as a directory of a disk that is not mounted.
            let target = existing.parent().unwrap_or(existing).join(target);
            break resolved(&target, links_left - 1);
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(part)) => {
                missing.push(part);
                existing = parent;
            }
            _ => break existing.to_owned(),
        }
    };
    missing.into_iter().rev().fold(base, |mut path, part| {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
        path
    })
}

/// A directory that is walked and watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TranscriptDir {
    /// Its root.
    pub(crate) root: Root,
    /// What it is called: below the root's directory. Files in it are named after it.
    pub(crate) dir: PathBuf,
    /// Where it is, if it or something between it and the root is a link: what the system reports changes of.
    pub(crate) real: PathBuf,
    /// How many parts the paths of transcripts have below it at most; `None` if any number.
    pub(crate) depth: Option<usize>,
}

impl TranscriptDir {
    /// The path as files are named here, if it is in this directory and no deeper than transcripts are; given as named
    /// here or as the system has it.
    pub(crate) fn named(&self, path: &Path) -> Option<PathBuf> {
        let named = if path.starts_with(&self.dir) {
            path.to_owned()
        } else {
            let below = path.strip_prefix(&self.real).ok()?;
            // Joining nothing would add a slash.
            if below.as_os_str().is_empty() { self.dir.clone() } else { self.dir.join(below) }
        };
        self.depth_below(&named).map(|_| named)
    }

    /// How deep below this path, as files are named here, transcripts may lie; `None` if none may be there.
    pub(crate) fn depth_below(&self, path: &Path) -> Option<usize> {
        let below = path.strip_prefix(&self.dir).ok()?.components().count();
        self.depth.unwrap_or(usize::MAX).checked_sub(below)
    }
}

/// The directories with transcripts of these roots, there or not, so that each file lies in one of them: of several
/// that are the same, the one that is no link or else the first by name; of one in another of the same tool, the outer.
pub(crate) fn transcript_dirs(roots: &[Root]) -> Vec<TranscriptDir> {
    let of_root = |root: &Root| {
        let root = root.clone();
        let dirs = root.transcript_dirs().into_iter();
        dirs.map(move |(dir, depth)| TranscriptDir { real: canonical(&dir), root: root.clone(), dir, depth })
    };
    let all: Vec<TranscriptDir> = roots.iter().flat_map(of_root).collect();
    let rank = |it: &TranscriptDir| (it.dir != it.real, it.dir.clone());
    let covers = |other: &TranscriptDir, it: &TranscriptDir| {
        other.root.tool == it.root.tool
            && it.real.strip_prefix(&other.real).is_ok_and(|below| {
                // It is looked into as deep as this one.
                let levels = below.components().count();
                other.depth.is_none_or(|depth| it.depth.is_some_and(|deep| levels + deep <= depth))
            })
            && (it.real != other.real || rank(other) < rank(it))
    };
    all.iter().filter(|it| !all.iter().any(|other| covers(other, it))).cloned().collect()
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
        let configured = config_dirs.iter().map(|dir| home(Tool::DEFAULT, dir));
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

/// The roots: those given, or else those the tools would use. One that is named twice, in whatever way, counts once.
pub fn find(given: &ConfiguredRoots, surroundings: &Environment) -> Vec<Root> {
    let mut roots = Vec::new();
    for tool in Tool::ALL {
        let named = given.homes.iter().filter(|home| home.tool == tool).map(|home| home.dir.clone());
        let usual = if given.excludes_usual(tool) { Vec::new() } else { surroundings.homes(&tool.spec().home) };
        let mut unique: Vec<PathBuf> = Vec::new();
        for dir in named.chain(usual).map(|dir| canonical(&dir)) {
            if !unique.contains(&dir) {
                unique.push(dir);
            }
        }
        let several = unique.len() > 1;
        let label = |dir: &Path| if several { label_of(dir) } else { String::new() };
        roots.extend(unique.into_iter().map(|dir| Root { tool, label: label(&dir), dir }));
    }
    roots
}

fn label_of(dir: &Path) -> String {
    format!("{}/", dir.display())
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
        let dirs = transcript_dirs(std::slice::from_ref(&opencode));
        assert_eq!(
            dirs.iter().map(|it| (it.dir.to_str().unwrap(), it.depth)).collect::<Vec<_>>(),
            [("/o", Some(1)), ("/o/storage/message", Some(2))],
            "the first does not reach into the second"
        );
        let named = |path: &str| dirs.iter().any(|dir| dir.named(Path::new(path)).is_some());
        assert!(named("/o/opencode.db-wal") && named("/o/storage/message/s/m.json"));
        assert!(!named("/o/log/x") && !named("/o/storage/message/s/m/n"));

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

    #[test]
    fn a_directory_has_one_name_however_it_is_spelled() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("x/sub")).unwrap();
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(home.strip_prefix("/").unwrap()).join("x");
        assert!(relative.is_relative());
        let mut spellings =
            vec![home.join("x"), home.join("x/"), home.join("./x"), home.join("x/sub/.."), relative.clone()];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(home.join("x"), home.join("link")).unwrap();
            spellings.push(home.join("link"));
            spellings.push(home.join("link/"));
        }
        for dir in &spellings {
            let roots = find(&ConfiguredRoots::new(std::slice::from_ref(dir), None), &Environment::default());
            assert_eq!(roots[0].dir, home.join("x"), "{}", dir.display());
        }
        let roots = find(&ConfiguredRoots::new(&spellings, None), &Environment::default());
        assert_eq!(roots.len(), 1, "{roots:?}");
        assert_eq!(roots[0].label, "");
    }

    #[test]
    fn what_does_not_exist_yet_is_the_same_root_once_it_does() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let dir = home.join("a/../b/./c/");
        let mut root = Root { tool: Tool::ClaudeCode, dir: canonical(&dir), label: String::new() };
        assert_eq!(root.dir, home.join("b/c"));
        fs::create_dir_all(home.join("b/c")).unwrap();
        root.resolve();
        assert_eq!(root.dir, canonical(&home.join("b/c")));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_what_comes_later_are_followed() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        symlink("disk/claude", home.join("dangling")).unwrap();
        assert_eq!(canonical(&home.join("dangling/.")), home.join("disk/claude"));
        symlink("circle", home.join("circle")).unwrap();
        assert_eq!(canonical(&home.join("circle")), home.join("circle"));
        // Made as a link after it was named.
        let mut root = Root { tool: Tool::ClaudeCode, dir: canonical(&home.join("late")), label: "x/".to_owned() };
        fs::create_dir(home.join("real")).unwrap();
        symlink("real", home.join("late")).unwrap();
        root.resolve();
        assert_eq!((root.dir.clone(), root.label), (home.join("real"), format!("{}/", home.join("real").display())));
    }

    #[cfg(unix)]
    #[test]
    fn each_file_lies_in_one_directory() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("a/projects/projects")).unwrap();
        fs::create_dir(home.join("b")).unwrap();
        symlink(home.join("a/projects"), home.join("b/projects")).unwrap();
        let dirs = |given: &[&str]| {
            let given: Vec<PathBuf> = given.iter().map(|name| home.join(name)).collect();
            let roots = find(&ConfiguredRoots::new(&given, None), &Environment::default());
            transcript_dirs(&roots).into_iter().map(|it| it.dir).collect::<Vec<_>>()
        };
        for given in [["a", "b"], ["b", "a"]] {
            assert_eq!(dirs(&given), [home.join("a/projects")], "the one that is no link");
        }
        for given in [["a", "a/projects"], ["a/projects", "a"]] {
            assert_eq!(dirs(&given), [home.join("a/projects")], "the outer one");
        }
        let [linked] =
            &transcript_dirs(&find(&ConfiguredRoots::new(&[home.join("b")], None), &Environment::default()))[..]
        else {
            panic!("one directory")
        };
        let event = home.join("a/projects/p/s.jsonl");
        assert_eq!(linked.named(&event), Some(home.join("b/projects/p/s.jsonl")));
        assert_eq!(linked.named(&home.join("a/projects")), Some(home.join("b/projects")));
        assert_eq!(linked.named(&home.join("elsewhere")), None);
    }
}
