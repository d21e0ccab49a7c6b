//! Erasing: tombstones, and what they stand for.
//!
//! A record that is erased leaves a tombstone in its own place, so that no retry of its vendor's and no message on a queue brings it
//! back. What is about the same subject and was never recorded would find no such place; therefore one more item, `erased`, lists the
//! subjects that were erased, by their hashes alone. Each instance reads it when it starts, and beside a record when what it knows is
//! [`STALE`] seconds old; what that record wrote about a subject that has been erased meanwhile it takes back. So honouring it costs
//! a new event no request.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::HEXLOWER;
use gatehouse_payload::time::Timestamp;
use sha2::{Digest, Sha256};

use tokio::time::timeout;

use super::item::{
    Item, Packed, attribute, binary, blank, bytes_of, chunk_keys, erased_at, number, text, text_of, tombstone,
};
use super::{Store, StoreError, failure};
use crate::event::{Event, Subject};

/// The key of the item that lists what was erased.
const KEY: &str = "erased";
/// Its map from a subject's hash to the second from which on it may be forgotten.
const SUBJECTS: &str = "subjects";
/// How old an instance's list may be. In seconds.
pub const STALE: i64 = 60;
/// When a list that could not be read is worth another try. In seconds.
const TRY_AGAIN: i64 = 10;
/// What reading it may take beside a record.
const IN_PASSING: Duration = Duration::from_millis(300);
/// How many subjects the list holds, of which one item has room for; the one that may be forgotten first makes way.
const MOST: usize = 4000;
/// How much of a subject's SHA-256 names it. In bytes.
const HASH_BYTES: usize = 16;

/// The subjects that were erased, as far as this instance knows; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Erased(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    learned_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
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
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_past = |at: Option<Timestamp>, seconds| {
            at.is_none_or(|at| !(0..seconds).contains(&(now.as_secs() - at.as_secs())))
        };
        is_past(known.learned_at, STALE) && is_past(known.tried_at, TRY_AGAIN)
    }

    /// Whether the event is about a subject that was erased.
    pub(super) fn covers(&self, event: &Event, now: Timestamp) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Hashing is worth it only where something was erased at all.
        let until = |subject| known.subjects.get(&hash(subject)).copied();
        !known.subjects.is_empty() && event.subject.as_ref().and_then(until).is_some_and(|until| until >= now.as_secs())
    }

    fn try_at(&self, now: Timestamp) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).tried_at = Some(now);
    }

    fn learn(&self, subjects: HashMap<String, i64>, now: Timestamp) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known { learned_at: Some(now), tried_at: None, subjects };
    }
}

/// Whether an event is about the subject a tombstone was left for. What does not say whom it is about may be.
pub(super) fn is_about(event: &Event, erased: &str) -> bool {
    event.subject.as_ref().is_none_or(|subject| hash(subject) == erased)
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

    /// The same beside something else, which must not wait for it: what cannot be learned now is learned later, and where DynamoDB
    /// does not answer, the record finds that out too.
    pub(super) async fn learn_in_passing(&self, now: Timestamp) {
        self.erased.try_at(now);
        let _ = timeout(IN_PASSING, self.learn_what_is_erased(now)).await;
    }

    /// Lets nothing about `subject` be recorded from now on: by this instance at once, by others as soon as they learn of it.
    ///
    /// # Errors
    /// When DynamoDB does not take it; where somebody else was faster, the same call may be repeated.
    pub async fn bury(&self, subject: &Subject, now: Timestamp) -> Result<(), StoreError> {
        let held = self.head(&self.writer, KEY).await?;
        let mut subjects = subjects_of(held.as_ref());
        subjects.retain(|_, until| *until >= now.as_secs());
        let own = hash(subject);
        subjects.insert(own.clone(), now.as_secs() + self.ttl_seconds);
        while subjects.len() > MOST {
            let first = subjects.iter().filter(|(hash, _)| **hash != own).min_by_key(|(_, until)| **until);
            let Some(first) = first.map(|(hash, _)| hash.clone()) else { break };
            subjects.remove(&first);
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
            // The index may lag: the item itself decides.
            let head = self.head(&self.reader, &key).await?;
            let theirs = head.filter(|head| text_of(head, attribute::SUBJECT) == Some(subject.as_str()));
            if let Some(head) = theirs {
                removed += self.erase_item(&key, &head, subject, now).await?;
            }
        }
        Ok(removed)
    }

    async fn erase_item(
        &self,
        key: &str,
        head: &Item,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Removed, StoreError> {
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
        self.entomb(key, bytes_of(head, attribute::NONCE), subject, now).await?;
        Ok(Removed { events: 1, chunks: chunks.len(), conflicts: 0 })
    }

    /// Puts a tombstone in the place of what this nonce wrote, or where nothing is. Whatever else stands there stays.
    async fn entomb(
        &self,
        key: &str,
        nonce: Option<&[u8]>,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let item = tombstone(key, &hash(subject), now, now.as_secs() + self.ttl_seconds);
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(event_id) OR nonce = :nonce OR expires_at < :now")
            .expression_attribute_values(":nonce", binary(nonce.unwrap_or_default()))
            .expression_attribute_values(":now", number(now.as_secs()));
        match put.send().await {
            Err(error)
                if !error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Err(failure("PutItem", &error))
            }
            _ => Ok(()),
        }
    }

    /// A tombstone for an event that is not recorded, since its subject was erased.
    pub(super) async fn refuse(&self, event: &Event, now: Timestamp) -> Result<(), StoreError> {
        let Some(subject) = &event.subject else { return Ok(()) };
        self.entomb(event.id.as_str(), Some(event.nonce.as_bytes()), subject, now).await
    }

    /// Takes back what was written of an event just now. Its chunks are blanked: functions have no right to delete.
    pub(super) async fn take_back(&self, event: &Event, packed: &Packed, now: Timestamp) -> Result<(), StoreError> {
        for chunk in &packed.chunks {
            self.put(blank(chunk, now)).await?;
        }
        self.refuse(event, now).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let delete = self.writer.delete_item().table_name(&self.table).key(attribute::EVENT_ID, text(key));
        delete.send().await.map(drop).map_err(|error| failure("DeleteItem", &error))
    }
}
