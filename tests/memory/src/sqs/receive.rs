//! Receives messages, in an order and with duplicates that AWS leaves open.

use gatehouse_sqs_protocol::error::Result;
use gatehouse_sqs_protocol::message::ReceivedMessage;
use gatehouse_sqs_protocol::queue::{arn, name_of};
use gatehouse_sqs_protocol::request::{Receive, in_range, read_for_queue};
use serde_json::{Value, json};

use super::message::uuid;
use super::{RedrivePolicy, Sqs, SqsEvent, StoredMessage};
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
            let number = self.queue(&name)?.next_fair(&visible, now, choose);
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
        let may_come = |message: &StoredMessage| policy.is_none_or(|policy| !is_reached(policy, message));
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
        message.is_some_and(|message| is_reached(policy, message))
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
        let received = ReceivedMessage {
            id: &message.id,
            handle: message.receipt_handle.as_deref().unwrap_or_default(),
            body: &message.body,
            attributes: &message.attributes,
            sent_at: message.sent_at,
            receives: i64::from(message.receive_count),
            first_received_at: message.first_received_at.unwrap_or(now),
            source: message.source_arn.as_deref(),
            group: message.group.as_deref(),
        };
        Some(received.to_json(request))
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

/// Whether the next receive of a message would exceed the limit of a redrive policy.
fn is_reached(policy: &RedrivePolicy, message: &StoredMessage) -> bool {
    i64::from(message.receive_count) >= policy.max_receives
}
