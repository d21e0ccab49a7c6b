//! Shows the events of a subject, and follows them.

use std::collections::HashSet;
use std::time::Duration;

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::{Content, PageToken, Record};
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_runtime::Clock;

use super::show::describe;
use super::{EventView, mark_words, or_dash};
use crate::ops::deployment::{Deployment, TargetArgs};
use crate::ops::listing::LimitArgs;
use crate::ops::output::{KeyValues, OutputArgs, print_json};
use crate::ops::{ExitStatus, NOT_FOUND, subjects};
use crate::shell::{Interrupts, note, print};

/// Interval between polls of a followed timeline.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the pages of a timeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimelinePrinter {
    pub(super) output: OutputArgs,
    pub(super) payload: bool,
}

impl TimelinePrinter {
    fn print(self, records: &[Record], with_heading: bool) -> Result<(), Error> {
        if self.output.json {
            return records.iter().try_for_each(|record| print_json(&EventView::of_record(record, self.payload)));
        }
        if self.payload {
            for record in records {
                let mut lines = KeyValues::default();
                lines.add("event", record.event.id.as_str());
                describe(&mut lines, record, true);
                lines.print()?;
                print("\n")?;
            }
            return Ok(());
        }
        let mut table = self.output.table(["OCCURRED", "STATE", "MARKS", "TYPE", "EVENT"]);
        for record in records {
            let event = &record.event;
            let state = if record.conflict { "conflict" } else { "recorded" };
            let (at, kind) = (event.occurred_at.to_string(), or_dash(event.event_type.as_ref()));
            table.row([at, state.to_owned(), mark_words(event.flags).join(", "), kind, event.id.to_string()]);
        }
        if with_heading { table.print() } else { table.print_rows() }
    }
}

pub(super) async fn timeline(
    target: &TargetArgs,
    text: &str,
    printer: TimelinePrinter,
    limit: LimitArgs,
    follow: bool,
) -> ExitStatus {
    let deployment = target.find().await?;
    let Some(subject) = &subjects::of(&deployment, text).await? else {
        note(format!("no events about {text}; a subject looks like ada:conversation:673da1f0c2b94e5f8a017b11"));
        return Ok(NOT_FOUND);
    };
    let mut next_page: Option<PageToken> = None;
    let rows = limit.rows().filter(|_| !follow || limit.limit.is_some());
    let (mut printed, mut left) = (0, rows.unwrap_or(usize::MAX));
    let mut printed_keys = HashSet::new();
    while left > 0 {
        let size = u8::try_from(left.min(100)).unwrap_or(100);
        let page = deployment.store.timeline(subject, Clock::System.now(), next_page, size).await?;
        printed_keys.extend(page.records.iter().map(key_of));
        if !page.records.is_empty() {
            printer.print(&page.records, printed == 0)?;
        }
        for (key, damaged) in page.damaged {
            note(format!("{key}: {damaged}"));
        }
        printed += page.records.len();
        left = left.saturating_sub(page.records.len());
        next_page = page.next;
        if next_page.is_none() {
            break;
        }
    }
    if follow {
        follow_timeline(deployment, target, subject, printer, printed_keys).await?;
    } else if printed == 0 {
        note(format!("no events about {subject}; a subject looks like ada:conversation:673da1f0c2b94e5f8a017b11"));
        return Ok(NOT_FOUND);
    } else if has_more(&deployment, subject, next_page).await? {
        note(format!("there are more: the first {} shown; pass -n N for more rows", are(printed)));
    }
    Ok(0)
}

/// Whether there are events after a page. DynamoDB returns a token although it was the last one.
async fn has_more(deployment: &Deployment, subject: &Subject, mut next: Option<PageToken>) -> Result<bool, Error> {
    while let Some(token) = next {
        let page = deployment.store.timeline(subject, Clock::System.now(), Some(token), 1).await?;
        if !page.records.is_empty() || !page.damaged.is_empty() {
            return Ok(true);
        }
        next = page.next;
    }
    Ok(false)
}

fn are(events: usize) -> String {
    if events == 1 { "event is".to_owned() } else { format!("{events} events are") }
}

fn key_of(record: &Record) -> (String, bool, String) {
    (record.event.id.to_string(), record.conflict, record.event.fingerprint.to_string())
}

/// Prints new events until Ctrl-C.
///
/// An event that occurred earlier may be received later. Each poll therefore lists all keys of the subject, and reads
/// the new ones.
async fn follow_timeline(
    mut deployment: Deployment,
    target: &TargetArgs,
    subject: &Subject,
    printer: TimelinePrinter,
    mut printed_keys: HashSet<(String, bool, String)>,
) -> Result<(), Error> {
    let mut known_keys = HashSet::new();
    let mut stop = Interrupts::listen();
    loop {
        let poll = async {
            let keys = deployment.store.keys(subject).await?;
            let new: Vec<_> = keys.into_iter().filter(|key| !known_keys.contains(key)).collect();
            let contents = deployment.store.contents(new.clone(), Clock::System.now()).await?;
            Ok::<_, StoreError>((new, contents))
        };
        match poll.await {
            Ok((new, contents)) => {
                known_keys.extend(new);
                let record = |content| if let Content::Record(record) = content { Some(*record) } else { None };
                let mut records: Vec<_> = contents.into_values().filter_map(record).collect();
                records.retain(|record| printed_keys.insert(key_of(record)));
                records.sort_by(|a, b| (a.event.occurred_at, &a.event.id).cmp(&(b.event.occurred_at, &b.event.id)));
                printer.print(&records, false)?;
            }
            // An outage or a restart does not end the command, so that the events after it are printed too. A
            // `gatehouse dev` that starts may lack its table for a moment.
            Err(error) if error.is_transient() || deployment.dev.is_some() => {
                note(format!("{error}; retrying"));
                // If it is not reachable, the next poll fails too, and retries.
                let _ = deployment.reconnect(target).await;
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stop.next() => return Ok(()),
        }
    }
}
