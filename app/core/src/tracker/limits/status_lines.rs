//! How old what a status line says is.
//!
//! A tool draws its status line again and again, also of a session that has been idle for hours, and hands it the limits
//! that the session's last response named. They are as old as that response: a statement is new only if the time for
//! which the session has waited for the vendor has risen, or the limits have changed.

use std::collections::BTreeMap;

use crate::ids::SessionId;
use crate::record::{StatedLimit, StatusLine};
use crate::time::{MINUTE_MS, Timestamp};

/// Sessions remembered; beyond, the one heard of longest ago goes.
const MAX_SESSIONS: usize = 200;
/// A session that wrote nothing for longer has had no response since.
const QUIET_MS: i64 = 2 * MINUTE_MS;

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct StatusLines(BTreeMap<SessionId, Seen>);

/// What a session's status line was last told.
#[derive(Debug)]
struct Seen {
    api_ms: Option<u64>,
    limits: Vec<StatedLimit>,
    /// When the limits were true.
    as_of: Timestamp,
    at: Timestamp,
}

impl StatusLines {
    /// When the limits in `line`, told at `now`, were true. `last_line` is when the session last wrote anything.
    pub(super) fn as_of(&mut self, line: &StatusLine, last_line: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let at = line.relayed_at.map_or(now, |at| at.min(now));
        let Some(session) = &line.session else { return at };
        let known = self.0.get(session);
        let is_repeated = known.filter(|seen| seen.limits == line.limits && seen.api_ms == line.api_ms);
        let as_of = match (is_repeated, known) {
            (Some(seen), _) => seen.as_of,
            (None, Some(_)) => at,
            (None, None) => last_line.filter(|last| at.ms_since(*last) > QUIET_MS).unwrap_or(at),
        };
        let seen = Seen { api_ms: line.api_ms, limits: line.limits.clone(), as_of, at };
        self.0.insert(session.clone(), seen);
        if self.0.len() > MAX_SESSIONS {
            let oldest = self.0.iter().min_by_key(|(id, seen)| (seen.at, *id)).map(|(id, _)| id.clone());
            oldest.into_iter().for_each(|id| drop(self.0.remove(&id)));
        }
        as_of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LimitKey, Tool};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_789_912_800_000 + minutes * MINUTE_MS)
    }

    fn line(session: &str, percent: f64, api_ms: u64) -> StatusLine {
        let limit = LimitKey::five_hour(Tool::ClaudeCode);
        let limits = vec![StatedLimit { limit, used_percent: Some(percent), resets_at: None, rejected: false }];
        StatusLine { session: Some(session.into()), api_ms: Some(api_ms), limits, ..StatusLine::default() }
    }

    #[test]
    fn what_an_idle_session_repeats_grows_old() {
        let mut lines = StatusLines::default();
        assert_eq!(lines.as_of(&line("a", 40.0, 100), None, at(0)), at(0));
        assert_eq!(lines.as_of(&line("a", 40.0, 100), Some(at(0)), at(90)), at(0), "drawn again");
        assert_eq!(lines.as_of(&line("a", 40.0, 200), Some(at(91)), at(91)), at(91), "another response, same share");
        assert_eq!(lines.as_of(&line("b", 12.0, 7), Some(at(-60)), at(92)), at(-60), "idle since before we looked");
        assert_eq!(lines.as_of(&line("c", 12.0, 7), Some(at(92)), at(93)), at(93));
        let kept = StatusLine { relayed_at: Some(at(80)), ..line("d", 12.0, 7) };
        assert_eq!(lines.as_of(&kept, None, at(93)), at(80));
    }

    #[test]
    fn few_sessions_are_remembered() {
        let mut lines = StatusLines::default();
        for number in 0..300 {
            lines.as_of(&line(&number.to_string(), 1.0, 1), None, at(number));
        }
        assert_eq!(lines.0.len(), MAX_SESSIONS);
        assert_eq!(lines.as_of(&line("299", 1.0, 1), None, at(400)), at(299));
    }
}
