//! `SessionMonitor`: what each session is doing, and what it used.
//!
//! It keeps every session it has heard of, but tells only of those that are, or today were, active:
//! a session is *announced* when it becomes so (`session:start`, with everything known of it), and
//! forgotten by the state after it ended. What a session does follows from its process file where
//! there is one, and from its silence where there is none.

use std::collections::{BTreeMap, BTreeSet};

use super::PricedChange;
use super::context::ContextTracker;
use super::outcome::RequestOutcome;
use crate::event::{
    AgentTokens, Event, MinuteTokens, SessionComplete, SessionPhase, SessionStart, SessionTokens, SessionUpdate,
};
use crate::format;
use crate::ids::{AgentId, ModelId, SessionId};
use crate::record::{AgentMeta, Presence, PresenceStatus, RateLimitReport, SessionMeta, Tool, UsageRecord};
use crate::state::{MINUTES_KEPT, RATE_MINUTES, rate_per_min};
use crate::time::{MINUTE_MS, Minute, SECOND_MS, Timestamp, ZoneOffsets};
use crate::units::{Cost, TokenUsage, Tokens};

/// A session without a process file works while its last line is younger than this.
const WORKING_MS: i64 = MINUTE_MS;
/// A session whose process cannot be seen is believed running this long after its file's last update.
const PRESENCE_FRESH_MS: i64 = 10 * MINUTE_MS;
/// A session without a process file ends after this much silence.
const SILENCE_MS: i64 = 30 * MINUTE_MS;
/// Lines without tokens are told of at most this often.
const QUIET_LINE_MS: i64 = 5 * SECOND_MS;

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct SessionMonitor {
    sessions: BTreeMap<SessionId, Tracked>,
    changed: BTreeSet<SessionId>,
    /// Announced sessions that have not ended: time alone may change them.
    active: BTreeSet<SessionId>,
}

#[derive(Debug, Default)]
struct Tracked {
    tool: Tool,
    cwd: Option<String>,
    branch: Option<String>,
    model: Option<(Timestamp, ModelId)>,
    started_at: Option<Timestamp>,
    last_activity: Timestamp,
    usage: TokenUsage,
    cost: Cost,
    responses: u64,
    minutes: BTreeMap<Minute, MinuteCell>,
    agents: BTreeMap<AgentId, Agent>,
    presence: Option<Presence>,
    /// Its process file was there, and is gone: when its newest line was written then. A later line
    /// reopens it.
    left: Option<Timestamp>,
    /// What became of its newest request.
    outcome: Option<RequestOutcome>,

    /// What was last told, `None` before it is announced.
    told: Option<SessionUpdate>,
    tokens_changed: bool,
    changed_minutes: BTreeSet<Minute>,
    changed_agents: BTreeSet<AgentId>,
}

/// Tokens of one minute, and the part of them that subagents used.
#[derive(Clone, Copy, Debug, Default)]
struct MinuteCell {
    usage: TokenUsage,
    agents: Tokens,
}

#[derive(Debug, Default)]
struct Agent {
    agent_type: Option<String>,
    model: Option<ModelId>,
    total: Tokens,
    cost: Cost,
    last_activity: Timestamp,
    minutes: BTreeMap<Minute, Tokens>,
}

impl SessionMonitor {
    fn touch(&mut self, id: &SessionId) -> &mut Tracked {
        if !self.changed.contains(id) {
            self.changed.insert(id.clone());
        }
        self.sessions.entry(id.clone()).or_default()
    }

    /// A response came into, or went out of, the count.
    pub(super) fn change(&mut self, change: PricedChange<'_>) {
        let record = change.record;
        let session = self.touch(&record.session);
        session.tool = record.tool;
        session.tokens_changed = true;
        if change.added {
            session.usage += record.usage;
            session.cost += change.cost;
            session.responses += 1;
        } else {
            session.usage -= record.usage;
            session.cost -= change.cost;
            session.responses = session.responses.saturating_sub(1);
        }
        let is_agent = record.sidechain || record.agent.is_some();
        if let Some(minute) = record.at.map(Timestamp::minute) {
            let cell = session.minutes.entry(minute).or_default();
            let agents = if is_agent { record.usage.total() } else { Tokens::ZERO };
            if change.added {
                cell.usage += record.usage;
                cell.agents += agents;
            } else {
                cell.usage -= record.usage;
                cell.agents -= agents;
            }
            session.changed_minutes.insert(minute);
        }
        if let Some(id) = &record.agent {
            let agent = session.agents.entry(id.clone()).or_default();
            let minute = record.at.map(|at| agent.minutes.entry(at.minute()).or_default());
            if change.added {
                agent.total += record.usage.total();
                agent.cost += change.cost;
                agent.model = Some(record.model.clone());
                minute.into_iter().for_each(|tokens| *tokens += record.usage.total());
            } else {
                agent.total -= record.usage.total();
                agent.cost -= change.cost;
                minute.into_iter().for_each(|tokens| *tokens -= record.usage.total());
            }
            agent.last_activity = agent.last_activity.max(record.at.unwrap_or_default());
            session.changed_agents.insert(id.clone());
        }
    }

    /// A line with usage was read, whether it counts or not: the session is alive.
    pub(super) fn usage_seen(&mut self, record: &UsageRecord) {
        let session = self.touch(&record.session);
        if let Some(at) = record.at {
            session.seen_at(at);
            session.outcome = RequestOutcome::newest(session.outcome.take(), RequestOutcome::success(at));
            if !record.sidechain && session.model.as_ref().is_none_or(|(known, _)| *known <= at) {
                session.model = Some((at, record.model.clone()));
            }
        }
    }

    pub(super) fn meta(&mut self, meta: &SessionMeta) {
        let session = self.touch(&meta.session);
        session.tool = meta.tool;
        if let Some(at) = meta.at {
            session.seen_at(at);
        }
        if let Some(id) = &meta.agent {
            let agent = session.agents.entry(id.clone()).or_default();
            agent.last_activity = agent.last_activity.max(meta.at.unwrap_or_default());
            session.changed_agents.insert(id.clone());
            session.tokens_changed = true;
            return; // a subagent may work in another directory or branch
        }
        if meta.cwd.is_some() {
            session.cwd.clone_from(&meta.cwd);
        }
        if meta.branch.is_some() {
            session.branch.clone_from(&meta.branch);
        }
    }

    pub(super) fn agent(&mut self, meta: &AgentMeta) {
        let session = self.touch(&meta.session);
        let agent = session.agents.entry(meta.agent.clone()).or_default();
        if agent.agent_type != meta.agent_type {
            agent.agent_type.clone_from(&meta.agent_type);
            session.changed_agents.insert(meta.agent.clone());
            session.tokens_changed = true;
        }
    }

    /// A vendor's statement on a limit, which may have refused a request of a session.
    pub(super) fn refused(&mut self, report: &RateLimitReport) {
        if let (Some(id), Some(outcome)) = (&report.session, RequestOutcome::refusal(report)) {
            let session = self.touch(id);
            session.outcome = RequestOutcome::newest(session.outcome.take(), outcome);
        }
    }

    pub(super) fn presence(&mut self, running: &[Presence]) {
        let running: BTreeMap<&SessionId, &Presence> = running.iter().map(|p| (&p.session, p)).collect();
        for (id, session) in &mut self.sessions {
            if session.presence.is_some() && !running.contains_key(id) {
                session.presence = None;
                session.left = Some(session.last_activity);
                self.changed.insert(id.clone());
            }
        }
        for (id, presence) in running {
            let session = self.touch(id);
            if session.presence.as_ref() == Some(presence) {
                continue;
            }
            session.left = None;
            if session.cwd.is_none() {
                session.cwd.clone_from(&presence.cwd);
            }
            if session.started_at.is_none() {
                session.started_at = presence.started_at;
            }
            session.last_activity = session.last_activity.max(presence.started_at.unwrap_or_default());
            session.presence = Some(presence.clone());
        }
    }

    /// Sessions that were over before today are not announced, and minutes out of reach are dropped.
    pub(super) fn forget_before_today(&mut self, zone: &ZoneOffsets, now: Timestamp) {
        let today = zone.day_start(zone.day(now));
        let oldest = oldest_minute(now);
        for (id, session) in &mut self.sessions {
            session.prune(oldest);
            if session.phase(now) == SessionPhase::Ended && session.last_activity < today {
                self.changed.remove(id);
            }
        }
    }

    /// The directory of a session, if known.
    pub(super) fn directory(&self, id: &SessionId) -> Option<&str> {
        self.sessions.get(id)?.cwd.as_deref()
    }

    /// Tells what changed, session by session, context included.
    pub(super) fn flush(
        &mut self,
        now: Timestamp,
        limit: Option<Tokens>,
        zone: &ZoneOffsets,
        context: &mut ContextTracker,
        first: bool,
        events: &mut Vec<Event>,
    ) {
        let today = zone.day_start(zone.day(now));
        let mut due = std::mem::take(&mut self.changed);
        for id in &self.active {
            due.insert(id.clone());
        }
        for id in &due {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            let phase = session.phase(now);
            let was_active = self.active.contains(id);
            let ended = phase == SessionPhase::Ended;
            // History of days past stays in the ledger; at the beginning, today's ended sessions are shown too.
            let announce = !was_active && (!ended || (first && session.last_activity >= today));
            if !announce && !was_active {
                if session.told.is_some() && session.tokens_changed && session.last_activity >= today {
                    session.tell_tokens(id, now, limit, false, events);
                }
                continue;
            }
            if announce {
                let start_time = session.started_at.unwrap_or(session.last_activity);
                let project = session.project(id).to_owned();
                events.push(Event::SessionStart(SessionStart { id: id.clone(), project, start_time }));
                session.told = None;
            }
            session.tell_update(id, phase, events);
            if session.tokens_changed || announce {
                session.tell_tokens(id, now, limit, announce, events);
            }
            context.flush(id, now, announce, events);
            if ended {
                self.active.remove(id);
                let started = session.started_at.unwrap_or(session.last_activity);
                events.push(Event::SessionComplete(SessionComplete {
                    id: id.clone(),
                    duration: session.last_activity.ms_since(started),
                    tokens: session.usage.total(),
                }));
            } else {
                self.active.insert(id.clone());
            }
        }
    }
}

impl Tracked {
    fn seen_at(&mut self, at: Timestamp) {
        self.started_at = Some(self.started_at.map_or(at, |known| known.min(at)));
        self.last_activity = self.last_activity.max(at);
    }

    fn project<'a>(&'a self, id: &'a SessionId) -> &'a str {
        self.cwd.as_deref().map_or_else(|| format::short_id(id.as_str()), format::project_of)
    }

    fn phase(&self, now: Timestamp) -> SessionPhase {
        let silence = now.ms_since(self.last_activity);
        let running = self.presence.as_ref().is_some_and(|presence| {
            presence.alive || presence.updated_at.is_some_and(|at| now.ms_since(at) < PRESENCE_FRESH_MS)
        });
        if !running && (silence >= SILENCE_MS || self.left == Some(self.last_activity)) {
            return SessionPhase::Ended;
        }
        if self.outcome.as_ref().is_some_and(|outcome| outcome.blocks(now)) {
            return SessionPhase::Blocked;
        }
        match &self.presence {
            Some(presence) if running => match presence.status {
                PresenceStatus::Busy => SessionPhase::Working,
                PresenceStatus::Waiting => SessionPhase::NeedsYou,
                PresenceStatus::Idle => SessionPhase::Idle,
            },
            _ if silence < WORKING_MS => SessionPhase::Working,
            _ => SessionPhase::Idle,
        }
    }

    fn tell_update(&mut self, id: &SessionId, phase: SessionPhase, events: &mut Vec<Event>) {
        let update = SessionUpdate {
            id: id.clone(),
            tool: self.tool,
            project: self.project(id).to_owned(),
            cwd: self.cwd.clone(),
            branch: self.branch.clone(),
            model: self.model.as_ref().map(|(_, model)| model.clone()),
            phase,
            last_activity: self.last_activity,
        };
        // A newer line alone is told by the tokens that came with it; one without tokens, now and then.
        let same = self.told.as_ref().is_some_and(|told| {
            let quiet_ms = update.last_activity.ms_since(told.last_activity);
            (self.tokens_changed || quiet_ms < QUIET_LINE_MS)
                && *told == SessionUpdate { last_activity: told.last_activity, ..update.clone() }
        });
        if !same {
            self.told = Some(update.clone());
            events.push(Event::SessionUpdate(update));
        }
    }

    fn tell_tokens(
        &mut self,
        id: &SessionId,
        now: Timestamp,
        limit: Option<Tokens>,
        announce: bool,
        events: &mut Vec<Event>,
    ) {
        self.prune(oldest_minute(now));
        if announce {
            self.changed_minutes = self.minutes.keys().copied().collect();
            self.changed_agents = self.agents.keys().cloned().collect();
        }
        let tokens = |minute: Minute, usage: &TokenUsage| MinuteTokens {
            minute,
            input: usage.input,
            cache_creation: usage.cache_creation,
            output: usage.output,
            cache_read: usage.cache_read,
        };
        let minutes: Vec<MinuteTokens> = std::mem::take(&mut self.changed_minutes)
            .into_iter()
            .filter(|&minute| minute > oldest_minute(now))
            .map(|minute| tokens(minute, &self.minutes.get(&minute).map(|cell| cell.usage).unwrap_or_default()))
            .collect();
        let recent: Vec<MinuteTokens> =
            self.minutes.range(Minute(now.minute().0 - 60)..).map(|(&m, cell)| tokens(m, &cell.usage)).collect();
        let agents = std::mem::take(&mut self.changed_agents)
            .into_iter()
            .filter_map(|id| self.agents.get(&id).map(|agent| agent.tokens(id, now)))
            .collect();
        self.tokens_changed = false;
        events.push(Event::SessionTokens(SessionTokens {
            id: id.clone(),
            current: self.usage.total(),
            // A plan is one tool's, and so is its limit.
            total: limit.filter(|_| self.tool == Tool::DEFAULT),
            rate: rate_per_min(&recent, now.minute()),
            usage: self.usage,
            cost: self.cost,
            responses: self.responses,
            last_activity: self.last_activity,
            minutes,
            agents,
        }));
    }

    fn prune(&mut self, oldest: Minute) {
        while self.minutes.first_key_value().is_some_and(|(&minute, _)| minute <= oldest) {
            self.minutes.pop_first();
        }
        for agent in self.agents.values_mut() {
            while agent.minutes.first_key_value().is_some_and(|(&minute, _)| minute <= oldest) {
                agent.minutes.pop_first();
            }
        }
    }
}

impl Agent {
    fn tokens(&self, id: AgentId, now: Timestamp) -> AgentTokens {
        let first = Minute(now.minute().0 - RATE_MINUTES + 1);
        let sum: Tokens = self.minutes.range(first..).map(|(_, &tokens)| tokens).sum();
        AgentTokens {
            id,
            agent_type: self.agent_type.clone(),
            model: self.model.clone(),
            total: self.total,
            cost: self.cost,
            rate: Tokens(sum.0 / RATE_MINUTES.unsigned_abs()),
            last_activity: self.last_activity,
        }
    }
}

fn oldest_minute(now: Timestamp) -> Minute {
    now.plus_ms(-MINUTES_KEPT * MINUTE_MS).minute()
}
