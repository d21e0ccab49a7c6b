//! The client's side of a turn: whole events in few writes, heartbeats between them, and one last word.

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use crate::pieces::{NotSent, Sender};
use crate::relay::Failure;

/// Keep-alive comment, sent while the agent is silent. SSE clients ignore it.
const HEARTBEAT: &[u8] = b": \n\n";
/// The byte order mark.
const MARK: &[u8] = "\u{feff}".as_bytes();
/// How much is gathered before it is sent although more has come. In bytes.
const AT_ONCE: usize = 16 * 1024;

/// The stream to a client.
#[derive(Debug)]
pub(crate) struct Client {
    pieces: Sender,
    /// Whole blocks to be sent as soon as nothing more comes at once.
    ready: Gathered,
    /// The longest stream, in bytes.
    limit: usize,
    pub(crate) sent: usize,
    pub(crate) has_left: bool,
    is_first: bool,
}

/// Pieces as one. A single piece is not copied.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    only: Bytes,
    several: BytesMut,
}

impl Gathered {
    pub(crate) fn len(&self) -> usize {
        self.only.len() + self.several.len()
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.only = piece;
        } else {
            self.several.extend_from_slice(&std::mem::take(&mut self.only));
            self.several.extend_from_slice(&piece);
        }
    }

    pub(crate) fn take(&mut self) -> Bytes {
        let several = self.several.split().freeze();
        let only = std::mem::take(&mut self.only);
        if several.is_empty() { only } else { several }
    }
}

impl Client {
    pub(crate) fn new(pieces: Sender, limit: usize) -> Self {
        Client { pieces, ready: Gathered::default(), limit, sent: 0, has_left: false, is_first: true }
    }

    /// Makes blocks ready to be sent.
    pub(crate) fn push(&mut self, blocks: Bytes) {
        self.ready.push(blocks);
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.ready.len() > 0
    }

    /// Whether so much is ready that it is sent before more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() >= AT_ONCE
    }

    /// Sends the ready blocks. Waits until `until` for a client that reads slowly, but not for one that has left.
    ///
    /// # Errors
    /// When it was not sent in time, or the stream would become too long. Nothing may follow it then.
    pub(crate) async fn send_ready(&mut self, until: Instant) -> Result<(), Failure> {
        if !self.has_ready() {
            return Ok(());
        }
        let ready = self.ready.take();
        let bytes = self.without_mark(ready);
        let length = bytes.len();
        if self.sent + length > self.limit {
            let detail = format!("the answer is longer than {} bytes", self.limit);
            return Err(Failure::bad("too long", detail));
        }
        // Most clients keep up, and a timer for each piece costs more than handing it over.
        let is_there = match self.pieces.try_send(bytes) {
            Ok(()) => true,
            Err(NotSent::Closed) => false,
            Err(NotSent::Full(bytes)) => match timeout_at(until, self.pieces.send(bytes)).await {
                Ok(is_there) => is_there,
                Err(_) => return Err(Failure::slow("client", "the client did not read the answer in time")),
            },
        };
        if is_there {
            self.sent += length;
        } else {
            self.has_left = true;
        }
        Ok(())
    }

    /// Sends a heartbeat if there is room for it.
    pub(crate) fn beat(&mut self) {
        if self.sent + HEARTBEAT.len() <= self.limit && self.pieces.try_send(Bytes::from_static(HEARTBEAT)).is_ok() {
            self.sent += HEARTBEAT.len();
        }
    }

    /// Sends the last event, however much waits before it.
    pub(crate) fn send_last(&mut self, event: Bytes) {
        let length = event.len();
        if self.pieces.send_beyond(event) {
            self.sent += length;
        }
    }

    /// Removes a byte order mark that would follow a heartbeat: it is valid only at the beginning of a stream.
    fn without_mark(&mut self, bytes: Bytes) -> Bytes {
        let is_behind = std::mem::take(&mut self.is_first) && self.sent > 0;
        if is_behind && bytes.starts_with(MARK) { bytes.slice(MARK.len()..) } else { bytes }
    }
}
