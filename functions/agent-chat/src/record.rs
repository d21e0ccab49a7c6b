//! Records a turn as an event: the request, the answer byte for byte, and how the turn ended. Messages, tool calls and
//! interrupts are not recorded; [`gatehouse_ag_kit::turn`] folds them from the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_ag_kit::turn::End;
use gatehouse_payload::event::{CHAT, RECORD_LIMIT, TURN};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, Fingerprint, Flags, Nonce};
use gatehouse_receiver::log::milliseconds;
use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::AdmittedRequest;

/// Largest part of an answer that is recorded, in bytes. A longer answer is not [replayed](crate::idempotency).
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
    pub(crate) duration: Duration,
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
    /// The answer, if it is not UTF-8 or is too large as text.
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
    /// Base64. Three bytes take four.
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
        duration_ms: milliseconds(result.duration),
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

/// Returns the event that records a turn; `None` if it cannot be encoded.
pub(crate) fn event(admitted: &AdmittedRequest, result: &TurnResult, nonce: Nonce, now: Timestamp) -> Option<Event> {
    let body = body(admitted, result)?;
    Some(Event {
        id: gatehouse_ag_kit::event_id(&admitted.turn_id),
        source: CHAT.to_owned(),
        event_type: Some(TURN.to_owned()),
        subject: admitted.conversation.as_deref().map(gatehouse_ag_kit::subject),
        occurred_at: admitted.began_at,
        received_at: now,
        fingerprint: Fingerprint::of(&body),
        nonce,
        verified_by: format!("{}:{}", admitted.client.verified_by, admitted.client.id),
        body: Bytes::from(body),
        answer: None,
        asked: None,
        flags: Flags::default(),
        is_one_question: false,
    })
}
