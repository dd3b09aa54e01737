//! Routes and who may use them, over a real port.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use reqwest::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use server::manager::Source;
use support::{TestDashboard, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get(dashboard: &TestDashboard, path: &str, headers: &[(reqwest::header::HeaderName, &str)]) -> Response {
    let client = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let request =
        headers.iter().fold(client.get(dashboard.url(path)), |request, (name, value)| request.header(name, *value));
    soon("an answer", request.send()).await.unwrap()
}

#[tokio::test]
async fn health_says_how_the_parts_are() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(None).await;
    page.step().await;
    let response = get(&dashboard, "/health", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let health: serde_json::Value = response.json().await.unwrap();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["mode"], "simulation");
    assert_eq!(health["clients"], 1);
    for part in ["websocket", "engine", "quota_tracker", "context_tracker"] {
        assert_eq!(health["components"][part]["status"], "healthy", "{part}");
    }
    for field in ["version", "uptime_s", "timestamp"] {
        assert!(!health[field].is_null(), "{field}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn pages_are_rendered_with_their_state_and_a_policy() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(None).await;
    page.step().await;
    for path in ["/", "/?demo", "/sessions", "/sessions/unknown", "/history", "/health-report", "/settings"] {
        let response = get(&dashboard, path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let html = response.text().await.unwrap();
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).unwrap();
        assert!(!scripts.contains("unsafe-inline") && !scripts.contains("'unsafe-eval'"), "{policy}");
        for script in html.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            assert!(tag.contains(" src=\"/loader.js\"") || tag.contains("application/json"), "{path}: <script{tag}>");
        }
        assert_eq!(html.contains("id=\"boot\""), path != "/?demo", "{path}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn pages_are_compressed_for_who_takes_it() {
    let dashboard = TestDashboard::simulation().await;
    let plain = get(&dashboard, "/", &[]).await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await.unwrap().len();
    for (accepted, coding) in [("gzip, deflate, br", "br"), ("gzip", "gzip")] {
        let response = get(&dashboard, "/", &[(reqwest::header::ACCEPT_ENCODING, accepted)]).await;
        assert_eq!(response.headers()["content-encoding"], coding);
        assert_eq!(response.headers()["vary"], "accept-encoding");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(response.bytes().await.unwrap().len() * 3 < plain, "{coding}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let dashboard = TestDashboard::simulation().await;
    for path in ["/nothing", "/pkg/nothing.js", "/pkg/../Cargo.toml", "/%2e%2e/Cargo.toml", "/api/v1/nothing", "/ws/x"]
    {
        assert_eq!(get(&dashboard, path, &[]).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let problem: serde_json::Value = get(&dashboard, "/api/v1/nothing", &[]).await.json().await.unwrap();
    assert_eq!(problem["error"], "not_found");
    dashboard.stop().await;
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_everywhere() {
    let dashboard = TestDashboard::simulation().await;
    let own = dashboard.address.to_string();
    let own_origin = format!("http://{own}");
    for (host, origin, allowed) in [
        (own.as_str(), None, true),
        ("localhost", None, true),
        (own.as_str(), Some(own_origin.as_str()), true),
        ("evil.example", None, false),
        ("evil.example", Some("http://evil.example"), false),
        (own.as_str(), Some("http://evil.example"), false),
        (own.as_str(), Some("null"), false),
        ("localhost", Some(own_origin.as_str()), false),
    ] {
        let mut headers = vec![(HOST, host)];
        headers.extend(origin.map(|origin| (ORIGIN, origin)));
        for path in ["/", "/health", "/api/v1/snapshot", "/nothing", "/pkg/dashboard.js"] {
            let refused = get(&dashboard, path, &headers).await.status() == StatusCode::FORBIDDEN;
            assert_eq!(refused, !allowed, "{path}, Host {host}, Origin {origin:?}");
        }
        headers.extend([
            (reqwest::header::CONNECTION, "upgrade"),
            (reqwest::header::UPGRADE, "websocket"),
            (reqwest::header::SEC_WEBSOCKET_VERSION, "13"),
            (reqwest::header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        let status = get(&dashboard, "/ws", &headers).await.status();
        let expected = if allowed { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::FORBIDDEN };
        assert_eq!(status, expected, "/ws, Host {host}, Origin {origin:?}");
    }
    dashboard.stop().await;
}

const SECRET: &str = "a-long-enough-secret";

/// What a proxy of this user adds: behind it is somebody else.
const FORWARDED: (reqwest::header::HeaderName, &str) =
    (reqwest::header::HeaderName::from_static("x-forwarded-for"), "192.0.2.1");

fn nothing() -> Source {
    Source::Live { roots: Vec::new(), plan: None, history: None }
}

#[tokio::test]
async fn a_token_opens_what_is_closed_without() {
    let dashboard = TestDashboard::start(nothing(), Some(SECRET)).await;
    for path in ["/", "/ws", "/health", "/api/v1/nothing", "/?token=wrong"] {
        assert_eq!(get(&dashboard, path, &[FORWARDED]).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let wrong = [FORWARDED, (AUTHORIZATION, "Bearer wrong")];
    assert_eq!(get(&dashboard, "/health", &wrong).await.status(), StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {SECRET}");
    let right = [FORWARDED, (AUTHORIZATION, bearer.as_str())];
    assert_eq!(get(&dashboard, "/health", &right).await.status(), StatusCode::OK);

    let signed_in = get(&dashboard, &format!("/?token={SECRET}"), &[FORWARDED]).await;
    assert_eq!(signed_in.status(), StatusCode::SEE_OTHER);
    assert_eq!(signed_in.headers()[LOCATION], "/");
    let cookie = signed_in.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(SECRET), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(get(&dashboard, "/health", &[FORWARDED, (COOKIE, cookie)]).await.status(), StatusCode::OK);
    dashboard.stop().await;

    let next_run = TestDashboard::start(nothing(), Some(SECRET)).await;
    let refused = get(&next_run, "/health", &[FORWARDED, (COOKIE, cookie)]).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "the cookie was of another run");
    next_run.stop().await;
}

#[tokio::test]
async fn wrong_tokens_are_answered_later_and_later() {
    let dashboard = TestDashboard::start(nothing(), Some(SECRET)).await;
    let wrong = [FORWARDED, (AUTHORIZATION, "Bearer wrong")];
    let began = std::time::Instant::now();
    for _ in 0..6 {
        assert_eq!(get(&dashboard, "/health", &wrong).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(began.elapsed().as_millis() >= 1_750, "a quarter of a second, half of one, one: {:?}", began.elapsed());
    dashboard.stop().await;
}

/// The status that another user of this machine gets; `None`, said aloud, where the test may not be another user.
#[cfg(target_os = "linux")]
async fn as_another_user(url: &str, header: &str) -> Option<String> {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups", "curl", "--silent", "--noproxy", "*", "--output", "/dev/null"]);
    command.args(["--write-out", "%{http_code}", "--header", header, url]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        other => {
            eprintln!("SKIPPED: cannot act as another user (needs root, setpriv and curl): {other:?}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_os = "linux")]
async fn another_user_of_the_machine_needs_the_token() {
    for token in [None, Some(SECRET)] {
        let dashboard = TestDashboard::start(nothing(), token).await;
        assert_eq!(get(&dashboard, "/health", &[]).await.status(), StatusCode::OK, "this user's process");
        for path in ["/", "/health", "/ws", "/api/v1/snapshot", "/pkg/dashboard.js"] {
            let Some(status) = as_another_user(&dashboard.url(path), "X-None: 1").await else { return };
            assert_eq!(status, "401", "{path}");
        }
        if let Some(token) = token {
            let status = as_another_user(&dashboard.url("/health"), &format!("Authorization: Bearer {token}")).await;
            assert_eq!(status.as_deref(), Some("200"));
        }
        dashboard.stop().await;
    }
}

#[tokio::test]
async fn requests_of_other_sites_are_refused() {
    let dashboard = TestDashboard::simulation().await;
    let name = reqwest::header::HeaderName::from_static;
    let from = |site, mode, dest| {
        [(name("sec-fetch-site"), site), (name("sec-fetch-mode"), mode), (name("sec-fetch-dest"), dest)]
    };
    for path in ["/", "/api/v1/snapshot", "/ws", "/pkg/dashboard.js"] {
        let refused = get(&dashboard, path, &from("cross-site", "no-cors", "image")).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(get(&dashboard, "/", &from("cross-site", "navigate", "document")).await.status(), StatusCode::OK);
    assert_eq!(get(&dashboard, "/health", &from("same-origin", "cors", "empty")).await.status(), StatusCode::OK);
    dashboard.stop().await;
}

#[tokio::test]
async fn sizes_are_limited() {
    let dashboard = TestDashboard::simulation().await;
    let long = "x".repeat(40 << 10);
    let head = get(&dashboard, "/health", &[(COOKIE, long.as_str())]).await;
    assert_eq!(head.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

    let mut stream = TcpStream::connect(dashboard.address).await.unwrap();
    let request = "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon("an answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    dashboard.stop().await;
}

/// On several threads, as in the binary: rendering must not depend on which of them is faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_renders_every_time() {
    let dashboard = TestDashboard::simulation().await;
    let mut page = dashboard.page(None).await;
    page.step().await;
    for _ in 0..25 {
        for path in ["/", "/sessions", "/sessions/unknown", "/history", "/health-report", "/settings"] {
            let response = get(&dashboard, path, &[]).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let html = soon("the whole page", response.text()).await.unwrap();
            assert!(html.contains("</main>"), "{path} has its content");
            assert!(html.contains(" – Dashboard</title>"), "{path} has a title");
        }
    }
    dashboard.stop().await;
}
