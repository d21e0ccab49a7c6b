//! The proxy between a client and an agent that says what it is told to.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod clients;
mod keys;
mod proxy;
mod support;
mod turns;
