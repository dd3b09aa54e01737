//! Settings: the theme, and what the dashboard was started with.

use dashboard_core::format;
use dashboard_core::state::Mode;
use leptos::prelude::*;

use super::{Page, Section};
use crate::panels::figures;
use crate::theme::Theme;
use crate::ui::Segments;

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
        <Page title="Settings" about="The theme is kept in this browser; the rest is set where the dashboard is started.">
            <Section id="h-theme" title="Theme" about="T steps through them">
                <div><Segments label="Theme" options=THEMES chosen /></div>
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
