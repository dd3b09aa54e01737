//! The page as the server renders it, from a state with some hours of simulated work.
#![cfg(feature = "ssr")]
#![allow(missing_docs)]

use std::sync::Arc;

use app::feed::ServerBoot;
use dashboard_core::event::QuotaUpdate;
use dashboard_core::ids::Epoch;
use dashboard_core::level::Level;
use dashboard_core::price::PriceTable;
use dashboard_core::protocol::Boot;
use dashboard_core::record::Tool;
use dashboard_core::simulator::{Scenario, Simulation};
use dashboard_core::state::{DashboardState, Mode};
use dashboard_core::time::{MINUTE_MS, Timestamp, ZoneOffsets};
use leptos::prelude::*;
use leptos_router::location::RequestUrl;

fn boot(scenario: Scenario) -> Boot {
    let start = Timestamp::from_unix_ms(1_789_912_800_000);
    let mut simulation =
        Simulation::new(scenario, 4217, start, Mode::Live, ZoneOffsets::utc(), Arc::new(PriceTable::embedded()));
    let now = start.plus_ms(3 * MINUTE_MS);
    simulation.advance_to(now);
    Boot { epoch: Epoch::from("test"), now, state: simulation.state().clone() }
}

fn rendered(path: &str, boot: Option<Boot>) -> String {
    Owner::new_root(None).with(|| {
        provide_context(RequestUrl::new(path));
        provide_context(ServerBoot(boot.map(Arc::new)));
        app::App().into_view().to_html()
    })
}

/// The values of every `data-metric` on the page.
fn hook<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let named = format!("data-metric=\"{name}\"");
    let value = |rest: &'a str| {
        let tag = &rest[..rest.find('>').unwrap_or(rest.len())];
        tag.split_once("data-value=\"").map_or("", |(_, value)| value.split('"').next().unwrap_or_default())
    };
    html.split(&named).skip(1).map(value).collect()
}

#[test]
fn live_has_every_hook_of_the_contract_once() {
    let boot = boot(Scenario::AgentSwarm);
    let html = rendered("/", Some(boot.clone()));
    if let Ok(path) = std::env::var("PAGE_OUT") {
        std::fs::write(path, &html).unwrap();
    }
    let window = ["percent", "used", "limit", "resets_at", "provenance"];
    let quota = ["five_hour", "seven_day"].iter().flat_map(|name| window.map(|part| format!("quota.{name}.{part}")));
    let tokens = ["total", "input", "output", "cache_creation", "cache_read", "rate"];
    let context = ["used", "limit", "percent", "usable_percent", "status"];
    let ingest = ["lines", "responses", "rejected_lines", "unpriced"];
    let plain = [
        "mode",
        "connection",
        "session.id",
        "session.cost_usd",
        "today.cost_usd",
        "today.tokens",
        "sessions.active",
        "clients",
        "binding.limit",
    ];
    let names = quota
        .chain(tokens.map(|part| format!("session.tokens.{part}")))
        .chain(context.map(|part| format!("context.{part}")))
        .chain(ingest.map(|part| format!("ingest.{part}")))
        .chain(plain.map(str::to_owned));
    for name in names {
        assert_eq!(hook(&html, &name).len(), 1, "{name}");
    }
    let focus = boot.state.focus(None).unwrap();
    assert_eq!(hook(&html, "session.tokens.total"), [focus.usage.total().0.to_string()]);
    assert_eq!(hook(&html, "session.id"), [focus.id.as_str()]);
    assert_eq!(html.matches("<h1").count(), 1);
    assert_eq!(html.matches("data-session-id=").count(), boot.state.sessions_by_tokens(true).len());
    assert!(html.contains("data-event-type="));
}

#[test]
fn every_limit_of_every_tool_is_shown_the_worst_first_and_named() {
    let mut boot = boot(Scenario::AgentSwarm);
    let mut limit = boot.state.five_hour().unwrap().clone();
    for (key, percent, status) in [("codex/300", 12.0, Level::Healthy), ("codex/10080", 97.0, Level::Critical)] {
        limit.now = QuotaUpdate { key: key.parse().unwrap(), percent: Some(percent), status, ..limit.now };
        boot.state.limits.insert(limit.now.key.clone(), limit.clone());
    }
    let html = rendered("/", Some(boot.clone()));
    assert_eq!(hook(&html, "binding.limit"), ["codex/10080"]);
    assert_eq!(hook(&html, "limit.percent").len(), boot.state.limits.len());
    for name in ["limit.percent", "limit.resets_at", "limit.provenance"] {
        for key in boot.state.limits.keys() {
            assert!(html.contains(&format!("data-metric=\"{name}\" data-limit=\"{key}\"")), "{name} of {key}");
        }
    }
    assert_eq!(hook(&html, "limit.percent")[0], "97", "the leading one stands first");
    assert_eq!(hook(&html, "quota.five_hour.percent").len(), 1);
    assert_eq!(html.matches("name=\"window\"").count(), boot.state.limits.len());
    let folded = html.split_once("more-limits").unwrap().1;
    assert_eq!(folded.matches("name=\"window\"").count(), boot.state.limits.len() - 3, "three are shown");
    assert!(html.contains("Codex · Weekly · all models"));
}

#[test]
fn what_is_unknown_has_an_empty_value() {
    let state = DashboardState::new(Mode::Live, ZoneOffsets::utc(), None, Timestamp::default());
    let html = rendered("/", Some(Boot { epoch: Epoch::from("test"), now: Timestamp::default(), state }));
    for name in [
        "quota.five_hour.percent",
        "quota.seven_day.limit",
        "session.tokens.total",
        "context.percent",
        "context.status",
    ] {
        assert_eq!(hook(&html, name), [""], "{name}");
    }
    assert!(html.contains("No session yet"));
}

#[test]
fn every_route_renders_with_one_heading() {
    let boot = boot(Scenario::CalmDay);
    let id = boot.state.focus(None).unwrap().id.clone();
    let session = format!("/sessions/{id}");
    for path in ["/", "/sessions", &session, "/history", "/health-report", "/settings", "/nowhere"] {
        let html = rendered(path, Some(boot.clone()));
        assert_eq!(html.matches("<h1").count(), 1, "{path}");
        assert_eq!(html.matches("<main").count(), 1, "{path}");
    }
    let html = rendered(&session, Some(boot));
    assert_eq!(hook(&html, "session.id"), [id.as_str()]);
}

#[test]
fn without_a_state_the_page_is_a_skeleton_of_itself() {
    let html = rendered("/?demo", None);
    assert!(html.contains("class=\"live skeleton\""));
    assert!(html.contains("id=\"h-quota\""));
    assert_eq!(hook(&html, "mode"), ["demo"]);
    assert!(html.contains("Demo data") && html.contains("id=\"h-scenario\""), "said from the first paint");
}

#[test]
fn projects_that_end_alike_are_told_apart() {
    let mut boot = boot(Scenario::AgentSwarm);
    let mut sessions = boot.state.sessions.values_mut();
    for cwd in ["/home/ada/web/api", "/home/ada/shop/api"] {
        let session = sessions.next().unwrap();
        (session.project, session.cwd) = ("api".to_owned(), Some(cwd.to_owned()));
    }
    let html = rendered("/", Some(boot));
    assert!(html.contains(">web/api<") && html.contains(">shop/api<"));
}

#[test]
fn alerts_are_worded_and_the_worst_stands_first() {
    let mut boot = boot(Scenario::AgentSwarm);
    let mut limit = boot.state.five_hour().unwrap().clone();
    limit.now = QuotaUpdate { status: Level::Critical, blocked: true, ..limit.now };
    boot.state.limits.insert(limit.now.key.clone(), limit);
    let html = rendered("/", Some(boot));
    let alerts = html.split_once("data-list=\"alerts\"").unwrap().1;
    let first = alerts.split_once("</li>").unwrap().0;
    assert!(first.contains("data-level=\"critical\"") && first.contains("5-hour limit reached"), "{first}");
    assert!(first.contains("Requests are refused, reset in"));
}

#[test]
fn a_session_of_another_tool_says_so() {
    let mut boot = boot(Scenario::AgentSwarm);
    assert!(!rendered("/", Some(boot.clone())).contains("Codex · "));
    for session in boot.state.sessions.values_mut() {
        session.tool = Tool::Codex;
        session.branch = Some("topic".to_owned());
    }
    let id = boot.state.sessions.keys().next().unwrap().clone();
    assert!(rendered("/", Some(boot.clone())).contains("Codex · topic"));
    assert!(rendered(&format!("/sessions/{id}"), Some(boot)).contains("Codex · "));
}
