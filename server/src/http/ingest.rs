//! `POST /api/v1/ingest/…`: what relays and hooks of the tools on this machine send.
//!
//! Answered at once with 204: what is taken goes into the engine's queue, or is refused if that is full. The tools wait
//! for the answer.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{App, Problem};
use crate::observation::{NumberedMessage, Recipient, SourceMessage};
use crate::relay;

/// The route for what a tool tells its status line.
pub(super) const STATUS_LINE: &str = "/api/v1/ingest/statusline";

/// The way to the engine. Clones share it.
#[derive(Clone, Debug)]
pub struct Ingest(mpsc::Sender<NumberedMessage>);

impl Ingest {
    /// What comes in goes into this queue.
    pub fn new(queue: mpsc::Sender<NumberedMessage>) -> Self {
        Self(queue)
    }

    /// Hands a message over, without waiting.
    fn hand_over(&self, message: SourceMessage) -> Result<StatusCode, Problem> {
        // It is about no file: it needs no number.
        match self.0.try_send(NumberedMessage { number: 0, to: Recipient::Engine, message }) {
            Ok(()) => Ok(StatusCode::NO_CONTENT),
            Err(TrySendError::Full(_)) => {
                let message = "The dashboard has more to take in than it manages; send it again in a moment.";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message);
                Err(Problem { retry_after: Some(1), ..problem })
            }
            Err(TrySendError::Closed(_)) => Err(Problem::stopping()),
        }
    }
}

/// The way to the engine, if there is one.
fn ingest(app: &App) -> Result<&Ingest, Problem> {
    app.ingest.as_ref().ok_or_else(|| {
        let message = "This dashboard shows a simulation; nothing real is taken in.";
        Problem::new(StatusCode::CONFLICT, "simulation", message)
    })
}

pub(super) async fn status_line(State(app): State<App>, body: Bytes) -> Result<StatusCode, Problem> {
    let ingest = ingest(&app)?;
    let Some((tool, line)) = relay::read(&body) else {
        let message = "The body is not the JSON object that the tool hands to its status line.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_body", message));
    };
    ingest.hand_over(SourceMessage::StatusLine { tool, line: Box::new(line) })
}
