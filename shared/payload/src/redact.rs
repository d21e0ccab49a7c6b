//! Credentials, taken out of a document before it is kept: members by their names, and texts that are credentials by themselves.
//!
//! One pass over the text, at any depth, without recursion: everything else keeps its bytes. A string may hold
//! documents itself: whole, damaged, several, or among prose. It is looked into as well, and so is a string within
//! that, [`NESTED`] times.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};
use serde_json::value::RawValue;

use crate::json;

/// What stands in a credential's place.
pub const REDACTED: &str = "\"[redacted]\"";

/// How many strings within strings are looked into. Each level has fewer bytes than the one around it.
pub const NESTED: usize = 16;

/// What is kept of a text, by the name of its member and of the member that holds its object; `None` for all of it.
pub type KeptText<'f> = &'f dyn Fn(&str, &str, &dyn Fn() -> String) -> Option<String>;

/// What is a secret.
#[derive(Clone, Copy)]
pub struct Secrets<'f> {
    /// Whether a member's value is one, by the member's name and the name of the member that holds its object, empty for the outermost.
    pub member: &'f dyn Fn(&str, &dyn Fn() -> String) -> bool,
    /// What is kept of a text that holds a credential. Asked only about texts that hold one of
    /// [`marks`](Self::marks), or might.
    pub text: KeptText<'f>,
    /// Every text with a credential holds one of these.
    pub marks: [&'f str; 2],
}

impl std::fmt::Debug for Secrets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("marks", &self.marks).finish_non_exhaustive()
    }
}

/// A JSON document's text with each secret value replaced by [`REDACTED`]. `null`, `""`, `true` and `false` hold no
/// secret, and stay.
#[must_use]
pub fn redact<'a>(text: &'a str, secrets: Secrets<'_>) -> Cow<'a, str> {
    within(text, secrets, NESTED, "")
}

/// `outer` is the name of the member whose string holds the text.
fn within<'a>(text: &'a str, secrets: Secrets<'_>, nested: usize, outer: &str) -> Cow<'a, str> {
    let mut pass =
        Pass { text, outer, at: 0, open: Vec::new(), holders: Vec::new(), name: None, out: String::new(), copied: 0 };
    pass.run(secrets, nested);
    if pass.copied == 0 {
        return Cow::Borrowed(text);
    }
    pass.out.push_str(text.get(pass.copied..).unwrap_or_default());
    Cow::Owned(pass.out)
}

struct Pass<'a> {
    text: &'a str,
    /// What holds the outermost object.
    outer: &'a str,
    at: usize,
    /// The objects and arrays that are open, by their first byte.
    open: Vec<u8>,
    /// Of those the ones that are a member's value: how many were open then, and where the member's name is.
    holders: Vec<(usize, Range<usize>)>,
    /// The name whose value comes next.
    name: Option<Range<usize>>,
    out: String,
    /// How much of the text is in `out`, or was replaced there.
    copied: usize,
}

impl Pass<'_> {
    fn run(&mut self, secrets: Secrets<'_>, nested: usize) {
        let mut expects_name = false;
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            let start = self.at;
            self.at += 1;
            match byte {
                b'"' => {
                    self.at = string_end(self.text, start);
                    if std::mem::take(&mut expects_name) {
                        self.name = Some(start..self.at);
                    } else if let Some(kept) = self.kept(start, secrets, nested) {
                        self.put(start, &kept);
                    }
                }
                b':' => {
                    let own = self.name.clone().map(|name| self.decoded(name)).unwrap_or_default();
                    let holder = || self.holder();
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let value = rest.trim_ascii_start();
                    if (secrets.member)(&own, &holder) {
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

    /// The name of the member that holds what is open.
    fn holder(&self) -> String {
        match self.holders.last() {
            Some((_, name)) => self.decoded(name.clone()).into_owned(),
            None => self.outer.to_owned(),
        }
    }

    /// What is kept of the string from `start` up to here, as a literal; `None` for all of it.
    fn kept(&self, start: usize, secrets: Secrets<'_>, nested: usize) -> Option<String> {
        let literal = self.text.get(start..self.at)?;
        let inner = literal.get(1..)?;
        // An escape can stand for anything, so that only decoding tells.
        let is_escaped = inner.contains("\\u") || inner.contains("\\/");
        let may_be_one = is_escaped || secrets.marks.iter().any(|mark| inner.contains(mark));
        let may_hold_one = nested > 0 && (inner.contains(['{', '[']) || inner.contains("\\\"") || is_escaped);
        if !may_be_one && !may_hold_one {
            return None;
        }
        // Half a character becomes the escape it was written with, which means the same to whoever reads the text as
        // JSON.
        let text = json::text_with_escapes(literal)?;
        let own = self.name.clone().map(|name| self.decoded(name)).unwrap_or_default();
        let told = if may_be_one { (secrets.text)(&text, &own, &|| self.holder()) } else { None };
        let current = told.as_deref().unwrap_or(&text);
        let outer = if own.is_empty() { self.holder() } else { own.clone().into_owned() };
        let looked_into =
            if may_hold_one { within(current, secrets, nested - 1, &outer) } else { Cow::Borrowed(current) };
        let is_damaged = may_hold_one && serde_json::from_str::<&RawValue>(current).is_err();
        let looked_into = match is_damaged.then(|| damaged(&looked_into, secrets, &outer)).flatten() {
            Some(kept) => Cow::Owned(kept),
            None => looked_into,
        };
        match (looked_into, told.is_some()) {
            (Cow::Borrowed(_), false) => None,
            (kept, _) => serde_json::to_string(&*kept).ok(),
        }
    }

    /// A name's text; one that no Rust string can hold is no secret's.
    fn decoded(&self, literal: Range<usize>) -> Cow<'_, str> {
        let literal = self.text.get(literal).unwrap_or_default();
        match literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => Cow::Owned(serde_json::from_str(literal).unwrap_or_default()),
        }
    }

    /// The value that begins at `start` gives way.
    fn replace(&mut self, start: usize) {
        let end = value_end(self.text, start);
        let value = self.text.get(start..end).unwrap_or_default();
        self.at = end;
        if !["null", "\"\"", "true", "false"].contains(&value) {
            self.put(start, REDACTED);
        }
        self.name = None;
    }

    /// What stands from `start` up to here becomes something else.
    fn put(&mut self, start: usize, what: &str) {
        self.out.push_str(self.text.get(self.copied..start).unwrap_or_default());
        self.out.push_str(what);
        self.copied = self.at;
    }
}

/// What is kept of a text that is not one whole document, where quotes need not pair: at every quote a member may
/// begin. `None` for all of it.
fn damaged(text: &str, secrets: Secrets<'_>, outer: &str) -> Option<String> {
    /// The longest name of a member that is looked at, in bytes.
    const LONGEST: usize = 100;
    let bytes = text.as_bytes();
    let (mut kept, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(quote) = bytes.get(at..).and_then(|rest| memchr(b'"', rest)).map(|found| at + found) {
        at = quote + 1;
        let near = bytes.get(at..bytes.len().min(at + LONGEST)).unwrap_or_default();
        let Some(end) = memchr(b'"', near) else { continue };
        let behind = text.get(at + end + 1..).unwrap_or_default();
        let Some(value) = behind.trim_ascii_start().strip_prefix(':').map(str::trim_ascii_start) else { continue };
        let name = text.get(at..at + end).unwrap_or_default();
        if !(secrets.member)(name, &|| outer.to_owned()) {
            continue;
        }
        let start = text.len() - value.len();
        let end = value_end(text, start);
        let secret = text.get(start..end).unwrap_or_default();
        at = end.max(at);
        if !["", "null", "\"\"", "true", "false", REDACTED].contains(&secret) {
            kept.push_str(text.get(copied..start).unwrap_or_default());
            kept.push_str(REDACTED);
            copied = end;
        }
    }
    (copied > 0).then(|| kept + text.get(copied..).unwrap_or_default())
}

/// Behind the closing quote of the string that begins at `start`.
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

/// Behind the value that begins at `start`.
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

    /// The same, as it would be said of a tree.
    fn of_a_tree(value: &mut Value, holder: &str) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if is_secret(name, &|| holder.to_owned()) {
                        if !value.is_null() && value != "" && !value.is_boolean() {
                            *value = json!("[redacted]");
                        }
                    } else {
                        of_a_tree(value, name);
                    }
                }
            }
            // An array's elements are held by what holds the array.
            Value::Array(elements) => elements.iter_mut().for_each(|element| of_a_tree(element, holder)),
            Value::String(text) if text.starts_with("key-") => *value = json!("[redacted]"),
            Value::String(text) => {
                if let Ok(mut held) = serde_json::from_str::<Value>(text) {
                    let before = held.clone();
                    of_a_tree(&mut held, holder);
                    if held != before {
                        *text = held.to_string();
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn what_is_secret_is_replaced_and_every_other_byte_stays() {
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
            // Damaged, several, behind something, and with half a character.
            (r#"{"x":"{\"token\":\"s\",\"y\":"}"#, r#"{"x":"{\"token\":\"[redacted]\",\"y\":"}"#),
            (r#"{"x":"{\"token\":\"s"}"#, r#"{"x":"{\"token\":\"[redacted]\""}"#),
            (r#"{"x":"{\"a\":1} {\"token\":\"s\"}"}"#, r#"{"x":"{\"a\":1} {\"token\":\"[redacted]\"}"}"#),
            (r#"{"x":"\ufeffsee: {\"token\":\"s\"}"}"#, "{\"x\":\"\u{feff}see: {\\\"token\\\":\\\"[redacted]\\\"}\"}"),
            (
                r#"{"x":"{\"token\":\"s\",\"y\":\"\ud800\"}"}"#,
                r#"{"x":"{\"token\":\"[redacted]\",\"y\":\"\\ud800\"}"}"#,
            ),
            // The member that holds a string holds what the string holds.
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
    fn depth_costs_nothing() {
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
        fn it_is_what_it_would_be_of_a_tree_and_twice_is_once(value in tree(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let redacted = redact(&text).into_owned();
            let mut expected = value;
            of_a_tree(&mut expected, "");
            prop_assert_eq!(&serde_json::from_str::<Value>(&redacted).unwrap(), &expected);
            prop_assert_eq!(redact(&redacted), redacted.as_str());
        }
    }
}
