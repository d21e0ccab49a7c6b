//! Helpers for a stack that takes batches from the retry queue only when a test calls `take_batch`.

use gatehouse_ada::Ada;
use gatehouse_inbox::queue::to_message;
use gatehouse_inbox::store::Record;
use gatehouse_local::{Answer, Delivery, Options, Testbed};
use gatehouse_payload::event::Received;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Fingerprint, Nonce, Subject};
use gatehouse_replies::{ControlHosts, Replies};
use gatehouse_runtime::Clock;

pub(crate) const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;

pub(crate) fn now() -> Timestamp {
    Clock::System.now()
}

/// A message of the retry queue with an event of Ada. `id` is its message id.
pub(crate) fn envelope(id: &str) -> String {
    let body = r#"{"type":"v1.conversation.created","data":{"conversation_id":"c"}}"#;
    let received = Received {
        id: EventId::new(&["ada"], &[id]),
        weak_identity: false,
        nonce: Nonce::random().unwrap(),
        fingerprint: Fingerprint::of(body),
        received_at: now(),
        verified_by: "svix".to_owned(),
        body: body.into(),
        answer: None,
        asked: None,
    };
    to_message(&received).unwrap()
}

pub(crate) async fn stack() -> Testbed {
    stack_with(Options::default()).await
}

pub(crate) async fn stack_with(options: Options) -> Testbed {
    Testbed::start(Options { poll: false, ..options }).await.unwrap()
}

/// Parses the text of a rules file.
pub(crate) fn replies(rules: &str) -> Replies {
    Replies::parse("rules", rules, ControlHosts::VapiAndLoopback).unwrap()
}

pub(crate) async fn send(stack: &Testbed, delivery: &Delivery) -> Answer {
    delivery.send(&stack.url).await.unwrap()
}

/// Sends a sample event of Ada with the message id `message_id`.
pub(crate) async fn send_message(stack: &Testbed, message_id: &str) -> Answer {
    send(stack, &Delivery::of(&Ada, message_id, MESSAGE, now())).await
}

pub(crate) async fn record(stack: &Testbed, event_id: &str) -> Option<Record> {
    stack.store().get(&EventId::from_stored(event_id.to_owned()), now()).await.unwrap()
}

pub(crate) async fn timeline(stack: &Testbed, subject: &str) -> Vec<Record> {
    stack.store().whole_timeline(&Subject::from_stored(subject.to_owned()), now()).await.unwrap().records
}

/// Counts all items in the table.
pub(crate) async fn items(stack: &Testbed) -> usize {
    let mut scan = stack.dynamodb_client().scan().table_name(&stack.table).into_paginator().items().send();
    let mut count = 0;
    while let Some(item) = scan.next().await {
        item.unwrap();
        count += 1;
    }
    count
}

/// Counts the messages in a queue, both visible and hidden.
pub(crate) async fn messages(stack: &Testbed, queue: &str) -> usize {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    let names = [Name::ApproximateNumberOfMessages, Name::ApproximateNumberOfMessagesNotVisible];
    let get = stack.sqs_client().get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec()));
    let attributes = get.send().await.unwrap().attributes.unwrap();
    names.iter().map(|name| attributes[name].parse::<usize>().unwrap()).sum()
}
