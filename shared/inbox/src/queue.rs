//! The SQS adapter, and the envelope in which an event is queued.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use data_encoding::BASE64;
use gatehouse_payload::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::item::{compress, decompress};
use gatehouse_payload::event::{EventId, Fingerprint, Nonce, Received};
use gatehouse_runtime::aws::CallLimits;

/// Time limit of one request, including its second attempt.
pub const CALL_LIMIT: Duration = Duration::from_millis(1500);

/// Bytes that a message leaves free for the attributes of a dead letter. SQS counts them as part of the message.
const DEAD_LETTER_BYTES: usize = 1024;

/// Message attributes with the history of a queued event.
#[allow(missing_docs, reason = "each is a field of DeadLetter")]
pub mod history {
    pub const REASON: &str = "reason";
    pub const FIRST_ERROR: &str = "first_error";
    pub const LAST_ERROR: &str = "last_error";
    pub const FIRST_FAILED_AT: &str = "first_failed_at";
    pub const ATTEMPTS: &str = "attempts";
}
use history::{ATTEMPTS, FIRST_ERROR, FIRST_FAILED_AT, LAST_ERROR, REASON};

/// The envelope format that this release writes. A release reads its own format and the previous one; 1 is the first.
const FORMAT: u32 = 1;

/// The JSON of a message.
#[derive(Serialize, Deserialize)]
struct Envelope {
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
    /// Base64 of a zstd frame.
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// The services that were asked, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
}

/// Whether SQS refuses a message with this character. XML, the format of its first protocol, cannot represent it.
#[must_use]
pub fn is_refused(c: char) -> bool {
    c < ' ' && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Escapes the characters of a JSON text that SQS refuses. They can only be in its strings.
#[must_use]
pub fn escape_refused(json: &str) -> Cow<'_, str> {
    if !json.contains(is_refused) {
        return Cow::Borrowed(json);
    }
    let escaped = |c: char| if is_refused(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(json.chars().map(escaped).collect())
}

/// Why a message cannot be read as an envelope. Quotes no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableEnvelope {
    /// The message is not the envelope's JSON.
    #[error("the message is not an envelope")]
    Shape,
    /// A member cannot be decoded.
    #[error("the envelope's member {0} cannot be decoded")]
    Member(&'static str),
    /// A newer release wrote the message. This release cannot read it.
    #[error("the envelope has format {0}, this release reads up to {FORMAT}")]
    Newer(u32),
}

/// Returns the text of the message that contains `received`.
///
/// # Errors
/// If there is not enough memory to compress the body.
pub fn to_message(received: &Received) -> io::Result<String> {
    let envelope = Envelope {
        v: FORMAT,
        event_id: received.id.to_string(),
        identity: received.weak_identity.then(|| "weak".to_owned()),
        nonce: BASE64.encode(received.nonce.as_bytes()),
        fingerprint: received.fingerprint.to_string(),
        received_at: received.received_at.to_string(),
        verified_by: received.verified_by.clone(),
        body: BASE64.encode(&compress(&received.body)?),
        answer: received.answer.clone(),
        asked: received.asked.clone(),
    };
    Ok(escape_refused(&serde_json::to_string(&envelope)?).into_owned())
}

/// Reads the text of a message.
///
/// # Errors
/// If it was not written by [`to_message`] of this release or the previous one.
pub fn from_message(text: &str) -> Result<Received, UnreadableEnvelope> {
    use UnreadableEnvelope::{Member, Newer, Shape};
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Version { v } = serde_json::from_str(text).map_err(|_| Shape)?;
    if v > FORMAT {
        return Err(Newer(v));
    }
    let envelope: Envelope = serde_json::from_str(text).map_err(|_| Shape)?;
    let base64 = |text: &str| BASE64.decode(text.as_bytes()).ok();
    Ok(Received {
        id: EventId::from_stored(envelope.event_id),
        weak_identity: envelope.identity.as_deref() == Some("weak"),
        nonce: base64(&envelope.nonce).and_then(|bytes| Nonce::from_bytes(&bytes)).ok_or(Member("nonce"))?,
        fingerprint: Fingerprint::from_hex(&envelope.fingerprint).ok_or(Member("fingerprint"))?,
        received_at: Timestamp::parse(&envelope.received_at).ok_or(Member("received_at"))?,
        verified_by: envelope.verified_by,
        body: base64(&envelope.body).and_then(|frame| decompress(&frame)).ok_or(Member("body"))?,
        answer: envelope.answer,
        asked: envelope.asked,
    })
}

/// Why an SQS request failed. Safe to log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No queue is configured.
    #[error("no queue is configured")]
    Absent,
    /// The message is larger than the queue accepts.
    #[error("the message has {bytes} bytes, but the queue accepts at most {limit}")]
    TooLarge {
        /// The message's size.
        bytes: usize,
        /// The queue's limit.
        limit: usize,
    },
    /// SQS rejected the request or did not respond in time.
    #[error("SQS {operation}: {code}")]
    Failed {
        /// The API operation.
        operation: &'static str,
        /// SQS' error code, or a few words if there was no response.
        code: String,
    },
}

/// Why a message is on the dead-letter queue. Sent as message attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The reason in one word: `unreadable`, `refused`, `unavailable`, `panic`.
    pub reason: &'a str,
    /// Why the receiver queued the event, in a sentence without content; absent if unknown.
    pub first_error: Option<&'a str>,
    /// The last error, in a sentence without content.
    pub last_error: &'a str,
    /// The time of the first failure.
    pub first_failed_at: Timestamp,
    /// The number of attempts, including those before a redrive.
    pub attempts: u32,
}

/// A client for the SQS operations that recording needs.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
    max_bytes: usize,
}

impl Queues {
    /// Creates a client for queues that accept messages of up to `max_bytes`.
    #[must_use]
    pub fn new(sdk: &SdkConfig, max_bytes: usize) -> Self {
        let limits = CallLimits::within(CALL_LIMIT);
        let config = aws_sdk_sqs::config::Builder::from(sdk)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .build();
        Queues { client: Client::from_conf(config), max_bytes }
    }

    /// Returns the text of the message that contains `received`.
    ///
    /// # Errors
    /// If it is too large for a queue, or there is not enough memory to compress the body.
    pub fn message(&self, received: &Received) -> Result<String, QueueError> {
        let failed = |error: io::Error| QueueError::Failed { operation: "compress", code: error.kind().to_string() };
        let message = to_message(received).map_err(failed)?;
        let limit = self.max_bytes - DEAD_LETTER_BYTES;
        if message.len() > limit {
            return Err(QueueError::TooLarge { bytes: message.len(), limit });
        }
        Ok(message)
    }

    /// Sends a message to the queue at `url`. `first_error`, a sentence without content, says why the event is queued.
    ///
    /// # Errors
    /// If SQS did not accept it.
    pub async fn send_message(&self, url: &str, message: String, first_error: &str) -> Result<(), QueueError> {
        let send = self.client.send_message().queue_url(url).message_body(message);
        let send = send.message_attributes(FIRST_ERROR, attribute("String", first_error)?);
        send.send().await.map(drop).map_err(|error| failure("SendMessage", &error))
    }

    /// Sends a message that cannot be recorded, unchanged, to the dead-letter queue at `url`.
    ///
    /// # Errors
    /// If SQS did not accept it.
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

    /// Whether the queue at `url` has any message: visible, delayed or in flight. SQS' counts may lag by a minute.
    ///
    /// # Errors
    /// If SQS did not respond.
    pub async fn has_messages(&self, url: &str) -> Result<bool, QueueError> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible,
        };
        let counts =
            [ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed, ApproximateNumberOfMessagesNotVisible];
        let get = self.client.get_queue_attributes().queue_url(url).set_attribute_names(Some(counts.to_vec()));
        let response = get.send().await.map_err(|error| failure("GetQueueAttributes", &error))?;
        let count = |name| response.attributes()?.get(name)?.parse::<u64>().ok();
        // A count that is missing or unreadable may hide a message.
        Ok(counts.iter().any(|name| count(name) != Some(0)))
    }

    /// Hides a received message for another `delay`.
    ///
    /// # Errors
    /// If SQS did not accept the change.
    pub async fn hide(&self, url: &str, receipt_handle: &str, delay: Duration) -> Result<(), QueueError> {
        // SQS accepts at most twelve hours, in whole seconds.
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
    QueueError::Failed { operation, code: gatehouse_runtime::aws::error_code(error).to_owned() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A message of the previous release.
    const PREVIOUS: &str = concat!(
        r#"{"v":1,"event_id":"ada:msg_1","identity":"weak","nonce":"AQEBAQEBAQEBAQEBAQEBAQ==","fingerprint":"44"#,
        r#"136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","received_at":"2026-04-08T05:00:10.1"#,
        r#"23Z","verified_by":"svix","body":"KLUv/SQiEQEAeyJ0eXBlIjoidjEuY29udmVyc2F0aW9uLmNyZWF0ZWQife3dAu4=","#,
        r#""answer":"\u00fc\ud83d\ude00","asked":"orders"}"#,
    );

    #[test]
    fn queued_answer_is_accepted_by_sqs_and_read_back_unchanged() {
        let received = Received {
            id: EventId::new(&["ada"], &["m"]),
            weak_identity: false,
            nonce: Nonce::from_bytes(&[1; 16]).unwrap(),
            fingerprint: Fingerprint::of("{}"),
            received_at: Timestamp::clamped(0),
            verified_by: "svix".to_owned(),
            body: Bytes::from_static("{\"x\":\"\u{ffff}\"}".as_bytes()),
            answer: None,
            asked: None,
        };
        for answer in ["Monday", "\u{ffff}\u{fffe}", "ü 😀 日本 \u{1ffff}", "\"\\\n\u{1}\u{7f}"] {
            let queued = Received { answer: Some(answer.to_owned()), ..received.clone() };
            let message = to_message(&queued).unwrap();
            assert!(!message.contains(is_refused), "{message}");
            assert_eq!(from_message(&message).unwrap(), queued);
        }
    }

    /// The previous release escaped every character that is not ASCII.
    #[test]
    fn message_of_the_previous_release_is_read() {
        let queued =
            Received { nonce: Nonce::from_bytes(&[1; 16]).unwrap(), answer: Some("ü😀".to_owned()), ..received() };
        assert_eq!(from_message(PREVIOUS), Ok(queued));
    }

    fn received() -> Received {
        Received {
            id: EventId::new(&["ada"], &["msg_1"]),
            weak_identity: true,
            nonce: Nonce::random().unwrap(),
            fingerprint: Fingerprint::of("{}"),
            received_at: Timestamp::clamped(1_775_624_410_123),
            verified_by: "svix".to_owned(),
            body: Bytes::from_static(br#"{"type":"v1.conversation.created"}"#),
            answer: Some("{}".to_owned()),
            asked: Some("orders".to_owned()),
        }
    }

    #[test]
    fn envelope_is_read_back_unchanged() {
        let received = received();
        assert_eq!(from_message(&to_message(&received).unwrap()), Ok(received));
    }

    #[test]
    fn unreadable_and_newer_envelopes_have_different_errors() {
        use UnreadableEnvelope::{Member, Newer, Shape};
        for text in ["", "secret", "{}", "[]", r#"{"v":1}"#, r#"{"v":"1"}"#] {
            assert_eq!(from_message(text), Err(Shape), "{text}");
        }
        assert_eq!(from_message(r#"{"v":2,"sealed":"x"}"#), Err(Newer(2)));
        let broken = |from: &str, to: &str| from_message(&to_message(&received()).unwrap().replace(from, to));
        assert_eq!(broken(r#""nonce":""#, r#""nonce":"!"#), Err(Member("nonce")));
        assert_eq!(broken(r#""body":""#, r#""body":"AAAA"#), Err(Member("body")));
    }
}
