//! What limits promise: the order of reading does not matter, what is said can be unsaid, blocks are those of
//! reports, and a window's users are weighed by what it counts.

use super::*;
use crate::event::QuotaShare;
use crate::ids::{AgentId, MessageId, ModelId};
use crate::level::Level;
use crate::record::{Place, ResponseId, UsageRecord};
use crate::time::{HOUR_MS, SECOND_MS};
use crate::units::{Cost, TokenUsage};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const OPUS: &str = "claude-opus-4-5-20251101";
const SONNET: &str = "claude-sonnet-4-5-20250929";

fn start() -> Timestamp {
    Timestamp::parse("2026-09-20T10:00:00Z").unwrap()
}

fn files(count: usize) -> Vec<FileId> {
    let mut ledger = Ledger::default();
    (0..count).map(|i| ledger.file(Tool::ClaudeCode, &format!("{i}.jsonl"))).collect()
}

fn usage(session: &str, model: &str, at: Timestamp, quota: u64) -> UsageRecord {
    UsageRecord {
        tool: Tool::ClaudeCode,
        session: session.into(),
        agent: None,
        sidechain: false,
        id: ResponseId::of(Some(MessageId::of("m")), None),
        model: ModelId::new(model),
        at: Some(at),
        usage: TokenUsage {
            input: Tokens(quota),
            cache_read: Tokens(1_000_000 / (quota + 1)),
            ..TokenUsage::default()
        },
        place: Place::default(),
        bad_counts: 0,
    }
}

/// A tracker with what it last told.
struct Desk {
    quota: QuotaTracker,
    told: BTreeMap<LimitKey, QuotaUpdate>,
}

impl Desk {
    fn new() -> Self {
        Self {
            quota: QuotaTracker::new(Some(Plan::Pro), Mode::Live, QuotaLevels::default(), ZoneOffsets::utc()),
            told: BTreeMap::new(),
        }
    }

    fn respond(&mut self, record: &UsageRecord) {
        self.quota.change(PricedChange { record, cost: Cost::default(), added: true });
    }

    fn flush(&mut self, now: Timestamp) {
        let directory = |id: &SessionId| id.as_str().strip_prefix("at:").map(|_| "/home/ada/web/api");
        let of = |id: &SessionId| match id.as_str() {
            "web" => Some("/home/ada/web/api"),
            "shop" => Some("/home/ada/shop/api"),
            _ => directory(id).map(|_| "/home/ada/web/api"),
        };
        let mut events = Vec::new();
        self.quota.flush(now, &of, false, &mut events);
        for event in events {
            let Event::QuotaUpdate(update) = event else { continue };
            if update.gone {
                self.told.remove(&update.key);
            } else {
                self.told.insert(update.key.clone(), update);
            }
        }
    }

    fn told(&self, key: &LimitKey) -> &QuotaUpdate {
        &self.told[key]
    }
}

fn said(limit: &LimitKey, at: Timestamp, percent: Option<f64>, rejected: bool) -> RateLimitReport {
    let resets_at = Some(start().plus_ms(3 * HOUR_MS));
    RateLimitReport { limit: limit.clone(), at, used_percent: percent, resets_at, rejected, session: None }
}

#[test]
fn the_newest_reading_holds_whatever_is_read_first_and_can_be_unsaid() {
    let key = LimitKey::five_hour(Tool::ClaudeCode);
    let files = files(3);
    let at = |seconds: i64| start().plus_ms(seconds * SECOND_MS);
    let readings = [
        (files[0], said(&key, at(10), Some(40.0), false)),
        (files[1], said(&key, at(50), Some(45.0), false)),
        (files[2], said(&key, at(50), Some(44.0), false)),
        (files[0], said(&key, at(20), Some(41.0), false)),
        (files[2], said(&key, at(55), Some(99.0), false)),
    ];
    for turn in 0..readings.len() {
        let mut desk = Desk::new();
        for i in 0..readings.len() {
            let (origin, report) = &readings[(turn + i) % readings.len()];
            desk.quota.add(*origin, report);
        }
        desk.flush(at(60));
        assert_eq!(desk.told(&key).percent, Some(99.0));
        desk.quota.retract(files[2]);
        desk.flush(at(701));
        assert_eq!(desk.told(&key).percent, Some(45.0), "what others said holds, of one moment the larger");
        assert_eq!(desk.told(&key).history.as_ref().unwrap().last().unwrap().percent, Some(45.0), "in the curve too");
        desk.quota.retract(files[1]);
        desk.flush(at(702));
        assert_eq!(desk.told(&key).percent, Some(41.0), "{turn}");
        desk.quota.retract(files[0]);
        desk.flush(at(703));
        assert_eq!((desk.told(&key).percent, desk.told(&key).provenance), (Some(0.0), Provenance::Estimated));
    }
}

#[test]
fn a_limit_of_which_all_is_unsaid_is_gone() {
    let key = LimitKey::weekly(Tool::Codex);
    let files = files(1);
    let mut desk = Desk::new();
    desk.quota.add(files[0], &said(&key, start(), Some(40.0), false));
    desk.flush(start());
    assert_eq!(desk.told(&key).percent, Some(40.0));
    desk.quota.retract(files[0]);
    desk.flush(start());
    assert!(!desk.told.contains_key(&key));
    desk.quota.add(files[0], &said(&key, start(), Some(40.0), false));
    desk.flush(start().plus_ms(4 * HOUR_MS));
    assert_eq!(desk.told(&key).percent, None, "past its reset its share is not known");
    desk.flush(start().plus_ms(11 * DAY_MS));
    assert!(!desk.told.contains_key(&key), "and a window later it is not shown");
}

#[test]
fn a_limit_is_blocked_until_a_model_it_covers_answers_in_any_order_of_reading() {
    let all = LimitKey::five_hour(Tool::ClaudeCode);
    let opus = LimitKey::weekly(Tool::ClaudeCode).of_family("opus");
    let file = files(1)[0];
    let at = |seconds: i64| start().plus_ms(seconds * SECOND_MS);
    let refusals = |desk: &mut Desk| {
        desk.quota.add(file, &said(&all, at(100), None, true));
        desk.quota.add(file, &said(&opus, at(100), None, true));
    };
    let check = |desk: &mut Desk, expected: [(bool, Level); 2]| {
        desk.flush(at(120));
        let told = [&all, &opus].map(|key| (desk.told(key).blocked, desk.told(key).status));
        assert_eq!(told, expected);
    };
    let blocked = (true, Level::Critical);
    let mut desk = Desk::new();
    refusals(&mut desk);
    desk.respond(&usage("web", SONNET, at(100), 10));
    check(&mut desk, [blocked, blocked]);
    assert_eq!(desk.told(&all).percent, Some(100.0));

    let late = usage("web", SONNET, at(110), 10);
    for success_first in [true, false] {
        let mut desk = Desk::new();
        if success_first {
            desk.respond(&late);
        }
        refusals(&mut desk);
        if !success_first {
            desk.respond(&late);
        }
        check(&mut desk, [(false, Level::Healthy), blocked]);
        desk.respond(&usage("web", OPUS, at(115), 10));
        desk.flush(at(121));
        assert!(!desk.told(&opus).blocked);
    }
    let mut desk = Desk::new();
    refusals(&mut desk);
    desk.flush(at(120));
    desk.flush(start().plus_ms(3 * HOUR_MS));
    assert!(!desk.told(&all).blocked && !desk.told(&opus).blocked, "reset");
}

#[test]
fn users_of_a_window_are_weighed_by_what_it_counts() {
    let mut desk = Desk::new();
    let agent = UsageRecord { agent: Some(AgentId::new("a")), sidechain: true, ..usage("shop", OPUS, start(), 100) };
    // The fewer tokens count, the more were read from the cache: cache reads must not weigh.
    for record in [usage("web", SONNET, start(), 200), usage("shop", OPUS, start(), 700), agent] {
        desk.respond(&record);
    }
    desk.flush(start().plus_ms(SECOND_MS));
    let told = desk.told(&LimitKey::five_hour(Tool::ClaudeCode));
    let share = |project: &str, directory: &str, own_percent, agents_percent| QuotaShare {
        project: project.to_owned(),
        directory: Some(directory.to_owned()),
        own_percent,
        agents_percent,
    };
    let expected =
        [share("shop/api", "/home/ada/shop/api", 70.0, 10.0), share("web/api", "/home/ada/web/api", 20.0, 0.0)];
    assert_eq!(told.used_by, expected);
    let models: Vec<_> = told.models.iter().map(|share| (share.model.as_str(), share.percent)).collect();
    assert_eq!(models, [(OPUS, 80.0), (SONNET, 20.0)]);
}

#[test]
fn a_block_is_incomplete_until_history_says_where_it_begins() {
    let key = LimitKey::five_hour(Tool::ClaudeCode);
    let mut desk = Desk::new();
    desk.quota.reading_history(start());
    for minutes in [10, 20, 30] {
        desk.respond(&usage("web", SONNET, start().plus_ms(minutes * MINUTE_MS), 100));
    }
    let now = start().plus_ms(40 * MINUTE_MS);
    desk.flush(now);
    assert!(!desk.told(&key).complete);
    desk.respond(&usage("web", SONNET, start().plus_ms(-2 * HOUR_MS), 100));
    desk.quota.history_read(now, |_, _| None);
    desk.flush(now);
    let told = desk.told(&key);
    assert_eq!((told.complete, told.starts_at), (true, Some(start().plus_ms(-2 * HOUR_MS))));
    assert_eq!(told.used, Tokens(400));
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Steps between responses: mostly short, often exactly what decides, sometimes long.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![
            8 => 0..20 * MINUTE_MS,
            2 => (0..4i64).prop_map(|hours| hours * HOUR_MS),
            2 => prop::sample::select(vec![0, 1, HOUR_MS - 1, BLOCK_MS - 1, BLOCK_MS, BLOCK_MS + 1]),
            1 => 4 * HOUR_MS..30 * HOUR_MS,
        ];
        proptest::collection::vec(step, 1..120)
    }

    /// Steps without a gap for weeks.
    fn long_run() -> impl Strategy<Value = Vec<i64>> {
        proptest::collection::vec(HOUR_MS..BLOCK_MS + 1, 60..200)
    }

    fn times(steps: &[i64]) -> Vec<Timestamp> {
        let mut at = start();
        let mut time = |&step: &i64| {
            at = at.plus_ms(step);
            at
        };
        steps.iter().map(&mut time).collect()
    }

    /// The block in course by the rule of reports, over everything.
    fn expected(times: &[Timestamp], now: Timestamp) -> Option<(Timestamp, Timestamp, u64)> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let block = blocks(sorted.iter().copied()).pop().filter(|block| block.is_active(now))?;
        let (first, last) = block.span?;
        let count = sorted.iter().filter(|&&at| first <= at && at <= last).count();
        Some((block.start, block.end, count as u64))
    }

    fn found(desk: &Desk) -> Option<(Timestamp, Timestamp, u64)> {
        let told = desk.told(&LimitKey::five_hour(Tool::ClaudeCode));
        assert!(told.complete);
        Some((told.starts_at?, told.reset_time?, told.used.0))
    }

    fn respond(desk: &mut Desk, at: Timestamp, added: bool) {
        let record = usage("web", SONNET, at, 1);
        desk.quota.change(PricedChange { record: &record, cost: Cost::default(), added });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_block_in_course_is_that_of_reports(steps in prop_oneof![steps(), long_run()], wait in 0..6 * HOUR_MS) {
            let times = times(&steps);
            let mut desk = Desk::new();
            for (i, &at) in times.iter().enumerate() {
                respond(&mut desk, at, true);
                desk.flush(at);
                prop_assert_eq!(found(&desk), expected(&times[..=i], at), "watched, at {}", at);
            }
            let now = times[times.len() - 1].plus_ms(wait);
            desk.flush(now);
            prop_assert_eq!(found(&desk), expected(&times, now), "watched");

            let mut read = Desk::new();
            times.iter().rev().for_each(|&at| respond(&mut read, at, true));
            read.flush(now);
            prop_assert_eq!(found(&read), expected(&times, now), "read at once");
        }

        #[test]
        fn what_comes_and_goes_leaves_the_block_of_what_is_there(
            steps in steps(),
            order in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..80),
        ) {
            let times = times(&steps);
            let now = times[times.len() - 1];
            let mut desk = Desk::new();
            desk.flush(start());
            let mut there: Vec<Timestamp> = Vec::new();
            for (index, add) in order {
                let at = times[index.index(times.len())];
                // Only what is recent: older changes are for `history_read`.
                if now.ms_since(at) > 6 * DAY_MS {
                    continue;
                }
                if add {
                    there.push(at);
                } else if let Some(position) = there.iter().position(|&known| known == at) {
                    there.swap_remove(position);
                } else {
                    continue;
                }
                respond(&mut desk, at, add);
                desk.flush(now);
                prop_assert_eq!(found(&desk), expected(&there, now));
            }
        }

        #[test]
        fn a_chain_begun_late_is_right_where_it_is_certain(steps in prop_oneof![steps(), long_run()], cut in any::<prop::sample::Index>()) {
            let times = times(&steps);
            let cut = cut.index(times.len());
            let mut chain = chain::Chain::unknown();
            for (i, &at) in times.iter().enumerate().skip(cut) {
                chain.step(at);
                let whole = blocks(times[..=i].iter().copied()).pop().unwrap();
                let block = chain.block().unwrap();
                if chain.is_certain() {
                    prop_assert_eq!((block.start, block.span.unwrap().1), (whole.start, at));
                }
                if i > cut && at.ms_since(times[i - 1]) > BLOCK_MS {
                    prop_assert!(chain.is_certain(), "after a gap");
                }
            }
        }
    }
}

fn statement(source: ReadingSource, at: Timestamp, limit: &LimitKey, percent: f64) -> Statement {
    let resets_at = Some(start().plus_ms(3 * HOUR_MS));
    let stated = StatedLimit { limit: limit.clone(), used_percent: Some(percent), resets_at, rejected: false };
    Statement { tool: limit.tool, source, account: None, at, limits: vec![stated] }
}

#[test]
fn the_freshest_source_holds_and_says_which_it_is() {
    let key = LimitKey::five_hour(Tool::ClaudeCode);
    let at = |minutes: i64| start().plus_ms(minutes * MINUTE_MS);
    let mut desk = Desk::new();
    let file = files(1)[0];
    desk.quota.observe(&statement(ReadingSource::CachedUsage, at(-90), &key, 30.0), at(0));
    desk.flush(at(0));
    let told = desk.told(&key);
    assert_eq!((told.percent, told.source, told.as_of), (Some(30.0), Some(ReadingSource::CachedUsage), at(-90)));
    desk.quota.observe(&statement(ReadingSource::StatusLine, at(1), &key, 41.0), at(1));
    desk.quota.add(file, &said(&key, at(0), Some(40.0), false));
    desk.flush(at(1));
    let told = desk.told(&key);
    assert_eq!((told.percent, told.source), (Some(41.0), Some(ReadingSource::StatusLine)));
    desk.quota.add(file, &said(&key, at(2), Some(42.0), false));
    desk.flush(at(2));
    assert_eq!(desk.told(&key).source, Some(ReadingSource::Transcript));
    desk.quota.retract(file);
    desk.flush(at(2));
    assert_eq!(desk.told(&key).source, Some(ReadingSource::StatusLine), "what no file said stays");
    desk.flush(at(181));
    assert_eq!(
        (desk.told(&key).provenance, desk.told(&key).source),
        (Provenance::Estimated, None),
        "its reset is over"
    );
}

#[test]
fn what_cannot_be_true_is_counted_once_and_taken_back_with_its_file() {
    let key = LimitKey::five_hour(Tool::ClaudeCode);
    let mut desk = Desk::new();
    let epoch = statement(ReadingSource::StatusLine, start(), &key, 1_789_796_400.0);
    assert!(desk.quota.observe(&epoch, start()));
    assert!(!desk.quota.observe(&epoch, start().plus_ms(SECOND_MS)), "the same once more");
    let file = files(1)[0];
    assert!(!desk.quota.add(file, &said(&key, start(), Some(-3.0), false)));
    desk.flush(start());
    assert_eq!(desk.told(&key).provenance, Provenance::Estimated);
    let problems = |desk: &Desk| {
        let (count, newest) = desk.quota.refused();
        (count, newest.filter_map(|entry| entry.problem).collect::<Vec<_>>())
    };
    let both = vec![ReadingProblem::PercentIsEpoch, ReadingProblem::PercentOutOfRange];
    assert_eq!(problems(&desk), (2, both.clone()));
    desk.quota.retract(file);
    assert_eq!(problems(&desk), (1, both[..1].to_vec()));
}

#[test]
fn the_ledger_has_an_entry_for_each_change_and_goes_on_where_it_was() {
    let key = LimitKey::five_hour(Tool::ClaudeCode);
    let at = |minutes: i64| start().plus_ms(minutes * MINUTE_MS);
    let mut desk = Desk::new();
    for (minute, percent) in [(0, 30.0), (1, 30.0), (2, 31.0), (3, 31.0)] {
        desk.quota.observe(&statement(ReadingSource::StatusLine, at(minute), &key, percent), at(minute));
    }
    desk.quota.observe(&statement(ReadingSource::CachedUsage, at(3), &key, 31.0), at(3));
    let entries = desk.quota.take_entries();
    let brief: Vec<_> = entries.iter().map(|entry| (entry.source, entry.at, entry.used_percent)).collect();
    let line = ReadingSource::StatusLine;
    let cached = (ReadingSource::CachedUsage, at(3), Some(31.0));
    assert_eq!(brief, [(line, at(0), Some(30.0)), (line, at(2), Some(31.0)), cached]);
    assert!(desk.quota.take_entries().is_empty());

    let mut next = Desk::new();
    entries.into_iter().skip(1).for_each(|entry| next.quota.recall(entry, at(10)));
    next.flush(at(10));
    assert_eq!((next.told(&key).percent, next.told(&key).as_of), (Some(31.0), at(3)));
    next.quota.observe(&statement(line, at(11), &key, 31.0), at(11));
    assert!(next.quota.take_entries().is_empty(), "it says what it said before");
}

#[test]
fn a_session_that_is_idle_does_not_make_its_limits_fresh() {
    let key = LimitKey::five_hour(Tool::ClaudeCode);
    let at = |minutes: i64| start().plus_ms(minutes * MINUTE_MS);
    let limits = |percent| statement(ReadingSource::StatusLine, at(0), &key, percent).limits;
    let line = |session: &str, percent, api_ms| StatusLine {
        session: Some(session.into()),
        api_ms: Some(api_ms),
        limits: limits(percent),
        ..StatusLine::default()
    };
    let mut desk = Desk::new();
    desk.quota.status_line(Tool::ClaudeCode, &line("idle", 20.0, 10), None, at(0));
    desk.quota.status_line(Tool::ClaudeCode, &line("busy", 35.0, 10), None, at(10));
    desk.quota.status_line(Tool::ClaudeCode, &line("idle", 20.0, 10), Some(at(0)), at(20));
    desk.flush(at(20));
    assert_eq!((desk.told(&key).percent, desk.told(&key).as_of), (Some(35.0), at(10)));
}
