//! The steps of a redrive.

use std::time::Duration;

use gatehouse_local::Error;
use tokio::time::{Instant, sleep};

use super::super::queue::{DeadLetter, Received, peek, receive_all, release};
use super::super::receipt::Receipt;
use super::super::{SelectionArgs, held_elsewhere_error};
use super::moves::{MoveEnd, move_all, move_each};
use crate::ops::console::Console;
use crate::ops::deployment::Deployment;
use crate::shell::Interrupts;

/// First interval between reads of the outcomes. Each further one is twice as long.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Longest interval between reads of the outcomes.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// A redrive whose dead letters are received and held.
#[derive(Debug)]
pub(super) struct Redrive {
    received: Received,
    receipt: Receipt,
    is_resumed: bool,
    /// SQS can only move all dead letters. A redrive of selected ones moves them one by one.
    is_of_all: bool,
}

impl Redrive {
    /// Receives and holds the selected dead letters, or those in the receipt of a resumed redrive.
    ///
    /// # Errors
    /// If SQS fails, the user interrupts it, or another command holds the dead letters.
    pub(super) async fn receive(
        deployment: &Deployment,
        selection: &SelectionArgs,
        resumed: Option<Receipt>,
        console: Console,
        stop: &mut Interrupts,
    ) -> Result<Redrive, Error> {
        let received = receive_selected(deployment, selection, resumed.as_ref(), console, stop).await?;
        let is_resumed = resumed.is_some();
        if received.letters.is_empty() && !is_resumed && received.held_elsewhere > 0 {
            return Err(held_elsewhere_error(received.held_elsewhere));
        }
        let is_of_all = resumed.as_ref().map_or(selection.selects_everything(), Receipt::is_of_all);
        let receipt = match resumed {
            Some(mut receipt) => {
                receipt.update_message_ids(&received.letters);
                receipt
            }
            None => Receipt::new(&received.letters, is_of_all),
        };
        Ok(Redrive { received, receipt, is_resumed, is_of_all })
    }

    /// Whether no dead letter is selected, and no redrive is resumed.
    pub(super) fn has_nothing_to_do(&self) -> bool {
        self.received.letters.is_empty() && !self.is_resumed
    }

    /// The held dead letters.
    pub(super) fn letters(&self) -> &[DeadLetter] {
        &self.received.letters
    }

    /// The receipt before the move.
    pub(super) fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Releases the dead letters and moves none.
    ///
    /// # Errors
    /// If SQS fails.
    pub(super) async fn cancel(&self, deployment: &Deployment) -> Result<(), Error> {
        release(deployment, &self.received.letters).await
    }

    /// Moves the dead letters, waits for at most `wait` until they are recorded, and reads their outcomes.
    ///
    /// # Errors
    /// If the outcomes cannot be read.
    pub(super) async fn run(
        self,
        deployment: &Deployment,
        rate: Option<f64>,
        wait: Duration,
        console: Console,
        stop: &mut Interrupts,
    ) -> Result<(Receipt, MoveEnd), Error> {
        let Redrive { received, mut receipt, is_of_all, .. } = self;
        let moved = if received.letters.is_empty() {
            Ok(MoveEnd::Completed)
        } else if is_of_all {
            release(deployment, &received.letters).await?;
            move_all(deployment, rate, console, stop).await
        } else {
            move_each(deployment, received, rate, console, stop).await
        };
        let end = moved.unwrap_or_else(MoveEnd::Failed);
        if matches!(end, MoveEnd::Completed) {
            wait_until_recorded(deployment, &mut receipt, wait, console, stop).await?;
        }
        resolve_outcomes(deployment, &mut receipt, console, stop).await?;
        Ok((receipt, end))
    }
}

/// Receives the selected dead letters, or those in the receipt of a resumed redrive.
async fn receive_selected(
    deployment: &Deployment,
    selection: &SelectionArgs,
    resumed: Option<&Receipt>,
    console: Console,
    stop: &mut Interrupts,
) -> Result<Received, Error> {
    let bar = console.progress("reading");
    let received = receive_all(deployment, &bar, stop, |_| false).await?;
    bar.finish_and_clear();
    let is_selected = |letter: &DeadLetter| match resumed {
        Some(receipt) => receipt.contains(letter),
        None => selection.filter.matches(letter),
    };
    let received = received.retain(deployment, is_selected).await?;
    if received.is_partial {
        release(deployment, &received.letters).await?;
        return Err("interrupted: nothing was moved".into());
    }
    Ok(received)
}

/// Waits for at most `timeout` until all entries have a final outcome. In a `gatehouse dev` the wait also ends when the
/// retry queue is empty.
async fn wait_until_recorded(
    deployment: &Deployment,
    receipt: &mut Receipt,
    timeout: Duration,
    console: Console,
    stop: &mut Interrupts,
) -> Result<(), Error> {
    // There is no deadline if the timeout exceeds what an instant can represent.
    let (queue, deadline) = (deployment.retry_queue()?, Instant::now().checked_add(timeout));
    let bar = console.progress("waiting for the events to be recorded");
    bar.set_length(receipt.entries.len() as u64);
    let mut pause = FIRST_POLL_INTERVAL;
    let mut left = receipt.entries.len();
    while left > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let before = std::mem::replace(&mut left, receipt.refresh_batch(deployment).await?);
        bar.set_position((receipt.entries.len() - left) as u64);
        if left + 100 <= before {
            // A whole batch has final outcomes: continue with the next one immediately.
            continue;
        }
        let (visible, hidden) = deployment.counts(queue).await?;
        // In AWS the counts lag by a minute, so only the records count there.
        if visible + hidden == 0 && deployment.dev.is_some() {
            // The last events may have been recorded between reading the receipt and the counts.
            while left > 0 {
                let before = std::mem::replace(&mut left, receipt.refresh_batch(deployment).await?);
                if left == before {
                    break;
                }
            }
            break;
        }
        tokio::select! {
            biased;
            () = stop.next() => break,
            () = sleep(pause) => pause = (pause * 2).min(MAX_POLL_INTERVAL),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Completes the receipt's outcomes from the table and the dead-letter queue.
async fn resolve_outcomes(
    deployment: &Deployment,
    receipt: &mut Receipt,
    console: Console,
    stop: &mut Interrupts,
) -> Result<(), Error> {
    let bar = console.progress("reading the outcomes");
    let dead = peek(deployment, &bar, stop, |_| false).await?;
    if !dead.is_partial {
        receipt.resolve(deployment, &dead.letters, dead.held_elsewhere).await?;
    }
    bar.finish_and_clear();
    Ok(())
}
