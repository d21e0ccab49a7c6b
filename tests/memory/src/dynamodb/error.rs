//! Errors of requests, with DynamoDB's codes and messages.

use crate::Response;

use super::{Item, value};

/// The prefix of every error code in a response.
const PREFIX: &str = "com.amazonaws.dynamodb.v20120810#";

/// A request that failed. All failures have the HTTP status 400.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    code: &'static str,
    message: String,
    /// The stored item, if the request asked for it and its condition failed.
    item: Option<Item>,
}

impl Failure {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), item: None }
    }

    /// The request is invalid.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Failure::new("ValidationException", message)
    }

    /// A parameter has an invalid value.
    pub(super) fn parameter(message: impl std::fmt::Display) -> Self {
        Failure::invalid(format!("One or more parameter values were invalid: {message}"))
    }

    /// The body does not have the shape of a request.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Failure::new("SerializationException", message)
    }

    /// The table of an item's request does not exist.
    pub(super) fn no_table() -> Self {
        Failure::new("ResourceNotFoundException", "Requested resource not found")
    }

    /// The table of a table's request does not exist.
    pub(super) fn no_table_named(name: &str) -> Self {
        Failure::new("ResourceNotFoundException", format!("Requested resource not found: Table: {name} not found"))
    }

    /// The table exists already.
    pub(super) fn table_exists(name: &str) -> Self {
        Failure::new("ResourceInUseException", format!("Table already exists: {name}"))
    }

    /// The condition of a write does not hold.
    pub(super) fn condition(item: Option<Item>) -> Self {
        Failure { item, ..Failure::new("ConditionalCheckFailedException", "The conditional request failed") }
    }

    /// The operation is not supported.
    pub(super) fn unknown_operation(operation: &str) -> Self {
        Failure::new("UnknownOperationException", format!("the in-memory DynamoDB does not support {operation}"))
    }

    /// Returns the error response.
    pub(super) fn response(self) -> Response {
        let mut response = Response::error(400, &format!("{PREFIX}{}", self.code), &self.message);
        if let Some(item) = self.item {
            response.body["Item"] = value::object(item);
        }
        response
    }
}
