//! The part `services` of the secrets document:
//!
//! ```json
//! { "orders":  { "url": "https://…", "signing_secrets": ["whsec_…"], "headers": { "x-vapi-secret": "…" } },
//!   "stock":   { "url": "https://…", "private": true },
//!   "booking": { "lambda": "booking:live", "as": "http" } }
//! ```

use std::collections::BTreeMap;
use std::fmt;

use gatehouse_egress::NetworkScope;
use gatehouse_vendor::secrets::SERVICES;
use gatehouse_vendor::signature::SigningKey;
use gatehouse_vendor::{PartReader, PartSpec, Secret, SecretsPart};
use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;

/// The part of the secrets document.
pub const PART: PartSpec = PartSpec { name: SERVICES, development: "{}" };

/// Longest name of a Lambda function, in bytes: an ARN with an alias.
const MAX_FUNCTION_BYTES: usize = 256;
/// The prefixes of headers that Gatehouse sets itself.
const OWN_PREFIXES: [&str; 2] = ["webhook-", "gatehouse-"];
/// Other headers that a service cannot have.
const RESERVED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The services by name.
#[derive(Debug, Clone, Default)]
pub struct Services(BTreeMap<String, Service>);

/// A service that answers questions.
#[derive(Clone)]
pub struct Service {
    /// Where the service is.
    pub target: Target,
    /// The keys that sign requests. Each makes a signature, so that keys can be rotated.
    pub signing_keys: Vec<SigningKey>,
    /// Further headers of each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A server.
    Url {
        /// `https`, or `http` on a loopback address.
        url: Uri,
        /// Whether its address may be in a private network.
        is_private: bool,
    },
    /// A Lambda function.
    Lambda {
        /// Its name, its name and alias, or its ARN.
        function: String,
        /// The form of the payload.
        payload: Payload,
    },
}

/// The form of the payload that a Lambda function gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Vapi's body with the member `gatehouse`.
    #[default]
    Message,
    /// The event of a function URL.
    Http,
}

impl Services {
    /// Creates services from their names, for tests and commands.
    #[must_use]
    pub fn from_map(services: BTreeMap<String, Service>) -> Self {
        Services(services)
    }

    /// Returns a service by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Service> {
        self.0.get(name)
    }

    /// Returns the services and their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.0.iter().map(|(name, service)| (name.as_str(), service))
    }
}

impl Service {
    /// Creates a service at a URL, without a signature and further headers.
    #[must_use]
    pub fn at(url: Uri) -> Self {
        let target = Target::Url { url, is_private: false };
        Service { target, signing_keys: Vec::new(), headers: Vec::new() }
    }

    /// Whether the service is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        matches!(&self.target, Target::Url { url, .. } if NetworkScope::is_loopback(url))
    }
}

/// Parses the URL of a service: `https`, or `http` on a loopback address.
///
/// # Errors
/// Why the text is not such a URL.
pub fn parse_url(text: &str) -> Result<Uri, &'static str> {
    const NEEDED: &str = "does not begin with https://; http:// is valid only for localhost, 127.0.0.1 and [::1]";
    let url: Uri = text.parse().map_err(|_| "is not a URL")?;
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("contains a user name; send credentials in a header");
    }
    match url.scheme_str() {
        Some("https") if !url.host().unwrap_or_default().is_empty() => Ok(url),
        Some("http") if NetworkScope::is_loopback(&url) => Ok(url),
        _ => Err(NEEDED),
    }
}

/// Whether a text can be the name or the ARN of a Lambda function, with or without an alias.
#[must_use]
pub fn is_function(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:$".contains(&byte);
    (1..=MAX_FUNCTION_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServicePart {
    #[serde(default)]
    url: Option<Secret>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    lambda: Option<String>,
    #[serde(default, rename = "as")]
    payload: Option<Payload>,
    #[serde(default)]
    signing_secrets: Vec<Secret>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
}

impl ServicePart {
    fn target(&self) -> Result<Target, String> {
        match (&self.url, &self.lambda) {
            (Some(url), None) if self.payload.is_none() => {
                let url = parse_url(url).map_err(|defect| format!(".url {defect}"))?;
                Ok(Target::Url { url, is_private: self.private })
            }
            (Some(_), None) => Err(".as is for a lambda, not for a url".to_owned()),
            (None, Some(_)) if self.private => Err(".private is for a url, not for a lambda".to_owned()),
            (None, Some(function)) if is_function(function) => {
                let payload = self.payload.unwrap_or_default();
                if payload == Payload::Message && !(self.headers.is_empty() && self.signing_secrets.is_empty()) {
                    return Err(" has headers or signing_secrets, which need \"as\": \"http\"".to_owned());
                }
                Ok(Target::Lambda { function: function.clone(), payload })
            }
            (None, Some(_)) => Err(".lambda is not the name or the ARN of a function".to_owned()),
            _ => Err(" needs either a url or a lambda".to_owned()),
        }
    }
}

/// Parses the headers that a service or a destination gets with each request.
///
/// # Errors
/// Which header cannot be sent, without its value.
pub fn headers(headers: &BTreeMap<String, Secret>) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(name, value): (&String, &Secret)| {
        let name: HeaderName = name.parse().map_err(|_| ".headers has an invalid name of a header".to_owned())?;
        let is_own = OWN_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
        if is_own || RESERVED.contains(&name.as_str()) {
            return Err(format!(".headers has the header {name}, which Gatehouse or HTTP sets"));
        }
        let is_visible = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let value = HeaderValue::try_from(&**value).ok().filter(|_| is_visible);
        let invalid = || format!(".headers has a value of {name} that is not visible ASCII");
        let mut value = value.ok_or_else(invalid)?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    headers.iter().map(header).collect()
}

impl SecretsPart for Services {
    /// Reads the services. A service that cannot be used is ignored and reported as a defect.
    fn read(reader: &mut PartReader<'_>) -> Self {
        let mut services = BTreeMap::new();
        for (name, service) in reader.named_objects::<ServicePart>() {
            let Some(service) = service else { continue };
            let place = format!("{}.{name}", reader.name());
            let keys = reader.signing_keys_at(&place, &service.signing_secrets);
            // Without any of the intended signatures the service would refuse the requests.
            let lacks_signature = keys.is_empty() && !service.signing_secrets.is_empty();
            match service.target().and_then(|target| Ok((target, headers(&service.headers)?))) {
                Ok((target, headers)) if !lacks_signature => {
                    services.insert(name, Service { target, signing_keys: keys, headers });
                }
                Ok(_) => {}
                Err(defect) => reader.defects.push(format!("{place}{defect}")),
            }
        }
        Services(services)
    }
}

#[cfg(test)]
mod tests {
    use gatehouse_vendor::SecretsDocument;

    use super::*;

    fn parse(part: &str) -> (Services, Vec<String>) {
        let document = format!(r#"{{"services":{part}}}"#);
        SecretsDocument::parse(&document, false).unwrap().read(&PART)
    }

    #[test]
    fn services_are_urls_and_functions() {
        let (services, defects) = parse(
            r#"{"orders": {"url": "https://orders.example.com/vapi", "headers": {"X-Vapi-Secret": "s3cret word"},
                  "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]},
                "stock": {"url": "https://10.0.0.7/x", "private": true}, "here": {"url": "http://127.0.0.1:3000"},
                "book": {"lambda": "book:live"}, "old": {"lambda": "arn:aws:lambda:eu-west-1:1:function:o", "as": "http",
                "headers": {"authorization": "Bearer x"}}}"#,
        );
        assert_eq!(defects, Vec::<String>::new());
        let names: Vec<&str> = services.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["book", "here", "old", "orders", "stock"]);
        let orders = services.get("orders").unwrap();
        assert_eq!((orders.signing_keys.len(), orders.headers[0].0.as_str()), (2, "x-vapi-secret"));
        assert!(matches!(services.get("stock").unwrap().target, Target::Url { is_private: true, .. }));
        assert!(services.get("here").unwrap().is_loopback() && !orders.is_loopback());
        let book = Target::Lambda { function: "book:live".to_owned(), payload: Payload::Message };
        assert_eq!(services.get("book").unwrap().target, book);
        assert!(!format!("{orders:?}").contains("s3cret"));
    }

    #[test]
    fn unusable_services_are_reported_without_their_values() {
        let (services, defects) = parse(
            r#"{"plain": {"url": "http://s3cret.example.com"}, "both": {"url": "https://x.example.com", "lambda": "x"},
                "none": {}, "user": {"url": "https://s3cret@x.example.com"}, "s3cret name": {"lambda": "x"},
                "fn": {"lambda": "s3cret function"}, "host": {"url": "https://x.example.com", "headers": {"Host": "s3cret"}},
                "own": {"url": "https://x.example.com", "headers": {"webhook-id": "s3cret"}},
                "value": {"url": "https://x.example.com", "headers": {"x": "s3cret\n"}},
                "key": {"url": "https://x.example.com", "signing_secrets": ["s3cret"]},
                "signed": {"lambda": "x", "headers": {"x": "s3cret"}}, "private": {"lambda": "x", "private": true},
                "as": {"url": "https://x.example.com", "as": "http"}, "typo": {"uri": "https://s3cret.example.com"},
                "list": ["https://s3cret.example.com"], "good": {"url": "https://x.example.com"}}"#,
        );
        assert_eq!(services.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["good"]);
        let defects = defects.join("\n");
        for expected in [
            "services.plain.url does not begin with https://",
            "services.both needs either a url or a lambda",
            "services.none needs either",
            "services.user.url contains a user name",
            "services, member 5, has a name",
            "services.fn.lambda is not",
            "services.host.headers has the header host, which",
            "services.own.headers has the header webhook-id, which",
            "services.value.headers has a value of x that",
            "services.key.signing_secrets[0] is",
            "services.signed has headers",
            "services.private.private is for a url",
            "services.as.as is for a lambda",
            "services.typo does not have the shape",
            "services.list",
        ] {
            assert!(defects.contains(expected), "{expected}\n{defects}");
        }
        assert!(!defects.contains("s3cret"), "{defects}");
    }
}
