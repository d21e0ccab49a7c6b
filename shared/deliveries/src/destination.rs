//! The part `destinations` of the secrets document:
//!
//! ```json
//! { "crm":   { "url": "https://crm.example.com/hook", "signing_secrets": ["whsec_…"],
//!              "when": [{ "source": "vapi", "type": "end-of-call-report", "where": { "/message/call/type": "webCall" }
//!              }] }, "queue": { "sqs": "https://sqs.eu-west-1.amazonaws.com/123456789012/events.fifo", "format":
//!              "vendor" }, "audit": { "lambda": "arn:aws:lambda:eu-west-1:123456789012:function:audit", "thin": true,
//!              "order": "none" } }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use gatehouse_egress::NetworkScope;
use gatehouse_services::service::{headers, is_function, parse_url};
use gatehouse_vendor::secrets::DESTINATIONS;
use gatehouse_vendor::signature::SigningKey;
use gatehouse_vendor::{PartReader, PartSpec, Secret, SecretsPart};
use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;

use crate::filter::{Filter, Filters};
use crate::message::{Format, MAX_BYTES, Shape};

/// The part of the secrets document.
pub const PART: PartSpec = PartSpec { name: DESTINATIONS, development: "{}" };

/// The age at which functions load the destinations again, in seconds. A change is in effect within a minute.
pub const MAX_AGE: i64 = 45;

/// The smallest `max_bytes`.
const LEAST_MAX_BYTES: usize = 1024;
/// The largest `max_bytes` of a server. Ten such messages fit the memory of deliver.
const MOST_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The largest `max_bytes` of a queue or a function, which is what AWS accepts.
const MOST_MAX_BYTES_IN_AWS: usize = 1024 * 1024;

/// The destinations by name.
#[derive(Debug, Clone, Default)]
pub struct Destinations {
    usable: BTreeMap<String, Destination>,
    /// Those whose entry in the secrets document has a defect. Their deliveries wait.
    unusable: BTreeSet<String>,
    /// Whether the names cannot be read.
    is_unreadable: bool,
}

/// A system that gets events.
#[derive(Clone)]
pub struct Destination {
    /// Where it is.
    pub target: Target,
    /// The keys that sign messages. Each makes a signature, so that keys can be rotated.
    pub signing_keys: Vec<SigningKey>,
    /// Further headers of each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Which events it gets.
    pub filters: Filters,
    /// The form of the body.
    pub format: Format,
    /// The parts of the body.
    pub shape: Shape,
    /// The order of the messages.
    pub order: Order,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").finish_non_exhaustive()
    }
}

/// Where a destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A server.
    Url {
        /// `https`, or `http` on a loopback address.
        url: Uri,
        /// Whether its address may be in a private network.
        is_private: bool,
    },
    /// An SQS queue.
    Queue {
        /// The queue's URL.
        url: String,
    },
    /// A Lambda function, which is invoked asynchronously.
    Function {
        /// Its name, its name and alias, or its ARN.
        name: String,
    },
}

impl Target {
    /// Whether the target is a FIFO queue.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        // The name of every FIFO queue, and of no other queue, ends with `.fifo`.
        matches!(self, Target::Queue { url } if url.ends_with(".fifo"))
    }

    /// Whether the target is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        matches!(self, Target::Url { url, .. } if NetworkScope::is_loopback(url))
    }
}

/// The order in which a destination gets its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// One after the other for each subject, in the order of receipt. A message that fails holds back later ones.
    #[default]
    Subject,
    /// In any order, also at the same time.
    None,
}

impl Destinations {
    /// Creates destinations from their names, for tests and commands.
    #[must_use]
    pub fn from_map(destinations: BTreeMap<String, Destination>) -> Self {
        Destinations { usable: destinations, ..Destinations::default() }
    }

    /// Returns a usable destination by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Destination> {
        self.usable.get(name)
    }

    /// Returns the usable destinations and their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Destination)> {
        self.usable.iter().map(|(name, destination)| (name.as_str(), destination))
    }

    /// Returns the names of all destinations.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.usable.keys().chain(&self.unusable).map(String::as_str)
    }

    /// Whether a destination cannot be used because of a defect, of its entry or of the whole part.
    #[must_use]
    pub fn has_defect(&self, name: &str) -> bool {
        self.is_unusable(name) || self.are_unreadable()
    }

    /// Whether there is more than one.
    #[must_use]
    pub fn are_several(&self) -> bool {
        self.names().nth(1).is_some()
    }

    /// Whether it is not known which destinations there are, because the whole part has a defect.
    #[must_use]
    pub fn are_unreadable(&self) -> bool {
        self.is_unreadable
    }

    /// Whether the entry of a destination in the secrets document has a defect.
    #[must_use]
    pub fn is_unusable(&self, name: &str) -> bool {
        self.unusable.contains(name)
    }
}

impl Destination {
    /// Creates a destination that gets every event, without a signature and further headers.
    #[must_use]
    pub fn at(target: Target) -> Self {
        Destination {
            target,
            signing_keys: Vec::new(),
            headers: Vec::new(),
            filters: Filters::default(),
            format: Format::default(),
            shape: Shape::default(),
            order: Order::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationPart {
    #[serde(default)]
    url: Option<Secret>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    sqs: Option<String>,
    #[serde(default)]
    lambda: Option<String>,
    #[serde(default)]
    signing_secrets: Vec<Secret>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    when: Vec<Filter>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    thin: bool,
    #[serde(default = "default_max_bytes")]
    max_bytes: usize,
    #[serde(default)]
    order: Order,
}

fn default_max_bytes() -> usize {
    MAX_BYTES
}

impl DestinationPart {
    fn target(&self) -> Result<Target, String> {
        let target = match (&self.url, &self.sqs, &self.lambda) {
            (Some(url), None, None) => {
                let url = parse_url(url).map_err(|defect| format!(".url {defect}"))?;
                return Ok(Target::Url { url, is_private: self.private });
            }
            (None, Some(url), None) if is_queue_url(url) => Target::Queue { url: url.clone() },
            (None, Some(_), None) => {
                return Err(
                    ".sqs is not the URL of a queue, such as https://sqs.<region>.amazonaws.com/<account>/<name>"
                        .to_owned(),
                );
            }
            (None, None, Some(name)) if is_function(name) => Target::Function { name: name.clone() },
            (None, None, Some(_)) => return Err(".lambda is not the name or the ARN of a function".to_owned()),
            _ => return Err(" needs exactly one of url, sqs and lambda".to_owned()),
        };
        if self.private || !self.headers.is_empty() {
            return Err(" has private or headers, which only a url can have; remove them".to_owned());
        }
        if matches!(target, Target::Function { .. }) && !self.signing_secrets.is_empty() {
            return Err(" has signing_secrets, but a function gets no signature; remove them".to_owned());
        }
        Ok(target)
    }

    fn shape(&self) -> Result<Shape, String> {
        let most = if self.url.is_some() { MOST_MAX_BYTES } else { MOST_MAX_BYTES_IN_AWS };
        if !(LEAST_MAX_BYTES..=most).contains(&self.max_bytes) {
            return Err(format!(".max_bytes is not between {LEAST_MAX_BYTES} and {most}"));
        }
        if self.thin && self.format == Format::Vendor {
            return Err(" is thin, but the format vendor is the whole body; remove one of the two".to_owned());
        }
        Ok(Shape { is_thin: self.thin, max_bytes: self.max_bytes })
    }
}

/// Whether a text can be the URL of a queue, in AWS or in a local engine.
fn is_queue_url(text: &str) -> bool {
    let url = text.parse::<Uri>();
    url.is_ok_and(|url| {
        let has_name = url.path().rsplit('/').next().is_some_and(|name| !name.is_empty());
        let is_local = url.scheme_str() == Some("http") && NetworkScope::is_loopback(&url);
        has_name && url.host().is_some() && (url.scheme_str() == Some("https") || is_local)
    })
}

impl SecretsPart for Destinations {
    /// Reads the destinations. The defects of those that cannot be used are reported.
    fn read(reader: &mut PartReader<'_>) -> Self {
        let mut destinations = Destinations::default();
        for (name, part) in reader.named_objects::<DestinationPart>() {
            let Some(part) = part else {
                destinations.unusable.insert(name);
                continue;
            };
            let place = format!("{}.{name}", reader.name());
            let keys = reader.signing_keys_at(&place, &part.signing_secrets);
            // Without any of the intended signatures the receiver would refuse the requests.
            let lacks_signature = keys.is_empty() && !part.signing_secrets.is_empty();
            let read = || Ok::<_, String>((part.target()?, headers(&part.headers)?, part.shape()?));
            match read() {
                Ok((target, headers, shape)) if !lacks_signature => {
                    let (filters, format, order) = (Filters(part.when), part.format, part.order);
                    let destination =
                        Destination { target, signing_keys: keys, headers, filters, format, shape, order };
                    destinations.usable.insert(name, destination);
                }
                Ok(_) => drop(destinations.unusable.insert(name)),
                Err(defect) => {
                    reader.defects.push(format!("{place}{defect}"));
                    destinations.unusable.insert(name);
                }
            }
        }
        destinations.is_unreadable = destinations.names().next().is_none() && !reader.defects.is_empty();
        destinations
    }
}

#[cfg(test)]
mod tests {
    use gatehouse_vendor::SecretsDocument;

    use super::*;

    fn parse(part: &str) -> (Destinations, Vec<String>) {
        let document = format!(r#"{{"destinations":{part}}}"#);
        SecretsDocument::parse(&document, false).unwrap().read(&PART)
    }

    #[test]
    fn destinations_are_urls_queues_and_functions() {
        let (destinations, defects) = parse(
            r#"{"crm": {"url": "https://crm.example.com/hook", "headers": {"Authorization": "Bearer s3cret"},
                  "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "max_bytes": 2000000, "order": "none",
                  "when": [{"source": "vapi", "type": "status-*", "where": {"/call/type": ["webCall"]}}]},
                "fifo": {"sqs": "https://sqs.eu-west-1.amazonaws.com/123456789012/events.fifo", "format": "vendor"},
                "local": {"sqs": "http://127.0.0.1:9002/000000000000/q", "thin": true},
                "audit": {"lambda": "arn:aws:lambda:eu-west-1:123456789012:function:audit:live"}}"#,
        );
        assert_eq!(defects, Vec::<String>::new());
        assert_eq!(destinations.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["audit", "crm", "fifo", "local"]);
        let crm = destinations.get("crm").unwrap();
        assert_eq!((crm.order, crm.shape.max_bytes, crm.signing_keys.len()), (Order::None, 2_000_000, 1));
        let fifo = destinations.get("fifo").unwrap();
        assert_eq!((fifo.target.is_fifo(), fifo.format, fifo.order), (true, Format::Vendor, Order::Subject));
        let local = destinations.get("local").unwrap();
        assert!(!local.target.is_fifo() && local.shape.is_thin);
        assert!(!format!("{crm:?}").contains("s3cret"));
    }

    #[test]
    fn unusable_destinations_are_reported_without_their_values() {
        let (destinations, defects) = parse(
            r#"{"plain": {"url": "http://s3cret.example.com"}, "none": {},
                "both": {"url": "https://x.example.com", "sqs": "https://sqs.eu-west-1.amazonaws.com/1/q"},
                "queue": {"sqs": "s3cret"}, "fn": {"lambda": "s3cret function"},
                "host": {"url": "https://x.example.com", "headers": {"Host": "s3cret"}},
                "headers": {"lambda": "x", "headers": {"x": "s3cret"}}, "private": {"lambda": "x", "private": true},
                "signed": {"lambda": "x", "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
                "small": {"url": "https://x.example.com", "max_bytes": 10},
                "large": {"url": "https://x.example.com", "max_bytes": 99999999},
                "large-queue": {"sqs": "https://sqs.eu-west-1.amazonaws.com/1/q", "max_bytes": 1048577},
                "thin": {"url": "https://x.example.com", "thin": true, "format": "vendor"},
                "key": {"url": "https://x.example.com", "signing_secrets": ["s3cret"]},
                "when": {"url": "https://x.example.com", "when": [{"tpye": "s3cret"}]},
                "order": {"url": "https://x.example.com", "order": "s3cret"},
                "where": {"url": "https://x.example.com", "when": [{"where": {"s3cret": 1}}]},
                "good": {"url": "https://x.example.com"}}"#,
        );
        assert_eq!(destinations.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["good"]);
        // Their events must not be lost.
        assert_eq!((destinations.names().count(), destinations.is_unusable("order")), (18, true));
        let defects = defects.join("\n");
        for expected in [
            "destinations.plain.url does not begin with https://",
            "destinations.none needs exactly one of url, sqs and lambda",
            "destinations.both needs exactly one of",
            "destinations.queue.sqs is not the URL of a queue",
            "destinations.fn.lambda is not",
            "destinations.host.headers has the header host, which",
            "destinations.headers has private or headers",
            "destinations.private has private or headers",
            "destinations.signed has signing_secrets",
            "destinations.small.max_bytes is not between 1024 and 4194304",
            "destinations.large.max_bytes is not between 1024 and 4194304",
            "destinations.large-queue.max_bytes is not between 1024 and 1048576",
            "destinations.thin is thin, but",
            "destinations.key.signing_secrets[0] is",
            "destinations.when does not have the shape",
            "destinations.order does not have the shape",
            "destinations.where does not have the shape",
        ] {
            assert!(defects.contains(expected), "{expected}\n{defects}");
        }
        assert!(!defects.contains("s3cret"), "{defects}");
    }

    #[test]
    fn part_that_is_no_object_is_not_the_same_as_no_destinations() {
        for (part, is_unreadable) in [("[]", true), ("null", true), (r#"{"a b": {}}"#, true), ("{}", false)] {
            let (destinations, defects) = parse(part);
            assert_eq!((destinations.are_unreadable(), defects.is_empty()), (is_unreadable, !is_unreadable), "{part}");
        }
        let twice = r#"{"destinations": {}, "destinations": {}}"#;
        let (destinations, _) = SecretsDocument::parse(twice, false).unwrap().read::<Destinations>(&PART);
        assert!(destinations.are_unreadable());
    }
}
