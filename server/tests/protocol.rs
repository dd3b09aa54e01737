//! The socket, end to end: a dashboard on a real port, pages that fold what they get.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use dashboard_core::event::Seq;
use dashboard_core::ids::Epoch;
use dashboard_core::protocol::ServerFrame;
use support::{Page, TestDashboard};

/// The state the server would show now, at the same event as the page's.
async fn snapshot(dashboard: &TestDashboard) -> serde_json::Value {
    reqwest::get(dashboard.url("/api/v1/snapshot")).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_page_is_greeted_shown_everything_and_kept_up_to_date() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(None).await;
    assert!(matches!(page.step().await, ServerFrame::Snapshot { .. }));
    let start = page.state.seq;
    page.until("50 events", |state| state.seq >= Seq(start.0 + 50)).await;

    // What the page folded is what the server has: compare at the same event.
    let json = snapshot(&dashboard).await;
    assert_eq!(json["epoch"], page.epoch.as_str());
    let seq = Seq(json["seq"].as_u64().unwrap());
    let mut late = dashboard.page(Some((&page.epoch, page.state.seq))).await;
    late.state = page.state;
    let mut reached = None;
    while reached.is_none() {
        match late.frame().await {
            ServerFrame::Events { events, .. } => {
                for event in events {
                    if late.state.seq < seq {
                        late.state.apply(&event);
                    }
                }
            }
            other => assert!(matches!(other, ServerFrame::Heartbeat { .. }), "{other:?}"),
        }
        reached = (late.state.seq >= seq).then_some(late.state.seq);
    }
    assert_eq!(serde_json::to_value(&late.state).unwrap(), json["state"]);
    dashboard.stop().await;
}

#[tokio::test]
async fn two_pages_and_a_late_one_see_the_same() {
    let dashboard = TestDashboard::simulation().await;
    let (mut a, mut b) = (dashboard.page(None).await, dashboard.page(None).await);
    a.step().await;
    b.step().await;
    let goal = Seq(a.state.seq.0.max(b.state.seq.0) + 30);
    a.until("events", |state| state.seq >= goal).await;
    let mut late = dashboard.page(None).await;
    late.step().await;
    let goal = late.state.seq.max(a.state.seq);
    let (a, b, late) = (fold_to(a, goal).await, fold_to(b, goal).await, fold_to(late, goal).await);
    assert_eq!(a, b);
    assert_eq!(a, late);
    dashboard.stop().await;
}

/// The page's state once it has folded exactly up to `goal`, at which some page's state already is.
async fn fold_to(mut page: Page, goal: Seq) -> serde_json::Value {
    while page.state.seq < goal {
        let ServerFrame::Events { events, .. } = page.frame().await else { continue };
        for event in events.iter().filter(|event| event.seq <= goal) {
            page.state.apply(event);
        }
    }
    serde_json::to_value(&page.state).unwrap()
}

#[tokio::test]
async fn a_page_that_comes_back_gets_exactly_what_it_missed() {
    let dashboard = TestDashboard::simulation().await;
    let mut witness = dashboard.page(None).await;
    witness.step().await;
    let mut page = dashboard.page(Some((&witness.epoch, witness.state.seq))).await;
    page.state = witness.state.clone();
    let start = page.state.seq;
    page.until("10 events", |state| state.seq >= Seq(start.0 + 10)).await;
    drop(page.socket);

    witness.until("events meanwhile", |state| state.seq >= Seq(start.0 + 40)).await;
    let mut again = dashboard.page(Some((&page.epoch, page.state.seq))).await;
    again.state = page.state;
    again.events = page.events;
    let goal = witness.state.seq;
    // `step` refuses gaps and repetitions; a snapshot would not be recorded as events.
    again.until("what was missed", |state| state.seq >= goal).await;
    let count = witness.events.len();
    assert_eq!(again.events[..count], witness.events);
    dashboard.stop().await;
}

#[tokio::test]
async fn unknown_positions_get_a_snapshot() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(Some((&Epoch::from("of-yesterday"), Seq(3)))).await;
    assert!(matches!(page.step().await, ServerFrame::Snapshot { .. }));

    let ask = format!(r#"{{"frame":"resume","epoch":"{}","seq":{}}}"#, page.epoch, u64::MAX);
    page.send(&ask).await;
    while !matches!(page.frame().await, ServerFrame::Snapshot { .. }) {}
    dashboard.stop().await;
}

#[tokio::test]
async fn a_bad_frame_is_answered_and_the_connection_goes_on() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(None).await;
    page.step().await;
    let long = "x".repeat(5_000);
    for (bad, expected) in [
        ("nonsense", "bad_frame"),
        ("{}", "bad_frame"),
        (r#"{"frame":"resume","epoch":1,"seq":-1}"#, "bad_frame"),
        (r#"{"frame":"unheard-of"}"#, "bad_frame"),
        (long.as_str(), "too_large"),
    ] {
        page.send(bad).await;
        loop {
            if let ServerFrame::Error { code, message } = page.step().await {
                assert_eq!(code, expected, "{message}");
                break;
            }
        }
    }
    page.send(r#"{"frame":"ping"}"#).await;
    while !matches!(page.step().await, ServerFrame::Heartbeat { .. }) {}
    dashboard.stop().await;
}

#[tokio::test]
async fn a_message_beyond_all_bounds_ends_the_connection_with_a_code() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(None).await;
    page.send(&"x".repeat(65 << 10)).await;
    assert_eq!(page.close_code().await, Some(1008));
    let mut other = dashboard.page(None).await;
    assert!(matches!(other.step().await, ServerFrame::Snapshot { .. }), "the others do not notice");
    dashboard.stop().await;
}

#[tokio::test]
async fn a_paused_page_gets_no_events_and_then_all_of_them() {
    let dashboard = TestDashboard::simulation().await;
    let (mut witness, mut page) = (dashboard.page(None).await, dashboard.page(None).await);
    witness.step().await;
    page.step().await;
    page.send(r#"{"frame":"pause"}"#).await;
    // The answer to a ping shows that the pause was taken: everything after it is sent paused.
    page.send(r#"{"frame":"ping"}"#).await;
    loop {
        match page.frame().await {
            ServerFrame::Events { events, .. } => events.iter().for_each(|event| page.state.apply(event)),
            ServerFrame::Heartbeat { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    let before = page.state.seq;
    witness.until("events meanwhile", |state| state.seq > Seq(before.0 + 20)).await;
    page.send(r#"{"frame":"ping"}"#).await;
    let ServerFrame::Heartbeat { seq, .. } = page.frame().await else { panic!("an event while paused") };
    assert!(seq > before, "the heartbeat says that there is more");
    page.send(r#"{"frame":"resume_updates"}"#).await;
    page.until("what was held back", |state| state.seq >= witness.state.seq).await;
    dashboard.stop().await;
}

#[tokio::test]
async fn pages_are_told_that_the_dashboard_stops() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(None).await;
    let (code, ()) = tokio::join!(page.close_code(), dashboard.stop());
    assert_eq!(code, Some(1001));
}
