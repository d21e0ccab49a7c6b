//! A minimal in-memory model of `record`, against which the store is tested.

use std::collections::{HashMap, HashSet};

use gatehouse_payload::time::Timestamp;

use gatehouse_payload::Outcome;
use gatehouse_payload::event::{Event, EventId, Fingerprint, Nonce};

/// An in-memory table that never fails.
#[derive(Debug, Default)]
pub struct Model {
    ttl_seconds: i64,
    /// The current record of each id, and the expiry of each conflicting copy.
    records: HashMap<EventId, (Stored, HashMap<Fingerprint, i64>)>,
}

#[derive(Debug)]
struct Stored {
    fingerprint: Fingerprint,
    nonce: Nonce,
    expires_at: i64,
}

impl Model {
    /// Creates an empty table whose records expire after `ttl_days`.
    #[must_use]
    pub fn new(ttl_days: u32) -> Self {
        Model { ttl_seconds: i64::from(ttl_days) * 86_400, records: HashMap::new() }
    }

    /// Records `event` once.
    pub fn record(&mut self, event: &Event, now: Timestamp) -> Outcome {
        let (now, expires_at) = (now.as_secs(), now.as_secs() + self.ttl_seconds);
        let new = Stored { fingerprint: event.fingerprint, nonce: event.nonce, expires_at };
        let Some((existing, copies)) = self.records.get_mut(&event.id) else {
            self.records.insert(event.id.clone(), (new, HashMap::new()));
            return Outcome::Recorded;
        };
        if existing.expires_at < now {
            // The copies have their own expiry.
            *existing = new;
            return Outcome::Recorded;
        }
        if existing.nonce == event.nonce {
            return Outcome::Recorded;
        }
        if existing.fingerprint == event.fingerprint || event.is_one_question {
            return Outcome::Duplicate;
        }
        let copy_expires_at = copies.entry(event.fingerprint).or_insert(expires_at);
        if *copy_expires_at < now {
            *copy_expires_at = expires_at;
        }
        Outcome::Conflict
    }

    /// Returns the fingerprints of the visible record of `id`, and of its conflicting copies.
    #[must_use]
    pub fn visible(&self, id: &EventId, now: Timestamp) -> (Option<Fingerprint>, HashSet<Fingerprint>) {
        let now = now.as_secs();
        let Some((record, copies)) = self.records.get(id) else { return (None, HashSet::new()) };
        let copies = copies.iter().filter(|(_, expires_at)| **expires_at >= now).map(|(copy, _)| *copy).collect();
        ((record.expires_at >= now).then_some(record.fingerprint), copies)
    }
}
