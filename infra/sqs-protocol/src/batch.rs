//! Batches of operations on messages.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::error::{Kind, Result, SqsError};
use crate::request::{Entries, Entry, Send};

/// Maximum size of a message, and of a batch. In bytes.
const MAX_BYTES: usize = 1_048_576;

impl Entries<Send> {
    /// Checks the size of all messages together.
    ///
    /// # Errors
    /// If they are too large.
    pub fn check_size(&self) -> Result<()> {
        if self.entries.iter().map(|entry| entry.parameters.size()).sum::<usize>() > MAX_BYTES {
            let message = format!("The batch is larger than {MAX_BYTES} bytes.");
            return Err(SqsError::new(Kind::BATCH_TOO_LONG, message));
        }
        Ok(())
    }
}

impl<T> Entries<T> {
    /// Runs an operation for each entry and reports each result. A failed entry does not affect the others.
    ///
    /// # Errors
    /// If the number of entries or their ids are not valid.
    pub fn run<E: Into<SqsError>>(self, mut run: impl FnMut(T) -> std::result::Result<Value, E>) -> Result<Value> {
        let ids: BTreeSet<&String> = self.entries.iter().map(|entry| &entry.id).collect();
        let error = match self.entries.len() {
            0 => Some((Kind::EMPTY_BATCH_REQUEST, "The batch request doesn't contain any entries.")),
            1..=10 if ids.len() < self.entries.len() => Some((Kind::IDS_NOT_DISTINCT, "Two entries have the same Id.")),
            1..=10 => None,
            _ => Some((Kind::TOO_MANY_ENTRIES, "The batch request contains more than 10 entries.")),
        };
        if let Some((kind, message)) = error {
            return Err(SqsError::new(kind, message));
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for Entry { id, parameters } in self.entries {
            match run(parameters).map_err(Into::into) {
                Ok(mut output) => {
                    output["Id"] = Value::String(id);
                    successful.push(output);
                }
                Err(SqsError { kind, message }) => failed.push(json!({
                    "Id": id, "Code": kind.code(), "SenderFault": kind.is_client_fault(), "Message": message,
                })),
            }
        }
        let mut output = json!({"Successful": successful});
        if !failed.is_empty() {
            output["Failed"] = Value::Array(failed);
        }
        Ok(output)
    }
}
