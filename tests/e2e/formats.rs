//! Tests that stored formats of earlier releases are still read. During a deployment, two releases run at once. Each
//! format has a fixture.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::BASE64;
use gatehouse_payload::event::Event;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Subject};
use gatehouse_timeline::fold;
use serde_json::Value;

use crate::support::stack;

/// A time before the fixtures expire.
const NOW: &str = "2026-11-22T00:00:00Z";

const RECORDS: [&str; 1] = [include_str!("../fixtures/formats/record-1.json")];
const ENVELOPES: [&str; 1] = [include_str!("../fixtures/formats/envelope-1.json")];

/// A chat turn as releases before December 2026 recorded and queued it: under the name `ag-kit`.
const TURN: &str = include_str!("../fixtures/formats/turn-1.json");
const TURN_ENVELOPE: &str = include_str!("../fixtures/formats/turn-envelope-1.json");

/// Parses an item in the JSON format of the AWS CLI.
fn item(json: &str) -> HashMap<String, AttributeValue> {
    let attribute = |value: &Value| match value.as_object().unwrap().iter().next().unwrap() {
        (kind, text) if kind == "S" => AttributeValue::S(text.as_str().unwrap().to_owned()),
        (kind, digits) if kind == "N" => AttributeValue::N(digits.as_str().unwrap().to_owned()),
        (_, base64) => AttributeValue::B(Blob::new(BASE64.decode(base64.as_str().unwrap().as_bytes()).unwrap())),
    };
    let attributes: HashMap<String, Value> = serde_json::from_str(json).unwrap();
    attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn assert_is_fixture(event: &Event) {
    assert_eq!((event.id.as_str(), event.verified_by.as_str()), ("ada:msg_format_1", "svix"));
    assert_eq!(event.received_at.to_string(), "2026-11-21T14:36:32.469Z");
    assert_eq!(event.subject.as_ref().unwrap().as_str(), "ada:conversation:format-1");
    let body: Value = serde_json::from_slice(&event.body).unwrap();
    assert_eq!(body["data"]["content"]["body"].as_str().unwrap(), "Is the berth free? ".repeat(120));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_format_are_read() {
    let now = Timestamp::parse(NOW).unwrap();
    for record in RECORDS {
        let stack = stack().await;
        let put = stack.dynamodb_client().put_item().table_name(&stack.table).set_item(Some(item(record)));
        put.send().await.unwrap();
        let id = EventId::from_stored("ada:msg_format_1".to_owned());
        assert_is_fixture(&stack.store().get(&id, now).await.unwrap().unwrap().event);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_turns_of_the_former_name_are_found_by_both_names_and_folded() {
    let now = Timestamp::parse("2026-12-02T00:00:00Z").unwrap();
    let stack = stack().await;
    let put = stack.dynamodb_client().put_item().table_name(&stack.table).set_item(Some(item(TURN)));
    put.send().await.unwrap();
    // Another instance queued the same turn.
    let send = stack.sqs_client().send_message().queue_url(&stack.retry_queue).message_body(TURN_ENVELOPE);
    send.send().await.unwrap();
    stack.take_batch().await.unwrap();
    for name in ["chat", "ag-kit"] {
        let subject = Subject::new(name, "conversation", "format-1");
        let page = stack.store().whole_timeline(&subject, now).await.unwrap();
        assert_eq!(page.records.len(), 1, "{name}: the copy on the queue is a duplicate");
        let texts: Vec<_> = fold(&page.records).messages.into_iter().filter_map(|message| message.text).collect();
        assert_eq!(texts, ["Is the berth free?", "You said: Is the berth free?"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envelope_of_a_chat_turn_of_the_former_name_is_recorded() {
    let stack = stack().await;
    let send = stack.sqs_client().send_message().queue_url(&stack.retry_queue).message_body(TURN_ENVELOPE);
    send.send().await.unwrap();
    stack.take_batch().await.unwrap();
    let records = crate::support::timeline(&stack, "ag-kit:conversation:format-1").await;
    let [record] = records.try_into().unwrap();
    assert!(record.event.id.as_str().starts_with("ag-kit:"), "{}", record.event.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_of_every_format_are_recorded() {
    for envelope in ENVELOPES {
        let stack = stack().await;
        let send = stack.sqs_client().send_message().queue_url(&stack.retry_queue).message_body(envelope);
        send.send().await.unwrap();
        stack.take_batch().await.unwrap();
        let record = crate::support::record(&stack, "ada:msg_format_1").await.unwrap();
        assert_is_fixture(&record.event);
    }
}
