//! The receipt of a command that changes many deliveries, with which an interrupted command continues.
//!
//! It is a file of JSON lines: the command, then one line for each selected delivery, then one line for each result. A
//! result is written after its delivery was changed, so that a command that is killed repeats at most one change.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use gatehouse_deliveries::DeliveryTable;
use gatehouse_deliveries::lane::{Lane, RowKey};
use gatehouse_deliveries::table::{Delivery, State};
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ops::files::{create_private_file, receipt_path};

/// Arguments about the receipt.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReceiptArgs {
    /// File for the receipt; it must not exist [default with --all: COMMAND-TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Continue an interrupted command from its receipt
    #[arg(long, value_name = "FILE", conflicts_with_all = ["event", "all", "to", "state", "since", "until", "receipt"])]
    resume: Option<PathBuf>,
}

/// A receipt that is being written.
#[derive(Debug)]
pub(super) struct Receipt {
    path: PathBuf,
    file: File,
}

/// A line of a receipt.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Command {
        command: String,
    },
    Result {
        lane: String,
        row: String,
        outcome: String,
    },
    Selected {
        lane: String,
        row: String,
        event_id: String,
        /// Whether it was already delivered when it was selected.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        delivered: bool,
    },
}

impl ReceiptArgs {
    /// Creates the receipt of `command` with the selected deliveries, if it has one.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub(super) fn create(
        &self,
        command: &str,
        selected: &[Delivery],
        is_all: bool,
        now: Timestamp,
    ) -> Result<Option<Receipt>, Error> {
        let default = || is_all.then(|| receipt_path(command, now));
        let Some(path) = self.receipt.clone().or_else(default).filter(|_| !selected.is_empty()) else {
            return Ok(None);
        };
        let file =
            create_private_file(&path).map_err(|error| format!("{}: {error}; nothing was changed", path.display()))?;
        let mut receipt = Receipt { path, file };
        let mut lines = vec![Line::Command { command: command.to_owned() }];
        lines.extend(selected.iter().map(|delivery| Line::Selected {
            lane: delivery.lane.to_string(),
            row: delivery.row.as_str().to_owned(),
            event_id: delivery.event_key.clone(),
            delivered: delivery.state == State::Delivered,
        }));
        receipt.write(&lines)?;
        Ok(Some(receipt))
    }

    /// Returns the receipt that is continued, and the deliveries without a result. Those that do not exist any more, or
    /// were delivered meanwhile, get a result.
    ///
    /// # Errors
    /// If the file cannot be read or belongs to another command, or DynamoDB does not respond.
    pub(super) async fn resume(
        &self,
        command: &str,
        table: &DeliveryTable,
    ) -> Result<(Option<Receipt>, Vec<Delivery>), Error> {
        let Some(path) = self.resume.clone() else { return Ok((None, Vec::new())) };
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = whole_lines(&text);
        let rest = pending(command, text).map_err(|error| format!("{}: {error}", path.display()))?;
        let file = File::options().append(true).open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        file.set_len(text.len() as u64)?;
        let mut receipt = Receipt { path, file };
        let mut deliveries = Vec::new();
        for Pending { lane, row, was_delivered } in rest {
            match table.get(&lane, &row).await? {
                Some(delivery) if delivery.state == State::Delivered && !was_delivered => {
                    receipt.add(&delivery, "delivered meanwhile")?;
                }
                Some(delivery) => deliveries.push(delivery),
                None => receipt.write(&[Line::of(&lane, &row, "gone")])?,
            }
        }
        Ok((Some(receipt), deliveries))
    }
}

impl Receipt {
    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the result of a delivery.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn add(&mut self, delivery: &Delivery, outcome: &str) -> Result<(), Error> {
        self.write(&[Line::of(&delivery.lane, &delivery.row, outcome)])
    }

    fn write(&mut self, lines: &[Line]) -> Result<(), Error> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        self.file.write_all(text.as_bytes()).map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(())
    }
}

impl Line {
    fn of(lane: &Lane, row: &RowKey, outcome: &str) -> Line {
        Line::Result { lane: lane.to_string(), row: row.as_str().to_owned(), outcome: outcome.to_owned() }
    }
}

/// Returns the text without a last line that was not written completely.
fn whole_lines(text: &str) -> &str {
    text.rfind('\n').and_then(|end| text.get(..=end)).unwrap_or_default()
}

/// A selected delivery without a result.
#[derive(Debug, PartialEq, Eq)]
struct Pending {
    lane: Lane,
    row: RowKey,
    /// Whether it was already delivered when it was selected.
    was_delivered: bool,
}

/// Returns the selected deliveries without a result, in their order.
fn pending(command: &str, text: &str) -> Result<Vec<Pending>, String> {
    let (mut selected, mut done) = (Vec::new(), BTreeSet::new());
    if text.is_empty() {
        return Err("the file is not a receipt".to_owned());
    }
    for (n, line) in text.lines().enumerate() {
        match (n, serde_json::from_str(line)) {
            (0, Ok(Line::Command { command: of })) if of == command => {}
            (0, Ok(Line::Command { command: of })) => {
                return Err(format!("the receipt is of gatehouse deliveries {of}, not {command}"));
            }
            (1.., Ok(Line::Result { lane, row, .. })) => drop(done.insert((lane, row))),
            (1.., Ok(Line::Selected { lane, row, delivered, .. })) => selected.push(((lane, row), delivered)),
            _ => return Err(format!("line {} is not a line of a receipt", n + 1)),
        }
    }
    let rest = selected.into_iter().filter(|(key, _)| !done.contains(key));
    let parse = |((lane, row), was_delivered): ((String, String), bool)| {
        let lane = lane.parse().map_err(|_| format!("{lane:?} is not a lane"))?;
        Ok(Pending { lane, row: RowKey::from_stored(row), was_delivered })
    };
    rest.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u32, outcome: Option<&str>) -> String {
        let (lane, row) = (format!("crm/e-{n:064}"), format!("2026-12-01T00:00:00Z/evt_{n}"));
        let line = match outcome {
            Some(outcome) => Line::Result { lane, row, outcome: outcome.to_owned() },
            None => Line::Selected { lane, row, event_id: format!("ada:{n}"), delivered: n == 3 },
        };
        serde_json::to_string(&line).unwrap()
    }

    #[test]
    fn deliveries_without_a_result_are_pending_even_if_the_last_line_is_torn() {
        let lines = [r#"{"command":"resend"}"#.to_owned(), line(1, None), line(2, None), line(3, None)];
        let whole = format!("{}\n{}\n", lines.join("\n"), line(2, Some("resent")));
        let torn = format!("{whole}{}", &line(1, Some("resent"))[..30]);
        assert_eq!(whole_lines(&torn), whole);
        let rows: Vec<_> =
            pending("resend", &whole).unwrap().into_iter().map(|of| (of.row, of.was_delivered)).collect();
        let row = |n: u32| RowKey::from_stored(format!("2026-12-01T00:00:00Z/evt_{n}"));
        assert_eq!(rows, [(row(1), false), (row(3), true)]);
    }

    #[test]
    fn receipt_of_another_command_or_file_is_refused() {
        let text = format!("{}\n{}\n", r#"{"command":"resend"}"#, line(1, None));
        let error = |text: &str| pending("discard", text).unwrap_err();
        assert_eq!(error(&text), "the receipt is of gatehouse deliveries resend, not discard");
        assert_eq!(error("{\"event_id\":\"ada:1\"}\n"), "line 1 is not a line of a receipt");
        assert_eq!(error("hello\n"), "line 1 is not a line of a receipt");
        assert_eq!(error(whole_lines("")), "the file is not a receipt");
    }
}
