//! Tests of the wire types with fixtures, schemas and properties.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod answers;
mod laws;
mod schemas;
mod turns;
