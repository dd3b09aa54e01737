use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::alert::AlertSubject;
use crate::event::{Event, SequencedEvent, SessionPhase};
use crate::level::Level;
use crate::price::PriceTable;
use crate::record::LimitKey;
use crate::state::{DashboardState, Mode};
use crate::time::{HOUR_MS, ZoneOffsets};

const SEED: u64 = 4217;
/// What two hours of each scenario come to: events, hash of their lines, hash of the state.
/// `UPDATE_GOLDEN=1 cargo test -p dashboard-core golden` writes it anew after an intended change.
const GOLDEN: &str = include_str!("golden.txt");

fn start() -> Timestamp {
    Timestamp::parse("2026-09-21T13:00:00Z").unwrap()
}

fn simulation(scenario: Scenario, seed: u64) -> Simulation {
    let prices = Arc::new(PriceTable::embedded());
    Simulation::new(scenario, seed, start(), Mode::Demo, ZoneOffsets::utc(), prices)
}

/// FNV-1a, 64 bit.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn summary(scenario: Scenario, events: &[SequencedEvent], state: &DashboardState) -> String {
    let (mut lines, mut whole) = (Fnv::new(), Fnv::new());
    for event in events {
        lines.add(&serde_json::to_vec(event).unwrap());
    }
    whole.add(&serde_json::to_vec(state).unwrap());
    format!("{scenario} {} {:016x} {:016x}\n", events.len(), lines.0, whole.0)
}

/// All records of the detailed history and two hours more.
fn records(scenario: Scenario) -> Vec<(Timestamp, Record)> {
    let mut simulator = DashboardSimulator::new(scenario, SEED, start());
    let end = start().plus_ms(2 * HOUR_MS);
    std::iter::from_fn(|| Some(simulator.next()))
        .skip_while(|(at, _)| *at < start().plus_ms(-HISTORY_MS))
        .take_while(|(at, _)| *at < end)
        .collect()
}

#[test]
fn golden_the_same_on_every_platform() {
    let mut text = String::new();
    for scenario in Scenario::ALL {
        let mut simulation = simulation(scenario, SEED);
        let events = simulation.advance_to(start().plus_ms(2 * HOUR_MS));
        text += &summary(scenario, &events, simulation.state());
    }
    #[cfg(not(target_arch = "wasm32"))]
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulator/golden.txt"), &text).unwrap();
        return;
    }
    assert_eq!(text, GOLDEN);
}

#[test]
fn steps_of_any_size_give_the_same_events() {
    for scenario in Scenario::ALL {
        let end = start().plus_ms(2 * MINUTE_MS);
        let mut whole = simulation(scenario, SEED);
        let expected = whole.advance_to(end);
        let mut stepped = simulation(scenario, SEED);
        let mut events = Vec::new();
        for step in [17, 100, 1, 999, 2_500, 16].into_iter().cycle() {
            events.extend(stepped.advance_to(stepped.now().plus_ms(step).min(end)));
            if stepped.now() == end {
                break;
            }
        }
        assert_eq!(events, expected, "{scenario}");
        assert_eq!(stepped.state(), whole.state(), "{scenario}");
    }
}

#[test]
fn a_snapshot_and_the_later_events_make_the_same_state_as_all_events() {
    for scenario in Scenario::ALL {
        let mut simulation = simulation(scenario, SEED);
        let mut snapshots = Vec::new();
        let mut events: Vec<SequencedEvent> = Vec::new();
        for _ in 0..4 {
            snapshots.push(simulation.state().clone());
            for event in simulation.advance_to(simulation.now().plus_ms(5 * MINUTE_MS)) {
                events.push(serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap());
            }
        }
        for snapshot in snapshots {
            let mut state: DashboardState = serde_json::from_str(&serde_json::to_string(&snapshot).unwrap()).unwrap();
            assert_eq!(state, snapshot, "{scenario}: a snapshot survives the wire");
            events.iter().filter(|event| event.seq > snapshot.seq).for_each(|event| state.apply(event));
            assert_eq!(&state, simulation.state(), "{scenario}");
        }
    }
}

#[test]
fn the_seed_decides() {
    let until = start().plus_ms(MINUTE_MS);
    assert_eq!(simulation(Scenario::CalmDay, 1).advance_to(until), simulation(Scenario::CalmDay, 1).advance_to(until));
    assert_ne!(simulation(Scenario::CalmDay, 1).state(), simulation(Scenario::CalmDay, 2).state());
}

#[test]
fn records_come_in_order_and_at_the_promised_pace() {
    for scenario in Scenario::ALL {
        let mut simulator = DashboardSimulator::new(scenario, SEED, start());
        let end = start().plus_ms(2 * HOUR_MS);
        let mut last = Timestamp::from_unix_ms(i64::MIN);
        let (mut last_usage, mut last_report) = (start(), start());
        while last < end {
            let was_busy: Vec<bool> = simulator.desks.iter().map(|desk| desk.status == PresenceStatus::Busy).collect();
            let (at, record) = simulator.next();
            assert!(at >= last, "{scenario}");
            last = at;
            if at < start() {
                continue;
            }
            match record {
                Record::Usage(usage) => {
                    let fresh = usage.usage.fresh().0;
                    assert!(fresh >= 100, "{scenario}: {fresh} new tokens");
                    if was_busy.iter().any(|&busy| busy) {
                        let gap = at.ms_since(last_usage);
                        // The answer to a prompt, and the first one after a compaction, take a step of their own.
                        assert!(gap <= 4_000 || !was_busy.iter().all(|&busy| busy), "{scenario}: {gap} ms");
                    }
                    last_usage = at;
                }
                Record::RateLimit(report)
                    if !report.rejected && report.limit == LimitKey::five_hour(Tool::ClaudeCode) =>
                {
                    assert_eq!(at.ms_since(last_report) % REPORT_MS, 0, "{scenario}");
                    last_report = at;
                }
                _ => {}
            }
        }
    }
}

/// Levels warned of, in order: of Claude's five-hour limit, and of contexts.
fn warnings(events: &[SequencedEvent]) -> (Vec<Level>, Vec<Level>) {
    let five_hour = AlertSubject::Limit(LimitKey::five_hour(Tool::ClaudeCode));
    let mut warnings = (Vec::new(), Vec::new());
    for event in events {
        match &event.event {
            Event::QuotaWarning(alert) if alert.condition.subject() == five_hour => warnings.0.push(alert.level),
            Event::ContextWarning(alert) => warnings.1.push(alert.level),
            _ => {}
        }
    }
    warnings
}

#[test]
fn a_calm_day_nears_no_limit() {
    let mut simulation = simulation(Scenario::CalmDay, SEED);
    let events = simulation.advance_to(start().plus_ms(2 * HOUR_MS));
    let (quota, context) = warnings(&events);
    assert_eq!(quota, []);
    assert!(!context.contains(&Level::Critical));
    let percent = simulation.state().five_hour().and_then(|window| window.now.percent).unwrap();
    assert!((10.0..60.0).contains(&percent), "{percent}");
}

#[test]
fn in_a_quota_crunch_the_limit_is_reached_and_then_reset() {
    let mut simulation = simulation(Scenario::QuotaCrunch, SEED);
    let begun = simulation.state().five_hour().and_then(|window| window.now.percent).unwrap();
    assert!((60.0..80.0).contains(&begun), "{begun}");
    let level_at_start = simulation.state().five_hour().unwrap().now.status;
    let window = simulation.state().five_hour().unwrap().clone();
    let forecast = window.now.forecast.outlook().unwrap().expected.limit.unwrap();
    let before_reset = simulation.advance_to(start().plus_ms(95 * MINUTE_MS));
    let refused = before_reset.iter().find(|event| matches!(&event.event, Event::QuotaUpdate(it) if it.blocked));
    let (refused, late) = (refused.unwrap().timestamp, forecast.late.or(window.now.reset_time).unwrap());
    assert!(forecast.early.unwrap() <= refused && refused <= late, "{refused}: {forecast:?}");
    // That it will be reached before the reset is forecast from the beginning, which is no news.
    assert_eq!(level_at_start, Level::Warning);
    assert_eq!(warnings(&before_reset).0, [Level::Danger, Level::Critical]);
    let state = simulation.state();
    assert!(state.five_hour().unwrap().now.blocked);
    assert!(state.sessions.values().any(|session| session.phase == SessionPhase::Blocked));

    simulation.advance_to(start().plus_ms(2 * HOUR_MS));
    let window = &simulation.state().five_hour().unwrap().now;
    assert!(!window.blocked && window.percent.unwrap() < 20.0, "{window:?}");
    assert!(simulation.state().sessions.values().any(|session| session.phase == SessionPhase::Working));
}

#[test]
fn an_overflowing_context_compacts_again_and_again() {
    let mut simulation = simulation(Scenario::ContextOverflow, SEED);
    let events = simulation.advance_to(start().plus_ms(2 * HOUR_MS));
    let compactions = events.iter().filter(|event| {
        matches!(&event.event, Event::ContextUpdate(update) if update.compaction == Some(CompactionTrigger::Auto))
    });
    assert!(compactions.count() >= 5);
    let levels: BTreeSet<Level> = warnings(&events).1.into_iter().collect();
    assert_eq!(levels, BTreeSet::from([Level::Warning, Level::Danger, Level::Critical]));
}

#[test]
fn a_swarm_is_twelve_at_once() {
    let mut simulation = simulation(Scenario::AgentSwarm, SEED);
    let mut most = 0;
    for _ in 0..60 {
        simulation.advance_to(simulation.now().plus_ms(MINUTE_MS));
        let now = simulation.now();
        most =
            most.max(simulation.state().sessions.values().map(|session| session.agents_running(now).0).max().unwrap());
    }
    assert!(most >= 12, "{most}");
}

#[test]
fn transcripts_habits_are_there() {
    let mut claims: BTreeMap<(Scenario, MessageId), u32> = BTreeMap::new();
    let (mut errors, mut compactions, mut agents) = (0, 0, 0);
    for (scenario, record) in Scenario::ALL.into_iter().flat_map(|s| records(s).into_iter().map(move |r| (s, r.1))) {
        match record {
            Record::Usage(usage) => *claims.entry((scenario, usage.id.message().unwrap())).or_default() += 1,
            Record::ApiError(_) => errors += 1,
            Record::Compaction(_) => compactions += 1,
            Record::Agent(_) => agents += 1,
            _ => {}
        }
    }
    assert!(claims.values().any(|&count| count == 2), "placeholders and final claims");
    assert!(claims.values().all(|&count| count <= 2));
    assert!(errors > 0 && compactions > 0 && agents > 0);
}
