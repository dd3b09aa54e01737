//! Watches the tasks of a running dashboard: none of them ends by itself unless something is wrong.
//!
//! A task that returns or panics while the dashboard is not being stopped makes its part unhealthy for good, is logged,
//! and is handed to whoever waits for [`Supervisor::ended`], which stops the dashboard. Nothing is restarted: a task that
//! panicked may have left the figures half changed, and the next start reads everything from the store and the files.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::health::{DashboardHealth, Part};

/// A task ended although the dashboard was not being stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the dashboard, {}, ended by itself: {reason}; start it again, and please report it", part.as_str())]
pub struct PartEnded {
    /// The part the task belonged to.
    pub part: Part,
    /// What happened. Never a panic's message, which may quote a transcript.
    pub reason: String,
}

/// See the [module's description](self).
#[derive(Debug)]
pub(crate) struct Supervisor {
    watcher: Watcher,
    tasks: JoinSet<()>,
}

/// What each watched task reports to.
#[derive(Clone, Debug)]
struct Watcher {
    health: DashboardHealth,
    /// Set once, when the dashboard is being stopped: from then on tasks may end.
    stopping: Arc<AtomicBool>,
    /// The first task that ended. Others that end because of it are in health and log only.
    first: watch::Sender<Option<PartEnded>>,
}

impl Watcher {
    async fn watch(self, part: Part, task: impl Future<Output = Result<(), String>>) {
        let reason = match AssertUnwindSafe(task).catch_unwind().await {
            _ if self.stopping.load(Ordering::Relaxed) => return,
            Ok(Ok(())) => "it returned".to_owned(),
            Ok(Err(error)) => error,
            Err(_) => "it panicked".to_owned(),
        };
        let ended = PartEnded { part, reason };
        tracing::error!(part = part.as_str(), reason = ended.reason, "a part of the dashboard ended by itself");
        self.health.end(part, ended.to_string());
        self.first.send_if_modified(|first| first.is_none() && first.replace(ended).is_none());
    }
}

impl Supervisor {
    /// A supervisor of no tasks yet, which reports to `health`.
    pub(crate) fn new(health: DashboardHealth) -> Self {
        let watcher = Watcher { health, stopping: Arc::default(), first: watch::Sender::new(None) };
        Self { watcher, tasks: JoinSet::new() }
    }

    /// Starts a task that runs until the dashboard is stopped.
    pub(crate) fn spawn(&mut self, part: Part, task: impl Future<Output = Result<(), String>> + Send + 'static) {
        self.tasks.spawn(self.watch(part, task));
    }

    /// The same for a task that the caller starts, and that finishes something when the dashboard is stopped.
    pub(crate) fn watch(
        &self,
        part: Part,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.watcher.clone().watch(part, task)
    }

    /// Waits until a task has ended by itself; the first that did. May be dropped and called again.
    pub(crate) async fn ended(&self) -> PartEnded {
        let mut first = self.watcher.first.subscribe();
        match first.wait_for(Option::is_some).await.map(|first| first.clone()) {
            Ok(Some(ended)) => ended,
            // Not reached: the sender is here, and it waited for one.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// From now on tasks may end.
    pub(crate) fn begin_stop(&self) {
        self.watcher.stopping.store(true, Ordering::Relaxed);
    }

    /// Drops what [`Supervisor::spawn`] started, and waits until it is dropped.
    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use dashboard_core::event::HealthStatus;

    use super::*;

    /// A supervisor of an engine that runs and of a `part` that does this.
    fn supervisor(
        part: Part,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> (Supervisor, DashboardHealth) {
        let health = DashboardHealth::default();
        let mut supervisor = Supervisor::new(health.clone());
        supervisor.spawn(Part::Engine, pending());
        supervisor.spawn(part, task);
        (supervisor, health)
    }

    #[tokio::test]
    async fn a_task_that_ends_is_named_with_what_happened() {
        async fn panics() -> Result<(), String> {
            panic!("words of a conversation")
        }
        let ends = [
            (supervisor(Part::Transcripts, ready(Err("no thread".to_owned()))), "no thread"),
            (supervisor(Part::Transcripts, ready(Ok(()))), "it returned"),
            (supervisor(Part::Transcripts, panics()), "it panicked"),
        ];
        for ((supervisor, health), reason) in ends {
            let ended = supervisor.ended().await;
            assert_eq!((ended.part, ended.reason.as_str()), (Part::Transcripts, reason));
            let check = health.check();
            assert_eq!(check.status, HealthStatus::Unhealthy);
            assert_eq!(check.components["transcripts"].message, ended.to_string());
            assert_eq!(supervisor.ended().await, ended, "whoever asks later is told too");
            supervisor.stop().await;
        }
    }

    #[tokio::test]
    async fn what_ends_because_of_the_first_is_in_health_only() {
        let (mut supervisor, health) = supervisor(Part::Engine, ready(Err("first".to_owned())));
        let ended = supervisor.ended().await;
        supervisor.spawn(Part::Transcripts, ready(Ok(())));
        while !health.check().components.contains_key("transcripts") {
            tokio::task::yield_now().await;
        }
        assert_eq!(supervisor.ended().await, ended);
    }

    #[tokio::test]
    async fn a_task_that_ends_while_stopping_is_well() {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (supervisor, health) = supervisor(Part::Transcripts, pending());
        let finishing = tokio::spawn(supervisor.watch(Part::Http, stopped.map(|_| Ok(()))));
        supervisor.begin_stop();
        stop.send(()).unwrap();
        finishing.await.unwrap();
        supervisor.stop().await;
        assert_eq!(health.check().status, HealthStatus::Healthy);
    }
}
