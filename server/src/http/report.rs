//! `/api/v1/totals`, `/daily` and so on: the reports of `dashboard report … --json`, over everything known.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dashboard_core::record::Tool;
use dashboard_core::report::{DaySpec, Filter, Report, ReportContext, ReportKind, Retention};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{App, Problem};
use crate::history::{Everything, HistoryAnswer};
use crate::source::retention;

/// What a report may be asked to narrow itself to. Empty is as good as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportQuery {
    since: Option<String>,
    until: Option<String>,
    project: Option<String>,
    model: Option<String>,
    tool: Option<String>,
    format: Option<String>,
}

/// Of how many files something is missing in the answer, because the store cannot be written. Absent if of none.
const UNWRITTEN_FILES: HeaderName = HeaderName::from_static("dashboard-unwritten-files");

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl ReportQuery {
    fn read(self, now: Timestamp, zone: &ZoneOffsets) -> Result<(Filter, Format), String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let day = |name: &str, text: Option<String>| {
            let day = given(text).map(|text| text.parse::<DaySpec>().map_err(|error| format!("{name}: {error}")));
            day.transpose().map(|day| day.map(|day| day.at(now, zone)))
        };
        let tool = given(self.tool).map(|text| text.parse::<Tool>()).transpose()?;
        let format = match given(self.format).as_deref() {
            None | Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some(other) => return Err(format!("unknown format {other:?}; allowed: json, csv")),
        };
        let filter = Filter {
            since: day("since", self.since)?,
            until: day("until", self.until)?,
            project: given(self.project),
            model: given(self.model),
            tool,
        };
        filter.checked().map(|filter| (filter, format)).map_err(|error| error.to_string())
    }
}

/// What a report is made from, apart from the history.
#[derive(Clone, Copy)]
pub(super) struct Asked(pub(super) ReportKind);

impl Asked {
    /// Answers one question.
    pub(super) async fn answer(
        self,
        State(app): State<App>,
        query: Result<Query<ReportQuery>, QueryRejection>,
    ) -> Result<Response, Problem> {
        let Self(kind) = self;
        let bad = |message: String| Problem::new(StatusCode::BAD_REQUEST, "bad_query", message);
        let Query(query) = query.map_err(|error| {
            bad(format!("{}; allowed: since, until, project, model, tool, format", error.body_text()))
        })?;
        let now = app.clock.now();
        let (filter, format) = query.read(now, &app.zone).map_err(bad)?;
        if !app.hub.has_begun() {
            return Err(Problem::reading());
        }
        let (epoch, newest) = app.hub.newest();
        let question = (epoch, newest, format!("{kind} {format:?} {filter:?}"));
        let reports = app.reports.clone();
        let history = app.archive.history().await.map_err(|_| Problem::stopping())?;
        let unwritten_files = history.unwritten_files();
        let body = reports.0.get(question, Self::make(kind, app, filter, format, now, history)).await?;
        let mut response = body.into_response();
        let headers = response.headers_mut();
        if unwritten_files > 0 {
            headers.insert(UNWRITTEN_FILES, HeaderValue::from(unwritten_files));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let content_type = match format {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8; header=present",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if format == Format::Csv
            && let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"dashboard-{kind}.csv\""))
        {
            headers.insert(CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    /// Makes the report's text.
    async fn make(
        kind: ReportKind,
        app: App,
        filter: Filter,
        format: Format,
        now: Timestamp,
        answer: HistoryAnswer,
    ) -> Result<Bytes, Problem> {
        // Each takes a processor for a moment: not more at once than leave the page its own.
        let _turn = app.turns.acquire().await.map_err(|_| Problem::stopping())?;
        let (zone, prices, roots) = (Arc::clone(&app.zone), Arc::clone(&app.prices), Arc::clone(&app.roots));
        let database = app.database.clone();
        let work = move || {
            let history = Everything::fetch(answer, database.as_deref(), &roots, &prices, now);
            let history = history.map_err(|error| error.to_string())?;
            let retention = if kind == ReportKind::Audit { retention::of(&roots) } else { Retention::default() };
            let mut ingest = history.ingest().clone();
            ingest.roots = roots.iter().map(|root| root.dir.display().to_string()).collect();
            if kind == ReportKind::Audit {
                ingest.unreadable = retention::unreadable(&roots);
            }
            let basis = ReportContext {
                sessions: history.sessions(),
                ingest: &ingest,
                prices: &prices,
                zone: &zone,
                now,
                filter: &filter,
                retention: &retention,
            };
            let report = Report::new(kind, basis, history.rows(&prices));
            match format {
                Format::Json => serde_json::to_vec(&report).map_err(|error| error.to_string()),
                Format::Csv => Ok(report.csv().into_bytes()),
            }
        };
        let body = spawn_blocking(work).await.map_err(|error| error.to_string()).flatten();
        body.map(Bytes::from).map_err(|error| {
            tracing::error!(%error, report = kind.as_str(), "a report failed");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "The report failed; the log says why.")
        })
    }
}
