//! What a route shows, made of panels. Every page has one `main` and one `h1`.

mod health_report;
mod history;
mod live;
mod not_found;
mod session;
mod sessions;
mod settings;

pub(crate) use health_report::HealthReportPage;
pub(crate) use history::HistoryPage;
pub(crate) use live::LivePage;
pub(crate) use not_found::NotFoundPage;
pub(crate) use session::SessionPage;
pub(crate) use sessions::SessionsPage;
pub(crate) use settings::SettingsPage;

use leptos::prelude::*;

use crate::head::set_title;
use crate::ui::calc;

/// The frame of a secondary page: its name, one line about it, and its cards.
#[component]
fn Page(#[prop(into)] title: Signal<String>, #[prop(into)] about: Signal<String>, children: Children) -> impl IntoView {
    set_title(calc(move || format!("{} – Dashboard", title.get())));
    view! {
        <main id="main" class="page" tabindex="-1">
            <div class="page-head">
                <h1>{title}</h1>
                <p>{about}</p>
            </div>
            {children()}
        </main>
    }
    .into_any()
}

/// A card with a title and something beside it.
#[component]
fn Section(
    id: &'static str,
    title: &'static str,
    #[prop(into)] about: Signal<String>,
    children: Children,
) -> impl IntoView {
    view! {
        <section class="card" aria-labelledby=id>
            <header class="card-head">
                <h2 class="card-title" id=id>{title}</h2>
                <span class="card-sub">{about}</span>
            </header>
            {children()}
        </section>
    }
    .into_any()
}
