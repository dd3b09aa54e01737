//! Parsers and ledger over whole directories of transcripts, beside the figures an independent reader found in them.
//!
//! `DASHBOARD_SAMPLES` names the directory of samples, each with its `truth.json`. If the generator of corpora lies
//! beside it (`../tools/gen_corpus.py`), damaged corpora are made and read too. Without it the tests show as ignored.
//! Every directory is read file by file, and again as if all files grew at once, in pieces of any size.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dashboard_core::ids::SessionId;
use dashboard_core::ledger::{FileId, Ledger, Scope};
use dashboard_core::price::PriceTable;
use dashboard_core::record::{ContextFill, LimitKey, RateLimitReport, Record, Rejection, Tool, UsageRecord};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use dashboard_core::tracker::{TrackerConfig, Trackers};
use dashboard_core::transcript::{Reading, TranscriptReader, Transcripts};
use serde_json::{Map, Value, json};

/// A file, of which some bytes are there by now.
struct Growing {
    id: FileId,
    name: String,
    bytes: Vec<u8>,
    there: usize,
    reader: TranscriptReader,
}

/// What was read of one tool's files.
struct Found {
    tool: Tool,
    ledger: Ledger,
    files: Vec<Growing>,
    contexts: BTreeMap<SessionId, ContextFill>,
    limits: BTreeMap<LimitKey, RateLimitReport>,
}

/// A kind of tokens of a response.
type Kind = fn(&UsageRecord) -> u64;

/// Not random enough for anything else, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % end as u64).unwrap()
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            walk(&path, found);
        } else if kind.is_file() && path.to_str().is_some_and(|path| path.ends_with(".jsonl")) {
            found.push(path);
        }
    }
}

impl Found {
    fn new(tool: Tool, root: &Path) -> Self {
        let mut paths = Vec::new();
        let dirs = tool.spec().transcripts.iter().map(Transcripts::dir);
        dirs.for_each(|dir| walk(&root.join(dir), &mut paths));
        let mut ledger = Ledger::default();
        let file = |path: PathBuf| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let id = ledger.file(tool, &name);
            Growing { id, reader: TranscriptReader::new(tool, &name), name, bytes: fs::read(&path).unwrap(), there: 0 }
        };
        let files = paths.into_iter().map(file).collect();
        Self { tool, ledger, files, contexts: BTreeMap::new(), limits: BTreeMap::new() }
    }

    fn grow(&mut self, index: usize, to: usize) {
        let Self { tool, ledger, files, contexts, limits } = self;
        let file = &mut files[index];
        let mut from = std::mem::replace(&mut file.there, to);
        loop {
            let mut take = |record: Record| match record {
                Record::Usage(usage) => ledger.claim(file.id, &usage, &mut |_| {}),
                Record::Lineage(lineage) => ledger.lineage(file.id, &lineage, &mut |_| {}),
                Record::Context(fill) => drop(contexts.insert(fill.session.clone(), fill)),
                Record::RateLimit(report) if limits.get(&report.limit).is_none_or(|known| known.at <= report.at) => {
                    limits.insert(report.limit.clone(), report);
                }
                _ => {}
            };
            let read = file.reader.read(&file.bytes[from..to], &mut take);
            if read == Reading::Valid && file.reader.finish(&mut take) == Reading::Valid {
                break;
            }
            ledger.retract(file.id, &mut |_| {});
            file.reader = TranscriptReader::new(*tool, &file.name);
            from = 0;
        }
        ledger.set_counts(file.id, file.reader.counts());
        file.reader.take_rejections().into_iter().for_each(|rejection| ledger.reject(file.id, rejection));
    }

    fn one_by_one(mut self) -> Self {
        for index in 0..self.files.len() {
            self.grow(index, self.files[index].bytes.len());
        }
        self
    }

    fn all_at_once(mut self, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut left: Vec<usize> = (0..self.files.len()).collect();
        while !left.is_empty() {
            let at = dice.below(left.len());
            let index = left[at];
            let (there, whole) = (self.files[index].there, self.files[index].bytes.len());
            // A few lines or most of the file.
            let most = if dice.below(2) == 0 { 20_000 } else { whole + 1 };
            self.grow(index, (there + dice.below(most)).min(whole));
            if self.files[index].there == whole {
                left.swap_remove(at);
            }
        }
        self
    }

    /// In the shape of `truth.json`, as far as it is there too.
    fn figures(&self) -> Value {
        let (files, counts) = self.ledger.counts_of(self.tool, Scope::OnDisk);
        let responses: Vec<UsageRecord> = self.ledger.responses(Scope::OnDisk).collect();
        let responses: Vec<&UsageRecord> = responses.iter().collect();
        let sum = |of: &[&UsageRecord]| {
            let kinds: &[(&str, Kind)] = match self.tool {
                Tool::ClaudeCode => &[
                    ("input", |r| r.usage.input.0),
                    ("cache_creation", |r| r.usage.cache_creation.0),
                    ("cache_read", |r| r.usage.cache_read.0),
                    ("output", |r| r.usage.output.0),
                    ("total", |r| r.usage.total().0),
                    ("responses", |_| 1),
                ],
                _ => &[
                    ("input", |r| r.usage.context().0),
                    ("reasoning", |r| r.usage.reasoning.0),
                    ("cached", |r| r.usage.cache_read.0),
                    ("output", |r| r.usage.output.0),
                    ("total", |r| r.usage.total().0),
                    ("responses", |_| 1),
                ],
            };
            let total = |kind: Kind| of.iter().map(|record| kind(record)).sum::<u64>();
            kinds.iter().map(|&(name, kind)| (name.to_owned(), total(kind).into())).collect::<Map<_, _>>()
        };
        let split = |key: &dyn Fn(&UsageRecord) -> String| {
            let mut groups: BTreeMap<String, Vec<&UsageRecord>> = BTreeMap::new();
            responses.iter().for_each(|record| groups.entry(key(record)).or_default().push(record));
            groups.into_iter().map(|(name, of)| (name, Value::Object(sum(&of)))).collect::<Map<_, _>>()
        };
        let utc = ZoneOffsets::default();
        let day = |record: &UsageRecord| record.at.map_or("unknown".to_owned(), |at| utc.day(at).to_string());
        let mut rejected: Vec<&Rejection> = self.ledger.rejections(Scope::All).collect();
        rejected.sort_by(|a, b| (a.file.as_bytes(), a.byte_offset).cmp(&(b.file.as_bytes(), b.byte_offset)));
        let place = |file: &str, byte_offset: u64| json!({"file": file, "byte_offset": byte_offset});
        let mut pending: Vec<&Growing> =
            self.files.iter().filter(|file| file.reader.counts().pending_lines > 0).collect();
        pending.sort_by_key(|file| file.name.as_bytes());
        let pending = pending.iter().map(|file| place(&file.name, file.reader.checkpoint().counts.bytes));
        json!({
            "files": files,
            "lines": counts.lines,
            "records": counts.records,
            "bad_counts": counts.bad_counts,
            "duplicate_lines": counts.usage_records - responses.len() as u64,
            "repeated": counts.repeated_records,
            "replayed": counts.usage_records - counts.repeated_records - responses.len() as u64,
            "totals": sum(&responses),
            "days": split(&day),
            "models": split(&|record| record.model.to_string()),
            "sessions": split(&|record| record.session.to_string()),
            "rejected": {
                "count": counts.rejected_lines,
                "list": rejected.iter().map(|it| place(&it.file, it.byte_offset)).collect::<Vec<_>>(),
            },
            "pending": {"count": counts.pending_lines, "list": pending.collect::<Vec<_>>()},
        })
    }

    fn cost(&self) -> f64 {
        let prices = PriceTable::embedded();
        let responses = self.ledger.responses(Scope::OnDisk);
        let priced = responses.filter_map(|record| prices.cost(&record.model, &record.usage));
        priced.map(|priced| priced.cost.usd()).sum()
    }
}

/// Compares what both have, and says how much that is. The truth holds more than the core tells.
fn compare(expected: &Value, found: &Value, what: &str) -> usize {
    let (Value::Object(expected), Value::Object(found)) = (expected, found) else {
        assert_eq!(expected, found, "{what}");
        return 1;
    };
    let both = found.iter().filter_map(|(name, value)| Some((name, expected.get(name)?, value)));
    both.map(|(name, expected, value)| compare(expected, value, &format!("{what}: {name}"))).sum()
}

fn check(found: &Found, truth: &Value, what: &str) {
    let mut figures = found.figures();
    // Lines that a careful reader may refuse, as this one does.
    let either_way = truth["either_way"].as_array().cloned().unwrap_or_default();
    let is_either_way =
        |it: &Value| either_way.iter().any(|way| way["file"] == it["file"] && way["byte_offset"] == it["byte_offset"]);
    let refused = figures["rejected"]["list"].as_array().unwrap().clone();
    let (either_way, refused): (Vec<Value>, Vec<Value>) = refused.into_iter().partition(is_either_way);
    assert_eq!(figures["rejected"]["count"], refused.len() + either_way.len(), "{what}: all are named");
    figures["records"] = (figures["records"].as_u64().unwrap() + either_way.len() as u64).into();
    figures["rejected"] = json!({"count": refused.len(), "list": refused});

    // No group may be there that the truth has not.
    for group in ["days", "models", "sessions"] {
        let with_responses = |of: &Value| -> Vec<String> {
            let groups = of[group].as_object().unwrap().iter();
            groups.filter(|(_, of)| of["responses"] != 0).map(|(name, _)| name.clone()).collect()
        };
        if truth.get(group).is_some() {
            assert_eq!(with_responses(&figures), with_responses(truth), "{what}: {group}");
        }
    }
    let compared = compare(truth, &figures, what);
    assert!(compared >= 12, "{what}: only {compared} figures to compare");
    let (cost, expected) = (found.cost(), truth["cost"]["total"].as_f64().unwrap());
    assert!((cost - expected).abs() < 1e-6 * expected.max(1.0), "{what}: cost {cost} instead of {expected}");

    if found.tool == Tool::Codex {
        for (session, figures) in truth["sessions"].as_object().into_iter().flatten() {
            let said = found.contexts.get(&SessionId::new(session.as_str()));
            let said = said.map_or(Value::Null, |it| json!({"used": it.used.0, "limit": it.window.0}));
            if figures["context"]["limit"].is_null() {
                assert!(said.is_null(), "{what}: context of {session} without a limit");
            } else {
                assert_eq!(said, figures["context"], "{what}: context of {session}");
            }
        }
        for (window, name) in
            [(LimitKey::five_hour(Tool::Codex), "primary"), (LimitKey::weekly(Tool::Codex), "secondary")]
        {
            let said = found.limits.get(&window);
            let expected = truth["rate_limits"].get(name);
            let percent = |it: &Value| it["used_percent"].as_f64().unwrap();
            assert_eq!(said.and_then(|it| it.used_percent), expected.map(percent), "{what}: {name}");
            let resets_at = said.and_then(|it| it.resets_at).map(|at| Timestamp::unix_ms(at) / 1000);
            assert_eq!(resets_at, expected.and_then(|it| it["resets_at"].as_i64()), "{what}: {name}");
        }
    }
}

/// The context of every session that the live state shows, as if the dashboard had been started at that moment.
fn check_contexts(tool: Tool, root: &Path, truth: &Value, now: Timestamp, what: &str) -> usize {
    let config = TrackerConfig { zone: ZoneOffsets::default(), ..TrackerConfig::default() };
    let mut trackers = Trackers::new(config, Arc::new(PriceTable::embedded()));
    for mut file in Found::new(tool, root).files {
        let id = trackers.file(tool, &file.name);
        let mut take = |record: Record| trackers.record(id, &record, now);
        assert_eq!(file.reader.read(&file.bytes, &mut take), Reading::Valid);
        assert_eq!(file.reader.finish(&mut take), Reading::Valid);
    }
    let state = trackers.begin(now);
    let shown = state.sessions.values().filter_map(|session| Some((session, session.context.as_ref()?)));
    let mut compared = 0;
    for (session, context) in shown {
        let expected = &truth["sessions"][session.id.as_str()]["context"];
        let Some(fields) = expected.as_object() else { continue };
        let used = context.now.used.map(|used| used.0);
        assert_eq!(json!(used), fields["used"], "{what}: used by {}", session.id);
        assert_eq!(json!(context.now.limit.0), fields["limit"], "{what}: limit of {}", session.id);
        compared += 1;
    }
    compared
}

fn check_directory(tool: Tool, root: &Path, truth: &Value, what: &str) {
    check(&Found::new(tool, root).one_by_one(), truth, what);
    for seed in 1..=2 {
        check(&Found::new(tool, root).all_at_once(seed), truth, &format!("{what}, grown with seed {seed}"));
    }
}

fn samples() -> PathBuf {
    PathBuf::from(env::var_os("DASHBOARD_SAMPLES").expect("DASHBOARD_SAMPLES names the samples"))
}

fn truth(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("truth.json")).expect("it comes with its truth")).unwrap()
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES"]
fn every_set_of_samples() {
    let mut compared = [0, 0];
    for entry in fs::read_dir(samples()).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("truth.json").is_file() {
            continue;
        }
        let (truth, what) = (truth(&dir), dir.display().to_string());
        if truth.get("totals").is_some() {
            check_directory(Tool::ClaudeCode, &dir, &truth, &what);
            compared[0] += 1;
        }
        if let Some(codex) = truth.get("codex") {
            check_directory(Tool::Codex, &dir.join("codex"), codex, &format!("{what}, codex"));
            compared[1] += 1;
        }
    }
    assert!(compared.iter().all(|&sets| sets >= 2), "{compared:?}");
}

#[test]
#[ignore = "needs DASHBOARD_SAMPLES and the generator beside it"]
fn damaged_corpora_of_six_seeds() {
    let generator = samples().join("../tools/gen_corpus.py");
    assert!(generator.is_file(), "there is no {}", generator.display());
    // The sixth is damaged fifty times as much.
    let mut contexts = 0;
    for (seed, damage) in [(1, "0.004"), (2, "0.004"), (3, "0.004"), (4, "0.004"), (5, "0.004"), (6, "0.2")] {
        let dir = env::temp_dir().join(format!("dashboard-corpus-{}-{seed}", std::process::id()));
        let made = Command::new("python3")
            .arg(&generator)
            .arg(&dir)
            .args(["--mb", "20", "--corrupt", "--codex", "--damage", damage, "--seed", &seed.to_string()])
            .output()
            .expect("python3 runs the generator");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let truth = truth(&dir);
        check_directory(Tool::ClaudeCode, &dir, &truth, &format!("seed {seed}"));
        check_directory(Tool::Codex, &dir.join("codex"), &truth["codex"], &format!("seed {seed}, codex"));
        let now = Timestamp::parse(truth["now"].as_str().unwrap()).unwrap();
        contexts += check_contexts(Tool::ClaudeCode, &dir, &truth, now, &format!("seed {seed}"));
        contexts +=
            check_contexts(Tool::Codex, &dir.join("codex"), &truth["codex"], now, &format!("seed {seed}, codex"));
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(contexts >= 12, "only {contexts} sessions of today");
}
