//! What a source yields: typed facts, free of text.
//!
//! A record says that something happened (a response, a compaction, a limit report); what it means
//! for sessions and quotas is for the trackers. No record can hold a word of a conversation: there
//! is no field for one (docs/DECISIONS, Privacy).

mod limit;
mod statement;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CallId, MessageId, ModelId, RequestId, SessionId, ToolName};
use crate::time::Timestamp;
use crate::tools::tools;
use crate::units::{Money, TokenUsage, Tokens};

pub use limit::{LimitKey, LimitName, LimitScope, RateLimitReport, UnknownLimit, WindowMinutes};
pub use statement::{
    AgentStatus, CachedUsage, ReadingEntry, ReadingProblem, ReadingSource, StatedLimit, Statement, StatusLine,
};

macro_rules! define_tool {
    ($($(#[$doc:meta])* $variant:ident = $id:literal in $module:ident;)*) => {
        /// The coding assistant a record comes from. The variants are the lines of the list in `tools.rs`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub enum Tool {
            $($(#[$doc])* #[serde(rename = $id)] $variant,)*
        }

        impl Tool {
            /// All of them, in the order of the list.
            pub const ALL: [Self; [$($id),*].len()] = [$(Self::$variant),*];

            /// The one that is meant where none is named: the first of the list. Its plan is what `--plan` names, and
            /// its limits have the page's first places.
            pub const DEFAULT: Self = Self::ALL[0];

            /// Its id: its name in options, figures, checkpoints and databases. Never changes.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $id,)*
                }
            }
        }
    };
}

tools!(define_tool);

impl Default for Tool {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl std::str::FromStr for Tool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|tool| tool.as_str() == text);
        known.ok_or_else(|| format!("unknown tool {text:?}; allowed: {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// One fact from a source.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A claim that a response used tokens.
    Usage(UsageRecord),
    /// Where and how a session runs, and that it was active.
    Session(SessionMeta),
    /// Which session a file is, and which one it was forked from.
    Lineage(Lineage),
    /// How full a context window is, from tools that say so themselves.
    Context(ContextFill),
    /// A session's conversation was compacted.
    Compaction(Compaction),
    /// The vendor said how much of a limit is used.
    RateLimit(RateLimitReport),
    /// A request failed.
    ApiError(ApiError),
    /// What is known of a subagent besides its responses.
    Agent(AgentMeta),
    /// What the tool itself says a session has used.
    ToolCost(Box<ToolCost>),
    /// The vendor said which plan an account has, and which credits.
    Account(AccountReport),
    /// A turn or a call of a tool began or ended. Only from readers that are asked for it.
    Activity(Activity),
}

impl Record {
    /// When its line was written, if that is said.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Usage(usage) => usage.at,
            Self::Session(meta) => meta.at,
            Self::Lineage(lineage) => lineage.started_at,
            Self::Context(fill) => fill.at,
            Self::Compaction(compaction) => compaction.at,
            Self::RateLimit(report) => Some(report.at),
            Self::ApiError(error) => error.at,
            Self::Agent(_) => None,
            Self::ToolCost(cost) => cost.at,
            Self::Account(account) => Some(account.at),
            Self::Activity(activity) => Some(activity.at),
        }
    }

    /// The same, of a line without a time; none if nothing is left then.
    #[must_use]
    pub fn without_time(mut self) -> Option<Self> {
        match &mut self {
            Self::Usage(usage) => usage.at = None,
            Self::Session(meta) => meta.at = None,
            Self::Lineage(lineage) => lineage.started_at = None,
            Self::Context(fill) => fill.at = None,
            Self::Compaction(compaction) => compaction.at = None,
            Self::ApiError(error) => error.at = None,
            Self::ToolCost(cost) => cost.at = None,
            Self::Agent(_) => {}
            Self::RateLimit(_) | Self::Account(_) | Self::Activity(_) => return None,
        }
        Some(self)
    }

    /// The session it is about, if it is about one.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Usage(usage) => Some(&usage.session),
            Self::Session(meta) => Some(&meta.session),
            Self::Lineage(lineage) => Some(&lineage.session),
            Self::Context(fill) => Some(&fill.session),
            Self::Compaction(compaction) => Some(&compaction.session),
            Self::RateLimit(report) => report.session.as_ref(),
            Self::ApiError(error) => Some(&error.session),
            Self::Agent(agent) => Some(&agent.session),
            Self::ToolCost(cost) => Some(&cost.session),
            Self::Activity(activity) => Some(&activity.session),
            Self::Account(_) => None,
        }
    }
}

/// How a tool tells its responses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResponseId {
    /// By the vendor's ids: records with the same two are one response, in whatever files.
    Message {
        /// The message.
        message: MessageId,
        /// The request that it answers, if named.
        request: Option<RequestId>,
    },
    /// By a hash of all rows of the file up to it: equal rows of files related by [`Lineage`] are one response.
    Row(MessageId),
    /// Not at all: each record is a response by itself.
    Alone {
        /// The request, if named: telemetry of the same request is not counted beside it.
        request: Option<RequestId>,
    },
}

impl ResponseId {
    /// What claims on the same response have in common; none of a response by itself.
    pub fn message(self) -> Option<MessageId> {
        match self {
            Self::Message { message, .. } | Self::Row(message) => Some(message),
            Self::Alone { .. } => None,
        }
    }

    /// The vendor's request id, if named.
    pub fn request(self) -> Option<RequestId> {
        match self {
            Self::Message { request, .. } | Self::Alone { request } => request,
            Self::Row(_) => None,
        }
    }

    /// The id of a vendor that names messages, perhaps.
    pub fn of(message: Option<MessageId>, request: Option<RequestId>) -> Self {
        message.map_or(Self::Alone { request }, |message| Self::Message { message, request })
    }
}

/// A line's claim that one response used these tokens.
///
/// Several lines, in several files, claim the same response; the [ledger](crate::ledger) decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// Whose response it is.
    pub tool: Tool,
    /// The session the line names, or its path implies.
    pub session: SessionId,
    /// The subagent that made the request; `None` on the main chain, or where the line does not say.
    pub agent: Option<AgentId>,
    /// A subagent's line, or a repeat of one. Yields to a main-chain line of the same message.
    pub sidechain: bool,
    /// Which response it is about.
    pub id: ResponseId,
    /// The model that answered.
    pub model: ModelId,
    /// When; `None` if the line has no readable timestamp.
    pub at: Option<Timestamp>,
    /// The tokens.
    pub usage: TokenUsage,
    /// Where in its file the line begins: breaks ties, and names the line in an audit.
    pub place: Place,
    /// Counts in this record that were no non-negative integer, read as 0.
    pub bad_counts: u32,
}

/// A place in a file: the byte at which the line begins, and which of its objects it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Byte offset of the line's first byte.
    pub byte_offset: u64,
    /// 0 for the first object of the line; more only after a `}{` splice.
    pub index: u32,
}

/// What a transcript's lines say of their session. Absent fields leave earlier values alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMeta {
    /// The tool whose session it is.
    pub tool: Tool,
    /// The session.
    pub session: SessionId,
    /// The subagent whose lines these are, if any.
    pub agent: Option<AgentId>,
    /// The working directory, as the tool names it.
    pub cwd: Option<String>,
    /// The git branch.
    pub branch: Option<String>,
    /// The tool's version.
    pub version: Option<String>,
    /// When the newest of the lines was written.
    pub at: Option<Timestamp>,
}

/// Which session a file is and where it comes from, of tools whose forks repeat their parent's responses.
///
/// The [ledger](crate::ledger) tells repeated responses by it, whichever of the files is read first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The session the file names.
    pub session: SessionId,
    /// The session it was forked from.
    pub parent: Option<SessionId>,
    /// When it began.
    pub started_at: Option<Timestamp>,
}

/// How full a session's context window is, as the tool itself tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFill {
    /// The tool whose session it is.
    pub tool: Tool,
    /// The session.
    pub session: SessionId,
    /// When.
    pub at: Option<Timestamp>,
    /// The model.
    pub model: ModelId,
    /// Tokens in the window.
    pub used: Tokens,
    /// Tokens that fit into it.
    pub window: Tokens,
}

/// What asked for a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompactionTrigger {
    /// The window was nearly full.
    Auto,
    /// The user.
    Manual,
    /// The line does not say.
    Unknown,
}

/// A main-chain `compact_boundary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The session whose context was compacted.
    pub session: SessionId,
    /// When.
    pub at: Option<Timestamp>,
    /// Why.
    pub trigger: CompactionTrigger,
    /// Fill before, in tokens.
    pub pre_tokens: Option<Tokens>,
    /// Fill after, in tokens; unknown in older versions until the next response.
    pub post_tokens: Option<Tokens>,
}

/// Kind of a failed request, without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiErrorKind {
    /// A limit was hit.
    RateLimit,
    /// Not signed in.
    AuthenticationFailed,
    /// A payment matter.
    BillingError,
    /// The vendor is overloaded.
    Overloaded,
    /// The vendor failed.
    ServerError,
    /// The request was refused as malformed.
    InvalidRequest,
    /// Anything else.
    Other,
}

/// A request of a session failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The session whose request it was.
    pub session: SessionId,
    /// When.
    pub at: Option<Timestamp>,
    /// What kind of failure.
    pub kind: ApiErrorKind,
}

/// A session's use so far by the tool's own account: to be set beside ours, never added to it.
///
/// It also counts requests that leave no line in a transcript, and is as old as the tool's last word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCost {
    /// The session.
    pub session: SessionId,
    /// When it was said, or when the newest line before it was written.
    pub at: Option<Timestamp>,
    /// What all of it cost.
    pub cost: Option<Money>,
    /// By model, in the order of their names.
    pub models: Vec<ToolModelCost>,
}

/// A session's use of one model by the tool's own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolModelCost {
    /// The model; unlike elsewhere in transcripts, with a `[1m]` suffix where it has the large window.
    pub model: ModelId,
    /// The tokens; how long cache writes are kept is not said.
    pub usage: TokenUsage,
    /// What they cost.
    pub cost: Option<Money>,
}

/// A statement of the vendor on an account: its plan and what was bought beyond. Given out when it changes.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountReport {
    /// Whose vendor said it.
    pub tool: Tool,
    /// When it was said.
    pub at: Timestamp,
    /// The plan, by the vendor's own name, if said.
    pub plan: Option<LimitName>,
    /// Credits that are used once the plan's limits are reached, if said.
    pub credits: Option<Credits>,
    /// Which kind of limit the newest request reached, by the vendor's own name; none if it reached none.
    pub reached: Option<LimitName>,
}

/// Credits of an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Credits {
    /// Whether there are any.
    pub available: bool,
    /// Whether there is no end to them.
    pub unlimited: bool,
    /// How many are left, in the vendor's own unit, if said.
    pub balance: Option<f64>,
}

/// What a subagent's `.meta.json` says. Its description is text and is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentMeta {
    /// The session it works for.
    pub session: SessionId,
    /// The subagent.
    pub agent: AgentId,
    /// Its kind, e.g. `code-reviewer`.
    pub agent_type: Option<String>,
}

/// Something a session did. What was asked, called with or answered is text and is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The session.
    pub session: SessionId,
    /// The subagent that did it, if one did.
    pub agent: Option<AgentId>,
    /// When.
    pub at: Timestamp,
    /// What it was.
    pub what: ActivityKind,
}

/// What a session did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivityKind {
    /// The user, or something in their place, asked for something.
    TurnStarted,
    /// The assistant was done with it, or was stopped.
    TurnEnded {
        /// How long it worked, in milliseconds, if the tool says so: without waiting for the user, so it may be less
        /// than the time between the two.
        worked_ms: Option<u64>,
    },
    /// A tool was called.
    ToolStarted {
        /// Which call.
        call: CallId,
        /// Which tool.
        name: ToolName,
    },
    /// Its result was written.
    ToolEnded {
        /// Which call.
        call: CallId,
        /// Whether it succeeded, if the result says so.
        ok: Option<bool>,
        /// The result's size in bytes, as it stands in the transcript.
        result_bytes: Option<u64>,
    },
}

/// What `sessions/<pid>.json` says of a running session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The session.
    pub session: SessionId,
    /// What it is doing.
    pub status: PresenceStatus,
    /// Whether its process lives, as far as can be told.
    pub alive: bool,
    /// Its working directory.
    pub cwd: Option<String>,
    /// The tool's version.
    pub version: Option<String>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When the file was last brought up to date.
    pub updated_at: Option<Timestamp>,
}

/// `status` of a running session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceStatus {
    /// Waiting for the user's next prompt.
    #[default]
    Idle,
    /// Working.
    Busy,
    /// Waiting for an answer or a permission.
    Waiting,
}

/// Why a piece of a file was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RejectReason {
    /// Not JSON: cut, spliced, or garbage.
    NotJson,
    /// JSON, but no object.
    NotAnObject,
    /// Nothing but NUL bytes.
    OnlyNul,
    /// NUL bytes inside the line.
    NulInside,
    /// Longer than the cap on a line.
    TooLong,
    /// Nested too deeply.
    TooDeep,
}

impl RejectReason {
    /// In words, for the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not JSON",
            Self::NotAnObject => "not a JSON object",
            Self::OnlyNul => "nothing but NUL bytes",
            Self::NulInside => "NUL bytes inside the line",
            Self::TooLong => "longer than the cap on a line",
            Self::TooDeep => "nested too deeply",
        }
    }
}

/// A refused line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Rejection {
    /// The file, relative to its root.
    pub file: String,
    /// Where the line begins.
    pub byte_offset: u64,
    /// Why it was refused.
    pub reason: RejectReason,
}

/// How far reading what was there at the start has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReadProgress {
    /// Files read.
    pub files: u64,
    /// Files there are to read.
    pub files_total: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes there are to read.
    pub bytes_total: u64,
}

impl ReadProgress {
    /// The share that is read, by bytes, in percent; by files where there are no bytes.
    pub fn percent(&self) -> f64 {
        let (read, all) =
            if self.bytes_total > 0 { (self.bytes, self.bytes_total) } else { (self.files, self.files_total) };
        if all == 0 { 100.0 } else { (read as f64 * 100.0 / all as f64).min(100.0) }
    }
}

/// Counts of one file's bytes and lines: what was read and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Bytes read.
    pub bytes: u64,
    /// Lines that were not blank, refused ones included.
    pub lines: u64,
    /// JSON objects on accepted lines.
    pub records: u64,
    /// Accepted records of a type we do not know.
    pub unknown_records: u64,
    /// Records that tell of a response's usage, before duplicates are folded.
    pub usage_records: u64,
    /// Those of them that only repeat the one before in the same file, and were passed over.
    #[serde(default)]
    pub repeated_records: u64,
    /// Counts in them that were no non-negative integer, read as 0.
    pub bad_counts: u64,
    /// Refused lines.
    pub rejected_lines: u64,
    /// 1 if the file ends inside a line that cannot be read yet.
    pub pending_lines: u64,
}

impl std::ops::AddAssign for FileCounts {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.lines += other.lines;
        self.records += other.records;
        self.unknown_records += other.unknown_records;
        self.usage_records += other.usage_records;
        self.repeated_records += other.repeated_records;
        self.bad_counts += other.bad_counts;
        self.rejected_lines += other.rejected_lines;
        self.pending_lines += other.pending_lines;
    }
}
