//! Tests of what AWS leaves open: order, short polls, duplicates and approximate counts.

use serde_json::json;

use super::fixture::{Fixture, bodies, url};

/// The limits of rare choices: too few messages in a short poll, and a duplicate.
const SHORT_POLLS: usize = 8;
const DUPLICATES: usize = 64;

#[test]
fn messages_come_in_the_order_of_sending_by_default() {
    let mut at = Fixture::new();
    at.send_all(&["a", "b", "c"]);
    assert_eq!(bodies(&at.receive()), ["a", "b", "c"]);
}

#[test]
fn messages_may_come_in_another_order() {
    let mut at = Fixture::new();
    at.send_all(&["a", "b", "c"]);
    at.choose([(3, 2), (2, 1)]);
    assert_eq!(bodies(&at.receive()), ["c", "b", "a"]);
}

#[test]
fn short_poll_may_miss_messages() {
    let mut at = Fixture::new();
    at.send_all(&["a", "b", "c"]);
    at.choose([(SHORT_POLLS, 7), (3, 0)]);
    assert!(at.receive().is_empty());
    at.choose([(SHORT_POLLS, 7), (3, 2)]);
    assert_eq!(bodies(&at.receive()), ["a", "b"]);
    at.choose([]);
    assert_eq!(bodies(&at.receive()), ["c"]);
}

#[test]
fn long_poll_misses_no_message() {
    let mut at = Fixture::new();
    at.send("a");
    at.choose([(SHORT_POLLS, 7), (1, 0)]);
    let received = at.run("ReceiveMessage", &json!({"QueueUrl": url("orders"), "WaitTimeSeconds": 1}));
    assert_eq!(received["Messages"].as_array().unwrap().len(), 1);
}

#[test]
fn hidden_message_may_come_twice() {
    let mut at = Fixture::new();
    let id = at.send("x");
    let [first] = at.receive().try_into().unwrap();
    at.choose([(DUPLICATES, 63)]);
    let [second] = at.receive().try_into().unwrap();
    assert_eq!(second["MessageId"], id);
    assert_eq!(second["Attributes"]["ApproximateReceiveCount"], "2");
    at.delete(&first);
    assert_eq!(at.sqs.messages("orders").count(), 1, "only the latest receipt handle deletes");
    at.delete(&second);
    assert_eq!(at.sqs.messages("orders").count(), 0);
}

#[test]
fn delayed_message_does_not_come_early() {
    let mut at = Fixture::new();
    at.run("SendMessage", &json!({"QueueUrl": url("orders"), "MessageBody": "x", "DelaySeconds": 2}));
    at.choose([(DUPLICATES, 63)]);
    assert!(at.receive().is_empty());
}

#[test]
fn deleted_message_may_come_back_once() {
    let mut at = Fixture::new();
    let id = at.send("x");
    let [first] = at.receive().try_into().unwrap();
    at.delete(&first);
    assert!(at.receive().is_empty());
    at.choose([(DUPLICATES, 63)]);
    let [again] = at.receive().try_into().unwrap();
    assert_eq!(again["MessageId"], id);
    assert!(at.receive().is_empty(), "it is hidden");
    at.delete(&again);
    at.choose([(DUPLICATES, 63)]);
    assert!(at.receive().is_empty(), "it comes back only once");
}

#[test]
fn duplicate_does_not_exceed_the_redrive_limit() {
    let mut at = Fixture::new();
    at.send("x");
    let mut handles = Vec::new();
    for _ in 0..3 {
        at.now += 30_000;
        handles.extend(at.receive());
    }
    at.choose([(DUPLICATES, 63)]);
    assert!(at.receive().is_empty());
    at.delete(&handles[2]);
    assert!(at.receive().is_empty());
    assert_eq!(at.sqs.messages("orders").count() + at.sqs.messages("dead").count(), 0);
}

#[test]
fn counts_may_lag_behind() {
    let mut at = Fixture::new();
    at.send_all(&["a", "b"]);
    at.choose([(2, 1)]);
    assert_eq!(at.count("orders", "ApproximateNumberOfMessages"), "1", "before the second message");
    assert_eq!(at.count("orders", "ApproximateNumberOfMessages"), "2");
    at.now = 60_001;
    at.script = super::fixture::Script::default();
    at.choose([(2, 1)]);
    assert_eq!(at.count("orders", "ApproximateNumberOfMessages"), "2", "not longer than a minute");
}
