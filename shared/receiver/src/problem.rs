//! Error responses, as problem documents (RFC 9457).
//!
//! Each problem names the rule that the request broke, where, and how to correct it. None quotes the request. The
//! crate `agent-chat` adds the problems that only chat requests have.

mod document;

pub use document::ProblemDocument;

use gatehouse_payload::Outcome;
use gatehouse_vendor::Rejection;
use http::{HeaderValue, StatusCode, header};

/// Why a request was rejected. Senders act on the status: Svix retries every delivery without a 2xx, Vapi every one
/// that its `backoffPlan` does not exclude.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// 404: the endpoint does not have this path.
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
    /// 400: the delivery is verified, but its body is not a JSON object.
    NotAnObject(String),
    /// 501: this release does not support the message. Says what to do.
    Unsupported(&'static str),
    /// 503: the secrets document has no secret for the endpoint.
    Closed,
    /// 503: the endpoint's secrets are unusable, or newer ones may exist and cannot be loaded.
    NoSecrets(&'static str),
    /// 503: neither DynamoDB nor SQS accepted the event. Only the log shows what failed.
    NotDurable,
}

/// Delay before a retry after most of the 503 and 409 responses, in seconds.
pub const RETRY_AFTER: u64 = 5;

impl Problem {
    /// Returns the problem document.
    #[must_use]
    pub fn document(&self) -> ProblemDocument {
        match self {
            Problem::NotFound { paths } => ProblemDocument::new(
                StatusCode::NOT_FOUND,
                "not-found",
                "There is no endpoint at this path",
                format!("send the request to {}", paths.join(" or ")),
            ),
            Problem::MethodNotAllowed => ProblemDocument::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The endpoint only accepts POST",
                "send the request with POST",
            )
            .with_header(header::ALLOW, HeaderValue::from_static("POST")),
            Problem::TooLarge { limit } => ProblemDocument::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The body is too large",
                format!("at most {limit} bytes are accepted"),
            ),
            Problem::UnsupportedMediaType => ProblemDocument::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body must be JSON",
                "send Content-Type: application/json",
            ),
            // RFC 9110 requires a challenge with every 401. The vendors' schemes have no registered name.
            Problem::Unverified(_) => ProblemDocument::new(
                StatusCode::UNAUTHORIZED,
                "unverified",
                "The delivery could not be verified",
                "no configured secret verifies the request as received; the function's log says why",
            )
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature")),
            Problem::NotAnObject(detail) => ProblemDocument::new(
                StatusCode::BAD_REQUEST,
                "not-an-object",
                "The body is not a JSON object",
                detail.as_str(),
            ),
            Problem::Unsupported(detail) => ProblemDocument::new(
                StatusCode::NOT_IMPLEMENTED,
                "unsupported",
                "Messages of this type are not supported",
                *detail,
            ),
            Problem::Closed => ProblemDocument::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-secrets",
                "The endpoint is closed",
                "no secret is configured for it yet",
            )
            .with_retry_after(RETRY_AFTER)
            .with_outcome(Outcome::Closed),
            Problem::NoSecrets(detail) => ProblemDocument::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-secrets",
                "The delivery cannot be verified at the moment",
                *detail,
            )
            .with_retry_after(RETRY_AFTER),
            Problem::NotDurable => ProblemDocument::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-durable",
                "The event could not be stored",
                "nothing was acknowledged; send the same delivery again",
            )
            .with_retry_after(RETRY_AFTER),
        }
    }

    /// Returns the detail for the log, which says more. Contains no value of the request.
    #[must_use]
    pub fn log_detail(&self) -> String {
        if let Problem::Unverified(rejection) = self { rejection.detail.clone() } else { self.document().detail }
    }

    /// Returns why the sender is not verified, in a word or two. Only for the log.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        match self {
            Problem::Unverified(rejection) => Some(rejection.reason.as_str()),
            Problem::Closed | Problem::NoSecrets(_) => Some("no-secret-configured"),
            _ => None,
        }
    }
}
