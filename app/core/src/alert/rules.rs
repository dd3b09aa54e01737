//! The table of rules: what of a state is a condition.

use super::condition::{Alert, Condition};
use crate::event::{Event, Provenance, QuotaUpdate, SessionPhase};
use crate::level::Level;
use crate::order;
use crate::state::{BudgetUse, DashboardState, LimitState, Session, Spike};
use crate::time::{HOUR_MS, MINUTE_MS, Timestamp};

/// That a limit has been reset is said for this long.
pub const RESET_SHOWN_MS: i64 = 30 * MINUTE_MS;

/// One kind of condition.
struct Rule {
    /// Finds what is so.
    find: fn(&DashboardState, Timestamp, &mut Vec<Alert>),
    /// The event that tells of news; `None` if another event says it already.
    event: Option<fn(Alert) -> Event>,
    /// Whether the rule makes this condition.
    makes: fn(&Condition) -> bool,
}

const RULES: [Rule; 9] = [
    Rule {
        find: limits,
        event: Some(Event::QuotaWarning),
        makes: |condition| matches!(condition, Condition::LimitNear { .. } | Condition::LimitReached { .. }),
    },
    Rule {
        find: resets_ahead,
        event: Some(Event::QuotaWarning),
        makes: |condition| matches!(condition, Condition::ResetAhead { .. }),
    },
    Rule {
        find: resets,
        event: Some(Event::QuotaWarning),
        makes: |condition| matches!(condition, Condition::LimitReset { .. }),
    },
    Rule {
        find: contexts,
        event: Some(Event::ContextWarning),
        makes: |condition| matches!(condition, Condition::ContextFilling { .. }),
    },
    Rule {
        find: limits_and_contexts,
        event: Some(Event::ContextWarning),
        makes: |condition| matches!(condition, Condition::LimitAndContext { .. }),
    },
    Rule {
        find: spikes,
        event: Some(Event::UsageWarning),
        makes: |condition| matches!(condition, Condition::Spike { .. }),
    },
    Rule {
        find: budgets,
        event: Some(Event::UsageWarning),
        makes: |condition| matches!(condition, Condition::BudgetUsed { .. }),
    },
    // `session:update` tells of the phase.
    Rule { find: waiting, event: None, makes: |condition| matches!(condition, Condition::NeedsYou { .. }) },
    Rule {
        find: parts,
        event: Some(Event::HealthError),
        makes: |condition| matches!(condition, Condition::PartFailing { .. }),
    },
];

/// What is so and worth knowing, worst first, then least time left.
pub fn alerts(state: &DashboardState, now: Timestamp) -> Vec<Alert> {
    let mut alerts = Vec::new();
    RULES.iter().for_each(|rule| (rule.find)(state, now, &mut alerts));
    alerts.retain(|alert| alert.level > Level::Healthy);
    order::sort(&mut alerts, &|a: &Alert, b: &Alert| {
        let left = |alert: &Alert| alert.condition.time_left_ms(now).unwrap_or(i64::MAX);
        let by_subject = || a.condition.subject().cmp(&b.condition.subject());
        b.level.cmp(&a.level).then(left(a).cmp(&left(b))).then_with(by_subject)
    });
    alerts
}

/// The alerts that the user has not acknowledged, in the same order.
pub fn open(state: &DashboardState, now: Timestamp) -> Vec<Alert> {
    let mut alerts = alerts(state, now);
    alerts.retain(|alert| !state.silences.hide(alert));
    alerts
}

/// Whether nothing is to be delivered at present: the user snoozed, or the hours are quiet.
pub fn is_held(state: &DashboardState, now: Timestamp) -> bool {
    let is_quiet = state.settings.quiet_hours.is_some_and(|hours| hours.contain(&state.zone, now));
    is_quiet || state.silences.snoozed_until(now).is_some()
}

/// The event that tells that an alert is news; `None` if another event says it already.
pub fn warning(alert: Alert) -> Option<Event> {
    let rule = RULES.iter().find(|rule| (rule.makes)(&alert.condition))?;
    rule.event.map(|event| event(alert))
}

/// The limits that alerts may be made of: an estimate that older files may still change is no reason to alert.
fn settled(state: &DashboardState) -> impl Iterator<Item = &LimitState> {
    let is_settled = |now: &QuotaUpdate| now.complete || now.provenance != Provenance::Estimated;
    state.limits.values().filter(move |limit| is_settled(&limit.now))
}

/// Whether a limit is worth a thought.
fn is_near(limit: &LimitState) -> bool {
    limit.now.blocked || limit.now.status >= Level::Warning
}

fn limits(state: &DashboardState, _: Timestamp, alerts: &mut Vec<Alert>) {
    for known in settled(state) {
        let (limit, resets_at, percent) = (known.now.key.clone(), known.now.reset_time, known.now.percent);
        let condition = match known.now.blocked {
            true => Condition::LimitReached { limit, resets_at },
            false => Condition::LimitNear { limit, percent, resets_at },
        };
        alerts.push(Alert { condition, level: known.now.status });
    }
}

fn resets_ahead(state: &DashboardState, now: Timestamp, alerts: &mut Vec<Alert>) {
    for known in settled(state).filter(|limit| is_near(limit)) {
        let ahead = known.now.reset_time.and_then(|at| Some((at, state.settings.warn_minutes.step(at.ms_since(now))?)));
        if let Some((resets_at, minutes)) = ahead {
            let condition = Condition::ResetAhead { limit: known.now.key.clone(), resets_at, minutes };
            alerts.push(Alert { condition, level: Level::Info });
        }
    }
}

fn resets(state: &DashboardState, now: Timestamp, alerts: &mut Vec<Alert>) {
    for (key, known) in &state.limits {
        let recent = known.reopened_at.filter(|at| now.ms_since(*at) < RESET_SHOWN_MS);
        if let Some(reset_at) = recent {
            alerts
                .push(Alert { condition: Condition::LimitReset { limit: key.clone(), reset_at }, level: Level::Info });
        }
    }
}

fn filling(state: &DashboardState) -> impl Iterator<Item = &Session> {
    let filling = |session: &&Session| session.is_active() && session.context_level() > Level::Healthy;
    state.sessions.values().filter(filling)
}

fn contexts(state: &DashboardState, _: Timestamp, alerts: &mut Vec<Alert>) {
    for session in filling(state) {
        let Some(context) = &session.context else { continue };
        let condition = Condition::ContextFilling {
            session: session.id.clone(),
            project: state.project_label(session),
            percent: context.now.percent,
            compact_at_percent: context.compact_at_percent(),
            compacted_at: context.compacted_at(),
        };
        alerts.push(Alert { condition, level: context.now.status });
    }
}

/// The original product's combined alert: each alone might wait, both together will not.
fn limits_and_contexts(state: &DashboardState, _: Timestamp, alerts: &mut Vec<Alert>) {
    for session in filling(state) {
        let Some(context) = &session.context else { continue };
        let covers = |limit: &&LimitState| {
            let key = &limit.now.key;
            let covers_model = session.model.as_ref().is_some_and(|model| key.scope.covers(model));
            is_near(limit) && key.tool == session.tool && covers_model
        };
        let percent = |limit: &LimitState| limit.now.percent.unwrap_or_default();
        let nearest = settled(state).filter(covers).max_by(|a, b| percent(a).total_cmp(&percent(b)));
        let Some(limit) = nearest else { continue };
        let level = if context.now.status >= Level::Danger { Level::Critical } else { Level::Danger };
        let condition = Condition::LimitAndContext {
            limit: limit.now.key.clone(),
            limit_percent: limit.now.percent,
            session: session.id.clone(),
            project: state.project_label(session),
            context_percent: context.now.percent,
            compacted_at: context.compacted_at(),
        };
        alerts.push(Alert { condition, level });
    }
}

fn spikes(state: &DashboardState, now: Timestamp, alerts: &mut Vec<Alert>) {
    for session in state.sessions.values().filter(|session| session.is_active()) {
        let spike = session.spike(&state.settings.spikes, now);
        if let Some(Spike { tokens_per_min, usual_per_min }) = spike {
            let hour_ends = now.floor_to(HOUR_MS).plus_ms(HOUR_MS);
            let (session, project) = (session.id.clone(), state.project_label(session));
            let condition = Condition::Spike { session, project, tokens_per_min, usual_per_min, hour_ends };
            alerts.push(Alert { condition, level: Level::Warning });
        }
    }
}

fn budgets(state: &DashboardState, _: Timestamp, alerts: &mut Vec<Alert>) {
    for used in state.budgets() {
        let percent = used.percent();
        let level = if percent >= 100.0 {
            Level::Critical
        } else {
            state.settings.quota_levels.0.level(percent).min(Level::Danger)
        };
        let BudgetUse { billing, period, budget, spent, first_day, ends_at } = used;
        alerts.push(Alert {
            condition: Condition::BudgetUsed { billing, period, spent, budget, first_day, ends_at },
            level,
        });
    }
}

fn waiting(state: &DashboardState, _: Timestamp, alerts: &mut Vec<Alert>) {
    for session in state.sessions.values().filter(|session| session.phase == SessionPhase::NeedsYou) {
        let (session, project) = (session.id.clone(), state.project_label(session));
        alerts.push(Alert { condition: Condition::NeedsYou { session, project }, level: Level::Warning });
    }
}

fn parts(state: &DashboardState, _: Timestamp, alerts: &mut Vec<Alert>) {
    for (name, part) in &state.health.components {
        let component = name.clone();
        alerts.push(Alert { condition: Condition::PartFailing { component }, level: part.status.level() });
    }
}
