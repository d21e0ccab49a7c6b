//! JSON Web Tokens (RFC 7519) of configured issuers' users, signed with RS256 or ES256, and the issuers' key sets (RFC 7517).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gatehouse_edge::Problem;
use gatehouse_edge::chat::{Issuer, Rights};
use http::Uri;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{State, Upstream};

/// How far clocks may be apart, in seconds.
const SKEW: u64 = 60;
/// From which age on a key set is looked up again.
const STALE: Duration = Duration::from_secs(600);
/// From which age on it is not used any more, if it cannot be looked up again: a key may have been revoked.
const TOO_OLD: Duration = Duration::from_secs(3600);
/// How long a key nobody knows is not worth another look-up.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long an issuer that cannot be reached is not asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// Issuers' keys, as they were last looked up.
#[derive(Debug)]
pub struct KeySets {
    sets: Mutex<HashMap<Uri, KeySet>>,
}

#[derive(Debug, Clone, Default)]
struct KeySet {
    keys: Arc<Vec<Key>>,
    loaded_at: Option<Instant>,
    tried_at: Option<Instant>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a token must say besides `exp` and `aud`.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
}

/// The client a token is of, and what it may do.
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
    // Until it is verified it says no more than whose keys to look at.
    let from: From =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Problem::NoClient("no issuer"))?;
    // Nothing is understood here that would have to be.
    if header.crit.is_some() {
        return Err(Problem::NoClient("critical extension"));
    }
    let mut why = "unknown issuer";
    for issuer in issuers.iter().filter(|issuer| issuer.issuer == from.iss) {
        let keys = state.key_sets.of(issuer, header.kid.as_deref(), &state.upstream).await.ok_or(NO_KEYS)?;
        why = "unknown key";
        let fits = |key: &&Key| key.algorithm == header.alg && (header.kid.is_none() || key.id == header.kid);
        for key in keys.iter().filter(fits) {
            match jsonwebtoken::decode::<Claims>(token, &key.key, &expected(issuer, key.algorithm)) {
                Ok(valid) if valid.claims.iss == issuer.issuer && !valid.claims.sub.is_empty() => {
                    return Ok((issuer.client_id(&valid.claims.sub), &issuer.rights));
                }
                Ok(_) => why = "no subject",
                Err(error) => why = told(error.kind()),
            }
        }
    }
    Err(Problem::NoClient(why))
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

fn told(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::InvalidSignature => "signature",
        ErrorKind::ExpiredSignature => "expired",
        ErrorKind::ImmatureSignature => "not valid yet",
        ErrorKind::InvalidAudience => "audience",
        ErrorKind::MissingRequiredClaim(_) => "claim missing",
        _ => "malformed",
    }
}

impl KeySets {
    /// None yet; they are looked up when a token needs them.
    #[must_use]
    pub fn new() -> Self {
        // It is this one already if it is any.
        let _ = PROVIDER.install_default();
        KeySets { sets: Mutex::default() }
    }

    /// An issuer's keys, looked up where they are old, or where `id` is not among them. `None` when there are none to be had.
    async fn of(&self, issuer: &Issuer, id: Option<&str>, upstream: &Upstream) -> Option<Arc<Vec<Key>>> {
        let url = &issuer.jwks_url;
        let kept = self.with(|sets| sets.get(url).cloned()).unwrap_or_default();
        let is_unknown = id.is_some_and(|id| !kept.keys.iter().any(|key| key.id.as_deref() == Some(id)));
        let pause = if kept.loaded_at.is_none() { PAUSE } else { LOOK_AGAIN };
        let may_try = kept.tried_at.is_none_or(|at| at.elapsed() >= pause);
        let is_old = kept.loaded_at.is_none_or(|at| at.elapsed() >= STALE);
        if may_try && (is_old || is_unknown) {
            self.with(|sets| sets.entry(url.clone()).or_default().tried_at = Some(Instant::now()));
            match upstream.fetch(url, issuer.is_private).await.as_deref().map(read) {
                Some(Some(keys)) => {
                    let (keys, now) = (Arc::new(keys), Instant::now());
                    let set = KeySet { keys: Arc::clone(&keys), loaded_at: Some(now), tried_at: Some(now) };
                    self.with(|sets| sets.insert(url.clone(), set));
                    return Some(keys);
                }
                // The ones that are kept go on serving.
                Some(None) => tracing::warn!(issuer = issuer.issuer, "what was looked up is no key set"),
                None => tracing::warn!(issuer = issuer.issuer, "the keys could not be looked up"),
            }
        }
        kept.loaded_at.filter(|at| at.elapsed() < TOO_OLD).map(|_| kept.keys)
    }

    fn with<T>(&self, what: impl FnOnce(&mut HashMap<Uri, KeySet>) -> T) -> T {
        // Nothing panics while holding the lock.
        what(&mut self.sets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for KeySets {
    fn default() -> Self {
        Self::new()
    }
}

/// The keys of a set that can be used here; `None` when it is no key set.
fn read(set: &[u8]) -> Option<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Box<RawValue>>,
    }
    let set: Set = serde_json::from_slice(set).ok()?;
    // A key of a kind that is not known here says nothing about the others.
    let known = set.keys.iter().filter_map(|key| serde_json::from_str::<Jwk>(key.get()).ok());
    Some(known.filter_map(|key| usable(&key)).collect())
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

/// `jsonwebtoken` with the cryptography that TLS uses here. It signs nothing.
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
