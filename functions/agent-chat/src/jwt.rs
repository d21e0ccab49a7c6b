//! JSON Web Tokens (RFC 7519) of configured issuers' users, signed with RS256 or ES256, and the issuers' key sets (RFC
//! 7517).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatehouse_edge::Problem;
use gatehouse_edge::chat::{Issuer, Rights};
use http::Uri;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header, Validation};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{State, Upstream};

/// The tolerated clock skew, in seconds.
const SKEW: u64 = 60;
/// The age at which a key set is refreshed.
const REFRESH_AFTER: Duration = Duration::from_secs(600);
/// The age at which a key set is no longer used, since a key may have been revoked.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// The pause between two refreshes because of an unknown key.
const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_secs(30);
/// The pause after a failed refresh.
const FAILURE_COOLDOWN: Duration = Duration::from_secs(5);

/// A cache of the issuers' key sets.
#[derive(Debug)]
pub struct KeySets {
    sets: Mutex<HashMap<Uri, Arc<Entry>>>,
}

/// One issuer's keys. A slow look-up makes nobody wait but this issuer's clients.
#[derive(Debug, Default)]
struct Entry {
    set: Mutex<KeySet>,
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct KeySet {
    keys: Arc<Vec<Key>>,
    loaded_at: Option<Instant>,
    tried_at: Option<Instant>,
}

impl KeySet {
    /// Whether it was fetched within `age`.
    fn is_current(&self, age: Duration) -> bool {
        self.loaded_at.is_some_and(|at| at.elapsed() < age)
    }

    fn is_old(&self) -> bool {
        !self.is_current(REFRESH_AFTER)
    }
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The errors that newer keys may resolve.
const KEY_ERRORS: [&str; 2] = ["unknown key", "signature"];

/// The claims that a token needs besides `exp` and `aud`.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
}

/// Verifies a token. Returns its client and the client's rights.
pub(crate) async fn verify<'i>(
    token: &str,
    issuers: &'i [Issuer],
    state: &State,
) -> Result<(String, &'i Rights), Problem> {
    const NO_KEYS: Problem = Problem::NoSecrets("the issuer's keys cannot be looked up; send the same request again");
    #[derive(Deserialize)]
    struct From {
        iss: String,
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Problem::NoClient("unknown token"))?;
    // Unverified: it only selects the issuer whose keys verify it.
    let from: From =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Problem::NoClient("no issuer"))?;
    // `crit` names extensions a verifier must support; we support none.
    if header.crit.is_some() {
        return Err(Problem::NoClient("critical extension"));
    }
    if ![Algorithm::RS256, Algorithm::ES256].contains(&header.alg) {
        return Err(Problem::NoClient("algorithm"));
    }
    let mut refusal = Problem::NoClient("unknown issuer");
    for issuer in issuers.iter().filter(|issuer| issuer.issuer == from.iss) {
        let mut cached = state.key_sets.cached(issuer);
        if cached.is_old() {
            cached = state.key_sets.refresh(issuer, &state.upstream, REFRESH_AFTER).await;
        }
        let mut verdict = check(token, &header, issuer, &cached.keys);
        if verdict.as_ref().is_err_and(|why| KEY_ERRORS.contains(why)) {
            // The issuer may have published a new key.
            cached = state.key_sets.refresh(issuer, &state.upstream, UNKNOWN_KEY_COOLDOWN).await;
            verdict = check(token, &header, issuer, &cached.keys);
        }
        match verdict {
            Ok(sub) => return Ok((issuer.client_id(&sub), &issuer.rights)),
            // The keys are unavailable, unless another entry of the issuer's has them.
            Err(why) if KEY_ERRORS.contains(&why) && !cached.is_current(UNKNOWN_KEY_COOLDOWN) => refusal = NO_KEYS,
            Err(why) if !matches!(refusal, Problem::NoSecrets(_)) => refusal = Problem::NoClient(why),
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// Checks a token against the keys that fit. Returns its subject, or the error.
fn check(token: &str, header: &Header, issuer: &Issuer, keys: &[Key]) -> Result<String, &'static str> {
    let fits = |key: &&Key| key.algorithm == header.alg && (header.kid.is_none() || key.id == header.kid);
    let [mut why, signature] = KEY_ERRORS;
    for key in keys.iter().filter(fits) {
        match jsonwebtoken::decode::<Claims>(token, &key.key, &expected(issuer, key.algorithm)) {
            Ok(valid) if valid.claims.iss == issuer.issuer && !valid.claims.sub.is_empty() => {
                return Ok(valid.claims.sub);
            }
            Ok(_) => return Err("no subject"),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => why = signature,
            // The signature is right, so no other key changes the verdict.
            Err(error) => return Err(error_code(error.kind())),
        }
    }
    Err(why)
}

fn expected(issuer: &Issuer, algorithm: Algorithm) -> Validation {
    let mut expected = Validation::new(algorithm);
    expected.leeway = SKEW;
    expected.validate_nbf = true;
    expected.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    expected.set_issuer(&[&issuer.issuer]);
    expected.set_audience(&[&issuer.audience]);
    expected
}

fn error_code(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::ExpiredSignature => "expired",
        ErrorKind::ImmatureSignature => "not valid yet",
        ErrorKind::InvalidAudience => "audience",
        ErrorKind::MissingRequiredClaim(_) => "claim missing",
        _ => "malformed",
    }
}

impl KeySets {
    /// An empty cache. Keys are fetched when a token needs them.
    #[must_use]
    pub fn new() -> Self {
        // A second call finds the same provider.
        let _ = PROVIDER.install_default();
        KeySets { sets: Mutex::default() }
    }

    /// An issuer's cached keys.
    fn cached(&self, issuer: &Issuer) -> KeySet {
        self.entry(issuer).cached()
    }

    /// Refreshes an issuer's keys, unless they were fetched within `age`, or a refresh has just failed.
    async fn refresh(&self, issuer: &Issuer, upstream: &Upstream, age: Duration) -> KeySet {
        let entry = self.entry(issuer);
        // A request that waits here finds the keys that the one before has fetched.
        let _one_at_a_time = entry.refreshing.lock().await;
        let cached = entry.cached();
        let pause = if cached.loaded_at.is_none() { FAILURE_COOLDOWN } else { UNKNOWN_KEY_COOLDOWN };
        if cached.is_current(age) || cached.tried_at.is_some_and(|at| at.elapsed() < pause) {
            return cached;
        }
        let fetched = upstream.fetch(&issuer.jwks_url, issuer.is_private).await;
        let keys = fetched.as_deref().map(read).unwrap_or_default();
        let now = Instant::now();
        {
            let mut set = locked(&entry.set);
            set.tried_at = Some(now);
            // A set without a key that can be used does not replace one that has some.
            if !keys.is_empty() {
                (set.keys, set.loaded_at) = (Arc::new(keys), Some(now));
            } else {
                let what = if fetched.is_some() { "what was looked up holds no key" } else { "no answer" };
                tracing::warn!(issuer = issuer.issuer, what, "the issuer's keys could not be looked up");
            }
        }
        entry.cached()
    }

    fn entry(&self, issuer: &Issuer) -> Arc<Entry> {
        Arc::clone(locked(&self.sets).entry(issuer.jwks_url.clone()).or_default())
    }
}

impl Entry {
    /// The keys, unless they are too old.
    fn cached(&self) -> KeySet {
        let mut cached = locked(&self.set).clone();
        if cached.loaded_at.is_none_or(|at| at.elapsed() >= MAX_AGE) {
            cached.keys = Arc::default();
        }
        cached
    }
}

/// Nothing panics while it holds one of these locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for KeySets {
    fn default() -> Self {
        Self::new()
    }
}

/// The usable keys of a set.
fn read(set: &[u8]) -> Vec<Key> {
    #[derive(Deserialize, Default)]
    struct Set {
        keys: Vec<Box<RawValue>>,
    }
    let set: Set = serde_json::from_slice(set).unwrap_or_default();
    // A key of an unknown kind does not invalidate the others.
    let known = set.keys.iter().filter_map(|key| serde_json::from_str::<Jwk>(key.get()).ok());
    known.filter_map(|key| usable(&key)).collect()
}

fn usable(key: &Jwk) -> Option<Key> {
    let algorithm = match &key.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return None,
    };
    let its = match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        _ => KeyAlgorithm::ES256,
    };
    let signs = key.common.public_key_use.as_ref().is_none_or(|what| *what == PublicKeyUse::Signature);
    if !signs || key.common.key_algorithm.is_some_and(|algorithm| algorithm != its) {
        return None;
    }
    Some(Key { id: key.common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(key).ok()? })
}

/// The cryptography for `jsonwebtoken`, the same as for TLS. It signs nothing.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(Error::from(ErrorKind::InvalidAlgorithm)),
    verifier_factory: |algorithm, key| Ok(Box::new(Verifier { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Verifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (self.algorithm, self.key.kind()) {
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                // Some write a zero before a modulus whose first bit is set, which the standard does not.
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
