//! Erases subjects: removes their events and prevents new ones from being recorded.
//!
//! A tombstone replaces each erased record, so that neither a vendor's retry nor a queued message restores it. Events
//! of the same subject that were never recorded have no tombstone. Therefore the item `erased` lists the hashes of all
//! erased subjects. Each instance reads this item when it starts, and again while it records an event if its copy is
//! [`STALE`] seconds old. If the event's subject turns out to be erased, the instance undoes the write. So an event
//! costs no additional request, except for a concurrent refresh once a minute.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::HEXLOWER;
use gatehouse_payload::time::Timestamp;
use sha2::{Digest, Sha256};

use tokio::time::timeout;

use super::item::{
    Item, Packed, attribute, binary, blanked, bytes_of, chunk_keys, erased_at, number, number_of, text, tombstone,
};
use super::request::{conditional_put, failure};
use super::{Store, StoreError, is_about};
use gatehouse_payload::event::{Event, Subject};

/// The key of the item that lists the erased subjects.
const KEY: &str = "erased";
/// The attribute that maps the hash of a subject to its expiry, in seconds since the epoch.
const SUBJECTS: &str = "subjects";
/// The attribute that each change of the list increments.
const REVISION: &str = "revision";
/// Age at which an instance refreshes its copy of the list, in seconds.
pub const STALE: i64 = 60;
/// Delay before the next refresh after a failed one, in seconds.
const RETRY_AFTER: i64 = 10;
/// Time limit of a refresh while an event is recorded.
const REFRESH_LIMIT: Duration = Duration::from_millis(300);
/// Maximum length of the list, which must fit in one item. The subject that expires first is removed to make room.
const MAX_SUBJECTS: usize = 4000;
/// Number of bytes of a subject's SHA-256 that the list stores.
const HASH_BYTES: usize = 16;

/// An instance's copy of the list of erased subjects. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct ErasedSubjects(Arc<RwLock<List>>);

#[derive(Debug, Default)]
struct List {
    refreshed_at: Option<Timestamp>,
    /// Start of the last refresh; `None` after a success.
    tried_at: Option<Timestamp>,
    /// Expiry by the hash of a subject.
    subjects: HashMap<String, i64>,
}

/// The number of items that were removed for a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Records, each of which was replaced by a tombstone.
    pub events: usize,
    /// Copies of conflicting deliveries.
    pub conflicts: usize,
    /// Chunks of large payloads.
    pub chunks: usize,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.conflicts += other.conflicts;
        self.chunks += other.chunks;
    }
}

impl ErasedSubjects {
    /// Whether a refresh is due.
    pub(super) fn are_stale(&self, now: Timestamp) -> bool {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_older = |at: Option<Timestamp>, seconds| {
            at.is_none_or(|at| !(0..seconds).contains(&(now.as_secs() - at.as_secs())))
        };
        is_older(list.refreshed_at, STALE) && is_older(list.tried_at, RETRY_AFTER)
    }

    /// Whether the subject of `event` was erased.
    pub(super) fn contain_subject_of(&self, event: &Event, now: Timestamp) -> bool {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let expiry = |subject| list.subjects.get(&hash(subject)).copied();
        // The first condition avoids hashing in the usual case, in which the list is empty.
        !list.subjects.is_empty()
            && event.subject.as_ref().and_then(expiry).is_some_and(|expiry| expiry >= now.as_secs())
    }

    fn begin_refresh(&self, now: Timestamp) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).tried_at = Some(now);
    }

    fn replace(&self, subjects: HashMap<String, i64>, now: Timestamp) {
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *list = List { refreshed_at: Some(now), tried_at: None, subjects };
    }
}

/// Whether an event may be about the subject of a tombstone. This is true for an event without a subject.
pub(super) fn may_be_about(event: &Event, erased_hash: &str) -> bool {
    event.subject.as_ref().is_none_or(|subject| hash(subject) == erased_hash)
}

/// Returns the hash of a subject. The subject itself, which may be an address or a number, is not stored.
///
/// All names of a subject have one hash, that of the oldest name. So a subject that one release has erased is erased for
/// every other release too.
fn hash(subject: &Subject) -> String {
    let oldest = subject.names().last().unwrap_or_else(|| subject.clone());
    HEXLOWER.encode(&Sha256::digest(oldest.as_str())[..HASH_BYTES])
}

fn subjects_of(item: Option<&Item>) -> HashMap<String, i64> {
    let map = item.and_then(|item| item.get(SUBJECTS)).and_then(|map| map.as_m().ok());
    let expiry = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
    map.into_iter().flatten().filter_map(|(hash, value)| Some((hash.clone(), expiry(value)?))).collect()
}

impl Store {
    /// Refreshes this instance's list of erased subjects.
    ///
    /// # Errors
    /// If DynamoDB does not respond. The list is then unchanged.
    pub async fn refresh_erased(&self, now: Timestamp) -> Result<(), StoreError> {
        let item = self.get_item(&self.writer, KEY).await?;
        self.erased.replace(subjects_of(item.as_ref()), now);
        Ok(())
    }

    /// Refreshes the list within [`REFRESH_LIMIT`], concurrently with another request. Ignores failures: the refresh is
    /// repeated later, and the other request reports an outage of DynamoDB.
    pub(super) async fn try_refresh_erased(&self, now: Timestamp) {
        self.erased.begin_refresh(now);
        let _ = timeout(REFRESH_LIMIT, self.refresh_erased(now)).await;
    }

    /// Adds `subject` to the list of erased subjects, so that no event about it is recorded. Other instances know it
    /// after they have refreshed their lists.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it, or the list was changed concurrently. The same call may be repeated.
    pub async fn mark_erased(&self, subject: &Subject, now: Timestamp) -> Result<(), StoreError> {
        let item = self.get_item(&self.writer, KEY).await?;
        let mut subjects = subjects_of(item.as_ref());
        subjects.retain(|_, expiry| *expiry >= now.as_secs());
        let added = hash(subject);
        subjects.insert(added.clone(), now.as_secs() + self.ttl_seconds);
        while subjects.len() > MAX_SUBJECTS {
            // If several have the same expiry, the smallest hash is removed: the order of the map varies.
            let others = subjects.iter().filter(|(hash, _)| **hash != added).map(|(hash, expiry)| (*expiry, hash));
            let Some(first) = others.min().map(|(_, hash)| hash.clone()) else { break };
            subjects.remove(&first);
        }
        let map = subjects.iter().map(|(hash, expiry)| (hash.clone(), number(expiry))).collect();
        let revision: i64 = item.as_ref().and_then(|item| number_of(item, REVISION)).unwrap_or(0);
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .item(attribute::EVENT_ID, text(KEY))
            .item(SUBJECTS, AttributeValue::M(map))
            .item(REVISION, number(revision + 1));
        // The condition prevents concurrent erasures from overwriting each other's subjects.
        let put = if item.is_some() {
            put.condition_expression("revision = :seen").expression_attribute_values(":seen", number(revision))
        } else {
            put.condition_expression("attribute_not_exists(event_id)")
        };
        put.send().await.map_err(|error| failure("PutItem", &error))?;
        self.erased.replace(subjects, now);
        Ok(())
    }

    /// Removes the payloads, chunks and conflicting copies of `subject`, and replaces each record by a tombstone.
    /// Because the index is eventually consistent, repeat the call until it removes nothing.
    ///
    /// # Errors
    /// If DynamoDB does not respond. The call may be repeated.
    pub async fn erase(&self, subject: &Subject, now: Timestamp) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for key in self.keys(subject).await? {
            // The index may lag behind the table, so the item itself is read.
            let head = self.get_item(&self.reader, &key).await?;
            let head = head.filter(|head| is_about(head, subject));
            if let Some(head) = head {
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
        // The claims and chunks are deleted first, so that a repeated call after an interruption finds them by their head.
        self.delete_asks(head).await?;
        let chunks = chunk_keys(head);
        for chunk in &chunks {
            self.delete(chunk).await?;
        }
        if head.contains_key(attribute::CONFLICT_OF) {
            self.delete(key).await?;
            return Ok(Removed { conflicts: 1, chunks: chunks.len(), events: 0 });
        }
        self.write_tombstone(key, bytes_of(head, attribute::NONCE), subject, now).await?;
        Ok(Removed { events: 1, chunks: chunks.len(), conflicts: 0 })
    }

    /// Writes a tombstone if there is no visible item, or in place of the record with this nonce. Does not replace any
    /// other item.
    async fn write_tombstone(
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
        conditional_put(put.send().await).map(drop)
    }

    /// Writes a tombstone for an event whose subject was erased.
    async fn write_tombstone_for(&self, event: &Event, now: Timestamp) -> Result<(), StoreError> {
        let Some(subject) = &event.subject else { return Ok(()) };
        self.write_tombstone(event.id.as_str(), Some(event.nonce.as_bytes()), subject, now).await
    }

    /// Undoes the write of an event. Its chunks are overwritten, because functions have no permission to delete items.
    pub(super) async fn undo_write(&self, event: &Event, packed: &Packed, now: Timestamp) -> Result<(), StoreError> {
        for chunk in &packed.chunks {
            self.put_item(blanked(chunk, now)).await?;
        }
        self.write_tombstone_for(event, now).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let delete = self.writer.delete_item().table_name(&self.table).key(attribute::EVENT_ID, text(key));
        delete.send().await.map(drop).map_err(|error| failure("DeleteItem", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instances of both releases compare these hashes while they run side by side.
    #[test]
    fn hash_of_a_chat_is_the_one_that_earlier_releases_compute() {
        let of_earlier_release = HEXLOWER.encode(&Sha256::digest("ag-kit:conversation:c1")[..HASH_BYTES]);
        for name in ["ag-kit", "chat"] {
            assert_eq!(hash(&Subject::new(name, "conversation", "c1")), of_earlier_release);
        }
    }
}
