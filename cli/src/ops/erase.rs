//! `gatehouse events erase`: permanently erases all data about a subject.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use gatehouse_deliveries::DeliveryTable;
use gatehouse_deliveries::deliver::SETTLE_LIMIT;
use gatehouse_deliveries::destination::Order;
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::send::ATTEMPT_LIMIT;
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::by_source;
use gatehouse_inbox::store::erase::{Removed, STALE};
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_payload::json::Document;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::console::Console;
use super::dead_letters::{ErasedDeadLetters, erase_dead_letters};
use super::deployment::{Deployment, TargetArgs};
use super::listing::Span;
use super::output::{OutputArgs, When, counted, escape_control, parse_when, print_json};
use super::{ExitStatus, progress};
use crate::shell::{Interrupts, confirm, note, print};

/// How long an erasure waits for the sender of a subject's deliveries: longer than a lease.
const LANE_LIMIT: Duration = Duration::from_secs(90);

pub(crate) const EXAMPLES: &str = "\
Erases the subject's records, chunks, conflicting copies, dead letters and deliveries. A tombstone without content
replaces each record, and the subject's hash is added to a list, so that for 90 days no retry, redrive or later
delivery about the subject is recorded. Running functions apply the list within a minute. The command can be repeated
safely.

The conversations of an end user are found by reading Ada's events since --since through the index by-source. Events
recorded before the stack had that index are not found.

Examples:
  gatehouse events erase --subject ada:conversation:673da1f0c2b94e5f8a017b11
  gatehouse events erase --end-user 65f1c0ffee --since 90d
  gatehouse events erase --subject vapi:call:2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11 --yes --json";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Subject, as in `events show`; repeatable
    #[arg(long = "subject", value_name = "SUBJECT", required_unless_present = "end_user")]
    subjects: Vec<String>,
    /// Id of an Ada end user: erases their own events and every conversation that names them
    #[arg(long, value_name = "ID")]
    end_user: Option<String>,
    /// Start of the search for the end user's conversations
    #[arg(long, value_name = "WHEN", value_parser = parse_when, default_value = "90d", requires = "end_user")]
    since: When,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { subjects, end_user, since, yes, output, target } = arguments;
    let deployment = target.find().await?;
    let mut subjects = parse_subjects(subjects)?;
    if let Some(end_user) = &end_user {
        subjects.insert(Subject::new("ada", "end-user", end_user));
        subjects.extend(conversations_of(&deployment, end_user, since).await?);
    }
    if !yes {
        let question = question(&subjects, &deployment.table);
        if !confirm(&question, &mut Interrupts::listen()).await? {
            print("nothing was erased\n")?;
            return Ok(1);
        }
    }
    let erasure = erase_all(&deployment, &subjects, Console::Attached).await?;
    if output.json {
        erasure.to_json().iter().try_for_each(print_json)?;
    } else {
        print(&erasure.to_text())?;
    }
    if erasure.dead_letters.unreadable > 0 {
        let letters = counted(erasure.dead_letters.unreadable, "dead letter");
        let flags = &deployment.flags;
        note(format!(
            "{letters} cannot be read and may be about the subject; to list them: gatehouse dead-letters list{flags}"
        ));
    }
    if !output.json {
        print(&closing_note())?;
    }
    if deployment.has_only_table() {
        note("deliveries are not known with --table, and were not erased; repeat the command with --stack");
    }
    if erasure.dead_letters.held_elsewhere > 0 {
        return Err(format!(
            "about {} dead letters are held by another command, or by one that was killed, and may be about the \
             subject; run the command again in two minutes",
            erasure.dead_letters.held_elsewhere
        )
        .into());
    }
    Ok(0)
}

fn parse_subjects(subjects: Vec<String>) -> Result<BTreeSet<Subject>, Error> {
    let example = "a subject looks like ada:conversation:673da1f0c2b94e5f8a017b11";
    let parse = |text: String| {
        // Under its present name; the data under former names are erased with it.
        let subject = crate::ops::subjects::parse(&text).and_then(|subject| subject.names().next());
        subject.ok_or_else(|| format!("{text} is not a subject; {example}").into())
    };
    subjects.into_iter().map(parse).collect()
}

fn question(subjects: &BTreeSet<Subject>, table: &str) -> String {
    let names: Vec<_> = subjects.iter().map(|subject| format!("  {subject}\n")).collect();
    format!("Permanently erase all data about\n{}from {table}?", names.concat())
}

/// The result of erasing some subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureResult {
    /// The number of removed items for each subject.
    pub removed: Vec<(Subject, Removed)>,
    /// The deleted dead letters. Others that cannot be read now may be about the subjects.
    pub dead_letters: ErasedDeadLetters,
}

impl ErasureResult {
    fn dead_letters_of(&self, subject: &Subject) -> usize {
        self.dead_letters.deleted.get(subject).copied().unwrap_or_default()
    }

    /// Returns one object for each subject.
    fn to_json(&self) -> Vec<Value> {
        let object = |(subject, removed): &(Subject, Removed)| {
            let Removed { events, conflicts, chunks } = removed;
            json!({"subject": subject.as_str(), "events": events, "conflicts": conflicts, "chunks": chunks,
                   "dead_letters": self.dead_letters_of(subject)})
        };
        self.removed.iter().map(object).collect()
    }

    /// Returns one line for each subject.
    fn to_text(&self) -> String {
        let line = |(subject, removed): &(Subject, Removed)| {
            let counts = [
                counted(removed.events, "event"),
                counted(removed.conflicts, "conflict"),
                counted(removed.chunks, "chunk"),
                counted(self.dead_letters_of(subject), "dead letter"),
            ];
            format!("{}: removed {}\n", escape_control(subject.as_str()), counts.join(", "))
        };
        self.removed.iter().map(line).collect()
    }
}

fn closing_note() -> String {
    format!(
        "Running functions apply the erasure within {STALE} seconds. Then run the command again, to erase events that \
         they recorded before that.\n\
         Not erased, but these expire: backups (point-in-time recovery, 35 days), messages on the retry queue (at most \
         14 days; they are not recorded), chunks of large payloads whose recording failed (EventTtlDays), log lines \
         (ids without content; LogRetentionDays), the stream (24 hours). Gatehouse cannot erase \
         copies that destinations have received.\n"
    )
}

/// Erases the subjects' items and dead letters.
///
/// # Errors
/// If DynamoDB or SQS fails. The call may be repeated.
pub(crate) async fn erase_all(
    deployment: &Deployment,
    subjects: &BTreeSet<Subject>,
    console: Console,
) -> Result<ErasureResult, Error> {
    let bar = console.progress("erasing");
    bar.set_length(subjects.len() as u64);
    let mut removed = Vec::new();
    let mut sent_until = None;
    for subject in subjects {
        let (of_subject, until) = erase(deployment, subject).await?;
        removed.push((subject.clone(), of_subject));
        sent_until = sent_until.max(until);
        bar.inc(1);
    }
    if let Some(until) = sent_until {
        tokio::time::sleep_until(until).await;
    }
    bar.finish_and_clear();
    let dead_letters = if deployment.has_queues() {
        erase_dead_letters(deployment, subjects, console).await?
    } else {
        ErasedDeadLetters::default()
    };
    Ok(ErasureResult { removed, dead_letters })
}

/// Erases a subject. Repeats until the index, which is eventually consistent, lists nothing more. Also returns until
/// when a sender may send an event that it has read before, if one may be doing that.
async fn erase(deployment: &Deployment, subject: &Subject) -> Result<(Removed, Option<Instant>), Error> {
    let now = deployment.clock.now();
    // The write may fail transiently, for example if another command erases at the same time.
    let mut attempts = 0;
    while let Err(error) = deployment.store.mark_erased(subject, now).await {
        attempts += 1;
        if !error.is_transient() || attempts == 5 {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(50 * attempts)).await;
    }
    let table = deployment.delivery_table().ok();
    let destinations: Vec<String> = match &table {
        Some(table) => table.destinations().await?.into_keys().collect(),
        None => Vec::new(),
    };
    // Tombstones have no subject, so that the keys are not found later. Therefore the deliveries are deleted before the
    // events too: a command that is interrupted can be repeated.
    let keys = async || match destinations.is_empty() {
        true => Ok(Vec::new()),
        false => deployment.store.keys(subject).await,
    };
    let mut erased: BTreeSet<String> = keys().await?.into_iter().collect();
    let mut may_be_sent = false;
    if let Some(table) = &table {
        may_be_sent |= erase_deliveries(deployment, table, &destinations, subject, &erased).await?;
    }
    let mut total = Removed::default();
    loop {
        // An instance that did not know of the erasure may have recorded another event.
        erased.extend(keys().await?);
        let removed = deployment.store.erase(subject, now).await?;
        total += removed;
        if removed == Removed::default() {
            break;
        }
    }
    let erased_at = Instant::now();
    // A delivery may have been added meanwhile.
    if let Some(table) = &table {
        may_be_sent |= erase_deliveries(deployment, table, &destinations, subject, &erased).await?;
    }
    Ok((total, may_be_sent.then(|| erased_at + ATTEMPT_LIMIT + SETTLE_LIMIT)))
}

/// Deletes the deliveries of a subject's events, which contain their ids and the receivers' answers. Returns whether a
/// sender may be sending one of them.
async fn erase_deliveries(
    deployment: &Deployment,
    table: &DeliveryTable,
    destinations: &[String],
    subject: &Subject,
    keys: &BTreeSet<String>,
) -> Result<bool, Error> {
    let holder = deployment.random.nonce()?;
    let mut may_be_sent = false;
    for name in destinations {
        let of_subject = subject.names().map(|subject| Lane::of(name, Order::Subject, Some(subject.as_str()), ""));
        let single = keys.iter().map(|key| Lane::of(name, Order::None, None, key));
        for lane in of_subject.chain(single) {
            // A sender holds a lane for at most a minute.
            let deadline = Instant::now() + LANE_LIMIT;
            loop {
                if let Some(of_lane) = table.erase_lane(&lane, holder, deployment.clock.now()).await? {
                    may_be_sent |= of_lane;
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(
                        format!("a sender holds the deliveries of {subject} to {name}; run the command again").into()
                    );
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Ok(may_be_sent)
}

/// Finds the conversations whose events name the end user. Only the payloads have the end user's id, so each is read.
async fn conversations_of(deployment: &Deployment, end_user: &str, since: When) -> Result<BTreeSet<Subject>, Error> {
    let mut found = BTreeSet::new();
    let bar = progress("reading Ada's events");
    let mut unread_keys = Vec::new();
    let span = Span::of("ada", since);
    let mut listing = span.list(deployment, by_source::Order::LatestFirst)?;
    while let Some(arrival) = listing.next().await? {
        if arrival.subject.as_ref().is_some_and(|subject| !found.contains(subject)) {
            unread_keys.push(arrival.key);
        }
        if unread_keys.len() >= 100 {
            bar.inc(100);
            found.extend(subjects_naming(deployment, std::mem::take(&mut unread_keys), end_user).await?);
        }
    }
    found.extend(subjects_naming(deployment, unread_keys, end_user).await?);
    bar.finish_and_clear();
    Ok(found)
}

/// Returns the subjects of those events in `keys` that name the end user.
async fn subjects_naming(deployment: &Deployment, keys: Vec<String>, end_user: &str) -> Result<Vec<Subject>, Error> {
    let contents = deployment.store.contents(keys, deployment.clock.now()).await?;
    let subject = |content: Content| {
        let Content::Record(record) = content else { return None };
        let document = Document::read(&record.event.body).ok()?;
        let readable = gatehouse_ada::readable(&document);
        let names_user =
            gatehouse_ada::Envelope::of(&readable).data.and_then(|data| data.end_user_id()).map(|id| id == end_user);
        if names_user == Some(true) { record.event.subject } else { None }
    };
    Ok(contents.into_values().filter_map(subject).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erasure_prints_each_subject_with_its_counts() {
        let subject = Subject::new("ada", "conversation", "c1");
        let removed = Removed { events: 1, conflicts: 0, chunks: 2 };
        let dead_letters =
            ErasedDeadLetters { deleted: [(subject.clone(), 1)].into_iter().collect(), ..ErasedDeadLetters::default() };
        let erasure = ErasureResult { removed: vec![(subject, removed)], dead_letters };
        let text = "ada:conversation:c1: removed 1 event, 0 conflicts, 2 chunks, 1 dead letter\n";
        assert_eq!(erasure.to_text(), text);
        assert_eq!(erasure.to_json()[0]["dead_letters"], 1);
    }
}
