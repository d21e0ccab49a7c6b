//! Numbers, and how they are told: tables for people, JSON for programs.

use std::time::Duration;

use serde::Serialize;

/// What was measured many times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// One more, in milliseconds.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(ms(time));
    }

    /// One more, in whatever it is measured in.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value that a part of all is below: 0.5 is the median.
    #[must_use]
    pub(crate) fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let place = (sorted.len() as f64 * part) as usize;
        sorted.get(place.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// The mean.
    #[must_use]
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The median.
    #[must_use]
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Least, median and 99th percentile, as a table has them.
    #[must_use]
    pub(crate) fn cell(&self) -> Cell {
        Cell::Spread { min: self.at(0.0), median: self.median(), p99: self.at(0.99), of: self.0.len() }
    }
}

/// In milliseconds.
#[must_use]
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What stands in a table.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    /// A word.
    Text(String),
    /// A number.
    Number(f64),
    /// A number that was measured many times.
    Spread {
        /// The least.
        min: f64,
        /// The median.
        median: f64,
        /// The 99th percentile.
        p99: f64,
        /// How many times.
        of: usize,
    },
    /// It cannot be measured.
    None,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Cell::Number(number)
    }
}

/// Three digits that count.
fn short(number: f64) -> String {
    match number.abs() {
        _ if number.is_nan() => "?".to_owned(),
        size if size >= 100.0 || size == 0.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => short(*number),
            Cell::Spread { min, median, p99, .. } => {
                format!("{} · {} · {}", short(*min), short(*median), short(*p99))
            }
            Cell::None => "–".to_owned(),
        };
        f.pad(&text)
    }
}

/// A table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Table {
    /// What it is about.
    pub(crate) title: String,
    /// What a reader must know to read it.
    pub(crate) note: String,
    /// The columns' heads; units in them.
    pub(crate) columns: Vec<String>,
    /// A cell for each column.
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub(crate) fn new(title: &str, note: &str, columns: &[&str]) -> Table {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Table { title: title.to_owned(), note: note.to_owned(), columns, rows: Vec::new() }
    }
}

/// Markdown, which reads well on a terminal too.
impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(Cell::to_string).collect()).collect();
        let width = |n: usize| {
            let head = self.columns.get(n).map_or(0, |head| head.chars().count());
            cells.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).fold(head, usize::max)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        writeln!(f, "### {}\n", self.title)?;
        if !self.note.is_empty() {
            writeln!(f, "{}\n", self.note)?;
        }
        let line = |f: &mut std::fmt::Formatter<'_>, cells: &[String]| {
            write!(f, "|")?;
            for (n, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
                if n == 0 { write!(f, " {cell:<width$} |")? } else { write!(f, " {cell:>width$} |")? }
            }
            writeln!(f)
        };
        line(f, &self.columns)?;
        let rule = |(n, &width): (usize, &usize)| {
            if n == 0 { "-".repeat(width) } else { format!("{}:", "-".repeat(width - 1)) }
        };
        line(f, &widths.iter().enumerate().map(rule).collect::<Vec<_>>())?;
        cells.iter().try_for_each(|row| line(f, row))
    }
}

/// What a measurement is held to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    /// What is measured.
    pub(crate) what: String,
    /// What it came to.
    pub(crate) got: f64,
    /// What it may come to.
    pub(crate) limit: f64,
    /// Whether more is better.
    pub(crate) at_least: bool,
}

impl Target {
    /// At most `limit`.
    #[must_use]
    pub(crate) fn most(what: &str, got: f64, limit: f64) -> Target {
        Target { what: what.to_owned(), got, limit, at_least: false }
    }

    /// At least `limit`.
    #[must_use]
    pub(crate) fn least(what: &str, got: f64, limit: f64) -> Target {
        Target { what: what.to_owned(), got, limit, at_least: true }
    }

    /// Whether it is met.
    #[must_use]
    pub(crate) fn is_met(&self) -> bool {
        if self.at_least { self.got >= self.limit } else { self.got <= self.limit }
    }
}

/// All that a run came to.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// The tables.
    pub(crate) tables: Vec<Table>,
    /// What they are held to.
    pub(crate) targets: Vec<Target>,
}

impl Report {
    /// Adds another's.
    pub(crate) fn extend(&mut self, other: Report) {
        self.tables.extend(other.tables);
        self.targets.extend(other.targets);
    }

    /// The targets as a table; nothing where there are none.
    #[must_use]
    pub(crate) fn verdict(&self) -> Option<Table> {
        let mut table = Table::new("Targets", "Medians of this run.", &["what", "came to", "target", ""]);
        for target in &self.targets {
            let limit = format!("{} {}", if target.at_least { "≥" } else { "≤" }, short(target.limit));
            let met = if target.is_met() { "met" } else { "**missed**" };
            table.rows.push(vec![target.what.as_str().into(), target.got.into(), limit.into(), met.into()]);
        }
        (!table.rows.is_empty()).then_some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_whose_columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new("Title", "A note.", &["", "ms"]);
        let mut times = Times::default();
        (1..=100).for_each(|n| times.push(f64::from(n)));
        table.rows.push(vec!["one".into(), times.cell()]);
        table.rows.push(vec!["another".into(), Cell::None]);
        let expected = "### Title\n\nA note.\n\n|         |                ms |\n| ------- | ----------------: |\n\
                        | one     | 1.00 · 51.0 · 100 |\n| another |                 – |\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_target_is_met_on_its_own_side() {
        assert!(Target::most("x", 1.0, 1.0).is_met() && !Target::most("x", 1.1, 1.0).is_met());
        assert!(Target::least("x", 1.0, 1.0).is_met() && !Target::least("x", 0.9, 1.0).is_met());
    }
}
