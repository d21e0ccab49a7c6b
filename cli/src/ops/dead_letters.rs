//! `gatehouse dead-letters`: inspects, redrives and discards dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_payload::json::Document;
use gatehouse_runtime::Clock;
use gatehouse_vendors::of_event;

mod queue;
mod receipt;
pub(crate) mod redrive;

pub(crate) use queue::{DeadLetter, dead_letter_counts, peek};
use queue::{NEVER_FINISHED, Received, VISIBILITY_TIMEOUT, delete_all, receive_all, release};

use super::console::Console;
use super::deployment::{Deployment, TargetArgs};
use super::files::create_private_file;
use super::listing::sources;
use super::output::{KeyValues, OutputArgs, ShowArgs, Table, age, counted, escape_control, pretty_json, print_json};
use super::{ExitStatus, NOT_FOUND, USAGE, progress};
use crate::shell::{Interrupts, confirm, note, print, shell_quote};

pub(crate) const EXAMPLES: &str = "\
Reading the queue means receiving its messages. They are hidden while they are read, and released afterwards. If a
command is killed, they stay hidden for two minutes.

Examples:
  gatehouse dead-letters list --stack gatehouse
  gatehouse dead-letters list --json | jq -r 'select(.reason == \"refused\") | .event_id'
  gatehouse dead-letters show ada:msg_2x
  gatehouse dead-letters redrive --all --rate 50/s
  gatehouse dead-letters redrive --id ada:msg_2x --dry-run
  gatehouse dead-letters discard --reason unreadable --keep unreadable.jsonl";

const LIST_EXAMPLES: &str = "\
Examples:
  gatehouse dead-letters list
  gatehouse dead-letters list --source ada --json";
const SHOW_EXAMPLES: &str = "\
Examples:
  gatehouse dead-letters show ada:msg_2x
  gatehouse dead-letters show ada:msg_2x --payload";
const DISCARD_EXAMPLES: &str = "\
The copies are whole messages, including their payloads: one JSON object per line.

Examples:
  gatehouse dead-letters discard --id ada:msg_2x
  gatehouse dead-letters discard --reason unreadable --keep unreadable.jsonl --yes";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List dead letters with age, attempts, source, reason, errors and event.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show one dead letter.
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Id of the event or of the message
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Move dead letters back to the retry queue, and report the outcome of each.
    #[command(after_help = redrive::EXAMPLES)]
    Redrive(redrive::Arguments),
    /// Permanently delete dead letters, after writing a copy of each to a file.
    #[command(after_help = DISCARD_EXAMPLES)]
    Discard {
        #[command(flatten)]
        selection: SelectionArgs,
        /// File for the copies; it must not exist
        #[arg(long, value_name = "FILE", default_value = "discarded.jsonl")]
        keep: PathBuf,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        target: TargetArgs,
    },
}

const NOTHING_SELECTED: &str = "no dead letters are selected; pass --id, --source or --reason, or --all";
/// The reasons of dead letters.
const REASONS: [&str; 5] = ["unavailable", "refused", "unreadable", "panic", NEVER_FINISHED];

/// Arguments that filter dead letters. A letter must match all options.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only the dead letter of this event or message; repeatable
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Only dead letters of this vendor
    #[arg(long, value_name = "SOURCE", value_parser = sources())]
    source: Option<String>,
    /// Only dead letters with this reason
    #[arg(long, value_name = "REASON", value_parser = REASONS)]
    reason: Option<String>,
}

impl FilterArgs {
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.source.is_none() && self.reason.is_none()
    }

    fn matches(&self, letter: &DeadLetter) -> bool {
        (self.ids.is_empty() || self.ids.iter().any(|id| letter.has_id(id)))
            && (self.source.is_none() || self.source == letter.source)
            && self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
    }
}

/// Arguments that select the dead letters to change. Selecting all of them must be explicit.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectionArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Select all dead letters
    #[arg(long)]
    all: bool,
}

impl SelectionArgs {
    /// Selects all dead letters.
    pub(crate) fn all() -> SelectionArgs {
        SelectionArgs { filter: FilterArgs::default(), all: true }
    }

    /// Selects the dead letters of these events or messages.
    pub(crate) fn ids(ids: Vec<String>) -> SelectionArgs {
        SelectionArgs { filter: FilterArgs { ids, ..FilterArgs::default() }, all: false }
    }

    /// Whether it names dead letters by their ids.
    fn names_letters(&self) -> bool {
        !self.filter.ids.is_empty()
    }

    fn selects_nothing(&self) -> bool {
        self.filter.is_empty() && !self.all
    }

    fn selects_everything(&self) -> bool {
        self.filter.is_empty() && self.all
    }
}

pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::List { filter, output, target } => list(&target.find().await?, output, &filter).await,
        Command::Show { id, show: ShowArgs { payload, output, target } } => {
            show(&target.find().await?, output, &id, payload).await
        }
        Command::Redrive(arguments) => redrive::run(arguments).await,
        Command::Discard { selection, keep, yes, target } => {
            if selection.selects_nothing() {
                note(format!("error: {NOTHING_SELECTED}"));
                return Ok(USAGE);
            }
            discard(&target.find().await?, &selection.filter, &keep, yes).await
        }
    }
}

async fn list(deployment: &Deployment, output: OutputArgs, filter: &FilterArgs) -> ExitStatus {
    let bar = progress("reading");
    let Received { letters, held_elsewhere, is_partial, .. } =
        peek(deployment, &bar, &mut Interrupts::listen(), |_| false).await?;
    bar.finish_and_clear();
    let mut letters: Vec<_> = letters.into_iter().filter(|letter| filter.matches(letter)).collect();
    letters.sort_by(|a, b| (a.sent_at, &a.event_id).cmp(&(b.sent_at, &b.event_id)));
    if output.json {
        letters.iter().try_for_each(print_json)?;
    } else if letters.is_empty() {
        note(if filter.is_empty() { "no dead letters" } else { "no matching dead letters" });
    } else {
        table(&letters, output).print()?;
        print(&format!("{}\n", count_by_reason(&letters)))?;
    }
    if is_partial {
        return Err("interrupted: the list is incomplete".into());
    }
    if held_elsewhere > 0 {
        return Err(held_elsewhere_error(held_elsewhere));
    }
    Ok(0)
}

fn table(letters: &[DeadLetter], output: OutputArgs) -> Table {
    let now = Clock::System.now();
    let mut table = output.table(["AGE", "ATTEMPTS", "SOURCE", "REASON", "FIRST ERROR", "LAST ERROR", "EVENT"]);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for letter in letters {
        let event = letter.event_id.clone().unwrap_or_else(|| format!("message {}", letter.message_id));
        let attempts = if letter.attempts == 0 { "-".to_owned() } else { letter.attempts.to_string() };
        let (first, last) = (or_dash(&letter.first_error), or_dash(&letter.last_error));
        let age = age(letter.first_failed_at.unwrap_or(letter.sent_at), now);
        table.row([age, attempts, or_dash(&letter.source), letter.reason.clone(), first, last, event]);
    }
    table
}

fn held_elsewhere_error(count: u64) -> Error {
    let seconds = VISIBILITY_TIMEOUT.as_secs();
    format!(
        "about {count} more dead letters are held by another command, or by one that was killed; they are visible \
         again within {seconds} s"
    )
    .into()
}

/// Formats the number of dead letters, and the number for each reason.
fn count_by_reason(letters: &[DeadLetter]) -> String {
    let mut reasons = BTreeMap::<&str, usize>::new();
    for letter in letters {
        *reasons.entry(&letter.reason).or_default() += 1;
    }
    let reasons: Vec<_> = reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    escape_control(&format!("{}: {}", counted(letters.len(), "dead letter"), reasons.join(", ")))
}

async fn show(deployment: &Deployment, output: OutputArgs, id: &str, payload: bool) -> ExitStatus {
    let Some(letter) = find(deployment, id).await? else {
        let (event, flags) = (shell_quote(id), &deployment.flags);
        note(format!("{id}: no dead letter found; to see the event's state: gatehouse events show {event}{flags}"));
        return Ok(NOT_FOUND);
    };
    let body = letter.envelope.as_ref().map(|envelope| String::from_utf8_lossy(&envelope.body).into_owned());
    if output.json {
        let mut value = serde_json::to_value(&letter)?;
        if payload {
            value["payload"] = body.map_or_else(|| letter.body.clone().into(), |body| as_json(&body));
        }
        print_json(&value)?;
        return Ok(0);
    }
    let mut lines = KeyValues::default();
    describe(&mut lines, &letter);
    match (payload, body) {
        (true, Some(body)) => lines.block("payload", &pretty_json(&body)),
        (true, None) => lines.block("message (not an envelope)", &letter.body),
        (false, _) => lines.add("payload", "pass --payload to show it"),
    }
    lines.print()?;
    Ok(0)
}

/// Parses a body as JSON. Other text becomes a JSON string.
pub(crate) fn as_json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).unwrap_or_else(|_| body.into())
}

/// Finds the dead letter of an event or a message, without holding it.
pub(crate) async fn find(deployment: &Deployment, id: &str) -> Result<Option<DeadLetter>, Error> {
    let bar = progress("searching the dead letters");
    let received = peek(deployment, &bar, &mut Interrupts::listen(), |letter| letter.has_id(id)).await?;
    bar.finish_and_clear();
    Ok(received.letters.into_iter().find(|letter| letter.has_id(id)))
}

/// Adds lines with a dead letter's history and advice.
pub(crate) fn describe(lines: &mut KeyValues, letter: &DeadLetter) {
    lines.add("dead letter", format!("{}, since {}", letter.reason, letter.sent_at));
    lines.add_some("event", letter.event_id.as_ref());
    lines.add("message", &letter.message_id);
    if letter.attempts > 0 {
        lines.add("attempts", letter.attempts.to_string());
    }
    lines.add_some("first failed", letter.first_failed_at.map(|at| at.to_string()));
    lines.add_some("first error", letter.first_error.as_ref());
    lines.add_some("last error", letter.last_error.as_ref());
    lines.add("what to do", advice(&letter.reason));
}

fn advice(reason: &str) -> &'static str {
    match reason {
        "unavailable" => {
            "DynamoDB was down, slow or not accessible to event-retry at every attempt: run gatehouse doctor, then \
             redrive"
        }
        "refused" => "DynamoDB rejects the item; redrive after a new release or setting has fixed the cause",
        "unreadable" => {
            "the message is not an envelope of this release; inspect it with --payload, then discard it, or redrive it \
             under the release that wrote it"
        }
        "panic" => "event-retry panicked, and its log has the location; redrive after it is fixed",
        _ => {
            "event-retry did not report an outcome: it was killed, ran out of time or memory, or the queue's \
             maxReceiveCount is too low (gatehouse doctor checks it under max receives). Check its log, then redrive"
        }
    }
}

async fn discard(deployment: &Deployment, filter: &FilterArgs, keep: &Path, yes: bool) -> ExitStatus {
    let (bar, mut stop) = (progress("reading"), Interrupts::listen());
    if !yes {
        // The letters are not held while the user decides.
        let found = peek(deployment, &bar, &mut stop, |_| false).await?;
        bar.finish_and_clear();
        let letters: Vec<_> = found.letters.into_iter().filter(|letter| filter.matches(letter)).collect();
        let question = format!("Permanently delete {}?", count_by_reason(&letters));
        if !letters.is_empty() && !confirm(&question, &mut stop).await? {
            print("nothing was discarded\n")?;
            return Ok(1);
        }
    }
    let received = receive_all(deployment, &bar, &mut stop, |_| false).await?;
    let received = received.retain(deployment, |letter| filter.matches(letter)).await?;
    bar.finish_and_clear();
    if received.is_partial || received.letters.is_empty() {
        release(deployment, &received.letters).await?;
        if received.is_partial {
            return Err("interrupted: nothing was discarded".into());
        }
        if received.held_elsewhere > 0 {
            return Err(held_elsewhere_error(received.held_elsewhere));
        }
        note("no matching dead letters");
        return Ok(if filter.ids.is_empty() { 0 } else { NOT_FOUND });
    }
    if let Err(error) = write_copies(&received.letters, keep) {
        release(deployment, &received.letters).await?;
        return Err(format!("{} cannot be written, so nothing was discarded: {error}", keep.display()).into());
    }
    delete_all(deployment, &received.letters).await?;
    print(&format!("discarded {}; copies are in {}\n", count_by_reason(&received.letters), keep.display()))?;
    Ok(0)
}

/// Writes the messages to a new private file, and syncs it to disk.
fn write_copies(letters: &[DeadLetter], path: &Path) -> Result<(), Error> {
    let mut file = create_private_file(path)?;
    for letter in letters {
        let mut value = serde_json::to_value(letter)?;
        value["message"] = letter.body.clone().into();
        writeln!(file, "{value}")?;
    }
    Ok(file.sync_all()?)
}

/// The result of erasing the dead letters about some subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedDeadLetters {
    /// The number of deleted letters for each subject.
    pub deleted: BTreeMap<Subject, usize>,
    /// The number of letters that cannot be read. They may be about the subjects.
    pub unreadable: usize,
    /// The approximate number of letters that another command holds. They may be about the subjects.
    pub held_elsewhere: u64,
}

/// Deletes the dead letters about some subjects.
pub(crate) async fn erase_dead_letters(
    deployment: &Deployment,
    subjects: &BTreeSet<Subject>,
    console: Console,
) -> Result<ErasedDeadLetters, Error> {
    let bar = console.progress("searching the dead letters");
    let is_about_subjects = |letter: &DeadLetter| {
        subject_of(letter).is_some_and(|subject| subject.names().any(|name| subjects.contains(&name)))
    };
    let received = receive_all(deployment, &bar, &mut console.interrupts(), |_| false).await?;
    let (is_partial, held_elsewhere) = (received.is_partial, received.held_elsewhere);
    let unreadable = received.letters.iter().filter(|letter| letter.envelope.is_none()).count();
    let letters = received.retain(deployment, is_about_subjects).await?.letters;
    bar.finish_and_clear();
    if is_partial {
        release(deployment, &letters).await?;
        return Err("interrupted: dead letters about the subject may remain; run the command again".into());
    }
    let mut erased = ErasedDeadLetters { unreadable, held_elsewhere, ..ErasedDeadLetters::default() };
    delete_all(deployment, &letters).await?;
    for letter in &letters {
        let subject = subject_of(letter).unwrap_or_else(|| Subject::from_stored(String::new()));
        *erased.deleted.entry(subject).or_default() += 1;
    }
    Ok(erased)
}

fn subject_of(letter: &DeadLetter) -> Option<Subject> {
    let envelope = letter.envelope.as_ref()?;
    let source = of_event(&envelope.id)?;
    source.parse(&Document::read(&envelope.body).ok()?).subject
}
