//! The claim on an idempotency key: who runs what it stands for, until when, and what came of it.
//!
//! An item of its own holds a fence, which grows whenever the key is taken, and a lease. Whoever holds the fence
//! settles the claim; one that was overtaken changes nothing. A lease that has run out tells only that its holder is
//! gone. The next holder must find out whether the work was done.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use gatehouse_payload::time::Timestamp;

use super::item::{self, Damaged, Item, attribute, binary, bytes_of, is_expired, number, number_of, text, text_of};
use super::{Store, StoreError, failure};
use crate::event::{EventId, Fingerprint, Nonce};

/// What a claim's item says of it.
const STATE: &str = "state";
const RUNNING: &str = "running";
const FINISHED: &str = "finished";
const FAILED: &str = "failed";
const LOST: &str = "lost";
/// Stands in a claim's item until its lease is extended: nothing was done under it yet.
const UNASKED: &str = "unasked";

/// How much longer than a record its claim is kept, in seconds: a record may wait on the queue for two weeks.
const LONGER: i64 = 15 * 86_400;

/// How often a bid is made anew because others bid at the same moment.
const BIDS: usize = 4;

/// A request for a key.
#[derive(Debug, Clone)]
pub struct Bid {
    /// `claim:…`, with all that the key is scoped to.
    pub key: EventId,
    /// What is asked for: the same key stands for one request only.
    pub fingerprint: Fingerprint,
    /// This bid.
    pub nonce: Nonce,
    /// Until when nobody else may run it.
    pub until: Timestamp,
}

impl Bid {
    /// The claim that this bid may have taken although its answer did not come. It is good for [`Store::settle`].
    #[must_use]
    pub fn unconfirmed(&self) -> Claim {
        Claim { key: self.key.clone(), fence: 0, nonce: self.nonce, until: self.until }
    }
}

/// A key that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `claim:…`
    pub key: EventId,
    /// Greater than the fence of every earlier claim of the key.
    pub fence: u64,
    /// Whose it is.
    pub nonce: Nonce,
    /// When its lease ends.
    pub until: Timestamp,
}

/// What came of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The key stands for what was done.
    Finished,
    /// The key is free.
    Failed,
    /// It was done, and nothing is left of it: the key stands for that.
    Lost,
}

impl Settled {
    fn as_str(self) -> &'static str {
        match self {
            Settled::Finished => FINISHED,
            Settled::Failed => FAILED,
            Settled::Lost => LOST,
        }
    }
}

/// What became of a bid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is the bidder's now. Whoever had it before has failed, or never was.
    Taken(Claim),
    /// Somebody runs it.
    Running,
    /// It was run to a good end, under this claim.
    Finished(Claim),
    /// It was run to a good end, of which nothing is left.
    Lost,
    /// Its lease has expired. Before it is [taken over](Store::take_over), check whether its holder got to the
    /// end.
    Lapsed(Claim),
    /// The key stands for another request.
    OtherRequest,
}

impl Store {
    /// Bids for a key.
    ///
    /// # Errors
    /// When DynamoDB did not take it; it may have been taken all the same, until the lease ends.
    pub async fn claim(&self, bid: &Bid, now: Timestamp) -> Result<Claimed, StoreError> {
        self.bid(bid, None, now).await
    }

    /// Takes a key that [lapsed](Claimed::Lapsed), or one whose [finish](Claimed::Finished) has expired, unless
    /// somebody else was faster or has said meanwhile what came of it.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub async fn take_over(&self, bid: &Bid, seen: &Claimed, now: Timestamp) -> Result<Claimed, StoreError> {
        match seen {
            Claimed::Lapsed(claim) => self.bid(bid, Some(Over::of(claim, RUNNING)), now).await,
            Claimed::Finished(claim) => self.bid(bid, Some(Over::of(claim, FINISHED)), now).await,
            other => Ok(other.clone()),
        }
    }

    /// Writes what came of a claim, if it is still the caller's. Returns whether it was. A claim whose taking was not
    /// confirmed is settled by its nonce.
    ///
    /// # Errors
    /// When DynamoDB did not take it: then the lease runs out.
    pub async fn settle(&self, claim: &Claim, settled: Settled, now: Timestamp) -> Result<bool, StoreError> {
        let update = self
            .writer
            .update_item()
            .table_name(&self.table)
            .key(attribute::EVENT_ID, text(claim.key.as_str()))
            .update_expression("SET #state = :state, expires_at = :expires_at")
            // Each bid has its own.
            .condition_expression("nonce = :nonce")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":state", text(settled.as_str()))
            .expression_attribute_values(":expires_at", self.claim_expires_at(now))
            .expression_attribute_values(":nonce", binary(claim.nonce.as_bytes()));
        is_updated(update.send().await)
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
        is_updated(update.send().await)
    }

    /// Puts the claim's item where nothing stands, or in place of a claim that is `over`, in the state it was seen in.
    async fn bid(&self, bid: &Bid, mut over: Option<Over>, now: Timestamp) -> Result<Claimed, StoreError> {
        for _ in 0..BIDS {
            let fence = next_fence(over.as_ref().map(|over| over.claim.fence), now);
            let put = self
                .writer
                .put_item()
                .table_name(&self.table)
                .set_item(Some(self.claim_item(bid, fence, now)))
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
                    let (key, nonce, until) = (bid.key.clone(), bid.nonce, bid.until);
                    return Ok(Claimed::Taken(Claim { key, fence, nonce, until }));
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
            match holds(bid, &held, now)? {
                Held::By(claimed) => return Ok(claimed),
                Held::ByNobody(free) => over = Some(free),
            }
        }
        // So many bid at once that somebody has it.
        Ok(Claimed::Running)
    }

    fn claim_expires_at(&self, now: Timestamp) -> AttributeValue {
        number(now.as_secs() + self.ttl_seconds + LONGER)
    }

    fn claim_item(&self, bid: &Bid, fence: u64, now: Timestamp) -> Item {
        HashMap::from([
            (attribute::EVENT_ID.to_owned(), text(bid.key.as_str())),
            ("v".to_owned(), number(item::FORMAT)),
            ("fence".to_owned(), number(fence)),
            (attribute::NONCE.to_owned(), binary(bid.nonce.as_bytes())),
            (attribute::FINGERPRINT.to_owned(), binary(bid.fingerprint.as_bytes())),
            ("lease_until".to_owned(), text(&bid.until.to_string())),
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

/// Whether an update's condition held.
fn is_updated<T, R>(updated: Result<T, SdkError<UpdateItemError, R>>) -> Result<bool, StoreError>
where
    R: std::fmt::Debug,
{
    match updated {
        Ok(_) => Ok(true),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
            _ => Err(failure("UpdateItem", &error)),
        },
    }
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
    By(Claimed),
    /// The claim has failed or expired, or its lease is over and nothing was done under it.
    ByNobody(Over),
}

/// What the item that stands in a bid's place means for it.
fn holds(bid: &Bid, held: &Item, now: Timestamp) -> Result<Held, StoreError> {
    let damaged = |name| StoreError::from(Damaged::Attribute(name));
    let claim = Claim {
        key: bid.key.clone(),
        fence: number_of(held, "fence").ok_or(damaged("fence"))?,
        nonce: bytes_of(held, attribute::NONCE).and_then(Nonce::from_bytes).ok_or(damaged(attribute::NONCE))?,
        until: text_of(held, "lease_until").and_then(Timestamp::parse).ok_or(damaged("lease_until"))?,
    };
    let same = bytes_of(held, attribute::FINGERPRINT) == Some(bid.fingerprint.as_bytes());
    let states = [RUNNING, FINISHED, FAILED, LOST];
    let state = text_of(held, STATE).and_then(|state| states.into_iter().find(|known| *known == state));
    let state = state.ok_or(damaged(STATE))?;
    Ok(match state {
        // The answer to an earlier attempt of this very bid got lost.
        RUNNING if claim.nonce == bid.nonce => Held::By(Claimed::Taken(claim)),
        _ if state == FAILED || is_expired(held, now) => Held::ByNobody(Over::of(&claim, state)),
        // Claims of the release before lack the mark: their agents may have been asked.
        RUNNING if held.contains_key(UNASKED) && claim.until < now => {
            Held::ByNobody(Over { claim, state, is_unasked: true })
        }
        _ if !same => Held::By(Claimed::OtherRequest),
        FINISHED => Held::By(Claimed::Finished(claim)),
        LOST => Held::By(Claimed::Lost),
        _ if claim.until >= now => Held::By(Claimed::Running),
        _ => Held::By(Claimed::Lapsed(claim)),
    })
}
