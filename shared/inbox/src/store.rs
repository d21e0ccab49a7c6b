//! The DynamoDB adapter.
//!
//! A new event costs one request: a `PutItem` on the condition that no visible item has its id. If one exists, the
//! response contains it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Intercept;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use futures_util::{TryStreamExt, stream};
use gatehouse_payload::time::Timestamp;

use gatehouse_payload::Outcome;
use gatehouse_payload::event::{Event, EventId, Subject};
use gatehouse_runtime::aws::CallLimits;

pub mod ask;
pub mod by_source;
pub mod claim;
pub mod erase;
pub mod item;
pub mod request;
pub mod slots;

use erase::ErasedSubjects;
pub use item::{Damaged, Item, Record, conflict_key};
use item::{Existing, Packed, attribute, chunk_keys, erased_at, is_expired, text, text_of};
use request::{ConditionalWrite, conditional_put, failure};

/// Time limit of one request while an event is recorded, including its second attempt.
const WRITE_LIMIT: Duration = Duration::from_millis(1200);
/// Time limit of one request that reads records: up to 16 MB, while no vendor waits for a response.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Time limit of one request of a command whose user watches its progress.
const WATCHED_LIMIT: Duration = Duration::from_secs(12);
/// Number of chunks that are written concurrently. More would share the same bandwidth and exceed the time limit.
const CONCURRENT_CHUNKS: usize = 4;
/// Pause before a batch of which DynamoDB processed nothing is requested again. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The index by which timelines are read.
pub const SUBJECT_INDEX: &str = "by-subject";

/// The event table.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Client,
    reader: Client,
    table: String,
    ttl_seconds: i64,
    erased: ErasedSubjects,
}

/// Why an operation of the store failed. Safe to log: names operations and codes, never content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB was down, slow, throttled or denied access. The same request may succeed later.
    #[error("DynamoDB {operation}: {code}")]
    Transient {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code, or a few words if there was no response.
        code: String,
    },
    /// DynamoDB rejected the content of the request. The same request will be rejected again.
    #[error("DynamoDB {operation}: {code}")]
    Permanent {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code.
        code: String,
    },
    /// The item exists but is not a readable record.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl StoreError {
    /// Whether the same operation may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Transient { .. })
    }
}

/// The result of recording an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Recorded, duplicate, conflict or erased.
    pub outcome: Outcome,
    /// The reply to this delivery. A duplicate, or a conflict that was recorded before, gets the recorded reply.
    pub answer: Option<String>,
}

/// The visible content of an event's item.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// There is no visible item.
    Empty,
    /// A tombstone: the event was erased at this time.
    Erased(Timestamp),
    /// The event's record.
    Record(Box<Record>),
    /// An item that cannot be read.
    Damaged(Damaged),
}

/// The type of an event and when it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The vendor's name for the type of the event.
    pub event_type: Option<String>,
    /// The time at which the receiver received it.
    pub received_at: Timestamp,
}

/// A page of a subject's events, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The records by `occurred_at`, then by event id. A conflicting copy with the same time follows its record.
    pub records: Vec<Record>,
    /// The keys of unreadable items, and what is wrong with each. They do not hide the other events.
    pub damaged: Vec<(String, Damaged)>,
    /// The token of the next page; absent on the last page.
    pub next: Option<PageToken>,
}

/// The position at which a listing continues.
#[derive(Debug, Clone, PartialEq)]
pub struct PageToken(Item);

impl Store {
    /// Creates a store on `table`. It honours the SDK's endpoint variables.
    #[must_use]
    pub fn new(sdk: &SdkConfig, table: &str, ttl_days: u32) -> Self {
        Self::with_write_limit(WRITE_LIMIT, sdk, table, ttl_days)
    }

    /// Creates a store whose writes have the same long time limit as its reads, for callers that no vendor waits for.
    #[must_use]
    pub fn with_long_limits(sdk: &SdkConfig, table: &str, ttl_days: u32) -> Self {
        Self::with_write_limit(READ_LIMIT, sdk, table, ttl_days)
    }

    /// Creates a store for a command, with a time limit of 12 s per request. `interceptor` sees every request.
    #[must_use]
    pub fn watched(sdk: &SdkConfig, table: &str, ttl_days: u32, interceptor: impl Intercept + Clone + 'static) -> Self {
        let limits = CallLimits::within(WATCHED_LIMIT);
        let config = aws_sdk_dynamodb::config::Builder::from(sdk)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .interceptor(interceptor);
        let client = Client::from_conf(config.build());
        Self::with_clients(client.clone(), client, table, ttl_days)
    }

    fn with_write_limit(write_limit: Duration, sdk: &SdkConfig, table: &str, ttl_days: u32) -> Self {
        let client = |limit| {
            let limits = CallLimits::within(limit);
            let config = aws_sdk_dynamodb::config::Builder::from(sdk)
                .timeout_config(limits.timeouts())
                .retry_config(limits.retries());
            Client::from_conf(config.build())
        };
        Self::with_clients(client(write_limit), client(READ_LIMIT), table, ttl_days)
    }

    fn with_clients(writer: Client, reader: Client, table: &str, ttl_days: u32) -> Self {
        let (table, ttl_seconds) = (table.to_owned(), i64::from(ttl_days) * 86_400);
        Store { writer, reader, table, ttl_seconds, erased: ErasedSubjects::default() }
    }

    /// Returns how long records are stored, in seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> i64 {
        self.ttl_seconds
    }

    /// Opens the connection and reads the erased subjects before the first event needs them. Ignores failures, which
    /// the first event reports.
    pub async fn warm(&self, now: Timestamp) {
        self.try_refresh_erased(now).await;
    }

    /// Records `event` once, with its reply. Any number of calls for the same event leave one record, whether they are
    /// concurrent, repeated, or retries after a lost response.
    ///
    /// # Errors
    /// If DynamoDB did not confirm the write. The event may be recorded nevertheless; the same call then returns its
    /// outcome.
    pub async fn record(&self, event: &Event, now: Timestamp) -> Result<Recorded, StoreError> {
        let packed = Packed::new(event, now.as_secs() + self.ttl_seconds)
            .map_err(|error| StoreError::Transient { operation: "compress", code: error.kind().to_string() })?;
        let with_new_answer = |outcome| Recorded { outcome, answer: event.answer.clone() };
        if self.erased.contain_subject_of(event, now) {
            // The tombstone shows later readers what happened to this event. An earlier attempt whose response was lost
            // may have written it.
            self.undo_write(event, &packed, now).await?;
            return Ok(with_new_answer(Outcome::Erased));
        }
        let was_stale = self.erased.are_stale(now);
        // The refresh is rare and runs concurrently with the write, so that a new event costs one request.
        let refresh = async {
            if was_stale {
                self.try_refresh_erased(now).await;
            }
        };
        let (existing, ()) = tokio::join!(self.put_if_absent(packed.record(event), &packed, now), refresh);
        let existing = existing?;
        if was_stale && self.erased.contain_subject_of(event, now) {
            // The subject was erased since the last refresh, so a write of this event must be undone.
            if existing.as_ref().is_none_or(|existing| existing.nonce == Some(event.nonce)) {
                self.undo_write(event, &packed, now).await?;
            }
            return Ok(with_new_answer(Outcome::Erased));
        }
        let Some(existing) = existing else {
            return Ok(with_new_answer(Outcome::Recorded));
        };
        if existing.erased.is_some_and(|subject| erase::may_be_about(event, &subject)) {
            return Ok(with_new_answer(Outcome::Erased));
        }
        if existing.nonce == Some(event.nonce) {
            return Ok(with_new_answer(Outcome::Recorded));
        }
        if existing.fingerprint == Some(event.fingerprint) || event.is_one_question {
            return Ok(Recorded { outcome: Outcome::Duplicate, answer: existing.answer });
        }
        // The copy's key contains the fingerprint, so an existing copy has the same content.
        match self.put_if_absent(packed.conflict(event), &packed, now).await? {
            None => Ok(with_new_answer(Outcome::Conflict)),
            Some(copy) => Ok(Recorded { outcome: Outcome::Conflict, answer: copy.answer }),
        }
    }

    /// Writes the chunks and then `head`, unless there is a visible item under its key. Returns that item.
    async fn put_if_absent(&self, head: Item, packed: &Packed, now: Timestamp) -> Result<Option<Existing>, StoreError> {
        if !packed.chunks.is_empty() {
            let key = text_of(&head, attribute::EVENT_ID).unwrap_or_default();
            if let Some(existing) = self.get_item(&self.writer, key).await?.filter(|item| !is_expired(item, now)) {
                return Ok(Some(Existing::of(&existing)));
            }
            let chunks = stream::iter(packed.chunks.iter().map(Ok));
            chunks.try_for_each_concurrent(CONCURRENT_CHUNKS, |chunk| self.put_item(chunk.clone())).await?;
        }
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .set_item(Some(head))
            .condition_expression("attribute_not_exists(event_id) OR expires_at < :now")
            .expression_attribute_values(":now", item::number(now.as_secs()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match conditional_put(put.send().await)? {
            ConditionalWrite::Done => Ok(None),
            ConditionalWrite::ConditionFailed(existing) => Ok(Some(Existing::of(&existing.unwrap_or_default()))),
        }
    }

    async fn put_item(&self, item: Item) -> Result<(), StoreError> {
        let put = self.writer.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(drop).map_err(|error| failure("PutItem", &error))
    }

    async fn get_item(&self, client: &Client, key: &str) -> Result<Option<Item>, StoreError> {
        let get = client.get_item().table_name(&self.table).key(attribute::EVENT_ID, text(key)).consistent_read(true);
        let response = get.send().await.map_err(|error| failure("GetItem", &error))?;
        Ok(response.item)
    }

    /// Returns the record of an event, if there is one and it has not expired.
    ///
    /// # Errors
    /// If DynamoDB does not respond, or the item is damaged.
    pub async fn get(&self, id: &EventId, now: Timestamp) -> Result<Option<Record>, StoreError> {
        match self.content(id, now).await? {
            Content::Record(record) => Ok(Some(*record)),
            Content::Empty | Content::Erased(_) => Ok(None),
            Content::Damaged(damaged) => Err(damaged.into()),
        }
    }

    /// Returns the visible content of an event's item.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn content(&self, id: &EventId, now: Timestamp) -> Result<Content, StoreError> {
        match self.get_item(&self.reader, id.as_str()).await?.filter(|item| !is_expired(item, now)) {
            Some(head) => self.content_of(&head).await,
            None => Ok(Content::Empty),
        }
    }

    async fn content_of(&self, head: &Item) -> Result<Content, StoreError> {
        if let Some(at) = erased_at(head) {
            return Ok(Content::Erased(at));
        }
        match self.decode(head).await {
            Ok(record) => Ok(Content::Record(Box::new(record))),
            Err(StoreError::Damaged(damaged)) => Ok(Content::Damaged(damaged)),
            Err(error) => Err(error),
        }
    }

    /// Returns an event's item as it is stored, without its chunks.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn raw(&self, key: &str) -> Result<Option<Item>, StoreError> {
        self.get_item(&self.reader, key).await
    }

    /// Decodes a record from its item, such as the `NewImage` of the table's stream. Reads the chunks of a large payload
    /// from the table.
    ///
    /// # Errors
    /// If the item is not a record, is damaged, or DynamoDB does not respond.
    pub async fn decode(&self, head: &Item) -> Result<Record, StoreError> {
        let chunks = self.batch_get(chunk_keys(head)).await?;
        Ok(item::decode(head, &chunks)?)
    }

    /// Returns a page of a subject's events, oldest first, at most `limit` (1–100) of them. Expired events are left
    /// out, so a page may be short or empty although there are more pages.
    ///
    /// The index is eventually consistent: an event may be missing for a moment after it was recorded.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn timeline(
        &self,
        subject: &Subject,
        now: Timestamp,
        from: Option<PageToken>,
        limit: u8,
    ) -> Result<Page, StoreError> {
        // Events of earlier releases come first.
        let names: Vec<Subject> = subject.names().collect();
        let started = from.as_ref().and_then(|token| text_of(&token.0, attribute::SUBJECT));
        let n = started.and_then(|started| names.iter().position(|name| name.as_str() == started));
        let n = n.unwrap_or(names.len() - 1);
        // A token without a key begins a name.
        let start = from.map(|token| token.0).filter(|key| key.contains_key(attribute::EVENT_ID));
        let query = self.query_of(&names[n]).limit(i32::from(limit.clamp(1, 100))).set_exclusive_start_key(start);
        let response = query.send().await.map_err(|error| failure("Query", &error))?;
        // The index may lag behind the table: it may list an overwritten item twice, or under its former subject. So
        // the items themselves are read.
        let keys: BTreeSet<&str> =
            response.items().iter().filter_map(|item| text_of(item, attribute::EVENT_ID)).collect();
        let heads: BTreeMap<_, _> =
            self.batch_get(keys.into_iter().map(str::to_owned).collect()).await?.into_iter().collect();
        let next_name = n.checked_sub(1).and_then(|n| names.get(n));
        let next_name = next_name.map(|name| Item::from([(attribute::SUBJECT.to_owned(), text(name.as_str()))]));
        let next = response.last_evaluated_key.or(next_name);
        let mut page = Page { next: next.map(PageToken), ..Page::default() };
        for (key, head) in heads {
            if is_expired(&head, now) || !is_about(&head, subject) {
                continue;
            }
            match self.decode(&head).await {
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

    /// Returns the keys of a subject's items, oldest first. A reader can compare them with the keys that it has read.
    ///
    /// # Errors
    /// Like [`timeline`](Self::timeline).
    pub async fn keys(&self, subject: &Subject) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let names: Vec<Subject> = subject.names().collect();
        for name in names.iter().rev() {
            let mut from = None;
            loop {
                let query = self.query_of(name).set_exclusive_start_key(from.take());
                let response = query.send().await.map_err(|error| failure("Query", &error))?;
                let page = response.items().iter().filter_map(|item| text_of(item, attribute::EVENT_ID));
                keys.extend(page.map(str::to_owned));
                from = response.last_evaluated_key;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(keys)
    }

    /// Whether the index lists an item of a subject. It may have expired.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn has_subject(&self, subject: &Subject) -> Result<bool, StoreError> {
        for name in subject.names() {
            let response = self.query_of(&name).limit(1).send().await.map_err(|error| failure("Query", &error))?;
            if !response.items().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the types and the times of receipt of the items under `keys`, by key. Leaves out missing items, and those
    /// that are not of events.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn headings(&self, keys: Vec<String>) -> Result<BTreeMap<String, Heading>, StoreError> {
        let items = self.batch_get_attributes(keys, Some("event_id, event_type, received_at")).await?;
        let heading = |item: Item| {
            let received_at = text_of(&item, attribute::RECEIVED_AT).and_then(Timestamp::parse)?;
            let event_type = text_of(&item, attribute::EVENT_TYPE).map(str::to_owned);
            Some(Heading { event_type, received_at })
        };
        Ok(items.into_iter().filter_map(|(key, item)| Some((key, heading(item)?))).collect())
    }

    /// Returns the visible content of the items under `keys`, by key. Leaves out expired and missing items.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn contents(&self, keys: Vec<String>, now: Timestamp) -> Result<HashMap<String, Content>, StoreError> {
        let mut contents = HashMap::new();
        // Sorted, so that the order of the requests for chunks does not vary.
        let heads: BTreeMap<_, _> = self.batch_get(keys).await?.into_iter().collect();
        for (key, head) in heads {
            if !is_expired(&head, now) {
                contents.insert(key, self.content_of(&head).await?);
            }
        }
        Ok(contents)
    }

    /// Returns all of a subject's events, oldest first.
    ///
    /// # Errors
    /// Like [`timeline`](Self::timeline).
    pub async fn whole_timeline(&self, subject: &Subject, now: Timestamp) -> Result<Page, StoreError> {
        let mut all = Page::default();
        loop {
            let page = self.timeline(subject, now, all.next.take(), 100).await?;
            all.records.extend(page.records);
            all.damaged.extend(page.damaged);
            all.next = page.next;
            if all.next.is_none() {
                all.records.sort_by(|a, b| timeline_order(a).cmp(&timeline_order(b)));
                all.records.dedup();
                return Ok(all);
            }
        }
    }

    /// Reads the items that exist among `keys`, by key, with consistent reads and as many requests as needed.
    async fn batch_get(&self, keys: Vec<String>) -> Result<BTreeMap<String, Item>, StoreError> {
        self.batch_get_attributes(keys, None).await
    }

    /// The same for some attributes, which are named in a projection expression.
    async fn batch_get_attributes(
        &self,
        keys: Vec<String>,
        projection: Option<&str>,
    ) -> Result<BTreeMap<String, Item>, StoreError> {
        let mut found = BTreeMap::new();
        let mut remaining: Vec<Item> =
            keys.iter().map(|key| HashMap::from([(attribute::EVENT_ID.to_owned(), text(key))])).collect();
        let mut pause = FIRST_PAUSE;
        while !remaining.is_empty() {
            let batch = remaining.split_off(remaining.len().saturating_sub(100));
            let requested = batch.len();
            let keys = KeysAndAttributes::builder().set_keys(Some(batch)).consistent_read(true);
            let keys = keys.set_projection_expression(projection.map(str::to_owned)).build();
            let keys =
                keys.map_err(|_| StoreError::Permanent { operation: "BatchGetItem", code: "NoKeys".to_owned() })?;
            let get = self.reader.batch_get_item().request_items(&self.table, keys);
            let response = get.send().await.map_err(|error| failure("BatchGetItem", &error))?;
            for item in response.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
                if let Some(key) = text_of(&item, attribute::EVENT_ID) {
                    found.insert(key.to_owned(), item);
                }
            }
            let unprocessed = response.unprocessed_keys.unwrap_or_default().remove(&self.table);
            let unprocessed = unprocessed.map(|keys| keys.keys).unwrap_or_default();
            // Items that did not fit in the response are requested again at once. If none fitted, DynamoDB throttles.
            if unprocessed.len() == requested {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            } else {
                pause = FIRST_PAUSE;
            }
            remaining.extend(unprocessed);
        }
        Ok(found)
    }
}

/// Whether an item is about a subject, under any of its names.
fn is_about(head: &Item, subject: &Subject) -> bool {
    text_of(head, attribute::SUBJECT).is_some_and(|text| subject.names().any(|name| name.as_str() == text))
}

fn timeline_order(record: &Record) -> (Timestamp, &str, bool, gatehouse_payload::Fingerprint) {
    (record.event.occurred_at, record.event.id.as_str(), record.conflict, record.event.fingerprint)
}
