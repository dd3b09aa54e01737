//! Reports as comma-separated values: RFC 4180, with a line of names and CRLF at the ends of lines.
//!
//! A text that a spreadsheet would take for a formula gets an apostrophe before it: directories and branches can be
//! named by strangers.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Audit, Report, Sum, Totals};
use crate::ids::ModelId;
use crate::time::Timestamp;
use crate::units::Money;

/// Names of the columns that [`Row::sum`] writes.
const SUM: [&str; 10] = [
    "input",
    "output",
    "cache_creation",
    "cache_creation_1h",
    "cache_read",
    "total",
    "responses",
    "cost_usd",
    "saved_usd",
    "unpriced_responses",
];

pub(super) fn write(report: &Report) -> String {
    let mut out = String::new();
    match report {
        Report::Totals(totals) => write_totals(&mut out, totals),
        Report::Periods(table) => {
            names(&mut out, &["period", "start", "end"], &["models"]);
            for row in &table.rows {
                let line = Row::new(&mut out).text(&row.period).value(row.start).value(row.end);
                line.sum(&row.figures.all).models(&row.models).end();
            }
            // So that the lines add up to everything counted.
            if table.undated.all.responses > 0 {
                Row::new(&mut out).text("undated").text("").text("").sum(&table.undated.all).text("").end();
            }
        }
        Report::Sessions(table) => {
            let first = ["session", "tool", "project", "cwd", "branch", "version", "started_at", "last_activity"];
            names(&mut out, &first, &["models"]);
            for row in &table.rows {
                let line = Row::new(&mut out).text(row.session.as_str()).text(row.tool.as_str());
                let line = [&row.project, &row.cwd, &row.branch, &row.version]
                    .into_iter()
                    .fold(line, |line, text| line.text(text.as_deref().unwrap_or_default()));
                line.time(row.started_at).time(row.last_activity).sum(&row.figures.all).models(&row.models).end();
            }
        }
        Report::Blocks(table) => {
            let last = ["tokens_per_minute", "cost_usd_per_hour", "projected_total", "projected_cost_usd", "models"];
            names(&mut out, &["tool", "start", "end", "is_gap", "is_active", "first", "last"], &last);
            for row in &table.rows {
                let line = Row::new(&mut out).text(row.tool.as_str()).value(row.start).value(row.end);
                let line = line.value(row.is_gap).value(row.is_active).time(row.first).time(row.last);
                line.sum(&row.figures.all)
                    .known(row.burn.map(|burn| burn.tokens_per_minute))
                    .known(row.burn.and_then(|burn| burn.cost_usd_per_hour))
                    .known(row.projection.map(|projection| projection.total))
                    .known(row.projection.and_then(|projection| projection.cost_usd))
                    .models(&row.models)
                    .end();
            }
            if table.undated.all.responses > 0 {
                let line = Row::new(&mut out).text("undated").text("").text("").value(false).value(false);
                let line = line.time(None).time(None).sum(&table.undated.all);
                line.known(None).known(None).known(None).known(None).text("").end();
            }
        }
        Report::Models(table) => {
            names(&mut out, &["model", "priced", "first", "last"], &[]);
            for row in &table.rows {
                let line = Row::new(&mut out).text(row.model.as_str()).value(row.priced);
                line.time(row.first).time(row.last).sum(&row.figures.all).end();
            }
        }
        Report::Projects(table) => {
            names(&mut out, &["project", "cwd", "sessions", "first", "last"], &["models"]);
            for row in &table.rows {
                let line = Row::new(&mut out).text(row.project.as_deref().unwrap_or_default());
                let line = line.text(row.cwd.as_deref().unwrap_or_default()).value(row.sessions);
                line.time(row.first).time(row.last).sum(&row.figures.all).models(&row.models).end();
            }
        }
        Report::Audit(audit) => write_audit(&mut out, audit),
    }
    out
}

fn names(out: &mut String, first: &[&str], last: &[&str]) {
    first.iter().chain(&SUM).chain(last).fold(Row::new(out), |row, name| row.text(name)).end();
}

fn write_totals(out: &mut String, totals: &Totals) {
    let last = ["undated", "unpriced_models", "files", "bytes", "lines", "duplicate_lines", "rejected_lines"];
    names(out, &[], &last);
    let line = Row::new(out).sum(&totals.figures.all).value(totals.undated).models(&totals.unpriced_models);
    let line = line.value(totals.files).value(totals.bytes).value(totals.lines);
    line.value(totals.duplicate_lines).value(totals.rejected_lines).end();
}

/// One line for each finding.
fn write_audit(out: &mut String, audit: &Audit) {
    Row::new(out).text("kind").text("file").text("byte_offset").text("what").text("count").end();
    for rejection in &audit.rejections {
        let line = Row::new(out).text("rejected").text(&rejection.file).value(rejection.byte_offset);
        line.text(rejection.reason.as_str()).value(1).end();
    }
    for unreadable in &audit.unreadable {
        Row::new(out).text("unreadable").text(&unreadable.path).text("").text(&unreadable.error).value(1).end();
    }
    for model in &audit.unpriced {
        Row::new(out).text("unpriced").text("").text("").text(model.model.as_str()).value(model.responses).end();
    }
    for session in &audit.drift.sessions {
        let cents = |usd: Option<f64>| usd.map_or_else(|| "unknown".to_owned(), |usd| format!("{usd:.4} USD"));
        let beside = &session.beside;
        let (ours, theirs) = (cents(beside.ours.cost_usd), cents(beside.theirs.cost_usd));
        let what = format!("ours {ours}; the tool's own account {theirs}");
        let tokens = beside.difference.total.map_or_else(String::new, |total| total.to_string());
        Row::new(out).text("drift").text(session.session.as_str()).text("").text(&what).text(&tokens).end();
    }
    for (what, count) in [
        ("duplicate lines", audit.duplicate_lines),
        ("unusable counts", audit.bad_counts),
        ("undated responses", audit.undated),
        ("responses dated ahead", audit.ahead),
        ("unknown records", audit.unknown_records),
        ("unfinished lines", audit.pending_lines),
    ] {
        Row::new(out).text("count").text("").text("").text(what).value(count).end();
    }
    for day in &audit.expiring.by_days {
        let what = format!("sessions the tool deletes in {} days", day.in_days);
        Row::new(out).text("expiring").text("").text("").text(&what).value(day.sessions).end();
    }
}

/// A line being written.
struct Row<'a> {
    out: &'a mut String,
    begun: bool,
}

impl<'a> Row<'a> {
    fn new(out: &'a mut String) -> Self {
        Self { out, begun: false }
    }

    fn next(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(',');
        }
    }

    /// A text from outside.
    fn text(mut self, text: &str) -> Self {
        self.next();
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let quote = text.contains(['"', ',', '\n', '\r']);
        if quote {
            self.out.push('"');
        }
        if formula {
            self.out.push('\'');
        }
        self.out.push_str(&text.replace('"', "\"\""));
        if quote {
            self.out.push('"');
        }
        self
    }

    /// Something that holds neither commas nor quotes.
    fn value(mut self, value: impl std::fmt::Display) -> Self {
        self.next();
        // Writing to a string does not fail.
        let _ = write!(self.out, "{value}");
        self
    }

    /// Unknown is empty.
    fn known(mut self, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.value(value),
            None => {
                self.next();
                self
            }
        }
    }

    fn time(mut self, at: Option<Timestamp>) -> Self {
        match at {
            Some(at) => self.value(at),
            None => {
                self.next();
                self
            }
        }
    }

    fn models(self, models: &BTreeSet<ModelId>) -> Self {
        let models: Vec<&str> = models.iter().map(ModelId::as_str).collect();
        self.text(&models.join(" "))
    }

    fn sum(self, sum: &Sum) -> Self {
        let usage = &sum.usage;
        let kinds = [usage.input, usage.output, usage.cache_creation, usage.cache_creation_1h, usage.cache_read];
        let row = kinds.iter().fold(self, |row, tokens| row.value(tokens.0));
        let known = sum.cost.known();
        row.value(usage.total().0)
            .value(sum.responses)
            .known(known.map(Money::usd))
            .known(known.map(|_| sum.cost.saved.usd()))
            .value(sum.cost.unpriced_responses)
    }

    fn end(self) {
        self.out.push_str("\r\n");
    }
}
