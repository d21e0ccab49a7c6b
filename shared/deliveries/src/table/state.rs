//! The state of a destination: from when it gets events, whether it is enabled, and its circuit breaker.

use std::collections::{BTreeMap, HashMap};

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::item::{Item, number, number_of, text, text_of};
use gatehouse_payload::time::Timestamp;

use super::{DeliveryTable, Update};
use crate::send::ATTEMPT_LIMIT;

/// The partition of all destinations.
const LANE: &str = "destinations";
/// Number of failures in a row that open the breaker.
const FAILURES: u32 = 10;
/// The shortest time of failures that opens the breaker, in seconds.
const FAILING_FOR: i64 = 60;
/// Number of failures in a row, and their time in seconds, that are reported. A destination with few events does not
/// open its breaker for days.
const REPORTED_FAILURES: u32 = 3;
const REPORTED_AFTER: i64 = 15 * 60;
/// The pause between two probes of an open breaker, in seconds.
const PROBE_EVERY: i64 = 60;
/// The time after which at least [`FAILURES`] in a row disable a destination, in seconds.
const DISABLE_AFTER: i64 = 5 * 86_400;
/// The time in which slow attempts are counted, in seconds.
const SLOW_WITHIN: i64 = ATTEMPT_LIMIT.as_secs().cast_signed();
/// How long a destination with many slow attempts is slow, in seconds.
const SLOW_FOR: i64 = 300;

/// The state of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationState {
    /// Its name.
    pub name: String,
    /// The time of receipt from which events are delivered.
    pub since: Timestamp,
    /// Why nothing is sent; `None` if the destination is enabled.
    pub disabled: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// The first of these failures.
    pub failing_since: Option<Timestamp>,
    /// The time of the next probe while the breaker is open.
    pub open_until: Option<Timestamp>,
    /// Until when it is slow, so that its deliveries have a queue of their own.
    pub slow_until: Option<Timestamp>,
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Everything is sent.
    Closed,
    /// Nothing is sent before this time.
    Open(Timestamp),
    /// One delivery may be sent as a probe.
    HalfOpen,
}

impl DestinationState {
    /// Returns the state of the breaker.
    #[must_use]
    pub fn breaker(&self, now: Timestamp) -> Breaker {
        match self.open_until {
            None => Breaker::Closed,
            Some(until) if now < until => Breaker::Open(until),
            Some(_) => Breaker::HalfOpen,
        }
    }

    /// Whether it is slow now: its deliveries are sent from the slow delivery queue.
    #[must_use]
    pub fn is_slow(&self, now: Timestamp) -> bool {
        self.slow_until.is_some_and(|until| now < until)
    }

    /// Whether it stays slow for at least two and a half minutes, so that slow attempts need not be counted.
    #[must_use]
    pub fn is_slow_for_long(&self, now: Timestamp) -> bool {
        self.is_slow(now.plus_secs(SLOW_FOR / 2))
    }

    /// Whether the last attempts failed, so that somebody should look at it.
    #[must_use]
    pub fn is_failing(&self, now: Timestamp) -> bool {
        let since = self.failing_since.filter(|_| self.failures >= REPORTED_FAILURES);
        self.open_until.is_some() || since.is_some_and(|since| since.plus_secs(REPORTED_AFTER) <= now)
    }

    fn from_item(item: &Item) -> Option<DestinationState> {
        let time = |name| text_of(item, name).and_then(Timestamp::parse);
        Some(DestinationState {
            name: text_of(item, super::ROW)?.to_owned(),
            since: time("since")?,
            disabled: text_of(item, "disabled").map(str::to_owned),
            failures: number_of(item, "failures").unwrap_or_default(),
            failing_since: time("failing_since"),
            open_until: time("open_until"),
            slow_until: time("slow_until"),
        })
    }
}

impl DeliveryTable {
    /// Returns the states of all destinations that were ever used, by name.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn destinations(&self) -> Result<BTreeMap<String, DestinationState>, StoreError> {
        let states = self.partition(LANE).await?;
        let states = states.iter().filter_map(DestinationState::from_item);
        Ok(states.map(|state| (state.name.clone(), state)).collect())
    }

    /// Returns the state of a destination. If it has none, it gets the events that are received from `since` on.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn destination(&self, name: &str, since: Timestamp) -> Result<DestinationState, StoreError> {
        let values = [(":since".to_owned(), text(&since.to_string()))];
        let update = change(name, "SET since = if_not_exists(since, :since)", None, values);
        let item = self.update(update).await?.unwrap_or_default();
        let unreadable = || StoreError::Permanent { operation: "UpdateItem", code: "UnreadableState".to_owned() };
        DestinationState::from_item(&item).ok_or_else(unreadable)
    }

    /// Enables a destination, and closes its breaker.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn enable(&self, name: &str) -> Result<(), StoreError> {
        let expression = "REMOVE disabled, failures, failing_since, open_until";
        self.update(change(name, expression, None, [])).await.map(drop)
    }

    /// Disables a destination. Its deliveries wait.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn disable(&self, name: &str, reason: &str) -> Result<(), StoreError> {
        let values = [(":reason".to_owned(), text(reason))];
        self.update(change(name, "SET disabled = :reason", None, values)).await.map(drop)
    }

    /// Claims the probe of a half-open breaker. Returns whether the caller may send it.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn claim_probe(&self, state: &DestinationState, now: Timestamp) -> Result<bool, StoreError> {
        let Some(seen) = state.open_until else { return Ok(true) };
        let values = [
            (":seen".to_owned(), text(&seen.to_string())),
            (":until".to_owned(), text(&now.plus_secs(PROBE_EVERY).to_string())),
        ];
        let update = change(&state.name, "SET open_until = :until", Some("open_until = :seen"), values);
        Ok(self.update(update).await?.is_some())
    }

    /// Counts a failed attempt. Opens the breaker after ten failures in a row over at least a minute, and disables the
    /// destination after five days.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn count_failure(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let values = [
            (":now".to_owned(), text(&now.to_string())),
            (":one".to_owned(), number(1)),
            (":zero".to_owned(), number(0)),
        ];
        let expression =
            "SET failing_since = if_not_exists(failing_since, :now), failures = if_not_exists(failures, :zero) + :one";
        let item = self.update(change(name, expression, None, values)).await?.unwrap_or_default();
        let Some(state) = DestinationState::from_item(&item) else { return Ok(()) };
        let failing_for = state.failing_since.map_or(0, |since| now.as_secs() - since.as_secs());
        if failing_for >= DISABLE_AFTER && state.failures >= FAILURES && state.disabled.is_none() {
            return self.disable(name, "every attempt failed for five days").await;
        }
        if state.failures >= FAILURES && failing_for >= FAILING_FOR && !matches!(state.breaker(now), Breaker::Open(_)) {
            let values = [(":until".to_owned(), text(&now.plus_secs(PROBE_EVERY).to_string()))];
            self.update(change(name, "SET open_until = :until", None, values)).await?;
        }
        Ok(())
    }

    /// Counts a slow attempt. The count starts again 15 s after its first attempt. At `limit`, the destination is slow
    /// for five minutes. Returns whether it is slow.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn count_slow(&self, name: &str, limit: u32, now: Timestamp) -> Result<bool, StoreError> {
        let time = |name: &str, time: Timestamp| (name.to_owned(), text(&time.to_string()));
        let (one, earliest) = ((":one".to_owned(), number(1)), time(":earliest", now.plus_secs(-SLOW_WITHIN)));
        let add = || {
            let (expression, condition) = ("SET slow_attempts = slow_attempts + :one", "slow_since > :earliest");
            self.update(change(name, expression, Some(condition), [one.clone(), earliest.clone()]))
        };
        let mut item = add().await?;
        if item.is_none() {
            let expression = "SET slow_since = :now, slow_attempts = :one";
            let condition = "attribute_not_exists(slow_since) OR slow_since <= :earliest";
            let values = [one.clone(), earliest.clone(), time(":now", now)];
            item = self.update(change(name, expression, Some(condition), values)).await?;
        }
        if item.is_none() {
            // Another attempt has begun the count meanwhile.
            item = add().await?;
        }
        let item = item.unwrap_or_default();
        let is_known = DestinationState::from_item(&item).is_some_and(|state| state.is_slow_for_long(now));
        let is_slow = number_of::<u32>(&item, "slow_attempts").is_some_and(|attempts| attempts >= limit);
        if is_slow && !is_known {
            let values = [time(":until", now.plus_secs(SLOW_FOR))];
            self.update(change(name, "SET slow_until = :until", None, values)).await?;
        }
        Ok(is_slow || is_known)
    }

    /// Forgets the failures of a destination after a success.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn forget_failures(&self, name: &str) -> Result<(), StoreError> {
        self.update(change(name, "REMOVE failures, failing_since, open_until", None, [])).await.map(drop)
    }
}

fn change<'a, const N: usize>(
    name: &'a str,
    expression: &'a str,
    condition: Option<&'a str>,
    values: [(String, aws_sdk_dynamodb::types::AttributeValue); N],
) -> Update<'a> {
    Update { lane: LANE, row: name, expression, condition, names: HashMap::new(), values: HashMap::from(values) }
}
