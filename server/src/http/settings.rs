//! `/api/v1/settings`: what the user decides, where each value comes from, and to change it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::{App, Problem};
use crate::control::Order;
use crate::settings::{Key, Origin, Resolved, SettingsError};

/// `GET` and `PUT /api/v1/settings`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsAnswer {
    /// Every setting by name.
    settings: BTreeMap<&'static str, SettingRow>,
    /// What of `settings.json` could not be used, and what to do.
    problems: Vec<String>,
}

/// A setting.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingRow {
    /// The value in force, in the text form of its option. Of a webhook without what is secret in its address.
    value: String,
    /// Where it comes from.
    origin: Origin,
}

fn answer(resolved: &Resolved) -> SettingsAnswer {
    let row = |(key, origin): (&Key, &Origin)| {
        (key.as_str(), SettingRow { value: resolved.values.get(*key), origin: *origin })
    };
    SettingsAnswer { settings: resolved.origins.iter().map(row).collect(), problems: resolved.problems.clone() }
}

pub(super) async fn get(State(app): State<App>) -> Json<SettingsAnswer> {
    Json(answer(&app.settings.current()))
}

pub(super) async fn put(
    State(app): State<App>,
    json: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Result<Json<SettingsAnswer>, Problem> {
    let changes = super::body(json)?;
    let settings = app.settings.clone();
    let changed = spawn_blocking(move || settings.change(&changes)).await;
    let resolved = match changed {
        Ok(Ok(resolved)) => resolved,
        Ok(Err(error)) => {
            let (status, code) = match error {
                SettingsError::Unknown(..) => (StatusCode::BAD_REQUEST, "unknown_setting"),
                SettingsError::BadValue(..) => (StatusCode::BAD_REQUEST, "bad_value"),
                SettingsError::NotKept => (StatusCode::CONFLICT, "not_kept"),
                SettingsError::Damaged(..) => (StatusCode::CONFLICT, "damaged"),
                SettingsError::Io(..) => (StatusCode::INTERNAL_SERVER_ERROR, "not_written"),
            };
            return Err(Problem::new(status, code, error.to_string()));
        }
        Err(error) => {
            tracing::error!(%error, "settings could not be changed");
            let message = "The settings could not be changed; the log says why.";
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message));
        }
    };
    let order = Order::Settings(Box::new(resolved.values.core.clone()));
    app.control.order(order).await.map_err(|_| Problem::stopping())?;
    Ok(Json(answer(&resolved)))
}
