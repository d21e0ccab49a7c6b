//! Verifies Standard Webhooks signatures (<https://www.standardwebhooks.com>), which Svix sends for Ada and agntix.
//!
//! A signature is the HMAC-SHA256 of `{id}.{timestamp}.{body}`. Three headers named `svix-*` or `webhook-*` contain the
//! id, the timestamp and a list of `v1,<base64>`. Headers of the two sets are never mixed.
//!
//! This code does not use the crate `standardwebhooks`, because it needs both sets of headers, several keys during a
//! rotation, and an injected clock. The tests compare it with that crate.

use data_encoding::{BASE64, HEXLOWER};
use gatehouse_payload::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::headers::{check_timestamp, header};
use crate::secrets::{PartReader, SecretsPart};
use crate::verification::{Credentials, Parts, Proof, Reason, Rejection, SchemeSummary, Unverified, Verified};

/// Shortest accepted key, in bytes: the specification's minimum.
const MIN_KEY_BYTES: usize = 24;
const SECRET_PREFIX: &str = "whsec_";
/// The prefixes of the two sets of headers.
const SETS: [&str; 2] = ["svix", "webhook"];

/// A key that signs and verifies deliveries.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The reason why a text is not a signing secret. The message does not quote the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// The text is not an optional `whsec_` followed by base64.
    #[error("is not base64 after its prefix whsec_; paste the signing secret as the vendor's dashboard shows it")]
    NotBase64,
    /// The base64 lacks its padding.
    #[error("lacks the padding at the end of its base64; paste it with the = or == that the vendor's dashboard shows")]
    NoPadding,
    /// The key is shorter than 24 bytes.
    #[error("is shorter than {MIN_KEY_BYTES} bytes; paste the whole signing secret")]
    TooShort,
}

impl SigningKey {
    /// Parses `whsec_<base64>`. The prefix is optional.
    ///
    /// # Errors
    /// If the text has another form, or the key is shorter than 24 bytes.
    pub fn parse(secret: &str) -> Result<Self, BadSecret> {
        let encoded = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
        let is_unpadded = || data_encoding::BASE64_NOPAD.decode(encoded.as_bytes()).is_ok();
        let error = |_| if is_unpadded() { BadSecret::NoPadding } else { BadSecret::NotBase64 };
        let key = BASE64.decode(encoded.as_bytes()).map_err(error)?;
        if key.len() < MIN_KEY_BYTES {
            return Err(BadSecret::TooShort);
        }
        Ok(SigningKey(Zeroizing::new(key)))
    }

    /// Returns the signature header for `body` under `id` at `timestamp` (seconds since the epoch, as text).
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!("v1,{}", BASE64.encode(&self.mac(id, timestamp, body)))
    }

    /// Returns the three headers that Svix sends with `body`.
    #[must_use]
    pub fn headers(&self, id: &str, body: &[u8], at: Timestamp) -> Vec<(String, String)> {
        let timestamp = at.as_secs().to_string();
        let signature = self.sign(id, &timestamp, body);
        let [id_header, timestamp_header, signature_header] =
            ["id", "timestamp", "signature"].map(|name| format!("{}-{name}", SETS[0]));
        vec![(id_header, id.to_owned()), (timestamp_header, timestamp), (signature_header, signature)]
    }

    /// Whether both keys are the same.
    pub fn is(&self, other: &SigningKey) -> bool {
        *self.0 == *other.0
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC takes keys of any length")
        };
        for piece in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(piece);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Returns the id of the message about an item: `evt_` and the SHA-256 of the item's key in hexadecimal. A key may be too
/// long for a `webhook-id` and may contain dots, which the specification forbids.
#[must_use]
pub fn message_id(key: &str) -> String {
    format!("evt_{}", HEXLOWER.encode(&Sha256::digest(key)))
}

/// Returns the headers of a message that Gatehouse sends, with a signature for each key. Without keys, the signature is
/// left out.
#[must_use]
pub fn webhook_headers(keys: &[SigningKey], id: &str, at: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
    let timestamp = at.as_secs().to_string();
    let signatures: Vec<String> = keys.iter().map(|key| key.sign(id, &timestamp, body)).collect();
    let mut headers = vec![("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp)];
    if !signatures.is_empty() {
        headers.push(("webhook-signature", signatures.join(" ")));
    }
    headers
}

/// A vendor's signing keys: the credentials of every vendor that signs by Standard Webhooks.
#[derive(Debug, Clone, Default)]
pub struct SigningKeys(pub Vec<SigningKey>);

impl SecretsPart for SigningKeys {
    fn read(part: &mut PartReader<'_>) -> Self {
        SigningKeys(part.signing_keys())
    }
}

impl Credentials for SigningKeys {
    fn schemes(&self) -> Vec<SchemeSummary> {
        vec![SchemeSummary { kind: "signing_secrets", header: None, values: self.0.len() }]
    }

    fn is_open(&self) -> bool {
        !self.0.is_empty()
    }

    fn verify<'r>(&self, delivery: Unverified<'r>, now: Timestamp) -> Result<Verified<'r>, Rejection> {
        let Parts { headers, body, .. } = delivery.parts();
        verify(headers, body, &self.0, now).map(|proof| delivery.verified(proof))
    }

    fn sign(&self, parts: Parts<'_>, message_id: &str, at: Timestamp) -> Option<Vec<(String, String)>> {
        Some(self.0.first()?.headers(message_id, parts.body, at))
    }
}

/// Verifies a delivery against any of `keys`.
///
/// # Errors
/// If no set of headers is complete, the timestamp is further from `now` than the
/// [tolerance](crate::headers::TOLERANCE), or no signature matches.
pub fn verify(headers: &HeaderMap, body: &[u8], keys: &[SigningKey], now: Timestamp) -> Result<Proof, Rejection> {
    let mut rejection: Option<Rejection> = None;
    for set in SETS {
        match verify_set(set, headers, body, keys, now) {
            Ok(Some(verified)) => return Ok(verified),
            Ok(None) => {}
            // A mismatch takes precedence, because only a mismatch may be due to a rotated secret.
            Err(failure) if rejection.is_none() || failure.reason == Reason::NoMatch => rejection = Some(failure),
            Err(_) => {}
        }
    }
    Err(rejection.unwrap_or_else(|| {
        let needed = "the headers svix-id, svix-timestamp and svix-signature (or the three webhook-*) are missing";
        Rejection::new(Reason::Unsigned, format!("{needed}; send the delivery as the vendor signed it"))
    }))
}

/// Verifies a delivery with the headers of one set; `None` if the delivery has none of them.
fn verify_set(
    set: &str,
    headers: &HeaderMap,
    body: &[u8],
    keys: &[SigningKey],
    now: Timestamp,
) -> Result<Option<Proof>, Rejection> {
    let names = ["id", "timestamp", "signature"].map(|part| format!("{set}-{part}"));
    if names.iter().all(|name| !headers.contains_key(name)) {
        return Ok(None);
    }
    let [id, timestamp, signatures] =
        [header(headers, &names[0])?, header(headers, &names[1])?, header(headers, &names[2])?];
    // Base64 contains no comma. An entry with a second one comes from a header that was sent twice and joined.
    if signatures.split(' ').any(|entry| entry.matches(',').count() > 1) {
        let name = &names[2];
        return Err(Rejection::new(
            Reason::Malformed,
            format!("the header {name} is not a list of signatures; send the header once"),
        ));
    }
    check_timestamp(&names[1], timestamp, now)?;
    for key in keys {
        let expected = key.mac(id, timestamp, body);
        // All signatures are compared, each in constant time, so that the duration reveals nothing about them.
        let matched = signatures
            .split(' ')
            .filter_map(decode_v1)
            .fold(0, |matched, signature| matched | signature.as_slice().ct_eq(&expected).unwrap_u8());
        if matched == 1 {
            return Ok(Some(Proof { by: set.to_owned(), message_id: Some(id.to_owned()) }));
        }
    }
    Err(Rejection::new(
        Reason::NoMatch,
        format!(
            "no v1 signature in {} matches the body as received; check that the endpoint's signing secret is the \
             configured one and that no proxy changes the body",
            names[2]
        ),
    ))
}

fn decode_v1(entry: &str) -> Option<Vec<u8>> {
    BASE64.decode(entry.strip_prefix("v1,")?.as_bytes()).ok()
}
