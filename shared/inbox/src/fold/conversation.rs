//! Ada conversations, and Vapi calls, chats and sessions.

use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{ada, vapi};

use super::{State, in_order};
use crate::store::Record;

/// A conversation as its events tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// Closed once an event says that it has ended.
    pub state: State,
    /// When it started, where an event says so.
    pub started_at: Option<Timestamp>,
    /// When it ended: the time the event gives, or else when the event happened.
    pub ended_at: Option<Timestamp>,
    /// Ada: the role that ended it. Vapi: the reason.
    pub ended_by: Option<String>,
    /// What was said, in order. Of Vapi's transcripts the final ones.
    pub messages: Vec<Message>,
    /// Vapi: summary, structured data and evaluation, as sent: JSON text.
    pub analysis: Option<String>,
    /// What should have come and has not, in words.
    pub missing: Vec<String>,
    /// How many events were folded.
    pub events: usize,
    /// How many deliveries contradict one of them.
    pub conflicts: usize,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was written or said.
    pub at: Timestamp,
    /// Who did, in the vendor's word: `end_user`, `ai_agent`, `assistant`, `user`, …
    pub role: Option<String>,
    /// The text, or where a link or file points; absent for kinds without either.
    pub text: Option<String>,
}

/// Folds a conversation's timeline, in any order. Events whose body cannot be read count and tell nothing.
#[must_use]
pub fn conversation(records: &[Record]) -> Conversation {
    let (ordered, conflicts) = in_order(records);
    let mut conversation = Conversation { events: ordered.len(), conflicts, ..Conversation::default() };
    for record in &ordered {
        let Ok(document) = Document::read(&record.event.body) else { continue };
        let _ = match record.event.source.as_str() {
            "ada" => fold_ada(&mut conversation, record, &document),
            "vapi" => fold_vapi(&mut conversation, record, &document),
            _ => None,
        };
    }
    conversation.missing = missing(&ordered, &conversation);
    // Ada's messages carry their own time, which need not be the order of their events.
    conversation.messages.sort_by_key(|message| message.at);
    conversation
}

/// What should be among the events. An event of a kind that a vendor was not asked for is none that is missing: what is
/// missing shows by what came instead.
fn missing(ordered: &[&Record], conversation: &Conversation) -> Vec<String> {
    let count = |name: &str| ordered.iter().filter(|record| record.event.event_type.as_deref() == Some(name)).count();
    let of = |source: &str| ordered.iter().any(|record| record.event.source == source);
    let mut missing = Vec::new();
    if of("ada") && count("v1.conversation.created") == 0 {
        missing.push("v1.conversation.created".to_owned());
    }
    if of("ada") && conversation.state == State::Closed && count("v1.conversation.message") == 0 {
        missing.push("every v1.conversation.message".to_owned());
    }
    if of("vapi") && conversation.state == State::Closed && count("end-of-call-report") == 0 {
        missing.push("end-of-call-report".to_owned());
    }
    let said = ordered.iter().map(|record| reported(record)).max().unwrap_or_default();
    let heard = conversation.messages.len();
    // Without any transcript the assistant does not send them.
    if of("vapi") && heard > 0 && heard < said {
        missing.push(format!("transcripts: {heard} came of the {said} that end-of-call-report has"));
    }
    missing
}

/// How many things were said, as the report of a call has it.
fn reported(record: &Record) -> usize {
    if record.event.event_type.as_deref() != Some("end-of-call-report") {
        return 0;
    }
    let report: Option<serde_json::Value> = serde_json::from_slice(&record.event.body).ok();
    let entries = report.as_ref().and_then(|report| report["message"]["artifact"]["messages"].as_array());
    let is_said = |entry: &&serde_json::Value| matches!(entry["role"].as_str(), Some("user" | "bot"));
    entries.map_or(0, |entries| entries.iter().filter(is_said).count())
}

/// `None` when the body cannot be read.
fn fold_ada(conversation: &mut Conversation, record: &Record, document: &Document<'_>) -> Option<()> {
    let readable = ada::readable(document);
    let envelope = ada::Envelope::of(&readable);
    let data = ada::ConversationData::of(document)?;
    match ada::EventType::from(envelope.event_type.as_deref()?) {
        ada::EventType::ConversationCreated => {
            conversation.started_at = data.created_at().or(Some(record.event.occurred_at));
        }
        ada::EventType::ConversationMessage => {
            let at = data.created_at().unwrap_or(record.event.occurred_at);
            let text = data.content.and_then(|content| content.body.or(content.url));
            conversation.messages.push(Message {
                at,
                role: data.author.and_then(|author| author.role).map(Into::into),
                text: text.map(Into::into),
            });
        }
        ada::EventType::ConversationEnded => {
            conversation.state = State::Closed;
            conversation.ended_at = Some(record.event.occurred_at);
            conversation.started_at = conversation.started_at.or(data.created_at());
            conversation.ended_by = data.ended_by.and_then(|who| who.role).map(Into::into);
        }
        _ => {}
    }
    Some(())
}

/// `None` when the body cannot be read.
fn fold_vapi(conversation: &mut Conversation, record: &Record, document: &Document<'_>) -> Option<()> {
    let envelope = vapi::Envelope::of(document);
    let readable = envelope.readable();
    let message = vapi::Message::of(&readable);
    let data = vapi::ConversationData::of(&envelope)?;
    let end = |conversation: &mut Conversation| {
        conversation.state = State::Closed;
        conversation.ended_by = data.ended_reason.as_deref().map(str::to_owned).or(conversation.ended_by.take());
    };
    match vapi::EventType::from(message.event_type()?) {
        vapi::EventType::Transcript if message.transcript_type() == Some("final") => {
            conversation.messages.push(Message {
                at: record.event.occurred_at,
                role: message.role.as_deref().map(str::to_owned),
                text: data.transcript.as_deref().map(str::to_owned),
            });
        }
        vapi::EventType::StatusUpdate if message.status.as_deref() == Some("ended") => {
            end(conversation);
            conversation.ended_at = conversation.ended_at.or(Some(record.event.occurred_at));
        }
        vapi::EventType::StatusUpdate if message.status.as_deref() == Some("in-progress") => {
            conversation.started_at = conversation.started_at.or(Some(record.event.occurred_at));
        }
        vapi::EventType::EndOfCallReport => {
            end(conversation);
            conversation.started_at = data.started_at().or(conversation.started_at);
            conversation.ended_at = data.ended_at().or(conversation.ended_at).or(Some(record.event.occurred_at));
            conversation.analysis = data.analysis.map(|raw| raw.get().to_owned());
        }
        _ => {}
    }
    Some(())
}
