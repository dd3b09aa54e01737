//! `/health` and `/api/v1/…`: what the page shows, as JSON for scripts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dashboard_core::event::{ComponentHealth, HealthStatus, Seq};
use dashboard_core::ids::Epoch;
use dashboard_core::state::{DashboardState, Mode};
use dashboard_core::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

use super::{App, Problem};
use crate::clock;

/// `GET /health`.
#[derive(Debug, Serialize)]
struct Health {
    status: HealthStatus,
    mode: Mode,
    version: &'static str,
    uptime_s: u64,
    clients: u64,
    components: BTreeMap<String, ComponentHealth>,
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

/// `GET /api/v1/snapshot`.
#[derive(Debug, Serialize)]
struct Snapshot<'a> {
    epoch: &'a Epoch,
    seq: Seq,
    state: &'a DashboardState,
}

pub(super) async fn snapshot(State(app): State<App>) -> Result<Response, Problem> {
    let snapshot: Arc<_> = app.hub.snapshot().await.map_err(|_| Problem::stopping())?;
    let body = Snapshot { epoch: &snapshot.epoch, seq: snapshot.state.seq, state: &snapshot.state };
    Ok(Json(body).into_response())
}

pub(super) async fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such route; see docs/PROTOCOL.md.")
}
