//! Ada's webhooks, as described at <https://docs.ada.cx/reference/webhooks/overview> and in Ada's OpenAPI document.
//!
//! Ada may add members, enum values and event types without a new version, so all types are open.

use std::borrow::Cow;

use gatehouse_payload::json::{self, Document, Readable};
use gatehouse_payload::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The envelope of every delivery: `{"type": …, "timestamp": …, "data": {…}}`. It contains no event id.
#[derive(Debug, Default, Deserialize)]
pub struct Envelope<'a> {
    /// The event type, such as `v1.conversation.message`; the version is its prefix.
    #[serde(borrow, rename = "type", default)]
    pub event_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    /// The ids of the subject.
    #[serde(borrow, default)]
    pub data: Option<Data<'a>>,
}

/// The members of `data` that identify the subject of an event. Some event types have neither.
#[derive(Debug, Deserialize)]
pub struct Data<'a> {
    #[serde(borrow, default)]
    conversation_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    end_user_id: Option<&'a RawValue>,
}

impl<'a> Data<'a> {
    /// The conversation's id, 24 hex digits without a prefix. Present in the four conversation events.
    #[must_use]
    pub fn conversation_id(&self) -> Option<Cow<'a, str>> {
        json::id(self.conversation_id)
    }

    /// The end user's id. Present in the conversation events and the end-user events.
    #[must_use]
    pub fn end_user_id(&self) -> Option<Cow<'a, str>> {
        json::id(self.end_user_id)
    }
}

/// The event types that Ada documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventType {
    /// `v1.conversation.created`
    ConversationCreated,
    /// `v1.conversation.message`
    ConversationMessage,
    /// `v1.conversation.ended`
    ConversationEnded,
    /// `v1.conversation.handoff.ended`
    ConversationHandoffEnded,
    /// `v1.end_user.created`
    EndUserCreated,
    /// `v1.end_user.updated`
    EndUserUpdated,
    /// `v1.audit_log.emitted`
    AuditLogEmitted,
    /// Any other type, unchanged.
    Other(String),
}

impl From<&str> for EventType {
    fn from(name: &str) -> Self {
        match name {
            "v1.conversation.created" => EventType::ConversationCreated,
            "v1.conversation.message" => EventType::ConversationMessage,
            "v1.conversation.ended" => EventType::ConversationEnded,
            "v1.conversation.handoff.ended" => EventType::ConversationHandoffEnded,
            "v1.end_user.created" => EventType::EndUserCreated,
            "v1.end_user.updated" => EventType::EndUserUpdated,
            "v1.audit_log.emitted" => EventType::AuditLogEmitted,
            other => EventType::Other(other.to_owned()),
        }
    }
}

/// The part of the envelope's text that [`Envelope`] can read.
#[must_use]
pub fn readable<'a>(document: &'a Document<'_>) -> Readable<'a> {
    Readable::of(document.text(), &["type", "timestamp", "data"], |text| {
        serde_json::from_str::<Envelope<'_>>(text).is_ok()
    })
}

impl<'a> Envelope<'a> {
    /// Reads the envelope.
    #[must_use]
    pub fn of(readable: &'a Readable<'_>) -> Self {
        serde_json::from_str(readable.text()).unwrap_or_default()
    }

    /// The time of the event: the envelope's `timestamp`, which is UTC if it has no offset.
    #[must_use]
    pub fn occurred_at(&self) -> Option<Timestamp> {
        Timestamp::from_json(self.timestamp?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, check: impl FnOnce(Envelope<'_>, bool)) {
        let document = Document::read(body.as_bytes()).unwrap();
        let readable = readable(&document);
        check(Envelope::of(&readable), readable.is_complete());
    }

    #[test]
    fn unknown_members_and_types_are_accepted() {
        let body = r#"{"new":{"x":[1]},"type":"v2.conversation.paused","timestamp":"2024-01-17T22:23:35.835",
            "data":{"conversation_id":"5df2","author":"\ud800","content":7}}"#;
        read(body, |envelope, is_complete| {
            assert!(is_complete);
            assert_eq!(EventType::from("v2.conversation.paused"), EventType::Other("v2.conversation.paused".into()));
            assert_eq!(envelope.occurred_at(), Timestamp::parse("2024-01-17T22:23:35.835Z"));
            assert_eq!(envelope.data.unwrap().conversation_id().unwrap(), "5df2");
        });
    }

    #[test]
    fn null_and_empty_ids_are_absent() {
        read(
            r#"{"type":null,"timestamp":null,"data":{"conversation_id":null,"end_user_id":""}}"#,
            |envelope, is_complete| {
                assert!(is_complete && envelope.event_type.is_none() && envelope.occurred_at().is_none());
                let data = envelope.data.unwrap();
                assert!(data.conversation_id().is_none() && data.end_user_id().is_none());
            },
        );
    }

    #[test]
    fn invalid_or_repeated_id_does_not_hide_other_members() {
        read(r#"{"type":7,"data":{"conversation_id":"c","end_user_id":7}}"#, |envelope, is_complete| {
            assert!(!is_complete && envelope.event_type.is_none());
            assert_eq!(envelope.data.unwrap().conversation_id().unwrap(), "c");
        });
        read(r#"{"data":{},"data":{},"type":"t"}"#, |envelope, is_complete| {
            assert!(!is_complete && envelope.data.is_none() && envelope.event_type.is_some());
        });
        read(r#"{"data":"5df2"}"#, |envelope, is_complete| assert!(!is_complete && envelope.data.is_none()));
    }
}
