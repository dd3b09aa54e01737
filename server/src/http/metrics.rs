//! `GET /metrics`: the dashboard's figures in Prometheus' text format, version 0.0.4.
//!
//! A file that is rewritten withdraws what it said, so a sum over responses can fall. A counter must not: it would be
//! taken for a restart, and everything before for new. Counters therefore stay at the highest value they had.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use dashboard_core::alert;
use dashboard_core::event::{HealthCheck, HealthStatus, QuotaUpdate};
use dashboard_core::ids::ModelId;
use dashboard_core::level::Level;
use dashboard_core::price::PriceTable;
use dashboard_core::record::Tool;
use dashboard_core::report::Sum;
use dashboard_core::state::BudgetUse;
use dashboard_core::time::Timestamp;
use dashboard_core::units::Money;
use tokio::task::spawn_blocking;

use super::{App, Problem};
use crate::history::Everything;
use crate::hub::{HubCounts, Snapshot};

/// What scrapers ask for.
const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The highest value each counter had, by its name and labels. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct HighWater(Arc<Mutex<BTreeMap<String, i64>>>);

/// Everything a scrape tells, gathered at one moment.
struct Gathered {
    uptime_s: f64,
    mode: &'static str,
    /// The data's time.
    now: Timestamp,
    clients: u64,
    hub: HubCounts,
    health: HealthCheck,
    /// Once history has been read.
    figures: Option<(Arc<Snapshot>, Everything)>,
}

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let known = if app.hub.has_begun() {
        let snapshot = app.hub.snapshot().await.map_err(|_| Problem::stopping())?;
        Some((snapshot, app.archive.history().await.map_err(|_| Problem::stopping())?))
    } else {
        None
    };
    let mut gathered = Gathered {
        uptime_s: app.started.elapsed().as_secs_f64(),
        mode: app.mode.as_str(),
        now: app.clock.now(),
        clients: *app.hub.clients().borrow(),
        hub: app.hub.counts(),
        health: app.health.check(),
        figures: None,
    };
    let _turn = app.turns.acquire().await.map_err(|_| Problem::stopping())?;
    let (prices, high_water) = (Arc::clone(&app.prices), app.high_water.clone());
    let (database, roots, now) = (app.database.clone(), Arc::clone(&app.roots), app.clock.now());
    let work = move || {
        if let Some((snapshot, answer)) = known {
            let history = Everything::fetch(answer, database.as_deref(), &roots, &prices, now);
            gathered.figures = Some((snapshot, history.map_err(|error| error.to_string())?));
        }
        Ok(exposition(&gathered, &prices, &high_water))
    };
    let text = spawn_blocking(work).await.map_err(|error| error.to_string()).flatten().map_err(|error: String| {
        tracing::error!(%error, "metrics failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "The metrics failed; the log says why.")
    })?;
    Ok(([(CONTENT_TYPE, CONTENT), (CACHE_CONTROL, "no-store")], text).into_response())
}

fn exposition(gathered: &Gathered, prices: &PriceTable, high_water: &HighWater) -> String {
    let mut page = Page { out: String::new(), high_water };
    let version = [("version", env!("CARGO_PKG_VERSION")), ("mode", gathered.mode)];
    page.gauge("build_info", "Always 1; the version and the mode are labels.").sample(&version, 1);
    page.gauge("uptime_seconds", "Seconds since the dashboard was started.").sample(&[], gathered.uptime_s);
    page.gauge("clients", "Connected pages.").sample(&[], gathered.clients);

    let health = &gathered.health;
    let mut part = page.gauge("component_healthy", "1 if a part is healthy, 0 if it is degraded or unhealthy.");
    for (name, component) in &health.components {
        part.sample(&[("component", name)], u8::from(component.status == HealthStatus::Healthy));
    }

    let HubCounts { frames, bytes, snapshots } = gathered.hub;
    page.counter("hub_frames_total", "Frames of events made, each once for all pages.").count(&[], frames);
    page.counter("hub_bytes_total", "Bytes of these frames.").count(&[], bytes);
    page.counter("hub_snapshots_total", "Pages brought up to date by a snapshot: new, or too far behind.")
        .count(&[], snapshots);

    if let Some((snapshot, history)) = &gathered.figures {
        figures(&mut page, snapshot, history, prices, gathered.now);
    }
    page.out
}

fn figures(page: &mut Page<'_>, snapshot: &Snapshot, history: &Everything, prices: &PriceTable, now: Timestamp) {
    let state = &snapshot.state;
    let mut sums: BTreeMap<(Tool, &ModelId), Sum> = BTreeMap::new();
    for row in history.rows(prices) {
        let cost = prices.charge_sum(row.model, row.class, &row.usage, row.with_tokens);
        *sums.entry((row.tool, row.model)).or_default() += Sum { usage: row.usage, responses: row.responses, cost };
    }
    fn labels<'a>(&(tool, model): &(Tool, &'a ModelId)) -> [(&'static str, &'a str); 2] {
        [("tool", tool.as_str()), ("model", model.as_str())]
    }

    let mut tokens = page.counter("tokens_total", "Tokens of responses, each response once. The kinds are disjoint.");
    for (key, sum) in &sums {
        let [tool, model] = labels(key);
        for (kind, count) in [
            ("input", sum.usage.input),
            ("output", sum.usage.output),
            ("cache_creation", sum.usage.cache_creation),
            ("cache_read", sum.usage.cache_read),
        ] {
            tokens.count(&[tool, model, ("kind", kind)], count.0);
        }
    }
    let mut responses = page.counter("responses_total", "Responses, each once.");
    sums.iter().for_each(|(key, sum)| responses.count(&labels(key), sum.responses));
    let mut cost = page.counter("cost_usd_total", "Cost of the priced responses at list prices, in US dollars.");
    for (key, sum) in &sums {
        if let Some(known) = sum.cost.known() {
            cost.money(&labels(key), known);
        }
    }
    let mut unpriced = page.counter("unpriced_responses_total", "Responses with tokens whose model has no price.");
    sums.iter().for_each(|(key, sum)| unpriced.count(&labels(key), sum.cost.unpriced_responses));

    let ingest = &state.ingest;
    page.gauge("transcript_files", "Transcript files known, deleted ones included.").sample(&[], ingest.files);
    page.counter("ingest_bytes_total", "Bytes of transcripts read.").count(&[], ingest.bytes);
    page.counter("ingest_lines_total", "Lines read that were not blank.").count(&[], ingest.lines);
    page.counter("ingest_rejected_lines_total", "Lines refused.").count(&[], ingest.rejected_lines);
    page.counter("ingest_duplicate_lines_total", "Usage records folded into another one's response.")
        .count(&[], ingest.duplicate_lines);
    page.counter("ingest_unknown_records_total", "Records of a type not known, skipped.")
        .count(&[], ingest.unknown_records);
    page.counter("ingest_bad_counts_total", "Counts that were no non-negative integer, read as 0.")
        .count(&[], ingest.bad_counts);

    let active = state.sessions.values().filter(|session| session.is_active()).count();
    page.gauge("sessions_active", "Sessions that are active.").sample(&[], active);

    let limits: Vec<(String, &QuotaUpdate)> =
        state.limits.iter().map(|(key, limit)| (key.to_string(), &limit.now)).collect();
    let mut percent = page.gauge(
        "quota_used_percent",
        "Used share of a limit, 0 to 100; absent while unknown. An estimate knows of this machine only.",
    );
    for (key, limit) in &limits {
        if let Some(share) = limit.percent {
            percent.sample(&limit_labels(key, limit), share);
        }
    }
    let mut used = page.gauge("quota_used_tokens", "Input and output tokens seen here in a limit's window.");
    limits.iter().for_each(|(key, limit)| used.sample(&limit_labels(key, limit), limit.used.0));
    let mut resets = page.gauge("quota_reset_timestamp_seconds", "When a limit is reset, in Unix time.");
    for (key, limit) in &limits {
        if let Some(at) = limit.reset_time {
            resets.sample(&limit_labels(key, limit), at.unix_ms() / 1_000);
        }
    }
    let mut levels = page.gauge("quota_level", "Level of a limit: 0 healthy, 2 warning, 3 danger, 4 critical.");
    limits.iter().for_each(|(key, limit)| levels.sample(&limit_labels(key, limit), limit.status as u8));
    let mut as_of = page.gauge("quota_as_of_timestamp_seconds", "When the figures of a limit were true, in Unix time.");
    limits.iter().for_each(|(key, limit)| as_of.sample(&limit_labels(key, limit), limit.as_of.unix_ms() / 1_000));
    let mut open = page.gauge("alerts", "Alerts that are not acknowledged, by level.");
    let alerts = alert::open(state, now);
    for level in [Level::Info, Level::Warning, Level::Danger, Level::Critical] {
        let count = alerts.iter().filter(|alert| alert.level == level).count();
        open.sample(&[("level", level.as_str())], count);
    }
    let mut spent = page.gauge("budget_spent_usd", "What was spent of a budget in its current period, at list prices.");
    let budgets = state.budgets();
    let labels = |it: &BudgetUse| [("billing", it.billing.as_str()), ("period", it.period.as_str())];
    budgets.iter().for_each(|it| spent.sample(&labels(it), it.spent.priced.usd()));
    let mut allowed = page.gauge("budget_usd", "A budget.");
    budgets.iter().for_each(|it| allowed.sample(&labels(it), it.budget.usd()));
    let mut blocked = page.gauge("quota_blocked", "1 while a limit refuses requests, else 0.");
    limits.iter().for_each(|(key, limit)| blocked.sample(&limit_labels(key, limit), u8::from(limit.blocked)));
}

fn limit_labels<'a>(key: &'a str, limit: &'a QuotaUpdate) -> [(&'static str, &'a str); 3] {
    [("tool", limit.key.tool.as_str()), ("limit", key), ("provenance", limit.provenance.as_str())]
}

/// The text being written.
struct Page<'a> {
    out: String,
    high_water: &'a HighWater,
}

impl<'a> Page<'a> {
    fn gauge(&mut self, name: &str, help: &str) -> Family<'_, 'a> {
        self.family(name, help, "gauge")
    }

    fn counter(&mut self, name: &str, help: &str) -> Family<'_, 'a> {
        self.family(name, help, "counter")
    }

    /// A family without samples leaves no trace.
    fn family(&mut self, name: &str, help: &str, kind: &str) -> Family<'_, 'a> {
        let name = format!("dashboard_{name}");
        let head = format!("# HELP {name} {}\n# TYPE {name} {kind}\n", escaped(help, false));
        Family { page: self, name, head: Some(head) }
    }
}

/// The samples of one metric.
struct Family<'p, 'a> {
    page: &'p mut Page<'a>,
    name: String,
    head: Option<String>,
}

impl Family<'_, '_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let series = series(&self.name, labels);
        let head = self.head.take().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = writeln!(self.page.out, "{head}{series} {value}");
    }

    fn count(&mut self, labels: &[(&str, &str)], count: u64) {
        let count = self.page.high_water.at_least(&self.name, labels, i64::try_from(count).unwrap_or(i64::MAX));
        self.sample(labels, count);
    }

    fn money(&mut self, labels: &[(&str, &str)], amount: Money) {
        let amount = self.page.high_water.at_least(&self.name, labels, amount.0);
        self.sample(labels, Money(amount).usd());
    }
}

impl HighWater {
    fn at_least(&self, name: &str, labels: &[(&str, &str)], value: i64) -> i64 {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = counters.entry(series(name, labels)).or_insert(value);
        *highest = value.max(*highest);
        *highest
    }
}

fn series(name: &str, labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value, true))).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// Quotes are escaped in labels only.
fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_do_not_fall_and_labels_are_escaped() {
        let high_water = HighWater::default();
        let render = |count| {
            let mut page = Page { out: String::new(), high_water: &high_water };
            let mut family = page.counter("tokens_total", "Tokens.\nTwo \\ \"lines\".");
            family.count(&[("model", "a\"b\\c\nd")], count);
            family.count(&[("model", "b")], 1);
            drop(page.gauge("nothing", "Has no samples."));
            page.out
        };
        assert_eq!(
            render(7),
            "# HELP dashboard_tokens_total Tokens.\\nTwo \\\\ \"lines\".\n# TYPE dashboard_tokens_total counter\n\
             dashboard_tokens_total{model=\"a\\\"b\\\\c\\nd\"} 7\ndashboard_tokens_total{model=\"b\"} 1\n"
        );
        assert!(render(5).contains("\"} 7\n"), "a rewritten file takes nothing back");
        assert!(render(9).contains("\"} 9\n"));
    }
}
