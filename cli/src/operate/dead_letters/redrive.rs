//! `gatehouse dead-letters redrive`: back to the retry queue, and a receipt of what became of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use clap::Args;
use gatehouse_inbox::store::{Place, conflict_key};
use gatehouse_inbox::{Clock, EventId, Fingerprint};
use gatehouse_local::Error;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::queue::{Letter, hand_back, hold, look, put_back, waiting};
use super::{Choice, held_at_most, told as told_of};
use crate::operate::deployment::{Deployment, Which};
use crate::operate::{NOT_FOUND, Verdict, progress};
use crate::send::rate;
use crate::shell::{print, quoted};
use crate::stack::told;

pub(super) const EXAMPLES: &str = "\
All of them are moved by SQS itself, some of them one by one. Ctrl-C stops it; what is moved stays moved, and is in the receipt:
a file with a JSON line for each, which --resume takes up again. Redriving changes nothing of what is recorded already.

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
    /// Where the receipt goes; it must not be there yet [default: redrive-<time>.jsonl]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Go on with a redrive that was interrupted, by its receipt
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "receipt", "ids", "source", "reason"])]
    resume: Option<PathBuf>,
    /// How long to wait for what was moved to be recorded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

/// A line of a receipt.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    message_id: String,
    event_id: Option<String>,
    /// Hexadecimal, as the two below: what tells whose the record is.
    nonce: Option<String>,
    fingerprint: Option<String>,
    /// `pending` until it is known.
    outcome: String,
}

const PENDING: &str = "pending";
/// Its record says something else: for a moment, until it is known whether it is kept beside it.
const OTHER: &str = "other";

impl Entry {
    fn of(letter: &Letter) -> Entry {
        let envelope = letter.envelope.as_ref();
        Entry {
            message_id: letter.message_id.clone(),
            event_id: letter.event_id.clone(),
            nonce: envelope.map(|envelope| envelope.nonce.to_string()),
            fingerprint: envelope.map(|envelope| envelope.fingerprint.to_string()),
            outcome: PENDING.to_owned(),
        }
    }

    /// The key of the copy that is kept where the record says something else.
    fn copy(&self) -> Option<String> {
        let fingerprint = Fingerprint::from_hex(self.fingerprint.as_deref()?)?;
        Some(conflict_key(&fingerprint, &EventId::from_stored(self.event_id.clone()?)))
    }

    /// What became of it, in words.
    fn settled(&self, place: Option<&Place>, dead: Option<&Letter>) -> String {
        match (place, dead) {
            (Some(Place::Erased(_)), _) => "erased".to_owned(),
            (Some(Place::Record(record)), _) if Some(record.event.nonce.to_string()) == self.nonce => {
                "recorded".to_owned()
            }
            (Some(Place::Record(record)), _) if Some(record.event.fingerprint.to_string()) == self.fingerprint => {
                "duplicate".to_owned()
            }
            (Some(_), _) => OTHER.to_owned(),
            (None, Some(letter)) if letter.message_id == self.message_id => "not moved".to_owned(),
            (None, Some(letter)) => format!("dead again: {}", letter.reason),
            (None, None) if self.nonce.is_none() => "moved, and not traceable: it is no envelope".to_owned(),
            (None, None) => "waiting on the retry queue".to_owned(),
        }
    }

    fn is_of(&self, letter: &Letter) -> bool {
        match &self.event_id {
            Some(id) => letter.event_id.as_ref() == Some(id),
            None => letter.message_id == self.message_id,
        }
    }
}

pub(super) async fn run(arguments: Arguments) -> Verdict {
    let Arguments { which, choice, all, rate, dry_run, receipt, resume, wait } = arguments;
    if choice.is_any() && !all && resume.is_none() {
        return Err("which ones? Name some with --id, --source or --reason, or say --all".into());
    }
    let deployment = which.find().await?;
    let before = resume.as_deref().map(read).transpose()?;
    let bar = progress("looking");
    let held = hold(&deployment, &bar, |_| false).await?;
    bar.finish_and_clear();
    let is_wanted = |letter: &Letter| match &before {
        Some(entries) => entries.iter().any(|entry| entry.is_of(letter)),
        None => choice.takes(letter),
    };
    let (chosen, others): (Vec<_>, Vec<_>) = held.letters.into_iter().partition(is_wanted);
    hand_back(&deployment, &others).await?;
    if held.is_partial || dry_run || (chosen.is_empty() && before.is_none()) {
        hand_back(&deployment, &chosen).await?;
        if held.is_partial {
            return Err("interrupted: nothing was moved".into());
        }
        for letter in &chosen {
            let id = letter.event_id.as_ref().unwrap_or(&letter.message_id);
            print(&format!("{id}  {}  {}\n", letter.reason, letter.last_error.as_deref().unwrap_or("-")))?;
        }
        print(&if chosen.is_empty() {
            "no such dead letters\n".to_owned()
        } else {
            format!("would move {}\n", told_of(&chosen))
        })?;
        return Ok(if chosen.is_empty() { NOT_FOUND } else { 0 });
    }

    let path = resume.or(receipt).unwrap_or_else(|| {
        let time = Clock::System.now().to_string();
        format!("redrive-{}.jsonl", time.get(..19).unwrap_or(&time).replace(':', "")).into()
    });
    let entries = before.unwrap_or_else(|| chosen.iter().map(Entry::of).collect());
    if !path.exists() {
        let file = super::private(&path).map_err(|error| format!("{}: {error}; nothing was moved", path.display()));
        if let Err(error) = file.and_then(|_| write(&path, &entries).map_err(|error| error.to_string())) {
            hand_back(&deployment, &chosen).await?;
            return Err(error.into());
        }
    }
    eprintln!("the receipt is {}", path.display());
    let is_whole = others.is_empty();
    let moved = if is_whole {
        hand_back(&deployment, &chosen).await?;
        move_all(&deployment, rate).await
    } else {
        move_each(&deployment, &chosen, rate).await
    };
    let interrupted = !moved?;
    let again =
        format!("gatehouse dead-letters redrive --resume {}{}", quoted(&path.display().to_string()), deployment.again);
    if !interrupted {
        drained(&deployment, Duration::from_secs(wait)).await?;
    }
    let entries = settle(&deployment, entries).await?;
    write(&path, &entries)?;
    summary(&entries, &path)?;
    if interrupted {
        return Err(format!("interrupted; what is moved stays moved. To go on: {again}").into());
    }
    let is_good = |entry: &Entry| ["recorded", "duplicate", "conflict", "erased"].contains(&entry.outcome.as_str());
    if !entries.iter().all(is_good) {
        print(&format!("What is left: gatehouse dead-letters list{}; to look again: {again}\n", deployment.again))?;
        return Ok(1);
    }
    Ok(0)
}

/// By SQS itself. Whether it went to its end.
async fn move_all(deployment: &Deployment, rate: Option<f64>) -> Result<bool, Error> {
    let (from, to) = (deployment.dead_letter_queue()?, deployment.retry_queue()?);
    let (from, to) = (deployment.arn(from).await?, deployment.arn(to).await?);
    let about = "the move of the dead letters";
    let running = running(deployment, &from).await?;
    let handle = match running {
        Some(task) => {
            eprintln!("a move is running already, and is watched");
            task.handle
        }
        None if waiting(deployment).await? == 0 => return Ok(true),
        None => {
            #[allow(clippy::cast_possible_truncation, reason = "clamped")]
            let rate = rate.map(|rate| rate.round().clamp(1.0, 500.0) as i32);
            let start = deployment.sqs.start_message_move_task().source_arn(&from).destination_arn(to);
            let start = start.set_max_number_of_messages_per_second(rate).send().await;
            start.map_err(|error| told(about, &error))?.task_handle.unwrap_or_default()
        }
    };
    let bar = progress("moving");
    loop {
        let stopped = tokio::select! {
            () = sleep(PAUSE) => false,
            _ = tokio::signal::ctrl_c() => true,
        };
        if stopped {
            let cancel = deployment.sqs.cancel_message_move_task().task_handle(&handle).send().await;
            bar.finish_and_clear();
            // One that has just ended cannot be cancelled, and need not.
            let moved = cancel.ok().map(|cancelled| cancelled.approximate_number_of_messages_moved);
            eprintln!("cancelled; {} moved", moved.map_or("all".to_owned(), |n| format!("about {n}")));
            return Ok(moved.is_none());
        }
        match self::running(deployment, &from).await? {
            Some(task) => {
                bar.set_length(task.to_move);
                bar.set_position(task.moved);
            }
            None => {
                bar.finish_and_clear();
                return Ok(true);
            }
        }
    }
}

struct Task {
    handle: String,
    moved: u64,
    to_move: u64,
}

/// # Errors
/// When the last move has failed.
async fn running(deployment: &Deployment, from: &str) -> Result<Option<Task>, Error> {
    let list = deployment.sqs.list_message_move_tasks().source_arn(from).max_results(1).send().await;
    let list = list.map_err(|error| told("the moves of the dead letters", &error))?;
    let Some(task) = list.results().first().filter(|task| task.status() == Some("RUNNING")) else { return Ok(None) };
    let (moved, to_move) = (task.approximate_number_of_messages_moved, task.approximate_number_of_messages_to_move);
    let number = |n: i64| u64::try_from(n).unwrap_or_default();
    let handle = task.task_handle().unwrap_or_default().to_owned();
    Ok(Some(Task { handle, moved: number(moved), to_move: number(to_move.unwrap_or_default()) }))
}

/// One by one. Whether it went to its end.
async fn move_each(deployment: &Deployment, chosen: &[Letter], rate: Option<f64>) -> Result<bool, Error> {
    let bar = progress("moving");
    bar.set_length(chosen.len() as u64);
    let started = Instant::now();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    for (n, letter) in chosen.iter().enumerate() {
        let due = rate.map_or(started, |rate| started + Duration::from_secs_f64(crate::send::as_f64(n as u64) / rate));
        let stopped = tokio::select! {
            biased;
            _ = &mut interrupted => true,
            () = tokio::time::sleep_until(due) => false,
        };
        if stopped {
            hand_back(deployment, &chosen[n..]).await?;
            bar.finish_and_clear();
            return Ok(false);
        }
        // Others must not take what is held for longer than it is.
        if started.elapsed() > held_at_most() * 3 / 4 && n > 0 {
            hand_back(deployment, &chosen[n..]).await?;
            bar.finish_and_clear();
            eprintln!("this takes longer than messages can be held; the rest is left");
            return Ok(false);
        }
        put_back(deployment, letter).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(true)
}

/// Waits until nothing is on the retry queue, visible or hidden, for as long as it is patient.
async fn drained(deployment: &Deployment, patience: Duration) -> Result<(), Error> {
    let (queue, until) = (deployment.retry_queue()?, Instant::now() + patience);
    let bar = progress("waiting until they are recorded");
    let mut most = 0;
    loop {
        let mut left = 0_u64;
        for name in
            [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible]
        {
            left += deployment.attribute(queue, name).await?.parse::<u64>()?;
        }
        most = left.max(most);
        bar.set_length(most);
        bar.set_position(most - left);
        if left == 0 || Instant::now() >= until {
            break;
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// What became of each, by reading the table and the queue.
async fn settle(deployment: &Deployment, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Error> {
    let bar = ProgressBar::hidden();
    let dead = look(deployment, &bar, |_| false).await?.letters;
    let dead: HashMap<&str, &Letter> = dead
        .iter()
        .flat_map(|letter| {
            [(letter.message_id.as_str(), letter)].into_iter().chain(letter.event_id.as_deref().map(|id| (id, letter)))
        })
        .collect();
    for part in entries.chunks_mut(100) {
        let places = read_places(deployment, part.iter().filter_map(|entry| entry.event_id.clone())).await?;
        for entry in part.iter_mut() {
            let dead = dead.get(entry.event_id.as_ref().unwrap_or(&entry.message_id).as_str());
            entry.outcome = entry.settled(entry.event_id.as_ref().and_then(|id| places.get(id)), dead.copied());
        }
        // Only where the record says something else is it worth looking for the copy.
        let copies = part.iter().filter(|entry| entry.outcome == OTHER).filter_map(Entry::copy);
        let copies = read_places(deployment, copies).await?;
        for entry in part.iter_mut().filter(|entry| entry.outcome == OTHER) {
            let is_kept = entry.copy().is_some_and(|key| copies.contains_key(&key));
            let dead = dead.get(entry.event_id.as_deref().unwrap_or_default());
            entry.outcome = if is_kept { "conflict".to_owned() } else { entry.settled(None, dead.copied()) };
        }
    }
    Ok(entries)
}

async fn read_places(
    deployment: &Deployment,
    keys: impl Iterator<Item = String>,
) -> Result<HashMap<String, Place>, Error> {
    let keys: BTreeSet<String> = keys.collect();
    Ok(deployment.store.read(keys.into_iter().collect(), Clock::System.now()).await?)
}

fn summary(entries: &[Entry], path: &Path) -> Result<(), Error> {
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for entry in entries {
        *outcomes.entry(&entry.outcome).or_default() += 1;
    }
    let mut text = format!("{} dead letters, in {}:\n", entries.len(), path.display());
    for (outcome, n) in outcomes {
        text.push_str(&format!("{n:>8}  {outcome}\n"));
    }
    print(&text)
}

fn read(path: &Path) -> Result<Vec<Entry>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let entry = |(n, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| format!("{}, line {}: no line of a receipt: {error}", path.display(), n + 1))
    };
    Ok(text.lines().enumerate().map(entry).collect::<Result<_, _>>()?)
}

/// Replaces the file as a whole: a receipt is never half of one.
fn write(path: &Path, entries: &[Entry]) -> Result<(), Error> {
    let new = path.with_extension("new");
    // One of an earlier try may be left.
    let _ = std::fs::remove_file(&new);
    let mut file = super::private(&new)?;
    for entry in entries {
        writeln!(file, "{}", serde_json::to_string(entry)?)?;
    }
    file.sync_all()?;
    Ok(std::fs::rename(new, path)?)
}
