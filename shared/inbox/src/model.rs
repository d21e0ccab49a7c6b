//! `record` in memory, as short as it can be said: what the store is tested against.

use std::collections::{HashMap, HashSet};

use gatehouse_payload::time::Timestamp;

use crate::Outcome;
use crate::event::{Event, EventId, Fingerprint, Nonce};

/// A table that never fails.
#[derive(Debug, Default)]
pub struct Model {
    ttl_seconds: i64,
    records: HashMap<EventId, (Held, HashMap<Fingerprint, i64>)>,
}

#[derive(Debug)]
struct Held {
    fingerprint: Fingerprint,
    nonce: Nonce,
    expires_at: i64,
}

impl Model {
    /// An empty table that keeps what it gets for `ttl_days`.
    #[must_use]
    pub fn new(ttl_days: u32) -> Self {
        Model { ttl_seconds: i64::from(ttl_days) * 86_400, records: HashMap::new() }
    }

    /// Records `event` once.
    pub fn record(&mut self, event: &Event, now: Timestamp) -> Outcome {
        let (now, expires_at) = (now.as_secs(), now.as_secs() + self.ttl_seconds);
        let fresh = Held { fingerprint: event.fingerprint, nonce: event.nonce, expires_at };
        let Some((held, copies)) = self.records.get_mut(&event.id) else {
            self.records.insert(event.id.clone(), (fresh, HashMap::new()));
            return Outcome::Recorded;
        };
        if held.expires_at < now {
            // The copies have their own expiry.
            *held = fresh;
            return Outcome::Recorded;
        }
        if held.nonce == event.nonce {
            return Outcome::Recorded;
        }
        if held.fingerprint == event.fingerprint || event.is_one_question {
            return Outcome::Duplicate;
        }
        let copy = copies.entry(event.fingerprint).or_insert(expires_at);
        if *copy < now {
            *copy = expires_at;
        }
        Outcome::Conflict
    }

    /// The fingerprint of what `id` shows, and of the copies beside it.
    #[must_use]
    pub fn visible(&self, id: &EventId, now: Timestamp) -> (Option<Fingerprint>, HashSet<Fingerprint>) {
        let now = now.as_secs();
        let Some((held, copies)) = self.records.get(id) else { return (None, HashSet::new()) };
        let copies = copies.iter().filter(|(_, expires_at)| **expires_at >= now).map(|(copy, _)| *copy).collect();
        ((held.expires_at >= now).then_some(held.fingerprint), copies)
    }
}
