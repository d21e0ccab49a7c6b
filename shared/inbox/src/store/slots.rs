//! How much one holder does at a time, and in a minute: slots that free themselves.
//!
//! One item per holder has a map of the slots that are taken, each with the time it ends by itself, and a count of
//! those taken in the current minute. A slot is taken and freed by its own name, so that what is freed twice or too
//! late frees no other.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use gatehouse_payload::time::Timestamp;

use super::item::{self, Item, attribute, number, number_of, text};
use super::{Store, StoreError, condition_held, failure};
use crate::event::{EventId, Nonce};

/// How often it is tried anew because others take slots at the same moment.
const TRIES: usize = 8;
/// How long an item outlives its last slot, in seconds.
const KEPT: i64 = 86_400;
/// How many slots that have ended are cleared away at once: an expression may not be long.
const CLEARED: usize = 20;
/// When it is worth asking again for one of the slots, in seconds.
const SOON: u64 = 2;

/// How much one holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How many slots at a time.
    pub concurrent: Option<u32>,
    /// How many a minute, by the clock.
    pub per_minute: Option<u32>,
}

/// A slot, by its name: it can be freed whether it was taken or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The holder's item: `slots:…`.
    pub key: EventId,
    /// Names it among the holder's.
    pub nonce: Nonce,
}

/// There is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As many are taken as may be at a time.
    Concurrent {
        /// When to ask again, in seconds.
        retry_after: u64,
    },
    /// As many were taken as may be in a minute.
    PerMinute {
        /// When the next minute begins, in seconds.
        retry_after: u64,
    },
}

/// What an item says of its holder.
struct Taken {
    minute: i64,
    count: u32,
    slots: HashMap<String, AttributeValue>,
}

impl Limits {
    /// Whether there are none.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Limits::default()
    }
}

impl Store {
    /// Takes a slot, which ends by itself at `until`.
    ///
    /// # Errors
    /// When DynamoDB did not take it; it may have been taken all the same, and should be freed.
    pub async fn take_slot(
        &self,
        slot: &Slot,
        limits: Limits,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<(), Full>, StoreError> {
        let minute = now.as_secs().div_euclid(60);
        let mut change = Change::usual(limits, minute);
        for _ in 0..TRIES {
            let Err(held) = self.change_slots(slot, change, until, now).await? else { return Ok(Ok(())) };
            let Some(held) = held else {
                if self.first_slot(slot, minute, until, now).await? {
                    return Ok(Ok(()));
                }
                change = Change::usual(limits, minute);
                continue;
            };
            let taken = Taken::of(&held);
            // The answer to an earlier attempt of this very one got lost.
            if taken.slots.contains_key(&slot.nonce.to_string()) {
                return Ok(Ok(()));
            }
            if let Some(full) = taken.full(limits, minute, now) {
                return Ok(Err(full));
            }
            change = match taken.minute >= minute && has_room(limits, taken.slots.len()) {
                // Whoever was faster has begun the minute: now any number may go on at once.
                true => Change::usual(limits, taken.minute),
                false => Change::of(&taken, minute, now),
            };
        }
        // So many ask at once that it is not worth waiting here.
        Ok(Err(Full::Concurrent { retry_after: SOON }))
    }

    /// Frees a slot; one that has ended by itself, too.
    ///
    /// # Errors
    /// When DynamoDB did not take it: then it ends by itself.
    pub async fn free_slot(&self, slot: &Slot) -> Result<(), StoreError> {
        let update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(slot.key.as_str()))
            .update_expression("REMOVE slots.#slot")
            .condition_expression("attribute_exists(slots.#slot)")
            .expression_attribute_names("#slot", slot.nonce.to_string());
        condition_held(update.send().await).map(drop)
    }

    /// Adds a slot where `change`'s condition holds; else what stands there.
    async fn change_slots(
        &self,
        slot: &Slot,
        change: Change,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<(), Option<Item>>, StoreError> {
        let mut update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(slot.key.as_str()))
            .condition_expression(change.condition)
            .expression_attribute_names("#slot", slot.nonce.to_string())
            .expression_attribute_values(":until", number(until.as_secs()))
            .expression_attribute_values(":expires_at", number(now.as_secs() + KEPT))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut expression = format!("{}, slots.#slot = :until, expires_at = :expires_at", change.update);
        for (n, ended) in change.clears.into_iter().enumerate() {
            expression.push_str(if n == 0 { " REMOVE " } else { ", " });
            expression.push_str(&format!("slots.#ended{n}"));
            update = update.expression_attribute_names(format!("#ended{n}"), ended);
        }
        for (name, value) in change.values {
            update = update.expression_attribute_values(name, value);
        }
        match update.update_expression(expression).send().await {
            Ok(_) => Ok(Ok(())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(held)) => Ok(Err(held.item().cloned())),
                _ => Err(failure("UpdateItem", &error)),
            },
        }
    }

    /// The first slot of a holder; whether nobody was faster.
    async fn first_slot(&self, slot: &Slot, minute: i64, until: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let slots = HashMap::from([(slot.nonce.to_string(), number(until.as_secs()))]);
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .item(attribute::EVENT_ID, text(slot.key.as_str()))
            .item("v", number(item::FORMAT))
            .item("in_minute", number(minute))
            .item("turns", number(1))
            .item("slots", AttributeValue::M(slots))
            .item(attribute::EXPIRES_AT, number(now.as_secs() + KEPT))
            .condition_expression("attribute_not_exists(event_id)");
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(failure("PutItem", &error)),
            },
        }
    }
}

/// How a holder's item is to be changed, if it still is what was seen.
struct Change {
    condition: &'static str,
    update: &'static str,
    values: Vec<(&'static str, AttributeValue)>,
    /// Slots that have ended.
    clears: Vec<String>,
}

impl Change {
    /// In the usual case, which takes one request: the minute has begun already, and nothing is full.
    fn usual(limits: Limits, minute: i64) -> Change {
        Change {
            // The last part is for an attempt whose answer got lost.
            condition: "in_minute = :minute AND turns < :per_minute AND size(slots) < :concurrent \
                        AND attribute_not_exists(slots.#slot)",
            update: "SET turns = turns + :one",
            values: vec![
                (":minute", number(minute)),
                (":per_minute", number(limits.per_minute.unwrap_or(u32::MAX))),
                (":concurrent", number(limits.concurrent.unwrap_or(u32::MAX))),
                (":one", number(1)),
            ],
            clears: Vec::new(),
        }
    }

    /// In an item seen as `taken`: a new minute, if one has begun, and without what has ended.
    fn of(taken: &Taken, minute: i64, now: Timestamp) -> Change {
        let count = if minute > taken.minute { 1 } else { taken.count.saturating_add(1) };
        Change {
            // Whoever takes a slot changes one of them.
            condition: "in_minute = :seen_minute AND turns = :seen_turns",
            update: "SET in_minute = :minute, turns = :turns",
            values: vec![
                (":seen_minute", number(taken.minute)),
                (":seen_turns", number(taken.count)),
                // Another instance's clock may be ahead.
                (":minute", number(minute.max(taken.minute))),
                (":turns", number(count)),
            ],
            clears: taken.ended(now).take(CLEARED).cloned().collect(),
        }
    }
}

impl Taken {
    fn of(item: &Item) -> Taken {
        let slots = item.get("slots").and_then(|slots| slots.as_m().ok()).cloned();
        Taken {
            minute: number_of(item, "in_minute").unwrap_or_default(),
            count: number_of(item, "turns").unwrap_or_default(),
            slots: slots.unwrap_or_default(),
        }
    }

    fn ended(&self, now: Timestamp) -> impl Iterator<Item = &String> {
        let has_ended = move |until: &AttributeValue| {
            until.as_n().ok().and_then(|until| until.parse::<i64>().ok()).is_none_or(|until| until < now.as_secs())
        };
        self.slots.iter().filter(move |(_, until)| has_ended(until)).map(|(slot, _)| slot)
    }

    fn full(&self, limits: Limits, minute: i64, now: Timestamp) -> Option<Full> {
        if self.minute >= minute && limits.per_minute.is_some_and(|most| self.count >= most) {
            let next = (self.minute + 1) * 60 - now.as_secs();
            return Some(Full::PerMinute { retry_after: u64::try_from(next).unwrap_or(1).max(1) });
        }
        let running = self.slots.len() - self.ended(now).count();
        (!has_room(limits, running)).then_some(Full::Concurrent { retry_after: SOON })
    }
}

fn has_room(limits: Limits, running: usize) -> bool {
    limits.concurrent.is_none_or(|most| running < usize::try_from(most).unwrap_or(usize::MAX))
}
