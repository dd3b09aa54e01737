//! The Leptos application: what a person sees.
//!
//! One tree of components for two lives: rendered to HTML by the server (`ssr`), and mounted in the browser (`csr`) in
//! the place of that HTML. It reads one [`feed::Store`], whoever fills it, and never computes a figure: that is the
//! core's.

// What the `component` macro makes is `pub`, whatever was written.
#![allow(unreachable_pub)]

#[cfg(target_arch = "wasm32")]
mod api;
pub mod feed;
mod head;
mod notice;
mod pages;
mod panels;
mod site;
mod theme;
mod ui;

use leptos::ev;
use leptos::prelude::*;
use leptos_router::components::{FlatRoutes, Route, Router};
use leptos_router::path;

use crate::feed::Store;
use crate::head::{Root, set_attribute};
use crate::pages::{HealthReportPage, HistoryPage, LivePage, NotFoundPage, SessionPage, SessionsPage, SettingsPage};
use crate::panels::{Announcer, DemoBanner, OutdatedBanner, ReadingBar, TopBar, mode, reading, toggle_pause};
use crate::site::Site;
use crate::theme::Theme;
use crate::ui::{Sprite, calc};

#[cfg(feature = "ssr")]
pub mod document;

/// Paths of the pages, as axum's router writes them; [`App`] has a route for each.
pub const ROUTES: [&str; 6] = ["/", "/sessions", "/sessions/{id}", "/history", "/health-report", "/settings"];

/// The page's body.
#[component]
pub fn App() -> impl IntoView {
    let site = Site::provide();
    let store = feed::start(&site);
    let theme = Theme::provide();
    listen_to_keys(store, theme);
    let mode = mode();
    set_attribute(Root::Document, "data-theme", calc(move || theme.get().attribute()));
    set_attribute(
        Root::Body,
        "data-connection",
        calc(move || store.connection.with(|view| Some(view.status.as_str()))),
    );
    set_attribute(Root::Body, "data-mode", calc(move || Some(mode.get().as_str())));
    let progress = reading();
    let history = move || match (store.ready.get(), progress.with(Option::is_some)) {
        (false, _) | (true, true) => "reading",
        (true, false) => "complete",
    };
    set_attribute(Root::Body, "data-history", calc(move || Some(history())));
    set_attribute(Root::Body, "aria-busy", calc(move || (!store.ready.get()).then_some("true")));
    view! {
        // Left to the browser, which moves the focus as well.
        <a class="skip" href="#main" rel="external">"Skip to content"</a>
        <Sprite />
        <Router base=site.base()>
            <TopBar />
            <DemoBanner />
            <OutdatedBanner />
            <ReadingBar />
            <FlatRoutes fallback=NotFoundPage>
                <Route path=path!("/") view=LivePage />
                <Route path=path!("/sessions") view=SessionsPage />
                <Route path=path!("/sessions/:id") view=SessionPage />
                <Route path=path!("/history") view=HistoryPage />
                <Route path=path!("/health-report") view=HealthReportPage />
                <Route path=path!("/settings") view=SettingsPage />
            </FlatRoutes>
        </Router>
        <Announcer />
    }
}

/// P pauses, T changes the theme; not while typing, and not with a modifier.
fn listen_to_keys(store: Store, theme: RwSignal<Theme>) {
    Effect::new(move |_: Option<()>| {
        let handle = window_event_listener(ev::keydown, move |ev| {
            let plain = !(ev.ctrl_key() || ev.meta_key() || ev.alt_key() || ev.repeat());
            match ev.key().as_str() {
                "p" | "P" if plain && !is_typing(&ev) => toggle_pause(store),
                "t" | "T" if plain && !is_typing(&ev) => theme.update(|theme| *theme = theme.next()),
                _ => {}
            }
        });
        on_cleanup(move || handle.remove());
    });
}

/// Whether the key goes to a field.
fn is_typing(ev: &ev::KeyboardEvent) -> bool {
    use leptos::wasm_bindgen::JsCast;
    let element = ev.target().and_then(|target| target.dyn_into::<leptos::web_sys::Element>().ok());
    element.is_some_and(|element| matches!(element.tag_name().as_str(), "INPUT" | "SELECT" | "TEXTAREA"))
}
