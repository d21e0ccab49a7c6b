//! Tests signatures with published vectors and with the official Standard Webhooks library (the oracle).

use std::path::Path;

use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::signature::{BadSecret, SigningKey, verify};
use gatehouse_vendor::{Proof, Reason, Rejection};
use http::{HeaderMap, HeaderName};
use proptest::prelude::*;
use serde_json::Value;
use standardwebhooks::Webhook;

/// The secret in the test suites of Standard Webhooks and Svix.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT: i64 = 1_614_265_330;
const BODY: &str = r#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn key(secret: &str) -> SigningKey {
    SigningKey::parse(secret).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::clamped(seconds * 1000)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

fn set(prefix: &str, id: &str, timestamp: &str, signature: &str) -> HeaderMap {
    headers(&[
        (&format!("{prefix}-id"), id),
        (&format!("{prefix}-timestamp"), timestamp),
        (&format!("{prefix}-signature"), signature),
    ])
}

fn check(headers: &HeaderMap) -> Result<Proof, Rejection> {
    verify(headers, BODY.as_bytes(), &[key(SECRET)], at(AT))
}

fn check_signature(signature: &str) -> Result<Proof, Rejection> {
    check(&set("svix", ID, &AT.to_string(), signature))
}

#[test]
fn published_signatures_are_reproduced() {
    let sign = |secret, id, at: i64, body: &[u8]| key(secret).sign(id, &at.to_string(), body);
    assert_eq!(sign(SECRET, ID, AT, BODY.as_bytes()), SIGNATURE);
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let signature = sign(OTHER_SECRET, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
    assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    let large = sign(SECRET, ID, AT, &vec![b'a'; 1_048_576]);
    assert_eq!(large, "v1,txpEUxqWZJ5nteTnymUVa+7C4NHpBeXJ6CsBAW0c3/A=");
}

#[test]
fn both_header_sets_are_accepted_and_name_the_scheme() {
    for prefix in ["svix", "webhook"] {
        let verified = check(&set(prefix, ID, &AT.to_string(), SIGNATURE)).unwrap();
        assert_eq!(verified, Proof { by: prefix.to_owned(), message_id: Some(ID.to_owned()) });
    }
}

#[test]
fn header_sets_are_never_mixed() {
    let stamp = AT.to_string();
    let mixed = headers(&[("svix-id", ID), ("webhook-timestamp", &stamp), ("webhook-signature", SIGNATURE)]);
    assert_eq!(check(&mixed).unwrap_err().reason, Reason::Unsigned);

    // With two complete sets, the message id is that of the set whose signature matches.
    let mut both = set("svix", "msg_forged", &stamp, SIGNATURE);
    both.extend(set("webhook", ID, &stamp, SIGNATURE));
    assert_eq!(check(&both).unwrap().message_id.as_deref(), Some(ID));
}

#[test]
fn one_matching_signature_of_a_known_version_is_enough() {
    let decoy = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
    assert!(check_signature(&format!("{decoy} v2,AAAA v1a,AAAA {SIGNATURE} {decoy} nonsense")).is_ok());
    let value = SIGNATURE.strip_prefix("v1,").unwrap();
    let unknown_version = format!("v2,{value}");
    let truncated = &SIGNATURE[..8];
    let changed = SIGNATURE.replace("OLJ1OE=", "OLJ1OA=");
    for signature in [decoy, &unknown_version, value, truncated, &changed, "v1,", "v1", ",", "v1,invalid_signature"] {
        assert_eq!(check_signature(signature).unwrap_err().reason, Reason::NoMatch, "{signature}");
    }
}

#[test]
fn any_of_several_secrets_may_match_during_a_rotation() {
    let delivery = set("svix", ID, &AT.to_string(), SIGNATURE);
    let verify = |secrets: &[&str]| {
        let keys: Vec<SigningKey> = secrets.iter().map(|secret| key(secret)).collect();
        verify(&delivery, BODY.as_bytes(), &keys, at(AT))
    };
    assert!(verify(&[OTHER_SECRET, SECRET]).is_ok());
    assert!(verify(&[SECRET, OTHER_SECRET]).is_ok());
    assert!(verify(&[OTHER_SECRET]).is_err());
    assert!(verify(&[]).is_err());
}

#[test]
fn timestamp_may_differ_by_at_most_300_seconds() {
    let delivery = set("svix", ID, &AT.to_string(), SIGNATURE);
    let age = |seconds| verify(&delivery, BODY.as_bytes(), &[key(SECRET)], at(AT + seconds));
    assert!(age(300).is_ok() && age(-300).is_ok());
    assert_eq!(age(301).unwrap_err().reason, Reason::Stale);
    assert_eq!(age(-301).unwrap_err().reason, Reason::Stale);
}

#[test]
fn timestamp_consists_of_digits() {
    let stamp = AT.to_string();
    for timestamp in ["soon", "-1", "+1614265330", "1614265330.0", "0x60", "99999999999999999999", "1614265330 0"] {
        let rejection = check(&set("svix", ID, timestamp, SIGNATURE)).unwrap_err();
        assert_eq!(rejection.reason, Reason::Malformed, "{timestamp}");
    }
    assert!(check(&set("svix", ID, &stamp, SIGNATURE)).is_ok());
}

#[test]
fn missing_empty_and_repeated_headers_are_named() {
    let complete = set("svix", ID, &AT.to_string(), SIGNATURE);
    for name in ["svix-id", "svix-timestamp", "svix-signature"] {
        let mut missing = complete.clone();
        missing.remove(name);
        let mut empty = complete.clone();
        empty.insert(name, "".parse().unwrap());
        let mut twice = complete.clone();
        twice.append(name, complete[name].clone());
        for headers in [missing, empty, twice] {
            let Rejection { detail, .. } = check(&headers).unwrap_err();
            assert!(detail.contains(name), "{detail}");
        }
    }
    assert_eq!(check(&HeaderMap::new()).unwrap_err().reason, Reason::Unsigned);
}

#[test]
fn changed_id_or_body_is_rejected() {
    let verify =
        |id, body: &str| verify(&set("svix", id, &AT.to_string(), SIGNATURE), body.as_bytes(), &[key(SECRET)], at(AT));
    assert!(verify(ID, BODY).is_ok());
    assert!(verify("msg_p5jXN8AQM9LWM0D4loKWxJekx", BODY).is_err());
    assert!(verify(ID, r#"{"test":2432232314}"#).is_err());
    assert!(verify(ID, "").is_err());
}

#[test]
fn secret_is_base64_of_at_least_24_bytes() {
    let parse = |secret: &str| SigningKey::parse(secret).map(drop);
    assert_eq!(parse(SECRET), Ok(()));
    assert_eq!(parse(SECRET.strip_prefix("whsec_").unwrap()), Ok(()));
    assert_eq!(parse(""), Err(BadSecret::TooShort));
    assert_eq!(parse("whsec_"), Err(BadSecret::TooShort));
    assert_eq!(parse("whsec_c2hvcnQ="), Err(BadSecret::TooShort));
    // The last two are unpadded and not canonical: their unused bits are not zero.
    let wrong = [
        "w",
        "whsec_%",
        "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        "hwsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBr",
    ];
    for secret in wrong {
        assert_eq!(parse(secret), Err(BadSecret::NotBase64), "{secret}");
    }
    let unpadded = parse("whsec_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4").unwrap_err();
    assert!(unpadded == BadSecret::NoPadding && unpadded.to_string().contains("padding"), "{unpadded}");
}

#[test]
fn signatures_of_official_libraries_are_verified() {
    for file in [
        include_str!("../../../../tests/fixtures/signatures/python.json"),
        include_str!("../../../../tests/fixtures/signatures/node.json"),
    ] {
        let vectors: Vec<Value> = serde_json::from_str(file).unwrap();
        assert_eq!(vectors.len(), 26);
        for vector in vectors {
            let text = |member: &str| vector[member].as_str().unwrap();
            let (by, at_second) = (text("by"), vector["timestamp"].as_i64().unwrap());
            let body = data_encoding::BASE64.decode(text("body").as_bytes()).unwrap();
            let stamp = at_second.to_string();
            assert_eq!(key(text("secret")).sign(text("id"), &stamp, &body), text("signature"), "{by}");
            let delivery = set("webhook", text("id"), &stamp, text("signature"));
            let verified = verify(&delivery, &body, &[key(text("secret"))], at(at_second)).unwrap();
            assert_eq!(verified.message_id.as_deref(), Some(text("id")), "{by}");
        }
    }
}

/// Tests the collected vectors in `../shared/facts`, outside the repository. Passes if the file is absent.
#[test]
fn every_collected_vector_passes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/facts/standard-webhooks-vectors.json");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let body_of = |vector: &Value| match vector["body"].as_str() {
        Some(body) => body.as_bytes().to_vec(),
        None => vec![b'a'; usize::try_from(vector["body_repeat"]["count"].as_u64().unwrap()).unwrap()],
    };
    for vector in vectors["official_sign_vectors"].as_array().unwrap() {
        if vector["algorithm"] == "HMAC-SHA256" {
            let stamp = vector["timestamp"].to_string();
            let signed =
                key(vector["secret"].as_str().unwrap()).sign(vector["id"].as_str().unwrap(), &stamp, &body_of(vector));
            assert_eq!(signed, vector["signature"].as_str().unwrap(), "{}", vector["name"]);
        }
    }
    for case in vectors["derived_verify_cases"].as_array().unwrap() {
        let sent: Vec<(&str, &str)> = case["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let keys = [key(case["secret"].as_str().unwrap())];
        let result = verify(&headers(&sent), &body_of(case), &keys, at(case["now"].as_i64().unwrap()));
        assert_eq!(result.is_ok(), case["expect"] == "accept", "{}: {result:?}", case["name"]);
    }
    for invalid in vectors["official_invalid_signature_constants"].as_array().unwrap() {
        let value = invalid["value"].as_str().unwrap();
        assert!(check_signature(value).is_err(), "{value}");
    }
    for decoys in ["rust", "other_languages"] {
        let decoys = vectors["official_multi_signature_decoys"][decoys].as_array().unwrap();
        let decoys = decoys.iter().map(|decoy| decoy.as_str().unwrap()).collect::<Vec<_>>().join(" ");
        assert!(check_signature(&decoys).is_err());
        assert!(check_signature(&format!("{decoys} {SIGNATURE} {decoys}")).is_ok());
    }
    let secrets = &vectors["official_secret_vectors"];
    for rejected in ["reject_by_libraries", "reject_by_svix_server"] {
        for secret in secrets[rejected].as_array().unwrap() {
            assert!(SigningKey::parse(secret.as_str().unwrap()).is_err(), "{secret}");
        }
    }
    for accepted in ["typical", "valid_long_for_svix_server"] {
        assert!(SigningKey::parse(secrets[accepted]["secret"].as_str().unwrap()).is_ok());
    }
    for sample in vectors["derived_signed_sample_deliveries"].as_array().unwrap() {
        let sent: Vec<(&str, &str)> = sample["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let body = sample["body_compact"].as_str().unwrap();
        let keys = [key(sample["secret"].as_str().unwrap())];
        assert!(verify(&headers(&sent), body.as_bytes(), &keys, at(sample["now"].as_i64().unwrap())).is_ok());
    }
}

fn secret() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<u8>(), 24..=64)
        .prop_map(|bytes| format!("whsec_{}", data_encoding::BASE64.encode(&bytes)))
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(256))]

    #[test]
    fn oracle_and_gatehouse_verify_each_others_signatures(
        secret in secret(), id in "[a-zA-Z0-9_]{1,40}", body in "\\PC{0,200}",
    ) {
        // The oracle compares timestamps with the system clock.
        let now = gatehouse_runtime::Clock::System.now();
        let stamp = now.as_secs().to_string();
        let oracle = Webhook::new(&secret).unwrap();

        let expected = oracle.sign(&id, now.as_secs(), body.as_bytes()).unwrap();
        let signature = key(&secret).sign(&id, &stamp, body.as_bytes());
        prop_assert_eq!(&signature, &expected);
        let delivery = set("webhook", &id, &stamp, &signature);
        prop_assert!(verify(&delivery, body.as_bytes(), &[key(&secret)], now).is_ok());
        prop_assert!(oracle.verify(body.as_bytes(), &delivery).is_ok());
    }

    #[test]
    fn oracle_and_gatehouse_agree_on_tampered_deliveries(
        secret in secret(), other in secret(), id in "[a-z]{1,9}", body in "[a-z]{1,9}",
        tampered_id in "[a-z]{1,9}", tampered_body in "[a-z]{1,9}", age in -400i64..400, versions in "(v1|v2|v1a)( (v1|v2),AAAA)?",
        right_secret: bool,
    ) {
        let now = gatehouse_runtime::Clock::System.now();
        // Avoids ages near the limit, where the clock could advance between the two checks.
        prop_assume!((age.abs() - 300).abs() > 3);
        let stamp = now.as_secs() - age;
        let signed = key(if right_secret { &secret } else { &other }).sign(&id, &stamp.to_string(), body.as_bytes());
        let mut entries = versions.splitn(2, ' ');
        let signature = format!("{},{} {}", entries.next().unwrap(), &signed[3..], entries.next().unwrap_or(""));
        let delivery = set("webhook", &tampered_id, &stamp.to_string(), signature.trim());
        let is_accepted = verify(&delivery, tampered_body.as_bytes(), &[key(&secret)], now).is_ok();
        let expected = Webhook::new(&secret).unwrap().verify(tampered_body.as_bytes(), &delivery).is_ok();
        prop_assert_eq!(is_accepted, expected);
    }
}
