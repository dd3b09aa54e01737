//! Controls that choose one of a few.

use leptos::prelude::*;

use super::figure::calc;

/// A segmented control: `options` by key and label.
#[component]
pub(crate) fn Segments(
    label: &'static str,
    options: &'static [(&'static str, &'static str)],
    chosen: RwSignal<&'static str>,
) -> impl IntoView {
    view! {
        <div class="seg" role="group" aria-label=label>
            {choices(options, "", chosen)}
        </div>
    }
    .into_any()
}

/// The same as a row of pills that filter a list.
#[component]
pub(crate) fn Filters(
    label: &'static str,
    options: &'static [(&'static str, &'static str)],
    chosen: RwSignal<&'static str>,
) -> impl IntoView {
    view! {
        <div class="card-tools filters" role="group" aria-label=label>
            {choices(options, "filter", chosen)}
        </div>
    }
    .into_any()
}

fn choices(
    options: &'static [(&'static str, &'static str)],
    class: &'static str,
    chosen: RwSignal<&'static str>,
) -> impl IntoView {
    let choice = |&(key, label): &(&'static str, &'static str)| {
        let pressed = calc(move || if chosen.get() == key { "true" } else { "false" });
        view! {
            <button class=class type="button" aria-pressed=pressed on:click=move |_| chosen.set(key)>
                {label}
            </button>
        }
    };
    options.iter().map(choice).collect_view()
}
