//! The pages, rendered here so that the first paint needs no script, then taken over by the browser.

use std::sync::Arc;

use app::ServerCookies;
use app::feed::{ServerBoot, ServerBuild};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, COOKIE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dashboard_core::protocol::Boot;
use leptos::context::provide_context;
use leptos::nonce::use_nonce;
use leptos::prelude::expect_context;
use leptos_axum::{ResponseOptions, generate_route_list, render_app_to_stream_in_order_with_context};

use super::{App, Problem, assets, security};

/// The routes the application has. Those with a parameter are open to any value.
pub(super) fn routes() -> Router<App> {
    let listings = generate_route_list(app::App);
    listings.iter().fold(Router::new(), |router, listing| router.route(listing.path(), get(page)))
}

async fn page(State(app): State<App>, request: Request) -> Response {
    render(app, request).await
}

/// Everything that is neither page nor API: a file, or a page that says that there is nothing.
pub(super) async fn file_or_not_found(State(app): State<App>, request: Request) -> Response {
    // Taken out of the request, whose body may not be shared with what is waited for.
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    match assets::find(&path, &headers).await {
        Some(file) => file,
        None if !headers.get(ACCEPT).is_some_and(|types| types.as_bytes().starts_with(b"text/html")) => {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here.").into_response()
        }
        None => {
            let mut response = render(app, request).await;
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

async fn render(app: App, request: Request) -> Response {
    let is_demo = is_demo(request.uri());
    let boot = ServerBoot(boot(&app, is_demo).await);
    let cookies = ServerCookies(header(&request, &COOKIE).unwrap_or_default().to_owned());
    let host: Option<Authority> = header(&request, &HOST).and_then(|host| host.parse().ok());
    // cargo-leptos says so while it watches; the page then listens for its word to reload.
    let reload_port = std::env::var_os("LEPTOS_WATCH").map(|_| app.leptos.reload_port);
    let build = ServerBuild(app.hub.build().clone());
    let context = move || {
        provide_context(boot.clone());
        provide_context(build.clone());
        provide_context(cookies.clone());
        let nonce = use_nonce().map(|nonce| nonce.to_string()).unwrap_or_default();
        let policy = security::page_policy(&nonce, host.as_ref(), reload_port);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            expect_context::<ResponseOptions>().insert_header(CONTENT_SECURITY_POLICY, policy);
        }
    };
    let options = app.leptos;
    render_app_to_stream_in_order_with_context(context, move || app::shell(options.clone()))(request).await
}

fn header<'a>(request: &'a Request, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What the page begins with: the state as it is now. Nothing while history is being read, and nothing for the
/// demo, which makes its own; the page shows its skeleton then.
async fn boot(app: &App, is_demo: bool) -> Option<Arc<Boot>> {
    if is_demo || !app.hub.has_begun() {
        return None;
    }
    let snapshot = app.hub.snapshot().await.ok()?;
    let state = snapshot.state.clone();
    Some(Arc::new(Boot { epoch: snapshot.epoch.clone(), now: app.clock.now(), state }))
}

fn is_demo(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair == "demo" || pair.starts_with("demo="))
}
