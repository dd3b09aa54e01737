//! What of this process' surroundings decides where tools keep their files.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use dashboard_core::record::Tool;
use dashboard_core::transcript::{Home, UsualPlace};

/// Where to look for roots when none is given.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables, of those that a tool heeds.
    pub variables: BTreeMap<&'static str, OsString>,
    /// The home directory.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Those of this process; of its variables, the ones that say where tools have their homes.
    pub fn of_process() -> Self {
        let names = Tool::ALL.into_iter().flat_map(|tool| tool.spec().home.variables).map(|variable| variable.name);
        let names = names.chain(["XDG_CONFIG_HOME", "XDG_DATA_HOME"]);
        Self {
            variables: names.filter_map(|name| Some((name, env::var_os(name)?))).collect(),
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
    pub(super) fn homes(&self, home: &Home) -> Vec<PathBuf> {
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
        self.usual_homes(home)
    }

    /// Where a tool's homes are if no variable says otherwise.
    pub(super) fn usual_homes(&self, home: &Home) -> Vec<PathBuf> {
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
