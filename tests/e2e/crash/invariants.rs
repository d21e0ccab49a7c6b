//! Checks the invariants on the table and the queues.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed};

use super::case::Point;
use crate::support::{messages, record, timeline};

pub(super) type Checked = Result<(), String>;

pub(super) async fn testbed(point: Point) -> Testbed {
    // A failed message is visible again at once, so that no case waits for a backoff. If its visibility cannot be
    // changed, it becomes visible after `batch_visibility`.
    let options = Options { poll: false, visibility: Duration::ZERO, ..Options::default() };
    let options = match point {
        Point::Hide | Point::DeadLetter => Options { batch_visibility: Duration::from_secs(2), ..options },
        _ => options,
    };
    Testbed::start(options).await.unwrap()
}

pub(super) fn ensure(holds: bool, error: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(error()) }
}

/// Runs event-retry until the retry queue is empty.
pub(super) async fn drain(bed: &Testbed) -> Checked {
    for _ in 0..50 {
        if messages(bed, &bed.retry_queue).await == 0 {
            return Ok(());
        }
        bed.take_batch_within(Duration::from_secs(1)).await.unwrap();
    }
    Err("I5: the retry queue is not empty after fifty batches".to_owned())
}

/// I1: an acknowledged event is in the table or on a queue.
pub(super) async fn ensure_durable(bed: &Testbed, event_id: &str, body: &Bytes) -> Checked {
    let recorded = stored_bodies(bed, event_id).await.iter().any(|stored| stored.body == body);
    let queued = messages(bed, &bed.retry_queue).await + messages(bed, &bed.dead_letter_queue).await > 0;
    ensure(recorded || queued, || format!("I1: {event_id} was acknowledged but is not stored"))
}

struct Stored {
    body: Bytes,
    conflict: bool,
}

/// The bodies of an event's record and of its conflicting copies.
async fn stored_bodies(bed: &Testbed, event_id: &str) -> Vec<Stored> {
    let Some(head) = record(bed, event_id).await else { return Vec::new() };
    let subject = head.event.subject.unwrap();
    let records = timeline(bed, subject.as_str()).await;
    let of_event = records.into_iter().filter(|record| record.event.id.as_str() == event_id);
    of_event.map(|record| Stored { body: record.event.body, conflict: record.conflict }).collect()
}

/// The deliveries of a case.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Event ids with their deliveries, in the order in which they were first sent.
    pub(super) deliveries: Vec<(String, Delivery)>,
    /// Bodies of events that were recorded before the failure and must not change, by event id.
    pub(super) settled: BTreeMap<String, Bytes>,
}

impl Delivered {
    pub(super) fn add(&mut self, event_id: &str, delivery: &Delivery) {
        self.deliveries.push((event_id.to_owned(), delivery.clone()));
    }

    /// Checks I1, I2, I5 and I6 after all fault rules are cleared and the retry queue is empty.
    pub(super) async fn check(&self, bed: &Testbed) -> Checked {
        if messages(bed, &bed.dead_letter_queue).await > 0 {
            bed.redrive().await.unwrap();
            drain(bed).await?;
        }
        let ids: BTreeSet<&String> = self.deliveries.iter().map(|(id, _)| id).collect();
        for id in ids {
            let sent: BTreeSet<&[u8]> =
                self.deliveries.iter().filter(|sent| sent.0 == **id).map(|sent| &*sent.1.body).collect();
            let stored = stored_bodies(bed, id).await;
            ensure(!stored.is_empty(), || format!("I1, I5: {id} is not recorded"))?;
            let heads: Vec<&Stored> = stored.iter().filter(|stored| !stored.conflict).collect();
            ensure(heads.len() == 1, || format!("I2: {id} has {} records", heads.len()))?;
            let bodies: BTreeSet<&[u8]> = stored.iter().map(|stored| &*stored.body).collect();
            ensure(bodies == sent && stored.len() == sent.len(), || {
                format!("I2: {id} has {} bodies in {} items, of {} sent", bodies.len(), stored.len(), sent.len())
            })?;
            if let Some(first) = self.settled.get(id) {
                ensure(heads[0].body == first, || format!("I2: the record of {id} was overwritten"))?;
            }
        }
        self.repeat_changes_nothing(bed).await
    }

    /// I6: repeating the deliveries, directly and through the queue, changes nothing.
    async fn repeat_changes_nothing(&self, bed: &Testbed) -> Checked {
        let before = table(bed).await;
        for (id, delivery) in &self.deliveries {
            let answer = delivery.send(&bed.url).await.unwrap();
            ensure(["duplicate", "conflict"].contains(&answer.outcome()), || {
                format!("I6: {id}, sent again, was {} {}", answer.status, answer.outcome())
            })?;
        }
        bed.dynamodb.add_rule(Rule::every(Fault::Cut));
        for (_, delivery) in &self.deliveries {
            delivery.send(&bed.url).await.unwrap();
        }
        bed.dynamodb.clear_rules();
        drain(bed).await?;
        // Each attempt to record a large event leaves chunks that no item refers to. They expire.
        let heads = |items: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            items
                .iter()
                .filter(|(id, _)| !id.starts_with("chunk:"))
                .map(|(id, item)| (id.clone(), item.clone()))
                .collect()
        };
        ensure(heads(&before) == heads(&table(bed).await), || {
            "I6: repeating the deliveries changed the table".to_owned()
        })
    }
}

/// All items as text, by event id.
async fn table(bed: &Testbed) -> BTreeMap<String, String> {
    let mut items = BTreeMap::new();
    let mut pages = bed.dynamodb_client().scan().table_name(&bed.table).into_paginator().items().send();
    while let Some(item) = pages.next().await {
        let item: BTreeMap<_, _> = item.unwrap().into_iter().collect();
        items.insert(item["event_id"].as_s().unwrap().clone(), format!("{item:?}"));
    }
    items
}
