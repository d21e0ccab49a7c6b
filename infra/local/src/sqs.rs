//! A local SQS: standard queues in SQLite, with the AWS JSON protocol.
//!
//! Existing SQS emulators that can be embedded keep messages in memory, are limited to 256 KiB and do not redrive. This
//! one does not support FIFO queues, permissions and the older query protocol, and rejects such requests.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>

mod attributes;
mod digest;
mod error;
mod moves;
mod queues;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Error;
use digest::MessageAttributes;
use error::{Kind, SqsError};
use store::{Message, Queue, Store, now};

const NO_FIFO: &str = "the local SQS does not support FIFO queues";
/// Maximum size of a message, and of a batch. In bytes.
const MAX_BYTES: usize = 1_048_576;

/// The SQS service. Clones share its queues.
#[derive(Debug, Clone)]
pub(crate) struct Sqs {
    store: Arc<Mutex<Store>>,
    /// Notified whenever a message may have become visible.
    arrivals: watch::Sender<()>,
    /// The prefix of queue URLs.
    base: String,
}

type Result<T> = std::result::Result<T, SqsError>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueRequest<T> {
    queue_url: String,
    #[serde(flatten)]
    parameters: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entries<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<T> {
    id: String,
    #[serde(flatten)]
    parameters: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Send {
    message_body: String,
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: MessageAttributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeVisibility {
    receipt_handle: String,
    visibility_timeout: i64,
}

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
        let result = match operation {
            Some("ReceiveMessage") => self.receive(request.body()).await,
            Some(operation) => self.run(operation, request.body()),
            None => Err(SqsError::new(
                Kind::UnsupportedOperation,
                "the local SQS supports the JSON protocol only: POST with X-Amz-Target: AmazonSQS.<operation>",
            )),
        };
        let mut response =
            result.map_or_else(|error| error.to_response(), |output| Response::new(Bytes::from(output.to_string())));
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
    fn run(&self, operation: &str, body: &[u8]) -> Result<Value> {
        let output = {
            let mut store = self.store();
            self.execute(&mut store, operation, body)
        };
        self.arrivals.send_replace(());
        output
    }

    /// Runs an operation while the store is locked.
    fn execute(&self, store: &mut Store, operation: &str, body: &[u8]) -> Result<Value> {
        match operation {
            "CreateQueue" => self.create_queue(store, body),
            "GetQueueUrl" => self.queue_url(store, body),
            "ListQueues" => self.list_queues(store, body),
            "ListDeadLetterSourceQueues" => self.list_source_queues(store, body),
            "DeleteQueue" => queues::delete(store, body),
            "GetQueueAttributes" => queues::get_attributes(store, body),
            "SetQueueAttributes" => queues::set_attributes(store, body),
            "TagQueue" | "UntagQueue" => queues::change_tags(store, body),
            "ListQueueTags" => queues::list_tags(store, body),
            "PurgeQueue" => queues::purge(store, body),
            "SendMessage" => single(store, body, send),
            "SendMessageBatch" => send_batch(store, body),
            "DeleteMessage" => single(store, body, delete),
            "DeleteMessageBatch" => batch(store, body, delete),
            "ChangeMessageVisibility" => single(store, body, change_visibility),
            "ChangeMessageVisibilityBatch" => batch(store, body, change_visibility),
            "StartMessageMoveTask" => self.start_move(store, body),
            "ListMessageMoveTasks" => moves::list(store, body),
            "CancelMessageMoveTask" => moves::cancel(store, body),
            other => Err(SqsError::new(
                Kind::UnsupportedOperation,
                format!("the local SQS does not support the operation {other}"),
            )),
        }
    }

    /// `ReceiveMessage`: returns as soon as a message is visible, or when the wait time has passed.
    async fn receive(&self, body: &[u8]) -> Result<Value> {
        let (queue, request) = parse_for_queue::<Receive>(&self.store(), body)?;
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
                let messages: Vec<Value> = messages.iter().map(|message| message_json(message, &request)).collect();
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

/// Returns the ARN of a queue of the local SQS.
#[must_use]
pub fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
}

/// Parses a request body. An empty body counts as an empty object.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| match error.to_string() {
        missing if missing.starts_with("missing field") => SqsError::new(Kind::MissingParameter, missing),
        other => SqsError::invalid(other),
    })
}

/// Parses a request that names a queue. Returns the queue and the other parameters.
fn parse_for_queue<T: DeserializeOwned>(store: &Store, body: &[u8]) -> Result<(Queue, T)> {
    let QueueRequest { queue_url, parameters } = read::<QueueRequest<T>>(body)?;
    let name = queue_url.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or_default();
    Ok((store.queue(name)?, parameters))
}

/// Checks that an optional parameter is between `min` and `max`.
fn in_range(value: Option<i64>, name: &str, min: i64, max: i64) -> Result<Option<i64>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => Err(SqsError::invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: Must be between {min} and {max}, if provided."
        ))),
        value => Ok(value),
    }
}

/// Size of a message: its body and attributes. In bytes.
fn size_of(message: &Send) -> usize {
    let attribute = |(name, value): (&String, &digest::AttributeValue)| {
        let text = value.string_value.as_ref().or(value.binary_value.as_ref()).map_or(0, String::len);
        name.len() + value.data_type.len() + text
    };
    message.message_body.len() + message.message_attributes.iter().map(attribute).sum::<usize>()
}

fn send(store: &mut Store, queue: &Queue, message: &Send) -> Result<Value> {
    let delay = in_range(message.delay_seconds, "DelaySeconds", 0, 900)?;
    let delay = delay.unwrap_or_else(|| attributes::number(&queue.attributes, "DelaySeconds"));
    let max = attributes::number(&queue.attributes, "MaximumMessageSize");
    if size_of(message) > usize::try_from(max).unwrap_or(MAX_BYTES) {
        return Err(SqsError::invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {max} bytes."
        )));
    }
    if message.message_body.is_empty() {
        return Err(SqsError::new(Kind::MissingParameter, "The request must contain the parameter MessageBody."));
    }
    if message.message_attributes.len() > 10 {
        return Err(SqsError::invalid("Number of message attributes exceeds the allowed maximum [10]."));
    }
    // SQS rejects characters that XML, the format of the query protocol, cannot represent.
    let allowed = |c: char| c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}') || matches!(c, '\t' | '\n' | '\r');
    if !message.message_body.chars().all(allowed) {
        return Err(SqsError::new(
            Kind::InvalidMessageContents,
            "The message contains characters outside the allowed set.",
        ));
    }
    let id = store.send(&queue.name, &message.message_body, &message.message_attributes, delay)?;
    let mut output = json!({"MessageId": id, "MD5OfMessageBody": digest::of_body(&message.message_body)});
    if let Some(md5) = digest::of_attributes(&message.message_attributes) {
        output["MD5OfMessageAttributes"] = Value::String(md5);
    }
    Ok(output)
}

fn send_batch(store: &mut Store, body: &[u8]) -> Result<Value> {
    let (queue, batch) = parse_for_queue::<Entries<Send>>(store, body)?;
    if batch.entries.iter().map(|entry| size_of(&entry.parameters)).sum::<usize>() > MAX_BYTES {
        let message = format!("The batch is larger than {MAX_BYTES} bytes.");
        return Err(SqsError::new(Kind::BatchRequestTooLong, message));
    }
    run_batch(batch, |message| send(store, &queue, &message))
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
fn single<T: DeserializeOwned>(store: &mut Store, body: &[u8], operation: Operation<T>) -> Result<Value> {
    let (queue, parameters) = parse_for_queue(store, body)?;
    operation(store, &queue, &parameters)
}

/// Runs an operation for each entry of a batch request.
fn batch<T: DeserializeOwned>(store: &mut Store, body: &[u8], operation: Operation<T>) -> Result<Value> {
    let (queue, batch) = parse_for_queue(store, body)?;
    run_batch(batch, |parameters| operation(store, &queue, &parameters))
}

/// Runs `run` for each entry of a batch and reports each result. A failed entry does not affect the others.
fn run_batch<T>(batch: Entries<T>, mut run: impl FnMut(T) -> Result<Value>) -> Result<Value> {
    let ids: BTreeSet<&String> = batch.entries.iter().map(|entry| &entry.id).collect();
    let error = match batch.entries.len() {
        0 => Some((Kind::EmptyBatchRequest, "The batch request doesn't contain any entries.")),
        1..=10 if ids.len() < batch.entries.len() => {
            Some((Kind::BatchEntryIdsNotDistinct, "Two entries have the same Id."))
        }
        1..=10 => None,
        _ => Some((Kind::TooManyEntriesInBatchRequest, "The batch request contains more than 10 entries.")),
    };
    if let Some((kind, message)) = error {
        return Err(SqsError::new(kind, message));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for Entry { id, parameters } in batch.entries {
        match run(parameters) {
            Ok(mut output) => {
                output["Id"] = Value::String(id);
                successful.push(output);
            }
            Err(SqsError { kind, message }) => failed.push(json!({
                "Id": id, "Code": kind.code(), "SenderFault": kind.is_client_fault(), "Message": message,
            })),
        }
    }
    let mut output = json!({"Successful": successful});
    if !failed.is_empty() {
        output["Failed"] = Value::Array(failed);
    }
    Ok(output)
}

/// Formats a received message, with the attributes that the request names.
fn message_json(message: &Message, request: &Receive) -> Value {
    let system = [
        ("SenderId", Some("AIDALOCAL".to_owned())),
        ("SentTimestamp", Some(message.sent_at.to_string())),
        ("ApproximateReceiveCount", Some(message.receives.to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(message.first_received_at.to_string())),
        ("DeadLetterQueueSourceArn", message.source.clone()),
    ];
    let names = || request.attribute_names.iter().chain(&request.message_system_attribute_names);
    let system: BTreeMap<&str, String> = system
        .into_iter()
        .filter(|(name, _)| names().any(|wanted| wanted == "All" || wanted == name))
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    // A request names `All`, `.*`, a name, or a prefix such as `trace.*`.
    let matches = |name: &str, wanted: &String| match wanted.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => wanted == "All" || wanted == name,
    };
    let attributes: MessageAttributes = message
        .attributes
        .iter()
        .filter(|(name, _)| request.message_attribute_names.iter().any(|wanted| matches(name, wanted)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut output = json!({
        "MessageId": message.id,
        "ReceiptHandle": message.handle,
        "Body": message.body,
        "MD5OfBody": digest::of_body(&message.body),
    });
    if !system.is_empty() {
        output["Attributes"] = json!(system);
    }
    if let Some(md5) = digest::of_attributes(&attributes) {
        output["MessageAttributes"] = json!(attributes);
        output["MD5OfMessageAttributes"] = Value::String(md5);
    }
    output
}
