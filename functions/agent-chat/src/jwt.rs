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
    sets: Mutex<HashMap<Uri, Arc<Entry>>>,
}

/// One issuer's keys. A slow look-up makes nobody wait but this issuer's clients.
#[derive(Debug, Default)]
struct Entry {
    set: Mutex<KeySet>,
    looking_up: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct KeySet {
    keys: Arc<Vec<Key>>,
    loaded_at: Option<Instant>,
    tried_at: Option<Instant>,
}

impl KeySet {
    /// Whether it was looked up within `age`.
    fn is_current(&self, age: Duration) -> bool {
        self.loaded_at.is_some_and(|at| at.elapsed() < age)
    }

    fn is_old(&self) -> bool {
        !self.is_current(STALE)
    }
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What is wrong with a token where other keys may do.
const KEYS: [&str; 2] = ["unknown key", "signature"];

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
    // `crit` names extensions a verifier must support; we support none.
    if header.crit.is_some() {
        return Err(Problem::NoClient("critical extension"));
    }
    if ![Algorithm::RS256, Algorithm::ES256].contains(&header.alg) {
        return Err(Problem::NoClient("algorithm"));
    }
    let mut refusal = Problem::NoClient("unknown issuer");
    for issuer in issuers.iter().filter(|issuer| issuer.issuer == from.iss) {
        let mut kept = state.key_sets.kept(issuer);
        if kept.is_old() {
            kept = state.key_sets.look_up(issuer, &state.upstream, STALE).await;
        }
        let mut verdict = check(token, &header, issuer, &kept.keys);
        if verdict.as_ref().is_err_and(|why| KEYS.contains(why)) {
            // It may have been published since.
            kept = state.key_sets.look_up(issuer, &state.upstream, LOOK_AGAIN).await;
            verdict = check(token, &header, issuer, &kept.keys);
        }
        match verdict {
            Ok(sub) => return Ok((issuer.client_id(&sub), &issuer.rights)),
            // Nobody can tell, unless another entry of the issuer's can.
            Err(why) if KEYS.contains(&why) && !kept.is_current(LOOK_AGAIN) => refusal = NO_KEYS,
            Err(why) if !matches!(refusal, Problem::NoSecrets(_)) => refusal = Problem::NoClient(why),
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// Whose token it is, if one of the keys has signed it for here and now; else what is wrong with it.
fn check(token: &str, header: &Header, issuer: &Issuer, keys: &[Key]) -> Result<String, &'static str> {
    let fits = |key: &&Key| key.algorithm == header.alg && (header.kid.is_none() || key.id == header.kid);
    let [mut why, signature] = KEYS;
    for key in keys.iter().filter(fits) {
        match jsonwebtoken::decode::<Claims>(token, &key.key, &expected(issuer, key.algorithm)) {
            Ok(valid) if valid.claims.iss == issuer.issuer && !valid.claims.sub.is_empty() => {
                return Ok(valid.claims.sub);
            }
            Ok(_) => return Err("no subject"),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => why = signature,
            // Signed it was, so no other key will do better.
            Err(error) => return Err(told(error.kind())),
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

fn told(error: &ErrorKind) -> &'static str {
    match error {
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

    /// An issuer's keys, as far as they are known.
    fn kept(&self, issuer: &Issuer) -> KeySet {
        self.entry(issuer).kept()
    }

    /// An issuer's keys, looked up unless they were within `age`, or it was tried just now.
    async fn look_up(&self, issuer: &Issuer, upstream: &Upstream, age: Duration) -> KeySet {
        let entry = self.entry(issuer);
        // A request that waits here finds what the one before has looked up.
        let _one_at_a_time = entry.looking_up.lock().await;
        let kept = entry.kept();
        let pause = if kept.loaded_at.is_none() { PAUSE } else { LOOK_AGAIN };
        if kept.is_current(age) || kept.tried_at.is_some_and(|at| at.elapsed() < pause) {
            return kept;
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
        entry.kept()
    }

    fn entry(&self, issuer: &Issuer) -> Arc<Entry> {
        Arc::clone(locked(&self.sets).entry(issuer.jwks_url.clone()).or_default())
    }
}

impl Entry {
    /// The keys, unless they are too old.
    fn kept(&self) -> KeySet {
        let mut kept = locked(&self.set).clone();
        if kept.loaded_at.is_none_or(|at| at.elapsed() >= TOO_OLD) {
            kept.keys = Arc::default();
        }
        kept
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

/// The keys of a set that can be used here.
fn read(set: &[u8]) -> Vec<Key> {
    #[derive(Deserialize, Default)]
    struct Set {
        keys: Vec<Box<RawValue>>,
    }
    let set: Set = serde_json::from_slice(set).unwrap_or_default();
    // A key of a kind that is not known here says nothing about the others.
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
