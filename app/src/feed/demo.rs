//! The demo's feed: the simulator inside the page, on virtual time.
//!
//! Opens no connection and reads nothing but the frame clock. Virtual time passes once per animation
//! frame, so it stands still in a hidden tab; a frame never has to catch up more than
//! [`MAX_STEP_MS`], whatever the speed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use dashboard_core::event::{ComponentHealth, HealthCheck, HealthStatus};
use dashboard_core::price::PriceTable;
use dashboard_core::simulator::{Scenario, Simulation};
use dashboard_core::state::Mode;
use dashboard_core::time::{SECOND_MS, Timestamp, ZoneOffsets};
use leptos::prelude::*;

use super::{DemoControl, Store};

/// When every demo begins: a Wednesday afternoon. Fixed, so that a link shows everyone the same.
const START: &str = "2026-09-23T12:00:00Z";
/// Most real milliseconds one animation frame stands for.
const MAX_STEP_MS: f64 = 100.0;

/// Plays what the controls say, into the store.
pub(super) fn run(store: Store, control: DemoControl) {
    let prices = Arc::new(PriceTable::embedded());
    let start = Timestamp::parse(START).unwrap_or_default();
    let simulation: Rc<RefCell<Option<Simulation>>> = Rc::default();

    let playing = Rc::clone(&simulation);
    Effect::new(move |before: Option<(Scenario, u64)>| {
        let story = (control.scenario.get(), control.seed.get());
        if before == Some(story) {
            return story;
        }
        let mut simulation = Simulation::new(story.0, story.1, start, Mode::Demo, zone(start), Arc::clone(&prices));
        simulation.health(health());
        store.state.set(simulation.state().clone());
        store.now.set(simulation.now());
        store.picked.set(None);
        store.ready.set(true);
        *playing.borrow_mut() = Some(simulation);
        story
    });

    Effect::new(move |first: Option<()>| {
        let (scenario, seed, speed) = (control.scenario.get(), control.seed.get(), control.speed.get());
        if first.is_some() {
            remember(&format!("?demo&scenario={scenario}&seed={seed}&speed={speed}"));
        }
    });

    frame(store, control, simulation, Rc::new(Cell::new(None)));
}

/// One animation frame, and all that follow.
fn frame(store: Store, control: DemoControl, simulation: Rc<RefCell<Option<Simulation>>>, last: Rc<Cell<Option<f64>>>) {
    request_animation_frame(move || {
        let now = js_sys::Date::now();
        let passed_ms = last.replace(Some(now)).map_or(0.0, |last| (now - last).clamp(0.0, MAX_STEP_MS));
        if !store.paused.get_untracked()
            && let Some(simulation) = &mut *simulation.borrow_mut()
        {
            #[allow(clippy::cast_possible_truncation)] // at most a minute
            let step_ms = (passed_ms * f64::from(control.speed.get_untracked())) as i64;
            let events = simulation.advance_to(simulation.now().plus_ms(step_ms));
            if !events.is_empty() {
                store.state.update(|state| events.iter().for_each(|event| state.apply(event)));
            }
            let now = simulation.now().floor_to(SECOND_MS);
            if store.now.get_untracked() != now {
                store.now.set(now);
            }
        }
        frame(store, control, simulation, last);
    });
}

/// Puts the controls into the address, so that it can be copied. The page is not left.
fn remember(query: &str) {
    let path = location().pathname().unwrap_or_default();
    if let Ok(history) = window().history() {
        let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&format!("{path}{query}")));
    }
}

/// The browser's zone, as far as the demo's day needs it.
fn zone(at: Timestamp) -> ZoneOffsets {
    let date = js_sys::Date::new(&wasm_bindgen::JsValue::from_f64(at.unix_ms() as f64));
    #[allow(clippy::cast_possible_truncation)] // minutes of a day
    let minutes_west = date.get_timezone_offset() as i32;
    ZoneOffsets::new(vec![(at, -minutes_west * 60)])
}

fn health() -> HealthCheck {
    let simulator = ComponentHealth { status: HealthStatus::Healthy, message: "plays in this page".to_owned() };
    let components = BTreeMap::from([("simulator".to_owned(), simulator)]);
    HealthCheck { status: HealthStatus::Healthy, clients: 0, components }
}
