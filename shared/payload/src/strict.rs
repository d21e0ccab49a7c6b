//! Values that are checked where they are made, for what we send: a text or number out of bounds cannot be built, nor read.
//! What is wrong with a value is told by the member it is in, without the value.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A text of `LEAST` to `MOST` characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text<const LEAST: usize, const MOST: usize>(String);

/// A whole number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whole<const LEAST: u32, const MOST: u32>(u32);

/// A number that is one: JSON has no others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Finite(f64);

impl Finite {
    /// Checks a number; `None` for infinities and what is no number.
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

/// Why a value cannot be used: the bounds, and never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBounds {
    what: &'static str,
    least: usize,
    most: usize,
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {} is needed", self.what, self.least, self.most)
    }
}

impl std::error::Error for OutOfBounds {}

impl<const LEAST: usize, const MOST: usize> Text<LEAST, MOST> {
    /// Checks a text.
    ///
    /// # Errors
    /// When it is shorter or longer.
    pub fn new(text: impl Into<String>) -> Result<Self, OutOfBounds> {
        let text = text.into();
        let fits = (LEAST..=MOST).contains(&text.chars().count());
        if fits {
            Ok(Text(text))
        } else {
            Err(OutOfBounds { what: "a length in characters", least: LEAST, most: MOST })
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const LEAST: u32, const MOST: u32> Whole<LEAST, MOST> {
    /// Checks a number.
    ///
    /// # Errors
    /// When it is less or more.
    pub fn new(number: u32) -> Result<Self, OutOfBounds> {
        let fits = (LEAST..=MOST).contains(&number);
        let bounds = OutOfBounds { what: "a whole number", least: LEAST as usize, most: MOST as usize };
        if fits { Ok(Whole(number)) } else { Err(bounds) }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<'de, const LEAST: usize, const MOST: usize> Deserialize<'de> for Text<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Whole::new(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A text within its bounds, or one with places to be filled, which nobody can measure yet.
#[cfg(feature = "schema")]
impl<const LEAST: usize, const MOST: usize> schemars::JsonSchema for Text<LEAST, MOST> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Text{LEAST}To{MOST}").into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "anyOf": [{"minLength": LEAST, "maxLength": MOST}, {"pattern": r"\{\{/"}],
        })
    }
}

#[cfg(feature = "schema")]
impl<const LEAST: u32, const MOST: u32> schemars::JsonSchema for Whole<LEAST, MOST> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Whole{LEAST}To{MOST}").into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": LEAST, "maximum": MOST})
    }
}

/// The schema of a member that must be there, and may be `null`.
#[cfg(feature = "schema")]
pub(crate) struct OrNull<T>(std::marker::PhantomData<T>);

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
/// In a sentence: at which member it is something else, and what would be right. Quotes no value.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (place, why) = (error.path().to_string(), without_values(error.inner()));
        if place == "." { why } else { format!("{place}: {why}") }
    })
}

/// An error's words without the value that caused it, which may come from a message.
#[must_use]
pub fn without_values(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let quotes = ["invalid type", "invalid value", "unknown variant"].iter().any(|start| words.starts_with(start));
    let Some((_, expected)) = words.rsplit_once(", expected ").filter(|_| quotes) else { return words };
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    // Serde's words for some of Rust's types.
    let needed = match expected {
        "f64" => "a number",
        "u32" => "a whole number",
        "a map" | "map" => "an object",
        "a sequence" => "an array",
        "map with a single key" | "string or map" => "an object with one member",
        "variant identifier" => "the name of one of its kinds",
        structure if structure.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{needed} is needed")
}

/// Lets a type that is told apart by a member be read so that what is wrong in it is told by its member, too.
macro_rules! told_apart {
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

/// A struct for an object we send: members that must be there, then `optional` ones. No others can be read.
macro_rules! sent {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }
     $(optional { $($(#[$maybe_doc:meta])* $maybe:ident: $maybe_type:ty,)* })?) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
            $($(
                $(#[$maybe_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $maybe: Option<$maybe_type>,
            )*)?
        }
    };
}
