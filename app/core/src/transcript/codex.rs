//! What Codex writes: rollout lines → records.
//!
//! A rollout tells after each response the tokens of that response and of the session so far. Some builds write every
//! such row twice; a row whose sum has not changed is passed over. A fork begins with its parent's rows, written anew:
//! so that they can be told from new ones, whatever file is read first, a row's message id is a hash of all rows up to
//! it, and the file's [`Lineage`] says to whose it may be equal. The [ledger](crate::ledger) does the rest.
//!
//! Codex counts cached input as input; here the kinds are disjoint. As with every tool, each field is optional and
//! anything may be of any type. This module knows the format and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{self, Count, Value, object};
use super::{
    ContextRule, Format, Home, HomeVariable, Identity, ParserMemory, Shape, ToolSpec, Transcripts, UsualPlace, call_id,
    tool_name,
};
use crate::ids::{MessageId, ModelId, SessionId};
use crate::record::{
    AccountReport, Activity, ActivityKind, Compaction, CompactionTrigger, ContextFill, Credits, LimitKey, LimitName,
    LimitScope, Lineage, Place, RateLimitReport, Record, RejectReason, ResponseId, SessionMeta, Tool, UsageRecord,
    WindowMinutes,
};
use crate::time::{MINUTE_MS, SECOND_MS, Timestamp};
use crate::units::{TokenUsage, Tokens};

/// What is known of Codex.
pub(super) const SPEC: ToolSpec = ToolSpec {
    title: "Codex",
    home: Home {
        variables: &[HomeVariable { name: "CODEX_HOME", is_list: false, below: "" }],
        usual: &[UsualPlace::Home(".codex")],
    },
    transcripts: &[
        Transcripts { pattern: "sessions/**/*.jsonl", shape: Shape::Lines },
        // Of sessions put away.
        Transcripts { pattern: "archived_sessions/**/*.jsonl", shape: Shape::Lines },
    ],
    companion: None,
    presence: None,
    identity: Identity::Row,
    // It says 95 % of its model's window, and compacts at 90 % of the whole.
    context: ContextRule::Stated { compacts_at: |window| Tokens(window.0 / 95 * 90) },
    retention: None,
    usage_file: None,
    status_line: None,
    usage_answer: None,
};

/// Types of records we have seen, read or not. Before September 2025, items stood in the lines themselves.
const KNOWN_TYPES: [&str; 16] = [
    "compacted",
    "custom_tool_call",
    "custom_tool_call_output",
    "event_msg",
    "function_call",
    "function_call_output",
    "ghost_snapshot",
    "local_shell_call",
    "local_shell_call_output",
    "message",
    "reasoning",
    "response_item",
    "session_meta",
    "state",
    "turn_context",
    "web_search_call",
];

object! {
    /// One object of a rollout, as far as it matters here.
    pub(super) struct Object {
        kind: "type",
        timestamp: "timestamp",
        payload: "payload",
    }
}

/// The part of a result in which its exit code may stand, in bytes.
const HEAD: usize = 400;

/// What the lines of a rollout so far mean for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    lineage: Option<Lineage>,
    cwd: Option<String>,
    branch: Option<String>,
    version: Option<String>,
    /// When the session was last described.
    described: Option<Timestamp>,
    model: Option<ModelId>,
    last: Option<Row>,
    /// What was last said of each limit, by window and scope; at most [`MAX_LIMITS`].
    limits: BTreeMap<String, Limit>,
    /// A hash of what was last said of plan and credits.
    account: Option<u64>,
    /// A turn was said to have begun, and not to have ended. Known to readers that tell what sessions did.
    in_turn: bool,
}

/// A row of token counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// Hash of it and all rows before it, as 32 hexadecimal digits.
    id: String,
    /// The session's sums: input, cached, output, reasoning.
    total: [u64; 4],
}

/// What was last said of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Limit {
    at: Timestamp,
    /// Hundredths of a percent.
    used: Option<u32>,
    resets_at: Option<Timestamp>,
    #[serde(default)]
    rejected: bool,
}

/// Most limits read of one row, and remembered of a file.
const MAX_LIMITS: usize = 32;

/// The `limit_id` of the limit on everything.
const OWN_LIMIT: &str = "codex";

impl ParserMemory for State {
    fn lineage(&self) -> Option<&Lineage> {
        self.lineage.as_ref()
    }
}

/// Turns the objects of one file into records.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    /// The session of a file that names none.
    stem: SessionId,
    state: State,
}

impl Parser {
    pub(super) fn new(path: &str, state: State) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        Self { stem: SessionId::new(name.strip_suffix(".jsonl").unwrap_or(name)), state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn session(&self) -> SessionId {
        self.state.lineage.as_ref().map_or(&self.stem, |lineage| &lineage.session).clone()
    }
}

impl Format for Parser {
    type Object<'a> = Object<'a>;

    fn objects(line: &[u8]) -> Result<Vec<Object<'_>>, RejectReason> {
        json::objects(line)
    }

    fn is_known(object: &Object<'_>) -> bool {
        object.kind.text().is_some_and(|kind| KNOWN_TYPES.contains(&&*kind))
    }

    fn records(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let at = object.timestamp.timestamp();
        let kind = object.kind.text();
        let news = match kind.as_deref() {
            Some("session_meta") => self.session_meta(object.payload, at, out),
            Some("turn_context") => self.turn_context(object.payload),
            _ => false,
        };
        self.describe(news, at, out);
        match kind.as_deref() {
            Some("event_msg") => return self.event(object.payload, at, place, out),
            Some("compacted") => out(Record::Compaction(Compaction {
                session: self.session(),
                at,
                trigger: CompactionTrigger::Unknown,
                pre_tokens: None,
                post_tokens: None,
            })),
            _ => {}
        }
        0
    }

    fn activity(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Activity)) {
        let Some(at) = object.timestamp.timestamp() else { return };
        let session = self.session();
        let mut did = |what| out(Activity { session: session.clone(), agent: None, at, what });
        match object.kind.text().as_deref() {
            Some("event_msg") => self.turn(object.payload, &mut did),
            Some("response_item") => item(object.payload, place, &mut did),
            _ => {}
        }
    }
}

/// A call of a tool, or its result: `function_call`, `custom_tool_call_output` and so on.
fn item(payload: Value<'_>, place: Place, did: &mut impl FnMut(ActivityKind)) {
    let [kind, id, name, status, output] = payload.fields(&["type", "call_id", "name", "status", "output"]);
    let Some(kind) = kind.text() else { return };
    let call = call_id(id.id().as_deref(), place);
    if let Some(kind) = kind.strip_suffix("_call") {
        did(ActivityKind::ToolStarted { call, name: tool_name(name.text().as_deref().or(Some(kind))) });
        // Nothing could refer to it later: what the vendor itself does, such as a search, is written when it is over.
        if id.id().is_none() {
            did(ActivityKind::ToolEnded {
                call,
                ok: status.text().map(|status| status == "completed"),
                result_bytes: None,
            });
        }
    } else if kind.ends_with("_output") {
        did(ActivityKind::ToolEnded { call, ok: succeeded(output), result_bytes: output.size() });
    }
}

/// Whether a command ended well, if its result says so: in words before its output, or in JSON within the string.
fn succeeded(output: Value<'_>) -> Option<bool> {
    let text = output.raw_text()?;
    if text.starts_with(b"{") {
        let text = output.text()?;
        let [metadata] = json::document(text.as_bytes())?.fields(&["metadata"]);
        let [code] = metadata.fields(&["exit_code"]);
        return match code.count() {
            Count::Absent => None,
            Count::Is(code) => Some(code == 0),
            Count::Bad => Some(false),
        };
    }
    let head = &text[..text.len().min(HEAD)];
    let head = &head[..memchr::memmem::find(head, b"Output:").unwrap_or(head.len())];
    let code = ["Exit code: ", "Process exited with code "].iter().find_map(|words| {
        let at = memchr::memmem::find(head, words.as_bytes())?;
        Some(&head[at + words.len()..])
    })?;
    Some(code.first() == Some(&b'0'))
}

impl Parser {
    /// Turns are said to begin and end; in some rollouts there are only the user's messages.
    fn turn(&mut self, payload: Value<'_>, did: &mut impl FnMut(ActivityKind)) {
        let [kind, duration] = payload.fields(&["type", "duration_ms"]);
        match kind.text().as_deref() {
            Some("task_started" | "turn_started") => {
                self.state.in_turn = true;
                did(ActivityKind::TurnStarted);
            }
            Some("user_message") if !self.state.in_turn => did(ActivityKind::TurnStarted),
            Some("task_complete" | "turn_complete" | "turn_aborted") => {
                self.state.in_turn = false;
                let worked_ms = if let Count::Is(ms) = duration.count() { Some(ms) } else { None };
                did(ActivityKind::TurnEnded { worked_ms });
            }
            _ => {}
        }
    }

    /// The first one is the file's own; a fork's file goes on with its parent's. Whether it said anything new.
    fn session_meta(&mut self, payload: Value<'_>, at: Option<Timestamp>, out: &mut impl FnMut(Record)) -> bool {
        let [id, parent, began, cwd, version, git] =
            payload.fields(&["id", "forked_from_id", "timestamp", "cwd", "cli_version", "git"]);
        let (None, Some(id)) = (&self.state.lineage, id.id()) else { return false };
        let lineage = Lineage {
            session: SessionId::new(&*id),
            parent: parent.id().map(|id| SessionId::new(&*id)),
            started_at: began.timestamp().or(at),
        };
        self.state.lineage = Some(lineage.clone());
        out(Record::Lineage(lineage));
        let [branch] = git.fields(&["branch"]);
        let mut news = false;
        for (known, value) in
            [(&mut self.state.cwd, cwd), (&mut self.state.branch, branch), (&mut self.state.version, version)]
        {
            news |= learn(known, value);
        }
        news
    }

    /// Whether it said anything new.
    fn turn_context(&mut self, payload: Value<'_>) -> bool {
        let [model, cwd] = payload.fields(&["model", "cwd"]);
        if let Some(name) = model.id()
            && self.state.model.as_ref().is_none_or(|known| known.as_str() != name)
        {
            self.state.model = Some(ModelId::new(&*name));
        }
        learn(&mut self.state.cwd, cwd)
    }

    /// Says where the session runs, if that is news or a second has passed.
    fn describe(&mut self, news: bool, at: Option<Timestamp>, out: &mut impl FnMut(Record)) {
        let due = at.is_some_and(|at| self.state.described.is_none_or(|last| at.ms_since(last) >= SECOND_MS));
        if !news && !due {
            return;
        }
        if due {
            self.state.described = at;
        }
        out(Record::Session(SessionMeta {
            tool: Tool::Codex,
            session: self.session(),
            agent: None,
            cwd: self.state.cwd.clone(),
            branch: self.state.branch.clone(),
            version: self.state.version.clone(),
            at: self.state.described,
        }));
    }

    /// How many rows were passed over.
    fn event(&mut self, payload: Value<'_>, at: Option<Timestamp>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let [kind, info, limits] = payload.fields(&["type", "info", "rate_limits"]);
        if kind.text().is_none_or(|kind| kind != "token_count") {
            return 0;
        }
        let repeated = self.row(info, at, place, out);
        if let Some(at) = at {
            self.limits(limits, at, out);
        }
        repeated
    }

    fn row(&mut self, info: Value<'_>, at: Option<Timestamp>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let [total, last, window, model] =
            info.fields(&["total_token_usage", "last_token_usage", "model_context_window", "model"]);
        if !(total.is_object() && last.is_object()) {
            return 0;
        }
        let mut bad_counts = 0;
        let last @ [input, cached, output, reasoning] = counts(last, &mut bad_counts);
        let total = counts(total, &mut 0);
        let known = self.state.model.as_ref();
        let model = match model.id() {
            Some(name) if known.is_none_or(|known| known.as_str() != name) => ModelId::new(&*name),
            _ => known.cloned().unwrap_or_else(|| ModelId::new("unknown")),
        };
        let repeated = self.state.last.as_ref().is_some_and(|before| before.total == total);
        if !repeated {
            let id = row_id(self.state.last.as_ref().map(|before| before.id.as_str()), last, total);
            let message = MessageId::of(&id);
            self.state.last = Some(Row { id, total });
            out(Record::Usage(UsageRecord {
                tool: Tool::Codex,
                session: self.session(),
                agent: None,
                sidechain: false,
                id: ResponseId::Row(message),
                model: model.clone(),
                at,
                usage: TokenUsage {
                    input: Tokens(input.saturating_sub(cached)),
                    output: Tokens(output),
                    cache_read: Tokens(cached.min(input)),
                    reasoning: Tokens(reasoning.min(output)),
                    ..TokenUsage::default()
                },
                place,
                bad_counts,
            }));
        }
        if let Count::Is(window @ 1..) = window.count() {
            let (session, used, window) = (self.session(), Tokens(input), Tokens(window));
            out(Record::Context(ContextFill { tool: Tool::Codex, session, at, model, used, window }));
        }
        u64::from(repeated)
    }

    /// Passes on what is said of limits and of the account, if it is news or a minute has passed.
    fn limits(&mut self, limits: Value<'_>, at: Timestamp, out: &mut impl FnMut(Record)) {
        let [id, name, reached] = limits.fields(&["limit_id", "limit_name", "rate_limit_reached_type"]);
        let is_reached = reached.id().is_some();
        for (slot, limit) in limits.members(MAX_LIMITS) {
            let [percent, minutes, resets_at, resets_in] =
                limit.fields(&["used_percent", "window_minutes", "resets_at", "resets_in_seconds"]);
            if !limit.is_object() || (percent.is_null() && minutes.is_null()) {
                continue;
            }
            // The slot says the length only where nothing else does.
            let (usual, scope) = match &*slot {
                "primary" => (Some(WindowMinutes::FIVE_HOURS), scope_of(id, name)),
                "secondary" => (Some(WindowMinutes::WEEK), scope_of(id, name)),
                other => (None, LimitName::new(other).map_or(LimitScope::AllModels, LimitScope::Other)),
            };
            let Some(window) = window_of(minutes.count(), usual) else { continue };
            let limit = LimitKey { scope, ..LimitKey::all_models(Tool::Codex, window) };
            let used_percent = percent.number().filter(|percent| (0.0..=1e6).contains(percent));
            let resets_at = resets_at.epoch_seconds().or_else(|| match resets_in.count() {
                Count::Is(seconds) => i64::try_from(seconds).ok().map(|s| at.plus_ms(s.saturating_mul(SECOND_MS))),
                Count::Absent | Count::Bad => None,
            });
            // Of several limits, the one that is used up is the one that was reached.
            let rejected = is_reached && used_percent.is_some_and(|percent| percent >= 100.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10^8")]
            let used = used_percent.map(|percent| (percent * 100.0) as u32);
            let said = Limit { at, used, resets_at, rejected };
            let is_known = |before: &Limit| Limit { at, ..*before } == said && at.ms_since(before.at) < MINUTE_MS;
            let key = limit.window_text();
            if self.state.limits.get(&key).is_some_and(is_known) {
                continue;
            }
            if self.state.limits.len() < MAX_LIMITS || self.state.limits.contains_key(&key) {
                self.state.limits.insert(key, said);
            }
            let session = Some(self.session());
            out(Record::RateLimit(RateLimitReport { limit, at, used_percent, resets_at, rejected, session }));
        }
        self.account(limits, at, out);
    }

    /// Passes on what is said of plan and credits, if it is news.
    fn account(&mut self, limits: Value<'_>, at: Timestamp, out: &mut impl FnMut(Record)) {
        let [plan, credits, reached] = limits.fields(&["plan_type", "credits", "rate_limit_reached_type"]);
        let [has, unlimited, balance] = credits.fields(&["has_credits", "unlimited", "balance"]);
        let word = |value: Value<'_>| value.id().and_then(|text| LimitName::new(&text));
        let account = AccountReport {
            tool: Tool::Codex,
            at,
            plan: word(plan),
            credits: credits.is_object().then(|| Credits {
                available: has.is_true(),
                unlimited: unlimited.is_true(),
                // A number, or the text of one.
                balance: balance.number().or_else(|| balance.text()?.parse().ok()).filter(|it: &f64| it.is_finite()),
            }),
            reached: word(reached),
        };
        if account.plan.is_none() && account.credits.is_none() && account.reached.is_none() {
            return;
        }
        let digest = format!("{:?} {:?} {:?}", account.plan, account.credits, account.reached);
        let digest = xxhash_rust::xxh3::xxh3_64(digest.as_bytes());
        if self.state.account != Some(digest) {
            self.state.account = Some(digest);
            out(Record::Account(account));
        }
    }
}

/// What a limit counts: that of the tool itself everything, others what they are named after.
fn scope_of(id: Value<'_>, name: Value<'_>) -> LimitScope {
    match id.id() {
        Some(id) if id != OWN_LIMIT => {
            let name = name.id().unwrap_or(id);
            LimitName::new(&name).map_or(LimitScope::AllModels, LimitScope::Other)
        }
        _ => LimitScope::AllModels,
    }
}

/// Takes a text that is there; whether it is another one.
fn learn(known: &mut Option<String>, value: Value<'_>) -> bool {
    let Some(text) = value.id().filter(|text| known.as_deref() != Some(&**text)) else { return false };
    *known = Some(text.into_owned());
    true
}

/// Input, cached, output, reasoning.
fn counts(usage: Value<'_>, bad_counts: &mut u32) -> [u64; 4] {
    let fields = ["input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens"];
    usage.fields(&fields).map(|value| match value.count() {
        Count::Is(number) => number,
        Count::Absent => 0,
        Count::Bad => {
            *bad_counts += 1;
            0
        }
    })
}

/// The length that is meant by so many minutes: some versions round it off.
fn window_of(minutes: Count, usual: Option<WindowMinutes>) -> Option<WindowMinutes> {
    match minutes {
        Count::Is(290..=310) => Some(WindowMinutes::FIVE_HOURS),
        Count::Is(10_000..=10_160) => Some(WindowMinutes::WEEK),
        Count::Is(0) => None,
        Count::Is(other) => u32::try_from(other).ok().map(WindowMinutes),
        Count::Absent | Count::Bad => usual,
    }
}

/// The name of a row: equal in two files if all rows up to it are. FNV-1a, so that it never changes.
fn row_id(before: Option<&str>, last: [u64; 4], total: [u64; 4]) -> String {
    let before = before.unwrap_or_default().as_bytes();
    let counts = last.into_iter().chain(total).flat_map(u64::to_le_bytes);
    let hash =
        before.iter().copied().chain(counts).fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        });
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Reading, TranscriptReader};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PATH: &str = "sessions/2026/02/23/rollout-x.jsonl";
    const META: &str = r#"{"timestamp":"2026-02-23T11:40:29.275Z","type":"session_meta","payload":{"id":"s1","timestamp":"2026-02-23T11:40:23.298Z","cwd":"/home/ada/engine","cli_version":"0.128.0","git":{"branch":"main"}}}"#;
    const TURN: &str = r#"{"timestamp":"2026-02-23T11:40:29.289Z","type":"turn_context","payload":{"cwd":"/home/ada/engine","model":"gpt-5.5"}}"#;

    fn read(lines: &[&str]) -> (Vec<Record>, TranscriptReader) {
        let mut reader = TranscriptReader::new(Tool::Codex, PATH);
        let mut records = Vec::new();
        assert_eq!(reader.read(lines.join("\n").as_bytes(), &mut |record| records.push(record)), Reading::Valid);
        assert_eq!(reader.finish(&mut |record| records.push(record)), Reading::Valid);
        assert_eq!(reader.counts().rejected_lines + reader.counts().pending_lines, 0, "{lines:?}");
        (records, reader)
    }

    fn usages(lines: &[&str]) -> Vec<UsageRecord> {
        let only_usage = |record| if let Record::Usage(usage) = record { Some(usage) } else { None };
        read(lines).0.into_iter().filter_map(only_usage).collect()
    }

    /// A row: the response's input, cached and output, and the session's input.
    fn row(last: [u64; 3], total: u64) -> String {
        let [input, cached, output] = last;
        format!(
            r#"{{"timestamp":"2026-02-23T11:41:00.000Z","type":"event_msg","payload":{{"type":"token_count","info":{{"total_token_usage":{{"input_tokens":{total}}},"last_token_usage":{{"input_tokens":{input},"cached_input_tokens":{cached},"output_tokens":{output},"reasoning_output_tokens":2}},"model_context_window":258400}},"rate_limits":null}}}}"#
        )
    }

    fn limits(at: &str, limits: &str) -> String {
        format!(
            r#"{{"timestamp":"{at}","type":"event_msg","payload":{{"type":"token_count","info":null,"rate_limits":{limits}}}}}"#
        )
    }

    #[test]
    fn a_rollout() {
        let (records, reader) = read(&[META, TURN, &row([100, 40, 7], 100)]);
        let began = Timestamp::parse("2026-02-23T11:40:23.298Z");
        let lineage = Lineage { session: "s1".into(), parent: None, started_at: began };
        let meta = SessionMeta {
            tool: Tool::Codex,
            session: "s1".into(),
            agent: None,
            cwd: Some("/home/ada/engine".into()),
            branch: Some("main".into()),
            version: Some("0.128.0".into()),
            at: Timestamp::parse("2026-02-23T11:40:29.275Z"),
        };
        let at = Timestamp::parse("2026-02-23T11:41:00Z");
        let usage = UsageRecord {
            tool: Tool::Codex,
            session: "s1".into(),
            agent: None,
            sidechain: false,
            id: ResponseId::Row(MessageId::of(&row_id(None, [100, 40, 7, 2], [100, 0, 0, 0]))),
            model: "gpt-5.5".into(),
            at,
            usage: TokenUsage {
                input: Tokens(60),
                output: Tokens(7),
                cache_read: Tokens(40),
                reasoning: Tokens(2),
                ..TokenUsage::default()
            },
            place: Place { byte_offset: META.len() as u64 + TURN.len() as u64 + 2, index: 0 },
            bad_counts: 0,
        };
        let (used, window) = (Tokens(100), Tokens(258_400));
        let fill = ContextFill { tool: Tool::Codex, session: "s1".into(), at, model: "gpt-5.5".into(), used, window };
        assert_eq!(
            records,
            [
                Record::Lineage(lineage.clone()),
                Record::Session(meta.clone()),
                Record::Session(SessionMeta { at, ..meta }),
                Record::Usage(usage),
                Record::Context(fill),
            ]
        );
        assert_eq!(reader.counts().unknown_records, 0);
        assert_eq!(reader.checkpoint().lineage(), Some(&lineage));
    }

    #[test]
    fn a_row_whose_sum_has_not_changed_is_a_repeat_but_tells_the_context() {
        let lines =
            [META, &row([100, 40, 7], 100), &row([100, 40, 7], 100), &row([90, 0, 1], 100), &row([5, 0, 1], 105)];
        let (records, reader) = read(&lines);
        assert_eq!(usages(&lines).iter().map(|usage| usage.usage.context().0).collect::<Vec<_>>(), [100, 5]);
        assert_eq!((reader.counts().usage_records, reader.counts().repeated_records), (4, 2));
        let only_fill = |record| if let Record::Context(fill) = record { Some(fill.used.0) } else { None };
        assert_eq!(records.into_iter().filter_map(only_fill).collect::<Vec<_>>(), [100, 100, 90, 5]);
    }

    #[test]
    fn a_rows_id_is_that_of_all_rows_before_it() {
        let rows = [row([1, 0, 1], 1), row([2, 0, 1], 3), row([1, 0, 1], 4)];
        let ids = |rows: &[&str]| usages(rows).into_iter().map(|usage| usage.id.message().unwrap()).collect::<Vec<_>>();
        let whole = ids(&[META, &rows[0], &rows[1], &rows[2]]);
        let fork = META.replace(r#""id":"s1""#, r#""id":"s2","forked_from_id":"s1""#);
        assert_eq!(ids(&[&fork, &rows[0], &rows[0], &rows[1]]), whole[..2]);
        assert_ne!(ids(&[META, &rows[1], &rows[2]])[1], whole[2]);
        assert_eq!(
            whole[0],
            MessageId::of("041dbabe6b3e33ee9f94f2741bcddc0e"),
            "it is kept in databases: another hash would be another response"
        );
    }

    #[test]
    fn the_first_meta_with_an_id_is_the_files_own() {
        let no_id = r#"{"type":"session_meta","payload":{"cwd":"/x","forked_from_id":"s9"}}"#;
        let fork =
            r#"{"type":"session_meta","timestamp":"2026-02-23T12:00:00Z","payload":{"id":"s2","forked_from_id":"s1"}}"#;
        let (records, reader) = read(&[no_id, fork, META]);
        let lineage = Lineage {
            session: "s2".into(),
            parent: Some("s1".into()),
            started_at: Timestamp::parse("2026-02-23T12:00:00Z"),
        };
        assert_eq!(reader.checkpoint().lineage(), Some(&lineage));
        assert_eq!(records.iter().filter(|record| matches!(record, Record::Lineage(_))).count(), 1);
        assert_eq!(usages(&[&row([1, 0, 1], 1)])[0].session, "rollout-x".into());
    }

    #[test]
    fn the_model_is_the_rows_or_the_turns() {
        let named = row([2, 0, 1], 3).replace(r#""model_context_window""#, r#""model":"gpt-x","model_context_window""#);
        let found = usages(&[META, &row([1, 0, 1], 1), TURN, &named, &row([1, 0, 1], 4)]);
        assert_eq!(found.iter().map(|usage| usage.model.as_str()).collect::<Vec<_>>(), ["unknown", "gpt-x", "gpt-5.5"]);
    }

    #[test]
    fn absurd_counts_are_zero_and_counted() {
        let odd = row([1, 0, 1], 1).replace(r#""cached_input_tokens":0"#, r#""cached_input_tokens":-3"#);
        let more_cached = row([1, 5, 1], 2);
        let found = usages(&[META, &odd, &more_cached]);
        assert_eq!(found.iter().map(|usage| usage.bad_counts).collect::<Vec<_>>(), [1, 0]);
        assert_eq!((found[1].usage.input, found[1].usage.cache_read), (Tokens(0), Tokens(1)));
    }

    #[test]
    fn rows_that_are_none() {
        for line in [
            r#"{"type":"event_msg","payload":{"type":"token_count","info":null}}"#,
            r#"{"type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{}}}}"#,
            r#"{"type":"event_msg","payload":{"type":"other","info":{"total_token_usage":{},"last_token_usage":{}}}}"#,
            r#"{"type":"response_item","payload":{"type":"token_count","info":{"total_token_usage":{},"last_token_usage":{}}}}"#,
            r#"{"type":"event_msg","payload":[]}"#,
        ] {
            assert!(usages(&[line]).is_empty(), "{line}");
        }
    }

    #[test]
    fn limits_are_passed_on_when_they_are_news() {
        let both = r#"{"primary":{"used_percent":25.5,"window_minutes":300,"resets_at":1771864834},"secondary":{"used_percent":8,"window_minutes":10080,"resets_in_seconds":60}}"#;
        let (records, _) = read(&[META, &limits("2026-02-23T12:00:00Z", both)]);
        let report = |window, used, resets_at| {
            Record::RateLimit(RateLimitReport {
                limit: LimitKey::all_models(Tool::Codex, window),
                at: Timestamp::parse("2026-02-23T12:00:00Z").unwrap(),
                used_percent: Some(used),
                resets_at: Timestamp::parse(resets_at),
                rejected: false,
                session: Some("s1".into()),
            })
        };
        let five_hour = report(WindowMinutes::FIVE_HOURS, 25.5, "2026-02-23T16:40:34Z");
        assert_eq!(records[3..], [five_hour, report(WindowMinutes::WEEK, 8.0, "2026-02-23T12:01:00Z")]);

        let only = |percent: u32, minutes: &str| format!(r#"{{"primary":{{"used_percent":{percent}{minutes}}}}}"#);
        let said: Vec<String> = [
            limits("2026-02-23T12:00:00Z", &only(1, "")),
            limits("2026-02-23T12:00:59Z", &only(1, r#","window_minutes":299"#)),
            limits("2026-02-23T12:01:00Z", &only(1, "")),
            limits("2026-02-23T12:01:01Z", &only(2, "")),
            limits("2026-02-23T12:01:02Z", &only(3, r#","window_minutes":43200"#)),
            limits("today", &only(4, "")),
            limits("2026-02-23T12:01:03Z", r#""text""#),
        ]
        .to_vec();
        let (records, _) = read(&said.iter().map(String::as_str).collect::<Vec<_>>());
        let only_report = |record| if let Record::RateLimit(report) = record { report.used_percent } else { None };
        assert_eq!(records.into_iter().filter_map(only_report).collect::<Vec<_>>(), [1.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn several_limits_credits_and_the_plan() {
        let spark = r#"{"limit_id":"codex_x","limit_name":"GPT-5.3 Spark","primary":{"used_percent":100.0,"window_minutes":43200,"resets_at":1771864834},"secondary":null,"individual_limit":{"used_percent":12,"window_minutes":1440},"credits":{"has_credits":true,"unlimited":false,"balance":"12.5"},"plan_type":"pro","rate_limit_reached_type":"rate_limit_reached"}"#;
        let own = spark.replace("codex_x", "codex").replace("100.0", "99.9");
        let (records, _) = read(&[
            META,
            &limits("2026-02-23T12:00:00Z", spark),
            &limits("2026-02-23T12:00:01Z", &own),
            &limits("2026-02-23T12:00:02Z", spark),
            &limits("2026-02-23T12:00:03Z", &spark.replace("12.5", "12")),
        ]);
        let reports: Vec<_> = records
            .iter()
            .filter_map(|it| if let Record::RateLimit(it) = it { Some(it) } else { None })
            .map(|it| (it.limit.to_string(), it.used_percent, it.rejected))
            .collect();
        let expected = [
            ("codex/43200/other:gpt-5.3-spark", Some(100.0), true),
            ("codex/1440/other:individual_limit", Some(12.0), false),
            ("codex/43200", Some(99.9), false),
        ];
        assert_eq!(reports, expected.map(|(key, used, rejected)| (key.to_owned(), used, rejected)));
        let accounts: Vec<_> =
            records.iter().filter_map(|it| if let Record::Account(it) = it { Some(it) } else { None }).collect();
        let [first, second] = accounts[..] else { panic!("{accounts:?}") };
        assert_eq!(first.plan, LimitName::new("pro"));
        assert_eq!(first.credits, Some(Credits { available: true, unlimited: false, balance: Some(12.5) }));
        assert_eq!(first.reached, LimitName::new("rate_limit_reached"));
        assert_eq!(second.credits.as_ref().and_then(|credits| credits.balance), Some(12.0));
    }

    fn deeds(lines: &[&str]) -> Vec<ActivityKind> {
        let mut reader = TranscriptReader::new(Tool::Codex, PATH).with_activity();
        let mut found = Vec::new();
        let mut out = |record| {
            if let Record::Activity(Activity { session, agent: None, what, .. }) = record {
                assert_eq!(session.as_str(), "s1");
                found.push(what);
            }
        };
        let text = [&[META], lines].concat().join("\n") + "\n";
        assert_eq!(reader.read(text.as_bytes(), &mut out), Reading::Valid);
        assert_eq!(reader.counts().rejected_lines, 0, "{lines:?}");
        assert!(!read(lines).0.iter().any(|record| matches!(record, Record::Activity(_))), "only if asked for");
        found
    }

    fn of_type(kind: &str, payload: &str) -> String {
        format!(r#"{{"timestamp":"2026-02-23T12:00:00Z","type":"{kind}","payload":{payload}}}"#)
    }

    #[test]
    fn turns() {
        let event = |name: &str, rest: &str| of_type("event_msg", &format!(r#"{{"type":"{name}"{rest}}}"#));
        let message = event("user_message", r#","message":"secret""#);
        let (started, ended) =
            (event("task_started", ""), event("task_complete", r#","duration_ms":7,"last_agent_message":"secret""#));
        let aborted = event("turn_aborted", r#","reason":"interrupted""#);
        let [begun, over, stopped] = [
            ActivityKind::TurnStarted,
            ActivityKind::TurnEnded { worked_ms: Some(7) },
            ActivityKind::TurnEnded { worked_ms: None },
        ];
        assert_eq!(
            deeds(&[&started, &message, &ended, &started, &message, &message, &aborted]),
            [begun.clone(), over, begun.clone(), stopped]
        );
        assert_eq!(deeds(&[&message, &message]), [begun.clone(), begun], "where turns are not said to begin");
    }

    #[test]
    fn calls_of_tools() {
        let item = |payload: &str| of_type("response_item", payload);
        let call = |id: &str| call_id(Some(id), Place::default());
        let result = |kind: &str, output: &str| {
            let found = deeds(&[&item(&format!(r#"{{"type":"{kind}_output","call_id":"c1","output":{output}}}"#))]);
            let [ActivityKind::ToolEnded { call: of, ok, result_bytes }] = found[..] else {
                panic!("{output}: {found:?}")
            };
            assert_eq!(of, call("c1"));
            (ok, result_bytes)
        };
        let started = |kind: &str, name: &str| {
            let line =
                item(&format!(r#"{{"type":"{kind}","call_id":"c1"{name},"arguments":"secret","input":"secret"}}"#));
            let found = deeds(&[&line]);
            let [ActivityKind::ToolStarted { call: of, name }] = &found[..] else { panic!("{kind}: {found:?}") };
            assert_eq!(*of, call("c1"));
            name.to_string()
        };
        assert_eq!(started("function_call", r#","name":"exec_command""#), "exec_command");
        assert_eq!(started("custom_tool_call", r#","name":"apply_patch""#), "apply_patch");
        assert_eq!(started("custom_tool_call", r#","name":"not a name""#), "unknown");
        assert_eq!(started("local_shell_call", ""), "local_shell");
        for (output, ok) in [
            (
                r#""Chunk ID: 1\nWall time: 1 seconds\nProcess exited with code 0\nOutput:\nProcess exited with code 1""#,
                Some(true),
            ),
            (r#""Exit code: 124\nOutput:\n""#, Some(false)),
            (r#""Exit code: -1\nOutput:\n""#, Some(false)),
            (r#""Process running with session ID 7\nOutput:\nExit code: 0""#, None),
            (r#""{\"output\":\"x\",\"metadata\":{\"exit_code\":0,\"duration_seconds\":2.2}}""#, Some(true)),
            (r#""{\"output\":\"x\",\"metadata\":{\"exit_code\":-7}}""#, Some(false)),
            (r#""{\"output\":""#, None),
            (r#""Plan updated""#, None),
            (r#"[{"type":"input_text","text":"Exit code: 0"}]"#, None),
        ] {
            assert_eq!(result("function_call", output).0, ok, "{output}");
        }
        assert_eq!(result("custom_tool_call", r#""1\n3""#), (None, Some(4)));
        assert_eq!(result("local_shell_call", "null"), (None, None));

        let search = item(r#"{"type":"web_search_call","status":"completed","action":{"query":"secret"}}"#);
        let found = deeds(&[&search, r#"{"type":"function_call","call_id":"c1","name":"shell"}"#]);
        let call = call_id(None, Place { byte_offset: META.len() as u64 + 1, index: 0 });
        let expected = [
            ActivityKind::ToolStarted { call, name: "web_search".into() },
            ActivityKind::ToolEnded { call, ok: Some(true), result_bytes: None },
        ];
        assert_eq!(found, expected, "and none of a line without a time");
    }

    #[test]
    fn a_compaction() {
        let line = r#"{"timestamp":"2026-02-23T12:00:00Z","type":"compacted","payload":{"message":"private"}}"#;
        let (records, _) = read(&[META, line]);
        let Some(Record::Compaction(compaction)) = records.last() else { panic!("a compaction") };
        assert_eq!((&compaction.session, compaction.post_tokens), (&"s1".into(), None));
    }

    #[test]
    fn reading_goes_on_from_a_checkpoint_within_a_session() {
        let lines = [META.to_owned(), TURN.to_owned(), row([9, 1, 1], 9), row([9, 1, 1], 9), row([8, 1, 1], 17)];
        let whole = lines.join("\n") + "\n";
        for cut in 0..=whole.len() {
            let mut before = TranscriptReader::new(Tool::Codex, PATH);
            let mut records = Vec::new();
            assert_eq!(before.read(&whole.as_bytes()[..cut], &mut |record| records.push(record)), Reading::Valid);
            assert_eq!(before.finish(&mut |_| {}), Reading::Valid);
            let kept = serde_json::to_string(&before.checkpoint()).unwrap();
            let checkpoint: crate::transcript::Checkpoint = serde_json::from_str(&kept).unwrap();
            let reached = usize::try_from(checkpoint.counts.bytes).unwrap();
            let mut after = TranscriptReader::resume(PATH, checkpoint);
            assert_eq!(after.read(&whole.as_bytes()[reached..], &mut |record| records.push(record)), Reading::Valid);
            let (expected, reader) = read(&[&whole]);
            assert_eq!((records, after.counts()), (expected, reader.counts()), "{cut}");
        }
    }
}
