//! Forwards events: those of one subject one after the other, those of different subjects at the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gatehouse_deliveries::message::message_type;
use gatehouse_deliveries::{Destination, Message, Shape};
use gatehouse_inbox::Store;
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::lines::{self, Lines};
use super::receiver::{About, Answer, Receiver};
use crate::shell::note;

/// The number of events that are forwarded at the same time.
const CONCURRENCY: usize = 16;
/// The number of events that wait. More are read when these are forwarded.
const MAX_WAITING: usize = 1000;
/// The number of subjects whose order is remembered.
const MAX_SUBJECTS: usize = 100_000;
/// Number of attempts to read a record, and the pause between them.
const READ_ATTEMPTS: u32 = 10;
const READ_PAUSE: Duration = Duration::from_secs(2);
/// The pauses before the next attempts while no server listens. The last one repeats.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Forwards events, and prints the results.
#[derive(Debug)]
pub(super) struct Forwarder {
    shared: Shared,
    subjects: HashMap<Subject, Previous>,
    /// Whether each event that is done was one of the destination's.
    tasks: JoinSet<bool>,
    waiting: Arc<Semaphore>,
    last: Option<ListedEvent>,
    taken: u64,
    limit: Option<u64>,
}

/// What the tasks share.
#[derive(Debug, Clone)]
struct Shared {
    store: Store,
    receiver: Arc<Receiver>,
    lines: Lines,
    /// The destination whose messages are forwarded.
    destination: Option<Arc<Destination>>,
    slots: Arc<Semaphore>,
    /// The numbers of events that succeeded and failed. They are counted before their line is printed.
    succeeded: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    /// Whether the user has been told that no server listens.
    is_waiting: Arc<AtomicBool>,
    /// Whether standard output cannot be written, so that events that are only shown need not be read any more.
    is_unread: Arc<AtomicBool>,
}

/// The previous event of a subject.
#[derive(Debug)]
struct Previous {
    received_at: Timestamp,
    /// Disconnected when the event is done.
    done: oneshot::Receiver<()>,
}

/// The result of building a message.
enum Built {
    Message(Message),
    /// The destination does not get the event.
    Filtered,
    /// There is no readable record.
    Unreadable,
}

impl Forwarder {
    /// Creates a forwarder that takes at most `limit` events.
    pub(super) fn new(store: Store, receiver: Arc<Receiver>, lines: Lines, limit: Option<u64>) -> Forwarder {
        let (slots, is_waiting) = (Arc::new(Semaphore::new(CONCURRENCY)), Arc::default());
        let (succeeded, failed) = (Arc::default(), Arc::default());
        Forwarder {
            shared: Shared {
                store,
                receiver,
                lines,
                destination: None,
                slots,
                succeeded,
                failed,
                is_waiting,
                is_unread: Arc::default(),
            },
            subjects: HashMap::new(),
            tasks: JoinSet::new(),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            last: None,
            taken: 0,
            limit,
        }
    }

    /// Whether the limit of events is reached, if all events that are being forwarded count.
    pub(super) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.taken >= limit)
    }

    /// Forwards the messages that a destination gets, and only those.
    pub(super) fn forward_as(&mut self, destination: Destination) {
        self.shared.destination = Some(Arc::new(destination));
    }

    /// Reads further events from another store, after a reconnect.
    pub(super) fn use_store(&mut self, store: Store) {
        self.shared.store = store;
    }

    /// Forwards an event as soon as the previous one of its subject is done. Waits while too many events wait.
    pub(super) async fn take(&mut self, event: ListedEvent) {
        while let Some(done) = self.tasks.try_join_next() {
            self.taken -= u64::from(matches!(done, Ok(false)));
        }
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&self.waiting).acquire_owned().await else { return };
        self.taken += 1;
        self.last = Some(event.clone());
        let (done, is_done) = oneshot::channel::<()>();
        let previous = event.subject.clone().and_then(|subject| {
            if self.subjects.len() >= MAX_SUBJECTS {
                self.subjects.clear();
            }
            let latest = self.subjects.get(&subject).map(|previous| previous.received_at);
            let received_at = latest.map_or(event.received_at, |latest| latest.max(event.received_at));
            self.subjects.insert(subject, Previous { received_at, done: is_done })
        });
        let is_late = previous.as_ref().is_some_and(|previous| previous.received_at > event.received_at);
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            if let Some(previous) = previous {
                // Nothing is sent: it ends when the other task drops its sender.
                let _ = previous.done.await;
            }
            let result = shared.forward(&event, is_late).await;
            drop((done, place));
            result.unwrap_or_else(|_| {
                shared.count(false);
                true
            })
        });
    }

    /// Forwards the last event again.
    pub(super) async fn resend(&mut self) {
        if let Some(event) = self.last.clone().filter(|_| *self.shared.receiver != Receiver::Nobody) {
            self.take(event).await;
        }
    }

    /// Prints the message of the last event.
    pub(super) async fn print_details(&self) -> Result<(), Error> {
        let Some(event) = &self.last else { return Ok(()) };
        match self.shared.message(event, false).await? {
            Built::Message(message) => lines::print_body(&message.body),
            Built::Filtered | Built::Unreadable => Ok(()),
        }
    }

    /// Whether the shown events cannot be printed any more, or the limit of events is reached. At the limit, waits until
    /// they are forwarded: it does not count events that the destination does not get.
    pub(super) async fn is_done(&mut self) -> bool {
        if self.shared.is_unread.load(Ordering::Relaxed) {
            return true;
        }
        while self.is_full() {
            let Some(done) = self.tasks.join_next().await else { return true };
            self.taken -= u64::from(matches!(done, Ok(false)));
        }
        false
    }

    /// Returns the numbers of events that succeeded and failed. Those that are being forwarded are not counted.
    pub(super) fn finish(self) -> (usize, usize) {
        let number = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (number(&self.shared.succeeded), number(&self.shared.failed))
    }
}

impl Shared {
    /// Forwards an event, and prints it and the result. Returns whether the destination gets it.
    async fn forward(&self, event: &ListedEvent, is_late: bool) -> Result<bool, Error> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await?;
        let is_shown_only = *self.receiver == Receiver::Nobody;
        // A list has all that a line shows.
        let message = if is_shown_only && !self.lines.payload && self.destination.is_none() {
            None
        } else {
            match self.message(event, is_late).await? {
                Built::Message(message) => Some(message),
                Built::Filtered => return Ok(false),
                Built::Unreadable => {
                    self.count(false);
                    return Ok(true);
                }
            }
        };
        let body = message.as_ref().map(|message| &message.body[..]);
        let printed = self.lines.event(event, body);
        let Some(message) = message.as_ref().filter(|_| !is_shown_only) else {
            self.count(true);
            if printed.and_then(|()| self.lines.result(event, is_late, body, None)).is_err() {
                self.is_unread.store(true, Ordering::Relaxed);
            }
            return Ok(true);
        };
        let (answer, took) = self.send(message, event).await;
        self.count(answer.is_success());
        // Events are forwarded also if nobody reads the lines about them.
        let _ = self.lines.result(event, is_late, body, Some((&answer, took)));
        Ok(true)
    }

    fn count(&self, is_success: bool) {
        let count = if is_success { &self.succeeded } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the record of an event and builds its message. If there is no readable record, that is printed.
    async fn message(&self, event: &ListedEvent, is_late: bool) -> Result<Built, Error> {
        let mut attempts = 0;
        let contents = loop {
            let contents = self.store.contents(vec![event.key.clone()], Clock::System.now()).await;
            attempts += 1;
            match contents {
                // The event would not be seen again.
                Err(error) if error.is_transient() && attempts < READ_ATTEMPTS => sleep(READ_PAUSE).await,
                contents => break contents,
            }
        };
        let reason = match contents.map(|mut contents| contents.remove(&event.key)) {
            Ok(Some(Content::Record(record))) => {
                return Ok(match self.destination.as_deref() {
                    None => Built::Message(Message::of(&record, Shape::default(), is_late)),
                    Some(destination) if destination.filters.match_record(&record) => {
                        let (format, shape) = (destination.format, destination.shape);
                        Built::Message(Message::in_format(&record, format, shape, is_late))
                    }
                    Some(_) => Built::Filtered,
                });
            }
            Ok(Some(Content::Erased(_))) => "the event was erased".to_owned(),
            Ok(Some(Content::Damaged(damaged))) => damaged.to_string(),
            Ok(Some(Content::Empty) | None) => "the record does not exist any more".to_owned(),
            Err(error) => error.to_string(),
        };
        self.lines.skipped(event, is_late, &reason)?;
        Ok(Built::Unreadable)
    }

    /// Sends a message, and waits while no server listens.
    async fn send(&self, message: &Message, event: &ListedEvent) -> (Answer, Duration) {
        let about = About {
            message_type: message_type(event.id.vendor(), event.event_type.as_deref()),
            subject: event.subject.as_ref().map(ToString::to_string),
        };
        for attempt in 1.. {
            let (answer, took) = self.receiver.send(message, &about).await;
            let Answer::Unreachable(reason) = &answer else {
                self.is_waiting.store(false, Ordering::Relaxed);
                return (answer, took);
            };
            if attempt > 1 && !self.is_waiting.swap(true, Ordering::Relaxed) {
                note(format!("the server is not reachable: {reason}; waiting for it"));
            }
            sleep(PAUSES[attempt.min(PAUSES.len()) - 1]).await;
        }
        unreachable!("the loop ends only by returning")
    }
}
