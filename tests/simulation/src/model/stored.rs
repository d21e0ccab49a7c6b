//! Reads what is stored: items of the table, and messages of the queues.

use data_encoding::{BASE64, HEXLOWER};
use gatehouse_memory::dynamodb::Item;
use gatehouse_payload::time::Timestamp;
use gatehouse_vendors::SOURCES;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Model, Violated};
use crate::fleet::MAX_SKEW;
use crate::network::Caller;
use crate::plan::{TTL_DAYS, Variant};
use crate::senders;

/// What follows from the body of an event: it is the same in all of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Derived {
    event_type: Option<String>,
    /// `None` if the body does not say it.
    occurred_at: Option<String>,
    fingerprint: Option<String>,
    is_weak: bool,
    is_parsed: bool,
    verified_by: Option<String>,
}

impl Derived {
    /// Reads the derived attributes of an item.
    pub(super) fn of(item: &Item) -> Derived {
        let text = |name: &str| item.get(name).and_then(|value| value["S"].as_str()).map(str::to_owned);
        Derived {
            event_type: text("event_type"),
            occurred_at: text("occurred_at").filter(|_| !item.contains_key("occurred_at_from")),
            fingerprint: item.get("fingerprint").map(Value::to_string),
            is_weak: item.contains_key("identity"),
            is_parsed: !item.contains_key("parsed"),
            verified_by: text("verified_by"),
        }
    }
}

/// The largest difference between the expiry of an item and the documented one, in seconds.
const EXPIRY_TOLERANCE: i64 = 900;

/// What an item holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Record {
        id: String,
        content: String,
        subject: Option<String>,
        expires_at: i64,
        is_copy: bool,
        writer: Caller,
        attempt: Box<Attempt>,
    },
    Tombstone {
        subject_hash: String,
        expires_at: i64,
    },
}

/// What a record and its message say about the attempt to record an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Base64.
    pub(super) nonce: String,
    pub(super) received_at: String,
    pub(super) verified_by: String,
    pub(super) answer: Option<String>,
    pub(super) asked: Option<String>,
    /// Hexadecimal.
    pub(super) fingerprint: String,
    pub(super) is_weak: bool,
}

impl Entry {
    pub(super) fn expires_at(&self) -> i64 {
        match self {
            Entry::Record { expires_at, .. } | Entry::Tombstone { expires_at, .. } => *expires_at,
        }
    }

    /// Whether any instance may regard the entry as expired. Clocks differ.
    pub(super) fn may_be_expired(&self, now: i64) -> bool {
        self.expires_at() * 1000 < now + MAX_SKEW
    }
}

/// An event on a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueuedMessage {
    /// The event id; `None` for a message that is not an event.
    pub(super) id: Option<String>,
    /// The short name of the body; the whole text of a message that is not an event.
    pub(super) content: String,
    pub(super) attempt: Attempt,
    /// When it was sent, in milliseconds since 1970.
    pub(super) sent_at: i64,
}

impl Model {
    /// Reads a record, a copy or a tombstone, and checks its content.
    pub(super) fn entry(&self, key: &str, item: &Item, writer: Caller, now: i64) -> Result<Entry, Violated> {
        let text = |name: &str| item.get(name).and_then(|value| value["S"].as_str());
        let expires_at = check_expiry(key, item, now)?;
        if item.contains_key("erased_at") {
            let subject_hash = text("erased_subject").unwrap_or_default().to_owned();
            return Ok(Entry::Tombstone { subject_hash, expires_at });
        }
        let id = text("conflict_of").unwrap_or(key).to_owned();
        let Some(payload) = self.payload(item) else { return Err(("I1", format!("{key} has no readable payload"))) };
        let content = self.content(&id, &payload)?;
        let attempt = Attempt {
            nonce: item.get("nonce").and_then(|nonce| nonce["B"].as_str()).unwrap_or_default().to_owned(),
            received_at: text("received_at").unwrap_or_default().to_owned(),
            verified_by: text("verified_by").unwrap_or_default().to_owned(),
            answer: text("answer").map(str::to_owned),
            asked: text("asked").map(str::to_owned),
            fingerprint: item
                .get("fingerprint")
                .and_then(|fingerprint| BASE64.decode(fingerprint["B"].as_str()?.as_bytes()).ok())
                .map(|bytes| HEXLOWER.encode(&bytes))
                .unwrap_or_default(),
            is_weak: item.contains_key("identity"),
        };
        let subject = text("subject").map(str::to_owned);
        let event = event_of(&content);
        let (vendor, expected) = match event {
            Some(event) => (SOURCES[self.plan.events[event].source].profile().vendor, self.subject(event)),
            None => ("chat", self.chat.subject(&content)),
        };
        let hour = attempt.received_at.get(..13).map(|hour| format!("{vendor}/{hour}"));
        if subject != expected || text("source_hour") != hour.as_deref() {
            return Err(("I1", format!("{key} is not in the indexes where it belongs")));
        }
        if let Some(event) = event {
            let received_at = Timestamp::parse(&attempt.received_at).map_or(0, Timestamp::as_millis);
            let sent_at = self.sent_at.get(&event).copied().unwrap_or(i64::MAX);
            if received_at < sent_at - MAX_SKEW || received_at > now + MAX_SKEW {
                return Err(("I1", format!("{key} was received at {}, sent at {sent_at}", attempt.received_at)));
            }
            let spec = self.plan.events[event];
            if spec.has_action() && attempt.is_weak != spec.is_undated {
                return Err(("I6", format!("{key} has the wrong strength of identity")));
            }
            // A pause may take the time in which the rules decide.
            if self.is_question(&id) && attempt.answer.is_none() && !self.plan.pauses() {
                return Err(("I6", format!("{key} has no answer for its copies")));
            }
        }
        let is_copy = text("conflict_of").is_some();
        Ok(Entry::Record { id, content, subject, expires_at, is_copy, writer, attempt: Box::new(attempt) })
    }

    fn payload(&self, item: &Item) -> Option<Vec<u8>> {
        if let Some(count) = item.get("chunks") {
            let nonce = BASE64.decode(item.get("nonce")?["B"].as_str()?.as_bytes()).ok()?;
            let count: usize = count["N"].as_str()?.parse().ok()?;
            let key = |n| format!("chunk:{}/{n}", HEXLOWER.encode(&nonce));
            let parts: Option<Vec<&Vec<u8>>> = (0..count).map(|n| self.chunks.get(&key(n))).collect();
            return zstd::decode_all(&*parts?.into_iter().flatten().copied().collect::<Vec<u8>>()).ok();
        }
        let payload = item.get("payload")?;
        match payload["S"].as_str() {
            Some(text) => Some(text.as_bytes().to_vec()),
            None => zstd::decode_all(&*BASE64.decode(payload["B"].as_str()?.as_bytes()).ok()?).ok(),
        }
    }

    /// Returns the short name of a body: its marker, or that of a chat turn. The body must be one that was sent.
    pub(super) fn content(&self, id: &str, payload: &[u8]) -> Result<String, Violated> {
        if id.starts_with("chat:") {
            return self.chat.turn_content(id, payload);
        }
        let stored: Value = serde_json::from_slice(payload).unwrap_or_default();
        let marker = stored["marker"].as_str().or_else(|| stored["message"]["marker"].as_str()).unwrap_or_default();
        let mut parts = marker.split('-');
        let (kind, event) = (parts.next(), parts.next().and_then(|event| event.parse::<usize>().ok()));
        let variant = if parts.next() == Some("Other") { Variant::Other } else { Variant::Original };
        let spec = event.and_then(|event| self.plan.events.get(event));
        let (Some("PRIVATE"), Some(spec), Some(event)) = (kind, spec, event) else {
            return Err(("I3", format!("{id} has a body that no vendor has signed")));
        };
        let mut expected: Value =
            serde_json::from_str(&senders::body(self.plan.seed, *spec, event, variant, false)).unwrap_or_default();
        if let Some(url) = expected.pointer_mut("/message/call/monitor/controlUrl") {
            *url = "[redacted]".into();
        }
        if stored == expected { Ok(marker.to_owned()) } else { Err(("I3", format!("the body of {id} was changed"))) }
    }

    /// Reads a message.
    pub(super) fn message(&self, body: &str, sent_at: i64) -> Result<QueuedMessage, Violated> {
        let envelope: Value = serde_json::from_str(body).unwrap_or_default();
        let frame = envelope["body"].as_str().and_then(|body| BASE64.decode(body.as_bytes()).ok());
        let payload = frame.and_then(|frame| zstd::decode_all(&*frame).ok());
        match (envelope["event_id"].as_str(), payload) {
            (Some(id), Some(payload)) => {
                let text = |name: &str| envelope[name].as_str().map(str::to_owned);
                let attempt = Attempt {
                    nonce: text("nonce").unwrap_or_default(),
                    received_at: text("received_at").unwrap_or_default(),
                    verified_by: text("verified_by").unwrap_or_default(),
                    answer: text("answer"),
                    asked: text("asked"),
                    fingerprint: text("fingerprint").unwrap_or_default(),
                    is_weak: envelope["identity"] == "weak",
                };
                Ok(QueuedMessage { id: Some(id.to_owned()), content: self.content(id, &payload)?, attempt, sent_at })
            }
            _ => Ok(QueuedMessage { id: None, content: body.to_owned(), attempt: Attempt::default(), sent_at }),
        }
    }
}

/// Checks that an item expires as documented. Returns its expiry, in seconds since 1970.
pub(super) fn check_expiry(key: &str, item: &Item, now: i64) -> Result<i64, Violated> {
    let expires_at = item.get("expires_at").and_then(|value| value["N"].as_str()?.parse::<i64>().ok());
    let Some(expires_at) = expires_at else { return Err(("I9", format!("{key} never expires"))) };
    if (expires_at - now / 1000 - i64::from(TTL_DAYS) * 86_400).abs() > EXPIRY_TOLERANCE {
        return Err(("I9", format!("{key} expires at {expires_at}, written at {}", now / 1000)));
    }
    Ok(expires_at)
}

/// Returns the hash under which the list of erased subjects has a subject.
pub(super) fn hash(subject: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(subject)[..16])
}

/// Returns the event of a content.
pub(super) fn event_of(content: &str) -> Option<usize> {
    content.strip_prefix("PRIVATE-")?.split('-').next()?.parse().ok()
}
