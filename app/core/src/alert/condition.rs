//! What can be alerted of, typed.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::ids::SessionId;
use crate::level::Level;
use crate::record::LimitKey;
use crate::settings::Billing;
use crate::time::{Day, Timestamp};
use crate::units::{Cost, Money, Tokens};

/// Something that is so, and that the user can act on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The use of a limit nears it.
    LimitNear {
        /// Which limit.
        limit: LimitKey,
        /// Used share, 0 to 100; null if unknown.
        percent: Option<f64>,
        /// When it is reset; null if unknown.
        resets_at: Option<Timestamp>,
    },
    /// A limit refuses requests.
    LimitReached {
        /// Which limit.
        limit: LimitKey,
        /// When it is reset; null if unknown.
        resets_at: Option<Timestamp>,
    },
    /// A limit that is nearly used up, or refuses requests, is reset soon.
    ResetAhead {
        /// Which limit.
        limit: LimitKey,
        /// When it is reset.
        resets_at: Timestamp,
        /// The step of [`WarnMinutes`](crate::settings::WarnMinutes) that is reached.
        minutes: u32,
    },
    /// A limit that was nearly used up, or refused requests, has been reset.
    LimitReset {
        /// Which limit.
        limit: LimitKey,
        /// When it was reset.
        reset_at: Timestamp,
    },
    /// A session's context fills up.
    ContextFilling {
        /// The session.
        session: SessionId,
        /// Its project's name.
        project: String,
        /// Used share of the window, 0 to 100; null if unknown.
        percent: Option<f64>,
        /// Share of the window at which the tool compacts by itself, 0 to 100.
        compact_at_percent: f64,
        /// When it was compacted last; null if it was not.
        compacted_at: Option<Timestamp>,
    },
    /// A session's context fills up while a limit it counts in is near.
    LimitAndContext {
        /// The limit that is nearest.
        limit: LimitKey,
        /// Its used share, 0 to 100; null if unknown.
        limit_percent: Option<f64>,
        /// The session.
        session: SessionId,
        /// Its project's name.
        project: String,
        /// Used share of its context's window, 0 to 100; null if unknown.
        context_percent: Option<f64>,
        /// When its context was compacted last; null if it was not.
        compacted_at: Option<Timestamp>,
    },
    /// A session uses far more than usual.
    Spike {
        /// The session.
        session: SessionId,
        /// Its project's name.
        project: String,
        /// Mean tokens per minute, all kinds, of its last five minutes.
        tokens_per_min: Tokens,
        /// What is usual for it: the mean of its active minutes before; null if there are too few.
        usual_per_min: Option<Tokens>,
        /// When the clock hour ends: it is told once an hour.
        hour_ends: Timestamp,
    },
    /// A budget is nearly or wholly spent.
    BudgetUsed {
        /// Which kind of use it is for.
        billing: Billing,
        /// For how long it is.
        period: BudgetPeriod,
        /// What was spent, at list prices. More, if some responses have no price.
        spent: Cost,
        /// What may be spent.
        budget: Money,
        /// First day of the period.
        first_day: Day,
        /// When the next period begins.
        ends_at: Timestamp,
    },
    /// A session waits for an answer or a permission.
    NeedsYou {
        /// The session.
        session: SessionId,
        /// Its project's name.
        project: String,
    },
    /// A part of the dashboard does not work as it should.
    PartFailing {
        /// The part, as health names it.
        component: String,
    },
}

/// For how long a budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// A day in the configured zone.
    Day,
    /// A week that begins on Monday.
    Week,
    /// A month.
    Month,
}

impl BudgetPeriod {
    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// What an alert is about: what an acknowledgement remembers, and what is told of once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSubject {
    /// The use of a limit.
    Limit(LimitKey),
    /// The coming reset of a limit.
    ResetAhead(LimitKey),
    /// The reset of a limit.
    LimitReset(LimitKey),
    /// A session's context.
    Context(SessionId),
    /// A session's context together with a limit.
    LimitAndContext(SessionId),
    /// A session's rate of use.
    Spike(SessionId),
    /// A budget.
    Budget(Billing, BudgetPeriod),
    /// A session that waits for the user.
    NeedsYou(SessionId),
    /// A part of the dashboard.
    Part(String),
}

/// Within what a level is news only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A limit's window, by its reset; a budget's period, by its end.
    Window(Timestamp),
    /// A context's fill, by the compaction before it.
    Fill(Option<Timestamp>),
    /// As long as the condition lasts.
    WhileItLasts,
}

/// A condition and how bad it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What is so.
    pub condition: Condition,
    /// How bad.
    pub level: Level,
}

/// How urgent an alert is: by its level, then by how near the instant is that it warns of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urgency {
    level: Level,
    /// The step of minutes that is reached, of alerts that have steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minutes: Option<u32>,
}

impl Urgency {
    /// Whether this is news to whoever was told of `told`.
    pub fn exceeds(self, told: Self) -> bool {
        let order = |urgency: Self| (urgency.level, urgency.minutes.map(Reverse));
        order(self) > order(told)
    }

    /// How bad.
    pub fn level(self) -> Level {
        self.level
    }
}

impl Alert {
    /// How urgent it is.
    pub fn urgency(&self) -> Urgency {
        let minutes = match self.condition {
            Condition::ResetAhead { minutes, .. } => Some(minutes),
            _ => None,
        };
        Urgency { level: self.level, minutes }
    }
}

impl Condition {
    /// Its name on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::LimitNear { .. } => "limit_near",
            Self::LimitReached { .. } => "limit_reached",
            Self::ResetAhead { .. } => "reset_ahead",
            Self::LimitReset { .. } => "limit_reset",
            Self::ContextFilling { .. } => "context_filling",
            Self::LimitAndContext { .. } => "limit_and_context",
            Self::Spike { .. } => "spike",
            Self::BudgetUsed { .. } => "budget_used",
            Self::NeedsYou { .. } => "needs_you",
            Self::PartFailing { .. } => "part_failing",
        }
    }

    /// What it is about.
    pub fn subject(&self) -> AlertSubject {
        match self {
            Self::LimitNear { limit, .. } | Self::LimitReached { limit, .. } => AlertSubject::Limit(limit.clone()),
            Self::ResetAhead { limit, .. } => AlertSubject::ResetAhead(limit.clone()),
            Self::LimitReset { limit, .. } => AlertSubject::LimitReset(limit.clone()),
            Self::ContextFilling { session, .. } => AlertSubject::Context(session.clone()),
            Self::LimitAndContext { session, .. } => AlertSubject::LimitAndContext(session.clone()),
            Self::Spike { session, .. } => AlertSubject::Spike(session.clone()),
            Self::BudgetUsed { billing, period, .. } => AlertSubject::Budget(*billing, *period),
            Self::NeedsYou { session, .. } => AlertSubject::NeedsYou(session.clone()),
            Self::PartFailing { component } => AlertSubject::Part(component.clone()),
        }
    }

    /// Within what it is news once a level.
    pub fn occasion(&self) -> Occasion {
        match self {
            Self::LimitNear { resets_at, .. } | Self::LimitReached { resets_at, .. } => {
                resets_at.map_or(Occasion::WhileItLasts, Occasion::Window)
            }
            Self::ResetAhead { resets_at: at, .. }
            | Self::LimitReset { reset_at: at, .. }
            | Self::Spike { hour_ends: at, .. }
            | Self::BudgetUsed { ends_at: at, .. } => Occasion::Window(*at),
            Self::ContextFilling { compacted_at, .. } | Self::LimitAndContext { compacted_at, .. } => {
                Occasion::Fill(*compacted_at)
            }
            Self::NeedsYou { .. } | Self::PartFailing { .. } => Occasion::WhileItLasts,
        }
    }

    /// Milliseconds left to act, where known.
    pub fn time_left_ms(&self, now: Timestamp) -> Option<i64> {
        let until = match self {
            Self::LimitNear { resets_at, .. } | Self::LimitReached { resets_at, .. } => *resets_at,
            Self::ResetAhead { resets_at, .. } => Some(*resets_at),
            Self::LimitReset { .. }
            | Self::ContextFilling { .. }
            | Self::LimitAndContext { .. }
            | Self::Spike { .. }
            | Self::BudgetUsed { .. }
            | Self::NeedsYou { .. }
            | Self::PartFailing { .. } => None,
        };
        until.map(|at| at.ms_since(now)).filter(|&ms| ms > 0)
    }
}
