//! A dashboard on a free port, and a page that talks to it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use dashboard_core::event::{Seq, SequencedEvent};
use dashboard_core::ids::Epoch;
use dashboard_core::protocol::ServerFrame;
use dashboard_core::simulator::Scenario;
use dashboard_core::state::DashboardState;
use futures_util::{SinkExt, StreamExt};
use server::http::Access;
use server::manager::{Settings, Source};
use server::prices::Prices;
use server::settings::SettingsSource;
use server::source::roots::{self, ConfiguredRoots, Environment};
use server::zone::ChosenZone;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Long enough for the slowest machine; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `future`, or a failed test.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A running dashboard.
pub struct TestDashboard {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl TestDashboard {
    /// The simulator, fast enough that something happens all the time.
    pub async fn simulation() -> Self {
        let source = Source::Simulation { scenario: Scenario::AgentSwarm, seed: 1, speed: 60.0 };
        Self::start(source, None).await
    }

    /// The transcripts below `dir`.
    pub async fn live(dir: &Path) -> Self {
        let roots = roots::find(&ConfiguredRoots::new(&[dir.to_owned()], None), &Environment::default());
        Self::start(Source::Live { roots, plan: None, history: None }, None).await
    }

    pub async fn start(source: Source, token: Option<&str>) -> Self {
        Self::start_with(source, token, SettingsSource::default()).await
    }

    pub async fn start_with(source: Source, token: Option<&str>, user: SettingsSource) -> Self {
        let access = Access::new("127.0.0.1", token.map(|token| token.parse().unwrap())).unwrap();
        let prices = Prices::embedded();
        let settings = Settings { access, zone: ChosenZone::utc(), prices, source, user };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server::run(listener, settings, async {
            let _ = stopped.await;
        }));
        Self { address, stop, running }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        soon("stopping", self.running).await.unwrap().unwrap();
    }

    /// A page that has just connected, with what it had before.
    pub async fn page(&self, resume: Option<(&Epoch, Seq)>) -> Page {
        let query = resume.map_or_else(String::new, |(epoch, seq)| format!("?epoch={epoch}&seq={}", seq.0));
        let mut request = format!("ws://{}/ws{query}", self.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "dashboard.v1".parse().unwrap());
        let (socket, response) = soon("connecting", tokio_tungstenite::connect_async(request)).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "dashboard.v1");
        let mut page = Page { socket, epoch: Epoch::from(""), state: DashboardState::default(), events: Vec::new() };
        let ServerFrame::Hello { epoch, .. } = page.frame().await else { panic!("the first frame is no hello") };
        page.epoch = epoch;
        page
    }
}

/// A page: folds what it gets, and insists that nothing is skipped or repeated.
pub struct Page {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub epoch: Epoch,
    pub state: DashboardState,
    pub events: Vec<SequencedEvent>,
}

impl Page {
    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next frame, as it is.
    pub async fn frame(&mut self) -> ServerFrame {
        loop {
            match soon("a frame", self.socket.next()).await.expect("the connection ended").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a frame: {other:?}"),
            }
        }
    }

    /// Takes the next frame.
    pub async fn step(&mut self) -> ServerFrame {
        let frame = self.frame().await;
        match &frame {
            ServerFrame::Snapshot { epoch, seq, state } => {
                assert_eq!((epoch, *seq), (&self.epoch, state.seq));
                self.state = (**state).clone();
            }
            ServerFrame::Events { from, to, events } => {
                assert_eq!(*from, self.state.seq.next(), "no gap, no repetition");
                for event in events {
                    assert_eq!(event.seq, self.state.seq.next());
                    self.state.apply(event);
                }
                assert_eq!(*to, self.state.seq);
                self.events.extend(events.iter().cloned());
            }
            ServerFrame::Heartbeat { seq, .. } => assert_eq!(*seq, self.state.seq),
            ServerFrame::Hello { .. } | ServerFrame::Error { .. } => {}
        }
        frame
    }

    /// Goes on until the state is as wanted.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&DashboardState) -> bool) {
        soon(what, async {
            while !wanted(&self.state) {
                self.step().await;
            }
        })
        .await;
    }

    /// The code with which the server closes.
    pub async fn close_code(&mut self) -> Option<u16> {
        soon("closing", async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | None => return None,
                    Some(Err(error)) => panic!("{error}"),
                }
            }
        })
        .await
    }
}
