//! What must hold for every file, whatever is in it.
//!
//! - Reading never panics, and a file reads the same in any chunks, with any pauses, and from any checkpoint on.
//! - A line is accepted exactly if a reader made of `serde_json` accepts it ([`accepted`]).
//! - The tokens of an accepted line are those that the same reader finds in it ([`Reference`]).
//! - What is kept between chunks is bounded by the input.

use dashboard_core::record::{FileCounts, Record, Rejection, Tool};
use dashboard_core::transcript::{Checkpoint, Reading, TranscriptReader};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 127;
/// Largest count that is one.
const MAX_COUNT: u64 = (1 << 53) - 1;

fn path(tool: Tool) -> &'static str {
    match tool {
        Tool::ClaudeCode => "projects/-home-ada/f00.jsonl",
        Tool::Codex => "sessions/2026/02/23/rollout-f00.jsonl",
        Tool::Gemini => "tmp/engine/chats/session-f00.jsonl",
        Tool::OpenCode => "opencode.db",
        Tool::Pi => "sessions/--home-ada--/2026_f00.jsonl",
        Tool::Copilot => "session-store.db",
    }
}

/// What reading a file gave.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    records: Vec<Record>,
    counts: FileCounts,
    rejections: Vec<Rejection>,
}

/// Checks all properties on one file. The first bytes say how it is cut.
pub fn check(tool: Tool, data: &[u8]) {
    let Some((cuts, file)) = data.split_first_chunk::<3>() else { return };
    let whole = read(tool, file, &[]);
    let cut = |byte: u8| usize::from(byte) * (file.len() + 1) / 256;
    let mut cuts = cuts.map(cut);
    cuts.sort_unstable();
    assert_eq!(read(tool, file, &cuts), whole, "in pieces");
    assert_eq!(
        without_news(tool, resumed(tool, file, cuts[0])),
        without_news(tool, whole.clone()),
        "from a checkpoint"
    );
    assert!(whole.records.len() <= 8 * file.len() && whole.rejections.len() <= 1000);
    // Where the reader made of `serde_json` knows the format.
    if matches!(tool, Tool::ClaudeCode | Tool::Codex) {
        beside_serde_json(tool, file, &whole);
    }
}

/// Checks that a document reads the same each time, and is read if and only if it is nothing but JSON objects. The first
/// byte is the companion's length.
pub fn check_document(tool: Tool, name: &str, data: &[u8]) {
    let Some((&[length], rest)) = data.split_first_chunk::<1>() else { return };
    let (companion, document) = rest.split_at(usize::from(length).min(rest.len()));
    let read = || {
        let mut reader = TranscriptReader::new(tool, name).with_activity();
        let mut records: Vec<Record> = reader.read_companion(companion).into_iter().collect();
        let outcome = reader.read_document(document, &mut |record| records.push(record));
        (outcome, records, reader.counts(), reader.checkpoint())
    };
    let first = read();
    assert_eq!(first, read(), "twice");
    let (outcome, records, counts, checkpoint) = first;
    assert!(records.len() <= 8 * document.len() + 1);
    assert_eq!((counts.bytes, checkpoint.counts.bytes), (document.len() as u64, document.len() as u64));
    let text = trimmed(document, true).map(String::from_utf8_lossy);
    let expected = match text.as_deref() {
        None => true,
        Some(text) => accepted(text).is_some(),
    };
    assert_eq!(outcome.is_ok(), expected, "{outcome:?}");
}

/// Reads a file as if it grew, pausing at the cuts.
fn read(tool: Tool, file: &[u8], cuts: &[usize]) -> Found {
    let mut reader = TranscriptReader::new(tool, path(tool)).with_activity();
    let mut records = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&file.len()]) {
        loop {
            let valid = reader.read(&file[from..to], &mut |record| records.push(record)) == Reading::Valid
                && reader.finish(&mut |record| records.push(record)) == Reading::Valid;
            if valid {
                break;
            }
            assert!(from > 0, "a first reading always holds");
            reader = TranscriptReader::new(tool, path(tool)).with_activity();
            records.clear();
            from = 0;
        }
        from = to;
    }
    Found { records, counts: reader.counts(), rejections: reader.take_rejections() }
}

/// Reads a file until `cut`, and the rest with another reader that has only the checkpoint, as kept in a database.
fn resumed(tool: Tool, file: &[u8], cut: usize) -> Found {
    let mut before = TranscriptReader::new(tool, path(tool)).with_activity();
    let mut records = Vec::new();
    assert_eq!(before.read(&file[..cut], &mut |record| records.push(record)), Reading::Valid);
    assert_eq!(before.finish(&mut |_| {}), Reading::Valid);
    let mut rejections = before.take_rejections();
    let kept = serde_json::to_string(&before.checkpoint()).expect("plain data");
    let checkpoint: Checkpoint = serde_json::from_str(&kept).expect("what was written");
    assert_eq!(checkpoint, before.checkpoint());
    let reached = usize::try_from(checkpoint.counts.bytes).expect("within the file");
    let mut after = TranscriptReader::resume(path(tool), checkpoint).with_activity();
    assert_eq!(after.read(&file[reached..], &mut |record| records.push(record)), Reading::Valid);
    assert_eq!(after.finish(&mut |record| records.push(record)), Reading::Valid);
    rejections.append(&mut after.take_rejections());
    rejections.truncate(1000);
    Found { records, counts: after.counts(), rejections }
}

/// Claude's lines all say where the session runs: a reader that begins in the middle passes it on once more.
fn without_news(tool: Tool, mut found: Found) -> Found {
    found.records.retain(|record| tool != Tool::ClaudeCode || !matches!(record, Record::Session(_)));
    found
}

/// A line without what may surround it; `None` if it is blank, an error if it is nothing but NUL bytes.
fn trimmed(line: &[u8], is_first: bool) -> Option<&[u8]> {
    let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    let is_text = |byte: &u8| !b" \t\r\n\0".contains(byte);
    let first = line.iter().position(is_text);
    match (first, line.iter().rposition(is_text)) {
        (Some(first), Some(last)) => Some(&line[first..=last]),
        _ => line.contains(&0).then_some(b""),
    }
}

/// The objects of a line, as text, if it is nothing but objects, none of which is nested too deeply.
fn accepted(line: &str) -> Option<Vec<&str>> {
    let mut objects = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        if !rest.starts_with('{') {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let (object, tail) = rest.split_at(values.byte_offset());
        objects.push(object);
        rest = tail.trim_start_matches([' ', '\t', '\r', '\n']);
    }
    let is_deep = |object: &&str| depth(object) > MAX_DEPTH;
    (!objects.is_empty() && !objects.iter().any(|object| is_deep(&object))).then_some(objects)
}

/// How deeply a text that is JSON is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn beside_serde_json(tool: Tool, file: &[u8], found: &Found) {
    let mut reference = Reference { tool, total: None };
    let (mut lines, mut records, mut rejected, mut pending) = (0, 0, Vec::new(), 0);
    // `None` once an object cannot be read by `serde_json` although it is one.
    let mut tokens = Some(Vec::new());
    let mut start = 0;
    for line in file.split_inclusive(|&byte| byte == b'\n') {
        let (offset, ended) = (start, line.ends_with(b"\n"));
        start += line.len();
        let Some(text) = trimmed(line.strip_suffix(b"\n").unwrap_or(line), offset == 0) else { continue };
        lines += 1;
        let text = String::from_utf8_lossy(text);
        match accepted(&text) {
            Some(objects) => {
                records += objects.len() as u64;
                for object in objects {
                    match serde_json::from_str::<Value>(object) {
                        Ok(value) => {
                            if let Some(tokens) = &mut tokens {
                                tokens.extend(reference.tokens(&value));
                            }
                        }
                        // A number beyond f64, half a surrogate pair: no reason to lose a line.
                        Err(_) => tokens = None,
                    }
                }
            }
            None if ended => rejected.push(offset as u64),
            None => pending += 1,
        }
    }
    let counts = found.counts;
    let ours: Vec<u64> = found.rejections.iter().map(|it| it.byte_offset).collect();
    assert_eq!(counts.rejected_lines, rejected.len() as u64);
    rejected.truncate(1000);
    assert_eq!(ours, rejected, "rejected lines");
    assert_eq!((counts.bytes, counts.lines, counts.records), (file.len() as u64, lines, records));
    assert_eq!(counts.pending_lines, pending);
    if let Some(tokens) = tokens {
        let ours = found.records.iter().filter_map(|record| match record {
            Record::Usage(usage) => {
                let usage = usage.usage;
                Some([usage.input, usage.output, usage.cache_creation, usage.cache_read].map(|it| it.0))
            }
            _ => None,
        });
        assert_eq!(ours.collect::<Vec<_>>(), tokens, "tokens");
    }
}

/// A reader of whole JSON values, which says what usage an object tells of.
struct Reference {
    tool: Tool,
    /// Of the Codex row before.
    total: Option<[u64; 4]>,
}

fn count(value: &Value) -> u64 {
    value.as_u64().filter(|&count| count <= MAX_COUNT).unwrap_or(0)
}

impl Reference {
    /// Input, output, cache writes and cache reads.
    fn tokens(&mut self, object: &Value) -> Option<[u64; 4]> {
        match self.tool {
            Tool::ClaudeCode => claude(object),
            Tool::Codex => self.codex(object),
            _ => None,
        }
    }

    fn codex(&mut self, object: &Value) -> Option<[u64; 4]> {
        let payload = &object["payload"];
        if object["type"] != "event_msg" || payload["type"] != "token_count" {
            return None;
        }
        let (total, last) = (&payload["info"]["total_token_usage"], &payload["info"]["last_token_usage"]);
        if !(total.is_object() && last.is_object()) {
            return None;
        }
        let names = ["input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens"];
        let [input, cached, output, _] = names.map(|name| count(&last[name]));
        let total = names.map(|name| count(&total[name]));
        (self.total.replace(total) != Some(total)).then_some([
            input.saturating_sub(cached),
            output,
            0,
            cached.min(input),
        ])
    }
}

fn claude(object: &Value) -> Option<[u64; 4]> {
    let message = match &object["type"] {
        Value::Null => &object["message"],
        Value::String(kind) if kind == "assistant" => &object["message"],
        Value::String(kind) if kind == "progress" && object["data"]["type"] == "agent_progress" => {
            &object["data"]["message"]["message"]
        }
        _ => return None,
    };
    let usage = &message["usage"];
    if !usage.is_object() || message["model"] == "<synthetic>" {
        return None;
    }
    let parts = &usage["cache_creation"];
    let creation = match &usage["cache_creation_input_tokens"] {
        Value::Null => count(&parts["ephemeral_5m_input_tokens"]) + count(&parts["ephemeral_1h_input_tokens"]),
        given => count(given),
    };
    Some([
        count(&usage["input_tokens"]),
        count(&usage["output_tokens"]),
        creation,
        count(&usage["cache_read_input_tokens"]),
    ])
}
