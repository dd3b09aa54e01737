//! What the server answers over HTTP: thin handlers over the hub, the health reports and the files.
//!
//! Nothing in here computes a number.

mod alerts;
mod api;
mod assets;
mod attempts;
mod calendar;
mod content_hash;
mod forecast;
mod ingest;
mod metrics;
mod openapi;
mod pages;
mod records;
mod report;
mod security;
mod serve;
mod settings;
mod shared;
mod token;
mod ws;

use crate::observation::Root;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::Request;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, middleware};
use dashboard_core::event::Seq;
use dashboard_core::ids::Epoch;
use dashboard_core::price::PriceTable;
use dashboard_core::report::ReportKind;
use dashboard_core::state::Mode;
use dashboard_core::time::ZoneOffsets;
use leptos::config::{LeptosOptions, get_configuration};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower_http::limit::RequestBodyLimitLayer;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::control::Control;
use crate::health::DashboardHealth;
use crate::history::Archive;
use crate::hub::Hub;
use crate::settings::LiveSettings;

pub(crate) use assets::build_id;
pub use ingest::Ingest;
pub use metrics::HighWater;
pub use security::{Access, AccessError, is_loopback};
pub(crate) use serve::{ConnectionBudget, serve};
pub use token::{Token, TokenChoice};

/// Reports made at once.
pub(crate) const REPORTS_AT_ONCE: usize = 2;
/// Largest request body. No route takes more than a few lines.
const BODY_BYTES: usize = 64 << 10;
/// How long a request may take until its answer begins, its body included. A WebSocket's request is over when it becomes
/// one; how long an answer may take to be read, `serve` decides.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// The log of events and the snapshots.
    pub hub: Hub,
    /// How the parts are.
    pub health: DashboardHealth,
    /// The data's clock.
    pub clock: Clock,
    /// Where the data comes from.
    pub mode: Mode,
    /// When the server was started.
    pub started: Instant,
    /// Who may ask.
    pub access: Access,
    /// What the user decides.
    pub settings: LiveSettings,
    /// Gives orders to the engine.
    pub control: Control,
    /// Where reports get their figures from.
    pub archive: Archive,
    /// The zone in which days begin.
    pub zone: Arc<ZoneOffsets>,
    /// Prices of models.
    pub prices: Arc<PriceTable>,
    /// Where transcripts are looked for.
    pub roots: Arc<[Root]>,
    /// Where what relays send goes; none in a simulation.
    pub ingest: Option<Ingest>,
    /// Where history is kept, if it is.
    pub database: Option<Arc<Path>>,
    /// The highest values of the counters in `/metrics`.
    pub high_water: HighWater,
    /// How many reports may be made at once.
    pub turns: Arc<Semaphore>,
    /// Reports under way.
    pub reports: Reports,
    /// The development server that tells pages to reload, while there is one.
    pub development: Option<LeptosOptions>,
}

/// Reports that are being made: whoever asks the same of the same state meanwhile shares the bytes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Reports(shared::Shared<ReportKey>);

/// Everything a report depends on: the epoch and number of the newest event, and what was asked.
type ReportKey = (Epoch, Seq, String);

/// The routes for scripts and sockets, and their paths.
fn api_routes() -> (Router<App>, Vec<String>) {
    let mut routes = vec![
        ("/ws".to_owned(), any(ws::upgrade)),
        ("/health".to_owned(), get(api::health)),
        ("/metrics".to_owned(), get(metrics::metrics)),
        ("/calendar.ics".to_owned(), get(calendar::calendar)),
        ("/api/openapi.json".to_owned(), get(openapi::openapi)),
        ("/api/v1/snapshot".to_owned(), get(api::snapshot)),
        ("/api/v1/forecast".to_owned(), get(forecast::forecast)),
        ("/api/v1/alerts".to_owned(), get(alerts::list)),
        ("/api/v1/alerts/snooze".to_owned(), post(alerts::snooze)),
        ("/api/v1/alerts/acknowledge".to_owned(), post(alerts::acknowledge)),
        ("/api/v1/settings".to_owned(), get(settings::get).put(settings::put)),
        (records::PATH.to_owned(), get(records::records)),
        (ingest::STATUS_LINE.to_owned(), post(ingest::status_line)),
    ];
    routes.extend(ReportKind::ALL.map(|kind| {
        let answer = move |state, query| report::Asked(kind).answer(state, query);
        (format!("/api/v1/{kind}"), get(answer))
    }));
    let paths = routes.iter().map(|(path, _)| path.clone()).collect();
    (routes.into_iter().fold(Router::new(), |router, (path, answer)| router.route(&path, answer)), paths)
}

/// All routes behind all layers.
pub fn router(app: App) -> Router {
    let access = app.access.clone();
    let (api, _) = api_routes();
    api.route("/api/{*path}", any(api::unknown))
        .merge(pages::routes())
        .fallback(get(pages::file_or_not_found))
        .with_state(app)
        .layer(RequestBodyLimitLayer::new(BODY_BYTES))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(access, security::guard))
        .layer(middleware::from_fn(security::headers))
}

/// Ends a request that takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = "The dashboard did not answer in time; ask again, and see /health.";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message);
            Problem { retry_after: Some(5), ..problem }.into_response()
        }
    }
}

/// The development server, where cargo-leptos says that it watches.
pub(crate) fn development() -> anyhow::Result<Option<LeptosOptions>> {
    let options = || get_configuration(None).context("cannot read the development server's options");
    std::env::var_os("LEPTOS_WATCH").map(|_| Ok(options()?.leptos_options)).transpose()
}

/// An error as the API and the guard answer it: `{"error":"…","message":"…"}`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// Machine-readable.
    error: &'static str,
    /// What is wrong and what to do.
    message: String,
    /// Seconds after which asking again may help.
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), retry_after: None }
    }

    /// Reports have nothing to tell yet.
    pub(crate) fn reading() -> Self {
        let message = "History is being read; ask again in a moment.";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "reading", message);
        Self { retry_after: Some(1), ..problem }
    }

    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The dashboard is stopping.")
    }
}

/// The JSON that a request carries.
fn body<T>(json: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    json.map(|Json(body)| body).map_err(|error| Problem::new(error.status(), "bad_body", error.body_text()))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after;
        let mut response = (self.status, Json(self)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::Service;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_ended() {
        let never = || async { std::future::pending::<()>().await };
        let mut router = Router::new().route("/", get(never)).layer(middleware::from_fn(in_time));
        let began = Instant::now();
        let response = router.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(RETRY_AFTER));
        assert_eq!(began.elapsed(), REQUEST_TIMEOUT);
    }
}
