//! Context: how full a session's window is, and when the tool will compact it.

use dashboard_core::event::ContextPoint;
use dashboard_core::format;
use dashboard_core::ids::SessionId;
use dashboard_core::level::Level;
use dashboard_core::state::{ContextWindow, DashboardState, Session};
use dashboard_core::time::{SECOND_MS, Timestamp};
use leptos::prelude::*;

use super::{figures, session_figures, table};
use crate::feed::Store;
use crate::ui::chart::{self, Scale, Tick, XTicks, YTicks};
use crate::ui::{AsTable, Derived, Figure, Icon, LevelChip, Rows, calc, dynamic, metric};

/// Most compactions in the fill line; with more it begins at the last of them that fit.
const COMPACTIONS_SHOWN: usize = 8;

/// What the panel says of a session's window.
#[derive(Clone, Debug, PartialEq)]
struct Fill {
    level: Option<Level>,
    percent: Figure,
    usable: Figure,
    used: Figure,
    limit: Figure,
    free: String,
    buffer: String,
    to_compact: String,
    used_width: f64,
    compact_at: f64,
    advice: String,
    since: String,
    summary: String,
    line: String,
    area: String,
    dot: Option<f64>,
    compactions: Vec<f64>,
    y_ticks: Vec<Tick>,
    x_ticks: Vec<Tick>,
}

impl Default for Fill {
    /// Before the first response.
    fn default() -> Self {
        Self {
            level: None,
            percent: Figure::unknown(),
            usable: Figure::unknown(),
            used: Figure::unknown(),
            limit: Figure::unknown(),
            free: format::UNKNOWN.to_owned(),
            buffer: format::UNKNOWN.to_owned(),
            to_compact: format::UNKNOWN.to_owned(),
            used_width: 0.0,
            compact_at: 100.0,
            advice: "The fill is known with the first response.".to_owned(),
            since: String::new(),
            summary: "No fill is known yet".to_owned(),
            line: String::new(),
            area: String::new(),
            dot: None,
            compactions: Vec::new(),
            y_ticks: chart::blank_grid(2),
            x_ticks: Vec::new(),
        }
    }
}

impl Fill {
    fn of(state: &DashboardState, context: &ContextWindow, now: Timestamp) -> Self {
        let at = &context.now;
        let (free, buffer) = context.free_and_buffer();
        let fill = at.percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent);
        let to_compact = at.to_compact_percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent_1);
        Self {
            level: Some(at.status),
            percent: Figure::percent_number(at.percent),
            usable: Figure::percent_1(at.usable_percent),
            used: Figure::tokens(at.used),
            limit: Figure::tokens(Some(at.limit)),
            free: Figure::tokens(free).text,
            buffer: format::tokens(buffer),
            used_width: at.percent.unwrap_or(0.0).min(100.0),
            compact_at: context.compact_at_percent(),
            advice: context.advice(),
            summary: format!("{fill} of the window used, {to_compact} to auto-compaction"),
            to_compact,
            ..Self::curve(state, context, now)
        }
    }

    /// The fill line: values are kept until the next response, and fall at a compaction.
    fn curve(state: &DashboardState, context: &ContextWindow, now: Timestamp) -> Self {
        let ms = |at: Timestamp| at.unix_ms() as f64;
        let all = context.points.iter().enumerate();
        let from = all.rev().filter(|(_, point)| point.compaction).nth(COMPACTIONS_SHOWN).map_or(0, |(i, _)| i);
        let recent = context.points.get(from..).unwrap_or_default();
        let Some(start) = recent.first().map(|point| point.at) else { return Self::default() };
        // A window as wide as a minute at least, and no redrawing more than every ten seconds.
        let end = now.max(context.now.as_of).floor_to(10 * SECOND_MS).max(start.plus_ms(60 * SECOND_MS));
        let mut points: Vec<(f64, Option<f64>)> =
            recent.iter().map(|point| (ms(point.at), point.used.map(|used| used.0 as f64))).collect();
        points.push((ms(end), context.now.used.map(|used| used.0 as f64)));
        let compact_at = context.now.compact_at.0 as f64;
        let peak = points.iter().filter_map(|point| point.1).fold(compact_at, f64::max);
        let scale = Scale { x: (ms(start), ms(end)), top: peak };
        let line = chart::steps(&scale, &points);
        let unbroken = points.iter().all(|point| point.1.is_some());
        let area = if unbroken { chart::under(&scale, &line, ms(start), ms(end)) } else { String::new() };

        let clock = |at: i64| format::clock(&state.zone, Timestamp::from_unix_ms(at));
        let offset = i64::from(state.zone.offset_s(now)) * SECOND_MS;
        let ticks = chart::time_ticks(start.unix_ms(), end.unix_ms(), offset, 5);
        let compactions = recent.iter().skip(usize::from(from > 0)).filter(|point| point.compaction);
        Self {
            since: format::clock_day(&state.zone, start, now),
            area,
            line,
            dot: context.now.used.map(|used| scale.y_percent(used.0 as f64)),
            compactions: compactions.map(|point| scale.x_percent(ms(point.at))).collect(),
            y_ticks: vec![
                Tick { percent: 0.0, label: "0".to_owned(), class: "base" },
                Tick {
                    percent: scale.y_percent(compact_at),
                    label: format::tokens(context.now.compact_at),
                    class: "threshold",
                },
            ],
            x_ticks: chart::time_labels(&scale, &ticks, clock, (ms(end), "now".to_owned()), 16.0),
            ..Self::default()
        }
    }
}

fn history(state: &DashboardState, id: Option<&SessionId>) -> Rows {
    let row = |point: &ContextPoint| {
        let what = if point.compaction { "compaction" } else { "response" };
        vec![format::clock_s(&state.zone, point.at), Figure::tokens(point.used).text, what.to_owned()]
    };
    let context = id.and_then(|id| state.sessions.get(id)?.context.as_ref());
    let points = context.map(|context| context.points.as_slice()).unwrap_or_default();
    Rows { head: vec!["Time", "Fill", "After"], body: points.iter().rev().map(row).collect() }
}

/// The panel, for one session.
#[component]
pub(crate) fn ContextPanel(
    of: Signal<Option<SessionId>>,
    /// Whether another session can be picked here.
    #[prop(optional)]
    picker: bool,
) -> impl IntoView {
    let known = session_figures(of, |state, session, now| session.context.as_ref().map(|c| Fill::of(state, c, now)));
    let fill = Derived::new(move || known.get().flatten().unwrap_or_default());
    let level = fill.pick(|f| f.level);
    let shown_level = fill.pick(|f| f.level.unwrap_or_default());
    let unknown = fill.pick(|f| f.percent.raw.is_empty());
    view! {
        <section
            class="card context"
            aria-labelledby="h-context"
            data-level=calc(move || level.get().map_or("unknown", Level::as_str))
        >
            <header class="card-head">
                <h2 class="card-title" id="h-context">"Context"</h2>
                {picker.then(|| session_picker(of))}
                <div class="card-tools">
                    {dynamic(move || match level.get() {
                        Some(_) => view! { <LevelChip level=shown_level metric="context.status" /> }.into_any(),
                        None => view! { <span class="vh" data-metric="context.status" data-value=""></span> }.into_any(),
                    })}
                    <AsTable caption="Context fill over time" rows=table(move |state, _| of.with(|id| history(state, id.as_ref()))) />
                </div>
            </header>
            <div class="context-answer">
                <span class="hero">
                    <span class="value">{metric("context.percent", fill.pick(|f| f.percent.clone()))}</span>
                    {dynamic(move || (!unknown.get()).then(|| view! { <span class="unit">"%"</span> }))}
                </span>
                <span>"of "{metric("context.limit", fill.pick(|f| f.limit.clone()))}</span>
                <span><b>{fill.pick(|f| f.to_compact.clone())}</b>" to auto-compact"</span>
            </div>
            {bar(fill)}
            <dl class="parts">
                <div>
                    <dt><i class="swatch" data-part="used"></i>"Used"</dt>
                    <dd>{metric("context.used", fill.pick(|f| f.used.clone()))}</dd>
                </div>
                <div>
                    <dt><i class="swatch hollow"></i>"Free"</dt>
                    <dd>{fill.pick(|f| f.free.clone())}</dd>
                </div>
                <div>
                    <dt><i class="swatch hatched"></i>"Auto-compact buffer"</dt>
                    <dd>{fill.pick(|f| f.buffer.clone())}</dd>
                </div>
                <div>
                    <dt><i class="swatch none"></i>"Usable part used"</dt>
                    <dd>{metric("context.usable_percent", fill.pick(|f| f.usable.clone()))}</dd>
                </div>
            </dl>
            {curve(fill)}
            <p class="inset advice">
                <Icon name="bulb" />
                <span>{dynamic(move || fill.with(|f| advice(&f.advice)))}</span>
            </p>
        </section>
    }
    .into_any()
}

fn bar(fill: Derived<Fill>) -> AnyView {
    view! {
        <div class="context-bar" role="img" aria-label=fill.pick(|f| f.summary.clone())>
            <i data-part="used" style=fill.pick(|f| format!("--w:{:.1}%", f.used_width))></i>
            <i
                data-part="buffer"
                style=fill.pick(|f| format!("--w:{:.1}%", 100.0 - f.compact_at.max(f.used_width)))
            ></i>
            <i class="threshold" style=fill.pick(|f| format!("--x:{:.1}%", f.compact_at))></i>
        </div>
    }
    .into_any()
}

fn curve(fill: Derived<Fill>) -> AnyView {
    let mark = |x: &f64| view! { <span class="compaction at" style=format!("--x:{x:.1}%")>"▼"</span> }.into_any();
    let dot = fill.pick(|f| f.dot);
    view! {
        <div class="chart-head">
            <h3>{fill.pick(|f| if f.since.is_empty() { "Fill".to_owned() } else { format!("Fill since {}", f.since) })}</h3>
            <span><span class="compaction" aria-hidden="true">"▼"</span>" compaction"</span>
        </div>
        <div class="chart context-chart">
            <div class="plot" role="img" aria-label=fill.pick(|f| format!("Fill since {}: {}", f.since, f.summary))>
                <YTicks ticks=fill.pick(|f| f.y_ticks.clone()) />
                <svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">
                    <path class="area" fill="url(#fade)" d=fill.pick(|f| f.area.clone())></path>
                    <path class="line" d=fill.pick(|f| f.line.clone())></path>
                </svg>
                {dynamic(move || fill.with(|f| f.compactions.iter().map(mark).collect_view()))}
                <span
                    class="dot"
                    hidden=calc(move || dot.get().is_none())
                    style=calc(move || dot.get().map(|y| format!("--x:100%;--y:{y:.1}%")))
                ></span>
                <XTicks ticks=fill.pick(|f| f.x_ticks.clone()) />
            </div>
        </div>
    }
    .into_any()
}

/// A sentence with what to type set as code.
fn advice(sentence: &str) -> AnyView {
    match sentence.split_once("/compact") {
        Some((before, after)) => view! { {before.to_owned()}<code>"/compact"</code>{after.to_owned()} }.into_any(),
        None => sentence.to_owned().into_any(),
    }
}

/// Chooses the session; sessions of one project are told apart by branch or id.
fn session_picker(of: Signal<Option<SessionId>>) -> AnyView {
    let store = expect_context::<Store>();
    let options = figures(|state, _| {
        let mut sessions = state.sessions_by_tokens(true);
        sessions.extend(state.sessions_by_tokens(false));
        let labels: Vec<String> = sessions.iter().map(|session| state.project_label(session)).collect();
        let label = |(session, project): (&&Session, &String)| {
            let alone = labels.iter().filter(|other| *other == project).count() == 1;
            let detail = session.branch.as_deref().unwrap_or_else(|| format::short_id(session.id.as_str()));
            (session.id.clone(), if alone { project.clone() } else { format!("{project} · {detail}") })
        };
        sessions.iter().zip(&labels).map(label).collect::<Vec<_>>()
    });
    let option = move |(id, label): (SessionId, String)| {
        let value = id.as_str().to_owned();
        let is_focus = calc(move || of.with(|focus| focus.as_ref() == Some(&id)));
        view! { <option value=value prop:selected=is_focus selected=is_focus>{label}</option> }
    };
    view! {
        <span class="picker">
            <select
                aria-label="Session"
                on:change=move |ev| store.picked.set(Some(SessionId::new(event_target_value(&ev))))
            >
                {dynamic(move || options.get().into_iter().map(option).collect_view())}
            </select>
            <Icon name="down" />
        </span>
    }
    .into_any()
}
