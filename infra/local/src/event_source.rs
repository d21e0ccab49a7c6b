//! Emulates Lambda's event source mapping of a queue: receives batches, calls the function, and deletes messages that
//! succeeded.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use event_retry::State;
use gatehouse_receiver::Deadline;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Error;

/// The result of one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Number of messages that were received.
    pub received: usize,
    /// Ids of the messages that the function reported as failed.
    pub failed: Vec<String>,
}

/// A queue whose messages are received in batches.
#[derive(Debug, Clone)]
pub struct QueueSource {
    /// An SQS client.
    pub client: Client,
    /// The queue's URL.
    pub queue: String,
    /// The visibility timeout of a batch.
    pub visibility: Duration,
}

/// The retry queue, and event-retry, which handles its batches.
#[derive(Debug, Clone)]
pub struct EventSource {
    /// The queue.
    pub source: QueueSource,
    /// The function's state.
    pub function: Arc<State>,
}

impl std::ops::Deref for EventSource {
    type Target = QueueSource;

    fn deref(&self) -> &QueueSource {
        &self.source
    }
}

impl EventSource {
    /// Handles batches until the returned task is aborted. The channel has the number of batches so far.
    #[must_use]
    pub fn poll(self) -> (JoinHandle<()>, watch::Receiver<u64>) {
        let (count, batches) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut is_failing = false;
            loop {
                match self.take_batch(Duration::from_secs(1)).await {
                    Ok(batch) if batch.received > 0 => count.send_modify(|count| *count += 1),
                    Ok(_) => {}
                    // Lambda also retries indefinitely, but with longer pauses.
                    Err(error) => {
                        if !is_failing {
                            tracing::warn!(%error, "receiving from the retry queue failed; retrying");
                        }
                        is_failing = true;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                }
                is_failing = false;
            }
        });
        (task, batches)
    }

    /// Receives one batch, waiting at most `wait`, and calls the function with it.
    ///
    /// # Errors
    /// If an SQS request fails. Messages that were received become visible again.
    pub async fn take_batch(&self, wait: Duration) -> Result<Batch, Error> {
        let Some(event) = self.receive(wait).await? else { return Ok(Batch::default()) };
        let deadline = Deadline::within(event_retry::TIMEOUT);
        let response = event_retry::handle(event.clone(), &self.function, deadline).await;
        self.settle(event, &response).await
    }
}

impl QueueSource {
    /// Receives one batch, waiting at most `wait`; `None` if the queue stayed empty.
    ///
    /// # Errors
    /// If the SQS request fails.
    pub async fn receive(&self, wait: Duration) -> Result<Option<SqsEvent>, Error> {
        let receive = self.client.receive_message().queue_url(&self.queue).max_number_of_messages(10);
        let receive = receive
            .wait_time_seconds(i32::try_from(wait.as_secs())?)
            .visibility_timeout(i32::try_from(self.visibility.as_secs())?)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let messages = receive.send().await?.messages.unwrap_or_default();
        let mut event = SqsEvent::default();
        event.records = messages.into_iter().map(record_of).collect();
        Ok((!event.records.is_empty()).then_some(event))
    }

    /// Deletes the messages that the function did not report as failed.
    ///
    /// # Errors
    /// If an SQS request fails. Messages that were not deleted become visible again.
    pub async fn settle(&self, event: SqsEvent, response: &SqsBatchResponse) -> Result<Batch, Error> {
        let failures = response.batch_item_failures.iter();
        let failed: Vec<String> = failures.map(|failure| failure.item_identifier.clone()).collect();
        let received = event.records.len();
        for record in event.records {
            if !record.message_id.as_ref().is_some_and(|id| failed.contains(id)) {
                let delete = self.client.delete_message().queue_url(&self.queue);
                delete.set_receipt_handle(record.receipt_handle).send().await?;
            }
        }
        Ok(Batch { received, failed })
    }

    /// Makes the messages of a batch visible again at once. In AWS, that happens some time after a function crashed.
    ///
    /// # Errors
    /// If an SQS request fails.
    pub async fn release(&self, event: SqsEvent) -> Result<(), Error> {
        for record in event.records {
            let change = self.client.change_message_visibility().queue_url(&self.queue).visibility_timeout(0);
            change.set_receipt_handle(record.receipt_handle).send().await?;
        }
        Ok(())
    }
}

/// Converts a message to the form that Lambda passes to a function.
fn record_of(message: Message) -> SqsMessage {
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
