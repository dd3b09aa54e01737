//! A bar that is filled to a share, with a tick to compare it to.

use leptos::prelude::*;

use super::figure::calc;

/// A meter. `percent` is 0 to 100; an unknown one is hatched, never empty. `text` is what a screen
/// reader says of it.
#[component]
pub(crate) fn Meter(
    #[prop(into)] label: Signal<String>,
    percent: Signal<Option<f64>>,
    tick: Signal<Option<f64>>,
    text: Signal<String>,
    #[prop(into, default = Signal::stored("meter"))] class: Signal<&'static str>,
) -> impl IntoView {
    let known = move || percent.get().is_some();
    let style = calc(move || {
        let width = percent.get().map_or(0.0, |p| p.clamp(0.0, 100.0));
        tick.get().map_or_else(|| format!("--w:{width:.1}%"), |at| format!("--w:{width:.1}%;--tick:{at:.1}%"))
    });
    view! {
        <span
            class=class
            class:ticked=calc(move || tick.get().is_some())
            role=calc(move || known().then_some("meter"))
            aria-label=calc(move || known().then(|| label.get()))
            aria-valuemin=calc(move || known().then_some("0"))
            aria-valuemax=calc(move || known().then_some("100"))
            aria-valuenow=calc(move || percent.get().map(|p| format!("{:.1}", p.clamp(0.0, 100.0))))
            aria-valuetext=calc(move || known().then(|| text.get()))
            data-unknown=calc(move || (!known()).then_some(""))
            style=style
        ></span>
    }
    .into_any()
}
