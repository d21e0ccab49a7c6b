//! `Idempotency-Key`: a request that is sent again is answered with the turn it has begun already.

use std::time::Duration;

use gatehouse_edge::Problem;
use gatehouse_edge::chat;
use gatehouse_inbox::store::claim::{Bid, Claim, Claimed};
use gatehouse_inbox::{EventId, Fingerprint, Nonce};
use gatehouse_payload::time::Timestamp;
use http::Request;
use tokio::time::timeout;

use crate::record::{self, Kept, Stored};
use crate::{Asked, Bytes, State};

/// The longest key, in bytes.
const LONGEST: usize = 200;
/// What reading a turn back may take.
const READ: Duration = Duration::from_secs(5);
/// What settling a claim may take.
const SETTLE: Duration = Duration::from_millis(1200);

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
    let mut claimed = store.claim(&bid, now()).await.map_err(|error| unknown(&error))?;
    if let Claimed::Lapsed(lapsed) = &claimed {
        // Whoever had it may have recorded the turn, and not lived to say so.
        match kept(state, lapsed).await? {
            Kept::Well(stored) => {
                settled(store.settle(lapsed, true, now()).await);
                return Ok(Key::Answered(stored));
            }
            Kept::InPart => return Err(Problem::NotReplayable),
            Kept::Badly | Kept::Not => {
                claimed = store.take_over(&bid, lapsed, now()).await.map_err(|error| unknown(&error))?;
            }
        }
    }
    match claimed {
        Claimed::Taken(claim) => Ok(Key::Taken(claim)),
        Claimed::OtherRequest => Err(Problem::KeyReused),
        Claimed::Running | Claimed::Lapsed(_) => Err(Problem::KeyInUse),
        Claimed::Finished(claim) => match kept(state, &claim).await? {
            Kept::Well(stored) => Ok(Key::Answered(stored)),
            Kept::InPart => Err(Problem::NotReplayable),
            // It is on the retry queue.
            Kept::Badly | Kept::Not => Err(Problem::KeyInUse),
        },
    }
}

/// Says what came of a request under its key, where it has one.
pub(crate) async fn settle(state: &State, asked: &Asked, finished: bool) {
    if let Some(claim) = &asked.claim {
        let settle = state.inbox.store.settle(claim, finished, state.clock().now());
        settled(timeout(SETTLE, settle).await.unwrap_or(Ok(false)));
    }
}

/// Without it the lease runs out, and whoever comes then finds the turn.
fn settled(settled: Result<bool, gatehouse_inbox::StoreError>) {
    if let Err(error) = settled {
        tracing::warn!(error = error.to_string(), "a claim is left to its lease");
    }
}

async fn kept(state: &State, claim: &Claim) -> Result<Kept, Problem> {
    let id = chat::event_id(&chat::turn_id(claim));
    let get = state.inbox.store.get(&id, state.clock().now());
    match timeout(READ, get).await {
        Ok(Ok(record)) => Ok(record.map_or(Kept::Not, |record| record::kept(&record.event.body))),
        Ok(Err(error)) => Err(unknown(&error)),
        Err(_) => Err(Problem::KeyUnknown),
    }
}

fn unknown(error: &gatehouse_inbox::StoreError) -> Problem {
    tracing::error!(error = error.to_string(), "a claim cannot be looked up");
    Problem::KeyUnknown
}
