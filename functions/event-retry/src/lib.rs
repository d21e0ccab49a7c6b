//! The consumer of the retry queue: records the events that a receiver could not record, with the same code.
//!
//! A message has one of three results:
//!
//! 1. It is recorded and reported as done.
//! 2. It fails and is received again: after a delay if waiting can help, otherwise at once.
//! 3. After the last permitted receive, a copy is sent to the dead-letter queue with the reason, and the message is
//!    reported as done. If that fails, the queue's own redrive policy moves the message.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::FutureExt;
use gatehouse_inbox::queue::{DeadLetter, Queues, UnreadableEnvelope, from_message, history};
use gatehouse_inbox::{Store, StoreError};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, Outcome};
use gatehouse_receiver::log::is_word;
use gatehouse_receiver::{Deadline, log_outcome};
use gatehouse_runtime::config::ConfigError;
use gatehouse_runtime::{Clock, Config};
use tokio::time::{Instant, timeout};

/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// The number of receives after which a message is dead-lettered: the queue's `maxReceiveCount` in the template.
pub const MAX_RECEIVES: u32 = 5;
/// The queue's visibility timeout in the template, which is the first back-off.
pub const VISIBILITY: Duration = Duration::from_secs(180);
/// Longest back-off.
const MAX_BACK_OFF: Duration = Duration::from_secs(3 * 60 * 60);
/// The remaining time below which no further message of the batch is started.
const STOP_BEFORE: Duration = Duration::from_secs(5);
/// The remaining time at which an attempt is aborted. It suffices to hide or dead-letter the message and to respond.
const ABORT_BEFORE: Duration = Duration::from_secs(2);

/// The state that an instance keeps between batches.
#[derive(Debug)]
pub struct State {
    /// Records events.
    pub store: Store,
    /// Hides messages and sends them to the dead-letter queue.
    pub queues: Queues,
    /// `RETRY_QUEUE_URL`
    pub retry_queue: String,
    /// `DEAD_LETTER_QUEUE_URL`
    pub dead_letter_queue: String,
    /// The retry queue's visibility timeout: `RETRY_VISIBILITY_SECONDS`, or the template's.
    pub visibility: Duration,
    /// The clock that determines when a record expires.
    pub clock: Clock,
}

impl State {
    /// Builds the state from the environment variables and opens the connection to DynamoDB.
    ///
    /// # Errors
    /// If a variable is missing or invalid.
    pub async fn from_env() -> Result<Self, ConfigError> {
        let get = |name: &str| std::env::var(name).ok();
        let config = Config::read(&get)?;
        let sdk = gatehouse_runtime::aws::function_config();
        let missing = |name| ConfigError::Missing(name, "the queue's URL");
        let state = State {
            store: Store::new(&sdk, &config.table, config.ttl_days),
            queues: Queues::new(&sdk, config.queue_max_bytes),
            retry_queue: config.retry_queue.ok_or(missing("RETRY_QUEUE_URL"))?,
            dead_letter_queue: config.dead_letter_queue.ok_or(missing("DEAD_LETTER_QUEUE_URL"))?,
            visibility: visibility("RETRY_VISIBILITY_SECONDS", get("RETRY_VISIBILITY_SECONDS").as_deref())?,
            clock: Clock::System,
        };
        state.store.warm(state.clock.now()).await;
        Ok(state)
    }
}

/// Reads the visibility timeout from the value of a variable, in seconds. Without a value it is the template's.
///
/// # Errors
/// If the value is 0 or SQS does not accept it.
pub fn visibility(variable: &'static str, seconds: Option<&str>) -> Result<Duration, ConfigError> {
    match seconds.map(str::parse) {
        None => Ok(VISIBILITY),
        Some(Ok(seconds @ 1..=43_200)) => Ok(Duration::from_secs(seconds)),
        Some(_) => Err(ConfigError::Invalid(variable, "seconds, from 1 to 43200")),
    }
}

/// Records events. Tests implement it to make recording fail or panic.
pub trait Record: Sync {
    /// Records an event once.
    fn record(&self, event: &Event) -> impl Future<Output = Result<Outcome, StoreError>> + Send;
}

impl Record for State {
    async fn record(&self, event: &Event) -> Result<Outcome, StoreError> {
        self.store.record(event, self.clock.now()).await.map(|recorded| recorded.outcome)
    }
}

/// Handles a batch. The response lists the messages that must be received again.
pub async fn handle(batch: SqsEvent, state: &State, deadline: Deadline) -> SqsBatchResponse {
    handle_with(batch, state, deadline, state).await
}

/// Handles a batch like [`handle`], but records events with `recorder`.
pub async fn handle_with(
    batch: SqsEvent,
    state: &State,
    deadline: Deadline,
    recorder: &impl Record,
) -> SqsBatchResponse {
    // An event that was erased while it was queued must not be recorded again. An error is ignored here, because
    // recording reports the same failure of DynamoDB.
    let _ = state.store.refresh_erased(state.clock.now()).await;
    let mut response = SqsBatchResponse::default();
    for message in batch.records {
        let done = deadline.left() > STOP_BEFORE && handle_message(&message, state, deadline, recorder).await;
        if !done {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    response
}

/// Why a message was not recorded.
struct Failure {
    reason: &'static str,
    error: String,
    /// Whether a later attempt can succeed.
    is_transient: bool,
}

/// Handles one message and returns whether it is done.
async fn handle_message(message: &SqsMessage, state: &State, deadline: Deadline, recorder: &impl Record) -> bool {
    let started = Instant::now();
    let failed = |reason, error: &str| (None, Err(Failure { reason, error: error.to_owned(), is_transient: true }));
    let attempt = AssertUnwindSafe(attempt(message, recorder)).catch_unwind();
    let remaining = deadline.left().saturating_sub(ABORT_BEFORE);
    let (info, result) = match timeout(remaining, attempt).await {
        Ok(Ok(attempted)) => attempted,
        Ok(Err(_)) => failed("panic", "the attempt panicked; the log line above says where"),
        // The write may have succeeded. The next attempt recognizes it by the envelope's nonce.
        Err(_) => failed("unavailable", "out of time"),
    };
    let receives = receives(message);
    let (outcome, failure, done) = match result {
        Ok(outcome) => (outcome, None, true),
        Err(failure) if receives < MAX_RECEIVES => {
            hide(message, state, &failure, receives).await;
            (Outcome::Failed, Some(failure), false)
        }
        Err(failure) => {
            let sent = dead_letter(message, state, &failure, receives).await;
            (if sent { Outcome::DeadLettered } else { Outcome::Failed }, Some(failure), sent)
        }
    };
    let EventInfo { event_id, event_type, subject } = info.unwrap_or_default();
    let event_type = event_type.filter(|name| is_word(name));
    let message_id = message.message_id.as_deref();
    let (reason, error) = failure.map(|failure| (failure.reason, failure.error)).unzip();
    let took = started.elapsed();
    log_outcome!(
        "message",
        "event-retry",
        outcome,
        took,
        event_type,
        event_id,
        subject,
        message_id,
        receives,
        reason,
        error,
    );
    done
}

/// The event that a message contains, for the log.
#[derive(Default)]
struct EventInfo {
    event_id: Option<String>,
    event_type: Option<String>,
    subject: Option<String>,
}

async fn attempt(message: &SqsMessage, recorder: &impl Record) -> (Option<EventInfo>, Result<Outcome, Failure>) {
    let received = match from_message(message.body.as_deref().unwrap_or_default()) {
        Ok(received) => received,
        Err(error) => {
            // A newer release that is being deployed can read the message.
            let is_transient = matches!(error, UnreadableEnvelope::Newer(_));
            return (None, Err(Failure { reason: "unreadable", error: error.to_string(), is_transient }));
        }
    };
    let event_id = received.id.to_string();
    let info = |event_type, subject| Some(EventInfo { event_id: Some(event_id), event_type, subject });
    let Some(source) = gatehouse_vendors::of_event(&received.id) else {
        let error = "the event id names a source that this release does not know".to_owned();
        return (info(None, None), Err(Failure { reason: "unreadable", error, is_transient: true }));
    };
    let body = received.body.clone();
    let event = match Document::read(&body) {
        Ok(document) => source.event(&document, received),
        Err(error) => {
            let error = error.to_string();
            return (info(None, None), Err(Failure { reason: "unreadable", error, is_transient: false }));
        }
    };
    let result = recorder.record(&event).await.map_err(|error| Failure {
        reason: if error.is_transient() { "unavailable" } else { "refused" },
        error: error.to_string(),
        is_transient: error.is_transient(),
    });
    (info(event.event_type, event.subject.map(|subject| subject.to_string())), result)
}

/// The number of this receive, from 1.
fn receives(message: &SqsMessage) -> u32 {
    message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Hides the message until its next attempt. If SQS does not accept the change, the message reappears after the queue's
/// visibility timeout.
async fn hide(message: &SqsMessage, state: &State, failure: &Failure, receives: u32) {
    let Some(handle) = message.receipt_handle.as_deref() else { return };
    let delay = if failure.is_transient { back_off(state.visibility, receives) } else { Duration::ZERO };
    if let Err(error) = state.queues.hide(&state.retry_queue, handle, delay).await {
        tracing::warn!(error = %error, "a message's visibility could not be changed");
    }
}

/// The back-off after a receive. It grows fourfold with each receive, so that five receives span hours and a short
/// outage of DynamoDB does not dead-letter messages.
fn back_off(visibility: Duration, receives: u32) -> Duration {
    let factor = 4u32.saturating_pow(receives.saturating_sub(1));
    visibility.checked_mul(factor).unwrap_or(MAX_BACK_OFF).min(MAX_BACK_OFF)
}

/// Sends a copy of the message to the dead-letter queue and returns whether that succeeded.
async fn dead_letter(message: &SqsMessage, state: &State, failure: &Failure, receives: u32) -> bool {
    // A redriven message has its history in its attributes.
    let attribute =
        |name: &str| message.message_attributes.get(name).and_then(|attribute| attribute.string_value.as_deref());
    let sent_at = || {
        let ms = message.attributes.get("SentTimestamp")?.parse().ok()?;
        Timestamp::from_millis(ms)
    };
    let letter = DeadLetter {
        reason: failure.reason,
        first_error: attribute(history::FIRST_ERROR),
        last_error: &failure.error,
        first_failed_at: attribute(history::FIRST_FAILED_AT)
            .and_then(Timestamp::parse)
            .or_else(sent_at)
            .unwrap_or_else(|| state.clock.now()),
        attempts: attribute(history::ATTEMPTS)
            .and_then(|count| count.parse().ok())
            .unwrap_or(0u32)
            .saturating_add(receives),
    };
    let body = message.body.as_deref().unwrap_or_default();
    match state.queues.send_dead_letter(&state.dead_letter_queue, body, &letter).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(error = %error, "a message could not be dead-lettered; the redrive policy will move it");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_fourfold_over_five_receives() {
        let waits: Vec<u64> = (1..MAX_RECEIVES).map(|n| back_off(VISIBILITY, n).as_secs()).collect();
        assert_eq!(waits, [180, 720, 2880, 10_800]);
        assert_eq!(back_off(VISIBILITY, u32::MAX), MAX_BACK_OFF);
    }
}
