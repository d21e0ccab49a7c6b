//! Tests of the in-memory services.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod dynamodb;
