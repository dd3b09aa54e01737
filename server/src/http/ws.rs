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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use dashboard_core::ids::BuildId;
    use dashboard_core::state::Mode;
    use tokio::time::Instant;

    use super::*;
    use crate::clock::Clock;
    use crate::hub::Hub;

    /// A page that says nothing, and accepts nothing until `reads_from`.
    struct Sluggish {
        reads_from: Instant,
        accepted: Arc<Mutex<Vec<Message>>>,
    }

    impl Stream for Sluggish {
        type Item = Result<Message, Infallible>;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Pending
        }
    }

    impl Sink<Message> for Sluggish {
        type Error = Infallible;

        fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            if Instant::now() >= self.reads_from {
                return Poll::Ready(Ok(()));
            }
            let (waker, at) = (cx.waker().clone(), self.reads_from);
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                waker.wake();
            });
            Poll::Pending
        }

        fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Infallible> {
            self.accepted.lock().unwrap().push(message);
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What a page got that reads nothing for the first `wait`, and whether it was let go within an hour.
    async fn conversation(wait: Duration) -> (Vec<Message>, bool) {
        let (hub, _requests) = Hub::new(BuildId::from("test"));
        hub.begin(Epoch::from("one"), Mode::Live, Seq(0), Clock::Wall);
        let accepted = Arc::default();
        let page = Sluggish { reads_from: Instant::now() + wait, accepted: Arc::clone(&accepted) };
        let hour = Duration::from_secs(3_600);
        let position = Position { epoch: Epoch::from("one"), seq: Seq(0) };
        let ended = timeout(hour, converse(page, hub.subscribe(Some(position)))).await.is_ok();
        assert_eq!(*hub.clients().borrow(), 0);
        let accepted = accepted.lock().unwrap().clone();
        (accepted, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_never_reads_is_let_go() {
        let (accepted, ended) = conversation(Duration::from_secs(86_400)).await;
        assert!(ended);
        assert_eq!(accepted, []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_reads_too_late_learns_why_it_was_closed() {
        let (accepted, ended) = conversation(SEND_TIMEOUT + CLOSE_TIMEOUT / 2).await;
        assert!(ended);
        let [Message::Close(Some(close))] = accepted.as_slice() else { panic!("{accepted:?}") };
        assert_eq!(close.code, close_code::AGAIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_reads_late_but_in_time_is_kept() {
        let (accepted, ended) = conversation(SEND_TIMEOUT / 2).await;
        assert!(!ended);
        let frames: Vec<_> = accepted.iter().filter_map(|message| message.to_text().ok()).collect();
        assert!(frames[0].contains("hello"));
        assert!(frames[1..].iter().all(|frame| frame.contains("heartbeat")));
        assert!(frames.len() > 600, "one every five seconds");
    }
}
