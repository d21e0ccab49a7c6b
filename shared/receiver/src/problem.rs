//! Error responses, as problem documents (RFC 9457).
//!
//! Each problem names the rule that the request broke, where, and how to correct it. None quotes the request.

use std::borrow::Cow;

use gatehouse_payload::Outcome;
use http::{HeaderValue, Response, StatusCode, header};

use gatehouse_vendor::Rejection;

use crate::RequestId;

/// Why a request was rejected. Senders act on the status: Svix retries every delivery without a 2xx, Vapi every one
/// that its `backoffPlan` does not exclude.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// 404: the path is not one of the endpoint's.
    NotFound {
        /// The endpoint's paths.
        paths: &'static [&'static str],
    },
    /// 405: the method is not POST.
    MethodNotAllowed,
    /// 413: the body is larger than the limit.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// 415: the content type is not JSON.
    UnsupportedMediaType,
    /// 401: the delivery is not verified. Only the log shows why.
    Unverified(Rejection),
    /// 401: no client has this token. Only the log shows why.
    NoClient(&'static str),
    /// 403: the client may not call this agent.
    Forbidden,
    /// 404: no agent has this id.
    NoAgent,
    /// 422: the request is not valid in the agent's dialect. Names the member and the rule.
    WrongRequest(String),
    /// 400: the `Idempotency-Key` is invalid.
    WrongKey,
    /// 409: the first request with this `Idempotency-Key` is still being processed.
    KeyInUse,
    /// 422: the `Idempotency-Key` belongs to another request.
    KeyReused,
    /// 409: the first request with this `Idempotency-Key` was answered, but its answer is not stored completely.
    NotReplayable,
    /// 503: the state of the `Idempotency-Key` is unavailable.
    KeyUnknown,
    /// 429: the client has reached this limit. The number is the delay before a retry, in seconds.
    TooMany(&'static str, u64),
    /// The agent rejected the request with this status, from 400 to 499, and this `Retry-After`.
    AgentRefused(StatusCode, Option<HeaderValue>),
    /// 502: the agent's response is invalid, or there is none. Contains the cause, without the agent's text.
    BadAgent(Cow<'static, str>),
    /// 504: the agent did not respond in time.
    SlowAgent(&'static str),
    /// 400: the delivery is verified, but its body is not a JSON object.
    NotAnObject(String),
    /// 501: this release does not support the message. Says what to do.
    Unsupported(&'static str),
    /// 503: the vendor has no usable secret, or a newer secret may exist and cannot be loaded.
    NoSecrets(&'static str),
    /// 503: neither DynamoDB nor SQS accepted the event. Only the log shows what failed.
    NotDurable,
}

/// Delay before a retry after most of the 503 and 409 responses, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The fixed properties of a problem.
struct Kind {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
}

impl Kind {
    const fn new(status: StatusCode, slug: &'static str, title: &'static str) -> Self {
        Kind { status, slug, title }
    }
}

impl Problem {
    const fn kind(&self) -> Kind {
        match self {
            Problem::NotFound { .. } => {
                Kind::new(StatusCode::NOT_FOUND, "not-found", "There is no endpoint at this path")
            }
            Problem::MethodNotAllowed => {
                Kind::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The endpoint only accepts POST")
            }
            Problem::TooLarge { .. } => Kind::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Problem::UnsupportedMediaType => {
                Kind::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON")
            }
            Problem::Unverified(_) => {
                Kind::new(StatusCode::UNAUTHORIZED, "unverified", "The delivery could not be verified")
            }
            Problem::NoClient(_) => Kind::new(StatusCode::UNAUTHORIZED, "no-client", "The client is unknown"),
            Problem::Forbidden => Kind::new(StatusCode::FORBIDDEN, "forbidden", "The client may not call this agent"),
            Problem::NoAgent => Kind::new(StatusCode::NOT_FOUND, "no-agent", "There is no such agent"),
            Problem::WrongRequest(_) => Kind::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-request",
                "The request is not valid in the agent's dialect",
            ),
            Problem::WrongKey => Kind::new(StatusCode::BAD_REQUEST, "wrong-key", "The Idempotency-Key is invalid"),
            Problem::KeyInUse => Kind::new(StatusCode::CONFLICT, "key-in-use", "The request is still being processed"),
            Problem::KeyReused => Kind::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "The Idempotency-Key belongs to another request",
            ),
            Problem::NotReplayable => {
                Kind::new(StatusCode::CONFLICT, "not-replayable", "The answer cannot be sent again")
            }
            Problem::KeyUnknown => Kind::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "key-unknown",
                "The state of the Idempotency-Key is unavailable",
            ),
            Problem::TooMany(..) => {
                Kind::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "The client has reached its limit of turns")
            }
            Problem::AgentRefused(status, _) => Kind::new(*status, "agent-refused", "The agent rejected the request"),
            Problem::BadAgent(_) => Kind::new(StatusCode::BAD_GATEWAY, "bad-agent", "The agent did not answer"),
            Problem::SlowAgent(_) => {
                Kind::new(StatusCode::GATEWAY_TIMEOUT, "slow-agent", "The agent did not answer in time")
            }
            Problem::NotAnObject(_) => {
                Kind::new(StatusCode::BAD_REQUEST, "not-an-object", "The body is not a JSON object")
            }
            Problem::Unsupported(_) => {
                Kind::new(StatusCode::NOT_IMPLEMENTED, "unsupported", "Messages of this type are not supported")
            }
            Problem::NoSecrets(_) => Kind::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-secrets",
                "The delivery cannot be verified at the moment",
            ),
            Problem::NotDurable => {
                Kind::new(StatusCode::SERVICE_UNAVAILABLE, "not-durable", "The event could not be stored")
            }
        }
    }

    /// Returns the HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// Returns the outcome of a request that is rejected with this problem.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.status().is_server_error() { Outcome::Unavailable } else { Outcome::Refused }
    }

    /// Returns the last part of the problem's type, `urn:gatehouse:problem:<slug>`.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        self.kind().slug
    }

    /// Describes what is wrong, where, and how to correct it. Safe to show to the sender.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Problem::NotFound { paths } => format!("send the request to {}", paths.join(" or ")),
            Problem::MethodNotAllowed => "send the request with POST".to_owned(),
            Problem::TooLarge { limit } => format!("at most {limit} bytes are accepted"),
            Problem::UnsupportedMediaType => "send Content-Type: application/json".to_owned(),
            Problem::NotAnObject(detail) | Problem::WrongRequest(detail) => detail.clone(),
            Problem::Unverified(_) => {
                "no configured secret verifies the request as received; the function's log says why".to_owned()
            }
            Problem::NoClient(_) => "send Authorization: Bearer with the token of a configured client".to_owned(),
            Problem::WrongKey => "send one Idempotency-Key, of up to 200 visible ASCII characters".to_owned(),
            Problem::KeyInUse => {
                "send the same request again later; once the answer is complete, the response contains it".to_owned()
            }
            Problem::KeyReused => "send another key, or the request with which the key was first sent".to_owned(),
            Problem::NotReplayable => {
                "the turn has ended, but its answer was too large to be stored completely, or was erased".to_owned()
            }
            Problem::KeyUnknown => "the agent did not receive the request; send the same request again".to_owned(),
            Problem::TooMany(which, _) => (*which).to_owned(),
            Problem::Forbidden => "the client's list of agents does not name this one".to_owned(),
            Problem::NoAgent => "no agent of this id is configured".to_owned(),
            Problem::AgentRefused(status, _) => {
                format!("the agent responded with status {}; its response is not shown", status.as_u16())
            }
            Problem::BadAgent(detail) => detail.to_string(),
            Problem::SlowAgent(detail) => (*detail).to_owned(),
            Problem::Unsupported(detail) | Problem::NoSecrets(detail) => (*detail).to_owned(),
            Problem::NotDurable => "nothing was acknowledged; send the same delivery again".to_owned(),
        }
    }

    /// Returns the detail for the log, which says more. Contains no value of the request.
    #[must_use]
    pub fn log_detail(&self) -> String {
        if let Problem::Unverified(unverified) = self { unverified.detail.clone() } else { self.detail() }
    }

    /// Returns why the sender is not verified or not a client, in a word or two. Only for the log.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        match self {
            Problem::NoClient(why) => Some(why),
            Problem::Unverified(unverified) => Some(unverified.reason.as_str()),
            Problem::NoSecrets(_) => Some("no-secret-configured"),
            _ => None,
        }
    }

    /// Returns the response to the request with this id.
    #[must_use]
    pub fn to_response(&self, request_id: Option<&RequestId>) -> Response<String> {
        let Kind { status, slug, title } = self.kind();
        let mut body = serde_json::json!({
            "type": format!("urn:gatehouse:problem:{slug}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail(),
        });
        if let Some(id) = request_id {
            body["request_id"] = id.as_str().into();
        }
        let mut response = Response::new(body.to_string());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let header = match self {
            Problem::MethodNotAllowed => Some((header::ALLOW, HeaderValue::from_static("POST"))),
            // RFC 9110 requires a challenge with every 401. The vendors' schemes have no registered name.
            Problem::Unverified(_) => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature"))),
            Problem::NoClient(_) => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Problem::AgentRefused(_, retry_after) => retry_after.clone().map(|value| (header::RETRY_AFTER, value)),
            Problem::TooMany(_, seconds) => Some((header::RETRY_AFTER, HeaderValue::from(*seconds))),
            Problem::NoSecrets(_) | Problem::NotDurable | Problem::KeyInUse | Problem::KeyUnknown => {
                Some((header::RETRY_AFTER, RETRY_AFTER))
            }
            _ => None,
        };
        if let Some((name, value)) = header {
            headers.insert(name, value);
        }
        response
    }
}
