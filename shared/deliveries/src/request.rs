//! The headers of a delivery.

use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::signature::{SigningKey, webhook_headers};

use crate::message::Message;

/// The attempt, as the headers of its request describe it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The number of this attempt, from 1.
    pub number: u32,
    /// The name of the destination.
    pub destination: &'a str,
    /// The time of this attempt.
    pub at: Timestamp,
}

/// Returns the headers of a request, with a Standard Webhooks signature for each key. Each attempt is signed anew.
#[must_use]
pub fn headers(message: &Message, keys: &[SigningKey], attempt: Attempt<'_>) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("user-agent", "Gatehouse".to_owned()),
        ("gatehouse-event-id", message.event_id.clone()),
        ("gatehouse-attempt", attempt.number.to_string()),
        ("gatehouse-destination", attempt.destination.to_owned()),
    ];
    headers.extend(webhook_headers(keys, &message.id, attempt.at, &message.body));
    headers
}
