//! A turn as an event: the request, the answer byte for byte, and how it ended. Messages, tool calls and interrupts are
//! folded from the answer when it is read ([`gatehouse_payload::ag_kit::turn`]).

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_edge::chat;
use gatehouse_inbox::event::RECORD_LIMIT;
use gatehouse_inbox::{Event, Fingerprint, Marks, Nonce};
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::turn::End;
use gatehouse_payload::time::Timestamp;
use gatehouse_sse::Reader;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Asked;
use crate::limits::LARGEST_EVENT;

/// How much of an answer is recorded, in bytes. A longer one is not replayed.
pub(crate) const KEPT: usize = 8 * 1024 * 1024;

/// What came of a turn.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// The answer as it came, up to [`KEPT`].
    pub(crate) answer: Vec<u8>,
    pub(crate) received_bytes: usize,
    pub(crate) sent_bytes: usize,
    pub(crate) events: usize,
    pub(crate) odd_events: usize,
    pub(crate) is_utf8: bool,
    pub(crate) first_event_ms: Option<u64>,
    pub(crate) duration_ms: u64,
    /// Whether the client read to the end, as far as that is known.
    pub(crate) client_left: bool,
    /// What the client saw of the agent's headers.
    pub(crate) headers: HeaderMap,
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'static str,
    turn_id: &'a str,
    client: &'a str,
    agent: &'a str,
    dialect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<&'a str>,
    request_id: &'a str,
    began_at: String,
    /// `completed`, `interrupted`, `cancelled`, `failed:<why>`.
    end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_event_ms: Option<u64>,
    duration_ms: u64,
    received_bytes: usize,
    sent_bytes: usize,
    events: usize,
    #[serde(skip_serializing_if = "is_zero")]
    odd_events: usize,
    #[serde(skip_serializing_if = "is_so")]
    is_utf8: bool,
    #[serde(skip_serializing_if = "is_not_so")]
    client_left: bool,
    /// What the client saw of the agent's headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, &'a str>,
    request: &'a RawValue,
    #[serde(skip_serializing_if = "is_not_so")]
    request_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a str>,
    /// Where the answer is no UTF-8, or too large as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_base64: Option<String>,
    #[serde(skip_serializing_if = "is_not_so")]
    answer_cut: bool,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_so(is_so: &bool) -> bool {
    *is_so
}

fn is_not_so(is_so: &bool) -> bool {
    !*is_so
}

/// The longest record, in bytes: a larger one could not be read back.
const MOST: usize = RECORD_LIMIT - 64 * 1024;

/// The form of an answer in its record.
#[derive(Clone, Copy)]
enum Form {
    /// JSON text, where the answer is UTF-8. A control character takes six bytes.
    Text,
    /// Base64: four bytes for three, whatever they are.
    Base64,
}

/// The record of a turn: as much of the answer as fits, and the request, if it fits without the answer.
fn body(asked: &Asked, outcome: &Outcome) -> Option<String> {
    let (mut kept, mut form) = (outcome.answer.len(), Form::Text);
    loop {
        let body = written(asked, outcome, outcome.answer.get(..kept)?, form, true)?;
        if body.len() <= MOST {
            return Some(body);
        }
        (kept, form) = match form {
            Form::Text => (kept, Form::Base64),
            Form::Base64 if kept == 0 => return written(asked, outcome, &[], Form::Text, false),
            Form::Base64 if kept <= 1024 => (0, Form::Text),
            Form::Base64 => (kept / 2, Form::Text),
        };
    }
}

fn written(asked: &Asked, outcome: &Outcome, answer: &[u8], form: Form, with_request: bool) -> Option<String> {
    // A cut may go through a character.
    let is_cut = answer.len() < outcome.received_bytes;
    let text = match (form, std::str::from_utf8(answer)) {
        (Form::Base64, _) => None,
        (Form::Text, Ok(text)) => Some(text),
        (Form::Text, Err(error)) if is_cut && error.error_len().is_none() => {
            answer.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
        }
        (Form::Text, Err(_)) => None,
    };
    let request: &RawValue = if with_request { serde_json::from_str(&asked.request).ok()? } else { RawValue::NULL };
    let wire = Wire {
        r#type: "turn",
        turn_id: &asked.turn_id,
        client: &asked.client.id,
        agent: &asked.agent_id,
        dialect: asked.agent.dialect.as_str(),
        conversation: asked.conversation.as_deref(),
        request_id: asked.request_id.to_str().unwrap_or_default(),
        began_at: asked.began_at.to_string(),
        end: outcome.end.to_string(),
        first_event_ms: outcome.first_event_ms,
        duration_ms: outcome.duration_ms,
        received_bytes: outcome.received_bytes,
        sent_bytes: outcome.sent_bytes,
        events: outcome.events,
        odd_events: outcome.odd_events,
        is_utf8: outcome.is_utf8,
        client_left: outcome.client_left,
        headers: outcome
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect(),
        request,
        request_cut: !with_request,
        answer: text,
        answer_base64: text.is_none().then(|| BASE64.encode(answer)),
        answer_cut: is_cut,
    };
    serde_json::to_string(&wire).ok()
}

/// The event of a turn; `None` when the system has no random bytes to give.
pub(crate) fn event(asked: &Asked, outcome: &Outcome, now: Timestamp) -> Option<Event> {
    let body = body(asked, outcome)?;
    Some(Event {
        id: chat::event_id(&asked.turn_id),
        source: "ag-kit".to_owned(),
        event_type: Some("turn".to_owned()),
        subject: asked.conversation.as_deref().map(chat::subject),
        occurred_at: asked.began_at,
        received_at: now,
        fingerprint: Fingerprint::of(&body),
        nonce: Nonce::random().ok()?,
        verified_by: format!("{}:{}", asked.client.verified_by, asked.client.id),
        body: Bytes::from(body),
        answer: None,
        marks: Marks::default(),
        is_one_question: false,
    })
}

/// A turn that was recorded whole, and can be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) turn_id: String,
    pub(crate) dialect: Dialect,
    pub(crate) headers: HeaderMap,
    /// Its whole events.
    pub(crate) answer: Bytes,
}

/// The replay that a turn's record allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The turn ended well, and its record is whole.
    Complete(Stored),
    /// The turn ended well, but its answer was cut or has been erased.
    Partial,
    /// The turn failed.
    Failed,
    /// There is no record.
    Missing,
}

/// Reads a turn's record.
pub(crate) fn replay_of(body: &[u8]) -> Replay {
    #[derive(Deserialize)]
    struct Read {
        turn_id: String,
        dialect: String,
        end: String,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        answer: Option<String>,
        answer_base64: Option<String>,
        #[serde(default)]
        answer_cut: bool,
    }
    let Ok(read) = serde_json::from_slice::<Read>(body) else { return Replay::Partial };
    if !["completed", "interrupted", "cancelled"].contains(&read.end.as_str()) {
        return Replay::Failed;
    }
    let base64 = |text: String| BASE64.decode(text.as_bytes()).ok();
    let answer = read.answer.map(String::into_bytes).or_else(|| base64(read.answer_base64?));
    match (answer, Dialect::named(&read.dialect)) {
        (Some(answer), Some(dialect)) if !read.answer_cut => {
            let header = |(name, value): (String, String)| Some((name.parse().ok()?, value.parse().ok()?));
            let headers: HeaderMap = read.headers.into_iter().filter_map(header).collect();
            Replay::Complete(Stored {
                turn_id: read.turn_id,
                dialect,
                headers,
                answer: whole_events(Bytes::from(answer)),
            })
        }
        _ => Replay::Partial,
    }
}

/// The whole events of an answer, which the client was sent: not the piece of an event at its end.
fn whole_events(answer: Bytes) -> Bytes {
    let mut reader = Reader::new(LARGEST_EVENT);
    reader.feed(answer.clone());
    let mut whole = 0;
    // The client was sent nothing that came after an event that was too large.
    while let Ok(Some(block)) = reader.next_block() {
        whole += block.bytes.len();
    }
    answer.slice(..whole)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::{Replay, replay_of};

    /// A turn as the release before bounded resources recorded it. Its members may only grow.
    fn recorded_before(end: &str, answer: &str) -> String {
        format!(
            "{{\"type\":\"turn\",\"turn_id\":\"t1\",\"client\":\"web\",\"agent\":\"kit\",\"dialect\":\"ag-kit\",\
             \"conversation\":\"c\",\"request_id\":\"r\",\"began_at\":\"2026-11-01T09:00:00Z\",\"end\":\"{end}\",\
             \"first_event_ms\":3,\"duration_ms\":9,\"received_bytes\":14,\"sent_bytes\":14,\"events\":1,\
             \"headers\":{{\"content-type\":\"text/event-stream\"}},\"request\":{{\"messages\":[]}},{answer}}}"
        )
    }

    #[test]
    fn turns_of_the_release_before_are_replayed() {
        for end in ["completed", "interrupted"] {
            for answer in [r#""answer":"data: [DONE]\n\n""#, r#""answer_base64":"ZGF0YTogW0RPTkVdCgo=""#] {
                let Replay::Complete(stored) = replay_of(recorded_before(end, answer).as_bytes()) else {
                    panic!("{end} {answer}")
                };
                assert_eq!((stored.turn_id.as_str(), &*stored.answer), ("t1", &b"data: [DONE]\n\n"[..]));
                assert_eq!(stored.headers["content-type"], "text/event-stream");
            }
            let cut = recorded_before(end, r#""answer":"data: [DONE]\n\n","answer_cut":true"#);
            assert_eq!(replay_of(cut.as_bytes()), Replay::Partial);
        }
        let failed = recorded_before("failed:cut", r#""answer":"data: x\n\n""#);
        assert_eq!(replay_of(failed.as_bytes()), Replay::Failed);
    }
}
