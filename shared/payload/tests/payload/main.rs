//! The wire types, against fixtures, schemas and laws.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod answers;
mod laws;
mod schemas;
mod turns;
