//! Looking into the dead-letter queue. SQS has no such thing as looking: messages are received, held while they are read, and
//! handed back at once, so that they can be moved.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName,
};
use futures_util::{StreamExt, stream};
use gatehouse_inbox::queue::{Envelope, history};
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use crate::operate::deployment::Deployment;
use crate::stack::told;

/// How long messages are held while they are read. Whoever is killed leaves them hidden for as long. In seconds.
const HELD: i32 = 120;
/// How many requests are under way at the same moment.
const AT_ONCE: usize = 4;
/// What SQS takes in one request.
const BATCH: usize = 10;

/// The reason of a message that the redrive policy moved: its consumer was killed, or never said anything.
pub(crate) const NEVER_FINISHED: &str = "never-finished";

/// A dead letter.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Letter {
    /// Absent where the message is no envelope.
    pub(crate) event_id: Option<String>,
    pub(crate) source: Option<String>,
    /// `unavailable`, `refused`, `unreadable`, `panic`, or that it was never finished.
    pub(crate) reason: String,
    /// How often it was tried, redrives included.
    pub(crate) attempts: u32,
    pub(crate) first_failed_at: Option<Timestamp>,
    pub(crate) first_error: Option<String>,
    pub(crate) last_error: Option<String>,
    /// When it came to the dead-letter queue.
    pub(crate) dead_since: Timestamp,
    pub(crate) message_id: String,
    #[serde(skip)]
    pub(crate) handle: String,
    #[serde(skip)]
    pub(crate) body: String,
    #[serde(skip)]
    pub(crate) attributes: HashMap<String, MessageAttributeValue>,
    #[serde(skip)]
    pub(crate) envelope: Option<Envelope>,
}

impl Letter {
    fn of(message: Message) -> Letter {
        let body = message.body.unwrap_or_default();
        let attributes = message.message_attributes.unwrap_or_default();
        let text = |name: &str| attributes.get(name).and_then(|a| a.string_value()).map(str::to_owned);
        let system = message.attributes.unwrap_or_default();
        let number = |name| system.get(&name).and_then(|value: &String| value.parse::<i64>().ok());
        let sent = number(MessageSystemAttributeName::SentTimestamp).unwrap_or_default();
        let envelope = Envelope::from_message(&body).ok();
        let event_id = envelope.as_ref().map(|envelope| envelope.event_id.to_string()).or_else(|| named(&body));
        Letter {
            source: event_id.as_deref().and_then(|id| id.split_once(':')).map(|(source, _)| source.to_owned()),
            event_id,
            reason: text(history::REASON).unwrap_or_else(|| NEVER_FINISHED.to_owned()),
            attempts: text(history::ATTEMPTS).and_then(|n| n.parse().ok()).unwrap_or_default(),
            first_failed_at: text(history::FIRST_FAILED_AT).and_then(|at| Timestamp::parse(&at)),
            first_error: text(history::FIRST_ERROR),
            last_error: text(history::LAST_ERROR),
            dead_since: Timestamp::clamped(sent),
            message_id: message.message_id.unwrap_or_default(),
            handle: message.receipt_handle.unwrap_or_default(),
            body,
            attributes,
            envelope,
        }
    }
}

/// The event id in a message that is no envelope of this release.
fn named(body: &str) -> Option<String> {
    serde_json::from_str::<Value>(body).ok()?.get("event_id")?.as_str().map(str::to_owned)
}

/// What was received of the queue, and is held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) letters: Vec<Letter>,
    /// There is more: somebody interrupted, or as many as were wanted have been found.
    pub(crate) is_partial: bool,
}

/// About how many messages are on the dead-letter queue, and visible.
pub(crate) async fn waiting(deployment: &Deployment) -> Result<u64, Error> {
    let queue = deployment.dead_letter_queue()?;
    let count = deployment.attribute(queue, QueueAttributeName::ApproximateNumberOfMessages).await?;
    Ok(count.parse()?)
}

/// Receives what is on the queue, until `enough` says so; it stays held. Ctrl-C stops it.
pub(crate) async fn hold(
    deployment: &Deployment,
    bar: &ProgressBar,
    enough: impl Fn(&Letter) -> bool,
) -> Result<Held, Error> {
    let queue = deployment.dead_letter_queue()?;
    let expected = waiting(deployment).await?;
    bar.set_length(expected);
    let (mut held, mut seen) = (Held::default(), HashSet::new());
    if expected == 0 {
        return Ok(held);
    }
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        // As many as there should be: whether there are more shows at once. Else a part of SQS may not have answered.
        let missing = u64::try_from(seen.len()).unwrap_or(u64::MAX) < expected;
        let rounds = stream::iter(0..AT_ONCE).map(|_| receive(deployment, queue, if missing { 1 } else { 0 }));
        let answers = rounds.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let answers = tokio::select! {
            answers = answers => answers,
            _ = &mut interrupted => {
                held.is_partial = true;
                return Ok(held);
            }
        };
        let mut is_found = false;
        let before = seen.len();
        for message in answers.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            let letter = Letter::of(message);
            // It comes again where reading took longer than it is held.
            if seen.insert(letter.message_id.clone()) {
                is_found |= enough(&letter);
                held.letters.push(letter);
            }
        }
        bar.set_position(seen.len() as u64);
        if is_found || seen.len() == before {
            held.is_partial = is_found;
            return Ok(held);
        }
    }
}

async fn receive(deployment: &Deployment, queue: &str, wait: i32) -> Result<Vec<Message>, Error> {
    let receive = deployment
        .sqs
        .receive_message()
        .queue_url(queue)
        .max_number_of_messages(10)
        .visibility_timeout(HELD)
        .wait_time_seconds(wait)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All");
    let answer = receive.send().await.map_err(|error| told("the dead-letter queue", &error))?;
    Ok(answer.messages.unwrap_or_default())
}

/// Hands messages back: they are visible again at once.
pub(crate) async fn hand_back<'l>(
    deployment: &Deployment,
    letters: impl IntoIterator<Item = &'l Letter>,
) -> Result<(), Error> {
    let queue = deployment.dead_letter_queue()?;
    let letters: Vec<_> = letters.into_iter().collect();
    let batches = stream::iter(letters.chunks(BATCH)).map(|batch| async move {
        let entries = batch.iter().enumerate().map(|(n, letter)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(n.to_string());
            entry.receipt_handle(&letter.handle).visibility_timeout(0).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let change = deployment.sqs.change_message_visibility_batch().queue_url(queue).set_entries(Some(entries));
        // Single failures are of messages whose time was up: they are visible already.
        change.send().await.map_err(|error| told("the dead-letter queue", &error))?;
        Ok::<(), Error>(())
    });
    batches.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// What is on the queue, handed back.
pub(crate) async fn look(
    deployment: &Deployment,
    bar: &ProgressBar,
    enough: impl Fn(&Letter) -> bool,
) -> Result<Held, Error> {
    let held = hold(deployment, bar, enough).await?;
    hand_back(deployment, &held.letters).await?;
    Ok(held)
}

/// Puts a dead letter back on the retry queue, with its history. Killed in between, it is on both queues, which is harmless:
/// recording it twice changes nothing.
pub(crate) async fn put_back(deployment: &Deployment, letter: &Letter) -> Result<(), Error> {
    let send = deployment.sqs.send_message().queue_url(deployment.retry_queue()?).message_body(&letter.body);
    let send = send.set_message_attributes(Some(letter.attributes.clone())).send().await;
    send.map_err(|error| told("the retry queue", &error))?;
    delete(deployment, letter).await
}

/// Deletes a dead letter that is held.
pub(crate) async fn delete(deployment: &Deployment, letter: &Letter) -> Result<(), Error> {
    let delete = deployment.sqs.delete_message().queue_url(deployment.dead_letter_queue()?);
    delete.receipt_handle(&letter.handle).send().await.map_err(|error| told("the dead-letter queue", &error))?;
    Ok(())
}

/// How long it takes at most until a killed command's messages are visible again.
pub(crate) const fn held_at_most() -> Duration {
    Duration::from_secs(HELD as u64)
}
