//! A delivery as a text: `<way> <method> <path>`, a header a line, an empty line, the body.
//!
//! The line `sign` has it signed as its vendor would; headers behind it come on top of that.

use bytes::Bytes;
use gatehouse_edge::scheme::Parts;
use gatehouse_edge::secrets::Secrets;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Endpoint, Source};
use gatehouse_payload::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

/// What the document opens: every scheme there is.
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

/// A way in.
pub struct Way {
    /// Where it leads.
    pub endpoint: Endpoint,
    /// What opens it.
    pub document: String,
    /// Whether a signature covers the body.
    pub signs: bool,
}

impl Way {
    fn named(name: &[u8]) -> Self {
        let (source, scheme) = match name {
            b"ada" => (Source::Ada, 0),
            b"agntix" => (Source::Agntix, 0),
            b"vapi-bearer" => (Source::Vapi(Channel::Client), 0),
            b"vapi-sha256" => (Source::Vapi(Channel::Client), 1),
            b"vapi-sha512" => (Source::Vapi(Channel::Server), 2),
            _ => (Source::Vapi(Channel::Server), 3),
        };
        let document = DOCUMENT.replace("SCHEME", SCHEMES[scheme]);
        let signs = scheme > 0 || !matches!(source, Source::Vapi(_));
        Way { endpoint: Endpoint { function: "fuzzed", paths: &["/"], source }, document, signs }
    }

    /// The parsed document.
    pub fn secrets(&self) -> Secrets {
        let secrets = Secrets::parse(&self.document, false).expect("the document is JSON");
        assert_eq!(secrets.defects, Vec::<String>::new());
        secrets
    }
}

/// What a text stands for.
pub struct Delivery {
    /// The way it takes.
    pub way: Way,
    /// The request.
    pub request: Request<Bytes>,
    /// What its vendor would have signed it with, if it was to be signed.
    pub signature: Option<HeaderMap>,
}

impl Delivery {
    /// Reads a text; `None` where it is no request at all.
    pub fn read(input: &[u8], at: Timestamp) -> Option<Delivery> {
        let end = input.windows(2).position(|two| two == b"\n\n")?;
        let (head, body) = (&input[..end], Bytes::copy_from_slice(&input[end + 2..]));
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let way = Way::named(words.next()?);
        let mut request = Request::builder().method(words.next()?).uri(words.next()?).body(body).ok()?;
        let mut signature = None;
        for line in lines {
            if line == b"sign" {
                let parts = Parts { method: &Method::POST, headers: &HeaderMap::new(), body: request.body() };
                let signed = way.endpoint.source.sign(parts, &way.secrets(), "msg_fuzzed", at)?;
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
        Some(Delivery { way, request, signature })
    }

    /// Whether all that its vendor signed stands in the request as it was signed, and nothing of it twice.
    pub fn is_as_signed(&self) -> bool {
        let sent = self.request.headers();
        self.signature
            .as_ref()
            .is_some_and(|signed| signed.iter().all(|(name, value)| sent.get_all(name).iter().eq([value])))
    }
}
