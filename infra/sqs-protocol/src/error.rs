//! SQS errors in the JSON protocol.

use serde_json::{Value, json};

/// The kind of an error: its shape in the JSON protocol, and its code in the older query protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    shape: &'static str,
    /// The code in the query protocol. SDKs show this code.
    code: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $shape:literal, $code:literal;)*) => {
        impl Kind {
            $(#[allow(missing_docs, reason = "they are AWS' names")]
            pub const $name: Kind = Kind { shape: $shape, code: $code };)*
            const ALL: &[Kind] = &[$(Kind::$name),*];
        }
    };
}

kinds! {
    QUEUE_DOES_NOT_EXIST: "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue";
    QUEUE_NAME_EXISTS: "QueueNameExists", "QueueAlreadyExists";
    INVALID_PARAMETER_VALUE: "InvalidParameterValueException", "InvalidParameterValue";
    MISSING_PARAMETER: "MissingRequiredParameterException", "MissingParameter";
    INVALID_ATTRIBUTE_NAME: "InvalidAttributeName", "InvalidAttributeName";
    INVALID_MESSAGE_CONTENTS: "InvalidMessageContents", "InvalidMessageContents";
    RECEIPT_HANDLE_IS_INVALID: "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid";
    MESSAGE_NOT_INFLIGHT: "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight";
    EMPTY_BATCH_REQUEST: "EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest";
    TOO_MANY_ENTRIES: "TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
    IDS_NOT_DISTINCT: "BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
    BATCH_TOO_LONG: "BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong";
    PURGE_IN_PROGRESS: "PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress";
    RESOURCE_NOT_FOUND: "ResourceNotFoundException", "ResourceNotFoundException";
    UNSUPPORTED_OPERATION: "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation";
    INTERNAL_ERROR: "InternalError", "InternalError";
}

impl Kind {
    /// Returns the code in the query protocol.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.code
    }

    /// Whether the client caused the error, rather than the service.
    #[must_use]
    pub fn is_client_fault(self) -> bool {
        self != Kind::INTERNAL_ERROR
    }
}

/// A request that was rejected or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqsError {
    /// The kind.
    pub kind: Kind,
    /// What is wrong.
    pub message: String,
}

/// The result of an operation.
pub type Result<T> = std::result::Result<T, SqsError>;

impl SqsError {
    /// Creates an error.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        SqsError { kind, message: message.into() }
    }

    /// Creates the error of a parameter whose value is not valid.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        SqsError::new(Kind::INVALID_PARAMETER_VALUE, message)
    }

    /// Returns the HTTP status of the response.
    #[must_use]
    pub fn status(&self) -> u16 {
        if self.kind.is_client_fault() { 400 } else { 500 }
    }

    /// Returns the body of the response.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"__type": format!("com.amazonaws.sqs#{}", self.kind.shape), "message": self.message})
    }

    /// Returns the header `x-amzn-query-error` of the response. SDKs take the error code from it.
    #[must_use]
    pub fn query_error(&self) -> String {
        self.kind.query_error()
    }
}

impl Kind {
    /// Returns the kind with this shape in the JSON protocol.
    #[must_use]
    pub fn of_shape(shape: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.shape == shape)
    }

    /// Returns the header `x-amzn-query-error` of an error of this kind.
    #[must_use]
    pub fn query_error(self) -> String {
        format!("{};{}", self.code, if self.is_client_fault() { "Sender" } else { "Receiver" })
    }
}
