//! Ada conversations, and Vapi calls, chats and sessions.

use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{ada, vapi};

use super::members::Members;
use super::vapi::Told;
use super::{State, in_order};
use crate::store::Record;

/// A conversation as its events tell it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Closed once an event says that it has ended.
    pub state: State,
    /// When it started, where an event says so.
    pub started_at: Option<Timestamp>,
    /// When it ended: the time the event gives, or else when the event happened.
    pub ended_at: Option<Timestamp>,
    /// Ada: the role that ended it. Vapi: the reason.
    pub ended_by: Option<String>,
    /// Vapi: the customer's telephone number.
    pub number: Option<String>,
    /// Vapi: the assistant's name, else its id.
    pub assistant: Option<String>,
    /// Vapi: what the call cost, in dollars, as written.
    pub cost: Option<String>,
    /// Vapi: where the recording is.
    pub recording_url: Option<String>,
    /// What was said, by time, then in the order of arrival. Of Vapi's transcripts the final ones; without any, what
    /// the call's report says.
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

impl Conversation {
    /// How long it took, in seconds, where both ends are known.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        Some(self.ended_at?.as_secs() - self.started_at?.as_secs())
    }
}

/// Folds a conversation's timeline, in any order. Each member of a body is read by itself; a body that cannot be read
/// counts and tells nothing.
#[must_use]
pub fn conversation(records: &[Record]) -> Conversation {
    let (ordered, conflicts) = in_order(records);
    let mut conversation = Conversation { events: ordered.len(), conflicts, ..Conversation::default() };
    let mut told = Told::default();
    for record in &ordered {
        let Ok(document) = Document::read(&record.event.body) else { continue };
        match record.event.source.as_str() {
            "ada" => fold_ada(&mut conversation, record, Members(document.text())),
            "vapi" => {
                let envelope = vapi::Envelope::of(&document);
                told.fold(&mut conversation, record, Members(envelope.text()));
            }
            _ => {}
        }
    }
    conversation.missing = missing(&ordered, &conversation);
    told.end(&mut conversation);
    // The sort is stable: messages of one time stay as they are, which is in the order of arrival.
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
    let is_call = ordered
        .iter()
        .any(|record| record.event.subject.as_ref().is_some_and(|subject| subject.as_str().starts_with("vapi:call:")));
    if is_call && conversation.state == State::Closed && count("end-of-call-report") == 0 {
        missing.push("end-of-call-report".to_owned());
    }
    missing
}

fn fold_ada(conversation: &mut Conversation, record: &Record, body: Members<'_>) {
    let Some(event_type) = body.text(&["type"]) else { return };
    let created_at = body.time(&["data", "created_at"]);
    match ada::EventType::from(event_type.as_str()) {
        ada::EventType::ConversationCreated => {
            conversation.started_at = created_at.or(Some(record.event.occurred_at));
        }
        ada::EventType::ConversationMessage => {
            let content = body.at(&["data", "content"]);
            // That somebody is typing, or has read, is not said.
            if content.and_then(|content| content.text(&["type"])).as_deref() == Some("presence") {
                return;
            }
            conversation.messages.push(Message {
                at: created_at.unwrap_or(record.event.occurred_at),
                role: body.text(&["data", "author", "role"]),
                text: content.and_then(|content| {
                    content.text(&["body"]).or_else(|| content.text(&["url"])).or_else(|| content.as_text())
                }),
            });
        }
        ada::EventType::ConversationEnded => {
            conversation.state = State::Closed;
            conversation.ended_at = Some(record.event.occurred_at);
            conversation.started_at = conversation.started_at.or(created_at);
            conversation.ended_by = body.text(&["data", "ended_by", "role"]).or(conversation.ended_by.take());
        }
        _ => {}
    }
}
