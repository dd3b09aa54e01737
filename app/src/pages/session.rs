//! One session: what it is, its tokens, its context and its subagents.

use dashboard_core::event::AgentTokens;
use dashboard_core::format;
use dashboard_core::ids::SessionId;
use dashboard_core::order;
use dashboard_core::state::{DashboardState, Session};
use dashboard_core::time::Timestamp;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use super::{Page, Section};
use crate::panels::{ContextPanel, TokensPanel, model_family, model_mark, model_name, session_figures};
use crate::site::Site;
use crate::ui::{Derived, calc, dynamic};

/// The page at `/sessions/:id`.
#[component]
pub(crate) fn SessionPage() -> impl IntoView {
    let params = use_params_map();
    let id = Derived::new(move || params.with(|params| params.get("id")).unwrap_or_default());
    move || view! { <SessionFigures id=SessionId::new(id.get()) /> }
}

#[derive(Clone, Debug, PartialEq)]
struct Facts {
    project: String,
    about: String,
    kpis: [(&'static str, String); 5],
    details: [(&'static str, String); 6],
    agents: Vec<Agent>,
}

#[derive(Clone, Debug, PartialEq)]
struct Agent {
    name: String,
    family: &'static str,
    model: String,
    cells: [String; 3],
}

impl Facts {
    fn of(state: &DashboardState, session: &Session, now: Timestamp) -> Self {
        let unknown = || format::UNKNOWN.to_owned();
        let hit = session.cache_grade().map_or_else(unknown, |(_, hit)| format::percent_1(hit));
        let (running, all) = session.agents_running(now);
        let at = |at| format::clock_day(&state.zone, at, now);
        let agent = |agent: &AgentTokens| Agent {
            name: agent.agent_type.clone().unwrap_or_else(|| format::short_id(agent.id.as_str()).to_owned()),
            family: model_family(agent.model.as_ref()),
            model: model_name(agent.model.as_ref()),
            cells: [format::tokens(agent.total), format::cost(&agent.cost), at(agent.last_activity)],
        };
        Self {
            project: state.project_label(session),
            about: format!("{} · {}", format::phase(session.phase), format::short_id(session.id.as_str())),
            kpis: [
                ("cost at list prices", format::cost(&session.cost)),
                ("saved by cache", format::money(session.cost.saved)),
                ("cache hit rate", hit),
                ("responses", format::exact(session.responses)),
                ("subagents, running / all", format!("{running} / {all}")),
            ],
            details: [
                ("Directory", session.cwd.clone().unwrap_or_else(unknown)),
                ("Branch", session.branch.clone().unwrap_or_else(unknown)),
                ("Model", format::with_tool(session.tool, model_name(session.model.as_ref()))),
                ("Started", at(session.started_at)),
                ("Duration", format::span(session.duration_ms(now))),
                ("Last failure", session.last_error.map_or("none", format::api_error).to_owned()),
            ],
            agents: {
                let mut agents: Vec<_> = session.agents.values().collect();
                order::sort(&mut agents, &|a, b| (b.last_activity, &b.id).cmp(&(a.last_activity, &a.id)));
                agents.into_iter().map(agent).collect()
            },
        }
    }
}

/// A session's figures, wherever its id comes from.
#[component]
pub(crate) fn SessionFigures(id: SessionId) -> impl IntoView {
    let of = Signal::stored(Some(id.clone()));
    let facts = session_figures(of, Facts::of);
    let known = Derived::new(move || facts.with(Option::is_some));
    let title = move || facts.with(|f| f.as_ref().map_or_else(|| "Session".to_owned(), |f| f.project.clone()));
    let about = move || facts.with(|f| f.as_ref().map_or_else(|| format!("{id} is not known"), |f| f.about.clone()));
    view! {
        <Page title=calc(title) about=calc(about)>
            {dynamic(move || if known.get() { session(of, facts) } else { unknown() })}
        </Page>
    }
}

fn unknown() -> AnyView {
    let sessions = expect_context::<Site>().href("/sessions");
    view! {
        <section class="card">
            <p>"The page knows active sessions and those that ended today. "<a href=sessions>"See them all"</a></p>
        </section>
    }
    .into_any()
}

fn session(of: Signal<Option<SessionId>>, facts: Derived<Option<Facts>>) -> AnyView {
    let kpi = |(name, value): &(&'static str, String)| view! { <div><dt>{*name}</dt><dd>{value.clone()}</dd></div> };
    let fact = |(name, value): &(&'static str, String)| view! { <dt>{*name}</dt><dd>{value.clone()}</dd> };
    let kpis = move || facts.with(|f| f.as_ref().map(|f| f.kpis.iter().map(kpi).collect_view()));
    let list = move || facts.with(|f| f.as_ref().map(|f| f.details.iter().map(fact).collect_view()));
    let agents = move || facts.with(|f| f.as_ref().map(|f| f.agents.clone()).unwrap_or_default());
    view! {
        <Section id="h-session" title="Session" about="">
            <dl class="kpis">{kpis}</dl>
            <dl class="facts">{list}</dl>
        </Section>
        <div class="pair">
            <TokensPanel of />
            <ContextPanel of />
        </div>
        {dynamic(move || {
            let agents = agents();
            (!agents.is_empty()).then(|| agents_table(agents))
        })}
    }
    .into_any()
}

fn agents_table(agents: Vec<Agent>) -> impl IntoView {
    let row = |agent: Agent| {
        view! {
            <tr>
                <th scope="row">{agent.name}</th>
                <td>{model_mark(agent.family, agent.model)}</td>
                {agent.cells.into_iter().map(|cell| view! { <td class="n">{cell}</td> }).collect_view()}
            </tr>
        }
    };
    view! {
        <Section id="h-agents" title="Subagents" about=format!("{} in all", agents.len())>
            <div class="table-wrap" tabindex="0" role="group" aria-label="Subagents">
                <table class="table">
                    <caption class="vh">"Subagents"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Kind"</th>
                            <th scope="col">"Model"</th>
                            <th scope="col" class="n">"Tokens"</th>
                            <th scope="col" class="n">"Cost"</th>
                            <th scope="col" class="n" aria-sort="descending">"Last line"</th>
                        </tr>
                    </thead>
                    <tbody>{agents.into_iter().map(row).collect_view()}</tbody>
                </table>
            </div>
        </Section>
    }
}
