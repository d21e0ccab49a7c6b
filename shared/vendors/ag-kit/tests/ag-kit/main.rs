//! Tests with requests and responses that were recorded from real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod turns;
