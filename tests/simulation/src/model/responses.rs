//! The responses to vendors.

use http::Response;

use super::stored::{Entry, hash};
use super::{Checked, Model, Violated};
use crate::keys::Keys;
use crate::network::Caller;
use crate::plan::{Deliver, Service, Signer};
use crate::senders;
use crate::world::{State, TABLE};

/// The time after which no instance may accept a secret that was removed, in milliseconds: 15 minutes, and the time
/// between two loads.
const FORGOTTEN_AFTER: i64 = 16 * 60_000;

/// A delivery that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// What is delivered.
    pub deliver: Deliver,
    /// When the last secret of its vendor was removed, in milliseconds since 1970.
    pub removed_at: Option<i64>,
    /// The instance that handled it.
    pub instance: usize,
    /// When the instance began to handle it, in milliseconds since 1970.
    pub began_at: i64,
    /// Whether no fault hit the instance while it handled the delivery.
    pub is_undisturbed: bool,
}

impl Model {
    /// Checks the response to a delivery.
    fn check_response(&mut self, delivered: &Delivered, response: &Response<String>, keys: &Keys, now: i64) -> Checked {
        let Deliver { event, variant, .. } = delivered.deliver;
        if response.body().contains("PRIVATE") || keys.are_shown_in(response.body()) {
            return Err(("I8", format!("the response to event {event} shows content")));
        }
        if !self.check_status(delivered, response, now)? {
            return Ok(());
        }
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (id, outcome) = (header("gatehouse-event-id").to_owned(), header("gatehouse-outcome"));
        if *self.ids.entry(id.clone()).or_insert(event) != event {
            return Err(("identity", format!("{id} is the id of two events, {} and {event}", self.ids[&id])));
        }
        let content = senders::marker(event, variant);
        match outcome {
            "recorded" | "duplicate" | "conflict" | "queued" => {
                if !self.is_durable(&id, &content, now) {
                    return Err(("I1", format!("{id} ({content}) is {outcome}, but in neither table nor queue")));
                }
                self.check_outcome(&id, &content, outcome, now)?;
                if outcome != "queued" && self.has_been_erased(&id, event, delivered.began_at, now) {
                    return Err(("erasure", format!("{id} is called {outcome}, but was erased before")));
                }
                self.accepted.insert((id.clone(), content.clone()));
            }
            "erased" if self.is_erased(&id, &content, now) => {
                let own = Caller::Instance(delivered.instance);
                let is_own = matches!(self.table.get(&id), Some(Entry::Record { writer, .. }) if *writer == own);
                if is_own && self.cost.has_written(delivered.instance, &id) {
                    return Err(("erasure", format!("{id} is called erased, and its record is kept")));
                }
            }
            "unrecorded" if self.is_question(&id) => {}
            _ => return Err(("I1", format!("the outcome of {id} is {outcome}"))),
        }
        // The holder of the claim may have died, so that the copy waits in vain, or has no time left to record it.
        let is_excused = self.asks.is_claimed_by_another(&id, delivered.instance);
        if delivered.is_undisturbed && !is_excused && ["queued", "unrecorded"].contains(&outcome) {
            return Err(("I1", format!("{id} is {outcome} although nothing has failed")));
        }
        let spec = self.plan.events[event];
        let is_due = outcome == "recorded" && spec.has_action() && !spec.is_undated;
        if delivered.is_undisturbed && is_due && !self.actions.contains_key(&format!("/control/{content}")) {
            return Err(("I6", format!("the action of {id} has not run")));
        }
        self.check_reply(delivered, response, &id, outcome)
    }

    /// Checks the status of a response. Returns whether it accepts an authentic delivery.
    fn check_status(&mut self, delivered: &Delivered, response: &Response<String>, now: i64) -> Result<bool, Violated> {
        let status = response.status().as_u16();
        let Deliver { event, signer, .. } = delivered.deliver;
        match (signer, status) {
            (Signer::WrongSecret | Signer::Tampered, 200..300) => {
                Err(("I3", format!("a forged event {event} was accepted")))
            }
            (Signer::RemovedSecret, 200..300) => {
                let is_late = delivered.removed_at.is_some_and(|at| now - at > FORGOTTEN_AFTER);
                if is_late && !self.plan.disturbs(Service::SecretsManager) {
                    return Err(("I3", format!("event {event} was accepted with a secret that was removed long ago")));
                }
                Ok(true)
            }
            (Signer::WrongSecret | Signer::Tampered | Signer::RemovedSecret, _) => Ok(false),
            (Signer::Vendor, 200..300) => {
                self.accepting.insert(delivered.instance);
                Ok(true)
            }
            (Signer::Vendor, 400..500) => {
                Err(("I4", format!("the authentic event {event} was refused with {status}: {}", response.body())))
            }
            (Signer::Vendor, _) => {
                let are_secrets_loaded = !self.plan.disturbs(Service::SecretsManager) && !self.plan.pauses();
                let has_secrets =
                    are_secrets_loaded || self.accepting.contains(&delivered.instance) && !self.plan.changes_secrets();
                let is_queue_working = !self.plan.pauses() && !self.plan.disturbs(Service::Sqs);
                let is_excused = !has_secrets || !delivered.is_undisturbed && !is_queue_working;
                let what = format!("event {event} gets {status} although the queue works");
                if is_excused { Ok(false) } else { Err(("I1", what)) }
            }
        }
    }

    /// Checks the reply of a response, and what it says about the record.
    fn check_reply(&self, delivered: &Delivered, response: &Response<String>, id: &str, outcome: &str) -> Checked {
        let Some(Entry::Record { attempt, writer, .. }) = self.table.get(id) else { return Ok(()) };
        let body = response.body();
        // While DynamoDB is unavailable, an instance does not know the record.
        let is_known = ["recorded", "duplicate"].contains(&outcome);
        match &attempt.answer {
            None if is_known && body.contains("version") => {
                return Err(("I6", format!("{id} gets the reply {body}, but its record has none")));
            }
            Some(reply) if is_known && self.is_question(id) && reply != body => {
                return Err(("I6", format!("a copy of {id} got another reply: {body}, not {reply}")));
            }
            _ => {}
        }
        let is_own = *writer == Caller::Instance(delivered.instance) && self.cost.has_written(delivered.instance, id);
        if outcome == "duplicate" && is_own {
            return Err(("I1", format!("the first delivery of {id} is called a duplicate")));
        }
        Ok(())
    }

    /// Whether an event had a tombstone at a time, in milliseconds since 1970, and still has it.
    fn has_been_erased(&self, id: &str, event: usize, at: i64, now: i64) -> bool {
        let Some(entry @ Entry::Tombstone { subject_hash, .. }) = self.table.get(id) else { return false };
        let is_of_subject = self.subject(event).is_some_and(|subject| hash(&subject) == *subject_hash);
        let is_older = self.tombstones.get(id).is_some_and(|(_, written_at)| *written_at < at);
        is_of_subject && is_older && !entry.may_be_expired(now)
    }

    /// Checks that an outcome says what is in the table.
    fn check_outcome(&self, id: &str, content: &str, outcome: &str, now: i64) -> Checked {
        let Some(entry @ Entry::Record { content: stored, .. }) = self.table.get(id) else { return Ok(()) };
        let is_same = stored == content;
        let is_wrong = match outcome {
            "recorded" => !is_same,
            "duplicate" => !is_same && !self.is_question(id),
            "conflict" => is_same,
            _ => false,
        };
        if is_wrong && !entry.may_be_expired(now) {
            return Err(("I2", format!("{content} is called {outcome}, but {id} is {stored}")));
        }
        Ok(())
    }
}

impl State {
    /// Checks the response to a delivery, and what the delivery cost.
    pub fn check_response(&mut self, delivered: &Delivered, response: &Response<String>, now: i64) -> Checked {
        self.model.check_response(delivered, response, &self.keys, now)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (Some(outcome), Some(id)) = (header("gatehouse-outcome"), header("gatehouse-event-id")) else {
            return Ok(());
        };
        let is_large = self.plan.events[delivered.deliver.event].large;
        let item = self.dynamodb.items(TABLE).and_then(|items| items.get(id)).filter(|_| !is_large);
        match item {
            Some(item) => {
                // An erasure replaces items.
                let is_exact = delivered.is_undisturbed && !self.plan.erases();
                self.model.cost.end(delivered.instance, outcome, item, is_exact)
            }
            None => Ok(()),
        }
    }
}
