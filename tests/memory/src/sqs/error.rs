//! SQS errors in the JSON protocol.

use crate::Response;

/// The kind of an error: its shape in the JSON protocol, and its code in the older query protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    shape: &'static str,
    /// The code in the query protocol. SDKs show this code.
    pub(super) code: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $shape:literal, $code:literal;)*) => {
        impl Kind {
            $(pub(super) const $name: Kind = Kind { shape: $shape, code: $code };)*
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
}

/// A request that was rejected. The client caused every error of this service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqsError {
    pub(super) kind: Kind,
    pub(super) message: String,
}

pub(super) type Result<T> = std::result::Result<T, SqsError>;

impl SqsError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        SqsError { kind, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        SqsError::new(Kind::INVALID_PARAMETER_VALUE, message)
    }

    pub(super) fn to_response(&self) -> Response {
        Response::error(400, &format!("com.amazonaws.sqs#{}", self.kind.shape), &self.message)
    }
}

/// Returns the value of the header `x-amzn-query-error` of an error response. SDKs take the error code from it. Returns
/// `None` for a response without an error.
#[must_use]
pub fn query_error(response: &Response) -> Option<String> {
    let shape = response.code()?;
    let kind = Kind::ALL.iter().find(|kind| kind.shape == shape)?;
    Some(format!("{};Sender", kind.code))
}
