//! The live source beside a fresh read: whatever happens to the files, both must arrive at the same figures.
#![allow(clippy::unwrap_used, reason = "a test may")]

use server::observation::{NumberedMessage, Root, SourceMessage};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::record::{FileCounts, Presence, Record};
use dashboard_core::units::TokenUsage;
use server::commands::report;
use server::health::DashboardHealth;
use server::source;
use server::source::roots::{self, ConfiguredRoots, Environment};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than the source takes to look at everything by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the engine would make of the messages.
struct Follower {
    home: TempDir,
    messages: mpsc::Receiver<NumberedMessage>,
    ledger: Ledger,
    running: Vec<Presence>,
    agents: Vec<Record>,
    history_read: bool,
    failures: Vec<String>,
    health: DashboardHealth,
}

#[derive(Debug, PartialEq)]
struct Figures {
    usage: TokenUsage,
    responses: u64,
    duplicates: u64,
    files: u64,
    counts: FileCounts,
}

impl Follower {
    /// Follows a directory that `prepare` has filled.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        Self::start_with(prepare, roots_of)
    }

    /// The same, with the roots that `roots` names.
    fn start_with(prepare: impl FnOnce(&Path), roots: impl FnOnce(&Path) -> Vec<Root>) -> Self {
        let home = tempfile::tempdir().unwrap();
        prepare(home.path());
        let (sender, messages) = mpsc::channel(4);
        let health = DashboardHealth::default();
        tokio::spawn(source::run(roots(home.path()), sender, None, None, health.clone()));
        let (ledger, running, agents, failures) = (Ledger::default(), vec![], vec![], vec![]);
        Self { home, messages, ledger, running, agents, history_read: false, failures, health }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn next(&mut self) -> bool {
        let Ok(message) = timeout(Duration::from_millis(20), self.messages.recv()).await else { return false };
        match message.unwrap_or_else(|| panic!("the source stopped")).message {
            SourceMessage::Read { file, records, rejections, state, replaces } => {
                let file = self.ledger.file(file.tool, &file.key);
                if replaces {
                    self.ledger.retract(file, &mut |_| {});
                }
                for record in records {
                    match record {
                        Record::Usage(usage) => self.ledger.claim(file, &usage, &mut |_| {}),
                        Record::Lineage(lineage) => self.ledger.lineage(file, &lineage, &mut |_| {}),
                        Record::Agent(_) => self.agents.push(record),
                        _ => {}
                    }
                }
                rejections.into_iter().for_each(|rejection| self.ledger.reject(file, rejection));
                self.ledger.set_counts(file, state.counts);
            }
            SourceMessage::Retract { file } => {
                let file = self.ledger.file(file.tool, &file.key);
                self.ledger.retract(file, &mut |_| {});
            }
            SourceMessage::Archive { file } => {
                let file = self.ledger.file(file.tool, &file.key);
                self.ledger.archive(file);
            }
            SourceMessage::Presence(running) => self.running = running,
            SourceMessage::Failure(failure) => self.failures.push(failure.error),
            SourceMessage::Progress(_)
            | SourceMessage::Current { .. }
            | SourceMessage::Recalled(_)
            | SourceMessage::Repeated { .. }
            | SourceMessage::EverythingRepeated
            | SourceMessage::Statement(_)
            | SourceMessage::StatusLine { .. } => {}
            SourceMessage::HistoryRead => {
                assert!(!self.history_read, "said once");
                self.history_read = true;
            }
        }
        true
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "waited too long: {what}");
            self.next().await;
        }
    }

    fn figures(&self, scope: Scope) -> Figures {
        let (mut usage, mut responses) = (TokenUsage::default(), 0);
        for response in self.ledger.responses(scope) {
            usage += response.usage;
            responses += 1;
        }
        let (counts, files) = (self.ledger.counts(scope), self.ledger.file_count(scope));
        Figures { usage, responses, duplicates: counts.usage_records - responses, files, counts }
    }

    /// Waits until the figures are those of a fresh read, and sees that they stay so.
    async fn settles(&mut self, what: &str) {
        let fresh = fresh(self.home.path());
        let start = Instant::now();
        while self.figures(Scope::OnDisk) != fresh {
            let found = self.figures(Scope::OnDisk);
            assert!(start.elapsed() < PATIENCE, "{what}: {found:?} instead of {fresh:?}");
            self.next().await;
        }
        while self.next().await {}
        assert_eq!(self.figures(Scope::OnDisk), fresh, "{what}");
    }
}

fn roots_of(dir: &Path) -> Vec<Root> {
    roots::find(&ConfiguredRoots::new(&[dir.to_owned()], Some(&dir.join("codex"))), &Environment::default())
}

fn fresh(dir: &Path) -> Figures {
    let ledger = report::read_all(&roots_of(dir), None).ledger;
    let mut usage = TokenUsage::default();
    ledger.responses(Scope::OnDisk).for_each(|response| usage += response.usage);
    let (responses, counts) = (ledger.responses(Scope::OnDisk).count() as u64, ledger.counts(Scope::OnDisk));
    let duplicates = counts.usage_records - responses;
    Figures { usage, responses, duplicates, files: ledger.file_count(Scope::OnDisk), counts }
}

fn line(id: u64, output: u64) -> String {
    format!(
        "{{\"type\":\"assistant\",\"requestId\":\"r\",\"message\":{{\"id\":\"m{id}\",\"model\":\"m\",\"usage\":{{\"output_tokens\":{output}}}}}}}\n"
    )
}

/// A line of the tool whose file this is. In Codex's, numbers above 15 say of which session it is.
fn line_for(name: &str, id: u64, output: u64) -> String {
    if !name.starts_with("codex/") {
        return line(id, output);
    }
    if id > 15 {
        let (session, parent) = (output % 3, output % 5);
        return format!(
            "{{\"type\":\"session_meta\",\"payload\":{{\"id\":\"s{session}\",\"forked_from_id\":\"s{parent}\"}}}}\n"
        );
    }
    let (last, total) = (id % 3, id % 4);
    format!(
        "{{\"type\":\"event_msg\",\"payload\":{{\"type\":\"token_count\",\"info\":{{\"total_token_usage\":{{\"input_tokens\":{total}}},\"last_token_usage\":{{\"input_tokens\":{last}}}}}}}}}\n"
    )
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn append(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_is_reported_at_once() {
    let name = "projects/p/s.jsonl";
    let follower = Follower::start(|home| write(&home.join(name), &line(0, 1)));
    appends_are_notified(follower, name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_directory_is_watched_like_an_absolute_one() {
    let name = "projects/p/s.jsonl";
    let relative = |home: &Path| {
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let dir = up.join(home.strip_prefix("/").unwrap()).join("");
        assert!(dir.is_relative());
        roots::find(&ConfiguredRoots::new(&[dir], None), &Environment::default())
    };
    let follower = Follower::start_with(|home| write(&home.join(name), &line(0, 1)), relative);
    appends_are_notified(follower, name).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_behind_a_link_is_watched_new_projects_in_it_too() {
    use std::os::unix::fs::symlink;
    let follower = Follower::start(|home| {
        write(&home.join("disk/old/s.jsonl"), &line(0, 1));
        symlink(home.join("disk"), home.join("projects")).unwrap();
    });
    fs::create_dir(follower.path("disk/new")).unwrap();
    write(&follower.path("disk/new/s.jsonl"), "\n");
    appends_are_notified(follower, "disk/new/s.jsonl").await;
}

/// Appends to the file at `name` are reported sooner than by looking around.
async fn appends_are_notified(mut follower: Follower, name: &str) {
    follower.until("history", |it| it.history_read).await;
    follower.settles("history").await;
    let mut waits = Vec::new();
    for id in 1..=50 {
        let appended = Instant::now();
        append(&follower.path(name), &line(id, 1));
        follower.until("the line", |it| it.figures(Scope::All).responses == id + 1).await;
        waits.push(appended.elapsed());
    }
    waits.sort_unstable();
    println!("append to message: median {:?}, longest {:?}", waits[waits.len() / 2], waits[waits.len() - 1]);
    // Without the watcher, it would take up to two seconds.
    assert!(waits[waits.len() / 2] < Duration::from_millis(500));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn each_file_is_read_once_through_links_and_roots_in_roots() {
    use std::os::unix::fs::symlink;
    let anonymous = "{\"message\":{\"usage\":{\"output_tokens\":5}}}\n";
    let several = |home: &Path| {
        let given = ["a", "a/projects", "b", "c"].map(|name| home.join(name));
        roots::find(&ConfiguredRoots::new(&given, None), &Environment::default())
    };
    let prepare = |home: &Path| {
        write(&home.join("a/projects/p/s.jsonl"), anonymous);
        write(&home.join("a/projects/projects/p/s.jsonl"), anonymous);
        fs::create_dir(home.join("b")).unwrap();
        symlink(home.join("a/projects"), home.join("b/projects")).unwrap();
        symlink(home.join("a"), home.join("c")).unwrap();
    };
    let mut follower = Follower::start_with(prepare, several);
    follower.until("history", |it| it.history_read).await;
    append(&follower.path("b/projects/p/s.jsonl"), anonymous);
    follower.until("an append", |it| it.figures(Scope::All).responses >= 3).await;
    while follower.next().await {}
    assert_eq!((follower.figures(Scope::All).responses, follower.figures(Scope::All).files), (3, 2));
    let reading = report::read_all(&several(follower.home.path()), None);
    assert_eq!(reading.ledger.responses(Scope::All).count(), 3);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_utf8_is_read_and_kept_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let odd = |home: &Path, byte: u8| {
        home.join("projects/p").join(OsStr::from_bytes(&[b'a', byte, b'.', b'j', b's', b'o', b'n', b'l']))
    };
    let mut follower = Follower::start(|home| {
        write(&odd(home, 0xe9), &line(1, 1));
        write(&odd(home, 0xe8), &line(2, 1));
    });
    follower.settles("history").await;
    append(&odd(follower.home.path(), 0xe9), &line(3, 1));
    follower.settles("an append").await;
    assert_eq!((follower.figures(Scope::All).responses, follower.figures(Scope::All).files), (3, 2));
    fs::remove_file(odd(follower.home.path(), 0xe8)).unwrap();
    follower.settles("a deletion").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_may_come_later() {
    let mut follower = Follower::start(|home| fs::remove_dir(home).unwrap());
    follower.until("an empty history", |it| it.history_read).await;
    write(&follower.path("projects/p/s/subagents/agent-a1.jsonl"), &line(1, 2));
    write(&follower.path("projects/p/s/subagents/agent-a1.meta.json"), r#"{"agentType":"explorer","description":"x"}"#);
    let pid = std::process::id();
    write(&follower.path(&format!("sessions/{pid}.json")), &format!(r#"{{"pid":{pid},"sessionId":"s"}}"#));
    follower.settles("a root that came").await;
    follower.until("the session that runs", |it| it.running.len() == 1).await;
    follower.until("the agent's kind", |it| it.agents.len() == 1).await;
    fs::remove_file(follower.path(&format!("sessions/{pid}.json"))).unwrap();
    follower.until("its end", |it| it.running.is_empty()).await;
    // A tree that is there at once.
    write(&follower.path("elsewhere/a/b/s2.jsonl"), &line(2, 2));
    fs::rename(follower.path("elsewhere"), follower.path("projects/moved")).unwrap();
    follower.settles("a tree moved in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codex_session_is_followed_and_put_away() {
    let name = "codex/sessions/2026/09/20/rollout-a.jsonl";
    let rows: String = [16, 1, 1, 2].map(|id| line_for(name, id, 1)).concat();
    let mut follower = Follower::start(|home| write(&home.join(name), &rows));
    follower.settles("history").await;
    assert_eq!(follower.figures(Scope::All).responses, 2);
    append(&follower.path(name), &line_for(name, 3, 1));
    follower.settles("a row").await;
    assert_eq!(follower.figures(Scope::All).responses, 3);
    // The tool moves a session's file when it is put away, into a directory that may be new.
    fs::create_dir_all(follower.path("codex/archived_sessions")).unwrap();
    fs::rename(follower.path(name), follower.path("codex/archived_sessions/rollout-a.jsonl")).unwrap();
    // Until the new directory is noticed, it is as if the session had been deleted.
    follower.until("a session gone", |it| it.figures(Scope::OnDisk).files == 0).await;
    assert_eq!(follower.figures(Scope::All).responses, 3);
    follower.until("a session put away", |it| it.figures(Scope::OnDisk).files == 1).await;
    follower.settles("a session put away").await;
    follower.until("nothing counts twice", |it| it.figures(Scope::All).responses == 3).await;
    assert_eq!(follower.running.len(), 0, "there are no files for running sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_files_count_and_renamed_ones_count_once() {
    let anonymous = "{\"message\":{\"usage\":{\"output_tokens\":5}}}\n";
    let mut follower = Follower::start(|home| {
        write(&home.join("projects/p/a.jsonl"), anonymous);
        write(&home.join("projects/p/b.jsonl"), anonymous);
    });
    follower.settles("history").await;
    fs::remove_file(follower.path("projects/p/a.jsonl")).unwrap();
    follower.settles("a deletion").await;
    assert_eq!(follower.figures(Scope::All).responses, 2, "what was deleted still counts");

    fs::rename(follower.path("projects/p/b.jsonl"), follower.path("projects/p/c.jsonl")).unwrap();
    follower.settles("a rename").await;
    follower.until("nothing counts twice", |it| it.figures(Scope::All).responses == 2).await;
    append(&follower.path("projects/p/c.jsonl"), anonymous);
    fs::rename(follower.path("projects/p"), follower.path("projects/q")).unwrap();
    follower.settles("a directory renamed").await;
    follower.until("nothing counts twice", |it| it.figures(Scope::All).responses == 3).await;

    write(&follower.path("projects/p/a.jsonl"), anonymous);
    follower.settles("a file that came back").await;
    assert_eq!(follower.figures(Scope::All).responses, 3);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let mut follower = Follower::start(|home| {
        write(&home.join("elsewhere/s.jsonl"), &line(1, 1));
        write(&home.join("projects/p/s.jsonl"), &line(2, 1));
        symlink(home.join("elsewhere"), home.join("projects/link")).unwrap();
    });
    follower.settles("history").await;
    symlink(follower.path("elsewhere/s.jsonl"), follower.path("projects/p/link.jsonl")).unwrap();
    append(&follower.path("elsewhere/s.jsonl"), &line(3, 1));
    append(&follower.path("projects/link/s.jsonl"), &line(4, 1));
    append(&follower.path("projects/p/s.jsonl"), &line(5, 1));
    follower.settles("links").await;
    assert_eq!(follower.figures(Scope::All).responses, 2);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_reported_and_the_rest_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let closed = "projects/closed/s.jsonl";
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mut follower = Follower::start(|home| {
        write(&home.join(closed), &line(1, 1));
        write(&home.join("projects/open/s.jsonl"), &line(2, 1));
        mode(&home.join(closed), 0);
    });
    if File::open(follower.path(closed)).is_ok() {
        eprintln!("not tested: this user may read everything");
        return;
    }
    follower.until("the failure", |it| !it.failures.is_empty()).await;
    assert_eq!(follower.figures(Scope::All).responses, 1);
    mode(&follower.path(closed), 0o600);
    follower.until("the rest", |it| it.figures(Scope::All).responses == 2).await;
    let healthy = |it: &Follower| it.health.check().components["transcripts"].message == "2 files";
    follower.until("health", healthy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_moves_away_is_named_and_the_rest_goes_on() {
    let two = |home: &Path| {
        let given = ["a", "b"].map(|name| home.join(name));
        roots::find(&ConfiguredRoots::new(&given, None), &Environment::default())
    };
    let prepare = |home: &Path| {
        write(&home.join("a/projects/p/s.jsonl"), &line(1, 1));
        write(&home.join("b/projects/p/s.jsonl"), &line(2, 1));
    };
    let mut follower = Follower::start_with(prepare, two);
    follower.until("history", |it| it.history_read).await;
    let message = |it: &Follower| it.health.check().components["transcripts"].message.clone();
    fs::rename(follower.path("a"), follower.path("elsewhere")).unwrap();
    let named = follower.path("a").display().to_string();
    follower
        .until("what is gone, and what to do", |it| {
            let message = message(it);
            message.contains(&named) && message.contains("--config-dir")
        })
        .await;
    append(&follower.path("b/projects/p/s.jsonl"), &line(3, 1));
    follower.until("the rest", |it| it.figures(Scope::All).responses == 3).await;
    fs::rename(follower.path("elsewhere"), follower.path("a")).unwrap();
    follower.until("its return", |it| message(it) == "2 files").await;
    append(&follower.path("a/projects/p/s.jsonl"), &line(4, 1));
    follower.until("an append", |it| it.figures(Scope::OnDisk).responses == 4).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_loses_its_permission_is_named_and_heals() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mut follower = Follower::start(|home| {
        write(&home.join("projects/closed/s.jsonl"), &line(1, 1));
        write(&home.join("projects/open/s.jsonl"), &line(2, 1));
    });
    follower.until("history", |it| it.history_read).await;
    let closed = follower.path("projects/closed");
    mode(&closed, 0);
    if fs::read_dir(&closed).is_ok() {
        mode(&closed, 0o700);
        eprintln!("not tested: this user may read everything");
        return;
    }
    let message = |it: &Follower| it.health.check().components["transcripts"].message.clone();
    let named = closed.display().to_string();
    follower.until("what cannot be read", |it| message(it).contains(&named)).await;
    assert!(message(&follower).contains("permissions"));
    append(&follower.path("projects/open/s.jsonl"), &line(3, 1));
    follower.until("the rest", |it| it.figures(Scope::OnDisk).responses == 3).await;
    mode(&closed, 0o700);
    append(&closed.join("s.jsonl"), &line(4, 1));
    follower.until("all of it", |it| it.figures(Scope::OnDisk).responses == 4 && message(it) == "2 files").await;
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_files_the_figures_are_those_of_a_fresh_read() {
    let names = [
        "projects/p/a.jsonl",
        "projects/p/b.jsonl",
        "projects/p/s/subagents/agent-c.jsonl",
        "projects/q/d.jsonl",
        "codex/sessions/2026/09/20/rollout-e.jsonl",
        "codex/sessions/2026/09/21/rollout-f.jsonl",
        "codex/archived_sessions/rollout-g.jsonl",
    ];
    let mut dice = Dice(7);
    let mut follower = Follower::start(|home| {
        for (id, name) in names.iter().enumerate() {
            write(&home.join(name), &line_for(name, id as u64, 3).repeat(1 + id));
        }
    });
    follower.settles("history").await;
    for round in 0..60 {
        for _ in 0..=dice.below(6) {
            let name = names[usize::try_from(dice.below(names.len() as u64)).unwrap()];
            let path = follower.path(name);
            let text = line_for(name, dice.below(20), dice.below(1000));
            let old = fs::read(&path).unwrap_or_default();
            let cut = usize::try_from(dice.below(old.len() as u64 + 1)).unwrap();
            match dice.below(12) {
                0 => append(&path, &text[..text.len() / 2]),
                1 => append(&path, text.trim_end()),
                2 => append(&path, "\n"),
                3 => append(&path, "garbage\n\0\0"),
                4 if path.exists() => OpenOptions::new().write(true).open(&path).unwrap().set_len(cut as u64).unwrap(),
                5 => write(&path, &text),
                6 => write(&path, &(text + &String::from_utf8_lossy(&old))),
                7 if path.exists() => {
                    let other = path.with_extension("tmp");
                    write(&other, &text.repeat(3));
                    fs::rename(&other, &path).unwrap();
                }
                8 if path.exists() => fs::remove_file(&path).unwrap(),
                _ => append(&path, &text),
            }
            if dice.below(3) == 0 {
                tokio::time::sleep(Duration::from_millis(dice.below(8))).await;
                while follower.next().await {}
            }
        }
        follower.settles(&format!("round {round}")).await;
    }
}
