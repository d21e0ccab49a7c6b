//! The cost part of the model: the requests and write units of each event, as `docs/table.md` says.

use std::collections::BTreeMap;

use gatehouse_memory::dynamodb::{Change, Item};
use serde_json::Value;

use super::Checked;
use crate::network::{Caller, item_key};

/// The requests of each instance since its last delivery or turn began.
#[derive(Debug, Default)]
pub struct Cost {
    requests: BTreeMap<usize, Vec<Request>>,
    /// The keys of the items that others changed in the meantime, once for each change.
    changed_by_others: BTreeMap<usize, Vec<String>>,
}

#[derive(Debug, Clone)]
struct Request {
    operation: String,
    key: String,
    write_units: u64,
    /// The nonce of the item.
    nonce: Option<String>,
    /// Whether the item was written.
    is_written: bool,
    /// Whether it replaced another one, which costs one more unit for each index entry that moves.
    is_replaced: bool,
}

impl Cost {
    /// Counts a request to DynamoDB.
    pub fn count(&mut self, caller: Caller, operation: &str, body: &Value, write_units: u64, changes: &[Change]) {
        for (number, changed) in &mut self.changed_by_others {
            let by_others = changes.iter().filter(|change| change.expired || caller != Caller::Instance(*number));
            changed.extend(by_others.map(|change| change.key.clone()));
        }
        if let Caller::Instance(number) = caller {
            let key = item_key(body).unwrap_or_default().to_owned();
            let nonce = body.pointer("/Item/nonce/B").and_then(Value::as_str).map(str::to_owned);
            let operation = operation.to_owned();
            let is_replaced = changes.iter().any(|change| change.old.is_some());
            let request = Request { operation, key, write_units, nonce, is_written: !changes.is_empty(), is_replaced };
            self.requests.entry(number).or_default().push(request);
        }
    }

    /// Whether an instance has written an item since its last delivery or turn began.
    #[must_use]
    pub fn has_written(&self, instance: usize, key: &str) -> bool {
        let requests = self.requests.get(&instance);
        requests.is_some_and(|requests| {
            requests.iter().filter(|request| request.key == key).any(|request| request.is_written)
        })
    }

    /// Returns the nonce with which an instance has tried to write an item since its last delivery or turn began.
    #[must_use]
    pub fn nonce_of(&self, caller: Caller, key: &str) -> Option<&String> {
        let Caller::Instance(number) = caller else { return None };
        let mut requests = self.requests.get(&number)?.iter().rev();
        requests.find(|request| request.key == key && request.nonce.is_some())?.nonce.as_ref()
    }

    /// Checks the number of writes of a chat turn that nothing disturbed: the record; with a key the claim, its
    /// extension and its completion; with limits the slot and its release. The item of a claim or of slots may have to
    /// be read before it can be replaced, which is a write whose condition fails. It fails again when another turn has
    /// changed the claim in the meantime.
    pub fn end_turn(&mut self, instance: usize, has_key: bool, has_limits: bool) -> Checked {
        /// The number of attempts while other turns change the slots.
        const SLOT_ATTEMPTS: usize = 8;
        let requests = self.requests.remove(&instance).unwrap_or_default();
        let changed = self.changed_by_others.remove(&instance).unwrap_or_default();
        let writes: Vec<_> = requests.iter().filter(|request| !request.operation.contains("Get")).collect();
        let is_own_claim = |key: &&String| key.starts_with("claim:") && writes.iter().any(|write| write.key == **key);
        let claim_changes = changed.iter().filter(is_own_claim).count();
        let least = 1 + if has_key { 3 } else { 0 } + if has_limits { 2 } else { 0 };
        let most = least + if has_key { 1 + claim_changes } else { 0 } + if has_limits { SLOT_ATTEMPTS } else { 0 };
        if (least..=most).contains(&writes.len()) {
            return Ok(());
        }
        let writes: Vec<_> = writes.iter().map(|request| format!("{} {}", request.operation, request.key)).collect();
        Err(("cost", format!("a turn took {} writes: {}", writes.len(), writes.join(", "))))
    }

    /// Begins a delivery or a turn.
    pub fn begin(&mut self, instance: usize) {
        self.requests.insert(instance, Vec::new());
        self.changed_by_others.insert(instance, Vec::new());
    }

    /// Checks the cost of a delivery whose item is `item`. Without faults it is exactly the documented one, else at
    /// most twice as many requests, because each is attempted twice.
    pub fn end(&mut self, instance: usize, outcome: &str, item: &Item, is_exact: bool) -> Checked {
        let requests = self.requests.remove(&instance).unwrap_or_default();
        self.changed_by_others.remove(&instance);
        // The list of erased subjects is read once a minute, whatever arrives.
        let requests: Vec<Request> = requests.into_iter().filter(|request| request.key != "erased").collect();
        // A question costs its claim; a copy that does not get the claim reads the record until it finds it.
        let (claims, requests): (Vec<Request>, Vec<Request>) =
            requests.into_iter().partition(|request| request.key.starts_with("ask:"));
        let is_read = |request: &Request| !claims.is_empty() && request.operation == "GetItem";
        let requests: Vec<Request> = requests.into_iter().filter(|request| !is_read(request)).collect();
        let claimed: u64 = claims.iter().filter(|claim| claim.is_written).map(|claim| claim.write_units).sum();
        if is_exact && outcome == "recorded" && claimed > 1 {
            return Err(("cost", format!("the claim of a question took {claimed} write units")));
        }
        let (least, most) = match outcome {
            "recorded" | "duplicate" => (1, 1),
            "conflict" => (2, 2),
            _ => (0, 3),
        };
        // A copy that has read the record does not write.
        let least = if claims.is_empty() { least } else { 0 };
        let most = if is_exact { most } else { 2 * most };
        if requests.len() < least || requests.len() > most {
            let operations: Vec<_> =
                requests.iter().map(|request| format!("{} {}", request.operation, request.key)).collect();
            return Err(("cost", format!("{outcome} took {} requests: {}", requests.len(), operations.join(", "))));
        }
        let units: u64 = requests.iter().map(|request| request.write_units).sum();
        let of_item = size(item).div_ceil(1024);
        let expected = match outcome {
            "recorded" => of_item + 1 + u64::from(item.contains_key("subject")),
            "duplicate" => of_item,
            _ => return Ok(()),
        };
        let has_written = claims.is_empty() || !requests.is_empty();
        if is_exact && has_written && units != expected && !requests.iter().any(|request| request.is_replaced) {
            return Err(("cost", format!("{outcome} took {units} write units, not {expected}")));
        }
        Ok(())
    }
}

/// Returns the size of an item in bytes, as DynamoDB bills it.
fn size(item: &Item) -> u64 {
    let value = |value: &Value| match (value["S"].as_str(), value["B"].as_str(), value["N"].as_str()) {
        (Some(text), ..) => text.len(),
        (_, Some(base64), _) => base64.trim_end_matches('=').len() * 3 / 4,
        (.., Some(number)) => number.trim_end_matches('0').len().div_ceil(2) + 1,
        _ => 1,
    };
    item.iter().map(|(name, attribute)| (name.len() + value(attribute)) as u64).sum()
}
