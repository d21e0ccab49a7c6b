//! Records a turn as an event: the request, the answer byte for byte, and how the turn ended. Messages, tool calls and
//! interrupts are not recorded; [`gatehouse_ag_kit::turn`] folds them from the answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_ag_kit::Dialect;
use gatehouse_ag_kit::turn::End;
use gatehouse_payload::event::RECORD_LIMIT;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, Fingerprint, Flags, Nonce};
use gatehouse_sse::Reader;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::AdmittedRequest;
use crate::limits::LARGEST_EVENT;

/// Largest part of an answer that is recorded, in bytes. A longer answer is not replayed.
pub(crate) const MAX_RECORDED_ANSWER: usize = 8 * 1024 * 1024;

/// The result of a turn.
#[derive(Debug)]
pub(crate) struct TurnResult {
    pub(crate) end: End,
    /// The first [`MAX_RECORDED_ANSWER`] bytes of the answer.
    pub(crate) answer: Vec<u8>,
    pub(crate) received_bytes: usize,
    pub(crate) sent_bytes: usize,
    pub(crate) events: usize,
    pub(crate) odd_events: usize,
    pub(crate) is_utf8: bool,
    pub(crate) first_event_ms: Option<u64>,
    pub(crate) duration_ms: u64,
    /// Whether the client is known to have left before the end.
    pub(crate) client_left: bool,
    /// The agent's headers that are passed on to the client.
    pub(crate) headers: HeaderMap,
}

/// The JSON of a record.
#[derive(Serialize)]
struct RecordBody<'a> {
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
    #[serde(skip_serializing_if = "is_true")]
    is_utf8: bool,
    #[serde(skip_serializing_if = "is_false")]
    client_left: bool,
    /// The agent's headers that are passed on to the client.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, &'a str>,
    request: &'a RawValue,
    #[serde(skip_serializing_if = "is_false")]
    request_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a str>,
    /// The answer, if it is not UTF-8 or too large as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_base64: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    answer_cut: bool,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_true(flag: &bool) -> bool {
    *flag
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Largest record, in bytes. A larger one could not be read.
const MAX_BODY_BYTES: usize = RECORD_LIMIT - 64 * 1024;

/// The encoding of an answer in its record.
#[derive(Clone, Copy)]
enum Encoding {
    /// JSON text, if the answer is UTF-8. A control character takes six bytes.
    Text,
    /// Base64: four bytes for any three.
    Base64,
}

/// Encodes the record of a turn, with as much of the answer as fits. The request is left out if it does not fit even
/// without the answer.
fn body(admitted: &AdmittedRequest, result: &TurnResult) -> Option<String> {
    let (mut length, mut encoding) = (result.answer.len(), Encoding::Text);
    loop {
        let body = encode(admitted, result, result.answer.get(..length)?, encoding, true)?;
        if body.len() <= MAX_BODY_BYTES {
            return Some(body);
        }
        (length, encoding) = match encoding {
            Encoding::Text => (length, Encoding::Base64),
            Encoding::Base64 if length == 0 => return encode(admitted, result, &[], Encoding::Text, false),
            Encoding::Base64 if length <= 1024 => (0, Encoding::Text),
            Encoding::Base64 => (length / 2, Encoding::Text),
        };
    }
}

fn encode(
    admitted: &AdmittedRequest,
    result: &TurnResult,
    answer: &[u8],
    encoding: Encoding,
    with_request: bool,
) -> Option<String> {
    let is_cut = answer.len() < result.received_bytes;
    let text = match (encoding, std::str::from_utf8(answer)) {
        (Encoding::Base64, _) => None,
        (Encoding::Text, Ok(text)) => Some(text),
        // The answer may have been cut within a character.
        (Encoding::Text, Err(error)) if is_cut && error.error_len().is_none() => {
            answer.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
        }
        (Encoding::Text, Err(_)) => None,
    };
    let request: &RawValue = if with_request { serde_json::from_str(&admitted.json).ok()? } else { RawValue::NULL };
    let body = RecordBody {
        r#type: "turn",
        turn_id: &admitted.turn_id,
        client: &admitted.client.id,
        agent: &admitted.agent_id,
        dialect: admitted.agent.dialect.as_str(),
        conversation: admitted.conversation.as_deref(),
        request_id: admitted.request_id.to_str().unwrap_or_default(),
        began_at: admitted.began_at.to_string(),
        end: result.end.to_string(),
        first_event_ms: result.first_event_ms,
        duration_ms: result.duration_ms,
        received_bytes: result.received_bytes,
        sent_bytes: result.sent_bytes,
        events: result.events,
        odd_events: result.odd_events,
        is_utf8: result.is_utf8,
        client_left: result.client_left,
        headers: result
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
    serde_json::to_string(&body).ok()
}

/// Returns the event that records a turn; `None` if it cannot be encoded or the system has no random bytes.
pub(crate) fn event(admitted: &AdmittedRequest, result: &TurnResult, now: Timestamp) -> Option<Event> {
    let body = body(admitted, result)?;
    Some(Event {
        id: gatehouse_ag_kit::event_id(&admitted.turn_id),
        source: "ag-kit".to_owned(),
        event_type: Some("turn".to_owned()),
        subject: admitted.conversation.as_deref().map(gatehouse_ag_kit::subject),
        occurred_at: admitted.began_at,
        received_at: now,
        fingerprint: Fingerprint::of(&body),
        nonce: Nonce::random().ok()?,
        verified_by: format!("{}:{}", admitted.client.verified_by, admitted.client.id),
        body: Bytes::from(body),
        answer: None,
        flags: Flags::default(),
        is_one_question: false,
    })
}

/// A turn with a complete record, which can be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedTurn {
    pub(crate) turn_id: String,
    pub(crate) dialect: Dialect,
    pub(crate) headers: HeaderMap,
    /// The whole events of the answer.
    pub(crate) answer: Bytes,
}

/// The replay that a turn's record allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The turn ended well, and its record is complete.
    Complete(RecordedTurn),
    /// The turn ended well, but its answer was cut or has been erased.
    Partial,
    /// The turn failed.
    Failed,
    /// There is no record.
    Missing,
}

/// Returns the replay that the body of a turn's record allows.
pub(crate) fn replay_of(body: &[u8]) -> Replay {
    #[derive(Deserialize)]
    struct ReadBody {
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
    let Ok(read) = serde_json::from_slice::<ReadBody>(body) else { return Replay::Partial };
    if !["completed", "interrupted", "cancelled"].contains(&read.end.as_str()) {
        return Replay::Failed;
    }
    let base64 = |text: String| BASE64.decode(text.as_bytes()).ok();
    let answer = read.answer.map(String::into_bytes).or_else(|| base64(read.answer_base64?));
    match (answer, Dialect::from_name(&read.dialect)) {
        (Some(answer), Some(dialect)) if !read.answer_cut => {
            let header = |(name, value): (String, String)| Some((name.parse().ok()?, value.parse().ok()?));
            let headers: HeaderMap = read.headers.into_iter().filter_map(header).collect();
            Replay::Complete(RecordedTurn {
                turn_id: read.turn_id,
                dialect,
                headers,
                answer: whole_events(Bytes::from(answer)),
            })
        }
        _ => Replay::Partial,
    }
}

/// Returns the whole events of an answer, which the client was sent, without the incomplete event at its end.
fn whole_events(answer: Bytes) -> Bytes {
    let mut reader = Reader::new(LARGEST_EVENT);
    reader.feed(answer.clone());
    let mut whole = 0;
    // The client was sent nothing after an event that was too large.
    while let Ok(Some(block)) = reader.next_block() {
        whole += block.bytes.len();
    }
    answer.slice(..whole)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::{Replay, replay_of};

    /// A turn as the release before bounded resources recorded it. Later records may only add members.
    fn old_record(end: &str, answer: &str) -> String {
        format!(
            "{{\"type\":\"turn\",\"turn_id\":\"t1\",\"client\":\"web\",\"agent\":\"kit\",\"dialect\":\"ag-kit\",\
             \"conversation\":\"c\",\"request_id\":\"r\",\"began_at\":\"2026-11-01T09:00:00Z\",\"end\":\"{end}\",\
             \"first_event_ms\":3,\"duration_ms\":9,\"received_bytes\":14,\"sent_bytes\":14,\"events\":1,\
             \"headers\":{{\"content-type\":\"text/event-stream\"}},\"request\":{{\"messages\":[]}},{answer}}}"
        )
    }

    #[test]
    fn turns_of_the_previous_release_are_replayed() {
        for end in ["completed", "interrupted"] {
            for answer in [r#""answer":"data: [DONE]\n\n""#, r#""answer_base64":"ZGF0YTogW0RPTkVdCgo=""#] {
                let Replay::Complete(recorded) = replay_of(old_record(end, answer).as_bytes()) else {
                    panic!("{end} {answer}")
                };
                assert_eq!((recorded.turn_id.as_str(), &*recorded.answer), ("t1", &b"data: [DONE]\n\n"[..]));
                assert_eq!(recorded.headers["content-type"], "text/event-stream");
            }
            let cut = old_record(end, r#""answer":"data: [DONE]\n\n","answer_cut":true"#);
            assert_eq!(replay_of(cut.as_bytes()), Replay::Partial);
        }
        let failed = old_record("failed:cut", r#""answer":"data: x\n\n""#);
        assert_eq!(replay_of(failed.as_bytes()), Replay::Failed);
    }
}
