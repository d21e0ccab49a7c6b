//! Erasing: tombstones, and what they stand for.
//!
//! A record that is erased leaves a tombstone in its own place, so that no retry of its vendor's and no message on a queue brings it
//! back. What is about the same subject and was never recorded would find no such place; therefore one more item, [`KEY`], lists the
//! subjects that were erased, by their hashes alone. Each instance reads it when it starts and again every [`STALE`] seconds, beside a
//! record: honouring it costs a new event no request.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::HEXLOWER;
use gatehouse_payload::time::Timestamp;
use sha2::{Digest, Sha256};

use super::item::{Item, attribute, chunk_keys, erased_at, number, text, tombstone};
use super::{Store, StoreError, failure};
use crate::event::Subject;

/// The key of the item that lists what was erased.
const KEY: &str = "erased";
/// Its map from a subject's hash to the second from which on it may be forgotten.
const SUBJECTS: &str = "subjects";
/// How old an instance's list may be. In seconds; longer than most conversations pause.
pub const STALE: i64 = 60;
/// How many subjects the list holds: it must fit one item.
const MOST: usize = 4000;
/// How much of a subject's SHA-256 names it. In bytes.
const HASH_BYTES: usize = 16;

/// The subjects that were erased, as far as this instance knows; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Erased(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    learned_at: Option<Timestamp>,
    subjects: HashMap<String, i64>,
}

/// What erasing a subject came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Records, each of which left a tombstone.
    pub events: usize,
    /// Copies of conflicting deliveries.
    pub conflicts: usize,
    /// Items that held parts of large payloads.
    pub chunks: usize,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.conflicts += other.conflicts;
        self.chunks += other.chunks;
    }
}

impl Erased {
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        let learned_at = self.0.read().unwrap_or_else(PoisonError::into_inner).learned_at;
        learned_at.is_none_or(|at| !(0..STALE).contains(&(now.as_secs() - at.as_secs())))
    }

    pub(super) fn holds(&self, subject: &Subject, now: Timestamp) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Hashing is worth it only where something was erased at all.
        !known.subjects.is_empty() && known.subjects.get(&hash(subject)).is_some_and(|until| *until >= now.as_secs())
    }

    fn learn(&self, subjects: HashMap<String, i64>, now: Timestamp) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known { learned_at: Some(now), subjects };
    }
}

/// No part of the subject, which may be an address or a number.
fn hash(subject: &Subject) -> String {
    HEXLOWER.encode(&Sha256::digest(subject.as_str())[..HASH_BYTES])
}

fn subjects_of(item: Option<&Item>) -> HashMap<String, i64> {
    let map = item.and_then(|item| item.get(SUBJECTS)).and_then(|map| map.as_m().ok());
    let until = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
    map.into_iter().flatten().filter_map(|(hash, value)| Some((hash.clone(), until(value)?))).collect()
}

impl Store {
    /// Reads which subjects were erased.
    ///
    /// # Errors
    /// When DynamoDB does not answer; what was known stays known.
    pub async fn learn_what_is_erased(&self, now: Timestamp) -> Result<(), StoreError> {
        let item = self.head(&self.writer, KEY).await?;
        self.erased.learn(subjects_of(item.as_ref()), now);
        Ok(())
    }

    /// Lets nothing about `subject` be recorded from now on: by this instance at once, by others within [`STALE`] seconds.
    ///
    /// # Errors
    /// When DynamoDB does not take it, or the list is full.
    pub async fn bury(&self, subject: &Subject, now: Timestamp) -> Result<(), StoreError> {
        let held = self.head(&self.writer, KEY).await?;
        let mut subjects = subjects_of(held.as_ref());
        subjects.retain(|_, until| *until >= now.as_secs());
        subjects.insert(hash(subject), now.as_secs() + self.ttl_seconds);
        if subjects.len() > MOST {
            return Err(StoreError::Permanent {
                operation: "erase",
                code: format!("over {MOST} subjects in {} days", self.ttl_seconds / 86_400),
            });
        }
        let map = subjects.iter().map(|(hash, until)| (hash.clone(), number(until))).collect();
        let revision: i64 = held.as_ref().and_then(|item| super::item::number_of(item, "revision")).unwrap_or(0);
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .item(attribute::EVENT_ID, text(KEY))
            .item(SUBJECTS, AttributeValue::M(map))
            .item("revision", number(revision + 1));
        // Two who erase at once must not lose each other's.
        let put = if held.is_some() {
            put.condition_expression("revision = :seen").expression_attribute_values(":seen", number(revision))
        } else {
            put.condition_expression("attribute_not_exists(event_id)")
        };
        put.send().await.map_err(|error| failure("PutItem", &error))?;
        self.erased.learn(subjects, now);
        Ok(())
    }

    /// Removes what the index shows of `subject`: payloads, chunks and conflicting copies, with a tombstone in each record's place.
    /// To be called until it removes nothing, since the index is eventually consistent; safe to repeat.
    ///
    /// # Errors
    /// When DynamoDB does not answer. What was removed until then stays removed.
    pub async fn erase(&self, subject: &Subject, now: Timestamp) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for key in self.keys(subject).await? {
            if let Some(head) = self.head(&self.reader, &key).await? {
                removed += self.erase_item(&key, &head, now).await?;
            }
        }
        Ok(removed)
    }

    async fn erase_item(&self, key: &str, head: &Item, now: Timestamp) -> Result<Removed, StoreError> {
        if erased_at(head).is_some() {
            return Ok(Removed::default());
        }
        // The chunks first: whoever is interrupted finds the head again.
        let chunks = chunk_keys(head);
        for chunk in &chunks {
            self.delete(chunk).await?;
        }
        if head.contains_key(attribute::CONFLICT_OF) {
            self.delete(key).await?;
            return Ok(Removed { conflicts: 1, chunks: chunks.len(), events: 0 });
        }
        self.put(tombstone(key, now, now.as_secs() + self.ttl_seconds)).await?;
        Ok(Removed { events: 1, chunks: chunks.len(), conflicts: 0 })
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let delete = self.writer.delete_item().table_name(&self.table).key(attribute::EVENT_ID, text(key));
        delete.send().await.map(drop).map_err(|error| failure("DeleteItem", &error))
    }
}
