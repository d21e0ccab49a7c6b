//! `Idempotency-Key`: a request that is sent again is answered with the turn it has begun already.

use std::time::Duration;

use gatehouse_edge::Problem;
use gatehouse_edge::chat;
use gatehouse_inbox::store::Place;
use gatehouse_inbox::store::claim::{Bid, Claim, Claimed, Settled};
use gatehouse_inbox::{EventId, Fingerprint, Nonce, StoreError};
use gatehouse_payload::time::Timestamp;
use http::Request;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::record::{self, Kept, Stored};
use crate::{Asked, Bytes, State};

/// The longest key, in bytes.
const LONGEST: usize = 200;
/// What reading a turn back may take.
const READ: Duration = Duration::from_secs(5);
/// Between two attempts at settling a claim.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a turn may be on the retry queue, in seconds.
const QUEUED: i64 = 14 * 86_400;

/// What a key stands for.
pub(crate) enum Key {
    /// Nothing yet: this request.
    Taken(Claim),
    /// A turn that was recorded.
    Answered(Stored),
}

/// The request's key, where it has one. It may stand in quotes, as a string of structured fields does (RFC 8941).
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
) -> Result<Key, Problem> {
    let bid = Bid { key, fingerprint, nonce, until: lease };
    let (store, now) = (&state.inbox.store, || state.clock().now());
    let mut claimed = match store.claim(&bid, now()).await {
        Ok(claimed) => claimed,
        Err(error) => return Err(withdrawn(state, &bid, &error).await),
    };
    if let Claimed::Lapsed(claim) | Claimed::Finished(claim) = &claimed {
        // Whoever had it may have recorded the turn, and not lived to say so.
        match kept(state, claim).await? {
            Kept::Well(stored) => {
                if matches!(claimed, Claimed::Lapsed(_)) {
                    settled(store.settle(claim, Settled::Finished, now()).await);
                }
                return Ok(Key::Answered(stored));
            }
            Kept::InPart => return Err(Problem::NotReplayable),
            Kept::Badly | Kept::Not => {
                let why = missing(state, claim).filter(|_| matches!(claimed, Claimed::Finished(_)));
                if let Some(problem) = why {
                    return Err(problem);
                }
                claimed = match store.take_over(&bid, &claimed, now()).await {
                    Ok(claimed) => claimed,
                    Err(error) => return Err(withdrawn(state, &bid, &error).await),
                };
            }
        }
    }
    match claimed {
        Claimed::Taken(claim) => Ok(Key::Taken(claim)),
        Claimed::OtherRequest => Err(Problem::KeyReused),
        Claimed::Lost => Err(Problem::NotReplayable),
        // The next request finds what has become of it.
        Claimed::Running | Claimed::Lapsed(_) | Claimed::Finished(_) => Err(Problem::KeyInUse),
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

/// Says what came of a request under its key, where it has one. Tries again for as long as it may: a key that is left to its
/// lease may have the agent asked twice.
pub(crate) async fn settle(state: &State, asked: &Asked, settled: Settled, until: Instant) {
    let Some(claim) = &asked.claim else { return };
    let trying = async {
        loop {
            match state.inbox.store.settle(claim, settled, state.clock().now()).await {
                Ok(_) => return Ok(true),
                Err(error) if Instant::now() + PAUSE >= until => return Err(error),
                Err(_) => sleep(PAUSE).await,
            }
        }
    };
    let late = |_| Err(StoreError::Transient { operation: "UpdateItem", code: "out of time".to_owned() });
    self::settled(timeout_at(until, trying).await.unwrap_or_else(late));
}

/// Without it the lease runs out, and whoever comes then finds the turn.
fn settled(settled: Result<bool, StoreError>) {
    if let Err(error) = settled {
        tracing::warn!(error = error.to_string(), "a claim is left to its lease");
    }
}

async fn kept(state: &State, claim: &Claim) -> Result<Kept, Problem> {
    let id = chat::event_id(&chat::turn_id(claim));
    match timeout(READ, state.inbox.store.look(&id, state.clock().now())).await {
        Ok(Ok(Place::Record(record))) => Ok(record::kept(&record.event.body)),
        Ok(Ok(Place::Empty)) => Ok(Kept::Not),
        Ok(Ok(Place::Erased(_))) => Ok(Kept::InPart),
        Ok(Ok(Place::Damaged(damaged))) => Err(unknown(&damaged.into())),
        Ok(Err(error)) => Err(unknown(&error)),
        Err(_) => Err(Problem::KeyUnknown),
    }
}

/// A bid whose answer did not come may have been taken: nobody is to wait for its lease.
async fn withdrawn(state: &State, bid: &Bid, error: &StoreError) -> Problem {
    settled(state.inbox.store.withdraw(bid, state.clock().now()).await);
    unknown(error)
}

fn unknown(error: &StoreError) -> Problem {
    tracing::error!(error = error.to_string(), "a claim cannot be looked up");
    Problem::KeyUnknown
}
