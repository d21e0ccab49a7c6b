//! `gatehouse events`: shows, lists and erases events.

use clap::Subcommand;
use gatehouse_inbox::store::Record;
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_payload::Flags;
use gatehouse_payload::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::dead_letters::as_json;
use super::listing::LimitArgs;
use super::output::ShowArgs;
use super::{ExitStatus, USAGE, erase, listen, search};
use crate::shell::note;
use timeline::TimelinePrinter;

mod export;
mod list;
mod raw;
pub(super) mod show;
mod timeline;

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
  gatehouse events show ada:msg_2x --body | curl --data-binary @- http://localhost:3000

Reading a record and its conflicts takes two or three requests to DynamoDB, and its deliveries one, and one or two for
each destination. If the queue has dead letters, they are searched too.";
const TIMELINE_EXAMPLES: &str = "\
Examples:
  gatehouse events timeline ada:conversation:673da1f0c2b94e5f8a017b11
  gatehouse events timeline agntix:session:7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3 --follow
  gatehouse events timeline vapi:call:2f1f… --payload --json | jq .payload

Each page of up to 100 events takes one query and one batch read.";
const LIST_EXAMPLES: &str = "\
Examples:
  gatehouse events list
  gatehouse events list --source vapi,ada --type 'end-of-call-report,v1.*' --since 24h
  gatehouse events list --failed --since 24h --json | jq -r .event_id

Marks: unparsed, the body does not match the vendor's types; weak-identity, the message lacks its subject or its time,
so two occurrences may have the same id.

Takes one query for each vendor and hour, and more if they have many events; no payload is read.";

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
        /// Print only the DynamoDB item, with its payload as it is stored
        #[arg(long, conflicts_with = "body")]
        raw: bool,
        /// Print only the body: the bytes that were delivered, except for credentials
        #[arg(long)]
        body: bool,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Show the events of one conversation, call or session, in the order they occurred.
    #[command(after_help = TIMELINE_EXAMPLES)]
    Timeline {
        /// The subject, as in `events show` and lists, or the vendor's id
        #[arg(value_name = "SUBJECT")]
        subject: String,
        #[command(flatten)]
        limit: LimitArgs,
        /// Wait for new events and print them, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// List received events, latest first.
    #[command(after_help = LIST_EXAMPLES)]
    List(list::Arguments),
    /// Export events with their payloads, as JSON lines.
    #[command(after_help = export::EXAMPLES)]
    Export(export::Arguments),
    /// Forward one event to a server, as a signed webhook.
    ///
    /// Exits with 1 if that fails, and with 3 if the event is not found.
    #[command(after_help = listen::RESEND_EXAMPLES)]
    Resend(listen::ResendArguments),
    /// Permanently erase all data about a subject, and prevent new events about it from being recorded.
    #[command(after_help = erase::EXAMPLES)]
    Erase(erase::Arguments),
    /// The same as `gatehouse search`.
    #[command(hide = true, after_help = search::EXAMPLES)]
    Search(search::Arguments),
    /// The same as `gatehouse tail`.
    #[command(hide = true, alias = "logs", after_help = listen::TAIL_EXAMPLES)]
    Tail(listen::FeedArgs),
    /// Say which command replays events.
    #[command(hide = true, after_help = listen::RESEND_EXAMPLES)]
    Replay {
        #[arg(value_name = "EVENT", trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<String>,
    },
}

pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::Show { id, raw: true, show: ShowArgs { target, .. }, .. } => {
            raw::raw(&target.find().await?, &id).await
        }
        Command::Show { id, body: true, show: ShowArgs { target, .. }, .. } => {
            raw::body(&target.find().await?, &id).await
        }
        Command::Show { id, show: ShowArgs { payload, output, target }, .. } => {
            show::show(&target.find().await?, output, &id, payload).await
        }
        Command::Timeline { subject, limit, follow, show: ShowArgs { payload, output, target } } => {
            timeline::timeline(&target, &subject, TimelinePrinter { output, payload }, limit, follow).await
        }
        Command::List(arguments) => list::list(arguments).await,
        Command::Export(arguments) => export::export(arguments).await,
        Command::Resend(arguments) => listen::resend(arguments).await,
        Command::Erase(arguments) => erase::run(arguments).await,
        Command::Search(arguments) => search::run(arguments).await,
        Command::Tail(arguments) => listen::tail(arguments).await,
        Command::Replay { .. } => {
            note("an event is sent again by gatehouse events resend; gatehouse check-release compares releases");
            Ok(USAGE)
        }
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
