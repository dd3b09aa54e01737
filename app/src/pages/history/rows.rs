//! The table all groupings share: a name, the four kinds of tokens, their sum, responses, cost.

use dashboard_core::event::DayUsage;
use dashboard_core::format;
use dashboard_core::units::{Cost, TokenUsage};
use leptos::prelude::*;

use crate::ui::dynamic;

/// A row as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// What it is of.
    pub(super) name: String,
    /// More about that, in small.
    pub(super) about: String,
    /// Input, cache write, output, cache read, all, responses, cost.
    pub(super) cells: [String; 7],
}

impl Row {
    pub(super) fn new(name: String, about: String, usage: &TokenUsage, responses: u64, cost: &Cost) -> Self {
        let kinds = [usage.input, usage.cache_creation, usage.output, usage.cache_read, usage.total()];
        let [input, write, output, read, all] = kinds.map(|count| format::exact(count.0));
        Self { name, about, cells: [input, write, output, read, all, format::exact(responses), format::cost(cost)] }
    }

    pub(super) fn of_day(day: &DayUsage, today: bool) -> Self {
        let about = if today { "so far".to_owned() } else { String::new() };
        Self::new(day.day.to_string(), about, &day.usage, day.responses, &day.cost)
    }

    pub(super) fn total(all: &DayUsage) -> Self {
        Self::new("All".to_owned(), String::new(), &all.usage, all.responses, &all.cost)
    }
}

/// The table. `sums` are below the rule.
pub(super) fn table(
    column: impl Into<TextProp>,
    caption: impl Into<TextProp>,
    rows: Signal<Vec<Row>>,
    sums: Signal<Vec<Row>>,
) -> AnyView {
    let (column, caption): (TextProp, TextProp) = (column.into(), caption.into());
    let label = caption.clone();
    let number = |name: &'static str| view! { <th scope="col" class="n">{name}</th> };
    let numbers = ["Input", "Cache write", "Output", "Cache read", "All tokens", "Responses", "Cost"].map(number);
    view! {
        <div class="table-wrap" tabindex="0" role="group" aria-label=move || label.get()>
            <table class="table history">
                <caption class="vh">{move || caption.get()}</caption>
                <thead>
                    <tr>
                        <th scope="col">{move || column.get()}</th>
                        {numbers.collect_view()}
                    </tr>
                </thead>
                <tbody>{dynamic(move || rows.with(|rows| rows.iter().map(view_row).collect_view()))}</tbody>
                <tfoot>{dynamic(move || sums.with(|rows| rows.iter().map(view_row).collect_view()))}</tfoot>
            </table>
        </div>
    }
    .into_any()
}

fn view_row(row: &Row) -> AnyView {
    let about = (!row.about.is_empty()).then(|| view! { <small>{row.about.clone()}</small> });
    let cells = row.cells.iter().map(|cell| view! { <td class="n">{cell.clone()}</td> }).collect_view();
    view! { <tr><th scope="row">{row.name.clone()}{about}</th>{cells}</tr> }.into_any()
}
