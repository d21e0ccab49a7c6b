//! Output of the commands: aligned text for readers, one JSON object per line for programs.

use std::fmt::Write as _;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use clap::Args;
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::deployment::TargetArgs;
use crate::shell::{outcome_style, write};

/// Arguments that select the output format.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print whole values and all columns, even if they do not fit the terminal
    #[arg(long)]
    pub(crate) wide: bool,
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

impl OutputArgs {
    /// Creates a table. It fits the terminal, unless `--wide` is given.
    pub(crate) fn table<'h>(self, heading: impl IntoIterator<Item = &'h str>) -> Table {
        let width = if self.wide { None } else { terminal_width() };
        Table { width, ..Table::new(heading) }
    }
}

/// The narrowest column.
const MIN_COLUMN: usize = 10;
/// The headings of id columns, which are shortened first.
const IDS: [&str; 2] = ["SUBJECT", "EVENT"];
/// The width of id columns at which other columns are shortened instead.
const MIN_ID: usize = 16;
/// The spaces between two columns.
const GAP: usize = 2;

/// A table with a heading and aligned columns. Colours appear only on a terminal.
///
/// In a table that must fit a width, columns without values are left out, and long values are shortened in their middle.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    width: Option<usize>,
    /// The columns that are wrapped instead of shortened.
    prose: Vec<usize>,
}

impl Table {
    pub(crate) fn new<'h>(heading: impl IntoIterator<Item = &'h str>) -> Self {
        let heading = heading.into_iter().map(str::to_owned).collect();
        Table { rows: vec![heading], width: None, prose: Vec::new() }
    }

    /// Wraps the values of these columns instead of shortening them.
    pub(crate) fn with_prose(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        self.prose = columns.into_iter().collect();
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escape_control(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Prints the rows without the heading, to continue a table.
    pub(crate) fn print_rows(&self) -> Result<(), Error> {
        print_styled(&self.text(1))
    }

    pub(crate) fn print(&self) -> Result<(), Error> {
        print_styled(&self.text(0))
    }

    /// Returns the rows from `first` on, with styles.
    fn text(&self, first: usize) -> String {
        let columns = self.columns();
        let mut text = String::new();
        for (n, row) in self.rows.iter().enumerate().skip(first) {
            let cells: Vec<Vec<String>> = columns
                .iter()
                .map(|(column, width)| {
                    let cell = row.get(*column).map_or("", String::as_str);
                    if self.prose.contains(column) { wrap(cell, *width) } else { vec![shorten(cell, *width)] }
                })
                .collect();
            for line in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
                let mut styled = String::new();
                for ((column, width), lines) in columns.iter().zip(&cells) {
                    let cell = lines.get(line).map_or("", String::as_str);
                    let padding = " ".repeat((width + GAP).saturating_sub(cell.width()));
                    let whole = row.get(*column).map_or("", String::as_str);
                    let style = if n == 0 { Style::new().dimmed() } else { style_of_cell(whole) };
                    let _ = write!(styled, "{style}{cell}{style:#}{padding}");
                }
                let _ = writeln!(text, "{}", styled.trim_end());
            }
        }
        text
    }

    /// Returns the columns that are shown, with their widths.
    fn columns(&self) -> Vec<(usize, usize)> {
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or_default()
        };
        let has_value = |column: usize| {
            let mut cells = self.rows.iter().skip(1).filter_map(|row| row.get(column));
            self.is_empty() || cells.any(|cell| !cell.is_empty() && cell != "-")
        };
        let all = 0..self.rows.first().map_or(0, Vec::len);
        let Some(limit) = self.width else { return all.map(|column| (column, width_of(column))).collect() };
        let shown = all.filter(|column| has_value(*column));
        let mut columns: Vec<(usize, usize)> = shown.map(|column| (column, width_of(column))).collect();
        loop {
            let sum: usize = columns.iter().map(|(_, width)| width + GAP).sum();
            let excess = sum.saturating_sub(limit + GAP);
            if excess == 0 {
                return columns;
            }
            let is_id = |column: usize| self.rows[0].get(column).is_some_and(|heading| IDS.contains(&heading.as_str()));
            let mut ids: Vec<_> =
                columns.iter_mut().filter(|(column, width)| is_id(*column) && *width > MIN_ID).collect();
            let widest = match ids.iter_mut().max_by_key(|(_, width)| *width) {
                Some(widest) => &mut widest.1,
                None => match columns.iter_mut().max_by_key(|(_, width)| *width) {
                    Some((_, width)) if *width > MIN_COLUMN => width,
                    _ => return columns,
                },
            };
            *widest -= 1;
        }
    }
}

/// Names and values, one line each.
#[derive(Debug, Default)]
pub(crate) struct KeyValues(String);

/// The width of the names.
const NAMES: usize = 12;

impl KeyValues {
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<str>) {
        let (dim, value) = (Style::new().dimmed(), escape_control(value.as_ref()));
        let style = style_of_cell(&value);
        let width = terminal_width().map_or(usize::MAX, |width| width.saturating_sub(NAMES + 1).max(MIN_COLUMN));
        for (n, line) in wrap(&value, width).into_iter().enumerate() {
            let name = if n == 0 { name } else { "" };
            let _ = writeln!(self.0, "{dim}{name:<NAMES$}{dim:#} {style}{line}{style:#}");
        }
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

/// Returns the width of the terminal on standard output; `None` if that is not a terminal.
fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size();
    Some(size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0).max(MIN_WIDTH)))
}

/// The width if the terminal does not report one.
const DEFAULT_WIDTH: usize = 80;
/// The narrowest terminal that output is fitted to.
const MIN_WIDTH: usize = 40;

/// Replaces the middle of a text by `…`, so that it has at most `width` columns.
fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut head, mut tail, mut used) = (String::new(), Vec::new(), 1);
    let (mut front, mut back) = (text.chars(), text.chars().rev());
    // From both ends in turn. They never meet, because the text is too wide.
    loop {
        for takes_head in [true, false] {
            let next = if takes_head { front.next() } else { back.next() };
            let Some(character) = next else { continue };
            used += character.width().unwrap_or_default();
            if used > width {
                return head + "…" + &tail.iter().rev().collect::<String>();
            }
            if takes_head { head.push(character) } else { tail.push(character) }
        }
    }
}

/// Breaks a text into lines of at most `width` columns, at spaces. A longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Prints text with styles, of a command that only prints.
pub(crate) fn print_styled(text: &str) -> Result<(), Error> {
    let choice = anstream::AutoStream::choice(&std::io::stdout());
    if choice == anstream::ColorChoice::Never {
        write(&anstream::adapter::strip_str(text).to_string())
    } else {
        write(text)
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
    write(&format!("{}\n", serde_json::to_string(object)?))
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

/// Parses a time such as `2026-11-21T17:00:00Z`, a day such as `2026-11-21` in UTC, or a span before now such as `90s`,
/// `15min`, `2h30m` or `7d`.
pub(crate) fn parse_when(text: &str) -> Result<When, String> {
    let day = || Timestamp::parse(&format!("{text}T00:00:00Z"));
    if let Some(at) = Timestamp::parse(text).or_else(day) {
        return Ok(When::At(at));
    }
    let expected = "expected a span such as 90s, 15min, 2h30m or 7d, a time such as 2026-11-21T17:00:00Z, or a day";
    let (mut rest, mut seconds) = (text, 0);
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = unit.split_at(letters);
        let unit = match unit {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return Err(expected.to_owned()),
        };
        let number: i64 =
            number.parse().ok().filter(|n| *n <= 100_000).ok_or("expected a number up to 100000 before the unit")?;
        seconds += number * unit;
        rest = after;
    }
    Ok(When::Ago(seconds))
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
        assert_eq!(resolved("2026-11-01").unwrap(), "2026-11-01T00:00:00.000Z");
        assert_eq!(resolved("1h30m").unwrap(), resolved("90min").unwrap());
        assert_eq!(resolved("1w").unwrap(), resolved("7d").unwrap());
        for text in ["", "h", "1", "1y", "-1h", "1h30", "h1", "yesterday", "99999999999999999999h", "1000000d"] {
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
    fn table_fits_a_width() {
        let mut table = Table { width: Some(60), ..Table::new(["AGE", "MARKS", "SUBJECT", "EVENT"]) };
        let (subject, event) =
            (format!("ada:conversation:{}", "1".repeat(30)), format!("ada:msg_{}end", "2".repeat(40)));
        table.row(["1 s".to_owned(), String::new(), subject.clone(), event.clone()]);
        let text = anstream::adapter::strip_str(&table.text(0)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(!lines[0].contains("MARKS"), "{text}");
        assert!(lines.iter().all(|line| line.width() <= 60) && lines[1].width() == 60, "{text}");
        assert!(lines[1].contains("ada:conv") && lines[1].contains('…') && lines[1].ends_with("end"), "{text}");
        // A width that is large enough, and none.
        for width in [Some(200), None] {
            table.width = width;
            let text = anstream::adapter::strip_str(&table.text(0)).to_string();
            assert!(text.contains(&subject) && text.contains(&event), "{text}");
            assert_eq!(text.contains("MARKS"), width.is_none());
        }
    }

    #[test]
    fn prose_is_wrapped_and_never_shortened() {
        let mut table = Table { width: Some(40), ..Table::new(["CHECK", "WHAT TO DO"]) }.with_prose([1]);
        let advice = "wait if it is being updated; otherwise check it in the console";
        table.row(["table".to_owned(), advice.to_owned()]);
        let text = anstream::adapter::strip_str(&table.text(1)).to_string();
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.width() <= 40), "{text}");
        assert_eq!(text.split_whitespace().skip(1).collect::<Vec<_>>().join(" "), advice);
    }

    #[test]
    fn shortened_text_has_both_ends_and_the_width() {
        assert_eq!(shorten("abcdefghij", 10), "abcdefghij");
        assert_eq!(shorten("abcdefghijk", 10), "abcde…hijk");
        assert_eq!(shorten("日本日本日本", 7), "日本…本");
        for width in 1..20 {
            assert!(shorten("a long text with ü and 日本 in it", width).width() <= width);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_control("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }
}
