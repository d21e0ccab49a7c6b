//! Tests the store with an embedded DynamoDB.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod ask;
mod by_source;
mod claim;
mod engine;
mod erase;
mod model;
mod record;
mod slots;
mod table;
mod timeline;
