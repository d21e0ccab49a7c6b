//! Command-line arguments that `sign` and `send` share: the vendor, the body and the secret.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use gatehouse_local::delivery::Delivery;
use gatehouse_local::{Error, dev_url};
use gatehouse_payload::Nonce;
use gatehouse_runtime::Clock;
use gatehouse_vendor::{CredentialsShape, Sample, Source};
use gatehouse_vendors::{SOURCES, Secrets, development};
use serde_json::{Value, json};

use crate::settings::dev_at;
use crate::shell::{UsageError, read, variable};

/// The source of a delivery, by its name on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceArg(pub(crate) &'static dyn Source);

impl ValueEnum for SourceArg {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<SourceArg>> = LazyLock::new(|| {
            let delivers = |source: &&dyn Source| source.profile().shape != CredentialsShape::Nothing;
            SOURCES.into_iter().filter(delivers).map(SourceArg).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let profile = self.0.profile();
        Some(PossibleValue::new(profile.name).help(format!("{}, to `{}`", profile.about, profile.function)))
    }
}

/// The arguments that describe a delivery.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeliveryArguments {
    /// Vendor; it decides how the delivery is signed and which function receives it
    #[arg(value_name = "VENDOR")]
    pub(crate) source: SourceArg,
    /// File with the body; `-` reads standard input [default: an example body of the vendor]
    pub(crate) file: Option<PathBuf>,
    /// Name of the example body, such as end-of-call-report; `gatehouse send --list` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    example: Option<String>,
    /// Set a member of the body, such as data.conversation_id=c1; repeatable. The value is JSON, or else a text
    #[arg(long, value_name = "PATH=VALUE", value_parser = member)]
    set: Vec<(String, Value)>,
    /// Signing secret or token [default: the vendor's first one in GATEHOUSE_SECRETS, or in the development document if
    /// that is unset]. A token for Vapi is sent as the first scheme of the document defines
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Message id, which becomes the event id if the body has none. A repeated id is a duplicate, or a conflict if the
    /// body differs. Schemes without message ids ignore it [default: a new id]
    #[arg(long, value_name = "ID", value_parser = header_value)]
    message_id: Option<String>,
    /// URL of the endpoint [default: that of `gatehouse dev`, by `at` in gatehouse.toml or on port 9000]
    #[arg(long = "to", value_name = "URL", value_parser = url)]
    to: Option<String>,
}

impl DeliveryArguments {
    pub(crate) fn url(&self) -> Result<String, Error> {
        match &self.to {
            Some(url) => Ok(url.clone()),
            None => Ok(dev_url(&dev_at(None)?, self.source.0)),
        }
    }

    /// Whether the body differs from the file.
    pub(crate) fn changes_file(&self) -> bool {
        !self.set.is_empty()
    }

    /// Returns the body.
    ///
    /// # Errors
    /// If the file cannot be read, there is no such example, or a member cannot be set.
    pub(crate) fn body(&self) -> Result<Vec<u8>, Error> {
        match &self.file {
            Some(file) => self.with_members(read(file)?),
            None => self.with_members(self.example()?.map_or("{}", |sample| sample.body).as_bytes().to_vec()),
        }
    }

    /// Returns the body of another event: the example with other ids and times. A file stays as it is.
    ///
    /// # Errors
    /// Like [`body`](Self::body).
    pub(crate) fn next_body(&self, body: &[u8]) -> Result<Vec<u8>, Error> {
        match self.example()?.filter(|_| self.file.is_none()) {
            Some(sample) => {
                let id = Nonce::random()?.to_string();
                self.with_members(sample.fresh(&id, Clock::System.now()).into_bytes())
            }
            None => Ok(body.to_vec()),
        }
    }

    /// Returns the example; `None` if the vendor has none.
    fn example(&self) -> Result<Option<&'static Sample>, Error> {
        let samples = self.source.0.samples();
        let Some(name) = &self.example else { return Ok(samples.first()) };
        let found = samples.iter().find(|sample| sample.name == *name).ok_or_else(|| {
            let names: Vec<&str> = samples.iter().map(|sample| sample.name).collect();
            let vendor = self.source.0.profile().name;
            UsageError(format!("{vendor} has no example {name}; it has {}", names.join(", ")))
        })?;
        Ok(Some(found))
    }

    fn with_members(&self, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.set.is_empty() {
            return Ok(body);
        }
        let mut value: Value =
            serde_json::from_slice(&body).map_err(|error| format!("--set needs a body of JSON: {error}"))?;
        for (path, new) in &self.set {
            set_member(&mut value, path, new.clone()).map_err(UsageError)?;
        }
        Ok(value.to_string().into_bytes())
    }

    pub(crate) fn message_id(&self) -> Result<String, Error> {
        match &self.message_id {
            Some(id) => Ok(id.clone()),
            None => Ok(format!("msg_{}", Nonce::random()?)),
        }
    }

    /// Builds the delivery, signed at the current time.
    pub(crate) fn sign(&self, secrets: &Secrets, message_id: &str, body: &[u8]) -> Result<Delivery, Error> {
        let body = body.to_vec();
        Ok(Delivery::signed(self.source.0, secrets, message_id, body, Clock::System.now())?)
    }

    /// Returns the secrets to sign with.
    pub(crate) fn secrets(&self) -> Result<Secrets, Error> {
        let document = variable("GATEHOUSE_SECRETS")?;
        let document = document.as_deref().unwrap_or(development());
        let (document, place) = match &self.secret {
            None => (document.to_owned(), "GATEHOUSE_SECRETS"),
            // Not checked by clap, whose error message would show the secret.
            Some(secret) => (self.with_secret(document, &header_value(secret)?), "--secret"),
        };
        let secrets = Secrets::parse(&document, true).map_err(|error| format!("{place}: {error}"))?;
        match secrets.defects.iter().find(|defect| defect.starts_with(self.source.0.profile().secrets.name)) {
            // The user did not write this document, so the path that begins the message is left out.
            Some(defect) if self.secret.is_some() => {
                Err(format!("--secret {}", defect.split_once(' ').map_or("cannot be used", |(_, what)| what)).into())
            }
            Some(defect) => Err(format!("{place}: {defect}").into()),
            None => Ok(secrets),
        }
    }

    /// Returns a document that has only this secret. The scheme that sends it to Vapi is the first one in `document`.
    fn with_secret(&self, document: &str, secret: &str) -> String {
        let profile = self.source.0.profile();
        let part = match profile.shape {
            CredentialsShape::SigningSecrets | CredentialsShape::Nothing => json!({"signing_secrets": [secret]}),
            CredentialsShape::Schemes => {
                let document: Value = serde_json::from_str(document).unwrap_or_default();
                let bearer = json!({"kind": "bearer", "header": "authorization", "prefix": "Bearer "});
                let first = &document[profile.secrets.name]["schemes"][0];
                let mut scheme = if first.is_object() { first.clone() } else { bearer };
                scheme["values"] = json!([secret]);
                json!({"schemes": [scheme]})
            }
        };
        json!({profile.secrets.name: part}).to_string()
    }
}

/// Parses `PATH=VALUE`.
fn member(text: &str) -> Result<(String, Value), String> {
    let (path, value) = text.split_once('=').filter(|(path, _)| !path.is_empty()).ok_or("use PATH=VALUE")?;
    Ok((path.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// Sets the member at a path of names and numbers, separated by dots. Creates objects that are missing.
fn set_member(value: &mut Value, path: &str, new: Value) -> Result<(), String> {
    let mut at = value;
    for name in path.split('.') {
        if at.is_null() {
            *at = json!({});
        }
        at = match at {
            Value::Object(members) => members.entry(name).or_insert(Value::Null),
            Value::Array(values) => {
                let found = name.parse::<usize>().ok().and_then(|n| values.get_mut(n));
                found.ok_or_else(|| format!("--set {path}: the list has no element {name}"))?
            }
            _ => return Err(format!("--set {path}: the value that contains {name} is not an object")),
        };
    }
    *at = new;
    Ok(())
}

/// Returns the examples of all vendors, one line each.
pub(crate) fn list_examples() -> String {
    let mut text = String::new();
    for SourceArg(source) in SourceArg::value_variants() {
        for sample in source.samples() {
            let _ = writeln!(text, "{:<12} {}", source.profile().name, sample.name);
        }
    }
    text
}

/// Parses an argument that is sent in a header.
fn header_value(text: &str) -> Result<String, String> {
    let is_visible = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && text.trim() == text;
    if is_visible {
        Ok(text.to_owned())
    } else {
        Err("use visible ASCII characters, since it is sent in a header".into())
    }
}

fn url(text: &str) -> Result<String, String> {
    gatehouse_local::delivery::url_of(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_is_set_by_its_path() {
        let mut body = json!({"data": {"id": 1}, "list": [{"a": 1}]});
        for argument in ["data.id=c1", "data.more.deep=[1]", "list.0.a=null", "new=007", "text=a=b"] {
            let (path, value) = member(argument).unwrap();
            set_member(&mut body, &path, value).unwrap();
        }
        let expected = json!({"data": {"id": "c1", "more": {"deep": [1]}}, "list": [{"a": null}], "new": "007",
                              "text": "a=b"});
        assert_eq!(body, expected);
        for wrong in ["list.7=1", "data.id.x=1"] {
            let (path, value) = member(wrong).unwrap();
            assert!(set_member(&mut body, &path, value).unwrap_err().contains(&path), "{wrong}");
        }
        for wrong in ["=1", "name", ""] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }
}
