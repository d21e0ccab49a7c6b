//! Tests claims on questions: one copy of an event asks a service.

use futures_util::future::join_all;
use gatehouse_inbox::store::ask::{AskClaim, AskOutcome, AskRequest, EarlierCopy, conflict_id};
use gatehouse_local::{Fault, Rule};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, Outcome};

use crate::table::{Table, event, now};

fn later(seconds: i64) -> Timestamp {
    Timestamp::clamped(now().as_millis() + seconds * 1000)
}

fn request(event: &Event) -> AskRequest<'_> {
    AskRequest { event, record: event.id.as_str(), service: "orders", until: later(9) }
}

async fn claim_of_other(table: &Table, request: &AskRequest<'_>) -> AskClaim {
    match table.store.claim_ask(request, now()).await {
        Ok(AskOutcome::Taken(claim)) => claim,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_of_many_copies_asks_each_service() {
    let table = Table::new().await;
    let copies: Vec<Event> = (0..8).map(|_| event("a", "{}")).collect();
    for service in ["orders", "stock"] {
        let requests: Vec<_> = copies.iter().map(|event| AskRequest { service, ..request(event) }).collect();
        let outcomes = join_all(requests.iter().map(|request| table.store.claim_ask(request, now()))).await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(AskOutcome::Acquired)).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(AskOutcome::Taken(_)))).count(), 7);
    }
}

#[tokio::test]
async fn expired_lease_is_taken_over_by_one_copy() {
    let table = Table::new().await;
    let copies: Vec<Event> = (0..5).map(|_| event("a", "{}")).collect();
    assert_eq!(table.store.claim_ask(&request(&copies[0]), now()).await, Ok(AskOutcome::Acquired));
    let seen = claim_of_other(&table, &request(&copies[1])).await;
    assert_eq!(seen.until, later(9));
    let requests: Vec<_> = copies[1..].iter().map(request).collect();
    let outcomes = join_all(requests.iter().map(|request| table.store.take_over_ask(request, &seen, later(10)))).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(AskOutcome::Acquired)).count(), 1, "{outcomes:?}");
}

#[tokio::test]
async fn lost_response_does_not_lose_the_claim() {
    let table = Table::new().await;
    table.proxy.add_rule(Rule::every(Fault::DropResponse).on("PutItem").times(1));
    assert_eq!(table.store.claim_ask(&request(&event("a", "{}")), now()).await, Ok(AskOutcome::Acquired));
    table.proxy.add_rule(Rule::every(Fault::Cut));
    let event = event("b", "{}");
    assert!(table.store.claim_ask(&request(&event), now()).await.is_err_and(|error| error.is_transient()));
}

#[tokio::test]
async fn other_delivery_with_the_same_id_has_its_own_claim() {
    let table = Table::new().await;
    let (first, other) = (event("a", "{}"), event("a", "[]"));
    assert_eq!(table.store.claim_ask(&request(&first), now()).await, Ok(AskOutcome::Acquired));
    assert_eq!(table.store.claim_ask(&request(&other), now()).await, Ok(AskOutcome::OtherDelivery));
    let id = conflict_id(&other);
    let own = AskRequest { record: &id, ..request(&other) };
    assert_eq!(table.store.claim_ask(&own, now()).await, Ok(AskOutcome::Acquired));
    // If both bodies ask the same question, the second delivery is a copy of the first.
    let same = Event { is_one_question: true, ..other };
    claim_of_other(&table, &request(&same)).await;
}

#[tokio::test]
async fn claim_is_free_after_a_day() {
    let table = Table::new().await;
    assert_eq!(table.store.claim_ask(&request(&event("a", "{}")), now()).await, Ok(AskOutcome::Acquired));
    let (copy, day) = (event("a", "{}"), 86_400);
    assert!(matches!(table.store.claim_ask(&request(&copy), later(day)).await, Ok(AskOutcome::Taken(_))));
    assert_eq!(table.store.claim_ask(&request(&copy), later(day + 1)).await, Ok(AskOutcome::Acquired));
}

#[tokio::test]
async fn earlier_copy_has_the_recorded_answer() {
    let table = Table::new().await;
    let first = Event { answer: Some("{\"x\":1}".to_owned()), asked: Some("orders".to_owned()), ..event("a", "{}") };
    let copy_of = async |event: &Event, record: &str| table.store.earlier_copy(event, record, now()).await.unwrap();
    assert_eq!(copy_of(&first, first.id.as_str()).await, None);
    table.record(&first, now()).await.unwrap();
    let found = |outcome| Some(EarlierCopy { answer: first.answer.clone(), outcome });
    assert_eq!(copy_of(&first, first.id.as_str()).await, found(Some(Outcome::Duplicate)));
    let other = Event { answer: first.answer.clone(), ..event("a", "[]") };
    assert_eq!(copy_of(&other, other.id.as_str()).await, found(None), "it is a conflict that is not recorded");
    table.record(&other, now()).await.unwrap();
    assert_eq!(copy_of(&other, &conflict_id(&other)).await, found(Some(Outcome::Conflict)));
    let same = Event { is_one_question: true, ..other };
    assert_eq!(copy_of(&same, same.id.as_str()).await, found(Some(Outcome::Duplicate)));
    assert_eq!(table.store.get(&first.id, now()).await.unwrap().unwrap().event, first);
}

#[tokio::test]
async fn erasure_deletes_the_claims_of_an_event() {
    let table = Table::new().await;
    let event = Event { asked: Some("orders,stock".to_owned()), ..event("a", "{}") };
    for service in ["orders", "stock"] {
        table.store.claim_ask(&AskRequest { service, ..request(&event) }, now()).await.unwrap();
    }
    table.record(&event, now()).await.unwrap();
    let subject = event.subject.clone().unwrap();
    table.store.mark_erased(&subject, now()).await.unwrap();
    table.store.erase(&subject, now()).await.unwrap();
    let remaining = table.client.scan().table_name(Table::NAME).send().await.unwrap().items.unwrap();
    assert!(!format!("{remaining:?}").contains("ask:"), "{remaining:?}");
    let tombstone = table.store.earlier_copy(&event, event.id.as_str(), now()).await.unwrap();
    assert_eq!(tombstone, Some(EarlierCopy { answer: None, outcome: None }));
}
