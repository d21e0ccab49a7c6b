//! Command-line arguments that `sign` and `send` share: the vendor, the body and the secret.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use gatehouse_local::delivery::Delivery;
use gatehouse_local::{Error, dev_url};
use gatehouse_payload::Nonce;
use gatehouse_runtime::Clock;
use gatehouse_vendor::{CredentialsShape, Source};
use gatehouse_vendors::{SOURCES, Secrets, development};
use serde_json::{Value, json};

use crate::shell::{read, variable};

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
    /// Signing secret or token [default: the vendor's first one in GATEHOUSE_SECRETS, or in the development document if
    /// that is unset]. A token for Vapi is sent as the first scheme of the document defines
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Message id, which becomes the event id if the body has none. A repeated id is a duplicate, or a conflict if the
    /// body differs. Schemes without message ids ignore it [default: a new id]
    #[arg(long, value_name = "ID", value_parser = header_value)]
    message_id: Option<String>,
    /// URL of the endpoint [default: `gatehouse dev` on port 9000]
    #[arg(long = "to", value_name = "URL", value_parser = url)]
    to: Option<String>,
}

impl DeliveryArguments {
    pub(crate) fn url(&self) -> String {
        self.to.clone().unwrap_or_else(|| dev_url("http://127.0.0.1:9000", self.source.0))
    }

    pub(crate) fn body(&self) -> Result<Vec<u8>, Error> {
        self.file.as_deref().map_or_else(|| Ok(self.example().to_vec()), read)
    }

    fn example(&self) -> &'static [u8] {
        self.source.0.samples().first().map_or(b"{}", |sample| sample.body.as_bytes())
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
