//! `/health` and `/api/v1/…`: what the page shows, as JSON for scripts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dashboard_core::event::{ComponentHealth, HealthStatus, Seq};
use dashboard_core::ids::Epoch;
use dashboard_core::state::{DashboardState, Mode};
use dashboard_core::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

use super::{App, Problem};
use crate::clock;

/// `GET /health`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    status: HealthStatus,
    /// `live` or `simulation`.
    #[schema(value_type = String)]
    mode: Mode,
    version: &'static str,
    uptime_s: u64,
    clients: u64,
    components: BTreeMap<String, ComponentHealth>,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

pub(super) async fn health(State(app): State<App>) -> Response {
    let check = app.health.check();
    let health = Health {
        status: check.status,
        mode: app.mode,
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: app.started.elapsed().as_secs(),
        clients: *app.hub.clients().borrow(),
        components: check.components,
        timestamp: clock::wall(),
    };
    let code = match check.status {
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
    };
    (code, Json(health)).into_response()
}

/// `GET /api/v1/snapshot`, for the API's description. What is sent is [`Snapshot::json`](crate::hub::Snapshot::json), one
/// text for all who ask, sockets included.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code)]
pub(super) struct SnapshotAnswer<'a> {
    /// Always `snapshot`.
    frame: &'static str,
    /// The numbering the state belongs to.
    #[schema(value_type = String)]
    epoch: &'a Epoch,
    /// The last event in it.
    #[schema(value_type = u64)]
    seq: Seq,
    /// What the page would show; its fields are those of the events, see docs/PROTOCOL.md.
    #[schema(value_type = Object)]
    state: &'a DashboardState,
}

pub(super) async fn snapshot(State(app): State<App>) -> Result<Response, Problem> {
    let snapshot = app.hub.snapshot().await.map_err(|_| Problem::stopping())?;
    Ok(([(CONTENT_TYPE, "application/json")], snapshot.json()).into_response())
}

pub(super) async fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such route; see docs/PROTOCOL.md.")
}
