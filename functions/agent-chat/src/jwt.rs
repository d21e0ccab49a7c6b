//! Verifies JSON Web Tokens (RFC 7519) of chat clients.
//!
//! Supports RS256 and ES256. The keys come from the issuer's JSON Web Key Set (RFC 7517), which is cached by its URL. A
//! set is refreshed after [`REFRESH_AFTER`] and not used after [`MAX_AGE`]. It is refreshed early, at most every
//! [`UNKNOWN_KEY_COOLDOWN`], when none of its keys verifies a token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatehouse_chat::{Issuer, Rights};
use gatehouse_receiver::Problem;
use http::Uri;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header, Validation};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::problem::ChatProblem;
use crate::{State, Upstream};

/// Clock difference that is tolerated for `exp` and `nbf`, in seconds.
const CLOCK_SKEW: u64 = 60;
/// Age at which a cached key set is refreshed.
const REFRESH_AFTER: Duration = Duration::from_secs(600);
/// Age at which a cached key set is no longer used, because a key may have been revoked.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// Shortest time between two refreshes for tokens that no cached key verifies.
const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_secs(30);
/// Shortest time between two attempts to fetch a first key set.
const FAILURE_COOLDOWN: Duration = Duration::from_secs(5);

/// The problem of a token that only a newer key set could verify.
const KEYS_UNAVAILABLE: ChatProblem =
    ChatProblem::Request(Problem::NoSecrets("the issuer's keys cannot be fetched; send the same request again"));

/// Why a token was rejected. The client only sees 401; the log line has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    UnreadableHeader,
    MissingIssuer,
    CriticalExtension,
    UnsupportedAlgorithm,
    UnknownIssuer,
    UnknownKey,
    BadSignature,
    Expired,
    NotYetValid,
    WrongAudience,
    MissingClaim,
    MissingSubject,
    Malformed,
}

impl Rejection {
    /// Whether the same token could pass with a newer key set.
    fn may_need_new_keys(self) -> bool {
        matches!(self, Self::UnknownKey | Self::BadSignature)
    }

    /// Returns the words for the log.
    fn as_str(self) -> &'static str {
        match self {
            Self::UnreadableHeader => "unknown token",
            Self::MissingIssuer => "no issuer",
            Self::CriticalExtension => "critical extension",
            Self::UnsupportedAlgorithm => "algorithm",
            Self::UnknownIssuer => "unknown issuer",
            Self::UnknownKey => "unknown key",
            Self::BadSignature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not valid yet",
            Self::WrongAudience => "audience",
            Self::MissingClaim => "claim missing",
            Self::MissingSubject => "no subject",
            Self::Malformed => "malformed",
        }
    }
}

impl From<Rejection> for ChatProblem {
    fn from(rejection: Rejection) -> Self {
        ChatProblem::NoClient(rejection.as_str())
    }
}

impl From<&ErrorKind> for Rejection {
    fn from(error: &ErrorKind) -> Self {
        match error {
            ErrorKind::InvalidSignature => Self::BadSignature,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidAudience => Self::WrongAudience,
            ErrorKind::MissingRequiredClaim(_) => Self::MissingClaim,
            _ => Self::Malformed,
        }
    }
}

/// A cache of the issuers' key sets.
#[derive(Debug)]
pub struct KeySetCache {
    by_url: Mutex<HashMap<Uri, Arc<Entry>>>,
}

/// The cache entry of one key set. Each has its own refresh lock, so that a slow issuer delays no other.
#[derive(Debug, Default)]
struct Entry {
    key_set: Mutex<KeySet>,
    refresh_lock: tokio::sync::Mutex<()>,
}

/// A key set and the times of its last refreshes.
#[derive(Debug, Clone, Default)]
struct KeySet {
    keys: Arc<Vec<Key>>,
    /// Time of the last successful refresh.
    loaded_at: Option<Instant>,
    /// Time of the last refresh, successful or not.
    tried_at: Option<Instant>,
}

/// A key that verifies signatures of one algorithm.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Whether the set was fetched within `max_age`.
    fn is_current(&self, max_age: Duration) -> bool {
        self.loaded_at.is_some_and(|at| at.elapsed() < max_age)
    }
}

impl Entry {
    /// Returns the key set, without keys if they are too old.
    fn cached(&self) -> KeySet {
        let mut key_set = lock(&self.key_set).clone();
        if !key_set.is_current(MAX_AGE) {
            key_set.keys = Arc::default();
        }
        key_set
    }
}

impl KeySetCache {
    /// Creates an empty cache. Keys are fetched when a token needs them.
    #[must_use]
    pub fn new() -> Self {
        // This fails if the provider is installed already, which does no harm.
        let _ = PROVIDER.install_default();
        KeySetCache { by_url: Mutex::default() }
    }

    /// Returns the cached keys of an issuer.
    fn cached(&self, issuer: &Issuer) -> KeySet {
        self.entry(issuer).cached()
    }

    /// Fetches the issuer's key set, unless it was fetched within `max_age` or the last attempt is too recent.
    ///
    /// Concurrent calls wait for the fetch in progress and share its result. A set without a usable key never replaces
    /// a set that has one.
    async fn refresh(&self, issuer: &Issuer, upstream: &Upstream, max_age: Duration) -> KeySet {
        let entry = self.entry(issuer);
        let _guard = entry.refresh_lock.lock().await;
        let cached = entry.cached();
        let cooldown = if cached.loaded_at.is_none() { FAILURE_COOLDOWN } else { UNKNOWN_KEY_COOLDOWN };
        if cached.is_current(max_age) || cached.tried_at.is_some_and(|at| at.elapsed() < cooldown) {
            return cached;
        }
        let fetched = upstream.fetch(&issuer.jwks_url, issuer.is_private).await;
        let keys = fetched.as_deref().map(parse_key_set).unwrap_or_default();
        let now = Instant::now();
        {
            let mut key_set = lock(&entry.key_set);
            key_set.tried_at = Some(now);
            if keys.is_empty() {
                let what = if fetched.is_some() { "the key set has no usable key" } else { "no answer" };
                tracing::warn!(issuer = issuer.issuer, what, "the issuer's keys could not be refreshed");
            } else {
                (key_set.keys, key_set.loaded_at) = (Arc::new(keys), Some(now));
            }
        }
        entry.cached()
    }

    fn entry(&self, issuer: &Issuer) -> Arc<Entry> {
        Arc::clone(lock(&self.by_url).entry(issuer.jwks_url.clone()).or_default())
    }
}

impl Default for KeySetCache {
    fn default() -> Self {
        Self::new()
    }
}

/// Locks a mutex. A poisoned one is used too, because no code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the usable keys of a JSON Web Key Set.
fn parse_key_set(document: &[u8]) -> Vec<Key> {
    #[derive(Deserialize, Default)]
    struct JwkSet {
        keys: Vec<Box<RawValue>>,
    }
    let set: JwkSet = serde_json::from_slice(document).unwrap_or_default();
    // Each key is parsed on its own, so that one of an unknown kind does not invalidate the others.
    let known = set.keys.iter().filter_map(|key| serde_json::from_str::<Jwk>(key.get()).ok());
    known.filter_map(|key| signing_key(&key)).collect()
}

/// Returns a key that verifies RS256 or ES256 signatures; `None` for any other key.
fn signing_key(key: &Jwk) -> Option<Key> {
    let (algorithm, declared_algorithm) = match &key.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let is_for_signatures = key.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    if !is_for_signatures || key.common.key_algorithm.is_some_and(|declared| declared != declared_algorithm) {
        return None;
    }
    Some(Key { id: key.common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(key).ok()? })
}

/// The issuer that a token names. Not verified: it only selects the key sets that the token is verified with.
#[derive(Deserialize)]
struct UnverifiedIssuer {
    iss: String,
}

/// The claims that a token needs besides `exp` and `aud`.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
}

/// Returns the client that `token` belongs to, and its rights.
///
/// # Errors
/// [`ChatProblem::NoClient`] if the token is invalid; [`Problem::NoSecrets`] if only a newer key set could verify it
/// and that set cannot be fetched.
pub(crate) async fn verify<'i>(
    token: &str,
    issuers: &'i [Issuer],
    state: &State,
) -> Result<(String, &'i Rights), ChatProblem> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Rejection::UnreadableHeader)?;
    let unverified: UnverifiedIssuer =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Rejection::MissingIssuer)?;
    // `crit` lists extensions that a verifier must support (RFC 7515, 4.1.11). This one supports none.
    if header.crit.is_some() {
        return Err(Rejection::CriticalExtension.into());
    }
    if ![Algorithm::RS256, Algorithm::ES256].contains(&header.alg) {
        return Err(Rejection::UnsupportedAlgorithm.into());
    }
    let mut rejection = Rejection::UnknownIssuer;
    let mut are_keys_unavailable = false;
    // The configuration may name an issuer several times, with different key sets and audiences.
    for issuer in issuers.iter().filter(|issuer| issuer.issuer == unverified.iss) {
        let mut key_set = state.key_sets.cached(issuer);
        if !key_set.is_current(REFRESH_AFTER) {
            key_set = state.key_sets.refresh(issuer, &state.upstream, REFRESH_AFTER).await;
        }
        let mut checked = check(token, &header, issuer, &key_set.keys);
        if checked.as_ref().is_err_and(|rejection| rejection.may_need_new_keys()) {
            // The issuer may have published a new key.
            key_set = state.key_sets.refresh(issuer, &state.upstream, UNKNOWN_KEY_COOLDOWN).await;
            checked = check(token, &header, issuer, &key_set.keys);
        }
        match checked {
            Ok(subject) => return Ok((issuer.client_id(&subject), &issuer.rights)),
            Err(error) => {
                are_keys_unavailable |= error.may_need_new_keys() && !key_set.is_current(UNKNOWN_KEY_COOLDOWN);
                rejection = error;
            }
        }
    }
    Err(if are_keys_unavailable { KEYS_UNAVAILABLE } else { rejection.into() })
}

/// Checks a token with the keys that its header allows. Returns its subject.
fn check(token: &str, header: &Header, issuer: &Issuer, keys: &[Key]) -> Result<String, Rejection> {
    let is_candidate = |key: &&Key| key.algorithm == header.alg && (header.kid.is_none() || key.id == header.kid);
    let mut rejection = Rejection::UnknownKey;
    for key in keys.iter().filter(is_candidate) {
        match jsonwebtoken::decode::<Claims>(token, &key.key, &validation(issuer, key.algorithm)) {
            Ok(valid) if valid.claims.iss == issuer.issuer && !valid.claims.sub.is_empty() => {
                return Ok(valid.claims.sub);
            }
            Ok(_) => return Err(Rejection::MissingSubject),
            Err(error) => match Rejection::from(error.kind()) {
                Rejection::BadSignature => rejection = Rejection::BadSignature,
                // The signature is valid, so no other key can give another result.
                other => return Err(other),
            },
        }
    }
    Err(rejection)
}

/// The rules for a token's claims.
fn validation(issuer: &Issuer, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = CLOCK_SKEW;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&[&issuer.audience]);
    validation
}

/// The cryptography provider of `jsonwebtoken`. It uses `ring`, like TLS, and only verifies signatures.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(Error::from(ErrorKind::InvalidAlgorithm)),
    verifier_factory: |algorithm, key| Ok(Box::new(Verifier { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils::new_unimplemented(),
};

/// Verifies signatures with one key.
struct Verifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (self.algorithm, self.key.kind()) {
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                // Some issuers write a zero byte before a modulus whose first bit is set. RFC 7518 does not allow it.
                let zeros = n.iter().take_while(|byte| **byte == 0).count();
                let key = RsaPublicKeyComponents { n: n.get(zeros..).unwrap_or_default(), e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
