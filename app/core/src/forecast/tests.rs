//! What a forecast promises: it follows the user's hours, says when it cannot, is monotone, and is the same everywhere.

use super::*;
use crate::ids::ModelId;
use crate::record::LimitScope;
use crate::simulator::working_days::{PEOPLE, responses};
use crate::time::{HOUR_MS, ZoneOffsets};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// Somebody who uses `tokens` in every quarter hour from 9:00 to 12:00 and from 13:00 to 17:00, Monday to Friday, in
/// the three weeks before Wednesday, 2026-09-23.
fn past(tokens: u64) -> PastUse {
    let mut past = PastUse::default();
    for day in (1..=21).map(|day| at("2026-09-23T00:00:00Z").plus_ms(-day * DAY_MS)) {
        let (_, weekday) = habits::local(&ZoneOffsets::utc(), day.plus_ms(12 * HOUR_MS));
        let quarters = (36..48).chain(52..68).filter(|_| weekday < 5);
        quarters.for_each(|q| past.add(&ModelId::new("m"), day.plus_ms(q * 15 * MINUTE_MS), Tokens(tokens)));
    }
    past
}

fn situation(now: &str, start: &str, used: f64, capacity: Option<f64>) -> Situation {
    let starts_at = at(start);
    Situation {
        now: at(now),
        starts_at,
        resets_at: starts_at.plus_ms(5 * HOUR_MS),
        used,
        capacity,
        last_30_min: 2_000.0,
        last_2_h: 8_000.0,
        first_use: Some(starts_at),
    }
}

fn habits(past: &PastUse, now: Timestamp) -> Habits {
    Habits::new(past, &LimitScope::AllModels, &ZoneOffsets::utc(), now)
}

fn outlook(habits: &Habits, situation: &Situation) -> Outlook {
    match forecast(habits, situation, &Parameters::DEFAULT) {
        Forecast::Known(outlook) => *outlook,
        Forecast::NotEnough(lack) => panic!("{lack:?}"),
    }
}

#[test]
fn it_follows_the_hours_of_the_user() {
    // Wednesday, 15:00: two more hours of 4,000 tokens are usual, then the day is over. The window goes on to 18:00.
    let now = situation("2026-09-23T15:00:00Z", "2026-09-23T13:00:00Z", 8_000.0, Some(20_000.0));
    let outlook = outlook(&habits(&past(1_000), now.now), &now);
    let expected = outlook.expected.percent.unwrap();
    assert!((70.0..90.0).contains(&expected.median), "{outlook:?}");
    assert_eq!(outlook.expected.limit.unwrap().median, None, "{outlook:?}");
    assert!(outlook.similar_moments > 10);
    // Who goes on past the end of the day comes to more.
    let going_on = outlook.going_on.unwrap().percent.unwrap();
    assert!(going_on.high >= expected.high && going_on.median > expected.median, "{outlook:?}");
}

#[test]
fn a_limit_that_is_near_is_reached_at_the_usual_rate() {
    // 16,000 of 20,000 are used at 15:00; 4,000 an hour reach it at 16:00.
    let now = situation("2026-09-23T15:00:00Z", "2026-09-23T11:00:00Z", 16_000.0, Some(20_000.0));
    let now = Situation { resets_at: at("2026-09-23T17:30:00Z"), ..now };
    let limit = outlook(&habits(&past(1_000), now.now), &now).expected.limit.unwrap();
    let median = limit.median.unwrap();
    assert!(median.ms_since(at("2026-09-23T16:00:00Z")).abs() <= 10 * MINUTE_MS, "{limit:?}");
    assert!(limit.chance_percent > 60.0 && limit.early.unwrap() <= median, "{limit:?}");
}

#[test]
fn it_says_what_is_lacking() {
    let past = past(1_000);
    let now = situation("2026-09-23T15:00:00Z", "2026-09-23T13:00:00Z", 8_000.0, None);
    let lack = |habits: &Habits, situation: &Situation| match forecast(habits, situation, &Parameters::DEFAULT) {
        Forecast::NotEnough(lack) => Some(lack),
        Forecast::Known(_) => None,
    };
    let known = habits(&past, now.now);
    let first_use = Some(now.now.plus_ms(-9 * MINUTE_MS));
    assert_eq!(lack(&known, &Situation { first_use, ..now }), Some(Lack::Use));
    assert_eq!(lack(&known, &Situation { first_use: None, ..now }), Some(Lack::Use));
    assert_eq!(lack(&known, &Situation { now: now.resets_at, ..now }), Some(Lack::Window));
    let week = Situation { resets_at: now.now.plus_ms(3 * DAY_MS), ..now };
    let none = habits(&PastUse::default(), now.now);
    assert_eq!(lack(&none, &week), Some(Lack::Days));
    assert_eq!((lack(&known, &week), lack(&known, &now)), (None, None));
    // Without any past there is the plain model; without a limit, no share and no time.
    let plain = outlook(&none, &now);
    assert_eq!((plain.similar_moments, plain.expected.percent, plain.expected.limit), (0, None, None));
    assert!(plain.cone.is_empty() && plain.expected.tokens.median >= Tokens(8_000));
}

#[test]
fn figures_are_in_order_and_the_cone_leads_to_the_reset() {
    let mut seen = 0;
    for seed in 1..5 {
        let user = responses(&PEOPLE, seed, at("2026-03-02T00:00:00Z"), 3);
        let mut past = PastUse::default();
        for &(at, tokens) in &user {
            past.add(&ModelId::new("m"), at, tokens);
        }
        for (start, _) in user.iter().step_by(400) {
            let now = start.plus_ms(HOUR_MS);
            let used = |ms: i64| {
                let recent = user.iter().filter(|(at, _)| (0..ms).contains(&now.ms_since(*at)));
                recent.map(|(_, tokens)| tokens.0 as f64).sum::<f64>()
            };
            let situation = Situation {
                now,
                starts_at: *start,
                resets_at: start.plus_ms(5 * HOUR_MS),
                used: used(HOUR_MS),
                capacity: Some(60_000.0),
                last_30_min: used(30 * MINUTE_MS),
                last_2_h: used(2 * HOUR_MS),
                first_use: Some(*start),
            };
            let habits = habits(&past, now);
            let outlook = outlook(&habits, &situation);
            assert_eq!(outlook, self::outlook(&habits, &situation), "the same every time");
            let cases = [Some(outlook.expected), outlook.going_on];
            for case in cases.into_iter().flatten() {
                let Interval { low, median, high } = case.percent.unwrap();
                assert!(low <= median && median <= high, "{outlook:?}");
                assert!(case.tokens.low.0 as f64 >= situation.used - 1.0, "use is never taken back");
                let limit = case.limit.unwrap();
                assert!((0.0..=100.0).contains(&limit.chance_percent));
                let is_even = (49.9..=50.1).contains(&limit.chance_percent);
                assert!(is_even || limit.median.is_some() == (limit.chance_percent > 50.0), "{limit:?}");
                let times = [limit.early, limit.median, limit.late].map(|at| at.unwrap_or(situation.resets_at));
                assert!(times.is_sorted(), "{limit:?}");
            }
            assert_eq!(outlook.cone.len(), CONE_POINTS);
            assert_eq!((outlook.cone[0].at, outlook.cone[CONE_POINTS - 1].at), (now, situation.resets_at));
            assert_eq!(outlook.cone[CONE_POINTS - 1].percent, outlook.expected.percent.unwrap());
            assert!(outlook.cone.is_sorted_by(|a, b| a.percent.median <= b.percent.median && a.at < b.at));
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn more_used_already_means_no_later_limit() {
    let habits = habits(&past(1_000), at("2026-09-23T15:00:00Z"));
    let mut last = Timestamp::from_unix_ms(i64::MAX);
    for used in (0..20).map(|i| f64::from(i) * 1_000.0) {
        let now = situation("2026-09-23T15:00:00Z", "2026-09-23T13:00:00Z", used, Some(20_000.0));
        let at = outlook(&habits, &now).expected.limit.unwrap().median;
        let at = at.unwrap_or(Timestamp::from_unix_ms(i64::MAX));
        assert!(at <= last, "{used}");
        last = at;
    }
}

#[test]
fn past_use_can_be_taken_back_and_is_bounded() {
    let (model, now) = (ModelId::new("m"), at("2026-09-23T15:00:00Z"));
    let mut past = PastUse::default();
    past.add(&model, now, Tokens(5));
    past.subtract(&model, now, Tokens(5));
    past.subtract(&model, now, Tokens(5));
    past.add(&model, now.plus_ms(-HABIT_DAYS * DAY_MS - HOUR_MS), Tokens(7));
    past.prune(now);
    assert_eq!(past, PastUse::default());
}

#[test]
fn on_users_it_was_not_tuned_on_it_beats_the_simple_ones() {
    let mut all = backtest::Points::default();
    for seed in 101..104 {
        let user = responses(&PEOPLE, seed, at("2026-03-02T00:00:00Z"), 5);
        let zone = ZoneOffsets::utc();
        all.add(backtest::points(&user, backtest::Windows::FiveHours, &zone, &Parameters::DEFAULT));
    }
    let score = backtest::Score::of(&all.points).unwrap();
    assert!(score.points > 200, "{score:?}");
    assert!(score.improvement() >= 15.0, "{score:?}");
    assert!((70.0..=90.0).contains(&score.coverage), "{score:?}");
}
