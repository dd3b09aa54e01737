//! `/ws`: one page's connection. Sends what its subscription yields, obeys what the page asks for.
//!
//! A page that sends nonsense is told so and kept; one that does not read is let go. While a frame
//! waits for such a page nothing piles up here: the subscription simply stays where it is.
//!
//! A page costs little while it is idle, and it is idle most of the time. The text of a frame is shared by all pages and
//! passed on in pieces, each of them flushed before the next: the socket's buffer, which never shrinks, grows to the size
//! of a piece and not to that of the largest snapshot. That is why the handshake is here and not axum's, whose socket
//! takes whole messages only.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use dashboard_core::event::Seq;
use dashboard_core::ids::Epoch;
use dashboard_core::protocol::{ClientFrame, HEARTBEAT_MS, SUBPROTOCOL, ServerFrame};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::{App, Problem};
use crate::hub::{Position, Subscription, json};

/// Longest frame a page may send; its frames are short.
const CLIENT_FRAME_BYTES: usize = 4 << 10;
/// A message longer than this ends the connection.
const CLIENT_MESSAGE_BYTES: usize = 64 << 10;
/// Room for what a page sends, held by each connection.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Longest piece of a message that is passed to the socket at once, and so the room each connection holds for writing.
const PIECE_BYTES: usize = 4 << 10;
/// Most that may wait in a connection's socket: a piece, and what answers a page's pings.
const WRITE_BUFFER_BYTES: usize = 4 * PIECE_BYTES;
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
    resume: Result<Query<Resume>, QueryRejection>,
    mut request: Request,
) -> Response {
    let accepted = match handshake(request.method(), request.headers()) {
        Ok(accepted) => accepted,
        Err(problem) => return problem.into_response(),
    };
    let position = match resume {
        Ok(Query(Resume { epoch: Some(epoch), seq: Some(seq) })) => Some(Position { epoch, seq }),
        Ok(_) => None,
        Err(_) => {
            let message = "seq is the number of the last event received, a non-negative integer.";
            return Problem::new(StatusCode::BAD_REQUEST, "bad_query", message).into_response();
        }
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let hub = app.hub;
    tokio::spawn(async move {
        // Nothing of the request may live as long as the page.
        drop(request);
        match upgraded.await {
            Ok(upgraded) => {
                let stream = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
                converse(socket, hub.subscribe(position)).await;
            }
            Err(error) => tracing::debug!(%error, "a connection did not become a WebSocket"),
        }
    });
    accepted
}

/// The answer to a request for a WebSocket (RFC 6455, section 4.2), or why it is none.
fn handshake(method: &Method, headers: &HeaderMap) -> Result<Response, Problem> {
    let lists = |name: &HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    };
    let refused = |status, message: &str| Problem::new(status, "not_a_websocket", message);
    if method != Method::GET {
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "A WebSocket is opened with GET."));
    }
    if !(lists(&CONNECTION, "upgrade") && lists(&UPGRADE, "websocket")) {
        let message = "This is a WebSocket: it needs `Connection: upgrade` and `Upgrade: websocket`.";
        return Err(refused(StatusCode::UPGRADE_REQUIRED, message));
    }
    if !lists(&SEC_WEBSOCKET_VERSION, "13") {
        return Err(refused(StatusCode::BAD_REQUEST, "Sec-WebSocket-Version has to be 13."));
    }
    let accept = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(Ok(accept)) = accept.map(|accept| HeaderValue::from_str(&accept)) else {
        return Err(refused(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing."));
    };
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if lists(&SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    Ok(response)
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        // Pieces are flushed one by one.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(CLIENT_MESSAGE_BYTES))
        .max_frame_size(Some(CLIENT_MESSAGE_BYTES))
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
                Some(Err(_)) => break (CloseCode::Policy, "unreadable, or longer than 64 KiB"),
            },
            frame = subscription.next() => match frame {
                Ok(frame) => Some(frame),
                Err(_) => break (CloseCode::Away, "the dashboard was stopped"),
            },
            _ = heartbeat.tick() => Some(subscription.heartbeat()),
        };
        let Some(frame) = answer else { continue };
        match timeout(SEND_TIMEOUT, send(&mut socket, frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break (CloseCode::Again, "frames were not read in time"),
        }
    };
    tracing::debug!(%code, reason, "closing a page's connection");
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

/// Sends one message in pieces that share its text.
async fn send<S: Sink<Message> + Unpin>(socket: &mut S, text: Utf8Bytes) -> Result<(), S::Error> {
    let text = Bytes::from(text);
    let mut from = 0;
    loop {
        let to = text.len().min(from + PIECE_BYTES);
        let code = if from == 0 { Data::Text } else { Data::Continue };
        let is_last = to == text.len();
        let piece = Frame::message(text.slice(from..to), OpCode::Data(code), is_last);
        socket.send(Message::Frame(piece)).await?;
        if is_last {
            return Ok(());
        }
        from = to;
    }
}

/// Does what the page asks for; the frame that answers it at once, if one does.
fn obey(message: &Message, subscription: &mut Subscription) -> Option<Utf8Bytes> {
    let text = match message {
        Message::Text(text) if text.len() <= CLIENT_FRAME_BYTES => text,
        Message::Text(_) => return Some(error("too_large", "Frames of a page have at most 4096 bytes.")),
        Message::Binary(_) => return Some(error("bad_frame", "Frames are JSON text, not binary.")),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return None,
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
    use std::io;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use dashboard_core::alert::{Alert, Condition};
    use dashboard_core::event::{Event, SequencedEvent};
    use dashboard_core::ids::BuildId;
    use dashboard_core::level::Level;
    use dashboard_core::state::Mode;
    use dashboard_core::time::Timestamp;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
        assert_eq!(close.code, CloseCode::Again);
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

    #[tokio::test]
    async fn a_long_message_arrives_whole_and_its_text_is_not_copied() {
        let (server, client) = tokio::io::duplex(64 << 10);
        let mut server = WebSocketStream::from_raw_socket(server, Role::Server, Some(config())).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 1_000_000] {
            let text: String = "aäß\u{1f980}".chars().cycle().take(length).collect();
            let text = Utf8Bytes::from(text);
            let (sent, received) = tokio::join!(send(&mut server, text.clone()), client.next());
            sent.unwrap();
            assert_eq!(received.unwrap().unwrap(), Message::Text(text));
        }
    }

    #[test]
    fn what_is_no_request_for_a_websocket_is_told_why() {
        let good = [
            (CONNECTION, "keep-alive, Upgrade"),
            (UPGRADE, "WebSocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (SEC_WEBSOCKET_PROTOCOL, "other, dashboard.v1"),
        ];
        let headers = |without: Option<HeaderName>| -> HeaderMap {
            let kept = good.iter().filter(|(name, _)| Some(name) != without.as_ref());
            kept.map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let response = handshake(&Method::GET, &headers(None)).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        // The example of RFC 6455, section 1.3.
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], SUBPROTOCOL);
        let plain = handshake(&Method::GET, &headers(Some(SEC_WEBSOCKET_PROTOCOL))).unwrap();
        assert!(!plain.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
        let status =
            |method, without| handshake(&method, &headers(without)).unwrap_err().into_response().status().as_u16();
        assert_eq!(status(Method::POST, None), 405);
        assert_eq!(status(Method::GET, Some(CONNECTION)), 426);
        assert_eq!(status(Method::GET, Some(UPGRADE)), 426);
        assert_eq!(status(Method::GET, Some(SEC_WEBSOCKET_VERSION)), 400);
        assert_eq!(status(Method::GET, Some(SEC_WEBSOCKET_KEY)), 400);
    }

    /// A client that takes everything at once and says nothing.
    struct Devours;

    impl AsyncRead for Devours {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Devours {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What `pages` connected pages cost while `frames` frames of 100 kB are sent to all of them.
    fn cost(pages: u64, frames: u64) -> (allocation_counter::AllocationInfo, u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut made = 0;
        let info = allocation_counter::measure(|| {
            runtime.block_on(async {
                let (hub, _requests) = Hub::new(BuildId::from("test"));
                hub.begin(Epoch::from("one"), Mode::Live, Seq(0), Clock::Wall);
                let fan_out = hub.clone();
                let run = tokio::spawn(async move { fan_out.run().await });
                for _ in 0..pages {
                    let socket = WebSocketStream::from_raw_socket(Devours, Role::Server, Some(config())).await;
                    let position = Position { epoch: Epoch::from("one"), seq: Seq(0) };
                    tokio::spawn(converse(socket, hub.subscribe(Some(position))));
                }
                for seq in 1..=frames {
                    let condition = Condition::PartFailing { component: "x".repeat(100_000) };
                    let event = Event::HealthError(Alert { condition, level: Level::Danger });
                    hub.publish(&[SequencedEvent { seq: Seq(seq), event, timestamp: Timestamp::default() }]);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                made = hub.counts().frames;
                run.abort();
            });
        });
        (info, made)
    }

    #[test]
    fn a_frame_is_made_once_and_a_page_costs_little() {
        const FRAMES: u64 = 20;
        const MORE: u64 = 200;
        let ((few, made), (many, made_for_many)) = (cost(10, FRAMES), cost(10 + MORE, FRAMES));
        assert_eq!((made, made_for_many), (FRAMES, FRAMES), "whatever the number of pages");
        let per_page = |of: fn(&allocation_counter::AllocationInfo) -> u64| (of(&many) - of(&few)) as f64 / MORE as f64;
        let memory = per_page(|info| info.bytes_max);
        let allocations = per_page(|info| info.count_total) / FRAMES as f64;
        println!("{memory:.0} bytes of heap per page, {allocations:.2} allocations per page and frame");
        // Measured: see docs/DECISIONS.md, "A page costs". With whole messages, a page held the largest one.
        assert!(memory < 8_000.0, "{memory} bytes of heap per page");
        assert!(allocations < 1.0, "{allocations} allocations per page and frame");
    }
}
