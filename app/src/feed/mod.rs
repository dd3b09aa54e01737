//! Where the page's figures come from, and the one place they are kept.
//!
//! A feed turns what it receives into events, folds them into [`Store::state`] and moves
//! [`Store::now`]: [`live`] from the server over a WebSocket, [`demo`] from the simulator inside the
//! page. Which one runs is decided once, by the address; neither ever stands in for the other. Views
//! read the store's signals and say what the user wants by setting them; they do not know the feed.

use std::sync::Arc;

use dashboard_core::connection::{ConnectionStatus, ConnectionView};
use dashboard_core::ids::SessionId;
use dashboard_core::protocol::Boot;
use dashboard_core::simulator::Scenario;
use dashboard_core::state::DashboardState;
use dashboard_core::time::Timestamp;
use leptos::prelude::*;

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

/// The store of the page at hand, beginning with what the server rendered.
pub(crate) fn start() -> Store {
    Store::provide(boot().as_deref(), None)
}

#[cfg(not(target_arch = "wasm32"))]
fn boot() -> Option<Arc<Boot>> {
    use_context::<ServerBoot>()?.0
}

/// What the server wrote into the document; the first render in the browser must equal the server's.
#[cfg(target_arch = "wasm32")]
fn boot() -> Option<Arc<Boot>> {
    let json = document().get_element_by_id("boot")?.text_content()?;
    serde_json::from_str(&json).ok().map(Arc::new)
}
