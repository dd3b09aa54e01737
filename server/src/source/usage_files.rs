//! What a tool's settings say of limits: the vendor's last answer, which the tool keeps there, perhaps long ago.
//!
//! Only the key with that answer, and the ids of the account, are looked at: the rest of the file is none of our business.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use dashboard_core::record::{CachedUsage, ReadingSource, Statement, Tool};

use super::environment::Environment;
use super::roots::canonical;
use crate::observation::{Polled, Root};

/// Longest file read, in bytes: the tool keeps a history of every project in it.
const MAX_SIZE: u64 = 64 << 20;

/// The files as they were when they were last polled.
#[derive(Debug)]
pub(super) struct UsageFiles {
    /// The user's home directory, and the usual homes of tools, whose file lies there.
    home: Option<PathBuf>,
    usual: Vec<(Tool, PathBuf)>,
    seen: BTreeMap<PathBuf, (Polled, Option<CachedUsage>)>,
}

impl UsageFiles {
    /// Those of this process' user.
    pub(super) fn of_process() -> Self {
        Self::new(&Environment::of_process())
    }

    fn new(surroundings: &Environment) -> Self {
        let usual = |tool: Tool| {
            let homes = surroundings.usual_homes(&tool.spec().home);
            homes.into_iter().map(move |dir| (tool, canonical(&dir)))
        };
        let usual = Tool::ALL.into_iter().flat_map(usual).collect();
        Self { home: surroundings.home.clone(), usual, seen: BTreeMap::new() }
    }

    /// Polls again: what is said now where it is another thing than before.
    pub(super) fn poll(&mut self, roots: &[Root]) -> Vec<Statement> {
        let mut statements = Vec::new();
        for root in roots {
            for path in self.files_of(root) {
                let Some(cached) = self.look_at(root.tool, &path) else { continue };
                let CachedUsage { account, fetched_at, limits } = cached;
                let Some(at) = fetched_at else { continue };
                statements.push(Statement { tool: root.tool, source: ReadingSource::CachedUsage, account, at, limits });
            }
        }
        statements
    }

    /// Where a root's file may be: in it, and beside it if it is a usual home.
    fn files_of(&self, root: &Root) -> Vec<PathBuf> {
        let Some(file) = &root.tool.spec().usage_file else { return Vec::new() };
        let is_usual = self.usual.iter().any(|(tool, dir)| *tool == root.tool && *dir == root.dir);
        let beside = self.home.as_ref().filter(|_| is_usual).map(|home| home.join(file.name));
        [Some(root.dir.join(file.name)), beside].into_iter().flatten().collect()
    }

    /// What the file says, if it is another thing than before. One caught while it is being written says what it said.
    fn look_at(&mut self, tool: Tool, path: &Path) -> Option<CachedUsage> {
        let metadata = std::fs::metadata(path).ok().filter(|it| it.is_file() && it.len() <= MAX_SIZE)?;
        let polled = Polled::at(&metadata);
        let known = self.seen.get(path);
        if known.is_some_and(|(before, _)| before.conclusive && before.stamp == polled.stamp) {
            return None;
        }
        let before = known.and_then(|(_, cached)| cached.clone());
        let mut text = Vec::new();
        File::open(path).ok()?.take(MAX_SIZE).read_to_end(&mut text).ok()?;
        let cached = (tool.spec().usage_file.as_ref()?.read)(&text);
        let is_news = cached.is_some() && cached != before;
        self.seen.insert(path.to_owned(), (polled, cached.clone().or(before)));
        cached.filter(|_| is_news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(dir: &Path) -> Root {
        Root { tool: Tool::ClaudeCode, dir: canonical(dir), label: String::new() }
    }

    #[test]
    fn what_is_said_is_told_once_and_again_when_it_changes() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("own");
        std::fs::create_dir(&dir).unwrap();
        let mut files = UsageFiles::new(&Environment::default());
        let roots = [root(&dir)];
        assert!(files.poll(&roots).is_empty());
        let write = |text: &str| std::fs::write(dir.join(".claude.json"), text).unwrap();
        let text = |percent: u32| {
            format!(
                r#"{{"cachedUsageUtilization":{{"fetchedAtMs":1789912800000,"utilization":{{"five_hour":{{"utilization":{percent}}}}}}}}}"#
            )
        };
        write(&text(40));
        let first = files.poll(&roots);
        assert_eq!(first.iter().map(|it| it.limits[0].used_percent).collect::<Vec<_>>(), [Some(40.0)]);
        assert!(files.poll(&roots).is_empty());
        write(&text(40)[..50]);
        assert!(files.poll(&roots).is_empty(), "half a file says nothing");
        write(&text(40));
        assert!(files.poll(&roots).is_empty(), "it says what it said");
        write(&text(41));
        assert_eq!(files.poll(&roots)[0].limits[0].used_percent, Some(41.0));
        write("{}");
        assert!(files.poll(&roots).is_empty());
    }

    #[test]
    fn a_usual_home_has_its_file_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let surroundings = Environment { home: Some(home.path().to_owned()), ..Environment::default() };
        let files = UsageFiles::new(&surroundings);
        let usual = home.path().join(".claude");
        let dir = canonical(&usual);
        assert_eq!(files.files_of(&root(&usual)), [dir.join(".claude.json"), home.path().join(".claude.json")]);
        let other = home.path().join("other");
        assert_eq!(files.files_of(&root(&other)), [canonical(&other).join(".claude.json")]);
        let codex = Root { tool: Tool::Codex, ..root(&usual) };
        assert!(files.files_of(&codex).is_empty());
    }
}
