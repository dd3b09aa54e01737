//! Tokens: the exact total of a session, how fast it grows, and what it is made of.

use dashboard_core::event::MinuteTokens;
use dashboard_core::format;
use dashboard_core::ids::SessionId;
use dashboard_core::state::{DashboardState, MINUTES_KEPT, Session};
use dashboard_core::time::{MINUTE_MS, Minute, SECOND_MS, Timestamp, ZoneOffsets};
use dashboard_core::units::Tokens;
use leptos::prelude::*;

use super::session_figures;
use crate::ui::chart::{self, Point, Scale, Tick, XTicks, YTicks};
use crate::ui::{AsTable, Derived, Figure, Rows, Segments, calc, metric};

/// Most points drawn per series.
const MAX_POINTS: usize = 121;
const RANGES: &[(&str, &str)] = &[("30", "30 min"), ("120", "2 h"), ("all", "Session")];

/// Totals of the session.
#[derive(Clone, Debug, PartialEq)]
struct Totals {
    id: Figure,
    total: Figure,
    rate: Figure,
    trend: String,
    /// Input, cache write, output, cache read: count and share.
    kinds: [(Figure, String); 4],
}

impl Totals {
    fn of(state: &DashboardState, session: &Session, now: Timestamp) -> Self {
        let (usage, all) = (&session.usage, session.usage.total());
        let kind = |count: Tokens| {
            let share = count.percent_of(all).map_or_else(|| format::UNKNOWN.to_owned(), format::percent_1);
            (Figure::exact(count.0), share)
        };
        let trend = session.rate_trend_percent(now).map_or_else(String::new, |change| {
            let arrow = if change < 0.0 { "↓" } else { "↑" };
            format!("{arrow} {} vs 10\u{202f}min", format::percent(change.abs()))
        });
        Self {
            id: Figure { text: state.project_label(session), raw: session.id.to_string() },
            total: Figure::exact(all.0),
            rate: Figure::tokens(Some(session.rate_per_min(now))),
            trend,
            kinds: [kind(usage.input), kind(usage.cache_creation), kind(usage.output), kind(usage.cache_read)],
        }
    }

    fn none() -> Self {
        let unknown = || (Figure::unknown(), format::UNKNOWN.to_owned());
        Self {
            id: Figure { text: "no session yet".to_owned(), raw: String::new() },
            total: Figure::unknown(),
            rate: Figure::unknown(),
            trend: String::new(),
            kinds: [unknown(), unknown(), unknown(), unknown()],
        }
    }
}

/// The two lanes: fresh tokens above, cache reads, which would flatten them, below.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lanes {
    fresh_summary: String,
    reads_summary: String,
    /// Areas and upper edges of output, cache write, input, from below.
    fresh: [(String, String); 3],
    reads: (String, String),
    /// Heights of the newest values, in percent.
    dots: Option<(f64, f64)>,
    fresh_ticks: Vec<Tick>,
    reads_ticks: Vec<Tick>,
    x_ticks: Vec<Tick>,
}

/// The peak minute of every `per` minutes, so that a short burst stays visible.
fn thin(minutes: &[MinuteTokens]) -> Vec<MinuteTokens> {
    let per = minutes.len().div_ceil(MAX_POINTS).max(1);
    minutes.chunks(per).filter_map(|chunk| chunk.iter().max_by_key(|m| m.total()).copied()).collect()
}

/// The minutes to draw. Compared before anything is drawn: they change once a minute, the state
/// many times a second.
#[derive(Clone, Debug, Default, PartialEq)]
struct Minutes {
    zone: ZoneOffsets,
    /// Oldest first, at most [`MAX_POINTS`].
    shown: Vec<MinuteTokens>,
}

impl Minutes {
    /// Only whole minutes: the one in course would read as a fall.
    fn of(state: &DashboardState, session: &Session, range: &str, now: Timestamp) -> Self {
        let last = Minute(now.minute().0 - 1);
        let kept = range.parse().unwrap_or(MINUTES_KEPT);
        let all = session.minute_series(Minute(last.0 - kept + 1), last);
        Self { zone: state.zone.clone(), shown: thin(&all) }
    }

    fn table(&self) -> Rows {
        let row = |m: &MinuteTokens| {
            let mut cells = vec![format::clock(&self.zone, m.minute.start())];
            cells.extend([m.input, m.cache_creation, m.output, m.cache_read].map(|count| format::exact(count.0)));
            cells
        };
        let head = vec!["Minute", "Input", "Cache write", "Output", "Cache read"];
        Rows { head, body: self.shown.iter().rev().map(row).collect() }
    }
}

impl Lanes {
    /// Before the first whole minute.
    fn blank() -> Self {
        let nothing = || "No whole minute of this session yet".to_owned();
        Self {
            fresh_summary: nothing(),
            reads_summary: nothing(),
            fresh_ticks: chart::blank_grid(2),
            reads_ticks: chart::blank_grid(1),
            ..Self::default()
        }
    }

    fn of(drawn: &Minutes) -> Self {
        let minutes = &drawn.shown;
        let (Some(first), Some(last), true) = (minutes.first(), minutes.last(), minutes.len() > 1) else {
            return Self::blank();
        };
        let x = |minute: Minute| minute.start().unix_ms() as f64;
        let series = |value: fn(&MinuteTokens) -> Tokens| -> Vec<Point> {
            minutes.iter().map(|m| (x(m.minute), value(m).0 as f64)).collect()
        };
        let peak = |points: &[Point]| points.iter().fold(0.0, |max: f64, point| max.max(point.1));
        let (output, write, input) =
            (series(|m| m.output), series(|m| m.output + m.cache_creation), series(MinuteTokens::fresh));
        let reads = series(|m| m.cache_read);
        let fresh_steps = chart::value_ticks(peak(&input), 2);
        let reads_steps = chart::value_ticks(peak(&reads), 1);
        let span = (x(first.minute), x(last.minute));
        let fresh = Scale { x: span, top: fresh_steps.last().copied().unwrap_or(1.0) };
        let low = Scale { x: span, top: reads_steps.last().copied().unwrap_or(1.0) };
        let base = [(span.0, 0.0), (span.1, 0.0)];
        let part = |upper: &[Point], lower: &[Point]| (chart::band(&fresh, upper, lower), chart::curve(&fresh, upper));

        let ticks = |scale: &Scale, steps: &[f64]| -> Vec<Tick> { steps.iter().map(|&y| tick(scale, y)).collect() };
        let clock = |at: i64| format::clock(&drawn.zone, Timestamp::from_unix_ms(at));
        let offset = i64::from(drawn.zone.offset_s(last.minute.start())) * SECOND_MS;
        let times = chart::time_ticks(first.minute.0 * MINUTE_MS, last.minute.0 * MINUTE_MS, offset, 6);
        let height = |scale: &Scale, points: &[Point]| points.last().map_or(0.0, |point| scale.y_percent(point.1));
        let span_text = format::span((last.minute.0 - first.minute.0 + 1) * MINUTE_MS);
        let most = |points: &[Point]| chart::count_label(peak(points));
        Self {
            fresh_summary: format!("Fresh tokens per minute over {span_text}, at most {}", most(&input)),
            reads_summary: format!("Cache reads per minute over {span_text}, at most {}", most(&reads)),
            fresh: [part(&output, &base), part(&write, &output), part(&input, &write)],
            reads: (chart::band(&low, &reads, &base), chart::curve(&low, &reads)),
            dots: Some((height(&fresh, &input), height(&low, &reads))),
            fresh_ticks: ticks(&fresh, &fresh_steps),
            reads_ticks: ticks(&low, &reads_steps),
            x_ticks: chart::time_labels(&fresh, &times, clock, (span.1, "now".to_owned()), 12.0),
        }
    }
}

fn tick(scale: &Scale, y: f64) -> Tick {
    Tick { percent: scale.y_percent(y), label: chart::count_label(y), class: if y == 0.0 { "base" } else { "" } }
}

/// The panel, for one session.
#[component]
pub(crate) fn TokensPanel(of: Signal<Option<SessionId>>) -> impl IntoView {
    let range = RwSignal::new(RANGES[0].0);
    let known = session_figures(of, Totals::of);
    let totals = Derived::new(move || known.get().unwrap_or_else(Totals::none));
    let minutes = session_figures(of, move |state, session, now| Minutes::of(state, session, range.get(), now));
    let lanes = Derived::new(move || minutes.with(|minutes| minutes.as_ref().map_or_else(Lanes::blank, Lanes::of)));
    let table = calc(move || minutes.with(|m| m.as_ref().map(Minutes::table)).unwrap_or_default());
    view! {
        <section class="card tokens" aria-labelledby="h-tokens">
            <header class="card-head">
                <h2 class="card-title" id="h-tokens">"Tokens"</h2>
                <span class="card-sub">{metric("session.id", totals.pick(|t| t.id.clone()))}
                    {totals.pick(|t| if t.id.raw.is_empty() { "" } else { " · session" }.to_owned())}
                </span>
                <div class="card-tools">
                    <Segments label="Range" options=RANGES chosen=range />
                    <AsTable caption="Tokens by minute" rows=table />
                </div>
            </header>
            <div class="tokens-body">
                <div class="tokens-total">
                    // As large as its digits allow.
                    <span class="hero" style=totals.pick(|t| format!("--chars:{}", t.total.text.len().max(11)))>
                        {metric("session.tokens.total", totals.pick(|t| t.total.clone()))}
                    </span>
                    <p>
                        <span>
                            <b>{metric("session.tokens.rate", totals.pick(|t| t.rate.clone()))}</b>
                            " tokens / min"
                        </span>
                        <span class="trend">{totals.pick(|t| t.trend.clone())}</span>
                    </p>
                </div>
                {kinds(totals)}
                {lanes_view(lanes)}
            </div>
        </section>
    }
    .into_any()
}

fn kinds(totals: Derived<Totals>) -> AnyView {
    let row = |i: usize, kind: &'static str, label: &'static str, hook: &'static str| {
        view! {
            <tr>
                <th scope="row"><i class="swatch" data-kind=kind></i>{label}</th>
                <td class="num">
                    {metric(hook, calc(move || totals.with(|t| t.kinds[i].0.clone())))}
                </td>
                <td>{calc(move || totals.with(|t| t.kinds[i].1.clone()))}</td>
            </tr>
        }
    };
    view! {
        <table class="kinds">
            <caption class="vh">"Tokens by kind"</caption>
            <tbody>
                {row(0, "input", "Input", "session.tokens.input")}
                {row(1, "cache_creation", "Cache write", "session.tokens.cache_creation")}
                {row(2, "output", "Output", "session.tokens.output")}
                {row(3, "cache_read", "Cache read", "session.tokens.cache_read")}
            </tbody>
        </table>
    }
    .into_any()
}

/// Where the newest value is marked.
fn at_the_end(height_percent: f64) -> String {
    format!("--x:100%;--y:{height_percent:.1}%")
}

fn lanes_view(lanes: Derived<Lanes>) -> AnyView {
    let area = |i: usize, kind: &'static str| {
        view! { <path class="area" data-kind=kind d=calc(move || lanes.with(|l| l.fresh[i].0.clone()))></path> }
    };
    let edge = |i: usize, kind: &'static str| {
        view! { <path class="edge" data-kind=kind d=calc(move || lanes.with(|l| l.fresh[i].1.clone()))></path> }
    };
    let hidden = lanes.pick(|l| l.dots.is_none());
    view! {
        <div class="chart lanes">
            <div class="plot fresh" role="img" aria-label=lanes.pick(|l| l.fresh_summary.clone())>
                <span class="lane-label">"fresh tokens / min"</span>
                <YTicks ticks=lanes.pick(|l| l.fresh_ticks.clone()) />
                <svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">
                    {area(0, "output")} {area(1, "cache_creation")} {area(2, "input")}
                    {edge(0, "output")} {edge(1, "cache_creation")} {edge(2, "input")}
                </svg>
                <i class="vline" style="--x:100%" hidden=hidden></i>
                <i
                    class="dot"
                    data-kind="input"
                    hidden=hidden
                    style=lanes.pick(|l| l.dots.map(|(fresh, _)| at_the_end(fresh)))
                ></i>
            </div>
            <div class="plot reads" role="img" aria-label=lanes.pick(|l| l.reads_summary.clone())>
                <span class="lane-label">"cache reads / min"</span>
                <YTicks ticks=lanes.pick(|l| l.reads_ticks.clone()) />
                <svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">
                    <path class="area" data-kind="cache_read" d=lanes.pick(|l| l.reads.0.clone())></path>
                    <path class="edge" data-kind="cache_read" d=lanes.pick(|l| l.reads.1.clone())></path>
                </svg>
                <i class="vline" style="--x:100%" hidden=hidden></i>
                <i
                    class="dot"
                    data-kind="cache_read"
                    hidden=hidden
                    style=lanes.pick(|l| l.dots.map(|(_, reads)| at_the_end(reads)))
                ></i>
                <XTicks ticks=lanes.pick(|l| l.x_ticks.clone()) />
            </div>
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_peaks() {
        let minute =
            |n: i64| MinuteTokens { output: Tokens(u64::from(n == 137) * 500), ..MinuteTokens::none(Minute(n)) };
        let all: Vec<_> = (0..300).map(minute).collect();
        let thinned = thin(&all);
        assert_eq!(thinned.len(), 100);
        assert!(thinned.iter().any(|m| m.output == Tokens(500)));
        assert_eq!(thin(&all[..30]).len(), 30);
    }
}
