//! The answers to chat clients.

use serde_json::Value;

use super::{Call, Chat};
use crate::fleet::MAX_SKEW;
use crate::keys::Keys;
use crate::model::Checked;
use crate::plan::{Ask, CLIENTS, Ms};

/// A heartbeat of the proxy.
const HEARTBEAT: &str = ": \n\n";
/// The longest time without a heartbeat, in milliseconds: 15 s, and the time in which a turn is recorded.
const LONGEST_SILENCE: Ms = 20_000;

/// An answer as a client got it.
#[derive(Debug, Clone)]
pub struct ChatAnswer {
    /// What was asked.
    pub ask: Ask,
    /// The id of the request.
    pub request_id: String,
    /// When it was asked, in milliseconds since 1970.
    pub asked_at: i64,
    /// The status; 0 without a response.
    pub status: u16,
    /// Whether it is the answer of an earlier request.
    pub is_replay: bool,
    /// The body, as far as it was received.
    pub bytes: Vec<u8>,
    /// Whether the body has ended regularly.
    pub is_whole: bool,
    /// The longest time between two parts, in milliseconds.
    pub longest_silence: Ms,
    /// Whether the client has left before the end.
    pub has_left: bool,
    /// Whether nothing has failed anywhere since it was asked.
    pub is_undisturbed: bool,
}

impl Chat {
    /// Checks an answer to a client.
    pub fn answered(&self, answer: &ChatAnswer, keys: &Keys) -> Checked {
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        let ChatAnswer { request_id, status, .. } = answer;
        if keys.are_shown_in(&text) {
            return Err(("I8", format!("the answer to {request_id} shows a secret")));
        }
        if answer.ask.is_forged {
            let is_refused = [0, 401, 503].contains(status);
            return if is_refused { Ok(()) } else { Err(("I3", format!("a forged request gets {status}"))) };
        }
        if answer.is_undisturbed && !answer.has_left && !answer.is_whole {
            return Err(("I7", format!("the answer to {request_id} ({status}) has no end")));
        }
        if answer.is_undisturbed && !answer.ask.is_json && answer.longest_silence > LONGEST_SILENCE {
            return Err(("I7", format!("{request_id} gets nothing for {} ms", answer.longest_silence)));
        }
        let call = self.calls.iter().rev().find(|call| call.request_id == *request_id);
        if answer.ask.is_json
            && let Some(object) = serde_json::from_str(&text).ok().filter(|object: &Value| object["type"] == "turn")
        {
            return self.answered_as_json(answer, &object, call);
        }
        match status {
            200 if answer.ask.is_json => Ok(()),
            200 => self.answered_as_stream(answer, &text, call),
            _ => self.answered_with_error(answer, &text, call),
        }
    }

    /// Whether a call's answer must reach its client completely.
    fn should_finish(&self, answer: &ChatAnswer, call: Option<&Call>) -> bool {
        call.is_some_and(Call::will_finish) && (answer.is_undisturbed || !self.are_agents_disturbed)
    }

    fn answered_with_error(&self, answer: &ChatAnswer, text: &str, call: Option<&Call>) -> Checked {
        let ChatAnswer { request_id, status, .. } = answer;
        let refusal = call.and_then(|call| call.refusal);
        // The client cannot correct what the agent thinks of the proxy's token.
        let expected = refusal.map(|status| if status == 401 || status >= 500 { 502 } else { status });
        if let Some(expected) = expected
            && answer.is_undisturbed
            && answer.is_whole
            && *status != expected
        {
            return Err(("I7", format!("{request_id} gets {status}, but its agent refuses with {refusal:?}")));
        }
        let is_of_agent = text.contains("agent-refused") && expected == Some(*status);
        let is_reused = text.contains("key-reused");
        match status {
            _ if text.contains("PRIVATE") => Err(("I8", format!("the {status} to {request_id} shows content"))),
            400..=404 | 422 if !is_of_agent && !is_reused => {
                Err(("I4", format!("the request {request_id} gets {status}")))
            }
            422 if is_reused && !self.is_key_reused(answer.ask) => {
                Err(("I6", format!("{request_id} gets key-reused, but its key has only one body")))
            }
            500.. if self.should_finish(answer, call) => {
                Err(("I7", format!("{request_id} gets {status}, but its agent answers")))
            }
            _ => Ok(()),
        }
    }

    fn answered_as_stream(&self, answer: &ChatAnswer, text: &str, call: Option<&Call>) -> Checked {
        let request_id = &answer.request_id;
        let mut events = blocks(text);
        let whole = events.concat();
        if answer.is_whole && whole != text {
            return Err(("I7", format!("the answer to {request_id} ends within an event")));
        }
        events.push(text.get(whole.len()..).unwrap_or_default());
        // Heartbeats are only between events, so that removing them leaves whole events.
        events.retain(|block| ![HEARTBEAT, ""].contains(block));
        let all = events.concat();
        if answer.is_replay {
            let is_it = |call: &&Call| if answer.is_whole { call.sent == all } else { call.sent.starts_with(&all) };
            let is_known = self.calls_of_key(answer.ask).any(|call| is_it(&call));
            let what = || format!("the replay to {request_id} is no agent's answer");
            return if is_known { Ok(()) } else { Err(("I7", what())) };
        }
        let Some(call) = call else {
            // The turn failed before it reached the agent, after the head was sent.
            let is_error = all.is_empty() && !answer.is_whole || events.len() == 1 && is_error_event(&all);
            let what = || format!("{request_id} has an answer, but no agent was asked");
            return if is_error { Ok(()) } else { Err(("I7", what())) };
        };
        let is_ended = |all: &str| call.sent == all && is_terminal(all) || self.has_pauses && is_terminal(all);
        if call.sent.starts_with(&all) && (!answer.is_whole || is_ended(&all)) {
            return Ok(());
        }
        let (before, last) = events.split_at(events.len().saturating_sub(1));
        let before = before.concat();
        let is_prefix = call.sent.starts_with(&before);
        let is_complete = call.sent.is_empty() || blocks(&call.sent).concat() == before;
        if is_prefix && answer.is_undisturbed && answer.is_whole && !is_complete {
            return Err(("I7", format!("the answer to {request_id} lacks events that came before the failure")));
        }
        if is_prefix && last.first().is_some_and(|last| is_error_event(last)) {
            let what = || format!("the answer to {request_id} fails, but its agent's does not");
            return if self.should_finish(answer, Some(call)) { Err(("I7", what())) } else { Ok(()) };
        }
        Err(("I7", format!("the answer to {request_id} is not what the agent sent: {all:?}, sent {:?}", call.sent)))
    }

    /// Checks one JSON object for a whole turn.
    fn answered_as_json(&self, answer: &ChatAnswer, object: &Value, call: Option<&Call>) -> Checked {
        let ChatAnswer { request_id, status, .. } = answer;
        let is_failed = object["end"] == "failed";
        if is_failed != (*status == 502) || !is_failed && *status != 200 {
            return Err(("I7", format!("{request_id} gets {status} for a turn that is {}", object["end"])));
        }
        let content = object["content"].as_str().unwrap_or_default();
        let is_right = match (is_failed, answer.is_replay) {
            (true, true) => false,
            (true, false) => {
                let sent = call.map(|call| texts(&call.sent)).unwrap_or_default();
                sent.starts_with(content) && !self.should_finish(answer, call)
            }
            (false, true) => self.calls_of_key(answer.ask).any(|call| texts(&call.sent) == content),
            (false, false) => call.is_some_and(|call| texts(&call.sent) == content || self.has_pauses),
        };
        if is_right { Ok(()) } else { Err(("I7", format!("the object for {request_id} is not its agent's answer"))) }
    }

    /// Returns the calls with the key and the body of a request.
    fn calls_of_key(&self, ask: Ask) -> impl Iterator<Item = &Call> {
        let key = self.claim_key(ask);
        let is_of_body = move |id: &str| self.ask_of(id).is_some_and(|other| other.body == ask.body);
        self.calls.iter().filter(move |call| self.key_of(&call.request_id) == key && is_of_body(&call.request_id))
    }

    /// Checks that a refusal has a reason: `is_queued` says whether a queue may have the record of the turn, and
    /// `is_recorded` whether it is in the table or on a queue.
    pub(in crate::model) fn check_refusal(&self, answer: &ChatAnswer, is_queued: bool, is_recorded: bool) -> Checked {
        let problem: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
        let problem = problem["type"].as_str().and_then(|name| name.rsplit(['/', ':', '#']).next()).unwrap_or_default();
        let (_, claim) = self.claim_of(&answer.request_id).unzip();
        let usage = self.usages.get(&format!("slots:{}", CLIENTS[answer.ask.client]));
        let is_due = match (answer.status, claim.flatten()) {
            _ if problem == "agent-refused" => true,
            (429, _) => usage.is_some_and(|usage| {
                let key = format!("slots:{}", CLIENTS[answer.ask.client]);
                usage.full_at >= answer.asked_at || usage.is_full(&key, answer.asked_at)
            }),
            (409, Some(claim)) if claim.changed_at < answer.asked_at - MAX_SKEW => match (problem, &*claim.state) {
                ("key-in-use", "running") => {
                    claim.lease_until >= answer.asked_at - MAX_SKEW || !claim.is_unasked && is_queued
                }
                ("key-in-use", "finished") => is_queued || !is_recorded,
                ("not-replayable", "finished") => !is_recorded,
                ("not-replayable", state) => state == "lost",
                _ => false,
            },
            (503, _) => !answer.is_undisturbed || self.has_secrets_faults,
            _ => true,
        };
        let (id, status) = (&answer.request_id, answer.status);
        if is_due { Ok(()) } else { Err(("liveness", format!("{id} gets {status} {problem} without a reason"))) }
    }

    /// Whether the key of a request was also used with another body.
    fn is_key_reused(&self, ask: Ask) -> bool {
        self.asks.values().any(|other| (other.client, other.key) == (ask.client, ask.key) && other.body != ask.body)
    }
}

/// Returns the complete blocks of a stream, each with its blank line.
pub(super) fn blocks(text: &str) -> Vec<&str> {
    let (mut blocks, mut start, mut end) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        if ["\n", "\r\n"].contains(&line) {
            blocks.extend(text.get(start..end));
            start = end;
        }
    }
    blocks
}

/// Returns the JSON of a block's event.
fn block_event(block: &str) -> Option<Value> {
    block.lines().find_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}

/// Whether a text is one event of the proxy that ends a failed run.
fn is_error_event(text: &str) -> bool {
    block_event(text).is_some_and(|event| event["type"] == "RUN_ERROR" && event["code"].is_string())
}

/// Whether the last event of an answer ends a run.
pub(super) fn is_terminal(answer: &str) -> bool {
    let last = blocks(answer).into_iter().rev().find_map(block_event);
    last.is_some_and(|event| event["type"] == "RUN_FINISHED" || event["type"] == "RUN_ERROR")
}

/// Returns the texts of an answer's messages, joined by blank lines.
fn texts(answer: &str) -> String {
    let mut messages: Vec<(Value, String)> = Vec::new();
    for event in blocks(answer).into_iter().filter_map(block_event) {
        let Some(delta) = event["delta"].as_str() else { continue };
        match messages.last_mut().filter(|(id, _)| *id == event["messageId"]) {
            Some((_, text)) => text.push_str(delta),
            None => messages.push((event["messageId"].clone(), delta.to_owned())),
        }
    }
    messages.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n\n")
}
