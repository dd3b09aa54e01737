//! The server's reports. Rendered with the days of the state, so that something is there at once; the report chosen
//! is asked for once the page is alive, and again when another one is chosen.

use dashboard_core::format::exact;
use leptos::prelude::*;

use super::rows::{Row, table};
use super::{Page, Section, days};
use crate::panels::figures;
use crate::site::Site;
use crate::ui::{Segments, calc, dynamic};

/// Most rows drawn; the CSV has all.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only the browser asks"))]
const MOST_ROWS: usize = 500;

/// Reports by their name in the API, and what the choice is called.
const KINDS: &[(&str, &str)] = &[
    ("daily", "Days"),
    ("weekly", "Weeks"),
    ("monthly", "Months"),
    ("sessions", "Sessions"),
    ("models", "Models"),
    ("projects", "Projects"),
];

/// Ranges by `since` in the API.
const RANGES: &[(&str, &str)] =
    &[("today", "Today"), ("6d", "7 days"), ("29d", "30 days"), ("89d", "90 days"), ("", "All")];

/// What was asked for, and what came of it.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only the browser asks"))]
#[derive(Clone, Debug, Default, PartialEq)]
enum Status {
    #[default]
    Loading,
    Ready,
    Failed(String),
}

/// A report, as the table shows it.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    kind: &'static str,
    rows: Vec<Row>,
    sums: Vec<Row>,
    /// How many rows there are, drawn or not.
    all: usize,
    unpriced: u64,
}

/// The name of one row of a report.
fn column(kind: &str) -> &'static str {
    match kind {
        "weekly" => "Week",
        "monthly" => "Month",
        "sessions" => "Session",
        "models" => "Model",
        "projects" => "Project",
        _ => "Day",
    }
}

fn caption(kind: &str) -> &'static str {
    match kind {
        "weekly" => "Usage by week",
        "monthly" => "Usage by month",
        "sessions" => "Usage by session",
        "models" => "Usage by model",
        "projects" => "Usage by project",
        _ => "Usage by day",
    }
}

fn address(site: &Site, kind: &str, since: &str, csv: bool) -> String {
    let query = [("since", since), ("format", if csv { "csv" } else { "" })];
    let query: Vec<String> =
        query.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={value}")).collect();
    site.href(&format!("/api/v1/{kind}")) + if query.is_empty() { "" } else { "?" } + &query.join("&")
}

/// The page of a dashboard with a server.
pub(super) fn history() -> AnyView {
    let site = expect_context::<Site>();
    let (kind, since) = (RwSignal::new("daily"), RwSignal::new("29d"));
    let (status, shown) = (RwSignal::new(Status::Loading), RwSignal::new(None::<Shown>));
    // Counts the user's wishes to ask again.
    let again = RwSignal::new(0_u32);
    #[cfg(target_arch = "wasm32")]
    ask(site.clone(), kind, since, again, status, shown);

    let held = days();
    let held_total = figures(|state, _| Row::total(&state.days_total()));
    let rows = calc(move || shown.with(|shown| shown.as_ref().map_or_else(|| held.get(), |shown| shown.rows.clone())));
    let sums =
        calc(move || shown.with(|shown| shown.as_ref().map_or_else(|| vec![held_total.get()], |s| s.sums.clone())));
    let shown_kind = calc(move || shown.with(|shown| shown.as_ref().map_or("daily", |shown| shown.kind)));
    let csv = calc(move || address(&site, kind.get(), since.get(), true));
    let busy = calc(move || if status.with(|status| *status == Status::Loading) { "true" } else { "false" });
    let note = move || {
        let failed = status.with(|status| match status {
            Status::Failed(error) => Some(format!("Could not be loaded: {error}.")),
            Status::Loading | Status::Ready => None,
        });
        failed.unwrap_or_else(|| shown.with(|shown| shown.as_ref().map_or_else(|| "Loading …".to_owned(), words)))
    };
    let retry = move || {
        status.with(|status| matches!(status, Status::Failed(_))).then(|| {
            view! { <button type="button" class="btn sm outline" on:click=move |_| again.update(|n| *n += 1)>"Try again"</button> }
        })
    };
    view! {
        <Page title="History" about="Everything known, deleted transcripts included, in the configured time zone.">
            <Section
                id="h-usage"
                title="Usage"
                about="cost at API list prices; what was not used is left out"
            >
                <div class="history-tools">
                    <Segments label="Group by" options=KINDS chosen=kind />
                    <Segments label="Range" options=RANGES chosen=since />
                    <button type="button" class="btn sm outline" on:click=move |_| again.update(|n| *n += 1)>"Refresh"</button>
                    <a class="btn sm outline" href=csv download="">"CSV"</a>
                </div>
                <p class="history-note small muted" role="status">{calc(note)}" "{dynamic(retry)}</p>
                <div class="history-body" aria-busy=busy>
                    {table(
                        move || column(shown_kind.get()).to_owned(),
                        move || caption(shown_kind.get()).to_owned(),
                        rows,
                        sums,
                    )}
                </div>
            </Section>
        </Page>
    }
    .into_any()
}

/// What is to be known of a report besides its rows.
fn words(shown: &Shown) -> String {
    let mut words = match (shown.all, shown.rows.len()) {
        (0, _) => "Nothing was used in this range.".to_owned(),
        (1, _) => "1 row.".to_owned(),
        (all, drawn) if all > drawn => {
            format!("The first {} of {} rows; the CSV has all.", exact(drawn as u64), exact(all as u64))
        }
        (all, _) => format!("{} rows.", exact(all as u64)),
    };
    if shown.unpriced > 0 {
        words += &format!(" {} responses have no known price and are in no cost.", exact(shown.unpriced));
    }
    words
}

#[cfg(target_arch = "wasm32")]
fn ask(
    site: Site,
    kind: RwSignal<&'static str>,
    since: RwSignal<&'static str>,
    again: RwSignal<u32>,
    status: RwSignal<Status>,
    shown: RwSignal<Option<Shown>>,
) {
    use crate::feed::Store;

    let store = expect_context::<Store>();
    let newest = StoredValue::new(0_u32);
    Effect::new(move |_| {
        again.track();
        let kind = kind.get();
        let path = address(&site, kind, since.get(), false);
        newest.update_value(|number| *number += 1);
        let number = newest.get_value();
        status.set(Status::Loading);
        leptos::task::spawn_local(async move {
            let answer = crate::api::get(&path).await;
            // The page may be gone, or have asked for something else meanwhile.
            if newest.try_get_value() != Some(number) {
                return;
            }
            match answer {
                Ok(report) => {
                    let table = store.state.with_untracked(|state| read::report(kind, &report, &state.zone));
                    shown.set(Some(table));
                    status.set(Status::Ready);
                }
                Err(error) => status.set(Status::Failed(error)),
            }
        });
    });
}

#[cfg(target_arch = "wasm32")]
mod read {
    //! Reports as the API writes them → rows.

    use dashboard_core::format;
    use dashboard_core::time::{Timestamp, ZoneOffsets};
    use dashboard_core::units::{Cost, Money, TokenUsage, Tokens};
    use leptos::wasm_bindgen::JsValue;

    use super::{MOST_ROWS, Row, Shown};
    use crate::api::{count, field, list, number, text};

    pub(super) fn report(kind: &'static str, report: &JsValue, zone: &ZoneOffsets) -> Shown {
        let mut found = list(report, "rows");
        let all = found.len();
        // What has a time comes oldest first, and is wanted the other way.
        if !["models", "projects"].contains(&kind) {
            found.reverse();
        }
        found.truncate(MOST_ROWS);
        let rows = found.iter().map(|row| one(kind, row, zone)).collect();
        let sums = [("undated", "Without a time"), ("totals", "All")];
        let sums = sums.iter().map(|(name, title)| (*title, field(report, name)));
        let sums = sums.filter(|(title, sum)| *title == "All" || count(sum, "responses") > 0);
        let sums: Vec<Row> = sums.map(|(title, sum)| figures(title.to_owned(), String::new(), &sum)).collect();
        Shown { kind, rows, sums, all, unpriced: count(&field(report, "totals"), "unpriced_responses") }
    }

    fn one(kind: &str, row: &JsValue, zone: &ZoneOffsets) -> Row {
        let known = |name: &str| text(row, name).unwrap_or_else(|| format::UNKNOWN.to_owned());
        let time = |name: &str| {
            let at = text(row, name).and_then(|text| Timestamp::parse(&text));
            at.map_or_else(|| format::UNKNOWN.to_owned(), |at| format!("{} {}", zone.day(at), format::clock(zone, at)))
        };
        let (name, about) = match kind {
            "sessions" => {
                let id = text(row, "session").unwrap_or_default();
                (known("project"), format!("{} · {}", format::short_id(&id), time("last_activity")))
            }
            "models" => {
                let id = text(row, "model").unwrap_or_default();
                (format::model(&id), id)
            }
            "projects" => (known("project"), text(row, "cwd").unwrap_or_default()),
            _ => (known("period"), String::new()),
        };
        figures(name, about, row)
    }

    fn figures(name: String, about: String, row: &JsValue) -> Row {
        let tokens = |name: &str| Tokens(count(row, name));
        let usage = TokenUsage {
            input: tokens("input"),
            output: tokens("output"),
            cache_creation: tokens("cache_creation"),
            cache_creation_1h: tokens("cache_creation_1h"),
            cache_read: tokens("cache_read"),
            reasoning: tokens("reasoning"),
        };
        let cost = Cost {
            priced: number(row, "cost_usd").and_then(Money::from_usd).unwrap_or_default(),
            unpriced_responses: count(row, "unpriced_responses"),
            ..Cost::default()
        };
        Row::new(name, about, &usage, count(row, "responses"), &cost)
    }
}
