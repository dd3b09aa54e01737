//! The way to the server: a WebSocket.

use std::future::poll_fn;

use dashboard_core::connection::Input;
use dashboard_core::event::Seq;
use dashboard_core::ids::Epoch;
use dashboard_core::protocol::{ClientFrame, SUBPROTOCOL};
use futures_channel::mpsc;
use futures_util::{Sink, SinkExt, StreamExt, stream};
use gloo_net::websocket::{Message, futures::WebSocket};
use leptos::prelude::location;
use wasm_bindgen_futures::spawn_local;

/// Takes frames for the socket. Dropping it closes the socket.
pub(super) type Sender = mpsc::Sender<ClientFrame>;

/// Frames of ours that may wait for the socket. There are never more than a few; one too many is
/// not sent, and the machine asks again.
const OUTGOING: usize = 8;

/// Opens a socket and tells what comes of it, until it is closed.
pub(super) fn open(resume: Option<(Epoch, Seq)>, tell: impl Fn(Input) + 'static) -> Sender {
    let (sender, receiver) = mpsc::channel(OUTGOING);
    spawn_local(async move {
        if let Ok(socket) = WebSocket::open_with_protocol(&address(resume), SUBPROTOCOL) {
            converse(socket, receiver, &tell).await;
        }
        tell(Input::Closed);
    });
    sender
}

/// Passes frames both ways until the socket closes, or the driver lets go of it.
async fn converse(socket: WebSocket, outgoing: mpsc::Receiver<ClientFrame>, tell: &impl Fn(Input)) {
    enum Either {
        Came(Message),
        Ours(ClientFrame),
        Over,
    }
    let (mut sink, incoming) = socket.split();
    if poll_fn(|context| std::pin::Pin::new(&mut sink).poll_ready(context)).await.is_err() {
        return;
    }
    tell(Input::Opened);
    let incoming = incoming.map(|message| message.map_or(Either::Over, Either::Came));
    let incoming = incoming.chain(stream::once(async { Either::Over }));
    let outgoing = outgoing.map(Either::Ours).chain(stream::once(async { Either::Over }));
    let mut both = Box::pin(stream::select(incoming, outgoing));
    while let Some(next) = both.next().await {
        match next {
            Either::Came(Message::Text(text)) => tell(super::read(&text)),
            Either::Came(Message::Bytes(_)) => tell(Input::Unreadable),
            Either::Ours(frame) => {
                let Ok(text) = serde_json::to_string(&frame) else { continue };
                if sink.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
            Either::Over => return,
        }
    }
}

/// The socket's address: this page's host, and what the page already has.
fn address(resume: Option<(Epoch, Seq)>) -> String {
    let location = location();
    let scheme = if location.protocol().is_ok_and(|scheme| scheme == "https:") { "wss" } else { "ws" };
    let host = location.host().unwrap_or_default();
    let position = resume.map_or_else(String::new, |(epoch, seq)| {
        format!("?epoch={}&seq={}", js_sys::encode_uri_component(epoch.as_str()), seq.0)
    });
    format!("{scheme}://{host}/ws{position}")
}
