//! Tests DynamoDB: against the embedded engine, and what the engine does not have.

mod behaviour;
mod differential;
mod requests;
