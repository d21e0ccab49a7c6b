//! The messages of a conversation, from the records of its turns.

use gatehouse_payload::Event;
use gatehouse_payload::time::Timestamp;
use gatehouse_sse::Reader;
use gatehouse_vendor::{Conversation, Message};
use serde::Deserialize;
use serde_json::Value;

use crate::Dialect;
use crate::turn::Turn;

/// The largest event of an answer that is read, in bytes: the limit of `agent-chat`.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// The members of a turn's record that have its messages.
#[derive(Deserialize)]
struct Recorded {
    agent: String,
    dialect: String,
    #[serde(default)]
    duration_ms: i64,
    #[serde(default)]
    request: Value,
    /// Absent if the answer is not UTF-8.
    answer: Option<String>,
}

/// Folds the turns of a conversation. A turn that cannot be read counts as an event without messages.
pub(crate) fn fold(events: &[&Event]) -> Conversation {
    let mut conversation = Conversation { events: events.len(), ..Conversation::default() };
    for event in events {
        let began_at = event.occurred_at;
        conversation.started_at = conversation.started_at.into_iter().chain([began_at]).min();
        let Ok(turn) = serde_json::from_slice::<Recorded>(&event.body) else { continue };
        let ended_at = Timestamp::clamped(began_at.as_millis().saturating_add(turn.duration_ms));
        let mut add = |at, role: &str, text: String| {
            if !text.is_empty() {
                conversation.messages.push(Message { at, role: Some(role.to_owned()), text: Some(text) });
            }
        };
        add(began_at, "user", question(&turn.request));
        add(ended_at, "assistant", answer(&turn));
        conversation.agent = Some(turn.agent);
    }
    conversation
}

/// Returns the text of the user's message. An AG-UI request repeats the earlier messages; this one is the last.
fn question(request: &Value) -> String {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    match messages.last() {
        Some(message) if message["role"] == "user" => text_of(&message["content"]),
        // A decision, or the result of a tool.
        _ => String::new(),
    }
}

/// Returns the text of a message's content: a string, or a list of parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// Returns the text of the agent's answer.
fn answer(recorded: &Recorded) -> String {
    let (Some(answer), Some(dialect)) = (&recorded.answer, Dialect::from_name(&recorded.dialect)) else {
        return String::new();
    };
    let mut turn = Turn::new(dialect).answering(&recorded.request.to_string());
    let mut reader = Reader::new(MAX_EVENT_BYTES);
    reader.feed(answer.clone());
    while let Ok(Some(block)) = reader.next_block() {
        if let Some(event) = block.event {
            turn.take(&event.data);
        }
    }
    turn.content()
}

#[cfg(test)]
mod tests {
    use gatehouse_payload::{EventId, Fingerprint, Flags, Nonce};
    use serde_json::json;

    use super::*;

    /// In milliseconds since 1970.
    const NOW: i64 = 1_795_000_000_000;

    fn turn(at: i64, content: &Value, answer: &str) -> Event {
        let request = json!({"conversationId": "c1", "messages": [{"role": "user", "content": content}]});
        let body = json!({"type": "turn", "turn_id": "t", "agent": "kit", "dialect": "ag-kit", "duration_ms": 400,
                          "request": request, "answer": answer});
        Event {
            id: EventId::from_stored(format!("chat:{at}")),
            source: "chat".to_owned(),
            event_type: Some("turn".to_owned()),
            subject: None,
            occurred_at: Timestamp::clamped(NOW + at),
            received_at: Timestamp::clamped(NOW + at),
            fingerprint: Fingerprint::of("x"),
            nonce: Nonce::random().unwrap(),
            verified_by: "bearer:web".to_owned(),
            body: body.to_string().into(),
            answer: None,
            asked: None,
            flags: Flags::default(),
            is_one_question: false,
        }
    }

    #[test]
    fn turns_have_the_messages_of_both_sides() {
        let answer = "data: {\"type\":\"text\",\"content\":\"Good \"}\n\ndata: {\"type\":\"text\",\"content\":\"day\"}\n\n\
                      data: [DONE]\n\n";
        let parts = json!([{"type": "text", "text": "and"}, {"type": "text", "text": "more"}]);
        let mut broken = turn(3000, &json!("x"), "");
        broken.body = "not JSON".into();
        let events = [turn(1000, &json!("Hello"), answer), turn(2000, &parts, ""), broken];
        let conversation = fold(&events.iter().collect::<Vec<_>>());
        let messages: Vec<_> = conversation
            .messages
            .iter()
            .map(|message| {
                (message.at.as_millis() - NOW, message.role.as_deref().unwrap(), message.text.as_deref().unwrap())
            })
            .collect();
        assert_eq!(messages, [(1000, "user", "Hello"), (1400, "assistant", "Good day"), (2000, "user", "and\nmore")]);
        assert_eq!((conversation.events, conversation.agent.as_deref()), (3, Some("kit")));
        assert_eq!(conversation.started_at, Some(Timestamp::clamped(NOW + 1000)));
    }
}
