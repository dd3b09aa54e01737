//! The binary, killed again and again while it reads what is still being written: what its history holds, with the rest
//! read from the files, is at every moment what the files say. `KILLS=200` for more of it.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

const FILES: u64 = 24;
/// Lines of each file before the first start: reading them takes longer than most lives.
const LINES: u64 = 1_500;
/// Longest life, of those that end at any moment.
const LIFE: Duration = Duration::from_millis(1_500);
/// Long enough for the slowest machine; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers that are as good as random, and the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Home {
    dir: tempfile::TempDir,
    chance: Chance,
}

impl Home {
    fn new() -> Self {
        let mut home = Self { dir: tempfile::tempdir().unwrap(), chance: Chance(7) };
        fs::create_dir_all(home.dir.path().join("claude/projects/p")).unwrap();
        for file in 0..FILES {
            let lines: String = (0..LINES).map(|_| home.line(file)).collect();
            fs::write(home.file(file), lines).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, file: u64) -> PathBuf {
        self.path(&format!("claude/projects/p/s{file}.jsonl"))
    }

    /// A response, one of another file, a repetition with other counts, or a damaged line.
    fn line(&mut self, file: u64) -> String {
        let (kind, id) = (self.chance.below(20), self.chance.below(100_000));
        let (input, output) = (self.chance.below(5_000), self.chance.below(900));
        let message = json!({"id": format!("m{id}"), "model": "claude-opus-4-5-20251101",
                             "usage": {"input_tokens": input, "output_tokens": output}});
        let second = id % 60;
        let line = json!({"type": "assistant", "sessionId": format!("s{file}"), "requestId": format!("r{id}"),
                          "timestamp": format!("2026-09-20T10:00:{second:02}Z"), "message": message});
        let mut line = line.to_string();
        if kind == 0 {
            line.truncate(line.len() / 2);
        }
        line + "\n"
    }

    /// Appends something to some file; its last line may be unfinished, and is finished the next time.
    fn append(&mut self) {
        let file = self.chance.below(FILES);
        let mut text = String::new();
        for _ in 0..=self.chance.below(20) {
            let line = self.line(file);
            write!(text, "{line}").unwrap();
        }
        let cut = usize::try_from(self.chance.below(text.len() as u64)).unwrap();
        let mut out = OpenOptions::new().append(true).open(self.file(file)).unwrap();
        out.write_all(&text.as_bytes()[..cut]).unwrap();
        if self.chance.below(2) == 0 {
            out.write_all(&text.as_bytes()[cut..]).unwrap();
        }
    }

    fn command(&self, arguments: &[&str], data_dir: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dashboard"));
        command.args(arguments).env_clear().env("HOME", self.dir.path()).env("XDG_CONFIG_HOME", self.dir.path());
        command.arg("--config-dir").arg(self.path("claude")).arg("--data-dir").arg(self.path(data_dir));
        command.stdout(Stdio::piped());
        command
    }

    fn start(&self) -> Child {
        let arguments = ["start", "--no-browser", "--port", "0", "--timezone", "UTC"];
        self.command(&arguments, "data").stderr(File::create(self.path("log")).unwrap()).spawn().unwrap()
    }

    fn totals(&self, data_dir: &str, more: &[&str]) -> Value {
        let fixed = ["report", "totals", "--json", "--timezone", "UTC", "--now", "2026-09-20T11:00:00Z"];
        let arguments = [&fixed, more].concat();
        let output = self.command(&arguments, data_dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// That two accounts are the same; if not, in what.
fn assert_same(ours: &Value, theirs: &Value, when: &str) {
    let (ours, theirs) = (ours.as_object().unwrap(), theirs.as_object().unwrap());
    let differ = ours.iter().filter(|(name, value)| theirs.get(*name) != Some(value));
    let differ: Vec<_> = differ.map(|(name, _)| name).collect();
    assert!(differ.is_empty() && ours.len() == theirs.len(), "{when}: {differ:?} differ");
}

/// Waits for the banner.
fn ready(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Ctrl+C")), "it ended early");
}

/// How much is in the history.
fn rows(database: &Path) -> i64 {
    // Not there yet, or just being made.
    let count = |open: Connection| open.query_row("SELECT count(*) FROM claims", [], |row| row.get(0));
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(count).unwrap_or(0)
}

/// How many bytes of files the history has read.
fn bytes(database: &Path) -> i64 {
    let count = |open: Connection| open.query_row("SELECT coalesce(sum(bytes), 0) FROM files", [], |row| row.get(0));
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(count).unwrap_or(0)
}

fn check(database: &Path) {
    if database.is_file() {
        let check = |open: Connection| open.query_row("PRAGMA integrity_check", [], |row| row.get(0));
        let found: String = Connection::open(database).and_then(check).unwrap();
        assert_eq!(found, "ok");
    }
}

#[test]
#[cfg(unix)]
fn killed_at_any_moment_it_loses_nothing_and_counts_nothing_twice() {
    let kills: u32 = std::env::var("KILLS").map_or(6, |kills| kills.parse().unwrap());
    let mut home = Home::new();
    let database = home.path("data/history.sqlite");
    let (mut kept, mut grew) = (0, 0);
    for kill in 0..kills {
        let mut child = home.start();
        // At any moment; or soon after something was kept, which is what most of reading is spent on.
        let moment = kill % 2 == 0;
        let life = LIFE * u32::try_from(home.chance.below(1_000)).unwrap() / 1_000;
        let born = Instant::now();
        while if moment { born.elapsed() < life } else { rows(&database) == kept && born.elapsed() < PATIENCE } {
            home.append();
            thread::sleep(Duration::from_millis(home.chance.below(60)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_same(&home.totals("data", &[]), &home.totals("empty", &[]), &format!("kill {kill}"));
        let now = rows(&database);
        grew += u32::from(now > kept);
        kept = now;
        check(&database);
        if kill % 5 == 4 {
            // Once more from nothing.
            fs::remove_dir_all(home.path("data")).unwrap();
            kept = 0;
        }
    }
    println!("{kills} kills; the history grew in {grew} lives, to {kept} claims");

    // Told to stop, it has written all it read; so what is deleted now is known from the history alone.
    let mut child = home.start();
    ready(&mut child);
    // What came faster than it could be written has been read again by then.
    let sizes: u64 = (0..FILES).map(|file| fs::metadata(home.file(file)).unwrap().len()).sum();
    let (read, begun) = (|path: &Path| bytes(path) == i64::try_from(sizes).unwrap(), Instant::now());
    while !read(&database) {
        assert!(child.try_wait().unwrap().is_none(), "{}", fs::read_to_string(home.path("log")).unwrap());
        assert!(begun.elapsed() < PATIENCE, "{} of {sizes} bytes are in the history", bytes(&database));
        thread::sleep(Duration::from_millis(100));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let before = home.totals("data", &[]);
    assert_same(&before, &home.totals("empty", &[]), "at the end");
    assert!(before["responses"].as_u64() > Some(FILES * LINES / 2), "{}", before["responses"]);
    fs::remove_file(home.file(0)).unwrap();
    let on_disk = home.totals("data", &["--on-disk"]);
    assert_same(&on_disk, &home.totals("empty", &["--on-disk"]), "on disk");
    let after = home.totals("data", &[]);
    for figure in ["responses", "total", "cost_usd"] {
        assert_eq!(after[figure], before[figure], "{figure}");
        assert_ne!(after[figure], on_disk[figure], "{figure}");
    }
    // Even if nothing is left on the disk.
    fs::remove_dir_all(home.path("claude/projects")).unwrap();
    let gone = home.totals("data", &[]);
    for figure in ["responses", "total", "cost_usd"] {
        assert_eq!(gone[figure], before[figure], "{figure}");
    }
}
