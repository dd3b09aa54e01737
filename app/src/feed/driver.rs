//! Carries out what the connection machine decides, for a server and for the page's worker alike.
//!
//! Thin on purpose. What to open, send, apply and show is decided by
//! [`Connection`](dashboard_core::connection); this carries the commands out, and tells it what
//! happened: frames, timers, animation frames, and what the user wants.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use dashboard_core::connection::{Command, Connection, ConnectionStatus, ConnectionView, Input};
use dashboard_core::event::Seq;
use dashboard_core::ids::{BuildId, Epoch};
use dashboard_core::protocol::{ClientFrame, ServerFrame};
use dashboard_core::time::{SECOND_MS, Timestamp};
use leptos::ev;
use leptos::prelude::*;

use super::worker::{Script, WorkerLink};
use super::{DemoControl, Store, socket, worker};
use crate::site::BUILD_META;

/// Where frames come from. Decided once, by the address.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The server, over a WebSocket.
    Server,
    /// The worker, which simulates what the controls say.
    Worker(DemoControl, Script),
}

impl Source {
    fn is_worker(&self) -> bool {
        matches!(self, Self::Worker(..))
    }
}

/// Connects the store to its source, from what the page was rendered with.
pub(super) fn run(store: Store, source: Source, page: Option<(Epoch, Seq)>) {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seed = (js_sys::Math::random() * f64::from(u32::MAX)) as u64;
    let (control, clock) = match &source {
        Source::Server => (None, Clock::Ahead(0)),
        Source::Worker(control, _) => (Some(*control), Clock::Stands(Timestamp::default())),
    };
    let driver = Driver(Rc::new(Inner {
        store,
        source,
        connection: RefCell::new(Connection::new(page, build(), seed)),
        link: Cell::new(0),
        outgoing: RefCell::new(None),
        drawing: Cell::new(false),
        clock: Cell::new(clock),
    }));
    if let Some(control) = control {
        worker::play(&driver, control);
    }
    // Drivers are not `Send`, and signals want to be: the page has one thread.
    let driver = StoredValue::new_local(driver);
    let tell = move |input: Input| {
        driver.try_with_value(Driver::clone).into_iter().for_each(|driver| driver.input(input.clone()));
    };
    tell(Input::Tick);
    set_interval(
        move || {
            // A worker is not silent by itself: it answers, and is asked nothing while the page is hidden or paused.
            let asleep = |driver: &Driver| driver.0.source.is_worker() && driver.is_linked();
            if driver.try_with_value(asleep) != Some(true) {
                tell(Input::Tick);
            }
            driver.try_with_value(Driver::move_clock);
        },
        Duration::from_secs(1),
    );
    if control.is_none() {
        let _ = window_event_listener(ev::online, move |_| tell(Input::Online(true)));
        let _ = window_event_listener(ev::offline, move |_| tell(Input::Online(false)));
        Effect::new(move |before: Option<bool>| {
            let paused = store.paused.get();
            if before.is_some_and(|before| before != paused) {
                tell(if paused { Input::Pause } else { Input::Resume });
            }
            paused
        });
    }
    Effect::new(move |before: Option<u32>| {
        let retries = store.retries.get();
        if before.is_some() {
            tell(Input::RetryNow);
        }
        retries
    });
}

#[derive(Clone)]
pub(super) struct Driver(Rc<Inner>);

struct Inner {
    store: Store,
    source: Source,
    connection: RefCell<Connection>,
    /// Number of the link in use; what another one still has to say is not heard.
    link: Cell<u32>,
    /// Takes frames for the link in use. Dropping it closes the link.
    outgoing: RefCell<Option<Outgoing>>,
    /// An animation frame has been asked for.
    drawing: Cell<bool>,
    clock: Cell<Clock>,
}

/// The way to the other side.
pub(super) enum Outgoing {
    Socket(socket::Sender),
    Worker(WorkerLink),
}

/// How the data's time is known.
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// The server's is so many milliseconds ahead of the browser's, and goes on by itself.
    Ahead(i64),
    /// Virtual time, which passes only when a frame says so.
    Stands(Timestamp),
}

impl Driver {
    pub(super) fn store(&self) -> Store {
        self.0.store
    }

    fn is_linked(&self) -> bool {
        self.0.outgoing.borrow().is_some()
    }

    /// Does something with the worker, while there is one.
    pub(super) fn with_worker(&self, use_it: impl FnOnce(&WorkerLink)) {
        if let Some(Outgoing::Worker(worker)) = &*self.0.outgoing.borrow() {
            use_it(worker);
        }
    }

    fn input(&self, input: Input) {
        let inner = &self.0;
        if let Input::Frame(ServerFrame::Hello { timestamp, .. } | ServerFrame::Heartbeat { timestamp, .. }) = &input {
            if inner.source.is_worker() {
                inner.clock.set(Clock::Stands(*timestamp));
                self.move_clock();
            } else {
                inner.clock.set(Clock::Ahead(timestamp.ms_since(browser_now())));
            }
        }
        let closed = matches!(input, Input::Closed);
        if closed {
            inner.outgoing.borrow_mut().take();
        }
        let commands = inner.connection.borrow_mut().handle(input, browser_now());
        for command in commands {
            self.carry_out(command);
        }
        let (view, wants_draw) = {
            let connection = inner.connection.borrow();
            (self.shown(connection.view(browser_now())), connection.wants_draw())
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

    /// A worker has no connection that could be live or stale; it is there, or could not be started.
    fn shown(&self, view: ConnectionView) -> ConnectionView {
        if self.0.source.is_worker() && !view.status.is_lost() {
            ConnectionView { status: ConnectionStatus::None, ..ConnectionView::default() }
        } else {
            view
        }
    }

    fn carry_out(&self, command: Command) {
        let inner = &self.0;
        match command {
            Command::Open { resume } => self.open(resume),
            Command::Close => {
                inner.link.set(inner.link.get() + 1);
                inner.outgoing.borrow_mut().take();
            }
            Command::Send(frame) => self.send(frame),
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

    fn send(&self, frame: ClientFrame) {
        match &mut *self.0.outgoing.borrow_mut() {
            Some(Outgoing::Socket(socket)) => {
                let _ = socket.try_send(frame);
            }
            Some(Outgoing::Worker(worker)) => worker.client(frame),
            None => {}
        }
    }

    /// Moves the data's clock, on whole seconds, never before the newest event.
    fn move_clock(&self) {
        let store = self.0.store;
        let now = match self.0.clock.get() {
            Clock::Ahead(ms) => browser_now().plus_ms(ms).max(store.state.with_untracked(|state| state.at)),
            Clock::Stands(now) => now,
        };
        let now = now.floor_to(SECOND_MS);
        if store.now.get_untracked() != now {
            store.now.set(now);
        }
    }

    fn open(&self, resume: Option<(Epoch, Seq)>) {
        let inner = &self.0;
        let number = inner.link.get() + 1;
        inner.link.set(number);
        let driver = self.clone();
        let tell = move |input| {
            if driver.0.link.get() == number {
                driver.input(input);
            }
        };
        let outgoing = match &inner.source {
            Source::Server => Some(Outgoing::Socket(socket::open(resume, tell))),
            Source::Worker(control, script) => WorkerLink::open(*control, script, tell).map(Outgoing::Worker),
        };
        let failed = outgoing.is_none();
        *inner.outgoing.borrow_mut() = outgoing;
        if failed {
            // Said later, because the machine is still at the command before.
            let driver = self.clone();
            set_timeout(move || driver.input(Input::Closed), Duration::ZERO);
        }
    }
}

/// The build this page was served with.
fn build() -> Option<BuildId> {
    let meta = document().query_selector(&format!("meta[name={BUILD_META}]")).ok()??;
    meta.get_attribute("content").map(BuildId::new)
}

fn browser_now() -> Timestamp {
    #[allow(clippy::cast_possible_truncation)] // milliseconds since 1970 are far below 2^53
    Timestamp::from_unix_ms(js_sys::Date::now() as i64)
}
