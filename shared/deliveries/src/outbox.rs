//! The outbox: adds a delivery for each recorded event and each destination whose filter matches.
//!
//! The table's stream is the outbox. It has what was recorded, so that recording an event needs no second write. A
//! batch may be repeated: adding a delivery again changes nothing, and a doorbell may ring twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};
use gatehouse_inbox::store::item::{Item, from_json, number_of, text_of};
use gatehouse_inbox::{Store, StoreError};
use gatehouse_payload::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::destination::{Destination, Destinations, Order};
use crate::doorbell::Doorbells;
use crate::filter::Match;
use crate::lane::Lane;
use crate::table::{Delivery, DeliveryTable};

/// Number of subjects whose deliveries are added at the same time.
const CONCURRENT: usize = 16;
/// How long before its first use a destination gets events, in seconds: the time until a change of the secrets document
/// is in effect.
const GRACE: i64 = 60;

/// A batch of the table's stream, as Lambda passes it to a function.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StreamBatch {
    /// The changes, in the order of the stream.
    #[serde(rename = "Records")]
    pub records: Vec<Change>,
}

/// A change of an item.
#[derive(Debug, Clone, Deserialize)]
pub struct Change {
    /// The item.
    #[serde(default)]
    pub dynamodb: Image,
}

/// The changed item.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// The item after the change, in DynamoDB JSON; absent if it was deleted.
    #[serde(default)]
    pub new_image: Option<Value>,
    /// The position of the change in the stream.
    #[serde(default)]
    pub sequence_number: String,
}

/// The part of a batch that must be repeated, as Lambda expects it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BatchResponse {
    /// The first change that failed. Lambda repeats the batch from there.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<ItemFailure>,
}

/// The first change that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemFailure {
    /// Its position in the stream.
    #[serde(rename = "itemIdentifier")]
    pub sequence_number: String,
}

/// The head of a record, which has all that a delivery needs without the payload.
struct Head {
    item: Item,
    key: String,
    source: String,
    event_type: Option<String>,
    subject: Option<String>,
    received_at: Timestamp,
    expires_at: i64,
}

impl Head {
    /// Reads the head of a record. `None` for all other items: chunks, claims, slots and tombstones have no source.
    fn read(image: &Value) -> Option<Head> {
        let item = from_json(image)?;
        let own = |name| text_of(&item, name).map(str::to_owned);
        Some(Head {
            key: own("event_id")?,
            source: own("source")?,
            event_type: own("event_type"),
            subject: own("subject"),
            received_at: text_of(&item, "received_at").and_then(Timestamp::parse)?,
            // A record without a readable expiry never expires.
            expires_at: number_of(&item, "expires_at").unwrap_or(i64::MAX),
            item,
        })
    }
}

/// Adds deliveries.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// Reads the payloads that filters need.
    pub store: Store,
    /// Has the deliveries.
    pub table: DeliveryTable,
    /// Wakes the senders.
    pub doorbells: Doorbells,
    /// The times from which destinations get events.
    pub since: Since,
}

/// The times from which destinations get events. They never change, so that each is read once. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Since(Arc<Mutex<BTreeMap<String, Timestamp>>>);

/// The result of a batch.
#[derive(Debug, Default)]
pub struct Added {
    /// The response to Lambda: the change from which it retries the batch.
    pub response: BatchResponse,
    /// The number of deliveries that exist now.
    pub deliveries: usize,
    /// The first error.
    pub error: Option<String>,
}

impl Outbox {
    /// Adds the deliveries of a batch, and rings for their lanes.
    pub async fn add(&self, batch: &StreamBatch, destinations: &Destinations, now: Timestamp) -> Added {
        let mut added = Added::default();
        let heads: Vec<(usize, Head)> = batch.records.iter().enumerate().filter_map(head_of).collect();
        if heads.is_empty() || destinations.names().next().is_none() {
            return added;
        }
        let since = match self.since(destinations, now).await {
            Ok(since) => since,
            Err(error) => {
                let first = heads.first().map_or(0, |(n, _)| *n);
                return failed(batch, first, &error.to_string());
            }
        };
        let mut by_subject: BTreeMap<&str, Vec<&(usize, Head)>> = BTreeMap::new();
        for head in &heads {
            by_subject.entry(head.1.subject.as_deref().unwrap_or(&head.1.key)).or_default().push(head);
        }
        // Collected first: the compiler cannot show that a future with the closure in it is `Send`.
        let additions: Vec<_> =
            by_subject.into_values().map(|heads| self.add_in_order(heads, destinations, &since, now)).collect();
        let results: Vec<Vec<_>> = stream::iter(additions).buffer_unordered(CONCURRENT).collect().await;
        let mut lanes: BTreeMap<Lane, usize> = BTreeMap::new();
        let mut failures: BTreeSet<usize> = BTreeSet::new();
        for (n, result) in results.into_iter().flatten() {
            match result {
                Ok(of_event) => {
                    added.deliveries += of_event.len();
                    for lane in of_event {
                        lanes.entry(lane).or_insert(n);
                    }
                }
                Err(error) => {
                    failures.insert(n);
                    added.error.get_or_insert(error.to_string());
                }
            }
        }
        // In the order of the stream, so that earlier events are sent first.
        let mut ordered: Vec<(&Lane, &usize)> = lanes.iter().collect();
        ordered.sort_by_key(|(_, n)| **n);
        let ordered: Vec<Lane> = ordered.into_iter().map(|(lane, _)| lane.clone()).collect();
        for (lane, error) in self.doorbells.ring(&ordered, false, destinations.are_several()).await {
            failures.extend(lanes.get(&lane));
            added.error.get_or_insert(error.to_string());
        }
        if let Some(first) = failures.first() {
            added.response = failed(batch, *first, "").response;
        }
        added
    }

    /// Returns the time from which each destination gets events.
    async fn since(
        &self,
        destinations: &Destinations,
        now: Timestamp,
    ) -> Result<BTreeMap<String, Timestamp>, StoreError> {
        let mut since = self.since.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_known = |since: &BTreeMap<String, Timestamp>| destinations.names().all(|name| since.contains_key(name));
        if !is_known(&since) {
            since.extend(self.table.destinations().await?.into_iter().map(|(name, state)| (name, state.since)));
            for name in destinations.names() {
                if !since.contains_key(name) {
                    let state = self.table.destination(name, now.plus_secs(-GRACE)).await?;
                    since.insert(name.to_owned(), state.since);
                }
            }
            self.since.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&since);
        }
        Ok(since)
    }

    /// Adds the deliveries of the events of a subject one after the other, until one fails: a sender that sees a
    /// delivery also sees those before it.
    async fn add_in_order(
        &self,
        heads: Vec<&(usize, Head)>,
        destinations: &Destinations,
        since: &BTreeMap<String, Timestamp>,
        now: Timestamp,
    ) -> Vec<(usize, Result<Vec<Lane>, StoreError>)> {
        let mut results = Vec::new();
        for (n, head) in heads {
            let result = self.add_event(head, destinations, since, now).await;
            let has_failed = result.is_err();
            results.push((*n, result));
            if has_failed {
                break;
            }
        }
        results
    }

    /// Adds the deliveries of one event. Returns their lanes.
    async fn add_event(
        &self,
        head: &Head,
        destinations: &Destinations,
        since: &BTreeMap<String, Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<Lane>, StoreError> {
        let mut lanes = Vec::new();
        for name in destinations.names() {
            let is_new_enough = since.get(name).is_some_and(|since| head.received_at >= *since);
            let destination = destinations.get(name);
            let matches = match destination {
                Some(destination) => self.matches(head, destination).await?,
                // Its filter is checked when it is sent.
                None => true,
            };
            if is_new_enough && matches {
                let order = destination.map_or(Order::default(), |destination| destination.order);
                let lane = Lane::of(name, order, head.subject.as_deref(), &head.key);
                let delivery = Delivery {
                    event_type: head.event_type.clone(),
                    subject: head.subject.clone(),
                    is_unfiltered: destination.is_none(),
                    ..Delivery::new(lane.clone(), &head.key, head.received_at, now).of_event_until(head.expires_at)
                };
                self.table.add(&delivery).await?;
                lanes.push(lane);
            }
        }
        Ok(lanes)
    }

    async fn matches(&self, head: &Head, destination: &Destination) -> Result<bool, StoreError> {
        Ok(match destination.filters.match_name(&head.source, head.event_type.as_deref()) {
            Match::Yes => true,
            Match::No => false,
            Match::ByPayload => match self.store.decode(&head.item).await {
                Ok(record) => destination.filters.match_record(&record),
                // The event was erased meanwhile, or the sender will report what is wrong with it.
                Err(StoreError::Damaged(_)) => true,
                Err(error) => return Err(error),
            },
        })
    }
}

fn head_of((n, change): (usize, &Change)) -> Option<(usize, Head)> {
    Some((n, Head::read(change.dynamodb.new_image.as_ref()?)?))
}

/// The result of a batch that must be repeated from its change `first`.
fn failed(batch: &StreamBatch, first: usize, error: &str) -> Added {
    let sequence_number = batch.records.get(first).map(|change| change.dynamodb.sequence_number.clone());
    let failures = sequence_number.into_iter().map(|sequence_number| ItemFailure { sequence_number }).collect();
    Added { response: BatchResponse { failures }, deliveries: 0, error: Some(error.to_owned()) }
}
