//! What Gemini CLI writes: `tmp/<project>/chats/session-*.json` and `.jsonl` → records.
//!
//! Settled by the tool's own source (google-gemini/gemini-cli, `chatRecordingService.ts`, `chatRecordingTypes.ts`,
//! `projectRegistry.ts`, `chatCompressionService.ts`) and the samples. Until 2026 a session was one JSON document,
//! rewritten with each change; since then it is lines: metadata, one record per message, `$set` for changed metadata and
//! `$rewindTo` for messages taken back. A message is written again when its tokens or tool calls are known: the last
//! record of an id holds, and as tokens are set once, the largest claim is the last. A session that is resumed moves from
//! the document to lines, with the same ids; so both files claim the same responses. Messages that were taken back have
//! cost what they cost, and count. A subagent's file lies in a directory named like its parent session.
//!
//! `input` includes `cached`; `thoughts` are beside `output` and are output here, and reasoning; `tool` (prompts of the
//! tools that the vendor runs) is input. The directory of a project is in the file `.project_root` beside `chats`, in
//! newer versions; of older ones there is only a hash.

use serde::{Deserialize, Serialize};

use super::described::Described;
use super::json::{self, Value, object};
use super::models::{model_named, window_of};
use super::{
    Companion, ContextRule, Format, Home, HomeVariable, Identity, ParserMemory, Shape, ToolSpec, Transcripts,
    UsualPlace, call_id, tokens_of, tool_name,
};
use crate::ids::{AgentId, MessageId, SessionId};
use crate::record::{Activity, ActivityKind, ContextFill, Place, Record, RejectReason, ResponseId, Tool, UsageRecord};
use crate::time::Timestamp;
use crate::units::{TokenUsage, Tokens};

/// What is known of Gemini CLI.
pub(super) const SPEC: ToolSpec = ToolSpec {
    title: "Gemini CLI",
    home: Home {
        variables: &[HomeVariable { name: "GEMINI_CLI_HOME", is_list: false, below: ".gemini" }],
        usual: &[UsualPlace::Home(".gemini")],
    },
    transcripts: &[
        Transcripts { pattern: "tmp/*/chats/**/*.jsonl", shape: Shape::Lines },
        Transcripts { pattern: "tmp/*/chats/**/*.json", shape: Shape::Document },
    ],
    companion: Some(Companion { of: project_root_of, transcript: chats_of }),
    presence: None,
    identity: Identity::Message,
    // It compresses a conversation that fills half of the window, by default.
    context: ContextRule::Stated { compacts_at: |window| Tokens(window.0 / 2) },
    retention: None,
    usage_file: None,
    status_line: None,
    usage_answer: None,
};

/// Types of messages.
const KNOWN_TYPES: [&str; 5] = ["user", "gemini", "info", "error", "warning"];

object! {
    /// A document, or a line: metadata, a message, or a change.
    pub(super) struct Object {
        session: "sessionId",
        messages: "messages",
        set: "$set",
        rewind: "$rewindTo",
        id: "id",
        timestamp: "timestamp",
        kind: "type",
        tokens: "tokens",
        model: "model",
        tool_calls: "toolCalls",
    }
}

/// A message, of a line or of a document: its fields named [`MESSAGE`].
type Message<'a> = [Value<'a>; 6];

/// Names of a [`Message`]'s fields.
const MESSAGE: [&str; 6] = ["id", "timestamp", "type", "tokens", "model", "toolCalls"];

/// What the lines of a file so far mean for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The session the file names.
    session: Option<SessionId>,
    described: Described,
    /// The newest message with tokens, and these.
    last: Option<(MessageId, TokenUsage)>,
}

impl ParserMemory for State {}

/// Turns the objects of one file into records.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    /// The session of a file that names none.
    stem: SessionId,
    /// The session whose subagent's file this is, if it is one's.
    parent: Option<SessionId>,
    state: State,
}

impl Parser {
    pub(super) fn new(path: &str, state: State) -> Self {
        let parts: Vec<&str> = path.split('/').collect();
        let name = parts.last().copied().unwrap_or_default();
        let stem = name.strip_suffix(".jsonl").or_else(|| name.strip_suffix(".json")).unwrap_or(name);
        // tmp/<project>/chats/<parent>/<session>.jsonl
        let parent = (parts.len() > 4).then(|| SessionId::new(parts[parts.len() - 2]));
        Self { stem: SessionId::new(stem), parent, state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn session(&self) -> SessionId {
        let own = self.state.session.as_ref().unwrap_or(&self.stem);
        self.parent.as_ref().unwrap_or(own).clone()
    }

    fn agent(&self) -> Option<AgentId> {
        let own = self.state.session.as_ref().unwrap_or(&self.stem);
        self.parent.as_ref().map(|_| AgentId::new(own.as_str()))
    }

    fn describe(&mut self, news: bool, at: Option<Timestamp>, out: &mut impl FnMut(Record)) {
        let (session, agent) = (self.session(), self.agent());
        if let Some(meta) = self.state.described.meta(news, at, Tool::Gemini, &session, agent.as_ref()) {
            out(Record::Session(meta));
        }
    }

    /// How many usage records were passed over: 1 if the message only repeats the one before.
    fn message(&mut self, message: Message<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let [id, timestamp, kind, tokens, model, _] = message;
        let at = timestamp.timestamp();
        self.describe(false, at, out);
        if !kind.is_text("gemini") || !tokens.is_object() {
            return 0;
        }
        let message = id.id().map(|id| MessageId::of(&id));
        let mut bad_counts = 0;
        let usage = usage(tokens, &mut bad_counts);
        if let Some(message) = message {
            if self.state.last == Some((message, usage)) {
                return 1;
            }
            self.state.last = Some((message, usage));
        }
        let model = model_named(model.id().as_deref());
        let (session, agent) = (self.session(), self.agent());
        let window = window_of(&model, usage.context()).filter(|_| agent.is_none());
        out(Record::Usage(UsageRecord {
            tool: Tool::Gemini,
            session: session.clone(),
            sidechain: agent.is_some(),
            agent,
            id: ResponseId::of(message, None),
            model: model.clone(),
            at,
            usage,
            place,
            bad_counts,
        }));
        if let Some(window) = window {
            let used = usage.context();
            out(Record::Context(ContextFill { tool: Tool::Gemini, session, at, model, used, window }));
        }
        0
    }

    fn message_activity(&self, message: Message<'_>, place: Place, out: &mut impl FnMut(Activity)) {
        let [_, timestamp, kind, .., tool_calls] = message;
        let Some(at) = timestamp.timestamp() else { return };
        let (session, agent) = (self.session(), self.agent());
        let mut did = |at, what| out(Activity { session: session.clone(), agent: agent.clone(), at, what });
        if kind.is_text("user") && agent.is_none() {
            did(at, ActivityKind::TurnStarted);
        } else if kind.is_text("gemini") {
            tool_calls.each_object(&["id", "name", "status", "timestamp", "result"], |call| {
                let [id, name, status, ended_at, result] = call;
                let call = call_id(id.id().as_deref(), place);
                did(at, ActivityKind::ToolStarted { call, name: tool_name(name.text().as_deref()) });
                let ok = match status.text().as_deref() {
                    Some("success") => true,
                    Some("error" | "cancelled") => false,
                    _ => return,
                };
                let ended_at = ended_at.timestamp().unwrap_or(at);
                did(ended_at, ActivityKind::ToolEnded { call, ok: Some(ok), result_bytes: result.size() });
            });
        }
    }
}

fn usage(tokens: Value<'_>, bad_counts: &mut u32) -> TokenUsage {
    let [input, output, cached, thoughts, tool] =
        tokens.fields(&["input", "output", "cached", "thoughts", "tool"]).map(|it| tokens_of(it, bad_counts));
    TokenUsage {
        input: input - cached + tool,
        output: output + thoughts,
        cache_read: cached.min(input),
        reasoning: thoughts,
        ..TokenUsage::default()
    }
}

impl Format for Parser {
    type Object<'a> = Object<'a>;

    fn objects(line: &[u8]) -> Result<Vec<Object<'_>>, RejectReason> {
        json::objects(line)
    }

    fn is_known(object: &Object<'_>) -> bool {
        !object.session.is_null()
            || object.set.is_object()
            || !object.rewind.is_null()
            || KNOWN_TYPES.iter().any(|kind| object.kind.is_text(kind))
    }

    fn records(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let [named] = object.set.fields(&["sessionId"]);
        if let Some(session) = object.session.id().or_else(|| named.id())
            && self.state.session.as_ref().is_none_or(|known| known.as_str() != session)
        {
            self.state.session = Some(SessionId::new(&*session));
            self.describe(true, None, out);
        }
        let mut repeated = 0;
        let mut index = place.index;
        object.messages.each_object(&MESSAGE, |message| {
            repeated += self.message(message, Place { index, ..place }, out);
            index += 1;
        });
        if object.messages.is_null() && !object.kind.is_null() {
            repeated += self.message(message_of(object), place, out);
        }
        repeated
    }

    fn activity(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Activity)) {
        let mut index = place.index;
        object.messages.each_object(&MESSAGE, |message| {
            self.message_activity(message, Place { index, ..place }, out);
            index += 1;
        });
        if object.messages.is_null() {
            self.message_activity(message_of(object), place, out);
        }
    }

    /// `.project_root`: the path of the project, and nothing else.
    fn companion(&mut self, text: &[u8]) -> Option<Record> {
        let path = std::str::from_utf8(text).ok()?.trim();
        if path.is_empty() || path.contains('\n') {
            return None;
        }
        self.state.described.cwd = Some(path.to_owned());
        self.state.session.as_ref()?;
        let (session, agent) = (self.session(), self.agent());
        let at = self.state.described.at;
        self.state.described.meta(true, at, Tool::Gemini, &session, agent.as_ref()).map(Record::Session)
    }
}

fn message_of<'a>(object: &Object<'a>) -> Message<'a> {
    [object.id, object.timestamp, object.kind, object.tokens, object.model, object.tool_calls]
}

/// The project's directory of `tmp/<project>/chats/…`.
fn project_of(path: &str) -> Option<&str> {
    let end = path.match_indices('/').nth(1)?.0;
    path.starts_with("tmp/").then_some(&path[..end])
}

fn project_root_of(transcript: &str) -> Option<String> {
    Some(format!("{}/.project_root", project_of(transcript)?))
}

fn chats_of(companion: &str) -> Option<String> {
    companion.ends_with("/.project_root").then_some(())?;
    Some(format!("{}/chats", project_of(companion)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Reading, TranscriptReader};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const DOCUMENT: &str = "tmp/907f/chats/session-2026-01-16T11-01-37b7abef.json";
    const LINES: &str = "tmp/engine/chats/session-2026-03-01T10-00-37b7abef.jsonl";

    fn read_document(text: &str) -> (Vec<Record>, TranscriptReader) {
        let mut reader = TranscriptReader::new(Tool::Gemini, DOCUMENT).with_activity();
        let mut records = Vec::new();
        assert_eq!(reader.read_document(text.as_bytes(), &mut |record| records.push(record)), Ok(()));
        (records, reader)
    }

    fn read_lines(path: &str, lines: &[&str]) -> (Vec<Record>, TranscriptReader) {
        let mut reader = TranscriptReader::new(Tool::Gemini, path).with_activity();
        let mut records = Vec::new();
        let text = lines.join("\n") + "\n";
        assert_eq!(reader.read(text.as_bytes(), &mut |record| records.push(record)), Reading::Valid);
        assert_eq!(reader.counts().rejected_lines, 0, "{lines:?}");
        (records, reader)
    }

    fn usages(records: &[Record]) -> Vec<UsageRecord> {
        records.iter().filter_map(|it| if let Record::Usage(usage) = it { Some(usage.clone()) } else { None }).collect()
    }

    fn kinds(usage: &TokenUsage) -> [u64; 4] {
        [usage.input.0, usage.output.0, usage.cache_read.0, usage.reasoning.0]
    }

    const TEXT: &str = r#"{
  "sessionId": "s1", "projectHash": "907f", "startTime": "2026-01-16T11:01:22.281Z",
  "messages": [
    {"id": "u1", "timestamp": "2026-01-16T11:01:22.281Z", "type": "user", "content": "secret"},
    {"id": "g1", "timestamp": "2026-01-16T11:01:30.378Z", "type": "gemini", "content": "secret",
     "tokens": {"input": 4749, "output": 292, "cached": 4000, "thoughts": 240, "tool": 10, "total": 5291},
     "model": "gemini-3-pro",
     "toolCalls": [{"id": "c1", "name": "read_file", "args": {"path": "secret"}, "status": "success",
                    "timestamp": "2026-01-16T11:01:31.000Z", "result": "secret"},
                   {"id": "c2", "name": "shell", "status": "executing", "timestamp": "2026-01-16T11:01:31.000Z"}]},
    {"id": "g2", "timestamp": "2026-01-16T11:02:00.000Z", "type": "gemini", "content": "", "tokens": null},
    {"id": "e1", "timestamp": "2026-01-16T11:02:01.000Z", "type": "error", "content": "secret"}
  ]
}
"#;

    #[test]
    fn a_document() {
        let (records, reader) = read_document(TEXT);
        let found = usages(&records);
        let [usage] = &found[..] else { panic!("one response: {found:?}") };
        assert_eq!(kinds(&usage.usage), [759, 532, 4000, 240]);
        assert_eq!((usage.session.as_str(), usage.model.as_str(), usage.sidechain), ("s1", "gemini-3-pro", false));
        assert_eq!(usage.id, ResponseId::of(Some("g1".into()), None));
        assert_eq!(
            (usage.place, usage.at),
            (Place { byte_offset: 0, index: 1 }, Timestamp::parse("2026-01-16T11:01:30.378Z"))
        );
        let counts = reader.counts();
        assert_eq!((counts.bytes, counts.lines, counts.records), (TEXT.len() as u64, 1, 1));
        assert_eq!((counts.usage_records, counts.unknown_records), (1, 0));
        let window = records.iter().find_map(|it| if let Record::Context(fill) = it { Some(fill) } else { None });
        assert_eq!(window.map(|fill| (fill.used, fill.window)), Some((Tokens(4759), Tokens(1_048_576))));
        let did: Vec<&ActivityKind> =
            records.iter().filter_map(|it| if let Record::Activity(it) = it { Some(&it.what) } else { None }).collect();
        let call = |id: &str| call_id(Some(id), Place::default());
        assert_eq!(
            did,
            [
                &ActivityKind::TurnStarted,
                &ActivityKind::ToolStarted { call: call("c1"), name: "read_file".into() },
                &ActivityKind::ToolEnded { call: call("c1"), ok: Some(true), result_bytes: Some(6) },
                &ActivityKind::ToolStarted { call: call("c2"), name: "shell".into() },
            ]
        );
        assert!(!format!("{records:?}").contains("secret"));
    }

    #[test]
    fn a_document_that_is_half_written_is_refused() {
        for (text, reason) in [(&TEXT[..TEXT.len() / 2], RejectReason::NotJson), ("[]", RejectReason::NotAnObject)] {
            let mut reader = TranscriptReader::new(Tool::Gemini, DOCUMENT);
            assert_eq!(reader.read_document(text.as_bytes(), &mut |_| panic!("a record")), Err(reason));
        }
    }

    const META: &str =
        r#"{"sessionId":"s1","projectHash":"907f","startTime":"2026-03-01T10:00:00.000Z","kind":"main"}"#;

    fn message(id: &str, input: u64, rest: &str) -> String {
        format!(
            r#"{{"id":"{id}","timestamp":"2026-03-01T10:00:05.000Z","type":"gemini","content":"","model":"gemini-3-pro","tokens":{{"input":{input},"output":1,"cached":0,"total":8}}{rest}}}"#
        )
    }

    #[test]
    fn of_lines_with_one_id_the_last_holds() {
        let without =
            r#"{"id":"g1","timestamp":"2026-03-01T10:00:05.000Z","type":"gemini","content":"","tokens":null}"#;
        let with = message("g1", 7, "");
        let again = message("g1", 7, r#","toolCalls":[]"#);
        let set = r#"{"$set":{"lastUpdated":"2026-03-01T10:00:06.000Z","messages":[{"id":"g9"}]}}"#;
        let rewind = r#"{"$rewindTo":"g1"}"#;
        let (records, reader) = read_lines(LINES, &[META, without, &with, &again, set, rewind, &message("g2", 9, "")]);
        let found = usages(&records);
        assert_eq!(found.iter().map(|it| it.usage.input.0).collect::<Vec<_>>(), [7, 9], "taken back is not unspent");
        let counts = reader.counts();
        assert_eq!((counts.usage_records, counts.repeated_records, counts.unknown_records), (3, 1, 0));
        assert!(found.iter().all(|it| it.session.as_str() == "s1"));
    }

    #[test]
    fn a_subagents_file_lies_below_its_session() {
        let path = "tmp/engine/chats/s1/sub-7.jsonl";
        let meta = META.replace("s1", "sub-7").replace("main", "subagent");
        let (records, _) = read_lines(path, &[&meta, &message("g1", 7, "")]);
        let usage = &usages(&records)[0];
        assert_eq!((usage.session.as_str(), usage.agent.clone(), usage.sidechain), ("s1", Some("sub-7".into()), true));
        assert!(!records.iter().any(|it| matches!(it, Record::Context(_))), "not the session's window");
    }

    #[test]
    fn the_projects_directory_stands_beside() {
        assert_eq!(project_root_of(LINES).as_deref(), Some("tmp/engine/.project_root"));
        assert_eq!(chats_of("tmp/engine/.project_root").as_deref(), Some("tmp/engine/chats"));
        assert_eq!(chats_of("tmp/engine/logs.json"), None);
        let cwd = |record: Option<Record>| if let Some(Record::Session(meta)) = record { meta.cwd } else { None };
        let (_, mut reader) = read_lines(LINES, &[META]);
        assert_eq!(cwd(reader.read_companion(b"/home/ada/engine\n")).as_deref(), Some("/home/ada/engine"));
        assert_eq!(cwd(reader.read_companion(b" ")), None);
        let mut reader = TranscriptReader::new(Tool::Gemini, DOCUMENT);
        assert_eq!(reader.read_companion(b"/home/ada/engine"), None, "no session is known yet");
        let mut records = Vec::new();
        assert_eq!(reader.read_document(TEXT.as_bytes(), &mut |record| records.push(Some(record))), Ok(()));
        assert_eq!(cwd(records[0].clone()).as_deref(), Some("/home/ada/engine"));
    }

    #[test]
    fn absurd_counts_are_zero_and_counted() {
        let odd = r#"{"id":"g1","type":"gemini","tokens":{"input":"much","output":-1,"cached":5,"thoughts":1.5}}"#;
        let (records, _) = read_lines(LINES, &[META, odd]);
        let usage = &usages(&records)[0];
        assert_eq!((kinds(&usage.usage), usage.bad_counts, usage.model.as_str()), ([0, 0, 0, 0], 3, "unknown"));
    }
}
