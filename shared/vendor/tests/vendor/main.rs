//! Signatures, against the vectors of the vendors' own libraries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod standard_webhooks;
