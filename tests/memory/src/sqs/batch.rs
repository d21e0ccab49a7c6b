//! Operations on one message, and on several messages at once.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Sqs;
use super::error::{Kind, Result, SqsError};
use super::request::{Entries, Entry, Send, read_for_queue};

/// Maximum size of a batch. In bytes.
const MAX_BYTES: usize = 1_048_576;

/// An operation on one message of a queue, at a time.
type Operation<T> = fn(&mut Sqs, &str, &T, i64) -> Result<Value>;

impl Sqs {
    /// Runs an operation for a request about one message.
    pub(super) fn single<T: DeserializeOwned>(
        &mut self,
        request: &Value,
        now: i64,
        operation: Operation<T>,
    ) -> Result<Value> {
        let (queue, parameters) = read_for_queue(request)?;
        self.queue(&queue)?;
        operation(self, &queue, &parameters, now)
    }

    /// Runs an operation for each entry of a batch request.
    pub(super) fn batch<T: DeserializeOwned>(
        &mut self,
        request: &Value,
        now: i64,
        operation: Operation<T>,
    ) -> Result<Value> {
        let (queue, batch) = read_for_queue(request)?;
        self.queue(&queue)?;
        self.run_batch(&queue, batch, now, operation)
    }

    /// `SendMessageBatch`: sends several messages.
    pub(super) fn send_batch(&mut self, request: &Value, now: i64) -> Result<Value> {
        let (queue, batch) = read_for_queue::<Entries<Send>>(request)?;
        self.queue(&queue)?;
        if batch.entries.iter().map(|entry| entry.parameters.size()).sum::<usize>() > MAX_BYTES {
            let message = format!("The batch is larger than {MAX_BYTES} bytes.");
            return Err(SqsError::new(Kind::BATCH_TOO_LONG, message));
        }
        self.run_batch(&queue, batch, now, Self::send)
    }

    /// Runs an operation for each entry and reports each result. A failed entry does not affect the others.
    fn run_batch<T>(&mut self, queue: &str, batch: Entries<T>, now: i64, operation: Operation<T>) -> Result<Value> {
        let ids: BTreeSet<&String> = batch.entries.iter().map(|entry| &entry.id).collect();
        let error = match batch.entries.len() {
            0 => Some((Kind::EMPTY_BATCH_REQUEST, "The batch request doesn't contain any entries.")),
            1..=10 if ids.len() < batch.entries.len() => {
                Some((Kind::IDS_NOT_DISTINCT, "Two entries have the same Id."))
            }
            1..=10 => None,
            _ => Some((Kind::TOO_MANY_ENTRIES, "The batch request contains more than 10 entries.")),
        };
        if let Some((kind, message)) = error {
            return Err(SqsError::new(kind, message));
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for Entry { id, parameters } in batch.entries {
            match operation(self, queue, &parameters, now) {
                Ok(mut output) => {
                    output["Id"] = Value::String(id);
                    successful.push(output);
                }
                Err(SqsError { kind, message }) => {
                    failed.push(json!({"Id": id, "Code": kind.code, "SenderFault": true, "Message": message}));
                }
            }
        }
        let mut output = json!({"Successful": successful});
        if !failed.is_empty() {
            output["Failed"] = Value::Array(failed);
        }
        Ok(output)
    }
}
