//! What a page says outside of its own elements: the document's title, and attributes of `html` and `body`.
//!
//! The browser keeps them up to date; the server notes them while it renders the body, and writes the head afterwards.

use leptos::prelude::*;

/// The element an attribute belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// `html`.
    Document,
    /// `body`.
    Body,
}

/// What the server has noted.
#[cfg(feature = "ssr")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(std::sync::Arc<std::sync::Mutex<Head>>);

/// Title and attributes as they are when the body has been rendered.
#[cfg(feature = "ssr")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The document's title.
    pub(crate) title: String,
    /// Attributes that have a value.
    pub(crate) attributes: Vec<(Root, &'static str, &'static str)>,
}

#[cfg(feature = "ssr")]
impl Noted {
    /// What was noted so far.
    pub(crate) fn head(&self) -> Head {
        self.0.lock().map(|head| head.clone()).unwrap_or_default()
    }

    fn note(change: impl FnOnce(&mut Head)) {
        if let Some(Self(head)) = use_context()
            && let Ok(mut head) = head.lock()
        {
            change(&mut head);
        }
    }
}

/// Makes `text` the document's title, until another one is set.
#[cfg(feature = "ssr")]
pub(crate) fn set_title(text: Signal<String>) {
    Noted::note(|head| head.title = text.get_untracked());
}

/// Gives `html` or `body` an attribute, where the value is something.
#[cfg(feature = "ssr")]
pub(crate) fn set_attribute(root: Root, name: &'static str, value: Signal<Option<&'static str>>) {
    if let Some(value) = value.get_untracked() {
        Noted::note(|head| head.attributes.push((root, name, value)));
    }
}

/// Makes `text` the document's title, until another one is set.
#[cfg(not(feature = "ssr"))]
pub(crate) fn set_title(text: Signal<String>) {
    Effect::new(move |_: Option<()>| document().set_title(&text.get()));
}

/// Gives `html` or `body` an attribute, where the value is something.
#[cfg(not(feature = "ssr"))]
pub(crate) fn set_attribute(root: Root, name: &'static str, value: Signal<Option<&'static str>>) {
    Effect::new(move |_: Option<()>| {
        let element = match root {
            Root::Document => document().document_element(),
            Root::Body => document().body().map(Into::into),
        };
        if let Some(element) = element {
            // Fails for names that are none; these are ours.
            let _ = match value.get() {
                Some(value) => element.set_attribute(name, value),
                None => element.remove_attribute(name),
            };
        }
    });
}
