//! The SQS adapter, and the envelope an event travels in.

use std::io;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_payload::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::aws::CallLimits;
use crate::event::{Event, EventId, Fingerprint, Nonce};
use crate::store::item::{compress, decompress};

/// What one request may take, its second attempt included.
pub const CALL_LIMIT: Duration = Duration::from_millis(1500);

/// What a dead letter's attributes may add to a message. In bytes; SQS counts them too.
const DEAD_LETTER_BYTES: usize = 1024;

/// The attributes a message carries its history in.
#[allow(missing_docs, reason = "each is a field of DeadLetter")]
pub mod history {
    pub const REASON: &str = "reason";
    pub const FIRST_ERROR: &str = "first_error";
    pub const LAST_ERROR: &str = "last_error";
    pub const FIRST_FAILED_AT: &str = "first_failed_at";
    pub const ATTEMPTS: &str = "attempts";
}
use history::{ATTEMPTS, FIRST_ERROR, FIRST_FAILED_AT, LAST_ERROR, REASON};

/// The envelope this release writes. It reads this one and the one before; 1 is the first.
const FORMAT: u32 = 1;

/// An event on its way: what cannot be read from the body again. The rest is identified anew by whoever records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The event's id.
    pub event_id: EventId,
    /// Whether the id rests on a hash of the message and the hour.
    pub weak_identity: bool,
    /// The nonce of the first attempt, kept through all others.
    pub nonce: Nonce,
    /// What it says.
    pub fingerprint: Fingerprint,
    /// When the front door took it.
    pub received_at: Timestamp,
    /// The scheme that verified it.
    pub verified_by: String,
    /// The body as delivered, after redaction.
    pub body: Bytes,
    /// What its sender has been answered with, where that was decided for this event.
    pub answer: Option<String>,
}

/// The envelope's JSON.
#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    event_id: String,
    /// `weak`, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// Base64.
    nonce: String,
    /// Hexadecimal.
    fingerprint: String,
    received_at: String,
    verified_by: String,
    /// Base64 of zstd.
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// JSON text in ASCII alone: SQS refuses messages with some other characters, which an answer may hold.
fn in_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

/// Why a message is no envelope. Quotes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableEnvelope {
    /// It is not the envelope's JSON.
    #[error("the message is not an envelope")]
    Shape,
    /// A member cannot be decoded.
    #[error("the envelope's member {0} cannot be decoded")]
    Member(&'static str),
    /// Written by a newer release, which will be able to read it.
    #[error("the envelope has format {0}, this release reads up to {FORMAT}")]
    Newer(u32),
}

impl Envelope {
    /// The envelope of `event`.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Envelope {
            event_id: event.id.clone(),
            weak_identity: event.marks.weak_identity,
            nonce: event.nonce,
            fingerprint: event.fingerprint,
            received_at: event.received_at,
            verified_by: event.verified_by.clone(),
            body: event.body.clone(),
            answer: event.answer.clone(),
        }
    }

    /// The message's text.
    ///
    /// # Errors
    /// When there is no memory to compress the body in.
    pub fn to_message(&self) -> io::Result<String> {
        let wire = Wire {
            v: FORMAT,
            event_id: self.event_id.to_string(),
            identity: self.weak_identity.then(|| "weak".to_owned()),
            nonce: BASE64.encode(self.nonce.as_bytes()),
            fingerprint: self.fingerprint.to_string(),
            received_at: self.received_at.to_string(),
            verified_by: self.verified_by.clone(),
            body: BASE64.encode(&compress(&self.body)?),
            answer: self.answer.clone(),
        };
        Ok(in_ascii(&serde_json::to_string(&wire)?))
    }

    /// Reads a message's text.
    ///
    /// # Errors
    /// When it is not one that [`to_message`](Self::to_message) has written.
    pub fn from_message(text: &str) -> Result<Self, UnreadableEnvelope> {
        use UnreadableEnvelope::{Member, Newer, Shape};
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let Version { v } = serde_json::from_str(text).map_err(|_| Shape)?;
        if v > FORMAT {
            return Err(Newer(v));
        }
        let wire: Wire = serde_json::from_str(text).map_err(|_| Shape)?;
        let base64 = |text: &str| BASE64.decode(text.as_bytes()).ok();
        Ok(Envelope {
            event_id: EventId::from_stored(wire.event_id),
            weak_identity: wire.identity.as_deref() == Some("weak"),
            nonce: base64(&wire.nonce).and_then(|bytes| Nonce::from_bytes(&bytes)).ok_or(Member("nonce"))?,
            fingerprint: Fingerprint::from_hex(&wire.fingerprint).ok_or(Member("fingerprint"))?,
            received_at: Timestamp::parse(&wire.received_at).ok_or(Member("received_at"))?,
            verified_by: wire.verified_by,
            body: base64(&wire.body).and_then(|frame| decompress(&frame)).ok_or(Member("body"))?,
            answer: wire.answer,
        })
    }
}

/// Why a queue did not take a message or a change. Safe to log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No queue is configured.
    #[error("no queue is configured")]
    Absent,
    /// The message is larger than the queue takes.
    #[error("the message has {bytes} bytes, the queue takes {limit}")]
    TooLarge {
        /// The message's size.
        bytes: usize,
        /// The queue's limit.
        limit: usize,
    },
    /// SQS refused it or did not answer in time.
    #[error("SQS {operation}: {code}")]
    Failed {
        /// The API operation.
        operation: &'static str,
        /// SQS' error code, or what came instead of an answer.
        code: String,
    },
}

/// Why a message is on the dead-letter queue; travels as message attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// In one word: `unreadable`, `refused`, `unavailable`, `panic`.
    pub reason: &'a str,
    /// The first error, in a sentence without content: why the front door queued it. Absent where nobody said.
    pub first_error: Option<&'a str>,
    /// The last error, likewise.
    pub last_error: &'a str,
    /// When it failed for the first time.
    pub first_failed_at: Timestamp,
    /// How often it was tried, redrives included.
    pub attempts: u32,
}

/// SQS, as far as recording needs it.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
    max_bytes: usize,
}

impl Queues {
    /// Queues that take messages of up to `max_bytes`.
    #[must_use]
    pub fn new(sdk: &SdkConfig, max_bytes: usize) -> Self {
        let limits = CallLimits::within(CALL_LIMIT);
        let config = aws_sdk_sqs::config::Builder::from(sdk)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .build();
        Queues { client: Client::from_conf(config), max_bytes }
    }

    /// The message an envelope travels in.
    ///
    /// # Errors
    /// When it is too large for a queue.
    pub fn message(&self, envelope: &Envelope) -> Result<String, QueueError> {
        let failed = |error: io::Error| QueueError::Failed { operation: "compress", code: error.kind().to_string() };
        let message = envelope.to_message().map_err(failed)?;
        let limit = self.max_bytes - DEAD_LETTER_BYTES;
        if message.len() > limit {
            return Err(QueueError::TooLarge { bytes: message.len(), limit });
        }
        Ok(message)
    }

    /// Puts a message on the queue at `url`. Why it is there, a sentence without content, travels with it.
    ///
    /// # Errors
    /// When SQS did not take it.
    pub async fn send_message(&self, url: &str, message: String, why: &str) -> Result<(), QueueError> {
        let send = self.client.send_message().queue_url(url).message_body(message);
        let send = send.message_attributes(FIRST_ERROR, attribute("String", why)?);
        send.send().await.map(drop).map_err(|error| failure("SendMessage", &error))
    }

    /// Puts a message that cannot be recorded on the dead-letter queue at `url`, as it came.
    ///
    /// # Errors
    /// When SQS did not take it.
    pub async fn send_dead_letter(&self, url: &str, message: &str, letter: &DeadLetter<'_>) -> Result<(), QueueError> {
        let first_error = letter.first_error.map(|error| attribute("String", error)).transpose()?;
        let mut send = self
            .client
            .send_message()
            .queue_url(url)
            .message_body(message)
            .message_attributes(REASON, attribute("String", letter.reason)?)
            .message_attributes(LAST_ERROR, attribute("String", letter.last_error)?)
            .message_attributes(FIRST_FAILED_AT, attribute("String", &letter.first_failed_at.to_string())?)
            .message_attributes(ATTEMPTS, attribute("Number", &letter.attempts.to_string())?);
        if let Some(first_error) = first_error {
            send = send.message_attributes(FIRST_ERROR, first_error);
        }
        send.send().await.map(drop).map_err(|error| failure("SendMessage", &error))
    }

    /// Whether any message is on the queue at `url`: visible, delayed or being taken. SQS' counts may lag by a minute.
    ///
    /// # Errors
    /// When SQS did not answer.
    pub async fn is_anything_on(&self, url: &str) -> Result<bool, QueueError> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible,
        };
        let counts =
            [ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible];
        let get = self.client.get_queue_attributes().queue_url(url).set_attribute_names(Some(counts.to_vec()));
        let got = get.send().await.map_err(|error| failure("GetQueueAttributes", &error))?;
        let count = |name| got.attributes()?.get(name)?.parse::<u64>().ok();
        Ok(counts.iter().any(|name| count(name) != Some(0)))
    }

    /// Hides a received message for `delay` more.
    ///
    /// # Errors
    /// When SQS did not take the change.
    pub async fn hide(&self, url: &str, receipt_handle: &str, delay: Duration) -> Result<(), QueueError> {
        // SQS takes at most twelve hours, in whole seconds.
        let seconds = i32::try_from(delay.as_secs().min(43_200)).unwrap_or(43_200);
        let change = self.client.change_message_visibility().queue_url(url).receipt_handle(receipt_handle);
        let change = change.visibility_timeout(seconds);
        change.send().await.map(drop).map_err(|error| failure("ChangeMessageVisibility", &error))
    }
}

fn attribute(kind: &str, value: &str) -> Result<MessageAttributeValue, QueueError> {
    let attribute = MessageAttributeValue::builder().data_type(kind).string_value(value).build();
    attribute.map_err(|_| QueueError::Failed { operation: "SendMessage", code: "attribute".to_owned() })
}

fn failure<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> QueueError {
    QueueError::Failed { operation, code: crate::aws::code_of(error).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_queued_in_ascii_and_read_back_as_it_was() {
        let envelope = Envelope {
            event_id: EventId::new(&["ada"], &["m"]),
            weak_identity: false,
            nonce: Nonce::from_bytes(&[1; 16]).unwrap(),
            fingerprint: Fingerprint::of("{}"),
            received_at: Timestamp::clamped(0),
            verified_by: "svix".to_owned(),
            body: Bytes::from_static("{\"x\":\"\u{ffff}\"}".as_bytes()),
            answer: None,
        };
        for answer in ["Monday", "\u{ffff}\u{fffe}", "ü 😀 日本 \u{1ffff}", "\"\\\n\u{1}\u{7f}"] {
            let queued = Envelope { answer: Some(answer.to_owned()), ..envelope.clone() };
            let message = queued.to_message().unwrap();
            assert!(message.is_ascii(), "{message}");
            assert_eq!(Envelope::from_message(&message).unwrap(), queued);
        }
    }

    fn envelope() -> Envelope {
        Envelope {
            event_id: EventId::new(&["ada"], &["msg_1"]),
            weak_identity: true,
            nonce: Nonce::random().unwrap(),
            fingerprint: Fingerprint::of("{}"),
            received_at: Timestamp::clamped(1_775_624_410_123),
            verified_by: "svix".to_owned(),
            body: Bytes::from_static(br#"{"type":"v1.conversation.created"}"#),
            answer: Some("{}".to_owned()),
        }
    }

    #[test]
    fn an_envelope_arrives_as_it_was_sent() {
        let envelope = envelope();
        assert_eq!(Envelope::from_message(&envelope.to_message().unwrap()), Ok(envelope));
    }

    #[test]
    fn unreadable_messages_are_told_from_newer_ones_and_never_quoted() {
        use UnreadableEnvelope::{Member, Newer, Shape};
        for text in ["", "secret", "{}", "[]", r#"{"v":1}"#, r#"{"v":"1"}"#] {
            assert_eq!(Envelope::from_message(text), Err(Shape), "{text}");
        }
        assert_eq!(Envelope::from_message(r#"{"v":2,"sealed":"x"}"#), Err(Newer(2)));
        let broken = |from: &str, to: &str| Envelope::from_message(&envelope().to_message().unwrap().replace(from, to));
        assert_eq!(broken(r#""nonce":""#, r#""nonce":"!"#), Err(Member("nonce")));
        assert_eq!(broken(r#""body":""#, r#""body":"AAAA"#), Err(Member("body")));
    }
}
