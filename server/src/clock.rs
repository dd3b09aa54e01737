//! What time the data says it is: the wall clock for real sessions, a clock that may run faster for
//! simulated ones. The only place in the server that asks the system for the date.

use std::time::{SystemTime, UNIX_EPOCH};

use dashboard_core::time::Timestamp;
use tokio::time::Instant;

/// The data's clock.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's.
    Wall,
    /// Began at `start` when the machine's steady clock was at `since`, and runs `speed` times as fast.
    Virtual {
        /// The first instant.
        start: Timestamp,
        /// When that was.
        since: Instant,
        /// Seconds of data per second.
        speed: f64,
    },
}

impl Clock {
    /// The present instant of the data.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Wall => wall(),
            Self::Virtual { start, since, speed } => {
                // Milliseconds of a run stay far below 2^53.
                #[allow(clippy::cast_possible_truncation)]
                let elapsed_ms = (since.elapsed().as_secs_f64() * 1_000.0 * speed) as i64;
                start.plus_ms(elapsed_ms)
            }
        }
    }
}

/// The machine's wall clock; 1970 if it claims to be earlier than that.
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
