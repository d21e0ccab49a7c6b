//! The claim on an idempotency key: a lock with a fence and a lease, and the completion of the work under it.
//!
//! Each key has an item of its own. Its fence grows with every acquisition. Only the holder of the newest fence settles
//! the claim; an earlier holder changes nothing. An expired lease says only that its holder is gone. The next holder
//! must find out whether the work was done.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use gatehouse_payload::time::Timestamp;

use super::item::{self, Damaged, Item, attribute, binary, bytes_of, is_expired, number, number_of, text, text_of};
use super::{Store, StoreError, condition_held, failure};
use crate::event::{EventId, Fingerprint, Nonce};

/// The attribute with the state of a claim, and its values.
const STATE: &str = "state";
const RUNNING: &str = "running";
const FINISHED: &str = "finished";
const FAILED: &str = "failed";
const LOST: &str = "lost";
/// The mark of a claim whose lease was not extended yet: nothing was done under it.
const UNASKED: &str = "unasked";

/// How much longer than a record its claim is kept, in seconds: a record may wait on the queue for two weeks.
const LONGER: i64 = 15 * 86_400;

/// Number of attempts while other requests change the claim at the same moment.
const ATTEMPTS: usize = 4;

/// A request to acquire a key.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// `claim:…`, with all that the key is scoped to.
    pub key: EventId,
    /// The fingerprint of the client's request. A key stands for one request only.
    pub fingerprint: Fingerprint,
    /// The nonce of this acquisition.
    pub nonce: Nonce,
    /// The end of the lease.
    pub until: Timestamp,
}

impl LockRequest {
    /// The claim that this request may have taken although its answer did not come. It is good for [`Store::settle`].
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
    /// The work is done, and the key stands for its result.
    Finished,
    /// The work failed, and the key is free.
    Failed,
    /// The work is done, and its result is lost. The key stays taken.
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
    Taken(Claim),
    /// Another request holds the key.
    Running,
    /// The work was done, under this claim.
    Finished(Claim),
    /// The work was done, and its result is lost.
    Lost,
    /// Its lease has expired. Before it is [taken over](Store::take_over), check whether its holder did the work.
    Expired(Claim),
    /// The key stands for another request.
    OtherRequest,
}

impl Store {
    /// Acquires a key, if it is free.
    ///
    /// # Errors
    /// When DynamoDB did not take it; it may have been taken all the same, until the lease ends.
    pub async fn acquire(&self, request: &LockRequest, now: Timestamp) -> Result<LockOutcome, StoreError> {
        self.try_acquire(request, None, now).await
    }

    /// Takes over a key whose lease has [expired](LockOutcome::Expired), or whose [result](LockOutcome::Finished) has.
    /// Another request may have been faster, and the holder may have settled the claim meanwhile.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub async fn take_over(
        &self,
        request: &LockRequest,
        seen: &LockOutcome,
        now: Timestamp,
    ) -> Result<LockOutcome, StoreError> {
        match seen {
            LockOutcome::Expired(claim) => self.try_acquire(request, Some(Over::of(claim, RUNNING)), now).await,
            LockOutcome::Finished(claim) => self.try_acquire(request, Some(Over::of(claim, FINISHED)), now).await,
            other => Ok(other.clone()),
        }
    }

    /// Writes what came of a claim, if it is still the caller's. Returns whether it was. A claim whose taking was not
    /// confirmed is settled by its nonce.
    ///
    /// # Errors
    /// When DynamoDB did not take it: then the lease runs out.
    pub async fn settle(&self, claim: &Claim, settled: Completion, now: Timestamp) -> Result<bool, StoreError> {
        let update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(claim.key.as_str()))
            .update_expression("SET #state = :state, expires_at = :expires_at")
            // Each request has its own.
            .condition_expression("nonce = :nonce")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":state", text(settled.as_str()))
            .expression_attribute_values(":expires_at", self.claim_expires_at(now))
            .expression_attribute_values(":nonce", binary(claim.nonce.as_bytes()));
        condition_held(update.send().await)
    }

    /// Extends the lease of a claim, if it is still the caller's, before anything is done under it. Returns whether it
    /// was.
    ///
    /// # Errors
    /// When DynamoDB did not take it; it may be extended all the same.
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
        condition_held(update.send().await)
    }

    /// Puts the claim's item where nothing stands, or in place of a claim that is `over`, in the state it was seen in.
    async fn try_acquire(
        &self,
        request: &LockRequest,
        mut over: Option<Over>,
        now: Timestamp,
    ) -> Result<LockOutcome, StoreError> {
        for _ in 0..ATTEMPTS {
            let fence = next_fence(over.as_ref().map(|over| over.claim.fence), now);
            let put = self
                .writer
                .put_item()
                .table_name(&self.table)
                .set_item(Some(self.claim_item(request, fence, now)))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let put = match &over {
                None => put.condition_expression("attribute_not_exists(event_id)"),
                Some(over) => put
                    .condition_expression(over.condition())
                    .expression_attribute_names("#state", STATE)
                    .expression_attribute_values(":state", text(over.state))
                    .expression_attribute_values(":nonce", binary(over.claim.nonce.as_bytes())),
            };
            let held = match put.send().await {
                Ok(_) => {
                    let (key, nonce, until) = (request.key.clone(), request.nonce, request.until);
                    return Ok(LockOutcome::Taken(Claim { key, fence, nonce, until }));
                }
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(held)) => held.item().cloned(),
                    _ => return Err(failure("PutItem", &error)),
                },
            };
            // It has gone meanwhile.
            let Some(held) = held else {
                over = None;
                continue;
            };
            match holds(request, &held, now)? {
                Held::By(claimed) => return Ok(claimed),
                Held::ByNobody(free) => over = Some(free),
            }
        }
        // So many request at once that somebody has it.
        Ok(LockOutcome::Running)
    }

    fn claim_expires_at(&self, now: Timestamp) -> AttributeValue {
        number(now.as_secs() + self.ttl_seconds + LONGER)
    }

    fn claim_item(&self, request: &LockRequest, fence: u64, now: Timestamp) -> Item {
        HashMap::from([
            (attribute::EVENT_ID.to_owned(), text(request.key.as_str())),
            ("v".to_owned(), number(item::FORMAT)),
            ("fence".to_owned(), number(fence)),
            (attribute::NONCE.to_owned(), binary(request.nonce.as_bytes())),
            (attribute::FINGERPRINT.to_owned(), binary(request.fingerprint.as_bytes())),
            ("lease_until".to_owned(), text(&request.until.to_string())),
            (STATE.to_owned(), text(RUNNING)),
            (UNASKED.to_owned(), AttributeValue::Bool(true)),
            (attribute::EXPIRES_AT.to_owned(), self.claim_expires_at(now)),
        ])
    }
}

/// The fence after `last`: at least the time in seconds. A record may still be written after its claim has expired,
/// when a dead letter is redriven. A fence that counted anew from 1 would meet it.
fn next_fence(last: Option<u64>, now: Timestamp) -> u64 {
    let time = u64::try_from(now.as_secs()).unwrap_or_default();
    last.map_or(time, |last| time.max(last.saturating_add(1)))
}

/// A claim that is to be replaced, as it was seen.
struct Over {
    claim: Claim,
    state: &'static str,
    is_unasked: bool,
}

impl Over {
    fn of(claim: &Claim, state: &'static str) -> Self {
        Over { claim: claim.clone(), state, is_unasked: false }
    }

    /// Holds while nothing has become of the claim. The holder of an unasked one may still extend it.
    fn condition(&self) -> &'static str {
        if self.is_unasked {
            "nonce = :nonce AND #state = :state AND attribute_exists(unasked)"
        } else {
            "nonce = :nonce AND #state = :state"
        }
    }
}

enum Held {
    By(LockOutcome),
    /// The claim has failed or expired, or its lease is over and nothing was done under it.
    ByNobody(Over),
}

/// What the item that stands in a request's place means for it.
fn holds(request: &LockRequest, held: &Item, now: Timestamp) -> Result<Held, StoreError> {
    let damaged = |name| StoreError::from(Damaged::Attribute(name));
    let claim = Claim {
        key: request.key.clone(),
        fence: number_of(held, "fence").ok_or(damaged("fence"))?,
        nonce: bytes_of(held, attribute::NONCE).and_then(Nonce::from_bytes).ok_or(damaged(attribute::NONCE))?,
        until: text_of(held, "lease_until").and_then(Timestamp::parse).ok_or(damaged("lease_until"))?,
    };
    let same = bytes_of(held, attribute::FINGERPRINT) == Some(request.fingerprint.as_bytes());
    let states = [RUNNING, FINISHED, FAILED, LOST];
    let state = text_of(held, STATE).and_then(|state| states.into_iter().find(|known| *known == state));
    let state = state.ok_or(damaged(STATE))?;
    Ok(match state {
        // The answer to an earlier attempt of this very request got lost.
        RUNNING if claim.nonce == request.nonce => Held::By(LockOutcome::Taken(claim)),
        _ if state == FAILED || is_expired(held, now) => Held::ByNobody(Over::of(&claim, state)),
        // Claims of the release before lack the mark: their agents may have been asked.
        RUNNING if held.contains_key(UNASKED) && claim.until < now => {
            Held::ByNobody(Over { claim, state, is_unasked: true })
        }
        _ if !same => Held::By(LockOutcome::OtherRequest),
        FINISHED => Held::By(LockOutcome::Finished(claim)),
        LOST => Held::By(LockOutcome::Lost),
        _ if claim.until >= now => Held::By(LockOutcome::Running),
        _ => Held::By(LockOutcome::Expired(claim)),
    })
}
