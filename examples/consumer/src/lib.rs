//! Decodes new events from the table's stream.

use std::io;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value;

/// A batch of the stream (event source mapping, `NEW_IMAGE`).
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// Changes to the table, in order for each key.
    #[serde(rename = "Records")]
    pub changes: Vec<Change>,
}

/// A change to the table.
#[derive(Debug, Deserialize)]
pub struct Change {
    #[serde(rename = "eventName")]
    kind: String,
    dynamodb: Images,
}

#[derive(Debug, Deserialize)]
struct Images {
    #[serde(rename = "SequenceNumber")]
    sequence: String,
    #[serde(rename = "NewImage", default)]
    new: Value,
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event id, which is the same for every delivery of the event.
    pub id: String,
    /// The vendor's name of the event type.
    pub event_type: String,
    /// The stored body, or `None` if it is stored in `chunk:…` items (docs/table.md).
    pub payload: Option<Vec<u8>>,
}

impl Change {
    /// The sequence number, which identifies the change in a batch response.
    #[must_use]
    pub fn sequence(&self) -> &str {
        &self.dynamodb.sequence
    }

    /// Decodes the event. Returns `None` if the change is not a new event but, for example, a conflict or an expiry.
    ///
    /// # Errors
    /// Fails if the payload cannot be decoded.
    pub fn event(&self) -> io::Result<Option<Event>> {
        let text = |name: &str| self.dynamodb.new[name]["S"].as_str().map(str::to_owned);
        let is_new = self.kind == "INSERT" && self.dynamodb.new["conflict_of"].is_null();
        let (Some(id), Some(event_type), true) = (text("event_id"), text("event_type"), is_new) else {
            return Ok(None);
        };
        let payload = match &self.dynamodb.new["payload"] {
            Value::Object(payload) if payload.contains_key("B") => {
                let zstd =
                    BASE64.decode(payload["B"].as_str().unwrap_or_default().as_bytes()).map_err(io::Error::other)?;
                Some(zstd::decode_all(zstd.as_slice())?)
            }
            payload => payload["S"].as_str().map(|text| text.as_bytes().to_vec()),
        };
        Ok(Some(Event { id, event_type, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_events_are_decoded_from_the_stream() {
        let record: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/formats/record-1.json")).unwrap();
        let change = |kind: &str, image: Value| -> Option<Event> {
            let change = serde_json::json!({"eventName": kind, "dynamodb": {"SequenceNumber": "1", "NewImage": image}});
            serde_json::from_value::<Change>(change).unwrap().event().unwrap()
        };
        let event = change("INSERT", record.clone()).unwrap();
        assert_eq!((event.id.as_str(), event.event_type.as_str()), ("ada:msg_format_1", "v1.conversation.message"));
        let body: Value = serde_json::from_slice(&event.payload.unwrap()).unwrap();
        assert_eq!(body["data"]["conversation_id"], "format-1");
        assert_eq!(change("REMOVE", record.clone()), None);
        assert_eq!(change("INSERT", serde_json::json!({"event_id": {"S": "chunk:1/0"}})), None);
        let mut conflict = record;
        conflict["conflict_of"] = serde_json::json!({"S": "ada:msg_format_1"});
        assert_eq!(change("INSERT", conflict), None);
    }
}
