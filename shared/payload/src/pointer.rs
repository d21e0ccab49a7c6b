//! JSON pointers (RFC 6901) into JSON text. Only the values along the path are read.

use std::fmt;
use std::str::FromStr;

use serde_json::value::RawValue;

use crate::json;

/// The path to a value, such as `/call/customer/number`. The empty pointer is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Vec<String>);

/// The reason why a text is not a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPointer {
    /// The text does not begin with a slash.
    #[error("a pointer begins with /")]
    Slash,
    /// The text contains a `~` that is neither `~0` nor `~1`.
    #[error("in a pointer, ~ is written as ~0, and / within a name as ~1")]
    Tilde,
}

impl Pointer {
    /// Finds the value that the pointer refers to in `value`, which is JSON text.
    #[must_use]
    pub fn find<'a>(&self, value: &'a str) -> Found<'a> {
        let mut current = value;
        for name in &self.0 {
            match step(current, name) {
                Found::Value(value) => current = value,
                other => return other,
            }
        }
        Found::Value(current)
    }

    /// The first name and the rest of the pointer.
    #[must_use]
    pub fn split_first(&self) -> Option<(&str, Pointer)> {
        let (first, rest) = self.0.split_first()?;
        Some((first, Pointer(rest.to_vec())))
    }
}

/// The result of following a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// The document has no value there.
    Nothing,
    /// The text of the value.
    Value(&'a str),
    /// A member on the path occurs twice.
    Ambiguous,
}

impl<'a> Found<'a> {
    /// The value's text, if there is one.
    #[must_use]
    pub fn value(self) -> Option<&'a str> {
        match self {
            Found::Value(text) => Some(text),
            Found::Nothing | Found::Ambiguous => None,
        }
    }
}

fn step<'a>(value: &'a str, name: &str) -> Found<'a> {
    match value.trim_start().as_bytes().first() {
        Some(b'{') => {
            let mut named = json::members(value).into_iter().filter(|member| member.0 == name);
            match (named.next(), named.next()) {
                (None, _) => Found::Nothing,
                (Some((_, value)), None) => Found::Value(value.get()),
                (Some(_), Some(_)) => Found::Ambiguous,
            }
        }
        Some(b'[') => {
            // An index has no leading zeros.
            let index = name.parse().ok().filter(|index: &usize| index.to_string() == name);
            let elements: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
            index.and_then(|index| elements.get(index)).map_or(Found::Nothing, |element| Found::Value(element.get()))
        }
        _ => Found::Nothing,
    }
}

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, InvalidPointer> {
        if text.is_empty() {
            return Ok(Pointer(Vec::new()));
        }
        let names = text.strip_prefix('/').ok_or(InvalidPointer::Slash)?.split('/');
        names.map(decode).collect::<Option<_>>().map(Pointer).ok_or(InvalidPointer::Tilde)
    }
}

fn decode(name: &str) -> Option<String> {
    let mut pieces = name.split('~');
    let mut decoded = pieces.next()?.to_owned();
    for piece in pieces {
        let (c, rest) = match piece.split_at_checked(1)? {
            ("0", rest) => ('~', rest),
            ("1", rest) => ('/', rest),
            _ => return None,
        };
        decoded.push(c);
        decoded.push_str(rest);
    }
    Some(decoded)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn find(pointer: &str, value: &str) -> Option<String> {
        pointer.parse::<Pointer>().unwrap().find(value).value().map(str::to_owned)
    }

    #[test]
    fn pointer_finds_members_and_elements() {
        let value = r#"{"a":[{"b/c":1e400},7],"~":"x","a b":null}"#;
        for (pointer, found) in [("/a/0/b~1c", "1e400"), ("/a/1", "7"), ("/~0", "\"x\""), ("/a b", "null"), ("", value)]
        {
            assert_eq!(find(pointer, value).as_deref(), Some(found), "{pointer}");
        }
        for pointer in ["/b", "/a/2", "/a/01", "/a/-", "/a/1/x", "/"] {
            assert_eq!(find(pointer, value), None, "{pointer}");
        }
    }

    #[test]
    fn repeated_member_is_ambiguous() {
        let twice = r#"{"a":1,"a":{"b":2}}"#;
        for pointer in ["/a", "/a/b"] {
            assert_eq!(pointer.parse::<Pointer>().unwrap().find(twice), Found::Ambiguous);
        }
        assert_eq!(find("/b", r#"{"a":1,"a":2,"b":3}"#).as_deref(), Some("3"));
    }

    #[test]
    fn invalid_pointer_names_the_broken_rule() {
        assert_eq!("a".parse::<Pointer>(), Err(InvalidPointer::Slash));
        assert_eq!("/~2".parse::<Pointer>(), Err(InvalidPointer::Tilde));
        assert_eq!("/~".parse::<Pointer>(), Err(InvalidPointer::Tilde));
    }

    proptest! {
        #![proptest_config(gatehouse_seeds::cases(256))]

        #[test]
        fn pointer_finds_the_same_value_as_serde_json(
            names in proptest::collection::vec("[ab01~/é]{0,2}", 0..4),
            keys in proptest::collection::vec("[ab01~/é]{0,2}", 3),
        ) {
            let mut value = serde_json::json!([1, "x"]);
            for key in keys.iter().rev() {
                value = serde_json::json!({key: value, "a": [value, true]});
            }
            let pointer = Pointer(names).to_string();
            let expected = value.pointer(&pointer);
            let found: Option<Value> = find(&pointer, &value.to_string()).map(|text| serde_json::from_str(&text).unwrap());
            prop_assert_eq!(found.as_ref(), expected);
        }

        #[test]
        fn pointer_is_written_as_it_was_read(text in "(/[a~/é]{0,3}){0,3}") {
            if let Ok(pointer) = text.parse::<Pointer>() {
                prop_assert_eq!(pointer.to_string(), text);
            }
        }
    }
}
