//! The destinations: what must reach them and in which order, and what the delivery table may say about it.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use gatehouse_memory::dynamodb::{Change, Item, KEY_SEPARATOR};
use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::signature::{SigningKey, webhook_headers};
use http::Request;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::stored::{Entry, hash};
use super::{Checked, Model};
use crate::fleet::MAX_SKEW;
use crate::keys::ARCHIVED_MARKER;
use crate::network::Caller;
use crate::plan::DESTINATIONS;
use crate::world::{START, State, TABLE};

/// The number of attempts after which a delivery is dead.
const ATTEMPTS: u64 = 10;
/// How much longer a delivery is stored than its event, in seconds.
const EXTRA_TTL: i64 = 7 * 86_400;
/// The longest time for which a disabled destination may get messages, in milliseconds: a running attempt, and the age
/// of the cached state.
const DISABLED_WITHIN: i64 = 60_000;

/// What the destinations got, and what the delivery table has.
#[derive(Debug, Default)]
pub struct Destinations {
    /// The deliveries by lane and row.
    rows: BTreeMap<(String, String), Row>,
    /// The recorded events by key and time of receipt. A key can be used again after its record has expired.
    events: BTreeMap<(String, String), Event>,
    /// The keys of records by the ids of their messages.
    keys: BTreeMap<String, String>,
    /// When a record was erased or removed, by key, in milliseconds since 1970.
    gone: BTreeMap<String, i64>,
    /// The messages that a destination has accepted: destination, id and time of receipt.
    accepted: BTreeSet<(usize, String, String)>,
    /// The first positions of records in the stream, by row: the shard, and the number of the change.
    streamed: BTreeMap<String, (usize, u64)>,
    /// When the outbox had added all deliveries of a record, by row.
    shown: BTreeMap<String, i64>,
    /// The deliveries that an operator has sent again, by lane and row. They may follow later ones.
    resent: BTreeSet<(String, String)>,
    /// The attempts that run, by number.
    active: BTreeMap<u64, Active>,
    /// The number of attempts.
    attempts: u64,
    /// When an instance last read a record, by instance and key.
    reads: BTreeMap<(Caller, String), i64>,
    /// When an instance last acquired the lease of a lane, by instance and lane.
    acquired: BTreeMap<(Caller, String), i64>,
    /// When a destination was disabled.
    disabled: BTreeMap<String, i64>,
}

/// An event that was recorded.
#[derive(Debug, Clone)]
struct Event {
    source: String,
    subject: Option<String>,
    content: String,
    is_copy: bool,
    entry: Entry,
}

/// A delivery in the delivery table.
#[derive(Debug, Clone, Default)]
struct Row {
    state: String,
    attempts: u64,
    reason: String,
    event_key: String,
    /// The time of the next attempt in milliseconds since 1970, if it waits for a time.
    due: Option<i64>,
    /// The expiry of the event, in seconds since 1970.
    expires_at: i64,
}

/// An attempt that a destination works on.
#[derive(Debug)]
struct Active {
    lane: String,
    id: String,
    /// When the destination is done, in milliseconds since 1970, if the sender has given it up.
    busy_until: Option<i64>,
}

/// A change of a delivery.
struct DeliveryChange<'c> {
    lane: &'c str,
    row: &'c str,
    old: Option<&'c Row>,
    new: Option<&'c Row>,
    /// Whether DynamoDB has removed it because it had expired.
    has_expired: bool,
    caller: Caller,
    now: i64,
}

/// A message that a destination gets.
#[derive(Debug, Clone, Copy)]
pub struct Message<'m> {
    /// The destination: an index of [`DESTINATIONS`].
    pub destination: usize,
    /// The instance that sends it.
    pub caller: Caller,
    /// The request.
    pub request: &'m Request<bytes::Bytes>,
    /// Whether the destination answers with a 2xx.
    pub accepts: bool,
}

impl Destinations {
    /// Sees a request to DynamoDB.
    pub fn requested(&mut self, caller: Caller, operation: &str, body: &Value, now: i64) {
        if operation == "GetItem"
            && body["TableName"] == TABLE
            && let Some(key) = crate::network::item_key(body)
        {
            self.reads.insert((caller, key.to_owned()), now);
        }
    }

    /// Sees the change of a record, a copy or a tombstone.
    pub(super) fn record_changed(&mut self, key: &str, new: Option<&Entry>, item: Option<&Item>, now: i64) {
        let (Some(entry @ Entry::Record { content, subject, is_copy, attempt, .. }), Some(item)) = (new, item) else {
            self.gone.insert(key.to_owned(), now);
            return;
        };
        let source = item.get("source").and_then(|source| source["S"].as_str()).unwrap_or_default().to_owned();
        let (subject, content, is_copy, entry) = (subject.clone(), content.clone(), *is_copy, entry.clone());
        self.gone.remove(key);
        self.keys.insert(message_id(key), key.to_owned());
        let event = Event { source, subject, content, is_copy, entry };
        self.events.insert((key.to_owned(), attempt.received_at.clone()), event);
    }

    /// Sees that outbox has added all deliveries of the event in a stream record.
    pub fn shown(&mut self, record: &Value, now: i64) {
        let text = |name: &str| record["dynamodb"]["NewImage"][name]["S"].as_str().unwrap_or_default();
        self.shown.entry(row_of(text("event_id"), text("received_at"))).or_insert(now);
    }

    /// Sees a record in the stream, at a position in a shard.
    pub fn streamed(&mut self, item: Option<&Item>, position: (usize, u64)) {
        let text = |name: &str| item.and_then(|item| item.get(name)?["S"].as_str()).unwrap_or_default();
        self.streamed.entry(row_of(text("event_id"), text("received_at"))).or_insert(position);
    }

    /// Sees that a sender does not wait for an attempt any more. The destination works on it until `busy_until`, if its
    /// sender has given it up.
    pub fn ended(&mut self, attempt: u64, busy_until: Option<i64>) {
        match (busy_until, self.active.get_mut(&attempt)) {
            (Some(_), Some(active)) => active.busy_until = busy_until,
            _ => drop(self.active.remove(&attempt)),
        }
    }

    /// Returns the first time at which a sweep has something to do, in milliseconds since 1970.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        let is_disabled = |lane: &str| self.disabled.keys().any(|name| destination_of(lane) == Some(name));
        let waiting = self.rows.iter().filter(|(_, row)| row.state == "waiting");
        let due = waiting.filter_map(|((lane, _), row)| {
            let due = row.due?;
            // A sweep only drops expired deliveries to a disabled destination.
            Some(if is_disabled(lane) { due.max(row.expires_at * 1000) } else { due })
        });
        due.min()
    }

    /// Whether a delivery waits.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.rows.values().any(|row| row.state == "waiting")
    }

    fn has_accepted(&self, destination: usize, id: &str) -> bool {
        let first = (destination, id.to_owned(), String::new());
        self.accepted.range(first..).next().is_some_and(|(n, accepted, _)| *n == destination && accepted == id)
    }
}

impl Event {
    /// Whether a destination gets it.
    fn matches(&self, destination: usize) -> bool {
        destination == 0 || self.source == "vapi" || self.source == "ada" && self.content == ARCHIVED_MARKER
    }
}

impl Model {
    /// Sees the change of an item of the delivery table.
    pub(super) fn delivery_changed(&mut self, change: &Change, caller: Caller, now: i64) -> Checked {
        let Some((lane, row)) = change.key.split_once(KEY_SEPARATOR) else { return Ok(()) };
        let text = |name: &str| Some(change.new.as_ref()?.get(name)?["S"].as_str()?.to_owned());
        if lane == "destinations" {
            match text("disabled") {
                Some(_) => drop(self.destinations.disabled.entry(row.to_owned()).or_insert(now)),
                None => drop(self.destinations.disabled.remove(row)),
            }
            return Ok(());
        }
        if row == "lease" {
            if text("until").is_some_and(|until| until != "-") {
                self.destinations.acquired.insert((caller, lane.to_owned()), now);
            }
            return Ok(());
        }
        let key = (lane.to_owned(), row.to_owned());
        let new = change.new.as_ref().map(read_row);
        let old = match &new {
            Some(new) => self.destinations.rows.insert(key, new.clone()),
            None => self.destinations.rows.remove(&key),
        };
        if old.is_some() && matches!(caller, Caller::Operator(_)) {
            self.destinations.resent.insert((lane.to_owned(), row.to_owned()));
        }
        let (old, new, has_expired) = (old.as_ref(), new.as_ref(), change.expired);
        self.check_delivery(&DeliveryChange { lane, row, old, new, has_expired, caller, now })
    }

    /// Checks that a delivery may change in this way.
    fn check_delivery(&self, change: &DeliveryChange<'_>) -> Checked {
        let DeliveryChange { lane, row, old, new, has_expired, caller, now } = *change;
        let of = old.or(new);
        let event = of.and_then(|of| self.event_of_row(of, row));
        let is_gone = of.is_some_and(|of| self.destinations.gone.contains_key(&of.event_key));
        let is_erased = || {
            let subject = event.and_then(|event| event.subject.as_ref());
            is_gone || subject.is_some_and(|subject| self.erased.contains_key(&hash(subject)))
        };
        let wrong = |what: String| Err(("I12", format!("{row} in {lane} {what}")));
        let Some(new) = new else {
            return if has_expired || is_erased() { Ok(()) } else { wrong("is removed".to_owned()) };
        };
        let is_new_state = old.is_none_or(|old| old.state != new.state);
        let id = row.split('/').nth(1).unwrap_or_default();
        let has_been_accepted = || self.destination_of(lane).is_some_and(|n| self.destinations.has_accepted(n, id));
        match new.state.as_str() {
            _ if !is_new_state => Ok(()),
            "waiting" if old.is_some() && !matches!(caller, Caller::Operator(_)) => wrong("waits again".to_owned()),
            "delivered" if !has_been_accepted() => {
                wrong("is marked as delivered, but its destination has not accepted it".to_owned())
            }
            "dead" if new.attempts < ATTEMPTS => wrong(format!("is dead after {} attempts", new.attempts)),
            "dropped" => match new.reason.as_str() {
                "erased" if is_erased() => Ok(()),
                "expired" if is_gone || event.is_none_or(|event| event.entry.may_be_expired(now + MAX_SKEW)) => Ok(()),
                "discarded by an operator" if matches!(caller, Caller::Operator(_)) => Ok(()),
                reason => wrong(format!("is dropped because it is {reason}")),
            },
            _ => Ok(()),
        }
    }

    fn event_of_row(&self, of: &Row, row: &str) -> Option<&Event> {
        let received_at = row.split('/').next().unwrap_or_default();
        self.destinations.events.get(&(of.event_key.clone(), received_at.to_owned()))
    }

    fn destination_of(&self, lane: &str) -> Option<usize> {
        DESTINATIONS.iter().position(|name| destination_of(lane) == Some(name))
    }

    /// Checks what a destination gets: its content, that it may get it now, and that it is the next one of its lane.
    fn check_content(&self, message: &Message<'_>, id: &str, body: &Value, now: i64) -> Checked {
        let name = DESTINATIONS[message.destination];
        let data = &body["data"];
        let Some(key) = self.destinations.keys.get(id) else {
            return Err(("I12", format!("{name} gets {id}, which is not recorded")));
        };
        let received_at = data["received_at"].as_str().unwrap_or_default();
        let Some(event) = self.destinations.events.get(&(key.clone(), received_at.to_owned())) else {
            return Err(("I12", format!("{name} gets {key} as received at {received_at}")));
        };
        if !event.matches(message.destination) {
            return Err(("I12", format!("{name} gets {key}, which its filter leaves out")));
        }
        let (origin, subject) = (data["conflict_of"].as_str(), data["subject"].as_str());
        let is_whole = data["payload_bytes"].is_u64() || {
            let id = origin.unwrap_or(key);
            self.content(id, data["payload"].to_string().as_bytes())? == event.content
        };
        let is_it = data["event_id"] == **key && origin.is_some() == event.is_copy;
        if !is_it || !is_whole || subject != event.subject.as_deref() || data["source"] != event.source {
            return Err(("I12", format!("{name} gets something else than {key}")));
        }
        let read_at = self.destinations.reads.get(&(message.caller, key.clone())).copied().unwrap_or(i64::MAX);
        if self.destinations.gone.get(key).is_some_and(|gone_at| *gone_at < read_at) {
            return Err(("erasure", format!("{name} gets {key} after it was erased")));
        }
        let disabled_at = self.destinations.disabled.get(name);
        if disabled_at.is_some_and(|at| now - at > DISABLED_WITHIN) && !self.plan.pauses() {
            return Err(("I12", format!("{name} gets {key} although it is disabled")));
        }
        match &event.subject {
            Some(subject) if message.destination == 0 && !self.plan.pauses() => {
                self.check_order(message.caller, &lane_of_subject(name, subject), id, now)
            }
            _ => Ok(()),
        }
    }

    /// Checks that no other message of a lane is being sent, and that no earlier one waits that the sender had to see.
    /// The sender had to see a message that outbox had added when the sender acquired the lane. It also had to see a
    /// message that precedes its own in the same shard, if no later one is done and no operator has sent it again.
    fn check_order(&self, caller: Caller, lane: &str, id: &str, now: i64) -> Checked {
        let of = &self.destinations;
        let is_active = |active: &&Active| active.lane == lane && active.busy_until.is_none_or(|until| now < until);
        if let Some(Active { id: other, .. }) = of.active.values().find(is_active) {
            return Err(("I13", format!("{id} is sent while {other} is being sent in {lane}")));
        }
        let first = (lane.to_owned(), String::new());
        let rows = of.rows.range(first..).take_while(|((other, _), _)| other == lane);
        let (waiting, done): (Vec<_>, Vec<_>) = rows.partition(|(_, row)| row.state == "waiting");
        let waiting: Vec<&String> = waiting.into_iter().map(|((_, row), _)| row).collect();
        let Some(own) = waiting.iter().position(|row| row.ends_with(id)) else {
            return Err(("I13", format!("{id} is sent again in {lane}, although it does not wait")));
        };
        let acquired_at = of.acquired.get(&(caller, lane.to_owned())).copied().unwrap_or_default();
        let was_shown = |row: &str| of.shown.get(row).is_some_and(|shown_at| *shown_at < acquired_at);
        let own_position = of.streamed.get(waiting[own]);
        let is_next = |row: &String| {
            let is_first =
                of.streamed.get(row).zip(own_position).is_some_and(|(its, own)| its.0 == own.0 && its.1 < own.1);
            let is_late = done.iter().any(|((_, other), _)| other > row);
            is_first && !is_late && !of.resent.contains(&(lane.to_owned(), row.clone()))
        };
        match waiting[..own].iter().find(|row| was_shown(row) || is_next(row)) {
            Some(earlier) => Err(("I13", format!("{id} is sent before {earlier} in {lane}"))),
            None => Ok(()),
        }
    }

    /// Checks that every event has reached each destination, or that its delivery is dead or dropped.
    pub fn check_destinations_at_rest(&self, now: i64) -> Checked {
        let of = &self.destinations;
        if let Some(((lane, row), _)) = of.rows.iter().find(|(_, row)| row.state == "waiting") {
            return Err(("liveness", format!("{row} in {lane} still waits")));
        }
        for ((key, received_at), event) in &of.events {
            let is_erased = event.subject.as_ref().is_some_and(|subject| self.erased.contains_key(&hash(subject)));
            if is_erased || of.gone.contains_key(key) || event.entry.may_be_expired(now) {
                continue;
            }
            for (n, name) in DESTINATIONS.iter().enumerate().filter(|(n, _)| event.matches(*n)) {
                let lane = match &event.subject {
                    Some(subject) if n == 0 => lane_of_subject(name, subject),
                    _ => format!("{name}/e-{}", HEXLOWER.encode(&Sha256::digest(key))),
                };
                let row = of.rows.get(&(lane, row_of(key, received_at)));
                let is_settled = row.is_some_and(|row| row.state == "dead" || row.state == "dropped");
                if !is_settled && !of.accepted.contains(&(n, message_id(key), received_at.clone())) {
                    let state = row.map_or("not in the delivery table", |row| &row.state);
                    return Err(("I12", format!("{key} of {received_at} has not reached {name}: it is {state}")));
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Measures the time from the receipt of an event to its delivery.
    pub fn measure(&mut self, message: &Message<'_>, now: i64) -> Checked {
        let body: Value = serde_json::from_slice(message.request.body()).unwrap_or_default();
        let received_at = body["timestamp"].as_str().and_then(Timestamp::parse).map_or(0, Timestamp::as_millis);
        let at = u64::try_from(now - START).unwrap_or_default();
        let id = message.request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        // A message may come twice.
        if let Some(measured) = self.measured.as_mut().filter(|_| message.accepts)
            && measured.seen.insert((message.destination, id.to_owned()))
        {
            match message.destination {
                0 => measured.delays.push((at, now - received_at)),
                _ => measured.accepted += 1,
            }
        }
        Ok(())
    }

    /// Checks a message that a destination gets. Returns the number of the attempt.
    pub fn check_message(&mut self, message: &Message<'_>, now: i64) -> (u64, Checked) {
        let headers = message.request.headers();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = header("webhook-id").to_owned();
        let text = String::from_utf8_lossy(message.request.body());
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let shown = |(_, value): (&http::HeaderName, &http::HeaderValue)| {
            value.to_str().is_ok_and(|text| self.keys.are_shown_in(text))
        };
        let secret = SigningKey::parse(&self.keys.destination_secret(message.destination)).ok();
        let at = header("webhook-timestamp").parse::<i64>().unwrap_or_default();
        let at = Timestamp::clamped(at.saturating_mul(1000));
        let signed = webhook_headers(secret.as_slice(), &id, at, message.request.body());
        let is_signed = !signed.is_empty() && signed.iter().all(|(name, value)| header(name) == value);
        let wrong = [
            (text.contains("FORGED"), "I3", "gets a body that no vendor has signed"),
            (self.keys.are_shown_in(&text) || text.contains("https://control.vapi.ai"), "I8", "gets secrets"),
            (headers.iter().any(shown), "I8", "gets secrets in headers"),
            (!is_signed, "I12", "gets a message without its signature"),
        ];
        let wrong = wrong.into_iter().find(|(is_wrong, ..)| *is_wrong);
        let checked = match wrong {
            Some((_, invariant, what)) => Err((invariant, format!("{} {what}", DESTINATIONS[message.destination]))),
            None => self.model.check_content(message, &id, &body, now),
        };
        let of = &mut self.model.destinations;
        if message.accepts {
            let received_at = body["data"]["received_at"].as_str().unwrap_or_default().to_owned();
            of.accepted.insert((message.destination, id.clone(), received_at));
        }
        of.attempts += 1;
        if let (0, Some(subject)) = (message.destination, body["data"]["subject"].as_str()) {
            of.active.retain(|_, active| active.busy_until.is_none_or(|until| now < until));
            let lane = lane_of_subject(DESTINATIONS[0], subject);
            of.active.insert(of.attempts, Active { lane, id, busy_until: None });
        }
        (of.attempts, checked)
    }
}

fn read_row(item: &Item) -> Row {
    let text = |name: &str| item.get(name).and_then(|value| value["S"].as_str()).unwrap_or_default().to_owned();
    let number = |name: &str| item.get(name).and_then(|value| value["N"].as_str()?.parse().ok()).unwrap_or_default();
    Row {
        state: text("state"),
        attempts: number("attempts"),
        reason: text("reason"),
        event_key: text("event_key"),
        due: Timestamp::parse(&text("due")).map(Timestamp::as_millis),
        expires_at: item.get("expires_at").and_then(|value| value["N"].as_str()?.parse().ok()).unwrap_or(0) - EXTRA_TTL,
    }
}

fn destination_of(lane: &str) -> Option<&str> {
    lane.split('/').next()
}

fn lane_of_subject(destination: &str, subject: &str) -> String {
    format!("{destination}/s-{}", HEXLOWER.encode(&Sha256::digest(subject)))
}

fn message_id(key: &str) -> String {
    format!("evt_{}", HEXLOWER.encode(&Sha256::digest(key)))
}

fn row_of(key: &str, received_at: &str) -> String {
    format!("{received_at}/{}", message_id(key))
}
