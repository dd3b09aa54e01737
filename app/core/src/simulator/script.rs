//! What distinguishes one scenario from another: who works, how fast, and under which limits.
//!
//! Plain numbers, no behaviour. Spans are `(least, most)`, both possible; times are in tenths of a
//! second unless the name says otherwise.

use super::Scenario;
use crate::time::{HOUR_MS, MINUTE_MS};

/// An inclusive range to draw from.
pub(super) type Span = (u64, u64);

/// One scenario.
#[derive(Debug)]
pub(super) struct Script {
    /// Who works, each in a room of their own.
    pub(super) desks: &'static [Desk],
    /// When the first reset of the five-hour window comes, after the start.
    pub(super) first_reset_ms: i64,
    /// Fresh tokens the five-hour limit allows.
    pub(super) five_hour_budget: u64,
    /// Share of it used when the detailed history begins, in percent.
    pub(super) five_hour_used_percent: u64,
    /// Fresh tokens a week allows.
    pub(super) week_budget: u64,
    /// Share of it used when the detailed history begins, in percent.
    pub(super) week_used_percent: u64,
    /// Responses summed up in each record of a past day.
    pub(super) past_responses: Span,
}

/// A place where one session after the other works on a project.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) cwd: &'static str,
    pub(super) branch: &'static str,
    pub(super) model: &'static str,
    /// How long one prompt keeps it working.
    pub(super) turn: Span,
    /// How long the user then takes.
    pub(super) rest: Span,
    /// Chance that it asks a question instead of finishing, in percent.
    pub(super) asks_percent: u64,
    /// From one response to the next; never more than 2 s.
    pub(super) pace: Span,
    /// Tokens that tool results add to the context with each response.
    pub(super) reads: Span,
    /// Tokens of an answer.
    pub(super) answer: Span,
    /// The user begins a new session above this fill, between two prompts.
    pub(super) clears_above: u64,
    /// Subagents it sends out.
    pub(super) agents: Option<Agents>,
}

/// Subagents sent out together.
#[derive(Debug)]
pub(super) struct Agents {
    /// Chance that a prompt sends any, in percent.
    pub(super) percent: u64,
    /// How many.
    pub(super) count: Span,
    /// How long each works.
    pub(super) life: Span,
    /// From one response of an agent to its next.
    pub(super) pace: Span,
    pub(super) model: &'static str,
    pub(super) kinds: &'static [&'static str],
}

const OPUS: &str = "claude-opus-4-5-20251101";
const SONNET: &str = "claude-sonnet-4-5-20250929";
const HAIKU: &str = "claude-haiku-4-5-20251001";

impl Scenario {
    pub(super) fn script(self) -> &'static Script {
        match self {
            Self::CalmDay => &CALM_DAY,
            Self::QuotaCrunch => &QUOTA_CRUNCH,
            Self::ContextOverflow => &CONTEXT_OVERFLOW,
            Self::AgentSwarm => &AGENT_SWARM,
        }
    }
}

const MINUTE: u64 = 600;

static CALM_DAY: Script = Script {
    desks: &[
        Desk {
            cwd: "/home/demo/recipe-box",
            branch: "shopping-list",
            model: SONNET,
            turn: (MINUTE / 2, 2 * MINUTE),
            rest: (2 * MINUTE, 8 * MINUTE),
            asks_percent: 15,
            pace: (14, 20),
            reads: (40, 160),
            answer: (60, 240),
            clears_above: 85_000,
            agents: Some(Agents {
                percent: 8,
                count: (1, 1),
                life: (MINUTE / 2, MINUTE),
                pace: (15, 30),
                model: HAIKU,
                kinds: &["Explore"],
            }),
        },
        Desk {
            cwd: "/home/demo/field-notes",
            branch: "main",
            model: OPUS,
            turn: (MINUTE / 3, MINUTE),
            rest: (6 * MINUTE, 20 * MINUTE),
            asks_percent: 10,
            pace: (15, 20),
            reads: (40, 140),
            answer: (80, 300),
            clears_above: 70_000,
            agents: None,
        },
    ],
    first_reset_ms: 2 * HOUR_MS + 10 * MINUTE_MS,
    five_hour_budget: 4_200_000,
    five_hour_used_percent: 12,
    week_budget: 90_000_000,
    week_used_percent: 23,
    past_responses: (40, 180),
};

static QUOTA_CRUNCH: Script = Script {
    desks: &[
        Desk {
            cwd: "/home/demo/checkout-api",
            branch: "idempotent-payments",
            model: OPUS,
            turn: (3 * MINUTE, 7 * MINUTE),
            rest: (MINUTE / 3, 2 * MINUTE),
            asks_percent: 12,
            pace: (13, 20),
            reads: (60, 220),
            answer: (90, 380),
            clears_above: 130_000,
            agents: Some(Agents {
                percent: 20,
                count: (1, 3),
                life: (MINUTE, 3 * MINUTE),
                pace: (15, 40),
                model: HAIKU,
                kinds: &["Explore", "test-runner"],
            }),
        },
        Desk {
            cwd: "/home/demo/web-storefront",
            branch: "cart-rewrite",
            model: SONNET,
            turn: (2 * MINUTE, 5 * MINUTE),
            rest: (MINUTE / 2, 3 * MINUTE),
            asks_percent: 12,
            pace: (14, 20),
            reads: (50, 200),
            answer: (80, 340),
            clears_above: 120_000,
            agents: None,
        },
        Desk {
            cwd: "/home/demo/infra-terraform",
            branch: "main",
            model: SONNET,
            turn: (MINUTE, 3 * MINUTE),
            rest: (4 * MINUTE, 10 * MINUTE),
            asks_percent: 20,
            pace: (15, 20),
            reads: (40, 160),
            answer: (60, 240),
            clears_above: 90_000,
            agents: None,
        },
    ],
    first_reset_ms: HOUR_MS + 40 * MINUTE_MS,
    five_hour_budget: 10_600_000,
    five_hour_used_percent: 50,
    week_budget: 150_000_000,
    week_used_percent: 58,
    past_responses: (500, 1_800),
};

static CONTEXT_OVERFLOW: Script = Script {
    desks: &[
        Desk {
            cwd: "/home/demo/parser-rewrite",
            branch: "incremental-parsing",
            model: OPUS,
            turn: (10 * MINUTE, 25 * MINUTE),
            rest: (MINUTE / 6, MINUTE),
            asks_percent: 6,
            pace: (10, 18),
            reads: (80, 300),
            answer: (100, 420),
            clears_above: u64::MAX,
            agents: None,
        },
        Desk {
            cwd: "/home/demo/release-notes",
            branch: "v2",
            model: HAIKU,
            turn: (MINUTE / 2, 2 * MINUTE),
            rest: (5 * MINUTE, 12 * MINUTE),
            asks_percent: 10,
            pace: (15, 20),
            reads: (40, 160),
            answer: (60, 260),
            clears_above: 60_000,
            agents: None,
        },
    ],
    first_reset_ms: 3 * HOUR_MS + 5 * MINUTE_MS,
    five_hour_budget: 14_000_000,
    five_hour_used_percent: 30,
    week_budget: 260_000_000,
    week_used_percent: 41,
    past_responses: (500, 1_800),
};

static AGENT_SWARM: Script = Script {
    desks: &[
        Desk {
            cwd: "/home/demo/monorepo-migration",
            branch: "esm",
            model: OPUS,
            turn: (2 * MINUTE, 4 * MINUTE),
            rest: (MINUTE, 4 * MINUTE),
            asks_percent: 5,
            pace: (14, 20),
            reads: (50, 180),
            answer: (60, 260),
            clears_above: 125_000,
            agents: Some(Agents {
                percent: 100,
                count: (12, 12),
                life: (2 * MINUTE, 5 * MINUTE),
                pace: (25, 60),
                model: SONNET,
                kinds: &["package-migrator", "code-reviewer", "test-runner", "Explore"],
            }),
        },
        Desk {
            cwd: "/home/demo/design-system",
            branch: "tokens",
            model: SONNET,
            turn: (MINUTE, 2 * MINUTE),
            rest: (6 * MINUTE, 12 * MINUTE),
            asks_percent: 15,
            pace: (15, 20),
            reads: (40, 160),
            answer: (60, 260),
            clears_above: 90_000,
            agents: None,
        },
    ],
    first_reset_ms: 2 * HOUR_MS + 35 * MINUTE_MS,
    five_hour_budget: 34_000_000,
    five_hour_used_percent: 25,
    week_budget: 420_000_000,
    week_used_percent: 36,
    past_responses: (600, 2_000),
};
