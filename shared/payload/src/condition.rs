//! Conditions on the values of a JSON document, as the user writes them: `{"/call/customer/number": {"startsWith":
//! "+46"}}`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use crate::pointer::{Found, Pointer};

/// JSON pointers, each with a condition on its value. All of them must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Conditions(BTreeMap<PointerKey, Condition>);

/// A pointer that is written as a member's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PointerKey(Pointer);

impl<'de> Deserialize<'de> for PointerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(PointerKey).map_err(D::Error::custom)
    }
}

/// The condition on the value at a pointer.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    OneOf(Vec<Scalar>),
    Not(Vec<Scalar>),
    StartsWith(String),
    Exists(bool),
}

/// A string, number, boolean or null.
#[derive(Debug, Clone, PartialEq)]
struct Scalar(Value);

/// The operators of a condition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Operator"))]
enum Operator {
    /// Not equal to this string, number, boolean or null, nor to one of a list. Also true if the value is missing.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Scalars"))]
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

impl Conditions {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pointers of the conditions.
    pub fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.0.keys().map(|key| &key.0)
    }

    /// Whether all conditions hold. `find` returns the value at a pointer. A condition never holds if its value is
    /// ambiguous: a repeated member or a string with a lone surrogate.
    pub fn hold<'a>(&self, find: impl Fn(&Pointer) -> Found<'a>) -> bool {
        self.0.iter().all(|(pointer, condition)| condition.holds(find(&pointer.0)))
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

/// The text of a JSON string; `None` if `value` is not a string or contains a lone surrogate.
fn string(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde_json::json;

    use super::{Condition, Conditions, Operator};

    /// A string, number, boolean or null, or a list of them.
    pub(super) enum Scalars {}

    impl JsonSchema for Scalars {
        fn schema_name() -> Cow<'static, str> {
            "Scalars".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let scalar = json!(["string", "number", "boolean", "null"]);
            json_schema!({"anyOf": [{"type": scalar}, {"type": "array", "items": {"type": scalar}}]})
        }
    }

    impl JsonSchema for Condition {
        fn schema_name() -> Cow<'static, str> {
            "Condition".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let (scalars, operator) = (generator.subschema_for::<Scalars>(), generator.subschema_for::<Operator>());
            json_schema!({
                "description": "The condition on the value: equal to this value, equal to one of a list, or an operator.",
                "anyOf": [scalars, operator],
            })
        }
    }

    impl JsonSchema for Conditions {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "Conditions".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            BTreeMap::<String, Condition>::json_schema(generator)
        }
    }
}
