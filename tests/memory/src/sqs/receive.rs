//! Receives messages, in an order and with duplicates that AWS leaves open.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::Result;
use super::message::uuid;
use super::request::{Receive, in_range, read_for_queue};
use super::{RedrivePolicy, Sqs, SqsEvent, StoredMessage, arn, digest, name_of};
use crate::Choose;

/// One in this many short polls may return too few messages.
const SHORT_POLLS: usize = 8;
/// One in this many receives may return a message that is hidden; as many may return a deleted message.
const DUPLICATES: usize = 64;

impl Sqs {
    /// `ReceiveMessage`: hides visible messages and returns them. A message that reached the redrive policy's limit is
    /// moved to the dead-letter queue instead.
    pub(super) fn receive(&mut self, request: &Value, now: i64, choose: &mut dyn Choose) -> Result<Value> {
        let (name, request) = read_for_queue::<Receive>(request)?;
        let queue = self.queue(&name)?;
        let max = in_range(request.max_number_of_messages, "MaxNumberOfMessages", 1, 10)?.unwrap_or(1);
        let visibility = in_range(request.visibility_timeout, "VisibilityTimeout", 0, 43_200)?;
        let visibility = visibility.unwrap_or_else(|| queue.number("VisibilityTimeout"));
        let wait = in_range(request.wait_time_seconds, "WaitTimeSeconds", 0, 20)?;
        let wait = wait.unwrap_or_else(|| queue.number("ReceiveMessageWaitTimeSeconds"));
        let policy = self.policy(queue);
        // One call must not receive a message twice, even with a visibility timeout of 0.
        let until = now + (visibility * 1000).max(1);
        let mut messages = Vec::new();
        if let Some(number) = self.duplicate(&name, policy.as_ref(), now, choose)? {
            messages.extend(self.hand_out(&name, number, now, until, &request));
        }
        let mut max = usize::try_from(max).unwrap_or(1);
        let visible = self.queue(&name)?.visible(now).len();
        if wait == 0 && visible > 0 && choose.below(SHORT_POLLS) == SHORT_POLLS - 1 {
            max = choose.below(visible.min(max));
        }
        while messages.len() < max {
            let visible = self.queue(&name)?.visible(now);
            if visible.is_empty() {
                break;
            }
            let number = visible[choose.below(visible.len())];
            match policy.as_ref().filter(|policy| self.has_reached(policy, &name, number)) {
                Some(policy) => self.dead_letter(&name, number, name_of(&policy.target_arn), now),
                None => messages.extend(self.hand_out(&name, number, now, until, &request)),
            }
        }
        Ok(if messages.is_empty() { json!({}) } else { json!({"Messages": messages}) })
    }

    /// Returns the number of a message that comes again, if any: one that is in flight, or one that was deleted, which
    /// is put back on the queue. Messages that reached the redrive policy's limit do not come again.
    fn duplicate(
        &mut self,
        name: &str,
        policy: Option<&RedrivePolicy>,
        now: i64,
        choose: &mut dyn Choose,
    ) -> Result<Option<u64>> {
        let next_number = self.counter + 1;
        let queue = self.queue_mut(name)?;
        let may_come = |message: &StoredMessage| policy.is_none_or(|policy| !policy.is_reached(message));
        let in_flight = queue.messages.iter().filter(|(_, message)| message.is_in_flight(now) && may_come(message));
        let in_flight: Vec<u64> = in_flight.map(|(number, _)| *number).collect();
        if !in_flight.is_empty() && choose.below(DUPLICATES) == DUPLICATES - 1 {
            return Ok(Some(in_flight[choose.below(in_flight.len())]));
        }
        let deleted = queue.deleted.iter().enumerate().filter(|(_, message)| may_come(message));
        let deleted: Vec<usize> = deleted.map(|(index, _)| index).collect();
        if !deleted.is_empty() && choose.below(DUPLICATES) == DUPLICATES - 1 {
            let index = deleted[choose.below(deleted.len())];
            if let Some(mut message) = queue.deleted.remove(index) {
                message.came_back = true;
                queue.messages.insert(next_number, message);
                self.counter = next_number;
                return Ok(Some(next_number));
            }
        }
        Ok(None)
    }

    /// Whether a message has reached the limit of a redrive policy.
    fn has_reached(&self, policy: &RedrivePolicy, queue: &str, number: u64) -> bool {
        let message = self.queues.get(queue).and_then(|queue| queue.messages.get(&number));
        message.is_some_and(|message| policy.is_reached(message))
    }

    /// Gives out a message with a new receipt handle, and hides it until `until`.
    fn hand_out(&mut self, name: &str, number: u64, now: i64, until: i64, request: &Receive) -> Option<Value> {
        let nonce = uuid(self.next_number());
        let message = self.queues.get_mut(name)?.messages.get_mut(&number)?;
        message.receive_count += 1;
        message.first_received_at.get_or_insert(now);
        message.receipt_handle = Some(format!("{name}:{}:{nonce}", message.id));
        message.visible_at = until;
        let (queue, id) = (name.to_owned(), message.id.clone());
        self.events.push(SqsEvent::Received { queue, id, count: message.receive_count });
        Some(message_json(message, request))
    }

    /// Moves a message to a dead-letter queue. It keeps its id and the time when it was sent.
    fn dead_letter(&mut self, from: &str, number: u64, to: &str, now: i64) {
        let message = self.queues.get_mut(from).and_then(|queue| queue.messages.remove(&number));
        if let (Some(mut message), Some(target)) = (message, self.queues.get_mut(to)) {
            message.reset(now);
            message.source_arn = Some(arn(from));
            let (old_id, new_id) = (message.id.clone(), message.id.clone());
            self.events.push(SqsEvent::Moved { from: from.to_owned(), to: to.to_owned(), old_id, new_id });
            target.messages.insert(number, message);
        }
    }
}

/// Formats a received message, with the attributes that the request names.
fn message_json(message: &StoredMessage, request: &Receive) -> Value {
    let system = [
        ("SenderId", Some("AIDALOCAL".to_owned())),
        ("SentTimestamp", Some(message.sent_at.to_string())),
        ("ApproximateReceiveCount", Some(message.receive_count.to_string())),
        ("ApproximateFirstReceiveTimestamp", message.first_received_at.map(|at| at.to_string())),
        ("DeadLetterQueueSourceArn", message.source_arn.clone()),
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
    let attributes: Map<String, Value> = message
        .attributes
        .iter()
        .filter(|(name, _)| request.message_attribute_names.iter().any(|wanted| matches(name, wanted)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut output = json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt_handle,
        "Body": message.body,
        "MD5OfBody": digest::of_body(&message.body),
    });
    if !system.is_empty() {
        output["Attributes"] = json!(system);
    }
    if let Some(md5) = digest::of_attributes(&attributes) {
        output["MessageAttributes"] = Value::Object(attributes);
        output["MD5OfMessageAttributes"] = Value::String(md5);
    }
    output
}
