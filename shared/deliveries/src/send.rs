//! Attempts: sends a message to a destination, and reads the response within limits.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::MessageAttributeValue;
use bytes::Bytes;
use gatehouse_egress::{Body, NetworkScope, RequestError, ScopedClient};
use gatehouse_inbox::queue::{escape_refused, is_refused};
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::aws::{CallLimits, error_code};
use gatehouse_services::Fault;
use gatehouse_services::client::retry_after;
use gatehouse_services::lambda::{Invocation, invocation};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout_at};

use crate::destination::{Destination, Target};
use crate::lane::Lane;
use crate::message::Message;
use crate::request::{Attempt, headers};
use crate::table::MAX_RESPONSE_BYTES;

/// Time limit of one attempt.
pub const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);
/// Time limit for reading the body of a response that reports a failure.
const BODY_LIMIT: Duration = Duration::from_secs(2);
/// How long after [`ATTEMPT_LIMIT`] an attempt is aborted in any case.
const SPARE: Duration = Duration::from_millis(100);
/// The largest message of a queue, with its attributes, in bytes.
const QUEUE_MAX_BYTES: usize = 1024 * 1024;
/// Bytes that a message leaves free for its attributes.
const ATTRIBUTE_BYTES: usize = 4096;
/// The status with which Lambda refuses an event that is too large.
const TOO_LARGE: u16 = 413;
/// Time limit for connecting.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends messages to destinations.
#[derive(Debug, Clone)]
pub struct Sender {
    http: ScopedClient,
    sqs: aws_sdk_sqs::Client,
    /// The client of the local stack's queues, and its endpoint.
    local: Option<(aws_sdk_sqs::Client, String)>,
    /// The region and the credentials for Lambda functions.
    sdk: SdkConfig,
    allows_loopback: bool,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A few words without content.
    pub reason: String,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// The first bytes of the response's body.
    pub response: Option<String>,
    /// The pause that the receiver asks for.
    pub retry_after: Option<Duration>,
    /// Whether the receiver wants no further messages (status 410).
    pub is_gone: bool,
    /// Whether every further attempt would fail too.
    pub is_permanent: bool,
}

impl Failure {
    /// Creates a failure without a response.
    pub(crate) fn because(reason: impl Into<String>) -> Failure {
        Failure {
            reason: reason.into(),
            status: None,
            response: None,
            retry_after: None,
            is_gone: false,
            is_permanent: false,
        }
    }

    /// Creates a failure that every further attempt would repeat.
    fn permanent(reason: impl Into<String>) -> Failure {
        Failure { is_permanent: true, ..Failure::because(reason) }
    }
}

impl Sender {
    /// Creates a sender. `allows_loopback` permits destinations on this machine, for development.
    #[must_use]
    pub fn new(http: ScopedClient, sdk: SdkConfig, allows_loopback: bool) -> Self {
        Sender { http, sqs: queue_client(&sdk), local: None, sdk, allows_loopback }
    }

    /// Sends to the queues of the local stack, which `sdk` reaches, with `sdk`.
    #[must_use]
    pub fn with_local_queues(self, sdk: &SdkConfig) -> Self {
        let local = sdk.endpoint_url().map(|url| (queue_client(sdk), url.to_owned()));
        Sender { local, ..self }
    }

    /// Sends a message once. Returns the status of the response; 200 for a queue.
    ///
    /// # Errors
    /// If the destination did not accept the message. It may have received it nevertheless.
    pub async fn send(
        &self,
        destination: &Destination,
        message: &Message,
        lane: &Lane,
        attempt: Attempt<'_>,
    ) -> Result<u16, Failure> {
        let until = Instant::now() + ATTEMPT_LIMIT;
        let sending = async {
            match &destination.target {
                Target::Url { url, is_private } => {
                    if destination.target.is_loopback() && !self.allows_loopback {
                        return Err(Failure::because(
                            "the URL is a loopback address, which only gatehouse dev can reach",
                        ));
                    }
                    let request = url_request(url, destination, message, attempt)?;
                    self.exchange(request, *is_private, attempt.at, until).await
                }
                Target::Function { name } => {
                    let body = message.body.clone();
                    let request = invocation(&self.sdk, name, Invocation::Asynchronous, body, attempt.at).await;
                    let request = request.map_err(|fault| Failure::because(words(&fault)))?;
                    // In a VPC, Lambda may be reached through a private endpoint.
                    let sent = self.exchange(request, true, attempt.at, until).await;
                    sent.map_err(|failure| match failure.status {
                        Some(TOO_LARGE) => too_large(message.body.len(), "function"),
                        _ => failure,
                    })
                }
                Target::Queue { url } => self.send_to_queue(url, destination, message, lane, attempt).await,
            }
        };
        // `until` also ends the reading of a response's body, so that its status is returned if the body never ends.
        timeout_at(until + SPARE, sending).await.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        is_private: bool,
        now: Timestamp,
        until: Instant,
    ) -> Result<u16, Failure> {
        let response = timeout_at(until, self.http.send(&request, is_private)).await.map_err(|_| late())?;
        let response = response.map_err(|error| {
            Failure::because(match error {
                RequestError::Connect | RequestError::Unsent => "the server cannot be reached",
                RequestError::Broken => "the server closed the connection without a response",
            })
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(status.as_u16());
        }
        Err(Failure {
            reason: format!("status {}", status.as_u16()),
            status: Some(status.as_u16()),
            retry_after: retry_after(response.headers(), now),
            is_gone: status == StatusCode::GONE,
            is_permanent: false,
            response: first_bytes(response, until.min(Instant::now() + BODY_LIMIT)).await,
        })
    }

    async fn send_to_queue(
        &self,
        url: &str,
        destination: &Destination,
        message: &Message,
        lane: &Lane,
        attempt: Attempt<'_>,
    ) -> Result<u16, Failure> {
        let body = queue_body(&message.body)?;
        // The signature is that of the escaped body.
        let message = &Message { body: Bytes::from(body.clone()), ..message.clone() };
        // No queue of AWS has a loopback address.
        let is_loopback = url.parse().is_ok_and(|url| NetworkScope::is_loopback(&url));
        let local = self.local.as_ref().filter(|(_, endpoint)| is_loopback || url.starts_with(endpoint));
        let client = local.map_or(&self.sqs, |(client, _)| client);
        let mut send = client.send_message().queue_url(url).message_body(body);
        for (name, value) in headers(message, &destination.signing_keys, attempt) {
            let attribute = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            send = send.message_attributes(name, attribute.map_err(|error| Failure::because(error.to_string()))?);
        }
        if destination.target.is_fifo() {
            // A group and an id of a message can have 128 characters.
            let group = lane.to_string().split_once('/').map(|(_, hash)| hash.to_owned()).unwrap_or_default();
            send = send.message_group_id(group).message_deduplication_id(&message.id);
        }
        match send.send().await {
            Ok(_) => Ok(200),
            Err(error) => {
                let code = error_code(&error);
                // A queue may accept less than SQS does. Only the text tells this from other invalid parameters.
                let is_too_large = error.message().is_some_and(|text| text.contains("must be shorter than"));
                Err(match code {
                    _ if is_too_large => too_large(message.body.len(), "queue"),
                    _ if code.contains("InvalidMessageContents") => Failure::permanent(format!("SQS: {code}")),
                    _ => Failure::because(format!("SQS SendMessage: {code}")),
                })
            }
        }
    }
}

/// Returns the body of a message on a queue: SQS refuses some characters, which JSON can represent by others.
fn queue_body(body: &[u8]) -> Result<String, Failure> {
    let text = str::from_utf8(body).map_err(|_| Failure::permanent("the body is not UTF-8"))?;
    if text.contains(is_refused) && serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Err(Failure::permanent("the body is not JSON and has a character that SQS refuses"));
    }
    let body = escape_refused(text);
    if body.len() > QUEUE_MAX_BYTES - ATTRIBUTE_BYTES {
        return Err(too_large(body.len(), "queue"));
    }
    Ok(body.into_owned())
}

fn too_large(bytes: usize, target: &str) -> Failure {
    Failure::permanent(format!("{bytes} bytes are too large for the {target}; set max_bytes"))
}

fn late() -> Failure {
    Failure::because(format!("no response within {} s", ATTEMPT_LIMIT.as_secs()))
}

fn queue_client(sdk: &SdkConfig) -> aws_sdk_sqs::Client {
    let limits = CallLimits::within(ATTEMPT_LIMIT);
    let config =
        aws_sdk_sqs::config::Builder::from(sdk).timeout_config(limits.timeouts()).retry_config(limits.retries());
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// Describes a fault in a few words.
fn words(fault: &Fault) -> String {
    format!("the function {fault}")
}

fn url_request(
    url: &http::Uri,
    destination: &Destination,
    message: &Message,
    attempt: Attempt<'_>,
) -> Result<Request<Bytes>, Failure> {
    let mut request = Request::post(url.clone());
    for (name, value) in headers(message, &destination.signing_keys, attempt) {
        request = request.header(name, value);
    }
    let invalid = |_| Failure::because("a header of the request is not valid");
    let mut request = request.body(message.body.clone()).map_err(invalid)?;
    // A configured header replaces one of the defaults, such as `user-agent`.
    request.headers_mut().extend(destination.headers.iter().cloned().collect::<HeaderMap<HeaderValue>>());
    Ok(request)
}

/// Reads the first [`MAX_RESPONSE_BYTES`] of a response's body, as text. Ends at `until`.
async fn first_bytes(response: Response<Body>, until: Instant) -> Option<String> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while read.len() < MAX_RESPONSE_BYTES {
        let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await else { break };
        if let Ok(data) = frame.into_data() {
            let free = MAX_RESPONSE_BYTES - read.len();
            read.extend_from_slice(data.get(..free.min(data.len())).unwrap_or_default());
        }
    }
    // A character may be cut at the end.
    let end = match str::from_utf8(&read) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => read.len(),
    };
    read.truncate(end);
    Some(String::from_utf8_lossy(&read).into_owned()).filter(|text| !text.is_empty())
}
