//! Tools that write documents and databases, followed by the live source while they write, beside a fresh read.
#![allow(clippy::unwrap_used, reason = "a test may")]

use server::observation::{NumberedMessage, Root, SourceMessage};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::record::Record;
use rusqlite::{Connection, params};
use server::commands::report;
use server::health::DashboardHealth;
use server::source;
use server::source::roots::{self, ConfiguredRoots, Environment, NamedHome};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than the source takes to look at everything by itself.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the engine would make of the messages.
struct Follower {
    home: TempDir,
    messages: mpsc::Receiver<NumberedMessage>,
    ledger: Ledger,
    directories: Vec<String>,
    history_read: bool,
    health: DashboardHealth,
}

fn roots_of(home: &Path) -> Vec<Root> {
    let homes: Vec<NamedHome> = ["gemini", "opencode", "pi", "copilot"]
        .map(|tool| format!("{tool}={}", home.join(tool).display()).parse().unwrap())
        .into();
    let given = ConfiguredRoots::new(&[home.join("claude")], None).with_homes(&homes);
    roots::find(&given, &Environment::default())
}

/// Responses, and their tokens of all kinds.
fn sums(ledger: &Ledger, scope: Scope) -> (u64, u64) {
    ledger.responses(scope).fold((0, 0), |(count, sum), it| (count + 1, sum + it.usage.total().0))
}

fn fresh(home: &Path) -> (u64, u64) {
    sums(&report::read_all(&roots_of(home), None).ledger, Scope::OnDisk)
}

impl Follower {
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        prepare(home.path());
        let (sender, messages) = mpsc::channel(4);
        let health = DashboardHealth::default();
        tokio::spawn(source::run(roots_of(home.path()), sender, None, None, health.clone()));
        Self { home, messages, ledger: Ledger::default(), directories: Vec::new(), history_read: false, health }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn next(&mut self) {
        let Ok(message) = timeout(Duration::from_millis(20), self.messages.recv()).await else { return };
        match message.unwrap_or_else(|| panic!("the source stopped")).message {
            SourceMessage::Read { file, records, state, replaces, .. } => {
                let file = self.ledger.file(file.tool, &file.key);
                if replaces {
                    self.ledger.retract(file, &mut |_| {});
                }
                for record in records {
                    match record {
                        Record::Usage(usage) => self.ledger.claim(file, &usage, &mut |_| {}),
                        Record::Session(meta) => self.directories.extend(meta.cwd),
                        _ => {}
                    }
                }
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
            SourceMessage::HistoryRead => self.history_read = true,
            _ => {}
        }
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let found = (sums(&self.ledger, Scope::All), self.history_read, self.health());
            assert!(start.elapsed() < PATIENCE, "waited too long: {what}; {found:?}");
            self.next().await;
        }
    }

    /// Waits until so much is claimed; a fresh read says the same.
    async fn claims(&mut self, what: &str, expected: (u64, u64)) {
        self.until(what, |it| sums(&it.ledger, Scope::OnDisk) == expected).await;
        assert_eq!(fresh(self.home.path()), expected, "{what}");
    }

    /// What health says of transcripts.
    fn health(&self) -> String {
        self.health.check().components.get("transcripts").map(|it| it.message.clone()).unwrap_or_default()
    }
}

fn document(inputs: &[u64]) -> String {
    let message = |(index, input): (usize, &u64)| {
        format!(r#"{{"id":"g{index}","type":"gemini","model":"gemini-3-pro","tokens":{{"input":{input},"output":1}}}}"#)
    };
    let messages: Vec<String> = inputs.iter().enumerate().map(message).collect();
    format!("{{\n  \"sessionId\": \"s\",\n  \"messages\": [{}]\n}}\n", messages.join(",\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_rewritten_while_it_is_followed() {
    const NAME: &str = "gemini/tmp/engine/chats/session-1.json";
    let mut follower = Follower::start(|home| {
        fs::create_dir_all(home.join("gemini/tmp/engine/chats")).unwrap();
        fs::write(home.join("gemini/tmp/engine/.project_root"), "/home/ada/engine").unwrap();
        fs::write(home.join(NAME), document(&[10])).unwrap();
    });
    follower.until("history", |it| it.history_read).await;
    follower.claims("what was there", (1, 11)).await;
    assert_eq!(follower.directories, ["/home/ada/engine"]);
    let whole = document(&[10, 20]);
    fs::write(follower.path(NAME), &whole[..whole.len() / 2]).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    follower.next().await;
    assert_eq!(sums(&follower.ledger, Scope::OnDisk), (1, 11), "half a document changes nothing");
    fs::write(follower.path(NAME), &whole).unwrap();
    follower.claims("a message more", (2, 32)).await;
    fs::write(follower.path(NAME), document(&[10])).unwrap();
    follower.claims("a message less", (1, 11)).await;
    // It is resumed by a newer version: lines, with the same ids.
    let lines: String = [r#"{"sessionId":"s","projectHash":"h"}"#.to_owned()]
        .into_iter()
        .chain([10, 5].iter().enumerate().map(|(index, input)| {
            format!(r#"{{"id":"g{index}","type":"gemini","model":"m","tokens":{{"input":{input},"output":1}}}}"#)
        }))
        .map(|line| line + "\n")
        .collect();
    fs::write(follower.path("gemini/tmp/engine/chats/session-1.jsonl"), lines).unwrap();
    follower.claims("both count once", (2, 17)).await;
    fs::remove_file(follower.path(NAME)).unwrap();
    follower.claims("the document is gone", (2, 17)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_written_by_another_connection_while_it_is_followed() {
    const NAME: &str = "opencode/opencode.db";
    let data = |input: u64| {
        format!(
            r#"{{"role":"assistant","modelID":"claude-sonnet-4-5","time":{{"created":1767261600000}},"tokens":{{"input":{input},"output":1,"cache":{{"read":0,"write":0}}}}}}"#
        )
    };
    let write = |tool: &Connection, id: &str, updated: i64, input: u64| {
        tool.execute(
            "INSERT INTO message VALUES (?1, 'ses_1', 1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET time_updated = ?2, data = ?3",
            params![id, updated, data(input)],
        )
        .unwrap();
    };
    let mut tool = None;
    let mut follower = Follower::start(|home| {
        fs::create_dir_all(home.join("opencode")).unwrap();
        let legacy = home.join("opencode/storage/message/ses_1");
        fs::create_dir_all(&legacy).unwrap();
        let message = data(10).replacen('{', r#"{"id":"msg_1","sessionID":"ses_1","#, 1);
        fs::write(legacy.join("msg_1.json"), message).unwrap();
        let connection = Connection::open(home.join(NAME)).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection
            .execute_batch(
                "CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT, version TEXT);
                 CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER,
                                       time_updated INTEGER, data TEXT);
                 INSERT INTO session VALUES ('ses_1', NULL, '/home/ada/engine', '1.2.3');",
            )
            .unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        tool = Some(connection);
    });
    let tool = tool.unwrap();
    follower.claims("the message that stands in a document", (1, 11)).await;
    write(&tool, "msg_1", 1, 10);
    write(&tool, "msg_2", 2, 0);
    follower.claims("the same message in both, and one under way", (2, 12)).await;
    for input in 1..=50 {
        write(&tool, "msg_2", 2 + i64::try_from(input).unwrap(), input);
    }
    follower.claims("it went on", (2, 11 + 51)).await;
    assert!(follower.directories.iter().any(|it| it == "/home/ada/engine"));

    tool.execute_batch("ALTER TABLE message RENAME TO other").unwrap();
    write_foreign(&mut follower).await;
    assert_eq!(sums(&follower.ledger, Scope::OnDisk), (2, 62), "what it said holds");
    tool.execute_batch("ALTER TABLE other RENAME TO message").unwrap();
    write(&tool, "msg_3", 100, 100);
    follower.claims("it is OpenCode's again", (3, 163)).await;
    drop(tool);
    follower.until("health", |it| !it.health().contains("not a database")).await;
}

/// A database of another shape is named in health, with what to do.
async fn write_foreign(follower: &mut Follower) {
    follower
        .until("health names it", |it| {
            let health = it.health();
            health.contains("opencode.db") && health.contains("not a database of OpenCode")
        })
        .await;
}
