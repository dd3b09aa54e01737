//! Where the page's figures come from, and the one place they are kept.
//!
//! The page has one door: frames of the protocol come in, are folded into [`Store::state`] and move [`Store::now`]
//! ([`driver`]). They come from the server over a WebSocket ([`socket`]) or from the page's worker, which simulates
//! ([`worker`]). Which one is decided once, by the address; neither ever stands in for the other. Views read the store's
//! signals and say what the user wants by setting them; they do not know where frames come from.

#[cfg(target_arch = "wasm32")]
mod driver;
#[cfg(target_arch = "wasm32")]
mod socket;
#[cfg(target_arch = "wasm32")]
mod worker;

use std::str::FromStr;
use std::sync::Arc;

use dashboard_core::connection::{ConnectionStatus, ConnectionView};
use dashboard_core::ids::SessionId;
use dashboard_core::protocol::Boot;
use dashboard_core::simulator::Scenario;
use dashboard_core::state::DashboardState;
use dashboard_core::time::Timestamp;
use leptos::prelude::*;

use crate::site::Site;

/// What the server rendered the page from; provided by it as context, `None` for a skeleton.
#[derive(Clone, Debug)]
pub struct ServerBoot(pub Option<Arc<Boot>>);

/// The page's data. A handful of signals, so it is `Copy`; views find it by [`expect_context`].
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// What the page shows.
    pub state: RwSignal<DashboardState>,
    /// Whether `state` is there yet; until then views show their skeleton.
    pub ready: RwSignal<bool>,
    /// The data's clock: the server's, or virtual. Moves at least once a second, on whole seconds.
    pub now: RwSignal<Timestamp>,
    /// The connection, for the pill.
    pub connection: RwSignal<ConnectionView>,
    /// The session the user picked; none means the one with the newest line.
    pub picked: RwSignal<Option<SessionId>>,
    /// Whether the user wants no updates. Set by [`Store::pause`] and [`Store::resume`].
    pub paused: RwSignal<bool>,
    /// The demo's controls; `None` on a live page.
    pub demo: Option<DemoControl>,
    /// Counts the user's wishes to reconnect now.
    pub(crate) retries: RwSignal<u32>,
}

/// What the user can set in the demo. Whether it plays is [`Store::paused`].
#[derive(Clone, Copy, Debug)]
pub struct DemoControl {
    /// The story told.
    pub scenario: RwSignal<Scenario>,
    /// What its chance depends on.
    pub seed: RwSignal<u64>,
    /// Virtual seconds per second; one of [`DemoControl::SPEEDS`].
    pub speed: RwSignal<u32>,
}

impl DemoControl {
    /// The speeds offered.
    pub const SPEEDS: [u32; 4] = [1, 10, 60, 600];
    /// The seed of a link without one.
    pub const DEFAULT_SEED: u64 = 4217;

    /// What the address asks for; what it leaves out or misspells is as usual.
    fn of_query(query: &str) -> Self {
        let speed = parameter(query, "speed").filter(|speed| Self::SPEEDS.contains(speed));
        Self {
            scenario: RwSignal::new(parameter(query, "scenario").unwrap_or_default()),
            seed: RwSignal::new(parameter(query, "seed").unwrap_or(Self::DEFAULT_SEED)),
            speed: RwSignal::new(speed.unwrap_or(Self::SPEEDS[0])),
        }
    }
}

/// A parameter of a query such as `?demo&seed=7`, if it is there and can be read.
fn parameter<T: FromStr>(query: &str, name: &str) -> Option<T> {
    let mut pairs = query.trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name)?.1.parse().ok()
}

/// Whether the address asks for the demo.
fn wants_demo(query: &str) -> bool {
    query.trim_start_matches('?').split('&').any(|pair| pair == "demo" || pair.starts_with("demo="))
}

/// Starts the feed the address asks for; the static site has nothing but the demo. Called once, by the page.
pub(crate) fn start(site: &Site) -> Store {
    let query = query();
    let demo = (site.is_static() || wants_demo(&query)).then(|| DemoControl::of_query(&query));
    let boot = if demo.is_some() { None } else { boot() };
    let store = Store::provide(boot.as_deref(), demo);
    #[cfg(target_arch = "wasm32")]
    {
        let source =
            demo.map_or(driver::Source::Server, |control| driver::Source::Worker(control, worker::Script::of(site)));
        driver::run(store, source, boot.map(|boot| (boot.epoch.clone(), boot.state.seq)));
    }
    store
}

/// The state the server renders the page from.
#[cfg(not(target_arch = "wasm32"))]
fn boot() -> Option<Arc<Boot>> {
    use_context::<ServerBoot>().and_then(|boot| boot.0)
}

/// The state the server rendered the page from.
#[cfg(target_arch = "wasm32")]
fn boot() -> Option<Arc<Boot>> {
    let text = document().get_element_by_id("boot")?.text_content()?;
    serde_json::from_str(&text).map(Arc::new).ok()
}

/// A frame from the other side.
#[cfg(target_arch = "wasm32")]
fn read(text: &str) -> dashboard_core::connection::Input {
    use dashboard_core::connection::Input;
    serde_json::from_str(text).map_or(Input::Unreadable, Input::Frame)
}

#[cfg(not(target_arch = "wasm32"))]
fn query() -> String {
    let url = use_context::<leptos_router::location::RequestUrl>();
    let query = url.as_ref().and_then(|url| url.as_ref().split_once('?')).map(|(_, query)| query);
    query.unwrap_or_default().to_owned()
}

#[cfg(target_arch = "wasm32")]
fn query() -> String {
    location().search().unwrap_or_default()
}

impl Store {
    /// A store for the page at hand: live from `boot`, or a demo. Provides itself as context.
    pub fn provide(boot: Option<&Boot>, demo: Option<DemoControl>) -> Self {
        let status = if demo.is_some() { ConnectionStatus::None } else { ConnectionStatus::Connecting };
        let store = Self {
            state: RwSignal::new(boot.map(|boot| boot.state.clone()).unwrap_or_default()),
            ready: RwSignal::new(boot.is_some()),
            now: RwSignal::new(boot.map(|boot| boot.now).unwrap_or_default()),
            connection: RwSignal::new(ConnectionView { status, ..ConnectionView::default() }),
            picked: RwSignal::new(None),
            paused: RwSignal::new(false),
            demo,
            retries: RwSignal::new(0),
        };
        provide_context(store);
        store
    }

    /// Stops updates: nothing changes until [`Store::resume`].
    pub fn pause(&self) {
        self.paused.set(true);
    }

    /// Lets updates in again, beginning with what was missed.
    pub fn resume(&self) {
        self.paused.set(false);
    }

    /// Reconnects now instead of waiting for the next attempt.
    pub fn retry(&self) {
        self.retries.update(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_chooses_the_demo_and_its_settings() {
        for (query, demo) in
            [("", false), ("?x=demo", false), ("?demo", true), ("demo&seed=1", true), ("?demo=1", true)]
        {
            assert_eq!(wants_demo(query), demo, "{query}");
        }
        let query = "?demo&scenario=agent-swarm&seed=99&speed=600";
        assert_eq!(parameter(query, "scenario"), Some(Scenario::AgentSwarm));
        assert_eq!(parameter(query, "seed"), Some(99_u64));
        assert_eq!(parameter::<u64>("?seed=x", "seed"), None);
    }
}
