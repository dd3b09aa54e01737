//! The pages, rendered here so that the first paint needs no script; the browser mounts the same page in its place.

use std::io::Write as _;
use std::sync::Arc;

use app::document;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, VARY,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dashboard_core::protocol::Boot;

use super::assets::Coding;
use super::{App, Problem, assets, security};

/// The routes the application has. Those with a parameter are open to any value.
pub(super) fn routes() -> Router<App> {
    app::ROUTES.iter().fold(Router::new(), |router, path| router.route(path, get(page)))
}

async fn page(State(app): State<App>, request: Request) -> Response {
    // Taken out of the request, whose body may not be shared with what is waited for.
    let (parts, _) = request.into_parts();
    render(app, &parts.uri, &parts.headers).await
}

/// Everything that is neither page nor API: a file, or a page that says that there is nothing.
pub(super) async fn file_or_not_found(State(app): State<App>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let headers = &parts.headers;
    match assets::find(parts.uri.path(), headers).await {
        Some(file) => file,
        None if !headers.get(ACCEPT).is_some_and(|types| types.as_bytes().starts_with(b"text/html")) => {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here.").into_response()
        }
        None => {
            let mut response = render(app, &parts.uri, headers).await;
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

async fn render(app: App, uri: &Uri, headers: &HeaderMap) -> Response {
    let boot = boot(&app, is_demo(uri)).await;
    let host: Option<Authority> = header(headers, &HOST).and_then(|host| host.parse().ok());
    let reload_port = app.development.as_ref().map(|options| options.reload_port);
    let request = document::Request {
        url: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        cookies: header(headers, &COOKIE).unwrap_or_default().to_owned(),
        boot,
        build: app.hub.build().clone(),
        development: app.development,
    };
    let coding = Coding::best(headers);
    // Milliseconds of work, which frames to other pages must not wait for.
    let rendered = tokio::task::spawn_blocking(move || {
        let document::Rendered { html, nonce } = document::render(request);
        let (body, coding) = compressed(html.into_bytes(), coding);
        (body, coding, nonce)
    });
    let Ok((body, coding, nonce)) = rendered.await else {
        let message = "The page could not be rendered; the dashboard's log says why.";
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "render", message).into_response();
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    }
    if let Ok(policy) = HeaderValue::from_str(&security::page_policy(nonce.as_deref(), host.as_ref(), reload_port)) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Brotli's and gzip's fast middle: beyond it a document made for one reader costs more time than its bytes do.
const BROTLI_QUALITY: i32 = 5;
const BROTLI_WINDOW_BITS: i32 = 20;

/// The body in `coding`, and the coding it is in: none where it could not be compressed.
fn compressed(plain: Vec<u8>, coding: Option<Coding>) -> (Vec<u8>, Option<Coding>) {
    let packed = coding.and_then(|coding| {
        let mut packed = Vec::with_capacity(plain.len() / 4);
        match coding {
            Coding::Brotli => {
                let mut params = brotli::enc::BrotliEncoderParams::default();
                (params.quality, params.lgwin, params.size_hint) = (BROTLI_QUALITY, BROTLI_WINDOW_BITS, plain.len());
                brotli::BrotliCompress(&mut plain.as_slice(), &mut packed, &params).ok()?;
            }
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::default());
                encoder.write_all(&plain).ok()?;
                encoder.finish().ok()?;
            }
        }
        Some((packed, Some(coding)))
    });
    packed.unwrap_or((plain, None))
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_compressed_page_is_the_same_page() {
        let html = "<p>figures</p>".repeat(500).into_bytes();
        let (packed, coding) = compressed(html.clone(), Some(Coding::Brotli));
        let mut plain = Vec::new();
        brotli::BrotliDecompress(&mut packed.as_slice(), &mut plain).unwrap();
        assert_eq!((coding, &plain), (Some(Coding::Brotli), &html));
        let (packed, coding) = compressed(html.clone(), Some(Coding::Gzip));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!((coding, &plain), (Some(Coding::Gzip), &html));
        assert_eq!(compressed(html.clone(), None), (html, None));
    }
}
