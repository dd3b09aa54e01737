//! What runs in the page's worker: it speaks as a server does, about a simulation on virtual time.
//!
//! Frames in, frames out; whoever carries them (`frontend/worker`) knows nothing of them. The page drives the time, so
//! nothing happens while it is hidden, and the worker never runs ahead of what can be shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{ComponentHealth, HealthCheck, HealthStatus};
use crate::ids::Epoch;
use crate::price::PriceTable;
use crate::protocol::{self, ClientFrame, SIMULATION_START, ServerFrame, WorkerFrame};
use crate::simulator::{Scenario, Simulation};
use crate::state::Mode;
use crate::time::ZoneOffsets;

/// The worker. Holds one simulation, whose size the scenario bounds.
#[derive(Debug)]
pub struct Worker {
    prices: Arc<PriceTable>,
    simulation: Option<Simulation>,
    /// Simulations begun so far; names the numbering of the events.
    begun: u32,
}

impl Default for Worker {
    fn default() -> Self {
        Self { prices: Arc::new(PriceTable::embedded()), simulation: None, begun: 0 }
    }
}

impl Worker {
    /// What a frame of the page is answered with, in order.
    pub fn handle(&mut self, frame: WorkerFrame) -> Vec<ServerFrame> {
        match frame {
            WorkerFrame::Simulate { scenario, seed, utc_offset_s } => self.simulate(scenario, seed, utc_offset_s),
            WorkerFrame::Advance { ms } => self.advance(ms),
            WorkerFrame::Client(ClientFrame::Resume { .. }) => self.snapshot().into_iter().collect(),
            WorkerFrame::Client(ClientFrame::Ping) => self.heartbeat().into_iter().collect(),
            // The page stops the time instead.
            WorkerFrame::Client(ClientFrame::Pause | ClientFrame::ResumeUpdates) => Vec::new(),
        }
    }

    fn simulate(&mut self, scenario: Scenario, seed: u64, utc_offset_s: i32) -> Vec<ServerFrame> {
        let start = SIMULATION_START;
        let zone = ZoneOffsets::new(vec![(start, utc_offset_s)]);
        let mut simulation = Simulation::new(scenario, seed, start, Mode::Demo, zone, Arc::clone(&self.prices));
        simulation.health(health());
        let hello = ServerFrame::Hello {
            version: protocol::VERSION,
            build: None,
            epoch: self.next_epoch(),
            seq: simulation.state().seq,
            mode: Mode::Demo,
            timestamp: simulation.now(),
        };
        self.simulation = Some(simulation);
        std::iter::once(hello).chain(self.snapshot()).collect()
    }

    /// Events, if anything happened, and always a heartbeat, which carries the time and says that there is no more.
    fn advance(&mut self, ms: u32) -> Vec<ServerFrame> {
        let Some(simulation) = &mut self.simulation else { return Vec::new() };
        let events = simulation.advance_to(simulation.now().plus_ms(i64::from(ms)));
        let events = match (events.first(), events.last()) {
            (Some(first), Some(last)) => Some(ServerFrame::Events { from: first.seq, to: last.seq, events }),
            _ => None,
        };
        events.into_iter().chain(self.heartbeat()).collect()
    }

    fn snapshot(&self) -> Option<ServerFrame> {
        let state = self.simulation.as_ref()?.state().clone();
        Some(ServerFrame::Snapshot { epoch: self.epoch(), seq: state.seq, state: Box::new(state) })
    }

    fn heartbeat(&self) -> Option<ServerFrame> {
        let simulation = self.simulation.as_ref()?;
        Some(ServerFrame::Heartbeat { seq: simulation.state().seq, timestamp: simulation.now() })
    }

    fn next_epoch(&mut self) -> Epoch {
        self.begun = self.begun.wrapping_add(1);
        self.epoch()
    }

    fn epoch(&self) -> Epoch {
        Epoch::new(format!("simulation-{}", self.begun))
    }
}

fn health() -> HealthCheck {
    let simulator = ComponentHealth { status: HealthStatus::Healthy, message: "plays in this page".to_owned() };
    let components = BTreeMap::from([("simulator".to_owned(), simulator)]);
    HealthCheck { status: HealthStatus::Healthy, clients: 0, components }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Seq;
    use crate::state::DashboardState;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn simulate(seed: u64) -> WorkerFrame {
        WorkerFrame::Simulate { scenario: Scenario::AgentSwarm, seed, utc_offset_s: 3_600 }
    }

    fn resume() -> WorkerFrame {
        WorkerFrame::Client(ClientFrame::Resume { epoch: Epoch::from("x"), seq: Seq(0) })
    }

    fn snapshot(frames: &[ServerFrame]) -> (&Epoch, &DashboardState) {
        let found = frames.iter().find_map(|frame| match frame {
            ServerFrame::Snapshot { epoch, state, .. } => Some((epoch, &**state)),
            _ => None,
        });
        found.unwrap()
    }

    #[test]
    fn what_the_page_folds_is_what_the_worker_has() {
        let mut worker = Worker::default();
        let begin = worker.handle(simulate(7));
        assert!(matches!(&begin[0], ServerFrame::Hello { mode: Mode::Demo, .. }));
        let mut state = snapshot(&begin).1.clone();
        let mut last = state.seq;
        for _ in 0..200 {
            for frame in worker.handle(WorkerFrame::Advance { ms: 1_500 }) {
                if let ServerFrame::Events { from, to, events } = frame {
                    assert_eq!(from, last.next());
                    last = to;
                    events.iter().for_each(|event| state.apply(event));
                }
            }
        }
        let end = worker.handle(resume());
        assert!(last > Seq(100));
        assert_eq!(snapshot(&end).1, &state);
    }

    #[test]
    fn another_story_has_another_numbering_and_begins_anew() {
        let mut worker = Worker::default();
        assert_eq!(worker.handle(WorkerFrame::Advance { ms: 10 }), []);
        let first = worker.handle(simulate(1));
        worker.handle(WorkerFrame::Advance { ms: 60_000 });
        let again = worker.handle(simulate(1));
        assert_ne!(snapshot(&first).0, snapshot(&again).0);
        assert_eq!(snapshot(&first).1, snapshot(&again).1, "the same seed, the same state");
        assert_ne!(snapshot(&again).1, snapshot(&worker.handle(simulate(2))).1);
    }

    #[test]
    fn simulations_begin_when_they_are_said_to() {
        assert_eq!(SIMULATION_START.to_string(), "2026-09-23T12:00:00.000Z");
    }

    #[test]
    fn every_step_is_answered_with_the_time() {
        let mut worker = Worker::default();
        worker.handle(simulate(1));
        for step in 1..=3 {
            let frames = worker.handle(WorkerFrame::Advance { ms: 16 });
            let Some(ServerFrame::Heartbeat { timestamp, .. }) = frames.last() else { panic!("{frames:?}") };
            assert_eq!(*timestamp, SIMULATION_START.plus_ms(16 * step));
        }
    }
}
