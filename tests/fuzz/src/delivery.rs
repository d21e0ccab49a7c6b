//! Deliveries as text: `<scheme> <method> <path>`, one line for each header, an empty line and the body.
//!
//! The line `sign` adds the headers with the vendor's signature. The lines after it add more headers.

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_payload::time::Timestamp;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::{Parts, Source};
use gatehouse_vendors::Secrets;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

/// A secrets document. `SCHEME` is replaced by one of [`SCHEMES`].
const DOCUMENT: &str = r#"{
  "ada": {"signing_secrets": ["whsec_ZnV6emVkLWFkYS1zaWduaW5nLXNlY3JldC0x", "whsec_ZnV6emVkLWFkYS1zaWduaW5nLXNlY3JldC0y"]},
  "agntix": {"signing_secrets": ["whsec_ZnV6emVkLWFnbnRpeC1zaWduaW5nLXNlY3JldA=="]},
  "vapi": {"schemes": [SCHEME]}}"#;

const SCHEMES: [&str; 4] = [
    r#"{"kind": "bearer", "header": "authorization", "prefix": "Bearer ", "values": ["fuzzed-token-of-vapi"]}"#,
    r#"{"kind": "hmac", "algorithm": "sha256", "signature_header": "x-signature", "timestamp_header": "x-timestamp",
        "payload_format": "{timestamp}.{body}", "encoding": "hex", "values": ["fuzzed-hmac-key-of-vapi-1"]}"#,
    r#"{"kind": "hmac", "algorithm": "sha512", "signature_header": "x-signature", "timestamp_header": "x-timestamp",
        "payload_format": "{method} {url} {svix-id}.{timestamp}.{body}", "encoding": "base64", "signature_prefix": "v=",
        "message_id_header": "x-id", "public_url": "https://hooks.example.com/", "values": ["fuzzed-hmac-key-of-vapi-2"]}"#,
    r#"{"kind": "hmac", "algorithm": "sha1", "signature_header": "x-signature", "payload_format": "{body}",
        "encoding": "hex", "signature_prefix": "sha1=", "values": ["fuzzed-hmac-key-of-vapi-3"]}"#,
];

/// A source with an authentication scheme.
pub struct AuthScheme {
    /// The source.
    pub source: &'static dyn Source,
    /// The secrets document.
    pub document: String,
    /// Whether a signature covers the body.
    pub signs: bool,
}

impl AuthScheme {
    fn named(name: &[u8]) -> Self {
        let (source, scheme): (&'static dyn Source, usize) = match name {
            b"ada" => (&Ada, 0),
            b"agntix" => (&Agntix, 0),
            b"vapi-bearer" => (&Vapi::CLIENT, 0),
            b"vapi-sha256" => (&Vapi::CLIENT, 1),
            b"vapi-sha512" => (&Vapi::SERVER, 2),
            _ => (&Vapi::SERVER, 3),
        };
        let document = DOCUMENT.replace("SCHEME", SCHEMES[scheme]);
        let signs = scheme > 0 || source.profile().vendor != "vapi";
        AuthScheme { source, document, signs }
    }

    /// The parsed secrets document.
    pub fn secrets(&self) -> Secrets {
        let secrets = Secrets::parse(&self.document, false).expect("the document is JSON");
        assert_eq!(secrets.defects, Vec::<String>::new());
        secrets
    }
}

/// A delivery that was parsed from text.
pub struct Delivery {
    /// The source and its authentication scheme.
    pub scheme: AuthScheme,
    /// The request.
    pub request: Request<Bytes>,
    /// The headers of the vendor's signature, if the text has the line `sign`.
    pub signature: Option<HeaderMap>,
}

impl Delivery {
    /// Parses a delivery. Returns `None` if the text is not a valid request.
    pub fn read(input: &[u8], at: Timestamp) -> Option<Delivery> {
        let end = input.windows(2).position(|two| two == b"\n\n")?;
        let (head, body) = (&input[..end], Bytes::copy_from_slice(&input[end + 2..]));
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let scheme = AuthScheme::named(words.next()?);
        let mut request = Request::builder().method(words.next()?).uri(words.next()?).body(body).ok()?;
        let mut signature = None;
        for line in lines {
            if line == b"sign" {
                let parts = Parts { method: &Method::POST, headers: &HeaderMap::new(), body: request.body() };
                let signed = scheme.secrets().of(scheme.source)?.sign(parts, "msg_fuzzed", at)?;
                let signed = signed.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
                let signed: HeaderMap = signed.collect();
                request.headers_mut().extend(signed.clone());
                signature = Some(signed);
            } else if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                let name = HeaderName::from_bytes(&line[..colon]).ok()?;
                let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
                request.headers_mut().append(name, value);
            }
        }
        Some(Delivery { scheme, request, signature })
    }

    /// Whether the request has each header of the vendor's signature exactly once and unchanged.
    pub fn is_as_signed(&self) -> bool {
        let sent = self.request.headers();
        self.signature
            .as_ref()
            .is_some_and(|signed| signed.iter().all(|(name, value)| sent.get_all(name).iter().eq([value])))
    }
}
