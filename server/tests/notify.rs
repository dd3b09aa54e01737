//! Alerts on their way out: a receiver that fails in every way, and gets everything in the end, once by its keys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use server::clock;
use server::manager::{History, Source};
use server::source::roots::{self, ConfiguredRoots, Environment};
use support::{TestDashboard, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Takes it.
    Take,
    /// Answers 500.
    Fail,
    /// Reads it and closes without an answer.
    Hang,
    /// Reads it and never answers.
    Stall,
}

/// A request as it came: its head in small letters, and its body.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: Value,
    act: Act,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    fn key(&self) -> String {
        self.header("idempotency-key").to_owned()
    }
}

/// A receiver of webhooks that follows a script and then takes everything.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    running: JoinHandle<()>,
}

impl Receiver {
    async fn start(address: Option<SocketAddr>, script: &[Act]) -> Self {
        let address = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener: TcpListener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, shared) = (script.to_vec(), Arc::clone(&seen));
        let running = tokio::spawn(async move {
            let mut script = script.into_iter();
            let mut stalled = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some((head, body)) = request(&mut stream).await else { continue };
                let act = script.next().unwrap_or(Act::Take);
                shared.lock().unwrap().push(Seen { head, body, act });
                let answer = match act {
                    Act::Take => "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
                    Act::Fail => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    Act::Hang => continue,
                    Act::Stall => {
                        stalled.push(stream);
                        continue;
                    }
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, seen, running }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        soon(what, async {
            loop {
                let seen = self.seen();
                if wanted(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    fn die(self) -> SocketAddr {
        self.running.abort();
        self.address
    }
}

/// Reads one request whole.
async fn request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok().filter(|&count| count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if body.len() == length.parse::<usize>().unwrap() {
            return Some((head, serde_json::from_str(body).unwrap()));
        }
    }
}

/// Writes a rollout in which Codex states a share of its five-hour limit.
fn state_limit(home: &Path, percent: f64) {
    let now = clock::wall();
    let resets_at = now.unix_ms() / 1_000 + 3 * 3_600;
    let usage = json!({"input_tokens": 10, "cached_input_tokens": 0, "output_tokens": 5, "reasoning_output_tokens": 0, "total_tokens": 15});
    let info = json!({"total_token_usage": usage, "last_token_usage": usage, "model_context_window": 258_400});
    let limits = json!({"primary": {"used_percent": percent, "window_minutes": 300, "resets_at": resets_at}});
    let payload = json!({"type": "token_count", "info": info, "rate_limits": limits});
    let meta = json!({"timestamp": now.to_string(), "type": "session_meta", "payload": {"id": "c1", "cwd": "/home/ada/engine"}});
    let line = json!({"timestamp": now.to_string(), "type": "event_msg", "payload": payload});
    let dir = home.join("codex/sessions/2026/09/20");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("rollout-2026-09-20T10-00-00-c1.jsonl"), format!("{meta}\n{line}\n")).unwrap();
}

async fn start(home: &Path) -> TestDashboard {
    let codex = home.join("codex");
    let roots = roots::find(&ConfiguredRoots::new(&[home.join("claude")], Some(&codex)), &Environment::default());
    let history = Some(History { dir: home.join("data"), retention_days: None });
    let source = Source::Live { roots, plan: None, history };
    let settings = server::settings::SettingsSource::new(&Default::default(), Some(&home.join("data")));
    TestDashboard::start_with(source, None, settings).await
}

async fn json_of(dashboard: &TestDashboard, path: &str) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    soon("an answer", client.get(dashboard.url(path)).send()).await.unwrap().json().await.unwrap()
}

/// Waits until the dashboard has numbered events and knows the limit at this level.
async fn wait_for_level(dashboard: &TestDashboard, level: &str) {
    soon(level, async {
        loop {
            let alerts = json_of(dashboard, "/api/v1/alerts").await;
            let is_it = |alert: &Value| alert["subject"] == json!({"limit": "codex/300"}) && alert["level"] == level;
            if alerts["alerts"].as_array().unwrap().iter().any(is_it) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn set(dashboard: &TestDashboard, settings: Value) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.put(dashboard.url("/api/v1/settings")).json(&settings);
    let response = soon("an answer", request.send()).await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn levels(seen: &[Seen]) -> Vec<&str> {
    let taken = seen.iter().filter(|it| it.act == Act::Take && it.body["condition"]["limit_near"].is_object());
    taken.map(|it| it.body["level"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_in_every_way_gets_everything_in_the_end() {
    let home = tempfile::tempdir().unwrap();
    state_limit(home.path(), 10.0);
    let receiver = Receiver::start(None, &[Act::Fail, Act::Hang, Act::Stall]).await;
    let dashboard = start(home.path()).await;
    let (status, problem) = set(&dashboard, json!({"webhook": "json=file:///etc/passwd"})).await;
    assert_eq!((status, &problem["error"]), (StatusCode::BAD_REQUEST, &json!("bad_value")));
    let (status, answer) =
        set(&dashboard, json!({"webhook": format!("json=http://{}/in?key=secret", receiver.address)})).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!answer.to_string().contains("secret"), "{answer}");
    // The dashboard knows the limit before it becomes news.
    soon("the limit", async {
        while json_of(&dashboard, "/api/v1/snapshot").await["state"]["limits"]["codex/300"].is_null() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;

    state_limit(home.path(), 81.0);
    let seen = receiver.until("three attempts", |seen| seen.len() == 3).await;
    assert_eq!(seen.iter().map(|it| it.act).collect::<Vec<_>>(), [Act::Fail, Act::Hang, Act::Stall]);
    let keys: BTreeSet<String> = seen.iter().map(Seen::key).collect();
    assert_eq!(keys.len(), 1, "a repeat carries the same key");
    assert!(seen.iter().all(|it| it.body == seen[0].body));
    assert!(seen[0].head.starts_with("post /in?key=secret "), "{}", seen[0].head);
    // More news while the receiver is away: it dies, and so does the dashboard.
    let address = receiver.die();
    state_limit(home.path(), 91.0);
    wait_for_level(&dashboard, "danger").await;
    soon("the failure in health", async {
        while json_of(&dashboard, "/health").await["components"]["alerts"]["status"] != "degraded" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let health = json_of(&dashboard, "/health").await.to_string();
    assert!(!health.contains("secret"), "{health}");
    soon("the queue on the disk", async {
        let kept = || fs::read_to_string(home.path().join("data/deliveries.json")).unwrap_or_default();
        while !(kept().contains("\"danger\"") && kept().contains("\"warning\"")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    dashboard.stop().await;

    let receiver = Receiver::start(Some(address), &[]).await;
    let dashboard = start(home.path()).await;
    let first = receiver.until("what was queued", |seen| levels(seen).len() == 2).await;
    assert_eq!(levels(&first), ["warning", "danger"], "in order");
    let again = first.iter().find(|it| it.body["level"] == "warning" && it.body["condition"]["limit_near"].is_object());
    assert_eq!(Some(&again.unwrap().key()), keys.first(), "the key outlives the process");
    wait_for_level(&dashboard, "danger").await;
    state_limit(home.path(), 96.0);
    let seen = receiver.until("what is new", |seen| levels(seen).contains(&"critical")).await;
    assert_eq!(levels(&seen), ["warning", "danger", "critical"], "nothing twice after the restart");
    soon("an empty queue", async {
        while fs::read_to_string(home.path().join("data/deliveries.json")).unwrap() != "{}" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;

    let secret = fs::read_to_string(home.path().join("data/webhook-secret")).unwrap();
    let last = seen.last().unwrap();
    let signed = format!("{}.{}", last.header("x-dashboard-timestamp"), last.body);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let expected: String =
        ring::hmac::sign(&key, signed.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(last.header("x-dashboard-signature"), format!("v1={expected}"));
    dashboard.stop().await;
}
