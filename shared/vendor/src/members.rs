//! Reads the members of a body one by one, so that an unexpected member does not hide the others.

use gatehouse_payload::json::{lossy_string, pick, replace_lone_surrogates};
use gatehouse_payload::time::Timestamp;
use serde_json::value::RawValue;

/// A JSON value's text, whose members are read by name.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a>(pub &'a str);

impl<'a> Members<'a> {
    /// Returns the value at a path of names; `None` if it is absent, null, or not unique.
    #[must_use]
    pub fn at(self, path: &[&str]) -> Option<Members<'a>> {
        let mut value = self.0;
        for name in path {
            value = pick(value, &[name]).get(name)?.get();
        }
        (value != "null").then_some(Members(value))
    }

    /// Returns the string at a path, unless it is empty. Invalid characters become U+FFFD.
    #[must_use]
    pub fn text(self, path: &[&str]) -> Option<String> {
        self.at(path)?.as_text()
    }

    /// Returns this value as a string, unless it is empty.
    #[must_use]
    pub fn as_text(self) -> Option<String> {
        lossy_string(self.raw()?).filter(|text| !text.is_empty()).map(Into::into)
    }

    /// Returns the string at a path, or the number as written.
    #[must_use]
    pub fn word(self, path: &[&str]) -> Option<String> {
        let value = self.at(path)?;
        match value.0.as_bytes().first()? {
            b'0'..=b'9' | b'-' => Some(value.0.to_owned()),
            _ => value.as_text(),
        }
    }

    /// Returns the time at a path.
    #[must_use]
    pub fn time(self, path: &[&str]) -> Option<Timestamp> {
        Timestamp::from_json(self.at(path)?.raw()?)
    }

    /// Returns the object or list at a path, as JSON text that every parser accepts.
    #[must_use]
    pub fn composite(self, path: &[&str]) -> Option<String> {
        let value = self.at(path)?.0;
        value.starts_with(['{', '[']).then(|| replace_lone_surrogates(value).into_owned())
    }

    /// Returns the elements of the list at a path; empty if there is no list.
    #[must_use]
    pub fn list(self, path: &[&str]) -> Vec<Members<'a>> {
        let elements: Vec<&RawValue> =
            self.at(path).and_then(|list| serde_json::from_str(list.0).ok()).unwrap_or_default();
        elements.into_iter().map(|element| Members(element.get())).collect()
    }

    fn raw(self) -> Option<&'a RawValue> {
        serde_json::from_str(self.0).ok()
    }
}
