//! The layout of a record: converts an event to DynamoDB items, and back.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_payload::time::Timestamp;
use serde_json::Value;
use zstd::bulk::Compressor;

use gatehouse_payload::event::{Event, EventId, Fingerprint, Flags, Nonce, RECORD_LIMIT, Subject};

/// A DynamoDB item.
pub type Item = HashMap<String, AttributeValue>;

/// The format that this release writes. A release reads its own format and the previous one, because two releases run
/// concurrently during a deployment; 1 is the first.
pub const FORMAT: u32 = 1;

/// DynamoDB's limit for one item with its attribute names, minus a reserve for rounding, in bytes.
const ITEM_LIMIT: usize = 400 * 1024 - 1024;
/// Size of a chunk of a large payload, in bytes.
const CHUNK_BYTES: usize = 384 * 1024;
/// The unit by which DynamoDB bills writes, in bytes.
const WRITE_UNIT: usize = 1024;
/// Size of a body above which the compressor is not reused, in bytes.
const LARGE: usize = 64 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// The names of a record's attributes.
#[allow(missing_docs, reason = "docs/table.md and the layout below describe them")]
pub mod attribute {
    pub const ANSWER: &str = "answer";
    pub const ASKED: &str = "asked";
    pub const CHUNKS: &str = "chunks";
    pub const CONFLICT_OF: &str = "conflict_of";
    pub const ERASED_AT: &str = "erased_at";
    pub const ERASED_SUBJECT: &str = "erased_subject";
    pub const EVENT_ID: &str = "event_id";
    pub const EVENT_TYPE: &str = "event_type";
    pub const EXPIRES_AT: &str = "expires_at";
    pub const FINGERPRINT: &str = "fingerprint";
    pub const IDENTITY: &str = "identity";
    pub const NONCE: &str = "nonce";
    pub const OCCURRED_AT: &str = "occurred_at";
    pub const OCCURRED_AT_FROM: &str = "occurred_at_from";
    pub const PARSED: &str = "parsed";
    pub const PAYLOAD: &str = "payload";
    pub const RECEIVED_AT: &str = "received_at";
    pub const SOURCE: &str = "source";
    pub const SOURCE_HOUR: &str = "source_hour";
    pub const SUBJECT: &str = "subject";
    pub const V: &str = "v";
    pub const VERIFIED_BY: &str = "verified_by";
}
use attribute::{
    ANSWER, ASKED, CHUNKS, CONFLICT_OF, ERASED_AT, ERASED_SUBJECT, EVENT_ID, EVENT_TYPE, EXPIRES_AT, FINGERPRINT,
    IDENTITY, NONCE, OCCURRED_AT, OCCURRED_AT_FROM, PARSED, PAYLOAD, RECEIVED_AT, SOURCE, SOURCE_HOUR, SUBJECT, V,
    VERIFIED_BY,
};

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The event. In a conflicting copy, too, `id` is the event's id.
    pub event: Event,
    /// The time after which the record is invisible, in seconds since the epoch.
    pub expires_at: i64,
    /// Whether this is the copy of a delivery that conflicted with the record of its id.
    pub conflict: bool,
}

impl Record {
    /// Returns the key of the record's item: the event's id, or that of a conflicting copy.
    #[must_use]
    pub fn key(&self) -> String {
        let Event { id, fingerprint, .. } = &self.event;
        if self.conflict { conflict_key(fingerprint, id) } else { id.to_string() }
    }
}

/// An event's item without its key, and the chunks that are written before it.
pub(super) struct Packed {
    head: Item,
    pub(super) chunks: Vec<Item>,
}

impl Packed {
    /// Converts `event` into items that expire at `expires_at`. Fails if there is not enough memory to compress the
    /// body.
    pub(super) fn new(event: &Event, expires_at: i64) -> io::Result<Packed> {
        let mut head = Item::from([
            (V.to_owned(), number(FORMAT)),
            (SOURCE.to_owned(), text(&event.source)),
            (OCCURRED_AT.to_owned(), text(&event.occurred_at.to_string())),
            (RECEIVED_AT.to_owned(), text(&event.received_at.to_string())),
            (SOURCE_HOUR.to_owned(), text(&source_hour(&event.source, event.received_at))),
            (FINGERPRINT.to_owned(), binary(event.fingerprint.as_bytes())),
            (NONCE.to_owned(), binary(event.nonce.as_bytes())),
            (VERIFIED_BY.to_owned(), text(&event.verified_by)),
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
        if let Some(asked) = &event.asked {
            head.insert(ASKED.to_owned(), text(asked));
        }
        if event.flags.unparsed {
            head.insert(PARSED.to_owned(), AttributeValue::Bool(false));
        }
        if event.flags.weak_identity {
            head.insert(IDENTITY.to_owned(), text("weak"));
        }
        if event.flags.undated {
            head.insert(OCCURRED_AT_FROM.to_owned(), text(RECEIVED_AT));
        }

        // Includes the key of a conflicting copy, so that a copy and its record have the same layout.
        let base_size = size(&head)
            + EVENT_ID.len()
            + conflict_key(&event.fingerprint, &event.id).len()
            + CONFLICT_OF.len()
            + event.id.as_str().len();
        let plain_size = base_size + PAYLOAD.len() + event.body.len();
        // Compression cannot save a write unit if there is only one.
        let compressed = if plain_size <= WRITE_UNIT { Vec::new() } else { compress(&event.body)? };
        let compressed_size = base_size + PAYLOAD.len() + compressed.len();
        let is_plain =
            plain_size <= WRITE_UNIT || plain_size.div_ceil(WRITE_UNIT) <= compressed_size.div_ceil(WRITE_UNIT);
        let (item_size, payload) = if is_plain {
            (plain_size, text(&String::from_utf8_lossy(&event.body)))
        } else {
            (compressed_size, binary(&compressed))
        };
        let mut chunks = Vec::new();
        if item_size <= ITEM_LIMIT {
            head.insert(PAYLOAD.to_owned(), payload);
        } else {
            chunks = compressed
                .chunks(CHUNK_BYTES)
                .enumerate()
                .map(|(n, part)| {
                    Item::from([
                        (EVENT_ID.to_owned(), text(&chunk_key(event.nonce, n))),
                        (V.to_owned(), number(FORMAT)),
                        (PAYLOAD.to_owned(), binary(part)),
                        (EXPIRES_AT.to_owned(), number(expires_at)),
                    ])
                })
                .collect();
            head.insert(CHUNKS.to_owned(), number(chunks.len()));
        }
        Ok(Packed { head, chunks })
    }

    /// Returns the record's item.
    pub(super) fn record(&self, event: &Event) -> Item {
        let mut item = self.head.clone();
        item.insert(EVENT_ID.to_owned(), text(event.id.as_str()));
        item
    }

    /// Returns the item of a copy that conflicts with another delivery's record.
    pub(super) fn conflict(&self, event: &Event) -> Item {
        let mut item = self.head.clone();
        item.insert(EVENT_ID.to_owned(), text(&conflict_key(&event.fingerprint, &event.id)));
        item.insert(CONFLICT_OF.to_owned(), text(event.id.as_str()));
        item
    }
}

/// Returns `<source>/<hour>`, such as `ada/2026-11-21T17`. A list reads the events of an hour together, and no key
/// receives writes for longer than an hour.
pub(super) fn source_hour(source: &str, received_at: Timestamp) -> String {
    let time = received_at.to_string();
    format!("{source}/{}", time.get(..13).unwrap_or(&time))
}

/// Returns the item that replaces an erased record, so that the event is not recorded again.
pub(super) fn tombstone(key: &str, subject_hash: &str, now: Timestamp, expires_at: i64) -> Item {
    Item::from([
        (EVENT_ID.to_owned(), text(key)),
        (V.to_owned(), number(FORMAT)),
        (ERASED_AT.to_owned(), text(&now.to_string())),
        (ERASED_SUBJECT.to_owned(), text(subject_hash)),
        (EXPIRES_AT.to_owned(), number(expires_at)),
    ])
}

/// Returns the time of the erasure, if the item is a tombstone.
pub(super) fn erased_at(item: &Item) -> Option<Timestamp> {
    text_of(item, ERASED_AT).and_then(Timestamp::parse)
}

/// Returns `conflict:<fingerprint>:<event id>`. Each different body of an event has one copy, even if it is delivered
/// repeatedly.
#[must_use]
pub fn conflict_key(fingerprint: &Fingerprint, id: &EventId) -> String {
    format!("conflict:{fingerprint}:{id}")
}

/// Returns `chunk:<nonce>/<n>`. Each attempt to record an event has its own chunks.
fn chunk_key(nonce: Nonce, n: usize) -> String {
    format!("chunk:{nonce}/{n}")
}

/// Returns a chunk's item without its payload. It replaces the chunk where the caller may not delete items.
pub(super) fn blanked(chunk: &Item, now: Timestamp) -> Item {
    let key = text_of(chunk, EVENT_ID).unwrap_or_default();
    Item::from([(EVENT_ID.to_owned(), text(key)), (EXPIRES_AT.to_owned(), number(now.as_secs()))])
}

/// The item that already exists under the key of a conditional write.
pub(super) struct Existing {
    pub(super) nonce: Option<Nonce>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) answer: Option<String>,
    /// The hash of the erased subject, if the item is a tombstone.
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

/// Whether the item has expired and must be invisible to readers.
pub(super) fn is_expired(item: &Item, now: Timestamp) -> bool {
    // An item without a readable expiry never expires, because losing an event is worse than keeping one too long.
    number_of(item, EXPIRES_AT).is_some_and(|expires_at: i64| expires_at < now.as_secs())
}

/// Reads an item from its DynamoDB JSON, as in a stream's `NewImage`: `{"event_id": {"S": "…"}, …}`. Attributes of types
/// that records do not use are left out. `None` if `image` is not an object.
#[must_use]
pub fn from_json(image: &Value) -> Option<Item> {
    let attribute = |value: &Value| {
        let (kind, value) = value.as_object()?.iter().next()?;
        match kind.as_str() {
            "S" => Some(text(value.as_str()?)),
            "N" => Some(number(value.as_str()?)),
            "B" => Some(binary(&BASE64.decode(value.as_str()?.as_bytes()).ok()?)),
            "BOOL" => Some(AttributeValue::Bool(value.as_bool()?)),
            _ => None,
        }
    };
    let attributes = image.as_object()?.iter();
    Some(attributes.filter_map(|(name, value)| Some((name.clone(), attribute(value)?))).collect())
}

/// Returns the keys of the chunks of a payload; empty if the payload is in the head.
#[must_use]
pub fn chunk_keys(head: &Item) -> Vec<String> {
    let count: usize = number_of(head, CHUNKS).unwrap_or(0);
    match bytes_of(head, NONCE).and_then(Nonce::from_bytes) {
        Some(nonce) => (0..count).map(|n| chunk_key(nonce, n)).collect(),
        None => Vec::new(),
    }
}

/// Why an item cannot be read as a record. Names the attribute, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// A newer release wrote the item, or its format is invalid.
    #[error("the record has format {0}, this release reads up to {FORMAT}")]
    Format(u32),
    /// An attribute is missing or of the wrong type.
    #[error("the record's attribute {0} is missing or unreadable")]
    Attribute(&'static str),
    /// A chunk is missing.
    #[error("chunk {0} of the record's payload is missing")]
    Chunk(usize),
}

/// Decodes a record from its head and the items of its chunks, by key.
///
/// # Errors
/// If the item is not a record of this release or the one before, or if it is damaged.
pub fn decode(head: &Item, chunks: &BTreeMap<String, Item>) -> Result<Record, Damaged> {
    let format = number_of(head, V).ok_or(Damaged::Attribute(V))?;
    if format == 0 || format > FORMAT {
        return Err(Damaged::Format(format));
    }
    let optional = |name| text_of(head, name).map(str::to_owned);
    let required = |name| optional(name).ok_or(Damaged::Attribute(name));
    let time = |name| text_of(head, name).and_then(Timestamp::parse).ok_or(Damaged::Attribute(name));
    let conflict_of = optional(CONFLICT_OF);
    Ok(Record {
        conflict: conflict_of.is_some(),
        expires_at: number_of(head, EXPIRES_AT).ok_or(Damaged::Attribute(EXPIRES_AT))?,
        event: Event {
            id: EventId::from_stored(conflict_of.map_or_else(|| required(EVENT_ID), Ok)?),
            source: required(SOURCE)?,
            event_type: optional(EVENT_TYPE),
            subject: optional(SUBJECT).map(Subject::from_stored),
            occurred_at: time(OCCURRED_AT)?,
            received_at: time(RECEIVED_AT)?,
            fingerprint: bytes_of(head, FINGERPRINT)
                .and_then(Fingerprint::from_bytes)
                .ok_or(Damaged::Attribute(FINGERPRINT))?,
            nonce: bytes_of(head, NONCE).and_then(Nonce::from_bytes).ok_or(Damaged::Attribute(NONCE))?,
            verified_by: required(VERIFIED_BY)?,
            body: payload(head, chunks)?,
            answer: optional(ANSWER),
            asked: optional(ASKED),
            flags: flags(head),
            is_one_question: false,
        },
    })
}

/// Reads the flags of an event from the attributes of its item.
pub(super) fn flags(item: &Item) -> Flags {
    Flags {
        unparsed: item.get(PARSED) == Some(&AttributeValue::Bool(false)),
        weak_identity: text_of(item, IDENTITY) == Some("weak"),
        undated: text_of(item, OCCURRED_AT_FROM) == Some(RECEIVED_AT),
    }
}

fn payload(head: &Item, chunks: &BTreeMap<String, Item>) -> Result<Bytes, Damaged> {
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

/// Compresses with zstd, with a checksum in the frame.
pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        /// Reused, because building a compressor's tables takes as long as compressing an ordinary event.
        static CACHED: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    // The tables for large bodies take megabytes, so they are not cached.
    if bytes.len() > LARGE {
        return new_compressor()?.compress(bytes);
    }
    CACHED.with_borrow_mut(|cached| match cached {
        Some(compressor) => compressor.compress(bytes),
        None => cached.insert(new_compressor()?).compress(bytes),
    })
}

fn new_compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    Ok(compressor)
}

/// Returns the content of a zstd frame; `None` if the frame is damaged or larger than any record.
pub(crate) fn decompress(frame: &[u8]) -> Option<Bytes> {
    let mut bytes = Vec::new();
    let size = zstd::Decoder::with_buffer(frame).ok()?.take(RECORD_LIMIT as u64 + 1).read_to_end(&mut bytes);
    size.ok().filter(|size| *size <= RECORD_LIMIT).map(|_| Bytes::from(bytes))
}

/// Creates a text attribute.
#[must_use]
pub fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Creates a number attribute.
#[must_use]
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Creates a binary attribute.
#[must_use]
pub fn binary(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// Returns the text of an attribute of the type S.
#[must_use]
pub fn text_of<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// Returns the number of an attribute of the type N.
#[must_use]
pub fn number_of<N: std::str::FromStr>(item: &Item, name: &str) -> Option<N> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Returns the bytes of an attribute of the type B.
#[must_use]
pub fn bytes_of<'i>(item: &'i Item, name: &str) -> Option<&'i [u8]> {
    item.get(name)?.as_b().ok().map(AsRef::as_ref)
}

/// Returns an item's size as DynamoDB counts it, for the attribute types of a record: names and values in bytes, and a
/// number as one byte for every two digits, plus two.
fn size(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 2,
        AttributeValue::B(blob) => blob.as_ref().len(),
        _ => 1,
    };
    item.iter().map(|(name, v)| name.len() + value(v)).sum()
}
