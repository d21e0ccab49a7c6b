//! A question to a service: a vendor's message, and the headers that identify, limit and sign it.

use bytes::Bytes;
use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::signature::{self, SigningKey, webhook_headers};
use tokio::time::Instant;

/// A question to a service.
#[derive(Debug, Clone)]
pub struct Question {
    /// The id for `webhook-id` and `idempotency-key`: the same whenever the question is asked. See [`message_id`].
    pub message_id: String,
    /// The event's id.
    pub event_id: String,
    /// The type of the message, such as `tool-calls`.
    pub kind: String,
    /// The body, which is a JSON object.
    pub body: Bytes,
    /// The time at which the answer is too late.
    pub until: Instant,
}

/// Returns the id of the question about an event: the [id of its message](signature::message_id). If several services
/// are asked, `:` and the service's name follow.
#[must_use]
pub fn message_id(event_id: &str, service: Option<&str>) -> String {
    let id = signature::message_id(event_id);
    service.map_or_else(|| id.clone(), |service| format!("{id}:{service}"))
}

impl Question {
    /// Returns the time that is left to answer, in milliseconds.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let left = self.until.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the headers, with a [Standard Webhooks](https://www.standardwebhooks.com) signature for each key.
    pub(crate) fn headers(&self, keys: &[SigningKey], now: Timestamp) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", "Gatehouse".to_owned()),
            ("idempotency-key", self.message_id.clone()),
            ("gatehouse-event-id", self.event_id.clone()),
            ("gatehouse-deadline-ms", self.deadline_ms().to_string()),
        ];
        headers.extend(webhook_headers(keys, &self.message_id, now, &self.body));
        headers
    }
}
