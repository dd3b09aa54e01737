//! Time zones by name, as the core wants them: a list of changes of the offset from UTC.

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use dashboard_core::event::HealthStatus;
use dashboard_core::time::{DAY_MS, Timestamp, ZoneOffsets};

/// The first instant whose offset is looked up: the beginning of Unix time. No assistant's record is older.
const FIRST: Timestamp = Timestamp::EPOCH;
/// How far ahead of the present changes of offset are looked up. A dashboard that runs longer than this has to be
/// restarted to know of a change.
const AHEAD_DAYS: i64 = 12 * 366;
/// Longest part of a misspelt name that is repeated in a message.
const SHOWN_CHARS: usize = 64;

/// A time zone of the IANA database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

/// A name that is not in the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {name:?}; {hint}")]
pub struct UnknownZone {
    name: String,
    hint: String,
}

impl UnknownZone {
    fn new(name: &str) -> Self {
        let same = |known: &&Tz| {
            let known = known.name();
            let city = known.rsplit('/').next().unwrap_or(known);
            known.eq_ignore_ascii_case(name) || city.eq_ignore_ascii_case(&name.replace(' ', "_"))
        };
        let hint = match TZ_VARIANTS.iter().find(same) {
            Some(meant) => format!("did you mean {}?", meant.name()),
            None => "allowed: UTC and names such as Europe/Berlin".to_owned(),
        };
        Self { name: name.chars().take(SHOWN_CHARS).collect(), hint }
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        Tz::from_str(name).map(Self).map_err(|_| UnknownZone::new(name))
    }
}

impl Zone {
    /// The zone's name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// All changes of the offset from 1970 until some years after `now`.
    pub fn offsets(self, now: Timestamp) -> ZoneOffsets {
        let end = now.plus_ms(AHEAD_DAYS * DAY_MS);
        let (mut day, mut before) = (FIRST, self.offset_s(FIRST));
        let mut transitions = vec![(day, before)];
        // The database does not list its transitions. They are further apart than a day; `zone::tests` compares.
        while day < end {
            let next = day.plus_ms(DAY_MS);
            let offset = self.offset_s(next);
            if offset != before {
                transitions.push((self.change_between(day, next), offset));
                before = offset;
            }
            day = next;
        }
        ZoneOffsets::new(transitions)
    }

    /// The first instant of the offset that holds at `after`, which is not yet that of `before`.
    fn change_between(self, mut before: Timestamp, mut after: Timestamp) -> Timestamp {
        let offset = self.offset_s(after);
        while after.ms_since(before) > 1 {
            let middle = before.plus_ms(after.ms_since(before) / 2);
            if self.offset_s(middle) == offset {
                after = middle;
            } else {
                before = middle;
            }
        }
        after
    }

    fn offset_s(self, at: Timestamp) -> i32 {
        let utc = DateTime::from_timestamp_millis(at.unix_ms()).unwrap_or_default().naive_utc();
        self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc()
    }
}

/// The zone in force, and how it came to be.
#[derive(Clone, Debug)]
pub struct ChosenZone {
    /// The zone.
    pub zone: Zone,
    /// Whether the zone is what was meant.
    pub status: HealthStatus,
    /// Its name and, where something is wrong or missing, what to do.
    pub message: String,
}

impl ChosenZone {
    /// UTC, as if asked for.
    pub fn utc() -> Self {
        Self::given(Zone(Tz::UTC))
    }

    /// The one asked for with `--timezone`, else that of the environment variable `TZ`, else the machine's.
    pub fn find(asked: Option<Zone>) -> Self {
        asked.map_or_else(
            || {
                Self::of_machine(std::env::var_os("TZ").map(|tz| tz.to_string_lossy().into_owned()), || {
                    iana_time_zone::get_timezone().ok()
                })
            },
            Self::given,
        )
    }

    fn given(zone: Zone) -> Self {
        Self { zone, status: HealthStatus::Healthy, message: zone.name().to_owned() }
    }

    /// `tz` is the environment variable, `system` what the operating system says; UTC where neither helps.
    fn of_machine(tz: Option<String>, system: impl FnOnce() -> Option<String>) -> Self {
        let utc = |status, why: &str| {
            let message = format!("UTC, because {why}; --timezone names another, such as Europe/Berlin");
            Self { zone: Zone(Tz::UTC), status, message }
        };
        let (source, name) = match tz {
            Some(tz) => ("TZ", tz),
            None => match system() {
                Some(name) => ("the system", name),
                None => return utc(HealthStatus::Healthy, "the system names no time zone"),
            },
        };
        // POSIX lets a colon precede, and a path stand for, the name; set to nothing means UTC.
        let plain = name.trim_start_matches(':');
        let plain = plain.rsplit_once("/zoneinfo/").map_or(plain, |(_, name)| name);
        if plain.is_empty() {
            return Self::utc();
        }
        match plain.parse::<Zone>() {
            Ok(zone) => Self::given(zone),
            Err(error) => utc(HealthStatus::Degraded, &format!("{source} names an {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{LocalResult, NaiveDate};
    use dashboard_core::time::{Day, HOUR_MS, MINUTE_MS};

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    /// Zones with odd rules: midnights skipped and repeated, halves of hours, days left out, rules changed often.
    const ODD: [&str; 20] = [
        "America/Santiago",
        "America/Havana",
        "America/Asuncion",
        "America/Sao_Paulo",
        "America/St_Johns",
        "America/New_York",
        "America/Scoresbysund",
        "Atlantic/Azores",
        "Africa/Cairo",
        "Africa/Casablanca",
        "Asia/Beirut",
        "Asia/Gaza",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Europe/Berlin",
        "Europe/Dublin",
        "Pacific/Apia",
        "Pacific/Kwajalein",
        "UTC",
    ];

    #[test]
    fn offsets_are_the_databases_at_every_hour() {
        for name in ODD {
            let zone = zone(name);
            let offsets = zone.offsets(at("2026-09-20T00:00:00Z"));
            let (mut now, end) = (FIRST, at("2038-01-01T00:00:00Z"));
            while now < end {
                assert_eq!(offsets.offset_s(now), zone.offset_s(now), "{name} {now}");
                now = now.plus_ms(HOUR_MS);
            }
        }
    }

    #[test]
    fn days_begin_where_the_database_says() {
        for name in ODD {
            let zone = zone(name);
            let offsets = zone.offsets(at("2026-09-20T00:00:00Z"));
            let mut day = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
            while day < NaiveDate::from_ymd_opt(2038, 1, 1).unwrap() {
                assert_eq!(offsets.day_start(day), start(zone, day), "{name} {day}");
                day = day.succ_opt().unwrap();
            }
        }
    }

    /// The first existing minute of the day's wall clock, or of a later one's, by the database's own reckoning.
    fn start(zone: Zone, day: Day) -> Timestamp {
        let midnight = day.and_hms_opt(0, 0, 0).unwrap();
        let minutes = (0..2 * 1_440).map(|minute| midnight + chrono::Duration::milliseconds(minute * MINUTE_MS));
        let first = minutes.map(|clock| zone.0.from_local_datetime(&clock)).find_map(|found| match found {
            LocalResult::None => None,
            LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => Some(instant),
        });
        Timestamp::from_unix_ms(first.unwrap().timestamp_millis())
    }

    #[test]
    fn old_days_have_their_own_offset() {
        // Moscow was at +4 h from 2011 to 2014.
        let moscow = zone("Europe/Moscow").offsets(at("2026-09-20T00:00:00Z"));
        assert_eq!(moscow.offset_s(at("2012-01-01T00:00:00Z")), 14_400);
        assert_eq!(moscow.offset_s(at("2026-01-01T00:00:00Z")), 10_800);
    }

    #[test]
    fn midnights_that_do_not_exist_begin_the_day_at_one() {
        for (name, day, start) in [
            ("America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z"),
            ("America/Havana", "2026-03-08", "2026-03-08T05:00:00Z"),
        ] {
            let offsets = zone(name).offsets(at("2026-09-20T00:00:00Z"));
            let begins = offsets.day_start(day.parse().unwrap());
            assert_eq!(begins, at(start), "{name}");
            assert_eq!(offsets.clock(begins), (1, 0, 0, 0), "{name}");
        }
    }

    #[test]
    fn finds_the_changes_to_the_instant() {
        let berlin = zone("Europe/Berlin").offsets(at("2026-09-20T00:00:00Z"));
        for (instant, offset) in [
            ("2026-03-29T00:59:59.999Z", 3_600),
            ("2026-03-29T01:00:00Z", 7_200),
            ("2026-10-25T00:59:59.999Z", 7_200),
            ("2026-10-25T01:00:00Z", 3_600),
        ] {
            assert_eq!(berlin.offset_s(at(instant)), offset, "{instant}");
        }
        assert_eq!(zone("UTC").name(), "UTC");
    }

    #[test]
    fn an_unknown_name_is_answered_with_what_is_allowed() {
        for (name, hint) in [
            ("Mars/Olympus", "such as Europe/Berlin"),
            ("europe/berlin", "did you mean Europe/Berlin?"),
            ("new york", "did you mean America/New_York?"),
            ("", "such as Europe/Berlin"),
        ] {
            let error = name.parse::<Zone>().unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        let long = "x".repeat(10_000).parse::<Zone>().unwrap_err().to_string();
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn the_machines_zone_is_found_or_it_is_said_what_to_do() {
        let of = |tz: Option<&str>, system: Option<&str>| {
            ChosenZone::of_machine(tz.map(str::to_owned), || system.map(str::to_owned))
        };
        for (tz, system, name, status) in [
            (None, Some("Europe/Berlin"), "Europe/Berlin", HealthStatus::Healthy),
            (Some("Asia/Tokyo"), Some("Europe/Berlin"), "Asia/Tokyo", HealthStatus::Healthy),
            (Some(":Asia/Tokyo"), None, "Asia/Tokyo", HealthStatus::Healthy),
            (Some("/usr/share/zoneinfo/Asia/Tokyo"), None, "Asia/Tokyo", HealthStatus::Healthy),
            (Some(""), Some("Europe/Berlin"), "UTC", HealthStatus::Healthy),
            (Some("CET-1CEST"), Some("Europe/Berlin"), "UTC", HealthStatus::Degraded),
            (None, Some("Nowhere"), "UTC", HealthStatus::Degraded),
            (None, None, "UTC", HealthStatus::Healthy),
        ] {
            let chosen = of(tz, system);
            assert_eq!((chosen.zone.name(), chosen.status), (name, status), "{tz:?} {system:?}: {}", chosen.message);
            if status == HealthStatus::Degraded {
                assert!(chosen.message.contains("--timezone"), "{}", chosen.message);
            }
        }
    }
}
