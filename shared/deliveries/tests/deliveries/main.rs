//! Tests the way of events from the table's stream to their receivers, on embedded engines.
#![allow(clippy::unwrap_used, missing_docs)]

mod crash;
mod failures;
mod order;
mod outbox;
mod slow;
mod support;
