//! The pages, rendered here so that the first paint needs no script, then taken over by the browser.

use std::sync::Arc;

use app::ServerCookies;
use app::feed::ServerBoot;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, COOKIE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use dashboard_core::protocol::Boot;
use leptos::context::provide_context;
use leptos::nonce::use_nonce;
use leptos::prelude::expect_context;
use leptos_axum::{ResponseOptions, render_app_async_with_context};

use super::{App, assets, security};

/// The routes that are pages. Those with a parameter are open to any value.
const PAGES: [&str; 6] = ["/", "/sessions", "/sessions/{id}", "/history", "/health-report", "/settings"];

pub(super) fn routes() -> Router<App> {
    PAGES.iter().fold(Router::new(), |router, path| router.route(path, get(page)))
}

async fn page(State(app): State<App>, request: Request) -> Response {
    render(app, request).await
}

/// Everything that is neither page nor API: a file, or a page that says that there is nothing.
pub(super) async fn file_or_not_found(State(app): State<App>, request: Request) -> Response {
    match assets::find(request.uri().path(), request.headers()).await {
        Some(file) => file,
        None => {
            let mut response = render(app, request).await;
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

async fn render(app: App, request: Request) -> Response {
    let boot = ServerBoot(boot(&app, &request).await);
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let cookies = ServerCookies(text(COOKIE).unwrap_or_default().to_owned());
    let host: Option<Authority> = text(HOST).and_then(|host| host.parse().ok());
    // cargo-leptos says so while it watches; the page then listens for its word to reload.
    let reload_port = std::env::var_os("LEPTOS_WATCH").map(|_| app.leptos.reload_port);
    let context = move || {
        provide_context(boot.clone());
        provide_context(cookies.clone());
        let nonce = use_nonce().map(|nonce| nonce.to_string()).unwrap_or_default();
        let policy = security::page_policy(&nonce, host.as_ref(), reload_port);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            expect_context::<ResponseOptions>().insert_header(CONTENT_SECURITY_POLICY, policy);
        }
    };
    let options = app.leptos;
    render_app_async_with_context(context, move || app::shell(options.clone()))(request).await
}

/// What the page begins with: the state as it is now. Nothing while history is being read, and nothing for the
/// demo, which makes its own; the page shows its skeleton then.
async fn boot(app: &App, request: &Request) -> Option<Arc<Boot>> {
    let query = request.uri().query().unwrap_or_default();
    let is_demo = query.split('&').any(|pair| pair == "demo" || pair.starts_with("demo="));
    if is_demo || !app.hub.has_begun() {
        return None;
    }
    let snapshot = app.hub.snapshot().await.ok()?;
    let state = snapshot.state.clone();
    Some(Arc::new(Boot { epoch: snapshot.epoch.clone(), now: app.clock.now(), state }))
}
