//! Reads and changes the dead-letter queue.
//!
//! SQS cannot show messages without receiving them. Messages are received, held (hidden) while they are read, and then
//! released, so that they can be moved.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
};
use futures_util::{StreamExt, stream};
use gatehouse_inbox::queue::{from_message, history};
use gatehouse_local::Error;
use gatehouse_payload::event::present_source;
use gatehouse_payload::time::Timestamp;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::ops::deployment::Deployment;
use crate::shell::Interrupts;
use crate::stack::aws_error;

/// How long received messages are hidden. If the command is killed, they stay hidden for this time.
pub(crate) const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(120);
/// Number of concurrent requests.
const CONCURRENCY: usize = 4;
/// Maximum number of messages in one SQS request.
const BATCH: usize = 10;

/// The reason of a message that the redrive policy moved: its consumer was killed or did not report an outcome.
pub(crate) const NEVER_FINISHED: &str = "never-finished";

/// A dead letter.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DeadLetter {
    /// Absent if the message has no event id.
    pub(crate) event_id: Option<String>,
    pub(crate) source: Option<String>,
    /// `unavailable`, `refused`, `unreadable`, `panic` or [`NEVER_FINISHED`].
    pub(crate) reason: String,
    /// The number of attempts, including those after redrives.
    pub(crate) attempts: u32,
    pub(crate) first_failed_at: Option<Timestamp>,
    pub(crate) first_error: Option<String>,
    pub(crate) last_error: Option<String>,
    /// When the message was sent to this queue, or to the retry queue if the redrive policy moved it.
    pub(crate) sent_at: Timestamp,
    pub(crate) message_id: String,
    /// The receipt handles. SQS may return a message several times, and only the latest handle is valid. Concurrent
    /// responses do not show which one that is. `DeleteMessage` ignores an older handle without an error, so every
    /// handle is used.
    #[serde(skip)]
    handles: Vec<String>,
    #[serde(skip)]
    pub(crate) body: String,
    #[serde(skip)]
    pub(crate) attributes: HashMap<String, MessageAttributeValue>,
    #[serde(skip)]
    pub(crate) envelope: Option<gatehouse_payload::event::Received>,
}

impl DeadLetter {
    /// Whether `id` is the letter's event id or message id.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.event_id.as_deref() == Some(id) || self.message_id == id
    }

    /// A letter of an event without content.
    #[cfg(test)]
    pub(super) fn sample(event_id: Option<&str>, message_id: &str) -> DeadLetter {
        let body = event_id.map(|id| serde_json::json!({"event_id": id}).to_string());
        DeadLetter::of(Message::builder().message_id(message_id).set_body(body).build())
    }

    fn of(message: Message) -> DeadLetter {
        let body = message.body.unwrap_or_default();
        let attributes = message.message_attributes.unwrap_or_default();
        let text = |name: &str| attributes.get(name).and_then(|a| a.string_value()).map(str::to_owned);
        let system = message.attributes.unwrap_or_default();
        let number = |name| system.get(&name).and_then(|value: &String| value.parse::<i64>().ok());
        let sent = number(MessageSystemAttributeName::SentTimestamp).unwrap_or_default();
        let envelope = from_message(&body).ok();
        let event_id = envelope.as_ref().map(|envelope| envelope.id.to_string()).or_else(|| event_id_in(&body));
        // The attributes of a message that the redrive policy moved may describe an earlier failure.
        let was_moved = system.contains_key(&MessageSystemAttributeName::DeadLetterQueueSourceArn);
        DeadLetter {
            source: event_id
                .as_deref()
                .and_then(|id| id.split_once(':'))
                .map(|(source, _)| present_source(source).to_owned()),
            event_id,
            reason: text(history::REASON).filter(|_| !was_moved).unwrap_or_else(|| NEVER_FINISHED.to_owned()),
            attempts: text(history::ATTEMPTS).and_then(|n| n.parse().ok()).unwrap_or_default(),
            first_failed_at: text(history::FIRST_FAILED_AT).and_then(|at| Timestamp::parse(&at)),
            first_error: text(history::FIRST_ERROR),
            last_error: text(history::LAST_ERROR),
            sent_at: Timestamp::clamped(sent),
            message_id: message.message_id.unwrap_or_default(),
            handles: message.receipt_handle.into_iter().collect(),
            body,
            attributes,
            envelope,
        }
    }
}

/// The event id in a message that is not an envelope of this release.
fn event_id_in(body: &str) -> Option<String> {
    serde_json::from_str::<Value>(body).ok()?.get("event_id")?.as_str().map(str::to_owned)
}

/// The messages received from the queue.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) letters: Vec<DeadLetter>,
    /// The approximate number of messages that are held by another command, or by one that was killed within the last
    /// two minutes.
    pub(crate) held_elsewhere: u64,
    /// Whether reading stopped early, by Ctrl-C or because the wanted letter was found.
    pub(crate) is_partial: bool,
    held_since: Option<Instant>,
}

impl Received {
    /// Keeps the letters that `is_wanted` accepts, and releases the others.
    pub(crate) async fn retain(
        self,
        deployment: &Deployment,
        is_wanted: impl Fn(&DeadLetter) -> bool,
    ) -> Result<Received, Error> {
        let (letters, others): (Vec<_>, Vec<_>) = self.letters.into_iter().partition(is_wanted);
        release(deployment, &others).await?;
        Ok(Received { letters, ..self })
    }

    /// Extends the visibility timeout, if half of it has passed.
    pub(crate) async fn extend_timeout(
        &mut self,
        deployment: &Deployment,
        letters: &[DeadLetter],
    ) -> Result<(), Error> {
        if self.held_since.is_some_and(|since| since.elapsed() > VISIBILITY_TIMEOUT / 2) {
            self.held_since = Some(Instant::now());
            change_visibility(deployment, letters.iter(), VISIBILITY_TIMEOUT).await?;
        }
        Ok(())
    }
}

/// The approximate numbers of visible and held messages on the dead-letter queue.
pub(crate) async fn dead_letter_counts(deployment: &Deployment) -> Result<(u64, u64), Error> {
    deployment.counts(deployment.dead_letter_queue()?).await
}

/// Receives the messages on the queue until none are left, `is_last` accepts one, or the user presses Ctrl-C. The
/// messages stay held. If a request fails, the messages are released.
pub(crate) async fn receive_all(
    deployment: &Deployment,
    bar: &ProgressBar,
    stop: &mut Interrupts,
    is_last: impl Fn(&DeadLetter) -> bool,
) -> Result<Received, Error> {
    let (expected, held_elsewhere) = dead_letter_counts(deployment).await?;
    bar.set_length(expected);
    let mut received = Received { held_elsewhere, held_since: Some(Instant::now()), ..Received::default() };
    if let Err(error) = receive_into(&mut received, expected, deployment, bar, stop, is_last).await {
        // If the release fails as well, the messages are visible again after their timeout.
        let _ = release(deployment, &received.letters).await;
        return Err(error);
    }
    Ok(received)
}

async fn receive_into(
    received: &mut Received,
    expected: u64,
    deployment: &Deployment,
    bar: &ProgressBar,
    stop: &mut Interrupts,
    is_last: impl Fn(&DeadLetter) -> bool,
) -> Result<(), Error> {
    let queue = deployment.dead_letter_queue()?;
    // In AWS a short poll may miss messages and the count lags, so only an empty long poll shows that none are left.
    // In `gatehouse dev`, short polls and counts are exact.
    let is_exact = deployment.dev.is_some();
    if is_exact && expected == 0 {
        return Ok(());
    }
    let wait = if is_exact { 0 } else { 1 };
    let mut indexes = HashMap::<String, usize>::new();
    loop {
        let requests = stream::iter(0..CONCURRENCY).map(|_| receive(deployment, queue, wait));
        let responses = requests.buffer_unordered(CONCURRENCY).collect::<Vec<_>>();
        let responses = tokio::select! {
            biased;
            responses = responses => responses,
            () = stop.next() => {
                received.is_partial = true;
                return Ok(());
            }
        };
        let (mut is_found, mut is_empty) = (false, true);
        let (messages, failures): (Vec<_>, Vec<_>) = responses.into_iter().partition(Result::is_ok);
        for message in messages.into_iter().flatten().flatten() {
            is_empty = false;
            let letter = DeadLetter::of(message);
            if let Some(index) = indexes.get(&letter.message_id) {
                received.letters[*index].handles.extend(letter.handles);
                continue;
            }
            is_found |= is_last(&letter);
            indexes.insert(letter.message_id.clone(), received.letters.len());
            received.letters.push(letter);
        }
        if let Some(Err(error)) = failures.into_iter().next() {
            return Err(error);
        }
        bar.set_position(received.letters.len() as u64);
        if is_found || is_empty {
            received.is_partial = is_found;
            return Ok(());
        }
        let letters = std::mem::take(&mut received.letters);
        let extended = received.extend_timeout(deployment, &letters).await;
        received.letters = letters;
        extended?;
    }
}

async fn receive(deployment: &Deployment, queue: &str, wait: i32) -> Result<Vec<Message>, Error> {
    let receive = deployment
        .sqs
        .receive_message()
        .queue_url(queue)
        .max_number_of_messages(10)
        .visibility_timeout(seconds(VISIBILITY_TIMEOUT))
        .wait_time_seconds(wait)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All");
    let answer = receive.send().await.map_err(|error| aws_error("the dead-letter queue", &error))?;
    Ok(answer.messages.unwrap_or_default())
}

/// Releases messages: they are visible again immediately.
pub(crate) async fn release<'l>(
    deployment: &Deployment,
    letters: impl IntoIterator<Item = &'l DeadLetter>,
) -> Result<(), Error> {
    change_visibility(deployment, letters, Duration::ZERO).await
}

async fn change_visibility<'l>(
    deployment: &Deployment,
    letters: impl IntoIterator<Item = &'l DeadLetter>,
    timeout: Duration,
) -> Result<(), Error> {
    let queue = deployment.dead_letter_queue()?;
    let handles: Vec<_> = letters.into_iter().flat_map(|letter| &letter.handles).collect();
    let batches = stream::iter(handles.chunks(BATCH)).map(|batch| async move {
        let entries = batch.iter().enumerate().map(|(n, handle)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(n.to_string());
            entry.receipt_handle(*handle).visibility_timeout(seconds(timeout)).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let change = deployment.sqs.change_message_visibility_batch().queue_url(queue).set_entries(Some(entries));
        // Failed entries are ignored: the message is visible already, or the handle is not the latest one.
        change.send().await.map_err(|error| aws_error("the dead-letter queue", &error))?;
        Ok::<(), Error>(())
    });
    batches.buffer_unordered(CONCURRENCY).collect::<Vec<_>>().await.into_iter().collect()
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

/// Receives the messages on the queue like [`receive_all`], and releases them.
pub(crate) async fn peek(
    deployment: &Deployment,
    bar: &ProgressBar,
    stop: &mut Interrupts,
    is_last: impl Fn(&DeadLetter) -> bool,
) -> Result<Received, Error> {
    let received = receive_all(deployment, bar, stop, is_last).await?;
    release(deployment, &received.letters).await?;
    Ok(received)
}

/// Moves a dead letter to the retry queue, with its history.
///
/// If the command is killed in between, the message is on both queues. That is harmless: recording the event a second
/// time changes nothing.
pub(crate) async fn move_to_retry_queue(deployment: &Deployment, letter: &DeadLetter) -> Result<(), Error> {
    let send = deployment.sqs.send_message().queue_url(deployment.retry_queue()?).message_body(&letter.body);
    let send = send.set_message_attributes(Some(letter.attributes.clone())).send().await;
    send.map_err(|error| aws_error("the retry queue", &error))?;
    delete(deployment, letter).await
}

/// Deletes held dead letters. If a request fails, those that are not deleted are released.
pub(crate) async fn delete_all(deployment: &Deployment, letters: &[DeadLetter]) -> Result<(), Error> {
    for (n, letter) in letters.iter().enumerate() {
        if let Err(error) = delete(deployment, letter).await {
            let _ = release(deployment, &letters[n..]).await;
            return Err(error);
        }
    }
    Ok(())
}

async fn delete(deployment: &Deployment, letter: &DeadLetter) -> Result<(), Error> {
    let queue = deployment.dead_letter_queue()?;
    for handle in &letter.handles {
        let delete = deployment.sqs.delete_message().queue_url(queue).receipt_handle(handle);
        delete.send().await.map_err(|error| aws_error("the dead-letter queue", &error))?;
    }
    Ok(())
}
