//! Tests of an SQS through an SDK. They follow AWS' documentation of standard queues. The local SQS and the in-memory
//! SQS of `tests/memory` run them.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, ListMessageMoveTasksResultEntry, Message,
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use gatehouse_local::local_sdk;
use tokio::time::{Instant, timeout};

use super::service::Service;

/// A queue on its own service.
pub(super) struct Queue {
    pub(super) client: Client,
    pub(super) url: String,
    _service: Service,
}

pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{name}")
}

impl Queue {
    pub(super) async fn new() -> Queue {
        Self::on(Service::start().await).await
    }

    /// Creates the queue `orders` on a service.
    pub(super) async fn on(service: Service) -> Queue {
        let client = Client::new(&local_sdk(&service.url()));
        let url = client.create_queue().queue_name("orders").send().await.unwrap().queue_url.unwrap();
        Queue { client, url, _service: service }
    }

    /// Switches to another queue of the same service. Creates it if it does not exist.
    pub(super) async fn named(self, name: &str) -> Queue {
        let url = self.client.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap();
        Queue { url, ..self }
    }

    pub(super) async fn set(&self, name: QueueAttributeName, value: &str) {
        self.client.set_queue_attributes().queue_url(&self.url).attributes(name, value).send().await.unwrap();
    }

    /// Sets a redrive policy: after `after` receives, messages move to the queue `dead`.
    pub(super) async fn redrive_to(&self, dead: &str, after: &str) {
        let policy = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{after}}}"#, arn(dead));
        self.set(QueueAttributeName::RedrivePolicy, &policy).await;
    }

    pub(super) async fn send(&self, body: &str) -> String {
        let sent = self.client.send_message().queue_url(&self.url).message_body(body).send().await.unwrap();
        sent.message_id.unwrap()
    }

    pub(super) async fn receive_for(&self, visibility: i32) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
        let receive = receive.visibility_timeout(visibility).message_attribute_names("All");
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        receive.send().await.unwrap().messages.unwrap_or_default()
    }

    pub(super) async fn receive(&self) -> Vec<Message> {
        self.receive_for(30).await
    }

    pub(super) async fn bodies(&self) -> Vec<String> {
        self.receive().await.into_iter().map(|message| message.body.unwrap()).collect()
    }

    pub(super) async fn delete(&self, message: &Message) {
        let delete = self.client.delete_message().queue_url(&self.url);
        delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
    }

    pub(super) async fn hide(&self, message: &Message, seconds: i32) -> Result<(), String> {
        let hide = self.client.change_message_visibility().queue_url(&self.url).visibility_timeout(seconds);
        let hidden = hide.receipt_handle(message.receipt_handle().unwrap()).send().await;
        hidden.map(drop).map_err(|error| error.code().unwrap().to_owned())
    }

    /// Returns the latest move task of a queue.
    pub(super) async fn task(&self, from: &str) -> ListMessageMoveTasksResultEntry {
        let tasks = self.client.list_message_move_tasks().source_arn(arn(from)).send().await.unwrap();
        let [task] = tasks.results.unwrap().try_into().unwrap();
        task
    }

    /// Waits until the latest move task of a queue has ended. Polls without a pause, because SQS sends no notification.
    pub(super) async fn ended_task(&self, from: &str) -> ListMessageMoveTasksResultEntry {
        let ended = async {
            let mut task = self.task(from).await;
            while task.status() == Some("RUNNING") {
                task = self.task(from).await;
            }
            task
        };
        timeout(Duration::from_secs(30), ended).await.unwrap()
    }

    pub(super) async fn count(&self, name: QueueAttributeName) -> String {
        let get = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        get.send().await.unwrap().attributes.unwrap()[&name].clone()
    }
}

pub(super) fn attribute(message: &Message, name: &MessageSystemAttributeName) -> String {
    message.attributes.as_ref().unwrap()[name].clone()
}

pub(super) fn code<T: std::fmt::Debug, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    result.unwrap_err().code().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn received_message_is_hidden_until_deleted() {
    let queue = Queue::new().await;
    let id = queue.send("hello").await;
    let [message] = queue.receive().await.try_into().unwrap();
    assert_eq!((message.message_id(), message.body()), (Some(id.as_str()), Some("hello")));
    assert_eq!(message.md5_of_body(), Some("5d41402abc4b2a76b9719d911017c592"));
    assert_eq!(attribute(&message, &MessageSystemAttributeName::ApproximateReceiveCount), "1");
    assert_eq!(queue.bodies().await, Vec::<String>::new());
    assert_eq!(queue.count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).await, "1");
    queue.delete(&message).await;
    assert_eq!(queue.count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).await, "0");
}

#[tokio::test]
async fn group_with_many_messages_does_not_delay_another_one() {
    let queue = Queue::new().await;
    let send = async |group: &str, body: &str| {
        let send = queue.client.send_message().queue_url(&queue.url).message_group_id(group);
        send.message_body(body).send().await.map(drop)
    };
    for n in 0..40 {
        send("noisy", &format!("noisy {n}")).await.unwrap();
    }
    send("quiet", "quiet 0").await.unwrap();
    send("quiet", "quiet 1").await.unwrap();
    queue.send("of no group").await;
    let received = queue.receive().await;
    let mut bodies: Vec<&str> = received.iter().filter_map(|message| message.body()).collect();
    assert_eq!(bodies.len(), 10);
    bodies.truncate(5);
    bodies.sort_unstable();
    assert_eq!(bodies, ["noisy 0", "noisy 1", "of no group", "quiet 0", "quiet 1"]);
    let quiet = received.iter().find(|message| message.body() == Some("quiet 0")).unwrap();
    assert_eq!(attribute(quiet, &MessageSystemAttributeName::MessageGroupId), "quiet");
    assert_eq!(code(send("", "x").await), "InvalidParameterValue");
    assert_eq!(code(send("a b", "x").await), "InvalidParameterValue");
}

#[tokio::test]
async fn message_attributes_are_returned_with_their_md5() {
    let queue = Queue::new().await;
    let text = MessageAttributeValue::builder().data_type("String").string_value("because").build().unwrap();
    let bytes = aws_sdk_sqs::primitives::Blob::new([0, 255]);
    let binary = MessageAttributeValue::builder().data_type("Binary").binary_value(bytes).build().unwrap();
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x");
    let send = send.message_attributes("reason", text.clone()).message_attributes("blob", binary.clone());
    // The SDK also verifies the digests.
    let sent = send.send().await.unwrap();
    let [message] = queue.receive().await.try_into().unwrap();
    assert_eq!(message.md5_of_message_attributes, sent.md5_of_message_attributes);
    let attributes: BTreeMap<_, _> = message.message_attributes.unwrap().into_iter().collect();
    assert_eq!(attributes, BTreeMap::from([("reason".to_owned(), text), ("blob".to_owned(), binary)]));
    // This digest was computed in Python from AWS' description.
    assert_eq!(sent.md5_of_message_attributes.as_deref(), Some(MD5_OF_ATTRIBUTES));
}

const MD5_OF_ATTRIBUTES: &str = "4bed6df5257e92dbea07c1812312d484";

#[tokio::test]
async fn only_the_latest_receipt_handle_deletes() {
    let queue = Queue::new().await;
    queue.send("late").await;
    let [first] = queue.receive().await.try_into().unwrap();
    queue.hide(&first, 0).await.unwrap();
    let [second] = queue.receive().await.try_into().unwrap();
    queue.delete(&first).await;
    assert_eq!(queue.count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).await, "1", "still in flight");
    queue.hide(&second, 0).await.unwrap();
    assert_eq!(queue.count(QueueAttributeName::ApproximateNumberOfMessages).await, "1", "visible again");
    queue.delete(&second).await;
    assert!(queue.receive().await.is_empty(), "deleted after its visibility timeout");
}

#[tokio::test]
async fn receipt_handle_of_another_queue_is_rejected() {
    let queue = Queue::new().await;
    queue.send("x").await;
    let [message] = queue.receive().await.try_into().unwrap();
    let other = queue.named("other").await;
    for handle in [message.receipt_handle().unwrap(), "garbage", ""] {
        let delete = other.client.delete_message().queue_url(&other.url).receipt_handle(handle);
        assert_eq!(code(delete.send().await), "ReceiptHandleIsInvalid", "{handle}");
    }
}

#[tokio::test]
async fn visibility_changes_only_while_in_flight() {
    let queue = Queue::new().await;
    queue.send("x").await;
    let [message] = queue.receive().await.try_into().unwrap();
    assert_eq!(queue.hide(&message, 0).await, Ok(()));
    let [again] = queue.receive().await.try_into().unwrap();
    assert_eq!(attribute(&again, &MessageSystemAttributeName::ApproximateReceiveCount), "2");
    assert_eq!(queue.hide(&message, 10).await, Err("AWS.SimpleQueueService.MessageNotInflight".to_owned()));
    assert_eq!(queue.hide(&again, 3600).await, Ok(()));
    assert_eq!(queue.hide(&again, 43_201).await, Err("InvalidParameterValue".to_owned()));
    assert_eq!(queue.hide(&again, -1).await, Err("InvalidParameterValue".to_owned()));
    assert!(queue.receive().await.is_empty());
}

#[tokio::test]
async fn long_poll_ends_with_a_message_or_at_its_timeout() {
    let queue = Queue::new().await;
    let poll = |seconds| queue.client.receive_message().queue_url(&queue.url).wait_time_seconds(seconds).send();
    let started = Instant::now();
    assert!(poll(1).await.unwrap().messages.is_none());
    assert!(started.elapsed() >= Duration::from_secs(1));
    let (received, _) = tokio::join!(timeout(Duration::from_secs(10), poll(20)), queue.send("at last"));
    assert_eq!(received.unwrap().unwrap().messages.unwrap().len(), 1);
    // A message whose visibility timeout ends also ends the poll.
    queue.send("back").await;
    queue.receive_for(1).await;
    assert_eq!(timeout(Duration::from_secs(10), poll(20)).await.unwrap().unwrap().messages.unwrap().len(), 1);
}

#[tokio::test]
async fn delay_of_message_overrides_delay_of_queue() {
    let queue = Queue::new().await;
    let send = queue.client.send_message().queue_url(&queue.url).message_body("later").delay_seconds(1);
    send.send().await.unwrap();
    assert_eq!(queue.count(QueueAttributeName::ApproximateNumberOfMessagesDelayed).await, "1");
    assert!(queue.receive().await.is_empty());
    let poll = queue.client.receive_message().queue_url(&queue.url).wait_time_seconds(10).send();
    assert_eq!(poll.await.unwrap().messages.unwrap().len(), 1);
    queue.set(QueueAttributeName::DelaySeconds, "900").await;
    queue.send("much later").await;
    assert!(queue.receive().await.is_empty());
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x").delay_seconds(901);
    assert_eq!(code(send.send().await), "InvalidParameterValue");
}

#[tokio::test]
async fn redrive_policy_dead_letters_and_move_task_redrives() {
    for count in ["2", "\"2\""] {
        let queue = Queue::new().await.named("dead").await.named("orders").await;
        queue.redrive_to("dead", count).await;
        let id = queue.send("poison").await;
        for _ in 0..2 {
            let [message] = queue.receive().await.try_into().unwrap();
            queue.hide(&message, 0).await.unwrap();
        }
        assert!(queue.receive().await.is_empty());
        let dead = queue.named("dead").await;
        let [letter] = dead.receive().await.try_into().unwrap();
        assert_eq!(letter.message_id(), Some(id.as_str()));
        assert_eq!(attribute(&letter, &MessageSystemAttributeName::DeadLetterQueueSourceArn), arn("orders"));
        dead.hide(&letter, 0).await.unwrap();

        let sources = dead.client.list_dead_letter_source_queues().queue_url(&dead.url).send().await.unwrap();
        assert_eq!(sources.queue_urls.len(), 1);
        dead.client.start_message_move_task().source_arn(arn("dead")).send().await.unwrap();
        assert_eq!(dead.ended_task("dead").await.status(), Some("COMPLETED"));
        let [message] = dead.named("orders").await.receive().await.try_into().unwrap();
        assert_eq!(attribute(&message, &MessageSystemAttributeName::ApproximateReceiveCount), "1");
        assert_ne!(message.message_id(), Some(id.as_str()), "a move gives a new id, as in AWS");
    }
}

#[tokio::test]
async fn batch_entries_succeed_or_fail_independently() {
    let queue = Queue::new().await;
    let entry = |id: &str, delay| {
        let entry = SendMessageBatchRequestEntry::builder().id(id).message_body(id).delay_seconds(delay);
        entry.build().unwrap()
    };
    let batch = || queue.client.send_message_batch().queue_url(&queue.url);
    let sent = batch().entries(entry("a", 0)).entries(entry("b", 901)).entries(entry("c", 0)).send().await.unwrap();
    assert_eq!((sent.successful.len(), sent.failed[0].id(), sent.failed[0].sender_fault), (2, "b", true));
    let twice = batch().entries(entry("a", 0)).entries(entry("a", 0)).send().await;
    assert_eq!(code(twice), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct");
    let many = batch().set_entries(Some((0..11).map(|n| entry(&n.to_string(), 0)).collect())).send().await;
    assert_eq!(code(many), "AWS.SimpleQueueService.TooManyEntriesInBatchRequest");

    let received = queue.receive().await;
    let handle = received[0].receipt_handle().unwrap();
    let hide = |id: &str, handle: &str| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle);
        entry.visibility_timeout(0).build().unwrap()
    };
    let hidden = queue.client.change_message_visibility_batch().queue_url(&queue.url);
    let hidden = hidden.entries(hide("ok", handle)).entries(hide("bad", "garbage")).send().await.unwrap();
    assert_eq!((hidden.successful[0].id(), hidden.failed[0].code()), ("ok", "ReceiptHandleIsInvalid"));
    let delete = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().unwrap()
    };
    let deleted = queue.client.delete_message_batch().queue_url(&queue.url);
    let deleted = deleted.entries(delete("ok", handle)).entries(delete("bad", "garbage")).send().await.unwrap();
    assert_eq!((deleted.successful[0].id(), deleted.failed[0].id()), ("ok", "bad"));
}

#[tokio::test]
async fn message_may_be_one_mebibyte_at_most() {
    let queue = Queue::new().await;
    let send = |length| queue.client.send_message().queue_url(&queue.url).message_body("x".repeat(length)).send();
    assert!(send(1_048_576).await.is_ok());
    assert_eq!(code(send(1_048_577).await), "InvalidParameterValue");
    queue.set(QueueAttributeName::MaximumMessageSize, "1024").await;
    assert_eq!(code(send(1_025).await), "InvalidParameterValue");
    assert_eq!(queue.receive().await.len(), 1, "the earlier message is still there");
    let control = queue.client.send_message().queue_url(&queue.url).message_body("\u{1}").send().await;
    assert_eq!(code(control), "InvalidMessageContents");
}

#[tokio::test]
async fn queues_are_created_listed_tagged_and_deleted() {
    let queue = Queue::new().await;
    let create = |value: &str| {
        let create = queue.client.create_queue().queue_name("orders");
        create.attributes(QueueAttributeName::VisibilityTimeout, value).send()
    };
    assert_eq!(create("30").await.unwrap().queue_url.as_deref(), Some(queue.url.as_str()), "equal to the default");
    assert_eq!(code(create("31").await), "QueueAlreadyExists");
    let tagged = queue.client.create_queue().queue_name("tagged").tags("team", "voice").send().await.unwrap();
    let tags = queue.client.list_queue_tags().set_queue_url(tagged.queue_url.clone()).send().await.unwrap();
    assert_eq!(tags.tags.unwrap()["team"], "voice");
    let listed = queue.client.list_queues().queue_name_prefix("tag").send().await.unwrap();
    assert_eq!(listed.queue_urls.unwrap(), [tagged.queue_url.clone().unwrap()]);
    queue.client.delete_queue().set_queue_url(tagged.queue_url.clone()).send().await.unwrap();
    let deleted = queue.client.receive_message().set_queue_url(tagged.queue_url).send().await;
    assert!(deleted.unwrap_err().as_service_error().unwrap().is_queue_does_not_exist());
    let fifo = queue.client.create_queue().queue_name("orders.fifo").send().await;
    assert_eq!(code(fifo), "AWS.SimpleQueueService.UnsupportedOperation");
    let wrong = queue.client.create_queue().queue_name("no spaces").send().await;
    assert_eq!(code(wrong), "InvalidParameterValue");
    let unknown = queue.client.set_queue_attributes().queue_url(&queue.url).attributes("Colour".into(), "red").send();
    assert_eq!(code(unknown.await), "InvalidAttributeName");
}

#[tokio::test]
async fn numbers_out_of_range_are_rejected() {
    let queue = Queue::new().await;
    queue.send("x").await;
    let receive = || queue.client.receive_message().queue_url(&queue.url);
    for refused in [
        receive().visibility_timeout(-1).send().await,
        receive().max_number_of_messages(11).send().await,
        receive().max_number_of_messages(0).send().await,
        receive().wait_time_seconds(21).send().await,
    ] {
        assert_eq!(code(refused), "InvalidParameterValue");
    }
    assert_eq!(queue.bodies().await, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_receivers_get_each_message_once() {
    let queue = Queue::new().await;
    for n in 0..200 {
        queue.send(&n.to_string()).await;
    }
    let receivers = (0..8).map(|_| {
        let (client, url) = (queue.client.clone(), queue.url.clone());
        tokio::spawn(async move {
            let mut bodies = Vec::new();
            loop {
                let received = client.receive_message().queue_url(&url).max_number_of_messages(10).send().await;
                let Some(messages) = received.unwrap().messages else { return bodies };
                bodies.extend(messages.into_iter().map(|message| message.body.unwrap().parse::<u32>().unwrap()));
            }
        })
    });
    let mut bodies = Vec::new();
    for receiver in receivers.collect::<Vec<_>>() {
        bodies.extend(receiver.await.unwrap());
    }
    bodies.sort_unstable();
    assert_eq!(bodies, (0..200).collect::<Vec<_>>());
}
