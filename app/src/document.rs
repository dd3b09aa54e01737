//! The document around the page, as the server sends it.

use leptos::config::LeptosOptions;
use leptos::hydration::{AutoReload, HydrationScripts};
use leptos::prelude::*;
use leptos_meta::MetaTags;

use crate::App;
use crate::feed::{BUILD_META, ServerBoot, ServerBuild};
use crate::site::STYLE_SHEET;

/// The whole document: head, the state the page begins with as JSON, and the body.
///
/// Expects [`ServerBoot`] and [`ServerBuild`] in context, and [`ServerCookies`](crate::ServerCookies) for the theme.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    let boot = use_context::<ServerBoot>().and_then(|boot| boot.0).map(|boot| {
        let json = serde_json::to_string(&*boot).unwrap_or_default();
        // As part of a document, `<` could end the script; JSON has another way to write it.
        let json = json.replace('<', "\\u003c");
        view! { <script type="application/json" id="boot" inner_html=json></script> }
    });
    let build = use_context::<ServerBuild>().map(|ServerBuild(build)| {
        view! { <meta name=BUILD_META content=build.as_str().to_owned() /> }
    });
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover" />
                <meta name="color-scheme" content="light dark" />
                <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
                <link rel="stylesheet" href=format!("/{STYLE_SHEET}") />
                <AutoReload options=options.clone() />
                <HydrationScripts options />
                {build}
                {boot}
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}
