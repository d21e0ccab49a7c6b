//! Looking into the dead-letter queue. SQS has no such thing as looking: messages are received, held while they are read, and
//! handed back at once, so that they can be moved.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
};
use futures_util::{StreamExt, stream};
use gatehouse_inbox::queue::{Envelope, history};
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::operate::deployment::Deployment;
use crate::shell::Interrupts;
use crate::stack::told;

/// How long messages are held while they are read. Whoever is killed leaves them hidden for as long.
pub(crate) const HELD: Duration = Duration::from_secs(120);
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
    /// When this message was sent: to this queue, or, where the redrive policy moved it, to the retry queue.
    pub(crate) sent_at: Timestamp,
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
        // One that the redrive policy moved may bring the history of an earlier death along.
        let was_moved = system.contains_key(&MessageSystemAttributeName::DeadLetterQueueSourceArn);
        Letter {
            source: event_id.as_deref().and_then(|id| id.split_once(':')).map(|(source, _)| source.to_owned()),
            event_id,
            reason: text(history::REASON).filter(|_| !was_moved).unwrap_or_else(|| NEVER_FINISHED.to_owned()),
            attempts: text(history::ATTEMPTS).and_then(|n| n.parse().ok()).unwrap_or_default(),
            first_failed_at: text(history::FIRST_FAILED_AT).and_then(|at| Timestamp::parse(&at)),
            first_error: text(history::FIRST_ERROR),
            last_error: text(history::LAST_ERROR),
            sent_at: Timestamp::clamped(sent),
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
    /// About how many somebody else holds: another command, or one that was killed within the last two minutes.
    pub(crate) elsewhere: u64,
    /// There is more: somebody interrupted, or what was looked for has been found.
    pub(crate) is_partial: bool,
    held_since: Option<Instant>,
}

impl Held {
    /// Parts them: what `is_wanted`, and the rest, which is handed back.
    pub(crate) async fn choose(
        self,
        deployment: &Deployment,
        is_wanted: impl Fn(&Letter) -> bool,
    ) -> Result<Held, Error> {
        let (letters, others): (Vec<_>, Vec<_>) = self.letters.into_iter().partition(is_wanted);
        hand_back(deployment, &others).await?;
        Ok(Held { letters, ..self })
    }

    /// Holds them for longer, where their time is half over.
    pub(crate) async fn renew(&mut self, deployment: &Deployment, letters: &[Letter]) -> Result<(), Error> {
        if self.held_since.is_some_and(|since| since.elapsed() > HELD / 2) {
            self.held_since = Some(Instant::now());
            hide(deployment, letters.iter(), HELD).await?;
        }
        Ok(())
    }
}

/// About how many messages are on the dead-letter queue: visible, and held by somebody.
pub(crate) async fn waiting(deployment: &Deployment) -> Result<(u64, u64), Error> {
    deployment.counts(deployment.dead_letter_queue()?).await
}

/// Receives what is on the queue, until `enough` says so; it stays held. Ctrl-C stops it.
pub(crate) async fn hold(
    deployment: &Deployment,
    bar: &ProgressBar,
    stop: &mut Interrupts,
    enough: impl Fn(&Letter) -> bool,
) -> Result<Held, Error> {
    let queue = deployment.dead_letter_queue()?;
    let (expected, elsewhere) = waiting(deployment).await?;
    bar.set_length(expected);
    let mut held = Held { elsewhere, held_since: Some(Instant::now()), ..Held::default() };
    // A short poll of AWS may miss messages, and its count lags: only an empty long poll shows that none are left. The
    // queue of a `gatehouse dev` misses none.
    let is_exact = deployment.dev.is_some();
    if is_exact && expected == 0 {
        return Ok(held);
    }
    let wait = if is_exact { 0 } else { 1 };
    let mut places = HashMap::<String, usize>::new();
    loop {
        let rounds = stream::iter(0..AT_ONCE).map(|_| receive(deployment, queue, wait));
        let answers = rounds.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let answers = tokio::select! {
            answers = answers => answers,
            () = stop.next() => {
                held.is_partial = true;
                return Ok(held);
            }
        };
        let (mut is_found, mut is_empty) = (false, true);
        for message in answers.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            is_empty = false;
            let letter = Letter::of(message);
            // It comes again where it was not held for long enough: then only the latest receipt handle counts.
            if let Some(place) = places.get(&letter.message_id) {
                held.letters[*place].handle = letter.handle;
                continue;
            }
            is_found |= enough(&letter);
            places.insert(letter.message_id.clone(), held.letters.len());
            held.letters.push(letter);
        }
        bar.set_position(held.letters.len() as u64);
        if is_found || is_empty {
            held.is_partial = is_found;
            return Ok(held);
        }
        let letters = std::mem::take(&mut held.letters);
        let renewed = held.renew(deployment, &letters).await;
        held.letters = letters;
        renewed?;
    }
}

async fn receive(deployment: &Deployment, queue: &str, wait: i32) -> Result<Vec<Message>, Error> {
    let receive = deployment
        .sqs
        .receive_message()
        .queue_url(queue)
        .max_number_of_messages(10)
        .visibility_timeout(seconds(HELD))
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
    hide(deployment, letters, Duration::ZERO).await
}

async fn hide<'l>(
    deployment: &Deployment,
    letters: impl IntoIterator<Item = &'l Letter>,
    time: Duration,
) -> Result<(), Error> {
    let queue = deployment.dead_letter_queue()?;
    let letters: Vec<_> = letters.into_iter().collect();
    let batches = stream::iter(letters.chunks(BATCH)).map(|batch| async move {
        let entries = batch.iter().enumerate().map(|(n, letter)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(n.to_string());
            entry.receipt_handle(&letter.handle).visibility_timeout(seconds(time)).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let change = deployment.sqs.change_message_visibility_batch().queue_url(queue).set_entries(Some(entries));
        // Single failures are of messages whose time was up: they are visible already.
        change.send().await.map_err(|error| told("the dead-letter queue", &error))?;
        Ok::<(), Error>(())
    });
    batches.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

/// What is on the queue, handed back.
pub(crate) async fn look(
    deployment: &Deployment,
    bar: &ProgressBar,
    stop: &mut Interrupts,
    enough: impl Fn(&Letter) -> bool,
) -> Result<Held, Error> {
    let held = hold(deployment, bar, stop, enough).await?;
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
