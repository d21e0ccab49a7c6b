//! Queue attributes: their names, valid values and defaults.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Kind, Result, SqsError};

/// The attributes or tags of a queue, by name.
pub type Attributes = BTreeMap<String, String>;

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
pub const COMPUTED: [&str; 6] = [
    "QueueArn",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];

/// The dead-letter queue, and the number of receives after which a message moves there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePolicy {
    /// The ARN of the dead-letter queue.
    pub target_arn: String,
    /// The number of receives, from 1 to 1000.
    pub max_receives: i64,
}

impl RedrivePolicy {
    /// Parses a policy; `None` if it is not valid. `maxReceiveCount` may be a number or a string; many of AWS' examples
    /// use a string.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let policy: Value = serde_json::from_str(text).ok()?;
        let target_arn = policy["deadLetterTargetArn"].as_str()?.to_owned();
        let count = &policy["maxReceiveCount"];
        let max_receives = count.as_i64().or_else(|| count.as_str()?.parse().ok())?;
        (1..=1000).contains(&max_receives).then_some(RedrivePolicy { target_arn, max_receives })
    }

    /// Returns the policy of a queue with these attributes, if it has one.
    #[must_use]
    pub fn of(attributes: &Attributes) -> Option<Self> {
        Self::parse(attributes.get("RedrivePolicy")?)
    }
}

/// Validates the attributes of a request.
///
/// # Errors
/// If an attribute is unknown or its value is not valid.
pub fn validate(requested: &Attributes) -> Result<()> {
    for (name, value) in requested {
        let invalid = || SqsError::invalid(format!("Invalid value for the parameter {name}."));
        if let Some((_, min, max, _)) = NUMBERS.iter().find(|number| number.0 == name) {
            value.parse().ok().filter(|n| (*min..=*max).contains(n)).ok_or_else(invalid)?;
        } else if name == "RedrivePolicy" && !value.is_empty() {
            RedrivePolicy::parse(value).ok_or_else(invalid)?;
        } else if name == "FifoQueue" {
            return Err(SqsError::new(Kind::UNSUPPORTED_OPERATION, crate::NO_FIFO));
        } else if !TEXTS.contains(&name.as_str()) {
            return Err(SqsError::new(Kind::INVALID_ATTRIBUTE_NAME, format!("Unknown Attribute {name}.")));
        }
    }
    Ok(())
}

/// Returns a numeric attribute, or its default if it is not set.
#[must_use]
pub fn number(attributes: &Attributes, name: &str) -> i64 {
    let default = NUMBERS.iter().find(|number| number.0 == name).map_or(0, |number| number.3);
    attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Returns all attributes that can be set. Those that are not set have their defaults.
#[must_use]
pub fn with_defaults(attributes: &Attributes) -> Attributes {
    let defaults = NUMBERS.iter().filter(|number| number.0 != "KmsDataKeyReusePeriodSeconds");
    let mut all: Attributes = defaults.map(|(name, _, _, default)| ((*name).to_owned(), default.to_string())).collect();
    all.insert("SqsManagedSseEnabled".to_owned(), "true".to_owned());
    all.extend(attributes.clone());
    all
}

/// Whether an attribute of this name exists.
#[must_use]
pub fn is_known(name: &str) -> bool {
    NUMBERS.iter().any(|number| number.0 == name) || TEXTS.contains(&name) || COMPUTED.contains(&name)
}
