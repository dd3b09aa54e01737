//! Made-up work, for demos and tests: seeded, on virtual time, the same to the byte everywhere.
//!
//! [`DashboardSimulator`] yields records as transcripts would: responses with message ids and growing
//! contexts, placeholders followed by the final claim, compactions, subagents, failed requests, and
//! the vendor's reports on limits. [`Simulation`] runs them through the trackers. Neither reads a
//! clock: time is whatever the caller says, so a two-hour session plays in a second.
//!
//! Randomness is `ChaCha8` and integers only; no `usize` is ever drawn, as it differs between 32 and
//! 64 bit. Figures here only make a plausible picture: they claim nothing about any vendor.

mod meter;
mod scenario;
mod script;
mod simulation;
pub mod working_days;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::meter::Meter;
use self::script::{Agents, Desk, Script, Span};
use crate::ids::{AgentId, MessageId, ModelId, SessionId};
use crate::record::{
    AgentMeta, ApiError, ApiErrorKind, Compaction, CompactionTrigger, Place, Presence, PresenceStatus, Record,
    ResponseId, SessionMeta, Tool, UsageRecord,
};
use crate::time::{DAY_MS, MINUTE_MS, SECOND_MS, Timestamp};
use crate::tracker::{AUTO_COMPACT_BUFFER, window_tokens};
use crate::units::{TokenUsage, Tokens};

pub use scenario::{Scenario, UnknownScenario};
pub use simulation::Simulation;

/// Detailed history before the start.
pub const HISTORY_MS: i64 = 270 * MINUTE_MS;
/// Days before that, told in few records.
pub const PAST_DAYS: i64 = 30;
/// The vendor reports on limits this often while anyone works.
pub const REPORT_MS: i64 = 5 * SECOND_MS;

/// Resolution of virtual time.
const TENTH_MS: i64 = 100;
/// A record of a past day stands for this much time.
const PAST_STEP_MS: i64 = 30 * MINUTE_MS;
/// System prompt and tools: in the cache before a session begins.
const SYSTEM_TOKENS: u64 = 14_200;
const TOOL_VERSION: &str = "2.1.0";

/// Yields records in the order of their time, without end.
#[derive(Debug)]
pub struct DashboardSimulator {
    script: &'static Script,
    rng: ChaCha8Rng,
    /// What is to happen, by time; the number keeps things of the same time in order.
    agenda: BTreeMap<(Timestamp, u64), Task>,
    tasks: u64,
    ready: VecDeque<(Timestamp, Record)>,
    meter: Meter,
    desks: Vec<DeskState>,
    agents: BTreeMap<u64, AgentState>,
    presence_changed: bool,
}

/// Something to happen. A desk or an agent is named by its number.
#[derive(Debug)]
enum Task {
    PastDay { steps_left: i64 },
    Prompt(u8),
    Respond(u8),
    AgentRespond(u64),
    Finish(Box<UsageRecord>),
    Report,
}

#[derive(Debug)]
struct DeskState {
    desk: &'static Desk,
    session: SessionId,
    model: ModelId,
    started_at: Timestamp,
    /// When the prompt at hand is done, subagents permitting.
    turn_ends: Timestamp,
    status: PresenceStatus,
    conversation: Conversation,
    agents_out: u64,
    running: bool,
}

#[derive(Debug)]
struct AgentState {
    desk: u8,
    agent: AgentId,
    model: ModelId,
    ends: Timestamp,
    conversation: Conversation,
}

/// What a request has to carry in.
#[derive(Clone, Copy, Debug)]
struct Conversation {
    /// Tokens in the cache already.
    cached: u64,
    /// Tokens to be written to it with the next request.
    fresh: u64,
}

impl Conversation {
    fn begin(prompt: u64) -> Self {
        Self { cached: SYSTEM_TOKENS, fresh: prompt }
    }

    fn fill(self) -> u64 {
        self.cached + self.fresh
    }

    /// The next request and its answer; what the answer's tools find goes into the one after it.
    fn respond(&mut self, input: u64, answer: u64, reads: u64, hour_cache: bool) -> TokenUsage {
        let usage = TokenUsage {
            input: Tokens(input),
            output: Tokens(answer),
            cache_creation: Tokens(self.fresh),
            cache_creation_1h: Tokens(if hour_cache { self.fresh } else { 0 }),
            cache_read: Tokens(self.cached),
            reasoning: Tokens::ZERO,
        };
        *self = Self { cached: self.fill(), fresh: input + answer + reads };
        usage
    }
}

impl DashboardSimulator {
    /// A simulator whose story is about to begin at `start`; the first records lie before it.
    pub fn new(scenario: Scenario, seed: u64, start: Timestamp) -> Self {
        let script = scenario.script();
        let history = start.plus_ms(-HISTORY_MS);
        let mut simulator = Self {
            script,
            rng: ChaCha8Rng::seed_from_u64(seed),
            agenda: BTreeMap::new(),
            tasks: 0,
            ready: VecDeque::new(),
            meter: Meter::new(script, history, start),
            desks: Vec::new(),
            agents: BTreeMap::new(),
            presence_changed: false,
        };
        for day in (1..=PAST_DAYS).rev() {
            let steps_left = i64::try_from(simulator.draw((6, 18))).unwrap_or_default();
            simulator.plan(history.plus_ms(-day * DAY_MS), Task::PastDay { steps_left });
        }
        for (number, desk) in (0_u8..).zip(script.desks) {
            let session = simulator.session_id();
            simulator.desks.push(DeskState {
                desk,
                session,
                model: ModelId::from(desk.model),
                started_at: history,
                turn_ends: history,
                status: PresenceStatus::Idle,
                conversation: Conversation::begin(0),
                agents_out: 0,
                running: false,
            });
            let delay = simulator.tenths((0, desk.rest.0));
            simulator.plan(history.plus_ms(delay), Task::Prompt(number));
        }
        simulator.plan(history.plus_ms(REPORT_MS), Task::Report);
        simulator
    }

    /// The next record and its time; times never decrease.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so there is no Option to return")]
    pub fn next(&mut self) -> (Timestamp, Record) {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return record;
            }
            self.step();
        }
    }

    /// When the next thing happens; a record of that time may or may not come of it.
    fn next_at(&self) -> Timestamp {
        let planned = self.agenda.first_key_value().map(|(&(at, _), _)| at);
        self.ready.front().map(|&(at, _)| at).or(planned).unwrap_or_default()
    }

    /// The running sessions, if that changed since the last call.
    fn take_presence(&mut self) -> Option<Vec<Presence>> {
        std::mem::take(&mut self.presence_changed).then(|| {
            let running = self.desks.iter().filter(|state| state.running);
            let presence = running.map(|state| Presence {
                session: state.session.clone(),
                status: state.status,
                alive: true,
                cwd: Some(state.desk.cwd.to_owned()),
                version: Some(TOOL_VERSION.to_owned()),
                started_at: Some(state.started_at),
                updated_at: None,
            });
            presence.collect()
        })
    }

    fn plan(&mut self, at: Timestamp, task: Task) {
        self.tasks += 1;
        self.agenda.insert((at, self.tasks), task);
    }

    fn step(&mut self) {
        let Some(((now, _), task)) = self.agenda.pop_first() else { return };
        match task {
            Task::PastDay { steps_left } => self.past_day(steps_left, now),
            Task::Prompt(desk) => self.prompt(desk, now),
            Task::Respond(desk) => self.respond(desk, now),
            Task::AgentRespond(agent) => self.agent_respond(agent, now),
            Task::Finish(record) => self.emit(now, Record::Usage(*record)),
            Task::Report => {
                if self.desks.iter().any(|state| state.status == PresenceStatus::Busy) {
                    self.ready.extend(self.meter.reports(now).map(|record| (now, record)));
                }
                self.plan(now.plus_ms(REPORT_MS), Task::Report);
            }
        }
    }

    /// One record that stands for half an hour of a day long past, of which nothing finer is shown.
    fn past_day(&mut self, steps_left: i64, now: Timestamp) {
        if steps_left == 0 {
            return;
        }
        let responses = self.draw(self.script.past_responses);
        let (input, answer) = (self.draw((2, 12)), self.draw((120, 260)));
        let (reads, fill) = (self.draw((150, 300)), self.draw((30_000, 70_000)));
        let desk = self.pick(self.script.desks);
        let usage = TokenUsage {
            input: Tokens(responses * input),
            output: Tokens(responses * answer),
            cache_creation: Tokens(responses * (answer + reads)),
            cache_creation_1h: Tokens(responses * (answer + reads)),
            cache_read: Tokens(responses * fill),
            reasoning: Tokens::ZERO,
        };
        let session = self.session_id();
        self.emit(now, meta(&session, None, desk, now));
        let record = self.usage(session, None, ModelId::from(desk.model), usage, now);
        self.emit(now, Record::Usage(record));
        self.plan(now.plus_ms(PAST_STEP_MS), Task::PastDay { steps_left: steps_left - 1 });
    }

    /// The user says something.
    fn prompt(&mut self, number: u8, now: Timestamp) {
        let prompt = self.draw((200, 1_500));
        let desk = self.desk(number).desk;
        let turn = self.tenths(desk.turn);
        let first = self.tenths((5, desk.pace.1));
        if !self.desk(number).running || self.desk(number).conversation.fill() > desk.clears_above {
            let session = self.session_id();
            let project_files = self.draw((2_000, 9_000));
            let state = self.desk(number);
            state.session = session;
            state.started_at = now;
            state.conversation = Conversation::begin(project_files);
            state.running = true;
        }
        let state = self.desk(number);
        state.conversation.fresh += prompt;
        state.turn_ends = now.plus_ms(turn);
        let meta = meta(&state.session, None, desk, now);
        self.set_status(number, PresenceStatus::Busy);
        self.emit(now, meta);
        if self.refused(number, now) {
            return;
        }
        if let Some(agents) = &desk.agents
            && self.chance(agents.percent)
        {
            self.send_out(number, agents, now);
        }
        self.plan(now.plus_ms(first), Task::Respond(number));
    }

    /// The main chain's next response, or what happens instead.
    fn respond(&mut self, number: u8, now: Timestamp) {
        if self.refused(number, now) {
            return;
        }
        let state = self.desk(number);
        let desk = state.desk;
        if now >= state.turn_ends && state.agents_out == 0 {
            let rest = self.tenths(desk.rest);
            let asks = self.chance(desk.asks_percent);
            self.set_status(number, if asks { PresenceStatus::Waiting } else { PresenceStatus::Idle });
            return self.plan(now.plus_ms(rest), Task::Prompt(number));
        }
        let pace = self.tenths(desk.pace);
        self.plan(now.plus_ms(pace), Task::Respond(number));
        if self.compacted(number, now) {
            return;
        }
        // A failed request is tried again with a response a moment later, so the pace is kept.
        if self.draw((1, 700)) == 1 {
            let session = self.desk(number).session.clone();
            let kind = ApiErrorKind::Overloaded;
            self.emit(now, Record::ApiError(ApiError { session, at: Some(now), kind }));
        }
        let (input, answer, reads) = (self.draw((1, 12)), self.draw(desk.answer), self.draw(desk.reads));
        let placeholder = self.chance(25);
        let latency = self.tenths((2, desk.pace.0.min(9)));
        let state = self.desk(number);
        let usage = state.conversation.respond(input, answer, reads, true);
        let (session, model) = (state.session.clone(), state.model.clone());
        self.meter.count(&usage, desk.model.contains("opus"), now);
        let record = self.usage(session, None, model, usage, now);
        self.claim(record, placeholder, now.plus_ms(latency));
    }

    /// Whether the conversation was full, and is now compacted.
    fn compacted(&mut self, number: u8, now: Timestamp) -> bool {
        let state = self.desk(number);
        let before = state.conversation.fill();
        let window = window_tokens(&state.model, Tokens(before));
        if Tokens(before) < window - AUTO_COMPACT_BUFFER {
            return false;
        }
        let kept = self.draw((9_000, 21_000));
        let state = self.desk(number);
        state.conversation = Conversation::begin(kept);
        let compaction = Compaction {
            session: state.session.clone(),
            at: Some(now),
            trigger: CompactionTrigger::Auto,
            pre_tokens: Some(Tokens(before)),
            post_tokens: Some(Tokens(state.conversation.fill())),
        };
        self.emit(now, Record::Compaction(compaction));
        true
    }

    /// Whether a limit refuses the request; the session then waits for the reset.
    fn refused(&mut self, number: u8, now: Timestamp) -> bool {
        let Some(until) = self.meter.blocked_until(now) else { return false };
        let session = self.desk(number).session.clone();
        let refusal = self.meter.refusal(now, &session);
        self.emit(now, Record::ApiError(ApiError { session, at: Some(now), kind: ApiErrorKind::RateLimit }));
        self.emit(now, refusal);
        self.set_status(number, PresenceStatus::Idle);
        let delay = self.tenths((20, 600));
        self.plan(until.plus_ms(delay), Task::Prompt(number));
        true
    }

    fn send_out(&mut self, number: u8, agents: &'static Agents, now: Timestamp) {
        for _ in 0..self.draw(agents.count) {
            let agent = AgentId::new(self.hex(17));
            let kind = self.pick(agents.kinds);
            let (life, first) = (self.tenths(agents.life), self.tenths((10, agents.pace.1)));
            let task = self.draw((800, 4_000));
            let state = self.desk(number);
            state.agents_out += 1;
            let (session, desk) = (state.session.clone(), state.desk);
            self.emit(now, meta(&session, Some(&agent), desk, now));
            let agent_type = Some((*kind).to_owned());
            self.emit(now, Record::Agent(AgentMeta { session, agent: agent.clone(), agent_type }));
            let state = AgentState {
                desk: number,
                agent,
                model: ModelId::from(agents.model),
                ends: now.plus_ms(life),
                conversation: Conversation::begin(task),
            };
            self.tasks += 1;
            let id = self.tasks;
            self.agents.insert(id, state);
            self.plan(now.plus_ms(first), Task::AgentRespond(id));
        }
    }

    fn agent_respond(&mut self, id: u64, now: Timestamp) {
        let Some(mut state) = self.agents.remove(&id) else { return };
        let desk = self.desk(state.desk);
        let (session, agents) = (desk.session.clone(), desk.desk.agents.as_ref());
        let (Some(agents), false) = (agents, now >= state.ends || self.meter.blocked_until(now).is_some()) else {
            self.desk(state.desk).agents_out -= 1;
            return;
        };
        let (input, answer, reads) = (self.draw((1, 8)), self.draw((60, 320)), self.draw((100, 900)));
        let usage = state.conversation.respond(input, answer, reads, false);
        self.meter.count(&usage, false, now);
        let record = self.usage(session, Some(state.agent.clone()), state.model.clone(), usage, now);
        self.emit(now, Record::Usage(record));
        let pace = self.tenths(agents.pace);
        self.plan(now.plus_ms(pace), Task::AgentRespond(id));
        self.agents.insert(id, state);
    }

    fn usage(
        &mut self,
        session: SessionId,
        agent: Option<AgentId>,
        model: ModelId,
        usage: TokenUsage,
        now: Timestamp,
    ) -> UsageRecord {
        UsageRecord {
            tool: Tool::ClaudeCode,
            session,
            sidechain: agent.is_some(),
            agent,
            id: ResponseId::of(Some(MessageId::of(&format!("msg_{}", self.hex(16)))), None),
            model,
            at: Some(now),
            usage,
            place: Place { byte_offset: self.tasks, index: 0 },
            bad_counts: 0,
        }
    }

    /// A claim, with or without the placeholder that is written when the answer begins.
    fn claim(&mut self, record: UsageRecord, placeholder: bool, done: Timestamp) {
        let at = record.at.unwrap_or(done);
        if !placeholder {
            return self.emit(at, Record::Usage(record));
        }
        let begun = TokenUsage { output: Tokens(1), ..record.usage };
        let place = Place { byte_offset: record.place.byte_offset + 1, index: 0 };
        let finished = UsageRecord { at: Some(done), place, ..record.clone() };
        self.emit(at, Record::Usage(UsageRecord { usage: begun, ..record }));
        self.plan(done, Task::Finish(Box::new(finished)));
    }

    fn emit(&mut self, now: Timestamp, record: Record) {
        self.ready.push_back((now, record));
    }

    fn set_status(&mut self, number: u8, status: PresenceStatus) {
        self.desk(number).status = status;
        self.presence_changed = true;
    }

    fn desk(&mut self, number: u8) -> &mut DeskState {
        &mut self.desks[usize::from(number)]
    }

    fn draw(&mut self, (least, most): Span) -> u64 {
        self.rng.random_range(least..=most)
    }

    /// A span of virtual time, in milliseconds.
    fn tenths(&mut self, span: Span) -> i64 {
        i64::try_from(self.draw(span)).unwrap_or(i64::MAX / TENTH_MS) * TENTH_MS
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.draw((1, 100)) <= percent
    }

    fn pick<T>(&mut self, of: &'static [T]) -> &'static T {
        let last = of.len() as u64 - 1;
        &of[usize::try_from(self.draw((0, last))).unwrap_or_default()]
    }

    /// That many hexadecimal digits, at most 32.
    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(32);
        // Writing to a string cannot fail.
        let _ = write!(text, "{:016x}{:016x}", self.rng.random::<u64>(), self.rng.random::<u64>());
        text.truncate(digits);
        text
    }

    fn session_id(&mut self) -> SessionId {
        let mut text = self.hex(32);
        for dash in [8, 13, 18, 23] {
            text.insert(dash, '-');
        }
        SessionId::new(text)
    }
}

fn meta(session: &SessionId, agent: Option<&AgentId>, desk: &Desk, now: Timestamp) -> Record {
    Record::Session(SessionMeta {
        tool: Tool::ClaudeCode,
        session: session.clone(),
        agent: agent.cloned(),
        cwd: Some(desk.cwd.to_owned()),
        branch: Some(desk.branch.to_owned()),
        version: Some(TOOL_VERSION.to_owned()),
        at: Some(now),
    })
}

#[cfg(test)]
mod tests;
