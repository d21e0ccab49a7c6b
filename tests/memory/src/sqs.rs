//! SQS: standard queues in memory.
//!
//! It behaves like the embedded SQS of `infra/local`, without its storage, and expires messages as AWS does. It does
//! not support FIFO queues and permissions.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>

mod message;
mod moves;
mod queues;
mod receive;
mod send;

use std::collections::{BTreeMap, VecDeque};

use gatehouse_sqs_protocol::attributes::{self, Attributes, RedrivePolicy};
use gatehouse_sqs_protocol::error::{Kind, Result, SqsError};
use gatehouse_sqs_protocol::queue::{does_not_exist, name_of};
use gatehouse_sqs_protocol::request::{Entries, Send, read_for_queue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Choose, Response};
use moves::Task;
use queues::Counts;

pub use message::{SqsEvent, StoredMessage};

/// Number of deleted messages of a queue that may come back.
const MAX_DELETED: usize = 16;

/// An SQS in memory. It has no clock: the caller passes the time, in milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct Sqs {
    endpoint: String,
    queues: BTreeMap<String, Queue>,
    tasks: Vec<Task>,
    events: Vec<SqsEvent>,
    /// Numbers messages, message ids and receipt handles.
    counter: u64,
}

/// A queue.
#[derive(Debug, Clone, Default)]
struct Queue {
    /// The attributes that were set.
    attributes: Attributes,
    tags: Attributes,
    created_at: i64,
    modified_at: i64,
    purged_at: Option<i64>,
    /// The messages by number, which is the order in which they were sent. A message that moves keeps its number.
    messages: BTreeMap<u64, StoredMessage>,
    /// The latest deleted messages. Each may come back once.
    deleted: VecDeque<StoredMessage>,
    /// The latest counts and their times, the newest last.
    counts: VecDeque<(i64, Counts)>,
}

impl Queue {
    fn number(&self, attribute: &str) -> i64 {
        attributes::number(&self.attributes, attribute)
    }

    /// Returns the numbers of the visible messages, in the order in which they became visible.
    fn visible(&self, now: i64) -> Vec<u64> {
        let visible = self.messages.iter().filter(|(_, message)| message.visible_at <= now);
        let mut visible: Vec<(i64, u64)> = visible.map(|(number, message)| (message.visible_at, *number)).collect();
        visible.sort_unstable();
        visible.into_iter().map(|(_, number)| number).collect()
    }

    /// Returns one of the `visible` messages, of the group that has the fewest messages in flight.
    fn next_fair(&self, visible: &[u64], now: i64, choose: &mut dyn Choose) -> u64 {
        let group = |number: &u64| self.messages.get(number).and_then(|message| message.group.as_deref());
        let mut groups: BTreeMap<Option<&str>, usize> = visible.iter().map(|number| (group(number), 0)).collect();
        if groups.len() < 2 {
            return visible[choose.below(visible.len())];
        }
        for message in self.messages.values().filter(|message| message.is_in_flight(now)) {
            groups.entry(message.group.as_deref()).and_modify(|count| *count += 1);
        }
        let quiet = groups.iter().min_by_key(|(_, count)| **count).and_then(|(group, _)| *group);
        let of_group: Vec<u64> = visible.iter().filter(|number| group(number) == quiet).copied().collect();
        of_group[choose.below(of_group.len())]
    }
}

impl Sqs {
    /// Creates an SQS without queues. Queue URLs are `<endpoint>/000000000000/<name>`.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        Sqs {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            queues: BTreeMap::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            counter: 0,
        }
    }

    /// Answers a request. `operation` is a name such as `SendMessage`.
    ///
    /// It never waits: the caller repeats a `ReceiveMessage` without messages until `WaitTimeSeconds` have passed.
    /// The header [`query_error`] belongs to an error response.
    pub fn answer(&mut self, operation: &str, request: &Value, now: i64, choose: &mut dyn Choose) -> Response {
        self.advance(now);
        let result = self.execute(operation, request, now, choose);
        if let Some(queue) = request["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()) {
            self.record_counts(queue, now);
        }
        result.map_or_else(|error| Response { status: error.status(), body: error.body() }, Response::ok)
    }

    fn execute(&mut self, operation: &str, request: &Value, now: i64, choose: &mut dyn Choose) -> Result<Value> {
        match operation {
            "CreateQueue" => self.create_queue(request, now),
            "GetQueueUrl" => self.queue_url(request),
            "ListQueues" => self.list_queues(request),
            "ListDeadLetterSourceQueues" => self.list_source_queues(request),
            "DeleteQueue" => self.delete_queue(request),
            "GetQueueAttributes" => self.get_attributes(request, now, choose),
            "SetQueueAttributes" => self.set_attributes(request, now),
            "TagQueue" | "UntagQueue" => self.change_tags(request, now),
            "ListQueueTags" => self.list_tags(request),
            "PurgeQueue" => self.purge(request, now),
            "SendMessage" => self.single(request, now, Self::send),
            "SendMessageBatch" => self.send_batch(request, now),
            "ReceiveMessage" => self.receive(request, now, choose),
            "DeleteMessage" => self.single(request, now, Self::delete),
            "DeleteMessageBatch" => self.batch(request, now, Self::delete),
            "ChangeMessageVisibility" => self.single(request, now, Self::change_visibility),
            "ChangeMessageVisibilityBatch" => self.batch(request, now, Self::change_visibility),
            "StartMessageMoveTask" => self.start_move(request, now),
            "ListMessageMoveTasks" => self.list_moves(request),
            "CancelMessageMoveTask" => self.cancel_move(request),
            other => Err(SqsError::new(
                Kind::UNSUPPORTED_OPERATION,
                format!("this SQS does not support the operation {other}"),
            )),
        }
    }

    /// Expires messages, and lets running move tasks move the messages that are due by `now`. [`Sqs::answer`] calls it
    /// too.
    pub fn advance(&mut self, now: i64) {
        while let Some((at, task)) = self.next_piece().filter(|(at, _)| *at <= now) {
            self.expire(at);
            self.move_piece(task, at);
        }
        self.expire(now);
    }

    /// Returns the first time after `after` at which something changes without a request: a hidden or delayed message
    /// becomes visible, or a move task moves messages. The end of a retention period does not count.
    #[must_use]
    pub fn next_change(&self, after: i64) -> Option<i64> {
        let messages = self.queues.values().flat_map(|queue| queue.messages.values());
        let visible = messages.map(|message| message.visible_at).filter(|at| *at > after).min();
        let moved = self.next_piece().map(|(at, _)| at.max(after + 1));
        visible.into_iter().chain(moved).min()
    }

    /// Returns the messages of a queue, in the order in which they were sent, including hidden ones. `queue` is the
    /// queue's name.
    pub fn messages<'s>(&'s self, queue: &str) -> impl Iterator<Item = &'s StoredMessage> + use<'s> {
        self.queues.get(queue).into_iter().flat_map(|queue| queue.messages.values())
    }

    /// Returns what has happened to messages since the last call.
    pub fn take_events(&mut self) -> Vec<SqsEvent> {
        std::mem::take(&mut self.events)
    }

    /// Returns a queue by its name.
    fn queue(&self, name: &str) -> Result<&Queue> {
        self.queues.get(name).ok_or_else(|| does_not_exist(name))
    }

    /// Returns a queue by its name.
    fn queue_mut(&mut self, name: &str) -> Result<&mut Queue> {
        self.queues.get_mut(name).ok_or_else(|| does_not_exist(name))
    }

    /// Returns the redrive policy of a queue. A policy whose target does not exist moves nothing.
    fn policy(&self, queue: &Queue) -> Option<RedrivePolicy> {
        RedrivePolicy::of(&queue.attributes).filter(|policy| self.queues.contains_key(name_of(&policy.target_arn)))
    }

    /// Returns the next unused number.
    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Deletes the messages whose retention period has ended by `now`.
    fn expire(&mut self, now: i64) {
        for (name, queue) in &mut self.queues {
            let retention = queue.number("MessageRetentionPeriod") * 1000;
            let expired = |message: &StoredMessage| message.sent_at + retention <= now;
            let events = &mut self.events;
            queue.messages.retain(|_, message| {
                if expired(message) {
                    events.push(SqsEvent::Expired { queue: name.clone(), id: message.id.clone() });
                }
                !expired(message)
            });
            queue.deleted.retain(|message| !expired(message));
        }
    }
}

/// An operation on one message of a queue, at a time.
type Operation<T> = fn(&mut Sqs, &str, &T, i64) -> Result<Value>;

impl Sqs {
    /// Runs an operation for a request about one message.
    fn single<T: DeserializeOwned>(&mut self, request: &Value, now: i64, operation: Operation<T>) -> Result<Value> {
        let (queue, parameters) = read_for_queue(request)?;
        self.queue(&queue)?;
        operation(self, &queue, &parameters, now)
    }

    /// Runs an operation for each entry of a batch request.
    fn batch<T: DeserializeOwned>(&mut self, request: &Value, now: i64, operation: Operation<T>) -> Result<Value> {
        let (queue, batch) = read_for_queue::<Entries<T>>(request)?;
        self.queue(&queue)?;
        batch.run(|parameters| operation(self, &queue, &parameters, now))
    }

    /// `SendMessageBatch`: sends several messages.
    fn send_batch(&mut self, request: &Value, now: i64) -> Result<Value> {
        let (queue, batch) = read_for_queue::<Entries<Send>>(request)?;
        self.queue(&queue)?;
        batch.check_size()?;
        batch.run(|message| self.send(&queue, &message, now))
    }
}

/// Returns the value of the header `x-amzn-query-error` of an error response. SDKs take the error code from it. Returns
/// `None` for a response without an error.
#[must_use]
pub fn query_error(response: &Response) -> Option<String> {
    Some(Kind::of_shape(response.code()?)?.query_error())
}
