//! Output of the commands: aligned text for readers, one JSON object per line for programs.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use clap::Args;
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use serde::Serialize;

use super::deployment::TargetArgs;
use crate::shell::{outcome_style, print};

/// Arguments that select the output format.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of the commands that show stored events.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArgs {
    /// Also print the content: payloads, or the summary, transcript and extracted data
    #[arg(long)]
    pub(crate) payload: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// A table with a heading and aligned columns. Colours appear only on a terminal.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<'h>(heading: impl IntoIterator<Item = &'h str>) -> Self {
        Table { rows: vec![heading.into_iter().map(str::to_owned).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escape_control(&cell)).collect());
    }

    /// Prints the rows without the heading, to continue a table.
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

/// Names and values, one line each.
#[derive(Debug, Default)]
pub(crate) struct KeyValues(String);

impl KeyValues {
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<str>) {
        let (dim, value) = (Style::new().dimmed(), escape_control(value.as_ref()));
        let style = style_of_cell(&value);
        let _ = writeln!(self.0, "{dim}{name:<12}{dim:#} {style}{value}{style:#}");
    }

    pub(crate) fn add_some(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Adds a text of several lines, indented below its name.
    pub(crate) fn block(&mut self, name: &str, text: &str) {
        let dim = Style::new().dimmed();
        let _ = writeln!(self.0, "{dim}{name}{dim:#}");
        for line in text.lines() {
            let _ = writeln!(self.0, "  {}", escape_control(line));
        }
    }

    pub(crate) fn print(&self) -> Result<(), Error> {
        print_styled(&self.0)
    }

    /// Returns the text without colours.
    #[cfg(test)]
    pub(crate) fn plain_text(&self) -> String {
        anstream::adapter::strip_str(&self.0).to_string()
    }
}

pub(crate) fn print_styled(text: &str) -> Result<(), Error> {
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    if choice == anstream::ColorChoice::Never {
        print(&anstream::adapter::strip_str(text).to_string())
    } else {
        print(text)
    }
}

/// Escapes control characters, because text from outside could move the cursor.
pub(crate) fn escape_control(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

fn style_of_cell(cell: &str) -> Style {
    match cell.split(':').next().unwrap_or_default() {
        "ok" => AnsiColor::Green.on_default(),
        "waiting" | "warning" | "missing" => AnsiColor::Yellow.on_default(),
        "dead" | "wrong" => AnsiColor::Red.on_default(),
        "-" => Style::new().dimmed(),
        word => outcome_style(word),
    }
}

/// Prints an object as one line of JSON.
pub(crate) fn print_json(object: &impl Serialize) -> Result<(), Error> {
    print(&format!("{}\n", serde_json::to_string(object)?))
}

/// Indents a JSON text. Returns other text unchanged.
pub(crate) fn pretty_json(text: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
}

/// Formats the time since `at`: `42 s`, `5 min`, `3 h` or `12 d`.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_secs() - at.as_secs()).max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats a count and its noun: `1 event`, `2 events`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Parses a time such as `2026-11-21T17:00:00Z`, or a span before now such as `90s`, `15min`, `1h` or `7d`.
pub(crate) fn parse_when(text: &str) -> Result<When, String> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(When::At(at));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => {
            return Err(
                "expected a span such as 90s, 15min, 1h or 7d, or a time such as 2026-11-21T17:00:00Z".to_owned()
            );
        }
    };
    let number: i64 =
        number.parse().ok().filter(|n| *n <= 100_000).ok_or("expected a number up to 100000 before the unit")?;
    Ok(When::Ago(number * unit))
}

/// A time, absolute or relative to now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    At(Timestamp),
    /// Seconds before now.
    Ago(i64),
}

impl When {
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            When::At(at) => at,
            When::Ago(seconds) => now.plus_secs(-seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_a_span_before_now_or_a_time() {
        let now = Timestamp::parse("2026-11-21T17:00:00Z").unwrap();
        let resolved = |text: &str| parse_when(text).map(|when| when.resolve(now).to_string());
        assert_eq!(resolved("90s").unwrap(), "2026-11-21T16:58:30.000Z");
        assert_eq!(resolved("15min").unwrap(), resolved("15m").unwrap());
        assert_eq!(resolved("7d").unwrap(), "2026-11-14T17:00:00.000Z");
        assert_eq!(resolved("2026-11-01T00:00:00Z").unwrap(), "2026-11-01T00:00:00.000Z");
        for text in ["", "h", "1", "1w", "-1h", "1h30m", "yesterday", "99999999999999999999h", "1000000d"] {
            assert!(parse_when(text).is_err(), "{text}");
        }
    }

    #[test]
    fn age_has_the_largest_suitable_unit() {
        let now = Timestamp::clamped(1_795_000_000_000);
        let ages: Vec<_> = [0, 119, 120, 7200, 172_800, -5].into_iter().map(|s| age(now.plus_secs(-s), now)).collect();
        assert_eq!(ages, ["0 s", "119 s", "2 min", "2 h", "2 d", "0 s"]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_control("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }
}
