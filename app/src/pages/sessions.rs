//! All sessions the page knows: active ones and those ended today.

use dashboard_core::format;
use dashboard_core::ids::SessionId;
use dashboard_core::state::{DashboardState, Session};
use dashboard_core::time::Timestamp;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use super::session::SessionFigures;
use super::{Page, Section};
use crate::panels::{figures, model_family, model_mark, model_name, phase_mark};
use crate::site::Site;
use crate::ui::{Derived, calc, dynamic};

/// The page at `/sessions`; on the static site also a session's own, by `?id=`.
#[component]
pub(crate) fn SessionsPage() -> impl IntoView {
    let query = use_query_map();
    let id = Derived::new(move || query.with(|query| query.get("id")));
    move || match id.get() {
        Some(id) => view! { <SessionFigures id=SessionId::new(id) /> }.into_any(),
        None => index(),
    }
}

fn index() -> AnyView {
    let site = expect_context::<Site>();
    let rows = figures(move |state, now| {
        let mut sessions = state.sessions_by_tokens(true);
        sessions.extend(state.sessions_by_tokens(false));
        sessions.iter().map(|session| (row(state, session, now), site.session(&session.id))).collect::<Vec<_>>()
    });
    let count = calc(move || format!("{} known: active, and ended today", rows.with(Vec::len)));
    view! {
        <Page title="Sessions" about=count>
            <Section id="h-all" title="Sessions" about="most tokens first">
                <div class="table-wrap" tabindex="0" role="group" aria-label="Sessions">
                    <table class="table">
                        <caption class="vh">"Sessions"</caption>
                        <thead>
                            <tr>
                                <th scope="col">"Project"</th>
                                <th scope="col">"Branch"</th>
                                <th scope="col">"State"</th>
                                <th scope="col">"Model"</th>
                                <th scope="col">"Started"</th>
                                <th scope="col" class="n">"Duration"</th>
                                <th scope="col" class="n">"Responses"</th>
                                <th scope="col" class="n" aria-sort="descending">"Tokens"</th>
                                <th scope="col" class="n">"Cost"</th>
                            </tr>
                        </thead>
                        <tbody>{dynamic(move || rows.with(|rows| rows.iter().cloned().map(view_row).collect_view()))}</tbody>
                    </table>
                </div>
            </Section>
        </Page>
    }
    .into_any()
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    project: String,
    branch: String,
    phase: dashboard_core::event::SessionPhase,
    family: &'static str,
    model: String,
    /// Started, duration, responses, tokens, cost.
    cells: [String; 5],
}

fn row(state: &DashboardState, session: &Session, now: Timestamp) -> Row {
    let zone = &state.zone;
    Row {
        project: state.project_label(session),
        branch: format::with_tool(session.tool, session.branch.clone().unwrap_or_else(|| format::UNKNOWN.to_owned())),
        phase: session.phase,
        family: model_family(session.model.as_ref()),
        model: model_name(session.model.as_ref()),
        cells: [
            format::clock_day(zone, session.started_at, now),
            format::span(session.duration_ms(now)),
            format::exact(session.responses),
            format::tokens(session.usage.total()),
            format::cost(&session.cost),
        ],
    }
}

fn view_row((row, href): (Row, String)) -> impl IntoView {
    let [started, duration, responses, tokens, cost] = row.cells;
    view! {
        <tr>
            <th scope="row"><a href=href>{row.project}</a></th>
            <td class="mono">{row.branch}</td>
            <td>{phase_mark(row.phase)}</td>
            <td>{model_mark(row.family, row.model)}</td>
            <td>{started}</td>
            <td class="n">{duration}</td>
            <td class="n">{responses}</td>
            <td class="n num">{tokens}</td>
            <td class="n num">{cost}</td>
        </tr>
    }
}
