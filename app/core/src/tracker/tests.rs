//! What the trackers promise: history is silent, warnings fire once and re-arm, time alone ends
//! sessions and windows, and a state built in pieces equals one built at once.

use std::sync::Arc;

use super::*;
use crate::event::{HealthStatus, Provenance, Seq, SequencedEvent, SessionPhase};
use crate::ids::{AgentId, MessageId, SessionId};
use crate::level::Level;
use crate::record::{
    Compaction, CompactionTrigger, ContextFill, LimitKey, Place, PresenceStatus, RateLimitReport, ResponseId, Tool,
    WindowMinutes,
};
use crate::settings::SettingKey;
use crate::time::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::units::{TokenUsage, Tokens};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PRICED: &str = "claude-sonnet-4-5-20250929";

fn start() -> Timestamp {
    Timestamp::parse("2026-09-20T10:00:00Z").unwrap()
}

fn trackers(plan: Option<Plan>) -> Trackers {
    let config = TrackerConfig { mode: Mode::Live, zone: ZoneOffsets::utc(), plan, settings: Settings::default() };
    Trackers::new(config, Arc::new(PriceTable::embedded()))
}

fn usage(session: &str, message: &str, at: Timestamp, tokens: [u64; 4]) -> UsageRecord {
    let [input, output, cache_creation, cache_read] = tokens.map(Tokens);
    UsageRecord {
        tool: Tool::ClaudeCode,
        session: SessionId::new(session),
        agent: None,
        sidechain: false,
        id: ResponseId::of(Some(MessageId::of(message)), None),
        model: ModelId::new(PRICED),
        at: Some(at),
        usage: TokenUsage {
            input,
            output,
            cache_creation,
            cache_creation_1h: Tokens::ZERO,
            cache_read,
            reasoning: Tokens::ZERO,
        },
        place: Place::default(),
        bad_counts: 0,
    }
}

/// Trackers with the state their events make, as the engine keeps them.
struct Desk {
    trackers: Trackers,
    file: FileId,
    state: DashboardState,
    events: Vec<SequencedEvent>,
}

impl Desk {
    fn begin(mut trackers: Trackers, now: Timestamp) -> Self {
        let file = trackers.file(Tool::ClaudeCode, "a.jsonl");
        let state = trackers.begin(now);
        Self { trackers, file, state, events: Vec::new() }
    }

    fn feed(&mut self, record: UsageRecord, now: Timestamp) -> Vec<&'static str> {
        self.say(Record::Usage(record), now)
    }

    fn say(&mut self, record: Record, now: Timestamp) -> Vec<&'static str> {
        self.trackers.record(self.file, &record, now);
        self.flush(now)
    }

    fn flush(&mut self, now: Timestamp) -> Vec<&'static str> {
        let before = self.events.len();
        for event in self.trackers.flush(now) {
            self.events.push(self.state.take(event, now));
        }
        for event in self.trackers.warnings(&self.state, now).events {
            self.events.push(self.state.take(event, now));
        }
        self.events[before..].iter().map(|event| event.event.kind()).collect()
    }

    fn session(&self, id: &str) -> &crate::state::Session {
        &self.state.sessions[&SessionId::new(id)]
    }
}

#[test]
fn history_is_in_the_state_but_makes_no_events() {
    let mut trackers = trackers(None);
    let file = trackers.file(Tool::ClaudeCode, "a.jsonl");
    trackers.record(file, &Record::Usage(usage("s", "m1", start(), [10, 5, 100, 900])), start());
    trackers.record(file, &Record::Usage(usage("s", "m1", start(), [10, 50, 100, 900])), start());
    trackers.set_counts(file, FileCounts { usage_records: 2, ..FileCounts::default() });
    let desk = Desk::begin(trackers, start().plus_ms(MINUTE_MS));
    assert_eq!(desk.session("s").usage.total(), Tokens(1_060));
    assert_eq!(desk.session("s").responses, 1);
    assert_eq!(desk.state.ingest.duplicate_lines, 1);
    assert_eq!(desk.state.today_usage().unwrap().usage.output, Tokens(50));
    assert_eq!(desk.state.seq, Seq(0));
    assert!(desk.state.log.is_empty());
    assert_eq!(desk.session("s").context.as_ref().unwrap().now.used, Some(Tokens(1_010)));
}

#[test]
fn sessions_of_days_past_stay_out_of_the_state_until_they_go_on() {
    let mut trackers = trackers(None);
    let file = trackers.file(Tool::ClaudeCode, "a.jsonl");
    trackers.record(file, &Record::Usage(usage("s", "m1", start(), [1, 1, 0, 0])), start());
    let later = start().plus_ms(48 * HOUR_MS);
    let mut desk = Desk::begin(trackers, later);
    assert!(desk.state.sessions.is_empty());
    let kinds = desk.feed(usage("s", "m2", later, [1, 1, 0, 0]), later);
    assert_eq!(kinds[0], "session:start");
    assert_eq!(desk.session("s").usage.total(), Tokens(4), "told with all its tokens, not only the new ones");
}

#[test]
fn one_burst_makes_one_event_of_a_kind_per_session() {
    let mut desk = Desk::begin(trackers(None), start());
    for i in 0..50 {
        let record = usage("s", &format!("m{i}"), start(), [1, 1, 1, 1]);
        desk.trackers.record(desk.file, &Record::Usage(record), start());
    }
    let kinds = desk.flush(start());
    assert_eq!(kinds.iter().filter(|kind| **kind == "session:tokens").count(), 1);
    assert_eq!(desk.session("s").usage.total(), Tokens(200));
}

#[test]
fn a_silent_session_turns_idle_then_ends_and_a_later_line_reopens_it() {
    let mut desk = Desk::begin(trackers(None), start());
    desk.feed(usage("s", "m1", start(), [1, 1, 0, 0]), start());
    assert_eq!(desk.session("s").phase, SessionPhase::Working);
    desk.flush(start().plus_ms(2 * MINUTE_MS));
    assert_eq!(desk.session("s").phase, SessionPhase::Idle);
    let kinds = desk.flush(start().plus_ms(30 * MINUTE_MS));
    assert!(kinds.contains(&"session:complete"), "{kinds:?}");
    assert_eq!(desk.session("s").phase, SessionPhase::Ended);
    assert_eq!(desk.flush(start().plus_ms(31 * MINUTE_MS)), Vec::<&str>::new(), "nothing more happens to it");
    let later = start().plus_ms(40 * MINUTE_MS);
    let kinds = desk.feed(usage("s", "m2", later, [1, 1, 0, 0]), later);
    assert_eq!(kinds[0], "session:start");
    assert_eq!(desk.session("s").phase, SessionPhase::Working);
}

#[test]
fn the_process_file_says_what_a_session_does() {
    let mut desk = Desk::begin(trackers(None), start());
    let presence = |status| Presence {
        session: SessionId::new("s"),
        status,
        alive: true,
        cwd: Some("/home/dev/payments-api".to_owned()),
        version: None,
        started_at: Some(start()),
        updated_at: Some(start()),
    };
    desk.trackers.presence(&[presence(PresenceStatus::Waiting)]);
    desk.flush(start());
    assert_eq!(desk.session("s").phase, SessionPhase::NeedsYou);
    assert_eq!(desk.session("s").project, "payments-api");
    let alerts = alert::alerts(&desk.state, start());
    assert_eq!(alert::words::title(&alerts[0]), "A session needs you");
    desk.trackers.presence(&[presence(PresenceStatus::Busy)]);
    desk.flush(start().plus_ms(2 * HOUR_MS));
    assert_eq!(desk.session("s").phase, SessionPhase::Working, "a living process outlasts any silence");
    desk.trackers.presence(&[]);
    desk.flush(start().plus_ms(2 * HOUR_MS));
    assert_eq!(desk.session("s").phase, SessionPhase::Ended);
}

#[test]
fn context_warns_once_a_level_and_again_after_a_compaction() {
    let mut desk = Desk::begin(trackers(None), start());
    // Of the usable 167,000: 54 %, 54 %, 84 %, 96 %.
    let mut warned = Vec::new();
    for (i, fill) in [90_000, 90_100, 140_000, 160_000].into_iter().enumerate() {
        let at = start().plus_ms(i as i64 * SECOND_MS);
        let kinds = desk.feed(usage("s", &format!("m{i}"), at, [0, 1, 0, fill]), at);
        warned.push(kinds.contains(&"context:warning"));
    }
    assert_eq!(warned, [true, false, true, true]);
    assert_eq!(desk.session("s").context_level(), Level::Critical);

    let at = start().plus_ms(10 * SECOND_MS);
    desk.trackers.record(
        desk.file,
        &Record::Compaction(Compaction {
            session: SessionId::new("s"),
            at: Some(at),
            trigger: CompactionTrigger::Auto,
            pre_tokens: Some(Tokens(160_000)),
            post_tokens: None,
        }),
        at,
    );
    desk.flush(at);
    let context = desk.session("s").context.clone().unwrap();
    assert_eq!((context.now.used, context.now.percent, context.now.status), (None, None, Level::Healthy));
    assert!(context.points.last().unwrap().compaction);
    let kinds = desk.feed(usage("s", "m9", at, [0, 1, 0, 100_000]), at);
    assert!(kinds.contains(&"context:warning"), "re-armed: {kinds:?}");
}

#[test]
fn without_a_plan_the_share_is_unknown_and_with_one_it_is_an_estimate() {
    let record = || usage("s", "m", start(), [4_000, 5_500, 70_000, 900_000]);
    let mut desk = Desk::begin(trackers(None), start());
    desk.feed(record(), start());
    let quota = desk.state.five_hour().unwrap().now.clone();
    assert_eq!((quota.used, quota.limit, quota.percent), (Tokens(9_500), None, None));
    assert_eq!(quota.provenance, Provenance::Estimated);
    assert_eq!(quota.reset_time, Some(start().plus_ms(5 * HOUR_MS)));

    let mut desk = Desk::begin(trackers(Some(Plan::Pro)), start());
    desk.feed(record(), start());
    let quota = desk.state.five_hour().unwrap().now.clone();
    assert_eq!((quota.limit, quota.percent), (Some(Tokens(19_000)), Some(50.0)));
}

#[test]
fn quota_warns_once_and_again_in_the_next_window() {
    let mut desk = Desk::begin(trackers(Some(Plan::Pro)), start());
    let warned = |kinds: Vec<&str>| kinds.contains(&"quota:warning");
    assert!(warned(desk.feed(usage("s", "m1", start(), [16_000, 0, 0, 0]), start())));
    assert!(!warned(desk.feed(usage("s", "m2", start(), [100, 0, 0, 0]), start())));
    assert!(warned(desk.feed(usage("s", "m3", start(), [2_500, 0, 0, 0]), start())));
    assert_eq!(desk.state.five_hour().unwrap().now.status, Level::Critical);

    let reset = start().plus_ms(5 * HOUR_MS);
    desk.flush(reset);
    let quota = desk.state.five_hour().unwrap().now.clone();
    assert_eq!((quota.used, quota.percent, quota.status), (Tokens(0), Some(0.0), Level::Healthy));
    let later = reset.plus_ms(HOUR_MS);
    assert!(warned(desk.feed(usage("s", "m4", later, [16_000, 0, 0, 0]), later)));
}

#[test]
fn what_the_vendor_says_goes_before_an_estimate_until_its_reset() {
    let mut desk = Desk::begin(trackers(Some(Plan::Pro)), start());
    desk.feed(usage("s", "m1", start(), [1_900, 0, 0, 0]), start());
    let resets_at = start().plus_ms(HOUR_MS);
    let report = RateLimitReport {
        limit: LimitKey::five_hour(Tool::ClaudeCode),
        at: start(),
        used_percent: Some(63.0),
        resets_at: Some(resets_at),
        rejected: false,
        session: None,
    };
    desk.trackers.record(desk.file, &Record::RateLimit(report), start());
    desk.flush(start());
    let quota = desk.state.five_hour().unwrap().now.clone();
    assert_eq!(
        (quota.percent, quota.provenance, quota.reset_time),
        (Some(63.0), Provenance::Official, Some(resets_at))
    );
    desk.flush(resets_at);
    let quota = desk.state.five_hour().unwrap().now.clone();
    assert_eq!((quota.percent, quota.provenance), (Some(10.0), Provenance::Estimated));
}

#[test]
fn a_session_is_blocked_while_its_newest_request_was_refused() {
    let at = |seconds: i64| start().plus_ms(seconds * SECOND_MS);
    let refusal = || {
        Record::RateLimit(RateLimitReport {
            limit: LimitKey::five_hour(Tool::ClaudeCode),
            at: at(10),
            used_percent: None,
            resets_at: Some(at(3_600)),
            rejected: true,
            session: Some(SessionId::new("s")),
        })
    };
    let answer = |seconds| Record::Usage(usage("s", "m1", at(seconds), [1, 1, 0, 0]));
    for (records, phase) in [
        ([answer(5), refusal()], SessionPhase::Blocked),
        ([refusal(), answer(5)], SessionPhase::Blocked),
        ([answer(11), refusal()], SessionPhase::Working),
        ([refusal(), answer(11)], SessionPhase::Working),
    ] {
        let mut desk = Desk::begin(trackers(None), start());
        records.iter().for_each(|record| desk.trackers.record(desk.file, record, at(20)));
        desk.flush(at(20));
        assert_eq!(desk.session("s").phase, phase);
        assert_eq!(desk.state.five_hour().unwrap().now.blocked, phase == SessionPhase::Blocked);
        assert_eq!(desk.state.five_hour().unwrap().now.percent, (phase == SessionPhase::Blocked).then_some(100.0));
    }
}

#[test]
fn a_part_that_fails_is_told_of_once_and_again_when_it_fails_anew() {
    let mut desk = Desk::begin(trackers(None), start());
    let health = |status| {
        let part = crate::event::ComponentHealth { status, message: String::new() };
        HealthCheck { status, clients: 0, components: BTreeMap::from([("store".to_owned(), part)]) }
    };
    let told = |desk: &mut Desk, status| {
        desk.trackers.health(health(status));
        desk.flush(start()).iter().filter(|kind| **kind == "health:error").count()
    };
    assert_eq!(told(&mut desk, HealthStatus::Healthy), 0);
    assert_eq!(told(&mut desk, HealthStatus::Degraded), 1);
    assert_eq!(told(&mut desk, HealthStatus::Degraded), 0);
    let failure = HealthError { component: "store".to_owned(), error: "disk full".to_owned(), timestamp: start() };
    desk.trackers.failure(&failure);
    assert_eq!(told(&mut desk, HealthStatus::Degraded), 1, "another file, say");
    assert_eq!(told(&mut desk, HealthStatus::Unhealthy), 1);
    assert_eq!(told(&mut desk, HealthStatus::Healthy), 0);
    assert_eq!(told(&mut desk, HealthStatus::Degraded), 1);
    assert_eq!(desk.state.last_failure.as_ref().unwrap().component, "store");
    let text = serde_json::to_string(&desk.events).unwrap();
    assert!(!text.contains("disk full"), "no sentence travels");
}

#[test]
fn what_was_told_before_a_restart_is_not_told_again() {
    let feed = |desk: &mut Desk, message: &str, fill| {
        let kinds = desk.feed(usage("s", message, start(), [0, 1, 0, fill]), start());
        kinds.contains(&"context:warning")
    };
    let mut desk = Desk::begin(trackers(None), start());
    assert!(feed(&mut desk, "m1", 160_000), "critical");
    let kept = serde_json::to_string(desk.trackers.memory()).unwrap();

    let mut trackers = trackers(None);
    trackers.set_memory(serde_json::from_str(&kept).unwrap());
    let mut desk = Desk::begin(trackers, start());
    assert!(!feed(&mut desk, "m1", 160_000), "read again");
    assert!(!feed(&mut desk, "m2", 165_000));
}

#[test]
fn figures_that_read_the_same_are_no_line_in_the_log() {
    let mut desk = Desk::begin(trackers(Some(Plan::Pro)), start());
    desk.feed(usage("s", "m1", start(), [1_900, 0, 0, 0]), start());
    let lines = |desk: &Desk| desk.state.log.iter().filter(|line| line.kind() == "quota:update").count();
    let before = lines(&desk);
    let kinds = desk.feed(usage("s", "m2", start(), [1, 0, 0, 0]), start());
    assert!(kinds.contains(&"quota:update"));
    assert_eq!(lines(&desk), before, "10.0 % still, and 1.90k tokens");
    desk.feed(usage("s", "m3", start(), [1_900, 0, 0, 0]), start());
    assert_eq!(lines(&desk), before + 2);
}

#[test]
fn what_another_tool_uses_is_in_the_totals_but_in_no_window_of_claude() {
    let mut desk = Desk::begin(trackers(Some(Plan::Pro)), start());
    desk.feed(usage("s", "m1", start(), [1_900, 0, 0, 0]), start());
    let codex = desk.trackers.file(Tool::Codex, "rollout.jsonl");
    let used = UsageRecord {
        tool: Tool::Codex,
        model: ModelId::new("gpt-5.5"),
        ..usage("c", "row", start(), [9_000, 1_000, 0, 30_000])
    };
    let resets_at = Some(start().plus_ms(HOUR_MS));
    let (five_hour, weekly) = (LimitKey::five_hour(Tool::Codex), LimitKey::weekly(Tool::Codex));
    let report = |limit: &LimitKey, used_percent| {
        let used_percent = Some(used_percent);
        let (limit, at, rejected, session) = (limit.clone(), start(), false, None);
        Record::RateLimit(RateLimitReport { limit, at, used_percent, resets_at, rejected, session })
    };
    let fill = |used| {
        let (session, at, model) = ("c".into(), Some(start()), ModelId::new("gpt-5.5"));
        Record::Context(ContextFill {
            tool: Tool::Codex,
            session,
            at,
            model,
            used: Tokens(used),
            window: Tokens(258_400),
        })
    };
    for record in [Record::Usage(used), fill(39_000), report(&five_hour, 99.0), report(&weekly, 98.0), fill(129_200)] {
        desk.trackers.record(codex, &record, start());
    }
    desk.flush(start());
    assert_eq!(desk.state.today_usage().unwrap().usage.total(), Tokens(41_900));
    let quota = desk.state.five_hour().unwrap().now.clone();
    assert_eq!((quota.used, quota.percent, quota.provenance), (Tokens(1_900), Some(10.0), Provenance::Estimated));
    assert_eq!(quota.used_by.iter().map(|share| share.own_percent).collect::<Vec<_>>(), [100.0]);
    let week = desk.state.seven_day().unwrap().now.clone();
    assert_eq!((week.used, week.percent), (Tokens(1_900), None));
    let said: Vec<_> = desk.trackers.rate_limits(Tool::Codex).map(|reading| reading.percent).collect();
    assert_eq!(said, [Some(99.0), Some(98.0)]);
    assert_eq!(desk.trackers.rate_limits(Tool::ClaudeCode).count(), 0);
    let limit = desk.state.limits[&five_hour].now.clone();
    assert_eq!((limit.percent, limit.status, limit.used), (Some(99.0), Level::Critical, Tokens(10_000)));
    assert_eq!((limit.provenance, limit.used_by[0].project.as_str()), (Provenance::Official, "c"));
    let warned = |key: &LimitKey| {
        let subject = AlertSubject::Limit(key.clone());
        let of_key = |event: &SequencedEvent| matches!(&event.event, Event::QuotaWarning(alert) if alert.condition.subject() == subject);
        desk.events.iter().filter(|event| of_key(event)).count()
    };
    assert_eq!((warned(&five_hour), warned(&weekly)), (1, 1), "warned of like any limit");
    let line = desk.state.log.iter().rfind(|line| line.kind() == "quota:update").unwrap();
    assert_eq!((line.subject().as_str(), line.change().as_str()), ("Codex Weekly", "98.0\u{202f}%"));
    desk.trackers.record(codex, &report(&five_hour, 99.0), start());
    assert_eq!(desk.flush(start()), Vec::<&str>::new(), "said once more");

    assert_eq!((desk.session("s").tool, desk.session("c").tool), (Tool::ClaudeCode, Tool::Codex));
    let limit = |id: &str| {
        desk.events.iter().rev().find_map(|event| match &event.event {
            Event::SessionTokens(tokens) if tokens.id.as_str() == id => Some(tokens.total),
            _ => None,
        })
    };
    assert_eq!((limit("s"), limit("c")), (Some(Some(Tokens(19_000))), Some(None)));
    let context = desk.session("c").context.clone().unwrap().now;
    assert_eq!((context.used, context.limit, context.percent), (Some(Tokens(129_200)), Tokens(258_400), Some(50.0)));
    assert_eq!(context.compact_at, Tokens(244_800));
}

#[test]
fn an_estimate_that_history_may_still_change_neither_alerts_nor_holds_its_level() {
    let mut trackers = trackers(Some(Plan::Pro));
    let file = trackers.file(Tool::ClaudeCode, "a.jsonl");
    // Of the block begun five hours ago or earlier, as older files will tell; not of one begun now.
    let record = |id: &str, ms| Record::Usage(usage("s", id, start().plus_ms(ms), [18_900, 0, 0, 0]));
    trackers.reading_history(start().plus_ms(-HOUR_MS));
    trackers.record(file, &record("m1", 0), start());
    let mut desk = Desk::begin(trackers, start());
    let is_critical = |desk: &Desk| desk.state.five_hour().unwrap().now.status == Level::Critical;
    assert!(!desk.state.five_hour().unwrap().now.complete);
    assert!(is_critical(&desk) && alert::alerts(&desk.state, start()).is_empty(), "shown, but no reason to alert");
    // Everything is read: the use was of a window that has ended since.
    desk.trackers.retract_file(desk.file, start());
    desk.trackers.history_read(start(), |_, _| None);
    desk.flush(start().plus_ms(SECOND_MS));
    assert!(!is_critical(&desk), "the level does not hold for a minute");
}

#[test]
fn unpriced_models_are_counted_and_named_not_free() {
    let mut desk = Desk::begin(trackers(None), start());
    let record = UsageRecord { model: ModelId::new("brand-new-model"), ..usage("s", "m", start(), [5, 5, 0, 0]) };
    desk.feed(record, start());
    assert_eq!(desk.state.ingest.unpriced, 1);
    assert_eq!(desk.state.ingest.unpriced_models, [ModelId::new("brand-new-model")]);
    assert_eq!(desk.session("s").cost.known(), None);
}

#[test]
fn subagents_count_in_their_session_and_by_themselves() {
    let mut desk = Desk::begin(trackers(None), start());
    let agent =
        UsageRecord { agent: Some(AgentId::new("a1")), sidechain: true, ..usage("s", "m2", start(), [0, 300, 0, 0]) };
    desk.feed(usage("s", "m1", start(), [60, 40, 0, 0]), start());
    desk.feed(agent, start());
    let session = desk.session("s");
    assert_eq!(session.usage.total(), Tokens(400));
    assert_eq!(session.agents[&AgentId::new("a1")].total, Tokens(300));
    let shares = &desk.state.five_hour().unwrap().now.used_by;
    assert_eq!((shares[0].own_percent, shares[0].agents_percent), (25.0, 75.0));
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Session, message, seconds since the one before, output tokens, sidechain.
    type Line = (u8, u8, u16, u16, bool);

    fn lines() -> impl Strategy<Value = Vec<Line>> {
        proptest::collection::vec((0u8..3, 0u8..12, 0u16..900, 0u16..9_000, any::<bool>()), 1..60)
    }

    fn records(lines: &[Line]) -> Vec<UsageRecord> {
        let mut at = start();
        let record = |&(session, message, seconds, output, sidechain): &Line| {
            at = at.plus_ms(i64::from(seconds) * SECOND_MS);
            UsageRecord {
                sidechain,
                ..usage(&format!("s{session}"), &format!("m{message}"), at, [1, u64::from(output), 2, 30_000])
            }
        };
        lines.iter().map(record).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_state_built_in_pieces_equals_one_built_at_once(lines in lines(), cut in any::<prop::sample::Index>()) {
            let records = records(&lines);
            let cut = cut.index(records.len());
            let mut desk = Desk::begin(trackers(Some(Plan::Pro)), start());
            let mut snapshot = (DashboardState::default(), 0);
            for (i, record) in records.iter().enumerate() {
                desk.feed(record.clone(), record.at.unwrap());
                if i == cut {
                    let text = serde_json::to_string(&desk.state).unwrap();
                    snapshot = (serde_json::from_str(&text).unwrap(), desk.events.len());
                }
            }
            // Through JSON, as over the wire.
            let (mut later, from) = snapshot;
            for event in &desk.events[from..] {
                let text = serde_json::to_string(event).unwrap();
                later.apply(&serde_json::from_str(&text).unwrap());
            }
            prop_assert_eq!(&later, &desk.state);

            // Read as history, the figures are the same as when watched.
            let mut all = trackers(Some(Plan::Pro));
            let file = all.file(Tool::ClaudeCode, "a.jsonl");
            for record in &records {
                all.record(file, &Record::Usage(record.clone()), record.at.unwrap());
            }
            let whole = all.begin(records.last().unwrap().at.unwrap());
            prop_assert_eq!(&whole.ingest, &desk.state.ingest);
            prop_assert_eq!(&whole.days, &desk.state.days);
            for (id, session) in &whole.sessions {
                let watched = &desk.state.sessions[id];
                prop_assert_eq!(session.usage, watched.usage);
                prop_assert_eq!(session.cost, watched.cost);
                prop_assert_eq!(session.context.as_ref().map(|c| c.now.used), watched.context.as_ref().map(|c| c.now.used));
            }
            let quota = |state: &DashboardState| state.five_hour().map(|w| (w.now.used, w.now.reset_time, w.now.percent));
            prop_assert_eq!(quota(&whole), quota(&desk.state));
        }
    }
}

/// Files, the store that has their records, and trackers that hold only what they need.
#[cfg(not(target_arch = "wasm32"))]
mod retraction {
    use super::*;
    use crate::record::{AgentMeta, ApiError, ApiErrorKind, SessionMeta};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const FILES: [&str; 4] = ["a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"];

    /// What may happen. Records are drawn by number, so that files repeat each other's.
    #[derive(Clone, Debug)]
    enum Step {
        Append(usize, u8),
        Truncate(usize, prop::sample::Index),
        Rewrite(usize, Vec<u8>),
        Archive(usize),
        Release,
        Flush(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let file = || 0..FILES.len();
        prop_oneof![
            8 => (file(), any::<u8>()).prop_map(|(file, record)| Step::Append(file, record)),
            1 => (file(), any::<prop::sample::Index>()).prop_map(|(file, at)| Step::Truncate(file, at)),
            1 => (file(), prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(file, to)| Step::Rewrite(file, to)),
            1 => file().prop_map(Step::Archive),
            2 => Just(Step::Release),
            3 => (0u16..2_000).prop_map(Step::Flush),
        ]
    }

    /// The record of this number, as the line at `offset` of a file has it.
    fn record(number: u8, offset: usize) -> Record {
        let session = format!("s{}", number % 3);
        let at = start().plus_ms(i64::from(number / 2) * 40 * SECOND_MS - 20 * HOUR_MS * i64::from(number % 5 / 4));
        let id = SessionId::new(session.as_str());
        if number % 29 == 7 {
            return Record::RateLimit(RateLimitReport {
                limit: LimitKey::five_hour(Tool::ClaudeCode),
                at,
                used_percent: number.is_multiple_of(2).then(|| f64::from(number % 100)),
                resets_at: Some(start().plus_ms(HOUR_MS)),
                rejected: !number.is_multiple_of(2),
                session: Some(id),
            });
        }
        match number / 3 % 9 {
            0..5 => {
                let agent = (number % 4 == 1).then(|| AgentId::new(format!("a{}", number % 2)));
                let place = Place { byte_offset: offset as u64, index: 0 };
                let message = format!("m{}", number % 11);
                let tokens = [1, u64::from(number), 2, 30_000 + 400 * u64::from(number)];
                let sidechain = agent.is_some() || number % 13 == 5;
                let usage = usage(&session, &message, at, tokens);
                let id = if number.is_multiple_of(17) { ResponseId::Alone { request: None } } else { usage.id };
                Record::Usage(UsageRecord { agent, sidechain, place, id, ..usage })
            }
            5 => Record::Session(SessionMeta {
                tool: Tool::ClaudeCode,
                session: id,
                agent: (number % 4 == 1).then(|| AgentId::new(format!("a{}", number % 2))),
                cwd: Some(format!("/home/ada/p{}", number % 7)),
                branch: Some(format!("b{}", number % 5)),
                version: None,
                at: Some(at),
            }),
            6 => Record::Agent(AgentMeta {
                session: id,
                agent: AgentId::new(format!("a{}", number % 2)),
                agent_type: Some(format!("t{}", number % 4)),
            }),
            7 => Record::Compaction(Compaction {
                session: id,
                at: Some(at),
                trigger: CompactionTrigger::Auto,
                pre_tokens: None,
                post_tokens: Some(Tokens(u64::from(number) * 100)),
            }),
            _ => Record::ApiError(ApiError { session: id, at: Some(at), kind: ApiErrorKind::Overloaded }),
        }
    }

    struct World {
        desk: Desk,
        ids: Vec<FileId>,
        /// What each file says, and whether it is there.
        files: Vec<(Vec<Record>, bool)>,
        now: Timestamp,
    }

    impl World {
        fn new() -> Self {
            let mut trackers = trackers(Some(Plan::Pro));
            let ids = FILES.iter().map(|name| trackers.file(Tool::ClaudeCode, name)).collect();
            let desk = Desk::begin(trackers, start());
            Self { desk, ids, files: vec![(Vec::new(), true); FILES.len()], now: start() }
        }

        /// Recalls from the store, which has everything, as the engine does.
        fn recall(&mut self, needs: &Needs) {
            let of_session = |(records, _): &(Vec<Record>, bool)| {
                records.iter().any(|it| it.session().is_some_and(|id| needs.sessions.contains(id)))
            };
            let files: Vec<usize> = (0..self.files.len())
                .filter(|&at| needs.files.contains(&self.ids[at]) || of_session(&self.files[at]))
                .collect();
            let trackers = &mut self.desk.trackers;
            let mut messages: BTreeSet<MessageId> = needs.messages.iter().copied().collect();
            for &at in &files {
                if trackers.ledger().is_loaded(self.ids[at]) {
                    continue;
                }
                for record in &self.files[at].0 {
                    let Record::Usage(usage) = record else { continue };
                    match usage.id.message() {
                        Some(message) => messages.extend(Some(message).filter(|&it| !trackers.ledger().is_held(it))),
                        None => trackers.recall_claims([(self.ids[at], usage)]),
                    }
                }
            }
            for (at, (records, _)) in self.files.iter().enumerate() {
                let claims = records.iter().filter_map(|record| match record {
                    Record::Usage(usage) if usage.id.message().is_some_and(|it| messages.contains(&it)) => Some(usage),
                    _ => None,
                });
                trackers.recall_claims(claims.map(|usage| (self.ids[at], usage)));
            }
            files.iter().for_each(|&at| trackers.loaded(self.ids[at]));
            let files = files.iter().map(|&at| (self.ids[at], self.files[at].0.as_slice()));
            trackers.recall_sessions(&needs.sessions, files, self.now);
        }

        fn append(&mut self, at: usize, number: u8) {
            let record = record(number, self.files[at].0.len());
            let needs = self.desk.trackers.needs(self.ids[at], [&record]);
            self.recall(&needs);
            self.desk.trackers.file(Tool::ClaudeCode, FILES[at]);
            self.desk.trackers.record(self.ids[at], &record, self.now);
            self.files[at].0.push(record);
            self.files[at].1 = true;
        }

        fn retract(&mut self, at: usize) {
            let needs = self.desk.trackers.needs_to_retract(self.ids[at]);
            self.recall(&needs);
            self.desk.trackers.retract_file(self.ids[at], self.now);
            self.files[at].0.clear();
        }

        fn step(&mut self, step: &Step) {
            match step {
                Step::Append(at, number) => self.append(*at, *number),
                Step::Truncate(at, index) => {
                    let kept = self.files[*at].0[..index.index(self.files[*at].0.len() + 1)].to_vec();
                    self.retract(*at);
                    for record in kept {
                        let needs = self.desk.trackers.needs(self.ids[*at], [&record]);
                        self.recall(&needs);
                        self.desk.trackers.record(self.ids[*at], &record, self.now);
                        self.files[*at].0.push(record);
                    }
                }
                Step::Rewrite(at, numbers) => {
                    self.retract(*at);
                    numbers.iter().for_each(|&number| self.append(*at, number));
                }
                Step::Archive(at) => {
                    self.desk.trackers.archive_file(self.ids[*at]);
                    self.files[*at].1 = false;
                }
                Step::Release => self.desk.trackers.release(|_| true, self.now),
                Step::Flush(seconds) => {
                    self.now = self.now.plus_ms(i64::from(*seconds) * SECOND_MS);
                    self.desk.flush(self.now);
                }
            }
        }
    }

    /// A session, without what depends on when it was looked at.
    fn outline(session: &crate::state::Session, now: Timestamp) -> impl PartialEq + std::fmt::Debug + use<> {
        let context = session.context.as_ref().map(|context| {
            let now = &context.now;
            (now.used, now.limit, now.percent, now.status, now.model.clone(), now.as_of)
        });
        // The state drops minutes out of reach with the session's next tokens.
        let oldest = now.plus_ms(-300 * MINUTE_MS).minute();
        let minutes: Vec<_> = session.minutes.iter().filter(|it| it.minute > oldest).copied().collect();
        let mut agents: Vec<_> = session.agents.values().cloned().collect();
        agents.iter_mut().for_each(|agent| agent.rate = Tokens::ZERO);
        (
            (session.project.clone(), session.cwd.clone(), session.branch.clone(), session.model.clone()),
            (session.phase, session.started_at, session.last_activity, session.last_error),
            (session.usage, session.cost, session.responses, minutes),
            (agents, session.agents_rest, context),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn whatever_happens_to_files_the_state_is_that_of_one_clean_read(steps in prop::collection::vec(step(), 1..60)) {
            let mut world = World::new();
            steps.iter().for_each(|step| world.step(step));
            // Levels fall a minute later.
            for seconds in [0, 61, 61, 1] {
                world.step(&Step::Flush(seconds));
            }
            let mut fresh = trackers(Some(Plan::Pro));
            for (at, (records, present)) in world.files.iter().enumerate() {
                let file = fresh.file(Tool::ClaudeCode, FILES[at]);
                records.iter().for_each(|record| fresh.record(file, record, world.now));
                if !present {
                    fresh.archive_file(file);
                }
            }
            let mut expected = fresh.begin(world.now);
            for event in fresh.flush(world.now) {
                expected.apply_silently(&event, world.now);
            }
            let found = &world.desk.state;
            // Sessions of days past that were shown when they were withdrawn or went on may still be: nothing of
            // today may be missing or different.
            for (id, session) in &expected.sessions {
                let known = found.sessions.get(id).map(|it| outline(it, world.now));
                prop_assert_eq!(known, Some(outline(session, world.now)), "{}", id);
            }
            for id in found.sessions.keys().filter(|id| !expected.sessions.contains_key(id)) {
                prop_assert!(fresh.facts_of(id).is_some(), "{} is shown and nothing is known of it", id);
            }
            let limits = |state: &DashboardState| -> Vec<_> {
                let figures = |limit: &crate::state::LimitState| {
                    let now = &limit.now;
                    // Of sessions held no more, the directory is the one known when they were let go.
                    let used_by = now.used_by.clone().into_iter().filter(|_| now.key.window == WindowMinutes::FIVE_HOURS);
                    let used = (now.used, used_by.collect::<Vec<_>>(), now.models.clone());
                    (now.key.clone(), used, now.percent, now.reset_time, now.provenance, now.blocked, now.complete)
                };
                state.limits.values().map(figures).collect()
            };
            prop_assert_eq!(limits(found), limits(&expected));
            prop_assert_eq!(&found.days, &expected.days);
            prop_assert_eq!((found.ingest.responses, found.ingest.unpriced), (expected.ingest.responses, expected.ingest.unpriced));
            // From then on, the same happens.
            let record = record(0, 1_000);
            let needs = world.desk.trackers.needs(world.ids[0], [&record]);
            world.recall(&needs);
            for trackers in [&mut world.desk.trackers, &mut fresh] {
                let file = trackers.file(Tool::ClaudeCode, FILES[0]);
                trackers.record(file, &record, world.now);
            }
            let tokens = |trackers: &mut Trackers| {
                let events = trackers.flush(world.now);
                events.into_iter().filter_map(|it| if let Event::SessionTokens(it) = it { Some((it.id, it.usage)) } else { None }).collect::<Vec<_>>()
            };
            prop_assert_eq!(tokens(&mut world.desk.trackers), tokens(&mut fresh));
        }
    }

    #[test]
    fn what_is_read_again_makes_no_event_again() {
        let mut world = World::new();
        let later = start().plus_ms(MINUTE_MS);
        world.now = later;
        let id = SessionId::new("s0");
        let error = Record::ApiError(ApiError { session: id.clone(), at: Some(later), kind: ApiErrorKind::Overloaded });
        let fill = Record::Usage(usage("s0", "m1", later, [0, 1, 0, 160_000]));
        let compaction = Record::Compaction(Compaction {
            session: id,
            at: Some(later.plus_ms(1)),
            trigger: CompactionTrigger::Auto,
            pre_tokens: None,
            post_tokens: Some(Tokens(140_000)),
        });
        let mut kinds: Vec<Vec<&str>> = Vec::new();
        for _ in 0..3 {
            world.retract(0);
            world.desk.flush(later);
            for record in [&error, &fill, &compaction] {
                world.desk.trackers.record(world.ids[0], record, later);
                let compacted = |event: &SequencedEvent| match &event.event {
                    Event::ContextUpdate(update) => update.compaction.map(|_| "compaction"),
                    Event::SessionError(_) => Some("session:error"),
                    Event::ContextWarning(_) => Some("context:warning"),
                    _ => None,
                };
                let from = world.desk.events.len();
                world.desk.flush(later);
                kinds.push(world.desk.events[from..].iter().filter_map(compacted).collect());
            }
        }
        let first: Vec<&str> = kinds[..3].iter().flatten().copied().collect();
        assert_eq!(first, ["session:error", "context:warning", "compaction", "context:warning"]);
        assert_eq!(kinds[3..].iter().flatten().count(), 0, "{kinds:?}");
    }

    #[test]
    fn a_time_to_come_is_unknown_until_it_has_come() {
        let mut world = World::new();
        let ahead = start().plus_ms(2 * HOUR_MS);
        let line = Record::Usage(usage("s0", "m1", ahead, [1, 9, 0, 0]));
        world.desk.trackers.record(world.ids[0], &line, start());
        world.desk.trackers.record(world.ids[0], &Record::Usage(usage("s1", "m2", start(), [1, 1, 0, 0])), start());
        world.desk.flush(start());
        assert_eq!(world.desk.state.ingest.future_times, 1);
        assert_eq!(world.desk.state.today_usage().unwrap().responses, 1, "of no day yet");
        assert_eq!(world.desk.state.focus(None).unwrap().id.as_str(), "s1");
        assert_eq!(world.desk.state.five_hour().unwrap().now.used, Tokens(2));
        world.desk.flush(ahead);
        assert_eq!(world.desk.state.ingest.future_times, 0);
        assert_eq!(world.desk.state.today_usage().unwrap().responses, 2);
        assert_eq!(world.desk.state.focus(None).unwrap().id.as_str(), "s0");
        assert_eq!(world.desk.state.five_hour().unwrap().now.used, Tokens(12));
    }
}

/// Tells of an official share of the five-hour limit.
fn reading(at: Timestamp, percent: f64, resets_at: Timestamp) -> Record {
    Record::RateLimit(RateLimitReport {
        limit: LimitKey::five_hour(Tool::ClaudeCode),
        at,
        used_percent: Some(percent),
        resets_at: Some(resets_at),
        rejected: false,
        session: None,
    })
}

#[test]
fn a_reset_that_came_while_the_dashboard_was_down_is_told_once() {
    let reset = start().plus_ms(HOUR_MS);
    let near = reading(start(), 96.0, reset);
    let mut desk = Desk::begin(trackers(None), start());
    assert!(desk.say(near.clone(), start()).contains(&"quota:warning"));
    let mut kept = desk.trackers.memory().clone();

    for (minutes, expected) in [(10, 1), (11, 0), (45, 0)] {
        let mut trackers = trackers(None);
        trackers.set_memory(kept);
        let file = trackers.file(Tool::ClaudeCode, "a");
        let now = reset.plus_ms(minutes * MINUTE_MS);
        trackers.record(file, &near, now);
        let mut desk = Desk::begin(trackers, now);
        let told = desk.flush(now).iter().filter(|kind| **kind == "quota:warning").count();
        assert_eq!(told, expected, "{minutes} min after the reset");
        kept = desk.trackers.memory().clone();
    }
}

#[test]
fn levels_follow_the_settings_at_once() {
    let mut desk = Desk::begin(trackers(None), start());
    desk.say(reading(start(), 70.0, start().plus_ms(HOUR_MS)), start());
    let level = |desk: &Desk| desk.state.five_hour().unwrap().now.status;
    assert_eq!(level(&desk), Level::Healthy);
    let mut settings = Settings::default();
    settings.set(SettingKey::QuotaLevels, "50,60,65").unwrap();
    desk.trackers.set_settings(settings.clone());
    let kinds = desk.flush(start());
    assert!(kinds.contains(&"settings:update") && kinds.contains(&"quota:warning"), "{kinds:?}");
    assert_eq!((level(&desk), &desk.state.settings), (Level::Critical, &settings));
}

#[test]
fn what_is_snoozed_is_told_in_the_log_and_due_when_the_snooze_is_over() {
    let mut desk = Desk::begin(trackers(None), start());
    desk.trackers.snooze(Some(start().plus_ms(10 * MINUTE_MS)));
    assert_eq!(desk.flush(start()), ["alerts:silence"]);
    let file = desk.trackers.file(Tool::ClaudeCode, "a");
    desk.trackers.record(file, &reading(start(), 96.0, start().plus_ms(HOUR_MS)), start());
    for event in desk.trackers.flush(start()) {
        desk.state.take(event, start());
    }
    let at = |minutes: i64| start().plus_ms(minutes * MINUTE_MS);
    let warnings = desk.trackers.warnings(&desk.state, at(0));
    assert_eq!((warnings.events.len(), warnings.due.len()), (2, 0), "near, and reset within the hour");
    let subjects = |due: Vec<Alert>| due.iter().map(|alert| alert.condition.as_str()).collect::<Vec<_>>();
    assert_eq!(subjects(desk.trackers.warnings(&desk.state, at(10)).due), ["limit_near", "reset_ahead"]);
    assert_eq!(subjects(desk.trackers.warnings(&desk.state, at(11)).due), [""; 0]);
}

#[test]
fn an_acknowledged_alert_is_in_the_state_and_no_longer_open() {
    let mut desk = Desk::begin(trackers(None), start());
    desk.say(reading(start(), 81.0, start().plus_ms(3 * HOUR_MS)), start());
    let subject = AlertSubject::Limit(LimitKey::five_hour(Tool::ClaudeCode));
    assert!(desk.trackers.acknowledge(&subject, &desk.state, start()));
    assert!(!desk.trackers.acknowledge(&AlertSubject::NeedsYou("s".into()), &desk.state, start()));
    assert_eq!(desk.flush(start()), ["alerts:silence"]);
    assert!(alert::open(&desk.state, start()).is_empty() && !alert::alerts(&desk.state, start()).is_empty());
    desk.say(reading(start(), 91.0, start().plus_ms(3 * HOUR_MS)), start());
    assert_eq!(alert::open(&desk.state, start()).len(), 1);
}

#[test]
fn budgets_that_old_history_fills_are_no_news() {
    let mut config = TrackerConfig { zone: ZoneOffsets::utc(), ..TrackerConfig::default() };
    config.settings.set(SettingKey::Budget, "day=0.01").unwrap();
    let trackers = || Trackers::new(config.clone(), Arc::new(PriceTable::embedded()));
    let mut desk = Desk::begin(trackers(), start());
    desk.trackers.progress(Some(ReadProgress::default()));
    assert!(!desk.feed(usage("s", "m1", start(), [0, 100_000, 0, 0]), start()).contains(&"usage:warning"));
    desk.trackers.progress(None);
    assert!(!desk.flush(start()).contains(&"usage:warning"));
    assert!(!desk.flush(start()).contains(&"usage:warning"));

    let mut desk = Desk::begin(trackers(), start());
    assert!(desk.feed(usage("s", "m1", start(), [0, 100_000, 0, 0]), start()).contains(&"usage:warning"));
}
