//! SQS: the `rustack-sqs` engine with what it lacks, a memory beyond the process and redrives.
//!
//! Every change goes to the engine and into the [`Journal`] before it is answered. On start the journal's messages are
//! sent to the engine again, which gives them new ids; callers go on seeing the old ones, with their receives.

mod journal;
mod redrive;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use gatehouse_inbox::Clock;
use rustack_sqs_core::config::SqsConfig;
use rustack_sqs_core::handler::RustackSqsHandler;
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_http::body::SqsResponseBody;
use rustack_sqs_http::dispatch::SqsHandler;
use rustack_sqs_http::response::json_response;
use rustack_sqs_model::error::SqsError;
use rustack_sqs_model::input::{
    ChangeMessageVisibilityBatchInput, ChangeMessageVisibilityInput, DeleteMessageBatchInput, DeleteMessageInput,
    PurgeQueueInput, ReceiveMessageInput, SendMessageBatchInput, SendMessageInput,
};
use rustack_sqs_model::operations::SqsOperation;
use rustack_sqs_model::output::{ReceiveMessageOutput, SendMessageOutput};
use rustack_sqs_model::types::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::Error;
use journal::Journal;

type Reply = Result<http::Response<SqsResponseBody>, SqsError>;

/// The service, behind `SqsHttpService`.
#[derive(Debug, Clone)]
pub(crate) struct Sqs {
    engine: Arc<RustackSqs>,
    handler: Arc<RustackSqsHandler>,
    books: Arc<Mutex<Books>>,
}

/// What is known of the messages beside what the engine knows. Held from a change in the engine to its commit, so that
/// nobody learns of a message before it is kept.
#[derive(Debug)]
struct Books {
    journal: Journal,
    /// The messages that were sent to the engine again: by the engine's id, the original one and when it was sent.
    resent: HashMap<String, (String, i64)>,
    /// Which message a receipt handle belongs to, by the original id.
    handles: HashMap<String, String>,
}

impl Sqs {
    /// Starts the engine with what `journal` keeps. Queue URLs point at `address`.
    ///
    /// # Errors
    /// When the file is not a journal, or cannot be written.
    pub(crate) async fn open(address: SocketAddr, journal: Option<&Path>) -> Result<Self, Error> {
        let config = SqsConfig { host: address.ip().to_string(), port: address.port(), ..SqsConfig::default() };
        let engine = Arc::new(RustackSqs::new(config));
        let handler = Arc::new(RustackSqsHandler::new(Arc::clone(&engine)));
        let journal = Journal::open(journal)?;
        engine.import_snapshot(journal.queues()?).await?;
        let mut resent = HashMap::new();
        let now = Clock::System.now().as_millis();
        for kept in journal.messages()? {
            let queue_url = engine.queue_url_for_arn(&format!("arn:aws:sqs:us-east-1:000000000000:{}", kept.queue))?;
            let wait = u64::try_from(kept.hidden_until - now).unwrap_or_default().div_ceil(1000);
            let delay_seconds = (wait > 0).then(|| i32::try_from(wait).unwrap_or(i32::MAX));
            let sent = engine.send_message(SendMessageInput { queue_url, delay_seconds, ..kept.input }).await?;
            resent.insert(sent.message_id.unwrap_or_default(), (kept.id, kept.sent_at));
        }
        let books = Arc::new(Mutex::new(Books { journal, resent, handles: HashMap::new() }));
        Ok(Sqs { engine, handler, books })
    }

    async fn send(&self, input: SendMessageInput) -> Result<SendMessageOutput, SqsError> {
        let books = self.books.lock().await;
        let output = self.engine.send_message(input.clone()).await?;
        books.sent(&input, output.message_id.as_deref())?;
        Ok(output)
    }

    async fn receive(&self, input: ReceiveMessageInput) -> Result<ReceiveMessageOutput, SqsError> {
        // Not under the lock: it may wait for a message to come.
        let mut output = self.engine.receive_message(input.clone()).await?;
        let mut books = self.books.lock().await;
        for message in &mut output.messages {
            books.received(message, queue_name(&input.queue_url))?;
        }
        Ok(output)
    }

    async fn delete(&self, input: DeleteMessageInput) -> Result<(), SqsError> {
        let mut books = self.books.lock().await;
        self.engine.delete_message(input.clone()).await?;
        books.deleted(&input.receipt_handle)
    }

    async fn dispatch(&self, op: SqsOperation, body: Bytes) -> Reply {
        match op {
            SqsOperation::SendMessage => reply(&self.send(read(&body)?).await?),
            SqsOperation::ReceiveMessage => reply(&self.receive(read(&body)?).await?),
            SqsOperation::DeleteMessage => {
                self.delete(read(&body)?).await?;
                reply(&serde_json::json!({}))
            }
            SqsOperation::SendMessageBatch => {
                let input: SendMessageBatchInput = read(&body)?;
                let books = self.books.lock().await;
                let output = self.engine.send_message_batch(input.clone()).await?;
                for sent in &output.successful {
                    let entry = input.entries.iter().find(|entry| entry.id == sent.id);
                    let entry = entry.cloned().unwrap_or_default();
                    let input = SendMessageInput {
                        queue_url: input.queue_url.clone(),
                        message_body: entry.message_body,
                        delay_seconds: entry.delay_seconds,
                        message_deduplication_id: entry.message_deduplication_id,
                        message_group_id: entry.message_group_id,
                        message_attributes: entry.message_attributes,
                        message_system_attributes: entry.message_system_attributes,
                    };
                    books.sent(&input, Some(&sent.message_id))?;
                }
                reply(&output)
            }
            SqsOperation::DeleteMessageBatch => {
                let input: DeleteMessageBatchInput = read(&body)?;
                let mut books = self.books.lock().await;
                let output = self.engine.delete_message_batch(input.clone()).await?;
                for entry in &input.entries {
                    books.deleted(&entry.receipt_handle)?;
                }
                reply(&output)
            }
            SqsOperation::ChangeMessageVisibility => {
                let input: ChangeMessageVisibilityInput = read(&body)?;
                let books = self.books.lock().await;
                self.engine.change_message_visibility(input.clone()).await?;
                books.hidden(&input.receipt_handle, input.visibility_timeout)?;
                reply(&serde_json::json!({}))
            }
            SqsOperation::ChangeMessageVisibilityBatch => {
                let input: ChangeMessageVisibilityBatchInput = read(&body)?;
                let books = self.books.lock().await;
                let output = self.engine.change_message_visibility_batch(input.clone()).await?;
                for entry in &input.entries {
                    books.hidden(&entry.receipt_handle, entry.visibility_timeout)?;
                }
                reply(&output)
            }
            SqsOperation::PurgeQueue => {
                let input: PurgeQueueInput = read(&body)?;
                let books = self.books.lock().await;
                let output = self.engine.purge_queue(input.clone()).await?;
                books.journal.purged(queue_name(&input.queue_url)).map_err(not_kept)?;
                reply(&output)
            }
            SqsOperation::CreateQueue
            | SqsOperation::SetQueueAttributes
            | SqsOperation::DeleteQueue
            | SqsOperation::TagQueue
            | SqsOperation::UntagQueue => {
                let mut books = self.books.lock().await;
                let reply = self.handler.handle_operation(op, body).await?;
                let snapshot = self.engine.export_snapshot().await?;
                books.journal.set_queues(&snapshot).map_err(not_kept)?;
                Ok(reply)
            }
            SqsOperation::StartMessageMoveTask => self.move_messages(read(&body)?).await,
            SqsOperation::ListDeadLetterSourceQueues => {
                let output = self.engine.list_dead_letter_source_queues(read(&body)?).await?;
                // The engine writes `QueueUrls`; AWS, in this operation alone, a small q.
                reply(&serde_json::json!({"queueUrls": output.queue_urls}))
            }
            _ => self.handler.handle_operation(op, body).await,
        }
    }
}

impl SqsHandler for Sqs {
    fn handle_operation(&self, op: SqsOperation, body: Bytes) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        let sqs = self.clone();
        Box::pin(async move { sqs.dispatch(op, body).await })
    }
}

impl Books {
    fn sent(&self, input: &SendMessageInput, id: Option<&str>) -> Result<(), SqsError> {
        let now = Clock::System.now().as_millis();
        let queue = queue_name(&input.queue_url);
        self.journal.sent(id.unwrap_or_default(), queue, input, now).map_err(not_kept)
    }

    fn received(&mut self, message: &mut Message, queue: &str) -> Result<(), SqsError> {
        let engine_id = message.message_id.clone().unwrap_or_default();
        let mut id = engine_id.clone();
        if let Some((original, sent_at)) = self.resent.get(&engine_id) {
            id.clone_from(original);
            message.message_id = Some(original.clone());
            if let Some(told) = message.attributes.get_mut("SentTimestamp") {
                *told = sent_at.to_string();
            }
        }
        let receives = self.journal.received(&id, queue).map_err(not_kept)?;
        if let (Some(told), Some(receives)) = (message.attributes.get_mut("ApproximateReceiveCount"), receives) {
            *told = receives.to_string();
        }
        self.handles.insert(message.receipt_handle.clone().unwrap_or_default(), id);
        Ok(())
    }

    fn hidden(&self, handle: &str, seconds: i32) -> Result<(), SqsError> {
        let Some(id) = self.handles.get(handle) else { return Ok(()) };
        let until = Clock::System.now().as_millis() + i64::from(seconds) * 1000;
        self.journal.hidden(id, until).map_err(not_kept)
    }

    fn deleted(&mut self, handle: &str) -> Result<(), SqsError> {
        let Some(id) = self.handles.remove(handle) else { return Ok(()) };
        self.handles.retain(|_, other| *other != id);
        self.journal.deleted(&id).map_err(not_kept)
    }
}

fn not_kept(error: Error) -> SqsError {
    SqsError::internal_error(format!("the queue's file could not be written: {error}"))
}

fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(body)
        .map_err(|error| SqsError::invalid_parameter_value(format!("the request is not readable: {error}")))
}

fn reply(output: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(output).map_err(|error| SqsError::internal_error(error.to_string()))?;
    let mut response = json_response(body, "");
    // The HTTP layer gives every answer its request id, unless it has one.
    response.headers_mut().remove("x-amzn-requestid");
    Ok(response)
}
