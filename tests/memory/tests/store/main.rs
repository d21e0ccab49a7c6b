//! Runs the store's own tests on the in-memory DynamoDB.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod engine;

#[path = "../../../../shared/inbox/tests/inbox/by_source.rs"]
mod by_source;
#[path = "../../../../shared/inbox/tests/inbox/claim.rs"]
mod claim;
#[path = "../../../../shared/inbox/tests/inbox/erase.rs"]
mod erase;
#[path = "../../../../shared/inbox/tests/inbox/model.rs"]
mod model;
#[path = "../../../../shared/inbox/tests/inbox/record.rs"]
mod record;
#[path = "../../../../shared/inbox/tests/inbox/slots.rs"]
mod slots;
#[path = "../../../../shared/inbox/tests/inbox/table.rs"]
mod table;
#[path = "../../../../shared/inbox/tests/inbox/timeline.rs"]
mod timeline;
