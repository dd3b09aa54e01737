//! The page's files: script, WASM, style, icons.
//!
//! A release carries them inside (feature `embed`, see build.rs), already compressed; other builds
//! read them from `LEPTOS_SITE_ROOT`, so that a rebuilt page is served without a restart. Names do
//! not change with the content, so browsers are told to ask each time and mostly hear "304".

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dashboard_core::ids::BuildId;

use super::content_hash::content_hash;
use super::security::WORKER_POLICY;

/// The script of the page's worker.
const WORKER: &str = "worker.js";

/// A file and its compressed forms.
#[cfg_attr(not(feature = "embed"), allow(dead_code, reason = "only embedded files are compressed"))]
pub(super) struct Asset {
    plain: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
    hash: String,
}

/// Names the page that is served: a hash over its files and the version, so that the same page keeps its name when the
/// dashboard is restarted or built again.
pub(crate) fn build_id() -> BuildId {
    let mut names = env!("CARGO_PKG_VERSION").to_owned();
    for (path, hash) in source::scripts() {
        names += &format!(" {path} {hash}");
    }
    BuildId::from(content_hash(names.as_bytes()).as_str())
}

/// Whether the file decides what a page does: its code, not its style or icons.
fn is_script(path: &str) -> bool {
    path.ends_with(".wasm") || path.ends_with(".js")
}

/// The file at `path` (of a request, with its leading slash) as an answer to a request with `headers`.
pub(super) async fn find(path: &str, headers: &HeaderMap) -> Option<Response> {
    let path = path.strip_prefix('/')?;
    // Files that begin with a dot are nobody's business, and this covers `..` too.
    if path.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.contains(['\\', ':', '\0'])) {
        return None;
    }
    source::find(path).await.map(|asset| answer(path, asset, headers))
}

fn answer(path: &str, asset: Asset, headers: &HeaderMap) -> Response {
    let (body, encoding) = match (asset.brotli, asset.gzip) {
        (Some(brotli), _) if Coding::Brotli.is_accepted(headers) => (brotli, Some(Coding::Brotli)),
        (_, Some(gzip)) if Coding::Gzip.is_accepted(headers) => (gzip, Some(Coding::Gzip)),
        _ => (asset.plain, None),
    };
    let encoding = encoding.map(Coding::as_str);
    // A strong tag names bytes, and the forms differ in theirs.
    let etag = format!("\"{}{}\"", asset.hash, encoding.map_or_else(String::new, |encoding| format!("-{encoding}")));
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|tags| tags.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let unchanged = known.into_iter().any(|tag| tag == etag || tag == "*");

    let mut response = if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(ETAG, &etag);
    set(CACHE_CONTROL, "no-cache");
    set(VARY, "accept-encoding");
    // A worker is bound by the policy its script comes with, not by the page's.
    if path == WORKER {
        set(CONTENT_SECURITY_POLICY, WORKER_POLICY);
    }
    if !unchanged {
        set(CONTENT_TYPE, content_type(path));
        if let Some(encoding) = encoding {
            set(CONTENT_ENCODING, encoding);
        }
    }
    response
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// `br`.
    Brotli,
    /// `gzip`.
    Gzip,
}

impl Coding {
    /// Its name in headers.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The smallest form the client takes.
    pub(super) fn best(headers: &HeaderMap) -> Option<Self> {
        [Self::Brotli, Self::Gzip].into_iter().find(|coding| coding.is_accepted(headers))
    }

    /// Whether the client takes it: it names it, and not with `q=0`.
    fn is_accepted(self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|list| list.split(',')).any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(self.as_str()));
            let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse::<f32>().ok());
            named && weight.is_none_or(|q| q > 0.0)
        })
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(feature = "embed")]
mod source {
    use axum::body::Bytes;

    use super::Asset;
    use crate::embedded::SITE;

    /// The page's code: path and hash of each file, sorted.
    pub(super) fn scripts() -> Vec<(String, String)> {
        let scripts = SITE.iter().filter(|file| super::is_script(file.path));
        scripts.map(|file| (file.path.to_owned(), file.hash.to_owned())).collect()
    }

    #[allow(clippy::unused_async, reason = "reading from disk, the other way, is async")]
    pub(super) async fn find(path: &str) -> Option<Asset> {
        let index = SITE.binary_search_by_key(&path, |file| file.path).ok()?;
        let file = &SITE[index];
        Some(Asset {
            plain: Bytes::from_static(file.plain),
            brotli: file.brotli.map(Bytes::from_static),
            gzip: file.gzip.map(Bytes::from_static),
            hash: file.hash.to_owned(),
        })
    }
}

#[cfg(not(feature = "embed"))]
mod source {
    use std::path::PathBuf;

    use super::{Asset, content_hash};

    /// The page's code: path and hash of each file, sorted; none before the page has been built.
    pub(super) fn scripts() -> Vec<(String, String)> {
        let files = |dir: &str| std::fs::read_dir(root().join(dir)).into_iter().flatten().filter_map(Result::ok);
        let path = |dir: &str, file: std::fs::DirEntry| format!("{dir}{}", file.file_name().to_string_lossy());
        let mut scripts: Vec<_> = ["", "pkg/"]
            .into_iter()
            .flat_map(|dir| files(dir).map(move |file| path(dir, file)))
            .filter(|path| super::is_script(path))
            .filter_map(|path| std::fs::read(root().join(&path)).ok().map(|content| (path, content_hash(&content))))
            .collect();
        scripts.sort();
        scripts
    }

    /// Where the built page is.
    pub(super) fn root() -> PathBuf {
        std::env::var_os("LEPTOS_SITE_ROOT").map_or_else(|| "target/site".into(), PathBuf::from)
    }

    pub(super) async fn find(path: &str) -> Option<Asset> {
        let content = tokio::fs::read(root().join(path)).await.ok()?;
        let hash = content_hash(&content);
        Some(Asset { plain: content.into(), brotli: None, gzip: None, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset() -> Asset {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        Asset { plain: bytes("plain"), brotli: Some(bytes("br")), gzip: Some(bytes("gz")), hash: "abc".to_owned() }
    }

    fn asked(name: HeaderName, value: &'static str) -> Response {
        answer("pkg/dashboard.js", asset(), &HeaderMap::from_iter([(name, HeaderValue::from_static(value))]))
    }

    #[test]
    fn sends_the_best_form_the_browser_takes() {
        for (accepted, encoding) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip", Some("gzip")),
            ("br;q=0, GZIP;q=0.5", Some("gzip")),
            ("identity", None),
            ("brotli", None),
        ] {
            let response = asked(ACCEPT_ENCODING, accepted);
            assert_eq!(response.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()), encoding);
            assert_eq!(response.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        }
    }

    #[test]
    fn says_304_to_who_has_it() {
        for (known, status) in [
            ("\"abc\"", StatusCode::NOT_MODIFIED),
            ("\"x\", W/\"abc\"", StatusCode::NOT_MODIFIED),
            ("*", StatusCode::NOT_MODIFIED),
            ("\"abc-br\"", StatusCode::OK),
            ("abc", StatusCode::OK),
        ] {
            assert_eq!(asked(IF_NONE_MATCH, known).status(), status, "{known}");
        }
    }

    #[tokio::test]
    async fn stays_inside_the_site() {
        for path in ["/../Cargo.toml", "/pkg/../../Cargo.toml", "//etc/passwd", "/.gitignore", "/", "/pkg/", "/C:/x"] {
            assert!(find(path, &HeaderMap::new()).await.is_none(), "{path}");
        }
    }
}
