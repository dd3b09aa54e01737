//! What is known of one session, in order of time: what a replay is made of.
//!
//! The records of all files of the session, each thing once. A response that was forked along is in both sessions: to
//! play a fork, one needs what it began with. Sums over sessions are for [reports](crate::report).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CallId, MessageId, ModelId, SessionId, ToolName};
use crate::record::{Compaction, CompactionTrigger, LimitKey, Place, RateLimitReport, Tool, UsageRecord};
use crate::time::Timestamp;
use crate::units::{TokenUsage, Tokens};

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionRecord {
    /// The tool whose session it is.
    pub tool: Tool,
    /// When it happened or, if it took a while, began; null if that is not known.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub at: Option<Timestamp>,
    /// What it was.
    #[serde(flatten)]
    pub what: RecordKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RecordKind {
    /// The user, or something in their place, asked for something, and the assistant worked on it.
    Turn {
        /// When it was said to be over; else the last sign of the main chain before the next turn. Null if it may still
        /// be going on, or nothing came of it.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
        ended_at: Option<Timestamp>,
        /// How long the assistant worked, in milliseconds, if the tool says so.
        worked_ms: Option<u64>,
    },
    /// The conversation was compacted.
    Compaction {
        /// Why.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        trigger: CompactionTrigger,
        /// Tokens in the window before.
        pre_tokens: Option<Tokens>,
        /// Tokens in the window after.
        post_tokens: Option<Tokens>,
    },
    /// A model answered.
    Response {
        /// A hash of the vendor's id of the message.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        message: Option<MessageId>,
        /// The subagent that asked; null on the main chain.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        agent: Option<AgentId>,
        /// Whether it belongs to a subagent, known by name or not.
        sidechain: bool,
        /// The model.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        model: ModelId,
        /// What it used.
        #[serde(flatten)]
        usage: TokenUsage,
    },
    /// A tool was called.
    ToolCall {
        /// Tells calls apart; not the vendor's id.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        call: CallId,
        /// The subagent that called it; null on the main chain.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        agent: Option<AgentId>,
        /// The tool's name; null if only the result is known, whose time `at` is then.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        name: Option<ToolName>,
        /// When its result was written; null if there is none.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
        ended_at: Option<Timestamp>,
        /// Whether it succeeded; null if that was not said.
        ok: Option<bool>,
        /// Size of the result as it stands in the transcript.
        result_bytes: Option<u64>,
    },
    /// The vendor said how much of a limit is used.
    Limit {
        /// Which limit.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        limit: LimitKey,
        /// Used share of it, 0 to 100.
        used_percent: Option<f64>,
        /// When it is reset.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
        resets_at: Option<Timestamp>,
        /// Whether a request was refused because of it.
        rejected: bool,
    },
}

impl RecordKind {
    /// What comes first of things that happened in the same millisecond.
    fn rank(&self) -> u8 {
        match self {
            Self::Turn { .. } => 0,
            Self::Compaction { .. } => 1,
            Self::Response { .. } => 2,
            Self::ToolCall { .. } => 3,
            Self::Limit { .. } => 4,
        }
    }
}

/// A stretch of a session's records, oldest first; those of unknown time come last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionRecords {
    /// The session.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub session: SessionId,
    /// How many records it has.
    pub total: u64,
    /// How many of them come before these.
    pub from: u64,
    /// The `from` of the next stretch; null if these are the last.
    pub next: Option<u64>,
    /// The records.
    pub records: Vec<SessionRecord>,
}

/// Gathers a session's records, file by file.
#[derive(Clone, Debug, Default)]
pub struct SessionRecordsBuilder {
    /// Each with what tells records of the same millisecond apart.
    records: Vec<(SessionRecord, Place)>,
    calls: BTreeMap<CallId, SessionRecord>,
}

impl SessionRecordsBuilder {
    /// Takes a response: one that stands, by the ledger's word.
    pub fn response(&mut self, usage: &UsageRecord) {
        let UsageRecord { tool, agent, sidechain, id, model, at, usage, place, .. } = usage.clone();
        let message = id.message();
        let what = RecordKind::Response { message, agent, sidechain, model, usage };
        self.records.push((SessionRecord { tool, at, what }, place));
    }

    /// Takes a compaction.
    pub fn compaction(&mut self, tool: Tool, compaction: &Compaction) {
        let &Compaction { at, trigger, pre_tokens, post_tokens, .. } = compaction;
        let what = RecordKind::Compaction { trigger, pre_tokens, post_tokens };
        self.records.push((SessionRecord { tool, at, what }, Place::default()));
    }

    /// Takes a statement on a limit.
    pub fn limit(&mut self, report: &RateLimitReport) {
        let &RateLimitReport { ref limit, at, used_percent, resets_at, rejected, .. } = report;
        let what = RecordKind::Limit { limit: limit.clone(), used_percent, resets_at, rejected };
        self.records.push((SessionRecord { tool: limit.tool, at: Some(at), what }, Place::default()));
    }

    /// Takes a turn.
    pub fn turn(&mut self, tool: Tool, at: Timestamp, ended_at: Option<Timestamp>, worked_ms: Option<u64>) {
        let what = RecordKind::Turn { ended_at, worked_ms };
        self.records.push((SessionRecord { tool, at: Some(at), what }, Place::default()));
    }

    /// Takes what a file knows of a call: two may know of the same.
    pub fn call(&mut self, record: SessionRecord) {
        let RecordKind::ToolCall { call, .. } = &record.what else { return };
        let Some(known) = self.calls.get_mut(call) else {
            self.calls.insert(*call, record);
            return;
        };
        // A file that knows of the beginning and the end says more than one that only has a copy of one of them.
        let said = |record: &SessionRecord| match &record.what {
            RecordKind::ToolCall { name, ended_at, .. } => (name.is_some(), ended_at.is_some()),
            _ => (false, false),
        };
        if said(&record) > said(known) {
            *known = record;
        }
    }

    /// All records, in order.
    pub fn in_order(mut self) -> Vec<SessionRecord> {
        self.records.extend(self.calls.into_values().map(|call| (call, Place::default())));
        self.records.sort_by_key(|(record, place)| (record.at.is_none(), record.at, record.what.rank(), *place));
        let mut records: Vec<SessionRecord> = self.records.into_iter().map(|(record, _)| record).collect();
        // Copies of one line in several files; that responses count once is the ledger's business.
        records.dedup_by(|a, b| a == b && !matches!(a.what, RecordKind::Response { .. }));
        end_turns(&mut records);
        records
    }
}

/// Gives the turns an end that were not said to have ended, but were followed by another.
fn end_turns(records: &mut [SessionRecord]) {
    let mut open = None;
    let mut last_sign = None;
    for index in 0..records.len() {
        let SessionRecord { at: Some(at), what, .. } = &records[index] else { break };
        let at = *at;
        match what {
            RecordKind::Turn { .. } => {
                if let Some(before) = open.replace(index)
                    && let RecordKind::Turn { ended_at: ended_at @ None, .. } = &mut records[before].what
                {
                    *ended_at = last_sign.map(|sign: Timestamp| sign.min(at));
                }
                last_sign = None;
            }
            RecordKind::Response { agent: None, sidechain: false, .. } => last_sign = last_sign.max(Some(at)),
            RecordKind::ToolCall { agent: None, ended_at, .. } => last_sign = last_sign.max(Some(at)).max(*ended_at),
            _ => {}
        }
    }
}

impl SessionRecords {
    /// At most `limit` of the records, from the one with this number on.
    pub fn stretch(session: SessionId, records: Vec<SessionRecord>, from: u64, limit: u64) -> Self {
        let total = records.len() as u64;
        let end = from.saturating_add(limit).min(total);
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let records = records.into_iter().take(number(end)).skip(number(from)).collect();
        Self { session, total, from, next: (end < total).then_some(end), records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ResponseId;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const TOOL: Tool = Tool::ClaudeCode;

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn response(at: Option<i64>, agent: Option<&str>) -> UsageRecord {
        UsageRecord {
            tool: TOOL,
            session: "s1".into(),
            agent: agent.map(AgentId::from),
            sidechain: agent.is_some(),
            id: ResponseId::Alone { request: None },
            model: "m".into(),
            at: at.map(ms),
            usage: TokenUsage { output: Tokens(7), ..TokenUsage::default() },
            place: Place::default(),
            bad_counts: 0,
        }
    }

    fn call(number: u64, at: i64, name: Option<&str>, ended_at: Option<i64>) -> SessionRecord {
        let (call, name) = (CallId::from_number(number), name.map(ToolName::from));
        let ended_at = ended_at.map(ms);
        let what = RecordKind::ToolCall { call, agent: None, name, ended_at, ok: None, result_bytes: None };
        SessionRecord { tool: TOOL, at: Some(ms(at)), what }
    }

    /// Types, times and ends.
    fn outline(records: &[SessionRecord]) -> Vec<(u8, Option<i64>, Option<i64>)> {
        let end = |what: &RecordKind| match what {
            RecordKind::Turn { ended_at, .. } | RecordKind::ToolCall { ended_at, .. } => *ended_at,
            _ => None,
        };
        let ms = |at: Option<Timestamp>| at.map(Timestamp::unix_ms);
        records.iter().map(|record| (record.what.rank(), ms(record.at), ms(end(&record.what)))).collect()
    }

    #[test]
    fn a_turn_ends_when_it_is_said_to_or_with_the_last_sign_before_the_next() {
        let mut gathering = SessionRecordsBuilder::default();
        gathering.response(&response(None, None));
        for (at, ended_at) in [(500, None), (300, Some(390)), (100, None), (200, None)] {
            gathering.turn(TOOL, ms(at), ended_at.map(ms), None);
        }
        gathering.call(call(1, 120, Some("Bash"), Some(150)));
        for (at, agent) in [(110, None), (160, Some("a1")), (310, None), (510, None)] {
            gathering.response(&response(Some(at), agent));
        }
        let records = gathering.in_order();
        assert_eq!(
            outline(&records),
            [
                (0, Some(100), Some(150)),
                (2, Some(110), None),
                (3, Some(120), Some(150)),
                (2, Some(160), None),
                (0, Some(200), None),
                (0, Some(300), Some(390)),
                (2, Some(310), None),
                (0, Some(500), None),
                (2, Some(510), None),
                (2, None, None),
            ]
        );
    }

    #[test]
    fn what_several_files_say_counts_once_but_equal_responses_do_not() {
        let mut gathering = SessionRecordsBuilder::default();
        for _ in 0..2 {
            gathering.turn(TOOL, ms(1), None, Some(5));
            gathering.response(&response(Some(2), None));
        }
        gathering.call(call(1, 4, None, Some(4)));
        gathering.call(call(1, 3, Some("Bash"), Some(4)));
        gathering.call(call(1, 3, Some("Bash"), None));
        let expected = [(0, Some(1), Some(2)), (2, Some(2), None), (2, Some(2), None), (3, Some(3), Some(4))];
        let mut records = gathering.in_order();
        if let RecordKind::Turn { ended_at, .. } = &mut records[0].what {
            // It is the last turn.
            assert_eq!(ended_at.replace(ms(2)), None);
        }
        assert_eq!(outline(&records), expected);
    }

    #[test]
    fn stretches_make_up_the_whole() {
        let records: Vec<_> = (0..7).map(|number| call(number, 1, None, None)).collect();
        let mut found = Vec::new();
        let mut from = Some(0);
        while let Some(at) = from {
            let stretch = SessionRecords::stretch("s1".into(), records.clone(), at, 3);
            assert_eq!((stretch.total, stretch.from), (7, at));
            found.extend(stretch.records);
            from = stretch.next;
        }
        assert_eq!(found, records);
        let beyond = SessionRecords::stretch("s1".into(), records, 9, u64::MAX);
        assert_eq!((beyond.records.len(), beyond.next), (0, None));
    }

    #[test]
    fn each_record_says_what_it_is() {
        let mut gathering = SessionRecordsBuilder::default();
        gathering.response(&response(Some(0), None));
        gathering.call(call(10, 1, Some("Bash"), None));
        let records = gathering.in_order();
        let text = serde_json::to_string(&records).unwrap();
        let response = r#"{"tool":"claude-code","at":"1970-01-01T00:00:00.000Z","type":"response","message":null,"agent":null,"sidechain":false,"model":"m","input":0,"output":7,"cache_creation":0,"cache_creation_1h":0,"cache_read":0}"#;
        let call = r#"{"tool":"claude-code","at":"1970-01-01T00:00:00.001Z","type":"tool_call","call":"000000000000000a","agent":null,"name":"Bash","ended_at":null,"ok":null,"result_bytes":null}"#;
        assert_eq!(text, format!("[{response},{call}]"));
        assert_eq!(serde_json::from_str::<Vec<SessionRecord>>(&text).unwrap(), records);
    }
}
