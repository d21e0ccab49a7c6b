//! Tests the proxy between a client and a scripted agent.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod clients;
mod keys;
mod proxy;
mod support;
mod turns;
