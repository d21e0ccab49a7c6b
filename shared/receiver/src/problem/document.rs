//! A problem document before it is rendered.

use gatehouse_payload::Outcome;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::RequestId;

/// A problem document (RFC 9457) with the status and the header of its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProblemDocument {
    /// The HTTP status.
    pub status: StatusCode,
    /// The last part of the problem's type, `urn:gatehouse:problem:<slug>`.
    pub slug: &'static str,
    /// Names the problem. The same for every problem of this type.
    pub title: &'static str,
    /// Describes what is wrong, where, and how to correct it. Safe to show to the sender.
    pub detail: String,
    /// The outcome of a request that is rejected with this document.
    pub outcome: Outcome,
    /// A header of the response besides the content type.
    header: Option<(HeaderName, HeaderValue)>,
}

impl ProblemDocument {
    /// Creates a document without an additional header. The outcome is `unavailable` for a 5xx, else `refused`.
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let outcome = if status.is_server_error() { Outcome::Unavailable } else { Outcome::Refused };
        ProblemDocument { status, slug, title, detail: detail.into(), outcome, header: None }
    }

    /// Sets the outcome.
    #[must_use]
    pub fn with_outcome(self, outcome: Outcome) -> Self {
        ProblemDocument { outcome, ..self }
    }

    /// Sets the additional header of the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Sets `Retry-After`, in seconds, as the additional header of the response.
    #[must_use]
    pub fn with_retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Returns the response to the request with this id.
    #[must_use]
    pub fn to_response(&self, request_id: Option<&RequestId>) -> Response<String> {
        let mut body = serde_json::json!({
            "type": format!("urn:gatehouse:problem:{}", self.slug),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(id) = request_id {
            body["request_id"] = id.as_str().into();
        }
        let mut response = Response::new(body.to_string());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.header.clone() {
            headers.insert(name, value);
        }
        response
    }
}
