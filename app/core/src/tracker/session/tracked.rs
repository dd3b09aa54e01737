//! One session: what its files contribute, what it used, and what was reported of it.

use std::collections::{BTreeMap, BTreeSet};

use super::oldest_minute;
use crate::event::{AgentTokens, AgentsRest, Event, MinuteTokens, SessionPhase, SessionTokens, SessionUpdate};
use crate::format;
use crate::ids::{AgentId, SessionId};
use crate::ledger::FileId;
use crate::order;
use crate::record::{ApiErrorKind, Presence, PresenceStatus, Tool};
use crate::session::SessionFacts;
use crate::state::{AGENT_ACTIVE_MS, AGENTS_REPORTED, RATE_MINUTES, rate_per_min};
use crate::time::{MINUTE_MS, Minute, SECOND_MS, Timestamp};
use crate::tracker::PricedChange;
use crate::tracker::outcome::RequestOutcome;
use crate::units::{Cost, TokenUsage, Tokens};

/// A session without a process file works while its last line is younger than this.
const WORKING_MS: i64 = MINUTE_MS;
/// A session whose process cannot be seen is taken to be running this long after its file's last update.
const PRESENCE_FRESH_MS: i64 = 10 * MINUTE_MS;
/// A session without a process file ends after this much silence.
const SILENCE_MS: i64 = 30 * MINUTE_MS;
/// Lines without tokens are reported at most this often.
const QUIET_LINE_MS: i64 = 5 * SECOND_MS;

/// What one file says of one session.
#[derive(Debug, Default)]
pub(super) struct Contribution {
    facts: SessionFacts,
    /// How its newest request went.
    outcome: Option<RequestOutcome>,
    /// Its newest failed request.
    error: Option<(Timestamp, ApiErrorKind)>,
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Tracked {
    contributions: BTreeMap<FileId, Contribution>,
    /// The merge of the contributions' facts; out of date while `is_stale`.
    facts: SessionFacts,
    /// A contribution was dropped since the facts were merged.
    is_stale: bool,

    /// What it used, subagents included: the sum of the responses that count.
    pub(super) usage: TokenUsage,
    cost: Cost,
    responses: u64,
    minutes: BTreeMap<Minute, TokenUsage>,
    agents: BTreeMap<AgentId, AgentUsage>,

    pub(super) presence: Option<Presence>,
    /// Its process file was there and is gone: the time of its newest line then. A later line reopens the session.
    pub(super) ended_after: Option<Timestamp>,

    /// When everything said of it was withdrawn, while nothing has been said since.
    pub(super) emptied_at: Option<Timestamp>,
    /// The latest time of a line that is dated in the future.
    pub(super) expected_at: Option<Timestamp>,
    /// Errors up to this time make no events.
    pub(super) errors_reported_until: Option<Timestamp>,
    /// The newest update sent; `None` before the session is announced.
    pub(super) reported: Option<SessionUpdate>,
    pub(super) tokens_changed: bool,
    changed_minutes: BTreeSet<Minute>,
    changed_agents: BTreeSet<AgentId>,
    /// Subagents the state shows one by one.
    reported_agents: BTreeSet<AgentId>,
}

/// What a subagent used.
#[derive(Debug, Default)]
struct AgentUsage {
    total: Tokens,
    cost: Cost,
    responses: u64,
    minutes: BTreeMap<Minute, Tokens>,
}

impl Tracked {
    /// The files it is known from.
    pub(super) fn files(&self) -> impl Iterator<Item = FileId> {
        self.contributions.keys().copied()
    }

    /// Takes what a line of `file` says. Facts only gain by it, so the merge can be brought up to date with the line
    /// alone.
    pub(super) fn update(&mut self, file: FileId, take: impl Fn(&mut SessionFacts)) {
        take(&mut self.contributions.entry(file).or_default().facts);
        if !self.is_stale {
            take(&mut self.facts);
        }
    }

    pub(super) fn outcome(&mut self, file: FileId, outcome: RequestOutcome) {
        let known = &mut self.contributions.entry(file).or_default().outcome;
        *known = RequestOutcome::newest(known.take(), outcome);
    }

    pub(super) fn error(&mut self, file: FileId, at: Option<Timestamp>, kind: ApiErrorKind) {
        let known = &mut self.contributions.entry(file).or_default().error;
        *known = (*known).max(at.map(|at| (at, kind)));
    }

    /// The file says nothing any more.
    pub(super) fn retract(&mut self, file: FileId) {
        if self.contributions.remove(&file).is_some() {
            self.is_stale = true;
            self.tokens_changed = true;
            self.changed_agents.extend(self.agents.keys().chain(self.facts.agents().keys()).cloned());
        }
    }

    /// Merges the contributions anew, if one was dropped. Costs as much as the session has files.
    pub(super) fn refresh(&mut self) {
        if std::mem::take(&mut self.is_stale) {
            self.facts = SessionFacts::default();
            self.contributions.values().for_each(|contribution| self.facts.merge(&contribution.facts));
        }
    }

    /// Whether nothing is known of it any more.
    pub(super) fn is_empty(&self) -> bool {
        self.contributions.is_empty() && self.presence.is_none() && self.ended_after.is_none() && self.responses == 0
    }

    pub(super) fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    pub(super) fn tool(&self) -> Tool {
        self.facts.tool
    }

    pub(super) fn last_error(&self) -> Option<(Timestamp, ApiErrorKind)> {
        self.contributions.values().filter_map(|contribution| contribution.error).max()
    }

    pub(super) fn last_activity(&self) -> Timestamp {
        let started = self.presence.as_ref().and_then(|presence| presence.started_at);
        self.facts.last.max(started).unwrap_or_default()
    }

    /// The latest of what keeps it from being forgotten.
    pub(super) fn held_until(&self) -> Timestamp {
        self.last_activity().max(self.expected_at.max(self.emptied_at).unwrap_or_default())
    }

    pub(super) fn started_at(&self) -> Timestamp {
        let process = self.presence.as_ref().and_then(|presence| presence.started_at);
        self.facts.first.or(process).unwrap_or_else(|| self.last_activity())
    }

    fn cwd(&self) -> Option<&str> {
        self.facts.cwd().or_else(|| self.presence.as_ref()?.cwd.as_deref())
    }

    pub(super) fn project<'a>(&'a self, id: &'a SessionId) -> &'a str {
        self.cwd().map_or_else(|| format::short_id(id.as_str()), format::project_of)
    }

    pub(super) fn agent_changed(&mut self, agent: &AgentId) {
        if !self.changed_agents.contains(agent) {
            self.changed_agents.insert(agent.clone());
        }
        self.tokens_changed = true;
    }

    /// A response came into, or went out of, the count.
    pub(super) fn change(&mut self, change: PricedChange<'_>) {
        let record = change.record;
        let minute = record.at.map(Timestamp::minute);
        self.tokens_changed = true;
        if change.added {
            self.usage += record.usage;
            self.cost += change.cost;
            self.responses += 1;
        } else {
            self.usage -= record.usage;
            self.cost -= change.cost;
            self.responses = self.responses.saturating_sub(1);
        }
        if let Some(minute) = minute {
            let cell = self.minutes.entry(minute).or_default();
            if change.added {
                *cell += record.usage;
            } else {
                *cell -= record.usage;
            }
            self.changed_minutes.insert(minute);
        }
        if let Some(id) = &record.agent {
            if !self.agents.contains_key(id) {
                self.agents.insert(id.clone(), AgentUsage::default());
            }
            let agent = self.agents.entry(id.clone()).or_default();
            let cell = minute.map(|minute| agent.minutes.entry(minute).or_default());
            if change.added {
                agent.total += record.usage.total();
                agent.cost += change.cost;
                agent.responses += 1;
                cell.into_iter().for_each(|tokens| *tokens += record.usage.total());
            } else {
                agent.total -= record.usage.total();
                agent.cost -= change.cost;
                agent.responses = agent.responses.saturating_sub(1);
                cell.into_iter().for_each(|tokens| *tokens -= record.usage.total());
                if agent.responses == 0 {
                    self.agents.remove(id);
                }
            }
            self.agent_changed(id);
        }
    }

    pub(super) fn phase(&self, now: Timestamp) -> SessionPhase {
        let last_activity = self.last_activity();
        let silence = now.ms_since(last_activity);
        let running = self.presence.as_ref().is_some_and(|presence| {
            presence.alive || presence.updated_at.is_some_and(|at| now.ms_since(at) < PRESENCE_FRESH_MS)
        });
        if !running && (silence >= SILENCE_MS || self.ended_after == Some(last_activity)) {
            return SessionPhase::Ended;
        }
        // The newest request alone decides: one that succeeds after a refusal ends the block.
        let outcomes = self.contributions.values().filter_map(|contribution| contribution.outcome.clone());
        if outcomes.fold(None, RequestOutcome::newest).is_some_and(|outcome| outcome.blocks(now)) {
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

    /// Sends what is known of the session, if it differs from what was sent.
    pub(super) fn report_update(&mut self, id: &SessionId, phase: SessionPhase, events: &mut Vec<Event>) {
        let update = SessionUpdate {
            id: id.clone(),
            tool: self.tool(),
            project: self.project(id).to_owned(),
            cwd: self.cwd().map(ToOwned::to_owned),
            branch: self.facts.branch().map(ToOwned::to_owned),
            model: self.facts.model().cloned(),
            phase,
            started_at: self.started_at(),
            last_activity: self.last_activity(),
            last_error: self.last_error().map(|(_, kind)| kind),
        };
        // A newer line alone is reported with the tokens that came with it; one without tokens, now and then.
        let is_same = self.reported.as_ref().is_some_and(|reported| {
            let quiet_ms = update.last_activity.ms_since(reported.last_activity);
            (0..if self.tokens_changed { i64::MAX } else { QUIET_LINE_MS }).contains(&quiet_ms)
                && *reported == SessionUpdate { last_activity: reported.last_activity, ..update.clone() }
        });
        if !is_same {
            self.reported = Some(update.clone());
            events.push(Event::SessionUpdate(update));
        }
    }

    /// Sends what the session used: the minutes and subagents that changed, or all if it is being announced.
    pub(super) fn report_tokens(
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
            .map(|minute| tokens(minute, &self.minutes.get(&minute).copied().unwrap_or_default()))
            .collect();
        let recent: Vec<MinuteTokens> =
            self.minutes.range(Minute(now.minute().0 - 60)..).map(|(&m, usage)| tokens(m, usage)).collect();
        self.tokens_changed = false;
        let (agents, agents_removed, agents_rest) = self.agents_to_report(now, announce);
        events.push(Event::SessionTokens(SessionTokens {
            id: id.clone(),
            current: self.usage.total(),
            // A plan is one tool's, and so is its limit.
            total: limit.filter(|_| self.tool() == Tool::DEFAULT),
            rate: rate_per_min(&recent, now.minute()),
            usage: self.usage,
            cost: self.cost,
            responses: self.responses,
            last_activity: self.last_activity(),
            minutes,
            agents,
            agents_removed,
            agents_rest,
        }));
    }

    /// Subagents whose figures changed, those to be shown no more, and the sum of those not shown: the state shows the
    /// first [`AGENTS_REPORTED`] by use.
    fn agents_to_report(&mut self, now: Timestamp, announce: bool) -> (Vec<AgentTokens>, Vec<AgentId>, AgentsRest) {
        let mut changed = std::mem::take(&mut self.changed_agents);
        let known: BTreeSet<&AgentId> = self.agents.keys().chain(self.facts.agents().keys()).collect();
        let total = |id: &AgentId| self.agents.get(id).map_or(Tokens::ZERO, |agent| agent.total);
        let mut by_use: Vec<&AgentId> = known.into_iter().collect();
        if by_use.len() > AGENTS_REPORTED {
            order::sort(&mut by_use, &|a, b| total(b).cmp(&total(a)).then_with(|| a.cmp(b)));
        }
        let shown: BTreeSet<AgentId> = by_use.iter().take(AGENTS_REPORTED).map(|&id| id.clone()).collect();
        let mut rest = AgentsRest::default();
        for id in by_use.iter().skip(AGENTS_REPORTED) {
            let agent = self.agent_tokens(id, now);
            rest.count += 1;
            rest.running += u32::from(now.ms_since(agent.last_activity) < AGENT_ACTIVE_MS);
            rest.total += agent.total;
            rest.cost += agent.cost;
        }
        if announce {
            changed.clone_from(&shown);
        }
        changed.extend(shown.difference(&self.reported_agents).cloned());
        let agents = changed.intersection(&shown).map(|id| self.agent_tokens(id, now)).collect();
        let removed = self.reported_agents.difference(&shown).cloned().collect();
        self.reported_agents = shown;
        (agents, removed, rest)
    }

    fn agent_tokens(&self, id: &AgentId, now: Timestamp) -> AgentTokens {
        let (facts, usage) = (self.facts.agents().get(id), self.agents.get(id));
        let first = Minute(now.minute().0 - RATE_MINUTES + 1);
        let recent: Tokens = usage.iter().flat_map(|usage| usage.minutes.range(first..)).map(|(_, &it)| it).sum();
        AgentTokens {
            id: id.clone(),
            agent_type: facts.and_then(|facts| facts.agent_type.clone()),
            model: facts.and_then(|facts| facts.model().cloned()),
            total: usage.map_or(Tokens::ZERO, |usage| usage.total),
            cost: usage.map(|usage| usage.cost).unwrap_or_default(),
            rate: Tokens(recent.0 / RATE_MINUTES.unsigned_abs()),
            last_activity: facts.and_then(|facts| facts.last).unwrap_or_default(),
        }
    }

    /// Drops minutes up to `oldest`.
    pub(super) fn prune(&mut self, oldest: Minute) {
        fn drop_until<T>(minutes: &mut BTreeMap<Minute, T>, oldest: Minute) {
            while minutes.first_key_value().is_some_and(|(&minute, _)| minute <= oldest) {
                minutes.pop_first();
            }
        }
        drop_until(&mut self.minutes, oldest);
        while self.changed_minutes.first().is_some_and(|&minute| minute <= oldest) {
            self.changed_minutes.pop_first();
        }
        self.agents.values_mut().for_each(|agent| drop_until(&mut agent.minutes, oldest));
    }
}
