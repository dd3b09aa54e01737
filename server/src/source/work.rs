//! What following files costs, in bytes that the system was asked for: counted, so that no noise can fail it.

#![allow(clippy::unwrap_used, reason = "a test may")]

use crate::observation::{RecordSink, Root, SinkClosed, SourceMessage};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dashboard_core::record::Tool;

use super::budget::Budget;
use super::transcripts::Transcripts;

/// Fingerprints compared before reading on: the beginning of the file, and the bytes before the place reached.
const MARKS: u64 = 2 * 1024;

#[derive(Clone, Default)]
struct Messages(Arc<Mutex<u64>>);

impl RecordSink for Messages {
    fn send(&self, _: SourceMessage) -> Result<(), SinkClosed> {
        *self.0.lock().unwrap() += 1;
        Ok(())
    }
}

/// Bytes this thread has read from files so far.
fn bytes_read() -> u64 {
    let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    // Reading the counts counts as well.
    count.parse::<u64>().unwrap() - OWN.with(|own| own.replace(own.get() + counts.len() as u64))
}

thread_local! {
    static OWN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn line(number: usize) -> String {
    format!(
        r#"{{"type":"assistant","requestId":"r","message":{{"id":"m{number}","model":"m","usage":{{"output_tokens":7}}}}}}"#
    ) + "\n"
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// So many files of so many lines, read once.
fn followed(dir: &Path, files: usize, lines: usize) -> (Transcripts, Messages, Vec<PathBuf>) {
    let project = dir.join("projects/p");
    fs::create_dir_all(&project).unwrap();
    let text: String = (0..lines).map(line).collect();
    let paths: Vec<PathBuf> = (0..files).map(|number| project.join(format!("s{number}.jsonl"))).collect();
    for path in &paths {
        fs::write(path, &text).unwrap();
        // As old as most files are; what has just changed may change again within one tick of the file system's clock.
        let old = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
        OpenOptions::new().append(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let messages = Messages::default();
    let root = Root { tool: Tool::ClaudeCode, dir: dir.to_owned(), label: String::new() };
    let mut transcripts = Transcripts::new(&[root], Box::new(messages.clone()));
    transcripts.rescan().unwrap();
    (transcripts, messages, paths)
}

#[test]
fn an_append_reads_what_was_appended_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut transcripts, messages, paths) = followed(dir.path(), 1, 20_000);
    assert!(paths[0].metadata().unwrap().len() > 1 << 20);
    for number in 0..10 {
        let text = line(100_000 + number);
        append(&paths[0], &text);
        let (bytes, sent) = (bytes_read(), *messages.0.lock().unwrap());
        transcripts.poll_paths([paths[0].clone()], &Budget::unlimited()).unwrap();
        let bytes = bytes_read() - bytes;
        assert!((text.len() as u64..=text.len() as u64 + MARKS).contains(&bytes), "{bytes} bytes for {}", text.len());
        assert_eq!(*messages.0.lock().unwrap(), sent + 1);
    }
}

#[test]
fn looking_at_two_thousand_files_that_did_not_change_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut transcripts, messages, paths) = followed(dir.path(), 2_000, 3);
    let (bytes, sent) = (bytes_read(), *messages.0.lock().unwrap());
    transcripts.rescan().unwrap();
    assert_eq!((bytes_read(), *messages.0.lock().unwrap()), (bytes, sent));

    let text = line(100_000);
    append(&paths[1_234], &text);
    transcripts.rescan().unwrap();
    let bytes = bytes_read() - bytes;
    assert!((text.len() as u64..=text.len() as u64 + MARKS).contains(&bytes), "{bytes} bytes");
    assert_eq!(*messages.0.lock().unwrap(), sent + 1);
}
