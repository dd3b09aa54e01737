//! Who may ask, and what a browser may do with the answer. Applies to every route, the WebSocket included.
//!
//! The dashboard shows what someone works on, so by default it answers this user of this machine only, and only pages
//! that it served itself:
//! - `Host` must be one of its names: a rebound DNS name is not.
//! - `Origin` must be absent or equal to it, and a browser's request from another site must be a navigation: another
//!   site's socket, form, image or frame is neither.
//! - Whoever is not a process of this user on this machine needs the token, or the cookie it was exchanged for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, FORWARDED, HOST, LOCATION, ORIGIN,
    REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, VIA, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;
use super::attempts::{Attempts, TooMany};
use super::token::Token;
use crate::peer::Peer;

/// The cookie that holds the session id of a browser. Cookies know no ports, so the port is part of the name: two
/// dashboards on one host each have theirs.
const COOKIE_NAME: &str = "dashboard_session";
/// Names this machine has for itself.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// What a proxy adds. Behind one is somebody else than the proxy's own user.
const PROXY_HEADERS: [HeaderName; 5] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
];

/// The other end of a connection; every request of it carries this as an extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) peer: Peer,
}

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Access {
    host: Arc<str>,
    any_address: bool,
    /// What opens the dashboard to whoever is not let in without.
    token: Token,
    /// Whether the user chose to have a token, so that it also holds where the system does not tell users apart.
    asked_for: bool,
    /// The session id of this run: what the token is exchanged for. Random, so that a cookie does not reveal the token
    /// and dies with the process.
    session: Token,
    attempts: Attempts,
}

/// Access that cannot be granted safely.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Everyone in the network could read the dashboard.
    #[error(
        "--host {0} can be reached from other machines and needs --token: choose a long random secret, let \
         `--token auto` make one, or leave --host out to serve this machine only"
    )]
    NeedsToken(String),
    /// No session id could be made.
    #[error(transparent)]
    Random(#[from] std::io::Error),
}

/// Whether only this machine can reach a server that listens on `host`.
pub fn is_loopback(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(|a| a.to_canonical().is_loopback())
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// It is let in as it is.
    Open,
    /// It needs the session's cookie or the token.
    Closed,
}

impl Access {
    /// Access for a server that listens on `host`. On loopback there always is a token, for other users of the machine;
    /// without `token`, nobody knows it.
    ///
    /// # Errors
    /// If others can reach that host and there is no token, or the system has no random numbers.
    pub fn new(host: &str, token: Option<Token>) -> Result<Self, AccessError> {
        if !is_loopback(host) && token.is_none() {
            return Err(AccessError::NeedsToken(host.to_owned()));
        }
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let host = match address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_ascii_lowercase(),
        };
        Ok(Self {
            host: host.into(),
            any_address: address.is_some_and(|a| a.is_unspecified()),
            asked_for: token.is_some(),
            token: token.map_or_else(Token::random, Ok)?,
            session: Token::random()?,
            attempts: Attempts::default(),
        })
    }

    /// The same with a token that was made without being asked for: it does not close loopback where the system does not
    /// tell users apart.
    #[must_use]
    pub fn with_quiet_token(self, token: Token) -> Self {
        Self { token, asked_for: false, ..self }
    }

    /// Whether `authority` (`Host`, or that of a request's URI) is one of our names, with any port.
    ///
    /// Listening on all addresses, any numeric address is ours: a rebound name is never numeric.
    fn is_ours(&self, authority: &Authority) -> bool {
        let host = authority.host();
        // No user, and no port but a number.
        if authority.as_str().len() != host.len() && authority.port_u16().is_none() || authority.as_str().contains('@')
        {
            return false;
        }
        let known = LOOPBACK_HOSTS.iter().any(|name| name.eq_ignore_ascii_case(host));
        let numeric = || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        known || host.eq_ignore_ascii_case(&self.host) || (self.any_address && numeric())
    }

    /// The name we were asked by, if it is ours and the asking page is of the same origin.
    fn check_names(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let forbidden = |error, message: &str| Problem::new(StatusCode::FORBIDDEN, error, message);
        let host = only(headers, &HOST).and_then(|host| Authority::from_str(host).ok());
        let Some(host) = host.filter(|host| self.is_ours(host) && uri.authority().is_none_or(|uri| uri == host)) else {
            let message =
                "Host is not a name of this dashboard. Use http://localhost or the --host it was started with.";
            return Err(forbidden("wrong_host", message));
        };
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = only(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
        match origin {
            Some(("http" | "https", authority)) if authority.eq_ignore_ascii_case(host.as_str()) => Ok(()),
            _ => Err(forbidden("wrong_origin", "This dashboard answers only pages that it served itself.")),
        }
    }

    /// Whether a browser's request comes from a page of another site and is no navigation of the user's to here.
    fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let says = |name: &'static str, value: &str| {
            let mut values = headers.get_all(name).iter();
            values.any(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
        };
        let navigation =
            method == Method::GET && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document");
        if says("sec-fetch-site", "cross-site") && !navigation {
            let message = "This dashboard answers only pages that it served itself.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", message));
        }
        Ok(())
    }

    /// Whether the other end is let in without a secret.
    fn entry(&self, client: Option<Client>, headers: &HeaderMap) -> Entry {
        let proxied = PROXY_HEADERS.iter().any(|name| headers.contains_key(name));
        match client.map(|client| client.peer) {
            Some(Peer::Own) if !proxied => Entry::Open,
            Some(Peer::Untold) if !self.asked_for => Entry::Open,
            _ => Entry::Closed,
        }
    }

    /// Whether the request carries the cookie of this run.
    fn has_session(&self, headers: &HeaderMap) -> bool {
        let own = cookie_name(headers);
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == own && self.session.matches(value))
    }

    /// Looks at an offered token, the slower the more wrong ones came from that address.
    async fn check_token(&self, client: Option<Client>, offered: &str) -> Result<bool, Problem> {
        let address = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.address.ip());
        self.attempts.check(address, || self.token.matches(offered)).await.map_err(|TooMany| {
            let message = "Too many wrong tokens from this address; try again in a moment.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message)
        })
    }

    /// `/?token=…` after its token was found right: a cookie instead, so that the token leaves the address bar.
    fn signed_in(&self, rest: &str, headers: &HeaderMap) -> Response {
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", cookie_name(headers), self.session.reveal());
        let location = if rest.is_empty() { "/".to_owned() } else { format!("/?{rest}") };
        let mut response = StatusCode::SEE_OTHER.into_response();
        for (name, value) in [(SET_COOKIE, cookie), (LOCATION, location)] {
            match HeaderValue::from_str(&value) {
                Ok(value) => response.headers_mut().insert(name, value),
                Err(_) => return StatusCode::BAD_REQUEST.into_response(),
            };
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The session cookie's name for the port that was asked.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = only(headers, &HOST).and_then(|host| Authority::from_str(host).ok());
    match host.and_then(|host| host.port_u16()) {
        Some(port) => format!("{COOKIE_NAME}_{port}"),
        None => COOKIE_NAME.to_owned(),
    }
}

/// The token in the address of `GET /?token=…`, and the rest of the query.
fn token_in_address(method: &Method, uri: &Uri) -> Option<(String, String)> {
    if method != Method::GET || uri.path() != "/" {
        return None;
    }
    let (tokens, rest): (Vec<_>, Vec<_>) = uri.query()?.split('&').partition(|pair| pair.starts_with("token="));
    let token = tokens.first()?.strip_prefix("token=")?;
    Some((token.to_owned(), rest.join("&")))
}

/// The token in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = only(headers, &AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The value of a header that is there exactly once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The outermost layer: refuses who may not ask.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match access.admit(&head).await {
        Ok(None) => next.run(Request::from_parts(head, body)).await,
        Ok(Some(signed_in)) => signed_in,
        Err(refused) => *refused,
    }
}

impl Access {
    /// Whether the request may go on; or the answer that ends it: a cookie for the token, or why not.
    async fn admit(&self, request: &Parts) -> Result<Option<Response>, Box<Response>> {
        let Parts { method, uri, headers, extensions, .. } = request;
        let refuse = |problem: Problem| Box::new(problem.into_response());
        self.check_names(uri, headers).and_then(|()| Self::check_site(method, headers)).map_err(refuse)?;
        let client = extensions.get::<Client>().copied();
        let entry = self.entry(client, headers);
        let offered = token_in_address(method, uri);
        if offered.is_none() && (entry == Entry::Open || self.has_session(headers)) {
            return Ok(None);
        }
        // Looked at even where nothing is needed: whoever opens such an address wants the token out of it.
        let (token, rest) = match offered {
            Some((token, rest)) => (Some(token), Some(rest)),
            None => (bearer(headers), None),
        };
        let mut response = match token {
            Some(token) => match self.check_token(client, &token).await {
                Ok(true) => return Ok(rest.map(|rest| self.signed_in(&rest, headers))),
                _ if entry == Entry::Open || self.has_session(headers) => return Ok(None),
                Ok(false) => unauthorized(),
                Err(problem) => {
                    let mut response = problem.into_response();
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
                    return Err(Box::new(response));
                }
            },
            None => unauthorized(),
        };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Err(Box::new(response))
    }
}

fn unauthorized() -> Response {
    let message = "This dashboard is another user's, or not asked from its own machine, and needs its token: open \
                   /?token=… as printed at its start, or send Authorization: Bearer …. `--token auto` keeps it in the \
                   file `token` of the data directory.";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response()
}

/// Headers every answer carries. A page brings its own policy (see [`page_policy`]).
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    let content = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content.starts_with("text/html") || content.starts_with("application/json") {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// What the page's worker may load and do: its own code. It has no socket, and reads nothing of ours.
pub(super) const WORKER_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'";

/// What a served page may load and do: our own files, our own socket, and no inline script.
///
/// `host` is spelled out for browsers in which `'self'` does not cover WebSockets; `reload_port` is
/// the development server's, if it runs, and `nonce` that of its script in the page.
pub(super) fn page_policy(nonce: Option<&str>, host: Option<&Authority>, reload_port: Option<u32>) -> String {
    let mut connect = "'self'".to_owned();
    if let Some(host) = host {
        connect += &format!(" ws://{host} wss://{host}");
        if let Some(port) = reload_port {
            connect += &format!(" ws://{}:{port}", host.host());
        }
    }
    let nonce = nonce.map_or_else(String::new, |nonce| format!(" 'nonce-{nonce}'"));
    format!(
        "default-src 'none'; script-src 'self'{nonce} 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; \
         style-src-attr 'unsafe-inline'; connect-src {connect}; img-src 'self' data:; font-src 'self'; \
         manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn allows(access: &Access, pairs: &[(HeaderName, &str)]) -> bool {
        access.check_names(&Uri::from_static("/ws"), &headers(pairs)).is_ok()
    }

    #[test]
    fn answers_to_its_own_names_with_any_port() {
        let access = Access::new("127.0.0.1", None).unwrap();
        for host in ["localhost", "localhost:3001", "LOCALHOST:1", "127.0.0.1:3001", "[::1]:3001", "[::1]"] {
            assert!(allows(&access, &[(HOST, host)]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:3001",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.2",
            "192.168.1.5:3001",
            "user@localhost",
            "localhost:port",
            "::1",
            "",
        ] {
            assert!(!allows(&access, &[(HOST, host)]), "{host}");
        }
        assert!(!allows(&access, &[]), "no Host at all");
        assert!(!allows(&access, &[(HOST, "localhost"), (HOST, "evil.example")]), "two of them");
        let absolute = Uri::from_static("http://evil.example/ws");
        assert!(access.check_names(&absolute, &headers(&[(HOST, "localhost")])).is_err());
    }

    #[test]
    fn answers_pages_of_the_same_origin_only() {
        let access = Access::new("127.0.0.1", None).unwrap();
        let host = (HOST, "localhost:3001");
        for (origin, allowed) in [
            ("http://localhost:3001", true),
            ("https://localhost:3001", true),
            ("http://LOCALHOST:3001", true),
            ("http://localhost:3002", false),
            ("http://localhost", false),
            ("http://127.0.0.1:3001", false),
            ("http://evil.example", false),
            ("file://localhost:3001", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(allows(&access, &[host.clone(), (ORIGIN, origin)]), allowed, "{origin}");
        }
    }

    #[test]
    fn other_machines_need_a_token() {
        for host in ["127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3"] {
            assert!(Access::new(host, None).is_ok(), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.1.5", "workstation.local"] {
            assert!(Access::new(host, None).unwrap_err().to_string().contains("--token"), "{host}");
        }
        let named = Access::new("Workstation.local", Some(token())).unwrap();
        assert!(allows(&named, &[(HOST, "workstation.local:3001")]));
        assert!(!allows(&named, &[(HOST, "10.0.0.1:3001")]));
        let everywhere = Access::new("0.0.0.0", Some(token())).unwrap();
        assert!(allows(&everywhere, &[(HOST, "10.0.0.1:3001")]));
        assert!(!allows(&everywhere, &[(HOST, "evil.example:3001")]));
    }

    #[test]
    fn pages_of_other_sites_may_lead_here_and_nothing_else() {
        for (method, site, mode, dest, allowed) in [
            (Method::GET, "same-origin", "cors", "empty", true),
            (Method::GET, "none", "navigate", "document", true),
            (Method::GET, "cross-site", "navigate", "document", true),
            (Method::GET, "cross-site", "no-cors", "image", false),
            (Method::GET, "cross-site", "cors", "empty", false),
            (Method::GET, "cross-site", "websocket", "websocket", false),
            (Method::GET, "cross-site", "navigate", "iframe", false),
            (Method::GET, "Cross-Site", "no-cors", "script", false),
            (Method::POST, "cross-site", "navigate", "document", false),
            (Method::HEAD, "cross-site", "navigate", "document", false),
        ] {
            let name = HeaderName::from_static;
            let headers = headers(&[
                (name("sec-fetch-site"), site),
                (name("sec-fetch-mode"), mode),
                (name("sec-fetch-dest"), dest),
            ]);
            assert_eq!(Access::check_site(&method, &headers).is_ok(), allowed, "{method} {site} {mode} {dest}");
        }
        assert!(Access::check_site(&Method::POST, &HeaderMap::new()).is_ok(), "no browser");
    }

    const SECRET: &str = "a-long-enough-secret";

    fn token() -> Token {
        SECRET.parse().unwrap()
    }

    /// What comes of a request: let in, a redirect with a cookie, or refused.
    async fn asked(
        access: &Access,
        peer: Peer,
        uri: &str,
        pairs: &[(HeaderName, &str)],
    ) -> Result<Option<Response>, u16> {
        let mut request = Request::builder().uri(uri).body(axum::body::Body::empty()).unwrap();
        *request.headers_mut() = headers(pairs);
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost:3001"));
        request.extensions_mut().insert(Client { address: "127.0.0.1:50000".parse().unwrap(), peer });
        access.admit(&request.into_parts().0).await.map_err(|response| response.status().as_u16())
    }

    async fn enters(access: &Access, peer: Peer, pairs: &[(HeaderName, &str)]) -> bool {
        matches!(asked(access, peer, "/health", pairs).await, Ok(None))
    }

    #[tokio::test(start_paused = true)]
    async fn only_this_users_processes_need_no_secret() {
        let quiet = Access::new("127.0.0.1", None).unwrap();
        let closed = Access::new("127.0.0.1", Some(token())).unwrap();
        for access in [&quiet, &closed, &quiet.clone().with_quiet_token(token())] {
            assert!(enters(access, Peer::Own, &[]).await);
            for peer in [Peer::OtherUser, Peer::Remote] {
                assert!(!enters(access, peer, &[]).await, "{peer:?}");
            }
            for name in PROXY_HEADERS {
                assert!(!enters(access, Peer::Own, &[(name.clone(), "192.0.2.1")]).await, "behind a proxy: {name}");
            }
        }
        assert!(enters(&quiet, Peer::Untold, &[]).await, "where users cannot be told apart, loopback is open");
        assert!(!enters(&closed, Peer::Untold, &[]).await, "unless a token was asked for");
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_comes_as_bearer_and_the_session_as_cookie() {
        let access = Access::new("127.0.0.1", Some(token())).unwrap();
        let session = access.session.reveal().to_owned();
        for (name, value, enters_) in [
            (AUTHORIZATION, format!("Bearer {SECRET}"), true),
            (AUTHORIZATION, format!("bearer {SECRET}"), true),
            (COOKIE, format!("theme=dark; dashboard_session_3001={session}"), true),
            (AUTHORIZATION, format!("Bearer {SECRET}x"), false),
            (AUTHORIZATION, "Bearer ".to_owned(), false),
            (AUTHORIZATION, format!("Basic {SECRET}"), false),
            (AUTHORIZATION, format!("Bearer {session}"), false),
            (COOKIE, format!("dashboard_session_3001={SECRET}"), false),
            (COOKIE, format!("dashboard_session_3002={session}"), false),
            (COOKIE, "dashboard_session_3001=".to_owned(), false),
        ] {
            assert_eq!(enters(&access, Peer::OtherUser, &[(name, &value)]).await, enters_, "{value}");
        }
        let other_run = Access::new("127.0.0.1", Some(token())).unwrap();
        let cookie = format!("dashboard_session_3001={session}");
        assert!(!enters(&other_run, Peer::OtherUser, &[(COOKIE, &cookie)]).await, "of another run");
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_in_the_address_becomes_a_cookie_without_it() {
        let access = Access::new("127.0.0.1", Some(token())).unwrap();
        for peer in [Peer::OtherUser, Peer::Own, Peer::Remote] {
            let uri = format!("/?demo&token={SECRET}&x=1");
            let response = asked(&access, peer, &uri, &[]).await.unwrap().expect("a redirect");
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            assert_eq!(response.headers()[LOCATION], "/?demo&x=1");
            let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
            assert!(cookie.starts_with("dashboard_session_3001="), "{cookie}");
            assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
            assert!(!cookie.contains(SECRET), "never the token");
        }
        let response = asked(&access, Peer::Remote, &format!("/?token={SECRET}"), &[]).await.unwrap().unwrap();
        assert_eq!(response.headers()[LOCATION], "/");
        for uri in ["/?token=wrong", "/?token=", "/", "/health?token=a-long-enough-secret"] {
            assert_eq!(asked(&access, Peer::Remote, uri, &[]).await.map(drop), Err(401), "{uri}");
        }
        assert!(matches!(asked(&access, Peer::Own, "/?token=wrong", &[]).await, Ok(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_answered_slower_and_slower() {
        let access = Access::new("127.0.0.1", Some(token())).unwrap();
        let began = tokio::time::Instant::now();
        for _ in 0..10 {
            assert!(!enters(&access, Peer::OtherUser, &[(AUTHORIZATION, "Bearer wrong")]).await);
        }
        assert!(began.elapsed().as_secs() >= 15, "{:?}", began.elapsed());
        let began = tokio::time::Instant::now();
        let right = format!("Bearer {SECRET}");
        assert!(enters(&access, Peer::OtherUser, &[(AUTHORIZATION, &right)]).await);
        assert!(!enters(&access, Peer::OtherUser, &[]).await, "no secret is no attempt");
        assert_eq!(began.elapsed().as_millis(), 0);
    }
}
