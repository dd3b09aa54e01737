//! Fan-out: one numbered log of events, any number of pages that read it at their own pace.
//!
//! The engine publishes; the hub packs what came in into frames (the first event after quiet at
//! once, then at most one frame per [`FRAME_INTERVAL`]), serialises each once, and keeps the recent
//! ones in a ring. A page is a [`Subscription`]: a position in that log. It *pulls*, so the ring is
//! every client's queue and the only one: a page that falls out of it, or asks for a position that
//! is not in it, gets a snapshot instead. Frames are therefore never skipped and never repeated.
//!
//! The hub does not know what events mean, and nothing of sockets.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use dashboard_core::event::{Seq, SequencedEvent};
use dashboard_core::ids::{BuildId, Epoch};
use dashboard_core::protocol::{self, ServerFrame};
use dashboard_core::state::{DashboardState, Mode};
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use crate::clock::Clock;

/// At most one frame of events per this span.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// Most events kept for pages that come back; beyond, they get a snapshot.
const RING_EVENTS: u64 = 4_096;
/// Most bytes kept for them.
const RING_BYTES: usize = 4 << 20;
/// A frame this long is closed even if its time has not come.
const FRAME_BYTES: usize = 256 << 10;
/// Snapshot requests that wait for the engine; beyond, the next one waits for room.
const SNAPSHOT_QUEUE: usize = 64;

/// The state at one moment. Cheap to share: taken and serialised once for everyone who asks
/// before the next event.
#[derive(Debug)]
pub struct Snapshot {
    /// The numbering the state belongs to.
    pub epoch: Epoch,
    /// The state; `state.seq` is the last event in it.
    pub state: DashboardState,
    /// Its text, made when it is first asked for.
    frame: OnceLock<Utf8Bytes>,
}

impl Snapshot {
    /// Of `state` within `epoch`.
    pub fn new(epoch: Epoch, state: DashboardState) -> Self {
        Self { epoch, state, frame: OnceLock::new() }
    }

    /// The snapshot as JSON, as `/api/v1/snapshot` answers it: the same text as the frame.
    pub fn json(&self) -> Bytes {
        self.frame().into()
    }

    /// The snapshot as a frame.
    fn frame(&self) -> Utf8Bytes {
        /// [`ServerFrame::Snapshot`], borrowed: the state is too big to be cloned for its text.
        #[derive(Serialize)]
        struct Frame<'a> {
            frame: &'static str,
            epoch: &'a Epoch,
            seq: Seq,
            state: &'a DashboardState,
        }
        let frame = Frame { frame: "snapshot", epoch: &self.epoch, seq: self.state.seq, state: &self.state };
        self.frame.get_or_init(|| json(&frame)).clone()
    }
}

/// A page waits here for the engine's answer.
pub type SnapshotRequest = oneshot::Sender<Arc<Snapshot>>;

/// The engine has stopped, so there is nothing more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine has stopped")]
pub struct Stopped;

/// The log of events and those who read it. Clones share it.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The build of the page that is served, for `hello`.
    build: BuildId,
    log: Mutex<Log>,
    /// Wakes [`Hub::run`]: events are waiting for their frame.
    pending: Notify,
    /// Wakes the subscriptions: the log has grown, begun anew, or ended.
    head: watch::Sender<Head>,
    clients: watch::Sender<u64>,
    snapshots: mpsc::Sender<SnapshotRequest>,
    counts: Counts,
}

/// What the hub has done so far.
#[derive(Debug, Default)]
struct Counts {
    frames: AtomicU64,
    bytes: AtomicU64,
    snapshots: AtomicU64,
}

/// What the hub has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubCounts {
    /// Frames of events made, each once for all pages.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Pages brought up to date by a snapshot.
    pub snapshots: u64,
}

/// What subscriptions wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Head {
    /// The last event that is in a frame.
    framed: Seq,
    epoch: Option<Epoch>,
    stopped: bool,
}

impl Hub {
    /// A hub for pages of the given build, and the requests for snapshots which the engine is to answer.
    pub fn new(build: BuildId) -> (Self, mpsc::Receiver<SnapshotRequest>) {
        let (snapshots, requests) = mpsc::channel(SNAPSHOT_QUEUE);
        let inner = Inner {
            build,
            log: Mutex::default(),
            pending: Notify::new(),
            head: watch::Sender::new(Head::default()),
            clients: watch::Sender::new(0),
            snapshots,
            counts: Counts::default(),
        };
        (Self(Arc::new(inner)), requests)
    }

    /// Begins a numbering: events from `seq` + 1 on are going to be published. Until then nobody is greeted.
    pub fn begin(&self, epoch: Epoch, mode: Mode, seq: Seq, clock: Clock) {
        *self.log() = Log::new(epoch.clone(), mode, seq, clock);
        self.0.head.send_modify(|head| {
            head.framed = seq;
            head.epoch = Some(epoch);
        });
    }

    /// Takes the next events. Never waits: what is too old for the ring makes room.
    pub fn publish(&self, events: &[SequencedEvent]) {
        if events.is_empty() {
            return;
        }
        let full = {
            let mut log = self.log();
            events.iter().for_each(|event| log.push(event));
            log.pending.body.len() >= FRAME_BYTES
        };
        if full {
            self.cut();
        }
        self.0.pending.notify_one();
    }

    /// Packs events into frames until dropped.
    pub async fn run(&self) {
        loop {
            self.0.pending.notified().await;
            if self.cut() {
                tokio::time::sleep(FRAME_INTERVAL).await;
            }
        }
    }

    /// Makes a frame of what is pending; false if nothing is.
    fn cut(&self) -> bool {
        let (framed, bytes) = {
            let mut log = self.log();
            (log.cut(), log.ring.back().map_or(0, |frame| frame.text.len()))
        };
        if let Some(framed) = framed {
            self.0.counts.frames.fetch_add(1, Relaxed);
            self.0.counts.bytes.fetch_add(bytes as u64, Relaxed);
            self.0.head.send_modify(|head| head.framed = framed);
        }
        framed.is_some()
    }

    /// Tells every subscription that there is nothing more to come.
    pub fn stop(&self) {
        self.0.head.send_modify(|head| head.stopped = true);
    }

    /// A new reader: greeted, then brought up to date from `position`, or by a snapshot.
    pub fn subscribe(&self, position: Option<Position>) -> Subscription {
        self.0.clients.send_modify(|clients| *clients += 1);
        Subscription {
            head: self.0.head.subscribe(),
            hub: self.clone(),
            position,
            snapshot: None,
            greeted: false,
            paused: false,
        }
    }

    /// How many pages are connected; wakes when that changes.
    pub fn clients(&self) -> watch::Receiver<u64> {
        self.0.clients.subscribe()
    }

    /// The build of the page that is served.
    pub fn build(&self) -> &BuildId {
        &self.0.build
    }

    /// Whether a numbering has begun, so that there is something to show.
    pub fn has_begun(&self) -> bool {
        self.0.head.borrow().epoch.is_some()
    }

    /// The version of the state: the numbering, and the newest event in it.
    pub fn newest(&self) -> (Epoch, Seq) {
        let log = self.log();
        (log.epoch.clone(), log.newest)
    }

    /// The state as it is now, from the engine.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, Stopped> {
        let (answer, snapshot) = oneshot::channel();
        self.0.snapshots.send(answer).await.map_err(|_| Stopped)?;
        snapshot.await.map_err(|_| Stopped)
    }

    /// What it has done so far.
    pub fn counts(&self) -> HubCounts {
        let Counts { frames, bytes, snapshots } = &self.0.counts;
        let [frames, bytes, snapshots] = [frames, bytes, snapshots].map(|count| count.load(Relaxed));
        HubCounts { frames, bytes, snapshots }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a page is in the log: the last event it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Of which numbering.
    pub epoch: Epoch,
    /// The last event it has.
    pub seq: Seq,
}

/// One page's reading of the log.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    head: watch::Receiver<Head>,
    /// The last event sent; `None` asks for a snapshot.
    position: Option<Position>,
    /// The snapshot under way. Kept here, so that a dropped [`Subscription::next`] loses nothing.
    snapshot: Option<oneshot::Receiver<Arc<Snapshot>>>,
    greeted: bool,
    paused: bool,
}

impl Subscription {
    /// The next frame, when there is one. May be dropped and called again without loss.
    ///
    /// # Errors
    /// When the server stops.
    pub async fn next(&mut self) -> Result<Utf8Bytes, Stopped> {
        loop {
            let head = self.head.borrow_and_update().clone();
            if head.stopped {
                return Err(Stopped);
            }
            if head.epoch.is_some() {
                if !self.greeted {
                    self.greeted = true;
                    return Ok(self.hub.log().hello(self.hub.build()));
                }
                if !self.paused
                    && let Some(frame) = self.advance().await?
                {
                    return Ok(frame);
                }
            }
            self.head.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// A frame that brings the page forward, unless it has everything.
    async fn advance(&mut self) -> Result<Option<Utf8Bytes>, Stopped> {
        if let Some(position) = &mut self.position {
            match self.hub.log().after(position) {
                After::Frame(frame, to) => {
                    position.seq = to;
                    return Ok(Some(frame));
                }
                After::Nothing => return Ok(None),
                After::Gone => self.position = None,
            }
        }
        if self.snapshot.is_none() {
            let room = self.hub.0.snapshots.reserve().await.map_err(|_| Stopped)?;
            let (answer, snapshot) = oneshot::channel();
            room.send(answer);
            self.snapshot = Some(snapshot);
        }
        let Some(pending) = &mut self.snapshot else { return Ok(None) };
        let snapshot = pending.await;
        self.snapshot = None;
        let snapshot = snapshot.map_err(|_| Stopped)?;
        self.position = Some(Position { epoch: snapshot.epoch.clone(), seq: snapshot.state.seq });
        self.hub.0.counts.snapshots.fetch_add(1, Relaxed);
        Ok(Some(snapshot.frame()))
    }

    /// The page says what it has: go on from there.
    pub fn resume(&mut self, position: Position) {
        self.snapshot = None;
        self.position = Some(position);
    }

    /// No events until [`Subscription::resume_updates`].
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on where [`Subscription::pause`] stopped.
    pub fn resume_updates(&mut self) {
        self.paused = false;
    }

    /// A sign of life. It names the last event sent or, while paused, the newest there is.
    pub fn heartbeat(&self) -> Utf8Bytes {
        let log = self.hub.log();
        let sent = self.position.as_ref().map_or(log.newest, |position| position.seq);
        let seq = if self.paused { log.newest } else { sent };
        json(&ServerFrame::Heartbeat { seq, timestamp: log.clock.now() })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.0.clients.send_modify(|clients| *clients -= 1);
    }
}

/// The events of one numbering: a ring of finished frames, and the one being filled.
#[derive(Debug)]
struct Log {
    epoch: Epoch,
    mode: Mode,
    clock: Clock,
    /// The last event published.
    newest: Seq,
    ring: VecDeque<Frame>,
    ring_bytes: usize,
    pending: Pending,
}

/// A finished frame.
#[derive(Debug)]
struct Frame {
    from: Seq,
    to: Seq,
    text: Utf8Bytes,
    /// Where in `text` each event begins, so that a frame can be sent from its middle on.
    starts: Vec<usize>,
}

/// Events that wait for their frame, already as text: `{…},{…}`.
#[derive(Debug, Default)]
struct Pending {
    body: String,
    starts: Vec<usize>,
}

/// What follows a position.
#[derive(Debug, PartialEq)]
enum After {
    /// This frame, up to this event.
    Frame(Utf8Bytes, Seq),
    /// Nothing yet.
    Nothing,
    /// Not known any more, or never known.
    Gone,
}

impl Default for Log {
    fn default() -> Self {
        Self::new(Epoch::from(""), Mode::default(), Seq::default(), Clock::Wall)
    }
}

impl Log {
    fn new(epoch: Epoch, mode: Mode, seq: Seq, clock: Clock) -> Self {
        let pending = Pending::default();
        Self { epoch, mode, clock, newest: seq, ring: VecDeque::new(), ring_bytes: 0, pending }
    }

    fn hello(&self, build: &BuildId) -> Utf8Bytes {
        json(&ServerFrame::Hello {
            version: protocol::VERSION,
            build: Some(build.clone()),
            epoch: self.epoch.clone(),
            seq: self.newest,
            mode: self.mode,
            timestamp: self.clock.now(),
        })
    }

    fn push(&mut self, event: &SequencedEvent) {
        debug_assert_eq!(event.seq, self.newest.next(), "events are numbered without a gap");
        if !self.pending.body.is_empty() {
            self.pending.body.push(',');
        }
        self.pending.starts.push(self.pending.body.len());
        self.pending.body.push_str(&json(event));
        self.newest = event.seq;
    }

    /// Turns what is pending into a frame of the ring and says up to where.
    fn cut(&mut self) -> Option<Seq> {
        let Pending { body, mut starts } = std::mem::take(&mut self.pending);
        let from = Seq((self.newest.0 + 1).checked_sub(starts.len() as u64)?);
        if starts.is_empty() {
            return None;
        }
        let to = self.newest;
        let (text, body_start) = events_frame(from, to, &body);
        starts.iter_mut().for_each(|start| *start += body_start);
        self.ring_bytes += text.len();
        self.ring.push_back(Frame { from, to, text, starts });
        while let Some(oldest) = self.ring.front()
            && (self.ring_bytes > RING_BYTES || to.0 - oldest.from.0 >= RING_EVENTS)
        {
            self.ring_bytes -= oldest.text.len();
            self.ring.pop_front();
        }
        Some(to)
    }

    fn after(&self, position: &Position) -> After {
        if position.epoch != self.epoch || position.seq > self.newest {
            return After::Gone;
        }
        let waiting = self.pending.starts.len() as u64;
        if position.seq.0 >= self.newest.0 - waiting {
            return After::Nothing;
        }
        let next = position.seq.next();
        let index = self.ring.partition_point(|frame| frame.to < next);
        match self.ring.get(index) {
            Some(frame) if frame.from <= next => After::Frame(frame.starting_at(next), frame.to),
            _ => After::Gone,
        }
    }
}

impl Frame {
    /// The frame without the events before `seq`.
    fn starting_at(&self, seq: Seq) -> Utf8Bytes {
        if seq == self.from {
            return self.text.clone();
        }
        let skipped = usize::try_from(seq.0 - self.from.0).unwrap_or(usize::MAX);
        let start = self.starts.get(skipped).copied().unwrap_or(self.text.len());
        let body = self.text[start..].strip_suffix(EVENTS_END).unwrap_or_default();
        events_frame(seq, self.to, body).0
    }
}

const EVENTS_END: &str = "]}";

/// [`ServerFrame::Events`] around events that are text already, and where in it they begin.
fn events_frame(from: Seq, to: Seq, body: &str) -> (Utf8Bytes, usize) {
    let mut text = format!(r#"{{"frame":"events","from":{},"to":{},"events":["#, from.0, to.0);
    let body_start = text.len();
    text.reserve_exact(body.len() + EVENTS_END.len());
    text.push_str(body);
    text.push_str(EVENTS_END);
    (text.into(), body_start)
}

/// A frame as text.
pub(crate) fn json(value: &impl Serialize) -> Utf8Bytes {
    // Our own types: text keys, no fallible Serialize.
    serde_json::to_string(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use dashboard_core::alert::{Alert, Condition};
    use dashboard_core::event::Event;
    use dashboard_core::level::Level;
    use dashboard_core::time::{Timestamp, ZoneOffsets};
    use proptest::prelude::*;

    use super::*;

    fn event(seq: u64) -> SequencedEvent {
        let at = Timestamp::from_unix_ms(i64::try_from(seq).unwrap());
        let error =
            Alert { condition: Condition::PartFailing { component: format!("part {seq}") }, level: Level::Critical };
        SequencedEvent { seq: Seq(seq), event: Event::HealthError(error), timestamp: at }
    }

    /// A hub whose engine is a task that folds what the test publishes.
    struct Bench {
        hub: Hub,
        state: Arc<Mutex<DashboardState>>,
    }

    impl Bench {
        fn new() -> Self {
            let (hub, mut requests) = Hub::new(BuildId::from("test"));
            let state =
                Arc::new(Mutex::new(DashboardState::new(Mode::Live, ZoneOffsets::utc(), None, Timestamp::default())));
            hub.begin(Epoch::from("one"), Mode::Live, Seq(0), Clock::Wall);
            let answers = Arc::clone(&state);
            tokio::spawn(async move {
                while let Some(request) = requests.recv().await {
                    let state = answers.lock().unwrap().clone();
                    let _ = request.send(Arc::new(Snapshot::new(Epoch::from("one"), state)));
                }
            });
            Self { hub, state }
        }

        fn publish(&self, count: u64) {
            let mut state = self.state.lock().unwrap();
            let events: Vec<_> = (state.seq.0 + 1..=state.seq.0 + count).map(event).collect();
            events.iter().for_each(|event| state.apply(event));
            self.hub.publish(&events);
        }

        fn at(epoch: &str, seq: u64) -> Option<Position> {
            Some(Position { epoch: Epoch::from(epoch), seq: Seq(seq) })
        }
    }

    async fn frame(subscription: &mut Subscription) -> ServerFrame {
        serde_json::from_str(&subscription.next().await.unwrap()).unwrap()
    }

    async fn expect_hello(subscription: &mut Subscription) {
        assert!(matches!(frame(subscription).await, ServerFrame::Hello { .. }));
    }

    async fn expect_snapshot(subscription: &mut Subscription, at: u64) {
        let ServerFrame::Snapshot { seq, state, .. } = frame(subscription).await else { panic!("no snapshot") };
        assert_eq!((seq, state.seq), (Seq(at), Seq(at)));
    }

    async fn expect_events(subscription: &mut Subscription, range: std::ops::RangeInclusive<u64>) {
        let ServerFrame::Events { from, to, events } = frame(subscription).await else { panic!("no events") };
        assert_eq!((from, to), (Seq(*range.start()), Seq(*range.end())));
        assert_eq!(events, range.map(event).collect::<Vec<_>>());
    }

    /// Nothing comes within an hour of the paused clock.
    async fn expect_nothing(subscription: &mut Subscription) {
        let hour = Duration::from_secs(3_600);
        assert!(tokio::time::timeout(hour, subscription.next()).await.is_err());
    }

    #[tokio::test]
    async fn greets_then_shows_everything_then_what_is_new() {
        let bench = Bench::new();
        bench.publish(2);
        bench.hub.cut();
        let mut page = bench.hub.subscribe(None);
        expect_hello(&mut page).await;
        expect_snapshot(&mut page, 2).await;
        bench.publish(3);
        bench.hub.cut();
        expect_events(&mut page, 3..=5).await;
    }

    #[tokio::test]
    async fn a_snapshot_taken_between_two_frames_is_followed_by_the_rest_of_the_second() {
        let bench = Bench::new();
        bench.publish(2);
        let mut page = bench.hub.subscribe(None);
        expect_hello(&mut page).await;
        expect_snapshot(&mut page, 2).await;
        bench.publish(2);
        bench.hub.cut();
        expect_events(&mut page, 3..=4).await;
    }

    #[tokio::test]
    async fn unknown_positions_get_a_snapshot() {
        let bench = Bench::new();
        bench.publish(2);
        bench.hub.cut();
        for position in [Bench::at("another", 1), Bench::at("one", 3), Bench::at("one", u64::MAX)] {
            let mut page = bench.hub.subscribe(position);
            expect_hello(&mut page).await;
            expect_snapshot(&mut page, 2).await;
        }
    }

    #[tokio::test]
    async fn who_falls_out_of_the_ring_gets_a_snapshot() {
        let bench = Bench::new();
        let mut page = bench.hub.subscribe(None);
        expect_hello(&mut page).await;
        expect_snapshot(&mut page, 0).await;
        for _ in 0..RING_EVENTS {
            bench.publish(2);
            bench.hub.cut();
        }
        expect_snapshot(&mut page, 2 * RING_EVENTS).await;
        let log = bench.hub.log();
        assert!(log.newest.0 - log.ring[0].from.0 < RING_EVENTS);
        assert_eq!(log.ring_bytes, log.ring.iter().map(|frame| frame.text.len()).sum::<usize>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_page_gets_nothing_and_then_everything() {
        let bench = Bench::new();
        let mut page = bench.hub.subscribe(None);
        expect_hello(&mut page).await;
        expect_snapshot(&mut page, 0).await;
        page.pause();
        bench.publish(2);
        bench.hub.cut();
        expect_nothing(&mut page).await;
        assert!(page.heartbeat().contains(r#""seq":2"#));
        page.resume_updates();
        expect_events(&mut page, 1..=2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_greeted_before_the_beginning() {
        let (hub, _requests) = Hub::new(BuildId::from("test"));
        let mut page = hub.subscribe(None);
        expect_nothing(&mut page).await;
        hub.begin(Epoch::from("one"), Mode::Live, Seq(0), Clock::Wall);
        expect_hello(&mut page).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_event_after_quiet_goes_at_once_and_the_next_ones_together() {
        let bench = Bench::new();
        let hub = bench.hub.clone();
        tokio::spawn(async move { hub.run().await });
        let mut page = bench.hub.subscribe(Bench::at("one", 0));
        expect_hello(&mut page).await;

        let start = tokio::time::Instant::now();
        bench.publish(1);
        expect_events(&mut page, 1..=1).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        bench.publish(1);
        tokio::time::sleep(FRAME_INTERVAL / 2).await;
        bench.publish(1);
        expect_events(&mut page, 2..=3).await;
        assert!(start.elapsed() >= FRAME_INTERVAL);
    }

    #[tokio::test]
    async fn a_dropped_wait_for_a_snapshot_loses_nothing() {
        let bench = Bench::new();
        let mut page = bench.hub.subscribe(None);
        expect_hello(&mut page).await;
        // Polled once: the request is sent, and the engine's task has had no turn to answer it.
        assert!(futures_util::FutureExt::now_or_never(page.next()).is_none());
        assert!(page.snapshot.is_some());
        expect_snapshot(&mut page, 0).await;
    }

    #[tokio::test]
    async fn all_pages_share_one_text() {
        let bench = Bench::new();
        bench.publish(1);
        bench.hub.cut();
        let (mut a, mut b) = (bench.hub.subscribe(Bench::at("one", 0)), bench.hub.subscribe(Bench::at("one", 0)));
        expect_hello(&mut a).await;
        expect_hello(&mut b).await;
        let (a, b) = (a.next().await.unwrap(), b.next().await.unwrap());
        assert_eq!(a.as_str().as_ptr(), b.as_str().as_ptr());
    }

    #[tokio::test]
    async fn counts_clients_and_ends_with_the_server() {
        let bench = Bench::new();
        let clients = bench.hub.clients();
        let mut page = bench.hub.subscribe(None);
        assert_eq!(*clients.borrow(), 1);
        bench.hub.stop();
        assert_eq!(page.next().await, Err(Stopped));
        drop(page);
        assert_eq!(*clients.borrow(), 0);
    }

    proptest! {
        /// However the log is cut into frames, from every position follows exactly what is missing.
        #[test]
        fn resuming_never_skips_and_never_repeats(batches in prop::collection::vec((1u64..6, any::<bool>()), 1..30)) {
            let mut log = Log::new(Epoch::from("one"), Mode::Live, Seq(0), Clock::Wall);
            for (count, cut) in batches {
                (0..count).for_each(|_| log.push(&event(log.newest.0 + 1)));
                if cut {
                    log.cut();
                }
            }
            let framed = log.ring.back().map_or(Seq(0), |frame| frame.to);
            for start in 0..=log.newest.0 {
                let mut position = Position { epoch: Epoch::from("one"), seq: Seq(start) };
                let mut got = Vec::new();
                while let After::Frame(text, to) = log.after(&position) {
                    let ServerFrame::Events { from, to: last, events } = serde_json::from_str(&text).unwrap() else {
                        panic!("no events")
                    };
                    prop_assert_eq!((from, last), (position.seq.next(), to));
                    got.extend(events);
                    position.seq = to;
                }
                prop_assert_eq!(log.after(&position), After::Nothing);
                prop_assert_eq!(got, (start + 1..=framed.0).map(event).collect::<Vec<_>>());
            }
        }
    }
}
