//! Which messages a rule is about.

use std::collections::BTreeMap;

use gatehouse_payload::pointer::{Found, Pointer};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use crate::message::{Said, string};

/// When a rule applies.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct When {
    /// The message's type, such as `workflow.node.started`. `transcript[transcriptType="final"]` takes final transcripts
    /// alone, under either of their names.
    #[serde(rename = "type")]
    pub(crate) message_type: String,
    /// `tool-calls` to a server: the tool's name. The rule is then asked for each call to it.
    #[serde(default)]
    pub(crate) tool: Option<String>,
    /// What must hold of the message besides: JSON pointers into it (`/call/customer/number`), each with what must be there.
    #[serde(default, rename = "where")]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Condition>"))]
    pub(crate) holds: BTreeMap<At, Condition>,
}

/// A pointer, as a member's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At(pub(crate) Pointer);

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(At).map_err(D::Error::custom)
    }
}

/// What must be at a pointer: this string, number, boolean or null; or one of a list of them; or what an operator asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    OneOf(Vec<Scalar>),
    Not(Vec<Scalar>),
    StartsWith(String),
    Exists(bool),
}

/// A value without parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar(Value);

/// The operators.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Operator"))]
pub(crate) enum Operator {
    /// Not this string, number, boolean or null, nor one of a list of them. A value that is not there is none of them.
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Scalars"))]
    Not(Value),
    /// A string that begins like this.
    StartsWith(String),
    /// `true`: something other than null. `false`: nothing, or null.
    Exists(bool),
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            operator @ Value::Object(_) => match Operator::deserialize(operator).map_err(D::Error::custom)? {
                Operator::Not(value) => scalars(value).map(Condition::Not),
                Operator::StartsWith(text) => Some(Condition::StartsWith(text)),
                Operator::Exists(is_there) => Some(Condition::Exists(is_there)),
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
    /// Whether the message is one the rule is about. A rule never applies where it looks at something unclear: a member that
    /// stands twice, or a text that is none.
    pub(crate) fn applies(&self, said: &Said) -> bool {
        said.is_of(&self.message_type)
            && self.tool.as_deref().is_none_or(|tool| said.calls(tool))
            && self.holds.iter().all(|(at, condition)| condition.holds(said.find(&at.0)))
    }
}

impl Condition {
    fn holds(&self, found: Found<'_>) -> bool {
        let found = match found {
            Found::Unclear => return false,
            Found::Value(value) if value.starts_with('"') && string(value).is_none() => return false,
            found => found.value(),
        };
        let one_of = |scalars: &[Scalar]| found.is_some_and(|found| scalars.iter().any(|scalar| scalar.is(found)));
        match self {
            Condition::OneOf(scalars) => one_of(scalars),
            Condition::Not(scalars) => !one_of(scalars),
            Condition::StartsWith(start) => found.and_then(string).is_some_and(|text| text.starts_with(start)),
            Condition::Exists(is_there) => found.is_some_and(|found| found != "null") == *is_there,
        }
    }
}

impl Scalar {
    fn is(&self, found: &str) -> bool {
        match &self.0 {
            Value::String(text) => string(found).is_some_and(|found| found == *text),
            Value::Number(number) => {
                let number = number.to_string();
                // 1, 1.0 and 1e0 are one number; long integers are compared as written.
                let is_whole = |text: &str| !text.contains(['.', 'e', 'E']);
                let by_value = || number.parse::<f64>().ok().is_some_and(|number| found.parse() == Ok(number));
                number == found || (!(is_whole(&number) && is_whole(found)) && by_value())
            }
            Value::Bool(is_so) => found == if *is_so { "true" } else { "false" },
            _ => found == "null",
        }
    }
}
