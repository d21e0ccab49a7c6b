//! `Idempotency-Key`: a repeated request gets the recorded turn of its key, and is not forwarded again.
//!
//! This module reads the header, names the lock and the turn of a key, and decides whether the turn is replayed. The
//! lock itself is in [`gatehouse_inbox::store::claim`].

use std::time::Duration;

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::claim::{Claim, Completion, LockOutcome, LockRequest};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use http::Request;
use tokio::time::timeout;

use crate::problem::ChatProblem;
use crate::{Bytes, State};

mod replay;

pub(crate) use replay::RecordedTurn;
use replay::Replay;

/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 200;
/// Time limit for reading a recorded turn.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that the record of a turn may wait on the retry queue, in seconds.
const MAX_QUEUE_TIME: i64 = 14 * 86_400;

/// The result of acquiring a key.
pub(crate) enum Acquisition {
    /// The request holds the key, and has not been answered yet.
    Acquired(Claim),
    /// The request was answered before, by this turn.
    Recorded(RecordedTurn),
}

/// Why a key could not be acquired.
pub(crate) struct KeyRejection {
    pub(crate) problem: ChatProblem,
    /// A claim that may have been acquired although the lock request failed.
    pub(crate) unconfirmed: Option<Claim>,
}

impl From<ChatProblem> for KeyRejection {
    fn from(problem: ChatProblem) -> Self {
        KeyRejection { problem, unconfirmed: None }
    }
}

/// Returns the request's key, if it has one. The key may be quoted, like a string of structured fields (RFC 8941).
pub(crate) fn header(request: &Request<Bytes>) -> Result<Option<String>, ChatProblem> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| ChatProblem::WrongKey)?.trim();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_valid = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid && values.next().is_none() { Ok(Some(key.to_owned())) } else { Err(ChatProblem::WrongKey) }
}

/// Returns the key of an idempotency key's lock: `claim:<client>:<agent>:<key>`. Each pair of client and agent has its
/// own locks.
pub(crate) fn claim_key(client: &str, agent: &str, key: &str) -> EventId {
    EventId::new(&["claim"], &[client, agent, key])
}

/// Returns the id of the turn under a claim: `<client>:<agent>:<key>:<fence>`. Each attempt has its own fence.
pub(crate) fn turn_id(claim: &Claim) -> String {
    let key = claim.key.as_str();
    format!("{}:{}", key.strip_prefix("claim:").unwrap_or(key), claim.fence)
}

/// Acquires a key until `lease`, or returns the recorded turn of the key.
pub(crate) async fn acquire(
    state: &State,
    key: EventId,
    fingerprint: Fingerprint,
    nonce: Nonce,
    lease: Timestamp,
) -> Result<Acquisition, KeyRejection> {
    let lock_request = LockRequest { key, fingerprint, nonce, until: lease };
    let (store, now) = (&state.inbox.store, || state.clock().now());
    let reject = |error| unconfirmed(&lock_request, &error);
    let mut outcome = store.acquire(&lock_request, now()).await.map_err(reject)?;
    if let LockOutcome::Expired(claim) | LockOutcome::Finished(claim) = &outcome {
        let has_expired = matches!(outcome, LockOutcome::Expired(_));
        let mut replay = replay_of(state, claim).await?;
        if has_expired && replay == Replay::Missing {
            // The turn may have ended while DynamoDB was unavailable. Then its record is on the retry queue, or was
            // moved from the queue to the table after the first look.
            if is_anything_queued(state).await? {
                return Err(ChatProblem::KeyInUse.into());
            }
            replay = replay_of(state, claim).await?;
        }
        match replay {
            Replay::Complete(recorded) => {
                if has_expired && let Err(error) = store.settle(claim, Completion::Finished, now()).await {
                    tracing::warn!(error = error.to_string(), "the expired claim could not be settled as finished");
                }
                return Ok(Acquisition::Recorded(recorded));
            }
            Replay::Partial => return Err(ChatProblem::NotReplayable.into()),
            Replay::Failed | Replay::Missing => {
                if !has_expired && let Some(problem) = missing_record(state, claim) {
                    return Err(problem.into());
                }
                outcome = store.take_over(&lock_request, &outcome, now()).await.map_err(reject)?;
            }
        }
    }
    match outcome {
        LockOutcome::Acquired(claim) => Ok(Acquisition::Acquired(claim)),
        LockOutcome::OtherRequest => Err(ChatProblem::KeyReused.into()),
        LockOutcome::Lost => Err(ChatProblem::NotReplayable.into()),
        // Another request holds the key, or was faster to take it over.
        LockOutcome::Running | LockOutcome::Expired(_) | LockOutcome::Finished(_) => Err(ChatProblem::KeyInUse.into()),
    }
}

/// Extends a claim's lease, before the request is forwarded to the agent.
pub(crate) async fn extend(state: &State, claim: &mut Claim, lease: Timestamp) -> Result<(), ChatProblem> {
    match state.inbox.store.extend(claim, lease).await {
        Ok(true) => {
            claim.until = lease;
            Ok(())
        }
        // The lease had expired, and another request has acquired the key.
        Ok(false) => Err(ChatProblem::KeyInUse),
        Err(error) => Err(key_unknown(&error)),
    }
}

/// Returns the problem of a finished turn without a record. `None` if the record has expired, which frees the key.
fn missing_record(state: &State, claim: &Claim) -> Option<ChatProblem> {
    let age = state.clock().now().as_secs() - claim.until.as_secs();
    if age < MAX_QUEUE_TIME {
        Some(ChatProblem::KeyInUse)
    } else if age < state.inbox.store.ttl_seconds() {
        Some(ChatProblem::NotReplayable)
    } else {
        None
    }
}

async fn is_anything_queued(state: &State) -> Result<bool, ChatProblem> {
    state.inbox.is_anything_queued().await.map_err(|error| {
        tracing::error!(error = error.to_string(), "the length of the retry queue cannot be read");
        ChatProblem::KeyUnknown
    })
}

/// Reads the record of a claim's turn.
async fn replay_of(state: &State, claim: &Claim) -> Result<Replay, ChatProblem> {
    let turn_id = turn_id(claim);
    // An earlier release may have recorded it, before an upgrade or beside this release.
    for id in [gatehouse_ag_kit::event_id(&turn_id), gatehouse_ag_kit::former_event_id(&turn_id)] {
        return match timeout(READ_TIMEOUT, state.inbox.store.content(&id, state.clock().now())).await {
            Ok(Ok(Content::Empty)) => continue,
            Ok(Ok(Content::Record(record))) => Ok(Replay::of(&record.event.body)),
            Ok(Ok(Content::Erased(_))) => Ok(Replay::Partial),
            Ok(Ok(Content::Damaged(damaged))) => Err(key_unknown(&damaged.into())),
            Ok(Err(error)) => Err(key_unknown(&error)),
            Err(_) => Err(ChatProblem::KeyUnknown),
        };
    }
    Ok(Replay::Missing)
}

/// Returns the rejection after a failed lock request. The request may have acquired the key although it failed, so the
/// caller releases the claim, by its nonce.
fn unconfirmed(lock_request: &LockRequest, error: &StoreError) -> KeyRejection {
    KeyRejection { problem: key_unknown(error), unconfirmed: Some(lock_request.unconfirmed()) }
}

/// Logs an error. Returns [`ChatProblem::KeyUnknown`].
fn key_unknown(error: &StoreError) -> ChatProblem {
    tracing::error!(error = error.to_string(), "the state of an idempotency key cannot be read or written");
    ChatProblem::KeyUnknown
}

#[cfg(test)]
mod tests {
    use gatehouse_ag_kit::{AgKit, event_id};
    use gatehouse_payload::json::Document;
    use gatehouse_payload::{Fingerprint, Nonce};
    use gatehouse_vendor::{Proof, Source};

    use super::*;

    #[test]
    fn turn_id_holds_client_agent_key_and_fence() {
        let key = claim_key("web", "kit", "order 7:1");
        assert_eq!(key.as_str(), "claim:web:kit:order%207%3A1");
        assert_eq!(event_id("01997d").as_str(), "chat:01997d");
        let turn = Document::read(br#"{"turn_id":"web:kit:order%207%3A1:2"}"#).unwrap();
        let proof = Proof { by: "client:web".to_owned(), message_id: None };
        let (fingerprint, nonce) = (Fingerprint::of("{}"), Nonce::from_bytes(&[0; 16]).unwrap());
        assert_eq!(AgKit.identify(&turn, &proof, &fingerprint, &nonce).id.as_str(), "chat:web:kit:order%207%3A1:2");
    }
}
