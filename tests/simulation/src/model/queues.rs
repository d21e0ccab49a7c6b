//! The queues: checks that no message is lost, and that each dead letter has a reason.

use aws_lambda_events::sqs::{SqsEvent as Batch, SqsMessage};
use gatehouse_memory::Sqs;
use gatehouse_memory::sqs::{SqsEvent, StoredMessage};
use serde_json::Value;

use super::stored::QueuedMessage;
use super::{Checked, Model};
use crate::network::Caller;
use crate::plan::FaultKind;

/// How often a message is received before it becomes a dead letter.
const RECEIVES: u32 = 5;

/// The shortest time in which a message may be received five times, in milliseconds. The visibility timeout alone spans
/// four times 180 s; SQS may deliver twice.
const SHORTEST_SPAN: i64 = 20_000;

impl Model {
    /// Sees an event of a queue.
    pub fn queue_changed(&mut self, event: &SqsEvent, sqs: &Sqs, caller: Caller, now: i64) -> Checked {
        self.queued_at = now;
        let (removed, is_final) = match event {
            SqsEvent::Sent { queue, id } | SqsEvent::Received { queue, id, .. } => {
                let at = (queue.clone(), id.clone());
                if !self.queued.contains_key(&at) {
                    let stored = sqs.messages(queue).find(|message| message.id == *id);
                    let message = self.message(stored.map(|stored| stored.body.as_str()).unwrap_or_default(), now)?;
                    if let (Some(stored), Caller::Instance(_), "DeadLetterQueue") = (stored, caller, queue.as_str()) {
                        check_letter(stored, sqs)?;
                    }
                    if let (Some(id), true) = (&message.id, matches!(event, SqsEvent::Sent { .. })) {
                        self.accepted.insert((id.clone(), message.content.clone()));
                        let written = self.cost.nonce_of(caller, id).filter(|_| queue == "RetryQueue");
                        if written.is_some_and(|nonce| *nonce != message.attempt.nonce) {
                            return Err(("I1", format!("{id} is queued with another nonce than it was written with")));
                        }
                        self.check_message(id, &message.attempt)?;
                    }
                    self.queued.insert(at.clone(), message);
                }
                let is_event = self.queued[&at].id.is_some();
                return match event {
                    SqsEvent::Received { queue, id, .. } if queue == "RetryQueue" => {
                        self.check_receives(id, is_event, now)
                    }
                    _ => Ok(()),
                };
            }
            SqsEvent::Moved { from, to, old_id, new_id } => {
                if let Some(message) = self.queued.remove(&(from.clone(), old_id.clone())) {
                    // The count of the queue that it is on now may lag.
                    self.queued.insert((to.clone(), new_id.clone()), QueuedMessage { sent_at: now, ..message });
                }
                return Ok(());
            }
            SqsEvent::Deleted { queue, id } => (self.queued.remove(&(queue.clone(), id.clone())), false),
            SqsEvent::Expired { queue, id } => {
                let is_dead = queue == "DeadLetterQueue";
                (self.queued.remove(&(queue.clone(), id.clone())), is_dead)
            }
        };
        let Some(QueuedMessage { id, content, .. }) = removed else { return Ok(()) };
        let Some(id) = id else {
            let SqsEvent::Deleted { queue, id } = event else { return Ok(()) };
            let is_kept = queue != "RetryQueue" || self.queued.values().any(|message| message.content == content);
            let what = || format!("message {id} is not an event, and was deleted without a dead letter");
            return if is_kept { Ok(()) } else { Err(("I5", what())) };
        };
        if is_final && !self.is_durable(&id, &content, now) {
            // A dead letter that nobody redrives is lost after two weeks, as documented.
            self.accepted.remove(&(id.clone(), content));
        }
        self.check_accepted(&id, now)
    }

    /// Checks a message of the retry queue when it is received: its last five receives must span at
    /// least [`SHORTEST_SPAN`].
    fn check_receives(&mut self, id: &str, is_event: bool, now: i64) -> Checked {
        let receives = self.receives.entry(id.to_owned()).or_default();
        receives.push(now);
        let fifth_last = receives.len().checked_sub(RECEIVES as usize).and_then(|first| receives.get(first));
        let is_quick = fifth_last.is_some_and(|first| now - first < SHORTEST_SPAN);
        if is_quick && is_event && !self.plan.has(FaultKind::Rejected) {
            return Err(("I5", format!("message {id} is received five times within {SHORTEST_SPAN} ms")));
        }
        Ok(())
    }

    /// Checks that each message of a batch that failed is an event about which an instance got no answer, or not an
    /// event.
    pub fn check_batch(&self, instance: usize, batch: &Batch, failed: &[&str]) -> Checked {
        let event_id = |record: &SqsMessage| {
            let envelope: Value = serde_json::from_str(record.body.as_deref()?).ok()?;
            Some(envelope["event_id"].as_str()?.to_owned())
        };
        let ids: Vec<Option<String>> = batch.records.iter().map(event_id).collect();
        for (record, id) in batch.records.iter().zip(&ids) {
            let (Some(message), Some(id)) = (&record.message_id, id) else { continue };
            // A later message about the same event may have succeeded.
            let is_alone = ids.iter().filter(|other| other.as_ref() == Some(id)).count() == 1;
            if failed.contains(&message.as_str()) && is_alone && !self.chat.has_open_request(instance, id) {
                return Err(("I10", format!("{id} failed although nothing was wrong with it")));
            }
        }
        Ok(())
    }

    /// Checks that no erased subject has a dead letter.
    pub fn check_no_erased_letter(&self, now: i64) -> Checked {
        let mut dead =
            self.queued.iter().filter(|((queue, _), _)| queue == "DeadLetterQueue").map(|(_, message)| message);
        let is_erased =
            |message: &&QueuedMessage| message.id.as_ref().is_some_and(|id| self.is_erased(id, &message.content, now));
        match dead.find(is_erased) {
            Some(QueuedMessage { id, .. }) => Err(("erasure", format!("{id:?} was erased, and is a dead letter"))),
            None => Ok(()),
        }
    }

    /// Whether a queue has a message, or had one a short time before `since`, so that SQS may still count it.
    pub(super) fn may_count_as_queued(&self, since: i64) -> bool {
        !self.queued.is_empty() || self.queued_at >= since - super::COUNTED_AFTER
    }

    /// Whether a message is on the retry queue.
    #[must_use]
    pub fn has_retry_messages(&self) -> bool {
        self.queued.keys().any(|(queue, _)| queue == "RetryQueue")
    }

    /// Returns the ids of the events that are dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<String> {
        let dead = self.queued.iter().filter(|((queue, _), _)| queue == "DeadLetterQueue");
        dead.filter_map(|(_, message)| message.id.clone()).collect()
    }
}

/// Checks a dead letter of event-retry: it has a reason, and its message was received as often as documented.
fn check_letter(letter: &StoredMessage, sqs: &Sqs) -> Checked {
    let text = |name: &str| letter.attributes.get(name)?.string_value.as_deref();
    if ["reason", "last_error", "first_failed_at"].into_iter().any(|name| text(name).is_none_or(str::is_empty)) {
        return Err(("I5", format!("dead letter {} has no reason", letter.id)));
    }
    let same = sqs.messages("RetryQueue").filter(|message| message.body == letter.body);
    match same.map(|message| message.receive_count).max() {
        Some(receives) if receives < RECEIVES => {
            Err(("I5", format!("dead letter {} was received only {receives} times", letter.id)))
        }
        _ => Ok(()),
    }
}
