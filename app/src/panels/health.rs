//! Health: the parts of the dashboard, and what became of every line it read.

use dashboard_core::event::{ComponentHealth, HealthCheck, IngestUpdate};
use leptos::prelude::*;

use super::figures;
use crate::site::Site;
use crate::ui::{Figure, LevelIcon, Verdict, calc, dynamic, metric};

/// The strip at the foot of the page.
#[component]
pub(crate) fn HealthPanel() -> impl IntoView {
    let health = figures(|state, _| state.health.clone());
    let level = calc(move || health.with(|h| Some(h.status.level())));
    let summary = calc(move || {
        let (healthy, all) = health.with(HealthCheck::healthy_count);
        format!("{healthy} of {all} healthy")
    });
    let part = |(name, part): (&String, &ComponentHealth)| {
        let level = part.status.level();
        view! {
            <li data-level=level.as_str()>
                <LevelIcon level />
                <b>{part_name(name)}</b>
                <span class="clip" title=part.message.clone()>{part.message.clone()}</span>
            </li>
        }
    };
    view! {
        <section class="card health" aria-labelledby="h-health">
            <h2 class="card-title" id="h-health">"Health"</h2>
            <Verdict level text=summary />
            <ul class="components">
                {dynamic(move || health.with(|h| h.components.iter().map(part).collect_view()))}
            </ul>
            {audit()}
        </section>
    }
    .into_any()
}

/// A part's name for people: `quota_tracker` is "Quota tracker".
pub(crate) fn part_name(name: &str) -> String {
    if name == "websocket" {
        return "WebSocket".to_owned();
    }
    let mut letters = name.chars().map(|letter| if letter == '_' { ' ' } else { letter });
    letters.next().into_iter().map(|first| first.to_ascii_uppercase()).chain(letters).collect()
}

/// What was read and what became of it. Refused lines lead to their list.
fn audit() -> AnyView {
    let href = expect_context::<Site>().href("/health-report");
    let ingest = figures(|state, _| state.ingest.clone());
    let count = move |of: fn(&IngestUpdate) -> u64| calc(move || Figure::exact(ingest.with(of)));
    let clients = figures(|state, _| Figure::exact(state.health.clients));
    let rejected = move || {
        let figure = metric("ingest.rejected_lines", count(|i| i.rejected_lines));
        let some = ingest.with(|i| i.rejected_lines > 0);
        if some { view! { <a href=href.clone()>{figure}</a> }.into_any() } else { figure }
    };
    view! {
        <dl class="audit">
            <div><dt>{clients.pick(|figure| if figure.raw == "1" { "page" } else { "pages" })}</dt><dd>{metric("clients", clients.signal())}</dd></div>
            <div><dt>"lines"</dt><dd>{metric("ingest.lines", count(|i| i.lines))}</dd></div>
            <div><dt>"responses"</dt><dd>{metric("ingest.responses", count(|i| i.responses))}</dd></div>
            <div><dt>"rejected"</dt><dd>{rejected}</dd></div>
            <div><dt>"unpriced"</dt><dd>{metric("ingest.unpriced", count(|i| i.unpriced))}</dd></div>
        </dl>
    }
    .into_any()
}
