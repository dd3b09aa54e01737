//! Records and time in, events out.
//!
//! [`Trackers`] owns the ledger and its trackers: [`SessionMonitor`](session), which knows what each session does
//! and used; [`QuotaTracker`](limits); [`ContextTracker`](context); and the [usage of days](cost). [`SessionMemory`] answers of
//! the past, from the rows of reports. Records only mark what
//! they touch; [`Trackers::flush`] then reports what changed, so that a burst of lines makes one event per session and
//! not one per line. Time is an argument: what happens without records (a reset, a session falling silent) happens in
//! `flush`.
//!
//! Everything a file says can be withdrawn ([`Trackers::retract_file`]): the ledger drops its claims, the trackers its
//! contributions. What is left is what reading the other files alone would have given, and what is read again makes no
//! event a second time.
//!
//! # What is held
//! With a store behind them, the trackers hold the claims and sessions of the present; the owner recalls what records
//! [need](Trackers::needs) of the past before it hands them in, and [releases](Trackers::release) what is committed and
//! over. Without one, they hold everything.

mod blocks;
mod context;
mod cost;
mod future;
mod limits;
mod memory;
mod outcome;
mod plan;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::accounts::Accounts;
use crate::alert::{self, Alert, AlertMemory, AlertSubject, Condition, News};
use crate::event::{Event, HealthCheck, HealthError, IngestUpdate, SessionError};
use crate::history::{History, Sessions};
use crate::ids::{MessageId, ModelId, SessionId};
use crate::ledger::{Change, FileId, Ledger, Scope};
use crate::price::PriceTable;
use crate::record::{
    Compaction, ContextFill, FileCounts, Lineage, Presence, RateLimitReport, ReadProgress, ReadingEntry, Record,
    Rejection, Statement, StatusLine, Tool, UsageRecord,
};
use crate::session::SessionFacts;
use crate::settings::Settings;
use crate::state::{DashboardState, Mode};
use crate::time::{HOUR_MS, Timestamp, ZoneOffsets};
use crate::units::{Cost, Tokens};

use self::future::Future;

pub use crate::transcript::{AUTO_COMPACT_BUFFER, window_tokens};
pub use blocks::{BLOCK_MS, Block, blocks, is_gap};
pub use limits::{KEPT_MS as LIMITS_REACH_BACK_MS, LimitReading};
pub use memory::{Basis, CanStart, Fits, LEAST_SESSIONS, PeakHour, Prediction, Room, SessionMemory, WeeklyTrend};
pub use plan::Plan;
pub use session::DIRECTORIES_KEPT_MS;

/// Newest refused lines kept in the state.
pub const RECENT_REJECTIONS: usize = 20;
/// Sessions silent for longer than this, and before today, are held no more: longer than the five-hour window, whose
/// use is attributed to sessions.
const HELD_AFTER_END_MS: i64 = 6 * HOUR_MS;

/// Sessions silent since before this are not held; `today` is when the present day began.
pub fn held_since(today: Timestamp, now: Timestamp) -> Timestamp {
    today.min(now.plus_ms(-HELD_AFTER_END_MS))
}

/// What the trackers have to know that no record says.
#[derive(Clone, Debug, Default)]
pub struct TrackerConfig {
    /// Where the records come from.
    pub mode: Mode,
    /// The zone in which days begin.
    pub zone: ZoneOffsets,
    /// The user's plan, if told.
    pub plan: Option<Plan>,
    /// What the user decides about levels, warnings and budgets.
    pub settings: Settings,
}

/// See the [module's description](self).
#[derive(Debug)]
pub struct Trackers {
    config: TrackerConfig,
    prices: Arc<PriceTable>,
    ledger: Ledger,
    sessions: session::SessionMonitor,
    quota: limits::QuotaTracker,
    context: context::ContextTracker,
    cost: cost::CostTracker,
    /// Lines dated in the future, to be taken with their time once it has come.
    future: Future,
    /// What tools say their sessions used, by file.
    accounts: BTreeMap<FileId, Accounts>,
    /// Responses with tokens but without a price, by model.
    unpriced: BTreeMap<ModelId, u64>,
    /// Responses that count, held or not.
    responses: u64,
    recent_rejections: VecDeque<(FileId, Rejection)>,
    /// How far the first read has come; none when it is done.
    progress: Option<ReadProgress>,
    ingest_changed: bool,
    /// Events that need no more than passing on.
    waiting: Vec<Event>,
    /// When numbering began; before, records are history.
    begun: Option<Timestamp>,
    /// What the user was told of, and wants to hear no more of.
    memory: AlertMemory,
    /// Whether history was being read at the last look for alerts: sums of days grew by what is old.
    was_reading: bool,
}

/// What a look for alerts found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Warnings {
    /// The events that tell of it.
    pub events: Vec<Event>,
    /// What is to be delivered now, worst first.
    pub due: Vec<Alert>,
}

/// A response that came into, or went out of, the count, with its price.
#[derive(Clone, Copy, Debug)]
struct PricedChange<'a> {
    record: &'a UsageRecord,
    cost: Cost,
    added: bool,
}

/// What has to be recalled before records can be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Messages of which no claim is held.
    pub messages: Vec<MessageId>,
    /// Sessions that are not held.
    pub sessions: BTreeSet<SessionId>,
    /// Files of which not all claims are held.
    pub files: BTreeSet<FileId>,
}

impl Needs {
    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.sessions.is_empty() && self.files.is_empty()
    }
}

impl Trackers {
    /// Trackers that know nothing yet.
    pub fn new(config: TrackerConfig, prices: Arc<PriceTable>) -> Self {
        Self {
            sessions: session::SessionMonitor::default(),
            quota: limits::QuotaTracker::new(
                config.plan,
                config.mode,
                config.settings.quota_levels,
                config.zone.clone(),
            ),
            context: context::ContextTracker::new(config.settings.context_levels),
            cost: cost::CostTracker::new(config.zone.clone()),
            future: Future::default(),
            config,
            prices,
            ledger: Ledger::default(),
            accounts: BTreeMap::new(),
            unpriced: BTreeMap::new(),
            responses: 0,
            recent_rejections: VecDeque::new(),
            progress: None,
            ingest_changed: true,
            waiting: Vec::new(),
            memory: AlertMemory::default(),
            was_reading: false,
            begun: None,
        }
    }

    /// The ledger: who claimed what.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Everything reports are made of, as it is now. Only what is held: of trackers that never released anything.
    pub fn history(&self) -> History {
        let mut sessions = Sessions::default();
        self.sessions.facts().for_each(|(id, facts)| sessions.insert(id, facts));
        self.accounts.values().for_each(|accounts| sessions.accounts.merge(accounts.clone()));
        History::of(&self.ledger, Scope::All, sessions)
    }

    /// The number of the tool's file at `path`, relative to its root.
    pub fn file(&mut self, tool: Tool, path: &str) -> FileId {
        self.ledger.file(tool, path)
    }

    /// What the tool's vendor last said of each of its limits.
    pub fn rate_limits(&self, tool: Tool) -> impl Iterator<Item = LimitReading<'_>> {
        self.quota.readings(tool)
    }

    /// The file was truncated or rewritten: what it said is withdrawn. All of it must be held.
    pub fn retract_file(&mut self, file: FileId, now: Timestamp) {
        self.mature(now);
        let mut changes = Vec::new();
        self.ledger.retract(file, &mut |change| changes.push(owned(change)));
        self.take_changes(&changes, now);
        self.sessions.retract(file);
        self.quota.moved();
        self.context.retract(file);
        self.future.retract(file);
        self.accounts.remove(&file);
        self.recent_rejections.retain(|(other, _)| *other != file);
        self.ingest_changed = true;
        self.quota.retract(file);
    }

    /// The file was deleted: what it said stays.
    pub fn archive_file(&mut self, file: FileId) {
        self.ledger.archive(file);
        self.ingest_changed = true;
    }

    /// What has been read of the file so far.
    pub fn set_counts(&mut self, file: FileId, counts: FileCounts) {
        self.ledger.set_counts(file, counts);
        self.ingest_changed = true;
    }

    /// What has been read of the file so far.
    pub fn counts(&self, file: FileId) -> FileCounts {
        self.ledger.counts_of_file(file)
    }

    /// A line of the file was refused.
    pub fn reject(&mut self, file: FileId, rejection: Rejection) {
        if self.recent_rejections.len() == RECENT_REJECTIONS {
            self.recent_rejections.pop_front();
        }
        self.recent_rejections.push_back((file, rejection.clone()));
        self.ledger.reject(file, rejection);
        self.ingest_changed = true;
    }

    /// How far the first read has come; none when it is done.
    pub fn progress(&mut self, progress: Option<ReadProgress>) {
        self.ingest_changed |= self.progress != progress;
        self.progress = progress;
    }

    /// Takes one record of the file, read at `now`. What it [needs](Self::needs) must be held.
    pub fn record(&mut self, file: FileId, record: &Record, now: Timestamp) {
        self.mature(now);
        match record {
            Record::Usage(usage) => {
                let mut changes = Vec::new();
                self.ledger.claim(file, usage, &mut |change| changes.push(owned(change)));
                // Before the changes: they are of sessions held.
                self.contribute(file, record, now);
                self.take_changes(&changes, now);
                self.ingest_changed = true;
            }
            Record::Lineage(lineage) => {
                let mut changes = Vec::new();
                self.ledger.lineage(file, lineage, &mut |change| changes.push(owned(change)));
                // Before the changes: claims of the file may now be of this session.
                self.sessions.mentioned(file, &lineage.session);
                self.take_changes(&changes, now);
            }
            _ => self.contribute(file, record, now),
        }
    }

    /// What a record says besides its claim: of a session, a context, a limit. A time that is still to come is unknown
    /// until it has.
    fn contribute(&mut self, file: FileId, record: &Record, now: Timestamp) {
        let future = record.at().filter(|at| at.known_at(now).is_none());
        let undated = future.map(|at| {
            self.future.defer(at, file, record);
            record.session().into_iter().for_each(|session| self.sessions.expect(session, at));
            self.ingest_changed = true;
            record.clone().without_time()
        });
        // What a line says of a context holds by its place in the file; its time is looked at when it is shown.
        let (source, path) = ((self.ledger.tool(file), file), self.ledger.path(file));
        match record {
            Record::Usage(usage) => self.context.usage_seen(source, path, usage),
            Record::Context(fill) => self.context.fill(source, path, fill),
            Record::Compaction(compaction) => self.context.compaction(source, path, compaction),
            _ => {}
        }
        match undated {
            None => self.contribute_known(file, record),
            Some(Some(undated)) => self.contribute_known(file, &undated),
            // Without its time it says nothing.
            Some(None) => {}
        }
    }

    /// What a record says of a session or a limit.
    fn contribute_known(&mut self, file: FileId, record: &Record) {
        match record {
            Record::Usage(usage) => self.sessions.usage_seen(file, usage),
            Record::Session(meta) => {
                self.sessions.meta(file, meta);
                self.quota.moved();
            }
            Record::Agent(agent) => self.sessions.agent(file, agent),
            Record::Context(ContextFill { session, .. }) | Record::Compaction(Compaction { session, .. }) => {
                self.sessions.mentioned(file, session);
            }
            Record::RateLimit(report) => {
                self.ingest_changed |= !self.quota.add(file, report);
                self.sessions.refused(file, report);
            }
            Record::ToolCost(account) => self.accounts.entry(file).or_default().take(account),
            // Nothing is shown of it yet.
            Record::Account(_) => {}
            Record::ApiError(error) => {
                let seen = self.sessions.error(file, &error.session, error.at, error.kind);
                if let (Some(error), Some(begun)) = (seen, self.begun)
                    && error.at > begun
                {
                    let error = SessionError { id: error.session.clone(), error: error.kind };
                    self.waiting.push(Event::SessionError(error));
                }
            }
            // Activity is for the store; lineage is a matter of claims.
            Record::Activity(_) | Record::Lineage(_) => {}
        }
    }

    /// Takes what was dated in the future, and is so no longer.
    fn mature(&mut self, now: Timestamp) {
        for (file, record) in self.future.due_records(now) {
            self.contribute_known(file, &record);
            record.session().into_iter().for_each(|session| self.context.matured(session));
            self.ingest_changed = true;
        }
        for record in self.future.due_responses(now) {
            let undated = UsageRecord { at: None, ..record.clone() };
            self.take_change(&undated, false);
            self.take_change(&record, true);
        }
    }

    fn take_changes(&mut self, changes: &[(UsageRecord, bool)], now: Timestamp) {
        for (record, added) in changes {
            match record.at {
                Some(at) if at.known_at(now).is_none() => {
                    self.future.change(at, record, *added);
                    self.take_change(&UsageRecord { at: None, ..record.clone() }, *added);
                }
                _ => self.take_change(record, *added),
            }
        }
    }

    fn take_change(&mut self, record: &UsageRecord, added: bool) {
        let change = self.priced(record, added);
        self.sessions.change(change);
        self.quota.change(change);
        self.cost.change(change);
        self.responses = if added { self.responses + 1 } else { self.responses.saturating_sub(1) };
        if change.cost.unpriced_responses > 0 {
            let count = self.unpriced.entry(record.model.clone()).or_default();
            *count = if added { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    fn priced<'a>(&self, record: &'a UsageRecord, added: bool) -> PricedChange<'a> {
        PricedChange { record, cost: self.prices.charge(&record.model, &record.usage), added }
    }

    /// Responses since `since` are all known; those before it are still to be read. Limits whose window, or whose block,
    /// may begin before it are marked incomplete.
    pub fn reading_history(&mut self, since: Timestamp) {
        self.quota.reading_history(since);
    }

    /// All responses are known. Of those that are too old to be held, `before` finds a tool's newest block: of its
    /// responses before the given time.
    pub fn history_read(&mut self, now: Timestamp, before: impl FnMut(Tool, Timestamp) -> Option<Block>) {
        self.quota.history_read(now, before);
    }

    /// The running sessions, all of them, each time anything about them changed. They must be held.
    pub fn presence(&mut self, running: &[Presence]) {
        self.quota.moved();
        self.sessions.presence(running);
    }

    /// How the parts are; an event only when it differs from the last.
    pub fn health(&mut self, check: HealthCheck) {
        self.waiting.push(Event::HealthCheck(check));
    }

    /// A source that is no transcript said something of limits.
    pub fn observe(&mut self, statement: &Statement, now: Timestamp) {
        self.ingest_changed |= self.quota.observe(statement, now);
    }

    /// A tool told its status line something.
    pub fn status_line(&mut self, tool: Tool, line: &StatusLine, now: Timestamp) {
        let last_line = line.session.as_ref().and_then(|id| self.facts_of(id)).and_then(|facts| facts.last);
        self.ingest_changed |= self.quota.status_line(tool, line, last_line, now);
        self.context.status_line(line);
    }

    /// Takes over what was last said of limits in an earlier run. To be called before [`begin`](Self::begin).
    pub fn recall_readings(&mut self, entries: impl IntoIterator<Item = ReadingEntry>, now: Timestamp) {
        entries.into_iter().for_each(|entry| self.quota.recall(entry, now));
    }

    /// What was said of limits since the last call, change by change, for the ledger of readings. Readings in transcripts
    /// are not among them: they are kept with their files.
    pub fn take_reading_entries(&mut self) -> Vec<ReadingEntry> {
        self.quota.take_entries()
    }

    /// A part failed once more: it is told of again, if its health says so too.
    pub fn failure(&mut self, failure: &HealthError) {
        self.memory.arming.rearm(&AlertSubject::Part(failure.component.clone()));
    }

    /// What in `state`, into which all events have been folded, is news for the user. Nothing is before
    /// [`begin`](Self::begin).
    pub fn warnings(&mut self, state: &DashboardState, now: Timestamp) -> Warnings {
        let alerts = alert::alerts(state, now);
        let News { mut fresh, mut due } = self.memory.arming.news(&alerts, alert::is_held(state, now));
        // While history is read, sums of days grow by what is old. The first look after it belongs to it.
        let is_reading = state.ingest.progress.is_some();
        if std::mem::replace(&mut self.was_reading, is_reading) || is_reading {
            let is_new = |alert: &Alert| !matches!(alert.condition, Condition::BudgetUsed { .. });
            fresh.retain(is_new);
            due.retain(is_new);
        }
        due.retain(|alert| !self.memory.silences.hide(alert));
        let mut events: Vec<Event> = fresh.into_iter().filter_map(alert::warning).collect();
        self.memory.silences.settle(&alerts, now);
        if self.memory.silences != state.silences {
            events.push(Event::AlertsSilence(self.memory.silences.clone()));
        }
        Warnings { events, due }
    }

    /// What the user was told of and wants to hear no more of, to be kept for the next run.
    pub fn memory(&self) -> &AlertMemory {
        &self.memory
    }

    /// Takes over what was kept of an earlier run. To be called before [`begin`](Self::begin).
    pub fn set_memory(&mut self, memory: AlertMemory) {
        self.memory = memory;
    }

    /// Delivers nothing until this instant; `None` delivers again. [`warnings`](Self::warnings) tells of it.
    pub fn snooze(&mut self, until: Option<Timestamp>) {
        self.memory.silences.snooze(until);
    }

    /// The user knows of the alert about this; whether there is one.
    pub fn acknowledge(&mut self, subject: &AlertSubject, state: &DashboardState, now: Timestamp) -> bool {
        let alerts = alert::alerts(state, now);
        let alert = alerts.iter().find(|alert| alert.condition.subject() == *subject);
        alert.inspect(|alert| self.memory.silences.acknowledge(alert)).is_some()
    }

    /// What the user decides about levels, warnings and budgets, from now on. The next [`flush`](Self::flush) tells of
    /// it.
    pub fn set_settings(&mut self, settings: Settings) {
        self.quota.set_levels(settings.quota_levels);
        self.context.set_levels(settings.context_levels);
        self.waiting.push(Event::SettingsUpdate(Box::new(settings.clone())));
        self.config.settings = settings;
    }

    /// Ends the reading of what decides the present: all of it is in the returned state, no event tells of it, and
    /// warnings for what is already so do not fire. What is older may still be read; it changes figures by ordinary
    /// events.
    pub fn begin(&mut self, now: Timestamp) -> DashboardState {
        let plan = self.config.plan.map(|plan| plan.as_str().to_owned());
        let mut state = DashboardState::new(self.config.mode, self.config.zone.clone(), plan, now);
        state.settings = self.config.settings.clone();
        state.silences = self.memory.silences.clone();
        self.quota.learn_custom_limit(&self.ledger);
        self.sessions.refresh();
        self.sessions.begin(&self.config.zone, now);
        self.context.begin(now);
        for event in self.flush(now) {
            state.apply_silently(&event, now);
        }
        // What is already so is not news; what ended since it was told is.
        let warnings = self.warnings(&state, now);
        warnings.events.iter().filter(|event| matches!(event, Event::AlertsSilence(_))).for_each(|event| {
            state.apply_silently(event, now);
        });
        for (key, reset) in self.memory.arming.nearly_used_up() {
            let is_over = reset <= now && now.ms_since(reset) < alert::RESET_SHOWN_MS;
            if let Some(limit) = state.limits.get_mut(key).filter(|limit| is_over && !limit.is_nearly_used_up()) {
                limit.reopened_at = Some(reset);
            }
        }
        self.begun = Some(now);
        state
    }

    /// Everything that changed since the last call, by records or by time alone.
    pub fn flush(&mut self, now: Timestamp) -> Vec<Event> {
        self.mature(now);
        let mut events = Vec::new();
        let first = self.begun.is_none();
        let limit = self.quota.plan_limit(Tool::DEFAULT);
        self.sessions.flush(now, limit, &self.config.zone, &mut self.context, &mut events);
        self.quota.flush(now, &|id| self.sessions.directory(id), first, &mut events);
        self.cost.flush(now, &mut events);
        if std::mem::take(&mut self.ingest_changed) {
            events.push(Event::IngestUpdate(self.ingest()));
        }
        events.append(&mut self.waiting);
        events
    }

    fn ingest(&self) -> IngestUpdate {
        let counts = self.ledger.counts(Scope::All);
        let (refused_readings, reading_problems) = self.quota.refused();
        IngestUpdate {
            refused_readings,
            reading_problems: reading_problems.cloned().collect(),
            files: self.ledger.file_count(Scope::All),
            bytes: counts.bytes,
            lines: counts.lines,
            responses: self.responses,
            duplicate_lines: counts.usage_records.saturating_sub(self.responses),
            rejected_lines: counts.rejected_lines,
            unknown_records: counts.unknown_records,
            bad_counts: counts.bad_counts,
            future_times: self.future.len(),
            unpriced: self.unpriced.values().sum(),
            unpriced_models: self.unpriced.iter().filter(|&(_, &n)| n > 0).map(|(model, _)| model.clone()).collect(),
            rejections: self.recent_rejections.iter().map(|(_, rejection)| rejection.clone()).collect(),
            progress: self.progress,
        }
    }

    // ---- What is held -------------------------------------------------------------------------------------------

    /// What has to be recalled before these records of `file` are taken. Costs a look-up for each record.
    pub fn needs<'a>(&self, file: FileId, records: impl IntoIterator<Item = &'a Record>) -> Needs {
        let mut needs = Needs::default();
        for record in records {
            match record {
                Record::Usage(usage) => {
                    let message = usage.id.message().filter(|&message| !self.ledger.is_held(message));
                    needs.messages.extend(message.filter(|message| needs.messages.last() != Some(message)));
                }
                Record::Lineage(lineage) => needs.files.extend(self.lineage_needs(file, Some(lineage))),
                _ => {}
            }
            if let Some(session) = record.session().filter(|id| !self.sessions.is_held(id))
                && !needs.sessions.contains(session)
            {
                needs.sessions.insert(session.clone());
            }
        }
        needs
    }

    /// What has to be recalled before `file` is retracted.
    pub fn needs_to_retract(&self, file: FileId) -> Needs {
        let mut files: BTreeSet<FileId> = self.lineage_needs(file, None).collect();
        if !self.ledger.is_loaded(file) {
            files.insert(file);
        }
        Needs { files, ..Needs::default() }
    }

    /// What has to be recalled before these sessions are said to run.
    pub fn needs_of_presence(&self, running: &[Presence]) -> Needs {
        let sessions = running.iter().map(|presence| &presence.session).filter(|id| !self.sessions.is_held(id));
        Needs { sessions: sessions.cloned().collect(), ..Needs::default() }
    }

    fn lineage_needs(&self, file: FileId, lineage: Option<&Lineage>) -> impl Iterator<Item = FileId> {
        let concerned = self.ledger.concerned_by(file, lineage);
        concerned.into_iter().filter(|&file| !self.ledger.is_loaded(file))
    }

    /// A file that was read by a former process, or released: nothing of it is held yet.
    pub fn known_file(&mut self, tool: Tool, path: &str, counts: FileCounts, lineage: Option<&Lineage>) -> FileId {
        let file = self.ledger.file(tool, path);
        self.ledger.set_loaded(file, false);
        self.ledger.set_counts(file, counts);
        if let Some(lineage) = lineage {
            self.ledger.recall_lineage(file, lineage);
        }
        self.ingest_changed = true;
        file
    }

    /// Holds claims made before, all there are on their messages. No figure changes.
    pub fn recall_claims<'a>(&mut self, claims: impl IntoIterator<Item = (FileId, &'a UsageRecord)>) {
        claims.into_iter().for_each(|(file, claim)| self.ledger.recall(file, claim));
    }

    /// All claims of the file are held from now on: those on their messages have been recalled.
    pub fn loaded(&mut self, file: FileId) {
        self.ledger.set_loaded(file, true);
    }

    /// Holds sessions again: `records` are all there are of them, by file, and the claims among them are held. What is
    /// recalled makes no events of its own; the sessions' figures are as if they had never been forgotten.
    pub fn recall_sessions<'a>(
        &mut self,
        sessions: &BTreeSet<SessionId>,
        files: impl IntoIterator<Item = (FileId, &'a [Record])>,
        now: Timestamp,
    ) {
        let sessions: BTreeSet<&SessionId> = sessions.iter().filter(|id| !self.sessions.is_held(id)).collect();
        let mut used = Vec::new();
        for (file, records) in files {
            for record in records.iter().filter(|record| record.session().is_some_and(|id| sessions.contains(id))) {
                // Limits are held for good.
                if !matches!(record, Record::RateLimit(_)) {
                    self.contribute(file, record, now);
                }
            }
            used.extend(self.ledger.responses_of(file).filter(|response| sessions.contains(&response.session)));
        }
        for mut record in used {
            record.at = record.at.and_then(|at| at.known_at(now));
            let change = self.priced(&record, true);
            self.sessions.change(change);
        }
        sessions.into_iter().for_each(|id| self.sessions.recalled(id));
        self.quota.moved();
    }

    /// Responses of one model that count, read by a former process: how many, and how many of them have any tokens.
    pub fn recall_totals(&mut self, model: &ModelId, responses: u64, with_tokens: u64) {
        self.responses += responses;
        if with_tokens > 0 && !self.prices.has(model) {
            *self.unpriced.entry(model.clone()).or_default() += with_tokens;
        }
        self.ingest_changed = true;
    }

    /// What was used on days before, by responses read by a former process.
    pub fn recall_days(&mut self, days: impl IntoIterator<Item = crate::event::DayUsage>) {
        self.cost.recall(days);
    }

    /// A response read by a former process, of the last days or still to come: it counts in the windows of its tool's
    /// limits, now or once its time has come.
    pub fn recall_use(&mut self, response: &UsageRecord, now: Timestamp) {
        match response.at {
            Some(at) if at.known_at(now).is_none() => self.future.change(at, response, true),
            _ => {
                let change = self.priced(response, true);
                self.quota.change(change);
            }
        }
    }

    /// What a vendor said of a limit, read by a former process in `file`.
    pub fn recall_limit(&mut self, file: FileId, report: &RateLimitReport, now: Timestamp) {
        if report.at.known_at(now).is_some() {
            self.quota.add(file, report);
        } else {
            self.future.defer(report.at, file, &Record::RateLimit(report.clone()));
        }
    }

    /// A session of the last days that is not held: when its last line was written, and its directory.
    pub fn recall_directory(&mut self, session: SessionId, last: Timestamp, directory: String) {
        self.sessions.recall_directory(session, last, directory);
    }

    /// A line of the file that was refused by a former process.
    pub fn recall_rejection(&mut self, file: FileId, rejection: Rejection) {
        self.recent_rejections.push_back((file, rejection));
        let surplus = self.recent_rejections.len().saturating_sub(RECENT_REJECTIONS);
        self.recent_rejections.drain(..surplus);
        self.ingest_changed = true;
    }

    /// What a tool used in a quarter hour before those whose responses are [recalled](Self::recall_use), read by a former
    /// process: forecasts go by it. `tokens` are input + output; of the last [`HABIT_DAYS`](crate::forecast::HABIT_DAYS)
    /// days.
    pub fn recall_past_use(&mut self, tool: Tool, model: &ModelId, quarter: Timestamp, tokens: Tokens) {
        self.quota.recall_past(tool, model, quarter, tokens);
    }

    /// Lets go of sessions that are over and of claims that are committed to a store, unless they are a held session's.
    pub fn release(&mut self, is_committed: impl Fn(FileId) -> bool, now: Timestamp) {
        let today = self.config.zone.day_start(self.config.zone.day(now));
        for session in self.sessions.forget_before(held_since(today, now), &is_committed, now) {
            self.context.forget(&session);
        }
        let sessions = &self.sessions;
        self.ledger.release(|file| !is_committed(file) || sessions.is_of_held(file));
    }

    /// What is known of a session, if it is held.
    pub fn facts_of(&self, session: &SessionId) -> Option<&SessionFacts> {
        self.sessions.facts().find(|(id, _)| *id == session).map(|(_, facts)| facts)
    }

    /// Sessions and claims held.
    pub fn held(&self) -> (usize, usize) {
        (self.sessions.len(), self.ledger.held())
    }
}

fn owned(change: Change<'_>) -> (UsageRecord, bool) {
    match change {
        Change::Added(record) => (record.clone(), true),
        Change::Removed(record) => (record.clone(), false),
    }
}

#[cfg(test)]
mod tests;
