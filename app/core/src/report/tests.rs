//! Reports over a few responses, figure by figure.

use super::*;
use crate::history::{Ingest, Response, Sessions};
use crate::ids::{ModelId, SessionId};
use crate::record::{Record, SessionMeta, Tool};
use crate::time::DAY_MS;
use crate::units::{TokenUsage, Tokens};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

struct Fixture {
    responses: Vec<(Tool, SessionId, ModelId, Option<Timestamp>, TokenUsage)>,
    sessions: Sessions,
    ingest: Ingest,
    prices: PriceTable,
    zone: ZoneOffsets,
    now: Timestamp,
    retention: Retention,
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

const OPUS: &str = "claude-opus-4-5-20251101";

impl Fixture {
    fn new() -> Self {
        let mut fixture = Self {
            responses: Vec::new(),
            sessions: Sessions::default(),
            ingest: Ingest { responses: 5, ..Ingest::default() },
            prices: PriceTable::embedded(),
            zone: ZoneOffsets::utc(),
            now: at("2026-09-20T11:00:00Z"),
            retention: Retention::default(),
        };
        fixture.ingest.counts.usage_records = 8;
        for (session, cwd) in [("a", "/home/ada/engine"), ("b", "/home/ada/loom/")] {
            fixture.sessions.record(&Record::Session(SessionMeta {
                tool: Tool::ClaudeCode,
                session: session.into(),
                agent: None,
                cwd: Some(cwd.to_owned()),
                branch: Some("main".to_owned()),
                version: None,
                at: Some(at("2026-09-13T22:00:00Z")),
            }));
        }
        // A Sunday, the Monday after it, and the present block with two responses an hour apart.
        fixture.add(Tool::ClaudeCode, "a", OPUS, Some("2026-09-13T23:30:00Z"), 1_000_000);
        fixture.add(Tool::ClaudeCode, "b", OPUS, Some("2026-09-14T09:00:00Z"), 2_000_000);
        fixture.add(Tool::ClaudeCode, "b", "from-the-future", Some("2026-09-20T09:20:00Z"), 3_000);
        fixture.add(Tool::ClaudeCode, "b", OPUS, Some("2026-09-20T10:20:00Z"), 57_000);
        fixture.add(Tool::Codex, "c", OPUS, None, 4_000_000);
        fixture
    }

    fn add(&mut self, tool: Tool, session: &str, model: &str, at_: Option<&str>, input: u64) {
        let usage = TokenUsage { input: Tokens(input), ..TokenUsage::default() };
        self.responses.push((tool, session.into(), model.into(), at_.map(at), usage));
    }

    fn report(&self, kind: ReportKind, filter: &Filter) -> Report {
        let basis = ReportContext {
            sessions: &self.sessions,
            ingest: &self.ingest,
            prices: &self.prices,
            zone: &self.zone,
            now: self.now,
            filter,
            retention: &self.retention,
        };
        let responses = self.responses.iter().map(|(tool, session, model, at, usage)| Response {
            tool: *tool,
            session,
            model,
            at: *at,
            usage: *usage,
        });
        Report::new(kind, basis, responses.map(|response| UsageRow::of(&response, &self.prices)))
    }

    /// Names of the rows with their totals, the undated ones, and the sum.
    fn rows(&self, kind: ReportKind, filter: &Filter) -> (Vec<(String, u64)>, u64, u64) {
        fn of<R>(table: Table<R>, name: impl Fn(&R) -> (String, u64)) -> (Vec<(String, u64)>, u64, u64) {
            let total = |figures: &Figures| figures.all.usage.total().0;
            (table.rows.iter().map(name).collect(), total(&table.undated), total(&table.totals))
        }
        let total = |figures: &Figures| figures.all.usage.total().0;
        match self.report(kind, filter) {
            Report::Periods(table) => of(table, |row| (row.period.clone(), total(&row.figures))),
            Report::Sessions(table) => of(table, |row| (row.session.to_string(), total(&row.figures))),
            Report::Blocks(table) => of(table, |row| (row.start.to_string(), total(&row.figures))),
            Report::Models(table) => of(table, |row| (row.model.to_string(), total(&row.figures))),
            Report::Projects(table) => {
                of(table, |row| (row.project.clone().unwrap_or("?".to_owned()), total(&row.figures)))
            }
            Report::Totals(_) | Report::Audit(_) => panic!("no table"),
        }
    }
}

fn named(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|&(name, total)| (name.to_owned(), total)).collect()
}

#[test]
fn days_weeks_and_months_follow_the_zone() {
    let mut fixture = Fixture::new();
    let all = Filter::default();
    let days = [("2026-09-13", 1_000_000), ("2026-09-14", 2_000_000), ("2026-09-20", 60_000)];
    assert_eq!(fixture.rows(ReportKind::Daily, &all), (named(&days), 4_000_000, 7_060_000));
    let weeks = [("2026-W37", 1_000_000), ("2026-W38", 2_060_000)];
    assert_eq!(fixture.rows(ReportKind::Weekly, &all), (named(&weeks), 4_000_000, 7_060_000));
    assert_eq!(fixture.rows(ReportKind::Monthly, &all).0, named(&[("2026-09", 3_060_000)]));
    // Two hours east, the first response was on Monday.
    fixture.zone = ZoneOffsets::new(vec![(Timestamp::default(), 7_200)]);
    let days = [("2026-09-14", 3_000_000), ("2026-09-20", 60_000)];
    assert_eq!(fixture.rows(ReportKind::Daily, &all).0, named(&days));
    let Report::Periods(weeks) = fixture.report(ReportKind::Weekly, &all) else { panic!("no periods") };
    assert_eq!(
        (weeks.rows[0].start.to_string(), weeks.rows[0].end.to_string()),
        ("2026-09-14".into(), "2026-09-20".into())
    );
}

#[test]
fn groups_are_ordered_and_name_what_they_know() {
    let fixture = Fixture::new();
    let all = Filter::default();
    // The one used last at the end; one without any time was used never.
    let sessions = [("c", 4_000_000), ("a", 1_000_000), ("b", 2_060_000)];
    assert_eq!(fixture.rows(ReportKind::Sessions, &all).0, named(&sessions));
    let projects = [("?", 4_000_000), ("loom", 2_060_000), ("engine", 1_000_000)];
    assert_eq!(fixture.rows(ReportKind::Projects, &all).0, named(&projects));
    let models = [(OPUS, 7_057_000), ("from-the-future", 3_000)];
    assert_eq!(fixture.rows(ReportKind::Models, &all).0, named(&models));
}

#[test]
fn filters_narrow_every_report() {
    let fixture = Fixture::new();
    let kinds = [ReportKind::Daily, ReportKind::Sessions, ReportKind::Models, ReportKind::Projects];
    let filter = Filter::default;
    let day = |text: &str| text.parse::<DaySpec>().unwrap().at(fixture.now, &fixture.zone);
    for (filter, total) in [
        (Filter { since: Some(day("2026-09-14")), ..filter() }, 2_060_000),
        (Filter { until: Some(day("2026-09-14")), ..filter() }, 3_000_000),
        (Filter { since: Some(day("today")), ..filter() }, 60_000),
        (Filter { since: Some(day("6d")), until: Some(day("yesterday")), ..filter() }, 2_000_000),
        (Filter { project: Some("engine".into()), ..filter() }, 1_000_000),
        (Filter { project: Some("/home/ada/loom".into()), ..filter() }, 2_060_000),
        (Filter { project: Some("ada".into()), ..filter() }, 0),
        (Filter { project: Some(String::new()), ..filter() }, 4_000_000),
        (Filter { model: Some("OPUS 4.5".into()), ..filter() }, 7_057_000),
        (Filter { model: Some("future".into()), ..filter() }, 3_000),
        (Filter { tool: Some(Tool::Codex), ..filter() }, 4_000_000),
    ] {
        for kind in kinds {
            assert_eq!(fixture.rows(kind, &filter).2, total, "{kind} {filter:?}");
        }
        let Report::Totals(totals) = fixture.report(ReportKind::Totals, &filter) else { panic!("no totals") };
        assert_eq!(totals.figures.all.usage.total().0, total, "{filter:?}");
        assert_eq!(totals.duplicate_lines, 3, "of files, whatever is selected");
    }
    let backwards = Filter { since: Some(day("today")), until: Some(day("yesterday")), ..filter() };
    assert!(backwards.checked().unwrap_err().to_string().contains("2026-09-19"));
}

#[test]
fn the_active_block_burns_and_leads_somewhere() {
    let fixture = Fixture::new();
    let Report::Blocks(table) = fixture.report(ReportKind::Blocks, &Filter::default()) else { panic!("no blocks") };
    let shape: Vec<_> = table.rows.iter().map(|row| (row.is_gap, row.is_active, row.figures.all.responses)).collect();
    assert_eq!(shape, [(false, false, 1), (true, false, 0), (false, false, 1), (true, false, 0), (false, true, 2)]);
    let active = table.rows.last().unwrap();
    let burn = active.burn.unwrap();
    assert!((burn.tokens_per_minute - 1_000.0).abs() < 1e-9, "60,000 tokens in an hour");
    // 57,000 at 5 dollars a million; the other model's price is not known.
    assert!((burn.cost_usd_per_hour.unwrap() - 0.285).abs() < 1e-9);
    let projection = active.projection.unwrap();
    assert!((projection.remaining_minutes - 180.0).abs() < 1e-9);
    assert!((projection.total - 240_000.0).abs() < 1e-6);
    assert_eq!(active.figures.all.cost.unpriced_responses, 1);
    assert_eq!((table.undated.all.responses, table.totals.all.responses), (1, 5));

    let later = Fixture { now: at("2026-09-20T14:00:00Z"), ..Fixture::new() };
    let Report::Blocks(table) = later.report(ReportKind::Blocks, &Filter::default()) else { panic!("no blocks") };
    assert!(table.rows.iter().all(|row| !row.is_active && row.burn.is_none() && row.projection.is_none()));
}

#[test]
fn a_filter_does_not_move_blocks() {
    let fixture = Fixture::new();
    let filter = Filter { model: Some("future".into()), ..Filter::default() };
    let blocks = fixture.rows(ReportKind::Blocks, &filter);
    assert_eq!(blocks.0, named(&[("2026-09-20T09:00:00.000Z", 3_000)]));
    let filter = Filter { since: Some(at_day("2026-09-14")), until: Some(at_day("2026-09-14")), ..Filter::default() };
    let blocks = fixture.rows(ReportKind::Blocks, &filter).0;
    let expected =
        [("2026-09-14T04:30:00.000Z", 0), ("2026-09-14T09:00:00.000Z", 2_000_000), ("2026-09-14T14:00:00.000Z", 0)];
    assert_eq!(blocks, named(&expected));
}

fn at_day(text: &str) -> crate::time::Day {
    ZoneOffsets::utc().day(at(&format!("{text}T00:00:00Z")))
}

#[test]
fn an_unknown_cost_is_null_and_no_zero() {
    let fixture = Fixture::new();
    let json = serde_json::to_value(fixture.report(ReportKind::Models, &Filter::default())).unwrap();
    assert_eq!(json["rows"][1]["model"], "from-the-future");
    assert!(json["rows"][1]["cost_usd"].is_null());
    assert_eq!(json["rows"][1]["unpriced_responses"], 1);
    assert_eq!(json["rows"][0]["cost_usd"], 35.285);
    assert_eq!(json["rows"][0]["tools"]["codex"]["total"], 4_000_000);
    assert_eq!(json["report"], "models");
    let table: Table<ModelRow> = serde_json::from_value(json).unwrap();
    let Report::Models(models) = fixture.report(ReportKind::Models, &Filter::default()) else { panic!("no models") };
    assert_eq!(table, models, "the page reads what the server writes");
}

#[test]
fn totals_keep_their_names() {
    let fixture = Fixture::new();
    let json = serde_json::to_value(fixture.report(ReportKind::Totals, &Filter::default())).unwrap();
    for field in [
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
        "unpriced_models",
        "files",
        "bytes",
        "lines",
        "records",
        "unknown_records",
        "duplicate_lines",
        "rejected_lines",
        "pending_lines",
        "bad_counts",
        "rejections",
        "unreadable",
        "roots",
    ] {
        assert!(!json[field].is_null(), "{field}");
    }
    assert_eq!(json["unpriced_models"][0], "from-the-future");
    assert_eq!((json["undated"].as_u64(), json["sessions"].as_u64()), (Some(1), Some(3)));
}

#[test]
fn csv_is_quoted_and_harmless() {
    let mut fixture = Fixture::new();
    fixture.add(Tool::ClaudeCode, "=1+1", "a\"b,c", Some("2026-09-20T10:30:00Z"), 1);
    let csv = fixture.report(ReportKind::Sessions, &Filter::default()).csv();
    let lines: Vec<&str> = csv.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("session,tool,project,cwd,") && lines[0].ends_with(",unpriced_responses,models"));
    assert_eq!(lines.len(), 5);
    let odd = lines.iter().find(|line| line.contains("1+1")).unwrap();
    assert!(odd.starts_with("'=1+1,claude-code,,,") && odd.ends_with(",0,0,0,0,1,1,,,1,\"a\"\"b,c\""), "{odd}");
    let daily = fixture.report(ReportKind::Daily, &Filter::default()).csv();
    assert!(daily.contains("\r\nundated,,,4000000,"), "{daily}");
    for kind in ReportKind::ALL {
        let csv = fixture.report(kind, &Filter::default()).csv();
        let columns = |line: &str| line.replace("a\"\"b,c", "").matches(',').count();
        let names = columns(csv.lines().next().unwrap());
        assert!(csv.ends_with("\r\n") && csv.split_terminator("\r\n").all(|line| columns(line) == names), "{csv}");
    }
}

#[test]
fn days_are_read_as_people_write_them() {
    let today = at_day("2026-09-20");
    for (text, day) in [
        ("2026-02-28", "2026-02-28"),
        ("20260228", "2026-02-28"),
        ("today", "2026-09-20"),
        ("yesterday", "2026-09-19"),
        ("20d", "2026-08-31"),
    ] {
        assert_eq!(text.parse::<DaySpec>().unwrap().on(today), at_day(day), "{text}");
    }
    for text in ["", "d", "2026-02-30", "2026-2-3", "soon", "-3d", "2026/02/03", "+0260228", "ääää"] {
        assert!(text.parse::<DaySpec>().unwrap_err().contains("2026-09-20"), "{text}");
    }
}

#[test]
fn what_the_tool_deletes_is_counted_by_session_and_day() {
    let now = at("2026-09-20T12:00:00Z");
    let age = |name: &str, days_ms: i64, keep_days| TranscriptAge {
        name: format!("projects/-home/{name}"),
        changed_at: now.plus_ms(-days_ms),
        keep_days,
    };
    let transcripts = vec![
        age("new.jsonl", 0, 30),
        age("old.jsonl", 29 * DAY_MS + 1, 30),
        age("same-day.jsonl", 29 * DAY_MS + 2, 30),
        age("overdue.jsonl", 40 * DAY_MS, 30),
        age("kept-longer.jsonl", 40 * DAY_MS, 365),
        age("old/subagents/agent-1.jsonl", 29 * DAY_MS, 30),
        age("agent-2.jsonl", 29 * DAY_MS, 30),
    ];
    let expiring = Expiring::of(&Retention { transcripts }, now);
    let days: Vec<_> = expiring.by_days.iter().map(|day| (day.in_days, day.sessions)).collect();
    assert_eq!((expiring.sessions, days), (5, vec![(0, 1), (1, 2), (30, 1), (325, 1)]));
    assert_eq!(expiring.next[1].session, "same-day");
    assert_eq!((expiring.within(0), expiring.within(7), expiring.within(400)), (1, 3, 5));
}

#[test]
fn projects_whose_directories_end_alike_stay_apart() {
    let mut fixture = Fixture::new();
    for (session, cwd) in [
        ("d", "/home/ada/old/engine"),
        ("e", "/srv/old/engine/"),
        ("f", "/srv/old/engine"),
        ("g", "/home/ada/loom/loom"),
        ("h", "engine"),
    ] {
        fixture.sessions.record(&Record::Session(SessionMeta {
            tool: Tool::ClaudeCode,
            session: session.into(),
            agent: None,
            cwd: Some(cwd.to_owned()),
            branch: None,
            version: None,
            at: None,
        }));
        fixture.add(Tool::ClaudeCode, session, OPUS, None, 10);
    }
    let (mut rows, ..) = fixture.rows(ReportKind::Projects, &Filter::default());
    rows.sort();
    let expected = [
        ("/srv/old/engine", 20),
        ("?", 4_000_000),
        ("ada/engine", 1_000_000),
        ("ada/loom", 2_060_000),
        ("ada/old/engine", 10),
        ("engine", 10),
        ("loom/loom", 10),
    ];
    let mut names: Vec<_> = named(&expected);
    names[0].0 = "srv/old/engine".to_owned();
    names.sort();
    assert_eq!(rows, names);
}

#[test]
fn a_time_ahead_of_now_is_unknown_until_it_has_come() {
    let mut fixture = Fixture::new();
    fixture.add(Tool::ClaudeCode, "b", OPUS, Some("2026-09-20T11:05:00Z"), 5);
    fixture.add(Tool::ClaudeCode, "b", OPUS, Some("2026-09-20T11:05:00.001Z"), 7);
    fixture.add(Tool::ClaudeCode, "b", OPUS, Some("2027-01-01T00:00:00Z"), 11);
    let all = Filter::default();
    let days = [("2026-09-13", 1_000_000), ("2026-09-14", 2_000_000), ("2026-09-20", 60_005)];
    assert_eq!(fixture.rows(ReportKind::Daily, &all), (named(&days), 4_000_018, 7_060_023));
    let Report::Audit(audit) = fixture.report(ReportKind::Audit, &all) else { panic!("no audit") };
    assert_eq!((audit.ahead, audit.undated, audit.responses), (2, 3, 8));
    let Report::Blocks(blocks) = fixture.report(ReportKind::Blocks, &all) else { panic!("no blocks") };
    let active = blocks.rows.last().unwrap();
    assert_eq!((active.is_active, active.last), (true, Some(at("2026-09-20T11:05:00Z"))));
    fixture.now = at("2027-01-01T00:00:00Z");
    assert_eq!(fixture.rows(ReportKind::Daily, &all).1, 4_000_000);
}
