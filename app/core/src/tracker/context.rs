//! `ContextTracker`: how full each session's context window is.
//!
//! The fill is what the last main-chain request carried in: input, cache writes and cache reads. It
//! is the vendor's own formula, and needs no folding: the newest line says it. The window's size
//! follows from the model's name, or from having seen more than fits in the small one. Other tools
//! say both themselves. Levels are taken of the usable part, up to where the tool compacts by itself.

use std::collections::BTreeMap;

use crate::event::{ContextPoint, ContextUpdate, Event};
use crate::ids::{ModelId, SessionId};
use crate::ledger::FileId;
use crate::level::{Level, LevelGauge, Thresholds};
use crate::record::{Compaction, CompactionTrigger, ContextFill, Tool, UsageRecord};
use crate::state::push_context_point;
use crate::time::Timestamp;
use crate::units::Tokens;

/// The usual window.
const SMALL_WINDOW: Tokens = Tokens(200_000);
/// The window of the newest models, and of `[1m]` variants.
const LARGE_WINDOW: Tokens = Tokens(1_000_000);
/// The tool compacts this far below the window's end: 20,000 for the answer and 13,000 of margin
/// (fits five observed compactions and the documented 967k of a 1M window).
pub const AUTO_COMPACT_BUFFER: Tokens = Tokens(33_000);

/// Codex says how much of its model's window it uses: 95 %. It compacts by itself at 90 % of the whole.
const CODEX_WINDOW_PERCENT: u64 = 95;
/// See [`CODEX_WINDOW_PERCENT`].
const CODEX_COMPACT_PERCENT: u64 = 90;

/// Size of a model's context window; `seen` is the largest fill observed with it.
pub fn window_tokens(model: &ModelId, seen: Tokens) -> Tokens {
    if seen > SMALL_WINDOW || wide_by_name(model.as_str()) { LARGE_WINDOW } else { SMALL_WINDOW }
}

/// `[1m]` variants, Fable and Sonnet from 5 on, Opus from 4.7 on.
fn wide_by_name(model: &str) -> bool {
    if model.ends_with("[1m]") {
        return true;
    }
    let Some((family, version)) = model.strip_prefix("claude-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major_length = digits(version);
    let Ok(major) = version[..major_length].parse::<u32>() else { return false };
    // A longer run of digits after the dash is a date, not a minor version.
    let minor = version[major_length..].strip_prefix('-').map_or(0, |rest| match digits(rest) {
        length @ (1 | 2) => rest[..length].parse().unwrap_or(0),
        _ => 0,
    });
    match family {
        "fable" | "sonnet" => (major, minor) >= (5, 0),
        "opus" => (major, minor) >= (4, 7),
        _ => false,
    }
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct ContextTracker {
    sessions: BTreeMap<SessionId, Fill>,
}

#[derive(Debug, Default)]
struct Fill {
    used: Option<Tokens>,
    /// The window's size, if the tool says it.
    window: Option<Tokens>,
    model: Option<ModelId>,
    /// Largest fill seen with each model: more than the small window holds means the large one.
    seen: BTreeMap<ModelId, Tokens>,
    /// The file that said so last. Within a file its order decides, between files time does.
    file: Option<FileId>,
    as_of: Timestamp,
    compaction: Option<CompactionTrigger>,
    gauge: LevelGauge,
    changed: bool,
    /// The curve so far, for announcing the session.
    history: Vec<ContextPoint>,
}

impl ContextTracker {
    pub(super) fn usage_seen(&mut self, file: FileId, record: &UsageRecord) {
        if record.sidechain || record.tool != Tool::ClaudeCode {
            return;
        }
        let fill = self.sessions.entry(record.session.clone()).or_default();
        let Some(at) = fill.newer(file, record.at) else { return };
        let used = record.usage.context();
        if fill.used == Some(used) && fill.model.as_ref() == Some(&record.model) {
            return; // the same message once more
        }
        let seen = fill.seen.entry(record.model.clone()).or_default();
        *seen = (*seen).max(used);
        fill.used = Some(used);
        fill.model = Some(record.model.clone());
        fill.set(at, false);
    }

    /// What a tool says of its own window.
    pub(super) fn fill(&mut self, file: FileId, said: &ContextFill) {
        let fill = self.sessions.entry(said.session.clone()).or_default();
        let Some(at) = fill.newer(file, said.at) else { return };
        let same = fill.used == Some(said.used) && fill.window == Some(said.window);
        if same && fill.model.as_ref() == Some(&said.model) {
            return;
        }
        fill.used = Some(said.used);
        fill.window = Some(said.window);
        fill.model = Some(said.model.clone());
        fill.set(at, false);
    }

    pub(super) fn compaction(&mut self, file: FileId, compaction: &Compaction) {
        let fill = self.sessions.entry(compaction.session.clone()).or_default();
        let Some(at) = fill.newer(file, compaction.at) else { return };
        fill.used = compaction.post_tokens;
        fill.compaction = Some(compaction.trigger);
        let level = fill.figures().2;
        fill.gauge.reset(level);
        fill.set(at, true);
    }

    /// Tells what changed for one session; all of it, curve included, if it is being announced.
    pub(super) fn flush(&mut self, id: &SessionId, now: Timestamp, announce: bool, events: &mut Vec<Event>) {
        let Some(fill) = self.sessions.get_mut(id) else { return };
        let (limit, compact_at, raw) = fill.figures();
        let before = fill.gauge.shown();
        let status = fill.gauge.observe(raw, now);
        if fill.changed || announce || before != status {
            fill.changed = false;
            let compaction = fill.compaction.take();
            events.push(Event::ContextUpdate(ContextUpdate {
                id: id.clone(),
                used: fill.used,
                limit,
                compact_at,
                percent: fill.used.and_then(|used| used.percent_of(limit)),
                usable_percent: fill.used.and_then(|used| used.percent_of(compact_at)),
                to_compact_percent: fill.used.and_then(|used| (compact_at - used).percent_of(limit)),
                status,
                model: fill.model.clone(),
                as_of: fill.as_of,
                compaction: compaction.filter(|_| !announce),
                history: announce.then(|| fill.history.clone()),
            }));
        }
    }
}

impl Fill {
    /// The time of a line, if what it says is newer than what is known.
    fn newer(&mut self, file: FileId, at: Option<Timestamp>) -> Option<Timestamp> {
        let at = at.unwrap_or(self.as_of);
        let newer = self.file == Some(file) || at >= self.as_of;
        if newer {
            self.file = Some(file);
        }
        newer.then_some(at)
    }

    fn set(&mut self, at: Timestamp, compaction: bool) {
        self.as_of = at;
        self.changed = true;
        push_context_point(&mut self.history, ContextPoint { at, used: self.used, compaction });
    }

    /// Window, auto-compaction threshold and raw level.
    fn figures(&self) -> (Tokens, Tokens, Level) {
        let (limit, compact_at) = match self.window {
            Some(window) => (window, Tokens(window.0 / CODEX_WINDOW_PERCENT * CODEX_COMPACT_PERCENT)),
            None => {
                let seen = self.model.as_ref().and_then(|model| self.seen.get(model)).copied().unwrap_or_default();
                let limit = self.model.as_ref().map_or(SMALL_WINDOW, |model| window_tokens(model, seen));
                (limit, limit - AUTO_COMPACT_BUFFER)
            }
        };
        let percent = self.used.and_then(|used| used.percent_of(compact_at));
        (limit, compact_at, percent.map_or(Level::Healthy, |percent| Thresholds::CONTEXT.level(percent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_window_follows_from_the_name_or_from_what_was_seen() {
        for (model, wide) in [
            ("claude-opus-4-5-20251101", false),
            ("claude-opus-4-20250514", false),
            ("claude-opus-4-7", true),
            ("claude-opus-4-7-20260101", true),
            ("claude-opus-5", true),
            ("claude-sonnet-4-5", false),
            ("claude-sonnet-4-5[1m]", true),
            ("claude-sonnet-5-20260301", true),
            ("claude-fable-5", true),
            ("claude-haiku-9", false),
            ("gpt-5", false),
        ] {
            assert_eq!(wide_by_name(model), wide, "{model}");
        }
        let model = ModelId::new("claude-sonnet-4-5");
        assert_eq!(window_tokens(&model, Tokens(200_000)), SMALL_WINDOW);
        assert_eq!(window_tokens(&model, Tokens(200_001)), LARGE_WINDOW);
    }
}
