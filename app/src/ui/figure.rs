//! Figures: a text for people beside the raw value for scripts, always of the same moment.

use std::any::Any;
use std::marker::PhantomData;
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
    shared(Arc::new(value))
}

fn shared<T: Send + Sync + 'static>(value: Arc<dyn Fn() -> T + Send + Sync>) -> Signal<T> {
    Signal::derive(move || value())
}

/// A part of a view that is made anew when the signals it reads change.
pub(crate) fn dynamic<V: IntoAny>(view: impl Fn() -> V + Send + Sync + 'static) -> AnyView {
    erased(Arc::new(move || view().into_any()))
}

fn erased(view: Arc<dyn Fn() -> AnyView + Send + Sync>) -> AnyView {
    (move || view()).into_any()
}

/// A value computed from signals, and told to those who read it only when it differs: a [`Memo`]
/// that hides what it remembers, so that all of them share one piece of code in the WASM.
pub(crate) struct Derived<V> {
    memo: Memo<Remembered>,
    value: PhantomData<fn() -> V>,
}

impl<V> Clone for Derived<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Derived<V> {}

impl<V: PartialEq + Send + Sync + 'static> Derived<V> {
    /// Computes `value` whenever a signal it reads changes.
    pub(crate) fn new(value: impl Fn() -> V + Send + Sync + 'static) -> Self {
        Self::after(move |_| value())
    }

    /// The same, from the value before as well.
    pub(crate) fn after(value: impl Fn(Option<&V>) -> V + Send + Sync + 'static) -> Self {
        let next = move |before: Option<&Remembered>| {
            Remembered(Arc::new(value(before.and_then(|before| before.0.as_any().downcast_ref()))))
        };
        Self { memo: remember(Arc::new(next)), value: PhantomData }
    }

    /// Reads the value without copying it.
    pub(crate) fn with<R>(self, read: impl FnOnce(&V) -> R) -> R {
        let remembered = self.memo.get();
        match remembered.0.as_any().downcast_ref() {
            Some(value) => read(value),
            None => unreachable!("only `after` makes what is remembered, of the same type"),
        }
    }

    /// The same, without being told of later values.
    pub(crate) fn with_untracked<R>(self, read: impl FnOnce(&V) -> R) -> R {
        untrack(|| self.with(read))
    }

    /// To be told of later values.
    pub(crate) fn track(self) {
        self.memo.track();
    }

    /// A copy of the value.
    pub(crate) fn get(self) -> V
    where
        V: Clone,
    {
        self.with(V::clone)
    }

    /// The part that `part` takes out.
    pub(crate) fn pick<T: Clone + Send + Sync + 'static>(self, part: fn(&V) -> T) -> Signal<T> {
        calc(move || self.with(part))
    }

    /// All of it, for where a signal is wanted.
    pub(crate) fn signal(self) -> Signal<V>
    where
        V: Clone,
    {
        self.pick(V::clone)
    }
}

type Next = dyn Fn(Option<&Remembered>) -> Remembered + Send + Sync;

fn remember(next: Arc<Next>) -> Memo<Remembered> {
    Memo::new(move |before| next(before))
}

/// A value of any kind that can be compared with a later one of its kind.
#[derive(Clone)]
struct Remembered(Arc<dyn Comparable>);

trait Comparable: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<V: PartialEq + Send + Sync + 'static> Comparable for V {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}

impl PartialEq for Remembered {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(other.0.as_any())
    }
}
