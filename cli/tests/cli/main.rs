//! The command line, as a user runs it. One binary: each more would link the engines again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod chat;
mod demo;
mod dev;
mod operate;
mod replies;
mod secrets;
