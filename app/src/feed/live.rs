//! The live feed: a WebSocket under the connection machine.
//!
//! Thin on purpose. What to open, send, apply and show is decided by
//! [`Connection`](dashboard_core::connection); this carries the commands out, and tells it what
//! happened: frames, timers, animation frames, and what the user wants.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use dashboard_core::connection::{Command, Connection, Input};
use dashboard_core::event::Seq;
use dashboard_core::ids::{BuildId, Epoch};
use dashboard_core::protocol::{ClientFrame, SUBPROTOCOL, ServerFrame};
use dashboard_core::time::{SECOND_MS, Timestamp};
use futures_channel::mpsc;
use futures_util::{Sink, SinkExt, StreamExt, stream};
use gloo_net::websocket::{Message, futures::WebSocket};
use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::Store;
use crate::site::BUILD_META;

/// Frames of ours that may wait for the socket. There are never more than a few; one too many is
/// not sent, and the machine asks again.
const OUTGOING: usize = 8;

/// Connects the store to the server, from what the page was rendered with.
pub(super) fn run(store: Store, page: Option<(Epoch, Seq)>) {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seed = (js_sys::Math::random() * f64::from(u32::MAX)) as u64;
    let driver = Driver(Rc::new(Inner {
        store,
        connection: RefCell::new(Connection::new(page, build(), seed)),
        socket: Cell::new(0),
        outgoing: RefCell::new(None),
        drawing: Cell::new(false),
        ahead_ms: Cell::new(0),
    }));
    // Drivers are not `Send`, and signals want to be: the page has one thread.
    let driver = StoredValue::new_local(driver);
    let tell = move |input: Input| {
        driver.try_with_value(Driver::clone).into_iter().for_each(|driver| driver.input(input.clone()));
    };
    tell(Input::Tick);
    set_interval(
        move || {
            tell(Input::Tick);
            driver.try_with_value(Driver::move_clock);
        },
        Duration::from_secs(1),
    );
    let _ = window_event_listener(ev::online, move |_| tell(Input::Online(true)));
    let _ = window_event_listener(ev::offline, move |_| tell(Input::Online(false)));
    Effect::new(move |before: Option<bool>| {
        let paused = store.paused.get();
        if before.is_some_and(|before| before != paused) {
            tell(if paused { Input::Pause } else { Input::Resume });
        }
        paused
    });
    Effect::new(move |before: Option<u32>| {
        let retries = store.retries.get();
        if before.is_some() {
            tell(Input::RetryNow);
        }
        retries
    });
}

#[derive(Clone)]
struct Driver(Rc<Inner>);

struct Inner {
    store: Store,
    connection: RefCell<Connection>,
    /// Number of the socket in use; what another one still has to say is not heard.
    socket: Cell<u32>,
    /// Frames for the socket in use. Dropping it closes the socket.
    outgoing: RefCell<Option<mpsc::Sender<ClientFrame>>>,
    /// An animation frame has been asked for.
    drawing: Cell<bool>,
    /// How far the server's clock is ahead of the browser's.
    ahead_ms: Cell<i64>,
}

impl Driver {
    fn input(&self, input: Input) {
        let inner = &self.0;
        if let Input::Frame(ServerFrame::Hello { timestamp, .. } | ServerFrame::Heartbeat { timestamp, .. }) = &input {
            inner.ahead_ms.set(timestamp.ms_since(browser_now()));
        }
        let closed = matches!(input, Input::Closed);
        let commands = inner.connection.borrow_mut().handle(input, browser_now());
        for command in commands {
            self.carry_out(command);
        }
        let (view, wants_draw) = {
            let connection = inner.connection.borrow();
            (connection.view(browser_now()), connection.wants_draw())
        };
        if wants_draw && !inner.drawing.replace(true) {
            let driver = self.clone();
            request_animation_frame(move || {
                driver.0.drawing.set(false);
                driver.input(Input::Draw);
            });
        }
        if closed && let Some(wait_ms) = view.retry_in_ms {
            let driver = self.clone();
            set_timeout(move || driver.input(Input::Tick), Duration::from_millis(wait_ms.unsigned_abs()));
        }
        if inner.store.connection.get_untracked() != view {
            inner.store.connection.set(view);
        }
    }

    fn carry_out(&self, command: Command) {
        let inner = &self.0;
        match command {
            Command::Open { resume } => self.open(resume),
            Command::Close => {
                inner.socket.set(inner.socket.get() + 1);
                inner.outgoing.borrow_mut().take();
            }
            Command::Send(frame) => {
                if let Some(outgoing) = &mut *inner.outgoing.borrow_mut() {
                    let _ = outgoing.try_send(frame);
                }
            }
            Command::ReplaceState(state) => {
                inner.store.state.set(*state);
                inner.store.ready.set(true);
                self.move_clock();
            }
            Command::Apply(events) => {
                inner.store.state.update(|state| events.iter().for_each(|event| state.apply(event)));
                // Simulated time may run ahead of any clock.
                if inner.store.state.with_untracked(|state| state.at)
                    >= inner.store.now.get_untracked().plus_ms(SECOND_MS)
                {
                    self.move_clock();
                }
            }
        }
    }

    /// Moves the data's clock: the server's, on whole seconds, never before the newest event.
    fn move_clock(&self) {
        let store = self.0.store;
        let server = browser_now().plus_ms(self.0.ahead_ms.get());
        let now = server.max(store.state.with_untracked(|state| state.at)).floor_to(SECOND_MS);
        if store.now.get_untracked() != now {
            store.now.set(now);
        }
    }

    fn open(&self, resume: Option<(Epoch, Seq)>) {
        let inner = &self.0;
        let number = inner.socket.get() + 1;
        inner.socket.set(number);
        let (sender, receiver) = mpsc::channel(OUTGOING);
        *inner.outgoing.borrow_mut() = Some(sender);
        let driver = self.clone();
        let tell = move |input| {
            if driver.0.socket.get() == number {
                driver.input(input);
            }
        };
        spawn_local(async move {
            if let Ok(socket) = WebSocket::open_with_protocol(&address(resume), SUBPROTOCOL) {
                converse(socket, receiver, &tell).await;
            }
            tell(Input::Closed);
        });
    }
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
            Either::Came(Message::Text(text)) => {
                tell(serde_json::from_str(&text).map_or(Input::Unreadable, Input::Frame));
            }
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

/// The build this page was served with.
fn build() -> Option<BuildId> {
    let meta = document().query_selector(&format!("meta[name={BUILD_META}]")).ok()??;
    meta.get_attribute("content").map(BuildId::new)
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

fn browser_now() -> Timestamp {
    #[allow(clippy::cast_possible_truncation)] // milliseconds since 1970 are far below 2^53
    Timestamp::from_unix_ms(js_sys::Date::now() as i64)
}
