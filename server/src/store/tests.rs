//! The store beside a fresh read: whatever happens to the files, and however often the dashboard is restarted, what it
//! recalls and goes on from must come to the same as reading everything anew.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use dashboard_core::event::HealthStatus;
use dashboard_core::history::{Ingest, Response};
use dashboard_core::ids::{AgentId, ModelId, SessionId};
use dashboard_core::ledger::{Ledger, Scope};
use dashboard_core::price::{PriceTable, PromptClass};
use dashboard_core::record::{Activity, ActivityKind, FileCounts, Record, Rejection, Tool};
use dashboard_core::report::{Filter, Report, ReportContext, ReportKind, Retention, Slot, UsageRow, clamped, cuts};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use dashboard_core::transcript::TranscriptReader;
use dashboard_core::units::TokenUsage;
use proptest::prelude::*;
use tempfile::TempDir;

use super::sums::Figures as SumsFigures;
use super::*;
use crate::observation::{RecordSink, SinkClosed, StoredFile};
use crate::source::transcripts::Transcripts;

const NAMES: [&str; 7] = [
    "projects/p/a.jsonl",
    "projects/p/b.jsonl",
    "projects/p/s/subagents/agent-c.jsonl",
    "projects/q/d.jsonl",
    "sessions/2026/09/14/rollout-e.jsonl",
    "sessions/2026/09/14/rollout-f.jsonl",
    "sessions/2026/09/14/rollout-g.jsonl",
];

fn tool_of(name: &str) -> Tool {
    if name.starts_with("sessions/") { Tool::Codex } else { Tool::ClaudeCode }
}

pub(crate) fn roots(home: &Path) -> [Root; 2] {
    [(Tool::ClaudeCode, "claude"), (Tool::Codex, "codex")].map(|(tool, dir)| Root {
        tool,
        dir: home.join(dir),
        label: String::new(),
    })
}

fn path_of(home: &Path, name: &str) -> PathBuf {
    home.join(if tool_of(name) == Tool::Codex { "codex" } else { "claude" }).join(name)
}

pub(crate) fn options(home: &Path, health: DashboardHealth) -> StoreOptions {
    let zone = Arc::new(ZoneOffsets::utc());
    StoreOptions { dir: home.join("data"), retention_days: None, prices: prices(), zone, health }
}

/// With a tier that some responses of the tests exceed.
pub(crate) fn prices() -> Arc<PriceTable> {
    let table = r#"{"m": {"input_cost_per_token": 1e-6, "input_cost_per_token_above_1k_tokens": 2e-6}}"#;
    Arc::new(PriceTable::parse(table).unwrap())
}

/// What the figures come to.
#[derive(Clone, Debug, PartialEq)]
struct Figures {
    usage: TokenUsage,
    responses: usize,
    counts: FileCounts,
    rejections: Vec<(String, u64)>,
}

fn figures(ledger: &Ledger, scope: Scope) -> Figures {
    let mut usage = TokenUsage::default();
    let mut responses = 0;
    for response in ledger.responses(scope) {
        usage += response.usage;
        responses += 1;
    }
    let place = |rejection: &Rejection| (rejection.file.clone(), rejection.byte_offset);
    let mut rejections: Vec<_> = ledger.rejections(scope).map(place).collect();
    rejections.sort();
    Figures { usage, responses, counts: ledger.counts(scope), rejections }
}

/// The figures of these files, read anew; each with whether it still is on the disk.
fn fresh(files: &BTreeMap<&str, (Vec<u8>, bool)>, scope: Scope) -> Figures {
    let mut ledger = Ledger::default();
    for (name, (bytes, present)) in files {
        let file = ledger.file(tool_of(name), name);
        let mut reader = TranscriptReader::new(tool_of(name), name);
        let mut claim = |record| match record {
            Record::Usage(usage) => ledger.claim(file, &usage, &mut |_| {}),
            Record::Lineage(lineage) => ledger.lineage(file, &lineage, &mut |_| {}),
            _ => {}
        };
        let _ = reader.read(bytes, &mut claim);
        let _ = reader.finish(&mut claim);
        ledger.set_counts(file, reader.counts());
        reader.take_rejections().into_iter().for_each(|rejection| ledger.reject(file, rejection));
        if !present {
            ledger.archive(file);
        }
    }
    figures(&ledger, scope)
}

/// A call of a tool: when it began, when it ended, its name, the size of its result.
type Call = (Option<i64>, Option<i64>, Option<String>, Option<i64>);

/// What a file says its session did: turns, each with when it ended and how long it took; calls of tools.
#[derive(Debug, Default, PartialEq)]
struct Did {
    turns: BTreeMap<i64, (Option<i64>, Option<i64>)>,
    calls: BTreeMap<i64, Call>,
}

impl Did {
    /// As one reading it in one go finds it.
    fn fresh(name: &str, bytes: &[u8]) -> Self {
        let mut did = Self::default();
        let mut reader = TranscriptReader::new(tool_of(name), name).with_activity();
        let _ = reader.read(bytes, &mut |record| {
            let Record::Activity(Activity { at, what, .. }) = record else { return };
            let at = at.unix_ms();
            match what {
                ActivityKind::TurnStarted => drop(did.turns.entry(at).or_default()),
                ActivityKind::TurnEnded { worked_ms } => {
                    let last = did.turns.range_mut(..=at).next_back();
                    if let Some((_, turn @ (None, _))) = last {
                        *turn = (Some(at), worked_ms.map(u64::cast_signed));
                    }
                }
                ActivityKind::ToolStarted { call, name } => {
                    let call = did.calls.entry(call.number().cast_signed()).or_default();
                    call.0 = call.0.or(Some(at));
                    call.2.get_or_insert(name.to_string());
                }
                ActivityKind::ToolEnded { call, result_bytes, .. } => {
                    let call = did.calls.entry(call.number().cast_signed()).or_default();
                    if call.1.is_none() {
                        (call.1, call.3) = (Some(at), result_bytes.map(u64::cast_signed));
                    }
                }
            }
        });
        did
    }

    /// As the store has it.
    fn stored(data: &Path, name: &str) -> Self {
        let connection = schema::open_to_read(&database(data)).unwrap();
        let mut did = Self::default();
        let of_file = "file IN (SELECT id FROM files WHERE name = ?1)";
        let sql = format!("SELECT started_at, ended_at, worked_ms FROM turns WHERE {of_file}");
        let mut turns = connection.prepare(&sql).unwrap();
        let mut rows = turns.query([name]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            did.turns.insert(row.get(0).unwrap(), (row.get(1).unwrap(), row.get(2).unwrap()));
        }
        let sql = format!(
            "SELECT call, started_at, ended_at, text, result_bytes FROM tool_calls
             LEFT JOIN names ON names.id = name WHERE {of_file}"
        );
        let mut calls = connection.prepare(&sql).unwrap();
        let mut rows = calls.query([name]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let call = (row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap(), row.get(4).unwrap());
            assert!(did.calls.insert(row.get(0).unwrap(), call).is_none(), "one row for each call");
        }
        did
    }
}

/// The engine, as far as the ledger is concerned.
#[derive(Clone, Default)]
struct Engine(Arc<Mutex<Ledger>>);

impl Engine {
    fn take(&self, message: SourceMessage) {
        let mut ledger = self.0.lock().unwrap();
        match message {
            SourceMessage::Read { file, records, rejections, state, replaces } => {
                let file = ledger.file(file.tool, &file.key);
                if replaces {
                    ledger.retract(file, &mut |_| {});
                }
                for record in records {
                    match record {
                        Record::Usage(usage) => ledger.claim(file, &usage, &mut |_| {}),
                        Record::Lineage(lineage) => ledger.lineage(file, &lineage, &mut |_| {}),
                        _ => {}
                    }
                }
                rejections.into_iter().for_each(|rejection| ledger.reject(file, rejection));
                ledger.set_counts(file, state.counts);
            }
            SourceMessage::Retract { file } => {
                let file = ledger.file(file.tool, &file.key);
                ledger.retract(file, &mut |_| {});
            }
            SourceMessage::Archive { file } => {
                let file = ledger.file(file.tool, &file.key);
                ledger.archive(file);
            }
            _ => {}
        }
    }

    fn figures(&self, scope: Scope) -> Figures {
        figures(&self.0.lock().unwrap(), scope)
    }
}

/// Numbers of messages: the last one of each file.
type Sent = Arc<Mutex<(u64, HashMap<Arc<TranscriptFile>, u64>)>>;

struct Recipients(Engine, StoreSender, Sent);

impl RecordSink for Recipients {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        let mut sent = self.2.lock().unwrap();
        sent.0 += 1;
        let number = sent.0;
        if let SourceMessage::Read { file, .. } | SourceMessage::Retract { file } | SourceMessage::Archive { file } =
            &message
        {
            sent.1.insert(Arc::clone(file), number);
        }
        self.1.keep(number, message.clone());
        self.0.take(message);
        Ok(())
    }

    fn wants_activity(&self) -> bool {
        true
    }
}

/// Gives out all that the store holds, and says what of it cannot be read.
fn load(
    store: &Store,
    roots: &[Root],
    take: impl FnMut(StoredFile) -> Result<(), SinkClosed>,
) -> Result<(), SinkClosed> {
    let failure = match HistoryReader::open(&store.database(), roots).and_then(|reader| reader.load(take)) {
        Ok(Ok(unreadable)) => {
            store.sender().report_rows(unreadable);
            return Ok(());
        }
        Ok(Err(closed)) => return Err(closed),
        Err(error) if error.is_damage() => ReadFailure::Damage(error.to_string()),
        Err(error) => ReadFailure::Other(error.to_string()),
    };
    store.sender().read_failed(&failure);
    Ok(())
}

/// Takes what is repeated for the store alone.
struct Repetition(StoreSender);

impl RecordSink for Repetition {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        self.0.keep(0, message);
        Ok(())
    }

    fn wants_activity(&self) -> bool {
        true
    }
}

/// A dashboard without its page.
struct Dashboard {
    engine: Engine,
    transcripts: Transcripts,
    store: Store,
    sent: Sent,
}

impl Dashboard {
    fn start(home: &Path) -> Self {
        Self::with(home, DashboardHealth::default())
    }

    fn with(home: &Path, health: DashboardHealth) -> Self {
        let roots = roots(home);
        let store = Store::open(options(home, health)).unwrap();
        let engine = Engine::default();
        let sent = Sent::default();
        let out = Recipients(engine.clone(), store.sender(), Arc::clone(&sent));
        let mut transcripts = Transcripts::new(&roots, Box::new(out));
        let loaded = load(&store, &roots, |StoredFile { found, state, archived, records, rejections }| {
            let file = Arc::new(found);
            transcripts.resume(Arc::clone(&file), state.clone(), archived);
            let (read, state) = (Arc::clone(&file), Box::new(state));
            engine.take(SourceMessage::Read { file: read, records, rejections, state, replaces: false });
            if archived {
                engine.take(SourceMessage::Archive { file });
            }
            Ok(())
        });
        loaded.unwrap();
        Self { engine, transcripts, store, sent }
    }

    /// Waits until everything sent so far is committed.
    fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.sent.lock().unwrap().1.is_empty() {
            assert!(Instant::now() < deadline, "not committed");
            let committed = self.store.sender().take_committed();
            let mut sent = self.sent.lock().unwrap();
            sent.1.retain(|file, number| committed.get(file).is_none_or(|committed| committed < number));
            drop(sent);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Repeats what the store asks for.
    fn repeat(&mut self) {
        let sender = self.store.sender();
        let RepeatRequests { mut files, everything } = sender.take_repeats();
        if everything {
            files.extend(self.transcripts.files());
        }
        for file in files {
            self.transcripts.repeat(Arc::clone(&file), &Repetition(sender.clone())).unwrap();
            sender.keep(0, SourceMessage::Repeated { file, newest: 0 });
        }
        if everything {
            sender.keep(0, SourceMessage::EverythingRepeated);
        }
    }

    fn stop(self) -> Written {
        drop(self.transcripts);
        self.store.close()
    }
}

/// What may happen to a file, or to the dashboard.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append(usize, String),
    Truncate(usize, prop::sample::Index),
    Rewrite(usize, String),
    Replace(usize, String),
    Prepend(usize, String),
    Delete(usize),
    Rename(usize, usize),
    Look,
    Restart,
}

/// A response. Its time, session, agent, size and model follow from its numbers: some have no time, some are exactly on a
/// quarter hour, and some claims on a message say another time than others.
fn line(id: u64, output: u64, sidechain: bool) -> String {
    let timestamp = match (id + output) % 5 {
        0 => String::new(),
        1 => r#""timestamp":"2026-09-14T15:15:00Z","#.to_owned(),
        late => format!(r#""timestamp":"2026-09-14T15:{:02}:{late:02}Z","#, 10 + id),
    };
    let agent = if sidechain && id.is_multiple_of(2) { r#""agentId":"x","# } else { "" };
    let input = if output > 60 { 2_000 } else { id };
    format!(
        r#"{{"type":"assistant",{timestamp}{agent}"sessionId":"s{}","isSidechain":{sidechain},"requestId":"r{}","message":{{"id":"m{id}","model":"{}","usage":{{"input_tokens":{input},"output_tokens":{output}}}}}}}"#,
        output % 2,
        id % 3,
        if id == 7 { "n" } else { "m" },
    )
}

/// Lines of a Codex session, forked or not, whose rows begin like those of all others.
fn codex() -> impl Strategy<Value = String> {
    let meta = (0u8..3, prop::option::of(0u8..3), 0u8..2).prop_map(|(id, parent, second)| {
        let parent = parent.map_or(String::new(), |parent| format!(r#","forked_from_id":"c{parent}""#));
        format!(
            r#"{{"timestamp":"2026-09-14T15:00:0{second}Z","type":"session_meta","payload":{{"id":"c{id}"{parent},"timestamp":"2026-09-14T15:00:0{second}Z","cwd":"/c"}}}}"#
        ) + "\n"
    });
    let rows = prop::collection::vec(prop_oneof![4 => Just(0u64), 1 => 0u64..3], 0..4).prop_map(|extra| {
        let row = |(index, extra): (usize, &u64)| {
            let (last, total) = (10 + extra, 10 * (index as u64 + 1) + extra);
            format!(
                r#"{{"timestamp":"2026-09-14T15:0{index}:30Z","type":"event_msg","payload":{{"type":"token_count","info":{{"total_token_usage":{{"input_tokens":{total},"output_tokens":1}},"last_token_usage":{{"input_tokens":{last},"output_tokens":1}}}}}}}}"#
            ) + "\n"
        };
        extra.iter().enumerate().map(row).collect::<String>()
    });
    prop_oneof![
        4 => (meta, rows.clone()).prop_map(|(meta, rows)| meta + &rows),
        2 => rows,
        1 => Just(r#"{"timestamp":"2026-09-14T15:05:00Z","type":"session_meta","payload":{"id":"c0""#.to_owned()),
    ]
}

/// A line that says what the session did, or the end of one.
fn deed(kind: u8, id: u64, second: u64) -> String {
    let rest = match kind {
        0 => r#""type":"user","message":{"content":"text"}"#.to_owned(),
        1 => r#""type":"system","subtype":"turn_duration","durationMs":7"#.to_owned(),
        2 => format!(
            r#""type":"assistant","message":{{"content":[{{"type":"tool_use","id":"t{id}","name":"Tool{id}"}}]}}"#
        ),
        _ => format!(
            r#""type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"t{id}","content":"text"}}]}}"#
        ),
    };
    format!(r#"{{"timestamp":"2026-09-14T15:07:{second:02}Z",{rest}}}"#)
}

/// Whole lines, mostly; now and then a damaged, unfinished or spliced one.
fn text() -> impl Strategy<Value = String> {
    let whole = (0u64..12, 0u64..100, any::<bool>()).prop_map(|(id, output, side)| line(id, output, side) + "\n");
    let cut = (0u64..12, 5usize..60).prop_map(|(id, at)| line(id, 7, false)[..at].to_owned());
    let open = (0u64..12, 0u64..100).prop_map(|(id, output)| line(id, output, false));
    let deed = || (0u8..4, 0u64..4, 0u64..60).prop_map(|(kind, id, second)| deed(kind, id, second));
    let deeds = prop::collection::vec(deed().prop_map(|line| line + "\n"), 1..6).prop_map(|lines| lines.concat());
    prop_oneof![
        6 => prop::collection::vec(whole, 1..4).prop_map(|lines| lines.concat()),
        1 => cut,
        2 => open,
        4 => deeds,
        1 => deed(),
        1 => Just("\n".to_owned()),
        1 => Just("garbage\n\0\0".to_owned()),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let file = || 0..NAMES.len();
    let written = || {
        (file(), text(), codex()).prop_map(|(file, claude, codex)| match tool_of(NAMES[file]) {
            Tool::Codex => (file, codex),
            _ => (file, claude),
        })
    };
    prop_oneof![
        6 => written().prop_map(|(file, text)| Step::Append(file, text)),
        1 => (file(), any::<prop::sample::Index>()).prop_map(|(file, at)| Step::Truncate(file, at)),
        2 => written().prop_map(|(file, text)| Step::Rewrite(file, text)),
        1 => written().prop_map(|(file, text)| Step::Replace(file, text)),
        1 => written().prop_map(|(file, text)| Step::Prepend(file, text)),
        1 => file().prop_map(Step::Delete),
        1 => (file(), file())
            .prop_filter("a file stays with its tool", |(a, b)| tool_of(NAMES[*a]) == tool_of(NAMES[*b]))
            .prop_map(|(from, to)| Step::Rename(from, to)),
        4 => Just(Step::Look),
        2 => Just(Step::Restart),
    ]
}

/// Does to files what the step says. Whether it renamed one.
pub(crate) fn change_files(home: &Path, step: &Step) -> bool {
    let path = |file: usize| path_of(home, NAMES[file]);
    let write = |file: usize, bytes: &[u8]| {
        fs::create_dir_all(path(file).parent().unwrap()).unwrap();
        fs::write(path(file), bytes).unwrap();
    };
    match step {
        Step::Append(file, text) => {
            fs::create_dir_all(path(*file).parent().unwrap()).unwrap();
            let mut open = OpenOptions::new().create(true).append(true).open(path(*file)).unwrap();
            open.write_all(text.as_bytes()).unwrap();
        }
        Step::Truncate(file, at) => {
            if let Ok(open) = OpenOptions::new().write(true).open(path(*file)) {
                let length = open.metadata().unwrap().len();
                open.set_len(at.index(usize::try_from(length).unwrap() + 1) as u64).unwrap();
            }
        }
        Step::Rewrite(file, text) => write(*file, text.as_bytes()),
        Step::Replace(file, text) => {
            if path(*file).exists() {
                let other = path(*file).with_extension("tmp");
                fs::write(&other, text.repeat(2)).unwrap();
                fs::rename(other, path(*file)).unwrap();
            }
        }
        Step::Prepend(file, text) => {
            let old = fs::read(path(*file)).unwrap_or_default();
            write(*file, &[text.as_bytes(), &old].concat());
        }
        Step::Delete(file) => drop(fs::remove_file(path(*file))),
        Step::Rename(from, to) => {
            if from != to && path(*from).exists() {
                fs::create_dir_all(path(*to).parent().unwrap()).unwrap();
                fs::rename(path(*from), path(*to)).unwrap();
                return true;
            }
        }
        Step::Look | Step::Restart => {}
    }
    false
}

/// Files, the dashboard following them, and what it should know.
struct World {
    home: TempDir,
    dashboard: Option<Dashboard>,
    /// By name: what was in the file when it was last looked at, and whether it was there.
    known: BTreeMap<&'static str, (Vec<u8>, bool)>,
    /// Whether a file that appeared may be one that went, which only its fingerprints can tell.
    renamed: bool,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dashboard = Some(Dashboard::start(home.path()));
        Self { home, dashboard, known: BTreeMap::new(), renamed: false }
    }

    fn do_step(&mut self, step: &Step) {
        match step {
            Step::Look => self.look(),
            Step::Restart => {
                self.dashboard.take().unwrap().stop();
                self.check_deeds();
                self.dashboard = Some(Dashboard::start(self.home.path()));
                self.look();
            }
            change => self.renamed |= change_files(self.home.path(), change),
        }
    }

    fn look(&mut self) {
        let dashboard = self.dashboard.as_mut().unwrap();
        dashboard.transcripts.rescan().unwrap();
        for name in NAMES {
            match fs::read(path_of(self.home.path(), name)) {
                Ok(bytes) => {
                    let is_new = self.known.get(name).is_none_or(|known| !known.1);
                    let gone = |known: &(Vec<u8>, bool)| !known.1 && bytes.starts_with(&known.0);
                    self.renamed |= is_new && self.known.values().any(gone);
                    self.known.insert(name, (bytes, true));
                }
                Err(_) => drop(self.known.get_mut(name).map(|known| known.1 = false)),
            }
        }
    }

    /// Of present files, everything must be equal; with deleted ones, what counts. A renamed file stands under both
    /// names in `known`, and later takes back what it said under its first one: that bounds what counts.
    fn check(&self) {
        self.check_sums();
        let engine = &self.dashboard.as_ref().unwrap().engine;
        let present = self.known.iter().filter(|(_, (_, present))| *present);
        let present = present.map(|(name, known)| (*name, known.clone())).collect();
        let found = engine.figures(Scope::OnDisk);
        let expected = fresh(&present, Scope::OnDisk);
        assert_eq!(found, expected);
        let (all, most) = (engine.figures(Scope::All), fresh(&self.known, Scope::All));
        if self.renamed {
            assert!((found.responses..=most.responses).contains(&all.responses));
        } else {
            assert_eq!((all.usage, all.responses), (most.usage, most.responses));
        }
    }
}

/// A row of sums, as everybody can compute it.
type SumsRow = (Option<Slot>, Tool, SessionId, Option<AgentId>, ModelId, PromptClass);

impl World {
    /// Sums are those of the responses by the ledger, however claims came and went; so is what is folded from the claims.
    fn check_sums(&self) {
        let dashboard = self.dashboard.as_ref().unwrap();
        dashboard.settle();
        let mut expected: BTreeMap<SumsRow, SumsFigures> = BTreeMap::new();
        for record in dashboard.engine.0.lock().unwrap().responses(Scope::All) {
            let class = prices().class(&record.model, &record.usage);
            let key = (record.at.map(Slot::of), record.tool, record.session, record.agent, record.model, class);
            let row = expected.entry(key).or_default();
            row.add(&SumsFigures {
                usage: clamped(record.usage),
                responses: 1,
                with_tokens: u64::from(record.usage.total().0 > 0),
                span: record.at.map(|at| (at, at)),
            });
        }
        let database = database(&self.home.path().join("data"));
        let reader = HistoryReader::open(&database, &roots(self.home.path())).unwrap();
        let found = |prices: &PriceTable| -> BTreeMap<SumsRow, SumsFigures> {
            let usage = reader.usage(prices, |_| std::iter::empty()).unwrap();
            let row = |row: UsageRow<'_>| {
                let key = (
                    row.slot(),
                    row.tool,
                    row.session.clone(),
                    row.agent.cloned(),
                    row.model.clone(),
                    PromptClass(row.class.0 % 100),
                );
                let UsageRow { usage, responses, with_tokens, span, .. } = row;
                (key, SumsFigures { usage, responses, with_tokens, span })
            };
            usage.rows().map(row).collect()
        };
        assert_eq!(found(&prices()), expected);
        // A table of other classes is answered from the claims; the same classes as far as these models go.
        let other = r#"{"other": {"input_cost_per_token": 1e-6, "input_cost_per_token_above_9k_tokens": 2e-6}}"#;
        let other = (*prices()).clone().overridden_by(PriceTable::parse(other).unwrap());
        assert_eq!(found(&other), expected);
    }

    /// What sessions did must be in the store as the files said it when they were last looked at. To be asked while no store is open.
    fn check_deeds(&self) {
        for (name, (bytes, present)) in &self.known {
            let stored = Did::stored(&self.home.path().join("data"), name);
            if *present {
                assert_eq!(stored, Did::fresh(name, bytes), "{name}");
            } else if !self.renamed {
                // Of a deleted file without responses nothing is kept.
                let kept = fresh(&BTreeMap::from([(*name, (bytes.clone(), true))]), Scope::All).responses > 0;
                let expected = if kept { Did::fresh(name, bytes) } else { Did::default() };
                assert_eq!(stored, expected, "{name}, which was deleted");
            }
        }
    }
}

fn sequences() -> u32 {
    std::env::var("STORE_SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(sequences()) })]

    #[test]
    fn whatever_happens_the_figures_are_those_of_a_fresh_read(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        for step in steps {
            world.do_step(&step);
            if matches!(step, Step::Look | Step::Restart) {
                world.check();
            }
        }
        world.do_step(&Step::Restart);
        world.check();
        world.dashboard.take().unwrap().stop();
        world.check_deeds();
    }
}

#[test]
fn only_one_dashboard_may_write() {
    let home = tempfile::tempdir().unwrap();
    let first = Store::open(options(home.path(), DashboardHealth::default())).unwrap();
    let second = Store::open(options(home.path(), DashboardHealth::default()));
    assert!(matches!(second, Err(StoreError::Locked(_))));
    first.close();
    Store::open(options(home.path(), DashboardHealth::default())).unwrap().close();
}

#[test]
fn a_damaged_database_is_quarantined_and_rebuilt_from_the_files() {
    let mut world = World::new();
    world.do_step(&Step::Append(0, line(1, 5, false) + "\n"));
    world.do_step(&Step::Restart);
    world.dashboard.take().unwrap().stop();
    fs::write(database(&world.home.path().join("data")), b"this is no database, whatever its name says").unwrap();
    world.dashboard = Some(Dashboard::start(world.home.path()));
    world.do_step(&Step::Look);
    world.check();
    world.do_step(&Step::Restart);
    world.check();
    let aside = fs::read_dir(world.home.path().join("data")).unwrap();
    let aside = aside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 1);
}

#[test]
fn the_view_of_responses_agrees_with_the_ledger() {
    let mut world = World::new();
    for (file, id, output, side) in
        [(0, 1, 3, false), (0, 1, 9, false), (1, 1, 50, true), (2, 2, 4, true), (1, 2, 4, true), (3, 5, 1, false)]
    {
        world.do_step(&Step::Append(file, line(id, output, side) + "\n"));
        world.do_step(&Step::Look);
    }
    world.do_step(&Step::Delete(3));
    world.do_step(&Step::Restart);
    world.check();
    let connection = schema::open_to_read(&database(&world.home.path().join("data"))).unwrap();
    let sums = connection
        .query_row("SELECT count(*), sum(output) FROM responses", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let expected = world.dashboard.as_ref().unwrap().engine.figures(Scope::All);
    assert_eq!(sums, (expected.responses as i64, expected.usage.output.0.cast_signed()));
}

/// A write lock held by somebody else fails as a full disk does.
#[test]
fn a_store_that_cannot_be_written_says_so_and_catches_up() {
    let mut world = World::new();
    world.dashboard.take().unwrap().stop();
    let health = DashboardHealth::default();
    world.dashboard = Some(Dashboard::with(world.home.path(), health.clone()));
    let becomes = |status| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while health.check().components["store"].status != status {
            assert!(Instant::now() < deadline, "{:?}", health.check().components["store"]);
            thread::sleep(Duration::from_millis(10));
        }
        health.check().components["store"].message.clone()
    };
    world.do_step(&Step::Append(0, line(1, 5, false) + "\n"));
    world.do_step(&Step::Look);
    becomes(HealthStatus::Healthy);

    let other = rusqlite::Connection::open(database(&world.home.path().join("data"))).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for id in 2..5 {
        world.do_step(&Step::Append(0, line(id, 7, false) + "\n"));
        world.do_step(&Step::Append(1, line(id, 90, false) + "\n"));
        world.do_step(&Step::Look);
    }
    assert!(becomes(HealthStatus::Degraded).contains("history is not being kept"));
    other.execute_batch("ROLLBACK").unwrap();
    becomes(HealthStatus::Healthy);
    world.dashboard.as_mut().unwrap().repeat();
    world.check();

    // What the files said is known when they have gone.
    let before = world.dashboard.as_ref().unwrap().engine.figures(Scope::All);
    world.do_step(&Step::Restart);
    world.do_step(&Step::Delete(0));
    world.do_step(&Step::Delete(1));
    world.do_step(&Step::Restart);
    let after = world.dashboard.as_ref().unwrap().engine.figures(Scope::All);
    assert_eq!((after.usage, after.responses), (before.usage, 4));
}

/// Counted, so that no noise can fail it.
#[test]
fn an_append_is_one_transaction_of_few_rows_and_a_restart_is_none() {
    let mut world = World::new();
    for (file, name) in NAMES.iter().enumerate().filter(|(_, name)| tool_of(name) == Tool::ClaudeCode) {
        let ids = (file as u64 * 500)..(file as u64 * 500 + 500);
        world.do_step(&Step::Append(file, ids.map(|id| line(id, 7, false) + "\n").collect()));
        // As old as most files are: what has just changed may change again within a tick of the file system's clock.
        let open = OpenOptions::new().append(true).open(path_of(world.home.path(), name)).unwrap();
        open.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    }
    world.do_step(&Step::Look);
    let Written { transactions, rows } = world.dashboard.take().unwrap().stop();
    // A claim for each, and little besides: files, names, sums. How many transactions depends on how fast they come.
    assert!((1..=4).contains(&transactions), "{transactions}");
    assert!((2_000..2_100).contains(&rows), "{rows}");

    let restart = |world: &mut World, step: Option<Step>| {
        world.dashboard = Some(Dashboard::start(world.home.path()));
        step.iter().for_each(|step| world.do_step(step));
        world.do_step(&Step::Look);
        world.dashboard.take().unwrap().stop()
    };
    assert_eq!(restart(&mut world, None), Written::default());
    let appended = restart(&mut world, Some(Step::Append(0, line(10_000, 7, false) + "\n")));
    assert_eq!(appended.transactions, 1);
    // The claim, its names, its file and root, when its session was seen, and its sum.
    assert!((2..=12).contains(&appended.rows), "{appended:?}");
}

/// Waits until the store's health is of this status, and says how it is.
fn becomes(health: &DashboardHealth, status: HealthStatus, words: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let store = health.check().components.get("store").cloned();
        if let Some(store) = store.filter(|store| store.status == status && store.message.contains(words)) {
            return store.message;
        }
        assert!(Instant::now() < deadline, "{:?}", health.check().components.get("store"));
        thread::sleep(Duration::from_millis(5));
    }
}

fn sql(world: &World, sql: &str) {
    rusqlite::Connection::open(database(&world.home.path().join("data"))).unwrap().execute_batch(sql).unwrap();
}

fn quarantined(world: &World) -> Vec<String> {
    let names = fs::read_dir(world.home.path().join("data")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("damaged")).collect()
}

#[test]
fn rows_that_are_not_understood_are_left_out_and_their_files_read_again() {
    let mut world = World::new();
    world.do_step(&Step::Append(0, line(1, 5, false) + "\n" + &line(3, 5, false) + "\n"));
    world.do_step(&Step::Append(1, line(2, 7, false) + "\n"));
    world.do_step(&Step::Append(3, line(4, 7, false) + "\n" + &line(5, 7, false) + "\n"));
    world.do_step(&Step::Look);
    world.do_step(&Step::Delete(3));
    world.do_step(&Step::Restart);
    world.dashboard.take().unwrap().stop();
    // As `update files set state='{}'` by hand; the deleted file's other claim counts.
    sql(&world, "UPDATE files SET state = '{}'");
    sql(
        &world,
        "UPDATE claims SET input = -5 WHERE file = (SELECT id FROM files WHERE archived_at IS NOT NULL) AND byte_offset = 0",
    );
    // The sums were made before that; here they are made anew.
    sql(&world, "DELETE FROM meta; UPDATE sums SET input = 77");
    // What the first file says now is not what the database has of it: it must not be mixed.
    world.do_step(&Step::Rewrite(0, line(6, 9, false) + "\n"));
    let health = DashboardHealth::default();
    world.dashboard = Some(Dashboard::with(world.home.path(), health.clone()));
    let message = becomes(&health, HealthStatus::Degraded, "could not be understood");
    assert!(message.starts_with("4 rows"), "{message}");
    world.do_step(&Step::Look);
    world.known.get_mut(NAMES[3]).unwrap().0 = (line(5, 7, false) + "\n").into_bytes();
    let engine = world.dashboard.as_ref().unwrap().engine.clone();
    let expected = fresh(&world.known, Scope::All);
    let found = engine.figures(Scope::All);
    assert_eq!((found.usage, found.responses), (expected.usage, expected.responses));
    assert_eq!(quarantined(&world), Vec::<String>::new(), "the database stays");
    world.check_sums();
    // They have been read again: nothing is left to complain of but the deleted file's.
    world.dashboard.take().unwrap().stop();
    let health = DashboardHealth::default();
    world.dashboard = Some(Dashboard::with(world.home.path(), health.clone()));
    assert!(becomes(&health, HealthStatus::Degraded, "could not be understood").starts_with("2 rows"));
}

#[test]
fn a_damaged_database_is_quarantined_with_its_log() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    Store::open(options(home.path(), DashboardHealth::default())).unwrap().close();
    // A log is left behind, as after a crash.
    let connection = schema::open(&database(&data)).unwrap();
    connection.execute_batch("INSERT INTO names (text) VALUES ('kept in the log')").unwrap();
    drop(connection);
    let log = data.join("history.sqlite-wal");
    let before = fs::read(&log).unwrap();
    assert!(!before.is_empty());
    let mut bytes = fs::read(database(&data)).unwrap();
    bytes[..16].copy_from_slice(b"no SQLite format");
    fs::write(database(&data), &bytes).unwrap();

    let health = DashboardHealth::default();
    let store = Store::open(options(home.path(), health.clone())).unwrap();
    assert!(becomes(&health, HealthStatus::Degraded, "was damaged").contains("damaged-"));
    store.close();
    let names: Vec<String> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("damaged"))
        .collect();
    let log = names.iter().find(|name| name.ends_with("-wal")).unwrap();
    assert_eq!(fs::read(data.join(log)).unwrap(), before);
    let database = names.iter().find(|name| name.ends_with(".sqlite")).unwrap();
    assert_eq!(fs::read(data.join(database)).unwrap(), bytes);
}

#[test]
fn only_what_sqlite_calls_damage_is_damage() {
    use rusqlite::ffi;
    let of = |code| is_damage(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    assert!(of(ffi::SQLITE_CORRUPT) && of(ffi::SQLITE_NOTADB));
    for code in [
        ffi::SQLITE_IOERR,
        ffi::SQLITE_NOMEM,
        ffi::SQLITE_FULL,
        ffi::SQLITE_BUSY,
        ffi::SQLITE_ERROR,
        ffi::SQLITE_READONLY,
        ffi::SQLITE_CANTOPEN,
        ffi::SQLITE_CONSTRAINT,
    ] {
        assert!(!of(code), "{code}");
    }
    assert!(!is_damage(&rusqlite::Error::IntegralValueOutOfRange(1, -5)));
}

#[test]
fn a_data_directory_that_cannot_be_opened_is_tried_again() {
    let mut world = World::new();
    world.dashboard.take().unwrap().stop();
    let data = world.home.path().join("data");
    fs::remove_dir_all(&data).unwrap();
    fs::write(&data, "a file where the directory should be").unwrap();
    let health = DashboardHealth::default();
    world.dashboard = Some(Dashboard::with(world.home.path(), health.clone()));
    world.do_step(&Step::Append(0, line(1, 5, false) + "\n"));
    world.dashboard.as_mut().unwrap().transcripts.rescan().unwrap();
    let message = becomes(&health, HealthStatus::Degraded, "history is not being kept");
    assert!(message.contains("--data-dir") && message.contains("data"), "{message}");
    assert_eq!(world.dashboard.as_ref().unwrap().engine.figures(Scope::All).responses, 1, "the figures go on");

    fs::remove_file(&data).unwrap();
    becomes(&health, HealthStatus::Healthy, "history in");
    world.dashboard.as_mut().unwrap().repeat();
    // What was sent while it was closed is acknowledged once it has been repeated.
    world.do_step(&Step::Look);
    world.check();
    world.do_step(&Step::Delete(0));
    world.do_step(&Step::Restart);
    assert_eq!(world.dashboard.as_ref().unwrap().engine.figures(Scope::All).responses, 1);
}

#[test]
fn a_database_of_another_program_is_named_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir_all(&data).unwrap();
    let other = rusqlite::Connection::open(database(&data)).unwrap();
    other.execute_batch("CREATE TABLE bookmarks (url TEXT); PRAGMA user_version = 57").unwrap();
    drop(other);
    let before = fs::read(database(&data)).unwrap();
    let health = DashboardHealth::default();
    let store = Store::open(options(home.path(), health.clone())).unwrap();
    let message = becomes(&health, HealthStatus::Degraded, "another program");
    assert!(message.contains("history.sqlite") && message.contains("move it"), "{message}");
    store.close();
    assert_eq!(fs::read(database(&data)).unwrap(), before);
}

#[test]
fn a_later_schema_is_refused() {
    let home = tempfile::tempdir().unwrap();
    Store::open(options(home.path(), DashboardHealth::default())).unwrap().close();
    let connection = rusqlite::Connection::open(database(&home.path().join("data"))).unwrap();
    connection.execute_batch("PRAGMA user_version = 9").unwrap();
    drop(connection);
    let opened = Store::open(options(home.path(), DashboardHealth::default()));
    assert!(matches!(opened, Err(StoreError::Newer { found: 9, .. })));
}

#[cfg(unix)]
#[test]
fn other_users_cannot_read_the_history() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let store = Store::open(options(home.path(), DashboardHealth::default())).unwrap();
    assert_eq!((mode(&data), mode(&database(&data))), (0o700, 0o600));
    assert_eq!(mode(&data.join("history.sqlite-wal")), 0o600);
    store.close();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(database(&data), fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(options(home.path(), DashboardHealth::default())).unwrap().close();
    assert_eq!((mode(&data), mode(&database(&data))), (0o700, 0o600), "tightened");
}

/// A database of the first release, with its roots below `home`.
fn first_release(home: &Path) {
    let data = home.join("data");
    for dir in [&data, &home.join("claude"), &home.join("codex")] {
        fs::create_dir_all(dir).unwrap();
    }
    let connection = rusqlite::Connection::open(database(&data)).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = OFF").unwrap();
    connection.execute_batch(include_str!("migrations/0001.sql")).unwrap();
    let path = |name: &str| home.join(name).to_string_lossy().into_owned();
    let rows = include_str!("../../tests/fixtures/history-v1.sql");
    let rows = rows.replace("{X}", &path("claude")).replace("{CODEX}", &path("codex"));
    connection.execute_batch(&rows).unwrap();
    connection.execute_batch("PRAGMA user_version = 1").unwrap();
}

/// Output by session, of everything and of what is left of the deleted transcripts.
fn outputs(reader: &HistoryReader) -> BTreeMap<String, (u64, u64)> {
    let mut sessions: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in reader.usage(&prices(), |_| std::iter::empty()).unwrap().rows() {
        let session = sessions.entry(row.session.to_string()).or_default();
        session.0 += row.responses;
        session.1 += row.usage.output.0;
    }
    sessions
}

#[test]
fn a_database_of_the_first_release_is_migrated_and_keeps_what_deleted_transcripts_said() {
    let home = tempfile::tempdir().unwrap();
    first_release(home.path());
    let expected: BTreeMap<String, (u64, u64)> = [
        // Its last line was read under the other spelling of the root only. A sidechain's claim on its second message is
        // void, a second one counts.
        ("s-a", (4, 90 + 20 + 30 + 4)),
        // A parent that was deleted, and the fork's own row.
        ("c-parent", (2, 10)),
        ("c-fork", (1, 5)),
        // Deleted; a claim with a negative count is left out, one whose session is missing counts for none.
        ("s-g", (2, 3_000_000)),
        ("s-o", (1, 13)),
        ("s-t", (1, 500)),
    ]
    .map(|(session, figures)| (session.to_owned(), figures))
    .into();

    let path = database(&home.path().join("data"));
    let roots = roots(home.path());
    let before = fs::read(&path).unwrap();
    let reader = HistoryReader::open(&path, &roots).unwrap();
    assert_eq!(outputs(&reader), expected, "a report need not wait for the migration");
    drop(reader);
    assert_eq!(fs::read(&path).unwrap(), before);

    let health = DashboardHealth::default();
    let store = Store::open(options(home.path(), health.clone())).unwrap();
    let mut files = Vec::new();
    load(&store, &roots, |file| {
        files.push(file);
        Ok(())
    })
    .unwrap();
    becomes(&health, HealthStatus::Degraded, "could not be understood");
    store.close();
    let names: Vec<(&str, bool, usize)> =
        files.iter().map(|file| (file.found.name.as_str(), file.archived, file.records.len())).collect();
    assert_eq!(names.len(), 7, "each file once: {names:?}");
    let of = |name: &str| files.iter().find(|file| file.found.name.ends_with(name)).unwrap();
    assert!(of("gone.jsonl").archived && of("rollout-parent.jsonl").archived);
    assert_eq!(of("a.jsonl").state.checkpoint.counts.bytes, 1_988, "the spelling that was read further");
    let limits = of("rollout-fork.jsonl").records.iter().filter(|record| matches!(record, Record::RateLimit(_)));
    assert_eq!(limits.count(), 4);

    let reader = HistoryReader::open(&path, &roots).unwrap();
    assert_eq!(outputs(&reader), expected);
    let vacuum: i64 = reader.connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
    let version: i64 = reader.connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((vacuum, version), (2, 2));
    let claims = reader.claims_on(&["msg_g1".into()]).unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].record.session.as_str(), claims[0].archived), ("s-g", true));
}

#[cfg(unix)]
#[test]
fn doubled_roots_become_one() {
    let home = tempfile::tempdir().unwrap();
    first_release(home.path());
    // The second spelling is that of a link.
    std::os::unix::fs::symlink(home.path().join("claude"), home.path().join("link")).unwrap();
    let path = database(&home.path().join("data"));
    let link = home.path().join("link").to_string_lossy().into_owned();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE files SET root = ?1 WHERE root LIKE '%claude/'", [&link]).unwrap();
    drop(connection);
    Store::open(options(home.path(), DashboardHealth::default())).unwrap().close();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM roots"), 2);
    assert_eq!(count("SELECT count(*) FROM files"), 7);
}

#[test]
fn a_repair_corrects_sums_and_winners_and_refuses_while_a_dashboard_runs() {
    let mut world = World::new();
    for (file, id, output, side) in [(0, 1, 3, false), (1, 1, 50, true), (3, 2, 4, false), (1, 2, 4, false)] {
        world.do_step(&Step::Append(file, line(id, output, side) + "\n"));
    }
    world.do_step(&Step::Append(4, r#"{"type":"session_meta","payload":{"id":"c0"}}"#.to_owned() + "\n"));
    world.do_step(&Step::Look);
    let data = world.home.path().join("data");
    assert!(matches!(repair(&data, &prices()), Err(StoreError::Locked(_))));
    world.dashboard.take().unwrap().stop();
    let repaired = repair(&data, &prices()).unwrap().unwrap();
    assert_eq!((repaired.claims_corrected, repaired.problems.len()), (0, 0));
    sql(&world, "UPDATE claims SET wins = 1 - wins; UPDATE sums SET output = 9, model = 1");
    let repaired = repair(&data, &prices()).unwrap().unwrap();
    assert_eq!(repaired.claims_corrected, 4);
    world.dashboard = Some(Dashboard::start(world.home.path()));
    world.check_sums();
    assert_eq!(repair(&world.home.path().join("nowhere"), &prices()).unwrap(), None);
}

/// Every report made from the store is the one made from single responses, to the byte, at every moment: also one between
/// responses of one row.
#[test]
fn reports_from_sums_are_those_of_single_responses() {
    let mut world = World::new();
    for (file, id, output, side) in [
        (0, 1, 3, false),
        (0, 1, 9, false),
        (1, 1, 50, true),
        (2, 2, 4, true),
        (1, 2, 4, true),
        (3, 5, 1, false),
        (0, 7, 77, false),
    ] {
        world.do_step(&Step::Append(file, line(id, output, side) + "\n"));
    }
    let second = |second: u32, id: u64| {
        format!(
            r#"{{"type":"assistant","timestamp":"2026-09-14T16:01:{second:02}Z","cwd":"/a/p","sessionId":"s0","message":{{"id":"c{id}","model":"m","usage":{{"output_tokens":1}}}}}}"#
        ) + "\n"
    };
    for at in 0..10 {
        world.do_step(&Step::Append(0, second(at * 5, u64::from(at))));
    }
    world.do_step(&Step::Append(0, r#"{"type":"cost-state","sessionId":"s0","timestamp":"2026-09-14T16:01:22Z","totalCostUSD":0.5,"modelUsage":{"m":{"inputTokens":3,"outputTokens":4,"cacheReadInputTokens":0,"cacheCreationInputTokens":0,"costUSD":0.5}}}"#.to_owned() + "\n"));
    world.do_step(&Step::Append(
        4,
        r#"{"timestamp":"2026-09-14T15:00:00Z","type":"session_meta","payload":{"id":"c0","cwd":"/c"}}"#.to_owned()
            + "\ngarbage\n",
    ));
    world.do_step(&Step::Look);
    world.do_step(&Step::Delete(3));
    world.do_step(&Step::Restart);
    world.check_sums();
    let reader = HistoryReader::open(&database(&world.home.path().join("data")), &roots(world.home.path())).unwrap();
    let ledger = world.dashboard.as_ref().unwrap().engine.0.lock().unwrap();
    let responses: Vec<_> = ledger.responses(Scope::All).collect();
    let sessions = reader.sessions().unwrap();
    assert!(sessions.accounts.time_of(&"s0".into()).is_some());
    let prices = prices();
    let zone = ZoneOffsets::utc();
    assert!(reader.usage(&prices, |_| std::iter::empty()).unwrap().len() < responses.len());
    for now in ["2026-09-14T15:56:27Z", "2026-09-14T17:00:00Z", "2026-09-13T00:00:00Z"] {
        let now = Timestamp::parse(now).unwrap();
        let usage = reader.usage(&prices, |session| cuts(now, sessions.accounts.time_of(session))).unwrap();
        let ingest = reader.ingest(&usage).unwrap();
        assert_eq!(
            Ingest { roots: Vec::new(), ..ingest.clone() },
            Ingest::of(&ledger, Scope::All, responses.iter().map(|record| record.tool)),
        );
        let filter = Filter::default();
        let retention = Retention::default();
        let context = ReportContext {
            sessions: &sessions,
            ingest: &ingest,
            prices: &prices,
            zone: &zone,
            now,
            filter: &filter,
            retention: &retention,
        };
        for kind in ReportKind::ALL {
            let single = responses.iter().map(Response::from);
            let single = Report::new(kind, context, single.map(|response| UsageRow::of(&response, &prices)));
            let summed = Report::new(kind, context, usage.rows());
            assert_eq!(
                serde_json::to_string_pretty(&summed).unwrap(),
                serde_json::to_string_pretty(&single).unwrap(),
                "{kind} at {now}"
            );
        }
    }
}

/// With another price table the sums are rebuilt in slices, while writing goes on.
#[test]
fn sums_follow_the_price_table() {
    let mut world = World::new();
    for id in 0..40 {
        world.do_step(&Step::Append(usize::try_from(id % 4).unwrap(), line(id, 90, false) + "\n"));
    }
    world.do_step(&Step::Restart);
    world.dashboard.take().unwrap().stop();
    let classes = |prices: &PriceTable| {
        let reader =
            HistoryReader::open(&database(&world.home.path().join("data")), &roots(world.home.path())).unwrap();
        let usage = reader.usage(prices, |_| std::iter::empty()).unwrap();
        let mut classes = BTreeMap::<u8, u64>::new();
        usage.rows().for_each(|row| *classes.entry(row.class.0).or_default() += row.responses);
        classes
    };
    let flat = PriceTable::parse(r#"{"m": {"input_cost_per_token": 1e-6}}"#).unwrap();
    let before = classes(&prices());
    assert!(before[&1] > 30 && classes(&flat) == BTreeMap::from([(0, 40)]), "{before:?}");

    let with_flat =
        StoreOptions { prices: Arc::new(flat.clone()), ..options(world.home.path(), DashboardHealth::default()) };
    let store = Store::open(with_flat).unwrap();
    let connection = schema::open_to_read(&database(&world.home.path().join("data"))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let fingerprint = flat.classes_fingerprint().cast_signed();
    while !sums::Progress::read(&connection, fingerprint).unwrap().is_some_and(sums::Progress::is_complete) {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(5));
    }
    store.close();
    let rows: (i64, i64) = connection
        .query_row("SELECT sum(responses), max(class) FROM sums", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(rows, (40, 0));
    assert_eq!(classes(&prices()), before, "of the other table from the claims");
}

#[test]
fn retention_forgets_everything_of_what_it_forgets_and_gives_the_space_back() {
    let mut world = World::new();
    let now = crate::clock::wall();
    // A project only the old file knows, 4,000 responses, a turn, an undated response; a recent file, deleted too.
    let at = |days: i64, second: i64| now.plus_ms(-days * dashboard_core::time::DAY_MS + second * 1_000);
    let response = |session: &str, id: i64, at: Option<Timestamp>| {
        let at = at.map_or(String::new(), |at| format!(r#""timestamp":"{at}","#));
        format!(
            r#"{{"type":"assistant",{at}"sessionId":"{session}","cwd":"/secret/{session}","requestId":"r","message":{{"id":"{session}-{id}","model":"model-of-{session}","usage":{{"output_tokens":1}}}}}}"#
        ) + "\n"
    };
    let mut old: String = (0..4_000).map(|id| response("old", id, Some(at(40, id)))).collect();
    old += &response("old", 999, None);
    old += &format!(
        r#"{{"type":"user","sessionId":"old","timestamp":"{}","message":{{"content":"text"}}}}"#,
        at(40, 5_000)
    );
    old += "\n";
    let both = response("half", 1, Some(at(40, 0))) + &response("half", 2, Some(at(2, 0)));
    world.do_step(&Step::Append(0, old.clone()));
    world.do_step(&Step::Append(1, both));
    // As old, but still there.
    world.do_step(&Step::Append(3, response("present", 1, Some(at(40, 0)))));
    world.do_step(&Step::Look);
    world.do_step(&Step::Delete(0));
    world.do_step(&Step::Delete(1));
    world.do_step(&Step::Look);
    world.dashboard.take().unwrap().stop();
    let path = database(&world.home.path().join("data"));
    let size = fs::metadata(&path).unwrap().len();

    let kept = StoreOptions { retention_days: Some(30), ..options(world.home.path(), DashboardHealth::default()) };
    let store = Store::open(kept).unwrap();
    let connection = schema::open_to_read(&path).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while count("SELECT count(*) FROM names WHERE text LIKE '%old'") > 0
        || connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0)).unwrap() > 0
    {
        assert!(Instant::now() < deadline, "while running");
        thread::sleep(Duration::from_millis(5));
    }
    store.close();
    assert_eq!(count("SELECT count(*) FROM files"), 2);
    assert_eq!(count("SELECT count(*) FROM claims"), 2, "the recent one, and the one that is still there");
    assert_eq!(count("SELECT sum(responses) FROM sums"), 2);
    for table in ["turns", "limit_reports", "appearances"] {
        assert_eq!(
            count(&format!("SELECT count(*) FROM {table} WHERE file NOT IN (SELECT id FROM files)")),
            0,
            "{table}"
        );
    }
    assert_eq!(count("SELECT count(*) FROM turns"), 0);
    drop(connection);
    let left = fs::read(&path).unwrap();
    assert!(left.len() as u64 * 2 < size, "{} of {size} bytes", left.len());
    let contains = |text: &[u8]| left.windows(text.len()).any(|window| window == text);
    assert!(!contains(b"/secret/old") && contains(b"/secret/half"));
}

#[test]
fn a_writer_that_panics_is_named_and_nobody_waits_for_it() {
    let health = DashboardHealth::default();
    let inbox = Inbox::default();
    // A queue that nobody empties, and that is full.
    let (queue, _messages) = sync_channel(inbox::MAX_MESSAGES);
    (0..inbox::MAX_MESSAGES).for_each(|_| inbox.wait(&queue, || WriterMessage::HistoryRead));
    let writer = || -> Written { panic!("a mistake") };
    let ended =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer::report_panic(&health, &inbox, writer)));
    assert!(ended.is_err());
    assert_eq!(health.check().status, HealthStatus::Unhealthy);
    assert!(health.check().components["store"].message.contains("panicked"));
    // This would wait for ever.
    inbox.wait(&queue, || WriterMessage::HistoryRead);
}
