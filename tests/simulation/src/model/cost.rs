//! The cost part of the model: the requests and write units of each event, as `docs/table.md` says.

use std::collections::BTreeMap;

use super::Checked;
use crate::network::Caller;

/// The requests of each instance since its last invocation began.
#[derive(Debug, Default)]
pub struct Cost {
    requests: BTreeMap<usize, Vec<Request>>,
}

#[derive(Debug, Clone)]
struct Request {
    operation: String,
    key: String,
    write_units: u64,
}

impl Cost {
    /// Counts a request to DynamoDB.
    pub fn count(&mut self, caller: Caller, operation: &str, key: &str, write_units: u64) {
        if let Caller::Instance(number) = caller {
            let request = Request { operation: operation.to_owned(), key: key.to_owned(), write_units };
            self.requests.entry(number).or_default().push(request);
        }
    }

    /// Begins an invocation.
    pub fn begin(&mut self, instance: usize) {
        self.requests.insert(instance, Vec::new());
    }

    /// Checks the cost of a delivery with this outcome. Without faults it is exactly the documented one, else at most
    /// twice as many requests, because each is attempted twice. `has_subject` adds the entry in the index of subjects.
    pub fn end(&mut self, instance: usize, outcome: &str, is_large: bool, item_units: u64, has_subject: bool, is_calm: bool) -> Checked {
        let requests = self.requests.remove(&instance).unwrap_or_default();
        // The list of erased subjects is read once a minute, whatever arrives.
        let requests: Vec<Request> = requests.into_iter().filter(|request| request.key != "erased").collect();
        let count = requests.len();
        let most = match (outcome, is_large) {
            (_, true) => return Ok(()),
            ("recorded" | "duplicate", _) => 1,
            ("conflict", _) => 2,
            ("erased", _) => 3,
            _ => 3,
        };
        let attempts = if is_calm { 1 } else { 2 };
        if count > most * attempts || is_calm && count != most {
            let operations: Vec<_> = requests.iter().map(|request| format!("{} {}", request.operation, request.key)).collect();
            return Err(("cost", format!("{outcome} took {count} requests, not {most}: {}", operations.join(", "))));
        }
        let units: u64 = requests.iter().map(|request| request.write_units).sum();
        let expected = item_units + 1 + u64::from(has_subject);
        if is_calm && outcome == "recorded" && units != expected {
            return Err(("cost", format!("a recorded event took {units} write units, not {expected}")));
        }
        Ok(())
    }
}
