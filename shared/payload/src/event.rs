//! Events, and the ids, fingerprints and nonces that identify them.

use std::fmt;
use std::fmt::Write as _;

use crate::json::{self, Compared};
use crate::time::Timestamp;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Largest body that a function URL delivers, in bytes.
pub const BODY_LIMIT: usize = 6 * 1024 * 1024;
/// Largest body of a record, in bytes. A chat turn contains a request, a response of 8 MiB, and the escaping of both.
pub const RECORD_LIMIT: usize = 24 * 1024 * 1024;

/// The type of the event of a chat turn.
pub const TURN: &str = "turn";
/// The source of chat turns.
pub const CHAT: &str = "chat";
/// The name of [`CHAT`] in earlier releases. It is in the ids, subjects and sources of events that they recorded.
pub const FORMER_CHAT: &str = "ag-kit";

/// Returns the present name of a source.
#[must_use]
pub fn present_source(name: &str) -> &str {
    if name == FORMER_CHAT { CHAT } else { name }
}

/// Returns all names of a source, the present one first.
pub fn source_names(name: &str) -> impl Iterator<Item = &str> {
    let name = present_source(name);
    [name].into_iter().chain((name == CHAT).then_some(FORMER_CHAT))
}

/// The type of the events that `gatehouse ping` sends. They have no content.
pub const PING: &str = "gatehouse.ping";

/// A verified, identified delivery, ready to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The idempotency key.
    pub id: EventId,
    /// The vendor: `ada`, `agntix`, `vapi`; `chat` for a chat turn, or `ag-kit` in records of earlier releases.
    pub source: String,
    /// The vendor's name for the type of the event; absent when the body does not name one.
    pub event_type: Option<String>,
    /// The subject that the event is about; absent when the body does not name one.
    pub subject: Option<Subject>,
    /// The time of the event; the received time where the body has none ([`Flags::undated`]).
    pub occurred_at: Timestamp,
    /// The time at which Gatehouse received the delivery.
    pub received_at: Timestamp,
    /// The hash of the message's canonical form.
    pub fingerprint: Fingerprint,
    /// The nonce of this attempt to record it.
    pub nonce: Nonce,
    /// The scheme that verified the delivery: `svix`, `webhook`, `bearer:authorization`, …
    pub verified_by: String,
    /// The body as delivered, UTF-8. The receiver redacts credentials before it is recorded.
    pub body: Bytes,
    /// The reply that was decided for this event, as JSON text. It is recorded with the event, so that a duplicate gets
    /// the same reply.
    pub answer: Option<String>,
    /// The services that were asked for the reply, in alphabetical order, separated by commas.
    pub asked: Option<String>,
    /// Flags for the parts of the body that could not be read.
    pub flags: Flags,
    /// Whether all deliveries with this id ask the same question. A different body is then a duplicate, which gets the
    /// first reply, instead of a conflict.
    pub is_one_question: bool,
}

/// A verified and identified delivery: its body, and the values that are determined only once, on receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The event's id.
    pub id: EventId,
    /// Whether two occurrences may have the same id.
    pub weak_identity: bool,
    /// The nonce of the first attempt to record the event. Later attempts use the same one.
    pub nonce: Nonce,
    /// The fingerprint of the message.
    pub fingerprint: Fingerprint,
    /// The time at which Gatehouse received the delivery.
    pub received_at: Timestamp,
    /// The scheme that verified the delivery.
    pub verified_by: String,
    /// The body, UTF-8.
    pub body: Bytes,
    /// The reply that was decided for this event, as JSON text; `None` if there is no reply.
    pub answer: Option<String>,
    /// The services that were asked for the reply, separated by commas.
    pub asked: Option<String>,
}

impl Received {
    /// Returns the delivery that `event` was built from.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Received {
            id: event.id.clone(),
            weak_identity: event.flags.weak_identity,
            nonce: event.nonce,
            fingerprint: event.fingerprint,
            received_at: event.received_at,
            verified_by: event.verified_by.clone(),
            body: event.body.clone(),
            answer: event.answer.clone(),
            asked: event.asked.clone(),
        }
    }
}

/// Flags for the parts of an event's body that could not be read. They are logged, and never reject the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// The vendor's types could not read the body completely (`parsed: false`).
    pub unparsed: bool,
    /// The message lacks a member that distinguishes it from others: two events may have the same id (`identity: weak`).
    pub weak_identity: bool,
    /// `occurred_at` is the received time.
    pub undated: bool,
}

/// Longest part of a key, in bytes. A longer part is replaced by its SHA-256.
const PART_LIMIT: usize = 200;
/// Longest event id, in bytes: half of DynamoDB's limit, so that a conflict's key, which contains the id, fits too.
const ID_LIMIT: usize = 1024;

/// The idempotency key of an event: readable, and built only from data that the sender's scheme authenticates.
///
/// Parts are joined by `:`. In each part, all characters except letters, digits and `-._~` are percent-encoded. So two
/// different lists of parts never have the same key, and a key is valid in a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

impl EventId {
    /// Builds the id `head:parts`. `head` holds the vendor and other parts that must stay readable. If the id would be
    /// too long, `parts` are replaced by one hash.
    #[must_use]
    pub fn new(head: &[&str], parts: &[&str]) -> Self {
        let mut id = key(head);
        let tail = key(parts);
        if !parts.is_empty() {
            id.push(':');
            if id.len() + tail.len() <= ID_LIMIT {
                id.push_str(&tail)
            } else {
                id.push_str(&format!("parts-{}", hashed(tail.as_bytes())))
            }
        }
        EventId(id)
    }

    /// Wraps an id that was read from a table, a message or a header.
    #[must_use]
    pub fn from_stored(id: String) -> Self {
        EventId(id)
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The vendor: the part before the first `:`.
    #[must_use]
    pub fn vendor(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The subject that events are about: `ada:conversation:<id>`, `vapi:call:<id>`, … The key of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(String);

impl Subject {
    /// Builds the subject `source:kind:id`. Its parts are escaped like those of an [`EventId`].
    #[must_use]
    pub fn new(source: &str, kind: &str, id: &str) -> Self {
        Subject(key(&[source, kind, id]))
    }

    /// Wraps a subject that was read from a table or a command line.
    #[must_use]
    pub fn from_stored(subject: String) -> Self {
        Subject(subject)
    }

    /// Parses `vendor:kind:id`; `None` for text of another shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let has_parts = (0..3).all(|_| parts.next().is_some_and(|part| !part.is_empty()));
        has_parts.then(|| Subject(text.to_owned()))
    }

    /// Returns the subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The vendor: the part before the first `:`.
    #[must_use]
    pub fn vendor(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// Returns the subject under all names of its source, the present one first.
    pub fn names(&self) -> impl Iterator<Item = Subject> {
        let rest = self.0.split_once(':').map_or("", |(_, rest)| rest);
        source_names(self.vendor()).map(move |name| match name == self.vendor() {
            true => self.clone(),
            false => Subject(format!("{name}:{rest}")),
        })
    }

    /// The kind of subject in the vendor's word, such as `conversation`: the second part.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns a vendor's word for use as an attribute. A word that is too long is replaced by its hash.
#[must_use]
pub fn word(text: String) -> String {
    if text.len() > PART_LIMIT { hashed(text.as_bytes()) } else { text }
}

fn key(parts: &[&str]) -> String {
    parts.iter().map(|part| escape(part)).collect::<Vec<_>>().join(":")
}

fn escape(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    if escaped.len() > PART_LIMIT { hashed(part.as_bytes()) } else { escaped }
}

/// Returns the SHA-256 as `sha256=<hex>`. An escaped part contains no `=`, so it never looks like a hash.
fn hashed(bytes: &[u8]) -> String {
    format!("sha256={}", HEXLOWER.encode(&Sha256::digest(bytes)))
}

/// SHA-256 of a message's canonical form. Deliveries with the same meaning have the same fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of a JSON value's text.
    #[must_use]
    pub fn of(value: &str) -> Self {
        Self::of_selected(value, &|_, _| Compared::Whole)
    }

    /// Computes the fingerprint of the parts of a JSON value's text that `compared` selects (see [`json::canonical`]).
    #[must_use]
    pub fn of_selected(value: &str, compared: &dyn Fn(&[&str], &str) -> Compared) -> Self {
        let mut hash = Sha256::new();
        json::canonical(value, compared, &mut |piece| hash.update(piece));
        Fingerprint(hash.finalize().into())
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a fingerprint from its 32 bytes; `None` for any other number of bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Fingerprint)
    }

    /// Parses the 64 hexadecimal digits that [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_bytes(&HEXLOWER.decode(text.as_bytes()).ok()?)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The id of one attempt to record an event, across requests and queues. A writer that finds its own nonce in the store
/// knows that its write succeeded and only the response was lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Creates a nonce of sixteen random bytes.
    ///
    /// # Errors
    /// If the system's random number generator fails.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Nonce(bytes))
    }

    /// Returns the sixteen bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads a nonce from its sixteen bytes; `None` for any other number of bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Nonce)
    }
}

impl From<[u8; 16]> for Nonce {
    fn from(bytes: [u8; 16]) -> Self {
        Nonce(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn subject_of_a_chat_has_its_former_name_too() {
        let names = |subject: &str| -> Vec<String> {
            Subject::from_stored(subject.to_owned()).names().map(|name| name.to_string()).collect()
        };
        let both = ["chat:conversation:a:b", "ag-kit:conversation:a:b"];
        assert_eq!(
            (names(both[0]), names(both[1])),
            (both.map(str::to_owned).to_vec(), both.map(str::to_owned).to_vec())
        );
        for other in ["ada:conversation:c1", "chatty:conversation:c1", "x"] {
            assert_eq!(names(other), [other]);
        }
    }

    #[test]
    fn ids_and_subjects_are_readable() {
        assert_eq!(EventId::new(&["ada"], &["msg_2x"]).as_str(), "ada:msg_2x");
        assert_eq!(EventId::new(&["vapi", "client", "hang"], &["a:b", "ü"]).as_str(), "vapi:client:hang:a%3Ab:%C3%BC");
        assert_eq!(Subject::new("agntix", "session", "ses_…").as_str(), "agntix:session:ses_%E2%80%A6");
    }

    #[test]
    fn long_parts_are_hashed_and_long_ids_keep_their_head() {
        let long = "x".repeat(201);
        assert_eq!(EventId::new(&["ada"], &[&long]).as_str(), format!("ada:{}", hashed(long.as_bytes())));
        let part = "y".repeat(200);
        let id = EventId::new(&["vapi", "client", "tool-calls"], &[part.as_str(); 9]);
        assert!(id.as_str().starts_with("vapi:client:tool-calls:parts-sha256="), "{id}");
    }

    proptest! {
        #![proptest_config(gatehouse_seeds::cases(256))]

        #[test]
        fn different_parts_make_different_ids(
            a in proptest::collection::vec("\\PC{0,6}|[:%=a-f0-9]{0,4}|sha256=[0-9a-f]{0,4}", 0..4),
            b in proptest::collection::vec("\\PC{0,6}|[:%=a-f0-9]{0,4}|sha256=[0-9a-f]{0,4}", 0..4),
        ) {
            let id = |parts: &[String]| EventId::new(&["v"], &parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(a == b, id(&a) == id(&b));
        }

        #[test]
        fn ids_and_subjects_fit_dynamodb_keys_and_headers(parts in proptest::collection::vec("\\PC{0,400}", 0..12)) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let id = EventId::new(&["vapi", "client", parts.first().unwrap_or(&"")], &parts);
            prop_assert!(id.as_str().len() <= ID_LIMIT && id.as_str().bytes().all(|b| b.is_ascii_graphic()));
            let subject = Subject::new("vapi", "call", parts.first().unwrap_or(&""));
            prop_assert!(subject.as_str().len() <= 1024);
        }
    }
}
