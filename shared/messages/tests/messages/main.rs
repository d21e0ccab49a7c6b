//! The message types, against fixtures, schemas and laws.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod laws;
mod schemas;
