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
use crate::level::{Level, LevelGauge};
use crate::order;
use crate::record::{Compaction, CompactionTrigger, ContextFill, StatusLine, Tool, UsageRecord};
use crate::settings::ContextLevels;
use crate::state::push_context_point;
use crate::time::Timestamp;
use crate::transcript::ContextRule;
use crate::units::Tokens;

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct ContextTracker {
    levels: ContextLevels,
    sessions: BTreeMap<SessionId, SessionContext>,
    /// Compactions up to this time make no events: they were read as history.
    reported_until: Option<Timestamp>,
}

/// A session's context window: what each of its files says, and what was reported.
#[derive(Debug, Default)]
struct SessionContext {
    files: BTreeMap<FileId, FileContext>,
    /// The window's size by the word of the session's status line, and the model that has it.
    stated: Option<(ModelId, Tokens)>,
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
    /// Whose file it is.
    tool: Tool,
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
    pub(super) fn new(levels: ContextLevels) -> Self {
        Self { levels, sessions: BTreeMap::new(), reported_until: None }
    }

    /// Levels begin elsewhere from now on.
    pub(super) fn set_levels(&mut self, levels: ContextLevels) {
        self.levels = levels;
    }

    fn file(&mut self, session: &SessionId, (tool, file): (Tool, FileId), path: &str) -> (&mut SessionContext, FileId) {
        if !self.sessions.contains_key(session) {
            let compaction_reported = self.reported_until;
            self.sessions.insert(session.clone(), SessionContext { compaction_reported, ..SessionContext::default() });
        }
        let context = self.sessions.entry(session.clone()).or_default();
        context.files.entry(file).or_insert_with(|| FileContext::new(tool, path));
        (context, file)
    }

    /// A response was read: what it carried in is the fill. Not of tools that state the fill themselves.
    pub(super) fn usage_seen(&mut self, file: (Tool, FileId), path: &str, record: &UsageRecord) {
        if record.sidechain || !matches!(record.tool.spec().context, ContextRule::FromUsage { .. }) {
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
    pub(super) fn fill(&mut self, file: (Tool, FileId), path: &str, stated: &ContextFill) {
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

    pub(super) fn compaction(&mut self, file: (Tool, FileId), path: &str, compaction: &Compaction) {
        let (context, file) = self.file(&compaction.session, file, path);
        let Some(fill) = context.files.get_mut(&file) else { return };
        fill.used = compaction.post_tokens;
        fill.set(compaction.at, Some(compaction.trigger));
        // Seldom, and it may be one that makes no event.
        (context.changed, context.redraw) = (true, true);
    }

    /// A session's status line states how large its window is. Of sessions without a transcript nothing is kept.
    pub(super) fn status_line(&mut self, line: &StatusLine) {
        let (Some(session), Some(model), Some(window)) = (&line.session, &line.model, line.context_window) else {
            return;
        };
        // Transcripts name a model without the suffix for its window.
        let model = ModelId::new(model.as_str().split('[').next().unwrap_or_default());
        if let Some(context) = self.sessions.get_mut(session)
            && context.stated.as_ref() != Some(&(model.clone(), window))
        {
            context.stated = Some((model, window));
            context.changed = true;
        }
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

    /// Sends what changed for one session; all of it, curve included, if it is being announced.
    pub(super) fn flush(
        &mut self,
        id: &SessionId,
        now: Timestamp,
        (announce, is_over): (bool, bool),
        events: &mut Vec<Event>,
    ) {
        let Some(context) = self.sessions.get_mut(id) else { return };
        let figures = context.figures(self.levels, now);
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
    fn figures(&self, levels: ContextLevels, now: Timestamp) -> Figures {
        let newest =
            self.files.values().max_by(|a, b| (a.known_as_of(now), &a.path).cmp(&(b.known_as_of(now), &b.path)));
        let model = newest.and_then(|file| file.model.clone());
        let rule = &newest.map_or(Tool::DEFAULT, |file| file.tool).spec().context;
        let stated = self.stated.as_ref().filter(|(of, _)| model.as_ref() == Some(of)).map(|(_, window)| *window);
        let limit = newest.and_then(|file| file.window).or(stated).unwrap_or_else(|| {
            let seen = model.as_ref().and_then(|model| self.files.values().filter_map(|it| it.seen.get(model)).max());
            let unknown = ModelId::new("unknown");
            rule.window(model.as_ref().unwrap_or(&unknown), seen.copied().unwrap_or_default())
        });
        let compact_at = rule.compacts_at(limit);
        let used = newest.and_then(|file| file.used);
        let percent = used.and_then(|used| used.percent_of(compact_at));
        let level = percent.map_or(Level::Healthy, |percent| levels.0.level(percent));
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

    fn new(tool: Tool, path: &str) -> Self {
        Self {
            tool,
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
