//! Tests that every event on the retry queue is recorded or moved to the dead-letter queue.

use std::collections::BTreeMap;
use std::time::Duration;

use gatehouse_local::runtime_api::{Host, Invoked};
use gatehouse_local::{Fault, Options, Rule, Testbed};
use serde_json::{Value, json};

use crate::support::{envelope, items, messages, record, send_message, stack, stack_with};

async fn put(stack: &Testbed, message: &str) {
    let send = stack.sqs_client().send_message().queue_url(&stack.retry_queue).message_body(message);
    send.send().await.unwrap();
}

/// The bodies and attributes of the dead letters.
async fn dead_letters(stack: &Testbed) -> Vec<(String, BTreeMap<String, String>)> {
    let receive = stack.sqs_client().receive_message().queue_url(&stack.dead_letter_queue);
    let receive = receive.max_number_of_messages(10).message_attribute_names("All").visibility_timeout(0);
    let received = receive.send().await.unwrap().messages.unwrap_or_default();
    let read = |message: aws_sdk_sqs::types::Message| {
        let attributes = message.message_attributes.unwrap_or_default().into_iter();
        let attributes = attributes.map(|(name, value)| (name, value.string_value.unwrap_or_default())).collect();
        (message.body.unwrap(), attributes)
    };
    received.into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_message_is_dead_lettered_on_fifth_receive() {
    let stack = stack().await;
    put(&stack, "not an envelope").await;
    for receive in 1..=5 {
        let batch = stack.take_batch().await.unwrap();
        assert_eq!((batch.received, batch.failed.len()), (1, usize::from(receive < 5)), "receive {receive}");
    }
    assert_eq!(messages(&stack, &stack.retry_queue).await, 0);
    let [(body, attributes)] = dead_letters(&stack).await.try_into().unwrap();
    assert_eq!((body.as_str(), attributes["reason"].as_str()), ("not an envelope", "unreadable"));
    assert_eq!(attributes["attempts"], "5");
    assert!(attributes["first_failed_at"].starts_with("20") && !attributes["last_error"].is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_failure_waits_for_the_visibility_timeout() {
    let stack = stack_with(Options { visibility: Duration::from_secs(1), ..Options::default() }).await;
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "queued");
    assert_eq!(stack.take_batch().await.unwrap().failed.len(), 1);
    stack.dynamodb.clear_rules();
    // Long polling waits until the message is visible again.
    let batch = stack.take_batch().await.unwrap();
    assert_eq!((batch.received, batch.failed.len()), (1, 0));
    assert!(record(&stack, "ada:msg_1").await.is_some());
    assert_eq!(stack.sqs.counts()["ChangeMessageVisibility"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_dynamodb_does_not_use_up_the_receives() {
    let stack = stack().await;
    stack.dynamodb.add_rule(Rule::every(Fault::Hang));
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "queued");
    assert_eq!(stack.take_batch().await.unwrap().failed.len(), 1);
    stack.dynamodb.clear_rules();
    assert_eq!(stack.take_batch().await.unwrap().failed.len(), 0);
    assert!(record(&stack, "ada:msg_1").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_message_is_dead_lettered_then_redriven_and_recorded() {
    let stack = stack().await;
    stack.dynamodb.add_rule(Rule::every(Fault::INVALID).on("PutItem").containing("ada:msg_1"));
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "queued");
    for _ in 0..5 {
        assert_eq!(stack.take_batch().await.unwrap().received, 1);
    }
    let [(_, attributes)] = dead_letters(&stack).await.try_into().unwrap();
    assert_eq!((attributes["reason"].as_str(), attributes["attempts"].as_str()), ("refused", "5"));
    assert!(attributes["last_error"].contains("ValidationException"));
    assert_eq!(attributes["first_error"], "DynamoDB PutItem: ValidationException", "why the receiver queued it");

    // A message that is redriven too early becomes a dead letter again and retains its history.
    stack.redrive().await.unwrap();
    for _ in 0..5 {
        assert_eq!(stack.take_batch().await.unwrap().received, 1);
    }
    let [(_, second)] = dead_letters(&stack).await.try_into().unwrap();
    assert_eq!(second["attempts"], "10");
    for name in ["first_failed_at", "first_error"] {
        assert_eq!(second[name], attributes[name]);
    }

    stack.dynamodb.clear_rules();
    stack.redrive().await.unwrap();
    stack.take_batch().await.unwrap();
    assert!(record(&stack, "ada:msg_1").await.is_some());
    assert_eq!((messages(&stack, &stack.retry_queue).await, messages(&stack, &stack.dead_letter_queue).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn redriving_a_recorded_event_changes_nothing() {
    let stack = stack().await;
    let message = envelope("a");
    for _ in 0..2 {
        put(&stack, &message).await;
        assert_eq!(stack.take_batch().await.unwrap().failed, Vec::<String>::new());
    }
    assert_eq!(items(&stack).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_dead_letter_send_leaves_message_to_redrive_policy() {
    let stack = stack_with(Options { batch_visibility: Duration::from_secs(1), ..Options::default() }).await;
    put(&stack, "not an envelope").await;
    for _ in 0..4 {
        stack.take_batch().await.unwrap();
    }
    stack.sqs.add_rule(Rule::every(Fault::Cut).on("SendMessage"));
    assert_eq!(stack.take_batch().await.unwrap().failed.len(), 1);
    // There is no sixth receive, because the redrive policy of the queue moves the message.
    assert_eq!(stack.take_batch().await.unwrap().received, 0);
    assert_eq!(dead_letters(&stack).await[0].0, "not an envelope");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_record_in_a_batch_fails_alone() {
    let stack = stack().await;
    stack.dynamodb.add_rule(Rule::every(Fault::INVALID).on("PutItem").containing("ada:b"));
    for id in ["a", "b", "c"] {
        put(&stack, &envelope(id)).await;
    }
    let mut received = 0;
    let mut failed = 0;
    while received < 3 {
        let batch = stack.take_batch().await.unwrap();
        (received, failed) = (received + batch.received, failed + batch.failed.len());
    }
    assert_eq!(failed, 1);
    for (id, recorded) in [("ada:a", true), ("ada:b", false), ("ada:c", true)] {
        assert_eq!(record(&stack, id).await.is_some(), recorded, "{id}");
    }
}

/// Starts the function whose recorder panics or exits for some event ids.
async fn faulty(stack: &Testbed) -> Host {
    stack.host(env!("CARGO_BIN_EXE_faulty-retry"), event_retry::TIMEOUT, &[]).await.unwrap()
}

fn batch(ids: &[&str]) -> Value {
    let record = |id: &&str| json!({"messageId": id, "receiptHandle": "none", "body": envelope(id), "attributes": {}});
    json!({"Records": ids.iter().map(record).collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn panic_in_one_record_fails_only_that_record() {
    let stack = stack().await;
    let mut host = faulty(&stack).await;
    let Invoked::Answered(answer) = host.invoke(&batch(&["a", "panic", "b"])).await.unwrap() else { panic!("failed") };
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "panic"}]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn handler_panic_is_reported_and_next_batch_succeeds() {
    let stack = stack().await;
    let mut host = faulty(&stack).await;
    assert!(matches!(host.invoke(&json!({"Records": []})).await.unwrap(), Invoked::Failed(_)));
    let Invoked::Answered(answer) = host.invoke(&batch(&["a"])).await.unwrap() else { panic!("failed") };
    assert_eq!(answer, json!({"batchItemFailures": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn process_exit_in_a_batch_is_reported() {
    let stack = stack().await;
    let mut host = faulty(&stack).await;
    assert!(host.invoke(&batch(&["a", "exit", "b"])).await.is_err());
}
