//! `ContextTracker`: how full each session's context window is.
//!
//! The fill is what the last main-chain request carried in: input, cache writes and cache reads. It
//! is the vendor's own formula, and needs no folding: the newest line says it. The window's size
//! follows from the model's name, or from having seen more than fits in the small one. Other tools
//! say both themselves. Levels are taken of the usable part, up to where the tool compacts by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{ContextPoint, ContextUpdate, Event};
use crate::ids::{ModelId, SessionId};
use crate::ledger::FileId;
use crate::level::{Level, LevelGauge, Thresholds};
use crate::order;
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
    sessions: BTreeMap<SessionId, SessionContext>,
    /// Compactions up to this time make no events: they were read as history.
    reported_until: Option<Timestamp>,
}

/// A session's context window: what each of its files says, and what was reported.
#[derive(Debug, Default)]
struct SessionContext {
    files: BTreeMap<FileId, FileContext>,
    gauge: LevelGauge,
    changed: bool,
    /// The curve has to be sent as a whole: some of it was withdrawn, or a compaction is in it.
    redraw: bool,
    /// Whether the state shows anything of it.
    is_reported: bool,
    /// The level reported last.
    status_reported: Level,
    /// Time of the newest fill reported.
    as_of_reported: Timestamp,
    /// The newest compaction for which an event was made, or which was history.
    compaction_reported: Option<Timestamp>,
}

/// What one file says of a context window. Within a file the order of lines decides, between files time does.
#[derive(Debug)]
struct FileContext {
    /// Decides between files of the same time.
    path: Arc<str>,
    /// Tokens in the window; none after a compaction of unknown result.
    used: Option<Tokens>,
    /// The window's size, if the tool states it.
    window: Option<Tokens>,
    model: Option<ModelId>,
    /// Time of the newest line that says anything of it.
    as_of: Timestamp,
    /// Largest fill seen with each model: more than the small window holds means the large one.
    seen: BTreeMap<ModelId, Tokens>,
    /// Its newest compaction.
    compaction: Option<(Timestamp, CompactionTrigger)>,
    /// The curve so far; bounded by [`push_context_point`].
    curve: Vec<ContextPoint>,
}

impl ContextTracker {
    fn file(&mut self, session: &SessionId, file: FileId, path: &str) -> (&mut SessionContext, FileId) {
        if !self.sessions.contains_key(session) {
            let compaction_reported = self.reported_until;
            self.sessions.insert(session.clone(), SessionContext { compaction_reported, ..SessionContext::default() });
        }
        let context = self.sessions.entry(session.clone()).or_default();
        context.files.entry(file).or_insert_with(|| FileContext::new(path));
        (context, file)
    }

    /// A response was read: what it carried in is the fill. Not of tools that state the fill themselves.
    pub(super) fn usage_seen(&mut self, file: FileId, path: &str, record: &UsageRecord) {
        if record.sidechain || record.tool != Tool::ClaudeCode {
            return;
        }
        let used = record.usage.context();
        let (context, file) = self.file(&record.session, file, path);
        let Some(fill) = context.files.get_mut(&file) else { return };
        if fill.used == Some(used) && fill.model.as_ref() == Some(&record.model) {
            return; // the same message once more
        }
        let seen = fill.seen.entry(record.model.clone()).or_default();
        *seen = (*seen).max(used);
        fill.used = Some(used);
        fill.model = Some(record.model.clone());
        fill.set(record.at, None);
        context.changed = true;
    }

    /// What a tool states of its own window.
    pub(super) fn fill(&mut self, file: FileId, path: &str, stated: &ContextFill) {
        let (context, file) = self.file(&stated.session, file, path);
        let Some(fill) = context.files.get_mut(&file) else { return };
        let is_same = fill.used == Some(stated.used) && fill.window == Some(stated.window);
        if is_same && fill.model.as_ref() == Some(&stated.model) {
            return;
        }
        fill.used = Some(stated.used);
        fill.window = Some(stated.window);
        fill.model = Some(stated.model.clone());
        fill.set(stated.at, None);
        context.changed = true;
    }

    pub(super) fn compaction(&mut self, file: FileId, path: &str, compaction: &Compaction) {
        let (context, file) = self.file(&compaction.session, file, path);
        let Some(fill) = context.files.get_mut(&file) else { return };
        fill.used = compaction.post_tokens;
        fill.set(compaction.at, Some(compaction.trigger));
        // Seldom, and it may be one that makes no event.
        (context.changed, context.redraw) = (true, true);
    }

    /// What the file said is withdrawn.
    pub(super) fn retract(&mut self, file: FileId) {
        for context in self.sessions.values_mut() {
            if context.files.remove(&file).is_some() {
                (context.changed, context.redraw) = (true, true);
            }
        }
    }

    /// A time that was to come has come: the session's curve changes.
    pub(super) fn matured(&mut self, session: &SessionId) {
        if let Some(context) = self.sessions.get_mut(session) {
            (context.changed, context.redraw) = (true, true);
        }
    }

    /// The session is held no more.
    pub(super) fn forget(&mut self, session: &SessionId) {
        self.sessions.remove(session);
    }

    /// What was read until now is history: its compactions make no events.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.reported_until = Some(now);
        self.sessions.values_mut().for_each(|context| context.compaction_reported = Some(now));
    }

    /// Sends what changed for one session; all of it, curve included, if it is being announced. Nobody is warned of a
    /// session that is over.
    pub(super) fn flush(
        &mut self,
        id: &SessionId,
        now: Timestamp,
        (announce, is_over): (bool, bool),
        events: &mut Vec<Event>,
    ) {
        let Some(context) = self.sessions.get_mut(id) else { return };
        let figures = context.figures(now);
        let compaction = context.take_compaction(announce, now);
        if compaction.is_some() {
            context.gauge.reset(figures.level);
        }
        // A fill older than the newest one reported is being read once more, or what came after it was withdrawn: it is
        // no reason to warn.
        let is_old = figures.as_of < context.as_of_reported;
        context.as_of_reported = context.as_of_reported.max(figures.as_of);
        let is_old = is_old || is_over;
        let status = if is_old { figures.level } else { context.gauge.observe(figures.level, now) };
        if context.files.is_empty() && !context.is_reported {
            return;
        }
        if context.changed || announce || context.status_reported != status {
            context.changed = false;
            context.status_reported = status;
            context.is_reported = !context.files.is_empty();
            let redraw = std::mem::take(&mut context.redraw) || announce || is_old;
            let Figures { used, limit, compact_at, .. } = figures;
            events.push(Event::ContextUpdate(ContextUpdate {
                id: id.clone(),
                used,
                limit,
                compact_at,
                percent: used.and_then(|used| used.percent_of(limit)),
                usable_percent: used.and_then(|used| used.percent_of(compact_at)),
                to_compact_percent: used.and_then(|used| (compact_at - used).percent_of(limit)),
                status,
                model: figures.model,
                as_of: figures.as_of,
                compaction,
                history: redraw.then(|| context.curve(now)),
            }));
        }
    }
}

/// A window's figures, as the newest of its files has them.
struct Figures {
    used: Option<Tokens>,
    limit: Tokens,
    /// Where the tool compacts by itself.
    compact_at: Tokens,
    /// By percent alone.
    level: Level,
    model: Option<ModelId>,
    as_of: Timestamp,
}

impl SessionContext {
    fn figures(&self, now: Timestamp) -> Figures {
        let newest =
            self.files.values().max_by(|a, b| (a.known_as_of(now), &a.path).cmp(&(b.known_as_of(now), &b.path)));
        let model = newest.and_then(|file| file.model.clone());
        let (limit, compact_at) = match newest.and_then(|file| file.window) {
            Some(window) => (window, Tokens(window.0 / CODEX_WINDOW_PERCENT * CODEX_COMPACT_PERCENT)),
            None => {
                let seen =
                    model.as_ref().and_then(|model| self.files.values().filter_map(|it| it.seen.get(model)).max());
                let seen = seen.copied().unwrap_or_default();
                let limit = model.as_ref().map_or(SMALL_WINDOW, |model| window_tokens(model, seen));
                (limit, limit - AUTO_COMPACT_BUFFER)
            }
        };
        let used = newest.and_then(|file| file.used);
        let percent = used.and_then(|used| used.percent_of(compact_at));
        let level = percent.map_or(Level::Healthy, |percent| Thresholds::CONTEXT.level(percent));
        let as_of = newest.and_then(|file| file.known_as_of(now)).unwrap_or_default();
        Figures { used, limit, compact_at, level, model, as_of }
    }

    /// The newest compaction, if no event was made for it yet; one read once more, or as history, makes none.
    fn take_compaction(&mut self, announce: bool, now: Timestamp) -> Option<CompactionTrigger> {
        let compactions = self.files.values().filter_map(|file| file.compaction);
        let (at, trigger) = compactions.filter(|(at, _)| at.known_at(now).is_some()).max()?;
        let is_new = self.compaction_reported.is_none_or(|reported| at > reported);
        self.compaction_reported = self.compaction_reported.max(Some(at));
        (is_new && !announce).then_some(trigger)
    }

    /// The curves of all files, in order of time.
    fn curve(&self, now: Timestamp) -> Vec<ContextPoint> {
        let mut files: Vec<&FileContext> = self.files.values().collect();
        order::sort(&mut files, &|a, b| a.path.cmp(&b.path));
        let known = |point: &ContextPoint| point.at.known_at(now).is_some();
        let mut all: Vec<ContextPoint> =
            files.iter().flat_map(|file| file.curve.iter().copied()).filter(known).collect();
        order::sort(&mut all, &|a, b| a.at.cmp(&b.at));
        let mut curve = Vec::with_capacity(all.len());
        all.into_iter().for_each(|point| push_context_point(&mut curve, point));
        curve
    }
}

impl FileContext {
    /// When it was true. Of a line dated in the future, the time of the newest point before that is known.
    fn known_as_of(&self, now: Timestamp) -> Option<Timestamp> {
        let known = |at: Timestamp| at.known_at(now);
        known(self.as_of).or_else(|| self.curve.iter().rev().find_map(|point| known(point.at)))
    }

    fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            used: None,
            window: None,
            model: None,
            as_of: Timestamp::default(),
            seen: BTreeMap::new(),
            compaction: None,
            curve: Vec::new(),
        }
    }

    /// Takes a point as the newest of the file; a line without a time has that of the one before.
    fn set(&mut self, at: Option<Timestamp>, compaction: Option<CompactionTrigger>) {
        let at = at.unwrap_or(self.as_of);
        self.as_of = at;
        if let Some(trigger) = compaction {
            self.compaction = self.compaction.max(Some((at, trigger)));
        }
        let point = ContextPoint { at, used: self.used, compaction: compaction.is_some() };
        push_context_point(&mut self.curve, point);
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
