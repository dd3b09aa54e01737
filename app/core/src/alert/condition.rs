//! What can be alerted of, typed.

use serde::{Deserialize, Serialize};

use crate::ids::SessionId;
use crate::level::Level;
use crate::record::LimitKey;
use crate::time::Timestamp;

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

/// What an alert is about: with its level, what a dismissal remembers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSubject {
    /// A limit.
    Limit(LimitKey),
    /// A session's context.
    Context(SessionId),
    /// A session that waits for the user.
    NeedsYou(SessionId),
    /// A part of the dashboard.
    Part(String),
}

/// Within what a level is news only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A limit's window, by its reset.
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

impl Condition {
    /// What it is about.
    pub fn subject(&self) -> AlertSubject {
        match self {
            Self::LimitNear { limit, .. } | Self::LimitReached { limit, .. } => AlertSubject::Limit(limit.clone()),
            Self::ContextFilling { session, .. } => AlertSubject::Context(session.clone()),
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
            Self::ContextFilling { compacted_at, .. } => Occasion::Fill(*compacted_at),
            Self::NeedsYou { .. } | Self::PartFailing { .. } => Occasion::WhileItLasts,
        }
    }

    /// Milliseconds left to act, where known.
    pub fn time_left_ms(&self, now: Timestamp) -> Option<i64> {
        match self {
            Self::LimitNear { resets_at, .. } | Self::LimitReached { resets_at, .. } => {
                resets_at.map(|reset| reset.ms_since(now)).filter(|&ms| ms > 0)
            }
            Self::ContextFilling { .. } | Self::NeedsYou { .. } | Self::PartFailing { .. } => None,
        }
    }
}
