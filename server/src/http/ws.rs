//! `/ws`: one page's connection. Sends what its subscription yields, obeys what the page asks for.
//!
//! A page that sends nonsense is told so and kept; one that does not read is let go. While a frame
//! waits for such a page nothing piles up here: the subscription simply stays where it is.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dashboard_core::event::Seq;
use dashboard_core::ids::Epoch;
use dashboard_core::protocol::{ClientFrame, HEARTBEAT_MS, SUBPROTOCOL, ServerFrame};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{App, Problem};
use crate::hub::{Position, Subscription, json};

/// Longest frame a page may send; its frames are short.
const CLIENT_FRAME_BYTES: usize = 4 << 10;
/// A message longer than this ends the connection.
const CLIENT_MESSAGE_BYTES: usize = 64 << 10;
/// Per connection and direction; the default of 128 KiB would be paid for every idle page.
const BUFFER_BYTES: usize = 4 << 10;
/// Room for the largest snapshot. Taken only while one is on its way.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// A page that takes longer to accept a frame is closed.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closing page may take to notice.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the page was before, if it was.
#[derive(Debug, Deserialize)]
pub(super) struct Resume {
    epoch: Option<Epoch>,
    seq: Option<Seq>,
}

pub(super) async fn upgrade(
    State(app): State<App>,
    resume: Result<Query<Resume>, axum::extract::rejection::QueryRejection>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            return Problem::new(rejection.status(), "not_a_websocket", rejection.body_text()).into_response();
        }
    };
    let position = match resume {
        Ok(Query(Resume { epoch: Some(epoch), seq: Some(seq) })) => Some(Position { epoch, seq }),
        Ok(_) => None,
        Err(_) => {
            let message = "seq is the number of the last event received, a non-negative integer.";
            return Problem::new(StatusCode::BAD_REQUEST, "bad_query", message).into_response();
        }
    };
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(CLIENT_MESSAGE_BYTES)
        .max_frame_size(CLIENT_MESSAGE_BYTES)
        .on_upgrade(move |socket| converse(socket, app.hub.subscribe(position)))
}

/// Talks to one page until it leaves, stops reading, or the server stops.
async fn converse<S, E>(mut socket: S, mut subscription: Subscription)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Unpin,
{
    let mut heartbeat = interval(Duration::from_millis(HEARTBEAT_MS.unsigned_abs()));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let (code, reason) = loop {
        let answer = tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Close(_))) | None => return,
                Some(Ok(message)) => obey(&message, &mut subscription),
                Some(Err(_)) => break (close_code::POLICY, "unreadable, or longer than 64 KiB"),
            },
            frame = subscription.next() => match frame {
                Ok(frame) => Some(frame),
                Err(_) => break (close_code::AWAY, "the dashboard was stopped"),
            },
            _ = heartbeat.tick() => Some(subscription.heartbeat()),
        };
        let Some(frame) = answer else { continue };
        match timeout(SEND_TIMEOUT, socket.send(Message::Text(frame))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break (close_code::AGAIN, "frames were not read in time"),
        }
    };
    tracing::debug!(code, reason, "closing a page's connection");
    // The page no longer counts, and whatever happens now is its own affair.
    drop(subscription);
    let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
    let goodbye = async {
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
}

/// Does what the page asks for; the frame that answers it at once, if one does.
fn obey(message: &Message, subscription: &mut Subscription) -> Option<Utf8Bytes> {
    let text = match message {
        Message::Text(text) if text.len() <= CLIENT_FRAME_BYTES => text,
        Message::Text(_) => return Some(error("too_large", "Frames of a page have at most 4096 bytes.")),
        Message::Binary(_) => return Some(error("bad_frame", "Frames are JSON text, not binary.")),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
    };
    match serde_json::from_str(text) {
        Ok(ClientFrame::Resume { epoch, seq }) => subscription.resume(Position { epoch, seq }),
        Ok(ClientFrame::Ping) => return Some(subscription.heartbeat()),
        Ok(ClientFrame::Pause) => subscription.pause(),
        Ok(ClientFrame::ResumeUpdates) => subscription.resume_updates(),
        Err(_) => {
            let allowed = r#"One of {"frame":"resume","epoch":"…","seq":N}, {"frame":"ping"}, {"frame":"pause"}, {"frame":"resume_updates"} is allowed."#;
            return Some(error("bad_frame", allowed));
        }
    }
    None
}

fn error(code: &str, message: &str) -> Utf8Bytes {
    json(&ServerFrame::Error { code: code.to_owned(), message: message.to_owned() })
}
