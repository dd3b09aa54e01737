//! A chart's numbers as a table, for those who cannot or do not want to read the drawing.

use leptos::{ev, html, prelude::*};

use super::figure::dynamic;

use super::icon::Icon;

/// A table's head and body as text. The first column is the row's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Column headings.
    pub(crate) head: Vec<&'static str>,
    /// Cells, row by row.
    pub(crate) body: Vec<Vec<String>>,
}

/// "Show as table": opens over the card, so that nothing moves. The rows are made only while open.
#[component]
pub(crate) fn AsTable(caption: &'static str, rows: Signal<Rows>) -> impl IntoView {
    let open = RwSignal::new(false);
    let details = NodeRef::<html::Details>::new();
    let toggled = move |_: ev::Event| open.set(details.get().is_some_and(|details| details.open()));
    view! {
        <details class="as-table" node_ref=details on:toggle=toggled>
            <summary class="icon-btn bare" title="Show as table" aria-label=format!("{caption}: show as table")>
                <Icon name="table" />
            </summary>
            {dynamic(move || open.get().then(|| table(caption, rows)))}
        </details>
    }
    .into_any()
}

fn table(caption: &'static str, rows: Signal<Rows>) -> impl IntoView {
    let column = |(i, name): (usize, &&'static str)| {
        let class = if i > 0 { "n" } else { "" };
        view! { <th scope="col" class=class>{*name}</th> }
    };
    let head = move || rows.with(|r| r.head.iter().enumerate().map(column).collect_view());
    let row = |cells: &Vec<String>| {
        let name = cells.first().cloned().unwrap_or_default();
        let values = cells.iter().skip(1).map(|cell| view! { <td class="n">{cell.clone()}</td> }).collect_view();
        view! { <tr><th scope="row">{name}</th>{values}</tr> }
    };
    view! {
        <div class="as-table-body" tabindex="0" role="region" aria-label=caption>
            <table class="table">
                <caption class="vh">{caption}</caption>
                <thead><tr>{head}</tr></thead>
                <tbody>{dynamic(move || rows.with(|r| r.body.iter().map(row).collect_view()))}</tbody>
            </table>
        </div>
    }
}
