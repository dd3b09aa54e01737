//! The one task that owns the numbers: records come in, numbered events go out.
//!
//! Everybody else sends it messages through bounded queues or reads an immutable snapshot. When it
//! has more to do than it manages, the queues fill and the readers of files wait; nothing is dropped.
//! It never waits for a page.

use crate::observation::SourceMessage;
use std::sync::Arc;
use std::time::Duration;

use dashboard_core::alert::AlertMemory;
use dashboard_core::event::{HealthCheck, HealthStatus, SequencedEvent};
use dashboard_core::history::History;
use dashboard_core::ids::Epoch;
use dashboard_core::record::ReadingEntry;
use dashboard_core::simulator::Simulation;
use dashboard_core::state::DashboardState;
use dashboard_core::time::{DAY_MS, Timestamp};
use dashboard_core::tracker::{Trackers, Warnings};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock::{self, Clock};
use crate::control::{ControlRequest, Order};
use crate::health::{DashboardHealth, Part};
use crate::history::HistoryRequest;
use crate::hub::{Hub, Snapshot, SnapshotRequest};
use crate::notify::Inbox;

/// Messages taken before what they changed is told.
const BATCH: usize = 256;
/// What time alone changes is told this often, and the health looked at.
const SECOND: Duration = Duration::from_secs(1);
/// Files modified since have been read when the source says that the present is known: all responses since are known.
const READ_BEFORE_CURRENT_MS: i64 = 2 * DAY_MS;
/// A simulation moves this often.
const SIMULATION_STEP: Duration = Duration::from_millis(50);

/// Where the events come from.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Feed {
    /// Records of real sessions, from the source's messages.
    Live {
        /// What turns them into events.
        trackers: Box<Trackers>,
        /// What has come of them; `None` while history is being read.
        state: Option<DashboardState>,
        /// Where what was told of alerts is left to be kept.
        inbox: Inbox,
        /// What was last left there to be kept.
        kept: AlertMemory,
    },
    /// The simulator.
    Simulation(Box<Simulation>),
}

impl Feed {
    /// The state, once there is one.
    fn state(&self) -> Option<&DashboardState> {
        match self {
            Self::Live { state, .. } => state.as_ref(),
            Self::Simulation(simulation) => Some(simulation.state()),
        }
    }

    /// What happened until `now`, numbered and folded into the state.
    fn advance(&mut self, now: Timestamp) -> Vec<SequencedEvent> {
        match self {
            Self::Live { trackers, state: Some(state), inbox, kept } => {
                let mut events: Vec<SequencedEvent> =
                    trackers.flush(now).into_iter().map(|event| state.take(event, now)).collect();
                let Warnings { events: warnings, .. } = trackers.warnings(state, now);
                if kept != trackers.memory() {
                    kept.clone_from(trackers.memory());
                    inbox.leave(kept.clone());
                }
                events.extend(warnings.into_iter().map(|event| state.take(event, now)));
                events
            }
            Self::Live { state: None, .. } => Vec::new(),
            Self::Simulation(simulation) => simulation.advance_to(now),
        }
    }

    /// Everything reports are made of.
    fn history(&self) -> History {
        match self {
            Self::Live { trackers, .. } => trackers.history(),
            Self::Simulation(simulation) => simulation.history(),
        }
    }

    /// Carries out an order; whether there was anything to do it to.
    fn order(&mut self, order: Order, now: Timestamp) -> bool {
        match (self, order) {
            (Self::Live { trackers, .. }, Order::Snooze(ms)) => trackers.snooze((ms > 0).then(|| now.plus_ms(ms))),
            (Self::Live { trackers, state: Some(state), .. }, Order::Acknowledge(subject)) => {
                return trackers.acknowledge(&subject, state, now);
            }
            (Self::Live { trackers, .. }, Order::Settings(settings)) => trackers.set_settings(*settings),
            (Self::Simulation(simulation), Order::Snooze(ms)) => {
                simulation.snooze((ms > 0).then(|| now.plus_ms(ms)));
            }
            (Self::Simulation(simulation), Order::Acknowledge(subject)) => return simulation.acknowledge(&subject),
            // A simulation keeps no settings.
            (Self::Live { state: None, .. }, Order::Acknowledge(_)) | (Self::Simulation(_), Order::Settings(_)) => {
                return false;
            }
        }
        true
    }

    fn health(&mut self, check: HealthCheck) {
        match self {
            Self::Live { trackers, .. } => trackers.health(check),
            Self::Simulation(simulation) => simulation.health(check),
        }
    }
}

/// See the [module's description](self).
#[derive(Debug)]
pub struct Engine {
    feed: Feed,
    clock: Clock,
    hub: Hub,
    health: DashboardHealth,
    epoch: Epoch,
    /// The last snapshot taken; good until the next event.
    snapshot: Option<Arc<Snapshot>>,
    /// The last history taken; good until more is read.
    history: Option<Arc<History>>,
    last_check: HealthCheck,
    checked: Option<Instant>,
}

impl Engine {
    /// An engine that publishes to `hub`.
    pub fn new(feed: Feed, clock: Clock, hub: Hub, health: DashboardHealth) -> Self {
        // Unique among the runs a page can have seen: they cannot begin in the same millisecond with the same number.
        let epoch = format!("{:x}-{:x}", clock::wall().unix_ms(), std::process::id());
        let epoch = Epoch::from(epoch.as_str());
        let (snapshot, history, last_check, checked) = (None, None, HealthCheck::default(), None);
        Self { feed, clock, hub, health, epoch, snapshot, history, last_check, checked }
    }

    /// Runs until dropped.
    pub async fn run(
        mut self,
        mut source: mpsc::Receiver<SourceMessage>,
        mut requests: mpsc::Receiver<SnapshotRequest>,
        mut questions: mpsc::Receiver<HistoryRequest>,
        mut orders: mpsc::Receiver<ControlRequest>,
    ) {
        let step = if matches!(self.feed, Feed::Simulation(_)) { SIMULATION_STEP } else { SECOND };
        let mut tick = interval(step);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        if matches!(self.feed, Feed::Simulation(_)) {
            self.begin();
        }
        loop {
            let begun = self.feed.state().is_some();
            tokio::select! {
                count = source.recv_many(&mut batch, BATCH), if !source.is_closed() || !source.is_empty() => {
                    if count == 0 {
                        continue;
                    }
                    self.history = None;
                    batch.drain(..).for_each(|message| self.take(message));
                }
                _ = tick.tick() => self.look_after_health(),
                Some(request) = requests.recv(), if begun => {
                    self.answer(request);
                    continue;
                }
                Some((order, done)) = orders.recv() => {
                    let was_done = self.feed.order(order, self.clock.now());
                    // Who asked may have left.
                    let _ = done.send(was_done);
                }
                Some(question) = questions.recv(), if begun => {
                    let history = self.history.get_or_insert_with(|| Arc::new(self.feed.history()));
                    // Who asked may have left.
                    let _ = question.send(Arc::clone(history));
                    continue;
                }
            }
            let events = self.feed.advance(self.clock.now());
            if !events.is_empty() {
                self.snapshot = None;
                if matches!(self.feed, Feed::Simulation(_)) {
                    self.history = None;
                }
                self.hub.publish(&events);
            }
        }
    }

    fn take(&mut self, message: SourceMessage) {
        let now = self.clock.now();
        let Feed::Live { trackers, state, .. } = &mut self.feed else { return };
        match message {
            SourceMessage::Read { file, records, rejections, state, replaces } => {
                let file = trackers.file(file.tool, &file.key);
                if replaces {
                    trackers.retract_file(file, now);
                }
                records.iter().for_each(|record| trackers.record(file, record, now));
                rejections.into_iter().for_each(|rejection| trackers.reject(file, rejection));
                trackers.set_counts(file, state.counts);
            }
            SourceMessage::Retract { file } => {
                let file = trackers.file(file.tool, &file.key);
                trackers.retract_file(file, now);
            }
            SourceMessage::Archive { file } => {
                let file = trackers.file(file.tool, &file.key);
                trackers.archive_file(file);
            }
            SourceMessage::Presence(running) => trackers.presence(&running),
            SourceMessage::Statement(statement) => trackers.observe(&statement, now),
            SourceMessage::StatusLine { tool, line } => trackers.status_line(tool, &line, now),
            SourceMessage::Failure(failure) => trackers.failure(&failure),
            SourceMessage::Progress(progress) => trackers.progress(Some(progress)),
            SourceMessage::HistoryRead => {
                trackers.progress(None);
                trackers.history_read(|_, _| None);
            }
            SourceMessage::Current => {
                if state.is_none() {
                    trackers.reading_history(now.plus_ms(-READ_BEFORE_CURRENT_MS));
                    *state = Some(trackers.begin(self.clock.now()));
                    self.begin();
                }
            }
        }
    }

    /// From here on events are numbered and pages are greeted.
    fn begin(&mut self) {
        if let Some(state) = self.feed.state() {
            self.hub.begin(self.epoch.clone(), state.mode, state.seq, self.clock);
            tracing::info!(epoch = %self.epoch, sessions = state.sessions.len(), "numbering has begun");
        }
        self.look_after_health();
    }

    fn answer(&mut self, request: SnapshotRequest) {
        let Some(state) = self.feed.state() else { return };
        let take = || Arc::new(Snapshot::new(self.epoch.clone(), state.clone()));
        let snapshot = self.snapshot.get_or_insert_with(take);
        // A page that has left needs no answer.
        let _ = request.send(Arc::clone(snapshot));
    }

    /// Says how this task and the trackers are and, at most once a second, tells the pages if anything changed.
    fn look_after_health(&mut self) {
        if self.checked.is_some_and(|checked| checked.elapsed() < SECOND) {
            return;
        }
        self.checked = Some(Instant::now());
        let Some(state) = self.feed.state() else {
            self.health.report(Part::Engine, HealthStatus::Degraded, "reading history; figures follow");
            return;
        };
        let quota = match (state.five_hour(), &state.plan) {
            (Some(window), _) if window.now.percent.is_some() => {
                let source = window.now.source.map_or_else(String::new, |source| format!(", {}", source.about()));
                format!("{} figures{source}", window.now.provenance.as_str())
            }
            (_, Some(_)) => "no open window".to_owned(),
            (_, None) => "counting tokens; --plan adds a limit".to_owned(),
        };
        let quota = match state.ingest.reading_problems.last() {
            Some(ReadingEntry { source, problem: Some(problem), .. }) => {
                let count = state.ingest.refused_readings;
                format!(
                    "{quota}; {count} readings not believed, the last from the {}: {}",
                    source.about(),
                    problem.about()
                )
            }
            _ => quota,
        };
        let windows = state.sessions.values().filter(|session| session.context.is_some()).count();
        self.health.report(Part::Engine, HealthStatus::Healthy, "running");
        self.health.report(Part::QuotaTracker, HealthStatus::Healthy, quota);
        self.health.report(Part::ContextTracker, HealthStatus::Healthy, format!("{windows} windows known"));
        self.health.set_clients(*self.hub.clients().borrow());
        let check = self.health.check();
        if check != self.last_check {
            self.feed.health(check.clone());
            self.last_check = check;
        }
    }
}
