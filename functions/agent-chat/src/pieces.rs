//! The channel from a turn to its client, bounded by bytes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Creates a channel that holds up to `limit` bytes, or one piece that is larger.
pub(crate) fn channel(limit: usize) -> (Sender, Pieces) {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS)));
    let (pieces, receiver) = mpsc::unbounded_channel();
    (Sender { pieces, room: Arc::clone(&room), limit }, Pieces { pieces: receiver, room })
}

/// A piece, and its share of the channel's room.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// The sending half. The stream ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Sender {
    pieces: mpsc::UnboundedSender<Piece>,
    room: Arc<Semaphore>,
    limit: u32,
}

/// Why a piece was not sent at once.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// There is no room. Gives the piece back.
    Full(Bytes),
    /// The client has left.
    Closed,
}

impl Sender {
    /// Sends a piece if there is room.
    ///
    /// # Errors
    /// When there is none, or the client has left.
    pub(crate) fn try_send(&self, bytes: Bytes) -> Result<(), NotSent> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.share(&bytes)) {
            Ok(room) => self.hand_over(bytes, Some(room)).map_err(|()| NotSent::Closed),
            Err(_) if self.room.is_closed() => Err(NotSent::Closed),
            Err(_) => Err(NotSent::Full(bytes)),
        }
    }

    /// Sends a piece once there is room. Returns whether the client is still there.
    pub(crate) async fn send(&self, bytes: Bytes) -> bool {
        let room = Arc::clone(&self.room).acquire_many_owned(self.share(&bytes)).await;
        room.is_ok_and(|room| self.hand_over(bytes, Some(room)).is_ok())
    }

    /// Sends a small piece however full the channel is. Returns whether the client is still there.
    pub(crate) fn send_beyond(&self, bytes: Bytes) -> bool {
        self.hand_over(bytes, None).is_ok()
    }

    fn hand_over(&self, bytes: Bytes, room: Option<OwnedSemaphorePermit>) -> Result<(), ()> {
        self.pieces.send(Piece { bytes, _room: room }).map_err(drop)
    }

    fn share(&self, bytes: &Bytes) -> u32 {
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
        assert!(matches!(sender.try_send(piece(1)), Err(NotSent::Full(back)) if back.len() == 1));
        assert!(sender.send(piece(2)).now_or_never().is_none());
        pieces.recv().await.unwrap();
        pieces.recv().await.unwrap();
        assert!(sender.send(piece(2)).await);
    }

    #[tokio::test]
    async fn piece_larger_than_the_channel_has_it_alone() {
        let (sender, mut pieces) = channel(100);
        sender.try_send(piece(1000)).unwrap();
        assert!(sender.try_send(piece(1)).is_err());
        assert!(sender.send_beyond(piece(1)));
        assert_eq!(pieces.recv().await.unwrap().len(), 1000);
        sender.try_send(piece(100)).unwrap();
    }

    #[tokio::test]
    async fn client_that_leaves_ends_the_waiting() {
        let (sender, pieces) = channel(1);
        sender.try_send(piece(1)).unwrap();
        let waiting = tokio::spawn(async move { (sender.send(piece(1)).await, sender) });
        tokio::task::yield_now().await;
        drop(pieces);
        let (is_sent, sender) = waiting.await.unwrap();
        assert!(!is_sent && !sender.send_beyond(piece(1)));
        assert!(matches!(sender.try_send(piece(1)), Err(NotSent::Closed)));
    }
}
