//! Queue attributes: their names, valid values and defaults.

use std::collections::BTreeMap;

use serde_json::Value;

use super::StoredMessage;
use super::error::{Kind, Result, SqsError};

pub(super) type Attributes = BTreeMap<String, String>;

/// Numeric attributes: name, minimum, maximum and default.
const NUMBERS: [(&str, i64, i64, i64); 6] = [
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
    ("KmsDataKeyReusePeriodSeconds", 60, 86_400, 300),
];
/// Text attributes. They are stored unchanged.
const TEXTS: [&str; 5] = ["Policy", "RedrivePolicy", "RedriveAllowPolicy", "SqsManagedSseEnabled", "KmsMasterKeyId"];
/// Read-only attributes. They are computed, and cannot be set.
pub(super) const COMPUTED: [&str; 6] = [
    "QueueArn",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];

/// The dead-letter queue, and the number of receives after which a message moves there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedrivePolicy {
    pub(super) target_arn: String,
    pub(super) max_receives: i64,
}

impl RedrivePolicy {
    /// Parses a policy. `maxReceiveCount` may be a number or a string; many of AWS' examples use a string.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let policy: Value = serde_json::from_str(text).ok()?;
        let target_arn = policy["deadLetterTargetArn"].as_str()?.to_owned();
        let count = &policy["maxReceiveCount"];
        let max_receives = count.as_i64().or_else(|| count.as_str()?.parse().ok())?;
        (1..=1000).contains(&max_receives).then_some(RedrivePolicy { target_arn, max_receives })
    }

    pub(super) fn of(attributes: &Attributes) -> Option<Self> {
        Self::parse(attributes.get("RedrivePolicy")?)
    }

    /// Whether the next receive of a message would exceed the limit.
    pub(super) fn is_reached(&self, message: &StoredMessage) -> bool {
        i64::from(message.receive_count) >= self.max_receives
    }
}

/// Validates the attributes of a request.
pub(super) fn validate(requested: &Attributes) -> Result<()> {
    for (name, value) in requested {
        let invalid = || SqsError::invalid(format!("Invalid value for the parameter {name}."));
        if let Some((_, min, max, _)) = NUMBERS.iter().find(|number| number.0 == name) {
            value.parse().ok().filter(|n| (*min..=*max).contains(n)).ok_or_else(invalid)?;
        } else if name == "RedrivePolicy" && !value.is_empty() {
            RedrivePolicy::parse(value).ok_or_else(invalid)?;
        } else if name == "FifoQueue" {
            return Err(SqsError::new(Kind::UNSUPPORTED_OPERATION, super::NO_FIFO));
        } else if !TEXTS.contains(&name.as_str()) {
            return Err(SqsError::new(Kind::INVALID_ATTRIBUTE_NAME, format!("Unknown Attribute {name}.")));
        }
    }
    Ok(())
}

/// Returns a numeric attribute, or its default if it is not set.
pub(super) fn number(attributes: &Attributes, name: &str) -> i64 {
    let default = NUMBERS.iter().find(|number| number.0 == name).map_or(0, |number| number.3);
    attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Returns all attributes that can be set. Those that are not set have their defaults.
pub(super) fn with_defaults(attributes: &Attributes) -> Attributes {
    let defaults = NUMBERS.iter().filter(|number| number.0 != "KmsDataKeyReusePeriodSeconds");
    let mut all: Attributes = defaults.map(|(name, _, _, default)| ((*name).to_owned(), default.to_string())).collect();
    all.insert("SqsManagedSseEnabled".to_owned(), "true".to_owned());
    all.extend(attributes.clone());
    all
}

/// Whether an attribute of this name exists.
pub(super) fn is_known(name: &str) -> bool {
    NUMBERS.iter().any(|number| number.0 == name) || TEXTS.contains(&name) || COMPUTED.contains(&name)
}
