//! SQS errors in the JSON protocol.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    QueueDoesNotExist,
    QueueNameExists,
    InvalidParameterValue,
    MissingParameter,
    InvalidAttributeName,
    InvalidMessageContents,
    ReceiptHandleIsInvalid,
    MessageNotInflight,
    EmptyBatchRequest,
    TooManyEntriesInBatchRequest,
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    PurgeQueueInProgress,
    ResourceNotFound,
    UnsupportedOperation,
    InternalError,
}

impl Kind {
    /// Returns the error's shape name, and its code in the older query protocol. SDKs show the code.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Kind::QueueDoesNotExist => ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
            Kind::QueueNameExists => ("QueueNameExists", "QueueAlreadyExists"),
            Kind::InvalidParameterValue => ("InvalidParameterValueException", "InvalidParameterValue"),
            Kind::MissingParameter => ("MissingRequiredParameterException", "MissingParameter"),
            Kind::InvalidAttributeName => ("InvalidAttributeName", "InvalidAttributeName"),
            Kind::InvalidMessageContents => ("InvalidMessageContents", "InvalidMessageContents"),
            Kind::ReceiptHandleIsInvalid => ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
            Kind::MessageNotInflight => ("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"),
            Kind::EmptyBatchRequest => ("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"),
            Kind::TooManyEntriesInBatchRequest => {
                ("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
            }
            Kind::BatchEntryIdsNotDistinct => {
                ("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
            }
            Kind::BatchRequestTooLong => ("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong"),
            Kind::PurgeQueueInProgress => ("PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress"),
            Kind::ResourceNotFound => ("ResourceNotFoundException", "ResourceNotFoundException"),
            Kind::UnsupportedOperation => ("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation"),
            Kind::InternalError => ("InternalError", "InternalError"),
        }
    }

    /// Returns the code in the query protocol.
    pub(super) fn code(self) -> &'static str {
        self.names().1
    }

    /// Whether the client caused the error, rather than the service.
    pub(super) fn is_client_fault(self) -> bool {
        self != Kind::InternalError
    }
}

/// A request that was rejected or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct SqsError {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl SqsError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        SqsError { kind, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        SqsError::new(Kind::InvalidParameterValue, message)
    }

    pub(super) fn to_response(&self) -> Response<Bytes> {
        let (shape, code) = self.kind.names();
        let body = serde_json::json!({"__type": format!("com.amazonaws.sqs#{shape}"), "message": self.message});
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() =
            if self.kind.is_client_fault() { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
        let fault = if self.kind.is_client_fault() { "Sender" } else { "Receiver" };
        if let Ok(value) = HeaderValue::from_str(&format!("{code};{fault}")) {
            response.headers_mut().insert("x-amzn-query-error", value);
        }
        response
    }
}

impl From<rusqlite::Error> for SqsError {
    fn from(error: rusqlite::Error) -> Self {
        SqsError::new(Kind::InternalError, format!("the queue database failed: {error}"))
    }
}
