//! Tests that events and queued messages in a data directory survive the end of the process.

use std::path::Path;

use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use gatehouse_local::engine::{DataDir, Engine, FREE};
use gatehouse_local::local_sdk;
use gatehouse_runtime::Clock;

use super::service::Service;
use super::sqs::{Queue, arn, attribute};

impl Queue {
    async fn open(data: Option<&DataDir>) -> Queue {
        Queue::on(Service::open(data).await).await
    }

    /// Restarts the engine as after a `kill -9`, without a shutdown.
    async fn restart(self, data: &DataDir) -> Queue {
        drop(self);
        Queue::open(Some(data)).await
    }
}

fn directory() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    (folder, data)
}

#[tokio::test]
async fn messages_survive_a_restart_in_order_with_ids_and_attributes() {
    let (_folder, data) = directory();
    let queue = Queue::open(Some(&data)).await;
    let deleted = queue.send("deleted").await;
    let delivered = queue.receive().await;
    assert_eq!(delivered[0].message_id(), Some(deleted.as_str()));
    queue.delete(&delivered[0]).await;
    let first = queue.send("first").await;
    let reason = aws_sdk_sqs::types::MessageAttributeValue::builder().data_type("String").string_value("because");
    let send = queue.client.send_message().queue_url(&queue.url).message_body("second");
    send.message_attributes("reason", reason.build().unwrap()).send().await.unwrap();

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
async fn message_in_flight_is_visible_after_a_restart() {
    let (_folder, data) = directory();
    let mut queue = Queue::open(Some(&data)).await;
    let id = queue.send("in flight").await;
    let sent_at = Clock::System.now().as_millis();
    for count in ["1", "2", "3"] {
        let [message] = queue.receive().await.try_into().unwrap();
        assert_eq!(
            (attribute(&message, &MessageSystemAttributeName::ApproximateReceiveCount), message.message_id()),
            (count.to_owned(), Some(id.as_str()))
        );
        let timestamp: i64 = attribute(&message, &MessageSystemAttributeName::SentTimestamp).parse().unwrap();
        assert!((timestamp - sent_at).abs() < 5_000);
        queue = queue.restart(&data).await;
    }
}

#[tokio::test]
async fn hidden_message_stays_hidden_after_a_restart() {
    let (_folder, data) = directory();
    let queue = Queue::open(Some(&data)).await;
    queue.send("hidden").await;
    let [message] = queue.receive().await.try_into().unwrap();
    let hide = queue.client.change_message_visibility().queue_url(&queue.url).visibility_timeout(3600);
    hide.set_receipt_handle(message.receipt_handle).send().await.unwrap();
    let queue = queue.restart(&data).await;
    queue.send("new").await;
    assert_eq!(queue.bodies().await, ["new"]);
}

#[tokio::test]
async fn file_of_a_version_without_groups_is_read() {
    let (_folder, data) = directory();
    let queue = Queue::open(Some(&data)).await;
    queue.send("old").await;
    drop(queue);
    let file = rusqlite::Connection::open(data.path().join("queues.db")).unwrap();
    file.execute_batch("DROP INDEX by_group; ALTER TABLE messages DROP COLUMN message_group").unwrap();
    let queue = Queue::open(Some(&data)).await;
    queue.send("new").await;
    assert_eq!(queue.bodies().await, ["old", "new"]);
}

#[tokio::test]
async fn receive_count_survives_restarts() {
    let (_folder, data) = directory();
    let mut queue = Queue::open(Some(&data)).await.named("dead").await.named("orders").await;
    queue.redrive_to("dead", "3").await;
    let id = queue.send("poison").await;
    for _ in 0..3 {
        assert_eq!(queue.receive().await.len(), 1);
        queue = queue.restart(&data).await;
    }
    assert_eq!(queue.receive().await.len(), 0, "moved to the dead-letter queue");
    let dead = queue.restart(&data).await.named("dead").await;
    let [letter] = dead.receive().await.try_into().unwrap();
    assert_eq!(letter.message_id(), Some(id.as_str()));
    assert_eq!(attribute(&letter, &MessageSystemAttributeName::DeadLetterQueueSourceArn), arn("orders"));
}

#[tokio::test]
async fn receipt_handle_survives_a_restart_unless_superseded() {
    let (_folder, data) = directory();
    let queue = Queue::open(Some(&data)).await;
    queue.send("x").await;
    let [first] = queue.receive().await.try_into().unwrap();
    let queue = queue.restart(&data).await;
    let [second] = queue.receive().await.try_into().unwrap();
    queue.delete(&first).await;
    let queue = queue.restart(&data).await;
    queue.delete(&second).await;
    assert_eq!(queue.restart(&data).await.bodies().await, Vec::<String>::new());
}

#[tokio::test]
async fn batches_moves_purges_and_settings_survive_a_restart() {
    let (_folder, data) = directory();
    let queue = Queue::open(Some(&data)).await.named("other").await.named("orders").await;
    let entry = |id: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(id).build().unwrap();
    let batch = queue.client.send_message_batch().queue_url(&queue.url).entries(entry("a")).entries(entry("b"));
    assert_eq!(batch.send().await.unwrap().successful.len(), 2);
    let other = queue.named("other").await;
    other.redrive_to("orders", "1").await;
    let redrive = other.client.start_message_move_task().source_arn(arn("orders"));
    redrive.destination_arn(arn("other")).send().await.unwrap();
    other.ended_task("orders").await;
    let queue = other.named("orders").await;
    queue.set(QueueAttributeName::MaximumMessageSize, "2048").await;
    queue.send("c").await;

    let queue = queue.restart(&data).await;
    let get = queue.client.get_queue_attributes().queue_url(&queue.url).attribute_names(QueueAttributeName::All);
    let attributes = get.send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes[&QueueAttributeName::MaximumMessageSize], "2048");
    assert_eq!(queue.bodies().await, ["c"]);
    queue.client.delete_queue().queue_url(&queue.url).send().await.unwrap();
    let other = queue.named("other").await;
    assert_eq!(other.bodies().await, ["a", "b"]);
    other.client.purge_queue().queue_url(&other.url).send().await.unwrap();

    let queue = other.restart(&data).await;
    assert_eq!(queue.bodies().await, Vec::<String>::new(), "the deleted queue was created again");
    assert_eq!(queue.named("other").await.bodies().await, Vec::<String>::new());
}

#[tokio::test]
async fn move_task_resumes_after_a_restart() {
    let (_folder, data) = directory();
    let orders = Queue::open(Some(&data)).await.named("dead").await.named("orders").await;
    orders.redrive_to("dead", "1").await;
    let dead = orders.named("dead").await;
    for body in ["a", "b"] {
        dead.send(body).await;
    }
    let start = dead.client.start_message_move_task().source_arn(arn("dead")).destination_arn(arn("orders"));
    start.max_number_of_messages_per_second(2).send().await.unwrap();
    let orders = dead.restart(&data).await;
    let task = orders.ended_task("dead").await;
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("COMPLETED"), 2));
    assert_eq!(orders.bodies().await, ["a", "b"]);
}

#[tokio::test]
async fn file_of_an_older_version_is_migrated() {
    let (folder, data) = directory();
    let orders = Queue::open(Some(&data)).await.named("dead").await.named("orders").await;
    orders.redrive_to("dead", "1").await;
    let dead = orders.named("dead").await;
    dead.send("letter").await;
    let older = "DROP TABLE tasks;
        CREATE TABLE moves (seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, destination TEXT,
                            moved INTEGER NOT NULL, started_at INTEGER NOT NULL);
        INSERT INTO moves (source, moved, started_at) VALUES ('arn:aws:sqs:us-east-1:000000000000:dead', 1, 1);";
    rusqlite::Connection::open(folder.path().join("queues.db")).unwrap().execute_batch(older).unwrap();

    let orders = dead.restart(&data).await;
    let start = orders.client.start_message_move_task().source_arn(arn("dead")).destination_arn(arn("orders"));
    start.send().await.unwrap();
    assert_eq!(orders.ended_task("dead").await.status(), Some("COMPLETED"));
    assert_eq!(orders.bodies().await, ["letter"]);
}

#[tokio::test]
async fn items_survive_a_restart() {
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
async fn unusable_directory_or_file_is_rejected() {
    let (folder, data) = directory();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = |path: &Path| DataDir::open(path).unwrap_err().to_string();
    assert_eq!(error(&file), format!("{} cannot hold data: it is a file", file.display()));
    assert!(error(folder.path()).ends_with("another `gatehouse dev` is using it"));

    std::fs::write(folder.path().join("queues.db"), "not an SQLite database").unwrap();
    let error = Engine::sqs(FREE, Some(&data)).await.unwrap_err().to_string();
    assert!(error.contains("queues.db cannot be used: "), "{error}");
    std::fs::write(folder.path().join("events.db"), "not an SQLite database").unwrap();
    let error = Engine::dynamodb(FREE, Some(&data)).await.unwrap_err().to_string();
    assert!(error.contains("events.db cannot be used: "), "{error}");
}
