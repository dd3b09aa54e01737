//! Light, dark, or as the system says; remembered in a cookie, so that the server can render the
//! page in the right colours before any script runs.

use leptos::prelude::*;

/// The cookie's name. Cookies of one host are shared by all its ports, hence the prefix.
const COOKIE: &str = "dashboard_theme";

/// The `Cookie` header of the request the page is rendered for; provided by the server as context.
#[cfg(feature = "ssr")]
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerCookies(pub(crate) String);

/// The page's colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system says.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// The word the cookie and the settings use.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// From that word; anything else is the system's.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    /// The one after this, when they are stepped through.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }

    /// `data-theme` of the document; none leaves it to the system.
    pub(crate) fn attribute(self) -> Option<&'static str> {
        (self != Self::System).then(|| self.as_str())
    }

    fn in_cookies(cookies: &str) -> Self {
        let value = cookies.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
        Self::of(value.unwrap_or_default())
    }

    /// The remembered theme as a signal that remembers what it is set to; provides it as context.
    pub(crate) fn provide() -> RwSignal<Self> {
        let theme = RwSignal::new(Self::in_cookies(&cookies()));
        provide_context(theme);
        Effect::new(move |first: Option<()>| {
            let theme = theme.get();
            if first.is_some() {
                remember(theme);
            }
        });
        theme
    }
}

#[cfg(feature = "ssr")]
fn cookies() -> String {
    use_context::<ServerCookies>().unwrap_or_default().0
}

#[cfg(not(feature = "ssr"))]
fn cookies() -> String {
    html_document().and_then(|document| document.cookie().ok()).unwrap_or_default()
}

#[cfg(target_arch = "wasm32")]
fn html_document() -> Option<web_sys::HtmlDocument> {
    wasm_bindgen::JsCast::dyn_into(document()).ok()
}

#[cfg(target_arch = "wasm32")]
fn remember(theme: Theme) {
    if let Some(document) = html_document() {
        // Where cookies are refused the choice lasts as long as the page.
        let _ = document.set_cookie(&format!("{COOKIE}={}; path=/; max-age=31536000; samesite=strict", theme.as_str()));
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn remember(_: Theme) {
    // Effects do not run in the server.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_theme_is_found_among_other_cookies() {
        assert_eq!(Theme::in_cookies("a=b; dashboard_theme=dark; c=d"), Theme::Dark);
        assert_eq!(Theme::in_cookies("dashboard_theme=light"), Theme::Light);
        assert_eq!(Theme::in_cookies("dashboard_theme=<script>"), Theme::System);
        assert_eq!(Theme::in_cookies("my_dashboard_theme=dark"), Theme::System);
        assert_eq!(Theme::in_cookies(""), Theme::System);
    }
}
