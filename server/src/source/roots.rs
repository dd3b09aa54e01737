//! Which directories hold transcripts.
//!
//! The tool keeps everything below one configuration directory, which we call a root; there may be several. Whether
//! a root exists is not asked here, because it may appear later.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A configuration directory of Claude Code: the one that holds `projects/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The directory.
    pub dir: PathBuf,
    /// What goes before a path below it to make it unique: empty if there is but one root.
    pub label: String,
}

/// Where to look for roots when none is given.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `CLAUDE_CONFIG_DIR`: one directory, or several with commas between.
    pub config_dirs: Option<OsString>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            config_dirs: env::var_os("CLAUDE_CONFIG_DIR"),
            xdg_config_home: env::var_os("XDG_CONFIG_HOME").map(PathBuf::from),
            home: directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned()),
        }
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let listed = self.config_dirs.as_deref().map(|list| list.to_string_lossy().into_owned()).unwrap_or_default();
        let listed: Vec<PathBuf> =
            listed.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(|dir| self.expand(dir)).collect();
        if !listed.is_empty() {
            return listed;
        }
        // A relative XDG_CONFIG_HOME is invalid and to be ignored, says its specification.
        let xdg = self.xdg_config_home.clone().filter(|dir| dir.is_absolute());
        let config = xdg.or_else(|| self.home.as_ref().map(|home| home.join(".config")));
        let by_xdg = config.map(|config| config.join("claude"));
        by_xdg.into_iter().chain(self.home.as_ref().map(|home| home.join(".claude"))).collect()
    }

    /// Inside a list, the shell does not expand `~`.
    fn expand(&self, dir: &str) -> PathBuf {
        match (dir.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(dir),
        }
    }
}

/// The roots: the directories given, or else those the tool would use. One that is named twice counts once.
pub fn find(given: &[PathBuf], surroundings: &Surroundings) -> Vec<Root> {
    let dirs = if given.is_empty() { surroundings.dirs() } else { given.to_vec() };
    let mut unique: Vec<(PathBuf, PathBuf)> = Vec::new();
    for dir in dirs {
        let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        if !unique.iter().any(|(_, known)| *known == real) {
            unique.push((dir, real));
        }
    }
    let several = unique.len() > 1;
    let label = |dir: &Path| if several { format!("{}/", dir.display()) } else { String::new() };
    unique.into_iter().map(|(dir, _)| Root { label: label(&dir), dir }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(given: &[&str], surroundings: &Surroundings) -> Vec<String> {
        let given: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
        find(&given, surroundings).into_iter().map(|root| root.dir.display().to_string()).collect()
    }

    fn home() -> Surroundings {
        Surroundings { home: Some("/home/ada".into()), ..Surroundings::default() }
    }

    #[test]
    fn looks_where_the_tool_writes() {
        assert_eq!(dirs(&[], &home()), ["/home/ada/.config/claude", "/home/ada/.claude"]);
        let xdg = Surroundings { xdg_config_home: Some("/etc/ada".into()), ..home() };
        assert_eq!(dirs(&[], &xdg), ["/etc/ada/claude", "/home/ada/.claude"]);
        let relative = Surroundings { xdg_config_home: Some("ada".into()), ..home() };
        assert_eq!(dirs(&[], &relative), dirs(&[], &home()));
        assert!(dirs(&[], &Surroundings::default()).is_empty());
    }

    #[test]
    fn the_variable_may_list_several() {
        let listed = Surroundings { config_dirs: Some("/a, ~/b,,/a".into()), ..home() };
        assert_eq!(dirs(&[], &listed), ["/a", "/home/ada/b"]);
        let empty = Surroundings { config_dirs: Some(" ".into()), ..home() };
        assert_eq!(dirs(&[], &empty), dirs(&[], &home()));
    }

    #[test]
    fn directories_given_exclude_all_others() {
        let listed = Surroundings { config_dirs: Some("/a".into()), ..home() };
        assert_eq!(dirs(&["/x"], &listed), ["/x"]);
    }

    #[test]
    fn labels_tell_several_roots_apart() {
        let labels = |given: &[&str]| {
            let given: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
            find(&given, &home()).into_iter().map(|root| root.label).collect::<Vec<_>>()
        };
        assert_eq!(labels(&["/x"]), [""]);
        assert_eq!(labels(&["/x", "/y"]), ["/x/", "/y/"]);
    }
}
