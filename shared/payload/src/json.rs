//! Reads JSON bodies without altering them, and computes their canonical form.
//!
//! A body is valid if [`RawValue`] accepts it. `serde_json::Value` rejects depths over 128, lone surrogates and 1e400,
//! and rounds big integers. An authentic event must be neither rejected nor altered for any of these.

mod canonical;

use std::borrow::Cow;
use std::fmt;

use memchr::memchr_iter;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

pub use canonical::{CANONICAL_DEPTH, Compared, canonical};

/// The JSON object in a body: the body itself, or the content of a body that is a JSON string.
#[derive(Debug, Clone)]
pub struct Document<'a>(Cow<'a, str>);

/// The reason why a body contains no JSON object. The message gives the position and never quotes the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// The body is not text.
    #[error("the body is not UTF-8: byte {offset} is not part of a character; send a JSON object encoded as UTF-8")]
    NotUtf8 {
        /// Offset of the first wrong byte, from 0.
        offset: usize,
    },
    /// The body is truncated.
    #[error("the body ends before the JSON is complete (line {line}, column {column}); send one whole JSON object")]
    Incomplete {
        /// Line, from 1.
        line: usize,
        /// Column, from 0.
        column: usize,
    },
    /// The body is not JSON.
    #[error("the body is not JSON: the error is at line {line}, column {column}; send one JSON object")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 0.
        column: usize,
    },
    /// The body is JSON, but not an object.
    #[error("the body is {found}; send a JSON object, or a JSON string that holds one")]
    OtherKind {
        /// The kind with its article: `"an array"`.
        found: &'static str,
    },
}

impl<'a> Document<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// If the body is neither a JSON object nor a JSON string that contains one.
    pub fn read(body: &'a [u8]) -> Result<Self, NotAnObject> {
        let text = std::str::from_utf8(body).map_err(|e| NotAnObject::NotUtf8 { offset: e.valid_up_to() })?;
        // JSON does not allow a byte order mark, but some senders add one.
        Self::from_valid(validate(text.strip_prefix('\u{feff}').unwrap_or(text))?)
    }

    /// Reads a value inside a document, which may be an object or a string that contains one.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn from_value(value: &'a RawValue) -> Result<Self, NotAnObject> {
        Self::from_valid(value.get())
    }

    fn from_valid(value: &'a str) -> Result<Self, NotAnObject> {
        if value.starts_with('"') {
            return Self::from_string_literal(value);
        }
        object(value).map(|text| Document(Cow::Borrowed(text)))
    }

    fn from_string_literal(literal: &str) -> Result<Self, NotAnObject> {
        const FOUND: &str = "a JSON string that holds no JSON object";
        let content = escape_lone_surrogates(&decode_string(literal)).ok_or(NotAnObject::OtherKind { found: FOUND })?;
        let value = validate(content.strip_prefix('\u{feff}').unwrap_or(&content))
            .map_err(|_| NotAnObject::OtherKind { found: FOUND })?;
        object(value).map_err(|_| NotAnObject::OtherKind { found: FOUND })?;
        Ok(Document(Cow::Owned(value.to_owned())))
    }

    /// The object's text, without surrounding white space.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the object's text and consumes the document.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        self.0
    }
}

fn validate(text: &str) -> Result<&str, NotAnObject> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => Ok(raw.get()),
        Err(e) if e.is_eof() => Err(NotAnObject::Incomplete { line: e.line(), column: e.column() }),
        Err(e) => Err(NotAnObject::Syntax { line: e.line(), column: e.column() }),
    }
}

fn object(value: &str) -> Result<&str, NotAnObject> {
    let found = match value.as_bytes().first() {
        Some(b'{') => return Ok(value),
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    Err(NotAnObject::OtherKind { found })
}

/// The largest number of members and elements of a document that is canonicalized or listed, since each costs memory
/// and time. [`pick`] has no such limit.
pub const MAX_PARTS: usize = 250_000;

/// Whether a value has more than [`MAX_PARTS`] members and elements.
#[must_use]
pub fn has_too_many_parts(value: &str) -> bool {
    // Counting all commas, including those in strings, is quick and rules out most documents.
    value.len() > MAX_PARTS
        && memchr_iter(b',', value.as_bytes()).count() > MAX_PARTS
        && canonical::shape(value).1 > MAX_PARTS
}

/// The members of an object in their order, including repeated names. Empty if `value` is not an object or has more
/// than [`MAX_PARTS`] members and elements.
///
/// Names are decoded. A name with a lone surrogate, which a Rust string cannot contain, is returned as its literal.
#[must_use]
pub fn members(value: &str) -> Vec<(Cow<'_, str>, &RawValue)> {
    let decoded = |name: &'_ RawValue| string(name).map_or_else(|| name.get().to_owned(), Cow::into_owned);
    entries(value).into_iter().map(|(name, value)| (Cow::Owned(decoded(name)), value)).collect()
}

/// The members of an object in their order; `None` if a name contains a lone surrogate.
#[must_use]
pub fn named_members(object: &str) -> Option<Vec<(String, &RawValue)>> {
    entries(object).into_iter().map(|(name, value)| Some((string(name)?.into_owned(), value))).collect()
}

/// Whether an object has a member of this name.
#[must_use]
pub fn has_member(object: &str, name: &str) -> bool {
    members(object).iter().any(|member| member.0 == name)
}

/// The members of an object, with their names as literals.
fn entries(value: &str) -> Vec<(&RawValue, &RawValue)> {
    struct Entries<'a>(Vec<(&'a RawValue, &'a RawValue)>);

    impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Collect;
            impl<'de> Visitor<'de> for Collect {
                type Value = Entries<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut entries = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        entries.push(entry);
                    }
                    Ok(Entries(entries))
                }
            }
            deserializer.deserialize_map(Collect)
        }
    }

    if has_too_many_parts(value) {
        return Vec::new();
    }
    serde_json::from_str::<Entries<'_>>(value).map(|entries| entries.0).unwrap_or_default()
}

/// The requested members of an object, found in one pass that stores no others.
#[derive(Debug)]
pub struct Picked<'a, 'n> {
    names: &'n [&'n str],
    /// The values of each name, in their order.
    values: Vec<Vec<&'a RawValue>>,
    /// The number of members with other names.
    others: usize,
}

/// Picks the members with these names from an object of any size. The result is empty if `object` is not an object.
#[must_use]
pub fn pick<'a, 'n>(object: &'a str, names: &'n [&'n str]) -> Picked<'a, 'n> {
    struct Pick<'n>(&'n [&'n str]);

    impl<'de, 'n> serde::de::DeserializeSeed<'de> for Pick<'n> {
        type Value = Picked<'de, 'n>;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }

    impl<'de, 'n> Visitor<'de> for Pick<'n> {
        type Value = Picked<'de, 'n>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut picked = Picked { names: self.0, values: vec![Vec::new(); self.0.len()], others: 0 };
            // Names are compared as bytes, because a Rust string cannot contain a lone surrogate.
            while let Some(name) = map.next_key::<&RawValue>()? {
                let name = decode_string(name.get());
                match self.0.iter().position(|wanted| wanted.as_bytes() == &*name) {
                    Some(index) => picked.values[index].push(map.next_value()?),
                    None => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        picked.others += 1;
                    }
                }
            }
            Ok(picked)
        }
    }

    use serde::de::DeserializeSeed;
    let empty = || Picked { names, values: vec![Vec::new(); names.len()], others: 0 };
    Pick(names).deserialize(&mut serde_json::Deserializer::from_str(object)).unwrap_or_else(|_| empty())
}

impl<'a> Picked<'a, '_> {
    /// The member's value; `None` if the member is missing or repeated.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let index = self.names.iter().position(|known| *known == name)?;
        match self.values.get(index)?.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Whether the object has at least one member with this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().zip(&self.values).any(|(known, values)| *known == name && !values.is_empty())
    }

    /// Number of members, including repeated ones and those that were not requested.
    #[must_use]
    pub fn members(&self) -> usize {
        self.others + self.values.iter().map(Vec::len).sum::<usize>()
    }
}

/// An object's text without the members that a type cannot read, so that one invalid member does not hide the others.
#[derive(Debug)]
pub struct Readable<'a> {
    text: Cow<'a, str>,
    is_complete: bool,
}

impl<'a> Readable<'a> {
    /// Reduces `object` to a text that its type can read, which `is_readable` checks.
    ///
    /// `names` are the members of the type. If the whole object is not readable, only the members in `names` remain
    /// that occur once and are readable alone.
    #[must_use]
    pub fn of(object: &'a str, names: &[&str], is_readable: fn(&str) -> bool) -> Self {
        if is_readable(object) {
            return Readable { text: Cow::Borrowed(object), is_complete: true };
        }
        let picked = pick(object, names);
        let members = names.iter().filter_map(|name| Some(format!("\"{name}\":{}", picked.get(name)?.get())));
        let readable: Vec<String> = members.filter(|member| is_readable(&format!("{{{member}}}"))).collect();
        Readable { text: Cow::Owned(format!("{{{}}}", readable.join(","))), is_complete: false }
    }

    /// The readable part of the object's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text is the whole object.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

/// The text of a JSON string; `None` if `value` is not a string or contains a lone surrogate.
#[must_use]
pub fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// Reads an id, which is a non-empty string.
#[must_use]
pub fn id(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    string(value?).filter(|id| !id.is_empty())
}

/// The text of an object's member; `None` if the member is missing, repeated or not a string.
#[must_use]
pub fn text_member(object: &str, name: &str) -> Option<String> {
    pick(object, &[name]).get(name).and_then(string).map(Cow::into_owned)
}

/// The text of a JSON string with U+FFFD in place of each lone surrogate; `None` if `value` is not a string.
#[must_use]
pub fn lossy_string(value: &RawValue) -> Option<Cow<'_, str>> {
    if !value.get().starts_with('"') {
        return None;
    }
    Some(match decode_string(value.get()) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        // The three bytes of a lone surrogate become one replacement character.
        Cow::Owned(bytes) => Cow::Owned(lossy_text(&bytes)),
    })
}

/// The characters of a valid JSON string literal, with lone surrogates as escapes. `None` if `literal` is not a string.
#[must_use]
pub fn text_with_escapes(literal: &str) -> Option<String> {
    literal.starts_with('"').then(|| escape_lone_surrogates(&decode_string(literal)))?
}

/// Replaces each escaped lone surrogate by an escaped U+FFFD, so that strict JSON parsers accept the text.
#[must_use]
pub fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut output = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', json.as_bytes().get(at..).unwrap_or_default()) {
        at += found;
        let pair = (unit(at), unit(at + 6));
        at = match pair {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at + 12,
            (Some(0xD800..=0xDFFF), _) => {
                output.push_str(json.get(copied..at).unwrap_or_default());
                output.push_str("\\ufffd");
                copied = at + 6;
                copied
            }
            (Some(_), _) => at + 6,
            (None, _) => at + 2,
        };
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    output.push_str(json.get(copied..).unwrap_or_default());
    Cow::Owned(output)
}

fn lossy_text(decoded: &[u8]) -> String {
    let mut text = String::with_capacity(decoded.len());
    let mut rest = decoded;
    while !rest.is_empty() {
        let lone = rest.windows(3).position(|three| matches!(three, [0xED, 0xA0..=0xBF, 0x80..=0xBF]));
        let (before, after) = rest.split_at(lone.unwrap_or(rest.len()));
        text.push_str(&String::from_utf8_lossy(before));
        if lone.is_some() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        rest = after.get(3..).unwrap_or_default();
    }
    text
}

/// The characters of a valid JSON string literal, as UTF-8 in which a lone surrogate is encoded as three bytes.
fn decode_string(literal: &str) -> Cow<'_, [u8]> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Cow<'de, [u8]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(bytes))
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(Cow::Owned(bytes.to_vec()))
        }
    }
    // Callers pass validated text. An invalid literal is returned unchanged.
    serde_json::Deserializer::from_str(literal).deserialize_bytes(Bytes).unwrap_or(Cow::Borrowed(literal.as_bytes()))
}

/// Decoded bytes as text, with each lone surrogate as its escape; `None` if the result is not UTF-8.
fn escape_lone_surrogates(decoded: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(decoded.len());
    let mut rest = decoded;
    while let Some((&first, tail)) = rest.split_first() {
        if let [0xED, high @ 0xA0..=0xBF, low @ 0x80..=0xBF, after @ ..] = rest {
            let unit = 0xD000 | (u32::from(high & 0x3F) << 6) | u32::from(low & 0x3F);
            text.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            rest = after;
        } else {
            text.push(first);
            rest = tail;
        }
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(body: &str) -> NotAnObject {
        Document::read(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn object_is_read_without_surrounding_white_space() {
        assert_eq!(Document::read(b" \n{ \"a\" : 1 }\n").unwrap().text(), r#"{ "a" : 1 }"#);
    }

    #[test]
    fn string_with_an_object_is_read_as_that_object() {
        assert_eq!(Document::read(br#""{\"a\":\"\u00e9\"}""#).unwrap().text(), r#"{"a":"é"}"#);
    }

    #[test]
    fn lone_surrogate_in_double_encoded_body_stays_escaped() {
        assert_eq!(Document::read(br#""{\"a\":\"\ud800x\"}""#).unwrap().text(), r#"{"a":"\ud800x"}"#);
    }

    #[test]
    fn values_that_rust_types_cannot_hold_are_valid() {
        for body in
            [r#"{"n":1e400}"#, r#"{"n":123456789012345678901234567890}"#, r#"{"s":"\ud800"}"#, r#"{"\udc00":1}"#]
        {
            assert_eq!(Document::read(body.as_bytes()).unwrap().text(), body);
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Document::read(deep.as_bytes()).unwrap().text(), deep);
    }

    #[test]
    fn errors_give_the_position_and_never_quote_the_body() {
        assert_eq!(Document::read(b"{\"a\":\"\xff\"}").unwrap_err(), NotAnObject::NotUtf8 { offset: 6 });
        assert_eq!(error_of("{\"secret\":"), NotAnObject::Incomplete { line: 1, column: 10 });
        assert_eq!(error_of("{\n secret}"), NotAnObject::Syntax { line: 2, column: 2 });
        assert_eq!(error_of("{} {}"), NotAnObject::Syntax { line: 1, column: 4 });
        assert_eq!(error_of(""), NotAnObject::Incomplete { line: 1, column: 0 });
        for (body, found) in [("[1]", "an array"), ("3", "a number"), ("true", "a boolean"), ("null", "null")] {
            assert_eq!(error_of(body), NotAnObject::OtherKind { found });
        }
        for body in ["\"secret\"", "\"[1]\"", "\"\"", r#""\"{}\"""#] {
            let error = error_of(body);
            assert!(matches!(error, NotAnObject::OtherKind { .. }), "{body}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn members_keep_order_repetitions_and_invalid_names() {
        let names: Vec<_> = members(r#"{"b":1,"a":2,"b":3,"\u0063":4,"\ud800":5}"#).into_iter().map(|m| m.0).collect();
        assert_eq!(names, ["b", "a", "b", "c", r#""\ud800""#]);
        assert!(members("[1]").is_empty());
    }

    #[test]
    fn invalid_member_does_not_hide_the_others() {
        #[derive(Deserialize)]
        struct Two<'a> {
            #[serde(borrow, default)]
            a: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            b: Option<Cow<'a, str>>,
        }
        let read = |object: &str| {
            let readable = Readable::of(object, &["a", "b"], |text| serde_json::from_str::<Two<'_>>(text).is_ok());
            let two: Two<'_> = serde_json::from_str(readable.text()).unwrap();
            (two.a.map(Cow::into_owned), two.b.map(Cow::into_owned), readable.is_complete())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read(r#"{"a":"x","b":"y","c":[7]}"#), (text("x"), text("y"), true));
        assert_eq!(read(r#"{"a":7,"b":"y"}"#), (None, text("y"), false));
        assert_eq!(read(r#"{"a":"x","\u0061":"z","b":"y"}"#), (None, text("y"), false));
        assert_eq!(read(r#"{"\ud800":1,"b":"y"}"#), (None, text("y"), false));
    }

    #[test]
    fn pick_ignores_repeated_members() {
        let picked = pick(r#"{"a":1,"\u0061":2,"b":[3],"\ud800":4,"c":5}"#, &["a", "b"]);
        assert_eq!((picked.get("a").map(RawValue::get), picked.has("a")), (None, true));
        assert_eq!((picked.get("b").map(RawValue::get), picked.members()), (Some("[3]"), 5));
        assert_eq!(pick("[1]", &["a"]).members(), 0);
    }

    #[test]
    fn lone_surrogate_is_replaced_and_the_rest_is_unchanged() {
        for (literal, text) in
            [(r#""cut \ud83d""#, "cut \u{fffd}"), (r#""\udc00a\ud83d\ude00""#, "\u{fffd}a😀"), (r#""plain""#, "plain")]
        {
            let raw: &RawValue = serde_json::from_str(literal).unwrap();
            assert_eq!(lossy_string(raw).as_deref(), Some(text), "{literal}");
        }
        assert_eq!(lossy_string(serde_json::from_str("7").unwrap()), None);
        for (json, readable) in [
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            (
                r#"["\ud83d\ude00","\\ud83d","\ude00\ud83d\n\u0041"]"#,
                r#"["\ud83d\ude00","\\ud83d","\ufffd\ufffd\n\u0041"]"#,
            ),
        ] {
            assert_eq!(replace_lone_surrogates(json), readable);
            assert!(serde_json::from_str::<serde_json::Value>(&replace_lone_surrogates(json)).is_ok());
        }
    }
}
