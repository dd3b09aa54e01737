//! `GET /api/v1/forecast`: where every limit is heading, and whether the next session fits.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use dashboard_core::event::{LearnedLimit, ModelShare, Provenance, QuotaShare, SessionShare};
use dashboard_core::forecast::Forecast;
use dashboard_core::level::Level;
use dashboard_core::record::Tool;
use dashboard_core::state::LimitState;
use dashboard_core::time::Timestamp;
use dashboard_core::tracker::{CanStart, PeakHour, Prediction, SessionMemory, WeeklyTrend};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::{App, Problem};
use crate::history::Everything;

/// Whose next session is asked about. Empty is as good as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForecastQuery {
    project: Option<String>,
    tool: Option<String>,
}

/// `GET /api/v1/forecast`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForecastAnswer {
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    generated_at: Timestamp,
    /// The key of the limit that ends work first; null while no limit is known.
    binding: Option<String>,
    /// Every limit by its key.
    limits: BTreeMap<String, LimitForecast>,
    /// What past sessions say of the next one.
    next_session: NextSession,
}

/// Where a limit is heading.
#[derive(Debug, Serialize, ToSchema)]
struct LimitForecast {
    /// Used share, 0 to 100; null if unknown.
    percent: Option<f64>,
    /// `official`, `estimated` or `simulated`.
    #[schema(value_type = String)]
    provenance: Provenance,
    /// When the share was true.
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
    /// When the window is reset; null if unknown.
    #[schema(value_type = Option<String>, format = DateTime)]
    resets_at: Option<Timestamp>,
    /// Whether requests are being refused.
    blocked: bool,
    /// `healthy`, `warning`, `danger` or `critical`.
    #[schema(value_type = String)]
    level: Level,
    /// When it is expected to be reached; null if after the reset, or not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    limit_at: Option<Timestamp>,
    /// `{"known": {…}}`, or `{"not_enough": reason}`; its fields are those of `quota:update`, see docs/PROTOCOL.md.
    #[schema(value_type = Object)]
    forecast: Forecast,
    /// The limit in tokens, learned from the vendor's readings; null if there were too few.
    #[schema(value_type = Option<Object>)]
    learned: Option<LearnedLimit>,
    /// Who used the window, in percent of all its use.
    #[schema(value_type = Vec<Object>)]
    used_by: Vec<QuotaShare>,
    /// The models, in percent of what was seen here.
    #[schema(value_type = Vec<Object>)]
    models: Vec<ModelShare>,
    /// The sessions, in percent of what was seen here.
    #[schema(value_type = Vec<Object>)]
    sessions: Vec<SessionShare>,
    /// Percent of its use on other devices and on the web; null if not known.
    elsewhere_percent: Option<f64>,
}

/// What past sessions say of the next one.
#[derive(Debug, Serialize, ToSchema)]
struct NextSession {
    /// The tool that was asked about.
    #[schema(value_type = String)]
    tool: Tool,
    /// The project that was asked about, if one was.
    project: Option<String>,
    /// What it will use: median and the span of eight in ten; null with fewer than five past sessions.
    #[schema(value_type = Option<Object>)]
    prediction: Option<Prediction>,
    /// Whether it fits into what is left (`likely`, `tight`, `no`), and from when on one does; null if nothing is known
    /// of the limits or of past sessions.
    #[schema(value_type = Option<Object>)]
    can_start: Option<CanStart>,
    /// The hours of the day with the most use over the last eight weeks.
    #[schema(value_type = Vec<Object>)]
    peak_hours: Vec<PeakHour>,
    /// Use by week, the last seven days first.
    #[schema(value_type = Object)]
    weekly_trend: WeeklyTrend,
}

pub(super) async fn forecast(
    State(app): State<App>,
    query: Result<Query<ForecastQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let bad = |message: String| Problem::new(StatusCode::BAD_REQUEST, "bad_query", message);
    let Query(query) = query.map_err(|error| bad(format!("{}; allowed: project, tool", error.body_text())))?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let tool = given(query.tool).map(|text| text.parse::<Tool>()).transpose().map_err(bad)?.unwrap_or(Tool::DEFAULT);
    let project = given(query.project);
    if !app.hub.has_begun() {
        return Err(Problem::reading());
    }
    let snapshot = app.hub.snapshot().await.map_err(|_| Problem::stopping())?;
    let history = app.archive.history().await.map_err(|_| Problem::stopping())?;
    let _turn = app.turns.acquire().await.map_err(|_| Problem::stopping())?;
    let (zone, prices, now) = (Arc::clone(&app.zone), Arc::clone(&app.prices), app.clock.now());
    let (database, roots) = (app.database.clone(), Arc::clone(&app.roots));
    let work = move || {
        let history = Everything::fetch(history, database.as_deref(), &roots, &prices, now);
        let history = history.map_err(|error| error.to_string())?;
        let memory = SessionMemory::new(history.rows(&prices), history.sessions(), &prices, &zone, now);
        let state = &snapshot.state;
        Ok(ForecastAnswer {
            generated_at: now,
            binding: state.binding_limit().map(ToString::to_string),
            limits: state.limits.iter().map(|(key, limit)| (key.to_string(), LimitForecast::of(limit))).collect(),
            next_session: NextSession {
                tool,
                prediction: memory.prediction(tool, project.as_deref()),
                can_start: memory.can_start_session(tool, project.as_deref(), &state.limits, now),
                peak_hours: memory.peak_hours(),
                weekly_trend: memory.weekly_trend(now),
                project,
            },
        })
    };
    let answer = spawn_blocking(work).await.map_err(|error| error.to_string()).flatten().map_err(|error: String| {
        tracing::error!(%error, "the forecast failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "The forecast failed; the log says why.")
    })?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

impl LimitForecast {
    fn of(limit: &LimitState) -> Self {
        let now = &limit.now;
        let (used_by, _) = limit.shares();
        Self {
            percent: now.percent,
            provenance: now.provenance,
            as_of: now.as_of,
            resets_at: now.reset_time,
            blocked: now.blocked,
            level: now.status,
            limit_at: limit.limit_at(),
            forecast: now.forecast.clone(),
            learned: now.learned.clone(),
            used_by,
            models: now.models.clone(),
            sessions: now.sessions.clone(),
            elsewhere_percent: now.elsewhere_percent,
        }
    }
}
