//! Sends and deletes messages, and changes their visibility.

use gatehouse_sqs_protocol::digest;
use gatehouse_sqs_protocol::error::{Kind, Result, SqsError};
use gatehouse_sqs_protocol::queue::message_id_of;
use gatehouse_sqs_protocol::request::{ChangeVisibility, Delete, Send, in_range};
use serde_json::{Value, json};

use super::message::uuid;
use super::{MAX_DELETED, Queue, Sqs, SqsEvent, StoredMessage};

impl Sqs {
    /// `SendMessage`: stores a message.
    pub(super) fn send(&mut self, name: &str, request: &Send, now: i64) -> Result<Value> {
        let queue = self.queue(name)?;
        let delay = in_range(request.delay_seconds, "DelaySeconds", 0, 900)?;
        let delay = delay.unwrap_or_else(|| queue.number("DelaySeconds"));
        request.check(queue.number("MaximumMessageSize"))?;
        let number = self.next_number();
        let (id, attributes) = (uuid(number), request.message_attributes.clone());
        let mut output = json!({"MessageId": id, "MD5OfMessageBody": digest::of_body(&request.message_body)});
        if let Some(md5) = digest::of_attributes(&attributes) {
            output["MD5OfMessageAttributes"] = Value::String(md5);
        }
        let message = StoredMessage {
            id: id.clone(),
            body: request.message_body.clone(),
            attributes,
            group: request.message_group_id.clone(),
            receive_count: 0,
            visible_at: now + delay * 1000,
            sent_at: now,
            first_received_at: None,
            source_arn: None,
            receipt_handle: None,
            came_back: false,
        };
        self.queue_mut(name)?.messages.insert(number, message);
        self.events.push(SqsEvent::Sent { queue: name.to_owned(), id });
        Ok(output)
    }

    /// `DeleteMessage`: deletes a message by its receipt handle. A superseded handle deletes nothing, without an error.
    pub(super) fn delete(&mut self, name: &str, request: &Delete, _: i64) -> Result<Value> {
        let handle = &request.receipt_handle;
        let id = message_id_of(name, handle)?.to_owned();
        let queue = self.queue_mut(name)?;
        if let Some(number) = queue.number_of(&id, handle)
            && let Some(message) = queue.messages.remove(&number)
        {
            if !message.came_back {
                queue.deleted.push_back(message);
                queue.deleted.drain(..queue.deleted.len().saturating_sub(MAX_DELETED));
            }
            self.events.push(SqsEvent::Deleted { queue: name.to_owned(), id });
        }
        Ok(json!({}))
    }

    /// `ChangeMessageVisibility`: sets the visibility timeout of a message in flight, counted from now.
    pub(super) fn change_visibility(&mut self, name: &str, request: &ChangeVisibility, now: i64) -> Result<Value> {
        let (handle, seconds) = (&request.receipt_handle, request.visibility_timeout);
        in_range(Some(seconds), "VisibilityTimeout", 0, 43_200)?;
        let id = message_id_of(name, handle)?;
        let queue = self.queue_mut(name)?;
        let message = queue.number_of(id, handle).and_then(|number| queue.messages.get_mut(&number));
        let Some(message) = message.filter(|message| message.visible_at > now) else {
            let message = "The message is not in flight: its visibility timeout has ended, or it was deleted.";
            return Err(SqsError::new(Kind::MESSAGE_NOT_INFLIGHT, message));
        };
        message.visible_at = now + seconds * 1000;
        Ok(json!({}))
    }
}

impl Queue {
    /// Returns the number of a message by its id, if `handle` is its latest receipt handle.
    fn number_of(&self, id: &str, handle: &str) -> Option<u64> {
        let found = |message: &StoredMessage| message.id == id && message.receipt_handle.as_deref() == Some(handle);
        self.messages.iter().find(|(_, message)| found(message)).map(|(number, _)| *number)
    }
}
