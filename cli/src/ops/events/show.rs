//! Shows one event.

use std::collections::BTreeSet;

use gatehouse_deliveries::table::Delivery;
use gatehouse_inbox::store::by_source::Order;
use gatehouse_inbox::store::{Content, Record};
use gatehouse_local::Error;
use gatehouse_payload::event::TURN;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Subject};
use gatehouse_runtime::Clock;
use serde_json::{Value, json};

use super::{EventView, mark_words};
use crate::ops::dead_letters::{self, DeadLetter};
use crate::ops::deployment::Deployment;
use crate::ops::listing::Span;
use crate::ops::output::{KeyValues, OutputArgs, When, pretty_json, print_json};
use crate::ops::{ExitStatus, NOT_FOUND, deliveries, subjects};
use crate::shell::note;

/// For a record without a subject, conflicts received within this time after it are searched. In seconds.
const CONFLICT_SEARCH_SECONDS: i64 = 86_400;

/// The record, conflicts and dead letter of an event.
struct Lookup {
    content: Content,
    conflicts: Vec<Record>,
    dead_letter: Option<DeadLetter>,
    /// The number of messages on the retry queue, which cannot be searched.
    retrying: u64,
    /// The number of dead letters that another command holds.
    held_elsewhere: u64,
}

impl Lookup {
    /// Returns the event's state in one word, and its meaning.
    fn state(&self) -> (&'static str, String) {
        match (&self.content, &self.dead_letter) {
            (Content::Record(record), _) if record.conflict => {
                ("conflict", "the record with this id has a different body; both are stored".to_owned())
            }
            (Content::Record(_), Some(_)) => {
                ("recorded", "a dead letter of the event remains; redrive or discard it".to_owned())
            }
            (Content::Record(_), None) if self.conflicts.len() == 1 => {
                ("recorded", "first version; 1 conflicting delivery is stored too".to_owned())
            }
            (Content::Record(_), None) if !self.conflicts.is_empty() => {
                ("recorded", format!("first version; {} conflicting deliveries are stored too", self.conflicts.len()))
            }
            (Content::Record(_), None) => ("recorded", "once; nothing is left to do".to_owned()),
            (Content::Erased(at), _) => ("erased", format!("at {at}; the event is not recorded again")),
            (Content::Damaged(damaged), _) => ("damaged", damaged.to_string()),
            (Content::Empty, Some(letter)) => ("dead", format!("not recorded: {}", letter.reason)),
            (Content::Empty, None) if self.retrying > 0 => {
                let messages = if self.retrying == 1 { "message" } else { "messages" };
                let meaning = format!(
                    "no record and no dead letter; it may be on the retry queue, which has {} {messages}",
                    self.retrying
                );
                ("unknown", meaning)
            }
            (Content::Empty, None) if self.held_elsewhere > 0 => {
                let held = self.held_elsewhere;
                ("unknown", format!("no record; it may be a dead letter that another command holds ({held} held)"))
            }
            (Content::Empty, None) => ("unknown", "not found: never received, refused, skipped or expired".to_owned()),
        }
    }

    fn to_json(&self, id: &str, with_payload: bool) -> Value {
        let (state, meaning) = self.state();
        let record = match &self.content {
            Content::Record(record) => Some(EventView::of_record(record, with_payload)),
            _ => None,
        };
        let conflicts: Vec<_> = self.conflicts.iter().map(|copy| EventView::of_record(copy, with_payload)).collect();
        json!({"event_id": id, "state": state, "meaning": meaning, "record": record, "conflicts": conflicts,
               "dead_letter": self.dead_letter})
    }

    fn describe(&self, lines: &mut KeyValues, id: &str, with_payload: bool) {
        let (state, meaning) = self.state();
        lines.add("event", id);
        lines.add("state", format!("{state}: {meaning}"));
        if let Content::Record(record) = &self.content {
            describe(lines, record, with_payload);
        }
        for Record { event, .. } in &self.conflicts {
            let (received_at, verified_by, fingerprint) = (event.received_at, &event.verified_by, &event.fingerprint);
            lines.add("conflict", format!("received {received_at} ({verified_by}), fingerprint {fingerprint}"));
            if with_payload {
                lines.block("conflicting payload", &pretty_json(&String::from_utf8_lossy(&event.body)));
            }
        }
        if let Some(letter) = &self.dead_letter {
            dead_letters::describe(lines, letter);
        }
    }
}

/// Shows the event of an id, if there is one. Returns the exit code.
pub(crate) async fn show_if_found(
    deployment: &Deployment,
    output: OutputArgs,
    id: &str,
    payload: bool,
) -> Result<Option<u8>, Error> {
    let lookup = find(deployment, id).await?;
    let kind = match (&lookup.content, &lookup.dead_letter) {
        (Content::Record(record), _) if record.event.event_type.as_deref() == Some(TURN) => "turn",
        (Content::Empty, Some(_)) => "dead letter",
        (Content::Empty, None) => return Ok(None),
        _ => "event",
    };
    Ok(Some(print(deployment, output, id, payload, &lookup, Some(kind)).await?))
}

async fn find(deployment: &Deployment, id: &str) -> Result<Lookup, Error> {
    let event_id = EventId::from_stored(id.to_owned());
    let content = deployment.store.content(&event_id, Clock::System.now()).await?;
    let conflicts = match &content {
        Content::Record(record) if !record.conflict => conflicts(deployment, record).await?,
        _ => Vec::new(),
    };
    let dead_letter = if deployment.has_queues() { dead_letters::find(deployment, id).await? } else { None };
    let (mut retrying, mut held_elsewhere) = (0, 0);
    if content == Content::Empty && dead_letter.is_none() && deployment.has_queues() {
        let (visible, hidden) = deployment.counts(deployment.retry_queue()?).await?;
        retrying = visible + hidden;
        held_elsewhere = dead_letters::dead_letter_counts(deployment).await?.1;
    }
    Ok(Lookup { content, conflicts, dead_letter, retrying, held_elsewhere })
}

/// Finds the conflicting copies of a record: by its subject or, if it has none, among the events received within a day.
async fn conflicts(deployment: &Deployment, record: &Record) -> Result<Vec<Record>, Error> {
    let id = record.event.id.as_str();
    let is_copy =
        |key: &str| key.strip_prefix("conflict:").and_then(|rest| rest.split_once(':')).is_some_and(|(_, of)| of == id);
    let now = Clock::System.now();
    let mut keys = BTreeSet::new();
    if let Some(subject) = &record.event.subject {
        keys.extend(deployment.store.keys(subject).await?.into_iter().filter(|key| is_copy(key)));
    } else {
        let received_at = record.event.received_at;
        let until = received_at.plus_secs(CONFLICT_SEARCH_SECONDS).min(now);
        let span = Span { until: Some(When::At(until)), ..Span::of(&record.event.source, When::At(received_at)) };
        let mut listing = span.list(deployment, Order::LatestFirst)?;
        let search = async {
            while let Some(arrival) = listing.next().await? {
                if arrival.conflict && arrival.id.as_str() == id {
                    keys.insert(arrival.key);
                }
            }
            Ok::<_, Error>(())
        };
        // The search fails for a table without the index. The record itself can still be shown.
        if let Err(error) = search.await {
            note(format!("cannot search for conflicts of an event without a subject: {error}"));
        }
    }
    let contents = deployment.store.contents(keys.into_iter().collect(), now).await?;
    let record = |content| if let Content::Record(record) = content { Some(*record) } else { None };
    let mut conflicts: Vec<Record> = contents.into_values().filter_map(record).collect();
    conflicts.sort_by_key(|copy| copy.event.received_at);
    Ok(conflicts)
}

pub(crate) async fn show(deployment: &Deployment, output: OutputArgs, id: &str, payload: bool) -> ExitStatus {
    let lookup = find(deployment, id).await?;
    if lookup.content == Content::Empty
        && lookup.dead_letter.is_none()
        && let Some(subject) = subjects::find(deployment, id).await?
    {
        note(format!(
            "{id} is not an event, but a subject: gatehouse show {subject}{0}, or gatehouse events timeline {subject}{0}",
            deployment.flags
        ));
        return Ok(NOT_FOUND);
    }
    print(deployment, output, id, payload, &lookup, None).await
}

/// Prints an event. `kind` is what the id turned out to be.
async fn print(
    deployment: &Deployment,
    output: OutputArgs,
    id: &str,
    payload: bool,
    lookup: &Lookup,
    kind: Option<&str>,
) -> ExitStatus {
    let deliveries = deliveries_of(deployment, id, lookup).await?;
    if output.json {
        let mut json = lookup.to_json(id, payload);
        if let Some(kind) = kind {
            json["kind"] = kind.into();
        }
        if let Some(members) = json.as_object_mut().filter(|_| !deliveries.is_empty()) {
            members.insert("deliveries".to_owned(), deliveries.iter().map(deliveries::to_json).collect());
        }
        print_json(&json)?;
    } else {
        let mut lines = KeyValues::default();
        lines.add_some("kind", kind);
        lookup.describe(&mut lines, id, payload);
        for delivery in &deliveries {
            lines.add("delivery", deliveries::summary(delivery));
        }
        lines.print()?;
    }
    Ok(if lookup.state().0 == "unknown" { NOT_FOUND } else { 0 })
}

/// Returns the deliveries of an event; none if the deployment does not deliver events.
async fn deliveries_of(deployment: &Deployment, id: &str, lookup: &Lookup) -> Result<Vec<Delivery>, Error> {
    let Ok(table) = deployment.delivery_table() else { return Ok(Vec::new()) };
    let subject = match &lookup.content {
        Content::Record(record) => record.event.subject.as_ref().map(Subject::as_str),
        Content::Empty | Content::Erased(_) | Content::Damaged(_) => None,
    };
    deliveries::of_event(&table, id, subject).await
}

pub(super) fn describe(lines: &mut KeyValues, record: &Record, with_payload: bool) {
    let event = &record.event;
    let kind = event.event_type.as_deref().unwrap_or("(unknown type)");
    lines.add("source", format!("{} {kind}", event.source));
    lines.add_some("subject", event.subject.as_ref().map(ToString::to_string));
    lines.add("occurred", event.occurred_at.to_string());
    let delay = (event.received_at.as_millis() - event.occurred_at.as_millis()) / 1000;
    let delay = if delay > 0 { format!(", {delay} s after it occurred") } else { String::new() };
    lines.add("received", format!("{}{delay}", event.received_at));
    lines.add("verified by", &event.verified_by);
    lines.add("fingerprint", event.fingerprint.to_string());
    let marks = mark_words(event.flags);
    if !marks.is_empty() {
        lines.add("marks", marks.join(", "));
    }
    lines.add("expires", Timestamp::clamped(record.expires_at.saturating_mul(1000)).to_string());
    if let Some(asked) = &event.asked {
        lines.add("asked", asked);
    }
    let answer = if event.answer.is_some() { " and a reply" } else { "" };
    if with_payload {
        if let Some(answer) = &event.answer {
            lines.block("answer", &pretty_json(answer));
        }
        lines.block("payload", &pretty_json(&String::from_utf8_lossy(&event.body)));
    } else {
        lines.add("payload", format!("{} bytes{answer}; pass --payload to show them", event.body.len()));
    }
}
