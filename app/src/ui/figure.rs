//! Figures: a text for people beside the raw value for scripts, always of the same moment.

use std::sync::Arc;

use dashboard_core::format::{self, UNKNOWN};
use dashboard_core::time::Timestamp;
use dashboard_core::units::{Cost, Tokens};
use leptos::prelude::*;

/// A value as it reads, and unformatted. The raw value of what is unknown is empty, never zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figure {
    /// What is shown.
    pub(crate) text: String,
    /// What `data-value` holds.
    pub(crate) raw: String,
}

impl Figure {
    /// A value nobody knows.
    pub(crate) fn unknown() -> Self {
        Self { text: UNKNOWN.to_owned(), raw: String::new() }
    }

    /// A count with separators: `15,984,312`.
    pub(crate) fn exact(count: u64) -> Self {
        Self { text: format::exact(count), raw: count.to_string() }
    }

    /// Tokens in three digits.
    pub(crate) fn tokens(count: Option<Tokens>) -> Self {
        count.map_or_else(Self::unknown, |count| Self { text: format::tokens(count), raw: count.0.to_string() })
    }

    /// A share whose unit stands beside it.
    pub(crate) fn percent_number(value: Option<f64>) -> Self {
        value.map_or_else(Self::unknown, |value| Self { text: format!("{value:.0}"), raw: value.to_string() })
    }

    /// A share with one decimal and its unit.
    pub(crate) fn percent_1(value: Option<f64>) -> Self {
        value.map_or_else(Self::unknown, |value| Self { text: format::percent_1(value), raw: value.to_string() })
    }

    /// A cost, raw in US dollars.
    pub(crate) fn cost(cost: &Cost) -> Self {
        let raw = cost.known().map_or_else(String::new, |amount| amount.usd().to_string());
        Self { text: format::cost(cost), raw }
    }

    /// An instant that reads as `text`, raw in RFC 3339.
    pub(crate) fn instant(at: Option<Timestamp>, text: String) -> Self {
        Self { text, raw: at.map_or_else(String::new, |at| at.to_string()) }
    }
}

/// A figure that scripts and tests find by `name`. Text and raw value change together.
pub(crate) fn metric(name: &'static str, figure: Signal<Figure>) -> AnyView {
    view! {
        <span data-metric=name data-value=calc(move || figure.with(|f| f.raw.clone()))>
            {calc(move || figure.with(|f| f.text.clone()))}
        </span>
    }
    .into_any()
}

/// A value computed from signals. Like [`dynamic`], it hides the type of its closure: the code that
/// keeps an attribute or a text up to date is then in the WASM once per type of value, not once per use.
pub(crate) fn calc<T: Send + Sync + 'static>(value: impl Fn() -> T + Send + Sync + 'static) -> Signal<T> {
    Signal::derive(value)
}

/// A part of a view that is made anew when the signals it reads change.
pub(crate) fn dynamic<V: IntoAny>(view: impl Fn() -> V + Send + Sync + 'static) -> AnyView {
    erased(Arc::new(move || view().into_any()))
}

fn erased(view: Arc<dyn Fn() -> AnyView + Send + Sync>) -> AnyView {
    (move || view()).into_any()
}

/// Parts of a panel's figures as signals.
pub(crate) trait Pick<V> {
    /// The part that `part` takes out.
    fn pick<T: Clone + Send + Sync + 'static>(self, part: fn(&V) -> T) -> Signal<T>;
}

impl<V: PartialEq + Send + Sync + 'static> Pick<V> for Memo<V> {
    fn pick<T: Clone + Send + Sync + 'static>(self, part: fn(&V) -> T) -> Signal<T> {
        calc(move || self.with(part))
    }
}
