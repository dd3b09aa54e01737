//! Days: the current month and the two weeks behind us.

use dashboard_core::event::DayUsage;
use dashboard_core::format;
use leptos::prelude::*;

use super::{Page, Section};
use crate::panels::figures;
use crate::ui::dynamic;

#[derive(Clone, Debug, PartialEq)]
struct Row {
    day: String,
    today: bool,
    /// Input, cache write, output, cache read, all, responses, cost.
    cells: [String; 7],
}

fn row(day: &DayUsage, today: bool) -> Row {
    let usage = &day.usage;
    let kinds = [usage.input, usage.cache_creation, usage.output, usage.cache_read].map(|count| format::exact(count.0));
    let [input, write, output, read] = kinds;
    let all = format::exact(usage.total().0);
    Row {
        day: format::day(day.day),
        today,
        cells: [input, write, output, read, all, format::exact(day.responses), format::cost(&day.cost)],
    }
}

/// The page at `/history`.
#[component]
pub(crate) fn HistoryPage() -> impl IntoView {
    let days = figures(|state, _| {
        state.days.iter().rev().map(|day| row(day, state.today == Some(day.day))).collect::<Vec<_>>()
    });
    let total = figures(|state, _| row(&state.days_total(), false));
    let cells = |row: &Row| row.cells.iter().map(|cell| view! { <td class="n">{cell.clone()}</td> }).collect_view();
    let view_row = move |row: &Row| {
        view! {
            <tr>
                <th scope="row">{row.day.clone()}{row.today.then_some(" · so far")}</th>
                {cells(row)}
            </tr>
        }
    };
    view! {
        <Page title="History" about="The current month and the last 14 days, in the configured time zone.">
            <Section id="h-days" title="Usage by day" about="cost at API list prices; days without use are left out">
                <div class="table-wrap" tabindex="0" role="group" aria-label="Usage by day">
                    <table class="table">
                        <caption class="vh">"Usage by day"</caption>
                        <thead>
                            <tr>
                                <th scope="col" aria-sort="descending">"Day"</th>
                                <th scope="col" class="n">"Input"</th>
                                <th scope="col" class="n">"Cache write"</th>
                                <th scope="col" class="n">"Output"</th>
                                <th scope="col" class="n">"Cache read"</th>
                                <th scope="col" class="n">"All tokens"</th>
                                <th scope="col" class="n">"Responses"</th>
                                <th scope="col" class="n">"Cost"</th>
                            </tr>
                        </thead>
                        <tbody>{dynamic(move || days.with(|days| days.iter().map(view_row).collect_view()))}</tbody>
                        <tfoot>
                            <tr>
                                <th scope="row">"All days"</th>
                                {dynamic(move || total.with(cells))}
                            </tr>
                        </tfoot>
                    </table>
                </div>
            </Section>
        </Page>
    }
}
