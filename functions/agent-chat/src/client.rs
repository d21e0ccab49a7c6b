//! The stream to a client: whole events in few writes, heartbeats between them, and a last event.

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use crate::pieces::{NotSent, Sender};
use crate::relay::Failure;

/// Keep-alive comment, sent while the agent is silent. SSE clients ignore it.
const HEARTBEAT: &[u8] = b": \n\n";
/// The byte order mark.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Size of the outbox, in bytes, at which it is flushed before more is read from the agent.
const FLUSH_SIZE: usize = 16 * 1024;

/// The stream to a client.
#[derive(Debug)]
pub(crate) struct ClientStream {
    pieces: Sender,
    /// Whole blocks that are sent with the next flush.
    outbox: JoinedBytes,
    /// Longest stream, in bytes.
    limit: usize,
    pub(crate) sent_bytes: usize,
    pub(crate) has_left: bool,
    is_first_flush: bool,
}

/// Joins pieces. A single piece is not copied.
#[derive(Debug, Default)]
pub(crate) struct JoinedBytes {
    single: Bytes,
    joined: BytesMut,
}

impl JoinedBytes {
    pub(crate) fn len(&self) -> usize {
        self.single.len() + self.joined.len()
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.single = piece;
        } else {
            self.joined.extend_from_slice(&std::mem::take(&mut self.single));
            self.joined.extend_from_slice(&piece);
        }
    }

    pub(crate) fn take(&mut self) -> Bytes {
        let joined = self.joined.split().freeze();
        let single = std::mem::take(&mut self.single);
        if joined.is_empty() { single } else { joined }
    }
}

impl ClientStream {
    pub(crate) fn new(pieces: Sender, limit: usize) -> Self {
        let outbox = JoinedBytes::default();
        ClientStream { pieces, outbox, limit, sent_bytes: 0, has_left: false, is_first_flush: true }
    }

    /// Adds blocks to the outbox.
    pub(crate) fn push(&mut self, blocks: Bytes) {
        self.outbox.push(blocks);
    }

    /// Whether the outbox holds blocks.
    pub(crate) fn has_unsent(&self) -> bool {
        self.outbox.len() > 0
    }

    /// Whether the outbox is so large that it is flushed before more is read from the agent.
    pub(crate) fn is_full(&self) -> bool {
        self.outbox.len() >= FLUSH_SIZE
    }

    /// Sends the outbox. Waits until `until` for a client that reads slowly, but not for one that has left.
    ///
    /// # Errors
    /// When the outbox was not sent in time, or the stream would exceed its limit. Only
    /// [`send_last`](Self::send_last) may be called after an error.
    pub(crate) async fn flush(&mut self, until: Instant) -> Result<(), Failure> {
        if !self.has_unsent() {
            return Ok(());
        }
        let blocks = self.outbox.take();
        let bytes = self.strip_late_mark(blocks);
        let length = bytes.len();
        if self.sent_bytes + length > self.limit {
            let detail = format!("the answer is longer than {} bytes", self.limit);
            return Err(Failure::bad_gateway("too long", detail));
        }
        // Most clients keep up, and a timer for each piece costs more than sending it.
        let is_sent = match self.pieces.try_send(bytes) {
            Ok(()) => true,
            Err(NotSent::Closed) => false,
            Err(NotSent::Full(bytes)) => match timeout_at(until, self.pieces.send(bytes)).await {
                Ok(is_sent) => is_sent,
                Err(_) => return Err(Failure::gateway_timeout("client", "the client did not read the answer in time")),
            },
        };
        if is_sent {
            self.sent_bytes += length;
        } else {
            self.has_left = true;
        }
        Ok(())
    }

    /// Sends a heartbeat if there is room for it.
    pub(crate) fn send_heartbeat(&mut self) {
        let has_room = self.sent_bytes + HEARTBEAT.len() <= self.limit;
        if has_room && self.pieces.try_send(Bytes::from_static(HEARTBEAT)).is_ok() {
            self.sent_bytes += HEARTBEAT.len();
        }
    }

    /// Sends the last event without waiting for room.
    pub(crate) fn send_last(&mut self, event: Bytes) {
        let length = event.len();
        if self.pieces.send_over_limit(event) {
            self.sent_bytes += length;
        }
    }

    /// Removes a byte order mark that would follow a heartbeat, because it is valid only at the beginning of a stream.
    fn strip_late_mark(&mut self, bytes: Bytes) -> Bytes {
        let follows_heartbeat = std::mem::take(&mut self.is_first_flush) && self.sent_bytes > 0;
        if follows_heartbeat && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.slice(BYTE_ORDER_MARK.len()..)
        } else {
            bytes
        }
    }
}
