//! What pi writes: `sessions/--<directory>--/<time>_<id>.jsonl` → records.
//!
//! Settled by the tool's own documentation and source (badlogic/pi-mono, `packages/coding-agent/docs/session.md` and
//! `compaction.md`, `session-manager.ts`, `packages/ai/src/types.ts`) and a sample of agentsview. A file begins with a
//! header; entries form a tree, in which a user may go back and take another branch: every branch was paid for, and
//! counts. Ids of entries are short, unique within a file only, and made up anew when a file of an older version is
//! rewritten. A fork copies entries into a file of its own. So a response is told by what no rewriting changes: when the
//! message was made (to the millisecond), its model and its tokens; copies have the same, and count once.
//!
//! `input` is without cached tokens; all four kinds are disjoint. Reasoning is in `output`, and not told apart.

use serde::{Deserialize, Serialize};

use super::described::{Described, learn};
use super::json::{self, Count, Value, object};
use super::models::{model_named, window_of};
use super::{
    ContextRule, Format, Home, HomeVariable, Identity, ParserMemory, Shape, ToolSpec, Transcripts, UsualPlace, call_id,
    tokens_of, tool_name,
};
use crate::ids::{MessageId, SessionId};
use crate::record::{
    Activity, ActivityKind, ApiError, ApiErrorKind, Compaction, CompactionTrigger, ContextFill, Place, Record,
    RejectReason, ResponseId, Tool, UsageRecord,
};
use crate::time::Timestamp;
use crate::units::{TokenUsage, Tokens};

/// What is known of pi.
pub(super) const SPEC: ToolSpec = ToolSpec {
    title: "pi",
    home: Home {
        variables: &[HomeVariable { name: "PI_CODING_AGENT_DIR", is_list: false, below: "" }],
        usual: &[UsualPlace::Home(".pi/agent")],
    },
    transcripts: &[Transcripts { pattern: "sessions/**/*.jsonl", shape: Shape::Lines }],
    companion: None,
    presence: None,
    identity: Identity::Message,
    // It keeps 16,384 tokens free for the summary, by default.
    context: ContextRule::Stated { compacts_at: |window| window - Tokens(16_384) },
    retention: None,
    usage_file: None,
    status_line: None,
    usage_answer: None,
};

/// Types of entries we have seen, read or not.
const KNOWN_TYPES: [&str; 12] = [
    "message",
    "session",
    "branch_summary",
    "compaction",
    "context_transform",
    "custom",
    "custom_message",
    "ephemeral",
    "label",
    "model_change",
    "session_info",
    "thinking_level_change",
];

object! {
    /// One entry of a session.
    pub(super) struct Object {
        kind: "type",
        id: "id",
        timestamp: "timestamp",
        cwd: "cwd",
        tokens_before: "tokensBefore",
        ;
        message: "message" => Message,
    }
}

object! {
    /// A message of an entry.
    struct Message {
        role: "role",
        content: "content",
        timestamp: "timestamp",
        provider: "provider",
        model: "model",
        usage: "usage",
        stop: "stopReason",
        call: "toolCallId",
        is_error: "isError",
    }
}

/// What the lines of a file so far mean for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The session the file's header names.
    session: Option<SessionId>,
    described: Described,
}

impl ParserMemory for State {}

/// Turns the objects of one file into records.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    /// The session of a file without a header: the id in its name.
    stem: SessionId,
    state: State,
}

impl Parser {
    pub(super) fn new(path: &str, state: State) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stem = name.strip_suffix(".jsonl").unwrap_or(name);
        let id = stem.split_once('_').map_or(stem, |(_, id)| id);
        Self { stem: SessionId::new(id), state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn session(&self) -> SessionId {
        self.state.session.as_ref().unwrap_or(&self.stem).clone()
    }

    fn response(&self, message: &Message<'_>, at: Option<Timestamp>, place: Place, out: &mut impl FnMut(Record)) {
        let (mut bad_counts, session) = (0, self.session());
        let is_error = message.stop.is_text("error");
        if is_error {
            out(Record::ApiError(ApiError { session: session.clone(), at, kind: ApiErrorKind::Other }));
        }
        if !message.usage.is_object() {
            return;
        }
        let counts = message.usage.fields(&["input", "output", "cacheRead", "cacheWrite"]);
        let [input, output, cache_read, cache_creation] = counts.map(|it| tokens_of(it, &mut bad_counts));
        let usage = TokenUsage { input, output, cache_read, cache_creation, ..TokenUsage::default() };
        if usage.total().is_zero() && (is_error || message.stop.is_text("aborted")) {
            return;
        }
        let model = model_named(message.model.id().as_deref());
        let id = match message.timestamp.count() {
            Count::Is(made_at) => Some(MessageId::of(&format!(
                "pi {made_at} {} {} {} {} {} {}",
                message.provider.text().unwrap_or_default(),
                message.model.text().unwrap_or_default(),
                input.0,
                output.0,
                cache_read.0,
                cache_creation.0
            ))),
            Count::Absent | Count::Bad => None,
        };
        out(Record::Usage(UsageRecord {
            tool: Tool::Pi,
            session: session.clone(),
            agent: None,
            sidechain: false,
            id: ResponseId::of(id, None),
            model: model.clone(),
            at,
            usage,
            place,
            bad_counts,
        }));
        let used = usage.context();
        if let Some(window) = window_of(&model, used) {
            out(Record::Context(ContextFill { tool: Tool::Pi, session, at, model, used, window }));
        }
    }
}

/// When a message was made: its own time, or else that of its entry.
fn time_of(object: &Object<'_>) -> Option<Timestamp> {
    match object.message.timestamp.count() {
        Count::Is(ms) => Some(Timestamp::from_unix_ms(ms.cast_signed())),
        Count::Absent | Count::Bad => object.timestamp.timestamp(),
    }
}

impl Format for Parser {
    type Object<'a> = Object<'a>;

    fn objects(line: &[u8]) -> Result<Vec<Object<'_>>, RejectReason> {
        json::objects(line)
    }

    fn is_known(object: &Object<'_>) -> bool {
        KNOWN_TYPES.iter().any(|kind| object.kind.is_text(kind))
    }

    fn records(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let at = time_of(object);
        let mut news = false;
        if object.kind.is_text("session") {
            if let Some(id) = object.id.id() {
                news = self.state.session.is_none();
                self.state.session.get_or_insert_with(|| SessionId::new(&*id));
            }
            news |= learn(&mut self.state.described.cwd, object.cwd);
        }
        let session = self.session();
        if let Some(meta) = self.state.described.meta(news, at, Tool::Pi, &session, None) {
            out(Record::Session(meta));
        }
        if object.kind.is_text("message") && object.message.role.is_text("assistant") {
            self.response(&object.message, at, place, out);
        } else if object.kind.is_text("compaction") {
            let pre_tokens =
                if let Count::Is(before) = object.tokens_before.count() { Some(Tokens(before)) } else { None };
            let trigger = CompactionTrigger::Unknown;
            out(Record::Compaction(Compaction { session, at, trigger, pre_tokens, post_tokens: None }));
        }
        0
    }

    fn activity(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Activity)) {
        let (Some(at), true) = (time_of(object), object.kind.is_text("message")) else { return };
        let (session, message) = (self.session(), &object.message);
        let mut did = |what| out(Activity { session: session.clone(), agent: None, at, what });
        match message.role.text().as_deref() {
            Some("user") => did(ActivityKind::TurnStarted),
            Some("assistant") => {
                message.content.each_object(&["type", "id", "name"], |[kind, id, name]: [Value<'_>; 3]| {
                    if kind.is_text("toolCall") {
                        let call = call_id(id.id().as_deref(), place);
                        did(ActivityKind::ToolStarted { call, name: tool_name(name.text().as_deref()) });
                    }
                });
                if ["stop", "length", "error", "aborted"].iter().any(|end| message.stop.is_text(end)) {
                    did(ActivityKind::TurnEnded { worked_ms: None });
                }
            }
            Some("toolResult") => did(ActivityKind::ToolEnded {
                call: call_id(message.call.id().as_deref(), place),
                ok: Some(!message.is_error.is_true()),
                result_bytes: message.content.size(),
            }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Reading, TranscriptReader};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PATH: &str = "sessions/--home-ada-engine--/2026-01-01T10-00-00-000Z_s9.jsonl";
    const HEADER: &str =
        r#"{"type":"session","version":3,"id":"s1","timestamp":"2026-01-01T10:00:00Z","cwd":"/home/ada/engine"}"#;

    fn read(lines: &[&str]) -> Vec<Record> {
        let mut reader = TranscriptReader::new(Tool::Pi, PATH).with_activity();
        let mut records = Vec::new();
        let text = lines.join("\n") + "\n";
        assert_eq!(reader.read(text.as_bytes(), &mut |record| records.push(record)), Reading::Valid);
        assert_eq!((reader.counts().rejected_lines, reader.counts().unknown_records), (0, 0), "{lines:?}");
        records
    }

    fn usages(lines: &[&str]) -> Vec<UsageRecord> {
        let records = read(lines).into_iter();
        records.filter_map(|it| if let Record::Usage(usage) = it { Some(usage) } else { None }).collect()
    }

    fn assistant(entry: &str, ms: u64, rest: &str) -> String {
        format!(
            r#"{{"type":"message","id":"{entry}","timestamp":"2026-01-01T10:00:09Z","message":{{"role":"assistant","provider":"anthropic","model":"claude-opus-4-5","timestamp":{ms},"usage":{{"input":10,"output":5,"cacheRead":200,"cacheWrite":30,"totalTokens":245,"cost":{{"total":1}}}},"stopReason":"stop"{rest}}}}}"#
        )
    }

    #[test]
    fn a_session() {
        let content = r#","content":[{"type":"thinking","thinking":"secret"},{"type":"toolCall","id":"t1","name":"read","arguments":{"path":"secret"}}]"#;
        let lines = [
            HEADER.to_owned(),
            r#"{"type":"message","id":"a","timestamp":"2026-01-01T10:00:01Z","message":{"role":"user","content":"secret","timestamp":1767261601000}}"#.to_owned(),
            assistant("b", 1_767_261_602_000, content).replace("\"stop\"", "\"toolUse\""),
            r#"{"type":"message","id":"c","timestamp":"2026-01-01T10:00:03Z","message":{"role":"toolResult","toolCallId":"t1","content":[{"type":"text","text":"secret"}],"isError":true,"timestamp":1767261603000}}"#.to_owned(),
            assistant("d", 1_767_261_604_000, ""),
            r#"{"type":"compaction","id":"e","timestamp":"2026-01-01T10:00:05Z","summary":"secret","tokensBefore":5000}"#.to_owned(),
        ];
        let records = read(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!format!("{records:?}").contains("secret"));
        let Record::Session(meta) = &records[0] else { panic!("a session") };
        assert_eq!((meta.session.as_str(), meta.cwd.as_deref()), ("s1", Some("/home/ada/engine")));
        let found: Vec<&UsageRecord> =
            records.iter().filter_map(|it| if let Record::Usage(usage) = it { Some(usage) } else { None }).collect();
        let [first, second] = found[..] else { panic!("two responses") };
        let expected = TokenUsage {
            input: Tokens(10),
            output: Tokens(5),
            cache_read: Tokens(200),
            cache_creation: Tokens(30),
            ..TokenUsage::default()
        };
        assert_eq!((first.usage, second.usage), (expected, expected));
        assert_ne!(first.id, second.id, "alike, but made at other times");
        assert_eq!(first.at, Some(Timestamp::from_unix_ms(1_767_261_602_000)));
        let did: Vec<&ActivityKind> =
            records.iter().filter_map(|it| if let Record::Activity(it) = it { Some(&it.what) } else { None }).collect();
        let call = call_id(Some("t1"), Place::default());
        assert_eq!(
            did,
            [
                &ActivityKind::TurnStarted,
                &ActivityKind::ToolStarted { call, name: "read".into() },
                &ActivityKind::ToolEnded { call, ok: Some(false), result_bytes: Some(33) },
                &ActivityKind::TurnEnded { worked_ms: None },
            ]
        );
        let compaction = records.iter().find_map(|it| if let Record::Compaction(it) = it { Some(it) } else { None });
        assert_eq!(compaction.map(|it| it.pre_tokens), Some(Some(Tokens(5000))));
    }

    #[test]
    fn a_copied_entry_is_the_same_response_whatever_its_id() {
        let one = usages(&[HEADER, &assistant("b", 7, "")]).remove(0);
        let copy = usages(&[&HEADER.replace("s1", "s2"), &assistant("f00", 7, "")]).remove(0);
        assert_eq!((one.id, copy.session.as_str()), (copy.id, "s2"));
        let untimed = usages(&[HEADER, &assistant("b", 7, "").replace(r#""timestamp":7,"#, "")]).remove(0);
        assert_eq!(untimed.id, ResponseId::Alone { request: None });
        assert_eq!(untimed.at, Timestamp::parse("2026-01-01T10:00:09Z"));
    }

    #[test]
    fn failed_requests_are_no_responses() {
        let nothing = r#""usage":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0},"stopReason":"error""#;
        let failed = format!(
            r#"{{"type":"message","id":"b","timestamp":"2026-01-01T10:00:09Z","message":{{"role":"assistant","model":"m",{nothing}}}}}"#
        );
        let records = read(&[HEADER, &failed]);
        assert!(records.iter().any(|it| matches!(it, Record::ApiError(_))));
        assert!(!records.iter().any(|it| matches!(it, Record::Usage(_))));
    }

    #[test]
    fn a_file_without_a_header_is_named_by_its_file() {
        assert_eq!(usages(&[&assistant("b", 7, "")])[0].session.as_str(), "s9");
    }
}
