//! Tests of message move tasks through an SDK. They follow AWS' documentation, and AWS' behaviour where it is not
//! documented. The local SQS and the in-memory SQS of `tests/memory` run them.

use std::collections::BTreeSet;

use aws_sdk_sqs::operation::start_message_move_task::builders::StartMessageMoveTaskFluentBuilder;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};

use super::sqs::{Queue, arn, attribute, code};

/// Creates a dead-letter queue for the queue `orders`.
async fn dead() -> Queue {
    let orders = Queue::new().await.named("dead").await.named("orders").await;
    orders.redrive_to("dead", "1").await;
    orders.named("dead").await
}

/// Creates a dead-letter queue with numbered messages. Returns their ids.
async fn dead_with(messages: usize) -> (Queue, BTreeSet<String>) {
    let dead = dead().await;
    let numbers: Vec<usize> = (0..messages).collect();
    let mut ids = BTreeSet::new();
    for batch in numbers.chunks(10) {
        let entry = |n: &usize| SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(n.to_string());
        let entries = batch.iter().map(|n| entry(n).build().unwrap()).collect();
        let send = dead.client.send_message_batch().queue_url(&dead.url).set_entries(Some(entries));
        ids.extend(send.send().await.unwrap().successful.into_iter().map(|sent| sent.message_id));
    }
    (dead, ids)
}

fn start_at(queue: &Queue, to: Option<&str>) -> StartMessageMoveTaskFluentBuilder {
    queue.client.start_message_move_task().source_arn(arn("dead")).set_destination_arn(to.map(arn))
}

/// Starts a move to `orders` with a rate per second. Returns the task's handle.
async fn start(queue: &Queue, rate: Option<i32>) -> String {
    let start = start_at(queue, Some("orders")).set_max_number_of_messages_per_second(rate);
    start.send().await.unwrap().task_handle.unwrap()
}

async fn cancel(queue: &Queue, handle: &str) -> Result<i64, String> {
    let cancelled = queue.client.cancel_message_move_task().task_handle(handle).send().await;
    cancelled.map(|output| output.approximate_number_of_messages_moved).map_err(|error| code(Err::<(), _>(error)))
}

/// Waits until a message is visible.
async fn wait_for_one(queue: &Queue) {
    let receive = queue.client.receive_message().queue_url(&queue.url).wait_time_seconds(20).visibility_timeout(0);
    assert_eq!(receive.send().await.unwrap().messages.unwrap().len(), 1);
}

/// Returns the number of visible messages.
async fn visible(queue: &Queue) -> i64 {
    queue.count(QueueAttributeName::ApproximateNumberOfMessages).await.parse().unwrap()
}

#[tokio::test]
async fn move_keeps_order_and_gives_new_ids() {
    let (dead, ids) = dead_with(250).await;
    start(&dead, None).await;
    let task = dead.ended_task("dead").await;
    assert_eq!((task.status(), task.failure_reason()), (Some("COMPLETED"), None));
    assert_eq!((task.source_arn(), task.destination_arn()), (Some(&*arn("dead")), Some(&*arn("orders"))));
    assert_eq!(task.approximate_number_of_messages_to_move(), Some(250));
    assert_eq!(task.approximate_number_of_messages_moved(), 250);
    assert_eq!(task.max_number_of_messages_per_second(), None);
    assert!(task.started_timestamp() > 0);
    assert_eq!(task.task_handle(), None, "an ended task cannot be cancelled");

    assert_eq!(visible(&dead).await, 0);
    let orders = dead.named("orders").await;
    let (mut bodies, mut new_ids) = (Vec::new(), BTreeSet::new());
    while bodies.len() < 250 {
        let messages = orders.receive().await;
        assert!(!messages.is_empty(), "only {} messages arrived", bodies.len());
        for message in messages {
            bodies.push(message.body.unwrap());
            new_ids.insert(message.message_id.unwrap());
        }
    }
    assert_eq!(bodies, (0..250).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((new_ids.len(), ids.intersection(&new_ids).count()), (250, 0));
}

#[tokio::test]
async fn cancelled_move_leaves_the_rest_on_the_queue() {
    let (dead, _) = dead_with(100).await;
    let handle = start(&dead, Some(5)).await;
    let task = dead.task("dead").await;
    assert_eq!((task.status(), task.task_handle()), (Some("RUNNING"), Some(&*handle)));
    assert_eq!(task.max_number_of_messages_per_second(), Some(5));
    assert_eq!(task.approximate_number_of_messages_to_move(), Some(100));

    let orders = dead.named("orders").await;
    wait_for_one(&orders).await;
    let moved = cancel(&orders, &handle).await.unwrap();
    assert!((1..100).contains(&moved), "{moved}");
    let task = orders.task("dead").await;
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("CANCELLED"), moved));
    let dead = orders.named("dead").await;
    assert_eq!(visible(&dead).await, 100 - moved);

    start(&dead, None).await;
    assert_eq!(dead.ended_task("dead").await.approximate_number_of_messages_moved(), 100 - moved);
    let tasks = dead.client.list_message_move_tasks().source_arn(arn("dead")).max_results(10).send().await.unwrap();
    let statuses: Vec<_> = tasks.results().iter().map(|task| task.status().unwrap()).collect();
    assert_eq!(statuses, ["COMPLETED", "CANCELLED"], "the latest first");
}

#[tokio::test]
async fn second_move_from_the_same_queue_is_rejected() {
    let (dead, _) = dead_with(100).await;
    let handle = start(&dead, Some(1)).await;
    let second = start_at(&dead, Some("orders")).send().await;
    assert_eq!(code(second), "InvalidParameterValue");
    assert_eq!(dead.task("dead").await.task_handle(), Some(&*handle), "the first task continues");
    cancel(&dead, &handle).await.unwrap();
    start(&dead, None).await;
}

#[tokio::test]
async fn ended_or_unknown_move_cannot_be_cancelled() {
    let (dead, _) = dead_with(100).await;
    let not_found = Err("ResourceNotFoundException".to_owned());
    let slow = start(&dead, Some(1)).await;
    cancel(&dead, &slow).await.unwrap();
    assert_eq!(cancel(&dead, &slow).await, not_found, "cancelled");
    let quick = start(&dead, None).await;
    assert_eq!(dead.ended_task("dead").await.status(), Some("COMPLETED"));
    assert_eq!(cancel(&dead, &quick).await, not_found, "completed");
    assert_eq!(cancel(&dead, "garbage").await, not_found, "never started");
}

#[tokio::test]
async fn message_in_flight_is_not_moved() {
    let dead = dead().await;
    dead.send("in flight").await;
    let [in_flight] = dead.receive().await.try_into().unwrap();
    dead.send("visible").await;
    start(&dead, None).await;
    let task = dead.ended_task("dead").await;
    assert_eq!(task.approximate_number_of_messages_to_move(), Some(1));
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("COMPLETED"), 1));
    dead.hide(&in_flight, 0).await.unwrap();
    assert_eq!(dead.bodies().await, ["in flight"]);
    assert_eq!(dead.named("orders").await.bodies().await, ["visible"]);
}

#[tokio::test]
async fn message_sent_after_the_start_is_not_moved() {
    let (dead, _) = dead_with(5).await;
    start(&dead, Some(10)).await;
    let orders = dead.named("orders").await;
    wait_for_one(&orders).await;
    let dead = orders.named("dead").await;
    dead.send("late").await;
    let task = dead.ended_task("dead").await;
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("COMPLETED"), 5));
    assert_eq!(dead.bodies().await, ["late"]);
}

#[tokio::test]
async fn moved_message_keeps_attributes_and_resets_receive_count() {
    let dead = dead().await;
    let reason = MessageAttributeValue::builder().data_type("String").string_value("because").build().unwrap();
    let send = dead.client.send_message().queue_url(&dead.url).message_body("letter");
    send.message_attributes("reason", reason.clone()).send().await.unwrap();
    let [letter] = dead.receive().await.try_into().unwrap();
    dead.hide(&letter, 0).await.unwrap();
    start(&dead, None).await;
    dead.ended_task("dead").await;
    let [moved] = dead.named("orders").await.receive().await.try_into().unwrap();
    assert_eq!(moved.message_attributes.as_ref().unwrap()["reason"], reason);
    assert_eq!(moved.md5_of_message_attributes, letter.md5_of_message_attributes);
    assert_eq!(attribute(&moved, &MessageSystemAttributeName::ApproximateReceiveCount), "1");
}

#[tokio::test]
async fn move_to_a_deleted_queue_fails_and_loses_nothing() {
    let orders = dead().await.named("other").await.named("orders").await;
    orders.send("poison").await;
    orders.receive_for(0).await;
    // Waits, because the message is hidden for a millisecond.
    let receive = orders.client.receive_message().queue_url(&orders.url).wait_time_seconds(1).send().await.unwrap();
    assert!(receive.messages.is_none(), "dead-lettered");
    orders.client.delete_queue().queue_url(&orders.url).send().await.unwrap();
    let other = orders.named("other").await;
    other.redrive_to("dead", "1").await;
    let dead = other.named("dead").await;
    start_at(&dead, None).send().await.unwrap();
    let task = dead.ended_task("dead").await;
    assert_eq!((task.status(), task.destination_arn()), (Some("FAILED"), None));
    assert_eq!(task.failure_reason(), Some("AWS.SimpleQueueService.NonExistentQueue"));
    assert_eq!(task.approximate_number_of_messages_moved(), 0);
    assert_eq!(dead.bodies().await, ["poison"]);
}

#[tokio::test]
async fn invalid_move_is_rejected() {
    let queue = Queue::new().await.named("dead").await.named("orders").await;
    let start = |from, to: Option<&str>| {
        queue.client.start_message_move_task().source_arn(arn(from)).set_destination_arn(to.map(arn)).send()
    };
    assert_eq!(code(start("orders", Some("dead")).await), "InvalidParameterValue", "not a dead-letter queue");
    queue.redrive_to("dead", "1").await;
    assert_eq!(code(start("dead", Some("dead")).await), "InvalidParameterValue", "same queue");
    assert_eq!(code(start("dead", Some("nowhere")).await), "AWS.SimpleQueueService.NonExistentQueue");
    let dead = queue.client.get_queue_url().queue_name("dead").send().await.unwrap().queue_url.unwrap();
    queue.client.send_message().queue_url(&dead).message_body("sent there directly").send().await.unwrap();
    assert_eq!(code(start("dead", None).await), "InvalidParameterValue", "the source of a message is unknown");
    for rate in [0, 501] {
        let start = start_at(&queue, Some("orders")).max_number_of_messages_per_second(rate);
        assert_eq!(code(start.send().await), "InvalidParameterValue", "{rate} a second");
    }
    assert!(start("dead", Some("orders")).await.is_ok());
}
