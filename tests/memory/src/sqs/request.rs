//! The parameters of requests.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::attributes::Attributes;
use super::error::{Kind, Result, SqsError};

/// A request that names a queue.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueRequest<T> {
    queue_url: String,
    #[serde(flatten)]
    parameters: T,
}

/// An operation without parameters except the queue.
#[derive(Deserialize)]
pub(super) struct NoParameters {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entries<T> {
    pub(super) entries: Vec<Entry<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry<T> {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) parameters: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Send {
    pub(super) message_body: String,
    pub(super) delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: std::collections::BTreeMap<String, AttributeValue>,
}

/// A message attribute's value.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttributeValue {
    /// `String`, `Number` or `Binary`, optionally followed by a dot and a label.
    data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// Encoded as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

impl Send {
    /// Size of the message: its body and attributes. In bytes.
    pub(super) fn size(&self) -> usize {
        let attribute = |(name, value): (&String, &AttributeValue)| {
            let text = value.string_value.as_ref().or(value.binary_value.as_ref()).map_or(0, String::len);
            name.len() + value.data_type.len() + text
        };
        self.message_body.len() + self.message_attributes.iter().map(attribute).sum::<usize>()
    }

    /// Returns the message attributes as `ReceiveMessage` returns them.
    pub(super) fn attributes(&self) -> Map<String, Value> {
        self.message_attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Receive {
    pub(super) max_number_of_messages: Option<i64>,
    pub(super) visibility_timeout: Option<i64>,
    pub(super) wait_time_seconds: Option<i64>,
    #[serde(default)]
    pub(super) attribute_names: Vec<String>,
    #[serde(default)]
    pub(super) message_system_attribute_names: Vec<String>,
    #[serde(default)]
    pub(super) message_attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    pub(super) receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChangeVisibility {
    pub(super) receipt_handle: String,
    pub(super) visibility_timeout: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateQueue {
    pub(super) queue_name: String,
    #[serde(default)]
    pub(super) attributes: Attributes,
    // AWS' model has a lower-case name in this operation.
    #[serde(default, alias = "tags")]
    pub(super) tags: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueUrl {
    pub(super) queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListQueues {
    #[serde(default)]
    pub(super) queue_name_prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetAttributes {
    #[serde(default)]
    pub(super) attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    #[serde(default)]
    pub(super) attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChangeTags {
    #[serde(default)]
    pub(super) tags: Attributes,
    #[serde(default)]
    pub(super) tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartMove {
    pub(super) source_arn: String,
    pub(super) destination_arn: Option<String>,
    pub(super) max_number_of_messages_per_second: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMoves {
    pub(super) source_arn: String,
    pub(super) max_results: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CancelMove {
    pub(super) task_handle: String,
}

/// Parses a request. `null` counts as an empty object.
pub(super) fn read<T: DeserializeOwned>(request: &Value) -> Result<T> {
    let empty = json!({});
    T::deserialize(if request.is_null() { &empty } else { request }).map_err(|error| match error.to_string() {
        missing if missing.starts_with("missing field") => SqsError::new(Kind::MISSING_PARAMETER, missing),
        other => SqsError::invalid(other),
    })
}

/// Parses a request that names a queue. Returns the last segment of the queue's URL, and the other parameters.
pub(super) fn read_for_queue<T: DeserializeOwned>(request: &Value) -> Result<(String, T)> {
    let QueueRequest { queue_url, parameters } = read::<QueueRequest<T>>(request)?;
    let name = queue_url.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or_default();
    Ok((name.to_owned(), parameters))
}

/// Checks that an optional parameter is between `min` and `max`.
pub(super) fn in_range(value: Option<i64>, name: &str, min: i64, max: i64) -> Result<Option<i64>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => Err(SqsError::invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: Must be between {min} and {max}, if provided."
        ))),
        value => Ok(value),
    }
}
