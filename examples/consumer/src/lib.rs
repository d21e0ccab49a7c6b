//! Reads new records from the table's stream.

use gatehouse_inbox::store::item::{self, Item, attribute};
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

impl Change {
    /// The sequence number, which identifies the change in a batch response.
    #[must_use]
    pub fn sequence(&self) -> &str {
        &self.dynamodb.sequence
    }

    /// Returns the item of a new event. `None` for every other change: a conflict, a chunk of a payload, a lock, a
    /// tombstone or an expiry.
    #[must_use]
    pub fn new_record(&self) -> Option<Item> {
        let item = item::from_json(&self.dynamodb.new).filter(|_| self.kind == "INSERT")?;
        let is_record = item.contains_key(attribute::FINGERPRINT) && item.contains_key(attribute::RECEIVED_AT);
        (is_record && !item.contains_key(attribute::CONFLICT_OF)).then_some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_new_events_are_decoded_from_the_stream() {
        let record: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/formats/record-1.json")).unwrap();
        let change = |kind: &str, image: Value| -> Option<Item> {
            let change = serde_json::json!({"eventName": kind, "dynamodb": {"SequenceNumber": "1", "NewImage": image}});
            serde_json::from_value::<Change>(change).unwrap().new_record()
        };
        let head = change("INSERT", record.clone()).unwrap();
        let event = item::decode(&head, &BTreeMap::new()).unwrap().event;
        assert_eq!(
            (event.id.as_str(), event.event_type.as_deref()),
            ("ada:msg_format_1", Some("v1.conversation.message"))
        );
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(body["data"]["conversation_id"], "format-1");
        assert_eq!(change("REMOVE", record.clone()), None);
        assert_eq!(
            change("INSERT", serde_json::json!({"event_id": {"S": "chunk:1/0"}, "payload": {"B": "AA=="}})),
            None
        );
        let mut conflict = record;
        conflict["conflict_of"] = serde_json::json!({"S": "ada:msg_format_1"});
        assert_eq!(change("INSERT", conflict), None);
    }
}
