//! Limits how much a holder does concurrently and per minute, with slots that expire.
//!
//! Each holder has one item: a map of the acquired slots with the expiry of each, and the number of slots that were
//! acquired in the current minute. A slot is acquired and released by name, so releasing it twice or too late does not
//! release another slot.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use gatehouse_payload::time::Timestamp;

use super::item::{self, Item, attribute, number, number_of, text};
use super::request::{ConditionalWrite, conditional_put, conditional_update};
use super::{Store, StoreError};
use gatehouse_payload::event::{EventId, Nonce};

/// The attributes of a holder's item. The expressions below contain them too.
const IN_MINUTE: &str = "in_minute";
const TURNS: &str = "turns";
const SLOTS: &str = "slots";

/// Number of attempts while other requests change the item concurrently.
const ATTEMPTS: usize = 8;
/// How long an item is stored after the last acquisition, in seconds.
const ITEM_TTL: i64 = 86_400;
/// Number of expired slots that are removed at once; DynamoDB limits the length of an expression.
const MAX_REMOVED: usize = 20;
/// Delay before the next request for a concurrent slot, in seconds.
const RETRY_AFTER: u64 = 2;

/// The limits of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Number of concurrent slots; `None` for no limit.
    pub concurrent: Option<u32>,
    /// Number of slots per clock minute; `None` for no limit.
    pub per_minute: Option<u32>,
}

/// The name of a slot. It can be released even if it was not acquired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The key of the holder's item: `slots:…`.
    pub key: EventId,
    /// The name of the slot within the item.
    pub nonce: Nonce,
}

/// The outcome of acquiring a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotOutcome {
    /// The slot is acquired.
    Acquired,
    /// The holder has no free slot.
    Refused(LimitReached),
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The limit of concurrent slots.
    Concurrent {
        /// Delay before the next request, in seconds.
        retry_after: u64,
    },
    /// The limit of slots per minute.
    PerMinute {
        /// Time until the next minute, in seconds.
        retry_after: u64,
    },
}

/// The content of a holder's item.
struct Usage {
    minute: i64,
    /// Number of slots that were acquired in `minute`.
    count: u32,
    /// The acquired slots, and the expiry of each.
    slots: HashMap<String, AttributeValue>,
}

impl Limits {
    /// Whether there are no limits.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Limits::default()
    }
}

impl Store {
    /// Acquires a slot that expires at `until`.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The slot may be acquired nevertheless and should be released.
    pub async fn acquire_slot(
        &self,
        slot: &Slot,
        limits: Limits,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SlotOutcome, StoreError> {
        let minute = now.as_secs().div_euclid(60);
        let mut change = Change::within_minute(limits, minute);
        for _ in 0..ATTEMPTS {
            let existing = match self.change_slots(slot, change, until, now).await? {
                ConditionalWrite::Done => return Ok(SlotOutcome::Acquired),
                ConditionalWrite::ConditionFailed(existing) => existing,
            };
            let Some(existing) = existing else {
                if self.create_item(slot, minute, until, now).await? {
                    return Ok(SlotOutcome::Acquired);
                }
                change = Change::within_minute(limits, minute);
                continue;
            };
            let usage = Usage::of(&existing);
            // The response to an earlier attempt to acquire this slot was lost.
            if usage.slots.contains_key(&slot.nonce.to_string()) {
                return Ok(SlotOutcome::Acquired);
            }
            if let Some(limit) = usage.limit_reached(limits, minute, now) {
                return Ok(SlotOutcome::Refused(limit));
            }
            change = if usage.minute >= minute && has_room(limits, usage.slots.len()) {
                // After the minute has begun, this condition lets concurrent requests succeed together.
                Change::within_minute(limits, usage.minute)
            } else {
                Change::of_seen(&usage, minute, now)
            };
        }
        // With so many concurrent requests, the client has to retry.
        Ok(SlotOutcome::Refused(LimitReached::Concurrent { retry_after: RETRY_AFTER }))
    }

    /// Releases a slot, even if it has expired.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The slot then expires.
    pub async fn release_slot(&self, slot: &Slot) -> Result<(), StoreError> {
        let update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(slot.key.as_str()))
            .update_expression("REMOVE slots.#slot")
            .condition_expression("attribute_exists(slots.#slot)")
            .expression_attribute_names("#slot", slot.nonce.to_string());
        conditional_update(update.send().await).map(drop)
    }

    /// Adds a slot to the holder's item, if the condition of `change` is true.
    async fn change_slots(
        &self,
        slot: &Slot,
        change: Change,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<ConditionalWrite, StoreError> {
        let mut update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(slot.key.as_str()))
            .condition_expression(change.condition)
            .expression_attribute_names("#slot", slot.nonce.to_string())
            .expression_attribute_values(":until", number(until.as_secs()))
            .expression_attribute_values(":expires_at", number(now.as_secs() + ITEM_TTL))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut expression = format!("{}, slots.#slot = :until, expires_at = :expires_at", change.update);
        for (n, expired) in change.expired.into_iter().enumerate() {
            expression.push_str(if n == 0 { " REMOVE " } else { ", " });
            expression.push_str(&format!("slots.#expired{n}"));
            update = update.expression_attribute_names(format!("#expired{n}"), expired);
        }
        for (name, value) in change.values {
            update = update.expression_attribute_values(name, value);
        }
        conditional_update(update.update_expression(expression).send().await)
    }

    /// Creates the holder's item with its first slot. Returns false if the item exists.
    async fn create_item(
        &self,
        slot: &Slot,
        minute: i64,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let slots = HashMap::from([(slot.nonce.to_string(), number(until.as_secs()))]);
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .item(attribute::EVENT_ID, text(slot.key.as_str()))
            .item(attribute::V, number(item::FORMAT))
            .item(IN_MINUTE, number(minute))
            .item(TURNS, number(1))
            .item(SLOTS, AttributeValue::M(slots))
            .item(attribute::EXPIRES_AT, number(now.as_secs() + ITEM_TTL))
            .condition_expression("attribute_not_exists(event_id)");
        Ok(conditional_put(put.send().await)?.is_done())
    }
}

/// A conditional change of a holder's item.
struct Change {
    condition: &'static str,
    update: &'static str,
    values: Vec<(&'static str, AttributeValue)>,
    /// The names of expired slots, which are removed.
    expired: Vec<String>,
}

impl Change {
    /// The usual change, which costs one request: `minute` has already begun, and no limit is reached.
    fn within_minute(limits: Limits, minute: i64) -> Change {
        Change {
            // The last part is false if an earlier attempt succeeded and its response was lost.
            condition: "in_minute = :minute AND turns < :per_minute AND size(slots) < :concurrent \
                        AND attribute_not_exists(slots.#slot)",
            update: "SET turns = turns + :one",
            values: vec![
                (":minute", number(minute)),
                (":per_minute", number(limits.per_minute.unwrap_or(u32::MAX))),
                (":concurrent", number(limits.concurrent.unwrap_or(u32::MAX))),
                (":one", number(1)),
            ],
            expired: Vec::new(),
        }
    }

    /// A change on the condition that the item's content is still `seen`: begins `minute` if it is new, and removes
    /// expired slots.
    fn of_seen(seen: &Usage, minute: i64, now: Timestamp) -> Change {
        let count = if minute > seen.minute { 1 } else { seen.count.saturating_add(1) };
        // In a fixed order, so that equal requests have equal bodies.
        let expired: BTreeSet<_> = seen.expired(now).cloned().collect();
        Change {
            // Every request that acquires a slot changes at least one of the two.
            condition: "in_minute = :seen_minute AND turns = :seen_turns",
            update: "SET in_minute = :minute, turns = :turns",
            values: vec![
                (":seen_minute", number(seen.minute)),
                (":seen_turns", number(seen.count)),
                // Another instance's clock may be ahead.
                (":minute", number(minute.max(seen.minute))),
                (":turns", number(count)),
            ],
            expired: expired.into_iter().take(MAX_REMOVED).collect(),
        }
    }
}

impl Usage {
    fn of(item: &Item) -> Usage {
        let slots = item.get(SLOTS).and_then(|slots| slots.as_m().ok()).cloned();
        Usage {
            minute: number_of(item, IN_MINUTE).unwrap_or_default(),
            count: number_of(item, TURNS).unwrap_or_default(),
            slots: slots.unwrap_or_default(),
        }
    }

    fn expired(&self, now: Timestamp) -> impl Iterator<Item = &String> {
        let is_expired = move |until: &AttributeValue| {
            until.as_n().ok().and_then(|until| until.parse::<i64>().ok()).is_none_or(|until| until < now.as_secs())
        };
        self.slots.iter().filter(move |(_, until)| is_expired(until)).map(|(slot, _)| slot)
    }

    fn limit_reached(&self, limits: Limits, minute: i64, now: Timestamp) -> Option<LimitReached> {
        if self.minute >= minute && limits.per_minute.is_some_and(|limit| self.count >= limit) {
            let next_minute = (self.minute + 1) * 60 - now.as_secs();
            return Some(LimitReached::PerMinute { retry_after: u64::try_from(next_minute).unwrap_or(1).max(1) });
        }
        let running = self.slots.len() - self.expired(now).count();
        (!has_room(limits, running)).then_some(LimitReached::Concurrent { retry_after: RETRY_AFTER })
    }
}

fn has_room(limits: Limits, running: usize) -> bool {
    limits.concurrent.is_none_or(|limit| running < usize::try_from(limit).unwrap_or(usize::MAX))
}
