//! An address without a page.

use leptos::prelude::*;

use super::Page;
use crate::site::Site;

/// The page for everything else.
#[component]
pub(crate) fn NotFoundPage() -> impl IntoView {
    let live = expect_context::<Site>().href("/");
    view! {
        <Page title="Nothing here" about="There is no page at this address.">
            <p><a href=live>"Go to the live page"</a></p>
        </Page>
    }
}
