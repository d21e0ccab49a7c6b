//! Tests of the identity of deliveries, for every vendor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod deliveries;
mod identity;
