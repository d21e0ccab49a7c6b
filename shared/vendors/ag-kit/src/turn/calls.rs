//! The tool calls of a turn. Agents reuse ids, so calls are distinguished by their occurrence.

use std::collections::HashMap;

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// The agent's id for the call. It is not necessarily unique.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The joined pieces of the arguments, which are JSON text when the call is complete.
    pub arguments: String,
    /// The tool's result. The client must run a call without one.
    pub result: Option<String>,
}

/// Calls in the order in which they began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Calls {
    pub(super) list: Vec<Call>,
    by_id: HashMap<String, Occurrences>,
    /// The call that events without an id continue.
    last: Option<usize>,
    /// The number of calls from earlier runs, which accept no more arguments.
    earlier: usize,
}

/// The calls with one id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Occurrences {
    /// The indices of the calls in the list, oldest first.
    indices: Vec<usize>,
    /// The number of oldest calls that all have a result.
    answered: usize,
    /// The first call of the current run without a result, as a position in `indices`, and the list index of the run's
    /// first call.
    next: (usize, usize),
    /// Whether the newest call still accepts arguments.
    is_open: bool,
}

impl Calls {
    /// Ends all calls because another run begins.
    pub(super) fn end_all(&mut self) {
        self.earlier = self.list.len();
        self.last = None;
    }

    /// Begins a call, unless a call with this id and name is open and has no arguments yet.
    pub(super) fn begin(&mut self, id: Option<&str>, name: Option<&str>) {
        let id = id.unwrap_or_default();
        let is_same = |call: &Call| {
            call.arguments.is_empty() && (call.name.is_empty() || name.is_none_or(|name| name == call.name))
        };
        let same = self.open(id).filter(|at| self.list.get(*at).is_some_and(is_same));
        let at = same.unwrap_or_else(|| self.push(id));
        self.set_name(at, name);
        self.last = Some(at);
    }

    /// Adds a piece of a call's arguments.
    pub(super) fn append_arguments(&mut self, id: Option<&str>, delta: &str) {
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

    /// Adds a chunk, which begins or continues a call. A chunk without an id continues the last call.
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
        self.append_arguments(id, delta);
        if let Some(last) = self.last {
            self.set_name(last, name);
        }
    }

    /// Ends the newest call with this id, or the last call if `id` is `None`.
    pub(super) fn end(&mut self, id: Option<&str>) {
        let last = self.last.and_then(|last| self.list.get(last)).map(|call| call.id.as_str());
        if let Some(calls) = id.or(last).and_then(|id| self.by_id.get_mut(id)) {
            calls.is_open = false;
            if calls.indices.last().copied() == self.last {
                self.last = None;
            }
        }
    }

    /// Sets the result of the oldest call with this id that has none, and returns the call's index.
    ///
    /// Calls of the current run come first. If all calls have a result, the newest one is replaced, but never by an
    /// empty text.
    pub(super) fn set_result(&mut self, id: Option<&str>, result: &str) -> usize {
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
                calls.is_open &= calls.indices.last() != Some(&at);
            }
        }
        at
    }

    /// Adds a complete call from a snapshot.
    pub(super) fn add(&mut self, call: Call) {
        let at = self.push(&call.id);
        if let Some(calls) = self.by_id.get_mut(&call.id) {
            calls.is_open = false;
        }
        if let Some(added) = self.list.get_mut(at) {
            *added = call;
        }
    }

    /// Replaces the calls by a snapshot. Empty members of the snapshot keep the values that were received for the same
    /// occurrence. A snapshot without calls changes nothing.
    pub(super) fn replace(&mut self, mut snapshot: Calls) {
        if snapshot.list.is_empty() {
            return;
        }
        for (id, calls) in &snapshot.by_id {
            let received = self.by_id.get(id).map(|calls| calls.indices.as_slice()).unwrap_or_default();
            for (at, received) in calls.indices.iter().zip(received) {
                if let (Some(call), Some(received)) = (snapshot.list.get_mut(*at), self.list.get_mut(*received)) {
                    fill(&mut call.name, &mut received.name);
                    fill(&mut call.arguments, &mut received.arguments);
                    if call.result.as_ref().is_none_or(String::is_empty) {
                        call.result = received.result.take().or(call.result.take());
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
        calls.indices.push(at);
        calls.is_open = true;
        at
    }

    fn newest(&self, id: &str) -> Option<usize> {
        self.by_id.get(id)?.indices.last().copied()
    }

    fn open(&self, id: &str) -> Option<usize> {
        let newest = self.by_id.get(id).filter(|calls| calls.is_open)?.indices.last().copied();
        newest.filter(|at| *at >= self.earlier)
    }

    fn set_name(&mut self, at: usize, name: Option<&str>) {
        let call = self.list.get_mut(at).filter(|call| call.name.is_empty());
        if let (Some(call), Some(name)) = (call, name) {
            name.clone_into(&mut call.name);
        }
    }
}

impl Occurrences {
    /// The oldest call without a result, preferably of the run that began with the call `earlier`. The cursors only
    /// advance, so the total cost is linear.
    fn unanswered(&mut self, list: &[Call], earlier: usize) -> Option<usize> {
        if self.next.1 != earlier {
            self.next = (self.indices.partition_point(|at| *at < earlier), earlier);
        }
        for cursor in [&mut self.next.0, &mut self.answered] {
            while self.indices.get(*cursor).is_some_and(|at| list.get(*at).is_some_and(has_result)) {
                *cursor += 1;
            }
        }
        self.indices.get(self.next.0).or(self.indices.get(self.answered)).copied()
    }
}

fn has_result(call: &Call) -> bool {
    call.result.is_some()
}

fn fill(empty: &mut String, from: &mut String) {
    if empty.is_empty() {
        *empty = std::mem::take(from);
    }
}
