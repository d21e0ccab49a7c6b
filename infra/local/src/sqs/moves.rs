//! Message move tasks: asked for, told of, cancelled, and carried out in the background.
//!
//! Asynchronous, as in AWS, so that whoever redrives can watch it and take it back.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::store::Store;
use super::{Result, Sqs, read, within};

/// How many messages move at once where no rate is given: few enough that requests get their turn.
const PIECE: i64 = 100;
/// A task with a rate moves a tenth of it in each.
const TICK: Duration = Duration::from_millis(100);
const UNTIL_NEXT_TRY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    source_arn: String,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    source_arn: String,
    max_results: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Cancel {
    task_handle: String,
}

pub(super) fn list(store: &Store, body: &[u8]) -> Result<Value> {
    let List { source_arn, max_results } = read(body)?;
    let max = within(max_results, "MaxResults", 1, 10)?.unwrap_or(1);
    Ok(json!({"Results": store.tasks(&source_arn, max)?}))
}

pub(super) fn cancel(store: &mut Store, body: &[u8]) -> Result<Value> {
    let Cancel { task_handle } = read(body)?;
    Ok(json!({"ApproximateNumberOfMessagesMoved": store.cancel_task(&task_handle)?}))
}

impl Sqs {
    pub(super) fn start_move(&self, store: &mut Store, body: &[u8]) -> Result<Value> {
        let Start { source_arn, destination_arn, max_number_of_messages_per_second: rate } = read(body)?;
        let rate = within(rate, "MaxNumberOfMessagesPerSecond", 1, 500)?;
        let task = store.start_task(&source_arn, destination_arn.as_deref(), rate)?;
        self.carry_out(task, rate);
        Ok(json!({"TaskHandle": task.to_string()}))
    }

    /// Carries out what was running when the last process ended. A redrive that was answered is kept like a message
    /// that was: what has moved is counted, the rest still waits, so that there is nothing to make up for.
    pub(super) fn go_on(&self) -> Result<()> {
        for (task, rate) in self.store().running_tasks()? {
            self.carry_out(task, rate);
        }
        Ok(())
    }

    /// Moves piece by piece until the task is over, or the service is gone: this alone does not keep it.
    fn carry_out(&self, task: i64, rate: Option<i64>) {
        let (store, arrivals) = (Arc::downgrade(&self.store), self.arrivals.clone());
        tokio::spawn(async move {
            // In tenths of a message.
            let mut due = 0;
            loop {
                due += rate.unwrap_or(10 * PIECE);
                let most = due / 10;
                due %= 10;
                let Some(store) = store.upgrade() else { return };
                let piece = store.lock().unwrap_or_else(PoisonError::into_inner).move_piece(task, most);
                drop(store);
                arrivals.send_replace(());
                match piece {
                    Ok(false) => return,
                    Ok(true) if rate.is_some() => sleep(TICK).await,
                    Ok(true) => yield_now().await,
                    Err(error) => {
                        tracing::warn!(%error, "messages cannot be moved; trying on");
                        sleep(UNTIL_NEXT_TRY).await;
                    }
                }
            }
        });
    }
}
