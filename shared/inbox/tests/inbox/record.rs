//! Tests recording an event once: the item, the number of requests and the failures.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use gatehouse_inbox::store::{Damaged, Recorded};
use gatehouse_inbox::{Store, StoreError};
use gatehouse_local::{Fault, Rule, local_sdk};
use gatehouse_payload::{Event, Outcome};

use crate::table::{TTL_DAYS, Table, event, noise, now};

async fn item(table: &Table, key: &str) -> Option<BTreeMap<String, AttributeValue>> {
    let get = table.client.get_item().table_name(Table::NAME).key("event_id", AttributeValue::S(key.to_owned()));
    get.send().await.unwrap().item.map(|item| item.into_iter().collect())
}

#[tokio::test]
async fn record_has_exactly_the_documented_attributes() {
    let table = Table::new().await;
    let event = event("a", r#"{"x":1}"#);
    assert_eq!(table.record(&event, now()).await, Ok(Outcome::Recorded));
    let item = item(&table, "test:a").await.unwrap();
    let names: Vec<&str> = item.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "event_id",
            "event_type",
            "expires_at",
            "fingerprint",
            "nonce",
            "occurred_at",
            "payload",
            "received_at",
            "source",
            "source_hour",
            "subject",
            "v",
            "verified_by",
        ]
    );
    let expires_at = now().as_secs() + i64::from(TTL_DAYS) * 86_400;
    assert_eq!(item["expires_at"], AttributeValue::N(expires_at.to_string()));
    assert_eq!(item["occurred_at"], AttributeValue::S("2026-11-20T09:00:00.000Z".to_owned()));
    assert_eq!(item["payload"], AttributeValue::S(r#"{"x":1}"#.to_owned()));
    assert_eq!(item["source_hour"], AttributeValue::S("ada/2026-11-20T09".to_owned()));
    assert_eq!(item["v"], AttributeValue::N("1".to_owned()));
}

#[tokio::test]
async fn recorded_event_is_read_back_unchanged() {
    let table = Table::new().await;
    let mut plain = event("plain", r#"{"x":1}"#);
    plain.flags = gatehouse_payload::Flags { unparsed: true, weak_identity: true, undated: true };
    let mut bare = event("bare", "{}");
    (bare.subject, bare.event_type) = (None, None);
    let mut answered = event("answered", "{}");
    answered.answer = Some(r#"{"assistantId":"a"}"#.to_owned());
    let compressed = event("compressed", &format!(r#"{{"x":"{}"}}"#, "abc".repeat(3000)));
    let large = event("large", &noise(1, 1_500_000));
    for event in [plain, bare, answered, compressed, large] {
        assert_eq!(table.record(&event, now()).await, Ok(Outcome::Recorded));
        let record = table.store.get(&event.id, now()).await.unwrap().unwrap();
        assert_eq!((record.event, record.conflict), (event, false));
    }
}

#[tokio::test]
async fn duplicate_returns_first_answer() {
    let table = Table::new().await;
    let large = noise(1, 600_000);
    for first in ["{}", &large] {
        let id = first.len().to_string();
        let record = async |body: &str, answer: Option<&str>| {
            let event = Event { answer: answer.map(str::to_owned), ..event(&id, body) };
            let Recorded { outcome, answer } = table.store.record(&event, now()).await.unwrap();
            (outcome, answer)
        };
        let some = |answer: &str| Some(answer.to_owned());
        assert_eq!(record(first, Some("1")).await, (Outcome::Recorded, some("1")));
        assert_eq!(record(first, Some("2")).await, (Outcome::Duplicate, some("1")));
        assert_eq!(record(first, None).await, (Outcome::Duplicate, some("1")));
        assert_eq!(record("[]", Some("3")).await, (Outcome::Conflict, some("3")));
        assert_eq!(record("[]", Some("4")).await, (Outcome::Conflict, some("3")));
    }
    let unanswered = event("unanswered", "{}");
    table.record(&unanswered, now()).await.unwrap();
    let later = Event { answer: Some("1".to_owned()), ..event("unanswered", "{}") };
    assert_eq!(table.store.record(&later, now()).await.unwrap().answer, None, "the first event had no answer");
}

#[tokio::test]
async fn payload_is_compressed_only_if_that_saves_a_write_unit() {
    let table = Table::new().await;
    for (id, bytes, compressed) in [("small", 300, false), ("medium", 3000, true)] {
        table.record(&event(id, &format!(r#"{{"x":"{}"}}"#, "a".repeat(bytes))), now()).await.unwrap();
        let payload = &item(&table, &format!("test:{id}")).await.unwrap()["payload"];
        assert_eq!(payload.is_b(), compressed, "{id}");
    }
    table.record(&event("noise", &noise(1, 3000)), now()).await.unwrap();
    assert!(
        item(&table, "test:noise").await.unwrap()["payload"].is_b(),
        "random text of 56 letters compresses enough to save a write unit"
    );
}

#[tokio::test]
async fn new_event_and_duplicate_cost_one_request_each() {
    let table = Table::new().await;
    let record = async |id: &str, body: &str, outcome| {
        assert_eq!(table.record(&event(id, body), now()).await, Ok(outcome));
    };
    let put = |n| vec![("PutItem".to_owned(), n)];
    assert_eq!(table.requests(record("a", "{}", Outcome::Recorded)).await, put(1));
    assert_eq!(table.requests(record("a", "{}", Outcome::Duplicate)).await, put(1));
    assert_eq!(table.requests(record("a", "{\"x\":1}", Outcome::Conflict)).await, put(2));
    assert_eq!(table.requests(record("a", "{\"x\":1}", Outcome::Conflict)).await, put(2));
}

#[tokio::test]
async fn large_event_costs_its_chunks_and_large_duplicate_one_read() {
    let table = Table::new().await;
    let body = noise(1, 1_500_000);
    let record = async |outcome| assert_eq!(table.record(&event("a", &body), now()).await, Ok(outcome));
    let get = ("GetItem".to_owned(), 1);
    assert_eq!(table.requests(record(Outcome::Recorded)).await, [get.clone(), ("PutItem".to_owned(), 5)]);
    assert_eq!(table.requests(record(Outcome::Duplicate)).await, [get]);
}

#[tokio::test]
async fn chunks_expire_with_their_head_and_are_in_no_timeline() {
    let table = Table::new().await;
    let event = event("a", &noise(1, 600_000));
    table.record(&event, now()).await.unwrap();
    let head = item(&table, "test:a").await.unwrap();
    assert_eq!(head["chunks"], AttributeValue::N("2".to_owned()));
    let chunk = item(&table, &format!("chunk:{}/0", event.nonce)).await.unwrap();
    assert_eq!(chunk["expires_at"], head["expires_at"]);
    assert!(!chunk.contains_key("subject") && !chunk.contains_key("occurred_at"));
}

#[tokio::test]
async fn first_body_stays_and_conflicting_copies_are_stored() {
    let table = Table::new().await;
    let bodies = [r#"{"n":1}"#.to_owned(), r#"{"n":2}"#.to_owned(), noise(1, 600_000)];
    for (n, body) in bodies.iter().enumerate() {
        let expected = if n == 0 { Outcome::Recorded } else { Outcome::Conflict };
        for _ in 0..2 {
            let outcome = table.record(&event("a", body), now()).await.unwrap();
            assert!(outcome == expected || (n == 0 && outcome == Outcome::Duplicate));
        }
    }
    let timeline = table.store.whole_timeline(event("a", "{}").subject.as_ref().unwrap(), now()).await.unwrap().records;
    let stored: Vec<(bool, &[u8])> = timeline.iter().map(|record| (record.conflict, &*record.event.body)).collect();
    assert_eq!(stored.len(), 3);
    assert_eq!(stored[0], (false, bodies[0].as_bytes()));
    for body in &bodies[1..] {
        assert!(stored.contains(&(true, body.as_bytes())));
    }
    assert!(timeline.iter().all(|record| record.event.id.as_str() == "test:a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_concurrent_copies_is_recorded() {
    let table = Table::new().await;
    for body in ["{}".to_owned(), noise(1, 600_000)] {
        let id = body.len().to_string();
        let events: Vec<_> = (0..16).map(|_| event(&id, &body)).collect();
        let outcomes = futures_util::future::join_all(events.iter().map(|event| table.record(event, now()))).await;
        let recorded = outcomes.iter().filter(|outcome| **outcome == Ok(Outcome::Recorded)).count();
        let duplicates = outcomes.iter().filter(|outcome| **outcome == Ok(Outcome::Duplicate)).count();
        assert_eq!((recorded, duplicates), (1, 15), "{outcomes:?}");
    }
}

#[tokio::test]
async fn nonce_identifies_write_after_a_lost_response() {
    let table = Table::new().await;
    table.proxy.add_rule(Rule::every(Fault::DropResponse).on("PutItem").times(1));
    let event = event("a", "{}");
    assert_eq!(table.record(&event, now()).await, Ok(Outcome::Recorded));
    assert_eq!(table.proxy.counts()["PutItem"], 2);
}

#[tokio::test]
async fn expired_record_is_invisible_and_its_id_is_free() {
    let table = Table::new().await;
    let (first, second) = (event("a", r#"{"n":1}"#), event("a", r#"{"n":2}"#));
    let subject = first.subject.clone().unwrap();
    table.record(&first, now()).await.unwrap();
    let last_second = now().plus_secs(i64::from(TTL_DAYS) * 86_400);
    assert!(table.store.get(&first.id, last_second).await.unwrap().is_some());
    assert_eq!(table.record(&second, last_second).await, Ok(Outcome::Conflict));
    let after = last_second.plus_secs(1);
    assert!(table.store.get(&first.id, after).await.unwrap().is_none());
    assert_eq!(table.record(&second, after).await, Ok(Outcome::Recorded));
    let bodies = async |at| {
        let timeline = table.store.whole_timeline(&subject, at).await.unwrap().records;
        timeline.iter().filter(|record| !record.conflict).map(|record| record.event.body.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bodies(after).await, [second.body]);
}

#[tokio::test]
async fn transient_failures_are_distinguished_from_permanent_ones() {
    let table = Table::new().await;
    // A store with the timeouts of the receiver gives up on a hanging request sooner than a store with long limits.
    let receiver_store = Store::new(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    for (fault, transient) in [
        (Fault::INVALID, false),
        (Fault::Refuse(400, "ItemCollectionSizeLimitExceededException"), false),
        (Fault::THROTTLE, true),
        (Fault::Refuse(400, "ThrottlingException"), true),
        (Fault::Refuse(400, "TransactionConflictException"), true),
        (Fault::Refuse(400, "AccessDeniedException"), true),
        (Fault::Refuse(400, "ResourceNotFoundException"), true),
        (Fault::Refuse(400, "ExpiredTokenException"), true),
        (Fault::INTERNAL, true),
        (Fault::Refuse(503, "ServiceUnavailable"), true),
        (Fault::Cut, true),
        (Fault::Hang, true),
    ] {
        table.proxy.add_rule(Rule::every(fault.clone()));
        let store = if matches!(fault, Fault::Hang) { &receiver_store } else { &table.store };
        let error = store.record(&event("a", "{}"), now()).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{fault:?}: {error}");
        table.proxy.clear_rules();
    }
}

#[tokio::test]
async fn damaged_record_is_an_error_that_names_the_damage() {
    let table = Table::new().await;
    let large = event("large", &noise(1, 900_000));
    table.record(&large, now()).await.unwrap();
    let chunk = AttributeValue::S(format!("chunk:{}/1", large.nonce));
    table.client.delete_item().table_name(Table::NAME).key("event_id", chunk).send().await.unwrap();
    assert_eq!(table.store.get(&large.id, now()).await, Err(StoreError::Damaged(Damaged::Chunk(1))));

    let newer = event("newer", "{}");
    table.record(&newer, now()).await.unwrap();
    let set = |expression: &str, value: AttributeValue| {
        let update = table.client.update_item().table_name(Table::NAME);
        let update = update.key("event_id", AttributeValue::S(newer.id.to_string()));
        update.update_expression(expression).expression_attribute_values(":x", value).send()
    };
    set("SET v = :x", AttributeValue::N("2".to_owned())).await.unwrap();
    assert_eq!(table.store.get(&newer.id, now()).await, Err(StoreError::Damaged(Damaged::Format(2))));
    set("SET v = :x REMOVE nonce", AttributeValue::N("1".to_owned())).await.unwrap();
    assert_eq!(table.store.get(&newer.id, now()).await, Err(StoreError::Damaged(Damaged::Attribute("nonce"))));
}
