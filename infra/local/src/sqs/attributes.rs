//! A queue's attributes: which there are, and what they may be.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{Kind, SqsError};

pub(super) type Attributes = BTreeMap<String, String>;

/// Those that are numbers: least, most, and what they are when nobody says.
const NUMBERS: [(&str, i64, i64, i64); 6] = [
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
    ("KmsDataKeyReusePeriodSeconds", 60, 86_400, 300),
];
/// Those that are kept as they are given.
const TEXTS: [&str; 5] = ["Policy", "RedrivePolicy", "RedriveAllowPolicy", "SqsManagedSseEnabled", "KmsMasterKeyId"];
/// Those that tell, and cannot be set.
pub(super) const TOLD: [&str; 6] = [
    "QueueArn",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedrivePolicy {
    pub(super) target_arn: String,
    pub(super) max_receives: i64,
}

impl RedrivePolicy {
    /// Reads a policy. The count may be a number or, as in many of AWS' own examples, a string.
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
}

/// Checks what a caller sets.
pub(super) fn check(given: &Attributes) -> Result<(), SqsError> {
    for (name, value) in given {
        let wrong = || SqsError::invalid(format!("Invalid value for the parameter {name}."));
        if let Some((_, least, most, _)) = NUMBERS.iter().find(|number| number.0 == name) {
            value.parse().ok().filter(|n| (*least..=*most).contains(n)).ok_or_else(wrong)?;
        } else if name == "RedrivePolicy" && !value.is_empty() {
            RedrivePolicy::parse(value).ok_or_else(wrong)?;
        } else if name == "FifoQueue" {
            return Err(SqsError::new(Kind::UnsupportedOperation, super::NO_FIFO));
        } else if !TEXTS.contains(&name.as_str()) {
            return Err(SqsError::new(Kind::InvalidAttributeName, format!("Unknown Attribute {name}.")));
        }
    }
    Ok(())
}

/// A number, as set or by default.
pub(super) fn number(attributes: &Attributes, name: &str) -> i64 {
    let default = NUMBERS.iter().find(|number| number.0 == name).map_or(0, |number| number.3);
    attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// All that can be set, with the defaults.
pub(super) fn whole(attributes: &Attributes) -> Attributes {
    let defaults = NUMBERS.iter().filter(|number| number.0 != "KmsDataKeyReusePeriodSeconds");
    let mut whole: Attributes =
        defaults.map(|(name, _, _, default)| ((*name).to_owned(), default.to_string())).collect();
    whole.insert("SqsManagedSseEnabled".to_owned(), "true".to_owned());
    whole.extend(attributes.clone());
    whole
}

/// Whether there is an attribute of this name.
pub(super) fn is_known(name: &str) -> bool {
    NUMBERS.iter().any(|number| number.0 == name) || TEXTS.contains(&name) || TOLD.contains(&name)
}
