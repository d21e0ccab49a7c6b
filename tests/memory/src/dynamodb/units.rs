//! Capacity units of requests, as AWS bills them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::Failure;

/// The capacity units of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Units {
    /// Read units: one for each started 4 KB, or a half for an eventually consistent read.
    pub read: f64,
    /// Write units of the table and its indexes: one for each started KB.
    pub write: u64,
}

/// The units of a request by table and index.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Consumed {
    pub(super) table: Units,
    pub(super) indexes: BTreeMap<String, Units>,
}

impl Units {
    /// The units of writing or deleting an item or an index entry.
    pub(super) fn writing(bytes: usize) -> u64 {
        (bytes as u64).div_ceil(1024).max(1)
    }

    /// The units of reading items that have this size together.
    pub(super) fn reading(bytes: usize, is_consistent: bool) -> Self {
        let units = u32::try_from(bytes.div_ceil(4096).max(1)).unwrap_or(u32::MAX);
        Units { read: f64::from(units) * if is_consistent { 1.0 } else { 0.5 }, write: 0 }
    }

    #[allow(clippy::cast_precision_loss, reason = "an item has at most 400 units")]
    fn capacity(self) -> f64 {
        self.read + self.write as f64
    }
}

impl std::ops::AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.write += other.write;
    }
}

impl Consumed {
    /// The units of the table and all indexes.
    pub(super) fn total(&self) -> Units {
        let mut total = self.table;
        self.indexes.values().for_each(|units| total += *units);
        total
    }

    /// Returns the `ConsumedCapacity` that the request asks for.
    ///
    /// # Errors
    /// If `ReturnConsumedCapacity` is invalid.
    pub(super) fn shown(&self, request: &Value, table: &str) -> Result<Option<Value>, Failure> {
        let shown = json!({"TableName": table, "CapacityUnits": self.total().capacity()});
        match option(request, "ReturnConsumedCapacity", &["INDEXES", "TOTAL", "NONE"])? {
            "TOTAL" => Ok(Some(shown)),
            "INDEXES" => {
                let mut shown = shown;
                shown["Table"] = json!({"CapacityUnits": self.table.capacity()});
                for (name, units) in &self.indexes {
                    shown["GlobalSecondaryIndexes"][name] = json!({"CapacityUnits": units.capacity()});
                }
                Ok(Some(shown))
            }
            _ => Ok(None),
        }
    }
}

/// Returns a text that must be one of some options; `NONE` if it is absent.
///
/// # Errors
/// If it has another value.
pub(super) fn option<'r>(request: &'r Value, member: &str, options: &[&str]) -> Result<&'r str, Failure> {
    match request.get(member) {
        None | Some(Value::Null) => Ok("NONE"),
        Some(Value::String(text)) if options.contains(&text.as_str()) => Ok(text),
        Some(other) => {
            let mut at = member.to_owned();
            at.get_mut(..1).map(str::make_ascii_lowercase);
            Err(Failure::invalid(format!(
                "1 validation error detected: Value '{}' at '{at}' failed to satisfy constraint: Member must satisfy \
                 enum value set: [{}]",
                other.as_str().unwrap_or_default(),
                options.join(", ")
            )))
        }
    }
}
