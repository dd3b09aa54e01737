//! The way to the page's worker: the same core in a second WASM module, which simulates away from the page's thread.
//!
//! The worker speaks the protocol's frames. It is asked for the next piece of virtual time once per animation frame, and
//! only when it has answered the last one: so time stands still in a hidden tab, and nothing piles up.

use std::cell::Cell;
use std::rc::Rc;

use dashboard_core::connection::Input;
use dashboard_core::protocol::{ClientFrame, SIMULATION_START, ServerFrame, WorkerFrame};
use dashboard_core::simulator::Scenario;
use leptos::prelude::*;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, BlobPropertyBag, Event, MessageEvent, Url, Worker, WorkerOptions, WorkerType};

use super::driver::Driver;
use super::{DemoControl, read};
use crate::site::Site;

/// Most real milliseconds one animation frame stands for: a page that was hidden does not catch up.
const MAX_STEP_MS: f64 = 100.0;
/// The worker's script, seen from the site's base.
const SCRIPT: &str = "/worker.js";

/// How the worker is started.
#[derive(Clone, Debug)]
pub(super) struct Script {
    address: String,
    /// Through a blob, so that the page's policy binds it too: a script from an address brings its own, and a plain host
    /// sends none.
    through_blob: bool,
}

impl Script {
    /// The worker of this site.
    pub(super) fn of(site: &Site) -> Self {
        Self { address: site.file(SCRIPT), through_blob: site.is_static() }
    }

    fn start(&self) -> Result<Worker, JsValue> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let address = Url::new_with_base(&self.address, &location().href()?)?.href();
        if !self.through_blob {
            return Worker::new_with_options(&address, &options);
        }
        // Not a static import: those of a worker fall under `worker-src`, which has no address. What comes until the script
        // is there waits for it.
        let source = format!("self.waiting = [];onmessage = ({{ data }}) => waiting.push(data);import({address:?});");
        let source = js_sys::Array::of1(&JsValue::from_str(&source));
        let kind = BlobPropertyBag::new();
        kind.set_type("text/javascript");
        // A line that stays for as long as the page does.
        let blob = Blob::new_with_str_sequence_and_options(&source, &kind)?;
        Worker::new_with_options(&Url::create_object_url_with_blob(&blob)?, &options)
    }
}

/// A running worker. Dropping it ends the worker.
pub(super) struct WorkerLink {
    worker: Worker,
    /// Asked for time, and not yet answered.
    busy: Rc<Cell<bool>>,
    /// What it calls; must live as long.
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut(Event)>,
}

impl Drop for WorkerLink {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

impl WorkerLink {
    /// Starts a worker on what the controls say, and tells what comes of it. `None` if the browser cannot.
    pub(super) fn open(control: DemoControl, script: &Script, tell: impl Fn(Input) + Clone + 'static) -> Option<Self> {
        let worker = script.start().ok()?;
        let busy = Rc::new(Cell::new(true));
        let (answered, told) = (Rc::clone(&busy), tell.clone());
        let opened = Cell::new(false);
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
            if !opened.replace(true) {
                told(Input::Opened);
            }
            let input = message.data().as_string().map_or(Input::Unreadable, |text| read(&text));
            if matches!(input, Input::Frame(ServerFrame::Heartbeat { .. } | ServerFrame::Snapshot { .. })) {
                answered.set(false);
            }
            told(input);
        });
        // It could not be loaded, or has failed.
        let on_error = Closure::<dyn FnMut(Event)>::new(move |_| tell(Input::Closed));
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        let link = Self { worker, busy, _on_message: on_message, _on_error: on_error };
        link.simulate(control.scenario.get_untracked(), control.seed.get_untracked());
        Some(link)
    }

    /// What the page would say to a server.
    pub(super) fn client(&self, frame: ClientFrame) {
        self.post(&WorkerFrame::Client(frame));
    }

    /// Begins another story.
    fn simulate(&self, scenario: Scenario, seed: u64) {
        self.busy.set(true);
        self.post(&WorkerFrame::Simulate { scenario, seed, utc_offset_s: utc_offset_s() });
    }

    /// Lets time pass, unless the last piece is still being worked on.
    fn advance(&self, ms: u32) {
        if ms > 0 && !self.busy.replace(true) {
            self.post(&WorkerFrame::Advance { ms });
        }
    }

    fn post(&self, frame: &WorkerFrame) {
        if let Ok(text) = serde_json::to_string(frame) {
            // Fails for what cannot be copied; a text can.
            let _ = self.worker.post_message(&JsValue::from_str(&text));
        }
    }
}

/// Follows the demo's controls, and lets time pass with each animation frame.
pub(super) fn play(driver: &Driver, control: DemoControl) {
    let followed = StoredValue::new_local(driver.clone());
    Effect::new(move |before: Option<(Scenario, u64)>| {
        let story = (control.scenario.get(), control.seed.get());
        if before.is_some_and(|before| before != story) {
            followed.with_value(|driver| {
                driver.store().picked.set(None);
                driver.with_worker(|worker| worker.simulate(story.0, story.1));
            });
        }
        story
    });
    Effect::new(move |first: Option<()>| {
        let (scenario, seed, speed) = (control.scenario.get(), control.seed.get(), control.speed.get());
        if first.is_some() {
            remember(&format!("?demo&scenario={scenario}&seed={seed}&speed={speed}"));
        }
    });
    frame(driver.clone(), control, None);
}

/// One animation frame, and all that follow.
fn frame(driver: Driver, control: DemoControl, last: Option<f64>) {
    request_animation_frame(move || {
        let now = js_sys::Date::now();
        let passed_ms = last.map_or(0.0, |last| (now - last).clamp(0.0, MAX_STEP_MS));
        if !driver.store().paused.get_untracked() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most a minute
            let ms = (passed_ms * f64::from(control.speed.get_untracked())) as u32;
            driver.with_worker(|worker| worker.advance(ms));
        }
        frame(driver, control, Some(now));
    });
}

/// Puts the controls into the address, so that it can be copied. The page is not left.
fn remember(query: &str) {
    let path = location().pathname().unwrap_or_default();
    if let Ok(history) = window().history() {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&format!("{path}{query}")));
    }
}

/// The browser's zone, as far as the simulated day needs it.
fn utc_offset_s() -> i32 {
    let date = js_sys::Date::new(&JsValue::from_f64(SIMULATION_START.unix_ms() as f64));
    #[allow(clippy::cast_possible_truncation)] // minutes of a day
    let minutes_west = date.get_timezone_offset() as i32;
    -minutes_west * 60
}
