//! What of this process' surroundings decides where tools keep their files.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Where to look for roots when none is given.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables, of those that a tool heeds.
    pub variables: BTreeMap<&'static str, OsString>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Those of this process; of its variables, the ones with these names.
    pub(super) fn of_process_with(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            variables: names.into_iter().filter_map(|name| Some((name, env::var_os(name)?))).collect(),
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
