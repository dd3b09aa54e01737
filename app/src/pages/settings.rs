//! Settings: the theme, the browser's notifications, what the dashboard warns of, and what it was started with.

use dashboard_core::format;
use dashboard_core::settings::SettingKey;
use dashboard_core::state::Mode;
use leptos::prelude::*;

use super::{Page, Section};
use crate::feed::Store;
use crate::notice::{self, Permission};
use crate::panels::figures;
use crate::theme::Theme;
use crate::ui::{Segments, calc, dynamic};

const THEMES: &[(&str, &str)] = &[("system", "System"), ("light", "Light"), ("dark", "Dark")];

/// The page at `/settings`.
#[component]
pub(crate) fn SettingsPage() -> impl IntoView {
    let theme = expect_context::<RwSignal<Theme>>();
    let chosen = RwSignal::new(theme.get_untracked().as_str());
    Effect::new(move |_: Option<()>| chosen.set(theme.get().as_str()));
    Effect::new(move |_: Option<()>| {
        let word = Theme::of(chosen.get());
        if word != theme.get_untracked() {
            theme.set(word);
        }
    });
    let mode = figures(|state, _| match state.mode {
        Mode::Live => "live: real sessions of this machine".to_owned(),
        Mode::Simulation => "simulation: made up by the server".to_owned(),
        Mode::Demo => "demo: made up in this page".to_owned(),
    });
    let plan =
        figures(|state, _| state.plan.clone().unwrap_or_else(|| "none: limits are unknown until reported".to_owned()));
    let zone = figures(|state, now| format::utc_offset(state.zone.offset_s(now)));
    view! {
        <Page title="Settings" about="Theme and browser notifications are kept in this browser; the rest by the dashboard.">
            <Section id="h-theme" title="Theme" about="T steps through them">
                <div><Segments label="Theme" options=THEMES chosen /></div>
            </Section>
            <Section id="h-notices" title="Browser notifications" about="of alerts, while a page is open">
                {notices()}
            </Section>
            <Section id="h-warnings" title="Warnings" about="kept in settings.json; options of dashboard start win">
                {warnings()}
            </Section>
            <Section id="h-config" title="Configuration" about="options of dashboard start, or its config.toml">
                <dl class="facts">
                    <dt>"Mode"</dt><dd>{mode.signal()}</dd>
                    <dt>"Plan"</dt><dd>{plan.signal()}</dd>
                    <dt>"Time zone"</dt><dd>{zone.signal()}</dd>
                </dl>
            </Section>
        </Page>
    }
}

/// The switch for the browser's notifications. The browser asks the user when it is pressed, never by itself.
fn notices() -> AnyView {
    let permission = RwSignal::new(Permission::Off);
    Effect::new(move |_: Option<()>| permission.set(notice::permission()));
    let is_on = calc(move || permission.get() == Permission::On);
    let press = move |_| {
        #[cfg(target_arch = "wasm32")]
        if is_on.get_untracked() {
            notice::switch_off();
            permission.set(notice::permission());
        } else {
            leptos::task::spawn_local(async move {
                let granted = notice::switch_on().await;
                let _ = permission.try_set(granted);
            });
        }
    };
    let about = calc(move || match permission.get() {
        Permission::On => "Shown when an alert is news, except in quiet hours and while snoozed.",
        Permission::Off => "The browser asks once whether this page may show them.",
        Permission::Denied => "Refused in the browser: allow them for this page in its site settings.",
    });
    view! {
        <div class="setting-row">
            <button
                class="btn sm"
                type="button"
                aria-pressed=calc(move || if is_on.get() { "true" } else { "false" })
                disabled=calc(move || permission.get() == Permission::Denied)
                on:click=press
            >
                {calc(move || if is_on.get() { "Switch off" } else { "Switch on" })}
            </button>
            <p class="muted small">{about}</p>
        </div>
    }
    .into_any()
}

/// What a setting is for, and how it is written.
fn words(key: SettingKey) -> (&'static str, &'static str) {
    match key {
        SettingKey::QuotaLevels => ("Levels of limits", "percent: warning, danger, critical"),
        SettingKey::ContextLevels => ("Levels of contexts", "percent up to auto-compaction, likewise"),
        SettingKey::WarnMinutes => ("Before a reset", "minutes, or off"),
        SettingKey::SpikeFactor => ("Spike of a session", "times its usual over 5 minutes, or off"),
        SettingKey::SpikeRate => ("Highest rate of a session", "tokens per minute over 5 minutes, or off"),
        SettingKey::Budget => ("Budget, paid by the token", "dollars such as day=20,week=100,month=300, or off"),
        SettingKey::PlanBudget => ("Budget of plans", "at list prices, likewise; never added to the other"),
        SettingKey::Billing => ("How tools are paid", "such as claude-code=plan,codex=metered; off: found out"),
        SettingKey::QuietHours => ("Quiet hours", "such as 22:00-07:00, or off"),
    }
}

/// One field for each setting; a field is kept when it is left or Enter is pressed.
fn warnings() -> AnyView {
    let store = expect_context::<Store>();
    let said = RwSignal::new(String::new());
    let fields = SettingKey::ALL.map(|key| field(key, store, said)).into_iter().collect_view();
    let note = dynamic(move || {
        let is_kept = store.demo.is_none() && store.state.with(|state| state.mode == Mode::Live);
        (!is_kept)
            .then(|| view! { <p class="muted small">"A simulation keeps no settings: these are the defaults."</p> })
    });
    view! {
        {note}
        <div class="settings">{fields}</div>
        <p class="small" role="status">{said}</p>
    }
    .into_any()
}

fn field(key: SettingKey, store: Store, said: RwSignal<String>) -> AnyView {
    let (name, hint) = words(key);
    let value = figures(move |state, _| state.settings.get(key));
    let id = format!("setting-{}", key.as_str());
    let hint_id = format!("{id}-hint");
    let is_fixed = calc(move || store.demo.is_some() || store.state.with(|state| state.mode != Mode::Live));
    let change = move |ev: leptos::ev::Event| {
        let text = event_target_value(&ev);
        // Said at once; what is kept, the server decides.
        match dashboard_core::settings::Settings::default().set(key, &text) {
            Err(error) => said.set(format!("{name}: {error}.")),
            Ok(()) => keep(key, name, text, said),
        }
    };
    view! {
        <label for=id.clone()>{name}</label>
        <input
            id=id
            type="text"
            autocomplete="off"
            spellcheck="false"
            aria-describedby=hint_id.clone()
            prop:value=value.signal()
            value=value.signal()
            disabled=is_fixed
            on:change=change
        />
        <span id=hint_id class="muted small">{hint}</span>
    }
    .into_any()
}

/// Has the server keep a value, and says what became of it.
#[cfg(target_arch = "wasm32")]
fn keep(key: SettingKey, name: &'static str, text: String, said: RwSignal<String>) {
    leptos::task::spawn_local(async move {
        let value = serde_json::to_string(&text).unwrap_or_default();
        let body = format!("{{\"{}\":{value}}}", key.as_str());
        let answer = crate::api::send("PUT", "/api/v1/settings", &body).await;
        let words = match answer.map(|answer| origin(&answer, key)) {
            Ok(Some(origin)) if origin != "settings" => {
                format!("{name}: kept, but the {origin} of dashboard start wins.")
            }
            Ok(_) => format!("{name}: kept."),
            Err(error) => format!("{name}: not kept: {error}."),
        };
        let _ = said.try_set(words);
    });
}

#[cfg(not(target_arch = "wasm32"))]
fn keep(_: SettingKey, _: &'static str, _: String, _: RwSignal<String>) {
    // Nobody types in the server.
}

/// Where the value in force comes from, as the server says.
#[cfg(target_arch = "wasm32")]
fn origin(answer: &leptos::wasm_bindgen::JsValue, key: SettingKey) -> Option<String> {
    use crate::api;
    api::text(&api::field(&api::field(answer, "settings"), key.as_str()), "origin")
}
