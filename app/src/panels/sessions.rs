//! Active sessions, their subagents, and today's ended ones.

use dashboard_core::event::{AgentTokens, SessionPhase};
use dashboard_core::format;
use dashboard_core::ids::SessionId;
use dashboard_core::level::Level;
use dashboard_core::order;
use dashboard_core::state::{DashboardState, Session};
use dashboard_core::time::{Minute, Timestamp};
use leptos::prelude::*;

use super::{figures, focus, model_family, model_mark, model_name, phase_mark, session_figures};
use crate::feed::Store;
use crate::site::Site;
use crate::ui::chart::{Spark, SparkLine};
use crate::ui::{Derived, Figure, Icon, LevelIcon, Meter, calc, dynamic, metric};

/// Minutes in a row's small chart.
const SPARK_MINUTES: i64 = 30;
/// Most subagents listed under a session; the rest are counted.
const AGENTS_SHOWN: usize = 6;
/// Rows the card has room for anyway; what active sessions leave goes to those that ended last.
const ROOM: usize = 5;

/// What the rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Project,
    Tokens,
    Cost,
    Rate,
    Last,
}

/// Column and direction; most tokens first until the user says otherwise.
type Order = (Column, bool);

fn ordered(state: &DashboardState, active: bool, (column, descending): Order, now: Timestamp) -> Vec<SessionId> {
    let mut sessions = state.sessions_by_tokens(active);
    order::sort(&mut sessions, &|a, b| match column {
        Column::Project => a.project.cmp(&b.project),
        Column::Tokens => a.usage.total().cmp(&b.usage.total()),
        Column::Cost => a.cost.priced.cmp(&b.cost.priced),
        Column::Rate => a.rate_per_min(now).cmp(&b.rate_per_min(now)),
        Column::Last => a.last_activity.cmp(&b.last_activity),
    });
    if descending {
        sessions.reverse();
    }
    sessions.into_iter().map(|session| session.id.clone()).collect()
}

/// A session's row.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    phase: SessionPhase,
    project: String,
    detail: String,
    family: &'static str,
    model: String,
    fill: Option<f64>,
    fill_text: String,
    compact_at: Option<f64>,
    level: Level,
    tokens: String,
    cost: String,
    spark: Spark,
    rate: String,
    quiet: bool,
    agents: Option<String>,
    last: String,
    running: Vec<AgentRow>,
    more: usize,
}

/// A subagent's row.
#[derive(Clone, Debug, PartialEq)]
struct AgentRow {
    name: String,
    family: &'static str,
    model: String,
    tokens: String,
    cost: String,
    rate: String,
    last: String,
}

impl Row {
    fn of(state: &DashboardState, session: &Session, now: Timestamp) -> Self {
        let whole = Minute(now.minute().0 - 1);
        let series = session.minute_series(Minute(whole.0 - SPARK_MINUTES + 1), whole);
        let values: Vec<f64> = series.iter().map(|m| m.total().0 as f64).collect();
        let rate = session.rate_per_min(now);
        let (running, all) = session.agents_running(now);
        let context = session.context.as_ref();
        let fill = context.and_then(|context| context.now.percent);
        let agents = session.running_agents(now);
        Self {
            phase: session.phase,
            project: state.project_label(session),
            detail: format::with_tool(
                session.tool,
                session.branch.clone().unwrap_or_else(|| format::short_id(session.id.as_str()).to_owned()),
            ),
            family: model_family(session.model.as_ref()),
            model: model_name(session.model.as_ref()),
            fill,
            fill_text: fill.map_or_else(|| format::UNKNOWN.to_owned(), format::percent),
            compact_at: context.map(dashboard_core::state::ContextWindow::compact_at_percent),
            level: if session.is_active() { session.context_level() } else { Level::Healthy },
            tokens: format::tokens(session.usage.total()),
            cost: format::cost(&session.cost),
            spark: Spark::of(&values),
            rate: format::tokens(rate),
            quiet: rate.0 == 0,
            agents: (all > 0).then(|| format!("{running} / {all}")),
            last: format::span_short(now.ms_since(session.last_activity)),
            more: agents.len().saturating_sub(AGENTS_SHOWN),
            running: agents.into_iter().take(AGENTS_SHOWN).map(|agent| AgentRow::of(agent, now)).collect(),
        }
    }
}

impl AgentRow {
    fn of(agent: &AgentTokens, now: Timestamp) -> Self {
        Self {
            name: agent.agent_type.clone().unwrap_or_else(|| format::short_id(agent.id.as_str()).to_owned()),
            family: model_family(agent.model.as_ref()),
            model: model_name(agent.model.as_ref()),
            tokens: format::tokens(agent.total),
            cost: format::cost(&agent.cost),
            rate: format::tokens(agent.rate),
            last: format::span_short(now.ms_since(agent.last_activity)),
        }
    }
}

/// A session that ended today, under the active ones.
#[derive(Clone, Debug, PartialEq)]
struct EndedRow {
    id: SessionId,
    project: String,
    detail: String,
    family: &'static str,
    model: String,
    fill: String,
    tokens: String,
    cost: String,
    last: String,
}

impl EndedRow {
    fn of(state: &DashboardState, session: &Session, now: Timestamp) -> Self {
        let Row { project, detail, family, model, fill_text, tokens, cost, last, .. } = Row::of(state, session, now);
        Self { id: session.id.clone(), project, detail, family, model, fill: fill_text, tokens, cost, last }
    }

    /// As many as there is room for, the last one first.
    fn newest(state: &DashboardState, now: Timestamp) -> Vec<Self> {
        let rows = |session: &&Session| 1 + session.agents_running(now).0.min(AGENTS_SHOWN);
        let taken: usize = state.sessions_by_tokens(true).iter().map(rows).sum();
        let mut ended = state.sessions_by_tokens(false);
        order::sort(&mut ended, &|a, b| b.last_activity.cmp(&a.last_activity));
        ended.into_iter().take(ROOM.saturating_sub(taken)).map(|session| Self::of(state, session, now)).collect()
    }
}

/// The head and foot of the table.
#[derive(Clone, Debug, PartialEq)]
struct Totals {
    active: Figure,
    working: usize,
    ended: usize,
    tokens: String,
    cost: String,
    rate: String,
    agents: String,
}

impl Totals {
    fn of(state: &DashboardState, now: Timestamp) -> Self {
        let totals = state.session_totals(now);
        Self {
            active: Figure::exact(totals.active as u64),
            working: totals.working,
            ended: state.sessions.len() - totals.active,
            tokens: format::tokens(totals.tokens),
            cost: format::cost(&totals.cost),
            rate: format::tokens(totals.rate),
            agents: format!("{} / {}", totals.agents.0, totals.agents.1),
        }
    }
}

/// The panel.
#[component]
pub(crate) fn SessionsPanel() -> impl IntoView {
    let active = RwSignal::new(true);
    let order = RwSignal::new((Column::Tokens, true));
    let totals = figures(Totals::of);
    let rows = figures(move |state, now| ordered(state, active.get(), order.get(), now));
    let ended = figures(EndedRow::newest);
    let none = figures(|state, _| state.sessions.is_empty());
    let picked = focus();
    let pressed = move |is: bool| if active.get() == is { "true" } else { "false" };
    let head = move |column: Column, class: &'static str, name: &'static str| {
        let sort = calc(move || match order.get() {
            (by, true) if by == column => "descending",
            (by, false) if by == column => "ascending",
            _ => "none",
        });
        let turn = move |_| {
            order.update(|(by, down)| {
                // A name reads from A to Z first, a figure from the largest.
                *down = if *by == column { !*down } else { column != Column::Project };
                *by = column;
            });
        };
        view! {
            <th scope="col" class=class aria-sort=sort>
                <button type="button" on:click=turn>{name}</button>
            </th>
        }
    };
    view! {
        <section class="card sessions" aria-labelledby="h-sessions">
            <header class="card-head">
                <h2 class="card-title" id="h-sessions">
                    {calc(move || if active.get() { "Active sessions" } else { "Ended today" })}
                </h2>
                <span class="card-sub">
                    {metric("sessions.active", totals.pick(|t| t.active.clone()))} " open · "
                    {totals.pick(|t| t.working.to_string())} " working"
                </span>
                <div class="card-tools filters" role="group" aria-label="Which sessions">
                    <button
                        class="filter"
                        type="button"
                        aria-pressed=calc(move || pressed(true))
                        on:click=move |_| active.set(true)
                    >
                        "Active "{totals.pick(|t| t.active.text.clone())}
                    </button>
                    <button
                        class="filter"
                        type="button"
                        aria-pressed=calc(move || pressed(false))
                        on:click=move |_| active.set(false)
                    >
                        "Ended today "{totals.pick(|t| t.ended.to_string())}
                    </button>
                </div>
            </header>
            <table class="table">
                <caption class="vh">{calc(move || if active.get() { "Active sessions" } else { "Sessions ended today" })}</caption>
                <thead>
                    <tr>
                        <th scope="col" class="c-state">"State"</th>
                        {head(Column::Project, "c-project", "Project")}
                        <th scope="col" class="c-model"><span class="model-name">"Model"</span></th>
                        <th scope="col" class="c-context">"Context"</th>
                        {head(Column::Tokens, "c-tokens n", "Tokens")}
                        {head(Column::Cost, "c-cost n", "Cost")}
                        {head(Column::Rate, "c-rate", "Tokens / min")}
                        <th scope="col" class="c-agents n">"Subagents"</th>
                        {head(Column::Last, "c-last n", "Last")}
                    </tr>
                </thead>
                <tbody data-list="sessions">
                    <For each=move || rows.get() key=SessionId::clone let:id>
                        {session_row(id, picked)}
                    </For>
                </tbody>
                {foot(totals, active)}
                {dynamic(move || (active.get() && !ended.with(Vec::is_empty)).then(|| ended_rows(ended)))}
            </table>
            {dynamic(move || rows.with(Vec::is_empty).then(|| if none.get() { welcome() } else { no_rows(active) }))}
        </section>
    }
    .into_any()
}

fn foot(totals: Derived<Totals>, active: RwSignal<bool>) -> AnyView {
    view! {
        <tbody class="total" hidden=calc(move || !active.get() || totals.with(|t| t.active.raw == "0"))>
            <tr>
                <th scope="row" colspan="2">
                    "Total of "{totals.pick(|t| t.active.text.clone())}
                    {totals.pick(|t| if t.active.raw == "1" { " session" } else { " sessions" })}
                </th>
                <td class="c-model"></td>
                <td class="c-context"></td>
                <td class="c-tokens n">{totals.pick(|t| t.tokens.clone())}</td>
                <td class="c-cost n">{totals.pick(|t| t.cost.clone())}</td>
                <td class="c-rate n">{totals.pick(|t| t.rate.clone())}</td>
                <td class="c-agents n">{totals.pick(|t| t.agents.clone())}</td>
                <td class="c-last"></td>
            </tr>
        </tbody>
    }
    .into_any()
}

/// What there is to do when no session is known.
fn welcome() -> AnyView {
    let demo = expect_context::<Site>().served("/");
    view! {
        <div class="empty">
            <Icon name="pulse" />
            <h3>"No session yet"</h3>
            <p>"Start Claude Code in any folder; it shows up here within a second."</p>
            {demo.map(|live| view! { <a class="btn outline" href=format!("{live}?demo") rel="external">"Open the demo"</a> })}
        </div>
    }
    .into_any()
}

fn no_rows(active: RwSignal<bool>) -> AnyView {
    let text = if active.get() {
        "No active session. Start Claude Code in any folder; it shows up here within a second."
    } else {
        "No session has ended today."
    };
    view! { <p class="empty-line">{text}</p> }.into_any()
}

fn ended_rows(ended: Derived<Vec<EndedRow>>) -> AnyView {
    let site = expect_context::<Site>();
    let row = move |row: &EndedRow| {
        view! {
            <tr class="session ended">
                <td class="c-state">{phase_mark(SessionPhase::Ended)}</td>
                <th scope="row" class="c-project">
                    <a href=site.session(&row.id)>{row.project.clone()}</a>
                    <span class="branch">{row.detail.clone()}</span>
                </th>
                <td class="c-model">{model_mark(row.family, row.model.clone())}</td>
                <td class="c-context">{row.fill.clone()}</td>
                <td class="c-tokens n">{row.tokens.clone()}</td>
                <td class="c-cost n">{row.cost.clone()}</td>
                <td class="c-rate"></td>
                <td class="c-agents"></td>
                <td class="c-last n">{row.last.clone()}</td>
            </tr>
        }
        .into_any()
    };
    view! {
        <tbody class="recent">
            <tr class="recent-head">
                <th scope="rowgroup" colspan="2">"Ended last"</th>
            </tr>
            {dynamic(move || ended.with(|ended| ended.iter().map(&row).collect_view()))}
        </tbody>
    }
    .into_any()
}

/// A row and those of its running subagents. Click or Enter shows the session in Context and Tokens.
fn session_row(id: SessionId, picked: Signal<Option<SessionId>>) -> AnyView {
    let store = expect_context::<Store>();
    let href = expect_context::<Site>().session(&id);
    let known = session_figures(Signal::stored(Some(id.clone())), Row::of);
    // A row outlives its session for a moment when the session is forgotten; it keeps its last figures.
    let row = Derived::after(move |before: Option<&Option<Row>>| known.get().or_else(|| before.cloned().flatten()));
    let of = move |part: fn(&Row) -> String| calc(move || row.with(|r| r.as_ref().map(part).unwrap_or_default()));
    let model = dynamic(move || row.with(|r| r.as_ref().map(|r| model_mark(r.family, r.model.clone()))));
    let level = row.pick(|r| r.as_ref().map_or(Level::Healthy, |r| r.level));
    let fill = row.pick(|r| r.as_ref().and_then(|r| r.fill));
    let compact_at = row.pick(|r| r.as_ref().and_then(|r| r.compact_at));
    let spark = row.pick(|r| r.as_ref().map(|r| r.spark.clone()).unwrap_or_default());
    let quiet = row.pick(|r| r.as_ref().is_some_and(|r| r.quiet));
    let value = id.to_string();
    let is_focus = {
        let id = id.clone();
        calc(move || picked.with(|focus| focus.as_ref() == Some(&id)).then_some("true"))
    };
    let pick = move || store.picked.set(Some(id.clone()));
    let on_enter = {
        let pick = pick.clone();
        move |ev: leptos::ev::KeyboardEvent| {
            if ev.key() == "Enter" && ev.target() == ev.current_target() {
                pick();
            }
        }
    };
    view! {
        <tr
            class="session"
            data-session-id=value
            tabindex="0"
            aria-current=is_focus
            on:click=move |_| pick()
            on:keydown=on_enter
        >
            <td class="c-state">{dynamic(move || row.with(|r| r.as_ref().map(|r| phase_mark(r.phase))))}</td>
            <th scope="row" class="c-project">
                <a href=href>{of(|r| r.project.clone())}</a>
                <span class="branch">{of(|r| r.detail.clone())}</span>
            </th>
            <td class="c-model">{model}</td>
            <td class="c-context">
                <span class="fill" data-level=calc(move || (level.get() > Level::Healthy).then(|| level.get().as_str()))>
                    <Meter label="Context used" percent=fill tick=compact_at text=of(|r| r.fill_text.clone()) />
                    <span class="verdict">
                        {of(|r| r.fill_text.clone())}
                        {dynamic(move || (level.get() > Level::Healthy).then(|| view! { <LevelIcon level /> }))}
                    </span>
                </span>
            </td>
            <td class="c-tokens n">{of(|r| r.tokens.clone())}</td>
            <td class="c-cost n">{of(|r| r.cost.clone())}</td>
            <td class="c-rate">
                <span class="rate">
                    <SparkLine spark />
                    <span class:zero=quiet>{of(|r| r.rate.clone())}</span>
                </span>
            </td>
            <td class="c-agents n">
                {dynamic(move || row.with(|r| agents_mark(r.as_ref().and_then(|r| r.agents.clone()))))}
            </td>
            <td class="c-last n">{of(|r| r.last.clone())}</td>
        </tr>
        {dynamic(move || row.with(|r| r.as_ref().map(agent_rows)))}
    }
    .into_any()
}

fn agents_mark(agents: Option<String>) -> AnyView {
    match agents {
        Some(text) => view! { <span class="model agents"><Icon name="tree" />{text}</span> }.into_any(),
        None => view! { <span class="muted">{format::UNKNOWN}</span> }.into_any(),
    }
}

fn agent_rows(row: &Row) -> AnyView {
    let last = row.running.len();
    let more = row.more;
    let agent = |(i, agent): (usize, &AgentRow)| {
        view! {
            <tr class="sub" class:end=more == 0 && i + 1 == last>
                <td class="c-state"></td>
                <th scope="row" class="c-project">{agent.name.clone()}</th>
                <td class="c-model">{model_mark(agent.family, agent.model.clone())}</td>
                <td class="c-context">"own window"</td>
                <td class="c-tokens n">{agent.tokens.clone()}</td>
                <td class="c-cost n">{agent.cost.clone()}</td>
                <td class="c-rate n">{agent.rate.clone()}</td>
                <td class="c-agents"></td>
                <td class="c-last n">{agent.last.clone()}</td>
            </tr>
        }
    };
    let rest = (more > 0).then(|| {
        view! {
            <tr class="sub end">
                <td class="c-state"></td>
                <th scope="row" class="c-project">{format!("{more} more")}</th>
                {["c-model", "c-context", "c-tokens", "c-cost", "c-rate", "c-agents", "c-last"]
                    .map(|class| view! { <td class=class></td> })
                    .into_iter()
                    .collect_view()}
            </tr>
        }
    });
    view! { {row.running.iter().enumerate().map(agent).collect_view()} {rest} }.into_any()
}
