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
#[serde(tag = "frame", rename_all = "lowercase")]
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
