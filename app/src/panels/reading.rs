//! What says that older files are still being read, so that figures of longer times may grow.

use dashboard_core::format;
use dashboard_core::record::ReadProgress;
use leptos::prelude::*;

use super::figures;
use crate::ui::{Derived, Meter, dynamic};

/// How far the first read has come; `None` when everything has been read.
pub(crate) fn reading() -> Derived<Option<ReadProgress>> {
    figures(|state, _| state.ingest.progress)
}

/// Over every page while files are read: how many of them, and how much.
#[component]
pub(crate) fn ReadingBar() -> impl IntoView {
    let progress = reading();
    let is_reading = Derived::new(move || progress.with(Option::is_some));
    let text = progress.pick(|progress| progress.as_ref().map(format::progress).unwrap_or_default());
    dynamic(move || {
        is_reading.get().then(|| {
            view! {
                <div class="reading-bar" role="region" aria-label="Reading history">
                    <span>"Reading history"</span>
                    <Meter
                        label="History read"
                        percent=progress.pick(|progress| progress.as_ref().map(ReadProgress::percent))
                        tick=Signal::stored(None)
                        text
                    />
                    <span class="num">{text}</span>
                </div>
            }
        })
    })
    .into_any()
}
