//! The page's connection to the server, as a state machine.
//!
//! It decides when to open, when to give up on a silent socket and how long to wait before the next
//! attempt; which events fit the page's state and what to ask for when they do not. It owns no
//! socket, no timer and no clock: inputs come in with the time, commands go out. The driver carries
//! them out and must forward nothing of a socket it was told to close.
//!
//! The promise: what is applied never skips and never repeats a number, whatever the network does.
//!
//! A page may be older than its server, which was replaced while the page stayed open. The server's `hello` says so, or
//! frames that cannot be read do; the page then asks to be reloaded, and applies no more than it understands.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Seq, SequencedEvent};
use crate::ids::{BuildId, Epoch};
use crate::protocol::{self, ClientFrame, ServerFrame};
use crate::state::DashboardState;
use crate::time::{SECOND_MS, Timestamp};

/// Without any frame for this long, the figures are marked as stale.
pub const STALE_MS: i64 = 10 * SECOND_MS;
/// Without any frame for this long, the socket is given up.
pub const SILENT_MS: i64 = 25 * SECOND_MS;
/// An attempt to open that takes longer has failed.
pub const OPEN_TIMEOUT_MS: i64 = 10 * SECOND_MS;
/// Wait before the first retry; doubles with every failure.
pub const FIRST_RETRY_MS: i64 = 500;
/// Longest wait before a retry.
pub const MAX_RETRY_MS: i64 = 15 * SECOND_MS;
/// After this many failures in a row the page says "offline". It goes on trying.
pub const OFFLINE_FAILURES: u32 = 6;
/// A request to catch up that is not answered for this long is repeated.
pub const ASK_AGAIN_MS: i64 = 5 * SECOND_MS;
/// After this many unreadable frames with nothing readable to apply in between, the page is taken for outdated.
pub const UNREADABLE_FRAMES: u32 = 2;
/// Most events held between two animation frames. A hidden tab draws none; what comes on top is
/// dropped, and a snapshot is asked for when it is seen again.
pub const MAX_PENDING: usize = 1_000;

/// What the connection pill says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionStatus {
    /// The first attempt is under way.
    #[default]
    Connecting,
    /// Frames come in.
    Live,
    /// Connected, but nothing has come for [`STALE_MS`].
    Stale,
    /// Lost, and being opened again.
    Reconnecting,
    /// Lost for long, or the browser has no network. Attempts go on.
    Offline,
    /// The user has stopped updates.
    Paused,
    /// Connected to a server of another build: the page has to be reloaded.
    Outdated,
    /// There is no server: the demo.
    None,
}

impl ConnectionStatus {
    /// Whether there was a connection, or should be, and there is none.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Reconnecting | Self::Offline)
    }

    /// The word the page's hooks use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Reconnecting => "reconnecting",
            Self::Offline => "offline",
            Self::Paused => "paused",
            Self::Outdated => "outdated",
            Self::None => "none",
        }
    }
}

/// What a view needs to know of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionView {
    /// The state in one word.
    pub status: ConnectionStatus,
    /// Milliseconds until the next attempt, while one is waited for.
    pub retry_in_ms: Option<i64>,
    /// Milliseconds since the last frame, while connected.
    pub silent_ms: Option<i64>,
    /// Events the server has and the page, being paused, has not.
    pub waiting: u64,
    /// Whether the server last connected to is of another build than the page, also while the connection is lost.
    pub outdated: bool,
    /// Events received whose type the page does not know, since it was loaded.
    pub unknown_events: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The socket is open.
    Opened,
    /// A frame came.
    Frame(ServerFrame),
    /// Something came that is no frame.
    Unreadable,
    /// The socket closed, or could not be opened.
    Closed,
    /// Time passed. About once a second, and when [`ConnectionView::retry_in_ms`] is over.
    Tick,
    /// An animation frame: the moment to apply what has come in.
    Draw,
    /// The user stops updates.
    Pause,
    /// The user wants updates again.
    Resume,
    /// The user does not want to wait for the next attempt.
    RetryNow,
    /// The browser has, or has not, a network. A local server is reachable without one.
    Online(bool),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Open a socket, saying what the page already has.
    Open {
        /// The page's numbering and last event.
        resume: Option<(Epoch, Seq)>,
    },
    /// Send a frame.
    Send(ClientFrame),
    /// Show this state instead.
    ReplaceState(Box<DashboardState>),
    /// Fold these events in; they follow the page's last one without a gap.
    Apply(Vec<SequencedEvent>),
    /// Close the socket and forget it.
    Close,
}

/// The socket.
#[derive(Clone, Copy, Debug)]
enum Link {
    /// None; the next attempt is due at this time.
    Down { retry_at: Timestamp },
    /// Being opened since.
    Opening { since: Timestamp },
    /// Open; the last frame came at this time.
    Open { last_frame: Timestamp },
}

/// Whether the server's next event will fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It will.
    InStep,
    /// Something is missing and was asked for at this time; what does not fit is skipped.
    Asked(Timestamp),
    /// More came than may be held undrawn; to be asked for when drawing is possible again.
    Overrun,
}

/// What the page and the server last connected to understand of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// Everything, as far as known: the same build, or one of them is not named.
    Same,
    /// The server serves another build of the page. What can be read is applied.
    OtherBuild,
    /// The server speaks a newer version, or its frames cannot be read. Nothing is applied and nothing asked for.
    Incompatible,
}

/// The connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The page's build, if it was served with one.
    build: Option<BuildId>,
    /// Set by `hello`, and by frames that cannot be read.
    matches: Match,
    /// Whether this socket has brought a `hello` that could be read.
    greeted: bool,
    /// Unreadable frames since the last state or event that could be read.
    unreadable: u32,
    /// See [`ConnectionView::unknown_events`].
    unknown_events: u64,
    link: Link,
    failures: u32,
    online: bool,
    paused: bool,
    /// Something came while paused and was not kept.
    dropped: bool,
    /// What the page's state holds.
    page: Option<(Epoch, Seq)>,
    /// The numbering of the events that come in.
    server: Option<Epoch>,
    /// The server's newest event, as far as it has said.
    newest: Seq,
    fit: Fit,
    /// Accepted and not yet drawn; follows the page's last event.
    pending: Vec<SequencedEvent>,
    /// What the next retry is moved by comes of this.
    jitter: u64,
}

impl Connection {
    /// A connection for a page of the given build that already shows the state of `page`, if any. `seed` spreads the
    /// retries of many pages. The first [`Input::Tick`] opens.
    pub fn new(page: Option<(Epoch, Seq)>, build: Option<BuildId>, seed: u64) -> Self {
        Self {
            build,
            matches: Match::Same,
            greeted: false,
            unreadable: 0,
            unknown_events: 0,
            link: Link::Down { retry_at: Timestamp::default() },
            failures: 0,
            online: true,
            paused: false,
            dropped: false,
            page,
            server: None,
            newest: Seq(0),
            fit: Fit::InStep,
            pending: Vec::new(),
            jitter: seed,
        }
    }

    /// Whether the next [`Input::Draw`] has something to do.
    pub fn wants_draw(&self) -> bool {
        !self.pending.is_empty() || self.fit == Fit::Overrun
    }

    /// What to show of it.
    pub fn view(&self, now: Timestamp) -> ConnectionView {
        let mut view = ConnectionView {
            outdated: self.matches != Match::Same,
            unknown_events: self.unknown_events,
            ..ConnectionView::default()
        };
        if self.paused && self.in_epoch() {
            view.waiting = self.newest.0.saturating_sub(self.last().0);
        }
        view.status = match self.link {
            Link::Open { last_frame } => {
                let silent = now.ms_since(last_frame);
                view.silent_ms = Some(silent);
                match () {
                    () if silent >= STALE_MS => ConnectionStatus::Stale,
                    () if self.paused => ConnectionStatus::Paused,
                    () if view.outdated => ConnectionStatus::Outdated,
                    () => ConnectionStatus::Live,
                }
            }
            Link::Down { .. } | Link::Opening { .. } => {
                if let Link::Down { retry_at } = self.link {
                    view.retry_in_ms = Some(retry_at.ms_since(now).max(0));
                }
                match self.failures {
                    0 => ConnectionStatus::Connecting,
                    _ if !self.online => ConnectionStatus::Offline,
                    OFFLINE_FAILURES.. => ConnectionStatus::Offline,
                    _ => ConnectionStatus::Reconnecting,
                }
            }
        };
        view
    }

    /// Takes an input and says what is to be done, in this order.
    #[must_use]
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        match input {
            Input::Opened => {
                self.link = Link::Open { last_frame: now };
                self.fit = Fit::InStep;
                self.greeted = false;
                self.unreadable = 0;
                if self.paused {
                    commands.push(Command::Send(ClientFrame::Pause));
                }
            }
            Input::Frame(frame) => {
                self.heard(now);
                self.frame(frame, now, &mut commands);
            }
            Input::Unreadable => {
                self.heard(now);
                self.unreadable += 1;
                if !self.greeted || self.unreadable >= UNREADABLE_FRAMES {
                    self.matches = Match::Incompatible;
                }
                if self.paused {
                    self.dropped = true;
                } else {
                    self.ask(now, &mut commands);
                }
            }
            Input::Closed => self.lost(now),
            Input::Tick => self.tick(now, &mut commands),
            Input::Draw => self.draw(now, &mut commands),
            Input::Pause => self.pause(&mut commands),
            Input::Resume => self.resume(now, &mut commands),
            Input::RetryNow => self.retry(now, &mut commands),
            Input::Online(online) => {
                self.online = online;
                if online {
                    self.retry(now, &mut commands);
                }
            }
        }
        commands
    }

    fn heard(&mut self, now: Timestamp) {
        if let Link::Open { last_frame } = &mut self.link {
            *last_frame = now;
        }
    }

    fn frame(&mut self, frame: ServerFrame, now: Timestamp, commands: &mut Vec<Command>) {
        match frame {
            ServerFrame::Hello { version, build, epoch, seq, .. } => {
                self.greeted = true;
                self.matches = match () {
                    () if version > protocol::VERSION => Match::Incompatible,
                    () if self.build.is_some() && build != self.build => Match::OtherBuild,
                    () => Match::Same,
                };
                self.failures = 0;
                self.server = Some(epoch);
                self.newest = seq;
            }
            ServerFrame::Snapshot { epoch, seq, state } => {
                self.newest = self.newest.max(seq);
                if self.matches == Match::Incompatible {
                    return;
                }
                self.unreadable = 0;
                if self.paused {
                    self.dropped = true;
                    return;
                }
                self.server = Some(epoch.clone());
                if self.in_epoch() && seq < self.last() {
                    return;
                }
                self.page = Some((epoch, seq));
                self.pending.clear();
                self.fit = Fit::InStep;
                commands.push(Command::ReplaceState(state));
            }
            ServerFrame::Events { to, events, .. } => {
                self.newest = self.newest.max(to);
                if self.matches == Match::Incompatible {
                    return;
                }
                self.unreadable = 0;
                if self.paused {
                    self.dropped = true;
                } else {
                    self.accept(events, now, commands);
                }
            }
            ServerFrame::Heartbeat { seq, .. } => {
                self.newest = seq;
                if !self.paused && (!self.in_epoch() || seq > self.last()) {
                    self.ask(now, commands);
                }
            }
            // It answers a frame of ours; it carries nothing to show.
            ServerFrame::Error { .. } => {}
        }
    }

    /// Keeps the events that follow the last one; asks for what is missing before the others.
    fn accept(&mut self, events: Vec<SequencedEvent>, now: Timestamp, commands: &mut Vec<Command>) {
        if self.fit == Fit::Overrun {
            return;
        }
        if !self.in_epoch() {
            return self.ask(now, commands);
        }
        let mut last = self.last();
        for event in events {
            if event.seq <= last {
                continue;
            }
            if event.seq != last.next() {
                return self.ask(now, commands);
            }
            if self.pending.len() == MAX_PENDING {
                self.pending.clear();
                self.fit = Fit::Overrun;
                return;
            }
            last = event.seq;
            self.unknown_events += u64::from(matches!(event.event, Event::Unknown(_)));
            self.pending.push(event);
            self.fit = Fit::InStep;
        }
    }

    fn draw(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if self.fit == Fit::Overrun {
            self.fit = Fit::Asked(now);
            if matches!(self.link, Link::Open { .. }) {
                commands.push(Command::Send(snapshot_request()));
            }
        } else if let (Some(event), Some((_, seq))) = (self.pending.last(), &mut self.page) {
            *seq = event.seq;
            commands.push(Command::Apply(std::mem::take(&mut self.pending)));
        }
    }

    fn tick(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        match self.link {
            Link::Down { retry_at } if now >= retry_at => self.open(now, commands),
            Link::Opening { since } if now.ms_since(since) >= OPEN_TIMEOUT_MS => self.give_up(now, commands),
            Link::Open { last_frame } if now.ms_since(last_frame) >= SILENT_MS => self.give_up(now, commands),
            _ => {}
        }
    }

    fn pause(&mut self, commands: &mut Vec<Command>) {
        if self.paused {
            return;
        }
        self.paused = true;
        // What is not drawn yet is not shown any more, so it has to come again.
        self.dropped = self.wants_draw() || self.fit != Fit::InStep;
        self.pending.clear();
        self.fit = Fit::InStep;
        if matches!(self.link, Link::Open { .. }) {
            commands.push(Command::Send(ClientFrame::Pause));
        }
    }

    fn resume(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if !self.paused {
            return;
        }
        self.paused = false;
        if matches!(self.link, Link::Open { .. }) {
            commands.push(Command::Send(ClientFrame::ResumeUpdates));
            if self.dropped || !self.in_epoch() {
                self.ask(now, commands);
            }
        }
        self.dropped = false;
    }

    fn retry(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if matches!(self.link, Link::Down { .. }) {
            self.open(now, commands);
        }
    }

    fn open(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        self.link = Link::Opening { since: now };
        let resume = self.page.as_ref().map(|(epoch, _)| (epoch.clone(), self.last()));
        commands.push(Command::Open { resume });
    }

    fn give_up(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        commands.push(Command::Close);
        self.lost(now);
    }

    fn lost(&mut self, now: Timestamp) {
        let wait = FIRST_RETRY_MS.saturating_mul(1 << self.failures.min(16)).min(MAX_RETRY_MS);
        let wait = wait - self.jitter_ms(wait / 4);
        self.link = Link::Down { retry_at: now.plus_ms(wait) };
        self.failures = self.failures.saturating_add(1);
        self.server = None;
    }

    /// Up to `most` milliseconds, evenly: SplitMix64, which is enough to spread pages and nothing else.
    fn jitter_ms(&mut self, most: i64) -> i64 {
        self.jitter = self.jitter.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.jitter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let below = most.unsigned_abs() + 1;
        ((mixed ^ (mixed >> 31)) % below).cast_signed()
    }

    /// Asks for what follows the last event, unless that was just done or the answer could not be read.
    fn ask(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        if self.matches == Match::Incompatible {
            return;
        }
        match self.fit {
            Fit::Asked(at) if now.ms_since(at) < ASK_AGAIN_MS => return,
            Fit::Overrun => return,
            Fit::Asked(_) | Fit::InStep => {}
        }
        self.fit = Fit::Asked(now);
        commands.push(Command::Send(match &self.page {
            Some((epoch, _)) => ClientFrame::Resume { epoch: epoch.clone(), seq: self.last() },
            None => snapshot_request(),
        }));
    }

    /// Number of the last event accepted.
    fn last(&self) -> Seq {
        let drawn = self.page.as_ref().map(|&(_, seq)| seq);
        self.pending.last().map(|event| event.seq).or(drawn).unwrap_or_default()
    }

    /// Whether the page's state belongs to the numbering of the events that come in.
    fn in_epoch(&self) -> bool {
        matches!((&self.page, &self.server), (Some((page, _)), Some(server)) if page == server)
    }
}

/// Nobody has this numbering, so the answer is a snapshot.
fn snapshot_request() -> ClientFrame {
    ClientFrame::Resume { epoch: Epoch::from(""), seq: Seq(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{IngestUpdate, UnknownEvent};
    use crate::state::Mode;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000_000_000 + ms)
    }

    fn event(seq: u64) -> SequencedEvent {
        let event = Event::IngestUpdate(IngestUpdate { lines: seq * 7, ..IngestUpdate::default() });
        SequencedEvent { seq: Seq(seq), event, timestamp: at(0) }
    }

    fn events(range: std::ops::RangeInclusive<u64>) -> Input {
        let (from, to) = (Seq(*range.start()), Seq(*range.end()));
        Input::Frame(ServerFrame::Events { from, to, events: range.map(event).collect() })
    }

    fn hello(epoch: &str, seq: u64) -> Input {
        let (epoch, seq) = (Epoch::from(epoch), Seq(seq));
        let build = Some(BuildId::from("new"));
        Input::Frame(ServerFrame::Hello { version: 1, build, epoch, seq, mode: Mode::Live, timestamp: at(0) })
    }

    fn heartbeat(seq: u64) -> Input {
        Input::Frame(ServerFrame::Heartbeat { seq: Seq(seq), timestamp: at(0) })
    }

    fn snapshot(epoch: &str, seq: u64) -> Input {
        let state = Box::new(DashboardState { seq: Seq(seq), ..DashboardState::default() });
        Input::Frame(ServerFrame::Snapshot { epoch: Epoch::from(epoch), seq: Seq(seq), state })
    }

    fn resume(epoch: &str, seq: u64) -> Command {
        Command::Send(ClientFrame::Resume { epoch: Epoch::from(epoch), seq: Seq(seq) })
    }

    /// A page rendered at ("a", 10), connected and greeted.
    fn connected() -> Connection {
        let mut connection = Connection::new(Some((Epoch::from("a"), Seq(10))), Some(BuildId::from("new")), 1);
        let open = Command::Open { resume: Some((Epoch::from("a"), Seq(10))) };
        assert_eq!(connection.handle(Input::Tick, at(0)), [open]);
        assert_eq!(connection.handle(Input::Opened, at(1)), []);
        assert_eq!(connection.handle(hello("a", 10), at(2)), []);
        connection
    }

    fn applied(commands: &[Command]) -> Vec<u64> {
        let seqs = commands.iter().flat_map(|command| match command {
            Command::Apply(events) => events.iter().map(|event| event.seq.0).collect(),
            _ => Vec::new(),
        });
        seqs.collect()
    }

    #[test]
    fn events_are_applied_when_a_frame_is_drawn() {
        let mut page = connected();
        assert_eq!(page.handle(events(11..=12), at(3)), []);
        assert_eq!(page.handle(events(13..=13), at(4)), []);
        assert!(page.wants_draw());
        assert_eq!(applied(&page.handle(Input::Draw, at(5))), [11, 12, 13]);
        assert!(!page.wants_draw());
        assert_eq!(page.handle(Input::Draw, at(6)), []);
        assert_eq!(page.view(at(6)).status, ConnectionStatus::Live);
    }

    #[test]
    fn known_events_are_skipped_and_a_gap_is_asked_for_once() {
        let mut page = connected();
        assert_eq!(page.handle(events(9..=11), at(3)), []);
        assert_eq!(page.handle(events(13..=14), at(4)), [resume("a", 11)]);
        assert_eq!(page.handle(events(15..=15), at(5)), [], "already asked");
        assert_eq!(page.handle(events(16..=16), at(4 + ASK_AGAIN_MS)), [resume("a", 11)], "not answered");
        assert_eq!(page.handle(events(12..=16), at(6)), []);
        assert_eq!(applied(&page.handle(Input::Draw, at(7))), [11, 12, 13, 14, 15, 16]);
    }

    #[test]
    fn a_heartbeat_ahead_of_the_page_reveals_lost_frames() {
        let mut page = connected();
        assert_eq!(page.handle(heartbeat(10), at(3)), []);
        assert_eq!(page.handle(heartbeat(12), at(4)), [resume("a", 10)]);
    }

    #[test]
    fn a_new_epoch_is_entered_by_snapshot_only() {
        let mut page = connected();
        assert_eq!(page.handle(hello("b", 3), at(3)), []);
        assert_eq!(page.handle(events(11..=11), at(4)), [resume("a", 10)]);
        let commands = page.handle(snapshot("b", 3), at(5));
        assert!(matches!(&commands[..], [Command::ReplaceState(state)] if state.seq == Seq(3)));
        assert_eq!(page.handle(events(4..=4), at(6)), []);
        assert_eq!(applied(&page.handle(Input::Draw, at(7))), [4]);
    }

    #[test]
    fn an_old_snapshot_does_not_turn_the_page_back() {
        let mut page = connected();
        assert_eq!(page.handle(events(11..=12), at(3)), []);
        assert_eq!(page.handle(snapshot("a", 11), at(4)), []);
        assert_eq!(applied(&page.handle(Input::Draw, at(5))), [11, 12]);
    }

    #[test]
    fn a_pause_stops_everything_and_what_was_missed_comes_afterwards() {
        let mut page = connected();
        assert_eq!(page.handle(events(11..=11), at(3)), []);
        assert_eq!(page.handle(Input::Pause, at(4)), [Command::Send(ClientFrame::Pause)]);
        assert!(!page.wants_draw(), "what was not drawn is not drawn any more");
        assert_eq!(page.handle(events(12..=12), at(5)), [], "still on its way when the server was told");
        assert_eq!(page.handle(heartbeat(138), at(6)), []);
        let view = page.view(at(6));
        assert_eq!((view.status, view.waiting), (ConnectionStatus::Paused, 128));

        let commands = page.handle(Input::Resume, at(7));
        assert_eq!(commands, [Command::Send(ClientFrame::ResumeUpdates), resume("a", 10)]);
        assert_eq!(page.handle(events(13..=138), at(8)), [], "held back by the server; does not fit yet");
        assert_eq!(page.handle(events(11..=138), at(9)), []);
        assert_eq!(applied(&page.handle(Input::Draw, at(10))), (11..=138).collect::<Vec<_>>());
    }

    #[test]
    fn a_pause_in_which_nothing_came_needs_no_catching_up() {
        let mut page = connected();
        assert_eq!(page.handle(Input::Pause, at(3)), [Command::Send(ClientFrame::Pause)]);
        assert_eq!(page.handle(Input::Resume, at(4)), [Command::Send(ClientFrame::ResumeUpdates)]);
    }

    #[test]
    fn a_pause_outlives_the_connection() {
        let mut page = connected();
        assert_eq!(page.handle(Input::Pause, at(3)), [Command::Send(ClientFrame::Pause)]);
        assert_eq!(page.handle(Input::Closed, at(4)), []);
        let commands = page.handle(Input::RetryNow, at(5));
        assert_eq!(commands, [Command::Open { resume: Some((Epoch::from("a"), Seq(10))) }]);
        assert_eq!(page.handle(Input::Opened, at(6)), [Command::Send(ClientFrame::Pause)]);
        assert_eq!(page.handle(hello("b", 3), at(7)), []);
        assert_eq!(page.handle(snapshot("b", 3), at(8)), []);
        assert_eq!(page.view(at(9)).waiting, 0, "another numbering says nothing of how many");
        let commands = page.handle(Input::Resume, at(10));
        assert_eq!(commands, [Command::Send(ClientFrame::ResumeUpdates), resume("a", 10)]);
    }

    #[test]
    fn silence_is_stale_and_then_a_new_connection() {
        let mut page = connected();
        assert_eq!(page.view(at(2 + STALE_MS - 1)).status, ConnectionStatus::Live);
        assert_eq!(page.view(at(2 + STALE_MS)).status, ConnectionStatus::Stale);
        assert_eq!(page.handle(heartbeat(10), at(12_000)), []);
        assert_eq!(page.view(at(12_000)).status, ConnectionStatus::Live);
        assert_eq!(page.handle(Input::Tick, at(12_000 + SILENT_MS)), [Command::Close]);
        assert_eq!(page.view(at(12_000 + SILENT_MS)).status, ConnectionStatus::Reconnecting);
    }

    #[test]
    fn retries_slow_down_to_a_limit_and_differ_by_seed() {
        let waits = |seed| {
            let mut page = Connection::new(None, None, seed);
            let mut now = at(0);
            let mut waits = Vec::new();
            for _ in 0..8 {
                assert_eq!(page.handle(Input::Tick, now), [Command::Open { resume: None }]);
                assert_eq!(page.handle(Input::Closed, now), []);
                let wait = page.view(now).retry_in_ms.unwrap();
                assert_eq!(page.handle(Input::Tick, now.plus_ms(wait - 1)), [], "too early");
                waits.push(wait);
                now = now.plus_ms(wait);
            }
            assert_eq!(page.view(now).status, ConnectionStatus::Offline);
            waits
        };
        let first = waits(1);
        for (wait, most) in first.iter().zip([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]) {
            assert!((most * 3 / 4..=most).contains(wait), "{wait} of {most}");
        }
        assert_eq!(first, waits(1));
        assert_ne!(first, waits(2));
    }

    #[test]
    fn without_a_network_a_local_server_is_still_tried() {
        let mut page = connected();
        assert_eq!(page.handle(Input::Online(false), at(3)), []);
        assert_eq!(page.view(at(3)).status, ConnectionStatus::Live);
        assert_eq!(page.handle(Input::Closed, at(4)), []);
        assert_eq!(page.view(at(4)).status, ConnectionStatus::Offline);
        let open = [Command::Open { resume: Some((Epoch::from("a"), Seq(10))) }];
        assert_eq!(page.handle(Input::Tick, at(504)), open);
        assert_eq!(page.handle(Input::Tick, at(504 + OPEN_TIMEOUT_MS)), [Command::Close]);
        assert_eq!(page.handle(Input::Online(true), at(10_505)), open);
    }

    #[test]
    fn a_hidden_page_holds_no_more_than_its_bound() {
        let mut page = connected();
        for first in (11..=2_000).step_by(10) {
            assert_eq!(page.handle(events(first..=first + 9), at(3)), []);
            assert!(page.pending.len() <= MAX_PENDING);
        }
        assert!(page.wants_draw());
        assert_eq!(page.handle(Input::Draw, at(4)), [Command::Send(snapshot_request())]);
        assert_eq!(page.handle(events(2_011..=2_011), at(5)), []);
        assert_eq!(page.handle(snapshot("a", 2_011), at(6)).len(), 1);
        assert_eq!(page.handle(events(2_012..=2_012), at(7)), []);
        assert_eq!(applied(&page.handle(Input::Draw, at(8))), [2_012]);
    }

    fn hello_of(version: u32, build: Option<&str>) -> Input {
        let (build, epoch) = (build.map(BuildId::from), Epoch::from("a"));
        Input::Frame(ServerFrame::Hello { version, build, epoch, seq: Seq(10), mode: Mode::Live, timestamp: at(0) })
    }

    #[test]
    fn a_page_of_another_build_says_so_and_applies_what_it_can_read() {
        for build in [Some("newer"), None] {
            let mut page = connected();
            assert!(!page.view(at(3)).outdated);
            assert_eq!(page.handle(Input::Closed, at(3)), []);
            assert_eq!(page.handle(Input::RetryNow, at(4)).len(), 1);
            assert_eq!(page.handle(Input::Opened, at(5)), []);
            assert_eq!(page.handle(hello_of(1, build), at(6)), []);
            let view = page.view(at(6));
            assert_eq!((view.status, view.outdated), (ConnectionStatus::Outdated, true), "not live");
            assert_eq!(page.handle(events(11..=12), at(7)), []);
            assert_eq!(applied(&page.handle(Input::Draw, at(8))), [11, 12]);
            assert_eq!(page.handle(Input::Closed, at(9)), []);
            let view = page.view(at(9));
            assert_eq!((view.status, view.outdated), (ConnectionStatus::Reconnecting, true));
            assert_eq!(page.handle(hello("a", 12), at(10)), []);
            assert!(!page.view(at(10)).outdated, "the old server is back");
        }
    }

    #[test]
    fn a_page_that_was_served_without_a_build_cannot_tell() {
        let mut page = Connection::new(None, None, 1);
        assert_eq!(page.handle(Input::Tick, at(0)).len(), 1);
        assert_eq!(page.handle(Input::Opened, at(1)), []);
        assert_eq!(page.handle(hello_of(1, Some("any")), at(2)), []);
        assert_eq!(page.view(at(2)).status, ConnectionStatus::Live);
    }

    #[test]
    fn a_newer_version_of_the_protocol_is_not_applied() {
        let mut page = connected();
        assert_eq!(page.handle(hello_of(2, Some("new")), at(3)), []);
        assert_eq!(page.view(at(3)).status, ConnectionStatus::Outdated);
        assert_eq!(page.handle(events(11..=12), at(4)), []);
        assert_eq!(page.handle(snapshot("a", 13), at(5)), []);
        assert_eq!(page.handle(heartbeat(13), at(6)), []);
        assert!(!page.wants_draw());
    }

    #[test]
    fn a_server_that_cannot_be_read_does_not_leave_the_page_standing_still_as_live() {
        // What it says to begin with cannot be read.
        let mut page = Connection::new(None, None, 1);
        assert_eq!(page.handle(Input::Tick, at(0)).len(), 1);
        assert_eq!(page.handle(Input::Opened, at(1)), []);
        assert_eq!(page.handle(Input::Unreadable, at(2)), []);
        assert_eq!(page.view(at(2)).status, ConnectionStatus::Outdated);

        // Its events cannot be read, nor the ones asked for instead; its heartbeats can.
        let mut page = connected();
        assert_eq!(page.handle(Input::Unreadable, at(3)), [resume("a", 10)]);
        assert_eq!(page.view(at(3)).status, ConnectionStatus::Live);
        assert_eq!(page.handle(heartbeat(11), at(4)), []);
        assert_eq!(page.handle(Input::Unreadable, at(5)), []);
        assert_eq!(page.view(at(5)).status, ConnectionStatus::Outdated);
        assert_eq!(page.handle(heartbeat(12), at(5 + ASK_AGAIN_MS)), [], "asking again would not help");
    }

    #[test]
    fn one_unreadable_frame_is_asked_for_again() {
        let mut page = connected();
        for round in 0..5 {
            let next = 11 + round;
            assert_eq!(page.handle(Input::Unreadable, at(3)), [resume("a", 10 + round)]);
            assert_eq!(page.handle(events(next..=next), at(4)), []);
            assert_eq!(page.view(at(4)).status, ConnectionStatus::Live);
        }
    }

    #[test]
    fn an_unknown_event_is_counted_and_the_sequence_goes_on() {
        let mut page = connected();
        let unknown =
            SequencedEvent { event: Event::Unknown(UnknownEvent { kind: "galaxy:born".to_owned() }), ..event(11) };
        let frame = ServerFrame::Events { from: Seq(11), to: Seq(12), events: vec![unknown, event(12)] };
        assert_eq!(page.handle(Input::Frame(frame), at(3)), []);
        let commands = page.handle(Input::Draw, at(4));
        assert_eq!(applied(&commands), [11, 12]);
        assert_eq!(page.view(at(4)).unknown_events, 1);

        let [Command::Apply(events)] = &commands[..] else { panic!("{commands:?}") };
        let mut state = DashboardState { seq: Seq(10), ..DashboardState::default() };
        events.iter().for_each(|event| state.apply(event));
        assert_eq!(state.seq, Seq(12));
        assert_eq!(state.ingest.lines, 84);
        assert_eq!((state.log[0].kind(), state.log[0].subject().as_str()), ("unknown", "galaxy:born"));
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod properties {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::event::IngestUpdate;
    use crate::state::Mode;
    use crate::time::ZoneOffsets;

    /// One thing that may happen at any moment.
    #[derive(Clone, Debug)]
    enum Step {
        Emit(u64),
        Deliver,
        Lose,
        Answer,
        Heartbeat,
        Break,
        Restart,
        Pause,
        Resume,
        Draw,
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (1..4_u64).prop_map(Step::Emit),
            8 => Just(Step::Deliver),
            2 => Just(Step::Lose),
            6 => Just(Step::Answer),
            2 => Just(Step::Heartbeat),
            1 => Just(Step::Break),
            1 => Just(Step::Restart),
            1 => Just(Step::Pause),
            2 => Just(Step::Resume),
            5 => Just(Step::Draw),
            3 => (1..8_000_i64).prop_map(Step::Wait),
            1 => Just(Step::Emit(1_500)),
        ]
    }

    /// A server, a network and a page.
    struct World {
        now: Timestamp,
        // The server: its numbering, what it keeps for resuming, and the one connection's cursor.
        epoch: u32,
        state: DashboardState,
        ring: VecDeque<SequencedEvent>,
        sent: Seq,
        held: bool,
        // The network, both ways.
        open: bool,
        down: VecDeque<ServerFrame>,
        up: VecDeque<ClientFrame>,
        // The page.
        connection: Connection,
        page: DashboardState,
        page_epoch: Option<Epoch>,
    }

    const RING: usize = 40;

    impl World {
        fn new() -> Self {
            let now = Timestamp::from_unix_ms(1_000_000_000_000);
            Self {
                now,
                epoch: 1,
                state: DashboardState::new(Mode::Live, ZoneOffsets::utc(), None, now),
                ring: VecDeque::new(),
                sent: Seq(0),
                held: false,
                open: false,
                down: VecDeque::new(),
                up: VecDeque::new(),
                connection: Connection::new(None, None, 7),
                page: DashboardState::default(),
                page_epoch: None,
            }
        }

        fn server_epoch(&self) -> Epoch {
            Epoch::new(self.epoch.to_string())
        }

        fn emit(&mut self, count: u64) {
            for _ in 0..count {
                let seq = self.state.seq.next();
                let update = IngestUpdate { lines: seq.0 * 31 + u64::from(self.epoch), ..IngestUpdate::default() };
                let event = SequencedEvent { seq, event: Event::IngestUpdate(update), timestamp: self.now };
                self.state.apply(&event);
                self.ring.push_back(event);
                if self.ring.len() > RING {
                    self.ring.pop_front();
                }
            }
            if self.open && !self.held {
                self.send_from(self.sent);
            }
        }

        /// The exact suffix after `seq`, or a snapshot.
        fn send_from(&mut self, seq: Seq) {
            let events: Vec<_> = self.ring.iter().filter(|event| event.seq > seq).cloned().collect();
            match events.first() {
                None if seq == self.state.seq => {}
                Some(first) if first.seq == seq.next() => {
                    self.down.push_back(ServerFrame::Events { from: first.seq, to: self.state.seq, events });
                }
                _ => self.send_snapshot(),
            }
            self.sent = self.state.seq;
        }

        fn send_snapshot(&mut self) {
            let state = Box::new(self.state.clone());
            self.down.push_back(ServerFrame::Snapshot { epoch: self.server_epoch(), seq: self.state.seq, state });
        }

        fn catch_up(&mut self, known: Option<(Epoch, Seq)>) {
            match known {
                Some((epoch, seq)) if epoch == self.server_epoch() && seq <= self.state.seq => self.send_from(seq),
                _ => {
                    self.send_snapshot();
                    self.sent = self.state.seq;
                }
            }
        }

        fn answer(&mut self) {
            match self.up.pop_front() {
                Some(ClientFrame::Resume { epoch, seq }) => self.catch_up(Some((epoch, seq))),
                Some(ClientFrame::Pause) => self.held = true,
                Some(ClientFrame::ResumeUpdates) => {
                    self.held = false;
                    self.send_from(self.sent);
                }
                Some(ClientFrame::Ping) => self.heartbeat(),
                None => {}
            }
        }

        fn heartbeat(&mut self) {
            if self.open {
                self.down.push_back(ServerFrame::Heartbeat { seq: self.state.seq, timestamp: self.now });
            }
        }

        fn cut(&mut self) {
            self.open = false;
            self.down.clear();
            self.up.clear();
        }

        fn input(&mut self, input: Input) {
            for command in self.connection.handle(input, self.now) {
                match command {
                    Command::Open { resume } => {
                        assert!(!self.open, "one socket at a time");
                        self.open = true;
                        self.held = false;
                        let (epoch, seq) = (self.server_epoch(), self.state.seq);
                        let (mode, timestamp) = (Mode::Live, self.now);
                        let hello = ServerFrame::Hello { version: 1, build: None, epoch, seq, mode, timestamp };
                        self.down.push_back(hello);
                        self.catch_up(resume);
                        self.input(Input::Opened);
                    }
                    Command::Send(frame) => {
                        assert!(self.open, "nothing is sent into a closed socket");
                        self.up.push_back(frame);
                    }
                    Command::ReplaceState(state) => {
                        assert!(!self.connection.paused, "a pause is a pause");
                        self.page = *state;
                        self.page_epoch = self.connection.server.clone();
                    }
                    Command::Apply(events) => {
                        assert!(!self.connection.paused, "a pause is a pause");
                        for event in events {
                            assert_eq!(event.seq, self.page.seq.next(), "no gap and no repeat");
                            self.page.apply(&event);
                        }
                    }
                    Command::Close => self.cut(),
                }
            }
        }

        fn step(&mut self, step: &Step) {
            match step {
                Step::Emit(count) => self.emit(*count),
                Step::Deliver => {
                    if let Some(frame) = self.down.pop_front() {
                        self.input(Input::Frame(frame));
                    }
                }
                // A hello is never lost alone: the socket would not be open.
                Step::Lose if !matches!(self.down.front(), Some(ServerFrame::Hello { .. })) => {
                    self.down.pop_front();
                }
                Step::Lose => {}
                Step::Answer => self.answer(),
                Step::Heartbeat => self.heartbeat(),
                Step::Break | Step::Restart => {
                    if matches!(step, Step::Restart) {
                        self.epoch += 1;
                        self.state = DashboardState::new(Mode::Live, ZoneOffsets::utc(), None, self.now);
                        self.ring.clear();
                    }
                    if self.open {
                        self.cut();
                        self.input(Input::Closed);
                    }
                }
                Step::Pause => self.input(Input::Pause),
                Step::Resume => self.input(Input::Resume),
                Step::Draw => self.input(Input::Draw),
                Step::Wait(ms) => {
                    self.now = self.now.plus_ms(*ms);
                    self.input(Input::Tick);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_page_never_skips_or_repeats_and_ends_where_the_server_is(
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let mut world = World::new();
            for step in &steps {
                world.step(step);
            }
            // The network is well again and nobody pauses: within a minute all is in step.
            world.step(&Step::Resume);
            for _ in 0..20 {
                world.step(&Step::Wait(3_000));
                world.step(&Step::Heartbeat);
                while !world.up.is_empty() || !world.down.is_empty() {
                    world.step(&Step::Answer);
                    world.step(&Step::Deliver);
                }
                world.step(&Step::Draw);
            }
            prop_assert_eq!(world.page_epoch.clone(), Some(world.server_epoch()));
            prop_assert_eq!(&world.page, &world.state);
            prop_assert!(matches!(world.connection.view(world.now).status, ConnectionStatus::Live));
        }
    }
}
