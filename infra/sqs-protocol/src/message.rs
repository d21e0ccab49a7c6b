//! Messages, as requests and responses contain them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::digest;
use crate::request::Receive;

/// A message attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeValue {
    /// `String`, `Number` or `Binary`, optionally followed by a dot and a label.
    pub data_type: String,
    /// The value, except of binary attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a binary attribute, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

/// Message attributes, sorted by name: the digest needs this order.
pub type MessageAttributes = BTreeMap<String, AttributeValue>;

/// A message that `ReceiveMessage` returns. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedMessage<'m> {
    /// The message id.
    pub id: &'m str,
    /// The receipt handle.
    pub handle: &'m str,
    /// The body.
    pub body: &'m str,
    /// The message attributes.
    pub attributes: &'m MessageAttributes,
    /// When it was sent.
    pub sent_at: i64,
    /// How often it was received, including this time.
    pub receives: i64,
    /// When it was first received.
    pub first_received_at: i64,
    /// The ARN of the queue whose redrive policy moved it here.
    pub source: Option<&'m str>,
    /// The group, if it was sent with one.
    pub group: Option<&'m str>,
}

impl ReceivedMessage<'_> {
    /// Formats the message, with the attributes that the request names.
    #[must_use]
    pub fn to_json(&self, request: &Receive) -> Value {
        let system = [
            ("SenderId", Some("AIDALOCAL".to_owned())),
            ("SentTimestamp", Some(self.sent_at.to_string())),
            ("ApproximateReceiveCount", Some(self.receives.to_string())),
            ("ApproximateFirstReceiveTimestamp", Some(self.first_received_at.to_string())),
            ("DeadLetterQueueSourceArn", self.source.map(str::to_owned)),
            ("MessageGroupId", self.group.map(str::to_owned)),
        ];
        let names = || request.attribute_names.iter().chain(&request.message_system_attribute_names);
        let system: BTreeMap<&str, String> = system
            .into_iter()
            .filter(|(name, _)| names().any(|wanted| wanted == "All" || wanted == name))
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        // A request names `All`, `.*`, a name, or a prefix such as `trace.*`.
        let matches = |name: &str, wanted: &String| match wanted.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => wanted == "All" || wanted == name,
        };
        let attributes: MessageAttributes = self
            .attributes
            .iter()
            .filter(|(name, _)| request.message_attribute_names.iter().any(|wanted| matches(name, wanted)))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut output = json!({
            "MessageId": self.id,
            "ReceiptHandle": self.handle,
            "Body": self.body,
            "MD5OfBody": digest::of_body(self.body),
        });
        if !system.is_empty() {
            output["Attributes"] = json!(system);
        }
        if let Some(md5) = digest::of_attributes(&attributes) {
            output["MessageAttributes"] = json!(attributes);
            output["MD5OfMessageAttributes"] = Value::String(md5);
        }
        output
    }
}
