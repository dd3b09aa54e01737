//! What is reported while files are touched, rewritten, renamed, damaged, or read in slices.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dashboard_core::record::{Record, Tool};
use dashboard_core::time::Timestamp;
use tokio::sync::mpsc;

use super::budget::Budget;
use super::engine::Engine;
use super::repeats::{Repeats, StoreFeed};
use super::transcripts::Transcripts;
use super::wakeup::Wakeup;
use crate::health::DashboardHealth;
use crate::observation::{
    FileState, HistoryStore, NumberedMessage, Recall, Recalled, Recipient, RecordSink, RepeatRequests, Root,
    SinkClosed, SourceMessage, TranscriptFile,
};

/// What a receiver holds: of each file, the places of its responses.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    files: BTreeMap<String, Vec<u64>>,
    states: BTreeMap<String, FileState>,
    messages: Vec<SourceMessage>,
    /// The responses held after each message.
    counts: Vec<usize>,
    /// Reading a file of this name panics here, in the middle of the parser's output.
    poisonous: Option<&'static str>,
}

impl RecordSink for Receiver {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &message {
            SourceMessage::Read { file, records, replaces, state, .. } => {
                assert!(held.poisonous.is_none_or(|name| !file.name.contains(name)), "text of a conversation");
                let places = held.files.entry(file.name.clone()).or_default();
                if *replaces {
                    places.clear();
                }
                let usage =
                    |record: &Record| if let Record::Usage(it) = record { Some(it.place.byte_offset) } else { None };
                places.extend(records.iter().filter_map(usage));
                places.sort_unstable();
                places.dedup();
                held.states.insert(file.name.clone(), (**state).clone());
            }
            SourceMessage::Retract { file } => drop(held.files.remove(&file.name)),
            _ => {}
        }
        let count = held.files.values().map(Vec::len).sum();
        held.counts.push(count);
        held.messages.push(message);
        Ok(())
    }
}

impl Receiver {
    fn held<T>(&self, ask: impl FnOnce(&mut Held) -> T) -> T {
        ask(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn responses(&self) -> usize {
        self.held(|held| held.files.values().map(Vec::len).sum())
    }

    fn messages(&self) -> usize {
        self.held(|held| held.messages.len())
    }

    /// The fewest and most responses held at any moment since that message.
    fn range_since(&self, message: usize) -> (usize, usize) {
        self.held(|held| {
            let counts = &held.counts[message..];
            (counts.iter().copied().min().unwrap(), counts.iter().copied().max().unwrap())
        })
    }
}

/// A store that knows nothing and asks for nothing.
struct NoStore;

impl Recall for NoStore {
    fn recall(&self, _: &[Root], _: Timestamp) -> Recalled {
        Recalled::default()
    }
}

impl HistoryStore for NoStore {
    fn take_repeats(&self) -> RepeatRequests {
        RepeatRequests::default()
    }

    fn is_busy(&self) -> bool {
        false
    }
}

/// The way to a store that asks for nothing, what is sent on it, and what the store will hold.
fn feed() -> (StoreFeed, mpsc::Receiver<NumberedMessage>, Receiver) {
    let (sender, queue) = mpsc::channel(256);
    (StoreFeed::new(Box::new(NoStore), Engine::new(sender)), queue, Receiver::default())
}

/// Hands on what was sent to the store alone. Returns the numbers with which repetitions ended.
fn keep(queue: &mut mpsc::Receiver<NumberedMessage>, store: &Receiver) -> Vec<u64> {
    let mut ends = Vec::new();
    while let Ok(NumberedMessage { number, to, message }) = queue.try_recv() {
        assert_eq!((number, to), (0, Recipient::Store));
        match message {
            SourceMessage::Repeated { newest, .. } => ends.push(newest),
            message => store.send(message).unwrap(),
        }
    }
    ends
}

fn line(number: usize) -> String {
    format!(
        r#"{{"type":"assistant","requestId":"r","message":{{"id":"m{number:06}","model":"m","usage":{{"output_tokens":7}}}}}}"#
    ) + "\n"
}

fn lines(count: usize) -> String {
    (0..count).map(line).collect()
}

fn root(dir: &Path) -> Root {
    Root { tool: Tool::ClaudeCode, dir: dir.to_owned(), label: String::new() }
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join("projects/p").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn modified_ago(path: &Path, age: Duration) {
    OpenOptions::new().append(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn followed(dir: &Path) -> (Transcripts, Receiver) {
    let receiver = Receiver::default();
    let mut transcripts = Transcripts::new(&[root(dir)], Box::new(receiver.clone()));
    transcripts.rescan().unwrap();
    (transcripts, receiver)
}

#[test]
fn a_touched_file_is_not_reported_anew() {
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), "s.jsonl", &lines(3_000));
    for age in [5, 40, 300].map(Duration::from_mins) {
        modified_ago(&path, age);
        let (mut transcripts, receiver) = followed(home.path());
        let before = receiver.messages();
        modified_ago(&path, age - Duration::from_mins(1));
        transcripts.rescan().unwrap();
        assert_eq!(receiver.responses(), 3_000);
        let records: usize = receiver.held(|held| {
            let news = held.messages[before..].iter();
            news.map(|message| match message {
                SourceMessage::Read { records, replaces, .. } => records.len() + usize::from(*replaces),
                _ => panic!("{message:?}"),
            })
            .sum()
        });
        assert_eq!(records, 0, "nothing but its new time");
        // Copied over itself: another file with the same contents.
        let copy = path.with_extension("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        let before = receiver.messages();
        append(&path, &line(5_000));
        transcripts.rescan().unwrap();
        assert_eq!(receiver.range_since(before), (3_001, 3_001));
        fs::write(&path, lines(3_000)).unwrap();
    }
}

#[test]
fn a_touch_after_a_restart_is_no_rewrite_either() {
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), "s.jsonl", &lines(3_000));
    modified_ago(&path, Duration::from_hours(3));
    let (_, receiver) = followed(home.path());
    let state = receiver.held(|held| held.states.values().next().cloned().unwrap());
    let state: FileState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    let file = TranscriptFile::new(&root(home.path()), "projects/p/s.jsonl".to_owned());
    let resumed = |state: FileState| {
        let receiver = Receiver::default();
        let mut transcripts = Transcripts::new(&[root(home.path())], Box::new(receiver.clone()));
        transcripts.resume(Arc::new(file.clone()), state, false);
        transcripts.rescan().unwrap();
        receiver
    };
    assert_eq!(resumed(state.clone()).messages(), 0);
    modified_ago(&path, Duration::from_hours(2));
    assert_eq!(resumed(state.clone()).responses(), 0, "nothing new");
    // Written by a version that kept no hash of the contents: to be sure, the file is read again, as a replacement.
    let receiver = resumed(FileState { content: None, ..state });
    assert_eq!((receiver.responses(), receiver.messages()), (3_000, 1));
}

#[test]
fn a_file_rewritten_at_the_same_size_is_found_and_replaced_in_one_go() {
    let home = tempfile::tempdir().unwrap();
    let text = lines(3_000);
    let path = write(home.path(), "s.jsonl", &text);
    modified_ago(&path, Duration::from_hours(1));
    let (mut transcripts, receiver) = followed(home.path());
    let before = receiver.messages();
    // In the middle: beginning and end stay as they are.
    let middle = line(1_500);
    fs::write(&path, text.replace(&middle, &format!("{}\n", "x".repeat(middle.len() - 1)))).unwrap();
    modified_ago(&path, Duration::from_mins(30));
    transcripts.rescan().unwrap();
    assert_eq!(receiver.range_since(before), (2_999, 2_999), "never without the file");
    assert_eq!(receiver.messages(), before + 1);

    fs::write(&path, &text).unwrap();
    append(&path, &line(9_000));
    let before = receiver.messages();
    fs::write(&path, lines(2_000)).unwrap();
    transcripts.rescan().unwrap();
    assert_eq!(receiver.range_since(before), (2_000, 2_000));
}

#[test]
fn a_rewrite_read_in_slices_is_reported_when_it_is_complete() {
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), "s.jsonl", &lines(10_000));
    let (mut transcripts, receiver) = followed(home.path());
    let before = receiver.messages();
    fs::write(&path, lines(9_000)).unwrap();
    let mut slices = 0;
    transcripts.poll_paths([path.clone()], &Budget::unlimited().of_one_chunk()).unwrap();
    while transcripts.has_backlog() {
        transcripts.read_slice(&Budget::unlimited().of_one_chunk()).unwrap();
        slices += 1;
    }
    assert!(slices > 2, "{slices} slices");
    assert_eq!(receiver.range_since(before), (9_000, 9_000));
}

#[test]
fn a_renamed_file_counts_once_at_any_moment() {
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), "s.jsonl", &lines(10_000));
    let (mut transcripts, receiver) = followed(home.path());
    let before = receiver.messages();
    let other = path.with_file_name("other.jsonl");
    fs::rename(&path, &other).unwrap();
    transcripts.poll_paths([path, other], &Budget::unlimited().of_one_chunk()).unwrap();
    while transcripts.has_backlog() {
        assert_eq!(receiver.responses(), 10_000);
        transcripts.read_slice(&Budget::unlimited().of_one_chunk()).unwrap();
    }
    assert_eq!(receiver.held(|held| held.files.keys().cloned().collect::<Vec<_>>()), ["projects/p/other.jsonl"]);
    // The retraction and what takes its place follow each other.
    let between = receiver.held(|held| {
        let retracted = held.messages.iter().rposition(|it| matches!(it, SourceMessage::Retract { .. })).unwrap();
        held.messages.len() - retracted
    });
    assert_eq!((receiver.responses(), between), (10_000, 3));
    assert_eq!(receiver.range_since(before + 1).1, 10_000);
}

#[test]
fn a_panic_costs_the_file_until_it_is_rewritten() {
    let home = tempfile::tempdir().unwrap();
    for name in ["a.jsonl", "poison.jsonl", "z.jsonl"] {
        write(home.path(), name, &lines(20_000));
    }
    let receiver = Receiver::default();
    receiver.held(|held| held.poisonous = Some("poison"));
    let mut transcripts = Transcripts::new(&[root(home.path())], Box::new(receiver.clone()));
    transcripts.rescan().unwrap();
    assert_eq!(receiver.responses(), 40_000);
    let path = home.path().join("projects/p/poison.jsonl");
    let named = |transcripts: &Transcripts| transcripts.unreadable().get(&path).cloned();
    assert!(named(&transcripts).unwrap().contains("report it"));
    assert!(!named(&transcripts).unwrap().contains("conversation"));
    // It is left alone, also when it grows, and the others go on.
    receiver.held(|held| held.poisonous = None);
    append(&path, &line(1));
    append(&home.path().join("projects/p/a.jsonl"), &line(30_000));
    transcripts.rescan().unwrap();
    assert_eq!(receiver.responses(), 40_001);
    assert!(named(&transcripts).is_some());
    fs::write(&path, lines(5)).unwrap();
    transcripts.rescan().unwrap();
    assert_eq!(receiver.responses(), 40_006);
    assert_eq!(named(&transcripts), None);
}

/// Files of the session, from the newest to the oldest, in the order in which their first responses came.
fn order(receiver: &Receiver) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    receiver.held(|held| {
        for message in &held.messages {
            if let SourceMessage::Read { file, .. } = message {
                let name = file.name.rsplit('/').next().unwrap().to_owned();
                if !order.contains(&name) {
                    order.push(name);
                }
            }
        }
    });
    order
}

#[test]
fn the_first_read_begins_with_what_is_new_and_what_that_depends_on() {
    let home = tempfile::tempdir().unwrap();
    let days = |days: u64| Duration::from_hours(24 * days);
    for (name, age) in [("old", 9), ("older", 10), ("new", 0), ("main", 8), ("oldest", 11)] {
        modified_ago(&write(home.path(), &format!("{name}.jsonl"), &lines(10)), days(age));
    }
    // A subagent at work: the rest of its session is needed, however old.
    modified_ago(&write(home.path(), "main/subagents/agent-a.jsonl", &lines(10)), days(1));
    modified_ago(&write(home.path(), "main/subagents/agent-b.jsonl", &lines(10)), days(7));
    let receiver = Receiver::default();
    let mut transcripts = Transcripts::new(&[root(home.path())], Box::new(receiver.clone()));
    let since = SystemTime::now() - days(2);
    transcripts.discover().unwrap();
    transcripts.mark_current(since);
    let read_current = |transcripts: &mut Transcripts| {
        while !transcripts.is_current() {
            transcripts.read_slice(&Budget::unlimited()).unwrap();
        }
    };
    read_current(&mut transcripts);
    assert_eq!(order(&receiver), ["new.jsonl", "agent-a.jsonl"]);
    assert!(transcripts.promote_dependencies(since));
    read_current(&mut transcripts);
    assert!(!transcripts.promote_dependencies(since));
    assert_eq!(order(&receiver)[2..], ["agent-b.jsonl", "main.jsonl"]);
    let progress = transcripts.progress();
    assert_eq!((progress.files, progress.files_total), (4, 7));
    assert!(progress.bytes * 7 == progress.bytes_total * 4 && progress.bytes > 0);
    while transcripts.has_backlog() {
        transcripts.read_slice(&Budget::unlimited()).unwrap();
    }
    assert_eq!(order(&receiver)[4..], ["old.jsonl", "older.jsonl", "oldest.jsonl"]);
    assert_eq!(transcripts.progress().bytes, transcripts.progress().bytes_total);
}

#[test]
fn a_fork_is_read_with_what_it_comes_from() {
    let home = tempfile::tempdir().unwrap();
    let session = |name: &str, id: &str, parent: Option<&str>, age: u64| {
        let path = home.path().join("sessions").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let parent = parent.map(|it| format!(r#","forked_from_id":"{it}""#)).unwrap_or_default();
        let text =
            format!(r#"{{"type":"session_meta","payload":{{"id":"{id}"{parent}}}}}"#) + "\n" + &"{}\n".repeat(200_000);
        fs::write(&path, text).unwrap();
        modified_ago(&path, Duration::from_hours(24 * age));
    };
    session("rollout-fork.jsonl", "fork", Some("parent"), 0);
    session("rollout-other.jsonl", "other", None, 20);
    let current = |transcripts: &mut Transcripts, receiver: &Receiver| {
        let since = SystemTime::now() - Duration::from_hours(48);
        transcripts.discover().unwrap();
        transcripts.mark_current(since);
        while !transcripts.is_current() || transcripts.promote_dependencies(since) {
            transcripts.read_slice(&Budget::unlimited()).unwrap();
        }
        receiver.held(|held| {
            let states = held.states.iter().filter(|(_, state)| state.counts.lines > 200_000);
            states.map(|(name, _)| name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    let fresh = || {
        let receiver = Receiver::default();
        let root = Root { tool: Tool::Codex, dir: home.path().to_owned(), label: String::new() };
        (Transcripts::new(&[root], Box::new(receiver.clone())), receiver)
    };
    // The parent is gone. Another fork of it has its rows, too, and only its beginning says so.
    session("rollout-sibling.jsonl", "sibling", Some("parent"), 30);
    let (mut transcripts, receiver) = fresh();
    assert_eq!(current(&mut transcripts, &receiver), ["rollout-fork.jsonl", "rollout-sibling.jsonl"]);
    // The parent is there: its name says so.
    session("rollout-parent.jsonl", "parent", None, 40);
    let (mut transcripts, receiver) = fresh();
    assert_eq!(current(&mut transcripts, &receiver)[..2], ["rollout-fork.jsonl", "rollout-parent.jsonl"]);
}

#[test]
fn history_yields_to_what_changes_and_to_the_end() {
    let home = tempfile::tempdir().unwrap();
    for number in 0..8 {
        write(home.path(), &format!("s{number}.jsonl"), &lines(20_000));
    }
    let receiver = Receiver::default();
    let mut transcripts = Transcripts::new(&[root(home.path())], Box::new(receiver.clone()));
    transcripts.discover().unwrap();
    let wakeup = Wakeup::default();
    let slice = || Budget::slice(Duration::from_secs(60), &wakeup);
    wakeup.changed([PathBuf::from("x")]);
    transcripts.read_slice(&slice()).unwrap();
    assert_eq!(transcripts.progress().bytes, 0, "nothing is begun while a change waits");
    wakeup.take();
    transcripts.read_slice(&slice()).unwrap();
    assert!(!transcripts.has_backlog());
    assert_eq!(receiver.responses(), 160_000);
}

#[test]
fn a_repeat_reads_for_the_store_what_its_tail_reads_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), "s.jsonl", &lines(10_000));
    let (feed, mut queue, store) = feed();
    let file = Arc::new(TranscriptFile::new(&root(home.path()), "projects/p/s.jsonl".to_owned()));
    let mut repeats = Repeats::default();
    repeats.add([Arc::clone(&file), Arc::clone(&file)]);
    let mut slices = 0;
    while !repeats.is_empty() {
        repeats.read_slice(&feed, &Budget::unlimited().of_one_chunk()).unwrap();
        slices += 1;
        if slices == 2 {
            // Its own tail reports an append: the store must not believe that it has all before it.
            append(&path, &line(20_000));
            let records = Vec::new();
            let state = Box::new(FileState::start(Tool::ClaudeCode));
            let read = SourceMessage::Read {
                file: Arc::clone(&file),
                records,
                rejections: Vec::new(),
                state,
                replaces: false,
            };
            assert_eq!(feed.recipient(1, &read), Recipient::Engine);
            assert!(queue.is_empty(), "what is repeated replaces what was stored in one go");
        }
    }
    assert!(slices > 3, "{slices} slices");
    let ends = keep(&mut queue, &store);
    assert_eq!((store.responses(), store.messages()), (10_001, 1));
    assert_eq!(ends, [1], "with what the tail reported meanwhile");
}

#[test]
fn a_deleted_file_is_not_repeated_any_further() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "s.jsonl", &lines(10_000));
    let (feed, mut queue, store) = feed();
    let file = Arc::new(TranscriptFile::new(&root(home.path()), "projects/p/s.jsonl".to_owned()));
    let mut repeats = Repeats::default();
    repeats.add([Arc::clone(&file)]);
    repeats.read_slice(&feed, &Budget::unlimited().of_one_chunk()).unwrap();
    assert_eq!(feed.recipient(2, &SourceMessage::Archive { file }), Recipient::Both);
    repeats.read_slice(&feed, &Budget::unlimited()).unwrap();
    assert!(repeats.is_empty());
    assert_eq!((keep(&mut queue, &store), store.messages()), (vec![], 0));
}

#[test]
fn what_two_roots_shared_before_is_retracted_from_one() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "s.jsonl", &lines(10));
    let elsewhere = root(&home.path().join("elsewhere"));
    let receiver = Receiver::default();
    let mut transcripts = Transcripts::new(&[root(home.path())], Box::new(receiver.clone()));
    let file = TranscriptFile::new(&elsewhere, "projects/p/s.jsonl".to_owned());
    transcripts.resume(Arc::new(file), FileState::start(Tool::ClaudeCode), false);
    transcripts.rescan().unwrap();
    let retracted = receiver
        .held(|held| matches!(&held.messages[0], SourceMessage::Retract { file } if file.root == elsewhere.dir));
    assert!(retracted);
    assert_eq!(receiver.responses(), 10);
}

/// An append while much history is being read reaches the receiver before it.
#[test]
fn an_append_overtakes_history() {
    let home = tempfile::tempdir().unwrap();
    for number in 0..40 {
        let path = write(home.path(), &format!("s{number}.jsonl"), &lines(20_000));
        modified_ago(&path, Duration::from_hours(24 * (4 + number)));
    }
    let live = write(home.path(), "live.jsonl", &line(0));
    let (sender, mut messages) = mpsc::channel(256);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let source = super::run(vec![root(home.path())], sender, None, None, DashboardHealth::default());
    let reading = std::thread::spawn(move || runtime.block_on(source));
    let mut appended: Option<Instant> = None;
    let (mut waits, mut history_read, mut current_files) = (Vec::new(), false, 0);
    let mut files: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    while let Some(message) = messages.blocking_recv() {
        match message.message {
            SourceMessage::Read { file, records, .. } => {
                files.insert(file.name.clone());
                if file.path == live
                    && !records.is_empty()
                    && let Some(at) = appended.take()
                {
                    waits.push(at.elapsed());
                }
            }
            SourceMessage::Current { .. } => current_files = files.len(),
            SourceMessage::HistoryRead => {
                history_read = true;
                break;
            }
            _ => {}
        }
        // As an engine that has something to do for each message.
        std::thread::sleep(Duration::from_micros(500));
        if appended.is_none() && current_files > 0 {
            append(&live, &line(waits.len() + 1));
            appended = Some(Instant::now());
        }
    }
    assert!(history_read);
    assert_eq!(current_files, 1, "only what is new was read by then");
    waits.sort_unstable();
    println!(
        "{} appends while history was read: median {:?}, longest {:?}",
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    );
    assert!(waits.len() > 20);
    assert!(waits[waits.len() / 2] < Duration::from_millis(100));
    // It ends at once when nobody listens.
    drop(messages);
    append(&live, &line(9_999));
    reading.join().unwrap().unwrap();
}
