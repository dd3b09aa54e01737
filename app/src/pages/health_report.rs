//! The health report: every part, every count of what was read, and every refused line.

use dashboard_core::event::{ComponentHealth, HealthCheck, IngestUpdate};
use dashboard_core::format;
use dashboard_core::record::Rejection;
use leptos::prelude::*;

use super::{Page, Section};
use crate::feed::Store;
use crate::panels::{figures, part_name};
use crate::ui::{Figure, LevelIcon, calc, dynamic, metric};

/// The page at `/health-report`.
#[component]
pub(crate) fn HealthReportPage() -> impl IntoView {
    let health = figures(|state, _| state.health.clone());
    let failure = figures(|state, _| {
        let failure = state.last_failure.as_ref();
        failure
            .map(|failure| format!("{}, {}", part_name(&failure.component), format::clock_s(&state.zone, failure.at)))
    });
    let about = calc(move || {
        let (healthy, all) = health.with(HealthCheck::healthy_count);
        format!("{healthy} of {all} parts healthy")
    });
    let part = |(name, part): (&String, &ComponentHealth)| {
        let level = part.status.level();
        view! {
            <tr data-level=level.as_str()>
                <th scope="row">{part_name(name)}</th>
                <td><span class="verdict"><LevelIcon level />{part.status.as_str()}</span></td>
                <td class="wrap">{part.message.clone()}</td>
            </tr>
        }
    };
    view! {
        <Page title="Health" about>
            <Section id="h-parts" title="Parts" about="what each does, or what is wrong and what to do">
                <div class="table-wrap" tabindex="0" role="group" aria-label="Parts">
                    <table class="table">
                        <caption class="vh">"Parts"</caption>
                        <thead>
                            <tr><th scope="col">"Part"</th><th scope="col">"Status"</th><th scope="col">"Message"</th></tr>
                        </thead>
                        <tbody>{dynamic(move || health.with(|h| h.components.iter().map(part).collect_view()))}</tbody>
                    </table>
                </div>
                {dynamic(move || failure.get().map(|text| view! { <p class="small muted">"Last failure: "{text}</p> }))}
            </Section>
            {ingest()}
            {rejections()}
        </Page>
    }
}

fn ingest() -> AnyView {
    let ingest = figures(|state, _| state.ingest.clone());
    let clients = figures(|state, _| Figure::exact(state.health.clients));
    let count = move |of: fn(&IngestUpdate) -> u64| calc(move || Figure::exact(ingest.with(of)));
    let plain = move |of: fn(&IngestUpdate) -> u64| move || format::exact(ingest.with(of));
    let store = expect_context::<Store>();
    let unknown_events = calc(move || store.connection.with(|view| format::exact(view.unknown_events)));
    let models = move || {
        ingest.with(|i| i.unpriced_models.iter().map(|model| model.as_str().to_owned()).collect::<Vec<_>>().join(", "))
    };
    view! {
        <Section id="h-ingest" title="What was read" about="nothing is dropped in silence">
            <dl class="facts">
                <dt>"Files"</dt><dd>{plain(|i| i.files)}</dd>
                <dt>"Bytes"</dt><dd>{plain(|i| i.bytes)}</dd>
                <dt>"Lines"</dt><dd>{metric("ingest.lines", count(|i| i.lines))}</dd>
                <dt>"Responses"</dt><dd>{metric("ingest.responses", count(|i| i.responses))}</dd>
                <dt>"Duplicate lines"</dt><dd>{plain(|i| i.duplicate_lines)}" folded into their response"</dd>
                <dt>"Rejected lines"</dt><dd>{metric("ingest.rejected_lines", count(|i| i.rejected_lines))}</dd>
                <dt>"Unknown records"</dt><dd>{plain(|i| i.unknown_records)}" skipped"</dd>
                <dt>"Bad counts"</dt><dd>{plain(|i| i.bad_counts)}" read as 0"</dd>
                <dt>"Unpriced responses"</dt>
                <dd>{metric("ingest.unpriced", count(|i| i.unpriced))}" "{models}</dd>
                <dt>"Unknown events"</dt><dd>{unknown_events}" of a newer server, passed over"</dd>
                <dt>"Connected pages"</dt><dd>{metric("clients", clients.signal())}</dd>
            </dl>
        </Section>
    }
    .into_any()
}

fn rejections() -> AnyView {
    let ingest = figures(|state, _| (state.ingest.rejected_lines, state.ingest.rejections.clone()));
    let about = calc(move || match ingest.with(|(all, shown)| (*all, shown.len() as u64)) {
        (0, _) => "none".to_owned(),
        (all, shown) if all > shown => format!("the newest {shown} of {}", format::exact(all)),
        (all, _) => format::exact(all),
    });
    let line = |rejection: &Rejection| {
        view! {
            <li>
                <code>{format!("{}:{}", rejection.file, rejection.byte_offset)}</code>
                " "
                {rejection.reason.as_str()}
            </li>
        }
    };
    view! {
        <Section id="h-rejected" title="Rejected lines" about>
            <ul class="rejections">{dynamic(move || ingest.with(|(_, list)| list.iter().rev().map(line).collect_view()))}</ul>
        </Section>
    }
    .into_any()
}
