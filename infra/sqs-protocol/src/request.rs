//! The parameters of requests.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::attributes::Attributes;
use crate::error::{Kind, Result, SqsError};
use crate::message::{AttributeValue, MessageAttributes};

/// A request that names a queue.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueRequest<T> {
    queue_url: String,
    #[serde(flatten)]
    parameters: T,
}

/// An operation without parameters except the queue.
#[derive(Debug, Deserialize)]
pub struct NoParameters {}

/// The entries of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct Entries<T> {
    pub entries: Vec<Entry<T>>,
}

/// An entry of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct Entry<T> {
    pub id: String,
    #[serde(flatten)]
    pub parameters: T,
}

/// The parameters of `SendMessage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct Send {
    pub message_body: String,
    pub delay_seconds: Option<i64>,
    #[serde(default)]
    pub message_attributes: MessageAttributes,
    /// Makes the queue fair: a group with many messages does not delay the others.
    pub message_group_id: Option<String>,
}

impl Send {
    /// Size of the message: its body and attributes. In bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let attribute = |(name, value): (&String, &AttributeValue)| {
            let text = value.string_value.as_ref().or(value.binary_value.as_ref()).map_or(0, String::len);
            name.len() + value.data_type.len() + text
        };
        self.message_body.len() + self.message_attributes.iter().map(attribute).sum::<usize>()
    }

    /// Checks the size and the contents of the message. `max` is the queue's largest message, in bytes.
    ///
    /// # Errors
    /// If SQS would not accept the message.
    pub fn check(&self, max: i64) -> Result<()> {
        if usize::try_from(max).is_ok_and(|max| self.size() > max) {
            return Err(SqsError::invalid(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {max} bytes."
            )));
        }
        if self.message_body.is_empty() {
            return Err(SqsError::new(Kind::MISSING_PARAMETER, "The request must contain the parameter MessageBody."));
        }
        if self.message_attributes.len() > 10 {
            return Err(SqsError::invalid("Number of message attributes exceeds the allowed maximum [10]."));
        }
        let is_group =
            |group: &str| (1..=128).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic());
        if self.message_group_id.as_deref().is_some_and(|group| !is_group(group)) {
            let message =
                "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.";
            return Err(SqsError::invalid(message.to_owned()));
        }
        // SQS rejects characters that XML, the format of the query protocol, cannot represent.
        let allowed = |c: char| c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}') || matches!(c, '\t' | '\n' | '\r');
        if !self.message_body.chars().all(allowed) {
            let message = "The message contains characters outside the allowed set.";
            return Err(SqsError::new(Kind::INVALID_MESSAGE_CONTENTS, message));
        }
        Ok(())
    }
}

/// The parameters of `ReceiveMessage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct Receive {
    pub max_number_of_messages: Option<i64>,
    pub visibility_timeout: Option<i64>,
    pub wait_time_seconds: Option<i64>,
    #[serde(default)]
    pub attribute_names: Vec<String>,
    #[serde(default)]
    pub message_system_attribute_names: Vec<String>,
    #[serde(default)]
    pub message_attribute_names: Vec<String>,
}

/// The parameters of `DeleteMessage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct Delete {
    pub receipt_handle: String,
}

/// The parameters of `ChangeMessageVisibility`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct ChangeVisibility {
    pub receipt_handle: String,
    pub visibility_timeout: i64,
}

/// The parameters of `CreateQueue`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct CreateQueue {
    pub queue_name: String,
    #[serde(default)]
    pub attributes: Attributes,
    // AWS' model has a lower-case name in this operation.
    #[serde(default, alias = "tags")]
    pub tags: Attributes,
}

/// The parameters of `GetQueueUrl`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct GetQueueUrl {
    pub queue_name: String,
}

/// The parameters of `ListQueues`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct ListQueues {
    #[serde(default)]
    pub queue_name_prefix: String,
}

/// The parameters of `GetQueueAttributes`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct GetAttributes {
    #[serde(default)]
    pub attribute_names: Vec<String>,
}

/// The parameters of `SetQueueAttributes`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct SetAttributes {
    #[serde(default)]
    pub attributes: Attributes,
}

/// The parameters of `TagQueue` and `UntagQueue`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct ChangeTags {
    #[serde(default)]
    pub tags: Attributes,
    #[serde(default)]
    pub tag_keys: Vec<String>,
}

/// The parameters of `StartMessageMoveTask`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct StartMove {
    pub source_arn: String,
    pub destination_arn: Option<String>,
    pub max_number_of_messages_per_second: Option<i64>,
}

/// The parameters of `ListMessageMoveTasks`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct ListMoves {
    pub source_arn: String,
    pub max_results: Option<i64>,
}

/// The parameters of `CancelMessageMoveTask`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "they are AWS' names")]
pub struct CancelMove {
    pub task_handle: String,
}

/// Parses a request. `null` counts as an empty object.
///
/// # Errors
/// If a parameter is missing or not valid.
pub fn read<T: DeserializeOwned>(request: &Value) -> Result<T> {
    let empty = json!({});
    T::deserialize(if request.is_null() { &empty } else { request }).map_err(|error| match error.to_string() {
        missing if missing.starts_with("missing field") => SqsError::new(Kind::MISSING_PARAMETER, missing),
        other => SqsError::invalid(other),
    })
}

/// Parses a request that names a queue. Returns the last segment of the queue's URL, and the other parameters.
///
/// # Errors
/// If a parameter is missing or not valid.
pub fn read_for_queue<T: DeserializeOwned>(request: &Value) -> Result<(String, T)> {
    let QueueRequest { queue_url, parameters } = read::<QueueRequest<T>>(request)?;
    let name = queue_url.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or_default();
    Ok((name.to_owned(), parameters))
}

/// Checks that an optional parameter is between `min` and `max`.
///
/// # Errors
/// If it is not.
pub fn in_range(value: Option<i64>, name: &str, min: i64, max: i64) -> Result<Option<i64>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => Err(SqsError::invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: Must be between {min} and {max}, if provided."
        ))),
        value => Ok(value),
    }
}
