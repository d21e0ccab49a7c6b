//! Lists sessions, conversations and calls.

use std::collections::{BTreeMap, HashSet};

use clap::Args;
use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::Heading;
use gatehouse_inbox::store::by_source::Order;
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_payload::event::present_source;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use gatehouse_timeline::State;
use gatehouse_vendor::Profile;
use serde::Serialize;
use tokio::task::JoinSet;

use super::sources_of;
use crate::ops::ExitStatus;
use crate::ops::deployment::{Deployment, TargetArgs};
use crate::ops::listing::{LimitArgs, Period, Span};
use crate::ops::output::{OutputArgs, age, print_json};
use crate::shell::note;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only those whose end has not been received
    #[arg(long)]
    open: bool,
    // The latest events are in it.
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    limit: LimitArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// The rows that are read at the same time.
const BATCH: usize = 50;
/// The first and the last events whose types are read. The event that ends a subject is among its last ones.
const FIRST: usize = 2;
const LAST: usize = 10;
/// The events in a page of the index, if the list is limited.
const PAGE: usize = 500;

/// A session, conversation or call in a list.
#[derive(Debug, Serialize)]
struct Row {
    subject: String,
    state: String,
    first_received_at: Timestamp,
    last_received_at: Timestamp,
    events: usize,
    /// Whether the event that creates a subject was received. Absent for vendors without such an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    was_created: Option<bool>,
}

/// Lists the subjects that `command` is for, by their latest events.
pub(super) async fn list(arguments: Arguments, command: &str) -> ExitStatus {
    let Arguments { open, period: Period { since, until }, limit, output, target } = arguments;
    let deployment = target.find().await?;
    let profiles: Vec<&Profile> = sources_of(command).map(|source| source.profile()).collect();
    let mut vendors: Vec<String> = profiles.iter().map(|profile| profile.vendor.to_owned()).collect();
    vendors.dedup();
    let (now, rows) = (Clock::System.now(), limit.rows());
    let end = until.map(|until| until.resolve(now));
    let span = Span { source: vendors, since, until };
    let mut listing = span.list(&deployment, Order::LatestFirst)?.of_rows(rows.map(|_| PAGE));
    let mut table = output.table(["LAST", "STATE", "SUBJECT", "EVENTS"]);
    // The keys of a subject are read while the list goes on.
    let (mut seen, mut batch, mut count) = (HashSet::new(), JoinSet::new(), 0);
    let mut more_until = None;
    loop {
        let event = listing.next().await?;
        let is_end = event.is_none();
        if let Some(event) = event {
            let is_listed = |subject: &Subject| {
                profiles.iter().any(|profile| {
                    profile.vendor == present_source(subject.vendor()) && profile.stateful.contains(&subject.kind())
                })
            };
            let subject = event.subject.filter(is_listed).and_then(|subject| subject.names().next());
            if let Some(subject) = subject
                && seen.insert(subject.clone())
            {
                let (store, last) = (deployment.store.clone(), event.received_at);
                batch.spawn(async move { Ok((store.keys(&subject).await?, subject, last)) });
            }
        }
        let wanted = rows.map_or(BATCH, |rows| (rows + 1 - count).min(BATCH));
        if batch.len() < wanted && !is_end {
            continue;
        }
        for row in read_rows(&deployment, &profiles, std::mem::take(&mut batch)).await? {
            // One with later events is on an earlier page.
            let is_later = end.is_some_and(|end| row.last_received_at > end);
            if is_later || (open && row.state != State::Open.to_string()) {
                continue;
            }
            if Some(count) == rows {
                more_until = Some(row.last_received_at);
                break;
            }
            count += 1;
            if output.json {
                print_json(&row)?;
            } else {
                table.row([age(row.last_received_at, now), row.state, row.subject, row.events.to_string()]);
            }
        }
        if is_end || more_until.is_some() {
            break;
        }
    }
    if !table.is_empty() {
        table.print()?;
    }
    match more_until {
        Some(until) => note(format!("there are more: pass --until {until} for earlier ones, or -n N for more rows")),
        None if count == 0 => {
            note(format!("no {command} have events in this time; pass an earlier --since, such as 7d"))
        }
        None => {}
    }
    Ok(0)
}

/// The keys of a subject's items, the subject, and the time of its latest event.
type Keys = (Vec<String>, Subject, Timestamp);

/// Reads the rows of some subjects: their keys, and the types of their first and last events.
async fn read_rows(
    deployment: &Deployment,
    profiles: &[&Profile],
    batch: JoinSet<Result<Keys, StoreError>>,
) -> Result<Vec<Row>, Error> {
    let mut subjects: Vec<Keys> = batch.join_all().await.into_iter().collect::<Result<_, _>>()?;
    subjects.sort_by(|(_, a, a_last), (_, b, b_last)| (b_last, b).cmp(&(a_last, a)));
    let ends = |keys: &[String]| -> Vec<String> {
        let last = keys.len().saturating_sub(LAST).max(FIRST.min(keys.len()));
        keys.iter().take(FIRST).chain(keys.iter().skip(last)).cloned().collect()
    };
    let all = subjects.iter().flat_map(|(keys, ..)| ends(keys)).collect();
    let headings = deployment.store.headings(all).await?;
    Ok(subjects.into_iter().map(|(keys, subject, last)| row_of(profiles, &subject, last, &keys, &headings)).collect())
}

fn row_of(
    profiles: &[&Profile],
    subject: &Subject,
    last: Timestamp,
    keys: &[String],
    headings: &BTreeMap<String, Heading>,
) -> Row {
    let lifecycle =
        profiles.iter().find(|profile| profile.vendor == subject.vendor()).and_then(|profile| profile.lifecycle);
    let known = || keys.iter().filter_map(|key| headings.get(key));
    let has_type = |wanted: &str| known().any(|heading| heading.event_type.as_deref() == Some(wanted));
    let has_ended = lifecycle.is_some_and(|types| has_type(types.ended));
    Row {
        subject: subject.to_string(),
        state: if has_ended { State::Closed } else { State::Open }.to_string(),
        first_received_at: known().map(|heading| heading.received_at).min().unwrap_or(last),
        last_received_at: known().map(|heading| heading.received_at).max().unwrap_or(last).max(last),
        events: keys.iter().filter(|key| !key.starts_with("conflict:")).count(),
        was_created: lifecycle.and_then(|types| types.created).map(has_type),
    }
}
