//! How commands tell: tables for readers, one JSON object a line for programs.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use clap::Args;
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use serde::Serialize;

use crate::shell::{print, style_of};

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Form {
    /// One JSON object a line, for pipes
    #[arg(long)]
    pub(crate) json: bool,
}

/// Rows under a heading, their columns aligned; colours only on a terminal.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self::of(heading.map(str::to_owned).to_vec())
    }

    pub(crate) fn of(heading: Vec<String>) -> Self {
        Table { rows: vec![heading] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| shown(&cell)).to_vec());
    }

    pub(crate) fn rows(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| shown(cell)).collect());
    }

    /// Without the heading: further rows of a table that was begun.
    pub(crate) fn print_rows(&self) -> Result<(), Error> {
        self.print_from(1)
    }

    pub(crate) fn print(&self) -> Result<(), Error> {
        self.print_from(0)
    }

    fn print_from(&self, first: usize) -> Result<(), Error> {
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (n, row) in self.rows.iter().enumerate().skip(first) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width - cell.chars().count() + 2);
                let style = if n == 0 { Style::new().dimmed() } else { style_of_cell(cell) };
                write!(line, "{style}{cell}{style:#}{padding}")?;
            }
            writeln!(text, "{}", line.trim_end())?;
        }
        print_styled(&text)
    }
}

/// Names and values, a line each.
#[derive(Debug, Default)]
pub(crate) struct Facts(String);

impl Facts {
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<str>) {
        let (dim, value) = (Style::new().dimmed(), shown(value.as_ref()));
        let style = style_of_cell(&value);
        let _ = writeln!(self.0, "{dim}{name:<12}{dim:#} {style}{value}{style:#}");
    }

    pub(crate) fn add_some(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Text of several lines below its name.
    pub(crate) fn block(&mut self, name: &str, text: &str) {
        let dim = Style::new().dimmed();
        let _ = writeln!(self.0, "{dim}{name}{dim:#}");
        for line in text.lines() {
            let _ = writeln!(self.0, "  {}", shown(line));
        }
    }

    pub(crate) fn print(&self) -> Result<(), Error> {
        print_styled(&self.0)
    }
}

fn print_styled(text: &str) -> Result<(), Error> {
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    if choice == anstream::ColorChoice::Never {
        print(&anstream::adapter::strip_str(text).to_string())
    } else {
        print(text)
    }
}

/// What comes from outside may move the cursor: control characters are shown, not obeyed.
pub(crate) fn shown(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

fn style_of_cell(cell: &str) -> Style {
    match cell.split(':').next().unwrap_or_default() {
        "ok" => AnsiColor::Green.on_default(),
        "waiting" | "warning" | "missing" => AnsiColor::Yellow.on_default(),
        "dead" | "wrong" => AnsiColor::Red.on_default(),
        "-" => Style::new().dimmed(),
        word => style_of(word),
    }
}

/// One object, as a line.
pub(crate) fn json(object: &impl Serialize) -> Result<(), Error> {
    print(&format!("{}\n", serde_json::to_string(object)?))
}

/// JSON text for a reader; as it is where it is none.
pub(crate) fn pretty(text: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
}

/// How long ago something was: `42 s`, `5 min`, `3 h`, `12 d`.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_secs() - at.as_secs()).max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A moment: `2026-11-21T17:00:00Z`, or a span before now: `90s`, `15min`, `1h`, `7d`.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(Moment::At(at));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("give a span such as 90s, 15min, 1h or 7d, or a time such as 2026-11-21T17:00:00Z".to_owned()),
    };
    let number: i64 =
        number.parse().ok().filter(|n| *n <= 100_000).ok_or("give a number up to 100000 before the unit")?;
    Ok(Moment::Before(number * unit))
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    At(Timestamp),
    /// Seconds before now.
    Before(i64),
}

impl Moment {
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(at) => at,
            Moment::Before(seconds) => now.plus_secs(-seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_span_before_now_or_a_time() {
        let now = Timestamp::parse("2026-11-21T17:00:00Z").unwrap();
        let from = |text: &str| moment(text).map(|moment| moment.from(now).to_string());
        assert_eq!(from("90s").unwrap(), "2026-11-21T16:58:30.000Z");
        assert_eq!(from("15min").unwrap(), from("15m").unwrap());
        assert_eq!(from("7d").unwrap(), "2026-11-14T17:00:00.000Z");
        assert_eq!(from("2026-11-01T00:00:00Z").unwrap(), "2026-11-01T00:00:00.000Z");
        for text in ["", "h", "1", "1w", "-1h", "1h30m", "yesterday", "99999999999999999999h", "1000000d"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_are_read_at_a_glance() {
        let now = Timestamp::clamped(1_795_000_000_000);
        let ages: Vec<_> = [0, 119, 120, 7200, 172_800, -5].into_iter().map(|s| age(now.plus_secs(-s), now)).collect();
        assert_eq!(ages, ["0 s", "119 s", "2 min", "2 h", "2 d", "0 s"]);
    }

    #[test]
    fn what_is_told_cannot_move_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }
}
