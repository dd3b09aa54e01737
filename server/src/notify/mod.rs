//! Who hears of an alert, besides the page: the desktop, the terminal, webhooks.
//!
//! The engine leaves what is due in an [`Inbox`], which never makes it wait. The task [`run`] puts notices for webhooks
//! into their [queue](queue), keeps what was [told](memory), and only then delivers, so that a crash in between repeats
//! a notice, with the same id, and loses none. Each webhook has one request under way at most; one that fails is tried
//! again after a while that doubles, up to [`MAX_BACKOFF`].

mod desktop;
mod memory;
mod post;
mod queue;
mod secret;
mod webhook;

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashboard_core::alert::{Alert, AlertMemory, Occasion, words};
use dashboard_core::event::HealthStatus;
use dashboard_core::state::DashboardState;
use dashboard_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use self::post::{Failure, Poster};
use self::queue::{Queue, WebhookId};
use crate::clock;
use crate::health::{DashboardHealth, Part};
use crate::settings::Resolved;

pub use secret::secret_file;
pub use webhook::{BadWebhook, Webhook, WebhookKind, Webhooks};

/// Notices that wait for the task; beyond, the oldest goes.
const MAX_WAITING: usize = 100;
/// The first wait before a webhook is tried again; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait before a webhook is tried again, unless its receiver asks for more.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// How alerts reach the user besides the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// As notifications of the desktop.
    pub desktop: bool,
    /// By the bell of the terminal in which the dashboard runs.
    pub bell: bool,
    /// By posting to these addresses.
    pub webhooks: Webhooks,
}

/// An alert, worded for those who are not shown the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Tells notices apart: a repeat of the same has the same one, also after a restart.
    pub id: String,
    /// When it was found.
    pub at: Timestamp,
    /// What is so.
    pub alert: Alert,
    /// In a few words.
    pub title: String,
    /// Where, and how much.
    pub detail: String,
    /// What to do; none where waiting is all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<String>,
}

impl Notice {
    /// An alert found in `state` at `now`.
    pub fn new(alert: Alert, state: &DashboardState, now: Timestamp) -> Self {
        Self {
            id: id(&alert, now),
            at: now,
            title: words::title(&alert),
            detail: words::detail(&alert, state, now),
            recommendation: words::recommendation(&alert).map(str::to_owned),
            alert,
        }
    }
}

/// The same for what is the same news: subject, occasion and level. What lasts has no occasion but its beginning.
fn id(alert: &Alert, now: Timestamp) -> String {
    let (subject, occasion) = (alert.condition.subject(), alert.condition.occasion());
    let since = (occasion == Occasion::WhileItLasts).then_some(now);
    let parts = serde_json::to_string(&(subject, occasion, alert.urgency(), since)).unwrap_or_default();
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(parts.as_bytes()))
}

/// Where the engine leaves what is to be kept and delivered. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The newest, if it has to be kept.
    memory: Option<AlertMemory>,
    notices: VecDeque<Notice>,
    /// Notices that found no room.
    dropped: u64,
}

impl Inbox {
    /// Leaves what was told until now, and what of it is to be delivered.
    pub fn leave(&self, memory: AlertMemory, notices: impl IntoIterator<Item = Notice>) {
        {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.memory = Some(memory);
            waiting.notices.extend(notices);
            let excess = waiting.notices.len().saturating_sub(MAX_WAITING);
            waiting.notices.drain(..excess);
            waiting.dropped += excess as u64;
        }
        self.0.arrived.notify_one();
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was told in earlier runs.
pub fn recall(data_dir: &Path) -> AlertMemory {
    memory::load(data_dir)
}

/// Delivers a notice to everybody at once, without a queue. What became of it, by channel: `Err` says why not.
pub async fn try_all(
    delivery: &Delivery,
    data_dir: Option<&Path>,
    notice: &Notice,
) -> Vec<(String, Result<(), String>)> {
    let mut results = Vec::new();
    if delivery.desktop {
        let shown = notice.clone();
        let result = spawn_blocking(move || desktop::show(&shown)).await.map_err(|error| error.to_string()).flatten();
        results.push(("desktop".to_owned(), result));
    }
    if delivery.bell {
        results.push(("bell".to_owned(), ring(notice)));
    }
    if !delivery.webhooks.0.is_empty() {
        let poster = Poster::new(&secret::of(data_dir));
        for webhook in &delivery.webhooks.0 {
            let result = poster.post(webhook, notice, clock::wall()).await;
            results.push((webhook.shown(), result.map_err(|failure| failure.reason().to_owned())));
        }
    }
    results
}

/// Rings the bell of the terminal, and says why.
fn ring(notice: &Notice) -> Result<(), String> {
    let mut terminal = std::io::stderr();
    if !terminal.is_terminal() {
        return Err("the dashboard does not run in a terminal".to_owned());
    }
    let line = format!("\u{7}{}: {}\n", post::plain(&notice.title), post::plain(&notice.detail));
    terminal.write_all(line.as_bytes()).map_err(|error| error.to_string())
}

/// A webhook at work.
#[derive(Debug)]
struct Receiver {
    webhook: Webhook,
    /// Attempts since the last that was taken or refused.
    failures: u32,
    /// Not before.
    next: Instant,
    under_way: bool,
    /// What went wrong last, until something is taken.
    problem: Option<String>,
}

impl Receiver {
    fn new(webhook: Webhook) -> Self {
        Self { webhook, failures: 0, next: Instant::now(), under_way: false, problem: None }
    }
}

/// What became of an attempt.
type Attempt = (WebhookId, String, Result<(), Failure>);

/// The task that delivers.
struct Notifier {
    data_dir: Option<PathBuf>,
    health: DashboardHealth,
    delivery: Delivery,
    queue: Queue,
    receivers: BTreeMap<WebhookId, Receiver>,
    poster: Option<Poster>,
    attempts: JoinSet<Attempt>,
    /// What is not kept, and why.
    unkept: Option<String>,
    /// What went wrong with desktop or bell last.
    problem: Option<String>,
    told: u64,
}

/// Keeps and delivers what is left in the inbox, for as long as it is polled.
pub async fn run(
    inbox: Inbox,
    mut settings: watch::Receiver<Arc<Resolved>>,
    data_dir: Option<PathBuf>,
    health: DashboardHealth,
) {
    let queue = {
        let dir = data_dir.clone();
        spawn_blocking(move || Queue::load(dir.as_deref())).await.unwrap_or_default()
    };
    let mut notifier = Notifier {
        data_dir,
        health,
        delivery: Delivery::default(),
        queue,
        receivers: BTreeMap::new(),
        poster: None,
        attempts: JoinSet::new(),
        unkept: None,
        problem: None,
        told: 0,
    };
    notifier.adopt(&settings.borrow_and_update().values.delivery.clone());
    loop {
        notifier.attempt();
        notifier.report();
        let due = notifier.due();
        let wait = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = inbox.0.arrived.notified() => notifier.take(inbox.take()).await,
            Ok(()) = settings.changed() => {
                let delivery = settings.borrow_and_update().values.delivery.clone();
                notifier.adopt(&delivery);
                notifier.keep_queue().await;
            }
            Some(Ok(attempt)) = notifier.attempts.join_next() => notifier.settle(attempt).await,
            () = wait => {}
        }
    }
}

impl Notifier {
    /// Delivers to these from now on.
    fn adopt(&mut self, delivery: &Delivery) {
        self.delivery.clone_from(delivery);
        let wanted: BTreeMap<WebhookId, Webhook> =
            delivery.webhooks.0.iter().map(|webhook| (WebhookId::of(webhook), webhook.clone())).collect();
        self.receivers.retain(|id, _| wanted.contains_key(id));
        for (id, webhook) in wanted {
            self.receivers.entry(id).or_insert_with(|| Receiver::new(webhook));
        }
        if self.poster.is_none() && !self.receivers.is_empty() {
            self.poster = Some(Poster::new(&secret::of(self.data_dir.as_deref())));
        }
        self.prune();
    }

    fn prune(&mut self) {
        let known: Vec<WebhookId> = self.receivers.keys().cloned().collect();
        self.queue.prune(&known, clock::wall());
    }

    /// Queues, keeps, and then shows what arrived.
    async fn take(&mut self, waiting: Waiting) {
        let Waiting { memory, notices, dropped } = waiting;
        if dropped > 0 {
            tracing::warn!(dropped, "alerts were not delivered: too many at once");
        }
        for notice in &notices {
            self.receivers.keys().for_each(|id| self.queue.push(id, notice.clone()));
        }
        if !notices.is_empty() && !self.receivers.is_empty() {
            self.prune();
            self.keep_queue().await;
        }
        if let Some((dir, memory)) = self.data_dir.clone().zip(memory) {
            let saved = spawn_blocking(move || memory::save(&dir, &memory)).await;
            self.unkept = saved.map_err(std::io::Error::other).flatten().err().map(|error| error.to_string());
        }
        for notice in notices {
            self.told += 1;
            if self.delivery.bell {
                self.problem = ring(&notice).err().map(|error| format!("bell: {error}"));
            }
            if self.delivery.desktop {
                let shown = spawn_blocking(move || desktop::show(&notice)).await;
                let shown = shown.map_err(|error| error.to_string()).flatten();
                self.problem = shown.err().map(|error| format!("desktop: {error}"));
            }
        }
    }

    async fn keep_queue(&mut self) {
        if let Some(write) = self.queue.writer() {
            let written = spawn_blocking(write).await.map_err(std::io::Error::other).flatten();
            self.unkept = written.err().map(|error| error.to_string());
        }
    }

    /// Starts what is due: one request for each webhook that has something waiting.
    fn attempt(&mut self) {
        let Some(poster) = &self.poster else { return };
        let now = Instant::now();
        for (id, receiver) in self.receivers.iter_mut().filter(|(_, it)| !it.under_way && it.next <= now) {
            let Some(notice) = self.queue.front(id).cloned() else { continue };
            receiver.under_way = true;
            let (poster, webhook, id) = (poster.clone(), receiver.webhook.clone(), id.clone());
            self.attempts.spawn(async move {
                let result = poster.post(&webhook, &notice, clock::wall()).await;
                (id, notice.id, result)
            });
        }
    }

    /// When something is due that waits for time alone.
    fn due(&self) -> Option<Instant> {
        let waits =
            |(id, it): (&WebhookId, &Receiver)| (!it.under_way && self.queue.front(id).is_some()).then_some(it.next);
        self.receivers.iter().filter_map(waits).min()
    }

    /// Takes what became of an attempt.
    async fn settle(&mut self, (id, notice, result): Attempt) {
        let Some(receiver) = self.receivers.get_mut(&id) else { return };
        receiver.under_way = false;
        receiver.problem = result.as_ref().err().map(|failure| failure.reason().to_owned());
        match result {
            Err(Failure::Retry(reason, after)) => {
                receiver.failures += 1;
                receiver.next = Instant::now() + backoff(receiver.failures, after, jitter());
                tracing::info!(
                    webhook = receiver.webhook.shown(),
                    failures = receiver.failures,
                    reason,
                    "not delivered yet"
                );
                self.prune();
            }
            taken_or_refused => {
                if let Err(failure) = taken_or_refused {
                    tracing::warn!(
                        webhook = receiver.webhook.shown(),
                        reason = failure.reason(),
                        "a notice was refused"
                    );
                }
                receiver.failures = 0;
                receiver.next = Instant::now();
                self.queue.remove(&id, &notice);
                self.keep_queue().await;
            }
        }
    }

    fn report(&self) {
        let failing: Vec<String> = self
            .receivers
            .values()
            .filter_map(|it| Some(format!("{}: {}", it.webhook.shown(), it.problem.as_deref()?)))
            .chain(self.problem.clone())
            .chain(self.unkept.as_ref().map(|error| format!("what was told is not kept: {error}; alerts may repeat")))
            .collect();
        let channels = self.receivers.len() + usize::from(self.delivery.desktop) + usize::from(self.delivery.bell);
        let mut message = match channels {
            0 => format!("{} told, on the page only", self.told),
            _ => format!("{} told, {} waiting", self.told, self.queue.len()),
        };
        if self.queue.dropped() > 0 {
            message += &format!(", {} dropped because they waited too long", self.queue.dropped());
        }
        if failing.is_empty() {
            self.health.report(Part::Alerts, HealthStatus::Healthy, message);
        } else {
            let message = format!("{message}; {}", failing.join("; "));
            self.health.report(Part::Alerts, HealthStatus::Degraded, message);
        }
    }
}

/// How long to wait after so many failures: doubled each time, and somewhere in the upper half of it, so that receivers
/// that come back are not met by everybody at once; what the receiver asks for is the least. `chance` is 0 to 1.
fn backoff(failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let whole = FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_BACKOFF);
    asked.unwrap_or_default().max(whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0)))
}

/// A number of 0 to 1 that nobody can foresee; in the middle, if the system has none.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_never_shorter_than_asked() {
        let seconds = |failures, chance| backoff(failures, None, chance).as_secs_f64();
        assert_eq!([1, 2, 3].map(|failures| seconds(failures, 1.0)), [1.0, 2.0, 4.0]);
        assert_eq!([1, 2, 3].map(|failures| seconds(failures, 0.0)), [0.5, 1.0, 2.0]);
        assert_eq!([9, 10, 100, u32::MAX].map(|failures| seconds(failures, 1.0)), [256.0, 300.0, 300.0, 300.0]);
        assert_eq!(backoff(1, Some(Duration::from_secs(7)), 1.0), Duration::from_secs(7));
        assert!((0.0..=1.0).contains(&jitter()));
    }

    #[test]
    fn the_same_news_has_the_same_id() {
        use dashboard_core::alert::Condition;
        use dashboard_core::level::Level;
        let limit = |percent, level| Alert {
            condition: Condition::LimitNear {
                limit: "codex/300".parse().unwrap(),
                percent: Some(percent),
                resets_at: Some(Timestamp::from_unix_ms(9)),
            },
            level,
        };
        let at = Timestamp::from_unix_ms;
        let warning = id(&limit(81.0, Level::Warning), at(1));
        assert_eq!(warning, id(&limit(82.0, Level::Warning), at(2)));
        assert_ne!(warning, id(&limit(91.0, Level::Danger), at(2)));
        let waits = Alert {
            condition: Condition::NeedsYou { session: "s".into(), project: "p".to_owned() },
            level: Level::Warning,
        };
        assert_ne!(id(&waits, at(1)), id(&waits, at(2)), "another question");
    }
}
