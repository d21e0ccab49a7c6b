//! Reads new records from the table's stream.

use gatehouse_inbox::store::item::{self, attribute, bytes_of, text_of};
use gatehouse_payload::{EventId, Nonce};
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
    dynamodb: Images,
}

#[derive(Debug, Deserialize)]
struct Images {
    #[serde(rename = "SequenceNumber")]
    sequence: String,
    #[serde(rename = "NewImage", default)]
    new: Value,
}

/// The record of an event, as the stream names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The event's id, which is the record's key.
    pub event_id: EventId,
    /// Tells the record from another one that replaced it after it had expired.
    pub nonce: Nonce,
    /// The vendor's name for the type of the event.
    pub event_type: Option<String>,
}

impl Change {
    /// The sequence number, which identifies the change in a batch response.
    #[must_use]
    pub fn sequence(&self) -> &str {
        &self.dynamodb.sequence
    }

    /// Returns the new record of an event. `None` for every other change: a conflict, a chunk of a payload, a claim, a
    /// tombstone or an expiry.
    ///
    /// The name of the change does not matter: a record that replaces an expired one is a `MODIFY`.
    #[must_use]
    pub fn record(&self) -> Option<Recorded> {
        let item = item::from_json(&self.dynamodb.new)?;
        let is_record = item.contains_key(attribute::FINGERPRINT) && item.contains_key(attribute::RECEIVED_AT);
        if !is_record || item.contains_key(attribute::CONFLICT_OF) {
            return None;
        }
        Some(Recorded {
            event_id: EventId::from_stored(text_of(&item, attribute::EVENT_ID)?.to_owned()),
            nonce: bytes_of(&item, attribute::NONCE).and_then(Nonce::from_bytes)?,
            event_type: text_of(&item, attribute::EVENT_TYPE).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(kind: &str, image: &Value) -> Option<Recorded> {
        let change = json!({"eventName": kind, "dynamodb": {"SequenceNumber": "1", "NewImage": image}});
        serde_json::from_value::<Change>(change).unwrap().record()
    }

    #[test]
    fn new_and_replaced_records_are_found_in_the_stream() {
        let record: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/formats/record-1.json")).unwrap();
        for kind in ["INSERT", "MODIFY"] {
            let found = change(kind, &record).unwrap();
            assert_eq!(found.event_id.as_str(), "ada:msg_format_1");
            assert_eq!(found.event_type.as_deref(), Some("v1.conversation.message"));
        }
    }

    #[test]
    fn other_changes_are_ignored() {
        let record = include_str!("../../../tests/fixtures/formats/record-1.json");
        let mut conflict: Value = serde_json::from_str(record).unwrap();
        conflict["conflict_of"] = json!({"S": "ada:msg_format_1"});
        let tombstone = json!({"event_id": {"S": "ada:msg_1"}, "erased_at": {"S": "2026-11-30T00:00:00.000Z"}});
        let chunk = json!({"event_id": {"S": "chunk:1/0"}, "payload": {"B": "AA=="}});
        for (kind, image) in [("INSERT", conflict), ("MODIFY", tombstone), ("INSERT", chunk), ("REMOVE", Value::Null)] {
            assert_eq!(change(kind, &image), None, "{image}");
        }
    }
}
