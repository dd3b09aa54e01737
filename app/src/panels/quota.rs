//! Quota: how much of each limit is used, when it is reset, and who used it.

use dashboard_core::event::{Provenance, QuotaPoint, QuotaShare};
use dashboard_core::forecast::{ConePoint, words};
use dashboard_core::format;
use dashboard_core::level::Level;
use dashboard_core::record::{LimitKey, Tool};
use dashboard_core::state::{DashboardState, LimitState};
use dashboard_core::time::{DAY_MS, Timestamp};
use leptos::prelude::*;

use super::{figures, table};
use crate::feed::Store;
use crate::ui::chart::{self, Scale, Tick, XTicks, YTicks};
use crate::ui::{
    AsTable, Derived, Figure, Icon, LevelChip, Meter, ProvenanceChip, Rows, Verdict, calc, dynamic, metric,
};

/// Colours there are for projects; the rest share the neutral one.
const SERIES: usize = 6;

/// Limits shown at once; the others are folded.
const SHOWN: usize = 3;

/// What a limit's card says.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    name: String,
    percent_known: bool,
    percent: Figure,
    used: Figure,
    limit: Figure,
    resets: Figure,
    resets_long: String,
    limit_at: Figure,
    provenance: &'static str,
    source: &'static str,
    source_age: String,
    level: Level,
    class: &'static str,
    fill: Option<f64>,
    even: Option<f64>,
    verdict: String,
    verdict_level: Option<Level>,
}

impl Window {
    fn of(state: &DashboardState, key: &LimitKey, main: bool, now: Timestamp) -> Self {
        let name = state.limit_title(key);
        let Some(quota) = state.limits.get(key) else {
            return Self {
                name,
                percent_known: false,
                percent: Figure::unknown(),
                used: Figure::unknown(),
                limit: Figure::unknown(),
                resets: Figure::unknown(),
                resets_long: String::new(),
                limit_at: Figure::unknown(),
                provenance: "",
                source: "estimated",
                source_age: String::new(),
                level: Level::Healthy,
                class: if main { "meter thick" } else { "meter" },
                fill: None,
                even: None,
                verdict: "nothing used yet".to_owned(),
                verdict_level: None,
            };
        };
        let at = &quota.now;
        let left = quota.ms_to_reset(now);
        let (resets, resets_long) = match (at.reset_time, left) {
            (Some(_), Some(left)) if main => (format::span(left), String::new()),
            (Some(reset), Some(left)) => {
                (format::clock_day(&state.zone, reset, now), format!(" · {}", format::span(left)))
            }
            _ if at.starts_at.is_none() && !is_block(key) => (trailing(key), String::new()),
            _ => ("no window open".to_owned(), String::new()),
        };
        let known = at.percent.is_some();
        let forecast = (!main).then(|| words::brief(quota, &state.zone, now)).flatten().filter(|_| !at.blocked);
        let verdict = match forecast {
            Some(forecast) => forecast,
            None if known || main => quota.verdict(now),
            None => format!("{} tokens used", format::tokens(at.used)),
        };
        let limit_at = words::limit_at(quota, &state.zone, now).unwrap_or_else(|| format::UNKNOWN.to_owned());
        Self {
            name,
            percent_known: known,
            percent: Figure::percent_number(at.percent),
            used: Figure::tokens(Some(at.used)),
            limit: Figure::tokens(at.limit),
            resets: Figure::instant(at.reset_time, resets),
            resets_long,
            limit_at: Figure::instant(quota.limit_at(), limit_at),
            provenance: at.provenance.as_str(),
            source: if quota.is_outdated(now) { "outdated" } else { at.provenance.as_str() },
            source_age: source_age(quota, now),
            level: at.status,
            class: match (at.blocked, main) {
                (true, true) => "meter thick blocked",
                (false, true) => "meter thick",
                (true, false) => "meter blocked",
                (false, false) => "meter",
            },
            fill: at.percent,
            even: known.then(|| quota.even_pace_percent(now)).flatten(),
            verdict,
            verdict_level: (!main && known).then_some(at.status),
        }
    }
}

/// Whether a limit is estimated in blocks: between two of them, no window is open.
fn is_block(key: &LimitKey) -> bool {
    *key == LimitKey::five_hour(key.tool)
}

/// What the tokens of a limit whose window is not known are of: `last 7 days`.
fn trailing(key: &LimitKey) -> String {
    format!("last {}", format::span(key.window.ms()))
}

/// `12 s ago`; an estimate is always of now.
fn source_age(quota: &LimitState, now: Timestamp) -> String {
    match quota.now.provenance {
        Provenance::Official => format!("{} ago", format::span(now.ms_since(quota.now.as_of))),
        Provenance::Estimated if !quota.now.complete => "incomplete".to_owned(),
        Provenance::Estimated if quota.now.percent.is_some() => {
            quota.learned_error_percent().map_or_else(String::new, |error| format!("±{}", format::percent(error)))
        }
        Provenance::Estimated | Provenance::Simulated => String::new(),
    }
}

/// Where the curve of the chosen window is heading. Places are in percent of the plot.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heading {
    /// Eight of ten futures.
    cone: String,
    /// The middle one, up to the limit.
    median: String,
    /// Where the limit is reached, and from where to where eight of ten futures reach it.
    limit: Option<(f64, f64, f64)>,
    /// From when on requests are refused, and how that is called.
    blocked: Option<(f64, String)>,
    /// What stands above the diamond, or at the cone's end.
    label: String,
    /// The share at the reset, where the limit is not reached before.
    end: Option<f64>,
}

impl Heading {
    fn of(state: &DashboardState, quota: &LimitState, scale: &Scale, now: Timestamp) -> Option<Self> {
        let blocked = |from: Timestamp| {
            let ms = quota.now.reset_time?.ms_since(from.max(now));
            let words = if ms > 0 { format::span(ms) } else { String::new() };
            Some((scale.x_percent(self::ms(from.max(now))), words))
        };
        if quota.now.blocked {
            return Some(Self { blocked: blocked(now), ..Self::default() });
        }
        let outlook = quota.now.forecast.outlook()?;
        let expected = outlook.expected;
        let share = expected.percent?;
        let place = |pick: fn(&ConePoint) -> f64| -> Vec<chart::Point> {
            outlook.cone.iter().map(|point| (self::ms(point.at), pick(point).min(100.0))).collect()
        };
        let (low, high) = (place(|p| p.percent.low), place(|p| p.percent.high));
        let limit_at = quota.limit_at();
        let mut middle = place(|p| p.percent.median);
        if let Some(at) = limit_at {
            middle.retain(|&(x, y)| x < self::ms(at) && y < 100.0);
            middle.push((self::ms(at), 100.0));
        }
        let times = expected.limit.filter(|_| limit_at.is_some());
        let limit = times.and_then(|limit| {
            let (early, at) = (limit.early?, limit.median?);
            let late = limit.late.or(quota.now.reset_time)?;
            Some((scale.x_percent(self::ms(at)), scale.x_percent(self::ms(early)), scale.x_percent(self::ms(late))))
        });
        let label = words::limit_at(quota, &state.zone, now)
            .unwrap_or_else(|| format!("≈ {}", format::percent(share.median.min(100.0))));
        Some(Self {
            cone: chart::wedge(scale, &high, &low),
            median: chart::line(scale, &middle),
            limit,
            blocked: limit_at.and_then(blocked),
            label,
            end: limit_at.is_none().then(|| scale.y_percent(share.median.min(100.0))),
        })
    }
}

/// The curve of the chosen window.
#[derive(Clone, Debug, Default, PartialEq)]
struct Chart {
    level: &'static str,
    summary: String,
    head: String,
    sub: String,
    line: String,
    area: String,
    even: Option<String>,
    now: Option<(f64, f64, String)>,
    outlook: Option<Heading>,
    y_ticks: Vec<Tick>,
    x_ticks: Vec<Tick>,
}

impl Chart {
    #[allow(clippy::too_many_lines)] // one chart, top to bottom
    fn of(state: &DashboardState, key: &LimitKey, now: Timestamp) -> Self {
        let Some(quota) = state.limits.get(key) else {
            return Self {
                level: "unknown",
                summary: "Nothing is known of this limit yet".to_owned(),
                head: format::UNKNOWN.to_owned(),
                sub: "nothing used yet".to_owned(),
                y_ticks: chart::blank_grid(4),
                ..Self::default()
            };
        };
        let at = &quota.now;
        let known = at.percent.is_some();
        let value = |percent: Option<f64>, used: f64| if known { percent } else { Some(used) };
        let points: Vec<chart::Point> = quota
            .points
            .iter()
            .filter_map(|p| Some((p.minute.start().unix_ms() as f64, value(p.percent, p.used.0 as f64)?)))
            .collect();
        let first = at.starts_at.map_or_else(|| points.first().map_or(now.unix_ms() as f64, |p| p.0), ms);
        let last = at.reset_time.map_or_else(|| ms(now), ms);
        let peak = points.iter().fold(0.0, |max: f64, p| max.max(p.1));
        let steps = chart::value_ticks(if known { 100.0 } else { peak }, 4);
        let steps = if known { vec![0.0, 25.0, 50.0, 75.0, 100.0] } else { steps };
        let scale = Scale { x: (first, last), top: steps.last().copied().unwrap_or(100.0) };
        let line = chart::line(&scale, &points);
        let (from, to) = (points.first().map_or(first, |p| p.0), points.last().map_or(first, |p| p.0));

        let amount = |y: f64| if known { format::percent(y) } else { chart::count_label(y) };
        let y_ticks = steps
            .iter()
            .map(|&y| {
                let label = if known && y > 0.0 && y < 100.0 { format!("{y:.0}") } else { amount(y) };
                let class = match y {
                    0.0 => "base",
                    y if known && y >= 100.0 => "limit",
                    _ => "",
                };
                let label = if y == 0.0 { "0".to_owned() } else { label };
                Tick { percent: scale.y_percent(y), label, class }
            })
            .collect();
        let clock = |at: i64| {
            let at = Timestamp::from_unix_ms(at);
            if last - first > DAY_MS as f64 { format::day(state.zone.day(at)) } else { format::clock(&state.zone, at) }
        };
        let end = match at.reset_time {
            Some(reset) => format!("{} reset", format::clock_day(&state.zone, reset, now)),
            None => "now".to_owned(),
        };
        let offset = i64::from(state.zone.offset_s(now)) * 1000;
        let ticks = chart::time_ticks(whole(first), whole(last), offset, 7);
        let x_ticks = chart::time_labels(&scale, &ticks, clock, (last, end.clone()), 14.0);

        let now_value = value(at.percent, at.used.0 as f64).unwrap_or_default();
        let now_at =
            points.last().map(|&(x, y)| (scale.x_percent(x), scale.y_percent(y), format!("now {}", amount(now_value))));
        let since = format::clock_day(&state.zone, Timestamp::from_unix_ms(whole(first)), now);
        let outlook = Heading::of(state, quota, &scale, now).filter(|_| known);
        let headline = words::headline(quota, &state.zone, now).filter(|_| known);
        let (head, sub) = match quota.ms_to_reset(now) {
            _ if headline.is_some() => headline.map(|line| (line.head, line.sub)).unwrap_or_default(),
            Some(left) if known => (format::span(left), format!("to the reset, {}", quota.verdict(now))),
            _ if known => (format::percent(now_value), quota.verdict(now)),
            _ => (format!("{} tokens", format::tokens(at.used)), format!("used since {since}, limit unknown")),
        };
        let even = quota.even_pace_percent(now).filter(|_| known);
        let heading = match &outlook {
            Some(heading) if !heading.label.is_empty() && heading.end.is_none() => format!("; {}", heading.label),
            Some(heading) if !heading.label.is_empty() => format!("; {} at the reset", heading.label),
            _ => words::lack(&at.forecast).map_or_else(String::new, |lack| format!("; no forecast: {lack}")),
        };
        let summary = match even {
            Some(even) => format!(
                "{} of the {} limit used at {}, an even pace would be {}{heading}",
                amount(now_value),
                format::limit(key),
                format::clock(&state.zone, now),
                format::percent(even)
            ),
            None => format!("{} used since {since}", amount(now_value)),
        };
        Self {
            level: if known { at.status.as_str() } else { "unknown" },
            summary,
            head,
            sub,
            area: chart::under(&scale, &line, from, to),
            line,
            even: even.map(|_| "M0 100L1000 0".to_owned()),
            now: now_at,
            outlook,
            y_ticks,
            x_ticks,
        }
    }
}

fn history(state: &DashboardState, key: &LimitKey, now: Timestamp) -> Rows {
    let row = |point: &QuotaPoint| {
        let percent = point.percent.map_or_else(|| format::UNKNOWN.to_owned(), format::percent_1);
        vec![format::clock_day(&state.zone, point.minute.start(), now), percent, format::exact(point.used.0)]
    };
    let points = state.limits.get(key).map(|quota| quota.points.as_slice()).unwrap_or_default();
    Rows { head: vec!["Time", "Used", "Tokens, input + output"], body: points.iter().rev().map(row).collect() }
}

fn ms(at: Timestamp) -> f64 {
    at.unix_ms() as f64
}

#[allow(clippy::cast_possible_truncation)] // milliseconds of this century
fn whole(ms: f64) -> i64 {
    ms as i64
}

/// One part of the strip of who used the window.
#[derive(Clone, Debug, PartialEq)]
struct Share {
    label: String,
    percent: f64,
    series: usize,
    striped: bool,
}

/// A project's colour: given when first seen, kept for as long as the page is open.
fn series_of(known: &mut Vec<String>, project: &str) -> usize {
    let at = known.iter().position(|name| name == project).unwrap_or_else(|| {
        known.push(project.to_owned());
        known.len() - 1
    });
    if at < SERIES { at + 1 } else { 0 }
}

fn shares(used_by: &[QuotaShare], elsewhere: f64, known: &mut Vec<String>) -> Vec<Share> {
    let mut parts = Vec::new();
    for share in used_by {
        let series = series_of(known, share.directory.as_ref().unwrap_or(&share.project));
        let mut part = |label: String, percent: f64, striped: bool| {
            if percent > 0.0 {
                parts.push(Share { label, percent, series, striped });
            }
        };
        part(share.project.clone(), share.own_percent, false);
        let subagents =
            if share.own_percent > 0.0 { "its subagents".to_owned() } else { format!("{} subagents", share.project) };
        part(subagents, share.agents_percent, true);
    }
    if elsewhere > 0.0 {
        parts.push(Share { label: "elsewhere".to_owned(), percent: elsewhere, series: 0, striped: false });
    }
    parts
}

/// The limit that the chart shows: the chosen one while it is known, else the one that leads.
fn charted(state: &DashboardState, chosen: Option<&LimitKey>) -> LimitKey {
    let shown = state.limits_shown();
    let chosen = chosen.filter(|key| shown.contains(key)).or(shown.first());
    chosen.cloned().unwrap_or_else(|| LimitKey::five_hour(Tool::DEFAULT))
}

/// The panel.
#[component]
pub(crate) fn QuotaPanel() -> impl IntoView {
    let chosen = RwSignal::new(None::<LimitKey>);
    let plan = figures(|state, _| state.plan.clone());
    let limits = figures(|state, _| state.limits_shown());
    let shown = figures(move |state, _| chosen.with(|chosen| charted(state, chosen.as_ref())));
    let even = figures(move |state, _| {
        shown.with(|key| state.limits.get(key).is_some_and(|quota| quota.now.percent.is_some()))
    });
    let chart = figures(move |state, now| shown.with(|key| Chart::of(state, key, now)));
    let is_forecast = chart.pick(|chart| chart.outlook.as_ref().is_some_and(|heading| !heading.cone.is_empty()));
    let rows = table(move |state, now| shown.with(|key| history(state, key, now)));
    let binding = figures(|state, _| {
        state
            .binding_limit()
            .map_or_else(Figure::unknown, |key| Figure { text: state.limit_title(key), raw: key.to_string() })
    });
    let cards = move |from: usize, to: usize| {
        let keys = limits.with(|all| all.iter().take(to).skip(from).cloned().collect::<Vec<_>>());
        keys.into_iter().enumerate().map(|(i, key)| limit_card(key, from + i == 0, chosen, shown)).collect_view()
    };
    let folded = limits.pick(|all| all.len().saturating_sub(SHOWN));
    view! {
        <section class="card quota" aria-labelledby="h-quota">
            <header class="card-head">
                <h2 class="card-title" id="h-quota">"Quota"</h2>
                {dynamic(move || plan.get().map(|plan| view! { <span class="chip">{plan}</span> }))}
                <div class="card-tools legend">
                    <span><i class="key"></i>"used"</span>
                    {dynamic(move || {
                        is_forecast.get().then(|| view! { <span><i class="key wedge"></i>"forecast, 80 %"</span> })
                    })}
                    {dynamic(move || even.get().then(|| view! { <span><i class="key dotted"></i>"even pace"</span> }))}
                    <AsTable caption="Quota over time" rows />
                </div>
            </header>
            <div class="quota-body">
                <fieldset class="windows">
                    <legend class="vh">
                        "Limit shown in the chart; leading: " {metric("binding.limit", binding.signal())}
                    </legend>
                    {dynamic(move || cards(0, SHOWN))}
                    {dynamic(move || {
                        (folded.get() > 0).then(|| view! {
                            <details class="more-limits">
                                <summary>{format!("{} more", folded.get())}</summary>
                                {cards(SHOWN, usize::MAX)}
                            </details>
                        })
                    })}
                </fieldset>
                {chart_view(chart)}
            </div>
            {used_by(shown)}
        </section>
    }
    .into_any()
}

/// The names of a limit's figures in the page's contract, besides `limit.…`: of Claude's two usual ones.
#[derive(Clone, Copy, Default)]
struct Hooks {
    percent: Option<&'static str>,
    used: Option<&'static str>,
    limit: Option<&'static str>,
    resets_at: Option<&'static str>,
    provenance: Option<&'static str>,
}

fn hooks(state: &DashboardState, key: &LimitKey) -> Hooks {
    macro_rules! hooks {
        ($name:literal) => {
            Hooks {
                percent: Some(concat!("quota.", $name, ".percent")),
                used: Some(concat!("quota.", $name, ".used")),
                limit: Some(concat!("quota.", $name, ".limit")),
                resets_at: Some(concat!("quota.", $name, ".resets_at")),
                provenance: Some(concat!("quota.", $name, ".provenance")),
            }
        };
    }
    let is = |known: Option<&LimitState>, usual: LimitKey| known.map_or(usual, |limit| limit.now.key.clone()) == *key;
    if is(state.five_hour(), LimitKey::five_hour(Tool::DEFAULT)) {
        hooks!("five_hour")
    } else if is(state.seven_day(), LimitKey::weekly(Tool::DEFAULT)) {
        hooks!("seven_day")
    } else {
        Hooks::default()
    }
}

/// A figure of a limit, under its general name and, where it has one, under its own.
fn limit_metric(name: &'static str, limit: &LimitKey, own: Option<&'static str>, figure: Signal<Figure>) -> AnyView {
    let inner = figure_view(own, figure);
    view! {
        <span data-metric=name data-limit=limit.to_string() data-value=calc(move || figure.with(|f| f.raw.clone()))>
            {inner}
        </span>
    }
    .into_any()
}

fn limit_card(key: LimitKey, main: bool, chosen: RwSignal<Option<LimitKey>>, shown: Derived<LimitKey>) -> AnyView {
    let store = expect_context::<Store>();
    let hooks = store.state.with_untracked(|state| hooks(state, &key));
    let of = key.clone();
    let card = figures(move |state, now| Window::of(state, &of, main, now));
    let level = card.pick(|w| w.level);
    let known = card.pick(|w| w.percent_known);
    let provenance = card.pick(|w| Figure { text: String::new(), raw: w.provenance.to_owned() });
    let (this, pick) = (key.clone(), key.clone());
    let name = card.pick(|w| w.name.clone());
    view! {
        <label class="window" class:main=main data-level=calc(move || known.get().then(|| level.get().as_str()))>
            <input
                class="vh"
                type="radio"
                name="window"
                prop:checked=calc(move || shown.with(|shown| *shown == this))
                checked=main
                on:change=move |_| chosen.set(Some(pick.clone()))
            />
            <span class="window-name">{name}</span>
            <span class="vh">
                {limit_metric("limit.provenance", &key, hooks.provenance, provenance)}
                {limit_metric("limit.limit_at", &key, None, card.pick(|w| w.limit_at.clone()))}
            </span>
            <ProvenanceChip
                source=card.pick(|w| w.source)
                text=card.pick(source_word)
                age=card.pick(|w| w.source_age.clone())
            />
            <span class="hero">
                <span class="value">
                    {limit_metric("limit.percent", &key, hooks.percent, card.pick(|w| w.percent.clone()))}
                </span>
                {dynamic(move || known.get().then(|| view! { <span class="unit">"%"</span> }))}
            </span>
            {dynamic(move || (main && known.get()).then(|| view! { <LevelChip level /> }))}
            <span class=calc(move || if main && !known.get() { "used" } else { "vh" })>
                <b>{figure_view(hooks.used, card.pick(|w| w.used.clone()))}</b>
                " tokens used"
                <span class="vh">", limit "{figure_view(hooks.limit, card.pick(|w| w.limit.clone()))}</span>
            </span>
            <Meter
                label=calc(move || format!("{} used", name.get()))
                percent=card.pick(|w| w.fill)
                tick=card.pick(|w| w.even)
                text=card.pick(|w| w.fill.map_or_else(String::new, format::percent))
                class=card.pick(|w| w.class)
            />
            <Verdict level=card.pick(|w| w.verdict_level) text=card.pick(|w| w.verdict.clone()) />
            <span class="reset">
                <Icon name="reset" />
                <span class="vh">"reset "</span>
                {limit_metric("limit.resets_at", &key, hooks.resets_at, card.pick(|w| w.resets.clone()))}
                <span class="long">{card.pick(|w| w.resets_long.clone())}</span>
            </span>
        </label>
    }
    .into_any()
}

fn figure_view(own: Option<&'static str>, figure: Signal<Figure>) -> AnyView {
    match own {
        Some(own) => metric(own, figure),
        None => view! { {calc(move || figure.with(|f| f.text.clone()))} }.into_any(),
    }
}

fn source_word(window: &Window) -> String {
    let word = if window.provenance.is_empty() { "no data yet" } else { window.provenance };
    if window.source_age.is_empty() { word.to_owned() } else { format!("{word} ·") }
}

fn chart_view(chart: Derived<Chart>) -> AnyView {
    let unknown = chart.pick(|c| c.now.is_none());
    let at = chart.pick(|c| c.now.as_ref().map(|(x, y, _)| format!("--x:{x:.1}%;--y:{y:.1}%")));
    let stem = chart
        .pick(|c| c.now.as_ref().map(|(x, y, _)| format!("--x:{x:.1}%;inset-block-start:auto;block-size:{y:.1}%")));
    let cone = chart.pick(|c| c.outlook.as_ref().map(|o| o.cone.clone()));
    let median = chart.pick(|c| c.outlook.as_ref().map(|o| o.median.clone()));
    let outlook = figures_of_outlook(chart);
    view! {
        <div class="chart quota-chart" data-level=chart.pick(|c| c.level)>
            <div class="plot" role="img" aria-label=chart.pick(|c| c.summary.clone())>
                <YTicks ticks=chart.pick(|c| c.y_ticks.clone()) />
                <svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">
                    <path class="even" d=chart.pick(|c| c.even.clone())></path>
                    <path class="area" fill="url(#fade)" d=chart.pick(|c| c.area.clone())></path>
                    <path class="cone" d=cone></path>
                    <path class="median" d=median></path>
                    <path class="line" d=chart.pick(|c| c.line.clone())></path>
                </svg>
                {outlook}
                <span class="vline" hidden=unknown style=stem></span>
                <span class="dot now" hidden=unknown style=at></span>
                <span
                    class="callout"
                    class:flip=chart.pick(|c| c.now.as_ref().is_some_and(|(x, ..)| *x < 25.0))
                    style=at
                >
                    {chart.pick(|c| c.now.as_ref().map(|(_, _, text)| text.clone()))}
                </span>
                // On the side where the curve is not.
                <span
                    class="headline"
                    class:right=chart.pick(|c| c.now.as_ref().is_some_and(|(x, y, _)| *x < 45.0 && *y > 55.0))
                >
                    <b>{chart.pick(|c| c.head.clone())}</b>
                    {chart.pick(|c| c.sub.clone())}
                </span>
                <XTicks ticks=chart.pick(|c| c.x_ticks.clone()) />
            </div>
        </div>
    }
    .into_any()
}

/// What has a shape or letters of its own: the blocked span, the diamond with its bar, the label.
fn figures_of_outlook(chart: Derived<Chart>) -> AnyView {
    let outlook = chart.pick(|c| c.outlook.clone());
    dynamic(move || {
        outlook.with(|outlook| {
            let outlook = outlook.as_ref()?;
            let blocked = outlook.blocked.as_ref().map(|(x, words)| {
                view! {
                    <span class="blocked" style=format!("--x:{x:.1}%")>
                        <span><b>{words.clone()}</b>"blocked"</span>
                    </span>
                }
            });
            let limit = outlook.limit.map(|(at, early, late)| {
                view! {
                    <span class="span" style=format!("--x:{early:.1}%;--w:{:.1}%", late - early)></span>
                    <span class="diamond" style=format!("--x:{at:.1}%")></span>
                }
            });
            let label = (!outlook.label.is_empty()).then(|| {
                let (x, y) = (outlook.limit.map_or(100.0, |(at, ..)| at), outlook.end.unwrap_or(100.0));
                view! {
                    <span class="heading" class:end=outlook.end.is_some() style=format!("--x:{x:.1}%;--y:{y:.1}%")>
                        {outlook.label.clone()}
                    </span>
                }
            });
            Some(view! { {blocked} {limit} {label} })
        })
    })
    .into_any()
}

/// Who used the window of the limit in the chart.
fn used_by(shown: Derived<LimitKey>) -> AnyView {
    let seen = StoredValue::new(Vec::new());
    let parts = figures(move |state, _| {
        let limit = shown.with(|key| state.limits.get(key));
        let (used_by, elsewhere) = limit.map(LimitState::shares).unwrap_or_default();
        seen.try_update_value(|seen| shares(&used_by, elsewhere, seen)).unwrap_or_default()
    });
    let of = figures(move |state, _| {
        shown.with(|key| match state.limits.get(key).is_some_and(|limit| limit.now.starts_at.is_some()) {
            true => format!("· % of the tokens of {}", state.limit_title(key)),
            false => format!("· % of the tokens of the {}", trailing(key)),
        })
    });
    let summary = move || {
        let text = |p: &Share| format!("{} {}", p.label, format::percent_1(p.percent));
        parts.with(|parts| parts.iter().map(text).collect::<Vec<_>>().join(", "))
    };
    let bar = |part: &Share| {
        view! {
            <i class:striped=part.striped data-series=part.series style=format!("--w:{:.2}%", part.percent)></i>
        }
    };
    let entry = |part: &Share| {
        view! {
            <li>
                <i class="swatch" class:striped=part.striped data-series=part.series></i>
                <span class="share-name" title=part.label.clone()>{part.label.clone()}</span>
                <b class="num">{format!("{:.1}", part.percent)}</b>
            </li>
        }
    };
    view! {
        <div class="used-by">
            <div class="used-by-head">
                <h3>"Used by "<span class="muted">{of.signal()}</span></h3>
            </div>
            <div class="share" role="img" aria-label=calc(move || format!("Used by: {}", summary()))>
                {dynamic(move || parts.with(|parts| parts.iter().map(bar).collect_view()))}
            </div>
            <ul class="legend">{dynamic(move || parts.with(|parts| parts.iter().map(entry).collect_view()))}</ul>
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_keeps_its_colour_when_the_ranking_changes() {
        let share = |project: &str, own, agents| QuotaShare {
            project: project.to_owned(),
            directory: Some(format!("/home/ada/{project}")),
            own_percent: own,
            agents_percent: agents,
        };
        let mut seen = Vec::new();
        let before = shares(&[share("a", 60.0, 20.0), share("b", 20.0, 0.0)], 0.0, &mut seen);
        let drawn: Vec<_> = before.iter().map(|p| (p.label.as_str(), p.series, p.striped)).collect();
        assert_eq!(drawn, [("a", 1, false), ("its subagents", 1, true), ("b", 2, false)]);
        let after = shares(&[share("b", 70.0, 0.0), share("a", 30.0, 0.0)], 0.0, &mut seen);
        assert_eq!(after.iter().map(|p| p.series).collect::<Vec<_>>(), [2, 1]);
    }
}
