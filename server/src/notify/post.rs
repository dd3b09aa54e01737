//! Posting a notice: the shape each receiver understands, the signature, and what an answer means.
//!
//! The client is hyper-util's with rustls over the system's certificates: hyper and hyper-util serve the page already,
//! so that TLS is all it adds. Redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderValue, Request, StatusCode};
use dashboard_core::level::Level;
use dashboard_core::time::Timestamp;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use serde_json::{Value, json};

use super::Notice;
use super::webhook::{Webhook, WebhookKind};

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// Names a notice to its receiver: the same for every attempt.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// When an attempt was signed, in Unix seconds.
const TIMESTAMP: HeaderName = HeaderName::from_static("x-dashboard-timestamp");
/// `v1=` and HMAC-SHA256 of the timestamp, a dot and the body, in hexadecimal.
const SIGNATURE: HeaderName = HeaderName::from_static("x-dashboard-signature");

/// Why a notice was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be taken later, not before the time given.
    Retry(String, Option<Duration>),
    /// It never will be.
    Refused(String),
}

impl Failure {
    /// What happened, in a few words.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Retry(reason, _) | Self::Refused(reason) => reason,
        }
    }
}

/// Posts notices. Clones share connections.
#[derive(Clone)]
pub(super) struct Poster {
    client: Result<Client<HttpsConnector<HttpConnector>, Body>, Arc<str>>,
    key: Arc<hmac::Key>,
}

impl Poster {
    /// Signs with this secret.
    pub(super) fn new(secret: &str) -> Self {
        let connector = HttpsConnectorBuilder::new().with_native_roots();
        let client = match connector {
            Ok(connector) => {
                let connector = connector.https_or_http().enable_http1().build();
                Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector))
            }
            Err(error) => Err(format!("the system's certificates cannot be read: {error}").into()),
        };
        Self { client, key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())) }
    }

    /// Posts a notice and waits until it is taken.
    ///
    /// # Errors
    /// If it was not.
    pub(super) async fn post(&self, webhook: &Webhook, notice: &Notice, now: Timestamp) -> Result<(), Failure> {
        let client = self.client.as_ref().map_err(|error| Failure::Retry(error.to_string(), None))?;
        let request = self.request(webhook, notice, now).map_err(|error| Failure::Refused(error.to_string()))?;
        let response = match tokio::time::timeout(TIMEOUT, client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                return Err(Failure::Retry(format!("{error}{cause}"), None));
            }
            Err(_) => return Err(Failure::Retry(format!("no answer within {} s", TIMEOUT.as_secs()), None)),
        };
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        judge(response.status(), after.map(Duration::from_secs))
    }

    fn request(&self, webhook: &Webhook, notice: &Notice, now: Timestamp) -> Result<Request<Body>, axum::http::Error> {
        let body = body(webhook.kind, notice);
        let seconds = (now.unix_ms() / 1_000).to_string();
        let mut signed = hmac::Context::with_key(&self.key);
        for part in [seconds.as_bytes(), b".", &body] {
            signed.update(part);
        }
        let signature: String = signed.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut request = Request::post(&webhook.url)
            .header(USER_AGENT, concat!("dashboard/", env!("CARGO_PKG_VERSION")))
            .header(IDEMPOTENCY_KEY, &notice.id);
        request = match webhook.kind {
            WebhookKind::Json => request
                .header(CONTENT_TYPE, "application/json")
                .header(TIMESTAMP, seconds)
                .header(SIGNATURE, format!("v1={signature}")),
            WebhookKind::Slack | WebhookKind::Discord => request.header(CONTENT_TYPE, "application/json"),
            WebhookKind::Ntfy => request
                .header(CONTENT_TYPE, "text/plain; charset=utf-8")
                .header("title", HeaderValue::from_bytes(plain(&notice.title).as_bytes())?)
                .header("priority", priority(notice.alert.level))
                .header("tags", tag(notice.alert.level)),
        };
        request.body(Body::from(body))
    }
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Poster(…)")
    }
}

/// What an answer means: a server that fails, is busy or asks to wait may take it later; any other refusal stands.
fn judge(status: StatusCode, retry_after: Option<Duration>) -> Result<(), Failure> {
    let reason = || format!("answered {status}");
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Retry(reason(), retry_after.map(|after| after.min(MAX_RETRY_AFTER))))
        }
        status if status.is_server_error() => {
            Err(Failure::Retry(reason(), retry_after.map(|after| after.min(MAX_RETRY_AFTER))))
        }
        _ => Err(Failure::Refused(reason())),
    }
}

/// One line of plain text: narrow spaces of figures are ordinary ones.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c }).collect()
}

/// Title, detail and advice, as one text.
fn message(notice: &Notice) -> String {
    let parts = [Some(&notice.detail), notice.recommendation.as_ref()];
    parts.into_iter().flatten().map(|part| plain(part)).collect::<Vec<_>>().join("\n")
}

fn body(kind: WebhookKind, notice: &Notice) -> Bytes {
    let value: Value = match kind {
        WebhookKind::Json => json!({
            "version": 1,
            "id": notice.id,
            "at": notice.at,
            "level": notice.alert.level,
            "condition": notice.alert.condition,
            "title": notice.title,
            "detail": notice.detail,
            "recommendation": notice.recommendation,
        }),
        WebhookKind::Slack => {
            let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({"text": format!("*{}*\n{}", escaped(&plain(&notice.title)), escaped(&message(notice)))})
        }
        WebhookKind::Discord => {
            let escaped = |text: &str| {
                let marks = |c: char| "\\*_~`|>#[]()@".contains(c);
                text.chars().flat_map(|c| marks(c).then_some('\\').into_iter().chain([c])).collect::<String>()
            };
            let content = format!("**{}**\n{}", escaped(&plain(&notice.title)), escaped(&message(notice)));
            json!({"content": content, "allowed_mentions": {"parse": []}})
        }
        WebhookKind::Ntfy => return message(notice).into(),
    };
    value.to_string().into()
}

/// ntfy's scale of 1 to 5.
fn priority(level: Level) -> &'static str {
    match level {
        Level::Healthy | Level::Info => "2",
        Level::Warning => "3",
        Level::Danger => "4",
        Level::Critical => "5",
    }
}

/// The name of an emoji for ntfy.
fn tag(level: Level) -> &'static str {
    match level {
        Level::Healthy | Level::Info => "information_source",
        Level::Warning | Level::Danger => "warning",
        Level::Critical => "rotating_light",
    }
}

#[cfg(test)]
mod tests {
    use dashboard_core::alert::{Alert, Condition};
    use dashboard_core::state::DashboardState;

    use super::*;

    fn notice() -> Notice {
        let condition = Condition::NeedsYou { session: "s".into(), project: "a*b<c>&@everyone".to_owned() };
        let at = Timestamp::parse("2026-09-20T12:00:00Z").unwrap();
        Notice::new(Alert { condition, level: Level::Warning }, &DashboardState::default(), at)
    }

    #[test]
    fn each_receiver_gets_its_shape() {
        let json: Value = serde_json::from_slice(&body(WebhookKind::Json, &notice())).unwrap();
        assert_eq!(json["condition"]["needs_you"]["project"], "a*b<c>&@everyone");
        assert_eq!((&json["level"], &json["id"]), (&json!("warning"), &json!(notice().id)));
        let slack: Value = serde_json::from_slice(&body(WebhookKind::Slack, &notice())).unwrap();
        assert_eq!(
            slack["text"],
            "*A session needs you*\na*b&lt;c&gt;&amp;@everyone waits for an answer\nAnswer it in its terminal."
        );
        let discord: Value = serde_json::from_slice(&body(WebhookKind::Discord, &notice())).unwrap();
        let text = discord["content"].as_str().unwrap();
        assert!(text.starts_with("**A session needs you**\na\\*b<c\\>&\\@everyone"), "{text}");
        assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
        let ntfy = body(WebhookKind::Ntfy, &notice());
        assert!(ntfy.starts_with(b"a*b<c>&@everyone waits"));
    }

    #[test]
    fn the_signature_is_that_of_timestamp_and_body() {
        // printf '1789905600.BODY' | openssl dgst -sha256 -hmac secret
        let poster = Poster::new("secret");
        let webhook: Webhook = "json=http://host/path?x=1".parse().unwrap();
        let now = Timestamp::parse("2026-09-20T12:00:00Z").unwrap();
        let request = poster.request(&webhook, &notice(), now).unwrap();
        let headers = request.headers();
        assert_eq!(headers["x-dashboard-timestamp"], "1789905600");
        assert_eq!(headers["idempotency-key"], notice().id.as_str());
        let mut signed = b"1789905600.".to_vec();
        signed.extend_from_slice(&body(WebhookKind::Json, &notice()));
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), &signed);
        let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(headers["x-dashboard-signature"], format!("v1={expected}").as_str());
        let ntfy = poster.request(&"ntfy=https://ntfy.sh/topic".parse().unwrap(), &notice(), now).unwrap();
        assert_eq!(ntfy.headers()["title"], "A session needs you");
        assert_eq!(ntfy.headers()["priority"], "3");
        assert!(!ntfy.headers().contains_key("x-dashboard-signature"));
    }

    #[test]
    fn an_answer_says_whether_to_try_again() {
        let judged = |code, after| judge(StatusCode::from_u16(code).unwrap(), after);
        assert_eq!(judged(204, None), Ok(()));
        for code in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(judged(code, None), Err(Failure::Retry(_, None))), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 410, 413] {
            assert!(matches!(judged(code, None), Err(Failure::Refused(_))), "{code}");
        }
        let day = Some(Duration::from_secs(86_400));
        let Err(Failure::Retry(_, after)) = judged(429, day) else { panic!() };
        assert_eq!(after, Some(MAX_RETRY_AFTER));
    }
}
