//! `gatehouse dead-letters redrive`: back to the retry queue, and a receipt of what became of each.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gatehouse_local::Error;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::queue::{Held, Letter, hand_back, hold, look, put_back};
use super::receipt::{Receipt, default_path};
use super::{Choice, WHICH_ONES, told as told_of};
use crate::operate::deployment::{Deployment, Which};
use crate::operate::output::{Form, json as line, shown};
use crate::operate::{NOT_FOUND, USAGE, Verdict, progress};
use crate::send::{as_f64, rate};
use crate::shell::{Interrupts, print, quoted};
use crate::stack::told;

pub(super) const EXAMPLES: &str = "\
All of them are moved by SQS itself, some of them one by one. Ctrl-C stops it; what is moved stays moved, and is in the receipt:
a file with a JSON line for each, which --resume takes up again. Redriving changes nothing of what is recorded already.

Exits with 0 where each is recorded, a duplicate, a conflict that is kept, or erased.

Examples:
  gatehouse dead-letters redrive --all
  gatehouse dead-letters redrive --all --rate 50/s --receipt redrive.jsonl
  gatehouse dead-letters redrive --resume redrive.jsonl
  gatehouse dead-letters redrive --id ada:msg_2x --id ada:msg_3y
  gatehouse dead-letters redrive --reason unavailable --dry-run";

/// How often it is asked how far a move is.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    choice: Choice,
    /// All of them
    #[arg(long)]
    all: bool,
    /// At most so many a second, such as 50/s; of all of them at most 500/s [default: as fast as SQS moves them]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// Say which would be moved, and move none
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: one JSON object a line
    #[command(flatten)]
    form: Form,
    /// Where the receipt goes; it must not be there yet [default: redrive-TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Go on with a redrive that was interrupted, by its receipt
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "receipt", "ids", "source", "reason"])]
    resume: Option<PathBuf>,
    /// How long to wait for what was moved to be recorded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

pub(super) async fn run(arguments: Arguments) -> Verdict {
    let Arguments { which, choice, all, rate, dry_run, form, receipt, resume, wait } = arguments;
    if choice.is_any() && !all && resume.is_none() {
        eprintln!("{WHICH_ONES}");
        return Ok(USAGE);
    }
    let by_sqs = rate.is_some_and(|rate| rate > 500.0) && all && choice.is_any();
    if by_sqs {
        eprintln!("gatehouse: SQS moves at most 500 a second");
        return Ok(USAGE);
    }
    let deployment = which.find().await?;
    let mut stop = Interrupts::listen();
    let before = resume.map(Receipt::read).transpose()?;
    let bar = progress("looking");
    let held = hold(&deployment, &bar, &mut stop, |_| false).await?;
    bar.finish_and_clear();
    let is_wanted = |letter: &Letter| match &before {
        Some(receipt) => receipt.names(letter),
        None => choice.takes(letter),
    };
    let held = held.choose(&deployment, is_wanted).await?;
    if held.is_partial {
        hand_back(&deployment, &held.letters).await?;
        return Err("interrupted: nothing was moved".into());
    }
    if held.letters.is_empty() && before.is_none() && held.elsewhere > 0 {
        return Err(super::held_elsewhere(held.elsewhere));
    }
    if dry_run || (held.letters.is_empty() && before.is_none()) {
        hand_back(&deployment, &held.letters).await?;
        return foretell(&held.letters, form);
    }

    // What SQS moves by itself is everything: where some were chosen, the others stay.
    let is_of_all = before.as_ref().map_or(all && choice.is_any(), Receipt::is_of_all);
    let receipt = match before {
        Some(mut receipt) => {
            receipt.rename(&held.letters);
            Ok(receipt)
        }
        None => Receipt::create(receipt.unwrap_or_else(default_path), &held.letters, is_of_all),
    };
    let mut receipt = match receipt {
        Ok(receipt) => receipt,
        Err(error) => {
            hand_back(&deployment, &held.letters).await?;
            return Err(error);
        }
    };
    eprintln!("the receipt is {}", receipt.path.display());
    let moved = if held.letters.is_empty() {
        Ok(true)
    } else if is_of_all {
        hand_back(&deployment, &held.letters).await?;
        move_all(&deployment, rate, &mut stop).await
    } else {
        move_each(&deployment, held, rate, &mut stop).await
    };
    if matches!(moved, Ok(true)) {
        settled(&deployment, &mut receipt, Duration::from_secs(wait), &mut stop).await?;
    }
    let bar = progress("looking what became of them");
    let dead = look(&deployment, &bar, &mut stop, |_| false).await?;
    if !dead.is_partial {
        receipt.settle(&deployment, &dead.letters, dead.elsewhere).await?;
    }
    bar.finish_and_clear();
    receipt.save()?;
    receipt.summary()?;
    let path = quoted(&receipt.path.display().to_string());
    let again = format!("gatehouse dead-letters redrive --resume {path}{}", deployment.again);
    match moved {
        Ok(true) if receipt.is_good() => Ok(0),
        Ok(true) => {
            print(&format!("What is left: gatehouse dead-letters list{}; to go on: {again}\n", deployment.again))?;
            Ok(1)
        }
        Ok(false) => Err(format!("interrupted; what is moved stays moved. To go on: {again}").into()),
        Err(error) => Err(format!("{error}; what is moved stays moved. To go on: {again}").into()),
    }
}

/// What would be moved.
fn foretell(letters: &[Letter], form: Form) -> Verdict {
    for letter in letters {
        let id = letter.event_id.as_ref().unwrap_or(&letter.message_id);
        if form.json {
            line(&json!({"event_id": letter.event_id, "message_id": letter.message_id, "reason": letter.reason}))?;
        } else {
            let why = letter.last_error.as_deref().unwrap_or("-");
            print(&format!("{}\n", shown(&format!("{id}  {}  {why}", letter.reason))))?;
        }
    }
    if letters.is_empty() {
        eprintln!("no such dead letters");
        return Ok(NOT_FOUND);
    }
    eprintln!("would move {}", told_of(letters));
    Ok(0)
}

/// By SQS itself. Whether it went to its end.
async fn move_all(deployment: &Deployment, rate: Option<f64>, stop: &mut Interrupts) -> Result<bool, Error> {
    let (from, to) = (deployment.dead_letter_queue()?, deployment.retry_queue()?);
    let (from, to) = (deployment.arn(from).await?, deployment.arn(to).await?);
    let about = "the move of the dead letters";
    match latest(deployment, &from).await? {
        Some(task) if task.is_running() => eprintln!("a move is running already, and is watched"),
        _ => {
            #[allow(clippy::cast_possible_truncation, reason = "clamped")]
            let rate = rate.map(|rate| rate.round().clamp(1.0, 500.0) as i32);
            let start = deployment.sqs.start_message_move_task().source_arn(&from).destination_arn(to);
            let start = start.set_max_number_of_messages_per_second(rate).send().await;
            start.map_err(|error| told(about, &error))?;
        }
    }
    let bar = progress("moving");
    let mut is_stopped = false;
    loop {
        let task = latest(deployment, &from).await?.ok_or("SQS knows nothing of the move of the dead letters")?;
        bar.set_length(task.to_move);
        bar.set_position(task.moved);
        if !task.is_running() {
            bar.finish_and_clear();
            return match task.status.as_str() {
                "FAILED" => Err(format!("{about} failed: {}", task.failure.unwrap_or_default()).into()),
                "CANCELLED" => {
                    eprintln!("cancelled; about {} moved", task.moved);
                    Ok(false)
                }
                _ => Ok(true),
            };
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.next(), if !is_stopped => {
                is_stopped = true;
                let cancel = deployment.sqs.cancel_message_move_task().set_task_handle(task.handle).send().await;
                // One that has just ended cannot be cancelled, and need not; whether it has shows next.
                if let Err(error) = cancel {
                    eprintln!("{}", told(about, &error));
                }
            }
        }
    }
}

struct Task {
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

/// The latest move out of the queue.
async fn latest(deployment: &Deployment, from: &str) -> Result<Option<Task>, Error> {
    let list = deployment.sqs.list_message_move_tasks().source_arn(from).max_results(1).send().await;
    let list = list.map_err(|error| told("the moves of the dead letters", &error))?;
    let number = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(list.results.unwrap_or_default().into_iter().next().map(|task| Task {
        moved: number(task.approximate_number_of_messages_moved),
        to_move: number(task.approximate_number_of_messages_to_move.unwrap_or_default()),
        handle: task.task_handle,
        status: task.status.unwrap_or_default(),
        failure: task.failure_reason,
    }))
}

/// One by one. Whether it went to its end; what is not moved is handed back.
async fn move_each(
    deployment: &Deployment,
    mut held: Held,
    rate: Option<f64>,
    stop: &mut Interrupts,
) -> Result<bool, Error> {
    let letters = std::mem::take(&mut held.letters);
    let bar = progress("moving");
    bar.set_length(letters.len() as u64);
    let started = Instant::now();
    let mut moved = Ok(true);
    let mut next = 0;
    while let Some(letter) = letters.get(next) {
        let due = |rate| started + Duration::from_secs_f64(as_f64(next as u64) / rate);
        // Held for longer than they are, others might take them: not even a slow rate sleeps through that.
        let until = rate.map_or(started, due).min(Instant::now() + super::HELD / 4);
        tokio::select! {
            biased;
            () = stop.next() => moved = Ok(false),
            () = sleep_until(until) => {}
        }
        if matches!(moved, Ok(true)) {
            let renewed = held.renew(deployment, &letters[next..]).await;
            if renewed.is_ok() && rate.map_or(started, due) > Instant::now() {
                continue;
            }
            moved = match renewed {
                Ok(()) => put_back(deployment, letter).await.map(|()| true),
                Err(error) => Err(error),
            };
        }
        if !matches!(moved, Ok(true)) {
            break;
        }
        next += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    hand_back(deployment, &letters[next..]).await?;
    moved
}

/// Waits until each is recorded, or nothing is on the retry queue any more, for as long as it is patient.
async fn settled(
    deployment: &Deployment,
    receipt: &mut Receipt,
    patience: Duration,
    stop: &mut Interrupts,
) -> Result<(), Error> {
    let (queue, until) = (deployment.retry_queue()?, Instant::now() + patience);
    let bar = progress("waiting until they are recorded");
    bar.set_length(receipt.entries.len() as u64);
    let mut pause = PAUSE;
    let mut left = receipt.entries.len();
    while left > 0 && Instant::now() < until {
        let before = std::mem::replace(&mut left, receipt.look(deployment).await?);
        bar.set_position((receipt.entries.len() - left) as u64);
        if left + 100 <= before {
            // A whole batch of them is done: on with the next.
            continue;
        }
        let (visible, hidden) = deployment.counts(queue).await?;
        // In AWS the counts lag by a minute: there only the records tell.
        if visible + hidden == 0 && deployment.dev.is_some() {
            // Between the two looks the last may have been recorded.
            while left > 0 {
                let before = std::mem::replace(&mut left, receipt.look(deployment).await?);
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
