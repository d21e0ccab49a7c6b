//! Identities and deliveries of every vendor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod deliveries;
mod identity;
