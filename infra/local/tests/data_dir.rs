//! What a data directory keeps when the process that wrote it is gone.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use gatehouse_inbox::Clock;
use gatehouse_local::engine::{DataDir, Engine, FREE};
use gatehouse_local::local_sdk;

/// A queue with a dead-letter queue, on an engine that can be stopped and started.
struct Queue {
    client: Client,
    url: String,
    engine: Engine,
}

impl Queue {
    async fn open(data: &DataDir) -> Queue {
        let engine = Engine::sqs(FREE, Some(data)).await.unwrap();
        let client = Client::new(&local_sdk(&engine.url()));
        let url = client.create_queue().queue_name("orders").send().await.unwrap().queue_url.unwrap();
        Queue { client, url, engine }
    }

    /// As after a `kill -9`: nothing is flushed or said goodbye to.
    async fn restart(self, data: &DataDir) -> Queue {
        drop(self.engine);
        Queue::open(data).await
    }

    /// Another queue of the same engine.
    async fn named(self, name: &str) -> Queue {
        let url = self.client.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
        Queue { url, ..self }
    }

    async fn send(&self, body: &str) -> String {
        let sent = self.client.send_message().queue_url(&self.url).message_body(body).send().await.unwrap();
        sent.message_id.unwrap()
    }

    async fn receive(&self) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
        let receive = receive.message_attribute_names("All");
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        receive.send().await.unwrap().messages.unwrap_or_default()
    }

    async fn bodies(&self) -> Vec<String> {
        self.receive().await.into_iter().map(|message| message.body.unwrap()).collect()
    }

    async fn delete(&self, message: &Message) {
        let delete = self.client.delete_message().queue_url(&self.url);
        delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
    }
}

fn directory() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    (folder, data)
}

fn receives(message: &Message) -> &str {
    &message.attributes.as_ref().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount]
}

#[tokio::test]
async fn messages_come_back_in_order_with_their_ids_and_attributes_and_deleted_ones_do_not() {
    let (_folder, data) = directory();
    let queue = Queue::open(&data).await;
    let gone = queue.send("gone").await;
    let delivered = queue.receive().await;
    assert_eq!(delivered[0].message_id(), Some(gone.as_str()));
    queue.delete(&delivered[0]).await;
    let first = queue.send("first").await;
    let attribute = aws_sdk_sqs::types::MessageAttributeValue::builder().data_type("String").string_value("because");
    let send = queue.client.send_message().queue_url(&queue.url).message_body("second");
    send.message_attributes("reason", attribute.build().unwrap()).send().await.unwrap();

    let queue = queue.restart(&data).await;
    let messages = queue.receive().await;
    assert_eq!(messages.iter().map(|m| m.body().unwrap()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(messages[0].message_id(), Some(first.as_str()));
    let attributes = messages[1].message_attributes.as_ref().unwrap();
    assert_eq!(attributes["reason"].string_value(), Some("because"));
    for message in &messages {
        queue.delete(message).await;
    }
    assert_eq!(queue.restart(&data).await.bodies().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_message_that_was_being_taken_comes_back_at_once_and_its_receives_go_on_counting() {
    let (_folder, data) = directory();
    let mut queue = Queue::open(&data).await;
    let id = queue.send("taken").await;
    let sent_at = Clock::System.now().as_millis();
    for count in ["1", "2", "3"] {
        let [message] = queue.receive().await.try_into().unwrap();
        assert_eq!((receives(&message), message.message_id()), (count, Some(id.as_str())));
        let told: i64 = message.attributes.unwrap()[&MessageSystemAttributeName::SentTimestamp].parse().unwrap();
        assert!((told - sent_at).abs() < 5_000);
        queue = queue.restart(&data).await;
    }
}

#[tokio::test]
async fn a_message_that_was_hidden_stays_hidden() {
    let (_folder, data) = directory();
    let queue = Queue::open(&data).await;
    queue.send("hidden").await;
    let [message] = queue.receive().await.try_into().unwrap();
    let hide = queue.client.change_message_visibility().queue_url(&queue.url).visibility_timeout(3600);
    hide.set_receipt_handle(message.receipt_handle).send().await.unwrap();
    let queue = queue.restart(&data).await;
    queue.send("new").await;
    assert_eq!(queue.bodies().await, ["new"]);
}

#[tokio::test]
async fn what_the_redrive_policy_moved_is_found_where_it_was_moved_to() {
    let (_folder, data) = directory();
    let queue = Queue::open(&data).await;
    queue.client.create_queue().queue_name("dead").send().await.unwrap();
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":1}"#;
    let set = queue.client.set_queue_attributes().queue_url(&queue.url);
    let set = set.attributes(QueueAttributeName::RedrivePolicy, policy);
    set.attributes(QueueAttributeName::VisibilityTimeout, "0").send().await.unwrap();
    let id = queue.send("poison").await;
    assert_eq!(queue.receive().await.len(), 1);
    assert_eq!(queue.receive().await.len(), 0);
    let letters = queue.named("dead").await;
    let wait = letters.client.receive_message().queue_url(&letters.url).wait_time_seconds(5).visibility_timeout(0);
    assert_eq!(wait.send().await.unwrap().messages.unwrap()[0].message_id(), Some(id.as_str()));

    let queue = letters.restart(&data).await;
    assert_eq!(queue.bodies().await, Vec::<String>::new());
    let [letter] = queue.named("dead").await.receive().await.try_into().unwrap();
    assert_eq!((letter.message_id(), receives(&letter)), (Some(id.as_str()), "2"));
}

#[tokio::test]
async fn batches_redrives_purges_and_deleted_queues_are_kept_as_well() {
    let (_folder, data) = directory();
    let queue = Queue::open(&data).await;
    let entry = |id: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(id).build().unwrap();
    let batch = queue.client.send_message_batch().queue_url(&queue.url).entries(entry("a")).entries(entry("b"));
    assert_eq!(batch.send().await.unwrap().successful.len(), 2);
    queue.client.create_queue().queue_name("other").send().await.unwrap();
    let arn = |name| format!("arn:aws:sqs:us-east-1:000000000000:{name}");
    let redrive = queue.client.start_message_move_task().source_arn(arn("orders"));
    redrive.destination_arn(arn("other")).send().await.unwrap();
    queue.send("c").await;

    let queue = queue.restart(&data).await;
    assert_eq!(queue.bodies().await, ["c"]);
    queue.client.delete_queue().queue_url(&queue.url).send().await.unwrap();
    let other = queue.named("other").await;
    assert_eq!(other.bodies().await, ["a", "b"]);
    other.client.purge_queue().queue_url(&other.url).send().await.unwrap();

    let queue = other.restart(&data).await;
    assert_eq!(queue.bodies().await, Vec::<String>::new(), "a queue of that name, but a new one");
    assert_eq!(queue.named("other").await.bodies().await, Vec::<String>::new());
}

#[tokio::test]
async fn items_are_there_after_a_restart() {
    let (_folder, data) = directory();
    let engine = Engine::dynamodb(FREE, Some(&data)).await.unwrap();
    let template = gatehouse_local::template::Template::read().unwrap();
    let client = aws_sdk_dynamodb::Client::new(&local_sdk(&engine.url()));
    template.create_table(&client, "EventTable").await.unwrap();
    let id = || aws_sdk_dynamodb::types::AttributeValue::S("ada:1".to_owned());
    client.put_item().table_name("EventTable").item("event_id", id()).send().await.unwrap();
    drop(engine);

    let engine = Engine::dynamodb(FREE, Some(&data)).await.unwrap();
    let client = aws_sdk_dynamodb::Client::new(&local_sdk(&engine.url()));
    template.create_table(&client, "EventTable").await.unwrap();
    let get = client.get_item().table_name("EventTable").key("event_id", id()).send().await.unwrap();
    assert!(get.item.is_some());
}

#[tokio::test]
async fn a_directory_that_cannot_hold_data_is_refused_in_one_sentence() {
    let (folder, _data) = directory();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let refusal = |path: &Path| DataDir::open(path).unwrap_err().to_string();
    assert!(refusal(&file).starts_with(&format!("{} cannot hold data: ", file.display())));
    assert!(refusal(folder.path()).ends_with("another `gatehouse dev` is using it"));

    std::fs::write(folder.path().join("queues.db"), "what is this? certainly not SQLite").unwrap();
    let error = Engine::sqs(FREE, Some(&_data)).await.unwrap_err().to_string();
    assert!(error.contains("queues.db cannot be used: "), "{error}");
    std::fs::write(folder.path().join("events.db"), "what is this? certainly not SQLite").unwrap();
    let error = Engine::dynamodb(FREE, Some(&_data)).await.unwrap_err().to_string();
    assert!(error.contains("events.db cannot be used: "), "{error}");
}
