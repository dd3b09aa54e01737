//! What Claude Code writes: transcript lines, `sessions/<pid>.json`, and `subagents/*.meta.json` → records.
//!
//! The format is internal to the tool and changes: every field is optional, anything may be of any type, and what is
//! not known is counted and skipped. This module knows the format and nothing else: neither files nor lines, nor which
//! of several claims on a response holds.

mod limits;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{self, Count, Value, object};
use super::{
    Companion, ContextRule, Format, Home, HomeVariable, Identity, IsAlive, ParserMemory, PresenceFiles,
    RetentionSetting, Shape, ToolSpec, Transcripts, UsageFile, UsualPlace, call_id, tool_name,
};
use crate::ids::{AgentId, MessageId, ModelId, RequestId, SessionId};
use crate::record::{
    Activity, ActivityKind, AgentMeta, ApiError, ApiErrorKind, Compaction, CompactionTrigger, LimitKey, LimitName,
    LimitScope, Place, Presence, PresenceStatus, RateLimitReport, Record, RejectReason, ResponseId, SessionMeta, Tool,
    ToolCost, ToolModelCost, UsageRecord,
};
use crate::time::{SECOND_MS, Timestamp};
use crate::units::{Money, TokenUsage, Tokens};

/// What is known of Claude Code.
pub(super) const SPEC: ToolSpec = ToolSpec {
    title: "Claude Code",
    home: Home {
        variables: &[HomeVariable { name: "CLAUDE_CONFIG_DIR", is_list: true, below: "" }],
        // Newer versions use the first.
        usual: &[UsualPlace::Config("claude"), UsualPlace::Home(".claude")],
    },
    transcripts: &[Transcripts { pattern: "projects/**/*.jsonl", shape: Shape::Lines }],
    companion: Some(Companion { of: meta_of, transcript: transcript_of }),
    presence: Some(PresenceFiles { dir: "sessions", read: presence }),
    identity: Identity::Message,
    context: ContextRule::FromUsage { window: window_tokens, compacts_at: |window| window - AUTO_COMPACT_BUFFER },
    retention: Some(RetentionSetting { file: "settings.json", key: "cleanupPeriodDays", default_days: 30 }),
    usage_file: Some(UsageFile { name: ".claude.json", read: limits::cached_usage }),
    status_line: Some(limits::STATUS_LINE),
    usage_answer: Some(limits::usage_answer),
};

/// The usual window.
const SMALL_WINDOW: Tokens = Tokens(200_000);
/// The window of the newest models, and of `[1m]` variants.
const LARGE_WINDOW: Tokens = Tokens(1_000_000);
/// The tool compacts this far below the window's end: 20,000 for the answer and 13,000 of margin (fits five observed
/// compactions and the documented 967k of a 1M window).
pub const AUTO_COMPACT_BUFFER: Tokens = Tokens(33_000);

/// The model of lines the tool makes up itself, such as errors.
const SYNTHETIC: &str = "<synthetic>";

/// Most models read of one `cost-state`.
const MAX_MODELS: usize = 100;

/// Types of records we have seen, read or not; most lines are of the first two.
const KNOWN_TYPES: [&str; 19] = [
    "assistant",
    "user",
    "agent-name",
    "ai-title",
    "attachment",
    "cost-state",
    "custom-title",
    "file-history-delta",
    "file-history-snapshot",
    "last-prompt",
    "mode",
    "permission-mode",
    "pr-link",
    "progress",
    "queue-operation",
    "result",
    "started",
    "summary",
    "system",
];

object! {
    /// One object of a transcript, as far as it matters here.
    pub(super) struct Object {
        kind: "type",
        subtype: "subtype",
        timestamp: "timestamp",
        session: "sessionId",
        agent: "agentId",
        sidechain: "isSidechain",
        request: "requestId",
        cwd: "cwd",
        branch: "gitBranch",
        version: "version",
        data: "data",
        compact: "compactMetadata",
        quota: "quotaLimits",
        is_error: "isApiErrorMessage",
        error: "error",
        ;
        message: "message" => Message,
    }
}

object! {
    /// What the vendor's API answered, or was sent.
    struct Message {
        id: "id",
        model: "model",
        content: "content",
        ;
        usage: "usage" => Usage,
    }
}

object! {
    /// The tokens of a response.
    struct Usage {
        input: "input_tokens",
        output: "output_tokens",
        cache_creation: "cache_creation_input_tokens",
        cache_read: "cache_read_input_tokens",
        ;
        parts: "cache_creation" => CacheCreation,
        details: "output_tokens_details" => OutputDetails,
    }
}

object! {
    /// What the output was spent on.
    struct OutputDetails {
        thinking: "thinking_tokens",
    }
}

object! {
    /// What was written to the cache, by how long it stays there.
    struct CacheCreation {
        five_minutes: "ephemeral_5m_input_tokens",
        one_hour: "ephemeral_1h_input_tokens",
    }
}

impl<'a> Object<'a> {
    /// Whether its type is one we have seen. Very old lines have none; those are known by their usage.
    pub(super) fn is_known(&self) -> bool {
        if self.kind.is_null() {
            return self.claim().is_some();
        }
        KNOWN_TYPES.iter().any(|kind| self.kind.is_text(kind))
    }

    /// Where the record tells of the usage of a response, if it does.
    fn claim(&self) -> Option<Claim<'a>> {
        let (request, timestamp, agent, message, embedded);
        if self.kind.is_text("assistant") || self.kind.is_null() {
            (request, timestamp, agent, message) = (self.request, self.timestamp, self.agent, self.message);
            embedded = false;
        } else if self.kind.is_text("progress") {
            let [kind, holder, own_agent] = self.data.fields(&["type", "message", "agentId"]);
            if !kind.is_text("agent_progress") {
                return None;
            }
            let inner;
            [request, timestamp, inner] = holder.fields(&["requestId", "timestamp", "message"]);
            (agent, message, embedded) = (own_agent, inner.read(), true);
        } else {
            return None;
        }
        let is_usage = message.usage.whole.is_object() && !message.model.is_text(SYNTHETIC);
        is_usage.then_some(Claim { request, timestamp, agent, message, embedded })
    }
}

/// The parts of a usage record, wherever in the line they are.
struct Claim<'a> {
    request: Value<'a>,
    timestamp: Value<'a>,
    agent: Value<'a>,
    message: Message<'a>,
    /// It repeats, in a `progress` line, a line of the subagent's own file.
    embedded: bool,
}

/// Turns the objects of one file into records.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    /// The session of lines that name none.
    session: SessionId,
    /// The subagent whose file this is, if it is one's.
    agent: Option<AgentId>,
    /// What was said of the session last, with everything said before.
    said: Option<SessionMeta>,
    /// Model of the newest usage record, so that one text serves all lines that repeat it.
    model: Option<ModelId>,
    state: State,
}

/// What the lines so far mean for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The newest time of a line.
    newest: Option<Timestamp>,
}

impl ParserMemory for State {}

impl Parser {
    pub(super) fn new(path: &str, state: State) -> Self {
        Self {
            session: SessionId::new(session_of(path)),
            agent: agent_of(path).map(AgentId::new),
            said: None,
            model: None,
            state,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }
}

impl Format for Parser {
    type Object<'a> = Object<'a>;

    fn objects(line: &[u8]) -> Result<Vec<Object<'_>>, RejectReason> {
        json::objects(line)
    }

    fn is_known(object: &Object<'_>) -> bool {
        object.is_known()
    }

    fn records(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) -> u64 {
        let session = self.session_named(object.session);
        let agent = object.agent.id().map_or_else(|| self.agent.clone(), |id| Some(AgentId::new(&*id)));
        let at = object.timestamp.timestamp();
        self.state.newest = self.state.newest.max(at);

        if let Some(meta) = self.meta(object, &session, agent.as_ref(), at) {
            out(Record::Session(meta));
        }
        if let Some(claim) = object.claim() {
            let usage = self.usage(object, &claim, session.clone(), agent, place);
            out(Record::Usage(usage));
        }
        if object.kind.is_text("system") && object.subtype.is_text("compact_boundary") && !object.sidechain.is_true() {
            out(Record::Compaction(compaction(object.compact, session.clone(), at)));
        }
        if object.kind.is_text("cost-state") {
            out(Record::ToolCost(Box::new(tool_cost(object, session.clone(), at.or(self.state.newest)))));
        }
        if let Some(report) = at.and_then(|at| rate_limit(object.quota, session.clone(), at)) {
            out(Record::RateLimit(report));
        }
        if object.is_error.is_true() {
            out(Record::ApiError(ApiError { session, at, kind: error_kind(object.error) }));
        }
        0
    }

    fn activity(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Activity)) {
        let Some(at) = object.timestamp.timestamp() else { return };
        let session = self.session_named(object.session);
        let agent = object.agent.id().map_or_else(|| self.agent.clone(), |id| Some(AgentId::new(&*id)));
        let is_main_chain = agent.is_none() && !object.sidechain.is_true();
        let mut did = |what| out(Activity { session: session.clone(), agent: agent.clone(), at, what });
        match object.kind.text().as_deref() {
            Some("assistant") => object.message.content.each_object(&["type", "id", "name"], |[kind, id, name]| {
                if kind.is_text("tool_use") {
                    let call = call_id(id.id().as_deref(), place);
                    did(ActivityKind::ToolStarted { call, name: tool_name(name.text().as_deref()) });
                }
            }),
            Some("user") => {
                let mut asked = Asked::of(object.message.content);
                let names = ["type", "tool_use_id", "is_error", "text", "content"];
                object.message.content.each_object(&names, |[kind, id, failed, text, content]| {
                    if kind.is_text("tool_result") {
                        asked = Asked::Nothing;
                        let call = call_id(id.id().as_deref(), place);
                        did(ActivityKind::ToolEnded {
                            call,
                            ok: Some(!failed.is_true()),
                            result_bytes: content.size(),
                        });
                    } else if let Asked::NotYetKnown = asked {
                        asked = Asked::of(text);
                    }
                });
                let [is_meta, is_summary] = match asked {
                    Asked::Something if is_main_chain => object.whole.fields(&["isMeta", "isCompactSummary"]),
                    Asked::ToStop if is_main_chain => return did(ActivityKind::TurnEnded { worked_ms: None }),
                    _ => return,
                };
                if !is_meta.is_true() && !is_summary.is_true() {
                    did(ActivityKind::TurnStarted);
                }
            }
            Some("system") if is_main_chain && object.subtype.is_text("turn_duration") => {
                let [duration] = object.whole.fields(&["durationMs"]);
                let worked_ms = if let Count::Is(ms) = duration.count() { Some(ms) } else { None };
                did(ActivityKind::TurnEnded { worked_ms });
            }
            _ => {}
        }
    }

    /// `…/<session>/subagents/agent-<id>.meta.json`, of which only the kind of the agent is kept.
    fn companion(&mut self, text: &[u8]) -> Option<Record> {
        let agent = self.agent.clone()?;
        let [agent_type] = json::document(text)?.fields(&["agentType"]);
        let agent_type = agent_type.id().map(Cow::into_owned);
        Some(Record::Agent(AgentMeta { session: self.session.clone(), agent, agent_type }))
    }
}

/// What a user's line asks of the assistant, as far as its first words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Not said by what was looked at.
    NotYetKnown,
    /// Something.
    Something,
    /// To stop.
    ToStop,
    /// Nothing: it only records what the tool itself or a shell did, or brings results.
    Nothing,
}

impl Asked {
    fn of(text: Value<'_>) -> Self {
        let Some(text) = text.raw_text() else { return Self::NotYetKnown };
        let begins_with = |words: &&str| text.starts_with(words.as_bytes());
        if ["<command-name>", "<local-command-", "<bash-"].iter().any(begins_with) {
            Self::Nothing
        } else if begins_with(&"[Request interrupted by user") {
            Self::ToStop
        } else {
            Self::Something
        }
    }
}

impl Parser {
    fn session_named(&self, name: Value<'_>) -> SessionId {
        match &self.said {
            Some(said) if name.is_text(said.session.as_str()) => said.session.clone(),
            _ => name.id().map_or_else(|| self.session.clone(), |name| SessionId::new(&*name)),
        }
    }

    /// What the object says of its session, if that is news: something changed, or a second passed.
    fn meta(
        &mut self,
        object: &Object<'_>,
        session: &SessionId,
        agent: Option<&AgentId>,
        at: Option<Timestamp>,
    ) -> Option<SessionMeta> {
        let before = self.said.take_if(|said| said.session != *session || said.agent.as_ref() != agent);
        let said = self.said.get_or_insert_with(|| SessionMeta {
            tool: Tool::ClaudeCode,
            session: session.clone(),
            agent: agent.cloned(),
            cwd: None,
            branch: None,
            version: None,
            at: None,
        });
        let mut news = false;
        for (known, value) in
            [(&mut said.cwd, object.cwd), (&mut said.branch, object.branch), (&mut said.version, object.version)]
        {
            if known.as_deref().is_some_and(|known| value.is_text(known)) {
                continue;
            }
            let Some(text) = value.id() else { continue };
            if known.as_deref() != Some(&*text) {
                *known = Some(text.into_owned());
                news = true;
            }
        }
        if let Some(at) = at
            && said.at.is_none_or(|last| at.ms_since(last) >= SECOND_MS)
        {
            said.at = Some(at);
            news = true;
        }
        if news {
            return Some(said.clone());
        }
        // A line that says nothing does not end what the lines around it say.
        self.said = before.or(self.said.take());
        None
    }

    fn usage(
        &mut self,
        object: &Object<'_>,
        claim: &Claim<'_>,
        session: SessionId,
        agent: Option<AgentId>,
        place: Place,
    ) -> UsageRecord {
        let mut bad_counts = 0;
        let usage = tokens(&claim.message.usage, &mut bad_counts);
        let at = claim.timestamp.timestamp();
        UsageRecord {
            tool: Tool::ClaudeCode,
            session,
            agent: claim.agent.id().map_or(agent, |id| Some(AgentId::new(&*id))),
            sidechain: claim.embedded || object.sidechain.is_true(),
            id: ResponseId::of(
                claim.message.id.id().map(|id| MessageId::of(&id)),
                claim.request.id().map(|id| RequestId::of(&id)),
            ),
            model: self.model(claim.message.model),
            at: if claim.embedded { at.or_else(|| object.timestamp.timestamp()) } else { at },
            usage,
            place,
            bad_counts,
        }
    }
}

impl Parser {
    /// The model of this name, sharing its text with the record before; `unknown` without a name.
    fn model(&mut self, name: Value<'_>) -> ModelId {
        match &self.model {
            Some(known) if name.is_text(known.as_str()) => known.clone(),
            _ => {
                let model = name.id().map_or_else(|| ModelId::new("unknown"), |name| ModelId::new(&*name));
                self.model.insert(model).clone()
            }
        }
    }
}

/// Size of a model's context window; `seen` is the largest fill observed with it.
pub fn window_tokens(model: &ModelId, seen: Tokens) -> Tokens {
    if seen > SMALL_WINDOW || wide_by_name(model.as_str()) { LARGE_WINDOW } else { SMALL_WINDOW }
}

/// `[1m]` variants, Fable and Sonnet from 5 on, Opus from 4.7 on.
fn wide_by_name(model: &str) -> bool {
    if model.ends_with("[1m]") {
        return true;
    }
    let Some((family, version)) = model.strip_prefix("claude-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major_length = digits(version);
    let Ok(major) = version[..major_length].parse::<u32>() else { return false };
    // A longer run of digits after the dash is a date, not a minor version.
    let minor = version[major_length..].strip_prefix('-').map_or(0, |rest| match digits(rest) {
        length @ (1 | 2) => rest[..length].parse().unwrap_or(0),
        _ => 0,
    });
    match family {
        "fable" | "sonnet" => (major, minor) >= (5, 0),
        "opus" => (major, minor) >= (4, 7),
        _ => false,
    }
}

/// The `.meta.json` beside a subagent's transcript.
fn meta_of(transcript: &str) -> Option<String> {
    agent_of(transcript)?;
    Some(format!("{}.meta.json", transcript.strip_suffix(".jsonl")?))
}

/// The transcript that a `.meta.json` is beside.
fn transcript_of(companion: &str) -> Option<String> {
    Some(format!("{}.jsonl", companion.strip_suffix(".meta.json")?))
}

/// The session a path implies: the directory above `subagents`, else the file's stem.
fn session_of(path: &str) -> &str {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.iter().position(|&part| part == "subagents") {
        Some(at) if at > 0 => parts[at - 1],
        _ => {
            let name = parts.last().copied().unwrap_or_default();
            name.strip_suffix(".jsonl").unwrap_or(name)
        }
    }
}

/// The subagent whose file this is: `agent-<id>.jsonl`, `agent-<id>.meta.json`.
fn agent_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?.strip_prefix("agent-")?;
    name.strip_suffix(".jsonl").or_else(|| name.strip_suffix(".meta.json")).filter(|id| !id.is_empty())
}

fn tokens(usage: &Usage<'_>, bad_counts: &mut u32) -> TokenUsage {
    let Usage { input, output, cache_creation: creation, cache_read: read, parts, details, .. } = *usage;
    let CacheCreation { five_minutes, one_hour, .. } = parts;
    let mut count = |value: Value<'_>| match value.count() {
        Count::Is(number) => Tokens(number),
        Count::Absent => Tokens::ZERO,
        Count::Bad => {
            *bad_counts += 1;
            Tokens::ZERO
        }
    };
    let (five_minutes, one_hour) = (count(five_minutes), count(one_hour));
    let cache_creation = if creation.is_null() { five_minutes + one_hour } else { count(creation) };
    let output = count(output);
    TokenUsage {
        input: count(input),
        output,
        // A detail of the vendor's that is absent in most versions: what is no count here spoils nothing.
        reasoning: if let Count::Is(thinking) = details.thinking.count() {
            Tokens(thinking).min(output)
        } else {
            Tokens::ZERO
        },
        cache_creation,
        cache_creation_1h: one_hour.min(cache_creation),
        cache_read: count(read),
    }
}

fn compaction(metadata: Value<'_>, session: SessionId, at: Option<Timestamp>) -> Compaction {
    let [trigger, before, after] = metadata.fields(&["trigger", "preTokens", "postTokens"]);
    let fill = |value: Value<'_>| match value.count() {
        Count::Is(number) => Some(Tokens(number)),
        Count::Absent | Count::Bad => None,
    };
    Compaction {
        session,
        at,
        trigger: match trigger.text().as_deref() {
            Some("auto") => CompactionTrigger::Auto,
            Some("manual") => CompactionTrigger::Manual,
            _ => CompactionTrigger::Unknown,
        },
        pre_tokens: fill(before),
        post_tokens: fill(after),
    }
}

/// The tool's own account of the session.
fn tool_cost(object: &Object<'_>, session: SessionId, at: Option<Timestamp>) -> ToolCost {
    let money = |value: Value<'_>| value.number().and_then(Money::from_usd);
    let [total, by_model] = object.whole.fields(&["totalCostUSD", "modelUsage"]);
    let mut models: BTreeMap<ModelId, ToolModelCost> = BTreeMap::new();
    for (name, value) in by_model.members(MAX_MODELS) {
        let fields = ["inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens", "costUSD"];
        let [input, output, read, creation, cost] = value.fields(&fields);
        let [input, output, cache_read, cache_creation] =
            [input, output, read, creation].map(|value| match value.count() {
                Count::Is(number) => Tokens(number),
                Count::Absent | Count::Bad => Tokens::ZERO,
            });
        let model = ModelId::new(&*name);
        let usage = TokenUsage { input, output, cache_creation, cache_read, ..TokenUsage::default() };
        models.insert(model.clone(), ToolModelCost { model, usage, cost: money(cost) });
    }
    ToolCost { session, at, cost: money(total), models: models.into_values().collect() }
}

/// The vendor's word on a limit, if it is one we keep.
fn rate_limit(quota: Value<'_>, session: SessionId, at: Timestamp) -> Option<RateLimitReport> {
    let [status, resets_at, kind] = quota.fields(&["status", "resetsAt", "rateLimitType"]);
    Some(RateLimitReport {
        limit: limit_named(&kind.text()?)?,
        at,
        used_percent: None,
        resets_at: resets_at.epoch_seconds(),
        rejected: status.is_text("rejected"),
        session: Some(session),
    })
}

/// Model families that Claude Code's limits are named after; another suffix names something else.
const FAMILIES: [&str; 4] = ["opus", "sonnet", "haiku", "fable"];

/// The limit of a `rateLimitType` such as `seven_day_opus`; `None` if its name says no length.
fn limit_named(name: &str) -> Option<LimitKey> {
    let windows =
        [("five_hour", LimitKey::five_hour(Tool::ClaudeCode)), ("seven_day", LimitKey::weekly(Tool::ClaudeCode))];
    windows.into_iter().find_map(|(prefix, limit)| {
        let rest = name.strip_prefix(prefix)?;
        if rest.is_empty() {
            return Some(limit);
        }
        let scope = LimitName::new(rest.strip_prefix('_')?)?;
        let family = FAMILIES.contains(&scope.as_str());
        let scope = if family { LimitScope::Family(scope) } else { LimitScope::Other(scope) };
        Some(LimitKey { scope, ..limit })
    })
}

fn epoch_ms(value: Value<'_>) -> Option<Timestamp> {
    match value.count() {
        Count::Is(ms) => Some(Timestamp::from_unix_ms(ms.cast_signed())),
        Count::Absent | Count::Bad => None,
    }
}

fn error_kind(error: Value<'_>) -> ApiErrorKind {
    match error.text().as_deref() {
        Some("rate_limit") => ApiErrorKind::RateLimit,
        Some("authentication_failed") => ApiErrorKind::AuthenticationFailed,
        Some("billing_error") => ApiErrorKind::BillingError,
        Some("overloaded") => ApiErrorKind::Overloaded,
        Some("server_error") => ApiErrorKind::ServerError,
        Some("invalid_request") => ApiErrorKind::InvalidRequest,
        _ => ApiErrorKind::Other,
    }
}

/// Reads `sessions/<pid>.json`; `is_alive` tells whether the process of this id lives and is not a later one than that
/// which wrote this as its start.
fn presence(text: &[u8], is_alive: IsAlive) -> Option<Presence> {
    const NAMES: [&str; 7] = ["pid", "sessionId", "status", "cwd", "version", "startedAt", "updatedAt"];
    let [pid, session, status, cwd, version, started, updated] = json::document(text)?.fields(&NAMES);
    let started_at = epoch_ms(started);
    Some(Presence {
        session: SessionId::new(&*session.id()?),
        status: match status.text().as_deref() {
            Some("busy") => PresenceStatus::Busy,
            Some("waiting") => PresenceStatus::Waiting,
            _ => PresenceStatus::Idle,
        },
        alive: matches!(pid.count(), Count::Is(pid) if u32::try_from(pid).is_ok_and(|pid| is_alive(pid, started_at))),
        cwd: cwd.id().map(Cow::into_owned),
        version: version.id().map(Cow::into_owned),
        started_at,
        updated_at: epoch_ms(updated),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Reading, TranscriptReader};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const MAIN: &str = "projects/-home-ada/f00.jsonl";

    fn read(path: &str, lines: &str) -> Vec<Record> {
        let mut reader = TranscriptReader::new(Tool::ClaudeCode, path);
        let mut records = Vec::new();
        assert_eq!(reader.read(lines.as_bytes(), &mut |record| records.push(record)), Reading::Valid);
        assert_eq!(reader.finish(&mut |record| records.push(record)), Reading::Valid);
        assert_eq!(reader.counts().rejected_lines + reader.counts().pending_lines, 0, "{lines}");
        records
    }

    fn usages(path: &str, lines: &str) -> Vec<UsageRecord> {
        let only_usage = |record| if let Record::Usage(usage) = record { Some(usage) } else { None };
        read(path, lines).into_iter().filter_map(only_usage).collect()
    }

    fn metas(path: &str, lines: &str) -> Vec<SessionMeta> {
        let only_meta = |record| if let Record::Session(meta) = record { Some(meta) } else { None };
        read(path, lines).into_iter().filter_map(only_meta).collect()
    }

    /// Tokens and bad counts of a line with this `usage`.
    fn counted(usage: &str) -> ([u64; 5], u32) {
        let found = usages(MAIN, &format!(r#"{{"type":"assistant","message":{{"usage":{usage}}}}}"#));
        let [record] = &found[..] else { panic!("one record of {usage}") };
        let TokenUsage { input, output, cache_creation, cache_creation_1h, cache_read, .. } = record.usage;
        ([input.0, output.0, cache_creation.0, cache_creation_1h.0, cache_read.0], record.bad_counts)
    }

    #[test]
    fn an_assistant_line_of_today() {
        let line = r#"{"parentUuid":null,"isSidechain":false,"message":{"model":"claude-opus-5","id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"{\"usage\":{\"output_tokens\":9}}"}],"stop_reason":"tool_use","usage":{"input_tokens":2,"cache_creation_input_tokens":372,"cache_read_input_tokens":89913,"output_tokens":228,"output_tokens_details":{"thinking_tokens":40},"cache_creation":{"ephemeral_1h_input_tokens":372,"ephemeral_5m_input_tokens":0},"service_tier":"standard","iterations":[{"input_tokens":2}]}},"requestId":"req_1","type":"assistant","uuid":"u","timestamp":"2026-09-14T15:07:11.965Z","cwd":"/home/ada/engine","sessionId":"s1","version":"2.1.270","gitBranch":"main"}"#;
        let at = Timestamp::parse("2026-09-14T15:07:11.965Z");
        let meta = SessionMeta {
            tool: Tool::ClaudeCode,
            session: "s1".into(),
            agent: None,
            cwd: Some("/home/ada/engine".into()),
            branch: Some("main".into()),
            version: Some("2.1.270".into()),
            at,
        };
        let usage = UsageRecord {
            tool: Tool::ClaudeCode,
            session: "s1".into(),
            agent: None,
            sidechain: false,
            id: ResponseId::of(Some("msg_1".into()), Some("req_1".into())),
            model: "claude-opus-5".into(),
            at,
            usage: TokenUsage {
                input: Tokens(2),
                output: Tokens(228),
                cache_creation: Tokens(372),
                cache_creation_1h: Tokens(372),
                cache_read: Tokens(89_913),
                reasoning: Tokens(40),
            },
            place: Place::default(),
            bad_counts: 0,
        };
        assert_eq!(read(MAIN, line), [Record::Session(meta), Record::Usage(usage)]);
    }

    #[test]
    fn lines_without_a_type_or_ids_count_too() {
        let found =
            usages(MAIN, r#"{"message":{"id":"","usage":{"input_tokens":1}},"requestId":7,"timestamp":"today"}"#);
        let [record] = &found[..] else { panic!("one record") };
        assert_eq!((record.id, record.at), (ResponseId::Alone { request: None }, None));
        assert_eq!((record.session.as_str(), record.model.as_str()), ("f00", "unknown"));
    }

    #[test]
    fn lines_that_are_no_usage() {
        for line in [
            r#"{"type":"assistant","message":{"model":"<synthetic>","usage":{"input_tokens":1}}}"#,
            r#"{"type":"assistant","message":{"usage":[]}}"#,
            r#"{"type":"assistant","message":"text"}"#,
            r#"{"type":"assistant","message":{"usage":{}},"message":null}"#,
            r#"{"type":"user","message":{"usage":{"input_tokens":1}}}"#,
            r#"{"type":7,"message":{"usage":{"input_tokens":1}}}"#,
            r#"{"type":"progress","data":{"type":"hook_progress","message":{"message":{"usage":{}}}}}"#,
        ] {
            assert!(usages(MAIN, line).is_empty(), "{line}");
        }
    }

    #[test]
    fn cache_writes_are_split_by_lifetime() {
        let parts = r#""cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4}"#;
        assert_eq!(counted(&format!("{{{parts}}}")), ([0, 0, 7, 4, 0], 0));
        assert_eq!(counted(&format!(r#"{{"cache_creation_input_tokens":null,{parts}}}"#)), ([0, 0, 7, 4, 0], 0));
        assert_eq!(counted(&format!(r#"{{"cache_creation_input_tokens":9,{parts}}}"#)), ([0, 0, 9, 4, 0], 0));
        assert_eq!(counted(&format!(r#"{{"cache_creation_input_tokens":2,{parts}}}"#)), ([0, 0, 2, 2, 0], 0));
        assert_eq!(counted(&format!(r#"{{"cache_creation_input_tokens":-2,{parts}}}"#)), ([0, 0, 0, 0, 0], 1));
    }

    #[test]
    fn absurd_counts_are_zero_and_counted() {
        for absurd in ["-1", "1.5", "1e400", "99999999999999999999", "9007199254740992", "true", "\"12\"", "[]", "{}"] {
            let usage = format!(
                r#"{{"input_tokens":{absurd},"output_tokens":{absurd},"cache_read_input_tokens":{absurd},"cache_creation":{{"ephemeral_5m_input_tokens":{absurd},"ephemeral_1h_input_tokens":1}}}}"#
            );
            assert_eq!(counted(&usage), ([0, 0, 1, 1, 0], 4), "{absurd}");
        }
        assert_eq!(
            counted(r#"{"input_tokens":null,"output_tokens":9007199254740991}"#),
            ([0, (1 << 53) - 1, 0, 0, 0], 0)
        );
    }

    #[test]
    fn a_half_surrogate_pair_or_an_unknown_number_does_not_cost_the_line() {
        let line = r#"{"type":"assistant","x":1e400,"\ud83d":1,"message":{"id":"msg_\ud83d","content":"\udc00","usage":{"input_tokens":1}}}"#;
        assert_eq!(usages(MAIN, line)[0].id.message(), Some("msg_\u{fffd}".into()));
    }

    #[test]
    fn subagents_are_named_by_their_lines_or_their_file() {
        let line = r#"{"type":"assistant","isSidechain":true,"message":{"usage":{}}"#;
        for (path, rest, session, agent) in [
            ("projects/p/s1.jsonl", "}", "s1", None),
            ("projects/p/s1.jsonl", r#","agentId":"a7"}"#, "s1", Some("a7")),
            ("projects/p/agent-a1.jsonl", r#","sessionId":"s1"}"#, "s1", Some("a1")),
            ("projects/p/s1/subagents/agent-a1.jsonl", "}", "s1", Some("a1")),
            ("projects/p/s1/subagents/workflows/wf_1/agent-a1.jsonl", r#","agentId":""}"#, "s1", Some("a1")),
            ("projects/p/s1/subagents/agent-a1.jsonl", r#","agentId":"a7"}"#, "s1", Some("a7")),
        ] {
            let record = &usages(path, &format!("{line}{rest}"))[0];
            assert!(record.sidechain);
            assert_eq!(
                (record.session.as_str(), record.agent.as_ref().map(AgentId::as_str)),
                (session, agent),
                "{path}"
            );
        }
    }

    #[test]
    fn progress_lines_repeat_a_subagents_line() {
        let line = r#"{"type":"progress","sessionId":"s1","isSidechain":false,"requestId":"no","timestamp":"2026-01-01T00:00:01Z","data":{"type":"agent_progress","agentId":"a1","message":{"requestId":"req_1","message":{"id":"msg_1","model":"m","usage":{"output_tokens":3}}}}}"#;
        let record = &usages(MAIN, line)[0];
        assert!(record.sidechain);
        assert_eq!(record.agent, Some("a1".into()));
        assert_eq!(record.id.request(), Some("req_1".into()));
        assert_eq!(record.at, Timestamp::parse("2026-01-01T00:00:01Z"), "its own time is missing");
    }

    #[test]
    fn a_session_is_described_when_there_is_news() {
        let line = |second: f64, cwd: &str| {
            format!(r#"{{"type":"user","sessionId":"s1","timestamp":"2026-01-01T00:00:{second:06.3}Z","cwd":"{cwd}"}}"#)
        };
        let lines = [
            line(1.0, "/a"),
            line(1.5, "/a"),
            line(1.999, "/a"),
            line(2.0, "/a"),
            line(2.1, "/b"),
            line(1.0, "/b"),
            r#"{"type":"mode","mode":"normal","sessionId":"s1"}"#.into(),
            r#"{"type":"summary","summary":"text"}"#.into(),
            line(2.2, "/b"),
        ];
        let said = metas(MAIN, &lines.join("\n"));
        let said: Vec<_> = said.iter().map(|meta| (meta.cwd.as_deref(), meta.at.map(Timestamp::unix_ms))).collect();
        let ms = |ms: i64| Some(1_767_225_600_000 + ms);
        assert_eq!(said, [(Some("/a"), ms(1000)), (Some("/a"), ms(2000)), (Some("/b"), ms(2000))]);
    }

    #[test]
    fn main_chain_compactions() {
        let line = r#"{"type":"system","subtype":"compact_boundary","sessionId":"s1","compactMetadata":{"trigger":"manual","preTokens":23010,"postTokens":1873}}
{"type":"system","subtype":"compact_boundary","sessionId":"s1","compactMetadata":{"trigger":"whim","preTokens":-1}}
{"type":"system","subtype":"compact_boundary","sessionId":"s1","isSidechain":true}
{"type":"system","subtype":"turn_duration","sessionId":"s1"}"#;
        let expected = |trigger, pre_tokens, post_tokens| {
            Record::Compaction(Compaction { session: "s1".into(), at: None, trigger, pre_tokens, post_tokens })
        };
        assert_eq!(
            read(MAIN, line),
            [
                expected(CompactionTrigger::Manual, Some(Tokens(23_010)), Some(Tokens(1_873))),
                expected(CompactionTrigger::Unknown, None, None)
            ]
        );
    }

    #[test]
    fn a_session_limit_is_both_a_report_and_an_error() {
        let line = r#"{"type":"assistant","timestamp":"2026-09-19T03:51:57.875Z","message":{"model":"<synthetic>","usage":{"input_tokens":0},"content":[{"type":"text","text":"You've hit your session limit"}]},"quotaLimits":{"status":"rejected","resetsAt":1789796400,"rateLimitType":"five_hour"},"error":"rate_limit","isApiErrorMessage":true,"sessionId":"s1"}"#;
        let at = Timestamp::parse("2026-09-19T03:51:57.875Z");
        let report = RateLimitReport {
            limit: LimitKey::five_hour(Tool::ClaudeCode),
            at: at.unwrap(),
            used_percent: None,
            resets_at: Timestamp::parse("2026-09-19T05:40:00Z"),
            rejected: true,
            session: Some("s1".into()),
        };
        let error = ApiError { session: "s1".into(), at, kind: ApiErrorKind::RateLimit };
        assert_eq!(read(MAIN, line)[1..], [Record::RateLimit(report), Record::ApiError(error)]);
    }

    #[test]
    fn limits_and_errors_we_do_not_know_are_harmless() {
        for line in [
            r#"{"type":"assistant","timestamp":"2026-09-19T03:51:57Z","quotaLimits":{"rateLimitType":"monthly"}}"#,
            r#"{"type":"assistant","timestamp":"2026-09-19T03:51:57Z","quotaLimits":"five_hour"}"#,
            r#"{"type":"assistant","timestamp":"2026-09-19T03:51:57Z","isApiErrorMessage":false,"error":"rate_limit"}"#,
        ] {
            assert!(matches!(read(MAIN, line)[..], [Record::Session(_)]), "{line}");
        }
        let line = r#"{"type":"assistant","isApiErrorMessage":true,"error":"new"}"#;
        assert!(matches!(read(MAIN, line)[..], [Record::ApiError(ApiError { kind: ApiErrorKind::Other, .. })]));
        let wild =
            r#"{"timestamp":"2026-09-19T03:51:57Z","quotaLimits":{"rateLimitType":"seven_day","resetsAt":1e300}}"#;
        assert!(matches!(read(MAIN, wild)[..], [_, Record::RateLimit(RateLimitReport { rejected: false, .. })]));
    }

    #[test]
    fn the_tools_own_account_is_dated_by_the_lines_before_it() {
        let lines = r#"{"type":"user","sessionId":"s1","timestamp":"2026-09-14T15:07:11.965Z"}
{"type":"cost-state","sessionId":"s1","totalCostUSD":0.0319246,"modelUsage":{"m-b[1m]":{"inputTokens":-1},"m-a":{"inputTokens":368,"outputTokens":516,"cacheReadInputTokens":106786,"cacheCreationInputTokens":9149,"webSearchRequests":0,"costUSD":0.03}}}
{"type":"cost-state","modelUsage":[],"totalCostUSD":"much"}"#;
        let found = read(MAIN, lines);
        let Record::ToolCost(cost) = &found[1] else { panic!("an account") };
        let usage = TokenUsage {
            input: Tokens(368),
            output: Tokens(516),
            cache_creation: Tokens(9149),
            cache_creation_1h: Tokens(0),
            cache_read: Tokens(106_786),
            reasoning: Tokens::ZERO,
        };
        let expected = ToolCost {
            session: "s1".into(),
            at: Timestamp::parse("2026-09-14T15:07:11.965Z"),
            cost: Some(Money(31_924_600_000)),
            models: vec![
                ToolModelCost { model: "m-a".into(), usage, cost: Some(Money(30_000_000_000)) },
                ToolModelCost { model: "m-b[1m]".into(), usage: TokenUsage::default(), cost: None },
            ],
        };
        assert_eq!(**cost, expected);
        let Record::ToolCost(empty) = &found[2] else { panic!("an account") };
        assert_eq!((empty.session.as_str(), empty.cost, empty.models.len()), ("f00", None, 0));
    }

    fn deeds(path: &str, lines: &str) -> Vec<(Option<String>, i64, ActivityKind)> {
        let mut reader = TranscriptReader::new(Tool::ClaudeCode, path).with_activity();
        let mut found = Vec::new();
        let mut out = |record| {
            if let Record::Activity(Activity { session, agent, at, what }) = record {
                assert_eq!(session.as_str(), "s1");
                found.push((agent.map(|agent| agent.to_string()), at.unix_ms() % 60_000, what));
            }
        };
        assert_eq!(reader.read(format!("{lines}\n").as_bytes(), &mut out), Reading::Valid);
        assert_eq!(reader.counts().rejected_lines, 0, "{lines}");
        assert!(!read(path, lines).iter().any(|record| matches!(record, Record::Activity(_))), "only if asked for");
        found
    }

    fn at(second: u32, rest: &str) -> String {
        format!(r#"{{"sessionId":"s1","timestamp":"2026-09-14T15:07:{second:02}Z",{rest}}}"#)
    }

    fn call(id: &str) -> crate::ids::CallId {
        call_id(Some(id), Place::default())
    }

    #[test]
    fn turns_and_calls_of_tools() {
        let lines = [
            at(1, r#""type":"user","message":{"role":"user","content":"secret words"}"#),
            at(
                2,
                r#""type":"assistant","message":{"id":"m1","content":[{"type":"thinking","thinking":"secret"},{"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"secret","name":"secret"}},{"type":"tool_use","id":"toolu_2","name":"mcp__git-hub__search","input":{}}],"usage":{}}"#,
            ),
            at(
                4,
                r#""type":"user","message":{"content":[{"tool_use_id":"toolu_2","type":"tool_result","content":[{"type":"text","text":"secret"}],"is_error":true}]},"toolUseResult":"secret""#,
            ),
            at(
                5,
                r#""type":"user","message":{"content":[{"tool_use_id":"toolu_1","type":"tool_result","content":"12\n45"}]}"#,
            ),
            at(6, r#""type":"system","subtype":"turn_duration","durationMs":4500"#),
            at(
                7,
                r#""type":"user","message":{"content":[{"type":"image","source":{"data":"secret"}},{"type":"text","text":"secret"}]}"#,
            ),
            at(
                8,
                r#""type":"user","message":{"content":[{"type":"text","text":"[Request interrupted by user for tool use]"}]}"#,
            ),
        ];
        let lines = lines.join("\n");
        let found = deeds(MAIN, &lines);
        let started = |id, name: &str| ActivityKind::ToolStarted { call: call(id), name: name.into() };
        let ended = |id, ok, bytes| ActivityKind::ToolEnded { call: call(id), ok: Some(ok), result_bytes: Some(bytes) };
        let expected = [
            (1, ActivityKind::TurnStarted),
            (2, started("toolu_1", "Bash")),
            (2, started("toolu_2", "mcp__git-hub__search")),
            (4, ended("toolu_2", false, 33)),
            (5, ended("toolu_1", true, 6)),
            (6, ActivityKind::TurnEnded { worked_ms: Some(4500) }),
            (7, ActivityKind::TurnStarted),
            (8, ActivityKind::TurnEnded { worked_ms: None }),
        ];
        assert_eq!(found, expected.map(|(second, deed)| (None, second * 1000, deed)));
        assert!(!format!("{found:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_turn() {
        for rest in [
            r#""type":"user","isMeta":true,"message":{"content":"text"}"#,
            r#""type":"user","isCompactSummary":true,"message":{"content":"text"}"#,
            r#""type":"user","isSidechain":true,"message":{"content":"text"}"#,
            r#""type":"user","agentId":"a1","message":{"content":"text"}"#,
            r#""type":"user","message":{"content":"<command-name>/clear</command-name>"}"#,
            r#""type":"user","message":{"content":"<local-command-stdout>text"}"#,
            r#""type":"user","message":{"content":[{"type":"text","text":"<bash-stdout>text"}]}"#,
            r#""type":"user","message":{"content":[]}"#,
            r#""type":"user","message":{"content":[7]}"#,
            r#""type":"user","message":"text""#,
            r#""type":"system","subtype":"turn_duration","isSidechain":true"#,
            r#""type":"assistant","message":{"content":[{"type":"text","text":"tool_use"}]}"#,
            r#""type":"assistant","message":{"content":"text"}"#,
        ] {
            assert_eq!(deeds(MAIN, &at(1, rest)), [], "{rest}");
        }
        let untimed = r#"{"type":"user","sessionId":"s1","message":{"content":"text"}}"#;
        assert_eq!(deeds(MAIN, untimed), [], "without a time it has no place among the others");
        assert_eq!(
            deeds("projects/p/s1/subagents/agent-a1.jsonl", &at(1, r#""type":"user","message":{"content":"text"}"#)),
            []
        );
    }

    #[test]
    fn a_subagents_calls_are_its_own_and_odd_ones_keep_no_text() {
        let tool = |id: &str, name: &str| {
            at(
                1,
                &format!(
                    r#""type":"assistant","isSidechain":true,"message":{{"content":[{{"type":"tool_use","id":{id},"name":{name}}}]}}"#
                ),
            )
        };
        let long = format!("\"{}\"", "x".repeat(129));
        for name in ["\"a word of a conversation\"", "\"\"", "7", "null", long.as_str()] {
            let found = deeds("projects/p/s1/subagents/agent-a1.jsonl", &tool("null", name));
            let what = ActivityKind::ToolStarted { call: call_id(None, Place::default()), name: "unknown".into() };
            assert_eq!(found, [(Some("a1".to_owned()), 1000, what)], "{name}");
        }
        assert_eq!(call("toolu_1").to_string(), "6f45b4bf483968ae", "it is kept in databases");
    }

    #[test]
    fn an_agents_kind_is_read_and_its_description_is_not() {
        let path = "projects/p/s1/subagents/agent-a1.meta.json";
        let text = b"{\"agentType\":\"code-reviewer\",\"description\":\"private\"}\n";
        let expected = AgentMeta { session: "s1".into(), agent: "a1".into(), agent_type: Some("code-reviewer".into()) };
        let transcript = "projects/p/s1/subagents/agent-a1.jsonl";
        assert_eq!(meta_of(transcript).as_deref(), Some(path));
        assert_eq!(transcript_of(path).as_deref(), Some(transcript));
        assert_eq!(meta_of("projects/p/s1/subagents/notes.jsonl"), None);
        let mut reader = TranscriptReader::new(Tool::ClaudeCode, transcript);
        assert_eq!(reader.read_companion(text), Some(Record::Agent(expected)));
        assert_eq!(reader.read_companion(b"{\"agentType\":"), None);
    }

    #[test]
    fn a_running_session_is_read_from_its_pid_file() {
        let text = br#"{"pid":4033805,"sessionId":"s1","cwd":"/a","startedAt":1789398970793,"version":"2.1.270","name":"private","updatedAt":1789398977680,"status":"busy"}"#;
        let expected = Presence {
            session: "s1".into(),
            status: PresenceStatus::Busy,
            alive: true,
            cwd: Some("/a".into()),
            version: Some("2.1.270".into()),
            started_at: Some(Timestamp::from_unix_ms(1_789_398_970_793)),
            updated_at: Some(Timestamp::from_unix_ms(1_789_398_977_680)),
        };
        assert_eq!(
            presence(text, |pid, started| pid == 4_033_805
                && started.is_some_and(|at| at.unix_ms() == 1_789_398_970_793)),
            Some(expected)
        );
        assert_eq!(presence(br#"{"sessionId":"s1","pid":-1}"#, |_, _| true).map(|found| found.alive), Some(false));
        assert_eq!(presence(br#"{"pid":1}"#, |_, _| true), None);
        assert_eq!(presence(b"", |_, _| true), None);
    }

    #[test]
    fn the_window_follows_from_the_name_or_from_what_was_seen() {
        for (model, wide) in [
            ("claude-opus-4-5-20251101", false),
            ("claude-opus-4-20250514", false),
            ("claude-opus-4-7", true),
            ("claude-opus-4-7-20260101", true),
            ("claude-opus-5", true),
            ("claude-sonnet-4-5", false),
            ("claude-sonnet-4-5[1m]", true),
            ("claude-sonnet-5-20260301", true),
            ("claude-fable-5", true),
            ("claude-haiku-9", false),
            ("gpt-5", false),
        ] {
            assert_eq!(wide_by_name(model), wide, "{model}");
        }
        let model = ModelId::new("claude-sonnet-4-5");
        assert_eq!(window_tokens(&model, Tokens(200_000)), SMALL_WINDOW);
        assert_eq!(window_tokens(&model, Tokens(200_001)), LARGE_WINDOW);
    }
}
