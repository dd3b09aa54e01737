//! Icons: outlines on a 24-grid, and the solid shapes that tell the levels apart without colour.

use dashboard_core::level::Level;
use leptos::prelude::*;

use super::figure::calc;

/// The shapes, once a page; everything else refers to them.
#[component]
pub(crate) fn Sprite() -> impl IntoView {
    view! { <svg class="sprite" aria-hidden="true" inner_html=include_str!("sprite.svg")></svg> }
}

/// An outline, by its name in the sprite.
#[component]
pub(crate) fn Icon(#[prop(into)] name: Signal<&'static str>) -> impl IntoView {
    view! {
        <svg class="icon" aria-hidden="true">
            <use_ href=calc(move || format!("#i-{}", name.get())) />
        </svg>
    }
    .into_any()
}

/// The shape of a level.
#[component]
pub(crate) fn LevelIcon(#[prop(into)] level: Signal<Level>) -> impl IntoView {
    view! {
        <svg class="icon solid" aria-hidden="true">
            <use_ href=calc(move || format!("#l-{}", level.get().as_str())) />
        </svg>
    }
    .into_any()
}
