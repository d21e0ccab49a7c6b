//! Tests DynamoDB: against the embedded engine, and what the engine does not have.

mod differential;
mod requests;
