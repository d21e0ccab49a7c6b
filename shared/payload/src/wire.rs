//! How the vendors' objects become types: nothing is lost, and nothing is refused for its shape.
//!
//! An object is a struct of [`Field`]s. A field tells a member that is absent from one that is `null`, and keeps as text
//! what is not of the documented type. Members that no field names are kept in [`Extra`]. A union is told apart by its
//! discriminator alone; what that does not name is kept as text too. So reading and writing again gives the same JSON
//! value, numbers of any length included.
//!
//! The macros write such types from a list of members; their documentation stands beside the member.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::json;

/// JSON text, as it came.
#[derive(Clone)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Reads it as a type.
    ///
    /// # Errors
    /// When it is not of that type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Equal as JSON values: white space, the order of members and escapes do not count.
impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        let form = |text: &str| {
            let mut form = Vec::new();
            json::canonical(text, &|_, _| json::Compared::Whole, &mut |piece| form.extend_from_slice(piece));
            form
        };
        self.text() == other.text() || form(self.text()) == form(other.text())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Raw)
    }
}

/// A number, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Number(Raw);

impl Number {
    /// The nearest `f64`; `None` when it is out of range.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.0.text().parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The number, when it is an integer that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.text().parse().ok()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let is_number = raw.text().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if is_number { Ok(Number(raw)) } else { Err(D::Error::custom("not a number")) }
    }
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Field<T> {
    /// The member is not there.
    #[default]
    Absent,
    /// The member is `null`.
    Null,
    /// The member is what the documentation says.
    Is(T),
    /// The member is something else.
    Odd(Raw),
}

impl<T> Field<T> {
    /// The value, where there is one of the documented type.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        match self {
            Field::Is(value) => Some(value),
            _ => None,
        }
    }
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Field::Is(value)
    }
}

impl<T: DeserializeOwned> Field<T> {
    /// For the macros: takes a member. `false` when there was one of this name already.
    #[doc(hidden)]
    pub fn take(&mut self, raw: &RawValue) -> bool {
        if !matches!(self, Field::Absent) {
            return false;
        }
        *self = match raw.get() {
            "null" => Field::Null,
            text => serde_json::from_str(text).map_or_else(|_| Field::Odd(Raw(raw.to_owned())), Field::Is),
        };
        true
    }
}

impl<T: Serialize> Field<T> {
    /// For the macros: writes the member, unless it is absent.
    #[doc(hidden)]
    pub fn write<M: SerializeMap>(&self, name: &str, map: &mut M) -> Result<(), M::Error> {
        match self {
            Field::Absent => Ok(()),
            Field::Null => map.serialize_entry(name, &()),
            Field::Is(value) => map.serialize_entry(name, value),
            Field::Odd(raw) => map.serialize_entry(name, raw),
        }
    }
}

/// The members of an object that no field names, in their order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extra(Vec<(String, Raw)>);

impl Extra {
    /// The value of a member; of two, the last.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Raw> {
        self.0.iter().rev().find(|member| member.0 == name).map(|member| &member.1)
    }

    /// The members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Raw)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// For the macros: keeps a member.
    #[doc(hidden)]
    pub fn keep(&mut self, name: String, raw: &RawValue) {
        self.0.push((name, Raw(raw.to_owned())));
    }
}

/// An object whose names the customer chooses, such as metadata.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bag(pub Extra);

impl Serialize for Bag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Bag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut extra = Extra::default();
        for (name, value) in object(&Raw::deserialize(deserializer)?)? {
            extra.keep(name, value);
        }
        Ok(Bag(extra))
    }
}

/// An element of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<T> {
    /// What the documentation says.
    Is(T),
    /// Something else, `null` included.
    Odd(Raw),
}

impl<T> Item<T> {
    /// The value, where it is of the documented type.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        match self {
            Item::Is(value) => Some(value),
            Item::Odd(_) => None,
        }
    }
}

impl<T: Serialize> Serialize for Item<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Item::Is(value) => value.serialize(serializer),
            Item::Odd(raw) => raw.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        Ok(raw.read().map_or(Item::Odd(raw), Item::Is))
    }
}

/// A text, or something that is none: told apart by the quotation mark.
#[derive(Debug, Clone, PartialEq)]
pub enum TextOr<T> {
    /// A text.
    Text(String),
    /// What it is otherwise.
    Is(T),
}

impl<T: Serialize> Serialize for TextOr<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            TextOr::Text(text) => text.serialize(serializer),
            TextOr::Is(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let read = if raw.text().starts_with('"') { raw.read().map(TextOr::Text) } else { raw.read().map(TextOr::Is) };
        read.map_err(D::Error::custom)
    }
}

/// For the macros: the members of an object.
///
/// # Errors
/// When it is none, or has a member whose name is no Rust string.
#[doc(hidden)]
pub fn object<E: serde::de::Error>(raw: &Raw) -> Result<Vec<(String, &RawValue)>, E> {
    if !raw.text().starts_with('{') {
        return Err(E::custom("not an object"));
    }
    json::named_members(raw.text()).ok_or_else(|| E::custom("a member's name is not text"))
}

/// What of a value no type names: the paths to the members in [`Extra`], to what is [`Field::Odd`], and to words and kinds
/// that are not documented. [`Raw`] and [`Bag`] count as named: they stand where a form is the customer's own, or not
/// documented.
pub trait Unnamed {
    /// Adds the paths below `path` to `found`.
    fn unnamed(&self, path: &str, found: &mut Vec<String>);
}

macro_rules! named_throughout {
    ($($leaf:ty),*) => {$(
        impl Unnamed for $leaf {
            fn unnamed(&self, _: &str, _: &mut Vec<String>) {}
        }
    )*};
}
named_throughout!(String, bool, Number, Raw, Bag);

impl<T: Unnamed> Unnamed for Field<T> {
    fn unnamed(&self, path: &str, found: &mut Vec<String>) {
        match self {
            Field::Absent | Field::Null => {}
            Field::Is(value) => value.unnamed(path, found),
            Field::Odd(_) => found.push(format!("{path} (odd)")),
        }
    }
}

impl<T: Unnamed> Unnamed for Vec<Item<T>> {
    fn unnamed(&self, path: &str, found: &mut Vec<String>) {
        for item in self {
            match item {
                Item::Is(value) => value.unnamed(&format!("{path}[]"), found),
                Item::Odd(_) => found.push(format!("{path}[] (odd)")),
            }
        }
    }
}

impl<T: Unnamed> Unnamed for TextOr<T> {
    fn unnamed(&self, path: &str, found: &mut Vec<String>) {
        if let TextOr::Is(value) = self {
            value.unnamed(path, found);
        }
    }
}

impl Unnamed for Extra {
    fn unnamed(&self, path: &str, found: &mut Vec<String>) {
        found.extend(self.iter().map(|(name, _)| format!("{path}.{name}")));
    }
}

/// Reads a vendor's message, of whatever shape.
///
/// # Errors
/// When the text is no JSON object, or a member of it has a name that is no Rust string.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

/// A struct for an object: `name: Type = "wireName"`, each with its documentation.
macro_rules! object {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $wire:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            $($(#[$doc])* pub $field: $crate::wire::Field<$type>,)*
            /// Members that are not documented.
            pub extra: $crate::wire::Extra,
        }

        impl $name {
            /// The names of the documented members.
            pub const MEMBERS: &'static [&'static str] = &[$($wire),*];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $(self.$field.write($wire, &mut map)?;)*
                for (name, value) in self.extra.iter() {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = <$crate::wire::Raw as serde::Deserialize>::deserialize(deserializer)?;
                let mut object = $name::default();
                for (name, value) in $crate::wire::object::<D::Error>(&raw)? {
                    let taken = match name.as_str() {
                        $($wire => object.$field.take(value),)*
                        _ => false,
                    };
                    if !taken {
                        object.extra.keep(name, value);
                    }
                }
                Ok(object)
            }
        }

        impl $crate::wire::Unnamed for $name {
            fn unnamed(&self, path: &str, found: &mut Vec<String>) {
                $($crate::wire::Unnamed::unnamed(&self.$field, &format!("{path}.{}", $wire), found);)*
                $crate::wire::Unnamed::unnamed(&self.extra, path, found);
            }
        }
    };
}

/// An enum for a text with documented values; any other is kept.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $wire:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* #[doc = concat!("`", $wire, "`")] $variant,)*
            /// A value that is not documented.
            Other(String),
        }

        impl $name {
            /// The documented values.
            pub const WORDS: &'static [&'static str] = &[$($wire),*];

            /// The word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $($name::$variant => $wire,)*
                    $name::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($wire => $name::$variant,)*
                    other => $name::Other(other.to_owned()),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'_, str> as serde::Deserialize>::deserialize(deserializer)?;
                Ok($name::from(word.as_ref()))
            }
        }

        impl $crate::wire::Unnamed for $name {
            fn unnamed(&self, path: &str, found: &mut Vec<String>) {
                if let $name::Other(_) = self {
                    found.push(format!("{path} (another word)"));
                }
            }
        }
    };
}

/// An enum for objects told apart by the member `by`; any other object is kept. `else K where "m"`: an object in which that
/// member says nothing is a `K` when it has the member `m`, which no other kind has.
macro_rules! union {
    ($(#[$about:meta])* $name:ident by $tag:literal $(else $fallback:ident where $sign:literal)? { $($(#[$doc:meta])* $variant:ident($type:ty) = $($wire:literal)|+),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $($(#[$doc])* $variant(Box<$type>),)*
            /// A kind that is not documented.
            Other($crate::wire::Raw),
        }

        impl $name {
            /// The documented values of the member that tells the kinds apart.
            pub const KINDS: &'static [&'static str] = &[$($($wire),+),*];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $($name::$variant(object) => object.serialize(serializer),)*
                    $name::Other(raw) => raw.serialize(serializer),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                let raw = <$crate::wire::Raw as serde::Deserialize>::deserialize(deserializer)?;
                if !raw.text().starts_with('{') {
                    return Err(D::Error::custom("not an object"));
                }
                let kind = $crate::json::text_member(raw.text(), $tag);
                match kind.as_deref() {
                    $(Some($($wire)|+) => Ok(raw.read().map_or($name::Other(raw), |object| $name::$variant(Box::new(object)))),)*
                    $(None | Some("") if $crate::json::has_member(raw.text(), $sign) => {
                        Ok(raw.read().map_or($name::Other(raw), |object| $name::$fallback(Box::new(object))))
                    })?
                    _ => Ok($name::Other(raw)),
                }
            }
        }

        impl $crate::wire::Unnamed for $name {
            fn unnamed(&self, path: &str, found: &mut Vec<String>) {
                match self {
                    $($name::$variant(object) => $crate::wire::Unnamed::unnamed(&**object, path, found),)*
                    $name::Other(_) => found.push(format!("{path} (of another kind)")),
                }
            }
        }
    };
}
