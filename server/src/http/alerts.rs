//! `/api/v1/alerts`: what is so and worth acting on, in words; and to hear no more of it.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dashboard_core::alert::{self, AlertSubject, words};
use dashboard_core::time::{MINUTE_MS, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{App, Problem};
use crate::control::Order;

/// Longest snooze, in minutes: a week.
const MAX_SNOOZE_MINUTES: u32 = 7 * 24 * 60;

/// `GET /api/v1/alerts`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alerts {
    /// Until when nothing is delivered; null if it is.
    #[schema(value_type = Option<String>, format = DateTime)]
    snoozed_until: Option<Timestamp>,
    /// Worst first, then least time left.
    alerts: Vec<AlertRow>,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertRow {
    /// `info`, `warning`, `danger` or `critical`.
    level: &'static str,
    /// What is so, typed: an object with one field, see docs/PROTOCOL.md.
    #[schema(value_type = Object)]
    condition: alert::Condition,
    /// What it is about: what an acknowledgement names.
    #[schema(value_type = Object)]
    subject: AlertSubject,
    /// What is so, in a few words.
    title: String,
    /// Where, and how much.
    detail: String,
    /// What to do; null where waiting is all there is.
    recommendation: Option<&'static str>,
    /// Whether the user knows of it.
    acknowledged: bool,
}

pub(super) async fn list(State(app): State<App>) -> Result<Json<Alerts>, Problem> {
    let snapshot = app.hub.snapshot().await.map_err(|_| Problem::stopping())?;
    let (state, now) = (&snapshot.state, app.clock.now());
    let row = |alert: alert::Alert| AlertRow {
        level: alert.level.as_str(),
        subject: alert.condition.subject(),
        title: words::title(&alert),
        detail: words::detail(&alert, state, now),
        recommendation: words::recommendation(&alert),
        acknowledged: state.silences.hide(&alert),
        condition: alert.condition,
    };
    let alerts = alert::alerts(state, now).into_iter().map(row).collect();
    Ok(Json(Alerts { snoozed_until: state.silences.snoozed_until(now), alerts }))
}

/// `POST /api/v1/alerts/snooze`.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Snooze {
    /// For how many minutes nothing is delivered, at most a week; 0 delivers again.
    minutes: u32,
}

pub(super) async fn snooze(
    State(app): State<App>,
    json: Result<Json<Snooze>, JsonRejection>,
) -> Result<Response, Problem> {
    let Snooze { minutes } = super::body(json)?;
    if minutes > MAX_SNOOZE_MINUTES {
        let message = format!("minutes: allowed are 0 to {MAX_SNOOZE_MINUTES}, a week.");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_minutes", message));
    }
    let order = Order::Snooze(i64::from(minutes) * MINUTE_MS);
    app.control.order(order).await.map_err(|_| Problem::stopping())?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/alerts/acknowledge`.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Acknowledge {
    /// The `subject` of an alert.
    #[schema(value_type = Object)]
    subject: AlertSubject,
}

pub(super) async fn acknowledge(
    State(app): State<App>,
    json: Result<Json<Acknowledge>, JsonRejection>,
) -> Result<Response, Problem> {
    let Acknowledge { subject } = super::body(json)?;
    let order = Order::Acknowledge(subject);
    match app.control.order(order).await.map_err(|_| Problem::stopping())? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Problem::new(StatusCode::NOT_FOUND, "no_alert", "There is no alert about this at present.")),
    }
}
