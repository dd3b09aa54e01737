//! The simulator, run: its records through the trackers into a state, on virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DashboardSimulator, Scenario};
use crate::alert::AlertSubject;
use crate::event::{HealthCheck, SequencedEvent};
use crate::history::History;
use crate::ids::{AgentId, SessionId};
use crate::ledger::FileId;
use crate::price::PriceTable;
use crate::record::{FileCounts, Record, Tool};
use crate::settings::Settings;
use crate::state::{DashboardState, Mode};
use crate::time::{SECOND_MS, Timestamp, ZoneOffsets};
use crate::tracker::{TrackerConfig, Trackers};

/// What a line of a transcript weighs, roughly; only for the count of bytes read.
const LINE_BYTES: u64 = 1_400;

/// The file in which a transcript would have a record: a session's, a subagent's, or none.
type Source = Option<(SessionId, Option<AgentId>)>;

/// A running simulation. The same arguments give the same events, however its time is cut into steps.
#[derive(Debug)]
pub struct Simulation {
    simulator: DashboardSimulator,
    trackers: Trackers,
    state: DashboardState,
    now: Timestamp,
    /// What was "read" of each file.
    files: BTreeMap<Source, (FileId, FileCounts)>,
}

impl Simulation {
    /// A simulation that begins at `start`, with its history already in the state.
    pub fn new(
        scenario: Scenario,
        seed: u64,
        start: Timestamp,
        mode: Mode,
        zone: ZoneOffsets,
        prices: Arc<PriceTable>,
    ) -> Self {
        let config = TrackerConfig { mode, zone, plan: None, settings: Settings::default() };
        let mut simulation = Self {
            simulator: DashboardSimulator::new(scenario, seed, start),
            trackers: Trackers::new(config, prices),
            state: DashboardState::default(),
            now: start,
            files: BTreeMap::new(),
        };
        while simulation.simulator.next_at() < start {
            simulation.take_step();
        }
        simulation.state = simulation.trackers.begin(start);
        simulation
    }

    /// What has come of it so far.
    pub fn state(&self) -> &DashboardState {
        &self.state
    }

    /// Everything reports are made of.
    pub fn history(&self) -> History {
        self.trackers.history()
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How the parts are; told with the next events.
    pub fn health(&mut self, check: HealthCheck) {
        self.trackers.health(check);
    }

    /// See [`Trackers::snooze`].
    pub fn snooze(&mut self, until: Option<Timestamp>) {
        self.trackers.snooze(until);
    }

    /// See [`Trackers::acknowledge`].
    pub fn acknowledge(&mut self, subject: &AlertSubject) -> bool {
        self.trackers.acknowledge(subject, &self.state, self.now)
    }

    /// Lets time pass up to `to`, and returns what happened. All of it is in [`Simulation::state`].
    pub fn advance_to(&mut self, to: Timestamp) -> Vec<SequencedEvent> {
        let mut events = Vec::new();
        while self.now < to {
            // Events are due with every record and, for what time alone changes, on every whole second.
            let second = self.now.floor_to(SECOND_MS).plus_ms(SECOND_MS);
            let due = self.simulator.next_at().max(self.now.plus_ms(1)).min(second);
            if due > to {
                self.now = to;
                break;
            }
            self.now = due;
            while self.simulator.next_at() <= due {
                self.take_step();
            }
            for event in self.trackers.flush(due) {
                events.push(self.state.take(event, due));
            }
            for event in self.trackers.warnings(&self.state, due).events {
                events.push(self.state.take(event, due));
            }
        }
        events
    }

    /// What happens next in the simulator goes to the trackers.
    fn take_step(&mut self) {
        if self.simulator.ready.is_empty() {
            self.simulator.step();
        }
        while let Some((_, record)) = self.simulator.ready.pop_front() {
            let file = self.file(&record);
            self.trackers.record(file, &record, self.now);
        }
        if let Some(presence) = self.simulator.take_presence() {
            self.trackers.presence(&presence);
        }
    }

    /// The file a record would be in, which has grown by a line.
    fn file(&mut self, record: &Record) -> FileId {
        let source = match record {
            Record::Usage(usage) => Some((usage.session.clone(), usage.agent.clone())),
            Record::Session(meta) => Some((meta.session.clone(), meta.agent.clone())),
            Record::Agent(agent) => Some((agent.session.clone(), Some(agent.agent.clone()))),
            Record::Compaction(compaction) => Some((compaction.session.clone(), None)),
            Record::ApiError(error) => Some((error.session.clone(), None)),
            Record::Context(fill) => Some((fill.session.clone(), None)),
            Record::Lineage(lineage) => Some((lineage.session.clone(), None)),
            Record::ToolCost(cost) => Some((cost.session.clone(), None)),
            Record::Activity(activity) => Some((activity.session.clone(), activity.agent.clone())),
            Record::RateLimit(_) | Record::Account(_) => None,
        };
        let trackers = &mut self.trackers;
        let (file, counts) = self.files.entry(source).or_insert_with_key(|source| {
            let path = match source {
                Some((session, None)) => format!("simulated/{session}.jsonl"),
                Some((session, Some(agent))) => format!("simulated/{session}/subagents/agent-{agent}.jsonl"),
                None => "simulated/limits.jsonl".to_owned(),
            };
            (trackers.file(Tool::ClaudeCode, &path), FileCounts::default())
        });
        *counts += FileCounts {
            bytes: LINE_BYTES,
            lines: 1,
            records: 1,
            usage_records: u64::from(matches!(record, Record::Usage(_))),
            ..FileCounts::default()
        };
        trackers.set_counts(*file, *counts);
        *file
    }
}
