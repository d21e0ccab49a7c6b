//! The reference model: what must be true of the table, the queues and the responses, at every step.
//!
//! It sees what the world sees: every change of an item, every event of a queue, every response. It takes only the
//! registry of vendors and the format of times from Gatehouse. The chat part is in [`chat`].

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64, HEXLOWER};
use gatehouse_memory::dynamodb::{Change, Item};
use gatehouse_vendors::SOURCES;
use serde_json::Value;

use crate::fleet::MAX_SKEW;
use crate::keys::Keys;
use crate::logs::Line;
use crate::network::Caller;
use crate::plan::{Plan, Service};
use crate::senders;
use crate::world::DELIVERY_TABLE;

pub mod asks;
pub mod chat;
mod cost;
pub mod destinations;
mod queues;
mod responses;
mod stored;

pub use chat::ChatAnswer;
use chat::TurnRecord;
pub use destinations::Message;
pub use responses::Delivered;
use stored::{Attempt, Derived, Entry, QueuedMessage, check_expiry, event_of, hash};

/// The time after which SQS counts a message, and every function that counted before has acted, in milliseconds.
const COUNTED_AFTER: i64 = 90_000;

/// The time within which a record that has just expired may still be called a duplicate, in milliseconds.
const ANSWER_TIME: i64 = 20_000;

/// The result of a check.
pub type Checked = Result<(), Violated>;

/// The invariant that is violated, and what is wrong.
pub type Violated = (&'static str, String);

/// The model.
pub struct Model {
    plan: Plan,
    /// The records, conflicting copies and tombstones, by key.
    table: BTreeMap<String, Entry>,
    /// The parts of large payloads, by key.
    chunks: BTreeMap<String, Vec<u8>>,
    /// The messages on the queues, by queue and message id.
    queued: BTreeMap<(String, String), QueuedMessage>,
    /// The bodies that must be durable: event id and content.
    accepted: BTreeSet<(String, String)>,
    /// The event of each id.
    ids: BTreeMap<String, usize>,
    /// When each event was first sent, in milliseconds since 1970.
    sent_at: BTreeMap<usize, i64>,
    /// What follows from each body.
    derived: BTreeMap<String, Derived>,
    /// When a queue last changed, in milliseconds since 1970.
    queued_at: i64,
    /// The instances that have accepted a delivery, so that they have secrets.
    accepting: BTreeSet<usize>,
    /// The number of actions by control URL.
    actions: BTreeMap<String, u32>,
    /// The expiry of each erased subject, in seconds since 1970, by its hash.
    erased: BTreeMap<String, i64>,
    /// When each message of the retry queue was received.
    receives: BTreeMap<String, Vec<i64>>,
    /// The expiry of the last tombstone of each event in seconds since 1970, and when it was written in milliseconds
    /// since 1970.
    tombstones: BTreeMap<String, (i64, i64)>,
    /// The nonces of the records that were erased.
    erased_nonces: BTreeSet<String>,
    /// The questions to the user's service.
    pub asks: asks::Asks,
    /// The destinations.
    pub destinations: destinations::Destinations,
    /// The chat turns.
    pub chat: chat::Chat,
    /// The requests of each instance.
    pub cost: cost::Cost,
}

impl Model {
    /// Creates the model of a world in which nothing has happened.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Model {
            plan: plan.clone(),
            table: BTreeMap::new(),
            chunks: BTreeMap::new(),
            queued: BTreeMap::new(),
            accepted: BTreeSet::new(),
            ids: BTreeMap::new(),
            sent_at: BTreeMap::new(),
            derived: BTreeMap::new(),
            queued_at: i64::MIN,
            accepting: BTreeSet::new(),
            actions: BTreeMap::new(),
            erased: BTreeMap::new(),
            receives: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            erased_nonces: BTreeSet::new(),
            asks: asks::Asks::default(),
            destinations: destinations::Destinations::default(),
            chat: chat::Chat::new(plan),
            cost: cost::Cost::default(),
        }
    }

    /// Sees that a vendor sends an event.
    pub fn sends(&mut self, event: usize, now: i64) {
        self.sent_at.entry(event).or_insert(now);
    }

    /// Sees the change of an item.
    pub fn table_changed(&mut self, change: &Change, caller: Caller, now: i64) -> Checked {
        if change.table == DELIVERY_TABLE {
            return self.delivery_changed(change, caller, now);
        }
        match change.key.split(':').next() {
            Some("chunk") => self.chunk_changed(change, now),
            Some("claim" | "slots") => {
                let turn = TurnRecord {
                    is_recorded: self.is_turn_recorded(&change.key, now, now),
                    is_countable: self.is_turn_recorded(&change.key, now - COUNTED_AFTER, now),
                };
                self.chat.item_changed(&change.key, change.new.as_ref(), caller, turn, now)
            }
            Some("ask") => self.asks.item_changed(change, caller, now),
            Some("erased") => self.erased_list_changed(change, now),
            _ => self.record_changed(change, caller, now),
        }
    }

    /// Sees the change of a part of a large payload.
    fn chunk_changed(&mut self, Change { key, new, .. }: &Change, now: i64) -> Checked {
        let payload = |item: &Item| BASE64.decode(item.get("payload")?["B"].as_str()?.as_bytes()).ok();
        let Some((item, bytes)) = new.as_ref().and_then(|item| Some((item, payload(item)?))) else {
            self.chunks.remove(key);
            return Ok(());
        };
        self.chunks.insert(key.clone(), bytes);
        check_expiry(key, item, now).map(drop)
    }

    /// Sees the change of the list of erased subjects.
    fn erased_list_changed(&mut self, change: &Change, now: i64) -> Checked {
        let subjects = change.new.as_ref().and_then(|item| item.get("subjects")?["M"].as_object());
        let expiry = |value: &Value| value["N"].as_str().and_then(|seconds| seconds.parse().ok()).unwrap_or(0_i64);
        let listed = subjects.into_iter().flatten().map(|(hash, value)| (hash.clone(), expiry(value)));
        let listed: BTreeMap<String, i64> = listed.collect();
        let mut missing = self.erased.iter().filter(|(hash, _)| !listed.contains_key(*hash));
        let is_kept = missing.all(|(_, expiry)| expiry * 1000 < now + MAX_SKEW);
        self.erased.extend(listed);
        let accepted = std::mem::take(&mut self.accepted);
        self.accepted = accepted.into_iter().filter(|(id, content)| !self.is_erased(id, content, now)).collect();
        if is_kept { Ok(()) } else { Err(("erasure", "the list of erased subjects lost one".to_owned())) }
    }

    /// Sees the change of a record, a copy or a tombstone.
    fn record_changed(&mut self, change: &Change, caller: Caller, now: i64) -> Checked {
        let key = &change.key;
        let new = change.new.as_ref().map(|item| self.entry(key, item, caller, now)).transpose()?;
        if let (Some(Entry::Record { id, attempt, content, is_copy, .. }), Some(item)) = (&new, &change.new) {
            self.check_attempt(id, attempt)?;
            let derived = Derived::of(item);
            if *self.derived.entry(content.clone()).or_insert_with(|| derived.clone()) != derived {
                return Err(("I6", format!("{key} says something else about its body than an earlier record")));
            }
            let is_same = matches!(self.table.get(id), Some(Entry::Record { content: first, .. }) if first == content);
            if *is_copy && is_same {
                return Err(("I2", format!("{key} is a copy of a record with the same body")));
            }
        }
        if self.plan.has_deliveries {
            self.destinations.record_changed(key, new.as_ref(), change.new.as_ref(), now);
        }
        let old = match &new {
            Some(entry) => self.table.insert(key.clone(), entry.clone()),
            None => self.table.remove(key),
        };
        if let Some(Entry::Tombstone { expires_at, .. }) = &new {
            // An erasure that is repeated writes the tombstone again.
            let written_at = match (&old, self.tombstones.get(key)) {
                (Some(Entry::Tombstone { .. }), Some((_, written_at))) => *written_at,
                _ => now,
            };
            self.tombstones.insert(key.clone(), (*expires_at, written_at));
            if let Some(Entry::Record { attempt, .. }) = &old {
                self.erased_nonces.insert(attempt.nonce.clone());
            }
        }
        self.transition(key, old.as_ref(), new.as_ref(), change.expired, now)?;
        let id = match (&new, &old) {
            (Some(Entry::Record { id, .. }), _) | (_, Some(Entry::Record { id, .. })) => id.clone(),
            _ => key.clone(),
        };
        if let Some(old) = old.filter(|old| old.may_be_expired(now)) {
            self.forget_expired(&id, &old);
        }
        self.check_accepted(&id, now)
    }

    /// Ends the promise to keep an event whose record has expired.
    fn forget_expired(&mut self, id: &str, old: &Entry) {
        let event = match old {
            Entry::Record { content, .. } if !self.is_question(id) => {
                self.accepted.remove(&(id.to_owned(), content.clone()));
                event_of(content)
            }
            _ => {
                self.accepted.retain(|(accepted, _)| accepted != id);
                self.ids.get(id).copied()
            }
        };
        if let Some(event) = event {
            let prefix = format!("/control/PRIVATE-{event}-");
            self.actions.retain(|path, _| !path.starts_with(&prefix));
        }
    }

    /// Checks that what is recorded of an attempt is what its message says.
    fn check_attempt(&self, id: &str, attempt: &Attempt) -> Checked {
        let mut messages = self.queued.values().filter(|message| message.id.as_deref() == Some(id));
        match messages.find(|message| message.attempt.nonce == attempt.nonce) {
            Some(message) if message.attempt != *attempt => Err(("I6", format!("{id} differs from its message"))),
            _ => Ok(()),
        }
    }

    /// Checks that a message says of an attempt what is recorded of it.
    fn check_message(&self, id: &str, attempt: &Attempt) -> Checked {
        match self.table.get(id) {
            Some(Entry::Record { attempt: recorded, .. })
                if recorded.nonce == attempt.nonce && **recorded != *attempt =>
            {
                Err(("I6", format!("{id} differs from its record")))
            }
            _ => Ok(()),
        }
    }

    /// Checks that an item may change in this way.
    fn transition(&self, key: &str, old: Option<&Entry>, new: Option<&Entry>, expired: bool, now: i64) -> Checked {
        let Some(old) = old else { return Ok(()) };
        let is_free = old.may_be_expired(now);
        match (old, new) {
            _ if is_free => Ok(()),
            (Entry::Record { subject, .. }, Some(Entry::Tombstone { subject_hash, .. })) => {
                let is_erased = self.erased.contains_key(subject_hash)
                    && subject.as_deref().map(hash).as_ref() == Some(subject_hash);
                if is_erased { Ok(()) } else { Err(("I2", format!("{key} is erased, but its subject is not"))) }
            }
            (Entry::Tombstone { .. }, Some(Entry::Tombstone { .. })) => Ok(()),
            (Entry::Record { subject, is_copy: true, .. }, None) if !expired => {
                let is_erased = subject.as_deref().is_some_and(|subject| self.erased.contains_key(&hash(subject)));
                if is_erased { Ok(()) } else { Err(("I2", format!("the copy {key} is deleted"))) }
            }
            (_, None) => Err(("I2", format!("{key} is removed before it has expired"))),
            (_, Some(Entry::Record { .. })) => Err(("I2", format!("{key} is overwritten before it has expired"))),
        }
    }

    /// Whether a body is in the table or on a queue, or need not be kept.
    fn is_durable(&self, id: &str, content: &str, now: i64) -> bool {
        let is_kept = |entry: &Entry| match entry {
            Entry::Record { content: stored, is_copy, .. } => {
                let is_it = stored == content || (!is_copy && self.is_question(id));
                is_it && entry.expires_at() * 1000 >= now - ANSWER_TIME
            }
            Entry::Tombstone { .. } => false,
        };
        let copies = || {
            self.table.values().filter(|entry| matches!(entry, Entry::Record { id: of, is_copy: true, .. } if of == id))
        };
        self.table.get(id).is_some_and(is_kept)
            || self.queued.values().any(|message| message.id.as_deref() == Some(id) && message.content == content)
            || self.is_erased(id, content, now)
            || copies().any(is_kept)
    }

    /// Whether the record or the copy with this body is still in the table, so that it is missed only because it has
    /// expired.
    fn has_expired(&self, id: &str, content: &str) -> bool {
        let is_it = |entry: &Entry| match entry {
            Entry::Record { id: of, content: stored, .. } => of == id && (stored == content || self.is_question(id)),
            Entry::Tombstone { .. } => false,
        };
        self.table.values().any(is_it)
    }

    /// Whether the subject of an event was erased.
    fn is_erased(&self, id: &str, content: &str, now: i64) -> bool {
        let subject = || self.subject(event_of(content)?);
        let is_valid = |expires_at: i64| expires_at * 1000 >= now - ANSWER_TIME;
        !self.erased.is_empty()
            && (self.tombstones.get(id).is_some_and(|(expires_at, _)| is_valid(*expires_at))
                || subject().is_some_and(|subject| self.erased.get(&hash(&subject)).is_some_and(|at| is_valid(*at))))
    }

    /// Returns the subject of an event; `None` if it has none.
    #[must_use]
    pub fn subject(&self, event: usize) -> Option<String> {
        let spec = self.plan.events[event];
        let source = SOURCES[spec.source];
        let id = senders::subject_id(self.plan.seed, spec);
        let kind = match (source.profile().vendor, source.samples()[spec.sample].name) {
            (_, "workflow-node-started") => return None,
            ("ada", "end-user-updated") => "end-user",
            ("ada", _) => "conversation",
            ("agntix", _) => "session",
            _ => "call",
        };
        Some(format!("{}:{kind}:{id}", source.profile().vendor))
    }

    fn is_question(&self, id: &str) -> bool {
        id.starts_with("vapi:") && (id.contains(":tool-calls") || id.contains(":assistant-request"))
    }

    /// Checks that everything that is accepted under an id is durable.
    fn check_accepted(&self, id: &str, now: i64) -> Checked {
        let accepted = self.accepted.range((id.to_owned(), String::new())..).take_while(|(accepted, _)| accepted == id);
        for (_, content) in accepted {
            if !self.is_durable(id, content, now) && !self.has_expired(id, content) {
                return Err(("I1", format!("{id} ({content}) was accepted, and is in neither table nor queue")));
            }
        }
        Ok(())
    }

    /// Sees that an agent is asked. Returns the number of the call.
    pub fn agent_asked(&mut self, caller: Caller, request_id: &str, body: &[u8], now: i64) -> (usize, Checked) {
        let is_answered =
            self.chat.key_of(request_id).is_some_and(|key| self.is_turn_recorded(&key, now - COUNTED_AFTER, now));
        self.chat.agent_asked(caller, request_id, body, is_answered, now)
    }

    /// Checks an answer to a chat client.
    pub fn answered(&self, answer: &ChatAnswer, keys: &Keys) -> Checked {
        self.chat.answered(answer, keys)?;
        let key = self.chat.key_of(&answer.request_id).unwrap_or_default();
        let is_queued = self.may_count_as_queued(answer.asked_at);
        let is_recorded = self.is_turn_recorded(&key, i64::MIN, answer.asked_at);
        self.chat.check_refusal(answer, is_queued, is_recorded)?;
        if answer.status == 200 && answer.is_whole && !answer.is_replay {
            self.check_turn_recorded(&answer.request_id, answer.is_undisturbed)?;
        }
        Ok(())
    }

    /// Sees that the invocation of a chat request has ended.
    pub fn turn_ended(&mut self, instance: usize, request_id: &str, is_undisturbed: bool) -> Checked {
        self.chat.invocation_ended(instance)?;
        if self.chat.has_asked(instance, request_id) {
            self.check_turn_recorded(request_id, is_undisturbed)?;
            if let Some(ask) = self.chat.ask_of(request_id).filter(|_| is_undisturbed) {
                self.cost.end_turn(instance, ask.key.is_some(), ask.client != 0)?;
            }
        }
        Ok(())
    }

    /// Checks that a turn is recorded or queued, with the end that its agent gave it.
    fn check_turn_recorded(&self, request_id: &str, is_undisturbed: bool) -> Checked {
        let is_excused =
            self.plan.pauses() || self.plan.disturbs(Service::DynamoDb) && self.plan.disturbs(Service::Sqs);
        let end = format!(" {request_id}");
        let in_table = self.table.values().filter_map(|entry| match entry {
            Entry::Record { content, .. } => Some(content),
            Entry::Tombstone { .. } => None,
        });
        let on_queue = self.queued.values().map(|message| &message.content);
        match in_table.chain(on_queue).find(|content| content.ends_with(&end)) {
            Some(content) if !content.starts_with("completed") && self.chat.should_complete(request_id) => {
                Err(("I7", format!("the turn of {request_id} is recorded as failed, but its agent completed it")))
            }
            None if is_undisturbed || !is_excused => Err(("I1", format!("the turn of {request_id} is not recorded"))),
            _ => Ok(()),
        }
    }

    /// Sees an action on a live call.
    pub fn acted(&mut self, path: &str) -> Checked {
        let event = path.strip_prefix("/control/").and_then(event_of);
        if event.is_none_or(|event| self.plan.events[event].is_undated) {
            return Err(("I6", format!("an action at {path} for an event whose identity is weak")));
        }
        let count = self.actions.entry(path.to_owned()).or_default();
        *count += 1;
        if *count > 1 { Err(("I6", format!("the action at {path} ran {count} times"))) } else { Ok(()) }
    }

    /// Sees a log line.
    pub fn logged(&self, line: &Line, keys: &Keys) -> Checked {
        if line.text.contains("PRIVATE") || keys.are_shown_in(&line.text) {
            return Err(("I8", format!("a log line shows content: {}", line.text)));
        }
        if line.function == "event-retry" && line.outcome == "duplicate" {
            let message = self.queued.get(&("RetryQueue".to_owned(), line.message_id.clone()));
            let record = message.and_then(|message| self.table.get(message.id.as_ref()?));
            if let (Some(message), Some(Entry::Record { id, attempt, .. })) = (message, record)
                && attempt.nonce == message.attempt.nonce
            {
                return Err(("I1", format!("the first delivery of {id} is called a duplicate")));
            }
        }
        Ok(())
    }

    /// Describes the state of an item, for the coverage.
    #[must_use]
    pub fn state_of(&self, key: &str) -> String {
        match self.table.get(key) {
            Some(Entry::Record { .. }) => "recorded".to_owned(),
            Some(Entry::Tombstone { .. }) => "erased".to_owned(),
            None if self.queued.values().any(|message| message.id.as_deref() == Some(key)) => "queued".to_owned(),
            None => self.chat.state_of(key).unwrap_or_else(|| "absent".to_owned()),
        }
    }

    /// Whether a completed turn under a claim is in the table, or was sent to a queue by `sent_by`.
    fn is_turn_recorded(&self, claim: &str, sent_by: i64, now: i64) -> bool {
        let Some(scope) = claim.strip_prefix("claim:") else { return false };
        let prefix = format!("chat:{scope}:");
        let is_completed = |content: &str| content.starts_with("completed");
        self.table.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).any(|(_, entry)| {
            matches!(entry, Entry::Record { content, .. } if is_completed(content)) && !entry.may_be_expired(now)
        }) || self.queued.values().any(|message| {
            let is_of_claim = message.id.as_ref().is_some_and(|id| id.starts_with(&prefix));
            is_of_claim && is_completed(&message.content) && message.sent_at <= sent_by
        })
    }

    /// Returns the ids and contents of the records that have not expired at `now`, to compare the table at two times.
    #[must_use]
    pub fn records(&self, now: i64) -> BTreeMap<String, String> {
        let content = |(key, entry): (&String, &Entry)| match entry {
            Entry::Record { content, .. } if !entry.may_be_expired(now) => Some((key.clone(), content.clone())),
            _ => None,
        };
        self.table.iter().filter_map(content).collect()
    }

    /// Checks that the retry queue is empty, that no unexpired record and no chunk belongs to an erased subject, and
    /// that no lease and no slot is held.
    pub fn check_at_rest(&self, is_calm: bool, now: i64) -> Checked {
        if let Some(((_, id), message)) = self.queued.iter().find(|((queue, _), _)| queue == "RetryQueue") {
            return Err(("I5", format!("message {id} ({:?}) is still on the retry queue", message.id)));
        }
        for (key, entry) in &self.table {
            if let Entry::Record { subject: Some(subject), .. } = entry
                && self.erased.get(&hash(subject)).is_some_and(|expiry| expiry * 1000 > now)
                && !entry.may_be_expired(now)
            {
                return Err(("erasure", format!("{key} is stored although {subject} was erased")));
            }
        }
        for nonce in &self.erased_nonces {
            let nonce = BASE64.decode(nonce.as_bytes()).unwrap_or_default();
            let prefix = format!("chunk:{}/", HEXLOWER.encode(&nonce));
            let mut chunks = self.chunks.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
            if let Some((key, _)) = chunks.find(|(_, payload)| !payload.is_empty()) {
                return Err(("erasure", format!("{key} of an erased record is stored")));
            }
        }
        self.chat.check_at_rest(is_calm, now)
    }
}
