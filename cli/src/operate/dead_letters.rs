//! `gatehouse dead-letters`: what could not be recorded, why, and back with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use gatehouse_edge::Source;
use gatehouse_inbox::{Clock, Subject};
use gatehouse_local::Error;
use gatehouse_payload::json::Document;

mod queue;
mod receipt;
mod redrive;

use queue::{HELD, Held, NEVER_FINISHED, delete, hand_back, hold};
pub(crate) use queue::{Letter, look, waiting};

use super::deployment::{Deployment, Which};
use super::listing::SOURCES;
use super::output::{Facts, Form, Table, age, json, pretty, shown};
use super::{NOT_FOUND, USAGE, Verdict, progress};
use crate::shell::{Interrupts, agreed, print, quoted};

pub(crate) const EXAMPLES: &str = "\
Looking into the queue means receiving its messages; they are handed back at once. Whoever is killed meanwhile leaves them hidden for
two minutes.

Examples:
  gatehouse dead-letters list --stack gatehouse
  gatehouse dead-letters list --json | jq -r 'select(.reason == \"refused\") | .event_id'
  gatehouse dead-letters show ada:msg_2x
  gatehouse dead-letters redrive --all --rate 50/s
  gatehouse dead-letters redrive --id ada:msg_2x --dry-run
  gatehouse dead-letters discard --reason unreadable --keep unreadable.jsonl";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List dead letters: age, attempts, source, event, why.
    #[command(
        after_help = "Examples:\n  gatehouse dead-letters list\n  gatehouse dead-letters list --source ada --json"
    )]
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        form: Form,
        #[command(flatten)]
        choice: Choice,
    },
    /// Show one whole, its payload only if asked for.
    #[command(
        after_help = "Examples:\n  gatehouse dead-letters show ada:msg_2x\n  gatehouse dead-letters show ada:msg_2x --payload"
    )]
    Show {
        /// The event's id, or the message's
        #[arg(value_name = "ID")]
        id: String,
        /// Its payload too
        #[arg(long)]
        payload: bool,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        form: Form,
    },
    /// Put dead letters back on the retry queue, and say what became of them.
    #[command(after_help = redrive::EXAMPLES)]
    Redrive(redrive::Arguments),
    /// Delete dead letters for good; a copy of each goes to a file first.
    #[command(
        after_help = "The copies are whole messages, payloads and all: a JSON line each.\n\nExamples:\n  gatehouse dead-letters discard --id ada:msg_2x\n  gatehouse dead-letters discard --reason unreadable --keep unreadable.jsonl --yes"
    )]
    Discard {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        choice: Choice,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Where the copies go; it must not be there yet
        #[arg(long, value_name = "FILE", default_value = "discarded.jsonl")]
        keep: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const WHICH_ONES: &str = "gatehouse: which ones? Name some with --id, --source or --reason, or say --all";
/// Why a message may be dead.
const REASONS: [&str; 5] = ["unavailable", "refused", "unreadable", "panic", NEVER_FINISHED];

/// Which of them; of several options all must hold.
#[derive(Debug, Clone, Args)]
pub(crate) struct Choice {
    /// Only this event's or message's; may stand several times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Only of this vendor
    #[arg(long, value_name = "SOURCE", value_parser = SOURCES)]
    source: Option<String>,
    /// Only of this reason
    #[arg(long, value_name = "REASON", value_parser = REASONS)]
    reason: Option<String>,
}

impl Choice {
    fn is_any(&self) -> bool {
        self.ids.is_empty() && self.source.is_none() && self.reason.is_none()
    }

    fn takes(&self, letter: &Letter) -> bool {
        let is = |id: &String| letter.event_id.as_ref() == Some(id) || letter.message_id == *id;
        (self.ids.is_empty() || self.ids.iter().any(is))
            && (self.source.is_none() || self.source == letter.source)
            && self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
    }
}

pub(crate) async fn run(command: Command) -> Verdict {
    match command {
        Command::List { which, form, choice } => list(&which.find().await?, form, &choice).await,
        Command::Show { id, payload, which, form } => show(&which.find().await?, form, &id, payload).await,
        Command::Redrive(arguments) => redrive::run(arguments).await,
        Command::Discard { which, choice, all, keep, yes } => {
            if choice.is_any() && !all {
                eprintln!("{WHICH_ONES}");
                return Ok(USAGE);
            }
            discard(&which.find().await?, &choice, &keep, yes).await
        }
    }
}

async fn list(deployment: &Deployment, form: Form, choice: &Choice) -> Verdict {
    let bar = progress("looking");
    let Held { letters, elsewhere, is_partial, .. } =
        look(deployment, &bar, &mut Interrupts::listen(), |_| false).await?;
    bar.finish_and_clear();
    let mut letters: Vec<_> = letters.into_iter().filter(|letter| choice.takes(letter)).collect();
    letters.sort_by(|a, b| (a.sent_at, &a.event_id).cmp(&(b.sent_at, &b.event_id)));
    let now = Clock::System.now();
    if form.json {
        letters.iter().try_for_each(json)?;
    } else if letters.is_empty() {
        print(if choice.is_any() { "no dead letters\n" } else { "no such dead letters\n" })?;
    } else {
        let mut table = Table::new(["AGE", "ATTEMPTS", "SOURCE", "REASON", "FIRST ERROR", "LAST ERROR", "EVENT"]);
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        for letter in &letters {
            let event = letter.event_id.clone().unwrap_or_else(|| format!("message {}", letter.message_id));
            let attempts = if letter.attempts == 0 { "-".to_owned() } else { letter.attempts.to_string() };
            let (first, last) = (or(&letter.first_error), or(&letter.last_error));
            let age = age(letter.first_failed_at.unwrap_or(letter.sent_at), now);
            table.row([age, attempts, or(&letter.source), letter.reason.clone(), first, last, event]);
        }
        table.print()?;
        print(&format!("{}\n", told(&letters)))?;
    }
    if is_partial {
        return Err("interrupted: this is not all of them".into());
    }
    if elsewhere > 0 {
        return Err(held_elsewhere(elsewhere));
    }
    Ok(0)
}

fn held_elsewhere(count: u64) -> Error {
    let seconds = HELD.as_secs();
    format!(
        "about {count} more are held by another command, or by one that was killed; they show again within {seconds} s"
    )
    .into()
}

/// How many, and of which reasons.
fn told(letters: &[Letter]) -> String {
    let mut reasons = BTreeMap::<&str, usize>::new();
    for letter in letters {
        *reasons.entry(&letter.reason).or_default() += 1;
    }
    let reasons: Vec<_> = reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    let many = if letters.len() == 1 { "dead letter" } else { "dead letters" };
    shown(&format!("{} {many}: {}", letters.len(), reasons.join(", ")))
}

async fn show(deployment: &Deployment, form: Form, id: &str, payload: bool) -> Verdict {
    let Some(letter) = find(deployment, id).await? else {
        eprintln!("{id}: no dead letter; what became of it: gatehouse events show {}{}", quoted(id), deployment.again);
        return Ok(NOT_FOUND);
    };
    let body = letter.envelope.as_ref().map(|envelope| String::from_utf8_lossy(&envelope.body).into_owned());
    if form.json {
        let mut value = serde_json::to_value(&letter)?;
        if payload {
            value["payload"] = body.map_or_else(|| letter.body.clone().into(), |body| as_json(&body));
        }
        json(&value)?;
        return Ok(0);
    }
    let mut facts = Facts::default();
    about(&mut facts, &letter);
    match (payload, body) {
        (true, Some(body)) => facts.block("payload", &pretty(&body)),
        (true, None) => facts.block("message, which is no envelope", &letter.body),
        (false, _) => facts.add("payload", "not shown; --payload shows it"),
    }
    facts.print()?;
    Ok(0)
}

/// The body as a value, or as text where it is no JSON.
pub(crate) fn as_json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).unwrap_or_else(|_| body.into())
}

/// The dead letter of an event, handed back.
pub(crate) async fn find(deployment: &Deployment, id: &str) -> Result<Option<Letter>, Error> {
    let bar = progress("looking through the dead letters");
    let is = |letter: &Letter| letter.event_id.as_deref() == Some(id) || letter.message_id == id;
    let held = look(deployment, &bar, &mut Interrupts::listen(), is).await?;
    bar.finish_and_clear();
    Ok(held.letters.into_iter().find(is))
}

/// A dead letter's history.
pub(crate) fn about(facts: &mut Facts, letter: &Letter) {
    facts.add("dead letter", format!("{}, since {}", letter.reason, letter.sent_at));
    facts.add_some("event", letter.event_id.as_ref());
    facts.add("message", &letter.message_id);
    if letter.attempts > 0 {
        facts.add("attempts", letter.attempts.to_string());
    }
    facts.add_some("first failed", letter.first_failed_at.map(|at| at.to_string()));
    facts.add_some("first error", letter.first_error.as_ref());
    facts.add_some("last error", letter.last_error.as_ref());
    facts.add("what to do", advice(&letter.reason));
}

fn advice(reason: &str) -> &'static str {
    match reason {
        "unavailable" => {
            "DynamoDB was away, slow or closed to event-retry at every attempt: see what gatehouse doctor says, then redrive"
        }
        "refused" => "DynamoDB refuses the item as it is; redrive once a release or a setting has changed that",
        "unreadable" => {
            "it is no envelope of this release's; look at it with --payload, then discard it, or redrive under the release that wrote it"
        }
        "panic" => "event-retry panicked; its log has the place. Redrive when it is mended",
        _ => {
            "event-retry never said what became of it: killed, out of time or memory, or the queue gave up sooner than event-retry \
              does, which gatehouse doctor tells under receives. Its log tells the rest; then redrive"
        }
    }
}

async fn discard(deployment: &Deployment, choice: &Choice, keep: &std::path::Path, yes: bool) -> Verdict {
    let (bar, mut stop) = (progress("looking"), Interrupts::listen());
    if !yes {
        // Handed back while somebody thinks about it.
        let found = look(deployment, &bar, &mut stop, |_| false).await?;
        bar.finish_and_clear();
        let letters: Vec<_> = found.letters.into_iter().filter(|letter| choice.takes(letter)).collect();
        if !letters.is_empty() && !agreed(&format!("Discard {} for good?", told(&letters)), &mut stop).await? {
            print("nothing was discarded\n")?;
            return Ok(1);
        }
    }
    let held = hold(deployment, &bar, &mut stop, |_| false).await?;
    let held = held.choose(deployment, |letter| choice.takes(letter)).await?;
    bar.finish_and_clear();
    if held.is_partial || held.letters.is_empty() {
        hand_back(deployment, &held.letters).await?;
        if held.is_partial {
            return Err("interrupted: nothing was discarded".into());
        }
        if held.elsewhere > 0 {
            return Err(held_elsewhere(held.elsewhere));
        }
        print("no such dead letters\n")?;
        return Ok(NOT_FOUND);
    }
    if let Err(error) = copy(&held.letters, keep) {
        hand_back(deployment, &held.letters).await?;
        return Err(format!("{} cannot be written, so nothing was discarded: {error}", keep.display()).into());
    }
    for letter in &held.letters {
        delete(deployment, letter).await?;
    }
    print(&format!("discarded {}; copies are in {}\n", told(&held.letters), keep.display()))?;
    Ok(0)
}

/// Writes the messages to a new file, for nobody else to read, and to the disk.
fn copy(letters: &[Letter], keep: &std::path::Path) -> Result<(), Error> {
    let mut file = private(keep)?;
    for letter in letters {
        let mut value = serde_json::to_value(letter)?;
        value["message"] = letter.body.clone().into();
        writeln!(file, "{value}")?;
    }
    Ok(file.sync_all()?)
}

/// A new file, for nobody else to read.
fn private(path: &std::path::Path) -> Result<std::fs::File, Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?)
}

/// What became of the dead letters about erased subjects.
#[derive(Debug, Default)]
pub(crate) struct ErasedLetters {
    /// How many were deleted, by subject.
    pub(crate) deleted: BTreeMap<Subject, usize>,
    /// How many cannot be read, and may be about them.
    pub(crate) unreadable: usize,
    /// About how many are held by somebody, and may be about them.
    pub(crate) elsewhere: u64,
}

/// Deletes the dead letters about some subjects.
pub(crate) async fn erase_letters(
    deployment: &Deployment,
    subjects: &BTreeSet<Subject>,
) -> Result<ErasedLetters, Error> {
    let bar = progress("looking through the dead letters");
    let is_theirs = |letter: &Letter| subject_of(letter).is_some_and(|subject| subjects.contains(&subject));
    let held = hold(deployment, &bar, &mut Interrupts::listen(), |_| false).await?;
    let (is_partial, elsewhere) = (held.is_partial, held.elsewhere);
    let unreadable = held.letters.iter().filter(|letter| letter.envelope.is_none()).count();
    let theirs = held.choose(deployment, is_theirs).await?.letters;
    bar.finish_and_clear();
    if is_partial {
        hand_back(deployment, &theirs).await?;
        return Err("interrupted: dead letters about it may be left; say it again".into());
    }
    let mut erased = ErasedLetters { unreadable, elsewhere, ..ErasedLetters::default() };
    for letter in &theirs {
        delete(deployment, letter).await?;
        *erased
            .deleted
            .entry(subject_of(letter).unwrap_or_else(|| Subject::from_stored(String::new())))
            .or_default() += 1;
    }
    Ok(erased)
}

fn subject_of(letter: &Letter) -> Option<Subject> {
    let envelope = letter.envelope.as_ref()?;
    let source = Source::of(&envelope.event_id)?;
    source.parse(&Document::read(&envelope.body).ok()?).subject
}
