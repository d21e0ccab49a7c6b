//! The canonical form of a document: equal documents have the same form.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{decode_string, entries, has_too_many_parts};

/// Feeds the canonical form of `value` to `sink`, in pieces.
///
/// Two documents have the same form if they differ only in white space, in the order of an object's members, and in the
/// escaping of strings. Numbers are compared as written, since rounding could make two events look equal. Strings are
/// length-prefixed, so that different documents never have the same form.
///
/// A document that is deeper than [`CANONICAL_DEPTH`] or has more than [`MAX_PARTS`](super::MAX_PARTS) members and
/// elements is used unchanged, because each level is parsed again for every level above it. For such documents, white
/// space counts as a difference. This can cause a conflict, but never loses an event. No vendor sends them.
///
/// `compared` is called for each member of each object with the path of that object and the member's name. Array
/// elements add nothing to the path.
pub fn canonical(value: &str, compared: &dyn Fn(&[&str], &str) -> Compared, sink: &mut dyn FnMut(&[u8])) {
    let mut canonical = Canonical { compared, sink };
    if shape(value).0 > CANONICAL_DEPTH || has_too_many_parts(value) {
        canonical.text(b"r", value.as_bytes());
    } else {
        canonical.value(value, &mut Vec::new());
    }
}

/// The depth of a valid document and the number of its commas. A comma precedes every member and element except the
/// first of its object or array.
pub(super) fn shape(value: &str) -> (usize, usize) {
    let (mut open, mut deepest, mut commas, mut bytes) = (0_usize, 0, 0, value.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            b',' => commas += 1,
            // Skips to the end of the string. An escaped quotation mark does not end it.
            b'"' => while bytes.next().is_some_and(|byte| byte != b'"' && (byte != b'\\' || bytes.next().is_some())) {},
            _ => {}
        }
    }
    (deepest, commas)
}

/// The part of a member that counts when two documents are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// The whole value.
    Whole,
    /// The part of a string before the first `?`; any other value is compared as a whole.
    WithoutQuery,
    /// Only the presence of a string; any other value is compared as a whole.
    IsText,
    /// Nothing, as if the document did not have the member.
    Not,
}

/// The greatest depth of a document that [`canonical`] normalizes.
pub const CANONICAL_DEPTH: usize = 32;

struct Canonical<'s> {
    compared: &'s dyn Fn(&[&str], &str) -> Compared,
    sink: &'s mut dyn FnMut(&[u8]),
}

impl Canonical<'_> {
    fn value(&mut self, value: &str, path: &mut Vec<String>) {
        match value.as_bytes().first() {
            Some(b'{') => {
                let named = entries(value).into_iter().map(|(name, value)| (decode_string(name.get()), value));
                let mut members: Vec<(Cow<'_, [u8]>, &RawValue, Compared)> = {
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    // A lossy name is enough: callers only match names that are valid text.
                    let compared = |name: &[u8]| (self.compared)(&path, &String::from_utf8_lossy(name));
                    let members = named.map(|(name, value)| (compared(&name), name, value));
                    let members = members.filter(|(compared, ..)| *compared != Compared::Not);
                    members.map(|(compared, name, value)| (name, value, compared)).collect()
                };
                members.sort_by(|a, b| a.0.cmp(&b.0));
                (self.sink)(b"{");
                for (name, value, compared) in members {
                    self.text(b"", &name);
                    match (compared, value.get()) {
                        (Compared::WithoutQuery, text) if text.starts_with('"') => {
                            let text = decode_string(text);
                            self.text(b"s", text.split(|byte| *byte == b'?').next().unwrap_or_default());
                        }
                        (Compared::IsText, text) if text.starts_with('"') => self.text(b"s", b""),
                        (_, value) => {
                            path.push(String::from_utf8_lossy(&name).into_owned());
                            self.value(value, path);
                            path.pop();
                        }
                    }
                }
                (self.sink)(b"}");
            }
            Some(b'[') => {
                (self.sink)(b"[");
                let elements: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
                for element in elements {
                    self.value(element.get(), path);
                }
                (self.sink)(b"]");
            }
            Some(b'"') => self.text(b"s", &decode_string(value)),
            _ => self.text(b"", value.as_bytes()),
        }
    }

    fn text(&mut self, tag: &[u8], bytes: &[u8]) {
        (self.sink)(tag);
        (self.sink)(bytes.len().to_string().as_bytes());
        (self.sink)(b":");
        (self.sink)(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_PARTS, members, pick};
    use super::*;

    fn form(value: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        canonical(value, &|_, _| Compared::Whole, &mut |piece| bytes.extend_from_slice(piece));
        bytes
    }

    #[test]
    fn canonical_form_ignores_space_member_order_and_escapes() {
        assert_eq!(
            form(r#"{"a":[1,"x"],"b":{"c":null}}"#),
            form("{ \"b\": {\"\\u0063\" :null}, \"a\": [1, \"\\u0078\"] }")
        );
    }

    #[test]
    fn canonical_form_distinguishes_everything_else() {
        let different = [
            "{}",
            "[]",
            r#""""#,
            "0",
            "-0",
            "0.0",
            "1",
            "1.0",
            "null",
            r#""null""#,
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[[1]]}"#,
            r#"["a","b"]"#,
            r#"["ab"]"#,
            r#"["b","a"]"#,
            "[1,2]",
            "[12]",
            r#""\ud800""#,
            r#""\ud801""#,
            "123456789012345678901234567890",
            "123456789012345678901234567891",
        ];
        for (i, a) in different.iter().enumerate() {
            for b in &different[i + 1..] {
                assert_ne!(form(a), form(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn canonical_form_of_a_deep_document_does_not_recurse() {
        let deep = |leaf: &str| format!("{}{leaf}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_ne!(form(&deep("1")), form(&deep("2")));
        assert_eq!(form(&deep("1")), form(&deep("1")));
    }

    #[test]
    fn document_with_too_many_parts_is_used_unchanged() {
        let document = |parts: usize, last: &str| format!("{{\"a\":1,\"b\":[{}{last}]}}", "1,".repeat(parts));
        let (allowed, too_many) = (document(MAX_PARTS - 1, "1"), document(MAX_PARTS, "1"));
        assert_eq!((members(&allowed).len(), members(&too_many).len()), (2, 0));
        assert_eq!(form(&allowed), form(&allowed.replacen(':', ": ", 1)));
        assert_ne!(form(&too_many), form(&document(MAX_PARTS, "2")));
        assert_eq!(form(&too_many), form(&too_many));
        let commas_in_string = format!("{{\"b\":1,\"a\":\"{}\"}}", ",".repeat(MAX_PARTS + 1));
        assert_eq!(members(&commas_in_string).len(), 2, "commas in a string do not count");
        let picked = pick(&too_many, &["a", "c"]);
        assert_eq!((picked.get("a").map(RawValue::get), picked.has("c"), picked.members()), (Some("1"), false, 2));
    }

    #[test]
    fn member_is_omitted_only_at_the_named_path() {
        let omit = |path: &[&str], name: &str| {
            if path == ["a"] && name == "x" { Compared::Not } else { Compared::Whole }
        };
        let form = |value: &str| {
            let mut bytes = Vec::new();
            canonical(value, &omit, &mut |piece| bytes.extend_from_slice(piece));
            bytes
        };
        assert_eq!(form(r#"{"a":{"x":1,"y":2}}"#), form(r#"{"a":{"y":2}}"#));
        assert_ne!(form(r#"{"b":{"x":1,"y":2}}"#), form(r#"{"b":{"y":2}}"#));
        assert_ne!(form(r#"{"x":1}"#), form("{}"));
    }

    #[test]
    fn partly_compared_member_still_counts_by_presence_and_type() {
        let form = |compared: Compared, value: &str| {
            let mut bytes = Vec::new();
            canonical(value, &|_, _| compared, &mut |piece| bytes.extend_from_slice(piece));
            bytes
        };
        let urls = [r#"{"u":"https://x/a?s=1"}"#, r#"{"u":"https://x/a?s=2"}"#, r#"{"u":"https://x/b?s=1"}"#];
        let forms = |compared| urls.map(|url| form(compared, url));
        let [first, same_path, other_path] = forms(Compared::WithoutQuery);
        assert!(first == same_path && first != other_path);
        let [first, same_path, other_path] = forms(Compared::IsText);
        assert!(first == same_path && first == other_path);
        for compared in [Compared::WithoutQuery, Compared::IsText] {
            for different in ["{}", r#"{"u":null}"#, r#"{"u":7}"#, r#"{"u":["https://x/a?s=1"]}"#] {
                assert_ne!(form(compared, urls[0]), form(compared, different), "{compared:?} {different}");
            }
        }
    }
}
