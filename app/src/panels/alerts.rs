//! Alerts: what the user can act on, the voice that says so to a screen reader, and the browser's notifications.

use std::time::Duration;

use dashboard_core::alert::{self, AlertSubject, Urgency, words};
use dashboard_core::format;
use dashboard_core::level::Level;
use dashboard_core::time::MINUTE_MS;
use leptos::prelude::*;

use super::figures;
use crate::feed::Store;
use crate::ui::{Derived, Icon, LevelIcon, calc, dynamic};

/// The least time between two announcements.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);
/// For how long "Snooze all" holds back what would be delivered.
const SNOOZE_MINUTES: i64 = 60;

/// An alert, worded for the page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alert {
    /// What it is about: what an acknowledgement names.
    pub(crate) subject: AlertSubject,
    /// How urgent it is. With `subject`, what tells alerts apart.
    pub(crate) urgency: Urgency,
    /// How bad.
    pub(crate) level: Level,
    /// What is so.
    pub(crate) title: String,
    /// Where, and how much.
    pub(crate) message: String,
    /// Milliseconds left to act, where known.
    pub(crate) time_left_ms: Option<i64>,
}

/// The alerts that the user has not acknowledged, worst first.
pub(crate) fn open_alerts() -> Derived<Vec<Alert>> {
    figures(|state, now| {
        let worded = |alert: alert::Alert| Alert {
            subject: alert.condition.subject(),
            urgency: alert.urgency(),
            level: alert.level,
            title: words::title(&alert),
            message: words::detail(&alert, state, now),
            time_left_ms: alert.condition.time_left_ms(now),
        };
        alert::open(state, now).into_iter().map(worded).collect()
    })
}

/// What the user wants to hear no more of. The page shows it at once; the server, where there is one, keeps it and tells
/// the other pages.
#[derive(Clone, Copy)]
struct Silencer {
    store: Store,
    /// What the server says against it.
    problem: RwSignal<Option<String>>,
}

impl Silencer {
    fn new() -> Self {
        Self { store: expect_context(), problem: RwSignal::new(None) }
    }

    fn acknowledge(self, subject: &AlertSubject) {
        let now = self.store.now.get_untracked();
        self.store.state.update(|state| {
            if let Some(alert) = alert::open(state, now).iter().find(|alert| alert.condition.subject() == *subject) {
                state.silences.acknowledge(alert);
            }
        });
        self.send("acknowledge", || format!("{{\"subject\":{}}}", serde_json::to_string(subject).unwrap_or_default()));
    }

    /// Delivers nothing for so many minutes; 0 delivers again.
    fn snooze(self, minutes: i64) {
        let until = self.store.now.get_untracked().plus_ms(minutes * MINUTE_MS);
        self.store.state.update(|state| state.silences.snooze((minutes > 0).then_some(until)));
        self.send("snooze", || format!("{{\"minutes\":{minutes}}}"));
    }

    #[cfg(target_arch = "wasm32")]
    fn send(self, what: &'static str, body: impl Fn() -> String) {
        if self.store.demo.is_some() {
            return;
        }
        let (problem, body) = (self.problem, body());
        leptos::task::spawn_local(async move {
            let path = format!("/api/v1/alerts/{what}");
            let answer = crate::api::send("POST", &path, &body).await;
            let _ = problem.try_set(answer.err().map(|error| format!("Not kept: {error}.")));
        });
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn send(self, _: &'static str, _: impl Fn() -> String) {
        // Nobody clicks in the server.
        let _ = self.problem;
    }
}

/// The panel.
#[component]
pub(crate) fn AlertsPanel() -> impl IntoView {
    let alerts = open_alerts();
    let silencer = Silencer::new();
    let keys =
        Derived::new(move || alerts.with(|all| all.iter().map(|a| (a.subject.clone(), a.level)).collect::<Vec<_>>()));
    let snoozed = figures(|state, now| {
        state.silences.snoozed_until(now).map(|until| format!("Snoozed until {}", format::clock(&state.zone, until)))
    });
    let is_snoozed = snoozed.pick(Option::is_some);
    // The button stays where it is, so that nothing moves: only its word and the line beside the title change.
    let label = calc(move || if is_snoozed.get() { "Resume" } else { "Snooze all" });
    let note = calc(move || {
        let snoozed = snoozed.with(|text| text.clone().unwrap_or_default());
        silencer.problem.with(|problem| problem.clone().unwrap_or(snoozed))
    });
    view! {
        <section class="card alerts" id="alerts" aria-labelledby="h-alerts">
            <header class="card-head">
                <h2 class="card-title" id="h-alerts">"Alerts"</h2>
                <span class="count">{alerts.pick(Vec::len)}</span>
                <span class="card-sub" role="status">{note}</span>
                <div class="card-tools">
                    <button
                        class="btn sm ghost"
                        type="button"
                        aria-pressed=calc(move || if is_snoozed.get() { "true" } else { "false" })
                        title="Delivers nothing for an hour; the page still shows it"
                        on:click=move |_| silencer.snooze(if is_snoozed.get_untracked() { 0 } else { SNOOZE_MINUTES })
                    >
                        <Icon name="bell" />{label}
                    </button>
                </div>
            </header>
            <ul class="alert-list" data-list="alerts">
                <For each=move || keys.get() key=|key| key.clone() let:key>
                    {alert_row(key, alerts, silencer)}
                </For>
            </ul>
            {dynamic(move || alerts.with(Vec::is_empty).then(|| view! { <p class="empty-line"><LevelIcon level=Level::Healthy />"Nothing needs you."</p> }))}
        </section>
    }
    .into_any()
}

fn alert_row((subject, level): (AlertSubject, Level), alerts: Derived<Vec<Alert>>, silencer: Silencer) -> AnyView {
    let key = subject.clone();
    let alert = Derived::new(move || alerts.with(|all| all.iter().find(|a| a.subject == key).cloned()));
    let text = move |part: fn(&Alert) -> String| calc(move || alert.with(|a| a.as_ref().map(part).unwrap_or_default()));
    let title = text(|a| a.title.clone());
    let left = move || alert.with(|a| a.as_ref().and_then(|a| a.time_left_ms)).map(format::span);
    view! {
        <li class="alert" data-level=level.as_str()>
            <LevelIcon level />
            <b class="alert-title"><span class="vh">{format::level(level)}": "</span>{title}</b>
            {dynamic(move || left().map(|left| view! { <span class="alert-left"><Icon name="clock" />{left}</span> }))}
            <span class="alert-text">{text(|a| a.message.clone())}</span>
            <button
                class="icon-btn bare"
                type="button"
                aria-label=calc(move || format!("Acknowledge: {}", title.get()))
                title="Shown no more until it is worse or comes up anew"
                on:click=move |_| silencer.acknowledge(&subject)
            >
                <Icon name="close" />
            </button>
        </li>
    }
    .into_any()
}

/// Says level changes to screen readers: politely, and at most once in [`ANNOUNCE_EVERY`]. What
/// happens in between is summed up by the worst alert standing then. Shows news as notifications of the browser, where
/// the user allowed it.
#[component]
pub(crate) fn Announcer() -> impl IntoView {
    let alerts = open_alerts();
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
    notify(alerts);
    view! { <p class="vh" role="status" aria-live="polite">{said}</p> }
}

/// Shows what was not so before as notifications of the browser. What is so when the page begins is no news, and
/// several pages of one browser show each only once, since a notification replaces the one of the same name.
fn notify(alerts: Derived<Vec<Alert>>) {
    let store = expect_context::<Store>();
    Effect::new(move |known: Option<Option<Vec<(AlertSubject, Urgency)>>>| {
        let now = alerts.get();
        let is_held = || store.state.with_untracked(|state| alert::is_held(state, store.now.get_untracked()));
        if let Some(known) = known.flatten()
            && crate::notice::is_on()
            && !is_held()
        {
            let is_known = |alert: &Alert| {
                known.iter().any(|(subject, told)| *subject == alert.subject && !alert.urgency.exceeds(*told))
            };
            for alert in now.iter().filter(|alert| !is_known(alert)) {
                let name = format!("{:?} {:?}", alert.subject, alert.urgency);
                crate::notice::show(&alert.title, &alert.message, &name);
            }
        }
        // Until the first state is there, nothing is known.
        let is_ready = store.ready.get_untracked();
        is_ready.then(|| now.into_iter().map(|alert| (alert.subject, alert.urgency)).collect())
    });
}
