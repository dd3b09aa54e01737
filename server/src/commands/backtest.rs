//! `dashboard backtest`: how good the forecast is, on transcripts and on made-up working days.
//!
//! The constants of the forecast were chosen on the users of the first half; what is scored are those of the second
//! half, and transcripts, which no constant was chosen on. `--choose` makes the choice again and says what it came to.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use dashboard_core::forecast::Parameters;
use dashboard_core::forecast::backtest::{POINTS_PERCENT, Point, Points, Score, Windows, points};
use dashboard_core::ledger::Scope;
use dashboard_core::record::Tool;
use dashboard_core::simulator::working_days::{PEOPLE, responses};
use dashboard_core::time::{Timestamp, ZoneOffsets};
use dashboard_core::units::Tokens;

use super::report::read_all;
use crate::clock;
use crate::source::roots::{self, ConfiguredRoots, Environment};
use crate::zone::{ChosenZone, Zone};

const EXAMPLES: &str = "\
Examples:
  dashboard backtest                               made-up working days, and the samples where there are some
  dashboard backtest --config-dir ~/.claude        your own windows
  dashboard backtest --choose                      choose the constants again, on users that are not scored

Errors are of the use at the reset, in percent of a user's median window; medians over all points. See
docs/FORECAST.md.";

/// Users the constants are chosen on, and users that are scored: their seeds.
const CHOSEN_ON: std::ops::Range<u64> = 1..21;
const SCORED: std::ops::Range<u64> = 101..121;
/// Weeks of each.
const WEEKS: i64 = 9;
/// 2026-03-02, a Monday.
const MONDAY_MS: i64 = 1_772_409_600_000;

/// Score the forecast on windows that are over
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BacktestArgs {
    /// Claude Code's configuration directory whose windows are scored, instead of samples and made-up days; may be
    /// repeated
    #[arg(long, env = "DASHBOARD_CONFIG_DIR", value_name = "DIR", value_delimiter = ',')]
    pub config_dir: Vec<PathBuf>,
    /// Directory of configuration directories that are scored beside made-up days
    #[arg(long, env = "DASHBOARD_SAMPLES", value_name = "DIR")]
    pub samples: Option<PathBuf>,
    /// Choose the constants again: each in turn, on the users that are not scored
    #[arg(long)]
    pub choose: bool,
    /// The zone of the user's days, such as Europe/Berlin; the machine's by default
    #[arg(long, env = "DASHBOARD_TIMEZONE", value_name = "TZ")]
    pub timezone: Option<Zone>,
}

/// The responses of one user, oldest first.
type Responses = Vec<(Timestamp, Tokens)>;

/// Runs the command.
///
/// # Errors
/// If there is nothing to score, or the output cannot be written.
pub fn run(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    let zone = ChosenZone::find(args.timezone).zone.offsets(clock::wall());
    let mut text = String::new();
    let mut scored = Points::default();
    head(&mut text);
    if args.config_dir.is_empty() {
        let utc = ZoneOffsets::utc();
        if args.choose {
            choose(&mut text)?;
            head(&mut text);
        }
        let all = |seeds, windows| made_up(seeds, windows, &Parameters::DEFAULT);
        lines(&mut text, "made-up days, chosen on", &all(CHOSEN_ON, Windows::FiveHours));
        let made_up = all(SCORED, Windows::FiveHours);
        lines(&mut text, "made-up days, scored", &made_up);
        lines(&mut text, "made-up weeks, not in the score", &all(SCORED, Windows::Weeks));
        scored.add(made_up);
        if let Some(samples) = &args.samples {
            let mut of_samples = Points::default();
            for (_, user) in samples_of(samples)? {
                of_samples.add(points(&user, Windows::FiveHours, &utc, &Parameters::DEFAULT));
            }
            lines(&mut text, "samples", &of_samples);
            scored.add(of_samples);
        }
    } else {
        for (name, user) in args.config_dir.iter().flat_map(|dir| users_of(dir, None)) {
            let found = points(&user, Windows::FiveHours, &zone, &Parameters::DEFAULT);
            lines(&mut text, &name, &found);
            scored.add(found);
        }
    }
    let Some(score) = Score::of(&scored.points) else {
        bail!("nothing to score: no five-hour window with use in the 30 minutes before 25, 50 or 75 % of it");
    };
    lines(&mut text, "all that is scored", &scored);
    // As whole numbers, never "-0".
    let percent = |value: f64| format!("{:.0}", value + 0.0).replace("-0", "0");
    let _ = writeln!(text, "improvement {} % coverage {} %", percent(score.improvement()), percent(score.coverage));
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .or_else(super::unless_nobody_reads)
        .context("cannot write the scores")?;
    Ok(ExitCode::SUCCESS)
}

fn made_up(seeds: std::ops::Range<u64>, windows: Windows, parameters: &Parameters) -> Points {
    let mut all = Points::default();
    for seed in seeds {
        let user = responses(&PEOPLE, seed, Timestamp::from_unix_ms(MONDAY_MS), WEEKS);
        all.add(points(&user, windows, &ZoneOffsets::utc(), parameters));
    }
    all
}

/// The users below a directory of samples: every configuration directory in it, and every Codex home in these.
fn samples_of(samples: &Path) -> anyhow::Result<Vec<(String, Responses)>> {
    let entries = std::fs::read_dir(samples).with_context(|| format!("cannot read {}", samples.display()))?;
    let mut dirs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    Ok(dirs.iter().flat_map(|dir| users_of(dir, Some(&dir.join("codex")))).collect())
}

/// What each tool used below these directories: windows are the tools' own.
fn users_of(config_dir: &Path, codex_home: Option<&Path>) -> Vec<(String, Responses)> {
    let given = ConfiguredRoots::new(&[config_dir.to_owned()], codex_home);
    let reading = read_all(&roots::find(&given, &Environment::default()), None);
    let name = config_dir.file_name().map_or_else(|| config_dir.display().to_string(), |n| n.to_string_lossy().into());
    let of_tool = |tool: Tool| {
        let standing = reading.ledger.standing(Scope::All).filter(|response| response.tool == tool);
        let mut user: Responses = standing.filter_map(|r| r.at.map(|at| (at, r.usage.quota()))).collect();
        user.sort_unstable();
        (!user.is_empty()).then(|| (format!("{name}, {}", tool.as_str()), user))
    };
    Tool::ALL.into_iter().filter_map(of_tool).collect()
}

fn head(text: &mut String) {
    let _ = writeln!(
        text,
        "{:34} {:>8} {:>7} {:>10} {:>9} {:>7} {:>7} {:>8} {:>12} {:>9}",
        "", "windows", "points", "not enough", "forecast", "linear", "30 min", "no more", "improvement", "coverage"
    );
}

/// One line for all points, and one for each time in the window.
fn lines(text: &mut String, name: &str, found: &Points) {
    let mut line = |name: &str, windows: String, lacking: String, points: &[Point]| {
        let _ = match Score::of(points) {
            Some(score) => writeln!(
                text,
                "{name:34} {windows:>8} {:>7} {lacking:>10} {:>8.1}% {:>6.1}% {:>6.1}% {:>7.1}% {:>10.1} % {:>7.1} %",
                score.points,
                score.forecast,
                score.linear,
                score.recent,
                score.none,
                score.improvement(),
                score.coverage
            ),
            None => writeln!(text, "{name:34} {windows:>8} {:>7} {lacking:>10}", 0),
        };
    };
    line(name, found.windows.to_string(), found.not_enough.to_string(), &found.points);
    for percent in POINTS_PERCENT {
        let at: Vec<Point> = found.points.iter().filter(|point| point.at_percent == percent).copied().collect();
        if !at.is_empty() {
            line(&format!("  at {percent} %"), String::new(), String::new(), &at);
        }
    }
}

/// A constant: its name, where it is, and the values that are tried.
type Candidate = (&'static str, fn(&mut Parameters) -> &mut f64, &'static [f64]);

const CANDIDATES: [Candidate; 10] = [
    ("hours_apart", |p| &mut p.hours_apart, &[0.5, 0.75, 1.0, 1.5, 2.5]),
    ("rates_apart", |p| &mut p.rates_apart, &[0.4, 0.8, 1.2, 1.5, 2.0]),
    ("other_kind_of_day", |p| &mut p.other_kind_of_day, &[0.05, 0.1, 0.2, 0.4]),
    ("half_life_days", |p| &mut p.half_life_days, &[10.0, 20.0, 40.0]),
    ("rate_exponent", |p| &mut p.rate_exponent, &[0.0, 0.25, 0.5, 0.75, 1.0]),
    ("recent_part", |p| &mut p.recent_part, &[0.2, 0.35, 0.5, 0.7, 1.0]),
    ("plain_weight", |p| &mut p.plain_weight, &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0]),
    ("plain_hours", |p| &mut p.plain_hours, &[1.0, 1.5, 2.5, 4.0]),
    ("plain_shape", |p| &mut p.plain_shape, &[1.0, 1.5, 2.0, 3.0]),
    ("plain_spread", |p| &mut p.plain_spread, &[0.3, 0.5, 0.7]),
];

/// Tries other values of each constant, the others being as they are.
fn choose(text: &mut String) -> anyhow::Result<()> {
    let score = |parameters: &Parameters| {
        let found = made_up(CHOSEN_ON, Windows::FiveHours, parameters);
        Score::of(&found.points).context("the made-up days have no window to score")
    };
    for (name, constant, values) in CANDIDATES {
        let mut tried = Vec::new();
        for &value in values {
            let mut parameters = Parameters::DEFAULT;
            let in_use = std::mem::replace(constant(&mut parameters), value);
            let score = score(&parameters)?;
            let mark = if (in_use - value).abs() < 1e-9 { "*" } else { "" };
            tried.push(format!("{value}{mark}: {:.2}% ({:.0} %)", score.forecast, score.coverage));
        }
        let _ = writeln!(text, "{name:18} {}", tried.join("  "));
    }
    let _ = writeln!(text, "value: error (coverage), on the users that are not scored; * in use\n");
    Ok(())
}
