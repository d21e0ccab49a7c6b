//! `gatehouse events`: what happened to an event, and what arrived.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use clap::Subcommand;
use data_encoding::BASE64;
use gatehouse_inbox::store::arrivals::Arrival;
use gatehouse_inbox::store::{Item, PageToken, Place, Record};
use gatehouse_inbox::{Clock, EventId, Marks, StoreError, Subject};
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::dead_letters::{self, Letter, as_json};
use super::deployment::{Deployment, Which};
use super::listing::Span;
use super::output::{Facts, Form, Moment, Table, age, json, pretty};
use super::{NOT_FOUND, Verdict, erase};
use crate::shell::{Interrupts, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse events show ada:msg_2x --stack gatehouse
  gatehouse events timeline vapi:call:2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11
  gatehouse events list --source ada --since 15min
  gatehouse events list --since 24h --failed --json | jq -r .event_id
  gatehouse events erase --subject ada:conversation:673da1f0c2b94e5f8a017b11";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say everything that is known about one event: its record, its conflicts, its dead letter.
    ///
    /// Exits with 3 where there is no trace of it.
    #[command(
        after_help = "Examples:\n  gatehouse events show ada:msg_2x\n  gatehouse events show ada:msg_2x --payload\n  gatehouse events show ada:msg_2x --raw | jq .payload\n\nA record and its conflicts are two or three requests to DynamoDB; dead letters are looked through where there are any."
    )]
    Show {
        /// The event's id, as answers, logs and lists name it
        #[arg(value_name = "EVENT")]
        id: String,
        /// Its payload too
        #[arg(long)]
        payload: bool,
        /// The item as DynamoDB has it, payload and all, and nothing else
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        form: Form,
    },
    /// All about one conversation, call or session, in the order it happened.
    #[command(
        after_help = "Examples:\n  gatehouse events timeline ada:conversation:673da1f0c2b94e5f8a017b11\n  gatehouse events timeline agntix:session:7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3 --follow\n  gatehouse events timeline vapi:call:2f1f… --payload --json | jq .payload\n\nA page of up to 100 events is a query and a read of the events."
    )]
    Timeline {
        /// The subject, as events show and lists name it
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// The payloads too
        #[arg(long)]
        payload: bool,
        /// At most so many events
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Go on with what comes, until Ctrl-C
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        form: Form,
    },
    /// What arrived, latest first.
    #[command(
        after_help = "Examples:\n  gatehouse events list\n  gatehouse events list --source vapi --type end-of-call-report --since 24h\n  gatehouse events list --failed --since 24h --json | jq -r .event_id\n\nMarks: unparsed, the vendor's types could not read the body; weak-identity, the id rests on a hash of the message and the hour.\n\nA query for each vendor and hour; no payload is read."
    )]
    List {
        #[command(flatten)]
        span: Span,
        /// Only of this kind, in the vendor's word
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only what went wrong: conflicts, bodies their vendor's types could not read (unparsed), and dead letters
        #[arg(long)]
        failed: bool,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        form: Form,
    },
    /// Remove all there is about a subject, and let nothing about it be recorded again.
    #[command(after_help = erase::EXAMPLES)]
    Erase(erase::Arguments),
}

/// How often a followed timeline is looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long after a record without a subject its conflicts are looked for. In seconds.
const NEARBY: i64 = 86_400;

pub(crate) async fn run(command: Command) -> Verdict {
    match command {
        Command::Show { id, raw: true, which, .. } => raw(&which.find().await?, &id).await,
        Command::Show { id, payload, raw: false, which, form } => show(&which.find().await?, form, &id, payload).await,
        Command::Timeline { subject, payload, limit, follow, which, form } => {
            let told = Telling { form, payload };
            timeline(&which.find().await?, &Subject::from_stored(subject), told, limit, follow).await
        }
        Command::List { span, event_type, failed, limit, which, form } => {
            let wanted = Wanted { event_type, failed, limit: limit.unwrap_or(usize::MAX) };
            list(&which.find().await?, form, &span, &wanted).await
        }
        Command::Erase(arguments) => erase::run(arguments).await,
    }
}

/// An event as it is told.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    event_id: String,
    /// `recorded`, `conflict`
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
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
}

impl Told {
    pub(crate) fn of(record: &Record, payload: bool) -> Told {
        let event = &record.event;
        let body = String::from_utf8_lossy(&event.body);
        Told {
            event_id: event.id.to_string(),
            state: if record.conflict { "conflict" } else { "recorded" },
            source: event.source.clone(),
            event_type: event.event_type.clone(),
            subject: event.subject.as_ref().map(ToString::to_string),
            occurred_at: event.occurred_at,
            received_at: event.received_at,
            verified_by: Some(event.verified_by.clone()),
            fingerprint: Some(event.fingerprint.to_string()),
            marks: words(event.marks),
            bytes: Some(event.body.len()),
            answer: event.answer.as_deref().filter(|_| payload).map(as_json),
            expires_at: Some(Timestamp::clamped(record.expires_at.saturating_mul(1000))),
            payload: payload.then(|| as_json(&body)),
        }
    }

    fn listed(arrival: &Arrival) -> Told {
        let marks = Marks { unparsed: arrival.unparsed, weak_identity: arrival.weak_identity, undated: false };
        Told {
            event_id: arrival.id.to_string(),
            state: if arrival.conflict { "conflict" } else { "recorded" },
            source: arrival.id.as_str().split(':').next().unwrap_or_default().to_owned(),
            event_type: arrival.event_type.clone(),
            subject: arrival.subject.as_ref().map(ToString::to_string),
            occurred_at: arrival.occurred_at,
            received_at: arrival.received_at,
            verified_by: None,
            fingerprint: None,
            marks: words(marks),
            bytes: None,
            answer: None,
            expires_at: None,
            payload: None,
        }
    }
}

fn words(marks: Marks) -> Vec<&'static str> {
    let all = [(marks.unparsed, "unparsed"), (marks.weak_identity, "weak-identity"), (marks.undated, "undated")];
    all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
}

fn or(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

/// What is known of an event.
struct Found {
    place: Place,
    conflicts: Vec<Record>,
    letter: Option<Letter>,
    /// How many messages are on the retry queue, which cannot be looked into.
    retrying: u64,
    /// How many dead letters somebody else holds.
    held: u64,
}

impl Found {
    /// In one word, and what it means.
    fn state(&self) -> (&'static str, String) {
        match (&self.place, &self.letter) {
            (Place::Record(record), _) if record.conflict => {
                ("conflict", "this came under an id whose record says something else; both are kept".to_owned())
            }
            (Place::Record(_), Some(_)) => {
                ("recorded", "a dead letter of it is left, which redriving or discarding takes away".to_owned())
            }
            (Place::Record(_), None) if !self.conflicts.is_empty() => {
                ("recorded", "once, as it came first; what else came under its id is kept beside it".to_owned())
            }
            (Place::Record(_), None) => ("recorded", "once; nothing is left to do".to_owned()),
            (Place::Erased(at), _) => ("erased", format!("at {at}; it is not recorded again")),
            (Place::Damaged(damaged), _) => ("damaged", damaged.to_string()),
            (Place::Empty, Some(letter)) => ("dead", format!("not recorded: {}", letter.reason)),
            (Place::Empty, None) if self.retrying > 0 => (
                "unknown",
                format!(
                    "no record and no dead letter; it may be among the {} messages of the retry queue",
                    self.retrying
                ),
            ),
            (Place::Empty, None) if self.held > 0 => (
                "unknown",
                format!("no record; it may be among the {} dead letters that somebody holds for a moment", self.held),
            ),
            (Place::Empty, None) => ("unknown", "no trace of it: never taken, skipped, or expired".to_owned()),
        }
    }
}

async fn find(deployment: &Deployment, id: &str) -> Result<Found, Error> {
    let event_id = EventId::from_stored(id.to_owned());
    let place = deployment.store.look(&event_id, Clock::System.now()).await?;
    let conflicts = match &place {
        Place::Record(record) if !record.conflict => conflicts(deployment, record).await?,
        _ => Vec::new(),
    };
    let letter = if deployment.has_queues() { dead_letters::find(deployment, id).await? } else { None };
    let (mut retrying, mut held) = (0, 0);
    if place == Place::Empty && letter.is_none() && deployment.has_queues() {
        let (visible, hidden) = deployment.counts(deployment.retry_queue()?).await?;
        retrying = visible + hidden;
        held = dead_letters::waiting(deployment).await?.1;
    }
    Ok(Found { place, conflicts, letter, retrying, held })
}

/// The copies that conflict with a record: by its subject, or, where it has none, by what arrived within a day of it.
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
        let until = received_at.plus_secs(NEARBY).min(now);
        let span = Span { until: Some(Moment::At(until)), ..Span::of(&record.event.source, Moment::At(received_at)) };
        let looked = span.each(deployment, async |arrival| {
            if arrival.conflict && arrival.id.as_str() == id {
                keys.insert(arrival.key);
            }
            Ok(true)
        });
        // A table without the index tells nothing of them.
        if let Err(error) = looked.await {
            eprintln!("conflicts of an event without a subject cannot be looked for: {error}");
        }
    }
    let places = deployment.store.read(keys.into_iter().collect(), now).await?;
    let record = |place| if let Place::Record(record) = place { Some(*record) } else { None };
    let mut conflicts: Vec<Record> = places.into_values().filter_map(record).collect();
    conflicts.sort_by_key(|copy| copy.event.received_at);
    Ok(conflicts)
}

async fn show(deployment: &Deployment, form: Form, id: &str, payload: bool) -> Verdict {
    let found = find(deployment, id).await?;
    let (state, meaning) = found.state();
    let record = if let Place::Record(record) = &found.place { Some(Told::of(record, payload)) } else { None };
    let conflicts: Vec<_> = found.conflicts.iter().map(|copy| Told::of(copy, payload)).collect();
    let code = if state == "unknown" { NOT_FOUND } else { 0 };
    if form.json {
        json(&json!({"event_id": id, "state": state, "meaning": meaning, "record": record, "conflicts": conflicts,
                     "dead_letter": found.letter}))?;
        return Ok(code);
    }
    let mut facts = Facts::default();
    facts.add("event", id);
    facts.add("state", format!("{state}: {meaning}"));
    if let Place::Record(record) = &found.place {
        about(&mut facts, record, payload);
    }
    for copy in &found.conflicts {
        let what = format!(
            "received {} ({}), fingerprint {}",
            copy.event.received_at, copy.event.verified_by, copy.event.fingerprint
        );
        facts.add("conflict", what);
        if payload {
            facts.block("its payload", &pretty(&String::from_utf8_lossy(&copy.event.body)));
        }
    }
    if let Some(letter) = &found.letter {
        dead_letters::about(&mut facts, letter);
    }
    facts.print()?;
    Ok(code)
}

fn about(facts: &mut Facts, record: &Record, payload: bool) {
    let event = &record.event;
    let kind = event.event_type.as_deref().unwrap_or("of an unknown type");
    facts.add("source", format!("{} {kind}", event.source));
    facts.add_some("subject", event.subject.as_ref().map(ToString::to_string));
    facts.add("occurred", event.occurred_at.to_string());
    let late = (event.received_at.as_millis() - event.occurred_at.as_millis()) / 1000;
    let late = if late > 0 { format!(", {late} s after it occurred") } else { String::new() };
    facts.add("received", format!("{}{late}", event.received_at));
    facts.add("verified by", &event.verified_by);
    facts.add("fingerprint", event.fingerprint.to_string());
    let marks = words(event.marks);
    if !marks.is_empty() {
        facts.add("marks", marks.join(", "));
    }
    facts.add("kept until", Timestamp::clamped(record.expires_at.saturating_mul(1000)).to_string());
    let answer = if event.answer.is_some() { ", and an answer of its own" } else { "" };
    if payload {
        if let Some(answer) = &event.answer {
            facts.block("answer", &pretty(answer));
        }
        facts.block("payload", &pretty(&String::from_utf8_lossy(&event.body)));
    } else {
        facts.add("payload", format!("{} bytes{answer}; --payload shows it", event.body.len()));
    }
}

async fn raw(deployment: &Deployment, id: &str) -> Verdict {
    let Some(item) = deployment.store.raw(id).await? else { return Ok(NOT_FOUND) };
    json(&as_dynamodb_json(&item))?;
    Ok(0)
}

/// As the AWS CLI shows it.
fn as_dynamodb_json(item: &Item) -> Value {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::B(bytes) => json!({"B": BASE64.encode(bytes.as_ref())}),
        AttributeValue::Bool(is) => json!({"BOOL": is}),
        AttributeValue::M(map) => json!({"M": as_dynamodb_json(map)}),
        other => json!(format!("{other:?}")),
    };
    let sorted: std::collections::BTreeMap<_, _> = item.iter().map(|(name, v)| (name, value(v))).collect();
    json!(sorted)
}

#[derive(Debug, Clone, Copy)]
struct Telling {
    form: Form,
    payload: bool,
}

impl Telling {
    fn tell(self, records: &[Record], with_heading: bool) -> Result<(), Error> {
        if self.form.json {
            return records.iter().try_for_each(|record| json(&Told::of(record, self.payload)));
        }
        if self.payload {
            for record in records {
                let mut facts = Facts::default();
                facts.add("event", record.event.id.as_str());
                about(&mut facts, record, true);
                facts.print()?;
                print("\n")?;
            }
            return Ok(());
        }
        let mut table = Table::new(["OCCURRED", "STATE", "MARKS", "TYPE", "EVENT"]);
        for record in records {
            let event = &record.event;
            let state = if record.conflict { "conflict" } else { "recorded" };
            let (at, kind) = (event.occurred_at.to_string(), or(event.event_type.as_ref()));
            table.row([at, state.to_owned(), words(event.marks).join(", "), kind, event.id.to_string()]);
        }
        if with_heading { table.print() } else { table.print_rows() }
    }
}

async fn timeline(
    deployment: &Deployment,
    subject: &Subject,
    telling: Telling,
    limit: Option<usize>,
    follow: bool,
) -> Verdict {
    let mut from: Option<PageToken> = None;
    let (mut told, mut left) = (0, limit.unwrap_or(usize::MAX));
    let mut seen = HashSet::new();
    while left > 0 {
        let size = u8::try_from(left.min(100)).unwrap_or(100);
        let page = deployment.store.timeline(subject, Clock::System.now(), from, size).await?;
        seen.extend(page.records.iter().map(key_of));
        if !page.records.is_empty() {
            telling.tell(&page.records, told == 0)?;
        }
        for (key, damaged) in page.damaged {
            eprintln!("{key}: {damaged}");
        }
        told += page.records.len();
        left = left.saturating_sub(page.records.len());
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    if follow {
        follow_on(deployment, subject, telling, seen).await?;
    } else if told == 0 {
        eprintln!("nothing about {subject}; a subject looks like ada:conversation:673da1f0c2b94e5f8a017b11");
        return Ok(NOT_FOUND);
    } else if from.is_some() {
        eprintln!("there is more; --limit was {}", limit.unwrap_or_default());
    }
    Ok(0)
}

fn key_of(record: &Record) -> (String, bool, String) {
    (record.event.id.to_string(), record.conflict, record.event.fingerprint.to_string())
}

/// Tells what comes, until Ctrl-C. What happened earlier may come later, so every look is at all the keys; only what is new is read.
async fn follow_on(
    deployment: &Deployment,
    subject: &Subject,
    telling: Telling,
    mut seen: HashSet<(String, bool, String)>,
) -> Result<(), Error> {
    let mut known = HashSet::new();
    let mut stop = Interrupts::listen();
    loop {
        let look = async {
            let keys = deployment.store.keys(subject).await?;
            let new: Vec<_> = keys.into_iter().filter(|key| !known.contains(key)).collect();
            let places = deployment.store.read(new.clone(), Clock::System.now()).await?;
            Ok::<_, StoreError>((new, places))
        };
        match look.await {
            Ok((new, places)) => {
                known.extend(new);
                let record = |place| if let Place::Record(record) = place { Some(*record) } else { None };
                let mut records: Vec<_> = places.into_values().filter_map(record).collect();
                records.retain(|record| seen.insert(key_of(record)));
                records.sort_by(|a, b| (a.event.occurred_at, &a.event.id).cmp(&(b.event.occurred_at, &b.event.id)));
                telling.tell(&records, false)?;
            }
            // Whoever follows wants to hear when it is over.
            Err(error) if error.is_transient() => eprintln!("{error}; trying again"),
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.next() => return Ok(()),
        }
    }
}

struct Wanted {
    event_type: Option<String>,
    failed: bool,
    limit: usize,
}

async fn list(deployment: &Deployment, form: Form, span: &Span, wanted: &Wanted) -> Verdict {
    let mut table = Table::new(["AGE", "STATE", "MARKS", "TYPE", "SUBJECT", "EVENT"]);
    let (now, mut count) = (Clock::System.now(), 0);
    if wanted.limit > 0 {
        let each = span.each(deployment, async |arrival| {
            let is_type = wanted.event_type.is_none() || wanted.event_type == arrival.event_type;
            if !is_type || (wanted.failed && !arrival.conflict && !arrival.unparsed) {
                return Ok(true);
            }
            let told = Told::listed(&arrival);
            if form.json {
                json(&told)?;
            } else {
                let (state, marks) = (told.state.to_owned(), told.marks.join(", "));
                let (kind, subject) = (or(told.event_type.as_ref()), or(told.subject.as_ref()));
                table.row([age(arrival.received_at, now), state, marks, kind, subject, told.event_id]);
            }
            count += 1;
            Ok(count < wanted.limit)
        });
        each.await?;
    }
    let mut dead = Vec::new();
    if wanted.failed && deployment.has_queues() && wanted.event_type.is_none() {
        let bar = super::progress("looking through the dead letters");
        dead = dead_letters::look(deployment, &bar, &mut Interrupts::listen(), |_| false).await?.letters;
        bar.finish_and_clear();
        let is_wanted = |letter: &Letter| {
            span.source.is_empty() || letter.source.as_ref().is_some_and(|source| span.source.contains(source))
        };
        dead.retain(is_wanted);
    }
    for letter in &dead {
        let id = letter.event_id.as_ref().unwrap_or(&letter.message_id);
        if form.json {
            json(
                &json!({"event_id": letter.event_id, "state": "dead", "source": letter.source, "reason": letter.reason,
                         "last_error": letter.last_error, "message_id": letter.message_id}),
            )?;
        } else {
            let at = letter.first_failed_at.unwrap_or(letter.sent_at);
            let why = letter.last_error.clone().unwrap_or_default();
            table.row([age(at, now), "dead".to_owned(), letter.reason.clone(), "-".to_owned(), why, id.clone()]);
        }
    }
    if !form.json {
        if count + dead.len() > 0 { table.print()? } else { print("nothing\n")? }
    }
    Ok(0)
}
