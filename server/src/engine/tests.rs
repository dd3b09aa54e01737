//! The engine over a store: whatever happens to files, however often the dashboard is restarted, and whenever what is over
//! is released, its figures are those of one clean read of everything there is.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dashboard_core::state::{DashboardState, LimitState, Mode, Session};
use dashboard_core::time::{HOUR_MS, MINUTE_MS, Timestamp, ZoneOffsets};
use dashboard_core::tracker::{Plan, TrackerConfig, Trackers};
use proptest::prelude::*;
use tempfile::TempDir;

use super::live::Live;
use super::past::Past;
use crate::health::DashboardHealth;
use crate::notify::Inbox;
use crate::observation::{NumberedMessage, Recall, Recipient, RecordSink, SinkClosed, SourceMessage, StoredFile};
use crate::source::transcripts::Transcripts;
use crate::store::tests::{Step, change_files, options, prices, roots, step};
use crate::store::{HistoryReader, Store, database};

fn trackers() -> Trackers {
    let settings = dashboard_core::settings::Settings::default();
    let config = TrackerConfig { mode: Mode::Live, zone: ZoneOffsets::utc(), plan: Some(Plan::Pro), settings };
    Trackers::new(config, prices())
}

/// Numbers what is read, and hands it to the engine.
#[derive(Clone)]
struct Sink(Arc<Mutex<Receiver>>);

struct Receiver {
    live: Live,
    number: u64,
    now: Timestamp,
}

impl RecordSink for Sink {
    fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
        let mut receiver = self.0.lock().unwrap();
        receiver.number += 1;
        let (number, now) = (receiver.number, receiver.now);
        receiver.live.take(NumberedMessage { number, to: Recipient::Both, message }, now);
        Ok(())
    }
}

impl Sink {
    fn new(live: Live, now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Receiver { live, number: 0, now })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Receiver) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    fn begin(&self) {
        self.send(SourceMessage::Current { is_complete: true }).unwrap();
        self.send(SourceMessage::HistoryRead).unwrap();
        self.advance();
    }

    fn advance(&self) {
        self.with(|receiver| drop(receiver.live.advance(receiver.now)));
    }

    fn state(&self) -> DashboardState {
        self.with(|receiver| receiver.live.state.clone().unwrap())
    }
}

struct Dashboard {
    sink: Sink,
    transcripts: Transcripts,
    store: Store,
}

impl Dashboard {
    fn start(home: &Path, now: Timestamp) -> Self {
        let roots = roots(home);
        let store = Store::open(options(home, DashboardHealth::default())).unwrap();
        let past = Past::new(store.database(), roots.to_vec(), Box::new(store.sender()));
        let recalled = store.sender().recall(&roots, now);
        let sink = Sink::new(Live::new(trackers(), Inbox::default(), Some(past)), now);
        let mut transcripts = Transcripts::new(&roots, Box::new(sink.clone()));
        transcripts.resume_all(&recalled);
        sink.send(SourceMessage::Recalled(Box::new(recalled))).unwrap();
        transcripts.rescan().unwrap();
        sink.begin();
        Self { sink, transcripts, store }
    }

    fn look(&mut self, now: Timestamp) {
        self.sink.with(|receiver| receiver.now = now);
        self.transcripts.rescan().unwrap();
        self.sink.advance();
    }

    /// Waits until everything is committed.
    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_settled = |receiver: &mut Receiver| {
            receiver.live.poll_commits(&mut []);
            receiver.live.past.as_ref().is_none_or(|past| past.unwritten().files() == 0)
        };
        while !self.sink.with(is_settled) {
            assert!(Instant::now() < deadline, "not committed");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Releases what is committed and over.
    fn release(&self) {
        self.wait();
        self.sink.with(|receiver| {
            if let Receiver { live: Live { trackers, past: Some(past), .. }, now, .. } = receiver {
                past.release(trackers, *now);
            }
        });
    }

    fn stop(self) {
        let Self { sink, transcripts, store } = self;
        drop((sink, transcripts));
        store.close();
    }
}

/// One clean read of everything: the files there are, and of those that were deleted what the store has.
fn clean(home: &Path, now: Timestamp) -> DashboardState {
    let roots = roots(home);
    let sink = Sink::new(Live::new(trackers(), Inbox::default(), None), now);
    let reader = HistoryReader::open(&database(&home.join("data")), &roots).unwrap();
    let take = |StoredFile { found, state, archived, records, rejections }| {
        if archived {
            let (file, state) = (Arc::new(found), Box::new(state));
            let read = SourceMessage::Read { file: Arc::clone(&file), records, rejections, state, replaces: false };
            sink.send(read).unwrap();
            sink.send(SourceMessage::Archive { file }).unwrap();
        }
        Ok(())
    };
    reader.load(take).unwrap().unwrap();
    Transcripts::new(&roots, Box::new(sink.clone())).rescan().unwrap();
    sink.begin();
    sink.state()
}

/// A session, without what depends on when it was looked at, and without two things that real transcripts do not have:
/// the fill of its context by lines of one response that differ in their input, of which the store keeps one; and its
/// model by rows that stand before the line that names the session.
fn outline(session: &Session, now: Timestamp) -> impl PartialEq + std::fmt::Debug + use<> {
    let oldest = now.plus_ms(-300 * MINUTE_MS).minute();
    let minutes: Vec<_> = session.minutes.iter().filter(|it| it.minute > oldest).copied().collect();
    let mut agents: Vec<_> = session.agents.values().cloned().collect();
    agents.iter_mut().for_each(|agent| agent.rate = dashboard_core::units::Tokens::ZERO);
    (
        (session.project.clone(), session.cwd.clone(), session.branch.clone()),
        (session.phase, session.started_at, session.last_activity, session.last_error),
        (session.usage, session.cost, session.responses, minutes),
        (agents, session.agents_rest),
    )
}

fn limits(state: &DashboardState) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let figures = |limit: &LimitState| {
        let now = &limit.now;
        (now.key.clone(), now.used, now.used_by.clone(), now.models.clone(), now.percent, now.reset_time, now.complete)
    };
    state.limits.values().map(figures).collect()
}

struct World {
    home: TempDir,
    dashboard: Option<Dashboard>,
    now: Timestamp,
    looks: u32,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        // Just after the lines of the sequences.
        let now = Timestamp::parse("2026-09-14T15:30:00Z").unwrap();
        let dashboard = Some(Dashboard::start(home.path(), now));
        Self { home, dashboard, now, looks: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Look => {
                self.looks += 1;
                // Sessions end, and are over some looks later.
                self.now = self.now.plus_ms(if self.looks.is_multiple_of(3) { 9 * HOUR_MS } else { MINUTE_MS });
                self.dashboard.as_mut().unwrap().look(self.now);
                self.check();
                // At some looks what was read before is not committed yet.
                if self.looks.is_multiple_of(2) {
                    self.dashboard.as_ref().unwrap().release();
                    self.check();
                }
            }
            Step::Restart => {
                self.dashboard.take().unwrap().stop();
                self.dashboard = Some(Dashboard::start(self.home.path(), self.now));
                self.check();
            }
            change => drop(change_files(self.home.path(), change)),
        }
    }

    fn check(&self) {
        let dashboard = self.dashboard.as_ref().unwrap();
        // What was deleted is compared with what the store has of it.
        dashboard.wait();
        dashboard.sink.advance();
        let (found, expected) = (dashboard.sink.state(), clean(self.home.path(), self.now));
        for (id, session) in &expected.sessions {
            let known = found.sessions.get(id).map(|it| outline(it, self.now));
            assert_eq!(known, Some(outline(session, self.now)), "{id}");
        }
        let ingest = |state: &DashboardState| {
            let it = &state.ingest;
            (
                (it.files, it.bytes, it.lines, it.responses, it.duplicate_lines, it.rejected_lines),
                (it.unpriced, it.unpriced_models.clone()),
            )
        };
        assert_eq!(ingest(&found), ingest(&expected));
        assert_eq!(found.days, expected.days);
        assert_eq!(limits(&found), limits(&expected));
    }
}

fn sequences() -> u32 {
    std::env::var("ENGINE_SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(sequences()) })]

    #[test]
    fn over_a_store_the_figures_are_those_of_one_clean_read(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.step(&Step::Look);
    }
}
