//! Plays Lambda's event source mapping: receives batches, calls the function, deletes what it reports as done.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use event_retry::State;
use gatehouse_edge::Deadline;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Error;

/// What became of one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many messages the function got.
    pub received: usize,
    /// The ids of those it reported as failed.
    pub failed: Vec<String>,
}

/// Polls `queue` for `state` until the returned task is aborted. The number on `batches` counts the batches taken.
#[must_use]
pub fn poll(client: Client, queue: String, state: Arc<State>) -> (JoinHandle<()>, watch::Receiver<u64>) {
    let (count, batches) = watch::channel(0);
    let task = tokio::spawn(async move {
        loop {
            match take_batch(&client, &queue, &state, Duration::from_secs(1)).await {
                Ok(batch) if batch.received > 0 => count.send_modify(|count| *count += 1),
                Ok(_) => {}
                // The queue is away: as patient as Lambda, only quicker.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    (task, batches)
}

/// Receives one batch, waiting for it at most `wait`, and lets the function take it.
///
/// # Errors
/// When SQS does not answer. Messages received then come again.
pub async fn take_batch(client: &Client, queue: &str, state: &State, wait: Duration) -> Result<Batch, Error> {
    let receive = client
        .receive_message()
        .queue_url(queue)
        .max_number_of_messages(10)
        .wait_time_seconds(i32::try_from(wait.as_secs())?)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All");
    let messages = receive.send().await?.messages.unwrap_or_default();
    if messages.is_empty() {
        return Ok(Batch::default());
    }
    let received = messages.len();
    let handles: Vec<_> =
        messages.iter().map(|m| (m.message_id.clone().unwrap_or_default(), m.receipt_handle.clone())).collect();
    let mut event = SqsEvent::default();
    event.records = messages.into_iter().map(record).collect();
    let response = event_retry::handle(event, state, Deadline::within(event_retry::TIMEOUT)).await;
    let failed: Vec<String> = response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
    for (id, handle) in handles {
        if !failed.contains(&id) {
            client.delete_message().queue_url(queue).set_receipt_handle(handle).send().await?;
        }
    }
    Ok(Batch { received, failed })
}

/// A message as Lambda hands it to a function.
fn record(message: Message) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = message.message_id;
    record.receipt_handle = message.receipt_handle;
    record.body = message.body;
    let attributes = message.attributes.unwrap_or_default().into_iter();
    record.attributes = attributes.map(|(name, value)| (name.as_str().to_owned(), value)).collect();
    for (name, value) in message.message_attributes.unwrap_or_default() {
        let mut attribute = SqsMessageAttribute::default();
        attribute.string_value = value.string_value;
        attribute.data_type = Some(value.data_type);
        record.message_attributes.insert(name, attribute);
    }
    record
}
