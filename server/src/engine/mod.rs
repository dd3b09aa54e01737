//! The one task that owns the numbers: records come in, numbered events go out.
//!
//! Everybody else sends it messages through bounded queues or reads an immutable snapshot. When it
//! has more to do than it manages, the queues fill and the readers of files wait; nothing is dropped.
//! It never waits for a page.

mod live;
mod past;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dashboard_core::event::{HealthCheck, HealthStatus, SequencedEvent};
use dashboard_core::history::History;
use dashboard_core::ids::Epoch;
use dashboard_core::record::ReadingEntry;
use dashboard_core::simulator::Simulation;
use dashboard_core::state::DashboardState;
use dashboard_core::time::Timestamp;
use dashboard_core::tracker::Trackers;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use self::live::{Live, Whereabouts};
use self::past::{Past, Unwritten};
use crate::clock::{self, Clock};
use crate::control::{ControlRequest, Order};
use crate::health::{DashboardHealth, Part};
use crate::history::{HistoryAnswer, HistoryRequest};
use crate::hub::{Hub, Snapshot, SnapshotRequest};
use crate::notify::Inbox;
use crate::observation::{HistoryWriter, NumberedMessage, Root};

/// Messages taken before what they changed is told.
const BATCH: usize = 256;
/// What time alone changes is told this often, and the health looked at.
const SECOND: Duration = Duration::from_secs(1);
/// A simulation moves this often.
const SIMULATION_STEP: Duration = Duration::from_millis(50);
/// While somebody waits for the store, what it has committed is looked at this often.
const COMMITS: Duration = Duration::from_millis(2);
/// While history is read, what it changes is told at most this often, and seldom enough that most of the time goes into
/// reading: a change of the present waits no longer than that.
const READING_PAUSE: Duration = Duration::from_millis(4);
/// The pause, in times of what the last telling took.
const READING_SHARE: u32 = 4;
/// Longest time to wait for the store: then the answer is what it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the events come from.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Feed {
    /// Records of real sessions, from the source's messages.
    Live(Live),
    /// The simulator.
    Simulation(Box<Simulation>),
}

/// A store behind the trackers.
#[derive(Debug)]
pub struct StoreAccess {
    /// The database.
    pub database: Arc<Path>,
    /// The roots of whose files it is asked.
    pub roots: Vec<Root>,
    /// What feeds it.
    pub writer: Box<dyn HistoryWriter>,
}

impl Feed {
    /// Real sessions. With a store, the trackers hold only the present; what was told of alerts is left in the inbox.
    pub fn live(trackers: Trackers, inbox: Inbox, store: Option<StoreAccess>) -> Self {
        let past = store.map(|StoreAccess { database, roots, writer }| Past::new(database, roots, writer));
        Self::Live(Live::new(trackers, inbox, past))
    }

    /// The state, once there is one.
    fn state(&self) -> Option<&DashboardState> {
        match self {
            Self::Live(live) => live.state.as_ref(),
            Self::Simulation(simulation) => Some(simulation.state()),
        }
    }

    /// What happened until `now`, numbered and folded into the state.
    fn advance(&mut self, now: Timestamp) -> Vec<SequencedEvent> {
        match self {
            Self::Live(live) => live.advance(now),
            Self::Simulation(simulation) => simulation.advance_to(now),
        }
    }

    /// Everything reports are made of.
    fn history(&self) -> Whereabouts {
        match self {
            Self::Live(live) => live.history(),
            Self::Simulation(simulation) => Whereabouts::Held(Arc::new(simulation.history())),
        }
    }

    /// Carries out an order; whether there was anything to do it to.
    fn order(&mut self, order: Order, now: Timestamp) -> bool {
        match (self, order) {
            (Self::Live(live), order) => return live.order(order, now),
            (Self::Simulation(simulation), Order::Snooze(ms)) => {
                simulation.snooze((ms > 0).then(|| now.plus_ms(ms)));
            }
            (Self::Simulation(simulation), Order::Acknowledge(subject)) => return simulation.acknowledge(&subject),
            // A simulation keeps no settings.
            (Self::Simulation(_), Order::Settings(_)) => return false,
        }
        true
    }

    /// Whether history is being read.
    fn is_reading(&self) -> bool {
        matches!(self, Self::Live(live) if live.is_reading())
    }

    /// Why the store cannot be read, if it cannot.
    fn failure(&self) -> Option<&str> {
        if let Self::Live(live) = self { live.failure() } else { None }
    }

    fn health(&mut self, check: HealthCheck) {
        match self {
            Self::Live(live) => live.trackers.health(check),
            Self::Simulation(simulation) => simulation.health(check),
        }
    }
}

/// Somebody who wants to know the history, and waits until the store has all of it that was known when they asked.
#[derive(Debug)]
struct Asker {
    answer: HistoryRequest,
    unwritten: Unwritten,
    asked: Instant,
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
    /// Whether something was taken that has not been told yet.
    is_pending: bool,
    /// While history is read, what is pending is told then.
    next_advance: Instant,
    /// Those who wait for the store. As many as there are requests under way.
    askers: Vec<Asker>,
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
        let (is_pending, next_advance, askers) = (false, Instant::now(), Vec::new());
        Self {
            feed,
            clock,
            hub,
            health,
            epoch,
            snapshot,
            history,
            is_pending,
            next_advance,
            askers,
            last_check,
            checked,
        }
    }

    /// Runs until dropped.
    pub async fn run(
        mut self,
        mut source: mpsc::Receiver<NumberedMessage>,
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
                _ = tick.tick() => {
                    self.release();
                    self.look_after_health();
                }
                () = sleep_until(self.next_advance), if self.is_pending => {}
                () = sleep(COMMITS), if !self.askers.is_empty() => {
                    self.answer_askers();
                    continue;
                }
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
                    self.ask(question);
                    continue;
                }
            }
            let started = Instant::now();
            self.is_pending = self.feed.is_reading() && started < self.next_advance;
            if self.is_pending {
                continue;
            }
            let events = self.feed.advance(self.clock.now());
            self.next_advance = Instant::now() + READING_PAUSE.max(started.elapsed() * READING_SHARE);
            if !events.is_empty() {
                self.snapshot = None;
                if matches!(self.feed, Feed::Simulation(_)) {
                    self.history = None;
                }
                self.hub.publish(&events);
            }
        }
    }

    fn take(&mut self, message: NumberedMessage) {
        let now = self.clock.now();
        if let Feed::Live(live) = &mut self.feed
            && live.take(message, now)
        {
            self.begin();
        }
    }

    /// Answers at once if everything is held, else when the store has what is known now.
    fn ask(&mut self, answer: HistoryRequest) {
        if let Some(history) = &self.history {
            // Who asked may have left.
            let _ = answer.send(HistoryAnswer::Held(Arc::clone(history)));
            return;
        }
        match self.feed.history() {
            Whereabouts::Held(history) => {
                let history = Arc::clone(self.history.insert(history));
                let _ = answer.send(HistoryAnswer::Held(history));
            }
            Whereabouts::Stored(unwritten) => {
                self.askers.push(Asker { answer, unwritten, asked: Instant::now() });
                self.answer_askers();
            }
        }
    }

    fn answer_askers(&mut self) {
        self.poll_commits();
        for asker in std::mem::take(&mut self.askers) {
            let unwritten_files = asker.unwritten.files();
            if unwritten_files == 0 || asker.asked.elapsed() >= PATIENCE {
                let _ = asker.answer.send(HistoryAnswer::Stored { unwritten_files });
            } else if !asker.answer.is_closed() {
                self.askers.push(asker);
            }
        }
    }

    fn poll_commits(&mut self) {
        if let Feed::Live(live) = &mut self.feed {
            let mut waiting: Vec<&mut Unwritten> = self.askers.iter_mut().map(|asker| &mut asker.unwritten).collect();
            live.poll_commits(&mut waiting);
        }
    }

    /// Lets go of what the store has and the present does not need.
    fn release(&mut self) {
        self.poll_commits();
        if let Feed::Live(live) = &mut self.feed {
            live.release(self.clock.now());
            if !live.holds_everything() {
                self.history = None;
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
        match self.feed.failure() {
            None => self.health.report(Part::Engine, HealthStatus::Healthy, "running"),
            Some(error) => {
                let message = format!(
                    "history cannot be looked up ({error}): a response that is repeated in another file may count twice \
                     until the next start"
                );
                self.health.report(Part::Engine, HealthStatus::Degraded, message);
            }
        }
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
