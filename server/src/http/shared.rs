//! Answers under way, shared by all who ask the same of the same state.
//!
//! A report over a long history takes a moment and many bytes. However many ask for it at once, it is made once, and
//! they get the same bytes. Nothing is kept when the last one has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::Bytes;
use tokio::sync::OnceCell;

/// The answers under way, by what was asked. Clones share them.
///
/// `K` has to name everything the answer depends on, the version of the state included.
#[derive(Debug)]
pub(super) struct Shared<K>(Arc<Mutex<UnderWay<K>>>);

type UnderWay<K> = BTreeMap<K, Weak<OnceCell<Bytes>>>;

impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Shared<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone> Shared<K> {
    /// The answer to `question`: that of whoever is making it already, else what `make` makes. If making it fails or is
    /// given up, the next one who waits makes it.
    pub(super) async fn get<E>(&self, question: K, make: impl Future<Output = Result<Bytes, E>>) -> Result<Bytes, E> {
        let cell = {
            let mut under_way = self.under_way();
            let known = under_way.get(&question).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let cell = Arc::default();
                under_way.insert(question.clone(), Arc::downgrade(&cell));
                cell
            })
        };
        let waiting = Waiting { shared: self, question, cell: Some(cell) };
        let Some(cell) = &waiting.cell else { return make.await };
        cell.get_or_try_init(|| make).await.cloned()
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Someone who waits for an answer. The last one clears it away, also if it was given up.
struct Waiting<'a, K: Ord + Clone> {
    shared: &'a Shared<K>,
    question: K,
    /// Taken when dropped.
    cell: Option<Arc<OnceCell<Bytes>>>,
}

impl<K: Ord + Clone> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        let mut under_way = self.shared.under_way();
        self.cell = None;
        if under_way.get(&self.question).is_some_and(|cell| cell.strong_count() == 0) {
            under_way.remove(&self.question);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_the_same_at_once_gets_the_same_bytes() {
        let (shared, made) = (Shared::default(), Cell::new(0));
        let ask = |question: &'static str| {
            let (shared, made) = (&shared, &made);
            async move {
                let make = async {
                    made.set(made.get() + 1);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok::<_, ()>(Bytes::from(question.repeat(1_000)))
                };
                shared.get(question, make).await.unwrap()
            }
        };
        let answers = join_all((0..1_000).map(|i| ask(if i % 2 == 0 { "totals 7" } else { "totals 8" }))).await;
        assert_eq!(made.get(), 2);
        assert!(answers.iter().step_by(2).all(|answer| answer.as_ptr() == answers[0].as_ptr()), "not copied");
        assert_ne!(answers[0], answers[1]);
        assert!(shared.under_way().is_empty(), "nothing is kept");
        ask("totals 7").await;
        assert_eq!(made.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_or_a_client_that_left_fails_nobody_else() {
        let shared = Shared::<u8>::default();
        let mut leaves = Box::pin(shared.get(1, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, &str>(Bytes::from_static(b"never"))
        }));
        assert!(leaves.as_mut().now_or_never().is_none());
        let mut stays = Box::pin(shared.get(1, async { Ok::<_, &str>(Bytes::from_static(b"made")) }));
        assert!(stays.as_mut().now_or_never().is_none(), "it waits for the first");
        drop(leaves);
        assert_eq!(stays.await, Ok(Bytes::from_static(b"made")));
        assert_eq!(shared.get(1, async { Err("broken") }).await, Err("broken"));
        assert_eq!(shared.get(1, async { Ok::<_, &str>(Bytes::new()) }).await, Ok(Bytes::new()));
        assert!(shared.under_way().is_empty());
    }
}
