//! What GitHub's Copilot CLI writes: rows of `assistant_usage_events` in `session-store.db`, and
//! `session-state/<session>/events.jsonl` → records.
//!
//! The tool's source is not public. Settled by schema version 8 of the store, as several projects that read it document
//! it from real captures (agentsview, and two others that compared the rows with the tool's own totals): one row per
//! model call, never changed; `input_tokens` includes cache reads and writes; `reasoning_tokens` is a part of
//! `output_tokens` or beside it, which nobody could settle, and is not added. The events hold no counts per call; they say
//! where a session runs, what it did, and at its end what the tool thinks it has used. Versions before the store wrote
//! nothing else: their sessions appear with that account, and without responses.

use serde::{Deserialize, Serialize};

use super::described::{Described, learn};
use super::json::{self, Value, object};
use super::models::model_named;
use super::{
    Column, ContextRule, Cursor, Format, Home, HomeVariable, Identity, ParserMemory, Shape, Table, ToolSpec,
    Transcripts, UsualPlace, call_id, tokens_of, tool_name,
};
use crate::ids::{AgentId, MessageId, SessionId};
use crate::record::{
    Activity, ActivityKind, Place, Record, RejectReason, ResponseId, Tool, ToolCost, ToolModelCost, UsageRecord,
};
use crate::units::TokenUsage;

/// What is known of Copilot CLI.
pub(super) const SPEC: ToolSpec = ToolSpec {
    title: "Copilot CLI",
    home: Home {
        variables: &[HomeVariable { name: "COPILOT_HOME", is_list: false, below: "" }],
        usual: &[UsualPlace::Home(".copilot")],
    },
    transcripts: &[
        Transcripts { pattern: "session-store.db", shape: Shape::Database(&CALLS) },
        Transcripts { pattern: "session-state/*/events.jsonl", shape: Shape::Lines },
    ],
    companion: None,
    presence: None,
    identity: Identity::Message,
    // The window of a model is smaller here than at its vendor's, and nothing says how large: no fill is told.
    context: ContextRule::Stated { compacts_at: |window| window },
    retention: None,
    usage_file: None,
    status_line: None,
    usage_answer: None,
};

/// The calls of models.
const CALLS: Table = Table {
    name: "assistant_usage_events",
    required: &["id", "session_id", "model", "input_tokens", "output_tokens"],
    changed: None,
    fields: &[
        of_call("id", "it.id", "id"),
        of_call("session", "it.session_id", "session_id"),
        of_call("agent", "it.agent_id", "agent_id"),
        of_call("model", "it.model", "model"),
        // What it was billed as, if that is another one.
        of_call("billed", "it.copilot_usage_model", "copilot_usage_model"),
        of_call("input", "it.input_tokens", "input_tokens"),
        of_call("output", "it.output_tokens", "output_tokens"),
        of_call("cacheRead", "it.cache_read_tokens", "cache_read_tokens"),
        of_call("cacheWrite", "it.cache_write_tokens", "cache_write_tokens"),
        of_call("reasoning", "it.reasoning_tokens", "reasoning_tokens"),
        // Written with or without zone and `T`; always UTC.
        of_call("at", "strftime('%Y-%m-%dT%H:%M:%fZ', it.created_at)", "created_at"),
        Column {
            field: "cwd",
            sql: "(SELECT cwd FROM sessions WHERE id = it.session_id)",
            needs: ("sessions", "cwd"),
            is_json: false,
        },
        Column {
            field: "branch",
            sql: "(SELECT branch FROM sessions WHERE id = it.session_id)",
            needs: ("sessions", "branch"),
            is_json: false,
        },
    ],
};

const fn of_call(field: &'static str, sql: &'static str, column: &'static str) -> Column {
    Column { field, sql, needs: ("assistant_usage_events", column), is_json: false }
}

/// Most models read of one account.
const MAX_MODELS: usize = 100;

object! {
    /// A row of the store, or an event.
    pub(super) struct Object {
        row: "row",
        id: "id",
        session: "session",
        agent: "agent",
        model: "model",
        billed: "billed",
        input: "input",
        output: "output",
        cache_read: "cacheRead",
        cache_write: "cacheWrite",
        reasoning: "reasoning",
        at: "at",
        cwd: "cwd",
        branch: "branch",
        kind: "type",
        timestamp: "timestamp",
        data: "data",
    }
}

/// What the lines so far mean for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    cursor: Cursor,
    /// The session that was described last, and what was said of it.
    session: Option<SessionId>,
    described: Described,
}

impl ParserMemory for State {
    fn cursor(&self) -> Option<&Cursor> {
        Some(&self.cursor)
    }
}

/// Turns rows, or the events of a session, into records.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    /// The session of a file with events: the directory in which it lies.
    directory: SessionId,
    state: State,
}

impl Parser {
    pub(super) fn new(path: &str, state: State) -> Self {
        Self { directory: SessionId::new(path.rsplit('/').nth(1).unwrap_or("unknown")), state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn call(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) {
        let Some(session) = object.session.id().map(|id| SessionId::new(&*id)) else { return };
        let number = object.id.number().map(|number| number.to_string());
        self.state.cursor.read(object.row, Value::NULL, number.as_deref().unwrap_or_default());
        if self.state.session.as_ref() != Some(&session) {
            self.state.described = Described::default();
            self.state.session = Some(session.clone());
        }
        let at = object.at.timestamp();
        let news =
            learn(&mut self.state.described.cwd, object.cwd) | learn(&mut self.state.described.branch, object.branch);
        let agent = object.agent.id().map(|id| AgentId::new(&*id));
        if let Some(meta) = self.state.described.meta(news, at, Tool::Copilot, &session, agent.as_ref()) {
            out(Record::Session(meta));
        }
        let mut bad_counts = 0;
        let usage = usage(
            [object.input, object.output, object.cache_read, object.cache_write, object.reasoning],
            &mut bad_counts,
        );
        let model = if object.billed.id().is_some() { object.billed } else { object.model };
        out(Record::Usage(UsageRecord {
            tool: Tool::Copilot,
            sidechain: agent.is_some(),
            agent,
            id: ResponseId::of(number.map(|number| MessageId::of(&format!("copilot {session} {number}"))), None),
            session,
            model: model_named(model.id().as_deref()),
            at,
            usage,
            place,
            bad_counts,
        }));
    }

    fn event(&mut self, object: &Object<'_>, out: &mut impl FnMut(Record)) {
        let at = object.timestamp.timestamp();
        let kind = object.kind.text();
        let mut news = false;
        if let Some("session.start" | "session.resume") = kind.as_deref() {
            let [context, version] = object.data.fields(&["context", "copilotVersion"]);
            let [cwd, branch] = context.fields(&["cwd", "branch"]);
            let Described { cwd: known_cwd, branch: known_branch, version: known_version, .. } =
                &mut self.state.described;
            news = learn(known_cwd, cwd) | learn(known_branch, branch) | learn(known_version, version);
        }
        let session = self.directory.clone();
        if let Some(meta) = self.state.described.meta(news, at, Tool::Copilot, &session, None) {
            out(Record::Session(meta));
        }
        if kind.as_deref() == Some("session.shutdown") {
            let [metrics] = object.data.fields(&["modelMetrics"]);
            let mut models: Vec<ToolModelCost> = metrics
                .members(MAX_MODELS)
                .into_iter()
                .map(|(name, metrics)| {
                    let [counts] = metrics.fields(&["usage"]);
                    let names =
                        ["inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "reasoningTokens"];
                    ToolModelCost {
                        model: model_named(Some(&name)),
                        usage: usage(counts.fields(&names), &mut 0),
                        cost: None,
                    }
                })
                .collect();
            models.sort_by(|a, b| a.model.cmp(&b.model));
            if !models.is_empty() {
                out(Record::ToolCost(Box::new(ToolCost { session, at, cost: None, models })));
            }
        }
    }
}

/// Input with everything cached, output, cache reads, cache writes, reasoning.
fn usage(counts: [Value<'_>; 5], bad_counts: &mut u32) -> TokenUsage {
    let [input, output, read, write, reasoning] = counts.map(|it| tokens_of(it, bad_counts));
    TokenUsage {
        input: input - read - write,
        output,
        cache_read: read,
        cache_creation: write,
        reasoning: reasoning.min(output),
        ..TokenUsage::default()
    }
}

impl Format for Parser {
    type Object<'a> = Object<'a>;

    fn objects(line: &[u8]) -> Result<Vec<Object<'_>>, RejectReason> {
        json::objects(line)
    }

    fn is_known(object: &Object<'_>) -> bool {
        let is_family = |kind: &str| {
            ["session.", "user.", "assistant.", "tool.", "system.", "subagent.", "skill.", "hook.", "abort"]
                .iter()
                .any(|family| kind.starts_with(family))
        };
        !object.row.is_null() || object.kind.text().is_some_and(|kind| is_family(&kind))
    }

    fn records(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        if object.row.is_null() {
            self.event(object, out);
        } else {
            self.call(object, place, out);
        }
        0
    }

    fn activity(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Activity)) {
        let (Some(at), true) = (object.timestamp.timestamp(), object.row.is_null()) else { return };
        let session = self.directory.clone();
        let [call, name, success, result] = object.data.fields(&["toolCallId", "toolName", "success", "result"]);
        let call = call_id(call.id().as_deref(), place);
        let what = match object.kind.text().as_deref() {
            Some("user.message") => ActivityKind::TurnStarted,
            Some("tool.execution_start") => ActivityKind::ToolStarted { call, name: tool_name(name.text().as_deref()) },
            Some("tool.execution_complete") => {
                let ok = (!success.is_null()).then(|| success.is_true());
                ActivityKind::ToolEnded { call, ok, result_bytes: result.size() }
            }
            _ => return,
        };
        out(Activity { session, agent: None, at, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use crate::transcript::{Reading, TranscriptReader};
    use crate::units::Tokens;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read(path: &str, lines: &[&str]) -> (Vec<Record>, TranscriptReader) {
        let mut reader = TranscriptReader::new(Tool::Copilot, path).with_activity();
        let mut records = Vec::new();
        let text = lines.join("\n") + "\n";
        assert_eq!(reader.read(text.as_bytes(), &mut |record| records.push(record)), Reading::Valid);
        assert_eq!((reader.counts().rejected_lines, reader.counts().unknown_records), (0, 0), "{lines:?}");
        (records, reader)
    }

    #[test]
    fn calls_include_what_was_cached() {
        let (records, reader) = read(
            "session-store.db",
            &[
                r#"{"row":1,"id":1,"session":"s1","agent":null,"model":"claude-sonnet-4.5","billed":null,"input":25000,"output":100,"cacheRead":15000,"cacheWrite":9000,"reasoning":20,"at":"2026-10-06T10:00:10.000Z","cwd":"/home/ada","branch":"main"}"#,
                r#"{"row":2,"id":2,"session":"s1","agent":"a1","model":"auto","billed":"gpt-5.2","input":7,"output":null,"cacheRead":9}"#,
            ],
        );
        let found: Vec<&UsageRecord> =
            records.iter().filter_map(|it| if let Record::Usage(usage) = it { Some(usage) } else { None }).collect();
        let [first, second] = found[..] else { panic!("two calls") };
        let expected = TokenUsage {
            input: Tokens(1000),
            output: Tokens(100),
            cache_read: Tokens(15_000),
            cache_creation: Tokens(9_000),
            reasoning: Tokens(20),
            ..TokenUsage::default()
        };
        assert_eq!(first.usage, expected);
        assert_eq!((first.model.as_str(), first.agent.as_ref()), ("claude-sonnet-4-5", None));
        assert_eq!(first.at, Timestamp::parse("2026-10-06T10:00:10.000Z"));
        assert_eq!(
            (second.model.as_str(), second.agent.clone(), second.sidechain),
            ("gpt-5.2", Some("a1".into()), true)
        );
        assert_eq!(second.usage.input, Tokens::ZERO, "never less than nothing");
        assert_ne!(first.id, second.id);
        assert_eq!(reader.checkpoint().cursor().map(|cursor| cursor.row), Some(2));
    }

    #[test]
    fn events_tell_what_a_session_did_and_its_account() {
        let (records, _) = read(
            "session-state/s1/events.jsonl",
            &[
                r#"{"type":"session.start","timestamp":"2026-10-06T10:00:00Z","data":{"sessionId":"s1","copilotVersion":"1.0.91","context":{"cwd":"/home/ada/engine","branch":"main"}}}"#,
                r#"{"type":"user.message","timestamp":"2026-10-06T10:00:01Z","data":{"content":"secret"}}"#,
                r#"{"type":"tool.execution_start","timestamp":"2026-10-06T10:00:02Z","data":{"toolCallId":"c1","toolName":"view","arguments":{"path":"secret"}}}"#,
                r#"{"type":"tool.execution_complete","timestamp":"2026-10-06T10:00:03Z","data":{"toolCallId":"c1","success":true,"result":{"content":"secret"}}}"#,
                r#"{"type":"session.shutdown","timestamp":"2026-10-06T10:00:04Z","data":{"modelMetrics":{"claude-sonnet-4.5":{"usage":{"inputTokens":10,"outputTokens":5,"cacheReadTokens":4,"cacheWriteTokens":1}}}}}"#,
            ],
        );
        assert!(!format!("{records:?}").contains("secret"));
        let Record::Session(meta) = &records[0] else { panic!("a session") };
        assert_eq!((meta.session.as_str(), meta.cwd.as_deref()), ("s1", Some("/home/ada/engine")));
        let did: Vec<&ActivityKind> =
            records.iter().filter_map(|it| if let Record::Activity(it) = it { Some(&it.what) } else { None }).collect();
        let call = call_id(Some("c1"), Place::default());
        assert_eq!(
            did,
            [
                &ActivityKind::TurnStarted,
                &ActivityKind::ToolStarted { call, name: "view".into() },
                &ActivityKind::ToolEnded { call, ok: Some(true), result_bytes: Some(20) },
            ]
        );
        let account = records.iter().find_map(|it| if let Record::ToolCost(it) = it { Some(it) } else { None });
        let account = account.map(|it| (it.models[0].model.clone(), it.models[0].usage.total()));
        assert_eq!(account, Some(("claude-sonnet-4-5".into(), Tokens(15))));
    }

    #[test]
    fn a_row_without_a_session_is_nobodys() {
        let (records, _) = read("session-store.db", &[r#"{"row":1,"id":1,"input":7}"#]);
        assert_eq!(records, []);
    }
}
