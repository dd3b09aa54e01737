//! Alerts: what the user can act on, and the voice that says so to a screen reader.

use std::time::Duration;

use dashboard_core::alert::{self, AlertSubject, words};
use dashboard_core::format;
use dashboard_core::level::Level;
use leptos::prelude::*;

use super::figures;
use crate::ui::{Derived, Icon, LevelIcon, calc, dynamic};

/// The least time between two announcements.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);

/// An alert, worded for the page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alert {
    /// What it is about; with `level`, what a dismissal remembers.
    pub(crate) subject: AlertSubject,
    /// How bad.
    pub(crate) level: Level,
    /// What is so.
    pub(crate) title: String,
    /// Where, and how much.
    pub(crate) message: String,
    /// Milliseconds left to act, where known.
    pub(crate) time_left_ms: Option<i64>,
}

/// What the user has dismissed, for as long as the page is open. A dismissed subject comes back
/// when its level changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dismissed(RwSignal<Vec<(AlertSubject, Level)>>);

impl Dismissed {
    /// Nothing dismissed; provides itself as context.
    pub(crate) fn provide() {
        provide_context(Self(RwSignal::new(Vec::new())));
    }

    /// The alerts that are left.
    pub(crate) fn open() -> Derived<Vec<Alert>> {
        let Self(dismissed) = expect_context();
        figures(move |state, now| {
            let gone = |subject: &AlertSubject, level: Level| {
                dismissed.with(|all| all.iter().any(|(s, l)| s == subject && *l == level))
            };
            let worded = |alert: alert::Alert| Alert {
                subject: alert.condition.subject(),
                level: alert.level,
                title: words::title(&alert),
                message: words::detail(&alert, state, now),
                time_left_ms: alert.condition.time_left_ms(now),
            };
            let alerts = alert::open(state, now).into_iter().map(worded);
            alerts.filter(|alert| !gone(&alert.subject, alert.level)).collect()
        })
    }
}

/// The panel.
#[component]
pub(crate) fn AlertsPanel() -> impl IntoView {
    let alerts = Dismissed::open();
    let keys =
        Derived::new(move || alerts.with(|all| all.iter().map(|a| (a.subject.clone(), a.level)).collect::<Vec<_>>()));
    view! {
        <section class="card alerts" id="alerts" aria-labelledby="h-alerts">
            <header class="card-head">
                <h2 class="card-title" id="h-alerts">"Alerts"</h2>
                <span class="count">{alerts.pick(Vec::len)}</span>
            </header>
            <ul class="alert-list" data-list="alerts">
                <For each=move || keys.get() key=|key| key.clone() let:key>
                    {alert_row(key, alerts)}
                </For>
            </ul>
            {dynamic(move || alerts.with(Vec::is_empty).then(|| view! { <p class="empty-line"><LevelIcon level=Level::Healthy />"Nothing needs you."</p> }))}
        </section>
    }
    .into_any()
}

fn alert_row((subject, level): (AlertSubject, Level), alerts: Derived<Vec<Alert>>) -> AnyView {
    let Dismissed(dismissed) = expect_context();
    let key = subject.clone();
    let alert = Derived::new(move || alerts.with(|all| all.iter().find(|a| a.subject == key).cloned()));
    let text = move |part: fn(&Alert) -> String| calc(move || alert.with(|a| a.as_ref().map(part).unwrap_or_default()));
    let title = text(|a| a.title.clone());
    let left = move || alert.with(|a| a.as_ref().and_then(|a| a.time_left_ms)).map(format::span);
    let dismiss = move |_| {
        dismissed.update(|all| {
            all.retain(|(other, _)| *other != subject);
            all.push((subject.clone(), level));
        });
    };
    view! {
        <li class="alert" data-level=level.as_str()>
            <LevelIcon level />
            <b class="alert-title"><span class="vh">{format::level(level)}": "</span>{title}</b>
            {dynamic(move || left().map(|left| view! { <span class="alert-left"><Icon name="clock" />{left}</span> }))}
            <span class="alert-text">{text(|a| a.message.clone())}</span>
            <button
                class="icon-btn bare"
                type="button"
                aria-label=calc(move || format!("Dismiss: {}", title.get()))
                on:click=dismiss
            >
                <Icon name="close" />
            </button>
        </li>
    }
    .into_any()
}

/// Says level changes to screen readers: politely, and at most once in [`ANNOUNCE_EVERY`]. What
/// happens in between is summed up by the worst alert standing then.
#[component]
pub(crate) fn Announcer() -> impl IntoView {
    let alerts = Dismissed::open();
    let worst =
        Derived::new(move || alerts.with(|all| all.first().map(|a| (a.level, a.title.clone(), a.subject.clone()))));
    let said = RwSignal::new(String::new());
    let waiting = StoredValue::new(false);
    let say = move || {
        let text =
            worst.with_untracked(|w| w.as_ref().map(|(level, title, _)| format!("{}: {title}", format::level(*level))));
        if let Some(text) = text.filter(|text| said.with_untracked(|said| said != text)) {
            said.set(text);
        }
    };
    Effect::new(move |first: Option<()>| {
        worst.track();
        if first.is_some() && !waiting.get_value() {
            waiting.set_value(true);
            say();
            set_timeout(
                move || {
                    waiting.set_value(false);
                    say();
                },
                ANNOUNCE_EVERY,
            );
        }
    });
    view! { <p class="vh" role="status" aria-live="polite">{said}</p> }
}
