//! Replaces credentials in a JSON document before it is stored: secret members and strings that contain a credential.
//!
//! The text is read in one pass without recursion at any depth. All bytes outside of redacted strings stay the same.
//! Strings that contain JSON are searched too, even if that JSON is damaged, repeated or part of prose. Strings within
//! strings are searched down to [`NESTED`] levels.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};
use serde_json::value::RawValue;

use crate::json;

/// The JSON string that replaces a credential.
pub const REDACTED: &str = "\"[redacted]\"";

/// The number of levels of strings within strings that are searched. Each level has fewer bytes than the one around it.
pub const NESTED: usize = 16;

/// Returns a text without its credentials; `None` if it contains none.
///
/// Arguments are the text, the name of its member, and the name of the member that holds the object around it.
pub type RedactText<'f> = &'f dyn Fn(&str, &str, &dyn Fn() -> String) -> Option<String>;

/// The rules that define what is secret.
#[derive(Clone, Copy)]
pub struct Secrets<'f> {
    /// Whether a member's value is secret. Arguments are the member's name and the name of the member that holds the
    /// object around it, which is empty for the outermost object.
    pub member: &'f dyn Fn(&str, &dyn Fn() -> String) -> bool,
    /// Redacts a text. Called only for texts that contain one of [`marks`](Self::marks), or might after decoding.
    pub text: RedactText<'f>,
    /// Markers: every text with a credential contains at least one of them.
    pub marks: [&'f str; 2],
}

impl std::fmt::Debug for Secrets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("marks", &self.marks).finish_non_exhaustive()
    }
}

/// Returns a JSON document with each secret value replaced by [`REDACTED`]. `null`, `""`, `true` and `false` cannot be
/// secrets and stay.
#[must_use]
pub fn redact<'a>(text: &'a str, secrets: Secrets<'_>) -> Cow<'a, str> {
    redact_nested(text, secrets, NESTED, "")
}

/// Redacts a document, and the strings in it down to `levels` levels. `outer` is the name of the member that holds it.
fn redact_nested<'a>(text: &'a str, secrets: Secrets<'_>, levels: usize, outer: &str) -> Cow<'a, str> {
    let mut pass =
        Pass { text, outer, at: 0, open: Vec::new(), holders: Vec::new(), name: None, out: String::new(), copied: 0 };
    pass.run(secrets, levels);
    if pass.copied == 0 {
        return Cow::Borrowed(text);
    }
    pass.out.push_str(text.get(pass.copied..).unwrap_or_default());
    Cow::Owned(pass.out)
}

/// One pass over a text.
struct Pass<'a> {
    text: &'a str,
    /// The name of the member that holds the whole text.
    outer: &'a str,
    at: usize,
    /// The first byte of each open object and array.
    open: Vec<u8>,
    /// The open objects and arrays that are a member's value: the depth around each, and the range of the member's
    /// name.
    holders: Vec<(usize, Range<usize>)>,
    /// The range of the name whose value follows.
    name: Option<Range<usize>>,
    out: String,
    /// The number of bytes of the text that are already copied to `out` or replaced.
    copied: usize,
}

impl Pass<'_> {
    fn run(&mut self, secrets: Secrets<'_>, levels: usize) {
        let mut expects_name = false;
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            let start = self.at;
            self.at += 1;
            match byte {
                b'"' => {
                    self.at = string_end(self.text, start);
                    if std::mem::take(&mut expects_name) {
                        self.name = Some(start..self.at);
                    } else if let Some(redacted) = self.redacted_string(start, secrets, levels) {
                        self.put(start, &redacted);
                    }
                }
                b':' => {
                    let name = self.name.clone().map(|name| self.decoded(name)).unwrap_or_default();
                    let holder = || self.holder();
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let value = rest.trim_ascii_start();
                    if (secrets.member)(&name, &holder) {
                        self.replace(self.at + (rest.len() - value.len()));
                    }
                }
                b'{' | b'[' => {
                    if let Some(name) = self.name.take() {
                        self.holders.push((self.open.len(), name));
                    }
                    self.open.push(byte);
                    expects_name = byte == b'{';
                }
                b'}' | b']' => {
                    self.open.pop();
                    if self.holders.last().is_some_and(|holder| holder.0 == self.open.len()) {
                        self.holders.pop();
                    }
                    (self.name, expects_name) = (None, false);
                }
                b',' => (self.name, expects_name) = (None, self.open.last() == Some(&b'{')),
                _ => {}
            }
        }
    }

    /// The name of the member that holds the innermost open object.
    fn holder(&self) -> String {
        match self.holders.last() {
            Some((_, name)) => self.decoded(name.clone()).into_owned(),
            None => self.outer.to_owned(),
        }
    }

    /// The redacted literal of the string from `start` to the current position; `None` if it stays the same.
    fn redacted_string(&self, start: usize, secrets: Secrets<'_>, levels: usize) -> Option<String> {
        let literal = self.text.get(start..self.at)?;
        let inner = literal.get(1..)?;
        // An escape can encode any character, so the string must be decoded first.
        let is_escaped = inner.contains("\\u") || inner.contains("\\/");
        let may_be_secret = is_escaped || secrets.marks.iter().any(|mark| inner.contains(mark));
        let may_hold_json = levels > 0 && (inner.contains(['{', '[']) || inner.contains("\\\"") || is_escaped);
        if !may_be_secret && !may_hold_json {
            return None;
        }
        // A lone surrogate becomes its escape, which has the same meaning if the text is read as JSON.
        let text = json::text_with_escapes(literal)?;
        let name = self.name.clone().map(|name| self.decoded(name)).unwrap_or_default();
        let replaced = if may_be_secret { (secrets.text)(&text, &name, &|| self.holder()) } else { None };
        let current = replaced.as_deref().unwrap_or(&text);
        let outer = if name.is_empty() { self.holder() } else { name.into_owned() };
        let redacted =
            if may_hold_json { redact_nested(current, secrets, levels - 1, &outer) } else { Cow::Borrowed(current) };
        let is_damaged = may_hold_json && serde_json::from_str::<&RawValue>(current).is_err();
        let redacted = match is_damaged.then(|| redact_damaged(&redacted, secrets, &outer)).flatten() {
            Some(text) => Cow::Owned(text),
            None => redacted,
        };
        match (redacted, replaced.is_some()) {
            (Cow::Borrowed(_), false) => None,
            (text, _) => serde_json::to_string(&*text).ok(),
        }
    }

    /// The decoded name; empty if it contains a lone surrogate, in which case it is not a secret's name.
    fn decoded(&self, literal: Range<usize>) -> Cow<'_, str> {
        let literal = self.text.get(literal).unwrap_or_default();
        match literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => Cow::Owned(serde_json::from_str(literal).unwrap_or_default()),
        }
    }

    /// Replaces the value that begins at `start`.
    fn replace(&mut self, start: usize) {
        let end = value_end(self.text, start);
        let value = self.text.get(start..end).unwrap_or_default();
        self.at = end;
        if !["null", "\"\"", "true", "false"].contains(&value) {
            self.put(start, REDACTED);
        }
        self.name = None;
    }

    /// Writes `replacement` in place of the text from `start` to the current position.
    fn put(&mut self, start: usize, replacement: &str) {
        self.out.push_str(self.text.get(self.copied..start).unwrap_or_default());
        self.out.push_str(replacement);
        self.copied = self.at;
    }
}

/// Redacts a text that is not one complete document; `None` if it stays the same.
///
/// Quotation marks need not be paired in such a text, so a member may begin at each of them.
fn redact_damaged(text: &str, secrets: Secrets<'_>, outer: &str) -> Option<String> {
    /// The greatest length of a member's name that is checked, in bytes.
    const MAX_NAME_BYTES: usize = 100;
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(quote) = bytes.get(at..).and_then(|rest| memchr(b'"', rest)).map(|found| at + found) {
        at = quote + 1;
        let near = bytes.get(at..bytes.len().min(at + MAX_NAME_BYTES)).unwrap_or_default();
        let Some(end) = memchr(b'"', near) else { continue };
        let after_name = text.get(at + end + 1..).unwrap_or_default();
        let Some(value) = after_name.trim_ascii_start().strip_prefix(':').map(str::trim_ascii_start) else { continue };
        let name = text.get(at..at + end).unwrap_or_default();
        if !(secrets.member)(name, &|| outer.to_owned()) {
            continue;
        }
        let start = text.len() - value.len();
        let end = value_end(text, start);
        let secret = text.get(start..end).unwrap_or_default();
        at = end.max(at);
        if !["", "null", "\"\"", "true", "false", REDACTED].contains(&secret) {
            out.push_str(text.get(copied..start).unwrap_or_default());
            out.push_str(REDACTED);
            copied = end;
        }
    }
    (copied > 0).then(|| out + text.get(copied..).unwrap_or_default())
}

/// The position after the closing quotation mark of the string that begins at `start`.
fn string_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// The position after the value that begins at `start`.
fn value_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                if open == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' | b',' if open == 0 => break,
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let scalar = text.get(start..at).unwrap_or_default();
    start + scalar.trim_ascii_end().len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn is_secret(name: &str, holder: &dyn Fn() -> String) -> bool {
        name == "token" || (name == "secret" && holder() == "server")
    }

    fn redact(text: &str) -> Cow<'_, str> {
        let key =
            |text: &str, _: &str, _: &dyn Fn() -> String| text.starts_with("key-").then(|| "[redacted]".to_owned());
        super::redact(text, Secrets { member: &is_secret, text: &key, marks: ["key-", "key-"] })
    }

    /// Reference model: redacts a parsed document.
    fn redact_tree(value: &mut Value, holder: &str) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if is_secret(name, &|| holder.to_owned()) {
                        if !value.is_null() && value != "" && !value.is_boolean() {
                            *value = json!("[redacted]");
                        }
                    } else {
                        redact_tree(value, name);
                    }
                }
            }
            // The member that holds an array also holds its elements.
            Value::Array(elements) => elements.iter_mut().for_each(|element| redact_tree(element, holder)),
            Value::String(text) if text.starts_with("key-") => *value = json!("[redacted]"),
            Value::String(text) => {
                if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                    let before = inner.clone();
                    redact_tree(&mut inner, holder);
                    if inner != before {
                        *text = inner.to_string();
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn secrets_are_replaced_and_other_bytes_stay() {
        for (text, redacted) in [
            (r#"{ "token" : "s3cret" , "x":1.50 }"#, r#"{ "token" : "[redacted]" , "x":1.50 }"#),
            (r#"{"token":{"a":["}",{"b":"\"}"}]},"x":1}"#, r#"{"token":"[redacted]","x":1}"#),
            (r#"{"token":12 ,"y":[{"token":true}]}"#, r#"{"token":"[redacted]" ,"y":[{"token":true}]}"#),
            (r#"{"server":{"secret":"s"},"secret":"no"}"#, r#"{"server":{"secret":"[redacted]"},"secret":"no"}"#),
            (
                r#"{"server":[{"secret":"s"}],"a":{"secret":"no"}}"#,
                r#"{"server":[{"secret":"[redacted]"}],"a":{"secret":"no"}}"#,
            ),
            (r#"{"t\u006fken":"s"}"#, r#"{"t\u006fken":"[redacted]"}"#),
            (r#"{"token":"a","token":"b"}"#, r#"{"token":"[redacted]","token":"[redacted]"}"#),
            (r#"["key-1",{"x":"\u006bey-2"}]"#, r#"["[redacted]",{"x":"[redacted]"}]"#),
            (r#"{"x":"{\"token\":\"s\", \"y\":1}"}"#, r#"{"x":"{\"token\":\"[redacted]\", \"y\":1}"}"#),
            (r#"{"x":" [\"[\\\"key-1\\\"]\"]"}"#, r#"{"x":" [\"[\\\"[redacted]\\\"]\"]"}"#),
            (r#"{"x":"\u007b\"token\":1}"}"#, r#"{"x":"{\"token\":\"[redacted]\"}"}"#),
            // Damaged JSON, two documents, JSON in prose, and a lone surrogate.
            (r#"{"x":"{\"token\":\"s\",\"y\":"}"#, r#"{"x":"{\"token\":\"[redacted]\",\"y\":"}"#),
            (r#"{"x":"{\"token\":\"s"}"#, r#"{"x":"{\"token\":\"[redacted]\""}"#),
            (r#"{"x":"{\"a\":1} {\"token\":\"s\"}"}"#, r#"{"x":"{\"a\":1} {\"token\":\"[redacted]\"}"}"#),
            (r#"{"x":"\ufeffsee: {\"token\":\"s\"}"}"#, "{\"x\":\"\u{feff}see: {\\\"token\\\":\\\"[redacted]\\\"}\"}"),
            (
                r#"{"x":"{\"token\":\"s\",\"y\":\"\ud800\"}"}"#,
                r#"{"x":"{\"token\":\"[redacted]\",\"y\":\"\\ud800\"}"}"#,
            ),
            // The member with a string also holds the objects in that string.
            (r#"{"server":"{\"secret\":\"s\"}"}"#, r#"{"server":"{\"secret\":\"[redacted]\"}"}"#),
            (r#"{"server":["{\"secret\":\"s\"}"]}"#, r#"{"server":["{\"secret\":\"[redacted]\"}"]}"#),
            (r#"{"x":"5\" {\"token\":\"s\"}"}"#, r#"{"x":"5\" {\"token\":\"[redacted]\"}"}"#),
            (
                r#"{"x":"{\"d\":\"M{\"d\":\"T\",\"token\":\"s\"}"}"#,
                r#"{"x":"{\"d\":\"M{\"d\":\"T\",\"token\":\"[redacted]\"}"}"#,
            ),
            (r#"{"x":"on\",\"token\" : \"s\"}"}"#, r#"{"x":"on\",\"token\" : \"[redacted]\"}"}"#),
            (r#"{"x":"\"token\":\"s\""}"#, r#"{"x":"\"token\":\"[redacted]\""}"#),
        ] {
            assert_eq!(redact(text), redacted);
        }
        for same in
            [r#"{"token":null,"server":{"secret":""}}"#, r#"["token","s"]"#, r#"{"x":"token\":\"s"}"#, "{}", "7"]
        {
            assert!(matches!(redact(same), Cow::Borrowed(_)), "{same}");
        }
    }

    #[test]
    fn deep_document_is_redacted_without_recursion() {
        let deep = format!("{}{}{}", "{\"a\":[".repeat(300_000), r#"{"token":"s"}"#, "]}".repeat(300_000));
        assert!(redact(&deep).contains(r#"{"token":"[redacted]"}"#));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec!["token", "server", "secret", "a", "\"\\", "ü\n"]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            prop::sample::select(vec![
                "",
                "x",
                "\"}],:{[",
                "\\",
                "token\":",
                "key-1",
                "{\"token\":\"s\"}",
                "[\"key-1\",{}]",
                "{\"a\":\"[\\\"key-1\\\"]\"}"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(gatehouse_seeds::cases(256))]

        #[test]
        fn redaction_equals_the_model_and_is_idempotent(value in tree(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let redacted = redact(&text).into_owned();
            let mut expected = value;
            redact_tree(&mut expected, "");
            prop_assert_eq!(&serde_json::from_str::<Value>(&redacted).unwrap(), &expected);
            prop_assert_eq!(redact(&redacted), redacted.as_str());
        }
    }
}
