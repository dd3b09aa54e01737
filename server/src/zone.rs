//! Time zones by name, as the core wants them: a list of changes of the offset from UTC.

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use dashboard_core::time::{DAY_MS, Timestamp, ZoneOffsets};

/// How far back and ahead changes of offset are looked up.
const REACH_DAYS: i64 = 3 * 366;

/// A time zone of the IANA database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Tz::from_str(name)
            .map(Self)
            .map_err(|_| format!("unknown time zone {name:?}; allowed: UTC and names such as Europe/Berlin"))
    }
}

impl Zone {
    /// The machine's, or UTC if it does not say.
    pub fn of_machine() -> Self {
        iana_time_zone::get_timezone().ok().and_then(|name| name.parse().ok()).unwrap_or(Self(Tz::UTC))
    }

    /// The zone's name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The offsets in the years around `now`.
    pub fn offsets(self, now: Timestamp) -> ZoneOffsets {
        let mut day = now.plus_ms(-REACH_DAYS * DAY_MS);
        let mut transitions = vec![(day, self.offset_s(day))];
        for _ in 0..2 * REACH_DAYS {
            let next = day.plus_ms(DAY_MS);
            let offset = self.offset_s(next);
            if offset != self.offset_s(day) {
                transitions.push((self.change_between(day, next), offset));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_changes_to_the_instant() {
        let at = |text| Timestamp::parse(text).unwrap();
        let berlin = "Europe/Berlin".parse::<Zone>().unwrap().offsets(at("2026-09-20T00:00:00Z"));
        for (instant, offset) in [
            ("2026-03-29T00:59:59.999Z", 3_600),
            ("2026-03-29T01:00:00Z", 7_200),
            ("2026-10-25T00:59:59.999Z", 7_200),
            ("2026-10-25T01:00:00Z", 3_600),
        ] {
            assert_eq!(berlin.offset_s(at(instant)), offset, "{instant}");
        }
        assert_eq!("UTC".parse::<Zone>().unwrap().name(), "UTC");
        assert!("Mars/Olympus".parse::<Zone>().unwrap_err().contains("Europe/Berlin"));
    }
}
