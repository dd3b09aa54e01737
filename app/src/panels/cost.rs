//! Cost: at list prices, for the session, today and the month; and what the cache saves.

use dashboard_core::event::DayUsage;
use dashboard_core::format;
use dashboard_core::state::{CacheGrade, DashboardState};
use dashboard_core::units::{Cost, Money};
use leptos::prelude::*;

use super::{figures, focus, session_figures, table};
use crate::ui::{AsTable, Derived, Figure, ProvenanceChip, Rows, calc, metric};

/// Spending by day.
#[derive(Clone, Debug, PartialEq)]
struct Days {
    simulated: bool,
    today: Figure,
    today_tokens: Figure,
    month: String,
    month_name: &'static str,
    /// Heights in percent of the highest day; none for a day without use.
    bars: Vec<Option<f64>>,
    first: String,
    peak: String,
}

impl Days {
    fn of(state: &DashboardState) -> Self {
        let unknown = || Cost { unpriced_responses: 1, ..Cost::default() };
        let today = state.today_usage();
        let days = state.recent_days();
        let peak = state.peak_day();
        let bar = |day: &DayUsage| {
            let cost = day.cost.known().unwrap_or_default();
            (day.responses > 0).then(|| if peak > Money::ZERO { cost.usd() * 100.0 / peak.usd() } else { 0.0 })
        };
        Self {
            simulated: state.mode.is_simulated(),
            today: Figure::cost(&today.as_ref().map_or_else(unknown, |day| day.cost)),
            today_tokens: Figure::tokens(today.map(|day| day.usage.total())),
            month: format::cost(&state.month_usage().map_or_else(unknown, |month| month.cost)),
            month_name: state.today.map_or("this month", format::month),
            bars: days.iter().map(bar).collect(),
            first: days.first().map_or_else(String::new, |day| format::day(day.day)),
            peak: format::money(peak),
        }
    }
}

fn by_day(state: &DashboardState) -> Rows {
    let row = |day: &DayUsage| vec![format::day(day.day), format::tokens(day.usage.total()), format::cost(&day.cost)];
    Rows { head: vec!["Day", "Tokens", "Cost"], body: state.recent_days().iter().rev().map(row).collect() }
}

/// How well the cache serves the session.
#[derive(Clone, Debug, PartialEq)]
struct Cache {
    cost: Figure,
    grade: Option<CacheGrade>,
    hit: String,
    saved: String,
}

/// The panel; session figures are those of the session in focus.
#[component]
pub(crate) fn CostPanel() -> impl IntoView {
    let days = figures(|state, _| Days::of(state));
    let known = session_figures(focus(), |_, session, _| {
        let grade = session.cache_grade();
        Cache {
            cost: Figure::cost(&session.cost),
            grade: grade.map(|(grade, _)| grade),
            hit: grade.map_or_else(|| format::UNKNOWN.to_owned(), |(_, hit)| format::percent_1(hit)),
            saved: format::money(session.cost.saved),
        }
    });
    let cache = Derived::new(move || {
        let unknown = || format::UNKNOWN.to_owned();
        known.get().unwrap_or_else(|| Cache { cost: Figure::unknown(), grade: None, hit: unknown(), saved: unknown() })
    });
    let source = days.pick(|d| if d.simulated { "simulated" } else { "estimated" });
    let source_text = days.pick(|d| if d.simulated { "simulated" } else { "API list prices" }.to_owned());
    view! {
        <section class="card cost" aria-labelledby="h-cost">
            <header class="card-head">
                <h2 class="card-title" id="h-cost">"Cost"</h2>
                <div class="card-tools">
                    <ProvenanceChip source text=source_text />
                    <AsTable caption="Cost by day" rows=table(|state, _| by_day(state)) />
                </div>
            </header>
            <dl class="cost-values">
                <div>
                    <dt>"this session"</dt>
                    <dd>{metric("session.cost_usd", cache.pick(|c| c.cost.clone()))}</dd>
                </div>
                <div>
                    <dt>
                        "today · "{metric("today.tokens", days.pick(|d| d.today_tokens.clone()))}
                        <span class="vh">" tokens"</span>
                    </dt>
                    <dd>{metric("today.cost_usd", days.pick(|d| d.today.clone()))}</dd>
                </div>
                <div>
                    <dt>{days.pick(|d| d.month_name)}</dt>
                    <dd>{days.pick(|d| d.month.clone())}</dd>
                </div>
            </dl>
            {bars(days)}
            {grade_row(cache)}
        </section>
    }
    .into_any()
}

fn bars(days: Derived<Days>) -> AnyView {
    let bar = |(height, is_today): (&Option<f64>, bool)| {
        let class = match (height, is_today) {
            (_, true) => "today",
            (None, false) => "none",
            (Some(_), false) => "",
        };
        view! { <i class=class style=height.map(|h| format!("--h:{h:.1}%"))></i> }
    };
    let all =
        move || days.with(|d| d.bars.iter().enumerate().map(|(i, h)| bar((h, i + 1 == d.bars.len()))).collect_view());
    view! {
        <div
            class="bars"
            role="img"
            aria-label=days.pick(|d| format!("Cost per day since {}, highest {}, today {}", d.first, d.peak, d.today.text))
        >
            {all}
        </div>
        <div class="bars-axis">
            <span>{days.pick(|d| d.first.clone())}</span>
            <span>"per day · peak "{days.pick(|d| d.peak.clone())}</span>
            <span>"today so far"</span>
        </div>
    }
    .into_any()
}

fn grade_row(cache: Derived<Cache>) -> AnyView {
    let grade = cache.pick(|c| c.grade);
    let level = calc(move || grade.get().map_or("unknown", |grade| grade.level().as_str()));
    let words = move || grade.get().map_or((format::UNKNOWN, "no input yet"), CacheGrade::words);
    view! {
        <div class="grade-row">
            <span class="grade" data-level=level>{calc(move || words().0)}</span>
            <span><b>{cache.pick(|c| c.hit.clone())}" cache hit rate"</b>{calc(move || words().1)}</span>
            <span><b>{cache.pick(|c| c.saved.clone())}</b>"saved by cache"</span>
        </div>
    }
    .into_any()
}
