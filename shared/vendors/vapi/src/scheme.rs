//! The schemes that authenticate Vapi: a token in a header, or an HMAC whose every part is configurable.
//!
//! Vapi has no fixed scheme: a credential defines the header, the algorithm and the signed content (OpenAPI document,
//! `BearerAuthenticationPlan` and `HMACAuthenticationPlan`). The legacy shared secret is a token in `X-Vapi-Secret`.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::headers::{check_distance, header};
use gatehouse_vendor::{Parts, Proof, Reason, Rejection, Secret};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Shortest accepted token, in bytes.
const MIN_TOKEN_BYTES: usize = 16;
/// Shortest accepted key, in bytes; the same as for signing secrets.
const MIN_KEY_BYTES: usize = 24;

/// A scheme in the secrets document. Unknown kinds and members make it unusable, so that an error never weakens it.
#[derive(Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Scheme {
    /// A token in a header.
    Bearer(Bearer),
    /// A signature in a header.
    Hmac(HmacPlan),
}

/// A token in a header: `Authorization: Bearer …`, or the legacy `X-Vapi-Secret: …` with an empty prefix.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    header: String,
    prefix: String,
    /// The accepted tokens.
    pub(crate) values: Vec<Secret>,
}

/// A signature in a header, over the content that `payload_format` defines.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacPlan {
    algorithm: Algorithm,
    signature_header: String,
    timestamp_header: Option<String>,
    payload_format: String,
    encoding: Encoding,
    #[serde(default)]
    signature_prefix: String,
    message_id_header: Option<String>,
    #[serde(default)]
    secret_is_base64: bool,
    public_url: Option<String>,
    /// The accepted keys.
    pub(crate) values: Vec<Secret>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Hex,
    Base64,
}

impl Scheme {
    /// Returns the reason why the scheme cannot be used; `None` if it can. Never shows a value.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        match self {
            _ if self.is_empty() => Some("values is empty"),
            Scheme::Bearer(plan) if !is_header(&plan.header) => Some("header is not a valid header name"),
            Scheme::Bearer(plan) if plan.prefix.eq_ignore_ascii_case("bearer") => {
                Some("prefix lacks the space at its end; write \"Bearer \"")
            }
            Scheme::Bearer(_) => None,
            Scheme::Hmac(plan) => plan.defect(),
        }
    }

    /// Returns the reason why a value cannot be used; `None` if it can. Never shows the value.
    pub(crate) fn value_defect(&self, value: &str) -> Option<&'static str> {
        match self {
            Scheme::Hmac(plan) if plan.key(value).is_none() => Some("is not base64, which secret_is_base64 requires"),
            _ if value.trim() != value => Some("begins or ends with white space"),
            Scheme::Bearer(_) if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                Some("is not valid in a header; use visible ASCII characters")
            }
            Scheme::Bearer(_) if value.len() < MIN_TOKEN_BYTES => Some("is shorter than 16 bytes; use a longer one"),
            Scheme::Hmac(plan) if plan.key(value).is_none_or(|key| key.len() < MIN_KEY_BYTES) => {
                Some("is shorter than 24 bytes; use a longer one")
            }
            _ => None,
        }
    }

    pub(crate) fn values_mut(&mut self) -> &mut Vec<Secret> {
        match self {
            Scheme::Bearer(plan) => &mut plan.values,
            Scheme::Hmac(plan) => &mut plan.values,
        }
    }

    /// Returns the header that a delivery with this scheme has.
    #[must_use]
    pub fn header(&self) -> &str {
        match self {
            Scheme::Bearer(plan) => &plan.header,
            Scheme::Hmac(plan) => &plan.signature_header,
        }
    }

    /// Returns the kind as in the secrets document: `bearer` or `hmac`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Scheme::Bearer(_) => "bearer",
            Scheme::Hmac(_) => "hmac",
        }
    }

    /// Returns the number of accepted values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Scheme::Bearer(plan) => plan.values.len(),
            Scheme::Hmac(plan) => plan.values.len(),
        }
    }

    /// Whether the scheme has no accepted value, so that it verifies nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Verifies a delivery.
    ///
    /// # Errors
    /// If a header is missing, the timestamp is out of range, or no value matches.
    pub fn verify(&self, parts: Parts<'_>, now: Timestamp) -> Result<Proof, Rejection> {
        match self {
            Scheme::Bearer(plan) => plan.verify(parts),
            Scheme::Hmac(plan) => plan.verify(parts, now),
        }
    }

    /// Returns the headers that authenticate a delivery with the first value, as Vapi would send them; `None` without a
    /// value.
    #[must_use]
    pub fn sign(&self, parts: Parts<'_>, message_id: &str, at: Timestamp) -> Option<Vec<(String, String)>> {
        match self {
            Scheme::Bearer(plan) => {
                Some(vec![(plan.header.clone(), format!("{}{}", plan.prefix, &**plan.values.first()?))])
            }
            Scheme::Hmac(plan) => plan.sign(parts, message_id, at),
        }
    }
}

impl Bearer {
    fn verify(&self, parts: Parts<'_>) -> Result<Proof, Rejection> {
        let sent = header(parts.headers, &self.header)?;
        // The scheme's name is case-insensitive (RFC 9110), the token is not.
        let has_prefix = sent.get(..self.prefix.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(&self.prefix));
        let token = if has_prefix { &sent[self.prefix.len()..] } else { "" };
        let matched = self.values.iter().fold(0, |m, value| m | value.as_bytes().ct_eq(token.as_bytes()).unwrap_u8());
        if matched == 1 {
            return Ok(Proof { by: format!("bearer:{}", self.header.to_ascii_lowercase()), message_id: None });
        }
        Err(Rejection::new(
            Reason::NoMatch,
            format!(
                "the token in the header {} is not a configured one; check the credential of the server URL at Vapi",
                self.header
            ),
        ))
    }
}

fn is_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

impl HmacPlan {
    fn defect(&self) -> Option<&'static str> {
        let uses = |placeholder| self.payload_format.contains(placeholder);
        match self {
            _ if !uses("{body}") => {
                Some("payload_format does not contain {body}, so the signature would not cover the body")
            }
            _ if !is_header(&self.signature_header) => Some("signature_header is not a valid header name"),
            _ if !self.timestamp_header.iter().chain(&self.message_id_header).all(|name| is_header(name)) => {
                Some("timestamp_header or message_id_header is not a valid header name")
            }
            _ if uses("{timestamp}") && self.timestamp_header.is_none() => Some("timestamp_header is not set"),
            _ if uses("{svix-id}") && self.message_id_header.is_none() => Some("message_id_header is not set"),
            _ if uses("{url}") && self.public_url.is_none() => Some("public_url is not set"),
            _ => None,
        }
    }

    fn key(&self, value: &str) -> Option<Zeroizing<Vec<u8>>> {
        let key =
            if self.secret_is_base64 { BASE64.decode(value.as_bytes()).ok() } else { Some(value.as_bytes().to_vec()) };
        key.map(Zeroizing::new)
    }

    fn verify(&self, parts: Parts<'_>, now: Timestamp) -> Result<Proof, Rejection> {
        let sent = header(parts.headers, &self.signature_header)?;
        let signed_header = |placeholder: &str, name: &Option<String>| match name {
            Some(name) if self.payload_format.contains(placeholder) => header(parts.headers, name).map(Some),
            _ => Ok(None),
        };
        let timestamp = signed_header("{timestamp}", &self.timestamp_header)?;
        let message_id = signed_header("{svix-id}", &self.message_id_header)?;
        if let (Some(timestamp), Some(name)) = (timestamp, &self.timestamp_header) {
            check_distance(name, seconds(name, timestamp)?, now)?;
        }

        let mismatch = || {
            let header = &self.signature_header;
            Rejection::new(
                Reason::NoMatch,
                format!("the signature in the header {header} does not match; check the HMAC credential at Vapi"),
            )
        };
        let encoded = sent.strip_prefix(&self.signature_prefix).ok_or_else(mismatch)?;
        let signature = match self.encoding {
            Encoding::Hex => HEXLOWER_PERMISSIVE.decode(encoded.as_bytes()),
            Encoding::Base64 => BASE64.decode(encoded.as_bytes()),
        };
        let signature = signature.map_err(|_| mismatch())?;
        let content = self.content(parts, timestamp.unwrap_or_default(), message_id.unwrap_or_default());
        let matches = |key: Zeroizing<Vec<u8>>| self.mac(&key, &content).as_slice().ct_eq(&signature).unwrap_u8();
        let matched = self.values.iter().filter_map(|value| self.key(value)).fold(0, |m, key| m | matches(key));
        if matched == 1 {
            let by = format!("hmac:{}", self.signature_header.to_ascii_lowercase());
            return Ok(Proof { by, message_id: message_id.map(str::to_owned) });
        }
        Err(mismatch())
    }

    fn sign(&self, parts: Parts<'_>, message_id: &str, at: Timestamp) -> Option<Vec<(String, String)>> {
        let timestamp = at.as_secs().to_string();
        let signature = self.mac(&self.key(self.values.first()?)?, &self.content(parts, &timestamp, message_id));
        let encoded = match self.encoding {
            Encoding::Hex => HEXLOWER_PERMISSIVE.encode(&signature),
            Encoding::Base64 => BASE64.encode(&signature),
        };
        let mut headers = vec![(self.signature_header.clone(), format!("{}{encoded}", self.signature_prefix))];
        headers.extend(self.timestamp_header.clone().map(|name| (name, timestamp)));
        headers.extend(self.message_id_header.clone().map(|name| (name, message_id.to_owned())));
        Some(headers)
    }

    /// Returns the signed content: `payload_format` with its placeholders replaced. Placeholders in a value are not
    /// replaced.
    fn content(&self, parts: Parts<'_>, timestamp: &str, message_id: &str) -> Vec<u8> {
        let values: [(&str, &[u8]); 5] = [
            ("{body}", parts.body),
            ("{timestamp}", timestamp.as_bytes()),
            ("{svix-id}", message_id.as_bytes()),
            ("{method}", parts.method.as_str().as_bytes()),
            ("{url}", self.public_url.as_deref().unwrap_or_default().as_bytes()),
        ];
        let mut content = Vec::with_capacity(parts.body.len() + 64);
        let mut rest = self.payload_format.as_str();
        'next: while let Some(first) = rest.chars().next() {
            for (placeholder, value) in values {
                if let Some(after) = rest.strip_prefix(placeholder) {
                    content.extend_from_slice(value);
                    rest = after;
                    continue 'next;
                }
            }
            let (literal, after) = rest.split_at(first.len_utf8());
            content.extend_from_slice(literal.as_bytes());
            rest = after;
        }
        content
    }

    fn mac(&self, key: &[u8], content: &[u8]) -> Vec<u8> {
        fn mac<M: Mac + KeyInit>(key: &[u8], content: &[u8]) -> Vec<u8> {
            let Ok(mac) = <M as KeyInit>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
            mac.chain_update(content).finalize().into_bytes().to_vec()
        }
        match self.algorithm {
            Algorithm::Sha1 => mac::<Hmac<sha1::Sha1>>(key, content),
            Algorithm::Sha256 => mac::<Hmac<sha2::Sha256>>(key, content),
            Algorithm::Sha512 => mac::<Hmac<sha2::Sha512>>(key, content),
        }
    }
}

/// Reads a timestamp in seconds. Vapi documents neither its unit nor its format, so milliseconds and ISO 8601 are
/// accepted too. A number of 12 digits or more is in milliseconds, because as seconds it would be after the year 5000.
fn seconds(name: &str, timestamp: &str) -> Result<i64, Rejection> {
    match timestamp.parse::<i64>() {
        Ok(number) if number.unsigned_abs() >= 100_000_000_000 => Ok(number.div_euclid(1000)),
        Ok(number) => Ok(number),
        Err(_) => Timestamp::parse(timestamp).map(Timestamp::as_secs).ok_or_else(|| {
            Rejection::new(
                Reason::Malformed,
                format!("the header {name} is not a time in seconds or milliseconds since 1970, or in ISO 8601"),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    const NOW: i64 = 1_775_624_410;
    const TOKEN: &str = "a-token-of-some-length";

    fn now() -> Timestamp {
        Timestamp::clamped(NOW * 1000)
    }

    fn scheme(json: &str) -> Scheme {
        serde_json::from_str(json).unwrap()
    }

    fn bearer() -> Scheme {
        let json =
            r#"{"kind":"bearer","header":"Authorization","prefix":"Bearer ","values":["TOKEN","another-valid-token"]}"#;
        scheme(&json.replace("TOKEN", TOKEN))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn verify(scheme: &Scheme, sent: &[(&'static str, &str)], body: &str) -> Result<Proof, Rejection> {
        scheme.verify(Parts { method: &Method::POST, headers: &headers(sent), body: body.as_bytes() }, now())
    }

    #[test]
    fn configured_token_is_accepted_with_its_header_and_prefix() {
        for sent in ["Bearer a-token-of-some-length", "bearer another-valid-token"] {
            assert_eq!(verify(&bearer(), &[("authorization", sent)], "").unwrap().by, "bearer:authorization");
        }
        let plain =
            scheme(r#"{"kind":"bearer","header":"x-vapi-secret","prefix":"","values":["a-token-of-some-length"]}"#);
        assert!(verify(&plain, &[("x-vapi-secret", TOKEN)], "").is_ok());
    }

    #[test]
    fn wrong_empty_missing_and_repeated_tokens_are_rejected() {
        for sent in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            TOKEN,
            "Bearer a-token-of-some-lengthx",
            "Béarer a-token-of-some-length",
        ] {
            assert!(verify(&bearer(), &[("authorization", sent)], "").is_err(), "{sent}");
        }
        assert!(verify(&bearer(), &[], "").unwrap_err().reason == Reason::Unsigned);
        let mut twice = headers(&[("authorization", "Bearer a-token-of-some-length")]);
        twice.append("authorization", "Bearer a-token-of-some-length".parse().unwrap());
        assert!(bearer().verify(Parts { method: &Method::POST, headers: &twice, body: b"" }, now()).is_err());
    }

    fn plan(extra: &str) -> Scheme {
        scheme(&format!(
            r#"{{"kind":"hmac","signature_header":"x-signature","timestamp_header":"x-timestamp",
                "values":["a-key-of-some-length"],{extra}}}"#
        ))
    }

    // The signatures below were computed with Python's hmac module.

    #[test]
    fn default_hmac_plan_covers_timestamp_and_body() {
        let default = plan(r#""algorithm":"sha256","payload_format":"{timestamp}.{body}","encoding":"hex""#);
        let signature = "18ed72dbe68bcea8d0295698d757669e726be019a91b96447fb558bf2f40b681";
        let sent = |signature: &str, stamp: &str| {
            verify(&default, &[("x-signature", signature), ("x-timestamp", stamp)], "{}")
        };
        let stamp = NOW.to_string();
        assert_eq!(sent(signature, &stamp).unwrap(), Proof { by: "hmac:x-signature".into(), message_id: None });
        assert!(sent(&signature.to_uppercase(), &stamp).is_ok());
        assert!(sent(signature, &(NOW + 1).to_string()).is_err());
        assert!(sent(&signature[2..], &stamp).is_err());
        assert!(sent("", &stamp).is_err());
        assert!(sent(signature, "soon").unwrap_err().reason == Reason::Malformed);
        assert!(sent(signature, &(NOW - 301).to_string()).unwrap_err().reason == Reason::Stale);
        assert!(verify(&default, &[("x-signature", signature)], "{}").unwrap_err().reason == Reason::Unsigned);
    }

    #[test]
    fn every_part_of_an_hmac_plan_is_configurable() {
        let plan = plan(
            r#""algorithm":"sha512","payload_format":"{method} {url} {svix-id} {timestamp} {body}","encoding":"base64",
               "signature_prefix":"sha512=","message_id_header":"x-id","public_url":"https://x.example/server""#,
        );
        let signature =
            "sha512=642KadCJwmIRFm8ig1LYWAvers3tUqmZQrNM4A07cHzV8qVGPQDmHlT7QcehZJH/BeSetpViSg1MN6th47nYEg==";
        // The timestamp is in milliseconds, because Vapi documents no unit.
        let sent =
            |id| verify(&plan, &[("x-signature", signature), ("x-timestamp", "1775624410000"), ("x-id", id)], "{}");
        assert_eq!(sent("msg_1").unwrap().message_id.as_deref(), Some("msg_1"));
        let short = scheme(
            r#"{"kind":"hmac","algorithm":"sha256","signature_header":"s","payload_format":"{body}","encoding":"hex",
                "secret_is_base64":true,"values":[]}"#,
        );
        assert!(short.value_defect("AAAAAAAAAAAAAAAA").is_some(), "a key of 12 bytes in 16 characters");
        assert!(sent("msg_2").is_err());
    }

    #[test]
    fn base64_key_is_decoded_and_unsigned_message_id_is_ignored() {
        let plan = scheme(
            r#"{"kind":"hmac","algorithm":"sha1","signature_header":"x-vapi-signature","payload_format":"{body}",
                "encoding":"hex","secret_is_base64":true,"message_id_header":"x-id","values":["YS1rZXktb2Ytc29tZS1sZW5ndGg="]}"#,
        );
        let signature = "63d31a7d55f97495c74870b427068b8fafb541e9";
        let verified = verify(&plan, &[("x-vapi-signature", signature), ("x-id", "forged")], "{}").unwrap();
        assert_eq!(verified.message_id, None, "the signature does not cover it");
    }

    #[test]
    fn scheme_verifies_its_own_signatures() {
        let base64 = r#"{"kind":"hmac","algorithm":"sha1","signature_header":"x-vapi-signature","payload_format":"{body}",
                "encoding":"hex","secret_is_base64":true,"values":["YS1rZXktb2Ytc29tZS1sZW5ndGg="]}"#;
        let full = r#""algorithm":"sha512","payload_format":"{method} {url} {svix-id} {timestamp} {body}","encoding":"base64",
               "signature_prefix":"sha512=","message_id_header":"x-id","public_url":"https://x.example/server""#;
        let default = r#""algorithm":"sha256","payload_format":"{timestamp}.{body}","encoding":"hex""#;
        for scheme in [bearer(), scheme(base64), plan(full), plan(default)] {
            let none = HeaderMap::new();
            let parts = |headers| Parts { method: &Method::POST, headers, body: b"{}" };
            let signed = scheme.sign(parts(&none), "msg_1", now()).unwrap();
            let headers = signed.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let headers: HeaderMap = headers.collect();
            assert!(scheme.verify(parts(&headers), now()).is_ok(), "{signed:?}");
            let other = Parts { body: b"{ }", ..parts(&headers) };
            assert_eq!(scheme.verify(other, now()).is_ok(), matches!(scheme, Scheme::Bearer(_)));
        }
    }

    #[test]
    fn hmac_plan_without_body_or_with_a_missing_setting_is_defective() {
        let defect = |extra: &str| plan(&format!(r#""algorithm":"sha256","encoding":"hex",{extra}"#)).defect();
        assert!(defect(r#""payload_format":"{timestamp}""#).is_some());
        assert!(defect(r#""payload_format":"{url}{body}""#).is_some());
        assert!(defect(r#""payload_format":"{svix-id}{body}""#).is_some());
        assert!(defect(r#""payload_format":"{body}""#).is_none());
    }
}
