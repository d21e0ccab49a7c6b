//! Starts, lists, cancels and runs message move tasks.
//!
//! Tasks run in the background, as in AWS, so that a client can watch and cancel a redrive.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use gatehouse_sqs_protocol::request::{CancelMove, ListMoves, StartMove, in_range, read};
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::store::Store;
use super::{Result, Sqs};

/// Number of messages that a task without a rate moves at a time. It is small, because the store is locked meanwhile.
const PIECE_SIZE: i64 = 100;
/// Interval at which a task with a rate moves a tenth of that rate.
const TICK: Duration = Duration::from_millis(100);
/// Pause after a failed attempt.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// `ListMessageMoveTasks`: returns the latest tasks of a queue.
pub(super) fn list(store: &Store, request: &Value) -> Result<Value> {
    let ListMoves { source_arn, max_results } = read(request)?;
    let max = in_range(max_results, "MaxResults", 1, 10)?.unwrap_or(1);
    Ok(json!({"Results": store.tasks(&source_arn, max)?}))
}

/// `CancelMessageMoveTask`: stops a running task. Messages that were moved stay moved.
pub(super) fn cancel(store: &mut Store, request: &Value) -> Result<Value> {
    let CancelMove { task_handle } = read(request)?;
    Ok(json!({"ApproximateNumberOfMessagesMoved": store.cancel_task(&task_handle)?}))
}

impl Sqs {
    /// `StartMessageMoveTask`: records a task and starts it.
    pub(super) fn start_move(&self, store: &mut Store, request: &Value) -> Result<Value> {
        let StartMove { source_arn, destination_arn, max_number_of_messages_per_second: rate } = read(request)?;
        let rate = in_range(rate, "MaxNumberOfMessagesPerSecond", 1, 500)?;
        let task = store.start_task(&source_arn, destination_arn.as_deref(), rate)?;
        self.run_move(task, rate);
        Ok(json!({"TaskHandle": task.to_string()}))
    }

    /// Resumes the tasks that were running when the last process ended. Each piece is moved and counted in one
    /// transaction, so no message is lost or counted twice.
    pub(super) fn resume_moves(&self) -> Result<()> {
        for (task, rate) in self.store().running_tasks()? {
            self.run_move(task, rate);
        }
        Ok(())
    }

    /// Moves messages piece by piece until the task has ended. Holds only a weak reference to the store, so it also
    /// stops when the service is dropped.
    fn run_move(&self, task: i64, rate: Option<i64>) {
        let (store, arrivals) = (Arc::downgrade(&self.store), self.arrivals.clone());
        tokio::spawn(async move {
            // Messages that may be moved now, in tenths of a message.
            let mut due = 0;
            loop {
                due += rate.unwrap_or(10 * PIECE_SIZE);
                let max = due / 10;
                due %= 10;
                let Some(store) = store.upgrade() else { return };
                let piece = store.lock().unwrap_or_else(PoisonError::into_inner).move_piece(task, max);
                drop(store);
                arrivals.send_replace(());
                match piece {
                    Ok(false) => return,
                    Ok(true) if rate.is_some() => sleep(TICK).await,
                    Ok(true) => yield_now().await,
                    Err(error) => {
                        tracing::warn!(%error, "moving messages failed; retrying");
                        sleep(RETRY_DELAY).await;
                    }
                }
            }
        });
    }
}
