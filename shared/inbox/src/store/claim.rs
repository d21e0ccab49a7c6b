//! The claim on an idempotency key: a lock with a fence and a lease, and the completion of the work under it.
//!
//! Each key has its own item, whose fence grows with every acquisition. Only the holder of the newest fence can settle
//! the claim. An expired lease does not show whether the work was done; the next holder must find out.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use gatehouse_payload::time::Timestamp;

use super::item::{self, Damaged, Item, attribute, binary, bytes_of, is_expired, number, number_of, text, text_of};
use super::request::{ConditionalWrite, conditional_put, conditional_update};
use super::{Store, StoreError};
use gatehouse_payload::event::{EventId, Fingerprint, Nonce};

/// The attributes of a claim's item. The expressions below contain them too.
const FENCE: &str = "fence";
const LEASE_UNTIL: &str = "lease_until";
/// The attribute with the state of a claim, and its values.
const STATE: &str = "state";
const RUNNING: &str = "running";
const FINISHED: &str = "finished";
const FAILED: &str = "failed";
const LOST: &str = "lost";
/// Flags a claim whose lease was not extended yet, so no work was done under it.
const UNASKED: &str = "unasked";

/// How much longer a claim is stored than its record, in seconds. The record may wait in the queue for two weeks.
const EXTRA_TTL: i64 = 15 * 86_400;

/// Number of attempts while other requests change the claim concurrently.
const ATTEMPTS: usize = 4;

/// A request to acquire a key.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// `claim:…`, with the scope of the key.
    pub key: EventId,
    /// The fingerprint of the client's request. A key belongs to one request only.
    pub fingerprint: Fingerprint,
    /// The nonce of this acquisition.
    pub nonce: Nonce,
    /// The end of the lease.
    pub until: Timestamp,
}

impl LockRequest {
    /// Returns the claim that this request may hold although its response was lost. For [`Store::settle`] only.
    #[must_use]
    pub fn unconfirmed(&self) -> Claim {
        Claim { key: self.key.clone(), fence: 0, nonce: self.nonce, until: self.until }
    }
}

/// An acquired key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `claim:…`
    pub key: EventId,
    /// Greater than the fence of every earlier claim of the key.
    pub fence: u64,
    /// The nonce of its acquisition.
    pub nonce: Nonce,
    /// The end of its lease.
    pub until: Timestamp,
}

/// The completion of the work under a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The work is done. Later requests with the key get its result.
    Finished,
    /// The work failed. Another request can acquire the key.
    Failed,
    /// The work is done, but its result is lost. The key stays in use.
    Lost,
}

impl Completion {
    fn as_str(self) -> &'static str {
        match self {
            Completion::Finished => FINISHED,
            Completion::Failed => FAILED,
            Completion::Lost => LOST,
        }
    }
}

/// The outcome of a lock request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockOutcome {
    /// The caller holds the key.
    Acquired(Claim),
    /// Another holder has the key, and its lease has not expired.
    Running,
    /// The work was done, under this claim.
    Finished(Claim),
    /// The work was done, but its result is lost.
    Lost,
    /// The lease of this claim has expired. Check whether its holder did the work before you
    /// [take it over](Store::take_over).
    Expired(Claim),
    /// The key belongs to another request.
    OtherRequest,
}

impl Store {
    /// Acquires a key, if it is free.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The key may be acquired nevertheless, until the lease expires.
    pub async fn acquire(&self, request: &LockRequest, now: Timestamp) -> Result<LockOutcome, StoreError> {
        self.try_acquire(request, None, now).await
    }

    /// Takes over a key whose [lease](LockOutcome::Expired) or [result](LockOutcome::Finished) has expired. Returns the
    /// new outcome if another request was faster, or the holder has settled the claim in the meantime.
    ///
    /// # Errors
    /// Like [`acquire`](Self::acquire).
    pub async fn take_over(
        &self,
        request: &LockRequest,
        seen: &LockOutcome,
        now: Timestamp,
    ) -> Result<LockOutcome, StoreError> {
        match seen {
            LockOutcome::Expired(claim) => self.try_acquire(request, Some(Previous::of(claim, RUNNING)), now).await,
            LockOutcome::Finished(claim) => self.try_acquire(request, Some(Previous::of(claim, FINISHED)), now).await,
            other => Ok(other.clone()),
        }
    }

    /// Writes the completion of the work under a claim. Returns false if the caller no longer holds the claim.
    /// Identifies the claim by its nonce, so that it also works for an [unconfirmed](LockRequest::unconfirmed) claim.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The lease then expires.
    pub async fn settle(&self, claim: &Claim, completion: Completion, now: Timestamp) -> Result<bool, StoreError> {
        let update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(claim.key.as_str()))
            .update_expression("SET #state = :state, expires_at = :expires_at")
            // Every acquisition has its own nonce.
            .condition_expression("nonce = :nonce")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":state", text(completion.as_str()))
            .expression_attribute_values(":expires_at", self.claim_expires_at(now))
            .expression_attribute_values(":nonce", binary(claim.nonce.as_bytes()));
        Ok(conditional_update(update.send().await)?.is_done())
    }

    /// Extends the lease of a claim. Returns false if the caller no longer holds the claim. Must be called before the
    /// work begins.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The lease may be extended nevertheless.
    pub async fn extend(&self, claim: &Claim, until: Timestamp) -> Result<bool, StoreError> {
        let update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(claim.key.as_str()))
            .update_expression("SET lease_until = :until REMOVE unasked")
            .condition_expression("nonce = :nonce AND #state = :running")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":running", text(RUNNING))
            .expression_attribute_values(":until", text(&until.to_string()))
            .expression_attribute_values(":nonce", binary(claim.nonce.as_bytes()));
        Ok(conditional_update(update.send().await)?.is_done())
    }

    /// Writes the claim's item if there is none, or in place of `previous` if that is unchanged.
    async fn try_acquire(
        &self,
        request: &LockRequest,
        mut previous: Option<Previous>,
        now: Timestamp,
    ) -> Result<LockOutcome, StoreError> {
        for _ in 0..ATTEMPTS {
            let fence = next_fence(previous.as_ref().map(|previous| previous.claim.fence), now);
            let put = self
                .writer
                .put_item()
                .table_name(&self.table)
                .set_item(Some(self.claim_item(request, fence, now)))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let put = match &previous {
                None => put.condition_expression("attribute_not_exists(event_id)"),
                Some(previous) => put
                    .condition_expression(previous.condition())
                    .expression_attribute_names("#state", STATE)
                    .expression_attribute_values(":state", text(previous.state))
                    .expression_attribute_values(":nonce", binary(previous.claim.nonce.as_bytes())),
            };
            let existing = match conditional_put(put.send().await)? {
                ConditionalWrite::Done => {
                    let (key, nonce, until) = (request.key.clone(), request.nonce, request.until);
                    return Ok(LockOutcome::Acquired(Claim { key, fence, nonce, until }));
                }
                ConditionalWrite::ConditionFailed(existing) => existing,
            };
            // The previous item expired and was deleted in the meantime.
            let Some(existing) = existing else {
                previous = None;
                continue;
            };
            match examine(request, &existing, now)? {
                Examined::Decides(outcome) => return Ok(outcome),
                Examined::Replaceable(claim) => previous = Some(claim),
            }
        }
        // With so many concurrent requests, another one holds the key.
        Ok(LockOutcome::Running)
    }

    fn claim_expires_at(&self, now: Timestamp) -> AttributeValue {
        number(now.as_secs() + self.ttl_seconds + EXTRA_TTL)
    }

    fn claim_item(&self, request: &LockRequest, fence: u64, now: Timestamp) -> Item {
        HashMap::from([
            (attribute::EVENT_ID.to_owned(), text(request.key.as_str())),
            (attribute::V.to_owned(), number(item::FORMAT)),
            (FENCE.to_owned(), number(fence)),
            (attribute::NONCE.to_owned(), binary(request.nonce.as_bytes())),
            (attribute::FINGERPRINT.to_owned(), binary(request.fingerprint.as_bytes())),
            (LEASE_UNTIL.to_owned(), text(&request.until.to_string())),
            (STATE.to_owned(), text(RUNNING)),
            (UNASKED.to_owned(), AttributeValue::Bool(true)),
            (attribute::EXPIRES_AT.to_owned(), self.claim_expires_at(now)),
        ])
    }
}

/// Returns the fence after `last`, which is at least the time in seconds. A redriven dead letter may be recorded after
/// its claim has expired; a fence that restarted at 1 could give a new turn the same id.
fn next_fence(last: Option<u64>, now: Timestamp) -> u64 {
    let time = u64::try_from(now.as_secs()).unwrap_or_default();
    last.map_or(time, |last| time.max(last.saturating_add(1)))
}

/// A claim that is to be replaced, if it is unchanged.
struct Previous {
    claim: Claim,
    state: &'static str,
    is_unasked: bool,
}

impl Previous {
    fn of(claim: &Claim, state: &'static str) -> Self {
        Previous { claim: claim.clone(), state, is_unasked: false }
    }

    /// Returns a condition that is true while the claim is unchanged. An unasked claim changes when its holder extends
    /// it.
    fn condition(&self) -> &'static str {
        if self.is_unasked {
            "nonce = :nonce AND #state = :state AND attribute_exists(unasked)"
        } else {
            "nonce = :nonce AND #state = :state"
        }
    }
}

/// The effect of a key's existing item on a lock request.
enum Examined {
    /// It decides the outcome.
    Decides(LockOutcome),
    /// The claim has failed or expired, or its lease has expired before any work was done.
    Replaceable(Previous),
}

fn examine(request: &LockRequest, item: &Item, now: Timestamp) -> Result<Examined, StoreError> {
    let damaged = |name| StoreError::from(Damaged::Attribute(name));
    let claim = Claim {
        key: request.key.clone(),
        fence: number_of(item, FENCE).ok_or(damaged(FENCE))?,
        nonce: bytes_of(item, attribute::NONCE).and_then(Nonce::from_bytes).ok_or(damaged(attribute::NONCE))?,
        until: text_of(item, LEASE_UNTIL).and_then(Timestamp::parse).ok_or(damaged(LEASE_UNTIL))?,
    };
    let is_same_request = bytes_of(item, attribute::FINGERPRINT) == Some(request.fingerprint.as_bytes());
    let states = [RUNNING, FINISHED, FAILED, LOST];
    let state = text_of(item, STATE).and_then(|state| states.into_iter().find(|known| *known == state));
    let state = state.ok_or(damaged(STATE))?;
    let is_lease_expired = claim.until < now;
    Ok(if state == RUNNING && claim.nonce == request.nonce {
        // The response to an earlier attempt of the same request was lost.
        Examined::Decides(LockOutcome::Acquired(claim))
    } else if state == FAILED || is_expired(item, now) {
        Examined::Replaceable(Previous::of(&claim, state))
    } else if state == RUNNING && is_lease_expired && item.contains_key(UNASKED) {
        // A claim of the previous release lacks the attribute: its agent may have received the request.
        Examined::Replaceable(Previous { claim, state, is_unasked: true })
    } else if !is_same_request {
        Examined::Decides(LockOutcome::OtherRequest)
    } else if state == FINISHED {
        Examined::Decides(LockOutcome::Finished(claim))
    } else if state == LOST {
        Examined::Decides(LockOutcome::Lost)
    } else if is_lease_expired {
        Examined::Decides(LockOutcome::Expired(claim))
    } else {
        Examined::Decides(LockOutcome::Running)
    })
}
