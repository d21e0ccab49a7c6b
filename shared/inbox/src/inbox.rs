//! Recording as the front door does it: into the store, else onto the retry queue, within a deadline.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::event::Event;
use crate::queue::{self, Envelope, QueueError, Queues};
use crate::store::{Recorded, Store, StoreError};
use crate::{Clock, Outcome};

/// What the store may take for an event of ordinary size.
const STORE_LIMIT: Duration = Duration::from_millis(1200);
/// What it may take for one that needs chunks: a look, the chunks, the head.
const LARGE_STORE_LIMIT: Duration = Duration::from_millis(1900);
/// From which size on a body may need chunks. In bytes.
const LARGE: usize = 300 * 1024;

/// The store and the queue behind it.
#[derive(Debug, Clone)]
pub struct Inbox {
    /// Where events are recorded.
    pub store: Store,
    /// Where they wait when they cannot be.
    pub queues: Queues,
    /// `RETRY_QUEUE_URL`.
    pub retry_queue: Option<String>,
    /// Tells the time of a record's expiry.
    pub clock: Clock,
}

/// What became of an event, durable either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Recorded, duplicate, conflict, erased or queued.
    pub outcome: Outcome,
    /// What the delivery is answered with: an earlier one's answer, where there is one.
    pub answer: Option<String>,
    /// Why the store did not take it, where it is queued.
    pub error: Option<StoreError>,
}

/// Neither the store nor the queue has the event: it must not be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not recorded ({store}) and not queued ({queue})")]
pub struct Unavailable {
    /// Why the store did not take it.
    pub store: StoreError,
    /// Why the queue did not.
    pub queue: QueueError,
}

impl Inbox {
    /// Records `event`, or queues it. Returns before `deadline`, with what the time until then allows.
    ///
    /// A write whose answer did not come in time may have succeeded; the queued envelope carries the same nonce, so
    /// that whoever takes it finds that out.
    ///
    /// # Errors
    /// When neither worked.
    pub async fn record(&self, event: &Event, deadline: Instant) -> Result<Receipt, Unavailable> {
        let now = Instant::now();
        // Only a large event may be too large for the queue, and only then is it worth knowing beforehand.
        let message = (event.body.len() > LARGE).then(|| self.message(event));
        let until = match &message {
            None => now + STORE_LIMIT,
            Some(Ok(_)) => now + LARGE_STORE_LIMIT,
            // The queue cannot take it, so its share of the time is the store's.
            Some(Err(_)) => deadline,
        };
        let reserve = if matches!(message, Some(Err(_))) { Duration::ZERO } else { queue::CALL_LIMIT };
        let until = until.min(deadline.checked_sub(reserve).unwrap_or(now));
        let store = match timeout_at(until, self.store.record(event, self.clock.now())).await {
            Ok(Ok(Recorded { outcome, answer })) => return Ok(Receipt { outcome, answer, error: None }),
            Ok(Err(error)) => error,
            Err(_) => StoreError::Transient { operation: "record", code: "out of time".to_owned() },
        };
        let message = message.unwrap_or_else(|| self.message(event));
        match timeout_at(deadline, self.queue(message, &store)).await {
            Ok(Ok(())) => Ok(Receipt { outcome: Outcome::Queued, answer: event.answer.clone(), error: Some(store) }),
            Ok(Err(queue)) => Err(Unavailable { store, queue }),
            Err(_) => {
                let queue = QueueError::Failed { operation: "SendMessage", code: "out of time".to_owned() };
                Err(Unavailable { store, queue })
            }
        }
    }

    /// Whether any event waits on the retry queue.
    ///
    /// # Errors
    /// When SQS did not answer.
    pub async fn is_anything_queued(&self) -> Result<bool, QueueError> {
        match &self.retry_queue {
            Some(url) => self.queues.is_anything_on(url).await,
            None => Ok(false),
        }
    }

    fn message(&self, event: &Event) -> Result<String, QueueError> {
        self.queues.message(&Envelope::of(event))
    }

    async fn queue(&self, message: Result<String, QueueError>, why: &StoreError) -> Result<(), QueueError> {
        let url = self.retry_queue.as_deref().ok_or(QueueError::Absent)?;
        self.queues.send_message(url, message?, &why.to_string()).await
    }
}
