//! The chat part of the model: what agents were asked and sent, and what clients may get.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use gatehouse_memory::dynamodb::Item;
use serde_json::Value;

use claim::Claim;
use usage::Usage;

use super::Checked;
use crate::network::Caller;
use crate::outgoing::AgentEnd;
use crate::plan::{Ask, CLIENTS, Plan, Service, What};

mod answers;
mod claim;
mod usage;

pub use answers::ChatAnswer;
use answers::{blocks, is_terminal};

/// The chat turns of a world.
pub struct Chat {
    /// The requests of the plan, by the number of their action.
    asks: BTreeMap<usize, Ask>,
    claims: BTreeMap<String, Claim>,
    /// The turns of each client that has limits.
    usages: BTreeMap<String, Usage>,
    /// The requests without an answer: the instance, and the key of the item.
    open_requests: BTreeSet<(usize, String)>,
    /// The claims and slots that an invocation could not release, by nonce and name.
    abandoned: BTreeSet<String>,
    /// The body of each request, by the number of its action.
    bodies: BTreeMap<usize, Value>,
    /// When the last invocation of each instance ends at the latest, in milliseconds since 1970.
    deadlines: BTreeMap<usize, i64>,
    /// Whether requests to agents fail or take long.
    are_agents_disturbed: bool,
    calls: Vec<Call>,
    /// Whether requests to DynamoDB fail or time out. Then turns are not always counted.
    is_disturbed: bool,
    /// Whether the secrets cannot always be loaded.
    has_secrets_faults: bool,
    /// Whether instances stand still.
    has_pauses: bool,
    /// Whether every record can be queued.
    is_queue_working: bool,
}

/// Whether the turn of a claim is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct TurnRecord {
    /// Whether a completed turn is in the table or on a queue.
    pub(super) is_recorded: bool,
    /// Whether it has been there for so long that every function can see it: SQS counts with a delay.
    pub(super) is_countable: bool,
}

/// A request that an agent got.
#[derive(Debug, Clone)]
struct Call {
    request_id: String,
    caller: Caller,
    sent: String,
    /// The end of its answer, unless the agent refuses.
    end: Option<AgentEnd>,
    /// The status with which the agent refuses.
    refusal: Option<u16>,
}

impl Call {
    /// Whether the agent completes its answer.
    fn will_finish(&self) -> bool {
        matches!(self.end, Some(AgentEnd::Finished | AgentEnd::Unterminated | AgentEnd::Broken))
    }
}

impl Chat {
    /// Creates the chat part of the model.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let ask = |action: &crate::plan::Action| match action.what {
            What::Ask(ask) => Some((action.n, ask)),
            _ => None,
        };
        let asks = plan.actions.iter().filter_map(ask).collect();
        Chat {
            asks,
            claims: BTreeMap::new(),
            usages: BTreeMap::new(),
            open_requests: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            bodies: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            are_agents_disturbed: plan.disturbs(Service::Agent) || plan.pauses(),
            calls: Vec::new(),
            // A pause makes requests time out.
            is_disturbed: plan.disturbs(Service::DynamoDb) || plan.pauses(),
            has_secrets_faults: plan.disturbs(Service::SecretsManager),
            has_pauses: plan.pauses(),
            is_queue_working: !plan.pauses() && !plan.disturbs(Service::Sqs),
        }
    }

    /// Sees the change of a claim or of a client's slots.
    pub(super) fn item_changed(
        &mut self,
        key: &str,
        item: Option<&Item>,
        caller: Caller,
        turn: TurnRecord,
        now: i64,
    ) -> Checked {
        let Some(item) = item else {
            self.claims.remove(key);
            self.usages.remove(key);
            return Ok(());
        };
        if key.starts_with("slots:") {
            return self.usage_changed(key, item, caller, now);
        }
        self.claim_changed(key, item, caller, turn, now)
    }

    /// Returns when the last invocation of an instance ends at the latest, in milliseconds since 1970.
    fn deadline(&self, caller: Caller) -> i64 {
        match caller {
            Caller::Instance(instance) => self.deadlines.get(&instance).copied().unwrap_or_default(),
            _ => 0,
        }
    }

    /// Returns the short content of a recorded turn: how it ended, and its id.
    pub(super) fn turn_content(&self, id: &str, payload: &[u8]) -> Result<String, (&'static str, String)> {
        let record: Value = serde_json::from_slice(payload).unwrap_or_default();
        let request_id = record["request_id"].as_str().unwrap_or_default();
        let base64 = || BASE64.decode(record["answer_base64"].as_str()?.as_bytes()).ok();
        let answer = record["answer"].as_str().map(str::to_owned);
        let answer = answer.or_else(|| Some(String::from_utf8_lossy(&base64()?).into_owned())).unwrap_or_default();
        let calls = || self.calls.iter().filter(|call| call.request_id == request_id);
        // The last event may be incomplete.
        let whole = blocks(&answer).concat();
        if !answer.is_empty() && !calls().any(|call| call.sent.starts_with(&whole)) {
            return Err(("I7", format!("{id} records an answer that no agent gave")));
        }
        let end = record["end"].as_str().unwrap_or_default();
        let is_completed = ["completed", "interrupted", "cancelled"].contains(&end);
        // A pause may separate the runs of an answer.
        let is_answer = |call: &Call| call.will_finish() && call.sent == answer || self.has_pauses;
        if is_completed && !(is_terminal(&answer) && calls().any(is_answer)) {
            return Err(("I7", format!("{id} is completed, but is not the whole answer of its agent")));
        }
        let body = action_of(request_id).and_then(|action| self.bodies.get(&action));
        let ask = self.ask_of(request_id);
        let is_known = ask.is_some_and(|ask| record["client"] == CLIENTS[ask.client]);
        if !is_known || Some(&record["request"]) != body || record["agent"] != crate::keys::AGENT {
            return Err(("I7", format!("{id} records another request than {request_id}")));
        }
        Ok(format!("{} {id} {request_id}", if is_completed { "completed" } else { "failed" }))
    }

    /// Returns the subject of a turn with this short content.
    pub(super) fn subject(&self, content: &str) -> Option<String> {
        let ask = self.ask_of(content.rsplit(' ').next()?)?;
        Some(format!("chat:conversation:thread-{}", ask.body))
    }

    /// Sees that a client sends a request.
    pub fn asks(&mut self, action: usize, ask: Ask, body: &Value) {
        self.asks.insert(action, ask);
        self.bodies.insert(action, body.clone());
    }

    /// Sees that an invocation begins, and when it ends at the latest, in milliseconds since 1970.
    pub fn begins(&mut self, instance: usize, deadline: i64) {
        self.deadlines.insert(instance, deadline);
    }

    /// Sees how an agent's answer will end.
    pub fn agent_will_end(&mut self, call: usize, end: AgentEnd) {
        self.calls[call].end = Some(end);
    }

    /// Sees that an agent refuses a request with a status.
    pub fn agent_refuses(&mut self, call: usize, status: u16) {
        self.calls[call].refusal = Some(status);
    }

    /// Sees that an agent is asked. Returns the number of the call.
    pub(super) fn agent_asked(
        &mut self,
        caller: Caller,
        request_id: &str,
        body: &[u8],
        is_answered: bool,
        now: i64,
    ) -> (usize, Checked) {
        let request_id = request_id.to_owned();
        let call = Call { request_id: request_id.clone(), caller, sent: String::new(), end: None, refusal: None };
        self.calls.push(call);
        let number = self.calls.len() - 1;
        let (request_id, ask) = (request_id.as_str(), self.ask_of(request_id.as_str()));
        let sent = action_of(request_id).and_then(|action| self.bodies.get(&action));
        if sent != serde_json::from_slice(body).ok().as_ref() {
            return (number, Err(("I7", format!("{request_id} asks the agent something else"))));
        }
        let Some(ask) = ask.filter(|ask| !ask.is_forged) else {
            return (number, Err(("I3", format!("{request_id} asks the agent without a valid token"))));
        };
        let usage = self.usages.get(&format!("slots:{}", CLIENTS[ask.client]));
        let is_counted = usage.is_some_and(|usage| usage.slots.values().any(|(_, holder)| *holder == caller));
        if ask.client != 0 && !is_counted && !self.is_disturbed {
            return (number, Err(("slots", format!("{request_id} asks the agent without a slot"))));
        }
        let checked = match self.claim_of(request_id) {
            Some((key, None)) => Err(("claim", format!("{request_id} asks the agent without a claim on {key}"))),
            Some((key, Some(claim))) => {
                let may_ask = claim.may_ask(caller, is_answered, self.deadline(caller), now);
                may_ask.map_err(|what| ("I6", format!("{key}: {what}")))
            }
            None => Ok(()),
        };
        (number, checked)
    }

    /// Returns the key of the claim that a request needs, and the claim.
    fn claim_of(&self, request_id: &str) -> Option<(String, Option<&Claim>)> {
        let key = self.claim_key(self.ask_of(request_id)?)?;
        let claim = self.claims.get(&key);
        Some((key, claim))
    }

    /// Returns what the request with this id asks.
    pub(super) fn ask_of(&self, request_id: &str) -> Option<Ask> {
        self.asks.get(&action_of(request_id)?).copied()
    }

    fn claim_key(&self, ask: Ask) -> Option<String> {
        Some(format!("claim:{}:{}:key-{}", CLIENTS[ask.client], crate::keys::AGENT, ask.key?))
    }

    /// Returns the claim's key of the request with this id.
    pub(super) fn key_of(&self, request_id: &str) -> Option<String> {
        self.claim_key(self.ask_of(request_id)?)
    }

    /// Sees what an agent sends.
    pub fn agent_sent(&mut self, call: usize, bytes: &[u8]) {
        self.calls[call].sent.push_str(&String::from_utf8_lossy(bytes));
    }

    /// Sees that an instance begins an invocation.
    pub fn invocation_began(&mut self, instance: usize) {
        self.open_requests.retain(|(other, _)| *other != instance);
    }

    /// Whether an instance has got no answer to its last request about an event: its record, a copy or a chunk.
    pub(super) fn has_open_request(&self, instance: usize, id: &str) -> bool {
        let is_about = |key: &str| key.ends_with(id) || key.starts_with("chunk:");
        self.open_requests.iter().any(|(other, key)| *other == instance && is_about(key))
    }

    /// Sees that an instance sends a request about an item.
    pub fn request_began(&mut self, instance: usize, key: &str) {
        self.open_requests.insert((instance, key.to_owned()));
    }

    /// Sees that an instance gets the answer of its last request about an item.
    pub fn request_ended(&mut self, instance: usize, key: &str) {
        self.open_requests.remove(&(instance, key.to_owned()));
    }

    /// Sees that an invocation has ended. It leaves neither a running claim nor a slot, unless it got no answer to its
    /// last request about that item.
    pub(super) fn invocation_ended(&mut self, instance: usize) -> Checked {
        let caller = Caller::Instance(instance);
        let claims = self.claims.iter().filter(|(_, claim)| claim.holder == caller && claim.state == "running");
        let claims = claims.map(|(key, claim)| (key.clone(), claim.nonce.clone()));
        let slots = self.usages.iter().flat_map(|(key, usage)| usage.slots.iter().map(move |slot| (key, slot)));
        let slots = slots.filter(|(_, (_, (_, holder)))| *holder == caller);
        let left: Vec<_> = claims.chain(slots.map(|(key, (name, _))| (key.clone(), name.clone()))).collect();
        for (key, name) in left {
            let is_excused = self.open_requests.contains(&(instance, key.clone())) || self.abandoned.contains(&name);
            if !is_excused {
                return Err(("liveness", format!("{key} is still held by an invocation that has ended")));
            }
            self.abandoned.insert(name);
        }
        Ok(())
    }

    /// Whether an instance has asked the agent for a request.
    pub(super) fn has_asked(&self, instance: usize, request_id: &str) -> bool {
        let caller = Caller::Instance(instance);
        self.calls.iter().any(|call| call.request_id == request_id && call.caller == caller)
    }

    /// Whether an agent completes its answer to a request, and nothing keeps it from that.
    pub(super) fn should_complete(&self, request_id: &str) -> bool {
        let mut calls = self.calls.iter().filter(|call| call.request_id == request_id);
        !self.are_agents_disturbed && calls.all(Call::will_finish)
    }

    /// Describes the state of a claim or of slots, for the coverage.
    pub(super) fn state_of(&self, key: &str) -> Option<String> {
        if let Some(claim) = self.claims.get(key) {
            return Some(format!("claim {}{}", claim.state, if claim.is_unasked { ", unasked" } else { "" }));
        }
        self.usages.get(key).map(|usage| format!("{} slots", usage.slots.len()))
    }

    /// Checks that all leases and slots have ended.
    pub(super) fn check_at_rest(&self, is_calm: bool, now: i64) -> Checked {
        for (key, claim) in &self.claims {
            if claim.state == "running" && (is_calm || claim.lease_until > now) {
                return Err(("liveness", format!("{key} is still leased")));
            }
        }
        for (key, usage) in &self.usages {
            if usage.slots.values().any(|(until, _)| is_calm || until * 1000 > now) {
                return Err(("liveness", format!("{key} still has a running turn")));
            }
        }
        Ok(())
    }
}

/// Returns the value of an attribute; 0 if it is missing.
fn number(item: &Item, name: &str) -> i64 {
    item.get(name).and_then(|value| value["N"].as_str()?.parse().ok()).unwrap_or_default()
}

/// Returns the number of the action that sent a request: the second part of its id.
fn action_of(request_id: &str) -> Option<usize> {
    request_id.split('-').nth(1)?.parse().ok()
}
