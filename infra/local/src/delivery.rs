//! Signed deliveries, as the vendors send them, with the development secrets.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_edge::secrets::DEVELOPMENT;
use gatehouse_edge::signature::SigningKey;
use gatehouse_inbox::Clock;
use gatehouse_payload::time::Timestamp;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::Instant;

use crate::Error;

/// A request to one of the functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The function's name.
    pub function: String,
    /// The path behind its URL.
    pub path: String,
    /// `POST`, unless it is to be refused.
    pub method: String,
    /// The headers, signatures among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
    /// From the first byte sent to the last received.
    pub took: Duration,
}

impl Delivery {
    /// A delivery of Ada's under a message id, signed at `at`.
    #[must_use]
    pub fn ada(message_id: &str, body: impl Into<Bytes>, at: Timestamp) -> Self {
        Self::svix("conversation-webhooks", "/ada/signing_secrets/0", message_id, body.into(), at)
    }

    /// A delivery of agntix' under a message id, signed at `at`.
    #[must_use]
    pub fn agntix(message_id: &str, body: impl Into<Bytes>, at: Timestamp) -> Self {
        Self::svix("session-lifecycle", "/agntix/signing_secrets/0", message_id, body.into(), at)
    }

    /// A client message of Vapi's, with a bearer token.
    #[must_use]
    pub fn vapi_client(body: impl Into<Bytes>) -> Self {
        let token = secret("/vapi/schemes/0/values/0");
        let mut delivery = Self::unsigned("client-message", "client", body.into());
        delivery.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        delivery
    }

    fn svix(function: &str, secret_at: &str, message_id: &str, body: Bytes, at: Timestamp) -> Self {
        let timestamp = at.as_secs().to_string();
        let signature = SigningKey::parse(&secret(secret_at)).map(|key| key.sign(message_id, &timestamp, &body));
        let mut delivery = Self::unsigned(function, "", body);
        delivery.headers.extend([
            ("svix-id".to_owned(), message_id.to_owned()),
            ("svix-timestamp".to_owned(), timestamp),
            ("svix-signature".to_owned(), signature.unwrap_or_default()),
        ]);
        delivery
    }

    fn unsigned(function: &str, path: &str, body: Bytes) -> Self {
        Delivery {
            function: function.to_owned(),
            path: path.to_owned(),
            method: "POST".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body,
        }
    }

    /// The same with one header set, or changed.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|header| header.0 != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a header.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|header| header.0 != name);
        self
    }

    /// The same with another body, under the signature of the first.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Delivery { body: body.into(), ..self }
    }

    /// The event a function URL makes of it (payload format 2.0).
    #[must_use]
    pub fn to_lambda_event(&self) -> Value {
        let path = format!("/{}", self.path);
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        // Lambda sends as base64 what it cannot send as text.
        let (body, is_base64) = match std::str::from_utf8(&self.body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (BASE64.encode(&self.body), true),
        };
        let now = Clock::System.now();
        serde_json::json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "local",
                "domainName": "local.lambda-url.us-east-1.on.aws",
                "domainPrefix": "local",
                "http": {
                    "method": self.method,
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": "gatehouse",
                },
                "requestId": "local",
                "routeKey": "$default",
                "stage": "$default",
                "time": now.to_string(),
                "timeEpoch": now.as_millis(),
            },
            "body": body,
            "isBase64Encoded": is_base64,
        })
    }

    /// Sends it to the functions at `base`.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn send(&self, base: &str) -> Result<Answer, Error> {
        let started = Instant::now();
        let uri = format!("{base}/lambda-url/{}/{}", self.function, self.path);
        let mut request = Request::builder().method(self.method.as_str()).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request.body(Full::new(self.body.clone()))?).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            took: started.elapsed(),
        })
    }
}

impl Answer {
    /// A header's value, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// `Gatehouse-Outcome`.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.header("gatehouse-outcome")
    }

    /// `Gatehouse-Event-Id`.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.header("gatehouse-event-id")
    }
}

/// About `length` bytes that hardly compress, and stand in a JSON string as they are; others for another `seed`.
#[must_use]
pub fn noise(seed: u64, length: usize) -> String {
    // xorshift64
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33).to_le_bytes()[0]
    };
    // Printable ASCII without the quote and the backslash.
    (0..length).map(|_| char::from(b' ' + byte() % 95)).map(|c| if matches!(c, '"' | '\\') { 'x' } else { c }).collect()
}

/// A value of the development document, by JSON pointer.
#[must_use]
pub fn secret(pointer: &str) -> String {
    let document: Value = serde_json::from_str(DEVELOPMENT).unwrap_or_default();
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
