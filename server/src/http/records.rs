//! `/api/v1/sessions/{id}/records`: what happened in a session, in order of time, for a replay.
//!
//! Read from the store, not from the engine, which keeps no history of its own. What was read in the last moment may
//! therefore be missing: the store writes at least four times a second.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use dashboard_core::ids::SessionId;
use dashboard_core::replay::SessionRecords;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{App, Problem};
use crate::store;

/// The route.
pub(super) const PATH: &str = "/api/v1/sessions/{id}/records";
/// Records of one answer, if it is not said how many.
const USUAL: u64 = 1_000;
/// Most records of one answer.
const MOST: u64 = 10_000;

/// Which stretch of the records.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordsQuery {
    from: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn records(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<RecordsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let bad = |message: String| Problem::new(StatusCode::BAD_REQUEST, "bad_query", message);
    let Query(RecordsQuery { from, limit }) =
        query.map_err(|error| bad(format!("{}; allowed: from, limit", error.body_text())))?;
    let limit = limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(bad(format!("limit is {limit}; allowed: 1 to {MOST}")));
    }
    let Some(database) = app.database.as_ref().map(Arc::clone) else {
        let message = "This dashboard keeps no history, so it has no records of sessions.";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_history", message));
    };
    if !app.hub.has_begun() {
        return Err(Problem::reading());
    }
    let _turn = app.turns.acquire().await.map_err(|_| Problem::stopping())?;
    let session = SessionId::new(id);
    let read = move || -> Result<Option<Vec<u8>>, String> {
        let records = store::session_records(&database, &session).map_err(|error| error.to_string())?;
        let stretch = records.map(|records| SessionRecords::stretch(session, records, from.unwrap_or(0), limit));
        stretch.map(|stretch| serde_json::to_vec(&stretch)).transpose().map_err(|error| error.to_string())
    };
    let body = spawn_blocking(read).await.map_err(|error| error.to_string()).flatten();
    let body = body.map_err(|error| {
        tracing::error!(%error, "records of a session cannot be read");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "The history cannot be read; the log says why.")
    })?;
    let Some(body) = body else {
        let message = "There is no such session; /api/v1/sessions lists those there are.";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_session", message));
    };
    Ok(([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "application/json")], body).into_response())
}
