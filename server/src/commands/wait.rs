//! `dashboard wait`: returns once conditions on limits are met.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use dashboard_core::time::Timestamp;
use dashboard_core::until::{Answer, LimitTest};

use crate::present::{Present, PresentArgs, Teller};

const EXAMPLES: &str = "\
Examples:
  dashboard wait --until 'five_hour<80%'                         until the five-hour window has room again
  dashboard wait --until 'weekly<95%,five_hour<50%' --timeout 6h
  dashboard wait --until 'codex/300<100%' && codex               by the key of a limit

LIMIT is five_hour, seven_day, or a key as `dashboard status --json` shows it. Once the announced reset of a limit has
passed and nothing newer is known, an upper bound is met: the window is new.
Exit code: 0 once all are met, 124 if the time is up, 1 if it cannot be told.";

/// Exit code when the time is up, as that of timeout(1).
pub const TIMED_OUT: u8 = 124;

/// Options of `wait`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct WaitArgs {
    /// Conditions, all of which have to be met
    #[arg(long, value_name = "LIMIT<N%", value_delimiter = ',', required = true)]
    pub until: Vec<LimitTest>,
    /// Longest wait, such as 90s, 30m or 6h
    #[arg(long, value_name = "T", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Where to ask.
    #[command(flatten)]
    pub present: PresentArgs,
}

/// Runs the command.
///
/// # Errors
/// If the present cannot be had.
pub fn run(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let mut watch = Watch::new(args.until.clone());
    let met = watch.until_met(&args.present, args.timeout)?;
    if !met {
        eprintln!("dashboard: the time is up; {}", watch.unmet());
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::from(TIMED_OUT) })
}

/// Conditions, and what was said to them last.
#[derive(Debug)]
pub struct Watch(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    test: LimitTest,
    /// The reset announced last.
    reset: Option<Timestamp>,
    answer: Answer,
}

impl Watch {
    /// Of these, nothing was said yet.
    pub fn new(tests: Vec<LimitTest>) -> Self {
        Self(tests.into_iter().map(|test| Watched { test, reset: None, answer: Answer::Unknown }).collect())
    }

    /// Looks once.
    ///
    /// # Errors
    /// If the present cannot be had.
    pub fn look(&mut self, present: &PresentArgs) -> anyhow::Result<Teller> {
        let Present { state, now, teller } = present.look()?;
        for watched in &mut self.0 {
            watched.answer = watched.test.ask(&state, watched.reset, now);
            // A reset that is announced no more has passed, or will be announced again.
            watched.reset = watched.test.reset(&state).or(watched.reset);
        }
        Ok(teller)
    }

    /// Looks until all are met; whether they were before the time was up.
    ///
    /// # Errors
    /// If the present cannot be had.
    pub fn until_met(&mut self, present: &PresentArgs, timeout: Option<Duration>) -> anyhow::Result<bool> {
        let began = Instant::now();
        loop {
            let teller = self.look(present)?;
            if self.is_met(false) {
                return Ok(true);
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            std::thread::sleep(left.map_or(teller.pause(), |left| left.min(teller.pause())));
        }
    }

    /// Whether all are met; what is not known counts as met only if it is `allowed`.
    pub fn is_met(&self, unknown_allowed: bool) -> bool {
        let fits = |answer| answer == Answer::Met || unknown_allowed && answer == Answer::Unknown;
        self.0.iter().all(|watched| fits(watched.answer))
    }

    /// What is not met, in words.
    pub fn unmet(&self) -> String {
        let unmet = self.0.iter().filter_map(|watched| match watched.answer {
            Answer::Met => None,
            Answer::NotMet => Some(format!("{} is not met", watched.test)),
            Answer::Unknown => Some(format!("of {} the share is not known", watched.test)),
        });
        unmet.collect::<Vec<_>>().join("; ")
    }
}

/// Reads a span such as `90s`, `30m`, `6h`, `2d`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let span = number.parse::<u64>().ok().zip(seconds).and_then(|(number, seconds)| number.checked_mul(seconds));
    span.map(Duration::from_secs).ok_or_else(|| "allowed: a span such as 90s, 30m, 6h or 2d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("30m", 1_800), ("2min", 120), ("6h", 21_600), ("2d", 172_800)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "1.5h", "6 h", "-1s", "99999999999999999999s", "9999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
