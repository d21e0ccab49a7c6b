//! Tests of the in-memory SQS: the tests of the local SQS, a comparison of both, and tests with a set time.
#![allow(clippy::unwrap_used, missing_docs)]

mod choices;
mod compare;
mod fixture;
#[path = "../../../../infra/local/tests/local/moves.rs"]
mod moves;
mod service;
#[path = "../../../../infra/local/tests/local/sqs.rs"]
mod sqs;
mod time;
