//! The results of DynamoDB requests.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use gatehouse_runtime::aws::error_code;

use super::StoreError;
use super::item::Item;

/// The result of a conditional write.
pub enum ConditionalWrite {
    /// The item was written.
    Done,
    /// The condition was false. Contains the existing item, if there is one and the request asked for it.
    ConditionFailed(Option<Item>),
}

impl ConditionalWrite {
    /// Whether the item was written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, ConditionalWrite::Done)
    }
}

/// Reads the result of a conditional `PutItem`.
///
/// # Errors
/// If DynamoDB did not confirm the write.
pub fn conditional_put(result: Result<PutItemOutput, SdkError<PutItemError>>) -> Result<ConditionalWrite, StoreError> {
    let Err(error) = result else { return Ok(ConditionalWrite::Done) };
    let failure = failure("PutItem", &error);
    match error.into_service_error() {
        PutItemError::ConditionalCheckFailedException(failed) => Ok(ConditionalWrite::ConditionFailed(failed.item)),
        _ => Err(failure),
    }
}

/// Reads the result of a conditional `UpdateItem`.
///
/// # Errors
/// If DynamoDB did not confirm the write.
pub fn conditional_update(
    result: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
) -> Result<ConditionalWrite, StoreError> {
    let Err(error) = result else { return Ok(ConditionalWrite::Done) };
    let failure = failure("UpdateItem", &error);
    match error.into_service_error() {
        UpdateItemError::ConditionalCheckFailedException(failed) => Ok(ConditionalWrite::ConditionFailed(failed.item)),
        _ => Err(failure),
    }
}

/// Returns the error of a request that failed.
pub fn failure<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> StoreError {
    let code = error_code(error).to_owned();
    // Only errors about the content are permanent. Throttling ends, and an operator can repair permissions and tables.
    let permanent = ["ValidationException", "SerializationException", "ItemCollectionSizeLimitExceededException"];
    if permanent.contains(&code.as_str()) {
        StoreError::Permanent { operation, code }
    } else {
        StoreError::Transient { operation, code }
    }
}
