//! The deliverer: acquires the lease of a lane, and sends its deliveries one after the other.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gatehouse_inbox::store::Content;
use gatehouse_inbox::{Store, StoreError};
use gatehouse_payload::EventId;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::{Clock, Random};
use tokio::time::{Instant, timeout, timeout_at};

use crate::destination::{Destination, Destinations};
use crate::doorbell::{Doorbell, Doorbells};
use crate::lane::{Lane, RowKey};
use crate::message::Message;
use crate::request::Attempt;
use crate::schedule::next_attempt;
use crate::send::{ATTEMPT_LIMIT, Failure, Sender};
use crate::table::{Breaker, Delivery, DeliveryTable, DestinationState, Released, State};

mod sweep;

/// The time that an attempt needs beside sending: reading the record and settling the delivery.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(6);
/// How much longer a lease lasts than its holder works, in seconds: clocks differ.
const LEASE_MARGIN: i64 = 5;
/// How long the lease of a lane is kept after an aborted attempt, in seconds. Its server may work on it for as long as
/// a sender would have waited.
const ABORTED_LEASE: i64 = ATTEMPT_LIMIT.as_secs().cast_signed() + LEASE_MARGIN;
/// The pause before an aborted attempt is repeated. It ends a second after [`ABORTED_LEASE`].
const ABORTED_PAUSE: Duration = Duration::from_secs(ABORTED_LEASE.unsigned_abs() + 1);
/// The longest pause for which a doorbell is hidden. After a longer one, the sweep rings.
const MAX_HIDDEN: Duration = Duration::from_secs(60);
/// The pause before a doorbell rings again because another sender holds its lane.
const TAKEN_PAUSE: Duration = Duration::from_secs(1);
/// How long the state of a destination is used before it is read again, in seconds.
const STATE_AGE: i64 = 5;
/// How long a page of a lane is used before it is read again, in seconds: an earlier delivery may have been added.
const PAGE_AGE: i64 = 1;
/// How often a lane that has changed is read again in one call.
const ROUNDS: usize = 100;
/// The reason of a delivery whose event has expired.
const EXPIRED: &str = "expired";
/// The reason of a delivery that its destination's filter leaves out.
pub const FILTERED: &str = "filtered";

/// Sends deliveries.
#[derive(Debug)]
pub struct Deliverer {
    /// Has the events.
    pub store: Store,
    /// Has the deliveries.
    pub table: DeliveryTable,
    /// Sends messages.
    pub sender: Sender,
    /// Wakes the senders.
    pub doorbells: Doorbells,
    /// Wakes the senders for slow destinations, so that these do not occupy all instances.
    pub slow_doorbells: Doorbells,
    /// The limits from which a destination is slow.
    pub slow_limits: SlowLimits,
    /// The clock.
    pub clock: Clock,
    /// The source of nonces.
    pub random: Random,
    /// The states of destinations, and when they were read.
    pub states: States,
}

/// The limits from which a destination is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowLimits {
    /// The time after which an attempt is slow.
    pub after: Duration,
    /// The number of slow attempts within 15 s that make a destination slow. Those before may occupy an instance each.
    pub attempts: u32,
}

impl Default for SlowLimits {
    fn default() -> Self {
        SlowLimits { after: Duration::from_secs(2), attempts: 5 }
    }
}

/// The states of destinations, as they were read a few seconds ago.
#[derive(Debug, Default)]
pub struct States(Mutex<HashMap<String, (DestinationState, Timestamp)>>);

/// The result of handling a doorbell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// Nothing is left to do, or another doorbell will ring.
    Done,
    /// The doorbell must ring again after this pause.
    Again(Duration),
}

/// Why a destination gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// By an operator, by its server, or after five days of failures.
    Disabled,
    /// The last attempts failed: its breaker has opened, or it has few deliveries and all failed for 15 minutes.
    Failing,
    /// Its entry in the secrets document has a defect.
    Unusable,
}

/// The result of an attempt, for the log.
#[derive(Debug)]
pub struct Report<'a> {
    /// The delivery after the attempt.
    pub delivery: &'a Delivery,
    /// How long the attempt took.
    pub took: Duration,
    /// Whether the attempt was aborted, because its destination has become slow. It is repeated from the slow delivery
    /// queue.
    pub is_aborted: bool,
}

/// Why a sender stopped walking through a lane.
enum Stop {
    /// No delivery waits any more.
    End,
    /// The next delivery waits for this time.
    Blocked(Timestamp),
    /// The destination gets nothing at the moment. The sweep rings when that has changed.
    Parked,
    /// There is no time for another attempt, or another sender has changed the lane.
    Interrupted,
    /// An attempt was aborted, because the destination has become slow. Its server may still work on it.
    Aborted,
}

/// A walk through a lane.
struct Walk {
    done_to: Option<RowKey>,
    latest: Option<RowKey>,
    stop: Stop,
}

/// The effect of an attempt on the lane.
enum Attempted {
    /// The next delivery follows. Tells whether this one was sent.
    Next { was_sent: bool },
    /// The lane is stopped.
    Stop(Stop),
}

impl Deliverer {
    /// Sends the deliveries that wait in a lane, until nothing is left or `until`. If the destination is slow, it
    /// passes a doorbell of the delivery queue on to the slow delivery queue instead. Set `doorbell.is_whole` if the
    /// doorbell rang before: an earlier sender may have ended in the middle of its work. `report` gets the result of
    /// each attempt.
    ///
    /// # Errors
    /// If DynamoDB or SQS does not respond. The doorbell must ring again.
    pub async fn drain(
        &self,
        doorbell: &Doorbell,
        destinations: &Destinations,
        until: Instant,
        report: &(dyn Fn(&Report<'_>) + Sync),
    ) -> Result<Rung, DeliverError> {
        let Doorbell { lane, is_whole, is_slow } = doorbell;
        if !is_slow && self.state(lane.destination(), self.clock.now()).await?.is_slow(self.clock.now()) {
            let refused = self.slow_doorbells.ring(std::slice::from_ref(lane), *is_whole, destinations.are_several());
            let refused = refused.await.pop();
            return refused.map_or(Ok(Rung::Done), |(_, error)| Err(error.into()));
        }
        let job = Job { lane, destinations, is_slow: *is_slow, until, report };
        if !lane.is_ordered() {
            let walk = self.walk(&job, None, None).await?;
            return Ok(self.after(walk.stop));
        }
        let unavailable = |_| StoreError::Transient { operation: "lease", code: "no random numbers".to_owned() };
        let holder = self.random.nonce().map_err(unavailable)?;
        let (mut is_whole, mut latest) = (*is_whole, None);
        for round in 0..ROUNDS {
            let now = self.clock.now();
            let left = i64::try_from(until.saturating_duration_since(Instant::now()).as_secs()).unwrap_or(i64::MAX);
            let lease_until = now.plus_secs(left.saturating_add(LEASE_MARGIN));
            let Some(lease) = self.table.acquire(lane, holder, lease_until, now).await? else {
                // The holder reads the lane once more when it has released the lease. But it may have ended, if this
                // doorbell is its own: SQS can deliver a message twice. Or it may have begun behind a delivery that
                // this call has found.
                let is_left_to_holder = round == 0 && !is_whole;
                return Ok(if is_left_to_holder { Rung::Done } else { Rung::Again(TAKEN_PAUSE) });
            };
            let start = lease.done_to.clone().filter(|_| !is_whole);
            latest = latest.max(lease.latest.clone());
            let walk = match self.walk(&job, start.clone(), latest.clone()).await {
                Ok(walk) => walk,
                Err(error) => {
                    // Otherwise the lane would wait until the lease expires.
                    let _ = self.table.release(&lease, lease.done_to.as_ref(), None, None).await;
                    return Err(error.into());
                }
            };
            let done_to = match walk.stop {
                // The position must not move back when a walk ignored it.
                Stop::End => lease.done_to.as_ref().max(walk.done_to.as_ref()),
                Stop::Blocked(_) | Stop::Parked | Stop::Interrupted | Stop::Aborted => walk.done_to.as_ref(),
            };
            // Nothing else of the lane may be sent while a server works on an aborted attempt.
            let kept_until = matches!(walk.stop, Stop::Aborted).then(|| self.clock.now().plus_secs(ABORTED_LEASE));
            let released = self.table.release(&lease, done_to, walk.latest.as_ref(), kept_until).await;
            if kept_until.is_some() {
                // If the lane has changed or DynamoDB does not respond, the lease lasts until `lease_until`.
                return Ok(self.after(walk.stop));
            }
            latest = walk.latest.clone();
            if released? == Released::Yes {
                let next = self.table.waiting(lane, start.as_ref()).await?.0.into_iter().next();
                // A delivery that the position has passed would not be found again.
                let is_passed = |next: &Delivery| done_to.is_some_and(|done_to| next.row <= *done_to);
                let is_finished = match (&next, &walk.stop) {
                    // The doorbell rings again, and the next holder reads the whole lane.
                    (None, _) | (_, Stop::Interrupted | Stop::Aborted) => true,
                    (Some(next), Stop::Parked) => next.due.is_some() && !is_passed(next),
                    (Some(next), Stop::End | Stop::Blocked(_)) => !next.is_due(self.clock.now()) && !is_passed(next),
                };
                if is_finished {
                    return Ok(if next.is_none() { Rung::Done } else { self.after(walk.stop) });
                }
            }
            // The lane has changed. The position that this call has set may be after an added delivery.
            is_whole = true;
        }
        Ok(Rung::Again(Duration::ZERO))
    }

    /// Returns the doorbells of the delivery queue, or of the slow one.
    #[must_use]
    pub fn doorbells_of(&self, is_slow: bool) -> &Doorbells {
        if is_slow { &self.slow_doorbells } else { &self.doorbells }
    }

    /// Decides whether a doorbell rings again after a walk.
    fn after(&self, stop: Stop) -> Rung {
        match stop {
            Stop::End | Stop::Parked => Rung::Done,
            Stop::Interrupted => Rung::Again(Duration::ZERO),
            Stop::Aborted => Rung::Again(ABORTED_PAUSE),
            Stop::Blocked(due) => {
                let ms = due.as_millis().saturating_sub(self.clock.now().as_millis());
                // SQS counts whole seconds.
                let pause = Duration::from_secs(u64::try_from(ms).unwrap_or_default().div_ceil(1000));
                if pause <= MAX_HIDDEN { Rung::Again(pause) } else { Rung::Done }
            }
        }
    }

    /// Sends the deliveries after `start`, until one stops the lane. `latest` is the last one that was sent before.
    async fn walk(&self, job: &Job<'_>, start: Option<RowKey>, latest: Option<RowKey>) -> Result<Walk, StoreError> {
        let mut walk = Walk { done_to: start, latest, stop: Stop::End };
        'pages: loop {
            let (waiting, is_last) = self.table.waiting(job.lane, walk.done_to.as_ref()).await?;
            let read_until = self.clock.now().plus_secs(PAGE_AGE);
            for (n, delivery) in waiting.into_iter().enumerate() {
                if n > 0 && self.clock.now() > read_until {
                    continue 'pages;
                }
                let is_late = walk.latest.as_ref().is_some_and(|latest| *latest > delivery.row);
                match self.advance(job, &delivery, is_late).await? {
                    Attempted::Next { was_sent } => {
                        if was_sent && !is_late {
                            walk.latest = Some(delivery.row.clone());
                        }
                        walk.done_to = Some(delivery.row);
                    }
                    Attempted::Stop(stop) => return Ok(Walk { stop, ..walk }),
                }
            }
            if is_last {
                return Ok(walk);
            }
        }
    }

    /// Sends a delivery if its time has come and its destination is enabled.
    async fn advance(&self, job: &Job<'_>, delivery: &Delivery, is_late: bool) -> Result<Attempted, StoreError> {
        let now = self.clock.now();
        if let Some(due) = delivery.due.filter(|due| *due > now) {
            return Ok(Attempted::Stop(Stop::Blocked(due)));
        }
        if job.left() < ATTEMPT_LIMIT + SETTLE_LIMIT {
            return Ok(Attempted::Stop(Stop::Interrupted));
        }
        let name = job.lane.destination();
        let destination = match job.destinations.get(name) {
            Some(destination) if self.is_open(name, now).await? => destination,
            // Without a time, the sweep would not find it.
            _ if delivery.due.is_none() => {
                self.table.replace(delivery, &Delivery { due: Some(now), ..delivery.clone() }).await?;
                return Ok(Attempted::Stop(Stop::Parked));
            }
            _ => return Ok(Attempted::Stop(Stop::Parked)),
        };
        // The lease ends a few seconds later.
        match timeout_at(job.until, self.attempt(job, delivery, destination, is_late)).await {
            Ok(attempted) => attempted,
            Err(_) => Ok(Attempted::Stop(Stop::Interrupted)),
        }
    }

    /// Whether a destination gets messages now.
    async fn is_open(&self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        let state = self.state(name, now).await?;
        if state.disabled.is_some() {
            return Ok(false);
        }
        Ok(match state.breaker(now) {
            Breaker::Closed => true,
            Breaker::Open(_) => false,
            Breaker::HalfOpen => {
                self.states.forget(name);
                self.table.claim_probe(&state, now).await?
            }
        })
    }

    async fn state(&self, name: &str, now: Timestamp) -> Result<DestinationState, StoreError> {
        if let Some(state) = self.states.get(name, now) {
            return Ok(state);
        }
        // A read is cheaper than the update that creates the state of a new destination.
        let state = match self.table.destinations().await?.remove(name) {
            Some(state) => state,
            None => self.table.destination(name, now).await?,
        };
        self.states.set(state.clone(), now);
        Ok(state)
    }

    /// Reads the record of a delivery, sends it, and settles the delivery.
    async fn attempt(
        &self,
        job: &Job<'_>,
        before: &Delivery,
        destination: &Destination,
        is_late: bool,
    ) -> Result<Attempted, StoreError> {
        let (started, name) = (Instant::now(), job.lane.destination());
        // Read now, so that nothing is sent that was erased meanwhile.
        let content = self.store.content(&EventId::from_stored(before.event_key.clone()), self.clock.now()).await?;
        let dropped =
            |reason: &str| Delivery { state: State::Dropped, reason: Some(reason.to_owned()), ..before.clone() };
        let (after, failure) = match content {
            Content::Empty => (dropped(EXPIRED), None),
            // Nothing about the event is kept.
            Content::Erased(_) => {
                (Delivery { event_type: None, subject: None, response: None, ..dropped("erased") }, None)
            }
            Content::Damaged(damaged) => {
                let (failed, _) = self.failed(before, Failure::because(damaged.to_string()))?;
                (failed, None)
            }
            Content::Record(record) if before.is_unfiltered && !destination.filters.match_record(&record) => {
                (dropped(FILTERED), None)
            }
            // The read took too long. An attempt that ends with the invocation would leave the lane to the next sender
            // while the server works on it.
            Content::Record(_) if job.left() < ATTEMPT_LIMIT + SETTLE_LIMIT / 2 => {
                return Ok(Attempted::Stop(Stop::Interrupted));
            }
            Content::Record(record) => {
                let message = Message::in_format(&record, destination.format, destination.shape, is_late);
                let number = before.attempts.saturating_add(1);
                let attempt = Attempt { number, destination: name, at: self.clock.now() };
                let mut sending = pin!(self.sender.send(destination, &message, job.lane, attempt));
                let sent = match timeout(self.slow_limits.after, &mut sending).await {
                    Ok(sent) => sent,
                    Err(_) if self.count_slow(name).await && !job.is_slow => {
                        (job.report)(&Report { delivery: before, took: started.elapsed(), is_aborted: true });
                        return Ok(Attempted::Stop(Stop::Aborted));
                    }
                    Err(_) => sending.await,
                };
                match sent {
                    Ok(status) => {
                        let (state, status) = (State::Delivered, Some(status));
                        let (reason, response, due) = (None, None, None);
                        let after =
                            Delivery { state, attempts: number, status, reason, response, due, ..before.clone() };
                        (after, None)
                    }
                    Err(failure) => {
                        let (after, failure) = self.failed(before, failure)?;
                        (after, Some(failure))
                    }
                }
            }
        };
        let after = Delivery { at: self.clock.now(), ..after };
        let is_settled = self.table.replace(before, &after).await?;
        (job.report)(&Report { delivery: &after, took: started.elapsed(), is_aborted: false });
        let stop = self.count(name, &after, failure.as_ref()).await?;
        Ok(match (after.state, after.due) {
            // Another sender has changed the delivery. The next one reads it again.
            _ if !is_settled => Attempted::Stop(Stop::Interrupted),
            (State::Waiting, _) if stop => Attempted::Stop(Stop::Parked),
            (State::Waiting, Some(due)) => Attempted::Stop(Stop::Blocked(due)),
            (state, _) => Attempted::Next { was_sent: state == State::Delivered },
        })
    }

    /// Counts a slow attempt, unless its destination is known to be slow. Returns whether the destination is slow.
    async fn count_slow(&self, name: &str) -> bool {
        let now = self.clock.now();
        if self.states.get(name, now).is_some_and(|state| state.is_slow_for_long(now)) {
            return true;
        }
        let counted = self.table.count_slow(name, self.slow_limits.attempts, now).await;
        self.states.forget(name);
        // The attempt goes on if DynamoDB does not respond; settling the delivery reports that.
        counted.unwrap_or(false)
    }

    /// Returns a delivery after a failed attempt: it waits for the next one, or is dead.
    fn failed(&self, before: &Delivery, failure: Failure) -> Result<(Delivery, Failure), StoreError> {
        let unavailable = |_| StoreError::Transient { operation: "schedule", code: "no random numbers".to_owned() };
        let chance = self.random.nonce().map_err(unavailable)?;
        let (attempts, now) = (before.attempts.saturating_add(1), self.clock.now());
        let due = next_attempt(attempts, failure.retry_after, &chance, now).filter(|_| !failure.is_permanent);
        let state = if due.is_some() { State::Waiting } else { State::Dead };
        let (reason, status, response) = (Some(failure.reason.clone()), failure.status, failure.response.clone());
        Ok((Delivery { state, attempts, due, reason, status, response, ..before.clone() }, failure))
    }

    /// Counts the result of an attempt for the breaker. Returns whether the destination was disabled.
    async fn count(&self, name: &str, after: &Delivery, failure: Option<&Failure>) -> Result<bool, StoreError> {
        match failure {
            // The cached state is forgotten after the write: another lane may cache the previous state during it.
            Some(failure) if failure.is_gone => {
                self.table.disable(name, "the server responded with status 410").await?;
                self.states.forget(name);
                return Ok(true);
            }
            // The message is at fault, not the destination.
            Some(failure) if failure.is_permanent => {}
            Some(_) => {
                self.table.count_failure(name, self.clock.now()).await?;
                self.states.forget(name);
            }
            None if after.state == State::Delivered => {
                let state = self.state(name, self.clock.now()).await?;
                if state.failures > 0 || state.open_until.is_some() {
                    self.table.forget_failures(name).await?;
                    self.states.forget(name);
                }
            }
            None => {}
        }
        Ok(false)
    }
}

/// Why a doorbell or a sweep could not be handled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeliverError {
    /// DynamoDB did not respond.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQS did not accept a doorbell.
    #[error(transparent)]
    Queue(#[from] gatehouse_inbox::queue::QueueError),
}

/// The arguments of draining one lane.
struct Job<'a> {
    lane: &'a Lane,
    destinations: &'a Destinations,
    /// Whether the doorbell is on the slow delivery queue.
    is_slow: bool,
    until: Instant,
    report: &'a (dyn Fn(&Report<'_>) + Sync),
}

impl Job<'_> {
    /// Returns the time that is left.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl States {
    fn get(&self, name: &str, now: Timestamp) -> Option<DestinationState> {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, read_at) = states.get(name)?;
        (now < read_at.plus_secs(STATE_AGE)).then(|| state.clone())
    }

    fn set(&self, state: DestinationState, now: Timestamp) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(state.name.clone(), (state, now));
    }

    fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
