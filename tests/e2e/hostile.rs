//! Attacks every authentication scheme with every kind of forged delivery. All must be refused. A hostile body with a
//! valid signature must cause no server error.
//!
//! `cargo test -p gatehouse-tests hostile -- --nocapture` prints the matrix of schemes and forgeries.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_local::{Delivery, Options, Testbed};
use gatehouse_payload::time::Timestamp;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::{Parts, Rejection, Source, Unverified};
use gatehouse_vendors::Secrets;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{items, now, send, stack_with};

const BODY: &str =
    r#"{"message":{"type":"hang","timestamp":1795173390500,"call":{"id":"hostile"}},"type":"v1.conversation.message"}"#;

/// HMAC schemes that together use all options: algorithm, encoding, signature prefix and payload format.
const HMACS: [(&str, &str, &str, &str); 3] = [
    ("sha256", "hex", "", "{timestamp}.{body}"),
    ("sha512", "base64", "v=", "{method} {url} {svix-id}.{timestamp}.{body}"),
    ("sha1", "hex", "sha1=", "{body}"),
];

/// A secrets document. `vapi_scheme` selects the scheme of Vapi.
fn document(vapi_scheme: usize) -> String {
    let whsec = |text: &str| format!("whsec_{}", data_encoding::BASE64.encode(text.as_bytes()));
    let bearer = |header: &str, prefix: &str| json!({"kind": "bearer", "header": header, "prefix": prefix, "values": ["vapi-token-of-the-test", "vapi-token-of-before"]});
    let schemes = match vapi_scheme {
        0 => json!([bearer("authorization", "Bearer ")]),
        1 => json!([bearer("x-vapi-secret", "")]),
        n => {
            let (algorithm, encoding, prefix, format) = HMACS[n - 2];
            json!([{"kind": "hmac", "algorithm": algorithm, "signature_header": "x-signature", "timestamp_header": "x-timestamp",
                "payload_format": format, "encoding": encoding, "signature_prefix": prefix, "message_id_header": "x-message-id",
                "public_url": "https://hooks.example.com/client", "values": ["vapi-hmac-key-of-the-test-0123", "vapi-hmac-key-of-before-0123"]}])
        }
    };
    json!({"ada": {"signing_secrets": [whsec("ada-signing-secret-of-the-test"), whsec("ada-signing-secret-of-before!!")]},
           "agntix": {"signing_secrets": [whsec("agntix-signing-secret-of-the-test")]},
           "vapi": {"schemes": schemes}})
    .to_string()
}

/// An authentication scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AuthScheme {
    Svix,
    Webhook,
    Agntix,
    Vapi(usize),
}

const SCHEMES: [AuthScheme; 8] = [
    AuthScheme::Svix,
    AuthScheme::Webhook,
    AuthScheme::Agntix,
    AuthScheme::Vapi(0),
    AuthScheme::Vapi(1),
    AuthScheme::Vapi(2),
    AuthScheme::Vapi(3),
    AuthScheme::Vapi(4),
];

impl AuthScheme {
    fn name(self) -> String {
        match self {
            AuthScheme::Svix => "svix-*".to_owned(),
            AuthScheme::Webhook => "webhook-*".to_owned(),
            AuthScheme::Agntix => "agntix".to_owned(),
            AuthScheme::Vapi(0) => "bearer".to_owned(),
            AuthScheme::Vapi(1) => "x-vapi-secret".to_owned(),
            AuthScheme::Vapi(n) => format!("hmac {}", HMACS[n - 2].0),
        }
    }

    /// The stack that is configured with this scheme, by its index in [`stacks`].
    fn stack_index(self) -> usize {
        if let AuthScheme::Vapi(n) = self { n } else { 0 }
    }

    fn secrets(self) -> Secrets {
        Secrets::parse(&document(self.stack_index()), false).unwrap()
    }

    fn source(self) -> &'static dyn Source {
        match self {
            AuthScheme::Svix | AuthScheme::Webhook => &Ada,
            AuthScheme::Agntix => &Agntix,
            AuthScheme::Vapi(_) => &Vapi::CLIENT,
        }
    }

    /// Valid authentication headers for a body at a time.
    fn headers(self, body: &[u8], at: Timestamp) -> Vec<(String, String)> {
        let parts = Parts { method: &Method::POST, headers: &HeaderMap::new(), body };
        let headers = self.secrets().of(self.source()).unwrap().sign(parts, "msg_hostile", at).unwrap();
        if self == AuthScheme::Webhook {
            return headers.into_iter().map(|(name, value)| (name.replace("svix-", "webhook-"), value)).collect();
        }
        headers
    }

    fn delivery(self, headers: Vec<(String, String)>, body: impl Into<Bytes>) -> Delivery {
        let profile = self.source().profile();
        let (function, path) = (profile.function, profile.paths[0].trim_start_matches('/'));
        let mut headers = headers;
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        Delivery {
            function: function.to_owned(),
            path: path.to_owned(),
            method: "POST".to_owned(),
            headers,
            body: body.into(),
        }
    }

    /// A valid delivery.
    fn valid(self) -> Delivery {
        self.delivery(self.headers(BODY.as_bytes(), now()), BODY)
    }

    /// Whether a signature covers the body. Bearer tokens cover nothing.
    fn signs_body(self) -> bool {
        !matches!(self, AuthScheme::Vapi(0 | 1))
    }

    /// Whether the signature covers a timestamp.
    fn signs_time(self) -> bool {
        self.signs_body() && self != AuthScheme::Vapi(4)
    }

    /// The header with the signature or token.
    fn proof_header(self) -> &'static str {
        match self {
            AuthScheme::Svix | AuthScheme::Agntix => "svix-signature",
            AuthScheme::Webhook => "webhook-signature",
            AuthScheme::Vapi(0) => "authorization",
            AuthScheme::Vapi(1) => "x-vapi-secret",
            AuthScheme::Vapi(_) => "x-signature",
        }
    }
}

fn value(delivery: &Delivery, name: &str) -> String {
    delivery.headers.iter().find(|header| header.0 == name).map(|header| header.1.clone()).unwrap_or_default()
}

/// Deliveries with a forged signature or token, by kind of forgery. Every scheme must refuse them.
fn forgeries(scheme: AuthScheme) -> Vec<(&'static str, Vec<Delivery>)> {
    let (good, proof) = (scheme.valid(), scheme.proof_header());
    let sent = value(&good, proof);
    let with = |text: &str| good.clone().with_header(proof, text);
    let truncated = sent.get(..sent.len() - 1).unwrap();
    let flipped: String = sent.chars().rev().collect();
    let swapped = sent
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect::<String>();
    let mut twice = good.clone();
    twice.headers.push((proof.to_owned(), sent.clone()));
    let elsewhere = good.clone().without_header(proof).with_header("x-forwarded-authorization", &sent);
    let others: Vec<Delivery> = SCHEMES
        .into_iter()
        .filter(|other| other.source().profile() != scheme.source().profile())
        .map(|other| scheme.delivery(other.headers(BODY.as_bytes(), now()), BODY))
        .collect();
    let list = |entry: &str| vec![entry; 10_000].join(" ");
    // Hexadecimal digits are accepted in either letter case.
    let is_hex = matches!(scheme, AuthScheme::Vapi(2 | 4));
    vec![
        ("missing", vec![good.clone().without_header(proof), scheme.delivery(Vec::new(), BODY)]),
        ("empty", vec![with(""), with(" "), with("v1,"), with("Bearer "), with("sha1=")]),
        ("truncated", vec![with(truncated), with(sent.get(..sent.len() / 2).unwrap()), with(sent.get(1..).unwrap())]),
        ("swapped", if is_hex { vec![with(&flipped)] } else { vec![with(&flipped), with(&swapped)] }),
        (
            "re-encoded",
            vec![
                with(&sent.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()),
                with(&data_encoding::BASE64.encode(sent.as_bytes())),
            ],
        ),
        (
            "sent twice",
            vec![
                twice,
                with(&format!("{sent},{sent}")),
                with(&format!("{sent}, x")),
                with(&format!("v1,x,v1,x {sent}")),
            ],
        ),
        ("smuggled", vec![elsewhere, with(&format!("x{sent}")), with(&format!("{sent}\u{a0}x"))]),
        ("look-alikes", vec![with(&sent.chars().map(full_width).collect::<String>())]),
        ("other secret", others),
        ("a list of 10,000", vec![with(&list("v1,AAAA")), with(&list("x"))]),
        (
            "guessed",
            vec![with("Bearer null"), with("undefined"), with("v1,undefined"), with("0"), with(&"0".repeat(64))],
        ),
    ]
}

/// The full-width form of an ASCII character.
fn full_width(c: char) -> char {
    if c.is_ascii_graphic() { char::from_u32(u32::from(c) + 0xfee0).unwrap() } else { c }
}

/// Deliveries whose body or time differs from the signed one, by kind of change.
fn altered(scheme: AuthScheme) -> Vec<(&'static str, Vec<Delivery>)> {
    let good = scheme.valid();
    let at = |seconds: i64| {
        let at = now().plus_secs(seconds);
        scheme.delivery(scheme.headers(BODY.as_bytes(), at), BODY)
    };
    let reordered = BODY.replacen(r#""message":"#, r#" "message":"#, 1);
    let bodies = [
        reordered.clone(),
        BODY.replace("hostile", "h\u{6f}stile "),
        format!("{BODY}\n"),
        format!("\u{feff}{BODY}"),
        String::new(),
    ];
    let mut cells = vec![("another body", bodies.into_iter().map(|body| good.clone().with_body(body)).collect())];
    if scheme.signs_time() {
        let stamp = if let AuthScheme::Vapi(_) = scheme {
            "x-timestamp"
        } else if scheme == AuthScheme::Webhook {
            "webhook-timestamp"
        } else {
            "svix-timestamp"
        };
        let stamped = |text: &str| good.clone().with_header(stamp, text);
        let odd = ["", "0", "-1", "soon", "1e9", "99999999999999999999", "NaN"];
        cells.push(("stale", vec![at(-302), at(-86_400), at(-1_000_000_000)]));
        cells.push(("future", vec![at(330), at(86_400)]));
        cells
            .push(("another time", odd.into_iter().map(stamped).chain([good.clone().without_header(stamp)]).collect()));
    }
    cells
}

/// Hostile bodies with their names. A signed delivery may contain any of them.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let nested =
        |open: &str, close: &str, n: usize| format!("{{\"a\":{}1{}}}", open.repeat(n), close.repeat(n)).into_bytes();
    vec![
        ("6 MB", format!("{{\"a\":\"{}\"}}", "x".repeat(6 * 1024 * 1024 - 8)).into_bytes()),
        ("over 6 MB", vec![b' '; 6 * 1024 * 1024 + 1]),
        ("deep arrays", nested("[", "]", 1_000_000)),
        ("deep objects", nested("{\"a\":", "}", 500_000)),
        ("never closed", "[".repeat(1_000_000).into_bytes()),
        (
            "many members",
            format!("{{{}\"z\":1}}", (0..100_000).map(|n| format!("\"m{n}\":{n},")).collect::<String>()).into_bytes(),
        ),
        ("more values than the limit", format!("{{\"data\":[{}1]}}", "{},".repeat(300_000)).into_bytes()),
        ("one name often", format!("{{{}\"a\":1}}", "\"type\":\"x\",".repeat(100_000)).into_bytes()),
        ("NUL", b"{\"type\":\"a\\u0000b\",\"message\":{\"type\":\"\\u0000\"}}".to_vec()),
        (
            "a lone surrogate",
            b"{\"type\":\"\\ud800\",\"message\":{\"type\":\"\\udfff\",\"call\":{\"id\":\"\\ud800\"}}}".to_vec(),
        ),
        ("not UTF-8", b"{\"type\":\"\xff\xfe\"}".to_vec()),
        (
            "huge numbers",
            b"{\"timestamp\":1e999999,\"message\":{\"type\":\"hang\",\"timestamp\":-99999999999999999999999}}".to_vec(),
        ),
        ("other kinds", br#"{"type":[],"message":{"type":{},"call":7,"timestamp":{}},"data":null}"#.to_vec()),
        ("a prototype", br#"{"__proto__":{"type":"x"},"constructor":1}"#.to_vec()),
        ("no object", b"[{}]".to_vec()),
        ("nothing", Vec::new()),
    ]
}

async fn stacks() -> Vec<Testbed> {
    let of = |vapi_scheme| stack_with(Options { secrets: document(vapi_scheme), ..Options::default() });
    let mut stacks = Vec::new();
    for vapi_scheme in 0..5 {
        stacks.push(of(vapi_scheme).await);
    }
    stacks
}

/// Sends a delivery and returns the status, or 0 if HTTP does not allow one of its headers. Panics after 10 s.
async fn status(stack: &Testbed, delivery: &Delivery) -> u16 {
    let answer = timeout(Duration::from_secs(10), delivery.send(&stack.url)).await.unwrap();
    answer.map_or(0, |answer| answer.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_delivery_is_refused_by_every_scheme() {
    let stacks = stacks().await;
    let (mut tried, mut matrix) = (0, BTreeMap::<&str, BTreeMap<AuthScheme, String>>::new());
    for scheme in SCHEMES {
        let stack = &stacks[scheme.stack_index()];
        assert_eq!(send(stack, &scheme.valid()).await.status, 200, "{scheme:?}: a valid delivery is accepted");
        let mut cells = forgeries(scheme);
        if scheme.signs_body() {
            cells.extend(altered(scheme));
        }
        for (forgery, deliveries) in cells {
            let mut count = 0;
            for delivery in &deliveries {
                let status = status(stack, delivery).await;
                assert!([0, 401].contains(&status), "{scheme:?}, {forgery}: {status}");
                count += 1;
                tried += 1;
            }
            matrix.entry(forgery).or_default().insert(scheme, count.to_string());
        }
    }
    println!("{:<18}{}", "refused (401)", SCHEMES.map(|scheme| format!("{:>14}", scheme.name())).concat());
    for (forgery, row) in &matrix {
        // A scheme has no cell for a part of the delivery that it does not sign.
        let cell = |scheme: AuthScheme| row.get(&scheme).cloned().unwrap_or_else(|| "not signed".to_owned());
        println!("{forgery:<18}{}", SCHEMES.map(|scheme| format!("{:>14}", cell(scheme))).concat());
        let expected = SCHEMES.into_iter().filter(|scheme| match *forgery {
            "another body" => scheme.signs_body(),
            "stale" | "future" | "another time" => scheme.signs_time(),
            _ => true,
        });
        assert_eq!(row.len(), expected.count(), "{forgery}: a cell is empty");
    }
    println!("{tried} hostile deliveries");
    assert!(tried >= 150, "{tried}");
    for stack in &stacks {
        let good = SCHEMES
            .into_iter()
            .filter(|scheme| scheme.stack_index() == stacks.iter().position(|s| std::ptr::eq(s, stack)).unwrap());
        // The deliveries with `svix-*` and `webhook-*` headers are the same event.
        let good = good.filter(|scheme| *scheme != AuthScheme::Webhook).count();
        assert_eq!(items(stack).await, good, "nothing else is recorded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_hostile_body_causes_no_server_error() {
    let stacks = stacks().await;
    for scheme in [AuthScheme::Svix, AuthScheme::Agntix, AuthScheme::Vapi(0), AuthScheme::Vapi(3)] {
        for (name, body) in bodies() {
            let started = Instant::now();
            let delivery = scheme.delivery(scheme.headers(&body, now()), body);
            let status = status(&stacks[scheme.stack_index()], &delivery).await;
            assert!([200, 400, 413].contains(&status), "{scheme:?}, {name}: {status}");
            assert!(started.elapsed() < Duration::from_secs(10), "{scheme:?}, {name}");
        }
        assert_eq!(send(&stacks[scheme.stack_index()], &scheme.valid()).await.status, 200, "{scheme:?}");
    }
}

/// Verifies a delivery like the receiver.
fn verify(scheme: AuthScheme, headers: &[(String, Vec<u8>)], body: &[u8], at: Timestamp) -> Result<(), Rejection> {
    let pairs = headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
    });
    let headers: HeaderMap = pairs.collect();
    let body = Bytes::copy_from_slice(body);
    let delivery = Unverified::new(&Method::POST, &headers, &body);
    scheme.secrets().of(scheme.source()).unwrap().verify(delivery, at).map(drop)
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(512))]

    /// Flips one bit of the body, the id, the time or the signature.
    #[test]
    fn delivery_with_one_flipped_bit_is_refused(
        scheme in 0..SCHEMES.len(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let (scheme, at) = (SCHEMES[scheme], now());
        let mut body = BODY.as_bytes().to_vec();
        let mut headers: Vec<(String, Vec<u8>)> =
            scheme.headers(&body, at).into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        prop_assert!(verify(scheme, &headers, &body, at).is_ok());
        let before = headers.clone();
        // The verifier ignores a message id or time that is not signed.
        let covered: Vec<usize> = (0..headers.len())
            .filter(|n| headers[*n].0 != "x-message-id" || scheme == AuthScheme::Vapi(3))
            .filter(|n| headers[*n].0 != "x-timestamp" || scheme.signs_time())
            .collect();
        let signed = if scheme.signs_body() { body.len() } else { 0 };
        let total = signed + covered.iter().map(|n| headers[*n].1.len()).sum::<usize>();
        let mut at_byte = place.index(total);
        if at_byte < signed {
            body[at_byte] ^= 1 << bit;
        } else {
            at_byte -= signed;
            for n in covered {
                if at_byte < headers[n].1.len() {
                    headers[n].1[at_byte] ^= 1 << bit;
                    break;
                }
                at_byte -= headers[n].1.len();
            }
        }
        // Hexadecimal digits and the word `Bearer` are accepted in either letter case.
        let lowercase = |headers: &[(String, Vec<u8>)]| headers.iter().map(|header| header.1.to_ascii_lowercase()).collect::<Vec<_>>();
        let is_same = lowercase(&headers) == lowercase(&before) && body == BODY.as_bytes();
        let may_be_same = matches!(scheme, AuthScheme::Vapi(0 | 2 | 4)) && is_same;
        prop_assert!(may_be_same || verify(scheme, &headers, &body, at).is_err(), "{scheme:?}: {headers:?}");
    }
}
