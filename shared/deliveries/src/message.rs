//! The webhook message of a record:
//!
//! ```json
//! { "type": "ada.v1.conversation.message", "timestamp": "2026-11-21T17:00:00.250Z",
//!   "data": { "event_id": "ada:msg_1", "source": "ada", "event_type": "v1.conversation.message",
//!             "subject": "ada:conversation:673d…", "occurred_at": "…", "received_at": "…", "parsed": true,
//!             "identity": "strong", "kind": "event", "late": false, "payload": { … } } }
//! ```

use bytes::Bytes;
use gatehouse_inbox::store::Record;
use gatehouse_payload::event::{PING, TURN};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::signature::message_id;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The largest body by default, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// The type of a test message.
pub const TEST_TYPE: &str = "gatehouse.test";
/// The last part of the type of a message whose event names no type.
const UNKNOWN: &str = "unknown";

/// The form of a message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Whether the payload is left out.
    pub is_thin: bool,
    /// The largest body with a payload, in bytes. The payload of a larger one is left out.
    pub max_bytes: usize,
}

/// The format of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The webhook message that this module describes.
    #[default]
    Standard,
    /// The body that was recorded, unchanged.
    Vendor,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { is_thin: false, max_bytes: MAX_BYTES }
    }
}

/// A webhook message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of all attempts to deliver the record: `evt_` and a hash of its key.
    pub id: String,
    /// The key of the record, which is the event's id or the key of a conflicting copy.
    pub event_id: String,
    /// The body, which is a JSON object.
    pub body: Bytes,
}

impl Message {
    /// Creates a message about no event, with which a user tests a destination. `id` is unique.
    #[must_use]
    pub fn test(id: &str, now: Timestamp) -> Message {
        let event_id = format!("gatehouse:test:{id}");
        let data = serde_json::json!({"event_id": event_id, "kind": "test"});
        let body = serde_json::json!({"type": TEST_TYPE, "timestamp": now.to_string(), "data": data});
        Message { id: message_id(&event_id), event_id, body: body.to_string().into() }
    }

    /// Creates the message of a record in a format.
    #[must_use]
    pub fn in_format(record: &Record, format: Format, shape: Shape, is_late: bool) -> Message {
        match format {
            Format::Standard => Message::of(record, shape, is_late),
            Format::Vendor => {
                let key = record.key();
                Message { id: message_id(&key), event_id: key, body: record.event.body.clone() }
            }
        }
    }

    /// Creates the message of a record in the standard format. `is_late` tells that an event of the same subject that
    /// was received later has been sent before.
    #[must_use]
    pub fn of(record: &Record, shape: Shape, is_late: bool) -> Message {
        let key = record.key();
        // A body in a JSON string can be half as large in the message. A larger one need not be built.
        let has_payload = !shape.is_thin && record.event.body.len() <= shape.max_bytes.saturating_mul(2);
        let mut body = Body::of(record, &key, is_late, has_payload).to_bytes();
        if has_payload && body.len() > shape.max_bytes {
            body = Body::of(record, &key, is_late, false).to_bytes();
        }
        Message { id: message_id(&key), event_id: key, body }
    }
}

/// Whether an event is a probe of `gatehouse ping`, which is not delivered.
#[must_use]
pub fn is_ping(event_type: Option<&str>) -> bool {
    event_type == Some(PING)
}

/// Returns the type of a message: the vendor and the vendor's name for the event, such as `vapi.status-update`.
#[must_use]
pub fn message_type(source: &str, event_type: Option<&str>) -> String {
    format!("{source}.{}", event_type.unwrap_or(UNKNOWN))
}

#[derive(Serialize)]
struct Body<'r> {
    r#type: String,
    timestamp: Timestamp,
    data: Data<'r>,
}

#[derive(Serialize)]
struct Data<'r> {
    event_id: &'r str,
    source: &'r str,
    event_type: Option<&'r str>,
    subject: Option<&'r str>,
    occurred_at: Timestamp,
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Json>,
    parsed: bool,
    identity: Identity,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict_of: Option<&'r str>,
    late: bool,
    #[serde(flatten)]
    payload: Payload,
}

/// Whether two occurrences can have the same event id.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Identity {
    Strong,
    Weak,
}

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A vendor's event.
    Event,
    /// A body that was delivered under the id of another event.
    Conflict,
    /// A chat turn.
    Turn,
}

impl Kind {
    /// Returns the kind of a record.
    #[must_use]
    pub fn of(event_type: Option<&str>, is_conflict: bool) -> Kind {
        match (is_conflict, event_type) {
            (true, _) => Kind::Conflict,
            (false, Some(TURN)) => Kind::Turn,
            (false, _) => Kind::Event,
        }
    }
}

#[derive(Serialize)]
enum Payload {
    #[serde(rename = "payload")]
    Full(Json),
    /// The number of bytes of the payload that is left out.
    #[serde(rename = "payload_bytes")]
    Bytes(usize),
}

/// A JSON value that is copied as it stands, or a text that is not JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Json {
    Value(Box<RawValue>),
    Text(String),
}

impl Json {
    fn of(text: &str) -> Json {
        RawValue::from_string(text.to_owned()).map_or_else(|_| Json::Text(text.to_owned()), Json::Value)
    }

    /// Returns the object in a body, which is the body itself or the content of a JSON string.
    fn of_body(body: &[u8]) -> Json {
        match Document::read(body) {
            Ok(document) => Json::of(document.text()),
            Err(_) => Json::of(&String::from_utf8_lossy(body)),
        }
    }
}

impl<'r> Body<'r> {
    fn of(record: &'r Record, key: &'r str, is_late: bool, has_payload: bool) -> Body<'r> {
        let event = &record.event;
        let event_type = event.event_type.as_deref();
        Body {
            r#type: message_type(&event.source, event_type),
            timestamp: event.received_at,
            data: Data {
                event_id: key,
                source: &event.source,
                event_type,
                subject: event.subject.as_ref().map(gatehouse_payload::Subject::as_str),
                occurred_at: event.occurred_at,
                received_at: event.received_at,
                answer: event.answer.as_deref().filter(|_| has_payload).map(Json::of),
                parsed: !event.flags.unparsed,
                identity: if event.flags.weak_identity { Identity::Weak } else { Identity::Strong },
                kind: Kind::of(event_type, record.conflict),
                conflict_of: record.conflict.then_some(event.id.as_str()),
                late: is_late,
                payload: if has_payload {
                    Payload::Full(Json::of_body(&event.body))
                } else {
                    Payload::Bytes(event.body.len())
                },
            },
        }
    }

    fn to_bytes(&self) -> Bytes {
        // Only a map with keys that are not text can fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}
