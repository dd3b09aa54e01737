//! Who may ask, and what a browser may do with the answer.
//!
//! The dashboard shows what someone works on, so by default it answers this machine only, and only
//! pages that it served itself: `Host` must be one of its names (a rebound DNS name is not), `Origin`
//! must be absent or equal to it (another site's socket or form is not), and off loopback a token is
//! needed. Applies to every route, the WebSocket included.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN,
    REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;

/// The cookie that carries the token of a browser. Cookies know no ports; two dashboards on one
/// host with different tokens take turns.
const COOKIE_NAME: &str = "dashboard_token";
/// Names this machine has for itself.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A secret that opens the dashboard.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// A token that could not travel in a URL or a cookie as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is 1 to 256 letters, digits and any of - . _ ~")]
pub struct BadToken;

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        ((1..=256).contains(&text.len()) && text.bytes().all(plain)).then(|| Self(text.into())).ok_or(BadToken)
    }
}

impl Token {
    /// The secret itself, for the address that is shown to the one who started the dashboard.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the lengths alone.
    fn matches(&self, offered: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), offered.as_bytes());
        let difference = ours.iter().zip(theirs).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        difference == 0 && ours.len() == theirs.len()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Access {
    host: Arc<str>,
    any_address: bool,
    token: Option<Token>,
}

/// A dashboard that everyone in the network could read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--host {0} can be reached from other machines and needs --token: choose a long random secret, \
     or leave --host out to serve this machine only"
)]
pub struct AccessError(String);

impl Access {
    /// Access for a server that listens on `host`.
    ///
    /// # Errors
    /// If others can reach that host and there is no token.
    pub fn new(host: &str, token: Option<Token>) -> Result<Self, AccessError> {
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let loopback = host.eq_ignore_ascii_case("localhost") || address.is_some_and(|a| a.is_loopback());
        if !loopback && token.is_none() {
            return Err(AccessError(host.to_owned()));
        }
        let host = match address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_ascii_lowercase(),
        };
        Ok(Self { host: host.into(), any_address: address.is_some_and(|a| a.is_unspecified()), token })
    }

    /// The token, if one is needed.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
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

    /// Whether the request carries the token, if one is needed.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let bearer = only(headers, &AUTHORIZATION).and_then(|value| value.split_once(' '));
        if let Some((scheme, offered)) = bearer
            && scheme.eq_ignore_ascii_case("bearer")
            && token.matches(offered.trim())
        {
            return true;
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE_NAME && token.matches(value))
    }

    /// `/?token=…`: exchanges a right token for a cookie, so that it leaves the address bar.
    fn sign_in(&self, method: &Method, uri: &Uri) -> Option<Response> {
        let token = self.token.as_ref()?;
        if method != Method::GET || uri.path() != "/" {
            return None;
        }
        let (offered, rest): (Vec<_>, Vec<_>) = uri.query()?.split('&').partition(|pair| pair.starts_with("token="));
        if !offered.iter().any(|pair| token.matches(&pair["token=".len()..])) {
            return None;
        }
        let cookie = format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", token.reveal());
        let location = if rest.is_empty() { "/".to_owned() } else { format!("/?{}", rest.join("&")) };
        let mut response = StatusCode::SEE_OTHER.into_response();
        for (name, value) in [(SET_COOKIE, cookie), (LOCATION, location)] {
            response.headers_mut().insert(name, HeaderValue::from_str(&value).ok()?);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
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
    if let Err(problem) = access.check_names(request.uri(), request.headers()) {
        return problem.into_response();
    }
    if let Some(signed_in) = access.sign_in(request.method(), request.uri()) {
        return signed_in;
    }
    if access.has_token(request.headers()) {
        return next.run(request).await;
    }
    let message =
        "This dashboard needs its token: open /?token=… as printed at its start, or send Authorization: Bearer ….";
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
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

/// What a served page may load and do: our own files, the scripts that carry `nonce`, our own socket.
///
/// `host` is spelled out for browsers in which `'self'` does not cover WebSockets; `reload_port` is
/// the development server's, if it runs.
pub(super) fn page_policy(nonce: &str, host: Option<&Authority>, reload_port: Option<u32>) -> String {
    let mut connect = "'self'".to_owned();
    if let Some(host) = host {
        connect += &format!(" ws://{host} wss://{host}");
        if let Some(port) = reload_port {
            connect += &format!(" ws://{}:{port}", host.host());
        }
    }
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
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
        let token = || Some("secret".parse().unwrap());
        let named = Access::new("Workstation.local", token()).unwrap();
        assert!(allows(&named, &[(HOST, "workstation.local:3001")]));
        assert!(!allows(&named, &[(HOST, "10.0.0.1:3001")]));
        let everywhere = Access::new("0.0.0.0", token()).unwrap();
        assert!(allows(&everywhere, &[(HOST, "10.0.0.1:3001")]));
        assert!(!allows(&everywhere, &[(HOST, "evil.example:3001")]));
    }

    #[test]
    fn the_token_comes_as_bearer_or_cookie() {
        let access = Access::new("127.0.0.1", Some("s3cret".parse().unwrap())).unwrap();
        let carries = |name: HeaderName, value: &str| access.has_token(&headers(&[(name, value)]));
        assert!(carries(AUTHORIZATION, "Bearer s3cret"));
        assert!(carries(AUTHORIZATION, "bearer s3cret"));
        assert!(carries(COOKIE, "theme=dark; dashboard_token=s3cret"));
        for (name, value) in [
            (AUTHORIZATION, "Bearer s3cre"),
            (AUTHORIZATION, "Bearer s3cret2"),
            (AUTHORIZATION, "Bearer "),
            (AUTHORIZATION, "Basic s3cret"),
            (COOKIE, "dashboard_token="),
            (COOKIE, "dashboard_token=wrong!"),
            (COOKIE, "other=s3cret"),
        ] {
            assert!(!carries(name, value), "{value}");
        }
    }

    #[test]
    fn the_token_in_the_address_becomes_a_cookie() {
        let access = Access::new("127.0.0.1", Some("s3cret".parse().unwrap())).unwrap();
        let sign_in = |uri: &'static str| access.sign_in(&Method::GET, &Uri::from_static(uri));
        let response = sign_in("/?demo&token=s3cret&x=1").unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[LOCATION], "/?demo&x=1");
        assert_eq!(response.headers()[SET_COOKIE], "dashboard_token=s3cret; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(sign_in("/?token=s3cret").unwrap().headers()[LOCATION], "/");
        assert!(sign_in("/?token=wrong").is_none());
        assert!(sign_in("/health?token=s3cret").is_none());
        assert!(sign_in("/").is_none());
    }

    #[test]
    fn a_token_is_plain_text_and_not_printed() {
        assert!("".parse::<Token>().is_err());
        assert!("two words".parse::<Token>().is_err());
        assert_eq!(format!("{:?}", "s3cret".parse::<Token>().unwrap()), "Token(…)");
    }
}
