//! The DynamoDB adapter.
//!
//! A new event costs one request: a `PutItem` on the condition that its id is free, which in the same round trip tells
//! who holds it otherwise.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Intercept;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use futures_util::{TryStreamExt, stream};
use gatehouse_payload::time::Timestamp;

use crate::Outcome;
use crate::aws::{CallLimits, code_of};
use crate::event::{Event, EventId, Subject};

pub mod arrivals;
pub mod claim;
pub mod erase;
pub mod item;
pub mod slots;

use erase::Erased;
pub use item::{Damaged, Item, Record, conflict_key};
use item::{Existing, Packed, attribute, chunk_keys, erased_at, is_expired, text, text_of, unpack};

/// What one request may take while an event is recorded, its second attempt included.
const WRITE_LIMIT: Duration = Duration::from_millis(1200);
/// What one request may take when records are read back, up to 16 MB at once and with nobody waiting for an answer.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// What one may take while somebody watches.
const WATCHED_LIMIT: Duration = Duration::from_secs(12);
/// How many chunks are written at the same moment: more would only wait for each other's bandwidth, against the limit.
const CHUNKS_AT_ONCE: usize = 4;
/// The index a timeline is read by.
pub const SUBJECT_INDEX: &str = "by-subject";

/// The event table.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Client,
    reader: Client,
    table: String,
    ttl_seconds: i64,
    erased: Erased,
}

/// Why the store did not do what it was asked. Safe to log: names operations and codes, never content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Down, slow, throttled or not allowed: the same request may succeed later.
    #[error("DynamoDB {operation}: {code}")]
    Transient {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code, or what came instead of an answer.
        code: String,
    },
    /// Refused for what it is: the same request will be refused again.
    #[error("DynamoDB {operation}: {code}")]
    Permanent {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code.
        code: String,
    },
    /// An item is there but is no record.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl StoreError {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Transient { .. })
    }
}

/// What recording an event came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Recorded, duplicate, conflict or erased.
    pub outcome: Outcome,
    /// What the delivery is answered with: what the item that stands for it holds, be it this one's or an earlier
    /// one's.
    pub answer: Option<String>,
}

/// What stands in an event's place.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// Nothing that is visible.
    Empty,
    /// It was erased at this time.
    Erased(Timestamp),
    /// Its record.
    Record(Box<Record>),
    /// An item that cannot be read.
    Damaged(Damaged),
}

/// Some of a subject's events, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// By `occurred_at`, then by event id; conflicting copies beside their records.
    pub records: Vec<Record>,
    /// Items that are there but cannot be read, by their key: one of them does not hide the others.
    pub damaged: Vec<(String, Damaged)>,
    /// For the next page; absent on the last.
    pub next: Option<PageToken>,
}

/// Where a timeline goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct PageToken(Item);

impl Store {
    /// A store on `table`. The SDK's endpoint variables are honoured.
    #[must_use]
    pub fn new(sdk: &SdkConfig, table: &str, ttl_days: u32) -> Self {
        Self::within(WRITE_LIMIT, sdk, table, ttl_days)
    }

    /// A store whose writes may take as long as its reads: for commands, whose answer no vendor waits for.
    #[must_use]
    pub fn patient(sdk: &SdkConfig, table: &str, ttl_days: u32) -> Self {
        Self::within(READ_LIMIT, sdk, table, ttl_days)
    }

    /// A store for a command, whose requests `watched` sees: patient, but not for so long that nobody believes in it.
    #[must_use]
    pub fn watched(sdk: &SdkConfig, table: &str, ttl_days: u32, watched: impl Intercept + Clone + 'static) -> Self {
        let limits = CallLimits::within(WATCHED_LIMIT);
        let config = aws_sdk_dynamodb::config::Builder::from(sdk)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .interceptor(watched);
        let client = Client::from_conf(config.build());
        Self::of(client.clone(), client, table, ttl_days)
    }

    fn within(write_limit: Duration, sdk: &SdkConfig, table: &str, ttl_days: u32) -> Self {
        let client = |limit| {
            let limits = CallLimits::within(limit);
            let config = aws_sdk_dynamodb::config::Builder::from(sdk)
                .timeout_config(limits.timeouts())
                .retry_config(limits.retries());
            Client::from_conf(config.build())
        };
        Self::of(client(write_limit), client(READ_LIMIT), table, ttl_days)
    }

    fn of(writer: Client, reader: Client, table: &str, ttl_days: u32) -> Self {
        let (table, ttl_seconds) = (table.to_owned(), i64::from(ttl_days) * 86_400);
        Store { writer, reader, table, ttl_seconds, erased: Erased::default() }
    }

    /// How long what is written is kept, in seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> i64 {
        self.ttl_seconds
    }

    /// Opens the connection before the first event needs it, and learns what was erased. A failure is for the first
    /// event to find.
    pub async fn warm(&self, now: Timestamp) {
        self.learn_in_passing(now).await;
    }

    /// Records `event` once, with its answer. Any number of calls for one event, at once, again, or with a lost answer,
    /// leave one record.
    ///
    /// # Errors
    /// When DynamoDB did not take it; it may have been written all the same, which the same call finds out.
    pub async fn record(&self, event: &Event, now: Timestamp) -> Result<Recorded, StoreError> {
        let packed = Packed::new(event, now.as_secs() + self.ttl_seconds)
            .map_err(|error| StoreError::Transient { operation: "compress", code: error.kind().to_string() })?;
        let own = |outcome| Recorded { outcome, answer: event.answer.clone() };
        if self.erased.covers(event, now) {
            // In its place too, for whoever asks what became of it.
            self.refuse(event, now).await?;
            return Ok(own(Outcome::Erased));
        }
        let was_stale = self.erased.is_stale(now);
        // Beside the write, and only once in a while, so that a new event costs one request.
        let learning = async {
            if was_stale {
                self.learn_in_passing(now).await;
            }
        };
        let (placed, ()) = tokio::join!(self.place(packed.record(event), &packed, now), learning);
        let placed = placed?;
        if was_stale && self.erased.covers(event, now) {
            // It was erased while this instance slept: what was written just now goes again.
            if placed.is_none() {
                self.take_back(event, &packed, now).await?;
            }
            return Ok(own(Outcome::Erased));
        }
        let Some(holder) = placed else {
            return Ok(own(Outcome::Recorded));
        };
        if holder.erased.is_some_and(|subject| erase::is_about(event, &subject)) {
            return Ok(own(Outcome::Erased));
        }
        if holder.nonce == Some(event.nonce) {
            return Ok(own(Outcome::Recorded));
        }
        if holder.fingerprint == Some(event.fingerprint) || event.is_one_question {
            return Ok(Recorded { outcome: Outcome::Duplicate, answer: holder.answer });
        }
        // Whoever holds the copy's place says the same, for its key holds the fingerprint.
        match self.place(packed.conflict(event), &packed, now).await? {
            None => Ok(own(Outcome::Conflict)),
            Some(copy) => Ok(Recorded { outcome: Outcome::Conflict, answer: copy.answer }),
        }
    }

    /// Writes `head` where nothing visible stands, after its chunks; else tells what stands there.
    async fn place(&self, head: Item, packed: &Packed, now: Timestamp) -> Result<Option<Existing>, StoreError> {
        if !packed.chunks.is_empty() {
            let key = text_of(&head, attribute::EVENT_ID).unwrap_or_default();
            if let Some(existing) = self.head(&self.writer, key).await?.filter(|item| !is_expired(item, now)) {
                return Ok(Some(Existing::of(&existing)));
            }
            let chunks = stream::iter(packed.chunks.iter().map(Ok));
            chunks.try_for_each_concurrent(CHUNKS_AT_ONCE, |chunk| self.put(chunk.clone())).await?;
        }
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .set_item(Some(head))
            .condition_expression("attribute_not_exists(event_id) OR expires_at < :now")
            .expression_attribute_values(":now", item::number(now.as_secs()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(held)) => {
                    Ok(Some(Existing::of(held.item().unwrap_or(&HashMap::new()))))
                }
                _ => Err(failure("PutItem", &error)),
            },
        }
    }

    async fn put(&self, item: Item) -> Result<(), StoreError> {
        let put = self.writer.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(drop).map_err(|error| failure("PutItem", &error))
    }

    async fn head(&self, client: &Client, key: &str) -> Result<Option<Item>, StoreError> {
        let get = client.get_item().table_name(&self.table).key(attribute::EVENT_ID, text(key)).consistent_read(true);
        let answer = get.send().await.map_err(|error| failure("GetItem", &error))?;
        Ok(answer.item)
    }

    /// The record of an event, if there is one and it has not expired.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or the item is damaged.
    pub async fn get(&self, id: &EventId, now: Timestamp) -> Result<Option<Record>, StoreError> {
        match self.look(id, now).await? {
            Place::Record(record) => Ok(Some(*record)),
            Place::Empty | Place::Erased(_) => Ok(None),
            Place::Damaged(damaged) => Err(damaged.into()),
        }
    }

    /// What stands in an event's place.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn look(&self, id: &EventId, now: Timestamp) -> Result<Place, StoreError> {
        match self.head(&self.reader, id.as_str()).await?.filter(|item| !is_expired(item, now)) {
            Some(head) => match erased_at(&head) {
                Some(at) => Ok(Place::Erased(at)),
                None => match self.complete(&head).await {
                    Ok(record) => Ok(Place::Record(Box::new(record))),
                    Err(StoreError::Damaged(damaged)) => Ok(Place::Damaged(damaged)),
                    Err(error) => Err(error),
                },
            },
            None => Ok(Place::Empty),
        }
    }

    /// An event's item as it is stored, its chunks left out.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn raw(&self, key: &str) -> Result<Option<Item>, StoreError> {
        self.head(&self.reader, key).await
    }

    async fn complete(&self, head: &Item) -> Result<Record, StoreError> {
        let chunks = self.batch_get(chunk_keys(head)).await?;
        Ok(unpack(head, &chunks)?)
    }

    /// A page of a subject's events, oldest first; at most `limit` (1–100) of them. Expired ones are left out, so a
    /// page may be short, or empty, with more to come.
    ///
    /// The index is eventually consistent: an event may be missing for a moment after it was recorded.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn timeline(
        &self,
        subject: &Subject,
        now: Timestamp,
        from: Option<PageToken>,
        limit: u8,
    ) -> Result<Page, StoreError> {
        let query = self
            .query_of(subject)
            .limit(i32::from(limit.clamp(1, 100)))
            .set_exclusive_start_key(from.map(|token| token.0));
        let answer = query.send().await.map_err(|error| failure("Query", &error))?;
        // The index may lag behind the table: show an item twice that has just been written anew, or under the subject
        // it had. The items themselves decide.
        let keys: BTreeSet<&str> =
            answer.items().iter().filter_map(|item| text_of(item, attribute::EVENT_ID)).collect();
        let heads = self.batch_get(keys.into_iter().map(str::to_owned).collect()).await?;
        let mut page = Page { next: answer.last_evaluated_key.map(PageToken), ..Page::default() };
        for (key, head) in heads {
            if is_expired(&head, now) || text_of(&head, attribute::SUBJECT) != Some(subject.as_str()) {
                continue;
            }
            match self.complete(&head).await {
                Ok(record) => page.records.push(record),
                Err(StoreError::Damaged(damaged)) => page.damaged.push((key, damaged)),
                Err(error) => return Err(error),
            }
        }
        page.records.sort_by(|a, b| timeline_order(a).cmp(&timeline_order(b)));
        Ok(page)
    }

    fn query_of(&self, subject: &Subject) -> QueryFluentBuilder {
        self.reader
            .query()
            .table_name(&self.table)
            .index_name(SUBJECT_INDEX)
            .key_condition_expression("subject = :subject")
            .expression_attribute_values(":subject", text(subject.as_str()))
    }

    /// The keys of a subject's items, oldest first: what a reader compares to what it has seen.
    ///
    /// # Errors
    /// As [`timeline`](Self::timeline).
    pub async fn keys(&self, subject: &Subject) -> Result<Vec<String>, StoreError> {
        let (mut keys, mut from) = (Vec::new(), None);
        loop {
            let query = self.query_of(subject).set_exclusive_start_key(from.take());
            let answer = query.send().await.map_err(|error| failure("Query", &error))?;
            keys.extend(answer.items().iter().filter_map(|item| text_of(item, attribute::EVENT_ID)).map(str::to_owned));
            from = answer.last_evaluated_key;
            if from.is_none() {
                return Ok(keys);
            }
        }
    }

    /// What stands under each of `keys`, by key, expired items left out: what is damaged is not among the records.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn read(&self, keys: Vec<String>, now: Timestamp) -> Result<HashMap<String, Place>, StoreError> {
        let mut places = HashMap::new();
        for (key, head) in self.batch_get(keys).await? {
            if is_expired(&head, now) {
                continue;
            }
            let place = match erased_at(&head) {
                Some(at) => Place::Erased(at),
                None => match self.complete(&head).await {
                    Ok(record) => Place::Record(Box::new(record)),
                    Err(StoreError::Damaged(damaged)) => Place::Damaged(damaged),
                    Err(error) => return Err(error),
                },
            };
            places.insert(key, place);
        }
        Ok(places)
    }

    /// All of a subject's events, oldest first.
    ///
    /// # Errors
    /// As [`timeline`](Self::timeline).
    pub async fn whole_timeline(&self, subject: &Subject, now: Timestamp) -> Result<Page, StoreError> {
        let mut whole = Page::default();
        loop {
            let page = self.timeline(subject, now, whole.next.take(), 100).await?;
            whole.records.extend(page.records);
            whole.damaged.extend(page.damaged);
            whole.next = page.next;
            if whole.next.is_none() {
                whole.records.sort_by(|a, b| timeline_order(a).cmp(&timeline_order(b)));
                whole.records.dedup();
                return Ok(whole);
            }
        }
    }

    /// The items that exist among `keys`, by key; consistent, in as many requests as it takes.
    async fn batch_get(&self, keys: Vec<String>) -> Result<HashMap<String, Item>, StoreError> {
        let mut found = HashMap::new();
        let mut left: Vec<Item> =
            keys.iter().map(|key| HashMap::from([(attribute::EVENT_ID.to_owned(), text(key))])).collect();
        while !left.is_empty() {
            let now = left.split_off(left.len().saturating_sub(100));
            let keys = KeysAndAttributes::builder().set_keys(Some(now)).consistent_read(true).build();
            let keys =
                keys.map_err(|_| StoreError::Permanent { operation: "BatchGetItem", code: "NoKeys".to_owned() })?;
            let get = self.reader.batch_get_item().request_items(&self.table, keys);
            let answer = get.send().await.map_err(|error| failure("BatchGetItem", &error))?;
            for item in answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
                if let Some(key) = text_of(&item, attribute::EVENT_ID) {
                    found.insert(key.to_owned(), item);
                }
            }
            // What did not fit the answer comes in the next.
            let unprocessed = answer.unprocessed_keys.unwrap_or_default().remove(&self.table);
            left.extend(unprocessed.map(|keys| keys.keys).unwrap_or_default());
        }
        Ok(found)
    }
}

fn timeline_order(record: &Record) -> (Timestamp, &str, bool, crate::Fingerprint) {
    (record.event.occurred_at, record.event.id.as_str(), record.conflict, record.event.fingerprint)
}

/// Whether the condition of an update held.
fn condition_held<T, R: std::fmt::Debug>(updated: Result<T, SdkError<UpdateItemError, R>>) -> Result<bool, StoreError> {
    match updated {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
            Ok(false)
        }
        Err(error) => Err(failure("UpdateItem", &error)),
    }
}

fn failure<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> StoreError {
    let code = code_of(error).to_owned();
    // Only what DynamoDB refuses for its content stays refused; permissions, missing tables and throttles get mended.
    let permanent = ["ValidationException", "SerializationException", "ItemCollectionSizeLimitExceededException"];
    if permanent.contains(&code.as_str()) {
        StoreError::Permanent { operation, code }
    } else {
        StoreError::Transient { operation, code }
    }
}
