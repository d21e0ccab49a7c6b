//! The MD5 sums by which SDKs check that a message arrived whole.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// A message attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttributeValue {
    /// `String`, `Number` or `Binary`, perhaps with a label after a dot.
    pub(super) data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) string_value: Option<String>,
    /// In base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) binary_value: Option<String>,
}

/// By name, which is the order the sum wants.
pub(super) type MessageAttributes = BTreeMap<String, AttributeValue>;

pub(super) fn of_body(body: &str) -> String {
    HEXLOWER.encode(&Md5::digest(body.as_bytes()))
}

/// `None` without attributes.
pub(super) fn of_attributes(attributes: &MessageAttributes) -> Option<String> {
    let mut sum = Md5::new();
    for (name, value) in attributes {
        add(&mut sum, name.as_bytes());
        add(&mut sum, value.data_type.as_bytes());
        match (&value.string_value, &value.binary_value) {
            (Some(text), _) => {
                sum.update([1]);
                add(&mut sum, text.as_bytes());
            }
            (None, binary) => {
                sum.update([2]);
                let binary = BASE64.decode(binary.as_deref().unwrap_or_default().as_bytes());
                add(&mut sum, &binary.unwrap_or_default());
            }
        }
    }
    (!attributes.is_empty()).then(|| HEXLOWER.encode(&sum.finalize()))
}

/// A part, after its length.
fn add(sum: &mut Md5, part: &[u8]) {
    sum.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    sum.update(part);
}
