//! The state of an Ada conversation.

use gatehouse_payload::Event;
use gatehouse_payload::json::Document;
use gatehouse_vendor::{Conversation, Members, Message, State};

use crate::EventType;

/// Folds the events of a conversation. Each member of a body is read separately. A body that cannot be read is counted,
/// and changes nothing else.
pub(crate) fn fold(events: &[&Event]) -> Conversation {
    let mut conversation = Conversation { events: events.len(), ..Conversation::default() };
    for event in events {
        if let Ok(document) = Document::read(&event.body) {
            add(&mut conversation, event, Members(document.text()));
        }
    }
    let count = |name: &str| events.iter().filter(|event| event.event_type.as_deref() == Some(name)).count();
    if count("v1.conversation.created") == 0 {
        conversation.missing.push("v1.conversation.created".to_owned());
    }
    if conversation.state == State::Closed && count("v1.conversation.message") == 0 {
        conversation.missing.push("every v1.conversation.message".to_owned());
    }
    conversation
}

fn add(conversation: &mut Conversation, event: &Event, body: Members<'_>) {
    let Some(event_type) = body.text(&["type"]) else { return };
    let created_at = body.time(&["data", "created_at"]);
    match EventType::from(event_type.as_str()) {
        EventType::ConversationCreated => {
            conversation.started_at = created_at.or(Some(event.occurred_at));
        }
        EventType::ConversationMessage => {
            let content = body.at(&["data", "content"]);
            // Typing and read notices are not messages.
            if content.and_then(|content| content.text(&["type"])).as_deref() == Some("presence") {
                return;
            }
            conversation.messages.push(Message {
                at: created_at.unwrap_or(event.occurred_at),
                role: body.text(&["data", "author", "role"]),
                text: content.and_then(|content| {
                    content.text(&["body"]).or_else(|| content.text(&["url"])).or_else(|| content.as_text())
                }),
            });
        }
        EventType::ConversationEnded => {
            conversation.state = State::Closed;
            conversation.ended_at = Some(event.occurred_at);
            conversation.started_at = conversation.started_at.or(created_at);
            conversation.ended_by = body.text(&["data", "ended_by", "role"]).or(conversation.ended_by.take());
        }
        _ => {}
    }
}
