//! Moves dead letters to the retry queue.

use std::time::Duration;

use gatehouse_local::Error;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::queue::{Received, VISIBILITY_TIMEOUT, move_to_retry_queue, release};
use crate::ops::console::Console;
use crate::ops::deployment::Deployment;
use crate::send::as_f64;
use crate::shell::Interrupts;
use crate::stack::aws_error;

/// First interval between polls of a move task. Each further one is twice as long.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Longest interval between polls.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Time within which SQS lists a move that was started.
const LISTED_WITHIN: Duration = Duration::from_secs(30);

/// The end of moving the dead letters.
#[derive(Debug)]
pub enum MoveEnd {
    /// All were moved.
    Completed,
    /// The user stopped it, or the move task of SQS was cancelled. Some may have been moved.
    Interrupted,
    /// A request failed. Some may have been moved.
    Failed(Error),
}

/// Moves all dead letters by a move task of SQS.
pub(super) async fn move_all(
    deployment: &Deployment,
    rate: Option<f64>,
    console: Console,
    stop: &mut Interrupts,
) -> Result<MoveEnd, Error> {
    let (from, to) = (deployment.dead_letter_queue()?, deployment.retry_queue()?);
    let (from, to) = (deployment.arn(from).await?, deployment.arn(to).await?);
    let about = "the move of the dead letters";
    let mut previous = None;
    match latest_task(deployment, &from).await? {
        Some(task) if task.is_running() => console.note("a move is already running; waiting for it"),
        task => {
            previous = task.map(|task| task.started_at);
            #[allow(clippy::cast_possible_truncation, reason = "clamped")]
            let rate = rate.map(|rate| rate.round().clamp(1.0, 500.0) as i32);
            let start = deployment.sqs.start_message_move_task().source_arn(&from).destination_arn(to);
            let start = start.set_max_number_of_messages_per_second(rate).send().await;
            start.map_err(|error| aws_error(about, &error))?;
        }
    }
    let bar = console.progress("moving");
    let mut is_stopped = false;
    let deadline = Instant::now() + LISTED_WITHIN;
    let mut interval = FIRST_POLL_INTERVAL;
    loop {
        // SQS may still list the move before this one.
        let task = latest_task(deployment, &from).await?.filter(|task| Some(task.started_at) != previous);
        let Some(task) = task else {
            if Instant::now() > deadline {
                return Err("SQS does not list the move of the dead letters".into());
            }
            sleep(interval).await;
            continue;
        };
        bar.set_length(task.to_move);
        bar.set_position(task.moved);
        if !task.is_running() {
            bar.finish_and_clear();
            return match task.status.as_str() {
                "FAILED" => Err(format!("{about} failed: {}", task.failure.unwrap_or_default()).into()),
                "CANCELLED" => {
                    console.note(&format!("cancelled; about {} moved", task.moved));
                    Ok(MoveEnd::Interrupted)
                }
                _ => Ok(MoveEnd::Completed),
            };
        }
        tokio::select! {
            biased;
            () = stop.next(), if !is_stopped => {
                is_stopped = true;
                let cancel = deployment.sqs.cancel_message_move_task().set_task_handle(task.handle).send().await;
                // Cancelling fails if the task has just ended. The next poll shows whether it has.
                if let Err(error) = cancel {
                    console.note(&aws_error(about, &error).to_string());
                }
            }
            () = sleep(interval) => interval = (interval * 2).min(MAX_POLL_INTERVAL),
        }
    }
}

/// A move task of SQS.
struct Task {
    /// The start, in milliseconds since 1970. It identifies the task, because only running tasks have a handle.
    started_at: i64,
    handle: Option<String>,
    status: String,
    failure: Option<String>,
    moved: u64,
    to_move: u64,
}

impl Task {
    fn is_running(&self) -> bool {
        ["RUNNING", "CANCELLING"].contains(&self.status.as_str())
    }
}

/// Reads the latest move task of a queue.
async fn latest_task(deployment: &Deployment, from: &str) -> Result<Option<Task>, Error> {
    let list = deployment.sqs.list_message_move_tasks().source_arn(from).max_results(1).send().await;
    let list = list.map_err(|error| aws_error("the moves of the dead letters", &error))?;
    let number = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(list.results.unwrap_or_default().into_iter().next().map(|task| Task {
        started_at: task.started_timestamp,
        moved: number(task.approximate_number_of_messages_moved),
        to_move: number(task.approximate_number_of_messages_to_move.unwrap_or_default()),
        handle: task.task_handle,
        status: task.status.unwrap_or_default(),
        failure: task.failure_reason,
    }))
}

/// Moves held dead letters one by one. Releases those that are not moved.
pub(super) async fn move_each(
    deployment: &Deployment,
    mut received: Received,
    rate: Option<f64>,
    console: Console,
    stop: &mut Interrupts,
) -> Result<MoveEnd, Error> {
    let letters = std::mem::take(&mut received.letters);
    let bar = console.progress("moving");
    bar.set_length(letters.len() as u64);
    let started = Instant::now();
    let mut moved = Ok(MoveEnd::Completed);
    let mut next = 0;
    while let Some(letter) = letters.get(next) {
        let due = |rate| started + Duration::from_secs_f64(as_f64(next as u64) / rate);
        // The wait is short enough to extend the visibility timeout in time, even at a slow rate.
        let until = rate.map_or(started, due).min(Instant::now() + VISIBILITY_TIMEOUT / 4);
        tokio::select! {
            biased;
            () = stop.next() => moved = Ok(MoveEnd::Interrupted),
            () = sleep_until(until) => {}
        }
        if matches!(moved, Ok(MoveEnd::Completed)) {
            let extended = received.extend_timeout(deployment, &letters[next..]).await;
            if extended.is_ok() && rate.map_or(started, due) > Instant::now() {
                continue;
            }
            moved = match extended {
                Ok(()) => move_to_retry_queue(deployment, letter).await.map(|()| MoveEnd::Completed),
                Err(error) => Err(error),
            };
        }
        if !matches!(moved, Ok(MoveEnd::Completed)) {
            break;
        }
        next += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    release(deployment, &letters[next..]).await?;
    moved
}
