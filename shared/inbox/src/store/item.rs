//! The layout of a record: how an event becomes DynamoDB items, and an item an event again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use gatehouse_payload::time::Timestamp;
use zstd::bulk::Compressor;

use crate::event::{Event, EventId, Fingerprint, Marks, Nonce, RECORD_LIMIT, Subject};

/// A DynamoDB item.
pub type Item = HashMap<String, AttributeValue>;

/// The format this release writes. It reads this one and the one before, since two releases run at once during a
/// deployment; 1 is the first.
pub const FORMAT: u32 = 1;

/// What DynamoDB takes for one item, names and all, less a reserve for its own rounding. In bytes.
const ITEM_LIMIT: usize = 400 * 1024 - 1024;
/// How much of a large payload goes into one chunk. In bytes.
const CHUNK_BYTES: usize = 384 * 1024;
/// What DynamoDB bills writes by. In bytes.
const WRITE_UNIT: usize = 1024;
/// Above which size of a body the compressor is not kept for the next, in bytes.
const LARGE: usize = 64 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// The names of a record's attributes.
#[allow(missing_docs, reason = "each is explained where the item is put together")]
pub mod attribute {
    pub const ANSWER: &str = "answer";
    pub const CONFLICT_OF: &str = "conflict_of";
    pub const ERASED_AT: &str = "erased_at";
    pub const ERASED_SUBJECT: &str = "erased_subject";
    pub const EVENT_ID: &str = "event_id";
    pub const EVENT_TYPE: &str = "event_type";
    pub const EXPIRES_AT: &str = "expires_at";
    pub const FINGERPRINT: &str = "fingerprint";
    pub const NONCE: &str = "nonce";
    pub const OCCURRED_AT: &str = "occurred_at";
    pub const PAYLOAD: &str = "payload";
    pub const RECEIVED_AT: &str = "received_at";
    pub const SOURCE_HOUR: &str = "source_hour";
    pub const SUBJECT: &str = "subject";
}
use attribute::{
    ANSWER, CONFLICT_OF, ERASED_AT, ERASED_SUBJECT, EVENT_ID, EVENT_TYPE, EXPIRES_AT, FINGERPRINT, NONCE, OCCURRED_AT,
    PAYLOAD, RECEIVED_AT, SOURCE_HOUR, SUBJECT,
};

/// An event as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The event; its `id` is that of the event also in a conflict's copy.
    pub event: Event,
    /// From when on it is invisible.
    pub expires_at: i64,
    /// Whether this is the copy of a delivery that conflicted with the record of its id.
    pub conflict: bool,
}

/// An event's item without its key, and the chunks that go first.
pub(super) struct Packed {
    head: Item,
    pub(super) chunks: Vec<Item>,
}

impl Packed {
    /// Lays out `event`, to expire at `expires_at`. Fails when there is no memory to compress it in.
    pub(super) fn new(event: &Event, expires_at: i64) -> io::Result<Packed> {
        let mut head = Item::from([
            ("v".to_owned(), number(FORMAT)),
            ("source".to_owned(), text(&event.source)),
            (OCCURRED_AT.to_owned(), text(&event.occurred_at.to_string())),
            (RECEIVED_AT.to_owned(), text(&event.received_at.to_string())),
            (SOURCE_HOUR.to_owned(), text(&source_hour(&event.source, event.received_at))),
            (FINGERPRINT.to_owned(), binary(event.fingerprint.as_bytes())),
            (NONCE.to_owned(), binary(event.nonce.as_bytes())),
            ("verified_by".to_owned(), text(&event.verified_by)),
            (EXPIRES_AT.to_owned(), number(expires_at)),
        ]);
        if let Some(event_type) = &event.event_type {
            head.insert(EVENT_TYPE.to_owned(), text(event_type));
        }
        if let Some(subject) = &event.subject {
            head.insert(SUBJECT.to_owned(), text(subject.as_str()));
        }
        if let Some(answer) = &event.answer {
            head.insert(ANSWER.to_owned(), text(answer));
        }
        if event.marks.unparsed {
            head.insert("parsed".to_owned(), AttributeValue::Bool(false));
        }
        if event.marks.weak_identity {
            head.insert("identity".to_owned(), text("weak"));
        }
        if event.marks.undated {
            head.insert("occurred_at_from".to_owned(), text(RECEIVED_AT));
        }

        // The longest key the head may get, so that a conflict's copy is laid out like the record.
        let base = size(&head)
            + EVENT_ID.len()
            + conflict_key(&event.fingerprint, &event.id).len()
            + CONFLICT_OF.len()
            + event.id.as_str().len();
        let plain = base + PAYLOAD.len() + event.body.len();
        // Nothing is less than one unit.
        let compressed = if plain <= WRITE_UNIT { Vec::new() } else { compress(&event.body)? };
        let small = base + PAYLOAD.len() + compressed.len();
        let payload = if plain <= WRITE_UNIT || plain.div_ceil(WRITE_UNIT) <= small.div_ceil(WRITE_UNIT) {
            (plain, text(&String::from_utf8_lossy(&event.body)))
        } else {
            (small, binary(&compressed))
        };
        let mut chunks = Vec::new();
        if payload.0 <= ITEM_LIMIT {
            head.insert(PAYLOAD.to_owned(), payload.1);
        } else {
            chunks = compressed
                .chunks(CHUNK_BYTES)
                .enumerate()
                .map(|(n, part)| {
                    Item::from([
                        (EVENT_ID.to_owned(), text(&chunk_key(event.nonce, n))),
                        ("v".to_owned(), number(FORMAT)),
                        (PAYLOAD.to_owned(), binary(part)),
                        (EXPIRES_AT.to_owned(), number(expires_at)),
                    ])
                })
                .collect();
            head.insert("chunks".to_owned(), number(chunks.len()));
        }
        Ok(Packed { head, chunks })
    }

    /// The record's item.
    pub(super) fn record(&self, event: &Event) -> Item {
        let mut item = self.head.clone();
        item.insert(EVENT_ID.to_owned(), text(event.id.as_str()));
        item
    }

    /// The item of a copy kept beside another delivery's record.
    pub(super) fn conflict(&self, event: &Event) -> Item {
        let mut item = self.head.clone();
        item.insert(EVENT_ID.to_owned(), text(&conflict_key(&event.fingerprint, &event.id)));
        item.insert(CONFLICT_OF.to_owned(), text(event.id.as_str()));
        item
    }
}

/// `<source>/<hour>`, such as `ada/2026-11-21T17`: what arrived in an hour is read together, and no key takes writes for
/// longer.
pub(super) fn source_hour(source: &str, received_at: Timestamp) -> String {
    let time = received_at.to_string();
    format!("{source}/{}", time.get(..13).unwrap_or(&time))
}

/// What stands in the place of a record that was erased, so that it is not recorded again. `subject` is its subject's hash.
pub(super) fn tombstone(key: &str, subject: &str, now: Timestamp, expires_at: i64) -> Item {
    Item::from([
        (EVENT_ID.to_owned(), text(key)),
        ("v".to_owned(), number(FORMAT)),
        (ERASED_AT.to_owned(), text(&now.to_string())),
        (ERASED_SUBJECT.to_owned(), text(subject)),
        (EXPIRES_AT.to_owned(), number(expires_at)),
    ])
}

/// When a record was erased, if it was.
pub(super) fn erased_at(item: &Item) -> Option<Timestamp> {
    text_of(item, ERASED_AT).and_then(Timestamp::parse)
}

/// `conflict:<fingerprint>:<event id>`: each other body of an event has its own place, however often it comes.
#[must_use]
pub fn conflict_key(fingerprint: &Fingerprint, id: &EventId) -> String {
    format!("conflict:{fingerprint}:{id}")
}

/// `chunk:<nonce>/<n>`: an attempt at recording never meets another's chunks.
fn chunk_key(nonce: Nonce, n: usize) -> String {
    format!("chunk:{nonce}/{n}")
}

/// A chunk's item without its part of the payload: what is left where nobody may delete.
pub(super) fn blank(chunk: &Item, now: Timestamp) -> Item {
    let key = text_of(chunk, EVENT_ID).unwrap_or_default();
    Item::from([(EVENT_ID.to_owned(), text(key)), (EXPIRES_AT.to_owned(), number(now.as_secs()))])
}

/// The head of an item that stands where another was to be written.
pub(super) struct Existing {
    pub(super) nonce: Option<Nonce>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) answer: Option<String>,
    /// It is a tombstone: the hash of the subject it was about.
    pub(super) erased: Option<String>,
}

impl Existing {
    pub(super) fn of(item: &Item) -> Existing {
        Existing {
            nonce: bytes_of(item, NONCE).and_then(Nonce::from_bytes),
            fingerprint: bytes_of(item, FINGERPRINT).and_then(Fingerprint::from_bytes),
            answer: text_of(item, ANSWER).map(str::to_owned),
            erased: text_of(item, ERASED_SUBJECT).map(str::to_owned),
        }
    }
}

/// Whether readers must not see the item any more.
pub(super) fn is_expired(item: &Item, now: Timestamp) -> bool {
    // Without a readable expiry it never goes: losing an event is worse than keeping one.
    number_of(item, EXPIRES_AT).is_some_and(|expires_at: i64| expires_at < now.as_secs())
}

/// The keys of the chunks a head's payload is in; empty when it is in the head.
pub(super) fn chunk_keys(head: &Item) -> Vec<String> {
    let count: usize = number_of(head, "chunks").unwrap_or(0);
    match bytes_of(head, NONCE).and_then(Nonce::from_bytes) {
        Some(nonce) => (0..count).map(|n| chunk_key(nonce, n)).collect(),
        None => Vec::new(),
    }
}

/// Why an item is no record. Says which attribute, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Written by a release this one does not know.
    #[error("the record has format {0}, this release reads up to {FORMAT}")]
    Format(u32),
    /// An attribute is missing or of the wrong type.
    #[error("the record's attribute {0} is missing or unreadable")]
    Attribute(&'static str),
    /// A chunk is missing.
    #[error("chunk {0} of the record's payload is missing")]
    Chunk(usize),
}

/// Reads a record from its head and the items of its chunks.
pub(super) fn unpack(head: &Item, chunks: &HashMap<String, Item>) -> Result<Record, Damaged> {
    let format = number_of(head, "v").ok_or(Damaged::Attribute("v"))?;
    if format == 0 || format > FORMAT {
        return Err(Damaged::Format(format));
    }
    let owned = |name| text_of(head, name).map(str::to_owned);
    let required = |name| owned(name).ok_or(Damaged::Attribute(name));
    let time = |name| text_of(head, name).and_then(Timestamp::parse).ok_or(Damaged::Attribute(name));
    let conflict_of = owned(CONFLICT_OF);
    Ok(Record {
        conflict: conflict_of.is_some(),
        expires_at: number_of(head, EXPIRES_AT).ok_or(Damaged::Attribute(EXPIRES_AT))?,
        event: Event {
            id: EventId::from_stored(conflict_of.map_or_else(|| required(EVENT_ID), Ok)?),
            source: required("source")?,
            event_type: owned(EVENT_TYPE),
            subject: owned(SUBJECT).map(Subject::from_stored),
            occurred_at: time(OCCURRED_AT)?,
            received_at: time(RECEIVED_AT)?,
            fingerprint: bytes_of(head, FINGERPRINT)
                .and_then(Fingerprint::from_bytes)
                .ok_or(Damaged::Attribute(FINGERPRINT))?,
            nonce: bytes_of(head, NONCE).and_then(Nonce::from_bytes).ok_or(Damaged::Attribute(NONCE))?,
            verified_by: required("verified_by")?,
            body: payload(head, chunks)?,
            answer: owned(ANSWER),
            marks: marks(head),
            is_one_question: false,
        },
    })
}

/// What could not be read from an event's body.
pub(super) fn marks(item: &Item) -> Marks {
    Marks {
        unparsed: item.get("parsed") == Some(&AttributeValue::Bool(false)),
        weak_identity: text_of(item, "identity") == Some("weak"),
        undated: text_of(item, "occurred_at_from") == Some(RECEIVED_AT),
    }
}

fn payload(head: &Item, chunks: &HashMap<String, Item>) -> Result<Bytes, Damaged> {
    let unreadable = Damaged::Attribute(PAYLOAD);
    match head.get(PAYLOAD) {
        Some(AttributeValue::S(text)) => Ok(Bytes::from(text.clone())),
        Some(AttributeValue::B(blob)) => decompress(blob.as_ref()).ok_or(unreadable),
        Some(_) => Err(unreadable),
        None => {
            let mut compressed = Vec::new();
            for (n, key) in chunk_keys(head).into_iter().enumerate() {
                let part = chunks.get(&key).and_then(|item| bytes_of(item, PAYLOAD)).ok_or(Damaged::Chunk(n))?;
                compressed.extend_from_slice(part);
            }
            decompress(&compressed).ok_or(unreadable)
        }
    }
}

/// zstd, with a checksum in the frame.
pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        /// Making its tables takes as long as compressing an ordinary event, so one is kept.
        static KEPT: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    // The tables of large bodies are megabytes, and not kept.
    if bytes.len() > LARGE {
        return compressor()?.compress(bytes);
    }
    KEPT.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(bytes),
        None => kept.insert(compressor()?).compress(bytes),
    })
}

fn compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    Ok(compressor)
}

/// The content of a zstd frame; `None` when it is damaged or larger than any record.
pub(crate) fn decompress(frame: &[u8]) -> Option<Bytes> {
    let mut bytes = Vec::new();
    let bounded = zstd::Decoder::with_buffer(frame).ok()?.take(RECORD_LIMIT as u64 + 1).read_to_end(&mut bytes);
    bounded.ok().filter(|size| *size <= RECORD_LIMIT).map(|_| Bytes::from(bytes))
}

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn binary(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

pub(super) fn text_of<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn number_of<N: std::str::FromStr>(item: &Item, name: &str) -> Option<N> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(super) fn bytes_of<'i>(item: &'i Item, name: &str) -> Option<&'i [u8]> {
    item.get(name)?.as_b().ok().map(AsRef::as_ref)
}

/// An item's size as DynamoDB counts it, for the types used here: names and values in bytes, a number as its digits'
/// pairs and two more.
fn size(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 2,
        AttributeValue::B(blob) => blob.as_ref().len(),
        _ => 1,
    };
    item.iter().map(|(name, v)| name.len() + value(v)).sum()
}
