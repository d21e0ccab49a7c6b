//! Sends questions to services, and reads their responses within limits.

use std::time::Duration;

use aws_config::SdkConfig;
use bytes::Bytes;
use gatehouse_egress::{Body, RequestError, ScopedClient, Tls};
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::breaker::Breakers;
use crate::fault::Fault;
use crate::lambda::{self, Invocation};
use crate::question::Question;
use crate::service::{Payload, Service, Services, Target};

/// The largest answer, in bytes. It is stored in the event's record.
pub const ANSWER_LIMIT: usize = 64 * 1024;
/// The largest response of Lambda, in bytes. An answer may be base64 in a JSON string.
const INVOCATION_LIMIT: usize = 2 * ANSWER_LIMIT;
/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks services.
#[derive(Debug)]
pub struct Client {
    http: ScopedClient,
    /// The region and the credentials for Lambda functions.
    sdk: SdkConfig,
    clock: Clock,
    allows_loopback: bool,
    breakers: Breakers,
}

impl Client {
    /// Creates a client with the machine's root certificates. `allows_loopback` permits services on this machine, for
    /// development.
    ///
    /// # Errors
    /// If the machine has no root certificates.
    pub fn new(sdk: SdkConfig, clock: Clock, allows_loopback: bool) -> std::io::Result<Self> {
        let http = ScopedClient::new(&Tls::native()?, CONNECT_TIMEOUT);
        Ok(Self::with_http(http, sdk, clock, allows_loopback))
    }

    /// Creates a client that sends its requests with `http`.
    #[must_use]
    pub fn with_http(http: ScopedClient, sdk: SdkConfig, clock: Clock, allows_loopback: bool) -> Self {
        Client { http, sdk, clock, allows_loopback, breakers: Breakers::default() }
    }

    /// Asks the service `name`. Returns its answer, which is a JSON object; `None` if the service has no answer: status
    /// 204, an empty body or `{}`.
    ///
    /// # Errors
    /// If the service did not answer before `question.until`, or the answer is not usable.
    pub async fn ask(&self, services: &Services, name: &str, question: &Question) -> Result<Option<Bytes>, Fault> {
        let service = services.get(name).ok_or(Fault::Undefined)?;
        if service.is_loopback() && !self.allows_loopback {
            return Err(Fault::Loopback);
        }
        // The caller had no time left, which is no failure of the service.
        if Instant::now() >= question.until {
            return Err(Fault::Timeout);
        }
        if !self.breakers.admits(name, Instant::now()) {
            return Err(Fault::Breaker);
        }
        let mut retry_after = None;
        let exchange = self.exchange(service, question, &mut retry_after);
        let result = timeout_at(question.until, exchange).await.unwrap_or(Err(Fault::Timeout));
        match &result {
            Err(fault) if fault.is_failure() => self.breakers.failed(name, retry_after, Instant::now()),
            _ => self.breakers.succeeded(name),
        }
        result
    }

    /// Sends the question and reads the answer. Sets `retry_after` if the service asks for a pause.
    async fn exchange(
        &self,
        service: &Service,
        question: &Question,
        retry_after: &mut Option<Duration>,
    ) -> Result<Option<Bytes>, Fault> {
        let now = self.clock.now();
        let (request, is_private) = match &service.target {
            Target::Url { url, is_private } => (url_request(url, service, question, now)?, *is_private),
            Target::Lambda { function, payload } => {
                let payload = match payload {
                    Payload::Message => lambda::message(question),
                    Payload::Http => lambda::http_event(service, question, now),
                };
                // In a VPC, Lambda may be reached through a private endpoint.
                (lambda::invocation(&self.sdk, function, Invocation::Synchronous, payload, now).await?, true)
            }
        };
        let response = self.http.send(&request, is_private).await.map_err(|error| match error {
            RequestError::Connect | RequestError::Unsent => Fault::Connect,
            RequestError::Broken => Fault::Broken,
        })?;
        let status = response.status();
        *retry_after = self::retry_after(response.headers(), now);
        if !status.is_success() {
            return Err(Fault::Status(status.as_u16()));
        }
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let Target::Lambda { payload, .. } = &service.target else {
            return answer(read(response, ANSWER_LIMIT).await?);
        };
        let headers = response.headers().clone();
        let (status, body) = lambda::answer(*payload, &headers, read(response, INVOCATION_LIMIT).await?)?;
        match status {
            204 => Ok(None),
            200..=299 => answer(body),
            _ => Err(Fault::Status(status)),
        }
    }
}

/// Builds the request for a server.
fn url_request(
    url: &http::Uri,
    service: &Service,
    question: &Question,
    now: Timestamp,
) -> Result<Request<Bytes>, Fault> {
    let mut request = Request::post(url.clone()).header(header::ACCEPT, "application/json");
    for (name, value) in question.headers(&service.signing_keys, now) {
        request = request.header(name, value);
    }
    let mut request = request
        .body(question.body.clone())
        .map_err(|_| Fault::Request("a header of the request is not valid".to_owned()))?;
    let headers = request.headers_mut();
    // A configured header replaces one of the defaults, such as `user-agent`.
    headers.extend(service.headers.iter().cloned().collect::<HeaderMap<HeaderValue>>());
    Ok(request)
}

/// Reads a body of at most `limit` bytes.
async fn read(response: Response<Body>, limit: usize) -> Result<Bytes, Fault> {
    let body = Limited::new(response.into_body(), limit).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Fault::Unusable(format!("more than {} KiB", ANSWER_LIMIT / 1024)),
        None => Fault::Broken,
    })
}

/// Checks that a body is a JSON object. `None` if it is empty.
fn answer(body: Bytes) -> Result<Option<Bytes>, Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let unusable = |reason: &str| Fault::Unusable(reason.to_owned());
    if body.len() > ANSWER_LIMIT {
        return Err(Fault::Unusable(format!("more than {} KiB", ANSWER_LIMIT / 1024)));
    }
    let object: &RawValue = serde_json::from_slice(&body).map_err(|_| unusable("not a JSON object"))?;
    let Some(rest) = object.get().strip_prefix('{') else { return Err(unusable("not a JSON object")) };
    let is_empty = rest.trim_start().starts_with('}');
    Ok((!is_empty).then_some(body))
}

/// Returns the pause that `Retry-After` asks for, in seconds or as a date.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    const RETRY_AFTER: HeaderName = header::RETRY_AFTER;
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    at.checked_sub(Duration::from_secs(u64::try_from(now.as_secs()).ok()?))
}
