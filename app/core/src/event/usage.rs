//! How events are read whose tokens by kind stand beside other fields: field by field, because serde's code for
//! `flatten` holds all of them in memory first.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{AgentTokens, AgentsRest, DayUsage, MinuteTokens, SessionTokens};
use crate::ids::{AgentId, SessionId};
use crate::record::Tool;
use crate::time::{Day, Timestamp};
use crate::units::{Cost, TokenUsage, Tokens};

/// The fields of [`SessionTokens`].
#[derive(Deserialize)]
pub(super) struct SessionTokensFields {
    id: SessionId,
    current: Tokens,
    total: Option<Tokens>,
    rate: Tokens,
    input: Tokens,
    output: Tokens,
    cache_creation: Tokens,
    cache_creation_1h: Tokens,
    cache_read: Tokens,
    #[serde(default)]
    reasoning: Tokens,
    cost: Cost,
    responses: u64,
    last_activity: Timestamp,
    minutes: Vec<MinuteTokens>,
    agents: Vec<AgentTokens>,
    #[serde(default)]
    agents_removed: Vec<AgentId>,
    #[serde(default)]
    agents_rest: AgentsRest,
}

impl From<SessionTokensFields> for SessionTokens {
    fn from(fields: SessionTokensFields) -> Self {
        let usage = TokenUsage {
            input: fields.input,
            output: fields.output,
            cache_creation: fields.cache_creation,
            cache_creation_1h: fields.cache_creation_1h,
            cache_read: fields.cache_read,
            reasoning: fields.reasoning,
        };
        Self {
            id: fields.id,
            current: fields.current,
            total: fields.total,
            rate: fields.rate,
            usage,
            cost: fields.cost,
            responses: fields.responses,
            last_activity: fields.last_activity,
            minutes: fields.minutes,
            agents: fields.agents,
            agents_removed: fields.agents_removed,
            agents_rest: fields.agents_rest,
        }
    }
}

/// The fields of [`DayUsage`].
#[derive(Deserialize)]
pub(super) struct DayUsageFields {
    day: Day,
    input: Tokens,
    output: Tokens,
    cache_creation: Tokens,
    cache_creation_1h: Tokens,
    cache_read: Tokens,
    #[serde(default)]
    reasoning: Tokens,
    cost: Cost,
    responses: u64,
    #[serde(default)]
    tools: BTreeMap<Tool, Cost>,
}

impl From<DayUsageFields> for DayUsage {
    fn from(fields: DayUsageFields) -> Self {
        let usage = TokenUsage {
            input: fields.input,
            output: fields.output,
            cache_creation: fields.cache_creation,
            cache_creation_1h: fields.cache_creation_1h,
            cache_read: fields.cache_read,
            reasoning: fields.reasoning,
        };
        Self { day: fields.day, usage, cost: fields.cost, responses: fields.responses, tools: fields.tools }
    }
}
