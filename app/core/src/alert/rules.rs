//! The table of rules: what of a state is a condition.

use super::condition::{Alert, Condition};
use crate::event::{Event, Provenance, QuotaUpdate, SessionPhase};
use crate::level::Level;
use crate::order;
use crate::state::{DashboardState, Session};
use crate::time::Timestamp;

/// What the user wants to be alerted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    /// The lowest level that is an alert.
    pub from: Level,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { from: Level::Warning }
    }
}

/// One kind of condition.
struct Rule {
    /// Finds what is so.
    find: fn(&DashboardState, &mut Vec<Alert>),
    /// The event that tells of news; `None` if another event says it already.
    event: Option<fn(Alert) -> Event>,
    /// Whether the rule makes this condition.
    makes: fn(&Condition) -> bool,
}

const RULES: [Rule; 4] = [
    Rule {
        find: limits,
        event: Some(Event::QuotaWarning),
        makes: |condition| matches!(condition, Condition::LimitNear { .. } | Condition::LimitReached { .. }),
    },
    Rule {
        find: contexts,
        event: Some(Event::ContextWarning),
        makes: |condition| matches!(condition, Condition::ContextFilling { .. }),
    },
    // `session:update` tells of the phase.
    Rule { find: waiting, event: None, makes: |condition| matches!(condition, Condition::NeedsYou { .. }) },
    Rule {
        find: parts,
        event: Some(Event::HealthError),
        makes: |condition| matches!(condition, Condition::PartFailing { .. }),
    },
];

/// What the user can act on, worst first, then least time left.
pub fn alerts(state: &DashboardState, settings: &AlertSettings, now: Timestamp) -> Vec<Alert> {
    let mut alerts = Vec::new();
    RULES.iter().for_each(|rule| (rule.find)(state, &mut alerts));
    alerts.retain(|alert| alert.level >= settings.from);
    order::sort(&mut alerts, &|a: &Alert, b: &Alert| {
        let left = |alert: &Alert| alert.condition.time_left_ms(now).unwrap_or(i64::MAX);
        let by_subject = || a.condition.subject().cmp(&b.condition.subject());
        b.level.cmp(&a.level).then(left(a).cmp(&left(b))).then_with(by_subject)
    });
    alerts
}

/// The event that tells that an alert is news; `None` if another event says it already.
pub fn warning(alert: Alert) -> Option<Event> {
    let rule = RULES.iter().find(|rule| (rule.makes)(&alert.condition))?;
    rule.event.map(|event| event(alert))
}

fn limits(state: &DashboardState, alerts: &mut Vec<Alert>) {
    // An estimate that older files may still change is no reason to alert.
    let is_settled = |now: &QuotaUpdate| now.complete || now.provenance != Provenance::Estimated;
    for (key, known) in state.limits.iter().filter(|(_, known)| is_settled(&known.now)) {
        let (limit, resets_at, percent) = (key.clone(), known.now.reset_time, known.now.percent);
        let condition = match known.now.blocked {
            true => Condition::LimitReached { limit, resets_at },
            false => Condition::LimitNear { limit, percent, resets_at },
        };
        alerts.push(Alert { condition, level: known.now.status });
    }
}

fn contexts(state: &DashboardState, alerts: &mut Vec<Alert>) {
    let filling = |session: &&Session| session.is_active() && session.context_level() > Level::Healthy;
    for session in state.sessions.values().filter(filling) {
        let Some(context) = &session.context else { continue };
        let compacted_at = context.points.iter().rev().find(|point| point.compaction).map(|point| point.at);
        let condition = Condition::ContextFilling {
            session: session.id.clone(),
            project: state.project_label(session),
            percent: context.now.percent,
            compact_at_percent: context.compact_at_percent(),
            compacted_at,
        };
        alerts.push(Alert { condition, level: context.now.status });
    }
}

fn waiting(state: &DashboardState, alerts: &mut Vec<Alert>) {
    for session in state.sessions.values().filter(|session| session.phase == SessionPhase::NeedsYou) {
        let (session, project) = (session.id.clone(), state.project_label(session));
        alerts.push(Alert { condition: Condition::NeedsYou { session, project }, level: Level::Warning });
    }
}

fn parts(state: &DashboardState, alerts: &mut Vec<Alert>) {
    for (name, part) in &state.health.components {
        let component = name.clone();
        alerts.push(Alert { condition: Condition::PartFailing { component }, level: part.status.level() });
    }
}
