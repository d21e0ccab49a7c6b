//! The channel from a turn to its client. Its limit is a number of bytes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Creates a channel that holds up to `limit` bytes, or one larger piece.
pub(crate) fn channel(limit: usize) -> (Sender, Pieces) {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS)));
    let (pieces, receiver) = mpsc::unbounded_channel();
    (Sender { pieces, room: Arc::clone(&room), limit }, Pieces { pieces: receiver, room })
}

/// A piece, and the permit for its bytes, which is released when the piece is received.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The sending half. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Sender {
    pieces: mpsc::UnboundedSender<Piece>,
    room: Arc<Semaphore>,
    limit: u32,
}

/// Why a piece was not sent.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// The channel is full. Returns the piece.
    Full(Bytes),
    /// The client has left.
    Closed,
}

impl Sender {
    /// Sends a piece if there is room.
    ///
    /// # Errors
    /// When the channel is full, or the client has left.
    pub(crate) fn try_send(&self, bytes: Bytes) -> Result<(), NotSent> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.permits(&bytes)) {
            Ok(permit) => self.enqueue(bytes, Some(permit)).map_err(|()| NotSent::Closed),
            Err(_) if self.room.is_closed() => Err(NotSent::Closed),
            Err(_) => Err(NotSent::Full(bytes)),
        }
    }

    /// Sends a piece as soon as there is room. Returns `false` if the client has left.
    pub(crate) async fn send(&self, bytes: Bytes) -> bool {
        let permit = Arc::clone(&self.room).acquire_many_owned(self.permits(&bytes)).await;
        permit.is_ok_and(|permit| self.enqueue(bytes, Some(permit)).is_ok())
    }

    /// Sends a small piece even if the channel is full. Returns `false` if the client has left.
    pub(crate) fn send_over_limit(&self, bytes: Bytes) -> bool {
        self.enqueue(bytes, None).is_ok()
    }

    fn enqueue(&self, bytes: Bytes, permit: Option<OwnedSemaphorePermit>) -> Result<(), ()> {
        self.pieces.send(Piece { bytes, _permit: permit }).map_err(drop)
    }

    /// Number of permits that a piece needs: a piece that is larger than the channel needs all.
    fn permits(&self, bytes: &Bytes) -> u32 {
        u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(self.limit)
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Pieces {
    pieces: mpsc::UnboundedReceiver<Piece>,
    room: Arc<Semaphore>,
}

impl Pieces {
    pub(crate) async fn recv(&mut self) -> Option<Bytes> {
        self.pieces.recv().await.map(|piece| piece.bytes)
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.bytes))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn piece(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[tokio::test]
    async fn channel_is_bounded_by_bytes_not_by_pieces() {
        let (sender, mut pieces) = channel(100);
        for _ in 0..100 {
            sender.try_send(piece(1)).unwrap();
        }
        assert!(matches!(sender.try_send(piece(1)), Err(NotSent::Full(returned)) if returned.len() == 1));
        assert!(sender.send(piece(2)).now_or_never().is_none());
        pieces.recv().await.unwrap();
        pieces.recv().await.unwrap();
        assert!(sender.send(piece(2)).await);
    }

    #[tokio::test]
    async fn piece_larger_than_the_channel_is_sent_alone() {
        let (sender, mut pieces) = channel(100);
        sender.try_send(piece(1000)).unwrap();
        assert!(sender.try_send(piece(1)).is_err());
        assert!(sender.send_over_limit(piece(1)));
        assert_eq!(pieces.recv().await.unwrap().len(), 1000);
        sender.try_send(piece(100)).unwrap();
    }

    #[tokio::test]
    async fn send_stops_waiting_when_the_client_leaves() {
        let (sender, pieces) = channel(1);
        sender.try_send(piece(1)).unwrap();
        let waiting = tokio::spawn(async move { (sender.send(piece(1)).await, sender) });
        tokio::task::yield_now().await;
        drop(pieces);
        let (is_sent, sender) = waiting.await.unwrap();
        assert!(!is_sent && !sender.send_over_limit(piece(1)));
        assert!(matches!(sender.try_send(piece(1)), Err(NotSent::Closed)));
    }
}
