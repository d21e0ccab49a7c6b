//! The secrets document: one JSON object with a member for each vendor, here called a part.
//!
//! Every value is in a list, so that an old and a new value are both valid during a rotation. A part that cannot be
//! used affects its own vendor only. An unusable value of a part is ignored and reported as a defect, with its place
//! and without its content.

use std::borrow::Cow;
use std::collections::HashMap;

use gatehouse_payload::json::members;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::secret::Secret;
use crate::signature::SigningKey;

/// The part with the user's services, which belongs to no vendor.
pub const SERVICES: &str = "services";
/// The part with the user's destinations, which belongs to no vendor.
pub const DESTINATIONS: &str = "destinations";

/// Longest name of an object in a part, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Whether a text can be the name of a service or a destination. Names are in rules, keys and logs.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// The name of a part, and its value for development.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSpec {
    /// The member of the secrets document: `ada`.
    pub name: &'static str,
    /// The part's value for development, as JSON. It is published in this repository. Only `gatehouse dev`, `sam local`
    /// and tests accept it.
    pub development: &'static str,
}

/// A type that a part of the secrets document is read into.
pub trait SecretsPart: Default + Send + Sync + 'static {
    /// Reads the part. An absent part yields the default, which verifies nothing.
    fn read(reader: &mut PartReader<'_>) -> Self;
}

/// The error for a secrets document that is not a JSON object. It gives the position and never the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secrets document is not a JSON object with a member for each vendor (line {line}, column {column})")]
pub struct UnreadableSecrets {
    line: usize,
    column: usize,
}

/// The members of a secrets document.
#[derive(Debug)]
pub struct SecretsDocument<'d> {
    members: Vec<(Cow<'d, str>, &'d RawValue)>,
    development: bool,
}

impl<'d> SecretsDocument<'d> {
    /// Splits a document into its parts. The values published for development are rejected unless `development` is set.
    ///
    /// # Errors
    /// If `text` is not a JSON object.
    pub fn parse(text: &'d str, development: bool) -> Result<Self, UnreadableSecrets> {
        let unreadable = |e: serde_json::Error| UnreadableSecrets { line: e.line(), column: e.column() };
        // `members` reports no place, so the document is read once more for the error.
        let _: HashMap<String, &RawValue> = serde_json::from_str(text).map_err(unreadable)?;
        Ok(SecretsDocument { members: members(text), development })
    }

    /// Returns a reader of one part.
    #[must_use]
    pub fn reader(&self, spec: &PartSpec) -> PartReader<'d> {
        let mut found = self.members.iter().filter(|(name, _)| name == spec.name).map(|(_, part)| *part);
        let (part, defects) = match (found.next(), found.next()) {
            // It is unclear which of the two is correct, so neither is used.
            (_, Some(_)) => (None, vec![format!("{} appears more than once", spec.name)]),
            (part, None) => (part, Vec::new()),
        };
        PartReader { spec: *spec, part, development: self.development, defects }
    }

    /// Reads one part and its defects.
    #[must_use]
    pub fn read<P: SecretsPart>(&self, spec: &PartSpec) -> (P, Vec<String>) {
        let mut reader = self.reader(spec);
        let part = P::read(&mut reader);
        (part, reader.defects)
    }

    /// Reports the members that are not among `known`, by position: a name may be a secret in the wrong place.
    #[must_use]
    pub fn unknown_members(&self, known: &[&str]) -> Vec<String> {
        let members = self.members.iter().enumerate();
        let unknown = members.filter(|(_, (name, _))| !known.contains(&name.as_ref()));
        unknown.map(|(n, _)| format!("member {} of the document is not one of {}", n + 1, known.join(", "))).collect()
    }
}

/// Reads one part of the document and collects its defects.
#[derive(Debug)]
pub struct PartReader<'d> {
    spec: PartSpec,
    part: Option<&'d RawValue>,
    development: bool,
    /// The defects of the part. Each gives the place and the problem, without the value.
    pub defects: Vec<String>,
}

/// The defect of a repeated value, for example after a rotation to the same value.
const REPEATED: &str = "is the same as a value before it";

#[derive(Deserialize)]
struct SigningSecrets {
    signing_secrets: Vec<Secret>,
}

impl PartReader<'_> {
    /// Returns the part's name. The place in every defect begins with it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Reads the whole part. An absent part is not a defect; a part of another shape is one.
    pub fn part<T: DeserializeOwned>(&mut self) -> Option<T> {
        let part = self.part?;
        self.value(self.spec.name, part)
    }

    /// Reads a value of the part that is at `place`.
    pub fn value<T: DeserializeOwned>(&mut self, place: &str, value: &RawValue) -> Option<T> {
        let read = serde_json::from_str(value.get());
        if read.is_err() {
            self.defects.push(format!("{place} does not have the shape that the documentation shows"));
        }
        read.ok()
    }

    /// Reads an object of the part that is at `place`. Serde would use the elements of an array as its members.
    pub fn object<T: DeserializeOwned>(&mut self, place: &str, value: &RawValue) -> Option<T> {
        if value.get().starts_with('{') {
            return self.value(place, value);
        }
        self.defects.push(format!("{place} is not an object"));
        None
    }

    /// Reads a part that consists of named objects. Reports each object that cannot be read, and returns `None` for it.
    pub fn named_objects<T: DeserializeOwned>(&mut self) -> Vec<(String, Option<T>)> {
        let part = self.name();
        let Some(whole) = self.part::<Box<RawValue>>() else { return Vec::new() };
        if !whole.get().starts_with('{') {
            self.defects.push(format!("{part} is not an object"));
        }
        let parts = members(whole.get());
        let mut objects = Vec::new();
        for (n, (name, raw)) in parts.iter().enumerate() {
            if parts.iter().filter(|(other, _)| other == name).count() > 1 {
                // It is unclear which of the two is correct, so neither is used.
                self.defects.push(format!("{part}, member {}, appears more than once", n + 1));
                objects.extend(is_name(name).then(|| (name.to_string(), None)));
            } else if !is_name(name) {
                let names = "has a name that is not 1 to 64 letters, digits, - and _";
                self.defects.push(format!("{part}, member {}, {names}", n + 1));
            } else {
                objects.push((name.to_string(), self.object(&format!("{part}.{name}"), raw)));
            }
        }
        objects
    }

    /// Returns whether `value` can be used as a secret: it is not empty, has no other `defect`, and is not published.
    pub fn check(&mut self, place: &str, value: &str, defect: Option<String>) -> bool {
        let is_published = !self.development && self.spec.development.contains(value);
        let published = || is_published.then(|| "is published in Gatehouse's repository; create a new one".to_owned());
        let defect = if value.is_empty() { Some("is empty".to_owned()) } else { defect.or_else(published) };
        self.defects.extend(defect.iter().map(|defect| format!("{place} {defect}")));
        defect.is_none()
    }

    /// Returns the value of `result`, or records its error as a defect of `place`.
    pub fn usable<T>(&mut self, place: &str, result: Result<T, &'static str>) -> Option<T> {
        self.defects.extend(result.as_ref().err().map(|defect| format!("{place}{defect}")));
        result.ok()
    }

    /// Returns the usable values of a list at `place`, each checked by `defect`.
    pub fn values(&mut self, place: &str, values: &[Secret], defect: impl Fn(&str) -> Option<String>) -> Vec<Secret> {
        let mut usable = Vec::new();
        for (n, value) in values.iter().enumerate() {
            let is_repeated = values.iter().take(n).any(|before| before == value);
            let defect = defect(value).or_else(|| is_repeated.then(|| REPEATED.to_owned()));
            if self.check(&format!("{place}[{n}]"), value, defect) {
                usable.push(value.clone());
            }
        }
        usable
    }

    /// Reads `{"signing_secrets": ["whsec_…"]}`.
    pub fn signing_keys(&mut self) -> Vec<SigningKey> {
        let secrets = self.part::<SigningSecrets>().map(|part| part.signing_secrets).unwrap_or_default();
        self.signing_keys_at(self.name(), &secrets)
    }

    /// Reads the signing secrets of the object at `place`.
    pub fn signing_keys_at(&mut self, place: &str, secrets: &[Secret]) -> Vec<SigningKey> {
        let mut keys = Vec::new();
        for (n, secret) in secrets.iter().enumerate() {
            let key = SigningKey::parse(secret);
            // The prefix `whsec_` is optional, so keys are compared and not texts.
            let is_repeated = key.as_ref().is_ok_and(|key| keys.iter().any(|before: &SigningKey| before.is(key)));
            let repeated = || is_repeated.then(|| REPEATED.to_owned());
            let defect = key.as_ref().err().map(ToString::to_string).or_else(repeated);
            if self.check(&format!("{place}.signing_secrets[{n}]"), secret, defect) {
                keys.extend(key);
            }
        }
        keys
    }
}
