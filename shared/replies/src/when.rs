//! The conditions of a rule.

use std::collections::BTreeMap;

use gatehouse_payload::pointer::{Found, Pointer};
use gatehouse_vapi::FINAL_TRANSCRIPT;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use crate::message::{VapiMessage, string};

/// The type of a rule for every message.
pub(crate) const EVERY: &str = "*";

/// When a rule applies.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct When {
    /// The message's type, such as `workflow.node.started`. `transcript[transcriptType="final"]` matches only final
    /// transcripts, with either of their names. `*` matches every message except `voice-request`.
    #[serde(rename = "type")]
    pub(crate) message_type: String,
    /// For `tool-calls` to a server: the tool's name. The rule is then applied to each call of the tool.
    #[serde(default)]
    pub(crate) tool: Option<String>,
    /// Further conditions: JSON pointers into the message (`/call/customer/number`), each with a condition on its
    /// value.
    #[serde(default, rename = "where")]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Condition>"))]
    pub(crate) conditions: BTreeMap<PointerKey, Condition>,
}

/// A pointer that is written as a member's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PointerKey(pub(crate) Pointer);

impl<'de> Deserialize<'de> for PointerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(PointerKey).map_err(D::Error::custom)
    }
}

/// The condition on the value at a pointer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    OneOf(Vec<Scalar>),
    Not(Vec<Scalar>),
    StartsWith(String),
    Exists(bool),
}

/// A string, number, boolean or null.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar(Value);

/// The operators of a condition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Operator"))]
pub(crate) enum Operator {
    /// Not equal to this string, number, boolean or null, nor to one of a list. Also true if the value is missing.
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Scalars"))]
    Not(Value),
    /// A string with this prefix.
    StartsWith(String),
    /// `true`: a value other than null. `false`: no value or null.
    Exists(bool),
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            operator @ Value::Object(_) => match Operator::deserialize(operator).map_err(D::Error::custom)? {
                Operator::Not(value) => scalars(value).map(Condition::Not),
                Operator::StartsWith(text) => Some(Condition::StartsWith(text)),
                Operator::Exists(exists) => Some(Condition::Exists(exists)),
            },
            value => scalars(value).map(Condition::OneOf),
        }
        .ok_or_else(|| D::Error::custom("a string, number, boolean or null, a list of them, or an operator is needed"))
    }
}

fn scalars(value: Value) -> Option<Vec<Scalar>> {
    let scalar = |value: Value| (!value.is_object() && !value.is_array()).then_some(Scalar(value));
    match value {
        Value::Array(values) if values.is_empty() => None,
        Value::Array(values) => values.into_iter().map(scalar).collect(),
        value => scalar(value).map(|scalar| vec![scalar]),
    }
}

impl When {
    /// Whether the rule may apply to messages of this type.
    pub(crate) fn may_be_of(&self, message_type: Option<&str>) -> bool {
        match self.message_type.as_str() {
            EVERY => true,
            "tool-calls" => matches!(message_type, Some("tool-calls" | "function-call")),
            FINAL_TRANSCRIPT => message_type == Some("transcript"),
            other => message_type == Some(other),
        }
    }

    /// Whether the rule applies to a message. A rule never applies if a value that it checks is ambiguous: a repeated
    /// member or a string with a lone surrogate.
    pub(crate) fn applies(&self, message: &VapiMessage) -> bool {
        message.has_type(&self.message_type)
            && self.tool.as_deref().is_none_or(|tool| message.is_call_of(tool))
            && self.conditions.iter().all(|(pointer, condition)| condition.holds(message.find(&pointer.0)))
    }
}

impl Condition {
    fn holds(&self, found: Found<'_>) -> bool {
        let found = match found {
            Found::Ambiguous => return false,
            Found::Value(value) if value.starts_with('"') && string(value).is_none() => return false,
            found => found.value(),
        };
        let one_of = |scalars: &[Scalar]| found.is_some_and(|found| scalars.iter().any(|scalar| scalar.is(found)));
        match self {
            Condition::OneOf(scalars) => one_of(scalars),
            Condition::Not(scalars) => !one_of(scalars),
            Condition::StartsWith(start) => found.and_then(string).is_some_and(|text| text.starts_with(start)),
            Condition::Exists(exists) => found.is_some_and(|found| found != "null") == *exists,
        }
    }
}

impl Scalar {
    fn is(&self, found: &str) -> bool {
        match &self.0 {
            Value::String(text) => string(found).is_some_and(|found| found == *text),
            Value::Number(number) => {
                let number = number.to_string();
                // 1, 1.0 and 1e0 are equal. Integers are compared as written, because long ones do not fit in an `f64`.
                let is_whole = |text: &str| !text.contains(['.', 'e', 'E']);
                let by_value = || number.parse::<f64>().ok().is_some_and(|number| found.parse() == Ok(number));
                number == found || (!(is_whole(&number) && is_whole(found)) && by_value())
            }
            Value::Bool(expected) => found == if *expected { "true" } else { "false" },
            _ => found == "null",
        }
    }
}
