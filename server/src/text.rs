//! Text for terminals: emphasis, and tables that fit.

use std::io::{self, IsTerminal};

use dashboard_core::record::ReadProgress;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns assumed where there is no terminal to ask.
const USUAL_WIDTH: usize = 120;
/// Between two columns.
const GAP: usize = 2;
/// A text column is not cut below this.
const MIN_TEXT: usize = 12;

/// Whether text may have colours.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colours: bool,
}

impl Style {
    /// That of standard output: plain where it is no terminal, or `NO_COLOR` is set.
    pub fn of_stdout() -> Self {
        Self { colours: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) }
    }

    /// Emphasised.
    pub fn bold(self, text: &str) -> String {
        if self.colours { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        if self.colours { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Where text is shown.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether it may have colours.
    pub style: Style,
}

impl Screen {
    /// Standard output.
    pub fn of_stdout() -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self { width: columns.or_else(terminal).unwrap_or(USUAL_WIDTH).max(40), style: Style::of_stdout() }
    }
}

/// A text from outside in one line: what would move the cursor or colour the screen is shown as a mark.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// How far reading has come, in files and megabytes.
pub fn progress(progress: ReadProgress) -> String {
    let ReadProgress { files, files_total, bytes, bytes_total } = progress;
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    format!("{files} of {files_total} files, {} of {} MB", megabytes(bytes), megabytes(bytes_total))
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, never cut.
    Name,
    /// A text that may be cut to fit.
    Text,
    /// A text that is cut to fit, and left out rather than cut too short.
    Extra,
    /// A number.
    Number,
}

/// A table as text.
#[derive(Clone, Debug, Default)]
pub struct TextTable {
    columns: Vec<(&'static str, Kind)>,
    rows: Vec<Vec<String>>,
    /// Below the rule.
    sums: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these columns.
    pub fn new(columns: &[(&'static str, Kind)]) -> Self {
        Self { columns: columns.to_vec(), ..Self::default() }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| one_line(cell)).collect());
    }

    /// One more row below the rule.
    pub fn sum(&mut self, cells: Vec<String>) {
        self.sums.push(cells.iter().map(|cell| one_line(cell)).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let cell = |index: usize| {
            let cells = self.rows.iter().chain(&self.sums).filter_map(move |row| row.get(index));
            cells.map(|cell| cell.width()).max().unwrap_or_default()
        };
        self.columns.iter().enumerate().map(|(index, (name, _))| name.width().max(cell(index))).collect()
    }

    /// Whether it fits into so many columns, if what is extra may be cut.
    pub fn fits(&self, width: usize) -> bool {
        self.needs(MIN_TEXT) <= width
    }

    /// Whether it fits into so many columns, if what is extra may be left out.
    pub fn fits_without_extras(&self, width: usize) -> bool {
        self.needs(0) <= width
    }

    fn needs(&self, extra: usize) -> usize {
        let widths = self.widths().into_iter().zip(&self.columns);
        let widths: Vec<usize> =
            widths.map(|(width, (_, kind))| if *kind == Kind::Extra { width.min(extra) } else { width }).collect();
        total(&widths)
    }

    /// The lines of the table, fitted to the screen.
    pub fn render(&self, screen: &Screen) -> String {
        let mut widths = self.widths();
        for kind in [Kind::Extra, Kind::Text] {
            for index in (0..widths.len()).rev() {
                if self.columns[index].1 == kind {
                    let over = total(&widths).saturating_sub(screen.width);
                    widths[index] = widths[index].saturating_sub(over).max(MIN_TEXT.min(widths[index]));
                }
            }
            if kind == Kind::Extra {
                for index in (0..widths.len()).rev() {
                    if self.columns[index].1 == kind && total(&widths) > screen.width {
                        widths[index] = 0;
                    }
                }
            }
        }
        let names: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rule = screen.style.dim(&"─".repeat(total(&widths)));
        let mut lines = vec![screen.style.bold(&self.line(&names, &widths)), rule.clone()];
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        if !self.sums.is_empty() {
            lines.push(rule);
            lines.extend(self.sums.iter().map(|row| screen.style.bold(&self.line(row, &widths))));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut out = String::new();
        for ((cell, &width), (_, kind)) in cells.iter().zip(widths).zip(&self.columns) {
            if width == 0 {
                continue;
            }
            let cell = cut(cell, width);
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if !out.is_empty() {
                out.push_str(&" ".repeat(GAP));
            }
            if *kind == Kind::Number {
                out.push_str(&padding);
                out.push_str(&cell);
            } else {
                out.push_str(&cell);
                out.push_str(&padding);
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

fn total(widths: &[usize]) -> usize {
    let shown = widths.iter().filter(|&&width| width > 0);
    let (columns, sum) = shown.fold((0, 0), |(columns, sum), width| (columns + 1, sum + width));
    sum + GAP * usize::saturating_sub(columns, 1)
}

/// `text` in at most `width` columns, with an ellipsis where it goes on.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or_default();
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TextTable {
        let columns = [("Day", Kind::Name), ("Project", Kind::Text), ("Tokens", Kind::Number), ("Models", Kind::Extra)];
        let mut table = TextTable::new(&columns);
        let row = |cells: [&str; 4]| cells.map(ToOwned::to_owned).to_vec();
        table.row(row(["2026-09-20", "an engine of some size\u{1b}[31m", "1,234,567", "Opus 5, Sonnet 5, Haiku 5"]));
        table.row(row(["2026-09-21", "機械", "9", "–"]));
        table.sum(row(["Total", "", "1,234,576", ""]));
        table
    }

    fn rendered(width: usize) -> Vec<String> {
        let screen = Screen { width, style: Style { colours: false } };
        table().render(&screen).lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn numbers_are_aligned_to_the_right_of_any_script() {
        let lines = rendered(120);
        let end = |line: &str, number: &str| line.split(number).next().unwrap().width() + number.width();
        assert_eq!(end(&lines[2], "1,234,567"), end(&lines[3], "9  –") - 3);
        assert_eq!(end(&lines[2], "1,234,567"), end(&lines[5], "1,234,576"));
        assert!(!lines.concat().contains('\u{1b}'), "what strangers wrote cannot colour the screen");
    }

    #[test]
    fn what_is_too_wide_is_cut_then_left_out() {
        assert!(table().fits(70) && !table().fits(60) && table().fits_without_extras(50));
        for width in [80, 70, 60, 50, 42] {
            let lines = rendered(width);
            assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:#?}");
            assert!(lines[2].contains("1,234,567") && lines[2].starts_with("2026-09-20"));
        }
        assert!(rendered(70)[2].ends_with('…'));
        assert!(!rendered(42)[0].contains("Models"));
    }
}
