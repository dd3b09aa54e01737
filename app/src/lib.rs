//! The Leptos application: what a person sees.

use leptos::prelude::*;

/// The page's body.
#[component]
pub fn App() -> impl IntoView {
    view! { <main>"Dashboard"</main> }
}
