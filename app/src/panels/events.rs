//! Events: the newest lines of the log. The list holds still under the pointer, so that a line can
//! be read to its end.

use dashboard_core::event::Seq;
use dashboard_core::format;
use dashboard_core::level::Level;
use dashboard_core::state::{DashboardState, LogLine};
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::web_sys::Node;

use super::figures;
use crate::feed::Store;
use crate::ui::{Filters, dynamic};

/// Most lines shown.
const MAX_LINES: usize = 60;
const KINDS: &[(&str, &str)] =
    &[("", "All"), ("session:", "Tokens"), ("quota:", "Quota"), ("context:", "Context"), ("health:", "Health")];

/// The panel.
#[component]
pub(crate) fn EventsPanel() -> impl IntoView {
    let store = expect_context::<Store>();
    let kind = RwSignal::new(KINDS[0].0);
    // The newest line when the pointer came; later ones wait.
    let held = RwSignal::new(None::<Seq>);
    let initial = store.state.with_untracked(|state| state.seq);
    let per_min = figures(DashboardState::events_per_min);
    let lines = figures(move |state, _| {
        let (kind, held) = (kind.get(), held.get());
        let shown = |line: &&LogLine| line.kind().starts_with(kind) && held.is_none_or(|held| line.seq <= held);
        state.log.iter().rev().filter(shown).take(MAX_LINES).cloned().collect::<Vec<_>>()
    });
    let waiting = figures(move |state, _| {
        let (kind, Some(held)) = (kind.get(), held.get()) else { return 0 };
        state.log.iter().rev().take_while(|line| line.seq > held).filter(|line| line.kind().starts_with(kind)).count()
    });
    let hold_still = move || held.set(Some(store.state.with_untracked(|state| state.seq)));
    let release = move || held.set(None);
    // Held from the moment the list is entered until the card is left, so that the button can be reached.
    let left = move |ev: leptos::ev::FocusEvent| {
        let card = ev.current_target().and_then(|card| card.dyn_into::<Node>().ok());
        let next = ev.related_target().and_then(|next| next.dyn_into::<Node>().ok());
        if !card.is_some_and(|card| card.contains(next.as_ref())) {
            release();
        }
    };
    view! {
        <section
            class="card events"
            aria-labelledby="h-events"
            on:mouseleave=move |_| release()
            on:focusout=left
        >
            <header class="card-head">
                <h2 class="card-title" id="h-events">"Events"</h2>
                <span class="card-sub">{per_min.pick(ToString::to_string)}" / min"</span>
                <Filters label="Kind of events" options=KINDS chosen=kind />
            </header>
            <ol
                class="event-list"
                data-list="events"
                tabindex="0"
                aria-label="Events, newest first"
                on:mouseenter=move |_| hold_still()
                on:focus=move |_| hold_still()
            >
                <For each=move || lines.get() key=|line| line.seq let:line>
                    {event_row(&line, initial)}
                </For>
            </ol>
            {dynamic(move || {
                (waiting.get() > 0).then(|| view! {
                    <button class="btn sm primary new-events" type="button" on:click=move |_| release()>
                        "+"{waiting.pick(ToString::to_string)}" new"
                    </button>
                })
            })}
        </section>
    }
    .into_any()
}

fn event_row(line: &LogLine, initial: Seq) -> AnyView {
    let store = expect_context::<Store>();
    let time = store.state.with_untracked(|state| format::clock_s(&state.zone, line.at));
    let level = (line.level() > Level::Healthy).then(|| line.level().as_str());
    let fresh = line.seq > initial;
    view! {
        <li class="event" class:fresh=fresh data-event-type=line.kind() data-level=level>
            <time datetime=line.at.to_string()>{time}</time>
            <span class="event-type"><i class="swatch"></i>{line.kind()}</span>
            <span class="event-subject">{line.subject()}</span>
            <span class="event-change">{line.change()}</span>
        </li>
    }
    .into_any()
}
