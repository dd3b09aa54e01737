//! Instants, spans, days and the zone they are read in.
//!
//! The core never asks what time it is. Instants are milliseconds since the Unix epoch, UTC; on the
//! wire they are RFC 3339 text. The zone comes in as a list of UTC-offset transitions, so that no
//! time-zone database has to be part of the WASM.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SecondsFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds in a second, a minute, an hour, a day.
pub const SECOND_MS: i64 = 1_000;
/// See [`SECOND_MS`].
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// See [`SECOND_MS`].
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// See [`SECOND_MS`].
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A time further ahead of the present than this is unknown: a clock is wrong, or a zone was written as UTC. Clocks of
/// machines that share a directory differ by seconds, rarely by minutes. The rule is docs/DECISIONS.md's, "The future".
pub const FUTURE_TOLERANCE_MS: i64 = 5 * MINUTE_MS;

/// A calendar day in some zone.
pub type Day = NaiveDate;

/// An instant, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The instant `ms` milliseconds after 1970-01-01T00:00:00Z, kept within years 0 to 9999.
    pub const fn from_unix_ms(ms: i64) -> Self {
        let (first, last) = (-62_167_219_200_000, 253_402_300_799_999);
        // `clamp` is no function of constants yet.
        Self(if ms < first {
            first
        } else if ms > last {
            last
        } else {
            ms
        })
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// Reads `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)`, cut to milliseconds; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| -> Option<u32> {
            bytes.get(range)?.iter().try_fold(0, |sum, &b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
        };
        let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
        if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':')) {
            return None;
        }
        let day = NaiveDate::from_ymd_opt(
            i32::try_from(digits(0..4)?).ok().filter(|&year| year >= 1)?,
            digits(5..7)?,
            digits(8..10)?,
        )?;
        let time = NaiveTime::from_hms_opt(digits(11..13)?, digits(14..16)?, digits(17..19)?)?;

        let mut rest = &bytes[19..];
        let mut fraction_ms = 0;
        if let [b'.', tail @ ..] = rest {
            let length = tail.iter().take_while(|b| b.is_ascii_digit()).count();
            if length == 0 {
                return None;
            }
            for digit in tail[..length].iter().chain(b"00").take(3) {
                fraction_ms = fraction_ms * 10 + i64::from(digit - b'0');
            }
            rest = &tail[length..];
        }
        let offset_min = match rest {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) => {
                let number = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
                let minutes = number(h1, h2) * 60 + number(m1, m2);
                if *sign == b'+' { minutes } else { -minutes }
            }
            _ => return None,
        };
        let base = day.and_time(time).and_utc().timestamp_millis();
        Some(Self::from_unix_ms(base + fraction_ms - offset_min * MINUTE_MS))
    }

    /// `ms` milliseconds later (or earlier, if negative).
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self::from_unix_ms(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; negative if `earlier` is later.
    pub fn ms_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// `self`, if it may be believed at `now`; a time more than [`FUTURE_TOLERANCE_MS`] ahead is unknown until then.
    ///
    /// Times are stored as they stand in the transcript and asked at each use, so that a time becomes known by itself
    /// once it has come.
    pub fn known_at(self, now: Self) -> Option<Self> {
        (self.ms_since(now) <= FUTURE_TOLERANCE_MS).then_some(self)
    }

    /// The last multiple of `span_ms` since the epoch that is not after `self`.
    #[must_use]
    pub fn floor_to(self, span_ms: i64) -> Self {
        Self(self.0.div_euclid(span_ms) * span_ms)
    }

    /// The minute this instant lies in.
    pub fn minute(self) -> Minute {
        Minute(self.0.div_euclid(MINUTE_MS))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds: `2026-09-20T00:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = DateTime::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&instant.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a timestamp such as 2026-09-20T00:00:00.000Z"))
    }
}

/// A minute since the Unix epoch: the bucket of rates and charts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Minute(pub i64);

impl Minute {
    /// The instant the minute begins.
    pub fn start(self) -> Timestamp {
        Timestamp::from_unix_ms(self.0 * MINUTE_MS)
    }
}

/// How local time differs from UTC, as a list of transitions, oldest first: from each instant on, the offset in seconds
/// east of UTC, less than a day either way. Before the first one, the first one's offset applies; none means UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZoneOffsets(Vec<(Timestamp, i32)>);

impl ZoneOffsets {
    /// UTC.
    pub fn utc() -> Self {
        Self(Vec::new())
    }

    /// From `(from, seconds east of UTC)` pairs, in any order.
    pub fn new(mut transitions: Vec<(Timestamp, i32)>) -> Self {
        transitions.sort_unstable();
        Self(transitions)
    }

    /// Seconds east of UTC at `at`.
    pub fn offset_s(&self, at: Timestamp) -> i32 {
        let after = self.0.partition_point(|&(from, _)| from <= at);
        self.0.get(after.saturating_sub(1)).map_or(0, |&(_, offset)| offset)
    }

    /// The wall clock at `at`, as milliseconds since 1970-01-01T00:00:00 local time.
    fn local_ms(&self, at: Timestamp) -> i64 {
        at.unix_ms() + i64::from(self.offset_s(at)) * SECOND_MS
    }

    /// The calendar day at `at`.
    pub fn day(&self, at: Timestamp) -> Day {
        DateTime::from_timestamp_millis(self.local_ms(at)).unwrap_or_default().date_naive()
    }

    /// Hour, minute, second and millisecond of the wall clock at `at`.
    pub fn clock(&self, at: Timestamp) -> (i64, i64, i64, i64) {
        let ms = self.local_ms(at).rem_euclid(DAY_MS);
        (ms / HOUR_MS, ms / MINUTE_MS % 60, ms / SECOND_MS % 60, ms % SECOND_MS)
    }

    /// The instant `day` begins: the first one at which the calendar shows this day, or a later one.
    ///
    /// That is midnight, unless the clock is changed there. Where midnight is skipped, the day begins at the change
    /// (America/Santiago in spring: at 01:00). Where it occurs twice, the day begins at the first one
    /// (America/Havana in autumn). A day that was skipped whole (Pacific/Apia, 2011-12-30) begins with the next.
    pub fn day_start(&self, day: Day) -> Timestamp {
        let midnight = day.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        let starting_at = |offset_s: i32| Timestamp::from_unix_ms(midnight - i64::from(offset_s) * SECOND_MS);
        // Offsets are less than a day, so whatever held until a day before midnight in UTC ended before this day.
        let earliest = Timestamp::from_unix_ms(midnight - DAY_MS);
        let first = self.0.partition_point(|&(from, _)| from <= earliest).saturating_sub(1);
        let stretches = self.0.get(first..).unwrap_or_default();
        for (index, &(from, offset)) in stretches.iter().enumerate() {
            let start = starting_at(offset);
            // The first offset of all also applies before its own beginning.
            let start = if first + index == 0 { start } else { start.max(from) };
            if stretches.get(index + 1).is_none_or(|&(until, _)| start < until) {
                return start;
            }
        }
        starting_at(0)
    }

    /// The transitions that matter between two instants: those within, and the offset that holds at the first.
    #[must_use]
    pub fn between(&self, from: Timestamp, until: Timestamp) -> Self {
        let first = self.0.partition_point(|&(at, _)| at <= from).saturating_sub(1);
        let last = self.0.partition_point(|&(at, _)| at <= until);
        Self(self.0.get(first..last.max(first + 1)).unwrap_or_default().to_vec())
    }
}

/// First day of the month `day` lies in.
pub fn month_start(day: Day) -> Day {
    day.with_day(1).unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn reads_the_timestamps_found_in_transcripts() {
        for (text, ms) in [
            ("2026-09-20T00:00:00.000Z", 1_789_862_400_000),
            ("2026-09-20T00:00:00Z", 1_789_862_400_000),
            ("2026-09-20T00:00:00.1Z", 1_789_862_400_100),
            ("2026-09-20T00:00:00.123456Z", 1_789_862_400_123),
            ("2026-09-20T02:00:00.000+02:00", 1_789_862_400_000),
            ("2026-09-19T19:00:00-05:00", 1_789_862_400_000),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::unix_ms), Some(ms), "{text}");
        }
        for text in [
            "",
            "2026-09-20",
            "2026-09-20 00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-09-20T00:00:00",
            "2026-09-20T00:00:00.Z",
            "2026-09-20T24:00:00Z",
            "2026-09-20T00:00:00Zx",
            "2026-09-20T00:00:00+0200",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        let at = Timestamp::from_unix_ms(1_789_862_400_123);
        assert_eq!(at.to_string(), "2026-09-20T00:00:00.123Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
    }

    #[test]
    fn days_follow_the_zone_through_a_change_of_offset() {
        // Berlin, autumn 2026: +2 h until 25 October 01:00 UTC, then +1 h.
        let change = Timestamp::parse("2026-10-25T01:00:00Z").unwrap();
        let berlin = ZoneOffsets::new(vec![(Timestamp::default(), 7200), (change, 3600)]);
        let late = Timestamp::parse("2026-10-24T22:30:00Z").unwrap();
        assert_eq!(berlin.day(late), Day::from_ymd_opt(2026, 10, 25).unwrap());
        assert_eq!(berlin.clock(late), (0, 30, 0, 0));
        let day = Day::from_ymd_opt(2026, 10, 26).unwrap();
        assert_eq!(berlin.day_start(day).to_string(), "2026-10-25T23:00:00.000Z");
        assert_eq!(berlin.day_start(day.pred_opt().unwrap()).to_string(), "2026-10-24T22:00:00.000Z");
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_without_a_midnight_begins_when_the_clock_was_changed() {
        // Santiago, spring 2026: at 00:00 the clock goes to 01:00.
        let santiago =
            ZoneOffsets::new(vec![(at("2026-04-05T03:00:00Z"), -14_400), (at("2026-09-06T04:00:00Z"), -10_800)]);
        let start = santiago.day_start(day("2026-09-06"));
        assert_eq!(start, at("2026-09-06T04:00:00Z"));
        assert_eq!(santiago.clock(start), (1, 0, 0, 0));
        assert_eq!(santiago.day(start), day("2026-09-06"));
        assert_eq!(santiago.day(start.plus_ms(-1)), day("2026-09-05"));
    }

    #[test]
    fn a_day_with_two_midnights_begins_at_the_first() {
        // Havana, autumn 2026: at 01:00 the clock goes back to 00:00.
        let havana =
            ZoneOffsets::new(vec![(at("2026-03-08T05:00:00Z"), -14_400), (at("2026-11-01T05:00:00Z"), -18_000)]);
        assert_eq!(havana.day_start(day("2026-11-01")), at("2026-11-01T04:00:00Z"));
        assert_eq!(havana.day_start(day("2026-11-02")), at("2026-11-02T05:00:00Z"));
    }

    #[test]
    fn a_day_that_was_left_out_begins_with_the_next() {
        // Apia, 2011: from the 29th, 10 h behind, straight to the 31st, 14 h ahead.
        let apia = ZoneOffsets::new(vec![(at("2011-09-24T14:00:00Z"), -36_000), (at("2011-12-30T10:00:00Z"), 50_400)]);
        for text in ["2011-12-30", "2011-12-31"] {
            assert_eq!(apia.day_start(day(text)), at("2011-12-30T10:00:00Z"), "{text}");
        }
        assert_eq!(apia.day_start(day("2011-12-29")), at("2011-12-29T10:00:00Z"));
    }

    #[test]
    fn before_the_first_transition_its_offset_holds() {
        let zone = ZoneOffsets::new(vec![(at("2026-01-01T00:00:00Z"), 3_600), (at("2026-06-01T00:00:00Z"), 7_200)]);
        assert_eq!(zone.day_start(day("1999-05-05")), at("1999-05-04T23:00:00Z"));
        assert_eq!(ZoneOffsets::utc().day_start(day("1999-05-05")), at("1999-05-05T00:00:00Z"));
    }

    #[test]
    fn a_stretch_of_a_zone_reads_the_same_within() {
        let zone = ZoneOffsets::new((0..20).map(|i| (Timestamp::from_unix_ms(i * HOUR_MS), i as i32 * 60)).collect());
        for (from, until) in [(0, 20), (3, 7), (-5, -2), (25, 30), (4, 4)] {
            let [from, until] = [from, until].map(|hours| Timestamp::from_unix_ms(hours * HOUR_MS));
            let part = zone.between(from, until);
            let mut now = from;
            while now <= until {
                assert_eq!(part.offset_s(now), zone.offset_s(now), "{from} {until} {now}");
                now = now.plus_ms(HOUR_MS / 4);
            }
        }
        assert_eq!(zone.between(Timestamp::from_unix_ms(3 * HOUR_MS), Timestamp::from_unix_ms(7 * HOUR_MS)).0.len(), 5);
        assert_eq!(ZoneOffsets::utc().between(Timestamp::default(), Timestamp::default()), ZoneOffsets::utc());
    }

    #[test]
    fn a_time_in_the_future_is_unknown_until_it_has_come() {
        let now = at("2026-09-20T12:00:00Z");
        for (text, known) in [
            ("1970-01-01T00:00:00Z", true),
            ("2026-09-20T12:00:00Z", true),
            ("2026-09-20T12:05:00Z", true),
            ("2026-09-20T12:05:00.001Z", false),
            ("2099-01-01T00:00:00Z", false),
        ] {
            assert_eq!(at(text).known_at(now), known.then(|| at(text)), "{text}");
        }
        let later = at("2026-09-20T12:05:00.001Z");
        assert_eq!(later.known_at(later), Some(later));
    }
}
