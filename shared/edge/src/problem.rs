//! Refusals, as problem documents (RFC 9457).
//!
//! Each names one rule, where it was broken and what would be right. None carries a value from the request.

use std::borrow::Cow;

use gatehouse_inbox::Outcome;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{RequestId, Unverified};

/// Why a delivery was not taken. The statuses are the ones senders act on: Svix retries all but 2xx, Vapi what its
/// `backoffPlan` does not exclude.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// 404: another path than the endpoint's.
    NotFound {
        /// The endpoint's paths.
        paths: &'static [&'static str],
    },
    /// 405: another method than POST.
    MethodNotAllowed,
    /// 413: the body is larger than a function URL takes.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// 415: the content type says that the body is no JSON.
    UnsupportedMediaType,
    /// 401: not verified. Why goes to the log alone.
    Unverified(Unverified),
    /// 401: no client has this token. Why goes to the log alone.
    NoClient(&'static str),
    /// 403: the client may not call this agent.
    Forbidden,
    /// 404: there is no such agent.
    NoAgent,
    /// 422: no request of the agent's dialect; names member and rule.
    WrongRequest(String),
    /// 400: an `Idempotency-Key` that is none.
    WrongKey,
    /// 409: the request this `Idempotency-Key` stands for is being answered.
    KeyInUse,
    /// 422: this `Idempotency-Key` stands for another request.
    KeyReused,
    /// 409: the request this `Idempotency-Key` stands for was answered, with too much to be said again.
    NotReplayable,
    /// 503: whether this `Idempotency-Key` is in use cannot be looked up.
    KeyUnknown,
    /// 429: the client's limit is reached: which, and in how many seconds it is not.
    TooMany(&'static str, u64),
    /// The agent's own refusal: a status from 400 to 499, and when to try again.
    AgentRefused(StatusCode, Option<HeaderValue>),
    /// 502: the agent does not answer as agents do. Holds the cause, without the agent's text.
    BadAgent(Cow<'static, str>),
    /// 504: the agent does not answer in time.
    SlowAgent(&'static str),
    /// 400: verified, but no JSON object.
    NotAnObject(String),
    /// 501: what it asks for is something this release does not do; says what would be right.
    Unsupported(&'static str),
    /// 503: no usable secret for the vendor, or a rotation may be under way.
    NoSecrets(&'static str),
    /// 503: neither DynamoDB nor SQS took it. What failed goes to the log alone.
    NotDurable,
}

/// When a 503, or a 409, is worth another try. In seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl Problem {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Problem::NotFound { .. } => StatusCode::NOT_FOUND,
            Problem::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Problem::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::Unverified(_) | Problem::NoClient(_) => StatusCode::UNAUTHORIZED,
            Problem::Forbidden => StatusCode::FORBIDDEN,
            Problem::NoAgent => StatusCode::NOT_FOUND,
            Problem::WrongRequest(_) | Problem::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Problem::KeyInUse | Problem::NotReplayable => StatusCode::CONFLICT,
            Problem::TooMany(..) => StatusCode::TOO_MANY_REQUESTS,
            Problem::AgentRefused(status, _) => *status,
            Problem::BadAgent(_) => StatusCode::BAD_GATEWAY,
            Problem::SlowAgent(_) => StatusCode::GATEWAY_TIMEOUT,
            Problem::NotAnObject(_) | Problem::WrongKey => StatusCode::BAD_REQUEST,
            Problem::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Problem::NoSecrets(_) | Problem::NotDurable | Problem::KeyUnknown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The outcome of a request that is answered with this problem.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.status().is_server_error() { Outcome::Unavailable } else { Outcome::Refused }
    }

    /// The last part of the problem's type, `urn:gatehouse:problem:<slug>`.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Problem::NotFound { .. } => "not-found",
            Problem::MethodNotAllowed => "method-not-allowed",
            Problem::TooLarge { .. } => "too-large",
            Problem::UnsupportedMediaType => "unsupported-media-type",
            Problem::Unverified(_) => "unverified",
            Problem::NoClient(_) => "no-client",
            Problem::Forbidden => "forbidden",
            Problem::NoAgent => "no-agent",
            Problem::WrongRequest(_) => "wrong-request",
            Problem::WrongKey => "wrong-key",
            Problem::KeyInUse => "key-in-use",
            Problem::KeyReused => "key-reused",
            Problem::NotReplayable => "not-replayable",
            Problem::KeyUnknown => "key-unknown",
            Problem::TooMany(..) => "too-many",
            Problem::AgentRefused(..) => "agent-refused",
            Problem::BadAgent(_) => "bad-agent",
            Problem::SlowAgent(_) => "slow-agent",
            Problem::NotAnObject(_) => "not-an-object",
            Problem::Unsupported(_) => "unsupported",
            Problem::NoSecrets(_) => "no-secrets",
            Problem::NotDurable => "not-durable",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Problem::NotFound { .. } => "There is no endpoint at this path",
            Problem::MethodNotAllowed => "The endpoint takes POST only",
            Problem::TooLarge { .. } => "The body is too large",
            Problem::UnsupportedMediaType => "The body must be JSON",
            Problem::Unverified(_) => "The delivery could not be verified",
            Problem::NoClient(_) => "The client is not known",
            Problem::Forbidden => "The client may not call this agent",
            Problem::NoAgent => "There is no such agent",
            Problem::WrongRequest(_) => "The request is not one of the agent's dialect",
            Problem::WrongKey => "The Idempotency-Key cannot be used",
            Problem::KeyInUse => "The request is being answered",
            Problem::KeyReused => "The Idempotency-Key stands for another request",
            Problem::NotReplayable => "The answer cannot be sent again",
            Problem::KeyUnknown => "The Idempotency-Key cannot be looked up at the moment",
            Problem::TooMany(..) => "The client has too many turns",
            Problem::AgentRefused(..) => "The agent refused the request",
            Problem::BadAgent(_) => "The agent did not answer",
            Problem::SlowAgent(_) => "The agent did not answer in time",
            Problem::NotAnObject(_) => "The body is not a JSON object",
            Problem::Unsupported(_) => "Messages of this type are not answered",
            Problem::NoSecrets(_) => "The delivery cannot be verified at the moment",
            Problem::NotDurable => "The event could not be stored",
        }
    }

    /// What was wrong, where, and what would be right; safe for the sender.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Problem::NotFound { paths } => format!("this function's endpoint is POST {}", paths.join(" or ")),
            Problem::MethodNotAllowed => "send the delivery with POST".to_owned(),
            Problem::TooLarge { limit } => format!("at most {limit} bytes are accepted"),
            Problem::UnsupportedMediaType => "send Content-Type: application/json".to_owned(),
            Problem::NotAnObject(detail) | Problem::WrongRequest(detail) => detail.clone(),
            Problem::Unverified(_) => {
                "no configured secret verifies it as it came; the function's log says what is wrong".to_owned()
            }
            Problem::NoClient(_) => "send Authorization: Bearer with the token of a configured client".to_owned(),
            Problem::WrongKey => "send one Idempotency-Key, of up to 200 visible ASCII characters".to_owned(),
            Problem::KeyInUse => "the answer can be had with the same request, once it is whole".to_owned(),
            Problem::KeyReused => "send another key, or the request it was first sent with".to_owned(),
            Problem::NotReplayable => {
                "the turn has ended; its answer is too large to be kept whole, or was erased".to_owned()
            }
            Problem::KeyUnknown => "the agent was not asked; send the same request again".to_owned(),
            Problem::TooMany(which, _) => (*which).to_owned(),
            Problem::Forbidden => "the client's list of agents does not name this one".to_owned(),
            Problem::NoAgent => "no agent of this id is configured".to_owned(),
            Problem::AgentRefused(status, _) => {
                format!("it answered with {}; what it said is not shown", status.as_u16())
            }
            Problem::BadAgent(detail) => detail.to_string(),
            Problem::SlowAgent(detail) => (*detail).to_owned(),
            Problem::Unsupported(detail) | Problem::NoSecrets(detail) => (*detail).to_owned(),
            Problem::NotDurable => "nothing was acknowledged; send the same delivery again".to_owned(),
        }
    }

    /// The same for the log, which is told more; never a value.
    #[must_use]
    pub fn log_detail(&self) -> String {
        if let Problem::Unverified(unverified) = self { unverified.detail.clone() } else { self.detail() }
    }

    /// What the sender is not told, in a word or two: why it is not verified, or not a client.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        match self {
            Problem::NoClient(why) => Some(why),
            Problem::Unverified(unverified) => Some(unverified.why.as_str()),
            Problem::NoSecrets(_) => Some("no-secret-configured"),
            _ => None,
        }
    }

    /// The answer to the request of this id.
    #[must_use]
    pub fn to_response(&self, request_id: Option<&RequestId>) -> Response<String> {
        let mut body = serde_json::json!({
            "type": format!("urn:gatehouse:problem:{}", self.slug()),
            "title": self.title(),
            "status": self.status().as_u16(),
            "detail": self.detail(),
        });
        if let Some(id) = request_id {
            body["request_id"] = id.as_str().into();
        }
        let mut response = Response::new(body.to_string());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Problem::MethodNotAllowed => drop(headers.insert(header::ALLOW, HeaderValue::from_static("POST"))),
            Problem::Unverified(_) => {
                // RFC 9110 wants a challenge with every 401; none of the schemes has a registered name.
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
            }
            Problem::AgentRefused(_, Some(when)) => drop(headers.insert(header::RETRY_AFTER, when.clone())),
            Problem::NoClient(_) => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Problem::TooMany(_, seconds) => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds))),
            Problem::NoSecrets(_) | Problem::NotDurable | Problem::KeyInUse | Problem::KeyUnknown => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}
