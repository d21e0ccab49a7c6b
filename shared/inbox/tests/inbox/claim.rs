//! Tests locks on idempotency keys: a key has at most one holder at a time.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use gatehouse_inbox::store::claim::{Claim, Completion, LockOutcome, LockRequest};
use gatehouse_local::random::Random;
use gatehouse_local::{Fault, Rule};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Fingerprint, Nonce};

use crate::table::{TTL_DAYS, Table, now};

fn lock_request(body: &str) -> LockRequest {
    LockRequest {
        key: EventId::new(&["claim"], &["web", "kit", "key"]),
        fingerprint: Fingerprint::of(body),
        nonce: Nonce::random().unwrap(),
        until: later(60),
    }
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::clamped(now().as_millis() + seconds * 1000)
}

async fn acquire(table: &Table, request: &LockRequest, at: Timestamp) -> Claim {
    match table.store.acquire(request, at).await {
        Ok(LockOutcome::Acquired(claim)) => claim,
        other => panic!("{other:?}"),
    }
}

/// Acquires a key and extends its lease, which marks the claim as begun.
async fn acquire_and_begin(table: &Table, request: &LockRequest, at: Timestamp) -> Claim {
    let claim = acquire(table, request, at).await;
    assert_eq!(table.store.extend(&claim, request.until).await, Ok(true));
    claim
}

#[tokio::test]
async fn key_is_acquired_once_and_for_one_request() {
    let table = Table::new().await;
    let first = lock_request("{}");
    let claim = acquire(&table, &first, now()).await;
    assert_eq!(i64::try_from(claim.fence), Ok(now().as_secs()));
    assert_eq!(table.store.acquire(&lock_request("{}"), now()).await, Ok(LockOutcome::Running));
    assert_eq!(table.store.acquire(&lock_request("[]"), now()).await, Ok(LockOutcome::OtherRequest));
    assert_eq!(table.store.settle(&claim, Completion::Finished, now()).await, Ok(true));
    assert_eq!(table.store.acquire(&lock_request("{}"), now()).await, Ok(LockOutcome::Finished(claim.clone())));
    assert_eq!(
        table.store.acquire(&lock_request("{}"), later(120)).await,
        Ok(LockOutcome::Finished(claim)),
        "a finished claim does not depend on its lease"
    );
    assert_eq!(table.store.acquire(&lock_request("[]"), now()).await, Ok(LockOutcome::OtherRequest));
}

#[tokio::test]
async fn key_of_failed_request_is_free_for_any_request() {
    let table = Table::new().await;
    let claim = acquire(&table, &lock_request("{}"), now()).await;
    assert_eq!(table.store.settle(&claim, Completion::Failed, now()).await, Ok(true));
    let next = acquire(&table, &lock_request("[]"), now()).await;
    assert_eq!(next.fence, claim.fence + 1);
    assert_eq!(table.store.settle(&claim, Completion::Finished, now()).await, Ok(false), "another request has the key");
    assert_eq!(table.store.acquire(&lock_request("[]"), now()).await, Ok(LockOutcome::Running));
}

#[tokio::test]
async fn expired_lease_is_taken_over_by_one_request() {
    let table = Table::new().await;
    let former = acquire_and_begin(&table, &lock_request("{}"), now()).await;
    assert_eq!(table.store.acquire(&lock_request("{}"), later(60)).await, Ok(LockOutcome::Running));
    assert_eq!(table.store.acquire(&lock_request("[]"), later(61)).await, Ok(LockOutcome::OtherRequest));
    let expired = table.store.acquire(&lock_request("{}"), later(61)).await.unwrap();
    assert_eq!(expired, LockOutcome::Expired(former.clone()));
    let requests: Vec<LockRequest> = (0..8).map(|_| LockRequest { until: later(200), ..lock_request("{}") }).collect();
    let outcomes = join_all(requests.iter().map(|request| table.store.take_over(request, &expired, later(61)))).await;
    let fences: Vec<u64> = outcomes
        .iter()
        .filter_map(|outcome| if let Ok(LockOutcome::Acquired(claim)) = outcome { Some(claim.fence) } else { None })
        .collect();
    assert!(fences.len() == 1 && fences[0] > former.fence, "{fences:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(LockOutcome::Running)).count(), 7);
    assert_eq!(
        table.store.settle(&former, Completion::Finished, later(62)).await,
        Ok(false),
        "the former holder can no longer settle the claim"
    );
}

#[tokio::test]
async fn one_of_many_concurrent_requests_acquires_the_key() {
    let table = Table::new().await;
    let requests: Vec<LockRequest> = (0..12).map(|_| lock_request("{}")).collect();
    let outcomes = join_all(requests.iter().map(|request| table.store.acquire(request, now()))).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(LockOutcome::Acquired(_)))).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(LockOutcome::Running)).count(), 11);
}

#[tokio::test]
async fn lost_response_does_not_lose_the_key() {
    let table = Table::new().await;
    table.proxy.add_rule(Rule::every(Fault::DropResponse).on("PutItem").times(1));
    let claim = acquire(&table, &lock_request("{}"), now()).await;
    table.proxy.add_rule(Rule::every(Fault::DropResponse).on("UpdateItem").times(1));
    assert_eq!(table.store.settle(&claim, Completion::Failed, now()).await, Ok(true));
    table.proxy.add_rule(Rule::every(Fault::DropResponse).on("PutItem").times(1));
    assert_eq!(acquire(&table, &lock_request("{}"), now()).await.fence, claim.fence + 1);
    table.proxy.add_rule(Rule::every(Fault::Cut));
    assert!(table.store.acquire(&lock_request("{}"), now()).await.is_err_and(|error| error.is_transient()));
}

#[tokio::test]
async fn unused_claim_is_free_for_any_request_after_its_lease() {
    let table = Table::new().await;
    let slow = acquire(&table, &LockRequest { until: later(15), ..lock_request("{}") }, now()).await;
    assert_eq!(table.store.acquire(&lock_request("{}"), later(15)).await, Ok(LockOutcome::Running));
    // A claim with an expired lease can still begin until another request acquires the key.
    assert_eq!(table.store.extend(&slow, later(60)).await, Ok(true));
    assert_eq!(table.store.acquire(&lock_request("{}"), later(16)).await, Ok(LockOutcome::Running));

    let table = Table::new().await;
    let slow = acquire(&table, &LockRequest { until: later(15), ..lock_request("{}") }, now()).await;
    let next = acquire(&table, &lock_request("[]"), later(16)).await;
    assert!(next.fence > slow.fence);
    assert_eq!(table.store.extend(&slow, later(60)).await, Ok(false), "another request has the key");
}

/// Runs an extension and a request for the expired key concurrently: exactly one of them gets the key.
#[tokio::test]
async fn key_is_extended_or_taken_over_but_never_both() {
    for _ in 0..20 {
        let table = Table::new().await;
        let slow = acquire(&table, &LockRequest { until: later(15), ..lock_request("{}") }, now()).await;
        let next = lock_request("{}");
        let (extended, outcome) =
            futures_util::future::join(table.store.extend(&slow, later(60)), table.store.acquire(&next, later(16)))
                .await;
        let is_taken = matches!(outcome, Ok(LockOutcome::Acquired(_)));
        assert_ne!(extended, Ok(is_taken), "{outcome:?}");
    }
}

#[tokio::test]
async fn new_key_costs_three_requests_and_known_key_one() {
    let table = Table::new().await;
    let new = table.requests(async {
        let claim = acquire_and_begin(&table, &lock_request("{}"), now()).await;
        table.store.settle(&claim, Completion::Finished, now()).await.unwrap();
    });
    assert_eq!(new.await, [("PutItem".to_owned(), 1), ("UpdateItem".to_owned(), 2)]);
    let known = table.requests(async { drop(table.store.acquire(&lock_request("{}"), now()).await) });
    assert_eq!(known.await, [("PutItem".to_owned(), 1)]);
}

#[tokio::test]
async fn key_that_was_finished_meanwhile_is_not_taken_over() {
    let table = Table::new().await;
    let former = acquire_and_begin(&table, &lock_request("{}"), now()).await;
    let seen = table.store.acquire(&lock_request("{}"), later(61)).await.unwrap();
    // A later request finds the result of the former holder.
    assert_eq!(table.store.settle(&former, Completion::Finished, later(61)).await, Ok(true));
    assert_eq!(table.store.take_over(&lock_request("{}"), &seen, later(61)).await, Ok(LockOutcome::Finished(former)));
}

#[tokio::test]
async fn unconfirmed_claim_is_settled_only_by_its_nonce() {
    let table = Table::new().await;
    let lost = lock_request("{}");
    acquire(&table, &lost, now()).await;
    let settle =
        async |request: &LockRequest| table.store.settle(&request.unconfirmed(), Completion::Failed, now()).await;
    assert_eq!(settle(&lock_request("{}")).await, Ok(false));
    assert_eq!(table.store.acquire(&lock_request("{}"), now()).await, Ok(LockOutcome::Running));
    assert_eq!(settle(&lost).await, Ok(true));
    acquire(&table, &lock_request("[]"), now()).await;
}

#[tokio::test]
async fn lease_is_extended_by_its_holder_while_the_claim_runs() {
    let table = Table::new().await;
    let claim = acquire(&table, &LockRequest { until: later(15), ..lock_request("{}") }, now()).await;
    assert_eq!(table.store.extend(&claim, later(300)).await, Ok(true));
    assert_eq!(table.store.acquire(&lock_request("{}"), later(299)).await, Ok(LockOutcome::Running));
    assert_eq!(table.store.acquire(&lock_request("[]"), later(301)).await, Ok(LockOutcome::OtherRequest));
    let other = Claim { nonce: Nonce::random().unwrap(), ..claim.clone() };
    assert_eq!(table.store.extend(&other, later(900)).await, Ok(false));
    assert!(matches!(table.store.acquire(&lock_request("{}"), later(301)).await, Ok(LockOutcome::Expired(_))));
    assert_eq!(table.store.settle(&claim, Completion::Failed, now()).await, Ok(true));
    assert_eq!(table.store.extend(&claim, later(900)).await, Ok(false), "the claim is settled");
}

/// A dead letter can be redriven after the claim of its turn has expired and was removed.
#[tokio::test]
async fn fence_increases_even_after_the_claim_was_removed() {
    let table = Table::new().await;
    let mut last = 0;
    for (seconds, is_removed) in [(0, false), (0, false), (60, true), (61, false), (200 * 86_400, true)] {
        let key = lock_request("{}").key;
        if is_removed {
            let delete = table.client.delete_item().table_name(Table::NAME);
            delete.key("event_id", AttributeValue::S(key.as_str().to_owned())).send().await.unwrap();
        }
        let at = later(seconds);
        let claim = acquire(&table, &lock_request("{}"), at).await;
        assert!(claim.fence > last, "{} after {last}", claim.fence);
        last = claim.fence;
        assert_eq!(table.store.settle(&claim, Completion::Failed, at).await, Ok(true));
    }
}

#[tokio::test]
async fn key_with_lost_result_is_not_acquired_again() {
    let table = Table::new().await;
    let claim = acquire(&table, &lock_request("{}"), now()).await;
    assert_eq!(table.store.settle(&claim, Completion::Lost, now()).await, Ok(true));
    assert_eq!(table.store.acquire(&lock_request("{}"), later(400)).await, Ok(LockOutcome::Lost));
    assert_eq!(table.store.acquire(&lock_request("[]"), now()).await, Ok(LockOutcome::OtherRequest));
}

#[tokio::test]
async fn key_outlives_its_record_and_its_fence_increases() {
    let table = Table::new().await;
    let claim = acquire(&table, &lock_request("{}"), now()).await;
    table.store.settle(&claim, Completion::Finished, now()).await.unwrap();
    let days = i64::from(TTL_DAYS + 15) * 86_400;
    let seen = table.store.acquire(&lock_request("{}"), later(days)).await.unwrap();
    assert!(matches!(seen, LockOutcome::Finished(_)), "{seen:?}");
    assert!(acquire(&table, &lock_request("[]"), later(days + 1)).await.fence > claim.fence);

    let table = Table::new().await;
    let claim = acquire(&table, &lock_request("{}"), now()).await;
    table.store.settle(&claim, Completion::Finished, now()).await.unwrap();
    let finished = LockOutcome::Finished(claim.clone());
    let outcome = table.store.take_over(&lock_request("{}"), &finished, later(days - 1)).await.unwrap();
    assert!(matches!(&outcome, LockOutcome::Acquired(next) if next.fence > claim.fence), "{outcome:?}");
}

/// Lets holders acquire, extend and settle claims in random order, too late or never. At most one of them finishes.
#[tokio::test]
async fn at_most_one_attempt_finishes_in_any_order_of_steps() {
    for seed in gatehouse_seeds::seeds(40) {
        let _replay = gatehouse_seeds::ReplayOnPanic(seed);
        let table = Table::new().await;
        let mut random = Random::new(seed);
        let (mut time, mut holders, mut finished) = (0_i64, Vec::<Claim>::new(), BTreeSet::new());
        for _ in 0..40 {
            match random.below(4) {
                0 => time += i64::try_from(random.below(50)).unwrap(),
                1 if !holders.is_empty() => {
                    let holder = holders.swap_remove(random.below(holders.len()));
                    let succeeds = random.below(3) == 0;
                    let completion = if succeeds { Completion::Finished } else { Completion::Failed };
                    if table.store.settle(&holder, completion, later(time)).await.unwrap() && succeeds {
                        finished.insert(holder.fence);
                    }
                }
                _ => {
                    let request = LockRequest { until: later(time + 30), ..lock_request("{}") };
                    let mut outcome = table.store.acquire(&request, later(time)).await.unwrap();
                    if let LockOutcome::Expired(_) = &outcome {
                        outcome = table.store.take_over(&request, &outcome, later(time)).await.unwrap();
                    }
                    match outcome {
                        LockOutcome::Acquired(claim) => {
                            assert!(finished.is_empty(), "acquired after it was finished");
                            // Some holders stop before they begin.
                            if random.below(4) > 0 {
                                assert_eq!(table.store.extend(&claim, request.until).await, Ok(true));
                                holders.push(claim);
                            }
                        }
                        LockOutcome::Finished(claim) => assert_eq!(finished, BTreeSet::from([claim.fence])),
                        LockOutcome::Running => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        assert!(finished.len() <= 1, "{finished:?}");
        let fences: BTreeSet<u64> = holders.iter().map(|holder| holder.fence).collect();
        assert_eq!(fences.len(), holders.len(), "no two holders have the same fence");
    }
}

#[tokio::test]
async fn claim_of_previous_release_is_read_as_begun() {
    let table = Table::new().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let blob = |bytes: &[u8]| AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(bytes));
    for (state, expected) in
        [("running", "Expired"), ("finished", "Finished"), ("lost", "Lost"), ("failed", "Acquired")]
    {
        let put = table.client.put_item().table_name(Table::NAME).item("event_id", text("claim:web:kit:key"));
        let put = put.item("v", AttributeValue::N("3".to_owned())).item("fence", AttributeValue::N("1".to_owned()));
        let put = put.item("nonce", blob(&[7; 16])).item("fingerprint", blob(Fingerprint::of("{}").as_bytes()));
        let put = put.item("lease_until", text(&later(60).to_string())).item("state", text(state));
        put.item("expires_at", AttributeValue::N((now().as_secs() + 9_000_000).to_string())).send().await.unwrap();
        let outcome = table.store.acquire(&lock_request("{}"), later(61)).await.unwrap();
        assert!(format!("{outcome:?}").starts_with(expected), "{state}: {outcome:?}");
        if let LockOutcome::Expired(old) | LockOutcome::Finished(old) = &outcome {
            assert_eq!(old.fence, 1, "the event id contains the fence");
        }
    }
}
