//! The tool calls of a turn, by occurrence: agents use an id again for a later call.

use std::collections::HashMap;

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// The agent's id for the call. It need not be unique.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, their pieces joined: JSON text once the call is complete.
    pub arguments: String,
    /// The tool's answer. A call without one is the client's to do.
    pub result: Option<String>,
}

/// Calls in the order in which they began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Calls {
    pub(super) list: Vec<Call>,
    by_id: HashMap<String, Occurrences>,
    /// The call that events without an id continue.
    last: Option<usize>,
    /// How many of the calls were begun in earlier runs: they take no more arguments.
    earlier: usize,
}

/// The calls of one id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Occurrences {
    /// Their places in the list, the oldest first.
    places: Vec<usize>,
    /// How many of the oldest have a result.
    answered: usize,
    /// The first call of the current run that has no result yet, as an index of `places`, and the run's beginning.
    next: (usize, usize),
    /// Whether the newest still takes arguments.
    is_open: bool,
}

impl Calls {
    /// Ends all calls, since another run begins.
    pub(super) fn end_all(&mut self) {
        self.earlier = self.list.len();
        self.last = None;
    }

    /// Begins a call. A call of this id and name that is open and has no arguments yet is the same call.
    pub(super) fn begin(&mut self, id: Option<&str>, name: Option<&str>) {
        let id = id.unwrap_or_default();
        let is_same = |call: &Call| {
            call.arguments.is_empty() && (call.name.is_empty() || name.is_none_or(|name| name == call.name))
        };
        let same = self.open(id).filter(|at| self.list.get(*at).is_some_and(is_same));
        let at = same.unwrap_or_else(|| self.push(id));
        self.name(at, name);
        self.last = Some(at);
    }

    /// Adds a piece of a call's arguments.
    pub(super) fn argue(&mut self, id: Option<&str>, delta: &str) {
        let at = match id {
            Some(id) => self.open(id).or_else(|| self.newest(id)),
            None => self.last,
        };
        let at = at.unwrap_or_else(|| self.push(id.unwrap_or_default()));
        if let Some(call) = self.list.get_mut(at) {
            call.arguments.push_str(delta);
        }
        self.last = Some(at);
    }

    /// Takes a chunk, which begins or continues a call: without an id it continues the last one.
    pub(super) fn chunk(&mut self, id: Option<&str>, name: Option<&str>, delta: &str) {
        let continued = match (id, self.last.and_then(|last| self.list.get(last))) {
            (None, Some(last)) => name.is_none_or(|name| last.name.is_empty() || last.name == name),
            (None, None) => false,
            (Some(id), _) => self.open(id).is_some() || (name.is_none() && self.newest(id).is_some()),
        };
        if !continued {
            let at = self.push(id.unwrap_or_default());
            self.last = Some(at);
        }
        self.argue(id, delta);
        if let Some(last) = self.last {
            self.name(last, name);
        }
    }

    /// Ends the call of this id; without an id, the last one.
    pub(super) fn end(&mut self, id: Option<&str>) {
        let last = self.last.and_then(|last| self.list.get(last)).map(|call| call.id.as_str());
        if let Some(calls) = id.or(last).and_then(|id| self.by_id.get_mut(id)) {
            calls.is_open = false;
            if calls.places.last().copied() == self.last {
                self.last = None;
            }
        }
    }

    /// Gives the oldest unanswered call of this id its result; those of the current run come first. Where all have one,
    /// the newest result is replaced, though not by an empty text. Returns the call's place.
    pub(super) fn answer(&mut self, id: Option<&str>, result: &str) -> usize {
        let earlier = self.earlier;
        let unanswered = match id {
            Some(id) => self.by_id.get_mut(id).and_then(|calls| calls.unanswered(&self.list, earlier)),
            None => self.last,
        };
        let id = id.unwrap_or_default();
        let at = unanswered.or_else(|| self.newest(id)).unwrap_or_else(|| self.push(id));
        if let Some(call) = self.list.get_mut(at) {
            if call.result.is_none() || !result.is_empty() {
                call.result = Some(result.to_owned());
            }
            if let Some(calls) = self.by_id.get_mut(&call.id) {
                calls.is_open &= calls.places.last() != Some(&at);
            }
        }
        at
    }

    /// Adds a call that is complete, as snapshots have them.
    pub(super) fn add(&mut self, call: Call) {
        let at = self.push(&call.id);
        if let Some(calls) = self.by_id.get_mut(&call.id) {
            calls.is_open = false;
        }
        if let Some(place) = self.list.get_mut(at) {
            *place = call;
        }
    }

    /// Replaces these calls by a snapshot. What the snapshot leaves empty keeps what was received for the same
    /// occurrence. A snapshot without calls replaces none.
    pub(super) fn replace(&mut self, mut snapshot: Calls) {
        if snapshot.list.is_empty() {
            return;
        }
        for (id, calls) in &snapshot.by_id {
            let before = self.by_id.get(id).map(|calls| calls.places.as_slice()).unwrap_or_default();
            for (now, before) in calls.places.iter().zip(before) {
                if let (Some(call), Some(before)) = (snapshot.list.get_mut(*now), self.list.get_mut(*before)) {
                    fill(&mut call.name, &mut before.name);
                    fill(&mut call.arguments, &mut before.arguments);
                    if call.result.as_ref().is_none_or(String::is_empty) {
                        call.result = before.result.take().or(call.result.take());
                    }
                }
            }
        }
        *self = snapshot;
    }

    fn push(&mut self, id: &str) -> usize {
        let at = self.list.len();
        self.list.push(Call { id: id.to_owned(), ..Call::default() });
        let calls = self.by_id.entry(id.to_owned()).or_default();
        calls.places.push(at);
        calls.is_open = true;
        at
    }

    fn newest(&self, id: &str) -> Option<usize> {
        self.by_id.get(id)?.places.last().copied()
    }

    fn open(&self, id: &str) -> Option<usize> {
        let newest = self.by_id.get(id).filter(|calls| calls.is_open)?.places.last().copied();
        newest.filter(|at| *at >= self.earlier)
    }

    fn name(&mut self, at: usize, name: Option<&str>) {
        let call = self.list.get_mut(at).filter(|call| call.name.is_empty());
        if let (Some(call), Some(name)) = (call, name) {
            name.clone_into(&mut call.name);
        }
    }
}

impl Occurrences {
    /// The oldest call without a result, of the run that began with the call `earlier` if it has one. The pointers only
    /// advance.
    fn unanswered(&mut self, list: &[Call], earlier: usize) -> Option<usize> {
        if self.next.1 != earlier {
            self.next = (self.places.partition_point(|at| *at < earlier), earlier);
        }
        for pointer in [&mut self.next.0, &mut self.answered] {
            while self.places.get(*pointer).is_some_and(|at| list.get(*at).is_some_and(is_answered)) {
                *pointer += 1;
            }
        }
        self.places.get(self.next.0).or(self.places.get(self.answered)).copied()
    }
}

fn is_answered(call: &Call) -> bool {
    call.result.is_some()
}

fn fill(empty: &mut String, from: &mut String) {
    if empty.is_empty() {
        *empty = std::mem::take(from);
    }
}
