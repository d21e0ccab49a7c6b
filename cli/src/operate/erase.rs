//! `gatehouse events erase`: what there is about somebody goes, and stays gone.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use gatehouse_inbox::store::Place;
use gatehouse_inbox::store::erase::{Removed, STALE};
use gatehouse_inbox::{Clock, Subject};
use gatehouse_local::Error;
use gatehouse_payload::ada;
use gatehouse_payload::json::Document;
use serde_json::json;

use super::dead_letters::{ErasedLetters, erase_letters};
use super::deployment::{Deployment, Which};
use super::listing::Span;
use super::output::{Form, Moment, json as line, moment, shown};
use super::{Verdict, progress};
use crate::shell::{Interrupts, agreed, print};

pub(crate) const EXAMPLES: &str = "\
What is recorded about the subject is removed: records, chunks, conflicting copies, and its dead letters. A tombstone without any
content stays in each record's place, and the subject's hash in a list, so that for 90 days no retry, no redrive and no later delivery
about it is recorded again. A function that was running takes up to a minute to know of it. It is safe to repeat.

An end user's conversations are found by reading Ada's events since --since, as far as they are in the index by-source: those that were
recorded before the stack had it are not.

Examples:
  gatehouse events erase --subject ada:conversation:673da1f0c2b94e5f8a017b11
  gatehouse events erase --end-user 65f1c0ffee --since 90d
  gatehouse events erase --subject vapi:call:2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11 --yes --json";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A subject, as events show names it; may stand several times
    #[arg(long = "subject", value_name = "SUBJECT", required_unless_present = "end_user")]
    subjects: Vec<String>,
    /// An end user of Ada's by id: their own events, and every conversation that names them
    #[arg(long, value_name = "ID")]
    end_user: Option<String>,
    /// How far back the end user's conversations are looked for
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "90d", requires = "end_user")]
    since: Moment,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    form: Form,
}

pub(crate) async fn run(arguments: Arguments) -> Verdict {
    let Arguments { subjects, end_user, since, yes, which, form } = arguments;
    let deployment = which.find().await?;
    let mut subjects: BTreeSet<Subject> = subjects.into_iter().map(Subject::from_stored).collect();
    for subject in &subjects {
        if subject.as_str().split(':').count() < 3 {
            return Err(
                format!("{subject} is no subject; one looks like ada:conversation:673da1f0c2b94e5f8a017b11").into()
            );
        }
    }
    if let Some(end_user) = &end_user {
        subjects.insert(Subject::new("ada", "end-user", end_user));
        subjects.extend(conversations_of(&deployment, end_user, since).await?);
    }
    if !yes {
        let names: Vec<_> = subjects.iter().map(|subject| format!("  {subject}\n")).collect();
        let question = format!("Erase for good all about\n{}from {}?", names.concat(), deployment.table);
        if !agreed(&question, &mut Interrupts::listen()).await? {
            print("nothing was erased\n")?;
            return Ok(1);
        }
    }
    let bar = progress("erasing");
    bar.set_length(subjects.len() as u64);
    let mut removed = Vec::new();
    for subject in &subjects {
        removed.push((subject, erase(&deployment, subject).await?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let letters =
        if deployment.has_queues() { erase_letters(&deployment, &subjects).await? } else { ErasedLetters::default() };
    for (subject, Removed { events, conflicts, chunks }) in removed {
        let letters = letters.deleted.get(subject).copied().unwrap_or_default();
        if form.json {
            line(&json!({"subject": subject.as_str(), "events": events, "conflicts": conflicts, "chunks": chunks,
                         "dead_letters": letters}))?;
        } else {
            print(&format!(
                "{}: {events} events, {conflicts} conflicts, {chunks} chunks, {letters} dead letters removed\n",
                shown(subject.as_str())
            ))?;
        }
    }
    if letters.unreadable > 0 {
        eprintln!(
            "{} dead letters cannot be read, and may be about it: gatehouse dead-letters list{}",
            letters.unreadable, deployment.again
        );
    }
    if !form.json {
        print(&format!(
            "A function that was running takes up to {STALE} seconds to know of it: say it again then, for what arrived meanwhile.\n\
             Not touched, and gone by themselves: backups (point-in-time recovery reaches back 35 days), messages on the retry queue \
             (not recorded any more; at most 14 days), parts of large payloads whose writing failed (after EventTtlDays), log lines \
             (ids, no content; LogRetentionDays), the stream (24 hours).\n"
        ))?;
    }
    if letters.elsewhere > 0 {
        return Err(format!(
            "about {} dead letters are held by another command, or by one that was killed, and may be about it: say it again in two minutes",
            letters.elsewhere
        )
        .into());
    }
    Ok(0)
}

/// Until the index, which is eventually consistent, shows nothing more.
async fn erase(deployment: &Deployment, subject: &Subject) -> Result<Removed, Error> {
    let now = Clock::System.now();
    // Somebody else may be erasing too.
    let mut tries = 0;
    while let Err(error) = deployment.store.bury(subject, now).await {
        tries += 1;
        if !error.is_transient() || tries == 5 {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(50 * tries)).await;
    }
    let mut all = Removed::default();
    loop {
        let removed = deployment.store.erase(subject, now).await?;
        all += removed;
        if removed == Removed::default() {
            return Ok(all);
        }
    }
}

/// The conversations whose events name the end user. Events do not say in their keys whom they name: each is read.
async fn conversations_of(deployment: &Deployment, end_user: &str, since: Moment) -> Result<BTreeSet<Subject>, Error> {
    let mut found = BTreeSet::new();
    let bar = progress("reading Ada's events");
    let mut unread = Vec::new();
    let span = Span::of("ada", since);
    let each = span.each(deployment, async |arrival| {
        if arrival.subject.as_ref().is_some_and(|subject| !found.contains(subject)) {
            unread.push(arrival.key);
        }
        if unread.len() >= 100 {
            bar.inc(100);
            found.extend(naming(deployment, std::mem::take(&mut unread), end_user).await?);
        }
        Ok(true)
    });
    each.await?;
    found.extend(naming(deployment, unread, end_user).await?);
    bar.finish_and_clear();
    Ok(found)
}

async fn naming(deployment: &Deployment, keys: Vec<String>, end_user: &str) -> Result<Vec<Subject>, Error> {
    let places = deployment.store.read(keys, Clock::System.now()).await?;
    let names = |place: Place| {
        let Place::Record(record) = place else { return None };
        let document = Document::read(&record.event.body).ok()?;
        let readable = ada::readable(&document);
        let named = ada::Envelope::of(&readable).data.and_then(|data| data.end_user_id()).map(|id| id == end_user);
        if named == Some(true) { record.event.subject } else { None }
    };
    Ok(places.into_values().filter_map(names).collect())
}
