//! The frames between server and page: one JSON object each (docs/PROTOCOL.md).
//!
//! Frames batch events and never skip one: `from` and `to` are the first and last number inside,
//! and the receiver checks `from == last + 1`.

use serde::{Deserialize, Serialize};

use crate::event::{Seq, SequencedEvent};
use crate::ids::{BuildId, Epoch};
use crate::simulator::Scenario;
use crate::state::{DashboardState, Mode};
use crate::time::Timestamp;

/// The protocol's version, in `hello`. Rises when a page of an older version could misread what is sent; such a page
/// applies nothing any more and asks to be reloaded.
pub const VERSION: u32 = 1;
/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "dashboard.v1";
/// The server sends a heartbeat this often.
pub const HEARTBEAT_MS: i64 = 5_000;

/// From the server to the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "lowercase", try_from = "AnyFrame")]
pub enum ServerFrame {
    /// The first frame of a connection.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// The build of the page that the server serves; absent from servers before November 2026.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        build: Option<BuildId>,
        /// The numbering in force.
        epoch: Epoch,
        /// Number of the newest event.
        seq: Seq,
        /// Where the events come from.
        mode: Mode,
        /// The server's clock, so that ages are right on a machine whose clock is not.
        timestamp: Timestamp,
    },
    /// The whole state, to begin with or to catch up.
    Snapshot {
        /// The numbering it belongs to.
        epoch: Epoch,
        /// Number of the last event in it.
        seq: Seq,
        /// The state.
        state: Box<DashboardState>,
    },
    /// Events, without a gap. Of an event of unknown type a page keeps the number only.
    Events {
        /// Number of the first.
        from: Seq,
        /// Number of the last.
        to: Seq,
        /// The events.
        events: Vec<SequencedEvent>,
    },
    /// Nothing new, and all is well.
    Heartbeat {
        /// Number of the newest event; ahead of the page's only while it is paused.
        seq: Seq,
        /// The server's clock.
        timestamp: Timestamp,
    },
    /// A frame from the page could not be used. The connection goes on.
    Error {
        /// Machine-readable: `bad_frame`, `too_large`, ….
        code: String,
        /// What was wrong and what is allowed.
        message: String,
    },
}

/// Any frame as it is read: without holding its fields in memory until `frame` has been seen, as serde's code for tagged
/// types would.
#[derive(Deserialize)]
struct AnyFrame {
    frame: FrameKind,
    version: Option<u32>,
    build: Option<BuildId>,
    epoch: Option<Epoch>,
    seq: Option<Seq>,
    mode: Option<Mode>,
    timestamp: Option<Timestamp>,
    state: Option<Box<DashboardState>>,
    from: Option<Seq>,
    to: Option<Seq>,
    events: Option<Vec<SequencedEvent>>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FrameKind {
    Hello,
    Snapshot,
    Events,
    Heartbeat,
    Error,
}

impl TryFrom<AnyFrame> for ServerFrame {
    type Error = &'static str;

    fn try_from(any: AnyFrame) -> Result<Self, &'static str> {
        let read = || {
            Some(match any.frame {
                FrameKind::Hello => Self::Hello {
                    version: any.version?,
                    build: any.build,
                    epoch: any.epoch?,
                    seq: any.seq?,
                    mode: any.mode?,
                    timestamp: any.timestamp?,
                },
                FrameKind::Snapshot => Self::Snapshot { epoch: any.epoch?, seq: any.seq?, state: any.state? },
                FrameKind::Events => Self::Events { from: any.from?, to: any.to?, events: any.events? },
                FrameKind::Heartbeat => Self::Heartbeat { seq: any.seq?, timestamp: any.timestamp? },
                FrameKind::Error => Self::Error { code: any.code?, message: any.message? },
            })
        };
        read().ok_or("a field of the frame is missing")
    }
}

/// From the page to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ClientFrame {
    /// "I have everything up to here": answered by the exact suffix, or by a snapshot, never by a gap.
    Resume {
        /// The numbering the page knows.
        epoch: Epoch,
        /// Number of the last event it has.
        seq: Seq,
    },
    /// Answered by a heartbeat.
    Ping,
    /// Send no events until `resume_updates`; heartbeats go on.
    Pause,
    /// Send what was held back, then go on.
    ResumeUpdates,
}

/// From the page to its worker, which otherwise speaks as a server does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerFrame {
    /// Begin a simulation: answered by `hello` and `snapshot`, in a numbering of its own.
    Simulate {
        /// The story.
        scenario: Scenario,
        /// What its chance depends on.
        seed: u64,
        /// The browser's zone, for the simulated days.
        utc_offset_s: i32,
    },
    /// Let this much virtual time pass: answered by `events`, if any happened, and a `heartbeat` with the virtual time.
    Advance {
        /// Virtual milliseconds.
        ms: u32,
    },
    /// What the page would say to a server. `resume` is answered by a snapshot.
    Client(ClientFrame),
}

/// When every simulation in a worker begins: 2026-09-23T12:00:00Z, a Wednesday afternoon. Fixed, so that a link shows
/// everyone the same.
pub const SIMULATION_START: Timestamp = Timestamp::from_unix_ms(1_790_164_800_000);

/// What the server puts into the page, so that the first paint needs no request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// The numbering of the state.
    pub epoch: Epoch,
    /// When the page was rendered; the first client render uses the same moment.
    pub now: Timestamp,
    /// The state that was rendered; its `seq` is where the page resumes.
    pub state: DashboardState,
}
