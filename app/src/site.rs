//! Where the page lives: the base of its addresses, and whether a server makes its pages.
//!
//! The served page is at the root of its host. The static site may be under any path, which is
//! found at run time from the address of its style sheet, and has one file per fixed route.

use dashboard_core::ids::SessionId;
use leptos::prelude::*;

/// The style sheet, seen from the base.
pub(crate) const STYLE_SHEET: &str = "pkg/dashboard.css";
/// Name of the `meta` element that holds the build the page was served with.
pub(crate) const BUILD_META: &str = "dashboard-build";
/// Name of the `meta` element of the static site's documents; a served page has none.
pub(crate) const SITE_META: &str = "dashboard-site";

/// Leads from a document of the static site to the site's base; in context while such a document is written.
#[cfg(feature = "ssr")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory(pub(crate) &'static str);

/// Makes the page's own addresses; found by [`expect_context`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// What leads to the site's base, without a slash at its end: a path, or `.` and `..` in a document of the static site.
    base: String,
    /// Path before every route as the router sees it, without a slash at its end.
    routes: String,
    /// No server: routes are directories with an index, and an id goes into the query.
    is_static: bool,
}

impl Site {
    /// The page's site; provides itself as context.
    pub(crate) fn provide() -> Self {
        let site = Self::here();
        provide_context(site.clone());
        site
    }

    #[cfg(feature = "ssr")]
    fn here() -> Self {
        let base = use_context::<Directory>().map(|Directory(base)| base.trim_end_matches('/').to_owned());
        Self { is_static: base.is_some(), base: base.unwrap_or_default(), routes: String::new() }
    }

    #[cfg(not(feature = "ssr"))]
    fn here() -> Self {
        let is_static = document().query_selector(&format!("meta[name={SITE_META}]")).is_ok_and(|meta| meta.is_some());
        if !is_static {
            return Self::default();
        }
        let sheet = document().query_selector("link[rel=stylesheet]").ok().flatten();
        let href = sheet.and_then(|sheet| sheet.get_attribute("href")).unwrap_or_default();
        let page = location().href().unwrap_or_default();
        let path = web_sys::Url::new_with_base(&href, &page).map(|url| url.pathname()).unwrap_or_default();
        let base = base_of(&path).to_owned();
        Self { is_static, routes: base.clone(), base }
    }

    /// What the router puts before its routes.
    pub(crate) fn base(&self) -> String {
        self.routes.clone()
    }

    /// Whether there is no server, so that there is nothing to show but the demo.
    pub(crate) fn is_static(&self) -> bool {
        self.is_static
    }

    /// The address of a fixed route such as `/history`.
    pub(crate) fn href(&self, route: &str) -> String {
        let slash = if self.is_static && route != "/" { "/" } else { "" };
        format!("{}{route}{slash}", self.base)
    }

    /// The address of a file such as `/worker.js`.
    #[cfg_attr(feature = "ssr", allow(dead_code, reason = "only the browser asks"))]
    pub(crate) fn file(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The same, where there is a server to answer it.
    pub(crate) fn served(&self, route: &str) -> Option<String> {
        (!self.is_static).then(|| self.href(route))
    }

    /// The address of a session's page.
    pub(crate) fn session(&self, id: &SessionId) -> String {
        let id = percent_encoded(id.as_str());
        if self.is_static { format!("{}/sessions/?id={id}", self.base) } else { format!("{}/sessions/{id}", self.base) }
    }
}

/// The base path of a site whose style sheet is at this path.
#[cfg(any(not(feature = "ssr"), test))]
fn base_of(sheet: &str) -> &str {
    sheet.strip_suffix(STYLE_SHEET).unwrap_or_default().trim_end_matches('/')
}

/// An id as a part of an address. Session ids are UUIDs, but nothing promises that.
fn percent_encoded(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_where_the_style_sheet_is() {
        assert_eq!(base_of("/pkg/dashboard.css"), "");
        assert_eq!(base_of("/a/history/pkg/dashboard.css"), "/a/history");
        assert_eq!(base_of("/elsewhere.css"), "");
    }

    #[test]
    fn addresses_follow_the_site() {
        let id = SessionId::from("a b/ü");
        let served = Site::default();
        assert_eq!(served.href("/"), "/");
        assert_eq!(served.href("/history"), "/history");
        assert_eq!(served.session(&id), "/sessions/a%20b%2F%C3%BC");
        let fixed = Site { base: "/demo".to_owned(), routes: "/demo".to_owned(), is_static: true };
        assert_eq!(fixed.href("/"), "/demo/");
        assert_eq!(fixed.href("/history"), "/demo/history/");
        assert_eq!(fixed.session(&SessionId::from("x-1")), "/demo/sessions/?id=x-1");
    }
}
