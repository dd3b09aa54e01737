//! Small labels that carry a meaning: a level, where a number comes from.

use dashboard_core::format;
use dashboard_core::level::Level;
use leptos::prelude::*;

use super::figure::{calc, dynamic};

use super::icon::{Icon, LevelIcon};

/// A level by shape, word and colour. `metric` names it for scripts.
#[component]
pub(crate) fn LevelChip(level: Signal<Level>, #[prop(optional)] metric: Option<&'static str>) -> impl IntoView {
    let word = move || level.get().as_str();
    view! {
        <span class="level" data-level=word data-metric=metric data-value=metric.map(|_| word)>
            <LevelIcon level />
            {calc(move || format::level(level.get()))}
        </span>
    }
    .into_any()
}

/// Where a number comes from. `source` is the word scripts read: `official`, `estimated`,
/// `simulated`; or `outdated`, which only changes how the chip looks. `age` follows the text, and
/// stands alone where room is short. `metric` names the source for
/// scripts, with its raw value.
#[component]
pub(crate) fn ProvenanceChip(
    source: Signal<&'static str>,
    text: Signal<String>,
    #[prop(optional)] age: Option<Signal<String>>,
    #[prop(optional)] metric: Option<(&'static str, Signal<String>)>,
) -> impl IntoView {
    let icon = calc(move || match source.get() {
        "official" => "shield",
        "outdated" => "clock",
        "simulated" => "flask",
        _ => "approx",
    });
    view! {
        <span
            class="chip"
            class:aged=calc(move || age.is_some_and(|age| age.with(|age| !age.is_empty())))
            data-provenance=source
            data-metric=metric.map(|(name, _)| name)
            data-value=metric.map(|(_, raw)| raw)
        >
            <Icon name=icon />
            <span class="source">{text}</span>
            {age}
        </span>
    }
    .into_any()
}

/// A few words with the level's icon in front; without one for `None`.
#[component]
pub(crate) fn Verdict(level: Signal<Option<Level>>, text: Signal<String>) -> impl IntoView {
    let shown = calc(move || level.get().unwrap_or_default());
    view! {
        <span class="verdict" data-level=calc(move || level.get().map(Level::as_str))>
            {dynamic(move || level.get().map(|_| view! { <LevelIcon level=shown /> }))}
            <span>{text}</span>
        </span>
    }
    .into_any()
}
