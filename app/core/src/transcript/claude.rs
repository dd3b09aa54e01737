//! What Claude Code writes: transcript lines, `sessions/<pid>.json`, and `subagents/*.meta.json` → records.
//!
//! The format is internal to the tool and changes: every field is optional, anything may be of any type, and what is
//! not known is counted and skipped. This module knows the format and nothing else: neither files nor lines, nor which
//! of several claims on a response holds.

use std::borrow::Cow;

use super::json::{self, Count, Value};
use crate::ids::{AgentId, MessageId, ModelId, RequestId, SessionId};
use crate::record::{
    AgentMeta, ApiError, ApiErrorKind, Compaction, CompactionTrigger, LimitWindow, Place, Presence, PresenceStatus,
    RateLimitReport, Record, RejectReason, SessionMeta, Tool, UsageRecord,
};
use crate::time::{SECOND_MS, Timestamp};
use crate::units::{TokenUsage, Tokens};

/// The model of lines the tool makes up itself, such as errors.
const SYNTHETIC: &str = "<synthetic>";

/// Types of records we have seen, read or not.
const KNOWN_TYPES: [&str; 19] = [
    "agent-name",
    "ai-title",
    "assistant",
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
    "user",
];

/// Declares [`Object`]: its fields, and the names they have in JSON.
macro_rules! object {
    ($($field:ident: $name:literal,)*) => {
        /// One object of a transcript, as far as it matters here.
        #[derive(Debug)]
        pub(super) struct Object<'a> {
            $($field: Value<'a>,)*
        }

        impl<'a> Object<'a> {
            /// All objects of a line; why it is refused if it is anything but complete objects.
            pub(super) fn all(line: &'a [u8]) -> Result<Vec<Self>, RejectReason> {
                let objects = json::objects(line, &[$($name),*])?;
                Ok(objects.into_iter().map(|[$($field),*]| Self { $($field),* }).collect())
            }
        }
    };
}

object! {
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
    message: "message",
    data: "data",
    compact: "compactMetadata",
    quota: "quotaLimits",
    is_error: "isApiErrorMessage",
    error: "error",
}

impl<'a> Object<'a> {
    /// Whether its type is one we have seen. Very old lines have none; those are known by their usage.
    pub(super) fn is_known(&self) -> bool {
        match self.kind.text() {
            Some(kind) => KNOWN_TYPES.contains(&&*kind),
            None => self.kind.is_null() && self.claim().is_some(),
        }
    }

    fn is_of_type(&self, kind: &str) -> bool {
        self.kind.text().is_some_and(|own| own == kind)
    }

    /// Where the record tells of the usage of a response, if it does.
    fn claim(&self) -> Option<Claim<'a>> {
        let (request, timestamp, message, agent, embedded) = if self.is_of_type("assistant") || self.kind.is_null() {
            (self.request, self.timestamp, self.message, self.agent, false)
        } else if self.is_of_type("progress") {
            let [kind, holder, agent] = self.data.fields(&["type", "message", "agentId"]);
            if kind.text()? != "agent_progress" {
                return None;
            }
            let [request, timestamp, message] = holder.fields(&["requestId", "timestamp", "message"]);
            (request, timestamp, message, agent, true)
        } else {
            return None;
        };
        let [id, model, usage] = message.fields(&["id", "model", "usage"]);
        let model = model.text();
        (usage.is_object() && model.as_deref() != Some(SYNTHETIC)).then_some(Claim {
            id,
            request,
            timestamp,
            agent,
            model,
            usage,
            embedded,
        })
    }
}

/// The parts of a usage record, wherever in the line they are.
struct Claim<'a> {
    id: Value<'a>,
    request: Value<'a>,
    timestamp: Value<'a>,
    agent: Value<'a>,
    model: Option<Cow<'a, str>>,
    usage: Value<'a>,
    /// It repeats, in a `progress` line, a line of the subagent's own file.
    embedded: bool,
}

/// Turns the objects of one file into records.
#[derive(Debug)]
pub(super) struct Parser {
    /// The session of lines that name none.
    session: SessionId,
    /// The subagent whose file this is, if it is one's.
    agent: Option<AgentId>,
    /// What was said of the session last, with everything said before.
    said: Option<SessionMeta>,
    /// The model of the newest usage record, so that one text serves them all.
    model: Option<ModelId>,
}

impl Parser {
    pub(super) fn new(path: &str) -> Self {
        Self {
            session: SessionId::new(session_of(path)),
            agent: agent_of(path).map(AgentId::new),
            said: None,
            model: None,
        }
    }

    /// Gives out what an object says.
    pub(super) fn records(&mut self, object: &Object<'_>, place: Place, out: &mut impl FnMut(Record)) {
        let session = self.session_named(object.session.id());
        let agent = object.agent.id().map_or_else(|| self.agent.clone(), |id| Some(AgentId::new(&*id)));
        let at = timestamp(object.timestamp);

        if let Some(meta) = self.meta(object, &session, agent.as_ref(), at) {
            out(Record::Session(meta));
        }
        if let Some(claim) = object.claim() {
            let usage = self.usage(object, &claim, session.clone(), agent, place);
            out(Record::Usage(usage));
        }
        if object.is_of_type("system")
            && object.subtype.text().is_some_and(|subtype| subtype == "compact_boundary")
            && !object.sidechain.is_true()
        {
            out(Record::Compaction(compaction(object.compact, session.clone(), at)));
        }
        if let Some(report) = at.and_then(|at| rate_limit(object.quota, session.clone(), at)) {
            out(Record::RateLimit(report));
        }
        if object.is_error.is_true() {
            out(Record::ApiError(ApiError { session, at, kind: error_kind(object.error) }));
        }
    }

    fn session_named(&self, name: Option<Cow<'_, str>>) -> SessionId {
        let Some(name) = name else { return self.session.clone() };
        match &self.said {
            Some(said) if said.session.as_str() == name => said.session.clone(),
            _ => SessionId::new(&*name),
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
        let usage = tokens(claim.usage, &mut bad_counts);
        let at = timestamp(claim.timestamp);
        UsageRecord {
            tool: Tool::ClaudeCode,
            session,
            agent: claim.agent.id().map_or(agent, |id| Some(AgentId::new(&*id))),
            sidechain: claim.embedded || object.sidechain.is_true(),
            message: claim.id.id().map(|id| MessageId::new(&*id)),
            request: claim.request.id().map(|id| RequestId::new(&*id)),
            model: self.model_named(claim.model.as_deref()),
            at: if claim.embedded { at.or_else(|| timestamp(object.timestamp)) } else { at },
            usage,
            place,
            bad_counts,
        }
    }

    fn model_named(&mut self, name: Option<&str>) -> ModelId {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("unknown");
        match &self.model {
            Some(model) if model.as_str() == name => model.clone(),
            _ => self.model.insert(ModelId::new(name)).clone(),
        }
    }
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

fn timestamp(value: Value<'_>) -> Option<Timestamp> {
    Timestamp::parse(&value.text()?)
}

fn tokens(usage: Value<'_>, bad_counts: &mut u32) -> TokenUsage {
    let [input, output, creation, read, parts] = usage.fields(&[
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
    ]);
    let [five_minutes, one_hour] = parts.fields(&["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"]);
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
    TokenUsage {
        input: count(input),
        output: count(output),
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

/// The vendor's word on a limit, if it is one we keep.
fn rate_limit(quota: Value<'_>, session: SessionId, at: Timestamp) -> Option<RateLimitReport> {
    let [status, resets_at, kind] = quota.fields(&["status", "resetsAt", "rateLimitType"]);
    let window = match &*kind.text()? {
        "five_hour" => LimitWindow::FiveHour,
        "seven_day" => LimitWindow::SevenDay,
        "seven_day_opus" => LimitWindow::SevenDayOpus,
        _ => return None,
    };
    Some(RateLimitReport {
        at,
        window,
        used_percent: None,
        resets_at: epoch_seconds(resets_at),
        rejected: status.text().is_some_and(|status| status == "rejected"),
        session: Some(session),
    })
}

fn epoch_seconds(value: Value<'_>) -> Option<Timestamp> {
    // Saturates, and a timestamp is kept within its years: a wild number becomes a wild date, never a panic.
    #[expect(clippy::cast_possible_truncation)]
    value.number().map(|seconds| Timestamp::from_unix_ms((seconds * 1000.0) as i64))
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

/// Reads `…/<session>/subagents/agent-<id>.meta.json`, of which only the kind of the agent is kept.
pub fn agent_meta(path: &str, text: &[u8]) -> Option<AgentMeta> {
    let [[agent_type]] = json::objects(text.trim_ascii(), &["agentType"]).ok()?[..] else { return None };
    Some(AgentMeta {
        session: SessionId::new(session_of(path)),
        agent: AgentId::new(agent_of(path)?),
        agent_type: agent_type.id().map(Cow::into_owned),
    })
}

/// Reads `sessions/<pid>.json`; `is_alive` tells of a process id whether its process lives.
pub fn presence(text: &[u8], is_alive: impl FnOnce(u32) -> bool) -> Option<Presence> {
    const NAMES: [&str; 7] = ["pid", "sessionId", "status", "cwd", "version", "startedAt", "updatedAt"];
    let [[pid, session, status, cwd, version, started, updated]] = json::objects(text.trim_ascii(), &NAMES).ok()?[..]
    else {
        return None;
    };
    Some(Presence {
        session: SessionId::new(&*session.id()?),
        status: match status.text().as_deref() {
            Some("busy") => PresenceStatus::Busy,
            Some("waiting") => PresenceStatus::Waiting,
            _ => PresenceStatus::Idle,
        },
        alive: matches!(pid.count(), Count::Is(pid) if u32::try_from(pid).is_ok_and(is_alive)),
        cwd: cwd.id().map(Cow::into_owned),
        version: version.id().map(Cow::into_owned),
        started_at: epoch_ms(started),
        updated_at: epoch_ms(updated),
    })
}
