//! Tests of what changes with time.

use gatehouse_memory::sqs::SqsEvent;
use serde_json::json;

use super::fixture::{Fixture, arn, bodies, url};

/// The default retention period. In milliseconds.
const RETENTION: i64 = 345_600_000;

#[test]
fn received_message_is_visible_after_its_visibility_timeout() {
    let mut at = Fixture::new();
    at.send("x");
    assert_eq!(at.sqs.next_change(0), None);
    at.receive();
    assert_eq!(at.sqs.next_change(0), Some(30_000));
    at.now = 29_999;
    assert!(at.receive().is_empty());
    at.now = 30_000;
    let [message] = at.receive().try_into().unwrap();
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(message["Attributes"]["ApproximateFirstReceiveTimestamp"], "0");
    at.run(
        "ChangeMessageVisibility",
        &json!({"QueueUrl": url("orders"), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 5}),
    );
    assert_eq!(at.sqs.next_change(at.now), Some(35_000));
}

#[test]
fn message_received_with_timeout_zero_is_hidden_for_a_millisecond() {
    let mut at = Fixture::new();
    at.send("x");
    let request = json!({"QueueUrl": url("orders"), "VisibilityTimeout": 0});
    assert_eq!(at.run("ReceiveMessage", &request)["Messages"].as_array().unwrap().len(), 1);
    assert_eq!(at.run("ReceiveMessage", &request), json!({}));
    at.now = 1;
    assert_eq!(at.run("ReceiveMessage", &request)["Messages"].as_array().unwrap().len(), 1);
}

#[test]
fn delayed_message_is_visible_after_its_delay() {
    let mut at = Fixture::new();
    at.run("SendMessage", &json!({"QueueUrl": url("orders"), "MessageBody": "x", "DelaySeconds": 2}));
    assert_eq!(at.sqs.next_change(0), Some(2_000));
    assert_eq!(at.count("orders", "ApproximateNumberOfMessagesDelayed"), "1");
    at.now = 1_999;
    assert!(at.receive().is_empty());
    at.now = 2_000;
    assert_eq!(bodies(&at.receive()), ["x"]);
}

#[test]
fn message_expires_after_its_retention_period() {
    let mut at = Fixture::new();
    let old = at.send("old");
    at.now = 1;
    at.send("new");
    at.sqs.take_events();
    at.now = RETENTION;
    assert_eq!(bodies(&at.receive()), ["new"]);
    let events = at.sqs.take_events();
    assert_eq!(events[0], SqsEvent::Expired { queue: "orders".to_owned(), id: old });
    assert_eq!(at.sqs.messages("orders").count(), 1);
}

#[test]
fn dead_letter_keeps_its_id_and_expires_with_the_original_message() {
    let mut at = Fixture::new();
    let id = at.send("poison");
    for _ in 0..3 {
        assert_eq!(at.receive().len(), 1);
        at.now += 30_000;
    }
    at.sqs.take_events();
    assert!(at.receive().is_empty());
    let (from, to) = ("orders".to_owned(), "dead".to_owned());
    assert_eq!(at.sqs.take_events(), [SqsEvent::Moved { from, to, old_id: id.clone(), new_id: id.clone() }]);
    let [letter] = at.receive_from("dead").try_into().unwrap();
    assert_eq!((letter["MessageId"].as_str(), letter["Body"].as_str()), (Some(&*id), Some("poison")));
    assert_eq!(letter["Attributes"]["DeadLetterQueueSourceArn"], arn("orders"));
    assert_eq!(letter["Attributes"]["SentTimestamp"], "0");
    assert_eq!(letter["Attributes"]["ApproximateReceiveCount"], "1");
    at.sqs.advance(RETENTION);
    assert_eq!(at.sqs.messages("dead").count(), 0);
}

#[test]
fn move_task_keeps_its_rate() {
    let mut at = Fixture::new();
    for n in 0..20 {
        at.send_to("dead", &n.to_string());
    }
    let start = json!({
        "SourceArn": arn("dead"), "DestinationArn": arn("orders"), "MaxNumberOfMessagesPerSecond": 5,
    });
    at.run("StartMessageMoveTask", &start);
    let mut moved = Vec::new();
    for second in 0..=4 {
        at.sqs.advance(second * 1000);
        moved.push(at.sqs.messages("orders").count());
    }
    assert_eq!(moved, [0, 5, 10, 15, 20]);
    assert!(at.sqs.messages("orders").map(|message| message.sent_at).is_sorted());
    assert_eq!(at.sqs.next_change(4000), None, "the task has ended");
}

#[test]
fn result_of_move_task_does_not_depend_on_the_number_of_calls() {
    let run = |times: &[i64]| {
        let mut at = Fixture::new();
        for n in 0..120 {
            at.send_to("dead", &n.to_string());
        }
        at.run("StartMessageMoveTask", &json!({"SourceArn": arn("dead"), "DestinationArn": arn("orders")}));
        times.iter().for_each(|now| at.sqs.advance(*now));
        at.sqs.messages("orders").cloned().collect::<Vec<_>>()
    };
    let often: Vec<i64> = (0..=1000).collect();
    assert_eq!(run(&often), run(&[1000]));
    assert_eq!(run(&[1000]).len(), 120);
}

#[test]
fn next_change_steps_through_a_move_task() {
    let mut at = Fixture::new();
    for n in 0..120 {
        at.send_to("dead", &n.to_string());
    }
    at.run("StartMessageMoveTask", &json!({"SourceArn": arn("dead"), "DestinationArn": arn("orders")}));
    let mut counts = Vec::new();
    while let Some(next) = at.sqs.next_change(at.now) {
        at.now = next;
        at.sqs.advance(next);
        counts.push((next, at.sqs.messages("orders").count()));
    }
    assert_eq!(counts, [(100, 50), (200, 100), (300, 120)]);
}

#[test]
fn queue_is_purged_once_a_minute() {
    let mut at = Fixture::new();
    let queue = json!({"QueueUrl": url("orders")});
    at.run("PurgeQueue", &queue);
    at.now = 59_999;
    assert_eq!(at.refused("PurgeQueue", &queue), "PurgeQueueInProgress");
    at.send("x");
    at.now = 60_000;
    at.run("PurgeQueue", &queue);
    assert_eq!(at.sqs.messages("orders").count(), 0);
}

#[test]
fn events_tell_the_life_of_a_message() {
    let mut at = Fixture::new();
    let id = at.send("x");
    let [message] = at.receive().try_into().unwrap();
    at.delete(&message);
    at.delete(&message);
    let queue = || "orders".to_owned();
    let expected = [
        SqsEvent::Sent { queue: queue(), id: id.clone() },
        SqsEvent::Received { queue: queue(), id: id.clone(), count: 1 },
        SqsEvent::Deleted { queue: queue(), id },
    ];
    assert_eq!(at.sqs.take_events(), expected);
    assert_eq!(at.sqs.take_events(), []);
}
