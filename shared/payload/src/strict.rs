//! Validated types for the requests that Gatehouse sends: a value out of bounds can be neither built nor read.
//!
//! An error names the invalid member and never quotes its value.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A string of `MIN` to `MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BoundedString<const MIN: usize, const MAX: usize>(String);

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BoundedU32<const MIN: u32, const MAX: u32>(u32);

/// A finite number. JSON has neither NaN nor infinity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Finite(f64);

impl Finite {
    /// Checks a number; `None` for infinities and NaN.
    #[must_use]
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Finite(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Finite::new(f64::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom("a number is needed"))
    }
}

/// The bounds that a value violates. Never contains the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBounds {
    quantity: &'static str,
    min: usize,
    max: usize,
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {} is needed", self.quantity, self.min, self.max)
    }
}

impl std::error::Error for OutOfBounds {}

impl<const MIN: usize, const MAX: usize> BoundedString<MIN, MAX> {
    /// Checks the length of a text.
    ///
    /// # Errors
    /// If the text is too short or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, OutOfBounds> {
        let text = text.into();
        let fits = (MIN..=MAX).contains(&text.chars().count());
        if fits {
            Ok(BoundedString(text))
        } else {
            Err(OutOfBounds { quantity: "a length in characters", min: MIN, max: MAX })
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: u32, const MAX: u32> BoundedU32<MIN, MAX> {
    /// Checks a number.
    ///
    /// # Errors
    /// If the number is out of bounds.
    pub fn new(number: u32) -> Result<Self, OutOfBounds> {
        let fits = (MIN..=MAX).contains(&number);
        let bounds = OutOfBounds { quantity: "a whole number", min: MIN as usize, max: MAX as usize };
        if fits { Ok(BoundedU32(number)) } else { Err(bounds) }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for BoundedString<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BoundedString::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for BoundedU32<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BoundedU32::new(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Accepts a text within its bounds. A template with placeholders is accepted too, because its final length is unknown.
#[cfg(feature = "schema")]
impl<const MIN: usize, const MAX: usize> schemars::JsonSchema for BoundedString<MIN, MAX> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Text{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "anyOf": [{"minLength": MIN, "maxLength": MAX}, {"pattern": r"\{\{/"}],
        })
    }
}

#[cfg(feature = "schema")]
impl<const MIN: u32, const MAX: u32> schemars::JsonSchema for BoundedU32<MIN, MAX> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Whole{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

/// The schema of a required member that may be `null`.
#[cfg(feature = "schema")]
pub struct OrNull<T>(std::marker::PhantomData<T>);

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> schemars::JsonSchema for OrNull<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}OrNull", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<T>();
        schemars::json_schema!({"anyOf": [value, {"type": "null"}]})
    }
}

/// Reads a value as its type.
///
/// # Errors
/// A sentence that names the member and what is needed there. It does not quote the value.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, reason) = (error.path().to_string(), without_values(error.inner()));
        if path == "." { reason } else { format!("{path}: {reason}") }
    })
}

/// Returns an error's message without the value that caused the error. The value may be personal data.
#[must_use]
pub fn without_values(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let quotes_value =
        ["invalid type", "invalid value", "unknown variant"].iter().any(|start| message.starts_with(start));
    let Some((_, expected)) = message.rsplit_once(", expected ").filter(|_| quotes_value) else { return message };
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    // Serde names Rust types. The message names JSON types.
    let needed = match expected {
        "f64" => "a number",
        "u32" => "a whole number",
        "a map" | "map" => "an object",
        "a sequence" => "an array",
        "map with a single key" | "string or map" => "an object with one member",
        "variant identifier" => "the name of a documented kind",
        structure if structure.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{needed} is needed")
}

/// Implements `Deserialize` for an enum with a discriminator. Unlike with serde's derived implementation, errors inside
/// the object name the invalid member.
#[macro_export]
macro_rules! tagged_enum {
    ($name:ident by $tag:literal { $($wire:literal => $variant:ident($type:ty)),* $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                let mut members = serde_json::Map::deserialize(deserializer)?;
                let Some(kind) = members.remove($tag) else { return Err(D::Error::missing_field($tag)) };
                let members = serde_json::Value::Object(members);
                match kind.as_str() {
                    $(Some($wire) => {
                        let read = $crate::strict::read::<$type>(members).map_err(D::Error::custom)?;
                        Ok($name::$variant(read.into()))
                    })*
                    _ => Err(D::Error::custom(concat!($tag, ": one of", $(" `", $wire, "`",)* " is needed"))),
                }
            }
        }
    };
}

/// Generates a struct for an object that Gatehouse sends: required members, then `optional` ones. Unknown members are
/// rejected when the struct is read.
#[macro_export]
macro_rules! request {
    ($(#[$attribute:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }
     $(optional { $($(#[$optional_doc:meta])* $optional:ident: $optional_type:ty,)* })?) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
            $($(
                $(#[$optional_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $optional: Option<$optional_type>,
            )*)?
        }
    };
}
