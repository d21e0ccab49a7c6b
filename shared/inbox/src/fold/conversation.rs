//! The state of Ada conversations, and of Vapi calls, chats and sessions.

use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{ada, vapi};

use super::members::Members;
use super::vapi::VapiFold;
use super::{State, in_order};
use crate::store::Record;

/// The state of a conversation, according to its events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Closed once an event says that it has ended.
    pub state: State,
    /// The start time, if an event contains it.
    pub started_at: Option<Timestamp>,
    /// The end time: the one in the event, else the time of the event.
    pub ended_at: Option<Timestamp>,
    /// Ada: the role that ended it. Vapi: the reason.
    pub ended_by: Option<String>,
    /// Vapi: the customer's telephone number.
    pub number: Option<String>,
    /// Vapi: the assistant's name, else its id.
    pub assistant: Option<String>,
    /// Vapi: the cost of the call in dollars, as written in the event.
    pub cost: Option<String>,
    /// Vapi: the URL of the recording.
    pub recording_url: Option<String>,
    /// The messages by time, then by arrival. For a Vapi call these are the final transcripts, or the messages of the
    /// call's report if there are none.
    pub messages: Vec<Message>,
    /// Vapi: summary, structured data and evaluation, as sent: JSON text.
    pub analysis: Option<String>,
    /// Descriptions of expected events and data that are missing.
    pub missing: Vec<String>,
    /// The number of folded events.
    pub events: usize,
    /// The number of conflicting copies.
    pub conflicts: usize,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was written or spoken.
    pub at: Timestamp,
    /// The role of its author, in the vendor's word: `end_user`, `ai_agent`, `assistant`, `user`, …
    pub role: Option<String>,
    /// The text, or the URL of a link or file; absent if the message has neither.
    pub text: Option<String>,
}

impl Conversation {
    /// Returns the duration in seconds, if start and end are known.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        Some(self.ended_at?.as_secs() - self.started_at?.as_secs())
    }
}

/// Folds a conversation's timeline, in any order. Each member of a body is read separately. An unreadable body counts
/// as an event and contributes nothing else.
#[must_use]
pub fn conversation(records: &[Record]) -> Conversation {
    let (ordered, conflicts) = in_order(records);
    let mut conversation = Conversation { events: ordered.len(), conflicts, ..Conversation::default() };
    let mut vapi_fold = VapiFold::default();
    for record in &ordered {
        let Ok(document) = Document::read(&record.event.body) else { continue };
        match record.event.source.as_str() {
            "ada" => fold_ada(&mut conversation, record, Members(document.text())),
            "vapi" => {
                let envelope = vapi::Envelope::of(&document);
                vapi_fold.fold(&mut conversation, record, Members(envelope.text()));
            }
            _ => {}
        }
    }
    conversation.missing = missing(&ordered, &conversation);
    vapi_fold.finish(&mut conversation);
    // The sort is stable: messages of the same time stay in the order of arrival.
    conversation.messages.sort_by_key(|message| message.at);
    conversation
}

/// Lists the expected events that are missing. Other events of the conversation show that an event was expected; event
/// types to which nobody subscribed are not reported.
fn missing(ordered: &[&Record], conversation: &Conversation) -> Vec<String> {
    let count = |name: &str| ordered.iter().filter(|record| record.event.event_type.as_deref() == Some(name)).count();
    let is_ada = ordered.iter().any(|record| record.event.source == "ada");
    let mut missing = Vec::new();
    if is_ada && count("v1.conversation.created") == 0 {
        missing.push("v1.conversation.created".to_owned());
    }
    if is_ada && conversation.state == State::Closed && count("v1.conversation.message") == 0 {
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
            // Typing and read notifications are not messages.
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
