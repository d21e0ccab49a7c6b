//! Standard Webhooks signatures (<https://www.standardwebhooks.com>), as Svix sends them for Ada and agntix.
//!
//! HMAC-SHA256 over `{id}.{timestamp}.{body}`; id, timestamp and a list of `v1,<base64>` stand in three headers, which
//! are named `svix-*` or `webhook-*`. One set is taken whole or not at all.

use data_encoding::BASE64;
use gatehouse_payload::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Unverified, Verified, Why};

/// How far a timestamp may lie from now, on either side. In seconds.
pub const TOLERANCE: i64 = 300;
/// The shortest key taken. In bytes; the specification's minimum.
const SHORTEST_KEY: usize = 24;
const SECRET_PREFIX: &str = "whsec_";
const SETS: [&str; 2] = ["svix", "webhook"];

/// A secret to sign and verify with.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a text is no signing secret; does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Not `whsec_` and base64.
    #[error("is not base64 after its prefix whsec_; paste the signing secret as the vendor's dashboard shows it")]
    NotBase64,
    /// Base64 whose end was cut off.
    #[error(
        "has lost the padding at the end of its base64; paste it with the = or == that the vendor's dashboard shows"
    )]
    NoPadding,
    /// Too short to be one.
    #[error("is shorter than {SHORTEST_KEY} bytes; paste the whole signing secret")]
    TooShort,
}

impl SigningKey {
    /// Reads `whsec_<base64>`; the prefix may be missing.
    ///
    /// # Errors
    /// When it is not that, or shorter than 24 bytes.
    pub fn parse(secret: &str) -> Result<Self, BadSecret> {
        let encoded = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
        let is_unpadded = || data_encoding::BASE64_NOPAD.decode(encoded.as_bytes()).is_ok();
        let wrong = |_| if is_unpadded() { BadSecret::NoPadding } else { BadSecret::NotBase64 };
        let key = BASE64.decode(encoded.as_bytes()).map_err(wrong)?;
        if key.len() < SHORTEST_KEY {
            return Err(BadSecret::TooShort);
        }
        Ok(SigningKey(Zeroizing::new(key)))
    }

    /// The header value that signs `body` under `id` at `timestamp` (seconds since the epoch, as text).
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!("v1,{}", BASE64.encode(&self.mac(id, timestamp, body)))
    }

    /// The three headers Svix sends with `body`.
    #[must_use]
    pub fn headers(&self, id: &str, body: &[u8], at: Timestamp) -> Vec<(String, String)> {
        let timestamp = at.as_secs().to_string();
        let signature = self.sign(id, &timestamp, body);
        let [id_header, timestamp_header, signature_header] =
            ["id", "timestamp", "signature"].map(|name| format!("{}-{name}", SETS[0]));
        vec![(id_header, id.to_owned()), (timestamp_header, timestamp), (signature_header, signature)]
    }

    /// Whether it is the same key.
    pub(crate) fn is(&self, other: &SigningKey) -> bool {
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

/// Verifies a delivery against any of `keys`.
///
/// # Errors
/// When no set of headers is complete, the timestamp is not within [`TOLERANCE`] of `now`, or no signature matches.
pub fn verify(headers: &HeaderMap, body: &[u8], keys: &[SigningKey], now: Timestamp) -> Result<Verified, Unverified> {
    let mut told: Option<Unverified> = None;
    for set in SETS {
        match verify_set(set, headers, body, keys, now) {
            Ok(Some(verified)) => return Ok(verified),
            Ok(None) => {}
            // A mismatch tells most: it alone may be the trace of a rotation.
            Err(failure) if told.is_none() || failure.why == Why::NoMatch => told = Some(failure),
            Err(_) => {}
        }
    }
    Err(told.unwrap_or_else(|| {
        let needed = "the headers svix-id, svix-timestamp and svix-signature (or the three webhook-*) are missing";
        Unverified::new(Why::Unsigned, format!("{needed}; send the delivery as the vendor signed it"))
    }))
}

/// `None` when no header of the set is there.
fn verify_set(
    set: &str,
    headers: &HeaderMap,
    body: &[u8],
    keys: &[SigningKey],
    now: Timestamp,
) -> Result<Option<Verified>, Unverified> {
    let names = ["id", "timestamp", "signature"].map(|part| format!("{set}-{part}"));
    if names.iter().all(|name| !headers.contains_key(name)) {
        return Ok(None);
    }
    let [id, timestamp, signatures] =
        [header(headers, &names[0])?, header(headers, &names[1])?, header(headers, &names[2])?];
    // Base64 holds no comma, so that more than one is that of a header which arrived twice and was joined.
    if signatures.split(' ').any(|entry| entry.matches(',').count() > 1) {
        let name = &names[2];
        return Err(Unverified::new(
            Why::Malformed,
            format!("the header {name} is no list of signatures; send it once"),
        ));
    }
    check_age(&names[1], timestamp, now)?;
    for key in keys {
        let expected = key.mac(id, timestamp, body);
        // Every signature is compared, in constant time, so that the time taken tells nothing about any.
        let matched = signatures
            .split(' ')
            .filter_map(of_known_version)
            .fold(0, |matched, signature| matched | signature.as_slice().ct_eq(&expected).unwrap_u8());
        if matched == 1 {
            return Ok(Some(Verified { by: set.to_owned(), message_id: Some(id.to_owned()) }));
        }
    }
    Err(Unverified::new(
        Why::NoMatch,
        format!(
            "no v1 signature in {} matches the body as received; check that the endpoint's signing secret is the configured \
         one and that nothing on the way changes the body",
            names[2]
        ),
    ))
}

fn of_known_version(entry: &str) -> Option<Vec<u8>> {
    BASE64.decode(entry.strip_prefix("v1,")?.as_bytes()).ok()
}

/// The one value of a header.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Unverified> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => match value.to_str().map(str::trim) {
            Ok("") => Err(Unverified::new(Why::Unsigned, format!("the header {name} is empty"))),
            Ok(value) => Ok(value),
            Err(_) => Err(Unverified::new(Why::Malformed, format!("the header {name} is not ASCII text"))),
        },
        (None, _) => Err(Unverified::new(Why::Unsigned, format!("the header {name} is missing"))),
        _ => Err(Unverified::new(Why::Malformed, format!("the header {name} stands more than once; send it once"))),
    }
}

fn check_age(name: &str, timestamp: &str, now: Timestamp) -> Result<(), Unverified> {
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
    let sent: i64 = timestamp.parse().ok().filter(|_| digits).ok_or_else(|| {
        Unverified::new(Why::Malformed, format!("the header {name} is not a whole number of seconds since 1970"))
    })?;
    check_distance(name, sent, now)
}

/// Refuses a moment, in seconds since the epoch, further from `now` than [`TOLERANCE`].
pub(crate) fn check_distance(name: &str, sent: i64, now: Timestamp) -> Result<(), Unverified> {
    let age = now.as_secs().saturating_sub(sent);
    let wrong = match age {
        _ if age > TOLERANCE => "ago",
        _ if age < -TOLERANCE => "ahead",
        _ => return Ok(()),
    };
    let distance = age.unsigned_abs();
    Err(Unverified::new(
        Why::Stale,
        format!(
            "the header {name} is {distance} s {wrong}; at most {TOLERANCE} s are accepted: sign again, or set the clock right"
        ),
    ))
}
