//! A redrive that a program calls: its receipt stays in memory.

use std::time::Duration;

use gatehouse_local::Error;

use super::super::SelectionArgs;
use super::super::receipt::Receipt;
use super::{MoveEnd, Redrive, mistake};
use crate::ops::console::Console;
use crate::ops::deployment::Deployment;
use crate::send::RATES;

/// The result of a redrive.
#[derive(Debug)]
pub struct RedriveResult {
    /// The selected dead letters, in the order in which they were received.
    pub letters: Vec<RedrivenLetter>,
    /// The end of moving them.
    pub end: MoveEnd,
    /// Whether each event is recorded, a duplicate, a conflict or erased.
    pub is_complete: bool,
}

/// The outcome of a dead letter. With [`MoveEnd::Completed`] and [`RedriveResult::is_complete`] it is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivenLetter {
    /// The event's id, if the message has one.
    pub event_id: Option<String>,
    /// The id of the message on the dead-letter queue.
    pub message_id: String,
    /// `recorded`, `duplicate`, `conflict` or `erased`; otherwise a text that says where the message is.
    pub outcome: String,
}

impl RedriveResult {
    fn of(receipt: Receipt, end: MoveEnd) -> RedriveResult {
        let is_complete = receipt.is_complete();
        let letter = |entry: super::super::receipt::Entry| RedrivenLetter {
            event_id: entry.event_id,
            message_id: entry.message_id,
            outcome: entry.outcome,
        };
        RedriveResult { letters: receipt.entries.into_iter().map(letter).collect(), end, is_complete }
    }
}

/// Redrives the selected dead letters.
pub(crate) async fn redrive(
    deployment: &Deployment,
    selection: &SelectionArgs,
    rate: Option<f64>,
    wait: Duration,
) -> Result<RedriveResult, Error> {
    if let Some(mistake) = mistake(selection, rate, false) {
        return Err(mistake.into());
    }
    if rate.is_some_and(|rate| !RATES.contains(&rate)) {
        return Err("the rate is not from 0.001 to 1000000 per second".into());
    }
    let console = Console::Detached;
    let mut stop = console.interrupts();
    let redrive = Redrive::receive(deployment, selection, None, console, &mut stop).await?;
    if redrive.has_nothing_to_do() {
        return Ok(RedriveResult { letters: Vec::new(), end: MoveEnd::Completed, is_complete: true });
    }
    let (receipt, end) = redrive.run(deployment, rate, wait, console, &mut stop).await?;
    Ok(RedriveResult::of(receipt, end))
}
