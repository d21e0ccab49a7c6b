//! agntix' session webhooks, as described at <https://docs.agntix.ai/webhooks/events>.
//!
//! Two members are easily misread. The event's name is in `eventType`, while `type` is the kind of session. `id` is the
//! session's id, which is the same in `session.created` and `session.ended`.
//!
//! Another envelope was used before June 2026 and is announced for other events: `{"id": "evt_…", "type":
//! "session.ended", "createdAt": …, "data": {"sessionId": …}}`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use gatehouse_payload::json::{self, Document, Readable};
use gatehouse_payload::time::Timestamp;

/// Both envelopes in one type: the current flat one and the one with `data`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope<'a> {
    /// The session's id if `eventType` names the event; otherwise the event's id.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ended_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow, default)]
    session_id: Option<&'a RawValue>,
}

/// The event types that agntix delivers. Announced and unknown types become [`Other`](Self::Other).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventType {
    /// `session.created`, or `session.started` in the older envelope.
    SessionCreated,
    /// `session.ended`
    SessionEnded,
    /// Any other type, unchanged.
    Other(String),
}

impl From<&str> for EventType {
    fn from(name: &str) -> Self {
        match name {
            "session.created" | "session.started" => EventType::SessionCreated,
            "session.ended" => EventType::SessionEnded,
            other => EventType::Other(other.to_owned()),
        }
    }
}

/// The part of the envelope's text that [`Envelope`] can read.
#[must_use]
pub fn readable<'a>(document: &'a Document<'_>) -> Readable<'a> {
    let names = ["id", "eventType", "type", "createdAt", "endedAt", "data"];
    Readable::of(document.text(), &names, |text| serde_json::from_str::<Envelope<'_>>(text).is_ok())
}

impl<'a> Envelope<'a> {
    /// Reads the envelope.
    #[must_use]
    pub fn of(readable: &'a Readable<'_>) -> Self {
        serde_json::from_str(readable.text()).unwrap_or_default()
    }

    /// The event's name: `eventType`, otherwise `type` if that is an event's name and not `VOICE` or `CHAT`.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        let named = self.event_type.as_deref().filter(|name| !name.is_empty());
        named.or_else(|| self.kind.as_deref().filter(|kind| is_event_name(kind)))
    }

    /// The event type and the session's id, for events that these two identify: `session.created` and `session.ended`
    /// occur once for each session.
    #[must_use]
    pub fn once_per_session(&self) -> Option<(&str, &str)> {
        let name = self.event_type.as_deref().filter(|name| matches!(*name, "session.created" | "session.ended"))?;
        Some((name, self.id.as_deref().filter(|id| !id.is_empty())?))
    }

    /// The id of the session that the event is about.
    #[must_use]
    pub fn session_id(&self) -> Option<Cow<'_, str>> {
        let flat = || {
            let name = self.event_type.as_deref()?;
            let id = self.id.as_deref().filter(|id| name.starts_with("session.") && !id.is_empty())?;
            Some(Cow::Borrowed(id))
        };
        json::id(self.data.as_ref().and_then(|data| data.session_id)).or_else(flat)
    }

    /// The time of the event: `endedAt` for the end of a session in the flat envelope, otherwise `createdAt`.
    ///
    /// The flat end of a session never falls back to `createdAt`, which is the session's start there.
    #[must_use]
    pub fn occurred_at(&self) -> Option<Timestamp> {
        let flat_end = self.event_type.as_deref() == Some("session.ended");
        let moment = if flat_end { self.ended_at } else { self.created_at };
        Timestamp::from_json(moment?)
    }
}

/// Whether `name` has the form of an event type: lower-case words separated by dots.
#[must_use]
pub fn is_event_name(name: &str) -> bool {
    let mut parts = name.split('.');
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    parts.clone().count() > 1 && parts.all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(body: &str, check: impl FnOnce(Envelope<'_>) -> T) -> T {
        check(Envelope::of(&readable(&Document::read(body.as_bytes()).unwrap())))
    }

    #[test]
    fn event_type_takes_precedence_over_the_kind_of_session() {
        let name = |body: &str| read(body, |e| e.event_type().map(str::to_owned));
        assert_eq!(name(r#"{"eventType":"session.ended","type":"VOICE"}"#).as_deref(), Some("session.ended"));
        assert_eq!(name(r#"{"type":"VOICE"}"#), None);
        assert_eq!(name(r#"{"type":"message.added"}"#).as_deref(), Some("message.added"));
        assert_eq!(
            name(r#"{"eventType":"","type":"knowledge_store.updated"}"#).as_deref(),
            Some("knowledge_store.updated")
        );
        for kind in ["CHAT", "session", ".", "session.", "Session.Ended", ""] {
            assert_eq!(name(&format!(r#"{{"type":"{kind}"}}"#)), None, "{kind}");
        }
    }

    #[test]
    fn only_flat_session_events_are_identified_by_session() {
        let identified = |body: &str| read(body, |e| e.once_per_session().is_some());
        assert!(identified(r#"{"id":"s","eventType":"session.created"}"#));
        assert!(identified(r#"{"id":"s","eventType":"session.ended"}"#));
        assert!(!identified(r#"{"id":"","eventType":"session.ended"}"#));
        assert!(!identified(r#"{"id":"s","eventType":"session.updated"}"#));
        assert!(!identified(r#"{"id":"evt_1","type":"session.ended","data":{"sessionId":"s"}}"#));
    }

    #[test]
    fn session_id_is_found_in_both_envelopes() {
        let session = |body: &str| read(body, |e| e.session_id().map(Cow::into_owned));
        assert_eq!(session(r#"{"id":"s","eventType":"session.updated"}"#).as_deref(), Some("s"));
        assert_eq!(session(r#"{"id":"evt_1","type":"message.added","data":{"sessionId":"s"}}"#).as_deref(), Some("s"));
        assert_eq!(session(r#"{"id":"evt_1","type":"usage.updated","data":{}}"#), None);
        assert_eq!(session(r#"{"id":"x","eventType":"chat.ended"}"#), None);
    }

    #[test]
    fn invalid_member_does_not_hide_the_others() {
        let body = r#"{"id":"s","eventType":"session.ended","type":1,"data":[],"endedAt":"2026-04-08T05:00:10.546Z"}"#;
        assert!(read(body, |e| e.once_per_session().is_some() && e.occurred_at().is_some()));
    }

    #[test]
    fn time_of_session_end_is_never_the_session_start() {
        let at = |body: &str| read(body, |e| e.occurred_at().map(|t| t.to_string()));
        let (start, end) = ("2026-04-08T05:00:01.130Z", "2026-04-08T05:00:10.546Z");
        let body = |rest: &str| format!(r#"{{"eventType":"session.ended","createdAt":"{start}"{rest}}}"#);
        assert_eq!(at(&body(&format!(r#","endedAt":"{end}""#))).as_deref(), Some(end));
        assert_eq!(at(&body("")), None);
        assert_eq!(at(&format!(r#"{{"eventType":"session.created","createdAt":"{start}"}}"#)).as_deref(), Some(start));
        assert_eq!(at(&format!(r#"{{"type":"session.ended","createdAt":"{end}","data":{{}}}}"#)).as_deref(), Some(end));
    }
}
