//! `Idempotency-Key`: a request that is sent again gets the turn that its key stands for.

use std::time::Duration;

use gatehouse_edge::Problem;
use gatehouse_edge::chat;
use gatehouse_inbox::store::Place;
use gatehouse_inbox::store::claim::{Claim, Completion, LockOutcome, LockRequest};
use gatehouse_inbox::{EventId, Fingerprint, Nonce, StoreError};
use gatehouse_payload::time::Timestamp;
use http::Request;
use tokio::time::timeout;

use crate::record::{self, Replay, Stored};
use crate::{Bytes, State};

/// The longest key, in bytes.
const LONGEST: usize = 200;
/// What reading a turn back may take.
const READ: Duration = Duration::from_secs(5);
/// How long a turn may be on the retry queue, in seconds.
const QUEUED: i64 = 14 * 86_400;

/// What a key stands for.
pub(crate) enum Key {
    /// This request, which nobody has answered yet.
    Taken(Claim),
    /// A recorded turn.
    Answered(Stored),
}

/// Why a key cannot be used, and the claim that may have been taken all the same.
pub(crate) struct Refused {
    pub(crate) problem: Problem,
    pub(crate) unconfirmed: Option<Claim>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused { problem, unconfirmed: None }
    }
}

/// Reads the request's key, where it has one. It may stand in quotes, as a string of structured fields does (RFC 8941).
pub(crate) fn header(request: &Request<Bytes>) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::WrongKey)?.trim();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_key = (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key && values.next().is_none() { Ok(Some(key.to_owned())) } else { Err(Problem::WrongKey) }
}

/// Claims a key until `lease`.
pub(crate) async fn take(
    state: &State,
    key: EventId,
    fingerprint: Fingerprint,
    nonce: Nonce,
    lease: Timestamp,
) -> Result<Key, Refused> {
    let wanted = LockRequest { key, fingerprint, nonce, until: lease };
    let (store, now) = (&state.inbox.store, || state.clock().now());
    let mut claimed = store.acquire(&wanted, now()).await.map_err(|error| unconfirmed(&wanted, &error))?;
    if let LockOutcome::Expired(claim) | LockOutcome::Finished(claim) = &claimed {
        let has_expired = matches!(claimed, LockOutcome::Expired(_));
        let mut replay = replay_of(state, claim).await?;
        if has_expired && replay == Replay::Missing {
            // The turn may have ended while DynamoDB was away: then it waits on the retry queue, or has just been
            // recorded.
            if is_anything_queued(state).await? {
                return Err(Problem::KeyInUse.into());
            }
            replay = replay_of(state, claim).await?;
        }
        match replay {
            Replay::Complete(stored) => {
                if has_expired && let Err(error) = store.settle(claim, Completion::Finished, now()).await {
                    tracing::warn!(error = error.to_string(), "the expired claim could not be settled as finished");
                }
                return Ok(Key::Answered(stored));
            }
            Replay::Partial => return Err(Problem::NotReplayable.into()),
            Replay::Failed | Replay::Missing => {
                if let Some(problem) = missing(state, claim).filter(|_| !has_expired) {
                    return Err(problem.into());
                }
                claimed =
                    store.take_over(&wanted, &claimed, now()).await.map_err(|error| unconfirmed(&wanted, &error))?;
            }
        }
    }
    match claimed {
        LockOutcome::Taken(claim) => Ok(Key::Taken(claim)),
        LockOutcome::OtherRequest => Err(Problem::KeyReused.into()),
        LockOutcome::Lost => Err(Problem::NotReplayable.into()),
        // The next request finds what has become of it.
        LockOutcome::Running | LockOutcome::Expired(_) | LockOutcome::Finished(_) => Err(Problem::KeyInUse.into()),
    }
}

/// Extends a claim's lease before the agent is asked.
pub(crate) async fn extend(state: &State, claim: &mut Claim, lease: Timestamp) -> Result<(), Problem> {
    match state.inbox.store.extend(claim, lease).await {
        Ok(true) => {
            claim.until = lease;
            Ok(())
        }
        // Its lease was over before, and another request has taken the key.
        Ok(false) => Err(Problem::KeyInUse),
        Err(error) => Err(unknown(&error)),
    }
}

/// Why a finished turn has no record; `None` where it has expired, and its key with it.
fn missing(state: &State, claim: &Claim) -> Option<Problem> {
    let age = state.clock().now().as_secs() - claim.until.as_secs();
    match () {
        () if age < QUEUED => Some(Problem::KeyInUse),
        () if age < state.inbox.store.ttl_seconds() => Some(Problem::NotReplayable),
        () => None,
    }
}

async fn is_anything_queued(state: &State) -> Result<bool, Problem> {
    state.inbox.is_anything_queued().await.map_err(|error| {
        tracing::error!(error = error.to_string(), "the retry queue cannot be looked at");
        Problem::KeyUnknown
    })
}

async fn replay_of(state: &State, claim: &Claim) -> Result<Replay, Problem> {
    let id = chat::event_id(&chat::turn_id(claim));
    match timeout(READ, state.inbox.store.look(&id, state.clock().now())).await {
        Ok(Ok(Place::Record(record))) => Ok(record::replay_of(&record.event.body)),
        Ok(Ok(Place::Empty)) => Ok(Replay::Missing),
        Ok(Ok(Place::Erased(_))) => Ok(Replay::Partial),
        Ok(Ok(Place::Damaged(damaged))) => Err(unknown(&damaged.into())),
        Ok(Err(error)) => Err(unknown(&error)),
        Err(_) => Err(Problem::KeyUnknown),
    }
}

/// A wanted whose answer did not come may have been taken: it is withdrawn by its nonce.
fn unconfirmed(wanted: &LockRequest, error: &StoreError) -> Refused {
    Refused { problem: unknown(error), unconfirmed: Some(wanted.unconfirmed()) }
}

fn unknown(error: &StoreError) -> Problem {
    tracing::error!(error = error.to_string(), "a claim cannot be looked up");
    Problem::KeyUnknown
}
