//! Errors of the local SQS.

use bytes::Bytes;
use gatehouse_sqs_protocol::error::{Kind, SqsError};
use http::{HeaderValue, Response, StatusCode};

/// Why a request was not handled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// SQS would reject it, too.
    #[error(transparent)]
    Rejected(#[from] SqsError),
    /// The database failed.
    #[error("the queue database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The system provides no random bytes.
    #[error("the system provides no random bytes: {0}")]
    Random(String),
}

impl From<Failure> for SqsError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(error) => error,
            other => SqsError::new(Kind::INTERNAL_ERROR, other.to_string()),
        }
    }
}

/// Returns the response of a request that failed.
pub(super) fn response(failure: Failure) -> Response<Bytes> {
    let error = SqsError::from(failure);
    let mut response = Response::new(Bytes::from(error.body().to_string()));
    *response.status_mut() = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(&error.query_error()) {
        response.headers_mut().insert("x-amzn-query-error", value);
    }
    response
}
