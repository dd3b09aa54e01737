//! `GET /calendar.ics`: when limits are reset, for a calendar that subscribes.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use dashboard_core::format;
use dashboard_core::state::{DashboardState, LimitState};
use dashboard_core::time::{HOUR_MS, MINUTE_MS, Timestamp};
use icalendar::{Calendar, Component, Event, EventLike};

use super::{App, Problem};

/// How long an event is shown: a reset is an instant, of which calendars show nothing.
const SHOWN_MS: i64 = 15 * MINUTE_MS;
/// How often a calendar is to ask again, as RFC 7986 writes an hour.
const REFRESH: &str = "PT1H";

pub(super) async fn calendar(State(app): State<App>) -> Result<Response, Problem> {
    let snapshot = app.hub.snapshot().await.map_err(|_| Problem::stopping())?;
    let text = text(&snapshot.state, app.clock.now());
    let headers = [
        (CONTENT_TYPE, "text/calendar; charset=utf-8"),
        (CONTENT_DISPOSITION, "inline; filename=\"dashboard.ics\""),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}

/// The calendar: one event for each limit whose reset is known and still to come.
fn text(state: &DashboardState, now: Timestamp) -> String {
    let mut calendar = Calendar::new();
    calendar.name("Dashboard: resets of limits").append_property(("REFRESH-INTERVAL;VALUE=DURATION", REFRESH));
    for limit in state.limits.values() {
        if let Some(reset) = limit.now.reset_time.filter(|&reset| reset > now) {
            calendar.push(event(state, limit, reset, now));
        }
    }
    calendar.done().to_string()
}

fn event(state: &DashboardState, limit: &LimitState, reset: Timestamp, now: Timestamp) -> Event {
    let key = limit.now.key.to_string();
    let title = state.limit_title(&limit.now.key);
    let mut about = match limit.now.percent {
        Some(percent) => format!("{} used", format::percent(percent)),
        None => format!("{} tokens used; the limit is not known", format::tokens(limit.now.used)),
    };
    let as_of = format::utc_offset(state.zone.offset_s(limit.now.as_of));
    let clock = format::clock_day(&state.zone, limit.now.as_of, now);
    // Writing to a string does not fail.
    let _ = write!(about, " at {clock} ({as_of}), {}", limit.now.provenance.as_str());
    let mut event = Event::new();
    event
        // The window's event moves when the vendor moves its reset by seconds; the next window has another.
        .uid(&format!("{}-{}@dashboard", key.replace('/', "-"), reset.unix_ms().div_euclid(HOUR_MS)))
        .timestamp(utc(now))
        .starts(utc(reset))
        .ends(utc(reset.plus_ms(SHOWN_MS)))
        .summary(&format!("{title}: reset"))
        .description(&about)
        .add_property("TRANSP", "TRANSPARENT");
    event.done()
}

fn utc(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.unix_ms()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use dashboard_core::event::{Event as Change, Provenance, QuotaUpdate};
    use dashboard_core::units::Tokens;

    use super::*;

    fn state(limits: &[(&str, Option<&str>)]) -> DashboardState {
        let mut state = DashboardState::default();
        for (key, reset) in limits {
            let update = QuotaUpdate {
                used: Tokens(12_345),
                percent: (*key == "codex/300").then_some(63.0),
                reset_time: reset.map(|text| Timestamp::parse(text).unwrap()),
                provenance: Provenance::Official,
                ..QuotaUpdate::unknown(key.parse().unwrap(), now())
            };
            state.apply_silently(&Change::QuotaUpdate(update), now());
        }
        state
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-09-20T12:00:00Z").unwrap()
    }

    #[test]
    fn it_is_a_calendar_of_the_resets_to_come() {
        let long = format!("codex/10080/other:{}", "x".repeat(30));
        let text = text(
            &state(&[
                ("codex/300", Some("2026-09-20T14:30:00Z")),
                (&long, Some("2026-09-24T09:00:00Z")),
                ("claude-code/300", Some("2026-09-20T11:59:59Z")),
                ("claude-code/10080", None),
            ]),
            now(),
        );
        // RFC 5545, 3.1: lines end with CRLF and are folded at 75 octets, never within a character.
        assert!(text.ends_with("END:VCALENDAR\r\n"), "{text}");
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert!(text.split("\r\n").all(|line| line.len() <= 75), "{text}");
        let unfolded = text.replace("\r\n ", "");
        assert!(unfolded.contains(&"x".repeat(30)) && unfolded.contains("63\u{202f}%"), "{unfolded}");
        assert_eq!(unfolded.matches("BEGIN:VEVENT").count(), 2, "neither past nor unknown: {unfolded}");
        for line in [
            "VERSION:2.0",
            "DTSTART:20260920T143000Z",
            "DTEND:20260920T144500Z",
            "DTSTAMP:20260920T120000Z",
            "TRANSP:TRANSPARENT",
        ] {
            assert!(unfolded.lines().any(|found| found == line), "{line}: {unfolded}");
        }
        assert!(unfolded.lines().any(|line| line.starts_with("PRODID:")));
        let uids: Vec<&str> = unfolded.lines().filter(|line| line.starts_with("UID:")).collect();
        assert!(uids.len() == 2 && uids[0] != uids[1], "{uids:?}");
    }
}
