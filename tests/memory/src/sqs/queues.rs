//! Creates, lists, configures, purges and deletes queues.

use gatehouse_sqs_protocol::attributes::Attributes;
use gatehouse_sqs_protocol::error::{Kind, Result, SqsError};
use gatehouse_sqs_protocol::queue::{arn, check_attributes, check_name, check_same, named_attributes};
use gatehouse_sqs_protocol::request::{
    ChangeTags, CreateQueue, GetAttributes, GetQueueUrl, ListQueues, NoParameters, SetAttributes, read, read_for_queue,
};
use serde_json::{Value, json};

use super::{Queue, RedrivePolicy, Sqs, SqsEvent};
use crate::Choose;

/// Minimum time between two purges of a queue. In milliseconds.
const PURGE_INTERVAL: i64 = 60_000;
/// How long counts may lag behind. In milliseconds.
const MAX_LAG: i64 = 60_000;
/// Number of earlier counts that a queue remembers.
const MAX_COUNTS: usize = 8;

/// The approximate number of messages of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) visible: usize,
    in_flight: usize,
    delayed: usize,
}

impl Queue {
    /// Counts the messages that are visible, in flight, and delayed.
    pub(super) fn counts(&self, now: i64) -> Counts {
        let visible = self.messages.values().filter(|message| message.visible_at <= now).count();
        let in_flight = self.messages.values().filter(|message| message.is_in_flight(now)).count();
        Counts { visible, in_flight, delayed: self.messages.len() - visible - in_flight }
    }

    /// Returns the counts as AWS may report them: those of now, or of an earlier moment.
    fn reported_counts(&self, now: i64, choose: &mut dyn Choose) -> Counts {
        let current = self.counts(now);
        let earlier = self.counts.iter().rev().filter(|(at, counts)| *at >= now - MAX_LAG && *counts != current);
        let mut options = vec![current];
        options.extend(earlier.map(|(_, counts)| *counts));
        if options.len() == 1 { current } else { options[choose.below(options.len())] }
    }
}

impl Sqs {
    pub(super) fn create_queue(&mut self, request: &Value, now: i64) -> Result<Value> {
        let CreateQueue { queue_name: name, attributes, tags } = read(request)?;
        check_name(&name)?;
        self.check_attributes(&attributes)?;
        let output = json!({"QueueUrl": self.url(&name)});
        let Some(queue) = self.queues.get(&name) else {
            let queue = Queue { attributes, tags, created_at: now, modified_at: now, ..Queue::default() };
            self.queues.insert(name, queue);
            return Ok(output);
        };
        check_same(&queue.attributes, &attributes)?;
        Ok(output)
    }

    pub(super) fn queue_url(&self, request: &Value) -> Result<Value> {
        let GetQueueUrl { queue_name } = read(request)?;
        self.queue(&queue_name)?;
        Ok(json!({"QueueUrl": self.url(&queue_name)}))
    }

    pub(super) fn list_queues(&self, request: &Value) -> Result<Value> {
        let ListQueues { queue_name_prefix: prefix } = read(request)?;
        let names = self.queues.keys().filter(|name| name.starts_with(&prefix));
        Ok(json!({"QueueUrls": names.map(|name| self.url(name)).collect::<Vec<_>>()}))
    }

    pub(super) fn list_source_queues(&self, request: &Value) -> Result<Value> {
        let (name, NoParameters {}) = read_for_queue(request)?;
        self.queue(&name)?;
        // AWS' model has a lower-case name in this operation.
        Ok(json!({"queueUrls": self.sources(&name).map(|name| self.url(name)).collect::<Vec<_>>()}))
    }

    pub(super) fn delete_queue(&mut self, request: &Value) -> Result<Value> {
        let (name, NoParameters {}) = read_for_queue(request)?;
        self.delete_messages(&name)?;
        self.queues.remove(&name);
        Ok(json!({}))
    }

    pub(super) fn get_attributes(&self, request: &Value, now: i64, choose: &mut dyn Choose) -> Result<Value> {
        let (name, GetAttributes { attribute_names: names }) = read_for_queue(request)?;
        let queue = self.queue(&name)?;
        let counts = queue.reported_counts(now, choose);
        let computed = [
            arn(&name),
            (queue.created_at / 1000).to_string(),
            (queue.modified_at / 1000).to_string(),
            counts.visible.to_string(),
            counts.in_flight.to_string(),
            counts.delayed.to_string(),
        ];
        let attributes = named_attributes(&names, &queue.attributes, computed)?;
        Ok(if attributes.is_empty() { json!({}) } else { json!({"Attributes": attributes}) })
    }

    pub(super) fn set_attributes(&mut self, request: &Value, now: i64) -> Result<Value> {
        let (name, SetAttributes { attributes }) = read_for_queue(request)?;
        self.queue(&name)?;
        self.check_attributes(&attributes)?;
        let queue = self.queue_mut(&name)?;
        queue.attributes.extend(attributes);
        // An empty policy removes the policy.
        queue.attributes.retain(|_, value| !value.is_empty());
        queue.modified_at = now;
        Ok(json!({}))
    }

    pub(super) fn change_tags(&mut self, request: &Value, now: i64) -> Result<Value> {
        let (name, ChangeTags { tags, tag_keys }) = read_for_queue(request)?;
        let queue = self.queue_mut(&name)?;
        queue.tags.extend(tags);
        queue.tags.retain(|name, _| !tag_keys.contains(name));
        queue.modified_at = now;
        Ok(json!({}))
    }

    pub(super) fn list_tags(&self, request: &Value) -> Result<Value> {
        let (name, NoParameters {}) = read_for_queue(request)?;
        Ok(json!({"Tags": self.queue(&name)?.tags}))
    }

    /// `PurgeQueue`: deletes the messages of a queue, at most once a minute.
    pub(super) fn purge(&mut self, request: &Value, now: i64) -> Result<Value> {
        let (name, NoParameters {}) = read_for_queue(request)?;
        let queue = self.queue_mut(&name)?;
        if queue.purged_at.is_some_and(|at| now - at < PURGE_INTERVAL) {
            let message = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
            return Err(SqsError::new(Kind::PURGE_IN_PROGRESS, message));
        }
        queue.purged_at = Some(now);
        self.delete_messages(&name)?;
        Ok(json!({}))
    }

    /// Remembers the counts of a queue, because later responses may return them.
    pub(super) fn record_counts(&mut self, queue: &str, now: i64) {
        let Some(queue) = self.queues.get_mut(queue) else { return };
        let counts = queue.counts(now);
        if queue.counts.back().is_none_or(|(_, last)| *last != counts) {
            queue.counts.push_back((now, counts));
            queue.counts.drain(..queue.counts.len().saturating_sub(MAX_COUNTS));
        }
    }

    /// Returns the names of the queues whose redrive policies name this queue.
    pub(super) fn sources(&self, queue: &str) -> impl Iterator<Item = &String> {
        let target = arn(queue);
        let targets =
            move |queue: &Queue| RedrivePolicy::of(&queue.attributes).is_some_and(|policy| policy.target_arn == target);
        self.queues.iter().filter(move |(_, queue)| targets(queue)).map(|(name, _)| name)
    }

    /// Deletes all messages of a queue. They do not come back.
    fn delete_messages(&mut self, name: &str) -> Result<()> {
        let queue = self.queue_mut(name)?;
        queue.deleted.clear();
        let messages = std::mem::take(&mut queue.messages);
        let deleted = |message: super::StoredMessage| SqsEvent::Deleted { queue: name.to_owned(), id: message.id };
        self.events.extend(messages.into_values().map(deleted));
        Ok(())
    }

    fn url(&self, queue: &str) -> String {
        format!("{}/000000000000/{queue}", self.endpoint)
    }

    /// Checks the attributes of a request.
    fn check_attributes(&self, requested: &Attributes) -> Result<()> {
        check_attributes(requested, |name| Ok(self.queues.contains_key(name)))
    }
}
