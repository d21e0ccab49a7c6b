//! Builds and sends signed deliveries like those of the vendors.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use gatehouse_vendor::{Parts, Source};
use gatehouse_vendors::{Secrets, development};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::Instant;

use crate::Error;
use crate::random::Random;

/// A request to one of the functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The function's name.
    pub function: String,
    /// The path after the function's URL.
    pub path: String,
    /// `POST`, except in tests of rejected methods.
    pub method: String,
    /// The headers, including signatures.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// The response to a delivery.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
    /// Time from sending the request to the last byte of the response.
    pub took: Duration,
}

/// Returns the URL at which the stack at `base` receives a source's deliveries.
#[must_use]
pub fn dev_url(base: &str, source: &dyn Source) -> String {
    url(base, source.profile().function, path_of(source))
}

/// Returns the path behind a function's URL, without its leading slash.
fn path_of(source: &dyn Source) -> &'static str {
    source.profile().paths.first().copied().unwrap_or_default().trim_start_matches('/')
}

fn url(base: &str, function: &str, path: &str) -> String {
    format!("{base}/lambda-url/{function}/{path}")
}

/// The secrets document has nothing to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secrets document holds no usable secret for {0}")]
pub struct NoSecret(&'static str);

impl Delivery {
    /// Returns a delivery that is signed at `at` with the source's first secret. `message_id` is used if the scheme has
    /// message ids.
    ///
    /// # Errors
    /// If there is no secret to sign with.
    pub fn signed(
        source: &dyn Source,
        secrets: &Secrets,
        message_id: &str,
        body: impl Into<Bytes>,
        at: Timestamp,
    ) -> Result<Self, NoSecret> {
        let body = body.into();
        let parts = Parts { method: &Method::POST, headers: &HeaderMap::new(), body: &body };
        let signature = secrets.of(source).and_then(|credentials| credentials.sign(parts, message_id, at));
        let signature = signature.ok_or(NoSecret(source.profile().vendor))?;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(signature);
        let (function, path) = (source.profile().function.to_owned(), path_of(source).to_owned());
        Ok(Delivery { function, path, method: "POST".to_owned(), headers, body })
    }

    /// Returns a delivery that is signed at `at` with the development secrets.
    ///
    /// # Panics
    /// If the source has no development secret.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test checks that every vendor's development part has a secret")]
    pub fn of(source: &dyn Source, message_id: &str, body: impl Into<Bytes>, at: Timestamp) -> Self {
        static SECRETS: LazyLock<Secrets> =
            LazyLock::new(|| Secrets::parse(development(), true).expect("the development document is JSON"));
        Self::signed(source, &SECRETS, message_id, body, at).expect("the development document has every secret")
    }

    /// Returns a delivery that is signed at the current time with the development secrets, for a scheme without message
    /// ids.
    #[must_use]
    pub fn now(source: &dyn Source, body: impl Into<Bytes>) -> Self {
        Self::of(source, "", body, Clock::System.now())
    }

    /// Sets a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|header| header.0 != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a header.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|header| header.0 != name);
        self
    }

    /// Replaces the body without signing it again.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Delivery { body: body.into(), ..self }
    }

    /// Converts the delivery to the event that a function URL passes to Lambda (payload format 2.0).
    #[must_use]
    pub fn to_lambda_event(&self) -> Value {
        let path = format!("/{}", self.path);
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        // Lambda encodes a body that is not UTF-8 as base64.
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
                "time": common_log_time(now),
                "timeEpoch": now.as_millis(),
            },
            "body": body,
            "isBase64Encoded": is_base64,
        })
    }

    /// Sends the delivery to the local stack at `base` over a new connection.
    ///
    /// # Errors
    /// If there is no complete response.
    pub async fn send(&self, base: &str) -> Result<Answer, Error> {
        let url = url(base, &self.function, &self.path);
        Client::new(&url)?.send(self).await
    }
}

/// Parses an `http` or `https` URL.
///
/// # Errors
/// If the text is not such a URL.
pub fn url_of(text: &str) -> Result<Uri, Error> {
    let url = text.parse::<Uri>().ok().filter(|url| url.host().is_some());
    let url = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
    Ok(url.ok_or_else(|| format!("{text} is not a URL that begins with http:// or https://"))?)
}

/// Whether an error of a [`Client`] means that no connection could be made.
#[must_use]
pub fn is_connect_error(error: &Error) -> bool {
    error.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// A client that posts deliveries to one URL and reuses its connections.
#[derive(Debug, Clone)]
pub struct Client {
    url: Uri,
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// Creates a client for an `http` or `https` URL.
    ///
    /// # Errors
    /// If the URL is invalid, or `https` is used and the machine has no root certificates.
    pub fn new(url: &str) -> Result<Self, Error> {
        let url = url_of(url)?;
        let tls = HttpsConnectorBuilder::new();
        let provider = rustls::crypto::ring::default_provider();
        let connector = if url.scheme_str() == Some("https") {
            tls.with_provider_and_native_roots(provider)?
        } else {
            // Plain HTTP needs no root certificates, and loading the machine's is slow.
            tls.with_tls_config(
                rustls::ClientConfig::builder_with_provider(Arc::new(provider))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_no_client_auth(),
            )
        };
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Client { url, http: HttpClient::builder(TokioExecutor::new()).build(connector) })
    }

    /// Posts a delivery and returns the response as soon as its head has arrived.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn open(&self, delivery: &Delivery) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(delivery.method.as_str()).uri(self.url.clone());
        for (name, value) in &delivery.headers {
            request = request.header(name, value);
        }
        Ok(self.http.request(request.body(Full::new(delivery.body.clone()))?).await?)
    }

    /// Posts a delivery and returns the complete response.
    ///
    /// # Errors
    /// If there is no complete response.
    pub async fn send(&self, delivery: &Delivery) -> Result<Answer, Error> {
        let started = Instant::now();
        let (parts, body) = self.open(delivery).await?.into_parts();
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
    /// Returns a header's value; empty if the header is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the header `Gatehouse-Outcome`.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.header("gatehouse-outcome")
    }

    /// Returns the header `Gatehouse-Event-Id`.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.header("gatehouse-event-id")
    }
}

/// Formats a time like Lambda: `21/Nov/2026:04:25:02 +0000`.
fn common_log_time(at: Timestamp) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = at.to_string();
    let month = iso.get(5..7).and_then(|month| month.parse::<usize>().ok()).and_then(|n| MONTHS.get(n - 1));
    let part = |range| iso.get(range).unwrap_or_default();
    format!("{}/{}/{}:{} +0000", part(8..10), month.unwrap_or(&""), part(0..4), part(11..19))
}

/// Returns `length` bytes, pseudorandom by `seed`, that hardly compress and need no escaping in a JSON string.
#[must_use]
pub fn noise(seed: u64, length: usize) -> String {
    let mut random = Random::new(seed);
    let mut byte = || random.next().to_le_bytes()[0];
    // Printable ASCII without quote and backslash, and without the colon, which could form a URL with a password.
    (0..length)
        .map(|_| char::from(b' ' + byte() % 95))
        .map(|c| if matches!(c, '"' | '\\' | ':') { 'x' } else { c })
        .collect()
}

/// Returns a value of the development document by its JSON pointer.
#[must_use]
pub fn secret(pointer: &str) -> String {
    secret_of(development(), pointer)
}

/// Returns a value of a secrets document by its JSON pointer; empty if there is none.
#[must_use]
pub fn secret_of(document: &str, pointer: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
