//! The rules, each on a state that just fits and one that just does not.

use std::collections::BTreeMap;

use super::*;
use crate::event::{
    ContextUpdate, CostUpdate, DayUsage, Event, MinuteTokens, Provenance, QuotaUpdate, Seq, SequencedEvent,
};
use crate::event::{SessionPhase, SessionStart, SessionTokens, SessionUpdate};
use crate::ids::{ModelId, SessionId};
use crate::level::Level;
use crate::record::{LimitKey, Tool};
use crate::settings::SettingKey;
use crate::state::DashboardState;
use crate::time::{HOUR_MS, MINUTE_MS, Minute, Timestamp};
use crate::units::{Cost, Money, TokenUsage, Tokens};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Monday, 2026-09-21, 12:00 UTC.
fn noon() -> Timestamp {
    Timestamp::parse("2026-09-21T12:00:00Z").unwrap()
}

fn after(minutes: i64) -> Timestamp {
    noon().plus_ms(minutes * MINUTE_MS)
}

fn fold(state: &mut DashboardState, event: Event, timestamp: Timestamp) {
    let seq = state.seq.next();
    state.apply(&SequencedEvent { seq, event, timestamp });
}

fn quota(percent: f64, reset: Timestamp) -> QuotaUpdate {
    QuotaUpdate {
        percent: Some(percent),
        reset_time: Some(reset),
        provenance: Provenance::Official,
        status: crate::level::Thresholds::QUOTA.level(percent),
        ..QuotaUpdate::unknown(LimitKey::five_hour(Tool::ClaudeCode), noon())
    }
}

/// A state in which the session `s` works in `/home/ada/engine`.
fn working() -> DashboardState {
    let mut state = DashboardState::default();
    let id = SessionId::from("s");
    let start = SessionStart { id: id.clone(), project: "engine".to_owned(), start_time: noon() };
    fold(&mut state, Event::SessionStart(start), noon());
    let update = SessionUpdate {
        id,
        tool: Tool::ClaudeCode,
        project: "engine".to_owned(),
        cwd: None,
        branch: None,
        model: Some(ModelId::new("claude-opus-4-5")),
        phase: SessionPhase::Working,
        started_at: noon(),
        last_activity: noon(),
        last_error: None,
    };
    fold(&mut state, Event::SessionUpdate(update), noon());
    state
}

fn context(status: Level) -> Event {
    Event::ContextUpdate(ContextUpdate {
        id: "s".into(),
        used: Some(Tokens(100_000)),
        limit: Tokens(200_000),
        compact_at: Tokens(167_000),
        percent: Some(50.0),
        usable_percent: Some(59.9),
        to_compact_percent: None,
        status,
        model: None,
        as_of: noon(),
        compaction: None,
        history: None,
    })
}

/// The names and levels of what is so.
fn names(state: &DashboardState, now: Timestamp) -> Vec<(&'static str, Level)> {
    alerts(state, now).iter().map(|alert| (alert.condition.as_str(), alert.level)).collect()
}

#[test]
fn a_reset_ahead_is_told_of_a_limit_that_is_near_only() {
    for (percent, minutes, expected) in [
        (79.0, 30, vec![]),
        (80.0, 61, vec![("limit_near", Level::Warning)]),
        (80.0, 60, vec![("limit_near", Level::Warning), ("reset_ahead", Level::Info)]),
        (80.0, 0, vec![("limit_near", Level::Warning)]),
    ] {
        let mut state = DashboardState::default();
        fold(&mut state, Event::QuotaUpdate(quota(percent, after(minutes))), noon());
        assert_eq!(names(&state, noon()), expected, "{percent} % and {minutes} min");
    }
    let mut state = DashboardState::default();
    fold(&mut state, Event::QuotaUpdate(quota(99.0, after(30))), noon());
    state.settings.set(SettingKey::WarnMinutes, "off").unwrap();
    assert_eq!(names(&state, noon()), [("limit_near", Level::Critical)]);
}

#[test]
fn a_reset_is_told_of_a_limit_that_was_nearly_used_up_and_is_free() {
    let near = |percent| Event::QuotaUpdate(quota(percent, after(10)));
    let next = || Event::QuotaUpdate(quota(1.0, after(310)));
    for (before, at, expected) in [
        (near(95.0), 10, vec![("limit_reset", Level::Info)]),
        (near(95.0), 9, vec![]),  // the vendor moved the window: no reset
        (near(85.0), 10, vec![]), // it was far from used up
    ] {
        let mut state = DashboardState::default();
        fold(&mut state, before, noon());
        fold(&mut state, next(), after(at));
        assert_eq!(names(&state, after(at)), expected, "at {at} min");
        assert_eq!(names(&state, after(at + 30)), [], "said for half an hour");
    }
    let mut state = DashboardState::default();
    fold(&mut state, near(95.0), noon());
    fold(&mut state, next(), after(10));
    fold(&mut state, Event::QuotaUpdate(quota(91.0, after(310))), after(12));
    assert_eq!(names(&state, after(12)), [("limit_near", Level::Danger)], "used up again at once");
}

#[test]
fn a_limit_and_a_context_together_are_worse_than_each() {
    for (percent, status, expected) in [
        (80.0, Level::Danger, Some(Level::Critical)),
        (80.0, Level::Warning, Some(Level::Danger)),
        (79.0, Level::Critical, None),
        (95.0, Level::Healthy, None),
    ] {
        let mut state = working();
        fold(&mut state, Event::QuotaUpdate(quota(percent, after(300))), noon());
        fold(&mut state, context(status), noon());
        let found = names(&state, noon()).into_iter().find(|(name, _)| *name == "limit_and_context");
        assert_eq!(found.map(|(_, level)| level), expected, "{percent} % and {status:?}");
    }
    let mut state = working();
    let codex = QuotaUpdate { key: LimitKey::five_hour(Tool::Codex), ..quota(99.0, after(300)) };
    let sonnet = QuotaUpdate { key: LimitKey::weekly(Tool::ClaudeCode).of_family("sonnet"), ..quota(99.0, after(300)) };
    fold(&mut state, Event::QuotaUpdate(codex), noon());
    fold(&mut state, Event::QuotaUpdate(sonnet), noon());
    fold(&mut state, context(Level::Danger), noon());
    assert!(names(&state, noon()).iter().all(|(name, _)| *name != "limit_and_context"), "it counts in neither");
}

/// A session with so many tokens in each of the given minutes before noon.
fn minutes(tokens: impl IntoIterator<Item = (i64, u64)>) -> DashboardState {
    let mut state = working();
    let minutes = tokens.into_iter().map(|(ago, tokens)| {
        let minute = Minute(noon().minute().0 - ago);
        MinuteTokens { output: Tokens(tokens), ..MinuteTokens::none(minute) }
    });
    let tokens = SessionTokens {
        id: "s".into(),
        current: Tokens(0),
        total: None,
        rate: Tokens(0),
        usage: TokenUsage::default(),
        cost: Cost::default(),
        responses: 0,
        last_activity: noon(),
        minutes: minutes.collect(),
        agents: Vec::new(),
        agents_removed: Vec::new(),
        agents_rest: Default::default(),
    };
    fold(&mut state, Event::SessionTokens(tokens), noon());
    state
}

#[test]
fn a_spike_is_twice_the_usual_over_five_minutes_or_more_than_allowed() {
    let usual =
        |count: i64, recent: u64| minutes((6..6 + count).map(|ago| (ago, 100)).chain((1..=5).map(|ago| (ago, recent))));
    let spike = [("spike", Level::Warning)].as_slice();
    assert_eq!(names(&usual(15, 201), noon()), spike);
    assert_eq!(names(&usual(15, 200), noon()), [], "not more than twice");
    assert_eq!(names(&usual(14, 900), noon()), [], "nothing is usual yet");
    assert_eq!(
        names(&minutes((6..30).map(|ago| (ago, 100)).chain([(1, 1_000)])), noon()),
        [],
        "one minute is no spike"
    );
    assert_eq!(
        names(&minutes((6..30).map(|ago| (ago, 100)).chain([(0, 9_000)])), noon()),
        [],
        "the minute is not over"
    );

    let mut state = usual(0, 2_001);
    state.settings.set(SettingKey::SpikeRate, "2000").unwrap();
    assert_eq!(names(&state, noon()), spike);
    state.settings.set(SettingKey::SpikeRate, "2001").unwrap();
    assert_eq!(names(&state, noon()), []);
    let mut state = usual(15, 900);
    state.settings.set(SettingKey::SpikeFactor, "off").unwrap();
    assert_eq!(names(&state, noon()), []);
}

#[test]
fn a_budget_warns_on_its_way_and_is_critical_once_spent() {
    let spent = |cents: i64| {
        let mut state = DashboardState::default();
        state.settings.set(SettingKey::Budget, "day=10").unwrap();
        let today = state.zone.day(noon());
        let priced = Money(cents * Money::PICO_PER_USD / 100);
        let tools = BTreeMap::from([(Tool::ClaudeCode, Cost { priced, ..Cost::default() })]);
        let day = DayUsage { tools, responses: 1, ..DayUsage::none(today) };
        fold(&mut state, Event::CostUpdate(CostUpdate { today, days: vec![day] }), noon());
        state
    };
    for (cents, level) in [
        (799, None),
        (800, Some(Level::Warning)),
        (900, Some(Level::Danger)),
        (999, Some(Level::Danger)),
        (1_000, Some(Level::Critical)),
    ] {
        assert_eq!(names(&spent(cents), noon()).first().map(|(_, level)| *level), level, "{cents} ct");
    }
    let mut state = spent(2_000);
    state.settings.set(SettingKey::Billing, "claude-code=plan").unwrap();
    assert_eq!(names(&state, noon()), [], "what a plan covers is no money spent");
}

#[test]
fn every_condition_has_its_event_and_is_held_while_quiet() {
    let mut state = working();
    fold(&mut state, Event::QuotaUpdate(quota(85.0, after(5))), noon());
    fold(&mut state, context(Level::Danger), noon());
    let kinds: Vec<_> =
        alerts(&state, noon()).into_iter().map(|alert| warning(alert).map(|event| event.kind())).collect();
    let expected = ["context:warning", "context:warning", "quota:warning", "quota:warning"];
    assert_eq!(kinds, expected.map(Some));

    assert!(!is_held(&state, noon()));
    state.settings.set(SettingKey::QuietHours, "12:00-13:00").unwrap();
    assert!(is_held(&state, noon()) && !is_held(&state, noon().plus_ms(HOUR_MS)));
    state.settings.quiet_hours = None;
    state.silences.snooze(Some(after(60)));
    assert!(is_held(&state, noon()) && !is_held(&state, after(60)));

    let all = alerts(&state, noon());
    state.silences.acknowledge(&all[0]);
    assert_eq!(open(&state, noon()), all[1..]);
    assert_eq!(state.seq, Seq(4));
}
