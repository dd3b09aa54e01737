//! Where alerts are sent: addresses, each with the shape its receiver understands.

use std::fmt;
use std::str::FromStr;

use axum::http::Uri;

/// Most webhooks.
const MAX_WEBHOOKS: usize = 10;
/// Longest address, in bytes.
const MAX_URL: usize = 2_000;

/// What a receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WebhookKind {
    /// Our own JSON, signed.
    Json,
    /// An incoming webhook of Slack, or of what speaks like it.
    Slack,
    /// A webhook of Discord.
    Discord,
    /// A topic of ntfy.
    Ntfy,
}

impl WebhookKind {
    const ALL: [Self; 4] = [Self::Json, Self::Slack, Self::Discord, Self::Ntfy];

    /// The word of options and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Ntfy => "ntfy",
        }
    }
}

/// An address that alerts are sent to, as text `KIND=URL`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Webhook {
    /// What its receiver understands.
    pub kind: WebhookKind,
    /// Where it is. Whoever knows it can post there.
    pub url: Uri,
}

/// A text that is no webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhook {
    /// It has no kind that is known.
    #[error("allowed: KIND=URL, with json, slack, discord or ntfy as KIND")]
    Kind,
    /// It is no address that something can be sent to.
    #[error("allowed: a URL that begins with https:// or http:// and names a host; a name and password in it are not")]
    Url,
    /// There are too many.
    #[error("allowed: at most {MAX_WEBHOOKS} webhooks")]
    TooMany,
}

impl Webhook {
    /// Without the part that is secret.
    pub fn shown(&self) -> String {
        let host = self.url.authority().map(ToString::to_string).unwrap_or_default();
        format!("{}={}://{host}/…", self.kind.as_str(), self.url.scheme_str().unwrap_or_default())
    }
}

impl FromStr for Webhook {
    type Err = BadWebhook;

    fn from_str(text: &str) -> Result<Self, BadWebhook> {
        let (kind, url) = text.split_once('=').ok_or(BadWebhook::Kind)?;
        let kind = WebhookKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(BadWebhook::Kind)?;
        // A URL of our own answers has dots for its secret part.
        let plain = url.len() <= MAX_URL && url.bytes().all(|byte| byte.is_ascii_graphic());
        let url: Uri = url.parse().ok().filter(|_| plain).ok_or(BadWebhook::Url)?;
        let is_web = matches!(url.scheme_str(), Some("http" | "https"));
        let names_host = url.authority().is_some_and(|it| !it.host().is_empty() && !it.as_str().contains('@'));
        if is_web && names_host { Ok(Self { kind, url }) } else { Err(BadWebhook::Url) }
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind.as_str(), self.url)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// All of them, as text separated by spaces, or `off`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhooks(pub Vec<Webhook>);

impl Webhooks {
    /// Without what is secret.
    pub fn shown(&self) -> String {
        let shown: Vec<String> = self.0.iter().map(Webhook::shown).collect();
        if shown.is_empty() { "off".to_owned() } else { shown.join(" ") }
    }
}

impl FromStr for Webhooks {
    type Err = BadWebhook;

    fn from_str(text: &str) -> Result<Self, BadWebhook> {
        let texts = text.split_whitespace().filter(|text| *text != "off");
        let mut webhooks: Vec<Webhook> = texts.map(str::parse).collect::<Result<_, _>>()?;
        let mut seen = std::collections::HashSet::new();
        webhooks.retain(|webhook| seen.insert(webhook.clone()));
        if webhooks.len() > MAX_WEBHOOKS { Err(BadWebhook::TooMany) } else { Ok(Self(webhooks)) }
    }
}

impl fmt::Display for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(if texts.is_empty() { "off" } else { "" })?;
        f.write_str(&texts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secret() {
        let text = "slack=https://hooks.slack.com/services/T0/B0/secret json=http://127.0.0.1:9/in?key=secret";
        let webhooks: Webhooks = text.parse().unwrap();
        assert_eq!(webhooks.to_string(), text);
        assert_eq!(webhooks.shown(), "slack=https://hooks.slack.com/… json=http://127.0.0.1:9/…");
        assert!(!format!("{webhooks:?}").contains("secret"));
        assert!(webhooks.shown().parse::<Webhooks>().is_err(), "what is shown is no address");
        assert_eq!("off".parse(), Ok(Webhooks::default()));
        assert_eq!(Webhooks::default().to_string(), "off");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "https://example.org",
            "teams=https://example.org",
            "json=example.org",
            "json=/etc/passwd",
            "json=file:///etc/passwd",
            "json=ftp://example.org/",
            "json=http://",
            "json=https://ada:pw@example.org/",
            "json=",
        ] {
            assert!(text.parse::<Webhook>().is_err(), "{text}");
        }
        let many: Vec<String> = (0..11).map(|number| format!("json=http://host{number}/")).collect();
        assert_eq!(many.join(" ").parse::<Webhooks>(), Err(BadWebhook::TooMany));
        let twice = "json=http://a/ json=http://a/".parse::<Webhooks>().unwrap();
        assert_eq!(twice.0.len(), 1);
    }
}
