//! A local SQS: standard queues in SQLite, with the AWS JSON protocol.
//!
//! Existing SQS emulators that can be embedded keep messages in memory, are limited to 256 KiB and do not redrive. This
//! one does not support FIFO queues, permissions and the older query protocol, and rejects such requests.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>

mod error;
mod moves;
mod queues;
mod store;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_sqs_protocol::error::{Kind, SqsError};
use gatehouse_sqs_protocol::request::{ChangeVisibility, Delete, Entries, Receive, Send, in_range, read_for_queue};
use gatehouse_sqs_protocol::{attributes, digest};
use http::{HeaderValue, Request, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Error;
use error::Failure;
use store::{Queue, Store, now};

pub use gatehouse_sqs_protocol::queue::arn;

/// The SQS service. Clones share its queues.
#[derive(Debug, Clone)]
pub(crate) struct Sqs {
    store: Arc<Mutex<Store>>,
    /// Notified whenever a message may have become visible.
    arrivals: watch::Sender<()>,
    /// The prefix of queue URLs.
    base: String,
}

type Result<T> = std::result::Result<T, Failure>;

impl Sqs {
    /// Opens the queues in `file`, or in memory, and resumes running move tasks. Queue URLs point at `address`.
    ///
    /// # Errors
    /// If the file is not a queue database or cannot be written.
    pub(crate) fn open(address: SocketAddr, file: Option<&Path>) -> std::result::Result<Self, Error> {
        let store = Arc::new(Mutex::new(Store::open(file)?));
        let sqs = Sqs { store, arrivals: watch::channel(()).0, base: format!("http://{address}/000000000000") };
        sqs.resume_moves()?;
        Ok(sqs)
    }

    /// Handles a request of an SDK.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.strip_prefix("AmazonSQS."));
        let result = match (operation, parse(request.body())) {
            (Some("ReceiveMessage"), Ok(request)) => self.receive(&request).await,
            (Some(operation), Ok(request)) => self.run(operation, &request),
            (Some(_), Err(error)) => Err(error.into()),
            (None, _) => Err(unsupported(
                "the local SQS supports the JSON protocol only: POST with X-Amz-Target: AmazonSQS.<operation>",
            )),
        };
        let mut response = result.map_or_else(error::response, |output| Response::new(Bytes::from(output.to_string())));
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
        if let Some(id) = store::uuid().ok().and_then(|id| HeaderValue::from_str(&id).ok()) {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, queue: &str) -> String {
        format!("{}/{queue}", self.base)
    }

    /// Runs any operation except `ReceiveMessage`, which may wait.
    fn run(&self, operation: &str, request: &Value) -> Result<Value> {
        let output = {
            let mut store = self.store();
            self.execute(&mut store, operation, request)
        };
        self.arrivals.send_replace(());
        output
    }

    /// Runs an operation while the store is locked.
    fn execute(&self, store: &mut Store, operation: &str, request: &Value) -> Result<Value> {
        match operation {
            "CreateQueue" => self.create_queue(store, request),
            "GetQueueUrl" => self.queue_url(store, request),
            "ListQueues" => self.list_queues(store, request),
            "ListDeadLetterSourceQueues" => self.list_source_queues(store, request),
            "DeleteQueue" => queues::delete(store, request),
            "GetQueueAttributes" => queues::get_attributes(store, request),
            "SetQueueAttributes" => queues::set_attributes(store, request),
            "TagQueue" | "UntagQueue" => queues::change_tags(store, request),
            "ListQueueTags" => queues::list_tags(store, request),
            "PurgeQueue" => queues::purge(store, request),
            "SendMessage" => single(store, request, send),
            "SendMessageBatch" => send_batch(store, request),
            "DeleteMessage" => single(store, request, delete),
            "DeleteMessageBatch" => batch(store, request, delete),
            "ChangeMessageVisibility" => single(store, request, change_visibility),
            "ChangeMessageVisibilityBatch" => batch(store, request, change_visibility),
            "StartMessageMoveTask" => self.start_move(store, request),
            "ListMessageMoveTasks" => moves::list(store, request),
            "CancelMessageMoveTask" => moves::cancel(store, request),
            other => Err(unsupported(format!("the local SQS does not support the operation {other}"))),
        }
    }

    /// `ReceiveMessage`: returns as soon as a message is visible, or when the wait time has passed.
    async fn receive(&self, request: &Value) -> Result<Value> {
        let (queue, request) = parse_for_queue::<Receive>(&self.store(), request)?;
        let max = in_range(request.max_number_of_messages, "MaxNumberOfMessages", 1, 10)?.unwrap_or(1);
        let default = |name| attributes::number(&queue.attributes, name);
        let visibility = in_range(request.visibility_timeout, "VisibilityTimeout", 0, 43_200)?;
        let visibility = visibility.unwrap_or_else(|| default("VisibilityTimeout"));
        let wait = in_range(request.wait_time_seconds, "WaitTimeSeconds", 0, 20)?;
        let wait = wait.unwrap_or_else(|| default("ReceiveMessageWaitTimeSeconds"));
        let deadline = Instant::now() + Duration::from_secs(u64::try_from(wait).unwrap_or_default());
        let mut arrivals = self.arrivals.subscribe();
        loop {
            arrivals.mark_unchanged();
            let (messages, next) = {
                let mut store = self.store();
                // Read again: the queue may have been changed or deleted while this request waited.
                let queue = store.queue(&queue.name)?;
                (store.receive(&queue, max, visibility)?, store.next_visible(&queue.name)?)
            };
            if !messages.is_empty() || Instant::now() >= deadline {
                let messages: Vec<Value> =
                    messages.iter().map(|message| message.as_received().to_json(&request)).collect();
                return Ok(if messages.is_empty() { json!({}) } else { json!({"Messages": messages}) });
            }
            let until_next = next.map(|at| u64::try_from(at - now()).unwrap_or_default());
            let wake = until_next.map_or(deadline, |ms| deadline.min(Instant::now() + Duration::from_millis(ms)));
            tokio::select! {
                () = sleep_until(wake) => {}
                _ = arrivals.changed() => {}
            }
        }
    }
}

/// Parses a request body. An empty body counts as an empty object.
fn parse(body: &[u8]) -> std::result::Result<Value, SqsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| SqsError::invalid(error.to_string()))
}

fn unsupported(message: impl Into<String>) -> Failure {
    SqsError::new(Kind::UNSUPPORTED_OPERATION, message).into()
}

/// Parses a request that names a queue. Returns the queue and the other parameters.
fn parse_for_queue<T: DeserializeOwned>(store: &Store, request: &Value) -> Result<(Queue, T)> {
    let (name, parameters) = read_for_queue(request)?;
    Ok((store.queue(&name)?, parameters))
}

fn send(store: &mut Store, queue: &Queue, message: &Send) -> Result<Value> {
    let delay = in_range(message.delay_seconds, "DelaySeconds", 0, 900)?;
    let delay = delay.unwrap_or_else(|| attributes::number(&queue.attributes, "DelaySeconds"));
    message.check(attributes::number(&queue.attributes, "MaximumMessageSize"))?;
    let group = message.message_group_id.as_deref().unwrap_or_default();
    let id = store.send(&queue.name, &message.message_body, &message.message_attributes, group, delay)?;
    let mut output = json!({"MessageId": id, "MD5OfMessageBody": digest::of_body(&message.message_body)});
    if let Some(md5) = digest::of_attributes(&message.message_attributes) {
        output["MD5OfMessageAttributes"] = Value::String(md5);
    }
    Ok(output)
}

fn send_batch(store: &mut Store, request: &Value) -> Result<Value> {
    let (queue, batch) = parse_for_queue::<Entries<Send>>(store, request)?;
    batch.check_size()?;
    Ok(batch.run(|message| send(store, &queue, &message))?)
}

fn delete(store: &mut Store, queue: &Queue, delete: &Delete) -> Result<Value> {
    store.delete(&queue.name, &delete.receipt_handle)?;
    Ok(json!({}))
}

fn change_visibility(store: &mut Store, queue: &Queue, change: &ChangeVisibility) -> Result<Value> {
    in_range(Some(change.visibility_timeout), "VisibilityTimeout", 0, 43_200)?;
    store.change_visibility(&queue.name, &change.receipt_handle, change.visibility_timeout)?;
    Ok(json!({}))
}

/// An operation on one message of a queue.
type Operation<T> = fn(&mut Store, &Queue, &T) -> Result<Value>;

/// Runs an operation for a request about one message.
fn single<T: DeserializeOwned>(store: &mut Store, request: &Value, operation: Operation<T>) -> Result<Value> {
    let (queue, parameters) = parse_for_queue(store, request)?;
    operation(store, &queue, &parameters)
}

/// Runs an operation for each entry of a batch request.
fn batch<T: DeserializeOwned>(store: &mut Store, request: &Value, operation: Operation<T>) -> Result<Value> {
    let (queue, batch) = parse_for_queue::<Entries<T>>(store, request)?;
    Ok(batch.run(|parameters| operation(store, &queue, &parameters))?)
}
