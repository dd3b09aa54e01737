//! What OpenCode writes: rows of `message` in `opencode*.db`, and `storage/message/<session>/msg_*.json` → records.
//!
//! Settled by the tool's own source (anomalyco/opencode, earlier sst/opencode: `session.sql.ts`, `storage/db.ts`,
//! `getUsage` in `session.ts`, `overflow.ts`), by how tokscale and agentsview read it, and the samples. Since early 2026
//! messages are rows of an SQLite database, whose column `data` holds what before stood in one JSON document per
//! message; a database that was made from documents holds the same ids, so that a message in both counts once. A row is
//! written when the response begins and again as it goes on; of several claims on one id the largest counts. A subtask
//! is a session with a `parent_id`: its responses are the root session's, by an agent named like the subtask. A fork
//! copies messages under new ids; these count again, as in the tool's own sums.
//!
//! Input is without cached tokens. Reasoning is beside output in newer versions, and part of it in some older ones:
//! `total` tells which. Without a total it is added, as the tool's own costs do. Tools' calls are in other rows, which
//! hold text, and are not read.

use serde::{Deserialize, Serialize};

use super::described::{Described, learn};
use super::json::{self, Count, Value, object};
use super::models::{model_named, window_of};
use super::{
    Column, Companion, ContextRule, Cursor, Format, Home, Identity, ParserMemory, Shape, Table, ToolSpec, Transcripts,
    UsualPlace, tokens_of,
};
use crate::ids::{AgentId, MessageId, SessionId};
use crate::record::{
    Activity, ActivityKind, AgentMeta, ApiError, ApiErrorKind, Compaction, CompactionTrigger, ContextFill, Place,
    Record, RejectReason, ResponseId, Tool, UsageRecord,
};
use crate::time::Timestamp;
use crate::units::{TokenUsage, Tokens};

/// What is known of OpenCode.
pub(super) const SPEC: ToolSpec = ToolSpec {
    title: "OpenCode",
    home: Home { variables: &[], usual: &[UsualPlace::Data("opencode")] },
    transcripts: &[
        Transcripts { pattern: "opencode*.db", shape: Shape::Database(&MESSAGES) },
        Transcripts { pattern: "storage/message/*/*.json", shape: Shape::Document },
    ],
    companion: Some(Companion { of: session_file_of, transcript: |_| None }),
    presence: None,
    identity: Identity::Message,
    // It keeps room for the longest answer it asks for.
    context: ContextRule::Stated { compacts_at: |window| window - Tokens(32_000) },
    retention: None,
    usage_file: None,
    status_line: None,
    usage_answer: None,
};

/// The messages. The root of a session is found by following its parents.
const MESSAGES: Table = Table {
    name: "message",
    required: &["id", "session_id", "data"],
    changed: Some("time_updated"),
    fields: &[
        column("id", "it.id", ("message", "id")),
        column("session", "it.session_id", ("message", "session_id")),
        column(
            "root",
            "(WITH RECURSIVE up(id, parent) AS (
                SELECT id, parent_id FROM session WHERE id = it.session_id
                UNION SELECT session.id, session.parent_id FROM session JOIN up ON session.id = up.parent
              ) SELECT id FROM up WHERE parent IS NULL LIMIT 1)",
            ("session", "parent_id"),
        ),
        column("directory", "(SELECT directory FROM session WHERE id = it.session_id)", ("session", "directory")),
        column("version", "(SELECT version FROM session WHERE id = it.session_id)", ("session", "version")),
        Column { field: "data", sql: "it.data", needs: ("message", "data"), is_json: true },
    ],
};

const fn column(field: &'static str, sql: &'static str, needs: (&'static str, &'static str)) -> Column {
    Column { field, sql, needs, is_json: false }
}

/// How many messages that have ended are remembered, so that a row that is read again does not end them again.
const MAX_ENDED: usize = 64;

object! {
    /// A row of the database, or a message's document.
    pub(super) struct Object {
        row: "row",
        changed: "changed",
        session: "session",
        root: "root",
        directory: "directory",
        version: "version",
        id: "id",
        session_id: "sessionID",
        role: "role",
        time: "time",
        model: "modelID",
        tokens: "tokens",
        path: "path",
        error: "error",
        finish: "finish",
        summary: "summary",
        mode: "mode",
        agent: "agent",
        ;
        data: "data" => Data,
    }
}

object! {
    /// What a message's row holds; the same as its document, without the ids.
    struct Data {
        role: "role",
        time: "time",
        model: "modelID",
        tokens: "tokens",
        path: "path",
        error: "error",
        finish: "finish",
        summary: "summary",
        mode: "mode",
        agent: "agent",
    }
}

impl<'a> Object<'a> {
    fn is_row(&self) -> bool {
        self.data.whole.is_object()
    }

    fn message(&self) -> Data<'a> {
        if self.is_row() {
            return self.data;
        }
        let Self { role, time, model, tokens, path, error, finish, summary, mode, agent, whole, .. } = *self;
        Data { role, time, model, tokens, path, error, finish, summary, mode, agent, whole }
    }
}

/// What the rows so far mean for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    cursor: Cursor,
    /// The session that was described last, and what was said of it.
    session: Option<SessionId>,
    described: Described,
    /// Messages that have ended, the newest of them.
    ended: Vec<MessageId>,
    /// Of a document, from its session's file: the parent, and where the session ran.
    parent: Option<SessionId>,
}

impl ParserMemory for State {
    fn cursor(&self) -> Option<&Cursor> {
        Some(&self.cursor)
    }
}

/// Turns the rows of a database, or a document, into records.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    /// The session of a document that names none: the directory in which it lies.
    directory: SessionId,
    state: State,
    /// The message at hand has not been seen to have ended before.
    ends_now: bool,
}

impl Parser {
    pub(super) fn new(path: &str, state: State) -> Self {
        let directory = path.rsplit('/').nth(1).unwrap_or("unknown");
        Self { directory: SessionId::new(directory), state, ends_now: false }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The session of a message, and the subtask that it is of.
    fn session_of(&self, object: &Object<'_>) -> (SessionId, Option<AgentId>) {
        let named = if object.is_row() { object.session } else { object.session_id };
        let own = named.id().map_or_else(|| self.directory.clone(), |id| SessionId::new(&*id));
        let root = object.root.id().map(|id| SessionId::new(&*id)).or_else(|| self.state.parent.clone());
        match root.filter(|root| *root != own) {
            Some(root) => (root, Some(AgentId::new(own.as_str()))),
            None => (own, None),
        }
    }

    /// Whether this is the first time that the message is seen to have ended.
    fn ends(&mut self, id: MessageId) -> bool {
        let is_news = !self.state.ended.contains(&id);
        if is_news {
            if self.state.ended.len() == MAX_ENDED {
                self.state.ended.remove(0);
            }
            self.state.ended.push(id);
        }
        is_news
    }
}

/// When a message was made, and when it was over.
fn times_of(message: &Data<'_>) -> [Option<Timestamp>; 2] {
    message.time.fields(&["created", "completed"]).map(|value| match value.count() {
        Count::Is(ms @ 1..) => Some(Timestamp::from_unix_ms(ms.cast_signed())),
        _ => None,
    })
}

fn usage(tokens: Value<'_>, bad_counts: &mut u32) -> TokenUsage {
    let [input, output, reasoning, total, cache] = tokens.fields(&["input", "output", "reasoning", "total", "cache"]);
    let [read, write] = cache.fields(&["read", "write"]);
    let [input, output, reasoning, cache_read, cache_creation] =
        [input, output, reasoning, read, write].map(|it| tokens_of(it, bad_counts));
    let is_within = match total.count() {
        Count::Is(total) => Tokens(total) == input + output + cache_read + cache_creation,
        Count::Absent | Count::Bad => false,
    };
    TokenUsage {
        input,
        output: if is_within { output } else { output + reasoning },
        reasoning: if is_within { reasoning.min(output) } else { reasoning },
        cache_read,
        cache_creation,
        ..TokenUsage::default()
    }
}

fn error_kind(error: Value<'_>) -> Option<ApiErrorKind> {
    let [name, data] = error.fields(&["name", "data"]);
    let [status] = data.fields(&["statusCode"]);
    match (name.text().as_deref(), status.count()) {
        (None | Some("MessageAbortedError"), _) => None,
        (Some("ProviderAuthError"), _) | (_, Count::Is(401 | 403)) => Some(ApiErrorKind::AuthenticationFailed),
        (_, Count::Is(402)) => Some(ApiErrorKind::BillingError),
        (_, Count::Is(429)) => Some(ApiErrorKind::RateLimit),
        (_, Count::Is(529 | 503)) => Some(ApiErrorKind::Overloaded),
        (_, Count::Is(500..)) => Some(ApiErrorKind::ServerError),
        (_, Count::Is(400)) => Some(ApiErrorKind::InvalidRequest),
        _ => Some(ApiErrorKind::Other),
    }
}

impl Format for Parser {
    type Object<'a> = Object<'a>;

    fn objects(line: &[u8]) -> Result<Vec<Object<'_>>, RejectReason> {
        json::objects(line)
    }

    fn is_known(object: &Object<'_>) -> bool {
        let role = object.message().role;
        role.is_text("user") || role.is_text("assistant")
    }

    fn records(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let message = object.message();
        let id = object.id.id();
        if let (true, Some(id)) = (object.is_row(), &id) {
            self.state.cursor.read(object.row, object.changed, id);
        }
        let id = id.map(|id| MessageId::of(&id));
        let [created, completed] = times_of(&message);
        let (session, agent) = self.session_of(object);
        if self.state.session.as_ref() != Some(&session) {
            let described = std::mem::take(&mut self.state.described);
            // What a document's session file said comes before the document.
            self.state.described =
                if self.state.session.is_none() { Described { at: None, ..described } } else { Described::default() };
            self.state.session = Some(session.clone());
        }
        let [cwd] = message.path.fields(&["cwd"]);
        let mut news =
            learn(&mut self.state.described.cwd, if object.directory.is_null() { cwd } else { object.directory });
        news |= learn(&mut self.state.described.version, object.version);
        let newest = completed.or(created);
        if let Some(meta) = self.state.described.meta(news, newest, Tool::OpenCode, &session, agent.as_ref()) {
            out(Record::Session(meta));
        }
        let is_over = completed.is_some() || message.role.is_text("user");
        self.ends_now = is_over && id.is_none_or(|id| self.ends(id));
        if !message.role.is_text("assistant") {
            return 0;
        }
        let mut bad_counts = 0;
        let usage = usage(message.tokens, &mut bad_counts);
        // A response that has not come yet has counts of zero.
        if !usage.total().is_zero() || bad_counts > 0 {
            let model = model_named(message.model.id().as_deref());
            out(Record::Usage(UsageRecord {
                tool: Tool::OpenCode,
                session: session.clone(),
                agent: agent.clone(),
                sidechain: agent.is_some(),
                id: ResponseId::of(id, None),
                model: model.clone(),
                at: created,
                usage,
                place,
                bad_counts,
            }));
            let used = usage.context();
            if let (None, Some(window)) = (&agent, window_of(&model, used)) {
                let session = session.clone();
                out(Record::Context(ContextFill { tool: Tool::OpenCode, session, at: newest, model, used, window }));
            }
        }
        if !self.ends_now {
            return 0;
        }
        if let Some(agent) = &agent {
            let kind = if message.agent.is_null() { message.mode } else { message.agent };
            let agent_type = kind.id().map(std::borrow::Cow::into_owned);
            out(Record::Agent(AgentMeta { session: session.clone(), agent: agent.clone(), agent_type }));
        }
        if agent.is_none() && message.summary.is_true() {
            let (session, trigger) = (session.clone(), CompactionTrigger::Unknown);
            out(Record::Compaction(Compaction { session, at: newest, trigger, pre_tokens: None, post_tokens: None }));
        }
        if let Some(kind) = error_kind(message.error) {
            out(Record::ApiError(ApiError { session, at: newest, kind }));
        }
        0
    }

    fn activity(&mut self, object: &Object<'_>, _place: Place, out: &mut impl FnMut(Activity)) {
        let message = object.message();
        let [created, completed] = times_of(&message);
        let (session, agent) = self.session_of(object);
        if !self.ends_now || agent.is_some() {
            return;
        }
        let mut did = |at, what| out(Activity { session: session.clone(), agent: None, at, what });
        if message.role.is_text("user") {
            if let Some(at) = created {
                did(at, ActivityKind::TurnStarted);
            }
        } else if let Some(at) = completed
            && !message.finish.is_text("tool-calls")
            && !message.finish.is_null()
        {
            did(at, ActivityKind::TurnEnded { worked_ms: None });
        }
    }

    /// `storage/session/<project>/<session>.json`, of a document's session.
    fn companion(&mut self, text: &[u8]) -> Option<Record> {
        let [parent, directory, version] = json::document(text)?.fields(&["parentID", "directory", "version"]);
        self.state.parent = parent.id().map(|id| SessionId::new(&*id));
        learn(&mut self.state.described.cwd, directory);
        learn(&mut self.state.described.version, version);
        None
    }
}

/// The session's file of `storage/message/<session>/<message>.json`.
fn session_file_of(transcript: &str) -> Option<String> {
    let session = transcript.strip_prefix("storage/message/")?.split('/').next()?;
    Some(format!("storage/session/*/{session}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Reading, TranscriptReader};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const DOCUMENT: &str = "storage/message/ses_1/msg_2.json";

    fn rows(lines: &[String]) -> (Vec<Record>, TranscriptReader) {
        let mut reader = TranscriptReader::new(Tool::OpenCode, "opencode.db").with_activity();
        let mut records = Vec::new();
        let text = lines.join("\n") + "\n";
        assert_eq!(reader.read(text.as_bytes(), &mut |record| records.push(record)), Reading::Valid);
        assert_eq!(reader.counts().rejected_lines, 0, "{lines:?}");
        (records, reader)
    }

    fn usages(records: &[Record]) -> Vec<UsageRecord> {
        records.iter().filter_map(|it| if let Record::Usage(usage) = it { Some(usage.clone()) } else { None }).collect()
    }

    fn did(records: &[Record]) -> Vec<ActivityKind> {
        let activity = |it: &Record| if let Record::Activity(it) = it { Some(it.what.clone()) } else { None };
        records.iter().filter_map(activity).collect()
    }

    const TOKENS: &str =
        r#""tokens":{"total":1855,"input":1000,"output":500,"reasoning":55,"cache":{"read":200,"write":100}}"#;

    fn row(number: u32, id: &str, rest: &str, data: &str) -> String {
        format!(r#"{{"row":{number},"changed":{}7,"id":"{id}"{rest},"data":{{{data}}}}}"#, number)
    }

    fn answer(more: &str) -> String {
        format!(
            r#""role":"assistant","modelID":"anthropic/claude-sonnet-4.5","providerID":"openrouter","time":{{"created":1767261601000{more}}},"path":{{"cwd":"/home/ada"}},"finish":"stop""#
        )
    }

    #[test]
    fn a_row_that_goes_on_is_one_response() {
        let session = r#","session":"ses_1","root":"ses_1","directory":"/home/ada/engine","version":"1.2.3""#;
        let zero = answer("") + r#","tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}}"#;
        let done = answer(r#","completed":1767261609000"#) + "," + TOKENS;
        let user = r#""role":"user","time":{"created":1767261600000},"summary":{"title":"secret"}"#;
        let (records, reader) = rows(&[
            row(1, "msg_1", session, user),
            row(2, "msg_2", session, &zero),
            row(1, "msg_1", session, user),
            row(2, "msg_2", session, &done),
            row(2, "msg_2", session, &done),
        ]);
        let found = usages(&records);
        assert_eq!(found.len(), 2, "the second is a claim on the same response");
        assert_eq!((found[0].id, found[0].usage), (found[1].id, found[1].usage));
        let usage = found[0].usage;
        assert_eq!((usage.input.0, usage.output.0, usage.reasoning.0), (1000, 555, 55));
        assert_eq!((usage.cache_read.0, usage.cache_creation.0), (200, 100));
        assert_eq!((found[0].model.as_str(), found[0].session.as_str()), ("claude-sonnet-4-5", "ses_1"));
        let Record::Session(meta) = &records[0] else { panic!("a session") };
        assert_eq!((meta.cwd.as_deref(), meta.version.as_deref()), (Some("/home/ada/engine"), Some("1.2.3")));
        assert_eq!(did(&records), [ActivityKind::TurnStarted, ActivityKind::TurnEnded { worked_ms: None }]);
        assert!(!format!("{records:?}").contains("secret"));
        let checkpoint = reader.checkpoint();
        assert_eq!(checkpoint.cursor(), Some(&Cursor { row: 2, id: Cursor::hash_of("msg_2"), changed: 27 }));
    }

    #[test]
    fn a_total_tells_whether_reasoning_is_output() {
        let output = |tokens: &str| {
            let (records, _) = rows(&[row(1, "m", "", &format!("{},{tokens}", answer("")))]);
            let usage = usages(&records)[0].usage;
            (usage.output.0, usage.reasoning.0)
        };
        assert_eq!(output(r#""tokens":{"total":112,"input":100,"output":10,"reasoning":2}"#), (12, 2));
        assert_eq!(output(r#""tokens":{"total":110,"input":100,"output":10,"reasoning":2}"#), (10, 2));
        assert_eq!(output(r#""tokens":{"input":100,"output":10,"reasoning":2}"#), (12, 2));
    }

    #[test]
    fn a_subtask_is_its_roots() {
        let data = answer(r#","completed":1767261609000"#) + r#","agent":"explore",""# + &TOKENS[1..];
        let (records, _) = rows(&[row(1, "m", r#","session":"ses_2","root":"ses_1""#, &data)]);
        let usage = &usages(&records)[0];
        assert_eq!(
            (usage.session.as_str(), usage.agent.clone(), usage.sidechain),
            ("ses_1", Some("ses_2".into()), true)
        );
        let kind = records.iter().find_map(|it| if let Record::Agent(it) = it { it.agent_type.clone() } else { None });
        assert_eq!(kind.as_deref(), Some("explore"));
        assert!(!records.iter().any(|it| matches!(it, Record::Context(_))));
        assert_eq!(did(&records), []);
        let orphan = rows(&[row(1, "m", r#","session":"ses_2","root":null"#, &data)]).0;
        assert_eq!(usages(&orphan)[0].agent, None, "the parents are gone");
    }

    #[test]
    fn a_document_and_its_row_are_one_response() {
        let (records, _) = rows(&[row(1, "msg_2", r#","session":"ses_1""#, &format!("{},{TOKENS}", answer("")))]);
        let document = format!(r#"{{"id":"msg_2","sessionID":"ses_1",{},{TOKENS}}}"#, answer(""));
        let mut reader = TranscriptReader::new(Tool::OpenCode, DOCUMENT);
        let session =
            br#"{"id":"ses_1","directory":"/home/ada/engine","version":"0.9","title":"secret","parentID":"ses_0"}"#;
        assert_eq!(reader.read_companion(session), None);
        let mut found = Vec::new();
        assert_eq!(reader.read_document(document.as_bytes(), &mut |record| found.push(record)), Ok(()));
        let (one, other) = (&usages(&found)[0], &usages(&records)[0]);
        assert_eq!((one.id, one.usage), (other.id, other.usage));
        assert_eq!((one.session.as_str(), one.agent.clone()), ("ses_0", Some("ses_1".into())));
        let Record::Session(meta) = &found[0] else { panic!("a session") };
        assert_eq!((meta.version.as_deref(), meta.cwd.as_deref()), (Some("0.9"), Some("/home/ada")));
        assert_eq!(session_file_of(DOCUMENT).as_deref(), Some("storage/session/*/ses_1.json"));
        assert_eq!(session_file_of("opencode.db"), None);
    }

    #[test]
    fn summaries_and_errors() {
        let summary = answer(r#","completed":1767261609000"#) + r#","summary":true,""# + &TOKENS[1..];
        let limited = answer(r#","completed":1767261609000"#)
            + r#","error":{"name":"APIError","data":{"message":"secret","statusCode":429}}"#;
        let stopped = answer(r#","completed":1767261609000"#) + r#","error":{"name":"MessageAbortedError"}"#;
        let (records, _) = rows(&[row(1, "a", "", &summary), row(2, "b", "", &limited), row(3, "c", "", &stopped)]);
        assert_eq!(records.iter().filter(|it| matches!(it, Record::Compaction(_))).count(), 1);
        let kinds: Vec<_> =
            records.iter().filter_map(|it| if let Record::ApiError(it) = it { Some(it.kind) } else { None }).collect();
        assert_eq!(kinds, [ApiErrorKind::RateLimit]);
    }

    #[test]
    fn odd_rows_are_harmless() {
        let (records, reader) = rows(&[
            row(1, "a", "", r#""role":7,"time":"now","tokens":[]"#),
            row(2, "", "", r#""role":"assistant","tokens":{"input":-1,"cache":7}"#),
            r#"{"data":7}"#.to_owned(),
            "{}".to_owned(),
        ]);
        assert_eq!(
            usages(&records).iter().map(|it| (it.bad_counts, it.id)).collect::<Vec<_>>(),
            [(1, ResponseId::Alone { request: None })]
        );
        assert_eq!(reader.counts().unknown_records, 3);
    }
}
