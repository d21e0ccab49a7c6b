//! `gatehouse events`: shows, lists and erases events.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use clap::Subcommand;
use gatehouse_deliveries::table::Delivery;
use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_inbox::store::{Content, PageToken, Record};
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Flags, Subject};
use gatehouse_runtime::Clock;
use serde::Serialize;
use serde_json::{Value, json};

use super::dead_letters::{self, DeadLetter, as_json};
use super::deployment::{Deployment, TargetArgs};
use super::listing::Span;
use super::output::{KeyValues, OutputArgs, ShowArgs, Table, When, age, pretty_json, print_json};
use super::{ExitStatus, NOT_FOUND, deliveries, erase, listen};
use crate::shell::{Interrupts, print};

mod raw;

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse events show ada:msg_2x --stack gatehouse
  gatehouse events timeline vapi:call:2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11
  gatehouse events list --source ada --since 15min
  gatehouse events list --since 24h --failed --json | jq -r .event_id
  gatehouse events erase --subject ada:conversation:673da1f0c2b94e5f8a017b11";

const SHOW_EXAMPLES: &str = "\
Examples:
  gatehouse events show ada:msg_2x
  gatehouse events show ada:msg_2x --payload
  gatehouse events show ada:msg_2x --raw | jq .payload

Reading a record and its conflicts takes two or three requests to DynamoDB, and its deliveries one, and one or two for
each destination. If the queue has dead letters, they are searched too.";
const TIMELINE_EXAMPLES: &str = "\
Examples:
  gatehouse events timeline ada:conversation:673da1f0c2b94e5f8a017b11
  gatehouse events timeline agntix:session:7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3 --follow
  gatehouse events timeline vapi:call:2f1f… --payload --json | jq .payload

Each page of up to 100 events takes one query and one batch read.";
const RESEND_EXAMPLES: &str = "\
Examples:
  gatehouse events resend ada:msg_2x --forward-to 3000
  gatehouse events resend ada:msg_2x --forward-to https://staging.example.com/hook --stack gatehouse";
const LIST_EXAMPLES: &str = "\
Examples:
  gatehouse events list
  gatehouse events list --source vapi --type end-of-call-report --since 24h
  gatehouse events list --failed --since 24h --json | jq -r .event_id

Marks: unparsed, the body does not match the vendor's types; weak-identity, the message lacks its subject or its time,
so two occurrences may have the same id.

Takes one query for each vendor and hour; no payload is read.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show one event: its record, its conflicts and its dead letter.
    ///
    /// Exits with 3 if the event is not found.
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The event's id, as in responses, logs and lists
        #[arg(value_name = "EVENT")]
        id: String,
        /// Print only the DynamoDB item, including its payload
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Show the events of one conversation, call or session, in the order they occurred.
    #[command(after_help = TIMELINE_EXAMPLES)]
    Timeline {
        /// The subject, as in `events show` and lists
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// Maximum number of events
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Wait for new events and print them, until Ctrl-C
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// List received events, latest first.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        span: Span,
        /// Only events of this type, by the vendor's name for it
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only failures: conflicts, unparsed bodies and dead letters
        #[arg(long)]
        failed: bool,
        /// Maximum number of events
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Forward one event to a server, as a signed webhook.
    ///
    /// Exits with 1 if that fails, and with 3 if the event is not found.
    #[command(after_help = RESEND_EXAMPLES)]
    Resend(listen::ResendArguments),
    /// Permanently erase all data about a subject, and prevent new events about it from being recorded.
    #[command(after_help = erase::EXAMPLES)]
    Erase(erase::Arguments),
}

/// Interval between polls of a followed timeline.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// For a record without a subject, conflicts received within this time after it are searched. In seconds.
const CONFLICT_SEARCH_SECONDS: i64 = 86_400;

pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::Show { id, raw: true, show: ShowArgs { target, .. } } => raw::raw(&target.find().await?, &id).await,
        Command::Show { id, raw: false, show: ShowArgs { payload, output, target } } => {
            show(&target.find().await?, output, &id, payload).await
        }
        Command::Timeline { subject, limit, follow, show: ShowArgs { payload, output, target } } => {
            let printer = TimelinePrinter { output, payload };
            timeline(&target, &Subject::from_stored(subject), printer, limit, follow).await
        }
        Command::List { span, event_type, failed, limit, output, target } => {
            let filter = ListFilter { event_type, failed, limit: limit.unwrap_or(usize::MAX) };
            list(&target.find().await?, output, &span, &filter).await
        }
        Command::Resend(arguments) => listen::resend(arguments).await,
        Command::Erase(arguments) => erase::run(arguments).await,
    }
}

/// An event as the commands print it in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct EventView {
    event_id: String,
    /// `recorded` or `conflict`.
    state: &'static str,
    source: String,
    #[serde(rename = "type")]
    event_type: Option<String>,
    subject: Option<String>,
    occurred_at: Timestamp,
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    /// The services that were asked for the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
}

impl EventView {
    pub(crate) fn of_record(record: &Record, payload: bool) -> EventView {
        let event = &record.event;
        let body = String::from_utf8_lossy(&event.body);
        EventView {
            event_id: event.id.to_string(),
            state: if record.conflict { "conflict" } else { "recorded" },
            source: event.source.clone(),
            event_type: event.event_type.clone(),
            subject: event.subject.as_ref().map(ToString::to_string),
            occurred_at: event.occurred_at,
            received_at: event.received_at,
            verified_by: Some(event.verified_by.clone()),
            fingerprint: Some(event.fingerprint.to_string()),
            marks: mark_words(event.flags),
            bytes: Some(event.body.len()),
            answer: event.answer.as_deref().filter(|_| payload).map(as_json),
            asked: event.asked.clone(),
            expires_at: Some(Timestamp::clamped(record.expires_at.saturating_mul(1000))),
            payload: payload.then(|| as_json(&body)),
        }
    }

    fn of_arrival(arrival: &ListedEvent) -> EventView {
        let marks = Flags { unparsed: arrival.unparsed, weak_identity: arrival.weak_identity, undated: false };
        EventView {
            event_id: arrival.id.to_string(),
            state: if arrival.conflict { "conflict" } else { "recorded" },
            source: arrival.id.as_str().split(':').next().unwrap_or_default().to_owned(),
            event_type: arrival.event_type.clone(),
            subject: arrival.subject.as_ref().map(ToString::to_string),
            occurred_at: arrival.occurred_at,
            received_at: arrival.received_at,
            verified_by: None,
            fingerprint: None,
            marks: mark_words(marks),
            bytes: None,
            answer: None,
            asked: None,
            expires_at: None,
            payload: None,
        }
    }
}

fn mark_words(flags: Flags) -> Vec<&'static str> {
    let all = [(flags.unparsed, "unparsed"), (flags.weak_identity, "weak-identity"), (flags.undated, "undated")];
    all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word).collect()
}

fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

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

    fn to_key_values(&self, id: &str, with_payload: bool) -> KeyValues {
        let (state, meaning) = self.state();
        let mut lines = KeyValues::default();
        lines.add("event", id);
        lines.add("state", format!("{state}: {meaning}"));
        if let Content::Record(record) = &self.content {
            describe(&mut lines, record, with_payload);
        }
        for Record { event, .. } in &self.conflicts {
            let (received_at, verified_by, fingerprint) = (event.received_at, &event.verified_by, &event.fingerprint);
            lines.add("conflict", format!("received {received_at} ({verified_by}), fingerprint {fingerprint}"));
            if with_payload {
                lines.block("conflicting payload", &pretty_json(&String::from_utf8_lossy(&event.body)));
            }
        }
        if let Some(letter) = &self.dead_letter {
            dead_letters::describe(&mut lines, letter);
        }
        lines
    }
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
        let search = span.for_each(deployment, async |arrival| {
            if arrival.conflict && arrival.id.as_str() == id {
                keys.insert(arrival.key);
            }
            Ok(true)
        });
        // The search fails for a table without the index. The record itself can still be shown.
        if let Err(error) = search.await {
            eprintln!("cannot search for conflicts of an event without a subject: {error}");
        }
    }
    let contents = deployment.store.contents(keys.into_iter().collect(), now).await?;
    let record = |content| if let Content::Record(record) = content { Some(*record) } else { None };
    let mut conflicts: Vec<Record> = contents.into_values().filter_map(record).collect();
    conflicts.sort_by_key(|copy| copy.event.received_at);
    Ok(conflicts)
}

async fn show(deployment: &Deployment, output: OutputArgs, id: &str, payload: bool) -> ExitStatus {
    let lookup = find(deployment, id).await?;
    let deliveries = deliveries_of(deployment, id, &lookup).await?;
    if output.json {
        let mut json = lookup.to_json(id, payload);
        if let Some(members) = json.as_object_mut().filter(|_| !deliveries.is_empty()) {
            members.insert("deliveries".to_owned(), deliveries.iter().map(deliveries::to_json).collect());
        }
        print_json(&json)?;
    } else {
        let mut lines = lookup.to_key_values(id, payload);
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

fn describe(lines: &mut KeyValues, record: &Record, with_payload: bool) {
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

/// Prints the pages of a timeline.
#[derive(Debug, Clone, Copy)]
struct TimelinePrinter {
    output: OutputArgs,
    payload: bool,
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
        let mut table = Table::new(["OCCURRED", "STATE", "MARKS", "TYPE", "EVENT"]);
        for record in records {
            let event = &record.event;
            let state = if record.conflict { "conflict" } else { "recorded" };
            let (at, kind) = (event.occurred_at.to_string(), or_dash(event.event_type.as_ref()));
            table.row([at, state.to_owned(), mark_words(event.flags).join(", "), kind, event.id.to_string()]);
        }
        if with_heading { table.print() } else { table.print_rows() }
    }
}

async fn timeline(
    target: &TargetArgs,
    subject: &Subject,
    printer: TimelinePrinter,
    limit: Option<usize>,
    follow: bool,
) -> ExitStatus {
    let deployment = target.find().await?;
    let mut next_page: Option<PageToken> = None;
    let (mut printed, mut left) = (0, limit.unwrap_or(usize::MAX));
    let mut printed_keys = HashSet::new();
    while left > 0 {
        let size = u8::try_from(left.min(100)).unwrap_or(100);
        let page = deployment.store.timeline(subject, Clock::System.now(), next_page, size).await?;
        printed_keys.extend(page.records.iter().map(key_of));
        if !page.records.is_empty() {
            printer.print(&page.records, printed == 0)?;
        }
        for (key, damaged) in page.damaged {
            eprintln!("{key}: {damaged}");
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
        eprintln!("no events about {subject}; a subject looks like ada:conversation:673da1f0c2b94e5f8a017b11");
        return Ok(NOT_FOUND);
    } else if next_page.is_some() {
        eprintln!("there are more events; --limit is {}", limit.unwrap_or_default());
    }
    Ok(0)
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
                eprintln!("{error}; retrying");
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

/// The events that a list shows.
struct ListFilter {
    event_type: Option<String>,
    failed: bool,
    limit: usize,
}

async fn list(deployment: &Deployment, output: OutputArgs, span: &Span, filter: &ListFilter) -> ExitStatus {
    let mut table = Table::new(["AGE", "STATE", "MARKS", "TYPE", "SUBJECT", "EVENT"]);
    let (now, mut count) = (Clock::System.now(), 0);
    if filter.limit > 0 {
        let print_arrivals = span.for_each(deployment, async |arrival| {
            let has_type = filter.event_type.is_none() || filter.event_type == arrival.event_type;
            if !has_type || (filter.failed && !arrival.conflict && !arrival.unparsed) {
                return Ok(true);
            }
            let event = EventView::of_arrival(&arrival);
            if output.json {
                print_json(&event)?;
            } else {
                let (state, marks) = (event.state.to_owned(), event.marks.join(", "));
                let (kind, subject) = (or_dash(event.event_type.as_ref()), or_dash(event.subject.as_ref()));
                table.row([age(arrival.received_at, now), state, marks, kind, subject, event.event_id]);
            }
            count += 1;
            Ok(count < filter.limit)
        });
        print_arrivals.await?;
    }
    let mut dead = Vec::new();
    if filter.failed && deployment.has_queues() && filter.event_type.is_none() {
        let bar = super::progress("searching the dead letters");
        dead = dead_letters::peek(deployment, &bar, &mut Interrupts::listen(), |_| false).await?.letters;
        bar.finish_and_clear();
        let is_wanted = |letter: &DeadLetter| {
            span.source.is_empty() || letter.source.as_ref().is_some_and(|source| span.source.contains(source))
        };
        dead.retain(is_wanted);
    }
    for letter in &dead {
        let id = letter.event_id.as_ref().unwrap_or(&letter.message_id);
        if output.json {
            print_json(
                &json!({"event_id": letter.event_id, "state": "dead", "source": letter.source, "reason": letter.reason,
                         "last_error": letter.last_error, "message_id": letter.message_id}),
            )?;
        } else {
            let at = letter.first_failed_at.unwrap_or(letter.sent_at);
            let error = letter.last_error.clone().unwrap_or_default();
            table.row([age(at, now), "dead".to_owned(), letter.reason.clone(), "-".to_owned(), error, id.clone()]);
        }
    }
    if !output.json {
        if count + dead.len() > 0 { table.print()? } else { print("no events\n")? }
    }
    Ok(0)
}
