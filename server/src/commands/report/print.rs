//! Reports as text for people: aligned tables with their sum, and notes on what is not in it.

use std::collections::BTreeSet;
use std::fmt::Write;

use dashboard_core::drift::{Drift, SessionDrift};
use dashboard_core::format;
use dashboard_core::ids::ModelId;
use dashboard_core::report::{Audit, BlockRow, Expiring, Figures, Report, Sum, Table, Totals};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use dashboard_core::units::{Money, Tokens};

use crate::text::{Kind, Screen, TextTable, one_line};

/// Most refused lines printed; `--json` prints all that are kept.
const SHOWN_REJECTIONS: usize = 50;
/// Most sessions printed whose two accounts differ.
const SHOWN_DRIFTS: usize = 10;

/// The report as text.
pub(super) fn text(report: &Report, zone: &ZoneOffsets, screen: &Screen) -> String {
    let time = |at: Option<Timestamp>| at.map_or_else(unknown, |at| day_clock(zone, at));
    match report {
        Report::Totals(totals) => totals_text(totals),
        Report::Audit(audit) => audit_text(audit, zone),
        Report::Periods(table) => {
            let name = if table.report == dashboard_core::report::ReportKind::Daily { "Day" } else { "Period" };
            let render = |numbers| {
                let mut text = Columns::new(&[(name, Kind::Name)], &[("Models", Kind::Extra)], numbers);
                for row in &table.rows {
                    text.row(vec![row.period.clone()], &row.figures, vec![models(&row.models)]);
                }
                if table.undated.all.responses > 0 {
                    text.row(vec!["undated".to_owned()], &table.undated, vec![String::new()]);
                }
                text.sum("Total", table, 0, 1)
            };
            tables(screen, render) + &notes(table)
        }
        Report::Sessions(table) => {
            let first = [("Session", Kind::Name), ("Project", Kind::Text), ("Last used", Kind::Name)];
            let render = |numbers| {
                let mut text = Columns::new(&first, &[("Branch", Kind::Extra), ("Models", Kind::Extra)], numbers);
                for row in &table.rows {
                    let id = format::short_id(row.session.as_str()).to_owned();
                    let project = row.project.clone().unwrap_or_else(unknown);
                    let last = vec![row.branch.clone().unwrap_or_else(unknown), models(&row.models)];
                    text.row(vec![id, project, time(row.last_activity)], &row.figures, last);
                }
                text.sum("Total", table, 2, 2)
            };
            tables(screen, render) + &notes(table)
        }
        Report::Blocks(table) => {
            let several = table.totals.tools.len() > 1;
            let first = [("Block", Kind::Name), ("Until", Kind::Name), ("", Kind::Name)];
            let render = |numbers| {
                let mut text = Columns::new(&first, &[("Models", Kind::Extra)], numbers);
                for row in &table.rows {
                    let (end, state) = block_names(row, zone, several);
                    let first = vec![day_clock(zone, row.start), end, state];
                    if row.is_gap {
                        text.empty(first);
                    } else {
                        text.row(first, &row.figures, vec![models(&row.models)]);
                    }
                }
                if table.undated.all.responses > 0 {
                    let first = vec!["undated".to_owned(), String::new(), String::new()];
                    text.row(first, &table.undated, vec![String::new()]);
                }
                text.sum("Total", table, 2, 1)
            };
            let active: String = table.rows.iter().filter(|row| row.is_active).map(active_text).collect();
            tables(screen, render) + &active + &notes(table)
        }
        Report::Models(table) => {
            let render = |numbers| {
                let mut text = Columns::new(&[("Model", Kind::Text)], &[("Last used", Kind::Extra)], numbers);
                for row in &table.rows {
                    let last = row.last.map_or_else(unknown, |at| zone.day(at).to_string());
                    text.row(vec![row.model.to_string()], &row.figures, vec![last]);
                }
                text.sum("Total", table, 0, 1)
            };
            tables(screen, render) + &notes(table)
        }
        Report::Projects(table) => {
            let first = [("Project", Kind::Text), ("Sessions", Kind::Number)];
            let render = |numbers| {
                let mut text = Columns::new(&first, &[("Directory", Kind::Extra)], numbers);
                for row in &table.rows {
                    let first = vec![row.project.clone().unwrap_or_else(unknown), format::exact(row.sessions)];
                    text.row(first, &row.figures, vec![row.cwd.clone().unwrap_or_else(unknown)]);
                }
                text.sum("Total", table, 1, 1)
            };
            tables(screen, render) + &notes(table)
        }
    }
}

/// How figures are written, so that the table fits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// To the last token.
    Exact,
    /// In three digits.
    Short,
    /// In three digits, with both kinds of cache tokens in one column.
    Fewer,
}

/// With numbers as exact as fits.
fn tables(screen: &Screen, render: impl Fn(Numbers) -> TextTable) -> String {
    let exact = render(Numbers::Exact);
    if exact.fits(screen.width) {
        return exact.render(screen);
    }
    let short = render(Numbers::Short);
    if short.fits_without_extras(screen.width) {
        return short.render(screen);
    }
    render(Numbers::Fewer).render(screen)
}

/// A table whose middle columns are figures.
struct Columns {
    table: TextTable,
    numbers: Numbers,
}

impl Columns {
    fn new(first: &[(&'static str, Kind)], last: &[(&'static str, Kind)], numbers: Numbers) -> Self {
        let names: &[&'static str] = match numbers {
            Numbers::Exact => &["Input", "Output", "Cache write", "Cache read", "Total", "Responses", "Cost"],
            Numbers::Short => &["Input", "Output", "C. write", "C. read", "Total", "Resp.", "Cost"],
            Numbers::Fewer => &["Input", "Output", "Cache", "Total", "Resp.", "Cost"],
        };
        let figures: Vec<_> = names.iter().map(|&name| (name, Kind::Number)).collect();
        Self { table: TextTable::new(&[first, &figures, last].concat()), numbers }
    }

    fn row(&mut self, first: Vec<String>, figures: &Figures, last: Vec<String>) {
        self.table.row([first, self.figures(&figures.all), last].concat());
    }

    /// A row without figures.
    fn empty(&mut self, first: Vec<String>) {
        self.table.row(first);
    }

    /// Closes the table with the sum, and with the part of each tool if there are several.
    fn sum<R>(mut self, name: &str, table: &Table<R>, empty_before: usize, empty_after: usize) -> TextTable {
        let mut line = |name: &str, sum: &Sum| {
            let first = std::iter::once(name.to_owned()).chain(std::iter::repeat_n(String::new(), empty_before));
            let cells = first.chain(self.figures(sum)).chain(std::iter::repeat_n(String::new(), empty_after));
            self.table.sum(cells.collect());
        };
        if table.totals.tools.len() > 1 {
            table.totals.tools.iter().for_each(|(tool, sum)| line(tool.as_str(), sum));
        }
        line(name, &table.totals.all);
        self.table
    }

    fn figures(&self, sum: &Sum) -> Vec<String> {
        let usage = &sum.usage;
        let cache = match self.numbers {
            Numbers::Fewer => vec![usage.cache_creation + usage.cache_read],
            Numbers::Exact | Numbers::Short => vec![usage.cache_creation, usage.cache_read],
        };
        let tokens = [vec![usage.input, usage.output], cache, vec![usage.total()]].concat();
        let text = |tokens: Tokens| match self.numbers {
            Numbers::Exact => format::exact(tokens.0),
            Numbers::Short | Numbers::Fewer => format::tokens(tokens),
        };
        let last = [format::exact(sum.responses), format::cost(&sum.cost)];
        tokens.into_iter().map(text).chain(last).collect()
    }
}

fn unknown() -> String {
    format::UNKNOWN.to_owned()
}

fn models(models: &BTreeSet<ModelId>) -> String {
    let names: BTreeSet<String> = models.iter().map(|model| format::model(model.as_str())).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn day_clock(zone: &ZoneOffsets, at: Timestamp) -> String {
    format!("{} {}", zone.day(at), format::clock(zone, at))
}

/// When the row ends, and what it is. A block ends within a day; a gap is told by its length.
fn block_names(row: &BlockRow, zone: &ZoneOffsets, several: bool) -> (String, String) {
    let (end, state) = if row.is_gap {
        (String::new(), format!("gap {}", format::span_short(row.end.ms_since(row.start))))
    } else {
        (format::clock(zone, row.end), if row.is_active { "active".to_owned() } else { String::new() })
    };
    let tool = if several { row.tool.as_str() } else { "" };
    (end, [state.as_str(), tool].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "))
}

/// What the block in course burns and where that leads.
fn active_text(row: &BlockRow) -> String {
    let usd = |usd: f64| Money::from_usd(usd).map_or_else(unknown, format::money);
    let (Some(burn), Some(projection)) = (row.burn, row.projection) else {
        return "\nThe active block has but one instant of use: there is no rate yet.\n".to_owned();
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and none is below 0"
    )]
    let (rate, total, left_ms) = (
        Tokens(burn.tokens_per_minute.round() as u64),
        Tokens(projection.total.round() as u64),
        (projection.remaining_minutes * 60_000.0) as i64,
    );
    let per_hour = burn.cost_usd_per_hour.map(|cost| format!(", {} an hour", usd(cost))).unwrap_or_default();
    let cost = projection.cost_usd.map(|cost| format!(" and {}", usd(cost))).unwrap_or_default();
    format!(
        "\nActive block: {} left, {} tokens a minute{per_hour}; at this rate {} tokens{cost} by its end.\n",
        format::span(left_ms),
        format::tokens(rate),
        format::tokens(total),
    )
}

/// What the sum does not tell.
fn notes<R>(table: &Table<R>) -> String {
    let mut out = String::new();
    let unpriced = table.totals.all.cost.unpriced_responses;
    if unpriced > 0 {
        let (have, are) = if unpriced == 1 { ("response has", "is") } else { ("responses have", "are") };
        let count = format::exact(unpriced);
        line(
            &mut out,
            format_args!(
                "\n{count} {have} no known price and {are} in no cost; `dashboard report audit` names the models."
            ),
        );
    }
    if table.filter.names_days() {
        line(&mut out, format_args!("\nResponses without a readable time are left out, since days are named."));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

/// Names to the left, values to the right.
fn list(out: &mut String, rows: &[(&str, String)], width: usize) {
    for (label, value) in rows {
        let padding = " ".repeat(width.saturating_sub(value.chars().count()));
        line(out, format_args!("{label:<20} {padding}{value}"));
    }
}

fn widest(rows: &[(&str, String)]) -> usize {
    rows.iter().map(|(_, value)| value.chars().count()).max().unwrap_or_default()
}

fn totals_text(totals: &Totals) -> String {
    let Sum { usage, responses, cost } = &totals.figures.all;
    let exact = |tokens: Tokens| format::exact(tokens.0);
    let mut used = vec![
        ("Input", exact(usage.input)),
        ("Output", exact(usage.output)),
        ("Cache write", exact(usage.cache_creation)),
        ("Cache read", exact(usage.cache_read)),
        ("Total tokens", exact(usage.total())),
        ("Responses", format::exact(*responses)),
        ("Sessions", format::exact(totals.sessions)),
        ("Cost at list prices", format::cost(cost)),
        ("Saved by the cache", cost.known().map_or_else(unknown, |_| format::money(cost.saved))),
    ];
    if totals.figures.tools.len() > 1 {
        for (tool, sum) in &totals.figures.tools {
            used.push((tool.as_str(), format!("{} tokens, {}", exact(sum.usage.total()), format::cost(&sum.cost))));
        }
    }
    let read = vec![
        ("Files", format::exact(totals.files)),
        ("Bytes", format::exact(totals.bytes)),
        ("Lines", format::exact(totals.lines)),
        ("Duplicates folded", format::exact(totals.duplicate_lines)),
        ("Lines refused", format::exact(totals.rejected_lines)),
        ("Lines unfinished", format::exact(totals.pending_lines)),
        ("Records unknown", format::exact(totals.unknown_records)),
        ("Counts unusable", format::exact(totals.bad_counts)),
        ("Responses undated", format::exact(totals.undated)),
    ];
    let width = widest(&used).max(widest(&read));
    let mut out = String::new();
    list(&mut out, &used, width);
    out.push('\n');
    list(&mut out, &read, width);
    if !totals.unpriced_models.is_empty() {
        let models: Vec<String> = totals.unpriced_models.iter().map(|model| one_line(model.as_str())).collect();
        line(&mut out, format_args!("\nNo price is known for {} (not in the cost).", models.join(", ")));
    }
    out
}

fn audit_text(audit: &Audit, zone: &ZoneOffsets) -> String {
    let rows = vec![
        ("Files", format::exact(audit.files)),
        ("Bytes", format::exact(audit.bytes)),
        ("Lines", format::exact(audit.lines)),
        ("Records", format::exact(audit.records)),
        ("Records unknown", format::exact(audit.unknown_records)),
        ("Usage records", format::exact(audit.usage_records)),
        ("Duplicates folded", format::exact(audit.duplicate_lines)),
        ("Responses", format::exact(audit.responses)),
        ("Responses undated", format::exact(audit.undated)),
        ("Counts unusable", format::exact(audit.bad_counts)),
        ("Lines unfinished", format::exact(audit.pending_lines)),
        ("Lines refused", format::exact(audit.rejected_lines)),
    ];
    let mut out = String::new();
    list(&mut out, &rows, widest(&rows));

    if !audit.rejections.is_empty() {
        line(&mut out, format_args!("\nRefused lines, by file and first byte:"));
        for rejection in audit.rejections.iter().take(SHOWN_REJECTIONS) {
            let file = one_line(&rejection.file);
            line(&mut out, format_args!("  {file}:{}  {}", rejection.byte_offset, rejection.reason.as_str()));
        }
        let shown = audit.rejections.len().min(SHOWN_REJECTIONS) as u64;
        let more = audit.rejected_lines.saturating_sub(shown);
        if more > 0 {
            line(
                &mut out,
                format_args!(
                    "  … and {} more; --json lists {}",
                    format::exact(more),
                    format::exact(audit.rejections.len() as u64)
                ),
            );
        }
    }
    if !audit.unreadable.is_empty() {
        line(&mut out, format_args!("\nCould not be read:"));
        for unreadable in &audit.unreadable {
            line(&mut out, format_args!("  {}: {}", one_line(&unreadable.path), one_line(&unreadable.error)));
        }
    }
    if !audit.unpriced.is_empty() {
        line(
            &mut out,
            format_args!(
                "\nWithout a price, so that their cost is unknown (a prices.json can add one, see `dashboard prices`):"
            ),
        );
        for model in &audit.unpriced {
            let (name, responses) = (one_line(model.model.as_str()), format::exact(model.responses));
            line(&mut out, format_args!("  {name}: {responses} responses, {} tokens", format::exact(model.total.0)));
        }
    }
    drift_text(&mut out, &audit.drift);
    expiring_text(&mut out, &audit.expiring, zone);
    out
}

fn drift_text(out: &mut String, drift: &Drift) {
    if drift.sessions.is_empty() {
        return;
    }
    let usd = |usd: Option<f64>| usd.map_or_else(unknown, |usd| format!("${usd:.4}"));
    let more = |usd: Option<f64>| usd.map_or_else(unknown, |usd| format!("{}${:.4}", sign(usd), usd.abs()));
    line(
        out,
        format_args!(
            "\nThe tool's own account of {} sessions: {}, ours {}, difference {}",
            format::exact(drift.sessions.len() as u64),
            usd(drift.theirs_usd),
            usd(drift.ours_usd),
            more(drift.difference_usd),
        ),
    );
    for session in drift.sessions.iter().take(SHOWN_DRIFTS) {
        let SessionDrift { session, beside, .. } = session;
        let tokens = |total: Option<i64>| {
            total.map_or_else(unknown, |total| format!("{}{}", sign(total as f64), format::exact(total.unsigned_abs())))
        };
        line(
            out,
            format_args!(
                "  {}  theirs {}, ours {}, difference {}, {} tokens",
                one_line(format::short_id(session.as_str())),
                usd(beside.theirs.cost_usd),
                usd(beside.ours.cost_usd),
                more(beside.difference.cost_usd),
                tokens(beside.difference.total),
            ),
        );
    }
}

fn sign(number: f64) -> &'static str {
    if number < 0.0 { "−" } else { "+" }
}

fn expiring_text(out: &mut String, expiring: &Expiring, zone: &ZoneOffsets) {
    let Some(next) = expiring.next.first() else { return };
    line(out, format_args!("\nTranscripts the tool will delete, of {} sessions:", format::exact(expiring.sessions)));
    let within = |days: u64| {
        let count = expiring.within(days);
        (count > 0)
            .then(|| format!("{} within {days} {}", format::exact(count), if days == 1 { "day" } else { "days" }))
    };
    let counts: Vec<String> = [1, 7, 30].into_iter().filter_map(within).collect();
    if !counts.is_empty() {
        line(out, format_args!("  {}", counts.join(", ")));
    }
    let session = one_line(format::short_id(&next.session));
    match next.in_days {
        0 => line(out, format_args!("  the next is {session}, as soon as the tool is started")),
        _ => line(out, format_args!("  the next is {session}, on {}", zone.day(next.deletes_at))),
    }
}
