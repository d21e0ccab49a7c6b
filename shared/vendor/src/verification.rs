//! Verification of a delivery: from [`Unverified`] to [`Verified`], or a [`Rejection`].

use std::fmt;

use bytes::Bytes;
use gatehouse_payload::json::{Document, NotAnObject};
use gatehouse_payload::time::Timestamp;
use http::{HeaderMap, Method};

/// A request that has not been verified. Only [`Credentials::verify`] reads it.
#[derive(Debug, Clone, Copy)]
pub struct Unverified<'r> {
    parts: Parts<'r>,
    body: &'r Bytes,
}

/// The parts of a request that a scheme covers.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'r> {
    /// The method.
    pub method: &'r Method,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The body as received.
    pub body: &'r [u8],
}

impl<'r> Unverified<'r> {
    /// Wraps a request as it was received.
    #[must_use]
    pub fn new(method: &'r Method, headers: &'r HeaderMap, body: &'r Bytes) -> Self {
        Unverified { parts: Parts { method, headers, body }, body }
    }

    /// Returns the parts that a scheme covers.
    #[must_use]
    pub fn parts(&self) -> Parts<'r> {
        self.parts
    }

    /// Turns the request into a verified one. Only a vendor's [`Credentials::verify`] calls it.
    #[must_use]
    pub fn verified(self, proof: Proof) -> Verified<'r> {
        Verified { body: self.body, proof }
    }
}

/// A delivery that its vendor's scheme has verified. All later steps take this type.
#[derive(Debug, Clone)]
pub struct Verified<'r> {
    body: &'r Bytes,
    proof: Proof,
}

impl<'r> Verified<'r> {
    /// Returns the verified body.
    #[must_use]
    pub fn body(&self) -> &'r Bytes {
        self.body
    }

    /// Returns how the delivery was verified.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Reads the body.
    ///
    /// # Errors
    /// If the body is not a JSON object.
    pub fn document(&self) -> Result<Document<'r>, NotAnObject> {
        Document::read(self.body)
    }
}

/// The proof that a delivery was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The scheme: `svix`, `webhook`, `bearer:authorization`, `hmac:x-signature`.
    pub by: String,
    /// The message id, if the scheme covers one.
    pub message_id: Option<String>,
}

/// The reason why a delivery was rejected. It is logged; the sender only learns that verification failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    /// The kind of rejection.
    pub reason: Reason,
    /// The rule that failed, and how to satisfy it. Names headers and never shows a value.
    pub detail: String,
    /// Whether newer credentials might accept the same delivery.
    pub may_match_later: bool,
}

impl Rejection {
    /// Creates a rejection. Newer credentials might accept the delivery only if the reason is [`Reason::NoMatch`].
    #[must_use]
    pub fn new(reason: Reason, detail: String) -> Self {
        Rejection { reason, detail, may_match_later: reason == Reason::NoMatch }
    }
}

/// The kinds of rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A required header is missing or empty.
    Unsigned,
    /// A header has an invalid value, or appears more than once.
    Malformed,
    /// The timestamp is too far from the current time.
    Stale,
    /// The request is complete, but no secret matches.
    NoMatch,
}

impl Reason {
    /// The word for the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unsigned => "unsigned",
            Reason::Malformed => "malformed",
            Reason::Stale => "stale",
            Reason::NoMatch => "no-match",
        }
    }
}

/// A description of a scheme that shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeSummary {
    /// The kind, as the secrets document writes it: `bearer`, `hmac`; `signing_secrets` for Standard Webhooks.
    pub kind: &'static str,
    /// The header by which the scheme is recognized, if it is configured.
    pub header: Option<String>,
    /// Number of usable values.
    pub values: usize,
}

/// A vendor's credentials, as read from its part of the secrets document.
pub trait Credentials: fmt::Debug + Send + Sync {
    /// Describes each scheme that has usable values.
    fn schemes(&self) -> Vec<SchemeSummary>;

    /// Whether at least one scheme has a usable value.
    fn is_open(&self) -> bool {
        self.schemes().iter().any(|scheme| scheme.values > 0)
    }

    /// Verifies a delivery.
    ///
    /// # Errors
    /// If the vendor's scheme does not accept it.
    fn verify<'r>(&self, delivery: Unverified<'r>, now: Timestamp) -> Result<Verified<'r>, Rejection>;

    /// Returns the headers that authenticate a delivery with the first secret, for tools and tests; `None` without a
    /// secret.
    fn sign(&self, parts: Parts<'_>, message_id: &str, at: Timestamp) -> Option<Vec<(String, String)>>;
}
