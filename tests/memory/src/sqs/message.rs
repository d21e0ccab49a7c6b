//! Messages, and the events that oracles observe.

use gatehouse_sqs_protocol::message::MessageAttributes;

/// A message on a queue. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// The message id. A move task gives a new one; a redrive policy does not.
    pub id: String,
    /// The body.
    pub body: String,
    /// The message attributes, as `SendMessage` received them.
    pub attributes: MessageAttributes,
    /// The group, if the message was sent with one.
    pub group: Option<String>,
    /// How often the message was received from this queue.
    pub receive_count: u32,
    /// When the message becomes visible, or became so.
    pub visible_at: i64,
    /// When the message was sent, or moved here by a move task.
    pub sent_at: i64,
    /// When the message was first received from this queue.
    pub first_received_at: Option<i64>,
    /// The ARN of the queue whose redrive policy moved the message here.
    pub source_arn: Option<String>,
    /// The latest receipt handle. Only this one deletes the message.
    pub receipt_handle: Option<String>,
    /// Whether the message was deleted once and came back. It does not come back again.
    pub(super) came_back: bool,
}

impl StoredMessage {
    /// Whether the message was received and is still hidden.
    pub(super) fn is_in_flight(&self, now: i64) -> bool {
        self.visible_at > now && self.receive_count > 0
    }

    /// Prepares the message for another queue, where it is visible at once and was never received.
    pub(super) fn reset(&mut self, now: i64) {
        self.receive_count = 0;
        self.first_received_at = None;
        self.receipt_handle = None;
        self.visible_at = now;
    }
}

/// Something that happened to a message. Queues are named without their URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqsEvent {
    /// A client sent a message.
    Sent {
        /// The queue.
        queue: String,
        /// The message id.
        id: String,
    },
    /// A client received a message.
    Received {
        /// The queue.
        queue: String,
        /// The message id.
        id: String,
        /// How often the message has been received from this queue, including this time.
        count: u32,
    },
    /// A client deleted or purged a message, or deleted its queue.
    Deleted {
        /// The queue.
        queue: String,
        /// The message id.
        id: String,
    },
    /// A redrive policy or a move task moved a message.
    Moved {
        /// The queue that the message left.
        from: String,
        /// The queue that the message is on now.
        to: String,
        /// The message id before.
        old_id: String,
        /// The message id now. A redrive policy keeps the id.
        new_id: String,
    },
    /// The retention period of a message ended.
    Expired {
        /// The queue.
        queue: String,
        /// The message id.
        id: String,
    },
}

/// Formats a counter as a UUID.
pub(super) fn uuid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}
