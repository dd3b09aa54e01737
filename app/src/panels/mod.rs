//! The parts of a page: each turns the state into figures and shows them.
//!
//! A panel computes its figures in one plain function of (state, now) behind a [`Memo`]; the view
//! only picks texts out of it. What a figure means is decided in the core; here is only where it
//! stands and, for charts, at which pixel.

mod alerts;
mod context;
mod cost;
mod demo;
mod events;
mod health;
mod quota;
mod reading;
mod sessions;
mod tokens;
mod topbar;

use dashboard_core::event::SessionPhase;
use dashboard_core::format;
use dashboard_core::ids::{ModelId, SessionId};
use dashboard_core::level::Level;
use dashboard_core::state::{DashboardState, Mode, Session};
use dashboard_core::time::Timestamp;
use leptos::prelude::*;

use crate::feed::Store;
use crate::ui::{Derived, Icon, LevelIcon, Rows, calc};

pub(crate) use alerts::{AlertsPanel, Announcer, open_alerts};
pub(crate) use context::ContextPanel;
pub(crate) use cost::CostPanel;
pub(crate) use demo::{DemoBanner, DemoPanel};
pub(crate) use events::EventsPanel;
pub(crate) use health::{HealthPanel, part_name};
pub(crate) use quota::QuotaPanel;
pub(crate) use reading::{ReadingBar, reading};
pub(crate) use sessions::SessionsPanel;
pub(crate) use tokens::TokensPanel;
pub(crate) use topbar::{OutdatedBanner, TopBar, toggle_pause};

/// A panel's figures: computed anew when the state or the clock changes, passed on only if different.
pub(crate) fn figures<V: PartialEq + Send + Sync + 'static>(
    of: impl Fn(&DashboardState, Timestamp) -> V + Send + Sync + 'static,
) -> Derived<V> {
    let store = expect_context::<Store>();
    Derived::new(move || store.state.with(|state| of(state, store.now.get())))
}

/// A chart's table: made only when it is read, so only while it is open.
pub(crate) fn table(of: impl Fn(&DashboardState, Timestamp) -> Rows + Send + Sync + 'static) -> Signal<Rows> {
    let store = expect_context::<Store>();
    calc(move || store.state.with(|state| of(state, store.now.get())))
}

/// The figures of one session; `None` while it is not known.
pub(crate) fn session_figures<V: PartialEq + Send + Sync + 'static>(
    of: Signal<Option<SessionId>>,
    figures: impl Fn(&DashboardState, &Session, Timestamp) -> V + Send + Sync + 'static,
) -> Derived<Option<V>> {
    let store = expect_context::<Store>();
    Derived::new(move || {
        store.state.with(|state| {
            let session = of.with(|id| id.as_ref().and_then(|id| state.sessions.get(id)))?;
            Some(figures(state, session, store.now.get()))
        })
    })
}

/// Where the page's events come from. The demo says so before its first one.
pub(crate) fn mode() -> Derived<Mode> {
    let store = expect_context::<Store>();
    figures(move |state, _| if store.demo.is_some() { Mode::Demo } else { state.mode })
}

/// The session that Context and Tokens show.
pub(crate) fn focus() -> Signal<Option<SessionId>> {
    let store = expect_context::<Store>();
    let focus = Derived::new(move || {
        store.picked.with(|picked| store.state.with(|state| state.focus(picked.as_ref()).map(|s| s.id.clone())))
    });
    focus.signal()
}

/// The colour of a model: by family, where it has one.
pub(crate) fn model_family(model: Option<&ModelId>) -> &'static str {
    let id = model.map(ModelId::as_str).unwrap_or_default();
    ["opus", "sonnet", "haiku"].into_iter().find(|family| id.contains(family)).unwrap_or_default()
}

/// A model's name for people.
pub(crate) fn model_name(model: Option<&ModelId>) -> String {
    model.map_or_else(|| format::UNKNOWN.to_owned(), |model| format::model(model.as_str()))
}

/// What a session is doing: shape, word, colour.
pub(crate) fn phase_mark(phase: SessionPhase) -> AnyView {
    let (key, mark) = match phase {
        SessionPhase::Working => ("working", view! { <i class="ring"></i> }.into_any()),
        SessionPhase::NeedsYou => ("needs_you", view! { <LevelIcon level=Level::Warning /> }.into_any()),
        SessionPhase::Blocked => ("blocked", view! { <LevelIcon level=Level::Critical /> }.into_any()),
        SessionPhase::Idle => ("idle", view! { <i class="ring open"></i> }.into_any()),
        SessionPhase::Ended => ("ended", view! { <Icon name="check" /> }.into_any()),
    };
    view! { <span class="state" data-state=key>{mark}{format::phase(phase)}</span> }.into_any()
}

/// A dot in the model's colour, and its name.
pub(crate) fn model_mark(family: &'static str, name: String) -> AnyView {
    let title = name.clone();
    view! {
        <span class="model" title=title>
            <i class="swatch dot" data-model=family></i>
            <span class="model-name">{name}</span>
        </span>
    }
    .into_any()
}
