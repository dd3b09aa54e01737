//! The Leptos application: what a person sees.

pub mod feed;

use leptos::prelude::*;

/// The page's body.
#[component]
pub fn App() -> impl IntoView {
    view! { <main>"Dashboard"</main> }
}
