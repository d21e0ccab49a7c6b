//! The chat part of the model: what agents were asked and sent, and what clients may get.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use gatehouse_memory::dynamodb::Item;
use gatehouse_payload::time::Timestamp;
use serde_json::Value;

use super::Checked;
use crate::fleet::MAX_SKEW;
use crate::network::Caller;
use crate::plan::{Ask, CLIENTS, CONCURRENT_TURNS, Plan, Service, What};

/// A heartbeat of the proxy.
const HEARTBEAT: &str = ": \n\n";

/// The chat turns of a world.
pub struct Chat {
    /// The requests of the plan, by the number of their action.
    asks: BTreeMap<usize, Ask>,
    claims: BTreeMap<String, Claim>,
    /// The expiry of each slot and who acquired it, by name, for each client.
    slots: BTreeMap<String, BTreeMap<String, (i64, Caller)>>,
    /// The body of each request, by the number of its action.
    bodies: BTreeMap<usize, Value>,
    /// When the last invocation of each instance ends at the latest, in milliseconds since 1970.
    deadlines: BTreeMap<usize, i64>,
    /// Whether requests to agents fail or take long.
    are_agents_disturbed: bool,
    calls: Vec<Call>,
    /// Whether requests to DynamoDB fail or time out. Then turns are not always counted.
    is_disturbed: bool,
}

/// A claim on an idempotency key, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    state: String,
    fence: i64,
    nonce: String,
    lease_until: i64,
    is_unasked: bool,
    expires_at: i64,
    /// Who acquired it last.
    holder: Caller,
}

/// A request that an agent got.
#[derive(Debug, Clone)]
struct Call {
    request_id: String,
    sent: String,
    /// Whether its answer has a terminal event.
    will_finish: bool,
}

/// An answer as a client got it.
#[derive(Debug, Clone)]
pub struct ChatAnswer {
    /// What was asked.
    pub ask: Ask,
    /// The id of the request.
    pub request_id: String,
    /// The status; 0 without a response.
    pub status: u16,
    /// Whether it is the answer of an earlier request.
    pub is_replay: bool,
    /// The body, as far as it was received.
    pub bytes: Vec<u8>,
    /// Whether the body has ended regularly.
    pub is_whole: bool,
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
            slots: BTreeMap::new(),
            bodies: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            are_agents_disturbed: plan.disturbs(Service::Agent) || plan.pauses(),
            calls: Vec::new(),
            // A pause makes requests time out.
            is_disturbed: plan.disturbs(Service::DynamoDb) || plan.pauses(),
        }
    }

    /// Sees the change of a claim or of a client's slots: whether its turn is recorded, and whether that can be known.
    pub(super) fn item_changed(
        &mut self,
        key: &str,
        item: Option<&Item>,
        caller: Caller,
        [is_answered, is_known]: [bool; 2],
        now: i64,
    ) -> Checked {
        let Some(item) = item else {
            self.claims.remove(key);
            self.slots.remove(key);
            return Ok(());
        };
        let text = |name: &str| item.get(name).and_then(|value| value["S"].as_str()).unwrap_or_default().to_owned();
        let number = |name: &str| item.get(name).and_then(|value| value["N"].as_str()?.parse().ok()).unwrap_or(0_i64);
        if key.starts_with("slots:") {
            let slots = item.get("slots").and_then(|slots| slots["M"].as_object());
            let until = |until: &Value| until["N"].as_str().and_then(|until| until.parse::<i64>().ok());
            let old = self.slots.remove(key).unwrap_or_default();
            let holder = |name: &String| old.get(name).map_or(caller, |(_, holder)| *holder);
            let slots = slots.into_iter().flatten().filter_map(|(name, value)| Some((name, until(value)?)));
            let slots: BTreeMap<_, _> = slots.map(|(name, until)| (name.clone(), (until, holder(name)))).collect();
            let running = slots.values().filter(|(until, _)| until * 1000 >= now + MAX_SKEW).count();
            let mut missing = old.iter().filter(|(name, _)| !slots.contains_key(*name));
            let is_stolen =
                missing.any(|(_, (until, holder))| until * 1000 >= now + MAX_SKEW + 1000 && *holder != caller);
            self.slots.insert(key.to_owned(), slots);
            return match running <= CONCURRENT_TURNS {
                _ if is_stolen => Err(("slots", format!("{key} loses the slot of a running turn"))),
                true => Ok(()),
                false => Err(("slots", format!("{key} has {running} running turns"))),
            };
        }
        let nonce = item.get("nonce").and_then(|nonce| nonce["B"].as_str()).unwrap_or_default().to_owned();
        let lease_until = Timestamp::parse(&text("lease_until")).map(Timestamp::as_millis).unwrap_or_default();
        let old = self.claims.get(key).cloned();
        let is_new = old.as_ref().is_none_or(|old| old.nonce != nonce);
        let holder = if is_new { caller } else { old.as_ref().map_or(caller, |old| old.holder) };
        let new = Claim {
            state: text("state"),
            fence: number("fence"),
            nonce,
            lease_until,
            is_unasked: item.contains_key("unasked"),
            expires_at: number("expires_at"),
            holder,
        };
        let checked = match &old {
            Some(old) if is_new => old.may_become(&new, is_known, now),
            Some(old) => old.may_be_settled(&new, caller, is_answered),
            None => Ok(()),
        };
        self.claims.insert(key.to_owned(), new);
        checked.map_err(|(invariant, what)| (invariant, format!("{key}: {what}")))
    }

    /// Returns the short content of a recorded turn: how it ended, and its id.
    pub(super) fn turn_content(&self, id: &str, payload: &[u8]) -> Result<String, (&'static str, String)> {
        let record: Value = serde_json::from_slice(payload).unwrap_or_default();
        let request_id = record["request_id"].as_str().unwrap_or_default();
        let base64 = || BASE64.decode(record["answer_base64"].as_str()?.as_bytes()).ok();
        let answer = record["answer"].as_str().map(str::to_owned);
        let answer = answer.or_else(|| Some(String::from_utf8_lossy(&base64()?).into_owned())).unwrap_or_default();
        let is_of_agent = self.calls.iter().any(|call| call.request_id == request_id && is_cut_of(&answer, &call.sent));
        if !answer.is_empty() && !is_of_agent {
            return Err(("I7", format!("{id} records an answer that no agent gave")));
        }
        let end = record["end"].as_str().unwrap_or_default();
        let is_completed = ["completed", "interrupted", "cancelled"].contains(&end);
        Ok(format!("{} {id} {request_id}", if is_completed { "completed" } else { "failed" }))
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

    /// Sees that an agent's answer will have its terminal event.
    pub fn agent_will_finish(&mut self, call: usize) {
        self.calls[call].will_finish = true;
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
        self.calls.push(Call { request_id: request_id.clone(), sent: String::new(), will_finish: false });
        let number = self.calls.len() - 1;
        let (request_id, ask) = (request_id.as_str(), self.ask_of(request_id.as_str()));
        let sent = action_of(request_id).and_then(|action| self.bodies.get(&action));
        if sent != serde_json::from_slice(body).ok().as_ref() {
            return (number, Err(("I7", format!("{request_id} asks the agent something else"))));
        }
        let is_counted = self.slots.get("slots:limited").is_some_and(|slots| !slots.is_empty());
        if ask.is_some_and(|ask| CLIENTS[ask.client] == "limited") && !is_counted && !self.is_disturbed {
            return (number, Err(("slots", format!("{request_id} asks the agent without a slot"))));
        }
        let checked = match self.claim_of(request_id) {
            Some((key, None)) => Err(("claim", format!("{request_id} asks the agent without a claim on {key}"))),
            Some((key, Some(claim))) => {
                let deadline = match caller {
                    Caller::Instance(instance) => self.deadlines.get(&instance).copied().unwrap_or_default(),
                    _ => 0,
                };
                let may_ask = claim.may_ask(caller, is_answered, deadline, now);
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

    fn ask_of(&self, request_id: &str) -> Option<Ask> {
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

    /// Checks an answer to a client.
    pub fn answered(&self, answer: &ChatAnswer, secrets: &[String]) -> Checked {
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        let ChatAnswer { request_id, status, .. } = answer;
        if secrets.iter().any(|secret| text.contains(secret.as_str())) {
            return Err(("I8", format!("the answer to {request_id} shows a secret")));
        }
        let call = self.calls.iter().rev().find(|call| call.request_id == *request_id);
        let should_finish = call.is_some_and(|call| call.will_finish) && !self.are_agents_disturbed;
        if *status != 200 {
            let is_reused = text.contains("key-reused") && !self.is_key_reused(answer.ask);
            return match status {
                _ if text.contains("PRIVATE") => Err(("I8", format!("the {status} to {request_id} shows content"))),
                400..=404 => Err(("I4", format!("the request {request_id} gets {status}"))),
                422 if is_reused => Err(("I6", format!("{request_id} gets key-reused, but its key has only one body"))),
                500.. if should_finish => Err(("I7", format!("{request_id} gets {status}, but its agent answers"))),
                _ => Ok(()),
            };
        }
        // Heartbeats are only between events, so that removing them leaves whole events.
        let events: Vec<&str> = text.split_inclusive("\n\n").filter(|block| *block != HEARTBEAT).collect();
        let all = events.concat();
        if answer.is_replay {
            let key = self.claim_key(answer.ask);
            let is_of_body = |call: &Call| self.ask_of(&call.request_id).is_some_and(|ask| ask.body == answer.ask.body);
            let mut same_key =
                self.calls.iter().filter(|call| self.key_of(&call.request_id) == key && is_of_body(call));
            let is_known =
                same_key.any(|call| if answer.is_whole { call.sent == all } else { call.sent.starts_with(&all) });
            return if is_known {
                Ok(())
            } else {
                Err(("I7", format!("the replay to {request_id} is no agent's answer")))
            };
        }
        let Some(call) = call else {
            // The turn failed before it reached the agent, after the head was sent.
            let is_error = events.len() <= 1 && all.is_empty() || is_error_event(&all);
            return if is_error {
                Ok(())
            } else {
                Err(("I7", format!("{request_id} has an answer, but no agent was asked")))
            };
        };
        if call.sent.starts_with(&all) && (!answer.is_whole || call.sent == all && ends_well(&all)) {
            return Ok(());
        }
        let (before, last) = events.split_at(events.len().saturating_sub(1));
        let is_prefix = call.sent.starts_with(&before.concat());
        if is_prefix && last.first().is_some_and(|last| is_error_event(last)) {
            let what = || format!("the answer to {request_id} fails, but its agent's does not");
            return if should_finish { Err(("I7", what())) } else { Ok(()) };
        }
        Err(("I7", format!("the answer to {request_id} is not what the agent sent: {all:?}, sent {:?}", call.sent)))
    }

    /// Whether the key of a request was also used with another body.
    fn is_key_reused(&self, ask: Ask) -> bool {
        self.asks.values().any(|other| (other.client, other.key) == (ask.client, ask.key) && other.body != ask.body)
    }

    /// Describes the state of a claim or of slots, for the coverage.
    pub(super) fn state_of(&self, key: &str) -> Option<String> {
        if let Some(claim) = self.claims.get(key) {
            return Some(format!("claim {}{}", claim.state, if claim.is_unasked { ", unasked" } else { "" }));
        }
        self.slots.get(key).map(|slots| format!("{} slots", slots.len()))
    }

    /// Checks that all leases and slots have ended.
    pub(super) fn at_rest(&self, is_calm: bool, now: i64) -> Checked {
        for (key, claim) in &self.claims {
            if claim.state == "running" && (is_calm || claim.lease_until > now) {
                return Err(("liveness", format!("{key} is still leased")));
            }
        }
        for (key, slots) in &self.slots {
            if slots.values().any(|(until, _)| is_calm || until * 1000 > now) {
                return Err(("liveness", format!("{key} still has a running turn")));
            }
        }
        Ok(())
    }
}

impl Claim {
    /// Checks that the claim may be replaced by `new`.
    fn may_become(&self, new: &Claim, is_answered: bool, now: i64) -> Checked {
        let error = |what: &str| Err(("claim", what.to_owned()));
        let is_expired = self.expires_at * 1000 < now + MAX_SKEW;
        if is_expired {
            return Ok(());
        }
        if new.fence <= self.fence {
            return error("a new claim has no greater fence");
        }
        match self.state.as_str() {
            "lost" => error("a lost claim is taken over"),
            "running" if self.lease_until >= now + MAX_SKEW => error("a claim is taken over before its lease ends"),
            "running" | "finished" if is_answered => error("a claim is taken over although its turn is recorded"),
            _ => Ok(()),
        }
    }

    /// Checks that `caller` may change the state of the claim to that of `new`.
    fn may_be_settled(&self, new: &Claim, caller: Caller, is_answered: bool) -> Checked {
        let error = |what: String| Err(("claim", what));
        if self.state != "running" && new.state != self.state {
            return error(format!("a {} claim becomes {}", self.state, new.state));
        }
        if new.state == "finished" && !is_answered {
            return error("it is finished, but its turn is not recorded".to_owned());
        }
        // An instance that replays the turn of an expired claim may settle it.
        if caller != self.holder && new.state != "finished" {
            return error(format!("{caller} settles it, but {} holds it", self.holder));
        }
        Ok(())
    }

    /// Checks that its holder may ask the agent now.
    fn may_ask(&self, caller: Caller, is_answered: bool, deadline: i64, now: i64) -> Result<(), String> {
        if self.holder != caller {
            return Err(format!("{caller} asks the agent, but {} holds the claim", self.holder));
        }
        if self.state != "running" || self.is_unasked {
            return Err(format!("the agent is asked, but the claim is {}", self.state));
        }
        if self.lease_until < now - MAX_SKEW {
            return Err("the agent is asked after the lease has ended".to_owned());
        }
        if self.lease_until < deadline + 2 * MAX_SKEW {
            return Err("the lease may end before the invocation".to_owned());
        }
        if is_answered { Err("the agent is asked again although its answer is recorded".to_owned()) } else { Ok(()) }
    }
}

/// Returns the number of the action that sent a request: the second part of its id.
fn action_of(request_id: &str) -> Option<usize> {
    request_id.split('-').nth(1)?.parse().ok()
}

/// Whether a recorded answer is what the agent sent, as far as it was received. The last event may be incomplete.
fn is_cut_of(answer: &str, sent: &str) -> bool {
    let whole = answer.rfind("\n\n").map_or(0, |end| end + 2);
    sent.starts_with(&answer[..whole])
}

/// Whether a text is one event that ends a failed run.
fn is_error_event(text: &str) -> bool {
    let data = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n"));
    let event: Value = data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
    event["type"] == "RUN_ERROR" && event["code"].is_string()
}

/// Whether an answer ends with a terminal event.
fn ends_well(text: &str) -> bool {
    text.contains("\"RUN_FINISHED\"") || text.contains("\"RUN_ERROR\"")
}
