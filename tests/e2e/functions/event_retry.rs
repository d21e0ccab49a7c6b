//! Tests the event-retry binary with a local Lambda Runtime API.

use std::time::Duration;

use gatehouse_local::runtime_api::{Host, Invoked};
use gatehouse_local::{Options, Testbed};
use gatehouse_payload::EventId;
use gatehouse_runtime::Clock;
use serde_json::{Value, json};

use crate::support::envelope;

async fn start(stack: &Testbed, timeout: Duration) -> Host {
    stack.host(env!("CARGO_BIN_EXE_under-test-event-retry"), timeout, &[]).await.unwrap()
}

fn batch(messages: &[(&str, &str)]) -> Value {
    let record = |(id, body): &(&str, &str)| {
        json!({"messageId": id, "receiptHandle": "none", "body": body, "attributes": {"ApproximateReceiveCount": "1"},
               "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1"})
    };
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

fn failed(answer: &Invoked) -> Vec<&str> {
    let Invoked::Answered(answer) = answer else { panic!("{answer:?}") };
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_message_fails_alone() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, event_retry::TIMEOUT).await;
    let (a, b) = (envelope("a"), envelope("b"));
    let answer = host.invoke(&batch(&[("1", &a), ("2", "not an envelope"), ("3", &b)])).await.unwrap();
    assert_eq!(failed(&answer), ["2"]);
    for id in ["a", "b"] {
        assert!(stack.store().get(&EventId::new(&["ada"], &[id]), Clock::System.now()).await.unwrap().is_some());
    }
    let again = host.invoke(&batch(&[("1", &a)])).await.unwrap();
    assert_eq!(failed(&again), Vec::<&str>::new(), "recording twice changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_with_under_five_seconds_left_fails_unprocessed() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, Duration::from_secs(4)).await;
    let answer = host.invoke(&batch(&[("1", &envelope("a")), ("2", &envelope("b"))])).await.unwrap();
    assert_eq!(failed(&answer), ["1", "2"]);
    assert!(stack.store().get(&EventId::new(&["ada"], &["a"]), Clock::System.now()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn invocation_without_batch_is_a_handler_error() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, event_retry::TIMEOUT).await;
    assert!(matches!(host.invoke(&json!({"Records": 7})).await.unwrap(), Invoked::Failed(_)));
    assert_eq!(failed(&host.invoke(&batch(&[("1", &envelope("a"))])).await.unwrap()), Vec::<&str>::new());
}
