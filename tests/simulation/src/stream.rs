//! The event table's stream, Lambda's event source that passes it to outbox, and the timer of deliver.

use std::collections::VecDeque;

use gatehouse_deliveries::outbox::StreamBatch;
use gatehouse_memory::dynamodb::Change;
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::fleet::Fleet;
use crate::plan::Ms;
use crate::trace::digest;
use crate::world::{START, TABLE, World};

/// The number of shards. Changes of one item are in one shard.
pub const SHARDS: usize = 2;
/// The largest batch: the template's `BatchSize`.
const MAX_BATCH: usize = 100;
/// The longest pause before a batch is repeated, in milliseconds.
const MAX_PAUSE: Ms = 60_000;
/// The time between two sweeps, in milliseconds.
const SWEEP_EVERY: Ms = 60_000;

/// The changes of records, by shard.
#[derive(Debug, Default)]
pub struct Stream {
    shards: [VecDeque<Value>; SHARDS],
    count: u64,
}

impl Stream {
    /// Adds a change, unless the filter of the event source leaves it out. Returns its shard and its position.
    pub fn add(&mut self, change: &Change) -> Option<(usize, u64)> {
        let new = change.new.as_ref().filter(|new| new.contains_key("source"))?;
        if change.table != TABLE || change.old.as_ref() == Some(new) {
            return None;
        }
        self.count += 1;
        let shard = usize::try_from(digest(&json!(change.key)) % SHARDS as u64).unwrap_or_default();
        let dynamodb = json!({"NewImage": new, "SequenceNumber": self.count.to_string()});
        self.shards[shard].push_back(json!({"eventName": "INSERT", "dynamodb": dynamodb}));
        Some((shard, self.count))
    }
}

/// Passes a shard to outbox forever, batch after batch.
pub async fn poll(world: World, fleet: Fleet, shard: usize) {
    let mut chance = Chance::of(world.state().plan.seed, &[9, shard as u64]);
    let (mut limit, mut failures) = (MAX_BATCH, 0_u32);
    loop {
        if world.state().stream.shards[shard].is_empty() {
            world.until_deliveries_change(None).await;
            continue;
        }
        world.wait(chance.between(20, 400)).await;
        let records: Vec<Value> = world.state().stream.shards[shard].iter().take(limit).cloned().collect();
        let sequence_number = |record: &Value| record.pointer("/dynamodb/SequenceNumber").cloned();
        world.note(format_args!("event source passes {} changes of shard {shard}", records.len()));
        let batch: StreamBatch = serde_json::from_value(json!({"Records": records})).unwrap_or_default();
        let done = match fleet.add_deliveries(batch).await {
            // Lambda divides a batch with which the function failed.
            None => {
                limit = (records.len() / 2).max(1);
                0
            }
            Some(response) => match response.failures.first() {
                None => records.len(),
                Some(failure) => {
                    let is_first = |record: &Value| sequence_number(record) == Some(json!(failure.sequence_number));
                    records.iter().position(is_first).unwrap_or_default()
                }
            },
        };
        let now = world.epoch_ms();
        for record in records.iter().take(done) {
            world.state().model.destinations.shown(record, now);
        }
        if done == records.len() {
            (limit, failures) = (MAX_BATCH, 0);
            // Lambda may pass a batch twice.
            if chance.happens(30) {
                continue;
            }
        } else {
            failures += 1;
            world.wait((500 << failures.min(7)).min(MAX_PAUSE)).await;
        }
        world.state().stream.shards[shard].drain(..done);
    }
}

/// Starts a sweep at each full minute in which a delivery is due. Other sweeps would find nothing.
pub async fn sweep(world: World, fleet: Fleet) {
    loop {
        let Some(due) = world.state().model.destinations.next_due() else {
            world.until_deliveries_change(None).await;
            continue;
        };
        let due = Ms::try_from(due - START).unwrap_or_default();
        let at = due.max(world.now() + 1).div_ceil(SWEEP_EVERY) * SWEEP_EVERY;
        world.until_deliveries_change(Some(at)).await;
        if world.now() >= at {
            world.note("the timer starts a sweep");
            fleet.sweep().await;
        }
    }
}
