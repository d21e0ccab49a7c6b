//! DynamoDB.

/// A DynamoDB in memory.
#[derive(Debug, Default)]
pub struct DynamoDb {}
