//! Claims on questions: at most one copy of an event asks a service.
//!
//! Each event and service has its own item, `ask:<event id>:<service>`. The first copy of the event that writes it asks
//! the service. The claim is not completed: the event's record, which has the answer, shows that the question was
//! answered. If there is no record when the lease has expired, another copy takes the claim over and asks again.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use gatehouse_payload::Outcome;
use gatehouse_payload::event::{Event, Nonce};
use gatehouse_payload::time::Timestamp;

use super::item::{self, Existing, Item, attribute, binary, bytes_of, conflict_key, is_expired, number, text, text_of};
use super::request::{ConditionalWrite, conditional_put};
use super::{Store, StoreError};

const LEASE_UNTIL: &str = "lease_until";
/// How long a claim is stored, in seconds. Vendors resend an event within this time.
const TTL: i64 = 86_400;

/// A request to acquire the claim on a question.
#[derive(Debug, Clone, Copy)]
pub struct AskRequest<'a> {
    /// The event.
    pub event: &'a Event,
    /// The key of the event's record: the event's id, or [`conflict_id`] after [`AskOutcome::OtherDelivery`].
    pub record: &'a str,
    /// The service.
    pub service: &'a str,
    /// The end of the lease.
    pub until: Timestamp,
}

/// The outcome of an [`AskRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskOutcome {
    /// The caller asks the service.
    Acquired,
    /// Another copy has the claim. Its record shows the answer. If there is no record after the lease has expired,
    /// [take the claim over](Store::take_over_ask).
    Taken(AskClaim),
    /// The claim belongs to a delivery with the same event id and other content.
    OtherDelivery,
}

/// The claim of another copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskClaim {
    nonce: Option<Nonce>,
    /// The end of its lease.
    pub until: Timestamp,
}

/// The record of another copy of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierCopy {
    /// Its reply.
    pub answer: Option<String>,
    /// The outcome of this delivery: a duplicate, or a conflict that was recorded before. `None` if only
    /// [`Store::record`] can decide it.
    pub outcome: Option<Outcome>,
}

/// Returns the key of a claim.
#[must_use]
pub fn ask_key(event_id: &str, service: &str) -> String {
    format!("ask:{event_id}:{service}")
}

/// Returns the key of the record of a conflicting delivery. Its claim has the same key.
#[must_use]
pub fn conflict_id(event: &Event) -> String {
    conflict_key(&event.fingerprint, &event.id)
}

impl Store {
    /// Claims a question.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The caller may have the claim nevertheless, until the lease expires.
    pub async fn claim_ask(&self, request: &AskRequest<'_>, now: Timestamp) -> Result<AskOutcome, StoreError> {
        self.put_ask(request, None, now).await
    }

    /// Takes over a claim whose lease has expired. Returns the new outcome if another copy was faster.
    ///
    /// # Errors
    /// Like [`claim_ask`](Self::claim_ask).
    pub async fn take_over_ask(
        &self,
        request: &AskRequest<'_>,
        seen: &AskClaim,
        now: Timestamp,
    ) -> Result<AskOutcome, StoreError> {
        self.put_ask(request, seen.nonce, now).await
    }

    /// Returns the record of another copy of an event, under the key `record`; `None` if there is no record yet.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn earlier_copy(
        &self,
        event: &Event,
        record: &str,
        now: Timestamp,
    ) -> Result<Option<EarlierCopy>, StoreError> {
        let item = self.get_item(&self.writer, record).await?.filter(|item| !is_expired(item, now));
        Ok(item.map(|item| {
            let existing = Existing::of(&item);
            let is_same = existing.fingerprint == Some(event.fingerprint) || event.is_one_question;
            let outcome = match existing.erased {
                None if record == event.id.as_str() && is_same => Some(Outcome::Duplicate),
                None if record == conflict_id(event) => Some(Outcome::Conflict),
                None | Some(_) => None,
            };
            EarlierCopy { answer: existing.answer, outcome }
        }))
    }

    async fn put_ask(
        &self,
        request: &AskRequest<'_>,
        previous: Option<Nonce>,
        now: Timestamp,
    ) -> Result<AskOutcome, StoreError> {
        let item: Item = HashMap::from([
            (attribute::EVENT_ID.to_owned(), text(&ask_key(request.record, request.service))),
            (attribute::V.to_owned(), number(item::FORMAT)),
            (attribute::NONCE.to_owned(), binary(request.event.nonce.as_bytes())),
            (attribute::FINGERPRINT.to_owned(), binary(request.event.fingerprint.as_bytes())),
            (LEASE_UNTIL.to_owned(), text(&request.until.to_string())),
            (attribute::EXPIRES_AT.to_owned(), number(now.as_secs() + TTL)),
        ]);
        let put = self
            .writer
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .expression_attribute_values(":now", number(now.as_secs()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        const FREE: &str = "attribute_not_exists(event_id) OR expires_at < :now";
        let put = match previous {
            None => put.condition_expression(FREE),
            Some(nonce) => put
                .condition_expression(format!("{FREE} OR nonce = :nonce"))
                .expression_attribute_values(":nonce", binary(nonce.as_bytes())),
        };
        let ConditionalWrite::ConditionFailed(existing) = conditional_put(put.send().await)? else {
            return Ok(AskOutcome::Acquired);
        };
        let existing = existing.unwrap_or_default();
        let nonce = bytes_of(&existing, attribute::NONCE).and_then(Nonce::from_bytes);
        if nonce == Some(request.event.nonce) {
            // The response to an earlier attempt of the same request was lost.
            return Ok(AskOutcome::Acquired);
        }
        let is_same = bytes_of(&existing, attribute::FINGERPRINT) == Some(request.event.fingerprint.as_bytes());
        if !is_same && !request.event.is_one_question {
            return Ok(AskOutcome::OtherDelivery);
        }
        // A claim without a readable lease can be taken over at once.
        let until = text_of(&existing, LEASE_UNTIL).and_then(Timestamp::parse).unwrap_or(Timestamp::clamped(0));
        Ok(AskOutcome::Taken(AskClaim { nonce, until }))
    }

    /// Deletes the claims on the questions about the event in `head`.
    pub(super) async fn delete_asks(&self, head: &Item) -> Result<(), StoreError> {
        let id = text_of(head, attribute::EVENT_ID).unwrap_or_default();
        for service in text_of(head, attribute::ASKED).into_iter().flat_map(|asked| asked.split(',')) {
            self.delete(&ask_key(id, service)).await?;
        }
        Ok(())
    }
}
