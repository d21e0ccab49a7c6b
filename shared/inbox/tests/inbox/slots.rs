//! Tests the limits of a client: concurrent turns and turns in a minute.

use futures_util::future::join_all;
use gatehouse_inbox::store::slots::{LimitReached, Limits, Slot, SlotOutcome};
use gatehouse_local::{Fault, Rule};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Nonce};

use crate::table::{Table, now};

const TWO: Limits = Limits { concurrent: Some(2), per_minute: None };
const THREE_A_MINUTE: Limits = Limits { concurrent: None, per_minute: Some(3) };

/// A time after `now`, which is the beginning of a minute.
fn later(seconds: i64) -> Timestamp {
    Timestamp::clamped(now().as_millis() + seconds * 1000)
}

/// Acquires a slot for a minute.
async fn acquire(table: &Table, holder: &str, limits: Limits, at: i64) -> Result<Slot, LimitReached> {
    let slot = Slot { key: EventId::new(&["slots"], &[holder]), nonce: Nonce::random().unwrap() };
    match table.store.acquire_slot(&slot, limits, later(at + 60), later(at)).await.unwrap() {
        SlotOutcome::Acquired => Ok(slot),
        SlotOutcome::Refused(limit) => Err(limit),
    }
}

#[tokio::test]
async fn slots_are_limited_and_released_slots_can_be_acquired_again() {
    let table = Table::new().await;
    let first = acquire(&table, "web", TWO, 0).await.unwrap();
    acquire(&table, "web", TWO, 0).await.unwrap();
    assert_eq!(acquire(&table, "web", TWO, 0).await, Err(LimitReached::Concurrent { retry_after: 2 }));
    assert!(acquire(&table, "app", TWO, 0).await.is_ok(), "each holder has its own limit");
    table.store.release_slot(&first).await.unwrap();
    table.store.release_slot(&first).await.unwrap();
    assert!(acquire(&table, "web", TWO, 1).await.is_ok());
    assert!(acquire(&table, "web", TWO, 1).await.is_err(), "releasing a slot twice releases one slot");
    table.store.release_slot(&first).await.unwrap();
    assert!(acquire(&table, "web", TWO, 1).await.is_err(), "releasing a slot again does not release another one");
}

#[tokio::test]
async fn slot_that_is_not_released_expires() {
    let table = Table::new().await;
    acquire(&table, "web", TWO, 0).await.unwrap();
    acquire(&table, "web", TWO, 30).await.unwrap();
    assert!(acquire(&table, "web", TWO, 60).await.is_err());
    let late = acquire(&table, "web", TWO, 61).await.unwrap();
    assert!(acquire(&table, "web", TWO, 61).await.is_err());
    table.store.release_slot(&late).await.unwrap();
    assert!(acquire(&table, "web", TWO, 62).await.is_ok());
}

#[tokio::test]
async fn expired_slots_do_not_count() {
    let table = Table::new().await;
    let fifty = Limits { concurrent: Some(50), per_minute: None };
    for _ in 0..50 {
        acquire(&table, "web", fifty, 0).await.unwrap();
    }
    for _ in 0..50 {
        acquire(&table, "web", fifty, 61).await.unwrap();
    }
    assert!(acquire(&table, "web", fifty, 61).await.is_err());
}

#[tokio::test]
async fn limit_per_minute_resets_with_the_next_minute() {
    let table = Table::new().await;
    for _ in 0..3 {
        let slot = acquire(&table, "web", THREE_A_MINUTE, 10).await.unwrap();
        table.store.release_slot(&slot).await.unwrap();
    }
    assert_eq!(acquire(&table, "web", THREE_A_MINUTE, 18).await, Err(LimitReached::PerMinute { retry_after: 42 }));
    assert!(acquire(&table, "web", THREE_A_MINUTE, 60).await.is_ok());
    // An instance whose clock is slow counts in the same minute as the others.
    for _ in 0..2 {
        assert!(acquire(&table, "web", THREE_A_MINUTE, 59).await.is_ok());
    }
    assert!(acquire(&table, "web", THREE_A_MINUTE, 61).await.is_err());
}

#[tokio::test]
async fn concurrent_requests_never_exceed_the_limits() {
    let table = Table::new().await;
    let five = Limits { concurrent: Some(5), per_minute: Some(7) };
    let outcomes = join_all((0..12).map(|_| acquire(&table, "web", five, 0))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5, "{outcomes:?}");
    for slot in outcomes.into_iter().flatten() {
        table.store.release_slot(&slot).await.unwrap();
    }
    let outcomes = join_all((0..12).map(|_| acquire(&table, "web", five, 1))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2, "{outcomes:?}");
}

#[tokio::test]
async fn slot_with_a_lost_response_counts_once() {
    let table = Table::new().await;
    let limits = Limits { concurrent: Some(2), per_minute: Some(2) };
    for operation in ["PutItem", "UpdateItem"] {
        table.proxy.add_rule(Rule::every(Fault::DropResponse).on(operation).times(1));
        assert!(acquire(&table, "web", limits, 0).await.is_ok(), "{operation}");
    }
    assert_eq!(acquire(&table, "web", limits, 0).await, Err(LimitReached::PerMinute { retry_after: 60 }));
    let table = Table::new().await;
    for _ in 0..2 {
        acquire(&table, "web", TWO, 0).await.unwrap();
        table.proxy.add_rule(Rule::every(Fault::DropResponse).on("UpdateItem").times(1));
    }
    assert!(acquire(&table, "web", TWO, 0).await.is_err());
}

#[tokio::test]
async fn turn_costs_two_requests_after_the_first_in_a_minute() {
    let table = Table::new().await;
    acquire(&table, "web", TWO, 0).await.unwrap();
    let usual = table.requests(async {
        let slot = acquire(&table, "web", TWO, 1).await.unwrap();
        table.store.release_slot(&slot).await.unwrap();
    });
    assert_eq!(usual.await, [("UpdateItem".to_owned(), 2)]);
}

#[tokio::test]
async fn many_requests_at_the_start_of_a_minute_are_accepted() {
    let table = Table::new().await;
    acquire(&table, "web", THREE_A_MINUTE, 0).await.unwrap();
    let many = Limits { concurrent: Some(200), per_minute: Some(200) };
    for minute in [60, 120, 180] {
        let outcomes = join_all((0..40).map(|_| acquire(&table, "web", many, minute))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
}
