//! SQS on one machine: standard queues over SQLite, speaking the AWS JSON protocol.
//!
//! There are crates that play SQS, but the ones that can be embedded keep messages in memory, take none over 256 KiB and
//! do not redrive. Left out here, and refused by name: FIFO queues, permissions, and the older query protocol.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>

mod attributes;
mod digest;
mod error;
mod moves;
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
use attributes::Attributes;
use digest::MessageAttributes;
use error::{Kind, SqsError};
use store::{Message, Queue, Store, now};

const NO_FIFO: &str = "this local SQS has no FIFO queues; Gatehouse uses none";
/// The most a message, or a batch of them, may be. In bytes.
const LARGEST: usize = 1_048_576;

/// The service; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Sqs {
    store: Arc<Mutex<Store>>,
    /// Told whenever a message may have become visible.
    arrivals: watch::Sender<()>,
    base: String,
}

type Result<T> = std::result::Result<T, SqsError>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfQueue<T> {
    queue_url: String,
    #[serde(flatten)]
    of: T,
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
    of: T,
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    queue_name: String,
    #[serde(default)]
    attributes: Attributes,
    // In this operation alone, AWS writes it small.
    #[serde(default, alias = "tags")]
    tags: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(default)]
    queue_name_prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    #[serde(default)]
    tags: Attributes,
    #[serde(default)]
    tag_keys: Vec<String>,
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
struct Hide {
    receipt_handle: String,
    visibility_timeout: i64,
}

impl Sqs {
    /// Opens the queues that a file holds, or none, and goes on with what was being moved. Queue URLs point at
    /// `address`.
    ///
    /// # Errors
    /// When the file is not of queues, or cannot be written.
    pub(crate) fn open(address: SocketAddr, file: Option<&Path>) -> std::result::Result<Self, Error> {
        let store = Arc::new(Mutex::new(Store::open(file)?));
        let sqs = Sqs { store, arrivals: watch::channel(()).0, base: format!("http://{address}/000000000000") };
        sqs.go_on()?;
        Ok(sqs)
    }

    /// Answers a request of any SDK.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.strip_prefix("AmazonSQS."));
        let result = match operation {
            Some("ReceiveMessage") => self.receive(request.body()).await,
            Some(operation) => self.operate(operation, request.body()),
            None => Err(SqsError::new(
                Kind::UnsupportedOperation,
                "POST with the header X-Amz-Target: AmazonSQS.<operation>; this local SQS speaks the JSON protocol alone",
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

    /// Every operation but `ReceiveMessage`, which may wait.
    fn operate(&self, operation: &str, body: &[u8]) -> Result<Value> {
        let output = {
            let mut store = self.store();
            self.change(&mut store, operation, body)
        };
        self.arrivals.send_replace(());
        output
    }

    fn change(&self, store: &mut Store, operation: &str, body: &[u8]) -> Result<Value> {
        match operation {
            "CreateQueue" => {
                let Create { queue_name, attributes, tags } = read(body)?;
                check_name(&queue_name)?;
                check_attributes(store, &attributes)?;
                store.create(&queue_name, &attributes, &tags)?;
                Ok(json!({"QueueUrl": self.url(&queue_name)}))
            }
            "GetQueueUrl" => Ok(json!({"QueueUrl": self.url(&store.queue(&read::<Named>(body)?.queue_name)?.name)})),
            "ListQueues" => {
                let queues = store.queues(&read::<List>(body)?.queue_name_prefix)?;
                Ok(json!({"QueueUrls": queues.iter().map(|queue| self.url(&queue.name)).collect::<Vec<_>>()}))
            }
            "DeleteQueue" => {
                let (queue, Nothing {}) = of_queue(store, body)?;
                store.delete_queue(&queue.name)?;
                Ok(json!({}))
            }
            "GetQueueAttributes" => {
                let (queue, wanted) = of_queue::<Wanted>(store, body)?;
                tell(store, &queue, &wanted.attribute_names)
            }
            "SetQueueAttributes" => {
                let (mut queue, given) = of_queue::<Given>(store, body)?;
                check_attributes(store, &given.attributes)?;
                queue.attributes.extend(given.attributes);
                // An empty policy takes the policy away.
                queue.attributes.retain(|_, value| !value.is_empty());
                store.set(&queue.name, &queue.attributes, &queue.tags)?;
                Ok(json!({}))
            }
            "TagQueue" | "UntagQueue" => {
                let (mut queue, change) = of_queue::<Tags>(store, body)?;
                queue.tags.extend(change.tags);
                queue.tags.retain(|name, _| !change.tag_keys.contains(name));
                store.set(&queue.name, &queue.attributes, &queue.tags)?;
                Ok(json!({}))
            }
            "ListQueueTags" => Ok(json!({"Tags": of_queue::<Nothing>(store, body)?.0.tags})),
            "PurgeQueue" => {
                let (queue, Nothing {}) = of_queue(store, body)?;
                store.purge(&queue)?;
                Ok(json!({}))
            }
            "SendMessage" => {
                let (queue, message) = of_queue(store, body)?;
                send(store, &queue, &message)
            }
            "SendMessageBatch" => {
                let (queue, batch) = of_queue::<Entries<Send>>(store, body)?;
                if batch.entries.iter().map(|entry| size_of(&entry.of)).sum::<usize>() > LARGEST {
                    let message = format!("The batch is larger than {LARGEST} bytes.");
                    return Err(SqsError::new(Kind::BatchRequestTooLong, message));
                }
                each(batch, |message| send(store, &queue, &message))
            }
            "DeleteMessage" => {
                let (queue, delete) = of_queue::<Delete>(store, body)?;
                store.delete(&queue.name, &delete.receipt_handle)?;
                Ok(json!({}))
            }
            "DeleteMessageBatch" => {
                let (queue, batch) = of_queue::<Entries<Delete>>(store, body)?;
                each(batch, |delete| store.delete(&queue.name, &delete.receipt_handle).map(|()| json!({})))
            }
            "ChangeMessageVisibility" => {
                let (queue, change) = of_queue::<Hide>(store, body)?;
                hide(store, &queue, &change)
            }
            "ChangeMessageVisibilityBatch" => {
                let (queue, batch) = of_queue::<Entries<Hide>>(store, body)?;
                each(batch, |change| hide(store, &queue, &change))
            }
            "ListDeadLetterSourceQueues" => {
                let (queue, Nothing {}) = of_queue(store, body)?;
                let sources = store.sources(&queue.name)?;
                // In this operation alone, AWS writes it small.
                Ok(json!({"queueUrls": sources.iter().map(|queue| self.url(&queue.name)).collect::<Vec<_>>()}))
            }
            "StartMessageMoveTask" => self.start_move(store, body),
            "ListMessageMoveTasks" => moves::list(store, body),
            "CancelMessageMoveTask" => moves::cancel(store, body),
            other => Err(SqsError::new(Kind::UnsupportedOperation, format!("this local SQS has no {other}"))),
        }
    }

    async fn receive(&self, body: &[u8]) -> Result<Value> {
        let (queue, wanted) = of_queue::<Receive>(&self.store(), body)?;
        let max = within(wanted.max_number_of_messages, "MaxNumberOfMessages", 1, 10)?.unwrap_or(1);
        let default = |name| attributes::number(&queue.attributes, name);
        let visibility = within(wanted.visibility_timeout, "VisibilityTimeout", 0, 43_200)?;
        let visibility = visibility.unwrap_or_else(|| default("VisibilityTimeout"));
        let wait = within(wanted.wait_time_seconds, "WaitTimeSeconds", 0, 20)?;
        let wait = wait.unwrap_or_else(|| default("ReceiveMessageWaitTimeSeconds"));
        let deadline = Instant::now() + Duration::from_secs(u64::try_from(wait).unwrap_or_default());
        let mut arrivals = self.arrivals.subscribe();
        loop {
            arrivals.mark_unchanged();
            let (messages, next) = {
                let mut store = self.store();
                // It may have been changed, or deleted, meanwhile.
                let queue = store.queue(&queue.name)?;
                (store.receive(&queue, max, visibility)?, store.next_visible(&queue.name)?)
            };
            if !messages.is_empty() || Instant::now() >= deadline {
                let messages: Vec<Value> = messages.iter().map(|message| show(message, &wanted)).collect();
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

/// The ARN of a queue of the embedded SQS.
#[must_use]
pub fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| match error.to_string() {
        missing if missing.starts_with("missing field") => SqsError::new(Kind::MissingParameter, missing),
        other => SqsError::invalid(other),
    })
}

/// The queue a request is about, and the rest of it.
fn of_queue<T: DeserializeOwned>(store: &Store, body: &[u8]) -> Result<(Queue, T)> {
    let OfQueue { queue_url, of } = read::<OfQueue<T>>(body)?;
    let name = queue_url.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or_default();
    Ok((store.queue(name)?, of))
}

fn check_name(name: &str) -> Result<()> {
    if name.ends_with(".fifo") {
        return Err(SqsError::new(Kind::UnsupportedOperation, NO_FIFO));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(valid) {
        return Err(SqsError::invalid(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    Ok(())
}

fn check_attributes(store: &Store, given: &Attributes) -> Result<()> {
    attributes::check(given)?;
    if let Some(policy) = attributes::RedrivePolicy::of(given) {
        let name = policy.target_arn.rsplit(':').next().unwrap_or_default();
        if arn(name) != policy.target_arn || store.find(name)?.is_none() {
            return Err(SqsError::invalid(format!(
                "Value for parameter RedrivePolicy is invalid. Reason: Dead letter target {} does not exist.",
                policy.target_arn
            )));
        }
    }
    Ok(())
}

fn within(value: Option<i64>, name: &str, least: i64, most: i64) -> Result<Option<i64>> {
    match value {
        Some(value) if !(least..=most).contains(&value) => Err(SqsError::invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: Must be between {least} and {most}, if provided."
        ))),
        value => Ok(value),
    }
}

/// A queue's attributes.
fn tell(store: &Store, queue: &Queue, wanted: &[String]) -> Result<Value> {
    if let Some(unknown) = wanted.iter().find(|name| *name != "All" && !attributes::is_known(name)) {
        return Err(SqsError::new(Kind::InvalidAttributeName, format!("Unknown Attribute {unknown}.")));
    }
    let mut whole = attributes::whole(&queue.attributes);
    let (visible, taken, delayed) = store.counts(&queue.name)?;
    let seconds = |ms: i64| (ms / 1000).to_string();
    let told = [
        arn(&queue.name),
        seconds(queue.created_at),
        seconds(queue.modified_at),
        visible.to_string(),
        taken.to_string(),
        delayed.to_string(),
    ];
    whole.extend(attributes::TOLD.map(str::to_owned).into_iter().zip(told));
    whole.retain(|name, _| wanted.iter().any(|wanted| wanted == "All" || wanted == name));
    Ok(if whole.is_empty() { json!({}) } else { json!({"Attributes": whole}) })
}

fn size_of(message: &Send) -> usize {
    let attribute = |(name, value): (&String, &digest::AttributeValue)| {
        let text = value.string_value.as_ref().or(value.binary_value.as_ref()).map_or(0, String::len);
        name.len() + value.data_type.len() + text
    };
    message.message_body.len() + message.message_attributes.iter().map(attribute).sum::<usize>()
}

fn send(store: &mut Store, queue: &Queue, message: &Send) -> Result<Value> {
    let delay = within(message.delay_seconds, "DelaySeconds", 0, 900)?;
    let delay = delay.unwrap_or_else(|| attributes::number(&queue.attributes, "DelaySeconds"));
    let most = attributes::number(&queue.attributes, "MaximumMessageSize");
    if size_of(message) > usize::try_from(most).unwrap_or(LARGEST) {
        return Err(SqsError::invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        )));
    }
    if message.message_body.is_empty() {
        return Err(SqsError::new(Kind::MissingParameter, "The request must contain the parameter MessageBody."));
    }
    if message.message_attributes.len() > 10 {
        return Err(SqsError::invalid("Number of message attributes exceeds the allowed maximum [10]."));
    }
    // What XML, which the older protocol is, cannot hold.
    let allowed = |c: char| c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}') || matches!(c, '\t' | '\n' | '\r');
    if !message.message_body.chars().all(allowed) {
        return Err(SqsError::new(
            Kind::InvalidMessageContents,
            "The message contains characters outside the allowed set.",
        ));
    }
    let id = store.send(&queue.name, &message.message_body, &message.message_attributes, delay)?;
    let mut output = json!({"MessageId": id, "MD5OfMessageBody": digest::of_body(&message.message_body)});
    if let Some(sum) = digest::of_attributes(&message.message_attributes) {
        output["MD5OfMessageAttributes"] = Value::String(sum);
    }
    Ok(output)
}

fn hide(store: &mut Store, queue: &Queue, change: &Hide) -> Result<Value> {
    within(Some(change.visibility_timeout), "VisibilityTimeout", 0, 43_200)?;
    store.hide(&queue.name, &change.receipt_handle, change.visibility_timeout)?;
    Ok(json!({}))
}

/// Does a batch: what fails, fails alone.
fn each<T>(batch: Entries<T>, mut one: impl FnMut(T) -> Result<Value>) -> Result<Value> {
    let ids: BTreeSet<&String> = batch.entries.iter().map(|entry| &entry.id).collect();
    let refused = match batch.entries.len() {
        0 => Some((Kind::EmptyBatchRequest, "The batch request doesn't contain any entries.")),
        1..=10 if ids.len() < batch.entries.len() => {
            Some((Kind::BatchEntryIdsNotDistinct, "Two entries have the same Id."))
        }
        1..=10 => None,
        _ => Some((Kind::TooManyEntriesInBatchRequest, "The batch request contains more than 10 entries.")),
    };
    if let Some((kind, message)) = refused {
        return Err(SqsError::new(kind, message));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for Entry { id, of } in batch.entries {
        match one(of) {
            Ok(mut output) => {
                output["Id"] = Value::String(id);
                successful.push(output);
            }
            Err(error) => failed.push(json!({
                "Id": id, "Code": error.kind.code(), "SenderFault": error.kind.is_senders(), "Message": error.message,
            })),
        }
    }
    let mut output = json!({"Successful": successful});
    if !failed.is_empty() {
        output["Failed"] = Value::Array(failed);
    }
    Ok(output)
}

/// A message with what the receiver asked for.
fn show(message: &Message, wanted: &Receive) -> Value {
    let system = [
        ("SenderId", Some("AIDALOCAL".to_owned())),
        ("SentTimestamp", Some(message.sent_at.to_string())),
        ("ApproximateReceiveCount", Some(message.receives.to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(message.first_received_at.to_string())),
        ("DeadLetterQueueSourceArn", message.source.clone()),
    ];
    let names = || wanted.attribute_names.iter().chain(&wanted.message_system_attribute_names);
    let system: BTreeMap<&str, String> = system
        .into_iter()
        .filter(|(name, _)| names().any(|wanted| wanted == "All" || wanted == name))
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    // `All`, `.*`, a name, or the beginning of names: `trace.*`.
    let matches = |name: &str, wanted: &String| match wanted.strip_suffix(".*") {
        Some(beginning) => name.starts_with(beginning),
        None => wanted == "All" || wanted == name,
    };
    let attributes: MessageAttributes = message
        .attributes
        .iter()
        .filter(|(name, _)| wanted.message_attribute_names.iter().any(|wanted| matches(name, wanted)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut shown = json!({
        "MessageId": message.id,
        "ReceiptHandle": message.handle,
        "Body": message.body,
        "MD5OfBody": digest::of_body(&message.body),
    });
    if !system.is_empty() {
        shown["Attributes"] = json!(system);
    }
    if let Some(sum) = digest::of_attributes(&attributes) {
        shown["MessageAttributes"] = json!(attributes);
        shown["MD5OfMessageAttributes"] = Value::String(sum);
    }
    shown
}
