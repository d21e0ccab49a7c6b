//! Tests of signatures, with vectors of the official libraries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod standard_webhooks;
