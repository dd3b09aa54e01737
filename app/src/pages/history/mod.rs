//! What was used when, in which sessions and projects, by which models.
//!
//! With a server, its reports: any range, any grouping ([`served`]). Without one, the days the state holds.

mod rows;
mod served;

use leptos::prelude::*;

use self::rows::{Row, table};
use super::{Page, Section};
use crate::feed::Store;
use crate::panels::figures;
use crate::ui::{Derived, calc};

/// The page at `/history`.
#[component]
pub(crate) fn HistoryPage() -> impl IntoView {
    if expect_context::<Store>().demo.is_none() {
        return served::history();
    }
    held()
}

/// The state's days, newest first.
fn days() -> Derived<Vec<Row>> {
    figures(|state, _| {
        let row = |day| Row::of_day(day, state.today == Some(day.day));
        state.days.iter().rev().map(row).collect()
    })
}

/// The days of the simulation, which has no other history.
fn held() -> AnyView {
    let rows = days();
    let total = figures(|state, _| Row::total(&state.days_total()));
    let simulated = expect_context::<Store>().demo.is_some();
    let about = if simulated {
        "Made-up use: the current month and the last 14 days of the simulation."
    } else {
        "The current month and the last 14 days."
    };
    view! {
        <Page title="History" about=about>
            <Section id="h-days" title="Usage by day" about="cost at API list prices; days without use are left out">
                {table("Day", "Usage by day", rows.signal(), calc(move || vec![total.get()]))}
            </Section>
        </Page>
    }
    .into_any()
}
