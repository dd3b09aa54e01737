//! The live page: will I be blocked, when will the context compact, what does it cost.

use leptos::prelude::*;

use crate::feed::Store;
use crate::head::set_title;
use crate::panels::{
    AlertsPanel, ContextPanel, CostPanel, DemoPanel, EventsPanel, HealthPanel, QuotaPanel, SessionsPanel, TokensPanel,
    focus,
};
use crate::ui::calc;

/// The page at `/`.
#[component]
pub(crate) fn LivePage() -> impl IntoView {
    let store = expect_context::<Store>();
    let focus = focus();
    set_title(Signal::stored("Live – Dashboard".to_owned()));
    view! {
        <main id="main" tabindex="-1">
            <h1 class="vh">"Live"</h1>
            <DemoPanel />
            <div class="live" class:skeleton=calc(move || !store.ready.get())>
                <QuotaPanel />
                <ContextPanel of=focus picker=true />
                <TokensPanel of=focus />
                <CostPanel />
                <SessionsPanel />
                <AlertsPanel />
                <EventsPanel />
                <HealthPanel />
            </div>
        </main>
    }
}
