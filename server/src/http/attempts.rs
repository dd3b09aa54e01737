//! Slows down who tries tokens: wrong ones are answered later and later, per address, in bounded memory.
//!
//! Only tokens are counted. The cookie of a browser holds 256 random bits, which nobody guesses, and a request without
//! any secret is no attempt.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong tokens of an address that are answered at once: someone mistyped.
const FREE_FAILURES: u32 = 3;
/// Delay of the first answer after those; doubles with every further one.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Longest delay of an answer.
const MAX_DELAY: Duration = Duration::from_secs(8);
/// Answers to one address that may be waiting; while there are as many, its tokens are not looked at.
const WAITING_PER_ADDRESS: u32 = 4;
/// After so long without a wrong token, an address begins anew.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Addresses remembered; beyond, the one that has been quiet for longest is forgotten.
const MAX_ADDRESSES: usize = 1_024;

/// The wrong tokens of each address. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<Mutex<HashMap<IpAddr, Failures>>>);

/// What one address did.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// When the newest was answered, or will be.
    last: Instant,
    /// Answers not sent yet.
    waiting: u32,
}

/// Too many answers to this address are waiting: its token was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Attempts {
    /// Looks at a token offered by `address` with `is_right`; returns whether it is, for wrong ones after a delay.
    pub(super) async fn check(&self, address: IpAddr, is_right: impl FnOnce() -> bool) -> Result<bool, TooMany> {
        let address = network(address);
        let now = Instant::now();
        let delay = {
            let mut all = self.all();
            let before = all.get(&address).copied().filter(|f| f.waiting > 0 || now < f.last + FORGET_AFTER);
            if before.is_some_and(|failures| failures.waiting >= WAITING_PER_ADDRESS) {
                return Err(TooMany);
            }
            if is_right() {
                if before.is_none_or(|failures| failures.waiting == 0) {
                    all.remove(&address);
                }
                return Ok(true);
            }
            let count = before.map_or(0, |failures| failures.count).saturating_add(1);
            let delay = delay(count);
            if before.is_none() && all.len() >= MAX_ADDRESSES {
                let quiet = all.iter().filter(|(_, f)| f.waiting == 0).min_by_key(|(_, f)| f.last).map(|(ip, _)| *ip);
                match quiet {
                    Some(quiet) => all.remove(&quiet),
                    // Every one of them is being answered right now: there is no room to count another.
                    None => return Err(TooMany),
                };
            }
            let waiting = before.map_or(0, |failures| failures.waiting) + 1;
            all.insert(address, Failures { count, last: now + delay, waiting });
            delay
        };
        // Counted down also if the client hangs up meanwhile.
        let _waiting = Waiting { attempts: self, address };
        tokio::time::sleep(delay).await;
        Ok(false)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is being delayed.
struct Waiting<'a> {
    attempts: &'a Attempts,
    address: IpAddr,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(failures) = self.attempts.all().get_mut(&self.address) {
            failures.waiting = failures.waiting.saturating_sub(1);
        }
    }
}

fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_DELAY.saturating_mul(1 << doublings.min(16)).min(MAX_DELAY),
    }
}

/// What counts as one address: of IPv6, the 64 bits that a network is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn seconds(attempts: &Attempts, address: &str) -> f64 {
        let began = Instant::now();
        assert_eq!(attempts.check(ip(address), || false).await, Ok(false));
        began.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_answered_later_and_later() {
        let attempts = Attempts::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(seconds(&attempts, "10.0.0.1").await);
        }
        let expected = [0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0];
        assert!(waits.iter().zip(expected).all(|(wait, expected)| (wait - expected).abs() < 0.01), "{waits:?}");
        assert!(seconds(&attempts, "10.0.0.2").await < 0.01, "others do not wait");
        assert_eq!(attempts.check(ip("10.0.0.1"), || true).now_or_never(), Some(Ok(true)), "nor does a right one");
        assert!(seconds(&attempts, "10.0.0.1").await < 0.01, "which begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn trying_many_at_once_does_not_help() {
        let attempts = Attempts::default();
        for _ in 0..FREE_FAILURES {
            seconds(&attempts, "10.0.0.1").await;
        }
        let mut tries: Vec<_> = (0..10).map(|_| Box::pin(attempts.check(ip("10.0.0.1"), || false))).collect();
        let answered: Vec<_> = tries.iter_mut().map(FutureExt::now_or_never).collect();
        assert_eq!(answered.iter().filter(|answer| answer.is_none()).count(), WAITING_PER_ADDRESS as usize);
        let unseen = attempts.check(ip("10.0.0.1"), || panic!("looked at"));
        assert_eq!(unseen.now_or_never(), Some(Err(TooMany)));
        drop(tries);
        assert_eq!(attempts.check(ip("10.0.0.1"), || true).now_or_never(), Some(Ok(true)), "nobody waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_quiet_addresses_are_forgotten() {
        let attempts = Attempts::default();
        for _ in 0..=FREE_FAILURES {
            seconds(&attempts, "10.9.9.9").await;
        }
        for number in 0..3 * MAX_ADDRESSES as u32 {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(attempts.check(IpAddr::from(number.to_be_bytes()), || false).await, Ok(false));
            assert!(attempts.all().len() <= MAX_ADDRESSES);
        }
        seconds(&attempts, "10.0.0.7").await;
        for _ in 0..=FREE_FAILURES {
            seconds(&attempts, "10.0.0.7").await;
        }
        tokio::time::advance(FORGET_AFTER + MAX_DELAY).await;
        assert!(seconds(&attempts, "10.0.0.7").await < 0.01);
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        assert_eq!(network(ip("2001:db8::1:2:3:4")), network(ip("2001:db8::9:9:9:9")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }
}
