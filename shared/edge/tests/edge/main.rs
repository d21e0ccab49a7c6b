//! Tests signatures, identities and deliveries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod deliveries;
mod identity;
mod standard_webhooks;
