//! Members that carry credentials, taken out of a document before it is kept.
//!
//! One pass over the text, at any depth, without recursion: everything else keeps its bytes.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// What stands in a credential's place.
pub const REDACTED: &str = "\"[redacted]\"";

/// Says whether a member's value is a secret, by its name, the text that begins with its value, and the name of the member that
/// holds its object, empty for the outermost.
pub type IsSecret<'f> = &'f dyn Fn(&str, &str, &dyn Fn() -> String) -> bool;

/// A valid JSON document's text with each secret value replaced by [`REDACTED`]. `null` and `""` hold no secret, and stay.
#[must_use]
pub fn redact<'a>(text: &'a str, is_secret: IsSecret<'_>) -> Cow<'a, str> {
    let mut pass =
        Pass { text, at: 0, open: Vec::new(), holders: Vec::new(), name: None, out: String::new(), copied: 0 };
    pass.run(is_secret);
    if pass.copied == 0 {
        return Cow::Borrowed(text);
    }
    pass.out.push_str(text.get(pass.copied..).unwrap_or_default());
    Cow::Owned(pass.out)
}

struct Pass<'a> {
    text: &'a str,
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
    fn run(&mut self, is_secret: IsSecret<'_>) {
        let mut expects_name = false;
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            let start = self.at;
            self.at += 1;
            match byte {
                b'"' => {
                    self.at = string_end(self.text, start);
                    if std::mem::take(&mut expects_name) {
                        self.name = Some(start..self.at);
                    }
                }
                b':' => {
                    let own = self.name.clone().map(|name| self.decoded(name)).unwrap_or_default();
                    let holder = || match self.holders.last() {
                        Some((_, name)) => self.decoded(name.clone()).into_owned(),
                        None => String::new(),
                    };
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let value = rest.trim_ascii_start();
                    if is_secret(&own, value, &holder) {
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
        if !["null", "\"\""].contains(&value) {
            self.out.push_str(self.text.get(self.copied..start).unwrap_or_default());
            self.out.push_str(REDACTED);
            self.copied = end;
        }
        self.at = end;
        self.name = None;
    }
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

    fn is_secret(name: &str, _: &str, holder: &dyn Fn() -> String) -> bool {
        name == "token" || (name == "secret" && holder() == "server")
    }

    /// The same, as it would be said of a tree.
    fn of_a_tree(value: &mut Value, holder: &str) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if is_secret(name, "", &|| holder.to_owned()) {
                        if !value.is_null() && value != "" {
                            *value = json!("[redacted]");
                        }
                    } else {
                        of_a_tree(value, name);
                    }
                }
            }
            // An array's elements are held by what holds the array.
            Value::Array(elements) => elements.iter_mut().for_each(|element| of_a_tree(element, holder)),
            _ => {}
        }
    }

    #[test]
    fn what_is_secret_is_replaced_and_every_other_byte_stays() {
        for (text, redacted) in [
            (r#"{ "token" : "s3cret" , "x":1.50 }"#, r#"{ "token" : "[redacted]" , "x":1.50 }"#),
            (r#"{"token":{"a":["}",{"b":"\"}"}]},"x":1}"#, r#"{"token":"[redacted]","x":1}"#),
            (r#"{"token":12 ,"y":[{"token":true}]}"#, r#"{"token":"[redacted]" ,"y":[{"token":"[redacted]"}]}"#),
            (r#"{"server":{"secret":"s"},"secret":"no"}"#, r#"{"server":{"secret":"[redacted]"},"secret":"no"}"#),
            (
                r#"{"server":[{"secret":"s"}],"a":{"secret":"no"}}"#,
                r#"{"server":[{"secret":"[redacted]"}],"a":{"secret":"no"}}"#,
            ),
            (r#"{"t\u006fken":"s"}"#, r#"{"t\u006fken":"[redacted]"}"#),
            (r#"{"token":"a","token":"b"}"#, r#"{"token":"[redacted]","token":"[redacted]"}"#),
        ] {
            assert_eq!(redact(text, &is_secret), redacted);
        }
        for same in
            [r#"{"token":null,"server":{"secret":""}}"#, r#"["token","s"]"#, r#"{"x":"token\":\"s"}"#, "{}", "7"]
        {
            assert!(matches!(redact(same, &is_secret), Cow::Borrowed(_)), "{same}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = format!("{}{}{}", "{\"a\":[".repeat(300_000), r#"{"token":"s"}"#, "]}".repeat(300_000));
        assert!(redact(&deep, &is_secret).contains(r#"{"token":"[redacted]"}"#));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec!["token", "server", "secret", "a", "\"\\", "ü\n"]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            prop::sample::select(vec!["", "x", "\"}],:{[", "\\", "token\":"]).prop_map(Value::from),
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
        #[test]
        fn it_is_what_it_would_be_of_a_tree_and_twice_is_once(value in tree(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let redacted = redact(&text, &is_secret).into_owned();
            let mut expected = value;
            of_a_tree(&mut expected, "");
            prop_assert_eq!(&serde_json::from_str::<Value>(&redacted).unwrap(), &expected);
            prop_assert_eq!(redact(&redacted, &is_secret), redacted.as_str());
        }
    }
}
