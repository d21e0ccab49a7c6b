//! Records events in the store, else queues them on the retry queue, within a deadline.

use std::time::Duration;

use aws_config::SdkConfig;
use tokio::time::{Instant, timeout_at};

use crate::queue::{self, QueueError, Queues};
use crate::store::{Recorded, Store, StoreError};
use gatehouse_payload::Outcome;
use gatehouse_payload::event::{Event, Received};
use gatehouse_runtime::{Clock, Config, Random};

/// Time limit of the store for an event of ordinary size.
const STORE_LIMIT: Duration = Duration::from_millis(1200);
/// Time limit of the store for an event that may need chunks: it reads the head, writes the chunks, then the head.
const LARGE_STORE_LIMIT: Duration = Duration::from_millis(1900);
/// Size of a body above which the event may need chunks, in bytes.
const LARGE: usize = 300 * 1024;

/// The store, and the retry queue that is used if the store fails.
#[derive(Debug, Clone)]
pub struct Inbox {
    /// Records events.
    pub store: Store,
    /// Queues events that the store did not accept.
    pub queues: Queues,
    /// `RETRY_QUEUE_URL`.
    pub retry_queue: Option<String>,
    /// `DEAD_LETTER_QUEUE_URL`; absent in functions that do not look for an event on the queues.
    pub dead_letter_queue: Option<String>,
    /// The clock for a record's expiry.
    pub clock: Clock,
    /// The source of nonces.
    pub random: Random,
}

/// The result of recording or queueing an event. The event is durable in both cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Recorded, duplicate, conflict, erased or queued.
    pub outcome: Outcome,
    /// The reply to this delivery: that of an earlier delivery of the same event, if there was one.
    pub answer: Option<String>,
    /// Why the store did not accept the event, if it is queued.
    pub error: Option<StoreError>,
}

/// Neither the store nor the queue accepted the event. It must not be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not recorded ({store}) and not queued ({queue})")]
pub struct Unavailable {
    /// The store's error.
    pub store: StoreError,
    /// The queue's error.
    pub queue: QueueError,
}

impl Inbox {
    /// Builds the inbox of a function.
    #[must_use]
    pub fn new(sdk: &SdkConfig, config: Config, clock: Clock) -> Self {
        Inbox {
            store: Store::new(sdk, &config.table, config.ttl_days),
            queues: Queues::new(sdk, config.queue_max_bytes),
            retry_queue: config.retry_queue,
            dead_letter_queue: config.dead_letter_queue,
            clock,
            random: Random::System,
        }
    }

    /// Records `event`, or queues it. Returns before `deadline`.
    ///
    /// A write that timed out may have succeeded. The queued envelope has the same nonce, so its consumer detects that.
    ///
    /// # Errors
    /// If the event was neither recorded nor queued.
    pub async fn record(&self, event: &Event, deadline: Instant) -> Result<Receipt, Unavailable> {
        let now = Instant::now();
        // The message of a large event is built in advance, because it may be too large for the queue.
        let message = (event.body.len() > LARGE).then(|| self.message(event));
        let store_deadline = match &message {
            None => now + STORE_LIMIT,
            Some(Ok(_)) => now + LARGE_STORE_LIMIT,
            // The event cannot be queued, so the store gets the whole time.
            Some(Err(_)) => deadline,
        };
        let reserve = if matches!(message, Some(Err(_))) { Duration::ZERO } else { queue::CALL_LIMIT };
        let store_deadline = store_deadline.min(deadline.checked_sub(reserve).unwrap_or(now));
        let store_error = match timeout_at(store_deadline, self.store.record(event, self.clock.now())).await {
            Ok(Ok(Recorded { outcome, answer })) => return Ok(Receipt { outcome, answer, error: None }),
            Ok(Err(error)) => error,
            Err(_) => StoreError::Transient { operation: "record", code: "out of time".to_owned() },
        };
        let message = message.unwrap_or_else(|| self.message(event));
        let queue_error = match timeout_at(deadline, self.queue(message, &store_error)).await {
            Ok(Ok(())) => {
                let (outcome, answer) = (Outcome::Queued, event.answer.clone());
                return Ok(Receipt { outcome, answer, error: Some(store_error) });
            }
            Ok(Err(error)) => error,
            Err(_) => QueueError::Failed { operation: "SendMessage", code: "out of time".to_owned() },
        };
        Err(Unavailable { store: store_error, queue: queue_error })
    }

    /// Whether any event is on the retry queue or is a dead letter.
    ///
    /// # Errors
    /// If SQS did not respond.
    pub async fn is_anything_queued(&self) -> Result<bool, QueueError> {
        // A message may move from one queue to the other in the meantime, in either direction.
        for queue in [&self.retry_queue, &self.dead_letter_queue, &self.retry_queue] {
            if let Some(url) = queue
                && self.queues.has_messages(url).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn message(&self, event: &Event) -> Result<String, QueueError> {
        self.queues.message(&Received::of(event))
    }

    async fn queue(&self, message: Result<String, QueueError>, store_error: &StoreError) -> Result<(), QueueError> {
        let url = self.retry_queue.as_deref().ok_or(QueueError::Absent)?;
        self.queues.send_message(url, message?, &store_error.to_string()).await
    }
}
