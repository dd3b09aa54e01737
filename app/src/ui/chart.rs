//! Charts: the geometry of lines, areas and axes, as pure functions, and what draws ticks.
//!
//! A plot's drawing is stretched over a box of 1000 × 100 units (y downwards, as SVG has it);
//! everything with letters or a shape of its own is HTML placed in percent of the plot, y upwards.

use dashboard_core::format;
use dashboard_core::time::{DAY_MS, HOUR_MS, MINUTE_MS};
use dashboard_core::units::Tokens;
use leptos::prelude::*;

use super::figure::calc;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;

/// A point of a curve, in the units of its axes.
pub(crate) type Point = (f64, f64);

/// Maps values to the plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Values at the left and right edge.
    pub(crate) x: (f64, f64),
    /// Value at the top; the bottom is zero.
    pub(crate) top: f64,
}

impl Scale {
    /// Where `x` lies, in percent of the width.
    pub(crate) fn x_percent(&self, x: f64) -> f64 {
        let span = self.x.1 - self.x.0;
        if span > 0.0 { ((x - self.x.0) * 100.0 / span).clamp(0.0, 100.0) } else { 100.0 }
    }

    /// Where `y` lies, in percent of the height, from below.
    pub(crate) fn y_percent(&self, y: f64) -> f64 {
        if self.top > 0.0 { (y * 100.0 / self.top).clamp(0.0, 100.0) } else { 0.0 }
    }

    fn place(&self, (x, y): Point) -> Point {
        (self.x_percent(x) * WIDTH / 100.0, HEIGHT - self.y_percent(y) * HEIGHT / 100.0)
    }
}

/// A number of the drawing, to a tenth.
fn push(out: &mut String, value: f64) {
    #[allow(clippy::cast_possible_truncation)] // within the box
    let tenths = (value * 10.0).round() as i64;
    if tenths < 0 {
        out.push('-');
    }
    let tenths = tenths.unsigned_abs();
    out.push_str(&(tenths / 10).to_string());
    if !tenths.is_multiple_of(10) {
        out.push('.');
        out.push_str(&(tenths % 10).to_string());
    }
}

fn command(out: &mut String, letter: char, points: &[Point]) {
    out.push(letter);
    for (i, &(x, y)) in points.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        push(out, x);
        out.push(' ');
        push(out, y);
    }
}

/// A line straight from point to point.
pub(crate) fn line(scale: &Scale, points: &[Point]) -> String {
    let mut path = String::new();
    for (i, &point) in points.iter().enumerate() {
        command(&mut path, if i == 0 { 'M' } else { 'L' }, &[scale.place(point)]);
    }
    path
}

/// A line that keeps each value until the next; `None` breaks it.
pub(crate) fn steps(scale: &Scale, points: &[(f64, Option<f64>)]) -> String {
    let mut path = String::new();
    let mut held: Option<f64> = None;
    for &(x, y) in points {
        if let Some(before) = held {
            command(&mut path, 'L', &[scale.place((x, before))]);
        }
        if let Some(y) = y {
            command(&mut path, if held.is_none() { 'M' } else { 'L' }, &[scale.place((x, y))]);
        }
        held = y;
    }
    path
}

/// The slopes of a monotone cubic through placed points (Fritsch–Carlson): no overshoot, so that a
/// rate never dips below zero between two points.
fn slopes(points: &[Point]) -> Vec<f64> {
    let secant = |i: usize| {
        let (a, b) = (points[i], points[i + 1]);
        if b.0 > a.0 { (b.1 - a.1) / (b.0 - a.0) } else { 0.0 }
    };
    (0..points.len())
        .map(|i| match (i.checked_sub(1).map(secant), (i + 1 < points.len()).then(|| secant(i))) {
            (Some(before), Some(after)) if before * after > 0.0 => 2.0 * before * after / (before + after),
            (Some(_), Some(_)) | (None, None) => 0.0,
            (Some(end), None) | (None, Some(end)) => end,
        })
        .collect()
}

fn curve_through(path: &mut String, placed: &[Point]) {
    let slopes = slopes(placed);
    for i in 1..placed.len() {
        let ((x0, y0), (x1, y1)) = (placed[i - 1], placed[i]);
        let third = (x1 - x0) / 3.0;
        let controls = [(x0 + third, y0 + slopes[i - 1] * third), (x1 - third, y1 - slopes[i] * third), (x1, y1)];
        command(path, 'C', &controls);
    }
}

/// A smooth line that keeps to its points.
pub(crate) fn curve(scale: &Scale, points: &[Point]) -> String {
    let placed: Vec<Point> = points.iter().map(|&point| scale.place(point)).collect();
    let mut path = String::new();
    if let Some(&first) = placed.first() {
        command(&mut path, 'M', &[first]);
        curve_through(&mut path, &placed);
    }
    path
}

/// The area between a smooth upper edge and a smooth lower one over the same x.
pub(crate) fn band(scale: &Scale, upper: &[Point], lower: &[Point]) -> String {
    let mut path = curve(scale, upper);
    let back: Vec<Point> = lower.iter().rev().map(|&point| scale.place(point)).collect();
    if let Some(&first) = back.first() {
        command(&mut path, 'L', &[first]);
        // Backwards the secants keep their slope, and the thirds become negative by themselves.
        let mut ahead = back.clone();
        ahead.reverse();
        let slopes = slopes(&ahead);
        for i in (1..ahead.len()).rev() {
            let ((x0, y0), (x1, y1)) = (ahead[i - 1], ahead[i]);
            let third = (x1 - x0) / 3.0;
            let controls = [(x1 - third, y1 - slopes[i] * third), (x0 + third, y0 + slopes[i - 1] * third), (x0, y0)];
            command(&mut path, 'C', &controls);
        }
        path.push('Z');
    }
    path
}

/// The area between two lines straight from point to point, over the same x.
pub(crate) fn wedge(scale: &Scale, upper: &[Point], lower: &[Point]) -> String {
    let mut path = line(scale, upper);
    for &point in lower.iter().rev() {
        command(&mut path, 'L', &[scale.place(point)]);
    }
    if !path.is_empty() {
        path.push('Z');
    }
    path
}

/// The area under a line made by one of the functions above, from `first` to `last` x.
pub(crate) fn under(scale: &Scale, path: &str, first: f64, last: f64) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut area = path.to_owned();
    command(&mut area, 'L', &[scale.place((last, 0.0))]);
    command(&mut area, 'L', &[scale.place((first, 0.0))]);
    area.push('Z');
    area
}

/// The smallest of 1, 2, 5, 10, 20, 50, … that is not below `at_least`.
fn step_125(at_least: f64) -> f64 {
    let mut decade = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if decade * factor >= at_least {
                return decade * factor;
            }
        }
        decade *= 10.0;
    }
}

/// Values to label on an axis from zero that holds `max`, in at most `most` steps; the last is the top.
pub(crate) fn value_ticks(max: f64, most: u32) -> Vec<f64> {
    let step = step_125(max / f64::from(most));
    let mut ticks = vec![0.0];
    let mut at = 0.0;
    while at < max || ticks.len() < 2 {
        at += step;
        ticks.push(at);
    }
    ticks
}

/// Instants to label between two (milliseconds), at full steps of the local clock, at most `most`.
pub(crate) fn time_ticks(from: i64, to: i64, offset_ms: i64, most: i64) -> Vec<i64> {
    const STEPS: [i64; 14] = [
        MINUTE_MS,
        2 * MINUTE_MS,
        5 * MINUTE_MS,
        10 * MINUTE_MS,
        15 * MINUTE_MS,
        30 * MINUTE_MS,
        HOUR_MS,
        2 * HOUR_MS,
        3 * HOUR_MS,
        6 * HOUR_MS,
        12 * HOUR_MS,
        DAY_MS,
        2 * DAY_MS,
        7 * DAY_MS,
    ];
    let span = (to - from).max(0);
    let step = STEPS.into_iter().find(|step| span / step <= most).unwrap_or(30 * DAY_MS);
    let first = (from + offset_ms).div_euclid(step) * step - offset_ms;
    (0..).map(|n| first + n * step).skip_while(|&at| at < from).take_while(|&at| at <= to).collect()
}

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// Where, in percent of the plot.
    pub(crate) percent: f64,
    /// What it says.
    pub(crate) label: String,
    /// `first`, `last`, `minor`, `base`, `limit`, `threshold`, or nothing.
    pub(crate) class: &'static str,
}

/// A count on an axis: three digits, without zeros that say nothing.
pub(crate) fn count_label(count: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of tokens
    let label = format::tokens(Tokens(count as u64));
    let digits = label.trim_end_matches(char::is_alphabetic);
    let unit = &label[digits.len()..];
    if digits.contains('.') { format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.')) } else { label }
}

/// The grid of a plot that has nothing to show yet.
pub(crate) fn blank_grid(steps: u32) -> Vec<Tick> {
    let tick = |step: u32| Tick {
        percent: f64::from(step) * 100.0 / f64::from(steps),
        label: String::new(),
        class: if step == 0 { "base" } else { "" },
    };
    (0..=steps).map(tick).collect()
}

/// Labels of a time axis: the inner ones are dropped where they would touch an end's. Every second
/// one is `minor`, and one close to the end, for plots with room for half of them.
pub(crate) fn time_labels(
    scale: &Scale,
    ticks: &[i64],
    label: impl Fn(i64) -> String,
    last: (f64, String),
    room_percent: f64,
) -> Vec<Tick> {
    let (last_x, last_label) = last;
    let end = scale.x_percent(last_x);
    let mut kept: Vec<Tick> = Vec::new();
    for (i, &at) in ticks.iter().enumerate() {
        let percent = scale.x_percent(at as f64);
        // The first one is not centred under its mark, so it reaches further.
        let reach =
            kept.first().filter(|tick| tick.class == "first").map_or(0.0, |tick| tick.percent + room_percent * 1.5);
        if percent + room_percent <= end && percent >= reach {
            let class = match i {
                0 if percent < room_percent / 2.0 => "first",
                i if i % 2 == 1 || percent + 2.0 * room_percent > end => "minor",
                _ => "",
            };
            kept.push(Tick { percent, label: label(at), class });
        }
    }
    kept.push(Tick { percent: end, label: last_label, class: "last" });
    kept
}

/// Horizontal grid lines with their labels.
#[component]
pub(crate) fn YTicks(ticks: Signal<Vec<Tick>>) -> impl IntoView {
    let draw = |tick: &Tick| {
        view! {
            <span class=format!("ytick {}", tick.class) style=format!("--y:{:.1}%", tick.percent)>
                <span>{tick.label.clone()}</span>
            </span>
        }
    };
    (move || ticks.with(|ticks| ticks.iter().map(draw).collect_view())).into_any()
}

/// Labels under the plot.
#[component]
pub(crate) fn XTicks(ticks: Signal<Vec<Tick>>) -> impl IntoView {
    let draw = |tick: &Tick| {
        view! {
            <span class=format!("xtick {}", tick.class) style=format!("--x:{:.1}%", tick.percent)>
                {tick.label.clone()}
            </span>
        }
    };
    (move || ticks.with(|ticks| ticks.iter().map(draw).collect_view())).into_any()
}

/// A small line without axes, 58 × 20, with its last value as a dot. Empty for no values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spark {
    line: String,
    area: String,
    end: Option<String>,
}

impl Spark {
    /// From values at equal distances; all zero reads as a quiet line.
    pub(crate) fn of(values: &[f64]) -> Self {
        let max = values.iter().copied().fold(0.0, f64::max);
        let last = values.len().saturating_sub(1).max(1) as f64;
        let place = |(i, &value): (usize, &f64)| {
            (i as f64 * 56.0 / last, 18.0 - if max > 0.0 { value / max * 16.0 } else { 0.0 })
        };
        let points: Vec<Point> = values.iter().enumerate().map(place).collect();
        let mut line = String::new();
        for (i, &point) in points.iter().enumerate() {
            command(&mut line, if i == 0 { 'M' } else { 'L' }, &[point]);
        }
        let mut area = String::new();
        let mut end = None;
        if let (true, Some(&(x, y))) = (max > 0.0, points.last()) {
            area = format!("{line}L{x:.1} 20L0 20Z");
            end = Some(format!("{y:.1}"));
        }
        Self { line, area, end }
    }
}

/// Draws a [`Spark`].
#[component]
pub(crate) fn SparkLine(spark: Signal<Spark>) -> impl IntoView {
    view! {
        <svg
            class="spark"
            class:quiet=calc(move || spark.with(|s| s.end.is_none()))
            viewBox="0 0 58 20"
            aria-hidden="true"
        >
            <path class="area" fill="url(#fade)" d=calc(move || spark.with(|s| s.area.clone()))></path>
            <path class="line" d=calc(move || spark.with(|s| s.line.clone()))></path>
            <circle
                cx="56"
                cy=calc(move || spark.with(|s| s.end.clone()))
                r=calc(move || if spark.with(|s| s.end.is_some()) { "2" } else { "0" })
            ></circle>
        </svg>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { x: (0.0, 10.0), top: 50.0 };

    #[test]
    fn values_are_placed_and_kept_inside() {
        assert_eq!(line(&SCALE, &[(0.0, 0.0), (5.0, 25.0), (20.0, 60.0)]), "M0 100L500 50L1000 0");
        assert_eq!(line(&SCALE, &[]), "");
        assert_eq!(line(&SCALE, &[(1.0 / 3.0, 1.0)]), "M33.3 98");
    }

    #[test]
    fn steps_hold_a_value_and_break_where_it_is_unknown() {
        let points = [(0.0, Some(10.0)), (5.0, Some(20.0)), (6.0, None), (8.0, Some(5.0)), (10.0, Some(5.0))];
        assert_eq!(steps(&SCALE, &points), "M0 80L500 80L500 60L600 60M800 90L1000 90L1000 90");
    }

    #[test]
    fn curves_never_leave_the_range_of_their_points() {
        let points = [(0.0, 0.0), (2.0, 0.0), (4.0, 40.0), (6.0, 40.0), (10.0, 0.0)];
        let path = curve(&SCALE, &points);
        let numbers: Vec<f64> = path.split(['M', 'C', ' ']).filter_map(|n| n.parse().ok()).collect();
        assert!(numbers.chunks(2).all(|xy| (20.0..=100.0).contains(&xy[1])), "{path}");
        assert_eq!(curve(&SCALE, &[(0.0, 0.0), (10.0, 50.0)]), "M0 100C333.3 66.7 666.7 33.3 1000 0");
    }

    #[test]
    fn a_band_closes_over_its_lower_edge() {
        let upper = [(0.0, 50.0), (10.0, 50.0)];
        let lower = [(0.0, 0.0), (10.0, 25.0)];
        let path = band(&SCALE, &upper, &lower);
        assert_eq!(path, "M0 0C333.3 0 666.7 0 1000 0L1000 50C666.7 66.7 333.3 83.3 0 100Z");
    }

    #[test]
    fn an_area_ends_on_the_base() {
        let path = line(&SCALE, &[(2.0, 25.0), (4.0, 50.0)]);
        assert_eq!(under(&SCALE, &path, 2.0, 4.0), "M200 50L400 0L400 100L200 100Z");
        assert_eq!(under(&SCALE, "", 2.0, 4.0), "");
    }

    #[test]
    fn value_axes_use_steps_of_1_2_5() {
        assert_eq!(value_ticks(18_300.0, 2), [0.0, 10_000.0, 20_000.0]);
        assert_eq!(value_ticks(20_000.0, 4), [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]);
        assert_eq!(value_ticks(0.0, 2), [0.0, 1.0]);
        assert_eq!(value_ticks(147_000.0, 1), [0.0, 200_000.0]);
    }

    #[test]
    fn time_axes_tick_at_full_steps_of_the_local_clock() {
        let half_past = 30 * MINUTE_MS;
        let ticks = time_ticks(10 * MINUTE_MS, 5 * HOUR_MS, 0, 6);
        assert_eq!(ticks, [1, 2, 3, 4, 5].map(|hour| hour * HOUR_MS));
        let india = time_ticks(0, 3 * HOUR_MS, 5 * HOUR_MS + half_past, 3);
        assert_eq!(india, [half_past, HOUR_MS + half_past, 2 * HOUR_MS + half_past]);
    }

    #[test]
    fn counts_on_an_axis_have_no_idle_zeros() {
        let labels = [0.0, 500.0, 20_000.0, 12_500.0, 5_000_000.0, 150_000.0].map(count_label);
        assert_eq!(labels, ["0", "500", "20k", "12.5k", "5M", "150k"]);
    }

    #[test]
    fn labels_make_room_for_the_end() {
        let scale = Scale { x: (0.0, 100.0), top: 1.0 };
        let labels = time_labels(&scale, &[0, 40, 80, 95], |at| at.to_string(), (100.0, "now".to_owned()), 10.0);
        let shown: Vec<_> = labels.iter().map(|tick| (tick.label.as_str(), tick.class)).collect();
        assert_eq!(shown, [("0", "first"), ("40", "minor"), ("80", ""), ("now", "last")]);
    }

    #[test]
    fn a_quiet_spark_has_no_end() {
        assert_eq!(Spark::of(&[0.0, 0.0]), Spark { line: "M0 18L56 18".to_owned(), ..Spark::default() });
        assert_eq!(Spark::of(&[0.0, 2.0]).line, "M0 18L56 2");
        assert_eq!(Spark::of(&[]), Spark::default());
    }
}
