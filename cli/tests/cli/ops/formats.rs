//! Tests that events recorded by the previous release under its old keys can be read, shown, replayed and redriven.

use gatehouse_vapi::Vapi;
use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_inbox::queue::to_message;
use gatehouse_local::Delivery;
use gatehouse_payload::event::Received;
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_runtime::Clock;
use serde_json::Value;

use super::bed::Bed;

/// Records and a conflicting copy as the previous release wrote them. They never expire.
const ITEMS: &str = include_str!("../../../../tests/fixtures/formats/vapi-records-1.json");
const STATUS: &str = "vapi:server:status-update:call-format-1:ended";

async fn with_old_records() -> Bed {
    let bed = Bed::start().await;
    let items: Vec<HashMap<String, Value>> = serde_json::from_str(ITEMS).unwrap();
    for item in items {
        let attribute = |value: &Value| match value.as_object().unwrap().iter().next().unwrap() {
            (kind, text) if kind == "S" => AttributeValue::S(text.as_str().unwrap().to_owned()),
            (kind, digits) if kind == "N" => AttributeValue::N(digits.as_str().unwrap().to_owned()),
            (kind, flag) if kind == "BOOL" => AttributeValue::Bool(flag.as_bool().unwrap()),
            (_, base64) => AttributeValue::B(Blob::new(BASE64.decode(base64.as_str().unwrap().as_bytes()).unwrap())),
        };
        let item = item.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
        bed.dynamodb_client().put_item().table_name(&bed.table).set_item(Some(item)).send().await.unwrap();
    }
    bed
}

#[tokio::test(flavor = "multi_thread")]
async fn records_under_old_keys_are_shown_folded_and_replayed() {
    let bed = with_old_records().await;
    let shown = bed.run(&["events", "show", STATUS, "--json"]);
    assert_eq!((&shown.line()["state"], shown.code), (&"recorded".into(), 0), "{shown:?}");
    assert!(shown.out.contains("5cf46306b3f2720e"), "the conflicting copy is shown: {}", shown.out);
    let call = bed.run(&["calls", "show", "call-format-1", "--payload", "--json"]).line();
    assert_eq!((&call["state"], &call["conflicts"], &call["events"]), (&"CLOSED".into(), &1.into(), &3.into()));
    assert_eq!(call["transcript"][0]["text"], "Hello.");
    // The replay is still a duplicate, although this release would give the event another id.
    let replayed = bed.run(&["replay", STATUS, "--json"]).line();
    assert_eq!((&replayed["outcome"], &replayed["differences"][0]["what"]), (&"duplicate".into(), &"event id".into()));
    assert_eq!(
        bed.run(&["check-release", "vapi:server:tool-calls:call-format-1:t1", "--json"]).line()["outcome"],
        "duplicate"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn resend_after_upgrade_is_recorded_under_its_new_key() {
    let bed = with_old_records().await;
    let resend = r#"{"message":{"type":"status-update","timestamp":1795173464913,"status":"ended",
        "call":{"id":"call-format-1"}}}"#;
    let mut ids = Vec::new();
    for outcome in ["recorded", "duplicate"] {
        let answer = Delivery::now(&Vapi::SERVER, resend).send(&bed.url).await.unwrap();
        assert_eq!(answer.outcome(), outcome);
        ids.push(answer.event_id().to_owned());
    }
    assert!(ids[0] == ids[1] && ids[0] != STATUS, "{ids:?}");
    let call = bed.run(&["calls", "show", "call-format-1", "--json"]).line();
    assert_eq!((&call["state"], &call["events"]), (&"CLOSED".into(), &4.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn redriven_envelope_keeps_its_old_key() {
    let bed = Bed::start().await;
    let id = "vapi:server:status-update:call-format-2:ended";
    let body = r#"{"message":{"type":"status-update","status":"ended","call":{"id":"call-format-2"}}}"#;
    let received = Received {
        id: EventId::from_stored(id.to_owned()),
        weak_identity: false,
        nonce: Nonce::random().unwrap(),
        fingerprint: Fingerprint::of(body),
        received_at: Clock::System.now(),
        verified_by: "bearer:authorization".to_owned(),
        body: Bytes::from_static(body.as_bytes()),
        answer: Some("{\"x\":\"ü\"}".to_owned()),
        asked: None,
    };
    // The previous release did not escape the reply's non-ASCII characters.
    let message = to_message(&received).unwrap().replace("\\u00fc", "ü");
    let send = bed.sqs_client().send_message().queue_url(&bed.dead_letter_queue).message_body(message);
    send.send().await.unwrap();
    assert_eq!(bed.run(&["dead-letters", "list", "--json"]).line()["event_id"], id);
    bed.run(&["dead-letters", "redrive", "--all", "--wait", "0"]);
    while bed.take_batch_within(std::time::Duration::ZERO).await.unwrap().received > 0 {}
    let shown = bed.run(&["events", "show", id, "--json"]).line();
    assert_eq!((&shown["state"], &shown["event_id"]), (&"recorded".into(), &id.into()));
}
