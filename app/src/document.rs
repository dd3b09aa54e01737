//! The documents around the page: as the server sends it, and as a file of the static site.

use std::sync::Arc;

use dashboard_core::ids::BuildId;
use dashboard_core::protocol::Boot;
use leptos::config::LeptosOptions;
use leptos::hydration::AutoReload;
use leptos::nonce::{Nonce, provide_nonce, use_nonce};
use leptos::prelude::*;
use leptos_router::location::RequestUrl;

use crate::App;
use crate::feed::ServerBoot;
use crate::head::{Head, Noted, Root};
use crate::site::{BUILD_META, Directory, SITE_META, STYLE_SHEET};
use crate::theme::ServerCookies;

/// What a page is rendered from.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query.
    pub url: String,
    /// The `Cookie` header, for the theme.
    pub cookies: String,
    /// What the page begins with; none for its skeleton.
    pub boot: Option<Arc<Boot>>,
    /// The build of the page that is served.
    pub build: BuildId,
    /// The development server that tells pages to reload, while there is one.
    pub development: Option<LeptosOptions>,
}

/// A document as the server sends it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The document.
    pub html: String,
    /// Names its only inline script, which the development server brings.
    pub nonce: Option<Nonce>,
}

/// The whole document of a served page: head, body, and the state the page begins with as JSON.
///
/// Takes milliseconds of work for a full state, and waits for nothing.
pub fn render(request: Request) -> Rendered {
    let owner = Owner::new_root(None);
    owner.with(|| {
        provide_context(ServerCookies(request.cookies));
        provide_context(ServerBoot(request.boot.clone()));
        let (head, body) = body(&request.url);
        let development = request.development.map(|options| {
            provide_nonce();
            view! { <AutoReload options /> }.to_html()
        });
        let boot = request.boot.and_then(|boot| serde_json::to_string(&*boot).ok()).map_or_else(String::new, |json| {
            // As part of a document, `<` could end the script; JSON has another way to write it.
            let json = json.replace('<', "\\u003c");
            // At the end, so that it delays nothing that is seen.
            format!(r#"<script type="application/json" id="boot">{json}</script>"#)
        });
        let head_end = format!(
            r#"<link rel="icon" href="/favicon.svg" type="image/svg+xml"><meta name="{BUILD_META}" content="{}">{}"#,
            escaped(request.build.as_str()),
            development.as_deref().unwrap_or_default(),
        );
        let html = document(&head, "/", &head_end, &format!("{body}{boot}"));
        Rendered { html, nonce: development.and_then(|_| use_nonce()) }
    })
}

/// What the static site's pages may load and do: their own files; the worker starts from a blob, which the page's policy
/// binds as well.
const STATIC_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src blob:; \
     style-src 'self'; style-src-attr 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
     form-action 'none'";

/// `public/favicon.svg`, inline: at another address of the page a browser would ask for the file again.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Crect \
     width='24' height='24' rx='6' fill='%2338bdf8'/%3E%3Cpath d='M5.5 16.5a7.5 7.5 0 1 1 13 0M12 14l3.5-4.5' \
     fill='none' stroke='%2306202f' stroke-width='2.5' stroke-linecap='round'/%3E%3C/svg%3E";

/// The files of the static site that are documents: path and content of each. The skeleton of every fixed route, in a
/// directory of its own, so that any web server can serve it from any path.
pub fn static_documents() -> Vec<(String, String)> {
    let routes = crate::ROUTES.iter().filter(|route| !route.contains('{'));
    let document = |route: &&str| {
        let name = route.trim_matches('/');
        let base = if name.is_empty() { "./" } else { "../" };
        let path = if name.is_empty() { "index.html".to_owned() } else { format!("{name}/index.html") };
        (path, static_document(route, base))
    };
    routes.map(document).collect()
}

fn static_document(route: &str, base: &'static str) -> String {
    Owner::new_root(None).with(|| {
        provide_context(Directory(base));
        let (head, body) = body(route);
        let head_end = format!(
            r#"<meta http-equiv="Content-Security-Policy" content="{STATIC_POLICY}"><meta name="referrer" content="no-referrer"><link rel="icon" href="{ICON}"><meta name="{SITE_META}" content="static">"#
        );
        let body = format!(
            "<noscript>The demo runs in this page and needs JavaScript and WebAssembly.</noscript>{body}"
        );
        document(&head, base, &head_end, &body)
    })
}

/// The page's body, and what it noted for the head.
fn body(url: &str) -> (Head, String) {
    let noted = Noted::default();
    provide_context(noted.clone());
    provide_context(RequestUrl::new(url));
    let body = App().into_view().to_html();
    (noted.head(), body)
}

/// The document around a body; `base` leads to the site's files.
fn document(head: &Head, base: &str, head_end: &str, body: &str) -> String {
    let attributes = |root: Root| -> String {
        let of_root = head.attributes.iter().filter(|(of, ..)| *of == root);
        of_root.map(|(_, name, value)| format!(r#" {name}="{}""#, escaped(value))).collect()
    };
    let (html_attributes, body_attributes, title) =
        (attributes(Root::Document), attributes(Root::Body), escaped(&head.title));
    format!(
        r#"<!DOCTYPE html>
<html lang="en"{html_attributes}><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover"><meta name="color-scheme" content="light dark">{head_end}<title>{title}</title><link rel="stylesheet" href="{base}{STYLE_SHEET}"><link rel="modulepreload" href="{base}pkg/dashboard.js"><link rel="preload" href="{base}pkg/dashboard.wasm" as="fetch" type="application/wasm" crossorigin><script type="module" src="{base}loader.js"></script></head><body{body_attributes}>{body}</body></html>"#
    )
}

/// Text as content or attribute of an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
