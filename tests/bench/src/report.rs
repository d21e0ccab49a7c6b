//! Results: tables for people, JSON for programs.

use std::time::Duration;

use serde::Serialize;

/// Repeated measurements of one quantity.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Adds a duration, in milliseconds.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(ms(time));
    }

    /// Adds a value in any unit.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The quantile for `part`: 0.5 is the median.
    #[must_use]
    pub(crate) fn quantile(&self, part: f64) -> f64 {
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
        self.quantile(0.5)
    }

    /// A cell with the minimum, the median and the 99th percentile.
    #[must_use]
    pub(crate) fn cell(&self) -> Cell {
        Cell::Spread { min: self.quantile(0.0), median: self.median(), p99: self.quantile(0.99), of: self.0.len() }
    }
}

/// Converts a duration to milliseconds.
#[must_use]
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A cell of a table.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
    /// A quantity that was measured repeatedly.
    Spread {
        /// The minimum.
        min: f64,
        /// The median.
        median: f64,
        /// The 99th percentile.
        p99: f64,
        /// The number of measurements.
        of: usize,
    },
    /// Not measured.
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

/// Formats a number with three significant digits.
fn short(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "?".to_owned()
    } else if size >= 100.0 || size == 0.0 {
        format!("{number:.0}")
    } else if size >= 10.0 {
        format!("{number:.1}")
    } else if size >= 1.0 {
        format!("{number:.2}")
    } else {
        format!("{number:.3}")
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
    /// The title.
    pub(crate) title: String,
    /// An explanation of the columns.
    pub(crate) note: String,
    /// The column headers, with units.
    pub(crate) columns: Vec<String>,
    /// Rows with a cell for each column.
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Creates a table without rows.
    #[must_use]
    pub(crate) fn new(title: &str, note: &str, columns: &[&str]) -> Table {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Table { title: title.to_owned(), note: note.to_owned(), columns, rows: Vec::new() }
    }
}

/// Formats the table as Markdown, which is also readable in a terminal.
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

/// A measurement and its limit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    /// The name of the measurement.
    pub(crate) what: String,
    /// The measured value.
    pub(crate) got: f64,
    /// The limit.
    pub(crate) limit: f64,
    /// Whether the limit is a minimum.
    pub(crate) at_least: bool,
}

impl Target {
    /// A target with a maximum.
    #[must_use]
    pub(crate) fn at_most(what: &str, got: f64, limit: f64) -> Target {
        Target { what: what.to_owned(), got, limit, at_least: false }
    }

    /// A target with a minimum.
    #[must_use]
    pub(crate) fn at_least(what: &str, got: f64, limit: f64) -> Target {
        Target { what: what.to_owned(), got, limit, at_least: true }
    }

    /// Whether the target is met.
    #[must_use]
    pub(crate) fn is_met(&self) -> bool {
        if self.at_least { self.got >= self.limit } else { self.got <= self.limit }
    }
}

/// The results of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// The tables.
    pub(crate) tables: Vec<Table>,
    /// The targets.
    pub(crate) targets: Vec<Target>,
}

impl Report {
    /// Adds the tables and targets of another report.
    pub(crate) fn extend(&mut self, other: Report) {
        self.tables.extend(other.tables);
        self.targets.extend(other.targets);
    }

    /// The targets as a table, if there are any.
    #[must_use]
    pub(crate) fn verdict(&self) -> Option<Table> {
        let mut table = Table::new("Targets", "Medians of this run.", &["measurement", "result", "target", ""]);
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
    fn table_columns_are_as_wide_as_their_widest_cell() {
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
    fn target_is_met_on_the_correct_side_of_its_limit() {
        assert!(Target::at_most("x", 1.0, 1.0).is_met() && !Target::at_most("x", 1.1, 1.0).is_met());
        assert!(Target::at_least("x", 1.0, 1.0).is_met() && !Target::at_least("x", 0.9, 1.0).is_met());
    }
}
