//! What says that the figures are made up, and lets the demo be steered.

use dashboard_core::format;
use dashboard_core::simulator::Scenario;
use dashboard_core::state::Mode;
use leptos::prelude::*;

use super::{figures, mode, toggle_pause};
use crate::feed::{DemoControl, Store};
use crate::site::Site;
use crate::ui::{Derived, Icon, calc, dynamic};

const SIMULATED: &str = "Everything on this page is simulated. None of it is your usage.";
const NO_WORKER: &str = "The simulator could not be loaded; it is tried again. Where the page is built from source, it \
     needs `make worker`.";

/// The banner over every page with made-up figures. It cannot be closed.
#[component]
pub(crate) fn DemoBanner() -> impl IntoView {
    let store = expect_context::<Store>();
    let mode = mode();
    let told =
        calc(move || store.demo.map(|demo| format!("{} · seed {}", demo.scenario.get().title(), demo.seed.get())));
    let lost = Derived::new(move || store.demo.is_some() && store.connection.with(|view| view.status.is_lost()));
    let site = expect_context::<Site>();
    move || {
        mode.get().is_simulated().then(|| {
            let leave = (mode.get() == Mode::Demo).then(|| site.served("/")).flatten();
            view! {
                <div class="demo-banner" role="region" aria-label="Simulated data">
                    <span class="demo-tag">
                        <Icon name="flask" />
                        {if mode.get() == Mode::Demo { "Demo data" } else { "Simulation" }}
                    </span>
                    <span>
                        {dynamic(move || if lost.get() { NO_WORKER } else { SIMULATED })}
                    </span>
                    <span>{told}</span>
                    // Another page altogether: it begins with what the server knows.
                    {leave.map(|href| view! { <a class="btn sm violet" href=href rel="external">"Leave demo"</a> })}
                </div>
            }
        })
    }
}

/// A scenario's shape, drawn in 200 × 40.
fn shape(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::CalmDay => "M0 34L40 32L90 31L140 30L200 28",
        Scenario::QuotaCrunch => "M0 36L50 24L100 14L150 7L170 5L200 5",
        Scenario::ContextOverflow => "M0 34L45 6L60 30L105 6L120 30L170 6L185 28L200 20",
        Scenario::AgentSwarm => "M0 36L30 32L60 12L75 5L100 8L125 12L140 9L170 26L200 32",
    }
}

/// Scenario, seed, speed and the virtual clock; nothing on a live page.
#[component]
pub(crate) fn DemoPanel() -> impl IntoView {
    expect_context::<Store>().demo.map(controls)
}

fn controls(demo: DemoControl) -> AnyView {
    let seed = move |ev| {
        if let Ok(seed) = event_target_value(&ev).trim().parse() {
            demo.seed.set(seed);
        }
    };
    let link = calc(move || {
        format!("?demo&scenario={}&seed={}&speed={}", demo.scenario.get(), demo.seed.get(), demo.speed.get())
    });
    let scenario = |scenario: Scenario| {
        let path = shape(scenario);
        view! {
            <label class="scenario">
                <b>{scenario.title()}</b>
                <input
                    type="radio"
                    name="scenario"
                    prop:checked=calc(move || demo.scenario.get() == scenario)
                    checked=calc(move || demo.scenario.get() == scenario)
                    on:change=move |_| demo.scenario.set(scenario)
                />
                <svg class="spark" viewBox="0 0 200 40" preserveAspectRatio="none" aria-hidden="true">
                    <path class="area" d=format!("{path}L200 40L0 40Z")></path>
                    <path class="line" d=path></path>
                </svg>
                <span>{scenario.description()}</span>
            </label>
        }
    };
    view! {
        <section class="card scenarios" aria-labelledby="h-scenario">
            <header class="card-head">
                <h2 class="card-title" id="h-scenario">"Scenario"</h2>
                <span class="card-sub">"the same seed gives the same numbers"</span>
                <div class="card-tools">
                    <label class="field">
                        "Seed "
                        <input
                            inputmode="numeric"
                            value=demo.seed.get_untracked().to_string()
                            prop:value=calc(move || demo.seed.get().to_string())
                            on:change=seed
                        />
                    </label>
                    <a class="btn sm outline" href=link rel="external"><Icon name="link" />"Link to this"</a>
                </div>
            </header>
            <fieldset class="scenario-list">
                <legend class="vh">"Scenario"</legend>
                {Scenario::ALL.map(scenario).into_iter().collect_view()}
            </fieldset>
            {player(demo)}
        </section>
    }
    .into_any()
}

fn player(demo: DemoControl) -> AnyView {
    let store = expect_context::<Store>();
    let clock = figures(|state, now| format::weekday_clock_s(&state.zone, now));
    let speed = |speed: u32| {
        let pressed = calc(move || if demo.speed.get() == speed { "true" } else { "false" });
        view! {
            <button type="button" aria-pressed=pressed on:click=move |_| demo.speed.set(speed)>
                {format!("×{speed}")}
            </button>
        }
    };
    view! {
        <div class="player">
            <button
                class="icon-btn violet"
                type="button"
                aria-label=calc(move || if store.paused.get() { "Resume the simulation" } else { "Pause the simulation" })
                on:click=move |_| toggle_pause(store)
            >
                <Icon name=calc(move || if store.paused.get() { "play" } else { "pause" }) />
            </button>
            <span class="clock">{clock.signal()}</span>
            <span class="muted small">"simulated clock"</span>
            <div class="field">
                <span id="speed">"Speed"</span>
                <div class="seg" role="group" aria-labelledby="speed">
                    {DemoControl::SPEEDS.map(speed).into_iter().collect_view()}
                </div>
            </div>
        </div>
    }
    .into_any()
}
