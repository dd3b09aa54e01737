//! The demo's banner and controls. The banner cannot be closed: whoever sees the figures sees that
//! they are made up.

use dashboard_core::format;
use dashboard_core::simulator::Scenario;
use leptos::prelude::*;

use super::figures;
use crate::feed::{DemoControl, Store};
use crate::site::Site;
use crate::ui::Icon;

/// Above every page of a demo; nothing on others.
#[component]
pub(crate) fn DemoBanner() -> impl IntoView {
    let site = expect_context::<Site>();
    expect_context::<Store>().demo.map(|demo| {
        let story = move || format!("{} · seed {}", demo.scenario.get().title(), demo.seed.get());
        // A link out of the router's reach: leaving the demo loads the live page anew. The static
        // site has none to go to.
        let leave = (!site.is_static()).then(|| {
            view! { <a class="btn sm violet" href="/" rel="external">"Leave demo"</a> }
        });
        view! {
            <div class="demo-banner" role="region" aria-label="Demo">
                <span class="demo-tag"><Icon name="flask" />"Demo data"</span>
                <span>"Everything on this page is simulated. None of it is your usage."</span>
                <span>{story}</span>
                {leave}
            </div>
        }
        .into_any()
    })
}

/// Scenario, seed, speed and play, at the top of a demo's live page.
#[component]
pub(crate) fn DemoPanel() -> impl IntoView {
    expect_context::<Store>().demo.map(controls)
}

fn controls(demo: DemoControl) -> AnyView {
    view! {
        <section class="card scenarios" aria-labelledby="h-scenario">
            <header class="card-head">
                <h2 class="card-title" id="h-scenario">"Scenario"</h2>
                <span class="card-sub">"the same seed gives the same numbers"</span>
                <div class="card-tools">{seed_field(demo)}</div>
            </header>
            <fieldset class="scenario-list">
                <legend class="vh">"Scenario"</legend>
                {Scenario::ALL.map(|scenario| scenario_card(demo, scenario)).collect_view()}
            </fieldset>
            {player(demo)}
        </section>
    }
    .into_any()
}

fn seed_field(demo: DemoControl) -> impl IntoView {
    // A seed is any whole number; what is none leaves the old one standing.
    let change = move |ev: leptos::ev::Event| {
        let text = event_target_value(&ev);
        if let Ok(seed) = text.trim().parse() {
            demo.seed.set(seed);
        }
    };
    let value = move || demo.seed.get().to_string();
    view! {
        <label class="field">"Seed "<input type="text" inputmode="numeric" prop:value=value on:change=change /></label>
    }
}

fn scenario_card(demo: DemoControl, scenario: Scenario) -> impl IntoView {
    // Sketches of the stories, not data.
    let sketch = match scenario {
        Scenario::CalmDay => "M0 34L40 32L90 31L140 30L200 28",
        Scenario::QuotaCrunch => "M0 36L50 24L100 14L150 7L170 5L200 5",
        Scenario::ContextOverflow => "M0 34L45 6L60 30L105 6L120 30L170 6L185 28L200 20",
        Scenario::AgentSwarm => "M0 36L30 32L60 12L75 5L100 8L125 12L140 9L170 26L200 32",
    };
    view! {
        <label class="scenario">
            <b>{scenario.title()}</b>
            <input
                type="radio"
                name="scenario"
                prop:checked=move || demo.scenario.get() == scenario
                on:change=move |_| demo.scenario.set(scenario)
            />
            <svg class="spark" viewBox="0 0 200 40" preserveAspectRatio="none" aria-hidden="true">
                <path class="area" d=format!("{sketch}L200 40L0 40Z") />
                <path class="line" d=sketch />
            </svg>
            <span>{scenario.description()}</span>
        </label>
    }
}

fn player(demo: DemoControl) -> impl IntoView {
    let store = expect_context::<Store>();
    let clock = figures(|state, now| {
        let day = state.zone.day(now).format("%a").to_string();
        format!("{day} {}", format::clock_s(&state.zone, now))
    });
    let toggle = move |_| if store.paused.get() { store.resume() } else { store.pause() };
    let label = move || if store.paused.get() { "Resume the simulation" } else { "Pause the simulation" };
    let icon = Signal::derive(move || if store.paused.get() { "play" } else { "pause" });
    let speeds = DemoControl::SPEEDS.map(|speed| {
        let pressed = move || if demo.speed.get() == speed { "true" } else { "false" };
        view! {
            <button type="button" aria-pressed=pressed on:click=move |_| demo.speed.set(speed)>
                {format!("×{speed}")}
            </button>
        }
    });
    view! {
        <div class="player">
            <button class="icon-btn violet" type="button" aria-label=label on:click=toggle>
                <Icon name=icon />
            </button>
            <span class="clock">{clock}</span>
            <span class="muted small">"simulated clock"</span>
            <div class="field">
                <span id="speed-label">"Speed"</span>
                <div class="seg" role="group" aria-labelledby="speed-label">{speeds.collect_view()}</div>
            </div>
        </div>
    }
}
