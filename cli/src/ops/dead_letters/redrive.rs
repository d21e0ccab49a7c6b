//! `gatehouse dead-letters redrive`: moves dead letters to the retry queue, and writes a receipt with their outcomes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gatehouse_local::Error;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::queue::{DeadLetter, Received, VISIBILITY_TIMEOUT, move_to_retry_queue, peek, receive_all, release};
use super::receipt::{Receipt, default_path};
use super::{NOTHING_SELECTED, SelectionArgs, count_by_reason};
use crate::ops::deployment::{Deployment, TargetArgs};
use crate::ops::output::{OutputArgs, escape_control, print_json};
use crate::ops::{ExitStatus, NOT_FOUND, USAGE, progress};
use crate::send::{as_f64, rate};
use crate::shell::{Interrupts, print, shell_quote};
use crate::stack::aws_error;

pub(super) const EXAMPLES: &str = "\
With --all, SQS moves the dead letters; selected ones are moved one by one. Ctrl-C stops the redrive; messages
already moved stay moved. The receipt is a file with one JSON line for each dead letter; --resume continues an
interrupted redrive from it. A redrive never changes events that are recorded already.

Exits with 0 if each event is recorded, a duplicate, a conflict or erased.

Examples:
  gatehouse dead-letters redrive --all
  gatehouse dead-letters redrive --all --rate 50/s --receipt redrive.jsonl
  gatehouse dead-letters redrive --resume redrive.jsonl
  gatehouse dead-letters redrive --id ada:msg_2x --id ada:msg_3y
  gatehouse dead-letters redrive --reason unavailable --dry-run";

/// First interval between polls. Each further one is twice as long.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Longest interval between polls.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Time within which SQS lists a move that was started.
const LISTED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Maximum rate, such as 50/s; with --all at most 500/s [default: as fast as possible]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// Print the dead letters that would be moved, and move none
    #[arg(long)]
    dry_run: bool,
    // Applies to --dry-run only.
    #[command(flatten)]
    output: OutputArgs,
    /// File for the receipt; it must not exist [default: redrive-TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Continue an interrupted redrive from its receipt
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "receipt", "ids", "source", "reason"])]
    resume: Option<PathBuf>,
    /// Maximum time to wait until the moved events are recorded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { selection, rate, dry_run, output, receipt: path, resume, wait, target } = arguments;
    if selection.selects_nothing() && resume.is_none() {
        eprintln!("{NOTHING_SELECTED}");
        return Ok(USAGE);
    }
    if rate.is_some_and(|rate| rate > 500.0) && selection.selects_everything() {
        eprintln!("gatehouse: SQS moves at most 500 messages per second; pass a --rate of up to 500/s");
        return Ok(USAGE);
    }
    let deployment = target.find().await?;
    let mut stop = Interrupts::listen();
    let resumed = resume.map(Receipt::read).transpose()?;
    let received = receive_selected(&deployment, &selection, resumed.as_ref(), &mut stop).await?;
    let has_nothing_to_do = received.letters.is_empty() && resumed.is_none();
    if has_nothing_to_do && received.held_elsewhere > 0 {
        return Err(super::held_elsewhere_error(received.held_elsewhere));
    }
    if dry_run || has_nothing_to_do {
        release(&deployment, &received.letters).await?;
        return print_preview(&received.letters, output);
    }
    // SQS can only move all dead letters. A redrive of selected ones moves them one by one.
    let is_of_all = resumed.as_ref().map_or(selection.selects_everything(), Receipt::is_of_all);
    let mut receipt = match open_receipt(resumed, path, &received.letters, is_of_all) {
        Ok(receipt) => receipt,
        Err(error) => {
            release(&deployment, &received.letters).await?;
            return Err(error);
        }
    };
    eprintln!("the receipt is {}", receipt.path.display());
    let moved = if received.letters.is_empty() {
        Ok(MoveEnd::Completed)
    } else if is_of_all {
        release(&deployment, &received.letters).await?;
        move_all(&deployment, rate, &mut stop).await
    } else {
        move_each(&deployment, received, rate, &mut stop).await
    };
    if matches!(moved, Ok(MoveEnd::Completed)) {
        wait_until_recorded(&deployment, &mut receipt, Duration::from_secs(wait), &mut stop).await?;
    }
    resolve_outcomes(&deployment, &mut receipt, &mut stop).await?;
    receipt.save()?;
    print(&receipt.summary())?;
    let (advice, code) = conclusion(&receipt, moved, &deployment.flags)?;
    print(&advice)?;
    Ok(code)
}

/// The end of moving the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MoveEnd {
    Completed,
    Interrupted,
}

/// Receives the selected dead letters, or those in the receipt of a resumed redrive.
async fn receive_selected(
    deployment: &Deployment,
    selection: &SelectionArgs,
    resumed: Option<&Receipt>,
    stop: &mut Interrupts,
) -> Result<Received, Error> {
    let bar = progress("reading");
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

/// Prints the dead letters that a redrive would move.
fn print_preview(letters: &[DeadLetter], output: OutputArgs) -> ExitStatus {
    for letter in letters {
        if output.json {
            print_json(
                &json!({"event_id": letter.event_id, "message_id": letter.message_id, "reason": letter.reason}),
            )?;
        } else {
            let id = letter.event_id.as_ref().unwrap_or(&letter.message_id);
            let error = letter.last_error.as_deref().unwrap_or("-");
            print(&format!("{}\n", escape_control(&format!("{id}  {}  {error}", letter.reason))))?;
        }
    }
    if letters.is_empty() {
        eprintln!("no matching dead letters");
        return Ok(NOT_FOUND);
    }
    eprintln!("would move {}", count_by_reason(letters));
    Ok(0)
}

/// Creates the receipt file, or updates the receipt of a resumed redrive.
fn open_receipt(
    resumed: Option<Receipt>,
    path: Option<PathBuf>,
    letters: &[DeadLetter],
    is_of_all: bool,
) -> Result<Receipt, Error> {
    match resumed {
        Some(mut receipt) => {
            receipt.update_message_ids(letters);
            Ok(receipt)
        }
        None => Receipt::create(path.unwrap_or_else(default_path), letters, is_of_all),
    }
}

/// Completes the receipt's outcomes from the table and the dead-letter queue.
async fn resolve_outcomes(deployment: &Deployment, receipt: &mut Receipt, stop: &mut Interrupts) -> Result<(), Error> {
    let bar = progress("reading the outcomes");
    let dead = peek(deployment, &bar, stop, |_| false).await?;
    if !dead.is_partial {
        receipt.resolve(deployment, &dead.letters, dead.held_elsewhere).await?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Returns the closing advice and the exit code. `flags` selects the deployment in the suggested commands.
fn conclusion(receipt: &Receipt, moved: Result<MoveEnd, Error>, flags: &str) -> Result<(String, u8), Error> {
    let path = shell_quote(&receipt.path.display().to_string());
    let resume = format!("gatehouse dead-letters redrive --resume {path}{flags}");
    match moved {
        Ok(MoveEnd::Completed) if receipt.is_complete() => Ok((String::new(), 0)),
        Ok(MoveEnd::Completed) => {
            Ok((format!("To see what is left: gatehouse dead-letters list{flags}; to continue: {resume}\n"), 1))
        }
        Ok(MoveEnd::Interrupted) => {
            Err(format!("interrupted; messages already moved stay moved. To continue: {resume}").into())
        }
        Err(error) => Err(format!("{error}; messages already moved stay moved. To continue: {resume}").into()),
    }
}

/// Moves all dead letters by a move task of SQS.
async fn move_all(deployment: &Deployment, rate: Option<f64>, stop: &mut Interrupts) -> Result<MoveEnd, Error> {
    let (from, to) = (deployment.dead_letter_queue()?, deployment.retry_queue()?);
    let (from, to) = (deployment.arn(from).await?, deployment.arn(to).await?);
    let about = "the move of the dead letters";
    let mut previous = None;
    match latest_task(deployment, &from).await? {
        Some(task) if task.is_running() => eprintln!("a move is already running; waiting for it"),
        task => {
            previous = task.map(|task| task.started_at);
            #[allow(clippy::cast_possible_truncation, reason = "clamped")]
            let rate = rate.map(|rate| rate.round().clamp(1.0, 500.0) as i32);
            let start = deployment.sqs.start_message_move_task().source_arn(&from).destination_arn(to);
            let start = start.set_max_number_of_messages_per_second(rate).send().await;
            start.map_err(|error| aws_error(about, &error))?;
        }
    }
    let bar = progress("moving");
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
                    eprintln!("cancelled; about {} moved", task.moved);
                    Ok(MoveEnd::Interrupted)
                }
                _ => Ok(MoveEnd::Completed),
            };
        }
        tokio::select! {
            () = sleep(interval) => interval = (interval * 2).min(MAX_POLL_INTERVAL),
            () = stop.next(), if !is_stopped => {
                is_stopped = true;
                let cancel = deployment.sqs.cancel_message_move_task().set_task_handle(task.handle).send().await;
                // Cancelling fails if the task has just ended. The next poll shows whether it has.
                if let Err(error) = cancel {
                    eprintln!("{}", aws_error(about, &error));
                }
            }
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
async fn move_each(
    deployment: &Deployment,
    mut received: Received,
    rate: Option<f64>,
    stop: &mut Interrupts,
) -> Result<MoveEnd, Error> {
    let letters = std::mem::take(&mut received.letters);
    let bar = progress("moving");
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

/// Waits for at most `timeout` until all entries have a final outcome. In a `gatehouse dev` the wait also ends when the
/// retry queue is empty.
async fn wait_until_recorded(
    deployment: &Deployment,
    receipt: &mut Receipt,
    timeout: Duration,
    stop: &mut Interrupts,
) -> Result<(), Error> {
    let (queue, deadline) = (deployment.retry_queue()?, Instant::now() + timeout);
    let bar = progress("waiting for the events to be recorded");
    bar.set_length(receipt.entries.len() as u64);
    let mut pause = FIRST_POLL_INTERVAL;
    let mut left = receipt.entries.len();
    while left > 0 && Instant::now() < deadline {
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
            () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
            () = stop.next() => break,
        }
    }
    bar.finish_and_clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(outcomes: &[&str]) -> Receipt {
        let entry = |outcome: &&str| {
            let entry = json!({"event_id": "ada:msg_1", "outcome": outcome, "message_id": "m", "nonce": null,
                               "fingerprint": null, "is_of_all": true});
            serde_json::from_value(entry).unwrap()
        };
        Receipt { path: PathBuf::from("r.jsonl"), entries: outcomes.iter().map(entry).collect() }
    }

    #[test]
    fn summary_counts_entries_by_outcome() {
        let text = receipt(&["recorded", "pending", "recorded"]).summary();
        assert_eq!(text, "3 dead letters, in r.jsonl:\n       1  pending\n       2  recorded\n");
    }

    #[test]
    fn complete_redrive_has_no_advice() {
        let receipt = receipt(&["recorded", "duplicate", "conflict", "erased"]);
        assert_eq!(conclusion(&receipt, Ok(MoveEnd::Completed), "").unwrap(), (String::new(), 0));
    }

    #[test]
    fn incomplete_redrive_suggests_how_to_continue() {
        let receipt = receipt(&["recorded", "pending"]);
        let resume = "gatehouse dead-letters redrive --resume 'r.jsonl' --stack x";
        let (advice, code) = conclusion(&receipt, Ok(MoveEnd::Completed), " --stack x").unwrap();
        assert_eq!(code, 1);
        assert!(advice.contains("gatehouse dead-letters list --stack x") && advice.contains(resume), "{advice}");
        for moved in [Ok(MoveEnd::Interrupted), Err("SQS failed".into())] {
            let error = conclusion(&receipt, moved, " --stack x").unwrap_err().to_string();
            assert!(error.ends_with(resume), "{error}");
        }
    }
}
