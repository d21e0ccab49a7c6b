//! `Idempotency-Key`: a request that is sent again gets the recorded turn of its key.

use std::time::Duration;

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::Place;
use gatehouse_inbox::store::claim::{Claim, Completion, LockOutcome, LockRequest};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_receiver::Problem;
use http::Request;
use tokio::time::timeout;

use crate::record::{self, RecordedTurn, Replay};
use crate::{Bytes, State};

/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 200;
/// Time limit for reading a recorded turn.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that the record of a turn may wait on the retry queue, in seconds.
const MAX_QUEUE_TIME: i64 = 14 * 86_400;

/// The result of acquiring a key.
pub(crate) enum Key {
    /// The request holds the key, and has not been answered yet.
    Acquired(Claim),
    /// The request was answered before, by this turn.
    Recorded(RecordedTurn),
}

/// Why a key could not be acquired.
pub(crate) struct KeyRejection {
    pub(crate) problem: Problem,
    /// The claim that the failed request may have acquired all the same.
    pub(crate) unconfirmed: Option<Claim>,
}

impl From<Problem> for KeyRejection {
    fn from(problem: Problem) -> Self {
        KeyRejection { problem, unconfirmed: None }
    }
}

/// Returns the request's key, if it has one. The key may be quoted, like a string of structured fields (RFC 8941).
pub(crate) fn header(request: &Request<Bytes>) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::WrongKey)?.trim();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_valid = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid && values.next().is_none() { Ok(Some(key.to_owned())) } else { Err(Problem::WrongKey) }
}

/// Acquires a key until `lease`, or returns the recorded turn of the key.
pub(crate) async fn acquire(
    state: &State,
    key: EventId,
    fingerprint: Fingerprint,
    nonce: Nonce,
    lease: Timestamp,
) -> Result<Key, KeyRejection> {
    let lock_request = LockRequest { key, fingerprint, nonce, until: lease };
    let (store, now) = (&state.inbox.store, || state.clock().now());
    let reject = |error| unconfirmed(&lock_request, &error);
    let mut outcome = store.acquire(&lock_request, now()).await.map_err(reject)?;
    if let LockOutcome::Expired(claim) | LockOutcome::Finished(claim) = &outcome {
        let has_expired = matches!(outcome, LockOutcome::Expired(_));
        let mut replay = replay_of(state, claim).await?;
        if has_expired && replay == Replay::Missing {
            // The turn may have ended while DynamoDB was unavailable. Then its record is on the retry queue, or has
            // just been taken from it and written.
            if is_anything_queued(state).await? {
                return Err(Problem::KeyInUse.into());
            }
            replay = replay_of(state, claim).await?;
        }
        match replay {
            Replay::Complete(recorded) => {
                if has_expired && let Err(error) = store.settle(claim, Completion::Finished, now()).await {
                    tracing::warn!(error = error.to_string(), "the expired claim could not be settled as finished");
                }
                return Ok(Key::Recorded(recorded));
            }
            Replay::Partial => return Err(Problem::NotReplayable.into()),
            Replay::Failed | Replay::Missing => {
                if !has_expired && let Some(problem) = missing_record(state, claim) {
                    return Err(problem.into());
                }
                outcome = store.take_over(&lock_request, &outcome, now()).await.map_err(reject)?;
            }
        }
    }
    match outcome {
        LockOutcome::Taken(claim) => Ok(Key::Acquired(claim)),
        LockOutcome::OtherRequest => Err(Problem::KeyReused.into()),
        LockOutcome::Lost => Err(Problem::NotReplayable.into()),
        // Another request holds the key, or was faster to take it over.
        LockOutcome::Running | LockOutcome::Expired(_) | LockOutcome::Finished(_) => Err(Problem::KeyInUse.into()),
    }
}

/// Extends a claim's lease, before the request is forwarded to the agent.
pub(crate) async fn extend(state: &State, claim: &mut Claim, lease: Timestamp) -> Result<(), Problem> {
    match state.inbox.store.extend(claim, lease).await {
        Ok(true) => {
            claim.until = lease;
            Ok(())
        }
        // The lease had expired, and another request has acquired the key.
        Ok(false) => Err(Problem::KeyInUse),
        Err(error) => Err(key_unknown(&error)),
    }
}

/// Returns the problem of a finished turn without a record; `None` if the record has expired, and the key with it.
fn missing_record(state: &State, claim: &Claim) -> Option<Problem> {
    let age = state.clock().now().as_secs() - claim.until.as_secs();
    if age < MAX_QUEUE_TIME {
        Some(Problem::KeyInUse)
    } else if age < state.inbox.store.ttl_seconds() {
        Some(Problem::NotReplayable)
    } else {
        None
    }
}

async fn is_anything_queued(state: &State) -> Result<bool, Problem> {
    state.inbox.is_anything_queued().await.map_err(|error| {
        tracing::error!(error = error.to_string(), "the length of the retry queue cannot be read");
        Problem::KeyUnknown
    })
}

/// Reads the record of a claim's turn.
async fn replay_of(state: &State, claim: &Claim) -> Result<Replay, Problem> {
    let id = gatehouse_ag_kit::event_id(&crate::ids::turn_id(claim));
    match timeout(READ_TIMEOUT, state.inbox.store.look(&id, state.clock().now())).await {
        Ok(Ok(Place::Record(record))) => Ok(record::replay_of(&record.event.body)),
        Ok(Ok(Place::Empty)) => Ok(Replay::Missing),
        Ok(Ok(Place::Erased(_))) => Ok(Replay::Partial),
        Ok(Ok(Place::Damaged(damaged))) => Err(key_unknown(&damaged.into())),
        Ok(Err(error)) => Err(key_unknown(&error)),
        Err(_) => Err(Problem::KeyUnknown),
    }
}

/// The rejection after a failed lock request. The request may have acquired the key all the same, so its claim is
/// released by its nonce.
fn unconfirmed(lock_request: &LockRequest, error: &StoreError) -> KeyRejection {
    KeyRejection { problem: key_unknown(error), unconfirmed: Some(lock_request.unconfirmed()) }
}

/// Logs an error. Returns [`Problem::KeyUnknown`].
fn key_unknown(error: &StoreError) -> Problem {
    tracing::error!(error = error.to_string(), "the state of an idempotency key cannot be read or written");
    Problem::KeyUnknown
}
