//! The top bar: where one is, whether the figures are live, and the few controls of the whole page.

use dashboard_core::connection::{ConnectionStatus, ConnectionView};
use dashboard_core::format;
use leptos::prelude::*;
use leptos_router::components::A;
use leptos_router::hooks::use_location;

use super::{figures, mode, open_alerts};
use crate::feed::Store;
use crate::site::Site;
use crate::theme::Theme;
use crate::ui::{Derived, Icon, calc, dynamic};

/// The bar.
#[component]
pub(crate) fn TopBar() -> impl IntoView {
    let site = expect_context::<Site>();
    let active = figures(|state, now| state.session_totals(now).active);
    let pathname = use_location().pathname;
    let page = {
        let site = site.clone();
        calc(move || pathname.with(|path| page_name(&site, path)))
    };
    let link = |path: &'static str, icon: &'static str, name: &'static str| {
        view! {
            <A href=site.href(path) exact=path == "/" attr:class=(path == "/settings").then_some("nav-settings")>
                <Icon name=icon />
                <span>{name}</span>
                {(path == "/sessions").then(|| view! { <span class="count">{active.pick(ToString::to_string)}</span> })}
            </A>
        }
    };
    view! {
        <header class="topbar">
            <a class="brand" href=site.href("/") aria-label="Dashboard, live">
                <span class="mark"><Icon name="gauge" /></span>
                <span class="brand-name">"Dashboard"</span>
                <span class="brand-page" aria-hidden="true">{page}</span>
            </a>
            <nav class="nav" aria-label="Main">
                {link("/", "pulse", "Live")}
                {link("/sessions", "list", "Sessions")}
                {link("/history", "calendar", "History")}
                {link("/health-report", "shield", "Health")}
                {link("/settings", "gear", "Settings")}
            </nav>
            <div class="topbar-tools">
                {bell(&site.href("/"))}
                {mode_badge()}
                {pill()}
                {pause_button()}
                {theme_button()}
            </div>
        </header>
    }
    .into_any()
}

/// What a narrow screen shows instead of the brand.
fn page_name(site: &Site, path: &str) -> &'static str {
    let route = path.strip_prefix(&site.base()).unwrap_or(path).trim_matches('/');
    match route.split('/').next().unwrap_or_default() {
        "" => "Live",
        "sessions" => "Sessions",
        "history" => "History",
        "health-report" => "Health",
        "settings" => "Settings",
        _ => "Dashboard",
    }
}

fn bell(live: &str) -> AnyView {
    let alerts = open_alerts();
    let count = alerts.pick(Vec::len);
    let worst = alerts.pick(|all| all.first().map(|alert| alert.level.as_str()));
    let label = calc(move || match count.get() {
        0 => "No alerts".to_owned(),
        1 => "1 alert".to_owned(),
        n => format!("{n} alerts"),
    });
    view! {
        <a class="icon-btn" href=format!("{live}#alerts") aria-label=label>
            <Icon name="bell" />
            {dynamic(move || (count.get() > 0).then(|| view! {
                <span class="badge" data-level=worst aria-hidden="true">{count}</span>
            }))}
        </a>
    }
    .into_any()
}

fn mode_badge() -> AnyView {
    let mode = mode();
    let mode = calc(move || mode.get().as_str());
    view! { <span class="mode" data-mode=mode data-metric="mode" data-value=mode>{mode}</span> }.into_any()
}

/// What the pill says, and how it looks.
#[derive(Clone, Debug, PartialEq)]
struct PillText {
    state: &'static str,
    icon: &'static str,
    words: String,
    /// Ticks by itself; its width must not move the bar.
    age: String,
}

fn pill_text(view: &ConnectionView, simulated: bool, speed: Option<u32>) -> PillText {
    let silent_ms = view.silent_ms.unwrap_or_default();
    let (state, icon, words, age) = match view.status {
        ConnectionStatus::Connecting => ("connecting", "", "Connecting".to_owned(), String::new()),
        ConnectionStatus::Live if simulated => ("simulated", "flask", "Simulated".to_owned(), String::new()),
        ConnectionStatus::Live => ("live", "pulse", "Live · ".to_owned(), format::age(silent_ms)),
        ConnectionStatus::Stale => ("stale", "clock", "Stale · ".to_owned(), format::span(silent_ms)),
        ConnectionStatus::Reconnecting => match view.retry_in_ms {
            // Rounded up, so that it never says 0 s while waiting.
            Some(ms) => ("reconnecting", "ring", "Reconnecting in ".to_owned(), format::span(ms + 999)),
            None => ("reconnecting", "ring", "Reconnecting".to_owned(), String::new()),
        },
        ConnectionStatus::Offline => ("offline", "offline", "Offline".to_owned(), String::new()),
        ConnectionStatus::Paused => {
            ("paused", "pause", format!("Paused · {} waiting", format::exact(view.waiting)), String::new())
        }
        ConnectionStatus::Outdated => ("outdated", "clock", "Outdated".to_owned(), String::new()),
        ConnectionStatus::None => {
            let speed = speed.map_or_else(String::new, |speed| format!(" · ×{speed}"));
            ("simulated", "flask", format!("Simulated{speed}"), String::new())
        }
    };
    PillText { state, icon, words, age }
}

fn pill() -> AnyView {
    let store = expect_context::<Store>();
    let mode = mode();
    let text = Derived::new(move || {
        let speed = store.demo.map(|demo| demo.speed.get());
        store.connection.with(|view| pill_text(view, mode.get().is_simulated(), speed))
    });
    // One ring per change of the state: the two values restart the animation.
    let beat = Derived::after(move |before: Option<&&'static str>| {
        store.state.track();
        if before == Some(&"0") { "1" } else { "0" }
    });
    let icon = Derived::new(move || text.with(|text| text.icon));
    let mark = move || match icon.get() {
        "pulse" => view! { <i class="pulse" data-beat=beat.signal()></i> }.into_any(),
        "ring" => view! { <i class="ring spin"></i> }.into_any(),
        "" => view! { <i class="ring"></i> }.into_any(),
        icon => view! { <Icon name=icon /> }.into_any(),
    };
    let status = Derived::new(move || store.connection.with(|view| view.status));
    let lost = move || status.get().is_lost();
    view! {
        <span
            class="pill"
            data-state=text.pick(|text| text.state)
            data-metric="connection"
            data-value=calc(move || status.get().as_str())
        >
            {dynamic(mark)}
            <span>
                {text.pick(|text| text.words.clone())}
                <span class="pill-age" hidden=text.pick(|text| text.age.is_empty())>{text.pick(|text| text.age.clone())}</span>
            </span>
        </span>
        {dynamic(move || lost().then(|| view! {
            <button class="icon-btn" type="button" aria-label="Reconnect now" on:click=move |_| store.retry()>
                <Icon name="reset" />
            </button>
        }))}
    }
    .into_any()
}

fn pause_button() -> AnyView {
    let store = expect_context::<Store>();
    let paused = store.paused;
    view! {
        <button
            class="icon-btn"
            type="button"
            aria-keyshortcuts="p"
            title=calc(move || if paused.get() { "Resume (P)" } else { "Pause (P)" })
            aria-label=calc(move || if paused.get() { "Resume" } else { "Pause" })
            on:click=move |_| toggle_pause(store)
        >
            <Icon name=calc(move || if paused.get() { "play" } else { "pause" }) />
        </button>
    }
    .into_any()
}

/// Over every page: the server was replaced by another build, and what it says may be shown wrong or not at all.
#[component]
pub(crate) fn OutdatedBanner() -> impl IntoView {
    let store = expect_context::<Store>();
    let outdated = Derived::new(move || store.connection.with(|view| view.outdated));
    let reload = |_| {
        #[cfg(target_arch = "wasm32")]
        drop(location().reload());
    };
    dynamic(move || {
        outdated.get().then(|| {
            view! {
                <div class="outdated-banner" role="alert">
                    <Icon name="reset" />
                    <p>"The dashboard was updated, and this page is still the old one. Reload it to see everything."</p>
                    <button class="btn" type="button" on:click=reload>"Reload"</button>
                </div>
            }
        })
    })
    .into_any()
}

/// Stops updates, or lets them in again.
pub(crate) fn toggle_pause(store: Store) {
    if store.paused.get_untracked() {
        store.resume();
    } else {
        store.pause();
    }
}

fn theme_button() -> AnyView {
    let theme = expect_context::<RwSignal<Theme>>();
    let icon = calc(move || match theme.get() {
        Theme::System => "contrast",
        Theme::Light => "sun",
        Theme::Dark => "moon",
    });
    let label = calc(move || format!("Theme: {}", theme.get().as_str()));
    view! {
        <button
            class="icon-btn theme-btn"
            type="button"
            aria-keyshortcuts="t"
            title=calc(move || format!("{} (T)", label.get()))
            aria-label=label
            on:click=move |_| theme.update(|theme| *theme = theme.next())
        >
            <Icon name=icon />
        </button>
    }
    .into_any()
}
