//! How values read: one place for the formats of the page, the log and the tables.
//!
//! Rules: three digits for token counts, two units at most for spans, a dash for what is unknown
//! (never a zero), a thin space before the percent sign.

use std::collections::BTreeMap;

use chrono::Datelike;

use crate::event::SessionPhase;
use crate::level::Level;
use crate::record::{AgentStatus, ApiErrorKind, LimitKey, LimitScope, ReadProgress, StatusLine, Tool, WindowMinutes};
use crate::time::{DAY_MS, Day, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp, ZoneOffsets};
use crate::units::{Cost, Money, Tokens};

/// What stands for a value that is not known.
pub const UNKNOWN: &str = "–";
/// Thin, and never the end of a line.
const THIN: char = '\u{202f}';

/// A count with thousands separators: `15,984,312`.
pub fn exact(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A token count in three digits: `958`, `12.4k`, `149k`, `1.24M`, `16.0M`, `1.70B`.
pub fn tokens(count: Tokens) -> String {
    let count = count.0;
    if count < 1_000 {
        return count.to_string();
    }
    let mut scaled = count as f64;
    let mut unit = "";
    for next in ["k", "M", "B", "T"] {
        // 999,500 reads 1.00M, not 1000k.
        if scaled < 999.5 && !unit.is_empty() {
            break;
        }
        scaled /= 1_000.0;
        unit = next;
    }
    let places = if scaled < 9.995 {
        2
    } else if scaled < 99.95 {
        1
    } else {
        0
    };
    let places = if unit == "k" { places.min(1) } else { places };
    format!("{scaled:.places$}{unit}")
}

/// An amount: `<$0.01`, `$0.96`, `$17.37`, `$1,007` from a thousand on.
pub fn money(amount: Money) -> String {
    let usd = amount.usd();
    let sign = if usd < 0.0 { "−" } else { "" };
    let usd = usd.abs();
    if usd == 0.0 {
        "$0.00".to_owned()
    } else if usd < 0.005 {
        format!("{sign}<$0.01")
    } else if usd < 999.995 {
        format!("{sign}${usd:.2}")
    } else {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // non-negative, below 2^63 ÷ 10^12
        let whole = (usd + 0.5) as u64;
        format!("{sign}${}", exact(whole))
    }
}

/// A cost, or a dash where no response could be priced; `+` where some could not.
pub fn cost(cost: &Cost) -> String {
    match cost.known() {
        None => UNKNOWN.to_owned(),
        Some(amount) if cost.unpriced_responses > 0 => format!("{}+", money(amount)),
        Some(amount) => money(amount),
    }
}

/// A share without decimals: `63 %`.
pub fn percent(value: f64) -> String {
    format!("{value:.0}{THIN}%")
}

/// A share with one decimal: `91.8 %`.
pub fn percent_1(value: f64) -> String {
    format!("{value:.1}{THIN}%")
}

/// A span in two units at most: `14 s`, `6 min`, `2 h 14 min`, `3 d 19 h`. Negative spans read as zero.
pub fn span(ms: i64) -> String {
    let ms = ms.max(0);
    let (days, hours) = (ms / DAY_MS, ms % DAY_MS / HOUR_MS);
    let (minutes, seconds) = (ms % HOUR_MS / MINUTE_MS, ms % MINUTE_MS / SECOND_MS);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}{THIN}s"),
        (0, 0, _) => format!("{minutes}{THIN}min"),
        (0, _, _) => format!("{hours}{THIN}h {minutes:02}{THIN}min"),
        _ => format!("{days}{THIN}d {hours}{THIN}h"),
    }
}

/// A span in one unit, for narrow columns: `14 s`, `6 min`, `2 h`, `3 d`.
pub fn span_short(ms: i64) -> String {
    let ms = ms.max(0);
    match ms {
        DAY_MS.. => format!("{}{THIN}d", ms / DAY_MS),
        HOUR_MS.. => format!("{}{THIN}h", ms / HOUR_MS),
        _ => span(ms),
    }
}

/// An age that starts at tenths of a second: `0.2 s`, `14 s`.
pub fn age(ms: i64) -> String {
    if (0..10 * SECOND_MS).contains(&ms) {
        format!("{}.{}{THIN}s", ms / SECOND_MS, ms % SECOND_MS / 100)
    } else {
        span(ms)
    }
}

/// A clock time: `14:52`.
pub fn clock(zone: &ZoneOffsets, at: Timestamp) -> String {
    let (h, m, _, _) = zone.clock(at);
    format!("{h:02}:{m:02}")
}

/// A clock time to the second: `13:46:20`.
pub fn clock_s(zone: &ZoneOffsets, at: Timestamp) -> String {
    let (h, m, s, _) = zone.clock(at);
    format!("{h:02}:{m:02}:{s:02}")
}

/// A weekday and a clock time to the second: `Mon 13:46:20`.
pub fn weekday_clock_s(zone: &ZoneOffsets, at: Timestamp) -> String {
    format!("{} {}", weekday(zone.day(at)), clock_s(zone, at))
}

/// A clock time, with the weekday if it is not within a day of `now`: `Mon 09:00`.
pub fn clock_day(zone: &ZoneOffsets, at: Timestamp, now: Timestamp) -> String {
    if at.ms_since(now).abs() < DAY_MS {
        clock(zone, at)
    } else {
        format!("{} {}", weekday(zone.day(at)), clock(zone, at))
    }
}

/// An offset from UTC: `UTC+02:00`.
pub fn utc_offset(seconds_east: i32) -> String {
    let sign = if seconds_east < 0 { '−' } else { '+' };
    let minutes = seconds_east.unsigned_abs() / 60;
    format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A day without its year: `7 Nov`.
pub fn day(day: Day) -> String {
    format!("{} {}", day.day(), &month(day)[..3])
}

/// The name of a day's month: `November`.
pub fn month(day: Day) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    NAMES[day.month0() as usize]
}

/// The weekday in three letters. Not by chrono's patterns, whose machinery would be in the WASM.
fn weekday(day: Day) -> &'static str {
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day.weekday().num_days_from_monday() as usize]
}

/// A text on a session, with its tool in front unless that is Claude Code: `Codex · main`.
pub fn with_tool(tool: Tool, text: String) -> String {
    if tool == Tool::DEFAULT { text } else { format!("{} · {text}", tool.title()) }
}

/// The first eight characters of an id.
pub fn short_id(id: &str) -> &str {
    id.char_indices().nth(8).map_or(id, |(end, _)| &id[..end])
}

/// A project's name: the last part of its working directory.
pub fn project_of(cwd: &str) -> &str {
    cwd.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(cwd)
}

/// Names for projects by their directories: the last part, and of those that end alike as many parts as tell them
/// apart. Directories that differ in nothing but separators have one name.
pub fn project_labels<'a>(directories: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let parts =
        |directory: &'a str| -> Vec<&'a str> { directory.split(['/', '\\']).filter(|part| !part.is_empty()).collect() };
    let mut open: BTreeMap<&'a str, Vec<&'a str>> = directories.into_iter().map(|path| (path, parts(path))).collect();
    let mut labels = BTreeMap::new();
    let mut length = 1;
    while !open.is_empty() {
        let ending = |parts: &[&'a str]| parts[parts.len().saturating_sub(length)..].join("/");
        let mut whole: BTreeMap<String, Vec<&[&'a str]>> = BTreeMap::new();
        for parts in open.values() {
            let alike = whole.entry(ending(parts)).or_default();
            if !alike.contains(&parts.as_slice()) {
                alike.push(parts);
            }
        }
        let alone = |parts: &[&'a str]| whole.get(&ending(parts)).is_none_or(|alike| alike.len() == 1);
        let done: Vec<&'a str> = open
            .iter()
            .filter(|(_, parts)| parts.len() <= length || alone(parts))
            .map(|(&directory, _)| directory)
            .collect();
        for directory in done {
            let parts = open.get(directory).map(|parts| ending(parts)).unwrap_or_default();
            labels.insert(directory, if parts.is_empty() { directory.to_owned() } else { parts });
        }
        open.retain(|directory, _| !labels.contains_key(directory));
        length += 1;
    }
    labels
}

/// A model's name for people: `claude-opus-4-5-20251101` reads `Opus 4.5`.
pub fn model(id: &str) -> String {
    let bare = id.rsplit(['/', '.']).find(|part| part.starts_with("claude-")).unwrap_or(id);
    let bare = bare.strip_suffix("[1m]").unwrap_or(bare);
    let Some(rest) = bare.strip_prefix("claude-") else { return bare.to_owned() };
    let parts: Vec<&str> = rest.split('-').filter(|part| part.len() < 6 || part.parse::<u64>().is_err()).collect();
    let (numbers, names): (Vec<&str>, Vec<&str>) = parts.iter().partition(|part| part.parse::<u64>().is_ok());
    let mut name: Vec<String> = names.iter().map(|part| capitalised(part)).collect();
    if !numbers.is_empty() {
        name.push(numbers.join("."));
    }
    name.join(" ")
}

/// A session's doing.
pub fn phase(phase: SessionPhase) -> &'static str {
    match phase {
        SessionPhase::Working => "Working",
        SessionPhase::NeedsYou => "Needs you",
        SessionPhase::Blocked => "Blocked",
        SessionPhase::Idle => "Idle",
        SessionPhase::Ended => "Ended",
    }
}

/// A limit's name, with its tool in front unless that is Claude Code: `5-hour`, `Weekly Opus`, `Codex Weekly`.
pub fn limit(key: &LimitKey) -> String {
    let mut name = window(key.window);
    match &key.scope {
        LimitScope::AllModels => {}
        LimitScope::Family(family) => {
            name.push(' ');
            name.push_str(&capitalised(family.as_str()));
        }
        LimitScope::Other(other) => {
            name.push(' ');
            name.push_str(other.as_str());
        }
    }
    if key.tool == Tool::DEFAULT { name } else { format!("{} {name}", key.tool.title()) }
}

/// A limit's name where several stand beside each other: `5-hour window`, `Weekly · Opus`, `Codex · Weekly · all models`.
/// `account` is the account's number where the tool has several.
pub fn limit_title(key: &LimitKey, account: Option<usize>) -> String {
    let name = match &key.scope {
        LimitScope::AllModels if key.window == WindowMinutes::FIVE_HOURS => format!("{} window", window(key.window)),
        LimitScope::AllModels => format!("{} · all models", window(key.window)),
        LimitScope::Family(family) => format!("{} · {}", window(key.window), capitalised(family.as_str())),
        LimitScope::Other(other) => format!("{} · {}", window(key.window), other.as_str()),
    };
    let name = account.map_or_else(|| name.clone(), |number| format!("{name} · account {number}"));
    with_tool(key.tool, name)
}

/// What a status line says of a session at `now`, as far as it is known and can be true:
/// `Context 8 % · 5-hour 24 %, reset in 2 h 14 min · Weekly 41 %`.
pub fn status_line(line: &StatusLine, now: Timestamp) -> String {
    let computed = || line.context_used.zip(line.context_window).and_then(|(used, window)| used.percent_of(window));
    let context = line.context_percent.or_else(computed).map(|share| format!("Context {}", percent(share)));
    let limits = line.limits.iter().filter_map(|stated| {
        let report = stated.checked(now, now).ok()?;
        let share = format!("{} {}", limit(&report.limit), percent(report.used_percent?));
        let is_short = report.limit.window.ms() < DAY_MS;
        let reset = report.resets_at.filter(|_| is_short).map(|reset| span(reset.ms_since(now)));
        Some(reset.map_or_else(|| share.clone(), |reset| format!("{share}, reset in {reset}")))
    });
    let parts: Vec<String> = context.into_iter().chain(limits).collect();
    if parts.is_empty() { "No figures yet".to_owned() } else { parts.join(" · ") }
}

/// What the status line of a subagent says: `12.4k tokens, 6 % of its context`.
pub fn agent_status(agent: &AgentStatus) -> String {
    let Some(used) = agent.tokens else { return UNKNOWN.to_owned() };
    let share = agent.window.and_then(|window| used.percent_of(window));
    let share = share.map_or_else(String::new, |share| format!(", {} of its context", percent(share)));
    format!("{} tokens{share}", tokens(used))
}

/// The length of a limit's window: `5-hour`, `Weekly`, `30-day`, `90-minute`.
pub fn window(window: WindowMinutes) -> String {
    const DAY: u32 = 24 * 60;
    match window {
        WindowMinutes::WEEK => "Weekly".to_owned(),
        WindowMinutes(DAY) => "Daily".to_owned(),
        WindowMinutes(minutes) if minutes % DAY == 0 => format!("{}-day", minutes / DAY),
        WindowMinutes(minutes) if minutes % 60 == 0 => format!("{}-hour", minutes / 60),
        WindowMinutes(minutes) => format!("{minutes}-minute"),
    }
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A level.
pub fn level(level: Level) -> &'static str {
    match level {
        Level::Healthy => "Healthy",
        Level::Info => "Info",
        Level::Warning => "Warning",
        Level::Danger => "Danger",
        Level::Critical => "Critical",
    }
}

/// What kind of request failed.
pub fn api_error(kind: ApiErrorKind) -> &'static str {
    match kind {
        ApiErrorKind::RateLimit => "limit hit",
        ApiErrorKind::AuthenticationFailed => "not signed in",
        ApiErrorKind::BillingError => "billing error",
        ApiErrorKind::Overloaded => "vendor overloaded",
        ApiErrorKind::ServerError => "vendor error",
        ApiErrorKind::InvalidRequest => "invalid request",
        ApiErrorKind::Other => "request failed",
    }
}

/// Bytes in three digits: `812 B`, `41.2 MB`.
pub fn bytes(count: u64) -> String {
    let (mut value, mut units) = (count as f64, ["kB", "MB", "GB", "TB"].into_iter());
    let mut unit = "B";
    while value >= 999.5
        && let Some(larger) = units.next()
    {
        value /= 1_000.0;
        unit = larger;
    }
    match value {
        _ if unit == "B" => format!("{count} B"),
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// How far the first read has come: `1,204 of 5,310 files, 0.81 of 3.20 GB`.
pub fn progress(progress: &ReadProgress) -> String {
    let ReadProgress { files, files_total, bytes: read, bytes_total } = *progress;
    let (files, files_total, read, all) = (exact(files), exact(files_total), bytes(read), bytes(bytes_total));
    format!("{files} of {files_total} files, {read} of {all}")
}

/// How many pages are connected.
pub fn clients(count: u64) -> String {
    if count == 1 { "1 page".to_owned() } else { format!("{count} pages") }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn tokens_read_in_three_digits() {
        for (count, text) in [
            (0, "0"),
            (958, "958"),
            (999, "999"),
            (1_000, "1.0k"),
            (12_400, "12.4k"),
            (92_440, "92.4k"),
            (149_000, "149k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (1_240_000, "1.24M"),
            (16_000_000, "16.0M"),
            (1_700_000_000, "1.70B"),
        ] {
            assert_eq!(tokens(Tokens(count)), text);
        }
        assert_eq!(exact(15_984_312), "15,984,312");
        assert_eq!(exact(100), "100");
    }

    #[test]
    fn bytes_and_the_progress_of_reading_them() {
        for (count, text) in
            [(0, "0 B"), (812, "812 B"), (1_000, "1.00 kB"), (41_234_567, "41.2 MB"), (999_600_000, "1.00 GB")]
        {
            assert_eq!(bytes(count), text);
        }
        let mut read =
            ReadProgress { files: 1_204, files_total: 5_310, bytes: 810_000_000, bytes_total: 3_200_000_000 };
        assert_eq!(progress(&read), "1,204 of 5,310 files, 810 MB of 3.20 GB");
        assert_eq!(read.percent(), 25.3125);
        (read.bytes, read.bytes_total) = (0, 0);
        assert_eq!(read.percent().floor(), 22.0);
        assert_eq!(ReadProgress::default().percent(), 100.0);
    }

    #[test]
    fn money_is_never_rounded_to_nothing() {
        for (pico, text) in [
            (0, "$0.00"),
            (1, "<$0.01"),
            (960_000_000_000, "$0.96"),
            (17_370_000_000_000, "$17.37"),
            (999_990_000_000_000, "$999.99"),
            (1_007_400_000_000_000, "$1,007"),
            (-2_500_000_000_000, "−$2.50"),
        ] {
            assert_eq!(money(Money(pico)), text);
        }
        let unknown = Cost { unpriced_responses: 3, ..Cost::default() };
        assert_eq!(cost(&unknown), UNKNOWN);
    }

    #[test]
    fn spans_have_two_units() {
        for (ms, text) in [
            (-5, "0 s"),
            (14_000, "14 s"),
            (6 * MINUTE_MS, "6 min"),
            (2 * HOUR_MS + 14 * MINUTE_MS, "2 h 14 min"),
            (3 * DAY_MS + 19 * HOUR_MS, "3 d 19 h"),
        ] {
            assert_eq!(span(ms).replace(THIN, " "), text);
        }
        assert_eq!(span_short(2 * HOUR_MS + 59 * MINUTE_MS).replace(THIN, " "), "2 h");
        assert_eq!(span_short(59 * MINUTE_MS).replace(THIN, " "), "59 min");
        let at = Timestamp::from_unix_ms(1_789_862_400_000);
        assert_eq!(weekday_clock_s(&ZoneOffsets::utc(), at), "Sun 00:00:00");
        let today = ZoneOffsets::utc().day(at);
        assert_eq!((day(today).as_str(), month(today)), ("20 Sep", "September"));
        assert_eq!(utc_offset(5 * 3600 + 1800), "UTC+05:30");
        assert_eq!(utc_offset(-3600), "UTC−01:00");
        assert_eq!(age(240).replace(THIN, " "), "0.2 s");
    }

    #[test]
    fn projects_that_end_alike_are_told_apart() {
        let paths =
            ["/home/ada/web/api", "/home/ada/shop/api", "/srv/shop/api", "/home/ada/engine", "/home/ada/engine/"];
        let labels = project_labels(paths.into_iter().chain(["C:\\work\\tool", "/", "api"]));
        let expected = [
            ("/", "/"),
            ("/home/ada/engine", "engine"),
            ("/home/ada/engine/", "engine"),
            ("/home/ada/shop/api", "ada/shop/api"),
            ("/home/ada/web/api", "web/api"),
            ("/srv/shop/api", "srv/shop/api"),
            ("C:\\work\\tool", "tool"),
            ("api", "api"),
        ];
        assert_eq!(labels.iter().map(|(path, label)| (*path, label.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn limits_are_named_by_length_and_scope() {
        let name = |text: &str| limit(&text.parse().unwrap());
        assert_eq!(name("claude-code/300"), "5-hour");
        assert_eq!(name("claude-code/10080/opus"), "Weekly Opus");
        assert_eq!(name("codex/43200/other:code-review"), "Codex 30-day code-review");
        let title = |text: &str, account| limit_title(&text.parse().unwrap(), account);
        assert_eq!(title("claude-code/300", None), "5-hour window");
        assert_eq!(title("codex/10080", Some(2)), "Codex · Weekly · all models · account 2");
        assert_eq!((name("codex/1440").as_str(), name("codex/90").as_str()), ("Codex Daily", "Codex 90-minute"));
    }

    #[test]
    fn models_have_short_names() {
        for (id, name) in [
            ("claude-opus-4-5-20251101", "Opus 4.5"),
            ("claude-sonnet-4-20250514", "Sonnet 4"),
            ("claude-opus-5", "Opus 5"),
            ("claude-3-5-haiku-20241022", "Haiku 3.5"),
            ("gpt-5.2-codex", "gpt-5.2-codex"),
            ("claude-sonnet-4-5[1m]", "Sonnet 4.5"),
        ] {
            assert_eq!(model(id), name);
        }
    }
}
