//! Which directories hold transcripts.
//!
//! A tool keeps everything below one directory, its root; there may be several. A root need not exist: it may appear
//! later. Every root is absolute and canonical before anything else sees it (see [`canonical`]).

use crate::observation::Root;
use std::fs;
use std::path::{Component, Path, PathBuf};

use dashboard_core::record::Tool;

use super::tools::{self, Adapter};

pub use super::environment::Environment;

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
        self.adapter().presence_dir().map(|dir| self.dir.join(dir))
    }
}

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self::of_process_with(tools::ALL.into_iter().flat_map(Adapter::variables).copied())
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
}

impl TranscriptDir {
    /// The path as files are named here, if it is in this directory; given as named here or as the system has it.
    pub(crate) fn named(&self, path: &Path) -> Option<PathBuf> {
        if path.starts_with(&self.dir) {
            return Some(path.to_owned());
        }
        let below = path.strip_prefix(&self.real).ok()?;
        // Joining nothing would add a slash.
        Some(if below.as_os_str().is_empty() { self.dir.clone() } else { self.dir.join(below) })
    }
}

/// The directories with transcripts of these roots, there or not, so that each file lies in one of them: of several
/// that are the same, the one that is no link or else the first by name; of one in another of the same tool, the outer.
pub(crate) fn transcript_dirs(roots: &[Root]) -> Vec<TranscriptDir> {
    let of_root = |root: &Root| {
        let root = root.clone();
        root.transcript_dirs().map(|dir| (root.clone(), dir)).collect::<Vec<_>>()
    };
    let all: Vec<TranscriptDir> =
        roots.iter().flat_map(of_root).map(|(root, dir)| TranscriptDir { real: canonical(&dir), root, dir }).collect();
    let rank = |it: &TranscriptDir| (it.dir != it.real, it.dir.clone());
    let covers = |other: &TranscriptDir, it: &TranscriptDir| {
        other.root.tool == it.root.tool
            && it.real.starts_with(&other.real)
            && (it.real != other.real || rank(other) < rank(it))
    };
    all.iter().filter(|it| !all.iter().any(|other| covers(other, it))).cloned().collect()
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

/// The roots: those given, or else those the tools would use. One that is named twice, in whatever way, counts once.
pub fn find(given: &ConfiguredRoots, surroundings: &Environment) -> Vec<Root> {
    let mut roots = Vec::new();
    for adapter in tools::ALL {
        let tool = adapter.tool();
        let named = given.dirs.iter().filter(|&&(named, _)| named == tool).map(|(_, dir)| dir.clone());
        let usual = if given.excludes_usual(tool) { Vec::new() } else { adapter.usual_roots(surroundings) };
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
