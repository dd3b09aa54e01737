//! `GET /api/openapi.json`: what the API answers, described from the types it answers with.

use axum::Json;
use axum::response::{IntoResponse, Response};
use dashboard_core::replay::SessionRecords;
use dashboard_core::report::{
    Audit, BlockRow, Figures, Filter, ModelRow, PeriodRow, ProjectRow, ReportKind, SessionRow, Table, Totals,
};
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr,
    Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::Problem;
use super::alerts::{Acknowledge, Alerts, Snooze};
use super::api::{Health, SnapshotAnswer};
use super::forecast::ForecastAnswer;
use super::settings::SettingsAnswer;
use super::{ingest, records};

pub(super) async fn openapi() -> Response {
    Json(document()).into_response()
}

/// The whole description.
pub(super) fn document() -> OpenApi {
    let mut schemas = Vec::new();
    for add in [
        add::<Totals>,
        add::<PeriodRow>,
        add::<SessionRow>,
        add::<BlockRow>,
        add::<ModelRow>,
        add::<ProjectRow>,
        add::<Audit>,
        add::<Figures>,
        add::<Filter>,
        add::<ReportKind>,
        add::<SessionRecords>,
        add::<Health>,
        add::<SnapshotAnswer>,
        add::<ForecastAnswer>,
        add::<Alerts>,
        add::<Snooze>,
        add::<Acknowledge>,
        add::<SettingsAnswer>,
        add::<Problem>,
    ] {
        add(&mut schemas);
    }
    let components = schemas
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| components.schema(name, schema));

    let get = |operation: Operation| PathItem::new(HttpMethod::Get, operation);
    let post = |operation: Operation| PathItem::new(HttpMethod::Post, operation);
    let mut paths = PathsBuilder::new();
    for kind in ReportKind::ALL {
        paths = paths.path(format!("/api/v1/{kind}"), get(report(kind)));
    }
    let snapshot = described("What the page would show", json(SnapshotAnswer::schema(), "The state at this moment."));
    let health = described("How the parts of the dashboard are", json(Health::schema(), "Healthy or degraded."))
        .response("503", json(Health::schema(), "A part is unhealthy."));
    let metrics = described("Figures for Prometheus", text("text/plain", "Text format 0.0.4."));
    let calendar = described("The next resets of limits", text("text/calendar", "iCalendar, RFC 5545."))
        .response("503", problem("The dashboard is stopping."));
    let alerts = described("What is so and worth acting on", json(Alerts::schema(), "Worst first."))
        .response("503", problem("The dashboard is stopping."));
    let snooze = described("Deliver no alerts for a while", None)
        .request_body(Some(body(Snooze::schema(), "For how long.")))
        .response("204", ResponseBuilder::new().description("Done."))
        .response("400", problem("The minutes are not allowed."));
    let acknowledge = described("Show an alert no more until it is worse or comes up anew", None)
        .request_body(Some(body(Acknowledge::schema(), "Which alert.")))
        .response("204", ResponseBuilder::new().description("Done."))
        .response("404", problem("There is no such alert at present."));
    let answer = || json(SettingsAnswer::schema(), "Every setting with its value and where it comes from.");
    let put = described("Change settings: a value sets, null takes back; nothing else is changed", answer())
        .request_body(Some(body(object().into(), "Values by the name of the setting, in the text form of its option.")))
        .response("400", problem("A setting or a value is not known; nothing was written."))
        .response("409", problem("The settings file is damaged, or none is kept; nothing was written."))
        .response("500", problem("The settings file could not be written."));
    let mut settings = get(described("What the user decides", answer()).build());
    settings.put = Some(put.build());
    let openapi = described("This description", json(object().into(), "OpenAPI 3.1."));
    let ws = described("The page's WebSocket, subprotocol dashboard.v1", None)
        .response("101", ResponseBuilder::new().description("Frames as docs/PROTOCOL.md describes them."));
    let paths = paths
        .path("/api/v1/snapshot", get(snapshot.response("503", problem("The dashboard is stopping.")).build()))
        .path("/api/v1/forecast", get(forecast()))
        .path(records::PATH, get(session_records()))
        .path("/api/v1/alerts", get(alerts.build()))
        .path("/api/v1/alerts/snooze", PathItem::new(HttpMethod::Post, snooze.build()))
        .path("/api/v1/alerts/acknowledge", PathItem::new(HttpMethod::Post, acknowledge.build()))
        .path("/api/v1/settings", settings)
        .path(
            ingest::STATUS_LINE,
            post(taken("What a tool tells its status line", "The JSON that Claude Code hands it.")),
        )
        .path("/api/openapi.json", get(openapi.build()))
        .path("/health", get(health.build()))
        .path("/metrics", get(metrics.build()))
        .path("/calendar.ics", get(calendar.build()))
        .path("/ws", get(ws.build()));
    let info = InfoBuilder::new().title("dashboard").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Figures of AI coding sessions on this machine. With --token, send \
             `Authorization: Bearer T`. Other Hosts and Origins than the dashboard's own are refused (403).",
    ));
    OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(components.build())).build()
}

/// A type and all it is made of.
fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

fn report(kind: ReportKind) -> Operation {
    let schema = match kind {
        ReportKind::Totals => Totals::schema(),
        ReportKind::Daily | ReportKind::Weekly | ReportKind::Monthly => Table::<PeriodRow>::schema(),
        ReportKind::Sessions => Table::<SessionRow>::schema(),
        ReportKind::Blocks => Table::<BlockRow>::schema(),
        ReportKind::Models => Table::<ModelRow>::schema(),
        ReportKind::Projects => Table::<ProjectRow>::schema(),
        ReportKind::Audit => Audit::schema(),
    };
    let body = ContentBuilder::new().schema(Some(schema)).build();
    let csv = ContentBuilder::new().schema(Some(string())).build();
    let answer = ResponseBuilder::new()
        .description("The report; unknown figures are null, never 0.")
        .content("application/json", body)
        .content("text/csv", csv);
    let query = [
        ("since", "First day counted: 2026-09-20, today, yesterday, or days ago such as 7d."),
        ("until", "Last day counted, likewise."),
        ("project", "A project's directory, or the last part of it."),
        ("model", "A model's id or name, or a part of it."),
        ("tool", "claude-code or codex."),
        ("format", "json (default) or csv."),
    ];
    let operation = described(kind.about(), answer)
        .operation_id(Some(kind.as_str()))
        .response("400", problem("The query is not understood; the message says what is allowed."))
        .response("503", problem("History is being read (Retry-After says when to ask again), or it is stopping."));
    let parameter = |operation: OperationBuilder, (name, about): (&str, &str)| {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).description(Some(about));
        operation.parameter(parameter.required(Required::False).schema(Some(string())))
    };
    query.into_iter().fold(operation, parameter).build()
}

/// Of a route that takes something in.
fn taken(summary: &str, body: &str) -> Operation {
    let content = ContentBuilder::new().schema(Some(object())).build();
    let body = RequestBodyBuilder::new().description(Some(body)).content("application/json", content);
    OperationBuilder::new()
        .summary(Some(summary))
        .request_body(Some(body.required(Some(Required::True)).build()))
        .response("204", ResponseBuilder::new().description("It was taken."))
        .response("400", problem("The body is not understood."))
        .response("409", problem("The dashboard shows a simulation."))
        .response("413", ResponseBuilder::new().description("The body is longer than 64 KiB."))
        .response(
            "503",
            problem("There is too much to take in (Retry-After says when to try again), or it is stopping."),
        )
        .build()
}

fn forecast() -> Operation {
    let parameter = |name: &str, about: &str| {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).description(Some(about));
        parameter.required(Required::False).schema(Some(string()))
    };
    let about = "Forecasts of all limits, and of the next session; unknown figures are null, never 0.";
    described("Where every limit is heading, and whether the next session fits", json(ForecastAnswer::schema(), about))
        .operation_id(Some("forecast"))
        .parameter(parameter("project", "The next session's project: its directory, or the last part of it."))
        .parameter(parameter("tool", "The next session's tool; claude-code if not given."))
        .response("400", problem("The query is not understood; the message says what is allowed."))
        .response("503", problem("History is being read (Retry-After says when to ask again), or it is stopping."))
        .build()
}

fn session_records() -> Operation {
    let number = |name: &str, about: &str| {
        let schema: RefOr<Schema> = ObjectBuilder::new().schema_type(Type::Integer).into();
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).description(Some(about));
        parameter.required(Required::False).schema(Some(schema))
    };
    let id = ParameterBuilder::new().name("id").parameter_in(ParameterIn::Path).required(Required::True);
    let answer = "A stretch of its records, oldest first; `next` says where the next one begins.";
    described("What happened in a session, in order of time", json(SessionRecords::schema(), answer))
        .operation_id(Some("session_records"))
        .parameter(id.description(Some("The session.")).schema(Some(string())))
        .parameter(number("from", "How many records to pass over; 0 if not given."))
        .parameter(number("limit", "Most records in the answer, 1 to 10000; 1000 if not given."))
        .response("400", problem("The query is not understood; the message says what is allowed."))
        .response("404", problem("There is no such session, or the dashboard keeps no history."))
        .response("503", problem("History is being read (Retry-After says when to ask again), or it is stopping."))
        .build()
}

fn described(summary: &str, answer: impl Into<Option<ResponseBuilder>>) -> OperationBuilder {
    let operation = OperationBuilder::new().summary(Some(summary));
    match answer.into() {
        Some(answer) => operation.response("200", answer),
        None => operation,
    }
}

fn json(schema: RefOr<Schema>, about: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(about).content("application/json", content)
}

fn body(schema: RefOr<Schema>, about: &str) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    RequestBodyBuilder::new()
        .description(Some(about))
        .content("application/json", content)
        .required(Some(Required::True))
        .build()
}

fn text(kind: &str, about: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(string())).build();
    ResponseBuilder::new().description(about).content(kind, content)
}

fn problem(about: &str) -> ResponseBuilder {
    json(RefOr::Ref(Ref::from_schema_name(Problem::name())), about)
}

fn string() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}

fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Every `$ref` in `value`.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(target) if name == "$ref" => drop(found.insert(target.to_owned())),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = serde_json::to_value(document()).unwrap();
        let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let routes: BTreeSet<String> = super::super::api_routes().1.into_iter().collect();
        assert_eq!(described, routes);
        for path in document["paths"].as_object().unwrap().values() {
            let operations = path.as_object().unwrap();
            assert!(!operations.is_empty());
            for operation in operations.values() {
                assert!(operation["summary"].is_string() && operation["responses"].is_object());
            }
        }
    }

    #[test]
    fn every_type_it_refers_to_is_described() {
        let document = serde_json::to_value(document()).unwrap();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let text = document.to_string();
        for field in ["cost_usd", "unpriced_responses", "byte_offset", "tokens_per_minute", "in_days", "result_bytes"] {
            assert!(text.contains(&format!("\"{field}\"")), "{field}");
        }
    }
}
