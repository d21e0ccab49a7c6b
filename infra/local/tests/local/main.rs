//! Tests of the local stack's parts through an SDK.
#![allow(clippy::unwrap_used, missing_docs)]

mod data_dir;
mod fault;
mod moves;
mod service;
mod sqs;
mod table;
